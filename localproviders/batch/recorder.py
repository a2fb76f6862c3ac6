"""The destinations of a run's results: the files of a `Store`, or an object of the caller."""

from __future__ import annotations

import errno
import shutil
from typing import Any, Dict, List, NamedTuple, Protocol, Sequence

from localproviders.batch.bits import Bits
from localproviders.batch.jobs import Answer
from localproviders.batch.journal import CLOSED, FAILED, SUCCEEDED, small
from localproviders.batch.manifest import Manifest
from localproviders.batch.outputs import OutputForm
from localproviders.batch.results import BatchRecord
from localproviders.batch.rows import Row
from localproviders.batch.store import Entry, Store, state_of

# The run stops if the disk has less free space than this.
_RESERVE_BYTES = 1 << 20


class Sink(Protocol):
    """An object that receives the results of a run, in the thread that called `run`.

    A run calls `has` for each row, and does not send rows whose result is already there. A run with
    such an object has no journal, so `write` should store a record before it returns.
    """

    def has(self, id: str, /) -> bool:
        """Return whether the result of the row with this id is already there."""
        ...

    def write(self, record: BatchRecord, /) -> object:
        """Store the result of a row. The returned value is not used."""
        ...


class Outcome(NamedTuple):
    """The result of a row that was sent, or that could not be sent.

    Attributes:
        row: The row.
        digest: Digest of the row's content.
        answer: The answer or the error.
        is_outage: Whether the error concerns all rows, such as that of a server that is down.
    """

    row: Row
    digest: int
    answer: Answer
    is_outage: bool = False

    def record(self) -> BatchRecord:
        """Return the record of the row."""
        job = self.row.job
        return BatchRecord(
            id=self.row.id,
            row=self.row.number,
            error=self.answer.error,
            kind=None if job is None else job.kind,
            value=self.answer.value,
        )


class Counts(NamedTuple):
    """Numbers of rows: with an answer, and with an error."""

    succeeded: int
    failed: int


class Recorder(Protocol):
    """The methods of a destination of results that the loop of a run calls."""

    @property
    def counts(self) -> Counts:
        """Numbers of rows with a result."""
        ...

    def is_open(self, number: int) -> bool:
        """Return whether a row has to be sent."""
        ...

    def was_begun(self, number: int) -> bool:
        """Return whether an earlier run has sent a row that is still open."""
        ...

    def begin(self, number: int) -> None:
        """Note that a row is being sent."""
        ...

    def is_known(self, id: str) -> bool:
        """Return whether the result of the row with this id is already there."""
        ...

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Write results."""
        ...

    def tick(self) -> bool:
        """Do periodic work, if it is due; return False if the disk is nearly full."""
        ...


class FileRecorder:
    """A recorder that writes results to the files of a store.

    Args:
        store: The open files.
        form: The form of the output.
        manifest: The manifest of the run.
        again: Rows that failed before, and are sent again because of `retry_failed`.
        changed: Rows whose content has changed since their last result.
        ordered: Whether the lines are written in the order of the rows. If so, the line of a
            failure is written to the output, and not to the file of failures.
    """

    def __init__(
        self,
        store: Store,
        form: OutputForm,
        manifest: Manifest,
        again: Bits,
        changed: Bits,
        ordered: bool,
    ) -> None:
        self._store = store
        self._form = form
        self._manifest = manifest
        self._again = again
        self._changed = changed
        self._ordered = ordered
        self._rows = store.ledger.rows
        self._begun_before = store.ledger.begun

    @property
    def counts(self) -> Counts:
        """Numbers of rows with a result."""
        return Counts(self._rows[SUCCEEDED].count, self._store.ledger.failed)

    def is_open(self, number: int) -> bool:
        """Return whether a row has to be sent: it has no result, or an error that may go away."""
        if number in self._rows[SUCCEEDED]:
            return False
        if number in self._again:
            return True
        return number not in self._rows[FAILED] and number not in self._rows[CLOSED]

    def was_begun(self, number: int) -> bool:
        """Return whether an earlier run has sent a row that is still open."""
        return number < self._begun_before and number not in self._changed

    def begin(self, number: int) -> None:
        """Note that a row is being sent."""
        self._store.begun = max(self._store.begun, number + 1)

    def is_known(self, id: str) -> bool:
        """Return False: `is_open` has already decided by the journal."""
        return False

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Write results: their lines, and then their records in the journal."""
        if self._manifest.finish(False):
            self._store.put_manifest(self._manifest)
        self._store.add([self._entry(outcome) for outcome in outcomes])
        news = [self._note(outcome.answer.value) for outcome in outcomes]
        if any(news):
            self._store.put_manifest(self._manifest)

    def _entry(self, outcome: Outcome) -> Entry:
        record, usage = outcome.record(), outcome.answer.usage
        problem = self._form.problem(record) if record.error is None else None
        if problem is not None:
            record = record.replace(error=problem, value=None)
        error = record.error
        may_go_away = error is not None and (error.retryable or outcome.is_outage)
        state = state_of(error is None, may_go_away, self._ordered)
        return Entry(
            row=outcome.row.number,
            digest=outcome.digest,
            state=state,
            line=self._form.line(record, outcome.row),
            prompt_tokens=small(usage.prompt_tokens),
            completion_tokens=small(usage.completion_tokens),
        )

    def _note(self, value: Any) -> bool:
        if value is None:
            return False
        return self._manifest.note_answer(value.model, value.digest, value.endpoint)

    def tick(self) -> bool:
        """Write a mark if one is due; return False if the disk is then nearly full."""
        is_due = self._store.mark_if_due()
        return not is_due or free_bytes(self._store.paths.folder) >= _RESERVE_BYTES


