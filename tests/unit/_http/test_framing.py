"""Bytes are decoded to lines, records, events and values, for every way of cutting the bytes."""

from __future__ import annotations

import json
from typing import Any, Callable, Iterable, List, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders._http.framing import (
    LineSplitter,
    NDJSONDecoder,
    SSEDecoder,
    decode,
    parse_json,
)
from localproviders.errors import AnswerTooLargeError, ProtocolError, ProviderError

_ROOM = 1 << 20


def _lines(pieces: Iterable[bytes], limit: int = _ROOM) -> List[bytes]:
    splitter = LineSplitter(limit)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return [*lines, splitter.rest()]


def _ndjson(pieces: Iterable[bytes], limit: int = _ROOM) -> List[str]:
    decoder = NDJSONDecoder(limit)
    return [r for piece in pieces for r in decoder.feed(piece)] + decoder.end()


def _sse(pieces: Iterable[bytes], limit: int = _ROOM) -> List[str]:
    decoder = SSEDecoder(limit)
    return [e for piece in pieces for e in decoder.feed(piece)] + decoder.end()


def _cuts(data: bytes) -> Iterable[List[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    yield [part for i in range(len(data)) for part in (data[i : i + 1], b"")]
    for at in range(len(data) + 1):
        yield [data[:at], data[at:]]


_LINES = [
    (b"", [b""]),
    (b"a", [b"a"]),
    (b"a\nb\n", [b"a", b"b", b""]),
    (b"a\rb\rc", [b"a", b"b", b"c"]),
    (b"a\r\nb\r\n", [b"a", b"b", b""]),
    (b"a\r\rb\n\nc\r\n\r\nd", [b"a", b"", b"b", b"", b"c", b"", b"d"]),
    (b"a\n\rb", [b"a", b"", b"b"]),
    (b"\n", [b"", b""]),
    (b"\r\n", [b"", b""]),
    ("a\u2028b\u0085c\x0bd\x0ce\x1cf\n".encode(), ["a\u2028b\u0085c\x0bd\x0ce\x1cf".encode(), b""]),
]


@pytest.mark.parametrize(("data", "lines"), _LINES)
def test_lines_are_the_same_however_they_are_cut(data: bytes, lines: List[bytes]) -> None:
    for pieces in _cuts(data):
        assert _lines(pieces) == lines


_NDJSON = [
    (b"", []),
    (b'{"a":1}\n{"b":2}\n', ['{"a":1}', '{"b":2}']),
    (b'{"a":1}\r\n\r\n \n\t\n{"b":2}', ['{"a":1}', '{"b":2}']),
    (b'{"a":1}', ['{"a":1}']),
    (b'  {"a":1}  ', ['{"a":1}']),
    ('{"t":"\u2028\u0085é😀"}\n'.encode(), ['{"t":"\u2028\u0085é😀"}']),
]


@pytest.mark.parametrize(("data", "records"), _NDJSON)
def test_ndjson_records_are_the_same_however_they_are_cut(data: bytes, records: List[str]) -> None:
    for pieces in _cuts(data):
        assert _ndjson(pieces) == records


_SSE = [
    (b"", []),
    (b"\n\n\n", []),
    (b"data: a\n\ndata: b\n\n", ["a", "b"]),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
    (b"data: a\r\rdata: b\r\r", ["a", "b"]),
    (b"data:a\n\n", ["a"]),
    (b"data:  a \n\n", [" a "]),
    (b"data: a\ndata: b\ndata:\ndata: c\n\n", ["a\nb\n\nc"]),
    (b"data\n\n", [""]),
    (b"data: a:b\n\n", ["a:b"]),
    (b": ping\n\ndata: a\n: in between\n\n:\n\n", ["a"]),
    (b"event: message\nid: 7\nretry: 100\nfoo: x\ndata: a\n\n", ["a"]),
    (b"event: ping\n\ndata: a\n\n", ["a"]),
    (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
    (b"data: \xef\xbb\xbfa\n\n", ["\ufeffa"]),
    (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", ["a"]),
    (b"data: a", ["a"]),
    (b"data: a\n", ["a"]),
    (b"data: a\r", ["a"]),
    (b"data: a\r\n", ["a"]),
    (b"data: a\n\ndata: b\ndata: c\n", ["a", "b\nc"]),
    (b"Data: a\n data: b\n\n", []),
    ("data: é\u2028\u0085😀\n\n".encode(), ["é\u2028\u0085😀"]),
]


@pytest.mark.parametrize(("data", "events"), _SSE)
def test_sse_events_are_the_same_however_they_are_cut(data: bytes, events: List[str]) -> None:
    for pieces in _cuts(data):
        assert _sse(pieces) == events


def test_a_record_is_given_as_soon_as_its_line_ends() -> None:
    decoder = NDJSONDecoder(_ROOM)
    assert list(decoder.feed(b'{"a":')) == []
    assert list(decoder.feed(b"1}\r")) == ['{"a":1}']
    assert list(decoder.feed(b"\n{}\n")) == ["{}"]
    events = SSEDecoder(_ROOM)
    assert list(events.feed(b"data: a\r\n")) == []
    assert list(events.feed(b"\r")) == ["a"]
    assert list(events.feed(b"\ndata: b\n\n")) == ["b"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("read", [_lines, _ndjson, _sse])
def test_a_line_may_be_as_long_as_the_bound_and_no_longer(
    read: Callable[..., List[Any]], end: bytes
) -> None:
    for size, ends in ((10, end), (10, b"")):
        for pieces in _cuts(b"d" * size + ends):
            read(pieces, 10)
    for ends in (end, b""):
        for pieces in _cuts(b"d" * 11 + ends):
            with pytest.raises(AnswerTooLargeError, match="10 bytes"):
                read(pieces, 10)


def test_an_event_of_many_lines_is_bounded_too() -> None:
    assert _sse([b"data: 12345\ndata: 123\n\n" * 3], 11) == ["12345\n123"] * 3
    for pieces in _cuts(b"data: 12345\ndata: 12345\n\n"):
        with pytest.raises(AnswerTooLargeError, match="event"):
            _sse(pieces, 11)


def test_a_long_line_is_refused_before_its_end_has_come() -> None:
    splitter = LineSplitter(10)
    list(splitter.feed(b"1234567890"))
    with pytest.raises(AnswerTooLargeError):
        list(splitter.feed(b"1"))


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"]
)
@pytest.mark.parametrize(("read", "head"), [(_ndjson, b""), (_sse, b"data: ")])
def test_broken_utf8_is_a_protocol_error(
    read: Callable[..., List[Any]], head: bytes, bad: bytes
) -> None:
    for pieces in _cuts(head + b"ab" + bad + b"\n\n"):
        with pytest.raises(ProtocolError, match="UTF-8"):
            read(pieces)


def test_the_utf8_error_names_the_place_and_not_the_text() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(b"private \xff")
    assert "byte 8" in str(caught.value)
    assert "private" not in str(caught.value)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_any_bytes_in_any_cut_read_as_the_whole_or_as_one_typed_error(
    data: bytes, places: List[int]
) -> None:
    _same_outcome(data, places)


@given(
    st.lists(
        st.sampled_from(
            [
                b"data",
                b":",
                b" ",
                b"\r",
                b"\n",
                b"x",
                b"\xef\xbb\xbf",
                b"\xc3",
                b"\xa9",
                b"id",
                b"{}",
            ]
        ),
        max_size=24,
    ).map(b"".join),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_any_likely_bytes_in_any_cut_read_as_the_whole_or_as_one_typed_error(
    data: bytes, places: List[int]
) -> None:
    _same_outcome(data, places)


def _same_outcome(data: bytes, places: List[int]) -> None:
    ends = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    pieces = [data[one:two] for one, two in zip(ends, ends[1:])]
    readers: List[Callable[..., List[Any]]] = [_lines, _ndjson, _sse]
    for read in readers:
        for limit in (_ROOM, 8):
            assert _outcome(read, pieces, limit) == _outcome(read, [data], limit)


def _outcome(read: Callable[..., List[Any]], pieces: List[bytes], limit: int) -> Any:
    try:
        return read(pieces, limit)
    except ProviderError:
        return "a typed error"


@given(st.lists(st.text("ab\u2028\u0085é😀 :", max_size=5), max_size=6))
def test_what_is_written_as_events_is_read_as_events(texts: List[str]) -> None:
    data = "".join(f"data: {text}\r\n\r\n" for text in texts).encode()
    assert _sse([data]) == texts


# --- JSON -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        (' {"a": [1.5, null, true]} ', {"a": [1.5, None, True]}),
        ("9" * 400, int("9" * 400)),
        ('"' + "1" * 5000 + '"', "1" * 5000),
        ('{"a\\"' + "1" * 500 + '": 2}', {'a"' + "1" * 500: 2}),
        ('"NaN"', "NaN"),
        ('"' + "[{" * 500 + '"', "[{" * 500),
        ('["\\"' + "[" * 500 + '"]', ['"' + "[" * 500]),
        ("[" * 100 + "]" * 100, json.loads("[" * 100 + "]" * 100)),
        ("[" + ",".join(["[]"] * 500) + "]", [[]] * 500),
    ],
)
def test_json_is_read(text: str, value: object) -> None:
    assert parse_json(text, 100) == value


@pytest.mark.parametrize(
    "text",
    ["", "{", "nul", "[1,]", "{'a': 1}", '{"a" 1}', "1 2", '"a', "\ufeff{}", '"\x00"', '"\\x"'],
)
def test_broken_json_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        parse_json(text, 100)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<html><head><title>Log &amp;\nin</title>", "a web page and not JSON: 'Log & in'"),
        ("\n<!DOCTYPE html>\n<HTML><TITLE>In</TITLE>", "a web page and not JSON: 'In'"),
        ("<html></html>", "a web page and not JSON"),
        ("<think>", "not JSON: Expecting value"),
    ],
)
def test_the_title_of_a_web_page_is_in_the_error(page: str, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_json(page, 100)
    assert caught.value.message.endswith(message)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_a_number_that_json_does_not_have_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError, match="not a JSON number"):
        parse_json(text, 100)


@pytest.mark.parametrize(
    "text",
    ["9" * 401, "-" + "9" * 401, '{"a": ' + "1" * 5000 + "}", '["\\\\", ' + "1" * 401 + "]"],
)
def test_a_number_of_more_than_400_digits_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError, match="400 digits"):
        parse_json(text, 100)


