"""The forms of an output file, which are its formats: lines of JSON, and CSV.

`vectors.py` has the form for vectors.
"""

from __future__ import annotations

import csv
import io
import json
import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Sequence

from localproviders.batch.jobs import CHAT, COMPLETION, DECISION
from localproviders.batch.paths import PathLike
from localproviders.batch.results import BatchRecord
from localproviders.batch.rows import Row
from localproviders.batch.wire.lines import compact_line_of, line_of, write_line
from localproviders.errors import ConfigurationError, ProviderError
from localproviders.types.questions import as_questions


class OutputForm(Protocol):
    """A form of an output file."""

    def head(self) -> bytes:
        """Return the bytes at the beginning of the file."""
        ...

    def problem(self, record: BatchRecord) -> Optional[ProviderError]:
        """Return the reason why this output cannot contain an answer; None if it can."""
        ...

    def line(self, record: BatchRecord, row: Row) -> bytes:
        """Return the line of a result, with its line feed."""
        ...

    def error_class(self, line: bytes) -> Optional[str]:
        """Return the name of the error class in a line; None if the line has an answer."""
        ...


class JsonLines:
    """Lines of JSON.

    Args:
        compact: Whether the lines have only the id and the answer or error.
    """

    def __init__(self, compact: bool) -> None:
        self._object: Callable[[BatchRecord], Dict[str, Any]] = (
            compact_line_of if compact else line_of
        )

    def head(self) -> bytes:
        """Return no bytes."""
        return b""

    def problem(self, record: BatchRecord) -> Optional[ProviderError]:
        """Return None: every answer can be written as JSON."""
        return None

    def line(self, record: BatchRecord, row: Row) -> bytes:
        """Return the line of a result, with its line feed."""
        return write_line(self._object(record))

    def error_class(self, line: bytes) -> Optional[str]:
        """Return the name of the error class in a line; None if the line has an answer."""
        return error_class_of(line)


def error_class_of(line: bytes) -> Optional[str]:
    """Return the name of the error class in a line of JSON; None if the line has an answer."""
    error = json.loads(line).get("error")
    return None if error is None else str(error.get("code"))


class CsvLines:
    """A CSV file: the columns of the source, and columns for the answers.

    Args:
        columns: The columns of the source; None if the source is not a table.
        questions: The questions of the run.
        id_field: The column with the id.

    Raises:
        ConfigurationError: Two columns would have the same name.
    """

    def __init__(
        self,
        columns: Optional[Sequence[str]],
        questions: Optional[Mapping[str, Any]],
        id_field: Optional[str],
    ) -> None:
        self._source = list(columns or ())
        self._names = [] if questions is None else list(as_questions(questions))
        self._own_id = [] if self._has_id(id_field) else ["id"]
        answers = [part for name in self._names for part in (name, f"{name}_confidence")]
        self._answers = [*(answers or ["answer"]), "error"]
        both = next((name for name in self._answers if name in self._source), None)
        if both is not None:
            raise ConfigurationError(
                f"the source has a column {both!r}, but the output needs this name for the answers",
                hint="rename the column or the question, or write to a .jsonl file",
            )
        names = [*self._own_id, *self._answers]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ConfigurationError(
                f"two columns of the output would have the name {repeated!r}",
                hint="rename the question, or write to a .jsonl file",
            )

    def _has_id(self, id_field: Optional[str]) -> bool:
        return any(name in self._source for name in (id_field, "id", "custom_id"))

    def head(self) -> bytes:
        """Return the line with the names of the columns."""
        return _csv_line([*self._own_id, *self._source, *self._answers])

    def problem(self, record: BatchRecord) -> Optional[ProviderError]:
        """Return the reason why this output cannot contain an answer; None if it can."""
        if record.kind == DECISION and [*record.decisions] != self._names:
            return ConfigurationError(
                "the questions of the row are not those of the output's columns",
                hint="pass the questions to run(), or write to a .jsonl file",
            )
        return None

    def line(self, record: BatchRecord, row: Row) -> bytes:
        """Return the line of a result, with its line feed."""
        value: Mapping[str, Any] = row.value if isinstance(row.value, dict) else {}
        own = [record.id] if self._own_id else []
        kept = [value.get(name, "") for name in self._source]
        return _csv_line([*own, *kept, *self._cells(record)])

    def _cells(self, record: BatchRecord) -> List[Any]:
        if record.error is not None:
            empty = [""] * (len(self._answers) - 1)
            return [*empty, f"{type(record.error).__name__}: {record.error.message}"]
        if record.kind == DECISION:
            return [*self._decision_cells(record), ""]
        text = write_line(compact_line_of(record)).decode().strip()
        if record.kind in (CHAT, COMPLETION):
            text = record.response.text
        return [text, *[""] * (len(self._answers) - 1)]

    def _decision_cells(self, record: BatchRecord) -> List[Any]:
        found: List[Any] = []
        for name in self._names:
            decision = record.decisions[name]
            if decision.refused:
                found += ["", ""]
                continue
            answer = decision.answer
            word = ("yes" if answer else "no") if isinstance(answer, bool) else answer
            found += [word, f"{decision.confidence:.4f}"]
        return found

    def error_class(self, line: bytes) -> Optional[str]:
        """Return the name of the error class in a line; None if the line has an answer."""
        cells = next(csv.reader(io.StringIO(line.decode("utf-8"), newline="")), [""])
        return cells[-1].partition(":")[0] or None


def _csv_line(cells: Sequence[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    # Like the lone half of a surrogate pair, a zero byte is written as an escape: older versions of
    # Python cannot read it in a CSV file, and it could look like a byte lost in a power failure.
    return text.getvalue().replace("\0", r"\x00").encode("utf-8", "backslashreplace")


#: The suffixes of outputs. Each one stands for a format.
OUTPUT_FORMS = (".jsonl", ".ndjson", ".csv", ".npy")


def form_of(path: PathLike) -> str:
    """Return the suffix of an output.

    Raises:
        ConfigurationError: No format of an output has this suffix.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in OUTPUT_FORMS:
        raise ConfigurationError(
            f"{os.fspath(path)!r} has no suffix that names a format of output",
            hint="use .jsonl, .csv or .npy",
        )
    return suffix
