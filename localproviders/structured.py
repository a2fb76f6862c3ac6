"""Answers that are values: a schema goes out, a checked instance comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.outcome import Parsed
from localproviders.types.request import CompletionRequest

if TYPE_CHECKING:
    from localproviders.provider.answers import Answers


def parse(
    provider: Answers,
    request: CompletionRequest,
    response_type: Any,
    *,
    max_attempts: int,
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> Parsed[Any]:
    """Ask until an answer follows the schema; see `ModelProvider.parse`."""
    raise NotImplementedError
