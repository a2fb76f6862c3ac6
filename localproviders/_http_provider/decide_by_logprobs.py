"""Decisions of a chat model, from the probabilities of the first token of its answer.

The answers of a question have labels, such as A, B and C, and the model is asked for a label. Each
question is one request for one token. A second request is only sent to a llama.cpp server, and only
if its list of likely tokens lacks a label: it restricts the answer to the labels.

docs/decisions.md, "A decision of a chat model", has what the numbers mean.
"""

from __future__ import annotations

from functools import reduce
from types import CellType
from typing import List, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple

from localproviders._dialect.label_probabilities import Reading, read_labels
from localproviders._dialect.label_prompts import (
    CUE,
    LabelTokens,
    choose_labels,
    label_prompt,
    tokens_to_find,
)
from localproviders._http_provider.embedding import sum_fields
from localproviders._refusals import refuses
from localproviders._shared_deadline import SharedDeadline, SupportsComplete
from localproviders.errors import CapabilityError, ProviderError, UnsupportedError
from localproviders.settings import Settings
from localproviders.types.decisions import Decision, Decisions
from localproviders.types.limits import CancelToken, Limits
from localproviders.types.messages import Image, Message
from localproviders.types.questions import Question
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionResponse, Timings

# Most alternatives for a token that the servers accept (docs/reference/decisions.md, "A decision
# out of a chat model").
_MOST_ALTERNATIVES = 20
# llama.cpp has no such limit. Its first request asks for this many, so that the labels of most
# questions are among them and a second request is not necessary.
_MANY_ALTERNATIVES = 100
# With more labels, this many for each label: a label has several tokens.
_ALTERNATIVES_OF_LABEL = 4

# A second request is sent if the probabilities of missing labels can be wrong by more than this.
_EXACT = 1e-5
# In an answer that is restricted to the labels, nothing else has a probability.
_RESTRICTED_MASS = 0.99

_LOGPROBS = r"log[_ -]?prob(s|\b|abilit)|n_probs"
_RESTRICTION = r"logit[_ -]?bias|post_sampling_probs|\bsamplers?\b"
_BEGUN_ANSWER = r"prefill|last message|\bassistant\b.{0,40}\bmessage|enable_thinking"
# The key under which the refusal of a begun answer is remembered.
_CUE_KEY = "begun answer"
# With an error status other than 4xx, the text must also deny something.
_DENIAL = r"\b(un(supported|recogni[sz]ed|known|expected)|not|invalid|extra|cannot)\b|n't\b"

_OTHER_WAYS = (
    "use a decision model (its capabilities have decision=True), or this model on a server that "
    "returns log-probabilities, such as llama.cpp, Ollama or vLLM"
)
_OTHER_MODELS = (
    "use a model that follows instructions better, or a decision model; or pass a smaller "
    "min_mass. `likeliest` has the tokens that the model prefers"
)
# Beginning of the warning that an answer has only one token, which is wanted.
_CUT_OFF = "max_tokens=1 ended the answer"
_THINKING = (
    "use a model that can answer without thinking, or a decision model: the first token of this "
    "answer belongs to its thinking"
)


class LabellingProvider(SupportsComplete, Protocol):
    """The members of a provider that this module uses."""

    settings: Settings
    _unsupported: Mapping[str, str]

    def _label_tokens(
        self, labels: Sequence[str], model: str, limits: Limits, cancel: Optional[CancelToken]
    ) -> Optional[LabelTokens]:
        """Return the tokens of labels; None if the server cannot restrict an answer to them."""
        ...


class _Asked(NamedTuple):
    """One question: its request, the labels of its answers, and their tokens if they are known."""

    request: CompletionRequest
    labels: Tuple[str, ...]
    tokens: Optional[LabelTokens]


