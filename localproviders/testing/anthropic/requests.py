"""Checks of requests, as Anthropic's service makes them.

A refusal has the text of a published response of the service. If no such response is known, the
text is made up in the same style.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

from localproviders.testing.answers import dumps
from localproviders.testing.anthropic.models import Traits, max_tokens_of
from localproviders.testing.anthropic.signatures import signature_of
from localproviders.testing.values import FakeModel

_FIELDS = frozenset(
    {
        *("model", "messages", "max_tokens", "system", "stream", "stop_sequences", "tools"),
        *("tool_choice", "thinking", "output_config", "temperature", "top_p", "top_k", "metadata"),
        *("service_tier", "cache_control", "inference_geo", "container", "speed"),
    }
)
_NOT_COUNTED = ("max_tokens", "stream", "metadata", "stop_sequences", "service_tier")
_SAMPLING = ("temperature", "top_p", "top_k")
_NEW_VERSION = "2026-10-21"
VERSIONS = ("2023-06-01", _NEW_VERSION)

#: The types of blocks in a message, by its role.
_BLOCKS: Mapping[str, Sequence[str]] = {
    "user": ("text", "image", "document", "tool_result", "search_result"),
    "assistant": (
        *("text", "tool_use", "thinking", "redacted_thinking", "server_tool_use", "fallback"),
        *("web_search_tool_result", "tool_search_tool_result", "advisor_tool_result"),
        *("mcp_tool_use", "mcp_tool_result"),
    ),
    "system": ("text",),
}
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_CHOICES = ("auto", "any", "tool", "none")
_REFUSED_KEYWORDS = ("minimum", "maximum", "multipleOf", "minLength", "maxLength", "maxItems")


class RefusedError(Exception):
    """An exception for a refused request, with the status, the type and the text of the error."""

    def __init__(
        self, words: str, kind: str = "invalid_request_error", status: str = "400 Bad Request"
    ) -> None:
        super().__init__(words)
        self.words, self.kind, self.status = words, kind, status

    def body(self, request_id: str) -> Dict[str, Any]:
        """Return the JSON of the response."""
        error = {"type": self.kind, "message": self.words}
        return {"type": "error", "error": error, "request_id": request_id}


def json_object(data: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a request.

    Raises:
        RefusedError: The body is not a JSON object.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise RefusedError("The request body is not valid JSON: unexpected content") from None
    if not isinstance(value, dict):
        raise RefusedError("Input should be a valid dictionary")
    return value


def check_fields(body: Mapping[str, Any], version: str, *, counts: bool) -> None:
    """Check the names and the types of the fields.

    Args:
        body: The request.
        version: The version of the API in the header ``anthropic-version``.
        counts: Whether the request only asks for the number of tokens.

    Raises:
        RefusedError: A field is missing, unknown, or has a wrong type.
    """
    for name in ("model", "messages", *(() if counts else ("max_tokens",))):
        if body.get(name) is None:
            raise RefusedError(f"{name}: Field required")
    refused = set(_SAMPLING) if version == _NEW_VERSION else set()
    refused |= set(_NOT_COUNTED) if counts else set()
    for name in body:
        if name not in _FIELDS or name in refused:
            raise RefusedError(f"{name}: Extra inputs are not permitted")
    tokens = body.get("max_tokens", 1)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise RefusedError("max_tokens: Input should be greater than or equal to 1")
    temperature = body.get("temperature", 0)
    if not isinstance(temperature, (int, float)) or not 0 <= temperature <= 1:
        raise RefusedError("temperature: range: 0..1")
    if not isinstance(body.get("stream", False), bool):
        raise RefusedError("stream: Input should be a valid boolean")
    for at, text in enumerate(body.get("stop_sequences") or ()):
        if not isinstance(text, str) or not text.strip():
            raise RefusedError(
                f"stop_sequences.{at}: each stop sequence must contain non-whitespace"
            )


def check_model(body: Mapping[str, Any], model: FakeModel, traits: Traits) -> None:
    """Check the fields that depend on the model.

    Raises:
        RefusedError: The model refuses a field.
    """
    most = max_tokens_of(model)
    if body.get("max_tokens", 1) > most:
        words = "which is the maximum allowed number of output tokens for"
        raise RefusedError(f"max_tokens: {body['max_tokens']} > {most}, {words} {model.name}")
    for name in _SAMPLING:
        if name in body and not traits.samples:
            raise RefusedError(f"`{name}` is deprecated for this model.")
    if "temperature" in body and "top_p" in body:
        raise RefusedError(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only "
            "one."
        )
    _check_thinking(body, traits)
    _check_output(body, traits)
    _check_tools(body, traits)


def thinking_type(body: Mapping[str, Any], traits: Traits) -> str:
    """Return the type of thinking that a request chooses, or the usual one of the model."""
    wanted = body.get("thinking")
    if isinstance(wanted, dict):
        return str(wanted.get("type"))
    return "adaptive" if traits.thinks else "disabled"


def _check_thinking(body: Mapping[str, Any], traits: Traits) -> None:
    wanted = body.get("thinking")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in traits.types:
        raise RefusedError(
            f'"thinking.type.{kind}" is not supported for this model. Use "thinking.type.adaptive" '
            'and "output_config.effort" to control thinking behavior.'
        )
    if kind != "enabled":
        return
    budget = wanted.get("budget_tokens")
    if not isinstance(budget, int) or budget < 1024:
        raise RefusedError(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        )
    if budget >= body.get("max_tokens", budget + 1):
        raise RefusedError("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_output(body: Mapping[str, Any], traits: Traits) -> None:
    output = body.get("output_config") or {}
    effort = output.get("effort")
    if effort is not None and effort not in traits.efforts:
        levels = f"Supported levels: {', '.join(sorted(traits.efforts))}."
        raise RefusedError(f"This model does not support effort level '{effort}'. {levels}")
    form = output.get("format")
    if form is None:
        return
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise RefusedError("output_config.format.schema: Field required")
    _check_schema(form["schema"])


def _check_schema(schema: Any) -> None:
    """Check a schema that the answer shall follow, and the schemas inside it."""
    if isinstance(schema, list):
        for each in schema:
            _check_schema(each)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise RefusedError(
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
            "explicitly set to false"
        )
    for name in _REFUSED_KEYWORDS:
        if name in schema and not isinstance(schema[name], dict):
            kind = schema.get("type")
            raise RefusedError(
                f"output_config.format.schema: For '{kind}' type, property '{name}' is not "
                "supported"
            )
    for name, value in schema.items():
        inner = list(value.values()) if name in ("properties", "$defs") else value
        _check_schema(inner)


def _check_tools(body: Mapping[str, Any], traits: Traits) -> None:
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    for at, tool in enumerate(tools):
        name = tool.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", name):
            raise RefusedError(f"tools.{at}.custom.name: String should match pattern")
        if (tool.get("input_schema") or {}).get("type") != "object":
            raise RefusedError(f"tools.{at}.custom.input_schema.type: Field required")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in _CHOICES:
        raise RefusedError("tool_choice: Input should be a valid dictionary or object")
    if not tools:
        raise RefusedError("tool_choice: may only be specified while providing tools")
    if kind in ("any", "tool") and not traits.obeys:
        raise RefusedError(f"tool_choice: type '{kind}' is not supported for this model")
    wanted = (body.get("thinking") or {}).get("type")
    if kind in ("any", "tool") and wanted in ("enabled", "adaptive"):
        raise RefusedError("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool" and choice.get("name") not in [tool["name"] for tool in tools]:
        raise RefusedError(f"Tool '{choice.get('name')}' not found in provided tools")


# --- messages -------------------------------------------------------------------------------------


def check_messages(
    body: Mapping[str, Any], model: FakeModel, traits: Traits, thought: Mapping[str, Any]
) -> None:
    """Check the messages: their roles, their blocks, and the pairs of calls and results.

    Args:
        body: The request.
        model: The model.
        traits: The features that the model accepts.
        thought: For each earlier tool call that came after thinking, the thinking blocks, by the id
            of the call.

    Raises:
        RefusedError: A message is refused.
    """
    messages = body["messages"]
    if not isinstance(messages, list):
        raise RefusedError("messages: Input should be a valid array")
    if not messages:
        raise RefusedError("messages: at least one message is required")
    open_ids: List[str] = []
    for at, message in enumerate(messages):
        role = _check_role(message, at, traits)
        blocks = blocks_of(message.get("content"))
        is_last = at == len(messages) - 1
        if not blocks and not (is_last and role == "assistant"):
            raise RefusedError(
                f"messages.{at}: all messages must have non-empty content except for the optional "
                "final assistant message"
            )
        for number, block in enumerate(blocks):
            _check_block(block, f"messages.{at}.content.{number}", role, model)
        _check_pairs(blocks, at, open_ids)
        open_ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if role == "assistant":
            _check_thoughts(blocks, at, model, thinking_type(body, traits), thought)
    if open_ids:
        raise _without_result(len(messages) - 1, open_ids)
    if messages[-1]["role"] == "assistant" and not traits.prefills:
        raise RefusedError(
            "This model does not support assistant message prefill. The conversation must end with "
            "a user message."
        )


def _check_role(message: Any, at: int, traits: Traits) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    if role == "system" and not traits.later_systems:
        raise RefusedError(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
            'parameter, not "system" as an input message role.'
        )
    if role not in _BLOCKS:
        raise RefusedError(f"messages.{at}.role: Input should be 'user' or 'assistant'")
    return str(role)


def blocks_of(content: Any) -> List[Dict[str, Any]]:
    """Return the blocks of a message's content. A text becomes a single block.

    Raises:
        RefusedError: The content is neither a text nor a list of blocks.
    """
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if isinstance(content, list) and all(isinstance(block, dict) for block in content):
        return content
    raise RefusedError("messages.0.content: Input should be a valid string or array")


def _check_block(block: Mapping[str, Any], place: str, role: str, model: FakeModel) -> None:
    kind = block.get("type")
    if kind not in _BLOCKS[role]:
        raise RefusedError(f"{place}: Input tag '{kind}' found using 'type' does not match")
    if kind == "text" and not block.get("text"):
        raise RefusedError(f"{place}: text content blocks must be non-empty")
    if kind in ("image", "document"):
        _check_source(block, place, model)
    if kind == "tool_use" and not isinstance(block.get("input"), dict):
        raise RefusedError(f"{place}.tool_use.input: Input should be a valid dictionary")
    if kind == "tool_result":
        for at, inner in enumerate(blocks_of(block.get("content") or "")):
            _check_block(inner, f"{place}.tool_result.content.{at}", "user", model)


def _check_source(block: Mapping[str, Any], place: str, model: FakeModel) -> None:
    source, kind = block.get("source") or {}, block.get("type")
    media = source.get("media_type")
    if source.get("type") == "base64" and not model.can("vision"):
        raise RefusedError(f"{place}: this model does not support {kind} input")
    known = _IMAGES if kind == "image" else ("application/pdf", "text/plain")
    if media not in known:
        raise RefusedError(f"{place}.{kind}.source.media_type: Input should be one of {known}")


def _check_pairs(blocks: Sequence[Mapping[str, Any]], at: int, open_ids: Sequence[str]) -> None:
    """Check that the results of a message belong to the tool calls in the previous message."""
    given: Set[Any] = {b.get("tool_use_id") for b in blocks if b["type"] == "tool_result"}
    missing = [each for each in open_ids if each not in given]
    if missing:
        raise _without_result(at - 1, missing)
    unknown = sorted(str(each) for each in given if each not in open_ids)
    if unknown:
        raise RefusedError(
            f"messages.{at}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: "
            f"{', '.join(unknown)}. Each `tool_result` block must have a corresponding `tool_use` "
            "block in the previous message."
        )


def _without_result(at: int, ids: Sequence[str]) -> RefusedError:
    return RefusedError(
        f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` block in "
        "the next message."
    )


def _check_thoughts(
    blocks: Sequence[Mapping[str, Any]],
    at: int,
    model: FakeModel,
    kind: str,
    thought: Mapping[str, Any],
) -> None:
    """Check the signatures of thinking blocks, and that none is missing before a tool call."""
    for number, block in enumerate(blocks):
        place = f"messages.{at}.content.{number}"
        if block["type"] != "thinking":
            continue
        if "signature" not in block:
            raise RefusedError(f"{place}.thinking.signature: Field required")
        if block["signature"] != signature_of(model.name, str(block.get("thinking"))):
            raise RefusedError(f"{place}: Invalid `signature` in `thinking` block")
    if kind == "disabled":
        return
    wanted = next((thought[b["id"]] for b in blocks if b.get("id") in thought), None)
    if wanted is None:
        return
    given = [dict(block) for block in blocks[: len(wanted)]]
    if given and given[0]["type"] not in ("thinking", "redacted_thinking"):
        raise RefusedError(
            f"messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{given[0]['type']}`. When `thinking` is enabled, a final `assistant` message must "
            "start with a thinking block."
        )
    if given != wanted:
        raise RefusedError(
            f"messages.{at}.content.0: `thinking` or `redacted_thinking` blocks in the latest "
            "assistant message cannot be modified. These blocks must remain as they were in the "
            "original response."
        )


def text_of(body: Mapping[str, Any]) -> str:
    """Return all texts of a request as one text. Its words count as the tokens of the prompt."""
    found = [_words(body.get("system") or "")]
    found += [_words(message.get("content")) for message in body["messages"]]
    found += [dumps(tool) for tool in body.get("tools") or ()]
    return " ".join(found)


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: List[str] = []
    for block in content or ():
        source: Optional[Mapping[str, Any]] = block.get("source")
        parts.append(str(block.get("text") or block.get("thinking") or ""))
        parts.append(_words(block.get("content") or ""))
        parts.append(str(source.get("data")) if source and source.get("type") == "text" else "")
        parts.append(dumps(block["input"]) if "input" in block else "")
    return " ".join(parts)
