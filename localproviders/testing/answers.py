"""A good HTTP answer, taken apart so that a fault can spoil any part of it."""

from __future__ import annotations

import copy
import json
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

from localproviders.testing.scripted import Exchange, Step


def as_line(text: str) -> bytes:
    """Frame a record as newline-delimited JSON."""
    return text.encode("utf-8") + b"\n"


def as_event(text: str) -> bytes:
    """Frame a record as a server-sent event."""
    return b"data: " + text.encode("utf-8") + b"\n\n"


def dumps(value: Any) -> str:
    """Write JSON as the servers do: text as it is, surrogates escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if _encodable(text) else json.dumps(value)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


class Answer:
    """What a fake server is about to send.

    Args:
        texts: The JSON texts of its body: one for each record of a stream, or a single one.
        kind: What it is, for faults that spoil only some answers; see `Fault`.
        frame: Frames a record of a stream; None makes the single text the whole body.
        begun: How many records belong to the part after which a fault may strike: those
            up to the first text.
        content_type: The media type.
        status: Number and words of the status line.
        headers: Further headers.
        pause_s: Seconds of silence before each piece.
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
        self.texts = list(texts)
        self.kind = kind
        self.frame = frame
        self.begun = begun
        self.content_type = content_type
        self.status = status
        self.headers = list(headers)
        self.pause_s = pause_s

    # --- its parts ------------------------------------------------------------------------

    @property
    def streams(self) -> bool:
        """Whether it is a stream of records, rather than one body."""
        return self.frame is not None

    @property
    def pieces(self) -> List[bytes]:
        """The body, as it is sent piece by piece."""
        if self.frame is not None:
            return [self.frame(text) for text in self.texts]
        body = self.texts[0].encode("utf-8") if self.texts else b""
        return [body[: len(body) // 2], body[len(body) // 2 :]]

    @property
    def body(self) -> bytes:
        """The whole body, without the framing of HTTP."""
        return b"".join(self.pieces)

    def head(
        self,
        framing: Optional[str] = None,
        *,
        version: str = "HTTP/1.1",
        extra: Iterable[Tuple[str, str]] = (),
    ) -> bytes:
        """Give status line and headers.

        Args:
            framing: The header line that says where the body ends; empty for none, None
                for the one that fits.
            version: The version of HTTP.
            extra: Further headers.
        """
        if framing is None:
            length = f"Content-Length: {len(self.body)}"
            framing = "Transfer-Encoding: chunked" if self.streams else length
        lines = [f"{version} {self.status}", f"Content-Type: {self.content_type}"]
        lines += [f"{name}: {value}" for name, value in [*self.headers, *extra]]
        lines += [framing] if framing else []
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def framed(self, data: bytes) -> bytes:
        """Frame a part of the body as HTTP does in this answer."""
        return b"%x\r\n%s\r\n" % (len(data), data) if self.streams else data

    @property
    def end(self) -> bytes:
        """What HTTP sends behind the body."""
        return b"0\r\n\r\n" if self.streams else b""

    def start(self) -> bytes:
        """Give the head and the part of the body after which a fault may strike."""
        return self.head() + self.framed(b"".join(self.pieces[: self.begun]))

    def rest(self) -> bytes:
        """Give what follows `start`."""
        return self.framed(b"".join(self.pieces[self.begun :])) + self.end

    def steps(self) -> List[Step]:
        """Give the steps that send it whole."""
        if not self.pause_s:
            return [self.head() + b"".join(map(self.framed, self.pieces)) + self.end]
        steps: List[Step] = [self.head()]
        for piece in self.pieces:
            steps += [self._pause, self.framed(piece)]
        return [*steps, self.end]

    def _pause(self, exchange: Exchange) -> None:
        exchange.hold(self.pause_s)

    # --- others like it -------------------------------------------------------------------

    def replace(self, **changes: Any) -> Answer:
        """Give a copy with some attributes changed."""
        other = copy.copy(self)
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    def with_text(self, text: str) -> Answer:
        """Give a copy whose first telling record, or whole body, is this text."""
        at = self.begun - 1
        return self.replace(texts=[*self.texts[:at], text, *self.texts[at + 1 :]])

    def changed(self, change: Callable[[Any], Any]) -> Answer:
        """Give a copy whose first telling record, or whole body, went through a function."""
        return self.with_text(dumps(change(json.loads(self.texts[self.begun - 1]))))

    def each_changed(self, change: Callable[[Any], Any]) -> Answer:
        """Give a copy in which every JSON record went through a function."""
        texts = [
            dumps(change(json.loads(text))) if text.startswith("{") else text for text in self.texts
        ]
        return self.replace(texts=texts)
