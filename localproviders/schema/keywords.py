"""Which keywords of JSON Schema (draft 2020-12) are known, and that a schema is well made.

A keyword that would assert something and is not known here is an error: never passed over.
Unknown words that assert nothing in any draft are annotations, as the standard says.
"""

from __future__ import annotations

import collections.abc as abc
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple

from localproviders.errors import ConfigurationError
from localproviders.schema.words import TYPES, quoted, type_of

# How many schemas one schema may be made of: inlining can multiply them.
_MOST_SCHEMAS = 10_000


class Keyword(NamedTuple):
    """What the value of a keyword must be, and which schemas are in it."""

    fits: Callable[[Any], bool]
    words: str
    inside: Callable[[Any], List[Tuple[str, Any]]] = lambda value: []


def _is_known_dialect(value: Any) -> bool:
    return isinstance(value, str) and bool(re.match(r"https?://json-schema\.org/", value))


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int) or (type_of(value) == "number" and value.is_integer())
    return whole and not isinstance(value, bool) and bool(value >= 0)


def _is_number(value: Any) -> bool:
    return type_of(value) == "number"


def _is_schema(value: Any) -> bool:
    return isinstance(value, (abc.Mapping, bool))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in TYPES for name in names)


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError):
        return False
    return isinstance(value, str)


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_schema(each) for each in value)


def _is_map(value: Any) -> bool:
    return isinstance(value, abc.Mapping) and all(_is_schema(each) for each in value.values())


def _is_pattern_map(value: Any) -> bool:
    return _is_map(value) and all(_is_pattern(name) for name in value)


def _is_needs_map(value: Any) -> bool:
    return isinstance(value, abc.Mapping) and all(_are_texts(each) for each in value.values())


_COUNT = Keyword(_is_count, "a whole number of at least 0")
_NUMBER = Keyword(_is_number, "a number")
_SCHEMA = Keyword(_is_schema, "a schema: an object, true or false", lambda value: [("", value)])
_SCHEMAS = Keyword(
    _are_schemas,
    "a list of at least one schema",
    lambda value: [(f"/{index}", each) for index, each in enumerate(value)],
)
_MAP = Keyword(
    _is_map,
    "an object of schemas",
    lambda value: [(f"/{name}", each) for name, each in value.items()],
)

#: The keywords with a meaning here.
KEYWORDS: Mapping[str, Keyword] = {
    "$schema": Keyword(_is_known_dialect, "a draft's address at json-schema.org, or left out"),
    "$ref": Keyword(lambda value: isinstance(value, str), "a text"),
    "$defs": _MAP,
    "definitions": _MAP,  # its name until draft 7, which pydantic 1 and others still use
    "type": Keyword(_is_type, f"one of {', '.join(TYPES)}, or a list of them"),
    "enum": Keyword(lambda value: isinstance(value, list), "a list"),
    "const": Keyword(lambda value: True, ""),
    "properties": _MAP,
    "patternProperties": _MAP._replace(
        fits=_is_pattern_map, words="an object of schemas, each under a pattern of Python's re"
    ),
    "additionalProperties": _SCHEMA,
    "propertyNames": _SCHEMA,
    "dependentSchemas": _MAP,
    "dependentRequired": Keyword(_is_needs_map, "an object of lists of names"),
    "required": Keyword(_are_texts, "a list of names"),
    "minProperties": _COUNT,
    "maxProperties": _COUNT,
    "items": _SCHEMA._replace(
        words="a schema (a list of them is written prefixItems since draft 2020-12)"
    ),
    "prefixItems": _SCHEMAS,
    "contains": _SCHEMA,
    "minContains": _COUNT,
    "maxContains": _COUNT,
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "uniqueItems": Keyword(lambda value: isinstance(value, bool), "true or false"),
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "exclusiveMaximum": _NUMBER,
    "multipleOf": Keyword(lambda value: _is_number(value) and value > 0, "a number above 0"),
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "pattern": Keyword(_is_pattern, "a pattern of Python's re"),
    "allOf": _SCHEMAS,
    "anyOf": _SCHEMAS,
    "oneOf": _SCHEMAS,
    "not": _SCHEMA,
    "if": _SCHEMA,
    "then": _SCHEMA,
    "else": _SCHEMA,
}

