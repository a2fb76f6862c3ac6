"""Decision requests in all dialects: routes, limits, and checks of probabilities.

A decision request asks a model questions with fixed possible answers. The response has the
probability of each answer. This module does no I/O.
"""

from __future__ import annotations

from math import isfinite
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from localproviders._decision_verbs import DecisionRequest
from localproviders._dialect.common import unexpected
from localproviders._dialect.values import count, index_of, mapping, mappings, nonempty_text, number
from localproviders._record import FrozenDict
from localproviders.errors import CapabilityError, ProtocolError
from localproviders.types.decisions import Decision
from localproviders.types.questions import (
    NO,
    YES,
    Choice,
    DecisionMethod,
    NamedQuestions,
    Question,
    YesNo,
)
from localproviders.types.responses import ServerTimings, TokenLogprob, Usage

# The sum of probabilities may differ from 1, because some servers round to two decimals. The
# largest accepted difference is the first number, or the number of answers times the second number,
# whichever is larger.
_TOLERANCE, _TOLERANCE_EACH = 0.02, 0.005
# If the sum of the probabilities differs from 1 by no more than this, they are not scaled.
_EXACT = 1e-9
# Rounding to two decimals can make nearly equal probabilities differ by about this much.
_ROUNDING = 0.011


class RouteLimits(NamedTuple):
    """The limits of one request on a route. None means that there is no limit.

    Attributes:
        questions: Highest number of questions.
        options: Highest number of options of a `Choice`.
        levels: Highest number of levels of a `Score`.
        images: Highest number of images; 0 if the route accepts none.
    """

    questions: Optional[int] = None
    options: Optional[int] = None
    levels: Optional[int] = None
    images: Optional[int] = None


class Decided(NamedTuple):
    """The content of a response with decisions; the fields are those of `Decisions`."""

    answers: Mapping[str, Decision]
    model: Optional[str] = None
    usage: Usage = Usage()
    server_timings: ServerTimings = ServerTimings()
    warnings: Tuple[str, ...] = ()
    attempts: int = 1
    raw: Optional[Mapping[str, Any]] = None


class DecisionRoute(NamedTuple):
    """A route of a server for decisions.

    Attributes:
        method: The name of this way to decide, which is a value of the argument `method` of
            `decide`.
        path: Path below the endpoint.
        make: Returns the JSON of a request. Its arguments are the model, the request, and the
            questions to send.
        read: Returns the decisions in the JSON of a response to these questions.
        limits: The limits of the route on a server whose program is not known (see `Product`).
    """

    method: DecisionMethod
    path: str
    make: Callable[[str, DecisionRequest, Mapping[str, Question]], Dict[str, Any]]
    read: Callable[[Any, Mapping[str, Question]], Decided]
    limits: RouteLimits


class Product(NamedTuple):
    """A server program that can be recognised by its list of models.

    Attributes:
        limits: The limits of the program's route for decisions.
        lacks: The decision methods that this program does not have. At the path of each of these
            methods, it has a different API.
        instead: The hint of the error for a method in `lacks`.
    """

    limits: RouteLimits
    lacks: Tuple[DecisionMethod, ...] = ()
    instead: str = ""


def _accept_model(model: str, locality: str) -> None:
    """Accept every model. This function is the default of `DecisionDialect.check_model`."""


class DecisionDialect(NamedTuple):
    """A description of how a kind of server makes decisions.

    Attributes:
        routes: The routes, in the order in which they are tried.
        unsupported: Fields of `DecisionRequest` that cannot be sent, each with a hint.
        check_model: Raises `LocalityError` for a model whose name shows that the model runs
            outside the allowed locality. Its arguments are the name and the locality.
        listing: Path of a list of models that shows the product; None if no list shows it.
        read_product: Returns the name of the product from the JSON of that list; None if the
            product is unknown.
        products: The products by name.
    """

    routes: Sequence[DecisionRoute]
    unsupported: Mapping[str, str] = FrozenDict()
    check_model: Callable[[str, str], None] = _accept_model
    listing: Optional[str] = None
    read_product: Callable[[Any], Optional[str]] = lambda data: None
    products: Mapping[str, Product] = FrozenDict()


def split(questions: Mapping[str, Question], most: Optional[int]) -> List[Mapping[str, Question]]:
    """Return the questions in groups of at most `most`, in their order.

    If `most` is None, there is one group.
    """
    names, size = list(questions), most or len(questions)
    return [
        NamedQuestions((name, questions[name]) for name in names[start : start + size])
        for start in range(0, len(names), size)
    ]


# --- answers -------------------------------------------------------------------------------------


class AnswerForm(NamedTuple):
    """The names in the JSON of a route's answers.

    Attributes:
        method: The decision method that uses the route.
        types: The route's name for each of our kinds of questions.
        yes: Name of the field with the probability of yes.
    """

    method: DecisionMethod
    types: Mapping[str, str]
    yes: str


