"""The hints for frequent mistakes of new users name the cause and the next step."""

from __future__ import annotations

import socket
from typing import Any, Callable, Dict, Iterator, Tuple, Type

import pytest

from localproviders import (
    AnswerTooLargeError,
    AuthenticationError,
    CertificateError,
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
from localproviders._http import resolve
from localproviders.testing import (
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    http_answer,
)
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
    "no password": (
        lambda: _list_models(
            http_answer(
                "<html>", status="401 No", headers=[("WWW-Authenticate", 'Basic realm="x"')]
            )
        ),
        AuthenticationError,
        ("auth=(user, password)",),
    ),
    "another kind of server": (
        lambda: _list_models_as(OllamaProvider, FakeOpenAICompatible()),
        ProviderError,
        ("llama.cpp", "OpenAICompatibleProvider"),
    ),
    "an address with the path of another API": (
        lambda: _chat_at("/api/v1"),
        UnsupportedError,
        ("the address ends with /api", "write the address as http://127.0.0.1:"),
    ),
    "an address without the version of the API": (
        lambda: _list_models_as(OpenAICompatibleProvider, FakeOpenAICompatible()),
        UnsupportedError,
        ("write the address with the version of the API: http://127.0.0.1:", "/v1"),
    ),
    "a web server": (
        lambda: _list_models(http_answer("<html><title>nginx</title>", content_type="text/html")),
        ProtocolError,
        ("a web server seems to listen there",),
    ),
    "a server made with FastAPI": (
        lambda: _chat_with(
            Scripted(http_answer({"detail": "Not Found"}, status="404 Not Found")),
            OllamaProvider,
            model="m",
        ),
        UnsupportedError,
        ("vLLM", "OpenAICompatibleProvider, with /v1"),
    ),
    "TLS at a port without TLS": (
        lambda: _chat_without_tls(),
        CertificateError,
        ("write http:// in the address",),
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
        ("api_key=", "auth=("),
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


def _chat_without_tls() -> Any:
    with FakeOllama(["m"]) as fake:
        with OllamaProvider(fake.url.replace("http:", "https:"), model="m") as provider:
            return provider.chat("Hi")


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


_METHODS = (
    *("/v1", "/v1/", "/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/embeddings"),
    *("/api", "/api/chat", "/api/generate", "/api/tags", "/chat/completions", ""),
)


def test_an_address_copied_from_an_example_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for fake_of, provider_of in ((FakeOllama, OllamaProvider), (FakeLMStudio, LMStudioProvider)):
        with fake_of(["m"]) as fake:
            for path in _METHODS:
                with provider_of(fake.url + path, model="m") as provider:
                    assert provider.chat("Hi").text, path
    with FakeOpenAICompatible() as fake:
        for path in [path for path in _METHODS if path.startswith("/v1")]:
            with OpenAICompatibleProvider(fake.url + path, model="m") as provider:
                assert provider.chat("Hi").text, path
                assert provider.settings.endpoint.path == "/v1"
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:11434/v1")
    assert OllamaProvider().settings.endpoint.url == "http://127.0.0.1:11434"


@pytest.mark.parametrize("path", ["/models", "/llm/v1", "/openai/deployments/x", "/a/chat", "/v2"])
def test_a_path_with_another_meaning_is_kept(path: str) -> None:
    made = OpenAICompatibleProvider(f"http://127.0.0.1:1{path}")
    assert made.settings.endpoint.path == path


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_name_that_does_not_resolve_is_not_a_closed_port(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(resolve.socket, "getaddrinfo", unknown)
    once = RetryPolicy(attempts=1)
    with PROVIDERS[kind]("http://foo:1", model="m", locality="any", retry=once) as provider:
        with pytest.raises(UnreachableError, match="the host name cannot be resolved") as caught:
            provider.chat("Hi")
    assert str(caught.value.hint).startswith("check the host name; this address came from: the ")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_hint_for_a_mistake_names_the_next_step(mistake: str) -> None:
    make, error, words = MISTAKES[mistake]
    with pytest.raises(error) as caught:
        make()
    hint = str(caught.value.hint)
    assert [word for word in words if word not in hint] == [], hint
    assert f"hint: {hint}" in str(caught.value)
