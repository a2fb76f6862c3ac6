"""The tool loop: run the Python functions that a model calls, until the model answers."""

from __future__ import annotations

import collections.abc as abc
import contextlib
import re
import time
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

from localproviders._interrupts import is_injected
from localproviders._shared_deadline import SharedDeadline, SupportsComplete
from localproviders.errors import ConfigurationError, ProviderError, ToolCallError
from localproviders.schema import arguments_for, check
from localproviders.schema.tools import is_async
from localproviders.types.inputs import result_text
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.messages import Message, Tool, ToolCall
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import (
    CompletionResponse,
    OnStep,
    OnToolError,
    PartialRun,
    ToolRun,
    ToolStep,
)

ON_TOOL_ERROR: Tuple[str, ...] = ("report", "raise")


def run_tools(
    provider: SupportsComplete,
    request: CompletionRequest,
    *,
    max_rounds: int,
    on_tool_error: OnToolError,
    on_step: Optional[OnStep],
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> ToolRun:
    """Send a request and run the tools that the model calls, until the model answers.

    Args:
        provider: The provider that sends the requests.
        request: The request, with its tools.
        max_rounds: The maximum number of requests.
        on_tool_error: ``report`` sends the exception of a tool to the model; ``raise`` raises it.
        on_step: A function that is called after each tool call, or None.
        timeout: The limits of the call. The total limit covers all requests and tools.
        cancel: A token that cancels the call, or None.

    Raises:
        ValueError: An argument is invalid, or a tool cannot be run.
        ToolCallError: The model still calls tools after `max_rounds` requests.
        ProviderError: A request failed.
    """
    if max_rounds < 1:
        raise ValueError(f"max_rounds is {max_rounds!r}, but must be at least 1")
    if on_tool_error not in ON_TOOL_ERROR:
        raise ValueError(
            f"on_tool_error is {on_tool_error!r}, but must be one of {', '.join(ON_TOOL_ERROR)}"
        )
    tools = _tools_by_name(request.tools)
    with SharedDeadline(provider, timeout, cancel) as shared:
        return _ToolLoop(shared, request, tools, on_tool_error, on_step).run(max_rounds)


def _tools_by_name(tools: Sequence[Tool]) -> Dict[str, Tool]:
    """Check that each tool can be run, and return the tools by name.

    Raises:
        ValueError: A tool has no function, or its schema cannot be used to check arguments.
        ConfigurationError: A tool is an ``async def``, and an event loop runs in this thread.
    """
    for tool in tools:
        if tool.function is None:
            raise ValueError(
                f"the tool {tool.name!r} has no function to run; pass Tool(..., function=...), "
                "or call chat and run the tools yourself"
            )
        check({}, tool.parameters)
    if any(is_async(tool.function) for tool in tools):
        _check_no_running_loop()
    return {tool.name: tool for tool in tools}


class _ToolLoop:
    """The state of one call of `run_tools`: the messages, responses and steps so far."""

    def __init__(
        self,
        shared: SharedDeadline,
        request: CompletionRequest,
        tools: Mapping[str, Tool],
        on_tool_error: OnToolError,
        on_step: Optional[OnStep],
    ) -> None:
        self._shared = shared
        self._request = request
        self._tools = tools
        self._raises = on_tool_error == "raise"
        self._on_step = on_step
        self._added: List[Message] = []
        self._responses: List[CompletionResponse] = []
        self._steps: List[ToolStep] = []
        #: Tool calls of the last response that have no result yet.
        self._open_calls: List[ToolCall] = []

    def run(self, max_rounds: int) -> ToolRun:
        """Send requests and run tools until the model answers."""
        for _ in range(max_rounds):
            # The tool calls of a response are run before the next request. So those of the last
            # round are not run: no request with their results would follow.
            self._run_open_calls()
            self._send()
            if not self._open_calls:
                return self._result()
        with self._recording_progress():
            raise ToolCallError(
                f"the model still calls tools after {max_rounds} "
                f"{'round' if max_rounds == 1 else 'rounds'}; its last calls were not run",
                hint="raise max_rounds; error.run has every call that was run, with its result",
                provider=self._shared.provider.name,
                partial=self._responses[-1].text,
            )

    def _send(self) -> None:
        request = self._request.replace(messages=(*self._request.messages, *self._added))
        if self._responses and request.tool_choice not in ("auto", "none"):
            # If the model had to call a tool in every round, it would never answer.
            request = request.replace(tool_choice=None)
        with self._recording_progress():
            response = self._shared.send(request)
        self._responses.append(response)
        self._added.append(response.message)
        self._open_calls = list(response.tool_calls)

    @property
    def _only_tool(self) -> Optional[str]:
        """The only tool that the last response may call, or None if it may call any tool.

        The value is "none" if the response may call no tool.
        """
        choice = self._request.tool_choice
        is_forced = choice not in (None, "auto", "required") and len(self._responses) == 1
        return choice if is_forced or choice == "none" else None

    def _run_open_calls(self) -> None:
        while self._open_calls:
            self._run_one(self._open_calls[0])
            with self._recording_progress():
                self._shared.check()

    def _run_one(self, call: ToolCall) -> None:
        started = time.monotonic()
        try:
            step = self._step(call, started, _run(self._tools, call, self._only_tool))
        except _NotRunError as refused:
            step = self._step(call, started, str(refused), failed=True)
        except Exception as error:  # the tool is the user's code, which may raise any error
            if is_injected(error):
                raise  # not an exception of the tool: a signal handler ran in the tool
            step = self._step(call, started, _error_text(error), failed=True)
            if self._raises:
                self._add(step)
                raise
        self._add(step)

    def _step(self, call: ToolCall, started: float, content: str, failed: bool = False) -> ToolStep:
        return ToolStep(
            call=call,
            content=content,
            error=content if failed else None,
            elapsed_s=time.monotonic() - started,
            round=len(self._responses),
        )

    def _add(self, step: ToolStep) -> None:
        self._open_calls.pop(0)
        self._steps.append(step)
        self._added.append(Message.tool(step.content, step.call))
        if self._on_step is not None:
            self._on_step(step)

    def _result(self) -> ToolRun:
        return ToolRun(
            messages=(*self._request.messages, *self._added),
            responses=tuple(self._responses),
            steps=tuple(self._steps),
        )

    @contextlib.contextmanager
    def _recording_progress(self) -> Iterator[None]:
        """Add the messages, responses and steps so far to an error that ends the loop.

        They become the attribute `run` of the error.
        """
        try:
            yield
        except ProviderError as error:
            served = self._responses[-1].model if self._responses else None
            error.add_context(model=self._request.model or served)
            error.run = PartialRun(
                added=(*self._added, *map(_not_run_result, self._open_calls)),
                responses=tuple(self._responses),
                steps=tuple(self._steps),
            )
            raise


def _not_run_result(call: ToolCall) -> Message:
    # Servers refuse a conversation with a tool call that has no result.
    return Message.tool("this call was not run, because the tool loop had ended", call)


# --- one call ------------------------------------------------------------------------------


class _NotRunError(Exception):
    """The reason why a call cannot be run, as text for the model."""


def _run(tools: Mapping[str, Tool], call: ToolCall, only: Optional[str]) -> str:
    """Run a tool, and return its result as text.

    The arguments and the result are not stored in local variables. An error of the tool passes
    through this frame, and a traceback with local variables would show them.
    """
    tool = _find(tools, call.name)
    _check_choice(tool, only)
    function: Any = tool.function
    return result_text(_run_to_end(function(**_arguments(tool, call))))


def _run_to_end(result: Any) -> Any:
    """Return the result of a tool that is not finished when its function returns.

    This is a coroutine, a generator or an asynchronous generator. Others are returned unchanged.

    Raises:
        ConfigurationError: An event loop runs in this thread, so it cannot wait for a coroutine.
        Exception: An exception of the tool.
    """
    if isinstance(result, abc.Generator):
        return list(result)
    if not isinstance(result, (abc.Awaitable, abc.AsyncGenerator)):
        return result
    import asyncio  # slow to import, and only needed for asynchronous tools

    try:
        _check_no_running_loop()
    except ConfigurationError:
        # Otherwise Python warns of a coroutine that was never awaited.
        getattr(result, "close", lambda: None)()
        raise
    return asyncio.run(_finish(result))


async def _finish(result: Any) -> Any:
    if isinstance(result, abc.AsyncGenerator):
        return [item async for item in result]
    return await result


def _check_no_running_loop() -> None:
    """Check that no event loop runs in this thread, because it cannot run a second one.

    Raises:
        ConfigurationError: An event loop runs, as in a notebook.
    """
    import asyncio  # slow to import, and only needed for asynchronous tools

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        "an asynchronous tool cannot run here, because an event loop runs in this thread, as in a "
        "notebook or inside async def",
        hint="call run_tools in another thread: await asyncio.to_thread(provider.run_tools, ...), "
        "or before Python 3.9 await loop.run_in_executor(None, ...)",
    )


