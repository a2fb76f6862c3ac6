"""`merge`: joins the outputs of several shards, and checks that each row is there once."""

from __future__ import annotations

import os
from typing import Callable, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from localproviders._lock import Lock
from localproviders.batch import rewriting
from localproviders.batch.manifest import Manifest, refuse_other_columns
from localproviders.batch.outputs import form_of
from localproviders.batch.paths import PathLike, RunPaths
from localproviders.batch.reading import load_run, report_of
from localproviders.batch.report import BatchReport
from localproviders.batch.rewriting import Part
from localproviders.batch.snapshots import State, snapshot, states_of
from localproviders.batch.store import Entry, Store
from localproviders.batch.vectors import (
    NewIds,
    VectorLines,
    dimensions_in,
    id_lines,
    is_final,
    matrix_head,
    note_ids,
)
from localproviders.batch.wire.lines import write_line
from localproviders.errors import ConfigurationError, IntegrityError


def merge(parts: Iterable[PathLike], output: PathLike, *, force: bool = False) -> BatchReport:
    """Join the outputs of several shards into one output, in the order of the rows.

    Each row of the source must be in exactly one part. The new output has a journal, so `read`,
    `status` and a later `run` accept it.

    Args:
        parts: Paths of the outputs of the shards.
        output: Path of the new output.
        force: True joins the parts even if their runs had different arguments, and replaces an
            existing output.

    Returns:
        The report of the new output.

    Raises:
        ConfigurationError: A row is in no part; the parts have different sources, arguments or
            columns; a run writes to a part; or the new output exists already.
        IntegrityError: A part was changed, or a row is in two parts.
        LockHeldError: Another process, or another thread, writes to the new output.
    """
    paths = RunPaths(output)
    loaded = [_load(path) for path in parts]
    if not loaded:
        raise ConfigurationError("there is no part to merge", hint="pass the paths of the parts")
    parts_of_run = [each.part for each in loaded]
    inputs = [part.paths for part in parts_of_run]
    manifest = _common([each.manifest for each in loaded], inputs, force)
    _check_output(paths, inputs, force)
    with Lock(paths.lock):
        paths.check_writable()
        rewriting.recover(paths)
        try:
            _check_columns(parts_of_run)
            _write(paths, parts_of_run, manifest, lambda: _check_unchanged(loaded))
        except (IntegrityError, FileNotFoundError):
            _check_unchanged(loaded)
            raise
    return report_of(*load_run(paths))


class _Loaded(NamedTuple):
    """A part that was checked.

    Attributes:
        part: The part.
        manifest: Its manifest.
        states: The states of its files before the check.
    """

    part: Part
    manifest: Manifest
    states: Sequence[State]


def _load(path: PathLike) -> _Loaded:
    states = states_of(RunPaths(path))
    found, _ = snapshot(RunPaths(path), _check)
    return _Loaded(*found, states)


def _check(paths: RunPaths, _: object) -> Tuple[Part, Manifest]:
    ledger, manifest = load_run(paths)
    if form_of(paths.output) == ".npy" and not is_final(paths, ledger, manifest):
        raise ConfigurationError(
            f"{paths.output!r} is not finished",
            hint="finish the runs of all shards, and then merge their outputs",
        )
    return Part(paths, ledger.records), manifest


def _check_unchanged(loaded: Sequence[_Loaded]) -> None:
    """Check that no other process has written to a part since it was checked.

    Raises:
        ConfigurationError: A part was written to.
    """
    for each in loaded:
        output = each.part.paths.output
        if states_of(RunPaths(output)) != each.states:
            raise ConfigurationError(
                f"a run writes to {output!r}", hint="wait for its end, and then merge again"
            )


