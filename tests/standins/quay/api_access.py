"""Who gets in with what, and who is told: applications, tokens, keys, teams of a directory, notifications, messages,
organization mirrors, logs. All of it is by reading Quay's sources (organization.py, appspecifictokens.py, superuser.py,
team.py, repositorynotification.py, globalmessages.py, org_mirror.py, logs.py, capabilities.py, web.py); none was recorded."""

import email.utils, secrets, string, time, urllib.parse, uuid

import ssrf, views
from answers import broken, message, not_found, page, problem
from api_orgs import governed, no_method, save
from api_repos import change, exists, must_administer
from schema import FLAG, TEXT, TEXT_OR_NULL, mapping, one_of
from version import since

INTEGER = {"type": "integer"}


def letters(count):
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(count))


def user(call, name):
    """What everybody may know of a user."""
    if call.method != "GET":
        raise no_method()
    if call.store.email(name) is None:
        raise not_found()
    return 200, {"anonymous": False, "username": name, "avatar": views.user_avatar(call.store, name)}


# Applications.

APPLICATION = {"name": TEXT, "redirect_uri": TEXT, "application_uri": TEXT, "description": TEXT, "avatar_email": TEXT}


def application(call, name, which):
    if call.method not in (("GET", "POST") if which is None else ("GET", "PUT", "DELETE")):
        raise no_method()
    needed = ("name",) if which is None else ("name", "redirect_uri", "application_uri")
    asked = call.checked(mapping(needed, **APPLICATION)) if call.method in ("POST", "PUT") else {}
    org = governed(call, name)
    held = org.setdefault("applications", [])
    if which is None and call.method == "GET":
        return 200, {"applications": held}
    empty = {"description": "", "application_uri": "", "redirect_uri": "", "avatar_email": None}
    if call.method == "POST":
        made = {"name": asked["name"], "client_id": letters(20), "client_secret": letters(40), **empty}
        made.update({k: v for k, v in asked.items() if k in made})
        held.append(made)
        save(call, name, org)
        return 200, made
    found = next((app for app in held if app["client_id"] == which), None)
    if found is None:
        raise not_found()
    if call.method == "PUT":
        # What is not said is forgotten.
        found.update({**empty, **{k: v for k, v in asked.items() if k in APPLICATION}})
    if call.method == "DELETE":
        held.remove(found)
    save(call, name, org)
    return (204, b"") if call.method == "DELETE" else (200, found)


def authorize(api, request, body):
    """The form in which a user gives an application a token: /oauth/authorizeapp."""
    session = api.session(request)
    form = {key: values[0] for key, values in urllib.parse.parse_qs(body.decode()).items()}
    if not session.get("session"):
        raise page(401, "Unauthorized")
    if session.get("csrf") not in (form.get("_csrf_token"), request.headers.get("X-CSRF-Token")):
        raise page(403, "Forbidden")
    store = api.store
    known = any(app["client_id"] == form.get("client_id") for org in store.organizations()
                for app in store.load(f"org/{org}").get("applications", []))
    if not known or not form.get("redirect_uri", "").endswith("/oauth/localapp"):
        raise page(400, "Bad Request")
    token = store.make_token(session["session"])
    where = f"{form['redirect_uri']}?scope={urllib.parse.quote(form.get('scope', ''))}#access_token={token}&token_type=Bearer&expires_in=315576000"
    return 302, b"", {"Location": where, "kind": "text/html; charset=utf-8"}


# Tokens of one's own.


def app_tokens(call, which):
    if call.method not in (("GET", "POST") if which is None else ("GET", "DELETE")):
        raise no_method()
    if not call.config.get("FEATURE_APP_SPECIFIC_TOKENS", True):
        raise not_found()
    call.rights.must(call.rights.name is not None)
    asked = call.checked(mapping(("title",), title=TEXT)) if call.method == "POST" else {}
    key, account = f"user/{call.rights.name}", call.store.account(call.rights.name)
    held = account.setdefault("app_tokens", [])
    if call.method == "POST":
        made = {"uuid": str(uuid.uuid4()), "title": asked["title"], "last_accessed": None, "created": views.date(), "expiration": None,
                "token_code": letters(60)}
        held.append(made)
        call.store.save(key, account)
        return 200, {"token": made}
    if which is None:
        return 200, {"tokens": [{k: v for k, v in token.items() if k != "token_code"} for token in held], "only_expiring": None}
    found = next((token for token in held if token["uuid"] == which), None)
    if found is None:
        raise not_found()
    if call.method == "GET":
        return 200, {"token": found}
    held.remove(found)
    call.store.save(key, account)
    return 204, b""


