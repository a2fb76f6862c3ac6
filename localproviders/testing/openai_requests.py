"""Checks of requests in the OpenAI dialect, as llama.cpp makes them.

The texts of the refusals are those of llama.cpp's server, build b11549, except those in
`_check_choice`.
"""

from __future__ import annotations

import json
import math
from typing import Any, Dict, List, Mapping, Optional, Tuple

from localproviders.testing.answers import dumps
from localproviders.testing.values import FakeModel

_NUMBERS = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "n", "max_tokens", "max_completion_tokens"),
    *("n_predict", "presence_penalty", "frequency_penalty", "repeat_penalty", "top_logprobs"),
)
_TYPES: Mapping[str, str] = {"stream": "boolean", **dict.fromkeys(_NUMBERS, "number")}
_CHOICES = ("auto", "none", "required")
_FORMATS = ("text", "json_object", "json_schema")

#: The ability that a model needs to read a part of a message, by the type of the part.
_PARTS: Mapping[str, Optional[str]] = {"text": None, "image_url": "vision", "input_audio": "audio"}
_MEDIA: Mapping[str, str] = {"vision": "image", "audio": "audio"}


class RefusedError(Exception):
    """An exception for a refused request, with the status and the JSON body of the response."""

    def __init__(self, body: Any, status: str = "400 Bad Request") -> None:
        super().__init__(status)
        self.body = body
        self.status = status


def refused(message: str, code: int = 400) -> RefusedError:
    """Return the refusal of a request in llama.cpp's form, with status 400 or 500."""
    kind, words = {
        400: ("invalid_request_error", "400 Bad Request"),
        500: ("server_error", "500 Internal Server Error"),
    }[code]
    return RefusedError({"error": {"code": code, "message": message, "type": kind}}, words)


