"""Spoilt on purpose, the package fails the rows that guard each promise."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, NamedTuple, Tuple

import pytest

from localproviders import _wire
from localproviders._backend import embedding
from localproviders._http import (
    answer,
    connection,
    deadline,
    framing,
    retry,
    session,
    stream,
    transport,
)
from localproviders.errors import ProviderError, StreamInterruptedError
from localproviders.lmstudio.provider import LMStudioProvider
from localproviders.ollama import provider as ollama_provider
from localproviders.ollama import wire as ollama_wire
from localproviders.openai_compatible import wire as dialect_wire
from tests.faults.rows import ROWS

Patch = pytest.MonkeyPatch


class Sabotage(NamedTuple):
    """A promise broken in the code, and three cases that must notice.

    Attributes:
        spoil: Breaks it.
        cases: Row, backend and call form.
    """

    spoil: Callable[[Patch], None]
    cases: Tuple[Tuple[str, str, str], ...]


def _believe_any_end(patch: Patch) -> None:
    def spoilt(pull: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def believe(self: Any) -> Any:
            try:
                return pull(self)
            except StreamInterruptedError:
                return None

        return believe

    for way in ("_flow", "_pull"):
        patch.setattr(stream.Stream, way, spoilt(getattr(stream.Stream, way)))


def _trust_the_environment(patch: Patch) -> None:
    utils, prepare = session.requests.utils, session.requests.Request.prepare

    def proxies(self: Any) -> Any:
        return utils.get_environ_proxies(self._settings.endpoint.url)

    def with_netrc(self: Any) -> Any:
        self.auth = utils.get_netrc_auth(self.url)
        return prepare(self)

    patch.setattr(session.Session, "_choose_proxies", proxies)
    patch.setattr(session.requests.Request, "prepare", with_netrc)


def _forget_to_close(patch: Patch) -> None:
    let_go = answer.Answer._let_go
    left_open = []

    def spoilt(self: Any, keep: bool) -> None:
        if keep:
            let_go(self, keep)
        else:
            left_open.append((self, self._response, self._parsed))

    patch.setattr(answer.Answer, "_let_go", spoilt)
    patch.setattr(deadline, "shut_down", lambda sock: None)


def _drop_the_total(patch: Patch) -> None:
    init = deadline.Call.__init__

    def spoilt(self: Any, limits: Any, *args: Any, **more: Any) -> None:
        init(self, limits.replace(total_s=math.inf), *args, **more)

    patch.setattr(deadline.Call, "__init__", spoilt)


def _follow_redirects(patch: Patch) -> None:
    def spoilt(self: Any, request: Any, call: Any) -> Any:
        vars(self._session).pop("get_redirect_target", None)
        return self._session.send(request, stream=True, timeout=call, proxies=self._proxies)

    patch.setattr(session.Session, "_send", spoilt)


class _NeverSet:
    def __get__(self, *_: object) -> bool:
        return False

    def __set__(self, *_: object) -> None:
        pass


def _reuse_dirty_connections(patch: Patch) -> None:
    patch.setattr(connection.BoundedSocket, "dirty", _NeverSet(), raising=False)
    patch.setattr(connection.BoundedSocket, "unsent", _NeverSet(), raising=False)
    # urllib3 looks as well, whether a kept connection has something to read.
    patch.setattr("urllib3.connectionpool.is_connection_dropped", lambda _: False)


def _believe_every_status(patch: Patch) -> None:
    patch.setattr(transport.Transport, "_refuse", lambda self, answer: None)


def _take_any_model(patch: Patch) -> None:
    patch.setattr(ollama_provider, "_same_answer", lambda asked, served: True)
    patch.setattr(LMStudioProvider, "_check_model", lambda *_: None)


def _send_everything_again(patch: Patch) -> None:
    patch.setattr(
        retry.Attempts,
        "wait_before_next",
        lambda self, error: 0.0 if self.number < 3 else None,
    )


def _send_nothing_again(patch: Patch) -> None:
    patch.setattr(retry.Attempts, "wait_before_next", lambda self, error: None)


def _read_json_as_python_does(patch: Patch) -> None:
    import json

    patch.setattr(framing, "_DECODER", json.JSONDecoder())
    patch.setattr(framing, "_check_depth", lambda text, max_depth: None)


def _forget_the_text_so_far(patch: Patch) -> None:
    add = ProviderError.add_context

    def spoilt(self: Any, **facts: Any) -> None:
        facts.pop("partial", None)
        add(self, **facts)

    patch.setattr(ProviderError, "add_context", spoilt)


def _keep_no_connection(patch: Patch) -> None:
    let_go = answer.Answer._let_go
    patch.setattr(answer.Answer, "_let_go", lambda self, keep: let_go(self, keep=False))


def _overlook_errors_in_answers(patch: Patch) -> None:
    for module in (ollama_wire.answers, dialect_wire.answers, _wire):
        patch.setattr(module, "read_words", lambda data: None)


def _overlook_bad_vectors(patch: Patch) -> None:
    patch.setattr(embedding.Embedding, "_try", _take_unseen)


def _take_unseen(self: Any, start: int, stop: int) -> None:
    found, attempts = self._send(self._request.replace(texts=self._request.texts[start:stop]))
    self._add_up(found, attempts)
    self._vectors[start:stop] = found.rows


def _trust_every_certificate(patch: Patch) -> None:
    send = session._Adapter.send
    patch.setattr(
        session._Adapter,
        "send",
        lambda self, request, **more: send(self, request, **{**more, "verify": False}),
    )


def _take_hints_for_answers(patch: Patch) -> None:
    patch.delattr(connection._HTTPResponse, "_read_status")


SABOTAGES: Dict[str, Sabotage] = {
    "skip the last-record check": Sabotage(
        _believe_any_end,
        (
            ("no last record", "ollama", "complete"),
            ("no last record, then closed", "lmstudio", "stream"),
            ("an empty body", "openai", "complete"),
        ),
    ),
    "trust the environment": Sabotage(
        _trust_the_environment,
        (
            ("HTTP_PROXY in the environment", "ollama", "complete"),
            ("all_proxy in the environment", "lmstudio", "embed"),
            ("a .netrc for every host", "openai", "list"),
        ),
    ),
    "forget to close": Sabotage(
        _forget_to_close,
        (
            ("body stalled", "ollama", "stream"),
            ("no JSON", "lmstudio", "complete"),
            ("a line of 50 MB", "openai", "list"),
        ),
    ),
    "drop the total limit": Sabotage(
        _drop_the_total,
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
            ("a second answer behind the first", "ollama", "complete"),
            ("rubbish behind the answer", "lmstudio", "embed"),
            ("a second answer behind the first", "openai", "list"),
        ),
    ),
    "believe every status": Sabotage(
        _believe_every_status,
        (
            ("status 404 with text", "ollama", "complete"),
            ("status 500 with HTML", "lmstudio", "embed"),
            ("status 503 with nothing", "openai", "list"),
        ),
    ),
    "take any model's answer": Sabotage(
        _take_any_model,
        (
            ("another model", "ollama", "stream"),
            ("another model in mid-stream", "lmstudio", "complete"),
            ("vectors of another model", "ollama", "embed"),
        ),
    ),
    "send everything again": Sabotage(
        _send_everything_again,
        (
            ("reset without an answer", "openai", "embed"),
            ("closed without an answer", "lmstudio", "complete"),
            ("status 500 with JSON", "ollama", "list"),
        ),
    ),
    "send nothing again": Sabotage(
        _send_nothing_again,
        (
            ("a full queue, then free", "ollama", "complete"),
            ("a kept connection closed between calls", "lmstudio", "list"),
            ("a model that loads, then ready", "openai", "embed"),
        ),
    ),
    "read JSON as Python does": Sabotage(
        _read_json_as_python_does,
        (
            ("NaN", "ollama", "complete"),
            ("an infinity", "lmstudio", "list"),
            ("nested too deep", "openai", "embed"),
        ),
    ),
    "forget the text so far": Sabotage(
        _forget_the_text_so_far,
        (
            ("body cut", "ollama", "complete"),
            ("body stalled", "lmstudio", "stream"),
            ("an error in mid-stream: a text", "openai", "complete"),
        ),
    ),
    "keep no connection": Sabotage(
        _keep_no_connection,
        (
            ("trailers", "ollama", "complete"),
            ("gzip", "lmstudio", "embed"),
            ("status 404 with JSON", "openai", "list"),
        ),
    ),
    "overlook errors in answers": Sabotage(
        _overlook_errors_in_answers,
        (
            ("an error in mid-stream: beside a good record", "ollama", "complete"),
            ("an error in mid-stream: an object", "lmstudio", "stream"),
            ("an error under status 200: a text", "openai", "embed"),
        ),
    ),
    "overlook bad vectors": Sabotage(
        _overlook_bad_vectors,
        (
            ("too few vectors", "ollama", "embed"),
            ("vectors of different lengths", "lmstudio", "embed"),
            ("vectors that are not finite", "openai", "embed"),
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
    "take early hints for the answer": Sabotage(
        _take_hints_for_answers,
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


@pytest.mark.filterwarnings("ignore")  # what is spoilt leaks, and is told so by the interpreter
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_broken_promise_turns_its_rows_red(
    sabotage: Sabotage, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, backend, form = sabotage.cases[number]
    ROWS[row].check(backend, form)  # whole, it passes

    with monkeypatch.context() as patch:
        sabotage.spoil(patch)
        with pytest.raises(Exception):  # noqa: B017  # red is red, however it shows
            ROWS[row].check(backend, form)
