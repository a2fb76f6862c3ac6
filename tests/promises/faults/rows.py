"""The rows of the fault table: every fault of the catalogue, and faults of the surroundings."""

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
from tests.promises.faults.bench import ANY_COUNT, BACKENDS, FORMS, LIMITS, Backend, Bench, Outcome
from tests.promises.faults.expected import (
    CUT,
    EXPECTED,
    STALLED,
    Outcomes,
    attempted,
    good,
    outcome_of,
    times_out,
)
from tests.support.fake_time import in_use
from tests.support.timing import GRACE_S


class Row(NamedTuple):
    """One fault, and the expected outcomes of calls.

    Attributes:
        name: The name of the fault.
        outcomes: The expected outcome for each backend and call form.
        run: Causes the fault in a call of a backend and checks the outcome.
        kinds: The kinds of responses that can have the fault.
    """

    name: str
    outcomes: Outcomes
    run: Callable[[Backend, str, Outcome], None]
    kinds: Tuple[str, ...] = KINDS

    def check(self, backend: str, form: str, socket_path: str = "") -> None:
        """Run one case of this row; raise AssertionError if its outcome is not the expected one.

        Args:
            backend: The name of the backend.
            form: The call form.
            socket_path: The UNIX socket on which the server listens; empty for a port.
        """
        made = BACKENDS[backend].over(socket_path) if socket_path else BACKENDS[backend]
        self.run(made, form, outcome_of(self.outcomes, backend, form))

    @property
    def needs_port(self) -> bool:
        """Whether the row is about TLS, or about the queue of a TCP port."""
        return "TLS" in self.name or "certificate" in self.name or self.name in _ABOUT_PORTS


_ABOUT_PORTS = ("unreachable", "accepted and silent")

# --- faults of a response ----------------------------------------------------------------------

_LARGE = ("refused while the request is sent", "refused while the request is sent, then silence")


def every_attempt(fault: Fault) -> Callable[[Backend, str, Outcome], None]:
    """Return a check in which every attempt of one call meets the fault."""

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        with backend.start() as server:
            bench = Bench(backend, form, server, outcome)
            bench.large = fault.name in _LARGE
            server.break_next(fault, times=None, path=bench.path)
            bench.check()
            bench.check_next()
        assert all("cookie" not in exchange.headers for exchange in server.exchanges)

    return run


def first_attempts(name: str, times: int, warm: bool = False) -> Callable[..., None]:
    """Return a check in which only the first attempts of a call meet the fault.

    Args:
        name: The fault.
        times: The number of these attempts.
        warm: Whether the first attempt uses a kept connection.
    """

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
    """Make the call while the server is down."""
    with backend.start() as server:
        bench = Bench(backend, form, server, outcome)
        with server.down():
            bench.check()
        bench.check_next()


def restarted(backend: Backend, form: str, outcome: Outcome) -> None:
    """Restart the server between two calls."""
    with backend.start() as server:
        bench = Bench(backend, form, server, outcome)
        bench.call()
        with server.down():
            pass
        bench.check()
        bench.check_next()


def never_accepted(backlog: int) -> Callable[[Backend, str, Outcome], None]:
    """Return a check of a call to a listener that accepts no connection.

    Args:
        backlog: The size of the listener's queue. With 0 the client cannot connect. Otherwise the
            operating system completes the connection, and the request stays unanswered.
    """

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
            port = listener.getsockname()[1]
            if not backlog:
                _fill(listener.getsockname(), stack)
            server = backend.start()
            fake = in_use()
            if fake is not None:
                stack.enter_context(fake.silent_port(port))
            total_s = LIMITS.total_s if not backlog else 0.25
            limits = LIMITS.replace(connect_s=0.25, total_s=total_s)
            url = f"http://127.0.0.1:{port}"
            bench = Bench(backend, form, server, outcome, url=url, timeout=limits)
            bench.check()
        server.stop()
        with backend.start(port=port) as bench.server:
            bench.check_next()

    return run


def _fill(address: Any, stack: contextlib.ExitStack) -> None:
    """Fill a listener's queue, so that the next client receives no reply to its connect."""
    for _ in range(4):
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(address)


# --- TLS --------------------------------------------------------------------------------------


