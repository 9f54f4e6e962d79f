"""Single images: tags, labels, layers, how often they were pulled. All of it is by reading Quay's sources (tag.py,
manifest.py); nothing here was recorded."""

import json, re, time, uuid

import tags, views
from answers import message, not_found, problem
from api_orgs import no_method
from api_repos import exists
from schema import FLAG, TEXT, TEXT_OR_NULL, mapping
from version import since

# The longest and shortest time that a tag may have, from its beginning on.
SOONEST, LATEST = 3600, 104 * 7 * 86400
CHANGE = mapping(manifest_digest=TEXT_OR_NULL, expiration={"type": ["integer", "null"]}, immutable=FLAG)
LABEL = mapping(("key", "value", "media_type"), key=TEXT, value=TEXT,
                media_type={"type": ["string", "null"], "enum": ["text/plain", "application/json", None]})


def must_read(call, name):
    call.rights.must(call.rights.may_read(name) or call.rights.has_full_access)
    exists(call, name)


def must_write(call, name):
    call.rights.must(call.rights.may(name, "write") or call.rights.has_full_access)
    state = call.store.repository(name)["state"]
    if state != "NORMAL":
        raise message(f"Repository is in read only or mirror mode: {state}", 503)
    exists(call, name)


def keeps_tags(call):
    return since("3.17") and call.config.get("FEATURE_IMMUTABLE_TAGS")


def save(call, name, held):
    call.store.save(f"tags/{name}", held)


def size(call, name):
    def of(digest):
        manifest = json.loads(call.registry.manifest(name, digest) or b"{}")
        return sum(layer.get("size", 0) for layer in manifest.get("layers", []))

    return of


def listed(call, name):
    if call.method != "GET":
        raise no_method()
    must_read(call, name)
    shown = tags.history(call.registry.held(name), size(call, name), keeps_tags(call))
    word = lambda key, otherwise: call.query.get(key, [otherwise])[0]
    if tag := word("specificTag", ""):
        shown = [t for t in shown if t["name"] == tag]
    if call.flag("onlyActiveTags", False):
        shown = [t for t in shown if t.get("end_ts") is None or t["end_ts"] > time.time()]
    limit, page = min(100, max(1, int(word("limit", "50")))), max(1, int(word("page", "1")))
    part = shown[(page - 1) * limit:page * limit]
    return 200, {"tags": part, "page": page, "has_additional": len(shown) > page * limit}


def tag(call, name, which):
    if call.method == "DELETE":
        must_write(call, name)
        held = call.registry.held(name)
        if which not in held["tags"]:
            raise not_found()
        must_be_mutable(held, which)
        tags.end(held, which)
        save(call, name, held)
        return 204, b""
    if call.method != "PUT":
        raise no_method()
    must_write(call, name)
    asked = call.checked(CHANGE)
    if not re.fullmatch(r"[\w][\w.-]{0,127}", which):
        raise message("Tag name must match the expression.")
    held = call.registry.held(name)
    if "immutable" in asked and keeps_tags(call):
        if which not in held["tags"]:
            raise not_found()
        others = [t for t in held.get("immutable", []) if t != which]
        held["immutable"] = [*others, which] if asked["immutable"] else others
    if "expiration" in asked:
        if which not in held["tags"]:
            raise not_found()
        must_be_mutable(held, which)
        expire(held, which, asked["expiration"])
    if "manifest_digest" in asked:
        if call.registry.manifest(name, asked["manifest_digest"] or "none") is None or not call.registry.is_alive(held, asked["manifest_digest"], name):
            raise not_found()
        must_be_mutable(held, which)
        tags.lead(held, which, asked["manifest_digest"])
    save(call, name, held)
    return 201, "Updated"


def must_be_mutable(held, which):
    # How Quay words it is not known.
    if which in held.get("immutable", []):
        raise message(f"Tag {which} is immutable", 409)


