"""The methods `decide` and `decide_many`, and the class of their checked arguments.

`ModelProvider` uses the functions of this module as its methods. A provider class implements
`_decide`, which answers the questions about one state. A state is the text or the mapping that the
questions are about.
"""

from __future__ import annotations

from types import CellType
from typing import (
    Any,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    Type,
    Union,
    cast,
)

from localproviders._http.transport import Payload, encode
from localproviders._record import CONTENT, Record, field, record
from localproviders._signatures import exact_keywords
from localproviders.errors import (
    CapabilityError,
    ConfigurationError,
    ContextOverflowError,
    ProviderError,
    RequestRejectedError,
    UnsupportedError,
)
from localproviders.secret import Sealed, errors_without_frames
from localproviders.telemetry import RunningVerb
from localproviders.types.decisions import Decisions
from localproviders.types.inputs import expected_digest, keep_alive_seconds, model_name
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.messages import Image, ImageLike, Message
from localproviders.types.questions import (
    DecisionMethod,
    Question,
    Questions,
    State,
    as_questions,
    as_state,
    check_mass,
    check_method,
)
from localproviders.types.requests import ModelLike

# Classes of errors that may concern only one state. Subclasses of these classes do not count.
_ERRORS_OF_STATES: Tuple[Type[ProviderError], ...] = (ContextOverflowError, RequestRejectedError)


@record
class DecisionRequest(Record):
    """The checked arguments of `decide`, for one state.

    Attributes:
        questions: The questions by name.
        state: The state, as text or as plain JSON.
        model: Name of the model; None is the provider's model.
        images: The images that belong to the state.
        method: The method of the decision; None is the server's own route.
        min_mass: The smallest accepted total probability of the possible answers (`Decision.mass`).
        keep_alive: Seconds for which the model stays loaded after the call, or None.
        expect_digest: First digits of the model's digest, in lower case, or None.
    """

    questions: Mapping[str, Question] = field(metadata=CONTENT)
    state: State = field(default="", metadata=CONTENT)
    model: Optional[str] = None
    images: Tuple[Image, ...] = field(default=(), metadata=CONTENT)
    method: Optional[DecisionMethod] = None
    min_mass: float = 0.5
    keep_alive: Optional[float] = None
    expect_digest: Optional[str] = None


