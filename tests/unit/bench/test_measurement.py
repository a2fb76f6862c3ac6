from __future__ import annotations

import _thread
import threading
from typing import Any, Callable, Dict, List

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    CompletionRequest,
    CompletionResponse,
    ConfigurationError,
    ContextOverflowError,
    LimitError,
    Limits,
    LMStudioProvider,
    LocalProvider,
    ModelNotFoundError,
    OllamaProvider,
    OpenAICompatibleProvider,
    RetryPolicy,
    ServerBusyError,
    UnreachableError,
)
from localproviders.bench import Cell, Plan, Results, Step, measure
from localproviders.bench.measurement import Measurement
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
    Refusal,
    Reply,
)
from localproviders.types import Usage
from tests.support.bench import WrittenProvider, response

_SMALL = Plan(lengths=(64, 128), at_once=(1, 3), rounds=2, max_tokens=16, loads=1)
_WORDS = "word " * 40


def _cell(results: Results, kind: str, size: int = 0) -> Cell:
    (found,) = [cell for cell in results.cells if cell.key == (kind, size)]
    return found


def _texts(requests: List[CompletionRequest]) -> List[str]:
    return [request.messages[0].content for request in requests]


def _work(fake: FakeServer) -> List[Exchange]:
    """Return the requests that run a model."""
    return [each for each in fake.exchanges if each.path.endswith(("/chat", "/completions"))]


# --- with real sockets ----------------------------------------------------------------------------


def test_ollama_is_measured_with_its_own_counts() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as provider:
        fake.usual = _WORDS
        results = measure(provider, plan=_SMALL)
    assert [cell.key for cell in results.cells] == [
        *(("load", 0), ("prompt", 64), ("prompt", 128), ("at_once", 1), ("at_once", 3))
    ]
    for size in (64, 128):
        cell = _cell(results, "prompt", size)
        # The fake counts words, and sends these durations.
        assert (cell.prompt_tokens, cell.completion_tokens, cell.clock) == (size, 16, "server")
        speed = cell.figures["prompt_tokens_per_s"]
        assert speed.values == pytest.approx([size / 0.042642] * 2)
        assert cell.figures["first_token_s"].low > 0
    group = _cell(results, "at_once", 3)
    assert group.figures["total_tokens_per_s"].low > 0 and group.prompt_tokens == 64
    assert _cell(results, "load").figures["load_s"].low >= 0
    assert results.environment.model == "llama3.2" and results.environment.is_local
    assert (results.environment.rounds, results.environment.max_tokens) == (2, 16)
    assert [note for cell in results.cells for note in cell.notes] == []


def test_a_model_keeps_its_window_when_it_is_loaded_again() -> None:
    models = [FakeModel(name="m", loaded=True, context_length=8192)]
    with FakeLMStudio(models) as fake, LMStudioProvider(fake.url, model="m") as provider:
        fake.usual = _WORDS
        results = measure(provider, plan=_SMALL.replace(loads=2))
        paths = [exchange.path for exchange in fake.exchanges]
        (copy,) = provider.loaded_models()
    assert copy.context_length == 8192
    assert len(_cell(results, "load").figures["load_s"].values) == 2
    assert sum(path.endswith("/unload") for path in paths) == 2
    assert sum(path.endswith("/load") for path in paths) == 2


def test_no_model_is_unloaded_if_the_plan_has_no_loads() -> None:
    with FakeLMStudio() as fake, LMStudioProvider(fake.url) as provider:
        fake.usual = _WORDS
        results = measure(provider, model=fake.models[0].name, plan=_SMALL.replace(loads=0))
        assert not [each for each in fake.exchanges if each.path.endswith("/unload")]
    assert not results.of_kind("load")


def test_a_server_without_unload_is_measured_without_the_load_time() -> None:
    with FakeOpenAICompatible() as fake:
        fake.usual = _WORDS
        with OpenAICompatibleProvider(f"{fake.url}/v1", model="some-model") as provider:
            results = measure(provider, plan=_SMALL)
    (note,) = _cell(results, "load").notes
    assert "the load time was not measured" in note
    assert _cell(results, "prompt", 128).figures


