"""The supported keywords of JSON Schema (draft 2020-12), references, and helpers for error texts.

A keyword that asserts something and is not supported causes an error; it is never silently
ignored. According to the standard, all other unknown keywords are annotations without effect. A
reason why a value does not fit shows the path of the value and a short description of the value.

References are replaced with their definitions, because Ollama drops references in the parameters
of a tool (docs/reference/ollama.md, "Tools").
"""

from __future__ import annotations

import collections.abc as abc
import json
import re
from itertools import islice
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Set,
    Tuple,
)

from localproviders._record import thawed
from localproviders._redact import count_with_noun, one_line
from localproviders.errors import ConfigurationError

_MAX_CHARACTERS = 60
_MOST_VALUES = 10
_LARGE = 2**60
_PLAIN_KEY = re.compile(r"[^\W\d]\w{0,59}")

#: The names of the JSON types in error messages.
TYPES = {
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "object": "an object",
    "array": "an array",
    "boolean": "true or false",
    "null": "null",
}


def type_of(value: Any) -> Optional[str]:
    """Return the JSON type of a value; None if JSON has no such value, such as NaN or a tuple."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "number" if abs(value) < float("inf") else None
    kinds = ((str, "string"), (int, "number"), (list, "array"), (dict, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), None)


def comparable(value: Any) -> Any:
    """Return a large number as a string, and any other value unchanged.

    From 2**61 - 1 on, it is easy to find numbers with the same hash. Making a set of thousands of
    such numbers takes quadratic time. The hash of a string is random in every process, so the
    author of the values cannot choose strings with the same hash.
    """
    large = type_of(value) == "number" and abs(value) >= _LARGE
    return hex(int(value)) if large else value


def key_path(path: str, name: str) -> str:
    """Return the path of a value inside an object."""
    return f"{path}.{name}" if _PLAIN_KEY.fullmatch(name) else f"{path}[{quote(name)}]"


def item_path(path: str, index: int) -> str:
    """Return the path of a value inside an array."""
    return f"{path}[{index}]"


def quote(text: str) -> str:
    """Return at most 60 characters of a string, in quotation marks and on one line."""
    # The string may contain a lone surrogate, which cannot be printed.
    encodable = shorten(text).encode("utf-8", "replace").decode("utf-8")
    return one_line(json.dumps(encodable, ensure_ascii=False))


def shorten(text: str) -> str:
    """Return at most 60 characters of a string; three dots mark a shortened string."""
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 3] + "..."


def as_text(value: Any) -> str:
    """Describe a value in an error text: the value itself, or the size of an object or array."""
    if isinstance(value, dict):
        return f"an object with {count_with_noun(len(value), 'key', 'keys')}"
    if isinstance(value, list):
        return f"an array of {count_with_noun(len(value), 'item', 'items')}"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int) and value.bit_length() > 180:
        return "a number of very many digits"  # Python may refuse to convert it to decimal digits
    return shorten(json.dumps(value)) if type_of(value) else shorten(repr(value))


def list_values(
    values: Collection[Any], to_text: Callable[[Any], str], most: int = _MOST_VALUES
) -> str:
    """Join the texts of the first `most` values with commas, and add how many others there are."""
    rest = len(values) - most
    texts = ", ".join(to_text(each) for each in islice(values, most))
    return texts + (f" and {rest} more" if rest > 0 else "")


def join_with_or(texts: Iterable[str]) -> str:
    """Join strings with commas, and with "or" before the last one."""
    *head, last = texts
    return f"{', '.join(head)} or {last}" if head else last


# Highest number of schemas inside a schema. A small schema may exceed it after its references are
# replaced with their definitions.
_MOST_SCHEMAS = 10_000


class Keyword(NamedTuple):
    """The rules for the value of a keyword.

    Attributes:
        fits: Function that returns whether a value is valid.
        words: Description of a valid value, for error messages.
        inside: Function that returns the schemas inside a value, each with its path.
    """

    fits: Callable[[Any], bool]
    words: str
    inside: Callable[[Any], List[Tuple[str, Any]]] = lambda value: []


def _is_known_dialect(value: Any) -> bool:
    return isinstance(value, str) and bool(re.match(r"https?://json-schema\.org/", value))


def _is_count(value: Any) -> bool:
    is_integer = isinstance(value, int) or (type_of(value) == "number" and value.is_integer())
    return is_integer and not isinstance(value, bool) and bool(value >= 0)


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


def _is_map_of_names(value: Any) -> bool:
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

#: The supported keywords.
KEYWORDS: Mapping[str, Keyword] = {
    "$schema": Keyword(_is_known_dialect, "a draft's address at json-schema.org, or left out"),
    "$ref": Keyword(lambda value: isinstance(value, str), "a string"),
    "$defs": _MAP,
    "definitions": _MAP,  # the name of $defs until draft 7; pydantic 1 and others still use it
    "type": Keyword(_is_type, f"one of {', '.join(TYPES)}, or a list of them"),
    "nullable": Keyword(lambda value: isinstance(value, bool), "true or false"),  # of OpenAPI 3.0
    "enum": Keyword(lambda value: isinstance(value, list), "a list"),
    "const": Keyword(lambda value: True, ""),
    "properties": _MAP,
    "patternProperties": _MAP._replace(
        fits=_is_pattern_map, words="an object of schemas whose keys are patterns of Python's re"
    ),
    "additionalProperties": _SCHEMA,
    "propertyNames": _SCHEMA,
    "dependentSchemas": _MAP,
    "dependentRequired": Keyword(_is_map_of_names, "an object of lists of names"),
    "required": Keyword(_are_texts, "a list of names"),
    "minProperties": _COUNT,
    "maxProperties": _COUNT,
    "items": _SCHEMA._replace(
        words="a schema (a list of schemas is written prefixItems since draft 2020-12)"
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

#: Keywords that assert something and are not supported, each with the hint for its error.
REFUSED: Mapping[str, str] = {
    "unevaluatedProperties": "list the properties, and set additionalProperties to false",
    "unevaluatedItems": "use prefixItems and items",
    "$dynamicRef": "use $ref with a path inside the schema",
    "$recursiveRef": "use $ref with a path inside the schema",
    "dependencies": "use dependentRequired or dependentSchemas",
    "additionalItems": "use prefixItems and items",
    "divisibleBy": "use multipleOf",
    "disallow": "use not",
    "extends": "use allOf",
}


def schemas_in(schema: Mapping[str, Any]) -> Iterator[Tuple[str, Any]]:
    """Yield the schemas directly inside a schema, each with its path."""
    for name, value in schema.items():
        keyword = KEYWORDS.get(name)
        if keyword:
            yield from ((f"/{name}{path}", inner) for path, inner in keyword.inside(value))


def verify(schema: Any) -> None:
    """Check that a schema and all schemas inside it are valid.

    Raises:
        ConfigurationError: The argument is not a schema, the value of a keyword breaks the
            standard, or a keyword asserts something and is not supported.
    """
    if not _is_schema(schema):
        raise ConfigurationError(
            f"the schema is {type(schema).__name__}, and must be a dictionary",
            hint='a JSON Schema is written like {"type": "object", "properties": {...}}',
        )
    seen: Dict[int, Any] = {}
    todo: List[Tuple[str, Any]] = [("#", schema)]
    while todo:
        where, inner = todo.pop()
        if isinstance(inner, bool) or id(inner) in seen:
            continue
        seen[id(inner)] = inner
        _verify_one(inner, where)
        for path, found in _targets_of(schema, inner, where):
            todo.append((path, found))
        for path, found in schemas_in(inner):
            todo.append((f"{where}{path}", found))
        if len(seen) > _MOST_SCHEMAS:
            raise ConfigurationError(f"the schema has more than {_MOST_SCHEMAS:,} parts")


def _targets_of(root: Any, schema: Mapping[str, Any], where: str) -> List[Tuple[str, Any]]:
    if "$ref" not in schema:
        return []
    target = resolve(root, schema["$ref"])
    if not _is_schema(target):
        raise ConfigurationError(
            f"the schema at {where} refers to {schema['$ref']}, which is not a schema"
        )
    return [(schema["$ref"], target)]


def _verify_one(schema: Mapping[str, Any], where: str) -> None:
    for name, value in schema.items():
        if not isinstance(name, str):
            raise ConfigurationError(
                f"the schema at {where} has the key {name!r}, and keys must be strings"
            )
        if name in REFUSED:
            raise ConfigurationError(
                f"the schema at {where} uses {name!r}, which is not supported",
                hint=REFUSED[name],
            )
        if name == "$id" and where != "#":
            raise ConfigurationError(
                f"the schema at {where} has an '$id', which would change the meaning of its "
                "references",
                hint="leave it out",
            )
        keyword = KEYWORDS.get(name)
        if keyword and not keyword.fits(value):
            raise ConfigurationError(
                f"the schema at {where} has {name!r} with an invalid value; "
                f"it must be {keyword.words}"
            )


# --- references ----------------------------------------------------------------------------


def resolve(root: Any, reference: str) -> Any:
    """Return the target of a local reference, such as ``#/$defs/Address``.

    Raises:
        ConfigurationError: The reference is not local, or its target does not exist.
    """
    if reference != "#" and not reference.startswith("#/"):
        raise ConfigurationError(
            f"the schema refers to {quote(reference)}, which is an anchor or outside the schema",
            hint="put the definition under '$defs', and refer to it as '#/$defs/<name>'",
        )
    found = root
    for step in _steps(reference):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ConfigurationError(
                f"the schema refers to {quote(reference)}, which does not exist",
                hint="references start at the root of the schema, such as '#/$defs/<name>'",
            ) from None
    return found


def _steps(reference: str) -> List[str]:
    from urllib.parse import unquote  # rarely used

    pointer = unquote(reference[1:])
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


_DEFINITIONS = ("$defs", "definitions")


def inline_references(schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Return a copy of a schema in which each local reference is replaced with its target.

    Recursive references cannot be replaced, so they are kept, with their targets under ``$defs`` or
    ``definitions``. Servers that turn a schema into a grammar follow such references, but Ollama
    drops them in the parameters of a tool.

    Raises:
        ConfigurationError: The schema is malformed, is too large after inlining, or has a
            recursive reference to a place other than ``#`` or a definition.
    """
    verify(schema)
    return _Inliner(schema).inline()


