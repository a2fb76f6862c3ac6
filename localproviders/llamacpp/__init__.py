"""Provider for llama.cpp's own server, `llama-server`."""

from localproviders.llamacpp.provider import LlamaCppProvider

__all__ = ["LlamaCppProvider"]
