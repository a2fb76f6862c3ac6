"""JSON Schema from Python types, and Python values from JSON.

Pydantic models are recognized by their attributes, because this package never imports pydantic.
"""

from __future__ import annotations

import collections.abc as abc
import types
import typing
from collections import Counter
from datetime import date
from enum import Enum
from typing import Any, Callable, Dict, List, Literal, Mapping, Optional, Sequence, Tuple, Union

from localproviders._interrupts import is_injected
from localproviders._redact import one_line
from localproviders.schema.checker import comparable_form, fits
from localproviders.schema.json_types import (
    DATES,
    PLAIN,
    Kind,
    Make,
    Place,
    keep_unchanged,
    name_of,
)
from localproviders.schema.keywords import (
    inline_references,
    item_path,
    key_path,
    quote,
    refers_to_itself,
    type_of,
)
from localproviders.schema.shapes import MISSING, SHAPES, Part, Parts, docstring_of, unwrap

# The names of these methods in pydantic 2, and in pydantic 1.
_SCHEMA = ("model_json_schema", "schema")
_VALIDATE = ("model_validate", "parse_obj")


def is_model(cls: Any) -> bool:
    """Return whether a class is a pydantic model, of version 1 or 2."""
    return isinstance(cls, type) and any(
        callable(getattr(cls, schema, None)) and callable(getattr(cls, validate, None))
        for schema, validate in zip(_SCHEMA, _VALIDATE)
    )


def kind_of_model(cls: Any, place: Place) -> Kind:
    """Return the kind of a pydantic model, whose values pydantic validates.

    Raises:
        ConfigurationError: The model has no schema, or a schema that `check` does not support.
    """
    try:
        schema = _method(cls, _SCHEMA)()
    except Exception as error:  # an error of pydantic, whose classes are not imported
        if is_injected(error):
            raise
        raise place.error(
            f"{cls.__name__} has no JSON Schema: {type(error).__name__}: {error}",
            "use types that pydantic can describe",
        ) from None
    return Kind(inline_references(schema), _make_by_validation(cls), hashable=False)


def kind_of_inner_model(cls: Any, place: Place) -> Kind:
    """Return the kind of a pydantic model inside another type, which must not have references.

    Raises:
        ConfigurationError: The model has no schema, has a schema that `check` does not support,
            or contains itself.
    """
    kind = kind_of_model(cls, place)
    if refers_to_itself(kind.schema):
        raise place.error(
            f"{cls.__name__} contains itself, and references are inlined",
            "request the model itself, or use a separate type for each nested level",
        )
    return kind


def _make_by_validation(cls: Any) -> Make:
    def make(value: Any, path: str) -> Any:
        try:
            return _method(cls, _VALIDATE)(value)
        except ValueError as error:
            reasons = "\n".join(_reasons(error, path))
        raise ValueError(reasons)

    return make


def _method(cls: Any, names: Any) -> Any:
    return next(getattr(cls, name) for name in names if hasattr(cls, name))


def _reasons(error: Any, path: str) -> List[str]:
    if not callable(getattr(error, "errors", None)):
        return [f"{path}: {one_line(str(error))}"]
    return [f"{_path(path, each['loc'])}: {one_line(each['msg'])}" for each in error.errors()]


def _path(path: str, steps: Any) -> str:
    for step in steps:
        path = item_path(path, step) if isinstance(step, int) else key_path(path, str(step))
    return path


#: A function that returns the kind of a type. Its first argument is the class. For a generic type,
#: it is the tuple of the types in brackets.
Reader = Callable[[Any, Place], Kind]

