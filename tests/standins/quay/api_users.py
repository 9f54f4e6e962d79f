"""Users: their own view of themselves, their robots, and what a superuser does with them."""

import secrets, string, uuid

import names, views
from answers import message, not_found, problem
from api_orgs import no_method, one_robot, robots_of
from schema import FLAG, TEXT, mapping


def oneself(call):
    if call.method != "GET":
        raise no_method()
    name = call.rights.name
    if name is None:
        raise problem(401, session_required=False)
    own = [org for org in call.store.organizations() if call.rights.belongs_to(org)]
    shown = [{"name": org, "avatar": views.avatar(org, call.store.load(f"org/{org}")["email"], "org"), "public": False,
              "can_create_repo": call.rights.may_create_in(org), "is_org_admin": call.rights.administers(org)} for org in own]
    return 200, {"anonymous": False, "username": name, "avatar": views.user_avatar(call.store, name), "is_me": True,
                 "can_create_repo": True, "verified": True, "email": call.store.email(name), "logins": [],
                 "super_user": bool(call.rights.is_super), "organizations": shown, **views.quotas(call.config)}


def own_robots(call):
    if call.method != "GET":
        raise no_method()
    call.rights.must(call.rights.name is not None)
    return robots_of(call, call.rights.name, call.store.account(call.rights.name), True)


def own_robot(call, short, regenerate):
    name = call.rights.name
    call.rights.must(name is not None)
    return one_robot(call, f"user/{name}", call.store.account(name), name, short, regenerate)


def seen_by_all(call, name):
    """By Quay's sources; it was not recorded."""
    if call.method != "GET":
        raise no_method()
    if call.store.email(name) is None:
        raise not_found()
    return 200, {"anonymous": False, "username": name, "avatar": views.user_avatar(call.store, name)}


def organizations(call):
    """By Quay's sources; it was not recorded."""
    if call.method != "GET":
        raise no_method()
    call.rights.must(call.rights.is_super)
    return 200, {"organizations": [{"name": name, "email": call.store.load(f"org/{name}")["email"],
                                    "avatar": views.avatar(name, name, "org")} for name in call.store.organizations()]}


def users(call):
    if call.method not in ("GET", "POST"):
        raise no_method()
    if call.method == "GET":
        call.rights.must(call.rights.is_super)
        return 200, {"users": [views.user(call.store, name) for name in call.store.users()]}
    asked = call.checked(mapping(("username",), username=TEXT, email=TEXT))
    call.rights.must(call.rights.is_super)
    if call.config.get("AUTHENTICATION_TYPE", "Database") != "Database":
        raise problem(400, "Cannot create a user in a non-database auth system")
    name, email = asked["username"], asked.get("email")
    if call.config.get("FEATURE_MAILING", True) and not email:
        raise message(f"Invalid email address: {email}")
    if fault := names.fault(name):
        raise message(f"Invalid namespace {name}: {fault}")
    if call.store.load(f"org/{name}"):
        raise message(f"Username has already been taken by an organization and cannot be reused: {name}")
    if call.store.email(name) is not None:
        raise message(f"Username has already been taken by user cannot be reused: {name}")
    if email and call.store.user_of_email(email):
        raise message(f"Email has already been used: {email}")
    password = "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(32))
    # Without an address a user gets a word that is like no other.
    call.store.add_user(name, password, email or str(uuid.uuid4()))
    return 200, {"username": name, "email": email, "password": password, "encrypted_password": secrets.token_hex(32)}


def user(call, name):
    if call.method not in ("GET", "PUT", "DELETE"):
        raise no_method()
    # Whoever is nobody is told so before the request is looked at.
    call.rights.must(call.rights.name is not None)
    asked = call.checked(mapping(password=TEXT, email=TEXT, enabled=FLAG)) if call.method == "PUT" else {}
    call.rights.must(call.rights.is_super)
    if call.store.email(name) is None:
        raise not_found()
    if call.method == "GET":
        return 200, views.user(call.store, name)
    if name in (call.config.get("SUPER_USERS") or []):
        raise problem(400, f"Cannot {'update' if call.method == 'PUT' else 'delete'} a superuser")
    if call.method == "DELETE":
        for space in {repository.split("/")[0] for repository in call.store.repositories()} | teams_of(call, name):
            call.store.forget(space, f"user/{name}")
        for repository in call.store.repositories(name):
            call.store.drop_repository(repository)
        call.store.drop_user(name)
        return 204, b""
    if "password" in asked:
        if not names.is_password(asked["password"]):
            raise message(names.PASSWORD)
        call.store.set_password(name, asked["password"])
    if "email" in asked:
        if call.store.user_of_email(asked["email"]) not in (None, name):
            raise message("E-mail address already used")
        call.store.query("UPDATE standin_user SET email = %s WHERE name = %s", asked["email"], name)
    if "enabled" in asked:
        call.store.save(f"user/{name}", {**call.store.account(name), "enabled": asked["enabled"]})
    more = {"encrypted_password": secrets.token_hex(32)} if "password" in asked else {}
    return 200, {**views.user(call.store, name), **more}


def teams_of(call, name):
    teams = lambda org: call.store.load(f"org/{org}")["teams"].values()
    return {org for org in call.store.organizations() if any(name in team["members"] for team in teams(org))}


ROUTES = [
    ("user/", oneself, None),
    ("user/robots", own_robots, None),
    ("user/robots/([^/]+)(/regenerate)?", own_robot, None),
    ("users/([^/]+)", seen_by_all, None),
    ("superuser/users/", users, None),
    ("superuser/organizations/", organizations, None),
    ("superuser/users/([^/]+)", user, None),
]
