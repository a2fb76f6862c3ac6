"""Faults of the body: its end, its framing and its compression."""

from __future__ import annotations

import gzip
import zlib
from functools import lru_cache
from typing import Callable, Iterable, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.faults.fault import (
    BODIES,
    Fault,
    chunk,
    close,
    drip,
    flood,
    hold,
    reset,
)
from localproviders.testing.scripted import Exchange, Step

_CHUNKED = "Transfer-Encoding: chunked"


def _first_part(answer: Answer) -> bytes:
    """Return the head and the part of the body before the fault. The encoding is always chunked."""
    return answer.head(_CHUNKED) + chunk(b"".join(answer.pieces[: answer.begun]))


def _second_part(answer: Answer) -> bytes:
    return chunk(b"".join(answer.pieces[answer.begun :]))


def _after_first_part(*further: Step) -> Callable[[Answer], Iterable[Step]]:
    return lambda answer: [_first_part(answer), *further]


def _head_with_length(answer: Answer, added: int) -> bytes:
    return answer.head(f"Content-Length: {len(answer.body) + added}")


def _head_without_length(answer: Answer) -> bytes:
    return answer.head("Connection: close", version="HTTP/1.0")


def _with_encoding(name: str, data: bytes, answer: Answer) -> bytes:
    return answer.head(f"Content-Encoding: {name}\r\nContent-Length: {len(data)}") + data


@lru_cache(maxsize=None)
def _bomb() -> bytes:
    return gzip.compress(b" " * 50_000_000, compresslevel=1)


def _single_bytes(answer: Answer) -> Iterable[Step]:
    data = b"".join(step for step in answer.steps() if isinstance(step, bytes))
    return [bytes((byte,)) for byte in data]


def _pause(exchange: Exchange) -> None:
    """Pause, so that the client reads the bytes sent so far before the next ones arrive."""
    exchange.hold(0.05)


def _cut_short(answer: Answer) -> Iterable[Step]:
    """Send the whole body, with a ``Content-Length`` that ends within the last record."""
    return [_head_with_length(answer, -12) + answer.body, hold]


BODY_FAULTS: Tuple[Fault, ...] = (
    Fault("body stalled", _after_first_part(hold)),
    Fault("body dripped", _after_first_part(drip(chunk(b"x")))),
    Fault("blank body dripped", lambda a: [a.head(_CHUNKED), drip(chunk(b"\n"))]),
    Fault("body cut", _after_first_part(close)),
    Fault("body reset", _after_first_part(reset)),
    Fault("body cut within a chunk", _after_first_part(b"ff\r\nhalf", close)),
    Fault("body cut before the final chunk", lambda a: [_first_part(a) + _second_part(a), close]),
    Fault(
        "connection reset before the final chunk",
        lambda a: [_first_part(a) + _second_part(a), reset],
    ),
    Fault("silence before the final chunk", lambda a: [_first_part(a) + _second_part(a), hold]),
    Fault("shorter than announced", lambda a: [_head_with_length(a, 100) + a.body, close]),
    Fault(
        "shorter than announced, then silence", lambda a: [_head_with_length(a, 100) + a.body, hold]
    ),
    Fault("longer than announced", _cut_short),
    Fault("a second answer after the first", lambda a: [a.start() + a.rest() + a.start()]),
    Fault(
        "a second answer in one piece with the body",
        lambda a: [a.head(), _pause, a.framed(a.body) + a.end + a.start()],
    ),
    Fault("rubbish after the answer", lambda a: [a.start() + a.rest() + b"rubbish\r\n"]),
    Fault("a bad chunk size", _after_first_part(b"zz\r\nhello\r\n", hold)),
    Fault("a negative chunk size", _after_first_part(b"-5\r\nhello\r\n", hold)),
    Fault("a huge chunk size", _after_first_part(b"ffffffffffffffff\r\nhello", close)),
    Fault("no chunk size", _after_first_part(b"\r\n", hold)),
    Fault("a chunk without its end", _after_first_part(b"2\r\nxxhello\r\n", hold)),
    Fault("a chunk size dripped", _after_first_part(drip(b"0"))),
    Fault("a chunk size without end", _after_first_part(flood(b"0"))),
    Fault(
        "chunk extensions",
        lambda a: [a.head(_CHUNKED), b"%x;a=b;c\r\n%s\r\n0\r\n\r\n" % (len(a.body), a.body)],
    ),
    Fault(
        "trailers", lambda a: [_first_part(a) + _second_part(a) + b"0\r\nX-A: b\r\nX-C: d\r\n\r\n"]
    ),
    Fault(
        "trailers dripped",
        lambda a: [_first_part(a) + _second_part(a) + b"0\r\n", drip(b"X-A: b\r\n")],
    ),
    Fault(
        "trailers without end",
        lambda a: [_first_part(a) + _second_part(a) + b"0\r\n", flood(b"X: b\r\n")],
    ),
    Fault("HTTP/1.0 without a length", lambda a: [_head_without_length(a) + a.body, close]),
    Fault(
        "HTTP/1.0 cut",
        lambda a: [_head_without_length(a) + b"".join(a.pieces[: a.begun]), close],
    ),
    Fault(
        "HTTP/1.0 stalled",
        lambda a: [_head_without_length(a) + b"".join(a.pieces[: a.begun]), hold],
    ),
    Fault(
        "length and chunks",
        lambda a: [
            _head_with_length(a, 5)[:-2] + _CHUNKED.encode() + b"\r\n\r\n",
            chunk(a.body) + b"0\r\n\r\n",
        ],
    ),
    Fault(
        "closed after the answer",
        lambda a: [a.head(extra=[("Connection", "close")]), *map(a.framed, a.pieces), a.end, close],
    ),
    Fault("an empty body", lambda a: [a.head("Content-Length: 0")]),
    Fault("one byte at a time", _single_bytes),
    Fault("gzip", lambda a: [_with_encoding("gzip", gzip.compress(a.body), a)]),
    Fault("deflate", lambda a: [_with_encoding("deflate", zlib.compress(a.body), a)]),
    Fault("gzip cut", lambda a: [_with_encoding("gzip", gzip.compress(a.body)[:-9], a)]),
    Fault("gzip in the headers only", lambda a: [_with_encoding("gzip", a.body, a)]),
    Fault("a gzip bomb", lambda a: [_with_encoding("gzip", _bomb(), a)]),
    Fault("an unknown encoding", lambda a: [_with_encoding("br", a.body, a)]),
    Fault("gzip twice", lambda a: [_with_encoding("gzip, gzip", a.body, a)]),
    Fault("blank lines without end", lambda a: [a.head(_CHUNKED), flood(chunk(b"\n" * 4096))]),
    Fault("blanks without end", lambda a: [a.head(_CHUNKED), flood(chunk(b" " * 4096))]),
    Fault(
        "a line of 50 MB",
        lambda a: [a.head(_CHUNKED), chunk(b'{"a": "' + b"x" * 50_000_000), b"0\r\n\r\n"],
    ),
    Fault(
        "white space around the body",
        lambda a: [_head_with_length(a, 6) + b"\r\n " + a.body + b" \r\n"],
        BODIES,
    ),
)
