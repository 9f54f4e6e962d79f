"""Quay's API: who asks, what the path names, and what is answered."""

import re, secrets, time

import api_access, api_images, api_orgs, api_policies, api_repos, api_users, names
from answers import Answer, csrf_failure, message, page
from rights import Rights
from schema import FLAG, TEXT, checked, mapping

BASE = "/api/v1/"


class Call:
    """A request of the API's."""

    def __init__(self, api, method, path, query, body, rights):
        self.store, self.config, self.registry = api.store, api.config, api.registry
        self.method, self.path, self.query, self.body, self.rights = method, path, query, body, rights

    def checked(self, schema, optional=False):
        return checked(self.body, schema, optional)

    def flag(self, name, otherwise):
        text = self.query.get(name, [str(otherwise)])[0].lower()
        return text not in ("false", "0", "")


class Api:
    def __init__(self, store, registry):
        self.store, self.config, self.registry = store, store.config, registry
        # Repositories come last: whatever else is below their names would be part of one.
        self.routes = [(re.compile(pattern), respond, feature) for part in (api_users, api_access, api_policies, api_images, api_orgs, api_repos)
                       for pattern, respond, feature in part.ROUTES]

    def answer(self, request, method, path, query, body):
        """The status, body, kind and headers of an answer; refusals are raised."""
        with self.store.lock:
            if path == "user/initialize" and method == "POST":
                return 200, self.initialize(checked(body, mapping(username=TEXT, password=TEXT, email=TEXT, access_token=FLAG))), {}
            token_user = self.store.user_of_token(request.bearer() or "")
            session = self.session(request)
            # A token that is none is passed over, so that whoever shows one is nobody.
            if token_user is None and method not in ("GET", "HEAD"):
                shown = request.headers.get("X-CSRF-Token") or query.get("_csrf_token", [None])[0]
                if not session.get("csrf") or session["csrf"] != shown:
                    raise csrf_failure()
            if path == "signin" and method == "POST":
                return self.sign_in(checked(body, mapping(("username", "password"), username=TEXT, password=TEXT)))
            rights = Rights(self.store, token_user or session.get("session"))
            for pattern, respond, feature in self.routes:
                match = pattern.fullmatch(path)
                if match and (feature is None or self.config.get(feature)):
                    # What is shown to nobody is not asked about where nobody may ask.
                    if rights.name is None and not self.config.get("FEATURE_ANONYMOUS_ACCESS", True):
                        raise rights.refused()
                    status, value = respond(Call(self, method, path, query, body, rights), *match.groups())
                    return status, value, {}
        if method == "GET" and not path.endswith("/"):
            where = request.own_url() + BASE + path + "/"
            raise page(308, "Redirecting...", f'You should be redirected automatically to the target URL: <a href="{where}">{where}</a>.',
                       Location=where)
        raise page(404, "Not Found") if method == "GET" else page(405, "Method Not Allowed")

    def initialize(self, asked):
        if not self.config.get("FEATURE_USER_INITIALIZE"):
            raise message("Cannot initialize user, FEATURE_USER_INITIALIZE is False")
        if self.config.get("AUTHENTICATION_TYPE", "Database") != "Database":
            raise message("Cannot initialize user in a non-database auth system")
        if self.store.users():
            raise message("Cannot initialize user in a non-empty database")
        name, password, email = (asked.get(k, "") for k in ("username", "password", "email"))
        fault = names.PASSWORD if not names.is_password(password) else None
        if not fault and self.config.get("FEATURE_MAILING", True) and not re.match(r"[^@]+@[^@]+\.[^@]+", email):
            fault = f"Invalid email address: {email}"
        if not fault and (wrong := names.fault(name)):
            fault = f"Invalid namespace {name}: {wrong}"
        if fault:
            raise message(f"Failed to initialize user: {fault}")
        self.store.add_user(name, password, email)
        token = self.store.make_token(name) if asked.get("access_token") else ""
        return {"username": name, "email": email, "encrypted_password": secrets.token_hex(32), "access_token": token}

    # Sessions are a browser's: a signed cookie, and a word that every change must repeat.
    def session(self, request):
        cookies = dict(c.strip().split("=", 1) for c in request.headers.get("Cookie", "").split(";") if "=" in c)
        session = self.store.claims(cookies.get("session", "")) or {}
        gone = session.get("session") and not self.store.account(session["session"])["enabled"]
        return {} if gone else session

    def new_session(self, user):
        csrf = secrets.token_urlsafe(48)
        cookie = self.store.sign({"session": user, "csrf": csrf, "exp": time.time() + 3600})
        return csrf, {"Set_Cookie": f"session={cookie}; HttpOnly; Path=/", "X_Next_CSRF_Token": csrf}

    def csrf_token(self):
        csrf, headers = self.new_session(None)
        return 200, {"csrf_token": csrf}, headers

    def sign_in(self, asked):
        if not self.store.enters(asked["username"], asked["password"]):
            raise Answer(403, {"needsEmailVerification": False, "invalidCredentials": True, "message": "Invalid Username or Password"})
        _, headers = self.new_session(asked["username"])
        return 200, {"success": True}, headers
