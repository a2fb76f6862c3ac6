"""Questions for `decide`, and the state that they are about.

A state is the subject of the questions: a text, or a mapping that is sent as JSON. A question asks
for yes or no, for one of several options, or for a score. It is a frozen dataclass. The text of the
question is the first positional argument of the constructor.
"""

from __future__ import annotations

import json
from typing import (
    Any,
    ClassVar,
    Dict,
    List,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from localproviders._did_you_mean import did_you_mean, suggest_number
from localproviders._frozen_dataclass import dataclass_transform, frozen_dataclass
from localproviders._record import CONTENT, FrozenDict, Record, field, plain
from localproviders._signatures import Self, exact_keywords
from localproviders.secret import errors_without_frames
from localproviders.types.inputs import plain_number

T = TypeVar("T")

#: How a decision is made: by a server's route ``/v1/systemone`` or ``/v1/decisions``, or from the
#: probabilities of the next token of a chat model.
DecisionMethod = Literal["systemone", "decisions", "logprobs"]

DECISION_METHODS: Tuple[DecisionMethod, ...] = ("systemone", "decisions", "logprobs")

#: Keys of the two answers of a `YesNo`.
YES, NO = "yes", "no"

# The smallest number of options or levels.
_FEWEST = 2


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
def _asked(cls: Type[T]) -> Type[T]:
    """Make a class a frozen dataclass whose arguments may be positional."""
    return frozen_dataclass(cls, lambda _, compiled: compiled())


@_asked
class Question(Record):
    """A question for `decide`. Each question is a `YesNo`, a `Choice` or a `Score`.

    Attributes:
        kind: ``yes_no``, ``choice`` or ``score``.
        question: The text of the question.
        answers: The possible answers in order, which are the keys of `Decision.probabilities`:
            ``yes`` and ``no``, the options, or the levels.
    """

    kind: ClassVar[str] = ""
    question: str = field(metadata=CONTENT)

    @property
    def answers(self) -> Tuple[str, ...]:
        """The possible answers in order."""
        raise NotImplementedError

    def to_dict(self) -> Dict[str, Any]:
        """Return the question as plain JSON types, with its `kind`."""
        return {"kind": self.kind, **super().to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a question from a dictionary that `to_dict` returned.

        Raises:
            ValueError: `kind` is missing or unknown, a key is not a field of this kind, or a
                value is invalid.
        """
        fields = {**data}
        kind = fields.pop("kind", cls.kind or None)
        made = _KINDS.get(str(kind))
        if made is None or not issubclass(made, cls):
            known = [name for name, each in _KINDS.items() if issubclass(each, cls)]
            raise ValueError(
                f"kind is {kind!r}, and must be {' or '.join(map(repr, known))}"
                f"{did_you_mean(str(kind), known)}"
            )
        return super(Question, made).from_dict(fields)


@_asked
class YesNo(Question):
    """A question that is answered with yes or no.

    Args:
        question: The text of the question.
        yes: Description of the cases in which the answer is yes.
        no: Description of the cases in which the answer is no.

    Raises:
        ValueError: A text is empty, or is not a string.
    """

    kind: ClassVar[str] = "yes_no"
    yes: Optional[str] = field(default=None, metadata=CONTENT)
    no: Optional[str] = field(default=None, metadata=CONTENT)

    @exact_keywords
    @errors_without_frames
    def __init__(self, question: str, *, yes: Optional[str] = None, no: Optional[str] = None):
        text = _text("question", question)
        _set(self, text, yes=_description("yes", yes), no=_description("no", no))

    @property
    def answers(self) -> Tuple[str, ...]:
        """The possible answers: ``yes`` and ``no``."""
        return (YES, NO)


@_asked
class Choice(Question):
    """A question that is answered with one of several options.

    Args:
        question: The text of the question.
        options: The options: texts, or a mapping from each option to its description or None.

    Raises:
        ValueError: There are fewer than two options, an option is empty or occurs twice, or a
            value is not a text.
    """

    kind: ClassVar[str] = "choice"
    options: Mapping[str, Optional[str]] = field(metadata=CONTENT)

    @exact_keywords
    @errors_without_frames
    def __init__(self, question: str, options: Union[Sequence[str], Mapping[str, Optional[str]]]):
        text = _text("question", question)
        names = _different("options", options)
        described: Mapping[str, Any] = options if isinstance(options, Mapping) else {}
        texts = {name: _description("a description", described.get(name)) for name in names}
        _set(self, text, options=FrozenDict(texts))

    @property
    def answers(self) -> Tuple[str, ...]:
        """The possible answers: the options."""
        return tuple(self.options)


@_asked
class Score(Question):
    """A question that is answered with a position on a scale.

    Args:
        question: The text of the question.
        levels: Descriptions of the levels, the lowest first.

    Raises:
        ValueError: There are fewer than two levels, a level is empty or occurs twice, or a value
            is not a text.
    """

    kind: ClassVar[str] = "score"
    levels: Tuple[str, ...] = field(metadata=CONTENT)

    @exact_keywords
    @errors_without_frames
    def __init__(self, question: str, levels: Sequence[str]):
        _set(self, _text("question", question), levels=_different("levels", levels))

    @property
    def answers(self) -> Tuple[str, ...]:
        """The possible answers: the levels."""
        return self.levels


_KINDS: Dict[str, Type[Question]] = {each.kind: each for each in (YesNo, Choice, Score)}

#: A question, or a short form of it. A string means a `YesNo` with this question. Several strings
#: mean a `Choice` with these options; its text is the name that the question has in `Questions`.
QuestionLike = Union[Question, str, Sequence[str]]

#: The questions of `decide`: a mapping from names to questions. The name of a question is also the
#: key of its answer in the result.
Questions = Mapping[str, QuestionLike]

#: The subject of questions: a text, or a mapping that can be written as JSON.
State = Union[str, Mapping[str, Any]]


def _set(made: Question, text: str, **values: Any) -> None:
    """Set the fields of a question in its constructor, although its class is frozen."""
    for name, value in (("question", text), *values.items()):
        object.__setattr__(made, name, value)


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is {type(value).__name__}, and must be text")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    return str.__str__(value)  # a plain `str`, even if the value is of a subclass, such as an enum


def _description(what: str, value: Any) -> Optional[str]:
    return None if value is None else _text(what, value)


def _different(what: str, values: Any) -> Tuple[str, ...]:
    """Return options or levels, after checking that they are different texts.

    Raises:
        ValueError: The values are not different texts, or there are too few of them.
    """
    is_many = isinstance(values, Mapping if what == "options" else ()) or (
        isinstance(values, Sequence) and not isinstance(values, (str, bytes, bytearray))
    )
    if not is_many:
        kind = "one text" if isinstance(values, str) else type(values).__name__
        raise ValueError(f"{what} is {kind}, and must be a list of at least {_FEWEST} texts")
    texts = tuple(_text(f"one of the {what}", value) for value in values)
    if len(texts) < _FEWEST:
        raise ValueError(f"there must be at least {_FEWEST} {what}, not {len(texts)}")
    if len({*texts}) < len(texts):
        raise ValueError(f"one of the {what} occurs twice")
    return texts


class NamedQuestions(Dict[str, Question]):
    """Questions by name. The repr shows only their number, because a name may be a prompt."""

    def __repr__(self) -> str:
        return f"<{len(self)} questions>"


@errors_without_frames
def as_questions(questions: Questions) -> NamedQuestions:
    """Return the questions with their short forms replaced, in their order.

    Raises:
        ValueError: `questions` is not a mapping, is empty, has an invalid name, or has a value
            that is not a question.
    """
    if not isinstance(questions, Mapping):
        kind = "one text" if isinstance(questions, str) else type(questions).__name__
        raise ValueError(
            f"questions is {kind}, and must be a mapping from a name to a question, such as "
            "{'angry': 'Is the customer angry?'}"
        )
    if not questions:
        raise ValueError("there is no question")

    return NamedQuestions(
        (_text("the name of a question", name), _question(name, given))
        for name, given in questions.items()
    )


def _question(name: str, given: Any) -> Question:
    if isinstance(given, Question) and given.kind in _KINDS:
        return given
    if isinstance(given, str):
        return YesNo(given)
    if isinstance(given, Sequence) and not isinstance(given, (bytes, bytearray)):
        return Choice(name, given)
    hint = "; for options with descriptions, write Choice(question, options)"
    raise ValueError(
        f"a question is {type(given).__name__}, and must be a YesNo, a Choice, a Score, a text or "
        f"a list of texts{hint if isinstance(given, Mapping) else ''}"
    )


_MANY = (
    "; for many states, call decide_many(states, questions), and for a conversation, pass "
    '{"messages": [...]}'
)


@errors_without_frames
def as_state(state: State) -> State:
    """Return a state as text, or as plain JSON.

    Raises:
        ValueError: The state is empty, is neither a text nor a mapping, or cannot be written as
            JSON.
    """
    if isinstance(state, str):
        return _text("state", state)
    if not isinstance(state, Mapping):
        kind = type(state).__name__
        raise ValueError(f"state is {kind}, and must be a text or a mapping{_MANY}")
    if not state:
        raise ValueError("state is empty")
    found: Dict[str, Any] = plain(state)
    try:
        json.dumps(found, allow_nan=False)
    except TypeError:
        raise ValueError("state has a value that cannot be written as JSON") from None
    except ValueError:
        raise ValueError("state has a number that cannot be written as JSON") from None
    return found


def check_method(method: Optional[str]) -> Optional[DecisionMethod]:
    """Check the method of a decision, and return it.

    Raises:
        ValueError: There is no such method.
    """
    known: List[str] = list(DECISION_METHODS)
    if method is not None and method not in known:
        raise ValueError(
            f"method is {method!r}, and must be {', '.join(map(repr, known))} or None"
            f"{did_you_mean(str(method), known)}"
        )
    return method  # type: ignore[return-value]  # it is in `known`


def check_mass(min_mass: Any) -> float:
    """Check `min_mass`, the smallest accepted `Decision.mass`, and return it.

    Raises:
        ValueError: The value is not a number from 0 to 1.
    """
    number = plain_number(min_mass)
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not is_number or not 0 <= number <= 1:
        line = suggest_number("min_mass", min_mass, most=1)
        raise ValueError(f"min_mass is {min_mass!r}, and must be a number from 0 to 1{line}")
    return float(number)
