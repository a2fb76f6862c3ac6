"""Make the loop of a run from its arguments, for files and for objects of the caller."""

from __future__ import annotations

import time

from localproviders.batch.arguments import Arguments
from localproviders.batch.coordinator import Coordinator, Plan
from localproviders.batch.models import slots_of
from localproviders.batch.pacing import Clockwork, Rate, most_failures
from localproviders.batch.recorder import Recorder
from localproviders.batch.rows import RowReader
from localproviders.batch.sources import RowFile
from localproviders.batch.window import Windows
from localproviders.batch.workers import Workers


def assemble(
    arguments: Arguments,
    file: RowFile,
    reader: RowReader,
    recorder: Recorder,
    workers: Workers,
    clockwork: Clockwork,
    *,
    source_rows: int,
    started: float,
    skipped: int = 0,
    changed: int = 0,
) -> Coordinator:
    """Return the loop of a run.

    Args:
        arguments: The arguments of the run.
        file: The rows.
        reader: Reads the rows.
        recorder: Writes the results.
        workers: Send the requests.
        clockwork: Measures what the run waits for.
        source_rows: Number of rows of the source.
        started: The time at which the run started.
        skipped: Number of rows that had an answer before this run.
        changed: Number of rows whose content has changed.
    """
    rows = arguments.rows_of_shard(source_rows)
    plan = Plan(
        rows=rows,
        source_rows=source_rows,
        shard=arguments.shard,
        deadline_s=arguments.deadline_s,
        grace_s=arguments.grace_s,
        max_failures=most_failures(arguments.max_failures, rows),
        ordered=arguments.ordered,
        on_progress=arguments.on_progress,
        cancel=arguments.cancel,
        skipped=skipped,
        changed=changed,
        model=arguments.rules.fields.get("model"),
    )
    windows = Windows(arguments.fixed, slots_of(arguments) if arguments.fixed is None else {})
    rate = Rate(arguments.rate_per_s, time.monotonic)
    return Coordinator(
        file, reader, recorder, workers, windows, rate, plan, clockwork, started=started
    )