class Certificates:
    """A certificate authority, the file of its certificate, and the certificates that it signs."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.path = str(Path(tempfile.mkdtemp()) / "ca.pem")
        self.authority.cert_pem.write_to_path(self.path)

    def serve(self, *names: str, **more: Any) -> ssl.SSLContext:
        """Return a server context with a new certificate for these names."""
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
    """Return a check of a call over TLS.

    Args:
        which: The certificate of the server, a key of `TLS`.
        fault: A fault of the response, or empty.
    """

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        with backend.start(tls=TLS[which]()) as server:
            bench = Bench(backend, form, server, outcome, ca_bundle=certificates().path)
            if fault:
                server.break_next(fault, times=None, path=bench.path)
            bench.check()
            if which == "right":
                bench.check_next()
            assert server.wait_for_connections(0, GRACE_S)

    return run


def wrong_scheme(tls: bool) -> Callable[[Backend, str, Outcome], None]:
    """Return a check of a call that uses TLS with a plain port, or plain HTTP with a TLS port."""

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        context = None if tls else TLS["right"]()
        with backend.start(tls=context) as server:
            url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
            bench = Bench(backend, form, server, outcome, url=url, ca_bundle=certificates().path)
            bench.check()
            assert server.wait_for_connections(0, GRACE_S)

    return run


# --- the surroundings -------------------------------------------------------------------------


def in_environment(arrange: Callable[[str], ContextManager[Any]]) -> Callable[..., None]:
    """Return a check of a call with something in the environment that must have no effect."""

    def run(backend: Backend, form: str, outcome: Outcome) -> None:
        with ScriptedServer(b"HTTP/1.1 500 Proxy\r\nContent-Length: 0\r\n\r\n") as proxy:
            with arrange(proxy.url), backend.start() as server:
                bench = Bench(backend, form, server, outcome)
                bench.check()
                bench.check_next()
        assert proxy.exchanges == [], "the proxy received a request"
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


# Depending on its TLS library, the server sends an alert in place of a response, or closes.
TLS_INSTEAD_OF_HTTP = (ProtocolError, StreamInterruptedError)

_SENT_TWICE = Outcome(check=attempted(2), sent=2)
_SAME = good()

AROUND: List[Row] = [
    Row("refused", Outcome(UnreachableError, sent=ANY_COUNT), refused),
    Row(
        "unreachable",
        Outcome(LimitError, limit="connect_s", sent=ANY_COUNT),
        never_accepted(backlog=0),
    ),
    Row("accepted and silent", Outcome(LimitError, sent=ANY_COUNT), never_accepted(backlog=16)),
    Row("restarted between calls", Outcome(sent=ANY_COUNT), restarted),
    Row(
        "a kept connection closed between calls",
        Outcome(check=attempted(2), sent=3),
        first_attempts("closed without an answer", 1, warm=True),
    ),
    Row(
        "a kept connection reset between calls",
        Outcome(check=attempted(2), sent=3),
        first_attempts("reset without an answer", 1, warm=True),
    ),
    Row(
        "a busy server whose words are cut, then fine",
        _SENT_TWICE,
        first_attempts("a busy server whose error body is cut", 1),
    ),
    Row("a full queue, then free", _SENT_TWICE, first_attempts("a full queue", 1)),
    Row(
        "a model that loads, then ready",
        Outcome(check=attempted(3), sent=3),
        first_attempts("a model that is still loading", 2),
    ),
    Row(
        "too many requests, then fine",
        _SENT_TWICE,
        first_attempts("too many requests, retry at once", 1),
    ),
    Row(
        "too many requests until a date, then fine",
        _SENT_TWICE,
        first_attempts("too many requests until a date", 1),
    ),
    *(
        Row(f"status {code} once", _SENT_TWICE, first_attempts(f"status {code} with HTML", 1))
        for code in (408, 429, 502, 503, 504)
    ),
    Row("TLS", good(), over_tls("right")),
    *(
        Row(f"a certificate: {which}", Outcome(CertificateError, sent=ANY_COUNT), over_tls(which))
        for which in ("wrong name", "expired", "of another authority")
    ),
    Row("TLS to a plain port", Outcome(CertificateError, sent=ANY_COUNT), wrong_scheme(tls=True)),
    Row(
        "plain to a TLS port", Outcome(TLS_INSTEAD_OF_HTTP, sent=ANY_COUNT), wrong_scheme(tls=False)
    ),
    *(
        Row(f"TLS: {fault}", outcomes, over_tls("right", fault))
        for fault, outcomes in (
            ("body cut", CUT),
            ("HTTP/1.0 cut", CUT),
            ("silence", times_out()),
            ("body stalled", STALLED),
            ("closed without an answer", EXPECTED["closed without an answer"]),
            ("a second answer after the first", good(kept=False)),
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
        fault.name: Row(fault.name, EXPECTED[fault.name], every_attempt(fault), fault.kinds)
        for fault in FAULTS
        if fault.name in EXPECTED
    },
    **{row.name: row for row in AROUND},
}


def cases() -> List[Tuple[str, str, str]]:
    """Return every row with every backend and each call form that can meet the fault."""
    return [
        (row.name, backend.name, form)
        for row in ROWS.values()
        for backend in BACKENDS.values()
        for form in FORMS
        if backend.kind(form) in row.kinds
    ]
