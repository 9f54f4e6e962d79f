"""Repositories: who sees them, who may do what with them, and whose mirror they are."""

import datetime

import names, ssrf, views
from answers import Answer, broken, message, not_found, problem
from api_orgs import NO_ROBOT, ROLE, no_method
from schema import FLAG, NUMBER, TEXT, TEXT_OR_NULL, mapping, one_of
from version import since

VISIBILITY = one_of("public", "private")
STATES = ("NORMAL", "READ_ONLY", "MIRROR")


def must_administer(call, name, superusers=True):
    call.rights.must(call.rights.may(name, "admin") or (superusers and call.rights.has_full_access))


def exists(call, name):
    if call.store.is_public(name) is None:
        raise not_found()


def repositories(call):
    if call.method == "GET":
        return listed(call)
    if call.method != "POST":
        raise no_method()
    asked = call.checked(mapping(("repository", "visibility", "description"), repository=TEXT, visibility=VISIBILITY, namespace=TEXT,
                                 description=TEXT, repo_kind={"type": ["string", "null"], "enum": ["image", "application", None]}))
    space = asked.get("namespace", call.rights.name)
    call.rights.must(space and call.rights.may_create_in(space))
    short, name = asked["repository"], f"{space}/{asked['repository']}"
    if call.store.is_public(name) is not None:
        raise problem(400, "Repository already exists")
    if not names.is_repository(short, call.config):
        raise problem(400, "Invalid repository name")
    call.store.make_repository(name, asked["visibility"] == "public", call.rights.name, asked["description"])
    return 201, {"namespace": space, "name": short, "kind": asked.get("repo_kind") or "image"}


def listed(call):
    space = call.query.get("namespace", [None])[0]
    if not space and not call.flag("public", False) and not call.flag("starred", False):
        raise problem(400, "namespace, starred or public are required for this API call")
    shown = []
    for name in call.store.repositories(space):
        public, own = call.store.is_public(name), call.rights.may(name, "read") or call.rights.has_full_access
        if own or (public and (call.flag("public", False) or space)):
            held = call.store.repository(name)
            shown.append({"namespace": name.split("/")[0], "name": name.split("/", 1)[1], "description": held["description"],
                          "is_public": public, "kind": "image", "state": held["state"], "is_starred": False})
    return 200, {"repositories": shown}


def repository(call, name):
    rights = call.rights
    if call.method == "GET":
        rights.must(rights.may_read(name) or rights.has_full_access)
        exists(call, name)
        tags = call.registry.tags(name) if call.flag("includeTags", True) else None
        return 200, views.repository(call.store, rights, name, tags)
    if call.method == "PUT":
        rights.must(rights.may(name, "write") or rights.has_full_access)
        asked = call.checked(mapping(("description",), description=TEXT))
        exists(call, name)
        change(call, name, description=asked["description"])
        return 200, {"success": True}
    if call.method == "DELETE":
        # Also where there is none.
        must_administer(call, name)
        call.store.drop_repository(name)
        return 204, b""
    raise no_method()


def change(call, name, **what):
    call.store.save(f"repo/{name}", {**call.store.repository(name), **what})


def visibility(call, name):
    if call.method != "POST":
        raise no_method()
    must_administer(call, name)
    asked = call.checked(mapping(("visibility",), visibility=VISIBILITY))
    if call.store.is_public(name) is None:
        return 200, None
    call.store.query("UPDATE standin_repository SET public = %s WHERE name = %s", asked["visibility"] == "public", name)
    return 200, {"success": True}


def state(call, name):
    if call.method != "PUT":
        raise no_method()
    must_administer(call, name)
    asked = call.checked(mapping(("state",), state=one_of(*STATES)))
    exists(call, name)
    change(call, name, state=asked["state"])
    return 200, {"success": True}


def organization_of(call, name):
    return call.store.load(f"org/{name.split('/')[0]}")


def permissions(call, name, kind):
    if call.method != "GET":
        raise no_method()
    must_administer(call, name)
    held, org = call.store.repository(name)["permissions"], organization_of(call, name)
    found = {who.split("/", 1)[1]: role for who, role in held.items() if who.startswith(f"{kind}/")}
    return 200, {"permissions": {who: views.permission(call.store, org, kind, who, role) for who, role in found.items()}}


