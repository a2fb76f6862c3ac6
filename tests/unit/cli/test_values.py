"""The values of options."""

from __future__ import annotations

import argparse

import pytest

from localproviders.cli.values import (
    duration,
    duration_or_zero,
    encoding,
    filled,
    number,
    whole,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("0.5", 0.5), ("1.5h", 5400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds
    assert duration_or_zero(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1", "1 s", "1d", "1ms", "1e3", "nan", "inf", "٣", "9999999999", "1.", "1h30m"],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 90, 90s, 10m or 2h"):
        duration(text)


def test_zero() -> None:
    assert duration_or_zero("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="must be above zero"):
        duration("0s")


@pytest.mark.parametrize("text", ["", "1.0", "-1", "one", "1e2", "²", "9" * 19])
def test_no_whole_numbers(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no whole number of at least 0"):
        whole(0)(text)


def test_numbers() -> None:
    assert whole(1)("12") == 12
    assert number(0, 2)("0.5") == 0.5
    for text in ("nan", "inf", "-0.1", "2.1", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="no number from 0 to 2"):
            number(0, 2)(text)


def test_encodings() -> None:
    assert encoding("UTF8") == "utf-8"
    assert encoding("latin-1") == "iso8859-1"
    words = ("", "none", "hex", "a\0b", "rot13", "idna", "punycode", "unicode_escape")
    for text in words:
        with pytest.raises(argparse.ArgumentTypeError, match="there is no encoding"):
            encoding(text)


@pytest.mark.parametrize("text", ["999999999h", "24001h", "999999999m"])
def test_a_duration_that_no_system_can_wait(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is more than 1000 days"):
        duration(text)
    assert duration("24000h") == 24000 * 3600


def test_a_whole_number_with_a_highest_value() -> None:
    assert whole(1, 65535)("65535") == 65535
    with pytest.raises(argparse.ArgumentTypeError, match="no whole number from 1 to 65535"):
        whole(1, 65535)("65536")


def test_an_empty_variable_of_a_shell_is_no_value() -> None:
    assert filled(" a") == " a"
    for text in ("", "  "):
        with pytest.raises(argparse.ArgumentTypeError, match="is empty"):
            filled(text)
