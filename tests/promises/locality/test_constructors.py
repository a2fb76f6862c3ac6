"""No error of a constructor shows a key or the password of a proxy."""

from __future__ import annotations

import functools
import inspect
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Set
from unittest import mock

import pytest

from localproviders import (
    Config,
    LocalProvider,
    OllamaProvider,
    SecretString,
    create_default_provider,
    create_fallback_provider,
    create_provider,
)
from localproviders._address import Endpoint
from localproviders.discovery import FoundServer
from localproviders.discovery.results import provider_of
from localproviders.settings import Settings, make_settings
from localproviders.testing import (
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    Recorder,
    Replayer,
)
from tests.support.locality import ALL_PROVIDERS, KEY
from tests.support.secrets import PASSWORD, PROXY, SECRETS, Interrupter, leaks

_ENDPOINT = Endpoint(scheme="http", host="127.0.0.1", port=1)
_FOUND = {
    "ollama": "ollama",
    "lmstudio": "lmstudio",
    "llamacpp": "llamacpp",
    "openai": "openai-compatible",
    "anthropic": "anthropic",
    "openai-service": "openai",
    "openrouter": "openrouter",
}


def _found(kind: str, **options: Any) -> Any:
    url = "http://127.0.0.1:1"
    return FoundServer(kind=_FOUND[kind], name="n", endpoint=url).make_provider(**options)  # type: ignore[arg-type]  # by name


def _provider_of(kind: str, **options: Any) -> Any:
    return provider_of(_FOUND[kind], "http://127.0.0.1:1", True, **options)


def _configured(**options: Any) -> Any:
    server = {"kind": "openai-compatible", "endpoint": "http://127.0.0.1:1", **options}
    return LocalProvider(config=Config.load(environ={}, servers={"x": server}))


_MAKERS: Mapping[str, Callable[..., Any]] = {
    **{kind: functools.partial(cls, "http://127.0.0.1:1") for kind, cls in ALL_PROVIDERS.items()},
    **{f"found {kind}": functools.partial(_found, kind) for kind in ALL_PROVIDERS},
    **{f"provider_of {kind}": functools.partial(_provider_of, kind) for kind in ALL_PROVIDERS},
    "make_settings": functools.partial(
        make_settings, endpoint=_ENDPOINT, endpoint_origin="test", name="n"
    ),
    "settings": lambda timeout=None, **options: Settings(
        endpoint=_ENDPOINT, name="n", **({"limit": timeout} if timeout else {}), **options
    ),
    "replace": lambda timeout=None, **options: Settings(endpoint=_ENDPOINT, name="n").replace(
        **({"limit": timeout} if timeout else {}), **options
    ),
    "config": _configured,
    "config in environ": lambda **options: Config.load(
        environ={"LOCALPROVIDERS_X": KEY, "HOME": "/no/such/home"}, **options
    ),
    "default": create_default_provider,
    "fallback": functools.partial(create_fallback_provider, [LocalProvider()]),
    "local": LocalProvider,
    "create": functools.partial(create_provider, "ollama/m", endpoint="http://127.0.0.1:1"),
    "create local": functools.partial(create_provider, "m"),
}

_GOOD = {
    "api_key": KEY,
    "proxies": {"http": PROXY, "https": PROXY},
    "locality": "any",
    "headers": {"X-Api-Key": KEY, "X-Team": KEY},
}

