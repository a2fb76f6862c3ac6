"""One door for foreign exceptions: every one becomes an error of ours, here."""

from __future__ import annotations

import http.client
import socket
import ssl
import zlib
from typing import Callable, List, Optional, Tuple, Type

import requests
import urllib3

from localproviders._http.connection import HeadTooLarge
from localproviders._http.deadline import Call, Stop, stopped
from localproviders.errors import (
    AnswerTooLargeError,
    CertificateError,
    ConfigurationError,
    LinkError,
    ProtocolError,
    ProviderError,
    StreamInterruptedError,
    UnreachableError,
)

_Maker = Callable[[BaseException, Call], ProviderError]


def _cut(_: BaseException, call: Call) -> ProviderError:
    if call.got_bytes:
        return StreamInterruptedError("the connection broke before the answer was complete")
    return StreamInterruptedError("the server closed the connection without an answer")


def _tls(error: BaseException, call: Call) -> ProviderError:
    if call.got_bytes:
        return _cut(error, call)  # what was agreed on was broken later
    if "WRONG_VERSION_NUMBER" in str(error) or "UNKNOWN_PROTOCOL" in str(error):
        return CertificateError(
            "the server does not speak TLS", hint="write http:// in its address"
        )
    hint = "trust a certificate authority of your own with ca_bundle=<path>"
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.CertificateError):
        hint = "does the server speak TLS, and want a certificate of yours? client_cert=<path>"
    words = getattr(error, "verify_message", "") or _words(error)
    return CertificateError(f"TLS failed: {words}", hint=hint)


def _unreachable(error: BaseException, _: Call) -> ProviderError:
    return UnreachableError(f"the server cannot be reached: {_words(error)}")


def _garbled(error: BaseException, _: Call) -> ProviderError:
    return ProtocolError(
        f"what came is not HTTP: {type(error).__name__}",
        hint="is this the right port, and does it want https:// in its address?",
    )


def _not_compressed(*_: object) -> ProviderError:
    return ProtocolError("the answer is not compressed in the way that it says")


def _too_large(*_: object) -> ProviderError:
    return AnswerTooLargeError("the headers of the answer never end")


def _bad_header(error: BaseException, call: Call) -> ProviderError:
    if call.got_bytes:
        return _garbled(error, call)  # it was a header of the answer
    # Its text may quote a header, and with it the key.
    return ConfigurationError(f"the request cannot be sent: {type(error).__name__}")


# An address or a header that cannot be written. requests derives these from OSError too.
_IMPOSSIBLE = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidURL,
    urllib3.exceptions.InvalidHeader,
)

# urllib3 1.26 may compare the names itself, and then only its own class tells.
_TLS = (ssl.SSLError, urllib3.exceptions.SSLError)

# Read from the top; the first class that fits decides. The exceptions are looked at from
# the innermost outwards, because the outer ones only say "connection error".
_TABLE: List[Tuple[Tuple[Type[BaseException], ...], _Maker]] = [
    ((HeadTooLarge,), _too_large),
    (_TLS, _tls),
    ((urllib3.exceptions.NewConnectionError, socket.gaierror), _unreachable),
    ((http.client.IncompleteRead, http.client.RemoteDisconnected), _cut),
    ((ConnectionResetError, ConnectionAbortedError, BrokenPipeError), _cut),
    ((http.client.HTTPException,), _garbled),
    ((zlib.error,), _not_compressed),
    ((urllib3.exceptions.ProtocolError,), _cut),
]


def translate(error: BaseException, call: Call) -> ProviderError:
    """Give our error for a foreign one, with the system's own error as its cause.

    Args:
        error: What was raised.
        call: The call that it ended.
    """
    chain = _inwards(error)
    for link in chain:
        # The frames of urllib3 hold the headers, and with them the key.
        link.__traceback__ = None
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, Stop):
        return stopped(error, call)
    ours = next((link for link in chain if isinstance(link, ProviderError)), None)
    if ours is not None:
        return ours
    made = _look_up(chain, call)
    made.__cause__ = next((link for link in chain if _may_be_seen(link)), None)
    if made.__cause__ is not None:
        made.__cause__.__context__ = None  # what was wrapped on the way, or the caller's own
    return made


def _may_be_seen(link: BaseException) -> bool:
    """Whether an exception holds the system's words only.

    requests' hold the request, http.client's what came from the server.
    """
    return isinstance(link, OSError) and not isinstance(link, requests.RequestException)


def _look_up(chain: List[BaseException], call: Call) -> ProviderError:
    impossible = next((link for link in chain if isinstance(link, _IMPOSSIBLE)), None)
    if impossible is not None:
        return _bad_header(impossible, call)
    if not call.connected and any(isinstance(link, OSError) for link in chain):
        tls = next((link for link in chain if isinstance(link, _TLS)), None)
        return _tls(tls, call) if tls else _unreachable(chain[0], call)
    for link in chain:
        for classes, maker in _TABLE:
            if isinstance(link, classes):
                return maker(link, call)
    return LinkError(f"the connection failed: {type(chain[-1]).__name__}")


def _inwards(error: BaseException) -> List[BaseException]:
    """List an exception and those that it says it came from, innermost first.

    Not its context: that may be an error which the caller is just handling, with a call of
    ours as the remedy. requests and urllib3 hand on what they wrap as an argument.
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


def _words(error: BaseException) -> str:
    """Give the system's words for an error, without the objects around them."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # With a single argument, ssl's errors would show it as a tuple.
    only = error.args[0] if len(error.args) == 1 else None
    return only if isinstance(only, str) else str(error) or type(error).__name__
