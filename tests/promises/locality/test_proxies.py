"""Calls to loopback use neither a proxy nor a `.netrc`, in any environment."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Mapping

import pytest

from localproviders import CertificateError, LimitError, OpenAICompatibleProvider
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.fake_time import FakeTime
from tests.support.locality import (
    CALLS,
    KEY,
    ONCE,
    PROVIDERS,
    Authority,
    SilentListener,
    good,
    make,
)

_ROOT = Path(__file__).parents[3]
_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ALL = (*_NAMES, *(name.lower() for name in _NAMES))

# The variables that hold the URL of the proxy, and the values of NO_PROXY.
_ENVIRONMENTS: Mapping[str, Any] = {
    **{name: ((name,), None) for name in _ALL},
    "all of them": (_ALL, None),
    "an empty NO_PROXY": (_ALL, {"NO_PROXY": "", "no_proxy": ""}),
    "a NO_PROXY for others": (_ALL, {"NO_PROXY": "example.com", "no_proxy": "10.0.0.0/8"}),
    "a NO_PROXY for loopback": (_ALL, {"NO_PROXY": "localhost,127.0.0.1"}),
    "a NO_PROXY for all": (_ALL, {"no_proxy": "*"}),
}
_NETRC = "".join(
    f"{who} login me password from-netrc\n"
    for who in ("machine localhost", "machine 127.0.0.1", "default")
)


@pytest.fixture
def netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / ".netrc"
    path.write_text(_NETRC)
    path.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    return path


def _set(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    variables, more = _ENVIRONMENTS[name]
    for variable in variables:
        monkeypatch.setenv(variable, url)
    for variable, value in (more or {}).items():
        monkeypatch.setenv(variable, value)


def _serve(how: str, authority: Authority) -> Any:
    tls = authority.context() if how == "tls" else None
    options = {"ca_bundle": authority.bundle} if tls else {}
    # A call that wrongly uses the silent proxy ends after this limit.
    return ScriptedServer(good, tls=tls), {**options, "timeout": 10}


@pytest.mark.sample(6)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("how", ["plain", "tls"])
@pytest.mark.parametrize("environment", _ENVIRONMENTS)
def test_no_byte_of_any_call_reaches_a_proxy(
    kind: str,
    how: str,
    environment: str,
    authority: Authority,
    netrc: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, options = _serve(how, authority)
    with SilentListener() as proxy, server:
        _set(monkeypatch, environment, proxy.url)
        for host in ("127.0.0.1", "localhost"):
            url = server.url.replace("127.0.0.1", host)
            with make(kind, url, **options) as provider:
                for call in CALLS.values():
                    call(provider)

        assert not proxy.was_reached
    assert {name for exchange in server.exchanges for name in exchange.headers} <= {
        *("host", "user-agent", "accept", "accept-encoding", "connection"),
        *("content-type", "content-length"),
    }


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("how", ["plain", "tls"])
def test_a_variable_set_after_the_first_call_changes_nothing(
    kind: str, how: str, authority: Authority, netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, options = _serve(how, authority)
    with SilentListener() as proxy, server, make(kind, server, **options) as provider:
        provider.chat("Hi")
        _set(monkeypatch, "all of them", proxy.url)
        monkeypatch.setenv("NETRC", str(netrc))
        for call in CALLS.values():
            call(provider)
            provider.close()

        assert not proxy.was_reached
    assert all("authorization" not in exchange.headers for exchange in server.exchanges)


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("variable", ["HOME", "NETRC"])
def test_a_netrc_neither_adds_a_credential_nor_replaces_one(
    kind: str, variable: str, netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(netrc if variable == "NETRC" else netrc.parent))
    with ScriptedServer(good) as server:
        for host in ("127.0.0.1", "localhost"):
            url = server.url.replace("127.0.0.1", host)
            for key in (None, KEY):
                with make(kind, url, api_key=key) as provider:
                    for call in CALLS.values():
                        call(provider)

    sent = {exchange.headers.get("authorization") for exchange in server.exchanges}
    assert sent == {None, f"Bearer {KEY}"}


def test_a_netrc_is_not_read_for_calls_through_a_proxy(
    netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedServer(good) as proxy:
        with make(
            "openai", "http://example.invalid", locality="any", proxies={"http": proxy.url}
        ) as provider:
            for call in CALLS.values():
                call(provider)

    sent = [name for exchange in proxy.exchanges for name in exchange.headers]
    assert "authorization" not in sent and "proxy-authorization" not in sent


# --- a process with such an environment from its start ---------------------------------------------------

_CHILD = """
import json, sys
from tests.support.locality import CALLS, PROVIDERS, make
done = []
for kind in PROVIDERS:
    for url, bundle in ((sys.argv[1], None), (sys.argv[2], sys.argv[3])):
        with make(kind, url, ca_bundle=bundle, timeout=10) as provider:
            done += [name for name, call in CALLS.items() if call(provider) is not None]
