"""Send a request, and read the status and the JSON of its response.

This module does not import the library `requests`. `Transport` imports it at the first request.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
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
    Type,
    Union,
)

from localproviders._http.bodies import parse_body
from localproviders._http.deadline import EXPLAINING, Call
from localproviders._http.framing import SHALLOW, decode, looks_cut, parse_json
from localproviders._http.halves import find_lone_half, joined
from localproviders._http.request_ids import find_request_id
from localproviders._http.retry import Attempts, cut_off
from localproviders._http.service import USUAL, Service
from localproviders._http.upload import Upload
from localproviders._interrupts import is_injected
from localproviders._record import plain
from localproviders._redact import without_prompt
from localproviders._version import __version__
from localproviders.errors import (
    CancelledError,
    ConfigurationError,
    DependencyError,
    ProtocolError,
    ProviderError,
    UnreachableError,
)
from localproviders.secret import Unseen, bare
from localproviders.settings import Settings

if TYPE_CHECKING:
    from localproviders._http.response import Answer
    from localproviders._http.session import Session
else:
    Answer = Session = Any  # only needed for annotations; importing the classes would load requests

#: Function of a dialect that makes an error from the status, body and headers of a response.
Explain = Callable[[int, str, Mapping[str, str]], ProviderError]

# Attributes of an error that may hold text from the server.
_SERVER_TEXTS = ("message", "server_message", "evidence")
# Largest size of a response about the server or its models. The list of 2,000 models of a cloud
# router has 10 MiB.
_MAX_METADATA_BYTES = 16 * 1024 * 1024

# Highest number of bytes that are read from the body of an error response. The error of a model
# server is a sentence. A larger body is a web page, for example from a proxy.
_MAX_ERROR_BYTES = 1024 * 1024


class Body(bytes):
    """A request body whose repr shows only its size.

    A body is a local variable in many frames. A traceback with local variables shows their
    repr, which must not contain the prompt.
    """

    media = "application/json"

    def __repr__(self) -> str:
        return f"<body of {len(self)} bytes>"


class Payload(Dict[str, Any]):
    """The JSON object of a request. Its repr shows only the number of fields, not the prompt."""

    def __repr__(self) -> str:
        return f"<payload of {len(self)} fields>"


def _writer(separators: Optional[Tuple[str, str]] = None) -> Callable[[Any], str]:
    """Return a function that writes JSON with one encoder.

    `json.dumps` would make a new encoder each time, which takes 3 µs.
    """
    return json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, separators=separators, default=_plain_number
    ).encode


def _plain_number(value: Any) -> Any:
    """Convert a number or an array of numpy, which `json` does not know, to JSON types."""
    made = plain(value) if hasattr(value, "dtype") else value
    if made is value:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return made


_write, _write_tight = _writer(), _writer((",", ":"))


def write_json(value: Any, *, tight: bool = False) -> str:
    """Return a part of a request, or all of it, as JSON text.

    Args:
        value: The value to write.
        tight: Whether to leave out the blanks after commas and colons.

    Raises:
        ConfigurationError: The value contains something that JSON cannot express, such as NaN.
    """
    text, reason = "", ""
    try:
        text = (_write_tight if tight else _write)(value)
    except (TypeError, ValueError, RecursionError) as error:
        is_from_stack = isinstance(error, RecursionError) and not _is_deep(value)
        if is_from_stack or is_injected(error):
            raise
        reason = str(error)
    # The error is raised outside the except block. Otherwise the error of json would be its
    # context, and the frames of json hold the prompt.
    if reason:
        raise ConfigurationError(f"the request cannot be written as JSON: {reason}")
    return text


def _is_deep(value: Any) -> bool:
    """Return whether a value is nested too deeply for JSON, however deep the caller's stack is."""
    level = [value]
    for _ in range(SHALLOW):
        nested = [each for each in level if isinstance(each, (dict, list, tuple))]
        parts = [each.values() if isinstance(each, dict) else each for each in nested]
        level = list({id(part): part for each in parts for part in each}.values())
    return bool(level)


