"""`BatchReport`: the counts, tokens and times of a run."""

from __future__ import annotations

from typing import Optional

from localproviders._record import Line, field, loads, record
from localproviders.types.responses import Usage

# Exit codes of the command.
_SOME_FAILED, _STOPPED, _DISK = 12, 13, 74


@record
class BatchReport(Line):
    """The counts, tokens and times of a batch run. The `str` of a report is one line.

    Attributes:
        rows: Number of rows that the run has to handle. With a shard, only its rows count.
        succeeded: Number of rows that have an answer now, including those of `skipped`.
        failed: Number of rows whose last result is an error.
        skipped: Number of rows that had an answer before this run.
        asked_again: How often rows were sent again, because an earlier run ended before the row had
            a result, or because an earlier request for the row failed.
        changed: Number of rows whose content has changed since their last result. They are sent
            again.
        elapsed_s: Seconds from the start of the run.
        usage: Tokens that the servers reported during this run. In a report of `status` or `merge`,
            the tokens of all runs with this output.
        bound_by: The activity that took most of the run's time: ``server`` (waiting for responses),
            ``source`` (reading the rows) or ``preparation`` (work of this process, such as making
            requests and writing results). None if no request was sent.
        stopped: The reason why the run ended early: ``deadline``, ``failures``, ``cancelled`` or
            ``disk``. None if it did not end early; in a report of `status`, also None if the run
            was killed or is still running.
    """

    rows: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    asked_again: int = 0
    changed: int = 0
    elapsed_s: float = 0.0
    usage: Usage = field(default_factory=Usage, metadata=loads(Usage.from_dict))
    bound_by: Optional[str] = None
    stopped: Optional[str] = None

    @property
    def exit_code(self) -> int:
        """Exit code of the command.

        It is 0 if all rows have an answer, 12 if rows failed, 13 if rows have no result yet, and 74
        if the disk is full.
        """
        if self.stopped == "disk":
            return _DISK
        if self.stopped is not None or self.succeeded + self.failed < self.rows:
            return _STOPPED
        return _SOME_FAILED if self.failed else 0

    def __str__(self) -> str:
        facts = [
            f"{self.succeeded:,} of {self.rows:,} rows succeeded",
            self.failed and f"{self.failed:,} failed",
            self.skipped and f"{self.skipped:,} were done before",
            self.asked_again and f"{self.asked_again:,} were asked again",
            self.changed and f"{self.changed:,} had changed",
            self.elapsed_s and f"{self.elapsed_s:.1f} s",
            self.bound_by and f"bound by the {self.bound_by}",
            self.stopped and f"stopped: {self.stopped}",
        ]
        return ", ".join(str(fact) for fact in facts if fact)
