"""The line of a key is right, or there is none."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Dict, Mapping, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as some

from localproviders.config.lines import lines_of

for _name in ("tomllib", "tomli"):
    try:
        _loads = import_module(_name).loads
        break
    except ImportError:
        continue


def lines(text: str) -> Dict[Tuple[str, ...], int]:
    return lines_of(text, _loads(text), _loads)


_TRICKY = r'''# locality = "comment"
a = """
locality = "any"
[limits]
# """
b = 'x = "y"' # c = 1
[ servers . "gpu.box" ] # [not.this]
endpoint = "http://[::1]:1/#x" # endpoint = 2
list = [ # [in.a.list]
  "]", {x = 1, y = [2]}, # z = 3
  """]
""",
]
inline = { "k e y" = '}', deep = { a.b = 1979-05-27 07:32:00 }, empty = {} }
"qu\u006fted" = 1_000
'lit.eral' = -inf
limits.total_s = 0x1F
[[ rows ]]
hidden = 1
[rows.sub]
hidden = 2
[[rows]]
[rows.more.deep]
hidden = 3
[after]
ends = """a"""""
too = "\"" # "
'''
_EXPECTED = {
    "a": 2, "b": 6, "servers": 7, "servers|gpu.box": 7, "servers|gpu.box|endpoint": 8,
    "servers|gpu.box|list": 9, "servers|gpu.box|inline": 14,
    "servers|gpu.box|inline|k e y": 14, "servers|gpu.box|inline|deep": 14,
    "servers|gpu.box|inline|deep|a": 14, "servers|gpu.box|inline|deep|a|b": 14,
    "servers|gpu.box|inline|empty": 14, "servers|gpu.box|quoted": 15,
    "servers|gpu.box|lit.eral": 16, "servers|gpu.box|limits": 17,
    "servers|gpu.box|limits|total_s": 17, "rows": 18, "after": 25, "after|ends": 26,
    "after|too": 27,
}  # fmt: skip


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_every_key_of_a_tricky_file_has_its_line(ends: str) -> None:
    found = lines(_TRICKY.replace("\n", ends))
    assert {"|".join(path): line for path, line in found.items()} == _EXPECTED


def test_where_the_scanner_and_the_parser_differ_there_is_no_line() -> None:
    assert lines_of("a = 1\n", {"a": 1, "b": 2}, _loads) == {}
    assert lines_of("a = 1\nb = 2\n", {"a": 1}, _loads) == {}
    assert lines_of("a = 1\na = 2\n", {"a": 2}, _loads) == {}
    assert lines_of("a = = 1\n", {"a": 1}, _loads) == {}


def test_a_key_of_very_many_parts_has_no_line_and_takes_no_time() -> None:
    assert lines(".".join("a" * 500) + " = 1") == {}


_WORDS = some.text(some.sampled_from("ab=[]{}.#'\"\\\n, "), max_size=6)
_SCALARS = some.one_of(_WORDS, some.integers(), some.booleans(), some.lists(_WORDS, max_size=2))
_TREES: Any = some.recursive(
    some.dictionaries(_WORDS, _SCALARS, max_size=3),
    lambda inner: some.dictionaries(_WORDS, some.one_of(_SCALARS, inner), max_size=3),
    max_leaves=8,
)


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _value(value: Any) -> str:
    if isinstance(value, str):
        long = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"""{long}"""' if "\n" in value else _quoted(value)
    if isinstance(value, list):
        return "[" + ",\n".join(map(_value, value)) + "]"
    return str(value).lower()


def _written(tree: Mapping[str, Any], above: Tuple[str, ...], out: Dict[Any, int]) -> str:
    """Write a tree as dotted keys, and note the line of each before it is written."""
    text = ""
    for name, value in tree.items():
        path = (*above, name)
        if isinstance(value, dict):
            text += _written(value, path, out)
        else:
            line = f"{'.'.join(map(_quoted, path))} = {_value(value)}\n"
            out[path] = line.count("\n")
            text += line
    return text


@given(_TREES)
def test_any_tree_that_is_written_out_has_all_its_lines(tree: Any) -> None:
    heights: Dict[Any, int] = {}
    text = _written(tree, (), heights)
    found, line = lines(text), 1
    for path, height in heights.items():
        assert found[path] == line
        line += height
