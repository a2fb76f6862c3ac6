"""The loop of a run: reads rows, passes their requests to workers, and writes the results.

Everything except the requests happens in the thread that called `run`. So only this thread reads
the source, writes files and calls functions of the caller.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Callable, Deque, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

from localproviders.batch.jobs import EMBEDDING, Answer
from localproviders.batch.outages import causes_of, is_outage
from localproviders.batch.pacing import Clockwork, Rate
from localproviders.batch.recorder import InOrder, Outcome, Recorder, is_full_disk
from localproviders.batch.report import BatchReport
from localproviders.batch.rows import Row, RowReader
from localproviders.batch.sources import RowFile
from localproviders.batch.window import BUSY, DELIVERED, LOST, OTHER, Ended, Windows
from localproviders.batch.workers import Workers
from localproviders.errors import (
    CancelledError,
    LimitError,
    ProviderError,
    ServerBusyError,
    TransportError,
)
from localproviders.types.limits import CancelToken
from localproviders.types.requests import BATCH_CHARACTERS, BATCH_SIZE
from localproviders.types.responses import Usage

#: Receives the report so far.
OnProgress = Callable[[BatchReport], object]

# Longest time in seconds between two checks of the run's limits, and shortest time between two
# reports of its progress.
_STEP_S, _PROGRESS_S = 0.5, 0.25
# The run stops after this many consecutive rows whose errors concern all rows.
_MOST_OUTAGES = 100
# With `ordered`, no new rows are sent while too many results are held back for an earlier row. The
# limit is this number, or four times the number of requests in flight, whichever is higher.
_FEWEST_WAITING = 256
# An entry of the queue `_ends` that is no request: it only wakes the loop.
_WOKEN = object()
# While the loop skips rows that cannot be sent, it writes their results after this many.
_MOST_READY = 100


class Plan(NamedTuple):
    """The arguments of a run that its loop needs.

    Attributes:
        rows: Number of rows to handle.
        source_rows: Number of rows of the source, with those of other shards. Rows that are
            appended to the source during the run are left to the next run.
        shard: Number of the shard, counted from 1, and the number of all shards; None is no shard.
        deadline_s: Seconds until the run ends; None is no limit.
        grace_s: Seconds that requests in flight get to finish if the run ends early.
        max_failures: Number of rows that may fail; after one more, the run stops. None is no limit.
        ordered: Whether the results are written in the order of the rows.
        on_progress: Receives the report so far.
        cancel: A token that ends the run.
        skipped: Number of rows that had an answer before this run.
        changed: Number of rows whose content has changed.
        model: Model of the rows that name none; None is the provider's model.
    """

    rows: int
    source_rows: int
    shard: Optional[Sequence[int]]
    deadline_s: Optional[float]
    grace_s: float
    max_failures: Optional[float]
    ordered: bool
    on_progress: Optional[OnProgress]
    cancel: Optional[CancelToken]
    skipped: int
    changed: int
    model: Optional[str] = None


class _Open(NamedTuple):
    """A row without a result.

    Attributes:
        row: The row.
        digest: Digest of its content.
    """

    row: Row
    digest: int


class _Task(NamedTuple):
    """A request in flight.

    Attributes:
        rows: The rows that share the request. Only rows with embeddings share one.
        numbers: The result of `Windows.start` for the request.
        started: The time at which the request was started.
        is_second: Whether this is the second request for the rows.
    """

    rows: Sequence[_Open]
    numbers: Dict[str, int]
    started: float
    is_second: bool


class Coordinator:
    """The loop of one run, and its state.

    Args:
        file: The rows.
        reader: Reads the rows.
        recorder: Writes the results.
        workers: Send the requests.
        windows: Decide how many requests are in flight.
        rate: Limits the requests per second.
        plan: The other arguments.
        clockwork: Measures what the run waits for.
        started: The time at which the run started; None is now.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        file: RowFile,
        reader: RowReader,
        recorder: Recorder,
        workers: Workers,
        windows: Windows,
        rate: Rate,
        plan: Plan,
        clockwork: Clockwork,
        started: Optional[float] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._reader = reader
        self._recorder = recorder
        self._workers = workers
        self._windows = windows
        self._rate = rate
        self._plan = plan
        self._clockwork = clockwork
        self._clock = clock
        self._started = clock() if started is None else started
        self._ends: SimpleQueue[Any] = SimpleQueue()
        self._in_flight: Dict[Any, _Task] = {}
        self._again: Deque[_Task] = deque()
        self._ready: List[Outcome] = []
        self._order = InOrder() if plan.ordered else None
        self._rows = self._open_rows()
        self._next: Optional[_Open] = None
        self._has_more = True
        self._asked = False
        self.stopped: Optional[str] = None
        self._asked_again = self._new_failures = self._outages = self._skipped = 0
        # The model of the run, which was checked at its start, and the models that have answered.
        self._known_models: Set[Optional[str]] = {None, plan.model}
        self._usage = [0, 0]
        self._reported = clock()

    # --- the loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Handle all rows, or stop early.

        Raises:
            BaseException: An interrupt, or an exception of a function of the caller. Before it is
                raised, requests in flight are ended, and the results so far are written.
        """
        if self._plan.cancel is not None:
            self._plan.cancel._subscribe(self._wake)
        try:
            if self._plan.on_progress is not None:
                self._plan.on_progress(self.report())  # the number of rows is known now
            self._loop()
        except BaseException as error:
            # After an interrupt, the requests in flight get time to finish. After an exception of a
            # function of the caller, such as `write` of a sink, they are cancelled immediately,
            # because it may be impossible to write their results.
            self._wind_up(0.0 if isinstance(error, Exception) else self._plan.grace_s)
            raise
        finally:
            if self._plan.cancel is not None:
                self._plan.cancel._unsubscribe(self._wake)

    def _loop(self) -> None:
        while self._check_limits():
            self._fill()
            if not self._in_flight and not self._again and not self._has_more:
                break
            self._collect(self._longest_wait_s())
            self._report_progress()
        if self.stopped is not None:
            self._wind_up(self._plan.grace_s)
        else:
            self._write()

    def _wake(self) -> None:
        self._ends.put(_WOKEN)

    def _check_limits(self) -> bool:
        """Return whether the run goes on."""
        if self.stopped is None and self._plan.cancel is not None and self._plan.cancel.cancelled:
            self.stopped = "cancelled"
        deadline_s = self._plan.deadline_s
        if self.stopped is None and deadline_s is not None:
            self.stopped = "deadline" if self._clock() - self._started >= deadline_s else None
        return self.stopped is None

    def _longest_wait_s(self) -> float:
        waits = [_STEP_S]
        if self._plan.deadline_s is not None:
            waits.append(self._plan.deadline_s - (self._clock() - self._started))
        if self._has_more and len(self._in_flight) < self._windows.size:
            waits.append(self._rate.wait_s)
        return max(0.0, min(waits))

    # --- sending ------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Send requests until as many are in flight as the windows allow."""
        while len(self._in_flight) < self._windows.size and self.stopped is None:
            if self._rate.wait_s > 0 or self._waits_for_order():
                return
            if self._again:
                task = self._again.popleft()
                self._send(task.rows, True)
                continue
            group = self._next_group()
            if not group:
                return
            self._send(group, False)

    def _waits_for_order(self) -> bool:
        if self._order is None:
            return False
        return self._order.waiting >= max(_FEWEST_WAITING, 4 * self._windows.size)

    def _send(self, rows: Sequence[_Open], is_second: bool) -> None:
        jobs = [each.row.job for each in rows if each.row.job is not None]
        task = _Task(rows, self._windows.start(), self._clock(), is_second)
        self._asked = True
        self._rate.start()
        for each in rows:
            self._recorder.begin(each.row.number)
        future = self._workers.submit(jobs)
        self._in_flight[future] = task
        future.add_done_callback(self._ends.put)

    def _next_group(self) -> List[_Open]:
        """Return the next row, or the next rows that share a request; empty if there is none."""
        group: List[_Open] = []
        while True:
            found = self._take_row()
            if found is None:
                return group
            if group and not _can_share(group, found):
                self._next = found
                return group
            group.append(found)
            if found.row.job is None or found.row.job.kind != EMBEDDING:
                return group

    def _take_row(self) -> Optional[_Open]:
        """Return the next row that can be sent; None if there is none.

        Rows that cannot be sent get their results here.
        """
        found, self._next = self._next, None
        while found is None and self._has_more and self.stopped is None:
            found = next(self._rows, None)
            if found is None:
                self._has_more = False
            elif found.row.error is not None:
                self._add_outcome(Outcome(*found, Answer(None, found.row.error)))
                found = None
                if len(self._ready) >= _MOST_READY:
                    self._write()
        return found

    def _open_rows(self) -> Iterator[_Open]:
        """Yield the rows that have no result yet."""
        shard, is_open = self._plan.shard, self._recorder.is_open
        first, step = (0, 1) if shard is None else (shard[0] - 1, shard[1])
        # Only the time to read a row counts as `source`. `timed` does not count the time between
        # two rows, in which this generator and its caller work on a row.
        rows = islice(self._file.raw_rows(), self._plan.source_rows)
        for number, raw in enumerate(self._clockwork.timed(rows, "source")):
            if number % step != first or not is_open(number):
                continue
            row = self._reader.read(number, raw)
            if self._recorder.is_known(row.id):
                self._skipped += 1
                continue
            self._asked_again += self._recorder.was_begun(number)
            if self._order is not None:
                self._order.expect(number)
            yield _Open(row, self._file.digest(raw))

    # --- collecting ---------------------------------------------------------------------------

    def _collect(self, wait_s: float) -> None:
        """Wait for the end of a request, and write the results of all that have ended."""
        self._write()
        try:
            end = self._ends.get_nowait()
        except Empty:
            end = self._wait(wait_s)
        while end is not None:
            if end is not _WOKEN:
                self._take(end)
            end = None if self._ends.empty() else self._ends.get_nowait()
        self._write()

    def _wait(self, wait_s: float) -> Any:
        """Wait until a request ends, and return its future; return None after `wait_s` seconds."""
        with self._clockwork.waiting("server"):
            try:
                return self._ends.get(timeout=wait_s) if wait_s > 0 else None
            except Empty:
                return None

    def _take(self, future: Future[List[Answer]]) -> None:
        """Process the answers of a request that has ended."""
        task = self._in_flight.pop(future, None)
        if task is None:
            return
        answers = future.result()
        self._tell_windows(task, answers)
        again: List[_Open] = []
        for pair, answer in zip(task.rows, answers):
            if isinstance(answer.error, CancelledError) and self._is_dropped:
                continue  # this run has cancelled the request, so the row has no result
            if self._may_repeat(task, answer):
                again.append(pair)
            else:
                self._add_outcome(Outcome(pair.row, pair.digest, answer))
        if again:
            self._asked_again += len(again)
            self._again.append(task._replace(rows=again))

    _is_dropped = False

    def _may_repeat(self, task: _Task, answer: Answer) -> bool:
        """Return whether a row is sent a second time.

        A second request is enough for the rows that were in flight when a server died.
        """
        error = answer.error
        can = error is not None and error.retryable and not task.is_second
        return can and self.stopped is None

    def _tell_windows(self, task: _Task, answers: Sequence[Answer]) -> None:
        first = answers[0]
        # If several hosts were tried, each of them has its own error.
        values = [first.value] if first.error is None else causes_of(first.error)
        tokens = first.usage.completion_tokens or sum(map(_characters, task.rows)) or 1
        elapsed_s = self._clock() - task.started
        for value in values:
            timings = getattr(value, "timings", None)
            first_s = getattr(timings, "first_token_s", None)
            ended = Ended(0, _outcome_of(value), elapsed_s, tokens, first_s)
            self._windows.end(getattr(value, "endpoint", None), task.numbers, ended)

    def _add_outcome(self, outcome: Outcome) -> None:
        usage, error = outcome.answer.usage, outcome.answer.error
        self._usage[0] += usage.prompt_tokens or 0
        self._usage[1] += usage.completion_tokens or 0
        if error is not None:
            self._new_failures += 1
        self._ready.append(self._with_outage(outcome))
        most = self._plan.max_failures
        is_much = most is not None and self._new_failures > most
        if self.stopped is None and (is_much or self._outages >= _MOST_OUTAGES):
            self.stopped = "failures"

    def _with_outage(self, outcome: Outcome) -> Outcome:
        """Count an outage, or the end of one; return the outcome with its `is_outage`."""
        job, error = outcome.row.job, outcome.answer.error
        if job is None:
            return outcome  # nothing was sent, so nothing is known about the server
        model = job.request.model
        if error is None:
            self._known_models.add(model)
        has_known_model = model in self._known_models
        found = error is not None and is_outage(error, has_known_model=has_known_model)
        self._outages = self._outages + 1 if found else 0
        return outcome._replace(is_outage=found)

    def _write(self) -> None:
        """Write the results that are ready."""
        ready, self._ready = self._ready, []
        if self._order is not None:
            ready = self._order.take(ready)
        try:
            if ready:
                self._recorder.add(ready)
            is_full = not self._recorder.tick()
        except OSError as error:
            if not is_full_disk(error):
                raise
            is_full = True
        if is_full:
            self.stopped = "disk"

    # --- the end ------------------------------------------------------------------------------

    def _wind_up(self, grace_s: float) -> None:
        """Wait for the requests in flight, and cancel those that take longer than `grace_s`."""
        self._again.clear()
        end = self._clock() + (0.0 if self.stopped == "disk" else grace_s)
        try:
            while self._in_flight and self._clock() < end:
                self._collect(min(_STEP_S, end - self._clock()))
        finally:
            self._is_dropped = True
            for future in list(self._in_flight):
                future.cancel()
            self._workers.drop()
        self._write()

    def _report_progress(self) -> None:
        if self._plan.on_progress is None:
            return
        if self._clock() - self._reported >= _PROGRESS_S:
            self._reported = self._clock()
            self._plan.on_progress(self.report())

    def report(self) -> BatchReport:
        """Return the report so far."""
        counts = self._recorder.counts
        prompt, completion = self._usage
        return BatchReport(
            rows=self._plan.rows,
            succeeded=counts.succeeded,
            failed=counts.failed,
            skipped=self._plan.skipped + self._skipped,
            asked_again=self._asked_again,
            changed=self._plan.changed,
            elapsed_s=self._clock() - self._started,
            usage=Usage(prompt_tokens=prompt or None, completion_tokens=completion or None),
            bound_by=self._clockwork.bound_by if self._asked else None,
            stopped=self.stopped,
        )


def _outcome_of(value: Any) -> str:
    """Return the outcome of a request, from its response or its error."""
    if isinstance(value, (ServerBusyError, LimitError)):
        return BUSY
    if isinstance(value, TransportError):
        return LOST
    return OTHER if isinstance(value, ProviderError) else DELIVERED


def _characters(found: _Open) -> int:
    """Return the number of characters to embed in a row; 0 for rows of other kinds."""
    job = found.row.job
    return 0 if job is None or job.kind != EMBEDDING else sum(map(len, job.request.texts))


def _can_share(group: Sequence[_Open], found: _Open) -> bool:
    """Return whether a row can share the request of the rows in a group."""
    first, job = group[0].row.job, found.row.job
    if first is None or job is None or not first.kind == job.kind == EMBEDDING:
        return False
    texts = sum(len(each.row.job.request.texts) for each in (*group, found) if each.row.job)
    if texts > BATCH_SIZE or sum(map(_characters, (*group, found))) > BATCH_CHARACTERS:
        return False
    return bool(job.request.replace(texts=first.request.texts) == first.request)
