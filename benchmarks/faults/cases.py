"""The cases: what goes wrong, made to happen to a client from outside."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from localproviders.testing import FakeServer, ScriptedServer
from localproviders.testing.fake import vector_of
from localproviders.testing.faults import FAULTS
from tests.faults import expected, rows
from tests.faults.bench import BACKENDS, FORMS, TEXT, TEXTS, Backend, Outcome
from tests.faults.expected import outcome_of

from .session import Came, Session


class Seen(NamedTuple):
    """What came of a faulty call, and of the same call after it without the fault."""

    came: Came
    after: Optional[Came]
    leaked: bool = False


Run = Callable[[Session, Backend, str], Seen]


class Case(NamedTuple):
    """A row of the table, for one kind of server and one call form."""

    family: str
    row: str
    form: str
    outcome: Outcome
    run: Run
    environment: str = ""


# --- faults of an answer ----------------------------------------------------------------------


def struck_by(name: str, which: str = "") -> Run:
    """Let the fault strike one call; over TLS if a certificate is named."""
    large = name.startswith("refused while the request is sent")

    def run(session: Session, backend: Backend, form: str) -> Seen:
        context = rows.TLS[which]() if which else None
        with backend.start(tls=context) as server:
            session.connect(server.url, rows.certificates().path if which else None)
            server.break_next(name, times=None, path=path_of(backend, session, form))
            came = session.call(form, large)
            server.heal()
            return Seen(came, _after(session, came, form))

    return run


def path_of(backend: Backend, session: Session, form: str) -> str:
    """The path that this client asks for this form; empty is the usual one."""
    if form != "list":
        return ""
    return "/v1/models" if session.client.module == "openai_package" else backend.list_path


def _after(session: Session, came: Came, form: str) -> Optional[Came]:
    return None if came.hung else session.call(form)


# --- faults of the connection -----------------------------------------------------------------


def refused(session: Session, backend: Backend, form: str) -> Seen:
    with backend.start() as server:
        session.connect(server.url)
        with server.down():
            came = session.call(form)
        return Seen(came, _after(session, came, form))


def restarted(session: Session, backend: Backend, form: str) -> Seen:
    with backend.start() as server:
        session.connect(server.url)
        session.call(form)
        with server.down():
            pass
        came = session.call(form)
        return Seen(came, _after(session, came, form))


def nobody_accepts(backlog: int) -> Run:
    """Let the system answer for a server that does not, or let nobody answer at all."""

    def run(session: Session, backend: Backend, form: str) -> Seen:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
            address = listener.getsockname()
            for _ in range(0 if backlog else 4):  # take every place in its queue
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(address)
            session.connect(f"http://127.0.0.1:{address[1]}")
            came = session.call(form)
        with backend.start(port=address[1]):
            return Seen(came, _after(session, came, form))

    return run


# --- TLS --------------------------------------------------------------------------------------


def certified(which: str) -> Run:
    """Serve with a certificate."""

    def run(session: Session, backend: Backend, form: str) -> Seen:
        with backend.start(tls=rows.TLS[which]()) as server:
            session.connect(server.url, rows.certificates().path)
            came = session.call(form)
            return Seen(came, _after(session, came, form) if which == "right" else None)

    return run


def wrong_scheme(tls: bool) -> Run:
    """Speak TLS to a plain port, or the reverse."""

    def run(session: Session, backend: Backend, form: str) -> Seen:
        with backend.start(tls=None if tls else rows.TLS["right"]()) as server:
            url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
            session.connect(url, rows.certificates().path)
            return Seen(session.call(form), None)

    return run


# --- the surroundings -------------------------------------------------------------------------

PROXY_ANSWER = b"HTTP/1.1 500 Proxy\r\nContent-Length: 0\r\n\r\n"


@contextlib.contextmanager
def surroundings(name: str, proxy: ScriptedServer) -> Iterator[Mapping[str, str]]:
    """Give the variables of an environment that must not matter."""
    if name != ".netrc":
        yield {name: proxy.url} if name else {}
        return
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / ".netrc"
        path.write_text("default login me password hunter2\n")
        path.chmod(0o600)
        yield {"HOME": home, "NETRC": str(path)}


def surrounded(proxy: ScriptedServer) -> Run:
    """Make a good call in the environment that the session was started in."""

    def run(session: Session, backend: Backend, form: str) -> Seen:
        asked = len(proxy.exchanges)
        with backend.start() as server:
            session.connect(server.url)
            came = session.call(form)
            after = _after(session, came, form)
            keys = [e.headers.get("authorization", "") for e in server.exchanges]
        leaked = len(proxy.exchanges) > asked or any(key.startswith("Basic") for key in keys)
        return Seen(came, after, leaked)

    return run


# --- which ------------------------------------------------------------------------------------

_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "head": expected.HEADS,
    "body": expected.BODIES,
    "records": expected.RECORDS,
    "streams": expected.STREAMS,
    "statuses": expected.STATUSES,
    "vectors": expected.VECTORS,
}
FAMILIES = (*_FAMILIES, "connection", "TLS", "environment")

#: Told in a line of its own: what a client does when another model answers.
ANOTHER = ("another model", "another model in mid-stream", "vectors of another model")


#: What only this package expects, or cannot keep: it packs vectors as 32-bit floats.
_OURS = (
    "an answer from the cloud",
    "models without a name",
    "an unexpected endpoint",
    "a number too large for a vector",
)
#: Ollama's vectors have no indexes; there these would be one row three times.
_INDEXES = ("vectors in another order", "vectors under one index", "vectors under strange indexes")


def left_out(name: str, backend: str) -> bool:
    """Whether the expectation is of this package only, or the caller's work elsewhere."""
    calls = "tool call" in name or "tool-call" in name
    return name in _OURS or calls or (backend == "ollama" and name in _INDEXES)


