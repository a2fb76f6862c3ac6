"""Where a name leads: every address is checked, each time, and is the one connected to."""

from __future__ import annotations

import socket
from typing import Any, Callable, List, Tuple

import pytest

from localproviders import (
    ConfigurationError,
    LocalityError,
    OllamaProvider,
    ProviderError,
    UnreachableError,
)
from localproviders._http import resolve
from localproviders._http.deadline import Call
from localproviders._http.resolve import Target
from localproviders.testing import Exchange, ScriptedServer
from localproviders.types import Limits
from tests.locality.support import AGAIN, CALLS, ONCE, PROVIDERS, good, make

_ELSEWHERE = "93.184.216.34"
_REAL = socket.getaddrinfo

#: Makes the resolver answer these addresses, call by call; gives the names it is asked for.
Fake = Callable[..., List[str]]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Fake:
    def fake(*answers: Any) -> List[str]:
        asked: List[str] = []

        def getaddrinfo(host: str, port: int, *args: Any, **how: Any) -> Any:
            if how.get("flags", 0) & socket.AI_NUMERICHOST:
                return _REAL(host, port, *args, **how)
            asked.append(host)
            answer = answers[min(len(asked), len(answers)) - 1]
            return [_entry(address, port) for address in answer]

        monkeypatch.setattr(resolve.socket, "getaddrinfo", getaddrinfo)
        return asked

    return fake


def _entry(address: str, port: int) -> Tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


# --- each address -------------------------------------------------------------------------

_BAD_ANSWERS = [
    [_ELSEWHERE],
    ["127.0.0.1", _ELSEWHERE],
    [_ELSEWHERE, "127.0.0.1"],
    ["127.0.0.1", "::1", "2001:db8::1"],
    ["127.0.0.1", "192.168.1.5"],
    ["::ffff:93.184.216.34"],
    ["127.0.0.1", "::ffff:10.0.0.1"],
    ["64:ff9b::7f00:1"],
    ["0.0.0.0"],
    ["::"],
    ["fe80::1"],
]


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("answer", _BAD_ANSWERS, ids=" ".join)
def test_one_address_outside_is_enough_to_refuse_a_name(
    kind: str, answer: List[str], resolver: Fake, reached: List[Any]
) -> None:
    resolver(answer)
    with make(kind, "http://looks-local:9") as provider:
        for call in CALLS.values():
            with pytest.raises(LocalityError, match="looks-local"):
                call(provider)

    assert reached == []


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_name_is_resolved_once_for_a_connection(
    kind: str, resolver: Fake, reached: List[Any]
) -> None:
    asked = resolver(["127.0.0.1"], [_ELSEWHERE])
    with ScriptedServer(good) as server:
        with make(kind, f"http://my-machine:{server.port}") as provider:
            for call in CALLS.values():
                call(provider)

    assert asked == ["my-machine"]
    assert reached == [("127.0.0.1", server.port)]


# --- a name that changes its mind ---------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("name", CALLS)
def test_a_new_connection_is_checked_anew(
    kind: str, name: str, resolver: Fake, reached: List[Any]
) -> None:
    asked = resolver(["127.0.0.1"], [_ELSEWHERE])
    with ScriptedServer(good) as server:
        with make(kind, f"http://my-machine:{server.port}") as provider:
            provider.list_models()
            provider.close()
            with pytest.raises(LocalityError, match=_ELSEWHERE):
                CALLS[name](provider)

    assert len(asked) == 2
    assert len(server.exchanges) == len(reached) == 1


def test_the_prompt_stays_where_the_look_at_the_list_went(
    resolver: Fake, reached: List[Any]
) -> None:
    """Ollama's list is asked first; between it and the prompt the name may move."""

    def script(exchange: Exchange) -> List[Any]:
        return [*good(exchange), lambda e: e.close()]

    resolver(["127.0.0.1"], [_ELSEWHERE])
    with ScriptedServer(script) as server:
        with make("ollama", f"http://my-machine:{server.port}", retry=AGAIN) as provider:
            with pytest.raises(LocalityError):
                provider.chat("A secret.")

    assert [exchange.path for exchange in server.exchanges] == ["/api/tags"]
    assert len(reached) == 1


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_repetition_on_a_fresh_connection_is_checked_too(
    kind: str, resolver: Fake, reached: List[Any]
) -> None:
    def script(exchange: Exchange) -> List[Any]:
        if len(server.exchanges) > 1:
            exchange.close()  # a kept connection dies as it is used again
        return good(exchange)

    asked = resolver(["127.0.0.1"], [_ELSEWHERE])
    with ScriptedServer(script) as server:
        with make(kind, f"http://my-machine:{server.port}", retry=AGAIN) as provider:
            provider.list_models()
            with pytest.raises(LocalityError):
                provider.list_models()

    assert len(asked) == 2
    assert len(reached) == 1


