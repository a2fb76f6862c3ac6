"""`LocalProvider`: several servers as one provider, with failover between them."""

from __future__ import annotations

from typing import Sequence

from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.local.base import LocalOptions
from localproviders.local.provider import LocalProvider
from localproviders.provider import ModelProvider
from localproviders.secret import Sealed

__all__ = [
    "LocalProvider",
    "create_default_provider",
    "create_fallback_provider",
]


@exact_keywords
@show_keywords(LocalOptions, LocalProvider)
def create_default_provider(**options: Unpack[LocalOptions]) -> LocalProvider:
    """Return a provider for the configured servers and the servers that run on this machine.

    The result is ``LocalProvider(**options)``. The first call reads the configuration and searches
    this machine for servers; before that, nothing is read or sent. A call goes to the first server
    that has the model, and to the next one if that server fails.

    Args:
        **options: The keyword arguments of `LocalProvider`, without ``providers``: ``model``,
            ``aliases``, ``strategy``, ``fallback_locality``, ``needs``, ``name``, ``config``,
            ``locality``, ``listeners``, ``timeout`` and ``make_breaker``.

    Raises:
        ConfigurationError: The value of an option is invalid.
        TypeError: A keyword argument does not exist.
    """
    given, options = Sealed(options), LocalOptions()
    return LocalProvider(None, **given.cell_contents)


@exact_keywords
@show_keywords(LocalOptions, LocalProvider)
def create_fallback_provider(
    providers: Sequence[ModelProvider], **options: Unpack[LocalOptions]
) -> LocalProvider:
    """Return a provider that tries the given providers in order.

    The result is ``LocalProvider(providers, **options)``. A call goes to the first provider that
    has the model, and to the next one if that provider fails. No configuration file is read, and
    no server is searched for.

    Args:
        providers: Providers, in order, each with a different name.
        **options: The keyword arguments of `LocalProvider`: ``model``, ``aliases``,
            ``strategy``, ``fallback_locality``, ``needs``, ``name``, ``config``, ``locality``,
            ``listeners``, ``timeout`` and ``make_breaker``.

    Raises:
        ConfigurationError: There is no provider, two have the same name, or the value of an
            option is invalid.
        LocalityError: The locality of a given provider is wider than the locality of the result.
        TypeError: A keyword argument does not exist.
    """
    given, providers, options = Sealed((providers, options)), (), LocalOptions()
    return LocalProvider(given.cell_contents[0], **given.cell_contents[1])
