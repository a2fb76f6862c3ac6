"""Split response bytes into records, and parse their JSON, within limits.

A record is a line of NDJSON, a server-sent event, or a complete body. This module does no I/O.

Existing line splitters are not used. `iter_lines` of the library `requests` takes quadratic time
for a long line, and splits between the CR and the LF of a CRLF. `str.splitlines` also ends lines at
U+2028 and U+0085, which are ordinary characters in a response.

A Python value takes up to thirty times the memory of its JSON text, and json does not stop when
a limit of the call expires. So the values in a JSON text are counted before it is parsed. The
entries of a list are counted while objects are made from them, and the limits of the call are
checked at the same time.
"""

from __future__ import annotations

import codecs
import json
from functools import partial
from itertools import accumulate, chain
from math import inf, isinf
from typing import Any, Callable, Dict, Iterable, Iterator, List, NoReturn, Optional, Tuple, Union

from localproviders._http.halves import without_halves
from localproviders._interrupts import is_injected
from localproviders._patterns import pattern
from localproviders._redact import not_json
from localproviders.errors import AnswerTooLargeError, ProtocolError

#: A function that raises an error if a limit of the call has expired, or the call was cancelled.
Look = Callable[[], None]

#: `parse_json` always weighs a text with more characters than this (see `weigh`). A shorter text
#: cannot take much memory or time.
LARGE = 64 * 1024

#: Highest weight of one JSON text, or of all tool calls of one response. Each value weighs 1. An
#: object or a list weighs 3 more, and so does each field name. A backslash weighs a quarter. In
#: measurements, parsing a text of this weight took less than a second, and 150 MB of memory in
#: addition to the strings of the text.
MOST_WEIGHT = 2_000_000
_HEAVY, _LIGHT = 3, 4

#: Highest number of models in a server's list, or in a server's memory. The largest cloud router
#: lists approximately 1,000.
MOST_MODELS = 10_000
#: Highest number of default parameters, or of stored messages, of one model. Models have fewer than
#: a hundred.
MOST_LINES = 10_000
#: Highest number of files in a transfer, such as a download. A file counts again for each status
#: that the server reports for it.
MOST_STEPS = 100_000
#: Highest number of tool calls in one response. A request has at most about a hundred tools.
MOST_CALLS = 1_000
#: Highest number of pieces of tool calls in one response. A response of 256 MiB with one piece in
#: each record has half this number of pieces.
MOST_PIECES = 5_000_000
#: Highest number of tokens with a log-probability, including alternatives. This is enough for
#: 47,000 tokens with 20 alternatives each.
MOST_LOGPROBS = 1_000_000

# The limits of the call are checked each time this many entries were counted. Making an object
# from an entry takes up to 0.1 ms.
_BETWEEN = 128

# If the strings in the first `_SAMPLE` characters are longer than `_LONG_STRING` on average,
# `_jump` skips each string separately. For vectors in base64, this takes half the time of splitting
# the text at the quotes, and no memory.
_LONG_STRING, _SAMPLE = 256, 16 * 1024

# Number of characters that are weighed at a time, because a split text takes several times the
# memory of the text.
_SLICE = 4 * 1024 * 1024
# Braces are translated to square brackets, and all other bytes are dropped, so that the nesting can
# be computed from two kinds of brackets only.
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
# The change of the nesting depth at each bracket.
_STEPS = {ord("["): 1, ord("]"): -1}
# Lists of vectors and of models are not nested deeper than this.
_USUAL_DEPTH = 8


def no_look() -> None:
    """Do nothing. This function is used in place of `Call.look` if there is no call."""


class Tally:
    """Counter of the entries of a response while values are made from them.

    Args:
        what: Noun for the entries in the error, such as "models".
        most: Greatest allowed number of entries.
        look: Checks the limits of the call.
    """

    def __init__(self, what: str, most: int, look: Look = no_look) -> None:
        self._what = what
        self._most = most
        self._look = look
        self._found = 0

    def add(self) -> None:
        """Count one entry, and check the limits of the call at every 128th entry.

        Raises:
            AnswerTooLargeError: There are more entries than allowed.
            ProviderError: The call is out of time or cancelled.
        """
        self._found += 1
        if self._found > self._most:
            raise AnswerTooLargeError(f"the response has more than {self._most:,} {self._what}")
        if not self._found % _BETWEEN:
            self._look()


