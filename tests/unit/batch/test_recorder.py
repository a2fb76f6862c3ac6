"""Results in the order of the rows, whatever the earlier runs did."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, List

import pytest

from localproviders import RequestRejectedError, ServerBusyError, batch
from localproviders.batch import coordinator
from localproviders.testing import Exchange, Refusal, Reply
from tests.unit.batch.support import Ollama, chats

_BUSY = Refusal(status="503 Service Unavailable", body={"error": "server busy"})
_NO = Refusal(status="400 Bad Request", body={"error": "no"})


@pytest.fixture(params=["out.jsonl", "out.csv"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def _ids(output: Path) -> List[str]:
    with open(output, newline="", encoding="utf-8") as file:
        if output.suffix == ".csv":
            return [row["id"] for row in csv.DictReader(file)]
        return [json.loads(line)["custom_id"] for line in file]


def _refuse(ollama: Ollama, refusal: Refusal, *numbers: int) -> None:
    """Let the server refuse these rows, and answer the others."""

    def reply(exchange: Exchange) -> Any:
        text = json.loads(exchange.body)["messages"][-1]["content"]
        return refusal if text in [f"text {number}" for number in numbers] else Reply()

    ollama.server.usual = reply


_ALL = [f"r{number}" for number in range(12)]


def test_rows_that_may_succeed_later_are_sent_again(ollama: Ollama, output: Path) -> None:
    _refuse(ollama, _BUSY, 1, 4)
    stopped = ollama.run(chats(12), output, ordered=True, max_failures=1, concurrency=1)
    assert (stopped.stopped, stopped.failed) == ("failures", 2)
    assert _ids(output) == _ALL[:5]  # the errors are in the order of the rows, too
    assert (batch.status(output).succeeded, batch.status(output).failed) == (3, 2)
    _refuse(ollama, _NO, 7)
    report = ollama.run(chats(12), output, ordered=True)
    assert (report.succeeded, report.failed, report.asked_again) == (11, 1, 2)
    assert _ids(output) == _ALL


def test_after_the_end_they_are_sent_again_only_on_request(ollama: Ollama, output: Path) -> None:
    _refuse(ollama, _BUSY, 1, 4)
    assert ollama.run(chats(6), output, ordered=True).failed == 2
    ollama.server.usual = Reply()
    assert ollama.run(chats(6), output, ordered=True).asked_again == 0
    stopped = ollama.run(chats(12), output, ordered=True, deadline_s=1e-9)
    assert (stopped.stopped, stopped.failed) == ("deadline", 2)
    report = ollama.run(chats(12), output, ordered=True, retry_failed=RequestRejectedError)
    assert (report.failed, report.asked_again) == (2, 0)
    report = ollama.run(chats(12), output, ordered=True, retry_failed=ServerBusyError)
    assert (report.failed, report.asked_again, report.succeeded) == (0, 2, 12)
    assert _ids(output) == _ALL


def test_an_error_that_came_again_replaces_the_first_one(ollama: Ollama, output: Path) -> None:
    _refuse(ollama, _BUSY, 1)
    ollama.run(chats(12), output, ordered=True, max_failures=0, concurrency=1)
    _refuse(ollama, _NO, 1)
    report = ollama.run(chats(12), output, ordered=True)
    assert (report.succeeded, report.failed) == (11, 1)
    assert _ids(output) == _ALL
    assert b"RequestRejectedError" in output.read_bytes()
    assert b"ServerBusyError" not in output.read_bytes()


@pytest.mark.parametrize("refusal", [_BUSY, _NO])
@pytest.mark.parametrize("first", [{}, {"max_failures": 0}, {"ordered": True, "max_failures": 0}])
@pytest.mark.parametrize("last", [{}, {"retry_failed": True}])
def test_the_order_does_not_depend_on_the_earlier_runs(
    first: Any, last: Any, refusal: Refusal, ollama: Ollama, output: Path
) -> None:
    _refuse(ollama, refusal, 1, 4)
    ollama.run(chats(12), output, concurrency=3, **first)
    _refuse(ollama, refusal, 8)
    report = ollama.run(chats(12), output, concurrency=3, ordered=True, **last)
    assert report.stopped is None
    assert _ids(output) == _ALL
    before = output.read_bytes()
    assert ollama.run(chats(12), output, ordered=True).failed == report.failed
    assert output.read_bytes() == before
    assert batch.status(output).failed == report.failed


def test_rows_of_a_dead_server_are_sent_again(
    ollama: Ollama, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_MOST_OUTAGES", 3)
    _refuse(ollama, Refusal(status="401 Unauthorized", body={"error": "no"}), *range(2, 12))
    report = ollama.run(chats(12), output, ordered=True, concurrency=1)
    assert (report.stopped, report.succeeded, report.failed) == ("failures", 2, 3)
    ollama.server.usual = Reply()
    assert ollama.run(chats(12), output, ordered=True).succeeded == 12
    assert _ids(output) == _ALL


def test_parts_with_open_errors_are_merged(ollama: Ollama, output: Path) -> None:
    parts = [output.with_name(f"part{number}{output.suffix}") for number in (1, 2)]
    _refuse(ollama, _BUSY, 1, 4)
    for number, part in enumerate(parts, 1):
        ollama.run(chats(12), part, ordered=True, shard=(number, 2))
    report = batch.merge(parts, output)
    assert (report.succeeded, report.failed) == (10, 2)
    assert _ids(output) == _ALL
    ollama.server.usual = Reply()
    assert ollama.run(chats(12), output).asked_again == 0
    assert ollama.run(chats(12), output, retry_failed=True).succeeded == 12
