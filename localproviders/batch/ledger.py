"""The state of a run, computed from its journal: the results of rows, and the extents of files.

A mark is a record of the journal that says that all bytes before it are on the disk.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional

from localproviders.batch.bits import Bits
from localproviders.batch.journal import (
    CHANGED,
    CLOSED,
    COMPLETE,
    END,
    FAILURES,
    IN_FAILURES,
    IN_OUTPUT,
    MANIFEST,
    MARKS,
    REASONS,
    SUCCEEDED,
    UNSETTLED,
    Block,
    JournalRecord,
)


class Extent(NamedTuple):
    """The part of a file that a journal covers: from the beginning of the file to some byte.

    Attributes:
        size: Number of bytes.
        crc: Checksum of these bytes.
    """

    size: int = 0
    crc: int = 0


class Ledger:
    """The state of a run.

    Attributes:
        run: Id of the run, 16 bytes.
        records: Number of records in the journal.
        journal_crc: Checksum of all records.
        output: The covered part of the output.
        failures: The covered part of the file of failures.
        durable: The state at the last mark: number of records, and the two extents.
        begun: Highest number of a row that was sent, plus 1. Rows are sent in the order of the
            source.
        rows: For each state of a row, the rows whose last record has this state.
        lines: Number of lines in the output.
        prompt_tokens: Total tokens of all prompts.
        completion_tokens: Total tokens of all answers.
        manifest: Digest of the manifest; None if the journal has none.
        ended: The reason for the end of the run, if the last record is an `END`; otherwise None.
    """

    def __init__(self, run: bytes) -> None:
        self.run: bytes = run
        self.records: int = 0
        self.journal_crc: int = 0
        self.begun: int = 0
        self.lines: int = 0
        self.prompt_tokens: int = 0
        self.completion_tokens: int = 0
        self.output: Extent = Extent()
        self.failures: Extent = Extent()
        self.durable: Durable = Durable(0, Extent(), Extent())
        self.rows: Dict[int, Bits] = {state: Bits() for state in (SUCCEEDED, *FAILURES)}
        self.manifest: Optional[int] = None
        self.ended: Optional[str] = None

    def state_of(self, row: int) -> int:
        """Return the state of a row; 0 if it has no result."""
        return next((state for state, rows in self.rows.items() if row in rows), 0)

    @property
    def failed(self) -> int:
        """Number of rows whose last result is an error."""
        return sum(self.rows[state].count for state in FAILURES)

    def first_open(self, rows: int) -> int:
        """Return the first row without a result; `rows` if all have one."""
        return next((row for row in range(rows) if not self.state_of(row)), rows)

    @property
    def superseded(self) -> int:
        """Number of lines in the output that no longer count.

        A later line replaces them, or the content of their row has changed.
        """
        return self.lines - sum(self.rows[state].count for state in IN_OUTPUT)

    def add_block(self, block: Block) -> None:
        """Add records whose checksums were checked before."""
        states = {*block.states}
        if states <= _PLAIN and not self.failed:
            # The usual case: a run without failures. For speed, no object is made for each record.
            rows = block.rows
            if len(states) > 1 or SUCCEEDED not in states:
                rows = [row for row, state in zip(rows, block.states) if state == SUCCEEDED]
            self.rows[SUCCEEDED].add_all(rows)
            self.lines += len(rows)
        else:
            for index, (row, state) in enumerate(zip(block.rows, block.states)):
                self._set(row, state)
                if state == END:
                    self._settle(block[index])
        self._add_ends(block)

    def _add_ends(self, block: Block) -> None:
        for states, add in _ENDS:
            place = block.last_of(states)
            if place >= 0:
                add(self, block[place])
        place = block.last_of(MARKS)
        if place >= 0:
            mark = block[place]
            extents = Extent(mark.offset, mark.crc), Extent(mark.digest, mark.length)
            self.durable = Durable(self.records + place + 1, *extents)
        last = block[len(block) - 1]
        self.ended = REASONS[last.reason] if last.state == END else None
        self.begun = max(self.begun, last.begun)
        self.records += len(block)
        prompt, completion = block.tokens
        self.prompt_tokens += prompt
        self.completion_tokens += completion

    def add(self, record: JournalRecord) -> None:
        """Add one record."""
        self._set(record.row, record.state)
        if record.state == END:
            self._settle(record)
        for states, add in _ENDS:
            if record.state in states:
                add(self, record)
        self.records += 1
        if record.state in MARKS:
            self.durable = Durable(self.records, self.output, self.failures)
        self.begun = max(self.begun, record.begun)
        self.prompt_tokens += record.prompt_tokens
        self.completion_tokens += record.completion_tokens
        self.ended = REASONS[record.reason] if record.state == END else None

    def _set(self, row: int, state: int) -> None:
        if state in IN_OUTPUT:
            self.lines += 1
        if state in self.rows or state == CHANGED:
            for rows in self.rows.values():
                if rows.count:
                    rows.discard(row)
        if state in self.rows:
            self.rows[state].add(row)

    def _settle(self, end: JournalRecord) -> None:
        """Close the unsettled rows if all rows have a result."""
        if REASONS[end.reason] == COMPLETE:
            self.rows[UNSETTLED].move_to(self.rows[CLOSED])

    def _end_output(self, record: JournalRecord) -> None:
        is_mark = record.state in MARKS
        self.output = Extent(record.offset + (0 if is_mark else record.length), record.crc)

    def _end_failures(self, record: JournalRecord) -> None:
        if record.state in MARKS:
            self.failures = Extent(record.digest, record.length)
        else:
            self.failures = Extent(record.offset + record.length, record.crc)

    def _set_manifest(self, record: JournalRecord) -> None:
        self.manifest = record.digest


class Durable(NamedTuple):
    """The state at a mark.

    Attributes:
        records: Number of records up to the mark.
        output: The extent of the output.
        failures: The extent of the file of failures.
    """

    records: int
    output: Extent
    failures: Extent


# States of records in a run without failures.
_PLAIN = {SUCCEEDED, MANIFEST, *MARKS}
# The last record with one of these states says where a file ends, or which manifest is valid.
_ENDS = (
    ((*IN_OUTPUT, *MARKS), Ledger._end_output),
    ((*IN_FAILURES, *MARKS), Ledger._end_failures),
    ((MANIFEST,), Ledger._set_manifest),
)