class SinkRecorder:
    """A recorder that passes results to an object of the caller.

    Args:
        sink: The object.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._succeeded = self._failed = 0

    @property
    def counts(self) -> Counts:
        """Numbers of rows with a result. Rows that the object already has count as succeeded."""
        return Counts(self._succeeded, self._failed)

    def is_open(self, number: int) -> bool:
        """Return True: `is_known` asks the object later, with the id of the row."""
        return True

    def was_begun(self, number: int) -> bool:
        """Return False: there is no journal."""
        return False

    def begin(self, number: int) -> None:
        """Do nothing."""

    def is_known(self, id: str) -> bool:
        """Return whether the result of the row is already there."""
        found = bool(self._sink.has(id))
        self._succeeded += found
        return found

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Call `write` of the object for each result."""
        for outcome in outcomes:
            self._sink.write(outcome.record())
            if outcome.answer.error is None:
                self._succeeded += 1
            else:
                self._failed += 1

    def tick(self) -> bool:
        """Return True: this package does not know where the object stores the results."""
        return True


# For a process, the disk is also full if a limit for the size of its files, or a quota, is reached.
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def is_full_disk(error: OSError) -> bool:
    """Return whether an error says that nothing more can be written to a disk."""
    return error.errno in _FULL


def free_bytes(folder: str) -> int:
    """Return how many bytes are free on the disk of a folder."""
    return shutil.disk_usage(folder).free


class InOrder:
    """Holds results back until all earlier rows have theirs.

    Attributes:
        waiting: Number of results that are held back.
    """

    def __init__(self) -> None:
        self._numbers: List[int] = []
        self._first = 0
        self._results: Dict[int, Outcome] = {}

    @property
    def waiting(self) -> int:
        """Number of results that are held back."""
        return len(self._results)

    def expect(self, number: int) -> None:
        """Note the next row in the order."""
        self._numbers.append(number)

    def take(self, outcomes: Sequence[Outcome]) -> List[Outcome]:
        """Add results; return those whose turn it is, in order."""
        self._results.update({outcome.row.number: outcome for outcome in outcomes})
        found = []
        while self._first < len(self._numbers) and self._numbers[self._first] in self._results:
            found.append(self._results.pop(self._numbers[self._first]))
            self._first += 1
        if self._first > len(self._numbers) // 2:
            del self._numbers[: self._first]
            self._first = 0
        return found