def inline_inside(
    schema: Mapping[str, Any], reserve: Callable[[str], str]
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Return a copy of a schema for use as a part of another schema, and its definitions.

    Args:
        schema: The schema.
        reserve: A function that returns the new name of a definition, from its old name.

    Returns:
        The schema without definitions; and the definitions to which its recursive references
        refer. These belong under ``$defs`` of the other schema.

    Raises:
        ConfigurationError: `inline_references` refuses the schema, or the schema has a recursive
            reference to its own root.
    """
    verify(schema)
    inliner = _Inliner(schema)
    if "#" in inliner.kept:
        raise ConfigurationError(
            "the schema refers to '#', its root, but is a part of a type, which has another root",
            hint="put the schema that refers to itself under '$defs'",
        )
    names = {reference: reserve(_steps(reference)[-1]) for reference in sorted(inliner.kept)}
    inliner.renamed = {reference: f"#/$defs/{name}" for reference, name in names.items()}
    made = inliner.inline()
    for name in _DEFINITIONS:
        made.pop(name, None)
    found = {name: inliner.copy(resolve(schema, reference)) for reference, name in names.items()}
    return made, found


class _Inliner:
    """One run of `inline_references`: the schema, its recursive references, and a counter."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.kept = _recursive_references(root)
        #: The new form of each recursive reference that gets a new name. Others stay the same.
        self.renamed: Dict[str, str] = {}
        self._made = 0
        for reference in sorted(self.kept):
            if reference != "#" and not _is_definition(reference):
                raise ConfigurationError(
                    f"the schema refers to {reference!r} from inside {reference!r}",
                    hint="move the schema that refers to itself to '$defs'",
                )

    def inline(self) -> Dict[str, Any]:
        made: Dict[str, Any] = self.copy(self.root)
        if _is_definition(made.get("$ref", "")):
            # Some servers require an object, not a reference, at the root.
            del made["$ref"]
            target = self.copy(resolve(self.root, self.root["$ref"]))
            made = _merge(target, made)
        for name in _DEFINITIONS:
            for entry, inner in self.root.get(name, {}).items():
                if f"#/{name}/{_escape(entry)}" in self.kept:
                    made.setdefault(name, {})[entry] = self.copy(inner)
        return made

    def copy(self, schema: Any) -> Any:
        self._made += 1
        if self._made > _MOST_SCHEMAS:
            raise ConfigurationError(
                f"the schema has more than {_MOST_SCHEMAS:,} parts after inlining its references",
                hint="refer to each definition fewer times, or nest definitions less",
            )
        if isinstance(schema, bool):
            return schema
        made = {
            name: self._inside(name, value)
            for name, value in schema.items()
            if name not in _DEFINITIONS
        }
        is_nullable = made.pop("nullable", False)
        reference = made.pop("$ref", None)
        if reference in self.kept:
            made["$ref"] = self.renamed.get(reference, reference)
        elif reference is not None:
            made = _merge(self.copy(resolve(self.root, reference)), made)
        return _with_null(made) if is_nullable else made

    def _inside(self, name: str, value: Any) -> Any:
        """Copy the value of a keyword, with the references in its schemas replaced."""
        if name not in KEYWORDS or not KEYWORDS[name].inside(value):
            return thawed(value)
        if isinstance(value, list):
            return [self.copy(each) for each in value]
        if any(path == "" for path, _ in KEYWORDS[name].inside(value)):
            return self.copy(value)
        return {key: self.copy(each) for key, each in value.items()}


# Keywords that can refuse null even if ``type`` allows it.
_FOR_EVERY_TYPE = ("$ref", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if")
_ABOUT_VALUES = ("title", "description", "default", "examples", "example", "deprecated")


def _with_null(schema: Any) -> Any:
    """Return a schema that also allows null, which is the meaning of OpenAPI's ``nullable``."""
    if not isinstance(schema, dict):
        return {"anyOf": [schema, {"type": "null"}]}
    if "type" in schema and not any(name in schema for name in _FOR_EVERY_TYPE):
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return {**schema, "type": [*names, *(["null"] if "null" not in names else [])]}
    outside = {name: value for name, value in schema.items() if name in _ABOUT_VALUES}
    inside = {name: value for name, value in schema.items() if name not in outside}
    return {"anyOf": [inside, {"type": "null"}], **outside} if inside else schema


def _merge(target: Any, others: Dict[str, Any]) -> Any:
    """Merge the target of a reference with the other keywords of the schema that refers to it."""
    if not others:
        return target
    if not any(name in KEYWORDS for name in others) and isinstance(target, dict):
        return {**target, **others}
    return {"allOf": [target], **others} if "allOf" not in others else {"allOf": [target, others]}


def _is_definition(reference: str) -> bool:
    steps = reference.split("/")
    return len(steps) == 3 and steps[1] in _DEFINITIONS


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _recursive_references(root: Any) -> Set[str]:
    """Return the recursive references: those that can be reached from their own targets."""
    reached: Dict[str, Set[str]] = {}
    todo = _references_in(root, root)
    while todo:
        reference = todo.pop()
        if reference not in reached:
            reached[reference] = set(_references_in(root, resolve(root, reference)))
            todo.extend(reached[reference])
    return {reference for reference in reached if reference in _reachable_from(reached, reference)}


def _reachable_from(reached: Mapping[str, Set[str]], start: str) -> Set[str]:
    found: Set[str] = set()
    todo = list(reached[start])
    while todo:
        reference = todo.pop()
        if reference not in found:
            found.add(reference)
            todo.extend(reached[reference])
    return found


def _references_in(root: Any, schema: Any) -> List[str]:
    """Return all references inside a schema, except those inside its definitions."""
    found: List[str] = []
    todo: List[Tuple[str, Any]] = [("", schema)]
    while todo:
        _, inner = todo.pop()
        if isinstance(inner, bool):
            continue
        if "$ref" in inner:
            found.append(inner["$ref"])
        todo.extend(pair for pair in schemas_in(inner) if pair[0].split("/")[1] not in _DEFINITIONS)
    return found
