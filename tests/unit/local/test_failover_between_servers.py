"""Fallback between servers: the deadline, cancelling, shares of the time, and the cached answers."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import pytest

from localproviders import (
    AllFailedError,
    CallEvent,
    CancelledError,
    CancelToken,
    CapabilityError,
    LimitError,
    Limits,
    LocalityError,
    LocalProvider,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    ServerError,
    UnreachableError,
    UnsupportedError,
)
from localproviders._http.deadline import Call
from localproviders.capabilities import ModelCapabilities
from localproviders.local import failover as running
from localproviders.local.failover import LOOKUP_S, SEEN_S, FailoverCall
from localproviders.local.servers import Breaker, Guard, Route, Server
from localproviders.testing import FakeModel
from localproviders.types import LoadedModel, ModelInfo
from tests.unit.local.support import Clock, pair

TOTAL_S = 128.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of all calls to several servers, and of their caches."""
    made = Clock()
    monkeypatch.setattr(running, "Call", partial(Call, clock=made))
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=made))
    return made


class Told:
    """A provider with prepared results that records its calls."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.known: Dict[str, Any] = {}
        self.memory: Any = ()
        self.asked: List[str] = []
        self.limits: List[Limits] = []
        self.retry = 1

    @property
    def settings(self) -> Any:
        endpoint = SimpleNamespace(url=f"http://{self.name}.invalid")
        return SimpleNamespace(endpoint=endpoint, retry=SimpleNamespace(attempts=self.retry))

    def _says(self, asked: str, said: Any, limits: Limits) -> Any:
        self.asked.append(asked)
        self.limits.append(limits)
        if callable(said):
            said = said()
        if isinstance(said, BaseException):
            raise said
        return said

    def model_info(self, model: str, *, timeout: Limits, cancel: Optional[CancelToken]) -> Any:
        info = self.known.get(model, ModelInfo(name=model, provider=self.name))
        return self._says(f"info {model}", info, timeout)

    def loaded_models(self, *, timeout: Limits, cancel: Optional[CancelToken]) -> Any:
        return self._says("memory", self.memory, timeout)


class Desk:
    """Several servers with prepared results, and calls to them."""

    def __init__(self, clock: Clock, *names: str) -> None:
        self.clock = clock
        self.providers = [Told(name) for name in names]
        self.servers = [
            Server(each, Breaker(clock=clock))  # type: ignore[arg-type]  # as much of a provider as is asked for
            for each in self.providers
        ]
        self.events: List[CallEvent] = []
        self.asked: List[str] = []
        self.limits: List[Limits] = []
        self.nobody = 0

    def routes(self, *, named: bool = True) -> List[Route]:
        return [Route(server, "m", named=named) for server in self.servers]

    def run(self, **options: Any) -> FailoverCall:
        options.setdefault("limits", Limits(total_s=TOTAL_S))
        options.setdefault("limits_of", lambda route: Limits(total_s=math.inf))
        return FailoverCall(
            "local",
            "chat",
            listeners=(self.events.append,),
            on_failure=self._count,
            guard=Guard(frozenset(), "loopback"),  # no project file restricts the locality
            **options,
        )

    def _count(self) -> None:
        self.nobody += 1

    def work(self, *ends: Any) -> Callable[[Route, Limits], Any]:
        """Return work that, for each server in turn, raises an error, calls a function or returns."""
        left = list(ends)

        def work(route: Route, limits: Limits) -> Any:
            self.asked.append(route.server.name)
            self.limits.append(limits)
            end = left.pop(0)
            end = end() if callable(end) else end
            if isinstance(end, BaseException):
                raise end
            return end

        return work

    def passes(self, seconds: float, end: Any) -> Callable[[], Any]:
        """Return a function that advances the clock and returns this end."""

        def later() -> Any:
            self.clock.now += seconds
            return end

        return later


@pytest.fixture
def two(clock: Clock) -> Desk:
    return Desk(clock, "a", "b")


# --- the switch -----------------------------------------------------------------------------


def _thrown(token: CancelToken, end: Any) -> Callable[[], Any]:
    def throw() -> Any:
        token.cancel()
        return end

    return throw


@pytest.mark.parametrize("verb", ["first_that_answers", "each"])
def test_a_switch_that_is_thrown_while_one_fails_has_no_other_asked(two: Desk, verb: str) -> None:
    token = CancelToken()
    run = two.run(cancel=token)
    with run, pytest.raises(CancelledError) as caught:
        getattr(run, verb)(two.routes(), two.work(_thrown(token, UnreachableError("no"))))
    assert two.asked == ["a"]
    assert caught.value.provider == "local"
    assert caught.value.hint == "a/m: UnreachableError: no"


@pytest.mark.parametrize("verb", ["first_that_answers", "each"])
def test_a_switch_that_was_thrown_before_has_nobody_asked(two: Desk, verb: str) -> None:
    token = CancelToken()
    token.cancel()
    with two.run(cancel=token) as run, pytest.raises(CancelledError):
        getattr(run, verb)(two.routes(), two.work())
    assert two.asked == []


@pytest.mark.parametrize("verb", ["first_that_answers", "each"])
def test_a_server_that_says_that_the_call_was_cancelled_is_the_last_one(
    two: Desk, verb: str
) -> None:
    with two.run() as run, pytest.raises(CancelledError):
        getattr(run, verb)(two.routes(), two.work(CancelledError("the caller ended it")))
    assert two.asked == ["a"]


def test_a_question_before_the_call_that_was_cancelled_is_the_last_one(two: Desk) -> None:
    two.providers[0].known["m"] = CancelledError("the caller ended it")
    with two.run() as run, pytest.raises(CancelledError):
        run.first_that_answers(two.routes(named=False), two.work())
    assert (two.asked, two.providers[1].asked) == ([], [])


def test_looking_at_the_switch_raises_where_it_was_thrown(two: Desk) -> None:
    token = CancelToken()
    with two.run(cancel=token) as run:
        run.check()
        token.cancel()
        with pytest.raises(CancelledError):
            run.check()


def test_a_switch_lets_go_of_a_call_that_is_over(two: Desk) -> None:
    token = CancelToken()
    with two.run(cancel=token):
        assert len(token._listeners) == 1
    assert not token._listeners
    with pytest.raises(UnreachableError), two.run(cancel=token):
        raise UnreachableError("no")
    assert not token._listeners


VERBS: Mapping[str, Callable[[LocalProvider, CancelToken], Any]] = {
    "chat": lambda local, token: local.chat("Hi", model="both", cancel=token),
    "stream": lambda local, token: local.stream("Hi", model="both", cancel=token).result(),
    "embed": lambda local, token: local.embed("Hi", model="both", cancel=token),
    "count_tokens": lambda local, token: local.count_tokens("Hi", model="both", cancel=token),
    "render": lambda local, token: local.render("Hi", model="both", cancel=token),
    "list_models": lambda local, token: local.list_models(cancel=token),
    "loaded_models": lambda local, token: local.loaded_models(cancel=token),
    "model_info": lambda local, token: local.model_info("both", cancel=token),
    "supports_model": lambda local, token: local.supports_model("both", cancel=token),
    "load": lambda local, token: local.load("both", cancel=token),
    "unload": lambda local, token: local.unload("both", cancel=token),
    "pull": lambda local, token: local.pull("lmstudio/both", cancel=token),
    "providers": lambda local, token: local.providers(cancel=token),
    "nowhere": lambda local, token: local.chat("Hi", model="nowhere", cancel=token),
}


@pytest.mark.sample(6)
@pytest.mark.parametrize("verb", VERBS)
def test_a_switch_keeps_no_call_of_a_provider(verb: str) -> None:
    token = CancelToken()
    models = [FakeModel(name="both", abilities=("chat", "completion", "embeddings"))]
    with pair(ollama=models, lmstudio=models) as made:
        try:
            VERBS[verb](made.local, token)
        except ModelNotFoundError:
            assert verb == "nowhere"
    assert not token._listeners


# --- one clock ------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["first_that_answers", "each"])
def test_a_total_that_runs_out_while_one_fails_has_no_other_asked(two: Desk, verb: str) -> None:
    with two.run() as run, pytest.raises(ProviderError) as caught:
        getattr(run, verb)(
            two.routes(), two.work(two.passes(TOTAL_S, UnreachableError("no")), "late")
        )
    assert two.asked == ["a"]
    assert isinstance(caught.value, UnreachableError)  # the error of the server itself


def test_a_total_that_runs_out_between_two_servers_is_named_with_its_history(two: Desk) -> None:
    with two.run() as run:
        run.record_failure(two.routes()[0], UnreachableError("no"))
        two.clock.now += TOTAL_S
        with pytest.raises(LimitError) as caught:
            run.check()
    error = caught.value
    assert (error.limit, error.limit_s, error.elapsed_s) == ("total_s", TOTAL_S, TOTAL_S)
    assert error.provider == "local"
    assert str(error.hint).endswith("before that: a/m: UnreachableError: no")


def test_the_clock_stops_a_call_at_its_total_and_not_before(two: Desk) -> None:
    with two.run() as run:
        two.clock.now += TOTAL_S - 0.125
        run.check()
        two.clock.now += 0.125
        with pytest.raises(LimitError):
            run.check()


def test_each_server_has_what_the_ones_before_it_left_of_the_total(two: Desk) -> None:
    with two.run() as run:
        run.first_that_answers(
            two.routes(), two.work(two.passes(100, UnreachableError("no")), "done")
        )
    assert [limits.total_s for limits in two.limits] == [128, 28]


def test_a_server_has_its_own_limits_within_the_total(two: Desk) -> None:
    own = {"a": Limits(total_s=8, idle_s=1), "b": Limits(total_s=math.inf, idle_s=2)}
    with two.run(limits_of=lambda route: own[route.server.name]) as run:
        run.first_that_answers(two.routes(), two.work(UnreachableError("no"), "done"))
    assert [(limits.total_s, limits.idle_s) for limits in two.limits] == [(8, 1), (128, 2)]


def _total(limit_s: float) -> LimitError:
    return LimitError(
        "out", limit="total_s", limit_s=limit_s, elapsed_s=limit_s, provider="a", model="m"
    )


def test_a_share_of_the_total_that_ran_out_moves_on_and_the_whole_does_not(two: Desk) -> None:
    with two.run() as run:
        run.first_that_answers(two.routes(), two.work(two.passes(8, _total(8)), "done"))
    assert two.asked == ["a", "b"]

    with two.run() as run, pytest.raises(LimitError) as caught:
        run.first_that_answers(two.routes(), two.work(two.passes(TOTAL_S, _total(120)), "late"))
    assert two.asked == ["a", "b", "a"]
    assert (caught.value.limit_s, caught.value.elapsed_s) == (TOTAL_S, TOTAL_S)
    assert (caught.value.provider, caught.value.model) == ("a", "m")


def test_another_limit_than_the_total_is_told_as_it_is(two: Desk) -> None:
    error = LimitError("out", limit="idle_s", limit_s=120, elapsed_s=127)
    with two.run() as run:
        two.clock.now += TOTAL_S
        assert run.with_overall_limit(error) is error


def test_what_each_server_raises_behind_the_total_counts_against_none(two: Desk) -> None:
    with two.run() as run:
        for _ in range(3):
            with pytest.raises(ServerError):
                run.first_that_answers(
                    two.routes(), two.work(two.passes(TOTAL_S, ServerError("no", status=500)))
                )
            two.clock.now -= TOTAL_S
    assert not two.servers[0].breaker.is_open


# --- shares of the time ---------------------------------------------------------------------


def test_each_server_may_take_its_share_of_what_is_left(clock: Clock) -> None:
    three = Desk(clock, "a", "b", "c")
    with three.run() as run:
        run.each(three.routes(), three.work(three.passes(32, 1), three.passes(16, 2), 3))
    # 128 / 3, then (128 - 32) / 2, then all that is left.
    assert [limits.total_s for limits in three.limits] == [pytest.approx(128 / 3), 48, 80]


def test_no_share_is_longer_than_what_the_question_may_take(two: Desk) -> None:
    with two.run() as run:
        run.each(two.routes(), two.work(1, 2), most_s=10)
        run.each(two.routes(), two.work(1, 2), most_s=100)
    assert [limits.total_s for limits in two.limits] == [10, 10, 64, 100]


@pytest.mark.parametrize(("total_s", "share_s"), [(128.0, LOOKUP_S), (10.0, 5.0)])
def test_a_look_takes_half_of_what_is_left_and_no_more_than_its_bound(
    two: Desk, total_s: float, share_s: float
) -> None:
    with two.run(limits=Limits(total_s=total_s)) as run:
        run.lookup(two.routes()[0])
    assert [limits.total_s for limits in two.providers[0].limits] == [share_s]


def test_a_look_into_memory_takes_no_longer_than_its_bound(two: Desk) -> None:
    two.providers[0].memory = [LoadedModel(name="m", provider="a")]
    with two.run() as run:
        assert run.lookup(two.routes()[0], loaded=True).loaded
    assert [limits.total_s for limits in two.providers[0].limits] == [LOOKUP_S, LOOKUP_S]


def test_the_share_of_one_of_several_is_an_equal_part(two: Desk) -> None:
    with two.run() as run:
        assert [run.share_s(servers) for servers in (1, 2, 4)] == [128, 64, 32]
        two.clock.now += 64
        assert run.share_s(4) == 16


# --- what is remembered ---------------------------------------------------------------------


def test_a_server_is_asked_about_a_model_once_a_minute(two: Desk) -> None:
    route = two.routes()[0]
    with two.run(limits=Limits(total_s=math.inf)) as run:
        infos = [run.lookup(route), run.lookup(route)]
        two.clock.now += SEEN_S - 0.125
        infos.append(run.lookup(route))
        assert two.providers[0].asked == ["info m"]
        two.clock.now += 0.25
        infos.append(run.lookup(route))
    assert two.providers[0].asked == ["info m"] * 2
    assert infos == [ModelInfo(name="m", provider="a")] * 4


def test_each_name_and_each_server_is_remembered_by_itself(two: Desk) -> None:
    first, second = two.routes()
    with two.run() as run:
        for route in (first, second, first._replace(model="n"), second, first):
            run.lookup(route)
    assert [each.asked for each in two.providers] == [["info m", "info n"], ["info m"]]


def test_what_is_in_memory_is_asked_each_time(two: Desk) -> None:
    two.providers[0].known["m"] = ModelInfo(name="m", provider="a", loaded=True)
    with two.run() as run:
        for _ in range(2):
            assert run.lookup(two.routes()[0], loaded=True).loaded
        assert run.lookup(two.routes()[0]).loaded
    assert two.providers[0].asked == ["info m"] * 2


@pytest.mark.parametrize(
    ("memory", "loaded"),
    [
        ((), False),
        ([LoadedModel(name="other", provider="a")], False),
        ([LoadedModel(name="other", provider="a"), LoadedModel(name="m", provider="a")], True),
        (UnsupportedError("this kind of server does not tell"), None),
    ],
)
def test_who_does_not_say_in_its_details_is_asked_for_its_memory(
    two: Desk, memory: Any, loaded: Optional[bool]
) -> None:
    two.providers[0].memory = memory
    with two.run() as run:
        assert run.lookup(two.routes()[0], loaded=True).loaded is loaded
    assert two.providers[0].asked == ["info m", "memory"]


@pytest.mark.parametrize(
    ("error", "forgets"),
    [
        (ModelNotFoundError("gone"), True),
        (UnreachableError("no"), True),
        (UnsupportedError("it lacks this verb"), False),
    ],
)
def test_a_failure_has_the_model_looked_for_again(
    two: Desk, error: ProviderError, forgets: bool
) -> None:
    routes = two.routes(named=False)
    for _ in range(2):
        with two.run() as run:
            run.first_that_answers(routes, two.work(error, "done"))
    assert two.providers[0].asked == ["info m"] * (2 if forgets else 1)
    assert two.providers[1].asked == ["info m"]


# --- who is asked, how often, and what is noted ---------------------------------------------


def test_nobody_is_asked_beforehand_where_the_caller_named_the_server(two: Desk) -> None:
    with two.run() as run:
        assert run.first_that_answers(two.routes(), two.work("done")) == "done"
    assert [each.asked for each in two.providers] == [[], []]


@pytest.mark.parametrize("named", [True, False])
def test_a_substitute_is_looked_at_before_it_is_asked(two: Desk, named: bool) -> None:
    with two.run() as run:
        run.first_that_answers(two.routes(named=named), two.work(UnreachableError("no"), "done"))
    assert two.providers[1].asked == ["info m"]


def test_a_look_can_be_left_out(two: Desk) -> None:
    with two.run() as run:
        run.first_that_answers(
            two.routes(named=False), two.work(UnreachableError("no"), "d"), check_model=False
        )
    assert [each.asked for each in two.providers] == [[], []]


def test_a_named_server_is_looked_at_where_something_is_needed_of_the_model(two: Desk) -> None:
    with two.run(needs=["tools"]) as run, pytest.raises(CapabilityError):
        run.first_that_answers(two.routes()[:1], two.work())
    with two.run(needs=["tools"]) as run, pytest.raises(AllFailedError):
        run.first_that_answers(two.routes(), two.work())
    assert [each.asked for each in two.providers] == [
        ["info m"],
        ["info m"],
    ]  # the result is cached for a minute
    assert two.asked == []


def test_what_is_wanted_later_is_needed_like_what_was_needed_from_the_start(two: Desk) -> None:
    for provider, can in zip(two.providers, ({"tools"}, {"tools", "vision"})):
        abilities = ModelCapabilities(**dict.fromkeys(can, True))
        info = ModelInfo(name="m", provider=provider.name, capabilities=abilities)
        provider.known["m"] = info
    with two.run(needs=["tools"]) as run:
        run.first_that_answers(two.routes(named=False), two.work("done"))
    with two.run(needs=["tools"]) as run:
        run.require("vision")
        run.first_that_answers(two.routes(named=False), two.work("done"))
    assert two.asked == ["a", "b"]


def test_a_cloud_model_is_asked_first_and_never_second(two: Desk) -> None:
    away = ModelInfo(name="m", provider="a", capabilities=ModelCapabilities(remote=True))
    two.providers[0].known["m"] = two.providers[1].known["m"] = away
    with two.run() as run:
        assert run.first_that_answers(two.routes(named=False), two.work("done")) == "done"
    with two.run() as run, pytest.raises(AllFailedError) as caught:
        run.first_that_answers(two.routes(named=False), two.work(UnreachableError("no"), "leaked"))
    assert two.asked == ["a", "a"]
    assert [type(each) for each in caught.value.errors] == [UnreachableError, LocalityError]


def test_a_server_that_cannot_be_reached_is_asked_once_in_a_call(two: Desk) -> None:
    first, second = two.routes()
    with two.run() as run:
        run.first_that_answers(
            [first, first._replace(model="n"), second], two.work(UnreachableError("no"), 1)
        )
    assert two.asked == ["a", "b"]
    assert len(run.tried()) == 1


def test_another_error_leaves_a_server_to_be_asked_for_the_next_name(two: Desk) -> None:
    first, second = two.routes()
    with two.run() as run:
        work = two.work(ServerError("no", status=500), "done")
        run.first_that_answers([first, first._replace(model="n"), second], work)
    assert two.asked == ["a", "a"]


def test_an_answer_that_has_begun_is_begun_nowhere_else(two: Desk) -> None:
    run = two.run()

    def begins() -> ProviderError:
        run.begun = True
        return UnreachableError("no")

    with run, pytest.raises(UnreachableError):
        run.first_that_answers(two.routes(), two.work(begins, "again"))
    assert two.asked == ["a"]


@pytest.mark.parametrize("left", [{"partial": "Hel"}, {"embedded": {0: [1.0]}}])
def test_what_there_is_of_an_answer_is_not_thrown_away(two: Desk, left: Dict[str, Any]) -> None:
    error = UnreachableError("no")
    for name, value in left.items():
        setattr(error, name, value)
    with two.run() as run, pytest.raises(UnreachableError):
        run.first_that_answers(two.routes(), two.work(error, "again"))
    assert two.asked == ["a"]


def test_each_asks_everybody_once_and_gives_what_those_said_that_could(clock: Clock) -> None:
    three = Desk(clock, "a", "b", "c")
    with three.run() as run:
        work = three.work(1, RequestRejectedError("no list here", status=400), 3)
        assert run.each(three.routes(), work) == [1, 3]
    assert three.asked == ["a", "b", "c"]
    assert three.nobody == 0


def test_each_gives_what_it_has_when_the_total_runs_out(two: Desk) -> None:
    with two.run() as run:
        work = two.work(two.passes(TOTAL_S - 1, 1), two.passes(1, _total(1)))
        assert run.each(two.routes(), work) == [1]


def test_nobody_is_reported_once_and_only_where_nobody_could(two: Desk) -> None:
    with two.run() as run:
        run.first_that_answers(two.routes(), two.work(UnreachableError("no"), "done"))
        assert two.nobody == 0
    for verb in ("first_that_answers", "each"):
        with two.run() as run, pytest.raises(ProviderError):
            work = two.work(ServerError("no", status=500), ServerError("no", status=500))
            getattr(run, verb)(two.routes(), work)
    assert two.nobody == 2


# --- what breakers hear ---------------------------------------------------------------------


def _failures(server: Server) -> int:
    return server.breaker._in_a_row


@pytest.mark.parametrize("verb", ["first_that_answers", "each"])
@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ServerError("no", status=500), 1),
        (UnreachableError("no"), 3),  # its provider has tried to connect three times
        (ModelNotFoundError("no"), 0),
        (UnsupportedError("no"), 0),
    ],
)
def test_a_failure_counts_once_for_each_time_the_server_was_asked(
    two: Desk, error: ProviderError, counted: int, verb: str
) -> None:
    two.providers[0].retry = 3
    with two.run() as run:
        getattr(run, verb)(two.routes(), two.work(error, "done"))
    assert [_failures(server) for server in two.servers] == [counted, 0]


def test_an_answer_forgives_what_was_before_it(two: Desk) -> None:
    two.servers[0].breaker.failed(2)
    with two.run() as run:
        run.first_that_answers(two.routes(), two.work("done"))
    assert _failures(two.servers[0]) == 0


def test_who_is_left_alone_is_asked_last_and_told_of(two: Desk) -> None:
    two.servers[0].breaker.failed(3)
    with two.run() as run:
        run.first_that_answers(two.routes(), two.work("done"))
        (tried,) = run.tried()
    assert (tried.provider, tried.model, tried.error) == ("a", "m", None)
    assert two.asked == ["b"]

    with two.run() as run:
        run.first_that_answers(two.routes(), two.work(UnreachableError("no"), "done"))
        assert [each.provider for each in run.tried()] == ["b"]
    assert two.asked == ["b", "b", "a"]


@pytest.mark.parametrize("strategy", ["loaded", "largest", "smallest"])
def test_who_is_left_alone_is_not_looked_at_for_a_strategy(two: Desk, strategy: str) -> None:
    two.servers[0].breaker.failed(3)
    with two.run() as run:
        ranked = run.ranked(two.routes(named=False), strategy)
    assert [route.server.name for route in ranked] == ["b", "a"]
    assert two.providers[0].asked == []


def test_who_fails_a_look_for_a_strategy_is_passed_over_and_noted(two: Desk) -> None:
    two.providers[0].known["m"] = UnreachableError("no")
    with two.run() as run:
        ranked = run.ranked(two.routes(named=False), "smallest")
        assert [route.server.name for route in ranked] == ["b"]
        assert run.first_that_answers(ranked, two.work("done")) == "done"
        assert [each.provider for each in run.tried()] == ["a"]
    assert _failures(two.servers[0]) == 1


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        ("first", ["a", "b", "c", "d"]),
        ("loaded", ["b", "d", "a", "c"]),
        ("largest", ["b", "a", "d", "c"]),  # a server without a size is last
        ("smallest", ["d", "a", "b", "c"]),
    ],
)
def test_a_strategy_sorts_and_keeps_the_order_of_what_is_equal(
    clock: Clock, strategy: str, order: Sequence[str]
) -> None:
    four = Desk(clock, "a", "b", "c", "d")
    sizes: Sequence[Optional[int]] = (20, 30, None, 10)
    for each, size, loaded in zip(four.providers, sizes, (False, True, False, True)):
        can = ModelCapabilities(size_bytes=size)
        each.known["m"] = ModelInfo(name="m", provider="a", loaded=loaded, capabilities=can)
    with four.run() as run:
        ranked = run.ranked(four.routes(named=False), strategy)
    assert [route.server.name for route in ranked] == order


# --- who hears of it ------------------------------------------------------------------------


def test_a_fallback_is_told_once_with_the_time_since_the_call_began(clock: Clock) -> None:
    three = Desk(clock, "a", "b", "c")
    with three.run() as run:
        work = three.work(
            three.passes(2, ServerError("no", status=500)),
            three.passes(3, UnreachableError("no")),
            "done",
        )
        run.first_that_answers(three.routes(), work)
    told = [
        (event.kind, event.provider, event.to_provider, event.error, event.elapsed_s, event.model)
        for event in three.events
    ]
    assert told == [
        ("fell_back", "a", "b", "ServerError", 2, "m"),
        ("fell_back", "b", "c", "UnreachableError", 5, "m"),
    ]
    assert {event.operation for event in three.events} == {"chat"}
    assert three.events[0].endpoint == "http://a.invalid"


def test_where_nobody_is_left_no_fallback_is_told(two: Desk) -> None:
    with two.run() as run, pytest.raises(ProviderError):
        run.first_that_answers(two.routes()[:1], two.work(UnreachableError("no")))
    assert two.events == []


def test_an_unnamed_server_without_the_model_is_no_fallback(two: Desk) -> None:
    two.providers[0].known["m"] = ModelNotFoundError("no")
    with two.run() as run:
        run.first_that_answers(two.routes(named=False), two.work("done"))
        assert run.tried() == ()
    assert (two.asked, two.events) == (["b"], [])
