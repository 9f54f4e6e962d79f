"""A stand-in for Clair 4 in combo mode, for tests where Clair's own image cannot be had. It is not Clair and finds no
vulnerability: it holds to the contract that a deployment sees. It reads the same config.yaml, refuses keys that Clair does
not know, needs the same PostgreSQL (with uuid-ossp), checks the tokens of its callers, fetches the layers that it is told
to index, and answers the endpoints of indexer, matcher and introspection."""

import base64, hashlib, hmac, json, os, re, signal, ssl, sys, threading, time, urllib.error, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2
import yaml

# What config.yaml may hold; a mapping holds its own keys, None is anything.
KNOWN = {
    "http_listen_addr": None, "introspection_addr": None, "log_level": None, "tls": {"cert": None, "key": None},
    "indexer": {"connstring": None, "scanlock_retry": None, "layer_scan_concurrency": None, "migrations": None,
                "scanner": None, "airgap": None, "index_report_request_concurrency": None},
    "matcher": {"connstring": None, "indexer_addr": None, "migrations": None, "period": None, "disable_updaters": None,
                "update_retention": None, "max_conn_pool": None, "cache_age": None},
    "matchers": {"names": None, "config": None}, "updaters": {"sets": None, "config": None, "filter": None},
    "notifier": {"connstring": None, "migrations": None, "indexer_addr": None, "matcher_addr": None,
                 "poll_interval": None, "delivery_interval": None, "disable_summary": None, "webhook": None,
                 "amqp": None, "stomp": None},
    "auth": {"psk": {"key": None, "iss": None}, "keyserver": {"api": None, "intraservice": None}},
    "trace": None, "metrics": {"name": None, "prometheus": None, "dogstatsd": None, "otlp": None},
}
LEVELS = ("debug-color", "debug", "info", "warn", "error", "fatal", "panic")
LEEWAY = 15


class Refused(Exception):
    """Why this does not start."""


def known(config, keys, place):
    for key, value in config.items():
        if key not in keys:
            raise Refused(f"error: unknown key {place}{key}")
        if isinstance(keys[key], dict) and value is not None:
            if not isinstance(value, dict):
                raise Refused(f"error: {place}{key} is no mapping")
            known(value, keys[key], f"{place}{key}.")


def read_config():
    if os.environ.get("CLAIR_MODE") != "combo":
        raise Refused(f"unknown mode received: {os.environ.get('CLAIR_MODE')}")
    path = os.environ.get("CLAIR_CONF", "")
    try:
        with open(path) as file:
            config = yaml.safe_load(file)
    except OSError as error:
        raise Refused(f"failed to open the configuration {path}: {error.strerror}")
    if not isinstance(config, dict):
        raise Refused(f"{path} is no mapping")
    known(config, KNOWN, "")
    if config.get("log_level", "info") not in LEVELS:
        raise Refused(f"unknown log level {config['log_level']}")
    for part in ("indexer", "matcher", "notifier"):
        if not (config.get(part) or {}).get("connstring"):
            raise Refused(f"{part} requires a database connection string")
    psk = (config.get("auth") or {}).get("psk")
    if psk:
        try:
            psk["key"] = base64.b64decode(psk["key"], validate=True)
        except ValueError:
            raise Refused("auth.psk.key: illegal base64 data")
    return config


def migrate(part, settings):
    try:
        with psycopg2.connect(settings["connstring"], connect_timeout=5) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'uuid-ossp'")
            if cursor.fetchone()[0] == 0:
                raise Refused('ERROR: Please load the "uuid-ossp" extension. (SQLSTATE 42501)')
            cursor.execute("SELECT uuid_generate_v4()")
            if settings.get("migrations"):
                cursor.execute("CREATE TABLE IF NOT EXISTS standin_report (manifest text PRIMARY KEY, report text)")
    except psycopg2.Error as error:
        raise Refused(f"{part}: failed to connect to the database: {str(error).strip()}")


def address(text, otherwise):
    host, _, port = (text or otherwise).rpartition(":")
    return host, int(port)


