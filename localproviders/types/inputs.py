"""Conversion of messages, tools and values that callers write in the forms of other packages.

Most functions convert a dictionary in a form of OpenAI, Ollama or another client to a dictionary
with the fields of this package. A form is converted only if its meaning is clear. Any other form
raises an error that says what to write instead. No error quotes text of a message.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from localproviders._did_you_mean import image_message, suggest_number
from localproviders._interrupts import is_injected
from localproviders._patterns import pattern
from localproviders._record import plain
from localproviders.errors import ConfigurationError
from localproviders.types.models import LoadedModel, ModelInfo

# The values that clients write in the field `type` of a content part, one tuple for each meaning.
# The content of a message can be a list of such parts.
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_THINKING_PARTS = ("thinking", "reasoning")
_IMAGE_PARTS = ("image_url", "input_image", "image")
_IMAGE_PLACES = ("image_url", "image", "url", "path")
_AUDIO_PARTS = ("input_audio",)
_DOCUMENT_PARTS = ("document",)
_PARTS = (*_TEXT_PARTS, *_THINKING_PARTS, *_IMAGE_PARTS, *_AUDIO_PARTS, *_DOCUMENT_PARTS)

# Names of the roles in other clients.
_ROLES = {
    "developer": "system",
    "function": "tool",
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
}
# The roles of a message that is a pair of a role and a text.
_ROLES_OF_PAIRS = ("system", "user", "assistant", "developer", "human", "ai", "model")
# Names under which other clients and servers keep the reasoning of a message.
_THINKING = ("reasoning_content", "reasoning", "reasoning_text")
# Values of `tool_choice` that name no tool, and the highest number of tool names in an error.
_CHOICES = ("auto", "none", "required")
_MOST_NAMES = 5
# Fields of an assistant message that have no meaning for the model.
_METADATA = ("annotations",)
# The fields of an MCP tool that a model needs, and the names of these fields in this package.
_MCP = {"name": "name", "description": "description", "inputSchema": "parameters"}
# Names of the field with the text of a document, in other clients.
_TEXTS = ("page_content", "content", "text")
# Types of audio, by the name of the format.
_AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def kind_of(value: Any) -> str:
    """Return the name of a value's type, for error messages."""
    return type(value).__name__


def fields_of(value: Any) -> Any:
    """Return the dictionary of a pydantic model, such as a message of another client's answer.

    Any other value is returned unchanged.
    """
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(exclude_none=True)
    return value


# --- messages -------------------------------------------------------------------------------


def pair_fields(value: Any) -> Any:
    """Return the fields of a message that is a pair of a role and a text.

    Any other value is returned unchanged.
    """
    is_pair = isinstance(value, (tuple, list)) and list(map(type, value)) == [str, str]
    if is_pair and value[0] in _ROLES_OF_PAIRS:
        return {"role": value[0], "content": value[1]}
    return value


def message_fields(data: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the fields of a message from a dictionary of this package, of OpenAI or of Ollama.

    Raises:
        ValueError: A part cannot be sent, or has a wrong type.
        TypeError: The result of a tool cannot be written as JSON.
    """
    # A field that is None counts as missing. Only a tool's result may be None.
    found = {str(name): value for name, value in data.items() if value is not None}
    if "role" not in found:
        raise ValueError('a message has no role: write {"role": "user", "content": "..."}')
    role = found["role"] = _role(found["role"])
    for name in _METADATA:
        found.pop(name, None)
    _read_thinking(found)
    if role == "tool":
        _read_result(found, data)
    elif "name" in found:
        raise ValueError(
            "name is only for the message of a tool: leave it out, or begin the content with it, "
            "as in 'Bob: Hello'"
        )
    _read_content(found)
    _read_calls(found)
    return found


def _role(role: Any) -> Any:
    role = getattr(role, "value", role)  # other clients have an `Enum` of the roles
    return _ROLES.get(role, role) if isinstance(role, str) else role


def _read_thinking(found: Dict[str, Any]) -> None:
    others = [found.pop(name) for name in _THINKING if name in found]
    if others and not found.get("thinking"):
        found["thinking"] = others[0]


def _read_result(found: Dict[str, Any], data: Mapping[str, Any]) -> None:
    """Read the name of the tool, and write its result as text."""
    name = found.pop("name", None)
    if name is not None:
        found.setdefault("tool_name", name)
    if "content" in data and not _is_parts(data["content"]):
        found["content"] = result_text(data["content"])


def _is_parts(content: Any) -> bool:
    """Return whether the content of a tool message is a list of parts, and not a tool's result."""
    return (
        isinstance(content, (list, tuple))
        and bool(content)
        and all(isinstance(part, Mapping) and part.get("type") in _PARTS for part in content)
    )


def _read_content(found: Dict[str, Any]) -> None:
    """Replace a list of content parts with their text, their files and their thinking."""
    refusal, content = found.pop("refusal", None), found.get("content", "")
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, (list, tuple)):
        found["content"] = content or refusal or content
        return
    names = ("content", "images", "audio", "thinking", "documents")
    read: Dict[str, List[Any]] = {name: [] for name in names}
    for part in content:
        name, value = _part(part)
        read[name].append(value)
    for name in ("images", "audio", "documents"):
        if read[name]:
            found[name] = [*_items(found.get(name, ())), *read[name]]
    found["content"] = "\n".join(read["content"])
    if read["thinking"]:
        found["thinking"] = "\n".join([*filter(None, [found.get("thinking")]), *read["thinking"]])


