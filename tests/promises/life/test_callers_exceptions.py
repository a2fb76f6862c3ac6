"""Exceptions of the caller's own code end a call, come out unchanged, and leave nothing behind."""

from __future__ import annotations

import collections
import ctypes
import gc
import os
import signal
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Type

import pytest
import requests

from localproviders import (
    LMStudioProvider,
    LocalProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    RetryPolicy,
    ToolCall,
    discover,
)
from localproviders._http import response
from localproviders._http.deadline import Phase
from localproviders.testing import (
    Exchange,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    Reply,
    ScriptedServer,
    http_answer,
)
from tests.promises.life.child import start_program
from tests.promises.life.serving import CHUNKED, DONE, event, hold
from tests.promises.life.test_interrupt import _full_queue, _full_unix_queue, _unread
from tests.support.timing import GRACE_S

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a signal to a process is POSIX")


class Soft(Exception):  # noqa: N818  # named as in Celery
    """A class of the caller's own, such as Celery's for its time limit."""


class SoftTimeout(requests.Timeout):
    """One that derives from an exception of requests."""


#: Exceptions that handlers raise, and that the connection may raise, too.
ERRORS: Tuple[Exception, ...] = (
    Soft("soft limit"),
    SoftTimeout("soft limit"),
    TimeoutError("soft limit"),
    TimeoutError(),
    socket.timeout("timed out"),
    OSError("soft limit"),
    OSError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
    ConnectionResetError(104, "Connection reset by peer"),
    InterruptedError(4, "Interrupted system call"),
    ssl.SSLError(1, "soft limit"),
    ValueError("soft limit"),
    RuntimeError("soft limit"),
    requests.ConnectionError("soft limit"),
    requests.ReadTimeout("soft limit"),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
)


def _errors(*usual: int) -> Any:
    """Parametrize a test with all errors, of which the usual run has those with these numbers."""
    cases = [
        pytest.param(
            error,
            id=f"{number}-{type(error).__name__}",
            marks=() if number in usual else pytest.mark.slow,
        )
        for number, error in enumerate(ERRORS)
    ]
    return pytest.mark.parametrize("error", cases)


#: Verbs that send a prompt, or what is like it, to one server.
_OPENAI: Dict[str, Callable[[str], Any]] = {
    "chat": lambda url: OpenAICompatibleProvider(url, model="m").chat("Hi"),
    "stream": lambda url: list(OpenAICompatibleProvider(url, model="m").stream("Hi")),
    "embed": lambda url: OpenAICompatibleProvider(url, model="m").embed("Hi"),
    "rerank": lambda url: OpenAICompatibleProvider(url, model="m").rerank("q", ["a", "b"]),
    "list_models": lambda url: OpenAICompatibleProvider(url).list_models(),
    "parse": lambda url: OpenAICompatibleProvider(url, model="m").parse("Hi", {}),
    "run_tools": lambda url: OpenAICompatibleProvider(url, model="m").run_tools("Hi", [len_of]),
    "stream_tools": lambda url: list(
        OpenAICompatibleProvider(url, model="m").stream_tools("Hi", [len_of])
    ),
}


def len_of(text: str) -> int:
    """Return the length of a text."""
    return len(text)


class _Ringing:
    """Lets this process's own handler raise when a server has come to a step of its script."""

    def __init__(self) -> None:
        self.error: Exception = Soft()
        self.rang = 0

    def __call__(self, _: Any = None) -> None:
        # To the thread that waits: the signal would not wake it if another thread received it.
        # More than once: Python does not notice one that comes just before a system call.
        while not self.rang:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            time.sleep(0.001)

    def handler(self, signum: int, frame: Any) -> None:
        self.rang += 1
        if self.rang == 1:
            raise self.error

    def comes_out(self, error: Exception, work: Callable[[], Any]) -> None:
        """Assert that exactly this object comes out of a call."""
        self.error = error.with_traceback(None)
        # Python ignores an exception in a callback of the garbage collector. Hypothesis has one.
        gc.disable()
        try:
            with pytest.raises(BaseException) as caught:
                work()
        finally:
            gc.enable()
        # While a socket is waited for, `selectors` drops an InterruptedError, so another object of
        # this class comes out (docs/reliability.md, "Named exceptions to the promises").
        came_out = caught.value is error or type(caught.value) is type(error) is InterruptedError
        assert came_out, f"{error!r} came out as {caught.value!r}"
        error.__traceback__ = error.__context__ = None  # they hold the call, and with it sockets


