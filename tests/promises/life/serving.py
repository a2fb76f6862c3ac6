"""A scripted server that counts its open connections, and scripts and responses for it."""

from __future__ import annotations

import json
import threading
from typing import Any, Callable, Dict, List

from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.timing import GRACE_S

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSED = _HEAD + b"\r\n"


class CountingServer(ScriptedServer):
    """A scripted server that counts its open connections."""

    def __init__(self, script: Any, **options: Any) -> None:
        super().__init__(script, **options)
        self._open = 0
        self._changed = threading.Condition()

    def __enter__(self) -> CountingServer:
        super().__enter__()
        return self

    def _serve(self, *connection: Any) -> None:
        self._count(1)
        try:
            super()._serve(*connection)
        finally:
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._changed:
            self._open += step
            self._changed.notify_all()

    def wait_until_open(self, number: int) -> bool:
        """Wait until exactly this number of connections is open; return False if it never is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == number, GRACE_S)


class ReachedStep:
    """A step of a script; a test can wait until the script reaches it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self, _: Exchange) -> None:
        self._event.set()

    def wait(self) -> None:
        """Wait until the script has reached this step."""
        assert self._event.wait(GRACE_S), "the script did not reach this step"


def hold(exchange: Exchange) -> None:
    exchange.hold()


def close(exchange: Exchange) -> None:
    exchange.close()


def event(text: str, end: bool = False, model: str = "m") -> bytes:
    """Return one event of a stream in OpenAI's dialect, as a chunk of the body."""
    choice: Dict[str, Any] = {"delta": {"content": text}}
    if end:
        choice["finish_reason"] = "stop"
    return chunk(b"data: %s\n\n" % json.dumps({"model": model, "choices": [choice]}).encode())


def chunk(data: bytes) -> bytes:
    """Encode data as one chunk of chunked transfer encoding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


DONE = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def streamed_response(*texts: str) -> bytes:
    """Return a complete streamed response in OpenAI's dialect, with one event for each text."""
    *first, last = texts
    return b"".join([CHUNKED, *map(event, first), event(last, end=True), DONE])


def question(exchange: Exchange) -> str:
    """Return the text of the last message of a chat request."""
    return str(exchange.json["messages"][-1]["content"])


def echo(exchange: Exchange) -> List[bytes]:
    """Answer a chat with a text that contains its question, and each text with its own vector."""
    return ECHOES[exchange.path.rpartition("/")[2]](exchange)


def _echo_chat(exchange: Exchange) -> List[bytes]:
    model = exchange.json["model"]
    pieces = [event(word, model=model) for word in reply_words(question(exchange))]
    return [CHUNKED, *pieces, event("", end=True, model=model), DONE]


def reply_words(asked: str) -> List[str]:
    """Return the texts of the chunks with which `echo` answers a question."""
    return [f"{number}:{asked};" for number in range(4)]


def reply(asked: str) -> str:
    """Return the complete text with which `echo` answers a question."""
    return "".join(reply_words(asked))


def _echo_vectors(exchange: Exchange) -> List[bytes]:
    rows = [
        {"index": index, "embedding": [float(ord(letter)) for letter in text]}
        for index, text in enumerate(exchange.json["input"])
    ]
    return [http_answer({"data": rows, "model": "m"})]


def _ollama_chat(exchange: Exchange) -> List[bytes]:
    model = exchange.json["model"]
    records = [
        {"model": model, "message": {"content": word}, "done": False}
        for word in reply_words(question(exchange))
    ]
    last = {"message": {"content": ""}, "done": True, "done_reason": "stop"}
    records.append({"model": model, **last})
    body = "".join(json.dumps(record) + "\n" for record in records)
    return [http_answer(body, content_type="application/x-ndjson", chunked=True, chunk_size=30)]


def _ollama_list(_: Exchange) -> List[bytes]:
    return [http_answer({"models": [{"name": "m:latest"}]})]


def _ollama_vectors(exchange: Exchange) -> List[bytes]:
    rows = [[float(ord(letter)) for letter in text] for text in exchange.json["input"]]
    return [http_answer({"model": "m", "embeddings": rows})]


ECHOES: Dict[str, Callable[[Exchange], List[bytes]]] = {
    "completions": _echo_chat,
    "embeddings": _echo_vectors,
    "chat": _ollama_chat,
    "tags": _ollama_list,
    "embed": _ollama_vectors,
}