#: Wrong arguments, each together with a good key and good proxies.
_FAULTS: Mapping[str, Dict[str, Any]] = {
    "a bad locality": {"locality": "bad"},
    "a bad limit": {"timeout": -1},
    "an unknown keyword": {"hots": 1},
    "a misspelt key": {"api_kee": KEY, "token": KEY},
    "a misspelt proxy": {"proxy": PROXY},
    "proxies in a narrow locality": {"locality": "private"},
    "proxies as text": {"proxies": PROXY},
    "proxies as a list": {"proxies": [PROXY]},
    "proxies as bytes": {"proxies": {"http": PROXY.encode()}},
    "proxies as a pair": {"proxies": {"http": ("somebody", PASSWORD)}},
    "proxies by number": {"proxies": {PROXY: 5}},
    "a key with a line break": {"api_key": KEY + "\n"},
    "a key with a quote": {"api_key": KEY + "\u201d"},
    "a key with blanks": {"api_key": f" {KEY}"},
    "a key as bytes": {"api_key": KEY.encode()},
    "a key in a list": {"api_key": [KEY]},
    "a key in a dictionary": {"api_key": {"key": KEY}},
    "a key as a function": {"api_key": functools.partial(print, KEY)},
    "listeners that are none": {"listeners": 5},
    "a header with a line break": {"headers": {"X-Team": f"{KEY}\r\nX-Evil: 1"}},
    "a header with a quote": {"headers": {"X-Api-Key": f"{KEY}\u201d"}},
    "a header as bytes": {"headers": {"X-Team": KEY.encode()}},
    "a header of the transport": {"headers": {"Content-Length": KEY}},
    "a header without a name": {"headers": {"": KEY}},
    "a key as the name of a header": {"headers": {f"{KEY} ": "X-Team"}},
    "a header by number": {"headers": {5: KEY}},
    "a header twice": {"headers": {"X-A": KEY, "x-a": KEY}},
    "headers as text": {"headers": f"X-Api-Key: {KEY}"},
    "headers as pairs": {"headers": [("X-Api-Key", KEY)]},
    "a header and a key": {"headers": {"authorization": KEY}},
    "a misspelt header": {"header": {"X-Api-Key": KEY}},
    "two passwords": {"auth": ("me", KEY)},
    "a password alone": {"auth": KEY},
    "a password with a line break": {"auth": ("me", KEY + "\n")},
    "a password as bytes": {"auth": ("me", KEY.encode())},
    "a user with a colon": {"auth": (f"me:{KEY}", KEY)},
    "a user that is a list": {"auth": ([KEY], KEY)},
}


_NO_FAULT = {
    ("config", "proxies in a narrow locality"),  # a configuration leaves these proxies out
    ("config", "a header by number"),  # the names of keys are texts, such as "5"
    ("settings", "listeners that are none"),  # only the providers check listeners
    ("replace", "listeners that are none"),
}


@pytest.mark.sample(96)
@pytest.mark.parametrize("maker", _MAKERS)
@pytest.mark.parametrize("fault", _FAULTS)
def test_a_failing_constructor_shows_no_secret(maker: str, fault: str) -> None:
    if (maker, fault) in _NO_FAULT:
        pytest.skip("this constructor accepts the argument")
    with pytest.raises((ValueError, TypeError)) as caught:
        _MAKERS[maker](**{**_GOOD, **_FAULTS[fault]})
    assert leaks(caught.value) == []


#: Addresses with credentials or a key in a wrong place.
_ADDRESSES = [
    f"http://somebody:{PASSWORD}@127.0.0.1:1",
    f"somebody:{PASSWORD}@127.0.0.1:1",
    f"http://somebody:{PASSWORD}",
    f"http://127.0.0.1:{PASSWORD}",
    f"{KEY}://127.0.0.1",
    f"http://{KEY} x/",
    f"http://127.0.0.1/?key={KEY}",
    f"http://[{KEY}:1",
    f"https:{KEY}:{PASSWORD}:x",
]


@pytest.mark.parametrize("kind", ALL_PROVIDERS)
@pytest.mark.parametrize("address", _ADDRESSES)
def test_a_bad_address_shows_no_secret(kind: str, address: str) -> None:
    with pytest.raises(ValueError) as caught:
        ALL_PROVIDERS[kind](address, **_GOOD)
    assert leaks(caught.value) == []
    with pytest.raises(ValueError) as caught:
        create_provider(f"{_FOUND[kind]}/m", endpoint=address, **_GOOD)
    assert leaks(caught.value) == []


