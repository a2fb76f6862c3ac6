"""Requests and answers in the words of OpenTelemetry's conventions for generative AI.

The shapes are those of its JSON schemas ``gen-ai-input-messages.json``,
``gen-ai-output-messages.json``, ``gen-ai-system-instructions.json`` and
``gen-ai-tool-definitions.json``, release 1.41. Each attribute is JSON as text, which the
conventions allow on spans: an SDK that does not know structured values would drop them.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Union

from localproviders._record import plain
from localproviders.types.answer import CompletionResponse
from localproviders.types.media import Audio, Image
from localproviders.types.message import Message, Tool
from localproviders.types.request import CompletionRequest

_Json = Dict[str, Any]

# Where the server takes the system text beside the conversation (lmstudio-api §2.10). All else
# sends it as a message of it, and there the conventions want it.
_INSTRUCTIONS_APART = ("stateful_stream",)

# Words of servers for what the conventions call otherwise.
_FINISH_REASONS = {"tool_calls": "tool_call"}

# The schema wants a reason also of a server that gives none.
_NO_REASON = "unknown"


def asked(request: CompletionRequest, operation: str) -> Dict[str, str]:
    """Give the attributes of what is asked: messages, instructions, tools; those there are.

    A prompt is a user's message; the text behind the gap is a part of it, of type ``suffix``.
    Pictures and sound are parts of type ``omitted_blob``, with modality, media type and size:
    the conventions' own ``blob`` must have the bytes.

    Args:
        request: What is asked.
        operation: The public method, which decides whether the server takes a system text
            beside the conversation.
    """
    apart = ("system",) if operation in _INSTRUCTIONS_APART else ()
    said = _completed(request) or [_message(each) for each in request.messages]
    values = {
        "gen_ai.system_instructions": [
            part for each in said if each["role"] in apart for part in each["parts"]
        ],
        "gen_ai.input.messages": [each for each in said if each["role"] not in apart],
        "gen_ai.tool.definitions": [_tool(tool) for tool in request.tools],
    }
    return {name: _text(value) for name, value in values.items() if value}


def answered(response: CompletionResponse) -> Dict[str, str]:
    """Give the attribute of a whole answer: one message, with the reason why it ended.

    The reason is the server's word, but ``tool_call`` where that is ``tool_calls``, and
    ``unknown`` where there is none.
    """
    reason = response.finish_reason or _NO_REASON
    message = {
        **_message(response.message),
        "finish_reason": _FINISH_REASONS.get(reason, reason),
    }
    return {"gen_ai.output.messages": _text([message])}


def _completed(request: CompletionRequest) -> List[_Json]:
    """Give the one message of a request that has a prompt instead of messages."""
    if request.prompt is None:
        return []
    parts = [_part("text", request.prompt)]
    if request.suffix is not None:
        parts.append(_part("suffix", request.suffix))
    return [{"role": "user", "parts": parts}]


def _message(message: Message) -> _Json:
    return {"role": message.role, "parts": _parts(message)}


def _parts(message: Message) -> List[_Json]:
    """Give the parts of a message, in the order in which a model reads or writes them."""
    parts = [_part("reasoning", message.thinking)] if message.thinking else []
    if message.role == "tool":
        parts.append(_result(message))
    elif message.content:
        parts.append(_part("text", message.content))
    parts += [_omitted("image", image) for image in message.images]
    parts += [_omitted("audio", sound) for sound in message.audio]
    return parts + [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]


def _part(kind: str, text: str) -> _Json:
    return {"type": kind, "content": text}


def _result(message: Message) -> _Json:
    result = {"type": "tool_call_response", "response": message.content}
    return {**result, "id": message.tool_call_id} if message.tool_call_id else result


def _omitted(modality: str, media: Union[Image, Audio]) -> _Json:
    return {
        "type": "omitted_blob",
        "modality": modality,
        "mime_type": media.media_type,
        "size_bytes": len(media.data),
    }


def _tool(tool: Tool) -> _Json:
    definition = {"type": "function", "name": tool.name, "parameters": tool.parameters}
    return {**definition, "description": tool.description} if tool.description else definition


def _text(value: Any) -> str:
    text = json.dumps(plain(value), ensure_ascii=False, default=str)
    # Half a surrogate pair has no UTF-8, and would spoil the exporter's whole batch. What is
    # put in its place is its escape in JSON, too.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
