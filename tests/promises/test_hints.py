"""The hints for frequent mistakes of new users name the cause and the next step."""

from __future__ import annotations

import socket
from typing import Any, Callable, Dict, Iterator, Tuple, Type

import pytest

from localproviders import (
    AnswerTooLargeError,
    AuthenticationError,
    ConfigurationError,
    LimitError,
    Limits,
    LMStudioProvider,
    LocalityError,
    ModelNotFoundError,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    ProviderError,
    RetryPolicy,
    ServerBusyError,
    UnreachableError,
    UnsupportedError,
)
from localproviders.testing import FakeOllama, FakeOpenAICompatible, http_answer
from localproviders.testing import ScriptedServer as Scripted

Make = Callable[..., Any]

PROVIDERS: Dict[str, Make] = {
    "ollama": OllamaProvider,
    "lmstudio": LMStudioProvider,
    "openai": lambda url, **more: OpenAICompatibleProvider(url + "/v1", **more),
}


@pytest.fixture
def closed() -> Iterator[str]:
    """Yield the URL of a closed port, which no other process can open during the test."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("verb", ["chat", "stream", "embed", "list_models"])
def test_the_hint_for_a_closed_port_asks_for_the_server_and_names_the_source_of_the_address(
    closed: str, kind: str, verb: str
) -> None:
    with PROVIDERS[kind](closed, model="m", retry=RetryPolicy(attempts=1)) as provider:
        with pytest.raises(UnreachableError) as caught:
            getattr(provider, verb)(*([] if verb == "list_models" else ["Hi"]))
    hint = str(caught.value.hint)
    assert hint.startswith("check that the server is running")
    assert hint.endswith(f"came from: {provider.settings.endpoint_origin}")
    assert provider.settings.endpoint_origin


def test_the_hint_names_the_variable_with_the_address(
    closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", closed)
    with OllamaProvider(model="m", retry=RetryPolicy(attempts=1)) as provider:
        with pytest.raises(UnreachableError) as caught:
            provider.chat("Hi")
    assert str(caught.value.hint).endswith("OLLAMA_HOST")


_ENDLESS = http_answer({"data": [{"id": "x" * 5000}]})

#: Mistakes, the error class for each, and words of its hint.
MISTAKES: Dict[str, Tuple[Callable[[], Any], Type[ProviderError], Tuple[str, ...]]] = {
    "a model that is not there": (
        lambda: _chat_with(FakeOllama(["m"]), OllamaProvider, model="other"),
        ModelNotFoundError,
        ("ollama pull other",),
    ),
    "no model": (
        lambda: _chat_with(FakeOllama(["m"]), OllamaProvider, model=None),
        ConfigurationError,
        ("model=", "m:latest"),
    ),
    "no key": (
        lambda: _list_models(http_answer({"error": "no"}, status="401 Unauthorized")),
        AuthenticationError,
        ("api_key=",),
    ),
    "another kind of server": (
        lambda: _list_models_as(OllamaProvider, FakeOpenAICompatible()),
        ProviderError,
        ("llama.cpp", "OpenAICompatibleProvider"),
    ),
    "an address with the path of the OpenAI dialect": (
        lambda: _chat_at("/v1"),
        UnsupportedError,
        ("the address ends with /v1", "write the address as http://127.0.0.1:"),
    ),
    "an address with the path of the API": (
        lambda: _chat_at("/api"),
        UnsupportedError,
        ("the address ends with /api", "write the address as http://127.0.0.1:"),
    ),
    "an address with another path": (
        lambda: _chat_at("/models"),
        UnsupportedError,
        ("check the path /models",),
    ),
    "a short form of an address": (
        lambda: _refused_at("127.1"),
        AuthenticationError,
        ("write the address with 127.0.0.1", "127.1"),
    ),
    "a Host header that the server refuses": (
        lambda: _refused_at("127.0.0.1"),
        AuthenticationError,
        ("reverse proxy", "Host header"),
    ),
    "a full queue of Ollama": (
        lambda: _busy("ollama"),
        ServerBusyError,
        ("OLLAMA_MAX_QUEUE", "retry=RetryPolicy(attempts="),
    ),
    "a busy server": (
        lambda: _busy("openai"),
        ServerBusyError,
        ("retry=RetryPolicy(attempts=",),
    ),
    "a proxy that compresses": (
        lambda: _list_models(http_answer({}, headers=[("Content-Encoding", "br")])),
        ProtocolError,
        ("proxy", "switch off its compression"),
    ),
    "an address that moved": (
        lambda: _list_models(
            http_answer("", status="308 Moved", headers=[("Location", "http://127.0.0.1:9/")])
        ),
        ProtocolError,
        ("final address",),
    ),
    "a server of another protocol": (
        lambda: _list_models(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        ProtocolError,
        ("right port", "https://"),
    ),
    "a large answer": (
        lambda: _list_models(_ENDLESS, max_body_bytes=1000),
        AnswerTooLargeError,
        ("max_body_bytes",),
    ),
    "a host beyond this machine": (
        lambda: OllamaProvider("http://192.0.2.7", model="m").chat("Hi"),
        LocalityError,
        ('locality="any"', "LOCALPROVIDERS_LOCALITY=any"),
    ),
    "a key in the address": (
        lambda: OllamaProvider("http://me:secret@127.0.0.1"),
        ConfigurationError,
        ("api_key=",),
    ),
    "a key over plain HTTP": (
        lambda: OpenAICompatibleProvider(
            "http://192.0.2.7/v1", model="m", api_key="key", locality="any"
        ).chat("Hi"),
        ConfigurationError,
        ("https", "allow_plaintext_key=True"),
    ),
    "a first token that takes too long": (
        lambda: _wait(Limits(load_s=0, first_token_s=0.1)),
        LimitError,
        ("load_s", "first_token_s"),
    ),
    "a total that is too short": (
        lambda: _wait(Limits(total_s=0.1)),
        LimitError,
        ("timeout=Limits(total_s=...)",),
    ),
    "a verb of another kind of server": (
        lambda: _list_models(http_answer({}), lambda provider: provider.pull("m")),
        UnsupportedError,
        ("OllamaProvider", "LMStudioProvider"),
    ),
}


def _chat_with(server: Any, provider: Make, **options: Any) -> Any:
    with server as fake, provider(fake.url, **options) as made:
        return made.chat("Hi")


def _chat_at(path: str) -> Any:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url + path, model="m") as provider:
        return provider.chat("Hi")


def _refused_at(host: str) -> Any:
    with Scripted(http_answer("", status="403 Forbidden")) as server:
        with OllamaProvider(f"http://{host}:{server.port}", model="m") as provider:
            return provider.chat("Hi")


def _busy(kind: str) -> Any:
    words = "server busy, please try again.  maximum pending requests exceeded"
    said = {"error": words} if kind == "ollama" else "no slot is free"
    with Scripted(http_answer(said, status="503 Service Unavailable")) as server:
        retry = RetryPolicy(attempts=1)
        with PROVIDERS[kind](server.url, model="m", retry=retry) as provider:
            return provider.list_models()


def _list_models_as(provider: Make, server: Any) -> Any:
    with server as fake, provider(fake.url) as made:
        return made.list_models()


def _list_models(answer: bytes, verb: Any = None, **options: Any) -> Any:
    with Scripted(answer) as server, PROVIDERS["openai"](server.url, **options) as provider:
        return provider.list_models() if verb is None else verb(provider)


def _wait(limits: Limits) -> Any:
    with Scripted(lambda exchange: [lambda _: exchange.hold()]) as server:
        with PROVIDERS["openai"](server.url, model="m", timeout=limits) as provider:
            return provider.chat("Hi")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_hint_for_a_mistake_names_the_next_step(mistake: str) -> None:
    make, error, words = MISTAKES[mistake]
    with pytest.raises(error) as caught:
        make()
    hint = str(caught.value.hint)
    assert [word for word in words if word not in hint] == [], hint
    assert f"hint: {hint}" in str(caught.value)