# Keys of services.

KEY = {"service": TEXT, "name": TEXT, "metadata": {"type": "object"}, "notes": TEXT, "expiration": {"type": ["integer", "null"]}}


def keys(call, which):
    if call.method not in (("GET", "POST") if which is None else ("GET", "PUT", "DELETE")):
        raise no_method()
    needed = ("service", "expiration") if which is None else ()
    asked = call.checked(mapping(needed, **KEY)) if call.method in ("POST", "PUT") else {}
    call.rights.must(call.rights.is_super)
    held = (call.store.load("keys") or {"keys": []})["keys"]
    end = asked.get("expiration")
    if end is not None and end <= time.time():
        raise problem(400, "Expiration date cannot be in the past")
    date = email.utils.formatdate(end, usegmt=True) if end is not None else None
    if call.method == "POST":
        approval = {"approver": {"name": call.rights.name}, "approval_type": "Super User API", "approved_date": views.date(),
                    "notes": asked.get("notes", "")}
        made = {"name": asked.get("name", ""), "kid": letters(43), "service": asked["service"], "jwk": {}, "metadata": asked.get("metadata", {}),
                "created_date": views.date(), "expiration_date": date, "rotation_duration": None, "approval": approval}
        call.store.save("keys", {"keys": [*held, made]})
        pem = lambda kind: f"-----BEGIN {kind} KEY-----\n{letters(64)}\n-----END {kind} KEY-----\n"
        return 200, {"kid": made["kid"], "name": made["name"], "service": made["service"], "public_key": pem("PUBLIC"), "private_key": pem("PRIVATE")}
    if which is None:
        return 200, {"keys": held}
    found = next((key for key in held if key["kid"] == which), None)
    if found is None:
        raise not_found()
    if call.method == "DELETE":
        held.remove(found)
    if "expiration" in asked:
        found["expiration_date"] = date
    if "name" in asked:
        found["name"] = asked["name"]
    call.store.save("keys", {"keys": held})
    return (204, b"") if call.method == "DELETE" else (200, found)


def approve(call, which):
    if call.method != "POST":
        raise no_method()
    call.rights.must(call.rights.is_super)
    held = (call.store.load("keys") or {"keys": []})["keys"]
    if not any(key["kid"] == which for key in held):
        raise not_found()
    return 201, b""


# Teams that a directory fills. Which one logs people in says QUAY_STANDIN_FEDERATED: the stand-in has its own users.


def syncing(call, name, short):
    if call.method not in ("POST", "DELETE"):
        raise no_method()
    call.rights.must(call.rights.administers(name) and (call.rights.is_super or call.config.get("FEATURE_NONSUPERUSER_TEAM_SYNCING_SETUP")))
    org = governed(call, name)
    held = org["teams"].get(short)
    if held is None:
        raise not_found()
    if call.method == "DELETE":
        held.pop("synced", None)
    else:
        asked = call.checked({"type": "object"})
        key = {"ldap": "group_dn", "oidc": "group_name"}.get(views.directory())
        if not key or key not in asked:
            raise problem(400, f"Could not sync to group: Missing {key}")
        held["synced"] = {"service": views.directory(), "last_updated": None, "config": asked}
    save(call, name, org)
    return 200, views.team(call.rights, name, short, held, False)


# Who is told of what happens to a repository.

NOTIFICATION = mapping(("event", "method", "config", "eventConfig"), event=TEXT, method=TEXT, config={"type": "object"},
                       eventConfig={"type": "object"}, title=TEXT)
NEEDED = {"email": ("email", "Missing e-mail address"), "flowdock": ("flow_api_token", "Missing Flowdock API Token"),
          "hipchat": ("notification_token", "Missing Hipchat Room Notification Token"), "slack": ("url", "Missing Slack Callback URL"),
          "webhook": ("url", "Missing webhook URL"), "quay_notification": ("target", "Missing target")}


