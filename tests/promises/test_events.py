"""Events of calls: each call has one start and one end, after success, error or interrupt."""

from __future__ import annotations

import gc
import threading
from functools import partial
from typing import Any, Callable, Dict, List

import pytest

from localproviders import (
    CallEvent,
    CancelledError,
    CompletionRequest,
    ContextOverflowError,
    LlamaCppProvider,
    LMStudioProvider,
    LocalProvider,
    ModelNotFoundError,
    ModelProvider,
    OllamaProvider,
    ProviderError,
    RetryPolicy,
    Stream,
)
from localproviders.testing import FakeLlamaCpp, FakeLMStudio, FakeModel, FakeOllama, Reply
from localproviders.types import ToolCall

_LONG = Reply(text="word " * 500, pause_s=0.02)


class _Events(List[CallEvent]):
    """A listener that collects the events, and checks that each call has one end."""

    def __call__(self, event: CallEvent) -> None:
        self.append(event)

    @property
    def kinds(self) -> List[str]:
        return [event.kind for event in self]

    def last_end(self) -> str:
        """Return the end of the last call, and check that each call has one end as its last event."""
        calls: Dict[int, List[str]] = {}
        for event in self:
            calls.setdefault(event.call, []).append(event.kind)
        for kinds in calls.values():
            assert kinds[0] == "started"
            assert [kind in ("finished", "failed") for kind in kinds].index(True) == len(kinds) - 1
        return self[-1].error or self[-1].kind


def test_the_events_of_a_successful_call() -> None:
    events = _Events()
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[events]) as ollama:
        response = ollama.chat("Hi", model="llama3.2")
        ollama.chat("Hi", model="llama3.2")

    assert events.kinds[:4] == ["started", "connected", "first_token", "finished"]
    assert events.last_end() == "finished"
    _, connected, first, finished = events[:4]
    assert connected.connect_s is not None and connected.connect_s <= connected.elapsed_s
    assert first.first_token_s == finished.first_token_s == response.timings.first_token_s
    assert finished.served_model == response.model
    assert {event.task for event in events} == {"chat"}
    assert events[5].kind == "connected" and events[5].connect_s is None  # on a kept connection


def test_events_name_the_task_of_a_call() -> None:
    events = _Events()
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[events]) as ollama:
        ollama.complete(CompletionRequest(prompt="Once", model="llama3.2"))
        ollama.embed(["one"], model="nomic-embed-text")
        ollama.load("llama3.2")

    tasks = {event.operation: event.task for event in events}
    assert tasks == {"complete": "completion", "embed": "embedding", "load": None}


def _verbs() -> Dict[str, Callable[[ModelProvider], Any]]:
    request = CompletionRequest(prompt="Once", model="llama3.2")
    named: Any = {"model": "llama3.2"}

    def add(a: int) -> int:
        """Add one."""
        return a + 1

    def keep(provider: ModelProvider) -> None:
        with provider.keep_loaded("llama3.2"):
            pass

    return {
        "chat": lambda p: p.chat("Hi", **named),
        "stream": lambda p: p.stream("Hi", **named).result(),
        "complete": lambda p: p.complete(request),
        "stream_completion": lambda p: p.stream_completion(request).result(),
        "parse": lambda p: p.parse("Hi", {"type": "array"}, max_attempts=1, **named),
        "run_tools": lambda p: p.run_tools("Hi", add, **named),
        "stream_tools": lambda p: p.stream_tools("Hi", add, **named).result(),
        "embed": lambda p: p.embed("Hi", model="nomic-embed-text"),
        "decide": lambda p: p.decide("Hi", {"late": "Is it late?"}, model="nimble"),
        "decide_many": lambda p: list(p.decide_many(["Hi"], {"late": "Is it?"}, model="nimble")),
        "load": lambda p: p.load("llama3.2"),
        "unload": lambda p: p.unload("llama3.2"),
        "pull": lambda p: p.pull("llama3.2"),
        "load unload": keep,
        "": lambda p: [p.list_models(), p.model_info("llama3.2"), p.count_tokens("Hi", **named)],
    }


def test_the_operation_is_the_method_that_the_script_called() -> None:
    events = _Events()
    down = OllamaProvider("http://127.0.0.1:9", name="down", retry=RetryPolicy(attempts=1))
    models = ["llama3.2", "nomic-embed-text", "nimble"]
    with FakeOllama(models) as server, OllamaProvider(server.url, listeners=[events]) as ollama:
        server.usual = "[]"
        providers = (ollama, LocalProvider([ollama]), LocalProvider([down, ollama]))
        for provider in providers:
            for names, call in _verbs().items():
                events.clear()
                call(provider)
                assert [e.operation for e in events if e.kind == "started"] == names.split()
                assert {e.operation for e in events} == {*names.split()}, names


