"""The base class of records: keywords, repr, dictionaries, copies and pickles."""

from __future__ import annotations

import base64
import copy
import dataclasses
import inspect
import json
import pickle
import threading
from array import array
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Optional, Tuple

import pytest

from localproviders import _frozen_dataclass
from localproviders._did_you_mean import did_you_mean
from localproviders._record import (
    CONTENT,
    RAW,
    Record,
    field,
    loads,
    loads_each,
    plain,
    record,
    size_of,
)
from tests.support.secrets import our_frames


@record
class Inner(Record):
    number: int = 0


@record
class Outer(Record):
    name: str
    optional: Optional[str] = None
    said: str = field(default="", metadata=CONTENT)
    inner: Inner = field(default_factory=Inner, metadata=loads(Inner.from_dict))
    several: Tuple[Inner, ...] = field(default=(), metadata=loads_each(Inner.from_dict))
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError("bad name")


_OUTER = Outer(
    name="n",
    said="private",
    inner=Inner(number=1),
    several=(Inner(), Inner(number=2)),
    raw={"a": 1},
)


def test_only_keywords_are_taken() -> None:
    with pytest.raises(TypeError):
        Inner(1)  # type: ignore[misc]  # the mistake under test


@pytest.mark.parametrize("fields", [{}, {"name": "n", "other": 1}])
def test_missing_and_unknown_keywords_are_a_type_error(fields: Dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Outer(**fields)


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _OUTER.name = "m"  # type: ignore[misc]  # the mistake under test


def test_a_repr_tells_sizes_of_content_and_leaves_out_defaults_and_raw() -> None:
    assert repr(_OUTER) == (
        "Outer(name='n', said=<7 characters>, inner=Inner(number=1), "
        "several=(Inner(), Inner(number=2)))"
    )


def test_a_dictionary_has_plain_types_without_defaults_and_raw() -> None:
    assert _OUTER.to_dict() == {
        "name": "n",
        "said": "private",
        "inner": {"number": 1},
        "several": [{}, {"number": 2}],
    }


def test_a_dictionary_comes_back_through_json() -> None:
    assert Outer.from_dict(json.loads(json.dumps(_OUTER.to_dict()))) == _OUTER


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "n", "optionl": 1}, "no field 'optionl'; did you mean 'optional'?"),
        ({"name": "n", "xyz": 1}, "no field 'xyz'"),
        ({"name": "n", "raw": {}}, "no field 'raw'"),
        ({}, "name"),
        ({"name": "bad"}, "bad name"),
        ({"name": "n", "inner": {"nummer": 1}}, "Inner has no field 'nummer'"),
    ],
)
def test_a_dictionary_that_does_not_fit_is_a_value_error(data: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        Outer.from_dict(data)
    assert words in str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_drops_the_raw_record(protocol: int) -> None:
    pickled = pickle.dumps(_OUTER.replace(raw={"a": "needle"}), protocol)
    assert b"needle" not in pickled
    twin = pickle.loads(pickled)
    assert twin == _OUTER
    assert twin.raw is None


def test_a_copy_with_changes_runs_the_checks_again() -> None:
    assert _OUTER.replace(name="m").name == "m"
    assert _OUTER.replace(name="m").raw == {"a": 1}
    with pytest.raises(ValueError, match="bad name"):
        _OUTER.replace(name="bad")
    for change in (_OUTER.replace, lambda **given: dataclasses.replace(_OUTER, **given)):
        with pytest.raises(TypeError, match=r"^Outer\(\) .* 'nmae'; did you mean 'name'\?$"):
            change(nmae="m")


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (None, None),
        (1.5, 1.5),
        ("x", "x"),
        (b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
        (bytearray(b"a"), "YQ=="),
        ((1, (2,)), [1, [2]]),
        ({1: (Inner(number=3),)}, {"1": [{"number": 3}]}),
        (frozenset([1]), [1]),
        (array("f", [1.0, 0.5]), [1.0, 0.5]),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-02T00:00:00+00:00"),
    ],
)
def test_a_value_becomes_plain(value: Any, made: Any) -> None:
    assert plain(value) == made
    assert type(plain(value)) is type(made)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "None"),
        ("abc", "<3 characters>"),
        (b"ab", "<2 bytes>"),
        ((1, 2), "<2 items>"),
        ({}, "<0 items>"),
        (5, "<hidden>"),
    ],
)
def test_a_size_tells_nothing_else(value: Any, said: str) -> None:
    assert size_of(value) == said


