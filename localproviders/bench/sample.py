"""The figures of single requests, and their collection over the rounds."""

from __future__ import annotations

from statistics import median
from typing import Dict, List, NamedTuple, Optional, Sequence

from localproviders._redact import shortened
from localproviders.bench.results import Cell, Figure
from localproviders.errors import ProviderError
from localproviders.types.responses import CompletionResponse

_NO_COUNTS = "the server sent no token counts, so there are no speeds"
_NO_TEXT = "an answer had no text, so its time to the first token is missing"
_ENDED_EARLY = "the model ended an answer early, so the speed of the answers is less certain"
_CACHED = (
    "the server had a part of the prompts in its cache: the beginning that all of them share;"
    " the speed of the prompt does not count this part, but the time to the first token is shorter"
)
_SENT_AGAIN = (
    "a request was sent again, because the server was busy or had closed a connection; the times"
    " include this"
)
# An answer with fewer tokens than this share of the planned ones has ended early.
_SHORT = 0.5
# A note mentions the cached part of a prompt if it is more than this share of the prompt.
_CACHED_SHARE = 0.1
# After this number of failed rounds in a row, a cell is not tried again.
_MOST_FAILURES = 2
_LONGEST_NOTE = 200


class Timed(NamedTuple):
    """A response, and the times of its request on a monotonic clock, in seconds."""

    response: CompletionResponse
    started: float
    ended: float


class Sample(NamedTuple):
    """The figures of one round.

    Attributes:
        figures: The figures by the names in `METRICS`.
        prompt_tokens: Median number of tokens of the prompts, by the server's count, or None.
        completion_tokens: Median number of tokens of the answers, by the server's count, or None.
        cached_tokens: Highest number of cached tokens of a prompt, or None.
        clock: ``server`` or ``client``, as in `Cell`; None if there are no speeds.
        notes: Remarks about this round.
    """

    figures: Dict[str, float]
    prompt_tokens: Optional[int] = None
    completion_tokens: Optional[int] = None
    cached_tokens: Optional[int] = None
    clock: Optional[str] = None
    notes: Sequence[str] = ()


def sample_of(timed: Sequence[Timed], max_tokens: int, *, is_group: bool = False) -> Sample:
    """Return the figures of one round.

    Args:
        timed: The responses of the round. Each figure is the median over the responses that have
            this figure.
        max_tokens: The requested maximum number of tokens of an answer.
        is_group: Whether the requests ran at the same time. ``total_tokens_per_s`` is then the
            number of tokens of all answers, divided by the time from the start of the first request
            to the end of the last one.
    """
    responses = [each.response for each in timed]
    single = [_figures(response) for response in responses]
    names = dict.fromkeys(name for each in single for name in each)
    figures = {name: median(each[name] for each in single if name in each) for name in names}
    answers = _counts(response.usage.completion_tokens for response in responses)
    if is_group:
        # While one request of a group reads its prompt, others write their answers on the same
        # machine, so this speed says little.
        figures.pop("prompt_tokens_per_s", None)
    if is_group and answers is not None:
        elapsed_s = max(each.ended for each in timed) - min(each.started for each in timed)
        if elapsed_s > 0:
            figures["total_tokens_per_s"] = sum(answers) / elapsed_s
    return Sample(
        figures=figures,
        prompt_tokens=_middle(_counts(r.usage.prompt_tokens for r in responses)),
        completion_tokens=_middle(answers),
        cached_tokens=max(_counts(r.usage.cached_tokens for r in responses) or [0]) or None,
        clock=_clock(responses, figures),
        notes=_remarks(responses, max_tokens),
    )


def _figures(response: CompletionResponse) -> Dict[str, float]:
    """Return the figures of one response that can be computed from the server's numbers."""
    usage, ours, theirs = response.usage, response.timings, response.server_timings
    figures = {}
    first_s = ours.first_token_s
    if first_s is not None:
        figures["first_token_s"] = first_s
    prompt_s = theirs.prompt_s or first_s
    read = (usage.prompt_tokens or 0) - (usage.cached_tokens or 0)
    if prompt_s and read > 0:
        figures["prompt_tokens_per_s"] = read / prompt_s
    written = usage.completion_tokens or 0
    if theirs.generation_s and written > 1:
        figures["generation_tokens_per_s"] = written / theirs.generation_s
    elif first_s is not None and ours.total_s is not None and written > 1:
        # The time begins with the first token, so this token is not counted.
        since_first_s = ours.total_s - first_s
        if since_first_s > 0:
            figures["generation_tokens_per_s"] = (written - 1) / since_first_s
    return figures


