"""Organizations, their teams, robots, default permissions and caches."""

import secrets, time, uuid

import names, ssrf, views
from answers import broken, message, not_found, problem
from schema import FLAG, NUMBER, TEXT, TEXT_OR_NULL, mapping, one_of

# How long the name of an organization that was removed cannot be had again: until its workers have cleared it away.
CLEARING_SECONDS = 10
ROLE = one_of("read", "write", "admin")


def seconds(text):
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}[text[-1]]


def expirations(config):
    options = config.get("TAG_EXPIRATION_OPTIONS", ["0s", "1d", "1w", "2w", "4w"])
    return [seconds(option) for option in options]


def no_method():
    return message("The method is not allowed for the requested URL.", 405)


def governed(call, name):
    """An organization for whoever governs it. It is not said of one whether it is there to those who may not know."""
    call.rights.must(call.rights.administers(name) or call.rights.has_full_access)
    org = call.store.load(f"org/{name}")
    if org is None:
        raise not_found()
    return org


def save(call, name, org):
    call.store.save(f"org/{name}", org)


def make(store, name, email, owner):
    owners = {"role": "admin", "description": "", "members": [owner]}
    default = seconds(store.config.get("DEFAULT_TAG_EXPIRATION", "2w"))
    # Without an address it gets a word that is like no other.
    store.save(f"org/{name}", {"email": email or str(uuid.uuid4()), "tag_expiration_s": default, "robots": {},
                               "teams": {"owners": owners}, "prototypes": [], "proxycache": None})


def organizations(call):
    if call.method != "POST":
        raise no_method()
    call.rights.must(call.rights.name is not None)
    asked = call.checked(mapping(("name",), name=TEXT, email=TEXT))
    if call.config.get("FEATURE_SUPERUSERS_ORG_CREATION_ONLY"):
        call.rights.must(call.rights.is_super)
    name = asked["name"]
    if call.store.load(f"org/{name}") or call.store.is_entity(name):
        raise problem(400, "A user or organization with this name already exists")
    if call.config.get("FEATURE_MAILING", True) and not asked.get("email"):
        raise problem(400, "Email address is required")
    if fault := names.fault(name):
        raise problem(400, f"Invalid namespace {name}: {fault}")
    if (call.store.load(f"gone/{name}") or {"until": 0})["until"] > time.time():
        raise problem(400, "Username is not available")
    make(call.store, name, asked.get("email"), call.rights.name)
    return 201, "Created"


def organization(call, name):
    if call.method == "GET":
        org = call.store.load(f"org/{name}")
        if org is None:
            raise not_found()
        with_teams = call.rights.belongs_to(name) or call.rights.has_full_access
        return 200, views.organization(call.store, call.rights, name, org, with_teams)
    if call.method == "PUT":
        return change(call, name)
    if call.method == "DELETE":
        governed(call, name)
        for repository in call.store.repositories(name):
            call.store.drop_repository(repository)
        call.store.drop(f"org/{name}")
        call.store.save(f"gone/{name}", {"until": time.time() + CLEARING_SECONDS})
        return 204, b""
    raise no_method()


def change(call, name):
    asked = call.checked(mapping(email=TEXT, invoice_email=FLAG, invoice_email_address=TEXT_OR_NULL, tag_expiration_s=NUMBER))
    org = governed(call, name)
    if "email" in asked and asked["email"] != org["email"]:
        if call.store.user_of_email(asked["email"]):
            raise problem(400, "E-mail address already used")
        org["email"] = asked["email"]
    if "tag_expiration_s" in asked and call.config.get("FEATURE_CHANGE_TAG_EXPIRATION", True):
        if asked["tag_expiration_s"] not in expirations(call.config):
            raise message("Invalid tag expiration option")
        org["tag_expiration_s"] = asked["tag_expiration_s"]
    save(call, name, org)
    return 200, views.organization(call.store, call.rights, name, org, True)


def admin_teams(org, user):
    return [name for name, team in org["teams"].items() if team["role"] == "admin" and user in team["members"]]


