"""What is to be said of a case, from outside."""

from __future__ import annotations

import math
import re
from typing import Any, Mapping, NamedTuple, Optional

from localproviders import CompletionResponse
from tests.faults.expected import EXPECTED, outcome_of

from .cases import Case, Seen

_SURROGATES = re.compile("[\ud800-\udfff]")

#: How truth is missed.
WRONG = "another answer, as if it were whole"
RIGHT = "the right answer, where an error was expected"
GAVE_UP = "an exception, where the answer was expected"
LEAKED = "a proxy was asked, or a credential sent"


class Verdict(NamedTuple):
    """What is said of a case; None is: does not apply.

    Attributes:
        in_time: It ended.
        missed: How truth was missed; empty if it was not.
        in_truth: An error where one was expected, the answer where one was.
        typed: What was raised is documented.
        text_kept: The text that had come is in the exception.
        next_works: The next call gave its good answer.
    """

    in_time: bool
    missed: str = ""
    in_truth: Optional[bool] = None
    typed: Optional[bool] = None
    text_kept: Optional[bool] = None
    next_works: Optional[bool] = None


def judge(case: Case, seen: Seen, good: Mapping[str, Any]) -> Verdict:
    """Judge a case."""
    came = seen.came
    if came.hung:
        return Verdict(in_time=False)
    missed = _missed(case, seen, good)
    began = case.form == "complete" and bool(came.error) and _text_had_come(case)
    after = seen.after
    return Verdict(
        in_time=True,
        missed=missed,
        in_truth=not missed,
        typed=came.typed if came.error else None,
        text_kept=came.kept if began else None,
        next_works=None if after is None else same(after.answer, good[case.form], case.form),
    )


def _text_had_come(case: Case) -> bool:
    outcomes = EXPECTED.get(case.row.replace("TLS: ", ""))
    return outcomes is not None and bool(outcome_of(outcomes, "openai", "complete").partial)


def _missed(case: Case, seen: Seen, good: Mapping[str, Any]) -> str:
    came, outcome = seen.came, case.outcome
    if seen.leaked:
        return LEAKED
    right = not came.error and _right(case, came.answer, good[case.form])
    if outcome.error is not None:
        return "" if came.error else RIGHT if right else WRONG
    if came.error:
        return GAVE_UP
    return "" if right else WRONG


def _right(case: Case, answer: Any, good: Any) -> bool:
    check = case.outcome.check
    if case.row == "vectors in another order":
        good = good[::-1]  # the indexes count, not the places
    if check is None or case.outcome.error is not None or case.form == "embed":
        return same(answer, good, case.form)
    if case.form in ("complete", "stream"):
        text = _SURROGATES.sub("\ufffd", str(answer))
        return bool(check(CompletionResponse(text=text, model="chat-model", provider="")))
    return bool(check(answer))


def same(answer: Any, good: Any, form: str) -> bool:
    """Whether an answer is the good one: the same text, names, or vectors."""
    if form == "list":
        named = isinstance(answer, list) and all(isinstance(name, str) for name in answer)
        return named and [name.partition(":")[0] for name in answer] == good
    if form != "embed":
        return bool(answer == good)
    return isinstance(answer, list) and len(answer) == len(good) and all(map(_near, answer, good))


def _near(vector: Any, good: Any) -> bool:
    if not isinstance(vector, list) or len(vector) != len(good):
        return False
    return all(
        isinstance(a, (int, float)) and math.isclose(a, b, abs_tol=1e-6)
        for a, b in zip(vector, good)
    )
