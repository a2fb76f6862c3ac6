"""Frozen dataclasses whose constructors are made when they are first used.

By default, `dataclass` compiles up to six methods for each class. That would take most of the time
at the start of a script, which uses only a few of the classes that it imports.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, Mapping, Type, TypeVar, cast

T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform as dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        """Return a decorator that does nothing: only type checkers need the real one."""
        return lambda decorator: decorator


class Frozen:
    """The base class of frozen dataclasses. It refuses changes."""

    # Every subclass is a dataclass, but type checkers cannot know that here.
    __dataclass_fields__: ClassVar[Dict[str, Any]]

    if not TYPE_CHECKING:  # type checkers find changes themselves

        def __setattr__(self, name: str, value: Any) -> None:
            if self._has_fixed(name):
                raise FrozenInstanceError(f"cannot assign to field {name!r}")
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            if self._has_fixed(name):
                raise FrozenInstanceError(f"cannot delete field {name!r}")
            super().__delattr__(name)

    def _has_fixed(self, name: str) -> bool:
        # Instances of a subclass that is not a dataclass may have more attributes. This is so with
        # `dataclass` itself, too.
        return "__dataclass_fields__" in vars(type(self)) or name in self.__dataclass_fields__


#: A function that compiles the constructor that `dataclass` makes for a class.
Compile = Callable[[], Callable[..., None]]
#: A function that returns the constructor of a class. It receives the class and a function that
#: compiles the constructor of `dataclass`.
Make = Callable[[Any, Compile], Callable[..., None]]


def frozen_dataclass(cls: Type[T], make: Make, **options: Any) -> Type[T]:
    """Make a class a frozen dataclass whose constructor is made when it is first used.

    Args:
        cls: A subclass of `Frozen`. `dataclass` makes no equality, hash and repr for it, so it
            inherits them. If it defines its own constructor, that constructor is kept.
        make: A function that returns the constructor of the class.
        **options: Arguments of `dataclass`.
    """
    # With the argument ``frozen``, `dataclass` would compile the two methods of `Frozen` again.
    # Without this argument, `dataclass` accepts only base classes that are not frozen.
    _set_frozen(cls, False)
    made: Any = dataclass(init=False, eq=False, repr=False, **options)(cls)
    _set_frozen(made, True)
    if "__init__" not in vars(cls):
        made.__init__ = _LazyConstructor(made, make, options)
    return cast("Type[T]", made)


def _set_frozen(cls: Any, is_frozen: bool) -> None:
    for each in cls.__mro__:
        if "__dataclass_params__" in vars(each):
            each.__dataclass_params__.frozen = is_frozen


class _LazyConstructor:
    """A placeholder for the constructor of a class. It makes the constructor at first use."""

    def __init__(self, cls: Any, make: Make, options: Mapping[str, Any]) -> None:
        self._cls = cls
        self._make = make
        self._options = options

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        made = self._make(self._cls, self._compiled)
        self._cls.__init__ = made
        return made if instance is None else made.__get__(instance, owner)

    def _compiled(self) -> Callable[..., None]:
        """Return the constructor that `dataclass` compiles.

        It is compiled for a subclass, because `dataclass` can process a class only once. A subclass
        without fields of its own has the same constructor.
        """
        cls = self._cls
        # `dataclass` itself calls this method if a subclass has no docstring, because it reads the
        # signature. At that moment, this class is not marked as frozen.
        _set_frozen(cls, True)
        same = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
        subclass = type(cls)(cls.__name__, (cls,), same)
        made: Any = dataclass(frozen=True, eq=False, repr=False, **self._options)(subclass)
        fill: Callable[..., None] = made.__init__
        return fill
