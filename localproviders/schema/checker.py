"""Checks of JSON values against JSON Schema, with every reason why a value does not fit.

`check` follows the standard. `find_unnamed_keys` finds keys that the schema does not name.
"""

from __future__ import annotations

import operator
import re
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Set,
    Tuple,
)

from localproviders._redact import count_with_noun
from localproviders.errors import ConfigurationError
from localproviders.schema.keywords import (
    TYPES,
    as_text,
    comparable,
    item_path,
    join_with_or,
    key_path,
    list_values,
    quote,
    resolve,
    type_of,
    verify,
)

_MAX_REASONS = 20
# Highest number of nested calls of `evaluate`. Each call uses two stack frames, so a check stays
# far below Python's recursion limit.
_MAX_DEPTH = 200
# Highest number of calls of `evaluate` in one check. It limits the time that a check of a large
# value, or against a schema with many parts, can take.
_MOST_STEPS = 2_000_000


class TooComplexError(Exception):
    """The value or the schema is nested too deeply to be checked, or needs too many steps."""


def check(value: Any, schema: Mapping[str, Any], *, name: str = "answer") -> List[str]:
    """Return the reasons why a JSON value does not fit a JSON Schema of draft 2020-12.

    A step compares one value with one schema. A check has at most 200 nested steps (one to four for
    each level of the value), and at most 2,000,000 steps in total. If a value needs more steps, the
    only reason in the result says that the value is nested too deeply, or too large.

    Args:
        value: The value, as `json.loads` returns it: dict, list, str, int, float, bool or None.
        schema: The schema. References must be local (``#/...``). ``format`` is not checked.
            Patterns have the syntax of Python's `re`, and may match any part of a string.
        name: Name of the value. The path in every reason begins with this name.

    Returns:
        At most 20 reasons, and a last item with the number of the others; an empty list if the
        value fits.
        Each reason begins with the path of the value that does not fit, such as
        ``answer.items[2].price: is "x", and must be a number``. A reason quotes at most 60
        characters of a string.

    Raises:
        ConfigurationError: The schema is malformed, has a reference that leads back to itself, or
            has a keyword that asserts something and is not supported (such as
            ``unevaluatedProperties``). Such a keyword is never silently ignored.
    """
    verify(schema)
    try:
        reasons = _Check(schema).evaluate(value, schema, name)
    except (TooComplexError, RecursionError):  # RecursionError: the caller's stack is deep already
        return [f"{name}: is nested too deeply, or too large, to be checked"]
    rest = len(reasons) - _MAX_REASONS
    more = [f"{name}: {count_with_noun(rest, 'more reason', 'more reasons')}"] if rest > 0 else []
    return reasons[:_MAX_REASONS] + more


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether a value fits a schema. The schema must be valid."""
    try:
        return fit_checker(schema)(value, schema)
    except (TooComplexError, RecursionError):
        return False


def fit_checker(root: Mapping[str, Any]) -> Callable[[Any, Any], bool]:
    """Return a function that takes a value and a part of a schema, and tells whether they fit.

    All calls of the returned function share the maximum number of steps of one check.

    Args:
        root: The whole schema. References in its parts refer to it.
    """
    shared_check = _Check(root)
    return lambda value, schema: not shared_check.evaluate(value, schema, "")


class _Check:
    """The state of one check: the root of the schema, the depth, and the steps so far."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._depth = 0
        self._steps = 0
        self._open_references: Set[Tuple[str, str]] = set()
        #: A cache of the results of `follow`, by the reference, the path and the id of the value.
        #: Without it, each level of the value would multiply the steps if several alternatives
        #: refer to the same definition.
        self._followed: Dict[Tuple[str, str, int], List[str]] = {}
        #: The choices of each ``enum``, by the id of its list. The root schema keeps all these
        #: lists alive, so each id belongs to one list.
        self._choices: Dict[int, FrozenSet[Any]] = {}

    def evaluate(self, value: Any, schema: Any, path: str) -> List[str]:
        """Return the reasons why a value does not fit a schema."""
        if isinstance(schema, bool):
            return [] if schema else [f"{path}: is {as_text(value)}, and no value is allowed here"]
        if value is None and schema.get("nullable"):
            return []
        self._depth += 1
        self._steps += 1
        if self._depth > _MAX_DEPTH or self._steps > _MOST_STEPS:
            raise TooComplexError
        reasons: List[str] = []
        for keyword in schema:
            rule = _RULES.get(keyword)
            if rule and (rule.json_type is None or type_of(value) == rule.json_type):
                reasons.extend(rule.reasons(self, value, schema, path))
        self._depth -= 1
        return reasons

    def choices(self, values: Any) -> FrozenSet[Any]:
        """Return the comparable forms of the values of an ``enum``. They are made only once."""
        made = self._choices.get(id(values))
        if made is None:
            made = self._choices[id(values)] = frozenset(map(comparable_form, values))
        return made

    def follow(self, value: Any, reference: str, path: str) -> List[str]:
        """Return the reasons why a value does not fit the target of a reference."""
        step = (reference, path)
        if step in self._open_references:
            raise ConfigurationError(f"the schema's {quote(reference)} leads back to itself")
        known = self._followed.get((*step, id(value)))
        if known is not None:
            # The first call has returned all reasons. Here one is enough to show that the value
            # does not fit. If every call returned all reasons, their number could double at each
            # level of the value.
            return known[:1]
        self._open_references.add(step)
        reasons = self.evaluate(value, resolve(self.root, reference), path)
        self._open_references.discard(step)
        self._followed[(*step, id(value))] = reasons
        return reasons


