"""`LMStudioProvider` of this package."""

from __future__ import annotations

from typing import Any, Optional

from clients.own import ONCE, TYPED, VERSION, beside, complete, embed, list_models, stream

from localproviders import LMStudioProvider

BESIDE = beside()
__all__ = ["BESIDE", "TYPED", "VERSION", "complete", "connect", "embed", "list_models", "stream"]


def connect(url: str, authority: Optional[str], limit_s: float) -> Any:
    return LMStudioProvider(url, timeout=limit_s, retry=ONCE, ca_bundle=authority)
