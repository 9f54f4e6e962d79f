"""What the stand-in for Quay holds besides images: organizations, teams, robots, permissions, caches, mirrors, users.
Answers as Quay's API does, as far as quaylab asks. It keeps everything in the database of DB_URI."""

import json, re, secrets


class Answer(Exception):
    def __init__(self, status, body):
        self.status, self.body = status, body


def refuse(status, message):
    raise Answer(status, {"message": message, "status": status})


class Content:
    def __init__(self, registry):
        self.registry, self.query = registry, registry.query

    # Things are documents: `org/NAME`, `repo/NAMESPACE/NAME`.
    def load(self, name):
        rows = self.query("SELECT data FROM standin_object WHERE name = %s", name)
        return json.loads(rows[0][0]) if rows else None

    def save(self, name, data):
        self.query("INSERT INTO standin_object VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET data = EXCLUDED.data",
                   name, json.dumps(data))

    def drop(self, name):
        self.query("DELETE FROM standin_object WHERE name = %s", name)

    def is_user(self, name):
        return bool(self.query("SELECT 1 FROM standin_user WHERE name = %s", name)) or self.robot(name) is not None

    def is_super(self, user):
        return user in self.registry.config.get("SUPER_USERS", [])

    def robot(self, name):
        space, plus, short = name.partition("+")
        holder = self.load(f"org/{space}") or self.load(f"user/{space}") or {}
        return holder.get("robots", {}).get(short) if plus else None

    def organization(self, name, user):
        org = self.load(f"org/{name}")
        if org is None:
            refuse(404, "Not Found")
        if user not in org["teams"]["owners"]["members"] and not self.is_super(user):
            refuse(403, "Unauthorized")
        return org

    def may(self, user, repository, action):
        """Whether a user or robot may push or pull, by the repository's permissions and the teams."""
        space = repository.split("/")[0]
        if user is None:
            return False
        org = self.load(f"org/{space}")
        if user == space or (org and user in org["teams"]["owners"]["members"]):
            return True
        held = (self.load(f"repo/{repository}") or {}).get("permissions", {})
        teams = [f"team/{name}" for name, team in (org or {}).get("teams", {}).items() if user in team["members"]]
        roles = {held.get(holder) for holder in [f"user/{user}", *teams]}
        return bool(roles & ({"write", "admin"} if action == "push" else {"read", "write", "admin"}))

    def handle(self, user, method, path, body):
        """The status and body of an answer; `None` for a path that is answered elsewhere."""
        try:
            for pattern, respond in self.routes():
                if match := re.fullmatch(pattern, path):
                    if user is None:
                        refuse(401, "Unauthorized")
                    return respond(user, method, body, *match.groups())
        except Answer as answer:
            return answer.status, answer.body
        return None

    def routes(self):
        name = "([^/]+)"
        return [
            ("organization", self.organizations),
            (f"organization/{name}", self.one_organization),
            (f"organization/{name}/team/{name}", self.team),
            (f"organization/{name}/team/{name}/members", self.members),
            (f"organization/{name}/team/{name}/members/{name}", self.member),
            (f"organization/{name}/robots/{name}(/regenerate)?", self.organization_robot),
            (f"user/robots/{name}(/regenerate)?", self.own_robot),
            (f"organization/{name}/prototypes", self.prototypes),
            (f"organization/{name}/prototypes/{name}", self.prototype),
            (f"organization/{name}/proxycache", self.proxy_cache),
            (f"repository/({name[1:-1]}/{name[1:-1]})/permissions/(user|team)", self.permissions),
            (f"repository/({name[1:-1]}/{name[1:-1]})/permissions/(user|team)/{name}", self.permission),
            (f"repository/({name[1:-1]}/{name[1:-1]})/changestate", self.change_state),
            (f"repository/({name[1:-1]}/{name[1:-1]})/mirror", self.mirror),
            ("superuser/users", self.users),
            (f"superuser/users/{name}", self.user),
        ]

    def organizations(self, user, method, body):
        if self.load(f"org/{body['name']}") or self.is_user(body["name"]):
            refuse(400, "A user or organization with this name already exists")
        owners = {"role": "admin", "description": "", "members": [user]}
        self.save(f"org/{body['name']}", {"email": body.get("email"), "tag_expiration_s": 1209600, "robots": {},
                                          "teams": {"owners": owners}, "prototypes": [], "proxycache": None})
        return 201, "Created"

    def one_organization(self, user, method, body, name):
        org = self.organization(name, user)
        if method == "DELETE":
            self.drop(f"org/{name}")
            return 204, b""
        if method == "PUT":
            org.update({k: v for k, v in body.items() if k in ("email", "tag_expiration_s")})
            self.save(f"org/{name}", org)
        teams = {k: {"name": k, "role": t["role"], "description": t["description"]} for k, t in org["teams"].items()}
        return 200, {"name": name, "email": org["email"] or "", "tag_expiration_s": org["tag_expiration_s"], "teams": teams}

    def team(self, user, method, body, name, team):
        org = self.organization(name, user)
        if method == "DELETE":
            org["teams"].pop(team, None) or refuse(404, "Not Found")
        else:
            if body["role"] not in ("member", "creator", "admin"):
                refuse(400, "Invalid role")
            held = org["teams"].setdefault(team, {"members": [], "description": ""})
            held.update(role=body["role"], description=body.get("description", held["description"]))
        self.save(f"org/{name}", org)
        return (204, b"") if method == "DELETE" else (200, {"name": team, "role": body["role"]})

    def members(self, user, method, body, name, team):
        held = self.organization(name, user)["teams"].get(team) or refuse(404, "Not Found")
        return 200, {"name": team, "members": [{"name": m, "kind": "user", "is_robot": "+" in m} for m in held["members"]]}

    def member(self, user, method, body, name, team, member):
        org = self.organization(name, user)
        held = org["teams"].get(team) or refuse(404, "Not Found")
        if method == "DELETE":
            held["members"].remove(member)
        else:
            if not self.is_user(member):
                refuse(400, "Unknown user")
            held["members"].append(member)
        self.save(f"org/{name}", org)
        return (204, b"") if method == "DELETE" else (200, {"name": member, "kind": "user"})

    def organization_robot(self, user, method, body, name, short, regenerate):
        org = self.organization(name, user)
        return self.robots(f"org/{name}", org, name, method, body, short, regenerate)

    def own_robot(self, user, method, body, short, regenerate):
        return self.robots(f"user/{user}", self.load(f"user/{user}") or {"robots": {}}, user, method, body, short, regenerate)

    def robots(self, key, holder, space, method, body, short, regenerate):
        robot = holder["robots"].get(short)
        if method == "PUT" and not regenerate:
            if robot:
                refuse(400, f"Existing robot with name: {space}+{short}")
            if not re.fullmatch(r"[a-z][a-z0-9_]{1,254}", short):
                refuse(400, f"The name for the robot '{short}' is invalid")
            robot = {"token": secrets.token_hex(32).upper(), "description": body.get("description", "")}
            holder["robots"][short] = robot
        elif not robot:
            refuse(400, "Could not find robot with specified username")
        elif method == "DELETE":
            del holder["robots"][short]
        elif regenerate:
            robot["token"] = secrets.token_hex(32).upper()
        if method != "GET":
            self.save(key, holder)
        if method == "DELETE":
            return 204, b""
        return (201 if method == "PUT" else 200), {"name": f"{space}+{short}", **robot}

    def prototypes(self, user, method, body, name):
        org = self.organization(name, user)
        if method == "GET":
            return 200, {"prototypes": org["prototypes"]}
        delegate, creator = body["delegate"], (body.get("activating_user") or {}).get("name")
        known = delegate["name"] in org["teams"] if delegate["kind"] == "team" else self.is_user(delegate["name"])
        if not known:
            refuse(400, "Missing delegate user or team")
        made = {"id": secrets.token_hex(8), "role": body["role"], "delegate": delegate,
                "activating_user": {"name": creator} if creator else None}
        org["prototypes"].append(made)
        self.save(f"org/{name}", org)
        return 200, made

    def prototype(self, user, method, body, name, which):
        org = self.organization(name, user)
        found = [p for p in org["prototypes"] if p["id"] == which] or refuse(404, "Not Found")
        if method == "DELETE":
            org["prototypes"].remove(found[0])
        else:
            found[0]["role"] = body["role"]
        self.save(f"org/{name}", org)
        return (204, b"") if method == "DELETE" else (200, found[0])

    def proxy_cache(self, user, method, body, name):
        if not self.registry.config.get("FEATURE_PROXY_CACHE"):
            refuse(404, "Not Found")
        org = self.organization(name, user)
        if method == "GET":
            return 200, org["proxycache"] or {"upstream_registry": "", "expiration_s": "", "insecure": ""}
        if method == "POST" and org["proxycache"]:
            refuse(400, "Proxy Cache Configuration already exists")
        org["proxycache"] = body if method == "POST" else None
        self.save(f"org/{name}", org)
        return 201, "Created" if method == "POST" else "Deleted"

    def repository(self, user, name):
        if self.registry.is_public(name) is None:
            refuse(404, "Not Found")
        space = name.split("/")[0]
        if user != space:
            self.organization(space, user)
        return self.load(f"repo/{name}") or {"permissions": {}, "state": "NORMAL", "mirror": None}

    def permissions(self, user, method, body, name, kind):
        held = self.repository(user, name)["permissions"]
        roles = {k.split("/", 1)[1]: {"role": r} for k, r in held.items() if k.startswith(f"{kind}/")}
        return 200, {"permissions": roles}

    def permission(self, user, method, body, name, kind, holder):
        repository = self.repository(user, name)
        if method == "DELETE":
            repository["permissions"].pop(f"{kind}/{holder}", None)
        else:
            if kind == "user" and not self.is_user(holder):
                refuse(400, "User does not exist")
            repository["permissions"][f"{kind}/{holder}"] = body["role"]
        self.save(f"repo/{name}", repository)
        return (204, b"") if method == "DELETE" else (200, {"role": body["role"]})

    def change_state(self, user, method, body, name):
        if not self.registry.config.get("FEATURE_REPO_MIRROR") and body["state"] == "MIRROR":
            refuse(400, f"Unknown Repository State: {body['state']}")
        repository = self.repository(user, name)
        repository["state"] = body["state"]
        self.save(f"repo/{name}", repository)
        return 200, {"success": True}

    def mirror(self, user, method, body, name):
        if not self.registry.config.get("FEATURE_REPO_MIRROR"):
            refuse(404, "Not Found")
        repository = self.repository(user, name)
        if method == "GET":
            shown = {k: v for k, v in (repository["mirror"] or {}).items() if k != "external_registry_password"}
            return (200, {**shown, "sync_status": "NEVER_RUN"}) if shown else refuse(404, "Not Found")
        if self.robot(body.get("robot_username", "")) is None and (method == "POST" or "robot_username" in body):
            refuse(400, "Robot must belong to the repository's namespace")
        if method == "POST" and "sync_start_date" not in body:
            refuse(400, "'sync_start_date' is a required property")
        repository["mirror"] = {**(repository["mirror"] or {}), **body}
        self.save(f"repo/{name}", repository)
        return 201, b""

    def users(self, user, method, body):
        if not self.is_super(user):
            refuse(403, "Unauthorized")
        if self.is_user(body["username"]):
            refuse(400, "The username already exists")
        password = secrets.token_urlsafe(12)
        self.registry.add_user(body["username"], password, body.get("email"))
        return 200, {"username": body["username"], "email": body.get("email"), "password": password}

    def user(self, user, method, body, name):
        if not self.is_super(user):
            refuse(403, "Unauthorized")
        rows = self.query("SELECT email FROM standin_user WHERE name = %s", name)
        if not rows:
            refuse(404, "Not Found")
        if method == "DELETE":
            self.query("DELETE FROM standin_user WHERE name = %s", name)
            return 204, b""
        if method == "PUT":
            if "password" in body:
                self.query("DELETE FROM standin_user WHERE name = %s", name)
                self.registry.add_user(name, body["password"], body.get("email", rows[0][0]))
            elif "email" in body:
                self.query("UPDATE standin_user SET email = %s WHERE name = %s", body["email"], name)
            rows = self.query("SELECT email FROM standin_user WHERE name = %s", name)
        return 200, {"username": name, "email": rows[0][0], "enabled": True}
