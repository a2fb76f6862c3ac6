"""JSON Schema from Python types, and Python values from JSON.

The `Kind` of a type holds both: its schema, and the function that makes its Python values. A
`Place` is the position of an annotation, for error messages.
"""

from __future__ import annotations

import collections.abc as abc
import functools
import sys
import types
import typing
from collections import Counter
from enum import Enum
from typing import (
    Any,
    Callable,
    Dict,
    Hashable,
    List,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from localproviders._interrupts import is_injected
from localproviders._record import plain
from localproviders._redact import one_line
from localproviders.schema.checker import comparable_form, fits
from localproviders.schema.json_types import (
    DATES,
    PLAIN,
    Kind,
    Make,
    Place,
    keep_unchanged,
    kind_of_text,
    name_of,
)
from localproviders.schema.keywords import (
    item_path,
    key_path,
    quote,
    type_of,
)
from localproviders.schema.notes import MISSING, Notes, read_notes
from localproviders.schema.pydantic_types import is_model, kind_by_adapter, kind_of_model
from localproviders.schema.scopes import resolved_alias
from localproviders.schema.shapes import SHAPES, Part, Parts, docstring_of, unwrap

#: A function that returns the kind of a type. Its first argument is the class; for a generic type
#: such as ``Dict[str, int]``, the first argument is the tuple of the types in brackets.
Reader = Callable[[Any, Place], Kind]

_NULL = PLAIN[None]
_SUPPORTED = (
    "use str, int, float, bool, None, Literal, Enum, Optional, Union, List, Tuple, Set, Dict, "
    "TypedDict, a dataclass, NamedTuple, date, datetime, UUID, Path, Decimal or Any"
)
# Highest number of items of a set that may have the same hash. Python compares each of these items
# with all the others. If a model sent many multiples of 2**61 - 1, which all have the hash 0,
# making a set of them could take hours. The limit is not 1, because some items have the same hash
# by accident, such as -1 and -2, or some tuples of small numbers.
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
        ConfigurationError: The type has no form in JSON that is supported.
    """
    kind, notes = _read(annotation, place)
    return notes.describe(kind)


def _read(annotation: Any, place: Place, more: Tuple[Any, ...] = ()) -> Tuple[Kind, Notes]:
    """Return the kind of an annotation, not yet with a description, and the annotation's metadata.

    Args:
        annotation: The annotation.
        place: Place of the annotation.
        more: Further metadata, such as a `Field` that is the default of a parameter.
    """
    bare, metadata, _ = unwrap(annotation)
    notes = read_notes((*metadata, *more))
    if notes.needs_pydantic:
        kind = kind_by_adapter(_annotated(bare, (*metadata, *more)), place)
        return kind, Notes((), notes.description)
    return notes.limit(_kind_of_bare(bare, place), place), notes


def _annotated(bare: Any, metadata: Tuple[Any, ...]) -> Any:
    # Python 3.8 has no `Annotated`. pydantic then uses `Annotated` of typing_extensions.
    owner: Any = typing if hasattr(typing, "Annotated") else sys.modules["typing_extensions"]
    return owner.Annotated[(bare, *metadata)]


def _hint_for_value(bare: Any) -> str:
    """Return a hint for a value that is not a type, such as a list; empty if there is no hint."""
    if isinstance(bare, str) and bare.lstrip()[:1] == "{":
        return "pass json.loads(text)"
    if isinstance(bare, (list, tuple, set)):
        return "write Literal['yes', 'no'] for one of several texts, or List[City] for a list"
    return ""


def _kind_of_bare(bare: Any, place: Place) -> Kind:
    origin, arguments = typing.get_origin(bare), typing.get_args(bare)
    found: Optional[Kind] = _look_up(PLAIN, bare) or _look_up(DATES, bare)
    found = found or kind_of_text(origin or bare)
    if found:
        return found
    if origin in _UNIONS:
        return union([kind_of(each, place) for each in arguments], place)
    if origin is Literal or getattr(origin, "_name", "") == "Literal":
        return _literal(arguments, place)
    generic: Optional[Reader] = _look_up(_GENERICS, origin or bare)
    if generic:
        return generic(arguments, place)
    alias = _value_of_alias(bare, place)
    if alias:
        name, value = alias
        return _named(("alias", name), name, True, lambda inner: kind_of(value, inner), place)
    if isinstance(bare, type) and not arguments:
        reader = next((reader for known, reader in _CLASSES if known(bare)), None)
        if reader:
            read = functools.partial(reader, bare)
            return _named(bare, bare.__name__, bare.__hash__ is not None, read, place)
    hint = _look_up(_SUGGESTIONS, bare) or _hint_for_value(bare) or _SUPPORTED
    raise place.error(f"{name_of(bare)} has no form in JSON that is supported", hint)


def _value_of_alias(bare: Any, place: Place) -> Optional[Tuple[str, Any]]:
    """Return the name of a type alias, and the type for which it stands; None for other types.

    An alias such as ``Json = Union[str, List["Json"]]`` contains a `ForwardRef` with the name of
    the alias. When Python resolved the annotation, it stored the type of this name in the
    `ForwardRef`.
    """
    if type(bare).__name__ == "TypeAliasType":
        try:
            value = bare.__value__
        except Exception as error:  # the value is any expression, and may raise anything
            if is_injected(error):
                raise
            raise place.error(
                f"the alias {bare.__name__} cannot be resolved: {error}", _SUPPORTED
            ) from None
        return bare.__name__, resolved_alias(value, getattr(bare, "__module__", None), place)
    if isinstance(bare, typing.ForwardRef) and getattr(bare, "__forward_evaluated__", False):
        return bare.__forward_arg__, bare.__forward_value__
    return None


def _named(
    key: Hashable, name: str, hashable: bool, read: Callable[[Place], Kind], place: Place
) -> Kind:
    """Return the kind of a type that may contain itself.

    Args:
        key: The type.
        name: Name of the type.
        hashable: Whether the values of the type have a hash if their parts have one.
        read: A function that reads the type. Its argument is the place inside the type.
        place: Place of the annotation.
    """
    scope = place.scope
    if key in scope.kinds:
        return scope.kinds[key]
    if key in place.open:
        return scope.refer(key, name, hashable)
    return scope.finish(key, read(place.enter(key)))


def check_that_values_end(place: Place) -> None:
    """Check that each recursive type has at least one finite value.

    Raises:
        ConfigurationError: A type has none, because each of its values would have to contain
            another value of the type.
    """
    definitions = place.scope.definitions
    for name, schema in definitions.items():
        if not _ends(schema, definitions, (f"#/$defs/{name}",)):
            raise place.error(
                f"{name} contains itself, and every value would contain another one, without end",
                "allow an end, such as Optional[...] or a List",
            )


def _ends(schema: Any, definitions: Mapping[str, Any], open_: Tuple[str, ...]) -> bool:
    """Return whether a schema allows a finite value.

    Args:
        schema: The schema.
        definitions: The schemas under ``$defs``, by name.
        open_: The references to the schemas that contain this schema. A finite value must not need
            a value of one of these schemas.
    """
    if not isinstance(schema, dict):
        return True
    reference = schema.get("$ref")
    if reference is not None:
        inner = definitions.get(reference.split("/")[-1])
        if reference in open_ or not _ends(inner, definitions, (*open_, reference)):
            return False
    if "anyOf" in schema and not any(_ends(each, definitions, open_) for each in schema["anyOf"]):
        return False
    names, parts = schema.get("required", ()), schema.get("properties", {})
    needed = [parts[name] for name in names if name in parts]
    needed += [*schema.get("allOf", ()), *schema.get("prefixItems", ())]
    needed += [schema["items"]] if schema.get("minItems", 0) and "items" in schema else []
    is_optional = "null" in schema["type"] if isinstance(schema.get("type"), list) else False
    return is_optional or all(_ends(each, definitions, open_) for each in needed)


def _look_up(table: Mapping[Any, Any], annotation: Any) -> Any:
    try:
        return table.get(annotation)
    except TypeError:  # the annotation is not hashable, so the table does not contain it
        return None


# --- choices -------------------------------------------------------------------------------


# A value can fit the schema of a union member, and the member can still refuse to make a Python
# value from it. This is the highest number of such refusals. Without a limit, each level of the
# value could double the number of attempts if several members of a recursive union fit.
_MOST_REFUSALS = 1000


class _TooManyRefusalsError(ValueError):
    """The members of unions refused values too often, so no further members are tried."""


def union(kinds: Sequence[Kind], place: Place) -> Kind:
    """Return the kind of a union. Its `make` uses the first member that accepts the value."""
    schemas = [kind.schema for kind in kinds]
    hashable = all(kind.hashable for kind in kinds)
    if {} in schemas:
        return Kind({}, _make_first_that_fits(kinds, place), hashable=False)
    if all(list(schema) == ["type"] and isinstance(schema["type"], str) for schema in schemas):
        names = list(dict.fromkeys(schema["type"] for schema in schemas))
        return Kind({"type": names}, _make_first_that_fits(kinds, place), hashable)
    return Kind({"anyOf": schemas}, _make_first_that_fits(kinds, place), hashable)


def _make_first_that_fits(kinds: Sequence[Kind], place: Place) -> Make:
    scope = place.scope

    def make(value: Any, path: str) -> Any:
        refusal = None
        for kind in kinds:
            if not fits(value, scope.complete(kind.schema)):
                continue
            try:
                return kind.make(value, path)
            except _TooManyRefusalsError:
                raise
            # For example, Union[date, str] gets a string that is not a date: `str` is tried next.
            except ValueError as error:
                refusal = refusal or error
                scope.refusals += 1
            if scope.refusals > _MOST_REFUSALS:
                raise _TooManyRefusalsError(f"{path}: is refused by too many alternatives")
        raise refusal or ValueError(f"{path}: fits none of the allowed types")

    return make


def _literal(values: Sequence[Any], place: Place) -> Kind:
    choices = [value.value if isinstance(value, Enum) else value for value in values]
    return _choice(list(zip(choices, values)), place)


def _enum(cls: Any, place: Place) -> Kind:
    kind = _choice([(member.value, member) for member in cls], place.within(cls.__name__))
    summary = docstring_of(cls).summary
    if not summary:
        place.scope.undescribed.append(cls.__name__)
    return kind.with_description(summary)


def _choice(pairs: List[Tuple[Any, Any]], place: Place) -> Kind:
    """Return the kind of a choice between values.

    Args:
        pairs: For each choice, the JSON value and the Python value.
        place: Place of the annotation.
    """
    if not pairs:
        raise place.error("there is no value to choose from", "add at least one member")
    for choice, _ in pairs:
        if type_of(choice) in (None, "array", "object"):
            raise place.error(
                f"the choice {choice!r} is not a string, a number, true, false or None",
                "use strings, numbers, true, false and None",
            )
    made = {comparable_form(choice): value for choice, value in pairs}
    names = list(dict.fromkeys(_narrow_type(choice) for choice, _ in pairs))
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
                "a set needs hashable items, and the items of this set are not hashable",
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
        ValueError: More than 256 items have the same hash, or an item is not hashable.
    """
    try:
        found = Counter(map(hash, items)).most_common(1)
    except TypeError as error:  # for example, a frozen dataclass with a list
        raise ValueError(f"{path}: cannot be a set: {error}") from None
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
    """Return the kinds of parameters or fields, by their keys in JSON.

    Each schema has the description and the default of its parameter or field.

    Args:
        parts: The parameters or fields.
        place: Place of the function or class.
        what: Template for the name of a part in error messages, such as ``parameter {!r}``.

    Raises:
        ConfigurationError: The type of a part has no form in JSON, or two parts have the same key.
    """
    kinds: Dict[str, Kind] = {}
    for part in parts:
        here = place.within(what.format(part.name))
        if part.key in kinds:
            raise here.error(
                f"another parameter or field has the name {part.key!r} in JSON",
                "rename one of the two",
            )
        kinds[part.key] = _kind_of_part(part, here)
    return kinds


def _kind_of_part(part: Part, place: Place) -> Kind:
    kind, notes = _read(part.annotation, place, part.metadata)
    if part.default is None and not fits(None, place.scope.complete(kind.schema)):
        # A parameter whose default is None accepts null. Before Python 3.11, `get_type_hints` adds
        # None to the type itself.
        kind = union([kind, _NULL], place)
    kind = notes.describe(kind, part.description)
    default = _default_as_json(part.default)
    if default is MISSING:
        return kind
    return kind._replace(schema={**kind.schema, "default": default})


def _default_as_json(default: Any) -> Any:
    """Return a default value as JSON; MISSING if it has no form in JSON."""
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, tuple(DATES)) or kind_of_text(type(default)):
        return plain(default)
    if isinstance(default, (list, tuple)) and not hasattr(default, "_fields"):
        items = [_default_as_json(each) for each in default]
        return MISSING if any(each is MISSING for each in items) else items
    if isinstance(default, dict) and all(isinstance(name, str) for name in default):
        inner = {name: _default_as_json(each) for name, each in default.items()}
        return MISSING if any(each is MISSING for each in inner.values()) else inner
    finite = type(default) is float and type_of(default) == "number"
    return default if finite or type(default) in (str, int, bool, type(None)) else MISSING