def json_object(data: bytes) -> Optional[Mapping[str, Any]]:
    """Return the JSON object in the body of a request; None if the body is anything else."""
    try:
        value = json.loads(data or b"null", parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _finite(text: str) -> float:
    """Return a number. Unlike Python's `json`, refuse infinity and NaN, which are not JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a JSON number")
    return number


def mapping_in(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object in a field of a request; an empty one if the field has no object."""
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def json_type(value: Any) -> str:
    """Return the name of a JSON type, such as ``number``."""
    names: Tuple[Tuple[Any, str], ...] = (
        (bool, "boolean"),  # a bool is also an int, so it comes first
        ((int, float), "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def check_fields(body: Mapping[str, Any]) -> None:
    """Check the types and values of the fields of a request for text.

    Raises:
        RefusedError: A field has a wrong type or value.
    """
    for name, wanted in _TYPES.items():
        found = json_type(body.get(name))
        if found not in ("null", wanted):
            words = f"[json.exception.type_error.302] type must be {wanted}, but is {found}"
            raise refused(f"Field '{name}': {words}")
    if body.get("n") not in (None, 1):
        raise refused(f"Field 'n': Value must be between 1 <= value <= 1, but got {body['n']}")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise refused("top_logprobs requires logprobs to be set to true")
    _check_tools(body)
    kind = mapping_in(body, "response_format").get("type", "text")
    if kind not in _FORMATS:
        words = 'response_format type must be one of "text" or "json_object", but got: '
        raise refused(words + str(kind))


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = body.get("tools")
    _check_choice(body.get("tool_choice"), tools)
    if tools is not None and not isinstance(tools, list):
        words = f"Expected 'tools' to be an array, got {json.dumps(tools)}"
        raise refused(f"Failed to parse tools: {words}; tools = {json.dumps(tools)}", 500)


def _check_choice(choice: Any, tools: Any) -> None:
    """Check the field ``tool_choice``: a word, or an object that names one of the tools.

    llama.cpp reads a malformed object as ``auto``. This function refuses such an object, like
    OpenAI and vLLM, because a test must notice a choice that has no effect. The error texts are
    those of OpenAI.
    """
    if choice is None:
        return
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise refused(f"Invalid tool_choice: {choice}")
        return
    if not isinstance(choice, dict):
        found = json_type(choice)
        words = f"expected a string or an object, but got: {found}"
        raise refused(f"Invalid type for 'tool_choice': {words}")
    if "type" not in choice:
        raise refused("Missing required parameter: 'tool_choice.type'.")
    if choice["type"] != "function":
        words = "Supported values are: 'function'."
        raise refused(f"Invalid value: '{choice['type']}'. {words}")
    if "function" not in choice:
        raise refused("Missing required parameter: 'tool_choice.function'.")
    name = mapping_in(choice, "function").get("name")
    if not isinstance(name, str):
        raise refused("Missing required parameter: 'tool_choice.function.name'.")
    given = [mapping_in(each, "function").get("name") for each in _objects(tools)]
    if given and name not in given:
        raise refused(f"Tool choice '{name}' not found in 'tools' parameter.")


def _objects(values: Any) -> List[Mapping[str, Any]]:
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


def check_messages(body: Mapping[str, Any]) -> None:
    """Check the form of a chat's messages. An empty list is accepted.

    Raises:
        RefusedError: The messages are missing, or a message is malformed.
    """
    if "messages" not in body:
        raise refused("'messages' is required")
    if not isinstance(body["messages"], list):
        raise refused("Expected 'messages' to be an array")
    for message in body["messages"]:
        _check_message(message)


def _check_message(message: Any) -> None:
    fields = message if isinstance(message, dict) else {}
    content = fields.get("content")
    if content is None and fields.get("role") != "assistant":
        raise refused("All non-assistant messages must contain 'content'")
    if not isinstance(content, (str, list, type(None))):
        raise refused("Expected 'content' to be a string or an array")
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict) or str(part.get("type")) not in _PARTS:
            raise refused("unsupported content[].type")
        if part["type"] == "text" and "text" not in part:
            words = "[json.exception.out_of_range.403] key 'text' not found"
            raise refused(f"Failed to parse messages: {words}", 500)
    if "role" not in fields:
        words = f"Missing 'role' in message: {dumps(message)}"
        raise refused(f"Failed to parse messages: {words}", 500)


def check_media(body: Mapping[str, Any], model: FakeModel) -> None:
    """Check that the model can read all parts of the messages.

    Raises:
        RefusedError: A message has an image or audio, and the model cannot read it.
    """
    for part in parts_of(body):
        ability = _PARTS.get(str(part.get("type")))
        if ability is not None and not model.can(ability):
            hint = "hint: if this is unexpected, you may need to provide the mmproj"
            raise refused(f"{_MEDIA[ability]} input is not supported - {hint}", 500)


def parts_of(body: Mapping[str, Any]) -> List[Mapping[str, Any]]:
    """Return the parts of all messages whose content is a list."""
    contents = [message.get("content") for message in body.get("messages") or ()]
    return [part for content in contents if isinstance(content, list) for part in content]


def prompt_of(body: Mapping[str, Any]) -> str:
    """Return the prompt of a chat: the texts of its messages, and its tools as JSON."""
    given = body.get("tools")
    tools = list(map(dumps, given)) if isinstance(given, list) else []
    return " ".join([_content_text(message.get("content")) for message in body["messages"]] + tools)


def _content_text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def prompts_of(body: Mapping[str, Any]) -> List[str]:
    """Return the prompts of a completion request. Token ids become words of digits.

    The field is a text, a list of token ids, or a list of such texts and lists.

    Raises:
        RefusedError: There is no prompt, or the prompt has another form.
    """
    if "prompt" not in body:
        raise refused("[json.exception.out_of_range.403] key 'prompt' not found")
    return _texts("prompt", body["prompt"])


def inputs_of(body: Mapping[str, Any]) -> List[str]:
    """Return the texts of an embedding request. Token ids become words of digits.

    The field is a text, a list of token ids, or a list of such texts and lists.

    Raises:
        RefusedError: There is no input, the input has another form, or the encoding is unknown.
    """
    if (body.get("encoding_format") or "float") not in ("float", "base64"):
        raise refused("The format to return the embeddings in. Can be either float or base64")
    if "input" not in body and "content" not in body:
        raise refused('"input" or "content" must be provided')
    return _texts("input", body.get("input", body.get("content")))


def _texts(name: str, given: Any) -> List[str]:
    if given == []:
        raise refused(f'"{name}" must not be empty')
    several = isinstance(given, list) and not _is_tokens(given)
    texts = [_text(item) for item in (given if several else [given])]
    if None in texts:
        raise refused(
            f'"{name}" elements must be a string, a list of tokens, a JSON object containing a '
            "prompt string, or a list of mixed strings & tokens."
        )
    return [text for text in texts if text is not None]


def _text(item: Any) -> Optional[str]:
    """Return a text unchanged, and a list of token ids as words; None for anything else."""
    if isinstance(item, str):
        return item
    return " ".join(map(str, item)) if _is_tokens(item) else None


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(json_type(item) == "number" for item in value)


def limit_of(body: Mapping[str, Any]) -> Optional[int]:
    """Return the maximum number of tokens of an answer; None if there is no limit."""
    given: Dict[str, Any] = {**body}
    limits = [given.get(name) for name in ("max_completion_tokens", "max_tokens", "n_predict")]
    found = next((limit for limit in limits if isinstance(limit, (int, float))), -1)
    return int(found) if found >= 0 else None
