"""The headers in which a server says whether and when to send a request again."""

from __future__ import annotations

from typing import Mapping, Optional

from localproviders._dialect.values import retry_after
from localproviders.errors import (
    ProviderError,
    RequestRejectedError,
    ServerBusyError,
    ServerError,
)

# Classes of errors that a service can declare temporary with a header.
_PERHAPS_TEMPORARY = (RequestRejectedError, ServerError)


def as_retryable(error: ProviderError, word: str) -> ProviderError:
    """Apply OpenAI's header ``x-should-retry`` to the error of a response, and return the error.

    The header says whether the client should send the request again. The result may be a new error.

    Args:
        error: The error of the response.
        word: The value of the header, or an empty text.
    """
    if word == "false" and isinstance(error, ServerBusyError):
        error.retryable = False
    if word == "true" and type(error) in _PERHAPS_TEMPORARY:
        facts = {"status": error.status, "server_message": error.server_message}
        return ServerBusyError(error.message, hint=error.hint, **facts)  # type: ignore[arg-type]  # two types
    return error


def wait_in(headers: Mapping[str, str]) -> Optional[float]:
    """Return the seconds that a server asks the client to wait; None if no header names a time.

    The header ``retry-after-ms`` has priority over ``Retry-After``.
    """
    found = retry_after(headers.get("retry-after-ms"))
    return retry_after(headers.get("Retry-After")) if found is None else found / 1000
