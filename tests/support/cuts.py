"""Recorded responses that arrive in two parts, or that end early."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, List, Tuple
from unittest import mock

from localproviders import ProviderError
from localproviders._http import socket as http_socket


def places(answer: bytes, most: int) -> List[int]:
    """Return places at which a response can be cut.

    These are the places near the end of the head and near the end of the body, places inside of
    characters of several bytes, and places at equal distances: at most `most` of each.
    """
    end = answer.find(b"\r\n\r\n") + 4
    near = [*range(end, end - 4, -1), end + 1, 1][:most]
    near += range(len(answer) - min(most, 8), len(answer))
    inside = [index for index, byte in enumerate(answer) if byte & 0xC0 == 0x80][:most]
    spread = range(0, len(answer), max(1, len(answer) // most))
    return sorted({place for place in (*near, *inside, *spread) if 0 < place < len(answer)})


@contextlib.contextmanager
def in_two_parts(place: int) -> Iterator[None]:
    """Let the client read each response in two parts, the first of which has `place` bytes.

    The client's reads from the socket are shortened. So the parts do not depend on the operating
    system.
    """
    had: Dict[int, int] = {}
    readinto = http_socket._RawReader.readinto

    def short(self: Any, buffer: Any) -> Any:
        left = place - had.get(id(self), 0)
        count = readinto(self, memoryview(buffer)[:left] if left > 0 else buffer)
        had[id(self)] = had.get(id(self), 0) + (count or 0)
        return count

    def forget(self: Any, *args: Any) -> None:
        had.pop(id(self), None)
        made(self, *args)

    made = http_socket._RawReader.__init__
    with mock.patch.object(http_socket._RawReader, "readinto", short):
        with mock.patch.object(http_socket._RawReader, "__init__", forget):
            yield


#: Fields that differ between two calls with the same response.
_CHANGING = ("timings", "attempts")


def outcome(call: Callable[[], Any]) -> Tuple[str, Any]:
    """Return what a call returned, or its error, in a form that can be compared."""
    try:
        found = call()
    except ProviderError as error:
        facts = {**error.to_dict(), "class": type(error).__name__, "partial": error.partial}
        facts.pop("endpoint", None)
        return "error", {name: value for name, value in facts.items() if name != "attempts"}
    if not hasattr(found, "to_dict") or isinstance(found, list):
        return "answer", found
    facts = found.to_dict()
    return "answer", {name: value for name, value in facts.items() if name not in _CHANGING}