def _common(manifests: List[Manifest], paths: List[RunPaths], force: bool) -> Manifest:
    """Return the manifest for the merged output.

    Raises:
        ConfigurationError: Two parts belong to different runs.
    """
    first = manifests[0]
    for other, part in zip(manifests[1:], paths[1:]):
        if other.facts["source"] != first.facts["source"]:
            raise ConfigurationError(
                f"{part.output!r} has the results of another source than {paths[0].output!r}"
            )
        names = first.other_arguments(other)
        if names and not force:
            raise ConfigurationError(
                f"{part.output!r} belongs to a run with other arguments than "
                f"{paths[0].output!r}: {', '.join(names)}",
                hint="pass force=True to join them all the same",
            )
    return first.without_shard(manifests)


def _check_columns(parts: List[Part]) -> None:
    """Check that all parts have the same columns, if they are tables.

    Raises:
        ConfigurationError: The columns of two parts differ.
    """
    for part in parts if form_of(parts[0].paths.output) == ".csv" else ():
        if rewriting.head_of(part) != rewriting.head_of(parts[0]):
            raise refuse_other_columns(part.paths.output)


def _check_output(paths: RunPaths, parts: List[RunPaths], force: bool) -> None:
    forms = {form_of(each.output) for each in (paths, *parts)}
    if len(forms) > 1:
        raise ConfigurationError(f"the files have different formats: {', '.join(sorted(forms))}")
    exists = os.path.exists(paths.output)
    if any(exists and os.path.samefile(paths.output, part.output) for part in parts):
        raise ConfigurationError(f"{paths.output!r} is one of the parts; write to another file")
    if exists and not force:
        raise ConfigurationError(
            f"{paths.output!r} exists",
            hint="write to another file, or pass force=True to replace it",
        )


def _write(
    paths: RunPaths, parts: List[Part], manifest: Manifest, check: Callable[[], None]
) -> None:
    """Write the new output.

    Args:
        paths: The paths of the new output.
        parts: The parts.
        manifest: The manifest of the new output.
        check: Function that is called when all parts have been read.
    """
    store = Store(rewriting.beside(paths), None)
    manifest.facts["run"] = store.ledger.run.hex()
    ids: Optional[NewIds] = None
    try:
        if form_of(paths.output) == ".npy":
            ids = NewIds(paths)
            count = _fill_matrix(store, paths, parts, manifest, ids)
        else:
            entries = rewriting.in_order(parts, manifest.rows, paths.folder)
            count = rewriting.fill(store, entries, rewriting.head_of(parts[0]))
        check()
        _check_count(store, count, manifest.rows)
        store.begun = manifest.rows
        store.refer_to(manifest)
        store.end("complete")
    except BaseException:
        store.close()
        rewriting.remove_beside(paths)
        raise
    store.close()
    rewriting.remove_journal(paths)
    manifest.write(paths)
    if ids is not None:
        ids.put_in_place(paths)
    rewriting.put_in_place(paths)


def _check_count(store: Store, count: int, rows: int) -> None:
    """Check that all rows are there.

    Raises:
        ConfigurationError: A row is in no part.
    """
    if count < rows:
        row = store.ledger.first_open(rows)
        raise ConfigurationError(
            f"row {row} is in no part, and {rows - count} of {rows} rows are missing",
            hint="finish the runs of all shards, and pass all their outputs",
        )


def _fill_matrix(
    store: Store, paths: RunPaths, parts: List[Part], manifest: Manifest, ids: NewIds
) -> int:
    """Write the vectors of all parts, and their ids; return the number of rows.

    Raises:
        ConfigurationError: The parts have vectors of different lengths.
    """
    found = {dimensions_in(part.paths, part.records) for part in parts} - {None}
    if len(found) > 1:
        raise ConfigurationError("the parts have vectors of different lengths")
    form = VectorLines(next(iter(found), None))
    head = matrix_head(manifest.rows, form.dimensions or 0)
    lines = [id_lines(part.paths) for part in parts]

    def entries() -> Iterator[Entry]:
        for entry in rewriting.in_order(parts, manifest.rows, paths.folder):
            ids.write(write_line(next(lines[entry.part])))
            yield form.closed(entry)

    with ids:
        count = rewriting.fill(store, entries(), head)
    note_ids(manifest, ids)
    return count