def encode(payload: Mapping[str, Any]) -> Body:
    """Return the request body for this JSON object.

    Raises:
        ConfigurationError: The object contains a value that JSON cannot express, such as NaN,
            or half of a surrogate pair.
    """
    text = write_json(Payload(payload), tight=True)
    with contextlib.suppress(UnicodeEncodeError):
        return Body(text, "utf-8")
    # Some programs write one character, such as an emoji from a clipboard, as two surrogates.
    whole = joined(text)
    if whole is None:
        raise ConfigurationError(
            f"{find_lone_half(payload)} has half of a surrogate pair, which cannot be sent as "
            "UTF-8",
            hint="replace it: text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')",
        )
    return Body(whole, "utf-8")


class Transport:
    """The transport of one provider, which sends all its requests to the server.

    It may be used by several threads, after a fork, and again after `close`.

    Args:
        settings: The provider's settings.
        explain: Makes an error from an error response of the provider's dialect.
        service: Description of how the server is reached.
    """

    def __init__(self, settings: Settings, explain: Explain, service: Service = USUAL) -> None:
        self._settings = settings
        self._service = service
        self._explain = explain
        self._base_url = settings.endpoint.request_url
        # One session for each process id: after a fork, the connections belong to the parent.
        # There is no lock, because it could stay locked for ever in a child process: a thread that
        # holds it at the fork does not exist in the child.
        self._sessions: Dict[int, Session] = {}
        self._cached_headers: Dict[Tuple[str, Optional[str]], Headers] = {}

    @property
    def path(self) -> str:
        """Path of the server's address, which precedes the path of each request."""
        return self._settings.endpoint.path

    def open(
        self,
        method: str,
        path: str,
        *,
        call: Call,
        body: Union[Body, Upload, None] = None,
        accept: str = "application/json",
        attempts: Optional[Attempts] = None,
    ) -> Answer:
        """Send a request, with retries, and return the open response with a 2xx status.

        Each attempt reads an `Upload` from its first byte.

        Args:
            method: HTTP method.
            path: Path below the endpoint.
            call: The call to which the request belongs.
            body: Request body, if any.
            accept: Media type of the requested response.
            attempts: The attempts so far, if this request was sent before with other fields. They
                count for this request, too.

        Raises:
            ProviderError: The request could not be sent, no response arrived, or its status is
                not 2xx. The connection has been returned to the pool or closed.
        """
        attempts = attempts or Attempts(self._settings.retry, call)
        url, headers = self._base_url + path, self._headers(body, accept)
        call.fresh = False
        while True:
            call.request_id = None
            try:
                session = self._current_session()
                answer = session.send(method, url, headers=headers, body=body, call=call)
                call.request_id = self._request_id(answer)
                if not 200 <= answer.status < 300:
                    self._refuse(answer)
                answer.attempts = attempts.number
                return answer
            except ProviderError as error:
                if isinstance(body, Upload) and error is body.failure:
                    # The file could not be read, or the listener raised an exception. Sending
                    # again does not help, and the error has nothing to do with the server.
                    raise
                wait_s = attempts.wait_before_next(error)
                if wait_s is None:
                    raise self.finish_error(error) from error.__cause__
                attempts.pause(wait_s, error)
            # If the server has closed one pooled connection, it has probably closed the others.
            call.fresh = True

    def json(
        self,
        method: str,
        path: str,
        *,
        call: Call,
        body: Optional[Body] = None,
        loads: bool = False,
        large: bool = False,
        attempts: Optional[Attempts] = None,
    ) -> Any:
        """Send a request, with retries, and return the JSON value of its response.

        Args:
            method: HTTP method.
            path: Path below the endpoint.
            call: The call to which the request belongs.
            body: Request body, if any.
            loads: Whether the server may load a model before it responds. `load_s` is then
                added to `first_token_s`, unless the model of the call is known to be loaded.
            large: Whether the response may be as large as `max_body_bytes`. Otherwise the
                limit is 16 MiB, or `max_body_bytes` if that is less.
            attempts: The attempts so far, if this request was sent before with other fields. They
                count for this request, too.

        Raises:
            ProviderError: The request could not be sent, the server refused it, the response
                is too large or not JSON, or a limit expired.
        """
        before, call.may_load = call.may_load, loads and call.may_load
        try:
            answer = self.open(method, path, call=call, body=body, attempts=attempts)
            return self.parse(answer, large=large)
        finally:
            call.may_load = before

    def parse(self, answer: Answer, *, packs: bool = False, large: bool = True) -> Any:
        """Read the body of an open response as one JSON value, and release its connection.

        Args:
            answer: The open response.
            packs: Whether long lists of numbers are returned as ``array('f')``.
            large: Whether the response may be as large as `max_body_bytes`, and not only 16 MiB.

        Raises:
            ProviderError: The response is too large or not JSON, the connection broke, or a
                limit expired.
        """
        try:
            return self._read(answer, packs, large)
        except ProviderError as error:
            raise self.finish_error(error) from error.__cause__

    def _read(self, answer: Answer, packs: bool, large: bool) -> Any:
        """Read and parse the body.

        This is a separate function, so that `parse` can remove its frame from the traceback of
        an error. The local variables of this frame hold the response text.
        """
        settings, look = self._settings, answer.call.look
        text = decode(_read_body(answer, settings.max_body_bytes, large))
        try:
            value = (parse_body if packs else parse_json)(text, settings.max_json_depth, look=look)
            look()  # json does not stop when a limit expires
            return value
        except ProtocolError:
            # A connection that breaks early may look like the regular end of this body.
            if answer.ends_by_closing and looks_cut(text):
                raise cut_off("the response ended in the middle of its JSON") from None
            raise

    def finish_error(self, error: ProviderError, texts: Iterable[str] = ()) -> ProviderError:
        """Add provider and endpoint to an error; remove prompt, API key and passwords from it.

        Args:
            error: The error. It is changed, and returned without its traceback.
            texts: Texts of the request, which the server may quote in its message.
        """
        # The traceback and the context are removed. Their frames hold text from the server, which
        # may quote the prompt or the API key.
        error.__traceback__ = error.__context__ = None
        settings = self._settings
        error.add_context(provider=settings.name, endpoint=settings.endpoint.url)
        self._hide(error, texts)
        if isinstance(error, UnreachableError) and error.hint is None:
            is_name = isinstance(error.__cause__, socket.gaierror)
            step = "check the host name" if is_name else "check that the server is running"
            error.hint = f"{step}; this address came from: {settings.endpoint_origin}"
        return error

    def _hide(self, error: ProviderError, texts: Iterable[str]) -> None:
        """Remove prompt, API key and passwords from the texts of an error."""
        # Searching for all texts takes long, and only text from the server can quote them.
        prompts = list(texts) if error.server_message or error.request_id else ()
        for name in _SERVER_TEXTS:
            # Not `getattr`: for a missing attribute, it would call the error's `__getattr__`. That
            # method imports the attribute names of other clients.
            text = Unseen(vars(error).get(name) or "")
            if text:
                setattr(error, name, self._scrub(without_prompt(text, prompts)))
        error.args = (error.message,)
        found = Unseen(error.request_id or "")
        if without_prompt(found, prompts) != found:
            error.request_id = None

    def _scrub(self, text: str, *, only_keys: bool = False) -> str:
        """Return text from a server without API keys, passwords, and the caller's headers.

        If `only_keys` is true, the values of headers that hold no API key are kept.
        """
        # The repr of an `Unseen` does not show its text. So a traceback does not show the API key
        # or the passwords before they are removed.
        text = Unseen(text)
        text = Unseen(self._settings.without_secrets(text, only_keys=only_keys))
        for session in list(self._sessions.values()):
            text = Unseen(session.scrub(text))
        return str(text)

    def prepare(self) -> None:
        """Import the modules and make the session for the first request, before a limit runs."""
        self._current_session()

    def close(self) -> None:
        """Close the idle connections. The next call opens new ones."""
        # Only the session of this process is closed. The connections of a session from before a
        # fork belong to the parent process.
        sessions, self._sessions = self._sessions, {}
        session = sessions.get(os.getpid())
        if session is not None:
            session.close()

    def _headers(self, body: Union[Body, Upload, None], accept: str) -> Headers:
        """Return the request headers, which depend only on the two media types, from a cache."""
        media = None if body is None else body.media
        cached = self._cached_headers.get((accept, media))
        if cached is None:
            cached = self._make_headers(media, accept)
            self._cached_headers[accept, media] = cached
        return cached

    def _make_headers(self, media: Optional[str], accept: str) -> Headers:
        ours = {
            "User-Agent": f"localproviders/{__version__}",
            "Accept": accept,
            # Compression has no advantage for a local server, and would delay chunks.
            "Accept-Encoding": "identity",
            **self._service.headers,
            **({"Content-Type": media} if media is not None else {}),
        }
        given = Headers(self._settings.headers_of_caller(self._service.key_header))
        names = set(map(str.lower, given))
        return Headers({**{n: ours[n] for n in ours if n.lower() not in names}, **given})

    def _refuse(self, answer: Answer) -> NoReturn:
        """Raise the error for a response whose status is not 2xx."""
        if answer.status < 200:
            answer.close()  # 101: the bytes after this response belong to another protocol
        failure: BaseException
        try:
            failure = self._error_of(answer)
        except BaseException as error:
            # This may be an interrupt such as KeyboardInterrupt. The frames of its traceback hold
            # text from the server, which may quote the API key. So the frames are removed.
            failure = bare(error)
        raise failure

    def _error_of(self, answer: Answer) -> ProviderError:
        # A header that holds no API key may have an ordinary word as its value, and the class of
        # the error may depend on that word in the server's text. So these values are redacted only
        # after the class has been chosen, by `_hide`.
        text = Unseen(self._scrub(_error_text(answer), only_keys=True))
        error = self._explain(answer.status, text, answer.headers)
        error.request_id = answer.call.request_id or error.request_id
        self._hide(error, ())
        return error

    def _request_id(self, answer: Answer) -> Optional[str]:
        """Return the id of a request in the server's log.

        The result is None if the response has no id, or if the id contains a secret.
        """
        try:
            found = find_request_id(answer.headers)
            return found if found is None or self._scrub(found) == found else None
        except BaseException as error:
            # As in `_refuse`: the frames hold headers of the server, which may quote the API key.
            failure = bare(error)
        raise failure

    def _current_session(self) -> Session:
        """Return the session of this process, and make it if necessary."""
        process, sessions = os.getpid(), self._sessions
        session = sessions.get(process)
        if session is None:
            make_session = load_session_class()

            # In a forked child, drop the sessions of the parent without closing them.
            for parent in set(sessions) - {process}:
                sessions.pop(parent, None)
            # `setdefault` is atomic. If several threads make a session at the same time, all use
            # the session that was stored first.
            made = make_session(self._settings, self._service)
            session = sessions.setdefault(process, made)
        return session


