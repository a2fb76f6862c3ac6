"""The form of a JSON Schema that the service accepts for an answer."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Tuple

# Keywords that the service refuses (docs/reference/anthropic.md, "Structured output").
_REFUSED = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
    *("contains", "minContains", "maxContains", "patternProperties", "propertyNames"),
)
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf", "oneOf")


def sendable(schema: Mapping[str, Any]) -> Tuple[Dict[str, Any], List[str]]:
    """Return a schema in the form that the service accepts, and the keywords that this form lacks.

    If the schema of an object has no ``additionalProperties``, ``false`` is added, because the
    service requires this. Keywords that the service refuses are moved into the description, which
    the model reads. The service does not enforce them there, so an answer may violate them.
    """
    moved: List[str] = []
    return _sendable(schema, moved), list(dict.fromkeys(moved))


def _sendable(schema: Any, moved: List[str]) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    words: Dict[str, Any] = {key: schema[key] for key in schema if _is_refused(key, schema[key])}
    made: Dict[str, Any] = {
        key: _inside(key, schema[key], moved) for key in schema if key not in words
    }
    if "properties" in made or made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    if words:
        moved.extend(words)
        said = ", ".join(f"{key}: {json.dumps(words[key], default=str)}" for key in words)
        before = made.get("description")
        made["description"] = f"{before} ({said})" if isinstance(before, str) and before else said
    return made


def _is_refused(key: str, value: Any) -> bool:
    return key in _REFUSED or (key == "minItems" and value not in (0, 1))


def _inside(key: str, value: Any, moved: List[str]) -> Any:
    if key in _MAPS and isinstance(value, Mapping):
        return {name: _sendable(inner, moved) for name, inner in value.items()}
    if key in _LISTS and isinstance(value, (list, tuple)):
        return [_sendable(inner, moved) for inner in value]
    return _sendable(value, moved) if key in ("items", "not") else value
