"""A correct HTTP response, split into parts so that a fault can change any of them.

A record is one JSON text of a streamed body, such as one line or one event.
"""

from __future__ import annotations

import copy
import json
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

from localproviders.testing.scripted import Exchange, Step


def as_line(text: str) -> bytes:
    """Return the bytes of a record as one line of newline-delimited JSON."""
    return text.encode("utf-8") + b"\n"


def as_event(text: str) -> bytes:
    """Return the bytes of a record as a server-sent event."""
    return b"data: " + text.encode("utf-8") + b"\n\n"


def dumps(value: Any) -> str:
    """Return JSON as the servers write it, with unescaped non-ASCII characters.

    If the value contains a lone surrogate, which UTF-8 cannot encode, non-ASCII characters are
    escaped.
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if _encodable(text) else json.dumps(value)


def as_text(data: bytes) -> str:
    """Return these bytes as a text that `Answer` sends unchanged, even if they are not UTF-8."""
    return data.decode("utf-8", "surrogateescape")


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


class Answer:
    """A response that a fake server is about to send.

    Args:
        texts: The JSON texts of the body: one for each record of a stream, or a single one.
        kind: The kind of response, for faults that apply only to some kinds; see `Fault.kinds`.
        frame: Function that returns the bytes of a record, such as `as_line`; None if the response
            is not a stream.
        begun: The number of records up to and including the first one that has text. A fault in
            the middle of a stream happens after these records.
        content_type: The media type. If it is an empty text, the response has no such header.
        status: The status code and the reason phrase.
        headers: Further headers.
        pause_s: Seconds of silence before each piece of a stream, or before a whole response.
    """

    def __init__(
        self,
        texts: Sequence[str],
        *,
        kind: str = "other",
        frame: Optional[Callable[[str], bytes]] = None,
        begun: int = 1,
        content_type: str = "application/json",
        status: str = "200 OK",
        headers: Iterable[Tuple[str, str]] = (),
        pause_s: float = 0.0,
    ) -> None:
        self.texts: List[str] = list(texts)
        self.kind = kind
        self.frame = frame
        self.begun = begun
        self.content_type = content_type
        self.status = status
        self.headers: List[Tuple[str, str]] = list(headers)
        self.pause_s = pause_s

    # --- parts of the response ------------------------------------------------------------

    @property
    def streams(self) -> bool:
        """Whether the body is a stream of records."""
        return self.frame is not None

    @property
    def pieces(self) -> List[bytes]:
        """The pieces in which the body is sent: the records of a stream, or two halves."""
        if self.frame is not None:
            return [self.frame(text) for text in self.texts]
        body = self.texts[0].encode("utf-8", "surrogateescape") if self.texts else b""
        return [body[: len(body) // 2], body[len(body) // 2 :]]

    @property
    def body(self) -> bytes:
        """The complete body, without chunked transfer encoding."""
        return b"".join(self.pieces)

    def head(
        self,
        framing: Optional[str] = None,
        *,
        version: str = "HTTP/1.1",
        extra: Iterable[Tuple[str, str]] = (),
    ) -> bytes:
        """Return the status line and the headers.

        Args:
            framing: The header line that determines the end of the body. None uses the
                correct line; an empty string omits it.
            version: The version of HTTP.
            extra: Further headers.
        """
        if framing is None:
            length = f"Content-Length: {len(self.body)}"
            framing = "Transfer-Encoding: chunked" if self.streams else length
        lines = [f"{version} {self.status}"]
        lines += [f"Content-Type: {self.content_type}"] if self.content_type else []
        lines += [f"{name}: {value}" for name, value in [*self.headers, *extra]]
        lines += [framing] if framing else []
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def framed(self, data: bytes) -> bytes:
        """Return bytes of the body as the server sends them: those of a stream as one chunk."""
        return b"%x\r\n%s\r\n" % (len(data), data) if self.streams else data

    @property
    def end(self) -> bytes:
        """The end of the chunked encoding if the response is a stream; otherwise no bytes."""
        return b"0\r\n\r\n" if self.streams else b""

    def start(self) -> bytes:
        """Return the head and the first `begun` pieces. A mid-stream fault happens after them."""
        return self.head() + self.framed(b"".join(self.pieces[: self.begun]))

    def rest(self) -> bytes:
        """Return the bytes of the response that follow those of `start`."""
        return self.framed(b"".join(self.pieces[self.begun :])) + self.end

    def steps(self) -> List[Step]:
        """Return the steps that send the complete response."""
        if not self.pause_s:
            return [self.head() + b"".join(map(self.framed, self.pieces)) + self.end]
        if not self.streams:  # a server makes the whole text before it sends the head
            return [self._pause, self.head() + self.body]
        steps: List[Step] = [self.head()]
        for piece in self.pieces:
            steps += [self._pause, self.framed(piece)]
        return [*steps, self.end]

    def _pause(self, exchange: Exchange) -> None:
        exchange.hold(self.pause_s)

    # --- changed copies -------------------------------------------------------------------

    def replace(self, **changes: Any) -> Answer:
        """Return a copy with some attributes changed."""
        other = copy.copy(self)
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    def with_text(self, text: str) -> Answer:
        """Return a copy with another text in place of the first record that has text.

        If the response is not a stream, `text` replaces the whole body.
        """
        at = self.begun - 1
        return self.replace(texts=[*self.texts[:at], text, *self.texts[at + 1 :]])

    def changed(self, change: Callable[[Any], Any]) -> Answer:
        """Return a copy with `change` applied to the first record that has text.

        If the response is not a stream, `change` is applied to the JSON value of the body.
        """
        return self.with_text(dumps(change(json.loads(self.texts[self.begun - 1]))))

    def each_changed(self, change: Callable[[Any], Any]) -> Answer:
        """Return a copy with `change` applied to every JSON text of the body that is an object."""
        texts = [
            dumps(change(json.loads(text))) if text.startswith("{") else text for text in self.texts
        ]
        return self.replace(texts=texts)
