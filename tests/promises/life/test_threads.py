"""One provider in many threads: each thread receives the responses to its own requests."""

from __future__ import annotations

import queue
import random
import ssl
import sys
import threading
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import pytest
import trustme

from localproviders import (
    CancelledError,
    CancelToken,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
)
from localproviders.testing import Exchange
from tests.promises.life.serving import CountingServer, echo, reply, streamed_response
from tests.support.timing import GRACE_S

_THREADS = 32
_QUESTIONS = 12

Kind = Callable[..., ModelProvider]
Asked = Tuple[str, str]


class CrossedError(AssertionError):
    """A response that belongs to another request."""


class OtherThread:
    """A thread that runs the functions that other threads put into its queue."""

    def __enter__(self) -> Callable[[Optional[Callable[[], None]]], None]:
        self._work: queue.Queue[Optional[Callable[[], None]]] = queue.Queue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self._work.put

    def _run(self) -> None:
        for work in iter(self._work.get, None):
            work()

    def __exit__(self, *_: object) -> None:
        self._work.put(None)
        self._thread.join(GRACE_S)


class Asker:
    """Makes calls in random ways, and checks that each response belongs to its request."""

    def __init__(self, number: int, provider: ModelProvider, run_elsewhere: Any) -> None:
        self._random = random.Random(number)
        self._number = number
        self._provider = provider
        self._run_elsewhere = run_elsewhere
        self.complete = 0

    def run(self) -> None:
        for index in range(_QUESTIONS):
            asked = f"<{self._number}.{index}>"
            self._random.choice(_ACTIONS)(self, asked)

    def _check(self, asked: str, text: str, complete: bool) -> None:
        expected = reply(asked)
        if text != expected if complete else not expected.startswith(text):
            raise CrossedError(f"{asked}: {text!r}")
        self.complete += complete

    def chats(self, asked: str) -> None:
        self._check(asked, self._provider.chat(asked).text, complete=True)

    def reads_stream(self, asked: str) -> None:
        with self._provider.stream(asked) as stream:
            text = "".join(chunk.text for chunk in stream)
        self._check(asked, text, complete=True)

    def embeds(self, asked: str) -> None:
        vector = self._provider.embed(asked).embeddings[0]
        if vector != [float(ord(letter)) for letter in asked]:
            raise CrossedError(asked)
        self.complete += 1

    def closes_stream(self, asked: str) -> None:
        with self._provider.stream(asked) as stream:
            for _ in range(self._random.randrange(4)):
                next(stream)
        self._check(asked, stream.text, complete=False)

    def abandons_stream(self, asked: str) -> None:
        stream = self._provider.stream(asked)
        self._check(asked, next(stream).text, complete=False)

    def is_cancelled(self, asked: str) -> None:
        token = CancelToken()
        self._run_elsewhere(token.cancel)
        self._ends(asked, lambda: self._provider.chat(asked, cancel=token).text)

    def is_closed_by_another(self, asked: str) -> None:
        stream = self._provider.stream(asked)
        self._run_elsewhere(stream.close)
        self._ends(asked, lambda: stream.result().text)

    def _ends(self, asked: str, answer: Callable[[], str]) -> None:
        try:
            self._check(asked, answer(), complete=True)
        except CancelledError as error:
            self._check(asked, error.partial, complete=False)

    def closes_provider(self, asked: str) -> None:
        self._provider.close()
        self.chats(asked)


_ACTIONS: List[Callable[[Asker, str], None]] = [
    Asker.chats,
    Asker.reads_stream,
    Asker.embeds,
    Asker.closes_stream,
    Asker.abandons_stream,
    Asker.is_cancelled,
    Asker.is_closed_by_another,
    Asker.closes_provider,
]


def _in_threads(works: Sequence[Callable[[], object]]) -> None:
    """Run each function in a thread, all at the same time; raise the first exception of any."""
    failures: List[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        start.wait(GRACE_S)
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Tuple[str, ssl.SSLContext]:
    made = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    made.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1").configure_cert(context)
    return str(path), context


@pytest.fixture(params=["plain", "tls"])
def served(request: Any, authority: Tuple[str, ssl.SSLContext]) -> Iterator[Any]:
    path, context = authority
    extra: Dict[str, Any] = {"ca_bundle": path} if request.param == "tls" else {}
    unix = request.getfixturevalue("socket_path") if request.param == "unix" else None
    with CountingServer(echo, tls=context if extra else None, unix=unix) as server:
        yield server, extra


@pytest.fixture
def _frequent_switches() -> Iterator[None]:
    """Let Python switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.sample(0)
@pytest.mark.parametrize(
    ("served", "kind"),
    [
        ("plain", OllamaProvider),
        ("tls", OpenAICompatibleProvider),
        pytest.param("unix", OpenAICompatibleProvider, marks=pytest.mark.slow),
        pytest.param("plain", OpenAICompatibleProvider, marks=pytest.mark.slow),
        pytest.param("tls", OllamaProvider, marks=pytest.mark.slow),
    ],
    indirect=["served"],
)
def test_no_response_reaches_another_thread(kind: Kind, served: Any) -> None:
    server, extra = served
    with OtherThread() as run_elsewhere, kind(server.url, model="m", **extra) as provider:
        askers = [Asker(number, provider, run_elsewhere) for number in range(_THREADS)]
        _in_threads([asker.run for asker in askers])
    assert server.wait_until_open(0)

    assert sum(asker.complete for asker in askers) > _THREADS * _QUESTIONS / 3


@pytest.mark.usefixtures("_frequent_switches")
def test_the_first_calls_of_all_threads_share_one_connection_pool() -> None:
    together = threading.Barrier(_THREADS)

    def script(exchange: Exchange) -> List[Any]:
        return [lambda _: together.wait(GRACE_S), streamed_response("Hi")]

    for _ in range(5):
        with CountingServer(script) as server:
            with OpenAICompatibleProvider(server.url, model="m") as provider:
                _in_threads([lambda: provider.chat("Hi") for _ in range(_THREADS)])
                assert server.wait_until_open(_THREADS)
