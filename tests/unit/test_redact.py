from __future__ import annotations

import sys
import unicodedata

import pytest

from localproviders._redact import each_on_one_line, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("user\u202etxt", "user\\u202etxt"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\ud83d", "\\ud83d"),
        ("Grüße, 你好, سلام, 👍🏽", "Grüße, 你好, سلام, 👍🏽"),
        ("", ""),
    ],
)
def test_controls_are_shown_and_other_text_is_kept(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.sample(0)
def test_no_character_that_a_terminal_obeys_is_left() -> None:
    everything = one_line("".join(map(chr, range(sys.maxunicode + 1))))
    left = {unicodedata.category(letter) for letter in everything}
    assert not left & {"Cc", "Cs", "Zl", "Zp"}
    directions = {unicodedata.bidirectional(letter) for letter in everything}
    assert not directions & {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    assert len(everything.splitlines()) == 1


def test_prose_keeps_its_lines_and_tabs_only() -> None:
    assert printable("one\n\ttwo\r\x1b[2J\u202e\x9b") == "one\n\ttwo\\r\\x1b[2J\\u202e\\x9b"


def test_texts_in_tuples_are_made_lines_and_other_values_stay() -> None:
    assert each_on_one_line(("a\n", 1, None)) == ("a\\n", 1, None)
    assert each_on_one_line(None) is None
    assert each_on_one_line(["a\n"]) == ["a\n"]


@pytest.mark.parametrize("letter", ["x", "\x1b", "\U000e0001"])
def test_a_long_text_is_cut_once(letter: str) -> None:
    line = each_on_one_line(letter * 1_000_000)
    assert len(line) == 10_000 and line.endswith("...")
    assert each_on_one_line(line) == line
    assert each_on_one_line("x" * 10_000) == "x" * 10_000
