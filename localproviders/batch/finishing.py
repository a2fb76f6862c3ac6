"""The last step of a run, when all rows have a result: write the final output.

The final output has exactly one line, or one vector, for each row.
"""

from __future__ import annotations

from typing import Iterator, Optional, Tuple

from localproviders.batch import rewriting
from localproviders.batch.arguments import Arguments
from localproviders.batch.audit import records_of
from localproviders.batch.journal import CLOSED, COMPLETE, FAILURES, IN_OUTPUT, JournalRecord
from localproviders.batch.ledger import Ledger
from localproviders.batch.manifest import Manifest
from localproviders.batch.outputs import OutputForm
from localproviders.batch.paths import RunPaths
from localproviders.batch.rows import RowReader
from localproviders.batch.sources import RowFile
from localproviders.batch.store import Entry, Store
from localproviders.batch.vectors import (
    NewIds,
    VectorLines,
    id_line,
    id_lines,
    is_final,
    matrix_head,
    note_ids,
)


class Finish:
    """The last step of a run.

    Args:
        store: The open files of the run.
        manifest: The manifest.
        form: The form of the output, which is its format.
        file: The rows.
        reader: Reads the rows.
        arguments: The arguments of the run.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        form: OutputForm,
        file: RowFile,
        reader: RowReader,
        arguments: Arguments,
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._form = form
        self._file = file
        self._reader = reader
        self._arguments = arguments
        self._paths = store.paths

    def run(self) -> None:
        """Write the final output. If an earlier run has finished it, nothing is written."""
        if isinstance(self._form, VectorLines):
            self._finish_vectors(self._form)
        else:
            self._finish_lines()

    def _finish_lines(self) -> None:
        store = self._store
        store.close_failures()
        self._end()
        if self._is_stale():
            made = Store(rewriting.beside(self._paths), None, run=store.ledger.run)
            try:
                rewriting.fill(made, self._in_order(), self._form.head())
                self._end_new(made)
            finally:
                made.close()
            store.close()
            rewriting.put_in_place(self._paths)

    def _is_stale(self) -> bool:
        """Return whether the output must be written again.

        One reason is lines that no longer count. Another is that the columns of this run differ
        from those in the output: an earlier run may have written its columns, but no results. If
        the run is ordered, another order of the lines is a reason, too. Lines of an earlier run,
        and errors that are copied from the file of failures, may have another order.
        """
        ledger, part = self._store.ledger, rewriting.Part(self._paths, self._store.ledger.records)
        if ledger.superseded or rewriting.head_of(part) != self._form.head():
            return True
        return self._arguments.ordered and not rewriting.is_in_order(part)

    def _in_order(self, *, failures: bool = False) -> Iterator[Entry]:
        parts = [rewriting.Part(self._paths, self._store.ledger.records)]
        rows, folder = self._manifest.rows, self._paths.folder
        return rewriting.in_order(parts, rows, folder, failures=failures)

    def _end(self) -> None:
        """Record that the run is finished, unless this was recorded before."""
        if self._manifest.finish():
            self._store.put_manifest(self._manifest)
        if self._store.ledger.ended != COMPLETE:
            self._store.end(COMPLETE)

    def _end_new(self, made: Store) -> None:
        made.begun = self._store.ledger.begun
        made.refer_to(self._manifest)
        made.end(COMPLETE)

    # --- vectors ------------------------------------------------------------------------------

    def _finish_vectors(self, form: VectorLines) -> None:
        if is_final(self._paths, self._store.ledger, self._manifest):
            self._end()
            return
        rows = self._manifest.shard_rows
        head = matrix_head(rows, form.dimensions or 0 if rows else 0)
        made = Store(rewriting.beside(self._paths), None, run=self._store.ledger.run)
        try:
            with NewIds(self._paths) as ids:
                rewriting.fill(made, self._vectors(form, ids), head)
            note_ids(self._manifest, ids)
            self._manifest.finish()
            self._store.put_manifest(self._manifest)
            self._store.end(COMPLETE)
            self._end_new(made)
        finally:
            made.close()
        self._store.close()
        ids.put_in_place(self._paths)
        rewriting.put_in_place(self._paths)

    def _vectors(self, form: VectorLines, ids: NewIds) -> Iterator[Entry]:
        """Yield the vectors in the order of the rows, and write the file with the ids."""
        before = id_lines(self._paths)
        for entry, name in zip(self._in_order(failures=True), self._names()):
            ids.write(id_line(name, entry, next(before, {})))
            yield form.closed(entry)

    def _names(self) -> Iterator[str]:
        """Yield the ids of the rows of the shard."""
        first, step = self._arguments.shard or (1, 1)
        for number, raw in enumerate(self._file.raw_rows()):
            if number % step == first - 1:
                yield self._reader.read_id(number, raw)


# --- the errors of an earlier run -------------------------------------------------------------


def error_classes(
    paths: RunPaths, ledger: Ledger, form: OutputForm
) -> Iterator[Tuple[int, Optional[str]]]:
    """Yield the number of each failed row, and the name of its error class.

    If a row failed several times, its last error comes last.

    Args:
        paths: The paths of the run.
        ledger: The state of the run.
        form: The form of the output, which is its format.
    """
    names = id_lines(paths) if isinstance(form, VectorLines) else iter(())
    for record in records_of(paths.journal, 0, ledger.records):
        # In a matrix, a failed row has only NaN. The error is in the file with the ids.
        before = next(names, {}) if record.state in IN_OUTPUT else {}
        if record.state not in FAILURES:
            continue
        if record.state == CLOSED and isinstance(form, VectorLines):
            yield record.row, before.get("error", {}).get("code")
        else:
            yield record.row, form.error_class(_line(paths, record))


def _line(paths: RunPaths, record: JournalRecord) -> bytes:
    path = paths.output if record.state in IN_OUTPUT else paths.failures
    with open(path, "rb") as file:
        file.seek(record.offset)
        return file.read(record.length)
