"""The form of a journal: a header, and records of a fixed size that are only appended.

A journal is a file beside the output of a run. It has a record for each row that has a result. The
record has the offset of the row's line in the output or in the file of failures, and the checksum
of this file up to the end of the line. Each record also has a checksum of itself, which depends on
its position and on the run. So a changed byte, a missing line and a file of another run are all
found.

A mark is a record that says that all bytes before it are on the disk. A session is one call of
`run`. The manifest is a file that describes the run (`manifest.py`).

This module knows only the bytes. `audit.py` reads and checks a journal, and `store.py` writes it.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import NamedTuple, Sequence
from zlib import crc32

# --- states -----------------------------------------------------------------------------------

#: The row succeeded; its line is in the output.
SUCCEEDED = 1
#: The row failed, and the same request would fail again; its line is in the file of failures.
FAILED = 2
#: The row failed, but a later request may succeed; its line is in the file of failures.
RETRYABLE = 3
#: The row failed; its line is in the output.
CLOSED = 4
#: The content of the row has changed, or the source no longer has the row: its result no longer
#: counts.
CHANGED = 5
#: The row failed, but a later request may succeed; its line is in the output, because the run is
#: ordered. When all rows have a result, the row becomes ``CLOSED``.
UNSETTLED = 6
#: All bytes before this record are on the disk. The record has the checksums of all files.
MARK = 16
#: A `MARK` at the end of a session. Its `reason` says why the session ended.
END = 17
#: From this record on, a new manifest is valid. The digest in the record is that of the manifest.
MANIFEST = 18

#: States whose records have a line in the output, and those with a line in the file of failures.
IN_OUTPUT, IN_FAILURES = (SUCCEEDED, CLOSED, UNSETTLED), (FAILED, RETRYABLE)
#: States of rows that failed.
FAILURES = (FAILED, RETRYABLE, CLOSED, UNSETTLED)
#: States of records with checksums of all files.
MARKS = (MARK, END)

#: The reasons of an `END`, in the order of their numbers. ``complete`` means that all rows have a
#: result, ``interrupted`` that an exception ended the session. The others are values of
#: `BatchReport.stopped`.
COMPLETE = "complete"
REASONS = (COMPLETE, "deadline", "failures", "cancelled", "disk", "interrupted")

# --- bytes ------------------------------------------------------------------------------------

_MAGIC = b"lpbatch1"
_HEADER = struct.Struct("<8s16s36xI")
_BODY = struct.Struct("<QQQQIIIIBB2x")
_CHECKSUM = struct.Struct("<I")

HEADER_SIZE = _HEADER.size
RECORD_SIZE = _BODY.size + _CHECKSUM.size
#: Offset of the state in a record, in bytes. The offsets of the numbers of tokens, below, are in
#: units of 32 bits.
STATE_AT = 48
_PROMPT_AT, _COMPLETION_AT = 10, 11
_WORDS_LONG, _WORDS_SHORT = RECORD_SIZE // 8, RECORD_SIZE // 4

_MOST_SHORT = 2**32 - 1


class JournalRecord(NamedTuple):
    """A record of a journal.

    Attributes:
        row: Number of the row. In a mark, the checksum of the journal before the mark.
        digest: Digest of the row's content. In a mark, the size of the file of failures. In a
            record of a manifest, the digest of the manifest.
        offset: Offset of the row's line in its file. In a mark, the size of the output.
        begun: Highest number of a row that was sent before the record was written, plus 1.
        length: Length of the line in bytes. In a mark, the checksum of the file of failures.
        crc: Checksum of the file, from its beginning to the end of the line. In a mark, the
            checksum of the output.
        prompt_tokens: Tokens of the prompt; 0 if they are not known.
        completion_tokens: Tokens of the answer; 0 if they are not known.
        state: One of the constants of this module.
        reason: In an `END`, the index in `REASONS`.
    """

    row: int
    digest: int
    offset: int
    begun: int
    length: int
    crc: int
    prompt_tokens: int
    completion_tokens: int
    state: int
    reason: int = 0


def pack_header(run: bytes) -> bytes:
    """Return the header of a journal, from the id of the run, which has 16 bytes."""
    body = _HEADER.pack(_MAGIC, run, 0)[:-4]
    return body + _CHECKSUM.pack(crc32(body))


def read_header(header: bytes) -> bytes:
    """Return the id of the run.

    Raises:
        ValueError: The bytes are not a header.
    """
    if len(header) < HEADER_SIZE or header[:8] != _MAGIC:
        raise ValueError("it is not a journal of this package")
    if _CHECKSUM.unpack(header[-4:])[0] != crc32(header[:-4]):
        raise ValueError("its header was changed")
    return header[8:24]


def _seed(run: bytes, index: int) -> int:
    """Return the start value of a record's checksum.

    It depends on the run and the position, so the checksum of a record that was moved to another
    position or another journal is wrong.
    """
    return (int.from_bytes(run[:8], "little") + index) & _MOST_SHORT


def pack_record(record: JournalRecord, run: bytes, index: int) -> bytes:
    """Return the bytes of a record.

    Args:
        record: The record.
        run: The id of the run.
        index: Position of the record in the journal; the first record has 0.
    """
    body = _BODY.pack(*record)
    return body + _CHECKSUM.pack(crc32(body, _seed(run, index)))


def unpack_record(data: bytes) -> JournalRecord:
    """Return a record without checking its checksum."""
    return JournalRecord(*_BODY.unpack(data[: _BODY.size]))


def is_intact(data: bytes, run: bytes, index: int) -> bool:
    """Return whether the checksum of a record is right for this position in this run."""
    found = _CHECKSUM.unpack(data[_BODY.size :])[0]
    return bool(found == crc32(data[: _BODY.size], _seed(run, index)))


def small(number: object) -> int:
    """Limit a number to what a field of 32 bits can hold; return 0 for None."""
    return min(max(number, 0), _MOST_SHORT) if isinstance(number, int) else 0


class Block:
    """Several records that were read together.

    The properties return one field of all records, without making an object for each record.

    Args:
        data: The bytes of whole records.
    """

    __slots__ = ("_long", "_short", "data", "states")

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data
        self.states: bytes = data[STATE_AT::RECORD_SIZE]
        self._long = _words("Q", data)
        self._short = _words("I", data)

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> JournalRecord:
        return unpack_record(self.bytes_of(index))

    def bytes_of(self, index: int) -> bytes:
        """Return the bytes of a record."""
        return self.data[index * RECORD_SIZE : (index + 1) * RECORD_SIZE]

    def last_of(self, states: Sequence[int]) -> int:
        """Return the index of the last record with one of these states; -1 if there is none."""
        return max(self.states.rfind(state) for state in states)

    @property
    def rows(self) -> Sequence[int]:
        """The row numbers."""
        return self._long[0::_WORDS_LONG]

    @property
    def digests(self) -> Sequence[int]:
        """The digests."""
        return self._long[1::_WORDS_LONG]

    @property
    def tokens(self) -> Sequence[int]:
        """The total number of tokens in all records: of the prompts, and of the answers."""
        return [sum(self._short[place::_WORDS_SHORT]) for place in (_PROMPT_AT, _COMPLETION_AT)]


def _words(kind: str, data: bytes) -> Sequence[int]:
    found = array(kind)
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found
