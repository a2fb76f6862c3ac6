"""Reads the texts that a person types on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Iterable, List, NamedTuple, Optional

from localproviders.cli.usage import UsageError

_PROMPT, _MORE = "> ", "... "
#: The mark at the beginning and the end of a text that may have several lines.
FENCE = '"""'


class Typed(NamedTuple):
    """A text that was typed.

    Attributes:
        text: The text. It may have several lines.
        is_literal: Whether it was between two fences, so that it is no command.
    """

    text: str
    is_literal: bool = False


def terminal() -> Any:
    """Return the stream for prompts and notes: standard error, or else standard output.

    So in ``localproviders chat | tee answers.txt``, only the answers go through the pipe.
    """
    is_seen = sys.stderr is not None and sys.stderr.isatty()
    return sys.stderr if is_seen else sys.stdout


class Lines:
    """Reads texts, with the line editing of `readline` if it is available.

    The history is kept only in memory. At first it contains the texts of `history`.

    Args:
        history: The earlier texts, the oldest first.
    """

    def __init__(self, history: Iterable[str] = ()) -> None:
        self._readline = _load_readline()
        for text in history:
            self._remember(text)

    def read(self) -> Optional[Typed]:
        r"""Return the next text, or None at the end of the input (Ctrl-D).

        A line that ends with a backslash is continued on the next line. A text of several lines may
        also begin and end with a fence of three double quotation marks.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed. The lines so far are lost.
            UsageError: A line is not in the encoding of the terminal.
        """
        try:
            line = self._line(_PROMPT)
            is_fenced = line.lstrip().startswith(FENCE)
            return self._fenced(line.strip()) if is_fenced else self._continued(line)
        except EOFError:
            return None

    def _fenced(self, raw: str) -> Typed:
        while len(raw) < 2 * len(FENCE) or not raw.endswith(FENCE):
            raw = f"{raw}\n{self._line(_MORE)}"
            if raw.rstrip().endswith(FENCE):
                raw = raw.rstrip()
        self._remember(raw)
        return Typed(raw[len(FENCE) : -len(FENCE)].strip("\n"), is_literal=True)

    def _continued(self, line: str) -> Typed:
        lines: List[str] = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self._line(_MORE))
        text = "\n".join(lines)
        self._remember(text)
        return Typed(text)

    def _line(self, prompt: str) -> str:
        try:
            line = _edited_line(prompt) if self._readline is not None else _plain_line(prompt)
            line.encode("utf-8")  # in some locales, Python turns invalid bytes into surrogates
        except UnicodeError:
            encoding = sys.stdin.encoding
            raise UsageError(
                f"the text is not valid {encoding}",
                hint="to see the terminal's encoding, run: locale",
            ) from None
        return line

    def _remember(self, text: str) -> None:
        if self._readline is not None and text.strip():
            with contextlib.suppress(ValueError):  # half of a surrogate pair, or a null character
                self._readline.add_history(text)


def _edited_line(prompt: str) -> str:
    try:
        return input(prompt)
    except SystemError as error:
        # A signal arrived while `input` made its result, and Python did not expect the exception.
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None


def _plain_line(prompt: str) -> str:
    # The prompt of `input` could go to standard output, which may be a pipe.
    stream = terminal()
    stream.write(prompt)
    stream.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def _load_readline() -> Any:
    """Return the module `readline`; None on Windows, or if standard output is no terminal."""
    if not sys.stdout.isatty():
        return None
    try:
        import readline  # slow to import, and missing on some systems
    except ImportError:
        return None
    readline.set_auto_history(False)
    if os.environ.get("TERM", "dumb") != "dumb":  # a dumb terminal has no escape sequences
        # With this setting, a pasted text of several lines is read as one text.
        readline.parse_and_bind("set enable-bracketed-paste on")
    return readline
