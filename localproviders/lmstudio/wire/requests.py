"""What LM Studio takes beside the dialect: how long it keeps a model that a request loads."""

from __future__ import annotations

import math
from typing import Dict, Optional


def can_keep(seconds: float) -> bool:
    """Whether the server can keep a model so long: whole seconds, and not for ever (§1.6)."""
    return 1 <= seconds < math.inf


def ttl_payload(seconds: Optional[float]) -> Dict[str, int]:
    """Give the time to live that goes with a request: for a model that it loads (§1.6)."""
    return {} if seconds is None else {"ttl": int(seconds)}
