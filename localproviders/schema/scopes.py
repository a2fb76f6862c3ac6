"""Resolve the annotations of functions and classes, even if these are defined inside functions.

An annotation is a string if its module has ``from __future__ import annotations``, or if the
annotation is written in quotation marks, because the type is defined later. Python itself looks up
the names in such a string only in the module. This module also finds types that are defined inside
a function or class. It searches the closure, the running call of the function that contains the
definition, and the class that contains a method.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import inspect
import sys
import typing
from types import FrameType, FunctionType, MethodType, SimpleNamespace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from localproviders._interrupts import is_injected
from localproviders.errors import ConfigurationError
from localproviders.schema.json_types import Place

# Argument with which `get_type_hints` keeps `Annotated`. Before Python 3.9, `get_type_hints` has no
# such parameter, and always keeps it.
_EXTRAS: Dict[str, Any] = {"include_extras": True} if sys.version_info >= (3, 9) else {}
# The attribute in which a function or class keeps the types that its annotations name. These types
# cannot be found again after the call of the outer function has ended. A dictionary in this module,
# even one with weak keys, would keep the types alive for ever: a type may refer to the function or
# class that would be its key in the dictionary.
_KEPT = "__localproviders_names__"
_LOCALS = ".<locals>."
_INNER = ("<lambda>", "<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")


class _Names(Dict[str, Any]):
    """The names for evaluating annotations, with a record of the names that were looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.used: Dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        value = self.used[name] = super().__getitem__(name)
        return value


def hints_of_class(cls: Any, place: Place) -> Dict[str, Any]:
    """Return the annotations of a class as types, by name. `Annotated` is kept.

    Raises:
        ConfigurationError: An annotation cannot be resolved.
    """
    names = _names_of_class(cls)
    try:
        hints = typing.get_type_hints(cls, localns=names, **_EXTRAS)
    except Exception as error:  # an annotation is any expression, and may raise anything
        if is_injected(error):
            raise
        raise _unresolved(place.within(cls.__name__), error) from None
    _keep(cls, names)
    return hints


def hint_of_parameter(function: Any, name: str, place: Place) -> Any:
    """Return the annotation of a parameter as a type. `Annotated` is kept.

    Args:
        function: A function, method, partial function or object with ``__call__``.
        name: Name of the parameter.
        place: Place of the parameter.

    Returns:
        The type, or `inspect.Parameter.empty` if the parameter has no annotation.

    Raises:
        ConfigurationError: The annotation cannot be resolved.
    """
    inner, owner = plain_function(function)
    annotations = getattr(inner, "__annotations__", {})
    if name not in annotations:
        return inspect.Parameter.empty
    names = _names_of_function(inner, owner)
    space = getattr(inner, "__globals__", {})
    # The annotations are resolved one at a time, so that the error names the parameter.
    holder = SimpleNamespace(__annotations__={name: annotations[name]})
    try:
        hint = typing.get_type_hints(holder, space, names, **_EXTRAS)[name]
    except Exception as error:  # an annotation is any expression, and may raise anything
        if is_injected(error):
            raise
        raise _unresolved(place, error) from None
    _keep(inner, names)
    return hint


def resolved_alias(value: Any, module: Optional[str], place: Place) -> Any:
    """Return the type of a type alias. Names that it contains as strings are resolved.

    Raises:
        ConfigurationError: A name cannot be resolved.
    """
    holder = SimpleNamespace(__annotations__={"value": value})
    try:
        return typing.get_type_hints(holder, _globals_of(module), {}, **_EXTRAS)["value"]
    except Exception as error:  # the type is any expression, and may raise anything
        if is_injected(error):
            raise
        raise _unresolved(place, error) from None


def resolved_by_caller(annotation: Any) -> Any:
    """Return a type in which the names are resolved with the variables of the calling program.

    A type such as ``List["Item"]`` does not say in which module the name is defined. If the calling
    program does not have the name either, the type is returned unchanged.
    """
    frame = caller()[0]
    names = dict(frame.f_locals)
    # A comprehension or a lambda has a frame of its own, inside the frame of its function.
    while frame.f_code.co_name in _INNER and frame.f_back is not None:
        frame = frame.f_back
        names = {**frame.f_locals, **names}
    holder = SimpleNamespace(__annotations__={"value": annotation})
    try:
        return typing.get_type_hints(holder, frame.f_globals, names, **_EXTRAS)["value"]
    except Exception as error:  # the annotation remains as it is, and is refused later
        if is_injected(error):
            raise
        return annotation


