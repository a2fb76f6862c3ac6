"""The client `OllamaProvider` of this package."""

from __future__ import annotations

from typing import Any, Optional

from clients.own import NO_RETRIES, TYPED, VERSION, complete, embed, list_models, stream, transport

from localproviders import OllamaProvider

TRANSPORT = transport()
__all__ = ["TRANSPORT", "TYPED", "VERSION", "complete", "connect", "embed", "list_models", "stream"]


def connect(url: str, authority: Optional[str], limit_s: float) -> Any:
    return OllamaProvider(url, timeout=limit_s, retry=NO_RETRIES, ca_bundle=authority)