_NULL = PLAIN[None]
_SUPPORTED = (
    "use str, int, float, bool, None, Literal, Enum, Optional, Union, List, Tuple, Set, Dict, "
    "TypedDict, a dataclass, NamedTuple, date, datetime or Any"
)
# Highest number of items of a set that may have the same hash. Python compares each of these items
# with all the others. If a model sends many multiples of 2**61 - 1, making a set of them could take
# hours. The limit is not 1, because items may have the same hash by accident, such as -1 and -2,
# or some tuples of small numbers.
_MAX_EQUAL_HASHES = 256
# Types that cannot be used, each with a hint that says what to use instead.
_SUGGESTIONS = {
    bytes: "JSON has no bytes; use base64 text as a str",
    bytearray: "JSON has no bytes; use base64 text as a str",
    complex: "use two numbers",
}
# The origin of `X | Y` is `types.UnionType`, which exists since Python 3.10.
_UNIONS = (Union, getattr(types, "UnionType", Union))


def kind_of(annotation: Any, place: Place) -> Kind:
    """Return the kind of an annotation.

    Raises:
        ConfigurationError: The type has no form in JSON that is supported, or contains itself.
    """
    bare, description, _ = unwrap(annotation)
    return _kind_of_bare(bare, place).with_description(description)


def _kind_of_bare(bare: Any, place: Place) -> Kind:
    plain: Optional[Kind] = _look_up(PLAIN, bare) or _look_up(DATES, bare)
    if plain:
        return plain
    origin, arguments = typing.get_origin(bare), typing.get_args(bare)
    if origin in _UNIONS:
        return union([kind_of(each, place) for each in arguments])
    if origin is Literal or getattr(origin, "_name", "") == "Literal":
        return _literal(arguments, place)
    generic: Optional[Reader] = _look_up(_GENERICS, origin or bare)
    if generic:
        return generic(arguments, place)
    if isinstance(bare, type) and not arguments:
        for known, reader in _CLASSES:
            if known(bare):
                return reader(bare, place)
    hint = _look_up(_SUGGESTIONS, bare) or _SUPPORTED
    raise place.error(f"{name_of(bare)} has no form in JSON that is supported", hint)


def _look_up(table: Mapping[Any, Any], annotation: Any) -> Any:
    try:
        return table.get(annotation)
    except TypeError:  # the annotation is not hashable, so the table does not contain it
        return None


# --- choices -------------------------------------------------------------------------------


def union(kinds: Sequence[Kind]) -> Kind:
    """Return the kind of a union. The first member that fits and accepts a value is used."""
    schemas = [kind.schema for kind in kinds]
    hashable = all(kind.hashable for kind in kinds)
    if {} in schemas:
        return Kind({}, _make_first_that_fits(kinds), hashable=False)
    if all(list(schema) == ["type"] and isinstance(schema["type"], str) for schema in schemas):
        names = list(dict.fromkeys(schema["type"] for schema in schemas))
        return Kind({"type": names}, _make_first_that_fits(kinds), hashable)
    return Kind({"anyOf": schemas}, _make_first_that_fits(kinds), hashable)


def _make_first_that_fits(kinds: Sequence[Kind]) -> Make:
    def make(value: Any, path: str) -> Any:
        refusal = None
        for kind in kinds:
            if not fits(value, kind.schema):
                continue
            try:
                return kind.make(value, path)
            # For example, Union[date, str] gets a string that is not a date: `str` is tried next.
            except ValueError as error:
                refusal = refusal or error
        raise refusal or ValueError(f"{path}: fits none of the allowed types")

    return make


def _literal(values: Sequence[Any], place: Place) -> Kind:
    plain = [value.value if isinstance(value, Enum) else value for value in values]
    return _choice(list(zip(plain, values)), place)


def _enum(cls: Any, place: Place) -> Kind:
    kind = _choice([(member.value, member) for member in cls], place.within(cls.__name__))
    return kind.with_description(docstring_of(cls).summary)


