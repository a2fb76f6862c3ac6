"""The named parts of functions and classes: which there are, of what type, with what default."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

from localproviders.errors import ConfigurationError
from localproviders.schema.docstrings import docstring_of
from localproviders.schema.kinds import Place, name_of

#: Stands for "there is no default".
MISSING = dataclasses.MISSING

# Before 3.9 nothing is stripped off.
_EXTRAS: Dict[str, Any] = {"include_extras": True} if sys.version_info >= (3, 9) else {}

# What may stand around a type without changing its JSON; the first two say who is required.
_WRAPPERS = ("Required", "NotRequired", "ReadOnly", "Final")


class Part(NamedTuple):
    """One parameter or field.

    Attributes:
        name: Its name, and its key in the JSON object.
        annotation: Its type, resolved.
        required: Whether it must be there.
        default: Its value where it is left out, or `MISSING`.
        description: Words for the model, or an empty text.
    """

    name: str
    annotation: Any
    required: bool
    default: Any
    description: str


def _hints_of_class(cls: Any, place: Place) -> Dict[str, Any]:
    """Resolve the annotations of a class, with what `Annotated` adds.

    Raises:
        ConfigurationError: One of them cannot be resolved.
    """
    try:
        return typing.get_type_hints(cls, **_EXTRAS)
    except Exception as error:  # an annotation is any expression, and may raise anything
        raise _unresolved(place.within(cls.__name__), error) from None


def _hints_of_function(function: Any, place: Place) -> Dict[str, Any]:
    """Resolve the annotations of the parameters; the return type may stay unknown."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    hints = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        alone = SimpleNamespace(__annotations__={name: annotation})
        try:
            if name != "return":
                hints.update(typing.get_type_hints(alone, function.__globals__, **_EXTRAS))
        except Exception as error:  # as above
            raise _unresolved(place.within(f"parameter {name!r}"), error) from None
    return hints


def _unresolved(place: Place, error: Exception) -> ConfigurationError:
    return place.refuse(
        f"the annotation cannot be resolved: {error}",
        "use types that this Python can evaluate (List[str] before 3.9, Optional[str] "
        "before 3.10), imported or defined at the top of the module",
    )


def unwrapped(annotation: Any) -> Tuple[Any, str, str]:
    """Take off what stands around a type.

    Returns:
        The bare type; the texts of `Annotated`, joined; "Required", "NotRequired" or "".

    `Annotated` and the like of typing_extensions are known by their looks: it is no
    dependency.
    """
    words: List[str] = []
    required = ""
    while True:
        wrapper = _wrapper(annotation)
        if hasattr(annotation, "__metadata__"):
            words[:0] = [text for text in annotation.__metadata__ if isinstance(text, str)]
            annotation = annotation.__origin__
        elif wrapper:
            required = wrapper if wrapper.endswith("Required") else required
            annotation = annotation.__args__[0]
        elif hasattr(annotation, "__supertype__"):  # NewType
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation, " ".join(words), required


def _wrapper(annotation: Any) -> str:
    name = getattr(getattr(annotation, "__origin__", None), "_name", None)
    return name if name in _WRAPPERS else ""


# --- functions -----------------------------------------------------------------------------


def parts_of_function(function: Callable[..., Any], place: Place) -> List[Part]:
    """Give the parameters of a function that a model can fill in, by name.

    Raises:
        ConfigurationError: It has one that a call by keywords cannot reach, or that says
            no type.
    """
    hints = _hints_of_function(function, place)
    words = docstring_of(function).parameters
    found = []
    for parameter in _signature(function, place).parameters.values():
        here = place.within(f"parameter {parameter.name!r}")
        _check_parameter(parameter, hints, here)
        default = MISSING if parameter.default is parameter.empty else parameter.default
        description = words.get(parameter.name, "")
        annotation = hints[parameter.name]
        found.append(Part(parameter.name, annotation, default is MISSING, default, description))
    return found