print(json.dumps(done))
"""


@pytest.mark.sample(0)
@pytest.mark.parametrize("no_proxy", [None, "", "example.com"])
def test_a_process_started_with_proxies_and_netrc_uses_neither(
    no_proxy: Any, authority: Authority, netrc: Path
) -> None:
    with SilentListener() as proxy, ScriptedServer(good) as plain:
        with ScriptedServer(good, tls=authority.context()) as tls:
            environment: Dict[str, str] = {
                **os.environ,
                **dict.fromkeys(_ALL, proxy.url),
                **({} if no_proxy is None else dict.fromkeys(["NO_PROXY", "no_proxy"], no_proxy)),
                "HOME": str(netrc.parent),
                "NETRC": str(netrc),
                "REQUESTS_CA_BUNDLE": str(netrc),
                "PYTHONPATH": str(_ROOT),
            }
            ended = subprocess.run(
                [sys.executable, "-c", _CHILD, plain.url, tls.url, authority.bundle],
                env=environment,
                cwd=_ROOT,
                capture_output=True,
                timeout=60,
                check=True,
            )
        assert not proxy.was_reached

    assert json.loads(ended.stdout) == list(CALLS) * 2 * len(PROVIDERS)
    for exchange in (*plain.exchanges, *tls.exchanges):
        assert "authorization" not in exchange.headers


# --- proxies given by the caller ----------------------------------------------------------


@pytest.mark.sample(6)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost.", "127.1", "2130706433"])
@pytest.mark.parametrize("how", ["argument", "environment"])
def test_loopback_uses_no_proxy_of_the_caller(
    host: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SilentListener() as proxy, ScriptedServer(good) as server:
        _set(monkeypatch, "all of them", proxy.url)
        given = dict.fromkeys(("http", "https", "all", "http://" + host), proxy.url)
        with make(
            "ollama",
            server.url.replace("127.0.0.1", host),
            locality="any",
            proxies=given if how == "argument" else "environment",
            timeout=10,
        ) as provider:
            for call in CALLS.values():
                call(provider)

        assert not proxy.was_reached
    assert len(server.exchanges) >= len(CALLS)


def _provider_outside(proxy: str, scheme: str = "http", **options: Any) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider(
        f"{scheme}://example.invalid/v1",
        model="m",
        locality="any",
        **{"proxies": {scheme: proxy}, **options},
    )


def test_other_hosts_use_the_proxy_of_the_caller() -> None:
    with ScriptedServer(good) as proxy, _provider_outside(proxy.url) as provider:
        provider.chat("Hi")

    assert proxy.exchanges[0].path == "http://example.invalid:80/v1/chat/completions"


@pytest.mark.parametrize("requested", [True, False])
def test_proxies_of_the_environment_are_used_only_on_request(
    requested: bool, monkeypatch: pytest.MonkeyPatch, reached: Any
) -> None:
    with ScriptedServer(good) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with OpenAICompatibleProvider(
            "http://10.9.8.7/v1",
            model="m",
            locality="any",
            proxies="environment" if requested else None,
            retry=ONCE,
        ) as provider:
            if requested:
                provider.chat("Hi")
            else:
                with pytest.raises(OSError, match="refused"):
                    provider.chat("Hi")

    assert [address[0] for address in reached] == ["127.0.0.1" if requested else "10.9.8.7"]


def test_connecting_through_a_tunnel_is_limited(fake_clock: FakeTime) -> None:
    with ScriptedServer(lambda exchange: [lambda e: e.hold()]) as proxy:
        with _provider_outside(proxy.url, "https") as provider, pytest.raises(LimitError) as caught:
            provider.chat("Hi")

    assert (caught.value.limit, caught.value.elapsed_s) == ("connect_s", 3)
    assert proxy.exchanges[0].method == "CONNECT"


def test_the_password_of_a_proxy_is_sent_only_to_the_proxy() -> None:
    with ScriptedServer(http_answer({"data": []})) as proxy:
        url = proxy.url.replace("//", "//me:hunter2@")
        with _provider_outside(url) as provider:
            provider.list_models()
            assert "hunter2" not in f"{provider!r}{provider.settings!r}"

    assert proxy.exchanges[0].headers["proxy-authorization"].startswith("Basic ")


# --- proxies with TLS ---------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_the_certificate_of_a_proxy_is_verified(
    wrong: str, scheme: str, authority: Authority, tmp_path: Path
) -> None:
    """For plain HTTP through such a proxy, older releases of requests did not verify it."""
    tls = authority.context("other.example")
    if wrong == "authority":
        (tmp_path / "other").mkdir()
        tls = Authority(tmp_path / "other").context()
    with ScriptedServer(good, tls=tls) as proxy:
        url = proxy.url.replace("//", "//me:hunter2@")
        with _provider_outside(url, scheme, ca_bundle=authority.bundle) as provider:
            with pytest.raises(CertificateError, match="TLS failed"):
                provider.chat("Hi")

    assert proxy.exchanges == []


def test_a_proxy_with_a_right_certificate_receives_the_calls(authority: Authority) -> None:
    with ScriptedServer(good, tls=authority.context()) as proxy:
        with _provider_outside(proxy.url, ca_bundle=authority.bundle) as provider:
            provider.chat("Hi")
            provider.chat("Hi")

    assert len(proxy.exchanges) == 2


def test_a_wrong_certificate_after_a_tunnel_is_an_error(authority: Authority) -> None:
    """The response of the proxy must not count as the beginning of the server's response."""
    stranger = authority.context("other.example")

    def tunnel(exchange: Exchange) -> None:
        exchange.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            stranger.wrap_socket(exchange.sock, server_side=True).close()

    with ScriptedServer(lambda _: [tunnel]) as proxy:
        with _provider_outside(proxy.url, "https", ca_bundle=authority.bundle) as provider:
            with pytest.raises(CertificateError, match="TLS failed"):
                provider.chat("Hi")
