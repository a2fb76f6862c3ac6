"""Probabilities of the answers to a question, from a model's probabilities of the next token.

Each possible answer has a label, such as A or B, and the model is asked to write one label.
"""

from __future__ import annotations

from math import exp
from typing import Dict, List, NamedTuple, Sequence, Tuple

from localproviders.errors import ProtocolError
from localproviders.types.responses import TokenLogprob

# Number of likely tokens that are kept for the error about a small mass (see `Reading`).
_LIKELIEST = 3

# Characters that models write around a label in the same token: blanks, quotes, brackets,
# punctuation, and the marks of emphasis. The last three characters mean blanks and a line break in
# the vocabularies of models; some servers do not decode them.
_AROUND = " \t\r\n\"'`*_()[]{}<>.,:;" + "\u2581\u0120\u010a"

# Servers compute with 32-bit numbers, so the sum of their probabilities can be wrong by roughly
# this much.
_ROUNDING = 1e-6

# Because of rounding, a log-probability can be slightly above 0, but never above this limit.
_MOST_LOGPROB = 0.01


class Reading(NamedTuple):
    """The probabilities of the labels of one question, from a list of tokens.

    The list has the first token of the model's answer, and its alternatives.

    Attributes:
        probabilities: The probability of each label, in the order of the labels, scaled so that
            the sum is 1. If the list has no label with a probability above zero, all values are
            zero.
        mass: Sum of the probabilities of all tokens in the list that are labels.
        missing: Indexes of the labels that are not in the list.
        uncertainty: The most by which the sum of the missing labels' values in `probabilities` can
            be wrong. This sum is an upper limit, because each missing label gets the highest
            probability that it can have.
        likeliest: The likeliest tokens of the list.
    """

    probabilities: Tuple[float, ...]
    mass: float
    missing: Tuple[int, ...]
    uncertainty: float
    likeliest: Tuple[TokenLogprob, ...]


def label_of(token: str) -> str:
    """Return a token without the blanks, quotes and brackets around it.

    Models have several tokens for a label, such as ``A`` and the same letter after a blank.
    """
    return token.strip(_AROUND)


def read_labels(tokens: Sequence[TokenLogprob], labels: Sequence[str]) -> Reading:
    """Read the probabilities of labels from the first token of an answer and its alternatives.

    A label that is not among these tokens is not impossible. It is at most as likely as the least
    likely of these tokens. All missing labels together have at most the probability that these
    tokens leave: 1 minus the sum of their probabilities.

    Args:
        tokens: The log-probabilities of the answer's tokens, with their alternatives.
        labels: The labels.

    Raises:
        ProtocolError: There is no log-probability, or an impossible one.
    """
    shown = _shown(tokens)
    weights = [exp(min(token.logprob, 0.0)) for token in shown]
    found: Dict[str, float] = {}
    for token, weight in zip(shown, weights):
        label = label_of(token.token)
        found[label] = found.get(label, 0.0) + weight
    missing = tuple(index for index, label in enumerate(labels) if label not in found)
    rest = max(0.0, 1.0 - sum(weights)) + _ROUNDING
    # The bound is made a little smaller, so that a missing label is never the likeliest one, not
    # even in a tie.
    bound = min(min(weights), rest / len(missing)) * (1 - 1e-9) if missing else 0.0
    mass = sum(found.get(label, 0.0) for label in labels)
    total = mass + bound * len(missing)
    shares = [found.get(label, bound) / total if mass else 0.0 for label in labels]
    return Reading(
        probabilities=tuple(shares),
        mass=min(mass, 1.0),
        missing=missing,
        uncertainty=bound * len(missing) / total if mass else 1.0,
        likeliest=tuple(
            token.replace(top=()) if token.top else token for token in shown[:_LIKELIEST]
        ),
    )


def _shown(tokens: Sequence[TokenLogprob]) -> List[TokenLogprob]:
    """Return the first token and its alternatives, the likeliest first.

    If the token itself is missing from its list of alternatives, it is added.
    """
    if not tokens:
        raise ProtocolError("the answer has no log-probabilities")
    first = tokens[0]
    shown = [*first.top]
    if all(other.token != first.token for other in shown):
        shown.append(first)
    if not all(token.logprob <= _MOST_LOGPROB for token in shown):  # also true for NaN
        raise ProtocolError("the answer has a log-probability that is not a number up to 0")
    shown.sort(key=lambda token: -token.logprob)
    return shown
