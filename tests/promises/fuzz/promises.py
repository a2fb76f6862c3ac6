"""Checks for every result and every error: types as annotated, JSON, and equal copies."""

from __future__ import annotations

import collections.abc
import json
import math
import pickle
from array import array
from typing import (
    Any,
    Callable,
    ClassVar,
    Dict,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from localproviders._record import Record
from localproviders.errors import ProviderError
from localproviders.types import CompletionChunk, EmbeddingResponse

_MOST_CHARACTERS = 2_000
_MOST_BITS = 1_400  # 400 digits


def outcome(read: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function and return its result or its checked `ProviderError`."""
    try:
        return read(*args, **options)
    except ProviderError as error:
        check_error(error)
        return error


def check(value: Any) -> None:
    """Check a record or a chunk: its types, its repr, its JSON and its copies."""
    for name, hint in hints(type(value)).items():
        assert fits(getattr(value, name), hint), (name, getattr(value, name), hint)
    assert repr(value) and len(repr(value)) < 10_000
    text = json.dumps(value.to_dict(), allow_nan=False)
    assert pickle.loads(pickle.dumps(value)) == value
    if isinstance(value, Record):
        assert type(value).from_dict(value.to_dict()) == value
        # Compare the JSON texts, because two escaped surrogates become one character in json.loads.
        assert json.dumps(type(value).from_dict(json.loads(text)).to_dict()) == text


def check_error(error: ProviderError) -> None:
    """Check an error: the types of its attributes, its texts, its JSON and its copy."""
    for cls in type(error).__mro__:
        wanted = get_type_hints(cls.__init__) if "__init__" in vars(cls) else {}
        for name, hint in wanted.items():
            if name not in ("return", "facts", "retryable"):
                assert fits(getattr(error, name), hint), (name, getattr(error, name))
    assert error.message in str(error) and repr(error)
    assert len(error.server_message or "") <= _MOST_CHARACTERS
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert back.to_dict() == error.to_dict()
    json.dumps(error.to_dict(), allow_nan=False)


def hints(cls: Any) -> Dict[str, Any]:
    """Return the annotations of a class by field."""
    if cls is EmbeddingResponse:
        return {}  # Python 3.8 cannot evaluate array[float]; `fits_vectors` checks it
    found = get_type_hints(cls.__init__ if cls is CompletionChunk else cls)
    no_fields = {name for name, hint in found.items() if get_origin(hint) is ClassVar}
    return {name: hint for name, hint in found.items() if name not in {"return", *no_fields}}


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value has an annotated type. A bool does not count as a number."""
    kind, inner = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if kind is Union:
        return any(fits(value, one) for one in inner)
    if kind is Literal:
        return value in inner
    if kind is collections.abc.Callable:
        return callable(value)
    if kind in (tuple, collections.abc.Sequence):
        return isinstance(value, tuple) and all(fits(item, inner[0]) for item in value)
    if kind in (dict, collections.abc.Mapping):
        pairs = value.items() if isinstance(value, dict) else [(None, None)]
        return all(fits(key, inner[0]) and fits(item, inner[1]) for key, item in pairs)
    if hint in (int, float):
        return is_number(value) and (hint is float or isinstance(value, int))
    assert isinstance(hint, type), hint
    if isinstance(value, Record) and isinstance(value, hint):
        return all(fits(getattr(value, name), hint) for name, hint in hints(hint).items())
    return isinstance(value, hint)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number of at most 400 digits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is int and value.bit_length() < _MOST_BITS


def fits_vectors(value: EmbeddingResponse, texts: int) -> bool:
    """Return whether there is one packed, finite vector for each text, all of the same length."""
    rows = value.vectors
    packed = all(isinstance(row, array) and row.typecode == "f" for row in rows)
    finite = all(math.isfinite(number) for row in rows for number in row)
    return packed and finite and len(rows) == texts and {len(row) for row in rows} == {len(rows[0])}