def comparable_form(value: Any, depth: int = 0) -> Any:
    """Return a hashable form of a JSON value. Equal values have equal forms.

    In JSON, 1 and 1.0 are equal, but 1 and true are not.
    """
    if depth > _MAX_DEPTH:
        raise TooComplexError
    if isinstance(value, dict):
        pairs = frozenset((name, comparable_form(each, depth + 1)) for name, each in value.items())
        return ("object", pairs)
    if isinstance(value, list):
        return ("array", tuple(comparable_form(each, depth + 1) for each in value))
    return (type_of(value), comparable(value))


# --- values of any type --------------------------------------------------------------------

Reasons = Iterable[str]


def _type(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kind = type_of(value)
    is_integer = kind == "number" and (isinstance(value, int) or value.is_integer())
    if kind not in names and not (is_integer and "integer" in names):
        allowed = join_with_or(TYPES[name] for name in names)
        yield f"{path}: is {as_text(value)}, and must be {allowed}"


def _enum(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    if comparable_form(value) not in self.choices(schema["enum"]):
        choices = list_values(schema["enum"], as_text)
        yield f"{path}: is {as_text(value)}, and must be one of {choices}"


def _const(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    if comparable_form(schema["const"]) != comparable_form(value):
        yield f"{path}: is {as_text(value)}, and must be {as_text(schema['const'])}"


def _ref(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    return self.follow(value, schema["$ref"], path)


# --- combined schemas ----------------------------------------------------------------------


def _all_of(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for each in schema["allOf"]:
        yield from self.evaluate(value, each, path)


def _any_of(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    tried: List[List[str]] = []
    for each in schema["anyOf"]:
        tried.append(self.evaluate(value, each, path))
        if not tried[-1]:
            return []
    return _reasons_of_no_match(value, schema["anyOf"], tried, path)


def _one_of(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    tried = [self.evaluate(value, each, path) for each in schema["oneOf"]]
    fitting = tried.count([])
    if not fitting:
        return _reasons_of_no_match(value, schema["oneOf"], tried, path)
    if fitting == 1:
        return []
    return [f"{path}: is {as_text(value)}, and fits {fitting} alternatives where one is allowed"]


def _reasons_of_no_match(
    value: Any, schemas: List[Any], tried: List[List[str]], path: str
) -> List[str]:
    """Return the reasons why a value fits none of several alternatives.

    If there is only one alternative, the result is its reasons. If exactly one alternative accepts
    the value itself and refuses only parts inside it, the value was probably intended for this
    alternative, and the result is its reasons. In all other cases, the result is one reason, which
    lists the alternatives.
    """
    own_reason = f"{path}: is {as_text(value)}, and "
    intended = [
        reasons for reasons in tried if not any(each.startswith(own_reason) for each in reasons)
    ]
    if len(intended) == 1 or len(tried) == 1:
        return (intended or tried)[0]
    return [f"{own_reason}must be {join_with_or(_alternatives(schemas))}"]


def _alternatives(schemas: List[Any]) -> Iterator[str]:
    for number, schema in enumerate(schemas[:10], 1):
        named = schema if isinstance(schema, dict) else {}
        if "enum" in named:
            yield f"one of {list_values(named['enum'], as_text)}"
        elif "const" in named:
            yield as_text(named["const"])
        elif isinstance(named.get("title"), str):
            yield f"{quote(named['title'])}"
        elif isinstance(named.get("type"), str):
            yield f"{TYPES[named['type']]} as alternative {number} describes it"
        else:
            yield f"alternative {number}"


def _not(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    if not self.evaluate(value, schema["not"], path):
        yield f"{path}: is {as_text(value)}, and must not be {_describe_excluded(schema['not'])}"


def _describe_excluded(schema: Any) -> str:
    return next(_alternatives([schema])).replace("alternative 1", "what 'not' describes")


def _if(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    branch = "else" if self.evaluate(value, schema["if"], path) else "then"
    return self.evaluate(value, schema.get(branch, True), path)


# --- objects -------------------------------------------------------------------------------


def _properties(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for name, inner in schema["properties"].items():
        if name in value:
            yield from self.evaluate(value[name], inner, key_path(path, name))


def _pattern_properties(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for pattern, inner in schema["patternProperties"].items():
        for name in value:
            if re.search(pattern, name):
                yield from self.evaluate(value[name], inner, key_path(path, name))


def _additional_properties(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in value:
        if name in known or any(re.search(pattern, name) for pattern in patterns):
            continue
        if schema["additionalProperties"] is False:
            allowed = list_values(known, quote)
            yield f"{key_path(path, name)}: is not allowed; the keys are {allowed or 'none'}"
        else:
            inner = schema["additionalProperties"]
            yield from self.evaluate(value[name], inner, key_path(path, name))


def _property_names(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for name in value:
        yield from self.evaluate(name, schema["propertyNames"], f"{path}: the key {quote(name)}")


def _required(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    return [
        f"{key_path(path, name)}: is missing" for name in schema["required"] if name not in value
    ]


def _dependent_required(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for cause, names in schema["dependentRequired"].items():
        for name in names if cause in value else ():
            if name not in value:
                yield f"{key_path(path, name)}: is missing, and {quote(cause)} needs it"


def _dependent_schemas(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for cause, inner in schema["dependentSchemas"].items():
        if cause in value:
            yield from self.evaluate(value, inner, path)


# --- arrays --------------------------------------------------------------------------------


def _prefix_items(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for index, (each, inner) in enumerate(zip(value, schema["prefixItems"])):
        yield from self.evaluate(each, inner, item_path(path, index))


def _items(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for index in range(len(schema.get("prefixItems", ())), len(value)):
        yield from self.evaluate(value[index], schema["items"], item_path(path, index))


def _contains(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    least, most = schema.get("minContains", 1), schema.get("maxContains")
    number = sum(
        not self.evaluate(each, schema["contains"], item_path(path, index))
        for index, each in enumerate(value)
    )
    has = f"{path}: has {count_with_noun(number, 'item', 'items')} that 'contains' describes, and"
    if number < least:
        yield f"{has} must have at least {least}"
    if most is not None and number > most:
        yield f"{has} must have at most {most}"


def _unique_items(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    first: Dict[Any, int] = {}
    for index, each in enumerate(value if schema["uniqueItems"] else ()):
        at = first.setdefault(comparable_form(each), index)
        if at != index:
            yield f"{item_path(path, index)}: is equal to {item_path(path, at)}, and must differ"


# --- numbers and texts ---------------------------------------------------------------------


def _multiple_of(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    from fractions import Fraction  # rarely used, and slow to import

    # The fractions are made from the decimal digits, because 0.3 is not a multiple of 0.1 as a
    # binary float.
    step = Fraction(str(schema["multipleOf"]))
    if (Fraction(str(value) if isinstance(value, float) else value) / step).denominator != 1:
        yield f"{path}: is {as_text(value)}, and must be a multiple of {schema['multipleOf']}"


def _pattern(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    if not re.search(schema["pattern"], value):
        yield f"{path}: is {as_text(value)}, and must match {quote(schema['pattern'])}"


class _Rule(NamedTuple):
    """The check of a keyword, and the JSON type to which the keyword applies; None means all."""

    json_type: Any
    reasons: Callable[[_Check, Any, Any, str], Reasons]


def _limit(json_type: str, keyword: str, holds: Callable[[Any, Any], bool], words: str) -> _Rule:
    """Make the rule for a keyword that limits the value of a number, such as ``minimum``."""

    def reasons(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
        if not holds(value, schema[keyword]):
            yield f"{path}: is {as_text(value)}, and must be {words} {as_text(schema[keyword])}"

    return _Rule(json_type, reasons)


def _size(json_type: str, keyword: str, holds: Callable[[Any, Any], bool], noun: str) -> _Rule:
    """Make the rule for a keyword that limits how many characters, items or keys a value has."""
    words = "at least" if keyword.startswith("min") else "at most"

    def reasons(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
        size = len(value)
        if not holds(size, schema[keyword]):
            has = count_with_noun(size, *noun.split("/"))
            yield f"{path}: has {has}, and must have {words} {schema[keyword]}"

    return _Rule(json_type, reasons)


_RULES: Mapping[str, _Rule] = {
    "$ref": _Rule(None, _ref),
    "type": _Rule(None, _type),
    "enum": _Rule(None, _enum),
    "const": _Rule(None, _const),
    "allOf": _Rule(None, _all_of),
    "anyOf": _Rule(None, _any_of),
    "oneOf": _Rule(None, _one_of),
    "not": _Rule(None, _not),
    "if": _Rule(None, _if),
    "properties": _Rule("object", _properties),
    "patternProperties": _Rule("object", _pattern_properties),
    "additionalProperties": _Rule("object", _additional_properties),
    "propertyNames": _Rule("object", _property_names),
    "required": _Rule("object", _required),
    "dependentRequired": _Rule("object", _dependent_required),
    "dependentSchemas": _Rule("object", _dependent_schemas),
    "minProperties": _size("object", "minProperties", operator.ge, "key/keys"),
    "maxProperties": _size("object", "maxProperties", operator.le, "key/keys"),
    "prefixItems": _Rule("array", _prefix_items),
    "items": _Rule("array", _items),
    "contains": _Rule("array", _contains),
    "minItems": _size("array", "minItems", operator.ge, "item/items"),
    "maxItems": _size("array", "maxItems", operator.le, "item/items"),
    "uniqueItems": _Rule("array", _unique_items),
    "minimum": _limit("number", "minimum", operator.ge, "at least"),
    "maximum": _limit("number", "maximum", operator.le, "at most"),
    "exclusiveMinimum": _limit("number", "exclusiveMinimum", operator.gt, "more than"),
    "exclusiveMaximum": _limit("number", "exclusiveMaximum", operator.lt, "less than"),
    "multipleOf": _Rule("number", _multiple_of),
    "minLength": _size("string", "minLength", operator.ge, "character/characters"),
    "maxLength": _size("string", "maxLength", operator.le, "character/characters"),
    "pattern": _Rule("string", _pattern),
}


# The keywords that list or describe the keys of an object.
_NAMING = ("properties", "patternProperties", "additionalProperties")

_ALTERNATIVES = ("anyOf", "oneOf")

_Fits = Callable[[Any, Any], bool]
_Schema = Mapping[str, Any]


def find_unnamed_keys(value: Mapping[str, Any], schema: _Schema, *, name: str) -> List[str]:
    """Return a reason for each key of a value that the schema does not name.

    The schema names a key if ``properties`` or ``patternProperties`` contains it, or if
    ``additionalProperties`` is present and allows it. The standard also allows all other keys.

    Objects inside the value are checked, too, except those whose schema names no key at all, such
    as ``{"type": "object"}``. The author of such a schema means an object with any keys. If these
    keys were reported, the model would send an empty object next. The root is always checked,
    because its keys are the arguments of a function.

    Several parts of the schema can describe the same value. All of them count: a local ``$ref``,
    ``allOf``, the parts of ``anyOf`` and ``oneOf`` that fit, ``if`` with its branch, and
    ``dependentSchemas``.

    Args:
        value: A value that fits the schema according to `check`.
        schema: The schema.
        name: Name of the value. The path in every reason begins with this name.
    """
    finder = _PartFinder(schema)
    todo: List[Tuple[str, Any, List[Any]]] = [(name, value, [schema])]
    reasons: List[str] = []
    try:
        while todo:
            path, each, schemas = todo.pop()
            parts = finder.parts(schemas, each)
            if isinstance(each, dict) and each is not value and not _names_keys(parts):
                continue
            reasons.extend(_reasons(path, each, parts))
            inside = _named_values(path, each, parts)
            todo.extend(found for found in inside if isinstance(found[1], (dict, list)))
    except (TooComplexError, RecursionError):  # RecursionError: the caller's stack is deep already
        return [f"{name}: is nested too deeply, or too large, to be checked"]
    return reasons


def _names_keys(parts: List[_Schema]) -> bool:
    return any(name in part for part in parts for name in _NAMING)


def _reasons(path: str, value: Any, parts: List[_Schema]) -> Iterator[str]:
    for name in value if isinstance(value, dict) else ():
        if not any(_schemas_of(name, part) for part in parts):
            known = {each: None for part in parts for each in part.get("properties", {})}
            allowed = list_values(known, quote)
            yield f"{key_path(path, name)}: is not allowed; the keys are {allowed or 'none'}"


def _schemas_of(name: str, schema: _Schema) -> List[Any]:
    """Return the schemas in one part of a schema for a key; none if the part has no such key."""
    known = schema.get("properties", {})
    found = [known[name]] if name in known else []
    patterns = schema.get("patternProperties", {}).items()
    found += [inner for pattern, inner in patterns if re.search(pattern, name)]
    if not found and schema.get("additionalProperties", False) is not False:
        return [schema["additionalProperties"]]
    return found


def _named_values(
    path: str, value: Any, parts: List[_Schema]
) -> Iterator[Tuple[str, Any, List[Any]]]:
    """Yield path, value and schemas for each member or item of a value.

    A member is left out if no part names its key.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            schemas = [each for part in parts for each in _schemas_of(name, part)]
            if schemas:
                yield key_path(path, name), inner, schemas
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield (
                item_path(path, index),
                inner,
                [each for p in parts for each in _schemas_of_item(index, p)],
            )


def _schemas_of_item(index: int, schema: _Schema) -> List[Any]:
    before = schema.get("prefixItems", ())
    if index < len(before):
        return [before[index]]
    return [schema["items"]] if "items" in schema else []


class _PartFinder:
    """A search for the parts of one schema that apply to a value."""

    def __init__(self, root: _Schema) -> None:
        self._root = root
        self._fits: _Fits = fit_checker(root)

    def parts(self, schemas: List[Any], value: Any) -> List[_Schema]:
        """Return these schemas, and all schemas inside them that apply to this value, too."""
        found: Dict[int, _Schema] = {}
        todo = list(schemas)
        while todo:
            each = todo.pop()
            if not isinstance(each, bool) and id(each) not in found:
                found[id(each)] = each
                todo.extend(self._applied(each, value))
        return list(found.values())

    def _applied(self, schema: _Schema, value: Any) -> Iterator[Any]:
        """Yield the schemas directly inside a schema that apply to the value itself."""
        if "$ref" in schema:
            yield resolve(self._root, schema["$ref"])
        yield from schema.get("allOf", ())
        yield from self._alternatives(schema, value)
        if "if" in schema:
            applies = self._fits(value, schema["if"])
            yield from [schema["if"], schema.get("then", True)] if applies else []
            yield from [] if applies else [schema.get("else", True)]
        if isinstance(value, dict):
            causes = schema.get("dependentSchemas", {}).items()
            yield from (each for cause, each in causes if cause in value)

    def _alternatives(self, schema: _Schema, value: Any) -> List[Any]:
        """Return the parts of ``anyOf`` and ``oneOf`` that the value fits."""
        tried = [each for keyword in _ALTERNATIVES for each in schema.get(keyword, ())]
        return [each for each in tried if self._fits(value, each)]
