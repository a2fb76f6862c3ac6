"""Dictionaries and lists in records cannot be changed, have a hash, and are otherwise normal."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from array import array
from collections import OrderedDict
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import pytest

from localproviders._record import FrozenDict, FrozenList, frozen, hash_of, thawed

_CONTENT: Dict[str, Any] = {"a": 1, "b": [1, {"c": (2, None)}], "d": {"e": []}}
_FROZEN: FrozenDict[str, Any] = FrozenDict(_CONTENT)

_CHANGES: Dict[str, Callable[[Any], Any]] = {
    "set": lambda it: it.__setitem__("a", 2),
    "delete": lambda it: it.__delitem__("a"),
    "update": lambda it: it.update(a=2),
    "or": lambda it: it.__ior__({"a": 2}),
    "setdefault": lambda it: it.setdefault("z", 2),
    "pop": lambda it: it.pop("a"),
    "popitem": lambda it: it.popitem(),
    "clear": lambda it: it.clear(),
}


@pytest.mark.parametrize("change", _CHANGES)
def test_a_change_is_refused_and_the_error_says_what_to_do_instead(change: str) -> None:
    with pytest.raises(TypeError, match=r"make a changed copy.*replace\(\.\.\.\)"):
        _CHANGES[change](_FROZEN)
    assert _FROZEN == _CONTENT


def test_it_equals_a_dict_and_reads_as_one() -> None:
    assert _FROZEN == _CONTENT
    assert repr(_FROZEN) == repr(_CONTENT)
    assert {**_FROZEN, "a": 2} == {**_CONTENT, "a": 2}
    assert type(_FROZEN.copy()) is dict


_SAME: List[Tuple[Any, Any]] = [
    (1, True),
    (1, 1.0),
    (0, False),
    ([1, 2], [True, 2.0]),
    ({}, FrozenDict()),
    ({"x": 1, "y": 2}, {"y": 2, "x": 1}),
    ({"x": 1}, OrderedDict(x=1)),
    ({1: "x"}, {True: "x"}),
    ([{"x": []}], [FrozenDict(x=[])]),
    ({1, 2}, frozenset((1, 2))),
    (bytearray(b"x"), b"x"),
    ((1, [2]), (1, [2])),
    (((), frozenset()), ((), set())),
]


@pytest.mark.parametrize(("one", "other"), _SAME)
def test_what_is_equal_has_the_same_hash(one: Any, other: Any) -> None:
    assert one == other
    assert hash_of(one) == hash_of(other)
    assert hash(FrozenDict(k=one)) == hash(FrozenDict(k=other))


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": [1]}, {"a": {"a": 1}}, {}])
def test_what_differs_has_most_probably_another_hash(other: Dict[str, Any]) -> None:
    assert hash(FrozenDict(other)) != hash(FrozenDict(a=1))


def test_what_can_never_have_a_hash_says_so() -> None:
    with pytest.raises(TypeError, match=r"unhashable type: 'array\.array'"):
        hash(FrozenDict(x=[array("f")]))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_pickles(protocol: int) -> None:
    found = pickle.loads(pickle.dumps(_FROZEN, protocol))
    assert found == _FROZEN
    assert type(found) is FrozenDict


def test_it_copies() -> None:
    for found in (copy.copy(_FROZEN), copy.deepcopy(_FROZEN)):
        assert found == _FROZEN
        assert type(found) is FrozenDict
    assert copy.deepcopy(_FROZEN)["b"] is not _FROZEN["b"]


def test_json_takes_it() -> None:
    assert json.loads(json.dumps(FrozenDict(a=[FrozenDict(b=1)]))) == {"a": [{"b": 1}]}


@dataclasses.dataclass(frozen=True)
class _Holder:
    it: FrozenDict[str, Any]


def test_dataclasses_take_it() -> None:
    holder = _Holder(_FROZEN)
    assert dataclasses.asdict(holder) == {"it": _CONTENT}
    assert dataclasses.astuple(holder) == (_CONTENT,)
    assert dataclasses.replace(holder, it=FrozenDict()).it == {}


# --- lists, and all levels ------------------------------------------------------------------

_LIST_CHANGES: Dict[str, Callable[[Any], Any]] = {
    "set": lambda it: it.__setitem__(0, 2),
    "set a slice": lambda it: it.__setitem__(slice(0, 1), [2]),
    "delete": lambda it: it.__delitem__(0),
    "add": lambda it: it.__iadd__([2]),
    "multiply": lambda it: it.__imul__(2),
    "append": lambda it: it.append(2),
    "extend": lambda it: it.extend([2]),
    "insert": lambda it: it.insert(0, 2),
    "pop": lambda it: it.pop(),
    "remove": lambda it: it.remove(1),
    "clear": lambda it: it.clear(),
    "reverse": lambda it: it.reverse(),
    "sort": lambda it: it.sort(),
}


@pytest.mark.parametrize("change", _LIST_CHANGES)
def test_a_change_of_a_list_is_refused_too(change: str) -> None:
    content = [1, [2], {"a": 3}]
    found = frozen(content)
    with pytest.raises(TypeError, match=r"this list .* make a changed copy with \[\*it, item\]"):
        _LIST_CHANGES[change](found)
    assert found == content
    assert type(found) is FrozenList


def test_no_method_that_changes_a_list_or_a_dictionary_is_forgotten() -> None:
    reads = {"copy", "count", "index", "fromkeys", "get", "items", "keys", "values"}
    for frozen_class, plain in ((FrozenList, list), (FrozenDict, dict)):
        changing = {name for name in vars(plain) if not name.startswith("_")} - reads
        assert {name for name in changing if name not in vars(frozen_class)} == set()


def test_what_is_frozen_equals_what_it_was_made_of_and_reads_like_it() -> None:
    content = {**_CONTENT, "f": ({"g": [1.5]},), "h": OrderedDict(i=None)}
    found = frozen(content)
    assert found == content
    assert content == found
    assert repr(found["b"]) == repr(content["b"])
    assert json.dumps(found, sort_keys=True) == json.dumps(content, sort_keys=True)
    assert json.dumps(found["b"], indent=1) == json.dumps(content["b"], indent=1)
    assert found["b"] + [1] == content["b"] + [1]
    assert isinstance(hash(found), int)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_frozen_pickles_and_copies_on_all_levels(protocol: int) -> None:
    content = frozen(_CONTENT)
    for found in (
        pickle.loads(pickle.dumps(content, protocol)),
        copy.deepcopy(content),
        dataclasses.asdict(_Holder(content))["it"],
    ):
        assert found == content
        kinds = (type(found), type(found["b"]), type(found["b"][1]), type(found["d"]["e"]))
        assert kinds == (FrozenDict, FrozenList, FrozenDict, FrozenList)


def test_thawing_gives_plain_dictionaries_and_lists() -> None:
    found = thawed(frozen(_CONTENT))
    assert found == _CONTENT
    kinds = (type(found), type(found["b"]), type(found["b"][1]), type(found["d"]["e"]))
    assert kinds == (dict, list, dict, list)


def test_what_contains_itself_stays_as_it_is() -> None:
    content: Dict[str, Any] = {"a": []}
    content["a"].extend([content, content])
    assert frozen(content)["a"][0] is content


def test_what_is_shared_is_frozen_once() -> None:
    content: Any = []
    for _ in range(90):
        content = [content, content]
    found = frozen(content)
    assert found[0] is found[1]
    assert type(found[0][0]) is FrozenList


def test_what_is_nested_very_deeply_stays_as_it_is() -> None:
    content: Any = []
    for _ in range(10_000):
        content = [content]
    inner = frozen(content)
    for _ in range(101):
        inner = inner[0]
    assert type(inner) is list


def test_a_mapping_that_makes_its_values_at_each_look_is_copied() -> None:
    class Fresh(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            return {"name": name}

        def __iter__(self) -> Iterator[str]:
            return iter("abc")

        def __len__(self) -> int:
            return 3

    assert frozen(Fresh()) == {name: {"name": name} for name in "abc"}
