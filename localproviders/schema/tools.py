"""Tools from functions, and answers as typed values.

For a function, this module makes a tool with its schema, and converts the arguments of a tool
call to Python values. For a type, it makes the schema for the request, and builds a typed value
from the answer.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple, Union

from localproviders._record import thawed
from localproviders.errors import ConfigurationError
from localproviders.schema.checker import check, find_unnamed_keys
from localproviders.schema.describe import (
    is_model,
    kind_of,
    kind_of_model,
    kinds_of_parts,
    object_schema,
)
from localproviders.schema.json_types import Kind, Place, keep_unchanged, name_of
from localproviders.schema.keywords import inline_references, key_path
from localproviders.schema.shapes import docstring_of, parts_of_function
from localproviders.types.messages import Tool

_ARGUMENTS = "arguments"


def tool_from(function: Callable[..., Any]) -> Tool:
    """Make a tool from the name, the docstring and the annotated parameters of a function.

    ``python -OO`` removes docstrings. The tool then has no description, and a `RuntimeWarning`
    is issued.

    Args:
        function: A function, or a method of an instance. Every parameter must be annotated
            with a type that has a form in JSON (see the table in `docs/schemas.md`), and must
            accept its value by name. The description of a parameter is read from `Annotated`,
            or else from the docstring (in the style of Google, NumPy or reST).

    Returns:
        The tool; its `function` is the function. The schema in its `parameters` has no
        references and allows no other keys. A parameter with a default is not required.

    Raises:
        ConfigurationError: The function has no name or is a coroutine function; or a parameter
            has no annotation, has a type without a form in JSON, or cannot be passed by name.
            The message names the function, the parameter and the type. The hint says what to
            do.
    """
    place = _check_function(function)
    docstring = docstring_of(function)
    if sys.flags.optimize > 1 and not docstring.summary:
        warnings.warn(
            f"the tool {function.__name__!r} has no description, because Python runs with -OO, "
            "which removes docstrings: pass Tool(..., description=...), or run without -OO",
            RuntimeWarning,
            stacklevel=2,
        )
    _, schema = _parameter_kinds(function, place)
    return Tool(
        name=function.__name__,
        description=docstring.summary,
        parameters=schema,
        function=function,
    )


def as_tools(tools: Sequence[Union[Tool, Callable[..., Any]]]) -> Tuple[Tool, ...]:
    """Return the tools as a tuple. A tool is made from each function (see `tool_from`).

    Raises:
        ConfigurationError: Two tools have the same name, a value is neither a tool nor a
            function, or no tool can be made from a function.
    """
    if isinstance(tools, Tool) or callable(tools):
        raise ConfigurationError("tools is one tool, and must be a list", hint="write tools=[...]")
    if not hasattr(tools, "__iter__"):
        raise ConfigurationError(f"tools is {type(tools).__name__}, and must be a list")
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
    """Convert the JSON arguments of a tool call to the keyword arguments of the function.

    If the `parameters` of the tool were written by hand, the arguments may have only keys that
    `parameters` names; this also applies to nested objects. A key that is neither in
    ``properties`` nor in ``patternProperties`` is allowed only if ``additionalProperties`` is
    present and allows it.

    Args:
        function_or_tool: A function, or a tool with a `function`.
        arguments: The arguments that the model sent: `ToolCall.arguments`.

    Returns:
        The arguments by name, as values of the annotated types, such as a member of an `Enum`
        or an instance of a dataclass. An argument that the model omitted is missing, so the
        default of the function applies. If the `parameters` were written by hand and no schema
        can be made for the function, the values are unchanged.

    Raises:
        ConfigurationError: The tool has no function, or no tool can be made from the function.
        ValueError: The arguments do not fit the tool's parameters, or a type refused its
            value. The message has a line for each reason.
    """
    tool = function_or_tool if isinstance(function_or_tool, Tool) else tool_from(function_or_tool)
    if tool.function is None:
        raise ConfigurationError(
            f"the tool {tool.name!r} has no function to call",
            hint="make it with Tool(..., function=...), or pass the function itself",
        )
    # The function gets a copy that it may change, because the arguments of a call are frozen.
    given = {name: thawed(value) for name, value in arguments.items()}
    try:
        kinds, schema = _parameter_kinds(tool.function, _check_function(tool.function))
    except ConfigurationError:
        _check_handwritten(given, tool.parameters)
        return given
    if tool.parameters != schema:
        _check_handwritten(given, tool.parameters)
    _raise_reasons(check(given, schema, name=_ARGUMENTS))
    return {
        name: kinds[name].make(value, key_path(_ARGUMENTS, name)) for name, value in given.items()
    }


def _check_handwritten(given: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Check arguments against a schema that was written by hand.

    Raises:
        ValueError: The arguments do not fit, or have a key that the schema does not name.
    """
    _raise_reasons(
        check(given, parameters, name=_ARGUMENTS)
        or find_unnamed_keys(given, parameters, name=_ARGUMENTS)
    )


