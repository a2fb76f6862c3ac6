"""Forks while other threads ask, and lets parent and children ask their own questions."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import List

from localproviders import ModelProvider, OpenAICompatibleProvider
from tests.life.programs.report import say, wait
from tests.life.serving import reply

_CHILDREN = 6
_BUSY_THREADS = 4  # at the most


def _ask(provider: ModelProvider, asked: str) -> None:
    if provider.chat(asked).text != reply(asked):
        raise SystemExit(f"{asked}: another answer")
    with provider.stream(asked) as stream:
        if next(stream).text != reply(asked)[: len(asked) + 3]:
            raise SystemExit(f"{asked}: another piece")
    if provider.embed(asked).embeddings[0] != [float(ord(letter)) for letter in asked]:
        raise SystemExit(f"{asked}: another vector")


class _Busy:
    """Threads that ask until it is enough, each its own questions."""

    def __init__(self, provider: ModelProvider, number: int) -> None:
        self._provider = provider
        self._enough = threading.Event()
        self._asked = threading.Semaphore(0)
        self._failures: List[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(number)]

    def __enter__(self) -> _Busy:
        for thread in self._threads:
            thread.start()
        return self

    def _run(self, number: int) -> None:
        try:
            while not self._enough.is_set():
                _ask(self._provider, f"parent {number}")
                self._asked.release()
        except BaseException as error:
            self._failures.append(error)

    def work(self) -> None:
        """Come back when something has been asked since."""
        for thread in self._threads if not self._failures else ():
            del thread
            self._asked.acquire()

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]


def _keep_idle(provider: ModelProvider, number: int) -> None:
    """Have more connections than the threads use, so that a child could take one."""
    streams = [provider.stream("parent before") for _ in range(number)]
    for stream in streams:
        if stream.result().text != reply("parent before"):
            raise SystemExit("another answer before")


def _fork(provider: ModelProvider, number: int) -> int:
    """Fork, and let the child ask and end: at once, or as a whole program ends."""
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
    _keep_idle(provider, 2 * _BUSY_THREADS)
    with _Busy(provider, int(threads)) as busy:
        children = []
        for number in range(_CHILDREN):
            busy.work()
            children.append(_fork(provider, number))
        statuses = [os.waitpid(child, 0)[1] for child in children]
    _ask(provider, "parent after")
    say(statuses)
    wait()
    provider.close()
    wait()
