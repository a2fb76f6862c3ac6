"""Results of `decide`: for each question, its answer and the probabilities of all answers."""

from __future__ import annotations

import inspect
from typing import Any, Dict, Iterator, Mapping, NoReturn, Optional, Tuple, Union

from localproviders import errors
from localproviders._did_you_mean import did_you_mean
from localproviders._record import (
    CONTENT,
    RAW,
    FrozenDict,
    Line,
    Record,
    field,
    loads,
    loads_each,
    record,
)
from localproviders._redact import on_screen, shortened
from localproviders._signatures import Self
from localproviders.errors import AnswerError, ProviderError
from localproviders.types.questions import YES, DecisionMethod
from localproviders.types.responses import (
    ServerAttempt,
    ServerTimings,
    Timings,
    Usage,
    count_of,
    facts_and_warnings,
    in_list,
)

# The attribute for the answer of each kind of question.
_OWN_ATTRIBUTES = {"yes_no": "probability", "choice": "choice", "score": "score"}
# The answer to a `YesNo` is yes if the probability of yes is at least this number.
_HALF = 0.5


@record
class Decision(Line):
    """The answer to one question, with the probability of each possible answer.

    Its `str` is one line with the answer. Probabilities from two servers, or from two models,
    cannot be compared.

    Attributes:
        name: Name of the question.
        kind: Kind of the question: ``yes_no``, ``choice`` or ``score``.
        source: The method that produced the probabilities: ``systemone``, ``decisions`` or
            ``logprobs``.
        probabilities: Probability of each possible answer, in the order of the question. The keys
            are ``yes`` and ``no``, the options, or the levels. The sum is 1. Empty if the model
            refused to answer.
        mass: Total probability, from 0 to 1, that the model gives to the possible answers if it may
            write any token. If the mass is small, the model did not mean to give any of these
            answers. None if the mass is not known.
        server_confidence: The server's own measure of confidence. Servers use different formulas,
            so their values cannot be compared. None if the server sends none.
        refused: Whether the model refused to answer this question.
        raw: The server's record of this answer.
    """

    name: str = field(metadata=CONTENT)
    kind: str
    source: DecisionMethod
    probabilities: Mapping[str, float] = field(default_factory=FrozenDict, metadata=CONTENT)
    mass: Optional[float] = None
    server_confidence: Optional[float] = None
    refused: bool = False
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        self._freeze("probabilities")

    def __bool__(self) -> bool:
        """Raise `TypeError`. Otherwise, a decision whose answer is no would count as true."""
        raise TypeError("a decision is neither true nor false; write .answer")

    @property
    def confidence(self) -> float:
        """Distance between the two largest probabilities: 0 is a tie, 1 is certain."""
        first, second = sorted([*self.probabilities.values(), 0.0, 0.0], reverse=True)[:2]
        return first - second

    @property
    def answer(self) -> Union[bool, str, float]:
        """The answer: True or False, the likeliest option, or the score.

        The answer to a `YesNo` is True if the probability of yes is at least 0.5.

        Raises:
            AnswerError: The model refused to answer this question.
        """
        if self.kind == "yes_no":
            return self.probability >= _HALF
        return self.choice if self.kind == "choice" else self.score

    @property
    def probability(self) -> float:
        """The probability of yes.

        Raises:
            AnswerError: The model refused to answer this question.
            TypeError: The question is not a `YesNo`.
        """
        return self._answered("probability")[YES]

    @property
    def choice(self) -> str:
        """The likeliest option; if several options are equally likely, the first of them.

        Raises:
            AnswerError: The model refused to answer this question.
            TypeError: The question is not a `Choice`.
        """
        found = self._answered("choice")
        return max(found, key=found.__getitem__)

    @property
    def score(self) -> float:
        """The mean of the levels, weighted by their probabilities. The lowest level is 0.

        A score may lie between two levels.

        Raises:
            AnswerError: The model refused to answer this question.
            TypeError: The question is not a `Score`.
        """
        found = self._answered("score")
        return sum(level * share for level, share in enumerate(found.values()))

    def _answered(self, attribute: str) -> Mapping[str, float]:
        own = _OWN_ATTRIBUTES.get(self.kind, "raw")
        if attribute != own:
            raise TypeError(f"a question of the kind {self.kind!r} has no {attribute}; use {own}")
        if self.refused:
            raise AnswerError(
                "the model refused to answer this question",
                hint="look at `refused` before you read the answer",
            )
        return self.probabilities

    def to_dict(self) -> Dict[str, Any]:
        """Return the decision as plain JSON types, with `answer` and `confidence`.

        Fields that have their default, and the server's record, are left out. A decision without
        probabilities, or of an unknown kind, has no answer.
        """
        found = super().to_dict()
        if self.refused or not self.probabilities or self.kind not in _OWN_ATTRIBUTES:
            return found
        return {**found, "answer": self.answer, "confidence": self.confidence}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a decision from a dictionary that `to_dict` returned.

        Raises:
            ValueError: A key is not a field of this class, or a required field is missing.
        """
        return super().from_dict({k: v for k, v in data.items() if k not in _COMPUTED})

    def __str__(self) -> str:
        return shortened(f"{self.name}: {self._in_words()}")

    def _in_words(self) -> str:
        if self.refused or not self.probabilities:
            return "refused" if self.refused else "no answer"
        sure = f"confidence {self.confidence:.2f}"
        if self.kind == "score":
            return f"{self.score:.2f} ({sure})"
        answer = max(self.probabilities, key=self.probabilities.__getitem__, default="")
        if self.kind == "yes_no":
            answer = "yes" if self.answer else "no"
        return f"{answer} {self.probabilities.get(answer, 0.0):.2f} ({sure})"


# Keys of `Decision.to_dict` that are not fields.
_COMPUTED = ("answer", "confidence")


def _load_answers(answers: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Decision]:
    return FrozenDict(
        {name: Decision.from_dict({"name": name, **answers[name]}) for name in answers}
    )


def load_error(data: Mapping[str, Any]) -> ProviderError:
    """Return an error from its `to_dict`. Attributes that are not in it have no value."""
    made = _blank_error(str(data.get("error")))
    for name, value in data.items():
        if name == "errors":
            value = _load_errors(value)
        elif isinstance(value, list) and isinstance(getattr(made, name, None), tuple):
            value = tuple(value)
        if name != "error":
            setattr(made, name, value)
    return made


def _blank_error(name: str) -> ProviderError:
    """Return an error of a class, by the name of the class."""
    cls: Any = getattr(errors, name, None)
    if not (isinstance(cls, type) and issubclass(cls, ProviderError)):
        cls = ProviderError  # the class of another version of this package
    parameters = inspect.signature(cls.__init__).parameters.values()
    needed = (each for each in parameters if each.kind is each.KEYWORD_ONLY)
    values: Dict[str, Any] = {
        each.name: None if each.default is each.empty else each.default for each in needed
    }
    made: ProviderError = cls("", **values)
    return made


def _load_errors(found: Any) -> Any:
    """Return the errors of several servers (`AllFailedError`), or of texts (`EmbeddingError`)."""
    if isinstance(found, Mapping):
        return {int(index): load_error(found[index]) for index in found}
    return tuple(map(load_error, found))


@record
class Decisions(Record, Mapping[str, Decision]):
    """The answers to all questions about one state: a mapping from names to `Decision` values.

    Its `str` has one line for each answer. If the call for this state failed (`decide_many`), every
    access to the answers raises `error`.

    Attributes:
        model: Name of the model that answered, as the server reports it.
        provider: Name of the provider.
        answers: The answer to each question, in the order of the questions.
        endpoint: Address of the server.
        digest: Hexadecimal digest of the model, as in `CompletionResponse`.
        request_id: Id of the last request for this state, as in `CompletionResponse`.
        error: The error of the call for this state; None if the questions were answered. Only
            `decide_many` sets it.
        usage: Numbers of tokens that the server reported, summed over the requests for this state.
        timings: Durations that this package measured. `first_token_s` is None.
        server_timings: Durations that the server measured.
        warnings: Warnings for the caller, each on one line.
        attempts: Number of times that the request was sent. If there were several requests, only
            the request that was sent most often counts.
        tried: The servers that `LocalProvider` tried before this one, in order.
        raw: The record that the server sent; if there were several requests, the last record.
    """

    model: str
    provider: str
    answers: Mapping[str, Decision] = field(
        default_factory=FrozenDict, metadata=loads(_load_answers, **CONTENT)
    )
    endpoint: Optional[str] = None
    digest: Optional[str] = None
    request_id: Optional[str] = None
    error: Optional[ProviderError] = field(default=None, compare=False, metadata=loads(load_error))
    usage: Usage = field(default_factory=Usage, metadata=loads(Usage.from_dict))
    timings: Timings = field(default_factory=Timings, metadata=loads(Timings.from_dict))
    server_timings: ServerTimings = field(
        default_factory=ServerTimings, metadata=loads(ServerTimings.from_dict)
    )
    warnings: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    attempts: int = 1
    tried: Tuple[ServerAttempt, ...] = field(
        default=(), metadata=loads_each(ServerAttempt.from_dict)
    )
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        self._freeze("answers")
        self._keep_as_tuples("warnings", "tried")
        self._put_on_one_line("warnings")

    def __getitem__(self, name: str) -> Decision:
        found = self._known().get(name)
        return self._raise_unknown(name) if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self.answers)

    def _known(self) -> Mapping[str, Decision]:
        """Return the answers.

        Raises:
            ProviderError: The call failed for this state.
        """
        if self.error is not None:
            raise self.error
        return self.answers

    def _raise_unknown(self, name: object) -> NoReturn:
        raise KeyError(
            f"no question has the name {name!r}{did_you_mean(str(name), list(self.answers))}"
        )

    def to_dict(self) -> Dict[str, Any]:
        """Return the decisions as plain JSON types. Fields that have their default are left out.

        Each answer has the fields of its `Decision`, with `answer` and `confidence`, but without
        its name, which is its key in ``answers``. ``error`` has what `ProviderError.to_dict`
        returns.
        """
        found = super().to_dict()
        for answer in found.get("answers", {}).values():
            del answer["name"]
        return found

    def __str__(self) -> str:
        if self.error is not None:
            return shortened(f"{type(self.error).__name__}: {self.error}", 1_000)
        return on_screen([str(answer) for answer in self.answers.values()])

    def _repr_markdown_(self) -> str:
        if self.error is not None:
            return self.error._repr_markdown_()
        answers = in_list([str(answer) for answer in self.answers.values()])
        used, total_s = self.usage, self.timings.total_s
        facts = [
            f"{self.model} ({self.provider})",
            count_of(used.prompt_tokens, "prompt tokens"),
            None if total_s is None else f"{total_s:.1f} s",
        ]
        return f"{answers.lstrip()}\n\n{facts_and_warnings(facts, self.warnings)}"
