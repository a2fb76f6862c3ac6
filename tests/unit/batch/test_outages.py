"""Errors that concern all rows, of one server or of several."""

from __future__ import annotations

from typing import Any, Tuple, Type

import pytest

from localproviders import errors
from localproviders.batch.outages import causes_of, is_outage, is_outage_at_start
from localproviders.errors import AllFailedError, ProviderError

_SPECIAL: Any = {
    "LimitError": {"limit": "idle_s", "limit_s": 1, "elapsed_s": 1},
    "WrongModelError": {"requested": "a", "served": "b"},
    "IntegrityError": {"path": "x"},
    "LockHeldError": {"path": "x"},
}
_ALL: Tuple[Type[ProviderError], ...] = tuple(
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, ProviderError) and each is not AllFailedError
)
# Whether an error concerns all rows: never, always, or all rows with the same model.
_OF_THE_SERVER = {
    "UnreachableError",
    "CertificateError",
    "ProtocolError",
    "ServerBusyError",
    "AuthenticationError",
}
_OF_THE_MODEL = {"ModelNotFoundError", "ModelLoadError", "WrongModelError", "LocalityError"}
_AT_START = {
    "UnreachableError",
    "CertificateError",
    "AuthenticationError",
    "ModelNotFoundError",
    "LocalityError",
}


def _error(cls: Type[ProviderError]) -> ProviderError:
    return cls("x", **_SPECIAL.get(cls.__name__, {}))


def _of_several(*causes: ProviderError) -> ProviderError:
    return AllFailedError("all failed", errors=causes)


@pytest.mark.parametrize("cls", _ALL, ids=lambda cls: cls.__name__)
def test_one_server_and_several_with_the_same_error_are_treated_equally(
    cls: Type[ProviderError],
) -> None:
    name = cls.__name__
    one = _error(cls)
    inner = _of_several(one, _error(cls))
    for error in (one, inner, _of_several(one, inner)):
        assert is_outage(error, has_known_model=True) == (name in _OF_THE_SERVER | _OF_THE_MODEL)
        assert is_outage(error, has_known_model=False) == (name in _OF_THE_SERVER)
        assert is_outage_at_start(error) == (name in _AT_START)


def test_each_server_must_have_an_error_that_concerns_all_rows() -> None:
    down, gone = errors.UnreachableError("x"), errors.ModelNotFoundError("x")
    rejected = errors.RequestRejectedError("x")
    assert is_outage(_of_several(down, gone), has_known_model=True)
    assert is_outage_at_start(_of_several(down, gone))
    assert not is_outage(_of_several(down, gone), has_known_model=False)
    assert not is_outage(_of_several(down, rejected), has_known_model=True)
    assert not is_outage_at_start(_of_several(down, rejected))
    assert not is_outage(_of_several(), has_known_model=True)
    assert not is_outage_at_start(_of_several())


def test_the_causes_are_the_errors_of_single_servers() -> None:
    down, busy = errors.UnreachableError("x"), errors.ServerBusyError("x")
    assert causes_of(down) == (down,)
    assert causes_of(_of_several(down, _of_several(busy, down))) == (down, busy, down)
    empty = _of_several()
    assert causes_of(empty) == (empty,)