def test_a_call_within_another_one_has_its_own_name() -> None:
    events = _Events()
    request = CompletionRequest(prompt="Once", model="llama3.2")
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[events]) as ollama:

        def ask() -> str:
            """Ask another model."""
            return ollama.complete(request).text

        calls = (ToolCall(id="1", name="ask", arguments={}),)
        server.reply_with(Reply(text="", tool_calls=calls), "a", "b")
        ollama.run_tools("Hi", ask, model="llama3.2")
    started = [event.operation for event in events if event.kind == "started"]
    assert started == ["run_tools", "complete", "run_tools"]


def test_a_failed_call_does_not_leave_its_name_to_the_next_one() -> None:
    events = _Events()
    request = CompletionRequest(prompt="Once", model="llama3.2")
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[events]) as ollama:
        with pytest.raises(ModelNotFoundError):
            ollama.chat("Hi", model="nope")
        with pytest.raises(TypeError):
            ollama.complete("Hi")  # type: ignore[arg-type]  # the mistake
        ollama.stream_completion(request).close()
    assert {event.operation for event in events} == {"chat", "stream_completion"}


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


def test_an_overflow_is_an_event_whether_it_is_allowed_or_not() -> None:
    events = _Events()
    models = [FakeModel(name="m", context_length=2048)]
    reply = Reply(text="word " * 3000)
    with FakeOllama(models) as server:
        server.usual = reply
        with OllamaProvider(server.url, model="m", listeners=[events]) as ollama:
            with pytest.raises(ContextOverflowError):
                ollama.chat("Hi")
            assert events.kinds[-2:] == ["overflowed", "failed"]
            assert ollama.chat("Hi", overflow="allow").warnings
            assert events.kinds[-2:] == ["overflowed", "finished"]

    assert {e.context_length for e in events if e.kind == "overflowed"} == {2048}
    events.last_end()


# --- ends of calls ---------------------------------------------------------------------------------


def _closed_early(stream: Stream) -> None:
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


@pytest.mark.sample(1)
@pytest.mark.parametrize("leave", [_closed_early, _forgotten, _closed_by_another, lambda _: None])
def test_an_unfinished_stream_ends_as_cancelled(leave: Callable[[Stream], None]) -> None:
    events = _Events()
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[events]) as ollama:
        server.usual = _LONG
        leave(ollama.stream("Hi", model="llama3.2"))
        gc.collect()

    assert events.last_end() == "CancelledError"


def test_a_completely_read_stream_ends_as_finished() -> None:
    events = _Events()
    with FakeOllama() as server, OllamaProvider(server.url, listeners=[events]) as ollama:
        with ollama.stream("Hi", model="llama3.2") as stream:
            stream.result()

    assert events.last_end() == "finished"


class _Interrupt(BaseException):
    """Replaces KeyboardInterrupt, which pytest handles itself."""


def _raise(*_: Any, **__: Any) -> None:
    raise _Interrupt


def _chat(provider: ModelProvider, server: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("localproviders._http.response.Answer.read", _raise)
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
    getattr(server, "downloads", {})["qwen/qwen3-8b"] = [(1, 2), (2, 2)]
    provider.pull("qwen/qwen3-8b", on_progress=_raise)


@pytest.mark.parametrize("verb", [_chat, _send, _embed, _load, _pull])
@pytest.mark.parametrize("kind", ["ollama", "lmstudio", "llamacpp"])
def test_any_exception_ends_the_call(
    kind: str, verb: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = _Events()
    fake, make = {
        "ollama": (FakeOllama, OllamaProvider),
        "lmstudio": (FakeLMStudio, LMStudioProvider),
        "llamacpp": (partial(FakeLlamaCpp, router=True), LlamaCppProvider),
    }[kind]
    with fake([FakeModel(name="m")]) as server:  # type: ignore[operator]  # both take models
        with make(server.url, model="m", listeners=[events]) as provider:  # type: ignore[operator]  # as above
            with pytest.raises(_Interrupt):
                verb(provider, server, monkeypatch)

    assert events.last_end() == "_Interrupt"


def test_every_call_form_ends_without_a_server() -> None:
    events = _Events()
    retry = RetryPolicy(first_wait_s=0)
    with OllamaProvider("http://127.0.0.1:9", model="m", listeners=[events], retry=retry) as ollama:
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
            assert events.last_end() == "UnreachableError"
    assert "connected" not in events.kinds
    assert {event.attempts for event in events if event.kind == "failed"} == {3}
