"""Holds the stand-in for Quay against what was recorded of the real one: check_answers.py [FILE...].

Each file of tests/data/standins/*.jsonl is a run of requests that build on each other, one a line; a line that begins with
`standin` starts a stand-in of its own with that version and configuration. `quay-start.json` holds configurations and whether
the start of the real one refuses them. Every difference is told; the exit code is 1 where there was one."""

import base64, hashlib, http.client, json, os, shutil, socket, subprocess, sys, tempfile, time, urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "..", "data", "standins")
ADMIN = ("quayadmin", "admin-password")
PROBLEM = ["detail", "error_message", "error_type", "status", "title", "type"]
KINDS = {400: "invalid_request", 401: "invalid_token", 403: "insufficient_scope", 404: "not_found"}
# What is pushed; their digests are variables of the table.
CONTENTS = {"blob": b"a layer", "config": b'{"architecture":"amd64","os":"linux"}'}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def manifest(layer):
    part = lambda name, kind: {"mediaType": f"application/vnd.oci.image.{kind}", "size": len(CONTENTS[name]), "digest": digest(CONTENTS[name])}
    layers = [{**part("blob", "layer.v1.tar+gzip"), "digest": layer}]
    return json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                       "config": part("config", "config.v1+json"), "layers": layers}).encode()


CONTENTS["manifest"], CONTENTS["hollow"] = manifest(digest(CONTENTS["blob"])), manifest("sha256:" + 64 * "0")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def configuration(port, folder, more):
    redis = {"host": "127.0.0.1", "port": 6379, "password": "redis"}
    return {"SERVER_HOSTNAME": f"localhost:{port}", "PREFERRED_URL_SCHEME": "http", "SECRET_KEY": "s", "DATABASE_SECRET_KEY": "d",
            "DB_URI": "postgresql://quay:quay@127.0.0.1/quay", "BUILDLOGS_REDIS": redis, "USER_EVENTS_REDIS": redis,
            "DISTRIBUTED_STORAGE_CONFIG": {"default": ["LocalStorage", {"storage_path": os.path.join(folder, "images")}]},
            "DISTRIBUTED_STORAGE_PREFERENCE": ["default"], "AUTHENTICATION_TYPE": "Database", "DEFAULT_TAG_EXPIRATION": "2w",
            "TAG_EXPIRATION_OPTIONS": ["0s", "1d", "1w", "2w", "4w"], "SETUP_COMPLETE": True, "TESTING": False,
            "FEATURE_MAILING": False, "FEATURE_USER_INITIALIZE": True, "SUPER_USERS": [ADMIN[0]], "FEATURE_REPO_MIRROR": True,
            "FEATURE_PROXY_CACHE": True, "FEATURE_QUOTA_MANAGEMENT": True, "SSRF_ALLOWED_HOSTS": ["127.0.0.0/8"], **more}


class StandIn:
    """A process of its own on loopback, with a folder instead of a database."""

    def __init__(self, header):
        self.folder = tempfile.TemporaryDirectory()
        root, self.port, secure = self.folder.name, free_port(), free_port()
        config = configuration(self.port, root, header.get("config", {}))
        if header.get("key"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                            "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{root}/ssl.key", "-out", f"{root}/ssl.cert"],
                           check=True, capture_output=True)
        with open(f"{root}/config.yaml", "w") as file:
            json.dump(config, file)
        open(f"{root}/mounts", "w").close()
        environment = {**os.environ, "QUAY_STANDIN_ALONE": root, "QUAY_STANDIN_VERSION": header.get("version", "3.18"),
                       "QUAY_STANDIN_START_SECONDS": "20" if header.get("starting") else "0", "QUAY_STANDIN_MOUNTS": f"{root}/mounts",
                       "QUAY_STANDIN_SECURE_PORT": str(secure), "QUAY_STANDIN_FEDERATED": header.get("federated", "")}
        self.log = open(f"{root}/log", "w+")
        words = [sys.executable, "-BIu", os.path.join(HERE, "standin.py"), f"{root}/config.yaml", str(self.port)]
        self.process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.wait(header.get("starting"))

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def wait(self, starting):
        until = time.time() + 30
        while time.time() < until and self.process.poll() is None:
            if "ready on" in self.said() or (starting and self.answers()):
                return
            time.sleep(0.02)
        raise SystemExit(f"the stand-in did not come up:\n{self.said()}")

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


