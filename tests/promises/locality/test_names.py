"""Every address of a host name is checked for each connection, and then connected to."""

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
from tests.support.locality import AGAIN, CALLS, ONCE, PROVIDERS, good, make

_OUTSIDE = "93.184.216.34"
_REAL = socket.getaddrinfo

#: Sets the addresses that the resolver returns, call by call; returns the list of resolved names.
FakeResolver = Callable[..., List[str]]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> FakeResolver:
    """Replace the resolver of host names."""

    def fake(*answers: Any) -> List[str]:
        resolved: List[str] = []

        def getaddrinfo(host: str, port: int, *args: Any, **how: Any) -> Any:
            if how.get("flags", 0) & socket.AI_NUMERICHOST:
                return _REAL(host, port, *args, **how)
            resolved.append(host)
            answer = answers[min(len(resolved), len(answers)) - 1]
            return [_entry(address, port) for address in answer]

        monkeypatch.setattr(resolve.socket, "getaddrinfo", getaddrinfo)
        return resolved

    return fake


def _entry(address: str, port: int) -> Tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


# --- several addresses -------------------------------------------------------------------------

_BAD_ANSWERS = [
    [_OUTSIDE],
    ["127.0.0.1", _OUTSIDE],
    [_OUTSIDE, "127.0.0.1"],
    ["127.0.0.1", "::1", "2001:db8::1"],
    ["127.0.0.1", "192.168.1.5"],
    ["::ffff:93.184.216.34"],
    ["127.0.0.1", "::ffff:10.0.0.1"],
    ["64:ff9b::7f00:1"],
    ["0.0.0.0"],
    ["::"],
    ["fe80::1"],
]


@pytest.mark.sample(13)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("answer", _BAD_ANSWERS, ids=" ".join)
def test_a_name_with_any_address_outside_is_refused(
    kind: str, answer: List[str], resolver: FakeResolver, reached: List[Any]
) -> None:
    resolver(answer)
    with make(kind, "http://looks-local:9") as provider:
        for call in CALLS.values():
            with pytest.raises(LocalityError, match="looks-local"):
                call(provider)

    assert reached == []


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_name_is_resolved_once_for_a_connection(
    kind: str, resolver: FakeResolver, reached: List[Any]
) -> None:
    resolved = resolver(["127.0.0.1"], [_OUTSIDE])
    with ScriptedServer(good) as server:
        with make(kind, f"http://my-machine:{server.port}") as provider:
            for call in CALLS.values():
                call(provider)

    assert resolved == ["my-machine"]
    assert reached == [("127.0.0.1", server.port)]


# --- a name whose address changes ---------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("name", CALLS)
def test_each_new_connection_is_checked(
    kind: str, name: str, resolver: FakeResolver, reached: List[Any]
) -> None:
    resolved = resolver(["127.0.0.1"], [_OUTSIDE])
    with ScriptedServer(good) as server:
        with make(kind, f"http://my-machine:{server.port}") as provider:
            provider.list_models()
            provider.close()
            with pytest.raises(LocalityError, match=_OUTSIDE):
                CALLS[name](provider)

    assert len(resolved) == 2
    assert len(server.exchanges) == len(reached) == 1


def test_the_prompt_is_not_sent_if_the_name_moved_after_the_model_list(
    resolver: FakeResolver, reached: List[Any]
) -> None:
    """Ollama's model list is requested first; then the address of the name changes."""

    def script(exchange: Exchange) -> List[Any]:
        return [*good(exchange), lambda e: e.close()]

    resolver(["127.0.0.1"], [_OUTSIDE])
    with ScriptedServer(script) as server:
        with make("ollama", f"http://my-machine:{server.port}", retry=AGAIN) as provider:
            with pytest.raises(LocalityError):
                provider.chat("A secret.")

    assert [exchange.path for exchange in server.exchanges] == ["/api/tags"]
    assert len(reached) == 1


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_retry_on_a_new_connection_is_checked_too(
    kind: str, resolver: FakeResolver, reached: List[Any]
) -> None:
    def script(exchange: Exchange) -> List[Any]:
        if len(server.exchanges) > 1:
            exchange.close()  # a kept connection is closed when it is used again
        return good(exchange)

    resolved = resolver(["127.0.0.1"], [_OUTSIDE])
    with ScriptedServer(script) as server:
        with make(kind, f"http://my-machine:{server.port}", retry=AGAIN) as provider:
            provider.list_models()
            with pytest.raises(LocalityError):
                provider.list_models()

    assert len(resolved) == 2
    assert len(reached) == 1


# --- localhost ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "localhost.", "foo.localhost", "a.b.localhost."]
)
@pytest.mark.parametrize("kind", PROVIDERS)
def test_localhost_is_not_resolved(
    kind: str, host: str, resolver: FakeResolver, reached: List[Any]
) -> None:
    resolved = resolver([_OUTSIDE])
    with ScriptedServer(good) as server:
        with make(kind, f"http://{host}:{server.port}") as provider:
            for call in CALLS.values():
                call(provider)

    assert resolved == []
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
def test_a_name_that_resembles_localhost_is_resolved(
    host: str, resolver: FakeResolver, reached: List[Any]
) -> None:
    resolved = resolver([_OUTSIDE])
    with make("ollama", f"http://{host}:9") as provider, pytest.raises(LocalityError):
        provider.list_models()

    assert resolved == [host]
    assert reached == []


# --- spellings of addresses ---------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001"],
)
def test_an_odd_spelling_of_loopback_works(
    host: str, resolver: FakeResolver, reached: List[Any]
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
    host: str, resolver: FakeResolver, reached: List[Any]
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
def test_an_ipv6_address_that_contains_another_address_is_refused(
    host: str, reached: List[Any]
) -> None:
    with make("ollama", f"http://{host}:9") as provider, pytest.raises(LocalityError):
        provider.list_models()

    assert reached == []


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", "::ffff:7f00:1"])
def test_loopback_mapped_to_ipv6_is_loopback(host: str, reached: List[Any]) -> None:
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
def test_an_ambiguous_address_is_refused(
    host: str, resolver: FakeResolver, reached: List[Any]
) -> None:
    resolved = resolver(["127.0.0.1"])
    with pytest.raises(ConfigurationError):
        with OllamaProvider(f"http://{host}:9", retry=ONCE) as provider:
            provider.list_models()

    assert resolved == []
    assert reached == []


# --- zones --------------------------------------------------------------------------------

_ZONE = (socket.if_nameindex() or [(0, "")])[0]


@pytest.mark.skipif(not socket.has_ipv6 or not _ZONE[0], reason="no IPv6 interface")
@pytest.mark.parametrize("mark", ["%", "%25"])
def test_a_zone_is_passed_to_the_socket(mark: str, reached: List[Any]) -> None:
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
        resolve._check_place(
            "fe80::1", str(found[0].sockaddr[0]), resolve.LocalityPolicy("loopback")
        )


# --- a resolver that fails ----------------------------------------------------------------


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label")])
def test_a_name_that_does_not_resolve_is_unreachable(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(resolve.socket, "getaddrinfo", fail)
    with OllamaProvider("http://no-such-name", retry=ONCE) as provider, pytest.raises(
        UnreachableError
    ):
        provider.list_models()


def test_a_name_without_addresses_is_unreachable(resolver: FakeResolver) -> None:
    resolver([])
    with OllamaProvider("http://no-address", retry=ONCE) as provider, pytest.raises(
        ProviderError
    ) as caught:
        provider.list_models()

    assert isinstance(caught.value, UnreachableError)
