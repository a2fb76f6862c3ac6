"""Several servers as one provider: which of them is asked, and who is next when it fails."""

from localproviders.local.make import create_default_provider, create_fallback_provider
from localproviders.local.provider import LocalProvider

__all__ = ["LocalProvider", "create_default_provider", "create_fallback_provider"]
