"""Tool calls are assembled from their pieces, or raise a typed error."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localproviders.errors import ProviderError, ToolCallError
from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler
from localproviders.types import ToolCall


def _piece(index: Any = None, name: Any = None, arguments: Any = None, call_id: Any = None) -> Any:
    function = {"name": name, "arguments": arguments}
    piece = {"index": index, "id": call_id, "function": {k: v for k, v in function.items() if v}}
    return {key: value for key, value in piece.items() if value is not None}


def _join(*records: Any, reason: Optional[str] = "tool_calls") -> Tuple[ToolCall, ...]:
    assembler = ToolCallAssembler()
    for record in records:
        assembler.add(record)
    return assembler.complete_calls(reason)


_F = ToolCall(id="a", name="f", arguments={"x": 1})
_G = ToolCall(id="b", name="g", arguments={"y": "é"})

_WHOLE: List[Tuple[str, Tuple[Any, ...], Tuple[ToolCall, ...]]] = [
    ("one whole piece", ([_piece(0, "f", '{"x":1}', "a")],), (_F,)),
    (
        "pieces in order",
        ([_piece(0, "f", None, "a")], [_piece(0, None, '{"x"')], [_piece(0, None, ":1}")]),
        (_F,),
    ),
    (
        "interleaved",
        (
            [_piece(0, "f", '{"x"', "a"), _piece(1, "g", '{"y"', "b")],
            [_piece(1, None, ':"é"}')],
            [_piece(0, None, ":1}")],
        ),
        (_F, _G),
    ),
    (
        "out of order",
        ([_piece(1, "g", '{"y":"é"}', "b")], [_piece(0, "f", '{"x":1}', "a")]),
        (_F, _G),
    ),
    (
        "indexes with gaps",
        ([_piece(9, "g", '{"y":"é"}', "b")], [_piece(3, "f", '{"x":1}', "a")]),
        (_F, _G),
    ),
    (
        "no index",
        ([_piece(None, "f", '{"x":1}', "a"), _piece(None, "g", '{"y":"é"}', "b")],),
        (_F, _G),
    ),
    ("arguments as an object", ([_piece(0, "f", {"x": 1}, "a")],), (_F,)),
    ("no arguments", ([_piece(0, "f", None, "a")],), (ToolCall(id="a", name="f"),)),
    ("blank arguments", ([_piece(0, "f", "  ", "a")],), (ToolCall(id="a", name="f"),)),
    (
        "no id",
        ([_piece(5, "f", "{}"), _piece(7, "g")],),
        (ToolCall(id="call_1", name="f"), ToolCall(id="call_2", name="g")),
    ),
    (
        "id and name said again",
        (
            [_piece(0, "f", '{"x":', "a")],
            [_piece(0, "f", "1}", "a")],
            [_piece(0, "other", "", "a")],
        ),
        (_F,),
    ),
    ("id and name late", ([_piece(0, "", '{"x":1}', "")], [_piece(0, "f", None, "a")]), (_F,)),
]


@pytest.mark.parametrize("pieces", [True, 7, 0.5, "f", [7], [None], [[]]])
def test_pieces_of_the_wrong_type_are_a_typed_error(pieces: Any) -> None:
    with pytest.raises(ToolCallError, match="not a list of objects"):
        _join([_piece(0, "f", "{}", "a")], pieces)


@pytest.mark.parametrize("records", [(), (None, [], ())])
def test_nothing_is_no_call_unless_the_finish_reason_means_one(records: Any) -> None:
    assert _join(*records, reason="stop") == ()
    for reason in ("tool_calls", "function_call"):
        with pytest.raises(ToolCallError, match="no tool call and no text"):
            _join(*records, reason=reason)


@pytest.mark.parametrize(
    ("records", "calls"), [row[1:] for row in _WHOLE], ids=[r[0] for r in _WHOLE]
)
def test_pieces_become_whole_calls(records: Any, calls: Tuple[ToolCall, ...]) -> None:
    assert _join(*records) == calls


@pytest.mark.parametrize(
    "arguments", ['{"x":', '{"x":1', "[1]", "1", '"text"', '{"x":1}}', "[" * 100_000]
)
def test_a_call_received_by_half_is_an_error(arguments: str) -> None:
    with pytest.raises(ToolCallError, match="'f' is incomplete") as caught:
        _join([_piece(0, "f", arguments, "a")])
    assert caught.value.hint is None


def test_a_call_cut_by_the_length_says_what_to_raise() -> None:
    with pytest.raises(ToolCallError) as caught:
        _join([_piece(0, "f", '{"private', "a")], reason="length")
    assert caught.value.hint == "raise max_tokens"
    assert "private" not in str(caught.value)


@pytest.mark.parametrize("name", [None, "", 5])
def test_a_call_without_a_name_is_an_error(name: Any) -> None:
    with pytest.raises(ToolCallError, match="no name"):
        _join([_piece(0, name, "{}", "a")])


@pytest.mark.parametrize(
    "pieces",
    [
        "text",
        {"index": 0},
        ["text"],
        [None],
        [{"index": "one", "function": {"name": "f"}}],
        [{"index": 0.5, "function": {"name": "f"}}],
        [{"index": True, "function": {"name": "f"}}],
        [{"index": 0, "function": "f"}],
        [{"index": 0, "function": {"name": "f", "arguments": 5}}],
        [{"index": 0, "function": {"name": "f", "arguments": ["{}"]}}],
    ],
)
def test_a_malformed_piece_is_an_error(pieces: Any) -> None:
    with pytest.raises(ToolCallError):
        _join(pieces)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["index", "id", "function", "name", "arguments"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_JSON, _JSON)
def test_any_pieces_are_calls_or_one_typed_error(one: Any, two: Any) -> None:
    try:
        calls = _join(one, two)
    except ProviderError:
        return
    assert all(isinstance(call, ToolCall) for call in calls)


def test_a_call_cut_before_its_first_argument_is_no_call_without_arguments() -> None:
    with pytest.raises(ToolCallError, match="incomplete") as caught:
        _join([_piece(0, "f", None, "a")], reason="length")

    assert caught.value.hint == "raise max_tokens"
    assert _join([_piece(0, "f", None, "a")], reason="tool_calls")[0].arguments == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("get_user", "the call of 'get_user' is incomplete"),
        ("fs/files.read:1-b", "the call of 'fs/files.read:1-b' is incomplete"),
        ("the patient Harrow", "a tool call is incomplete"),
        ("x" * 65, "a tool call is incomplete"),
        ("a\x1b[2J", "a tool call is incomplete"),
    ],
)
def test_only_what_can_be_a_name_is_told_as_one(name: str, words: str) -> None:
    """A confused model may use text of the prompt as the name of a tool."""
    with pytest.raises(ToolCallError) as caught:
        _join([_piece(0, name, "{", "a")])

    assert caught.value.message.startswith(words)
