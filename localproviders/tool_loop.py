"""The loop of a model that calls Python functions until it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Literal, Optional, Sequence, Tuple

from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.message import Tool, ToolLike
from localproviders.types.outcome import ToolRun, ToolStep
from localproviders.types.request import CompletionRequest

if TYPE_CHECKING:
    from localproviders.provider.answers import Answers

#: What becomes of a tool's error: the model is told, or the loop ends.
OnToolError = Literal["report", "raise"]


def as_tools(tools: Sequence[ToolLike]) -> Tuple[Tool, ...]:
    """Make tools of functions; a `Tool` stays as it is."""
    return tuple(tool for tool in tools if isinstance(tool, Tool))


def run_tools(
    provider: Answers,
    request: CompletionRequest,
    *,
    max_rounds: int,
    on_tool_error: OnToolError,
    on_step: Optional[Callable[[ToolStep], None]],
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> ToolRun:
    """Run the loop; see `ModelProvider.run_tools`."""
    raise NotImplementedError
