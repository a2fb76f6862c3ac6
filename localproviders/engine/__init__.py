"""The embedded engine: llama.cpp with a small model in a separate process, for demos and tests."""

from localproviders.engine.install import install, why_missing, why_unsupported
from localproviders.engine.local import LocalEngine

__all__ = ["LocalEngine", "install", "why_missing", "why_unsupported"]