def object_schema(kinds: Mapping[str, Kind], parts: Sequence[Part]) -> Dict[str, Any]:
    """Return the schema of an object that has these parts as its keys, and no other keys."""
    schema: Dict[str, Any] = {
        "type": "object",
        "properties": {name: kind.schema for name, kind in kinds.items()},
    }
    required = [part.key for part in parts if part.required]
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def _reader_for(parts_of: Parts) -> Reader:
    def kind(cls: Any, place: Place) -> Kind:
        parts = parts_of(cls, place)
        kinds = kinds_of_parts(parts, place, f"field {{!r}} of {cls.__name__}")
        summary = docstring_of(cls).summary
        if not summary:
            place.scope.undescribed.append(cls.__name__)
        hashable = cls.__hash__ is not None and all(each.hashable for each in kinds.values())
        found = Kind(object_schema(kinds, parts), _make_instance(cls, kinds, parts), hashable)
        return found.with_description(summary)

    return kind


def values_of_parts(
    value: Mapping[str, Any], kinds: Mapping[str, Kind], parts: Sequence[Part], path: str
) -> Dict[str, Any]:
    """Return the Python values of parameters or fields by name, from a JSON object.

    If the object does not have the key of a parameter or field, the result does not have its name,
    so that Python uses its default. But if a `Field` describes the default, this function fills it
    in, because Python would use the `Field` object itself.
    """
    made = {
        part.name: kinds[part.key].make(value[part.key], key_path(path, part.key))
        for part in parts
        if part.key in value
    }
    for part in parts:
        if part.fill and part.name not in made:
            made[part.name] = part.fill(made)
    return made


def _make_instance(cls: Any, kinds: Mapping[str, Kind], parts: Sequence[Part]) -> Make:
    # The constructor of a pydantic dataclass evaluates each `Field` itself, and takes aliases.
    is_pydantic = hasattr(cls, "__pydantic_fields__")
    plain_parts = [part._replace(name=part.key, fill=None) for part in parts]

    def make(value: Any, path: str) -> Any:
        made = values_of_parts(value, kinds, plain_parts if is_pydantic else parts, path)
        try:
            return cls(**made)
        except Exception as error:  # the user's class may raise anything
            if is_injected(error):
                raise
            reason = one_line(f"{type(error).__name__}: {error}")
            raise ValueError(f"{path}: {cls.__name__} refused the value: {reason}") from error

    return make


_CLASSES: Tuple[Tuple[Callable[[Any], bool], Reader], ...] = (
    (is_model, kind_of_model),
    (lambda cls: issubclass(cls, Enum), _enum),
    *((known, _reader_for(parts_of)) for known, parts_of in SHAPES),
    (lambda cls: hasattr(cls, "__get_pydantic_core_schema__"), kind_by_adapter),
)
