"""Sending a request and looking at what came back, without loading requests before then."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, NoReturn, Optional

from localproviders._http.deadline import Call
from localproviders._http.framing import decode, parse_json
from localproviders._version import __version__
from localproviders.errors import (
    CapabilityError,
    ConfigurationError,
    LinkError,
    ProviderError,
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

    def __repr__(self) -> str:
        return f"<body of {len(self)} bytes>"


class Payload(Dict[str, Any]):
    """The JSON of a request; its repr shows no prompt, because it is a local variable too."""

    def __repr__(self) -> str:
        return f"<payload of {len(self)} fields>"


def encode(payload: Mapping[str, Any]) -> Body:
    """Write JSON for the wire.

    Raises:
        ConfigurationError: A value in it cannot be written, such as NaN or an object.
    """
    payload = Payload(payload)
    text, reason = "", ""
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    if reason:  # raised out here: the frames of json hold the prompt
        raise ConfigurationError(f"the request cannot be written as JSON: {reason}")
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
        self._session: Optional[Session] = None
        self._process = 0
        self._lock = threading.Lock()

    def open(
        self,
        method: str,
        path: str,
        *,
        call: Call,
        body: Optional[Body] = None,
        accept: str = "application/json",
    ) -> Answer:
        """Send a request and give the open answer, whose status is 2xx.

        Raises:
            ProviderError: Nothing could be sent, nothing came, or the status says no. No
                connection is left behind.
        """
        try:
            answer = self._current_session().send(
                method,
                self._settings.endpoint.url + path,
                headers=self._headers(body, accept),
                body=body,
                call=call,
            )
            if not 200 <= answer.status < 300:
                self._refuse(answer)
            return answer
        except ProviderError as error:
            raise self.locate(error) from error.__cause__

    def json(self, method: str, path: str, *, call: Call, body: Optional[Body] = None) -> Any:
        """Send a request and give its JSON answer; the connection is given back.

        Raises:
            ProviderError: As `open`; the answer is too large or no JSON.
        """
        return self.parse(self.open(method, path, call=call, body=body))

    def parse(self, answer: Answer) -> Any:
        """Read an open answer as one JSON value.

        Raises:
            ProviderError: As `json`.
        """
        settings = self._settings
        try:
            text = decode(answer.read_all(settings.max_body_bytes))
            return parse_json(text, settings.max_json_depth)
        except ProviderError as error:
            raise self.locate(error) from error.__cause__

    def locate(self, error: ProviderError) -> ProviderError:
        """Fill in who and where, and take the key out of what a server said."""
        settings = self._settings
        error.add_context(provider=settings.name, endpoint=settings.endpoint.url)
        if settings.api_key is not None and error.server_message:
            error.server_message = settings.api_key.scrub(error.server_message)
            error.message = settings.api_key.scrub(error.message)
            error.args = (error.message,)
            if isinstance(error, CapabilityError):
                error.evidence = error.server_message
        if isinstance(error, UnreachableError) and error.hint is None:
            error.hint = (
                f"is the server running? This address came from: {settings.endpoint_origin}"
            )
        return error

    def close(self) -> None:
        """Close the kept connections. The next call opens new ones."""
        session, self._session = self._session, None
        if session is not None and self._process == os.getpid():
            session.close()

    def _headers(self, body: Optional[Body], accept: str) -> Mapping[str, str]:
        key = self._settings.api_key
        return Headers(
            {
                "User-Agent": f"localproviders/{__version__}",
                "Accept": accept,
                "Accept-Encoding": "identity",
                **({"Content-Type": "application/json"} if body is not None else {}),
                **({"Authorization": f"Bearer {key.reveal()}"} if key is not None else {}),
            }
        )

    def _refuse(self, answer: Answer) -> NoReturn:
        raise self._explain(answer.status, _error_text(answer), answer.headers)

    def _current_session(self) -> Session:
        process = os.getpid()
        if process != self._process:
            # After a fork the connections belong to the parent, and its lock may be held.
            self._lock = threading.Lock()
            self._session, self._process = None, process
        with self._lock:
            if self._session is None:
                from localproviders._http.session import Session  # loads requests

                self._session = Session(self._settings)
            return self._session


def _error_text(answer: Answer) -> str:
    try:
        return answer.read_all(_MAX_ERROR_BYTES).decode("utf-8", "replace")
    except LinkError:
        return ""  # the status has said what matters; a broken body must not hide it


class Headers(dict):  # type: ignore[type-arg]  # 3.8 cannot subscript dict at run time
    """Request headers; their repr shows no key, because they are local variables."""

    def __repr__(self) -> str:
        return f"<{len(self)} headers>"
