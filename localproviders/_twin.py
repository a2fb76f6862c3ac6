"""A record as `dataclasses` would have made it: for who asks what only that knows.

Loaded when somebody asks, because `dataclasses` takes longer to load than most of this package.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any, Dict

from localproviders._fields import MISSING, Field, Shape


def twin_of(shape: Shape) -> type:
    """Make a dataclass with the fields and the names of a record, and nothing else of it."""
    cls = shape.cls
    body = {name: made for name, field in shape.fields.items() for made in (_real(field),)}
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    plain = type(cls.__name__, (), {"__annotations__": shape.types, **body, **names})
    more = {"kw_only": True} if sys.version_info >= (3, 10) else {}
    twin: Any = dataclasses.dataclass(frozen=True, repr=False, **more)(plain)
    given = inspect.signature(twin).parameters.values()
    keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in given]
    twin.__signature__ = inspect.signature(twin).replace(parameters=keywords)
    return twin if more else _without_positions(twin)


def fields_in(cls: Any) -> Dict[str, Field]:
    """Give the fields of a dataclass as ours."""
    return {each.name: _ours(each) for each in dataclasses.fields(cls)}


def _without_positions(twin: Any) -> type:
    """Refuse what Python below 3.10 would take by position."""
    init = twin.__init__

    def keywords_only(self: Any, *args: Any, **fields: Any) -> None:
        if args:
            raise TypeError(f"{twin.__name__} takes keyword arguments only")
        init(self, **fields)

    twin.__init__ = keywords_only
    return twin  # type: ignore[no-any-return]  # it is the class that came in


def _real(field: Field) -> Any:
    facts: Dict[str, Any] = {"compare": field.compare, "metadata": field.metadata}
    for name in ("default", "default_factory"):
        if getattr(field, name) is not MISSING:
            facts[name] = getattr(field, name)
    return dataclasses.field(**facts)


def _ours(field: Any) -> Field:
    found = Field(compare=field.compare, metadata=field.metadata)
    for name in ("name", "init", "default", "default_factory"):
        if getattr(field, name) is not dataclasses.MISSING:
            setattr(found, name, getattr(field, name))
    return found
