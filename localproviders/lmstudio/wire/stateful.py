"""Wire format of LM Studio's native chat: the request body and the events of the response.

The format is described in docs/reference/lmstudio.md, "Native chat" and "Native events".
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders._dialect.common import unexpected
from localproviders._dialect.error_answers import from_words, read_words
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.repeated_records import Template
from localproviders._dialect.thinking import ThinkingSplitter
from localproviders._dialect.values import count, mapping, mappings, nonempty_text, number, text
from localproviders._http.framing import Look, no_look, parse_json
from localproviders.errors import CapabilityError, ConfigurationError, ServerError
from localproviders.types.messages import Message
from localproviders.types.models import ModelCapabilities, Progress
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionChunk, ServerTimings, Usage

CHAT_PATH = "/api/v1/chat"

# --- request ----------------------------------------------------------------------------------

# The name of each field in this package, and its name on the server. Only these fields are sent,
# because the server refuses a request with a field that it does not know.
_FIELDS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "max_tokens": "max_output_tokens",
    "thinking": "reasoning",
    "context_length": "context_length",
}
_FIELDS_UP_TO_1 = ("temperature", "top_p", "min_p")
_LEVELS = ("off", "low", "medium", "high", "on")


def check_fields(request: CompletionRequest) -> None:
    """Check that the values of a request are among those that LM Studio documents for this route.

    Raises:
        ConfigurationError: `temperature`, `top_p` or `min_p` is above 1, or `thinking` is an
            unknown level.
    """
    for name in _FIELDS_UP_TO_1:
        value = getattr(request, name)
        if value is not None and value > 1:
            raise ConfigurationError(
                f"{name} is {value!r}, and LM Studio's native chat accepts 0 to 1",
                hint="use chat(), whose route accepts higher values",
            )
    if isinstance(request.thinking, str) and request.thinking not in _LEVELS:
        raise ConfigurationError(
            f"thinking is {request.thinking!r}, and LM Studio's native chat has no such level",
            hint=f"choose one of {', '.join(_LEVELS)}",
        )


def reasoning_level(requested: Any, capabilities: ModelCapabilities) -> str:
    """Return the server's value for `thinking`.

    Args:
        requested: True, False or a level.
        capabilities: Capabilities from the model's entry in the server's list. If the entry names
            no levels, every level is allowed.

    Raises:
        CapabilityError: The model does not allow the level.
    """
    allowed, default = capabilities.thinking_levels, capabilities.thinking_default
    level = {True: "on", False: "off"}.get(requested, requested)
    if not allowed or level in allowed:
        return str(level)
    if requested is True and default in allowed and default != "off":
        return str(default)
    evidence = f"reasoning accepts {', '.join(allowed)}"
    raise CapabilityError(
        f"the model does not support thinking={requested!r}: its {evidence}", evidence=evidence
    )


def chat_payload(
    request: CompletionRequest, model: str, *, previous_response_id: Optional[str], store: bool
) -> Dict[str, Any]:
    """Return the body of one turn: the system prompt, and the other messages as input."""
    messages = [message for message in request.messages if message.role != "system"]
    system = [message.content for message in request.messages if message.role == "system"]
    payload: Dict[str, Any] = {"model": model, "input": _input_payload(messages), "stream": True}
    payload.update({theirs: getattr(request, ours) for ours, theirs in _FIELDS.items()})
    if system:
        payload["system_prompt"] = "\n".join(system)
    payload["previous_response_id"] = previous_response_id
    if not store:
        payload["store"] = False
    return {name: value for name, value in payload.items() if value is not None}


def _input_payload(messages: Sequence[Message]) -> Any:
    if len(messages) == 1 and not messages[0].images:
        return messages[0].content
    items: List[Dict[str, Any]] = []
    for message in messages:
        if message.content:
            items.append({"type": "text", "content": message.content})
        items += [{"type": "image", "data_url": image.data_uri} for image in message.images]
    return items


# --- response ---------------------------------------------------------------------------------

_LOADING, _READING = "loading the model", "reading the prompt"


class EventParser:
    """Parser that turns the events of a native chat into chunks.

    The ``type`` in the JSON is the name of the event; unknown events are ignored. A response ends
    with ``chat.end``, or is a single JSON object with the result. A stream with neither of them
    was interrupted.
    """

    def __init__(self, max_json_depth: int, rules: Sequence[Rule], look: Look = no_look) -> None:
        self._max_depth = max_json_depth
        self._rules = rules
        self._look = look
        #: Whether text and reasoning have been streamed. If so, the last event, which contains
        #: them again, must not add them to the response.
        self._streamed = {"message": False, "reasoning": False}
        self._load_s: Optional[float] = None
        self._template = Template(_variable_text, max_json_depth)
        self.quick: Callable[[str], Optional[CompletionChunk]] = self._template.read
        self.ended: bool = False
        self.is_single_record = False
        self._thinking = ThinkingSplitter()

    @property
    def held(self) -> str:
        """Text not yet in a chunk: only the next event shows whether it is text or thinking."""
        return self._thinking.held

    def reread(self, text: str) -> Optional[Tuple[str, str]]:
        """Split the complete text into thinking and text at a lone closing tag.

        Return None if the text has no such tag.
        """
        return self._thinking.reread(text)

    def parse(self, record: str) -> Optional[CompletionChunk]:
        """Parse one event; return None if the caller needs no chunk for it.

        Raises:
            ProviderError: The event reports an error, or is not a valid event.
        """
        if record.strip() in ("", "[DONE]"):
            # An empty record has no content. One document of a third party shows a "[DONE]" after
            # `chat.end`. A "[DONE]" does not end a response here (docs/reference/lmstudio.md,
            # "Streaming").
            return None
        data = parse_json(record, self._max_depth, look=self._look)
        words = read_words(data)
        if words is not None:
            raise from_words(words, self._rules)
        if not isinstance(data, dict):
            unexpected("JSON object")
        if self.is_single_record or (nonempty_text(data.get("type")) is None and "output" in data):
            return self._parse_result(data, data)
        kind = nonempty_text(data.get("type")) or unexpected("'type' of an event")
        chunk = self._parse_event(kind, data)
        is_repeatable = kind in ("message.delta", "reasoning.delta") and self._thinking.settled
        if is_repeatable and chunk is not None:
            self._template.make(record, chunk)
        return chunk

    def _parse_event(self, kind: str, data: Mapping[str, Any]) -> Optional[CompletionChunk]:
        handler = _EVENTS.get(kind)
        if handler is not None:
            return handler(self, data)
        # This package does not request that the server runs tools. If the server runs tools
        # nevertheless, the caller gets their events in `raw`.
        return CompletionChunk(raw=data) if kind.startswith("tool_call.") else None

    def _error(self, data: Mapping[str, Any]) -> CompletionChunk:
        raise ServerError("the server reports an error without a reason")

    def _start(self, data: Mapping[str, Any]) -> CompletionChunk:
        return CompletionChunk(model=nonempty_text(data.get("model_instance_id")), raw=data)

    def _message(self, data: Mapping[str, Any]) -> CompletionChunk:
        self._streamed["message"] = True
        thinking, content = self._thinking.split(text(data.get("content")))
        return CompletionChunk(
            text=content, thinking=thinking, thinking_inferred=self._thinking.found, raw=data
        )

    def _reasoning(self, data: Mapping[str, Any]) -> CompletionChunk:
        self._streamed["reasoning"] = True
        self._thinking.separated()
        return CompletionChunk(thinking=text(data.get("content")), raw=data)

    def _loading(self, data: Mapping[str, Any]) -> CompletionChunk:
        self._load_s = number(data.get("load_time_seconds"))
        return _progress(_LOADING, data)

    def _reading(self, data: Mapping[str, Any]) -> CompletionChunk:
        return _progress(_READING, data)

    def _parse_end(self, data: Mapping[str, Any]) -> CompletionChunk:
        result = data.get("result")
        if not isinstance(result, dict):
            unexpected("'result' in its last event")
        return self._parse_result(result, data)

    def _parse_result(self, result: Mapping[str, Any], data: Mapping[str, Any]) -> CompletionChunk:
        """Parse the complete response; omit text that has already been streamed."""
        output = result.get("output")
        if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
            unexpected("'output' list of objects")
        self.ended = True
        thinking, content = self._words(result)
        stats = mapping(result.get("stats"))
        load_s = number(stats.get("model_load_time_seconds"))
        return CompletionChunk(
            text=content,
            thinking=thinking,
            thinking_inferred=self._thinking.found,
            model=nonempty_text(result.get("model_instance_id")),
            usage=Usage(
                prompt_tokens=count(stats.get("input_tokens")),
                completion_tokens=count(stats.get("total_output_tokens")),
                thinking_tokens=count(stats.get("reasoning_output_tokens")),
            ),
            server_timings=ServerTimings(
                load_s=self._load_s if load_s is None else load_s,
                prompt_s=number(stats.get("time_to_first_token_seconds")),
            ),
            response_id=nonempty_text(result.get("response_id")),
            raw=data,
        )

    def _words(self, result: Mapping[str, Any]) -> Tuple[str, str]:
        """Return thinking and text that have not been streamed."""
        thinking = "" if self._streamed["reasoning"] else _output_text(result, "reasoning")
        content = "" if self._streamed["message"] else _output_text(result, "message")
        if thinking:
            self._thinking.separated()
        inner, rest = self._thinking.finish(self._thinking.split(content))
        return thinking + inner, rest


def _variable_text(data: Any, kind: str) -> Sequence[Any]:
    """Return a tuple with the only string of an event that changes from event to event."""
    return (mapping(data).get("content"),)


def may_be_cut(chunk: CompletionChunk, max_tokens: int) -> bool:
    """Return whether a chunk is the last one and reports at least `max_tokens` tokens.

    The route reports no finish reason, so this is the only sign of a cut response.
    """
    raw = chunk.raw or {}
    length = None if chunk.usage is None else chunk.usage.completion_tokens
    return ("result" in raw or "output" in raw) and length is not None and length >= max_tokens


def _output_text(result: Mapping[str, Any], kind: str) -> str:
    items = mappings(result.get("output"))
    return "".join(text(item.get("content")) for item in items if item.get("type") == kind)


def _progress(status: str, data: Mapping[str, Any]) -> CompletionChunk:
    done = str(data.get("type")).endswith(".end")
    return CompletionChunk(
        model=nonempty_text(data.get("model_instance_id")),
        progress=Progress(
            status=status,
            fraction=1.0 if done else number(data.get("progress")),
            raw=data,
        ),
        raw=data,
    )


_EVENTS: Mapping[str, Callable[[EventParser, Mapping[str, Any]], Optional[CompletionChunk]]] = {
    "error": EventParser._error,
    "chat.start": EventParser._start,
    "chat.end": EventParser._parse_end,
    "message.delta": EventParser._message,
    "reasoning.delta": EventParser._reasoning,
    **{f"model_load.{step}": EventParser._loading for step in ("start", "progress", "end")},
    **{f"prompt_processing.{step}": EventParser._reading for step in ("start", "progress", "end")},
}