def _read_body(answer: Answer, max_bytes: int, large: bool) -> bytes:
    """Read a body to its end, and release the connection."""
    if large or max_bytes <= _MAX_METADATA_BYTES:
        return answer.read_all(max_bytes)
    return answer.read_all(_MAX_METADATA_BYTES, hint=_NO_LIST)


_NO_LIST = "no list of models is that large: check that the right kind of server listens there"


def _error_text(answer: Answer) -> str:
    """Return the body of an error response, or the part of it that arrives in time.

    The status already shows the kind of the error. So no error is raised if the body breaks off
    or does not end in time.
    """
    if not answer.is_open:
        return ""
    text = bytearray()
    answer.call.enter(EXPLAINING)
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
        pass  # the connection is closed; use the text that has arrived
    answer.close()
    return text.decode("utf-8", "replace")


class Headers(dict):  # type: ignore[type-arg]  # 3.8 cannot subscript dict at run time
    """Request headers. Their repr shows only their number, because a header holds the API key."""

    def __repr__(self) -> str:
        return f"<{len(self)} headers>"


def load_session_class() -> Type[Session]:
    """Return the class `Session`. The first call imports the library `requests`, which takes time.

    Raises:
        DependencyError: The library `requests`, or one that it needs, is not installed.
    """
    try:
        from localproviders._http.session import Session  # loads requests
    except ImportError as error:
        # Only a missing or broken dependency becomes a DependencyError. An import may also fail in
        # a module of this package, or while Python shuts down. If Python shuts down, the
        # ImportError has no name.
        if (error.name or "").partition(".")[0] in ("", "localproviders"):
            raise
        message = f"no request can be sent, because requests cannot be imported: {error}"
    else:
        return Session
    raise DependencyError(message, hint="python -m pip install requests")