def _items(value: Any) -> List[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _part(part: Any) -> Tuple[str, Any]:
    """Return the field of a message to which a part belongs, and its value."""
    part = fields_of(part)
    if isinstance(part, str):
        return "content", part
    if not isinstance(part, Mapping):
        # The part is, for example, an image value or a path. The message converts it.
        return "images", part
    kind = part.get("type")
    if kind in _TEXT_PARTS or (kind is None and "text" in part):
        return "content", _text(part, "text", "refusal")
    if kind in _THINKING_PARTS:
        return "thinking", _text(part, "thinking", "reasoning", "text")
    if kind in _IMAGE_PARTS:
        return "images", _image(part)
    if kind in _AUDIO_PARTS:
        return "audio", _audio(part.get("input_audio"))
    if kind in _DOCUMENT_PARTS:
        return "documents", _document(part)
    word = repr(kind) if isinstance(kind, str) else kind_of(kind)
    raise ValueError(
        f"content has a part whose type is {word[:40]}; the types are text, image_url and "
        "input_audio"
    )


def _text(part: Mapping[str, Any], *names: str) -> str:
    found = next((part[name] for name in names if part.get(name) is not None), None)
    if not isinstance(found, str):
        raise ValueError(
            f"the text of a content part is {kind_of(found)}, and must be text: write "
            '{"type": "text", "text": "..."}'
        )
    return found


def _image(part: Mapping[str, Any]) -> Any:
    """Return the dictionary of an image, from a part of OpenAI's or Anthropic's form."""
    source = part.get("source")
    if isinstance(source, Mapping) and isinstance(source.get("data"), str):
        return {"data": source.get("data"), "media_type": source.get("media_type")}
    data, media = part.get("base64", part.get("data")), part.get("mime_type")
    if isinstance(data, str) and isinstance(media, str):  # the form of LangChain
        return {"data": data, "media_type": media}
    url = next((part[name] for name in _IMAGE_PLACES if part.get(name) is not None), None)
    if isinstance(url, Mapping):
        url = url.get("url")
    if isinstance(url, str):
        if url[:5].lower() != "data:":
            raise ValueError(
                "the image of a content part is an address or another plain text, but nothing "
                "is downloaded, and no file is read: write a data: URI, or pass "
                f"{image_message()}, or the bytes in images"
            )
        return {"uri": url}
    if url is None:
        raise ValueError(
            "a content part has no image: write "
            '{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}'
        )
    return url


def _audio(audio: Any) -> Any:
    if not isinstance(audio, Mapping):
        return audio
    media = _AUDIO_TYPES.get(str(audio.get("format")).lower())
    if media is None or not isinstance(audio.get("data"), str):
        raise ValueError(
            'input_audio needs its data as base64, and "wav" or "mp3" as its format: write '
            '{"type": "input_audio", "input_audio": {"data": "...", "format": "wav"}}'
        )
    return {"data": audio["data"], "media_type": media}


def _document(part: Mapping[str, Any]) -> Any:
    """Return the dictionary of a document, from a part of Anthropic's form."""
    source = part.get("source")
    kind = source.get("type") if isinstance(source, Mapping) else None
    if not isinstance(source, Mapping) or kind not in ("base64", "text"):
        raise ValueError(
            "the document of a content part has no data, and nothing is downloaded: "
            "pass Document.from_path(Path(...)) in documents"
        )
    data = source.get("data")
    if kind == "text" and isinstance(data, str):
        data = base64.b64encode(data.encode("utf-8")).decode("ascii")
    found = {"data": data, "media_type": source.get("media_type"), "title": part.get("title")}
    return {name: value for name, value in found.items() if value is not None}


# --- tool calls -----------------------------------------------------------------------------


def _read_calls(found: Dict[str, Any]) -> None:
    """Read the calls of a message. A single call in OpenAI's old form becomes a list."""
    old = found.pop("function_call", None)
    if old is not None and not found.get("tool_calls"):
        found["tool_calls"] = [{"function": old}]
    calls = found.get("tool_calls", ())
    if isinstance(calls, (list, tuple, Mapping)):
        found["tool_calls"] = [call_fields(call) for call in _items(calls)]


def call_fields(call: Any) -> Any:
    """Return the fields of a tool call from a dictionary of this package, of OpenAI or of Ollama.

    A value that is not a dictionary is returned unchanged.

    Raises:
        ValueError: The call does not call a function, has no name, or its arguments are not JSON.
    """
    call = fields_of(call)
    if not isinstance(call, Mapping):
        return call
    function = fields_of(call.get("function"))
    if isinstance(function, Mapping):
        fields = {"id": call.get("id"), **{k: function.get(k) for k in ("name", "arguments")}}
    elif call.get("type") not in (None, "function"):
        raise ValueError("tool_calls has a call that is not a function call; it cannot be sent")
    else:
        fields = dict(call)
        for name in ("type", "index"):
            fields.pop(name, None)
    fields = {name: value for name, value in fields.items() if value is not None}
    if not isinstance(fields.get("name"), str):
        raise ValueError(
            'a tool call has no name: write {"id": "...", "type": "function", "function": '
            '{"name": "...", "arguments": "{...}"}}'
        )
    if "arguments" in fields:
        fields["arguments"] = _arguments(fields["arguments"])
    return fields


def _arguments(arguments: Any) -> Any:
    """Return the arguments of a call. In OpenAI's form, they are JSON in a string."""
    for _ in range(2):  # some models encode them twice
        if isinstance(arguments, str):
            arguments = _parsed(arguments) if arguments.strip() else {}
    return {} if arguments is None else arguments


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if is_injected(error):
            raise
    raise ValueError("the arguments of a tool call are text that is not JSON: pass a dictionary")


def with_ids(messages: List[Dict[str, Any]]) -> None:
    """Add ids to the calls of these messages, and connect each result with its call.

    Ollama's form has no ids, and OpenAI's results do not name the tool. A result without an id
    belongs to the first open call of its tool, or, if it does not name a tool either, to the first
    open call.

    Args:
        messages: The fields of each message; this function changes them.
    """
    numbers = _free_ids(messages)
    open_calls: Dict[str, Optional[str]] = {}
    for message in messages:
        calls = message.get("tool_calls")
        for call in _items(calls) if calls else ():
            if isinstance(call, dict) and "name" in call and "id" not in call:
                call["id"] = next(numbers)
            name, id_ = _name_and_id(call)
            if id_ is not None:
                open_calls[id_] = name
        if message.get("role") == "tool":
            _connect(message, open_calls)


def _free_ids(messages: List[Dict[str, Any]]) -> Iterator[str]:
    """Yield ids that no call of these messages has."""
    calls = [call for each in messages for call in _items(each.get("tool_calls") or ())]
    used, number = {_name_and_id(call)[1] for call in calls}, 0
    while True:
        number += 1
        if f"call_{number}" not in used:
            yield f"call_{number}"


def _name_and_id(call: Any) -> Tuple[Optional[str], Optional[str]]:
    if isinstance(call, Mapping):
        found = call.get("name"), call.get("id")
    else:
        found = getattr(call, "name", None), getattr(call, "id", None)
    name, id_ = (value if isinstance(value, str) else None for value in found)
    return name, id_


def _connect(message: Dict[str, Any], open_calls: Dict[str, Optional[str]]) -> None:
    """Add the id and the tool's name to a result that lacks one of them."""
    id_, name = message.get("tool_call_id"), message.get("tool_name")
    if id_ is None:
        id_ = next((i for i, own in open_calls.items() if name in (None, own)), None)
        if id_ is not None:
            message["tool_call_id"] = id_
    if isinstance(id_, str):
        own = open_calls.pop(id_, None)
        if name is None and own is not None:
            message["tool_name"] = own


def result_text(result: Any) -> str:
    """Return a tool's result as text for the model: a string unchanged, other values as JSON.

    Raises:
        TypeError: The result cannot be written as JSON.
    """
    if isinstance(result, str):
        return str.__str__(result)
    kind = type(result).__name__
    try:
        if kind == "Decimal" and result.is_finite():
            return str(result)  # a number of JSON, with all its digits
        return json.dumps(plain(result), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        if is_injected(error):
            raise
        reason = str(error)
    finally:
        del result  # a traceback with local variables must not show the result
    raise TypeError(f"the result of the tool, of type {kind}, cannot be written as JSON: {reason}")


# --- tools ----------------------------------------------------------------------------------


def tool_choice(value: Any, tools: Iterable[Any]) -> Any:
    """Return a `tool_choice` as text.

    A dictionary becomes the name of the tool in it, and ``any`` becomes ``required``.

    Raises:
        ValueError: The value is neither text nor such a dictionary, or names none of the tools.
    """
    names = [tool.name for tool in tools]
    must = f"must be auto, none, required, or the name of a tool: {', '.join(names[:_MOST_NAMES])}"
    if isinstance(value, Mapping):
        inner = value.get("function", value)
        value = inner.get("name", value.get("type")) if isinstance(inner, Mapping) else None
    if value == "any" and "any" not in names:
        value = "required"
    if not isinstance(value, str):
        raise ValueError(f"tool_choice is {kind_of(value)}, and {must}")
    if names and value not in (*_CHOICES, *names):
        raise ValueError(f"tool_choice is {value[:40]!r}, and {must}")
    return value


def tool_fields(data: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the fields of a tool from a dictionary of this package, of OpenAI or of Ollama.

    The field ``strict`` is left out: `run_tools` always checks the arguments.

    Raises:
        ValueError: The dictionary describes no function, or has an unknown field.
    """
    kind, function = data.get("type"), fields_of(data.get("function"))
    if kind not in (None, "function"):
        raise ValueError(
            f"a tool has the type {str(kind)[:40]!r}; such a tool runs only at the service that "
            "defines it, and a tool must be a function here"
        )
    found = dict(function) if isinstance(function, Mapping) else {**data}
    for name in ("type", "strict"):
        found.pop(name, None)
    if "inputSchema" in found:  # a tool of MCP, some of whose fields have no meaning for the model
        found = {own: found[name] for name, own in _MCP.items() if name in found}
    if "input_schema" in found:  # Anthropic's name
        found.setdefault("parameters", found.pop("input_schema"))
    found = {str(name): value for name, value in found.items() if value is not None}
    if "name" not in found and "tools" in found:
        raise ValueError("this value is not a tool, but contains several tools: write value.tools")
    if "name" not in found:
        raise ValueError(
            'a tool has no name: write {"type": "function", "function": {"name": "...", '
            '"parameters": {...}}}'
        )
    return found


# --- values ---------------------------------------------------------------------------------

# The seconds of each unit of a duration, and a pattern for one part of a duration in Go's notation.
# For example, 1h30m has two parts (docs/reference/ollama.md, "Keep-alive").
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60, "h": 3600}
_DURATION = pattern(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_SECONDS = pattern(r"\d+\.?\d*|\.\d+", re.ASCII)
# The longest text that can be a duration.
_LONGEST_DURATION = 50


def plain_number(value: Any) -> Any:
    """Return a number of numpy or a similar package as a number of Python.

    Any other value is returned unchanged.
    """
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        return plain(value)
    return value


def at_least_one(name: str, value: Any) -> int:
    """Check that a value is a whole number of at least 1, and return it as an int.

    Raises:
        ValueError: The value is not a whole number, or is below 1.
    """
    number = plain_number(value)
    if type(number) is not int or number < 1:
        line = suggest_number(name, value, least=1, is_whole=True)
        raise ValueError(f"{name} is {value!r}, but must be a whole number of at least 1{line}")
    return number


def keep_alive_seconds(value: Any) -> Any:
    """Return a value of `keep_alive` in seconds. A negative value means infinity, as on Ollama.

    A text is a duration such as ``10m``, or a number of seconds. Any other text or value is
    returned unchanged.
    """
    seconds: Any = plain_number(value)
    if hasattr(seconds, "total_seconds"):
        seconds = seconds.total_seconds()
    if isinstance(seconds, str) and len(seconds) <= _LONGEST_DURATION:
        seconds = _duration_seconds(seconds.strip(), seconds)
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool):
        return math.inf if -math.inf < seconds < 0 else seconds
    return seconds


def _duration_seconds(text: str, other: Any) -> Any:
    """Return the seconds of a duration in Go's notation; `other` if the text is not a duration."""
    sign, amount = (-1, text[1:]) if text[:1] == "-" else (1, text[text[:1] == "+" :])
    if _SECONDS.fullmatch(amount):
        seconds = float(amount)
    elif amount and not _DURATION.sub("", amount):
        parts = _DURATION.findall(amount)
        seconds = float(sum(float(number) * _UNITS[unit] for number, unit in parts))
    else:
        return other
    return sign * (int(seconds) if seconds.is_integer() else seconds)


def model_name(model: Any) -> Any:
    """Return the name of a model. The model may be a name, a `ModelInfo` or a `LoadedModel`.

    A text that is empty or has only blanks means that no model is named.
    """
    if isinstance(model, (ModelInfo, LoadedModel)):
        return model.name
    return None if isinstance(model, str) and not model.strip() else model


def named(model: Union[str, ModelInfo, LoadedModel]) -> str:
    """Return the model name for a method that needs one.

    Args:
        model: The name of a model, or the value that describes it.

    Raises:
        ConfigurationError: The name is empty or None, or the value has another type.
    """
    name = model_name(model)
    if isinstance(name, str):
        return name
    problem = "no model was named" if name is None else f"the model is {kind_of(name)}"
    raise ConfigurationError(
        problem,
        hint="pass the name of a model, or its ModelInfo; list_models() returns the models",
    )


# A hexadecimal digest, or its beginning. Lists in a terminal show the first 12 digits.
_DIGEST = pattern(r"(?:sha256:)?([0-9a-f]{12,64})", re.IGNORECASE)


def hex_digest(value: Any) -> Optional[str]:
    """Return a digest in lower case, without ``sha256:``; None if the value is not a digest."""
    found = _DIGEST.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else found.group(1).lower()


def expected_digest(value: Any) -> str:
    """Return the value of `expect_digest` in the form that `hex_digest` returns.

    Raises:
        ValueError: The value is not the beginning of a digest.
    """
    found = hex_digest(value.strip() if isinstance(value, str) else value)
    if found is None:
        shown = repr(value[:80]) if isinstance(value, str) else kind_of(value)
        raise ValueError(
            f"expect_digest is {shown}, and must be 12 to 64 hexadecimal digits, with or without "
            "'sha256:'"
        )
    return found


def check_several_texts(name: str, values: Any) -> None:
    """Check that a value can be several texts, and not a table or a dictionary of them.

    Raises:
        ValueError: The value is of another kind. The error says what to pass.
    """
    instead = ""
    if isinstance(values, (bytes, bytearray, memoryview)):
        instead = "text: pass data.decode()"
    elif isinstance(values, Mapping):
        instead = f"a list of texts: pass list({name}.values())"
    elif hasattr(values, "columns"):
        instead = 'a list of texts: pass one column, such as frame["text"].tolist()'
    if instead:
        raise ValueError(f"{name} is {kind_of(values)}, and must be {instead}")


def way_to_text(document: Any) -> str:
    """Return what to pass instead of a document of another client; empty if it is unknown."""
    if isinstance(document, Mapping):
        found = next((name for name in _TEXTS if isinstance(document.get(name), str)), None)
        return f": pass document[{found!r}]" if found else ""
    found = next((name for name in _TEXTS if isinstance(getattr(document, name, None), str)), None)
    return f": pass document.{found}" if found else ""


def check_embeddable(index: int, text: Any) -> None:
    """Check one text to embed.

    Raises:
        ValueError: The text is empty. Or the value is not a text, or is a missing value, as NaN is.
    """
    if isinstance(text, str) and text:
        return
    if isinstance(text, str):
        why = "is empty, and cannot be embedded: leave it out"
    elif text is None or kind_of(text) in ("NAType", "NaTType") or _is_nan(text):
        why = f"is a missing value ({kind_of(text)}), and cannot be embedded: leave it out, "
        why += "such as with series.dropna()"
    else:
        why = f"is {kind_of(text)}, and must be text{way_to_text(text) or ': pass str(value)'}"
    raise ValueError(f"text {index} {why}")


def _is_nan(value: Any) -> bool:
    number = plain_number(value)
    return isinstance(number, float) and math.isnan(number)
