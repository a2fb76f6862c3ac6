"""LM Studio's own chat, which keeps the conversation: there and back (lmstudio-api §2.10, §3.4)."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from localproviders._http.framing import parse_json
from localproviders._http.rejection import Rule, from_words, read_words
from localproviders._template import Template
from localproviders._values import count, mapping, mappings, number, text, word
from localproviders._wire import unexpected
from localproviders.errors import CapabilityError, ConfigurationError, ServerError
from localproviders.types.answer import CompletionChunk, ServerTimings, Usage
from localproviders.types.message import Message
from localproviders.types.model import ModelCapabilities
from localproviders.types.progress import Progress
from localproviders.types.request import CompletionRequest

CHAT_PATH = "/api/v1/chat"

# --- there ------------------------------------------------------------------------------------

# Ours, theirs. The server refuses a request with any field that it does not know.
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
_SHARES = ("temperature", "top_p", "min_p")
_LEVELS = ("off", "low", "medium", "high", "on")


def check_fields(request: CompletionRequest) -> None:
    """Refuse what this route is documented not to take.

    Raises:
        ConfigurationError: A share is above one, or a level of reasoning unknown.
    """
    for name in _SHARES:
        value = getattr(request, name)
        if value is not None and value > 1:
            raise ConfigurationError(
                f"{name} is {value!r}, and LM Studio's own chat takes 0 to 1",
                hint="use chat(), whose route takes more",
            )
    if isinstance(request.thinking, str) and request.thinking not in _LEVELS:
        raise ConfigurationError(
            f"thinking is {request.thinking!r}", hint=f"choose one of {', '.join(_LEVELS)}"
        )


def reasoning(wanted: Any, known: ModelCapabilities) -> str:
    """Give the server's word for what was wanted.

    Args:
        wanted: True, False or a level.
        known: What the model's entry tells; it may name the words that it takes (§2.11).

    Raises:
        CapabilityError: The model does not take it.
    """
    allowed, usual = known.thinking_levels, known.thinking_default
    level = {True: "on", False: "off"}.get(wanted, wanted)
    if not allowed or level in allowed:
        return str(level)
    if wanted is True and usual in allowed and usual != "off":
        return str(usual)
    evidence = f"reasoning takes {', '.join(allowed)}"
    raise CapabilityError(
        f"the model does not take thinking={wanted!r}: its {evidence}", evidence=evidence
    )


def chat_payload(
    request: CompletionRequest, model: str, *, previous_response_id: Optional[str], store: bool
) -> Dict[str, Any]:
    """Give the JSON of one turn: its system message, and the others as input."""
    said = [message for message in request.messages if message.role != "system"]
    system = [message.content for message in request.messages if message.role == "system"]
    payload: Dict[str, Any] = {"model": model, "input": _input(said), "stream": True}
    payload.update({theirs: getattr(request, ours) for ours, theirs in _FIELDS.items()})
    if system:
        payload["system_prompt"] = "\n".join(system)
    payload["previous_response_id"] = previous_response_id
    if not store:
        payload["store"] = False
    return {name: value for name, value in payload.items() if value is not None}


def _input(messages: Sequence[Message]) -> Any:
    if len(messages) == 1 and not messages[0].images:
        return messages[0].content
    items: List[Dict[str, Any]] = []
    for message in messages:
        if message.content:
            items.append({"type": "text", "content": message.content})
        items += [{"type": "image", "data_url": image.data_uri} for image in message.images]
    return items


# --- back -------------------------------------------------------------------------------------

_LOADING, _READING = "loading the model", "reading the prompt"


class EventParser:
    """The events of a chat to chunks. The JSON's own ``type`` says what an event is.

    What is not known is passed over. ``chat.end`` is the last event, and nothing else is:
    a stream without it was cut.
    """

    def __init__(self, max_json_depth: int, rules: Sequence[Rule]) -> None:
        self._max_depth = max_json_depth
        self._rules = rules
        self._spoke = {"message": False, "reasoning": False}
        self._load_s: Optional[float] = None
        self._template = Template(_moving, max_json_depth)
        self.quick = self._template.read
        self.ended = False
        self.whole = False
        self.held = ""  # reasoning comes apart from the text, so nothing waits

    def parse(self, record: str) -> Optional[CompletionChunk]:
        """Read one event.

        Raises:
            ProviderError: It is an error, or no event.
        """
        if record.strip() == "[DONE]":
            return None  # a proxy's habit (§3.1); it ends nothing
        data = parse_json(record, self._max_depth)
        said = read_words(data)
        if said is not None:
            raise from_words(said, self._rules)
        if not isinstance(data, dict):
            unexpected("JSON object")
        if self.whole or (word(data.get("type")) is None and "output" in data):
            return self._end(data, data)
        kind = word(data.get("type")) or unexpected("'type' of an event")
        chunk = self._event(kind, data)
        if kind in ("message.delta", "reasoning.delta") and chunk is not None:
            self._template.make(record, chunk)
        return chunk

    def _event(self, kind: str, data: Mapping[str, Any]) -> Optional[CompletionChunk]:
        found = _EVENTS.get(kind)
        if found is not None:
            return found(self, data)
        # The server's own tools, which this package does not ask for, stay visible.
        return CompletionChunk(raw=data) if kind.startswith("tool_call.") else None

    def _error(self, data: Mapping[str, Any]) -> CompletionChunk:
        raise ServerError("the server reports an error and gives no reason")

    def _start(self, data: Mapping[str, Any]) -> CompletionChunk:
        return CompletionChunk(model=word(data.get("model_instance_id")), raw=data)

    def _message(self, data: Mapping[str, Any]) -> CompletionChunk:
        self._spoke["message"] = True
        return CompletionChunk(text=text(data.get("content")), raw=data)

    def _reasoning(self, data: Mapping[str, Any]) -> CompletionChunk:
        self._spoke["reasoning"] = True
        return CompletionChunk(thinking=text(data.get("content")), raw=data)

    def _loading(self, data: Mapping[str, Any]) -> CompletionChunk:
        self._load_s = number(data.get("load_time_seconds"))
        return _progress(_LOADING, data)

    def _reading(self, data: Mapping[str, Any]) -> CompletionChunk:
        return _progress(_READING, data)

    def _last(self, data: Mapping[str, Any]) -> CompletionChunk:
        result = data.get("result")
        if not isinstance(result, dict):
            unexpected("'result' at its end")
        return self._end(result, data)

    def _end(self, result: Mapping[str, Any], data: Mapping[str, Any]) -> CompletionChunk:
        """Read the whole answer; what has been said piece by piece is not said again."""
        if not isinstance(result.get("output"), list):
            unexpected("'output' list")
        self.ended = True
        stats = mapping(result.get("stats"))
        load_s = number(stats.get("model_load_time_seconds"))
        return CompletionChunk(
            text="" if self._spoke["message"] else _said(result, "message"),
            thinking="" if self._spoke["reasoning"] else _said(result, "reasoning"),
            model=word(result.get("model_instance_id")),
            usage=Usage(
                prompt_tokens=count(stats.get("input_tokens")),
                completion_tokens=count(stats.get("total_output_tokens")),
                thinking_tokens=count(stats.get("reasoning_output_tokens")),
            ),
            server_timings=ServerTimings(load_s=self._load_s if load_s is None else load_s),
            response_id=word(result.get("response_id")),
            raw=data,
        )


def _moving(data: Any, kind: str) -> Sequence[Any]:
    """Give the string in which a record differs from the one before."""
    return (mapping(data).get("content"),)


def may_be_cut(chunk: CompletionChunk, most: int) -> bool:
    """Whether an answer of this route ends where its limit stands; it gives no reason (§2.10)."""
    raw = chunk.raw or {}
    length = None if chunk.usage is None else chunk.usage.completion_tokens
    return ("result" in raw or "output" in raw) and length is not None and length >= most


def _said(result: Mapping[str, Any], kind: str) -> str:
    items = mappings(result.get("output"))
    return "".join(text(item.get("content")) for item in items if item.get("type") == kind)


def _progress(status: str, data: Mapping[str, Any]) -> CompletionChunk:
    done = str(data.get("type")).endswith(".end")
    return CompletionChunk(
        model=word(data.get("model_instance_id")),
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
    "chat.end": EventParser._last,
    "message.delta": EventParser._message,
    "reasoning.delta": EventParser._reasoning,
    **{f"model_load.{step}": EventParser._loading for step in ("start", "progress", "end")},
    **{f"prompt_processing.{step}": EventParser._reading for step in ("start", "progress", "end")},
}
