"""What all of the fake Ollama's answers share: bodies, refusals, names (ollama-api §5, §7)."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from localproviders.ollama.names import display_name
from localproviders.testing.answers import Answer, as_line, dumps
from localproviders.testing.scripted import Exchange

DATE = "2026-11-24T07:35:50.811290692Z"


class RefusedError(Exception):
    """The server refuses, in these words and with this status."""

    def __init__(self, text: str, status: str = "400 Bad Request") -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def body_of(exchange: Exchange) -> Mapping[str, Any]:
    """Give the JSON of a request.

    Raises:
        RefusedError: There is none, or it is no object.
    """
    if not exchange.body:
        raise RefusedError("missing request body")
    try:
        body = exchange.json
    except ValueError as error:
        raise RefusedError(str(error)) from None
    if not isinstance(body, dict):
        raise RefusedError("json: cannot unmarshal into Go value")
    return body


def as_listed(name: str) -> str:
    """Give a name as the server lists it."""
    return display_name(name).lower()


def json_answer(value: Any, status: str = "200 OK", kind: str = "other") -> Answer:
    """Give an answer of one JSON value."""
    media = "application/json; charset=utf-8"
    return Answer([dumps(value)], kind=kind, content_type=media, status=status)


def text_answer(status: str, text: str) -> Answer:
    """Give an answer in plain text."""
    return Answer([text], content_type="text/plain", status=status)


def nothing(status: str = "200 OK") -> Answer:
    """Give an answer without a body (§2.12, §2.13)."""
    return Answer([], status=status)


def progress_answer(
    body: Mapping[str, Any], records: Sequence[Dict[str, Any]], begun: int, pause_s: float
) -> Answer:
    """Give reports as a stream, or the last one alone, with its status (§3.5)."""
    last = records[-1]
    # What comes first decides the status; later errors come under 200.
    first_fails = "error" in records[0]
    if body.get("stream") is False or first_fails:
        fails = "400 Bad Request" if first_fails else "500 Internal Server Error"
        return json_answer(last, fails if "error" in last else "200 OK")
    texts: List[str] = [dumps(record) for record in records]
    return Answer(
        texts,
        kind="progress",
        frame=as_line,
        begun=min(begun, len(texts)),
        content_type="application/x-ndjson",
        pause_s=pause_s,
    )