def read_decision(
    form: AnswerForm,
    name: str,
    question: Question,
    record: Mapping[str, Any],
    mass: Optional[float] = None,
) -> Decision:
    """Return the decision about a question, from the server's answer to it.

    Args:
        form: The names in the JSON of the route's answers.
        name: Name of the question.
        question: The question.
        record: The JSON object of the answer.
        mass: The total probability of the possible answers, if it is known.

    Raises:
        ProtocolError: The answer is not of the type of the question; or a probability is missing
            or impossible.
    """
    made = Decision(name=name, kind=question.kind, source=form.method, raw=record)
    expected = form.types[question.kind]
    sent = record.get("type", expected)
    if sent == "refusal":
        return made.replace(refused=True)
    if sent != expected:
        unexpected(f"answer of the type {expected!r}, which is the type of the question")
    if isinstance(question, YesNo):
        found = read_yes_no(record, form.yes)
    else:
        found = (read_choice if isinstance(question, Choice) else read_score)(question, record)
    return made.replace(
        probabilities=FrozenDict(found),
        server_confidence=_finite(record.get("confidence")),
        mass=mass,
    )


def checked_probabilities(answers: Sequence[str], found: Mapping[str, Any]) -> Dict[str, float]:
    """Return the probability of each answer, in order and with a sum of 1.

    Args:
        answers: The possible answers.
        found: The probabilities in the response, by answer.

    Raises:
        ProtocolError: A probability is missing, is not a number from 0 to 1, or belongs to no
            answer; or the sum is not 1.
    """
    if len(found) > len(answers) or any(answer not in found for answer in answers):
        unexpected(f"probability for each of the {len(answers)} answers of a question")
    values = [_finite(found[answer]) for answer in answers]
    numbers = [value for value in values if value is not None and 0 <= value <= 1 + _EXACT]
    if len(numbers) < len(answers):
        unexpected("probability that is a number from 0 to 1")
    total = sum(numbers)
    if not abs(total - 1) <= max(_TOLERANCE, _TOLERANCE_EACH * len(answers)) + _EXACT:
        raise ProtocolError(f"the probabilities of an answer have the sum {total:.4g}, not 1")
    scale = 1.0 if abs(total - 1) <= _EXACT else total
    return {answer: value / scale for answer, value in zip(answers, numbers)}


def read_yes_no(record: Mapping[str, Any], field: str) -> Dict[str, float]:
    """Return the probabilities of a `YesNo`.

    Some servers send only the probability of yes. Others also send the probabilities of both
    answers.

    Args:
        record: The JSON object of the answer.
        field: Name of the field with the probability of yes.

    Raises:
        ProtocolError: The probability of yes is missing or impossible, or the response has two
            different values for it.
    """
    yes, both = _finite(record.get(field)), pairs(record.get("probabilities"))
    both = {_YES_NO.get(key.lower(), key): value for key, value in both.items()}
    if yes is None or both:
        found = checked_probabilities((YES, NO), both)
        if yes is not None and abs(found[YES] - yes) > _TOLERANCE:
            raise ProtocolError("an answer has two different probabilities of yes")
        return found
    return checked_probabilities((YES, NO), {YES: yes, NO: 1 - yes})


# Names of the two answers, as servers write them.
_YES_NO = {"true": YES, "false": NO, "yes": YES, "no": NO}


def read_choice(question: Question, record: Mapping[str, Any]) -> Dict[str, float]:
    """Return the probabilities of a `Choice`.

    Raises:
        ProtocolError: A probability is missing or impossible, or the option that the server names
            is not the likeliest one.
    """
    found = checked_probabilities(question.answers, pairs(record.get("probabilities")))
    for name in ("choice", "label"):
        chosen = record.get(name)
        if chosen is not None and found.get(_key(chosen), 0.0) < max(found.values()) - _ROUNDING:
            raise ProtocolError("the option that the server names is not the likeliest one")
    return found


def read_score(question: Question, record: Mapping[str, Any]) -> Dict[str, float]:
    """Return the probabilities of a `Score`.

    In the server's JSON, each level is named by its index, written as a number or as text.

    Raises:
        ProtocolError: A probability is missing or impossible, the score does not fit the
            probabilities, or the levels have another order than in the question.
    """
    levels = question.answers
    legend = record.get("legend")
    _check_order(levels, enumerate(legend) if isinstance(legend, list) else mapping(legend).items())
    rows = mappings(record.get("probabilities"))  # only /v1/decisions sends a list of objects
    _check_order(levels, ((row.get("value"), row.get("label")) for row in rows))
    by_index = {index_of(key): value for key, value in pairs(record.get("probabilities")).items()}
    by_level = {levels[i]: v for i, v in by_index.items() if i is not None and 0 <= i < len(levels)}
    if len(by_level) < len(by_index):
        unexpected("probability for each level of a score")
    found = checked_probabilities(levels, by_level)
    said = _finite(record.get("score"))
    score = sum(index * share for index, share in enumerate(found.values()))
    tolerance = max(_TOLERANCE, _TOLERANCE_EACH * len(levels)) * len(levels)
    if said is not None and abs(said - score) > tolerance:
        raise ProtocolError(
            f"the probabilities of a score have the mean {score:.4g}, but the server sent the "
            f"score {said:.4g}"
        )
    return found