def weigh(
    text: str, max_depth: float = inf, *, most: int = MOST_WEIGHT, look: Look = no_look
) -> int:
    """Return the weight of a JSON text, and check its nesting.

    The comment on `MOST_WEIGHT` defines the weight. It is computed from the commas, colons and
    brackets outside strings, and from the backslashes. For an invalid text, the weight may be too
    high. It is never lower than the weight of the part that json parses before it finds the error.

    Raises:
        AnswerTooLargeError: The weight or the nesting exceeds its limit.
        ProviderError: The call is out of time or cancelled.
    """
    weight, depth = 0, 0
    at, inside = 0, False  # whether the position is inside a string
    # A negative depth means that there are too many closing brackets. json stops at such a bracket
    # or before it.
    while at < len(text) and depth >= 0:
        look()
        piece = _slice(text, at)
        at += len(piece)
        if "\\" in piece:
            weight += piece.count("\\") // _LIGHT
            # After the escapes are removed, each remaining quote begins or ends a string.
            piece = piece.replace("\\\\", "").replace('\\"', "")
        has_long = piece.count('"', 0, _SAMPLE) * _LONG_STRING < _SAMPLE < len(piece)
        parts, inside = (_jump if has_long else _split)(piece, inside)
        outside = "".join(parts).encode("ascii", "replace")
        depth = _follow(outside.translate(_SQUARE, _NO_BRACKETS), depth, max_depth)
        weight += _weight(outside)
        _check(weight, most)
    return weight


def _split(piece: str, inside: bool) -> Tuple[List[str], bool]:
    """Return the parts outside strings, and whether the piece ends inside a string."""
    parts = piece.split('"')
    return parts[inside::2], inside ^ (len(parts) % 2 == 0)


def _jump(piece: str, inside: bool) -> Tuple[List[str], bool]:
    """Return the result of `_split` without copying the strings; faster for long strings."""
    parts: List[str] = []
    at = 0
    quote = piece.find('"')
    while quote >= 0:
        if not inside:
            parts.append(piece[at:quote])
        inside = not inside
        at = quote + 1
        quote = piece.find('"', at)
    if not inside:
        parts.append(piece[at:])
    return parts, inside


def _weight(marks: bytes) -> int:
    # The first value of a list or object has no comma before it. The weight of the bracket
    # includes this value.
    heavy = marks.count(b"{") + marks.count(b"[") + marks.count(b":")
    return marks.count(b",") + _HEAVY * heavy


def _check(weight: int, most: int) -> None:
    if weight > most:
        raise AnswerTooLargeError(
            "the response's JSON has more values than a response of this kind can have",
            hint="check that the right kind of server listens at this address",
        )


def _slice(text: str, at: int) -> str:
    """Return the next slice of the text. It does not end in the middle of an escape."""
    piece = text[at : at + _SLICE]
    is_cut = (len(piece) - len(piece.rstrip("\\"))) % 2
    return text[at : at + _SLICE + 1] if is_cut else piece


def _follow(brackets: bytes, depth: int, max_depth: float) -> int:
    """Return the nesting depth after these brackets; -1 if there are too many closing brackets.

    Fast path: each `replace` removes the innermost level of lists, in C. Only the remaining
    brackets are followed one by one. If the removed levels could exceed the limit, all brackets
    are followed.
    """
    rest = brackets
    for _ in range(_USUAL_DEPTH):
        rest = rest.replace(b"[]", b"")
    levels = _levels(rest, depth)
    if max(levels) + _USUAL_DEPTH > max_depth:
        levels = _levels(brackets, depth)
        if max(levels) > max_depth:
            raise AnswerTooLargeError(f"the response is nested deeper than {max_depth} levels")
    return levels[-1] if min(levels) >= 0 else -1


