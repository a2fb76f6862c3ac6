"""Sending a request and looking at what came back, without loading requests before then."""

from __future__ import annotations

import json
import os
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    Mapping,
    NoReturn,
    Optional,
    Tuple,
    Union,
)

from localproviders._http.bodies import parse_body
from localproviders._http.deadline import Call
from localproviders._http.framing import decode, looks_cut, parse_json
from localproviders._http.quotes import without_quotes
from localproviders._http.retry import Attempts
from localproviders._http.upload import Upload
from localproviders._version import __version__
from localproviders.errors import (
    CancelledError,
    ConfigurationError,
    ProtocolError,
    ProviderError,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders.settings import Settings

if TYPE_CHECKING:
    from localproviders._http.answer import Answer
    from localproviders._http.session import Session

#: Turns a status, its body and its headers into an error; each dialect has its own.
Explain = Callable[[int, str, Mapping[str, str]], ProviderError]

# A server's error is a sentence; more than this is somebody's web page.
_MAX_ERROR_BYTES = 1024 * 1024


class Body(bytes):
    """A request's body. It is a local variable in our frames, so its repr says its size."""

    media = "application/json"

    def __repr__(self) -> str:
        return f"<body of {len(self)} bytes>"


class Payload(Dict[str, Any]):
    """The JSON of a request; its repr shows no prompt, because it is a local variable too."""

    def __repr__(self) -> str:
        return f"<payload of {len(self)} fields>"


def _writer(separators: Optional[Tuple[str, str]] = None) -> Callable[[Any], str]:
    """Give an encoder that is kept: `json.dumps` would make one for each call, in 3 µs."""
    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=separators).encode


_write, _write_tight = _writer(), _writer((",", ":"))


def write_json(value: Any, *, tight: bool = False) -> str:
    """Write a part of a request, or all of it, as JSON text; `tight` is without blanks.

    Raises:
        ConfigurationError: A value in it cannot be written, such as NaN or an object.
    """
    text, reason = "", ""
    try:
        text = (_write_tight if tight else _write)(value)
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    if reason:  # raised out here: the frames of json hold the prompt
        raise ConfigurationError(f"the request cannot be written as JSON: {reason}")
    return text


def encode(payload: Mapping[str, Any]) -> Body:
    """Write JSON for the wire.

    Raises:
        ConfigurationError: A value in it cannot be written, such as NaN or an object.
    """
    text = write_json(Payload(payload), tight=True)
    if text.isascii():
        return Body(text, "ascii")
    # A lone surrogate cannot be sent; the replacement mark is what every reader makes of it.
    return Body(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode("utf-8"))


