"""Any bytes give the same records for every way of cutting them, then at most one typed error."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Iterable, List, Optional, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localproviders._http.framing import (
    LineSplitter,
    NDJSONDecoder,
    SSEDecoder,
    WholeDecoder,
    decode,
    parse_json,
)
from localproviders.errors import AnswerTooLargeError, ProtocolError, ProviderError
from tests.support.depth import examples
from tests.support.pieces import cut, json_values, places, wire_bytes

MAX_BYTES = 1 << 20

#: The records, and the class of the error that ended them.
Outcome = Tuple[List[Any], Optional[type]]


class Lines(LineSplitter):
    """A line splitter with the method `end` of the decoders."""

    def end(self) -> List[bytes]:
        return [self.rest()]


READERS: List[Callable[[int], Any]] = [Lines, NDJSONDecoder, SSEDecoder, WholeDecoder]


def outcome(reader: Any, pieces: Iterable[bytes]) -> Outcome:
    found: List[Any] = []
    try:
        for piece in pieces:
            found.extend(reader.feed(piece))
        found.extend(reader.end())
    except ProviderError as error:
        return found, type(error)
    return found, None


@pytest.mark.sample(2)
@pytest.mark.parametrize("make", READERS, ids=lambda make: make.__name__)
@examples(200)
@given(data=wire_bytes, at=places, limit=st.sampled_from([MAX_BYTES, 8, 1]))
@example(data=b'{"a":1}\n\xff\n', at=[8], limit=MAX_BYTES)  # a good record, then a bad one
@example(data=b"data: a\n\ndata: 123456789\n\n", at=[9], limit=8)
@example(data=b"\r\n", at=[1], limit=MAX_BYTES)
def test_the_records_do_not_depend_on_the_cuts(
    make: Callable[[int], Any], data: bytes, at: List[int], limit: int
) -> None:
    uncut = outcome(make(limit), [data])

    assert outcome(make(limit), cut(data, at)) == uncut
    assert outcome(make(limit), [data[i : i + 1] for i in range(len(data))]) == uncut


# --- server-sent events, compared with the specification ---------------------------------------------


def read_by_specification(data: bytes) -> Outcome:
    """Read an event stream as the WHATWG specification does (9.2.6), in the order of its steps.

    The decoder of this package differs on purpose in three points, and so does this function. The
    last event needs no blank line. Data that is not UTF-8 is an error instead of replacement
    characters. A field name with a NUL is an error, because the stream then has another encoding,
    such as UTF-16, and its text would be ignored.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    events: List[str] = []
    buffer = ""
    for line in [*re.split(rb"\r\n|\n|\r", data), b""]:
        if line == b"":
            if buffer:
                events.append(buffer[:-1])
            buffer = ""
        elif re.match(rb"data(:|\Z)", line):
            value = re.sub(rb"\A: ?", b"", line[4:])
            try:
                buffer += value.decode("utf-8") + "\n"
            except UnicodeDecodeError:
                return events, ProtocolError
        elif b"\x00" in line.partition(b":")[0]:
            return events, ProtocolError
    return events, None


@examples(200)
@given(data=wire_bytes)
@example(data=b"\n\xef\xbb\xbfdata: a\n\n")  # a byte order mark counts only at the very start
@example(data=b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n")
@example(data=b"data\n\n")
@example(data=b"data:\ndata: \n\n")
def test_events_are_those_of_the_specification(data: bytes) -> None:
    assert outcome(SSEDecoder(MAX_BYTES), [data]) == read_by_specification(data)


def test_an_event_of_empty_lines_is_bounded_too() -> None:
    events, error = outcome(SSEDecoder(100), [b"data\n" * 102])

    assert (events, error) == ([], AnswerTooLargeError)


# --- text and JSON --------------------------------------------------------------------------


@given(data=wire_bytes | st.binary())
def test_bytes_are_text_or_a_typed_error(data: bytes) -> None:
    try:
        text = decode(data)
    except ProtocolError:
        with pytest.raises(UnicodeDecodeError):
            data.decode("utf-8")
    else:
        assert text.encode("utf-8") == data


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0) if isinstance(value, (dict, list)) else 0


@examples(200)
@given(
    text=st.text('{}[]",:\\u01eE.- \n9nulltrue', max_size=40)
    | wire_bytes.map(lambda data: data.decode("utf-8", "replace")),
    limit=st.integers(0, 5),
)
@example(text="1e999", limit=5)
@example(text='["\\\\"[[', limit=1)
@example(text="9" * 309 + ".0", limit=5)
@example(text="-0", limit=5)
@example(text='["\\ud83d\\ude00", "\\\\ud83d", "\\ud83d", "\\ude00\\ud83d"]', limit=5)
def test_any_text_is_a_value_within_the_bounds_or_a_typed_error(text: str, limit: int) -> None:
    try:
        value = parse_json(text, limit)
    except ProviderError:
        return
    assert depth(value) <= limit
    standard = json.dumps(json.loads(text), ensure_ascii=False)
    expected = standard.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert json.dumps(value, ensure_ascii=False, allow_nan=False) == expected


@given(value=json_values, limit=st.integers(0, 5), indent=st.sampled_from([None, 1]))
def test_good_json_is_read_unless_it_is_too_deep(value: Any, limit: int, indent: Any) -> None:
    text = json.dumps(value, indent=indent)
    if depth(value) <= limit:
        assert parse_json(text, limit) == json.loads(text)
    else:
        with pytest.raises(AnswerTooLargeError):
            parse_json(text, limit)
