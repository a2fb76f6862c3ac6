"""The chunked decoder returns the same body as http.client, for every way of cutting the chunks."""

from __future__ import annotations

import http.client
import io
from typing import Any, Iterable, List, Optional, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localproviders._http.chunked import Unchunker
from tests.support.depth import examples
from tests.support.pieces import cut, places

#: The body, whether it has ended, the bytes after it, and the class of the error.
Read = Tuple[bytes, bool, bytes, Optional[type]]


def read(pieces: Iterable[bytes]) -> Read:
    unchunker = Unchunker()
    body = b""
    for piece in pieces:
        body += unchunker.feed(piece)
        if unchunker.broken is not None:
            return body, False, b"", type(unchunker.broken)
    return body, unchunker.is_finished, unchunker.rest if unchunker.is_finished else b"", None


def chunk(data: bytes, size: str = "%x") -> bytes:
    return (size % len(data)).encode() + b"\r\n" + data + b"\r\n"


END = b"0\r\n\r\n"
MANY = b"".join(chunk(b"abc"[: n % 3 + 1]) for n in range(40))

WHOLE: List[Tuple[bytes, bytes]] = [
    (END, b""),
    (chunk(b"abc") + END, b"abc"),
    (chunk(b"abc" * 99, "%X") + END, b"abc" * 99),
    (chunk(b"abc", "000%x") + END, b"abc"),
    (chunk(b"abc", "%x;a=b") + END, b"abc"),
    (chunk(b"abc", "%x ; a") + END, b"abc"),
    (chunk(b"\r\n\r\n0\r\n\r\n") + END, b"\r\n\r\n0\r\n\r\n"),
    (chunk(b"abc") + b"0\r\nX-A: b\r\nX-C: d\r\n\r\n", b"abc"),
    (chunk(b"abc") + b"00;x\n\n", b"abc"),
    (b"3\nabc\r\n" + END, b"abc"),
    (MANY + END, b"".join(b"abc"[: n % 3 + 1] for n in range(40))),
    (MANY + chunk(b"x" * 500) + chunk(b"a\r\nb") * 20 + END, read([MANY])[0] + b"x" * 500 + b"a\r\nb" * 20),
]  # fmt: skip


@pytest.mark.parametrize(("data", "body"), WHOLE)
def test_a_body_is_the_same_however_its_chunks_are_cut(data: bytes, body: bytes) -> None:
    wanted = (body, True, b"", None)

    assert read([data]) == wanted
    assert read([data[i : i + 1] for i in range(len(data))]) == wanted
    for at in range(len(data) + 1):
        assert read([data[:at], data[at:]]) == wanted
    assert read([data + b"HTTP/1.1"]) == (body, True, b"HTTP/1.1", None)


BROKEN = [
    b"zz\r\nhello\r\n",
    b"-5\r\nhello\r\n",
    b"+5\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b"0_5\r\nhello\r\n",
    b"\r\n",
    b";a\r\n",
    b"5 5\r\n",
    b"f" * 16 + b"\r\nhello",
    (b"0" * 99 + b"3\r\nabc\r\n") * 9,
    b"2\r\nxxhello\r\n",
    b"2\r\nxx\n3\r\nabc\r\n",
]


@pytest.mark.parametrize("before", [b"", chunk(b"abc"), MANY], ids=["none", "one", "many"])
@pytest.mark.parametrize("bad", BROKEN)
def test_what_came_before_a_bad_frame_is_given(bad: bytes, before: bytes) -> None:
    body = read([before])[0] + (b"xx" if bad.startswith(b"2") else b"")

    for pieces in ([before + bad], [before, bad], [(before + bad)[i : i + 1] for i in range(999)]):
        assert read(pieces) == (body, False, b"", http.client.IncompleteRead)


@pytest.mark.parametrize(
    "line", [b"0" * 70_000, b"5;" + b"x" * 70_000 + b"\r\n", b"0\r\n" + b"a: b\r\n" * 12_000]
)
def test_lines_and_trailers_that_never_end_are_refused(line: bytes) -> None:
    for step in (len(line), 997):
        found = read([line[at : at + step] for at in range(0, len(line), step)])

        assert found[3] is http.client.LineTooLong


@pytest.mark.parametrize("lines", [1, 2, 5])
def test_all_trailers_together_may_be_as_long_as_one_line_and_no_longer(lines: int) -> None:
    """The empty last line counts too."""

    def trailers(length: int) -> bytes:
        each, rest = divmod(length - 2, lines)
        sizes = [each + rest, *[each] * (lines - 1)]
        return b"0\r\n" + b"".join(b"a" * (size - 2) + b"\r\n" for size in sizes) + b"\r\n"

    assert read([trailers(65_536)]) == (b"", True, b"", None)
    assert read([trailers(65_537)])[3] is http.client.LineTooLong


_PARTS = [b"\r\n", b"\n", b"\r", b"0", b"3", b"a", b"abc", b";x", b" ", b"-", b"+", b"x", b"_",
          b"3\r\nabc\r\n", b"A\r\n0123456789\r\n", b"1\r\n\n\r\n", END, MANY]  # fmt: skip
_frames = st.lists(st.sampled_from(_PARTS) | st.binary(max_size=3), max_size=20).map(b"".join)


@examples(300)
@given(data=_frames, at=places)
@example(data=MANY + b"3\r\na\r\n\r\n" + MANY, at=[7])
@example(data=b"1\r\na\r\n" * 9 + b"\r\n\r\n", at=[])
@example(data=b"1\r\na\r\n" * 9 + END + b"1\r\na\r\n", at=[])
def test_the_cuts_change_nothing(data: bytes, at: List[int]) -> None:
    whole = read([data])

    assert read(cut(data, at)) == whole
    assert read([data[i : i + 1] for i in range(len(data))]) == whole


class Wire:
    """The part of a socket that http.client uses."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self.data)


@examples(300)
@given(data=_frames)
def test_what_is_whole_here_is_whole_for_http_client(data: bytes) -> None:
    body, over, _, _ = read([data])
    if over:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        response = http.client.HTTPResponse(Wire(head + data))  # type: ignore[arg-type]  # see there
        response.begin()

        assert response.read() == body
