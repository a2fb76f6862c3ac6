"""Decision requests to llama.cpp's server: the route ``/v1/systemone``. No I/O."""

from __future__ import annotations

from functools import partial

from localproviders._dialect.decisions import DecisionDialect, DecisionRoute
from localproviders._dialect.systemone import SYSTEMONE, parse_systemone, systemone_payload
from localproviders.llamacpp.wire.errors import RULES
from localproviders.openai_compatible.wire.decisions import PRODUCTS

#: How llama.cpp's server answers decision requests.
DECISIONS = DecisionDialect(
    routes=(
        DecisionRoute(
            SYSTEMONE,
            "/v1/systemone",
            systemone_payload,
            partial(parse_systemone, rules=RULES),
            PRODUCTS["llamacpp"].limits,
        ),
    ),
    unsupported={"keep_alive": "start the server with --sleep-idle-seconds"},
)
