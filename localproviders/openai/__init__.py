"""Provider for OpenAI's own service, a subclass of the provider in `openai_compatible`."""

from localproviders.openai.provider import OpenAIProvider

__all__ = ["OpenAIProvider"]
