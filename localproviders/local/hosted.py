"""A configured model file, served by the embedded engine while it is needed."""

from __future__ import annotations

from typing import Optional

from localproviders.config import ServerConfig
from localproviders.engine import LocalEngine
from localproviders.local.breaker import Breaker
from localproviders.local.routes import Server
from localproviders.openai_compatible import OpenAICompatibleProvider
from localproviders.provider import ModelProvider


class HostedServer(Server):
    """A server that is started when it is asked for the first time.

    Args:
        config: A server of the kind ``gguf``.
        breaker: Its failures.
    """

    def __init__(self, config: ServerConfig, breaker: Breaker) -> None:
        self._config = config
        self._engine: Optional[LocalEngine] = None
        super().__init__(None, breaker)

    @property
    def name(self) -> str:
        """The configured name."""
        return self._config.name

    @property
    def provider(self) -> ModelProvider:
        """The engine's provider, under the configured name; starts the engine.

        Raises:
            ProviderError: It cannot start, as for `LocalEngine`.
        """
        if self._provider is None:
            engine = LocalEngine(**self._config.options())
            settings = engine.start().settings
            self._engine = engine
            self._provider = OpenAICompatibleProvider(settings=settings.replace(name=self.name))
        return self._provider

    def close(self) -> None:
        """Stop the engine; the next call starts it again."""
        super().close()
        engine, self._engine, self._provider = self._engine, None, None
        if engine is not None:
            engine.stop()
