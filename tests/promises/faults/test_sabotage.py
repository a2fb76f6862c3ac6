"""If the code that keeps a promise is broken on purpose, the rows for this promise fail."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, NamedTuple, Tuple

import pytest

from localproviders._dialect import common
from localproviders._http import (
    connection,
    deadline,
    framing,
    response,
    retry,
    session,
    stream,
    transport,
)
from localproviders._http import socket as bounded_socket
from localproviders._http_provider import embedding
from localproviders.errors import ProviderError, StreamInterruptedError
from localproviders.lmstudio.provider import LMStudioProvider
from localproviders.ollama import provider as ollama_provider
from localproviders.ollama.wire import responses as ollama_wire_responses
from localproviders.openai_compatible.wire import rerank as wire_rerank
from localproviders.openai_compatible.wire import responses as dialect_wire_responses
from tests.promises.faults import bench
from tests.promises.faults.rows import ROWS
from tests.support.fake_time import fake_time

Patch = pytest.MonkeyPatch


class Sabotage(NamedTuple):
    """A way to break a promise in the code, and three cases that must detect it.

    Attributes:
        break_code: Breaks the promise with a patch.
        cases: Row, backend and call form of each case.
    """

    break_code: Callable[[Patch], None]
    cases: Tuple[Tuple[str, str, str], ...]


def _accept_missing_ends(patch: Patch) -> None:
    def broken(pull: Callable[..., Any]) -> Callable[..., Any]:
        def ignore_missing_end(self: Any, *more: Any) -> Any:
            try:
                return pull(self, *more)
            except StreamInterruptedError:
                return None

        return ignore_missing_end

    for cls, name in ((stream._Progress, "next_quickly"), (stream.Stream, "_next_chunk")):
        patch.setattr(cls, name, broken(getattr(cls, name)))


def _take_repetitions_for_a_bad_connection(patch: Patch) -> None:
    patch.setattr(stream, "name_repetition", lambda error, text: error)


def _take_a_bad_connection_for_repetitions(patch: Patch) -> None:
    patch.setattr(StreamInterruptedError, "retryable", property(lambda _: False, _ignore))


def _ignore(*_: Any) -> None:
    """Do nothing."""


def _use_environment(patch: Patch) -> None:
    utils, prepare = session.requests.utils, session.requests.Request.prepare

    def proxies(self: Any) -> Any:
        return utils.get_environ_proxies(self._settings.endpoint.url)

    def with_netrc(self: Any) -> Any:
        self.auth = utils.get_netrc_auth(self.url)
        return prepare(self)

    patch.setattr(session.Session, "_choose_proxies", proxies)
    patch.setattr(session.requests.Request, "prepare", with_netrc)


def _leave_connections_open(patch: Patch) -> None:
    let_go = response.Answer._let_go
    left_open = []

    def broken(self: Any, keep: bool) -> None:
        if keep:
            let_go(self, keep)
        else:
            left_open.append((self, self._response, self._parsed))

    patch.setattr(response.Answer, "_let_go", broken)
    patch.setattr(deadline, "shut_down", lambda sock: None)


def _ignore_total_limit(patch: Patch) -> None:
    init = deadline.Call.__init__

    def broken(self: Any, limits: Any, *args: Any, **more: Any) -> None:
        init(self, limits.replace(total_s=math.inf), *args, **more)

    patch.setattr(deadline.Call, "__init__", broken)


def _follow_redirects(patch: Patch) -> None:
    def broken(self: Any, url: str) -> Any:
        vars(self._session).pop("get_redirect_target", None)
        return self._session.send

    patch.setattr(session.Session, "_sender", broken)


class _NeverSet:
    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, *_: object) -> bool:
        return False

    def __set__(self, instance: object, value: object) -> None:
        # The instance may be closed after the test, when the class has no such attribute.
        vars(instance)[self._name] = False


def _reuse_dirty_connections(patch: Patch) -> None:
    patch.setattr(
        bounded_socket.BoundedSocket, "has_leftover", _NeverSet("has_leftover"), raising=False
    )
    patch.setattr(bounded_socket.BoundedSocket, "unsent", _NeverSet("unsent"), raising=False)
    # urllib3 also checks whether a kept connection has unread bytes.
    patch.setattr("urllib3.connectionpool.is_connection_dropped", lambda _: False)


def _accept_every_status(patch: Patch) -> None:
    patch.setattr(transport.Transport, "_refuse", lambda self, answer: None)


def _accept_any_model(patch: Patch) -> None:
    patch.setattr(ollama_provider, "check_served", lambda model, served: None)
    patch.setattr(LMStudioProvider, "_check_served", lambda *_: None)


def _retry_every_failure(patch: Patch) -> None:
    patch.setattr(
        retry.Attempts,
        "wait_before_next",
        lambda self, error: 0.0 if self.number < 3 else None,
    )


def _never_retry(patch: Patch) -> None:
    patch.setattr(retry.Attempts, "wait_before_next", lambda self, error: None)


def _use_json_of_python(patch: Patch) -> None:
    import json

    for name in ("_DECODER", "_SHORT_DECODER"):
        patch.setattr(framing, name, json.JSONDecoder())
    patch.setattr(framing, "weigh", lambda text, max_depth, look: 0)


def _lose_text_so_far(patch: Patch) -> None:
    add = ProviderError.add_context

    def broken(self: Any, **facts: Any) -> None:
        facts.pop("partial", None)
        add(self, **facts)

    patch.setattr(ProviderError, "add_context", broken)


def _close_every_connection(patch: Patch) -> None:
    let_go = response.Answer._let_go
    patch.setattr(response.Answer, "_let_go", lambda self, keep: let_go(self, keep=False))


def _ignore_errors_in_responses(patch: Patch) -> None:
    for module in (ollama_wire_responses, dialect_wire_responses, common):
        patch.setattr(module, "read_words", lambda data: None)


def _accept_bad_vectors(patch: Patch) -> None:
    patch.setattr(embedding.Embedding, "_send_batch", _accept_unchecked)


def _accept_unchecked(self: Any, start: int, stop: int) -> None:
    batch = self._request.replace(texts=self._request.texts[start:stop])
    found, attempts = self._send(batch, self._call)
    self._add_totals(found, attempts)
    self._vectors[start:stop] = found.rows


def _accept_bad_rankings(patch: Patch) -> None:
    patch.setattr(wire_rerank, "_check_number", lambda found, request: None)
    patch.setattr(
        wire_rerank,
        "_scores_by_index",
        lambda items, documents, look: {
            item.get("index", 0): item.get("relevance_score") or 0.0 for item in items
        },
    )


def _trust_every_certificate(patch: Patch) -> None:
    send = session._Adapter.send
    patch.setattr(
        session._Adapter,
        "send",
        lambda self, request, **more: send(self, request, **{**more, "verify": False}),
    )


def _accept_early_hints(patch: Patch) -> None:
    patch.delattr(connection._HTTPResponse, "_read_status")


SABOTAGES: Dict[str, Sabotage] = {
    "skip the last-record check": Sabotage(
        _accept_missing_ends,
        (
            ("no last record", "ollama", "complete"),
            ("no finish reason and no last record", "lmstudio", "stream"),
            ("an empty body", "openai", "complete"),
        ),
    ),
    "take repetitions for a bad connection": Sabotage(
        _take_repetitions_for_a_bad_connection,
        (
            ("a repetition that the server ends", "ollama", "complete"),
            ("a repetition that the server ends", "lmstudio", "stream"),
            ("a repetition that the server ends", "openai", "complete"),
        ),
    ),
    "take a bad connection for repetitions": Sabotage(
        _take_a_bad_connection_for_repetitions,
        (
            ("a repetition, then closed", "ollama", "complete"),
            ("a repetition, then closed", "lmstudio", "stream"),
            ("a repetition, then closed", "openai", "complete"),
        ),
    ),
    "use proxies and .netrc of the environment": Sabotage(
        _use_environment,
        (
            ("HTTP_PROXY in the environment", "ollama", "complete"),
            ("all_proxy in the environment", "lmstudio", "embed"),
            ("a .netrc for every host", "openai", "list"),
        ),
    ),
    "leave connections open": Sabotage(
        _leave_connections_open,
        (
            ("body stalled", "ollama", "stream"),
            ("not JSON", "lmstudio", "complete"),
            ("a line of 50 MB", "openai", "list"),
        ),
    ),
    "ignore the total limit": Sabotage(
        _ignore_total_limit,
        (
            ("silence", "ollama", "complete"),
            ("body stalled", "lmstudio", "embed"),
            ("headers dripped", "openai", "list"),
        ),
    ),
    "follow a redirect": Sabotage(
        _follow_redirects,
        (
            ("redirect 301", "ollama", "list"),
            ("redirect 307", "lmstudio", "complete"),
            ("redirect 303", "openai", "embed"),
        ),
    ),
    "reuse a dirty connection": Sabotage(
        _reuse_dirty_connections,
        (
            ("a second answer after the first", "ollama", "complete"),
            ("rubbish after the answer", "lmstudio", "embed"),
            ("a second answer after the first", "openai", "list"),
        ),
    ),
    "accept every status": Sabotage(
        _accept_every_status,
        (
            ("status 404 with text", "ollama", "complete"),
            ("status 500 with HTML", "lmstudio", "embed"),
            ("status 503 with nothing", "openai", "list"),
        ),
    ),
    "accept any model": Sabotage(
        _accept_any_model,
        (
            ("another model", "ollama", "stream"),
            ("another model in mid-stream", "lmstudio", "complete"),
            ("vectors of another model", "ollama", "embed"),
        ),
    ),
    "retry every failure": Sabotage(
        _retry_every_failure,
        (
            ("reset without an answer", "openai", "embed"),
            ("closed without an answer", "lmstudio", "complete"),
            ("status 500 with JSON", "ollama", "list"),
        ),
    ),
    "never retry": Sabotage(
        _never_retry,
        (
            ("a full queue, then free", "ollama", "complete"),
            ("a kept connection closed between calls", "lmstudio", "list"),
            ("a model that loads, then ready", "openai", "embed"),
        ),
    ),
    "use the JSON module of Python": Sabotage(
        _use_json_of_python,
        (
            ("NaN", "ollama", "complete"),
            ("an infinity", "lmstudio", "list"),
            ("nested too deep", "openai", "embed"),
        ),
    ),
    "lose the text so far": Sabotage(
        _lose_text_so_far,
        (
            ("body cut", "ollama", "complete"),
            ("body stalled", "lmstudio", "stream"),
            ("an error in mid-stream: a text", "openai", "complete"),
        ),
    ),
    "close every connection": Sabotage(
        _close_every_connection,
        (
            ("trailers", "ollama", "complete"),
            ("gzip", "lmstudio", "embed"),
            ("status 404 with JSON", "openai", "list"),
        ),
    ),
    "ignore errors in responses": Sabotage(
        _ignore_errors_in_responses,
        (
            ("an error in mid-stream: beside a good record", "ollama", "complete"),
            ("an error in mid-stream: an object", "lmstudio", "stream"),
            ("an error under status 200: a text", "openai", "embed"),
        ),
    ),
    "accept bad vectors": Sabotage(
        _accept_bad_vectors,
        (
            ("too few vectors", "ollama", "embed"),
            ("vectors of different lengths", "lmstudio", "embed"),
            ("vectors that are not finite", "openai", "embed"),
        ),
    ),
    "accept bad rankings": Sabotage(
        _accept_bad_rankings,
        (
            ("one document ranked twice", "openai", "rerank"),
            ("null for a score", "openai", "rerank"),
            ("too few results", "openai", "rerank"),
        ),
    ),
    "trust every certificate": Sabotage(
        _trust_every_certificate,
        (
            ("a certificate: wrong name", "ollama", "complete"),
            ("a certificate: expired", "lmstudio", "embed"),
            ("a certificate: of another authority", "openai", "list"),
        ),
    ),
    "accept early hints as the response": Sabotage(
        _accept_early_hints,
        (
            ("early hints before the answer", "ollama", "complete"),
            ("early hints before the answer", "lmstudio", "embed"),
            ("early hints without end", "openai", "list"),
        ),
    ),
}


@pytest.fixture(params=sorted(SABOTAGES))
def sabotage(request: Any) -> Sabotage:
    return SABOTAGES[request.param]


@pytest.mark.sample(6)
@pytest.mark.filterwarnings("ignore")  # broken code leaks, and the interpreter warns of it
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_broken_promise_fails_its_rows(
    sabotage: Sabotage, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, backend, form = sabotage.cases[number]
    with fake_time():
        ROWS[row].check(backend, form)  # the unbroken code passes

        with monkeypatch.context() as patch:
            patch.setattr(bench, "GRACE_S", 0.5)  # a leaked connection stays open for ever
            sabotage.break_code(patch)
            with pytest.raises(Exception):  # noqa: B017  # any failure will do
                ROWS[row].check(backend, form)
