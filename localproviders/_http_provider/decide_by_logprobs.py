"""Decisions of a chat model, from the probabilities of the first token of its answer.

The possible answers to a question have labels, such as A, B and C, and the model is asked for a
label. Each question is one request for one token. Only a llama.cpp server gets a second request,
and only if a label is missing from its list of likely tokens. The second request restricts the
answer to the labels.

docs/decisions.md, "A decision of a chat model", explains the numbers.
"""

from __future__ import annotations

import re
from functools import partial, reduce
from typing import (
    Any,
    Callable,
    Dict,
    Hashable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

from localproviders._decision_verbs import DecisionRequest
from localproviders._dialect.decisions import Decided, small_mass
from localproviders._dialect.label_probabilities import Reading, read_labels
from localproviders._dialect.label_prompts import (
    CUE,
    LabelTokens,
    choose_labels,
    label_prompt,
    tokens_to_find,
)
from localproviders._http.deadline import LOCAL_WORK, Call, total_ended
from localproviders._http.stream import ChunkParser, Stream
from localproviders._http_provider.embedding import sum_fields
from localproviders._http_provider.sending import REFUSALS
from localproviders._refusals import Refusals, refuses
from localproviders.errors import (
    CapabilityError,
    LimitError,
    ProviderError,
    UnsupportedError,
)
from localproviders.telemetry import SILENT, Span
from localproviders.types.decisions import Decision
from localproviders.types.messages import Message
from localproviders.types.questions import Question
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionResponse

# The largest number of alternatives for each token that the servers accept
# (docs/reference/decisions.md, "A decision out of a chat model").
_MOST_ALTERNATIVES = 20
# llama.cpp has no such limit. The first request to it asks for this many alternatives. They contain
# the labels of most questions, so a second request is rarely necessary.
_MANY_ALTERNATIVES = 100
# If a question has so many labels that 100 alternatives are too few, the request asks for this many
# alternatives for each label, because a label can be written as several tokens.
_ALTERNATIVES_OF_LABEL = 4

# A second request is sent if the probabilities of missing labels can be wrong by more than this.
_EXACT = 1e-5
# In an answer that is restricted to the labels, the probabilities of the labels have at least this
# sum.
_RESTRICTED_MASS = 0.99

_LOGPROBS = r"log[_ -]?prob(s|\b|abilit)|n_probs"
_RESTRICTION = r"logit[_ -]?bias|post_sampling_probs|\bsamplers?\b"
_BEGUN_ANSWER = r"prefill|last message|\bassistant\b.{0,40}\bmessage|enable_thinking"
_NUMBER_OF_ALTERNATIVES = r"top_?logprobs"
# Keys under which refusals are remembered. The first key means that the server refuses a request
# whose last message is the beginning of the answer. The second key means that the server refuses
# the number of alternatives; it is stored in a pair with the number that the server accepts.
_CUE_KEY, _FEWER_KEY = "begun answer", "fewer alternatives"
# If the status is not 4xx, the error text must also match this pattern: it must say that something
# is not supported, unknown or invalid.
_DENIAL = r"\b(un(supported|recogni[sz]ed|known|expected)|not|invalid|extra|cannot)\b|n't\b"

_OTHER_WAYS = (
    "use a decision model (its capabilities have decision=True), or this model on a server that "
    "returns log-probabilities, such as llama.cpp, Ollama or vLLM"
)
# Beginning of the warning that `max_tokens` cut the answer off. Here, one token is all that was
# requested, so this warning is removed.
_CUT_OFF = "max_tokens=1 ended the answer"
_THINKING = (
    "use a model that can answer without thinking, or a decision model: the first token of this "
    "answer belongs to its thinking"
)


class LabellingProvider(Protocol):
    """The members of a provider over HTTP that this module uses."""

    _unsupported: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the provider."""
        ...

    @property
    def _refused(self) -> Refusals:
        """The fields and schemas that the server refuses (`Refusals`)."""
        ...

    def _label_tokens(self, labels: Sequence[str], model: str, call: Call) -> Optional[LabelTokens]:
        """Return the tokens of labels; None if the server cannot restrict an answer to them."""
        ...

    def _adapt(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        """Adapt a request to the server, and return a warning for each field left out."""
        ...

    def _wire_request(
        self, request: CompletionRequest, model: str, call: Call
    ) -> Tuple[str, Dict[str, Any], ChunkParser]:
        """Return path, JSON and parser of a completion request."""
        ...

    def _open_stream(
        self,
        request: CompletionRequest,
        model: str,
        warnings: List[str],
        make_request: Callable[[Call], Tuple[str, Dict[str, Any], ChunkParser]],
        call: Call,
        span: Span,
    ) -> Stream:
        """Send a request and return its stream, which ends the call."""
        ...


def decide(
    provider: LabellingProvider, request: DecisionRequest, model: str, call: Call
) -> Decided:
    """Answer the questions about one state with a chat model.

    Args:
        provider: The provider.
        request: The request. Its state is not empty.
        model: Name of the model. The locality allows sending the state to it.
        call: The deadline and the cancellation state of all requests.

    Raises:
        CapabilityError: The server returns no log-probabilities; the model thinks before it
            answers; or the total probability of the possible answers is below `min_mass`.
        UnsupportedError: A question has more answers than the server can list.
        ProviderError: A request failed.
    """
    return _LabelDecisions(provider, request, model, call).decide()


class _Asked(NamedTuple):
    """One question: its request, the labels of its answers, and their tokens if they are known."""

    request: CompletionRequest
    labels: Tuple[str, ...]
    tokens: Optional[LabelTokens]


class _LabelDecisions:
    """The decisions about one state. The arguments are those of `decide`."""

    def __init__(
        self, provider: LabellingProvider, request: DecisionRequest, model: str, call: Call
    ) -> None:
        self._provider = provider
        self._request = request
        self._model = model
        self._call = call
        self._responses: List[CompletionResponse] = []
        self._warnings: List[str] = []

    def decide(self) -> Decided:
        """Make the requests of all questions, then send them, and return the decisions."""
        if "top_logprobs" in self._provider._unsupported:
            raise CapabilityError(
                f"{self._provider.name} returns no log-probabilities", hint=_OTHER_WAYS
            )
        asked = list(map(self._prepare, self._request.questions.values()))
        readings = [self._ask(each, number) for number, each in enumerate(asked, start=1)]
        return self._decided(readings)

    # --- the request of a question --------------------------------------------------------

    def _prepare(self, question: Question) -> _Asked:
        tokens = self._provider._label_tokens(tokens_to_find(question), self._model, self._call)
        is_llama = tokens is not None
        labels, tokens = self._labels_of(question, tokens)
        has_cue = is_llama and not self._provider._refused.has(self._model, _CUE_KEY)
        most = max(_MANY_ALTERNATIVES, _ALTERNATIVES_OF_LABEL * len(labels))
        request = CompletionRequest(
            model=self._model,
            messages=[
                # The prompt is not stored in a local variable, because a traceback with local
                # variables would show it.
                Message.user(
                    label_prompt(self._request.state, question, labels, has_cue=has_cue),
                    images=self._request.images,
                ),
                *([Message.assistant(CUE)] if has_cue else []),
            ],
            max_tokens=1,
            temperature=0.0,
            logprobs=True,
            top_logprobs=most if is_llama else self._most_alternatives(),
            thinking=False,
            keep_alive=self._request.keep_alive,
            # A server that refuses to switch thinking off gets the request without that field.
            strict=False,
        )
        return _Asked(request, labels, tokens)

    def _labels_of(
        self, question: Question, tokens: Optional[LabelTokens]
    ) -> Tuple[Tuple[str, ...], Optional[LabelTokens]]:
        """Return the labels of a question, and their tokens if all of them are known.

        Raises:
            UnsupportedError: The question has too many answers.
        """
        labels = None if tokens is None else choose_labels(question, tokens.ids)
        if labels is not None:
            return labels, tokens
        labels, listed = choose_labels(question), self._most_alternatives()
        if labels is None or len(labels) > listed:
            most = f"this kind of server lists at most {listed} tokens"
            if tokens is not None:
                most = f"the model has only {len(tokens.ids)} labels that are single tokens"
            raise UnsupportedError(
                f"a question has {len(question.answers)} answers, but {most}",
                hint="ask several questions with fewer options, or use a decision model",
            )
        return labels, None

    # --- the answer to a question ---------------------------------------------------------

    def _ask(self, asked: _Asked, number: int) -> Reading:
        """Send a question, and return the probabilities of its labels.

        Raises:
            CapabilityError: The model thinks before it answers, or the total probability of the
                labels is too small.
        """
        asked, free, response = self._read_free(asked)
        if response.thinking:
            raise CapabilityError(
                f"{self._model!r} thinks before it answers question {number}", hint=_THINKING
            )
        if free.mass < self._request.min_mass or not free.mass:
            raise small_mass(number, free.mass, self._request.min_mass, free.likeliest)
        exact = None if free.uncertainty <= _EXACT else self._restricted(asked)
        if exact is not None:
            return exact._replace(mass=free.mass)
        if free.uncertainty > _EXACT:
            self._warnings.append(_bounded_warning(self._provider.name, number, free))
        return free

    def _read_free(self, asked: _Asked) -> Tuple[_Asked, Reading, CompletionResponse]:
        """Send a question; if the server refuses an optional part, send it again without that part.

        The refusal is remembered for the provider and the model.
        """
        try:
            return (asked, *self._read(asked.request, asked.labels))
        except ProviderError as error:
            change, key = self._change_after(error, asked)
            if not change:
                raise
        asked = asked._replace(request=asked.request.replace(**change))
        reading, response = self._read(asked.request, asked.labels)
        self._provider._refused.add(self._model, key)
        return asked, reading, response

    def _change_after(
        self, error: ProviderError, asked: _Asked
    ) -> Tuple[Mapping[str, Any], Hashable]:
        """Return the changes after which the server may accept a request, and a key.

        The refusal is remembered under this key. The changes are empty if nothing can be changed.
        """
        messages = asked.request.messages
        if len(messages) > 1 and _refuses(error, _BEGUN_ANSWER):
            return {"messages": messages[:1]}, _CUE_KEY
        if _refuses(error, _NUMBER_OF_ALTERNATIVES):
            numbers = map(int, re.findall(r"\b\d{1,2}\b", error.server_message or ""))
            fewer = [n for n in numbers if len(asked.labels) <= n < _MOST_ALTERNATIVES]
            if fewer:
                return {"top_logprobs": max(fewer)}, (_FEWER_KEY, max(fewer))
        return {}, None

    def _most_alternatives(self) -> int:
        """Return how many alternatives the server lists for each token: 20 if it refused no number.

        If the server has refused a number, the result is the number that it accepts.
        """
        known = self._provider._refused
        smaller = range(1, _MOST_ALTERNATIVES) if known else ()
        found = (n for n in smaller if known.has(self._model, (_FEWER_KEY, n)))
        return next(found, _MOST_ALTERNATIVES)

    def _restricted(self, asked: _Asked) -> Optional[Reading]:
        """Return the probabilities from an answer that is restricted to the labels.

        The result is None if the server cannot restrict answers, or did not restrict this one.
        """
        if asked.tokens is None:
            return None
        ids = [token for label in asked.labels for token in asked.tokens.ids[label]]
        request = asked.request.replace(
            top_logprobs=len(ids), temperature=1.0, extra_body=asked.tokens.restrict(ids)
        )
        try:
            reading, _ = self._read(request, asked.labels)
        except ProviderError as error:
            if not _refuses(error, _RESTRICTION):
                raise
            return None
        if reading.mass < _RESTRICTED_MASS:
            # The server has loaded another model since we asked it for the tokens of the labels.
            asked.tokens.forget()
            return None
        return reading

    def _read(
        self, request: CompletionRequest, labels: Sequence[str]
    ) -> Tuple[Reading, CompletionResponse]:
        """Send a request; return the probabilities of the labels, and the response."""
        name = self._provider.name
        try:
            response = self._send(request)
        except ProviderError as error:
            if _refuses(error, _RESTRICTION) or not _refuses(error, _LOGPROBS):
                raise
            raise CapabilityError(
                f"{name} refuses log-probabilities",
                hint=_OTHER_WAYS,
                evidence=error.server_message,
                status=error.status,
                server_message=error.server_message,
            ) from None
        if not response.logprobs:
            raise CapabilityError(f"{name} returned no log-probabilities", hint=_OTHER_WAYS)
        self._responses.append(response)
        self._call.request_id = response.request_id
        return read_labels(response.logprobs, labels), response

    def _send(self, request: CompletionRequest) -> CompletionResponse:
        """Send a request within the call, without telemetry events, and return its response."""
        outer, provider = self._call, self._provider
        # The limit of an earlier request's last phase may still be in force.
        outer.enter(LOCAL_WORK)
        outer.look()
        call = Call(outer.limits_left(), outer.token, outer.clock)
        call.on_retry, call.on_connected = outer.on_retry, outer.on_connected
        try:
            adapted, warnings = provider._adapt(request)
            make = partial(provider._wire_request, adapted, self._model)
            return provider._open_stream(
                adapted, self._model, warnings, make, call, SILENT
            ).result()
        except LimitError as error:
            if error.limit != "total_s":
                raise
            total_error, cause = total_ended(outer, error), error.__cause__
        raise total_error from cause

    # --- the result -----------------------------------------------------------------------

    def _decided(self, readings: Sequence[Reading]) -> Decided:
        responses = self._responses
        warnings = [each for response in responses for each in response.warnings]
        found = [each for each in warnings if not each.startswith(_CUT_OFF)]
        return Decided(
            answers={
                name: Decision(
                    name=name,
                    kind=question.kind,
                    source="logprobs",
                    probabilities=dict(zip(question.answers, reading.probabilities)),
                    mass=reading.mass,
                )
                for (name, question), reading in zip(self._request.questions.items(), readings)
            },
            model=responses[-1].model,
            usage=reduce(sum_fields, [each.usage for each in responses]),
            server_timings=reduce(sum_fields, [each.server_timings for each in responses]),
            warnings=tuple(dict.fromkeys([*found, *self._warnings])),
            attempts=max(response.attempts for response in responses),
            raw=responses[-1].raw,
        )


def _bounded_warning(name: str, number: int, reading: Reading) -> str:
    count, missing = len(reading.probabilities), len(reading.missing)
    return (
        f"{name} listed only {count - missing} of the {count} possible answers to question "
        f"{number}. The probabilities of the others are upper limits, with a sum of "
        f"{reading.uncertainty:.2g}"
    )


def _refuses(error: ProviderError, names: str) -> bool:
    """Return whether the server refuses one of these fields."""
    return type(error) in REFUSALS and refuses(error, names, _DENIAL)
