"""Lazy imports: names of packages (PEP 562), modules, and parts of providers.

A plain chat needs only a fraction of this package. The other modules are named in strings, and
imported on first use, so that a script starts quickly. An import statement inside a function would
have the same effect, but readers of the module would not see the dependency. The test of the
package's layers (tests/project/test_layers.py) reads these names like import statements.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Generic,
    List,
    Mapping,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
)
from typing import overload as _overload

T = TypeVar("T")


class LazyModule:
    """A module that is imported when one of its names is first used.

    The module that uses it also has an import statement for type checkers::

        if TYPE_CHECKING:
            from localproviders import structured
        else:
            structured = LazyModule("localproviders.structured")

    Args:
        name: Dotted name of the module.
    """

    #: `ABCMeta` reads this name from every attribute of a new class. If it were missing here,
    #: `__getattr__` would import the module of a class attribute that is a lazy module.
    __isabstractmethod__ = False

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        # The module is not stored here: if it was imported before, `import_module` only looks it up
        # in a dictionary.
        return getattr(import_module(self._name), name)


if TYPE_CHECKING:
    from localproviders import _did_you_mean
else:
    # A plain import of the package imports nothing else; only an error needs this module.
    _did_you_mean = LazyModule("localproviders._did_you_mean")


class LazyPart(Generic[T]):
    """A part of a provider: an object that is created when it is first used.

    It is a descriptor without `__set__`: once created, the part is in the ``__dict__`` of the
    provider, where Python finds it without calling the descriptor.

    Args:
        path: Dotted name of the module and, after a colon, name of the class, or of the function
            that makes the part.
        needs: Names of attributes of the provider. Their values are the arguments.
    """

    def __init__(self, path: str, *needs: str) -> None:
        self._module, _, self._class = path.partition(":")
        self._needs = needs
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        # The annotation is only for type checkers. It is removed, because it contains names that
        # are not imported, and `typing.get_type_hints` would fail on these names.
        getattr(owner, "__annotations__", {}).pop(name, None)

    @_overload
    def __get__(self, provider: None, owner: Any = None) -> LazyPart[T]: ...
    @_overload
    def __get__(self, provider: object, owner: Any = None) -> T: ...

    def __get__(self, provider: Any, owner: Any = None) -> Union[LazyPart[T], T]:
        if provider is None:
            return self
        part = self.load()(*(getattr(provider, need) for need in self._needs))
        # `setdefault` is atomic: if several threads create a part, all use the one stored first.
        made: T = vars(provider).setdefault(self._name, part)
        return made

    def load(self) -> Type[T]:
        """Import the module of the part, and return the class or the function that makes it."""
        made: Type[T] = getattr(import_module(self._module), self._class)
        return made

    def of(self, provider: object) -> Union[T, None]:
        """Return the part of a provider if it was created before; otherwise None."""
        return vars(provider).get(self._name)


def lazy_names(
    package: str, names: Mapping[str, Sequence[str]], modules: Sequence[str] = ()
) -> Tuple[Callable[[str], Any], Callable[[], List[str]]]:
    """Return `__getattr__` and `__dir__` for the `__init__` of a package (PEP 562).

    Type checkers read the imports under `TYPE_CHECKING` in the same file. A test compares these
    imports and `names` with `__all__`.

    Args:
        package: Name of the package.
        names: The public names of the package: a mapping from each module to the names that it
            defines. If such a module belongs to the package, it becomes an attribute of the
            package, too.
        modules: Modules of the package that are themselves public names.
    """
    home = {name: module for module, defined in names.items() for name in defined}

    def look_up(name: str) -> Any:
        if name in modules or f"{package}.{name}" in names:
            return import_module(f"{package}.{name}")
        if name not in home:
            raise _did_you_mean.missing_name(package, name, home, sys._getframe(1))
        value = getattr(import_module(home[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> List[str]:
        return sorted({*vars(sys.modules[package]), *home, *modules})

    return look_up, list_names
