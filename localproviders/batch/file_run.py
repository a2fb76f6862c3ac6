"""A run whose results go to files."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Iterable, Iterator, Optional, Tuple, Type

from localproviders import errors
from localproviders._lock import Lock
from localproviders.batch import rewriting
from localproviders.batch.arguments import Arguments
from localproviders.batch.assembling import assemble
from localproviders.batch.audit import load_begun
from localproviders.batch.bits import Bits
from localproviders.batch.finishing import Finish, error_classes
from localproviders.batch.journal import SUCCEEDED
from localproviders.batch.ledger import Ledger
from localproviders.batch.manifest import (
    Manifest,
    SourceFacts,
    recover_manifest,
    refuse_other_columns,
    refuse_other_run,
    refuse_other_shard,
)
from localproviders.batch.models import served_digest
from localproviders.batch.outputs import CsvLines, JsonLines, OutputForm, form_of
from localproviders.batch.pacing import Clockwork
from localproviders.batch.paths import RunPaths
from localproviders.batch.preparing import changed_rows, count_rows
from localproviders.batch.reading import load_run, report_of
from localproviders.batch.recorder import FileRecorder, free_bytes, is_full_disk
from localproviders.batch.report import BatchReport
from localproviders.batch.rows import RowReader
from localproviders.batch.sources import RowFile, open_source
from localproviders.batch.store import Store
from localproviders.batch.vectors import VectorLines, dimensions_in, recover_ids
from localproviders.batch.workers import Workers
from localproviders.errors import ConfigurationError, ProviderError

# Smallest number of bytes that a row needs on the disk: a short line, and two journal records.
_BYTES_OF_ROW = 200


class FileRun:
    """A run whose results go to an output file and the files beside it.

    Args:
        arguments: The arguments.
        paths: The paths of the files.
    """

    def __init__(self, arguments: Arguments, paths: RunPaths) -> None:
        self._paths = paths
        self._form_name = form_of(paths.output)
        if self._form_name == ".npy":
            # At the end of a run, a matrix always has the order of the rows. During the run,
            # `ordered` would write errors into the matrix, which has no place for them.
            arguments = arguments._replace(ordered=False)
        self._arguments = arguments
        self._clockwork = Clockwork(time.monotonic)
        self._started = time.monotonic()
        self._is_mixed = False
        self._changed_ns = 0

    def run(self) -> BatchReport:
        """Send all rows that have no answer yet, and write the results."""
        # The workers are made first, so that a provider that cannot be sent to other processes is
        # an error before anything is read or written.
        arguments = self._arguments
        workers = Workers(arguments.provider, arguments.executor, arguments.timeout)
        try:
            with Lock(self._paths.lock):
                self._paths.check_writable()
                return self._run_with(workers)
        finally:
            workers.close()

    def _run_with(self, workers: Workers) -> BatchReport:
        try:
            source = self._arguments.source
            file = open_source(source, self._paths.folder, timed=self._timed)
            try:
                self._check_source(file)
                return self._run(file, workers)
            finally:
                file.close()
        except OSError as error:
            if not is_full_disk(error):
                raise
        # The loop reports a full disk itself. This disk was full before the loop began.
        return self._report_before().replace(
            stopped="disk", elapsed_s=time.monotonic() - self._started
        )

    def _report_before(self) -> BatchReport:
        """Return the report of the earlier runs; an empty one if there is none."""
        try:
            return report_of(*load_run(self._paths))
        except ConfigurationError:
            return BatchReport()

    def _check_source(self, file: RowFile) -> None:
        """Check that the run does not write to its source.

        Raises:
            ConfigurationError: The source is one of the run's own files.
        """
        for path in self._paths.files:
            if file.is_at(path):
                raise ConfigurationError(
                    f"the source is {path!r}, to which the run would write",
                    hint="write to another output",
                )

    def _timed(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the items of an iterable, and count the time that it takes to get them."""
        return self._clockwork.timed(items, "source")

    def _run(self, file: RowFile, workers: Workers) -> BatchReport:
        arguments = self._arguments
        reader = RowReader(arguments.rules, file)
        form = self._form(file)
        rewriting.recover(self._paths)
        ledger = self._existing()
        if isinstance(form, VectorLines) and ledger is not None:
            form.dimensions = dimensions_in(self._paths, ledger.records)
        digest = served_digest(arguments.provider, arguments.rules.fields.get("model"))
        manifest = None if ledger is None else self._same_run(ledger, digest)
        if ledger is not None:
            self._check_columns(ledger, form)
        rows, facts = self._facts(file, reader, manifest)
        store = Store(self._paths, ledger)
        try:
            changed = self._begin(store, manifest, facts, file, form)
            if manifest is None or facts is not None or self._is_mixed:
                manifest = self._manifest(store, manifest, facts, rows, digest)
            return self._work(store, manifest, file, reader, form, workers, changed)
        finally:
            store.close()

    def _form(self, file: RowFile) -> OutputForm:
        if self._form_name == ".csv":
            rules = self._arguments.rules
            return CsvLines(file.columns, rules.questions, rules.id_field)
        if self._form_name == ".npy":
            return VectorLines()
        return JsonLines(self._arguments.compact)

    # --- an earlier run -----------------------------------------------------------------------

    def _existing(self) -> Optional[Ledger]:
        """Return the state of an earlier run with this output; None if there is none.

        Raises:
            ConfigurationError: The output exists, and is not the output of a run.
            IntegrityError: A file of the run was changed.
        """
        paths = self._paths
        if os.path.exists(paths.journal):
            return load_begun(paths)
        if _size(paths.output) > 0 and not self._arguments.force:
            raise ConfigurationError(
                f"{paths.output!r} exists and is not the output of a run",
                hint="write to another file, or pass force=True to replace it",
            )
        return None

    def _same_run(self, ledger: Ledger, digest: Tuple[Optional[str], Optional[str]]) -> Manifest:
        """Return the manifest of an earlier run, after comparing that run with this one.

        Raises:
            ConfigurationError: The arguments or the digest of the model differ, and `force` is
                False; or the shard differs.
            IntegrityError: The manifest, or the file with the ids of vectors, was changed.
        """
        manifest = recover_manifest(self._paths, ledger.manifest)
        recover_ids(self._paths, manifest)
        arguments = self._arguments
        names = manifest.differences(arguments.described(self._form_name))
        if "shard" in names:
            raise refuse_other_shard(self._paths.output)
        if names and not arguments.force:
            raise refuse_other_run(self._paths.output, names)
        self._is_mixed = bool(names)
        model, now = digest
        before = manifest.other_digest(str(model), now)
        if before is not None and not arguments.force:
            raise ConfigurationError(
                f"the model {model!r} has the digest {now}, and had {before} in the earlier run",
                hint="write to another output, or pass force=True to mix both models",
            )
        self._is_mixed = self._is_mixed or before is not None
        return manifest

    def _check_columns(self, ledger: Ledger, form: OutputForm) -> None:
        """Check that `force` does not mix lines with different columns.

        Without `force`, the columns can differ only if those of the source do. Then all rows have
        changed, so that no earlier line counts.

        Raises:
            ConfigurationError: The columns differ.
        """
        is_table = isinstance(form, CsvLines) and self._is_mixed and ledger.lines > 0
        part = rewriting.Part(self._paths, ledger.records)
        if is_table and rewriting.head_of(part) != form.head():
            raise refuse_other_columns(self._paths.output)

    # --- the source ---------------------------------------------------------------------------

    def _facts(
        self, file: RowFile, reader: RowReader, manifest: Optional[Manifest]
    ) -> Tuple[int, Optional[SourceFacts]]:
        """Return the number of rows; and the facts of the source, or None if it is unchanged."""
        self._changed_ns = file.changed_ns
        size, digest = file.size, file.fingerprint()
        if manifest is not None and manifest.has_source(size, digest):
            return manifest.rows, None
        rows = count_rows(file, reader, self._paths.folder)
        return rows, SourceFacts(rows, size, digest)

    def _begin(
        self,
        store: Store,
        manifest: Optional[Manifest],
        facts: Optional[SourceFacts],
        file: RowFile,
        form: OutputForm,
    ) -> Bits:
        """Write the head of a new output, or note which rows have changed; return these rows."""
        changed = Bits()
        if manifest is None:
            store.put_head(form.head())
        elif facts is not None:
            folder = self._paths.folder
            found = changed_rows(file, self._paths.journal, store.ledger, facts.rows, folder)
            store.note_changed(row for row in found if changed.add(row))
        return changed

    def _manifest(
        self,
        store: Store,
        manifest: Optional[Manifest],
        facts: Optional[SourceFacts],
        rows: int,
        digest: Tuple[Optional[str], Optional[str]],
    ) -> Manifest:
        arguments = self._arguments.described(self._form_name)
        made = Manifest.make(store.ledger.run, arguments, facts or SourceFacts(rows, 0, ""))
        if manifest is not None:
            made.take_answers(manifest, with_source=facts is None)
        model, found = digest
        if model is not None:
            made.note_model(model, found)
        store.put_manifest(made)
        return made

    # --- the work -----------------------------------------------------------------------------

    def _work(
        self,
        store: Store,
        manifest: Manifest,
        file: RowFile,
        reader: RowReader,
        form: OutputForm,
        workers: Workers,
        changed: Bits,
    ) -> BatchReport:
        arguments, ledger = self._arguments, store.ledger
        rows = arguments.rows_of_shard(manifest.rows)
        again = self._failed_rows(store, form)
        recorder = FileRecorder(store, form, manifest, again, changed, arguments.ordered)
        coordinator = assemble(
            arguments,
            file,
            reader,
            recorder,
            workers,
            self._clockwork,
            source_rows=manifest.rows,
            started=self._started,
            skipped=ledger.rows[SUCCEEDED].count,
            changed=changed.count,
        )
        open_rows = rows - ledger.rows[SUCCEEDED].count
        if free_bytes(self._paths.folder) < open_rows * _BYTES_OF_ROW:
            coordinator.stopped = "disk"
        try:
            coordinator.run()
            if coordinator.stopped is None:
                self._check_unchanged(file, manifest)
        except BaseException:
            with contextlib.suppress(OSError):  # the disk may be full
                store.end("interrupted")
            raise
        report = coordinator.report()
        if report.stopped is not None:
            store.end(report.stopped)
        elif not self._finished(Finish(store, manifest, form, file, reader, arguments)):
            report = report.replace(stopped="disk")
        if arguments.on_progress is not None:
            arguments.on_progress(report)
        return report

    def _check_unchanged(self, file: RowFile, manifest: Manifest) -> None:
        """Check that the rows of the source are still those that were counted at the start.

        Raises:
            ConfigurationError: The source was changed. Rows added at its end are not an error.
        """
        size, digest = manifest.facts["source"]["size"], manifest.facts["source"]["digest"]
        if file.changed_ns != self._changed_ns and file.fingerprint(size) != digest:
            raise ConfigurationError(
                "the source was changed during the run",
                hint="run it again: the rows that have changed since are then sent again",
            )

    def _finished(self, finish: Finish) -> bool:
        """Write the final output, or return False if the disk is full; the next run repeats it."""
        try:
            finish.run()
        except OSError as error:
            if not is_full_disk(error):
                raise
            # Incomplete files would keep the disk full. A new output that is already in its place
            # needs its journal.
            with contextlib.suppress(OSError):
                rewriting.recover(self._paths)
            return False
        return True

    def _failed_rows(self, store: Store, form: OutputForm) -> Bits:
        """Return the rows that are sent again because of the class of their last error."""
        found = Bits()
        classes, ledger = self._arguments.retried, store.ledger
        if not classes:
            return found
        for row, name in error_classes(self._paths, ledger, form):
            (found.add if _is_one_of(name, classes) else found.discard)(row)
        return found


def _is_one_of(name: Optional[str], classes: Tuple[Type[ProviderError], ...]) -> bool:
    found = getattr(errors, str(name), None)
    return isinstance(found, type) and issubclass(found, classes)


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0
