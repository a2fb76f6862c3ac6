"""Read the parameters of functions and the fields of classes: types, defaults, descriptions.

Descriptions are read from docstrings in the style of Google, NumPy or reST.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from localproviders.errors import ConfigurationError
from localproviders.schema.json_types import Place, name_of
from localproviders.schema.notes import MISSING, Default, default_in, is_field, read_notes
from localproviders.schema.scopes import hint_of_parameter, hints_of_class, is_callable_object

# Titles of the docstring sections that describe parameters, and titles of other sections. Each
# title ends the section before it.
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
    """A parsed docstring: the text before the first section, and the text for each parameter."""

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
    """Return whether Python made the docstring: for a dataclass, a named tuple or an enum."""
    name = getattr(thing, "__name__", "")
    return text.startswith(f"{name}(") or text == "An enumeration."


def _section(lines: List[str], at: int) -> Tuple[Optional[str], bool]:
    """Return the title of the section that begins on this line, and whether it is underlined.

    If no section begins on this line, the title is None.
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
    """Return the block of lines from `at` on that are indented more than `outer`.

    Blank lines belong to the block. Also return the index of the line after the block.
    """
    end = at
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > outer):
        end += 1
    return lines[at:end], end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _join(lines: List[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())


# Wrappers of a type that do not change its schema. `Required` and `NotRequired` decide whether a
# key of a `TypedDict` is required.
_WRAPPERS = ("Required", "NotRequired", "ReadOnly", "Final")


class Part(NamedTuple):
    """A parameter of a function, or a field of a class.

    Attributes:
        name: Name of the part in Python.
        annotation: Type of the part, in which all names have been resolved.
        required: Whether the JSON object must have the key.
        default: Value of the part if the JSON object does not have the key; `MISSING` if the
            part has no default.
        description: Description for the model; may be empty.
        key: Key of the part in the JSON object: its name, or the alias of a `Field`.
        metadata: The `Field` that is written as the default; empty if the default is no `Field`.
        fill: Function that computes the default from the other values. It is called if the JSON
            object does not have the key. None if Python itself supplies the default.
    """

    name: str
    annotation: Any
    required: bool
    default: Any
    description: str
    key: str
    metadata: Tuple[Any, ...] = ()
    fill: Optional[Callable[[Mapping[str, Any]], Any]] = None


def _part(name: str, annotation: Any, default: Any, description: str) -> Part:
    """Return the part for a parameter or field. Its default may be a `Field`.

    Args:
        name: Name of the part.
        annotation: Its type.
        default: Its default in Python; `MISSING` if there is none.
        description: Its description in the docstring.
    """
    metadata = (default,) if is_field(default) else ()
    notes = unwrap(annotation)[1]
    found = None
    if metadata:
        found = default_in((*notes, default)) or Default()
    elif default is MISSING:
        found = default_in(notes)
    if found:
        default = found.value
    required = not found.make if found else default is MISSING
    key = read_notes((*notes, *metadata)).key or name
    fill = found.make if found else None
    return Part(name, annotation, required, default, description, key, metadata, fill)


def unwrap(annotation: Any) -> Tuple[Any, Tuple[Any, ...], str]:
    """Remove the wrappers of a type, such as `Annotated` and `Required`.

    Returns:
        The type without wrappers; the objects in `Annotated`, the innermost first; and the name of
        the wrapper, "Required" or "NotRequired", or "" without such a wrapper.
    """
    # All wrappers are recognized by their attributes, because some come from typing_extensions, on
    # which this package does not depend.
    metadata: Tuple[Any, ...] = ()
    required = ""
    while True:
        wrapper = _wrapper(annotation)
        if hasattr(annotation, "__metadata__"):
            metadata = (*annotation.__metadata__, *metadata)
            annotation = annotation.__origin__
        elif wrapper:
            required = wrapper if wrapper.endswith("Required") else required
            annotation = annotation.__args__[0]
        elif hasattr(annotation, "__supertype__"):  # NewType
            annotation = annotation.__supertype__
        else:
            return annotation, metadata, required


def _wrapper(annotation: Any) -> str:
    name = getattr(getattr(annotation, "__origin__", None), "_name", None)
    return name if name in _WRAPPERS else ""


# --- functions -----------------------------------------------------------------------------


def parts_of_function(function: Callable[..., Any], place: Place) -> List[Part]:
    """Return the parameters of a function that is to be a tool.

    Raises:
        ConfigurationError: A parameter cannot be passed by name, as a model passes its arguments,
            or has no annotation.
    """
    descriptions = docstring_of_function(function).parameters
    found = []
    for parameter in _parameters(function, place):
        here = place.within(f"parameter {parameter.name!r}")
        annotation = _annotation_of(function, parameter, here)
        default = MISSING if parameter.default is parameter.empty else parameter.default
        description = descriptions.get(parameter.name, "")
        found.append(_part(parameter.name, annotation, default, description))
    return found


def defaults_of_function(function: Callable[..., Any], place: Place) -> List[Part]:
    """Return those parameters of a function that have a `Field` as their default.

    Unlike `parts_of_function`, this function does not read the annotations, so it also works if no
    schema can be made from them.
    """
    try:
        parameters = _parameters(function, place)
    except ConfigurationError:
        return []
    fields = [each for each in parameters if is_field(each.default)]
    return [_part(each.name, Any, each.default, "") for each in fields]


def name_of_function(function: Any) -> Optional[str]:
    """Return the name of a function; None if it has no name, or a name that Python made.

    A partial function has the name of the function inside it. An object with ``__call__`` has the
    name of its class. But if the partial function or the object has an attribute ``__name__``,
    this attribute is its name.
    """
    name = getattr(function, "__name__", None)
    inner = _inner_function(function)
    if name is None and inner is not None:
        return name_of_function(inner)
    if name is None and callable(function):
        name = type(function).__name__
    return name if isinstance(name, str) and name != "<lambda>" else None


def _inner_function(function: Any) -> Any:
    """Return the function inside a partial function or a wrapper; None for other functions."""
    if isinstance(function, functools.partial):
        return function.func
    return getattr(function, "__wrapped__", None)


def docstring_of_function(function: Any) -> Docstring:
    """Parse the docstring of a function, a partial function, or an object with ``__call__``.

    For an object, the docstring of the method ``__call__`` is preferred to that of the class.
    """
    # Each partial function, and each wrapper of a partial function, has the docstring of
    # `functools.partial`.
    is_own = function.__doc__ != functools.partial.__doc__
    if is_own and "__doc__" in getattr(function, "__dict__", {}):
        return docstring_of(function)
    inner = _inner_function(function)
    if inner is not None and not is_own:
        return docstring_of_function(inner)
    if is_callable_object(function):
        cls, call = docstring_of(type(function)), docstring_of(type(function).__call__)
        return Docstring(call.summary or cls.summary, {**cls.parameters, **call.parameters})
    return docstring_of(function)


def _parameters(function: Any, place: Place) -> List[inspect.Parameter]:
    """Return the parameters of a function. A partial function lacks those that it has fixed."""
    wrapped = getattr(function, "__wrapped__", None)
    if isinstance(wrapped, functools.partial) and not isinstance(function, functools.partial):
        return _parameters(wrapped, place)
    if not isinstance(function, functools.partial):
        return list(_signature(function, place).parameters.values())
    inner = _parameters(function.func, place)
    try:
        fixed = inspect.Signature(inner).bind_partial(*function.args, **function.keywords)
    except TypeError as error:
        raise place.error(
            f"the arguments of the partial function do not fit: {error}",
            "pass arguments that the function takes",
        ) from None
    repeated = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in inner if each.name not in fixed.arguments or each.kind in repeated]


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


