"""The table: every fault of the catalogue, and what happens around a call."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import ssl
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterator, List, NamedTuple, Tuple
from unittest import mock

import trustme

from localproviders import (
    CertificateError,
    LimitError,
    ProtocolError,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders.testing import ScriptedServer
from localproviders.testing.faults import FAULTS, KINDS, Fault
from tests.faults.bench import ANY, BACKENDS, FORMS, LIMITS, Backend, Bench, Outcome
from tests.faults.expected import (
    CUT,
    EXPECTED,
    STALLED,
    Outcomes,
    attempted,
    good,
    outcome_of,
    times_out,
)


class Row(NamedTuple):
    """One way in which a call can go wrong, and how it is to end.

    Attributes:
        name: What happens.
        outcomes: How each call form ends with each backend.
        run: Makes it happen to a backend and a call form, and looks at everything.
        kinds: The kinds of answers that it can happen to.
    """

    name: str
    outcomes: Outcomes
    run: Callable[[Backend, str, Outcome], None]
    kinds: Tuple[str, ...] = KINDS

    def check(self, backend: str, form: str) -> None:
        """Run one case of this row; an AssertionError says what was not as promised."""
        self.run(BACKENDS[backend], form, outcome_of(self.outcomes, backend, form))


# --- faults of an answer ----------------------------------------------------------------------

_LARGE = ("refused while the request is sent", "refused while the request is sent, then silence")


def struck_by(fault: Fault) -> Callable[[Backend, str, Outcome], None]:
    """Let the fault strike every attempt of one call."""

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        with backend.start() as server:
            bench = Bench(backend, form, server, outcome)
            bench.large = fault.name in _LARGE
            server.break_next(fault, times=None, path=bench.path)
            bench.check()
            bench.check_next()
        assert all("cookie" not in exchange.headers for exchange in server.exchanges)

    return run


def struck_at_first(name: str, times: int, warm: bool = False) -> Callable[..., None]:
    """Let the fault strike the first attempts only, perhaps on a kept connection."""

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        with backend.start() as server:
            bench = Bench(backend, form, server, outcome)
            if warm:
                bench.call()
            server.break_next(name, times=times, path=bench.path)
            bench.check()
            bench.check_next()

    return run


# --- faults of the connection -----------------------------------------------------------------


def refused(backend: Backend, form: str, outcome: Outcome) -> None:
    with backend.start() as server:
        bench = Bench(backend, form, server, outcome)
        with server.down():
            bench.check()
        bench.check_next()


def restarted(backend: Backend, form: str, outcome: Outcome) -> None:
    with backend.start() as server:
        bench = Bench(backend, form, server, outcome)
        bench.call()
        with server.down():
            pass
        bench.check()
        bench.check_next()


def nobody_accepts(backlog: int) -> Callable[[Backend, str, Outcome], None]:
    """Let the system answer for a server that does not, or let nobody answer at all."""

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
            port = listener.getsockname()[1]
            if not backlog:
                _fill(listener.getsockname(), stack)
            server = backend.start()
            limits = LIMITS.replace(connect_s=0.25, total_s=20 if not backlog else 0.25)
            url = f"http://127.0.0.1:{port}"
            bench = Bench(backend, form, server, outcome, url=url, timeout=limits)
            bench.check()
        server.stop()
        with backend.start(port=port) as bench.server:
            bench.check_next()

    return run


def _fill(address: Any, stack: contextlib.ExitStack) -> None:
    """Take every place in a listener's queue, so that the next caller hears nothing."""
    for _ in range(4):
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(address)


# --- TLS --------------------------------------------------------------------------------------


