"""`BatchReport`: the numbers of a run."""

from __future__ import annotations

from typing import Optional

from localproviders._record import Line, field, loads, record
from localproviders.types.responses import Usage

# Exit codes of the command.
_SOME_FAILED, _STOPPED, _DISK = 12, 13, 74


@record
class BatchReport(Line):
    """The numbers of a batch run. Its `str` is one line.

    Attributes:
        rows: Number of rows that the run has to handle. With a shard, only its rows count.
        succeeded: Rows that have an answer now, including those of `skipped`.
        failed: Rows whose last result is an error.
        skipped: Rows that had an answer before this run.
        asked_again: Rows that were asked before without an answer that counts: a kill or an error
            came in between, or the first request of this run failed and was repeated.
        changed: Rows whose content had changed since their last result. They are asked again.
        elapsed_s: Seconds from the start of the run.
        usage: Tokens that the servers reported during this run. From `status`, `merge` and `read`,
            the tokens of all runs with this output.
        bound_by: The part that the run waited for most of the time: ``server``, ``source`` (reading
            the rows) or ``preparation`` (work of this process, such as making requests and writing
            results). None if no request was sent.
        stopped: The reason why the run ended before all rows had a result: ``deadline``,
            ``failures``, ``cancelled`` or ``disk``; None if all rows have one.
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
