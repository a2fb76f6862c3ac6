"""From the types of Python to JSON Schema, and from JSON back to their values."""

from __future__ import annotations

import collections.abc as abc
import types
import typing
from datetime import date
from enum import Enum
from typing import Any, Callable, Dict, List, Literal, Mapping, Optional, Sequence, Tuple, Union

from localproviders.schema.checker import fits, same_as
from localproviders.schema.dates import DATES
from localproviders.schema.docstrings import docstring_of
from localproviders.schema.kinds import PLAIN, Kind, Make, Place, as_it_is, name_of
from localproviders.schema.models import is_model, kind_of_inner_model
from localproviders.schema.shapes import MISSING, SHAPES, Part, Parts, unwrapped
from localproviders.schema.words import item, key, quoted, type_of

#: Reads a type: takes what is between its brackets, or the class itself.
Reader = Callable[[Any, Place], Kind]

_NULL = PLAIN[None]
_SUPPORTED = (
    "use str, int, float, bool, None, Literal, Enum, Optional, Union, List, Tuple, Set, Dict, "
    "TypedDict, a dataclass, NamedTuple, date, datetime or Any"
)
# What people reach for, and what to take instead.
_INSTEAD = {
    bytes: "bytes are no JSON; take base64 text as a str",
    bytearray: "bytes are no JSON; take base64 text as a str",
    complex: "take two numbers",
}
# Other origins that are unions, literals: named for what newer Pythons have.
_UNIONS = (Union, getattr(types, "UnionType", Union))


def read(annotation: Any, place: Place) -> Kind:
    """Give the kind of an annotation.

    Raises:
        ConfigurationError: JSON has no form for it, or it contains itself.
    """
    bare, description, _ = unwrapped(annotation)
    return _read(bare, place).described(description)


def _read(bare: Any, place: Place) -> Kind:
    plain: Optional[Kind] = _looked_up(PLAIN, bare) or _looked_up(DATES, bare)
    if plain:
        return plain
    origin, arguments = typing.get_origin(bare), typing.get_args(bare)
    if origin in _UNIONS:
        return union([read(each, place) for each in arguments])
    if origin is Literal or getattr(origin, "_name", "") == "Literal":
        return _literal(arguments, place)
    generic: Optional[Reader] = _looked_up(_GENERICS, origin or bare)
    if generic:
        return generic(arguments, place)
    if isinstance(bare, type) and not arguments:
        for known, reader in _CLASSES:
            if known(bare):
                return reader(bare, place)
    hint = _looked_up(_INSTEAD, bare) or _SUPPORTED
    raise place.refuse(f"{name_of(bare)} has no form in JSON that is known here", hint)


def _looked_up(table: Mapping[Any, Any], wanted: Any) -> Any:
    try:
        return table.get(wanted)
    except TypeError:  # not hashable, so no type
        return None


# --- choices -------------------------------------------------------------------------------


def union(kinds: Sequence[Kind]) -> Kind:
    """Give the kind of "one of these": the first whose schema fits makes the value."""
    schemas = [kind.schema for kind in kinds]
    hashable = all(kind.hashable for kind in kinds)
    if {} in schemas:
        return Kind({}, _first_of(kinds), hashable=False)
    if all(list(schema) == ["type"] and isinstance(schema["type"], str) for schema in schemas):
        names = list(dict.fromkeys(schema["type"] for schema in schemas))
        return Kind({"type": names}, _first_of(kinds), hashable)
    return Kind({"anyOf": schemas}, _first_of(kinds), hashable)


def _first_of(kinds: Sequence[Kind]) -> Make:
    def make(value: Any, path: str) -> Any:
        refusal = None
        for kind in kinds:
            if not fits(value, kind.schema):
                continue
            try:
                return kind.make(value, path)
            except ValueError as error:  # such as a text that is no date, where str is next
                refusal = refusal or error
        raise refusal or ValueError(f"{path}: fits none of the types it may have")

    return make


