"""Functions that make the JSON of requests in OpenAI's dialect.

The dialect has no route that counts tokens. llama.cpp and vLLM have different routes that do so,
and llama.cpp has a route that renders a prompt. This module makes the JSON for these routes as
well, and parses their responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Tuple

from localproviders._dialect.common import check_extra_body, checked, tool_payloads, unexpected
from localproviders._dialect.values import count
from localproviders._http.transport import Payload, write_json
from localproviders._lazy import LazyModule
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.openai_compatible.wire.kept_parts import with_kept_parts
from localproviders.openai_compatible.wire.service_rules import USUAL, ServiceRules
from localproviders.types.messages import Message
from localproviders.types.requests import CompletionRequest, EmbeddingRequest

if TYPE_CHECKING:
    from localproviders.schema import strict
else:
    strict = LazyModule("localproviders.schema.strict")

# Fields with the same name in this package and in the dialect. OpenAI's own service does not have
# the last three. llama.cpp and LM Studio read them (docs/reference/lmstudio.md, "Sampling
# parameters"). Some other servers ignore them, and others answer with status 400.
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


# OpenRouter's field for the choice of a provider, and its field for plugins.
_ROUTING, _PLUGINS = "provider", "plugins"


def completion_payload(
    request: CompletionRequest, model: str, rules: ServiceRules = USUAL
) -> Tuple[str, Dict[str, Any]]:
    """Return the path and the JSON of a chat, or of a plain text that the model continues."""
    payload: Dict[str, Any] = {"model": model}
    names = dict(rules.names)
    if request.prompt is None:
        path = "/chat/completions"
        payload["messages"] = [
            message_payload(message, model, rules) for message in request.messages
        ]
        payload.update(_chat_only(request, rules))
    else:
        path = "/completions"
        names.pop("max_tokens", None)  # this older route has only the older name
        payload["prompt"] = request.prompt
        if request.suffix is not None:
            payload["suffix"] = request.suffix
        if request.logprobs or request.top_logprobs:
            payload["logprobs"] = request.top_logprobs or 1
    get = vars(request).get  # a dictionary is faster than attributes
    payload.update({names.get(name, name): get(name) for name in _SHARED_NAMES})
    if request.stop:
        payload["stop"] = list(request.stop)
    payload = {name: value for name, value in payload.items() if value is not None}
    if rules.routes:
        payload.update(_routing(request, payload))
    payload["stream"] = True
    if not rules.sends_usage:
        # Without this field, a stream has no token counts.
        payload["stream_options"] = {"include_usage": True}
    check_extra_body(request.extra_body)
    payload.update(_with_extra(payload, request.extra_body))
    return path, {name: value for name, value in payload.items() if value is not None}


def _with_extra(payload: Mapping[str, Any], extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the caller's `extra_body`; two of its fields are merged with the package's values.

    These fields are the arguments of the chat template, and the choice of a provider. The caller's
    values have priority. No other field is merged, because a mixture of the package's value and
    the caller's value could mean something else.
    """
    found = dict(extra)
    for name in (_TEMPLATE, _ROUTING):
        ours, theirs = payload.get(name), extra.get(name)
        if ours is not None and isinstance(theirs, Mapping):
            found[name] = {**ours, **theirs}
    return found


# Fields that every provider of OpenRouter supports.
_EVERYWHERE = frozenset(("model", "messages", "prompt", "max_tokens", "max_completion_tokens"))


# Fields that OpenRouter itself reads.
_OURS = frozenset(("stream", "stream_options", _PLUGINS, _ROUTING))


def _has_optional_fields(payload: Mapping[str, Any]) -> bool:
    """Return whether a request has fields that some providers of OpenRouter do not support."""
    return not payload.keys() <= _EVERYWHERE | _OURS


def may_lose_fields(request: CompletionRequest, rules: ServiceRules) -> bool:
    """Return whether OpenRouter may ignore fields of a request, because it is not strict."""
    return not request.strict and _has_optional_fields(completion_payload(request, "", rules)[1])


