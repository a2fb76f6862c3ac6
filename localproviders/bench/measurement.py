"""`measure`: measures the speed of a model on a server."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Union

from localproviders._parallel import ParallelWork
from localproviders._signatures import exact_keywords
from localproviders.bench.environment import ServerFacts, machine_facts
from localproviders.bench.plan import Plan
from localproviders.bench.prompts import Prompts, Scale, scale_of
from localproviders.bench.results import Environment, Results
from localproviders.bench.sample import Collector, Sample, Timed, sample_of
from localproviders.errors import (
    CancelledError,
    ConfigurationError,
    LimitError,
    ProviderError,
    UnsupportedError,
)
from localproviders.local import LocalProvider
from localproviders.provider import ModelProvider
from localproviders.types.inputs import named
from localproviders.types.limits import CancelToken, Limits, Timeout, describe
from localproviders.types.messages import Message
from localproviders.types.requests import CompletionRequest, ModelLike
from localproviders.types.responses import CompletionResponse

#: Seconds that a measurement may take if the caller sets no deadline.
DEADLINE_S = 900.0

# Lengths, in words, of the two prompts that show how many tokens a word has.
_FEW_WORDS, _MANY_WORDS = 20, 80
# Seconds of one wait for a thread. On Windows, Ctrl-C interrupts only a wait that has a timeout.
_WAIT_S = 1.0


class Step(NamedTuple):
    """The progress of a measurement.

    Attributes:
        done: Number of steps that have ended.
        total: Number of all steps.
        title: The step that begins now, such as ``prompt of 512 tokens, round 2``; ``end`` at the
            end.
    """

    done: int
    total: int
    title: str


@exact_keywords
def measure(
    provider: ModelProvider,
    *,
    model: Optional[ModelLike] = None,
    plan: Optional[Plan] = None,
    deadline_s: float = DEADLINE_S,
    timeout: Timeout = None,
    cancel: Optional[CancelToken] = None,
    on_progress: Optional[Callable[[Step], object]] = None,
) -> Results:
    """Measure how fast a model runs on a server, and return the figures.

    First, two short prompts load the model and show how many tokens a word has. Then the model is
    unloaded and loaded again, if the server supports this. The model keeps its context window.
    After that, each round measures each prompt length, and then each number of simultaneous
    requests.

    Every prompt is different, so that a prompt cache does not change the figures. All token counts
    come from the server. If the server does not send them, there are no speeds. Simultaneous
    requests are sent by threads, which have ended when this function returns.

    If a single measurement fails, its `Cell` has the reason in `notes` instead of figures. Examples
    of reasons are a prompt that does not fit into the context window, and a busy server.

    Args:
        provider: The provider to measure. With a `LocalProvider`, the first server that answers is
            measured.
        model: Name of the model, or its `ModelInfo`; None means the provider's model.
        plan: The measurements; None means ``Plan()``.
        deadline_s: Seconds for the complete measurement; infinity means no limit. When this time
            has passed, the results so far are returned, and the `notes` of the incomplete cells
            name the deadline.
        timeout: Limits of each request: seconds for the whole request, or a `Limits` value. None
            means the provider's limits.
        cancel: Token with which another thread can cancel the measurement.
        on_progress: Function that is called before each step and at the end, in the thread of this
            call. If it raises an exception, the measurement ends with this exception.

    Raises:
        ConfigurationError: No model is named, or `deadline_s` is not a number above zero.
        ModelNotFoundError: The server has no such model.
        LimitError: A limit expired before anything was measured.
        CancelledError: The measurement was cancelled.
        ProviderError: The first request failed, or every measurement failed. If every measurement
            failed, the first error that is not an `UnsupportedError` is raised; if there is none,
            the first `UnsupportedError`.
    """
    is_number = isinstance(deadline_s, (int, float)) and not isinstance(deadline_s, bool)
    if not is_number or not deadline_s > 0:
        raise ConfigurationError(f"deadline_s is {deadline_s!r}, and must be a number above zero")
    work = Measurement(provider, plan or Plan(), deadline_s, timeout, on_progress)
    with work.cancelled_by(cancel):
        return work.run(None if model is None else named(model))


class _DeadlineError(Exception):
    """The deadline of the measurement has passed."""


class _Subscription:
    """A context manager that forwards a caller's token to the token of a measurement."""

    def __init__(self, caller: Optional[CancelToken], own: CancelToken) -> None:
        self._caller, self._own = caller, own

    def __enter__(self) -> None:
        if self._caller is not None:
            self._caller._subscribe(self._own.cancel)

    def __exit__(self, *_: object) -> None:
        if self._caller is not None:
            self._caller._unsubscribe(self._own.cancel)


