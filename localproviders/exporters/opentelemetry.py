"""Export of events as OpenTelemetry spans and metrics, by its conventions for generative AI.

Content is only exported if the user enables it. It follows the JSON schemas
``gen-ai-input-messages.json``, ``gen-ai-output-messages.json``,
``gen-ai-system-instructions.json`` and ``gen-ai-tool-definitions.json`` of release 1.41. Each
attribute with content is JSON as text, because an SDK that does not support structured values would
drop them. The conventions allow such text on spans.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Union
from urllib.parse import urlsplit

from localproviders._record import plain
from localproviders._signatures import exact_keywords
from localproviders._version import __version__
from localproviders.errors import DependencyError
from localproviders.telemetry import CallEvent
from localproviders.types.documents import Document
from localproviders.types.messages import Audio, Image, Message, Tool
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionResponse

_Json = Dict[str, Any]

# Operations whose request has the system prompt in a separate field
# (docs/reference/lmstudio.md, "Native chat"). All other operations send the system prompt as a
# message, and the conventions then require it among the messages.
_WITH_SYSTEM_FIELD = ("stateful_chat", "stateful_stream")

# Finish reasons whose name in the servers' responses differs from their name in the conventions.
_FINISH_REASONS = {"tool_calls": "tool_call"}

# The finish reason that is exported if the server reports none, because the schema requires one.
_NO_REASON = "unknown"


def request_attributes(request: CompletionRequest, operation: str) -> Dict[str, str]:
    """Return the attributes of a request: its messages, instructions and tools, if it has any.

    A plain prompt becomes a message of the user. The field `suffix` of a request becomes a part
    of this message, of type ``suffix``. Images, sound and documents become parts of type
    ``omitted_blob`` with modality, media type and size, because the type ``blob`` of the
    conventions requires the bytes.

    Args:
        request: The request.
        operation: Name of the public method. The method decides whether the system prompt is
            exported among the messages or as instructions.
    """
    apart = ("system",) if operation in _WITH_SYSTEM_FIELD else ()
    messages = _prompt_message(request) or [_message(each) for each in request.messages]
    values = {
        "gen_ai.system_instructions": [
            part for each in messages if each["role"] in apart for part in each["parts"]
        ],
        "gen_ai.input.messages": [each for each in messages if each["role"] not in apart],
        "gen_ai.tool.definitions": [_tool(tool) for tool in request.tools],
    }
    return {name: _text(value) for name, value in values.items() if value}


def response_attributes(response: CompletionResponse) -> Dict[str, str]:
    """Return the attribute of a complete response: one message with its finish reason.

    The finish reason is the one that the server reported, with two exceptions: ``tool_calls``
    becomes ``tool_call``, and a missing reason becomes ``unknown``.
    """
    reason = response.finish_reason or _NO_REASON
    message = {
        **_message(response.message),
        "finish_reason": _FINISH_REASONS.get(reason, reason),
    }
    return {"gen_ai.output.messages": _text([message])}


def _prompt_message(request: CompletionRequest) -> List[_Json]:
    """Return the message for a plain prompt, or an empty list if the request has messages."""
    if request.prompt is None:
        return []
    parts = [_part("text", request.prompt)]
    if request.suffix is not None:
        parts.append(_part("suffix", request.suffix))
    return [{"role": "user", "parts": parts}]


def _message(message: Message) -> _Json:
    return {"role": message.role, "parts": _parts(message)}


def _parts(message: Message) -> List[_Json]:
    """Return the parts of a message, in the order in which a model reads or writes them."""
    parts = [_part("reasoning", message.thinking)] if message.thinking else []
    if message.role == "tool":
        parts.append(_result(message))
    elif message.content:
        parts.append(_part("text", message.content))
    parts += [_omitted("image", image) for image in message.images]
    parts += [_omitted("audio", sound) for sound in message.audio]
    parts += [_omitted("document", document) for document in message.documents]
    return parts + [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]


def _part(kind: str, text: str) -> _Json:
    return {"type": kind, "content": text}


def _result(message: Message) -> _Json:
    result = {"type": "tool_call_response", "response": message.content}
    return {**result, "id": message.tool_call_id} if message.tool_call_id else result


def _omitted(modality: str, media: Union[Image, Audio, Document]) -> _Json:
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
    # UTF-8 cannot encode a lone surrogate, which would make the exporter's batch fail. It is
    # replaced by its backslash escape, which is also its escape in JSON.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, TracerProvider
else:
    Histogram = MeterProvider = Span = TracerProvider = Any  # the packages are optional

# The last release of the conventions that contains the names used here. All of these names have the
# status "development". The conventions have since moved to a separate repository, whose schema is
# not yet in any Python package.
_SCHEMA = "https://opentelemetry.io/schemas/1.41.0"

_OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}

# Upper bounds of the buckets, as the conventions recommend them.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**power for power in range(14))

_PORTS = {"http": 80, "https": 443}


class OpenTelemetryExporter:
    """A listener that makes a span for each call, and metrics for model calls.

    Metrics cover chats, completions, embeddings, rankings and decisions. This exporter uses only
    the API of OpenTelemetry. The script must set up an SDK; without an SDK, nothing is exported.
    The parent of a span is the span that is current when the call begins. A span ends when its call
    ends; the call of a stream ends with the last chunk. The span of a stream that is closed early
    has the error type ``CancelledError`` and no error status.

    Metrics never contain content. Spans contain content only if `capture_content` is True. The span
    of a chat or completion then contains the messages and the tools, even if the call fails or the
    stream is closed. It contains the answer if the answer is complete. For images, sound and
    documents, it contains only the type and the size. Spans of embeddings, rankings and decisions
    have no content. If `capture_content` is True, every user who can read the spans can read the
    prompts.

    Args:
        tracer_provider: The provider of the tracer; None uses the global one.
        meter_provider: The provider of the meter; None uses the global one.
        capture_content: True adds prompts and answers to the spans.

    Attributes:
        wants_content: The value of `capture_content`. If True, the exporter receives events with
            the request and the response.

    Raises:
        DependencyError: ``opentelemetry-api`` is not installed.
    """

    @exact_keywords
    def __init__(
        self,
        tracer_provider: Optional[TracerProvider] = None,
        meter_provider: Optional[MeterProvider] = None,
        *,
        capture_content: bool = False,
    ) -> None:
        try:
            # If the package is not installed, pyright resolves the name to this module.
            from opentelemetry import metrics, trace  # pyright: ignore[reportAttributeAccessIssue]
        except ImportError:
            raise DependencyError(
                "OpenTelemetryExporter needs opentelemetry-api, which is not installed",
                hint='to install the extra "opentelemetry", run: '
                "python -m pip install opentelemetry-api",
            ) from None
        self.wants_content: bool = capture_content is True
        self._trace = trace
        self._tracer = trace.get_tracer("localproviders", __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter("localproviders", __version__, meter_provider, _SCHEMA)

        def histogram(name: str, unit: str, description: str, bounds: Any) -> Histogram:
            return meter.create_histogram(
                f"gen_ai.client.{name}",
                unit,
                description,
                explicit_bucket_boundaries_advisory=bounds,
            )

        self._duration = histogram("operation.duration", "s", "Duration of calls.", _SECONDS)
        self._first = histogram(
            "operation.time_to_first_chunk", "s", "Time to the first token.", _SECONDS
        )
        self._usage = histogram("token.usage", "{token}", "Tokens used.", _TOKENS)
        self._open: Dict[int, Span] = {}

    def __call__(self, event: CallEvent) -> None:
        """Apply an event to the span of its call, and to the metrics."""
        if event.kind == "started":
            self._start(event)
        elif event.kind in ("finished", "failed"):
            self._measure(event)
            self._end(event)
        else:
            self._add_event(event)

    def _start(self, event: CallEvent) -> None:
        attributes = _common_attributes(event)
        name = attributes["gen_ai.operation.name"]
        span = self._open[event.call] = self._tracer.start_span(
            f"{name} {event.model}" if event.model else name,
            kind=self._trace.SpanKind.CLIENT,
            attributes={**attributes, **_stream_attributes(event)},
        )
        # Content is added after the start of the span. So the sampler does not receive the content,
        # and the content is not converted if the span is not recorded.
        if event.request is not None:
            _add_content(span, request_attributes, event.request, event.operation)

    def _add_event(self, event: CallEvent) -> None:
        """Add an event to the span of its call; an event without a call goes to the current span.

        A fallback happens between two calls, so its event has no call. The current span is then the
        span of the calling program.
        """
        span = self._open.get(event.call) or self._trace.get_current_span()
        facts = {
            "attempts": event.attempts if event.kind == "retried" else None,
            "connect_s": event.connect_s,
            "wait_s": event.wait_s,
            "context_length": event.context_length,
            "to_provider": event.to_provider,
        }
        attributes = {f"localproviders.{name}": value for name, value in facts.items()}
        if event.error:
            attributes["error.type"] = event.error
        span.add_event(f"localproviders.{event.kind}", _without_none(attributes))

    def _end(self, event: CallEvent) -> None:
        span = self._open.pop(event.call, None)
        if span is None:
            return
        try:
            self._set_results(span, event)
        finally:
            span.end()

    def _set_results(self, span: Span, event: CallEvent) -> None:
        span.set_attributes(
            _without_none(
                {
                    "error.type": event.error,
                    "gen_ai.response.model": event.served_model,
                    "gen_ai.response.finish_reasons": event.finish_reason and [event.finish_reason],
                    "gen_ai.response.time_to_first_chunk": event.first_token_s,
                    "gen_ai.usage.input_tokens": event.prompt_tokens,
                    "gen_ai.usage.output_tokens": event.completion_tokens,
                }
            )
        )
        if event.error and event.error != "CancelledError":
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
        if event.response is not None:
            _add_content(span, response_attributes, event.response)

    def _measure(self, event: CallEvent) -> None:
        if event.task is None:
            return
        common = _without_none(
            {**_common_attributes(event), "gen_ai.response.model": event.served_model}
        )
        failure = _without_none({"error.type": event.error})
        self._duration.record(event.elapsed_s, {**common, **failure})
        if event.first_token_s is not None:
            self._first.record(event.first_token_s, common)
        counts = {"input": event.prompt_tokens, "output": event.completion_tokens}
        for type_, count in counts.items():
            if count is not None:
                self._usage.record(count, {**common, "gen_ai.token.type": type_})


def _add_content(span: Span, make: Callable[..., Dict[str, str]], *content: Any) -> None:
    """Add attributes with content to a span if the span is recorded.

    Args:
        span: The span.
        make: A function that makes the attributes from `content`.
        content: The arguments for `make`.
    """
    if not span.is_recording():
        return
    try:
        span.set_attributes(make(*content))
    except BaseException as error:
        # The traceback is removed, because its frames contain the prompt or the answer.
        raise error.with_traceback(None) from None


def _common_attributes(event: CallEvent) -> Dict[str, Any]:
    """Return the attributes that each span has from its start, and that each metric has, too."""
    server = urlsplit(event.endpoint)
    socket_path = server.path.partition(":")[0] if server.scheme == "unix" else None
    return _without_none(
        {
            "gen_ai.operation.name": _OPERATIONS.get(event.task or "", event.operation),
            "gen_ai.provider.name": event.provider,
            "gen_ai.request.model": event.model,
            "server.address": socket_path or server.hostname,
            "server.port": server.port or _PORTS.get(server.scheme),
        }
    )


def _stream_attributes(event: CallEvent) -> Dict[str, Any]:
    return {"gen_ai.request.stream": True} if event.task in ("chat", "completion") else {}


def _without_none(attributes: Mapping[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
