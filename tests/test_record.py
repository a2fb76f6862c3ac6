"""The base of the values: keywords, repr, dictionaries, copies, pickles."""

from __future__ import annotations

import base64
import dataclasses
import json
import pickle
from array import array
from dataclasses import field
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Optional, Tuple

import pytest

from localproviders._record import (
    CONTENT,
    RAW,
    Record,
    did_you_mean,
    loads,
    loads_each,
    plain,
    record,
    size_of,
)


@record
class Inner(Record):
    number: int = 0


@record
class Outer(Record):
    name: str
    optional: Optional[str] = None
    said: str = field(default="", metadata=CONTENT)
    inner: Inner = field(default_factory=Inner, metadata=loads(Inner.from_dict))
    several: Tuple[Inner, ...] = field(default=(), metadata=loads_each(Inner.from_dict))
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError("bad name")


_OUTER = Outer(
    name="n",
    said="private",
    inner=Inner(number=1),
    several=(Inner(), Inner(number=2)),
    raw={"a": 1},
)


def test_only_keywords_are_taken() -> None:
    with pytest.raises(TypeError):
        Inner(1)  # type: ignore[misc]  # the mistake under test


@pytest.mark.parametrize("fields", [{}, {"name": "n", "other": 1}])
def test_missing_and_unknown_keywords_are_a_type_error(fields: Dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Outer(**fields)


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _OUTER.name = "m"  # type: ignore[misc]  # the mistake under test


def test_a_repr_tells_sizes_of_content_and_leaves_out_defaults_and_raw() -> None:
    assert repr(_OUTER) == (
        "Outer(name='n', said=<7 characters>, inner=Inner(number=1), "
        "several=(Inner(), Inner(number=2)))"
    )


def test_a_dictionary_has_plain_types_without_defaults_and_raw() -> None:
    assert _OUTER.to_dict() == {
        "name": "n",
        "said": "private",
        "inner": {"number": 1},
        "several": [{}, {"number": 2}],
    }


def test_a_dictionary_comes_back_through_json() -> None:
    assert Outer.from_dict(json.loads(json.dumps(_OUTER.to_dict()))) == _OUTER


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "n", "optionl": 1}, "no field 'optionl'; did you mean 'optional'?"),
        ({"name": "n", "xyz": 1}, "no field 'xyz'"),
        ({"name": "n", "raw": {}}, "no field 'raw'"),
        ({}, "name"),
        ({"name": "bad"}, "bad name"),
        ({"name": "n", "inner": {"nummer": 1}}, "Inner has no field 'nummer'"),
    ],
)
def test_a_dictionary_that_does_not_fit_is_a_value_error(data: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        Outer.from_dict(data)
    assert words in str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_drops_the_raw_record(protocol: int) -> None:
    pickled = pickle.dumps(_OUTER.replace(raw={"a": "needle"}), protocol)
    assert b"needle" not in pickled
    twin = pickle.loads(pickled)
    assert twin == _OUTER
    assert twin.raw is None


def test_a_copy_with_changes_runs_the_checks_again() -> None:
    assert _OUTER.replace(name="m").name == "m"
    assert _OUTER.replace(name="m").raw == {"a": 1}
    with pytest.raises(ValueError, match="bad name"):
        _OUTER.replace(name="bad")
    with pytest.raises(TypeError):
        _OUTER.replace(nmae="m")


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (None, None),
        (1.5, 1.5),
        ("x", "x"),
        (b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
        (bytearray(b"a"), "YQ=="),
        ((1, (2,)), [1, [2]]),
        ({1: (Inner(number=3),)}, {"1": [{"number": 3}]}),
        (frozenset([1]), [1]),
        (array("f", [1.0, 0.5]), [1.0, 0.5]),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-02T00:00:00+00:00"),
    ],
)
def test_a_value_becomes_plain(value: Any, made: Any) -> None:
    assert plain(value) == made
    assert type(plain(value)) is type(made)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "None"),
        ("abc", "<3 characters>"),
        (b"ab", "<2 bytes>"),
        ((1, 2), "<2 items>"),
        ({}, "<0 items>"),
        (5, "<hidden>"),
    ],
)
def test_a_size_tells_nothing_else(value: Any, said: str) -> None:
    assert size_of(value) == said


@pytest.mark.parametrize(
    ("word", "said"), [("temprature", "; did you mean 'temperature'?"), ("q", "")]
)
def test_the_nearest_word_is_named(word: str, said: str) -> None:
    assert did_you_mean(word, ["temperature", "top_p"]) == said


def test_what_contains_itself_is_refused_long_before_pythons_own_limit() -> None:
    circle: List[Any] = []
    circle.append({"again": circle})
    with pytest.raises(ValueError, match="contains itself"):
        plain(circle)