def _check_order(levels: Sequence[str], texts: Iterable[Tuple[Any, Any]]) -> None:
    """Check that the texts of the levels are in the order of the question.

    A text that is not a level of the question says nothing about the order: a server may shorten
    or translate the texts.

    Raises:
        ProtocolError: The texts are in another order.
    """
    for key, text in texts:
        index = index_of(key)
        is_moved = isinstance(text, str) and text in levels and index != levels.index(text)
        if is_moved:
            raise ProtocolError("the server has changed the order of the levels of a score")


def pairs(probabilities: Any) -> Dict[str, Any]:
    """Return the probability of each answer, from a JSON object or from a list of objects.

    Raises:
        ProtocolError: There are two probabilities for one answer.
    """
    if not isinstance(probabilities, list):
        return dict(mapping(probabilities))
    records = mappings(probabilities)
    found = {_key(item.get("value")): item.get("probability") for item in records}
    if len(found) < len(probabilities):
        raise ProtocolError("an answer has two probabilities for one option")
    return found


def _key(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _finite(value: Any) -> Optional[float]:
    found = number(value)
    return found if found is not None and isfinite(found) else None


def mass_of(record: Mapping[str, Any], *names: str) -> Optional[float]:
    """Return the total probability that the model gives to the possible answers.

    The server measures this total while the model may write any text, not only these answers. The
    result is None if the total is unknown.
    """
    found = next((_finite(record[name]) for name in names if name in record), None)
    return None if found is None else min(max(found, 0.0), 1.0)


_SMALL_MASS = (
    "the model did not mean to give one of these answers: ask in other words, or use a decision "
    "model, or a model that follows instructions better"
)


def small_mass(
    number: int, mass: float, min_mass: float, likeliest: Tuple[TokenLogprob, ...] = ()
) -> CapabilityError:
    """Return the error for a question whose possible answers are too improbable.

    Args:
        number: Number of the question; the first is 1.
        mass: The total probability of the possible answers.
        min_mass: The smallest total probability that the caller accepts.
        likeliest: The tokens that the model prefers, if they are known.
    """
    hint = _SMALL_MASS
    if mass:  # if the mass is 0, a smaller threshold does not help
        hint += "; or pass a smaller min_mass"
    if likeliest:
        hint += ". `likeliest` has the tokens that the model prefers"
    return CapabilityError(
        f"the possible answers to question {number} have a total probability of {mass:.3g}, "
        f"and min_mass is {min_mass:g}",
        hint=hint,
        mass=mass,
        likeliest=likeliest,
    )


def usage_of(data: Mapping[str, Any]) -> Usage:
    """Read the token counts of a response with decisions."""
    found = mapping(data.get("usage"))
    read = mapping(found.get("input_tokens_details"))
    cached = count(read.get("cached_tokens"))
    written = mapping(found.get("output_tokens_details"))
    return Usage(
        prompt_tokens=count(found.get("input_tokens")),
        completion_tokens=count(found.get("output_tokens")),
        cached_tokens=count(found.get("prompt_eval_cached_count")) if cached is None else cached,
        thinking_tokens=count(written.get("reasoning_tokens")),
    )


def decided(data: Mapping[str, Any], answers: Mapping[str, Decision]) -> Decided:
    """Return the content of a response, from its JSON and its parsed answers."""
    return Decided(
        answers=answers,
        model=nonempty_text(data.get("model")),
        usage=usage_of(data),
        raw=data,
    )


def described(question: Question) -> Mapping[str, Optional[str]]:
    """Return, for each answer of a `YesNo` or a `Choice`, its description or None.

    The result is empty for a `Score`, because its answers are descriptions themselves.
    """
    if isinstance(question, YesNo):
        return {YES: question.yes, NO: question.no}
    return question.options if isinstance(question, Choice) else {}


def texts_of(request: DecisionRequest) -> List[str]:
    """Return the texts in a request that a person wrote: no error may quote these texts."""
    found: List[str] = []
    _collect(request.state, found)
    for name, question in request.questions.items():
        found.extend((name, question.question, *question.answers))
        found.extend(filter(None, described(question).values()))
    return found


def _collect(value: Any, found: List[str]) -> None:
    """Add the texts in a JSON value to a list."""
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, dict):
        # A key that is an ASCII identifier is a field name such as "messages". It is not collected,
        # because a server's error would be unreadable without it.
        found.extend(key for key in value if not (key.isascii() and key.isidentifier()))
        _collect([*value.values()], found)
    elif isinstance(value, list):
        for item in value:
            _collect(item, found)
