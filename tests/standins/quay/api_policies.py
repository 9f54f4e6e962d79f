"""What holds for all images of a namespace or repository: prune policies, immutable tags, quotas. All of it is by reading
Quay's sources (policy.py, immutability_policy.py, namespacequota.py); no answer but the empty list of quotas was recorded."""

import re, uuid

from answers import not_found, problem
from api_orgs import no_method, save
from api_repos import change, exists, must_administer
from schema import FLAG, TEXT, mapping
from version import since

NUMBER_OR_TEXT = {"type": ["integer", "string"]}
INTEGER = {"type": "integer"}
PRUNE = mapping(("method", "value"), method=TEXT, value=NUMBER_OR_TEXT, tagPattern=TEXT, tagPatternMatches=FLAG)
IMMUTABLE = mapping(("tagPattern",), tagPattern=TEXT, tagPatternMatches=FLAG)


class Namespace:
    """An organization, or the user who asks: where its policies are kept."""

    def __init__(self, call, name):
        call.rights.must(call.rights.administers(name) or call.rights.has_full_access)
        self.call, self.key = call, f"org/{name}" if call.store.load(f"org/{name}") else f"user/{name}"
        self.held = call.store.load(self.key)
        if self.held is None:
            raise not_found()

    def save(self, **what):
        self.held.update(what)
        self.call.store.save(self.key, self.held)


class Repository:
    def __init__(self, call, name):
        must_administer(call, name)
        exists(call, name)
        self.call, self.name, self.held = call, name, call.store.repository(name)

    def save(self, **what):
        change(self.call, self.name, **what)


def policies(call, place, kind, which, read):
    """A list of policies, and one of them; `read` says what a request means, and what is wrong with it."""
    held = place.held.get(kind, [])
    if which is None:
        if call.method == "GET":
            return 200, {"policies": held}
        if call.method != "POST":
            raise no_method()
        made = {"uuid": str(uuid.uuid4()), **read(held)}
        place.save(**{kind: [*held, made]})
        return 201, {"uuid": made["uuid"]}
    if call.method not in ("GET", "PUT", "DELETE"):
        raise no_method()
    found = next((p for p in held if p["uuid"] == which), None)
    others = [p for p in held if p["uuid"] != which]
    new = read(others) if call.method == "PUT" else None
    if found is None:
        raise not_found()
    if call.method == "GET":
        return 200, found
    if call.method == "PUT":
        place.save(**{kind: [{"uuid": which, **new} if p is found else p for p in held]})
        return 204, b""
    place.save(**{kind: others})
    return 200, {"uuid": which}


def prune(call, place, which):
    def read(others):
        asked = call.checked(PRUNE)
        method, value = asked["method"], asked["value"]
        if method not in ("number_of_tags", "creation_date"):
            raise problem(400, "Invalid method provided")
        is_count = method == "number_of_tags" and isinstance(value, int) and value > 0
        is_period = method == "creation_date" and isinstance(value, str) and re.fullmatch(r"\d+[smhdw]", value)
        if not is_count and not is_period:
            raise problem(400, "Invalid value given for method type")
        new = {"method": method, "value": value, "tagPattern": (asked.get("tagPattern") or "").strip() or None,
               "tagPatternMatches": asked.get("tagPatternMatches", True)}
        if not since("3.12") and others:
            raise problem(400, "Policy for this namespace already exists, delete existing to create new policy")
        return new

    return policies(call, place, "prune", which, read)


def immutable(call, place, which):
    def read(others):
        asked = call.checked(IMMUTABLE)
        pattern = asked["tagPattern"].strip()
        if not pattern:
            raise problem(400, "tag_pattern is required and must be a non-empty string")
        if len(pattern) > 256:
            raise problem(400, "tag_pattern must be 256 characters or less")
        try:
            re.compile(pattern)
        except re.error as error:
            raise problem(400, f"Invalid regex pattern: {error}")
        if any(p["tagPattern"] == pattern for p in others):
            raise problem(400, "A policy with the same tag_pattern already exists")
        return {"tagPattern": pattern, "tagPatternMatches": asked.get("tagPatternMatches", True)}

    if not since("3.17"):
        raise not_found()
    return policies(call, place, "immutable", which, read)


# Quotas: a superuser sets them.

QUOTA = mapping(("limit_bytes",), limit_bytes=INTEGER)
LIMIT = mapping(("type", "threshold_percent"), type=TEXT, threshold_percent=INTEGER)


