"""Forks while other threads make calls, and lets parent and children ask different questions."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import List

from localproviders import ModelProvider, OpenAICompatibleProvider
from tests.promises.life.programs.report import send_result, wait_for_test
from tests.promises.life.serving import reply

_CHILDREN = 6
_MOST_THREADS = 4  # the largest number of threads in a test


def _ask(provider: ModelProvider, asked: str) -> None:
    if provider.chat(asked).text != reply(asked):
        raise SystemExit(f"{asked}: the text belongs to another question")
    with provider.stream(asked) as stream:
        if next(stream).text != reply(asked)[: len(asked) + 3]:
            raise SystemExit(f"{asked}: the chunk belongs to another question")
    if provider.embed(asked).embeddings[0] != [float(ord(letter)) for letter in asked]:
        raise SystemExit(f"{asked}: the vector belongs to another text")


class _CallingThreads:
    """Threads that make calls until the block ends, each with its own question."""

    def __init__(self, provider: ModelProvider, number: int) -> None:
        self._provider = provider
        self._stop = threading.Event()
        self._asked = threading.Semaphore(0)
        self._failures: List[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(number)]

    def __enter__(self) -> _CallingThreads:
        for thread in self._threads:
            thread.start()
        return self

    def _run(self, number: int) -> None:
        try:
            while not self._stop.is_set():
                _ask(self._provider, f"parent {number}")
                self._asked.release()
        except BaseException as error:
            self._failures.append(error)

    def wait_for_calls(self) -> None:
        """Wait until the threads have made further calls, as many as there are threads."""
        for thread in self._threads if not self._failures else ():
            del thread
            self._asked.acquire()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]


def _keep_idle(provider: ModelProvider, number: int) -> None:
    """Leave more idle connections than the threads use, so that a child could take one."""
    streams = [provider.stream("parent before") for _ in range(number)]
    for stream in streams:
        if stream.result().text != reply("parent before"):
            raise SystemExit("the text before the fork belongs to another question")


def _fork(provider: ModelProvider, number: int) -> int:
    """Fork, and let the child make calls and end, either with `os._exit` or with `sys.exit`."""
    child = os.fork()
    if child:
        return child
    for _ in range(3):
        _ask(provider, f"child {number}")
    gc.collect()
    if number % 2:
        os._exit(0)
    sys.exit(0)


def main(url: str, threads: str) -> None:
    provider = OpenAICompatibleProvider(url, model="m")
    _keep_idle(provider, 2 * _MOST_THREADS)
    with _CallingThreads(provider, int(threads)) as calling:
        children = []
        for number in range(_CHILDREN):
            calling.wait_for_calls()
            children.append(_fork(provider, number))
        statuses = [os.waitpid(child, 0)[1] for child in children]
    _ask(provider, "parent after")
    send_result(statuses)
    wait_for_test()
    provider.close()
    wait_for_test()
