"""A fake server that behaves like Ollama."""

from localproviders.testing.ollama.server import FakeOllama

__all__ = ["FakeOllama"]
