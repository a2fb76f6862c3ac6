"""Read the files of a run while another process may write to them.

A reader opens several files, one after the other. If a run replaces them in between, the reader has
files that do not belong together. Their checks would then report a changed file by mistake, so the
reader reads all files again.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Callable, Optional, Sequence, Tuple, TypeVar

from localproviders.batch import rewriting
from localproviders.batch.paths import RunPaths
from localproviders.errors import ProviderError

T = TypeVar("T")

#: The state of a file: its number on the disk, size, and time of the last change; None if missing.
State = Optional[Tuple[int, int, int]]

_MOST_ATTEMPTS = 10


def states_of(paths: RunPaths) -> Sequence[State]:
    """Return the states of all files of a run. If they stay equal, no process writes to them."""
    return [_state_of(path) for path in (*paths.files, *rewriting.beside(paths).files)]


def _state_of(path: str) -> State:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def snapshot(paths: RunPaths, read: Callable[[RunPaths, ExitStack], T]) -> Tuple[T, ExitStack]:
    """Return the result of a function that reads files which belong together.

    Args:
        paths: The paths of the run.
        read: Function that reads the files. It is called again if a file was replaced meanwhile.

    Returns:
        The result, and the stack with the files that `read` has opened. The caller closes it.

    Raises:
        ProviderError: An error of `read`, which is not the result of a replacement.
    """
    for _ in range(_MOST_ATTEMPTS):
        before = states_of(paths)
        with ExitStack() as stack:
            try:
                found = read(rewriting.for_reading(paths), stack)
            except (ProviderError, FileNotFoundError):
                if states_of(paths) == before:
                    raise
                continue
            if _numbers(states_of(paths)) == _numbers(before):  # appended bytes do not matter
                return found, stack.pop_all()
    with ExitStack() as stack:
        return read(rewriting.for_reading(paths), stack), stack.pop_all()


def _numbers(states: Sequence[State]) -> Sequence[Optional[int]]:
    return [state and state[0] for state in states]
