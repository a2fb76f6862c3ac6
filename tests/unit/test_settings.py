"""Settings of a provider are checked when they are made, and never show a key."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any, Dict

import pytest

from localproviders._address import Endpoint
from localproviders.errors import ConfigurationError
from localproviders.secret import SecretString
from localproviders.settings import Settings, first_variable, make_settings
from localproviders.types.limits import Limits

_ENDPOINT = Endpoint(scheme="http", host="127.0.0.1", port=1)


def _make(**given: Any) -> Settings:
    return make_settings(endpoint=_ENDPOINT, endpoint_origin="test", name="n", **given)


def test_the_defaults_are_the_strict_ones() -> None:
    made = _make()
    assert made.locality == "loopback"
    assert made.limits == Limits()
    assert made.api_key is None
    assert made.allow_plaintext_key is False
    assert made.proxies is None
    sizes = (made.max_line_bytes, made.max_body_bytes, made.max_json_depth)
    assert sizes == (32 << 20, 256 << 20, 100)


@pytest.mark.parametrize(
    ("timeout", "limits"),
    [
        (None, Limits()),
        (5, Limits(total_s=5)),
        (math.inf, Limits(total_s=math.inf)),
        (Limits(idle_s=1), Limits(idle_s=1)),
    ],
)
def test_a_timeout_becomes_limits(timeout: Any, limits: Limits) -> None:
    assert _make(timeout=timeout).limits == limits


@pytest.mark.parametrize("timeout", [0, -1, math.nan, True, "5"])
def test_an_impossible_timeout_is_a_configuration_error(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"total_s|timeout"):
        _make(timeout=timeout)


@pytest.mark.parametrize(
    ("argument", "variable", "locality"),
    [
        (None, None, "loopback"),
        (None, "", "loopback"),
        (None, "private", "private"),
        ("any", "private", "any"),
        ("loopback", "any", "loopback"),
    ],
)
def test_the_argument_beats_the_variable(
    argument: Any, variable: Any, locality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("LOCALPROVIDERS_LOCALITY", variable)
    assert _make(locality=argument).locality == locality


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"locality": "privat"}, "did you mean 'private'"),
        ({"locality": "LOOPBACK"}, "choose one of loopback, private, any"),
        ({"proxies": "environment"}, 'needs locality="any"'),
        ({"proxies": {"http": "http://p"}, "locality": "private"}, 'needs locality="any"'),
        ({"proxies": "http://p", "locality": "any"}, "environment"),
        ({"api_key": ""}, "the key is empty"),
        ({"api_key": "a\nb"}, "a header line cannot contain"),
    ],
)
def test_an_impossible_value_is_a_configuration_error(given: Dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _make(**given)
    assert words in str(caught.value)


def test_a_bad_variable_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALPROVIDERS_LOCALITY", "everywhere")
    with pytest.raises(ConfigurationError, match="everywhere"):
        _make()


@pytest.mark.parametrize("proxies", [None, {}, "environment", {"https": "http://p:1"}])
def test_proxies_are_taken_where_any_place_is_allowed(proxies: Any) -> None:
    assert _make(proxies=proxies, locality="any").proxies == proxies


@pytest.mark.parametrize("key", ["hunter2-key", SecretString("hunter2-key")])
def test_a_key_is_kept_as_a_secret(key: Any) -> None:
    made = _make(api_key=key)
    assert made.api_key == SecretString("hunter2-key")
    for shown in (repr(made), str(made.to_dict()), json.dumps(made.to_dict()), pickle.dumps(made)):
        assert "hunter2" not in str(shown)


def test_settings_pickle_with_everything_but_a_literal_key() -> None:
    made = _make(model="m", timeout=5)
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize("given", [{"hots": "x"}, {"max_line": 1}])
def test_an_unknown_setting_is_a_type_error(given: Dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        _make(**given)


def test_a_change_is_checked_again() -> None:
    with pytest.raises(ConfigurationError):
        _make().replace(locality="x")


def test_the_first_variable_that_is_set_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("LM_API_TOKEN", "LMSTUDIO_API_TOKEN")
    assert first_variable(*names) is None
    monkeypatch.setenv("LMSTUDIO_API_TOKEN", "second")
    monkeypatch.setenv("LM_API_TOKEN", "")
    found = first_variable(*names)
    assert found is not None
    assert found.reveal() == "second"
    monkeypatch.setenv("LM_API_TOKEN", "first")
    found = first_variable(*names)
    assert found is not None
    assert (found.reveal(), repr(found)) == ("first", "SecretString('LM_API_TOKEN')")
