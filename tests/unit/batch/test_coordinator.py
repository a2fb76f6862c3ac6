"""The loop of a run: its limits, and its ends before all rows have a result."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Set, Tuple

import pytest

from localproviders import CancelToken, LocalProvider, OllamaProvider, RetryPolicy, batch
from localproviders.batch import coordinator
from localproviders.batch.window import Windows
from localproviders.provider import ModelProvider
from localproviders.testing import Exchange, FakeOllama, Refusal, Reply
from tests.unit.batch.support import Ollama, chats, lines_of

_NO = Refusal(status="400 Bad Request", body={"error": "no"})


class _Gate:
    """Holds the answers of a server back until it is opened."""

    def __init__(self, server: FakeOllama) -> None:
        self.arrived = threading.Semaphore(0)
        self.opened = threading.Event()
        server.usual = self._reply

    def _reply(self, exchange: Exchange) -> Reply:
        self.arrived.release()
        assert self.opened.wait(30)
        return Reply()


def test_a_run_stops_after_too_many_failures(ollama: Ollama, tmp_path: Path) -> None:
    ollama.server.usual = _NO
    output = tmp_path / "out.jsonl"
    report = ollama.run(chats(50), output, max_failures=3, concurrency=1)
    assert (report.failed, report.stopped, report.exit_code) == (4, "failures", 13)
    assert lines_of(output) == []
    assert len(list(batch.read(output))) == 4  # the failures are beside the output
    ollama.server.usual = Reply()
    report = ollama.run(chats(50), output)
    assert (report.succeeded, report.failed) == (46, 4)
    assert len(lines_of(output)) == 50


def test_a_part_of_the_rows_may_fail(ollama: Ollama, tmp_path: Path) -> None:
    ollama.server.usual = _NO
    report = ollama.run(chats(50), tmp_path / "out.jsonl", max_failures="10%", concurrency=1)
    assert report.failed == 6


def test_without_a_limit_all_rows_may_fail(ollama: Ollama, tmp_path: Path) -> None:
    ollama.server.usual = _NO
    report = ollama.run(chats(30), tmp_path / "out.jsonl")
    assert (report.failed, report.stopped) == (30, None)
    assert len(lines_of(tmp_path / "out.jsonl")) == 30


def _rows(kind: str, count: int, **fields: Any) -> List[Any]:
    """Return rows of a kind, each with these fields."""
    forms: Dict[str, Callable[[int], Dict[str, Any]]] = {
        "chat": lambda number: {"messages": f"text {number}"},
        "embedding": lambda number: {"text": f"text {number}"},
        "decision": lambda number: {"state": f"text {number}", "questions": {"q": "Is it?"}},
    }
    return [{"id": f"r{number}", **fields, **forms[kind](number)} for number in range(count)]


@contextlib.contextmanager
def _down(server: FakeOllama) -> Iterator[None]:
    with server.down():
        yield


@contextlib.contextmanager
def _refusing(server: FakeOllama) -> Iterator[None]:
    server.api_key = "another key"
    yield
    server.api_key = None


@contextlib.contextmanager
def _without_models(server: FakeOllama) -> Iterator[None]:
    models, server.models[:] = [*server.models], []
    yield
    server.models[:] = models


@contextlib.contextmanager
def _busy(server: FakeOllama) -> Iterator[None]:
    server.break_next("status 503 with JSON", times=None)
    yield
    server.heal()


_OUTAGES: List[Any] = [
    pytest.param(_down, id="down"),
    pytest.param(_refusing, id="refusing"),
    pytest.param(_without_models, id="without-models"),
    pytest.param(_busy, id="busy"),
]
_KINDS = [
    ("chat", ".jsonl"),
    ("chat", ".csv"),
    ("embedding", ".jsonl"),
    ("embedding", ".npy"),
    ("decision", ".jsonl"),
    ("decision", ".csv"),
]
_MODELS = {"chat": "llama3.2", "embedding": "nomic-embed-text", "decision": "tev1"}


def _hosts(servers: Sequence[FakeOllama], model: str) -> ModelProvider:
    """Return a provider of one server, or of several."""
    hosts = [
        OllamaProvider(each.url, model=model, name=f"host{number}", retry=RetryPolicy(attempts=1))
        for number, each in enumerate(servers)
    ]
    return LocalProvider(hosts, model=model, strategy="balanced") if len(hosts) > 1 else hosts[0]


@pytest.mark.parametrize(("kind", "suffix"), _KINDS)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("outage", _OUTAGES)
def test_a_run_stops_if_no_row_can_succeed(
    outage: Any,
    count: int,
    kind: str,
    suffix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "_MOST_OUTAGES", 5)
    output, model, rows = tmp_path / f"out{suffix}", _MODELS[kind], _rows(kind, 150)
    questions = {"q": "Is it?"} if kind == "decision" else None
    if questions:
        rows = [row["state"] for row in rows]
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as outages:
        servers = [stack.enter_context(FakeOllama([model])) for _ in range(count)]
        provider = stack.enter_context(_hosts(servers, model))

        def begin(report: batch.BatchReport) -> None:  # called before the first request, too
            if report.succeeded + report.failed == 0:
                for server in servers:
                    outages.enter_context(outage(server))

        with outages:
            report = batch.run(
                rows, output, provider, concurrency=1, questions=questions, on_progress=begin
            )
        assert (report.stopped, report.succeeded) == ("failures", 0)
        assert 5 <= report.failed < 150
        if count == 2:
            provider = stack.enter_context(_hosts(servers, model))  # the breakers are closed
        again = batch.run(rows, output, provider, concurrency=1, questions=questions)
    assert (again.succeeded, again.failed, again.stopped) == (150, 0, None)
    assert again.asked_again == report.failed


def test_rows_with_wrong_models_of_their_own_do_not_stop_a_run(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_MOST_OUTAGES", 5)
    output = tmp_path / "out.jsonl"
    rows = [*_rows("chat", 10, model="none"), *chats(0), {"id": "good", "messages": "x"}]
    report = ollama.run(rows, output, concurrency=1)
    assert (report.succeeded, report.failed, report.stopped) == (1, 10, None)


def test_a_model_that_has_answered_is_known(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_MOST_OUTAGES", 5)
    output = tmp_path / "out.jsonl"
    with OllamaProvider(ollama.server.url) as provider:  # each row names its model

        def remove(report: batch.BatchReport) -> None:
            if report.succeeded:
                ollama.server.models.clear()

        monkeypatch.setattr(coordinator, "_PROGRESS_S", 0)
        rows = _rows("chat", 50, model="llama3.2")
        report = batch.run(rows, output, provider, concurrency=1, on_progress=remove)
    assert report.stopped == "failures"
    assert report.succeeded + report.failed < 50


def test_rows_that_cannot_be_sent_do_not_hide_an_outage(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_MOST_OUTAGES", 5)
    rows: List[Any] = [{"bad": 1} if number % 2 else f"text {number}" for number in range(60)]
    ollama.server.usual = Refusal(status="401 Unauthorized", body={"error": "no"})
    report = ollama.run(rows, tmp_path / "out.jsonl", concurrency=1)
    assert report.stopped == "failures"
    assert report.failed < 20


def test_an_answer_ends_an_outage(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_MOST_OUTAGES", 3)
    busy = Refusal(status="503 Service Unavailable", body={"error": "server busy"})
    ollama.server.reply_with(*[busy] * 4, Reply(), *[busy] * 4)
    report = ollama.run(chats(20), tmp_path / "out.jsonl", concurrency=1)
    assert (report.succeeded, report.failed, report.stopped) == (16, 4, None)


def test_the_window_of_each_failed_host_shrinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_MOST_OUTAGES", 1)
    told: Set[Tuple[Any, str]] = set()

    class Noted(Windows):
        def end(self, host: Any, numbers: Any, ended: Any) -> None:
            told.add((host, ended.outcome))
            super().end(host, numbers, ended)

    monkeypatch.setattr("localproviders.batch.assembling.Windows", Noted)
    with FakeOllama(["llama3.2"]) as one, FakeOllama(["llama3.2"]) as two:
        with _hosts([one, two], "llama3.2") as provider, contextlib.ExitStack() as outages:

            def begin(report: batch.BatchReport) -> None:
                if not report.failed:
                    outages.enter_context(one.down())
                    outages.enter_context(_busy(two))

            batch.run(chats(1), tmp_path / "out.jsonl", provider, on_progress=begin)
        hosts = {(one.url.rstrip("/"), "lost"), (two.url.rstrip("/"), "busy")}
    assert told == hosts


def test_the_deadline_ends_a_run(ollama: Ollama, tmp_path: Path) -> None:
    gate = _Gate(ollama.server)
    output = tmp_path / "out.jsonl"
    report = ollama.run(chats(10), output, deadline_s=0.05, grace_s=0)
    assert (report.stopped, report.succeeded, report.exit_code) == ("deadline", 0, 13)
    assert batch.status(output).stopped == "deadline"
    gate.opened.set()
    report = ollama.run(chats(10), output)
    assert (report.succeeded, report.stopped) == (10, None)
    assert report.asked_again <= 2


def test_cancel_finishes_the_requests_in_flight(ollama: Ollama, tmp_path: Path) -> None:
    gate = _Gate(ollama.server)
    token = CancelToken()

    def cancel() -> None:
        for _ in range(2):
            assert gate.arrived.acquire(timeout=30)
        token.cancel()
        gate.opened.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    report = ollama.run(chats(10), tmp_path / "out.jsonl", cancel=token)
    thread.join()
    assert (report.stopped, report.succeeded, report.failed) == ("cancelled", 2, 0)


def test_without_grace_the_requests_in_flight_are_dropped(ollama: Ollama, tmp_path: Path) -> None:
    gate = _Gate(ollama.server)
    token = CancelToken()
    thread = threading.Thread(target=lambda: gate.arrived.acquire(timeout=30) and token.cancel())
    thread.start()
    output = tmp_path / "out.jsonl"
    report = ollama.run(chats(10), output, cancel=token, grace_s=0)
    thread.join()
    gate.opened.set()
    assert (report.stopped, report.succeeded, report.failed) == ("cancelled", 0, 0)
    report = ollama.run(chats(10), output)
    assert (report.succeeded, report.asked_again >= 0) == (10, True)


@pytest.mark.skipif(os.name != "posix", reason="needs the signals of POSIX")
def test_an_interrupt_comes_out_after_the_requests_in_flight(
    ollama: Ollama, tmp_path: Path
) -> None:
    gate = _Gate(ollama.server)
    output = tmp_path / "out.jsonl"

    def interrupt() -> None:
        for _ in range(2):
            assert gate.arrived.acquire(timeout=30)
        os.kill(os.getpid(), signal.SIGINT)
        gate.opened.set()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ollama.run(chats(10), output)
    thread.join()
    assert batch.status(output).succeeded == len(lines_of(output)) <= 4
    assert batch.status(output).stopped == "cancelled"
    report = ollama.run(chats(10), output)
    assert (report.succeeded, report.failed) == (10, 0)


def test_an_exception_of_the_callers_function_comes_out(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_PROGRESS_S", 0)

    class OwnError(Exception):
        pass

    def fail(report: Any) -> None:
        raise OwnError

    output = tmp_path / "out.jsonl"
    with pytest.raises(OwnError):
        ollama.run(chats(10), output, on_progress=fail)
    assert ollama.run(chats(10), output).succeeded == 10
    assert len(lines_of(output)) == 10


def test_an_exception_of_a_sink_comes_out(ollama: Ollama) -> None:
    class Sink:
        def has(self, id: str, /) -> bool:
            return False

        def write(self, record: Any, /) -> None:
            raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        ollama.run(chats(10), Sink())


def test_progress_is_reported(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_PROGRESS_S", 0)
    reports: List[batch.BatchReport] = []
    last = ollama.run(chats(10), tmp_path / "out.jsonl", on_progress=reports.append)
    done = [report.succeeded for report in reports]
    assert done == sorted(done)
    assert reports[-1] == last
    assert {report.rows for report in reports} == {10}


def test_no_thread_is_left(ollama: Ollama, tmp_path: Path) -> None:
    ollama.run(chats(10), tmp_path / "out.jsonl", concurrency=5)
    names = [each.name for each in threading.enumerate()]
    assert "localproviders-batch" not in names


def test_the_window_bounds_the_requests_in_flight(ollama: Ollama, tmp_path: Path) -> None:
    now, most = [0], [0]
    lock = threading.Lock()

    class Counted(OllamaProvider):
        def complete(self, *args: Any, **options: Any) -> Any:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            try:
                return super().complete(*args, **options)
            finally:
                with lock:
                    now[0] -= 1

    with Counted(ollama.server.url, model="llama3.2") as provider:
        report = batch.run(chats(40), tmp_path / "out.jsonl", provider, concurrency=3)
    assert report.succeeded == 40
    assert most[0] <= 3


def test_the_rate_bounds_the_starts_of_requests(ollama: Ollama, tmp_path: Path) -> None:
    report = ollama.run(chats(6), tmp_path / "out.jsonl", rate_per_s=50)
    assert report.succeeded == 6
    assert report.elapsed_s >= 5 / 50


def test_a_full_window_of_ordered_results_waits(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_FEWEST_WAITING", 1)
    opened = threading.Event()
    seen: List[str] = []

    def reply(exchange: Exchange) -> Reply:
        text = json.loads(exchange.body)["messages"][-1]["content"]
        if text == "text 0":
            assert opened.wait(30)
        seen.append(text)
        if len(seen) == 7:  # the rows that may overtake the first one
            opened.set()
        return Reply()

    ollama.server.usual = reply
    output = tmp_path / "out.jsonl"
    report = ollama.run(chats(40), output, ordered=True, concurrency=2)
    assert report.succeeded == 40
    assert [line["custom_id"] for line in lines_of(output)] == [f"r{n}" for n in range(40)]


def test_a_disk_that_is_nearly_full_stops_a_run_before_the_first_row(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localproviders.batch.file_run.free_bytes", lambda folder: 100)
    report = ollama.run(chats(10), tmp_path / "out.jsonl")
    assert (report.stopped, report.exit_code, report.succeeded) == ("disk", 74, 0)
    assert ollama.texts() == []


def test_a_disk_that_fills_up_stops_a_run(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localproviders.batch.recorder.free_bytes", lambda folder: 100)
    monkeypatch.setattr("localproviders.batch.store.ROWS_PER_MARK", 3)
    output = tmp_path / "out.jsonl"
    report = ollama.run(chats(50), output)
    assert report.stopped == "disk"
    assert 3 <= report.succeeded < 50
    assert batch.status(output).stopped == "disk"


def test_retries_of_the_provider_come_first(tmp_path: Path) -> None:
    busy = Refusal(status="503 Service Unavailable", body={"error": "server busy"})
    with FakeOllama(["llama3.2"]) as server:
        server.reply_with(busy, busy, busy)
        policy = RetryPolicy(attempts=2, first_wait_s=0.001)
        with OllamaProvider(server.url, model="llama3.2", retry=policy) as provider:
            report = batch.run(chats(1), tmp_path / "out.jsonl", provider)
    assert (report.succeeded, report.asked_again) == (1, 1)
