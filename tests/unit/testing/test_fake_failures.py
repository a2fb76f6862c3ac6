"""An exception in a function of the test fails the test, whatever the client makes of the answer."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, List

import pytest
import requests

import localproviders
from localproviders import (
    CompletionRequest,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
)
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    Reply,
    ScriptedServer,
)
from localproviders.testing.scripted import http_answer


def _ollama(fake: Any) -> Any:
    return OllamaProvider(fake.url, model="llama3.2")


def _lmstudio(fake: Any) -> Any:
    return LMStudioProvider(fake.url, model="qwen/qwen3-4b")


def _generic(fake: Any) -> Any:
    return OpenAICompatibleProvider(fake.base_url, model="m")


KINDS: List[Any] = [
    (FakeOllama, _ollama),
    (FakeLMStudio, _lmstudio),
    (FakeOpenAICompatible, _generic),
]


def _false(exchange: Exchange) -> str:
    assert exchange.json["model"] == "another", "the wrong model"
    return "never"


def _missing(exchange: Exchange) -> str:
    return str(exchange.json["no such key"])


def _file(_: Exchange) -> str:
    with open("/no/such/file", encoding="utf-8") as file:
        return file.read()


def _fails(_: Exchange) -> str:
    pytest.fail("not this one")


FAILING: List[Any] = [
    (_false, AssertionError, "the wrong model"),
    (_missing, KeyError, "no such key"),
    (_file, FileNotFoundError, "no/such/file"),
    (_fails, pytest.fail.Exception, "not this one"),
    (lambda _: None, TypeError, "returned None"),
]


@pytest.mark.sample(2)
@pytest.mark.parametrize(("fake_class", "make"), KINDS)
@pytest.mark.parametrize(("reply", "error", "words"), FAILING)
def test_an_exception_of_a_reply_function_is_raised_at_the_end(
    fake_class: Any, make: Callable[[Any], Any], reply: Any, error: Any, words: str
) -> None:
    with pytest.raises(error, match=words):
        with fake_class() as fake, make(fake) as provider:
            fake.reply_with(reply)
            with pytest.raises(ProviderError, match=words) as caught:
                provider.chat("Hi")
            assert caught.value.status == 500
            assert [each.path for each in fake.exchanges if each.method == "POST"][1:] == []
            assert provider.chat("Hi").text == "Hello there, friend."


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.stateful_chat("Hi"),
        lambda p: p.complete(CompletionRequest(prompt="Hi")),
        lambda p: list(p.stream("Hi")),
    ],
)
def test_every_request_for_text_reports_it(call: Any) -> None:
    with pytest.raises(AssertionError, match="the wrong model"):
        with FakeLMStudio() as fake, _lmstudio(fake) as provider:
            fake.usual = _false
            with pytest.raises(ProviderError, match="the wrong model"):
                call(provider)


def test_the_first_exception_is_raised_once() -> None:
    fake = FakeOllama()
    fake.start()
    fake.reply_with(_false, _missing)
    with _ollama(fake) as provider:
        for _ in range(2):
            with pytest.raises(ProviderError):
                provider.chat("Hi")
    with pytest.raises(AssertionError, match="the wrong model"):
        fake.stop()
    fake.stop()
    fake.start()
    fake.stop()


def test_it_replaces_the_error_that_followed_from_it() -> None:
    with pytest.raises(AssertionError, match="the wrong model") as caught:
        with FakeOllama() as fake, _ollama(fake) as provider:
            fake.reply_with(_false)
            provider.chat("Hi")
    assert isinstance(caught.value.__context__, ProviderError)
    assert "_false" in [entry.name for entry in caught.traceback]


def test_an_interrupt_of_the_test_passes_unchanged() -> None:
    with pytest.raises(KeyboardInterrupt):
        with FakeOllama() as fake, _ollama(fake) as provider:
            fake.reply_with(_false)
            with pytest.raises(ProviderError):
                provider.chat("Hi")
            raise KeyboardInterrupt


def test_a_server_that_is_down_for_a_while_keeps_it_for_the_end() -> None:
    with pytest.raises(AssertionError, match="the wrong model"):
        with FakeOllama() as fake, _ollama(fake) as provider:
            fake.reply_with(_false)
            with pytest.raises(ProviderError):
                provider.chat("Hi")
            with fake.down():
                pass
            assert provider.chat("Hi").text == "Hello there, friend."


def test_a_client_that_left_is_not_a_failure_of_the_function() -> None:
    def slow(exchange: Exchange) -> Reply:
        exchange.hold()
        return Reply()

    with FakeOllama() as fake, _ollama(fake) as provider:
        fake.reply_with(slow)
        with pytest.raises(ProviderError):
            provider.chat("Hi", timeout=0.1)
        assert fake.wait_for_connections(0)


def test_a_reply_function_may_close_the_connection() -> None:
    with FakeOllama() as fake, _ollama(fake) as provider:
        fake.usual = lambda exchange: exchange.close()  # type: ignore[assignment,return-value]
        with pytest.raises(ProviderError):
            provider.chat("Hi")


def _ask(server: ScriptedServer) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(server.url)


def _scripted(exchange: Exchange) -> List[Any]:
    assert exchange.path == "/other"
    return []


def test_a_script_that_raises_is_answered_with_its_words() -> None:
    with pytest.raises(AssertionError, match="/other"):
        with ScriptedServer(_scripted) as server:
            answer = _ask(server)
            assert answer.status_code == 500
            assert "AssertionError" in answer.json()["error"]
            assert server.open_connections == 1


def test_a_step_that_raises_closes_the_connection() -> None:
    def step(_: Exchange) -> None:
        raise KeyError("a step")

    with pytest.raises(KeyError, match="a step"):
        with ScriptedServer(lambda _: [http_answer("fine")[:-2], step]) as server:
            # Releases of requests before 2.32 return the body although it was cut off.
            with contextlib.suppress(requests.RequestException):
                _ask(server)


_TESTS = """
from localproviders import OllamaProvider, ProviderError