#: What would assert something, and is not checked here; and what to write instead.
REFUSED: Mapping[str, str] = {
    "unevaluatedProperties": "list the properties, and say additionalProperties: false",
    "unevaluatedItems": "say prefixItems and items",
    "$dynamicRef": "use $ref to a place in the schema",
    "$recursiveRef": "use $ref to a place in the schema",
    "dependencies": "use dependentRequired or dependentSchemas",
    "additionalItems": "use prefixItems and items",
    "nullable": 'add "null" to its type',
    "divisibleBy": "use multipleOf",
    "disallow": "use not",
    "extends": "use allOf",
}


def schemas_in(schema: Mapping[str, Any]) -> Iterator[Tuple[str, Any]]:
    """Give the schemas directly inside one, each with its way there."""
    for name, value in schema.items():
        keyword = KEYWORDS.get(name)
        if keyword:
            yield from ((f"/{name}{way}", inner) for way, inner in keyword.inside(value))


def verify(schema: Any) -> None:
    """Look through a whole schema before it is used.

    Raises:
        ConfigurationError: It is no schema, a keyword's value is not what the standard
            says, or it uses a keyword that asserts something and is not known here.
    """
    if not _is_schema(schema):
        raise ConfigurationError(
            f"the schema is {type(schema).__name__}, and must be a dictionary",
            hint='a JSON Schema is written like {"type": "object", "properties": {...}}',
        )
    seen: Dict[int, Any] = {}
    open_ones: List[Tuple[str, Any]] = [("#", schema)]
    while open_ones:
        where, inner = open_ones.pop()
        if isinstance(inner, bool) or id(inner) in seen:
            continue
        seen[id(inner)] = inner
        _verify_one(inner, where)
        for way, found in _referred(schema, inner, where):
            open_ones.append((way, found))
        for way, found in schemas_in(inner):
            open_ones.append((f"{where}{way}", found))
        if len(seen) > _MOST_SCHEMAS:
            raise ConfigurationError(f"the schema has more than {_MOST_SCHEMAS:,} parts")


def _referred(root: Any, schema: Mapping[str, Any], where: str) -> List[Tuple[str, Any]]:
    if "$ref" not in schema:
        return []
    target = resolve(root, schema["$ref"])
    if not _is_schema(target):
        raise ConfigurationError(f"the schema at {where} refers to {schema['$ref']}, no schema")
    return [(schema["$ref"], target)]


def _verify_one(schema: Mapping[str, Any], where: str) -> None:
    for name, value in schema.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"the schema at {where} has the key {name!r}, and no text")
        if name in REFUSED:
            raise ConfigurationError(
                f"the schema at {where} uses {name!r}, which is not checked here",
                hint=REFUSED[name],
            )
        if name == "$id" and where != "#":
            raise ConfigurationError(
                f"the schema at {where} has an '$id' of its own, which changes what its "
                "references mean",
                hint="leave it out",
            )
        keyword = KEYWORDS.get(name)
        if keyword and not keyword.fits(value):
            raise ConfigurationError(
                f"the schema at {where} has {name!r} with a value that does not fit; "
                f"it must be {keyword.words}"
            )


# --- references ----------------------------------------------------------------------------


def resolve(root: Any, reference: str) -> Any:
    """Give what a local reference, such as ``#/$defs/Address``, points to.

    Raises:
        ConfigurationError: It points out of this schema, or to nothing.
    """
    if reference != "#" and not reference.startswith("#/"):
        raise ConfigurationError(
            f"the schema refers to {quoted(reference)}, which is outside of it or an anchor",
            hint="put what is meant under '$defs', and refer to it as '#/$defs/<name>'",
        )
    found = root
    for step in _steps(reference):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ConfigurationError(
                f"the schema refers to {quoted(reference)}, and there is nothing",
                hint="references start at the root of the schema, such as '#/$defs/<name>'",
            ) from None
    return found


def _steps(reference: str) -> List[str]:
    from urllib.parse import unquote  # seldom needed

    pointer = unquote(reference[1:])
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