def test_an_unknown_model_is_an_error_before_anything_is_measured() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url) as provider:
        with pytest.raises(ModelNotFoundError):
            measure(provider, model="nope", plan=_SMALL)
        with pytest.raises(ConfigurationError, match="model"):
            measure(provider, plan=_SMALL)
        assert not _work(fake)


def test_a_server_that_is_down_is_an_error() -> None:
    with OllamaProvider("127.0.0.1:9", model="m", retry=RetryPolicy(attempts=1)) as provider:
        with pytest.raises(UnreachableError):
            measure(provider, plan=_SMALL)


def test_a_server_that_is_busy_for_several_requests_is_noted() -> None:
    running: List[int] = []
    lock, both = threading.Lock(), threading.Barrier(2)

    def answer(exchange: Exchange) -> Any:
        # The second of two requests at once is refused. Both wait for each other.
        with lock:
            running.append(1)
            number = len(running)
        if number > 4:  # two for the warm-up, and one each of the first two cells
            place = both.wait(30)
            return Refusal(status="503 Service Unavailable") if place else _WORDS
        return _WORDS

    plan = Plan(lengths=(64,), at_once=(1, 2), rounds=1, loads=0, max_tokens=16)
    with FakeOllama() as fake:
        fake.usual = answer
        retry = RetryPolicy(attempts=1)
        with OllamaProvider(fake.url, model="llama3.2", retry=retry) as provider:
            results = measure(provider, plan=plan)
    assert _cell(results, "at_once", 1).figures
    cell = _cell(results, "at_once", 2)
    assert not cell.figures and len(cell.notes) == 1


def test_a_token_ends_the_measurement_while_requests_run() -> None:
    token, started = CancelToken(), threading.Barrier(3)

    def answer(exchange: Exchange) -> Any:
        if len(_work(fake)) <= 2:
            return _WORDS
        if started.wait(30) == 0:
            token.cancel()
        return Reply(text="more " * 500, pause_s=0.05)

    plan = Plan(lengths=(), at_once=(3,), rounds=2, loads=0)
    before = threading.active_count()
    with FakeOllama() as fake:
        fake.usual = answer
        with OllamaProvider(fake.url, model="llama3.2") as provider:
            with pytest.raises(CancelledError):
                measure(provider, plan=plan, cancel=token)
            assert not [t for t in threading.enumerate() if t.name == "localproviders-tool"]
    assert threading.active_count() <= before
    assert not token._listeners


def test_a_local_provider_is_measured_with_the_server_that_answered() -> None:
    with FakeOllama() as fake, FakeLMStudio() as other:
        fake.usual = other.usual = _WORDS
        servers = [LMStudioProvider(other.url), OllamaProvider(fake.url)]
        with LocalProvider(servers, aliases={"fast": "ollama/llama3.2"}) as provider:
            results = measure(provider, model="fast", plan=_SMALL)
        assert not _work(other)
    assert results.environment.server == "Ollama"
    assert results.environment.model == "llama3.2"
    assert _cell(results, "load").figures


# --- with written responses -----------------------------------------------------------------------


def test_all_prompts_differ_from_their_first_word_on() -> None:
    provider = WrittenProvider()
    measure(provider, model="m", plan=_SMALL)
    texts = _texts(provider.requests)
    assert len(texts) == 2 + 2 * (1 + 1 + 1 + 3)
    assert len({text.split()[0] for text in texts}) == len(texts)


def test_the_length_of_a_prompt_follows_the_tokenizer() -> None:
    def answer(request: CompletionRequest) -> CompletionResponse:
        words = len(request.messages[0].content.split())
        return response(usage=Usage(prompt_tokens=50 + 2 * words, completion_tokens=8))

    plan = Plan(lengths=(256, 1000), at_once=(), rounds=1, loads=0)
    results = measure(WrittenProvider(answer), model="m", plan=plan)
    for size in (256, 1000):
        assert _cell(results, "prompt", size).prompt_tokens == pytest.approx(size, abs=2)


def test_each_request_has_the_limits_and_the_number_of_tokens() -> None:
    provider = WrittenProvider()
    limits = Limits(idle_s=7, total_s=50)
    measure(provider, model="m", plan=_SMALL, timeout=limits)
    assert {(each.idle_s, each.total_s) for each in provider.timeouts} == {(7, 50)}
    assert {request.max_tokens for request in provider.requests} == {2, 16}
    assert {request.model for request in provider.requests} == {"m"}


