"""Each word in the tables of other clients' names is reached: no other row answers it first."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any, FrozenSet, Iterator, List, Set, Tuple

import pytest

import localproviders
from localproviders import (
    LMStudioProvider,
    ModelProvider,
    OllamaProvider,
    _did_you_mean,
    _habits,
    _other_keywords,
)
from localproviders._did_you_mean import other_public_name, suggest_keyword
from localproviders.settings import OPTIONS

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _public() -> Iterator[Any]:
    """Yield the public classes and functions of all modules without an underscore."""
    names = [
        each.name for each in pkgutil.walk_packages(localproviders.__path__, "localproviders.")
    ]
    for name in ["localproviders", *names]:
        if "._" not in name:
            module = importlib.import_module(name)
            yield from (getattr(module, public) for public in getattr(module, "__all__", ()))


def _classes() -> Set[type]:
    return {value for value in _public() if inspect.isclass(value)}


def _called() -> Iterator[Any]:
    yield from (value for value in _public() if callable(value))
    for cls in _classes():
        yield from (value for name, value in inspect.getmembers(cls, callable) if name[:1] != "_")


def _parameters(called: Any) -> FrozenSet[str]:
    try:
        found = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):  # a function of Python itself
        return frozenset()
    return frozenset(each.name for each in found if each.kind not in _VARIABLE) - {"self", "cls"}


def _values() -> List[Any]:
    """Return an object of each class whose errors name the attributes of other clients.

    The values are made without their constructors. They have the attributes that are named like
    the parameters of the constructor.
    """
    made: List[Any] = [OllamaProvider(), LMStudioProvider()]
    for cls in _classes():
        if hasattr(cls, "__getattr__") and not issubclass(cls, ModelProvider):
            value: Any = cls.__new__(cls)
            getattr(value, "__dict__", {}).update(dict.fromkeys(_parameters(cls.__init__)))
            made.append(value)
    return made


def _numbered(rows: Tuple[Tuple[str, ...], ...]) -> Tuple[Tuple[str, ...], ...]:
    """Return the rows with their number as the advice."""
    return tuple((*row[:-1], f"row {number}") for number, row in enumerate(rows))


def _words(table: Any) -> Set[Tuple[str, str]]:
    """Return each word with the answer of its row."""
    rows = table.items() if isinstance(table, dict) else ((row[-1], row[0]) for row in table)
    return {(answer, word) for answer, words in rows for word in words.split()}


def _answer(suggestion: str) -> str:
    """Return the name, or the advice, in a suggestion."""
    return suggestion.replace("; ", "").replace("did you mean '", "").replace("'?", "")


def test_every_keyword_of_another_client_is_answered_by_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_other_keywords, "ADVICE", _numbered(_other_keywords.ADVICE))
    monkeypatch.setattr(_did_you_mean, "did_you_mean", lambda *_: "")  # it is slow
    rows = _words(_other_keywords.ADVICE) | _words(_other_keywords.OTHER_NAMES)
    reached = {
        (_answer(suggest_keyword(word, names)), word)
        for names in {frozenset(OPTIONS), *map(_parameters, _called())}
        for _, word in rows
        if word not in names
    }
    assert rows - reached == set()


def test_every_keyword_without_influence_on_a_prompt_is_answered_so() -> None:
    names = _parameters(ModelProvider.count_tokens)
    answers = {suggest_keyword(word, names) for word in _other_keywords.FOR_AN_ANSWER}
    assert answers == {"; leave it out: it does not change the prompt"}


def test_every_attribute_of_another_client_is_answered_by_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_habits, "ATTRIBUTE_ADVICE", _numbered(_habits.ATTRIBUTE_ADVICE))
    tables = (_habits.ATTRIBUTE_ADVICE, _habits.OTHER_METHODS, _habits.OTHER_ATTRIBUTES)
    rows = set().union(*map(_words, tables))
    reached = {
        (_answer(ask(value, word)), word)
        for ask in (_habits.words_for_attribute, _habits.words_for_item)
        for value in _values()
        for _, word in rows
    }
    assert rows - reached == set()


def test_every_public_name_of_another_client_is_answered_by_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_habits, "PUBLIC_ADVICE", _numbered(_habits.PUBLIC_ADVICE))
    rows = _words(_habits.PUBLIC_ADVICE) | _words(_habits.OTHER_PUBLIC_NAMES)
    known = localproviders.__all__
    assert rows - {(_answer(other_public_name(word, known)), word) for _, word in rows} == set()
