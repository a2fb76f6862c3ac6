"""The strategy ``balanced``: the work is shared, equal beginnings stay together, hosts may die."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders import (
    AllFailedError,
    CallEvent,
    CompletionRequest,
    ConfigurationError,
    LlamaCppProvider,
    LMStudioProvider,
    LocalityError,
    LocalProvider,
    Message,
    OllamaProvider,
    ProviderError,
    RetryPolicy,
    StreamInterruptedError,
)
from localproviders.config import Config, ServerConfig
from localproviders.local.balance import Balancer, Lease, beginnings_of
from localproviders.local.gguf import HostedProvider
from localproviders.local.servers import Breaker, Route, Server
from localproviders.testing import (
    Exchange,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    Reply,
)
from localproviders.types import ModelInfo

ONCE = RetryPolicy(attempts=1)
THREADS = 16


@contextlib.contextmanager
def farm(*names: str, models: Any = ("m",), **options: Any) -> Iterator[Tuple[LocalProvider, Any]]:
    """Start a fake Ollama for each name, and a `LocalProvider` over all of them."""
    with contextlib.ExitStack() as stack:
        fakes = {name: stack.enter_context(FakeOllama(models)) for name in names}
        providers = [OllamaProvider(f.url, name=n, retry=ONCE) for n, f in fakes.items()]
        options = {"model": "m", "strategy": "balanced", **options}
        yield stack.enter_context(LocalProvider(providers, **options)), fakes


def counts(local: LocalProvider) -> List[int]:
    """Return the number of requests in flight on each server."""
    return [len(server.running.get(os.getpid(), ())) for server in local._servers or ()]


class Gate:
    """A reply that waits until a number of requests are waiting on all servers together."""

    def __init__(self, fakes: Any, parties: int) -> None:
        self._barrier = threading.Barrier(parties)
        for fake in fakes.values():
            fake.usual = self._reply

    def _reply(self, _: Exchange) -> str:
        self._barrier.wait(60)
        return "Hello there, friend."


# --- sharing ---------------------------------------------------------------------------------


def test_sixteen_threads_share_two_servers_evenly() -> None:
    with farm("a", "b") as (local, fakes):
        local.model_info("m")  # so that no thread is busy with the first lookup
        Gate(fakes, THREADS)  # no answer comes before all requests are in flight
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda n: local.chat(f"{n}: Hi"), range(4 * THREADS)))
        shared = Counter(answer.provider for answer in answers)
        assert sum(shared.values()) == 4 * THREADS
        assert abs(shared["a"] - shared["b"]) <= 0.2 * 2 * THREADS
        assert counts(local) == [0, 0]


@pytest.mark.parametrize("verb", ["chat", "stream", "parse", "embed"])
def test_every_verb_is_shared(verb: str) -> None:
    calls: Dict[str, Any] = {
        "chat": lambda local, n: local.chat(f"{n}"),
        "stream": lambda local, n: local.stream(f"{n}").result(),
        "parse": lambda local, n: local.parse(f"{n}", {"type": "string"}).response,
        "embed": lambda local, n: local.embed(f"{n}", model="e"),
    }
    models = ["m", FakeModel(name="e", abilities=("embeddings",))]
    with farm("a", "b", models=models) as (local, fakes):
        local.model_info("m")
        local.model_info("e")
        barrier = threading.Barrier(4)

        def reply(_: Exchange) -> str:
            barrier.wait(60)
            return '"Hello"'

        for fake in fakes.values():
            fake.usual = reply
        if verb == "embed":
            for fake in fakes.values():
                fake.answer = _waiting(fake.answer, barrier)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda n: calls[verb](local, n), range(4)))
        assert Counter(answer.provider for answer in answers) == {"a": 2, "b": 2}
        assert counts(local) == [0, 0]


def _waiting(answer: Any, barrier: threading.Barrier) -> Any:
    def wait(exchange: Exchange) -> Any:
        if exchange.path == "/api/embed":
            barrier.wait(60)
        return answer(exchange)

    return wait


def test_one_request_after_another_stays_on_the_first_server() -> None:
    with farm("a", "b") as (local, _):
        assert [local.chat(f"{n}").provider for n in range(4)] == ["a"] * 4


def test_a_stream_is_in_flight_until_its_end() -> None:
    with farm("a", "b") as (local, _):
        first = local.stream("one")
        assert counts(local) == [1, 0]
        assert local.chat("two").provider == "b"
        first.result()
        assert counts(local) == [0, 0]
        assert local.chat("three").provider == "a"
        with local.stream("four"):
            assert counts(local) == [1, 0]
        assert counts(local) == [0, 0]
        dropped = local.stream("five")
        next(dropped)
        del dropped
        gc.collect()
        assert counts(local) == [0, 0]


def test_a_failed_call_is_no_longer_in_flight() -> None:
    with farm("a") as (local, fakes):
        fakes["a"].break_next("status 400 with JSON", times=None)
        with pytest.raises(ProviderError):
            local.chat("Hi")
        fakes["a"].heal()
        fakes["a"].break_next("body cut")
        with local.stream("Hi") as stream, pytest.raises(StreamInterruptedError):
            stream.result()
        assert counts(local) == [0]


@contextlib.contextmanager
def _lmstudio_with_slots(slots: int) -> Iterator[Any]:
    with FakeLMStudio(["m"]) as fake, LMStudioProvider(fake.url) as provider:
        provider.load("m", parallel=slots)
        yield provider


@contextlib.contextmanager
def _llamacpp_with_slots(slots: int, *models: str) -> Iterator[Any]:
    with FakeLlamaCpp(models or ["m"], slots=slots) as fake:
        with LlamaCppProvider(fake.url) as provider:
            provider.load("m")
            yield provider


@contextlib.contextmanager
def _model_file_with_slots(slots: int) -> Iterator[Any]:
    """Yield the provider of a model file, whose engine is a fake that is already running."""
    with FakeLlamaCpp(["m"], slots=slots) as fake:
        config = ServerConfig(name="file", kind="gguf", gguf=Path("m.gguf"))
        with HostedProvider(config) as provider, LlamaCppProvider(fake.url, name="file") as engine:
            provider._provider = engine
            yield provider


_WITH_SLOTS: Dict[str, Any] = {
    "gguf": _model_file_with_slots,
    "lmstudio": _lmstudio_with_slots,
    "llama.cpp": _llamacpp_with_slots,
    "llama.cpp router": lambda slots: _llamacpp_with_slots(slots, "m", "other"),
}


@pytest.mark.parametrize("name", sorted(_WITH_SLOTS))
def test_a_server_with_more_slots_gets_more_requests(name: str) -> None:
    with FakeOllama(["m"]) as one, _WITH_SLOTS[name](3) as other:
        providers = [OllamaProvider(one.url), other]
        with LocalProvider(providers, model="m", strategy="balanced") as local:
            local.model_info("m")
            streams = [local.stream(f"{n}") for n in range(8)]
            assert counts(local) == [2, 6]
            for stream in streams:
                stream.close()


# --- equal beginnings ------------------------------------------------------------------------


def test_a_conversation_stays_on_its_server_while_it_has_room() -> None:
    with farm("a", "b") as (local, _):
        busy = local.stream("something else")  # on a
        history = [Message.system("You are brief."), Message.user("Hi")]
        answer = local.chat(history)
        assert answer.provider == "b"
        busy.close()
        # Both are idle now, and a comes first.
        follow = [*history, answer.message, Message.user("And?")]
        assert local.chat(follow).provider == "b"
        assert local.chat("a new subject").provider == "a"
        with local.stream(follow):
            assert local.chat(follow).provider == "a"  # b has no free slot


def _request(texts: List[str]) -> CompletionRequest:
    return CompletionRequest(messages=[Message.user(text) for text in texts])


@given(st.lists(st.text(min_size=1, max_size=3000), min_size=1, max_size=5), st.text(min_size=1))
def test_prompts_share_exactly_their_common_beginnings(texts: List[str], other: str) -> None:
    one = beginnings_of(_request(texts))
    longer = beginnings_of(_request([*texts, other]))
    assert one == beginnings_of(_request(texts))
    assert set(one) <= set(longer) or len(longer) == 32
    different = beginnings_of(_request([f"x{texts[0]}", *texts[1:]]))
    assert not set(one) & set(different)
    assert len(one) <= 32


def test_a_long_message_is_compared_in_pieces() -> None:
    document = "word " * 2000
    one, other = (beginnings_of(_request([document + end])) for end in ("What?", "Who?"))
    assert len(set(one) & set(other)) == len(document) // 1024
    prompt = beginnings_of(CompletionRequest(prompt=document))
    assert len(prompt) == len(document) // 1024 + 1


def test_the_memory_of_beginnings_is_limited_and_has_no_text() -> None:
    server = Server(OllamaProvider("http://127.0.0.1:9"), Breaker())
    balancer, route = Balancer(), Route(server, "m", named=False)
    for number in range(9000):
        _, lease = balancer.choose([route], beginnings_of(_request([f"secret {number}"])))
        lease.end()
    assert len(balancer._homes) <= 8193
    assert all(len(key) == 12 for key in balancer._homes)


@given(
    st.lists(st.sampled_from(["begin", "end"]), max_size=60),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_no_server_has_more_than_its_share(steps: List[str], slots: List[int]) -> None:
    servers = [_server(f"s{n}", count) for n, count in enumerate(slots)]
    routes = [Route(server, "m", named=False) for server in servers]
    balancer, leases = Balancer(), []
    for step in steps:
        if step == "end" and leases:
            leases.pop(0)[1].end()
        elif step == "begin":
            leases.append(balancer.choose(routes, ()))
            used = [len(server.running[os.getpid()]) for server in servers if server.running]
            assert sum(used) == len(leases)
    for _, lease in leases:
        lease.end()
        lease.end()
    assert all(not server.running.get(os.getpid()) for server in servers)


def test_requests_are_shared_in_the_proportion_of_the_slots() -> None:
    servers = [_server("a", 1), _server("b", 3)]
    routes = [Route(server, "m", named=False) for server in servers]
    balancer = Balancer()
    chosen = Counter(balancer.choose(routes, ())[0].server.name for _ in range(40))
    assert chosen == {"a": 10, "b": 30}


def _server(name: str, slots: int) -> Server:
    class Slotted(OllamaProvider):
        """A provider that tells its slots."""

        def _slots(self, info: ModelInfo) -> int:
            return slots

    server = Server(Slotted("http://127.0.0.1:9", name=name), Breaker())
    server.seen["m"] = (ModelInfo(name="m", provider=name), 0.0)
    return server


def test_a_forked_child_counts_its_own_requests_only(monkeypatch: pytest.MonkeyPatch) -> None:
    server = _server("a", 1)
    Lease(server)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert Balancer().choose([Route(server, "m", named=False)], ())[0].server is server
    assert len(server.running[1]) == 1


# --- hosts that die --------------------------------------------------------------------------


def test_one_of_two_servers_is_killed_and_every_answer_arrives() -> None:
    events: List[CallEvent] = []
    with farm("a", "b", listeners=[events.append]) as (local, fakes):
        local.model_info("m")
        fakes["a"].usual = fakes["b"].usual = Reply(text="one two three four", pause_s=0.005)
        done, half = threading.Semaphore(0), 2 * THREADS

        def ask(number: int) -> Any:
            answer = local.chat(f"{number}: Hi", timeout=60)
            done.release()
            return answer

        with ThreadPoolExecutor(THREADS) as pool:
            answers = [pool.submit(ask, number) for number in range(4 * THREADS)]
            for _ in range(half):
                assert done.acquire(timeout=60)
            fakes["a"]._close()  # like kill -9: connections are cut, and new ones are refused
            texts = [answer.result(60).text for answer in answers]
        assert texts == ["one two three four"] * (4 * THREADS)
        last = [answer.result().provider for answer in answers[-THREADS:]]
        assert set(last) == {"b"}
        assert counts(local) == [0, 0]
        fell = [event for event in events if event.kind == "fell_back"]
        assert all((event.provider, event.to_provider) == ("a", "b") for event in fell)


def test_a_response_that_is_cut_is_requested_from_the_next_server() -> None:
    with farm("a", "b") as (local, fakes):
        fakes["a"].break_next("body cut")
        answer = local.chat("Hi")
        assert (answer.provider, answer.text) == ("b", "Hello there, friend.")
        assert [each.error for each in answer.tried] == ["StreamInterruptedError"]


def test_a_stream_that_the_caller_has_read_is_not_repeated() -> None:
    with farm("a", "b") as (local, fakes):
        fakes["a"].break_next("body cut")
        with local.stream("Hi") as stream, pytest.raises(StreamInterruptedError):
            stream.result()
        assert not fakes["b"].exchanges or "/api/chat" not in [
            exchange.path for exchange in fakes["b"].exchanges
        ]


def test_another_strategy_does_not_repeat_a_response_that_was_cut() -> None:
    with farm("a", "b", strategy="first") as (local, fakes):
        fakes["a"].break_next("body cut")
        with pytest.raises(StreamInterruptedError):
            local.chat("Hi")


def test_an_answer_that_the_server_ended_itself_is_not_repeated() -> None:
    with farm("a", "b") as (local, fakes):
        fakes["a"].break_next("no last record")
        with pytest.raises(StreamInterruptedError):
            local.chat("Hi")


@pytest.mark.parametrize("fault", ["silence", "closed without an answer"])
def test_a_server_that_fails_costs_one_call_while_another_is_free(fault: str) -> None:
    with farm("a", "b") as (local, fakes):
        fakes["a"].break_next(fault, times=None, path="/api/show")
        assert [local.chat(f"{n}", timeout=20 if n else 1).provider for n in range(4)] == ["b"] * 4
        assert [exchange.path for exchange in fakes["a"].exchanges].count("/api/show") == 1


def test_a_server_that_has_failed_gets_a_request_when_the_other_is_busy() -> None:
    with farm("a", "b") as (local, fakes):
        fakes["a"].break_next("closed without an answer", path="/api/show")
        assert local.chat("one").provider == "b"
        with local.stream("two"), local.stream("three"), local.stream("four") as stream:
            assert stream.result().provider == "a"
        assert local.chat("five").provider == "a"  # it is preferred again, as the first server


def test_all_servers_may_be_down() -> None:
    with farm("a", "b") as (local, fakes):
        local.chat("Hi")
        with fakes["a"].down(), fakes["b"].down(), pytest.raises(AllFailedError):
            local.chat("Hi")
        assert counts(local) == [0, 0]


# --- models, aliases, locality, configuration ------------------------------------------------


def test_a_server_without_the_model_gets_no_request() -> None:
    with farm("a", "b") as (local, fakes):
        fakes["a"].models[:] = [FakeModel(name="other")]
        assert [local.chat(f"{n}").provider for n in range(3)] == ["b"] * 3
        asked = [exchange.path for exchange in fakes["a"].exchanges]
        assert asked.count("/api/show") == 1  # the other calls know that the model is missing
        fakes["b"].models[:] = []
        with pytest.raises(ProviderError):
            for _ in range(2):
                local.chat("Hi")


def test_models_are_loaded_and_pulled_on_the_first_server() -> None:
    with farm("a", "b") as (local, _), local.stream("one"):
        assert counts(local) == [1, 0]
        assert local.load("m").provider == "a"
        assert local.pull("llama3.2").provider == "a"
        assert local.model_info("m").provider == "a"
        assert local.load("b/m").provider == "b"
        with local.keep_loaded("m") as kept:
            assert kept.provider == "a"
        assert counts(local) == [1, 0]


def test_an_alias_keeps_the_order_of_its_models() -> None:
    aliases = {"careful": ("m", "n")}
    with farm("a", "b", models=("m", "n"), aliases=aliases, model="careful") as (local, _):
        streams = [local.stream(f"{n}") for n in range(4)]
        assert counts(local) == [2, 2]
        assert {stream.result().model for stream in streams} == {"m"}
        balanced = {"box": ("a/m", "b/m")}
    with farm("a", "b", aliases=balanced, model="box") as (local, _):
        first, second = local.stream("one"), local.stream("two")
        assert [first.result().provider, second.result().provider] == ["a", "b"]


def test_without_a_model_it_is_an_error_as_with_first() -> None:
    with farm("a", "b", model=None) as (local, _), pytest.raises(ConfigurationError, match="model"):
        local.chat("Hi")


def test_the_locality_is_checked_as_ever() -> None:
    far = OllamaProvider("http://10.0.0.1", name="far", locality="private")
    with pytest.raises(LocalityError):
        LocalProvider([far], strategy="balanced")
    LocalProvider([far], strategy="balanced", locality="private").close()


def test_a_wider_server_waits_if_a_project_file_chose_the_order() -> None:
    near = Server(OllamaProvider("http://127.0.0.1:9", name="near"), Breaker())
    far = Server(OllamaProvider("http://127.0.0.1:9", name="far", locality="any"), Breaker())
    routes = [Route(server, "m", named=False) for server in (near, far)]
    with farm("a") as (local, _):
        for keeps, expected in ((True, ["near"] * 3), (False, ["near", "far", "near"])):
            leases, chosen = [], []
            for _ in range(3):
                with local._run("chat", None, None) as run:
                    run.keeps_tiers = keeps
                    chosen.append(run._next(routes).server.name)
                    leases.append(run.take_lease())
            assert chosen == expected
            for lease in leases:
                assert lease is not None
                lease.end()


def test_the_configuration_and_the_environment_can_choose_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCALPROVIDERS_STRATEGY", "balanced")
    config = Config.load()
    assert config.strategy == "balanced"
    with FakeOllama(["m"]) as fake:
        providers = [OllamaProvider(fake.url, name=name) for name in ("a", "b")]
        with LocalProvider(providers, model="m", config=config) as local:
            streams = [local.stream(f"{n}") for n in range(4)]
            assert counts(local) == [2, 2]
            for stream in streams:
                stream.close()