@pytest.fixture
def ring() -> Iterator[_Ringing]:
    ringing = _Ringing()
    before = signal.signal(signal.SIGUSR1, ringing.handler)
    yield ringing
    signal.signal(signal.SIGUSR1, before)


def _gone(server: ScriptedServer) -> bool:
    return server.wait_for_connections(0, GRACE_S)


# --- the phases of a request ----------------------------------------------------------------


_REFUSAL = b"HTTP/1.1 500 No\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
_PART_OF_A_LIST = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
)
_PART_OF_A_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

#: The bytes that the server has sent when the handler raises.
_SENT: Dict[str, List[bytes]] = {
    "the head": [],
    "the rest of the head": [_PART_OF_A_HEAD],
    "the body": [_PART_OF_A_LIST],
    "the reason of a refusal": [_REFUSAL],
}


@pytest.mark.sample(7)
@_errors(0, 2, 5)
@pytest.mark.parametrize("sent", _SENT)
@pytest.mark.parametrize("verb", _OPENAI)
def test_it_comes_out_while_the_response_is_awaited(
    ring: _Ringing, verb: str, sent: str, error: Exception
) -> None:
    with ScriptedServer(lambda _: [*_SENT[sent], ring, hold]) as server:
        ring.comes_out(error, lambda: _OPENAI[verb](server.url))
        assert _gone(server)

    assert len(server.exchanges) == 1


@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_of_a_stream_that_then_stays_closed(ring: _Ringing, error: Exception) -> None:
    with ScriptedServer(lambda _: [CHUNKED, event("Hi"), hold]) as server:
        stream = OpenAICompatibleProvider(server.url, model="m").stream("Hi")
        assert next(stream).text == "Hi"
        watch = _when_in("_read_records", ring)
        ring.comes_out(error, lambda: next(stream))
        watch.join()
        assert _gone(server)

    assert len(server.exchanges) == 1
    assert stream.text == "Hi"


@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_while_the_end_of_a_body_is_awaited(
    ring: _Ringing, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "DRAINING", Phase("drain", GRACE_S))
    last = event("", end=True) + DONE[: -len(b"0\r\n\r\n")]
    with ScriptedServer(lambda _: [CHUNKED, event("Hi"), last, ring, hold]) as server:
        provider = OpenAICompatibleProvider(server.url, model="m")
        ring.comes_out(error, lambda: provider.chat("Hi"))
        assert _gone(server)

    assert len(server.exchanges) == 1


@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_of_a_call_on_a_kept_connection_and_is_not_sent_again(
    ring: _Ringing, error: Exception
) -> None:
    whole = [CHUNKED, event("Hi", end=True), DONE]
    steps = iter([whole, [ring, hold], whole])
    with ScriptedServer(lambda _: next(steps)) as server:
        provider = OpenAICompatibleProvider(server.url, model="m")
        provider.chat("Hi")
        ring.comes_out(error, lambda: provider.chat("Hi"))
        assert provider.chat("Hi").text == "Hi"

    assert len(server.exchanges) == 3


@pytest.mark.sample(0)
@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_while_the_request_is_sent(ring: _Ringing, error: Exception) -> None:
    with _unread() as (url, reached, gone):
        watch = threading.Thread(target=lambda: (reached(None), ring()))
        watch.start()
        provider = OpenAICompatibleProvider(url, model="m")
        ring.comes_out(error, lambda: provider.chat("x" * 50_000_000))
        watch.join()
        assert gone()


@pytest.mark.sample(1)
@_errors(0, 2, 5, 7, 9, 11, 15, 16)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_it_comes_out_of_a_tls_handshake(ring: _Ringing, error: Exception) -> None:
    with _unread() as (url, reached, gone):
        watch = threading.Thread(target=lambda: (reached(None), ring()))
        watch.start()
        provider = OpenAICompatibleProvider(url.replace("http:", "https:"), model="m")
        ring.comes_out(error, lambda: provider.chat("Hi"))
        watch.join()
        assert gone()
    # Before 3.12, Python leaves the socket of an interrupted handshake to the garbage collector.
    gc.collect()