def notification(call, name, which, test):
    must_administer(call, name, superusers=False)
    exists(call, name)
    held = call.store.repository(name).get("notifications", [])
    keep = lambda new: change(call, name, notifications=new)
    if which is None:
        if call.method == "GET":
            return 200, {"notifications": held}
        if call.method != "POST":
            raise no_method()
        asked = call.checked(NOTIFICATION)
        if asked["method"] not in NEEDED:
            raise broken()
        field, fault = NEEDED[asked["method"]]
        if not asked["config"].get(field):
            raise problem(400, fault)
        target = asked["config"].get("target", {})
        if target.get("kind") == "user" and call.store.email(target["name"]) is None:
            raise problem(400, f"Unknown user {target['name']}")
        made = {"id": len(held) + 1, "uuid": str(uuid.uuid4()), "title": asked.get("title"), "event": asked["event"], "method": asked["method"],
                "config": asked["config"], "event_config": asked["eventConfig"], "number_of_failures": 0}
        keep([*held, made])
        return 201, made
    found = next((n for n in held if n["uuid"] == which), None)
    if found is None:
        space, short = name.split("/", 1)
        raise not_found() if call.method == "GET" else problem(400, f"No repository notification found for: {space}, {short}, {which}")
    if test:
        if call.method != "POST":
            raise no_method()
        return 200, {}
    if call.method == "GET":
        return 200, found
    if call.method == "DELETE":
        keep([n for n in held if n is not found])
    elif call.method == "POST":
        keep([{**n, "number_of_failures": 0} if n is found else n for n in held])
    else:
        raise no_method()
    return 204, b""


# Messages on Quay's pages.

MESSAGE = mapping(("content", "media_type", "severity"), content=TEXT, media_type=one_of("text/plain", "text/markdown"),
                  severity=one_of("info", "warning", "error"))


def messages(call, which):
    held = (call.store.load("messages") or {"messages": []})["messages"]
    if which is None and call.method == "GET":
        return 200, {"messages": held}
    if call.method != ("POST" if which is None else "DELETE"):
        raise no_method()
    asked = call.checked(mapping(message=MESSAGE)) if which is None else {}
    call.rights.must(call.rights.is_super)
    if which is None:
        if "message" not in asked:
            raise broken()
        held.append({"uuid": str(uuid.uuid4()), **asked["message"]})
    else:
        held = [m for m in held if m["uuid"] != which]
    call.store.save("messages", {"messages": held})
    return (201 if which is None else 204), b""


# Organizations that are mirrors.

SYNC = {"type": "integer", "minimum": 60}
ORG_MIRROR = {
    "is_enabled": FLAG, "external_registry_url": TEXT, "external_namespace": {"type": "string", "maxLength": 255}, "robot_username": TEXT,
    "visibility": one_of("public", "private"), "sync_interval": SYNC, "sync_start_date": TEXT, "external_registry_username": TEXT_OR_NULL,
    "external_registry_password": TEXT_OR_NULL, "external_registry_config": {"type": "object"},
    "repository_filters": {"type": "array", "items": TEXT}, "skopeo_timeout": {"type": "integer", "minimum": 30, "maximum": 43200},
}
NEW_ORG_MIRROR = mapping(("external_registry_type", "external_registry_url", "external_namespace", "robot_username", "visibility", "sync_interval",
                          "sync_start_date"), external_registry_type=one_of("harbor", "quay"), **ORG_MIRROR)


