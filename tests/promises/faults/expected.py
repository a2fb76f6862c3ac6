"""The expected outcome of each call under each fault of the catalogue."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Union

from localproviders import (
    AnswerTooLargeError,
    AuthenticationError,
    CapabilityError,
    CompletionResponse,
    ContextOverflowError,
    EmbeddingError,
    LimitError,
    LocalityError,
    ModelNotFoundError,
    ProtocolError,
    RepetitionError,
    RequestRejectedError,
    ServerBusyError,
    ServerError,
    StreamInterruptedError,
    ToolCallError,
    UnsupportedError,
    WrongModelError,
)
from localproviders.testing.faults import statuses
from localproviders.testing.faults.streams import ERROR_RECORDS, REPEATED
from tests.promises.faults.bench import FIRST, HALVED, TEXT, TEXTS, Outcome

#: One outcome for all calls, or outcomes by key. The most specific key counts, in this order:
#: "backend form", "backend streams" or "backend bodies", a form, "streams" or "bodies", a backend,
#: "*".
Outcomes = Union[Outcome, Mapping[str, Outcome]]

STREAM_FORMS = ("complete", "stream")


def outcome_of(outcomes: Outcomes, backend: str, form: str) -> Outcome:
    """Choose the outcome for a backend and a call form."""
    if isinstance(outcomes, Outcome):
        return outcomes
    group = "streams" if form in STREAM_FORMS else "bodies"
    backend = "openai" if backend == "service" else backend  # both speak the same dialect
    keys = (f"{backend} {form}", f"{backend} {group}", form, group, backend, "*")
    return next(outcomes[key] for key in keys if key in outcomes)


# --- outcomes that many faults share ---------------------------------------------------------------------


def good(kept: bool = True, check: Any = None) -> Outcome:
    """Return the outcome of a call with a good response."""
    return Outcome(None, kept=kept, check=check)


def fails(error: Any, *, kept: bool = False, partial: str = "", check: Any = None) -> Outcome:
    """Return the outcome of a call that raises this error."""
    return Outcome(error, kept=kept, partial=partial, check=check)


def times_out(partial: str = "") -> Outcome:
    """Return the outcome of a call that the total limit ends."""
    return Outcome(LimitError, kept=False, partial=partial, limited=True)


def by_group(streams: Outcome, bodies: Outcome) -> Mapping[str, Outcome]:
    """Return one outcome for streamed responses and one for responses with a single JSON body."""
    return {"streams": streams, "bodies": bodies}


def has_text(text: str) -> Callable[[Any], bool]:
    """Return a condition: a completion has this text; other responses are not checked."""
    return lambda result: not isinstance(result, CompletionResponse) or result.text == text


def attempted(times: int) -> Callable[[Any], bool]:
    """Return a condition: the response reports this number of attempts, if it reports any."""
    return lambda result: getattr(result, "attempts", times) == times


def is_retryable(error: Any) -> bool:
    """A condition: the same call may succeed later."""
    return bool(error.retryable)


SILENT = times_out()
STALLED = by_group(times_out(partial=FIRST), times_out())
_CUT = fails(StreamInterruptedError, check=is_retryable)
CUT = by_group(fails(StreamInterruptedError, partial=FIRST, check=is_retryable), _CUT)
# The model list of Ollama was requested on the same connection before, so the prompt is sent on a
# kept connection. If a kept connection is dead, the request is sent once more on a new one.
_REPLACED = Outcome(StreamInterruptedError, kept=False, sent=2, check=is_retryable)
NO_RESPONSE: Mapping[str, Outcome] = {
    "*": _CUT,
    "ollama streams": _REPLACED,
    "ollama embed": _REPLACED,
    "ollama decide": _REPLACED,
    "openai decisions": _REPLACED,
}
NO_HTTP = fails(ProtocolError)
# A stream is complete with its last record; a single JSON body only with the end of the body.
COMPLETE_WITHOUT_END = by_group(good(kept=False), _CUT)
# A single JSON body is read to its end before its JSON is parsed, so the connection can be kept.
NO_ANSWER = by_group(fails(ProtocolError), fails(ProtocolError, kept=True))
TOO_DEEP = by_group(fails(AnswerTooLargeError), fails(AnswerTooLargeError, kept=True))
REFUSED = fails(ServerError, kept=True)
# The total limit fires while the reason of the refusal is read. An embedding call then has no time
# left to send each text alone.
_STALLED_REASON: Mapping[str, Outcome] = {
    "*": Outcome(ServerError, kept=False, limited=True),
    "embed": Outcome(LimitError, kept=False, limited=True),
}
ERROR_IN_STREAM = fails(ServerError, partial=FIRST)

HEADS: Dict[str, Outcomes] = {
    "silence": SILENT,
    "closed without an answer": NO_RESPONSE,
    "reset without an answer": NO_RESPONSE,
    "status line dripped": SILENT,
    "silence after the status line": SILENT,
    "closed after the status line": by_group(_CUT, fails(ProtocolError)),
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
    "not HTTP": NO_HTTP,
    "not HTTP, then silence": NO_HTTP,
    "HTTP/2": NO_HTTP,
    "an impossible status": NO_HTTP,
    "a status that is not a number": NO_HTTP,
    "two different lengths": NO_HTTP,
    "a length that is not a number": good(kept=False),
    "a negative length": good(kept=False),
    "an unknown transfer coding": good(kept=False),
    "no content, said to be chunked": by_group(
        fails(StreamInterruptedError), fails(ProtocolError, kept=True)
    ),
    "no content": by_group(fails(StreamInterruptedError), fails(ProtocolError, kept=True)),
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
    "body cut before the final chunk": COMPLETE_WITHOUT_END,
    "connection reset before the final chunk": COMPLETE_WITHOUT_END,
    "silence before the final chunk": by_group(good(kept=False), times_out()),
    "shorter than announced": COMPLETE_WITHOUT_END,
    "shorter than announced, then silence": by_group(good(kept=False), times_out()),
    "longer than announced": by_group(
        Outcome(StreamInterruptedError, kept=False, partial=TEXT),
        fails(ProtocolError),
    ),
    "a second answer after the first": good(kept=False),
    "a second answer in one piece with the body": good(kept=False),
    "rubbish after the answer": good(kept=False),
    "a bad chunk size": CUT,
    "a negative chunk size": CUT,
    "a huge chunk size": CUT,
    "no chunk size": CUT,
    "a chunk without its end": CUT,
    "a chunk size dripped": STALLED,
    "a chunk size without end": by_group(fails(ProtocolError, partial=FIRST), fails(ProtocolError)),
    "chunk extensions": good(),
    "trailers": good(),
    "trailers dripped": by_group(good(kept=False), times_out()),
    "trailers without end": by_group(good(kept=False), fails(ProtocolError)),
    "HTTP/1.0 without a length": good(kept=False),
    "HTTP/1.0 cut": CUT,
    "HTTP/1.0 stalled": STALLED,
    "length and chunks": good(),
    "closed after the answer": good(kept=False),
    "an empty body": by_group(fails(StreamInterruptedError), fails(ProtocolError, kept=True)),
    "one byte at a time": good(),
    "gzip": good(),
    "deflate": good(),
    "gzip cut": COMPLETE_WITHOUT_END,
    "gzip in the headers only": fails(ProtocolError),
    "a gzip bomb": fails(AnswerTooLargeError),
    "an unknown encoding": fails(ProtocolError),
    "gzip twice": fails(ProtocolError),
    "blank lines without end": by_group(
        # It depends on the speed of the machine which of the two bounds fires first.
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
            "not JSON",
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
    "null for the text": good(check=has_text(" there, friend.")),
    "a lone surrogate": good(check=has_text("a\ufffdb there, friend.")),
    "NUL in the text": good(check=has_text("a\x00b there, friend.")),
    "odd line endings in the text": good(check=has_text("a\u2028b\u0085c\rd\ne there, friend.")),
    "a character cut in two": good(check=has_text("€ there, friend.")),
}


def _has_calls(*calls: Any) -> Callable[[Any], bool]:
    return lambda result: (
        tuple((call.id, call.name, dict(call.arguments)) for call in result.tool_calls) == calls
    )


def _warns(result: Any) -> bool:
    return any("another" in warning for warning in result.warnings)


WRONG_MODEL: Mapping[str, Outcome] = {
    "*": fails(WrongModelError, check=lambda e: e.served == "another"),
    # LM Studio's model list is requested on another connection, which is kept.
    "lmstudio": Outcome(WrongModelError, check=lambda e: e.served == "another"),
    "openai": good(check=_warns),
    "anthropic": good(check=_warns),
    # Both may be names of one model. The list that shows this is requested on another connection.
    "llamacpp": Outcome(None, check=_warns),
}


def _is_idle_limit(error: Any) -> bool:
    return bool(error.limit == "idle_s" and error.retryable)


# The last record is missing, and the dialect has no other sign of a complete answer.
_ALMOST = Outcome(StreamInterruptedError, kept=False, partial=TEXT)

STREAMS: Dict[str, Outcomes] = {
    **dict.fromkeys(
        (
            "CRLF line endings",
            "CR line endings",
            "blank lines between",
            "no line ending at the end",
            "comments and pings",
            "every field of an event",
            "no blank after the colon",
            "data over many lines",
            "an event that is no data",
        ),
        good(check=has_text(TEXT)),
    ),
    "a byte order mark": {"*": good(check=has_text(TEXT)), "ollama": fails(ProtocolError)},
    # In OpenAI's dialect the finish reason and the end of the body make the answer complete.
    "no last record": {
        "*": good(check=has_text(TEXT)),
        **dict.fromkeys(("ollama", "anthropic"), _ALMOST),
    },
    "no last record, then closed": {
        "*": Outcome(None, check=has_text(TEXT)),
        **dict.fromkeys(("ollama", "anthropic"), _ALMOST),
    },
    "no finish reason and no last record": Outcome(
        StreamInterruptedError, kept=False, partial=TEXT
    ),
    "a repetition that the server ends": fails(
        RepetitionError, partial=FIRST + REPEATED, check=lambda error: "penalty" in error.hint
    ),
    "a repetition, then closed": fails(
        StreamInterruptedError, partial=FIRST + REPEATED, check=is_retryable
    ),
    "nothing but the last record": fails(ProtocolError),
    "text after the last record": good(kept=False, check=has_text(TEXT)),
    "silence after the last record": good(kept=False, check=has_text(TEXT)),
    "a named error event": ERROR_IN_STREAM,
    **{f"an error in mid-stream: {name}": ERROR_IN_STREAM for name in ERROR_RECORDS},
    "another model": WRONG_MODEL,
    "another model in mid-stream": WRONG_MODEL,
    "an answer from the cloud": fails(LocalityError),
    "a load instead of an answer": fails(ProtocolError),
    "a record that is not done and not undone": fails(ProtocolError),
    "several choices": fails(ProtocolError),
    "choices that are not a list": fails(ProtocolError),
    "tool-call pieces out of order": good(
        check=_has_calls(("one", "f", {"a": 1}), ("two", "g", {"b": 2}))
    ),
    "tool-call pieces twice": Outcome(ToolCallError, partial=TEXT),
    "a tool call never finished": Outcome(ToolCallError, partial=TEXT),
    "a tool call without a name": Outcome(ToolCallError, partial=TEXT),
    "tool calls that are not a list": fails(ToolCallError, partial=FIRST),
    "a tool call that is not an object": fails(ToolCallError, partial=FIRST),
    "a tool call whose arguments are a list": fails(ToolCallError, partial=FIRST),
    "a tool call whose arguments are text": good(check=_has_calls(("call_1", "f", {"a": 1}))),
    "an error of overload in mid-stream": Outcome(
        ServerBusyError, kept=False, partial=FIRST, sent=1
    ),
    **dict.fromkeys(
        ("events of unknown types", "no end of a block", "the first record twice"),
        good(check=has_text(TEXT)),
    ),
    **dict.fromkeys(
        (
            "an event without a type",
            "a delta of no block",
            "a delta without an index",
            "a delta that is a text",
            "two blocks with one index",
        ),
        fails(ProtocolError, partial=FIRST),
    ),
    "a block before the first record": fails(ProtocolError),
    "a call of a tool without an end": Outcome(ToolCallError, partial=TEXT),
    "a call of a tool without a name": Outcome(ToolCallError, partial=TEXT),
}

_BY_STATUS: Dict[int, Any] = {
    400: RequestRejectedError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: RequestRejectedError,
    405: RequestRejectedError,
    408: ServerBusyError,
    409: RequestRejectedError,
    413: RequestRejectedError,
    422: RequestRejectedError,
    429: ServerBusyError,
    500: ServerError,
    501: ServerError,
    502: ServerBusyError,
    503: ServerBusyError,
    504: ServerBusyError,
    529: ServerBusyError,
}
# A redirect is not followed.
_REDIRECTED = fails(ProtocolError, kept=True)
_BUSY = fails(ServerBusyError, kept=True)
# Without the route below /v1, the route beside it is tried, on a connection of its own.
_NO_ROUTE = Outcome(UnsupportedError, sent=2)
_NO_WEB_PAGE = Outcome(RequestRejectedError, sent=2)
# The server is not started for ranking.
_WRONG_START = fails(CapabilityError, kept=True)

STATUSES: Dict[str, Outcomes] = {
    **{
        f"status {code} with {kind}": fails(_BY_STATUS[code], kept=True)
        for code in statuses.STATUSES
        for kind in statuses.BODY_KINDS
    },
    **{
        f"status {code} with {kind}": {
            "*": fails(_BY_STATUS[code], kept=True),
            "lmstudio list": good(),  # without the newer list, the older one is used
            "llamacpp rerank": (_NO_WEB_PAGE if kind == "HTML" else _NO_ROUTE)._replace(sent=1),
            "rerank": _NO_WEB_PAGE if kind == "HTML" else _NO_ROUTE,
        }
        for code in (404, 405)
        for kind in statuses.BODY_KINDS
    },
    **{
        f"status 501 with {kind}": {"*": fails(ServerError, kept=True), "rerank": _WRONG_START}
        for kind in statuses.BODY_KINDS
        if kind != "HTML"
    },
    **{f"redirect {code}": _REDIRECTED for code in statuses.REDIRECTS},
    "a redirect to nowhere": _REDIRECTED,
    "a redirect to rubbish": _REDIRECTED,
    "several choices of address": _REDIRECTED,
    "not modified": _REDIRECTED,
    "a refresh header": good(),
    "a cookie": good(),
    "a login page": by_group(fails(ProtocolError), fails(ProtocolError, kept=True)),
    "a challenge": fails(AuthenticationError, kept=True),
    "an error body stalled": _STALLED_REASON,
    "an error body dripped": _STALLED_REASON,
    "an error body without end": fails(ServerError),
    "an error body cut": fails(ServerError),
    "an error body that is not UTF-8": REFUSED,
    "an error nested too deep": REFUSED,
    "an error body wrongly labelled as gzip": fails(ServerError),
    "an unexpected endpoint": {
        "streams": fails(ServerError),
        "bodies": fails(ServerError, kept=True),
        "lmstudio streams": fails(UnsupportedError),
        "lmstudio embed": fails(UnsupportedError, kept=True),
        "lmstudio decide": fails(UnsupportedError, kept=True),
        "lmstudio decisions": fails(UnsupportedError, kept=True),
        "rerank": fails(UnsupportedError, kept=True),
        "lmstudio list": good(),  # the older list is used
    },
    "a busy server whose error body is cut": fails(ServerBusyError),
    "a full queue": _BUSY,
    "a model that is still loading": {  # Ollama sends nothing while it loads a model
        "*": Outcome(LimitError, kept=True, limit="load_s"),
        "ollama": _BUSY,
    },
    "too many requests, retry at once": _BUSY,
    "too many requests until a date": _BUSY,
    "too many requests for a year": Outcome(ServerBusyError, kept=True, sent=1),
    "a Retry-After that is not a time": _BUSY,
    **{f"an error under status 200: {name}": REFUSED for name in ERROR_RECORDS},
}

# Statuses with another meaning for a decision: the route is missing, the state is too long, the
# model is no decision model.
_OF_DECISIONS: Mapping[int, Any] = {
    404: UnsupportedError,
    405: UnsupportedError,
    413: ContextOverflowError,
    501: CapabilityError,
}
for _code, _error in _OF_DECISIONS.items():
    for _kind in statuses.BODY_KINDS:
        _usual = STATUSES[f"status {_code} with {_kind}"]
        if _code != 501 or _kind in ("JSON", "text"):  # the others do not say what is missing
            STATUSES[f"status {_code} with {_kind}"] = {
                **({"*": _usual} if isinstance(_usual, Outcome) else _usual),
                **dict.fromkeys(("decide", "decisions"), fails(_error, kept=True)),
            }


def _failures(*indexes: int) -> Callable[[Any], bool]:
    return lambda e: (
        set(e.failures) == set(indexes) and set(e.embedded) == set(range(len(TEXTS))) - set(indexes)
    )


# The response does not show which text is the cause, so each text is sent alone.
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
    "base64 vectors that end inside a number": _NO_VECTORS,
    "vectors in another order": {"*": good(), "ollama": _GOOD_ALONE},
    "vectors under one index": _GOOD_ALONE,
    "vectors under strange indexes": {"*": _NO_VECTORS, "ollama": _GOOD_ALONE},
    "vectors of another model": {
        "*": fails(WrongModelError, kept=True),
        "openai": good(check=_warns),
        "llamacpp": good(check=_warns),
    },
    "a number for the list": fails(ProtocolError, kept=True),
    "a text for the list": fails(ProtocolError, kept=True),
    "texts in the list": fails(ProtocolError, kept=True),
    "nulls in the list": good(),
    "an empty list": good(check=lambda result: result == []),
    # Only a call with `expect_digest` notices these two.
    "other digests": good(),
    "each model twice": good(),
    "models without a name": fails(ProtocolError, kept=True),
}

_NO_RANKING = fails(ProtocolError, kept=True)


def _is_sorted(result: Any) -> bool:
    return [ranked.index for ranked in result] == [1, 0]


RANKINGS: Dict[str, Outcomes] = {
    "an index beyond the documents": _NO_RANKING,
    "a negative index of a document": _NO_RANKING,
    "null for an index of a document": _NO_RANKING,
    "a text for an index of a document": _NO_RANKING,
    "one document ranked twice": _NO_RANKING,
    "results without an index": _NO_RANKING,
    "results without a score": _NO_RANKING,
    "null for a score": _NO_RANKING,
    "a text for a score": _NO_RANKING,
    "true for a score": _NO_RANKING,
    "NaN for a score": _NO_RANKING,
    "infinity for a score": _NO_RANKING,
    "too many results": _NO_RANKING,
    "too few results": _NO_RANKING,
    "no results": _NO_RANKING,
    "null for the results": _NO_RANKING,
    "texts in the results": _NO_RANKING,
    "results that are not sorted": good(check=_is_sorted),
    "a ranking of another model": good(check=_warns),
}

#: The outcome of a transfer (pull, push, create) that meets the fault.
TRANSFERS: Dict[str, Outcomes] = {
    "a transfer that stands still": fails(LimitError, check=_is_idle_limit),
    "a transfer whose progress goes up and down": fails(LimitError, check=_is_idle_limit),
    "a transfer that goes back": good(),
    "a transfer without success": Outcome(StreamInterruptedError, check=is_retryable),
    "a transfer without success, then closed": _CUT,
    "silent work": fails(LimitError, check=lambda error: error.limit == "load_s"),
    "slow work": good(),
    "a report without a status": fails(ProtocolError),
    "a transfer that fails: no such model": Outcome(ModelNotFoundError),
    "a transfer that fails: a server too old": Outcome(UnsupportedError),
    "a transfer that fails: no permission": Outcome(AuthenticationError),
    "a transfer that fails: another platform": Outcome(UnsupportedError),
    **{
        f"a transfer that fails: {what}": Outcome(ServerError, check=lambda error: error.retryable)
        for what in ("a corrupt file", "a bad connection", "no connection")
    },
}

_WRONG_DECISION = fails(ProtocolError, kept=True)

#: The outcome of a decision that meets the fault.
DECISIONS: Dict[str, Outcomes] = {
    **dict.fromkeys(
        (
            "probabilities with a wrong sum",
            "a probability above one",
            "a missing option",
            "another option",
            "no options",
            "probabilities that are not numbers",
            "an infinite probability",
            "a negative probability",
            "probabilities as text",
            "null for the probabilities",
            "probabilities in the other form",
            "answers to other questions",
            "a missing answer",
            "answers in the other form",
            "null for the answers",
            "texts for the answers",
        ),
        _WRONG_DECISION,
    ),
    "decisions of another model": {
        "*": fails(WrongModelError, kept=True),
        "openai": good(check=_warns),
        "llamacpp": good(check=_warns),
    },
    "a legend as a list": good(),
    "a refused question": good(),
}

#: Every fault of the catalogue; a test checks that none is missing.
EXPECTED: Dict[str, Outcomes] = {
    **HEADS,
    **BODIES,
    **RECORDS,
    **STREAMS,
    **STATUSES,
    **VECTORS,
    **RANKINGS,
    **TRANSFERS,
    **DECISIONS,
}
