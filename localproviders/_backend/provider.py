"""`HTTPProvider`: the base of the providers."""

from __future__ import annotations

from localproviders._backend.completions import Completions
from localproviders._backend.vectors import Vectorizing


class HTTPProvider(Completions, Vectorizing):
    """Base of the providers; a subclass says what its server's paths and dialect are."""
