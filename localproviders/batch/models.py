"""Ask the provider about the model of a run, before the first row is sent."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from localproviders.batch.arguments import Arguments
from localproviders.errors import (
    AuthenticationError,
    LocalityError,
    ModelNotFoundError,
    ProviderError,
    UnreachableError,
)
from localproviders.provider import ModelProvider

# If the provider raises one of these errors, the request of each row would fail with it, too.
_ERRORS_OF_ALL_ROWS = (AuthenticationError, LocalityError, ModelNotFoundError, UnreachableError)


def default_model(provider: ModelProvider) -> Optional[str]:
    """Return the default model of a provider; None if it has none, or does not report it."""
    settings = getattr(provider, "settings", None)
    found: Any = getattr(settings, "model", None)
    return found if isinstance(found, str) else None


def served_digest(
    provider: ModelProvider, model: Optional[str]
) -> Tuple[Optional[str], Optional[str]]:
    """Return the model of a run and its digest, as far as they are known.

    Args:
        provider: The provider.
        model: The argument `model` of the run.

    Raises:
        ModelNotFoundError: The server does not have the model.
        UnreachableError: No server answers.
        AuthenticationError: The server refuses the API key.
    """
    model = model or default_model(provider)
    if model is None:
        return None, None  # each row names its model
    try:
        return model, provider.model_info(model).digest
    except _ERRORS_OF_ALL_ROWS:
        raise
    except ProviderError:
        return model, None  # the server may still answer the rows


def slots_of(arguments: Arguments) -> Dict[str, Optional[int]]:
    """Return the number of slots of each server, by its address; None if it is not reported."""
    model = arguments.rules.fields.get("model")
    found: Dict[str, Optional[int]] = {}
    for provider in _hosts_of(arguments.provider):
        address = getattr(provider, "_address", None)
        name = model or default_model(provider)
        if isinstance(address, str) and name is not None:
            found[address] = _slots(provider, name)
    return found


def _hosts_of(provider: ModelProvider) -> List[ModelProvider]:
    several = getattr(type(provider), "providers", None)
    if several is None:
        return [provider]
    try:
        found: List[ModelProvider] = several(provider)
    except ProviderError:
        return []
    return found


def _slots(provider: ModelProvider, model: str) -> Optional[int]:
    try:
        return provider._slots(provider.model_info(model))
    except ProviderError:
        return None