def _when_in(function: str, then: Callable[[], None]) -> threading.Thread:
    """Start a thread that does something once the main thread runs a function of this name."""
    main = threading.main_thread().ident
    assert main is not None

    def look() -> None:
        while True:
            frame: Any = sys._current_frames()[main]
            while frame is not None:
                if frame.f_code.co_name == function:
                    then()
                    return
                frame = frame.f_back

    thread = threading.Thread(target=look)
    thread.start()
    return thread


@pytest.mark.sample(2)
@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_while_a_connection_is_made(ring: _Ringing, error: Exception) -> None:
    with _full_queue() as (url, _, _gone_too):
        provider = OpenAICompatibleProvider(url, model="m")
        watch = _when_in("wait_ready", ring)
        if isinstance(error, InterruptedError):
            ring.error = error
            with pytest.raises(InterruptedError):  # Python's selectors drop the object itself
                provider.chat("Hi")
        else:
            ring.comes_out(error, lambda: provider.chat("Hi"))
        watch.join()


@pytest.mark.sample(2)
@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_while_a_place_in_the_queue_of_a_unix_socket_is_awaited(
    ring: _Ringing, error: Exception
) -> None:
    with _full_unix_queue() as (url, _, _gone_too):
        watch = _when_in("wait_for", ring)
        ring.comes_out(error, lambda: OpenAICompatibleProvider(url, model="m").chat("Hi"))
        watch.join()


