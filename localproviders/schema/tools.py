"""Tools from functions, and answers as typed values.

For a function, this module makes a tool with its schema, and converts the arguments of a tool
call to Python values. For a type, it makes the schema for the request, and builds a typed value
from the model's answer.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from itertools import islice
from types import FunctionType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Sequence,
    Tuple,
    Union,
)

from localproviders._lazy import LazyModule
from localproviders._record import thawed
from localproviders.errors import ConfigurationError
from localproviders.schema.checker import check, find_unnamed_keys
from localproviders.schema.describe import (
    check_that_values_end,
    kind_of,
    kinds_of_parts,
    object_schema,
    values_of_parts,
)
from localproviders.schema.json_types import Kind, Place, Scope, keep_unchanged, name_of
from localproviders.schema.keywords import inline_references, key_path
from localproviders.schema.scopes import caller, plain_function, resolved_by_caller
from localproviders.schema.shapes import (
    Part,
    defaults_of_function,
    docstring_of_function,
    name_of_function,
    parts_of_function,
)
from localproviders.types.inputs import fields_of
from localproviders.types.messages import Tool, Tools, as_tool

if TYPE_CHECKING:
    from localproviders.schema import other_tools
else:
    other_tools = LazyModule("localproviders.schema.other_tools")

_ARGUMENTS = "arguments"


def tool_from(function: Callable[..., Any]) -> Tool:
    """Make a tool from the name, the docstring and the annotated parameters of a function.

    ``python -OO`` removes docstrings. If the tool then has no description, or its parameters or
    types may have lost theirs, a `RuntimeWarning` says what is missing.

    Args:
        function: A function, a method of an instance, a `functools.partial`, or an object with
            ``__call__``. It may be defined with ``async def``. Every parameter must be annotated
            with a type that has a form in JSON (see the table in `docs/schemas.md`), and must
            accept its value by name. The description of a parameter is read from `Annotated` or a
            `Field` of pydantic, or else from the docstring (in the style of Google, NumPy or reST).

    Returns:
        The tool, with the function as its `function`. Its name is the name of the function. For a
        partial function, this is the name of the function inside it, and for an object, the name of
        its class. The schema in its `parameters` allows no keys except the names of the parameters,
        and has references only for types that contain themselves. A parameter with a default is not
        required. A parameter that a partial function has fixed is not in the schema.

    Raises:
        ConfigurationError: The function has no name; or a parameter has no annotation, has a
            type without a form in JSON, or cannot be passed by name. The message names the
            function, the parameter and the type. The hint says what to do.
    """
    place = _check_function(function)
    docstring = docstring_of_function(function)
    reading = _read_parameters(function, place)
    name = str(name_of_function(function))
    if sys.flags.optimize > 1:
        _warn_of_lost_docstrings(name, docstring.summary, reading, place.scope)
    return Tool(
        name=name,
        description=docstring.summary,
        parameters=reading.schema,
        function=function,
    )


def _warn_of_lost_docstrings(name: str, summary: str, reading: _Parameters, scope: Scope) -> None:
    """Warn of the descriptions that ``python -OO`` may have removed from a tool.

    If the function still has a docstring, the program has assigned it, so the function's own
    descriptions are complete.
    """
    properties = () if summary else reading.schema["properties"].items()
    bare = [f"the parameter {key!r}" for key, each in properties if "description" not in each]
    lost = [*bare, *_undescribed_types(scope)]
    if not summary:
        _warn_of_optimization(f"the tool {name!r} has no description", lost)
    elif lost:
        _warn_of_optimization(f"the tool {name!r} has types without a description", lost)


def _undescribed_types(scope: Scope) -> List[str]:
    return [f"the type {name}" for name in dict.fromkeys(scope.undescribed)]


def _warn_of_optimization(what: str, lost: Sequence[str]) -> None:
    more = f" (also without a description: {', '.join(lost)})" if lost else ""
    warnings.warn(
        f"{what}, because Python runs with -OO, which removes docstrings: pass "
        "Tool(..., description=...), describe parameters and fields with Annotated, assign __doc__ "
        f"of types, or run without -OO{more}",
        RuntimeWarning,
        stacklevel=caller()[1],
    )


def as_tools(tools: Tools) -> Tuple[Tool, ...]:
    """Return the tools as a tuple. A tool is made from each function (see `tool_from`).

    A dictionary in the form of OpenAI or Ollama is a tool without a function. The tool object of
    another client, such as LangChain, is a tool with the object's function. A single tool counts
    as a list of one tool, and None as an empty list.

    Raises:
        ConfigurationError: Two tools have the same name, a value is neither a tool nor a
            function, or no tool can be made from a function or a dictionary.
    """
    if tools is None:
        return ()
    if isinstance(tools, Mapping):
        _refuse_functions_by_name(tools)
    # A model of pydantic, such as a tool of MCP, is iterable: its items are its fields.
    is_one = isinstance(tools, (Mapping, Tool)) or callable(tools) or hasattr(tools, "model_dump")
    several: Any = [tools] if is_one or _is_other(tools) else tools
    if not hasattr(several, "__iter__"):
        raise ConfigurationError(f"tools is {type(tools).__name__}, and must be a list")
    made: Dict[str, Tool] = {}
    for each in several:
        tool = _as_tool(each)
        if tool.name in made:
            raise ConfigurationError(
                f"two tools have the name {tool.name!r}",
                hint="a model calls tools by name: rename one, such as tool.replace(name=...)",
            )
        made[tool.name] = tool
    return tuple(made.values())


def _name_in_code(tool: Any) -> str:
    """Return the name that a script probably uses for a tool, for the hint of an error."""
    name = str(getattr(tool, "name", None) or getattr(tool, "__name__", "tool"))
    return name if name.isidentifier() else "tool"


def _refuse_functions_by_name(tools: Mapping[str, Any]) -> None:
    if tools and all(callable(each) or isinstance(each, Tool) for each in tools.values()):
        shown = ", ".join(_name_in_code(each) for each in islice(tools.values(), 3))
        is_lambda = any(getattr(each, "__name__", "") == "<lambda>" for each in tools.values())
        more = ", and define each function with def and annotations" if is_lambda else ""
        raise ConfigurationError(
            "tools is a dictionary of functions, and must be a list",
            hint=f"write tools=[{shown}]{more}",
        )


def _is_other(value: Any) -> bool:
    """Return whether a value may be a tool object of another client."""
    if isinstance(value, (dict, list, tuple, FunctionType, MethodType)):
        return False  # these usual values are recognized without importing the module
    return other_tools.is_tool(value)


def _from_other(value: Any) -> Tool:
    """Make a tool from the tool object of another client."""
    found = other_tools.parts_of_tool(value)
    parameters = tool_from(found.function).parameters if found.schema is None else found.schema
    if not isinstance(parameters, Mapping):
        parameters = schema_of(parameters)
    return Tool(
        name=found.name,
        description=found.description,
        parameters=parameters,
        function=found.function,
    )


def _as_tool(value: Any) -> Tool:
    if isinstance(value, Tool):
        return value
    if _is_other(value):
        return _from_other(value)
    fields = fields_of(value)
    if not isinstance(fields, Mapping):
        return tool_from(value)
    try:
        return as_tool(fields)
    except ValueError as error:
        reason = str(error)
    raise ConfigurationError(reason)


def arguments_for(
    function_or_tool: Union[Tool, Callable[..., Any]], arguments: Mapping[str, Any]
) -> Dict[str, Any]:
    """Convert the JSON arguments of a tool call to the keyword arguments of the function.

    If the `parameters` of the tool were written by hand, the arguments may have only keys that
    `parameters` names. In nested objects, this applies wherever the schema names any key. A key
    that is neither in ``properties`` nor in ``patternProperties`` is allowed only if
    ``additionalProperties`` is present and allows it.

    Args:
        function_or_tool: A function, or a tool with a `function`.
        arguments: The arguments that the model sent: `ToolCall.arguments`.

    Returns:
        The arguments by name, as values of the annotated types, such as a member of an `Enum`
        or an instance of a dataclass. An argument that the model left out is missing, so that the
        default of the function applies; a default that a `Field` describes is filled in. If the
        `parameters` were written by hand and no schema can be made for the function, the values of
        the model are unchanged.

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
    # The arguments of a call are frozen, so the function gets a copy, which it may change.
    given = {name: thawed(value) for name, value in arguments.items()}
    try:
        reading = _read_parameters(tool.function, _check_function(tool.function))
    except ConfigurationError:
        _check_handwritten(given, tool.parameters)
        here = Place(f"{tool.name}()", Scope())
        return _with_defaults(given, defaults_of_function(tool.function, here))
    if tool.parameters != reading.schema:
        _check_handwritten(given, tool.parameters)
    _raise_reasons(check(given, reading.schema, name=_ARGUMENTS))
    return values_of_parts(given, reading.kinds, reading.parts, _ARGUMENTS)


