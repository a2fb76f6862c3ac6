"""Tests of `localproviders._frozen_dataclass`: a lazy class looks like any frozen dataclass."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import sys
import threading
import typing
from typing import Any, Callable, Dict, List, Optional, Type

import pytest

from localproviders._frozen_dataclass import Frozen, frozen_dataclass


def _as_it_is(_: Any, compiled: Callable[[], Any]) -> Any:
    return compiled()


class Eager:
    """The fields of the classes below."""

    name: str
    size: Optional[int] = None
    tags: List[str] = dataclasses.field(default_factory=list, metadata={"of": "tags"})

    def __post_init__(self) -> None:
        if self.size == 0:
            raise ValueError("the size is 0")


Standard: Any = dataclasses.dataclass(frozen=True, eq=False, repr=False)(
    type("Lazy", (), dict(vars(Eager), __qualname__="Lazy"))
)


def _lazy() -> Any:
    body = {"__qualname__": "Lazy", "__module__": __name__, **_body()}
    return frozen_dataclass(type("Lazy", (Frozen,), body), _as_it_is)


def _body() -> Dict[str, Any]:
    tags: Any = dataclasses.field(default_factory=list, metadata={"of": "tags"})
    kept = ("__annotations__", "__annotate_func__", "__doc__", "__post_init__")
    found = {name: vars(Eager)[name] for name in kept if name in vars(Eager)}
    return {**found, "size": None, "tags": tags}


Lazy = _lazy()


def test_the_constructor_is_compiled_at_the_first_use() -> None:
    cls = _lazy()
    assert not inspect.isfunction(vars(cls)["__init__"])
    made = cls("a", 3)
    assert (made.name, made.size, made.tags) == ("a", 3, [])
    assert inspect.isfunction(vars(cls)["__init__"])
    assert cls("b").tags is not made.tags


@pytest.mark.parametrize("used", [False, True])
def test_every_observer_sees_a_frozen_dataclass(used: bool) -> None:
    cls: Any = _lazy()
    if used:
        cls("a")
    is_dataclass: Any = dataclasses.is_dataclass
    assert is_dataclass(cls)
    assert [each.name for each in dataclasses.fields(cls)] == ["name", "size", "tags"]
    assert dataclasses.fields(cls)[2].metadata == {"of": "tags"}
    assert str(inspect.signature(cls)) == str(inspect.signature(Standard))
    assert str(inspect.signature(cls.__init__)) == str(inspect.signature(Standard.__init__))
    assert typing.get_type_hints(cls.__init__)["size"] == Optional[int]
    assert cls.__init__.__qualname__ == Standard.__init__.__qualname__
    assert dataclasses.asdict(cls("a")) == {"name": "a", "size": None, "tags": []}
    assert vars(dataclasses.replace(cls("a"), size=2))["size"] == 2
    assert cls.size is None
    assert cls.__doc__ == Eager.__doc__


@pytest.mark.parametrize(
    ("given", "named"),
    [((), {}), (("a", 1, [], 4), {}), ((), {"nam": "a"}), (("a",), {"name": "b"})],
)
def test_a_wrong_call_has_the_message_of_python(given: Any, named: Any) -> None:
    with pytest.raises(TypeError) as expected:
        Standard(*given, **named)
    with pytest.raises(TypeError) as found:
        _lazy()(*given, **named)
    assert str(found.value) == str(expected.value)


def test_the_checks_of_the_class_run() -> None:
    with pytest.raises(ValueError, match="the size is 0"):
        _lazy()("a", 0)


@pytest.mark.parametrize("name", ["name", "tags", "other"])
def test_a_value_refuses_changes_as_python_does(name: str) -> None:
    changes: List[Callable[[Any], None]] = [
        lambda value: setattr(value, name, 1),
        lambda value: delattr(value, name),
    ]
    for change in changes:
        with pytest.raises(dataclasses.FrozenInstanceError) as expected:
            change(Standard("a"))
        with pytest.raises(dataclasses.FrozenInstanceError) as found:
            change(Lazy("a"))
        assert str(found.value) == str(expected.value)


def test_a_subclass_that_is_no_dataclass_may_have_more_attributes() -> None:
    for base in (Standard, Lazy):
        made = type("Mine", (base,), {})("a")
        made.other = 1
        del made.other
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.name = "b"


def test_only_frozen_dataclasses_may_derive_from_it() -> None:
    for base in (Standard, Lazy):
        derived: Type[Any] = type("Mine", (base,), {"__annotations__": {"more": "int"}, "more": 1})
        made = dataclasses.dataclass(frozen=True)(derived)
        assert made("a", more=2).more == 2
        with pytest.raises(TypeError, match="cannot inherit non-frozen"):
            dataclasses.dataclass(type("Other", (base,), {}))


def test_a_class_may_derive_from_another_one() -> None:
    cls = _lazy()
    derived: Any = type("Mine", (cls,), {"__annotations__": {"more": "int"}, "more": 1})
    lazy: Any = frozen_dataclass(derived, _as_it_is)
    assert [each.name for each in dataclasses.fields(lazy)] == ["name", "size", "tags", "more"]
    assert lazy("a", more=2).more == 2
    assert cls("a").name == "a"
    for each in (cls, lazy):
        with pytest.raises(TypeError, match="cannot inherit non-frozen"):
            dataclasses.dataclass(type("Other", (each,), {}))


def test_a_constructor_that_the_class_defines_is_kept() -> None:
    def __init__(self: Any, word: str) -> None:  # noqa: N807  # it becomes a method
        object.__setattr__(self, "name", word.upper())

    cls: Any = frozen_dataclass(type("Mine", (Lazy,), {"__init__": __init__}), _as_it_is)
    assert cls("a").name == "A"


def test_values_are_copied_and_pickled() -> None:
    made = Lazy("a", 3, ["b"])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert vars(pickle.loads(pickle.dumps(made, protocol))) == vars(made)
    assert vars(copy.deepcopy(made)) == vars(made)


def test_threads_may_use_a_class_for_the_first_time_at_once() -> None:
    cls, made = _lazy(), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=lambda: made.append(cls("a"))) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(interval)
    assert [each.name for each in made] == ["a"] * 8
