"""Descriptions are read from docstrings."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Dict, NamedTuple

import pytest

from localproviders.schema.shapes import docstring_of, read_docstring

_GOOGLE = """Get the weather.

    Of a city,
    today.

    Args:
        city: The city's name,
            on two lines: with a colon.
        unit (str, optional): C or F.
        **more (Any): The rest.
        bare:
            Below.

    Returns:
        city: no parameter.
    """
_NUMPY = """Get the weather.

    Parameters
    ----------
    city : str
        The city's name,
        on two lines.
    unit, other : {"C", "F"}, optional
        C or F.
    plain
        No type.

    Returns
    -------
    dict
        No parameter.
    """
_REST = """Get the weather.

    :param city: The city's name,
        on two lines.
    :param str unit: C or F.
    :type unit: str
    :returns: No parameter.
    :raises ValueError: Never.
    """


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (
            _GOOGLE,
            {
                "city": "The city's name, on two lines: with a colon.",
                "unit": "C or F.",
                "more": "The rest.",
                "bare": "Below.",
            },
        ),
        (
            _NUMPY,
            {
                "city": "The city's name, on two lines.",
                "unit": "C or F.",
                "other": "C or F.",
                "plain": "No type.",
            },
        ),
        (_REST, {"city": "The city's name, on two lines.", "unit": "C or F."}),
    ],
)
def test_the_words_of_each_parameter_are_found(text: str, parameters: Dict[str, str]) -> None:
    found = read_docstring(text)
    assert found.summary.startswith("Get the weather.")
    assert found.parameters == parameters


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (_GOOGLE, "Get the weather.\n\nOf a city,\ntoday."),
        (_NUMPY, "Get the weather."),
        (_REST, "Get the weather."),
        ("", ""),
        ("Args:\n    a: b", ""),
        ("One line: with a colon.", "One line: with a colon."),
        ("Say it.\n\nReturns:\n    Nothing.\n\nMore.", "Say it."),
    ],
)
def test_the_summary_is_what_stands_before_any_section(text: str, summary: str) -> None:
    assert read_docstring(text).summary == summary


def test_text_between_sections_is_nobodys() -> None:
    text = "Do it.\n\nArgs:\n    a: First.\n\nNote: this\n\nArguments:\n    b: Second.\n"
    assert read_docstring(text).parameters == {"a": "First.", "b": "Second."}


class _Enum(enum.Enum):
    A = 1


@dataclass
class _Data:
    a: int


class _Tuple(NamedTuple):
    a: int


class _Mine(NamedTuple):
    """A pair."""

    a: int


@pytest.mark.parametrize("thing", [_Enum, _Data, _Tuple])
def test_what_python_writes_itself_is_no_docstring(thing: Any) -> None:
    assert docstring_of(thing) == ("", {})


def test_what_a_person_wrote_is() -> None:
    assert docstring_of(_Mine).summary == "A pair."