def _with_defaults(given: Dict[str, Any], parts: Sequence[Part]) -> Dict[str, Any]:
    """Add to the arguments the defaults that a `Field` describes, and return the arguments.

    Raises:
        ValueError: A required argument is missing.
    """
    for part in parts:
        if part.name in given:
            continue
        if part.fill is None:
            raise ValueError(f"{key_path(_ARGUMENTS, part.name)}: is missing")
        given[part.name] = part.fill(given)
    return given


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
    if not callable(function) or isinstance(plain_function(function)[0], type):
        name = getattr(function, "__name__", None)
        raise ConfigurationError(
            f"{name or type(function).__name__!r} is not a function, so it cannot be a tool",
            hint="pass a function, the method of an instance, or Tool(name=..., parameters=...)",
        )
    name = name_of_function(function)
    if name is None:
        raise ConfigurationError(
            f"this {type(function).__name__} has no name by which a model could call it",
            hint="define the function with def",
        )
    return Place(f"{name}()", Scope())


def is_async(function: Any) -> bool:
    """Return whether a function is defined with ``async def``.

    For a partial function, a method, a wrapper or an object with ``__call__``, the function inside
    it decides.
    """
    inner = plain_function(function)[0]
    return inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)


class _Parameters(NamedTuple):
    """The parameters of a function, their kinds by key in JSON, and the schema of all arguments."""

    parts: List[Part]
    kinds: Dict[str, Kind]
    schema: Dict[str, Any]