def team(call, name, short):
    if call.method == "PUT":
        asked = call.checked(mapping(("role",), role=one_of("member", "creator", "admin"), description=TEXT))
        org = governed(call, name)
        held = org["teams"].get(short)
        is_new = held is None
        if is_new and (fault := names.fault(short, "Team")):
            raise message(f"Invalid team name {short}: {fault}")
        if not is_new and held["role"] == "admin" != asked["role"] and admin_teams(org, call.rights.name) == [short]:
            raise message(f"Cannot remove admin from team '{short}' because calling user would no longer have admin on org '{name}'")
        held = org["teams"].setdefault(short, {"members": [], "description": ""})
        held.update(role=asked["role"], description=asked.get("description", held["description"]))
        save(call, name, org)
        return 200, views.team(call.rights, name, short, held, is_new)
    if call.method == "DELETE":
        org = governed(call, name)
        if short not in org["teams"]:
            raise message(f"Team '{short}' is not a team in org '{name}'")
        if admin_teams(org, call.rights.name) == [short]:
            raise message(f"Deleting team '{short}' would remove admin ability for user '{call.rights.name}' in organization '{name}'")
        del org["teams"][short]
        save(call, name, org)
        call.store.forget(name, f"team/{short}")
        return 204, b""
    raise no_method()


def members(call, name, short):
    if call.method != "GET":
        raise no_method()
    org = call.store.load(f"org/{name}") or {"teams": {}}
    held, governs = org["teams"].get(short), call.rights.administers(name)
    call.rights.must(governs or call.rights.has_full_access or (held and call.rights.name in held["members"]))
    if held is None:
        raise not_found()
    view = {"name": short, "members": [views.member(call.store, m) for m in held["members"]], "can_edit": governs}
    return 200, views.synced(call, name, held, view)


def member(call, name, short, who):
    if call.method not in ("PUT", "DELETE"):
        raise no_method()
    org = governed(call, name)
    held = org["teams"].get(short)
    if held is None:
        raise not_found()
    known = call.store.is_entity(who)
    if call.method == "PUT":
        if not known:
            raise problem(400, "Unknown user")
        if who in held["members"]:
            raise message(f"User {who} is already a member of team {short}")
        held["members"].append(who)
        save(call, name, org)
        return 200, views.member(call.store, who)
    if not known:
        raise not_found()
    if who not in held["members"]:
        raise message(f"User {who} does not belong to team {short}")
    if who == call.rights.name and admin_teams(org, who) == [short]:
        raise message("User cannot remove themselves from their only admin team.")
    held["members"].remove(who)
    save(call, name, org)
    return 204, b""


def prototypes(call, name):
    if call.method == "GET":
        org = governed(call, name)
        return 200, {"prototypes": [views.prototype(call.store, org, p) for p in org["prototypes"]]}
    if call.method != "POST":
        raise no_method()
    who = mapping(("name", "kind"), name=TEXT, kind=one_of("user", "team"))
    asked = call.checked(mapping(("role", "delegate"), role=ROLE, activating_user=mapping(("name",), name=TEXT), delegate=who))
    org = governed(call, name)
    delegate, creator = asked["delegate"], (asked.get("activating_user") or {}).get("name")
    if delegate["kind"] == "team" and delegate["name"] not in org["teams"]:
        # As Quay words it.
        raise message(str(("Team does not exist: %s/%s", name, delegate["name"])))
    if creator and not call.store.is_entity(creator):
        raise problem(400, "Unknown activating user")
    if delegate["kind"] == "user" and not call.store.is_entity(delegate["name"]):
        raise problem(400, "Missing delegate user or team")
    # The same one may be made twice.
    made = {"id": str(uuid.uuid4()), "role": asked["role"], "activating_user": creator,
            "delegate": {"kind": delegate["kind"], "name": delegate["name"]}}
    org["prototypes"].append(made)
    save(call, name, org)
    return 200, views.prototype(call.store, org, made)


def prototype(call, name, which):
    if call.method not in ("PUT", "DELETE"):
        raise no_method()
    asked = call.checked(mapping(("role",), role=ROLE)) if call.method == "PUT" else {}
    org = governed(call, name)
    found = next((p for p in org["prototypes"] if p["id"] == which), None)
    if found is None:
        raise not_found()
    if call.method == "DELETE":
        org["prototypes"].remove(found)
        save(call, name, org)
        return 204, b""
    found["role"] = asked["role"]
    save(call, name, org)
    return 200, views.prototype(call.store, org, found)


