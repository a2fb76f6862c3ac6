"""Ollama, through its native API."""

from localproviders.ollama.provider import OllamaProvider

__all__ = ["OllamaProvider"]
