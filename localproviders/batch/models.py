"""Questions about the model of a run, before its first row."""

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

# Errors that each row would have, too.
_ERRORS_OF_ALL_ROWS = (AuthenticationError, LocalityError, ModelNotFoundError, UnreachableError)


def default_model(provider: ModelProvider) -> Optional[str]:
    """Return the model of a provider, if it has one and says so."""
    settings = getattr(provider, "settings", None)
    found: Any = getattr(settings, "model", None)
    return found if isinstance(found, str) else None


def served_digest(
    provider: ModelProvider, model: Optional[str]
) -> Tuple[Optional[str], Optional[str]]:
    """Return the model of a run and its digest, as far as they are known.

    Args:
        provider: The provider.
        model: The model that the run names.

    Raises:
        ModelNotFoundError: The server does not have the model.
        UnreachableError: No server answers.
        AuthenticationError: The server refuses the key.
    """
    model = model or default_model(provider)
    if model is None:
        return None, None  # the rows name their models
    try:
        return model, provider.model_info(model).digest
    except _ERRORS_OF_ALL_ROWS:
        raise
    except ProviderError:
        return model, None  # the server may answer chats all the same


def slots_of(arguments: Arguments) -> Dict[str, Optional[int]]:
    """Return the slots of each server by its address; None for servers that do not report them."""
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
