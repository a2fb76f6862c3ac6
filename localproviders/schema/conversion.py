"""Conversion of a tool call's arguments whose JSON types are not those of the tool's schema.

Small models write numbers, lists and objects as texts. For a parameter that they do not want to
set, they write null (docs/tools.md, "Arguments of another type"). The meaning of such a value is
clear, so it is converted. A value that fits the schema is never changed.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Tuple

from localproviders._http.framing import parse_json
from localproviders.errors import AnswerTooLargeError, ProtocolError
from localproviders.schema.checker import TooComplexError, fit_checker, fits
from localproviders.schema.keywords import resolve

_MAX_DEPTH = 100
# Some models write these three JSON values as Python literals.
_PYTHON: Mapping[str, str] = {"True": "true", "False": "false", "None": "null"}


def convert_arguments(
    given: Mapping[str, Any], schema: Mapping[str, Any]
) -> Tuple[Dict[str, Any], Tuple[str, ...]]:
    """Convert those arguments of a tool call that do not fit the schema of the tool.

    A text that does not fit is replaced with the JSON value that it contains, if this value fits.
    A null is left out, so that the default applies, if its parameter is not required and the schema
    does not allow null. Both rules also apply inside lists and objects. All other values are
    unchanged, even if they do not fit.

    Args:
        given: The arguments.
        schema: The schema of the tool, which must be valid.

    Returns:
        The arguments, and the names of those that were converted or left out.
    """
    if fits(given, schema):
        return dict(given), ()
    try:
        made = _Conversion(schema).members(given, schema)
    except (TooComplexError, RecursionError):
        return dict(given), ()
    changed = (name for name in given if name not in made or made[name] is not given[name])
    return made, tuple(changed)


class _Conversion:
    """The conversion of the arguments of one call.

    Args:
        root: The whole schema. The target of each reference (``$ref``) is looked up in it.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._fits: Callable[[Any, Any], bool] = fit_checker(root)

    def convert(self, value: Any, schema: Any) -> Any:
        """Return a value converted to fit a schema.

        A value that fits already, or that cannot be converted, is returned unchanged.
        """
        if self._fits(value, schema) or not isinstance(schema, dict):
            return value
        if isinstance(value, str):
            made = _read(value)
        elif "$ref" in schema:
            made = self.convert(value, resolve(self._root, schema["$ref"]))
        elif "anyOf" in schema or "oneOf" in schema:
            made = self._by_alternatives(value, schema.get("anyOf") or schema["oneOf"])
        elif isinstance(value, dict):
            made = self.members(value, schema)
        elif isinstance(value, list):
            made = [self.convert(item, schema.get("items", True)) for item in value]
        else:
            return value
        return made if self._fits(made, schema) else value

    def members(self, given: Mapping[str, Any], schema: Mapping[str, Any]) -> Dict[str, Any]:
        """Return the members of an object, each converted to fit its own schema."""
        named, required = schema.get("properties", {}), schema.get("required", ())
        others = schema.get("additionalProperties", True)
        made = {}
        for name, value in given.items():
            part = named.get(name, others)
            has_default = name in named and name not in required
            if value is not None or not has_default or self._fits(value, part):
                made[name] = self.convert(value, part)
        return made

    def _by_alternatives(self, value: Any, schemas: List[Any]) -> Any:
        """Return a value, converted to fit one of the alternatives of a schema.

        If no alternative makes it fit, or if two convert it to different values, the value is
        returned unchanged.
        """
        made = [self.convert(value, schema) for schema in schemas]
        fitting = [new for new, schema in zip(made, schemas) if self._fits(new, schema)]
        is_clear = fitting and all(new == fitting[0] for new in fitting)
        return fitting[0] if is_clear else value


def _read(text: str) -> Any:
    """Return the JSON value that a text contains, or the text itself."""
    try:
        return parse_json(_PYTHON.get(text.strip(), text), _MAX_DEPTH)
    except (ProtocolError, AnswerTooLargeError):
        return text
