"""How each call is to end under each fault of the catalogue."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Union

from localproviders import (
    AnswerTooLargeError,
    AuthenticationError,
    BusyError,
    CompletionResponse,
    EmbeddingError,
    LimitError,
    LocalityError,
    ModelNotFoundError,
    ProtocolError,
    RequestRejectedError,
    ServerError,
    StreamInterruptedError,
    ToolCallError,
    UnsupportedError,
    WrongModelError,
)
from localproviders.testing.faults import statuses
from localproviders.testing.faults.streams import ERROR_RECORDS
from tests.faults.bench import FIRST, HALVED, TEXT, TEXTS, Outcome

#: An outcome for all, or by what they have in common; the narrowest key decides:
#: "backend form", "backend streams", a form, "streams" or "bodies", a backend, "*".
Outcomes = Union[Outcome, Mapping[str, Outcome]]

STREAM_FORMS = ("complete", "stream")


def outcome_of(outcomes: Outcomes, backend: str, form: str) -> Outcome:
    """Choose the outcome for a backend and a call form."""
    if isinstance(outcomes, Outcome):
        return outcomes
    group = "streams" if form in STREAM_FORMS else "bodies"
    keys = (f"{backend} {form}", f"{backend} {group}", form, group, backend, "*")
    return next(outcomes[key] for key in keys if key in outcomes)


# --- words for outcomes ---------------------------------------------------------------------


def good(kept: bool = True, check: Any = None) -> Outcome:
    return Outcome(None, kept=kept, check=check)


def fails(error: Any, *, kept: bool = False, partial: str = "", check: Any = None) -> Outcome:
    return Outcome(error, kept=kept, partial=partial, check=check)


def times_out(partial: str = "") -> Outcome:
    return Outcome(LimitError, kept=False, partial=partial, limited=True)


def by_kind(streams: Outcome, bodies: Outcome) -> Mapping[str, Outcome]:
    return {"streams": streams, "bodies": bodies}


def says(text: str) -> Callable[[Any], bool]:
    """The answer is this text; in a body, nothing is to be seen of it."""
    return lambda came: not isinstance(came, CompletionResponse) or came.text == text


def attempted(times: int) -> Callable[[Any], bool]:
    return lambda came: getattr(came, "attempts", times) == times


SILENT = times_out()
STALLED = by_kind(times_out(partial=FIRST), times_out())
CUT = by_kind(fails(StreamInterruptedError, partial=FIRST), fails(StreamInterruptedError))
# Ollama's list was asked on the same connection: a kept one that dies is replaced, once.
_REPLACED = Outcome(StreamInterruptedError, kept=False, sent=2)
NO_WORD: Mapping[str, Outcome] = {
    "*": fails(StreamInterruptedError),
    "ollama streams": _REPLACED,
    "ollama embed": _REPLACED,
}
NO_HTTP = fails(ProtocolError)
# A stream is whole at its last record; a body only at its end.
WHOLE_WITHOUT_END = by_kind(good(kept=False), fails(StreamInterruptedError))
# A body has been read to its end when its JSON is looked at: the connection is clean.
NO_ANSWER = by_kind(fails(ProtocolError), fails(ProtocolError, kept=True))
TOO_DEEP = by_kind(fails(AnswerTooLargeError), fails(AnswerTooLargeError, kept=True))
SAID_NO = fails(ServerError, kept=True)
# The total runs out at the reason; the search for the bad text does not begin any more.
_NO_REASON: Mapping[str, Outcome] = {
    "*": Outcome(ServerError, kept=False, limited=True),
    "embed": Outcome(LimitError, kept=False, limited=True),
}
IN_MID_STREAM = fails(ServerError, partial=FIRST)

HEADS: Dict[str, Outcomes] = {
    "silence": SILENT,
    "closed without an answer": NO_WORD,
    "reset without an answer": NO_WORD,
    "status line dripped": SILENT,
    "silence after the status line": SILENT,
    "closed after the status line": by_kind(fails(StreamInterruptedError), fails(ProtocolError)),
    "headers dripped": SILENT,
    "a header dripped": SILENT,
    "silence within the headers": SILENT,
    "silence after the headers": SILENT,
    "headers without end": NO_HTTP,
    "a header without end": NO_HTTP,
    "a thousand headers": NO_HTTP,
    "interim answers dripped": SILENT,
    "interim answers without end": fails(AnswerTooLargeError),
    "early hints without end": fails(AnswerTooLargeError),
    "100 Continue before the answer": good(),
    "early hints before the answer": good(),
    "101 Switching Protocols": fails(ProtocolError),
    "no HTTP": NO_HTTP,
    "no HTTP, and silence": NO_HTTP,
    "HTTP/2": NO_HTTP,
    "an impossible status": NO_HTTP,
    "a status that is no number": NO_HTTP,
    "two different lengths": NO_HTTP,
    "a length that is no number": good(kept=False),
    "a negative length": good(kept=False),
    "an unknown transfer coding": good(kept=False),
    "no content, said to be chunked": by_kind(
        fails(StreamInterruptedError), fails(ProtocolError, kept=True)
    ),
    "no content": by_kind(fails(StreamInterruptedError), fails(ProtocolError, kept=True)),
    "refused while the request is sent": fails(RequestRejectedError),
    "refused while the request is sent, then silence": fails(RequestRejectedError),
    "the request read a byte a second": times_out(),
}

BODIES: Dict[str, Outcomes] = {
    "body stalled": STALLED,
    "body dripped": STALLED,
    "blank body dripped": SILENT,
    "body cut": CUT,
    "body reset": CUT,
    "body cut within a chunk": CUT,
    "body cut before the final chunk": WHOLE_WITHOUT_END,
    "connection reset before the final chunk": WHOLE_WITHOUT_END,
    "silence before the final chunk": by_kind(good(kept=False), times_out()),
    "shorter than announced": WHOLE_WITHOUT_END,
    "shorter than announced, then silence": by_kind(good(kept=False), times_out()),
    "longer than announced": by_kind(
        Outcome(StreamInterruptedError, kept=False, partial=TEXT),
        fails(ProtocolError),
    ),
    "a second answer behind the first": good(kept=False),
    "a second answer in one piece with the body": good(kept=False),
    "rubbish behind the answer": good(kept=False),
    "a bad chunk size": CUT,
    "a negative chunk size": CUT,
    "a huge chunk size": CUT,
    "no chunk size": CUT,
    "a chunk without its end": CUT,
    "a chunk size dripped": STALLED,
    "a chunk size without end": by_kind(fails(ProtocolError, partial=FIRST), fails(ProtocolError)),
    "chunk extensions": good(),
    "trailers": good(),
    "trailers dripped": by_kind(good(kept=False), times_out()),
    "trailers without end": by_kind(good(kept=False), fails(ProtocolError)),
    "HTTP/1.0 without a length": good(kept=False),
    "HTTP/1.0 cut": CUT,
    "HTTP/1.0 stalled": STALLED,
    "length and chunks": good(),
    "closed after the answer": good(kept=False),
    "an empty body": by_kind(fails(StreamInterruptedError), fails(ProtocolError, kept=True)),
    "one byte at a time": good(),
    "gzip": good(),
    "deflate": good(),
    "gzip cut": WHOLE_WITHOUT_END,
    "gzip in the headers only": fails(ProtocolError),
    "a gzip bomb": fails(AnswerTooLargeError),
    "an unknown encoding": fails(ProtocolError),
    "gzip twice": fails(ProtocolError),
    "blank lines without end": by_kind(
        # Which bound is met first depends on how fast the machine looks at empty lines.
        Outcome((AnswerTooLargeError, LimitError), kept=False, limit="first_token_s"),
        fails(AnswerTooLargeError),
    ),
    "blanks without end": fails(AnswerTooLargeError),
    "a line of 50 MB": fails(AnswerTooLargeError),
    "white space around the body": good(),
}

RECORDS: Dict[str, Outcomes] = {
    **dict.fromkeys(
        (
            "no JSON",
            "half a record",
            "two records in one",
            "NaN",
            "an infinity",
            "an integer of a million digits",
            "a list at the top",
            "a text at the top",
            "a number at the top",
            "null at the top",
            "an empty object",
            "a number for the text",
            "an object for the text",
            "broken UTF-8",
            "surrogates as UTF-8",
            "UTF-16",
        ),
        NO_ANSWER,
    ),
    "nested too deep": TOO_DEEP,
    "nested, and never closed": TOO_DEEP,
    "keys twice": good(),
    "a number past every float": NO_ANSWER,
    "numbers as text": good(),
    "nulls": good(),
    "absences": good(),
    "surprise types": good(),
    "texts for everything": good(),
    "surprise fields": good(),
    "null for the text": good(check=says(" there, friend.")),
    "a lone surrogate": good(check=says("a\ufffdb there, friend.")),
    "NUL in the text": good(check=says("a\x00b there, friend.")),
    "odd line ends in the text": good(check=says("a\u2028b\u0085c\rd\ne there, friend.")),
    "a character cut in two": good(check=says("€ there, friend.")),
}


def _has_calls(*calls: Any) -> Callable[[Any], bool]:
    return lambda came: (
        tuple((call.id, call.name, dict(call.arguments)) for call in came.tool_calls) == calls
    )


def _warns(came: Any) -> bool:
    return any("another" in warning for warning in came.warnings)


WRONG_MODEL: Mapping[str, Outcome] = {
    "*": fails(WrongModelError, check=lambda e: e.served == "another"),
    # Its list is asked on a connection of its own, which is kept.
    "lmstudio": Outcome(WrongModelError, check=lambda e: e.served == "another"),
    "openai": good(check=_warns),
}


def _stood_still(error: Any) -> bool:
    return bool(error.limit == "idle_s" and error.retryable)


STREAMS: Dict[str, Outcomes] = {
    **dict.fromkeys(
        (
            "CRLF line ends",
            "CR line ends",
            "blank lines between",
            "no line end at the end",
            "comments and pings",
            "every field of an event",
            "no blank after the colon",
            "data over many lines",
            "an event that is no data",
        ),
        good(check=says(TEXT)),
    ),
    "a byte order mark": {"*": good(check=says(TEXT)), "ollama": fails(ProtocolError)},
    "no last record": Outcome(StreamInterruptedError, kept=False, partial=TEXT),
    "no last record, then closed": Outcome(StreamInterruptedError, kept=False, partial=TEXT),
    "no finish reason and no last record": Outcome(
        StreamInterruptedError, kept=False, partial=TEXT
    ),
    "nothing but the last record": fails(ProtocolError),
    "text behind the last record": good(kept=False, check=says(TEXT)),
    "silence behind the last record": good(kept=False, check=says(TEXT)),
    "a named error event": IN_MID_STREAM,
    **{f"an error in mid-stream: {name}": IN_MID_STREAM for name in ERROR_RECORDS},
    "another model": WRONG_MODEL,
    "another model in mid-stream": WRONG_MODEL,
    "an answer from the cloud": fails(LocalityError),
    "a load instead of an answer": fails(ProtocolError),
    "a record that is not done and not undone": fails(ProtocolError),
    "several choices": fails(ProtocolError),
    "choices that are no list": fails(ProtocolError),
    "tool-call pieces out of order": good(
        check=_has_calls(("one", "f", {"a": 1}), ("two", "g", {"b": 2}))
    ),
    "tool-call pieces twice": Outcome(ToolCallError, partial=TEXT),
    "a tool call never finished": Outcome(ToolCallError, partial=TEXT),
    "a tool call without a name": Outcome(ToolCallError, partial=TEXT),
    "tool calls that are no list": fails(ToolCallError, partial=FIRST),
    "a tool call that is no object": fails(ToolCallError, partial=FIRST),
    "a tool call whose arguments are a list": fails(ToolCallError, partial=FIRST),
    "a tool call whose arguments are text": fails(ToolCallError, partial=FIRST),
}

_BY_STATUS: Dict[int, Any] = {
    400: RequestRejectedError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: RequestRejectedError,
    405: RequestRejectedError,
    408: BusyError,
    409: RequestRejectedError,
    413: RequestRejectedError,
    422: RequestRejectedError,
    429: BusyError,
    500: ServerError,
    501: ServerError,
    502: BusyError,
    503: BusyError,
    504: BusyError,
    529: ServerError,
}
# A server that gives no model list under this status has none: only its words can tell.
_MOVED = fails(ProtocolError, kept=True)
_BUSY = fails(BusyError, kept=True)

STATUSES: Dict[str, Outcomes] = {
    **{
        f"status {code} with {kind}": fails(_BY_STATUS[code], kept=True)
        for code in statuses.STATUSES
        for kind in statuses.BODY_KINDS
    },
    **{
        f"status {code} with {kind}": {
            "*": fails(_BY_STATUS[code], kept=True),
            "lmstudio list": good(),  # a list that is not there: the older one serves instead
        }
        for code in (404, 405)
        for kind in statuses.BODY_KINDS
    },
    **{f"redirect {code}": _MOVED for code in statuses.REDIRECTS},
    "a redirect to nowhere": _MOVED,
    "a redirect to rubbish": _MOVED,
    "several choices of address": _MOVED,
    "not modified": _MOVED,
    "a refresh header": good(),
    "a cookie": good(),
    "a login page": by_kind(fails(ProtocolError), fails(ProtocolError, kept=True)),
    "a challenge": fails(AuthenticationError, kept=True),
    "an error body stalled": _NO_REASON,
    "an error body dripped": _NO_REASON,
    "an error body without end": fails(ServerError),
    "an error body cut": fails(ServerError),
    "an error body that is no UTF-8": SAID_NO,
    "an error nested too deep": SAID_NO,
    "an error body in gzip that is none": fails(ServerError),
    "an unexpected endpoint": {
        "streams": fails(ServerError),
        "bodies": fails(ServerError, kept=True),
        "lmstudio streams": fails(UnsupportedError),
        "lmstudio embed": fails(UnsupportedError, kept=True),
        "lmstudio list": good(),  # the older list serves instead
    },
    "a busy server whose words are cut": fails(BusyError),
    "a full queue": _BUSY,
    "a model that loads": {  # Ollama loads in silence, and never says so
        "*": Outcome(LimitError, kept=True, limit="load_s"),
        "ollama": _BUSY,
    },
    "too many requests, at once again": _BUSY,
    "too many requests until a date": _BUSY,
    "too many requests for a year": Outcome(BusyError, kept=True, sent=1),
    "a wait that is no time": _BUSY,
    **{f"an error under status 200: {name}": SAID_NO for name in ERROR_RECORDS},
}


def _failures(*indexes: int) -> Callable[[Any], bool]:
    return lambda e: (
        set(e.failures) == set(indexes) and set(e.embedded) == set(range(len(TEXTS))) - set(indexes)
    )


# Which text is to blame is not to be seen in the answer: each is asked for alone.
_NO_VECTORS = Outcome(EmbeddingError, kept=True, sent=HALVED)
_BOTH_BAD = fails(EmbeddingError, kept=True, check=_failures(0, 1))
_GOOD_ALONE = Outcome(kept=True, sent=HALVED)
_ONE_BAD = fails(EmbeddingError, kept=True, check=_failures(1))

VECTORS: Dict[str, Outcomes] = {
    "too few vectors": _NO_VECTORS,
    "too many vectors": _NO_VECTORS,
    "no vectors": _NO_VECTORS,
    "null for the vectors": fails(ProtocolError, kept=True),
    "vectors of different lengths": _ONE_BAD,
    "an empty vector": _ONE_BAD,
    "null for a vector": _NO_VECTORS,
    "a text in a vector": _ONE_BAD,
    "a list in a vector": _ONE_BAD,
    "a number too large for a vector": _ONE_BAD,
    "vectors that are not finite": {"*": _BOTH_BAD, "ollama": _NO_VECTORS},
    "vectors in broken base64": _NO_VECTORS,
    "vectors in half a number": _NO_VECTORS,
    "vectors in another order": {"*": good(), "ollama": _GOOD_ALONE},
    "vectors under one index": _GOOD_ALONE,
    "vectors under strange indexes": {"*": _NO_VECTORS, "ollama": _GOOD_ALONE},
    "vectors of another model": {
        "*": fails(WrongModelError, kept=True),
        "openai": good(check=_warns),
    },
    "a number for the list": fails(ProtocolError, kept=True),
    "a text for the list": fails(ProtocolError, kept=True),
    "texts in the list": good(check=lambda came: came == []),
    "nulls in the list": good(),
    "an empty list": good(check=lambda came: came == []),
    "models without a name": good(),
}

#: How a transfer is to end that never gets further than the fault.
TRANSFERS: Dict[str, Outcomes] = {
    "a transfer that stands still": fails(LimitError, check=_stood_still),
    "a transfer that goes to and fro": fails(LimitError, check=_stood_still),
    "a transfer that goes back": good(),
    "a transfer without success": Outcome(StreamInterruptedError),
    "a transfer without success, then closed": fails(StreamInterruptedError),
    "silent work": fails(LimitError, check=lambda error: error.limit == "load_s"),
    "slow work": good(),
    "a report without a status": fails(ProtocolError),
    "a transfer that fails: no such model": Outcome(ModelNotFoundError),
    "a transfer that fails: a server too old": Outcome(UnsupportedError),
    "a transfer that fails: no right": Outcome(AuthenticationError),
    "a transfer that fails: another platform": Outcome(UnsupportedError),
    **{
        f"a transfer that fails: {what}": Outcome(ServerError, check=lambda error: error.retryable)
        for what in ("a corrupt file", "a bad line", "no line")
    },
}

#: Every fault of the catalogue; a test keeps it complete.
EXPECTED: Dict[str, Outcomes] = {
    **HEADS,
    **BODIES,
    **RECORDS,
    **STREAMS,
    **STATUSES,
    **VECTORS,
    **TRANSFERS,
}