def _choice(pairs: List[Tuple[Any, Any]], place: Place) -> Kind:
    """Return the kind of a choice between values.

    Args:
        pairs: The choices, each as a JSON value and its Python value.
        place: Place of the annotation.
    """
    if not pairs:
        raise place.error("there is no value to choose from", "add at least one member")
    for plain, _ in pairs:
        if type_of(plain) in (None, "array", "object"):
            raise place.error(
                f"the choice {plain!r} is not a string, a number, true, false or None",
                "use strings, numbers, true, false and None",
            )
    made = {comparable_form(plain): value for plain, value in pairs}
    names = list(dict.fromkeys(_narrow_type(plain) for plain, _ in pairs))
    schema = {"type": names[0] if len(names) == 1 else names, "enum": [each for each, _ in pairs]}
    return Kind(schema, lambda value, path: made[comparable_form(value)])


def _narrow_type(value: Any) -> str:
    return (
        "integer" if isinstance(value, int) and not isinstance(value, bool) else str(type_of(value))
    )


# --- containers ----------------------------------------------------------------------------


def _list(arguments: Sequence[Any], place: Place) -> Kind:
    inner = kind_of(arguments[0], place) if arguments else None
    return Kind(_array_schema(inner), _make_items(inner, list), hashable=False)


def _set(make: Callable[[List[Any]], Any]) -> Reader:
    def kind(arguments: Sequence[Any], place: Place) -> Kind:
        inner = kind_of(arguments[0], place) if arguments else PLAIN[Any]
        if not inner.hashable:
            raise place.error(
                "a set needs hashable items, and the items of this one are not",
                "name the type of the items, such as Set[str], or use a List",
            )
        schema = {**_array_schema(inner), "uniqueItems": True}
        return Kind(schema, _make_items(inner, make), hashable=make is frozenset)

    return kind


def _tuple(arguments: Sequence[Any], place: Place) -> Kind:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        inner = kind_of(arguments[0], place)
        return Kind(_array_schema(inner), _make_items(inner, tuple), inner.hashable)
    if arguments in ((), ((),)):  # in Python 3.8, Tuple[()] has the arguments ((),)
        raise place.error(
            "a tuple without types of its items cannot be described",
            "name the types, such as Tuple[str, ...] or Tuple[float, float]",
        )
    kinds = [kind_of(each, place) for each in arguments]
    size = {"minItems": len(kinds), "maxItems": len(kinds)}
    schema = {"type": "array", "prefixItems": [kind.schema for kind in kinds], **size}

    def make(value: Any, path: str) -> Any:
        pairs = enumerate(zip(kinds, value))
        return tuple(kind.make(each, item_path(path, index)) for index, (kind, each) in pairs)

    return Kind(schema, make, all(kind.hashable for kind in kinds))


def _array_schema(inner: Optional[Kind]) -> Dict[str, Any]:
    return {"type": "array", "items": inner.schema} if inner and inner.schema else {"type": "array"}


def _make_items(inner: Optional[Kind], container: Callable[[List[Any]], Any]) -> Make:
    make_one = inner.make if inner else keep_unchanged

    def make(value: Any, path: str) -> Any:
        items = [make_one(each, item_path(path, at)) for at, each in enumerate(value)]
        if container in (set, frozenset):
            _check_hashes(items, path)
        made = container(items)
        if len(made) != len(value):
            raise ValueError(f"{path}: has equal items, and every item must be different")
        return made

    return make


def _check_hashes(items: List[Any], path: str) -> None:
    """Check that making a set of these items does not take quadratic time.

    Raises:
        ValueError: More than 256 items have the same hash.
    """
    found = Counter(map(hash, items)).most_common(1)
    if found and found[0][1] > _MAX_EQUAL_HASHES:
        raise ValueError(f"{path}: has more than {_MAX_EQUAL_HASHES} items with the same hash")


