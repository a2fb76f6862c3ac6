"""Faults of decision responses: wrong probabilities, and answers in another form."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.faults.fault import Fault, changing
from localproviders.testing.scripted import Step

_SYSTEM_ONE = ("systemone",)
_OPENAI = ("decisions",)
_BOTH = (*_SYSTEM_ONE, *_OPENAI)

Steps = Callable[[Answer], Iterable[Step]]


def _change_answers(change: Callable[[Any], Any]) -> Steps:
    """Change all answers together: an object by id in System One, a list in OpenAI's dialect."""
    return changing(lambda record: {**record, "answers": change(record["answers"])})


def _change_each(change: Callable[[Dict[str, Any]], Any]) -> Steps:
    """Change every single answer, in both dialects."""

    def change_answers(answers: Any) -> Any:
        if isinstance(answers, dict):
            return {id_: change(answer) for id_, answer in answers.items()}
        return [change(answer) for answer in answers]

    return _change_answers(change_answers)


def _change_numbers(change: Callable[[float], Any]) -> Steps:
    """Change every probability, including those in answers to questions about yes or no."""

    def change_answer(answer: Dict[str, Any]) -> Dict[str, Any]:
        names = ("noul", "probability")
        alone: Dict[str, Any] = {n: change(answer[n]) for n in names if n in answer}
        return {**_with_numbers(answer, change), **alone}

    return _change_each(change_answer)


def _with_numbers(answer: Dict[str, Any], change: Callable[[float], Any]) -> Dict[str, Any]:
    """Return an answer in which the probabilities of its options, if it has any, are changed."""
    rows = answer.get("probabilities")
    if rows is None:
        return answer
    made: Any = (
        {name: change(p) for name, p in rows.items()}
        if isinstance(rows, dict)
        else [{**row, "probability": change(row["probability"])} for row in rows]
    )
    return {**answer, "probabilities": made}


def _halved(answer: Dict[str, Any]) -> Dict[str, Any]:
    return _with_numbers(answer, lambda p: p / 2)


def _change_options(change: Callable[[Any], Any]) -> Steps:
    """Change the list of options and probabilities in each answer that has such a list."""

    def change_answer(answer: Dict[str, Any]) -> Dict[str, Any]:
        rows = answer.get("probabilities")
        if rows is None:
            return answer
        made = change(list(rows.items()) if isinstance(rows, dict) else rows)
        return {**answer, "probabilities": dict(made) if isinstance(rows, dict) else made}

    return _change_each(change_answer)


def _rename_option(row: Any) -> Any:
    return ("another", row[1]) if isinstance(row, tuple) else {**row, "value": "another"}


def _turned(rows: Any) -> Any:
    """Return an object as a list, and a list as an object."""
    if isinstance(rows, dict):
        return list(rows.values())
    return {str(at): row for at, row in enumerate(rows)}


def _turn_probabilities(answer: Dict[str, Any]) -> Dict[str, Any]:
    rows = answer.get("probabilities")
    return answer if rows is None else {**answer, "probabilities": _turned(rows)}


def _rename_all(answers: Any) -> Any:
    if isinstance(answers, dict):
        return {f"{id_} 2": answer for id_, answer in answers.items()}
    return [{**answer, "name": f"{answer['name']} 2"} for answer in answers]


def _without_first(answers: Any) -> Any:
    rows = list(answers.items()) if isinstance(answers, dict) else answers
    return dict(rows[1:]) if isinstance(answers, dict) else rows[1:]


def _legend_as_list(answer: Dict[str, Any]) -> Dict[str, Any]:
    legend = answer.get("legend")
    return answer if legend is None else {**answer, "legend": list(legend.values())}


def _refused(answers: Any) -> Any:
    """Refuse the first question, as OpenAI's models may, and answer the others."""
    return [{"type": "refusal", "name": answers[0]["name"]}, *answers[1:]]


DECISION_FAULTS: Tuple[Fault, ...] = (
    Fault("probabilities with a wrong sum", _change_each(_halved), _BOTH),
    Fault("a probability above one", _change_numbers(lambda p: p + 1.0), _BOTH),
    Fault("a missing option", _change_options(lambda rows: rows[1:]), _BOTH),
    Fault(
        "another option", _change_options(lambda rows: [_rename_option(rows[0]), *rows[1:]]), _BOTH
    ),
    Fault("no options", _change_options(lambda rows: []), _BOTH),
    Fault("probabilities that are not numbers", _change_numbers(lambda _: float("nan")), _BOTH),
    Fault("an infinite probability", _change_numbers(lambda _: float("inf")), _BOTH),
    Fault("a negative probability", _change_numbers(lambda p: -p - 0.25), _BOTH),
    Fault("probabilities as text", _change_numbers(lambda _: "likely"), _BOTH),
    Fault("null for the probabilities", _change_numbers(lambda _: None), _BOTH),
    Fault("probabilities in the other form", _change_each(_turn_probabilities), _BOTH),
    Fault("answers to other questions", _change_answers(_rename_all), _BOTH),
    Fault("a missing answer", _change_answers(_without_first), _BOTH),
    Fault("answers in the other form", _change_answers(_turned), _BOTH),
    Fault("null for the answers", _change_answers(lambda _: None), _BOTH),
    Fault("texts for the answers", _change_each(lambda _: "yes"), _BOTH),
    Fault("decisions of another model", changing(lambda r: {**r, "model": "another"}), _BOTH),
    Fault("a legend as a list", _change_each(_legend_as_list), _SYSTEM_ONE),
    Fault("a refused question", _change_answers(_refused), _OPENAI),
)
