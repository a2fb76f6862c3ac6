"""The signatures of the fake service's thinking."""

from __future__ import annotations

import hashlib

from localproviders.testing.anthropic.models import dated


def signature_of(model: str, thinking: str) -> str:
    """Return the signature of a thinking block, which depends on the model and on the text."""
    return hashlib.sha256(f"{dated(model)}\0{thinking}".encode()).hexdigest()[:44]
