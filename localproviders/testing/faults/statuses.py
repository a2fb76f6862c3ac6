"""Faults in the status and the headers: error statuses, redirects, and others."""

from __future__ import annotations

from typing import Callable, Iterable, Mapping, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.faults.fault import BODIES, Fault, close, drip, flood, hold
from localproviders.testing.faults.streams import ERROR_RECORDS
from localproviders.testing.scripted import Step

#: The error statuses. There is a fault for each status with each of `BODY_KINDS`.
STATUSES: Mapping[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Payload Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    529: "Site Overloaded",
}

#: The media type and the bytes of each body of an error response, by name.
BODY_KINDS: Mapping[str, Tuple[str, bytes]] = {
    "JSON": ("application/json", b'{"error": "it went wrong"}'),
    "HTML": ("text/html", b"<!doctype html><html><h1>It went wrong</h1></html>"),
    "text": ("text/plain", b"it went wrong"),
    "nothing": ("application/json", b""),
}

REDIRECTS: Mapping[str, str] = {
    "301": "http://127.0.0.1:1/elsewhere",
    "302": "http://127.0.0.1:1/elsewhere",
    "303": "/elsewhere",
    "307": "//127.0.0.1:1/elsewhere",
    "308": "https://127.0.0.1:1/elsewhere",
}


def _status_answer(
    status: str, body: bytes, media: str = "application/json", *headers: Tuple[str, str]
) -> Answer:
    return Answer([body.decode()], status=status, content_type=media, headers=headers)


def _status(
    status: str, body: bytes, media: str = "application/json", *headers: Tuple[str, str]
) -> Callable[[Answer], Iterable[Step]]:
    return lambda _: _status_answer(status, body, media, *headers).steps()


def _without_length(status: str, *further: Step) -> Callable[[Answer], Iterable[Step]]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n\r\nit went wrong"
    return lambda _: [head.encode(), *further]


_BROKE = b'{"error": "it went wrong"}'

STATUS_FAULTS: Tuple[Fault, ...] = (
    *(
        Fault(f"status {code} with {kind}", _status(f"{code} {words}", body, media))
        for code, words in STATUSES.items()
        for kind, (media, body) in BODY_KINDS.items()
    ),
    *(
        Fault(f"redirect {code}", _status(f"{code} Elsewhere", b"", "text/html", ("Location", to)))
        for code, to in REDIRECTS.items()
    ),
    Fault("a redirect to nowhere", _status("302 Found", b"")),
    Fault(
        "a redirect to rubbish", _status("302 Found", b"", "text/html", ("Location", "http://["))
    ),
    Fault("several choices of address", _status("300 Multiple Choices", b"")),
    Fault("not modified", lambda _: [b"HTTP/1.1 304 Not Modified\r\n\r\n"]),
    Fault(
        "a refresh header",
        lambda a: a.replace(
            headers=[*a.headers, ("Refresh", "0; url=http://127.0.0.1:1/")]
        ).steps(),
    ),
    Fault(
        "a cookie",
        lambda a: a.replace(
            headers=[*a.headers, ("Set-Cookie", "id=1; Path=/; Domain=127.0.0.1")]
        ).steps(),
    ),
    Fault("a login page", _status("200 OK", b"<html>Log in</html>", "text/html")),
    Fault(
        "a challenge",
        _status("401 No", _BROKE, "application/json", ("WWW-Authenticate", 'Basic realm="x"')),
    ),
    Fault("an error body stalled", _without_length("500 Oops", hold)),
    Fault("an error body dripped", _without_length("500 Oops", drip(b"."))),
    Fault("an error body without end", _without_length("500 Oops", flood(b"."))),
    Fault(
        "an error body cut", lambda _: [b"HTTP/1.1 500 Oops\r\nContent-Length: 99\r\n\r\n{", close]
    ),
    Fault(
        "an error body that is not UTF-8",
        lambda _: [b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n\xff\xfe"],
    ),
    Fault("an error nested too deep", _status("500 Oops", b"[" * 100_000)),
    Fault(
        "an error body wrongly labelled as gzip",
        _status("500 Oops", _BROKE, "text/plain", ("Content-Encoding", "gzip")),
    ),
    Fault(
        "an unexpected endpoint",
        _status(
            "200 OK", b'{"error": "Unexpected endpoint or method. (POST /v1/chat). Returning 200"}'
        ),
    ),
    Fault(
        "a busy server whose error body is cut",
        lambda _: [b"HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n\r\n{", close],
    ),
    Fault(
        "a full queue",
        _status(
            "503 Service Unavailable",
            b'{"error": "server busy, please try again.  maximum pending requests exceeded"}',
        ),
    ),
    Fault(
        "a model that is still loading",
        _status(
            "503 Service Unavailable",
            b'{"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}',
        ),
    ),
    Fault(
        "too many requests, retry at once",
        _status("429 Too Many Requests", b"", "text/plain", ("Retry-After", "0")),
    ),
    Fault(
        "too many requests until a date",
        _status(
            "429 Too Many Requests",
            b"",
            "text/plain",
            ("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ),
    ),
    Fault(
        "too many requests for a year",
        _status("429 Too Many Requests", b"", "text/plain", ("Retry-After", "31536000")),
    ),
    Fault(
        "a Retry-After that is not a time",
        _status("429 Too Many Requests", b"", "text/plain", ("Retry-After", "soon, -1, NaN")),
    ),
    *(
        Fault(f"an error under status 200: {name}", _status("200 OK", text.encode()), BODIES)
        for name, text in ERROR_RECORDS.items()
    ),
)