class LabelDecisions:
    """The decisions about one state. An instance is used once.

    Args:
        provider: The provider.
        shared: The deadline of all requests.
        model: Name of the model.
        min_mass: The smallest mass that is accepted.
        images: Images that belong to the state.
        keep_alive: Seconds for which the model stays loaded; None is the server's default.
    """

    def __init__(
        self,
        provider: LabellingProvider,
        shared: SharedDeadline,
        model: str,
        *,
        min_mass: float,
        images: Sequence[Image] = (),
        keep_alive: Optional[float] = None,
    ) -> None:
        self._provider = provider
        self._shared = shared
        self._model = model
        self._min_mass = min_mass
        self._images = images
        self._keep_alive = keep_alive
        self._responses: List[CompletionResponse] = []
        self._warnings: List[str] = []

    def decide(self, given: CellType) -> Decisions:
        """Ask all questions about the state and return the answers.

        Args:
            given: The sealed state, and the questions by their names.

        Raises:
            CapabilityError: The server returns no log-probabilities; the model thinks before it
                answers; or the mass of the labels is smaller than `min_mass`.
            UnsupportedError: A question has more answers than the server can list.
            ProviderError: A request failed.
        """
        if "top_logprobs" in self._provider._unsupported:
            raise self._lacks(f"{self._provider.name} returns no log-probabilities", _OTHER_WAYS)
        # All questions are checked before the first one is sent.
        count = len(given.cell_contents[1])
        asked = [self._prepare(given, number) for number in range(count)]
        readings = [
            self._ask(each, f"question {number} of {count}")
            for number, each in enumerate(asked, start=1)
        ]
        return self._answers(given, readings)

    # --- the request of a question --------------------------------------------------------

    def _prepare(self, given: CellType, number: int) -> _Asked:
        question = list(given.cell_contents[1].values())[number]
        wanted = tokens_to_find(question)
        tokens = self._shared.ask(
            lambda limits, cancel: self._provider._label_tokens(wanted, self._model, limits, cancel)
        )
        labels = self._labels_of(question, tokens)
        has_cue = tokens is not None and not self._provider._refused.has(self._model, _CUE_KEY)
        most = max(_MANY_ALTERNATIVES, _ALTERNATIVES_OF_LABEL * len(labels))
        request = CompletionRequest(
            model=self._model,
            messages=[
                # The prompt has no name here, because a traceback would show it.
                Message.user(
                    label_prompt(given.cell_contents[0], question, labels, has_cue=has_cue),
                    images=self._images,
                ),
                *([Message.assistant(CUE)] if has_cue else []),
            ],
            max_tokens=1,
            temperature=0.0,
            logprobs=True,
            top_logprobs=_MOST_ALTERNATIVES if tokens is None else most,
            thinking=False,
            keep_alive=self._keep_alive,
            # A server that refuses the switch of thinking gets the request without it.
            strict=False,
        )
        return _Asked(request, labels, tokens)

    def _labels_of(self, question: Question, tokens: Optional[LabelTokens]) -> Tuple[str, ...]:
        labels = choose_labels(question, None if tokens is None else tokens.ids)
        if labels is not None and (tokens is not None or len(labels) <= _MOST_ALTERNATIVES):
            return labels
        most = (
            f"this kind of server lists at most {_MOST_ALTERNATIVES} tokens"
            if tokens is None
            else "the model has too few labels that are one token"
        )
        raise UnsupportedError(
            f"a question has {len(question.answers)} answers, but {most}",
            hint="ask several questions with fewer options, or use a decision model",
            provider=self._provider.name,
            model=self._model,
        )

    # --- its answer -----------------------------------------------------------------------

    def _ask(self, asked: _Asked, place: str) -> Reading:
        """Send a question, and return the probabilities of its labels.

        Raises:
            CapabilityError: The mass of the labels is too small.
        """
        asked, free, response = self._read_free(asked)
        if response.thinking:
            raise self._lacks(f"{self._model!r} thinks before it answers {place}", _THINKING)
        if free.mass < self._min_mass or not free.mass:
            raise self._lacks(
                f"{self._model!r} gives the answers to {place} a share of {free.mass:.2g} of all "
                f"that it could write, and min_mass is {self._min_mass:g}",
                _OTHER_MODELS,
                free,
            )
        if free.uncertainty <= _EXACT:
            return free
        exact = self._restricted(asked)
        if exact is not None:
            return exact._replace(mass=free.mass)
        self._warnings.append(
            f"{self._provider.name} listed {len(asked.labels) - len(free.missing)} of the "
            f"{len(asked.labels)} answers to {place}: the others have the highest probability "
            f"that is possible for them, together {free.uncertainty:.2g}"
        )
        return free

    def _read_free(self, asked: _Asked) -> Tuple[_Asked, Reading, CompletionResponse]:
        """Send a question; if the server refuses to continue an answer, send it without the cue.

        The refusal is remembered for the provider and the model.
        """
        try:
            return (asked, *self._read(asked.request, asked.labels))
        except ProviderError as error:
            messages = asked.request.messages
            if len(messages) == 1 or not refuses(error, _BEGUN_ANSWER, _DENIAL):
                raise
        asked = asked._replace(request=asked.request.replace(messages=messages[:1]))
        reading, response = self._read(asked.request, asked.labels)
        self._provider._refused.add(self._model, _CUE_KEY)
        return asked, reading, response

    def _restricted(self, asked: _Asked) -> Optional[Reading]:
        """Return the probabilities from an answer that is restricted to the labels.

        The result is None if the server cannot restrict it, or did not.
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
            if not refuses(error, _RESTRICTION, _DENIAL):
                raise
            return None
        if reading.mass < _RESTRICTED_MASS:
            # The server has loaded another model since it was asked for the tokens.
            asked.tokens.forget()
            return None
        return reading

    def _read(
        self, request: CompletionRequest, labels: Sequence[str]
    ) -> Tuple[Reading, CompletionResponse]:
        """Send a request, and return what its first token says about the labels."""
        try:
            response = self._shared.send(request)
        except ProviderError as error:
            if refuses(error, _RESTRICTION, _DENIAL) or not refuses(error, _LOGPROBS, _DENIAL):
                raise
            refusal = self._lacks(f"{self._provider.name} refuses log-probabilities", _OTHER_WAYS)
            refusal.evidence, refusal.status = error.server_message, error.status
            refusal.server_message = error.server_message
            raise refusal from None
        if not response.logprobs:
            raise self._lacks(f"{self._provider.name} returned no log-probabilities", _OTHER_WAYS)
        self._responses.append(response)
        return read_labels(response.logprobs, labels), response

    def _lacks(self, message: str, hint: str, reading: Optional[Reading] = None) -> CapabilityError:
        return CapabilityError(
            message,
            hint=hint,
            mass=None if reading is None else reading.mass,
            likeliest=() if reading is None else reading.likeliest,
            provider=self._provider.name,
            model=self._model,
            endpoint=self._provider.settings.endpoint.url,
        )

    # --- the result -----------------------------------------------------------------------

    def _answers(self, given: CellType, readings: Sequence[Reading]) -> Decisions:
        pairs = zip(given.cell_contents[1].items(), readings)
        last = self._responses[-1]
        warnings = [
            warning
            for response in self._responses
            for warning in response.warnings
            if not warning.startswith(_CUT_OFF)
        ]
        return Decisions(
            answers={
                name: Decision(
                    name=name,
                    kind=question.kind,
                    source="logprobs",
                    probabilities=dict(zip(question.answers, reading.probabilities)),
                    mass=reading.mass,
                )
                for (name, question), reading in pairs
            },
            model=last.model,
            provider=last.provider,
            endpoint=self._provider.settings.endpoint.url,
            usage=reduce(sum_fields, [each.usage for each in self._responses]),
            timings=Timings(total_s=self._shared.elapsed_s),
            server_timings=reduce(sum_fields, [each.server_timings for each in self._responses]),
            warnings=tuple(dict.fromkeys([*warnings, *self._warnings])),
            attempts=max(response.attempts for response in self._responses),
            raw=last.raw,
        )
