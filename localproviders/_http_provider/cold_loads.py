"""Find out whether a server may have to load the model before it answers a request.

Only then is `load_s` added to the time limit for the first token.
"""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Hashable, List, Mapping, NamedTuple, Optional, Protocol

from localproviders._http.deadline import Call
from localproviders.errors import (
    CancelledError,
    LocalityError,
    ProviderError,
    UnreachableError,
    UnsupportedError,
)
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.models import LoadedModel

# If a request for the list of loaded models fails with one of these errors, the call ends, because
# the caller's own request would raise the same error.
_FINAL = (CancelledError, LocalityError, UnreachableError)

# Time limit in seconds for the request for the list of loaded models. A busy server may answer
# late. If it does, the call continues without the list.
_ASKING_S = 5.0

# Seconds for which a model counts as loaded after its answer, if its keep-alive is not known. This
# is less than the defaults of the servers, because a user can change these defaults. Ollama keeps a
# model for 5 minutes, LM Studio for 60 minutes.
USUAL_S = 60.0

# If a model will leave memory within this number of seconds, it may be gone when the request
# arrives.
_LEAST_S = 1.0


class ListingProvider(Protocol):
    """The members of a provider that list the models in its server's memory."""

    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """Return the models in memory."""
        ...

    def _serves(self, loaded: LoadedModel, model: str) -> bool:
        """Return whether a model in memory answers requests for this name."""
        ...


class KeepAlive(NamedTuple):
    """The rules by which a kind of server keeps models in memory.

    Attributes:
        is_listed: Whether the server lists the models in its memory. If not, nothing about its
            memory is known.
        restarts: Whether each request sets the keep-alive of its model. If not, only the request
            that loads the model sets it.
        options_of: Returns, from the JSON of a request, the options with which the server loads
            a model. A request with other options makes the server load the model again.
        endless_s: Seconds for which a model counts as loaded if the server's list does not say when
            the model leaves memory.
    """

    is_listed: bool = False
    restarts: bool = False
    options_of: Callable[[Mapping[str, Any]], Hashable] = lambda _: None
    endless_s: float = math.inf


class _State(NamedTuple):
    """The known facts about a model in memory.

    Attributes:
        is_loaded: Whether the model is in memory; None if this is not known.
        until: Time until which these facts count as known.
        keep_alive_s: Seconds for which the model stays in memory after an answer.
    """

    is_loaded: Optional[bool]
    until: float
    keep_alive_s: float


# For these states, `may_load` is true without a request to the server. The states hold until an
# answer or a failure. Servers list a model before it is completely loaded, so the list would be
# wrong while the request of another thread loads the model.
_UNKNOWN = _State(None, math.inf, USUAL_S)
_COLD = _State(False, math.inf, USUAL_S)


class ColdLoads:
    """The facts of one provider about the models in the memory of its server.

    After an answer, a model counts as loaded for the time of its keep-alive. If a request begins
    later than that, the server is asked first for the models in its memory. All other calls,
    including the first call to a model, send no additional request. In the first call to a model,
    `load_s` is always added.

    There is no lock. Operations of a dictionary are atomic, so the worst that can happen is that
    two threads ask the server about the same model.

    Args:
        rule: How the server keeps models in memory.
    """

    def __init__(self, rule: KeepAlive) -> None:
        self._rule = rule
        self._states: Dict[str, _State] = {}
        #: The load options of the last request for each model.
        self._options: Dict[str, Hashable] = {}

    def may_load(
        self, model: str, payload: Mapping[str, Any], call: Call, provider: ListingProvider
    ) -> bool:
        """Return whether the server may have to load a model for a request.

        Args:
            model: Name of the model.
            payload: JSON of the request.
            call: The call of the request. If `load_s` has no effect on its limits, the server is
                not asked.
            provider: The provider of the call.

        Raises:
            ProviderError: Asking the server failed with an error that the request itself would
                raise, too.
        """
        if not self._rule.is_listed:
            return True
        options = self._rule.options_of(payload)
        if self._options.setdefault(model, options) != options:
            self._options[model], self._states[model] = options, _COLD
        known, limits = self._states.get(model, _UNKNOWN), call.limits
        if not limits.load_s or math.isinf(limits.first_token_s):
            return True
        if known.until <= time.monotonic():
            known = self._ask(model, call, provider)
        return not known.is_loaded

    def answered(self, model: str, keep_alive_s: Optional[float]) -> None:
        """Remember that a model has answered a request.

        Args:
            model: Name of the model.
            keep_alive_s: The keep-alive of the request in seconds; None if it had none.
        """
        if not self._rule.is_listed:
            return
        known = self._states.get(model, _UNKNOWN)
        if not known.is_loaded:
            self._doubt_others(model)
        kept_s = known.keep_alive_s
        if keep_alive_s is not None:
            applies = self._rule.restarts or known.is_loaded is False
            kept_s = keep_alive_s if applies else min(kept_s, keep_alive_s)
        self._states[model] = _State(True, time.monotonic() + kept_s, kept_s)

    def loaded(self, model: str, found: LoadedModel) -> None:
        """Remember that a model was loaded, as the server reports it."""
        self._states[model] = self._state_of(found)

    def forget(self, model: Optional[str] = None) -> None:
        """Drop the knowledge about a model; None drops the knowledge about all models."""
        for facts in (self._states, self._options):
            if model is None:
                facts.clear()
            else:
                facts.pop(model, None)

    def _ask(self, model: str, call: Call, provider: ListingProvider) -> _State:
        """Return the server's answer about a model, and remember it."""
        try:
            state = self._state_of(find_loaded(provider, model, call, _ASKING_S))
        except _FINAL:
            raise
        except ProviderError:
            call.look()  # if a limit of the call itself has expired, the call ends here
            state = _UNKNOWN  # the server is asked again a minute after the next answer
        self._states[model] = state
        return state

    def _state_of(self, found: Optional[LoadedModel]) -> _State:
        left_s = self._rule.endless_s
        if found is not None and found.expires_at is not None:
            left_s = (found.expires_at - datetime.now(timezone.utc)).total_seconds()
        if found is None or left_s < _LEAST_S:
            return _COLD
        return _State(True, time.monotonic() + left_s, left_s)

    def _doubt_others(self, model: str) -> None:
        """Make later calls ask about the other models, which a load may have removed from memory.

        Args:
            model: Name of the model that was loaded.
        """
        for name, state in list(self._states.items()):
            if name != model and state.is_loaded:
                self._states[name] = state._replace(until=0.0)


def find_loaded(
    provider: ListingProvider, model: str, call: Call, total_s: float = math.inf
) -> Optional[LoadedModel]:
    """Return the model in the server's memory; None if it is not there.

    Args:
        provider: The provider of the call.
        model: Name of the model.
        call: The call. Its limits apply.
        total_s: A further limit for the request, in seconds.

    Raises:
        UnsupportedError: The server does not list the models in its memory.
        ProviderError: The request failed.
    """
    limits = call.listing_limits()
    limits = limits.replace(total_s=min(limits.total_s, total_s))
    for found in provider.loaded_models(timeout=limits, cancel=call.token):
        if provider._serves(found, model):
            return found
    return None


def loaded_window(provider: ListingProvider, model: str, call: Call) -> Optional[int]:
    """Return the context window of a model in the server's memory; None if it is unknown."""
    try:
        found = find_loaded(provider, model, call)
    except UnsupportedError:
        return None
    return None if found is None else found.context_length