def permission(call, name, kind, who):
    must_administer(call, name)
    held, org, space = call.store.repository(name), organization_of(call, name), name.split("/")[0]
    none = f"{'User' if kind == 'user' else 'Team'} does not have permission for repo."
    key = f"{kind}/{who}"
    if call.method == "GET":
        if key not in held["permissions"]:
            raise message(none)
        return 200, views.permission(call.store, org, kind, who, held["permissions"][key])
    if call.method == "PUT":
        role = call.checked(mapping(("role",), role=ROLE))["role"]
        if fault := no_holder(call, space, org, kind, who):
            raise problem(400, fault)
        exists(call, name)
        change(call, name, permissions={**held["permissions"], key: role})
        return 200, views.permission(call.store, org, kind, who, role)
    if call.method == "DELETE":
        if who == space and kind == "user":
            raise problem(400, "Namespace owner must always be admin.")
        if key not in held["permissions"]:
            raise problem(400, none)
        change(call, name, permissions={k: v for k, v in held["permissions"].items() if k != key})
        return 204, b""
    raise no_method()


def no_holder(call, space, org, kind, who):
    """Why somebody cannot have a permission."""
    if kind == "team":
        return None if who in (org or {"teams": {}})["teams"] else f"No team {who} in organization {space}"
    if who == space:
        return "Namespace owner must always be admin."
    if not call.store.is_entity(who):
        return f"Invalid username: {who}"
    if "+" in who and who.split("+")[0] != space:
        return f"Cannot add robot {who} under namespace {space}"
    return None


PROXY = mapping(https_proxy=TEXT_OR_NULL, http_proxy=TEXT_OR_NULL, no_proxy=TEXT_OR_NULL)
MIRROR = {
    "is_enabled": FLAG, "external_reference": TEXT, "external_registry_username": TEXT_OR_NULL,
    "external_registry_password": TEXT_OR_NULL, "sync_start_date": TEXT, "sync_interval": NUMBER, "robot_username": TEXT,
    "root_rule": mapping(("rule_kind", "rule_value"), rule_kind=one_of("tag_glob_csv"), rule_value={"type": "array", "items": TEXT}),
    "external_registry_config": mapping(verify_tls=FLAG, unsigned_images=FLAG, proxy=PROXY),
}
NEEDED = ["external_reference", "sync_interval", "sync_start_date", "root_rule"]
# How long one copy may take.
if since("3.15"):
    MIRROR["skopeo_timeout_interval"] = {"type": "integer", "minimum": 300, "maximum": 43200}
    NEEDED.append("skopeo_timeout_interval")
# Seen with 3.18.
if since("3.17"):
    MIRROR["architecture_filter"] = {"type": ["array", "null"], "items": TEXT}
NEW_MIRROR = {"type": "object", "description": "Create the repository mirroring configuration.", "required": NEEDED, "properties": MIRROR}
CHANGED_MIRROR = {"type": "object", "description": "Update the repository mirroring configuration.", "properties": MIRROR}


def mirror(call, name):
    must_administer(call, name, superusers=False)
    if call.method == "GET":
        exists(call, name)
        held = call.store.repository(name)["mirror"]
        if not held:
            raise not_found()
        return 200, views.mirror({"architecture_filter": [], **held} if since("3.17") else held)
    if call.method == "POST":
        return new_mirror(call, name, call.checked(NEW_MIRROR))
    if call.method == "PUT":
        return changed_mirror(call, name, call.checked(CHANGED_MIRROR))
    raise no_method()


