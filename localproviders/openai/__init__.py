"""Provider for OpenAI's own service, on the dialect of `openai_compatible`."""

from localproviders.openai.provider import OpenAIProvider

__all__ = ["OpenAIProvider"]