def _annotation_of(function: Any, parameter: inspect.Parameter, place: Place) -> Any:
    if parameter.kind in _UNSUPPORTED_KINDS:
        raise place.error(*_UNSUPPORTED_KINDS[parameter.kind])
    hint = hint_of_parameter(function, parameter.name, place)
    if hint is parameter.empty:
        method = parameter.name in ("self", "cls")
        raise place.error(
            "has no annotation",
            "pass the method of an instance, such as thing.method"
            if method
            else f"annotate it, such as {parameter.name}: str",
        )
    return hint


# --- classes -------------------------------------------------------------------------------


def _parts_of_dataclass(cls: Any, place: Place) -> List[Part]:
    fields = [field for field in dataclasses.fields(cls) if field.init]
    # The constructor of a pydantic dataclass may use the aliases of the fields as parameter names.
    if not hasattr(cls, "__pydantic_fields__"):
        _check_constructor(cls, [field.name for field in fields], place)
    hints = hints_of_class(cls, place)
    descriptions = docstring_of(cls).parameters
    return [_part_of_field(field, hints[field.name], descriptions) for field in fields]


def _check_constructor(cls: Any, names: List[str], place: Place) -> None:
    for name, parameter in inspect.signature(cls).parameters.items():
        if name not in names and parameter.kind not in _UNSUPPORTED_KINDS:
            raise place.error(
                f"the constructor of {cls.__name__} takes {name!r}, which is not a field "
                "(it may be an InitVar, for example)",
                "make it a field, or use a class without it",
            )


def _part_of_field(field: Any, hint: Any, descriptions: Mapping[str, str]) -> Part:
    part = _part(field.name, hint, field.default, descriptions.get(field.name, ""))
    has_factory = field.default_factory is not MISSING
    return part._replace(required=False, fill=None) if has_factory else part


def _parts_of_typed_dict(cls: Any, place: Place) -> List[Part]:
    hints = hints_of_class(cls, place)
    descriptions = docstring_of(cls).parameters
    # A TypedDict of Python 3.8 has no __required_keys__, but only __total__.
    names: Any = hints if cls.__total__ else ()
    names = getattr(cls, "__required_keys__", names)
    found = []
    for name, annotation in hints.items():
        wrapper = unwrap(annotation)[2]
        required = wrapper == "Required" if wrapper else name in names
        part = _part(name, annotation, MISSING, descriptions.get(name, ""))
        found.append(part._replace(required=required, default=MISSING, fill=None))
    return found


def _parts_of_named_tuple(cls: Any, place: Place) -> List[Part]:
    hints = hints_of_class(cls, place)
    untyped = [name for name in cls._fields if name not in hints]
    if untyped:
        raise place.error(
            f"field {untyped[0]!r} of {name_of(cls)} has no annotation",
            "make it a typing.NamedTuple with annotated fields",
        )
    descriptions = docstring_of(cls).parameters
    return [
        _part(name, hints[name], cls._field_defaults.get(name, MISSING), descriptions.get(name, ""))
        for name in cls._fields
    ]


def is_typed_dict(cls: Any) -> bool:
    """Return whether a class is a `TypedDict`, from typing or from typing_extensions."""
    return issubclass(cls, dict) and hasattr(cls, "__total__")


def is_named_tuple(cls: Any) -> bool:
    """Return whether a class is a named tuple."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


Parts = Callable[[Any, Place], List[Part]]

#: The sorts of classes with fields: for each, a function that recognizes such a class, and a
#: function that returns its fields.
SHAPES: Tuple[Tuple[Callable[[Any], bool], Parts], ...] = (
    (dataclasses.is_dataclass, _parts_of_dataclass),
    (is_typed_dict, _parts_of_typed_dict),
    (is_named_tuple, _parts_of_named_tuple),
)
