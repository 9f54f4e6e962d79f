"""Who may do what. Being a superuser is not enough to do anything in what is somebody else's: that takes
FEATURE_SUPERUSERS_FULL_ACCESS."""

from answers import problem

RANK = {None: 0, "read": 1, "write": 2, "admin": 3}


class Rights:
    """Of somebody who asks; `name` is `None` for nobody."""

    def __init__(self, store, name):
        self.store, self.name, self.config = store, name, store.config

    @property
    def is_super(self):
        return self.name in (self.config.get("SUPER_USERS") or []) and self.config.get("FEATURE_SUPER_USERS", True)

    @property
    def has_full_access(self):
        return bool(self.is_super and self.config.get("FEATURE_SUPERUSERS_FULL_ACCESS"))

    def refused(self):
        return problem(401 if self.name is None else 403)

    def must(self, may):
        if not may:
            raise self.refused()

    def _teams(self, space):
        org = self.store.load(f"org/{space}") if self.name else None
        return {name: team["role"] for name, team in (org or {}).get("teams", {}).items() if self.name in team["members"]}

    def administers(self, space):
        return self.name is not None and (self.name == space or "admin" in self._teams(space).values())

    def belongs_to(self, space):
        return self.name is not None and (self.name == space or bool(self._teams(space)))

    def may_create_in(self, space):
        return self.name is not None and (self.name == space or bool({"admin", "creator"} & set(self._teams(space).values())))

    def role(self, repository):
        """What somebody may do with a repository, also with one that is not there."""
        space = repository.split("/")[0]
        if self.administers(space):
            return "admin"
        if self.name is None:
            return None
        held = self.store.repository(repository)["permissions"]
        roles = [held.get(f"user/{self.name}"), *(held.get(f"team/{team}") for team in self._teams(space))]
        return max(roles, key=RANK.get)

    def may(self, repository, role):
        return RANK[self.role(repository)] >= RANK[role]

    def may_read(self, repository):
        return self.may(repository, "read") or bool(self.store.is_public(repository))
