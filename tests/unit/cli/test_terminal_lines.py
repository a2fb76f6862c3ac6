"""The texts that a person types: what belongs together, and what is an error."""

from __future__ import annotations

import io
import sys
from typing import Any, List, Optional

import pytest

from localproviders.cli.terminal_lines import Lines, Typed, terminal
from localproviders.cli.usage import Stopped, UsageError


def _lines(text: str, monkeypatch: Any) -> Lines:
    """Return a reader of a text, without line editing."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return Lines()


@pytest.mark.parametrize(
    ("raw", "typed"),
    [
        ("one\n", Typed("one")),
        ("one", Typed("one")),
        ("\n", Typed("")),
        ("  one \n", Typed("  one ")),
        ("one\\\ntwo\\\n\n", Typed("one\ntwo\n")),
        ('"""one"""\n', Typed("one", is_literal=True)),
        ('""""""\n', Typed("", is_literal=True)),
        ('  """\none  \n\n  two\n"""  \n', Typed("one  \n\n  two", is_literal=True)),
        ('"""one\n"""two\nthree"""\n', Typed('one\n"""two\nthree', is_literal=True)),
        ('one """\n', Typed('one """')),
        ("", None),
        ("one\\\n", None),
        ('"""one\n', None),
    ],
)
def test_texts(raw: str, typed: Optional[Typed], monkeypatch: Any, capsys: Any) -> None:
    assert _lines(raw, monkeypatch).read() == typed
    prompts = capsys.readouterr().out
    assert prompts.startswith("> ")
    assert set(prompts[2:].split()) <= {"..."}


def test_half_of_a_surrogate_pair(monkeypatch: Any) -> None:
    lines = _lines("a\udcff\nb\n", monkeypatch)
    with pytest.raises(UsageError, match="the text is not valid"):
        lines.read()
    assert lines.read() == Typed("b")


@pytest.fixture
def edited(monkeypatch: Any) -> Lines:
    lines = Lines()
    monkeypatch.setattr(lines, "_readline", _History())
    return lines


class _History:
    """The part of `readline` that is used after its start."""

    def __init__(self) -> None:
        self.texts: List[str] = []

    def add_history(self, text: str) -> None:
        if "\0" in text:
            raise ValueError("embedded null byte")
        self.texts.append(text)


def test_the_history_has_each_text_once(edited: Any, monkeypatch: Any) -> None:
    given = iter(["one", "  ", "two\\", "three", '"""four', 'five"""', "a\0b"])
    monkeypatch.setattr("builtins.input", lambda _: next(given))
    for _ in range(5):
        edited.read()
    assert edited._readline.texts == ["one", "two\nthree", '"""four\nfive"""']


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), Stopped(143)])
def test_a_signal_at_a_bad_moment(cause: BaseException, edited: Lines, monkeypatch: Any) -> None:
    def fail(_: str) -> str:
        raise SystemError("returned a result with an exception set") from cause

    monkeypatch.setattr("builtins.input", fail)
    with pytest.raises(type(cause)):
        edited.read()


def test_prompts_are_on_standard_error_if_it_is_a_terminal(monkeypatch: Any) -> None:
    assert terminal() is sys.stdout
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert terminal() is sys.stderr
    monkeypatch.setattr(sys, "stderr", None)
    assert terminal() is sys.stdout