class Transport:
    """The one way from a provider to its server.

    Usable from many threads, after a fork, and again after `close`.

    Args:
        settings: The provider's settings.
        explain: The dialect's reading of an error answer.
    """

    def __init__(self, settings: Settings, explain: Explain) -> None:
        self._settings = settings
        self._explain = explain
        # By process: after a fork the connections belong to the parent. There is no lock,
        # because a thread that the child does not have could hold it.
        self._sessions: Dict[int, Session] = {}

    def open(
        self,
        method: str,
        path: str,
        *,
        call: Call,
        body: Union[Body, Upload, None] = None,
        accept: str = "application/json",
    ) -> Answer:
        """Send a request, again where the policy says so, and give the open 2xx answer.

        An `Upload` is read anew for each attempt.

        Raises:
            ProviderError: Nothing could be sent, nothing came, or the status says no. No
                connection is left behind.
        """
        attempts = Attempts(self._settings.retry, call)
        call.fresh = False
        while True:
            try:
                answer = self._send(method, path, call, body, accept)
                answer.attempts = attempts.number
                return answer
            except ProviderError as error:
                if isinstance(body, Upload) and error is body.failure:
                    raise  # no fault of the line: whoever reads the file said so
                wait_s = attempts.wait_before_next(error)
                if wait_s is None:
                    raise self.locate(error) from error.__cause__
                attempts.pause(wait_s, error)
            # What a kept connection died of, the others may have died of too.
            call.fresh = True

    def json(
        self,
        method: str,
        path: str,
        *,
        call: Call,
        body: Optional[Body] = None,
        loads: bool = False,
    ) -> Any:
        """Send a request and give its JSON answer; the connection is given back.

        Args:
            method: HTTP's.
            path: Below the endpoint.
            call: The call that this belongs to.
            body: What is sent.
            loads: Whether the server may load a model before it answers.

        Raises:
            ProviderError: As `open`; the answer is too large or no JSON.
        """
        before, call.may_load = call.may_load, loads
        try:
            return self.parse(self.open(method, path, call=call, body=body))
        finally:
            call.may_load = before

    def parse(self, answer: Answer, *, packs: bool = False) -> Any:
        """Read an open answer as one JSON value.

        Args:
            answer: The answer; its connection is given back.
            packs: Whether lists of numbers in it may come as ``array('f')``.

        Raises:
            ProviderError: As `json`.
        """
        try:
            return self._read(answer, packs)
        except ProviderError as error:
            raise self.locate(error) from error.__cause__

    def _read(self, answer: Answer, packs: bool) -> Any:
        """Read it in a frame of its own: one that holds what came is not shown."""
        settings = self._settings
        text = decode(answer.read_all(settings.max_body_bytes))
        try:
            return (parse_body if packs else parse_json)(text, settings.max_json_depth)
        except ProtocolError:
            if answer.ends_by_closing and looks_cut(text):
                raise StreamInterruptedError("the answer ended within its JSON") from None
            raise

    def locate(self, error: ProviderError, texts: Iterable[str] = ()) -> ProviderError:
        """Fill in who and where, and take out what an error must not show.

        Args:
            error: What went wrong.
            texts: What was said in the request, and is not to be quoted.
        """
        # The frames below, and Python's own errors about text, hold what the server said; it
        # may quote the prompt or the key.
        error.__traceback__ = error.__context__ = None
        settings = self._settings
        error.add_context(provider=settings.name, endpoint=settings.endpoint.url)
        self._hide(error, texts)
        if isinstance(error, UnreachableError) and error.hint is None:
            error.hint = (
                f"is the server running? This address came from: {settings.endpoint_origin}"
            )
        return error

    def _hide(self, error: ProviderError, texts: Iterable[str]) -> None:
        said = list(texts) if error.server_message else ()
        key = self._settings.api_key
        for name in ("message", "server_message", "evidence"):
            words = getattr(error, name, None)
            if words:
                words = without_quotes(words, said)
                setattr(error, name, words if key is None else key.scrub(words))
        error.args = (error.message,)

    def prepare(self) -> None:
        """Load what the first request would load, before any clock runs."""
        self._current_session()

    def close(self) -> None:
        """Close the kept connections. The next call opens new ones."""
        sessions, self._sessions = self._sessions, {}
        session = sessions.get(os.getpid())
        if session is not None:
            session.close()

    def _send(
        self, method: str, path: str, call: Call, body: Union[Body, Upload, None], accept: str
    ) -> Answer:
        if isinstance(body, Upload):
            body.rewind()
        try:
            answer = self._current_session().send(
                method,
                self._settings.endpoint.url + path,
                headers=self._headers(body, accept),
                body=body,
                call=call,
            )
        finally:
            if isinstance(body, Upload):
                body.close()
        if not 200 <= answer.status < 300:
            self._refuse(answer)
        return answer

    def _headers(self, body: Union[Body, Upload, None], accept: str) -> Mapping[str, str]:
        key = self._settings.api_key
        return Headers(
            {
                "User-Agent": f"localproviders/{__version__}",
                "Accept": accept,
                "Accept-Encoding": "identity",
                **({"Content-Type": body.media} if body is not None else {}),
                **({"Authorization": key.as_bearer()} if key is not None else {}),
            }
        )

    def _refuse(self, answer: Answer) -> NoReturn:
        if answer.status < 200:
            answer.close()  # what follows is no HTTP any more
        raise self._explain(answer.status, _error_text(answer), answer.headers)

    def _current_session(self) -> Session:
        process, sessions = os.getpid(), self._sessions
        session = sessions.get(process)
        if session is None:
            from localproviders._http.session import Session  # loads requests

            for parent in set(sessions) - {process}:
                sessions.pop(parent, None)
            # One step for Python: where threads meet here, all get the session of the first.
            session = sessions.setdefault(process, Session(self._settings))
        return session


def _error_text(answer: Answer) -> str:
    """Read a refusal's body, or as much of it as comes: its status has said what matters."""
    if not answer.is_open:
        return ""
    text = bytearray()
    answer.call.explaining()
    try:
        while len(text) < _MAX_ERROR_BYTES:
            piece = answer.read()
            if not piece:
                answer.release()
                break
            text += piece
    except CancelledError:
        raise
    except ProviderError:
        pass  # it is closed
    answer.close()
    return text.decode("utf-8", "replace")


class Headers(dict):  # type: ignore[type-arg]  # 3.8 cannot subscript dict at run time
    """Request headers; their repr shows no key, because they are local variables."""

    def __repr__(self) -> str:
        return f"<{len(self)} headers>"
