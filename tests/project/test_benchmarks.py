"""The benchmarks work: each client gets the right answers from the fixture server."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

pytest.importorskip("resource")  # the benchmarks need this module

from benchmarks.speed import report, run, worker
from benchmarks.speed.adapters import baseline, own, requests_session
from benchmarks.speed.clients import BASELINE, BOTH, CLIENTS, OWN, REQUESTS
from benchmarks.speed.commands import command
from benchmarks.speed.goals import GOALS
from benchmarks.speed.processes import Fixture, run_once
from benchmarks.speed.rounds import Bench, Results, check, pythons_of
from benchmarks.speed.scenarios import LINES, SCENARIOS
from benchmarks.speed.wire import CUTS, FLOATS, Shape, last_value, text_of


@pytest.fixture(scope="module")
def fixture() -> Iterator[Fixture]:
    with Fixture() as server:
        yield server


@pytest.fixture(params=[baseline, requests_session, own], ids=lambda each: each.__name__[25:])
def module(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.sample(9)
@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("cut", [cut for cut in CUTS if cut != "paced"])
def test_each_client_gets_the_complete_text_for_each_way_of_cutting_it(
    module: Any, fixture: Fixture, dialect: str, cut: str
) -> None:
    shape = Shape(cut, 1501, 7)
    client = module.connect(fixture.url(shape), dialect)
    assert module.chat(client, "Hi") == text_of(shape)
    assert "".join(module.stream(client, "Hi")) == text_of(shape)
    module.close(client)


@pytest.mark.parametrize("dialect", BOTH)
def test_the_text_of_a_paced_event_is_the_time_at_which_it_was_sent(
    module: Any, fixture: Fixture, dialect: str
) -> None:
    client = module.connect(fixture.url(Shape("paced", 5, 6)), dialect)
    before = time.monotonic()
    stamps = [float(text) for text in module.stream(client, "Hi") if text]
    module.close(client)
    assert len(stamps) == 5
    assert stamps == sorted(stamps)
    assert before - 1e-6 <= stamps[0] <= stamps[-1] <= time.monotonic()


@pytest.mark.parametrize(
    ("dialect", "cut", "packed"),
    [("ollama", FLOATS, False), ("openai", FLOATS, False), ("openai", "coalesced", True)],
)
def test_each_client_gets_the_vectors_that_were_sent(
    module: Any, fixture: Fixture, dialect: str, cut: str, packed: bool
) -> None:
    shape = Shape(cut, 3, 5)
    client = module.connect(fixture.url(shape), dialect)
    vectors = module.embed(client, ["a", "b", "c"], packed)
    module.close(client)
    assert [len(vector) for vector in vectors] == [5, 5, 5]
    assert vectors[-1][-1] == pytest.approx(last_value(shape), abs=1e-6)


def test_the_command_and_the_script_print_the_answer_of_the_server(fixture: Fixture) -> None:
    shape = Shape("coalesced", 4, 6)
    for client in (REQUESTS, OWN):
        program, arguments, text, variables = command("chat", client, fixture.url(shape))
        done = run_once(Path(sys.executable), program, arguments, text, dict(variables))
        assert done.text == f"{text_of(shape)}\n"
        assert done.cpu_s > 0


def test_the_server_counts_the_connections_of_a_client(fixture: Fixture) -> None:
    before = fixture.connection_count()
    clients = [baseline.connect(fixture.url(Shape("coalesced", 2, 6)), "ollama") for _ in range(3)]
    for client in clients * 2:
        baseline.chat(client, "Hi")
        assert fixture.connection_count() - before <= 3
    for client in clients:
        baseline.close(client)
    assert fixture.connection_count() - before == 3


@pytest.mark.slow
def test_a_complete_run_fills_every_line_and_judges_every_goal_of_this_package() -> None:
    small = [
        each._replace(
            shape=each.shape._replace(number=min(each.shape.number, 4)),
            order={
                **each.order,
                **{
                    name: min(each.order[name], 4)
                    for name in ("count", "repeat", "threads", "prompt")
                    if name in each.order
                },
            },
        )
        for each in SCENARIOS
        if not each.long
    ]
    clients = [CLIENTS[BASELINE], CLIENTS[OWN]]
    with Bench(clients, pythons_of(clients, None)) as bench:
        results = bench.run(small, 1)
    assert results.failures == {}
    lines = [line.key for each in small for line in each.lines]
    assert all(results.median(key, OWN) is not None for key in lines)
    assert results.median("import.requests", OWN) == 0
    text = report.all_tables(results, clients, 1)
    assert f"`localproviders` {results.versions[OWN]['localproviders']}" in text
    assert "| NDJSON event, coalesced | 0.45 × baseline |" in text


def test_a_wrong_answer_ends_the_run() -> None:
    scenario = next(each for each in SCENARIOS if each.key == "stream.coalesced.ollama")
    check(scenario, CLIENTS[BASELINE], {"size": scenario.shape.number * scenario.shape.size})
    with pytest.raises(RuntimeError, match="baseline received 5 characters"):
        check(scenario, CLIENTS[BASELINE], {"size": 5})


def test_a_client_that_fails_says_why(fixture: Fixture) -> None:
    order = {"measure": "calls", "dialect": "ollama", "url": fixture.url(Shape("x", 1, 1))}
    clients: Dict[str, Any] = {}
    result = worker.run_order(baseline, clients, {**order, "prompt": 1, "repeat": 1})
    for client in clients.values():
        baseline.close(client)
    assert result == {"error": "OSError: 404"}


def test_ratios_are_of_each_round_and_goals_are_judged_by_all_digits() -> None:
    results = Results()
    for own_us, baseline_us in ((2.0, 1.0), (30.0, 10.0), (4.0, 1.0)):
        results.add("stream.coalesced.ollama", OWN, own_us)
        results.add("stream.coalesced.ollama", BASELINE, baseline_us)
    assert results.ratio("stream.coalesced.ollama", OWN, BASELINE) == 3.0
    goal = next(each for each in GOALS if each.title == "NDJSON event, coalesced")
    assert goal.measured(results) == 3.0
    assert report.verdict(goal, 0.45) == "met"
    assert report.verdict(goal, 0.4501) == "**missed**"


def test_every_goal_looks_at_a_line_that_exists() -> None:
    results = Results()
    for key in LINES:
        for client in CLIENTS:
            results.add(key, client, 1.0)
    assert all(goal.measured(results) is not None for goal in GOALS)


def test_the_tables_are_written_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n", encoding="utf-8")
    run.write("new", page)
    assert page.read_text(encoding="utf-8") == f"before\n{run.BEGIN}\n\nnew\n\n{run.END}\nafter\n"
