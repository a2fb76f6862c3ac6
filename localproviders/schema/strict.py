"""The strict form of a JSON Schema. OpenAI's service follows a schema in this form exactly.

With ``"strict": true`` in a request, OpenAI accepts only a schema that allows no unnamed
properties, requires all named properties, and uses only some keywords. Without ``"strict": true``,
the service accepts any schema, but the answer may break it. Azure, Groq and others accept fewer
keywords than OpenAI, so the strict form here has only the keywords that all of them accept. A
schema with another keyword, such as `minimum`, has no strict form; this package then checks the
answer when it arrives.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping

_MAPS = ("properties", "$defs", "definitions")
_KEYWORDS = frozenset(
    (*_MAPS, "type", "required", "additionalProperties", "items", "anyOf", "enum", "const", "$ref")
)
_ANNOTATIONS = frozenset(("title", "description"))


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema has the strict form, so that every service follows it exactly."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return False
    todo: Any = [schema]
    while todo:
        each = todo.pop()
        if not _obeys(each):
            return False
        todo.extend(_inside(each))
    return True


def closed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the strict form of the schema of a Python type; the schema itself if it has none.

    In the strict form, an object with named properties allows no others. A property whose default
    is null becomes required, because null then has the same effect as leaving the property out.
    """
    made = _close(schema)
    return made if is_strict(made) else schema


def _obeys(schema: Any) -> bool:
    """Return whether a schema itself has the strict form. The schemas inside it are not checked."""
    if not isinstance(schema, Mapping) or not schema.keys() <= _KEYWORDS | _ANNOTATIONS:
        return False
    if "$ref" in schema:
        return len(schema) == 1
    if "type" not in schema:
        return "anyOf" in schema
    kind = schema["type"]
    kinds = kind if isinstance(kind, list) else [kind]
    names = schema.get("properties", {})
    is_closed = schema.get("additionalProperties") is False
    is_complete = is_closed and set(names) == set(schema.get("required", ()))
    return ("object" not in kinds or is_complete) and ("array" not in kinds or "items" in schema)


def _inside(schema: Mapping[str, Any]) -> Iterator[Any]:
    for name in _MAPS:
        yield from schema.get(name, {}).values()
    yield from schema.get("anyOf", ())
    if "items" in schema:
        yield schema["items"]


def _close(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made: Dict[str, Any] = dict(schema)
    for name in _MAPS:
        if name in made:
            made[name] = {key: _close(inner) for key, inner in made[name].items()}
    if "anyOf" in made:
        made["anyOf"] = [_close(inner) for inner in made["anyOf"]]
    if "items" in made:
        made["items"] = _close(made["items"])
    return _close_object(made) if "properties" in made else made


def _close_object(schema: Dict[str, Any]) -> Dict[str, Any]:
    """Return the schema of an object, changed so that it allows no unnamed properties.

    A property whose default is null becomes required and loses this default.
    """
    required = set(schema.get("required", ()))
    properties = dict(schema["properties"])
    for name, inner in schema["properties"].items():
        if isinstance(inner, Mapping) and inner.get("default", "") is None and _allows_null(inner):
            required.add(name)
            properties[name] = {key: inner[key] for key in inner if key != "default"}
    names = [name for name in properties if name in required]
    return {"additionalProperties": False, **schema, "properties": properties, "required": names}


def _allows_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    kind = schema.get("type")
    is_named = kind == "null" or (isinstance(kind, list) and "null" in kind)
    return is_named or any(map(_allows_null, schema.get("anyOf", ())))
