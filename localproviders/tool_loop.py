"""The tool loop: run the Python functions that a model calls, until the model answers."""

from __future__ import annotations

import time
from functools import partial
from typing import (
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from localproviders._dialect.common import is_too_long
from localproviders._dialect.text_calls import find_calls
from localproviders._http.stream import Stream
from localproviders._interrupts import is_injected
from localproviders._parallel import ParallelWork
from localproviders._redact import count_with_noun
from localproviders._shared_deadline import SharedDeadline, SupportsComplete
from localproviders._tool_call import (
    NotRunError,
    check_no_running_loop,
    check_read,
    error_text,
    find_tool,
    run_call,
)
from localproviders.errors import ProviderError, ToolCallError
from localproviders.schema import check
from localproviders.schema.tools import is_async
from localproviders.types.inputs import at_least_one
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.messages import Message, Tool, ToolCall
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import (
    CompletionChunk,
    CompletionResponse,
    OnStep,
    OnToolError,
    PartialRun,
    ToolRun,
    ToolStep,
)
from localproviders.types.tool_stream import ToolStream

ON_TOOL_ERROR: Tuple[str, ...] = ("report", "raise")


class Rules(NamedTuple):
    """The arguments of `run_tools` and `stream_tools` that control the loop.

    Attributes:
        max_rounds: The maximum number of requests.
        on_tool_error: ``report`` sends the exception of a tool to the model; ``raise`` raises it.
        on_step: A function that is called after each tool call, or None.
        text_calls: Whether tool calls in the text of an answer are run.
        parallel: The maximum number of tools that run at the same time. With 1, they run in the
            caller's thread.
    """

    max_rounds: int
    on_tool_error: OnToolError
    on_step: Optional[OnStep]
    text_calls: bool
    parallel: int


def rules_of(
    max_rounds: Optional[int],
    on_tool_error: Optional[OnToolError],
    on_step: Optional[OnStep],
    text_calls: Optional[bool],
    parallel: Optional[int],
) -> Rules:
    """Return the rules for the arguments of `run_tools`; None means the default.

    Raises:
        ValueError: A number is not a whole number, or is below 1; or `on_tool_error` is unknown.
    """
    rules = Rules(
        8 if max_rounds is None else at_least_one("max_rounds", max_rounds),
        on_tool_error or "report",
        on_step,
        bool(text_calls),
        1 if parallel is None else at_least_one("parallel", parallel),
    )
    if rules.on_tool_error not in ON_TOOL_ERROR:
        raise ValueError(
            f"on_tool_error is {on_tool_error!r}, but must be one of {', '.join(ON_TOOL_ERROR)}"
        )
    return rules


def run_tools(
    provider: SupportsComplete,
    request: CompletionRequest,
    rules: Rules,
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> ToolRun:
    """Send a request and run the tools that the model calls, until the model answers.

    Args:
        provider: The provider that sends the requests.
        request: The request, with its tools.
        rules: The rules of the loop.
        timeout: The limits of the call. The total limit covers all requests and tools.
        cancel: A token that cancels the call, or None.

    Raises:
        ValueError: An argument is invalid, or a tool cannot be run.
        ToolCallError: The model still calls tools after `max_rounds` requests, or a call was cut
            off.
        ProviderError: A request failed.
    """
    tools = _tools_by_name(request.tools, in_threads=rules.parallel > 1)
    # The responses are not streamed, because `complete` may try another server until the first
    # token, and `stream_completion` may not.
    loop = _ToolLoop(provider, request, tools, rules, timeout, cancel, streams=False)
    with ToolStream(loop) as stream:
        return stream.result()


def stream_tools(
    provider: SupportsComplete,
    request: CompletionRequest,
    rules: Rules,
    timeout: Timeout,
    cancel: Optional[CancelToken],
) -> ToolStream:
    """Send a request, and return a stream that runs the tools that the model calls.

    The arguments are those of `run_tools`. The first request is sent before the function returns.

    Raises:
        ValueError: An argument is invalid, or a tool cannot be run.
        ProviderError: The first request failed.
    """
    tools = _tools_by_name(request.tools, in_threads=rules.parallel > 1)
    loop = _ToolLoop(provider, request, tools, rules, timeout, cancel, streams=True)
    try:
        loop.begin()
    except BaseException:
        loop.close()
        raise
    return ToolStream(loop)


def _tools_by_name(tools: Sequence[Tool], in_threads: bool) -> Dict[str, Tool]:
    """Check that each tool can be run, and return the tools by name.

    Raises:
        ValueError: A tool has no function, or its schema cannot be used to check arguments.
        ConfigurationError: A tool is an ``async def`` that would run in this thread, in which an
            event loop runs already.
    """
    for tool in tools:
        if tool.function is None:
            raise ValueError(
                f"the tool {tool.name!r} has no function to run; pass Tool(..., function=...), "
                "or call chat and run the tools yourself"
            )
        check({}, tool.parameters)
    if not in_threads and any(is_async(tool.function) for tool in tools):
        check_no_running_loop()
    return {tool.name: tool for tool in tools}


class _Outcome(NamedTuple):
    """A tool call that has ended, and the exception of its tool if the exception ends the loop."""

    step: ToolStep
    error: Optional[Exception]


class _ToolLoop:
    """The state of one run of tools: the messages, responses and steps so far.

    Each step of `next_chunk` reads a chunk of the open stream, runs a tool, or sends the next
    request.
    """

    def __init__(
        self,
        provider: SupportsComplete,
        request: CompletionRequest,
        tools: Mapping[str, Tool],
        rules: Rules,
        timeout: Timeout,
        cancel: Optional[CancelToken],
        *,
        streams: bool,
    ) -> None:
        self._request = request
        self._tools = tools
        self._rules = rules
        self._streams = streams
        self._added: List[Message] = []
        self._responses: List[CompletionResponse] = []
        self._steps: List[ToolStep] = []
        #: Tool calls of the last response that have no result yet.
        self._open_calls: List[ToolCall] = []
        #: For each of these calls, the reason why it could not be read, or an empty text.
        self._unread: List[str] = []
        #: The open calls, if they run in threads.
        self._work: Optional[ParallelWork[_Outcome]] = None
        self._stream: Optional[Stream] = None
        self._is_answered = False
        # The run has its own token, so that another thread can cancel it with `close`.
        self._token, self._callers_token = CancelToken(), cancel
        verb = "stream_tools" if streams else "run_tools"
        self._shared = SharedDeadline(provider, timeout, self._token, verb=verb)
        if cancel is not None:
            cancel._subscribe(self._token.cancel)

    # --- the methods that `ToolStream` calls ---------------------------------------------------

    @property
    def text(self) -> str:
        """The text of the newest answer so far."""
        if self._stream is not None:
            return self._stream.text
        return self._responses[-1].text if self._responses else ""

    def next_chunk(self) -> Optional[CompletionChunk]:
        """Return the next chunk; None after the end of the last answer."""
        while not self._is_answered:
            chunk = self._advance()
            if chunk is not None:
                return chunk
        return None

    def result(self) -> ToolRun:
        """Return the complete run, after `next_chunk` has returned None."""
        return ToolRun(
            messages=(*self._request.messages, *self._added),
            responses=tuple(self._responses),
            steps=tuple(self._steps),
        )

    def close(self) -> None:
        """End the loop, and close its connection; wait until no tool runs in a thread."""
        self._token.cancel()
        # Another thread may end the stream and the work at the same time, and set both to None.
        stream, work = self._stream, self._work
        if stream is not None:
            stream.close()
        if self._callers_token is not None:
            self._callers_token._unsubscribe(self._token.cancel)
        self._shared.finish()
        if work is not None:
            work.stop()

    # --- one step ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Send the first request, so that its errors are raised in the call."""
        self._advance()

    def _advance(self) -> Optional[CompletionChunk]:
        """Take the next step of the loop; return its chunk, or None if the step has no chunk."""
        if self._stream is None and self._open_calls and self._rounds_left:
            return self._run_next()
        try:
            if self._stream is not None:
                return self._read(self._stream)
            self._ask()
        except ToolCallError as error:
            if self._rounds_left <= 1 or _calls_of(error) is None:
                self._record_progress(error)
                raise
            self._add_unread(error)
        except ProviderError as error:
            self._record_progress(error)
            raise
        return None

    @property
    def _rounds_left(self) -> int:
        return self._rules.max_rounds - len(self._responses)

    def _ask(self) -> None:
        """Send the next request."""
        # The tool calls of a response are run before the next request. So the calls of the last
        # round are not run: no request with their results would follow.
        if not self._rounds_left:
            raise self._endless_calls()
        if self._streams:
            self._stream = self._shared.open(self._next_request())
        else:
            self._end_round(self._shared.send(self._next_request()))

    def _read(self, stream: Stream) -> Optional[CompletionChunk]:
        chunk = self._shared.read(stream)
        if chunk is None:
            self._end_round(stream.result())
            self._stream = None
        return chunk

    def _end_round(self, response: CompletionResponse) -> None:
        response = self._with_text_calls(response)
        self._responses.append(response)
        self._added.append(response.message)
        self._open_calls = list(response.tool_calls)
        self._unread = [""] * len(self._open_calls)
        self._is_answered = not self._open_calls

    def _endless_calls(self) -> ToolCallError:
        rounds = self._rules.max_rounds
        return ToolCallError(
            f"the model still calls tools after {count_with_noun(rounds, 'round')}; "
            "its last calls were not run",
            hint="raise max_rounds; error.run has every call that was run, with its result",
            provider=self._shared.provider.name,
            partial=self._responses[-1].text,
        )

    def _with_text_calls(self, response: CompletionResponse) -> CompletionResponse:
        """Convert the calls in a response's text to tool calls, or add a warning about the calls.

        If the text has no calls, the response is returned unchanged.
        """
        if response.tool_calls or not response.text.strip():
            return response
        found = find_calls(response.text, self._is_tool, self._shared.check)
        if found is None:
            return response
        is_whole = found.calls and not is_too_long(response.finish_reason)
        if not self._rules.text_calls or not is_whole:
            warning = _LEFT_IN_TEXT if not self._rules.text_calls else _UNREADABLE_IN_TEXT
            return response.replace(warnings=(*response.warnings, warning))
        return response.replace(
            text=found.rest,
            tool_calls=found.calls,
            warnings=(*response.warnings, _READ_IN_TEXT),
        )

    def _is_tool(self, name: str) -> bool:
        try:
            return bool(find_tool(self._tools, name))
        except NotRunError:
            return False

    def _next_request(self) -> CompletionRequest:
        request = self._request.replace(messages=(*self._request.messages, *self._added))
        if self._responses and request.tool_choice not in ("auto", "none"):
            # If the model had to call a tool in every round, it would never answer.
            request = request.replace(tool_choice=None)
        if self._responses and self._rounds_left == 1:
            # This is the last request, and the calls in its response would not be run. So the model
            # is made to answer.
            request = request.replace(tools=(), tool_choice=None)
        return request

    def _add_unread(self, error: ToolCallError) -> None:
        """Add a response with calls that could not be read, and report them to the model."""
        calls, self._stream = _calls_of(error) or (), None
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

        The result is "none" if the response may not call any tool.
        """
        choice = self._request.tool_choice
        is_forced = choice not in (None, "auto", "required") and len(self._responses) == 1
        return choice if is_forced or choice == "none" else None

    # --- tool calls -----------------------------------------------------------------------------

    def _run_next(self) -> CompletionChunk:
        """Run the next tool call, or wait for its result; return the chunk of its step."""
        try:
            self._shared.check()
            step, error = self._next_outcome()
        except ProviderError as stopped:
            self._end_work()
            self._record_progress(stopped)
            raise
        self._add(step)
        if error is not None:
            self._end_work()
            try:
                raise error
            finally:
                # The traceback of the error refers to this frame. If the frame also referred to
                # the error, both would stay in memory.
                del error
        if not self._open_calls:
            self._end_work()
        return CompletionChunk(tool_step=step)

    def _next_outcome(self) -> _Outcome:
        if self._rules.parallel == 1:
            return self._outcome_of(self._open_calls[0], self._unread[0])
        if self._work is None:
            calls = zip(self._open_calls, self._unread)
            functions = [partial(self._outcome_of, *pair) for pair in calls]
            self._work = ParallelWork(functions, self._rules.parallel)
            self._shared.check()  # `close` may have run before `_work` was set
            self._work.start()
        return self._work.take(self._shared.wait)

    def _end_work(self) -> None:
        """Start no further call in a thread; add the steps of the calls that have started."""
        work = self._work
        if work is not None:
            work.stop()
            self._work = None
            while work.has_more:
                self._add(work.take(lambda ended: None).step)

    def _outcome_of(self, call: ToolCall, unread: str) -> _Outcome:
        started = time.monotonic()
        # Names of converted arguments. They are also needed if the tool raises an exception.
        converted: List[str] = []
        raised: Optional[Exception] = None
        try:
            check_read(unread)
            step = self._step(
                call, started, run_call(self._tools, call, self._only_tool, converted)
            )
        except NotRunError as refused:
            converted.clear()
            step = self._step(call, started, str(refused), failed=True)
        except Exception as error:  # the tool is the user's code, which may raise any error
            if is_injected(error):
                raise  # not an exception of the tool: a signal handler ran in the tool
            step = self._step(call, started, error_text(error), failed=True)
            raised = error if self._rules.on_tool_error == "raise" else None
        try:
            return _Outcome(step.replace(converted=tuple(converted)), raised)
        finally:
            # The traceback of the error refers to this frame. If the frame also referred to the
            # error, both would stay in memory.
            del raised

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
        is_error = step.error is not None
        self._added.append(Message.tool(step.content, step.call, is_error=is_error))
        if self._rules.on_step is not None:
            self._rules.on_step(step)

    def _record_progress(self, error: ProviderError) -> None:
        """Add the messages, responses and steps so far to an error that ends the loop.

        They become the attribute `run` of the error.
        """
        served = self._responses[-1].model if self._responses else None
        error.add_context(model=self._request.model or served)
        error.run = PartialRun(
            added=(*self._added, *map(_not_run_result, self._open_calls)),
            responses=tuple(self._responses),
            steps=tuple(self._steps),
        )


def _not_run_result(call: ToolCall) -> Message:
    # Servers refuse a conversation with a tool call that has no result.
    text = "this call was not run, because the tool loop had ended"
    return Message.tool(text, call, is_error=True)


# Message to the model about calls that the server could not read. It is a user message, because
# there is no call to which the result of a tool could belong.
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
    """Return the calls of an answer in which some calls could not be read.

    Each call has the reason why it could not be read, or an empty text. The result is empty if the
    calls are unknown, because the server could not parse them. It is None if the model cannot
    correct the calls, for example because they were cut off.
    """
    known: Optional[Sequence[Tuple[ToolCall, str]]] = getattr(error, "_calls", None)
    return () if known is None and error.server_message else known