def _find(tools: Mapping[str, Tool], name: str) -> Tool:
    if name in tools:
        return tools[name]
    # A name without letters and digits becomes empty, and must not match another such name.
    simple = _simplified(name)
    similar = [tool for tool in tools.values() if simple and _simplified(tool.name) == simple]
    if len(similar) == 1:
        return similar[0]
    names = ", ".join(tools) or "none"
    raise _NotRunError(f"there is no tool {name!r}; the tools are: {names}")


def _check_choice(tool: Tool, only: Optional[str]) -> None:
    """Refuse a call that `tool_choice` forbids: not all servers and models obey it."""
    if only == "none":
        raise _NotRunError("no tool may be called now; answer in words")
    if only is not None and tool.name != only:
        raise _NotRunError(f"only the tool {only!r} may be called now")


def _simplified(name: str) -> str:
    """Return only the letters and digits of a tool's name, in lower case."""
    # Names are compared this way, because LM Studio may change their spelling
    # (docs/reference/lmstudio.md, "Tools").
    return re.sub(r"[\W_]+", "", name).lower()


def _arguments(tool: Tool, call: ToolCall) -> Dict[str, Any]:
    reasons = ""
    try:
        return arguments_for(tool, call.arguments)
    except ValueError as error:
        if is_injected(error):
            raise
        reasons = str(error)
    raise _NotRunError(f"the tool was not run, because its arguments are invalid:\n{reasons}")


def _error_text(error: Exception) -> str:
    """Return the text that the model receives about an exception of a tool."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}"
    except Exception as failure:  # it is the user's class, whose `__str__` may fail, too
        if is_injected(failure):
            raise
        return kind