class Scanner:
    def __init__(self, config):
        self.config = config
        self.psk = (config.get("auth") or {}).get("psk")
        self.state = hashlib.md5(json.dumps(config["indexer"], sort_keys=True).encode()).hexdigest()
        # As Go does: every file of these folders.
        self.trust = ssl.create_default_context()
        for folder in os.environ.get("SSL_CERT_DIR", "").split(":"):
            for name in os.listdir(folder) if os.path.isdir(folder) else []:
                try:
                    self.trust.load_verify_locations(os.path.join(folder, name))
                except (OSError, ssl.SSLError):
                    pass

    def query(self, text, *values):
        with psycopg2.connect(self.config["indexer"]["connstring"], connect_timeout=5) as connection:
            with connection.cursor() as cursor:
                cursor.execute(text, values)
                return cursor.fetchall() if cursor.description else []

    def lets_in(self, header):
        if not self.psk:
            return True
        match = re.fullmatch(r"Bearer ([^.]+)\.([^.]+)\.([^.]+)", header or "")
        if not match:
            return False
        decode = lambda part: base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        try:
            header, claims = json.loads(decode(match[1])), json.loads(decode(match[2]))
            signature = decode(match[3])
        except ValueError:
            return False
        expected = hmac.new(self.psk["key"], f"{match[1]}.{match[2]}".encode(), "sha256").digest()
        if header.get("alg") != "HS256" or not hmac.compare_digest(expected, signature):
            return False
        if claims.get("exp", 0) + LEEWAY < time.time():
            return False
        return not self.psk.get("iss") or claims.get("iss") in self.psk["iss"]

    def index(self, manifest):
        for layer in manifest["layers"]:
            request = urllib.request.Request(layer["uri"])
            for name, values in (layer.get("headers") or {}).items():
                request.add_header(name, values[0])
            with urllib.request.urlopen(request, timeout=30, context=self.trust) as answer:
                if "sha256:" + hashlib.sha256(answer.read()).hexdigest() != layer["hash"]:
                    raise ValueError(f"{layer['uri']}: what was fetched has another digest")
        report = {"manifest_hash": manifest["hash"], "state": "IndexFinished", "packages": {}, "distributions": {},
                  "repository": {}, "environments": {}, "success": True, "err": ""}
        self.query("INSERT INTO standin_report VALUES (%s, %s) ON CONFLICT DO NOTHING", manifest["hash"], json.dumps(report))
        return report

    def report(self, manifest):
        rows = self.query("SELECT report FROM standin_report WHERE manifest = %s", manifest)
        return json.loads(rows[0][0]) if rows else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    scanner = None

    def log_message(self, form, *values):
        print(f"{self.address_string()} {form % values}", flush=True)

    def answer(self, status, body=None, **headers):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if not self.scanner.lets_in(self.headers.get("Authorization")):
            return self.answer(401)
        if self.path == "/indexer/api/v1/index_state":
            return self.answer(200, {"state": self.scanner.state}, Etag=f'"{self.scanner.state}"')
        if match := re.fullmatch(r"/(indexer/api/v1/index_report|matcher/api/v1/vulnerability_report)/(sha256:\w+)", self.path):
            report = self.scanner.report(match[2])
            if not report:
                return self.answer(404, {"code": "not-found", "message": "index report not found"})
            if match[1].startswith("matcher"):
                report = {**report, "vulnerabilities": {}, "package_vulnerabilities": {}, "enrichments": {}}
            return self.answer(200, report)
        return self.answer(404, {"code": "not-found", "message": "no such endpoint"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.scanner.lets_in(self.headers.get("Authorization")):
            return self.answer(401)
        if self.path != "/indexer/api/v1/index_report":
            return self.answer(404, {"code": "not-found", "message": "no such endpoint"})
        try:
            return self.answer(201, self.scanner.index(json.loads(body)), Etag=f'"{self.scanner.state}"')
        except (OSError, ValueError, urllib.error.URLError) as error:
            print(f"error: failed to fetch layers: {error}", file=sys.stderr, flush=True)
            return self.answer(500, {"code": "internal-error", "message": f"failed to fetch layers: {error}"})


class Introspection(Handler):
    def do_GET(self):
        if self.path not in ("/healthz", "/readyz", "/metrics"):
            return self.answer(404)
        try:
            self.scanner.query("SELECT 1")
        except psycopg2.Error as error:
            print(f"error: health: {error}", file=sys.stderr, flush=True)
            return self.answer(503)
        self.answer(200)


def main():
    config = read_config()
    for part in ("indexer", "matcher", "notifier"):
        migrate(part, config[part])
    Handler.scanner = Introspection.scanner = Scanner(config)
    introspection = ThreadingHTTPServer(address(config.get("introspection_addr"), ":8089"), Introspection)
    server = ThreadingHTTPServer(address(config.get("http_listen_addr"), ":6060"), Handler)
    for each in (introspection, server):
        each.daemon_threads = True
    threading.Thread(target=introspection.serve_forever, daemon=True).start()
    # The first process of a container gets no default action for it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print("stand-in for Clair: ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except Refused as why:
        print(f"stand-in for Clair: {why}", file=sys.stderr, flush=True)
        sys.exit(1)
