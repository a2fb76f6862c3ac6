"""Decisions of llama.cpp's server: the route ``/v1/systemone``. No I/O."""

from __future__ import annotations

from functools import partial

from localproviders._dialect.decisions import DecisionDialect, DecisionRoute, RouteLimits
from localproviders._dialect.systemone import SYSTEMONE, parse_systemone, systemone_payload
from localproviders.llamacpp.wire.errors import RULES

#: The decisions of llama.cpp's server. The limits are from its source code
#: (docs/reference/decisions.md, "Limits").
DECISIONS = DecisionDialect(
    routes=(
        DecisionRoute(
            SYSTEMONE,
            "/v1/systemone",
            systemone_payload,
            partial(parse_systemone, rules=RULES),
            RouteLimits(None, 255, 10, images=8),
        ),
    ),
    unsupported={"keep_alive": "start the server with --sleep-idle-seconds"},
)
