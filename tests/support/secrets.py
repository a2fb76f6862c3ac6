"""An API key and a proxy password for tests, and the search for them in errors and frames."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import traceback
import warnings
from types import CodeType, FrameType
from typing import Any, Callable, Iterator, List, Mapping, Set, Tuple

import localproviders
from tests.support.walking import KEY, error_chain, held_values

PASSWORD = "Tr0ub4dor-pass"
PROXY = f"http://somebody:{PASSWORD}@127.0.0.1:9"
SECRETS = (KEY, KEY[:9], PASSWORD)

_PACKAGE = os.path.join(os.path.dirname(localproviders.__file__), "")


def _walk(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the reprs that a traceback or an error reporter shows for a local variable."""
    yield repr(value)
    if isinstance(value, Mapping) and depth < 4:
        for each in (*value.keys(), *value.values()):
            yield from _walk(each, depth + 1)
    elif isinstance(value, (list, tuple, set, frozenset)) and depth < 4:
        for each in value:
            yield from _walk(each, depth + 1)


def our_frames(error: BaseException) -> Iterator[Tuple[FrameType, str]]:
    """Yield each frame of this package in a traceback, with the visible text of its locals."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(_PACKAGE):
            shown = [text for value in frame.f_locals.values() for text in _walk(value)]
            yield frame, "\n".join(shown)


def leaks(error: BaseException, *, words: bool = True) -> List[str]:
    """List the places where an error, its causes or its contexts show a secret.

    Args:
        error: The error.
        words: Whether to search its text and its attributes, and not only its frames.
    """
    found: List[str] = []
    for link in error_chain(error):
        for frame, text in our_frames(link):
            place = f"{os.path.relpath(frame.f_code.co_filename, _PACKAGE)}:{frame.f_lineno}"
            found += [f"{place} {frame.f_code.co_name}" for each in SECRETS if each in text]
        if words:
            # Print it as an error reporter does. This also checks that every repr works.
            made = traceback.TracebackException.from_exception(link, capture_locals=True)
            ours = [f for f in made.stack if f.filename.startswith(_PACKAGE)]
            told = [str(link), repr(link), repr([f.locals for f in ours])]
            told += [str(value) for value in held_values([link.__dict__, link.args])]
            found += [f"{type(link).__name__}: {t[:200]}" for t in told for s in SECRETS if s in t]
    return sorted(set(found))


class Interrupted(BaseException):
    """An exception as a signal handler of the caller raises it."""


class Interrupter:
    """Runs a function repeatedly and interrupts each run at a later line of this package.

    Args:
        work: The function to run.
        entries: Functions of this package whose callers pass the bare secret. Until their first
            statement has run, their frames hold it, as the frame of the caller does. They are
            not interrupted before.
        everywhere: Whether to interrupt a line each time it is reached, instead of the first
            time only.
    """

    def __init__(
        self, work: Callable[[], object], entries: Set[CodeType], *, everywhere: bool = False
    ) -> None:
        self._work = work
        self._entries = entries
        self._everywhere = everywhere
        self._seen: Set[Tuple[Any, ...]] = set()
        self._number = 0
        # Keep a reference: Python drops its own when the trace function raises.
        self._tracer = self._trace
        self.place = ""

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE) or code.co_name == "__del__":
            return None
        if event not in ("call", "line") or code.co_name == "<module>":
            return self._tracer
        self._number += 1
        place = (code, frame.f_lineno, event, *((self._number,) if self._everywhere else ()))
        if place in self._seen or self._is_entry(frame, event):
            return self._tracer
        self._seen.add(place)
        self.place = f"{os.path.relpath(code.co_filename, _PACKAGE)}:{frame.f_lineno} {event}"
        raise Interrupted  # this also ends the tracing

    def _is_entry(self, frame: FrameType, event: str) -> bool:
        if frame.f_code not in self._entries:
            return False
        return event == "call" or frame.f_lineno == first_line(frame.f_code)

    def each(self) -> Iterator[Interrupted]:
        """Yield the exception of each interrupted run, until a run ends without an interrupt."""
        while True:
            self._number = 0
            before = sys.gettrace()
            sys.settrace(self._tracer)
            try:
                self._work()
            except Interrupted as error:
                sys.settrace(before)
                yield error
            else:
                sys.settrace(before)
                return
            finally:
                sys.settrace(before)

    def leaks(self) -> Tuple[int, List[str]]:
        """Interrupt each line; return the number of interrupts and the places that showed a secret."""
        found: Set[str] = set()
        count = 0
        with _silence_finalizers():
            for error in self.each():
                count += 1
                found.update(f"at {self.place}: {leak}" for leak in leaks(error, words=False))
                del error
        return count, sorted(found)


@contextlib.contextmanager
def _silence_finalizers() -> Iterator[None]:
    """Ignore the warnings and errors of finalizers that clean up after an interrupt."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()
            sys.unraisablehook = before


@functools.lru_cache(maxsize=None)
def first_line(code: CodeType) -> int:
    """Return the line number of a function's first statement after its docstring."""
    import ast

    with open(code.co_filename, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            decorators = [each.lineno for each in node.decorator_list]
            if code.co_firstlineno in (node.lineno, *decorators):
                body = [n for n in node.body if not _is_docstring(n)]
                return body[0].lineno
    raise AssertionError(code)


def _is_docstring(node: Any) -> bool:
    import ast

    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