def expire(held, which, end):
    ends = held.setdefault("ends", {})
    if end is None:
        ends.pop(which, None)
        return
    if end <= time.time():
        raise message("The browser (or proxy) sent a request that this server could not understand.")
    start = held.get("starts", {}).get(which) or tags.number(time.time())
    ends[which] = min(max(end, start + SOONEST), start + LATEST)


def restore(call, name, which):
    if call.method != "POST":
        raise no_method()
    must_write(call, name)
    asked = call.checked(mapping(manifest_digest=TEXT))
    if "manifest_digest" not in asked:
        raise problem(400, "Missing manifest_digest")
    held = call.registry.held(name)
    if call.registry.manifest(name, asked["manifest_digest"]) is None:
        raise not_found()
    tags.lead(held, which, asked["manifest_digest"])
    save(call, name, held)
    return 200, {}


def found(call, name, digest):
    manifest = call.registry.manifest(name, digest)
    if manifest is None or not call.registry.is_alive(call.registry.held(name), digest, name):
        raise not_found()
    return json.loads(manifest)


def manifest(call, name, digest):
    if call.method != "GET":
        raise no_method()
    must_read(call, name)
    data = found(call, name, digest)
    parts = [{"index": index, "compressed_size": layer.get("size"), "is_remote": False, "urls": None, "command": None, "comment": None,
              "author": None, "blob_digest": layer["digest"], "created_datetime": views.date()}
             for index, layer in enumerate(data.get("layers", []))]
    is_list = "manifests" in data
    return 200, {"digest": digest, "is_manifest_list": is_list, "manifest_data": call.registry.manifest(name, digest).decode(),
                 "config_media_type": (data.get("config") or {}).get("mediaType"), "layers": None if is_list else parts}


def labels(call, name, digest, which):
    if call.method == "GET":
        must_read(call, name)
    elif call.method == ("POST" if which is None else "DELETE"):
        must_write(call, name)
    else:
        raise no_method()
    asked = call.checked(LABEL) if call.method == "POST" else {}
    found(call, name, digest)
    held = call.registry.held(name)
    own = held.setdefault("labels", {}).setdefault(digest, [])
    if which is None and call.method == "GET":
        return 200, {"labels": own}
    if call.method == "POST":
        if not re.fullmatch(r"[a-z0-9]+(?:[.-][a-z0-9]+)*", asked["key"]):
            raise message("Label is of an invalid format or missing please use a valid format for labels")
        made = {"id": str(uuid.uuid4()), "key": asked["key"], "value": asked["value"], "source_type": "api",
                "media_type": asked["media_type"] or "text/plain"}
        own.append(made)
        save(call, name, held)
        return 201, {"label": made}
    one = next((label for label in own if label["id"] == which), None)
    if one is None:
        raise not_found()
    if call.method == "GET":
        return 200, one
    own.remove(one)
    save(call, name, held)
    return 204, b""


def pulls(call, name, kind, which):
    """Nothing is counted here: each was pulled never."""
    if call.method != "GET":
        raise no_method()
    must_read(call, name)
    if not since("3.16"):
        raise not_found()
    none = {"manifest_pull_count": 0, "last_manifest_pull_date": None}
    if kind == "manifest":
        found(call, name, which)
        return 200, {"manifest_digest": which, **none}
    digest = call.registry.tags(name).get(which)
    if digest is None:
        raise not_found()
    return 200, {"tag_name": which, "tag_pull_count": 0, "last_tag_pull_date": None, "current_manifest_digest": digest, **none}


NAME, DIGEST = "([^/]+/.+?)", "(sha256:[0-9a-f]+)"
ROUTES = [
    (f"repository/{NAME}/(tag|manifest)/([^/]+)/pull_statistics", pulls, "FEATURE_IMAGE_PULL_STATS"),
    (f"repository/{NAME}/tag/", listed, None),
    (f"repository/{NAME}/tag/([^/]+)", tag, None),
    (f"repository/{NAME}/tag/([^/]+)/restore", restore, None),
    (f"repository/{NAME}/manifest/{DIGEST}", manifest, None),
    (f"repository/{NAME}/manifest/{DIGEST}/labels(?:/([^/]+))?", labels, None),
]
