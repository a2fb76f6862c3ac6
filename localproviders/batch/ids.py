"""Find ids that occur twice among any number of rows, in little memory.

The ids are hashed, and the hashes are divided into parts by their first bits. Most hashes are in a
temporary file. Equal ids have equal hashes, so they are in the same part, and each part fits into
memory. This is the first step of a sort on disk. The second step, to sort each part, is not needed
to find equal hashes.
"""

from __future__ import annotations

import tempfile
from array import array
from hashlib import blake2b
from typing import BinaryIO, Dict, Iterator, List, Optional, Set

# There are 1024 parts. Each part has a block of up to 128 hashes in memory. A full block is written
# to the temporary file.
_PART_BITS, _BLOCK = 10, 128
_SHIFT = 64 - _PART_BITS
# Highest number of different repeated ids that are reported.
_MOST_FOUND = 100


def hash_of(text: str) -> int:
    """Return a hash of an id, with 64 bits."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


class IdCheck:
    """The hashes of all ids of a source.

    Args:
        folder: Folder for a temporary file; None uses the system's temporary folder. The file is
            made only if there are more than about 100,000 ids.
    """

    def __init__(self, folder: Optional[str] = None) -> None:
        self._folder = folder
        self._file: Optional[BinaryIO] = None
        self._blocks = 0
        self._parts: List[array[int]] = [array("Q") for _ in range(1 << _PART_BITS)]
        self._written: Dict[int, array[int]] = {}

    def add(self, text: str) -> None:
        """Add the id of a row."""
        number = hash_of(text)
        part = self._parts[number >> _SHIFT]
        part.append(number)
        if len(part) == _BLOCK:
            self._write(number >> _SHIFT)

    def _write(self, index: int) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # closed by `close`
        part = self._parts[index]
        self._file.write(part.tobytes())
        del part[:]
        # The blocks of one part are scattered over the file, so their numbers are kept.
        self._written.setdefault(index, array("I")).append(self._blocks)
        self._blocks += 1

    def repeated(self) -> Set[int]:
        """Return the hashes that occur more than once, at most a hundred of them."""
        found: Set[int] = set()
        for index in range(len(self._parts)):
            seen: Set[int] = set()
            for number in self._hashes_of(index):
                if number in seen:
                    found.add(number)
                seen.add(number)
            if len(found) >= _MOST_FOUND:
                break
        return found

    def _hashes_of(self, index: int) -> Iterator[int]:
        yield from self._parts[index]
        for block in self._written.get(index, ()):
            yield from self._read(block)

    def _read(self, block: int) -> array[int]:
        found = array("Q")
        if self._file is not None:
            self._file.seek(block * _BLOCK * found.itemsize)
            found.frombytes(self._file.read(_BLOCK * found.itemsize))
        return found

    def close(self) -> None:
        """Remove the temporary file, and free the memory."""
        self._parts, self._written = [], {}
        if self._file is not None:
            self._file.close()