class Client:
    """Asks, and keeps what later requests need."""

    def __init__(self, port):
        self.port, self.kept, self.cookies, self.csrf = port, {name: digest(data) for name, data in CONTENTS.items()}, {}, None
        self.kept["host"] = f"localhost:{port}"

    def filled(self, text):
        for name, value in self.kept.items():
            text = text.replace("{%s}" % name, str(value))
        return text

    def authorization(self, row):
        basic = lambda user, password: "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        if "basic" in row:
            return basic(*row["basic"])
        scope = row.get("token") or row.get("anonymous")
        if scope:
            headers = {} if "anonymous" in row else {"Authorization": basic(*ADMIN)}
            query = urllib.parse.urlencode({"service": self.kept["host"], "scope": scope})
            return "Bearer " + json.loads(self.send("GET", f"/v2/auth?{query}", None, headers)[2])["token"]
        who = row.get("as", "none")
        return None if who in ("none", "browser") else f"Bearer {self.kept.get(who, who)}"

    def send(self, method, path, data, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read().decode()
        connection.close()
        return found

    def ask(self, row):
        method, _, path = self.filled(row["ask"]).partition(" ")
        path = path.removeprefix(f"http://{self.kept['host']}")
        data = json.dumps(row["send"]).encode() if "send" in row else CONTENTS[row["content"]] if "content" in row else None
        headers = {"Content-Type": "application/json"} if "send" in row else {}
        if (shown := self.authorization(row)) is not None:
            headers["Authorization"] = shown
        if row.get("as") == "browser":
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            headers |= {"X-CSRF-Token": self.csrf} if self.csrf else {}
        status, got, text = self.send(method, path, data, headers)
        if row.get("as") == "browser" and "Set-Cookie" in got:
            name, value = got["Set-Cookie"].split(";")[0].split("=", 1)
            self.cookies[name], self.csrf = value, got.get("X-Next-CSRF-Token", self.csrf)
        for name, where in row.get("keep", {}).items():
            self.kept[name] = got.get(where) or (json.loads(text).get(where) if text.startswith("{") else None)
        return status, got, text


def at(value, path):
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def same(expected, found):
    """A text that ends with an ellipsis was recorded so far and no further."""
    if isinstance(expected, str) and expected.endswith("…"):
        return isinstance(found, str) and found.startswith(expected[:-1])
    return expected == found


def faults(client, row):
    """What an answer has other than was recorded."""
    status, headers, text = client.ask(row)
    if status != row["status"]:
        yield f"status {status}, not {row['status']}: {text[:200]!r}"
        return
    kind = headers.get("Content-Type", "").split(";")[0]
    if kind != row.get("type", kind):
        yield f"content type {kind}, not {row['type']}"
    if "text" in row and not same(client.filled(row["text"]), text):
        yield f"body {text[:200]!r}, not {client.filled(row['text'])!r}"
    if "same" in row and text.encode() != CONTENTS[row["same"]]:
        yield f"body {text[:200]!r} is not what was pushed"
    for name, expected in row.get("headers", {}).items():
        wanted = client.filled(expected) if isinstance(expected, str) else expected
        found = headers.get(name)
        if not (found is not None if wanted is True else same(wanted, found)):
            yield f"{name}: {found}, not {wanted}"
    shape = row.get("shape")
    if shape is None and "says" not in row and "value" not in row:
        return
    try:
        value = json.loads(text)
    except ValueError:
        yield f"body {text[:200]!r} is no JSON"
        return
    if "value" in row and value != row["value"]:
        yield f"body {value!r}, not {row['value']!r}"
    if shape is not None:
        keys = sorted(PROBLEM if shape == "problem" else shape)
        if not isinstance(value, dict) or sorted(value) != keys:
            yield f"keys {sorted(value) if isinstance(value, dict) else value!r}, not {keys}"
    if shape == "problem" and sorted(value) == sorted(PROBLEM):
        yield from problem_faults(client, status, value)
    for path, expected in row.get("says", {}).items():
        try:
            found = at(value, path)
        except (KeyError, IndexError, TypeError, ValueError):
            yield f"there is no {path}"
            continue
        if not same(expected, found):
            yield f"{path}: {found!r}, not {expected!r}"


def problem_faults(client, status, value):
    kind = KINDS[status]
    wanted = {"detail": value["error_message"], "error_type": kind, "title": kind, "status": status,
              "type": f"http://{client.kept['host']}/api/v1/error/{kind}"}
    yield from (f"{name}: {value[name]!r}, not {text!r}" for name, text in wanted.items() if value[name] != text)


def run(path):
    """The rows that were asked, and those that differed."""
    asked, differed, standin, client = 0, 0, None, None
    with open(path) as file:
        rows = [json.loads(line) for line in file if line.strip() and not line.startswith("#")]
    try:
        for row in rows:
            if "standin" in row:
                if standin:
                    standin.close()
                standin = None
                if row["standin"].get("key") and not shutil.which("openssl"):
                    print("skipped: a stand-in with a key needs openssl, which is not installed")
                    continue
                standin = StandIn(row["standin"])
                client = Client(standin.port)
            elif standin:
                steps = row.get("steps", [row])
                found = [fault for step in steps for fault in faults(client, step)]
                asked += not row.get("setup")
                differed += bool(found)
                for fault in found:
                    print(f"{os.path.basename(path)}: {row['name']}: {steps[0]['ask']}: {fault}")
    finally:
        if standin:
            standin.close()
    return asked, differed


def starts(path):
    """The configurations that were judged, and those that were judged wrong."""
    sys.path.insert(0, HERE)
    import checks, version

    with open(path) as file:
        table = json.load(file)
    try:
        import yaml
    except ImportError:
        yaml = None
        print("skipped: the configurations that are YAML need Python's yaml, which is not installed")
    table = {name: row for name, row in table.items() if yaml or "text" not in row}
    differed = 0
    for name, row in table.items():
        version.VERSION = version.numbers(row.get("version", "3.18"))
        with tempfile.TemporaryDirectory() as folder:
            base = configuration(8080, folder, {"SERVER_HOSTNAME": "quay.lab.lan", **row.get("with", {})})
            config = {key: value for key, value in base.items() if key not in row.get("without", [])}
            for file in row.get("files", []):
                open(os.path.join(folder, file), "w").close()
            why = None
            try:
                if "text" in row:
                    config = checks.read_yaml(row["text"])
                    if not isinstance(config, dict):
                        raise checks.Refused("config.yaml is no mapping")
                checks.check(config, folder)
            except checks.Refused as refused:
                why = str(refused)
        if (why is not None) != row["refused"]:
            differed += 1
            print(f"{os.path.basename(path)}: {name}: {why or 'taken'}, and the real one {'refuses' if row['refused'] else 'takes'} it")
    return len(table), differed


def main():
    names = sys.argv[1:] or sorted(os.path.join(DATA, name) for name in os.listdir(DATA))
    wrong = 0
    for path in names:
        asked, differed = (starts if path.endswith(".json") else run)(path)
        wrong += differed
        print(f"{os.path.basename(path)}: {asked - differed} of {asked} as recorded")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
