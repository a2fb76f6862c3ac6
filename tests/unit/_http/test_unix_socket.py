"""Connecting to a UNIX socket: the limits of the call, and the error of each kind of failure."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import threading
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Type

import pytest
import responses

from localproviders import (
    CancelledError,
    CancelToken,
    ConfigurationError,
    LimitError,
    Limits,
    LocalProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    UnreachableError,
)
from localproviders._http import unix_socket
from localproviders._http.deadline import Call
from localproviders.testing import FakeOllama, FakeOpenAICompatible, ScriptedServer, http_answer

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no UNIX sockets"
)

_ONCE = RetryPolicy(attempts=1)
_BODY = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}], "model": "m"}


def _fail(path: str, error: Type[ProviderError], **limits: float) -> ProviderError:
    timeout = Limits(**limits) if limits else None
    provider = OllamaProvider(f"unix://{path}", model="m", retry=_ONCE, timeout=timeout)
    with provider, pytest.raises(error) as caught:
        provider.chat("Hi")
    assert type(caught.value) is error
    assert caught.value.endpoint == f"unix://{path}"
    assert len(str(caught.value).splitlines()) == 1
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value


def _bound(path: str, kind: Optional[int] = None) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if kind is None else kind)
    made.bind(path)
    return made


@contextlib.contextmanager
def _full(path: str) -> Iterator[socket.socket]:
    """Listen on a socket whose queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_bound(path))
        listener.listen(0)
        for _ in range(16):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(path):
                break
        else:
            pytest.skip("on this system the queue never becomes full")
        yield listener


# --- failures -------------------------------------------------------------------------------


def test_a_missing_socket_is_an_unreachable_server(socket_path: str) -> None:
    error = _fail(socket_path, UnreachableError)

    assert error.message == f"there is no UNIX socket {socket_path}"
    assert error.hint and "check that the server is running" in error.hint
    assert "the host argument" in error.hint
    assert isinstance(error.__cause__, FileNotFoundError)


def test_a_socket_without_a_server_is_an_unreachable_server(socket_path: str) -> None:
    _bound(socket_path).close()

    error = _fail(socket_path, UnreachableError)
    assert error.message == f"no server listens on the UNIX socket {socket_path}"
    assert error.hint and "check that the server is running" in error.hint


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_socket_is_named(kind: str, socket_path: str) -> None:
    Path(socket_path).touch() if kind == "file" else os.mkdir(socket_path)

    error = _fail(socket_path, ConfigurationError)
    assert error.message == f"{socket_path} is not a UNIX socket"
    assert error.hint and "stream socket" in error.hint


def test_a_file_in_place_of_a_folder_is_a_missing_socket(socket_path: str) -> None:
    Path(socket_path).touch()

    assert "there is no UNIX socket" in _fail(f"{socket_path}/x", UnreachableError).message


def test_a_socket_of_another_type_is_named(socket_path: str) -> None:
    with _bound(socket_path, socket.SOCK_DGRAM):
        error = _fail(socket_path, ConfigurationError)

    assert error.message == f"{socket_path} is a UNIX socket of another type"


def test_a_path_that_is_too_long_is_an_error_with_its_length() -> None:
    path = "/" + 100 * "ü"

    error = _fail(path, ConfigurationError)
    assert error.message.endswith("too long for this system: 201 bytes")
    assert error.hint and "symbolic link" in error.hint