# --- localhost ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "localhost.", "foo.localhost", "a.b.localhost."]
)
@pytest.mark.parametrize("kind", PROVIDERS)
def test_localhost_never_asks_the_resolver(
    kind: str, host: str, resolver: Fake, reached: List[Any]
) -> None:
    asked = resolver([_ELSEWHERE])
    with ScriptedServer(good) as server:
        with make(kind, f"http://{host}:{server.port}") as provider:
            for call in CALLS.values():
                call(provider)

    assert asked == []
    assert ("127.0.0.1", server.port) in reached
    assert {address[0] for address in reached} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    "host",
    [
        "localhost.example.com",
        "127.0.0.1.example.com",
        "notlocalhost",
        "localhost.localdomain",
        "localhost-",
        "127.0.0.1.",
        "ip6-localhost",
    ],
)
def test_what_only_looks_like_localhost_is_a_name(
    host: str, resolver: Fake, reached: List[Any]
) -> None:
    asked = resolver([_ELSEWHERE])
    with make("ollama", f"http://{host}:9") as provider, pytest.raises(LocalityError):
        provider.list_models()

    assert asked == [host]
    assert reached == []


# --- spellings of addresses ---------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001"],
)
def test_an_odd_spelling_of_loopback_leads_there(
    host: str, resolver: Fake, reached: List[Any]
) -> None:
    resolver([socket.inet_ntoa(socket.inet_aton(host))])
    with ScriptedServer(good) as server:
        with make("ollama", f"http://{host}:{server.port}") as provider:
            provider.list_models()

    assert reached == [("127.0.0.1", server.port)]


@pytest.mark.parametrize(
    "host",
    ["134744072", "0x08080808", "010.010.010.010", "8.526344", "0", "0127.0.0.1", "2147483649"],
)
def test_an_odd_spelling_of_another_address_is_refused(
    host: str, resolver: Fake, reached: List[Any]
) -> None:
    resolver([socket.inet_ntoa(socket.inet_aton(host))])
    with make("ollama", f"http://{host}:9") as provider, pytest.raises(LocalityError):
        provider.list_models()

    assert reached == []


@pytest.mark.parametrize(
    "host",
    [
        "[::ffff:8.8.8.8]",
        "[::ffff:808:808]",
        "[::ffff:192.168.1.1]",
        "[::8.8.8.8]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fe80::1%25lo]",
        "[::ffff:0:127.0.0.1]",
    ],
)
def test_ipv6_that_holds_another_address_is_judged_by_it(host: str, reached: List[Any]) -> None:
    with make("ollama", f"http://{host}:9") as provider, pytest.raises(LocalityError):
        provider.list_models()

    assert reached == []


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", "::ffff:7f00:1"])
def test_loopback_mapped_into_ipv6_is_loopback(host: str, reached: List[Any]) -> None:
    with ScriptedServer(good) as server:
        with make("ollama", f"http://[{host}]:{server.port}") as provider:
            try:
                provider.list_models()
            except UnreachableError:
                pytest.skip("this machine has no IPv6")

    assert [address[0] for address in reached] == ["::ffff:127.0.0.1"]


@pytest.mark.parametrize(
    "host",
    [
        "loc%61lhost",
        "%6cocalhost",
        "127.0.0.1%lo",
        "127.0.0.1%00.example.com",
        "１２７.0.0.1",
        "*x",
    ],
)
def test_an_address_that_two_readers_may_read_differently_is_refused(
    host: str, resolver: Fake, reached: List[Any]
) -> None:
    asked = resolver(["127.0.0.1"])
    with pytest.raises(ConfigurationError):
        with OllamaProvider(f"http://{host}:9", retry=ONCE) as provider:
            provider.list_models()

    assert asked == []
    assert reached == []


# --- zones --------------------------------------------------------------------------------

_ZONE = (socket.if_nameindex() or [(0, "")])[0]


@pytest.mark.skipif(not socket.has_ipv6 or not _ZONE[0], reason="no IPv6 interface")
@pytest.mark.parametrize("mark", ["%", "%25"])
def test_a_zone_reaches_the_socket(mark: str, reached: List[Any]) -> None:
    index, name = _ZONE
    host = f"http://[fe80::1{mark}{name}]:9"
    with OllamaProvider(host, locality="private", retry=ONCE) as provider:
        with pytest.raises(UnreachableError):
            provider.list_models()

    assert [(address[0].partition("%")[0], address[3]) for address in reached] == [
        ("fe80::1", index)
    ]


def test_a_zone_does_not_make_an_address_local() -> None:
    found: List[Target] = []
    try:
        found = resolve.resolve(f"fe80::1%25{_ZONE[1]}", 9, Call(Limits()))
    except OSError:
        pytest.skip("this machine has no IPv6")

    with pytest.raises(LocalityError):
        resolve._check_place("fe80::1", str(found[0].sockaddr[0]), resolve.Policy("loopback"))


# --- a resolver that fails ----------------------------------------------------------------


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label")])
def test_a_name_that_leads_nowhere_is_unreachable(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(resolve.socket, "getaddrinfo", fail)
    with OllamaProvider("http://no-such-name", retry=ONCE) as provider, pytest.raises(
        UnreachableError
    ):
        provider.list_models()


def test_a_name_without_addresses_is_unreachable(resolver: Fake) -> None:
    resolver([])
    with OllamaProvider("http://no-address", retry=ONCE) as provider, pytest.raises(
        ProviderError
    ) as caught:
        provider.list_models()

    assert isinstance(caught.value, UnreachableError)