def proxy_cache(call, name):
    if call.method == "GET":
        call.rights.must(call.rights.belongs_to(name) or call.rights.has_full_access)
        held = (call.store.load(f"org/{name}") or {}).get("proxycache") or {}
        return 200, {key: held.get(key, "") for key in ("upstream_registry", "expiration_s", "insecure")}
    if call.method not in ("POST", "DELETE"):
        raise no_method()
    asked = call.checked(mapping(("upstream_registry",), upstream_registry=TEXT)) if call.method == "POST" else {}
    org = governed(call, name)
    if call.method == "DELETE":
        if not org["proxycache"]:
            raise not_found()
        org["proxycache"] = None
        save(call, name, org)
        return 201, "Deleted"
    if org["proxycache"]:
        raise problem(400, "Proxy Cache Configuration already exists")
    ssrf.check(asked["upstream_registry"], call.config)
    known = {"org_name", "upstream_registry", "upstream_registry_username", "upstream_registry_password", "expiration_s", "insecure"}
    if "org_name" not in asked or asked.keys() - known:
        raise broken()
    org["proxycache"] = {"expiration_s": 86400, "insecure": False, **{k: v for k, v in asked.items() if v is not None}}
    save(call, name, org)
    return 201, "Created"


# Robots: of organizations here, of users in `api_users`.


def robot_list(call, name):
    if call.method != "GET":
        raise no_method()
    call.rights.must(call.rights.belongs_to(name) or call.rights.has_full_access)
    return robots_of(call, name, (call.store.load(f"org/{name}") or {"robots": {}}), call.rights.administers(name))


def robots_of(call, space, holder, with_token):
    shown = [views.robot(space, short, held, False) for short, held in holder["robots"].items()]
    hidden = () if with_token and call.flag("token", True) else ("token",)
    return 200, {"robots": [{k: v for k, v in robot.items() if k not in hidden} for robot in shown]}


def robot(call, name, short, regenerate):
    return one_robot(call, f"org/{name}", governed(call, name), name, short, regenerate)


ROBOT = mapping(description={"type": "string", "maxLength": 255}, unstructured_metadata={"type": "object"})
NO_ROBOT = "Could not find robot with specified username"


def one_robot(call, key, holder, space, short, regenerate):
    held, is_made = holder["robots"].get(short), call.method == "PUT" and not regenerate
    if call.method not in (("POST",) if regenerate else ("GET", "PUT", "DELETE")):
        raise no_method()
    if is_made:
        asked = call.checked(ROBOT, optional=True)
        if call.config.get("ROBOTS_DISALLOW"):
            raise problem(400, "Robot accounts have been disabled. Please contact your administrator.")
        if fault := names.fault(short):
            raise problem(400, f"The name for the robot '{short}' is invalid: {fault}")
        if held:
            raise problem(400, f"Existing robot with name: {space}+{short}")
        held = {"token": secrets.token_hex(32).upper(), "description": asked.get("description") or "",
                "created": views.date(), "unstructured_metadata": asked.get("unstructured_metadata") or {}}
        holder["robots"][short] = held
    elif not held:
        raise message(NO_ROBOT)
    if call.method == "DELETE":
        if any((call.store.repository(r)["mirror"] or {}).get("robot_username") == f"{space}+{short}" for r in call.store.repositories(space)):
            raise problem(400, "Robot is being used by a mirror")
        del holder["robots"][short]
    if regenerate:
        held["token"] = secrets.token_hex(32).upper()
    if call.method != "GET":
        call.store.save(key, holder)
    if call.method == "DELETE":
        call.store.forget(space, f"user/{space}+{short}")
        return 204, b""
    return (201 if is_made else 200), views.robot(space, short, held, not regenerate)


NAME = "([^/]+)"
ROUTES = [
    ("organization/", organizations, None),
    (f"organization/{NAME}", organization, None),
    (f"organization/{NAME}/team/{NAME}", team, None),
    (f"organization/{NAME}/team/{NAME}/members", members, None),
    (f"organization/{NAME}/team/{NAME}/members/{NAME}", member, None),
    (f"organization/{NAME}/robots", robot_list, None),
    (f"organization/{NAME}/robots/{NAME}(/regenerate)?", robot, None),
    (f"organization/{NAME}/prototypes", prototypes, None),
    (f"organization/{NAME}/prototypes/{NAME}", prototype, None),
    (f"organization/{NAME}/proxycache", proxy_cache, "FEATURE_PROXY_CACHE"),
]
