"""Ollama, through its native API.

`OllamaProvider` is the class to use; its method `show` returns `ModelDetails`. The module
`localproviders.ollama.names` reads and compares model names.
"""

from localproviders.ollama.names import ModelDetails
from localproviders.ollama.provider import OllamaProvider

__all__ = ["ModelDetails", "OllamaProvider"]
