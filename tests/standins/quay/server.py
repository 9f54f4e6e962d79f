"""The web server in front: it answers 502 until Quay is up, sends on to https where there is a key for it, and hands the
rest to the API, the registry, or the health checks."""

import json, sys, traceback, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from answers import Answer, front, page
from api import BASE, Api
from api_access import authorize
from storage import StorageError, is_mounted


class Site:
    """What all requests share. Its API is `None` until Quay is up."""

    def __init__(self, config):
        self.config, self.api, self.registry, self.checks = config, None, None, {}

    def open(self, store, registry, checks):
        self.registry, self.checks = registry, checks
        self.api = Api(store, registry)

    def health(self, end_to_end):
        def well(check):
            try:
                check()
                return True
            except Exception as error:
                print(f"health: {error}", file=sys.stderr, flush=True)
                return False

        names = ("auth", "database", "redis", "storage") if end_to_end else (
            "auth", "database", "disk_space", "registry_gunicorn", "service_key", "web_gunicorn")
        services = {name: well(self.checks[name]) if name in self.checks else True for name in names}
        status = 200 if all(services.values()) else 503
        return status, {"data": {"services": services}, "status_code": status}, {}


def storage_check(storage):
    """A folder counts only where it is on a mount of its own: what is in the container goes with it."""
    def check():
        storage.check()
        root = getattr(storage, "root", None)
        if root is not None and not is_mounted(root):
            raise StorageError(f"Storage path {root} is not under a mounted volume")

    return check


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer leaves as one piece.
    wbufsize = -1
    disable_nagle_algorithm = True
    server_version = "nginx"
    sys_version = ""
    site = None
    # Where https is spoken, what comes in plainly is sent there.
    sends_on = False

    def log_message(self, form, *values):
        print(f"{self.address_string()} {form % values}", flush=True)

    def own_url(self):
        config = self.site.config
        return f"{config.get('PREFERRED_URL_SCHEME', 'http')}://{config['SERVER_HOSTNAME']}"

    def content(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def bearer(self):
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if kind.lower() == "bearer" else None

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.respond
        raise AttributeError(name)

    def respond(self):
        try:
            status, body, headers = self.routed()
            kind = headers.pop("kind", "application/json")
        except Answer as answer:
            status, body, kind, headers = answer.status, answer.body, answer.kind, answer.headers
        except ConnectionError:
            raise
        except (OSError, StorageError) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            text = f"the storage does not serve: {error}"
            status, body, kind, headers = 503, {"errors": [{"code": "UNAVAILABLE", "detail": {}, "message": text}]}, "application/json", {}
        except Exception:
            traceback.print_exc()
            status, body, kind, headers = 500, {"message": "Internal Server Error"}, "application/json", {}
        self.send(status, body, kind, headers)

    def routed(self):
        url = urllib.parse.urlsplit(self.path)
        path, query, body = urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query, keep_blank_values=True), self.content()
        site, method = self.site, self.command
        if self.sends_on:
            moved = front(301, "Moved Permanently")
            host = self.headers.get("Host", site.config["SERVER_HOSTNAME"]).rsplit(":", 1)[0]
            moved.headers["Location"] = f"https://{host}{self.path}"
            raise moved
        if site.api is None:
            raise front(502, "Bad Gateway")
        if method == "GET" and path in ("/health", "/health/instance", "/health/endtoend", "/status"):
            return site.health(path in ("/health/endtoend", "/status"))
        if path == "/csrf_token" and method == "GET":
            return site.api.csrf_token()
        if path == "/oauth/authorizeapp" and method == "POST":
            with site.api.store.lock:
                return authorize(site.api, self, body)
        if path.startswith(BASE):
            return site.api.answer(self, method, path.removeprefix(BASE), query, body)
        if path == "/v2" or path.startswith("/v2/"):
            status, value, headers = site.registry.answer(self, method, path[4:], query, body)
            # The registry's own answers have no spaces in them.
            plain = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode() + b"\n"
            return status, plain, headers
        raise page(404, "Not Found")

    def send(self, status, body, kind, headers):
        if isinstance(body, dict) and str(body.get("type", "")).startswith("/api/v1/error/"):
            body = {**body, "type": self.own_url() + body["type"]}
        data = body if isinstance(body, bytes) else json.dumps(body).encode() + b"\n"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
