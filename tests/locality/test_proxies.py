"""Loopback traffic meets no proxy and no `.netrc`, whatever the environment says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Mapping

import pytest

from localproviders import LimitError, OpenAICompatibleProvider
from localproviders.testing import ScriptedServer, http_answer
from tests.locality.support import CALLS, KEY, ONCE, PROVIDERS, Authority, Nobody, good, make

_ROOT = Path(__file__).parents[2]
_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ALL = (*_NAMES, *(name.lower() for name in _NAMES))

# What stands in the environment: the variables that name the proxy, and NO_PROXY.
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
    # A call that goes to the proxy ends soon: nobody answers there.
    return ScriptedServer(good, tls=tls), {**options, "timeout": 10}


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
    with Nobody() as proxy, server:
        _set(monkeypatch, environment, proxy.url)
        for host in ("127.0.0.1", "localhost"):
            url = server.url.replace("127.0.0.1", host)
            with make(kind, url, **options) as provider:
                for call in CALLS.values():
                    call(provider)

        assert not proxy.came
    assert {name for exchange in server.exchanges for name in exchange.headers} <= {
        *("host", "user-agent", "accept", "accept-encoding", "connection"),
        *("content-type", "content-length"),
    }


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("how", ["plain", "tls"])
def test_a_variable_set_in_the_middle_of_a_run_changes_nothing(
    kind: str, how: str, authority: Authority, netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, options = _serve(how, authority)
    with Nobody() as proxy, server, make(kind, server, **options) as provider:
        provider.chat("Hi")
        _set(monkeypatch, "all of them", proxy.url)
        monkeypatch.setenv("NETRC", str(netrc))
        for call in CALLS.values():
            call(provider)
            provider.close()

        assert not proxy.came
    assert all("authorization" not in exchange.headers for exchange in server.exchanges)


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


def test_a_netrc_is_not_read_for_hosts_behind_a_proxy_either(
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


# --- in a process that was born into it ---------------------------------------------------

_CHILD = """
import json, sys
from tests.locality.support import CALLS, PROVIDERS, make
done = []
for kind in PROVIDERS:
    for url, bundle in ((sys.argv[1], None), (sys.argv[2], sys.argv[3])):
        with make(kind, url, ca_bundle=bundle, timeout=10) as provider:
            done += [name for name, call in CALLS.items() if call(provider) is not None]
print(json.dumps(done))
"""


@pytest.mark.parametrize("no_proxy", [None, "", "example.com"])
def test_a_process_with_all_of_it_from_the_start(
    no_proxy: Any, authority: Authority, netrc: Path
) -> None:
    with Nobody() as proxy, ScriptedServer(good) as plain:
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
        assert not proxy.came

    assert json.loads(ended.stdout) == list(CALLS) * 2 * len(PROVIDERS)
    for exchange in (*plain.exchanges, *tls.exchanges):
        assert "authorization" not in exchange.headers


# --- proxies that were asked for ----------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost.", "127.1", "2130706433"])
@pytest.mark.parametrize("how", ["argument", "environment"])
def test_loopback_uses_no_proxy_that_was_given_either(
    host: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Nobody() as proxy, ScriptedServer(good) as server:
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

        assert not proxy.came
    assert len(server.exchanges) >= len(CALLS)


def _beyond(proxy: str, scheme: str = "http", **options: Any) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider(
        f"{scheme}://example.invalid/v1",
        model="m",
        locality="any",
        **{"proxies": {scheme: proxy}, **options},
    )


def test_other_traffic_uses_the_proxy_that_is_given() -> None:
    with ScriptedServer(good) as proxy, _beyond(proxy.url) as provider:
        provider.chat("Hi")

    assert proxy.exchanges[0].path == "http://example.invalid:80/v1/chat/completions"


@pytest.mark.parametrize("asked", [True, False])
def test_proxies_of_the_environment_are_taken_only_when_asked_for(
    asked: bool, monkeypatch: pytest.MonkeyPatch, reached: Any
) -> None:
    with ScriptedServer(good) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with OpenAICompatibleProvider(
            "http://10.9.8.7/v1",
            model="m",
            locality="any",
            proxies="environment" if asked else None,
            retry=ONCE,
        ) as provider:
            if asked:
                provider.chat("Hi")
            else:
                with pytest.raises(OSError, match="refused"):
                    provider.chat("Hi")

    assert [address[0] for address in reached] == ["127.0.0.1" if asked else "10.9.8.7"]


def test_a_tunnel_is_bounded_too() -> None:
    with ScriptedServer(lambda exchange: [lambda e: e.hold()]) as proxy:
        with _beyond(proxy.url, "https") as provider, pytest.raises(LimitError):
            provider.chat("Hi", timeout=0.4)

    assert proxy.exchanges[0].method == "CONNECT"


def test_the_password_of_a_proxy_shows_only_to_the_proxy() -> None:
    with ScriptedServer(http_answer({"data": []})) as proxy:
        url = proxy.url.replace("//", "//me:hunter2@")
        with _beyond(url) as provider:
            provider.list_models()
            assert "hunter2" not in f"{provider!r}{provider.settings!r}"

    assert proxy.exchanges[0].headers["proxy-authorization"].startswith("Basic ")
