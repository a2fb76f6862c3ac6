"""One way in which a server can fail."""

from __future__ import annotations

from typing import Any, Callable, Iterable, List, NamedTuple, Optional, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.scripted import Exchange, Step

#: The kinds of answers: records as lines (Ollama) or events (LM Studio), one body with
#: vectors, one body with a list of models, reports of how far a transfer is.
KINDS = ("lines", "events", "vectors", "list", "progress")
STREAMS = ("lines", "events")
BODIES = ("vectors", "list")


class Fault(NamedTuple):
    """One way in which a server can fail.

    Attributes:
        name: What happens, in a few words.
        steps: Makes the faulty answer's steps out of the good answer.
        kinds: The kinds of answers that it can spoil.
        early: What happens before the request's body is read, or None.
    """

    name: str
    steps: Callable[[Answer], Iterable[Step]]
    kinds: Tuple[str, ...] = KINDS
    early: Optional[Callable[[Exchange], None]] = None

    def __repr__(self) -> str:
        return f"<Fault {self.name!r}>"


# --- steps that many faults take -------------------------------------------------------------


def hold(exchange: Exchange) -> None:
    """Say nothing any more."""
    exchange.hold()


def close(exchange: Exchange) -> None:
    """End the connection in good order."""
    exchange.close()


def reset(exchange: Exchange) -> None:
    """Break the connection off."""
    exchange.reset()


def drip(piece: bytes, every_s: float = 0.02) -> Step:
    """Send a piece again and again, each before the client would call it silence."""
    return lambda exchange: exchange.drip(piece, every_s)


def flood(piece: bytes) -> Step:
    """Send a piece for ever, as fast as the client takes it."""
    block = piece * max(1, 65536 // len(piece))

    def send(exchange: Exchange) -> None:
        while not exchange.stopping.is_set():
            exchange.sock.sendall(block)

    return send


def chunk(data: bytes) -> bytes:
    """Frame data as one chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def good(answer: Answer) -> List[Step]:
    """Send the good answer."""
    return answer.steps()


def changing(change: Callable[[Any], Any]) -> Callable[[Answer], Iterable[Step]]:
    """Send the answer with its first telling record changed by a function."""
    return lambda answer: answer.changed(change).steps()


def saying(text: str) -> Callable[[Answer], Iterable[Step]]:
    """Send the answer with this text in the place of its first telling record."""
    return lambda answer: answer.with_text(text).steps()
