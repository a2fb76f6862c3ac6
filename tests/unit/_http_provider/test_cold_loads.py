"""`load_s` counts only where the model may have to be loaded, and a warm call is one request."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest

from localproviders import (
    CompletionRequest,
    LimitError,
    Limits,
    LlamaCppProvider,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
)
from localproviders._http.deadline import Call
from localproviders._http_provider import cold_loads
from localproviders._http_provider.cold_loads import KeepAlive
from localproviders.testing import (
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
)
from localproviders.types import LoadedModel

#: The limits of a call that meets a silent server. Their sum is exact in binary.
QUICK = Limits(load_s=0.25, first_token_s=0.125)
SUM_S, ALONE_S = 0.375, 0.125


class Side(NamedTuple):
    fake: Any
    provider: Any
    #: The path of the list of loaded models.
    listing: str

    def take_paths(self) -> List[str]:
        paths = [exchange.path for exchange in self.fake.exchanges]
        self.fake.exchanges.clear()
        return paths

    def limit_of_silence(self) -> float:
        """Return the limit that ends a chat with a silent server."""
        self.fake.break_next("silence")
        with pytest.raises(LimitError) as caught:
            self.provider.chat("Hi", timeout=QUICK)
        assert caught.value.limit == "first_token_s"
        assert ("load_s" in caught.value.message) == (caught.value.limit_s == SUM_S)
        return caught.value.limit_s


_KINDS = {
    "ollama": (FakeOllama, OllamaProvider, "/api/ps"),
    "lmstudio": (FakeLMStudio, LMStudioProvider, "/api/v1/models"),
    "llamacpp": (FakeLlamaCpp, LlamaCppProvider, "/v1/models"),
}
#: The kinds of servers that report how long a model stays in memory.
_TELL_THE_TIME = ["lmstudio", "ollama"]


@pytest.fixture(params=sorted(_KINDS))
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    fake, provider, listing = _KINDS[request.param]
    abilities = [("chat", "completion"), ("embeddings",)]
    models = [FakeModel(name=name, abilities=can) for name, can in zip(["m", "vectors"], abilities)]
    with fake([*models, FakeModel(name="other")]) as server:
        with provider(server.url, model="m") as made:
            yield Side(server, made, listing)


class Clock:
    """The clock of the package's knowledge about models; the servers' clocks do not move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cold_loads, "time", SimpleNamespace(monotonic=made))
    return made


CALLS: List[Callable[[Any], Any]] = [
    lambda provider: provider.chat("Hi"),
    lambda provider: list(provider.stream("Hi")),
    lambda provider: provider.complete(CompletionRequest(prompt="Hi")),
    lambda provider: provider.embed(["a"], model="vectors"),
]


@pytest.mark.parametrize("call", CALLS, ids=["chat", "stream", "complete", "embed"])
def test_a_warm_call_is_one_request(side: Side, call: Callable[[Any], Any]) -> None:
    call(side.provider)
    side.take_paths()

    call(side.provider)

    assert len(side.take_paths()) == 1


@pytest.mark.parametrize("call", CALLS, ids=["chat", "stream", "complete", "embed"])
def test_after_its_keep_alive_the_server_is_asked_once(
    side: Side, clock: Clock, call: Callable[[Any], Any]
) -> None:
    call(side.provider)
    side.take_paths()
    clock.now += 61

    call(side.provider)
    assert side.take_paths().count(side.listing) == 1
    call(side.provider)
    assert side.listing not in side.take_paths()


@pytest.mark.parametrize("side", _TELL_THE_TIME, indirect=True)
def test_the_keep_alive_that_the_server_reports_counts_from_then_on(
    side: Side, clock: Clock
) -> None:
    """Ollama keeps a model for 300 s, LM Studio for an hour."""
    side.provider.chat("Hi")
    clock.now += 61
    side.provider.chat("Hi")
    side.take_paths()

    clock.now += 290
    side.provider.chat("Hi")

    assert side.listing not in side.take_paths()


@pytest.mark.parametrize("side", ["llamacpp"], indirect=True)
def test_without_a_reported_time_the_server_is_asked_every_minute(side: Side, clock: Clock) -> None:
    """A router may unload the model at any time, and a single model may go to sleep."""
    side.provider.chat("Hi")
    clock.now += 61
    assert side.limit_of_silence() == ALONE_S
    side.provider.load("m")
    side.fake.loaded.clear()
    clock.now += 61

    assert side.limit_of_silence() == SUM_S


@pytest.mark.parametrize("name", ["m", "any-name", "an-alias"])
def test_the_only_model_of_llama_cpp_serves_every_name(clock: Clock, name: str) -> None:
    with FakeLlamaCpp(["m"]) as fake, LlamaCppProvider(fake.url, model=name) as provider:
        side = Side(fake, provider, "/v1/models")
        provider.chat("Hi")
        clock.now += 61
        assert side.limit_of_silence() == ALONE_S
        provider.chat("Hi")
        fake.sleeping = True
        clock.now += 61
        assert side.limit_of_silence() == SUM_S


def test_load_s_counts_for_the_first_call(side: Side) -> None:
    assert side.limit_of_silence() == SUM_S


def test_load_s_does_not_count_for_a_model_that_has_just_answered(side: Side) -> None:
    side.provider.chat("Hi")

    assert side.limit_of_silence() == ALONE_S


def test_load_s_does_not_count_where_the_server_lists_the_model(side: Side, clock: Clock) -> None:
    side.provider.chat("Hi")
    clock.now += 61

    assert side.limit_of_silence() == ALONE_S


