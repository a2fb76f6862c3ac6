"""A large body is parsed with the same result as a small one, for any JSON."""

from __future__ import annotations

import json
import sys
from array import array
from typing import Any, Iterator

import pytest

from localproviders._http import bodies
from localproviders._http.bodies import parse_body
from localproviders._http.framing import parse_json
from localproviders.errors import ProviderError

_DEPTH = 100
_PAD = ["x" * 20_000]
_ROWS = [[0.1 * number for number in range(400)] for _ in range(8)]

_LONG_ROW = json.dumps(_ROWS[0])

_GOOD = {
    "a text": '"{}"',
    "rows of numbers": json.dumps(_ROWS),
    "numbers and texts": json.dumps([[1, "two", 3.5, None, True, {}], [], [[]], [1]]),
    "great numbers": "[1e308, 1e308, 1.5, -1e308]",
    "a whole number past every float": f"[{'7' * 380}, 1.5]",
    "half a surrogate": r'["\ud83d", "\ud83d\ude00", "\\ud83d"]',
    "deep": "[" * (_DEPTH - 1) + "]" * (_DEPTH - 1),
    "brackets in a text": json.dumps("[" * 200),
    "a row in a text": json.dumps(f"see {_LONG_ROW}"),
    "a row in a text, behind a mark of escape": json.dumps(f"see \\\\{_LONG_ROW} and {_LONG_ROW}"),
    "a row in a name": json.dumps({_LONG_ROW: [_LONG_ROW]}),
    "a row with a text in it": f'[{_LONG_ROW[1:-1]}, "]"]',
    "a row with a row in it": f"[{_LONG_ROW[1:-1]}, {_LONG_ROW}]",
    "what stands in a row's place": f'[{{"{bodies._MARKER_KEY}": 0}}, {_LONG_ROW}]',
    "the same with an escape": f'[{{"\\u0070{bodies._MARKER_KEY[1:]}": 0}}, {_LONG_ROW}]',
    "the same for no row": f'[{{"\\u0070{bodies._MARKER_KEY[1:]}": 9}}, {_LONG_ROW}]',
}
_BAD = {
    "infinite in a row": "[[0.5, 1e999]]",
    "infinite in an object": '[{"a": -1e999}]',
    "infinite beside a text": '["a", 1e999]',
    "infinite alone": "1e999",
    "two infinities": "[1e999, -1e999]",
    "NaN": "[0.5, NaN]",
    "Infinity": "[0.5, Infinity]",
    "401 digits": f"[{'7' * 401}]",
    "too deep": "[" * _DEPTH + "]" * _DEPTH,
    "much too deep": "[" * 100_000,
    "too deep by objects": '{"a":' * _DEPTH + "1" + "}" * _DEPTH,
    "cut": "[0.5, ",
    "rest": "[0.5]]",
    "a row that goes deeper": f"[{_LONG_ROW[1:-1]}, {'[' * 100_000}",
    "a row that goes deeper behind a text": f'[{_LONG_ROW[1:-1]}, "]", {"[" * 100_000}',
    "a row of something else": f"[{_LONG_ROW[1:-1]}, 0.5 0.5]",
}


def _padded(text: str) -> str:
    return f'{{"it": {text}, "pad": {json.dumps(_PAD)}}}'


@pytest.mark.parametrize("text", _GOOD.values(), ids=_GOOD)
def test_a_good_body_gives_what_a_record_of_the_same_text_gives(text: str) -> None:
    expected = parse_json(_padded(text), _DEPTH)
    found = parse_body(_padded(text), _DEPTH)

    assert _narrowed(found) == _narrowed(expected)


def _narrowed(value: Any) -> Any:
    """Round lists of numbers to 32 bits, if they fit."""
    if isinstance(value, dict):
        return {name: _narrowed(item) for name, item in value.items()}
    if not isinstance(value, list):
        return value
    try:
        return array("f", value)
    except (TypeError, OverflowError):
        return [_narrowed(item) for item in value]


@pytest.mark.parametrize("text", _BAD.values(), ids=_BAD)
def test_a_bad_body_is_refused_in_the_same_words(text: str) -> None:
    with pytest.raises(ProviderError) as expected:
        parse_json(_padded(text), _DEPTH)
    with pytest.raises(ProviderError) as found:
        parse_body(_padded(text), _DEPTH)

    assert (type(found.value), found.value.message) == (
        type(expected.value),
        expected.value.message,
    )


@pytest.mark.parametrize("name", ["embeddings", "data"])
def test_rows_come_packed_where_that_is_asked_for(name: str) -> None:
    rows = _ROWS if name == "embeddings" else [{"index": 0, "embedding": row} for row in _ROWS]
    found = parse_body(json.dumps({name: rows}), _DEPTH)[name]
    vectors = found if name == "embeddings" else [item["embedding"] for item in found]

    assert vectors == [array("f", row) for row in _ROWS]
    assert all(isinstance(vector, array) for vector in vectors)


@pytest.mark.parametrize("end", ["", "\n", " \t\r\n"])
def test_the_objects_of_a_body_are_visited_once(end: str) -> None:
    """A second parse would not find the lists that stand for the rows."""
    seen = []
    parse_json(f'{{"a": {{"b": 1}}}}{end}', _DEPTH, object_hook=lambda each: seen.append(each))
    assert len(seen) == 2

    found = parse_body(json.dumps({"embeddings": _ROWS}) + end, _DEPTH)["embeddings"]
    assert all(isinstance(vector, array) for vector in found)


@pytest.mark.parametrize("rest", ["x", "{}", " \n 1", "\u00a0"])
def test_text_after_the_value_is_refused(rest: str) -> None:
    seen = []
    with pytest.raises(ProviderError, match="Extra data"):
        parse_json(f'{{"a": 1}}{rest}', _DEPTH, object_hook=lambda each: seen.append(each))
    assert len(seen) == 1


@pytest.mark.parametrize("word", ["true", "false"])
@pytest.mark.parametrize("at", [0, 1, 399])
def test_a_row_with_true_or_false_stays_a_list(word: str, at: int) -> None:
    values = list(map(str, _ROWS[0]))
    values[at] = word
    text = f"[{_LONG_ROW}, [{', '.join(values)}]]"
    good, bad = parse_body(text, _DEPTH)

    assert isinstance(good, array)
    assert bad == json.loads(text)[1]
    assert isinstance(bad[at], bool)


@pytest.mark.parametrize("length", [1, 2, 400])
@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_not_packed(value: bool, length: int) -> None:
    with pytest.raises(ValueError, match="not a list of numbers"):
        bodies.pack([0.5] * (length - 1) + [value])


@pytest.fixture
def unlimited() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("unlimited")
def test_a_program_without_a_limit_to_its_stack_survives_a_deep_body() -> None:
    with pytest.raises(ProviderError, match="nested deeper"):
        parse_body("[" * 1_000_000, _DEPTH)