class DecidingProvider(Protocol):
    """The members of a provider that `decide` and `decide_many` use."""

    @property
    def name(self) -> str:
        """Name of the provider."""
        ...

    def _prepare_decisions(
        self, request: DecisionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> DecisionRequest:
        """Check a request that has no state yet, and return it with the chosen model."""
        ...

    def _decide(
        self, request: DecisionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> Decisions:
        """Answer the questions about one state."""
        ...


def refuse_to_decide(
    self: DecidingProvider,
    request: DecisionRequest,
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> Decisions:
    """Refuse to decide. A kind of provider that can decide overrides this method.

    Raises:
        UnsupportedError: Always.
    """
    raise UnsupportedError(
        f"{self.name} does not support decide(): this kind of server has no such request",
        hint="use a provider whose server has a route for decisions, or returns log-probabilities",
        provider=self.name,
    )


def prepare_nothing(
    self: DecidingProvider,
    request: DecisionRequest,
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> DecisionRequest:
    """Return a request unchanged. A kind of provider that can check it overrides this method."""
    return request


@exact_keywords
def decide(  # noqa: D417  # it becomes a method
    self: DecidingProvider,
    state: State,
    questions: Questions,
    *,
    model: Optional[ModelLike] = None,
    images: Sequence[ImageLike] = (),
    method: Optional[DecisionMethod] = None,
    min_mass: float = 0.5,
    keep_alive: Union[float, str, None] = None,
    expect_digest: Optional[str] = None,
    timeout: Timeout = None,
    cancel: Optional[CancelToken] = None,
) -> Decisions:
    """Answer typed questions about a state with probabilities, and without text.

    A decision model reads the state and the questions, and returns a probability for each possible
    answer. All questions go to the server in one request, or in as few requests as it accepts. How
    far such a probability can be trusted depends on the model: see docs/decisions.md.

    Args:
        state: The subject of the questions: a text, or a mapping that is sent as JSON.
        questions: The questions by name; the names are the keys of the result. A question is a
            `YesNo`, a `Choice` or a `Score`. A string means a `YesNo` with this question. A
            sequence of strings means a `Choice` with these options; the text of this question is
            then its name.
        model: Name of the model, or its `ModelInfo`; None is the provider's model.
        images: Images that belong to the state, as in `Message.user`. The server must support
            images.
        method: ``systemone`` and ``decisions`` use the server's route of this name. ``logprobs``
            asks a chat model, and reads the probabilities of its next token. None uses the server's
            own route, or ``logprobs`` if the server has none.
        min_mass: The smallest accepted `Decision.mass`, from 0 to 1: the total probability that the
            model gives to the possible answers if it may write any token. It is checked for each
            question for which the mass is known.
        keep_alive: Seconds for which the model stays loaded after the call, or a duration such as
            ``10m``; None is the server's default.
        expect_digest: First digits of the digest that the model must have, at least 12.
        timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
            limits.
        cancel: A token that ends the call when another thread sets it.

    Raises:
        ValueError: The state or a question is empty or malformed, or a value is invalid. Nothing
            was sent.
        ConfigurationError: No model is named.
        UnsupportedError: The server does not have this method or option, or does not accept so
            many options, levels or images. The state was not sent.
        LocalityError: The state would leave the allowed locality, so it was not sent.
        CapabilityError: The model is not a decision model, or the total probability of the possible
            answers is below `min_mass`. In the second case, the error has this probability in
            `mass`, and in `likeliest` the tokens that the model prefers, if they are known.
        ModelNotFoundError: The server has no such model.
        WrongModelError: The model has another digest than `expect_digest`. Nothing was sent.
        ContextOverflowError: The state and the questions do not fit into the context window.
        ProtocolError: A probability is missing or impossible.
        LimitError: A time limit expired.
        ProviderError: The server refused the request, or failed in another way.
    """
    sealed = Sealed((state, questions, images))
    del state, questions, images
    request = _make_request(
        sealed.cell_contents[1],
        sealed.cell_contents[2],
        model=model,
        method=method,
        min_mass=min_mass,
        keep_alive=keep_alive,
        expect_digest=expect_digest,
    )
    return self._decide(_about(request, sealed.cell_contents[0]), timeout, cancel)


@exact_keywords
def decide_many(  # noqa: D417  # it becomes a method
    self: DecidingProvider,
    states: Iterable[State],
    questions: Questions,
    *,
    model: Optional[ModelLike] = None,
    method: Optional[DecisionMethod] = None,
    min_mass: float = 0.5,
    keep_alive: Union[float, str, None] = None,
    expect_digest: Optional[str] = None,
    timeout: Timeout = None,
    cancel: Optional[CancelToken] = None,
) -> Iterator[Decisions]:
    """Answer the same questions about many states, and return an iterator over the `Decisions`.

    The iterator yields one `Decisions` for each state, in the order of the states. The states are
    read one by one during the iteration. One request is sent at a time, in the thread that
    iterates. This method itself only checks its arguments; the first request is sent when the
    iteration begins.

    If an error concerns only one state, the result for this state contains the error in
    `Decisions.error`, and the iteration goes on. This happens if the state is empty, cannot be
    written as JSON, is too long, or is refused by the server, or if the total probability of the
    possible answers is below `min_mass`. Any other error ends the iteration.

    Args:
        states: The states: any iterable of texts and mappings.
        questions: The questions by name, as in `decide`.
        model: Name of the model, or its `ModelInfo`; None is the provider's model.
        method: ``systemone``, ``decisions``, ``logprobs`` or None, as in `decide`.
        min_mass: The smallest accepted total probability of the possible answers, as in `decide`.
        keep_alive: Seconds for which the model stays loaded after each request, or a duration
            such as ``10m``; None is the server's default.
        expect_digest: First digits of the digest that the model must have, at least 12. The
            server's list of models is requested again before each state.
        timeout: Seconds for each state, or a `Limits` value; None is the provider's limits.
        cancel: A token that ends the iteration when another thread sets it.

    Raises:
        ValueError: `states` is one text or one mapping, a question is empty or malformed, or a
            value is invalid. Nothing was sent.
        ConfigurationError: No model is named.
        LocalityError: The states would leave the allowed locality. A check that needs a request is
            made when the iteration begins.
        ProviderError: Raised by the iteration: a request failed, and the error does not concern
            only one state.
    """
    sealed = Sealed((states, questions))
    del states, questions
    _check_states(sealed)
    request = _make_request(
        sealed.cell_contents[1],
        (),
        model=model,
        method=method,
        min_mass=min_mass,
        keep_alive=keep_alive,
        expect_digest=expect_digest,
    )
    request = self._prepare_decisions(request, timeout, cancel)
    return _decide_each(self, sealed, request, timeout, cancel)


@errors_without_frames
def _make_request(
    questions: Questions,
    images: Any,
    *,
    model: Optional[ModelLike],
    method: Optional[str],
    min_mass: Optional[float],
    keep_alive: Any,
    expect_digest: Any,
) -> DecisionRequest:
    """Return the request for the arguments of `decide` or `decide_many`, without a state.

    Raises:
        ValueError: An argument is invalid.
    """
    return DecisionRequest(
        questions=as_questions(questions),
        model=model_name(model),
        images=Message.user("", images=images).images if images else (),
        method=check_method(method),
        min_mass=check_mass(0.5 if min_mass is None else min_mass),
        keep_alive=_seconds(keep_alive),
        expect_digest=None if expect_digest is None else expected_digest(expect_digest),
    )


def _seconds(keep_alive: Any) -> Optional[float]:
    seconds = keep_alive_seconds(keep_alive)
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and seconds >= 0):
        raise ValueError(
            f"keep_alive is {keep_alive!r}, and must be seconds, such as 600, or a duration, such "
            "as '10m'"
        )
    return cast("Optional[float]", seconds)


@errors_without_frames
def _about(request: DecisionRequest, state: State) -> DecisionRequest:
    """Return the request for a state.

    Raises:
        ValueError: The state is empty or malformed.
    """
    return request.replace(state=as_state(state))


def _check_states(sealed: CellType) -> None:
    """Check that the first argument in the cell is several states, and not one.

    Raises:
        ValueError: The argument is one text or one mapping, or cannot be iterated.
    """
    kind = type(sealed.cell_contents[0])
    if hasattr(kind, "columns"):  # iterating over a table gives the names of its columns
        raise ValueError(
            f"states is {kind.__name__}, and must be several states: pass one column, such as "
            'frame["text"], or the rows as frame.to_dict("records")'
        )
    if issubclass(kind, (str, bytes, Mapping)) or not issubclass(kind, Iterable):
        what = "one text" if issubclass(kind, str) else kind.__name__
        raise ValueError(
            f"states is {what}, and must be several states; for one state, call decide()"
        )


def _decide_each(
    provider: DecidingProvider,
    sealed: CellType,
    request: DecisionRequest,
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> Iterator[Decisions]:
    """Yield the decisions about each state, in order.

    Each state stays in a cell (`Sealed`), so tracebacks with local variables do not show it.
    """
    for state in map(Sealed, sealed.cell_contents[0]):
        try:
            with RunningVerb("decide_many"):
                made = provider._decide(_about(request, state.cell_contents), timeout, cancel)
        except (ProviderError, ValueError) as error:
            failure = _fault_of(state, error)
            if failure is None:
                raise
            made = _failed(provider, request, failure)
        yield made


def _fault_of(sealed: CellType, error: Exception) -> Optional[ProviderError]:
    """Return the error for the result of a state; None if the error concerns other states, too."""
    if isinstance(error, ProviderError) and not isinstance(error, ValueError):
        return error if _is_of_state(error) else None
    # The state cannot be sent, or a setting is wrong.
    try:
        encode(Payload(state=as_state(sealed.cell_contents)))
    except ConfigurationError as error:
        return error
    except ValueError as error:
        return ConfigurationError(str(error))
    return None


def _is_of_state(error: ProviderError) -> bool:
    """Return whether an error may concern only one state."""
    is_small_mass = isinstance(error, CapabilityError) and error.mass is not None
    return is_small_mass or type(error) in _ERRORS_OF_STATES


def _failed(
    provider: DecidingProvider, request: DecisionRequest, error: ProviderError
) -> Decisions:
    # The result keeps the error. The frames of the error's traceback refer to the state.
    error.__traceback__ = error.__context__ = None
    error.add_context(provider=provider.name, model=request.model)
    return Decisions(
        model=error.model or request.model or "",
        provider=error.provider or provider.name,
        endpoint=error.endpoint,
        request_id=error.request_id,
        error=error,
    )
