"""A real engine in a process of its own, for demo and tests: llama.cpp with a small model."""

from localproviders.engine.install import install, why_missing, why_unsupported
from localproviders.engine.local import LocalEngine

__all__ = ["LocalEngine", "install", "why_missing", "why_unsupported"]
