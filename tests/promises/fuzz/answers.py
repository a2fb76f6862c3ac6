"""Strategies for complete HTTP responses of the servers, with damaged bytes or odd records."""

from __future__ import annotations

import gzip
import json
from typing import Any, Dict, List

from hypothesis import strategies as st

from localproviders.testing import http_answer
from tests.promises.fuzz import records
from tests.support.pieces import mutated, wire_bytes

_NDJSON, _SSE, _JSON = "application/x-ndjson", "text/event-stream", "application/json"


def _lines(values: List[Any]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def _events(values: List[Any]) -> bytes:
    texts = [*map(json.dumps, values), "[DONE]"]
    return "".join(f"data: {text}\r\n\r\n" for text in texts).encode()


def _compressed(body: bytes, content_type: str) -> bytes:
    head = [("Content-Encoding", "gzip")]
    return http_answer(gzip.compress(body, mtime=0), content_type=content_type, headers=head)


_OLLAMA_STREAM = _lines([records.OLLAMA_CHUNKS[0], records.OLLAMA_CHUNKS[5]])
_END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
_DIALECT_STREAM = _events([records.DIALECT_CHUNKS[0], _END, records.DIALECT_CHUNKS[8]])
_COMPLETION = {"model": "m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
_TAGS = {"models": [{"name": "m:latest", "details": {"family": "llama"}}]}

#: Good responses for each path in several encodings; the first is the usual one of the server.
GOOD: Dict[str, List[bytes]] = {
    "/api/chat": [
        http_answer(_OLLAMA_STREAM, content_type=_NDJSON, chunked=True),
        http_answer(_OLLAMA_STREAM, content_type=_NDJSON, chunked=True, chunk_size=7),
        _compressed(_OLLAMA_STREAM, _NDJSON),
        http_answer(records.OLLAMA_CHUNKS[5]),
    ],
    "/v1/chat/completions": [
        http_answer(_DIALECT_STREAM, content_type=_SSE, chunked=True),
        http_answer(_DIALECT_STREAM, content_type=_SSE, chunked=True, chunk_size=7),
        _compressed(_DIALECT_STREAM, _SSE),
        http_answer(_COMPLETION),
    ],
    "/api/embed": [
        http_answer(records.OLLAMA_VECTORS[0]),
        _compressed(json.dumps(records.OLLAMA_VECTORS[0]).encode(), _JSON),
    ],
    "/v1/embeddings": [
        http_answer(records.DIALECT_VECTORS[0]),
        http_answer(records.DIALECT_VECTORS[0], chunked=True),
    ],
    "/api/tags": [http_answer(_TAGS), http_answer(_TAGS, chunked=True, chunk_size=5)],
    "/v1/models": [http_answer(records.DIALECT_MODELS[0])],
    "/api/v1/models": [http_answer(records.STUDIO_MODELS[0])],
    "/api/v0/models": [http_answer(records.STUDIO_OLD_MODELS[0])],
}

_RECORDS: Dict[str, List[Any]] = {
    "/api/chat": records.OLLAMA_CHUNKS,
    "/v1/chat/completions": records.DIALECT_CHUNKS,
    "/api/embed": records.OLLAMA_VECTORS,
    "/v1/embeddings": records.DIALECT_VECTORS,
    "/api/tags": records.OLLAMA_MODELS,
    "/v1/models": records.DIALECT_MODELS,
    "/api/v1/models": records.STUDIO_MODELS,
}

_STATUS_LINES = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 204\r\n",
    b"HTTP/1.1 301 Moved\r\n", b"HTTP/1.1 304 Not Modified\r\n", b"HTTP/1.1 400 Bad Request\r\n",
    b"HTTP/1.1 401 Unauthorized\r\n", b"HTTP/1.1 429 Too Many\r\n", b"HTTP/1.1 500 x\r\n",
    b"HTTP/1.1 503 \r\n", b"HTTP/1.1 999 \r\n", b"HTTP/2 200\r\n", b"ICY 200 OK\r\n", b"HTTP/1.1\r\n",
]  # fmt: skip
_HEADERS = [
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 5, 6\r\n",
    b"Content-Length: 99999999999999999999\r\n", b"Content-Length: x\r\n", b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Encoding: br\r\n", b"Content-Encoding: deflate\r\n",
    b"Content-Type: application/json; charset\r\n", b"Content-Type: text/html\r\n",
    b"Content-Type: text/event-stream\r\n", b"Content-Type: application/x-ndjson\r\n",
    b"Content-Type: application/json; charset=\xff\xfe\r\n", b"Content-Type: ;;;=\r\n",
    b"Location: http://127.0.0.1:1/\r\n", b"Location: \xff\r\n", b"Set-Cookie: a=b; expires=x\r\n",
    b"Retry-After: Mon, 99 Jan\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"No colon here\r\n", b" folded\r\n", b": no name\r\n", b"X\x00Y: \x00\r\n", b"X: " + b"a" * 70_000,
    b"\r", b"\n", b"Trailer: X\r\n", b"WWW-Authenticate: Basic\r\n",
]  # fmt: skip
_CHUNKS = [
    b"5\r\nabcde\r\n", b"0\r\n\r\n", b"-5\r\n", b"ffffffffffffffffff\r\n", b"5;ext=1\r\n", b"x\r\n",
    b"0x5\r\nabcde\r\n", b"1_0\r\n", b"0\r\nX: y\r\n\r\n", b"\r\n", b"data: [DONE]\n\n", b"5\r\nab",
]  # fmt: skip
_any_bytes = st.sampled_from(_STATUS_LINES + _HEADERS + _CHUNKS) | st.binary(max_size=4)


@st.composite
def _random_response(draw: Any) -> bytes:
    """Draw a response of a status line, headers and a body that may not fit each other."""
    head = b"".join(draw(st.lists(st.sampled_from(_HEADERS), max_size=4)))
    parts = st.lists(st.sampled_from(_CHUNKS), max_size=4).map(b"".join)
    return draw(st.sampled_from(_STATUS_LINES)) + head + b"\r\n" + draw(parts | wire_bytes)


@st.composite
def _damaged(draw: Any, good: List[bytes]) -> bytes:
    """Draw a good response and flip, remove, double, insert or cut some of its bytes."""
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        how = draw(st.sampled_from(["flip", "remove", "double", "insert", "cut"]))
        if how == "flip":
            data[at : at + 1] = bytes(
                byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1]
            )
        elif how == "remove":
            del data[at : min(end, at + 9)]
        elif how == "double":
            data[at:at] = data[at:end]
        elif how == "insert":
            data[at:at] = draw(_any_bytes)
        else:
            del data[at:]
    return bytes(data)


@st.composite
def _odd_records(draw: Any, path: str) -> bytes:
    """Draw a response with odd records in correct HTTP."""
    several = mutated(_RECORDS[path]) | st.sampled_from(_RECORDS[path])
    values = draw(st.lists(several, min_size=1, max_size=3))
    if path == "/api/chat":
        return http_answer(_lines(values), content_type=_NDJSON, chunked=True)
    if path == "/v1/chat/completions":
        return http_answer(_events(values), content_type=_SSE, chunked=True)
    return http_answer(json.dumps(values[0]))


def bad_answers(path: str) -> st.SearchStrategy[bytes]:
    """Draw a response for a path: random, damaged, or with odd records. It may also be good."""
    return (
        st.binary(max_size=40)
        | _random_response()
        | _damaged(GOOD[path])
        | _damaged(GOOD[path])
        | _odd_records(path)
    )