def _routing(request: CompletionRequest, payload: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the fields that tell OpenRouter whether it may leave out a part of the request.

    By default, OpenRouter ignores a field that the chosen provider does not support, and shortens
    a prompt that is too long for a model with a small context window.
    """
    found: Dict[str, Any] = {}
    if request.strict and _has_optional_fields(payload):
        found[_ROUTING] = {"require_parameters": True}
    if request.overflow != "allow":
        is_cut = request.overflow == "truncate"
        found[_PLUGINS] = [{"id": "context-compression", "enabled": is_cut}]
    return found


def _chat_only(request: CompletionRequest, rules: ServiceRules) -> Dict[str, Any]:
    payload: Dict[str, Any] = {}
    if request.tools:
        payload["tools"] = tool_payloads(request.tools)
    if request.tool_choice is not None:
        payload["tool_choice"] = (
            rules.tool_choices.get(request.tool_choice, request.tool_choice)
            if request.tool_choice in _TOOL_CHOICES
            else {"type": "function", "function": {"name": request.tool_choice}}
        )
    if request.response_schema is not None:
        payload["response_format"] = _schema_payload(request.response_schema)
    payload.update(_thinking_payload(request, rules))
    if request.logprobs or request.top_logprobs:
        payload["logprobs"] = True
        payload["top_logprobs"] = request.top_logprobs
    return payload


def _schema_payload(schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the JSON of a schema.

    The field ``strict`` is true only for a schema in OpenAI's strict form, because OpenAI refuses
    ``strict`` with any other schema. Local servers ignore the field.
    """
    named = {"name": "answer", "strict": strict.is_strict(schema), "schema": schema}
    return {"type": "json_schema", "json_schema": named}


def _thinking_payload(request: CompletionRequest, rules: ServiceRules) -> Dict[str, Any]:
    """Return the fields that set the level of reasoning, or switch reasoning on or off.

    The switch is an argument of the chat template. llama.cpp, vLLM and SGLang pass it on to the
    template of the model. The dialect has no other switch that these servers understand
    (docs/dialects.md, "Switches of thinking"). Services have switches of their own.
    """
    thinking = request.thinking
    if rules.thinking is not None:
        return rules.thinking.fields(thinking, request.thinking_budget)
    if isinstance(thinking, bool):
        return {_TEMPLATE: {"enable_thinking": thinking}}
    return {} if thinking is None else {"reasoning_effort": thinking}


def message_payload(
    message: Message, model: str = "", rules: ServiceRules = USUAL
) -> Dict[str, Any]:
    """Return the JSON of one message.

    Args:
        message: The message.
        model: Name of the model. Signatures are sent only to the model that made them.
        rules: The rules of the service, which decide how the thinking of an earlier answer is
            sent.
    """
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
        if rules.omits_empty and not message.content:
            del payload["content"]
    if message.tool_call_id is not None:
        payload["tool_call_id"] = message.tool_call_id
    if message.thinking and rules.history == "reasoning_content":
        payload["reasoning_content"] = message.thinking
    if message.thinking and rules.history == "content":
        payload["content"] = _with_thinking(message)
    is_kept = bool(message.provider_data) and bool(rules.history)
    return with_kept_parts(payload, message, model) if is_kept else payload


def _with_thinking(message: Message) -> List[Dict[str, Any]]:
    """Return the thinking and the text of an answer as parts, as Mistral writes them."""
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": message.thinking}]}
    return [thinking, *([{"type": "text", "text": message.content}] if message.content else [])]


def _media_parts(message: Message) -> Iterator[Dict[str, Any]]:
    for image in message.images:
        yield {"type": "image_url", "image_url": {"url": image.data_uri}}
    for sound in message.audio:
        yield {
            "type": "input_audio",
            "input_audio": {"data": sound.base64, "format": sound.format},
        }


def embed_payload(
    request: EmbeddingRequest, model: str, rules: ServiceRules = USUAL
) -> Dict[str, Any]:
    """Return the JSON of an embedding request. Vectors are requested as base64 if supported."""
    payload: Dict[str, Any] = {"model": model, "input": list(request.texts)}
    if rules.has_base64:
        payload["encoding_format"] = "base64"
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
