"""Bounds on the values and the depth of a JSON text, and checks of the clock during the parsing."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any, List, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localproviders._http import framing
from localproviders._http.bodies import parse_body
from localproviders._http.framing import (
    LineSplitter,
    NDJSONDecoder,
    SSEDecoder,
    Tally,
    WholeDecoder,
    parse_json,
    weigh,
)
from localproviders.errors import AnswerTooLargeError, LimitError, ProviderError

_DEPTH = 100


def _by_letter(text: str) -> Tuple[float, int]:
    """Return the weight of a text, counted letter by letter, and its greatest depth."""
    weight, depth, deepest = 0.0, 0, 0
    inside = escaped = False
    for letter in text:
        if inside:
            weight += 0.25 * (letter == "\\")
            inside = letter != '"' or escaped
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            inside = True
        else:
            weight += {",": 1, ":": 3, "{": 3, "[": 3}.get(letter, 0)
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(letter, 0)
            deepest = max(deepest, depth)
    return weight, deepest


_TEXTS = st.text('a"\\[]{},: ', max_size=12)
_JSON = st.recursive(
    st.none() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(_JSON, st.sampled_from([1, 2, 3, 5, 1000]), st.booleans())
@example(["\\" * 7, '\\"', "[", {"a": "\\\\"}], 3, False)
def test_a_text_weighs_the_same_however_it_is_sliced(value: Any, size: int, jumps: bool) -> None:
    text = json.dumps(value)
    weight, depth = _by_letter(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "_SLICE", size)
        patch.setattr(framing, "_LONG_STRING", 0)
        patch.setattr(framing, "_SAMPLE", int(jumps))
        found = weigh(text, depth)
        # Each slice with a backslash loses less than one.
        assert weight - text.count("\\") <= found <= weight
        if depth:
            with pytest.raises(AnswerTooLargeError, match="nested"):
                weigh(text, depth - 1)


@pytest.mark.sample(2)
@pytest.mark.parametrize("mark", ["{}", "[]", '"a"', "1", '{"a":1}', '"\\n"', "[[1]]"])
def test_values_are_counted_and_not_read(mark: str) -> None:
    looks: List[int] = []
    text = f"[{mark}" + f",{mark}" * 2_500_000 + "]"
    with pytest.raises(AnswerTooLargeError, match="more values") as caught:
        parse_json(text, _DEPTH, look=lambda: looks.append(1))

    assert looks and caught.value.hint


@pytest.mark.parametrize("letters", ["{", "[,:", '\\"{', "{}[],:", "é[", "\\\\"])
def test_marks_in_a_text_count_little(letters: str) -> None:
    said = letters * (3_000_000 // len(letters))
    text = json.dumps({"said": json.loads(f'"{said}"')}, ensure_ascii=False)

    assert len(parse_json(text, _DEPTH)["said"]) > 1_000_000


@pytest.mark.slow
def test_a_list_of_a_million_tokens_is_read() -> None:
    assert len(parse_json(json.dumps({"tokens": [128_000] * 1_000_000}), _DEPTH)["tokens"]) == 10**6


@pytest.mark.slow
def test_a_vocabulary_is_read() -> None:
    """The verbose details of a model with 256,000 tokens must be parsed."""
    tokens = [f"t{number}" for number in range(256_000)]
    data = {"tokens": tokens, "scores": [0.5] * 256_000, "merges": tokens * 2}

    assert parse_json(json.dumps(data), _DEPTH) == data


def test_the_clock_is_looked_at_for_each_slice_of_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "_SLICE", 1000)
    looks: List[int] = []
    parse_json('"' + "x" * 100_000 + '"', _DEPTH, look=lambda: looks.append(1))

    assert len(looks) > 100


@pytest.mark.parametrize("number", ["0." + "1" * 40, "1" * 41, "-" + "1" * 400])
def test_the_clock_is_looked_at_for_each_long_number(number: str) -> None:
    """Such a float may take 30 µs. Without the checks, 100 MiB of them took 4.6 s beyond any limit."""
    looks: List[int] = []
    parse_json(f"[{number}{f',{number}' * 2_000}]", _DEPTH, look=lambda: looks.append(1))

    assert len(looks) >= 2_001


def test_a_limit_ends_the_reading_of_numbers() -> None:
    error = LimitError("late", limit="total_s", limit_s=1.0, elapsed_s=2.0)
    looks: List[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 100:
            raise error

    with pytest.raises(LimitError):
        parse_json("[" + ("0." + "1" * 50 + ",") * 2_000 + "0]", _DEPTH, look=look)


def test_a_small_text_costs_no_look() -> None:
    def look() -> None:
        raise AssertionError

    assert parse_json('{"a": [1, {}]}', _DEPTH, look=look) == {"a": [1, {}]}


# --- bodies of vectors ------------------------------------------------------------------------

_ROW = [0.5] * 400


def test_the_clock_is_looked_at_between_two_vectors() -> None:
    looks: List[int] = []
    parse_body(json.dumps({"embeddings": [_ROW] * 50}), _DEPTH, look=lambda: looks.append(1))

    assert len(looks) >= 50


def test_a_limit_ends_the_reading_of_vectors() -> None:
    error = LimitError("late", limit="total_s", limit_s=1.0, elapsed_s=2.0)

    def look() -> None:
        raise error

    with pytest.raises(LimitError):
        parse_body(json.dumps({"embeddings": [_ROW] * 2}), _DEPTH, look=look)


@pytest.mark.parametrize("odd", ["null", "9" * 330], ids=["null", "past every float"])
def test_one_vector_that_cannot_be_packed_leaves_the_others_packed(odd: str) -> None:
    row = json.dumps(_ROW)
    text = f'{{"embeddings": [{row}, [1, {odd}, {row[1:]}, {row}]}}'
    first, second, third = parse_body(text, _DEPTH)["embeddings"]

    assert (type(first).__name__, type(second), type(third).__name__) == ("array", list, "array")
    assert second == json.loads(f"[1, {odd}, {row[1:]}")


@pytest.mark.parametrize("name", ["m\\u00e9", "\\ud83d\\ude00", "\\ud83d"])
def test_an_escape_beside_the_vectors_leaves_them_packed(name: str) -> None:
    found = parse_body(f'{{"model": "{name}", "embeddings": [{json.dumps(_ROW)}]}}', _DEPTH)

    assert type(found["embeddings"][0]).__name__ == "array"
    assert found["model"] == json.loads(f'"{name}"').replace("\ud83d", "\ufffd")


def test_a_list_that_is_too_long_for_a_vector_is_weighed() -> None:
    """The clock is not checked within a vector. Without the bound, 16 MiB of zeros took 1.8 s."""
    text = '{"embeddings": [[' + "0," * 2_200_000 + "0]]}"
    with pytest.raises(AnswerTooLargeError, match="more values"):
        parse_body(text, _DEPTH)


# --- halves of characters ---------------------------------------------------------------------

_ESCAPES = ["\\\\", "\\ud83d", "\\uDE00", "ud83d", "\\n", "a", "\\u0041", "u", "\\u005c", '\\"']


def _without_halves(text: str) -> str:
    """Return a text as json parses it, with U+FFFD for each lone surrogate."""
    read: str = json.loads(f'"{text}"')
    return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in read)


@given(st.lists(st.sampled_from(_ESCAPES), max_size=12).map("".join))
def test_half_a_character_becomes_a_mark_and_nothing_else_does(text: str) -> None:
    assert parse_json(f'"{text}"', _DEPTH) == _without_halves(text)


# --- pieces -----------------------------------------------------------------------------------


_PIECES = 50_000  # two bytes each


@pytest.mark.slow
@pytest.mark.parametrize("make", [LineSplitter, NDJSONDecoder, SSEDecoder, WholeDecoder])
def test_a_line_that_comes_in_tiny_pieces_takes_what_it_has_in_bytes(make: Any) -> None:
    decoder = make(1 << 30)
    pieces = [bytes((n % 26 + 97, 98)) for n in range(26)]
    tracemalloc.start()
    for number in range(_PIECES):
        list(decoder.feed(pieces[number % 26]))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 2 * 2 * _PIECES


# --- counting ---------------------------------------------------------------------------------


def test_a_tally_refuses_one_more_than_allowed_and_looks_at_the_clock() -> None:
    looks: List[int] = []
    tally = Tally("models", 1000, lambda: looks.append(1))
    for _ in range(1000):
        tally.add()
    with pytest.raises(AnswerTooLargeError, match="more than 1,000 models"):
        tally.add()

    assert 5 <= len(looks) <= 50


@given(st.text('"\\[]{},:a', max_size=30))
def test_a_text_that_is_no_json_is_weighed_without_a_fault(text: str) -> None:
    try:
        assert weigh(text, math.inf) >= 0
    except ProviderError:
        pass
