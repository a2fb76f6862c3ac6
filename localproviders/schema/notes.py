"""Read the metadata of types: descriptions, limits and defaults in `Annotated` and `Field`.

This metadata changes the `Kind` of a type: its JSON Schema, and the function that makes its values.

The classes of pydantic, annotated_types and msgspec are recognized by their names and attributes,
because this package never imports them.
"""

from __future__ import annotations

import copy
import dataclasses
import operator
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from localproviders.schema.json_types import Kind, Make, Place
from localproviders.schema.keywords import KEYWORDS, TYPES, type_of

#: The mark for a parameter or a field that has no default.
MISSING = dataclasses.MISSING

# Packages whose objects in `Annotated` describe or limit a value.
_PACKAGES = ("annotated_types", "pydantic", "pydantic_core", "msgspec")

_BOUNDS: Mapping[str, Tuple[str, Callable[[Any, Any], Any], str]] = {
    "gt": ("exclusiveMinimum", operator.gt, "more than"),
    "ge": ("minimum", operator.ge, "at least"),
    "lt": ("exclusiveMaximum", operator.lt, "less than"),
    "le": ("maximum", operator.le, "at most"),
}
# Each JSON type has its own pair of keywords for a size, such as minLength and maxLength for
# strings. `min_items` and `max_items` are the names in pydantic 1.
_SIZES = {"min_length": "min", "max_length": "max", "min_items": "min", "max_items": "max"}
_SIZED = {"string": "Length", "array": "Items", "object": "Properties"}
# Attributes of pydantic's `StringConstraints` that change a text. Only pydantic can apply them.
_CHANGES = ("strip_whitespace", "to_upper", "to_lower")
_HOOKS = ("__get_pydantic_core_schema__", "__get_pydantic_json_schema__")

#: A function that returns the reason why a limit refuses a Python value, or "" if it accepts it.
_Check = Callable[[Any], str]


class Default(NamedTuple):
    """A default that Python itself does not fill in, because a `Field` describes it.

    Attributes:
        value: The value; `MISSING` if there is a factory or no default.
        make: A function that returns the default. Its argument is the dictionary of the other
            values. None if the value is required.
    """

    value: Any = MISSING
    make: Optional[Callable[[Mapping[str, Any]], Any]] = None


class Notes(NamedTuple):
    """The metadata of one annotation.

    Attributes:
        items: The objects in `Annotated`, and the `Field` that is the default of the parameter. A
            group of limits, such as `Interval`, is replaced by its single limits.
        description: The description for the model; may be empty.
    """

    items: Tuple[Any, ...]
    description: str

    @property
    def needs_pydantic(self) -> bool:
        """Whether one of the objects, such as a validator, needs pydantic to run its code."""
        return any(
            any(hasattr(item, hook) for hook in _HOOKS)
            or (_is_known(item) and any(getattr(item, name, None) for name in _CHANGES))
            for item in self.items
        )

    @property
    def key(self) -> Optional[str]:
        """The alias of a `Field`, which is the key in JSON; None if the key is the Python name."""
        for item in reversed(list(filter(is_field, self.items))):
            for name in ("validation_alias", "alias"):
                alias = getattr(item, name, None)
                # `AliasChoices` has several aliases. Each is a path into nested JSON, as a list of
                # steps. Only a path of one step, which is a name, is a key of the object itself.
                paths: Any = getattr(alias, "convert_to_aliases", list)()
                steps = [path[0] for path in paths if isinstance(path, list) and len(path) == 1]
                for each in [alias, *steps]:
                    if isinstance(each, str) and each:
                        return each
        return None

    def limit(self, kind: Kind, place: Place) -> Kind:
        """Return a kind with the limits of these notes.

        Raises:
            ConfigurationError: A limit does not fit the type.
        """
        schema = kind.schema
        checks: List[_Check] = []
        for item in filter(_is_known, self.items):
            for keyword, value in _keywords_of(item, kind, place):
                schema = _with_keyword(schema, keyword, value)
            checks.extend(_checks_of(item, kind))
        make = _make_checked(kind.make, checks) if checks else kind.make
        return kind._replace(schema=schema, make=make)

    def describe(self, kind: Kind, description: str = "") -> Kind:
        """Return a kind with the title, description and examples of these notes.

        Args:
            kind: The kind.
            description: A description that is used if the notes have none.
        """
        kind = kind.with_description(self.description or description)
        schema = kind.schema
        for item in filter(_is_known, self.items):
            schema = _with_extras({**schema, **_annotations_of(item)}, item)
        return kind._replace(schema=schema)


