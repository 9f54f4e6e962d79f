"""A stand-in for Quay 3, for tests where Quay's own image cannot be had. It is not Quay: it holds to the contract that
a deployment sees. It reads the same config.yaml, refuses what Quay's start refuses, needs the same PostgreSQL (with
pg_trgm) and Redis, keeps images where its storage is (a folder or a bucket), has them scanned by the Clair that it
names, and answers the health, first-user, repository, token and image endpoints."""

import base64, hashlib, hmac, json, os, re, secrets, signal, ssl, sys, threading, time, urllib.error, urllib.parse, urllib.request, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checks import CONFIG, CONTAINED, Refused, check_database, check_values, database, ping, read_config
from content import Content
from storage import DRIVERS, LocalStorage, StorageError

PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 8080


# --- what it keeps --------------------------------------------------------------------------------------------------


class Registry:
    def __init__(self, config):
        self.config = config
        driver, parameters = config["DISTRIBUTED_STORAGE_CONFIG"][config["DISTRIBUTED_STORAGE_PREFERENCE"][0]]
        self.storage = DRIVERS[driver](**parameters)
        self.uploads = {}
        self.key = str(config["SECRET_KEY"]).encode()
        self.lock = threading.Lock()
        self.content = Content(self)

    def query(self, text, *values):
        connection = database(self.config)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(text, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def initialize(self, asked):
        if not self.config.get("FEATURE_USER_INITIALIZE"):
            return 400, {"message": "Cannot initialize user, FEATURE_USER_INITIALIZE is False"}
        if self.config["AUTHENTICATION_TYPE"] != "Database":
            return 400, {"message": "Cannot initialize user in a non-database auth system"}
        with self.lock:
            if self.query("SELECT count(*) FROM standin_user")[0][0]:
                return 400, {"message": "Cannot initialize user in a non-empty database"}
            name, password, email = (asked.get(k, "") for k in ("username", "password", "email"))
            problem = (
                "Invalid password, password must be at least 8 characters and contain no whitespace."
                if len(password) < 8 or re.search(r"\s", password)
                else f"Invalid username {name}" if not re.fullmatch(r"[a-z0-9_][a-z0-9_.-]{1,254}", name)
                else f"Invalid email address: {email}" if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email)
                else None
            )
            if problem:
                return 400, {"message": f"Failed to initialize user: {problem}"}
            self.add_user(name, password, email)
            token = secrets.token_hex(20) if asked.get("access_token") else ""
            if token:
                self.query("INSERT INTO standin_token VALUES (%s, %s)", hashlib.sha256(token.encode()).hexdigest(), name)
        return 200, {"username": name, "email": email, "encrypted_password": secrets.token_hex(32), "access_token": token}

    def add_user(self, name, password, email):
        salt = secrets.token_bytes(16)
        self.query("INSERT INTO standin_user VALUES (%s, %s, %s, %s)", name, email, salt, self.hash(salt, password))

    @staticmethod
    def hash(salt, password):
        return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 10000)

    def user_of_basic(self, value):
        name, _, password = base64.b64decode(value).decode().partition(":")
        return self.user_of_password(name, password)

    def user_of_password(self, name, password):
        robot = self.content.robot(name)
        if robot:
            return name if hmac.compare_digest(robot["token"], password) else None
        rows = self.query("SELECT salt, hash FROM standin_user WHERE name = %s", name)
        if rows and hmac.compare_digest(bytes(rows[0][1]), self.hash(bytes(rows[0][0]), password)):
            return name
        return None

    def user_of_token(self, value):
        rows = self.query("SELECT name FROM standin_token WHERE hash = %s", hashlib.sha256(value.encode()).hexdigest())
        return rows[0][0] if rows else None

    def sign(self, claims):
        text = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
        return f"{text}.{hmac.new(self.key, text.encode(), 'sha256').hexdigest()}"

    def claims(self, token):
        text, _, signature = token.partition(".")
        if not hmac.compare_digest(signature, hmac.new(self.key, text.encode(), "sha256").hexdigest()):
            return None
        claims = json.loads(base64.urlsafe_b64decode(text))
        return claims if claims["exp"] > time.time() else None

    def is_public(self, repository):
        rows = self.query("SELECT public FROM standin_repository WHERE name = %s", repository)
        return rows[0][0] if rows else None

    def granted(self, user, repository, actions):
        """What of the asked actions this user may do; pushing to a repository that is not there makes it."""
        granted, public = [], self.is_public(repository)
        if "push" in actions and self.content.may(user, repository, "push"):
            if public is None:
                public = not self.config.get("CREATE_PRIVATE_REPO_ON_PUSH", True)
                self.query("INSERT INTO standin_repository VALUES (%s, %s) ON CONFLICT DO NOTHING", repository, public)
            granted.append("push")
        if "pull" in actions and (public or self.content.may(user, repository, "pull")):
            granted.append("pull")
        return granted

    def health(self, end_to_end=False):
        def well(check):
            try:
                check()
                return True
            except Exception as error:
                print(f"health: {error}", file=sys.stderr, flush=True)
                return False

        services = {"auth": True, "database": well(lambda: self.query("SELECT 1")), "registry_gunicorn": True,
                    "service_key": True, "web_gunicorn": True}
        # Quay asks its storage only where it is asked from end to end.
        if end_to_end or isinstance(self.storage, LocalStorage):
            services["storage" if end_to_end else "disk_space"] = well(self.storage.check)
        status = 200 if all(services.values()) else 503
        return status, {"data": {"services": services}, "status_code": status}

    def security(self, repository, digest):
        """What Clair says of an image. It fetches the layers under the name that clients know Quay by."""
        if not self.config.get("FEATURE_SECURITY_SCANNER"):
            return 404, {"message": "Not Found"}
        manifest = self.storage.read(f"manifests/{repository}/{digest}")
        if manifest is None:
            return 404, {"message": "Not Found"}
        access = [{"name": repository, "actions": ["pull"]}]
        token = self.sign({"sub": None, "access": access, "exp": time.time() + 60})
        base = f"{self.config['PREFERRED_URL_SCHEME']}://{self.config['SERVER_HOSTNAME']}/v2/{repository}/blobs"
        headers = {"Accept": ["application/gzip"], "Authorization": [f"Bearer {token}"]}
        layers = [{"hash": layer["digest"], "uri": f"{base}/{layer['digest']}", "headers": headers}
                  for layer in json.loads(manifest)["layers"]]
        try:
            self.ask_clair("POST", "/indexer/api/v1/index_report", {"hash": digest, "layers": layers})
            report = self.ask_clair("GET", f"/matcher/api/v1/vulnerability_report/{digest}")
        except (OSError, ValueError) as error:
            said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
            print(f"security scanner: {error} {said}", file=sys.stderr, flush=True)
            return 200, {"status": "queued", "data": None}
        found = report["vulnerabilities"]
        return 200, {"status": "scanned", "data": {"Layer": {"Name": digest, "Features": list(found.values())}}}

    def ask_clair(self, method, path, body=None):
        encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        claims = {"iss": "quay", "exp": int(time.time()) + 300}
        text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        key = base64.b64decode(self.config.get("SECURITY_SCANNER_V4_PSK", ""))
        token = f"{text}.{encode(hmac.new(key, text.encode(), 'sha256').digest())}"
        url = urllib.parse.urljoin(self.config["SECURITY_SCANNER_V4_ENDPOINT"], path)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


