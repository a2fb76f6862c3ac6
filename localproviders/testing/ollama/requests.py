"""Checks of requests to the fake Ollama: JSON, types of fields and durations.

Like the server's refusals, those here have the texts of Go's JSON decoder. The texts were measured
with Ollama 0.33.0-rc2; docs/reference/ollama.md, "Status codes", lists the status codes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, Dict, Mapping, NoReturn, Optional

from localproviders.testing.ollama.answers import RefusedError
from localproviders.testing.scripted import Exchange

#: The Go types of fields, by the names of the fields. A type is a key of `_PLAIN`, `_STRUCTS` or
#: `_CHECKS`, a list such as ``[]string``, or ``any``.
Fields = Mapping[str, str]

_PLAIN: Mapping[str, Any] = {
    "string": str,
    "bool": bool,
    "int": int,
    "float64": (int, float),
    "map[string]interface {}": dict,
    "map[string]string": dict,
}

#: The Go types of the fields of objects inside a request, by the Go type of the object.
_STRUCTS: Mapping[str, Fields] = {
    "api.Message": {
        "role": "string",
        "content": "string",
        "thinking": "string",
        "images": "[]api.ImageData",
        "tool_calls": "[]api.ToolCall",
        "tool_name": "string",
        "tool_call_id": "string",
    },
    "api.ToolCall": {"id": "string", "function": "api.ToolCallFunction"},
    "api.ToolCallFunction": {
        "index": "int",
        "name": "string",
        "arguments": "api.ToolCallFunctionArguments",
    },
    "api.Tool": {"type": "string", "function": "api.ToolFunction"},
    "api.ToolFunction": {
        "name": "string",
        "description": "string",
        "parameters": "api.ToolFunctionParameters",
    },
    "api.ToolFunctionParameters": {
        "type": "string",
        "required": "[]string",
        "properties": "api.ToolPropertiesMap",
    },
    "openai.Message": {
        "role": "string",
        "name": "string",
        "reasoning": "string",
        "tool_call_id": "string",
        "tool_calls": "[]openai.ToolCall",
    },
    "openai.ToolCall": {"id": "string", "type": "string", "function": "openai.Function"},
    "openai.Function": {"name": "string", "arguments": "string"},
    "openai.StreamOptions": {"include_usage": "bool"},
    "openai.ResponseFormat": {"type": "string", "json_schema": "openai.JsonSchema"},
    "openai.JsonSchema": {"schema": "any"},
    "openai.Reasoning": {"effort": "string"},
}

_LEVELS = ("high", "medium", "low", "max")
_LEVEL_WORDS = ", ".join(f'"{level}"' for level in _LEVELS) + ", true, or false"
_MOST_LOGPROBS = 20


def body_of(exchange: Exchange, shape: str, fields: Fields) -> Dict[str, Any]:
    """Return the JSON of a request. Fields whose value is null are left out.

    As in Go, null in a list of objects becomes an object without fields.

    Args:
        exchange: The request.
        shape: The name of the request's Go type, which error texts contain.
        fields: The Go types of the fields. Other fields are not checked.

    Raises:
        RefusedError: The request has no body, is not valid JSON, or a field has the wrong type.
    """
    value = _decode(exchange.body)
    if not isinstance(value, dict):
        raise RefusedError(f"json: cannot unmarshal {_kind(value)} into Go value of type {shape}")
    body = {name: item for name, item in value.items() if item is not None}
    for name, type_ in fields.items():
        if name in body:
            _check(body[name], type_, f"{shape.rpartition('.')[2]}.{name}")
            if type_[2:] in _STRUCTS:
                body[name] = [{} if item is None else item for item in body[name]]
    if "top_logprobs" in fields and not 0 <= body.get("top_logprobs", 0) <= _MOST_LOGPROBS:
        raise RefusedError(f"top_logprobs must be between 0 and {_MOST_LOGPROBS}")
    return body


# --- JSON -----------------------------------------------------------------------------------


def _decode(data: bytes) -> Any:
    """Return the first JSON value of a body. Like the server, ignore the rest of the body."""
    text = data.decode("utf-8", errors="replace").lstrip(" \t\r\n")
    if not text:
        raise RefusedError("missing request body")
    try:
        return json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(text)[0]
    except json.JSONDecodeError as error:
        raise RefusedError(_go_words(error)) from None
    except RecursionError:
        raise RefusedError("exceeded max depth") from None


def _refuse_constant(word: str) -> NoReturn:
    raise RefusedError(f"invalid character '{word.lstrip('-')[0]}' looking for beginning of value")


def _go_words(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc) or error.msg.startswith("Unterminated"):
        return "unexpected EOF"
    places = {
        "Expecting property": "looking for beginning of object key string",
        "Expecting ':'": "after object key",
        "Expecting ','": "after object key:value pair",
        "Invalid control": "in string literal",
        "Invalid \\": "in string escape code",
    }
    found = (place for start, place in places.items() if error.msg.startswith(start))
    letter = error.doc[error.pos]
    return f"invalid character {letter!r} {next(found, 'looking for beginning of value')}"


def _kind(value: Any) -> str:
    """Return Go's word for the type of a JSON value."""
    if isinstance(value, float):
        return f"number {value}"
    names = {bool: "bool", str: "string", int: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")


def go_type(value: Any) -> str:
    """Return the Go type of a decoded JSON value."""
    if isinstance(value, bool):
        return "bool"
    names = {
        type(None): "<nil>",
        str: "string",
        list: "[]interface {}",
        dict: "map[string]interface {}",
    }
    return names.get(type(value), "float64")


# --- fields ---------------------------------------------------------------------------------


def _check(value: Any, type_: str, path: str) -> None:
    """Check a value against a Go type. A null fits every type.

    Raises:
        RefusedError: The value does not fit.
    """
    if value is None or type_ == "any":
        return
    if type_ in _CHECKS:
        _CHECKS[type_](value, path)
    elif type_.startswith("[]"):
        _require(isinstance(value, list), value, type_, path)
        for item in value:
            _check(item, type_[2:], path)
    elif type_ in _STRUCTS:
        _require(isinstance(value, dict), value, type_, path)
        for name, inner in _STRUCTS[type_].items():
            _check(value.get(name), inner, f"{path}.{name}")
    else:
        is_bool = isinstance(value, bool)
        fits = isinstance(value, _PLAIN[type_]) and is_bool == (type_ == "bool")
        _require(fits, value, type_, path)
        if type_ == "map[string]string":
            for item in value.values():
                _check(item, "string", path)


def _require(fits: bool, value: Any, type_: str, path: str) -> None:
    if not fits:
        words = f"json: cannot unmarshal {_kind(value)} into Go struct field {path} of type {type_}"
        raise RefusedError(words)


def _check_tools(value: Any, path: str) -> None:
    _require(isinstance(value, list), value, "api.Tools", path)
    for tool in value:
        _check(tool, "api.Tool", path)


def _check_properties(value: Any, path: str) -> None:
    _require(isinstance(value, dict), value, "map[string]api.ToolProperty", path)
    for item in value.values():
        _require(isinstance(item, dict), item, "api.ToolProperty", path)


def _check_arguments(value: Any, path: str) -> None:
    if isinstance(value, str):
        raise RefusedError("Value looks like object, but can't find closing '}' symbol")
    _require(isinstance(value, dict), value, "api.ToolCallFunctionArguments", path)


def _check_image(value: Any, path: str) -> None:
    _require(isinstance(value, str), value, "api.ImageData", path)
    text = re.sub(r"[\r\n]", "", value)
    wrong = re.search(r"[^A-Za-z0-9+/=]", text)
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        place = wrong.start() if wrong else len(text)
        raise RefusedError(f"illegal base64 data at input byte {place}") from None


def _check_think(value: Any, _: str) -> None:
    # Described in docs/reference/ollama.md, "Thinking".
    if isinstance(value, str) and value not in _LEVELS:
        raise RefusedError(f'invalid think value: "{value}" (must be {_LEVEL_WORDS})')
    if not isinstance(value, (bool, str)):
        raise RefusedError(f"think must be a boolean or string ({_LEVEL_WORDS})")


def _check_keep_alive(value: Any, _: str) -> None:
    keep_alive_s({"keep_alive": value})


_CHECKS: Mapping[str, Any] = {
    "api.Tools": _check_tools,
    "api.ToolPropertiesMap": _check_properties,
    "api.ToolCallFunctionArguments": _check_arguments,
    "api.ImageData": _check_image,
    "api.ThinkValue": _check_think,
    "api.Duration": _check_keep_alive,
}


# --- durations ------------------------------------------------------------------------------

# The seconds in each unit of Go's durations, and the pattern for one part of a duration such as
# "1h30m".
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)"


def keep_alive_s(body: Mapping[str, Any]) -> Optional[float]:
    """Return the field ``keep_alive`` of a request in seconds; None if the request has none.

    The field is a number of seconds, or a text such as ``5m``. A negative value means for ever.

    Raises:
        RefusedError: The value is neither a number nor a duration.
    """
    # Described in docs/reference/ollama.md, "Keep-alive".
    value = body.get("keep_alive")
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    if not isinstance(value, str):
        raise RefusedError(f"Unsupported type: '{go_type(value)}'")
    amount = value[1:] if value[:1] in ("+", "-") else value
    if amount != "0" and not re.fullmatch(f"(?:{_PART})+", amount):
        is_number = re.fullmatch(r"\d+\.?\d*|\.\d+", amount)
        reason = "missing unit in duration" if is_number else "invalid duration"
        raise RefusedError(f'time: {reason} "{value}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, amount))
    return -seconds if value.startswith("-") else seconds
