"""Ask the provider about the model of a run, before the first row is sent."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from localproviders.batch.arguments import Arguments
from localproviders.batch.outages import is_outage_at_start
from localproviders.errors import ProviderError
from localproviders.provider import ModelProvider


def default_model(provider: ModelProvider) -> Optional[str]:
    """Return the default model of a provider; None if it has none, or does not report it.

    Raises:
        ConfigurationError: The configuration, which may name the model, is invalid.
    """
    settings = getattr(provider, "settings", None)
    # A `LocalProvider` has no settings. If its model is configured, the configuration is read.
    owner, name = (provider, "_model") if settings is None else (settings, "model")
    found: Any = getattr(owner, name, None)
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
        CertificateError: The TLS handshake failed.
        AuthenticationError: The server refuses the API key.
        LocalityError: The policy `locality` forbids the server or the model.
        AllFailedError: There are several servers, and each has one of these errors.
    """
    model = model or default_model(provider)
    if model is None:
        return None, None  # each row names its model
    try:
        return model, provider.model_info(model).digest
    except ProviderError as error:
        if is_outage_at_start(error):
            raise
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