def _levels(brackets: bytes, depth: int) -> List[int]:
    return list(accumulate(map(_STEPS.__getitem__, brackets), initial=depth))


# Highest number of digits of an integer. No server sends longer integers, and `int` takes quadratic
# time for them.
_MAX_DIGITS = 400
# The limits of the call are checked at each number with more characters than this. Parsing such a
# float may take 30 µs, so parsing 256 MiB of them would take 12 s.
_LONG_NUMBER = 40
_LINE_END = pattern(rb"\r\n|\n|\r")

# The records that a fast path has read, and the bytes that must still be read line by line.
_Run = Tuple[List[str], bytes]


class LineSplitter:
    """Splitter of bytes into lines that end with LF, CR or CRLF.

    Args:
        max_line_bytes: Longest allowed line.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._limit = max_line_bytes
        # The beginning of an incomplete line. A list of pieces is not used: a server can send two
        # bytes at a time, and in a list each such piece takes 56 bytes.
        self._held = bytearray()
        self._after_cr = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the lines that this piece completes, without their line ends.

        Raises:
            AnswerTooLargeError: A line is longer than allowed. The lines before it have been
                yielded.
        """
        if self._after_cr and piece:
            # The previous piece ended with a CR, which has ended its line already. If an LF
            # follows, it belongs to the same line end.
            self._after_cr = False
            if piece[:1] == b"\n":
                piece = piece[1:]
        if not piece:
            return
        self._after_cr = piece[-1:] == b"\r"
        if b"\n" not in piece and b"\r" not in piece:
            self._hold(piece)
            return
        lines = piece.split(b"\n") if b"\r" not in piece else _LINE_END.split(piece)
        if self._held:
            lines[0] = b"".join((self._held, lines[0]))
            self._held = bytearray()
        rest = lines.pop()
        for line in lines:
            self._check(len(line))
            yield line
        self._hold(rest)

    def joined(self, piece: bytes) -> bytes:
        """Return the incomplete line and this piece together, for the fast paths of decoders.

        The result is empty if a line could be too long, or could end with a CR. In these cases
        only `feed` reads the piece correctly. The incomplete line is kept until the caller calls
        `forget`.
        """
        if self._after_cr or b"\r" in piece or len(self._held) + len(piece) > self._limit:
            return b""
        return b"".join((self._held, piece)) if self._held and b"\n" in piece else piece

    def forget(self) -> None:
        """Drop the incomplete line, because the caller has read it from the result of `joined`."""
        self._held = bytearray()

    def rest(self) -> bytes:
        """Return the bytes after the last line end."""
        return bytes(self._held)

    def _hold(self, part: bytes) -> None:
        if part:
            self._held += part
            self._check(len(self._held))

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise AnswerTooLargeError(
                f"a line of the response is longer than {self._limit:,} bytes",
                hint="raise max_line_bytes to allow longer lines",
            )


class NDJSONDecoder:
    """Decoder for newline-delimited JSON: each line is a record; blank lines are skipped."""

    def __init__(self, max_line_bytes: int) -> None:
        self._lines = LineSplitter(max_line_bytes)

    def feed(self, piece: bytes) -> Iterable[str]:
        """Return the records that this piece completes, as text.

        Raises:
            AnswerTooLargeError: A line is longer than allowed.
            ProtocolError: A line is not valid UTF-8.
        """
        records, rest = self._read_quickly(piece)
        # The result is lazy. So the caller first gets the records that precede an invalid line, and
        # then the error is raised.
        return chain(records, self._line_by_line(rest)) if rest else records

    def _line_by_line(self, piece: bytes) -> Iterator[str]:
        return (decode(line) for line in self._lines.feed(piece) if line.strip())

    def _read_quickly(self, piece: bytes) -> _Run:
        """Return the records of all complete lines, and the bytes that remain.

        Fast path: 0.2 µs a line instead of 0.9. If any line is unusual, no records are returned,
        and the remaining bytes are the unchanged piece.
        """
        data = self._lines.joined(piece)
        end = data.rfind(b"\n")
        if end < 0:
            return [], piece
        try:
            records = data[:end].decode("utf-8").split("\n")
        except UnicodeDecodeError:
            return [], piece  # `_line_by_line` returns the records before the invalid line
        if min(records) < "!":
            return [], piece  # a line is empty, or begins with a blank and so may be blank
        self._lines.forget()
        return records, data[end + 1 :]

    def end(self) -> List[str]:
        """Return the record after the last line end, if any: the last record needs no line end."""
        rest = self._lines.rest().strip()
        return [decode(rest)] if rest else []


