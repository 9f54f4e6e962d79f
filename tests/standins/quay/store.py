"""Where the stand-in for Quay keeps what it holds besides images: users, tokens, repositories, and documents of all else."""

import base64, hashlib, hmac, json, secrets, threading, time

TABLES = ["standin_user (name text PRIMARY KEY, email text, salt bytea, hash bytea)",
          "standin_token (hash text PRIMARY KEY, name text)",
          "standin_repository (name text PRIMARY KEY, public boolean)",
          "standin_object (name text PRIMARY KEY, data text)"]


class Postgres:
    """One connection for all requests, opened again where it broke."""

    def __init__(self, connect):
        self.connect, self.held, self.lock = connect, None, threading.RLock()

    def query(self, text, *values):
        import psycopg2

        with self.lock:
            while True:
                is_fresh = self.held is None
                try:
                    if is_fresh:
                        self.held = self.connect()
                        self.held.autocommit = True
                    with self.held.cursor() as cursor:
                        cursor.execute(text, values)
                        return cursor.fetchall() if cursor.description else []
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    self.held = None
                    if is_fresh:
                        raise


class File:
    """A database of the stand-in's own, for the test of its answers."""

    def __init__(self, path):
        import sqlite3

        self.held, self.lock = sqlite3.connect(path, check_same_thread=False, isolation_level=None), threading.Lock()

    def query(self, text, *values):
        with self.lock:
            return self.held.execute(text.replace("%s", "?"), values).fetchall()