def read_notes(metadata: Tuple[Any, ...]) -> Notes:
    """Read the metadata of an annotation.

    Args:
        metadata: The objects in `Annotated`, those of the innermost `Annotated` first.
    """
    items = tuple(_flat(metadata))
    texts: Dict[Any, str] = {}
    for item in items:
        text = _description_of(item)
        if text:
            # The description consists of all plain texts, and of the text of the last `Field`.
            name = len(texts) if isinstance(item, str) else "described"
            texts.pop(name, None)
            texts[name] = text
    return Notes(items, " ".join(texts.values()))


def _flat(metadata: Tuple[Any, ...]) -> Iterator[Any]:
    for item in metadata:
        is_group = getattr(item, "__is_annotated_types_grouped_metadata__", None)
        if is_group and not isinstance(item, type) and not _is_known(item):
            yield from _flat(tuple(item))
            continue
        yield item
        if is_field(item):
            inner = getattr(item, "metadata", ())  # for dataclasses, a mapping
            yield from _flat(tuple(inner) if isinstance(inner, (list, tuple)) else ())


def _is_known(item: Any) -> bool:
    packages = {cls.__module__.partition(".")[0] for cls in type(item).__mro__}
    return bool(packages & set(_PACKAGES))


def _description_of(item: Any) -> str:
    if isinstance(item, str):
        return item
    name = "documentation" if type(item).__name__ == "Doc" else "description"
    text = getattr(item, name, None) if name == "documentation" or _is_known(item) else None
    return text if isinstance(text, str) else ""


# --- defaults ------------------------------------------------------------------------------


def is_field(value: Any) -> bool:
    """Return whether a value is a `Field` of pydantic or dataclasses, which describes a default.

    FastAPI and SQLModel derive their own classes from the class of pydantic.
    """
    return isinstance(value, dataclasses.Field) or any(
        cls.__name__ == "FieldInfo" and cls.__module__.partition(".")[0] == "pydantic"
        for cls in type(value).__mro__
    )


def default_of(field: Any) -> Default:
    """Return the default that a `Field` describes."""
    factory = getattr(field, "default_factory", None)
    if callable(factory):
        takes_values = getattr(field, "default_factory_takes_validated_data", False)
        return Default(make=lambda given: factory(dict(given)) if takes_values else factory())
    value = getattr(field, "default", MISSING)
    # Each version of pydantic has its own class for the mark of a missing default.
    is_missing = type(value).__name__ in ("PydanticUndefinedType", "UndefinedType")
    if value is MISSING or value is Ellipsis or is_missing:
        return Default()
    return Default(value, lambda given: copy.deepcopy(value))


def default_in(metadata: Tuple[Any, ...]) -> Optional[Default]:
    """Return the default of the last `Field` with a default; None if no `Field` has a default."""
    found = [default_of(item) for item in metadata if is_field(item)]
    return next((each for each in reversed(found) if each.make), None)


# --- limits --------------------------------------------------------------------------------


def _keywords_of(item: Any, kind: Kind, place: Place) -> Iterator[Tuple[str, Any]]:
    """Yield the keywords of JSON Schema for the limits of an object in `Annotated`."""
    types = _types_in(kind.schema)
    for name, (keyword, _, _) in (*_BOUNDS.items(), ("multiple_of", ("multipleOf", None, ""))):
        limit = _as_number(getattr(item, name, None))
        if limit is not None:
            _check_types(types & {"number", "integer"}, name, limit, place)
            yield keyword, limit
    for name, start in _SIZES.items():
        size = getattr(item, name, None)
        if isinstance(size, int) and (size, start) != (0, "min"):
            _check_types(types & set(_SIZED), name, size, place)
            yield from ((start + _SIZED[each], size) for each in sorted(types & set(_SIZED)))
    pattern = _pattern_of(item)
    if pattern is not None:
        _check_types(types & {"string"}, "pattern", pattern, place)
        if not KEYWORDS["pattern"].fits(pattern):
            raise place.error(
                f"the pattern {pattern!r} is not a pattern of Python's re",
                "use syntax that Python and pydantic share",
            )
        yield "pattern", pattern


def _as_number(limit: Any) -> Any:
    """Return a limit as a JSON number; None for a limit that is not a number, such as a date."""
    if type_of(limit) == "number":
        return limit
    if type(limit).__name__ not in ("Decimal", "Fraction"):
        return None
    number = int(limit) if limit == int(limit) else float(limit)
    return number if number == limit else None


def _check_types(types: Set[str], name: str, limit: Any, place: Place) -> None:
    if not types:
        raise place.error(
            f"{name}={limit!r} does not fit the type", "remove it, or change the annotation"
        )


def _pattern_of(item: Any) -> Optional[str]:
    """Return the pattern of an object. The flags of a compiled pattern become ``(?flags:...)``."""
    pattern = getattr(item, "pattern", None) or getattr(item, "regex", None)
    if isinstance(pattern, re.Pattern):
        flags = "".join(
            letter
            for letter, flag in (("i", re.I), ("m", re.M), ("s", re.S), ("x", re.X), ("a", re.A))
            if pattern.flags & flag
        )
        return f"(?{flags}:{pattern.pattern})" if flags else pattern.pattern
    return pattern if isinstance(pattern, str) else None


