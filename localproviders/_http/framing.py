"""Bytes to records: lines, NDJSON, server-sent events, JSON. Pure: no I/O.

Python's own splitters are not used: `iter_lines` is quadratic in a line's length and cuts
CRLF apart, and text splitting ends lines at U+2028 and U+0085, which are ordinary
characters in an answer.
"""

from __future__ import annotations

import codecs
import json
import re
from functools import partial
from itertools import chain
from math import isinf
from typing import Any, Callable, Dict, Iterable, Iterator, List, NoReturn, Optional, Tuple

from localproviders.errors import AnswerTooLargeError, ProtocolError

# Longer runs of digits are no number of this protocol, and cost quadratic time.
_MAX_DIGITS = 400
_LINE_END = re.compile(rb"\r\n|\n|\r")

# Records that were read in one go, and the bytes behind or instead of them.
_Run = Tuple[List[str], bytes]


class LineSplitter:
    """Cuts pieces of bytes into lines at LF, CR or CRLF.

    Args:
        max_line_bytes: Longest line.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._limit = max_line_bytes
        self._parts: List[bytes] = []
        self._held = 0
        self._after_cr = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Give the lines that this piece completes, one after the other.

        Raises:
            AnswerTooLargeError: A line is longer than allowed; those before it were given.
        """
        if self._after_cr and piece:
            # The CR has ended its line already; an LF right behind it belongs to it.
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
        lines[0] = b"".join([*self._parts, lines[0]])
        self._parts, self._held = [], 0
        rest = lines.pop()
        for line in lines:
            self._check(len(line))
            yield line
        self._hold(rest)

    def joined(self, piece: bytes) -> bytes:
        """Give what is held and this piece in one, for who reads many lines in one go.

        Nothing is given where a line could be too long, or could end in another way than
        with LF: that is for `feed`. Nothing is taken before `forget`.
        """
        if self._after_cr or b"\r" in piece or self._held + len(piece) > self._limit:
            return b""
        return b"".join([*self._parts, piece]) if self._parts and b"\n" in piece else piece

    def forget(self) -> None:
        """Drop what is held: it has been read."""
        self._parts, self._held = [], 0

    def rest(self) -> bytes:
        """Give what followed the last line end."""
        return b"".join(self._parts)

    def _hold(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
            self._held += len(part)
            self._check(self._held)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise AnswerTooLargeError(
                f"a line of the answer is longer than {self._limit:,} bytes",
                hint="raise max_line_bytes if that is expected",
            )


class NDJSONDecoder:
    """Newline-delimited JSON: one record a line, blank lines skipped."""

    def __init__(self, max_line_bytes: int) -> None:
        self._lines = LineSplitter(max_line_bytes)

    def feed(self, piece: bytes) -> Iterable[str]:
        """Give the records that this piece completes, as text, one after the other.

        Raises:
            AnswerTooLargeError: A line is longer than allowed.
            ProtocolError: A line is no UTF-8.
        """
        records, rest = self._in_one_go(piece)
        return chain(records, self._line_by_line(rest)) if rest else records

    def _line_by_line(self, piece: bytes) -> Iterator[str]:
        return (decode(line) for line in self._lines.feed(piece) if line.strip())

    def _in_one_go(self, piece: bytes) -> _Run:
        """Give the records of plain whole lines, and the bytes that are to be read by line.

        0.2 µs a line instead of 0.9; where any needs care, none is read here.
        """
        data = self._lines.joined(piece)
        end = data.rfind(b"\n")
        if end < 0:
            return [], piece
        try:
            records = data[:end].decode("utf-8").split("\n")
        except UnicodeDecodeError:
            return [], piece  # those before the bad one are good
        if min(records) < "!":
            return [], piece  # one begins with a blank, and may be nothing else
        self._lines.forget()
        return records, data[end + 1 :]

    def end(self) -> List[str]:
        """Give the record after the last line end; a whole one needs none."""
        rest = self._lines.rest().strip()
        return [decode(rest)] if rest else []


class SSEDecoder:
    """Server-sent events, as the WHATWG specification reads them.

    Gives the data of each event. Its name is given up: both servers repeat it inside the
    data (lmstudio-api §3.1), and an error is recognised by its shape.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._lines = LineSplitter(max_line_bytes)
        self._limit = max_line_bytes
        self._data: List[str] = []
        self._size = 0
        self._first = True

    def feed(self, piece: bytes) -> Iterable[str]:
        """Give the data of the events that this piece completes, one after the other.

        Raises:
            AnswerTooLargeError: A line or an event is longer than allowed.
            ProtocolError: A line is no UTF-8.
        """
        records, rest = self._in_one_go(piece)
        return chain(records, self._line_by_line(rest)) if rest else records

    def _line_by_line(self, piece: bytes) -> Iterator[str]:
        for line in self._lines.feed(piece):
            event = self._take(line)
            if event is not None:
                yield event

    def _in_one_go(self, piece: bytes) -> _Run:
        """Give the data of whole events of one such line, and the bytes to be read by line.

        0.3 µs an event instead of 2; where any has another line, none is read here.
        """
        data = b"" if self._first or self._data else self._lines.joined(piece)
        end = data.rfind(b"\n\n")
        if end < 0 or not data.startswith(b"data: "):
            return [], piece
        try:
            text = data[6:end].decode("utf-8")
        except UnicodeDecodeError:
            return [], piece  # those before the bad one are good
        records = text.split("\n\ndata: ")
        if text.count("\n") != 2 * (len(records) - 1):
            return [], piece
        self._lines.forget()
        return records, data[end + 2 :]

    def end(self) -> List[str]:
        """Give the event that lacks only its blank line.

        The specification drops it; here the dialect's own last record decides whether an
        answer is whole, so nothing that came is thrown away.
        """
        rest = self._lines.rest()
        if rest:
            self._take(rest)
        event = self._take(b"")
        return [] if event is None else [event]

    def _take(self, line: bytes) -> Optional[str]:
        if self._first:
            self._first = False
            if line.startswith(codecs.BOM_UTF8):
                line = line[len(codecs.BOM_UTF8) :]
        if not line:
            event = "\n".join(self._data) if self._data else None
            self._data, self._size = [], 0
            return event
        name, _, value = line.partition(b":")
        if name == b"data":
            self._size += len(value) + bool(self._data)  # the LF that joins it counts
            if self._size > self._limit:
                raise AnswerTooLargeError(f"an event is longer than {self._limit:,} bytes")
            self._data.append(decode(value[1:] if value[:1] == b" " else value))
        elif b"\x00" in name:
            # Other fields are passed over, but this is none: text may be lost in it.
            raise ProtocolError("the answer is no stream of events in UTF-8")
        return None


class WholeDecoder:
    """A body that is one record, over as many lines as it likes.

    What a server sends that does not stream, or refuses with status 200; LM Studio spreads
    such a body over many lines (lmstudio-api §4.1).
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._limit = max_body_bytes
        self._parts: List[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> List[str]:
        """Keep the piece; the record comes at the end.

        Raises:
            AnswerTooLargeError: The body is larger than allowed.
        """
        self._parts.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            raise AnswerTooLargeError(
                f"the answer is larger than {self._limit:,} bytes",
                hint="raise max_body_bytes if that is expected",
            )
        return []

    def end(self) -> List[str]:
        """Give the body as text, or nothing if it was blank.

        Raises:
            ProtocolError: It is no UTF-8.
        """
        body = b"".join(self._parts).strip()
        return [decode(body)] if body else []


def decode(line: bytes) -> str:
    """Decode UTF-8, strictly.

    Raises:
        ProtocolError: The bytes are no UTF-8.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the answer is no UTF-8 at byte {error.start}") from None


def parse_json(
    text: str, max_depth: int, *, object_hook: Optional[Callable[[Dict[str, Any]], Any]] = None
) -> Any:
    """Read one JSON value.

    Args:
        text: The text of it, and nothing else but blanks.
        max_depth: Deepest nesting.
        object_hook: Gives what is to stand in the place of an object.

    Raises:
        ProtocolError: The text is no JSON, or holds NaN, an infinity, a number past every
            float, or one of more than 400 digits.
        AnswerTooLargeError: It is nested deeper than allowed.
    """
    # To count in a large text takes as long as to look.
    if len(text) > _LARGE or text.count("{") + text.count("[") > max_depth:
        _check_depth(text, max_depth)
    if "\\" in text and "\\u" in text:  # one letter is found ten times as fast as two
        text = _ESCAPES.sub(_without_halves, text)
    decoder = _DECODER if object_hook is None else new_decoder(object_hook=object_hook)
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ProtocolError(f"the answer is no JSON: {reason}") from None


def looks_cut(text: str) -> bool:
    """Whether a text that is no JSON began as an answer does."""
    return text.lstrip()[:1] in ("{", "[")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# An escape with what belongs to it: a pair of surrogates, half a pair, anything else.
_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


def _without_halves(escape: re.Match[str]) -> str:
    """Replace half a surrogate pair: such text can be neither printed nor sent."""
    return "\\ufffd" if escape.group("half") else escape.group()


def _whole(digits: str) -> int:
    if len(digits) - digits.startswith("-") > _MAX_DIGITS:
        raise ProtocolError(f"the answer has a number of more than {_MAX_DIGITS} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):  # json would make an infinity of it, which nobody sent
        raise ProtocolError("the answer has a number that is past every float")
    return number


#: Makes a decoder that refuses what no JSON has; another hook may take one's place.
new_decoder = partial(
    json.JSONDecoder, parse_constant=_refuse_constant, parse_int=_whole, parse_float=_finite
)
_DECODER = new_decoder()
_MARK = re.compile(r'[\\"\[\]{}]')
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")
_LARGE = 64 * 1024
# As deep as lists of vectors and of models are.
_USUAL_DEPTH = 8
# A piece takes 50 bytes more than its letters: many short ones would take a multiple.
_SMALL, _LONG_STRING = 4 * 1024 * 1024, 64


def _check_depth(text: str, max_depth: int) -> None:
    """Look at brackets outside of strings; one mark after the other, so in little memory."""
    if _is_flat(text, min(_USUAL_DEPTH, max_depth)):
        return
    depth, inside, escaped = 0, False, -1
    for found in _MARK.finditer(text):
        mark, place = found.group(), found.start()
        if place == escaped:
            continue
        if mark == "\\":
            escaped = place + 1
        elif mark == '"':
            inside = not inside
        elif not inside:
            depth += 1 if mark in "[{" else -1
            if depth > max_depth:
                raise AnswerTooLargeError(
                    f"the answer's JSON is nested deeper than {max_depth} levels"
                )


def _is_flat(text: str, max_depth: int) -> bool:
    """Whether a text is easily seen to be good: 256 texts in base64 in 1 ms instead of 8."""
    many = len(text) > _SMALL and text.count('"') * _LONG_STRING > len(text)
    if many or "\\" in text:
        return False
    # Without escapes every other piece is a string. Then pairs go, a level at a time.
    brackets = _NO_BRACKETS.sub("", "".join(text.split('"')[::2]))
    brackets = brackets.replace("{", "[").replace("}", "]")
    for _ in range(max_depth):
        brackets = brackets.replace("[]", "")
    return not brackets
