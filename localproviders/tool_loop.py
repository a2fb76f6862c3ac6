"""The loop of a model that calls Python functions until it answers."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

from localproviders._asking import Asking
from localproviders._record import plain
from localproviders.errors import ProviderError, ToolCallError
from localproviders.schema import arguments_for, check
from localproviders.types.answer import CompletionResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.message import Message, Tool, ToolCall
from localproviders.types.outcome import PartialRun, ToolRun, ToolStep
from localproviders.types.request import CompletionRequest

if TYPE_CHECKING:
    from localproviders.provider.answers import Answers

#: What becomes of a tool's error: the model is told, or the loop ends.
OnToolError = Literal["report", "raise"]

ON_TOOL_ERROR: Tuple[str, ...] = ("report", "raise")

#: Told of each call of a tool, when it has been dealt with.
OnStep = Callable[[ToolStep], None]


def run_tools(
    provider: Answers,
    request: CompletionRequest,
    *,
    max_rounds: int,
    on_tool_error: OnToolError,
    on_step: Optional[OnStep],
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> ToolRun:
    """Run the loop; see `ModelProvider.run_tools`."""
    if max_rounds < 1:
        raise ValueError(f"max_rounds is {max_rounds!r}, and must be at least 1")
    if on_tool_error not in ON_TOOL_ERROR:
        raise ValueError(
            f"on_tool_error is {on_tool_error!r}; choose one of {', '.join(ON_TOOL_ERROR)}"
        )
    tools = _runnable(request.tools)
    with Asking(provider, timeout, cancel) as asking:
        return _Loop(asking, request, tools, on_tool_error, on_step).run(max_rounds)


def _runnable(tools: Sequence[Tool]) -> Dict[str, Tool]:
    """Give the tools by name.

    Raises:
        ValueError: One has no function, or a schema that arguments cannot be checked against.
    """
    for tool in tools:
        if tool.function is None:
            raise ValueError(
                f"the tool {tool.name!r} has no function to run; pass Tool(..., function=...), "
                "or drive the loop yourself with chat"
            )
        check({}, tool.parameters)
    return {tool.name: tool for tool in tools}


class _Loop:
    """One run: what has been said and done so far."""

    def __init__(
        self,
        asking: Asking,
        request: CompletionRequest,
        tools: Mapping[str, Tool],
        on_tool_error: OnToolError,
        on_step: Optional[OnStep],
    ) -> None:
        self._asking = asking
        self._request = request
        self._tools = tools
        self._raises = on_tool_error == "raise"
        self._on_step = on_step
        self._added: List[Message] = []
        self._responses: List[CompletionResponse] = []
        self._steps: List[ToolStep] = []
        #: Calls of the last answer that have no result yet.
        self._open: List[ToolCall] = []

    def run(self, max_rounds: int) -> ToolRun:
        """Ask and run tools until the model answers."""
        for _ in range(max_rounds):
            # Whatever was not run when the rounds were over stays open.
            self._run_open_calls()
            self._ask()
            if not self._open:
                return self._whole()
        with self._keeping():
            raise ToolCallError(
                f"the model still calls tools after {max_rounds} "
                f"{'round' if max_rounds == 1 else 'rounds'}; its last calls were not run",
                hint="raise max_rounds; error.run has every call so far, and what came of it",
                provider=self._asking.provider.name,
                partial=self._responses[-1].text,
            )

    def _ask(self) -> None:
        request = self._request.replace(messages=(*self._request.messages, *self._added))
        if self._responses and request.tool_choice not in ("auto", "none"):
            # A model that must call would never answer.
            request = request.replace(tool_choice=None)
        with self._keeping():
            response = self._asking.ask(request)
        self._responses.append(response)
        self._added.append(response.message)
        self._open = list(response.tool_calls)

    def _run_open_calls(self) -> None:
        while self._open:
            self._run_one(self._open[0])
            with self._keeping():
                self._asking.check()

    def _run_one(self, call: ToolCall) -> None:
        started = time.monotonic()
        try:
            step = self._step(call, started, _run(self._tools, call))
        except _NotRunError as refused:
            step = self._step(call, started, str(refused), failed=True)
        except Exception as error:  # a tool is the user's, and may raise anything
            step = self._step(call, started, f"{type(error).__name__}: {error}", failed=True)
            if self._raises:
                self._take(step)
                raise
        self._take(step)

    def _step(self, call: ToolCall, started: float, content: str, failed: bool = False) -> ToolStep:
        return ToolStep(
            call=call,
            content=content,
            error=content if failed else None,
            elapsed_s=time.monotonic() - started,
            round=len(self._responses),
        )

    def _take(self, step: ToolStep) -> None:
        self._open.pop(0)
        self._steps.append(step)
        self._added.append(Message.tool(step.content, step.call))
        if self._on_step is not None:
            self._on_step(step)

    def _whole(self) -> ToolRun:
        return ToolRun(
            messages=(*self._request.messages, *self._added),
            responses=tuple(self._responses),
            steps=tuple(self._steps),
        )

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        """Give an error that ends the loop what has been done."""
        try:
            yield
        except ProviderError as error:
            served = self._responses[-1].model if self._responses else None
            error.add_context(model=self._request.model or served)
            error.run = PartialRun(
                added=(*self._added, *map(_unanswered, self._open)),
                responses=tuple(self._responses),
                steps=tuple(self._steps),
            )
            raise


def _unanswered(call: ToolCall) -> Message:
    # Servers refuse a conversation in which a call has no result.
    return Message.tool("this call was not run: the loop had ended", call)


# --- one call ------------------------------------------------------------------------------


class _NotRunError(Exception):
    """A call cannot be run; the text tells the model why."""


def _run(tools: Mapping[str, Tool], call: ToolCall) -> str:
    """Run a tool and give its result as text.

    No local variable holds arguments or result: a tool's error passes through here.
    """
    tool = _find(tools, call.name)
    function: Any = tool.function
    return _as_text(function(**_arguments(tool, call)))


def _find(tools: Mapping[str, Tool], name: str) -> Tool:
    if name in tools:
        return tools[name]
    alike = [tool for tool in tools.values() if _bare(tool.name) == _bare(name)]
    if len(alike) == 1:
        return alike[0]
    names = ", ".join(tools) or "none"
    raise _NotRunError(f"there is no tool {name!r}; the tools are: {names}")


def _bare(name: str) -> str:
    """Give a name as it is compared: LM Studio may change its spelling (lmstudio-api §6.2)."""
    return re.sub(r"[\W_]+", "", name).lower()


def _arguments(tool: Tool, call: ToolCall) -> Dict[str, Any]:
    reasons = ""
    try:
        return arguments_for(tool, call.arguments)
    except ValueError as error:
        reasons = str(error)
    raise _NotRunError(f"the tool was not run, because its arguments do not fit:\n{reasons}")


def _as_text(result: Any) -> str:
    """Give a tool's result as the model reads it.

    Raises:
        TypeError: It cannot be written as JSON.
    """
    if isinstance(result, str):
        return str.__str__(result)
    kind = type(result).__name__
    try:
        return json.dumps(plain(result), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    finally:
        del result  # a traceback with locals shows no content
    raise TypeError(f"the result of the tool, of type {kind}, cannot be written as JSON: {reason}")
