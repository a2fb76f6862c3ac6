"""Status line and headers are parsed with the same result as by http.client."""

from __future__ import annotations

import http.client
import io
from typing import Any, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders._http.connection import _BoundedMixin, _HTTPResponse
from tests.support.depth import examples

_LINES = [
    b"Content-Type: application/json\r\n",
    b"content-type:text/event-stream\r\n",
    b"Content-Length: 12\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 1_0\r\n",
    b"Content-Length: \r\n",
    b"Content-Length: many\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: Chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Date: Sun, 01 Mar 2026 12:00:00 GMT\n",
    b"X-Empty:\r\n",
    b"X-Blank:   \r\n",
    b"X-Folded: one\r\n two\r\n",
    b"X-Cut: one\rX-Two: two\r\n",
    b"X-Latin: caf\xe9\r\n",
    b"X-Control: \x0b\x1c\x85\r\n",
    b"X Space: one\r\n",
    b"X-Space : one\r\n",
    b": no name\r\n",
    b"no colon\r\n",
    b"From somebody: x\r\n",
    b" indented: x\r\n",
    b"X-Long: " + b"x" * 65_000 + b"\r\n",
    b"X-Too-Long: " + b"x" * 65_536 + b"\r\n",
]
_STATUS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 304\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 503  Busy \r\n",
    b"HTTP/0.9 200 OK\r\n",
    b"HTTP/0.95 200 OK\r\n",
    b"HTTP/2 200\r\n",
    b"HTTP/1.1 20 OK\r\n",
    b"SIP/1.1 200 OK\r\n",
    b"",
]
_FOUND = ("status", "reason", "version", "length", "chunked", "will_close")


class _Sock:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


def _read(kind: Any, data: bytes, method: str) -> Any:
    response = kind(_Sock(data), method=method)
    try:
        response.begin()
    except http.client.HTTPException as error:
        return type(error), str(error)
    found = [getattr(response, name) for name in _FOUND]
    return found, response.headers.items(), response.fp and response.fp.read()


def _same(head: bytes, method: str = "POST") -> None:
    data = head + b"hello, world"
    assert _read(_HTTPResponse, data, method) == _read(http.client.HTTPResponse, data, method)


@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("status", _STATUS)
def test_a_head_with_each_status_line(status: bytes, method: str) -> None:
    _same(status + _LINES[0] + _LINES[2] + b"\r\n", method)


@pytest.mark.parametrize("line", _LINES)
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b""])
def test_a_head_with_each_line(line: bytes, end: bytes) -> None:
    _same(_STATUS[0] + _LINES[0] + line + _LINES[5] + end)


@pytest.mark.parametrize("value", [b"chunked ", b"\tchunked\t", b" CHUNKED  "])
def test_blanks_around_the_encoding_do_not_matter(value: bytes) -> None:
    """http.client takes such a body for one that ends with its connection."""
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding:" + value + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    (_, _, _, length, chunked, will_close), _, _ = _read(_HTTPResponse, data, "POST")
    assert (length, chunked, will_close) == (None, True, False)


@pytest.mark.parametrize("count", [98, 99, 100, 101, 200])
def test_a_head_with_many_lines(count: int) -> None:
    _same(_STATUS[0] + _LINES[0] * count + b"\r\n")


@examples(200)
@given(st.sampled_from(_STATUS), st.lists(st.sampled_from(_LINES) | st.binary(max_size=12)))
def test_any_head(status: bytes, lines: List[bytes]) -> None:
    _same(status + b"".join(lines) + b"\r\n")


def test_the_argument_that_old_releases_of_urllib3_pass_is_accepted() -> None:
    class Old(http.client.HTTPConnection):
        def getresponse(self) -> Any:  # type: ignore[override]  # it only shows what it received
            return "a response"

    class Connection(_BoundedMixin, Old):  # type: ignore[misc]  # the mixin declares `sock`
        pass

    assert Connection("127.0.0.1").getresponse(buffering=True) == "a response"
