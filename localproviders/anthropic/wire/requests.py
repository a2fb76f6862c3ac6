"""Functions that make Anthropic's JSON for requests."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

from localproviders._dialect.common import check_extra_body
from localproviders._http.transport import Payload
from localproviders.anthropic.wire.kept_blocks import answer_blocks, kept_blocks
from localproviders.types.documents import Document
from localproviders.types.messages import Image, Message, Tool
from localproviders.types.requests import CompletionRequest

MESSAGES_PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"

# Fields with the same name in this package and in the API.
_SHARED_NAMES = ("max_tokens", "temperature", "top_p", "top_k")
# Fields of a chat request that the route for counting tokens does not accept.
_NOT_COUNTED = frozenset({"max_tokens", "stream", "metadata"})
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}

#: A block of a message's content.
Block = Dict[str, Any]


def messages_payload(
    request: CompletionRequest,
    model: str,
    thinking: Mapping[str, Any],
    schema: Optional[Mapping[str, Any]],
    *,
    is_service: bool = True,
) -> Dict[str, Any]:
    """Return the JSON of a chat.

    Args:
        request: The request.
        model: Name of the model.
        thinking: The fields that `thinking_fields` returned.
        schema: The schema of the answer in the form that the service accepts.
        is_service: Whether the server checks signatures.
    """
    first = _leading_systems(request.messages)
    payload: Dict[str, Any] = {"model": model}
    system = "\n\n".join(filter(None, (each.content for each in request.messages[:first])))
    if system:
        payload["system"] = system
    rest = request.messages[first:]
    payload["messages"] = _message_payloads(rest, model, is_service=is_service)
    payload.update(_tool_fields(request))
    payload.update({name: getattr(request, name) for name in _SHARED_NAMES})
    if request.stop:
        payload["stop_sequences"] = list(request.stop)
    payload.update(thinking)
    if schema is not None:
        output = {"type": "json_schema", "schema": schema}
        payload["output_config"] = {**payload.get("output_config", {}), "format": output}
    payload["stream"] = True
    check_extra_body(request.extra_body)
    payload.update(request.extra_body)
    return Payload({name: value for name, value in payload.items() if value is not None})


def count_payload(payload: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the JSON for counting the tokens of a chat, from the JSON of this chat."""
    return Payload({name: payload[name] for name in payload if name not in _NOT_COUNTED})


def _leading_systems(messages: Sequence[Message]) -> int:
    """Return the number of system messages at the beginning, before any other message."""
    others = (at for at, message in enumerate(messages) if message.role != "system")
    return next(others, len(messages))


def _tool_fields(request: CompletionRequest) -> Dict[str, Any]:
    if not request.tools:
        return {}
    made: Dict[str, Any] = {"tools": [_tool_payload(tool) for tool in request.tools]}
    choice = request.tool_choice
    if choice is not None:
        known = _CHOICES.get(choice)
        named = {"type": "tool", "name": choice}
        made["tool_choice"] = named if known is None else {"type": known}
    return made


def _tool_payload(tool: Tool) -> Dict[str, Any]:
    schema = tool.parameters
    if "type" not in schema:
        schema = {"type": "object", **schema}
    payload: Dict[str, Any] = {"name": tool.name, "input_schema": schema}
    return {**payload, "description": tool.description} if tool.description else payload


# --- messages -------------------------------------------------------------------------------------


def _message_payloads(
    messages: Iterable[Message], model: str, *, is_service: bool
) -> List[Dict[str, Any]]:
    """Return the JSON of messages. All results for the tool calls of an answer are one message."""
    made: List[Dict[str, Any]] = []
    was_result = False
    for message in messages:
        is_result = message.role == "tool"
        if is_result and was_result:
            made[-1]["content"].append(_result_block(message))
        elif is_result:
            made.append({"role": "user", "content": [_result_block(message)]})
        else:
            made += _message_payload(message, model, is_service=is_service)
        was_result = is_result
    return made


def _message_payload(message: Message, model: str, *, is_service: bool) -> List[Dict[str, Any]]:
    """Return a list with the JSON of one message.

    For an answer without content, the list is empty, because the service refuses such a message.
    """
    if message.role == "assistant":
        blocks = kept_blocks(message, model, is_service=is_service)
        if blocks is None:
            blocks = answer_blocks(message)
        content = message.content if _is_text(blocks) else blocks
        return [{"role": "assistant", "content": content}] if content else []
    blocks = [*_file_blocks(message), *_text_blocks(message.content)]
    content = message.content if _is_text(blocks) or not blocks else blocks
    return [{"role": message.role, "content": content}]


def _is_text(blocks: Sequence[Mapping[str, Any]]) -> bool:
    return len(blocks) == 1 and set(blocks[0]) == {"type", "text"}


def _text_blocks(text: str) -> List[Block]:
    return [{"type": "text", "text": text}] if text else []


def _result_block(message: Message) -> Block:
    files = _file_blocks(message)
    content: Any = [*_text_blocks(message.content), *files] if files else message.content
    block: Block = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": content}
    return {**block, "is_error": True} if message.is_error else block


def _file_blocks(message: Message) -> List[Block]:
    return [*map(_image_block, message.images), *_document_blocks(message.documents)]


def _image_block(image: Image) -> Block:
    source = {"type": "base64", "media_type": image.media_type, "data": image.base64}
    return {"type": "image", "source": source}


def _document_blocks(documents: Iterable[Document]) -> Iterator[Block]:
    for document in documents:
        is_text = document.text is not None
        source = {
            "type": "text" if is_text else "base64",
            "media_type": document.media_type,
            "data": document.text if is_text else document.base64,
        }
        title = {} if document.title is None else {"title": document.title}
        yield {"type": "document", "source": source, **title}
