"""Provider for servers that speak OpenAI's dialect: llama.cpp, vLLM, cloud services and others.

The provider for LM Studio is a subclass of this one.
"""

from localproviders.openai_compatible.provider import OpenAICompatibleProvider

__all__ = ["OpenAICompatibleProvider"]