class Store:
    def __init__(self, config, database):
        self.config, self.query = config, database.query
        self.key = str(config.get("SECRET_KEY") or secrets.token_hex(16)).encode()
        # A request reads documents and writes them again: one at a time.
        self.lock = threading.RLock()

    def prepare(self):
        for table in TABLES:
            self.query(f"CREATE TABLE IF NOT EXISTS {table}")

    # Things are documents: `org/NAME`, `user/NAME`, `repo/NAMESPACE/NAME`, `tags/NAMESPACE/NAME`, `gone/NAME`.
    def load(self, name):
        rows = self.query("SELECT data FROM standin_object WHERE name = %s", name)
        return json.loads(rows[0][0]) if rows else None

    def save(self, name, data):
        self.query("INSERT INTO standin_object VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET data = EXCLUDED.data",
                   name, json.dumps(data))

    def drop(self, name):
        self.query("DELETE FROM standin_object WHERE name = %s", name)

    def organizations(self):
        return [name[4:] for (name,) in self.query("SELECT name FROM standin_object WHERE name LIKE %s ORDER BY name", "org/%")]

    # Users.
    def email(self, name):
        """Of a user; `None` where there is no such user."""
        rows = self.query("SELECT email FROM standin_user WHERE name = %s", name)
        return rows[0][0] if rows else None

    def user_of_email(self, email):
        rows = self.query("SELECT name FROM standin_user WHERE email = %s", email)
        return rows[0][0] if rows else None

    def users(self):
        return [name for (name,) in self.query("SELECT name FROM standin_user ORDER BY name")]

    def add_user(self, name, password, email):
        salt = secrets.token_bytes(16)
        self.query("INSERT INTO standin_user VALUES (%s, %s, %s, %s)", name, email, salt, self.hash(salt, password))
        self.save(f"user/{name}", {"robots": {}, "enabled": True})

    def set_password(self, name, password):
        salt = secrets.token_bytes(16)
        self.query("UPDATE standin_user SET salt = %s, hash = %s WHERE name = %s", salt, self.hash(salt, password), name)

    def drop_user(self, name):
        self.query("DELETE FROM standin_user WHERE name = %s", name)
        self.query("DELETE FROM standin_token WHERE name = %s", name)
        self.drop(f"user/{name}")

    def account(self, name):
        return {"robots": {}, "enabled": True, **(self.load(f"user/{name}") or {})}

    @staticmethod
    def hash(salt, password):
        return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 10000)

    def is_entity(self, name):
        """Whether a user or robot has this name."""
        return self.email(name) is not None or self.robot(name) is not None

    def robot(self, name):
        space, plus, short = name.partition("+")
        holder = (self.load(f"org/{space}") or self.load(f"user/{space}") or {}) if plus else {}
        return holder.get("robots", {}).get(short)

    def enters(self, name, password):
        """Whether this user, with this password, may come in."""
        rows = self.query("SELECT salt, hash FROM standin_user WHERE name = %s", name)
        same = bool(rows) and hmac.compare_digest(bytes(rows[0][1]), self.hash(bytes(rows[0][0]), password))
        return same and self.account(name)["enabled"]

    # Tokens.
    def make_token(self, name):
        token = secrets.token_hex(20)
        self.query("INSERT INTO standin_token VALUES (%s, %s)", hashlib.sha256(token.encode()).hexdigest(), name)
        return token

    def user_of_token(self, value):
        rows = self.query("SELECT name FROM standin_token WHERE hash = %s", hashlib.sha256(value.encode()).hexdigest())
        return rows[0][0] if rows and self.account(rows[0][0])["enabled"] else None

    def sign(self, claims):
        """Three parts, as Quay's tokens have them. Only this program reads its own."""
        encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        head = encode(json.dumps({"alg": "HS256", "kid": "standin", "typ": "JWT"}).encode())
        text = f"{head}.{encode(json.dumps(claims).encode())}"
        return f"{text}.{encode(hmac.new(self.key, text.encode(), 'sha256').digest())}"

    def claims(self, token):
        text, _, signature = token.rpartition(".")
        wanted = base64.urlsafe_b64encode(hmac.new(self.key, text.encode(), "sha256").digest()).rstrip(b"=").decode()
        if not text or not hmac.compare_digest(signature, wanted):
            return None
        part = text.partition(".")[2]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return claims if claims["exp"] > time.time() else None

    # Repositories.
    def is_public(self, repository):
        """`None` where there is no such repository."""
        rows = self.query("SELECT public FROM standin_repository WHERE name = %s", repository)
        return bool(rows[0][0]) if rows else None

    def repositories(self, space=None):
        rows = self.query("SELECT name FROM standin_repository ORDER BY name")
        return [name for (name,) in rows if space is None or name.startswith(f"{space}/")]

    def repository(self, name):
        return {"permissions": {}, "state": "NORMAL", "mirror": None, "description": "", **(self.load(f"repo/{name}") or {})}

    def make_repository(self, name, public, creator, description=""):
        """Its creator administers it; the organization's default permissions hold from the start."""
        space = name.split("/")[0]
        held = {"permissions": {}, "state": "NORMAL", "mirror": None, "description": description}
        for prototype in (self.load(f"org/{space}") or {}).get("prototypes", []):
            wanted, who = prototype["activating_user"], f"{prototype['delegate']['kind']}/{prototype['delegate']['name']}"
            if wanted == creator or (wanted is None and who not in held["permissions"]):
                held["permissions"][who] = prototype["role"]
        if creator != space:
            held["permissions"][f"user/{creator}"] = "admin"
        self.query("INSERT INTO standin_repository VALUES (%s, %s) ON CONFLICT DO NOTHING", name, public)
        self.save(f"repo/{name}", held)

    def drop_repository(self, name):
        self.query("DELETE FROM standin_repository WHERE name = %s", name)
        self.drop(f"repo/{name}")
        self.drop(f"tags/{name}")

    def forget(self, space, who):
        """Takes somebody who is gone out of a namespace's teams, default permissions and repositories."""
        org = self.load(f"org/{space}")
        if org:
            for team in org["teams"].values():
                team["members"] = [m for m in team["members"] if f"user/{m}" != who]
            org["prototypes"] = [p for p in org["prototypes"] if f"{p['delegate']['kind']}/{p['delegate']['name']}" != who]
            self.save(f"org/{space}", org)
        for name in self.repositories(space):
            held = self.repository(name)
            if held["permissions"].pop(who, None):
                self.save(f"repo/{name}", held)
