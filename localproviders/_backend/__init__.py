"""The road of a call over HTTP, shared by all providers."""

from localproviders._backend.provider import HTTPProvider

__all__ = ["HTTPProvider"]
