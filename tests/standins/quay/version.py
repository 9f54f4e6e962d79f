"""The version of Quay that is stood in for. What its versions do differently asks here."""

import os


def numbers(text):
    return tuple(int(part) for part in text.lstrip("v").split(".")[:2])


NAME = os.environ.get("QUAY_STANDIN_VERSION") or "3.18"
VERSION = numbers(NAME)


def since(text):
    return VERSION >= numbers(text)