@pytest.mark.parametrize("address", _ADDRESSES)
def test_a_variable_with_a_bad_address_shows_no_secret(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", address)
    seen: List[str] = []
    try:
        # An impossible port in the variable is replaced by the default port.
        made = repr(ALL_PROVIDERS["ollama"](**_GOOD))
        seen = [secret for secret in SECRETS if secret in made]
    except ValueError as error:
        seen = leaks(error)
    assert seen == []


@pytest.mark.parametrize("kind", ALL_PROVIDERS)
def test_an_address_of_another_type_shows_no_secret(kind: str) -> None:
    addresses: List[Any] = [KEY.encode(), [KEY], {"key": KEY}]
    for address in addresses:
        with pytest.raises(ValueError) as caught:
            ALL_PROVIDERS[kind](address)
        assert leaks(caught.value) == []
        with pytest.raises(ValueError) as caught:
            create_provider(f"{_FOUND[kind]}/m", endpoint=address)
        assert leaks(caught.value) == []


@pytest.mark.parametrize("kind", ALL_PROVIDERS)
@pytest.mark.parametrize("options", [{"ca_bundle": "/no/such"}, {"client_cert": "/no/such"}])
def test_missing_certificates_show_no_secret(kind: str, options: Any) -> None:
    with ALL_PROVIDERS[kind]("https://127.0.0.1:1", **{**_GOOD, **options}) as provider:
        with pytest.raises(ValueError) as caught:
            provider.list_models()
        assert leaks(caught.value) == []


@pytest.mark.parametrize(
    "providers", [[{"kind": "ollama", "api_key": KEY}], KEY, {"api_key": KEY}, [PROXY]]
)
def test_an_argument_that_is_no_provider_shows_no_secret(providers: Any) -> None:
    for make in (LocalProvider, create_fallback_provider):
        with pytest.raises(ValueError) as caught:
            make(providers)
        assert leaks(caught.value) == []


class _Broken:
    """A listener whose methods raise."""

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __iter__(self) -> Any:
        raise RuntimeError("no listeners")


@pytest.mark.parametrize("kind", ALL_PROVIDERS)
def test_an_exception_in_an_argument_shows_no_secret(kind: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        ALL_PROVIDERS[kind]("http://127.0.0.1:1", **{**_GOOD, "listeners": _Broken()})
    assert leaks(caught.value) == []


def test_a_constructor_of_the_test_kit_shows_no_secret(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("no recording")
    with FakeOllama() as first:
        makers: List[Callable[[], Any]] = [
            *(
                functools.partial(fake, api_key=KEY, port=first.port)
                for fake in (FakeOllama, FakeLMStudio, FakeOpenAICompatible)
            ),
            lambda: FakeOllama(api_key=KEY, prot=1),  # type: ignore[call-arg]  # misspelt
            lambda: Recorder(tmp_path / "r", "http://[", secrets=[KEY]),
            lambda: Replayer(tmp_path / "none.jsonl", secrets=[KEY]),
        ]
        for make in makers:
            with pytest.raises((OSError, ValueError, TypeError)) as caught:
                make()
            assert leaks(caught.value) == []


# --- SecretString -------------------------------------------------------------------------

_KEYS: Mapping[str, Any] = {
    "a line break": KEY + "\r\nX-Evil: 1",
    "a quote": KEY + "\u201d",
    "blanks": KEY + " ",
    "bytes": KEY.encode(),
    "a bytearray": bytearray(KEY.encode()),
    "a list": [KEY],
}


@pytest.mark.parametrize("wrong", _KEYS)
def test_a_wrong_secret_is_not_shown(wrong: str) -> None:
    with pytest.raises(ValueError) as caught:
        OllamaProvider(api_key=SecretString(_KEYS[wrong]))
    assert leaks(caught.value) == []


@pytest.mark.parametrize("wrong", ["a line break", "a quote", "blanks"])
def test_a_wrong_secret_from_a_variable_is_not_shown(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", _KEYS[wrong])
    with pytest.raises(ValueError, match="SOME_KEY") as caught:
        OllamaProvider(api_key=SecretString.from_env("SOME_KEY"))
    assert leaks(caught.value) == []


def test_a_key_that_is_a_number_is_refused_by_its_type() -> None:
    with pytest.raises(ValueError, match="int"):
        SecretString(12345)  # type: ignore[arg-type]  # wrong by intent


# --- an exception at any line -------------------------------------------------------------


def _entries() -> Set[Any]:
    """Return the functions of this package whose callers pass them a bare secret."""
    functions: List[Any] = [
        *(cls.__init__ for cls in ALL_PROVIDERS.values()),
        SecretString.__init__,
        SecretString.scrub,  # inside the package its callers pass a wrapped text
        Settings.__init__,
        Settings.replace,
        FoundServer.make_provider,
        provider_of,
        make_settings,
        create_provider,
        Config.load.__func__,  # type: ignore[attr-defined]  # a class method has it
    ]
    # A decorated function receives the secret too, after its decorator.
    functions += [inspect.unwrap(function) for function in functions]
    return {function.__code__ for function in functions}


def _create_without_files(**options: Any) -> Any:
    # Reading the files again for each line would take half a minute.
    with mock.patch.object(Config, "load", return_value=Config(locality="any")):
        return _MAKERS["create"](**options)


_INTERRUPTED: Mapping[str, Callable[[], Any]] = {
    **{
        name: functools.partial(_MAKERS[name], **_GOOD)
        for name in _MAKERS
        if name
        not in ("config", "config in environ", "default", "fallback", "local", "create local")
    },
    "create": functools.partial(_create_without_files, **_GOOD),
    "secret": lambda: SecretString(KEY),
    "scrub": lambda: SecretString(KEY).scrub(f"{KEY} {KEY[:9]}... {KEY[:12]}"),
    "as_bearer": lambda: SecretString(KEY).as_bearer(),
    "reveal": lambda: SecretString(KEY).reveal(),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("what", _INTERRUPTED)
def test_an_exception_at_any_line_shows_no_secret(what: str) -> None:
    entries = _entries()
    count, found = Interrupter(_INTERRUPTED[what], entries, everywhere=True).leaks()
    assert count > 3
    assert found == []


@pytest.mark.sample(1)
@pytest.mark.parametrize("fault", _FAULTS)
@pytest.mark.parametrize("kind", ALL_PROVIDERS)
def test_an_exception_while_a_constructor_fails_shows_no_secret(kind: str, fault: str) -> None:
    options = {**_GOOD, **_FAULTS[fault]}

    def work() -> None:
        try:
            _MAKERS[kind](**options)
        except (ValueError, TypeError):
            pass

    assert Interrupter(work, _entries()).leaks()[1] == []


@pytest.mark.slow
def test_an_exception_while_the_configuration_is_read_shows_no_secret(tmp_path: Any) -> None:
    folder = tmp_path / "localproviders"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f'[servers.y]\nkind = "ollama"\nendpoint = "http://127.0.0.1:1"\napi_key = "{KEY}"\n'
        f'locality = "any"\nproxies = {{http = "{PROXY}"}}\n'
        f'[servers.z]\nkind = "ollama"\nendpoint = "http://127.0.0.1:2"\n'
        f'api_key = {{command = ["echo", "{KEY}"]}}\n'
    )
    (folder / "config.toml").chmod(0o600)
    server = {"kind": "openai-compatible", "endpoint": "http://127.0.0.1:3", **_GOOD}
    environ = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "SOME_KEY": KEY,
        "LOCALPROVIDERS_SERVERS_Y_API_KEY": KEY,
    }

    def work() -> None:
        Config.load(environ=environ, directory=tmp_path, servers={"x": server})

    count, found = Interrupter(work, _entries()).leaks()
    assert count > 100
    assert found == []


# --- error reporters ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL_PROVIDERS)
def test_an_error_reporter_can_print_the_locals(kind: str) -> None:
    with pytest.raises(ValueError) as caught:
        ALL_PROVIDERS[kind]("http://127.0.0.1:1", locality="bad", api_key=KEY)
    made = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(made.format())
    assert "locality" in text
