"""`check`: finds the rows of a source that cannot be sent, without sending anything."""

from __future__ import annotations

from typing import List, Optional

from localproviders.batch.preparing import find_repeated
from localproviders.batch.results import BatchRecord
from localproviders.batch.rows import RowReader, RowRules
from localproviders.batch.sources import Source, open_source
from localproviders.errors import ConfigurationError
from localproviders.types.questions import Questions


def check(
    source: Source,
    *,
    template: Optional[str] = None,
    id_field: Optional[str] = None,
    questions: Optional[Questions] = None,
) -> List[BatchRecord]:
    """Return the rows of a source that cannot be sent, each with its error. Nothing is sent.

    A row cannot be sent if it cannot be read, if it has an unknown field or an impossible value, or
    if it has the id of an earlier row. At most a hundred repeated ids are reported. A model or a
    server may still refuse a row that this function accepts.

    Args:
        source: A path or an iterable, as in `run`.
        template: A template, as in `run`.
        id_field: The column or field with the id, as in `run`.
        questions: Questions, as in `run`.

    Raises:
        ConfigurationError: The source cannot be read at all, or an argument does not fit the
            source.
    """
    file = open_source(source, None)
    try:
        reader = RowReader(RowRules(template, id_field, questions, {}), file)
        rows = (reader.read(number, raw) for number, raw in enumerate(file.raw_rows()))
        found = [
            BatchRecord(id=row.id, row=row.number, error=row.error)
            for row in rows
            if row.error is not None
        ]
        repeated, _ = find_repeated(file, reader, None)
    finally:
        file.close()
    for name, first, second in repeated:
        error = ConfigurationError(f"row {second}: its id {name!r} is also that of row {first}")
        found.append(BatchRecord(id=name, row=second, error=error))
    return sorted(found, key=lambda record: record.row)
