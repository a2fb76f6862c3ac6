"""Read a journal, and check it and the files that it covers.

A changed byte, a missing line, or a file of another run causes an `IntegrityError`, which names the
first wrong line. The only exception is a torn end, which a power failure leaves. A mark is a record
of the journal that says that all bytes before it are on the disk. After a power failure, bytes that
were written after the last mark may be missing, or may be zero up to the end of the file or of a
disk sector. This torn end of a run is ignored: its rows have no result. A run writes no zero bytes
into lines after a mark. So a zero byte in such a line was not written by the run.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Iterator, NamedTuple, NoReturn, Optional, Sequence, Tuple
from zlib import crc32

from localproviders.batch.journal import (
    HEADER_SIZE,
    IN_FAILURES,
    IN_OUTPUT,
    MARKS,
    RECORD_SIZE,
    Block,
    JournalRecord,
    is_intact,
    read_header,
)
from localproviders.batch.ledger import Extent, Ledger
from localproviders.batch.paths import RunPaths
from localproviders.errors import IntegrityError

# Number of records, and of bytes of another file, that are read in one piece.
_RECORDS, _BYTES = 4096, 1 << 18
# A disk writes sectors of this many bytes, or of a multiple. A power failure loses the rest of a
# sector, or whole sectors.
_SECTOR = 512

_HINT = "restore the file from a copy, or begin a new run with another output"


def load_ledger(paths: RunPaths) -> Ledger:
    """Return the state of a run, after checking the journal and the files that it covers.

    No file is changed. A torn end is ignored.

    Raises:
        IntegrityError: A file was changed, or belongs to another run.
        FileNotFoundError: There is no journal.
    """
    ledger = _read_journal(paths, None)
    torn = _first_torn(paths, ledger)
    return ledger if torn is None else _read_journal(paths, torn)


def load_begun(paths: RunPaths) -> Optional[Ledger]:
    """Return the state of a run as `load_ledger` does; None if the run ended before its first mark.

    Such a run has no results, because the first mark comes before the first result. It has no
    manifest either, because the manifest gets its final name after the first mark.

    Raises:
        IntegrityError: A file was changed, or belongs to another run.
        FileNotFoundError: There is no journal.
    """
    with open(paths.journal, "rb") as file:
        header = file.read(HEADER_SIZE)
    has_header = len(header) == HEADER_SIZE and any(header)
    ledger = load_ledger(paths) if has_header else None
    if ledger is not None and ledger.durable.records:
        return ledger
    if os.path.exists(paths.manifest):
        _refuse(paths.journal, "its records are missing", None)
    return None


def records_of(path: str, start: int = 0, stop: Optional[int] = None) -> Iterator[JournalRecord]:
    """Yield the records of a journal that was checked before.

    Args:
        path: Path of the journal.
        start: Index of the first record.
        stop: Index after the last record; None reads all whole records.
    """
    for block in blocks_of(path, start, stop):
        for index in range(len(block)):
            yield block[index]


def blocks_of(path: str, start: int = 0, stop: Optional[int] = None) -> Iterator[Block]:
    """Yield the records of a journal in blocks."""
    with open(path, "rb") as file:
        file.seek(HEADER_SIZE + start * RECORD_SIZE)
        while stop is None or start < stop:
            most = _RECORDS if stop is None else min(_RECORDS, stop - start)
            data = file.read(most * RECORD_SIZE)
            data = data[: len(data) - len(data) % RECORD_SIZE]
            if not data:
                return
            start += len(data) // RECORD_SIZE
            yield Block(data)


def backwards(path: str, stop: int) -> Iterator[Tuple[int, JournalRecord]]:
    """Yield the index and the record of all records before `stop`, the last one first."""
    while stop > 0:
        start = max(0, stop - _RECORDS)
        for block in blocks_of(path, start, stop):
            for index in reversed(range(len(block))):
                yield start + index, block[index]
        stop = start


# --- the journal ------------------------------------------------------------------------------


def _read_journal(paths: RunPaths, most: Optional[int]) -> Ledger:
    """Return the state after the records of a journal, or after the first `most` of them."""
    with open(paths.journal, "rb") as file:
        header = file.read(HEADER_SIZE)
    try:
        ledger = Ledger(read_header(header))
    except ValueError as error:
        _refuse(paths.journal, f"{error}", None)
    for block in blocks_of(paths.journal, 0, most):
        good = _intact_records(block, ledger)
        if good < len(block) and not _is_lost(paths.journal, ledger.records + good):
            _refuse(paths.journal, "a record was changed", ledger.records + good + 1)
        kept = Block(block.data[: good * RECORD_SIZE]) if good < len(block) else block
        if len(kept):
            ledger.journal_crc = crc32(kept.data, ledger.journal_crc)
            ledger.add_block(kept)
        if kept is not block:
            break
    return ledger


def _intact_records(block: Block, ledger: Ledger) -> int:
    """Return how many records at the beginning of a block are intact.

    A mark has the checksum of all records before it. So if the last mark is right, only the records
    after it are checked one by one.
    """
    first, mark = 0, block.last_of(MARKS)
    if mark >= 0 and _is_right(block, mark, ledger):
        first = mark + 1
    for index in range(first, len(block)):
        at = ledger.records + index
        if not is_intact(block.bytes_of(index), ledger.run, at):
            return index
        if block.states[index] in MARKS and not _is_right(block, index, ledger):
            return index
    return len(block)


def _is_right(block: Block, index: int, ledger: Ledger) -> bool:
    """Return whether a mark is intact, and has the checksum of the records before it."""
    crc = crc32(block.data[: index * RECORD_SIZE], ledger.journal_crc)
    return block[index].row == crc and is_intact(
        block.bytes_of(index), ledger.run, ledger.records + index
    )


def _is_lost(path: str, index: int) -> bool:
    """Return whether the end of a journal was lost, with all of a record or with a part of it.

    The lost end begins with the record, or with a sector that begins in the record. The lost bytes
    are missing or zero.
    """
    start = HEADER_SIZE + index * RECORD_SIZE
    sector = start + -start % _SECTOR
    with open(path, "rb") as file:
        file.seek(sector if sector < start + RECORD_SIZE else start)
        return not any(any(data) for data in iter(lambda: file.read(_BYTES), b""))


# --- the files that a journal covers ----------------------------------------------------------


class _Covered(NamedTuple):
    """A file that a journal covers.

    Attributes:
        path: Path of the file.
        states: States of the records that have a line in the file.
        durable: Extent of the file at the last mark.
        now: Extent of the file at the end of the journal.
    """

    path: str
    states: Sequence[int]
    durable: Extent
    now: Extent


def _first_torn(paths: RunPaths, ledger: Ledger) -> Optional[int]:
    """Return the index of the first record whose line was lost; None if all lines are there.

    Raises:
        IntegrityError: A line was changed.
    """
    output, failures = ledger.durable.output, ledger.durable.failures
    files = (
        _Covered(paths.output, IN_OUTPUT, output, ledger.output),
        _Covered(paths.failures, IN_FAILURES, failures, ledger.failures),
    )
    torn = [_first_torn_of(paths, ledger, each) for each in files]
    # The file of failures may be longer than its extent: a finished run removes it only after its
    # lines have been copied to the output.
    if ledger.ended is not None and _size(paths.output) > ledger.output.size:
        _refuse(paths.output, "lines were added", _line_at(paths.output, ledger.output.size))
    return min((each for each in torn if each is not None), default=None)


def _first_torn_of(paths: RunPaths, ledger: Ledger, covered: _Covered) -> Optional[int]:
    if covered.now.size == 0:
        return None
    if not os.path.exists(covered.path):
        _refuse(covered.path, "it is missing", None)
    with open(covered.path, "rb") as file:
        if _checksum(file, covered.durable.size) != covered.durable.crc:
            _locate(paths, covered, file)
        crc, first = covered.durable.crc, ledger.durable.records
        for at, record in enumerate(records_of(paths.journal, first, ledger.records), first):
            if record.state in covered.states:
                data = _read_at(file, record.offset, record.length)
                crc = crc32(data, crc)
                if crc != record.crc:
                    if _is_lost_line(file, record, data):
                        return at
                    _refuse_line(covered.path, record)
    return None


def _is_lost_line(file: BinaryIO, record: JournalRecord, data: bytes) -> bool:
    """Return whether a line, or a part of it, was lost in a power failure.

    Args:
        file: The file.
        record: The record of the line.
        data: The line as it is now.
    """
    if len(data) < record.length:
        return True
    start, end = record.offset, record.offset + record.length
    ends_of_sectors = range(start // _SECTOR * _SECTOR + _SECTOR, end + 1, _SECTOR)
    if any(data[place - start - 1] == 0 for place in ends_of_sectors):
        return True
    # The line ends within a sector, whose rest must then be lost, too.
    return data.endswith(b"\0") and not any(_read_at(file, end, -end % _SECTOR))


def _checksum(file: BinaryIO, size: int) -> int:
    """Return the checksum of the first bytes of a file."""
    file.seek(0)
    crc = 0
    while size > 0:
        data = file.read(min(_BYTES, size))
        if not data:
            return -1
        crc = crc32(data, crc)
        size -= len(data)
    return crc


def _locate(paths: RunPaths, covered: _Covered, file: BinaryIO) -> NoReturn:
    """Raise the error for the first line with a wrong checksum."""
    end, crc = 0, 0
    for record in records_of(paths.journal):
        offset, length, expected = _line_of(record, covered)
        if expected is None:
            continue
        if offset > end:  # bytes without a record, such as the names of columns
            crc = crc32(_read_at(file, end, offset - end), crc)
        crc = crc32(_read_at(file, offset, length), crc)
        end = offset + length
        if crc != expected:
            if length:
                _refuse_line(covered.path, record)
            _refuse(covered.path, "its beginning was changed", 1)
    _refuse(covered.path, "it does not belong to its journal", None)


def _line_of(record: JournalRecord, covered: _Covered) -> Tuple[int, int, Optional[int]]:
    """Return offset, length and checksum of a record's line. The length of a mark is 0."""
    if record.state in covered.states:
        return record.offset, record.length, record.crc
    if record.state not in MARKS:
        return 0, 0, None
    if covered.states == IN_OUTPUT:
        return record.offset, 0, record.crc
    return record.digest, 0, record.length


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _line_at(path: str, offset: int) -> int:
    """Return the number of the line that begins at an offset, counted from 1."""
    with open(path, "rb") as file:
        found = 1
        while offset > 0:
            data = file.read(min(_BYTES, offset))
            if not data:
                break
            found += data.count(b"\n")
            offset -= len(data)
    return found


def _refuse_line(path: str, record: JournalRecord) -> NoReturn:
    line = _line_at(path, record.offset)
    _refuse(path, f"the line of row {record.row} was changed or is missing", line)


def _refuse(path: str, why: str, line: Optional[int]) -> NoReturn:
    where = "" if line is None else f" in line {line}"
    raise IntegrityError(f"{path!r} was changed{where}: {why}", path=path, line=line, hint=_HINT)
