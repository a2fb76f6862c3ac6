"""Doors of packages that load a room when a name of it is used, and not before (PEP 562)."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Callable, List, Mapping, Sequence, Tuple


def door(
    package: str, rooms: Mapping[str, Sequence[str]], modules: Sequence[str] = ()
) -> Tuple[Callable[[str], Any], Callable[[], List[str]]]:
    """Give `__getattr__` and `__dir__` for the `__init__` of a package.

    Checkers read the imports that stand beside it under `TYPE_CHECKING`; a test keeps both
    equal to `__all__`.

    Args:
        package: Name of the package.
        rooms: The names that it offers, by the module they live in. Modules of the package
            are there by their own names, too, as if they had been loaded.
        modules: Modules of the package that it offers as such.
    """
    home = {name: room for room, names in rooms.items() for name in names}

    def look_up(name: str) -> Any:
        if name in modules or f"{package}.{name}" in rooms:
            return import_module(f"{package}.{name}")
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> List[str]:
        return sorted({*vars(sys.modules[package]), *home, *modules})

    return look_up, names
