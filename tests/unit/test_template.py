"""Templates: texts with fields in braces."""

from __future__ import annotations

import pytest

from localproviders import ConfigurationError
from localproviders._template import Template

_ROW = {"title": "Hi", "count": 3, "first name": "Ann", "tags": ["ä", {"b": None}], "none": None}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("no field", "no field"),
        ("Sort {title}: {count}", "Sort Hi: 3"),
        ("{title}{title}", "HiHi"),
        ("{first name}!", "Ann!"),
        ("{tags}", '["ä", {"b": null}]'),
        ("{{title}} {title}", "{title} Hi"),
        ('{{"a": {count}}}', '{"a": 3}'),
    ],
)
def test_fields_are_filled(text: str, filled: str) -> None:
    assert Template(text).fill(_ROW, "row 1") == filled


def test_the_fields_in_order() -> None:
    assert Template("{b} {a} {b} {{c}}").fields == ["b", "a"]


@pytest.mark.parametrize("text", ["{", "}", "a {title", "a} b", "{}", "{a{b}}"])
def test_a_brace_without_a_name_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="has a brace without a name at character"):
        Template(text)


def test_a_missing_field_names_the_row_and_the_columns() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Template("{titel}").fill(_ROW, "row 7 of mails.csv")
    said = str(caught.value)
    assert "row 7 of mails.csv has no value for {titel}; did you mean 'title'?" in said
    assert "the columns are title, count" in said


def test_an_empty_value_is_missing() -> None:
    with pytest.raises(ConfigurationError, match=r"row 1 has no value for \{none\}"):
        Template("{none}").fill(_ROW, "row 1")
    assert Template("{a}").fill({"a": ""}, "row 1") == ""
