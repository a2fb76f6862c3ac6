"""The promises about an API key also hold for the caller's headers and for a password."""

from __future__ import annotations

import base64
import http.client
import logging
import pickle
from typing import Any, List, Mapping

import pytest

from localproviders import (
    ConfigurationError,
    LMStudioProvider,
    OllamaProvider,
    ProviderError,
    SecretString,
    UnreachableError,
)
from localproviders._http.socket import BoundedSocket
from localproviders.discovery import FoundServer
from localproviders.settings import Settings
from localproviders.telemetry import CallEvent
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.promises.locality.test_secret_forms import _OF_PROVIDERS, _SHOW
from tests.support.locality import (
    CALLS,
    KEY,
    PROMPT,
    PROVIDERS,
    Authority,
    SilentListener,
    after_model_list,
    good,
    lines_with,
    make,
    visible_text,
)
from tests.support.secrets import Interrupter

_BASIC = base64.b64encode(f"somebody:{KEY}".encode()).decode()

#: The options, and the header that each of them sends.
_KEYS: Mapping[str, Any] = {
    "auth": ({"auth": ("somebody", KEY)}, ("authorization", f"Basic {_BASIC}")),
    "secret": ({"headers": {"X-Team": SecretString(KEY)}}, ("x-team", KEY)),
    **{
        name: ({"headers": {name: KEY}}, (name.lower(), KEY))
        for name in ("Authorization", "Cookie", "api-key", "X-API-KEY", "X-Auth-Token", "My_Secret")
    },
}
#: The same, with a header that is not a key.
_ALL = {**_KEYS, "plain": ({"headers": {"X-Team": KEY}}, ("x-team", KEY))}
_SECRETS = (KEY, KEY[:9], _BASIC, _BASIC[:24])


def _assert_hidden(text: str) -> None:
    assert [line for secret in _SECRETS for line in lines_with(secret, text)] == []


@pytest.mark.parametrize("kind", PROVIDERS)
def test_every_call_sends_the_headers_unchanged(kind: str) -> None:
    for options, (name, value) in _ALL.values():
        with ScriptedServer(good) as server, make(kind, server, **options) as provider:
            for call in CALLS.values():
                call(provider)
        assert len(server.exchanges) >= len(CALLS) - 1
        assert {exchange.headers.get(name) for exchange in server.exchanges} == {value}