class SSEDecoder:
    """Decoder for server-sent events, as the WHATWG specification defines them.

    A record is the data of one event. The name of the event is dropped, because servers repeat
    it inside the data (docs/reference/lmstudio.md, "Streaming"). In three cases, the decoder
    returns a record with an error (docs/dialects.md, "Errors"): for an event with the name
    ``error``, for a field ``error``, which llama.cpp sent until autumn 2025, and for a line that
    is not a field, but JSON with an error.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._lines = LineSplitter(max_line_bytes)
        self._limit = max_line_bytes
        self._data: List[str] = []
        self._size = 0
        self._first = True  # whether the next line is the first one, which may begin with a BOM
        #: Whether the body ended in the middle of a line, so that the line completed no event.
        self.is_cut = False
        # Whether the next line is the first one, or belongs to an event that has begun. The fast
        # path cannot read such lines.
        self._open = True
        self._error: Optional[str] = None  # error text, if the current event is an error

    def feed(self, piece: bytes) -> Iterable[str]:
        """Return the data of the events that this piece completes.

        Raises:
            AnswerTooLargeError: A line or an event is longer than allowed.
            ProtocolError: A line is not valid UTF-8.
        """
        records, rest = self._read_quickly(piece)
        return chain(records, self._line_by_line(rest)) if rest else records

    def _line_by_line(self, piece: bytes) -> Iterator[str]:
        for line in self._lines.feed(piece):
            event = self._add_line(line)
            if event is not None:
                yield event

    def _read_quickly(self, piece: bytes) -> _Run:
        """Return the data of all complete events, and the bytes that remain.

        Fast path for events that consist of one "data" line: 0.3 µs an event instead of 2. If any
        event has another line, no records are returned, and the remaining bytes are the unchanged
        piece.
        """
        data = b"" if self._open else self._lines.joined(piece)
        end = data.rfind(b"\n\n")
        if end < 0 or not data.startswith(b"data: "):
            return [], piece
        try:
            text = data[6:end].decode("utf-8")
        except UnicodeDecodeError:
            return [], piece  # `_line_by_line` returns the events before the invalid line
        records = text.split("\n\ndata: ")
        # Events are separated by two LF. Any other LF means that an event has several lines.
        if text.count("\n") != 2 * (len(records) - 1):
            return [], piece
        self._lines.forget()
        return records, data[end + 2 :]

    def end(self) -> List[str]:
        """Return the last event if only the blank line after it is missing.

        According to the specification, such an event is dropped. Here it is kept, because in
        each dialect the last record shows whether the response is complete.
        """
        rest = self._lines.rest()
        events = [self._add_line(rest) if rest else None, self._add_line(b"")]
        self.is_cut = bool(rest.strip()) and not (events[1] or "").strip()
        return [event for event in events if event is not None]

    def _add_line(self, line: bytes) -> Optional[str]:
        """Add a line to the current event; return the data of the event if it is complete."""
        if self._first:
            self._first = False
            if line.startswith(codecs.BOM_UTF8):
                line = line[len(codecs.BOM_UTF8) :]
        self._open = bool(line)
        if not line:
            return self._take()
        name, _, value = line.partition(b":")
        if name == b"data":
            event = self._take_complete(value)
            self._size += len(value) + bool(self._data)  # the LF between lines counts, too
            self._check_size()
            self._data.append(decode(value[1:] if value[:1] == b" " else value))
            return event
        if name == b"event" and value.strip() == b"error":
            self._error = self._error or ""
        elif name in _ERROR_NAMES:
            self._size += len(line)
            self._check_size()
            words = decode(value).strip() if name == b"error" else decode(line)
            self._error = (self._error or "") + words
        elif b"\x00" in name:
            # Unknown fields are ignored. But a null byte shows that the stream has another
            # encoding, such as UTF-16. All its "data" lines would be ignored, too.
            raise ProtocolError("the response is not a stream of events in UTF-8")
        return None

    def _check_size(self) -> None:
        if self._size > self._limit:
            raise AnswerTooLargeError(f"an event is longer than {self._limit:,} bytes")

    def _take(self) -> Optional[str]:
        """End the current event; return its data, or None if it has no data."""
        event = "\n".join(self._data) if self._data else None
        self._data, self._size = [], 0
        if self._error is not None:
            words, self._error = (self._error or event or "").strip(), None
            is_json = words[-1:] in ("}", "]") and _HAS_ERROR.search(words)
            event = words if is_json else json.dumps({"error": words})
        return event

    def _take_complete(self, next_line: bytes) -> Optional[str]:
        """End the current event if another one follows it without a blank line between them.

        Otherwise, return None. In one JSON value, a line that ends with "}" is never followed by a
        line that begins with "{", because there must be a comma between two objects.
        """
        is_complete = self._data and self._data[-1].rstrip().endswith("}")
        if not is_complete or not next_line.strip().startswith((b"{", b"[DONE]")):
            return None
        return self._take()


# JSON that already has the field "error". Any other error text is put into a new object with this
# field.
_HAS_ERROR = pattern(r'(?s)\A\[?\{.*"error"\s*:\s*["{]')
# Beginnings of a line, up to its first colon, that show an error: the field ``error``, or JSON that
# a proxy or a framework sent without a field name.
_ERROR_NAMES = (b"error", b'{"error"', b'[{"error"', b'{"errors"', b'{"detail"', b'{"object"')


class WholeDecoder:
    """Decoder for a body that is a single record, on one or many lines.

    Servers send such a body if they do not stream, or if they report an error with status 200.
    LM Studio indents some of these bodies (docs/reference/lmstudio.md, "Error bodies").
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._limit = max_body_bytes
        self._held = bytearray()

    def feed(self, piece: bytes) -> List[str]:
        """Keep the piece, and return no record, because `end` returns the complete body.

        Raises:
            AnswerTooLargeError: The body is larger than allowed.
        """
        self._held += piece
        if len(self._held) > self._limit:
            raise AnswerTooLargeError(
                f"the response is larger than {self._limit:,} bytes",
                hint="raise max_body_bytes to allow larger responses",
            )
        return []

    def end(self) -> List[str]:
        """Return the body as the only record, or no record if it is blank.

        Raises:
            ProtocolError: The body is not valid UTF-8.
        """
        body, self._held = self._held.strip(), bytearray()
        return [decode(body)] if body else []


