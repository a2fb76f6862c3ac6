"""Threads and executors that send the requests of a run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, List

import pytest

from localproviders import (
    ConfigurationError,
    LocalProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    SecretString,
    batch,
)
from localproviders.batch.workers import CallThreads, pickled
from localproviders.testing import FakeOllama
from tests.unit.batch.support import Ollama, chats, lines_of

_KEY = "literal-key-0123456789"


def _processes(count: int) -> ProcessPoolExecutor:
    # The threads of the fake server make a fork unsafe.
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.slow
def test_worker_processes_answer_all_rows(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    rows: List[Any] = [
        *chats(30),
        {"id": "e", "text": "x", "model": "nomic-embed-text"},
        {"bad": 1},
    ]
    with _processes(2) as executor:
        report = ollama.run(rows, output, executor=executor, concurrency=4)
        assert (report.succeeded, report.failed) == (31, 1)
        assert len({line["custom_id"] for line in lines_of(output)}) == 32
        assert executor.submit(os.getpid).result() != os.getpid()  # it is still open


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of POSIX")
def test_a_killed_worker_process_loses_only_the_rows_in_flight(
    ollama: Ollama, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    with _processes(2) as executor:
        workers = {executor.submit(os.getpid).result() for _ in range(20)}
        answered = [0]

        def reply(exchange: Any) -> str:
            answered[0] += 1
            if answered[0] == 15:
                os.kill(next(iter(workers)), signal.SIGKILL)
            return "fine"

        ollama.server.usual = reply
        with pytest.raises(BrokenProcessPool):
            ollama.run(chats(300), output, executor=executor, concurrency=4)
    done = batch.status(output).succeeded
    assert 0 < done < 300
    report = ollama.run(chats(300), output)
    assert (report.succeeded, report.skipped) == (300, done)
    assert len(ollama.texts()) <= 300 + 20
    assert len(lines_of(output)) == 300


def test_an_executor_of_threads_stays_open(ollama: Ollama, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        report = ollama.run(chats(10), tmp_path / "out.jsonl", executor=executor)
        assert report.succeeded == 10
        assert executor.submit(lambda: 5).result() == 5


def _with_key(key: Any) -> List[Any]:
    return [
        OllamaProvider("127.0.0.1:1", model="m", api_key=key, allow_plaintext_key=True),
        OllamaProvider("127.0.0.1:1", model="m", headers={"X-Api-Key": key}),
        OpenAICompatibleProvider("http://127.0.0.1:1", model="m", auth=("user", key)),
        LocalProvider([OllamaProvider("127.0.0.1:1", model="m", api_key=key)]),
    ]


@pytest.mark.parametrize("provider", _with_key(_KEY))
def test_a_literal_key_is_refused_before_the_first_row(provider: Any, tmp_path: Path) -> None:
    with _processes(1) as executor:
        with pytest.raises(ConfigurationError, match="an API key as a literal") as caught:
            batch.run(chats(2), tmp_path / "out.jsonl", provider, executor=executor)
    assert "SecretString.from_env" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_a_key_from_the_environment_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_KEY", _KEY)
    for provider in _with_key(SecretString.from_env("OWN_KEY")):
        data = pickled(provider)
        assert _KEY.encode() not in data
        assert b"OWN_KEY" in data


def test_a_provider_that_cannot_be_pickled_is_refused(tmp_path: Path) -> None:
    lock = threading.Lock()
    provider = OllamaProvider("127.0.0.1:1", model="m", listeners=(lambda event: lock.locked(),))
    with _processes(1) as executor:
        with pytest.raises(ConfigurationError, match="cannot be sent to worker processes"):
            batch.run(chats(2), tmp_path / "out.jsonl", provider, executor=executor)


def test_a_literal_key_is_fine_for_threads(tmp_path: Path) -> None:
    with FakeOllama(["llama3.2"], api_key=_KEY) as server:
        with OllamaProvider(server.url, model="llama3.2", api_key=_KEY) as provider:
            assert batch.run(chats(3), tmp_path / "out.jsonl", provider).succeeded == 3


def test_threads_are_started_only_when_they_are_needed() -> None:
    threads = CallThreads()
    for number in range(20):
        assert threads.submit(lambda: threading.current_thread().name).result() != ""
        del number
    assert len(threads._threads) <= 2  # a thread may become idle just after its result
    threads.shutdown()
    assert not any(thread.is_alive() for thread in threads._threads)


def test_an_exception_in_a_thread_is_raised_by_the_future() -> None:
    threads = CallThreads()

    def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        threads.submit(fail).result()
    future = threads.submit(lambda: 5)
    assert future.result() == 5
    threads.shutdown()
