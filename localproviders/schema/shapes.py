"""Read the parameters of functions and the fields of classes: types, defaults, descriptions.

Descriptions are read from docstrings in the style of Google, NumPy or reST.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._interrupts import is_injected
from localproviders.errors import ConfigurationError
from localproviders.schema.json_types import Place, name_of

# Titles of the sections that describe parameters, and titles of other sections, which end such a
# description.
_PARAMETERS = ("args", "arguments", "parameters", "params", "attributes", "keyword args",
               "keyword arguments", "other parameters")  # fmt: skip
_OTHERS = ("returns", "return", "yields", "yield", "raises", "example", "examples", "note",
           "notes", "warning", "warnings", "see also", "references", "todo", "warns")  # fmt: skip

_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*)|$)")
_NUMPY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_REST = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword|ivar|var)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)"
)
_REST_FIELD = re.compile(r":\w+(?:\s+[^:]*)?:")


class Docstring(NamedTuple):
    """A parsed docstring: the text before the first section, and the text of each parameter."""

    summary: str
    parameters: Dict[str, str]


def docstring_of(thing: Any) -> Docstring:
    """Parse the docstring of a function or class. Without a docstring, the result is empty."""
    text = thing.__doc__
    if not isinstance(text, str) or _is_generated(thing, text):
        return Docstring("", {})
    return read_docstring(text)


def read_docstring(text: str) -> Docstring:
    """Parse a docstring in the style of Google, NumPy or reST, or in a mixture of them."""
    summary: List[str] = []
    found: Dict[str, str] = {}
    lines = inspect.cleandoc(text).splitlines()
    at = 0
    in_summary = True
    while at < len(lines):
        title, underlined = _section(lines, at)
        field = _REST.match(lines[at].strip())
        if field:
            block, at = _indented_block(lines, at + 1, _indent(lines[at]))
            found[field.group(1)] = _join([field.group(2), *block])
            in_summary = False
        elif title or _REST_FIELD.match(lines[at].strip()):
            in_summary = False
            at += 2 if underlined else 1
            if title in _PARAMETERS:
                entries, at = (_read_numpy if underlined else _read_google)(lines, at)
                found.update(entries)
        else:
            summary.extend([lines[at]] if in_summary else [])
            at += 1
    return Docstring("\n".join(summary).strip(), found)


def _is_generated(thing: Any, text: str) -> bool:
    """Return whether Python made the docstring, as for dataclasses, named tuples and enums."""
    name = getattr(thing, "__name__", "")
    return text.startswith(f"{name}(") or text == "An enumeration."


def _section(lines: List[str], at: int) -> Tuple[Optional[str], bool]:
    """Return the title of the section that begins on this line, and whether it is underlined.

    The title is None if no section begins here.
    """
    word = lines[at].strip().lower()
    known = (*_PARAMETERS, *_OTHERS)
    if word.endswith(":") and word[:-1] in known:
        return word[:-1], False
    after = lines[at + 1].strip() if at + 1 < len(lines) else ""
    if word in known and len(after) >= 3 and set(after) == {"-"}:
        return word, True
    return None, False


def _read_google(lines: List[str], at: int) -> Tuple[Dict[str, str], int]:
    """Read a section in Google style: lines such as ``name (type): text``, which are indented.

    Returns:
        The text of each parameter, and the index of the line after the section.
    """
    found: Dict[str, str] = {}
    block, after = _indented_block(lines, at, 0)
    outer = min((_indent(line) for line in block if line.strip()), default=0)
    name = ""
    for line in block:
        entry = _GOOGLE.match(line.strip()) if _indent(line) == outer else None
        if entry:
            name = entry.group(1)
            found[name] = entry.group(2) or ""
        elif name:
            found[name] = _join([found[name], line])
    return found, after


def _read_numpy(lines: List[str], at: int) -> Tuple[Dict[str, str], int]:
    """Read a section in NumPy style: lines such as ``name : type``, each with an indented text.

    Returns:
        The text of each parameter, and the index of the line after the section.
    """
    found: Dict[str, str] = {}
    while at < len(lines) and not _section(lines, at)[0]:
        entry = _NUMPY.match(lines[at].strip())
        at += 1
        if entry:
            block, at = _indented_block(lines, at, 0)
            for name in entry.group(1).split(","):
                found[name.strip(" *")] = _join(block)
    return found, at


def _indented_block(lines: List[str], at: int, outer: int) -> Tuple[List[str], int]:
    """Return the lines from `at` on that are indented more than `outer`, and the next index."""
    end = at
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > outer):
        end += 1
    return lines[at:end], end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _join(lines: List[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())


#: Value of `Part.default` for a part without a default.
MISSING = dataclasses.MISSING

# Argument with which `get_type_hints` keeps `Annotated`. Before Python 3.9, `get_type_hints` has no
# such parameter, and always keeps it.
_EXTRAS: Dict[str, Any] = {"include_extras": True} if sys.version_info >= (3, 9) else {}

# Wrappers of a type that do not change its JSON. The first two say whether the key is required.
_WRAPPERS = ("Required", "NotRequired", "ReadOnly", "Final")


class Part(NamedTuple):
    """A parameter of a function, or a field of a class.

    Attributes:
        name: Name of the part, which is also its key in the JSON object.
        annotation: Type of the part. Names in it have been resolved.
        required: Whether the JSON object must have the key.
        default: Value of the part if the JSON object does not have the key; `MISSING` if the
            part has no default.
        description: Description for the model; may be empty.
    """

    name: str
    annotation: Any
    required: bool
    default: Any
    description: str


def _hints_of_class(cls: Any, place: Place) -> Dict[str, Any]:
    """Resolve the annotations of a class; keep `Annotated`.

    Raises:
        ConfigurationError: An annotation cannot be resolved.
    """
    try:
        return typing.get_type_hints(cls, **_EXTRAS)
    except Exception as error:  # an annotation is any expression, and may raise anything
        if is_injected(error):
            raise
        raise _unresolved(place.within(cls.__name__), error) from None


def _hints_of_function(function: Any, place: Place) -> Dict[str, Any]:
    """Resolve the annotations of the parameters. The return type is ignored.

    Raises:
        ConfigurationError: An annotation cannot be resolved.
    """
    function = inspect.unwrap(getattr(function, "__func__", function))
    hints = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        # The annotations are resolved one at a time, so that the error names the parameter.
        holder = SimpleNamespace(__annotations__={name: annotation})
        try:
            if name != "return":
                hints.update(typing.get_type_hints(holder, function.__globals__, **_EXTRAS))
        except Exception as error:  # an annotation is any expression, and may raise anything
            if is_injected(error):
                raise
            raise _unresolved(place.within(f"parameter {name!r}"), error) from None
    return hints


def _unresolved(place: Place, error: Exception) -> ConfigurationError:
    return place.error(
        f"the annotation cannot be resolved: {error}",
        "use types that this Python can evaluate (List[str] before 3.9, Optional[str] "
        "before 3.10), imported or defined at the top of the module",
    )


def unwrap(annotation: Any) -> Tuple[Any, str, str]:
    """Remove the wrappers of a type, such as `Annotated` and `Required`.

    Returns:
        The type without wrappers; the strings in `Annotated`, joined; and "Required",
        "NotRequired" or "" (neither of these wrappers).
    """
    # The wrappers of typing_extensions are recognized by their attributes, because this package
    # does not depend on typing_extensions.
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
    """Return the parameters of a function. A model passes its arguments by name.

    Raises:
        ConfigurationError: A parameter cannot be passed by name, or has no annotation.
    """
    hints = _hints_of_function(function, place)
    descriptions = docstring_of(function).parameters
    found = []
    for parameter in _signature(function, place).parameters.values():
        here = place.within(f"parameter {parameter.name!r}")
        _check_parameter(parameter, hints, here)
        default = MISSING if parameter.default is parameter.empty else parameter.default
        description = descriptions.get(parameter.name, "")
        annotation = hints[parameter.name]
        found.append(Part(parameter.name, annotation, default is MISSING, default, description))
    return found


def _signature(function: Callable[..., Any], place: Place) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise place.error(
            "Python cannot read its signature",
            "wrap it in a function with annotated parameters",
        ) from None


_UNSUPPORTED_KINDS: Mapping[Any, Tuple[str, str]] = {
    inspect.Parameter.POSITIONAL_ONLY: (
        "is positional-only, but a model passes its arguments by name",
        "make it a keyword parameter, or wrap the function",
    ),
    inspect.Parameter.VAR_POSITIONAL: (
        "takes any number of values, but a model passes its arguments by name",
        "use a List[...] instead, or wrap the function",
    ),
    inspect.Parameter.VAR_KEYWORD: (
        "takes any name, but a schema lists the names",
        "name the parameters, use a Dict[str, ...] instead, or wrap the function",
    ),
}


def _check_parameter(parameter: inspect.Parameter, hints: Dict[str, Any], place: Place) -> None:
    if parameter.kind in _UNSUPPORTED_KINDS:
        raise place.error(*_UNSUPPORTED_KINDS[parameter.kind])
    if parameter.name not in hints:
        method = parameter.name in ("self", "cls")
        raise place.error(
            "has no annotation",
            "pass the method of an instance, such as thing.method"
            if method
            else f"annotate it, such as {parameter.name}: str",
        )


# --- classes -------------------------------------------------------------------------------


def _parts_of_dataclass(cls: Any, place: Place) -> List[Part]:
    fields = [field for field in dataclasses.fields(cls) if field.init]
    _check_constructor(cls, [field.name for field in fields], place)
    hints = _hints_of_class(cls, place)
    descriptions = docstring_of(cls).parameters
    return [
        Part(
            field.name,
            hints[field.name],
            _is_required(field),
            field.default,
            descriptions.get(field.name, ""),
        )
        for field in fields
    ]


def _check_constructor(cls: Any, names: List[str], place: Place) -> None:
    for name, parameter in inspect.signature(cls).parameters.items():
        if name not in names and parameter.kind not in _UNSUPPORTED_KINDS:
            raise place.error(
                f"the constructor of {cls.__name__} takes {name!r}, which is not a field, "
                "such as an InitVar",
                "make it a field, or use a class without it",
            )


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _parts_of_typed_dict(cls: Any, place: Place) -> List[Part]:
    hints = _hints_of_class(cls, place)
    descriptions = docstring_of(cls).parameters
    # A TypedDict of Python 3.8 has no __required_keys__, but only __total__.
    names: Any = hints if cls.__total__ else ()
    names = getattr(cls, "__required_keys__", names)
    found = []
    for name, annotation in hints.items():
        wrapper = unwrap(annotation)[2]
        required = wrapper == "Required" if wrapper else name in names
        found.append(Part(name, annotation, required, MISSING, descriptions.get(name, "")))
    return found


def _parts_of_named_tuple(cls: Any, place: Place) -> List[Part]:
    hints = _hints_of_class(cls, place)
    untyped = [name for name in cls._fields if name not in hints]
    if untyped:
        raise place.error(
            f"field {untyped[0]!r} of {name_of(cls)} has no annotation",
            "make it a typing.NamedTuple with annotated fields",
        )
    descriptions = docstring_of(cls).parameters
    return [
        Part(name, hints[name], name not in cls._field_defaults,
             cls._field_defaults.get(name, MISSING), descriptions.get(name, ""))
        for name in cls._fields
    ]  # fmt: skip


def is_typed_dict(cls: Any) -> bool:
    """Return whether a class is a `TypedDict`, from typing or from typing_extensions."""
    return issubclass(cls, dict) and hasattr(cls, "__total__")


def is_named_tuple(cls: Any) -> bool:
    """Return whether a class is a named tuple."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


Parts = Callable[[Any, Place], List[Part]]

#: The kinds of classes with named parts: a function that recognizes such a class, and a function
#: that returns its parts.
SHAPES: Tuple[Tuple[Callable[[Any], bool], Parts], ...] = (
    (dataclasses.is_dataclass, _parts_of_dataclass),
    (is_typed_dict, _parts_of_typed_dict),
    (is_named_tuple, _parts_of_named_tuple),
)
