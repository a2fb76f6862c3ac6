"""A JSON value against a JSON Schema: every reason why it does not fit."""

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

from localproviders.errors import ConfigurationError
from localproviders.schema.keywords import resolve, verify
from localproviders.schema.words import (
    TYPES,
    counted,
    either,
    item,
    key,
    quoted,
    several,
    shown,
    type_of,
)

_MOST_REASONS = 20
# Steps into a value and its schema; two frames each, so that Python's own limit is far.
_DEEPEST = 200
# A schema that tries itself twice on each level doubles the work with each.
_MOST_STEPS = 2_000_000


class _TooMuchError(Exception):
    """The value or the schema is nested deeper, or takes longer, than a check goes."""


def check(value: Any, schema: Mapping[str, Any], *, name: str = "answer") -> List[str]:
    """Say why a JSON value does not fit a JSON Schema, in the sense of draft 2020-12.

    Args:
        value: What `json.loads` gives: dict, list, str, int, float, bool or None.
        schema: The schema. References must be local (``#/...``). ``format`` asserts
            nothing. Patterns are Python's `re`, and are searched for.
        name: What the paths start with.

    Returns:
        Reasons, each with the path of the value it is about, such as ``answer.items[2].price:
        is "x", and must be a number``; at most 20, and how many more. None if the value
        fits. Texts of the value are cut to 60 characters. What takes more than 200 steps
        inwards (a level of the value takes one to four) or 2,000,000 in all does not fit.

    Raises:
        ConfigurationError: The schema is malformed, refers to itself without end, or uses a
            keyword that would assert something and is not known (such as
            ``unevaluatedProperties``): nothing is passed over in silence.
    """
    verify(schema)
    try:
        reasons = _Check(schema).evaluate(value, schema, name)
    except (_TooMuchError, RecursionError):  # the caller may be deep in already
        return [f"{name}: is nested too deeply, or too large, to be checked"]
    rest = len(reasons) - _MOST_REASONS
    return reasons[:_MOST_REASONS] + ([f"{name}: {rest} more reasons"] if rest > 0 else [])


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Tell whether a value fits a schema that is known to be well made."""
    try:
        return not _Check(schema).evaluate(value, schema, "")
    except (_TooMuchError, RecursionError):
        return False


class _Check:
    """One check: the root that references start from, and how deep it is in."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._depth = 0
        self._steps = 0
        self._open_references: Set[Tuple[str, str]] = set()
        #: The choices of each ``enum``, by the identity of its list, which the root keeps.
        self._choices: Dict[int, FrozenSet[Any]] = {}

    def evaluate(self, value: Any, schema: Any, path: str) -> List[str]:
        """Give the reasons why a value does not fit one schema."""
        if isinstance(schema, bool):
            return [] if schema else [f"{path}: is {shown(value)}, and nothing may be here"]
        self._depth += 1
        self._steps += 1
        if self._depth > _DEEPEST or self._steps > _MOST_STEPS:
            raise _TooMuchError
        reasons: List[str] = []
        for keyword in schema:
            rule = _RULES.get(keyword)
            if rule and (rule.about is None or type_of(value) == rule.about):
                reasons.extend(rule.reasons(self, value, schema, path))
        self._depth -= 1
        return reasons

    def choices(self, values: Any) -> FrozenSet[Any]:
        """Give the values of an ``enum`` as they are compared: made once, for every value."""
        made = self._choices.get(id(values))
        if made is None:
            made = self._choices[id(values)] = frozenset(map(same_as, values))
        return made

    def follow(self, value: Any, reference: str, path: str) -> List[str]:
        """Go on at the place a reference points to."""
        mark = (reference, path)
        if mark in self._open_references:
            raise ConfigurationError(f"the schema's {quoted(reference)} leads back to itself")
        self._open_references.add(mark)
        reasons = self.evaluate(value, resolve(self.root, reference), path)
        self._open_references.discard(mark)
        return reasons


def same_as(value: Any, depth: int = 0) -> Any:
    """Give something hashable that is equal for equal JSON values: 1 and 1.0, not 1 and true."""
    if depth > _DEEPEST:
        raise _TooMuchError
    if isinstance(value, dict):
        pairs = frozenset((name, same_as(each, depth + 1)) for name, each in value.items())
        return ("object", pairs)
    if isinstance(value, list):
        return ("array", tuple(same_as(each, depth + 1) for each in value))
    return (type_of(value), value)


# --- values of any type --------------------------------------------------------------------

Reasons = Iterable[str]


