"""The values that an error or another object holds.

This module imports only the standard library, without modules that warn on an old Python.
"""

from __future__ import annotations

import traceback
from typing import Any, Dict, Iterator, List, Mapping

KEY = "sk-hunter2-0123456789abcdef"


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all its causes and contexts."""
    seen: Dict[int, BaseException] = {}
    todo: List[Any] = [error]
    while todo:
        link = todo.pop()
        if link is None or id(link) in seen:
            continue
        seen[id(link)] = link
        todo += [link.__cause__, link.__context__]
        yield link


def held_values(root: Any) -> Iterator[Any]:
    """Yield the texts and bytes that an object holds, at any depth."""
    seen: Dict[int, Any] = {}
    todo = [root]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, (str, bytes, bytearray)):
            yield value
        elif isinstance(value, Mapping):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            todo += value
        elif not isinstance(value, (type, type(traceback), type(held_values))):
            todo += [getattr(value, "__dict__", {}), getattr(value, "args", ())]
