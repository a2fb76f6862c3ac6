"""One provider in many threads: each gets the answers to its own questions."""

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
from tests.life.serving import GRACE_S, CountingServer, echo, reply, spoken

_THREADS = 32
_QUESTIONS = 12

Kind = Callable[..., ModelProvider]
Asked = Tuple[str, str]


class CrossedError(AssertionError):
    """An answer that belongs to another question."""


class Elsewhere:
    """A thread that does what others put into its queue, at a moment of its own."""

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
    """Asks its own questions in random ways, and compares what comes."""

    def __init__(self, number: int, provider: ModelProvider, elsewhere: Any) -> None:
        self._random = random.Random(number)
        self._number = number
        self._provider = provider
        self._elsewhere = elsewhere
        self.whole = 0

    def run(self) -> None:
        for index in range(_QUESTIONS):
            asked = f"<{self._number}.{index}>"
            self._random.choice(_WAYS)(self, asked)

    def _check(self, asked: str, text: str, whole: bool) -> None:
        expected = reply(asked)
        if text != expected if whole else not expected.startswith(text):
            raise CrossedError(f"{asked}: {text!r}")
        self.whole += whole

    def asks(self, asked: str) -> None:
        self._check(asked, self._provider.chat(asked).text, whole=True)

    def reads(self, asked: str) -> None:
        with self._provider.stream(asked) as stream:
            text = "".join(chunk.text for chunk in stream)
        self._check(asked, text, whole=True)

    def embeds(self, asked: str) -> None:
        vector = self._provider.embed(asked).embeddings[0]
        if vector != [float(ord(letter)) for letter in asked]:
            raise CrossedError(asked)
        self.whole += 1

    def closes(self, asked: str) -> None:
        with self._provider.stream(asked) as stream:
            for _ in range(self._random.randrange(4)):
                next(stream)
        self._check(asked, stream.text, whole=False)

    def forgets(self, asked: str) -> None:
        stream = self._provider.stream(asked)
        self._check(asked, next(stream).text, whole=False)

    def is_cancelled(self, asked: str) -> None:
        token = CancelToken()
        self._elsewhere(token.cancel)
        self._ends(asked, lambda: self._provider.chat(asked, cancel=token).text)

    def is_closed(self, asked: str) -> None:
        stream = self._provider.stream(asked)
        self._elsewhere(stream.close)
        self._ends(asked, lambda: stream.result().text)

    def _ends(self, asked: str, answer: Callable[[], str]) -> None:
        try:
            self._check(asked, answer(), whole=True)
        except CancelledError as error:
            self._check(asked, error.partial, whole=False)

    def closes_the_provider(self, asked: str) -> None:
        self._provider.close()
        self.asks(asked)


_WAYS: List[Callable[[Asker, str], None]] = [
    Asker.asks,
    Asker.reads,
    Asker.embeds,
    Asker.closes,
    Asker.forgets,
    Asker.is_cancelled,
    Asker.is_closed,
    Asker.closes_the_provider,
]


def _in_threads(works: Sequence[Callable[[], object]]) -> None:
    """Run each in a thread, all from one moment on; raise what any of them raises."""
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
    extra: Dict[str, Any] = {} if request.param == "plain" else {"ca_bundle": path}
    with CountingServer(echo, tls=context if extra else None) as server:
        yield server, extra


@pytest.fixture
def _restless() -> Iterator[None]:
    """Let Python switch threads wherever it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("kind", [OllamaProvider, OpenAICompatibleProvider])
def test_no_answer_reaches_another_thread(kind: Kind, served: Any) -> None:
    server, extra = served
    with Elsewhere() as elsewhere, kind(server.url, model="m", **extra) as provider:
        askers = [Asker(number, provider, elsewhere) for number in range(_THREADS)]
        _in_threads([asker.run for asker in askers])
    assert server.comes_to(0)

    assert sum(asker.whole for asker in askers) > _THREADS * _QUESTIONS / 3


@pytest.mark.usefixtures("_restless")
def test_the_first_calls_of_all_threads_share_one_store_of_connections() -> None:
    together = threading.Barrier(_THREADS)

    def script(exchange: Exchange) -> List[Any]:
        return [lambda _: together.wait(GRACE_S), spoken("Hi")]

    for _ in range(5):
        with CountingServer(script) as server:
            with OpenAICompatibleProvider(server.url, model="m") as provider:
                _in_threads([lambda: provider.chat("Hi") for _ in range(_THREADS)])
                assert server.comes_to(_THREADS)