_AROUND: Tuple[Tuple[str, str, Run], ...] = (
    ("connection", "refused", refused),
    ("connection", "unreachable", nobody_accepts(0)),
    ("connection", "accepted and silent", nobody_accepts(16)),
    ("connection", "restarted between calls", restarted),
    ("TLS", "TLS", certified("right")),
    *(
        ("TLS", f"a certificate: {which}", certified(which))
        for which in ("wrong name", "expired", "of another authority")
    ),
    ("TLS", "TLS to a plain port", wrong_scheme(True)),
    ("TLS", "plain to a TLS port", wrong_scheme(False)),
    *(
        ("TLS", f"TLS: {fault}", struck_by(fault, "right"))
        for fault in (
            "body cut",
            "HTTP/1.0 cut",
            "silence",
            "body stalled",
            "closed without an answer",
            "a second answer behind the first",
        )
    ),
)
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy", ".netrc")


def cases(backend: str, whole_bodies: bool, proxy: ScriptedServer) -> List[Case]:
    """Every case for a server.

    Args:
        backend: The name of the server.
        whole_bodies: Whether the client asks for one body where it does not stream.
        proxy: The proxy of the environments.
    """
    made: List[Case] = []
    for fault in FAULTS:
        family = next(name for name, table in _FAMILIES.items() if fault.name in table)
        for form in FORMS:
            if not left_out(fault.name, backend) and _applies(fault.kinds, backend, form):
                outcome = outcome_of(
                    expected.EXPECTED[fault.name], backend, _judged_as(form, whole_bodies)
                )
                made.append(Case(family, fault.name, form, outcome, struck_by(fault.name)))
    for family, name, run in _AROUND:
        for form in FORMS:
            outcomes = rows.ROWS[name].outcomes
            outcome = outcome_of(outcomes, backend, _judged_as(form, whole_bodies))
            made.append(Case(family, name, form, outcome, run))
    for name in VARIABLES:
        for form in FORMS:
            made.append(Case("environment", name, form, Outcome(), surrounded(proxy), name))
    return made


def _applies(kinds: Tuple[str, ...], backend: str, form: str) -> bool:
    """Whether a fault can happen; a whole answer takes those of streams and bodies alike."""
    kind = BACKENDS[backend].kind(form)
    return kind in kinds and (form != "complete" or "vectors" in kinds)


def _judged_as(form: str, whole_bodies: bool) -> str:
    return "embed" if form == "complete" and whole_bodies else form


def good_answers(server: FakeServer) -> Dict[str, Any]:
    """What each form gives without a fault."""
    names = [model.name for model in server.models]
    vectors = [vector_of(text, server.models[1].dimensions) for text in TEXTS]
    return {"complete": TEXT, "stream": TEXT, "embed": vectors, "list": names}
