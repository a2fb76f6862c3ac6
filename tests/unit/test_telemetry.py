"""Events reach every listener; a failing listener disturbs no call."""

from __future__ import annotations

import logging
import pickle
from typing import Any, Callable, List

import pytest

from localproviders import (
    CompletionRequest,
    CompletionResponse,
    LMStudioProvider,
    Message,
    OllamaProvider,
    ProviderError,
    telemetry,
)
from localproviders._http.deadline import Call
from localproviders.errors import ContextOverflowError, ServerBusyError
from localproviders.telemetry import SILENT, CallEvent, Span, fell_back
from localproviders.testing import FakeLMStudio, FakeOllama, Refusal
from tests.support.asking import assert_shows_no_prompt
from tests.support.locality import PROMPT, held_values

_FACTS = {"operation": "chat", "provider": "p", "endpoint": "http://h:1"}


def test_a_call_tells_its_start_and_its_end() -> None:
    heard: List[CallEvent] = []
    span = Span((heard.append,), model="m", **_FACTS)
    assert [event.kind for event in heard] == ["started"]
    span.finished(prompt_tokens=3, finish_reason="stop")
    assert [event.kind for event in heard] == ["started", "finished"]
    event = heard[1]
    assert (event.operation, event.provider, event.endpoint) == ("chat", "p", "http://h:1")
    assert (event.model, event.prompt_tokens, event.finish_reason) == ("m", 3, "stop")
    assert event.error is None
    assert heard[0].elapsed_s <= event.elapsed_s < 60


def test_a_failed_call_tells_the_class_and_no_words() -> None:
    heard: List[CallEvent] = []
    Span((heard.append,), **_FACTS).failed(ServerBusyError("private words", partial="private"))
    assert (heard[1].kind, heard[1].error) == ("failed", "ServerBusyError")
    assert "private" not in f"{heard[1]!r}{heard[1].to_dict()}"


def test_a_listener_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    heard: List[CallEvent] = []

    def broken(event: CallEvent) -> None:
        raise RuntimeError("listener")

    with caplog.at_level(logging.DEBUG, logger="localproviders"):
        Span((broken, heard.append), **_FACTS).finished()
    assert [event.kind for event in heard] == ["started", "finished"]
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]


def test_a_listener_may_still_be_interrupted() -> None:
    def interrupted(event: CallEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Span((interrupted,), **_FACTS)


def test_no_event_is_made_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(**facts: object) -> None:
        raise AssertionError("an event was made")

    monkeypatch.setattr(telemetry, "CallEvent", never)
    span = Span((), **_FACTS)
    span.finished()
    span.failed(ServerBusyError("m"))


def test_a_call_that_nobody_listens_to_has_no_span_and_no_hooks() -> None:
    provider = OllamaProvider()
    call = Call(provider.limits())
    assert provider._runner.span("chat", "m", call) is SILENT
    assert (call.on_retry, call.on_connected, call.on_first_token) == (None, None, None)


def test_the_package_logs_nothing_unasked() -> None:
    handlers = logging.getLogger("localproviders").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)


def test_an_event_goes_to_a_dictionary_and_back() -> None:
    event = CallEvent(kind="finished", attempts=2, elapsed_s=1.5, **_FACTS)
    assert CallEvent.from_dict(event.to_dict()) == event


def test_an_end_is_told_once() -> None:
    heard: List[CallEvent] = []
    span = Span((heard.append,), **_FACTS)
    span.failed(KeyboardInterrupt("private"))
    span.failed(ServerBusyError("m"))
    span.finished()
    assert [(event.kind, event.error) for event in heard] == [
        ("started", None),
        ("failed", "KeyboardInterrupt"),
    ]


def test_an_overflow_is_told_before_the_end() -> None:
    heard: List[CallEvent] = []
    error = ContextOverflowError("m", prompt_tokens=9, context_length=8)
    Span((heard.append,), **_FACTS).failed(error)
    assert [event.kind for event in heard] == ["started", "overflowed", "failed"]
    assert (heard[1].prompt_tokens, heard[1].context_length) == (9, 8)


def test_all_events_of_a_call_have_its_number() -> None:
    heard: List[CallEvent] = []
    spans = [Span((heard.append,), **_FACTS) for _ in range(2)]
    for span in spans:
        span.finished()
    assert heard[0].call == heard[2].call != heard[1].call == heard[3].call


def test_an_interrupt_in_a_listener_is_heard_by_the_others_and_ends_the_call() -> None:
    first: List[str] = []
    last: List[str] = []

    def interrupted(event: CallEvent) -> None:
        if event.kind == "started":
            raise KeyboardInterrupt

    listeners = (
        lambda event: first.append(event.kind),
        interrupted,
        lambda event: last.append(event.kind),
    )
    with pytest.raises(KeyboardInterrupt):
        Span(listeners, **_FACTS)
    assert first == last == ["started", "failed"]