def caller() -> Tuple[FrameType, int]:
    """Return the frame of the program that called this package, and the frame's `stacklevel`.

    The function that calls `caller` can pass this level to `warnings.warn`.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_own(frame):
        frame, level = frame.f_back, level + 1
    return frame, level


def _is_own(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] == "localproviders"


def _unresolved(place: Place, error: Exception) -> ConfigurationError:
    return place.error(
        f"the annotation cannot be resolved: {error}",
        "use types that this Python can evaluate (List[str] before 3.9, Optional[str] "
        "before 3.10), imported or defined at the top of the module, or make the tool inside "
        "the function that defines them",
    )


def _keep(thing: Any, names: _Names) -> None:
    """Store the names that were used and are not in the module, for the next evaluation."""
    if names.used:
        with contextlib.suppress(AttributeError, TypeError):  # `thing` accepts no new attributes
            setattr(thing, _KEPT, {**vars(thing).get(_KEPT, {}), **names.used})


# --- functions -----------------------------------------------------------------------------


def plain_function(function: Any) -> Tuple[Any, Optional[type]]:
    """Return the function that has the annotations, and the class to which it belongs.

    If the function is not a method, the class is None. For a partial function, a method, a wrapper
    or an object with ``__call__``, the function inside it is returned.
    """
    owner = None
    for _ in range(100):  # a wrapper may lead back to itself
        if isinstance(function, MethodType):
            bound = function.__self__
            owner = bound if isinstance(bound, type) else type(bound)
            function = function.__func__
        elif isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif is_callable_object(function):
            function = function.__call__
        else:
            break
    return function, owner


def is_callable_object(function: Any) -> bool:
    """Return whether a value is an object of a class that defines ``__call__`` in Python."""
    # `callable` is also true for plain functions, whose ``__call__`` is written in C.
    return isinstance(getattr(type(function), "__call__", None), FunctionType)  # noqa: B004


def _names_of_function(function: Any, owner: Optional[type]) -> _Names:
    space = getattr(function, "__globals__", {})
    names = _Names()
    for cls in (owner, *_outer_classes(function, space)):
        _add_class(names, cls, [space])
    _add_local_names(names, function)
    return names


def _outer_classes(function: Any, space: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the classes that contain the definition of a function, the outermost first.

    Classes that are defined inside a function are not found here.
    """
    found: Any = None
    for name in function.__qualname__.split(".")[:-1] if hasattr(function, "__qualname__") else ():
        found = (space if found is None else vars(found)).get(name)
        if not isinstance(found, type):
            return
        yield found


def _closure(function: Any) -> Iterator[Tuple[str, Any]]:
    """Yield the names and values of the outer functions' variables that a function uses."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    for name, cell in zip(code.co_freevars if code else (), cells or ()):
        with contextlib.suppress(ValueError):  # the variable has no value yet
            yield name, cell.cell_contents


# --- classes -------------------------------------------------------------------------------


def _names_of_class(cls: Any) -> _Names:
    bases = [base for base in reversed(cls.__mro__) if base is not object]
    spaces = [_globals_of(base.__module__) for base in bases]
    names = _Names()
    for base in bases:
        _add_class(names, base, spaces)
    for base in bases:
        for value in list(vars(base).values()):
            names.update(_closure(value) if isinstance(value, FunctionType) else ())
        _add_local_names(names, base)
    return names


def _globals_of(module: Optional[str]) -> Dict[str, Any]:
    return getattr(sys.modules.get(module or ""), "__dict__", {})


def _add_class(names: _Names, cls: Any, spaces: List[Dict[str, Any]]) -> None:
    """Add the name of a class and the names in it, unless the module or `builtins` has them, too.

    The module and `builtins` have priority, because a field or a method often has the name of a
    type. But a class that is defined inside a function is always added.
    """
    if cls is None:
        return
    for name, value in {**vars(cls), cls.__name__: cls}.items():
        local = value is cls and "<locals>" in cls.__qualname__
        if local or not any(name in space for space in (*spaces, vars(builtins))):
            names[name] = value


# --- names inside functions ----------------------------------------------------------------


def _add_local_names(names: _Names, thing: Any) -> None:
    """Add the variables of the functions that contain the definition of a function or class."""
    for frame in _outer_calls(thing):
        names.update(frame.f_locals)
    names.update(_closure(thing))
    names.update(vars(thing).get(_KEPT, {}) if hasattr(thing, "__dict__") else {})


def _outer_calls(thing: Any) -> List[FrameType]:
    """Return the running calls of the functions that contain a definition, the outermost first."""
    path = getattr(thing, "__qualname__", "").split(_LOCALS)[:-1]
    calls: List[FrameType] = []
    for number in range(1, len(path) + 1):
        running = [
            frame
            for frame in _stack()
            if _is_call(frame, _LOCALS.join(path[:number]), thing.__module__)
        ]
        # A function that calls itself has several running calls. Use the call that made `thing`.
        ours = [frame for frame in running if _holds(frame, thing)]
        calls.extend((ours or running)[:1])
    return calls


def _stack() -> Iterator[FrameType]:
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_call(frame: FrameType, qualified_name: str, module: Optional[str]) -> bool:
    # Before Python 3.11, code does not know its qualified name.
    code = frame.f_code
    known = getattr(code, "co_qualname", None)
    is_named = known == qualified_name if known else code.co_name == qualified_name.split(".")[-1]
    return is_named and frame.f_globals.get("__name__") == module


def _holds(frame: FrameType, thing: Any) -> bool:
    return frame.f_locals.get(thing.__name__) is thing
