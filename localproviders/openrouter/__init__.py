"""Provider for OpenRouter, on the dialect of `openai_compatible`."""

from localproviders.openrouter.provider import OpenRouterProvider

__all__ = ["OpenRouterProvider"]