def org_mirror(call, name, what):
    if not since("3.17"):
        raise not_found()
    if call.method not in (("POST",) if what else ("GET", "POST", "PUT", "DELETE")):
        raise no_method()
    asked = {}
    if not what and call.method in ("POST", "PUT"):
        asked = call.checked(NEW_ORG_MIRROR if call.method == "POST" else mapping(**ORG_MIRROR))
    org = governed(call, name)
    held = org.get("mirror")
    is_new = call.method == "POST" and not what
    if held is None and not is_new:
        raise not_found()
    if "robot_username" in asked:
        if call.store.robot(asked["robot_username"]) is None:
            raise problem(400, f"Invalid robot account: {asked['robot_username']}")
        if asked["robot_username"].split("+")[0] != name:
            raise problem(400, "Robot account must belong to the organization")
    if "sync_start_date" in asked:
        try:
            time.strptime(asked["sync_start_date"], "%Y-%m-%dT%H:%M:%SZ")
        except ValueError:
            raise problem(400, "Invalid sync_start_date format. Use ISO 8601: YYYY-MM-DDTHH:MM:SSZ")
    if "external_registry_url" in asked:
        ssrf.check(asked["external_registry_url"], call.config)
    if is_new:
        if call.store.repositories(name):
            raise problem(400, "Cannot create organization mirror: the organization already contains repositories. Organization mirroring "
                               "requires an empty organization.")
        if held:
            raise problem(400, "Mirror configuration already exists for this organization")
        held = {"is_enabled": True, "external_registry_config": {}, "repository_filters": [], "skopeo_timeout": 300, "sync_status": "NEVER_RUN",
                "creation_date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    if what:
        if what == "sync-now" and held["sync_status"] == "SYNCING":
            raise problem(400, "Cannot trigger sync: mirror is currently syncing")
        held["sync_status"] = "SYNC_NOW" if what == "sync-now" else "CANCEL"
    held.update(asked)
    if call.method != "GET":
        org["mirror"] = None if call.method == "DELETE" else held
        save(call, name, org)
    if call.method == "GET":
        shown = {k: v for k, v in held.items() if k != "external_registry_password"}
        return 200, {"external_registry_username": None, **shown, "sync_expiration_date": None, "sync_retries_remaining": 3,
                     "has_external_registry_password": held.get("external_registry_password") is not None}
    return {"POST": 204 if what else 201, "PUT": 200, "DELETE": 204}[call.method], ("" if is_new or call.method == "PUT" else b"")


# Logs, and what this Quay can do.

EXPORT = mapping(callback_url=TEXT, callback_email=TEXT)


def export(call, kind, name):
    if call.method != "POST":
        raise no_method()
    if kind == "repository":
        must_administer(call, name)
        exists(call, name)
    elif kind == "organization":
        call.rights.must(call.rights.administers(name) or call.rights.has_full_access)
    else:
        call.rights.must(call.rights.name is not None)
    asked = call.checked(EXPORT)
    if (url := asked.get("callback_url")) and not url.startswith(("https://", "http://")):
        raise message("Invalid callback URL")
    if (address := asked.get("callback_email")) and "@" not in address:
        raise message("Invalid callback e-mail")
    return 200, {"export_id": str(uuid.uuid4())}


def capabilities(call):
    if call.method != "GET" or not since("3.17"):
        raise not_found()
    sparse = {"supported": False, "required_architectures": [], "optional_architectures_allowed": False}
    return 200, {"sparse_manifests": sparse, "mirror_architectures": ["amd64", "arm64", "ppc64le", "s390x"]}


NAME, REPOSITORY = "([^/]+)", "([^/]+/.+?)"
ROUTES = [
    (f"users/{NAME}", user, None),
    (f"organization/{NAME}/applications(?:/{NAME})?", application, None),
    (f"user/apptoken(?:/{NAME})?", app_tokens, None),
    (f"superuser/keys(?:/{NAME})?", keys, None),
    (f"superuser/approvedkeys/{NAME}", approve, None),
    (f"organization/{NAME}/team/{NAME}/syncing", syncing, "FEATURE_TEAM_SYNCING"),
    (f"repository/{REPOSITORY}/notification/(?:{NAME}(/test)?)?", notification, None),
    ("messages()", lambda call, _: messages(call, None), None),
    (f"message/{NAME}", messages, None),
    (f"organization/{NAME}/mirror(?:/(sync-now|sync-cancel))?", org_mirror, "FEATURE_ORG_MIRROR"),
    (f"(repository)/{REPOSITORY}/exportlogs", export, None),
    (f"(organization)/{NAME}/exportlogs", export, None),
    ("(user)/exportlogs()", export, None),
    ("registry/capabilities", capabilities, None),
]