def _types_in(schema: Any, depth: int = 0) -> Set[str]:
    """Return the JSON types that a schema may allow."""
    if not isinstance(schema, dict) or depth > 10:
        return set(TYPES)
    if "type" in schema:
        return set(schema["type"] if isinstance(schema["type"], list) else [schema["type"]])
    if "enum" in schema:
        return {str(type_of(each)) for each in schema["enum"]}
    members = schema.get("anyOf") or schema.get("oneOf")
    if members:
        return {name for each in members for name in _types_in(each, depth + 1)}
    return set(TYPES)


def _with_keyword(schema: Dict[str, Any], keyword: str, value: Any) -> Dict[str, Any]:
    """Return a schema with one more limit.

    If the schema already has another limit with the same keyword, both limits apply.
    """
    if schema.get(keyword, value) == value:
        return {**schema, keyword: value}
    return {**schema, "allOf": [*schema.get("allOf", ()), {keyword: value}]}


def _checks_of(item: Any, kind: Kind) -> Iterator[_Check]:
    """Yield the checks that JSON Schema cannot express, such as limits of dates."""
    is_number = "string" not in _types_in(kind.schema)
    for name, (_, holds, words) in _BOUNDS.items():
        limit = getattr(item, name, None)
        if limit is not None and not (is_number and type_of(limit) == "number"):
            yield _bound(holds, limit, words)
    step = getattr(item, "multiple_of", None)
    if step is not None and not (is_number and type_of(step) == "number"):
        yield lambda value: _refusal_of_number(value, lambda: value % step, f"a multiple of {step}")
    for name, count in (("max_digits", _digits), ("decimal_places", _places)):
        most = getattr(item, name, None)
        if isinstance(most, int):
            yield _count_check(count, most, name.replace("_", " ").replace("max ", ""))
    predicate = getattr(item, "func", None)
    if type(item).__module__.startswith("annotated_types") and callable(predicate):
        name = getattr(predicate, "__name__", repr(predicate))
        yield lambda value: "" if predicate(value) else f"is refused by the condition {name}"


def _bound(holds: Callable[[Any, Any], Any], limit: Any, words: str) -> _Check:
    def check(value: Any) -> str:
        # If the value is a text, the type is a union of `str` and other types, and the bound
        # applies only to those.
        if isinstance(value, str):
            return ""
        try:
            return "" if holds(value, limit) else f"must be {words} {limit}"
        except TypeError:
            return f"must be {words} {limit!r}, but cannot be compared with it"

    return check


def _refusal_of_number(value: Any, remainder: Callable[[], Any], words: str) -> str:
    return "" if isinstance(value, str) or not remainder() else f"must be {words}"


def _count_check(count: Callable[[Any], int], most: int, noun: str) -> _Check:
    return lambda value: f"must have at most {most} {noun}" if count(value) > most else ""


def _digits(value: Any) -> int:
    """Return the number of decimal digits of a `Decimal`.

    Leading zeros before the decimal point do not count, but zeros directly after it do.
    """
    if not hasattr(value, "as_tuple"):
        return 0
    _, digits, exponent = value.as_tuple()
    return max(len(digits) + max(int(exponent), 0), -int(exponent))


def _places(value: Any) -> int:
    exponent = value.as_tuple().exponent if hasattr(value, "as_tuple") else 0
    return max(-int(exponent), 0)


def _make_checked(make: Make, checks: List[_Check]) -> Make:
    def make_checked(value: Any, path: str) -> Any:
        made = make(value, path)
        for check in checks if made is not None else ():  # limits do not apply to None
            reason = check(made)
            if reason:
                raise ValueError(f"{path}: {reason}")
        return made

    return make_checked


# --- annotations ---------------------------------------------------------------------------


def _annotations_of(item: Any) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    if isinstance(getattr(item, "title", None), str):
        found["title"] = item.title
    examples = getattr(item, "examples", None)
    if isinstance(examples, (list, tuple)) and all(type_of(each) for each in examples):
        found["examples"] = list(examples)
    if getattr(item, "deprecated", None):
        found["deprecated"] = True
    return found


def _with_extras(schema: Dict[str, Any], item: Any) -> Dict[str, Any]:
    """Return a schema with the keywords that the user added to a `Field`."""
    extra = getattr(item, "json_schema_extra", None) or getattr(item, "extra_json_schema", None)
    if extra is None and is_field(item):
        extra = getattr(item, "extra", None)  # pydantic 1
    if callable(extra):
        changed = copy.deepcopy(schema)
        extra(changed)
        return changed
    return {**schema, **copy.deepcopy(dict(extra))} if isinstance(extra, Mapping) else schema