class Measurement:
    """One measurement, as the docstring of `measure` describes it.

    Args:
        provider: The provider to measure.
        plan: The measurements.
        deadline_s: Seconds for the complete measurement.
        timeout: Limits of each request.
        on_progress: Function that is called before each step, or None.
        clock: A monotonic clock in seconds. Tests pass their own.
        prompts: The source of the prompts. Tests pass their own.
    """

    def __init__(
        self,
        provider: ModelProvider,
        plan: Plan,
        deadline_s: float,
        timeout: Timeout = None,
        on_progress: Optional[Callable[[Step], object]] = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        prompts: Optional[Prompts] = None,
    ) -> None:
        self._provider, self._plan = provider, plan
        self._model: Optional[str] = None
        self._limits = provider.limits(timeout)
        self._clock, self._deadline_s = clock, deadline_s
        self._started = clock()
        self._ends_at = self._started + deadline_s
        self._on_progress, self._done = on_progress, 0
        self._token = CancelToken()
        self._prompts, self._scale = prompts or Prompts(), Scale()
        self._collectors = [
            *([Collector("load", 0, plan.loads)] if plan.loads else []),
            *(Collector("prompt", length, plan.rounds) for length in plan.lengths),
            *(Collector("at_once", number, plan.rounds) for number in plan.at_once),
        ]

    def cancelled_by(self, token: Optional[CancelToken]) -> _Subscription:
        """Return a context manager within which the caller's token cancels this measurement."""
        return _Subscription(token, self._token)

    def run(self, model: Optional[str]) -> Results:
        """Make all measurements, and return the results.

        Raises:
            ProviderError: Nothing could be measured, or the call was cancelled.
        """
        self._model = model
        why = f"the deadline of {describe(self._deadline_s)} passed"
        facts: Dict[str, Any] = {}
        try:
            facts = self._prepare()
            self._measure_loads()
            self._skip_too_long(facts.get("context_length"))
            self._measure_rounds()
        except _DeadlineError:
            for collector in self._collectors:
                collector.end(why)
        results = Results(
            environment=Environment(
                **{**machine_facts(), **facts},
                rounds=self._plan.rounds,
                max_tokens=self._plan.max_tokens,
            ),
            cells=tuple(collector.cell() for collector in self._collectors),
        )
        if results.is_empty:
            raise self._failure(why)
        self._report("end", self._plan.steps)
        return results

    def _failure(self, why: str) -> ProviderError:
        """Return the error of a measurement without any figure."""
        errors = [each.first_error for each in self._collectors if each.first_error is not None]
        if errors:
            # Any other error is more important than an unload that the server does not support.
            return next((e for e in errors if not isinstance(e, UnsupportedError)), errors[0])
        notes = [note for each in self._collectors for note in each.cell().notes]
        if why in notes or not notes:
            return LimitError(
                f"nothing was measured: {why}",
                limit="deadline_s",
                limit_s=self._deadline_s,
                elapsed_s=self._clock() - self._started,
                hint="use a longer deadline, or shorter prompts",
                provider=self._provider.name,
            )
        return ConfigurationError(f"nothing was measured: {notes[-1]}", hint="use shorter prompts")

    # --- single requests ----------------------------------------------------------------------

    def _limits_left(self) -> Limits:
        left = self._ends_at - self._clock()
        if left <= 0:
            raise _DeadlineError
        return self._limits.replace(total_s=min(self._limits.total_s, left))

    def _send(self, words: int, max_tokens: int) -> CompletionResponse:
        request = CompletionRequest(
            model=self._model,
            messages=(Message.user(self._prompts.next(words)),),
            max_tokens=max_tokens,
        )
        limits = self._limits_left()
        return self._provider.complete(request, timeout=limits, cancel=self._token)

    def _check_deadline(self, error: ProviderError) -> None:
        """Raise the error again if it ends the whole measurement, not only one cell."""
        if isinstance(error, CancelledError):
            raise error
        if isinstance(error, LimitError) and self._clock() >= self._ends_at:
            raise _DeadlineError from None

    # --- the steps ----------------------------------------------------------------------------

    def _prepare(self) -> Dict[str, Any]:
        """Load the model, learn how many tokens a word has, and return the facts of the server."""
        self._report("warm-up")
        try:
            few = self._send(_FEW_WORDS, 2)
            self._choose_server(few)
            many = self._send(_MANY_WORDS, 2)
        except ProviderError as error:
            self._check_deadline(error)
            raise
        counts = few.usage.prompt_tokens, many.usage.prompt_tokens
        self._scale = scale_of(_FEW_WORDS, counts[0], _MANY_WORDS, counts[1]) or Scale()
        self._facts = ServerFacts(
            self._provider, self._model or "", self._limits_for_facts, self._token
        )
        return self._facts.all(few.endpoint)

    def _limits_for_facts(self) -> Limits:
        limits = self._limits_left()
        return limits.replace(total_s=min(limits.total_s, 30.0))

    def _choose_server(self, answer: CompletionResponse) -> None:
        """Use the server and the model that sent this answer for all further requests."""
        if isinstance(self._provider, LocalProvider):
            limits = self._limits_left()
            found = self._provider.providers(timeout=limits, cancel=self._token)
            servers = {each.name: each for each in found}
            self._provider = servers.get(answer.provider, self._provider)
            self._model = answer.model
        self._model = self._model or answer.model

    def _measure_loads(self) -> None:
        for number, collector in enumerate(self._of("load") * self._plan.loads, 1):
            self._report(f"load {number} of {self._plan.loads}")
            if collector.is_open:
                self._attempt(collector, self._load)
            self._done += 1

    def _load(self) -> Sample:
        """Unload the model and load it again, with the context window that it had."""
        copies = self._facts.loaded_copies()
        if copies is None or len(copies) != 1:
            found = "does not list its loaded models" if copies is None else "has several copies"
            found = "does not list this model as loaded" if copies == [] else found
            raise UnsupportedError(f"the load time was not measured, because the server {found}")
        window = copies[0].context_length
        how: Dict[str, Any] = {"timeout": self._limits_left(), "cancel": self._token}
        self._provider.unload(self._model or "", **how)
        how["timeout"] = self._limits_left()
        started = self._clock()
        self._provider.load(self._model or "", context_length=window, check_memory=False, **how)
        return Sample({"load_s": self._clock() - started})

    def _skip_too_long(self, window: Optional[int]) -> None:
        for collector in self._of("prompt"):
            needed = collector.size + self._plan.max_tokens
            if window is not None and needed > window:
                collector.skip(
                    f"prompt and answer need {needed} tokens, and the context window has {window}"
                )

    def _measure_rounds(self) -> None:
        # A round measures every cell once, so that a change of the machine's speed during the
        # measurement affects all cells alike.
        for number in range(1, self._plan.rounds + 1):
            for collector in [*self._of("prompt"), *self._of("at_once")]:
                self._report(f"{_TITLES[collector.kind].format(collector.size)}, round {number}")
                if collector.is_open:
                    self._attempt(collector, partial(self._sample, collector))
                self._done += 1

    def _attempt(self, collector: Collector, work: Callable[[], Sample]) -> None:
        try:
            collector.add(work())
        except ProviderError as error:
            self._check_deadline(error)
            collector.fail(error)

    def _sample(self, collector: Collector) -> Sample:
        is_group = collector.kind == "at_once"
        size = collector.size
        timed = self._send_at_once(size) if is_group else [self._timed(size)]
        return sample_of(timed, self._plan.max_tokens, is_group=is_group)

    def _timed(self, tokens: int) -> Timed:
        started = self._clock()
        response = self._send(self._scale.words(tokens), self._plan.max_tokens)
        return Timed(response, started, self._clock())

    def _send_at_once(self, number: int) -> List[Timed]:
        """Send several requests in threads, and wait for all of them.

        Raises:
            ProviderError: A request failed. The other requests have ended, too.
        """
        requests = [partial(self._timed_or_error, self._plan.at_once_length)] * number
        work: ParallelWork[Union[Timed, Exception]] = ParallelWork(requests, number)
        ended = []
        try:
            work.start()
            for _ in requests:
                ended.append(work.take(_wait))
        except BaseException:
            self._token.cancel()  # the threads and the measurement end immediately
            raise
        finally:
            work.stop()
        errors = [each for each in ended if isinstance(each, Exception)]
        for error in sorted(errors, key=lambda each: not isinstance(each, _DeadlineError)):
            raise error
        return [each for each in ended if isinstance(each, Timed)]

    def _timed_or_error(self, tokens: int) -> Union[Timed, Exception]:
        try:
            return self._timed(tokens)
        except (ProviderError, _DeadlineError) as error:
            return error

    # --- progress -----------------------------------------------------------------------------

    def _of(self, kind: str) -> List[Collector]:
        return [collector for collector in self._collectors if collector.kind == kind]

    def _report(self, title: str, done: Optional[int] = None) -> None:
        self._token_check()
        if self._on_progress is not None:
            step = Step(self._done if done is None else done, self._plan.steps, title)
            self._on_progress(step)

    def _token_check(self) -> None:
        if self._token.cancelled:
            raise CancelledError("the measurement was cancelled", provider=self._provider.name)


_TITLES = {"prompt": "prompt of {} tokens", "at_once": "{} at once"}


def _wait(event: Any) -> None:
    while not event.wait(_WAIT_S):
        pass