def test_a_fallback_tells_both_providers_and_no_words() -> None:
    heard: List[CallEvent] = []
    error = ServerBusyError("private words")
    fell_back((heard.append,), error, to="q", model="m", elapsed_s=1.5, **_FACTS)
    (event,) = heard
    assert (event.kind, event.provider, event.to_provider) == ("fell_back", "p", "q")
    assert (event.error, event.model, event.elapsed_s) == ("ServerBusyError", "m", 1.5)
    assert "private" not in repr(event)


def test_a_child_of_a_fork_tells_nothing_of_its_parents_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: List[CallEvent] = []
    span = Span((heard.append,), **_FACTS)
    monkeypatch.setattr(telemetry.os, "getpid", lambda: -1)
    span.finished()
    assert [event.kind for event in heard] == ["started"]


class _Wanting:
    """A listener with this value of `wants_content`."""

    def __init__(self, wants: Any = True) -> None:
        self.wants_content = wants
        self.heard: List[CallEvent] = []

    def __call__(self, event: CallEvent) -> None:
        self.heard.append(event)


_REQUEST = CompletionRequest(messages=[Message.user(PROMPT)])
_RESPONSE = CompletionResponse(text="the answer", model="m", provider="p")


def _answer(*listeners: Callable[[CallEvent], None]) -> None:
    Span(listeners, request=_REQUEST, **_FACTS).answered(_RESPONSE)


def test_content_reaches_only_the_listener_that_wants_it() -> None:
    wanting = _Wanting()
    others: List[CallEvent] = []
    _answer(others.append, wanting, others.append)
    assert [(each.request, each.response) for each in wanting.heard] == [
        (_REQUEST, None),
        (None, _RESPONSE),
    ]
    assert len(others) == 4
    assert all(each.request is each.response is None for each in others)
    assert not {PROMPT, "the answer"} & set(held_values(others))


@pytest.mark.parametrize("wants", [False, None, 1, "yes", object()])
def test_nothing_but_true_asks_for_content(wants: object) -> None:
    listener = _Wanting(wants)
    _answer(listener)
    assert all(each.request is each.response is None for each in listener.heard)


def test_content_leaves_an_event_in_no_other_way() -> None:
    wanting = _Wanting()
    _answer(wanting)
    for event in wanting.heard:
        again = pickle.loads(pickle.dumps(event))
        assert again == event and again.request is again.response is None
        shown = f"{event!r} {event.to_dict()}"
        assert PROMPT not in shown and "the answer" not in shown
        assert "request" not in event.to_dict() and "response" not in event.to_dict()


def test_a_span_keeps_no_request() -> None:
    wanting = _Wanting()
    span = Span((wanting,), request=_REQUEST, **_FACTS)
    wanting.heard.clear()
    assert PROMPT not in set(held_values(span))
    span.failed(ServerBusyError("m"))
    assert [(e.request, e.response) for e in wanting.heard] == [(None, None)]


def test_vectors_and_work_on_models_have_no_content() -> None:
    wanting = _Wanting()
    with FakeOllama() as server:
        with OllamaProvider(server.url, model="llama3.2", listeners=[wanting]) as ollama:
            ollama.embed([PROMPT], model="nomic-embed-text")
            ollama.load("llama3.2")
    assert len(wanting.heard) > 3
    assert PROMPT not in set(held_values(wanting.heard))


def test_an_error_shows_no_prompt_where_somebody_wants_content() -> None:
    kinds: List[str] = []

    class Forgetful:
        wants_content = True

        def __call__(self, event: CallEvent) -> None:
            kinds.append(event.kind + (" asked" if event.request else ""))

    with FakeOllama() as server:
        server.reply_with(Refusal(status="400 Bad Request", body={"error": "no"}))
        with OllamaProvider(server.url, model="llama3.2", listeners=[Forgetful()]) as ollama:
            with pytest.raises(ProviderError) as caught:
                ollama.chat(PROMPT)
    assert (kinds[0], kinds[-1]) == ("started asked", "failed")
    assert_shows_no_prompt(caught.value)


@pytest.mark.parametrize("make", [FakeOllama, FakeLMStudio])
@pytest.mark.parametrize("verb", ["chat", "embed", "load", "pull"])
def test_what_could_not_begin_is_not_told_to_have_begun(make: Any, verb: str) -> None:
    heard: List[CallEvent] = []
    kind = OllamaProvider if make is FakeOllama else LMStudioProvider
    with make(["m"]) as server, kind(server.url, model="m", listeners=[heard.append]) as provider:
        with pytest.raises(ValueError, match="total_s is -1"):
            getattr(provider, verb)("m", timeout=-1)
    assert heard == []