def _read_parameters(function: Callable[..., Any], place: Place) -> _Parameters:
    parts = parts_of_function(function, place)
    kinds = kinds_of_parts(parts, place, "parameter {!r}")
    check_that_values_end(place)
    return _Parameters(parts, kinds, place.scope.complete(object_schema(kinds, parts)))


def schema_of(response_type: Any) -> Dict[str, Any]:
    """Return the JSON Schema of a type. The schema has no references except recursive ones.

    ``python -OO`` removes docstrings. If the type may have lost its description, a
    `RuntimeWarning` says so.

    Args:
        response_type: A dataclass, `TypedDict`, `NamedTuple`, `Enum`, a type such as
            ``List[int]`` or ``Literal["a", "b"]`` (see the table in `docs/schemas.md`), a
            pydantic model, or a JSON Schema as a mapping.

    Returns:
        A new dictionary. In a schema that was passed, local references are replaced with their
        definitions. Only recursive references are kept, with their definitions under ``$defs``,
        because they cannot be replaced. Servers that turn a schema into a grammar support them.

    Raises:
        ConfigurationError: The type has no form in JSON; or the schema is malformed, or has a
            keyword that `check` does not support.
    """
    kind, scope = _kind_of(response_type)
    if sys.flags.optimize > 1 and scope.undescribed:
        _warn_of_optimization("the schema has no description", _undescribed_types(scope))
    return kind.schema


def build(response_type: Any, value: Any) -> Any:
    """Build an instance of a type from a JSON value.

    Args:
        response_type: A type, a pydantic model, or a JSON Schema as a mapping, as for `schema_of`.
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
    kind, _ = _kind_of(response_type)
    reasons = check(value, kind.schema)
    if reasons:
        raise ValueError("\n".join(reasons))
    return kind.make(value, "answer")


def _kind_of(response_type: Any) -> Tuple[Kind, Scope]:
    """Return the kind of a type, with a complete schema, and the named types of this schema."""
    scope = Scope()
    if isinstance(response_type, Mapping):
        return Kind(inline_references(response_type), keep_unchanged), scope
    place = Place(f"the type {name_of(response_type)}", scope)
    if not isinstance(response_type, (type, str)):
        response_type = resolved_by_caller(response_type)
    kind = kind_of(response_type, place)
    check_that_values_end(place)
    return kind._replace(schema=scope.complete(kind.schema)), scope
