"""Outages: errors that concern all rows of a run, and not only the row that failed.

If no row can succeed now, for example because the server is down, a run should stop. Otherwise it
would fail all remaining rows one by one.
"""

from __future__ import annotations

from typing import Tuple

from localproviders.errors import (
    AllFailedError,
    AuthenticationError,
    CertificateError,
    LocalityError,
    ModelLoadError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    ServerBusyError,
    UnreachableError,
    WrongModelError,
)

# Errors that the server would raise for every request.
_OF_THE_SERVER = (
    UnreachableError,
    CertificateError,
    ProtocolError,
    ServerBusyError,
    AuthenticationError,
)
# Errors that the server would raise for every request with the same model.
_OF_THE_MODEL = (ModelNotFoundError, ModelLoadError, WrongModelError, LocalityError)
# If the first question about the model of a run ends with one of these errors, no row is sent. The
# other errors above may concern only this question.
_AT_START = (
    UnreachableError,
    CertificateError,
    AuthenticationError,
    ModelNotFoundError,
    LocalityError,
)


def causes_of(error: ProviderError) -> Tuple[ProviderError, ...]:
    """Return the errors of the single servers, if several were tried; or the error itself."""
    if not isinstance(error, AllFailedError) or not error.errors:
        return (error,)
    return tuple(cause for each in error.errors for cause in causes_of(each))


def is_outage(error: ProviderError, *, has_known_model: bool) -> bool:
    """Return whether the requests of other rows would fail with an error, too.

    Args:
        error: The error of a row.
        has_known_model: Whether the row has the model of the run, or a model that has answered
            before. The name of another model may be a mistake in this row.
    """
    classes = (*_OF_THE_SERVER, *_OF_THE_MODEL) if has_known_model else _OF_THE_SERVER
    return all(isinstance(cause, classes) for cause in causes_of(error))


def is_outage_at_start(error: ProviderError) -> bool:
    """Return whether no row can succeed if the question about the model ends with this error."""
    return all(isinstance(cause, _AT_START) for cause in causes_of(error))
