"""A key is redacted in every form in which a value reaches a log, a file or another process."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import pprint
import string
from typing import Any, Callable, Mapping

import pytest

from localproviders import SecretString
from localproviders._record import plain
from localproviders.settings import Settings
from tests.support.locality import ALL_PROVIDERS, KEY, held_values, make

_VARIABLE = "SOME_KEY"


@pytest.fixture(params=["literal", "variable"])
def secret(request: Any, monkeypatch: pytest.MonkeyPatch) -> SecretString:
    monkeypatch.setenv(_VARIABLE, KEY)
    return SecretString(KEY) if request.param == "literal" else SecretString.from_env(_VARIABLE)


def _logged(value: Any) -> str:
    record = logging.LogRecord("n", 10, "p", 1, "%s %r", (value, value), None)
    return logging.Formatter().format(record)


_SHOW: Mapping[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "f-string": lambda value: f"{value} {value!r} {value!s} {value!a}",
    "width": lambda value: f"{value!s:>60}" if isinstance(value, Settings) else f"{value:>60}",
    "format": lambda value: format(value),
    "str.format": lambda value: "{0} {0!r}".format(value),  # noqa: UP032  # the form under test
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031  # the form under test
    "template": lambda value: string.Template("$it").substitute(it=value),
    "join": lambda value: ", ".join(map(str, [value])),
    "in containers": lambda value: repr(([value], {"key": value}, (value,))),
    "json default=str": lambda value: json.dumps({"key": value}, default=str),
    "json default=repr": lambda value: json.dumps({"key": value}, default=repr),
    "json plain": lambda value: json.dumps(plain({"key": value})),
    "json to_dict": lambda value: json.dumps(value.to_dict()),
    "pprint": lambda value: pprint.pformat({"key": [value]}),
    "logging": _logged,
    "pickle 0": lambda value: pickle.dumps(value, 0),
    "pickle 1": lambda value: pickle.dumps(value, 1),
    "pickle 2": lambda value: pickle.dumps(value, 2),
    "pickle 3": lambda value: pickle.dumps(value, 3),
    "pickle 4": lambda value: pickle.dumps(value, 4),
    "pickle 5": lambda value: pickle.dumps(value, 5),
    "python pickle": lambda value: pickle._dumps(value),  # type: ignore[attr-defined]  # the implementation in Python
    "copied": lambda value: repr(copy.copy(value)),
    "deeply copied": lambda value: repr(copy.deepcopy({"key": value})),
    "copied and pickled": lambda value: pickle.dumps(copy.deepcopy(value)),
}


@pytest.mark.parametrize("form", _SHOW)
def test_a_secret_is_redacted_in_every_form(form: str, secret: SecretString) -> None:
    assert KEY[:9] not in str(_SHOW[form](secret))
    assert secret.reveal() == KEY


@pytest.mark.sample(35)
@pytest.mark.parametrize("form", _SHOW)
@pytest.mark.parametrize("kind", ALL_PROVIDERS)
def test_settings_with_a_secret_are_redacted_in_every_form(
    form: str, kind: str, secret: SecretString
) -> None:
    settings = make(kind, "127.0.0.1:1", api_key=secret).settings

    assert KEY[:9] not in str(_SHOW[form](settings))


_OF_PROVIDERS = [name for name in _SHOW if name not in ("width", "json plain", "json to_dict")]


@pytest.mark.sample(49)
@pytest.mark.parametrize("form", _OF_PROVIDERS)
@pytest.mark.parametrize("kind", ALL_PROVIDERS)
def test_a_provider_with_a_secret_is_redacted_in_every_form(
    form: str, kind: str, secret: SecretString
) -> None:
    provider = make(kind, "127.0.0.1:1", api_key=secret)

    assert KEY[:9] not in str(_SHOW[form](provider))
    assert KEY[:9] not in repr(vars(provider))


@dataclasses.dataclass
class _UsersOwn:
    key: SecretString
    name: str = "n"


def test_a_dataclass_of_the_user_shows_a_redacted_secret(secret: SecretString) -> None:
    mine = _UsersOwn(secret)

    for value in (
        dataclasses.asdict(mine),
        dataclasses.astuple(mine),
        dataclasses.replace(mine, name="m"),
        vars(mine),
    ):
        assert KEY[:9] not in f"{value!r}{pprint.pformat(value)}{pickle.dumps(value)!r}"
    assert dataclasses.replace(mine, name="m").key.reveal() == KEY


def test_settings_as_a_dataclass_show_a_redacted_secret(secret: SecretString) -> None:
    settings = make("ollama", "127.0.0.1:1", api_key=secret).settings
    changed = settings.replace(model="other")

    for value in (dataclasses.asdict(settings), vars(settings), changed, changed.to_dict()):
        assert KEY[:9] not in f"{value!r}{pprint.pformat(value)}{pickle.dumps(value)!r}"
    assert changed.api_key is not None
    assert changed.api_key.reveal() == KEY


def test_a_secret_has_no_attributes_to_inspect(secret: SecretString) -> None:
    with pytest.raises(TypeError):
        vars(secret)
    assert list(held_values([secret])) == []
    assert not isinstance(secret, str)


def test_the_authorization_header_has_a_redacted_repr(secret: SecretString) -> None:
    header = secret.as_bearer()

    assert header == f"Bearer {KEY}"
    assert KEY[:9] not in f"{header!r} { ({'Authorization': header}) } {[header]}"
