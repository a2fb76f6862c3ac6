"""The cases of the comparison: faults that a server makes while a client calls it."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from localproviders.testing import FakeServer, ScriptedServer
from localproviders.testing.fake import vector_of
from localproviders.testing.faults import FAULTS
from tests.promises.faults import expected, rows
from tests.promises.faults.bench import BACKENDS, FORMS, TEXT, TEXTS, Backend, Outcome
from tests.promises.faults.expected import outcome_of

from .session import CallResult, Session


class CaseResult(NamedTuple):
    """The result of a call with a fault, and of the same call again, without the fault.

    `leaked` is true if the client contacted the proxy or sent credentials.
    """

    call: CallResult
    next_call: Optional[CallResult]
    leaked: bool = False


Run = Callable[[Session, Backend, str], CaseResult]


class Case(NamedTuple):
    """A row of the table of faults, for one kind of server and one form of a call.

    The forms are ``complete``, ``stream``, ``embed`` and ``list``.
    """

    family: str
    row: str
    form: str
    outcome: Outcome
    run: Run
    environment: str = ""


# --- faults of a response --------------------------------------------------------------------


def strike(name: str, which: str = "") -> Run:
    """Return a run in which the server makes this fault; with a certificate, over TLS."""
    large = name.startswith("refused while the request is sent")

    def run(session: Session, backend: Backend, form: str) -> CaseResult:
        context = rows.TLS[which]() if which else None
        with backend.start(tls=context) as server:
            session.connect(server.url, rows.certificates().path if which else None)
            server.break_next(name, times=None, path=path_of(backend, session, form))
            result = session.call(form, large)
            server.heal()
            return CaseResult(result, _next_call(session, result, form))

    return run


def path_of(backend: Backend, session: Session, form: str) -> str:
    """Return the path that this client requests for this form; empty means the usual one."""
    if form != "list":
        return ""
    return "/v1/models" if session.client.module == "openai_package" else backend.list_path


def _next_call(session: Session, result: CallResult, form: str) -> Optional[CallResult]:
    return None if result.hung else session.call(form)


# --- faults of the connection -----------------------------------------------------------------


def refused(session: Session, backend: Backend, form: str) -> CaseResult:
    with backend.start() as server:
        session.connect(server.url)
        with server.down():
            result = session.call(form)
        return CaseResult(result, _next_call(session, result, form))


def restarted(session: Session, backend: Backend, form: str) -> CaseResult:
    with backend.start() as server:
        session.connect(server.url)
        session.call(form)
        with server.down():
            pass
        result = session.call(form)
        return CaseResult(result, _next_call(session, result, form))


def never_accepted(backlog: int) -> Run:
    """Return a run in which the server never accepts the connection.

    With a backlog, the operating system completes the connection, but no response comes. With a
    backlog of 0, the queue of the socket is full, so the connection is never completed.
    """

    def run(session: Session, backend: Backend, form: str) -> CaseResult:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
            address = listener.getsockname()
            for _ in range(0 if backlog else 4):  # fill the queue
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(address)
            session.connect(f"http://127.0.0.1:{address[1]}")
            result = session.call(form)
        with backend.start(port=address[1]):
            return CaseResult(result, _next_call(session, result, form))

    return run


# --- TLS --------------------------------------------------------------------------------------


def with_certificate(which: str) -> Run:
    """Return a run in which the server has this certificate."""

    def run(session: Session, backend: Backend, form: str) -> CaseResult:
        with backend.start(tls=rows.TLS[which]()) as server:
            session.connect(server.url, rows.certificates().path)
            result = session.call(form)
            return CaseResult(
                result, _next_call(session, result, form) if which == "right" else None
            )

    return run


def wrong_scheme(tls: bool) -> Run:
    """Return a run with TLS to a port for plain HTTP, or with plain HTTP to a port for TLS."""

    def run(session: Session, backend: Backend, form: str) -> CaseResult:
        with backend.start(tls=None if tls else rows.TLS["right"]()) as server:
            url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
            session.connect(url, rows.certificates().path)
            return CaseResult(session.call(form), None)

    return run


# --- the environment --------------------------------------------------------------------------

PROXY_ANSWER = b"HTTP/1.1 500 Proxy\r\nContent-Length: 0\r\n\r\n"


@contextlib.contextmanager
def environment_variables(name: str, proxy: ScriptedServer) -> Iterator[Mapping[str, str]]:
    """Yield environment variables that must not change a call to a loopback address."""
    if name != ".netrc":
        yield {name: proxy.url} if name else {}
        return
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / ".netrc"
        path.write_text("default login me password hunter2\n")
        path.chmod(0o600)
        yield {"HOME": home, "NETRC": str(path)}


def in_environment(proxy: ScriptedServer) -> Run:
    """Return a run without a fault, which notices requests to the proxy and sent credentials."""

    def run(session: Session, backend: Backend, form: str) -> CaseResult:
        requests_before = len(proxy.exchanges)
        with backend.start() as server:
            session.connect(server.url)
            result = session.call(form)
            next_call = _next_call(session, result, form)
            keys = [e.headers.get("authorization", "") for e in server.exchanges]
        leaked = len(proxy.exchanges) > requests_before or any(
            key.startswith("Basic") for key in keys
        )
        return CaseResult(result, next_call, leaked)

    return run


# --- the list of cases ------------------------------------------------------------------------

_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "head": expected.HEADS,
    "body": expected.BODIES,
    "records": expected.RECORDS,
    "streams": expected.STREAMS,
    "statuses": expected.STATUSES,
    "vectors": expected.VECTORS,
}
FAMILIES = (*_FAMILIES, "connection", "TLS", "environment")

#: Rows in which another model than the requested one answers. The report counts them separately.
ANOTHER = ("another model", "another model in mid-stream", "vectors of another model")


#: Rows whose expected outcome is a rule of this package only. For example, the number of the last
#: row is too large for a 32-bit float, and this package packs vectors as 32-bit floats.
_OWN_RULES = (
    "an answer from the cloud",
    "models without a name",
    "an unexpected endpoint",
    "a number too large for a vector",
)
#: Rows about the indexes of vectors. Ollama sends no indexes, so for Ollama, all three rows would
#: be the same fault.
_INDEXES = ("vectors in another order", "vectors under one index", "vectors under strange indexes")


def is_left_out(name: str, backend: str) -> bool:
    """Return whether a row is left out.

    A row is left out if its expected outcome is a rule of this package only, or if it is about tool
    calls, because with other clients, the caller assembles the pieces of a tool call. For Ollama,
    rows about the indexes of vectors are left out, too.
    """
    calls = "tool call" in name or "tool-call" in name
    return name in _OWN_RULES or calls or (backend == "ollama" and name in _INDEXES)


_OTHER_ROWS: Tuple[Tuple[str, str, Run], ...] = (
    ("connection", "refused", refused),
    ("connection", "unreachable", never_accepted(0)),
    ("connection", "accepted and silent", never_accepted(16)),
    ("connection", "restarted between calls", restarted),
    ("TLS", "TLS", with_certificate("right")),
    *(
        ("TLS", f"a certificate: {which}", with_certificate(which))
        for which in ("wrong name", "expired", "of another authority")
    ),
    ("TLS", "TLS to a plain port", wrong_scheme(True)),
    ("TLS", "plain to a TLS port", wrong_scheme(False)),
    *(
        ("TLS", f"TLS: {fault}", strike(fault, "right"))
        for fault in (
            "body cut",
            "HTTP/1.0 cut",
            "silence",
            "body stalled",
            "closed without an answer",
            "a second answer after the first",
        )
    ),
)
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy", ".netrc")


def cases(backend: str, single_bodies: bool, proxy: ScriptedServer) -> List[Case]:
    """Return all cases for a server.

    Args:
        backend: The name of the server.
        single_bodies: Whether the client requests a single body for calls that do not stream.
        proxy: The proxy that the environment variables name.
    """
    listed: List[Case] = []
    for fault in FAULTS:
        family = next((name for name, table in _FAMILIES.items() if fault.name in table), "")
        if not family:
            continue  # a fault of a ranking, a decision or a download, which no form here makes
        for form in FORMS:
            if not is_left_out(fault.name, backend) and _applies(fault.kinds, backend, form):
                outcome = outcome_of(
                    expected.EXPECTED[fault.name], backend, _judged_as(form, single_bodies)
                )
                listed.append(Case(family, fault.name, form, outcome, strike(fault.name)))
    for family, name, run in _OTHER_ROWS:
        for form in FORMS:
            outcomes = rows.ROWS[name].outcomes
            outcome = outcome_of(outcomes, backend, _judged_as(form, single_bodies))
            listed.append(Case(family, name, form, outcome, run))
    for name in VARIABLES:
        for form in FORMS:
            listed.append(Case("environment", name, form, Outcome(), in_environment(proxy), name))
    return listed


def _applies(kinds: Tuple[str, ...], backend: str, form: str) -> bool:
    """Return whether a fault can happen in a call of this form.

    For `complete`, some clients stream and others request a single body, so a fault
    must be possible in both.
    """
    kind = BACKENDS[backend].kind(form)
    return kind in kinds and (form != "complete" or "vectors" in kinds)


def _judged_as(form: str, single_bodies: bool) -> str:
    return "embed" if form == "complete" and single_bodies else form


def right_answers(server: FakeServer) -> Dict[str, Any]:
    """Return the right answer to each form of a call."""
    names = [model.name for model in server.models]
    vectors = [vector_of(text, server.models[1].dimensions) for text in TEXTS]
    return {"complete": TEXT, "stream": TEXT, "embed": vectors, "list": names}
