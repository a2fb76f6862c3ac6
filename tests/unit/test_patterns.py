"""Tests of `localproviders._patterns`."""

from __future__ import annotations

import re

import pytest

from localproviders._patterns import pattern


def test_a_pattern_has_the_methods_of_a_compiled_one() -> None:
    number = pattern(r"(\d+)(b?)", re.IGNORECASE)
    found = number.fullmatch("12B")
    assert found is not None
    assert found.groups() == ("12", "B")
    assert number.sub("n", "1 and 2b") == "n and n"
    assert number.fullmatch("12c") is None
    assert pattern(rb"\r?\n").split(b"a\r\nb") == [b"a", b"b"]


def test_an_invalid_pattern_is_an_error_of_its_first_use() -> None:
    invalid = pattern("(")
    with pytest.raises(re.error, match="missing"):
        invalid.search("(")


def test_an_unknown_method_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'seek'"):
        pattern("a").seek("a")  # type: ignore[attr-defined]
