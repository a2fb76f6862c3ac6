"""Faults of the connection and of the head of a response."""

from __future__ import annotations

from typing import Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.faults.fault import KINDS, Fault, close, drip, flood, hold, reset
from localproviders.testing.scripted import Exchange

_OK = b"HTTP/1.1 200 OK\r\n"
_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _cut_head(answer: Answer) -> bytes:
    return answer.head()[:-2]


def _bad_request(exchange: Exchange) -> None:
    body = b'{"error": "the request is too long for me"}'
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
    exchange.sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def _refuse_and_close(exchange: Exchange) -> None:
    _bad_request(exchange)
    exchange.close()


def _refuse_and_hold(exchange: Exchange) -> None:
    _bad_request(exchange)
    exchange.hold()


def _read_slowly(exchange: Exchange) -> None:
    exchange.read_body(piece_bytes=1, every_s=1.0)


# The kinds of responses to requests with a body. Only a request for a model list has none.
_WITH_A_BODY = tuple(kind for kind in KINDS if kind != "list")

HEADS: Tuple[Fault, ...] = (
    Fault("silence", lambda a: [hold]),
    Fault("closed without an answer", lambda a: [close]),
    Fault("reset without an answer", lambda a: [reset]),
    Fault("status line dripped", lambda a: [b"HTTP/1.1 200 O", drip(b"O")]),
    Fault("silence after the status line", lambda a: [_OK, hold]),
    Fault("closed after the status line", lambda a: [_OK, close]),
    Fault("headers dripped", lambda a: [_cut_head(a), drip(b"X-A: b\r\n")]),
    Fault("a header dripped", lambda a: [_cut_head(a) + b"X-A: ", drip(b"a")]),
    Fault("silence within the headers", lambda a: [_cut_head(a), hold]),
    Fault("silence after the headers", lambda a: [a.head(), hold]),
    Fault("headers without end", lambda a: [_cut_head(a), flood(b"X-A: b\r\n")]),
    Fault("a header without end", lambda a: [_cut_head(a) + b"X-A: ", flood(b"a")]),
    Fault("a thousand headers", lambda a: [_cut_head(a) + b"X-A: b\r\n" * 1000 + b"\r\n", close]),
    Fault("interim answers dripped", lambda a: [drip(_CONTINUE)]),
    Fault("interim answers without end", lambda a: [flood(_CONTINUE)]),
    Fault("early hints without end", lambda a: [flood(_HINTS)]),
    Fault("100 Continue before the answer", lambda a: [_CONTINUE, *a.steps()]),
    Fault("early hints before the answer", lambda a: [_HINTS * 3, *a.steps()]),
    Fault(
        "101 Switching Protocols",
        lambda a: [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", hold],
    ),
    Fault("not HTTP", lambda a: [b"SSH-2.0-OpenSSH_9.2\r\n", close]),
    Fault("not HTTP, then silence", lambda a: [b"\x00\x01\x02 nothing known \r\n", hold]),
    Fault("HTTP/2", lambda a: [b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", b"\x00" * 18, close]),
    Fault("an impossible status", lambda a: [b"HTTP/1.1 2000 Much\r\n\r\n", close]),
    Fault("a status that is not a number", lambda a: [b"HTTP/1.1 OK 200\r\n\r\n", close]),
    Fault(
        "two different lengths",
        lambda a: [a.head("Content-Length: 5\r\nContent-Length: 6") + a.body, close],
    ),
    Fault(
        "a length that is not a number", lambda a: [a.head("Content-Length: many") + a.body, close]
    ),
    Fault("a negative length", lambda a: [a.head("Content-Length: -5") + a.body, close]),
    Fault(
        "an unknown transfer coding",
        lambda a: [a.head("Transfer-Encoding: magic") + a.body, close],
    ),
    Fault("no content", lambda a: [b"HTTP/1.1 204 No Content\r\n\r\n"]),
    Fault(
        "no content, said to be chunked",
        lambda a: [b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ),
    Fault("refused while the request is sent", lambda a: [], _WITH_A_BODY, _refuse_and_close),
    Fault(
        "refused while the request is sent, then silence",
        lambda a: [],
        _WITH_A_BODY,
        _refuse_and_hold,
    ),
    Fault("the request read a byte a second", lambda a: a.steps(), _WITH_A_BODY, _read_slowly),
)