def test_requests_of_a_group_run_at_once() -> None:
    barrier = threading.Barrier(5)

    def answer(request: CompletionRequest) -> CompletionResponse:
        if request.max_tokens != 2:
            barrier.wait(30)  # no request is answered before the fifth has begun
        return response()

    plan = Plan(lengths=(), at_once=(5,), rounds=2, loads=0)
    results = measure(WrittenProvider(answer), model="m", plan=plan)
    assert len(_cell(results, "at_once", 5).figures["total_tokens_per_s"].values) == 2


def test_a_prompt_that_cannot_fit_is_not_sent() -> None:
    provider = WrittenProvider()
    provider.context_length = 100
    results = measure(provider, model="m", plan=_SMALL)
    assert _cell(results, "prompt", 128).notes == (
        "prompt and answer need 144 tokens, and the context window has 100",
    )
    assert len(provider.requests) == 2 + 2 * (1 + 1 + 3)


def _answer_with(error_for: Callable[[int], Any]) -> Callable[[CompletionRequest], Any]:
    """Return an answer that raises the error for a number of words, if there is one."""

    def answer(request: CompletionRequest) -> CompletionResponse:
        words = len(request.messages[0].content.split())
        error = error_for(words)
        if error is not None:
            raise error
        return response(usage=Usage(prompt_tokens=words, completion_tokens=8))

    return answer


def test_an_overflow_is_noted_and_the_cell_is_not_tried_again() -> None:
    provider = WrittenProvider(
        _answer_with(lambda words: ContextOverflowError("too long") if words > 100 else None)
    )
    results = measure(provider, model="m", plan=_SMALL)
    assert _cell(results, "prompt", 128).notes == ("too long",)
    assert len(_cell(results, "prompt", 64).figures["first_token_s"].values) == 2
    assert len([text for text in _texts(provider.requests) if len(text.split()) > 100]) == 1


def test_if_nothing_can_be_measured_the_first_error_is_raised() -> None:
    calls: List[int] = []

    def error_for(words: int) -> Any:
        calls.append(words)
        return ServerBusyError(f"busy {len(calls)}") if len(calls) > 2 else None

    with pytest.raises(ServerBusyError, match="busy 3"):
        measure(WrittenProvider(_answer_with(error_for)), model="m", plan=_SMALL)


def test_if_no_length_fits_that_is_an_error() -> None:
    provider = WrittenProvider()
    provider.context_length = 60
    plan = Plan(lengths=(128,), at_once=(), loads=0)
    with pytest.raises(ConfigurationError, match="nothing was measured: prompt and answer need"):
        measure(provider, model="m", plan=plan)


