"""What Quay answers where it does not do what it was asked. It has four forms of it: a problem with its type, the bare message
of its data model, a page of HTML, and the errors of the registry's protocol."""

import json

KINDS = {400: "invalid_request", 401: "invalid_token", 403: "insufficient_scope", 404: "not_found"}
WORDS = {401: "Requires authentication", 403: "Unauthorized", 404: "Not Found"}


class Answer(Exception):
    """Ends a request with this answer."""

    def __init__(self, status, body, kind="application/json", **headers):
        super().__init__(status)
        self.status, self.body, self.kind, self.headers = status, body, kind, headers


def problem(status, text=None, **more):
    """A problem; its `type` is an address, which the server completes with its own."""
    text = text or WORDS[status]
    return Answer(status, {**more, "detail": text, "error_message": text, "error_type": KINDS[status],
                           "title": KINDS[status], "type": f"/api/v1/error/{KINDS[status]}", "status": status})


def not_found():
    return problem(404)


def message(text, status=400):
    """What the data model says of what it cannot do."""
    return Answer(status, {"message": text})


def broken():
    """Where Quay's own program fails: it says no more."""
    return Answer(500, {"message": "Internal Server Error"})


def page(status, title, text="", **headers):
    body = f"<!doctype html>\n<html lang=en>\n<title>{title}</title>\n<h1>{title}</h1>\n<p>{text}</p>\n"
    return Answer(status, body.encode(), "text/html; charset=utf-8", **headers)


def front(status, title):
    """As the web server in front of Quay's processes says it."""
    body = (f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>{status} {title}</h1></center>\r\n"
            "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
    return Answer(status, body.encode(), "text/html")


def csrf_failure():
    body = {"error": "CSRF token was invalid or missing."}
    return Answer(403, json.dumps(body).encode(), "text/html; charset=utf-8")


def registry(status, code, text, detail=None, **headers):
    """An error as the registry's protocol has it."""
    body = {"errors": [{"code": code, "detail": detail or {}, "message": text}]}
    return Answer(status, json.dumps(body, separators=(",", ":")).encode() + b"\n", **headers)
