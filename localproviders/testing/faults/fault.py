"""The class `Fault`, and the steps that many faults use."""

from __future__ import annotations

from typing import Any, Callable, Iterable, List, NamedTuple, Optional, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.scripted import Exchange, Step

#: The kinds of responses. Streams of text are ``lines`` (Ollama), ``events`` (LM Studio and the
#: OpenAI dialect) or ``messages`` (Anthropic's named events). Whole bodies are ``vectors``, model
#: lists (``list``), ranked documents (``ranking``), and decisions (``systemone``, and ``decisions``
#: in OpenAI's dialect). Transfers of models send a stream of reports (``progress``).
KINDS = (
    *("lines", "events", "messages", "vectors", "list", "ranking", "progress", "systemone"),
    "decisions",
)
STREAMS = ("lines", "events", "messages")
BODIES = ("vectors", "list", "ranking", "systemone", "decisions")


class Fault(NamedTuple):
    """One way in which a server can fail.

    Attributes:
        name: A short description of the failure.
        steps: Function that receives a correct response, and returns the steps of the faulty one.
        kinds: The kinds of responses that the fault applies to.
        early: Function that causes the failure after the head of the request was read, and before
            its body is read; None for most faults.
    """

    name: str
    steps: Callable[[Answer], Iterable[Step]]
    kinds: Tuple[str, ...] = KINDS
    early: Optional[Callable[[Exchange], None]] = None

    def __repr__(self) -> str:
        return f"<Fault {self.name!r}>"


# --- steps that many faults use --------------------------------------------------------------


def hold(exchange: Exchange) -> None:
    """Send nothing more, but keep the connection open."""
    exchange.hold()


def close(exchange: Exchange) -> None:
    """Close the connection."""
    exchange.close()


def reset(exchange: Exchange) -> None:
    """Reset the connection."""
    exchange.reset()


def drip(piece: bytes, every_s: float = 0.02) -> Step:
    """Return a step that sends a piece repeatedly, so often that no idle timeout expires."""
    return lambda exchange: exchange.drip(piece, every_s)


def flood(piece: bytes) -> Step:
    """Return a step that sends a piece again and again, as fast as the client reads."""
    block = piece * max(1, 65536 // len(piece))

    def send(exchange: Exchange) -> None:
        while not exchange.stopping.is_set():
            exchange.sock.sendall(block)

    return send


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of chunked transfer encoding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def good(answer: Answer) -> List[Step]:
    """Return the steps of the correct response."""
    return answer.steps()


def changing(change: Callable[[Any], Any]) -> Callable[[Answer], Iterable[Step]]:
    """Return the `steps` function of a fault that changes the first record that has text.

    In a response that is not a stream, the fault changes the whole body.
    """
    return lambda answer: answer.changed(change).steps()


def saying(text: str) -> Callable[[Answer], Iterable[Step]]:
    """Return the `steps` function of a fault that sends `text` instead of a record.

    `text` replaces the first record that has text. In a response that is not a stream, it replaces
    the whole body.
    """
    return lambda answer: answer.with_text(text).steps()
