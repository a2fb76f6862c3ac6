"""References put in place of what they point to: Ollama drops them (ollama-api §4.6)."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Set, Tuple

from localproviders.errors import ConfigurationError
from localproviders.schema.keywords import KEYWORDS, resolve, schemas_in, verify

_MOST_SCHEMAS = 10_000
_DEFINITIONS = ("$defs", "definitions")


def inlined(schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Give a copy of a schema with its local references replaced by what they point to.

    What refers to itself cannot be replaced: such references stay, and what they point to
    stays under ``$defs``. Servers that turn a schema into a grammar follow them there; in a
    tool's parameters Ollama drops them.

    Raises:
        ConfigurationError: The schema is malformed (see `check`), too large once inlined, or
            refers to itself elsewhere than by ``#`` or a definition.
    """
    verify(schema)
    return _Inliner(schema).whole()


def refers_to_itself(schema: Mapping[str, Any]) -> bool:
    """Tell whether a well-made schema has references that inlining must leave."""
    return bool(_circular(schema))


class _Inliner:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.kept = _circular(root)
        self._made = 0
        for reference in sorted(self.kept):
            if reference != "#" and not _is_definition(reference):
                raise ConfigurationError(
                    f"the schema refers to {reference!r} from inside of it",
                    hint="move what refers to itself under '$defs'",
                )

    def whole(self) -> Dict[str, Any]:
        made: Dict[str, Any] = self.copy(self.root)
        if _is_definition(made.get("$ref", "")):
            # Some servers want to see an object at the root.
            target = self.copy(resolve(self.root, made.pop("$ref")))
            made = _together(target, made)
        for name in _DEFINITIONS:
            for way, inner in self.root.get(name, {}).items():
                if f"#/{name}/{_escaped(way)}" in self.kept:
                    made.setdefault(name, {})[way] = self.copy(inner)
        return made

    def copy(self, schema: Any) -> Any:
        self._made += 1
        if self._made > _MOST_SCHEMAS:
            raise ConfigurationError(
                f"the schema has more than {_MOST_SCHEMAS:,} parts once its references are inlined",
                hint="use each definition fewer times, or nest them less",
            )
        if isinstance(schema, bool):
            return schema
        made = {
            name: self._inside(name, value)
            for name, value in schema.items()
            if name not in _DEFINITIONS
        }
        reference = made.get("$ref")
        if reference is None or reference in self.kept:
            return made
        del made["$ref"]
        return _together(self.copy(resolve(self.root, reference)), made)

    def _inside(self, name: str, value: Any) -> Any:
        """Copy the value of a keyword, the schemas in it with their references replaced."""
        if name not in KEYWORDS or not KEYWORDS[name].inside(value):
            return value
        if isinstance(value, list):
            return [self.copy(each) for each in value]
        if any(way == "" for way, _ in KEYWORDS[name].inside(value)):
            return self.copy(value)
        return {key: self.copy(each) for key, each in value.items()}


def _together(target: Any, beside: Dict[str, Any]) -> Any:
    """Put what stood beside a reference together with what it pointed to."""
    if not beside:
        return target
    if not any(name in KEYWORDS for name in beside) and isinstance(target, dict):
        return {**target, **beside}
    return {"allOf": [target], **beside} if "allOf" not in beside else {"allOf": [target, beside]}


def _is_definition(reference: str) -> bool:
    steps = reference.split("/")
    return len(steps) == 3 and steps[1] in _DEFINITIONS


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _circular(root: Any) -> Set[str]:
    """Give the references that can be reached from what they point to."""
    reached: Dict[str, Set[str]] = {}
    open_ones = _references_in(root, root)
    while open_ones:
        reference = open_ones.pop()
        if reference not in reached:
            reached[reference] = set(_references_in(root, resolve(root, reference)))
            open_ones.extend(reached[reference])
    return {reference for reference in reached if reference in _closure(reached, reference)}


def _closure(reached: Mapping[str, Set[str]], start: str) -> Set[str]:
    found: Set[str] = set()
    open_ones = list(reached[start])
    while open_ones:
        reference = open_ones.pop()
        if reference not in found:
            found.add(reference)
            open_ones.extend(reached[reference])
    return found


def _references_in(root: Any, schema: Any) -> List[str]:
    """Give the references anywhere inside a schema, its definitions aside."""
    found: List[str] = []
    open_ones: List[Tuple[str, Any]] = [("", schema)]
    while open_ones:
        _, inner = open_ones.pop()
        if isinstance(inner, bool):
            continue
        if "$ref" in inner:
            found.append(inner["$ref"])
        open_ones.extend(
            pair for pair in schemas_in(inner) if pair[0].split("/")[1] not in _DEFINITIONS
        )
    return found