def test_load_s_counts_where_the_model_has_left_memory(side: Side, clock: Clock) -> None:
    side.provider.chat("Hi")
    side.fake.loaded.clear()
    clock.now += 61

    assert side.limit_of_silence() == SUM_S


def test_load_s_counts_after_a_failure(side: Side) -> None:
    side.provider.chat("Hi")
    side.fake.break_next("status 500 with HTML")
    with pytest.raises(ProviderError):
        side.provider.chat("Hi")

    assert side.limit_of_silence() == SUM_S


def test_load_s_does_not_count_after_load_and_counts_after_unload(side: Side) -> None:
    side.provider.load("m")
    assert side.limit_of_silence() == ALONE_S

    side.provider.load("m")
    side.provider.unload("m")
    assert side.limit_of_silence() == SUM_S


def test_a_load_of_another_model_may_remove_this_one(side: Side) -> None:
    side.provider.chat("Hi")
    side.provider.chat("Hi", model="other")
    side.take_paths()
    side.fake.loaded.pop("m", None)

    assert side.limit_of_silence() == SUM_S
    assert side.listing in side.take_paths()


def test_while_one_request_loads_a_model_load_s_counts_for_others(side: Side, clock: Clock) -> None:
    """Ollama lists a model before it is loaded."""
    side.provider.chat("Hi")
    side.fake.loaded.clear()
    clock.now += 61
    may_load = side.provider._cold_loads.may_load

    assert may_load("m", {}, Call(QUICK), side.provider)
    side.fake.loaded["m"] = 4096
    assert may_load("m", {}, Call(QUICK), side.provider)


@pytest.mark.parametrize(
    "changed", [{"context_length": 512}, {"extra_body": {"options": {"num_gpu": 0}}}]
)
def test_load_s_counts_for_options_that_load_the_model_again(changed: Dict[str, Any]) -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        side = Side(fake, provider, "/api/ps")
        provider.chat("Hi", temperature=0)
        fake.break_next("silence")
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi", timeout=QUICK, **changed)
        assert caught.value.limit_s == SUM_S

        provider.chat("Hi", **changed)
        provider.chat("Hi", seed=1, **changed)
        assert side.limit_of_silence() == SUM_S  # back to the options of the first call
        provider.chat("Hi")
        assert side.limit_of_silence() == ALONE_S


def test_a_request_that_unloads_its_model_leaves_a_cold_one(clock: Clock) -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        side = Side(fake, provider, "/api/ps")
        provider.chat("Hi", keep_alive=0)

        assert side.limit_of_silence() == SUM_S


def test_the_keep_alive_of_a_request_counts_for_ollama(clock: Clock) -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        side = Side(fake, provider, "/api/ps")
        provider.chat("Hi", keep_alive="10m")
        side.take_paths()
        clock.now += 599
        provider.chat("Hi")
        assert side.listing not in side.take_paths()
        clock.now += 601
        provider.chat("Hi")
        assert side.listing in side.take_paths()


def test_a_short_ttl_of_lm_studio_counts(clock: Clock) -> None:
    with FakeLMStudio(["m"]) as fake, LMStudioProvider(fake.url, model="m") as provider:
        side = Side(fake, provider, "/api/v1/models")
        provider.chat("Hi", keep_alive=10)
        side.take_paths()
        clock.now += 11
        provider.chat("Hi")
        assert side.listing in side.take_paths()


def test_a_server_that_lists_no_loaded_models_is_never_asked(clock: Clock) -> None:
    with FakeOpenAICompatible(["m"]) as fake:
        with OpenAICompatibleProvider(f"{fake.url}/v1", model="m") as provider:
            side = Side(fake, provider, "/none")
            provider.chat("Hi")
            clock.now += 1e6
            side.take_paths()
            provider.chat("Hi")
            assert len(side.take_paths()) == 1
            assert side.limit_of_silence() == SUM_S


@pytest.mark.parametrize("limits", [Limits(load_s=0), Limits(first_token_s=math.inf)])
def test_nothing_is_asked_where_load_s_changes_nothing(
    side: Side, clock: Clock, limits: Limits
) -> None:
    side.provider.chat("Hi")
    clock.now += 61
    side.take_paths()

    side.provider.chat("Hi", timeout=limits)

    assert len(side.take_paths()) == 1


def test_a_server_that_cannot_list_its_models_now_is_no_failure(side: Side, clock: Clock) -> None:
    side.provider.chat("Hi")
    clock.now += 61
    side.fake.break_next("status 500 with HTML", path=side.listing)

    assert side.provider.chat("Hi").text


def test_a_silent_list_does_not_end_a_call_that_has_more_time(
    side: Side, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold_loads, "_ASKING_S", 0.05)
    side.provider.chat("Hi")
    clock.now += 61
    side.fake.break_next("silence", path=side.listing)

    assert side.provider.chat("Hi").text


def test_a_silent_list_ends_a_call_whose_time_is_over(side: Side, clock: Clock) -> None:
    side.provider.chat("Hi")
    clock.now += 61
    side.fake.break_next("silence", path=side.listing, times=None)

    with pytest.raises(LimitError) as caught:
        side.provider.chat("Hi", timeout=0.2)
    assert (caught.value.limit, caught.value.limit_s) == ("total_s", 0.2)


def test_a_model_that_is_about_to_leave_memory_counts_as_cold() -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=0.5)
    state = cold_loads.ColdLoads(KeepAlive())._state_of(
        LoadedModel(name="m", provider="ollama", expires_at=soon)
    )
    assert state.is_loaded is False
