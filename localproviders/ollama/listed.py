"""Checks of a model against the server's model list, before a call sends a prompt to it."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Dict, Iterable, List, Optional, Tuple

from localproviders._http.deadline import Call
from localproviders._http.transport import Transport
from localproviders.errors import UnsupportedError, WrongModelError
from localproviders.ollama.names import (
    display_name,
    is_cloud,
    listed_name,
    split_source,
)
from localproviders.ollama.wire.errors import missing_model, refuse_cloud
from localproviders.ollama.wire.responses import Listed, parse_listed
from localproviders.settings import Settings
from localproviders.types.inputs import hex_digest

# Seconds for which a model list is used again, so that most calls do not have to request it. In
# this time, a cloud model can replace a local model only if a user pulls or creates a model of the
# same name, or copies a model to this name. The response to each prompt is checked as well.
_KNOWN_S = 60.0


@lru_cache(maxsize=4096)
def _key(name: str) -> str:
    """Return a dictionary key that is the same for all spellings of a model's name."""
    return display_name(listed_name(name)).lower()


class ListedModels:
    """A cache of the server's model list, for a minute: the local models, and all digests.

    The cache has no lock. Its parts are replaced as a whole, or changed by atomic operations.

    Args:
        settings: The provider's settings.
        transport: The provider's transport.
    """

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        #: Time until which a model counts as local, by the requested name.
        self._local_until: Dict[str, float] = {}
        #: Time until which the digests are known, and the digests.
        self._digests: Tuple[float, Dict[str, Optional[str]]] = (0.0, {})

    def check_locality(self, model: str, call: Call) -> None:
        """Check that the policy allows sending a prompt to a model.

        Raises:
            LocalityError: The model runs in the cloud, and `locality` is not ``any``.
            ModelNotFoundError: The list has no such model.
            ProviderError: The list could not be read.
        """
        # The rules are in docs/reference/ollama.md, "Cloud models".
        if self._settings.locality == "any":
            return
        self._refuse_cloud_name(model)
        if self._local_until.get(model, 0.0) <= time.monotonic():
            self._find(model, self._read(call))

    def check_digest(self, model: str, expected: str, call: Call) -> None:
        """Read the list again, and check that the digest of a model begins with `expected`.

        Raises:
            WrongModelError: The model has another digest.
            UnsupportedError: The list has no digest of the model, or the model runs in the cloud.
            LocalityError: The model runs in the cloud, and `locality` is not ``any``.
            ModelNotFoundError: The list has no such model.
            ProviderError: The list could not be read.
        """
        if self._settings.locality != "any":
            self._refuse_cloud_name(model)
        if is_cloud(model):
            raise _no_digest(model, "it runs in the cloud")
        for found in self._find(model, self._read(call)):
            if found.host is not None:
                raise _no_digest(model, "it runs in the cloud")
            if found.digest is None:
                raise _no_digest(model, "the list of models has no digest of it")
            if not found.digest.startswith(expected):
                raise _wrong_digest(model, expected, found.digest)

    def learn(self, models: Iterable[Tuple[str, Optional[str]]]) -> None:
        """Remember the digests in a complete list.

        If the list has several digests for one name, it does not show which model would answer.
        The digest of this name is then unknown.
        """
        found: Dict[str, Optional[str]] = {}
        for name, word in models:
            key, digest = _key(name), hex_digest(word)
            found[key] = digest if found.get(key, digest) == digest else None
        self._digests = (time.monotonic() + _KNOWN_S, found)

    def digest_of(self, model: str) -> Optional[str]:
        """Return the digest of a model; None if no list read in the last minute has it."""
        until, digests = self._digests
        return digests.get(_key(model)) if until > time.monotonic() else None

    def forget(self) -> None:
        """Drop all facts, because a model may have changed."""
        self._local_until.clear()
        self._digests = (0.0, {})

    def _read(self, call: Call) -> List[Listed]:
        """Read the list, and remember its digests.

        Digests of stubs are left out. A stub is the small entry of a cloud model in the list.
        """
        listed = parse_listed(self._transport.json("GET", "/api/tags", call=call))
        self.learn((each.name, each.digest if each.host is None else None) for each in listed)
        return listed

    def _find(self, model: str, listed: List[Listed]) -> List[Listed]:
        """Return the list's entries of a model, usually one; remember that `locality` allows it.

        Raises:
            ModelNotFoundError: The list has no such model.
            LocalityError: The model runs in the cloud, and `locality` is not ``any``.
        """
        key = _key(split_source(model)[0])
        found = [each for each in listed if _key(each.name) == key]
        if not found:
            raise missing_model(model, [each.name for each in listed])
        for each in found:
            self.refuse_host(model, each.host)
        self._local_until[model] = time.monotonic() + _KNOWN_S
        return found

    def _refuse_cloud_name(self, model: str) -> None:
        if is_cloud(model):
            raise refuse_cloud(model, None, self._settings.locality)

    def refuse_host(self, model: str, host: Optional[str]) -> None:
        """Check that the policy allows the host that runs a model.

        A `host` of None means that the server itself runs the model.

        Raises:
            LocalityError: The policy does not allow the host.
        """
        if host is not None and self._settings.locality != "any":
            raise refuse_cloud(model, host, self._settings.locality)


def _no_digest(model: str, reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"expect_digest is not possible for {model!r}: {reason}",
        hint="leave expect_digest out, or name a model that runs on this server",
    )


def _wrong_digest(model: str, expected: str, found: str) -> WrongModelError:
    return WrongModelError(
        f"expected {model!r} with the digest {expected}, but the server has {found}",
        hint="the model was replaced: check the model and pass its new digest as expect_digest, "
        "or pull the model with the expected digest",
        requested=expected,
        served=found,
    )