def new_mirror(call, name, asked):
    exists(call, name)
    held = call.store.repository(name)
    if held["mirror"]:
        raise Answer(409, {"detail": f"Mirror configuration already exits for repository {name}"})
    ssrf.check(asked["external_reference"], call.config)
    try:
        datetime.datetime.strptime(asked["sync_start_date"], "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        raise broken()
    if "robot_username" not in asked or asked.keys() - MIRROR.keys():
        raise broken()
    let_write(call, name, asked["robot_username"])
    change(call, name, mirror={"is_enabled": True, "external_registry_config": {}, **asked})
    return 201, ""


def changed_mirror(call, name, asked):
    exists(call, name)
    held = call.store.repository(name)["mirror"]
    if not held:
        raise not_found()
    detail = lambda text: Answer(400, {"detail": text})
    if "external_reference" in asked:
        if not asked["external_reference"]:
            raise detail("Empty string is an invalid repository location.")
        ssrf.check(asked["external_reference"], call.config)
    if "robot_username" in asked:
        let_write(call, name, asked["robot_username"])
    if "sync_start_date" in asked:
        try:
            datetime.datetime.strptime(asked["sync_start_date"], "%Y-%m-%dT%H:%M:%SZ")
        except ValueError:
            raise detail("Incorrect DateTime format for sync_start_date.")
    user, password = asked.get("external_registry_username"), asked.get("external_registry_password")
    if "external_registry_password" in asked and "external_registry_username" not in asked:
        raise detail("Unable to set a new password without also specifying a username.")
    if user is None and password is not None:
        raise detail("Unable to delete username while setting a password.")
    settings = {**held["external_registry_config"], **asked.get("external_registry_config", {})}
    known = {key: value for key, value in asked.items() if key in MIRROR}
    change(call, name, mirror={**held, **known, "external_registry_config": settings})
    return 201, ""


def let_write(call, name, robot):
    """The robot of a mirror may write there, if it could not before."""
    if call.store.robot(robot) is None:
        raise message(NO_ROBOT)
    if robot.split("+")[0] != name.split("/")[0]:
        raise message("Invalid robot")
    held = call.store.repository(name)["permissions"]
    if held.get(f"user/{robot}") in (None, "read"):
        change(call, name, permissions={**held, f"user/{robot}": "write"})


def mirror_sync(call, name, _):
    if call.method != "POST":
        raise no_method()
    must_administer(call, name, superusers=False)
    exists(call, name)
    if not call.store.repository(name)["mirror"]:
        raise not_found()
    return 204, b""


def star(call):
    """By Quay's sources; it was not recorded."""
    if call.method != "POST":
        raise no_method()
    call.rights.must(call.rights.name is not None)
    asked = call.checked(mapping(("namespace", "repository"), namespace=TEXT, repository=TEXT))
    name = f"{asked['namespace']}/{asked['repository']}"
    exists(call, name)
    stars = call.store.repository(name).get("stars", [])
    change(call, name, stars=sorted({*stars, call.rights.name}))
    return 201, {"namespace": asked["namespace"], "repository": asked["repository"]}


def unstar(call, name):
    if call.method != "DELETE":
        raise no_method()
    call.rights.must(call.rights.name is not None)
    exists(call, name)
    change(call, name, stars=[who for who in call.store.repository(name).get("stars", []) if who != call.rights.name])
    return 204, b""


def security(call, name, digest):
    if call.method != "GET":
        raise no_method()
    call.rights.must(call.rights.may_read(name))
    return call.registry.security(name, digest)


# Names have several parts, so that the paths below them come first; a feature that is off leaves their last part to the name.
NAME = "([^/]+/.+?)"
ROUTES = [
    ("repository", repositories, None),
    ("user/starred", star, None),
    ("user/starred/([^/]+/.+)", unstar, None),
    (f"repository/{NAME}/changevisibility", visibility, None),
    (f"repository/{NAME}/changestate", state, "FEATURE_REPO_MIRROR"),
    (f"repository/{NAME}/permissions/(user|team)/", permissions, None),
    (f"repository/{NAME}/permissions/(user|team)/([^/]+)", permission, None),
    (f"repository/{NAME}/mirror/(sync-now|sync-cancel)", mirror_sync, "FEATURE_REPO_MIRROR"),
    (f"repository/{NAME}/mirror", mirror, "FEATURE_REPO_MIRROR"),
    (f"repository/{NAME}/manifest/([^/]+)/security", security, "FEATURE_SECURITY_SCANNER"),
    ("repository/([^/]+/.*[^/])", repository, None),
]
