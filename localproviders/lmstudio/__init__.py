"""Provider for LM Studio.

Chats and embeddings use the OpenAI dialect. Everything else uses LM Studio's own API.
"""

from localproviders.lmstudio.provider import LMStudioProvider

__all__ = ["LMStudioProvider"]
