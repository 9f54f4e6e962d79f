"""What Quay's start asks of the ways to log in."""

import os, re, socket, urllib.parse

TYPES = ("Database", "LDAP", "JWT", "Keystone", "OIDC", "AppToken")


def answers(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
        return True
    except OSError:
        return False


def is_on(config, key):
    """GitHub and Google are switched on by themselves; any other is there because its settings are."""
    return not key.startswith(("GITHUB_", "GOOGLE_")) or config.get(f"FEATURE_{key.removesuffix('_CONFIG')}")


def faults(config, folder):
    kind = config.get("AUTHENTICATION_TYPE", "Database")
    direct = config.get("FEATURE_DIRECT_LOGIN", True)
    others = {key: value for key, value in config.items() if key.endswith("_LOGIN_CONFIG") and is_on(config, key)}
    if kind not in TYPES:
        yield f"AUTHENTICATION_TYPE must be one of {', '.join(TYPES)}"
    if kind == "AppToken" and direct:
        yield "FEATURE_DIRECT_LOGIN must be false with AUTHENTICATION_TYPE AppToken"
    if not direct and not others:
        yield "FEATURE_DIRECT_LOGIN is false, and there is no other way to log in"
    if config.get("FEATURE_INVITE_ONLY_USER_CREATION") and not config.get("FEATURE_USER_CREATION", True):
        yield "FEATURE_INVITE_ONLY_USER_CREATION needs FEATURE_USER_CREATION"
    if kind == "JWT" and not os.path.exists(os.path.join(folder, "jwt-authn.cert")):
        yield "jwt-authn.cert is needed for AUTHENTICATION_TYPE JWT"
    if kind == "LDAP":
        url = urllib.parse.urlsplit(str(config.get("LDAP_URI", "")))
        if url.scheme not in ("ldap", "ldaps") or not url.hostname:
            yield "LDAP_URI must be ldap:// or ldaps:// and a host"
        elif not answers(url.hostname, url.port or (636 if url.scheme == "ldaps" else 389)):
            yield f"Could not connect to {config['LDAP_URI']}"
    yield from provider_faults(others)


def provider_faults(others):
    for key, held in others.items():
        if not isinstance(held, dict) or not held:
            yield f"{key} must hold the settings of the login"
            continue
        for name in ("CLIENT_ID", "CLIENT_SECRET"):
            if not held.get(name):
                yield f"{key} needs {name}"
        if key.startswith(("GITHUB_", "GOOGLE_")):
            continue
        server = str(held.get("OIDC_SERVER") or "")
        if not server:
            yield f"{key} needs OIDC_SERVER"
        elif not re.match(r"https?://.", server) or not server.endswith("/"):
            yield f"{key}: OIDC_SERVER must be an address that ends with /"