def _literal(values: Sequence[Any], place: Place) -> Kind:
    plain = [value.value if isinstance(value, Enum) else value for value in values]
    return _choice(list(zip(plain, values)), place)


def _enum(cls: Any, place: Place) -> Kind:
    kind = _choice([(member.value, member) for member in cls], place.within(cls.__name__))
    return kind.described(docstring_of(cls).summary)


def _choice(pairs: List[Tuple[Any, Any]], place: Place) -> Kind:
    """Give the kind of a list of JSON values, each standing for a Python value."""
    if not pairs:
        raise place.refuse("there is nothing to choose from", "give it at least one member")
    for plain, _ in pairs:
        if type_of(plain) in (None, "array", "object"):
            raise place.refuse(
                f"the choice {plain!r} has no form in JSON that can be compared",
                "choose among texts, numbers, true, false and None",
            )
    made = {same_as(plain): value for plain, value in pairs}
    names = list(dict.fromkeys(_narrow_type(plain) for plain, _ in pairs))
    schema = {"type": names[0] if len(names) == 1 else names, "enum": [each for each, _ in pairs]}
    return Kind(schema, lambda value, path: made[same_as(value)])


def _narrow_type(value: Any) -> str:
    return (
        "integer" if isinstance(value, int) and not isinstance(value, bool) else str(type_of(value))
    )


# --- containers ----------------------------------------------------------------------------


def _list(arguments: Sequence[Any], place: Place) -> Kind:
    inner = read(arguments[0], place) if arguments else None
    return Kind(_array(inner), _each(inner, list), hashable=False)


def _set(make: Callable[[List[Any]], Any]) -> Reader:
    def kind(arguments: Sequence[Any], place: Place) -> Kind:
        inner = read(arguments[0], place) if arguments else PLAIN[Any]
        if not inner.hashable:
            raise place.refuse(
                "a set holds only what can be hashed, which this is not",
                "say what is in it, such as Set[str], or take a List",
            )
        schema = {**_array(inner), "uniqueItems": True}
        return Kind(schema, _each(inner, make), hashable=make is frozenset)

    return kind


def _tuple(arguments: Sequence[Any], place: Place) -> Kind:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        inner = read(arguments[0], place)
        return Kind(_array(inner), _each(inner, tuple), inner.hashable)
    if arguments in ((), ((),)):  # the second is how 3.8 says Tuple[()]
        raise place.refuse(
            "a tuple says nothing about what is in it",
            "say what is in it, such as Tuple[str, ...] or Tuple[float, float]",
        )
    kinds = [read(each, place) for each in arguments]
    size = {"minItems": len(kinds), "maxItems": len(kinds)}
    schema = {"type": "array", "prefixItems": [kind.schema for kind in kinds], **size}

    def make(value: Any, path: str) -> Any:
        pairs = enumerate(zip(kinds, value))
        return tuple(kind.make(each, item(path, index)) for index, (kind, each) in pairs)

    return Kind(schema, make, all(kind.hashable for kind in kinds))


def _array(inner: Optional[Kind]) -> Dict[str, Any]:
    return {"type": "array", "items": inner.schema} if inner and inner.schema else {"type": "array"}


def _each(inner: Optional[Kind], container: Callable[[List[Any]], Any]) -> Make:
    make_one = inner.make if inner else as_it_is

    def make(value: Any, path: str) -> Any:
        made = container([make_one(each, item(path, at)) for at, each in enumerate(value)])
        if len(made) != len(value):
            raise ValueError(f"{path}: has items that are equal, and must have each once")
        return made

    return make


