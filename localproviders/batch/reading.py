"""`read` and `status`: the results and the counts of an output."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import BinaryIO, Iterator, Optional, Tuple, cast

from localproviders.batch import rewriting
from localproviders.batch.audit import load_begun
from localproviders.batch.journal import FAILED, RETRYABLE, SUCCEEDED
from localproviders.batch.ledger import Ledger
from localproviders.batch.manifest import Manifest, read_manifest
from localproviders.batch.outputs import form_of
from localproviders.batch.paths import PathLike, RunPaths
from localproviders.batch.report import BatchReport
from localproviders.batch.results import BatchRecord
from localproviders.batch.snapshots import snapshot
from localproviders.batch.vectors import check_ids
from localproviders.errors import ConfigurationError, IntegrityError
from localproviders.types.responses import Usage

# Reasons of an `END` in the journal that have another name in a report.
_STOPPED = {"complete": None, "interrupted": "cancelled"}


def read(path: PathLike) -> Iterator[BatchRecord]:
    """Yield the results of an output: for each row, a record with its latest result.

    The run may have ended early, or may still be running. Then rows without a result are left out,
    and errors are included even if their rows may be sent again. The journal and the output are
    checked before the first record. An output without a journal, such as a copy, is read without
    checks.

    Args:
        path: Path of the output, with the suffix ``.jsonl``.

    Raises:
        ConfigurationError: The file is missing, or has another format, or its run ended before it
            had a result. Read CSV files and vectors with other modules.
        IntegrityError: The output or the journal was changed, or a line has no result.
    """
    paths = RunPaths(path)
    if form_of(paths.output) not in (".jsonl", ".ndjson"):
        raise ConfigurationError(
            f"{paths.output!r} is not a file of JSON lines, so read() cannot read it",
            hint="read a CSV file with the module csv, and vectors with numpy.load",
        )
    records = _read(paths)
    next(records)  # opens and checks the files
    return cast("Iterator[BatchRecord]", records)


def _read(paths: RunPaths) -> Iterator[Optional[BatchRecord]]:
    """Open the files, and yield None; then yield the records."""
    records, stack = snapshot(paths, _open)
    with stack:
        yield None
        yield from records


def _open(paths: RunPaths, stack: ExitStack) -> Iterator[BatchRecord]:
    """Open and check the files of a run, and return its records."""
    _check_exists(paths.output)
    file = stack.enter_context(open(paths.output, "rb"))  # noqa: SIM115  # the stack closes it
    if not os.path.exists(paths.journal):
        return _records(paths.output, file, os.path.getsize(paths.output))
    ledger, manifest = load_run(paths)
    rows = ledger.rows
    if not (ledger.superseded or rows[FAILED].count or rows[RETRYABLE].count):
        return _records(paths.output, file, ledger.output.size)
    parts = [rewriting.Part(paths, ledger.records)]
    entries = rewriting.open_in_order(parts, manifest.rows, None, stack, failures=True)
    return (_record_of(paths.output, entry.line, entry.row + 1) for entry in entries)


def _records(path: str, file: BinaryIO, size: int) -> Iterator[BatchRecord]:
    for number, line in enumerate(file, 1):
        size -= len(line)
        if size < 0:
            return
        yield _record_of(path, line, number)


def _record_of(path: str, line: bytes, number: int) -> BatchRecord:
    try:
        return BatchRecord.from_dict(json.loads(line))
    except ValueError as error:
        raise IntegrityError(
            f"{path!r} has no result in line {number}: {error}", path=path, line=number
        ) from None


def status(path: PathLike) -> BatchReport:
    """Return the counts of an output, over all runs that wrote to it.

    The last run may be finished, stopped, killed or still running. No file is changed.

    Args:
        path: Path of the output.

    Returns:
        A report without times. ``stopped`` is the reason why the last run ended early. It is None
        if all rows have a result, and also if the run was killed or is still running.

    Raises:
        ConfigurationError: There is no journal beside the file, or its run ended before it had a
            result.
        IntegrityError: The output or the journal was changed.
    """
    found, _ = snapshot(RunPaths(path), lambda paths, _: load_run(paths))
    return report_of(*found)


def load_run(paths: RunPaths) -> Tuple[Ledger, Manifest]:
    """Return the state and the manifest of a run, after checking its files.

    Raises:
        ConfigurationError: There is no journal, or the run was killed at its beginning.
        IntegrityError: A file was changed.
    """
    if not os.path.exists(paths.journal):
        _check_exists(paths.output)
        raise ConfigurationError(
            f"{paths.output!r} has no journal, so it is not the output of a run",
            hint=f"copy {os.path.basename(paths.journal)!r} and the manifest beside it, too",
        )
    ledger = load_begun(paths)
    if ledger is None:
        raise ConfigurationError(
            f"the run with the output {paths.output!r} ended before it had a result",
            hint="run it again",
        )
    manifest = read_manifest(paths, ledger.manifest)
    check_ids(paths, manifest)
    return ledger, manifest


def report_of(ledger: Ledger, manifest: Manifest) -> BatchReport:
    """Return a report with the counts of a run."""
    tokens = (ledger.prompt_tokens or None, ledger.completion_tokens or None)
    return BatchReport(
        rows=manifest.shard_rows,
        succeeded=ledger.rows[SUCCEEDED].count,
        failed=ledger.failed,
        usage=Usage(prompt_tokens=tokens[0], completion_tokens=tokens[1]),
        stopped=_STOPPED.get(str(ledger.ended), ledger.ended),
    )


def _check_exists(path: str) -> None:
    if not os.path.exists(path):
        raise ConfigurationError(f"{path!r} does not exist")
