"""Which other registries Quay goes to. Since 3.17 it goes to no address of a private network, and to no name that does not
resolve, unless SSRF_ALLOWED_HOSTS lists it: a host, an address, or a network."""

import ipaddress, socket, urllib.parse

from answers import problem
from version import since

NOT_ALLOWED = "The provided registry URL is not allowed"
INNER_NAMES = ("localhost", "metadata", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


def _address(text):
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _lists(allowed, host, address):
    for entry in allowed:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            if str(entry).lower() == host.lower():
                return True
            continue
        if address is not None and address in network:
            return True
    return False


def check(reference, config):
    """A problem where Quay would not go to this registry (`HOST[:PORT][/PATH]`)."""
    if not since("3.17"):
        return
    allowed = config.get("SSRF_ALLOWED_HOSTS") or []
    try:
        parsed = urllib.parse.urlsplit(reference if "://" in reference else f"https://{reference}")
        host, _ = parsed.hostname, parsed.port
    except ValueError:
        host = None
    if not host:
        raise problem(400, "URL must include a hostname")
    if parsed.username or parsed.password:
        raise problem(400, "URLs with embedded credentials are not allowed")
    literal = _address(host)
    if _lists(allowed, host, literal):
        if literal is not None:
            return
    elif literal is not None and not literal.is_global:
        raise problem(400, NOT_ALLOWED)
    elif host.lower() in INNER_NAMES or host.lower().endswith((".internal", ".local", ".cluster.local")):
        raise problem(400, NOT_ALLOWED)
    if literal is not None:
        return
    try:
        found = {_address(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        raise problem(400, f"Cannot resolve hostname '{host}'")
    if any(not a.is_global and not _lists(allowed, host, a) for a in found if a is not None):
        raise problem(400, NOT_ALLOWED)
