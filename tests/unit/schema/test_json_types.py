"""Every supported annotation: its schema, a check by the reference validator, and its values."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Dict, List, Tuple, get_type_hints

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders._record import plain
from localproviders.schema import arguments_for, build, check, schema_of, tool_from
from tests.unit.schema.samples import MISDATED, REFUSED_BY_TYPES, SAMPLES, Sample


def _name(sample: Sample) -> str:
    return str(getattr(sample.annotation, "__name__", sample.annotation)).replace("typing.", "")


GOOD = [
    pytest.param(sample.annotation, value, made, id=f"{_name(sample)}-{value!r:.30}")
    for sample in SAMPLES
    for value, made in sample.good
]
BAD = [
    pytest.param(sample.annotation, value, id=f"{_name(sample)}-{value!r:.30}")
    for sample in SAMPLES
    for value in sample.bad
]


def _reference(schema: Any) -> Any:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _references_in(schema: Any) -> List[Any]:
    if isinstance(schema, list):
        return [found for each in schema for found in _references_in(each)]
    if not isinstance(schema, dict):
        return []
    return [*(["$ref"] if "$ref" in schema else []), *_references_in(list(schema.values()))]


@lru_cache(maxsize=None)
def _everything() -> Tuple[Any, Dict[str, Sample]]:
    """Return a function with every supported annotation, and a sample for each parameter."""
    samples = {f"p{index}": sample for index, sample in enumerate(SAMPLES)}
    names = ", ".join(samples)
    space: Dict[str, Any] = {}
    exec(
        f"def everything(*, {names}): return dict({', '.join(f'{n}={n}' for n in samples)})", space
    )
    function = space["everything"]
    function.__annotations__ = {name: sample.annotation for name, sample in samples.items()}
    assert len(get_type_hints(function)) == len(SAMPLES)
    return function, samples


@lru_cache(maxsize=None)
def _reference_of_everything() -> Any:
    return _reference(tool_from(_everything()[0]).parameters)


@pytest.mark.sample(25)
@pytest.mark.parametrize(("annotation", "value", "made"), GOOD)
def test_what_python_takes_fits_and_is_made(annotation: Any, value: Any, made: Any) -> None:
    schema = schema_of(annotation)
    assert check(value, schema) == []
    assert _reference(schema).is_valid(value)
    built = build(annotation, value)
    assert built == made
    assert type(built) is type(made)


@pytest.mark.sample(20)
@pytest.mark.parametrize(("annotation", "value"), BAD)
def test_what_python_refuses_does_not_fit(annotation: Any, value: Any) -> None:
    schema = schema_of(annotation)
    assert check(value, schema) != []
    assert not _reference(schema).is_valid(value)
    with pytest.raises(ValueError):
        build(annotation, value)


@pytest.mark.parametrize(("annotation", "text"), MISDATED)
def test_a_text_that_is_no_date_is_refused_when_it_is_made(annotation: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"^answer: is not a date"):
        build(annotation, text)


@pytest.mark.parametrize(("annotation", "value", "words"), REFUSED_BY_TYPES)
def test_a_type_says_why_it_refuses_a_value(annotation: Any, value: Any, words: str) -> None:
    assert check(value, schema_of(annotation)) == []
    with pytest.raises(ValueError) as caught:
        build(annotation, value)
    assert str(caught.value).startswith("answer")
    assert words in str(caught.value)


def test_a_function_with_every_annotation_has_one_schema_without_references() -> None:
    function, samples = _everything()
    tool = tool_from(function)
    _reference(tool.parameters)
    assert _references_in(tool.parameters) == []
    assert tool.parameters["required"] == list(samples)
    assert tool.parameters["additionalProperties"] is False


def test_good_arguments_of_every_annotation_reach_the_function() -> None:
    function, samples = _everything()
    given = {name: sample.good[0][0] for name, sample in samples.items()}
    expected = {name: sample.good[0][1] for name, sample in samples.items()}
    assert _reference(tool_from(function).parameters).is_valid(given)
    assert function(**arguments_for(function, given)) == expected


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("name", "bad"),
    [(name, bad) for name, sample in _everything()[1].items() for bad in sample.bad],
)
def test_one_bad_argument_among_good_ones_is_the_one_named(name: str, bad: Any) -> None:
    function, samples = _everything()
    given = {**{name: sample.good[0][0] for name, sample in samples.items()}, name: bad}
    assert not _reference_of_everything().is_valid(given)
    with pytest.raises(ValueError) as caught:
        arguments_for(function, given)
    assert all(line.startswith(f"arguments.{name}") for line in str(caught.value).splitlines())


@given(st.timedeltas())
def test_a_duration_can_be_read_again(value: timedelta) -> None:
    assert build(timedelta, plain(value)) == value


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9
    )
)
def test_a_decimal_keeps_its_digits(value: Decimal) -> None:
    made = build(Decimal, plain(value))
    assert (made, str(made)) == (value, str(value))