def _dict(arguments: Sequence[Any], place: Place) -> Kind:
    keys = read(arguments[0], place) if arguments else PLAIN[str]
    values = read(arguments[1], place) if arguments else PLAIN[Any]
    if keys.schema.get("type", "string") != "string" or "anyOf" in keys.schema:
        raise place.refuse(
            f"the keys of a JSON object are texts, and not {name_of(arguments[0])}",
            "take Dict[str, ...], or a list of dataclasses",
        )
    schema: Dict[str, Any] = {"type": "object"}
    if len(keys.schema) > 1:
        schema["propertyNames"] = keys.schema
    if values.schema:
        schema["additionalProperties"] = values.schema

    def make(value: Any, path: str) -> Any:
        return {
            keys.make(name, f"{path}: the key {quoted(name)}"): values.make(each, key(path, name))
            for name, each in value.items()
        }

    return Kind(schema, make, hashable=False)


_GENERICS: Dict[Any, Reader] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), _list),
    tuple: _tuple,
    **dict.fromkeys((set, abc.Set, abc.MutableSet), _set(set)),
    frozenset: _set(frozenset),
    **dict.fromkeys((dict, abc.Mapping, abc.MutableMapping), _dict),
}


# --- named parts ---------------------------------------------------------------------------


def read_parts(parts: Sequence[Part], place: Place, what: str) -> Dict[str, Kind]:
    """Give the kind of each parameter or field, with its words and default.

    `what` says what they are called in an error, such as ``parameter {!r}``.
    """
    return {part.name: _read_part(part, place.within(what.format(part.name))) for part in parts}


def _read_part(part: Part, place: Place) -> Kind:
    bare, words, _ = unwrapped(part.annotation)
    kind = read(bare, place)
    if part.default is None and not fits(None, kind.schema):
        # The default says that None is allowed; older Pythons read it into the type.
        kind = union([kind, _NULL])
    kind = kind.described(words or part.description)
    default = _jsonable(part.default)
    if default is MISSING:
        return kind
    return kind._replace(schema={**kind.schema, "default": default})


def _jsonable(default: Any) -> Any:
    """Give a default as JSON, or MISSING where it has no form there."""
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, date):
        return default.isoformat()
    if isinstance(default, (list, tuple)) and not hasattr(default, "_fields"):
        plain = [_jsonable(each) for each in default]
        return MISSING if MISSING in plain else plain
    if isinstance(default, dict) and all(isinstance(name, str) for name in default):
        inner = {name: _jsonable(each) for name, each in default.items()}
        return MISSING if MISSING in inner.values() else inner
    finite = type(default) is float and type_of(default) == "number"
    return default if finite or type(default) in (str, int, bool, type(None)) else MISSING


def object_schema(kinds: Mapping[str, Kind], parts: Sequence[Part]) -> Dict[str, Any]:
    """Give the schema of an object with exactly these parts."""
    schema: Dict[str, Any] = {
        "type": "object",
        "properties": {name: kind.schema for name, kind in kinds.items()},
    }
    required = [part.name for part in parts if part.required]
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def _shape(parts_of: Parts) -> Reader:
    def kind(cls: Any, place: Place) -> Kind:
        place = place.enter(cls)
        parts = parts_of(cls, place)
        kinds = read_parts(parts, place, f"field {{!r}} of {cls.__name__}")
        hashable = cls.__hash__ is not None and all(each.hashable for each in kinds.values())
        found = Kind(object_schema(kinds, parts), _object(cls, kinds), hashable)
        return found.described(docstring_of(cls).summary)

    return kind


def _object(cls: Any, kinds: Mapping[str, Kind]) -> Make:
    def make(value: Any, path: str) -> Any:
        made = {name: kinds[name].make(each, key(path, name)) for name, each in value.items()}
        try:
            return cls(**made)
        except Exception as error:  # the class is the user's, and may raise anything
            raise ValueError(
                f"{path}: {cls.__name__} refused it: {type(error).__name__}: {error}"
            ) from error

    return make


_CLASSES: Tuple[Tuple[Callable[[Any], bool], Reader], ...] = (
    (is_model, kind_of_inner_model),
    (lambda cls: issubclass(cls, Enum), _enum),
    *((known, _shape(parts_of)) for known, parts_of in SHAPES),
)
