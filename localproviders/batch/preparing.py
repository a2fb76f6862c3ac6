"""Read all rows before the first request: count them, check their ids, and find changes."""

from __future__ import annotations

import sys
import tempfile
from array import array
from typing import BinaryIO, Dict, Iterator, List, Optional, Set, Tuple

from localproviders.batch.audit import blocks_of
from localproviders.batch.bits import Bits
from localproviders.batch.ids import IdCheck, hash_of
from localproviders.batch.journal import FAILURES, SUCCEEDED
from localproviders.batch.ledger import Ledger
from localproviders.batch.rows import RowReader
from localproviders.batch.sources import RowFile
from localproviders.errors import ConfigurationError


def count_rows(file: RowFile, reader: RowReader, folder: Optional[str]) -> int:
    """Return the number of rows, after checking that no id occurs twice.

    Args:
        file: The rows.
        reader: Reads the ids.
        folder: Folder for a temporary file; None uses the system's temporary folder.

    Raises:
        ConfigurationError: An id occurs twice. The error names the id and both rows.
    """
    repeated, count = find_repeated(file, reader, folder)
    if repeated:
        name, first, second = repeated[0]
        raise ConfigurationError(
            f"the id {name!r} occurs twice: in row {first} and in row {second}",
            hint="make the ids unique, or name the column with the ids with id_field",
        )
    return count


def find_repeated(
    file: RowFile, reader: RowReader, folder: Optional[str]
) -> Tuple[List[Tuple[str, int, int]], int]:
    """Return up to a hundred repeated ids, each with its first two rows; and the number of rows."""
    check = IdCheck(folder)
    count = 0
    try:
        for number, raw in enumerate(file.raw_rows()):
            check.add(reader.read_id(number, raw))
            count = number + 1
        hashes = check.repeated()
    finally:
        check.close()
    return (_places_of(file, reader, hashes) if hashes else []), count


def _places_of(file: RowFile, reader: RowReader, hashes: Set[int]) -> List[Tuple[str, int, int]]:
    """Return the ids that really occur twice; different ids may have the same hash."""
    first: Dict[str, int] = {}
    found: List[Tuple[str, int, int]] = []
    for number, raw in enumerate(file.raw_rows()):
        name = reader.read_id(number, raw)
        if hash_of(name) not in hashes:
            continue
        if name in first:
            found.append((name, first[name], number))
            hashes.discard(hash_of(name))
        first.setdefault(name, number)
    return found


def changed_rows(
    file: RowFile, path: str, ledger: Ledger, rows: int, folder: Optional[str]
) -> Iterator[int]:
    """Yield the rows whose content has changed, and the rows that are no longer in the source.

    Rows without a result are left out.

    Args:
        file: The rows.
        path: Path of the journal.
        ledger: The state of the run.
        rows: Number of rows that the source has now.
        folder: Folder for a temporary file with the digests.
    """
    known = _known(ledger)
    with tempfile.TemporaryFile(dir=folder) as digests:
        end = _write_digests(path, ledger.records, digests)
        digests.seek(0)
        block: array[int] = array("Q")
        for number, raw in enumerate(file.raw_rows()):
            place = number % _BLOCK
            if place == 0:
                block = array("Q")
                block.frombytes(digests.read(_BLOCK * 8).ljust(_BLOCK * 8, b"\0"))
            if any(number in each for each in known) and block[place] != file.digest(raw):
                yield number
    for number in range(rows, end):
        if any(number in each for each in known):
            yield number


def _known(ledger: Ledger) -> List[Bits]:
    return [rows for rows in ledger.rows.values() if rows.count]


_BLOCK = 4096


def _write_digests(path: str, records: int, file: BinaryIO) -> int:
    """Write the digest of each row at an offset by its number; return the highest number plus 1."""
    end = 0
    for block in blocks_of(path, 0, records):
        for row, digest, state in zip(block.rows, block.digests, block.states):
            if state in _WITH_DIGEST:
                if row * 8 != file.tell():
                    file.seek(row * 8)
                file.write(digest.to_bytes(8, sys.byteorder))
                end = max(end, row + 1)
    return end


_WITH_DIGEST = frozenset((SUCCEEDED, *FAILURES))
