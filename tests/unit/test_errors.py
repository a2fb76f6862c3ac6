"""Errors: attributes that survive pickling, and texts without secrets."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from array import array
from typing import Any, Dict, List, Type

import pytest

from localproviders import errors
from localproviders.errors import ProviderError

_CLASSES: List[Type[ProviderError]] = [
    cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, ProviderError)
]

_OWN: Dict[str, Dict[str, Any]] = {
    "LimitError": {"limit": "idle_s", "limit_s": 2.0, "elapsed_s": 3.5},
    "ServerBusyError": {"retry_after_s": 7.0},
    "ModelNotFoundError": {"available": ("a", "b")},
    "CapabilityError": {"evidence": "the server says so"},
    "ContextOverflowError": {"prompt_tokens": 9, "context_length": 5},
    "WrongModelError": {"requested": "a", "served": "b"},
    "SchemaError": {"reasons": ("answer.n: is missing",)},
    "IntegrityError": {"path": "out.jsonl", "line": 3},
    "LockHeldError": {"path": "out.lock"},
    "EmbeddingError": {"failures": {1: "not finite"}, "embedded": {0: array("f", [1.0])}},
}
_COMMON: Dict[str, Any] = {
    "hint": "try this",
    "retryable": True,
    "provider": "ollama",
    "model": "llama3.2",
    "endpoint": "http://127.0.0.1:11434",
    "status": 500,
    "partial": "Once upon",
    "server_message": "out of order",
}


def _make(cls: Type[ProviderError], **facts: Any) -> ProviderError:
    return cls("it failed", **{**_OWN.get(cls.__name__, {}), **facts})


@pytest.mark.sample(87)
@pytest.mark.parametrize("cls", _CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_pickles_with_all_it_knows(cls: Type[ProviderError], protocol: int) -> None:
    error = _make(cls, **_COMMON)
    twin = pickle.loads(pickle.dumps(error, protocol))
    _same(error, twin)


@pytest.mark.parametrize("cls", _CLASSES)
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_every_error_copies_with_all_it_knows(cls: Type[ProviderError], copier: Any) -> None:
    error = _make(cls, **_COMMON)
    _same(error, copier(error))


def _same(error: ProviderError, twin: ProviderError) -> None:
    assert type(twin) is type(error)
    assert twin.__dict__ == error.__dict__
    assert twin.args == error.args
    assert str(twin) == str(error)
    for name, value in {**_COMMON, **_OWN.get(type(error).__name__, {})}.items():
        assert getattr(twin, name) == value


@pytest.mark.parametrize("cls", _CLASSES)
def test_an_error_survives_with_only_a_message(cls: Type[ProviderError]) -> None:
    error = _make(cls)
    twin = pickle.loads(pickle.dumps(error))
    assert str(twin) == str(error) == "it failed"
    assert twin.retryable is cls.retryable


@pytest.mark.parametrize("cls", _CLASSES)
def test_an_error_says_message_model_place_and_hint(cls: Type[ProviderError]) -> None:
    error = _make(cls, **_COMMON)
    assert str(error) == ("it failed [model llama3.2] [at http://127.0.0.1:11434] (hint: try this)")
    assert repr(error) == f"{cls.__name__}('it failed')"


@pytest.mark.parametrize("cls", _CLASSES)
def test_the_partial_text_is_in_no_message(cls: Type[ProviderError]) -> None:
    error = _make(cls, partial="private words")
    for text in (str(error), repr(error), str(error.args)):
        assert "private" not in text
    assert error.partial == "private words"


@pytest.mark.parametrize("cls", _CLASSES)
def test_an_error_is_plain_json_as_a_dictionary(cls: Type[ProviderError]) -> None:
    data = _make(cls, **_COMMON).to_dict()
    assert data["error"] == cls.__name__
    assert data["message"] == "it failed"
    assert {name: data[name] for name in _COMMON} == _COMMON
    assert set(_OWN.get(cls.__name__, {})) <= set(data)
    json.dumps(data, allow_nan=False)


def test_a_dictionary_leaves_out_what_is_not_known() -> None:
    assert ProviderError("m").to_dict() == {
        "error": "ProviderError",
        "retryable": False,
        "message": "m",
    }


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.UnsupportedError, ValueError),
        (errors.LocalityError, ValueError),
        (errors.AuthenticationError, ValueError),
        (errors.DependencyError, ValueError),
        (errors.UnreachableError, ConnectionError),
        (errors.LimitError, TimeoutError),
    ],
)
def test_an_error_is_also_what_old_scripts_catch(cls: Any, builtin: Any) -> None:
    with pytest.raises(builtin):
        raise _make(cls)


_TREE = {
    "ConfigurationError": "UnsupportedError LocalityError AuthenticationError DependencyError",
    "TransportError": "UnreachableError CertificateError StreamInterruptedError LimitError",
    "ServerError": "ServerBusyError RequestRejectedError ProtocolError AnswerTooLargeError",
    "ModelError": (
        "ModelNotFoundError ModelLoadError CapabilityError ContextOverflowError WrongModelError"
    ),
    "AnswerError": "SchemaError ToolCallError RepetitionError EmbeddingError",
    "ProviderError": "AllFailedError CancelledError IntegrityError LockHeldError",
}


@pytest.mark.parametrize(
    ("branch", "leaf"), [(b, leaf) for b, leaves in _TREE.items() for leaf in leaves.split()]
)
def test_an_error_hangs_on_its_branch(branch: str, leaf: str) -> None:
    assert issubclass(getattr(errors, leaf), getattr(errors, branch))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ProviderError", 1),
        ("ConfigurationError", 2),
        ("UnsupportedError", 2),
        ("DependencyError", 2),
        ("LocalityError", 3),
        ("AuthenticationError", 4),
        ("TransportError", 5),
        ("UnreachableError", 5),
        ("LimitError", 6),
        ("ServerError", 7),
        ("ServerBusyError", 7),
        ("ModelError", 8),
        ("ModelNotFoundError", 8),
        ("ContextOverflowError", 9),
        ("AnswerError", 10),
        ("AllFailedError", 11),
        ("IntegrityError", 15),
        ("LockHeldError", 75),
        ("CancelledError", 130),
    ],
)
def test_the_exit_codes_stay(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


def test_only_what_may_pass_by_waiting_is_retryable() -> None:
    assert {cls.__name__ for cls in _CLASSES if cls.retryable} == {
        "UnreachableError",
        "ServerBusyError",
        "LockHeldError",
    }


@pytest.mark.parametrize("given", [True, False])
def test_one_error_may_say_otherwise(given: bool) -> None:
    assert errors.ServerBusyError("m", retryable=given).retryable is given
    assert errors.ServerBusyError("m").retryable is True


def test_context_fills_gaps_and_overwrites_nothing() -> None:
    error = ProviderError("m", model="asked")
    error.add_context(model="other", provider="ollama", endpoint=None, partial="so far")
    assert (error.model, error.provider, error.endpoint) == ("asked", "ollama", None)
    assert error.partial == "so far"
    error.add_context(partial="later", provider="")
    assert (error.partial, error.provider) == ("so far", "ollama")


def test_a_long_server_message_is_cut() -> None:
    assert len(ProviderError("m", server_message="x" * 9_000).server_message or "") == 2_000


@pytest.mark.parametrize("facts", [{"unknown": 1}, {"stauts": 500}])
def test_an_unknown_fact_is_refused(facts: Dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        ProviderError("m", **facts)


_HOSTILE = "\x1b[2J\nCRITICAL forged\x9b\u202e\u2028\ud800"
_SHOWN = r"\x1b[2J\nCRITICAL forged\x9b\u202e\u2028\ud800"


@pytest.mark.sample(57)
@pytest.mark.parametrize("cls", _CLASSES)
@pytest.mark.parametrize(
    "copier", [lambda e: e, copy.copy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_an_error_is_one_line_whatever_a_server_has_said(
    cls: Type[ProviderError], copier: Any
) -> None:
    names = ("hint", "model", "endpoint", "provider", "partial", "server_message")
    own = {
        **_OWN.get(cls.__name__, {}),
        **({"evidence": _HOSTILE} if cls is errors.CapabilityError else {}),
        **({"reasons": (_HOSTILE,)} if cls is errors.SchemaError else {}),
        **({"failures": {0: _HOSTILE}} if cls is errors.EmbeddingError else {}),
    }
    error: Any = copier(cls(_HOSTILE, **{**own, **dict.fromkeys(names, _HOSTILE)}))

    assert str(error) == f"{_SHOWN} [model {_SHOWN}] [at {_SHOWN}] (hint: {_SHOWN})"
    assert (error.message, error.args, error.hint) == (_SHOWN, (_SHOWN,), _SHOWN)
    assert repr(error) == f"{cls.__name__}({_SHOWN!r})"
    assert error.server_message == error.partial == _HOSTILE
    assert getattr(error, "evidence", _SHOWN) == _SHOWN
    assert getattr(error, "reasons", (_SHOWN,)) == (_SHOWN,)
    assert getattr(error, "failures", {0: _SHOWN}) == {0: _SHOWN}


def test_an_error_stays_one_line_when_its_words_change() -> None:
    error = ProviderError("m")
    error.message, error.hint = _HOSTILE, _HOSTILE
    error.add_context(model=_HOSTILE, endpoint=_HOSTILE)
    assert error.args == (_SHOWN,)
    assert str(error) == f"{_SHOWN} [model {_SHOWN}] [at {_SHOWN}] (hint: {_SHOWN})"


def test_an_error_unpickled_from_raw_words_is_one_line() -> None:
    rebuild, (cls, state) = ProviderError("m").__reduce__()
    error = rebuild(cls, {**state, "message": _HOSTILE, "hint": _HOSTILE})
    assert str(error) == f"{_SHOWN} (hint: {_SHOWN})"