_AnyDecoder = Union[NDJSONDecoder, SSEDecoder, WholeDecoder]

# Beginnings of the lines of an event stream, and the number of bytes that are compared with them.
_SSE_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_SHOWN = 16
# Maximum number of blanks to skip after the first line of a body, to find the next line.
_MOST_BLANKS = 1024


class GuessingDecoder:
    """Decoder for a body with another media type than requested. It looks at the first bytes.

    Some servers and proxies label a stream as ``application/json`` or ``text/plain``. A body that
    begins with a field of an event is a stream of events. A body that begins with "<" is a web
    page. A body that begins with "{" is newline-delimited JSON if its first line ends with "}" and
    its next line begins with "{", because it cannot be one JSON value. Any other body that
    begins with "{" is one JSON value, unless its first line may be a complete record and the media
    type is that of newline-delimited JSON. In all other cases, the media type decides.

    Args:
        by_type: Decoder for the media type.
        sizes: The longest allowed line of a stream, and the largest allowed body.
        mark: Called before the first record. Its argument says whether the body is a single record.
    """

    def __init__(
        self, by_type: _AnyDecoder, sizes: Tuple[int, int], mark: Callable[[bool], None]
    ) -> None:
        self._by_type = by_type
        self._max_line, self._max_body = sizes
        self._mark = mark
        self._held = bytearray()
        self._line_end = -1  # index of the first line end in `_held`, or -1
        self._chosen: Optional[_AnyDecoder] = None

    @property
    def is_cut(self) -> bool:
        """Whether the chosen decoder says that the body was cut off."""
        return getattr(self._chosen, "is_cut", False)

    def feed(self, piece: bytes) -> Iterable[str]:
        """Return the records that this piece completes, as the chosen decoder returns them."""
        if self._chosen is not None:
            return self._chosen.feed(piece)
        self._held += piece
        if self._held[:1].isspace():
            self._held = self._held.lstrip()
        found = self._choose(len(piece))
        return self._begin(found) if found is not None else []

    def end(self) -> List[str]:
        """Return the last records, as the chosen decoder returns them."""
        if self._chosen is not None:
            return self._chosen.end()
        is_json = self._held.startswith(b"{")
        # The result of `_begin` is lazy. The list makes the decoder read these records before the
        # decoder's `end` is called.
        first = list(self._begin(self._json_decoder(is_line=True) if is_json else self._by_type))
        return first + self.end()

    def _begin(self, decoder: _AnyDecoder) -> Iterable[str]:
        """Choose this decoder, and return its first records."""
        self._mark(isinstance(decoder, WholeDecoder))
        self._chosen = decoder
        held, self._held = bytes(self._held), bytearray()
        return decoder.feed(held)

    def _choose(self, added: int) -> Optional[_AnyDecoder]:
        """Return the decoder, or None if more bytes are needed.

        Args:
            added: Number of bytes that have just been added to `_held`.
        """
        begin = bytes(self._held[:_SHOWN])
        if begin.startswith(b"{"):
            return self._choose_for_json(added)
        if begin.startswith(b"<"):
            return WholeDecoder(self._max_body)  # a web page, whose title is in the error
        if begin.startswith(codecs.BOM_UTF8):
            begin = begin[len(codecs.BOM_UTF8) :]
        if begin.startswith(_SSE_FIELDS):
            return SSEDecoder(self._max_line)
        may_follow = any(mark.startswith(begin) for mark in (*_SSE_FIELDS, codecs.BOM_UTF8))
        return None if may_follow else self._by_type

    def _choose_for_json(self, added: int) -> Optional[_AnyDecoder]:
        if self._line_end < 0:
            self._line_end = self._held.find(b"\n", max(0, len(self._held) - added))
        end = self._line_end
        if end < 0:
            is_long = len(self._held) > self._max_line
            return self._json_decoder(is_line=False) if is_long else None
        if not self._held[max(0, end - _SHOWN) : end].rstrip().endswith(b"}"):
            return self._json_decoder(is_line=False)
        rest = self._held[end : end + _MOST_BLANKS].lstrip()
        if not rest and len(self._held) - end < _MOST_BLANKS:
            return None
        if rest.startswith(b"{"):
            return NDJSONDecoder(self._max_line)
        return self._json_decoder(is_line=True)

    def _json_decoder(self, *, is_line: bool) -> _AnyDecoder:
        """Return the decoder for a body that begins with "{".

        Args:
            is_line: Whether the first line may be a complete record.
        """
        if is_line and isinstance(self._by_type, NDJSONDecoder):
            return self._by_type
        return WholeDecoder(self._max_body)