@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_while_a_name_is_resolved(
    ring: _Ringing, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def never(*_: Any, **__: Any) -> Any:
        ring()
        over.wait(GRACE_S)
        raise socket.gaierror(1, "over")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    provider = OpenAICompatibleProvider("http://a-name:9", model="m")
    ring.comes_out(error, lambda: provider.chat("Hi"))
    over.set()


@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_of_the_wait_for_the_next_attempt(ring: _Ringing, error: Exception) -> None:
    busy = http_answer({"error": "busy"}, status="503 Busy", headers=[("Retry-After", "30")])
    with ScriptedServer(busy) as server:
        watch = _when_in("wait_for", ring)
        retry = RetryPolicy(longest_wait_s=60)
        provider = OpenAICompatibleProvider(server.url, model="m", retry=retry)
        ring.comes_out(error, lambda: provider.chat("Hi"))
        watch.join()

    assert len(server.exchanges) == 1


# --- questions beside the call --------------------------------------------------------------


_QUESTIONS: Dict[str, Tuple[str, Callable[[str], Any]]] = {
    "where a model runs": ("/api/tags", lambda url: OllamaProvider(url, model="m").chat("Hi")),
    "what a model can": (
        "/api/show",
        lambda url: OllamaProvider(url, model="m").chat("Hi", tools=[len_of]),
    ),
    "which models can": (
        "/api/v1/models",
        lambda url: LMStudioProvider(url, model="m").chat("Hi", tools=[len_of]),
    ),
    "which models are loaded": ("/api/ps", lambda url: OllamaProvider(url).load("m")),
    "what is to be unloaded": ("/api/ps", lambda url: OllamaProvider(url).unload("m")),
    "how a download goes": ("/api/pull", lambda url: OllamaProvider(url).pull("m")),
    "which servers run": ("/", lambda url: discover([url], timeout_s=GRACE_S)),
}


@pytest.mark.sample(6)
@_errors(0, 2, 5)
@pytest.mark.parametrize("question", _QUESTIONS)
def test_it_comes_out_of_a_question_and_nothing_more_is_asked(
    ring: _Ringing, question: str, error: Exception
) -> None:
    path, ask = _QUESTIONS[question]
    fake = FakeOllama(["m"])
    late: List[str] = []

    def script(exchange: Exchange) -> Any:
        if ring.rang:
            late.append(exchange.path)
        if exchange.path == path and not ring.rang:
            return [ring, hold]
        return fake.answer(exchange).steps()

    with fake, ScriptedServer(script) as server:
        ring.comes_out(error, lambda: ask(server.url))
        assert _gone(server)

    assert late == []


@pytest.mark.sample(2)
@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_of_the_question_for_the_window(ring: _Ringing, error: Exception) -> None:
    fake = FakeOllama(["m"])
    fake.usual = Reply(text="word " * 1_100)

    def script(exchange: Exchange) -> Any:
        if exchange.path == "/api/ps":
            return [ring, hold]
        return fake.answer(exchange).steps()

    with fake, ScriptedServer(script) as server:
        ring.comes_out(error, lambda: OllamaProvider(server.url, model="m").chat("Hi"))
        assert _gone(server)


@pytest.mark.sample(8)
@_errors(0, 2, 5)
@pytest.mark.parametrize("verb", ["chat", "stream", "embed", "list_models", "supports_model"])
def test_no_other_server_is_asked(ring: _Ringing, verb: str, error: Exception) -> None:
    with ScriptedServer(lambda _: [ring, hold]) as silent, FakeOpenAICompatible(["m"]) as good:
        first = OpenAICompatibleProvider(silent.url, name="first")
        second = OpenAICompatibleProvider(good.url, name="second")
        local = LocalProvider([first, second], model="m")
        subjects = {"list_models": (), "supports_model": ("m",)}.get(verb, ("Hi",))
        ring.comes_out(error, lambda: getattr(local, verb)(*subjects))
        assert _gone(silent)
        assert good.exchanges == []


# --- the caller's functions -----------------------------------------------------------------


@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_it_comes_out_of_a_tool_that_runs(ring: _Ringing, error: Exception) -> None:
    ran: List[str] = []

    def waits(place: str) -> str:
        """Wait."""
        ran.append(place)
        ring()
        return (threading.Event().wait(GRACE_S) and "never") or "late"

    call = ToolCall(id="1", name="waits", arguments={"place": "here"})
    with FakeOllama(["m"]) as server:
        server.reply_with(Reply(tool_calls=(call,)))
        provider = OllamaProvider(server.url, model="m")
        ring.comes_out(error, lambda: provider.run_tools("Hi", [waits]))

    assert ran == ["here"]
    assert [each.path for each in server.exchanges].count("/api/chat") == 1


def test_it_comes_out_while_the_text_of_a_tools_exception_is_made(ring: _Ringing) -> None:
    class OwnError(Exception):
        def __str__(self) -> str:
            ring()
            return "never"

    def fails(place: str) -> str:
        """Fail."""
        raise OwnError

    call = ToolCall(id="1", name="fails", arguments={"place": "here"})
    with FakeOllama(["m"]) as server:
        server.reply_with(Reply(tool_calls=(call,)))
        provider = OllamaProvider(server.url, model="m")
        ring.comes_out(TimeoutError("alarm"), lambda: provider.run_tools("Hi", [fails]))


@_errors(0, 2, 5)
@pytest.mark.parametrize("kind", ["started", "connected", "first_token", "finished"])
def test_it_comes_out_of_a_listener_that_runs(ring: _Ringing, kind: str, error: Exception) -> None:
    told: List[str] = []

    def listener(event: Any) -> None:
        told.append(event.kind)
        if event.kind == kind:
            ring()
            threading.Event().wait(GRACE_S)

    with FakeOllama(["m"]) as server:
        provider = OllamaProvider(server.url, model="m", listeners=[listener])
        ring.comes_out(error, lambda: provider.chat("Hi"))
        provider.close()
        assert _gone(server)

    assert told.count("failed") == (kind != "finished")


@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_what_on_progress_raises_comes_out_of_an_upload(error: Exception, tmp_path: Path) -> None:
    file = tmp_path / "made.gguf"
    file.write_bytes(b"GGUF" + bytes(3_000_000))

    def on_progress(progress: Any) -> None:
        if progress.status.startswith("uploading"):
            raise error

    with FakeOllama(["m"]) as server:
        provider = OllamaProvider(server.url)
        with pytest.raises(type(error)) as caught:
            provider.create("made", files={"made.gguf": str(file)}, on_progress=on_progress)
        assert caught.value is error
        assert _gone(server)

    assert "/api/create" not in [each.path for each in server.exchanges]


@_errors(0, 2, 5, 7, 9, 11, 15, 16)
def test_what_on_progress_raises_comes_out_of_a_pull(error: Exception) -> None:
    def on_progress(_: Any) -> None:
        raise error

    with FakeOllama(["m"]) as server:
        with pytest.raises(type(error)) as caught:
            OllamaProvider(server.url).pull("qwen3:0.6b", on_progress=on_progress)
        assert caught.value is error
        assert _gone(server)

    assert [each.path for each in server.exchanges].count("/api/pull") == 1


# --- injected exceptions --------------------------------------------------------------------


@pytest.mark.sample(8)
@pytest.mark.parametrize(
    "kind", [Soft, SoftTimeout, TimeoutError, OSError, ValueError, MemoryError, RecursionError]
)
@pytest.mark.parametrize("sent", _SENT)
def test_an_exception_injected_into_the_thread_comes_out(kind: Type[Exception], sent: str) -> None:
    came: List[BaseException] = []

    def work() -> None:
        try:
            OpenAICompatibleProvider(server.url, model="m").chat("Hi")
        except BaseException as error:
            came.append(error)

    def inject(_: Exchange) -> None:
        ident = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(kind))

    # Python injects it when the thread runs again: after these bytes.
    with ScriptedServer(lambda _: [*_SENT[sent], inject, b" ", hold]) as server:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(GRACE_S)
        assert [type(error) for error in came] == [kind]
        came.clear()
        assert _gone(server)

    assert len(server.exchanges) == 1