def org_of(call, name):
    org = call.store.load(f"org/{name}")
    if org is None:
        raise not_found()
    return org


def number(call):
    """Quay counts all that it keeps."""
    last = call.store.load("counter") or {"last": 0}
    call.store.save("counter", {"last": last["last"] + 1})
    return last["last"] + 1


def quotas(call, name):
    if call.method == "GET":
        call.rights.must(call.rights.belongs_to(name) or call.rights.is_super)
        return 200, org_of(call, name).get("quotas", [])
    if call.method != "POST":
        raise no_method()
    asked = call.checked(QUOTA)
    call.rights.must(call.rights.is_super)
    org = org_of(call, name)
    if org.get("quotas"):
        raise problem(400, f"Organization quota for '{name}' already exists")
    org["quotas"] = [{"id": number(call), "limit_bytes": asked["limit_bytes"], "limits": []}]
    save(call, name, org)
    return 201, "Created"


def found(held, which):
    one = next((part for part in held if str(part["id"]) == which), None)
    if one is None:
        raise not_found()
    return one


def quota(call, name, which):
    if call.method not in ("GET", "PUT", "DELETE"):
        raise no_method()
    asked = call.checked(mapping(limit_bytes=INTEGER)) if call.method == "PUT" else {}
    call.rights.must(call.rights.administers(name) or call.rights.is_super)
    org = org_of(call, name)
    held = found(org.get("quotas", []), which)
    if call.method == "DELETE":
        org["quotas"].remove(held)
    held.update(asked)
    save(call, name, org)
    return (204, b"") if call.method == "DELETE" else (200, held)


def limits(call, name, which):
    if call.method not in ("GET", "POST"):
        raise no_method()
    asked = call.checked(LIMIT) if call.method == "POST" else {}
    call.rights.must(call.rights.is_super or (call.method == "GET" and call.rights.belongs_to(name)))
    org = org_of(call, name)
    held = found(org.get("quotas", []), which)
    if call.method == "GET":
        return 200, held["limits"]
    new = {"type": asked["type"], "limit_percent": asked["threshold_percent"]}
    if any({k: v for k, v in limit.items() if k != "id"} == new for limit in held["limits"]):
        raise problem(400, "Quota limit already exists")
    held["limits"].append({"id": number(call), **new})
    save(call, name, org)
    return 201, "Created"


def limit(call, name, which, one):
    if call.method not in ("GET", "PUT", "DELETE"):
        raise no_method()
    asked = call.checked(mapping(type=TEXT, threshold_percent=INTEGER)) if call.method == "PUT" else {}
    call.rights.must(call.rights.is_super or (call.method == "GET" and call.rights.belongs_to(name)))
    org = org_of(call, name)
    held = found(org.get("quotas", []), which)
    part = found(held["limits"], one)
    if call.method == "GET":
        return 200, part
    if call.method == "DELETE":
        held["limits"].remove(part)
    if "threshold_percent" in asked:
        part["limit_percent"] = asked["threshold_percent"]
    save(call, name, org)
    return (204, b"") if call.method == "DELETE" else (200, held)


NAME, REPOSITORY = "([^/]+)", "([^/]+/.+?)"
ROUTES = [
    (f"organization/{NAME}/autoprunepolicy/([^/]+)?", lambda c, name, which: prune(c, Namespace(c, name), which), "FEATURE_AUTO_PRUNE"),
    (f"repository/{REPOSITORY}/autoprunepolicy/([^/]+)?", lambda c, name, which: prune(c, Repository(c, name), which), "FEATURE_AUTO_PRUNE"),
    (f"organization/{NAME}/immutabilitypolicy/([^/]+)?", lambda c, name, which: immutable(c, Namespace(c, name), which),
     "FEATURE_IMMUTABLE_TAGS"),
    (f"repository/{REPOSITORY}/immutabilitypolicy/([^/]+)?", lambda c, name, which: immutable(c, Repository(c, name), which),
     "FEATURE_IMMUTABLE_TAGS"),
    (f"organization/{NAME}/quota", quotas, "FEATURE_QUOTA_MANAGEMENT"),
    (f"organization/{NAME}/quota/{NAME}", quota, "FEATURE_QUOTA_MANAGEMENT"),
    (f"organization/{NAME}/quota/{NAME}/limit", limits, "FEATURE_QUOTA_MANAGEMENT"),
    (f"organization/{NAME}/quota/{NAME}/limit/{NAME}", limit, "FEATURE_QUOTA_MANAGEMENT"),
]
