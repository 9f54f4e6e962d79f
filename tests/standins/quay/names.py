"""What users, organizations, robots, teams and repositories may be called."""

import re

NAME = r"^([a-z0-9]+(?:[._-][a-z0-9]+)*)$"
PASSWORD = "Invalid password, password must be at least 8 characters and contain no whitespace."
ONE_PART = r"[a-z0-9][._a-z0-9-]{0,254}"


def fault(name, what="Namespace"):
    """Why something cannot have this name; `None` where it can."""
    if not re.match(NAME, name):
        return f"Namespace must match expression {NAME}"
    if not 2 <= len(name) <= 255:
        return f"{what} must be between 2 and 255 characters in length"
    return None


def is_password(text):
    return len(text) >= 8 and not re.search(r"\s", text)


def is_repository(name, config):
    """Names of several parts are on unless they are switched off."""
    if len(name) > 255:
        return False
    if config.get("FEATURE_EXTENDED_REPOSITORY_NAMES", True):
        return bool(re.fullmatch(rf"{ONE_PART}(/{ONE_PART})*", name))
    return bool(re.fullmatch(ONE_PART, name))
