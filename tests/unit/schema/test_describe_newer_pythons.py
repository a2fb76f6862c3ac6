"""Annotations of newer Pythons: built-in generics, `X | Y`, type aliases, odd keys."""

from __future__ import annotations

import sys
import typing
from typing import Any, Generic, List, NewType, Optional, TypeVar

import pytest
import typing_extensions
from typing_extensions import TypedDict

from localproviders.errors import ConfigurationError
from localproviders.schema import build, schema_of, tool_from

_Odd = TypedDict("_Odd", {"two words": int, "class": Optional[str]}, total=False)
_T = TypeVar("_T")
_Id = NewType("_Id", NewType("_Inner", str))  # type: ignore[valid-newtype]  # two levels


class _Box(Generic[_T]):
    what: _T


@pytest.mark.skipif(sys.version_info < (3, 9), reason="list[int] needs Python 3.9")
@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("list[int]", "List[int]"),
        ("dict[str, list[int]]", "Dict[str, List[int]]"),
        ("tuple[int, ...]", "Tuple[int, ...]"),
        ("set[str]", "Set[str]"),
        ("frozenset[str]", "FrozenSet[str]"),
    ],
)
def test_builtin_generics_mean_the_same(text: str, same: str) -> None:
    assert schema_of(eval(text)) == schema_of(eval(same, vars(typing)))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="int | None needs Python 3.10")
def test_a_union_with_a_bar_means_the_same() -> None:
    for text, same in (
        ("int | None", Optional[int]),
        ("list[int] | str", typing.Union[List[int], str]),
    ):
        assert schema_of(eval(text)) == schema_of(same)


@pytest.mark.skipif(sys.version_info >= (3, 9), reason="Python 3.9 has list[int]")
def test_an_annotation_of_a_newer_python_is_an_error_that_says_how_to_write_it() -> None:
    def newer(x: list[int]) -> None: ...

    with pytest.raises(ConfigurationError) as caught:
        tool_from(newer)
    assert "newer(): parameter 'x': the annotation cannot be resolved" in str(caught.value)
    assert "List[str] before 3.9" in str(caught.value)


def test_an_alias_stands_for_its_type() -> None:
    alias = typing_extensions.TypeAliasType("alias", List[int])
    assert schema_of(alias) == schema_of(List[int])
    assert schema_of(_Id) == {"type": "string"}


def test_keys_that_are_no_names_are_keys_all_the_same() -> None:
    assert build(_Odd, {"two words": 1.0}) == {"two words": 1}
    with pytest.raises(ValueError, match=r'answer\["two words"\]: is "x", and must be an integer'):
        build(_Odd, {"two words": "x"})


@pytest.mark.parametrize(
    "annotation", [_T, [int], _Box[int], typing.Callable[[], int], typing.Type[int]]
)
def test_what_has_no_form_is_refused_by_name(annotation: Any) -> None:
    with pytest.raises(ConfigurationError, match="has no form in JSON that is supported"):
        schema_of(annotation)
