"""Provider for the service OpenRouter, a subclass of the provider in `openai_compatible`."""

from localproviders.openrouter.provider import OpenRouterProvider

__all__ = ["OpenRouterProvider"]
