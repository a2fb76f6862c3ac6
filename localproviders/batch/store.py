"""The files of a running batch: writes results so that a kill at any moment loses none of them.

The order of writing is always the same. First the lines of results are appended to the output or
to the file of failures, and then their records to the journal. If the process is killed in between,
the next run removes the lines without records, and sends these rows again. About once a second,
the content of the files is forced to the disk, and a mark is appended to the journal: a record that
says that all bytes before it are on the disk. So after a power failure, at most the rows after the
last mark are sent again.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, Iterable, List, NamedTuple, Optional, Sequence
from zlib import crc32

from localproviders.batch.appending import AppendFile
from localproviders.batch.audit import backwards
from localproviders.batch.journal import (
    CHANGED,
    CLOSED,
    END,
    FAILED,
    HEADER_SIZE,
    IN_FAILURES,
    IN_OUTPUT,
    MANIFEST,
    MARK,
    REASONS,
    RECORD_SIZE,
    RETRYABLE,
    SUCCEEDED,
    UNSETTLED,
    JournalRecord,
    pack_header,
    pack_record,
)
from localproviders.batch.ledger import Extent, Ledger
from localproviders.batch.manifest import Manifest, digest_of, put_in_place, write_beside
from localproviders.batch.paths import RunPaths, sync_folder

#: A mark is written after this many rows, or after this many seconds.
ROWS_PER_MARK, SECONDS_PER_MARK = 100, 1.0


class Entry(NamedTuple):
    """The result of a row, ready to be written.

    Attributes:
        row: Number of the row.
        digest: Digest of the row's content.
        state: ``SUCCEEDED``, or a state of a failed row.
        line: The line, with its line feed.
        prompt_tokens: Tokens of the prompt; 0 if they are not known.
        completion_tokens: Tokens of the answer; 0 if they are not known.
        part: If several outputs are merged, the index of the output from which the line was read.
    """

    row: int
    digest: int
    state: int
    line: bytes
    prompt_tokens: int = 0
    completion_tokens: int = 0
    part: int = 0


class Store:
    """The open files of a run. The caller holds the lock.

    Args:
        paths: The paths of the files.
        ledger: The state of the run, from `load_ledger`; None for a new run.
        clock: Returns the time in seconds.
        run: Id of a new run; None makes one.

    Attributes:
        paths: The paths of the files.
        ledger: The state of the run.
        begun: Highest number of a row that was sent, plus 1.
        is_broken: Whether a write has failed. After that, nothing more is written.
    """

    def __init__(
        self,
        paths: RunPaths,
        ledger: Optional[Ledger],
        clock: Callable[[], float] = time.monotonic,
        run: Optional[bytes] = None,
    ) -> None:
        self.paths: RunPaths = paths
        self.ledger: Ledger = Ledger(run or os.urandom(16)) if ledger is None else ledger
        self.begun: int = self.ledger.begun
        self.is_broken: bool = False
        self._clock = clock
        self._last_mark, self._rows_since_mark = clock(), 0
        self._files: List[AppendFile] = []
        try:
            self._open(ledger is None)
        except BaseException:
            self.close()
            raise

    def _open(self, is_new: bool) -> None:
        if is_new:
            # Remove the manifest of an earlier run whose journal is gone. With this manifest, the
            # new journal would count as changed until its first mark.
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.paths.manifest)
        ledger = self.ledger
        extents = (ledger.output, ledger.failures, self._journal_extent())
        names = (self.paths.output, self.paths.failures, self.paths.journal)
        for path, extent in zip(names, (Extent(),) * 3 if is_new else extents):
            self._files.append(AppendFile(path, extent))
        self._output, self._failures, self._journal = self._files
        if is_new:
            self._output.append(b"")  # creates the file, even if there is no row
            self._journal.append(pack_header(ledger.run))
            sync_folder(self.paths.folder)

    def _journal_extent(self) -> Extent:
        return Extent(HEADER_SIZE + self.ledger.records * RECORD_SIZE, 0)

    def close(self) -> None:
        """Close the files. This method may be called more than once."""
        for file in self._files:
            file.close()

    # --- results ------------------------------------------------------------------------------

    def add(self, entries: Sequence[Entry]) -> None:
        """Write results: first their lines, then their records.

        After an exception, no part of these entries is in the files, and later calls write nothing.

        Raises:
            OSError: The disk is full, or the files cannot be written.
        """
        if entries:
            if self.ledger.ended is not None:
                # Without this mark, a kill before the records are written would leave lines after
                # the end of the earlier session, as if another program had added them.
                self.mark(sync_journal=False)
            self._write(lambda: self._append_records(self._append_lines(entries)))
            self._rows_since_mark += len(entries)

    def _write(self, write: Callable[[], None]) -> None:
        """Call a function that writes to the files; after an exception, undo what it wrote."""
        if self.is_broken:
            return
        ends = [file.extent for file in self._files]
        try:
            write()
        except BaseException:  # also an interrupt, after which the ledger may be incomplete
            self.is_broken = True
            for file, end in zip(self._files, ends):
                file.cut(end)
            raise

    def _append_lines(self, entries: Sequence[Entry]) -> List[JournalRecord]:
        """Append the lines of entries; return their records."""
        records: List[JournalRecord] = []
        for states, file in ((IN_OUTPUT, self._output), (IN_FAILURES, self._failures)):
            chosen = [entry for entry in entries if entry.state in states]
            offset, crc = file.extent
            for entry in chosen:
                crc = crc32(entry.line, crc)
                records.append(self._record(entry, offset, crc))
                offset += len(entry.line)
            if chosen:
                file.append(b"".join([entry.line for entry in chosen]))
        return records

    def _record(self, entry: Entry, offset: int, crc: int) -> JournalRecord:
        return JournalRecord(
            row=entry.row,
            digest=entry.digest,
            offset=offset,
            begun=self.begun,
            length=len(entry.line),
            crc=crc,
            prompt_tokens=entry.prompt_tokens,
            completion_tokens=entry.completion_tokens,
            state=entry.state,
        )

    def _append_records(self, records: Sequence[JournalRecord]) -> None:
        run, first = self.ledger.run, self.ledger.records
        packed = [pack_record(record, run, first + i) for i, record in enumerate(records)]
        data = b"".join(packed)
        self._journal.append(data)
        self.ledger.journal_crc = crc32(data, self.ledger.journal_crc)
        for record in records:
            self.ledger.add(record)

    def put_head(self, head: bytes) -> None:
        """Write the beginning of a new output, such as the names of the columns."""
        if head:
            self._write(lambda: self._output.append(head))

    def note_changed(self, rows: Iterable[int]) -> None:
        """Record that the results of rows no longer count."""
        batch: List[JournalRecord] = []
        for row in rows:
            batch.append(self._plain_record(CHANGED, row=row))
            if len(batch) == ROWS_PER_MARK:
                self._append(batch)
                batch = []
        self._append(batch)

    def _append(self, records: Sequence[JournalRecord]) -> None:
        if records:
            self._write(lambda: self._append_records(records))

    def _plain_record(
        self, state: int, *, row: int = 0, digest: int = 0, reason: int = 0
    ) -> JournalRecord:
        """Return a record that belongs to no line."""
        return JournalRecord(row, digest, 0, self.begun, 0, 0, 0, 0, state, reason)

    # --- marks --------------------------------------------------------------------------------

    def mark_if_due(self) -> bool:
        """Write a mark if one is due; return whether this was done.

        A mark is due after `ROWS_PER_MARK` rows or `SECONDS_PER_MARK` seconds.
        """
        waited = self._clock() - self._last_mark
        is_due = self._rows_since_mark >= ROWS_PER_MARK or waited >= SECONDS_PER_MARK
        if not (is_due and self._rows_since_mark):
            return False
        self.mark(sync_journal=waited >= SECONDS_PER_MARK)
        return True

    def mark(self, *, sync_journal: bool = True) -> None:
        """Wait until the output and the failures are on the disk, and append a mark to the journal.

        Args:
            sync_journal: Whether to wait until the journal is on the disk, too. If not, a power
                failure can remove the end of the journal; its rows are then sent again.
        """
        self._end(MARK, 0, sync_journal)

    def end(self, reason: str) -> None:
        """Write the record for the end of this run: a mark with a reason."""
        self._end(END, REASONS.index(reason), True)

    def _end(self, state: int, reason: int, sync_journal: bool) -> None:
        if self.is_broken:
            return
        self._output.sync()
        self._failures.sync()
        record = JournalRecord(
            row=self.ledger.journal_crc,
            digest=self._failures.size,
            offset=self._output.size,
            begun=self.begun,
            length=self._failures.crc,
            crc=self._output.crc,
            prompt_tokens=0,
            completion_tokens=0,
            state=state,
            reason=reason,
        )
        self._append([record])
        if sync_journal:
            self._journal.sync()
            self._last_mark = self._clock()
        self._rows_since_mark = 0

    # --- the manifest and the end -------------------------------------------------------------

    def put_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest: write a new file, record its digest, and rename the file."""
        data = manifest.encode()
        write_beside(self.paths, data)
        self._append([self._plain_record(MANIFEST, digest=digest_of(data))])
        self.mark()
        put_in_place(self.paths)

    def refer_to(self, manifest: Manifest) -> None:
        """Record the digest of a manifest that is already in its place."""
        self._append([self._plain_record(MANIFEST, digest=digest_of(manifest.encode()))])

    def close_failures(self) -> None:
        """Append the last failure of each failed row to the output.

        The latest failure comes first. In this order, no list of the failures is needed.
        """
        stop = self.ledger.records
        if self._failures.size == 0:
            return
        with open(self.paths.failures, "rb") as file:
            for _, record in backwards(self.paths.journal, stop):
                if record.state in IN_FAILURES and self.ledger.state_of(record.row) in IN_FAILURES:
                    file.seek(record.offset)
                    line = file.read(record.length)
                    self.add([Entry(record.row, record.digest, CLOSED, line)])
                    self.mark_if_due()


def state_of(is_success: bool, may_go_away: bool, is_ordered: bool) -> int:
    """Return the state of an entry for a result that is written before the end of the run.

    Args:
        is_success: Whether the result is an answer.
        may_go_away: Whether a later request may succeed.
        is_ordered: Whether errors are written to the output, in the order of the rows.
    """
    if is_success:
        return SUCCEEDED
    if is_ordered:
        return UNSETTLED if may_go_away else CLOSED
    return RETRYABLE if may_go_away else FAILED
