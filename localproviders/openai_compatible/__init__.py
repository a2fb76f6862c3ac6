"""Provider for servers that speak OpenAI's dialect: llama.cpp, vLLM, cloud services and others.

OpenAI's dialect is OpenAI's HTTP API for chats, completions and embeddings, in the variants that
these servers have. The provider for LM Studio is a subclass of this one.
"""

from localproviders.openai_compatible.provider import OpenAICompatibleProvider

__all__ = ["OpenAICompatibleProvider"]