def _dict(arguments: Sequence[Any], place: Place) -> Kind:
    keys = kind_of(arguments[0], place) if arguments else PLAIN[str]
    values = kind_of(arguments[1], place) if arguments else PLAIN[Any]
    if keys.schema.get("type", "string") != "string" or "anyOf" in keys.schema:
        raise place.error(
            f"the keys of a JSON object are strings, and not {name_of(arguments[0])}",
            "use Dict[str, ...], or a list of dataclasses",
        )
    schema: Dict[str, Any] = {"type": "object"}
    if len(keys.schema) > 1:
        schema["propertyNames"] = keys.schema
    if values.schema:
        schema["additionalProperties"] = values.schema

    def make(value: Any, path: str) -> Any:
        return {
            keys.make(name, f"{path}: the key {quote(name)}"): values.make(
                each, key_path(path, name)
            )
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


def kinds_of_parts(parts: Sequence[Part], place: Place, what: str) -> Dict[str, Kind]:
    """Return the kind of each parameter or field, with its description and default.

    Args:
        parts: The parameters or fields.
        place: Place of the function or class.
        what: Template for the name of a part in error messages, such as ``parameter {!r}``.
    """
    return {part.name: _kind_of_part(part, place.within(what.format(part.name))) for part in parts}


def _kind_of_part(part: Part, place: Place) -> Kind:
    bare, words, _ = unwrap(part.annotation)
    kind = kind_of(bare, place)
    if part.default is None and not fits(None, kind.schema):
        # A default of None allows None. Before Python 3.11, `get_type_hints` adds None to the type.
        kind = union([kind, _NULL])
    kind = kind.with_description(words or part.description)
    default = _default_as_json(part.default)
    if default is MISSING:
        return kind
    return kind._replace(schema={**kind.schema, "default": default})


def _default_as_json(default: Any) -> Any:
    """Return a default value as JSON; MISSING if it has no form in JSON."""
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, date):
        return default.isoformat()
    if isinstance(default, (list, tuple)) and not hasattr(default, "_fields"):
        plain = [_default_as_json(each) for each in default]
        return MISSING if MISSING in plain else plain
    if isinstance(default, dict) and all(isinstance(name, str) for name in default):
        inner = {name: _default_as_json(each) for name, each in default.items()}
        return MISSING if MISSING in inner.values() else inner
    finite = type(default) is float and type_of(default) == "number"
    return default if finite or type(default) in (str, int, bool, type(None)) else MISSING


def object_schema(kinds: Mapping[str, Kind], parts: Sequence[Part]) -> Dict[str, Any]:
    """Return the schema of an object with these parts and no other keys."""
    schema: Dict[str, Any] = {
        "type": "object",
        "properties": {name: kind.schema for name, kind in kinds.items()},
    }
    required = [part.name for part in parts if part.required]
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def _reader_for(parts_of: Parts) -> Reader:
    def kind(cls: Any, place: Place) -> Kind:
        place = place.enter(cls)
        parts = parts_of(cls, place)
        kinds = kinds_of_parts(parts, place, f"field {{!r}} of {cls.__name__}")
        hashable = cls.__hash__ is not None and all(each.hashable for each in kinds.values())
        found = Kind(object_schema(kinds, parts), _make_instance(cls, kinds), hashable)
        return found.with_description(docstring_of(cls).summary)

    return kind


def _make_instance(cls: Any, kinds: Mapping[str, Kind]) -> Make:
    def make(value: Any, path: str) -> Any:
        made = {name: kinds[name].make(each, key_path(path, name)) for name, each in value.items()}
        try:
            return cls(**made)
        except Exception as error:  # the user's class may raise anything
            if is_injected(error):
                raise
            reason = one_line(f"{type(error).__name__}: {error}")
            raise ValueError(f"{path}: {cls.__name__} refused the value: {reason}") from error

    return make


_CLASSES: Tuple[Tuple[Callable[[Any], bool], Reader], ...] = (
    (is_model, kind_of_inner_model),
    (lambda cls: issubclass(cls, Enum), _enum),
    *((known, _reader_for(parts_of)) for known, parts_of in SHAPES),
)
