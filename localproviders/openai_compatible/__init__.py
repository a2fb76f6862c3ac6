"""The OpenAI dialect as such: llama.cpp, vLLM, cloud services, and the ground of LM Studio."""

from localproviders.openai_compatible.provider import OpenAICompatibleProvider

__all__ = ["OpenAICompatibleProvider"]
