"""Send a request again without a field that the server refuses, or after a reload of the model.

This package adds some fields to requests by itself. A server that refuses one of them must not be
unusable for that reason. So the request is sent again without the field, once, the response has a
warning, and the provider remembers the refusal. A field of the caller's is never left out.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Set,
    Tuple,
)

from localproviders._http.deadline import Call
from localproviders._http.retry import Attempts
from localproviders._http.transport import Body, Payload, encode
from localproviders._redact import without_prompt
from localproviders.errors import (
    CapabilityError,
    ProviderError,
    RequestRejectedError,
    ServerError,
    UnsupportedError,
)
from localproviders.secret import Unseen
from localproviders.settings import Settings

# Classes of the errors that may refuse a field. Classes that derive from these have other reasons.
_REFUSALS = (RequestRejectedError, CapabilityError, UnsupportedError, ServerError)

# With status 4xx, the server has refused the request before it did any work. Without an error
# status, or with 5xx, the text must show that by one of these phrases.
_NOT_SUPPORTED = (
    r"\bun(supported|recogni[sz]ed|known|expected|implemented)\b"
    r"|(not|n't) (yet |currently |be )*(support|permit|allow|implement|accept|recogni[sz]|enabled)"
    r"|\b(extra|invalid|no such) (input|field|param|argument)"
)

# A refusal with one of these words concerns the requested model, and not the server.
_ABOUT_A_MODEL = r"\bmodels?\b|模型"


class OwnField(NamedTuple):
    """A field that this package adds to requests, and without which the server can still answer.

    Attributes:
        name: Name of the field, for the warning.
        refusal: Pattern of the error texts that refuse the field, ignoring case. The dot also
            matches a line break.
        keys: Keys of the request body that change if the field is left out. If the caller has set
            one of them, the field is the caller's.
        leave_out: Removes the field from a request body; returns whether the body had it.
        lost: What changes for the caller, for the warning.
        combined: Pattern of the error texts that refuse the field only together with another
            field of the request. Such a refusal is not remembered.
    """

    name: str
    refusal: str
    keys: Tuple[str, ...]
    leave_out: Callable[[Dict[str, Any]], bool]
    lost: str
    combined: str = r"(?!)"


class RefusedFields:
    """The fields that the server of one provider refuses, by path and model.

    There is no lock, because adding to a set is atomic, and nothing is removed from it.
    """

    def __init__(self) -> None:
        self._known: Set[Tuple[str, Optional[str], str]] = set()

    def add(self, path: str, model: Optional[str], name: str) -> None:
        """Remember a refusal; None as the model means all models."""
        self._known.add((path, model, name))

    def among(self, fields: Sequence[OwnField], path: str, model: str) -> List[OwnField]:
        """Return those of the fields that the server refuses."""
        return [
            field
            for field in fields
            if (path, None, field.name) in self._known or (path, model, field.name) in self._known
        ]

    def __bool__(self) -> bool:
        return bool(self._known)


def refused(
    error: ProviderError, fields: Iterable[OwnField], texts: Iterable[str]
) -> Dict[OwnField, str]:
    """Return the fields that the server refuses in this error, each with the server's text.

    Args:
        error: The error of a request.
        fields: The fields to search for.
        texts: The texts of the request. A quotation of them is no refusal.
    """
    if type(error) not in _REFUSALS or not error.server_message:
        return {}
    said = Unseen(without_prompt(error.server_message, texts))
    is_early = error.status is not None and 400 <= error.status < 500
    if not is_early and not _says(_NOT_SUPPORTED, said):
        return {}
    return {field: said for field in fields if _says(field.refusal, said)}


def _says(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None


class Prepared(NamedTuple):
    """A request that is ready to be sent: its path and body, and the reader of its response."""

    path: str
    body: Body
    accept: str
    reader: Any


class SendingProvider(Protocol):
    """The members of a provider that `Sending` uses."""

    settings: Settings
    _accept: str
    _refused: RefusedFields

    @property
    def name(self) -> str:
        """Name of the provider."""
        ...

    def _own_fields(self, path: str) -> Sequence[OwnField]:
        """Return the fields that this package adds to requests to a path, and can leave out."""
        ...

    def _reload_evicted(self, error: ProviderError, model: str, call: Call) -> Optional[str]:
        """Reload a model that was evicted from memory, and return a warning; else return None."""
        ...


class Sending:
    """One request of a call, which is sent again if a change can make the server accept it.

    Args:
        provider: The provider of the call.
        model: Name of the model.
        call: The call.
        make: Makes the request: its path, its JSON, and the reader of its response. It is called
            once for each time that the request is sent.
        texts: Returns the texts of the request.
        given: The caller's own fields of the request body; a field that is None is not sent.

    Attributes:
        attempts: The attempts to send the request, for `Transport.open`.
    """

    def __init__(
        self,
        provider: SendingProvider,
        model: str,
        call: Call,
        make: Callable[[Call], Tuple[str, Mapping[str, Any], Any]],
        texts: Callable[[], Iterable[str]],
        given: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._provider, self._model, self._call, self._make = provider, model, call, make
        self._texts, self._given = texts, {key for key in given if given[key] is not None}
        self._path = ""
        self._left_out: Dict[OwnField, str] = {}
        self._warnings: List[str] = []
        self._is_reloaded = False
        self.attempts = Attempts(provider.settings.retry, call)

    def prepare(self) -> Prepared:
        """Make the request, without the fields that the server refuses.

        Raises:
            ProviderError: The request cannot be made.
        """
        path, payload, reader = self._make(self._call)
        self._path = path
        if self._provider._refused or self._left_out:
            payload = self._reduced(path, payload)
        accept = self._provider._accept if payload.get("stream") else "application/json"
        return Prepared(path, encode(payload), accept, reader)

    def recover(self, error: ProviderError) -> None:
        """Change the request, or load its model again, so that it can be sent once more.

        Raises:
            ProviderError: The given error, because no change can help; or a limit expired.
        """
        if self._can_leave_out(error):
            self.attempts.repeat(error)
            return
        reloaded = None if self._is_reloaded else self._reload(error)
        if reloaded is None:
            raise error
        self._warnings.append(reloaded)
        self.attempts.repeat()  # the reload has been reported to the listener

    def accepted(self) -> List[str]:
        """Remember the fields that were left out, and return the warnings for the response."""
        for field, said in self._left_out.items():
            if said and not _says(field.combined, said):
                is_general = not _says(_ABOUT_A_MODEL, said) and self._model not in said
                model = None if is_general else self._model
                self._provider._refused.add(self._path, model, field.name)
        return self._warnings

    def _reload(self, error: ProviderError) -> Optional[str]:
        self._is_reloaded = True
        return self._provider._reload_evicted(error, self._model, self._call)

    def _ours(self, path: str) -> List[OwnField]:
        """Return the fields that this package has added, and the caller has not set."""
        fields = self._provider._own_fields(path)
        return [field for field in fields if not self._given.intersection(field.keys)]

    def _can_leave_out(self, error: ProviderError) -> bool:
        """Return whether the server refuses a field that the request has and can do without."""
        fields = [field for field in self._ours(self._path) if field not in self._left_out]
        found = refused(error, fields, self._texts())
        if not found:
            return False
        path, payload, _ = self._make(self._call)
        payload = self._reduced(path, payload)
        present = {field: said for field, said in found.items() if field.leave_out(payload)}
        self._left_out.update(present)
        return bool(present)

    def _reduced(self, path: str, payload: Mapping[str, Any]) -> Payload:
        """Return the JSON without the fields that the server refuses; add the warnings."""
        payload = Payload(payload)
        ours = self._ours(path)
        for field in self._provider._refused.among(ours, path, self._model):
            self._left_out.setdefault(field, "")
        for field in [field for field in ours if field in self._left_out]:
            if field.leave_out(payload):
                self._warn(field)
        return payload

    def _warn(self, field: OwnField) -> None:
        warning = f"{self._provider.name} refuses {field.name}, so it was left out: {field.lost}"
        if warning not in self._warnings:
            self._warnings.append(warning)