def test_missing_permission_says_what_is_needed(
    socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as root, for whom every socket is open.
    monkeypatch.setattr(unix_socket, "_attempt", lambda *_: 13)

    error = _fail(socket_path, UnreachableError)
    assert error.message == f"no permission for the UNIX socket {socket_path}"
    assert error.hint and "socket's group" in error.hint
    assert isinstance(error.__cause__, PermissionError)


def test_an_unknown_failure_is_an_unreachable_server_too(
    socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_socket, "_attempt", lambda *_: 105)

    assert _fail(socket_path, UnreachableError).message.startswith("the server cannot be reached")


def test_a_system_without_unix_sockets_is_named(
    socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")

    error = _fail(socket_path, ConfigurationError)
    assert error.message == "Python has no UNIX sockets on this system"
    assert error.hint and "http://127.0.0.1:PORT" in error.hint


# --- a full queue ---------------------------------------------------------------------------


def test_a_full_queue_ends_the_call_at_connect_s(socket_path: str) -> None:
    with _full(socket_path):
        error = _fail(socket_path, LimitError, connect_s=0.05, total_s=60)

    assert isinstance(error, LimitError)
    assert error.limit == "connect_s"


def test_cancelling_ends_the_wait_for_a_place_in_the_queue(
    socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = CancelToken()
    waited: List[float] = []

    def wait_for(call: Call, event: threading.Event, seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) == 3:
            token.cancel()
        return wait(call, event, seconds)

    wait = Call.wait_for
    monkeypatch.setattr(Call, "wait_for", wait_for)
    with _full(socket_path), OllamaProvider(f"unix://{socket_path}", model="m") as provider:
        with pytest.raises(CancelledError):
            provider.chat("Hi", cancel=token)

    assert waited == [0.001, 0.002, 0.004]


def test_a_call_goes_on_when_the_queue_has_room(
    socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait_for(call: Call, event: threading.Event, seconds: float) -> bool:
        while listener is not None and accepted == []:
            with contextlib.suppress(BlockingIOError):
                for _ in range(16):
                    accepted.append(listener.accept()[0])
        return False

    accepted: List[socket.socket] = []
    with _full(socket_path) as listener:
        listener.setblocking(False)
        monkeypatch.setattr(Call, "wait_for", wait_for)
        made = unix_socket.connect(socket_path, Call(Limits()))
        with made:
            assert made.getpeername() == socket_path
    for each in accepted:
        each.close()


# --- what is sent ---------------------------------------------------------------------------


def test_the_host_is_localhost_and_the_path_is_that_of_the_address(socket_path: str) -> None:
    with ScriptedServer(http_answer(_BODY), unix=socket_path) as server:
        for path in ("", ":/v1", ":/llm/v1"):
            with OpenAICompatibleProvider(server.url + path, model="m") as provider:
                assert provider.chat("Hi").text == "Hello"

    sent = [(each.headers["host"], each.path) for each in server.exchanges]
    assert sent == [
        ("localhost", "/v1/chat/completions"),
        ("localhost", "/v1/chat/completions"),
        ("localhost", "/llm/v1/chat/completions"),
    ]


def test_the_key_is_sent_and_shown_nowhere(socket_path: str) -> None:
    with FakeOpenAICompatible(["m"], unix=socket_path, api_key="sk-hunter2") as server:
        with OpenAICompatibleProvider(server.url, model="m", api_key="sk-hunter2") as provider:
            assert provider.chat("Hi").text

    assert "hunter2" not in repr(provider)
    assert "hunter2" not in repr(provider.settings)


def test_a_large_prompt_and_a_kept_connection_work(socket_path: str) -> None:
    with FakeOllama(["m"], unix=socket_path) as server:
        with OllamaProvider(server.url, model="m") as provider:
            for prompt in ("Hi", 3_000_000 * "x", "Hi"):
                with provider.stream(prompt) as stream:
                    assert "".join(chunk.text for chunk in stream)

    assert {each.connection for each in server.exchanges} == {1}


def test_models_are_pulled_and_files_are_uploaded(socket_path: str, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF" + bytes(3_000_000))
    with FakeOllama(unix=socket_path) as server, OllamaProvider(server.url) as provider:
        assert provider.pull("qwen3:0.6b")
        provider.create("mine", files=file)
        assert "mine:latest" in [model.name for model in provider.list_models()]


@responses.activate
def test_a_mock_of_requests_sees_the_requests_at_localhost() -> None:
    url = "http://localhost/v1/chat/completions"
    responses.add(responses.POST, url, json=_BODY)
    with OpenAICompatibleProvider("unix:///nowhere.sock", model="m") as provider:
        assert provider.chat("Hi").text == "Hello"

    assert len(responses.calls) == 1


def test_another_server_is_used_if_there_is_no_socket(socket_path: str) -> None:
    with FakeOllama(["m"]) as server:
        providers = [OllamaProvider(f"unix://{socket_path}", name="a"), OllamaProvider(server.url)]
        with LocalProvider(providers) as local:
            assert local.chat("Hi", model="m").provider == "ollama"


def test_no_proxy_is_used(socket_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    given: List[Callable[[str], OllamaProvider]] = [
        lambda url: OllamaProvider(url, model="m"),
        lambda url: OllamaProvider(url, model="m", locality="any", proxies="environment"),
        lambda url: OllamaProvider(
            url, model="m", locality="any", proxies={"http": "http://127.0.0.1:9"}
        ),
    ]
    with FakeOllama(["m"], unix=socket_path) as server:
        for make in given:
            with make(server.url) as provider:
                assert provider.chat("Hi").text


def test_a_provider_and_its_settings_survive_a_pickle(socket_path: str) -> None:
    with FakeOllama(["m"], unix=socket_path) as server:
        with OllamaProvider(server.url, model="m") as provider:
            again = pickle.loads(pickle.dumps(provider))
        with again:
            assert again.chat("Hi").text
            assert repr(again) == f"OllamaProvider('unix://{socket_path}', name='ollama')"