class Certificates:
    """An authority, as a file that clients trust, and what it signs."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.path = str(Path(tempfile.mkdtemp()) / "ca.pem")
        self.authority.cert_pem.write_to_path(self.path)

    def serve(self, *names: str, **more: Any) -> ssl.SSLContext:
        return _context(self.authority.issue_cert(*names, **more))


def _context(leaf: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


@lru_cache(maxsize=None)
def certificates() -> Certificates:
    return Certificates()


def _expired() -> ssl.SSLContext:
    past = datetime.datetime(2002, 1, 1, tzinfo=datetime.timezone.utc)
    return certificates().serve("127.0.0.1", not_after=past)


TLS: Dict[str, Callable[[], ssl.SSLContext]] = {
    "right": lambda: certificates().serve("127.0.0.1"),
    "wrong name": lambda: certificates().serve("example.org"),
    "expired": _expired,
    "of another authority": lambda: _context(trustme.CA().issue_cert("127.0.0.1")),
}


def over_tls(which: str, fault: str = "") -> Callable[[Backend, str, Outcome], None]:
    """Serve with a certificate, which may be wrong, and perhaps a fault behind it."""

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        with backend.start(tls=TLS[which]()) as server:
            bench = Bench(backend, form, server, outcome, ca_bundle=certificates().path)
            if fault:
                server.break_next(fault, times=None, path=bench.path)
            bench.check()
            if which == "right":
                bench.check_next()
            assert server.wait_for_connections(0)

    return run


def wrong_scheme(tls: bool) -> Callable[[Backend, str, Outcome], None]:
    """Speak TLS to a plain port, or the reverse."""

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        context = None if tls else TLS["right"]()
        with backend.start(tls=context) as server:
            url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
            bench = Bench(backend, form, server, outcome, url=url, ca_bundle=certificates().path)
            bench.check()
            assert server.wait_for_connections(0)

    return run


# --- the surroundings -------------------------------------------------------------------------


def in_environment(arrange: Callable[[str], ContextManager[Any]]) -> Callable[..., None]:
    """Make the call with something in the environment that must not matter."""

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        with ScriptedServer(b"HTTP/1.1 500 Proxy\r\nContent-Length: 0\r\n\r\n") as proxy:
            with arrange(proxy.url), backend.start() as server:
                bench = Bench(backend, form, server, outcome)
                bench.check()
                bench.check_next()
        assert proxy.exchanges == [], "the proxy was asked"
        assert all("authorization" not in e.headers for e in server.exchanges)

    return run


def _variables(*names: str) -> Callable[[str], ContextManager[Any]]:
    return lambda url: mock.patch.dict(os.environ, dict.fromkeys(names, url))


@contextlib.contextmanager
def _netrc(_: str) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / ".netrc"
        path.write_text("default login me password hunter2\n")
        path.chmod(0o600)
        with mock.patch.dict(os.environ, {"HOME": home, "NETRC": str(path)}):
            yield


# An alert in the place of an answer, or the end of the connection, as its TLS library likes.
NO_HTTP_THERE = (ProtocolError, StreamInterruptedError)

_TRIED_TWICE = Outcome(check=attempted(2), sent=2)
_SAME = good()

AROUND: List[Row] = [
    Row("refused", Outcome(UnreachableError, sent=ANY), refused),
    Row(
        "unreachable",
        Outcome(LimitError, limit="connect_s", sent=ANY),
        nobody_accepts(backlog=0),
    ),
    Row("accepted and silent", Outcome(LimitError, sent=ANY), nobody_accepts(backlog=16)),
    Row("restarted between calls", Outcome(sent=ANY), restarted),
    Row(
        "a kept connection closed between calls",
        Outcome(check=attempted(2), sent=3),
        struck_at_first("closed without an answer", 1, warm=True),
    ),
    Row(
        "a kept connection reset between calls",
        Outcome(check=attempted(2), sent=3),
        struck_at_first("reset without an answer", 1, warm=True),
    ),
    Row(
        "a busy server whose words are cut, then fine",
        _TRIED_TWICE,
        struck_at_first("a busy server whose words are cut", 1),
    ),
    Row("a full queue, then free", _TRIED_TWICE, struck_at_first("a full queue", 1)),
    Row(
        "a model that loads, then ready",
        Outcome(check=attempted(3), sent=3),
        struck_at_first("a model that loads", 2),
    ),
    Row(
        "too many requests, then fine",
        _TRIED_TWICE,
        struck_at_first("too many requests, at once again", 1),
    ),
    Row(
        "too many requests until a date, then fine",
        _TRIED_TWICE,
        struck_at_first("too many requests until a date", 1),
    ),
    *(
        Row(f"status {code} once", _TRIED_TWICE, struck_at_first(f"status {code} with HTML", 1))
        for code in (408, 429, 502, 503, 504)
    ),
    Row("TLS", good(), over_tls("right")),
    *(
        Row(f"a certificate: {which}", Outcome(CertificateError, sent=ANY), over_tls(which))
        for which in ("wrong name", "expired", "of another authority")
    ),
    Row("TLS to a plain port", Outcome(CertificateError, sent=ANY), wrong_scheme(tls=True)),
    Row("plain to a TLS port", Outcome(NO_HTTP_THERE, sent=ANY), wrong_scheme(tls=False)),
    *(
        Row(f"TLS: {fault}", outcomes, over_tls("right", fault))
        for fault, outcomes in (
            ("body cut", CUT),
            ("HTTP/1.0 cut", CUT),
            ("silence", times_out()),
            ("body stalled", STALLED),
            ("closed without an answer", EXPECTED["closed without an answer"]),
            ("a second answer behind the first", good(kept=False)),
            ("a second answer in one piece with the body", good(kept=False)),
        )
    ),
    *(
        Row(f"{name} in the environment", _SAME, in_environment(_variables(name)))
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy")
    ),
    Row("a .netrc for every host", _SAME, in_environment(_netrc)),
]

ROWS: Dict[str, Row] = {
    **{
        fault.name: Row(fault.name, EXPECTED[fault.name], struck_by(fault), fault.kinds)
        for fault in FAULTS
        if fault.name in EXPECTED
    },
    **{row.name: row for row in AROUND},
}


def cases() -> List[Tuple[str, str, str]]:
    """Every row with every backend and every call form that it can happen to."""
    return [
        (row.name, backend.name, form)
        for row in ROWS.values()
        for backend in BACKENDS.values()
        for form in FORMS
        if backend.kind(form) in row.kinds
    ]