@pytest.mark.parametrize("password", ["€uro-pass", "ключ", "é", "a😀"])
@pytest.mark.parametrize("form", ["literal", "secret", "variable"])
def test_a_password_is_sent_as_utf_8(
    password: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASSWORD", password)
    made = {"literal": str, "secret": SecretString}.get(form)
    value = made(password) if made else SecretString.from_env("MY_PASSWORD")
    expected = "Basic " + base64.b64encode(f"mé:{password}".encode()).decode()
    with ScriptedServer(good) as server:
        with make("openai", server, auth=("mé", value)) as provider:
            provider.chat("Hi")
    assert server.exchanges[0].headers["authorization"] == expected


@pytest.mark.parametrize("options", [{"api_key": "k“"}, {"headers": {"X-Key": "k“"}}])
@pytest.mark.parametrize("form", [str, SecretString])
def test_a_key_that_no_header_can_contain_is_refused(options: Any, form: Any) -> None:
    given = {name: {"X-Key": form("k“")} if name == "headers" else form("k“") for name in options}
    with pytest.raises(ConfigurationError, match="a header line cannot contain"):
        OllamaProvider(**given)
    with pytest.raises(ConfigurationError, match="a header line cannot contain"):
        LMStudioProvider(**given)


def test_two_providers_keep_their_headers_apart() -> None:
    with ScriptedServer(good) as one, ScriptedServer(good) as other:
        with make("openai", one, headers={"X-Team": "a"}) as first, make("openai", other) as second:
            for provider in (first, second, first):
                provider.chat("Hi")

    assert [exchange.headers["x-team"] for exchange in one.exchanges] == ["a", "a"]
    assert ["x-team" in exchange.headers for exchange in other.exchanges] == [False]


def test_a_header_replaces_the_user_agent_and_nothing_else() -> None:
    with ScriptedServer(good) as server:
        with make("openai", server, headers={"user-agent": "mine"}) as provider:
            provider.chat("Hi")
    sent = server.exchanges[0].headers

    assert (sent["user-agent"], sent["accept"]) == ("mine", "text/event-stream")


# --- plain text -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
def test_no_key_in_a_header_is_sent_in_plain_text_beyond_loopback(
    kind: str, reached: List[Any]
) -> None:
    for host, locality in (("10.0.0.1", "private"), ("8.8.8.8", "any")):
        for options, _ in _KEYS.values():
            with make(kind, f"http://{host}:9", locality=locality, **options) as provider:
                for call in ("list_models", "chat", "embed"):
                    with pytest.raises(ConfigurationError, match="in the clear"):
                        CALLS[call](provider)
    assert reached == []


def test_a_key_in_a_header_goes_beyond_loopback_with_tls_or_permission(
    reached: List[Any],
) -> None:
    allowed = [("https", each, {}) for each, _ in _KEYS.values()]
    allowed += [("http", each, {"allow_plaintext_key": True}) for each, _ in _KEYS.values()]
    allowed += [("http", _ALL["plain"][0], {})]
    for scheme, options, more in allowed:
        address = f"{scheme}://10.0.0.1:9"
        with make("ollama", address, locality="private", **options, **more) as provider:
            with pytest.raises(UnreachableError):
                provider.list_models()
    assert len(reached) == len(allowed)


def test_no_key_in_a_header_is_sent_to_a_proxy_in_plain_text() -> None:
    with SilentListener() as proxy:
        for options, _ in _KEYS.values():
            place = {"locality": "any", "proxies": {"http": proxy.url}}
            with make("openai", "http://example.invalid", **place, **options) as provider:
                with pytest.raises(ConfigurationError, match="in the clear"):
                    provider.chat("Hi")
        assert not proxy.was_reached


def test_a_tunnel_shows_the_proxy_no_header(authority: Authority) -> None:
    with ScriptedServer(lambda _: [http_answer("no", status="502 No")]) as proxy:
        for options, _ in _ALL.values():
            with make(
                "openai",
                "https://example.invalid",
                locality="any",
                ca_bundle=authority.bundle,
                proxies={"https": proxy.url},
                **options,
            ) as provider:
                with pytest.raises(ProviderError):
                    provider.chat(PROMPT)
    assert {exchange.method for exchange in proxy.exchanges} == {"CONNECT"}
    _assert_hidden(str([exchange.headers for exchange in proxy.exchanges]))


def test_a_redirect_takes_no_header_to_another_server() -> None:
    with SilentListener() as elsewhere:
        moved = http_answer("", status="307 Moved", headers=[("Location", elsewhere.url)])
        with ScriptedServer(moved) as server:
            for options, _ in _ALL.values():
                with make("openai", server, **options) as provider:
                    with pytest.raises(ProviderError, match="redirect"):
                        provider.chat("Hi")
        assert not elsewhere.was_reached


# --- errors, logs, events ---------------------------------------------------------------


def _quote(exchange: Exchange) -> List[bytes]:
    """Refuse the request, and quote all of it."""
    said = f"{exchange.headers} sent {exchange.body.decode()}"
    return [http_answer({"error": {"message": said}}, status="400 No")]


def _cut(exchange: Exchange) -> List[Any]:
    said = f"HTTP/1.1 500 {exchange.headers}\r\n\r\n"
    return [said.encode(), lambda e: e.close()]


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("failure", [_quote, _cut], ids=["quoted", "cut"])
def test_no_error_log_or_event_shows_a_header(
    kind: str,
    failure: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(0)
    caplog.set_level(1, logger="urllib3")
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 9)
    events: List[CallEvent] = []

    def script(exchange: Exchange) -> List[Any]:
        return after_model_list(failure(exchange))(exchange)

    for what in ("auth", "X-API-KEY", "plain"):
        options = _ALL[what][0]
        with ScriptedServer(script) as server:
            with make(kind, server, listeners=[events.append], **options) as provider:
                for ask in ("chat", "stream", "complete", "embed"):
                    with pytest.raises(ProviderError) as caught:
                        CALLS[ask](provider)
                    logging.getLogger("a.users.own").error("it failed", exc_info=caught.value)
                    _assert_hidden(visible_text(caught.value))
                    _assert_hidden(f"{caught.value.to_dict()}{pickle.dumps(caught.value)!r}")
    printed = capfd.readouterr()

    assert "it failed" in caplog.text
    _assert_hidden(f"{caplog.text}{printed.out}{printed.err}{[e.to_dict() for e in events]}")


def test_a_word_in_a_header_does_not_change_the_class_of_an_error() -> None:
    said = {"error": {"message": "model 'm' not found", "type": "not_found_error"}}
    with ScriptedServer(http_answer(said, status="404 Not Found")) as server:
        with make("openai", server) as plain, make("openai", server, headers={"A": "model"}) as own:
            for provider in (plain, own):
                with pytest.raises(ProviderError) as caught:
                    provider.chat("Hi")
                assert type(caught.value).__name__ == "ModelNotFoundError"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["auth", "plain"])
