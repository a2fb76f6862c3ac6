"""A run whose results go to an object of the caller."""

from __future__ import annotations

import time
from typing import Any

from localproviders.batch.arguments import Arguments
from localproviders.batch.assembling import assemble
from localproviders.batch.models import served_digest
from localproviders.batch.pacing import Clockwork
from localproviders.batch.preparing import count_rows
from localproviders.batch.recorder import SinkRecorder
from localproviders.batch.report import BatchReport
from localproviders.batch.rows import RowReader
from localproviders.batch.sources import RowFile, open_source
from localproviders.batch.workers import Workers
from localproviders.errors import ConfigurationError


def run_with_object(arguments: Arguments, sink: Any) -> BatchReport:
    """Send all rows whose results the object does not have yet, and pass it the results.

    Raises:
        ConfigurationError: The object does not have the methods `has` and `write`.
    """
    for name in ("has", "write"):
        if not callable(getattr(sink, name, None)):
            raise ConfigurationError(
                f"sink is {type(sink).__name__}, and has no method {name!r}",
                hint="pass a path, or an object with has(id) and write(record)",
            )
    started = time.monotonic()
    workers = Workers(arguments.provider, arguments.executor, arguments.timeout)
    try:
        file = open_source(arguments.source, None)
        try:
            return _run(arguments, sink, file, workers, started)
        finally:
            file.close()
    finally:
        workers.close()


def _run(
    arguments: Arguments, sink: Any, file: RowFile, workers: Workers, started: float
) -> BatchReport:
    reader = RowReader(arguments.rules, file)
    served_digest(arguments.provider, arguments.rules.fields.get("model"))
    rows = count_rows(file, reader, None)
    coordinator = assemble(
        arguments,
        file,
        reader,
        SinkRecorder(sink),
        workers,
        Clockwork(time.monotonic),
        source_rows=rows,
        started=started,
    )
    coordinator.run()
    report = coordinator.report()
    if arguments.on_progress is not None:
        arguments.on_progress(report)
    return report
