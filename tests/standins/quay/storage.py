"""Where the stand-in for Quay keeps images: a folder, or a bucket of an S3 storage. Of Quay's other drivers it knows only what
they are told (`check_storage`), and keeps their images in a folder of its own."""

import datetime, hashlib, hmac, http.client, os, re, ssl, tempfile, urllib.parse, uuid

MOUNTS = os.environ.get("QUAY_STANDIN_MOUNTS") or "/proc/self/mountinfo"


class StorageError(Exception):
    """Why the storage does not do what it was asked."""


def is_mounted(path):
    """Whether a path is on another mount than the root's, as Quay's storage looks for it."""
    try:
        with open(MOUNTS) as file:
            points = [line.split()[4] for line in file]
    except OSError:
        return True
    return any(point != "/" and path.startswith(point) for point in points)


class LocalStorage:
    def __init__(self, storage_path):
        self.root = storage_path

    def path(self, name):
        return os.path.join(self.root, *name.replace("..", "_").split("/"))

    def check(self):
        os.makedirs(self.root, exist_ok=True)
        with open(os.path.join(self.root, ".health"), "w"):
            pass

    def read(self, name):
        try:
            with open(self.path(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name, data):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + "~", "wb") as file:
            file.write(data)
        os.replace(path + "~", path)

    def remove(self, name):
        if os.path.exists(self.path(name)):
            os.remove(self.path(name))

    def names(self, folder):
        path = self.path(folder)
        return sorted(name for name in os.listdir(path) if not name.endswith("~")) if os.path.isdir(path) else []


class RadosGWStorage:
    def __init__(self, hostname, is_secure, storage_path, access_key, secret_key, bucket_name, port=None,
                 region_name="us-east-1", **_):
        self.host = hostname if port is None else f"{hostname}:{port}"
        self.secure, self.folder, self.bucket, self.region = is_secure, storage_path.strip("/"), bucket_name, region_name
        self.access_key, self.secret_key = access_key, secret_key

    def ask(self, method, name=None, body=b"", query=()):
        """A signed request (version 4); the bucket itself without a name."""
        quote = lambda text, safe="": urllib.parse.quote(text, safe=safe + "-._~")
        path = quote(f"/{self.bucket}" + (f"/{self.folder}/{name}" if name else ""), "/")
        words = "&".join(f"{quote(key)}={quote(value)}" for key, value in sorted(query))
        moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        payload = hashlib.sha256(body).hexdigest()
        headers = {"host": self.host, "x-amz-content-sha256": payload, "x-amz-date": moment}
        signed = ";".join(headers)
        canonical = "\n".join([method, path, words, *(f"{k}:{v}" for k, v in headers.items()), "", signed, payload])
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
        kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        more = {"context": ssl.create_default_context()} if self.secure else {}
        try:
            connection = kind(self.host, timeout=30, **more)
            connection.request(method, path + (f"?{words}" if words else ""), body, headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise StorageError(f"{method} {self.host}{path}: {error}")
        if answer.status == 404 and name:
            return None
        if answer.status >= 300:
            code = re.search(rb"<Code>(\w+)</Code>", data)
            raise StorageError(f"{method} {self.host}{path}: {answer.status} {code[1].decode() if code else answer.reason}")
        return data

    def check(self):
        # As Quay's own check does: an object of its own, written and removed.
        name = f"_verify_{uuid.uuid4()}"
        self.write(name, b"testing 123")
        self.remove(name)

    def read(self, name):
        return self.ask("GET", name)

    def write(self, name, data):
        if self.ask("PUT", name, data) is None:
            raise StorageError(f"there is no bucket {self.bucket} at {self.host}")

    def remove(self, name):
        self.ask("DELETE", name)

    def names(self, folder):
        prefix = f"{self.folder}/{folder}/"
        listed = self.ask("GET", query=[("prefix", prefix)]).decode()
        keys = (urllib.parse.unquote(key) for key in re.findall(r"<Key>([^<]*)</Key>", listed))
        return sorted(key.removeprefix(prefix) for key in keys)


class Elsewhere(LocalStorage):
    """For a driver whose storage this stand-in cannot speak to."""

    def __init__(self, **_):
        super().__init__(tempfile.mkdtemp(prefix="quay-standin-"))


def opened(driver, settings):
    return {"LocalStorage": LocalStorage, "RadosGWStorage": RadosGWStorage}.get(driver, Elsewhere)(**settings)
