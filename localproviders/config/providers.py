"""Makes the providers of configured servers."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from localproviders import kinds
from localproviders.config.cascade import Config
from localproviders.config.values import Origin, ServerConfig
from localproviders.provider import ModelProvider
from localproviders.telemetry import Listener


def origin_in_project(config: Config, key: str) -> Optional[Origin]:
    """Return the origin of a value from a project's file; None for any other value."""
    origin = config.origins.get(key)
    return origin if origin is not None and origin.of_project else None


def make_configured(
    server: ServerConfig, listeners: Tuple[Listener, ...], **options: Any
) -> ModelProvider:
    """Return the provider of a configured server. No request is sent.

    Args:
        server: The server.
        listeners: Functions that are called with all events of the provider's calls.
        **options: Options of the constructor, which replace the configured ones. They are ignored
            for a model file.

    Raises:
        ConfigurationError: A value is invalid, or the provider's class cannot be imported.
    """
    kind = kinds.get(server.kind)
    if kind.from_config is not None:
        made: ModelProvider = kind.resolve("from_config")(server, listeners)
        return made
    return kind.make(**{**server.options(), "listeners": listeners, **options})
