"""Events as OpenTelemetry's spans and metrics, in its conventions for generative AI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional
from urllib.parse import urlsplit

from localproviders._version import __version__
from localproviders.errors import DependencyError
from localproviders.exporters import content
from localproviders.telemetry import CallEvent

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

# The last release of the conventions that has these names; all of them are in development. They
# moved to a repository of their own, whose schema no package for Python knows yet.
_SCHEMA = "https://opentelemetry.io/schemas/1.41.0"

_OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}

# The conventions' own boundaries.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**power for power in range(14))

_PORTS = {"http": 80, "https": 443}


class OpenTelemetryExporter:
    """Makes a span of each call, and metrics of chats, completions and embeddings.

    Only OpenTelemetry's API is used: without an SDK, set up by the script, nothing comes of
    it. A span's parent is the span that is current where the call begins. It lasts until the
    answer's last record; a stream that is left early has the error type ``CancelledError``
    and no status.

    Content is in no span unless `capture_content` is True, and in no metric ever. With it, the
    span of a chat or completion has the conversation and the tools from its start, so also
    where the call fails or the stream is left, and the answer if there is a whole one. Of
    pictures and sound it has type and size. Vectors have no content. Whoever reads the spans
    reads the prompts.

    Args:
        tracer_provider: Makes the spans; None for the global one.
        meter_provider: Makes the metrics; None for the global one.
        capture_content: True puts prompts and answers into the spans.

    Attributes:
        wants_content: What `capture_content` said: whether events come with content.

    Raises:
        DependencyError: ``opentelemetry-api`` is not installed.
    """

    def __init__(
        self,
        tracer_provider: Optional[TracerProvider] = None,
        meter_provider: Optional[MeterProvider] = None,
        *,
        capture_content: bool = False,
    ) -> None:
        try:
            # Where the package is absent, pyright takes this very module for it.
            from opentelemetry import metrics, trace  # pyright: ignore[reportAttributeAccessIssue]
        except ImportError:
            raise DependencyError(
                "OpenTelemetryExporter needs opentelemetry-api, which is not installed",
                hint='install the extra "opentelemetry": python -m pip install opentelemetry-api',
            ) from None
        self.wants_content = capture_content is True
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

        self._duration = histogram("operation.duration", "s", "Length of calls.", _SECONDS)
        self._first = histogram(
            "operation.time_to_first_chunk", "s", "Time to the first token.", _SECONDS
        )
        self._usage = histogram("token.usage", "{token}", "Tokens used.", _TOKENS)
        self._open: Dict[int, Span] = {}

    def __call__(self, event: CallEvent) -> None:
        """Take an event to the span of its call, and to the metrics."""
        if event.kind == "started":
            self._start(event)
        elif event.kind in ("finished", "failed"):
            self._measure(event)
            self._end(event)
        else:
            self._note(event)

    def _start(self, event: CallEvent) -> None:
        attributes = _identity(event)
        name = attributes["gen_ai.operation.name"]
        span = self._open[event.call] = self._tracer.start_span(
            f"{name} {event.model}" if event.model else name,
            kind=self._trace.SpanKind.CLIENT,
            attributes={**attributes, **_streaming(event)},
        )
        # Behind the start: a sampler decides without content, and perhaps against the span.
        if event.request is not None:
            _fill(span, content.asked, event.request, event.operation)

    def _note(self, event: CallEvent) -> None:
        """Put an event on the span of its call, or of whoever made two calls."""
        span = self._open.get(event.call) or self._trace.get_current_span()
        facts = {
            "attempts": event.attempts if event.kind == "retried" else None,
            "connect_s": event.connect_s,
            "wait_s": event.wait_s,
            "context_length": event.context_length,
            "to_provider": event.to_provider,
        }
        told = {f"localproviders.{name}": value for name, value in facts.items()}
        if event.error:
            told["error.type"] = event.error
        span.add_event(f"localproviders.{event.kind}", _known(told))

    def _end(self, event: CallEvent) -> None:
        span = self._open.pop(event.call, None)
        if span is None:
            return
        try:
            self._conclude(span, event)
        finally:
            span.end()

    def _conclude(self, span: Span, event: CallEvent) -> None:
        span.set_attributes(
            _known(
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
            _fill(span, content.answered, event.response)

    def _measure(self, event: CallEvent) -> None:
        if event.task is None:
            return
        common = _known({**_identity(event), "gen_ai.response.model": event.served_model})
        failure = _known({"error.type": event.error})
        self._duration.record(event.elapsed_s, {**common, **failure})
        if event.first_token_s is not None:
            self._first.record(event.first_token_s, common)
        counts = {"input": event.prompt_tokens, "output": event.completion_tokens}
        for type_, count in counts.items():
            if count is not None:
                self._usage.record(count, {**common, "gen_ai.token.type": type_})


def _fill(span: Span, make: Callable[..., Dict[str, str]], *content: Any) -> None:
    """Put content on a span, if anybody will see it."""
    if not span.is_recording():
        return
    try:
        span.set_attributes(make(*content))
    except BaseException as error:
        # The frames that it came through hold what was said.
        raise error.with_traceback(None) from None


def _identity(event: CallEvent) -> Dict[str, Any]:
    """Give what a span has from its start and every metric has, too."""
    server = urlsplit(event.endpoint)
    return _known(
        {
            "gen_ai.operation.name": _OPERATIONS.get(event.task or "", event.operation),
            "gen_ai.provider.name": event.provider,
            "gen_ai.request.model": event.model,
            "server.address": server.hostname,
            "server.port": server.port or _PORTS.get(server.scheme),
        }
    )


def _streaming(event: CallEvent) -> Dict[str, Any]:
    return {"gen_ai.request.stream": True} if event.task in ("chat", "completion") else {}


def _known(attributes: Mapping[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
