"""After an exception at any line of a call, such as an interrupt, no frame shows a secret."""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Set

import pytest

from localproviders import ConfigurationError, ProviderError
from localproviders._address import ProxyMap
from localproviders._http import session
from localproviders._http import socket as bounded_socket
from localproviders._record import plain
from localproviders.secret import SecretString, Unseen
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.covering import in_usual_run
from tests.support.locality import CALLS, KEY, PROVIDERS, good, make
from tests.support.secrets import PASSWORD, PROXY, Interrupter, leaks


def _quoting(exchange: Exchange) -> List[bytes]:
    """Refuse the request and quote all of it, with the key and the password of the proxy."""
    quoted = {**exchange.headers, "key": f"{KEY} {KEY[:12]}...", "prompt": exchange.body.decode()}
    return [http_answer({"error": {"message": str(quoted)}}, status="400 Bad Request")]


#: Functions of this package to which requests, urllib3 and http.client pass a secret. The frames of
#: these libraries hold it anyway.
_ENTRIES: Set[Any] = {
    session._Adapter.proxy_manager_for.__code__,
    session._Pool.__init__.__code__,
    bounded_socket.BoundedSocket.sendall.__code__,
    # The callers in this package pass a wrapped text.
    SecretString.scrub.__code__,
}


def _quoting_in_its_head(exchange: Exchange) -> List[bytes]:
    words = f"Bearer {KEY} {KEY[:12]}..."
    headers = [("WWW-Authenticate", words), ("X-Empty", "")]
    return [http_answer({"error": "no"}, status="401 Unauthorized", headers=headers)]


_SERVERS: Mapping[str, Callable[[Exchange], Any]] = {
    "answers": good,
    "quotes": _quoting,
    "quotes in its head": _quoting_in_its_head,
}


# A call with a good response has many more lines. The usual run leaves that case to
# `tests/promises/life/test_interrupt.py`.
@pytest.mark.sample(0)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("server_that", in_usual_run(_SERVERS, lambda name: name == "quotes"))
def test_no_line_of_a_call_shows_a_secret(server_that: str, kind: str) -> None:
    with ScriptedServer(_SERVERS[server_that]) as server:
        with make(kind, server, api_key=KEY) as provider:

            def work() -> None:
                for call in ("list_models", "chat", "embed"):
                    try:
                        CALLS[call](provider)
                    except ProviderError:
                        pass
                provider.close()

            count, found = Interrupter(work, _ENTRIES).leaks()
    assert count > 50
    assert found == []


@pytest.mark.sample(0)
@pytest.mark.parametrize(
    ("given", "scheme"),
    [
        ("argument", "http"),
        pytest.param("environment", "https", marks=pytest.mark.slow),
        pytest.param("argument", "https", marks=pytest.mark.slow),
        pytest.param("environment", "http", marks=pytest.mark.slow),
    ],
)
def test_no_line_of_a_call_through_a_proxy_shows_a_secret(
    given: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(_quoting) as proxy:
        url = proxy.url.replace("//", f"//somebody:{PASSWORD}@")
        monkeypatch.setenv(f"{scheme}_proxy", url)
        proxies: Any = {scheme: url} if given == "argument" else "environment"
        with make(
            "openai",
            f"{scheme}://example.invalid",
            locality="any",
            proxies=proxies,
            api_key=KEY,
            allow_plaintext_key=True,
        ) as provider:

            def work() -> None:
                try:
                    provider.chat("Hi")
                except ProviderError:
                    pass
                provider.close()

            count, found = Interrupter(work, _ENTRIES).leaks()
    assert count > 50
    assert found == []


# --- errors of a proxy --------------------------------------------------------------------


def _quotation(exchange: Exchange) -> str:
    return f"you said {exchange.headers.get('proxy-authorization')} for somebody:{PASSWORD}"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("given", ["argument", "environment"])
def test_a_proxy_that_quotes_its_password_is_not_quoted(
    scheme: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(exchange: Exchange) -> List[bytes]:
        words = _quotation(exchange)
        return [http_answer({"error": words}, status=f"407 {words}")]

    with ScriptedServer(refuse) as proxy:
        url = proxy.url.replace("//", f"//somebody:{PASSWORD}@")
        monkeypatch.setenv(f"{scheme}_proxy", url)
        proxies: Any = {scheme: url} if given == "argument" else "environment"
        with make(
            "openai", f"{scheme}://example.invalid", locality="any", proxies=proxies
        ) as provider:
            with pytest.raises(ProviderError) as caught:
                provider.chat("Hi")
    [sent] = {exchange.headers["proxy-authorization"] for exchange in proxy.exchanges}
    seen = f"{caught.value!r} {caught.value} {caught.value.to_dict()} {caught.value.__cause__!r}"

    assert leaks(caught.value) == []
    assert sent.split()[1] not in seen


@pytest.mark.sample(8)
@pytest.mark.parametrize(
    "url",
    [
        f"http://somebody:{PASSWORD}@host:notaport",
        f"http://somebody:{PASSWORD}@[::1",
        f"gopher://somebody:{PASSWORD}@127.0.0.1:9",
        f"socks5://somebody:{PASSWORD}@127.0.0.1:9",
        f"somebody:{PASSWORD}@127.0.0.1:9",
        f"//somebody:{PASSWORD}@127.0.0.1:9",
        f"http://somebody:{PASSWORD}@@127.0.0.1:9",
        PROXY,
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_cannot_be_used_is_not_quoted(url: str, scheme: str) -> None:
    with make(
        "openai", f"{scheme}://example.invalid", locality="any", proxies={scheme: url}
    ) as provider:
        with pytest.raises(ProviderError) as caught:
            provider.list_models()
    assert leaks(caught.value) == []


# --- the password of a proxy in dictionaries and pickles --------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        (f"http://me:{PASSWORD}@proxy:3128", "http://me:**********@proxy:3128"),
        (f"http://{PASSWORD}@proxy", "http://**********@proxy"),
        (f"me:{PASSWORD}@proxy", "me:**********@proxy"),
        (f"http://me:{PASSWORD}@{PASSWORD}/x@proxy", "http://me:**********@proxy"),
        (f"//me:{PASSWORD}@proxy", "//me:**********@proxy"),
    ],
)
def test_a_dictionary_has_the_proxy_without_its_password(url: str, shown: str) -> None:
    proxies = ProxyMap(http=Unseen(url))

    assert proxies.to_dict() == {"http": shown}
    assert plain({"proxies": proxies}) == {"proxies": {"http": shown}}
    assert PASSWORD not in repr([proxies, *proxies.values()])


def test_a_password_missing_after_pickling_is_an_error_at_the_first_call() -> None:
    provider = make("openai", "http://example.invalid", locality="any", proxies={"http": PROXY})
    import pickle

    with pickle.loads(pickle.dumps(provider)) as again:
        with pytest.raises(ConfigurationError, match="password of a proxy was lost"):
            again.list_models()
