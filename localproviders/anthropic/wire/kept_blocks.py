"""The blocks of an answer that the model needs back unchanged: its thinking and its signatures.

The blocks are kept in `Message.provider_data`. A signature is valid only for the model that made
it, and only with the same text (docs/reference/anthropic.md, "Signatures").
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence

from localproviders._dialect.values import mapping
from localproviders.types.messages import Message

#: The value of the field `api` of the kept data.
API = "anthropic"

_THINKING = ("thinking", "redacted_thinking")
# The date at the end of a model's name, or ``latest`` or ``0`` instead of a date. The name without
# this ending means the same model.
_DATE = re.compile(r"-(\d{8}|latest|0)$")


def same_model(one: str, other: str) -> bool:
    """Return whether two names mean the same model, as an alias and the name with a date do."""
    return _DATE.sub("", one) == _DATE.sub("", other)


def keep(blocks: Sequence[Mapping[str, Any]], model: str) -> Optional[Dict[str, Any]]:
    """Return the data to keep of an answer; None if it has only text and tool calls.

    Args:
        blocks: The blocks of the answer, in their order.
        model: Name of the model.
    """
    kinds = [block.get("type") for block in blocks]
    texts = kinds[:1] == ["text"]
    if kinds[texts:] == ["tool_use"] * (len(kinds) - texts):
        return None
    return {"api": API, "model": model, "content": list(blocks)}


def kept_blocks(
    message: Message, model: str, *, is_service: bool
) -> Optional[List[Dict[str, Any]]]:
    """Return the blocks of an answer to send to a model; None if no kept blocks may be sent.

    If the caller changed the text or the tool calls of the message, only the thinking is taken
    from the kept blocks.
    """
    data = message.provider_data
    is_same = data.get("api") == API and same_model(str(data.get("model")), model)
    found: Any = data.get("content")
    if not is_same or not isinstance(found, list):
        return None
    blocks = [dict(block) for block in found if _may_be_sent(mapping(block), is_service)]
    ids = [call.id for call in message.tool_calls]
    if _text_of(blocks) == message.content and _ids_of(blocks) == ids:
        return blocks if blocks and blocks[-1].get("type") not in _THINKING else None
    thinking = [block for block in blocks if block.get("type") in _THINKING]
    rest = answer_blocks(message)
    return [*thinking, *rest] if rest else None


def answer_blocks(message: Message) -> List[Dict[str, Any]]:
    """Return the text and the tool calls of an answer as blocks, without its thinking."""
    text = [{"type": "text", "text": message.content}] if message.content else []
    return text + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}
        for call in message.tool_calls
    ]


def has_unsigned_thinking(message: Message) -> bool:
    """Return whether an answer has thinking of a local server, which Anthropic's API refuses."""
    found = message.provider_data.get("content")
    is_kept = message.provider_data.get("api") == API and isinstance(found, (list, tuple))
    return is_kept and any(_is_unsigned(mapping(block)) for block in found or ())


def _is_unsigned(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "thinking" and not block.get("signature")


def _may_be_sent(block: Mapping[str, Any], is_service: bool) -> bool:
    """Return whether the server accepts a block. Anthropic refuses thinking without a signature."""
    return bool(block) and not (is_service and _is_unsigned(block))


def _text_of(blocks: Sequence[Mapping[str, Any]]) -> str:
    return "".join(str(block.get("text")) for block in blocks if block.get("type") == "text")


def _ids_of(blocks: Sequence[Mapping[str, Any]]) -> List[Any]:
    return [block.get("id") for block in blocks if block.get("type") == "tool_use"]
