"""What listeners hear of real calls: every call that starts ends, whatever ends it."""

from __future__ import annotations

import gc
import threading
from typing import Any, Callable, Dict, List

import pytest

from localproviders import (
    CallEvent,
    CancelledError,
    CompletionRequest,
    ContextOverflowError,
    LMStudioProvider,
    ModelProvider,
    OllamaProvider,
    ProviderError,
    Stream,
)
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama, Reply

_LONG = Reply(text="word " * 500, pause_s=0.02)


class _Heard(List[CallEvent]):
    """The events, and whether each call has one end."""

    def __call__(self, event: CallEvent) -> None:
        self.append(event)

    @property
    def kinds(self) -> List[str]:
        return [event.kind for event in self]

    def ends_once(self) -> str:
        """Give how the last call ended; each call is told one end, and nothing behind it."""
        calls: Dict[int, List[str]] = {}
        for event in self:
            calls.setdefault(event.call, []).append(event.kind)
        for kinds in calls.values():
            assert kinds[0] == "started"
            assert [kind in ("finished", "failed") for kind in kinds].index(True) == len(kinds) - 1
        return self[-1].error or self[-1].kind


def test_the_events_of_an_answer() -> None:
    heard = _Heard()
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[heard]) as ollama:
        response = ollama.chat("Hi", model="llama3.2")
        ollama.chat("Hi", model="llama3.2")

    assert heard.kinds[:4] == ["started", "connected", "first_token", "finished"]
    assert heard.ends_once() == "finished"
    _, connected, first, finished = heard[:4]
    assert connected.connect_s is not None and connected.connect_s <= connected.elapsed_s
    assert first.first_token_s == finished.first_token_s == response.timings.first_token_s
    assert finished.served_model == response.model
    assert {event.task for event in heard} == {"chat"}
    assert heard[5].kind == "connected" and heard[5].connect_s is None  # the connection was kept


def test_a_plain_prompt_and_vectors_say_what_they_are() -> None:
    heard = _Heard()
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[heard]) as ollama:
        ollama.complete(CompletionRequest(prompt="Once", model="llama3.2"))
        ollama.embed(["one"], model="nomic-embed-text")
        ollama.load("llama3.2")

    tasks = {event.operation: event.task for event in heard}
    assert tasks == {"stream": "completion", "embed": "embedding", "load": None}


def test_a_listener_may_call_the_same_provider() -> None:
    asked: List[str] = []

    def listen(event: CallEvent) -> None:
        if not asked:
            asked.append("yes")
            ollama.list_models()

    with FakeOllama() as server:
        for kind in ("started", "connected", "first_token", "finished"):
            del asked[:]
            only: Callable[[CallEvent], None] = lambda e, k=kind: listen(e) if e.kind == k else None  # type: ignore[misc]  # noqa: E731
            with OllamaProvider(server.url, listeners=[only]) as ollama:
                assert ollama.chat("Hi", model="llama3.2").text
            assert asked == ["yes"]


def test_an_overflow_is_told_whether_it_is_allowed_or_not() -> None:
    heard = _Heard()
    models = [FakeModel(name="m", context_length=2048)]
    reply = Reply(text="word " * 3000)
    with FakeOllama(models) as server:
        server.usual = reply
        with OllamaProvider(server.url, model="m", listeners=[heard]) as ollama:
            with pytest.raises(ContextOverflowError):
                ollama.chat("Hi")
            assert heard.kinds[-2:] == ["overflowed", "failed"]
            assert ollama.chat("Hi", overflow="allow").warnings
            assert heard.kinds[-2:] == ["overflowed", "finished"]

    assert {e.context_length for e in heard if e.kind == "overflowed"} == {2048}
    heard.ends_once()


# --- ends ---------------------------------------------------------------------------------


def _left(stream: Stream) -> None:
    with stream:
        next(stream)


def _forgotten(stream: Stream) -> None:
    next(stream)


def _closed_by_another(stream: Stream) -> None:
    next(stream)
    thread = threading.Thread(target=stream.close)
    thread.start()
    with pytest.raises(CancelledError):
        stream.result()
    thread.join()


@pytest.mark.parametrize("leave", [_left, _forgotten, _closed_by_another, lambda _: None])
def test_a_stream_that_is_left_ends_as_cancelled(leave: Callable[[Stream], None]) -> None:
    heard = _Heard()
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[heard]) as ollama:
        server.usual = _LONG
        leave(ollama.stream("Hi", model="llama3.2"))
        gc.collect()

    assert heard.ends_once() == "CancelledError"


def test_a_stream_that_was_read_is_not_left() -> None:
    heard = _Heard()
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[heard]) as ollama:
        with ollama.stream("Hi", model="llama3.2") as stream:
            stream.result()

    assert heard.ends_once() == "finished"


class _Pressed(BaseException):
    """Stands for Ctrl+C, which pytest takes for its own."""


def _raise(*_: Any, **__: Any) -> None:
    raise _Pressed


def _chat(provider: ModelProvider, server: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("localproviders._http.answer.Answer.read", _raise)
    provider.chat("Hi")


def _send(provider: ModelProvider, server: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("localproviders._http.session.Session.send", _raise)
    provider.chat("Hi")


def _embed(provider: ModelProvider, server: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("localproviders._http.session.Session.send", _raise)
    provider.embed(["Hi"])


def _load(provider: ModelProvider, server: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("localproviders._http.session.Session.send", _raise)
    provider.load("m")


def _pull(provider: ModelProvider, server: Any, patch: pytest.MonkeyPatch) -> None:
    provider.pull("qwen/qwen3-8b", on_progress=_raise)


@pytest.mark.parametrize("verb", [_chat, _send, _embed, _load, _pull])
@pytest.mark.parametrize("kind", ["ollama", "lmstudio"])
def test_whatever_is_raised_ends_the_call(
    kind: str, verb: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = _Heard()
    fake, make = {
        "ollama": (FakeOllama, OllamaProvider),
        "lmstudio": (FakeLMStudio, LMStudioProvider),
    }[kind]
    with fake([FakeModel(name="m")]) as server:  # type: ignore[operator]  # both take models
        with make(server.url, model="m", listeners=[heard]) as provider:  # type: ignore[operator]  # as above
            with pytest.raises(_Pressed):
                verb(provider, server, monkeypatch)

    assert heard.ends_once() == "_Pressed"


def test_every_call_form_ends_where_nobody_is_there() -> None:
    heard = _Heard()
    with OllamaProvider("http://127.0.0.1:9", model="m", listeners=[heard]) as ollama:
        verbs: List[Callable[[], object]] = [
            lambda: ollama.chat("Hi"),
            lambda: ollama.stream("Hi"),
            lambda: ollama.embed(["Hi"]),
            lambda: ollama.load("m"),
            lambda: ollama.unload("m"),
            lambda: ollama.pull("m"),
            lambda: ollama.show("m"),
        ]
        for verb in verbs:
            with pytest.raises(ProviderError):
                verb()
            assert heard.ends_once() == "UnreachableError"
    assert "connected" not in heard.kinds
    assert {event.attempts for event in heard if event.kind == "failed"} == {3}
