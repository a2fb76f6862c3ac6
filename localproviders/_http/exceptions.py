"""Translate exceptions of `requests`, `urllib3` and `http.client` to `ProviderError`."""

from __future__ import annotations

import http.client
import socket
import ssl
import zlib
from typing import Callable, List, Optional, Tuple, Type

import requests
import urllib3

from localproviders._http.deadline import Call, Stop, stopped
from localproviders._http.retry import cut_off
from localproviders._http.socket import HeadTooLarge
from localproviders._interrupts import callers_exception
from localproviders.errors import (
    AnswerTooLargeError,
    CertificateError,
    ConfigurationError,
    ProtocolError,
    ProviderError,
    TransportError,
    UnreachableError,
)

_Maker = Callable[[BaseException, Call], ProviderError]


_PORT = "check that this is the right port; a server with TLS needs https:// in its address"


def _interrupted(_: BaseException, call: Call) -> ProviderError:
    if call.got_bytes:
        return cut_off("the connection broke before the response was complete")
    hint = None if call.reused else _PORT
    return cut_off("the server closed the connection without a response", hint)


def _tls(error: BaseException, call: Call) -> ProviderError:
    if call.got_bytes:
        return _interrupted(error, call)  # the handshake had succeeded; the connection broke later
    if "WRONG_VERSION_NUMBER" in str(error) or "UNKNOWN_PROTOCOL" in str(error):
        return CertificateError(
            "the server does not speak TLS", hint="write http:// in its address"
        )
    hint = "to trust your own certificate authority, pass ca_bundle=<path>"
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.CertificateError):
        hint = (
            "write http:// in the address if the server does not use TLS; pass client_cert=<path>"
            " if it requires a client certificate"
        )
    message = getattr(error, "verify_message", "") or _message(error)
    return CertificateError(f"TLS failed: {message}", hint=hint)


def _unreachable(error: BaseException, _: Call) -> ProviderError:
    if isinstance(error, socket.gaierror):
        return UnreachableError(f"the host name cannot be resolved: {_message(error)}")
    return UnreachableError(f"the server cannot be reached: {_message(error)}")


def _garbled(error: BaseException, _: Call) -> ProviderError:
    return ProtocolError(
        f"the response is not HTTP: {type(error).__name__}",
        hint="check that this is the right port, and whether the address needs https://",
    )


def _not_compressed(*_: object) -> ProviderError:
    return ProtocolError("the compressed response cannot be decompressed")


def _too_large(*_: object) -> ProviderError:
    return AnswerTooLargeError("the headers of the response are larger than 1 MiB")


def _bad_header(error: BaseException, call: Call) -> ProviderError:
    if call.got_bytes:
        return _garbled(error, call)  # the invalid header is in the response
    # The error names only the class of the exception, because the message of the exception may
    # quote the header with the API key.
    return ConfigurationError(f"the request cannot be sent: {type(error).__name__}")


# Errors for an address or a header that cannot be sent. They are checked first, because requests
# derives them from OSError. Any other OSError means that the server is unreachable.
_IMPOSSIBLE = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidURL,
    urllib3.exceptions.InvalidHeader,
)

# urllib3 1.26 compares the names in a certificate itself. For a wrong name, newer releases of 1.26
# raise no exception of ssl, but all releases raise `urllib3.exceptions.SSLError`.
_TLS = (ssl.SSLError, urllib3.exceptions.SSLError)

# Functions that make the error, by the class of the exception. All exceptions of a chain are
# compared with the rows, the innermost exception first, because the outer ones only say
# "connection error". The first row that matches is used.
_TABLE: List[Tuple[Tuple[Type[BaseException], ...], _Maker]] = [
    ((HeadTooLarge,), _too_large),
    (_TLS, _tls),
    ((urllib3.exceptions.NewConnectionError, socket.gaierror), _unreachable),
    ((http.client.IncompleteRead, http.client.RemoteDisconnected), _interrupted),
    ((ConnectionResetError, ConnectionAbortedError, BrokenPipeError), _interrupted),
    ((http.client.HTTPException,), _garbled),
    ((zlib.error,), _not_compressed),
    ((urllib3.exceptions.ProtocolError,), _interrupted),
]


def translate(error: BaseException, call: Call) -> BaseException:
    """Return the `ProviderError` for an exception, with the operating system's error as its cause.

    An exception of the caller, such as one that a signal handler raised, is returned unchanged,
    even if the library `requests` has wrapped it.

    Args:
        error: The exception.
        call: The call that the exception ended.
    """
    callers = callers_exception(error)
    if callers is not None:
        return callers
    chain = _chain(error)
    for link in chain:
        # The frames of urllib3 hold the request headers, which contain the API key.
        link.__traceback__ = None
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, Stop):
        return stopped(error, call)
    ours = next((link for link in chain if isinstance(link, ProviderError)), None)
    if ours is not None:
        return ours
    made = _look_up(chain, call)
    made.__cause__ = next((link for link in chain if _is_from_system(link)), None)
    if made.__cause__ is not None:
        # The context is dropped: it may be an exception of urllib3, or an exception that the
        # caller was handling.
        made.__cause__.__context__ = None
    return made


def _is_from_system(link: BaseException) -> bool:
    """Return whether an exception's message is from the operating system, and so safe to show.

    Exceptions of the library `requests` hold the request, and exceptions of http.client hold text
    from the server. The exception of a failed tunnel holds text from the proxy, which may quote
    the proxy's password.
    """
    if str(link).startswith("Tunnel connection failed"):
        return False
    return isinstance(link, OSError) and not isinstance(link, requests.RequestException)


def _look_up(chain: List[BaseException], call: Call) -> ProviderError:
    """Return a new error that describes this chain of exceptions."""
    impossible = next((link for link in chain if isinstance(link, _IMPOSSIBLE)), None)
    if impossible is not None:
        return _bad_header(impossible, call)
    # Before the connection is open, every system error except a TLS error means that the server
    # cannot be reached.
    if not call.connected and any(isinstance(link, OSError) for link in chain):
        tls = next((link for link in chain if isinstance(link, _TLS)), None)
        return _tls(tls, call) if tls else _unreachable(chain[0], call)
    for link in chain:
        for classes, maker in _TABLE:
            if isinstance(link, classes):
                return maker(link, call)
    return TransportError(f"the connection failed: {type(chain[-1]).__name__}")


def _chain(error: BaseException) -> List[BaseException]:
    """Return an exception and the exceptions that caused it, the innermost first.

    requests and urllib3 store a wrapped exception as an argument or in `reason`. The context of
    an exception is ignored, because it may be unrelated: for example, an error that the caller
    is handling while it makes this call.
    """
    chain: List[BaseException] = []
    seen = set()
    todo: List[Optional[BaseException]] = [error]
    while todo:
        link = todo.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        chain.insert(0, link)
        todo.extend(a for a in link.args if isinstance(a, BaseException))
        todo.extend([getattr(link, "reason", None), link.__cause__])
        todo = [item for item in todo if isinstance(item, BaseException)]
    return chain


def _message(error: BaseException) -> str:
    """Return the message of a system error without its number and its file names."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # For an ssl error with one argument, str() would return the text of a tuple.
    only = error.args[0] if len(error.args) == 1 else None
    return only if isinstance(only, str) else str(error) or type(error).__name__
