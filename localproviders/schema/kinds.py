"""One type of Python as JSON: what a value of it looks like, and how to make one."""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from localproviders.errors import ConfigurationError

#: Turns a JSON value that fits the schema into the Python value; the text is its path.
Make = Callable[[Any, str], Any]


class Kind(NamedTuple):
    """A type: the schema of its JSON, and the way from there to the Python value.

    Attributes:
        schema: The JSON Schema, without references.
        make: Takes a JSON value that fits the schema, and its path for the words of an
            error; gives the Python value, or raises a ValueError.
        hashable: Whether a value can be in a set.
    """

    schema: Dict[str, Any]
    make: Make
    hashable: bool = True

    def described(self, description: Optional[str]) -> Kind:
        """Give the same kind with these words for the model to read; None changes nothing."""
        if not description:
            return self
        return self._replace(schema={**self.schema, "description": description})


class Place(NamedTuple):
    """Where an annotation stands: in words for an error, and inside which classes.

    Attributes:
        words: Such as ``weather(): parameter 'city'``.
        inside: The classes around it, outermost first, so that a circle is seen.
    """

    words: str
    inside: Tuple[type, ...] = ()

    def enter(self, cls: type) -> Place:
        """Give the place inside a class.

        Raises:
            ConfigurationError: The class contains itself.
        """
        if cls in self.inside:
            road = " -> ".join(each.__name__ for each in (*self.inside, cls))
            raise self.refuse(
                f"{cls.__name__} contains itself ({road}), and references are inlined",
                "give nested levels types of their own, or pass a JSON Schema of yours",
            )
        return self._replace(inside=(*self.inside, cls))

    def within(self, words: str) -> Place:
        """Give a place within this one."""
        return self._replace(words=f"{self.words}: {words}")

    def refuse(self, why: str, hint: str) -> ConfigurationError:
        """Give the error that says what cannot be described here, and what to do."""
        return ConfigurationError(f"{self.words}: {why}", hint=hint)


def name_of(annotation: Any) -> str:
    """Give a type as a person writes it."""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        return annotation.__name__
    return repr(annotation).replace("typing.", "")


def _whole(value: Any, path: str) -> int:
    return int(value)


def _real(value: Any, path: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{path}: is a number too large for a float") from None


def as_it_is(value: Any, path: str) -> Any:
    """Give the JSON value itself."""
    return value


#: What needs no look inside.
PLAIN: Dict[Any, Kind] = {
    str: Kind({"type": "string"}, as_it_is),
    int: Kind({"type": "integer"}, _whole),
    float: Kind({"type": "number"}, _real),
    bool: Kind({"type": "boolean"}, as_it_is),
    type(None): Kind({"type": "null"}, as_it_is),
    None: Kind({"type": "null"}, as_it_is),
    Any: Kind({}, as_it_is, hashable=False),
    object: Kind({}, as_it_is, hashable=False),
}