def decode(line: Union[bytes, bytearray]) -> str:
    """Decode UTF-8 bytes strictly.

    Raises:
        ProtocolError: The bytes are not valid UTF-8.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the response is not valid UTF-8 at byte {error.start}") from None


def parse_json(
    text: str,
    max_depth: int,
    *,
    look: Look = no_look,
    object_hook: Optional[Callable[[Dict[str, Any]], Any]] = None,
    constants_as_null: bool = False,
) -> Any:
    """Parse one JSON value.

    Args:
        text: JSON text of one value; blanks around it are allowed.
        max_depth: Deepest allowed nesting.
        look: Checks the limits of the call. It is called before a large text is parsed, and at
            each long number in it.
        object_hook: Called with each object; its result replaces the object.
        constants_as_null: Whether NaN and infinities are read as null.

    Raises:
        ProtocolError: The text is not JSON, or has a number that is NaN, infinite or too large for
            a float, or an integer of more than 400 digits.
        AnswerTooLargeError: The JSON is nested deeper than allowed, or has more values than
            `MOST_WEIGHT` allows.
        ProviderError: The call is out of time or cancelled.
    """
    # A large text is always weighed. A small text is weighed only if its number of opening
    # brackets exceeds the allowed depth.
    if len(text) > LARGE or text.count("{") + text.count("[") > max_depth:
        weigh(text, max_depth, look=look)
    # The first test is redundant, but it is ten times as fast as the second one.
    if "\\" in text and "\\u" in text:
        text = without_halves(text)
        if len(text) > LARGE:
            look()
    # Making a decoder takes longer than parsing a record. So two decoders are kept for the usual
    # cases.
    decoder = _DECODER if len(text) > _MAX_DIGITS else _SHORT_DECODER
    if object_hook is not None or constants_as_null or (len(text) > LARGE and look is not no_look):
        decoder = new_decoder(
            object_hook=object_hook,
            parse_constant=_null if constants_as_null else _refuse_constant,
            parse_int=partial(_int, look=look),
            parse_float=partial(_float, look=look),
        )
    try:
        if text.startswith("{"):
            # `decode` would first search for blanks around the value, which takes 0.5 µs.
            found, end = decoder.raw_decode(text)
            if end < len(text) and text[end:].strip(" \t\n\r"):
                raise ValueError("Extra data")
            return found
        return decoder.decode(text)
    except RecursionError:
        # If the text is nested deeply, which a high `max_json_depth` allows, `weigh` raises an
        # error. Otherwise, the stack of the caller was nearly full.
        weigh(text, SHALLOW)
        raise
    except ValueError as error:
        if is_injected(error):
            raise
        raise ProtocolError(not_json(text, getattr(error, "msg", error))) from None


def looks_cut(text: str) -> bool:
    """Return whether an invalid JSON text may be the beginning of a valid text that was cut off."""
    return text.lstrip()[:1] in ("{", "[")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _null(name: str) -> None:
    """Return None for a constant that JSON does not have, such as NaN."""


def _int(digits: str, look: Look = no_look) -> int:
    """Parse an integer of at most 400 digits."""
    if len(digits) > _LONG_NUMBER:
        look()
        if len(digits) - digits.startswith("-") > _MAX_DIGITS:
            raise ProtocolError(f"the response has a number of more than {_MAX_DIGITS} digits")
    return int(digits)


def _float(digits: str, look: Look = no_look) -> float:
    """Parse a float, and refuse one that is too large."""
    if len(digits) > _LONG_NUMBER:
        look()
    number = float(digits)
    if isinf(number):  # json would silently return an infinity, which the server did not send
        raise ProtocolError("the response has a number that is too large for a float")
    return number


#: Makes a strict JSON decoder. Each keyword argument replaces one hook.
new_decoder = partial(
    json.JSONDecoder, parse_constant=_refuse_constant, parse_int=_int, parse_float=_float
)
_DECODER = new_decoder()
# A text of at most `_MAX_DIGITS` characters has no integer with more digits. Without a check of
# each integer, it is parsed in half the time.
_SHORT_DECODER = new_decoder(parse_int=int)

#: Nesting of JSON that Python can read and write, unless the stack is nearly full.
SHALLOW = 100
