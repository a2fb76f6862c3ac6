"""The two ways to a `LocalProvider` that read as what they do."""

from __future__ import annotations

from typing import Any, Sequence

from localproviders.local.provider import LocalProvider
from localproviders.provider import ModelProvider


def create_default_provider(**options: Any) -> LocalProvider:
    """Give a provider over what is configured and what runs on this machine.

    The same as ``LocalProvider(**options)``: nothing is read or searched for before the first
    call.

    Args:
        **options: As for `LocalProvider`, but for ``providers``.

    Raises:
        ConfigurationError: An option is impossible.
    """
    return LocalProvider(None, **options)


def create_fallback_provider(providers: Sequence[ModelProvider], **options: Any) -> LocalProvider:
    """Give a provider that asks the first of these, and the next where one fails.

    The same as ``LocalProvider(providers, **options)``.

    Args:
        providers: Whom to ask, in order.
        **options: As for `LocalProvider`.

    Raises:
        ConfigurationError: There is no provider, two have one name, or an option is
            impossible.
        LocalityError: One may send prompts further than `locality` says.
    """
    return LocalProvider(providers, **options)
