"""In which line of a TOML file each key stands. Parsers do not say.

The text has been parsed already, so it is known to be well made. The scanner reads it a
second time and keeps what it finds only if that is, key for key, what the parser found: a
wrong line would send somebody to the wrong place, and no line only makes them search.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Set, Tuple

Path = Tuple[str, ...]

# Ours are shorter; each part of a path costs as much as the path is long.
_DEEPEST = 16

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = re.compile(rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
# The long strings first: their beginning looks like an empty short one.
_SCALAR = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|\d{4}-\d\d-\d\d [\d:.Zz+-]+"
    r"|[^\s,\[\]{}#\"'=]+",
    re.DOTALL,
)


class _LostError(Exception):
    """The text is not what the scanner expects here."""


def lines_of(
    text: str, tree: Mapping[str, Any], loads: Callable[[str], Mapping[str, Any]]
) -> Dict[Path, int]:
    """Give the line, from 1, of each key and table of a document; nothing without certainty.

    What stands inside of arrays has no entry of its own.

    Args:
        text: The document.
        tree: What the parser made of it.
        loads: The parser, which also reads the quotes around keys.
    """
    scanner = _Scanner(text, loads)
    try:
        scanner.run()
    except (_LostError, RecursionError, ValueError):
        return {}
    return scanner.lines if scanner.leaves == set(_leaves(tree)) else {}


def _leaves(tree: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name)


class _Scanner:
    def __init__(self, text: str, loads: Callable[[str], Mapping[str, Any]]) -> None:
        self._text = text
        self._loads = loads
        self._at = 0
        self._counted = (0, 1)  # up to which place lines are counted, and the line there
        self._arrays: Set[Path] = set()
        self.lines: Dict[Path, int] = {}
        self.leaves: Set[Path] = set()

    def run(self) -> None:
        table: Optional[Path] = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Optional[Path]:
        """Read ``[table]`` or ``[[array]]``; give the table, None inside of an array."""
        start, double = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if double else 1
        path = self._key()
        self._expect("]]" if double else "]")
        if self._in_array(path if not double else path[:-1]):
            return None
        self._note(path, start)
        if double:
            self._arrays.add(path)
            self.leaves.add(path)
            return None
        return path

    def _in_array(self, path: Path) -> bool:
        return any(path[:length] in self._arrays for length in range(1, len(path) + 1))

    def _pair(self, table: Optional[Path]) -> None:
        start = self._at
        key = self._key()
        self._expect("=")
        path = None if table is None else (*table, *key)
        if path is not None:
            self._note(path, start)
        self._value(path)

    def _key(self) -> Path:
        self._skip(_SPACE)
        text = self._take(_DOTTED)
        self._skip(_SPACE)
        node: Any = self._loads(f"{text} = 0")
        path: Path = ()
        while isinstance(node, Mapping):
            ((name, node),) = node.items()
            path = (*path, name)
        return path

    def _value(self, path: Optional[Path]) -> None:
        """Pass a value; where it has a path, note what is in it."""
        self._skip(_SPACE)
        opening = self._text[self._at : self._at + 1]
        if opening == "{":
            self._several("}", lambda: self._pair(path))
            return
        if path is not None:
            if path in self.leaves:
                raise _LostError
            self.leaves.add(path)
        if opening == "[":
            self._several("]", lambda: self._value(None))
        else:
            self._take(_SCALAR)

    def _several(self, closing: str, each: Callable[[], None]) -> None:
        self._at += 1
        self._skip(_BLANK)
        while not self._text.startswith(closing, self._at):
            each()
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1
                self._skip(_BLANK)
            elif not self._text.startswith(closing, self._at):
                raise _LostError
        self._at += 1

    def _note(self, path: Path, at: int) -> None:
        """Keep the line of a key, and of the tables that it is the first to name."""
        if len(path) > _DEEPEST:
            raise _LostError
        counted, line = self._counted
        line += self._text.count("\n", counted, at)
        self._counted = (at, line)
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise _LostError
        self._at = found.end()
        return found.group()

    def _expect(self, mark: str) -> None:
        if not self._text.startswith(mark, self._at):
            raise _LostError
        self._at += len(mark)
