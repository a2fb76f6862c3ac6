"""Checks of the options and the schema of a request to the fake Ollama.

The fake checks the options before it loads the model, and the schema after that. The refusals are
described in docs/reference/ollama.md, "Options" and "Structured output".
"""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Mapping, Optional

from localproviders.testing.ollama.answers import RefusedError

_ERROR = "500 Internal Server Error"
_INTEGERS = (
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "draft_num_predict",
    "num_keep",
    "seed",
    "num_predict",
    "top_k",
    "repeat_last_n",
)
_FLOATS = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_SMALLEST_WINDOW = 4
#: The types that the runner can convert to a grammar.
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def options_of(body: Mapping[str, Any]) -> Dict[str, Any]:
    """Return a request's options without null values. An integer option loses its decimal places.

    Raises:
        RefusedError: An option has the wrong type.
    """
    given = body.get("options") or {}
    return {name: _checked(name, item) for name, item in given.items() if item is not None}


def _checked(name: str, value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in _INTEGERS:
        return int(value) if is_number else _refuse(name, "of type integer")
    if name in _FLOATS:
        return value if is_number else _refuse(name, "of type float32")
    if name == "use_mmap":
        return value if isinstance(value, bool) else _refuse(name, "of type boolean")
    if name == "stop":
        if not isinstance(value, list):
            return _refuse(name, "of type array")
        if not all(isinstance(text, str) for text in value):
            _refuse(name, "of an array of strings")
    return value


def _refuse(name: str, words: str) -> Any:
    raise RefusedError(f'option "{name}" must be {words}', _ERROR)


def window_of(options: Mapping[str, Any]) -> Optional[int]:
    """Return the requested context window; None if the request has none."""
    window = options.get("num_ctx")
    return None if window is None else max(_SMALLEST_WINDOW, window)


def check_format(body: Mapping[str, Any]) -> None:
    """Check the field ``format``, as the server and its runner do.

    Raises:
        RefusedError: The field is neither ``json`` nor a schema, or the schema cannot become a
            grammar.
    """
    given = body.get("format")
    if given in (None, "", "json"):
        return
    if not isinstance(given, dict):
        text = json.dumps(json.dumps(given))
        expected = 'expected "json" or a valid JSON Schema object'
        raise RefusedError(f"invalid format: {text}; {expected}", _ERROR)
    faults = list(_faults(given, given))
    if faults:
        message = "\n".join(["JSON schema conversion failed:", *faults])
        error = {"code": 400, "message": message, "type": "invalid_request_error"}
        raise RefusedError(json.dumps({"error": error}))


def _faults(schema: Any, root: Mapping[str, Any]) -> Iterator[str]:
    """Yield llama.cpp's reasons why a schema cannot become a grammar."""
    if not isinstance(schema, dict):
        yield f"Unrecognized schema: {_compact(schema)}"
        return
    type_ = schema.get("type")
    types = type_ if isinstance(type_, list) else [] if type_ is None else [type_]
    if not all(isinstance(name, str) and name in _TYPES for name in types):
        yield f"Unrecognized schema: {_compact(schema)}"
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and not (pattern.startswith("^") and pattern.endswith("$")):
        yield "Pattern must start with '^' and end with '$'"
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        yield from _broken_reference(reference, root)
    for inner in _inner_schemas(schema):
        yield from _faults(inner, root)


def _broken_reference(reference: str, root: Mapping[str, Any]) -> Iterator[str]:
    target: Any = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or name not in target:
            yield f"Error resolving ref {reference}: {name} not in {_compact(target)}"
            return
        target = target[name]


def _inner_schemas(schema: Mapping[str, Any]) -> List[Any]:
    """Return the schemas directly inside a schema, under the keywords that the runner reads."""
    found: List[Any] = []
    for name in ("properties", "$defs", "definitions"):
        inner = schema.get(name)
        found += inner.values() if isinstance(inner, dict) else []
    for name in ("anyOf", "oneOf", "allOf", "prefixItems", "items"):
        inner = schema.get(name, [])
        found += inner if isinstance(inner, list) else [inner]
    return found


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