def test_no_line_of_a_call_shows_a_header(what: str) -> None:
    with ScriptedServer(_quote) as server:
        with make("openai", server, **_ALL[what][0]) as provider:

            def work() -> None:
                with pytest.raises(ProviderError):
                    provider.chat("Hi")
                provider.close()

            # The frames of http.client hold the headers anyway.
            entries = {SecretString.scrub.__code__, BoundedSocket.sendall.__code__}
            count, found = Interrupter(work, entries).leaks()
    assert count > 50
    assert found == []


# --- reprs and pickles ------------------------------------------------------------------

#: Forms that must have the value of a header that is not a key: nothing could be sent without it.
_DATA = tuple(name for name in _SHOW if name.startswith(("pickle", "python", "copied and", "json")))


def test_headers_and_passwords_are_redacted_in_every_form() -> None:
    for what, (options, _) in _ALL.items():
        provider = make("ollama", "127.0.0.1:1", **options)
        for form, show in _SHOW.items():
            if what == "plain" and form in _DATA:
                continue
            for value in (provider.settings, provider):
                if value is provider and form not in _OF_PROVIDERS:
                    continue
                _assert_hidden(str(show(value)))
        _assert_hidden(f"{vars(provider)} {vars(provider.settings)}")


def test_headers_after_pickling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    from_env = SecretString.from_env("MY_KEY")
    makers = {
        "x-team": {"headers": {"X-Team": from_env, "X-Other": "kept"}},
        "authorization": {"auth": ("me", from_env)},
    }
    for name, options in makers.items():
        with ScriptedServer(good) as server:
            monkeypatch.setenv("MY_KEY", KEY)
            data = pickle.dumps(make("openai", server, **options))
            monkeypatch.setenv("MY_KEY", "another-key")
            with pickle.loads(data) as again:
                again.list_models()
        sent = server.exchanges[0].headers
        basic = base64.b64encode(b"me:another-key").decode()
        assert sent[name] == ("another-key" if name == "x-team" else f"Basic {basic}")
        assert name != "x-team" or sent["x-other"] == "kept"
        assert KEY.encode() not in data


def test_a_secret_user_with_a_colon_is_refused() -> None:
    # The server would take what follows the colon for a part of the password.
    with ScriptedServer(good) as server:
        auth = (SecretString("me:other"), KEY)
        with OllamaProvider(server.url, model="llama3.2", auth=auth) as provider:
            with pytest.raises(ConfigurationError, match="the user has a colon") as caught:
                provider.chat("Hi")
    assert server.exchanges == [] and "other" not in str(caught.value)


def test_a_key_in_a_header_that_was_lost_in_pickling_stops_the_call() -> None:
    with ScriptedServer(good) as server:
        for options, _ in _KEYS.values():
            made = make("openai", server, **options)
            as_dict = make("openai", server, settings=Settings.from_dict(made.settings.to_dict()))
            for lost in (pickle.loads(pickle.dumps(made)), as_dict):
                with pytest.raises(ConfigurationError, match="left it out"):
                    lost.chat("Hi")
    assert server.exchanges == []


# --- keys from the environment ----------------------------------------------------------


def test_a_key_from_the_environment_is_not_used_beside_a_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OLLAMA_API_KEY", "LM_API_TOKEN"):
        monkeypatch.setenv(name, "from-the-environment")
    own: List[Mapping[str, Any]] = [{"auth": ("me", KEY)}, {"headers": {"Authorization": KEY}}]
    for options in own:
        ollama = OllamaProvider("https://ollama.com", locality="any", **options)
        found = FoundServer(kind="lmstudio", name="n", endpoint="http://127.0.0.1:1")
        made: List[Any] = [ollama, LMStudioProvider(**options), found.make_provider(**options)]  # type: ignore[arg-type]  # by name
        assert [each.settings.api_key for each in made] == [None] * 3
        assert all(each.settings.has_key for each in made)
    other = LMStudioProvider(headers={"X-Team": "a"}).settings
    assert other.api_key is not None