def _raise_reasons(reasons: List[str]) -> None:
    if reasons:
        raise ValueError("\n".join(reasons))


def _check_function(function: Any) -> Place:
    """Check a function, and return its place for error messages.

    Raises:
        ConfigurationError: The value is not a function, or cannot be called as a tool.
    """
    name = getattr(function, "__name__", None)
    if not callable(function) or isinstance(function, type):
        raise ConfigurationError(
            f"{name or type(function).__name__!r} is not a function, so it cannot be a tool",
            hint="pass a function, the method of an instance, or Tool(name=..., parameters=...)",
        )
    if not isinstance(name, str) or name == "<lambda>":
        raise ConfigurationError(
            f"this {type(function).__name__} has no name by which a model could call it",
            hint="define the function with def",
        )
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(
            f"{name}() is a coroutine function, and this package does not await it",
            hint="define the function without async",
        )
    return Place(f"{name}()")


def _parameter_kinds(
    function: Callable[..., Any], place: Place
) -> Tuple[Dict[str, Kind], Dict[str, Any]]:
    parts = parts_of_function(function, place)
    kinds = kinds_of_parts(parts, place, "parameter {!r}")
    return kinds, object_schema(kinds, parts)


def schema_of(response_type: Any) -> Dict[str, Any]:
    """Return the JSON Schema of a type. It has no references, except recursive ones.

    Args:
        response_type: A dataclass, `TypedDict`, `NamedTuple`, `Enum`, a type such as
            ``List[int]`` or ``Literal["a", "b"]`` (see the table in `docs/schemas.md`), a
            pydantic model, or a JSON Schema as a mapping.

    Returns:
        A new dictionary. In a schema that was passed, local references are replaced with their
        definitions. Only recursive references are kept, with their definitions under
        ``$defs``, because they have no other form. Servers that turn a schema into a grammar
        support them.

    Raises:
        ConfigurationError: The type has no form in JSON; or the schema is malformed, or has a
            keyword that `check` does not support.
    """
    return _kind_of(response_type).schema


def build(response_type: Any, value: Any) -> Any:
    """Build an instance of a type from a JSON value.

    Args:
        response_type: A type, a pydantic model, or a JSON Schema as a mapping; the same values
            as for `schema_of`.
        value: The value, as `json.loads` returns it.

    Returns:
        An instance of the type, with instances of its nested types. For a `Union`, the first
        member that fits and accepts the value is used. For a JSON Schema, the result is the
        value itself.

    Raises:
        ConfigurationError: The type has no form in JSON; or the schema is malformed, or has a
            keyword that `check` does not support.
        ValueError: The value does not fit, or the code of a type (such as ``__post_init__``)
            refused it. The message has a line for each reason.
    """
    kind = _kind_of(response_type)
    reasons = check(value, kind.schema)
    if reasons:
        raise ValueError("\n".join(reasons))
    return kind.make(value, "answer")


def _kind_of(response_type: Any) -> Kind:
    if isinstance(response_type, Mapping):
        return Kind(inline_references(response_type), keep_unchanged)
    place = Place(f"the type {name_of(response_type)}")
    return (kind_of_model if is_model(response_type) else kind_of)(response_type, place)
