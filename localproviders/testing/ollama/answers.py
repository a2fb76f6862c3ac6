"""Helpers for all responses of the fake Ollama: bodies, refusals and names.

The responses follow docs/reference/ollama.md, "Error bodies" and "Model names".
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Sequence

from localproviders.ollama.names import display_name
from localproviders.testing.answers import Answer, as_line, dumps

#: The time at which every model was last changed, according to the model list.
DATE = "2026-11-24T07:35:50.811290692Z"


#: The media type of most responses.
JSON = "application/json; charset=utf-8"
#: The media type of three sorts of responses: an error in place of a stream's first record, the
#: only record of a transfer that is not streamed, and every JSON response in OpenAI's dialect.
PLAIN_JSON = "application/json"

# Nanoseconds between two records of a stream.
_STEP_NS = 20_000_000


class RefusedError(Exception):
    """An exception for a refused request, with the text, status and media type of the response."""

    def __init__(self, text: str, status: str = "400 Bad Request") -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.media = JSON


def timestamp(index: int = 0, pause_s: float = 0.0) -> str:
    """Return the time at which a server makes the record with this index in a stream."""
    now_ns = time.time_ns() + index * (int(pause_s * 1e9) or _STEP_NS)
    seconds = datetime.fromtimestamp(now_ns // 10**9, timezone.utc)
    return f"{seconds:%Y-%m-%dT%H:%M:%S}.{now_ns % 10**9:09}Z"


def as_listed(name: str) -> str:
    """Return a model name as the server's model list writes it."""
    return display_name(name).lower()


def full_name(name: str) -> str:
    """Return a model name with its host, its namespace and its tag."""
    listed = as_listed(name)
    missing = ("registry.ollama.ai/library/", "registry.ollama.ai/", "")[min(listed.count("/"), 2)]
    return missing + listed


def json_answer(
    value: Any, status: str = "200 OK", kind: str = "other", media: str = JSON
) -> Answer:
    """Return a response with one JSON value as its body."""
    return Answer([dumps(value)], kind=kind, content_type=media, status=status)


def text_answer(status: str, text: str, media: str = "text/plain") -> Answer:
    """Return a response in plain text."""
    return Answer([text], content_type=media, status=status)


def empty_answer(status: str = "200 OK") -> Answer:
    """Return a response without a body, for copies, deletions and blobs."""
    return Answer([], status=status, content_type="")


def progress_answer(
    body: Mapping[str, Any], records: Sequence[Dict[str, Any]], begun: int, pause_s: float
) -> Answer:
    """Return the response to a transfer request: all reports as a stream, or only the last one.

    Source: docs/reference/ollama.md, "Progress" and "Errors in a stream".
    """
    last = records[-1]
    # In a stream, only an error in the first record changes the status code. A later error is a
    # record of a stream that has already begun with status 200.
    first_fails = "error" in records[0]
    if body.get("stream") is False or first_fails:
        fails = "400 Bad Request" if first_fails else "500 Internal Server Error"
        return json_answer(last, fails if "error" in last else "200 OK", media=PLAIN_JSON)
    texts: List[str] = [dumps(record) for record in records]
    return Answer(
        texts,
        kind="progress",
        frame=as_line,
        begun=min(begun, len(texts)),
        content_type="application/x-ndjson",
        pause_s=pause_s,
    )
