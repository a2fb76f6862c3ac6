"""Judge the results of a case, which is a call of one client with one fault of the server."""

from __future__ import annotations

import math
import re
from typing import Any, Mapping, NamedTuple, Optional

from localproviders import CompletionResponse
from tests.promises.faults.expected import EXPECTED, outcome_of

from .cases import Case, CaseResult

_SURROGATES = re.compile("[\ud800-\udfff]")

#: The mistakes that a client can make.
WRONG = "a wrong or incomplete answer that looks complete"
NO_ERROR = "the right answer instead of the expected error"
NO_ANSWER = "an exception instead of the expected answer"
LEAKED = "a proxy was contacted, or credentials were sent"


class Verdict(NamedTuple):
    """The judgement of a case. None means that a question does not apply.

    Attributes:
        in_time: Whether the call ended in time.
        mistake: The mistake that the client made; empty if there was none.
        correct: Whether the call ended as expected, with an error or with the right answer.
        typed: Whether the client documents the exception.
        text_kept: Whether the exception contains the text that had arrived before it.
        next_works: Whether the next call returned the right answer.
    """

    in_time: bool
    mistake: str = ""
    correct: Optional[bool] = None
    typed: Optional[bool] = None
    text_kept: Optional[bool] = None
    next_works: Optional[bool] = None


def judge(case: Case, case_result: CaseResult, good: Mapping[str, Any]) -> Verdict:
    """Return the judgement of a case, given the right answer for each form of a call."""
    result = case_result.call
    if result.hung:
        return Verdict(in_time=False)
    mistake = _mistake(case, case_result, good)
    has_text = case.form == "complete" and bool(result.error) and _text_arrived(case)
    next_call = case_result.next_call
    return Verdict(
        in_time=True,
        mistake=mistake,
        correct=not mistake,
        typed=result.typed if result.error else None,
        text_kept=result.text_kept if has_text else None,
        next_works=None
        if next_call is None
        else is_same(next_call.answer, good[case.form], case.form),
    )


def _text_arrived(case: Case) -> bool:
    outcomes = EXPECTED.get(case.row.replace("TLS: ", ""))
    return outcomes is not None and bool(outcome_of(outcomes, "openai", "complete").partial)


def _mistake(case: Case, case_result: CaseResult, good: Mapping[str, Any]) -> str:
    result, outcome = case_result.call, case.outcome
    if case_result.leaked:
        return LEAKED
    right = not result.error and _right(case, result.answer, good[case.form])
    if outcome.error is not None:
        return "" if result.error else NO_ERROR if right else WRONG
    if result.error:
        return NO_ANSWER
    return "" if right else WRONG


def _right(case: Case, answer: Any, good: Any) -> bool:
    check = case.outcome.check
    if case.row == "vectors in another order":
        good = good[::-1]  # the indexes decide the order
    if check is None or case.outcome.error is not None or case.form == "embed":
        return is_same(answer, good, case.form)
    if case.form in ("complete", "stream"):
        text = _SURROGATES.sub("\ufffd", str(answer))
        return bool(check(CompletionResponse(text=text, model="chat-model", provider="")))
    return bool(check(answer))


def is_same(answer: Any, good: Any, form: str) -> bool:
    """Return whether an answer is the right one: the same text, names or vectors."""
    if form == "list":
        named = isinstance(answer, list) and all(isinstance(name, str) for name in answer)
        return named and [name.partition(":")[0] for name in answer] == good
    if form != "embed":
        return bool(answer == good)
    return (
        isinstance(answer, list) and len(answer) == len(good) and all(map(_is_close, answer, good))
    )


def _is_close(vector: Any, good: Any) -> bool:
    if not isinstance(vector, list) or len(vector) != len(good):
        return False
    return all(
        isinstance(a, (int, float)) and math.isclose(a, b, abs_tol=1e-6)
        for a, b in zip(vector, good)
    )
