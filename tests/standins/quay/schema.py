"""Whether a request's body is what Quay's API takes, said in the words of the JSON schema that it is held against."""

import json, pprint

from answers import problem

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def _is(value, kind):
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind])


def _fault(value, schema, at=()):
    """The first thing that is wrong: what, by which word of the schema, in which part of both."""
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{value!r} is not of type {', '.join(repr(k) for k in kinds)}", "type", schema, value, at
    for name in schema.get("required", []) if isinstance(value, dict) else []:
        if name not in value:
            return f"{name!r} is a required property", "required", schema, value, at
    if "enum" in schema and value not in schema["enum"]:
        return f"{value!r} is not one of {schema['enum']!r}", "enum", schema, value, at
    if isinstance(value, int) and value < schema.get("minimum", value):
        return f"{value!r} is less than the minimum of {schema['minimum']!r}", "minimum", schema, value, at
    if isinstance(value, int) and value > schema.get("maximum", value):
        return f"{value!r} is greater than the maximum of {schema['maximum']!r}", "maximum", schema, value, at
    if isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
        return f"{value!r} is too long", "maxLength", schema, value, at
    parts = []
    if isinstance(value, dict):
        parts = [(value[name], part, (*at, name)) for name, part in schema.get("properties", {}).items() if name in value]
    elif isinstance(value, list) and "items" in schema:
        parts = [(item, schema["items"], (*at, number)) for number, item in enumerate(value)]
    return next(filter(None, (_fault(*part) for part in parts)), None)


def checked(body, schema, optional=False):
    """The body as a value; a problem where it is not what the schema says."""
    try:
        value = json.loads(body) if body.strip() else None
    except ValueError:
        raise problem(400, "The browser (or proxy) sent a request that this server could not understand.")
    if value is None:
        if optional:
            return {}
        raise problem(400, "Missing JSON body")
    fault = _fault(value, schema)
    if fault:
        what, word, part, instance, at = fault
        place = "".join(f"['properties'][{step!r}]" if isinstance(step, str) else "['items']" for step in at)
        held = "".join(f"[{step!r}]" for step in at)
        shown = lambda data: "\n".join("    " + line for line in pprint.pformat(data, width=72).splitlines())
        raise problem(400, f"{what}\n\nFailed validating {word!r} in schema{place}:\n{shown(part)}\n\nOn instance{held}:\n{shown(instance)}")
    return value


def mapping(required=(), **properties):
    return {"type": "object", "required": list(required), "properties": properties}


TEXT = {"type": "string"}
NUMBER = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
TEXT_OR_NULL = {"type": ["string", "null"]}


def one_of(*words):
    return {"type": "string", "enum": list(words)}
