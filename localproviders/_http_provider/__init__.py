"""The base class of the providers that speak HTTP, and its parts."""

from localproviders._http_provider.provider import HTTPProvider

__all__ = ["HTTPProvider"]
