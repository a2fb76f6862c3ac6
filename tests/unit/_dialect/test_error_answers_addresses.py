"""A wrong address: the hint says which one to write, and which server seems to be there."""

from __future__ import annotations

import ssl
from typing import Any, Callable, Iterator, List, Optional

import pytest
import trustme

from localproviders import (
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    StreamInterruptedError,
)
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    ScriptedServer,
    http_answer,
)

_ONCE = RetryPolicy(attempts=1)
_VERBS: List[Callable[[Any], Any]] = [
    lambda provider: provider.list_models(),
    lambda provider: provider.chat("Hi", model="m"),
    lambda provider: provider.embed("Hi", model="m"),
]
_each_verb = pytest.mark.parametrize("call", _VERBS, ids=["list_models", "chat", "embed"])


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama() as server:
        yield server


@pytest.fixture
def lmstudio() -> Iterator[FakeLMStudio]:
    with FakeLMStudio() as server:
        yield server


@pytest.fixture
def compatible() -> Iterator[FakeOpenAICompatible]:
    with FakeOpenAICompatible() as server:
        yield server


def _hint(make: Any, address: str, call: Callable[[Any], Any]) -> Optional[str]:
    with make(address, retry=_ONCE, timeout=20) as provider:
        with pytest.raises(ProviderError) as caught:
            call(provider)
    assert "\n" not in str(caught.value)
    return caught.value.hint


@_each_verb
def test_a_path_of_another_api_is_not_part_of_ollamas_address(
    ollama: FakeOllama, call: Any
) -> None:
    origin = ollama.url.rstrip("/")
    said = f"the address ends with /api/v2: write the address as {origin}"
    assert _hint(OllamaProvider, f"{origin}/api/v2", call) == said


@_each_verb
def test_another_path_of_an_address_is_asked_about(ollama: FakeOllama, call: Any) -> None:
    origin = ollama.url.rstrip("/")
    said = f"check the path /elsewhere: without a path, the address is {origin}"
    assert _hint(OllamaProvider, f"{origin}/elsewhere", call) == said


@_each_verb
def test_a_path_of_the_api_is_not_part_of_lmstudios_address(
    lmstudio: FakeLMStudio, call: Any
) -> None:
    origin = lmstudio.url.rstrip("/")
    said = f"the address ends with /api/v2: write the address as {origin}"
    assert _hint(LMStudioProvider, f"{origin}/api/v2", call) == said


@_each_verb
def test_the_version_belongs_to_the_address_of_openais_api(
    compatible: FakeOpenAICompatible, ollama: FakeOllama, lmstudio: FakeLMStudio, call: Any
) -> None:
    for server in (compatible, ollama, lmstudio):
        origin = server.url.rstrip("/")
        said = f"write the address with the version of the API: {origin}/v1"
        assert _hint(OpenAICompatibleProvider, origin, call) == said


@_each_verb
@pytest.mark.parametrize("path", ["/api", "/api/v0"])
def test_another_path_of_the_address_of_openais_api_is_named(
    compatible: FakeOpenAICompatible, path: str, call: Any
) -> None:
    said = f"write the address as {compatible.base_url}"
    assert _hint(OpenAICompatibleProvider, compatible.url.rstrip("/") + path, call) == said


@_each_verb
def test_another_kind_of_server_is_named(
    compatible: FakeOpenAICompatible, ollama: FakeOllama, lmstudio: FakeLMStudio, call: Any
) -> None:
    is_lmstudio = "the server seems to be LM Studio: use LMStudioProvider"
    is_ollama = "the server seems to be Ollama: use OllamaProvider"
    is_llama_cpp = (
        "the server seems to be llama.cpp: use OpenAICompatibleProvider, with /v1 in its address"
    )
    assert _hint(OllamaProvider, lmstudio.url, call) == is_lmstudio
    assert _hint(LMStudioProvider, ollama.url, call) == is_ollama
    assert _hint(OllamaProvider, compatible.url, call) == is_llama_cpp


def _page(status: str) -> Callable[[Exchange], List[bytes]]:
    page = b"<!DOCTYPE html>\n<html><body>Welcome</body></html>"
    return lambda exchange: [http_answer(page, status=status, content_type="text/html")]


@_each_verb
@pytest.mark.parametrize("make", [OllamaProvider, LMStudioProvider, OpenAICompatibleProvider])
def test_a_web_server_is_named(make: Any, call: Any) -> None:
    path = "/v1" if make is OpenAICompatibleProvider else ""
    messages = {
        "404 Not Found": "the server answered with a web page (status 404)",
        "200 OK": "the response is a web page and not JSON",
    }
    for status, message in messages.items():
        with ScriptedServer(_page(status)) as server:
            with make(server.url.rstrip("/") + path, retry=_ONCE) as provider:
                with pytest.raises(ProviderError) as caught:
                    call(provider)
        assert caught.value.message == message
        assert caught.value.hint == (
            "check the host, the port and the path of the address: a web server seems to listen"
            " there"
        )


@pytest.mark.parametrize("make", [OllamaProvider, LMStudioProvider, OpenAICompatibleProvider])
def test_a_response_that_is_not_json_makes_the_hint_ask_for_the_kind(make: Any) -> None:
    path = "/v1" if make is OpenAICompatibleProvider else ""
    with ScriptedServer(http_answer("Hello", content_type="text/plain")) as server:
        hint = _hint(make, server.url.rstrip("/") + path, _VERBS[0]) or ""
    assert hint.startswith("check that this is the address of ")


@_each_verb
def test_https_where_the_server_speaks_http(ollama: FakeOllama, call: Any) -> None:
    hint = _hint(OllamaProvider, ollama.url.replace("http:", "https:"), call) or ""
    assert hint.startswith("write http:// in the address")


@_each_verb
def test_http_where_the_server_speaks_https(call: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with FakeOllama(tls=context) as server:
        hint = _hint(OllamaProvider, server.url.replace("https:", "http:"), call) or ""
    assert "https://" in hint


@pytest.mark.parametrize(
    "body",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<html><body>The plain HTTP request was sent to HTTPS port</body></html>",
    ],
)
def test_a_server_that_says_it_speaks_https(body: bytes) -> None:
    answer = http_answer(body, status="400 Bad Request", content_type="text/plain")
    with ScriptedServer(lambda exchange: [answer]) as server:
        hint = _hint(OllamaProvider, server.url, lambda provider: provider.list_models())
    assert hint == "write https:// in the address of the server"


def test_a_model_that_is_missing_says_nothing_of_the_address(ollama: FakeOllama) -> None:
    hint = _hint(OllamaProvider, ollama.url, lambda provider: provider.chat("Hi", model="nope"))
    assert "address" not in (hint or "")


def test_a_connection_that_served_before_says_nothing_of_the_scheme(ollama: FakeOllama) -> None:
    with OllamaProvider(ollama.url, retry=_ONCE, model="llama3.2") as provider:
        provider.chat("Hi")
        ollama.break_next("closed without an answer", times=None)
        with pytest.raises(StreamInterruptedError) as caught:
            provider.chat("Hi")
    assert isinstance(caught.value.hint, (str, type(None)))


def test_another_server_of_openais_dialect_works_as_an_old_lmstudio(
    compatible: FakeOpenAICompatible,
) -> None:
    with LMStudioProvider(compatible.url, retry=_ONCE) as provider:
        assert provider.generation() == "older"
        assert provider.chat("Hi", model=provider.list_models()[0]).text
