"""Ollama, through its native API.

`OllamaProvider` is what to call; `ModelDetails` is what its `show` gives. The names of its
models are read and compared by `localproviders.ollama.names`.
"""

from localproviders.ollama.details import ModelDetails
from localproviders.ollama.provider import OllamaProvider

__all__ = ["ModelDetails", "OllamaProvider"]
