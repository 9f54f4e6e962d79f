"""Tags with what they were: Quay keeps where a tag led before, so that it can be brought back."""

import time, views


def number(seconds):
    return int(seconds)


def lead(held, tag, digest):
    """A tag leads to an image from now on."""
    if held["tags"].get(tag) != digest:
        end(held, tag)
    held["tags"][tag] = digest
    held.setdefault("starts", {})[tag] = number(time.time())
    held["gone"] = [gone for gone in held["gone"] if gone != tag]


def end(held, tag):
    """A tag leads nowhere from now on."""
    digest = held["tags"].pop(tag, None)
    if digest is None:
        return
    start = held.setdefault("starts", {}).pop(tag, None) or number(time.time())
    held.setdefault("ends", {}).pop(tag, None)
    held["immutable"] = [t for t in held.get("immutable", []) if t != tag]
    held.setdefault("past", []).insert(0, {"name": tag, "digest": digest, "start": start, "end": number(time.time())})
    held["gone"] = sorted({*held["gone"], tag})


def history(held, size, with_immutable):
    """What there is before what there was, as the API shows it; `size` says it of a digest."""
    starts, ends, past = held.get("starts", {}), held.get("ends", {}), held.get("past", [])
    now = [{"name": tag, "digest": digest, "start": starts.get(tag), "end": ends.get(tag)} for tag, digest in held["tags"].items()]
    shown = []
    for part in [*now, *past]:
        view = {"name": part["name"], "reversion": False}
        if with_immutable:
            view["immutable"] = part in now and part["name"] in held.get("immutable", [])
        if part["start"]:
            view |= {"start_ts": part["start"], "last_modified": views.date(part["start"])}
        if part["end"]:
            view |= {"end_ts": part["end"], "expiration": views.date(part["end"])}
        kind = held["kinds"].get(part["digest"], "")
        shown.append({**view, "manifest_digest": part["digest"], "is_manifest_list": "index" in kind or "list" in kind,
                      "size": size(part["digest"])})
    return shown
