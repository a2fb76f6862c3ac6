"""Tool objects of other packages, such as LangChain, LlamaIndex, haystack and smolagents.

The objects are recognized by their attributes, so these packages need not be imported. A package of
this kind is called a client here.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, List, Mapping, NamedTuple, Optional

from localproviders.errors import ConfigurationError

# Attributes that can contain the function of a tool; the first one found is used.
_FUNCTIONS = ("func", "coroutine", "real_fn", "fn", "entrypoint", "function", "forward")
# Attributes that only tools of other clients have. The function of such a tool may be hidden.
_MARKS = ("_run", "on_invoke_tool", "run_json")
# Attributes that can contain the schema of the arguments that a model passes; the first one found
# is used.
_SCHEMAS = ("tool_call_schema", "args_schema", "fn_schema", "json_schema", "parameters", "inputs")
_DESCRIPTIONS = ("description", "desc")
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class OtherTool(NamedTuple):
    """The parts of a tool of another client.

    Attributes:
        name: Name of the tool.
        description: Description of the tool; empty if it has none.
        function: The Python function.
        schema: A JSON Schema of the arguments, or a model of pydantic; None if the object has none.
    """

    name: str
    description: str
    function: Callable[..., Any]
    schema: Any


def is_tool(value: Any) -> bool:
    """Return whether a value is a tool object of another client.

    Such an object has a name, a description, and a function as an attribute. If the object itself
    can be called, it is a tool object only if its ``__call__`` has ``*args`` or ``**kwargs``. A
    callable object without these is treated like a function instead.
    """
    if isinstance(value, (type, Mapping)) or not _name(value):
        return False
    is_described = any(hasattr(place, each) for place in _places(value) for each in _DESCRIPTIONS)
    has_function = _function(value) is not None or any(hasattr(value, each) for each in _MARKS)
    return is_described and has_function and _takes_anything(value)


def _takes_anything(value: Any) -> bool:
    call = getattr(type(value), "__call__", None)  # noqa: B004  # its signature is read
    if call is None:
        return True
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # a function in C
        return False
    return any(each.kind in _VARIABLE for each in parameters)


def parts_of_tool(value: Any) -> OtherTool:
    """Return the parts of a tool of another client.

    Raises:
        ConfigurationError: The object hides its function; or the function needs an argument that
            is not in the schema, because the other client passes it.
    """
    kind, function = type(value).__name__, _function(value)
    if function is None:
        raise ConfigurationError(
            f"the function of this {kind} cannot be read",
            hint="pass the function itself, without its decorator, or make a "
            "Tool(name=..., parameters=..., function=...)",
        )
    schema = _schema(value)
    hidden = _hidden(function, schema)
    if hidden:
        raise ConfigurationError(
            f"the function of this {kind} needs the argument {hidden[0]!r}, which the schema of "
            "its arguments does not have",
            hint="pass a function that does not have this argument and calls the tool's function; "
            "or, if a model may pass this argument, pass the tool's function itself",
        )
    return OtherTool(_name(value), _description(value), function, schema)


def _places(value: Any) -> List[Any]:
    """Return the objects that may have the attributes of a tool.

    These are the value itself, and its attributes `metadata` and `function_schema`.
    """
    return [value, *(getattr(value, each, None) for each in ("metadata", "function_schema"))]


def _name(value: Any) -> str:
    names = (getattr(place, "name", None) for place in _places(value))
    return next((each for each in names if isinstance(each, str)), "")


def _description(value: Any) -> str:
    places = ((place, each) for place in _places(value) for each in _DESCRIPTIONS)
    texts = (getattr(place, each, None) for place, each in places)
    return inspect.cleandoc(next((each for each in texts if isinstance(each, str)), ""))


def _function(value: Any) -> Optional[Callable[..., Any]]:
    found = (getattr(value, each, None) for each in _FUNCTIONS)
    return next((each for each in found if callable(each)), None)


def _schema(value: Any) -> Any:
    """Return the schema of the arguments; None if this package finds none that it can read."""
    places = ((place, each) for each in _SCHEMAS for place in _places(value))
    found = (_as_schema(getattr(place, each, None)) for place, each in places)
    return next((each for each in found if each is not None), None)


def _as_schema(found: Any) -> Any:
    if hasattr(found, "model_json_schema"):
        return found
    if not isinstance(found, Mapping) or isinstance(found.get("properties"), Mapping):
        return found if isinstance(found, Mapping) else None
    # smolagents has a dictionary of the arguments, each with its type.
    if not all(isinstance(each, Mapping) and "type" in each for each in found.values()):
        return None
    required = [name for name, each in found.items() if not each.get("nullable")]
    properties = {name: _property(each) for name, each in found.items()}
    return {"type": "object", "properties": properties, "required": required}


def _property(found: Mapping[str, Any]) -> Mapping[str, Any]:
    left_out = ("nullable", "type") if found["type"] == "any" else ("nullable",)
    return {name: each for name, each in found.items() if name not in left_out}


def _hidden(function: Any, schema: Any) -> List[str]:
    """Return the names of the arguments that a function requires, but that the schema lacks."""
    if schema is None:
        return []
    if not isinstance(schema, Mapping):
        schema = schema.model_json_schema()
    # smolagents shows a `self` in the signature of a function that does not need it.
    known, parameters = (
        (*schema.get("properties", ()), "self"),
        inspect.signature(function).parameters,
    )
    needed = [each for each in parameters.values() if each.default is each.empty]
    return [each.name for each in needed if each.kind not in _VARIABLE and each.name not in known]
