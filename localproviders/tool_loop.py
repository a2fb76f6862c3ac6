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

from localproviders._dialect.common import is_too_long
from localproviders._dialect.text_calls import find_calls
from localproviders._interrupts import is_injected
from localproviders._record import thawed
from localproviders._shared_deadline import SharedDeadline, SupportsComplete
from localproviders.errors import ConfigurationError, ProviderError, ToolCallError
from localproviders.schema import arguments_for, check
from localproviders.schema.conversion import convert_arguments
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

# Text between the name of a tool and a prefix or suffix. A single underscore or hyphen is a part of
# a name: `get_weather` is not the tool `weather`.
_SEPARATOR = re.compile(r"[^\w-]+|__+")
# A longer name is not searched, because that takes long.
_MOST_PARTS = 12


def run_tools(
    provider: SupportsComplete,
    request: CompletionRequest,
    *,
    max_rounds: int,
    on_tool_error: OnToolError,
    on_step: Optional[OnStep],
    text_calls: bool,
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
        text_calls: Whether tool calls in the text of an answer are run.
        timeout: The limits of the call. The total limit covers all requests and tools.
        cancel: A token that cancels the call, or None.

    Raises:
        ValueError: An argument is invalid, or a tool cannot be run.
        ToolCallError: The model still calls tools after `max_rounds` requests, or a call was cut
            off.
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
        loop = _ToolLoop(shared, request, tools, on_tool_error, on_step, text_calls)
        return loop.run(max_rounds)


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
        text_calls: bool,
    ) -> None:
        self._shared = shared
        self._request = request
        self._tools = tools
        self._raises = on_tool_error == "raise"
        self._on_step = on_step
        self._text_calls = text_calls
        self._added: List[Message] = []
        self._responses: List[CompletionResponse] = []
        self._steps: List[ToolStep] = []
        #: Tool calls of the last response that have no result yet.
        self._open_calls: List[ToolCall] = []
        #: For each of them, the reason why it could not be read, or an empty text.
        self._unread: List[str] = []

    def run(self, max_rounds: int) -> ToolRun:
        """Send requests and run tools until the model answers."""
        for number in range(1, max_rounds + 1):
            # The tool calls of a response are run before the next request. So those of the last
            # round are not run: no request with their results would follow.
            self._run_open_calls()
            if self._send(is_last=number == max_rounds):
                return self._result()
        with self._recording_progress():
            raise ToolCallError(
                f"the model still calls tools after {max_rounds} "
                f"{'round' if max_rounds == 1 else 'rounds'}; its last calls were not run",
                hint="raise max_rounds; error.run has every call that was run, with its result",
                provider=self._shared.provider.name,
                partial=self._responses[-1].text,
            )

    def _send(self, is_last: bool) -> bool:
        """Send the next request, and return whether its response is the answer."""
        request = self._next_request(is_last)
        with self._recording_progress():
            try:
                response = self._shared.send(request)
            except ToolCallError as error:
                if is_last or _calls_of(error) is None:
                    raise
                self._add_unread(error)
                return False
            response = self._with_text_calls(response)
        self._responses.append(response)
        self._added.append(response.message)
        self._open_calls = list(response.tool_calls)
        self._unread = [""] * len(self._open_calls)
        return not self._open_calls

    def _with_text_calls(self, response: CompletionResponse) -> CompletionResponse:
        """Return a response with the calls in its text, or with a warning of them."""
        if response.tool_calls or not response.text.strip():
            return response
        found = find_calls(response.text, self._is_tool, self._shared.check)
        if found is None:
            return response
        is_whole = found.calls and not is_too_long(response.finish_reason)
        if not self._text_calls or not is_whole:
            warning = _LEFT_IN_TEXT if not self._text_calls else _UNREADABLE_IN_TEXT
            return response.replace(warnings=(*response.warnings, warning))
        return response.replace(
            text=found.rest,
            tool_calls=found.calls,
            warnings=(*response.warnings, _READ_IN_TEXT),
        )

    def _is_tool(self, name: str) -> bool:
        try:
            return bool(_find(self._tools, name))
        except _NotRunError:
            return False

    def _next_request(self, is_last: bool) -> CompletionRequest:
        request = self._request.replace(messages=(*self._request.messages, *self._added))
        if self._responses and request.tool_choice not in ("auto", "none"):
            # If the model had to call a tool in every round, it would never answer.
            request = request.replace(tool_choice=None)
        if self._responses and is_last:
            # The calls of the last response are not run, so the model is made to answer.
            request = request.replace(tools=(), tool_choice=None)
        return request

    def _add_unread(self, error: ToolCallError) -> None:
        """Add a response with calls that could not be read, and tell the model of them."""
        calls = _calls_of(error) or ()
        response = CompletionResponse(
            text=error.partial,
            model=error.model or self._request.model or "",
            provider=error.provider or self._shared.provider.name,
            tool_calls=tuple(call for call, _ in calls),
            warnings=(error.message,),
        )
        self._responses.append(response)
        if calls or response.text.strip():
            self._added.append(response.message)
        if not calls:
            self._added.append(Message.user(_UNREAD.format(error.message)))
        self._open_calls = [call for call, _ in calls]
        self._unread = [reason for _, reason in calls]

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
        # Names of converted arguments. They are also needed if the tool raises an exception.
        converted: List[str] = []
        try:
            _check_read(self._unread[0])
            step = self._step(call, started, _run(self._tools, call, self._only_tool, converted))
        except _NotRunError as refused:
            converted.clear()
            step = self._step(call, started, str(refused), failed=True)
        except Exception as error:  # the tool is the user's code, which may raise any error
            if is_injected(error):
                raise  # not an exception of the tool: a signal handler ran in the tool
            step = self._step(call, started, _error_text(error), failed=True)
            if self._raises:
                self._add(step.replace(converted=tuple(converted)))
                raise
        self._add(step.replace(converted=tuple(converted)))

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
        self._unread.pop(0)
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