def ask(**options):
    with OllamaProvider(model="llama3.2", **options) as ollama:
        try:
            ollama.chat("Hi")
        except ProviderError:
            pass

def test_it(fake_ollama):
    def reply(exchange):
        assert exchange.json["model"] == "another", "the wrong model"
        return "ok"

    fake_ollama.reply_with(reply)
    ask()

def test_another(fake_server):
    fake = fake_server("ollama")
    fake.reply_with(lambda exchange: {}["missing"])
    ask(host=fake.url)
"""


@pytest.mark.sample(0)
def test_a_fixture_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_TESTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(localproviders.__file__).parents[1])}
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=str(tmp_path), env=env, timeout=300)
    said = done.stdout.decode()
    assert "2 passed, 2 errors" in said
    assert "AssertionError: the wrong model" in said
    assert "KeyError: 'missing'" in said


def test_the_exceptions_are_listed_until_the_end() -> None:
    with FakeOllama() as fake, _ollama(fake) as provider:
        fake.reply_with(_false, _missing)
        for _ in range(2):
            with pytest.raises(ProviderError):
                provider.chat("Hi")
        assert [type(error) for error in fake.errors] == [AssertionError, KeyError]
        fake.errors.clear()  # the test expected them, so the end of the block raises nothing


def test_a_missing_file_in_a_script_is_not_a_client_that_left() -> None:
    def script(exchange: Exchange) -> List[Any]:
        return [_file(exchange)]

    with pytest.raises(FileNotFoundError):
        with ScriptedServer(script) as server:
            assert "FileNotFoundError" in _ask(server).json()["error"]


class Broken(FakeOllama):
    """A fake whose own code fails, before or after it has read the body."""

    def _before_body(self, exchange: Exchange) -> None:
        if exchange.path == "/early":
            raise KeyError("early")

    def answer(self, exchange: Exchange) -> Any:
        raise KeyError("late")


@pytest.mark.parametrize("path", ["/early", "/late"])
@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_an_exception_of_the_fake_is_an_answer_and_fails_the_test(path: str, method: str) -> None:
    with pytest.raises(KeyError, match=path[1:]):
        with Broken() as fake, requests.Session() as session:
            session.trust_env = False
            for _ in range(2):
                answer = session.request(method, fake.url + path, data=b"x" * 100)
                assert answer.status_code == 500
                words = f"the script of this server raised KeyError: {path[1:]!r}"
                assert method == "HEAD" or answer.json() == {"error": words}
            assert len(fake.errors) == 2


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_a_request_that_is_not_http_is_refused(request_: bytes) -> None:
    with FakeOllama() as fake, socket.create_connection(("127.0.0.1", fake.port)) as client:
        client.sendall(request_)
        with client.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_chunked_body_that_ends_too_early_is_not_a_request() -> None:
    head = b"POST /api/chat HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with FakeOllama() as fake:
        for body in (b"", b"5\r\nab"):
            with socket.create_connection(("127.0.0.1", fake.port)) as client:
                client.sendall(head + body)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(1024) == b""


def test_an_answer_to_head_has_no_body() -> None:
    missing = "/api/blobs/sha256:" + "0" * 64
    paths = ("/", "/api/version", "/api/tags", "/api/ps", "/nothing", missing, "/v1/models")
    with FakeOllama() as ollama, FakeLMStudio() as studio, FakeOpenAICompatible() as other:
        for fake in (ollama, studio, other):
            with requests.Session() as session:
                session.trust_env = False
                for path in paths:
                    assert session.head(fake.url + path).content == b""
                    assert session.get(fake.url + "/v1/nothing").status_code in (200, 404)
            assert {each.connection for each in fake.exchanges} == {1}


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/api/v1/chat"])
def test_a_whole_answer_waits_for_all_its_pieces(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: List[float] = []
    monkeypatch.setattr(Exchange, "hold", lambda _, seconds: held.append(seconds))
    messages = [{"role": "user", "content": "Hi"}]
    for fake_class in FakeOllama, FakeLMStudio, FakeOpenAICompatible:
        with fake_class(["m"]) as fake, requests.Session() as session:
            session.trust_env = False
            fake.usual = Reply(text="one two three", pause_s=2)
            body = {"model": "m", "messages": messages, "input": "Hi", "stream": False}
            answer = session.post(fake.url + path, json=body)
            assert ("three" in answer.text) == (held == [6.0])
            held.clear()
