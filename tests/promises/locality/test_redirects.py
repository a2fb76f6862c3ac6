"""A server can neither redirect a call to another address nor set a cookie."""

from __future__ import annotations

from typing import Any, List

import pytest

from localproviders import LMStudioProvider, OpenAICompatibleProvider, ProtocolError, ProviderError
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.locality import CALLS, KEY, PROVIDERS, SilentListener, good, make

_STATUSES = (
    "300 Multiple Choices",
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
)
# Headers that name another address; {there} is another server, {here} the same one.
_TARGETS = {
    "another server": [("Location", "{there}/v1/models")],
    "the same server": [("Location", "{here}/else")],
    "a relative path": [("Location", "/else")],
    "a relative reference": [("Location", "//{host}/else")],
    "another scheme": [("Location", "https://{host}/")],
    "a strange scheme": [("Location", "file:///etc/passwd")],
    "nonsense": [("Location", "http://[::1")],
    "a refresh": [("Refresh", "0; url={there}")],
    "both": [("Location", "{there}"), ("Refresh", "0; url={there}")],
}


def _headers(target: str, here: str, there: str) -> Any:
    host = there.partition("//")[2]
    return [(n, v.format(here=here, there=there, host=host)) for n, v in _TARGETS[target]]


@pytest.mark.sample(6)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("target", _TARGETS)
@pytest.mark.parametrize("status", _STATUSES)
def test_no_redirect_is_followed_by_any_call(kind: str, target: str, status: str) -> None:
    def script(exchange: Exchange) -> List[bytes]:
        headers = _headers(target, server.url, elsewhere.url)
        return [http_answer(b"<a href='x'>", status=status, headers=headers)]

    with SilentListener() as elsewhere, ScriptedServer(script) as server:
        with make(kind, server, api_key=KEY) as provider:
            for call in CALLS.values():
                before = len(server.exchanges)
                with pytest.raises(ProtocolError, match="redirect"):
                    call(provider)
                assert len(server.exchanges) == before + 1

        assert not elsewhere.was_reached
    assert all("else" not in exchange.path for exchange in server.exchanges)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_good_response_with_a_refresh_header_is_accepted(kind: str) -> None:
    def script(exchange: Exchange) -> List[bytes]:
        [answer] = good(exchange)
        extra = f"Refresh: 0; url={elsewhere.url}\r\nLocation: {elsewhere.url}\r\n".encode()
        return [answer.replace(b"\r\n", b"\r\n" + extra, 1)]

    with SilentListener() as elsewhere, ScriptedServer(script) as server:
        with make(kind, server, api_key=KEY) as provider:
            for call in CALLS.values():
                call(provider)

        assert not elsewhere.was_reached


@pytest.mark.parametrize("kind", [LMStudioProvider, OpenAICompatibleProvider])
def test_no_other_address_in_a_header_is_called(kind: Any) -> None:
    """Headers with an alternative service, a proxy or a preload have no effect."""
    with SilentListener() as elsewhere:
        where = elsewhere.url.partition("//")[2]
        headers = [
            ("Alt-Svc", f'h2="{where}"'),
            ("Link", f"<{elsewhere.url}>; rel=preload"),
            ("Content-Location", elsewhere.url),
        ]
        answer = http_answer({"data": [], "models": []}, headers=headers)
        with ScriptedServer(answer) as server, kind(server.url) as provider:
            provider.list_models()
            provider.list_models()
        use_proxy = http_answer(status="305 Use Proxy", headers=[("Location", elsewhere.url)])
        with ScriptedServer(use_proxy) as server, kind(server.url) as provider:
            with pytest.raises(ProtocolError):
                provider.list_models()

        assert not elsewhere.was_reached


# --- cookies ------------------------------------------------------------------------------

_COOKIES = (
    "plain=1",
    "session=2; Path=/",
    "domain=3; Domain=127.0.0.1; Path=/",
    "local=4; Domain=.local",
    "lasting=5; Max-Age=999999; Path=/",
    "http=6; HttpOnly; SameSite=None; Path=/",
)


def _with_cookies(answer: bytes) -> bytes:
    lines = "".join(f"Set-Cookie: {cookie}\r\n" for cookie in _COOKIES).encode()
    return answer.replace(b"\r\n", b"\r\n" + lines + b"Set-Cookie2: old=1\r\n", 1)


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("status", ["200", "302", "401", "500"])
def test_no_cookie_is_ever_sent_back(kind: str, host: str, status: str) -> None:
    refusal = http_answer({"error": "no"}, status=f"{status} X", headers=[("Location", "/")])

    def script(exchange: Exchange) -> List[bytes]:
        first = not any(earlier.path == exchange.path for earlier in server.exchanges[:-1])
        [answer] = good(exchange) if status == "200" or not first else [refusal]
        return [_with_cookies(answer)]

    with ScriptedServer(script) as server:
        with make(kind, server.url.replace("127.0.0.1", host)) as provider:
            for _ in range(3):
                for call in CALLS.values():
                    try:
                        call(provider)
                    except ProviderError:
                        assert status != "200"

    assert len(server.exchanges) > len(CALLS)
    assert all("cookie" not in exchange.headers for exchange in server.exchanges)
    assert all("cookie2" not in exchange.headers for exchange in server.exchanges)
