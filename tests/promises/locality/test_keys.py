"""A key is sent only to its own endpoint, and beyond loopback never in plain text."""

from __future__ import annotations

import pickle
import select
import socket
from typing import Any, List

import pytest

from localproviders import (
    ConfigurationError,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    SecretString,
    UnreachableError,
)
from localproviders._http import resolve
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.locality import (
    CALLS,
    KEY,
    PROMPT,
    PROVIDERS,
    Authority,
    SilentListener,
    good,
    make,
)

_REAL = socket.getaddrinfo


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("name", CALLS)
def test_every_call_sends_the_unchanged_key(kind: str, name: str) -> None:
    with ScriptedServer(good) as server, make(kind, server, api_key=KEY) as provider:
        CALLS[name](provider)

    assert {exchange.headers.get("authorization") for exchange in server.exchanges} == {
        f"Bearer {KEY}"
    }
    assert all(KEY not in exchange.path + str(exchange.body) for exchange in server.exchanges)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_two_providers_keep_their_keys_apart(kind: str) -> None:
    with ScriptedServer(good) as one, ScriptedServer(good) as other:
        with make(kind, one, api_key="key-one") as first, make(kind, other) as second:
            with make(kind, one, api_key="key-two") as third:
                for provider in (first, second, third, first):
                    provider.chat("Hi")

    def sent(server: ScriptedServer) -> List[Any]:
        chats = [exchange for exchange in server.exchanges if exchange.method == "POST"]
        return [exchange.headers.get("authorization") for exchange in chats]

    assert sent(one) == ["Bearer key-one", "Bearer key-two", "Bearer key-one"]
    assert sent(other) == [None]


# --- plain text -------------------------------------------------------------------------

_OUTSIDE_HOSTS = [("10.0.0.1", "private"), ("192.168.1.1", "private"), ("8.8.8.8", "any")]


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize(("host", "locality"), _OUTSIDE_HOSTS)
def test_a_key_is_not_sent_in_plain_text_beyond_loopback(
    kind: str, host: str, locality: str, reached: List[Any]
) -> None:
    with make(kind, f"http://{host}:9", api_key=KEY, locality=locality) as provider:
        for call in CALLS.values():
            with pytest.raises(ConfigurationError, match="in the clear"):
                call(provider)

    assert reached == []


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize(
    ("scheme", "options"),
    [
        ("https", {"api_key": KEY}),
        ("http", {"api_key": KEY, "allow_plaintext_key": True}),
        ("http", {}),
    ],
    ids=["over TLS", "allowed", "no key"],
)
@pytest.mark.parametrize(("host", "locality"), _OUTSIDE_HOSTS)
def test_a_call_beyond_loopback_is_sent_with_tls_permission_or_no_key(
    kind: str, scheme: str, options: Any, host: str, locality: str, reached: List[Any]
) -> None:
    with make(kind, f"{scheme}://{host}:9", locality=locality, **options) as provider:
        with pytest.raises(UnreachableError):
            provider.list_models()

    assert [address[0] for address in reached] == [host]


def test_a_name_that_moves_beyond_loopback_receives_no_key_in_plain_text(
    monkeypatch: pytest.MonkeyPatch, reached: List[Any]
) -> None:
    """The name resolves to loopback at first, where the key may be sent, then to another host."""
    answers = ["127.0.0.1", "10.0.0.1"]

    def getaddrinfo(host: str, port: int, *args: Any, **how: Any) -> Any:
        address = host if host[0].isdigit() else answers.pop(0)
        return _REAL(address, port, *args, **how)

    monkeypatch.setattr(resolve.socket, "getaddrinfo", getaddrinfo)
    with ScriptedServer(good) as server:
        url = f"http://my-machine:{server.port}"
        with make("openai", url, api_key=KEY, locality="any") as provider:
            provider.list_models()
            provider.close()
            with pytest.raises(ConfigurationError, match="in the clear"):
                provider.list_models()

    assert server.exchanges[0].headers["authorization"] == f"Bearer {KEY}"
    assert [address[0] for address in reached] == ["127.0.0.1"]


# --- through a proxy ----------------------------------------------------------------------


def test_a_key_in_plain_text_is_not_sent_to_a_proxy() -> None:
    with SilentListener() as proxy:
        with make(
            "openai",
            "http://example.invalid",
            api_key=KEY,
            locality="any",
            proxies={"http": proxy.url},
        ) as provider:
            for call in CALLS.values():
                with pytest.raises(ConfigurationError, match="in the clear"):
                    call(provider)

        assert not proxy.was_reached


