"""Any text is either a valid address or one typed error, both when parsed and when used."""

from __future__ import annotations

import socket
from typing import Any, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localproviders import (
    ConfigurationError,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
)
from localproviders._address import Endpoint, parse_endpoint
from localproviders._http import resolve
from tests.promises.fuzz.promises import check, check_error
from tests.support.depth import examples

ONCE = RetryPolicy(attempts=1)

_PARTS = ["http://", "https://", "HTTP://", "ftp://", "unix:", "unix:///", "/x.sock", ":/", "://", "/", "//", ":", "::", "::1", "[", "]",
          "127.0.0.1", "0.0.0.0", "localhost", "h", "ü", "%", "%25", "@", "?", "#", " ", "\t", "'",
          '"', "\\", "\x00", "\n", "v1", "api", "80", "0", "65535", "65536", "-1", "٣", "..", ".",
          "ollama.com", "fe80::1%eth0", "a" * 64, "\ud800", "\u2028"]  # fmt: skip
_addresses = st.text(max_size=20) | st.lists(st.sampled_from(_PARTS), max_size=8).map("".join)


@examples(500)
@given(text=_addresses, lenient=st.booleans(), suffixes=st.sampled_from([(), ("v1", "api/v1")]))
@example("http://h/a'/", False, ())
@example("http://h/ /a", False, ())
@example("http://h/v1/v1", False, ("v1",))
@example("::%]", False, ())
@example("unix:///v1/v1:/v1/v1", False, ("v1",))
@example("unix:////x/:/a//", False, ())
@example("unix:///x ", False, ())
@example("unix:///x /:/", False, ())
def test_an_address_survives_writing_and_parsing(text: str, lenient: bool, suffixes: Any) -> None:
    try:
        found = parse_endpoint(text, default_port=1234, lenient=lenient, api_suffixes=suffixes)
    except ConfigurationError as error:
        check_error(error)
        return
    check(found)
    assert isinstance(found, Endpoint)
    assert found.is_loopback in (True, False)
    assert parse_endpoint(str(found), default_port=1, lenient=lenient) == found


@pytest.fixture(scope="module")
def unresolvable() -> Iterator[None]:
    """Let no name resolve, so that no example leaves this machine."""

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "unknown")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolve.socket, "getaddrinfo", unknown)
        yield


@pytest.mark.usefixtures("unresolvable")
@examples(150)
@given(text=_addresses)
@example("h\x00")
@example("a..b")
@example("[::1%\x00]")
@example("\ud800")
@example("unix:///x\ud800")
@example("unix:///" + "x" * 300)
def test_a_call_to_any_address_without_a_server_is_one_typed_error(text: str) -> None:
    try:
        provider = OpenAICompatibleProvider(text, model="m", timeout=5, retry=ONCE)
    except ConfigurationError:
        return
    with provider, pytest.raises(ProviderError) as caught:
        provider.list_models()
    check_error(caught.value)
