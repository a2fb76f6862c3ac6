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
from localproviders._http.deadline import Call, Stop
from localproviders.errors import (
    AnswerTooLargeError,
    CancelledError,
    CertificateError,
    ConfigurationError,
    LimitError,
    LinkError,
    ProtocolError,
    ProviderError,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders.types.limits import describe

_Maker = Callable[[BaseException, Call], ProviderError]


def stopped(stop: Stop, call: Call) -> ProviderError:
    """Say that a limit or the caller ended the call."""
    if stop.limit is None:
        return CancelledError("the call was cancelled")
    hint = f"raise it with timeout=Limits({stop.limit}=...)"
    message = f"{stop.limit} of {describe(stop.limit_s)} ran out after {call.elapsed_s:.3g} s"
    if stop.limit == "first_token_s":
        hint = "a cold model needs time to load: raise load_s or first_token_s"
        message = (
            f"no token within {describe(stop.limit_s)} (load_s {describe(call.limits.load_s)}"
            f" and first_token_s {describe(call.limits.first_token_s)})"
        )
    return LimitError(
        message, hint=hint, limit=stop.limit, limit_s=stop.limit_s, elapsed_s=call.elapsed_s
    )


def _cut(_: BaseException, call: Call) -> ProviderError:
    if call.got_bytes:
        return StreamInterruptedError("the connection broke before the answer was complete")
    return StreamInterruptedError("the server closed the connection without an answer")


def _tls(error: BaseException, _: Call) -> ProviderError:
    if "WRONG_VERSION_NUMBER" in str(error) or "UNKNOWN_PROTOCOL" in str(error):
        return CertificateError(
            "the server does not speak TLS", hint="write http:// in its address"
        )
    return CertificateError(
        f"TLS failed: {getattr(error, 'verify_message', '') or _words(error)}",
        hint="trust a certificate authority of your own with ca_bundle=<path>",
    )


def _unreachable(error: BaseException, _: Call) -> ProviderError:
    return UnreachableError(f"the server cannot be reached: {_words(error)}")


def _garbled(error: BaseException, _: Call) -> ProviderError:
    return ProtocolError(f"what came is not HTTP: {type(error).__name__}")


def _not_compressed(*_: object) -> ProviderError:
    return ProtocolError("the answer is not compressed in the way that it says")


def _too_large(*_: object) -> ProviderError:
    return AnswerTooLargeError("the headers of the answer never end")


def _bad_header(error: BaseException, call: Call) -> ProviderError:
    if call.got_bytes:
        return _garbled(error, call)  # it was a header of the answer
    # Its text may quote a header, and with it the key.
    return ConfigurationError(f"the request cannot be sent: {type(error).__name__}")


# These are OSErrors too, and would look like a server that is away.
_UNSENDABLE = (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL)

# Read from the top; the first class that fits decides. The exceptions are looked at from
# the innermost outwards, because the outer ones only say "connection error".
_TABLE: List[Tuple[Tuple[Type[BaseException], ...], _Maker]] = [
    ((HeadTooLarge,), _too_large),
    ((ssl.SSLError, ssl.CertificateError), _tls),
    ((urllib3.exceptions.NewConnectionError, socket.gaierror), _unreachable),
    ((http.client.IncompleteRead, http.client.RemoteDisconnected), _cut),
    ((ConnectionResetError, ConnectionAbortedError, BrokenPipeError), _cut),
    ((http.client.HTTPException,), _garbled),
    ((zlib.error,), _not_compressed),
    ((*_UNSENDABLE, urllib3.exceptions.InvalidHeader), _bad_header),
    ((urllib3.exceptions.ProtocolError,), _cut),
]


def translate(error: BaseException, call: Call) -> ProviderError:
    """Give our error for a foreign one, with the innermost cause attached.

    requests' own exceptions are not attached: they hold the request, and with it the key
    and the prompt.

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
    made.__cause__ = next(
        (
            link
            for link in chain
            if isinstance(link, (OSError, http.client.HTTPException))
            and not isinstance(link, requests.RequestException)
        ),
        None,
    )
    made.__suppress_context__ = True
    return made


def _look_up(chain: List[BaseException], call: Call) -> ProviderError:
    if not call.connected and any(isinstance(link, _UNSENDABLE) for link in chain):
        return _bad_header(chain[-1], call)
    if not call.connected and any(isinstance(link, OSError) for link in chain):
        tls = next((link for link in chain if isinstance(link, ssl.SSLError)), None)
        return _tls(tls, call) if tls else _unreachable(chain[0], call)
    for link in chain:
        for classes, maker in _TABLE:
            if isinstance(link, classes):
                return maker(link, call)
    return LinkError(f"the connection failed: {type(chain[-1]).__name__}")


def _inwards(error: BaseException) -> List[BaseException]:
    """List an exception and those inside it, innermost first."""
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
        todo.extend([getattr(link, "reason", None), link.__cause__, link.__context__])
        todo = [item for item in todo if isinstance(item, BaseException)]
    return chain


def _words(error: BaseException) -> str:
    """Give the system's words for an error, without the objects around them."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