def test_a_key_allowed_in_plain_text_reaches_its_endpoint_through_a_proxy() -> None:
    with ScriptedServer(good) as proxy:
        with make(
            "openai",
            "http://example.invalid",
            api_key=KEY,
            allow_plaintext_key=True,
            locality="any",
            proxies={"http": proxy.url},
        ) as provider:
            provider.chat("Hi")

    assert proxy.exchanges[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_tunnel_shows_the_proxy_neither_key_nor_prompt(authority: Authority) -> None:
    passed = bytearray()

    def relay(exchange: Exchange) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as inner:
            pair = {exchange.sock: inner, inner: exchange.sock}
            while True:
                for sock in select.select(list(pair), [], [], 10)[0]:
                    data = sock.recv(65536)
                    if not data:
                        exchange.close()
                    passed.extend(data)
                    pair[sock].sendall(data)

    established = b"HTTP/1.1 200 Connection established\r\n\r\n"
    with ScriptedServer(good, tls=authority.context("example.invalid")) as server:
        with ScriptedServer(lambda _: [established, relay]) as proxy:
            with make(
                "openai",
                "https://example.invalid",
                api_key=KEY,
                locality="any",
                ca_bundle=authority.bundle,
                proxies={"https": proxy.url},
            ) as provider:
                provider.chat(PROMPT)

    [opening] = proxy.exchanges
    seen = f"{opening.method} {opening.path} {opening.headers} {bytes(passed)!r}"
    assert server.exchanges[0].headers["authorization"] == f"Bearer {KEY}"
    assert opening.method == "CONNECT" and "authorization" not in opening.headers
    assert KEY not in seen and PROMPT not in seen


# --- sources of keys -----------------------------------------------------------------


@pytest.mark.parametrize("call", ["chat", "embed"])
def test_no_warning_shows_a_model_name_that_is_the_key(call: str) -> None:
    def renamed(exchange: Exchange) -> List[bytes]:
        body = b"".join(
            line for line in good(exchange)[0].split(b"\r\n") if line[:1] in (b"d", b"{")
        )
        media = "text/event-stream" if body.startswith(b"data:") else "application/json"
        return [http_answer(body.decode().replace('"m"', f'"{KEY}"'), content_type=media)]

    with ScriptedServer(renamed) as server, make("openai", server, api_key=KEY) as provider:
        answer = CALLS[call](provider)
    assert "answered" in str(answer.warnings)
    assert KEY not in str(answer.warnings)


def test_ollamas_variable_is_for_its_own_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "k" * 20)

    assert OllamaProvider().settings.api_key is None
    assert OllamaProvider("http://ollama.com", locality="any").settings.api_key is None
    assert OllamaProvider("https://ollama.com.example", locality="any").settings.api_key is None
    assert OllamaProvider("https://ollama.com", locality="any").settings.api_key is not None


def test_lmstudios_variables_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMSTUDIO_API_TOKEN", "second")
    second = LMStudioProvider().settings.api_key
    monkeypatch.setenv("LM_API_TOKEN", "first")
    first = LMStudioProvider().settings.api_key

    assert first and second
    assert (first.reveal(), second.reveal()) == ("first", "second")


def test_no_other_variable_is_used_as_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OLLAMA_API_KEY", "HF_TOKEN", "API_KEY", "OLLAMA_TOKEN"):
        monkeypatch.setenv(name, KEY)
    with ScriptedServer(good) as server:
        for kind in PROVIDERS:
            with make(kind, server) as provider:
                provider.chat("Hi")

    assert all("authorization" not in exchange.headers for exchange in server.exchanges)


def test_lmstudios_variable_is_used_for_every_host_but_not_in_plain_text(
    monkeypatch: pytest.MonkeyPatch, reached: List[Any]
) -> None:
    """The variable is for the provider's server on any host, but is never sent in plain text."""
    monkeypatch.setenv("LM_API_TOKEN", KEY)
    with LMStudioProvider("http://10.0.0.1", locality="private") as provider:
        with pytest.raises(ConfigurationError, match="in the clear"):
            provider.list_models()

    assert reached == []


def test_a_key_lost_in_pickling_stops_the_call() -> None:
    with ScriptedServer(good) as server:
        provider = OpenAICompatibleProvider(server.url + "/v1", model="m", api_key=KEY)
        with pickle.loads(pickle.dumps(provider)) as lost:
            with pytest.raises(ConfigurationError, match="pickles and dictionaries left it out"):
                lost.chat("Hi")

    assert server.exchanges == []


def test_a_key_from_the_environment_is_read_again_after_unpickling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with ScriptedServer(good) as server:
        key = SecretString.from_env("MY_KEY")
        data = pickle.dumps(OpenAICompatibleProvider(server.url + "/v1", api_key=key))
        monkeypatch.setenv("MY_KEY", "another-key")
        with pickle.loads(data) as again:
            again.list_models()

    assert KEY.encode() not in data
    assert server.exchanges[0].headers["authorization"] == "Bearer another-key"
