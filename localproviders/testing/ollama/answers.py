"""Parts that the fake Ollama's responses share: bodies, refusals and names.

They follow docs/reference/ollama.md, "Error bodies" and "Model names".
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence

from localproviders.ollama.names import display_name
from localproviders.testing.answers import Answer, as_line, dumps
from localproviders.testing.scripted import Exchange

DATE = "2026-11-24T07:35:50.811290692Z"


class RefusedError(Exception):
    """A refusal by the fake server, with its text and status."""

    def __init__(self, text: str, status: str = "400 Bad Request") -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def body_of(exchange: Exchange) -> Mapping[str, Any]:
    """Return the JSON of a request.

    Raises:
        RefusedError: The request has no body, the body is not an object, or its keep-alive is not
            a duration.
    """
    if not exchange.body:
        raise RefusedError("missing request body")
    try:
        body = exchange.json
    except ValueError as error:
        raise RefusedError(str(error)) from None
    if not isinstance(body, dict):
        raise RefusedError("json: cannot unmarshal into Go value")
    keep_alive_s(body)
    return body


# Units of durations in seconds, and the pattern of one part of a duration such as "1h30m" in Go.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)"


def keep_alive_s(body: Mapping[str, Any]) -> Optional[float]:
    """Return the field ``keep_alive`` of a request in seconds; None if it is not given.

    A number counts seconds. A text is a duration such as ``5m``. A negative value is for ever.

    Raises:
        RefusedError: The value is neither.
    """
    # Described in docs/reference/ollama.md, "Keep-alive".
    value = body.get("keep_alive")
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    if not isinstance(value, str):
        raise RefusedError(f"Unsupported type: '{type(value).__name__}'")
    amount = value[1:] if value[:1] in ("+", "-") else value
    if amount != "0" and not re.fullmatch(f"(?:{_PART})+", amount):
        is_number = re.fullmatch(r"\d+\.?\d*|\.\d+", amount)
        reason = "missing unit in duration" if is_number else "invalid duration"
        raise RefusedError(f'time: {reason} "{value}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, amount))
    return -seconds if value.startswith("-") else seconds


def as_listed(name: str) -> str:
    """Return a model name in the form of the server's model list."""
    return display_name(name).lower()


def json_answer(value: Any, status: str = "200 OK", kind: str = "other") -> Answer:
    """Return a response with one JSON value as its body."""
    media = "application/json; charset=utf-8"
    return Answer([dumps(value)], kind=kind, content_type=media, status=status)


def text_answer(status: str, text: str) -> Answer:
    """Return a response in plain text."""
    return Answer([text], content_type="text/plain", status=status)


def empty_answer(status: str = "200 OK") -> Answer:
    """Return a response without a body, for copies, deletions and blobs."""
    return Answer([], status=status)


def progress_answer(
    body: Mapping[str, Any], records: Sequence[Dict[str, Any]], begun: int, pause_s: float
) -> Answer:
    """Return the reports as a stream; without streaming, return the last report with its status.

    Source: docs/reference/ollama.md, "Progress" and "Errors in a stream".
    """
    last = records[-1]
    # The first record decides the status code. A later error is a record of a stream that has begun
    # with status 200.
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