# --- what it answers ------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry = None

    def log_message(self, form, *values):
        print(f"{self.address_string()} {form % values}", flush=True)

    def own_url(self):
        config = self.registry.config
        return f"{config['PREFERRED_URL_SCHEME']}://{config['SERVER_HOSTNAME']}"

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, body=b"", kind="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def error(self, status, code, message, **headers):
        self.answer(status, {"errors": [{"code": code, "message": message, "detail": {}}]}, **headers)

    def challenge(self, repository=None, actions=()):
        realm = f'Bearer realm="{self.own_url()}/v2/auth",service="{self.registry.config["SERVER_HOSTNAME"]}"'
        if repository:
            realm += f',scope="repository:{repository}:{",".join(actions)}"'
        self.error(401, "UNAUTHORIZED", "access to the requested resource is not authorized", WWW_Authenticate=realm)

    def bearer(self):
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if kind.lower() == "bearer" else None

    def handle_request(self):
        url = urllib.parse.urlsplit(self.path)
        path, query, body = urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query), self.body()
        if self.command == "GET" and path in ("/health", "/health/instance", "/health/endtoend", "/status"):
            return self.answer(*self.registry.health(path in ("/health/endtoend", "/status")))
        if path == "/csrf_token":
            return self.answer(200, {"csrf_token": self.new_session(None)}, **self.next_session)
        if path.startswith("/api/v1/"):
            return self.api(path.removeprefix("/api/v1/").rstrip("/"), body)
        if path == "/v2/auth" and self.command == "GET":
            return self.token(query)
        if path in ("/v2", "/v2/"):
            claims = self.registry.claims(self.bearer() or "")
            return self.answer(200, {}) if claims else self.challenge()
        if match := re.fullmatch(r"/v2/([a-z0-9_.-]+/[a-z0-9_.-]+)/(blobs|manifests|tags)/(.+)", path):
            return self.image(*match.groups(), query, body)
        return self.answer(404, {"message": "Not Found"})

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.handle_or_say_why
        raise AttributeError(name)

    def handle_or_say_why(self):
        try:
            self.handle_request()
        except (OSError, StorageError) as error:
            if isinstance(error, ConnectionError):
                raise
            print(f"error: {error}", file=sys.stderr, flush=True)
            self.error(503, "UNAVAILABLE", f"the storage does not serve: {error}")

    def new_session(self, user):
        """A browser's session: a signed cookie, and a word that every change must repeat."""
        csrf = secrets.token_urlsafe(16)
        cookie = self.registry.sign({"session": user, "csrf": csrf, "exp": time.time() + 3600})
        self.next_session = {"Set_Cookie": f"session={cookie}; HttpOnly; Path=/", "X_Next_CSRF_Token": csrf}
        return csrf

    def session(self):
        cookies = dict(c.strip().split("=", 1) for c in self.headers.get("Cookie", "").split(";") if "=" in c)
        return self.registry.claims(cookies.get("session", "")) or {}

    def api(self, path, body):
        asked = json.loads(body or b"{}")
        if path == "user/initialize" and self.command == "POST":
            return self.answer(*self.registry.initialize(asked))
        user, session = self.registry.user_of_token(self.bearer() or ""), self.session()
        changes = self.command in ("POST", "PUT", "DELETE")
        if not user and changes and session.get("csrf", "") != self.headers.get("X-CSRF-Token"):
            return self.answer(403, {"message": "CSRF token was invalid or missing."})
        if path == "signin" and self.command == "POST":
            name = self.registry.user_of_password(asked.get("username", ""), asked.get("password", ""))
            if not name:
                return self.answer(403, {"invalidCredentials": True, "message": "Invalid Username or Password"})
            self.new_session(name)
            return self.answer(200, {"success": True}, **self.next_session)
        user = user or session.get("session")
        if handled := self.registry.content.handle(user, self.command, path, asked):
            return self.answer(*handled)
        if path == "repository" and self.command == "POST":
            name = f"{asked.get('namespace', user)}/{asked['repository']}"
            if not self.registry.content.may(user, name, "push"):
                return self.answer(401 if not user else 403, {"message": "Unauthorized"})
            if self.registry.is_public(name) is not None:
                return self.answer(400, {"message": "Repository already exists"})
            self.registry.query("INSERT INTO standin_repository VALUES (%s, %s)", name, asked["visibility"] == "public")
            held = {"permissions": {}, "state": "NORMAL", "mirror": None, "description": asked.get("description")}
            self.registry.content.save(f"repo/{name}", held)
            return self.answer(201, {"namespace": name.split("/")[0], "name": asked["repository"], "kind": "image"})
        if match := re.fullmatch(r"repository/([^/]+/[^/]+)/manifest/([^/]+)/security", path):
            if not (self.registry.content.may(user, match[1], "pull") or self.registry.is_public(match[1])):
                return self.answer(403 if user else 401, {"message": "Unauthorized"})
            return self.answer(*self.registry.security(*match.groups()))
        if match := re.fullmatch(r"repository/([^/]+/[^/]+)(/changevisibility)?", path):
            name, public = match[1], self.registry.is_public(match[1])
            if public is None:
                return self.answer(404, {"message": "Not Found"})
            if not (self.registry.content.may(user, name, "push") or (public and self.command == "GET")):
                return self.answer(403 if user else 401, {"message": "Unauthorized"})
            if match[2] and self.command == "POST":
                new = asked["visibility"] == "public"
                self.registry.query("UPDATE standin_repository SET public = %s WHERE name = %s", new, name)
                return self.answer(200, {"success": True})
            if self.command == "DELETE":
                self.registry.query("DELETE FROM standin_repository WHERE name = %s", name)
                self.registry.content.drop(f"repo/{name}")
                return self.answer(204)
            held = self.registry.content.load(f"repo/{name}") or {}
            if self.command == "PUT":
                held = {"permissions": {}, "state": "NORMAL", "mirror": None, **held, "description": asked["description"]}
                self.registry.content.save(f"repo/{name}", held)
                return self.answer(200, {"success": True})
            return self.answer(200, {"namespace": name.split("/")[0], "name": name.split("/")[1], "is_public": public,
                                     "description": held.get("description"), "state": held.get("state", "NORMAL")})
        return self.answer(404, {"message": "Not Found"})

    def token(self, query):
        user, (kind, _, value) = None, self.headers.get("Authorization", "").partition(" ")
        if value:
            user = self.registry.user_of_basic(value) if kind.lower() == "basic" else None
            if not user:
                return self.error(401, "UNAUTHORIZED", "Invalid Username or Password")
        scopes, access = query.get("scope", []), []
        if not user and not scopes:
            return self.error(401, "UNAUTHORIZED", "access to the requested resource is not authorized")
        for scope in scopes:
            match = re.fullmatch(r"repository:([a-z0-9_.-]+/[a-z0-9_.-]+):([a-z*,]+)", scope)
            if not match:
                return self.error(400, "UNSUPPORTED", f"Unable to decode repository and actions: {scope}")
            access.append({"name": match[1], "actions": self.registry.granted(user, match[1], match[2].split(","))})
        self.answer(200, {"token": self.registry.sign({"sub": user, "access": access, "exp": time.time() + 3600})})

    def image(self, repository, kind, rest, query, body):
        writes = self.command in ("POST", "PUT", "PATCH", "DELETE")
        actions = ["pull", "push"] if writes else ["pull"]
        claims = self.registry.claims(self.bearer() or "") or {"access": []}
        held = [a for entry in claims["access"] if entry["name"] == repository for a in entry["actions"]]
        if not set(actions) <= set(held):
            return self.challenge(repository, actions)
        if kind == "blobs" and rest.startswith("uploads"):
            return self.upload(repository, rest.removeprefix("uploads").strip("/"), query, body)
        storage, base = self.registry.storage, f"/v2/{repository}/{kind}"
        if kind == "blobs" and not writes:
            return self.send(self.blob(rest), rest, "application/octet-stream", "BLOB_UNKNOWN")
        if kind == "manifests" and self.command == "PUT":
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            for layer in [json.loads(body).get("config"), *json.loads(body).get("layers", [])]:
                if layer and storage.read(self.blob(layer["digest"])) is None:
                    return self.error(400, "MANIFEST_BLOB_UNKNOWN", f"blob unknown: {layer['digest']}")
            for name in (rest, digest):
                storage.write(f"manifests/{repository}/{name}", body)
            return self.answer(201, Location=f"{self.own_url()}{base}/{digest}", Docker_Content_Digest=digest)
        name = f"manifests/{repository}/{rest}"
        if kind == "manifests" and self.command == "DELETE" and storage.read(name) is not None:
            storage.remove(name)
            return self.answer(202)
        if kind == "manifests" and not writes:
            return self.send(name, None, None, "MANIFEST_UNKNOWN")
        if kind == "tags" and rest == "list" and not writes:
            tags = [tag for tag in storage.names(f"manifests/{repository}") if ":" not in tag]
            return self.answer(200, {"name": repository, "tags": tags})
        return self.error(405, "UNSUPPORTED", "The operation is unsupported.")

    def upload(self, repository, session, query, body):
        uploads = self.registry.uploads
        if self.command == "POST" and not session:
            session = str(uuid.uuid4())
            uploads[session] = bytearray()
        if session not in uploads:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        uploads[session] += body
        content = bytes(uploads[session])
        where = f"{self.own_url()}/v2/{repository}/blobs/uploads/{session}"
        if digest := query.get("digest", [None])[0]:
            del uploads[session]
            if digest != "sha256:" + hashlib.sha256(content).hexdigest():
                return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            self.registry.storage.write(self.blob(digest), content)
            return self.answer(201, Location=f"{self.own_url()}/v2/{repository}/blobs/{digest}", Docker_Content_Digest=digest)
        self.answer(202, Location=where, Range=f"0-{max(len(content) - 1, 0)}", Docker_Upload_UUID=session)

    @staticmethod
    def blob(digest):
        """As Quay's layout has it: the digest's kind, its first two digits, its digits."""
        kind, _, digits = digest.partition(":")
        return f"{kind}/{digits[:2]}/{digits}"

    def send(self, name, digest, kind, unknown):
        data = self.registry.storage.read(name)
        if data is None:
            return self.error(404, unknown, "unknown to registry")
        digest = digest or "sha256:" + hashlib.sha256(data).hexdigest()
        kind = kind or json.loads(data).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        self.answer(200, data, kind, Docker_Content_Digest=digest)


def main():
    if CONTAINED and os.getuid() != 1001:
        raise Refused(f"runs as user {os.getuid()}, not 1001")
    config = read_config()
    check_values(config)
    check_database(config)
    for key in ("BUILDLOGS_REDIS", "USER_EVENTS_REDIS"):
        ping(key, config[key])
    Handler.registry = Registry(config)
    server = ThreadingHTTPServer(("" if CONTAINED else "127.0.0.1", PORT), Handler)
    server.daemon_threads = True
    if config["PREFERRED_URL_SCHEME"] == "https" and not config.get("EXTERNAL_TLS_TERMINATION"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        folder = os.path.dirname(CONFIG)
        try:
            context.load_cert_chain(os.path.join(folder, "ssl.cert"), os.path.join(folder, "ssl.key"))
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"ssl.cert and ssl.key cannot be used: {error}")
        secure = ThreadingHTTPServer(("", 8443), Handler)
        secure.daemon_threads = True
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        threading.Thread(target=secure.serve_forever, daemon=True).start()
    # The first process of a container gets no default action for it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"stand-in for Quay: ready on {PORT}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except Refused as why:
        print(f"stand-in for Quay: configuration error: {why}", file=sys.stderr, flush=True)
        sys.exit(1)
