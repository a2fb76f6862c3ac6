"""LM Studio: the OpenAI dialect, and its own REST for what that cannot say."""

from localproviders.lmstudio.provider import LMStudioProvider

__all__ = ["LMStudioProvider"]