@pytest.mark.parametrize(
    "text",
    ["[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101, "[" * 100_000, '["\\\\",' + "[" * 101],
)
def test_json_nested_deeper_than_allowed_is_refused(text: str) -> None:
    with pytest.raises(AnswerTooLargeError, match="100 levels"):
        parse_json(text, 100)


def test_nesting_that_python_cannot_read_is_a_typed_error_whatever_is_allowed() -> None:
    with pytest.raises(ProviderError):
        parse_json("[" * 200_000 + "]" * 200_000, 1_000_000)


def test_a_json_error_does_not_quote_the_answer() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_json('{"private": secretword}', 100)
    assert "secretword" not in str(caught.value)


@given(st.text(max_size=40) | st.text('{}[]",:\\01eE.- nulltrue', max_size=40))
def test_any_text_is_a_value_or_one_typed_error(text: str) -> None:
    try:
        parse_json(text, 3)
    except ProviderError:
        pass


# --- errors of an event stream ----------------------------------------------------------------

_FINE = b'data: {"a": 1}\n\n'
_FAILED: Mapping[bytes, str] = {
    b'event: error\ndata: {"message": "b"}\n\n': '{"error": "{\\"message\\": \\"b\\"}"}',
    b'data: {"message": "b"}\nevent:error\n\n': '{"error": "{\\"message\\": \\"b\\"}"}',
    b'event: error\r\ndata: {"error": "b"}\r\n\r\n': '{"error": "b"}',
    b"error: it broke\n\n": '{"error": "it broke"}',
    b'error:{"code": 5}\n\n': '{"error": "{\\"code\\": 5}"}',
    b'{"error": "b"}\n\n': '{"error": "b"}',
    b"event: error\n\n": '{"error": ""}',
}


@pytest.mark.parametrize("failed", list(_FAILED))
def test_an_error_of_an_event_stream_is_a_record_however_it_is_cut(failed: bytes) -> None:
    body = _FINE + failed + _FINE
    for cut in range(len(body)):
        decoder = SSEDecoder(1000)
        pieces = (body[:cut], body[cut:])
        records = [record for piece in pieces for record in decoder.feed(piece)]
        assert [*records, *decoder.end()] == ['{"a": 1}', _FAILED[failed], '{"a": 1}']


def test_an_error_of_an_event_stream_may_be_as_long_as_an_event() -> None:
    decoder = SSEDecoder(100)
    with pytest.raises(AnswerTooLargeError):
        list(decoder.feed(b"error: 1234567890\n" * 10))
