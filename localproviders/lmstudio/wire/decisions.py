"""Decision requests to LM Studio: the routes ``/v1/systemone`` and ``/v1/decisions``. No I/O."""

from __future__ import annotations

from localproviders._dialect.decisions import DecisionDialect, RouteLimits
from localproviders.lmstudio.wire.errors import RULES
from localproviders.openai_compatible.wire.decisions import routes

# LM Studio documents no limits (docs/reference/decisions.md, "Limits"). The server itself refuses a
# request that exceeds its limits.
_LIMITS = RouteLimits(64, 255, 10)

#: How LM Studio answers decision requests.
DECISIONS = DecisionDialect(
    routes=routes("/v1", RULES, _LIMITS, _LIMITS),
    unsupported={"keep_alive": "call load(model) first, which sets no idle limit"},
)
