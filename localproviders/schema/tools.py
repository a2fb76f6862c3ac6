"""Python functions as tools: their schema, and the arguments of a call as Python values."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple, Union

from localproviders.errors import ConfigurationError
from localproviders.schema.checker import check
from localproviders.schema.describe import object_schema, read_parts
from localproviders.schema.docstrings import docstring_of
from localproviders.schema.kinds import Kind, Place
from localproviders.schema.shapes import parts_of_function
from localproviders.schema.words import key
from localproviders.types.message import Tool

_ARGUMENTS = "arguments"


def tool_from(function: Callable[..., Any]) -> Tool:
    """Make a tool of a function: its name, its docstring and its annotated parameters.

    Args:
        function: A function, or the method of an instance. Every parameter is annotated
            with a type that JSON has a form for (`docs/schemas.md` has the table), and can
            be passed by name. Words for a parameter come from `Annotated`, or else from the
            docstring (Google's, NumPy's or reST's style).

    Returns:
        The tool, with the function kept in `Tool.function`. Its `parameters` have no
        references, and allow no other keys; parameters with a default are not required.

    Raises:
        ConfigurationError: The function has no name of its own, is a coroutine, or a
            parameter has no annotation, no form in JSON, or cannot be passed by name. The
            message names the function, the parameter and the type; the hint what to do.
    """
    place = _check_function(function)
    words = docstring_of(function)
    _, schema = _parameters(function, place)
    return Tool(
        name=function.__name__,
        description=words.summary,
        parameters=schema,
        function=function,
    )


def as_tools(tools: Sequence[Union[Tool, Callable[..., Any]]]) -> Tuple[Tool, ...]:
    """Give tools, made of the functions among them; a `Tool` stays as it is.

    Raises:
        ConfigurationError: Two have the same name, one is neither a tool nor a function, or
            a function cannot be described (see `tool_from`).
    """
    if isinstance(tools, Tool) or callable(tools):
        raise ConfigurationError("tools is one tool, and must be a list", hint="write tools=[...]")
    made: Dict[str, Tool] = {}
    for each in tools:
        tool = each if isinstance(each, Tool) else tool_from(each)
        if tool.name in made:
            raise ConfigurationError(
                f"two tools have the name {tool.name!r}",
                hint="a model calls tools by name: rename one, such as tool.replace(name=...)",
            )
        made[tool.name] = tool
    return tuple(made.values())


def arguments_for(
    function_or_tool: Union[Tool, Callable[..., Any]], arguments: Mapping[str, Any]
) -> Dict[str, Any]:
    """Make the keyword arguments of a tool's function out of a call's JSON arguments.

    Args:
        function_or_tool: A function, or a tool with a `function`.
        arguments: What the model gave: `ToolCall.arguments`.

    Returns:
        The arguments by name, as the types that the function is annotated with (an `Enum`'s
        member, a dataclass's instance ...); those left out are left to their defaults. A
        function that cannot be described, in a tool with `parameters` written by hand, gets
        the values as they are.

    Raises:
        ConfigurationError: The tool has no function, or a function cannot be described.
        ValueError: The arguments do not fit the tool's parameters, or a type refused its
            value; a line for each reason.
    """
    tool = function_or_tool if isinstance(function_or_tool, Tool) else tool_from(function_or_tool)
    if tool.function is None:
        raise ConfigurationError(
            f"the tool {tool.name!r} has no function to call",
            hint="make it with Tool(..., function=...), or pass the function itself",
        )
    given = dict(arguments)
    _raise_reasons(check(given, tool.parameters, name=_ARGUMENTS))
    try:
        kinds, schema = _parameters(tool.function, _check_function(tool.function))
    except ConfigurationError:
        return given
    _raise_reasons(check(given, schema, name=_ARGUMENTS))
    return {name: kinds[name].make(value, key(_ARGUMENTS, name)) for name, value in given.items()}


def _raise_reasons(reasons: List[str]) -> None:
    if reasons:
        raise ValueError("\n".join(reasons))


def _check_function(function: Any) -> Place:
    """Give the words for errors about a function.

    Raises:
        ConfigurationError: It is nothing that can be called as a tool.
    """
    name = getattr(function, "__name__", None)
    if not callable(function) or isinstance(function, type):
        raise ConfigurationError(
            f"{name or type(function).__name__!r} is no function, and a tool is made of one",
            hint="pass a function, the method of an instance, or Tool(name=..., parameters=...)",
        )
    if not isinstance(name, str) or name == "<lambda>":
        raise ConfigurationError(
            f"this {type(function).__name__} has no name that a model could call it by",
            hint="write it as a function with def",
        )
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(
            f"{name}() is a coroutine, and nothing here awaits it", hint="write it without async"
        )
    return Place(f"{name}()")


def _parameters(
    function: Callable[..., Any], place: Place
) -> Tuple[Dict[str, Kind], Dict[str, Any]]:
    parts = parts_of_function(function, place)
    kinds = read_parts(parts, place, "parameter {!r}")
    return kinds, object_schema(kinds, parts)
