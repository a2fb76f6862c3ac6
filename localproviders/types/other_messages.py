"""Conversion of messages that are objects of other clients, such as LangChain and LlamaIndex.

The objects are recognized by their attributes, without an import of these packages. Each becomes a
dictionary in a form that `inputs.message_fields` reads.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

from localproviders.types.inputs import fields_of, kind_of

# LangChain's names of the roles, in the field `type`.
_ROLES = {
    "human": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "system": "system",
    "SystemMessageChunk": "system",
    "tool": "tool",
    "ToolMessageChunk": "tool",
    "function": "tool",
    "FunctionMessageChunk": "tool",
}
# Fields that have no meaning for the model.
_METADATA = (
    *("additional_kwargs", "response_metadata", "usage_metadata", "id", "example", "artifact"),
    *("tool_call_chunks", "status", "chunk_position", "raw", "token_usage", "block_type"),
)
# Fields of a message that clients may keep in its `additional_kwargs`.
_ADDITIONAL = ("tool_calls", "function_call", "tool_call_id", "name", "reasoning_content")
# Types of content parts that are tool calls. They may repeat the tool calls of the same message.
_CALLS = ("tool_use", "tool_call", "function_call")
# Attributes of objects that contain messages, and what to write instead of the object.
_CONTAINERS = {"messages": "messages", "choices": "choices[0].message", "message": "message"}


def is_message(value: Any) -> bool:
    """Return whether a value is one message of another client, or an object that contains messages.

    Such a value may be iterable, like each model of pydantic, but its items are not messages.
    """
    if isinstance(value, type):
        return False
    return (
        hasattr(value, "model_dump") or hasattr(value, "to_openai_dict_format") or _has_role(value)
    )


def _has_role(value: Any) -> bool:
    return hasattr(value, "__dataclass_fields__") and hasattr(value, "role")


def other_fields(value: Any) -> Any:
    """Return a message of another client as a dictionary with a role.

    LangChain's dictionaries have a type instead of a role. A value that is not a message of another
    client is returned unchanged.

    Raises:
        ValueError: The object contains messages, and is not a message.
    """
    found = _dictionary(value)
    if not isinstance(found, Mapping):
        return value
    if isinstance(found.get("data"), Mapping) and found.get("type") in _ROLES:
        found = {**found["data"], "type": found["type"]}
    if "role" in found:
        is_own = isinstance(value, Mapping)
        return found if is_own else _read({**found})
    if found.get("type") in _ROLES:
        return _read({**found, "role": _ROLES[found["type"]], "type": None})
    if not isinstance(value, Mapping):
        _refuse_container(value, found)
    return found


def _dictionary(value: Any) -> Any:
    if isinstance(value, type):
        return value
    if hasattr(value, "to_openai_dict_format"):
        return value.to_openai_dict_format()
    if hasattr(value, "model_dump"):
        return fields_of(value)
    return _plain(value) if _has_role(value) else value


def _plain(value: Any) -> Any:
    """Convert a dataclass, or each dataclass in a list, to a dictionary."""
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def _refuse_container(value: Any, fields: Mapping[str, Any]) -> None:
    for name, path in _CONTAINERS.items():
        if name in fields:
            raise ValueError(
                f"messages must be a Message, or a list of messages, and this is "
                f"{kind_of(value)}: write value.{path}"
            )


def _read(found: Dict[str, Any]) -> Dict[str, Any]:
    """Return the fields of a message in OpenAI's form, without fields that have no meaning."""
    more: Any = found.get("additional_kwargs")
    for name in _ADDITIONAL if isinstance(more, Mapping) else ():
        if not found.get(name) and more.get(name):
            found[name] = more[name]
    if "blocks" in found:
        found["content"] = found.pop("blocks")
    calls = found.get("tool_calls")
    if isinstance(calls, (list, tuple)):
        found["tool_calls"] = [_call(each) for each in calls]
    if isinstance(found.get("content"), (list, tuple)):
        found["content"], inside = _parts(found["content"])
        found["tool_calls"] = found.get("tool_calls") or inside
    if not found.get("invalid_tool_calls"):
        found.pop("invalid_tool_calls", None)
    return {
        name: each for name, each in found.items() if name not in _METADATA and each is not None
    }


def _parts(content: Any) -> Tuple[List[Any], List[Any]]:
    """Return the parts of a message's content in OpenAI's form, and separately the tool calls."""
    parts = [_with_type(fields_of(each)) for each in content]
    others = [_image(each) for each in parts if not _is_call(each)]
    return others, [_call(each) for each in parts if _is_call(each)]


def _is_call(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _CALLS


def _with_type(part: Any) -> Any:
    if isinstance(part, Mapping) and "block_type" in part:
        part = {**part, "type": part["block_type"]}
        part["text"] = part.get("text", part.get("content"))  # a thinking block has its text here
    return part


def _image(part: Any) -> Any:
    """Return an image of LlamaIndex, whose bytes are base64 text, in LangChain's form."""
    if not isinstance(part, Mapping) or part.get("block_type") != "image":
        return part
    data, media = part.get("image"), part.get("image_mimetype")
    if media is None or not isinstance(data, bytes):
        return part
    return {"type": "image", "base64": data.decode("ascii", "replace"), "mime_type": media}


def _call(call: Any) -> Any:
    """Return a tool call of LangChain or LlamaIndex in the form of this package."""
    call = fields_of(call)
    if not isinstance(call, Mapping) or "function" in call:
        return call
    names = {
        "name": ("name", "tool_name"),
        "arguments": ("args", "arguments", "input", "tool_kwargs"),
        "id": ("id", "tool_call_id"),
    }
    found = {
        own: next((call[each] for each in others if call.get(each) is not None), None)
        for own, others in names.items()
    }
    return {name: value for name, value in found.items() if value is not None}
