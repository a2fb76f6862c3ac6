"""Translation of llama.cpp's error texts to this package's errors."""

from __future__ import annotations

from typing import Tuple

from localproviders._dialect.error_rules import Rule, rule
from localproviders.errors import (
    CapabilityError,
    ModelLoadError,
    ModelNotFoundError,
    RequestRejectedError,
)
from localproviders.openai_compatible.wire import errors as dialect

#: The rules for texts that only llama.cpp sends, and then the rules of the dialect. Some invalid
#: requests get status 500, so the text decides (docs/reference/llamacpp.md, "Errors").
RULES: Tuple[Rule, ...] = (
    rule(
        r"infill is not supported",
        CapabilityError,
        "use a model that was trained to fill gaps, such as Qwen2.5-Coder",
    ),
    rule(
        r"(image|audio|video) input is not supported",
        CapabilityError,
        "use a model that reads such files, and start the server with the model's --mmproj file",
    ),
    rule(
        r"failed to parse grammar|custom grammar constraints",
        RequestRejectedError,
        "check the grammar; or simplify the schema of the answer or of the tools",
    ),
    rule(
        r"not removable",
        RequestRejectedError,
        "only a model in the server's cache can be deleted",
    ),
    rule(r"^(\w+: )?model (name=.* )?is not found", ModelNotFoundError),
    rule(
        r"model name=.* failed to load",
        ModelLoadError,
        "the server's log has the reason; its memory may be too small",
    ),
    rule(r"model is not loaded", ModelLoadError, "call load() first"),
    *dialect.RULES,
)

#: For each verb, a pattern of the error texts that mean that there was nothing to do.
NOTHING_TO_DO = {
    "load": r"already (running|loaded)",
    "unload": r"not running",
    "pull": r"already exists",
}
