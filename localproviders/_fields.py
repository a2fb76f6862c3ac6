"""What makes a class a frozen dataclass, without running `dataclasses` when it is imported.

`dataclasses` writes five functions for each class and compiles them: for the values of this
package that was 30 ms of a first call, and loading it (with `inspect` and `ast`) another 7. So
a record's own functions are written here, once, and work from a table of its fields. What
only others ask for (`dataclasses.fields`, a signature, the words of a `TypeError`) comes from
a twin: a class with the same fields that `dataclasses` makes when somebody asks.
"""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Tuple

#: Stands where a field has no default, and for a value that was not given.
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()

_PLAIN: Mapping[str, Any] = MappingProxyType({})


class Field:
    """A field's default and facts: what `dataclasses.field` takes, as far as it is used here."""

    __slots__ = ("compare", "default", "default_factory", "init", "metadata", "name")

    def __init__(
        self,
        *,
        default: Any = MISSING,
        default_factory: Any = MISSING,
        compare: bool = True,
        metadata: Mapping[str, Any] = _PLAIN,
    ) -> None:
        self.name = ""
        self.init = True
        self.default = default
        self.default_factory = default_factory
        self.compare = compare
        self.metadata = metadata

    def value(self) -> Any:
        """Give the default, or make it; MISSING where there is none."""
        return self.default if self.default_factory is MISSING else self.default_factory()


class Shape:
    """The fields of one record. It stands on the class where `dataclasses` looks for them.

    Args:
        cls: The class; its annotations and class attributes say which fields it adds to those
            of the record that it derives from.
    """

    def __init__(self, cls: type) -> None:
        above = next((s for s in map(_stands_on, cls.__mro__) if isinstance(s, Shape)), None)
        own: Mapping[str, Any] = vars(cls).get("__annotations__", _PLAIN)
        self.cls = cls
        self.types: Dict[str, Any] = {**above.types, **own} if above else dict(own)
        self.fields: Dict[str, Field] = dict(above.fields) if above else {}
        self.fields.update((name, _taken(cls, name)) for name in own)
        self._twins: List[type] = []

    @property
    def twin(self) -> Any:
        """The same class as `dataclasses` makes it. Threads at once get the same one."""
        if not self._twins:
            self._twins.append(_twin_of(self))
        return self._twins[0]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.twin.__dataclass_fields__


class _Parameters:
    """What `dataclasses` notes of a class: that it is frozen, for one."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self._shape.twin.__dataclass_params__


class _Signature:
    """What `inspect` and `help` show; nothing where a subclass is made in another way."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if owner is None or owner.__init__ is not self._shape.cls.__init__:  # type: ignore[misc]  # compared only
            return None
        return self._shape.twin.__signature__


def make(cls: type) -> None:
    """Give a class what a frozen dataclass with keywords only has."""
    shape = Shape(cls)
    given = {
        "__dataclass_fields__": shape,
        "__dataclass_params__": _Parameters(shape),
        "__signature__": _Signature(shape),
        "__match_args__": (),
        **_init(shape),
        **_comparing(shape),
        **_frozen(shape),
    }
    for name, value in given.items():
        setattr(cls, name, value)


def fields_of(cls: type) -> Mapping[str, Field]:
    """Give the fields of a record, or of somebody's dataclass that derives from one."""
    found = next(filter(None, map(_stands_on, cls.__mro__)))
    if isinstance(found, Shape):
        return found.fields
    import dataclasses  # loaded by whoever made this class

    return {each.name: _ours(each, dataclasses.MISSING) for each in dataclasses.fields(cls)}


def _stands_on(cls: type) -> Any:
    return vars(cls).get("__dataclass_fields__")


def _taken(cls: type, name: str) -> Field:
    """Take a field off the class, and leave there what a dataclass has there."""
    found = vars(cls).get(name, MISSING)
    if not isinstance(found, Field):
        found = Field(default=found)
    elif found.default is MISSING:
        delattr(cls, name)
    else:
        setattr(cls, name, found.default)
    found.name = name
    return found


def _init(shape: Shape) -> Dict[str, Any]:
    """Give `__init__`: one `update` of the defaults and one of what was given."""
    defaults = {name: field.default for name, field in shape.fields.items()}
    missing = [(n, f.default_factory) for n, f in shape.fields.items() if f.default is MISSING]
    checked = hasattr(shape.cls, "__post_init__")

    def __init__(self: Any, *args: Any, **fields: Any) -> None:  # noqa: N807  # it becomes one
        state = self.__dict__
        state.update(defaults)
        state.update(fields)
        if args or len(state) != len(defaults):
            shape.twin(*args, **fields)  # raises in Python's own words
        for name, make in missing:
            if state[name] is MISSING:
                if make is MISSING:
                    shape.twin(**fields)
                state[name] = make()
        if checked:
            self.__post_init__()

    return {"__init__": __init__}


def _comparing(shape: Shape) -> Dict[str, Any]:
    """Give equality and the hash, of the fields that count."""
    names = tuple(name for name, field in shape.fields.items() if field.compare)

    def values(value: Any) -> Tuple[Any, ...]:
        return tuple([getattr(value, name) for name in names])

    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807  # as above
        return (
            values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented
        )

    def __hash__(self: Any) -> int:  # noqa: N807  # as above
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _frozen(shape: Shape) -> Dict[str, Any]:
    """Give what refuses a change, as a frozen dataclass does."""
    cls: Any = shape.cls
    fields = shape.fields

    def refuse(self: Any, name: str, what: str) -> None:
        if type(self) is cls or name in fields:
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot {what} field {name!r}")

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807  # as above
        refuse(self, name, "assign to")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807  # as above
        refuse(self, name, "delete")
        super(cls, self).__delattr__(name)

    return {"__setattr__": __setattr__, "__delattr__": __delattr__}


# --- for who asks what only `dataclasses` knows -------------------------------------------


def _twin_of(shape: Shape) -> Any:
    """Make a dataclass with the fields and the names of a record, and nothing else of it."""
    import dataclasses
    import inspect

    cls = shape.cls
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    fields = {name: _theirs(field, dataclasses.field) for name, field in shape.fields.items()}
    plain = type(cls.__name__, (), {"__annotations__": shape.types, **fields, **names})
    more = {"kw_only": True} if sys.version_info >= (3, 10) else {}
    twin: Any = dataclasses.dataclass(frozen=True, repr=False, **more)(plain)
    given = inspect.signature(twin)
    keywords = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in given.parameters.values()
    ]
    twin.__signature__ = given.replace(parameters=keywords)
    return twin if more else _without_positions(twin)


def _without_positions(twin: Any) -> Any:
    """Refuse what Python below 3.10 would take by position."""
    init = twin.__init__

    def keywords_only(self: Any, *args: Any, **fields: Any) -> None:
        if args:
            raise TypeError(f"{twin.__name__} takes keyword arguments only")
        init(self, **fields)

    twin.__init__ = keywords_only
    return twin


def _theirs(field: Field, make: Any) -> Any:
    facts = {"default": field.default, "default_factory": field.default_factory}
    given = {name: value for name, value in facts.items() if value is not MISSING}
    return make(compare=field.compare, metadata=field.metadata, **given)


def _ours(field: Any, missing: Any) -> Field:
    found = Field(compare=field.compare, metadata=field.metadata)
    for name in ("name", "init", "default", "default_factory"):
        if getattr(field, name) is not missing:
            setattr(found, name, getattr(field, name))
    return found