def _type(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kind = type_of(value)
    whole = kind == "number" and (isinstance(value, int) or value.is_integer())
    if kind not in names and not (whole and "integer" in names):
        yield f"{path}: is {shown(value)}, and must be {either(TYPES[name] for name in names)}"


def _enum(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    if same_as(value) not in self.choices(schema["enum"]):
        choices = several(schema["enum"], shown)
        yield f"{path}: is {shown(value)}, and must be one of {choices}"


def _const(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    if same_as(schema["const"]) != same_as(value):
        yield f"{path}: is {shown(value)}, and must be {shown(schema['const'])}"


def _ref(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    return self.follow(value, schema["$ref"], path)


# --- schemas side by side ------------------------------------------------------------------


def _all_of(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for each in schema["allOf"]:
        yield from self.evaluate(value, each, path)


def _any_of(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    tried = [self.evaluate(value, each, path) for each in schema["anyOf"]]
    return [] if not all(tried) else _none_of(value, schema["anyOf"], tried, path)


def _one_of(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    tried = [self.evaluate(value, each, path) for each in schema["oneOf"]]
    fitting = tried.count([])
    if not fitting:
        return _none_of(value, schema["oneOf"], tried, path)
    if fitting == 1:
        return []
    return [f"{path}: is {shown(value)}, and fits {fitting} alternatives where one is allowed"]


def _none_of(value: Any, schemas: List[Any], tried: List[List[str]], path: str) -> List[str]:
    """Give the reasons of the one alternative that was meant, or name all of them."""
    here = f"{path}: is {shown(value)}, and "
    near = [reasons for reasons in tried if not any(each.startswith(here) for each in reasons)]
    if len(near) == 1 or len(tried) == 1:
        return (near or tried)[0]
    return [f"{here}must be {either(_alternatives(schemas))}"]


def _alternatives(schemas: List[Any]) -> Iterator[str]:
    for number, schema in enumerate(schemas[:10], 1):
        named = schema if isinstance(schema, dict) else {}
        if "enum" in named:
            yield f"one of {several(named['enum'], shown)}"
        elif "const" in named:
            yield shown(named["const"])
        elif isinstance(named.get("title"), str):
            yield f"{quoted(named['title'])}"
        elif isinstance(named.get("type"), str):
            yield f"{TYPES[named['type']]} as alternative {number} describes it"
        else:
            yield f"alternative {number}"


def _not(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    if not self.evaluate(value, schema["not"], path):
        yield f"{path}: is {shown(value)}, and must not be {_excluded(schema['not'])}"


def _excluded(schema: Any) -> str:
    return next(_alternatives([schema])).replace("alternative 1", "what 'not' describes")


def _if(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    branch = "else" if self.evaluate(value, schema["if"], path) else "then"
    return self.evaluate(value, schema.get(branch, True), path)


# --- objects -------------------------------------------------------------------------------


def _properties(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for name, inner in schema["properties"].items():
        if name in value:
            yield from self.evaluate(value[name], inner, key(path, name))


def _pattern_properties(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for pattern, inner in schema["patternProperties"].items():
        for name in value:
            if re.search(pattern, name):
                yield from self.evaluate(value[name], inner, key(path, name))


def _additional_properties(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in value:
        if name in known or any(re.search(pattern, name) for pattern in patterns):
            continue
        if schema["additionalProperties"] is False:
            allowed = several(known, quoted)
            yield f"{key(path, name)}: is not allowed; the keys are {allowed or 'none'}"
        else:
            inner = schema["additionalProperties"]
            yield from self.evaluate(value[name], inner, key(path, name))


def _property_names(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for name in value:
        yield from self.evaluate(name, schema["propertyNames"], f"{path}: the key {quoted(name)}")


def _required(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    return [f"{key(path, name)}: is missing" for name in schema["required"] if name not in value]


def _dependent_required(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for cause, names in schema["dependentRequired"].items():
        for name in names if cause in value else ():
            if name not in value:
                yield f"{key(path, name)}: is missing, and {quoted(cause)} needs it"


def _dependent_schemas(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for cause, inner in schema["dependentSchemas"].items():
        if cause in value:
            yield from self.evaluate(value, inner, path)


# --- arrays --------------------------------------------------------------------------------


def _prefix_items(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for index, (each, inner) in enumerate(zip(value, schema["prefixItems"])):
        yield from self.evaluate(each, inner, item(path, index))


def _items(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    for index in range(len(schema.get("prefixItems", ())), len(value)):
        yield from self.evaluate(value[index], schema["items"], item(path, index))


def _contains(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    least, most = schema.get("minContains", 1), schema.get("maxContains")
    number = sum(
        not self.evaluate(each, schema["contains"], item(path, index))
        for index, each in enumerate(value)
    )
    has = f"{path}: has {counted(number, 'item', 'items')} of the kind 'contains' asks for, and"
    if number < least:
        yield f"{has} must have at least {least}"
    if most is not None and number > most:
        yield f"{has} must have at most {most}"


def _unique_items(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    first: Dict[Any, int] = {}
    for index, each in enumerate(value if schema["uniqueItems"] else ()):
        at = first.setdefault(same_as(each), index)
        if at != index:
            yield f"{item(path, index)}: is equal to {item(path, at)}, and must differ"


# --- numbers and texts ---------------------------------------------------------------------


def _multiple_of(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    from fractions import Fraction  # seldom needed, and slow to load

    # As they are written: 0.3 is a multiple of 0.1, which binary fractions do not show.
    step = Fraction(str(schema["multipleOf"]))
    if (Fraction(str(value) if isinstance(value, float) else value) / step).denominator != 1:
        yield f"{path}: is {shown(value)}, and must be a multiple of {schema['multipleOf']}"


def _pattern(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
    if not re.search(schema["pattern"], value):
        yield f"{path}: is {shown(value)}, and must match {quoted(schema['pattern'])}"


class _Rule(NamedTuple):
    """How a keyword is checked, and the type of the values it is about (None: all)."""

    about: Any
    reasons: Callable[[_Check, Any, Any, str], Reasons]


def _limit(about: str, keyword: str, holds: Callable[[Any, Any], bool], words: str) -> _Rule:
    """Give the rule of a number that a number must keep to."""

    def reasons(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
        if not holds(value, schema[keyword]):
            yield f"{path}: is {shown(value)}, and must be {words} {shown(schema[keyword])}"

    return _Rule(about, reasons)


def _size(about: str, keyword: str, holds: Callable[[Any, Any], bool], noun: str) -> _Rule:
    """Give the rule of a number that a size must keep to."""
    words = "at least" if keyword.startswith("min") else "at most"

    def reasons(self: _Check, value: Any, schema: Any, path: str) -> Reasons:
        size = len(value)
        if not holds(size, schema[keyword]):
            has = counted(size, *noun.split("/"))
            yield f"{path}: has {has}, and must have {words} {schema[keyword]}"

    return _Rule(about, reasons)


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