class _Clock:
    """A clock that a provider advances with each request."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _with_clock(deadline_s: float, plan: Plan, seconds: float, **how: Any) -> Measurement:
    clock = _Clock()

    def answer(request: CompletionRequest) -> CompletionResponse:
        clock.now += seconds
        return response()

    how.setdefault("provider", WrittenProvider(answer))
    return Measurement(how["provider"], plan, deadline_s, clock=clock)


def test_the_deadline_ends_the_rounds_and_keeps_the_figures() -> None:
    plan = Plan(lengths=(64, 128), at_once=(), rounds=5, loads=0, max_tokens=16)
    # Two requests for the warm-up, and then three measurements, of 10 s each.
    results = _with_clock(50, plan, 10).run("m")
    assert len(_cell(results, "prompt", 64).figures["first_token_s"].values) == 2
    assert _cell(results, "prompt", 64).notes == ("2 of 5 rounds: the deadline of 50 s passed",)
    assert _cell(results, "prompt", 128).notes == ("1 of 5 rounds: the deadline of 50 s passed",)


def test_no_request_may_take_longer_than_the_deadline() -> None:
    provider = WrittenProvider()
    plan = Plan(lengths=(64,), at_once=(), rounds=1, loads=0)
    _with_clock(50, plan, 0, provider=provider).run("m")
    assert {limits.total_s for limits in provider.timeouts} == {50}


@pytest.mark.parametrize("seconds", [60, 25])
def test_a_deadline_before_the_first_figure_is_a_limit_error(seconds: float) -> None:
    plan = Plan(lengths=(64,), at_once=(2,), loads=1)
    with pytest.raises(LimitError, match="nothing was measured: the deadline of 50 s") as caught:
        _with_clock(50, plan, seconds).run("m")
    assert (caught.value.limit, caught.value.limit_s) == ("deadline_s", 50)


def test_a_request_that_the_deadline_cuts_ends_the_measurement() -> None:
    clock = _Clock()
    requests: List[CompletionRequest] = []

    def answer(request: CompletionRequest) -> CompletionResponse:
        requests.append(request)
        if len(requests) > 3:
            clock.now = 51
            raise LimitError("late", limit="total_s", limit_s=1, elapsed_s=1)
        return response()

    plan = Plan(lengths=(64, 128), at_once=(2,), rounds=3, loads=0)
    results = Measurement(WrittenProvider(answer), plan, 50, clock=clock).run("m")
    assert len(requests) == 4
    assert _cell(results, "at_once", 2).notes == ("the deadline of 50 s passed",)


@pytest.mark.parametrize("deadline_s", [0, -1, float("nan"), True, "60", None])
def test_an_impossible_deadline_is_refused(deadline_s: Any) -> None:
    provider = WrittenProvider()
    with pytest.raises(ConfigurationError, match="deadline_s is"):
        measure(provider, model="m", deadline_s=deadline_s)
    assert not provider.requests


def test_progress_counts_every_step_up_to_the_end() -> None:
    steps: List[Step] = []
    provider = WrittenProvider()
    provider.context_length = 100  # one cell is skipped
    measure(provider, model="m", plan=_SMALL, on_progress=steps.append)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[0] == Step(0, 9, "warm-up") and steps[-1] == Step(9, 9, "end")
    assert "prompt of 64 tokens, round 1" in {step.title for step in steps}


def test_an_exception_of_the_listener_comes_out_unchanged() -> None:
    def fail(step: Step) -> None:
        raise KeyError(step.title)

    with pytest.raises(KeyError, match="warm-up"):
        measure(WrittenProvider(), model="m", plan=_SMALL, on_progress=fail)


def test_a_token_that_is_cancelled_between_requests_ends_the_measurement() -> None:
    token = CancelToken()

    def cancel(step: Step) -> None:
        if step.done == 3:
            token.cancel()

    provider = WrittenProvider()
    with pytest.raises(CancelledError):
        measure(provider, model="m", plan=_SMALL, cancel=token, on_progress=cancel)
    assert len(provider.requests) < 2 + 2 * 6


def test_ctrl_c_cancels_the_requests_of_a_group_and_leaves_no_thread() -> None:
    cancelled, all_run = threading.Event(), threading.Barrier(3)

    def answer(request: CompletionRequest) -> CompletionResponse:
        if request.max_tokens != 2:
            provider.tokens[-1]._subscribe(cancelled.set)  # type: ignore[union-attr]  # it is one
            if all_run.wait(30) == 0:
                _thread.interrupt_main()
            assert cancelled.wait(30)
            raise CancelledError("cancelled")
        return response()

    provider = WrittenProvider(answer)
    with pytest.raises(KeyboardInterrupt):
        measure(provider, model="m", plan=Plan(lengths=(), at_once=(3,), loads=0))
    assert not [each for each in threading.enumerate() if each.name == "localproviders-tool"]


def test_an_exception_in_a_thread_of_a_group_comes_out_unchanged() -> None:
    failed: Dict[str, bool] = {}

    def answer(request: CompletionRequest) -> CompletionResponse:
        if request.max_tokens != 2:
            failed["once"] = True
            raise ZeroDivisionError("a listener's own")
        return response()

    with pytest.raises(ZeroDivisionError, match="a listener's own"):
        measure(WrittenProvider(answer), model="m", plan=Plan(lengths=(), at_once=(2,), loads=0))


def test_a_model_with_several_copies_is_not_unloaded() -> None:
    from localproviders.types import LoadedModel

    class Copies(WrittenProvider):
        def loaded_models(self, *, timeout: Any = None, cancel: Any = None) -> Any:
            return [LoadedModel(name="m", provider="w", instance=each) for each in ("m", "m:2")]

    cell = _cell(measure(Copies(), model="m", plan=_SMALL), "load")
    assert cell.notes == ("the load time was not measured, because the server has several copies",)