def _signature(function: Callable[..., Any], place: Place) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise place.refuse(
            "it has no signature that Python can read",
            "wrap it in a function with annotated parameters",
        ) from None


_KINDS: Mapping[Any, Tuple[str, str]] = {
    inspect.Parameter.POSITIONAL_ONLY: (
        "is positional-only, and a model names its arguments",
        "take it by name, or wrap the function",
    ),
    inspect.Parameter.VAR_POSITIONAL: (
        "takes any number of values, and a model names its arguments",
        "take a List[...] instead, or wrap the function",
    ),
    inspect.Parameter.VAR_KEYWORD: (
        "takes any name, and a schema lists the names",
        "name the parameters, take a Dict[str, ...] instead, or wrap the function",
    ),
}


def _check_parameter(parameter: inspect.Parameter, hints: Dict[str, Any], place: Place) -> None:
    if parameter.kind in _KINDS:
        raise place.refuse(*_KINDS[parameter.kind])
    if parameter.name not in hints:
        method = parameter.name in ("self", "cls")
        raise place.refuse(
            "has no annotation",
            "pass the method of an instance: thing.method"
            if method
            else f"annotate it, such as {parameter.name}: str",
        )


# --- classes -------------------------------------------------------------------------------


def _of_dataclass(cls: Any, place: Place) -> List[Part]:
    fields = [field for field in dataclasses.fields(cls) if field.init]
    _check_constructor(cls, [field.name for field in fields], place)
    hints = _hints_of_class(cls, place)
    words = docstring_of(cls).parameters
    return [
        Part(
            field.name,
            hints[field.name],
            _is_required(field),
            field.default,
            words.get(field.name, ""),
        )
        for field in fields
    ]


def _check_constructor(cls: Any, names: List[str], place: Place) -> None:
    for name, parameter in inspect.signature(cls).parameters.items():
        if name not in names and parameter.kind not in _KINDS:
            raise place.refuse(
                f"{cls.__name__} takes {name!r} to be made, which is no field (an InitVar?)",
                "make it a field, or describe a class without it",
            )


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _of_typed_dict(cls: Any, place: Place) -> List[Part]:
    hints = _hints_of_class(cls, place)
    words = docstring_of(cls).parameters
    # 3.8 knows only whether the class itself is total.
    names: Any = hints if cls.__total__ else ()
    names = getattr(cls, "__required_keys__", names)
    found = []
    for name, annotation in hints.items():
        said = unwrapped(annotation)[2]
        required = said == "Required" if said else name in names
        found.append(Part(name, annotation, required, MISSING, words.get(name, "")))
    return found


def _of_named_tuple(cls: Any, place: Place) -> List[Part]:
    hints = _hints_of_class(cls, place)
    untyped = [name for name in cls._fields if name not in hints]
    if untyped:
        raise place.refuse(
            f"field {untyped[0]!r} of {name_of(cls)} has no annotation",
            "make it a typing.NamedTuple with annotated fields",
        )
    words = docstring_of(cls).parameters
    return [
        Part(name, hints[name], name not in cls._field_defaults,
             cls._field_defaults.get(name, MISSING), words.get(name, ""))
        for name in cls._fields
    ]  # fmt: skip


def is_typed_dict(cls: Any) -> bool:
    """Tell whether a class is a `TypedDict`, of typing or of typing_extensions."""
    return issubclass(cls, dict) and hasattr(cls, "__total__")


def is_named_tuple(cls: Any) -> bool:
    """Tell whether a class is a named tuple."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


Parts = Callable[[Any, Place], List[Part]]

#: The classes with named parts: how they are known, and how their parts are read.
SHAPES: Tuple[Tuple[Callable[[Any], bool], Parts], ...] = (
    (dataclasses.is_dataclass, _of_dataclass),
    (is_typed_dict, _of_typed_dict),
    (is_named_tuple, _of_named_tuple),
)