def _clock(responses: Sequence[CompletionResponse], figures: Dict[str, float]) -> Optional[str]:
    if not any(name.endswith("tokens_per_s") for name in figures):
        return None
    theirs = [response.server_timings for response in responses]
    return "server" if all(t.prompt_s and t.generation_s for t in theirs) else "client"


def _counts(counts: object) -> Optional[List[int]]:
    """Return all counts, or None if one of them is missing."""
    found = list(counts)  # type: ignore[call-overload]  # it is a generator of numbers
    return None if None in found else found


def _middle(counts: Optional[List[int]]) -> Optional[int]:
    return None if counts is None else round(median(counts))


def _remarks(responses: Sequence[CompletionResponse], max_tokens: int) -> List[str]:
    remarks = []
    usages = [response.usage for response in responses]
    if any(response.timings.first_token_s is None for response in responses):
        remarks.append(_NO_TEXT)
    if any(response.attempts > 1 for response in responses):
        remarks.append(_SENT_AGAIN)
    answers = [usage.completion_tokens for usage in usages]
    if None in answers:
        remarks.append(_NO_COUNTS)
    elif any((count or 0) < max_tokens * _SHORT for count in answers):
        remarks.append(_ENDED_EARLY)
    for usage in usages:
        if (usage.cached_tokens or 0) > (usage.prompt_tokens or 0) * _CACHED_SHARE:
            remarks.append(_CACHED)
    return remarks


class Collector:
    """The samples and the failures of one cell.

    Args:
        kind: Kind of the cell.
        size: Size of the cell.
        rounds: Number of planned rounds.
    """

    def __init__(self, kind: str, size: int, rounds: int) -> None:
        self.kind: str = kind
        self.size: int = size
        self._rounds = rounds
        self._samples: List[Sample] = []
        self._failures: List[ProviderError] = []
        self._in_a_row = 0
        self._notes: List[str] = []
        self._is_closed = False

    @property
    def is_open(self) -> bool:
        """Whether further rounds make sense."""
        return not self._is_closed and self._in_a_row < _MOST_FAILURES

    @property
    def first_error(self) -> Optional[ProviderError]:
        """The error of the first failed round, or None."""
        return self._failures[0] if self._failures else None

    def add(self, sample: Sample) -> None:
        """Add the figures of one round."""
        self._samples.append(sample)
        self._in_a_row = 0

    def fail(self, error: ProviderError) -> None:
        """Add the error of a round. If the error is not retryable, no further rounds are made."""
        self._failures.append(error)
        self._in_a_row += 1
        self._is_closed = not error.retryable

    def skip(self, why: str) -> None:
        """Make no further rounds, for this reason."""
        self._notes.append(why)
        self._is_closed = True

    def end(self, why: str) -> None:
        """Note the reason if rounds are missing because the measurement has ended."""
        if self.is_open and len(self._samples) < self._rounds:
            done = len(self._samples)
            self._notes.append(f"{done} of {self._rounds} rounds: {why}" if done else why)

    def cell(self) -> Cell:
        """Return the cell with the figures of all rounds."""
        samples = self._samples
        names = [name for each in samples for name in each.figures]
        figures = {
            name: Figure(values=tuple(s.figures[name] for s in samples if name in s.figures))
            for name in dict.fromkeys(names)
        }
        remarks = [remark for each in samples for remark in each.notes]
        clocks = {each.clock for each in samples} - {None}
        return Cell(
            kind=self.kind,
            size=self.size,
            figures=figures,
            prompt_tokens=_middle(_known(each.prompt_tokens for each in samples)),
            completion_tokens=_middle(_known(each.completion_tokens for each in samples)),
            cached_tokens=max(_known(each.cached_tokens for each in samples) or [0]) or None,
            clock="client" if "client" in clocks else next(iter(clocks), None),
            notes=tuple(dict.fromkeys([*self._failure_notes(), *self._notes, *remarks])),
        )

    def _failure_notes(self) -> List[str]:
        if not self._failures:
            return []
        note = shortened(self._failures[0].message, _LONGEST_NOTE)
        if self._samples:
            tried = len(self._samples) + len(self._failures)
            return [f"{len(self._failures)} of {tried} rounds failed: {note}"]
        return [note]


def _known(counts: object) -> Optional[List[int]]:
    found = [count for count in counts if count is not None]  # type: ignore[attr-defined]  # it is a generator of numbers
    return found or None
