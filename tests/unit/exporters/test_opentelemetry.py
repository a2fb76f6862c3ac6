"""Spans and metrics follow the semantic conventions of OpenTelemetry."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Dict, List, Tuple

import pytest

from localproviders import (
    CompletionRequest,
    DependencyError,
    LMStudioProvider,
    Message,
    OllamaProvider,
    ProviderError,
    ToolCall,
)
from localproviders.errors import CancelledError, ContextOverflowError, ServerBusyError
from localproviders.exporters import LogListener, OpenTelemetryExporter, opentelemetry
from localproviders.telemetry import Span, fell_back
from localproviders.testing import FakeLMStudio, FakeOllama, Refusal
from tests.support.asking import assert_shows_no_prompt
from tests.support.locality import PROMPT
from tests.unit.exporters.support import FACTS, emit_call

_WHY = "needs opentelemetry-sdk and its package of conventions"
trace = pytest.importorskip("opentelemetry.sdk.trace", reason=_WHY)
metrics = pytest.importorskip("opentelemetry.sdk.metrics", reason=_WHY)
spans = pytest.importorskip("opentelemetry.sdk.trace.export", reason=_WHY)
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter", reason=_WHY)
readers = pytest.importorskip("opentelemetry.sdk.metrics.export", reason=_WHY)
names = pytest.importorskip(
    "opentelemetry.semconv._incubating.attributes.gen_ai_attributes", reason=_WHY
)
measures = pytest.importorskip(
    "opentelemetry.semconv._incubating.metrics.gen_ai_metrics", reason=_WHY
)


class _Kept:
    """An exporter, with the spans and metrics that the SDK received from it."""

    def __init__(self, **options: Any) -> None:
        self._spans = memory.InMemorySpanExporter()
        self._reader = readers.InMemoryMetricReader()
        self.tracers = trace.TracerProvider()
        self.tracers.add_span_processor(spans.SimpleSpanProcessor(self._spans))
        self._meters = metrics.MeterProvider([self._reader])
        self.exporter = OpenTelemetryExporter(self.tracers, self._meters, **options)

    @property
    def spans(self) -> List[Any]:
        return list(self._spans.get_finished_spans())

    @property
    def span(self) -> Any:
        (span,) = self.spans
        return span

    def points(self) -> Dict[str, List[Any]]:
        """Return the data points of each metric by its name."""
        return {name: list(metric.data.data_points) for name, metric in self.metrics().items()}

    def metrics(self) -> Dict[str, Any]:
        data = self._reader.get_metrics_data()
        scopes = [s for r in data.resource_metrics for s in r.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}


@pytest.fixture
def kept() -> _Kept:
    return _Kept()


def test_a_chat_is_a_span_with_the_attributes_of_the_conventions(kept: _Kept) -> None:
    emit_call(kept.exporter)
    span = kept.span
    assert (span.name, span.kind.name, span.status.status_code.name) == (
        "chat m",
        "CLIENT",
        "UNSET",
    )
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "m:latest",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "server.address": "127.0.0.1",
        "server.port": 11434,
    }


@pytest.mark.parametrize("path", ["", ":/v1"])
def test_the_address_of_a_unix_socket_is_its_path(kept: _Kept, path: str) -> None:
    emit_call(kept.exporter, endpoint=f"unix:///run/a b.sock{path}")

    assert kept.span.attributes["server.address"] == "/run/a b.sock"
    assert "server.port" not in kept.span.attributes


@pytest.mark.parametrize(
    ("task", "operation", "name"),
    [
        ("chat", "stream", "chat"),
        ("completion", "stream", "text_completion"),
        ("embedding", "embed", "embeddings"),
        (None, "load", "load"),
    ],
)
def test_operations_have_the_names_of_the_conventions(
    kept: _Kept, task: str, operation: str, name: str
) -> None:
    emit_call(kept.exporter, task=task, operation=operation)
    assert kept.span.attributes["gen_ai.operation.name"] == name
    if task is None:
        assert kept.points() == {}  # loading or pulling a model is not a generative operation
    else:
        assert name in {value.value for value in names.GenAiOperationNameValues}


def test_a_span_lasts_as_long_as_its_call_and_lies_in_the_current_one(kept: _Kept) -> None:
    tracer = kept.tracers.get_tracer("the script")
    with FakeOllama() as server:
        with OllamaProvider(server.url, model="llama3.2", listeners=[kept.exporter]) as ollama:
            before = time.time_ns()
            with tracer.start_as_current_span("the script's own"):
                with ollama.stream("Hi") as stream:
                    response = stream.result()
            after = time.time_ns()

    inner, outer = kept.spans
    assert inner.parent.span_id == outer.context.span_id
    assert before <= inner.start_time <= inner.end_time <= after
    assert (inner.end_time - inner.start_time) / 1e9 == pytest.approx(
        response.timings.total_s, abs=2
    )
    assert [event.name for event in inner.events] == [
        "localproviders.connected",
        "localproviders.first_token",
    ]


def test_a_failure_has_its_type_and_no_words(kept: _Kept) -> None:
    emit_call(kept.exporter, error=ContextOverflowError("private words", context_length=8))
    span = kept.span
    assert span.status.status_code.name == "ERROR"
    assert span.attributes["error.type"] == "ContextOverflowError"
    (duration,) = kept.points()["gen_ai.client.operation.duration"]
    assert duration.attributes["error.type"] == "ContextOverflowError"
    overflow = span.events[-1]
    assert overflow.name == "localproviders.overflowed"
    assert dict(overflow.attributes) == {"localproviders.context_length": 8}
    assert "private" not in span.to_json()


def test_a_stream_that_was_left_has_a_type_and_no_status(kept: _Kept) -> None:
    emit_call(kept.exporter, error=CancelledError("m"))
    assert kept.span.attributes["error.type"] == "CancelledError"
    assert kept.span.status.status_code.name == "UNSET"


def test_a_fallback_is_told_on_the_span_of_the_script(kept: _Kept) -> None:
    with kept.tracers.get_tracer("the script").start_as_current_span("the script's own"):
        fell_back((kept.exporter,), ServerBusyError("m"), to="lmstudio", **FACTS)
    (event,) = kept.span.events
    assert event.name == "localproviders.fell_back"
    assert event.attributes["localproviders.to_provider"] == "lmstudio"
    fell_back((kept.exporter,), ServerBusyError("m"), to="lmstudio", **FACTS)  # no span: no trouble


def test_metrics_have_names_units_and_numbers_of_the_conventions(kept: _Kept) -> None:
    emit_call(kept.exporter)
    found = kept.metrics()
    units = {name: metric.unit for name, metric in found.items()}
    assert units == {
        "gen_ai.client.operation.duration": "s",
        "gen_ai.client.operation.time_to_first_chunk": "s",
        "gen_ai.client.token.usage": "{token}",
    }
    points = kept.points()
    usage = {p.attributes["gen_ai.token.type"]: p.sum for p in points["gen_ai.client.token.usage"]}
    assert usage == {"input": 7, "output": 3}
    (first,) = points["gen_ai.client.operation.time_to_first_chunk"]
    assert (first.sum, first.explicit_bounds[-1]) == (0.25, 81.92)
    assert points["gen_ai.client.token.usage"][0].explicit_bounds[-1] == 67108864


def _known(module: Any) -> Tuple[str, ...]:
    return tuple(value for name, value in vars(module).items() if name.isupper())


def test_every_name_is_one_of_the_conventions(kept: _Kept) -> None:
    if not hasattr(names, "GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK"):
        pytest.skip("the conventions that this Python gets are older than these names")
    server = pytest.importorskip("opentelemetry.semconv.attributes.server_attributes")
    errors = pytest.importorskip("opentelemetry.semconv.attributes.error_attributes")
    known = {name for module in (names, server, errors) for name in _known(module)}
    emit_call(kept.exporter)
    emit_call(kept.exporter, error=ServerBusyError("m"))
    used = {name for span in kept.spans for name in span.attributes}
    points = kept.points()
    used |= {name for each in points.values() for p in each for name in p.attributes}
    assert used | _CONTENT <= known
    assert set(points) <= set(_known(measures))


def test_calls_leave_nothing_behind_in_the_exporter(kept: _Kept) -> None:
    for _ in range(3):
        emit_call(kept.exporter)
        emit_call(kept.exporter, error=KeyboardInterrupt())
    assert len(kept.spans) == 6
    assert kept.exporter._open == {}


def test_without_an_sdk_nothing_comes_of_it() -> None:
    emit_call(OpenTelemetryExporter())


def test_without_the_api_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(DependencyError) as caught:
        OpenTelemetryExporter()
    assert 'the extra "opentelemetry"' in str(caught.value.hint)


def test_no_content_reaches_a_span_a_metric_or_the_log(
    kept: _Kept, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _ask([kept.exporter, LogListener()])
    told = kept.span.to_json() + str(kept.points()) + str([vars(r) for r in caplog.records])
    assert "llama3.2" in told
    assert "the question" not in told and "the answer" not in told
    assert not [name for name in kept.span.attributes if name in _CONTENT]


_CONTENT = {
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
}


def _ask(listeners: List[Any]) -> None:
    with FakeOllama() as server:
        server.usual = "the answer"
        with OllamaProvider(server.url, model="llama3.2", listeners=listeners) as ollama:
            assert ollama.chat("the question").text == "the answer"


@pytest.fixture
def telling() -> _Kept:
    return _Kept(capture_content=True)


def _said(kept: _Kept) -> Dict[str, Any]:
    """Return the content on the only span."""
    attributes = kept.span.attributes
    return {name: json.loads(attributes[name]) for name in _CONTENT if name in attributes}


_QUESTION = [{"role": "user", "parts": [{"type": "text", "content": "the question"}]}]


def test_a_chat_has_question_and_answer_where_asked_for(telling: _Kept) -> None:
    _ask([telling.exporter])
    assert _said(telling) == {
        "gen_ai.input.messages": _QUESTION,
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": "the answer"}],
                "finish_reason": "stop",
            }
        ],
    }


def test_content_stays_out_of_metrics_the_log_and_other_listeners(
    telling: _Kept, kept: _Kept, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _ask([telling.exporter, kept.exporter, LogListener()])
    told = kept.span.to_json() + str(telling.points()) + str([vars(r) for r in caplog.records])
    assert "the question" not in told and "the answer" not in told


def test_a_failed_call_and_a_stream_that_was_left_have_the_question(telling: _Kept) -> None:
    with FakeOllama() as server:
        server.reply_with(
            Refusal(status="400 Bad Request", body={"error": "no"}), "one two three four"
        )
        with OllamaProvider(server.url, model="llama3.2", listeners=[telling.exporter]) as ollama:
            with pytest.raises(ProviderError) as caught:
                ollama.chat(PROMPT)
            with ollama.stream(PROMPT) as stream:
                next(stream)
    assert [span.attributes["error.type"] for span in telling.spans] == [
        type(caught.value).__name__,
        "CancelledError",
    ]
    for span in telling.spans:
        assert PROMPT in span.attributes["gen_ai.input.messages"]
        assert "gen_ai.output.messages" not in span.attributes
    assert_shows_no_prompt(caught.value)
    assert telling.exporter._open == {}


def test_a_system_text_that_went_apart_is_told_apart(telling: _Kept) -> None:
    with FakeLMStudio() as server:
        name = server.models[0].name
        with LMStudioProvider(server.url, model=name, listeners=[telling.exporter]) as studio:
            studio.stateful_chat("the question", system="Be brief.")
    said = _said(telling)
    assert said["gen_ai.system_instructions"] == [{"type": "text", "content": "Be brief."}]
    assert said["gen_ai.input.messages"] == _QUESTION


def test_vectors_have_no_content(telling: _Kept) -> None:
    with FakeOllama() as server:
        with OllamaProvider(server.url, listeners=[telling.exporter]) as ollama:
            ollama.embed([PROMPT], model="nomic-embed-text")
    assert _said(telling) == {}
    assert PROMPT not in telling.span.to_json()


def test_a_span_that_nobody_records_gets_no_content(monkeypatch: pytest.MonkeyPatch) -> None:
    written: List[Any] = []
    monkeypatch.setattr(
        opentelemetry, "request_attributes", lambda *given: written.append(given) or {}
    )
    exporter = OpenTelemetryExporter(capture_content=True)
    Span((exporter,), request=_asked(), **FACTS).finished()
    assert written == []


def test_a_span_ends_where_the_answer_cannot_be_written(
    telling: _Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(opentelemetry, "response_attributes")
    _ask([telling.exporter])
    assert list(_said(telling)) == ["gen_ai.input.messages"]


def test_content_that_cannot_be_written_costs_the_span_nothing_else(
    telling: _Kept, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="localproviders")
    deep: List[Any] = []
    for _ in range(400):
        deep = [deep]
    called = ToolCall(id="1", name="t", arguments={PROMPT: deep})
    emit_call(telling.exporter, request=_asked(Message.assistant(PROMPT, [called])))
    assert telling.span.attributes["gen_ai.response.model"] == "m:latest"
    assert _said(telling) == {}
    (record,) = caplog.records
    assert record.exc_info is not None and record.exc_info[1] is not None
    assert_shows_no_prompt(record.exc_info[1])


def test_an_interrupt_amid_the_content_shows_no_prompt(
    telling: _Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(opentelemetry.json, "dumps", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        Span((telling.exporter,), request=_asked(), **FACTS)
    assert_shows_no_prompt(caught.value)
    monkeypatch.undo()
    assert telling.span.attributes["error.type"] == "KeyboardInterrupt"


def _asked(*messages: Message) -> CompletionRequest:
    return CompletionRequest(messages=messages or [Message.user(PROMPT)])