# Message about calls that the server could not read. It is a message of the user,
# because there is no call to which a result could belong.
_UNREAD = (
    "Your tool call could not be read, and was not run: {}\n"
    "Call the tool again with one JSON object as its arguments, or answer in words."
)


# Warnings about calls that the server left in the text.
_LEFT_IN_TEXT = (
    "the text looks like a tool call that the server did not recognize; it was not run"
    " (text_calls=True runs it)"
)
_UNREADABLE_IN_TEXT = "the text looks like a tool call, but it could not be read; it was not run"
_READ_IN_TEXT = "a tool call was read from the text, because the server did not recognize it"


def _calls_of(error: ToolCallError) -> Optional[Sequence[Tuple[ToolCall, str]]]:
    """Return the calls of an answer with calls that could not be read.

    Each has the reason why it could not be read, or an empty text. The result is empty if they are
    unknown, because the server could not parse them, and None if the model cannot be told of them,
    because they were cut off.
    """
    known: Optional[Sequence[Tuple[ToolCall, str]]] = getattr(error, "_calls", None)
    return () if known is None and error.server_message else known


# --- one call ------------------------------------------------------------------------------


class _NotRunError(Exception):
    """The reason why a call cannot be run, as text for the model."""


def _run(
    tools: Mapping[str, Tool], call: ToolCall, only: Optional[str], converted: List[str]
) -> str:
    """Run a tool, and return its result as text; add names of converted arguments to a list.

    The arguments and the result are not stored in local variables. An error of the tool passes
    through this frame, and a traceback with local variables would show them.
    """
    tool = _find(tools, call.name)
    _check_choice(tool, only)
    function: Any = tool.function
    return result_text(_run_to_end(function(**_arguments(tool, call, converted))))


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


def _check_read(reason: str) -> None:
    if reason:
        raise _NotRunError(
            f"the tool was not run, because {reason}; call it again with one JSON object"
        )


def _find(tools: Mapping[str, Tool], name: str) -> Tool:
    if name in tools:
        return tools[name]
    # A name without letters and digits becomes empty, and must not match another such name.
    simple = _simplified(name)
    similar = [tool for tool in tools.values() if simple and _simplified(tool.name) == simple]
    similar = similar or _inside(tools, name)
    if len(similar) == 1:
        return similar[0]
    names = ", ".join(tools) or "none"
    raise _NotRunError(f"there is no tool {name!r}; the tools are: {names}")


def _inside(tools: Mapping[str, Tool], name: str) -> List[Tool]:
    """Return the tools whose names are a part of a name, with a prefix or suffix or both.

    Models write the namespace of a tool before its name, and control words after it
    (docs/tools.md, "Names that differ").
    """
    parts = [part for part in map(_simplified, _SEPARATOR.split(name)) if part]
    if len(parts) > _MOST_PARTS:
        return []
    most = range(len(parts) + 1)
    runs = {"".join(parts[begin:end]) for begin in most for end in most[begin + 1 :]}
    return [tool for tool in tools.values() if _simplified(tool.name) in runs]


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


def _arguments(tool: Tool, call: ToolCall, converted: List[str]) -> Dict[str, Any]:
    reasons = ""
    try:
        return arguments_for(tool, _converted(tool, call, converted))
    except ValueError as error:
        if is_injected(error):
            raise
        reasons = str(error)
    raise _NotRunError(f"the tool was not run, because its arguments are invalid:\n{reasons}")


def _converted(tool: Tool, call: ToolCall, converted: List[str]) -> Dict[str, Any]:
    # Separate function, so that tracebacks do not include the arguments.
    given, names = convert_arguments(thawed(call.arguments), tool.parameters)
    converted += names
    return given


def _error_text(error: Exception) -> str:
    """Return the text that the model receives about an exception of a tool."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}"
    except Exception as failure:  # it is the user's class, whose `__str__` may fail, too
        if is_injected(failure):
            raise
        return kind
