"""Functions that make the dialect's JSON for requests, and the JSON for counting and rendering.

The dialect has no route that counts tokens. llama.cpp and vLLM have different routes for it, and
llama.cpp has one that renders a prompt. Their responses are also parsed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Tuple, Union

from localproviders._dialect.common import check_extra_body, checked, tool_payloads, unexpected
from localproviders._dialect.values import count
from localproviders._http.transport import Payload, write_json
from localproviders._lazy import LazyModule
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.openai_compatible.wire.kept_parts import with_kept_parts
from localproviders.types.messages import Message
from localproviders.types.requests import CompletionRequest, EmbeddingRequest

if TYPE_CHECKING:
    from localproviders.schema import strict
else:
    strict = LazyModule("localproviders.schema.strict")

# Fields with the same name in this package and in the dialect. OpenAI does not have the last
# three. llama.cpp and LM Studio read them (docs/reference/lmstudio.md, "Sampling parameters"). Some
# other servers ignore them, and others answer with status 400.
_SHARED_NAMES = (
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "top_k",
    "min_p",
    "repeat_penalty",
)

_TOOL_CHOICES = ("auto", "none", "required")

# The field with the arguments of the chat template (docs/dialects.md, "Switches of thinking").
_TEMPLATE = "chat_template_kwargs"


def completion_payload(request: CompletionRequest, model: str) -> Tuple[str, Dict[str, Any]]:
    """Return the path and the JSON of a chat, or of a plain text that the model continues."""
    payload: Dict[str, Any] = {"model": model}
    if request.prompt is None:
        path = "/chat/completions"
        payload["messages"] = [message_payload(message, model) for message in request.messages]
        payload.update(_chat_only(request))
    else:
        path = "/completions"
        payload["prompt"] = request.prompt
        if request.suffix is not None:
            payload["suffix"] = request.suffix
        if request.logprobs or request.top_logprobs:
            payload["logprobs"] = request.top_logprobs or 1
    payload.update({name: getattr(request, name) for name in _SHARED_NAMES})
    if request.stop:
        payload["stop"] = list(request.stop)
    payload["stream"] = True
    # Without this field, a stream has no token counts.
    payload["stream_options"] = {"include_usage": True}
    check_extra_body(request.extra_body)
    payload.update(_with_extra(payload, request.extra_body))
    return path, {name: value for name, value in payload.items() if value is not None}


def _with_extra(payload: Mapping[str, Any], extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the caller's `extra_body`, with our arguments of the chat template added to its own.

    The caller's values have priority. No other field is merged, because half of our value together
    with half of the caller's could mean something else.
    """
    ours, theirs = payload.get(_TEMPLATE), extra.get(_TEMPLATE)
    if ours is None or not isinstance(theirs, Mapping):
        return extra
    return {**extra, _TEMPLATE: {**ours, **theirs}}


def _chat_only(request: CompletionRequest) -> Dict[str, Any]:
    payload: Dict[str, Any] = {}
    if request.tools:
        payload["tools"] = tool_payloads(request.tools)
    if request.tool_choice is not None:
        payload["tool_choice"] = (
            request.tool_choice
            if request.tool_choice in _TOOL_CHOICES
            else {"type": "function", "function": {"name": request.tool_choice}}
        )
    if request.response_schema is not None:
        payload["response_format"] = _schema_payload(request.response_schema)
    if request.thinking is not None:
        payload.update(_thinking_payload(request.thinking))
    if request.logprobs or request.top_logprobs:
        payload["logprobs"] = True
        payload["top_logprobs"] = request.top_logprobs
    return payload


def _schema_payload(schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the JSON of a schema.

    The field ``strict`` is true only for a schema in the strict form, because OpenAI refuses it
    with any other schema. Local servers ignore the field.
    """
    named = {"name": "answer", "strict": strict.is_strict(schema), "schema": schema}
    return {"type": "json_schema", "json_schema": named}


def _thinking_payload(thinking: Union[bool, str]) -> Dict[str, Any]:
    """Return the level of reasoning, or the switch of reasoning, which the chat template reads.

    llama.cpp, vLLM and SGLang pass the switch on to the template of the model. The dialect has no
    other switch that these servers understand (docs/dialects.md, "Switches of thinking").
    """
    if isinstance(thinking, bool):
        return {_TEMPLATE: {"enable_thinking": thinking}}
    return {"reasoning_effort": thinking}


def message_payload(message: Message, model: str = "") -> Dict[str, Any]:
    """Return the JSON of one message for a model."""
    payload: Dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images or message.audio:
        payload["content"] = [{"type": "text", "text": message.content}, *_media_parts(message)]
    if message.tool_calls:
        payload["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": write_json(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        payload["tool_call_id"] = message.tool_call_id
    if message.thinking:
        payload["reasoning_content"] = message.thinking
    return with_kept_parts(payload, message, model) if message.provider_data else payload


def _media_parts(message: Message) -> Iterator[Dict[str, Any]]:
    for image in message.images:
        yield {"type": "image_url", "image_url": {"url": image.data_uri}}
    for sound in message.audio:
        yield {
            "type": "input_audio",
            "input_audio": {"data": sound.base64, "format": sound.format},
        }


def embed_payload(request: EmbeddingRequest, model: str) -> Dict[str, Any]:
    """Return the JSON of an embedding request, which requests the vectors as base64."""
    payload: Dict[str, Any] = {
        "model": model,
        "input": list(request.texts),
        "encoding_format": "base64",
    }
    if request.dimensions is not None:
        payload["dimensions"] = request.dimensions
    return payload


def conversation_payload(request: CompletionRequest, model: str) -> Dict[str, Any]:
    """Return the JSON for counting the tokens of a conversation.

    The fields have the same names as in a chat.
    """
    payload: Dict[str, Any] = {
        "model": model,
        "messages": [message_payload(message, model) for message in request.messages],
    }
    if request.tools:
        payload["tools"] = tool_payloads(request.tools)
    return Payload(payload)


def render_payload(request: CompletionRequest, model: str) -> Dict[str, Any]:
    """Return the JSON for llama.cpp's ``/apply-template``: a chat without streaming."""
    payload = completion_payload(request, model)[1]
    return Payload(
        {name: value for name, value in payload.items() if not name.startswith("stream")}
    )


def parse_prompt(data: Any) -> str:
    """Return the prompt in the response of llama.cpp's ``/apply-template``.

    Raises:
        ProviderError: The response is an error, or has no prompt.
    """
    prompt = checked(data, RULES).get("prompt")
    return prompt if isinstance(prompt, str) else unexpected("'prompt' string")


def templated_payload(data: Any, model: str) -> Dict[str, Any]:
    """Return the JSON for ``/tokenize``, from the response of llama.cpp's ``/apply-template``.

    The fields make the server add and parse special tokens, as it does in a chat.

    Raises:
        ProviderError: The response is an error, or has no prompt.
    """
    prompt = parse_prompt(data)
    return Payload(model=model, content=prompt, add_special=True, parse_special=True)


def parse_tokens(data: Any) -> int:
    """Return the number of tokens in the response of llama.cpp's ``/tokenize``.

    Raises:
        ProviderError: The response is an error, or has no tokens.
    """
    tokens = checked(data, RULES).get("tokens")
    if not isinstance(tokens, list):
        unexpected("'tokens' list")
    return len(tokens)


def parse_count(data: Any) -> int:
    """Return the count in the response of vLLM's ``/tokenize``.

    Raises:
        ProviderError: The response is an error, or has no count.
    """
    tokens = count(checked(data, RULES).get("count"))
    return unexpected("'count'") if tokens is None else tokens
