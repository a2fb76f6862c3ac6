"""`Bits`: a set of row numbers with one bit for each row. Ten million rows need 1.25 MB."""

from __future__ import annotations

from typing import Iterable


class Bits:
    """A set of row numbers, with one bit for each number up to the largest one.

    Attributes:
        count: The number of rows in the set.
    """

    __slots__ = ("_bytes", "count")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.count: int = 0

    def __contains__(self, row: int) -> bool:
        place = row >> 3
        return place < len(self._bytes) and bool(self._bytes[place] >> (row & 7) & 1)

    def add(self, row: int) -> bool:
        """Add a row; return whether it is new."""
        return self.add_all((row,)) == 1

    def add_all(self, rows: Iterable[int]) -> int:
        """Add rows; return how many of them are new."""
        found, new = self._bytes, 0
        for row in rows:
            place, mask = row >> 3, 1 << (row & 7)
            if place >= len(found):
                found.extend(bytes(place + 1 - len(found)))
            if not found[place] & mask:
                found[place] |= mask
                new += 1
        self.count += new
        return new

    def discard(self, row: int) -> bool:
        """Remove a row; return whether it was there."""
        if row not in self:
            return False
        self._bytes[row >> 3] &= ~(1 << (row & 7))
        self.count -= 1
        return True

    def move_to(self, other: Bits) -> None:
        """Remove all rows, and add them to another set."""
        for place, byte in enumerate(self._bytes):
            if byte:
                other.add_all(place * 8 + bit for bit in range(8) if byte >> bit & 1)
        self._bytes.clear()
        self.count = 0
