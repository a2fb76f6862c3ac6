"""A key is used and never shown."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from typing import Any, Callable

import pytest

from localproviders._record import plain
from localproviders.errors import ConfigurationError
from localproviders.secret import Sealed, SecretString, as_key, as_secret

_KEY = "sk-hunter2-0123456789"


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda secret: f"{secret}",
        lambda secret: f"{secret:>40}",
        lambda secret: f"{secret!r:>40}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031  # the form under test
        lambda secret: repr([secret, {"key": secret}]),
        lambda secret: json.dumps(plain({"key": secret})),
        lambda secret: repr(pickle.dumps(secret)),
        lambda secret: repr(pickle.dumps(copy.deepcopy(secret))),
        lambda secret: repr(secret.__reduce__()),
    ],
)
def test_a_secret_shows_itself_nowhere(
    show: Callable[[SecretString], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", _KEY)
    for secret in (SecretString(_KEY), SecretString.from_env("SOME_KEY")):
        assert "hunter2" not in show(secret)
        assert secret.reveal() == _KEY


def test_a_secret_is_no_json_by_accident() -> None:
    with pytest.raises(TypeError):
        json.dumps(SecretString(_KEY))


def test_a_secret_has_no_dictionary_of_attributes() -> None:
    assert not hasattr(SecretString(_KEY), "__dict__")


def test_the_width_of_a_format_holds() -> None:
    assert f"{SecretString(_KEY):>12}" == "  **********"


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_a_copy_in_this_process_still_works(copier: Any) -> None:
    assert copier(SecretString(_KEY)).reveal() == _KEY


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_literal_does_not_survive_pickling_and_says_so(protocol: int) -> None:
    lost = pickle.loads(pickle.dumps(SecretString(_KEY), protocol))
    with pytest.raises(ConfigurationError, match="pickles and dictionaries left it out"):
        lost.reveal()
    assert lost.scrub("lost text") == "lost text"


def test_a_key_from_a_variable_pickles_as_where_it_came_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_KEY", _KEY)
    pickled = pickle.dumps(SecretString.from_env("SOME_KEY"))
    monkeypatch.setenv("SOME_KEY", "another-key")
    assert pickle.loads(pickled).reveal() == "another-key"
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(
        ConfigurationError, match="SOME_KEY was not set when this key was unpickled"
    ):
        pickle.loads(pickled).reveal()


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_unset_or_empty_is_named(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(ConfigurationError, match="SOME_KEY is not set"):
        SecretString.from_env("SOME_KEY")


def test_the_origin_of_a_key_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", _KEY)
    assert repr(SecretString.from_env("SOME_KEY")) == "SecretString('SOME_KEY')"
    assert repr(SecretString(_KEY)) == "SecretString('**********')"


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        " hunter2",
        "hunter2 ",
        "hunter2\n",
        "hunter2\r\nX-Evil: 1",
        "hunter2\x00",
        "hunter2\x7f",
        "hunter2\x85",
        "hunter2\t2",
        "hunter2\u2028",
    ],
)
def test_a_value_that_no_header_carries_is_refused_unquoted(value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SecretString(value)
    assert "hunter2" not in f"{caught.value}{caught.value!r}{caught.value.to_dict()}"
    assert "hunter2" not in "".join(
        traceback.format_exception_only(type(caught.value), caught.value)
    )


@pytest.mark.parametrize("value", ["k", "a b", "é-key", "aÿb", "~!@#$%^&*()", "€"])
def test_printable_text_is_a_key(value: str) -> None:
    assert SecretString(value).reveal() == value


@pytest.mark.parametrize(
    "value",
    ["hunter2“", "hunter2😀", "hunter2Ā"],  # the last is the first letter after Latin-1
)
def test_a_key_that_no_header_carries_is_refused_unquoted(value: str) -> None:
    for given in (value, SecretString(value)):
        with pytest.raises(ConfigurationError, match="header line") as caught:
            as_key(Sealed(given))
        assert "hunter2" not in f"{caught.value}{caught.value!r}{caught.value.to_dict()}"
        assert as_secret(Sealed(given)) == SecretString(value)


_STARS = "**********"


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("", ""),
        ("nothing here", "nothing here"),
        (_KEY, _STARS),
        (f"a {_KEY} b {_KEY}", f"a {_STARS} b {_STARS}"),
        (_KEY[:6], _STARS),
        (f"key {_KEY[:9]}... refused", f"key {_STARS}... refused"),
        (f"{_KEY[:-1]}*", f"{_STARS}*"),
        (_KEY[:5], _KEY[:5]),
        (f"{_KEY[:12]} {_KEY[:6]} {_KEY}", f"{_STARS} {_STARS} {_STARS}"),
    ],
)
def test_a_text_loses_the_key_and_its_telling_beginnings(text: str, scrubbed: str) -> None:
    assert SecretString(_KEY).scrub(text) == scrubbed


def test_a_short_key_is_scrubbed_only_whole() -> None:
    assert SecretString("abc").scrub("ab abc") == f"ab {_STARS}"


def test_equal_keys_are_equal_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", _KEY)
    assert SecretString(_KEY) == SecretString(_KEY)
    assert hash(SecretString(_KEY)) == hash(SecretString(_KEY))
    assert SecretString(_KEY) != SecretString("other-key")
    assert SecretString(_KEY) != _KEY
    assert SecretString(_KEY) != SecretString.from_env("SOME_KEY")
