"""Things as Quay's API shows them."""

import email.utils, hashlib, os, time

COLOURS = ["#969696", "#aec7e8", "#ff7f0e", "#ffbb78", "#2ca02c", "#98df8a", "#d62728", "#ff9896", "#9467bd"]


def avatar(name, word, kind):
    digest = hashlib.sha256(word.strip().lower().encode()).hexdigest()
    return {"name": name, "hash": digest, "color": COLOURS[int(digest[:4], 16) % len(COLOURS)], "kind": kind}


def team_avatar(name):
    return avatar(name, name, "team")


def user_avatar(store, name):
    return avatar(name, store.email(name) or name, "robot" if "+" in name else "user")


def date(seconds=None):
    return email.utils.formatdate(time.time() if seconds is None else seconds)


def quotas(config):
    """Where quotas are managed, everything that has one shows it."""
    if not (config.get("FEATURE_QUOTA_MANAGEMENT") and config.get("FEATURE_EDIT_QUOTA", True)):
        return {}
    report = {"quota_bytes": 0, "configured_quota": None, "running_backfill": "complete", "backfill_status": "complete"}
    return {"quotas": [], "quota_report": report}


def organization(store, rights, name, org, with_teams):
    """What an organization's administrator sees, a member, or anybody."""
    admin, member = rights.administers(name), rights.belongs_to(name)
    view = {"name": name, "email": org["email"] if admin or rights.has_full_access else "",
            "avatar": avatar(name, org["email"] or name, "org"), "is_admin": admin, "is_member": member}
    if with_teams:
        sees_all = admin or rights.has_full_access
        repositories = [store.repository(r)["permissions"] for r in store.repositories(name)]
        view["teams"] = {team: {"name": team, "description": held["description"], "role": held["role"],
                                "avatar": team_avatar(team), "can_view": sees_all or rights.name in held["members"],
                                "repo_count": sum(f"team/{team}" in r for r in repositories),
                                "member_count": len(held["members"]), "is_synced": bool(held.get("synced"))}
                         for team, held in org["teams"].items()}
        view["ordered_teams"] = list(org["teams"])
    if admin:
        view |= {"invoice_email": False, "invoice_email_address": None, "tag_expiration_s": org["tag_expiration_s"],
                 "is_free_account": True}
    shown = quotas(store.config) if admin or member else {}
    return view | shown | ({"quotas": org.get("quotas", [])} if shown else {})


def team(rights, space, name, held, is_new):
    return {"name": name, "description": held["description"], "can_view": rights.administers(space) or rights.name in held["members"],
            "role": held["role"], "avatar": team_avatar(name), "new_team": is_new}


def member(store, name):
    return {"name": name, "kind": "user", "is_robot": "+" in name, "avatar": user_avatar(store, name), "invited": False}


def directory():
    """What logs people in besides the own users, so that teams can be filled from it."""
    return os.environ.get("QUAY_STANDIN_FEDERATED")


def synced(call, name, held, view):
    """What the members of a team show besides, where teams may be filled."""
    if not (call.config.get("FEATURE_TEAM_SYNCING") and directory()):
        return view
    if call.rights.administers(name) and call.rights.is_super:
        view["can_sync"] = {"service": directory()}
    if held.get("synced"):
        view["synced"] = held["synced"] if call.rights.is_super else {"service": held["synced"]["service"]}
    return view


def robot(space, short, held, with_metadata):
    view = {"name": f"{space}+{short}", "created": held["created"], "last_accessed": None,
            "description": held["description"], "token": held["token"]}
    return view | ({"unstructured_metadata": held.get("unstructured_metadata") or {}} if with_metadata else {})


def holder(store, org, kind, name):
    """Whom a default permission is for, or who it was made for."""
    if kind == "team":
        return {"name": name, "kind": "team", "avatar": team_avatar(name)}
    return {"name": name, "is_robot": "+" in name, "kind": "user", "is_org_member": is_member(org, name),
            "avatar": user_avatar(store, name)}


def is_member(org, name):
    return "+" in name or any(name in team["members"] for team in org["teams"].values())


def prototype(store, org, held):
    creator = held["activating_user"]
    return {"activating_user": holder(store, org, "user", creator) if creator else None,
            "delegate": holder(store, org, held["delegate"]["kind"], held["delegate"]["name"]),
            "role": held["role"], "id": held["id"]}


def permission(store, org, kind, name, role):
    if kind == "team":
        return {"role": role, "name": name, "avatar": team_avatar(name)}
    view = {"role": role, "name": name, "is_robot": "+" in name, "avatar": user_avatar(store, name)}
    return view | ({"is_org_member": is_member(org, name)} if org else {})


def repository(store, rights, name, tags):
    held, public, space = store.repository(name), store.is_public(name), name.split("/")[0]
    org = store.load(f"org/{space}")
    view = {"namespace": space, "name": name.split("/", 1)[1], "kind": "image", "description": held["description"],
            "is_public": public, "is_organization": org is not None, "is_starred": rights.name in held.get("stars", []),
            "status_token": "" if public else hashlib.sha256(name.encode()).hexdigest()[:32], "trust_enabled": False,
            "tag_expiration_s": (org or {}).get("tag_expiration_s", 1209600), "is_free_account": True, "state": held["state"]}
    if tags is not None:
        view["tags"] = {tag: {"name": tag, "size": None, "last_modified": date(), "manifest_digest": digest}
                        for tag, digest in tags.items()}
    return view | {"can_write": rights.may(name, "write") and held["state"] == "NORMAL", "can_admin": rights.may(name, "admin")}


def user(store, name):
    config = store.config
    return {"kind": "user", "name": name, "username": name, "email": store.email(name), "verified": True,
            "avatar": user_avatar(store, name), "super_user": name in (config.get("SUPER_USERS") or []),
            "global_readonly_super_user": name in (config.get("GLOBAL_READONLY_SUPER_USERS") or []),
            "enabled": store.account(name)["enabled"], **quotas(config)}


def mirror(held):
    """Without its password, which nobody gets to see again."""
    keys = ("is_enabled", "external_reference", "external_registry_config", "sync_interval", "sync_start_date", "root_rule",
            "robot_username", "architecture_filter", "skopeo_timeout_interval")
    return {**{key: held[key] for key in keys if key in held}, "mirror_type": "PULL",
            "external_registry_username": held.get("external_registry_username"), "sync_expiration_date": None,
            "sync_retries_remaining": 3, "sync_status": "NEVER_RUN"}
