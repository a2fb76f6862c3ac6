"""Labels for the answers to a question, such as A, B or C, and prompts that ask for a label.

A label is one token. So the probabilities of the first token of the model's answer show how
probable each possible answer is.
"""

from __future__ import annotations

from itertools import product
from string import ascii_lowercase, ascii_uppercase, digits
from typing import (
    Any,
    Callable,
    Container,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from localproviders._http.transport import write_json
from localproviders.types.questions import Choice, Question, Score, State, YesNo

#: Beginning of the model's answer, for servers that let the model continue the last message. After
#: this text, the likeliest tokens are labels, even for models that would otherwise write a
#: sentence.
CUE = "Answer: ("


class LabelTokens(NamedTuple):
    """The tokens of labels on a server that can restrict an answer to some tokens.

    Attributes:
        ids: The ids of the tokens by label. Only labels that are single tokens have an entry. The
            first id is that of the label. There is a second id if the label with a blank before it
            is also a single token.
        restrict: Returns request fields that allow only the tokens with the given ids, and that
            keep the ratios of their probabilities.
        forget: Drops the cached tokens. It is called if the server has loaded another model.
    """

    ids: Mapping[str, Tuple[int, ...]]
    restrict: Callable[[Iterable[int]], Mapping[str, Any]]
    forget: Callable[[], None]


# Highest number of answers for which the labels are single letters.
_MOST_LETTERS = 2 * len(ascii_uppercase)


def candidates_for(question: Question) -> List[str]:
    """Return the labels that a question can have, the best first.

    All labels of a question have the same length, so no label is the beginning of another label.
    """
    count = len(question.answers)
    if isinstance(question, Score) and count <= len(digits):
        return list(digits)
    if count <= _MOST_LETTERS:
        return [*ascii_uppercase, *ascii_lowercase]
    return ["".join(pair) for pair in product(ascii_uppercase, repeat=2)]


def tokens_to_find(question: Question) -> List[str]:
    """Return the labels whose tokens are needed for this question and for similar questions."""
    found = candidates_for(question)
    return [*digits, *ascii_uppercase, *ascii_lowercase] if len(found[0]) == 1 else found


def choose_labels(
    question: Question, tokens: Optional[Container[str]] = None
) -> Optional[Tuple[str, ...]]:
    """Return a label for each answer of a question; None if there are too few labels.

    Args:
        question: The question.
        tokens: The candidates that are single tokens of the model. None if these are not known;
            single digits and letters are then used, which are tokens of nearly all models.
    """
    found = candidates_for(question)
    if tokens is None:
        found = [label for label in found if len(label) == 1]
    else:
        found = [label for label in found if label in tokens]
    count = len(question.answers)
    return tuple(found[:count]) if count <= len(found) else None


def label_prompt(
    state: State, question: Question, labels: Sequence[str], *, has_cue: bool = False
) -> str:
    """Return the prompt that asks for the label of an answer.

    The state is the text or the data that the question is about. It comes before the question. So
    for several questions about one state, a server that keeps the beginning of earlier prompts
    reads the state only once.

    Args:
        state: The state. A mapping is written as compact JSON.
        question: The question.
        labels: The labels of its answers, from `choose_labels`.
        has_cue: Whether the answer begins with `CUE`. If so, the prompt shows the labels in
            brackets. If not, it shows them without brackets, because the model would otherwise
            begin its answer with a bracket.

    Raises:
        ConfigurationError: JSON cannot express a value of the state.
    """
    text = state if isinstance(state, str) else write_json(state, tight=True)
    mark = "({}) {}" if has_cue else "{}. {}"
    lines = [
        "Read the text, then answer the question about it.",
        f"\nText:\n{text}",
        f"\nQuestion: {question.question}",
        *(mark.format(label, answer) for label, answer in zip(labels, _described(question))),
        f"\nAnswer with one label only: {_listed(labels)}.",
    ]
    return "\n".join(lines)


def _described(question: Question) -> Iterable[str]:
    """Yield the text of each answer, with its description if it has one."""
    descriptions: Sequence[Optional[str]] = ()
    if isinstance(question, YesNo):
        descriptions = (question.yes, question.no)
    elif isinstance(question, Choice):
        descriptions = tuple(question.options.values())
    for index, answer in enumerate(question.answers):
        description = descriptions[index] if descriptions else None
        yield answer if description is None else f"{answer}: {description}"


def _listed(labels: Sequence[str]) -> str:
    """Return the labels as an enumeration; of more than five, only the first two and the last."""
    if len(labels) > 5:
        return f"{labels[0]}, {labels[1]}, ... or {labels[-1]}"
    return f"{', '.join(labels[:-1])} or {labels[-1]}"
