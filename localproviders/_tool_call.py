"""One tool call: find the tool, read the arguments, run the function, write its result as text."""

from __future__ import annotations

import collections.abc as abc
import re
from typing import Any, Dict, List, Mapping, Optional

from localproviders._interrupts import is_injected
from localproviders._record import thawed
from localproviders.errors import ConfigurationError
from localproviders.schema import arguments_for
from localproviders.schema.conversion import convert_arguments
from localproviders.types.inputs import result_text
from localproviders.types.messages import Tool, ToolCall

# Text between the name of a tool and a prefix or suffix. A single underscore or hyphen is a part of
# a name: `get_weather` is not the tool `weather`.
_SEPARATOR = re.compile(r"[^\w-]+|__+")
# A name with more parts is not searched, because the search would take too long.
_MOST_PARTS = 12


class NotRunError(Exception):
    """The reason why a call cannot be run, as text for the model."""


def run_call(
    tools: Mapping[str, Tool], call: ToolCall, only: Optional[str], converted: List[str]
) -> str:
    """Run the tool of a call, and return its result as text.

    The names of the arguments that were converted to another type are added to `converted`. `only`
    is the name of the one tool that may be called, ``none`` for no tool, or None for any tool.

    The arguments and the result are not stored in local variables. An error of the tool passes
    through this frame, and a traceback with local variables would show them.
    """
    tool = find_tool(tools, call.name)
    _check_choice(tool, only)
    function: Any = tool.function
    return result_text(_run_to_end(function(**_arguments(tool, call, converted))))


def _run_to_end(result: Any) -> Any:
    """Return the final result of a tool.

    A coroutine, a generator or an asynchronous generator is run to its end. Any other result is
    returned unchanged.

    Raises:
        ConfigurationError: The tool is asynchronous, and an event loop runs in this thread already.
        Exception: An exception of the tool.
    """
    if isinstance(result, abc.Generator):
        return list(result)
    if not isinstance(result, (abc.Awaitable, abc.AsyncGenerator)):
        return result
    import asyncio  # slow to import, and only needed for asynchronous tools

    try:
        check_no_running_loop()
    except ConfigurationError:
        # Otherwise Python warns of a coroutine that was never awaited.
        getattr(result, "close", lambda: None)()
        raise
    return asyncio.run(_finish(result))


async def _finish(result: Any) -> Any:
    if isinstance(result, abc.AsyncGenerator):
        return [item async for item in result]
    return await result


def check_no_running_loop() -> None:
    """Check that no event loop runs in this thread, because a thread cannot run two event loops.

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


def check_read(reason: str) -> None:
    """Raise `NotRunError` if there is a reason why a call could not be read."""
    if reason:
        raise NotRunError(
            f"the tool was not run, because {reason}; call it again with one JSON object"
        )


def find_tool(tools: Mapping[str, Tool], name: str) -> Tool:
    """Return the tool that a call names.

    Raises:
        NotRunError: There is no such tool, or the name fits several tools.
    """
    if name in tools:
        return tools[name]
    # A name without letters and digits becomes empty, and must not match another such name.
    simple = _simplified(name)
    similar = [tool for tool in tools.values() if simple and _simplified(tool.name) == simple]
    similar = similar or _inside(tools, name)
    if len(similar) == 1:
        return similar[0]
    names = ", ".join(tools) or "none"
    raise NotRunError(f"there is no tool {name!r}; the tools are: {names}")


def _inside(tools: Mapping[str, Tool], name: str) -> List[Tool]:
    """Return the tools whose names are in the given name, after a prefix or before a suffix.

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
    """Raise `NotRunError` for a forbidden tool, because some servers ignore `tool_choice`."""
    if only == "none":
        raise NotRunError("no tool may be called now; answer in words")
    if only is not None and tool.name != only:
        raise NotRunError(f"only the tool {only!r} may be called now")


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
    raise NotRunError(f"the tool was not run, because its arguments are invalid:\n{reasons}")


def _converted(tool: Tool, call: ToolCall, converted: List[str]) -> Dict[str, Any]:
    # Separate function, so that tracebacks do not include the arguments.
    given, names = convert_arguments(thawed(call.arguments), tool.parameters)
    converted += names
    return given


def error_text(error: Exception) -> str:
    """Return the text that the model receives about an exception of a tool."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}"
    except Exception as failure:  # it is the user's class, whose `__str__` may fail, too
        if is_injected(failure):
            raise
        return kind
