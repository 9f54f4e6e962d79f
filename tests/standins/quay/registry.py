"""The registry's protocol: tokens, blobs, manifests, tags. Images are where Quay's storage is."""

import base64, hashlib, json, re, time, uuid

import names, scanner, tags
from answers import Answer, broken, not_found, registry as error
from api_orgs import make
from rights import Rights

SCOPE = r"repository:((?:[.a-zA-Z0-9_-]+/)*[.a-zA-Z0-9_-]+):((?:push|pull|\*)(?:,(?:push|pull|\*))*)"
OCI = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    def __init__(self, store, storage):
        self.store, self.config, self.storage, self.uploads = store, store.config, storage, {}

    # Tags are a document of their own: which there are, which there were, and what was pushed under its digest alone.
    def held(self, repository):
        return {"tags": {}, "gone": [], "loose": [], "kinds": {}, **(self.store.load(f"tags/{repository}") or {})}

    def tags(self, repository):
        return self.held(repository)["tags"]

    def is_alive(self, held, digest, repository):
        """A manifest is had by its digest while a tag leads to it, also through a list of manifests."""
        alive = {*held["tags"].values(), *held["loose"]}
        if digest in alive:
            return True
        lists = (self.manifest(repository, d) for d in alive if "index" in held["kinds"].get(d, "") or "list" in held["kinds"].get(d, ""))
        return any(digest in (part.get("digest") for part in json.loads(data).get("manifests", [])) for data in lists if data)

    def manifest(self, repository, digest):
        return self.storage.read(f"manifests/{repository}/{digest}") if self.storage else None

    def security(self, repository, digest):
        manifest = self.manifest(repository, digest)
        if manifest is None:
            raise not_found()
        return scanner.look(self.store, repository, digest, manifest)

    # Who asks.
    def user_of_basic(self, value):
        try:
            name, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            name, password = "", ""
        unknown = lambda text: error(401, "UNAUTHORIZED", text)
        if "+" in name:
            robot = self.store.robot(name)
            if robot is None:
                raise unknown("Could not find robot with specified username")
            if robot["token"] != password:
                raise unknown(f"Could not find robot with username: {name} and supplied password.")
            return name
        if name == "$oauthtoken":
            user = self.store.user_of_token(password)
            if user is None:
                raise unknown("OAuth access token could not be validated")
            return user
        if self.store.email(name) is not None and not self.store.account(name)["enabled"]:
            raise unknown("This user has been disabled. Please contact your administrator.")
        if not self.store.enters(name, password):
            raise unknown("Invalid Username or Password")
        return name

    def token(self, request, query):
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        user = self.user_of_basic(value) if kind.lower() == "basic" else None
        scopes = query.get("scope", [])
        if user is None and (value or not scopes or not self.config.get("FEATURE_ANONYMOUS_ACCESS", True)):
            raise error(401, "UNAUTHORIZED", "access to the requested resource is not authorized")
        access = [self.granted(user, scope) for scope in scopes]
        now = time.time()
        claims = {"iss": "quay", "aud": query.get("service", [self.config["SERVER_HOSTNAME"]])[0], "nbf": int(now), "iat": int(now),
                  "exp": int(now) + 3600, "sub": user or "(anonymous)", "access": access}
        return 200, {"token": self.store.sign(claims)}, {}

    def granted(self, user, scope):
        """What of the asked actions somebody may do. Pushing to a repository that is not there makes it."""
        match = re.fullmatch(rf"{SCOPE}", scope.replace(f"repository:{self.config['SERVER_HOSTNAME']}/", "repository:", 1))
        if not match:
            raise error(400, "INVALID_REQUEST", f"Unable to decode repository and actions: {scope}")
        whole, asked = match[1], match[2].split(",")
        space, _, short = whole.rpartition("/") if whole.count("/") < 2 else whole.partition("/")
        name = f"{space or 'library'}/{short}"
        if not names.is_repository(short, self.config):
            raise error(400, "NAME_INVALID", f"Invalid repository name: {whole}")
        rights, public, actions = Rights(self.store, user), self.store.is_public(name), []
        if "push" in asked and user and self.may_push(rights, name, public is None):
            if public is None:
                public = not self.config.get("CREATE_PRIVATE_REPO_ON_PUSH", True)
                self.store.make_repository(name, public, user)
            actions.append("push")
        if "pull" in asked and (public or (public is not None and rights.may(name, "read"))):
            actions.append("pull")
        if "*" in asked and public is not None and rights.may(name, "admin") and self.store.repository(name)["state"] == "NORMAL":
            actions.append("*")
        return {"type": "repository", "name": whole, "actions": actions}

    def may_push(self, rights, name, is_new):
        space = name.split("/")[0]
        if is_new:
            unknown = self.store.load(f"org/{space}") is None and not self.store.is_entity(space)
            if unknown and self.config.get("CREATE_NAMESPACE_ON_PUSH") and "+" not in rights.name and not names.fault(space):
                make(self.store, space, None, rights.name)
            return rights.may_create_in(space)
        held = self.store.repository(name)
        if held["state"] == "MIRROR":
            # Nobody but the robot that copies.
            return (held["mirror"] or {}).get("robot_username") == rights.name
        return held["state"] == "NORMAL" and rights.may(name, "write")

    def challenge(self, request, repository=None, actions=()):
        realm = f'Bearer realm="{request.own_url()}/v2/auth",service="{self.config["SERVER_HOSTNAME"]}"'
        if repository:
            realm += f',scope="repository:{repository}:{",".join(actions)}"'
        return realm

    def base(self, request):
        """Whether somebody is let in; the body says true in both cases."""
        claims = self.store.claims(request.bearer() or "")
        headers = {"Docker_Distribution_API_Version": "registry/2.0"}
        if not claims:
            headers["WWW_Authenticate"] = self.challenge(request)
        raise Answer(200 if claims else 401, b"true", "text/html; charset=utf-8", **headers)

    def catalog(self, request):
        claims = self.store.claims(request.bearer() or "") or {}
        rights = Rights(self.store, claims.get("sub"))
        seen = [name for name in self.store.repositories() if rights.may(name, "read")]
        return 200, {"repositories": seen}, {}

    def answer(self, request, method, path, query, body):
        if path == "auth" and method == "GET":
            with self.store.lock:
                return self.token(request, query)
        if path == "":
            self.base(request)
        if path == "_catalog" and method == "GET":
            return self.catalog(request)
        match = re.fullmatch(r"([^/]+(?:/[^/]+)+?)/(blobs/uploads|blobs|manifests|tags)/(.*)", path)
        if not match:
            raise error(404, "NAME_UNKNOWN", "repository name not known to registry")
        repository, kind, rest = match.groups()
        self.must(request, repository, method in ("POST", "PUT", "PATCH", "DELETE"))
        if kind == "blobs/uploads":
            return self.upload(request, method, repository, rest.strip("/"), query, body)
        if kind == "blobs" and method in ("GET", "HEAD"):
            return self.blob_of(rest)
        if kind == "manifests":
            with self.store.lock:
                return self.manifests(request, method, repository, rest, body)
        if kind == "tags" and rest == "list" and method == "GET":
            return 200, {"name": repository, "tags": sorted(self.tags(repository))}, {}
        raise error(405, "UNSUPPORTED", "The operation is unsupported.")

    def must(self, request, repository, writes):
        wanted = ["pull", "push"] if writes else ["pull"]
        claims = self.store.claims(request.bearer() or "") or {"access": []}
        held = {a for entry in claims["access"] if entry["name"] == repository for a in entry["actions"]}
        is_open = not writes and self.store.is_public(repository) and self.config.get("FEATURE_ANONYMOUS_ACCESS", True)
        if "*" in held or set(wanted) <= held or (writes and "push" in held) or is_open:
            return
        raise error(401, "UNAUTHORIZED", "access to the requested resource is not authorized",
                    WWW_Authenticate=self.challenge(request, repository, wanted))

    @staticmethod
    def blob(digest):
        """As Quay's layout has it: the digest's kind, its first two digits, its digits."""
        kind, _, digits = digest.partition(":")
        return f"{kind}/{digits[:2]}/{digits}"

    def blob_of(self, digest):
        data = self.storage.read(self.blob(digest)) if self.storage else None
        if data is None:
            raise error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return 200, data, {"Docker_Content_Digest": digest, "kind": "application/octet-stream"}

    def upload(self, request, method, repository, session, query, body):
        if self.storage is None:
            # No storage is preferred, so that there is none to write to.
            raise broken()
        if method == "POST" and not session:
            session = str(uuid.uuid4())
            self.uploads[session] = bytearray()
        if session not in self.uploads:
            raise error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if method == "DELETE":
            del self.uploads[session]
            return 204, b"", {}
        self.uploads[session] += body
        content = bytes(self.uploads[session])
        base = f"{request.own_url()}/v2/{repository}/blobs"
        if digest := query.get("digest", [None])[0]:
            del self.uploads[session]
            if digest != "sha256:" + hashlib.sha256(content).hexdigest():
                raise error(400, "BLOB_UPLOAD_INVALID", "blob upload invalid")
            self.storage.write(self.blob(digest), content)
            return 201, b"", {"Location": f"{base}/{digest}", "Docker_Content_Digest": digest}
        where = {"Location": f"{base}/uploads/{session}", "Range": f"0-{max(len(content) - 1, 0)}", "Docker_Upload_UUID": session}
        return (204 if method == "GET" else 202), b"", where

    def manifests(self, request, method, repository, reference, body):
        held, by_digest = self.held(repository), reference.startswith("sha256:")
        if method == "PUT":
            return self.push(request, repository, reference, by_digest, held, body)
        digest = reference if by_digest else held["tags"].get(reference)
        unknown = error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if method == "DELETE":
            if by_digest and not self.is_alive(held, digest, repository):
                raise unknown
            going = [tag for tag, of in held["tags"].items() if (of == digest if by_digest else tag == reference)]
            if not going and not by_digest:
                raise unknown
            for tag in going:
                tags.end(held, tag)
            held["loose"] = [d for d in held["loose"] if d != digest] if by_digest else held["loose"]
            self.store.save(f"tags/{repository}", held)
            return 202, b"", {}
        if method not in ("GET", "HEAD"):
            raise error(405, "UNSUPPORTED", "The operation is unsupported.")
        if digest is None and reference in held["gone"]:
            raise error(404, "TAG_EXPIRED", f"Tag {reference} was deleted or has expired. To pull, revive via time machine")
        data = self.manifest(repository, digest) if digest and self.is_alive(held, digest, repository) else None
        if data is None:
            raise unknown
        kind = held["kinds"].get(digest) or json.loads(data).get("mediaType", OCI)
        return 200, data, {"Docker_Content_Digest": digest, "kind": kind}

    def push(self, request, repository, reference, by_digest, held, body):
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        invalid = lambda text: error(400, "MANIFEST_INVALID", "manifest invalid", {"message": text})
        try:
            manifest = json.loads(body)
            parts = [manifest.get("config"), *manifest.get("layers", [])]
            blobs = [part["digest"] for part in parts if part]
            children = [part["digest"] for part in manifest.get("manifests", [])]
        except (ValueError, AttributeError, KeyError, TypeError):
            raise invalid("failed to parse manifest")
        if by_digest and reference != digest:
            raise error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        for blob in blobs:
            if self.storage.read(self.blob(blob)) is None:
                raise invalid(f"Unknown blob `{blob}`")
        for child in children:
            if self.manifest(repository, child) is None:
                raise invalid(f"Unknown manifest `{child}`")
        self.storage.write(f"manifests/{repository}/{digest}", body)
        sent = (request.headers.get("Content-Type") or "").split(";")[0]
        held["kinds"][digest] = manifest.get("mediaType") or (sent if "manifest" in sent or "index" in sent else OCI)
        if by_digest:
            held["loose"] = sorted({*held["loose"], digest})
        else:
            tags.lead(held, reference, digest)
        self.store.save(f"tags/{repository}", held)
        where = f"{request.own_url()}/v2/{repository}/manifests/{digest}"
        return 201, b"OK", {"Location": where, "Docker_Content_Digest": digest, "kind": "text/html; charset=utf-8"}