# --- what is no exception of the caller -----------------------------------------------------


def test_a_call_within_an_except_block_has_errors_of_its_own(ring: _Ringing) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="cannot be reached"):
            try:
                ring.error = TimeoutError("soft limit")
                ring()
                threading.Event().wait(GRACE_S)
            except TimeoutError:
                provider = OpenAICompatibleProvider(url, retry=RetryPolicy(attempts=1))
                provider.list_models()


# --- alarms at random moments ---------------------------------------------------------------


#: Alarms for each verb. ``ALARMS=300`` takes four minutes or more.
_ALARMS = int(os.environ.get("ALARMS", "6"))


@pytest.mark.sample(0)
def test_alarms_at_random_moments_of_every_verb_come_out(tmp_path: Path) -> None:
    file = tmp_path / "made.gguf"
    file.write_bytes(b"GGUF" + bytes(1_000_000))
    models = [FakeModel(name="m"), FakeModel(name="vectors", abilities=("embeddings",))]

    def echo(exchange: Exchange) -> str:
        asked = exchange.json["messages"][-1]["content"]
        return "{}" if "format" in exchange.json else f"{asked}!"

    # After an exception between two lines, a socket may be closed only by the garbage collector.
    flags = ["-W", "ignore::ResourceWarning"]
    with FakeOllama(models) as ollama, FakeOpenAICompatible(models) as other:
        ollama.usual = other.usual = echo
        arguments = (ollama.url, f"{other.url}/v1", str(file), str(_ALARMS), "1")
        patience_s = max(300.0, 10.0 * _ALARMS)
        with start_program("alarms", *arguments, flags=flags, longest_s=patience_s) as child:
            rung, wrong, descriptors = child.read_result()
            assert _gone(ollama)
            assert _gone(other)
            child.resume()
            assert child.exit_status() == 0
        prompts = list(map(_prompt, (*ollama.exchanges, *other.exchanges)))

    assert (wrong, descriptors) == ([], 0)
    assert rung >= 10 * _ALARMS
    asked = collections.Counter(filter(None, prompts))
    assert [text for text, times in asked.items() if times > 1] == []


def _prompt(exchange: Exchange) -> Optional[str]:
    """Return the text that a request asks about; None for a request about something else."""
    if not exchange.path.endswith(("/chat", "/completions", "/embed")) or not exchange.body:
        return None
    try:
        body = exchange.json
    except ValueError:
        return None  # the connection was closed while it was sent
    texts = [*(body.get("messages") or ()), *(body.get("input") or ())]
    return str(texts) if texts else None