@pytest.mark.parametrize(
    ("word", "said"), [("temprature", "; did you mean 'temperature'?"), ("q", "")]
)
def test_the_nearest_word_is_named(word: str, said: str) -> None:
    assert did_you_mean(word, ["temperature", "top_p"]) == said


def test_what_contains_itself_is_refused_long_before_pythons_own_limit() -> None:
    circle: List[Any] = []
    circle.append({"again": circle})
    with pytest.raises(ValueError, match="contains itself"):
        plain(circle)


# --- as a dataclass -----------------------------------------------------------------------


def test_a_record_is_a_dataclass_to_whoever_asks() -> None:
    assert dataclasses.is_dataclass(Outer)
    assert [each.name for each in dataclasses.fields(Inner)] == ["number"]
    assert dataclasses.fields(Inner) is not dataclasses.fields(Outer)
    assert dataclasses.fields(Outer)[0] is dataclasses.fields(_OUTER)[0]
    assert dataclasses.asdict(Inner(number=2)) == {"number": 2}
    assert dataclasses.replace(_OUTER, name="m") == _OUTER.replace(name="m")


def test_its_signature_has_every_field_as_a_keyword() -> None:
    parameters = inspect.signature(Outer).parameters
    assert list(parameters) == ["name", "optional", "said", "inner", "several", "raw"]
    assert {each.kind for each in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert parameters["name"].default is inspect.Parameter.empty
    assert parameters["said"].default == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "missing 1 required"),
        ({"name": "n", "other": 1}, r"^Outer\(\) got an unexpected keyword 'other'$"),
        (
            {"name": "n", "optionl": 1},
            r"^Outer\(\) got .* 'optionl'; did you mean 'optional'\?$",
        ),
        ({"name": "n", "self": 1}, "self"),
    ],
)
def test_what_is_wrong_with_the_keywords_is_said(fields: Dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Outer(**fields)


def test_a_missing_field_is_missed_though_an_unknown_one_makes_up_for_it() -> None:
    with pytest.raises(TypeError):
        Outer(nmae="n")  # type: ignore[call-arg]  # the mistake under test


@pytest.mark.parametrize("fields", [{"name": "bad"}, {}, {"name": "n", "optionl": 1}])
def test_no_frame_of_a_refused_value_shows_its_content(fields: Dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        Outer(said="private", **fields)

    frames = [*our_frames(caught.value)]
    assert [frame.f_code.co_name for frame, _ in frames][:1] == ["__init__"]
    assert not [frame for frame, text in frames if "private" in text]


def test_a_call_compiles_nothing_and_a_signature_does(monkeypatch: pytest.MonkeyPatch) -> None:
    @record
    class Fresh(Record):
        number: int = 0

    compiled: List[str] = []
    compile_it = _frozen_dataclass._LazyConstructor._compiled

    def count(self: Any) -> Any:
        compiled.append(self._cls.__name__)
        return compile_it(self)

    monkeypatch.setattr(_frozen_dataclass._LazyConstructor, "_compiled", count)
    assert Fresh(number=1).number == 1
    assert compiled == []
    assert [*inspect.signature(Fresh).parameters] == ["number"]
    assert compiled == ["Fresh"]


@record
class Many(Record):
    """A value with more fields than those that are set one by one."""

    value: int
    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0
    e: Inner = field(default_factory=Inner)
    f: int = 0
    g: int = 0
    h: int = 0


def _set_kept(value: Any, number: int) -> None:
    object.__setattr__(value, "kept", number)


class Few(Inner):
    """A subclass that keeps a field in another place."""

    number: Any = property(lambda self: self.kept, _set_kept)


class ManyInAnotherPlace(Many):
    a: Any = property(lambda self: self.kept, _set_kept)


def test_the_fields_have_their_order_whatever_the_order_of_the_arguments() -> None:
    names = [each.name for each in dataclasses.fields(Many)]
    first, second = Many(h=1, value=2), Many(value=2, h=1)
    assert [*vars(first)] == [*vars(second)] == names
    assert pickle.dumps(first) == pickle.dumps(second)
    outer = Outer(several=(), name="n")
    assert [*vars(outer)] == [each.name for each in dataclasses.fields(Outer)]


def test_a_field_may_have_the_name_value() -> None:
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'value'"):
        Many(a=1)  # type: ignore[call-arg]  # the mistake under test
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'name'"):
        Outer(said="x")  # type: ignore[call-arg]  # the mistake under test


def test_a_subclass_may_keep_a_field_in_another_place() -> None:
    assert (Few(number=3).number, Few(number=3).kept) == (3, 3)
    assert (ManyInAnotherPlace(value=1, a=4).a, ManyInAnotherPlace(value=1, a=4).kept) == (4, 4)


def test_a_copy_of_what_a_constructor_wraps_is_made() -> None:
    wrapped = inspect.unwrap(Many.__init__)
    assert copy.copy(wrapped).__name__ == "__init__"


def test_a_signature_does_not_wait_for_that_of_another_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a lock that all classes share, a child process could wait for it for ever."""

    @record
    class Slow(Record):
        number: int = 0

    compiles, goes_on = threading.Event(), threading.Event()
    compile_it = _frozen_dataclass._LazyConstructor._compiled

    def wait(self: Any) -> Any:
        if self._cls is Slow:
            compiles.set()
            assert goes_on.wait(30)
        return compile_it(self)

    monkeypatch.setattr(_frozen_dataclass._LazyConstructor, "_compiled", wait)
    thread = threading.Thread(target=inspect.signature, args=(Slow,))
    thread.start()
    try:
        assert compiles.wait(30)
        other = threading.Thread(target=inspect.signature, args=(Inner,), daemon=True)
        other.start()
        other.join(5)
        assert not other.is_alive()
    finally:
        goes_on.set()
        thread.join()


def test_a_made_default_is_made_anew_each_time() -> None:
    first, second = Outer(name="n"), Outer(name="n")
    assert first.inner == second.inner
    assert first.inner is not second.inner


def test_equality_and_hash_leave_out_what_is_not_compared() -> None:
    assert Outer(name="n", raw={"a": 1}) == Outer(name="n", raw=None)
    assert hash(Outer(name="n", raw={"a": 1})) == hash(Outer(name="n"))
    assert Outer(name="n") != Outer(name="m")
    assert Inner() != 0


def test_a_field_cannot_be_deleted() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        del _OUTER.name


@dataclasses.dataclass(frozen=True)
class Dataclass(Inner):
    """A dataclass of a user that extends a record."""

    extra: int = 3


class Subclass(Inner):
    """A class of a user that extends a record and has another constructor."""

    def __init__(self, number: int) -> None:
        object.__setattr__(self, "beside", "something of its own")
        super().__init__(number=number)


def test_a_dataclass_may_derive_from_a_record() -> None:
    made = Dataclass(number=1, extra=4)
    assert made.to_dict() == {"number": 1, "extra": 4}
    assert repr(Dataclass(extra=5)).endswith("extra=5)")
    assert Dataclass.from_dict(made.to_dict()) == made == pickle.loads(pickle.dumps(made))
    assert made.replace(extra=5) == Dataclass(number=1, extra=5)
    assert made != Inner(number=1)


def test_a_class_may_derive_from_a_record() -> None:
    assert Subclass(4).number == 4
    assert Subclass(4) == Subclass(4)
    assert Subclass(4) != Inner(number=4)
    assert list(inspect.signature(Subclass).parameters) == ["number"]
    assert pickle.loads(pickle.dumps(Subclass(4))) == Subclass(4)


def test_threads_that_ask_first_get_the_same_fields() -> None:
    @record
    class Fresh(Record):
        number: int = 0

    start = threading.Barrier(8)
    found: List[Any] = []

    def ask() -> None:
        start.wait(10)
        found.append(dataclasses.fields(Fresh)[0])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len({id(each) for each in found}) == 1
