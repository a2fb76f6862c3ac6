"""The lines of a conversation: what was said comes back unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localproviders import Audio, CompletionResponse, Image, Message, ToolCall
from localproviders.conversation.turns import (
    LINE_START,
    Turn,
    facts_of,
    groups_of,
    line_of,
    read_line,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
CALL = ToolCall(id="1", name="weather", arguments={"city": "Bonn", "days": [1, 2.5, None]})
MESSAGES = (
    Message.user("What is this?\n\u2028 \U0001f600", images=[Image.from_bytes(PNG)]),
    Message.user("And this?", audio=[Audio.from_bytes(b"RIFF\0\0\0\0WAVEfmt ")]),
    Message(role="assistant", content="", thinking="Let me see.", tool_calls=(CALL,)),
    Message.tool({"sky": "grün"}, CALL),
    Message.assistant('It is "green".'),
)


@pytest.mark.parametrize("text", ["", "Be brief.", None])
def test_a_turn_comes_back_unchanged(text: Any) -> None:
    turn = Turn(MESSAGES, text, {"model": "m", "digest": "abc"})
    line = line_of(turn)
    assert line.count(b"\n") == 1 and line.startswith(LINE_START)
    assert read_line(line) == turn


def test_half_a_surrogate_pair_comes_back() -> None:
    turn = Turn((Message.user("\ud83d alone"), Message.assistant("ok")))
    assert read_line(line_of(turn)) == turn


def test_people_can_read_the_text_of_a_line() -> None:
    assert "grün" in line_of(Turn(MESSAGES)).decode("utf-8")


def test_the_facts_of_an_answer_leave_out_what_is_unknown() -> None:
    answer = CompletionResponse(text="x", model="m", provider="p", finish_reason="stop")
    assert facts_of(answer) == {"model": "m", "provider": "p", "finish_reason": "stop"}
    assert facts_of(None) == {}


def test_lines_of_other_programs_can_be_read() -> None:
    data = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "Hello"},
        ],
        "unknown": 1,
    }
    expected = Turn((Message.user("Hi"), Message.assistant("Hello")), "Be brief.")
    assert read_line(json.dumps(data).encode()) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "invalid UTF-8 at byte 43"),
        (b"[]", 'no object with a list "messages"'),
        (b'{"messages": []}', 'no object with a list "messages"'),
        (b'{"messages": "x"}', 'no object with a list "messages"'),
        (b'{"messages": [{"role": "king", "content": "private"}]}', "a malformed message"),
        (b'{"messages": [3]}', "a malformed message"),
        (b'{"messages": [{"role": "user"}], "system": 3}', 'a "system" that is no text'),
        (b'{"messages": [{"role": "system", "content": "x"}]}', "only a system message"),
    ],
)
def test_a_line_that_is_no_turn_is_refused_without_its_content(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        read_line(line)
    assert "private" not in str(caught.value)


def test_groups_begin_with_questions_and_keep_calls_with_their_results() -> None:
    first, second, call, result, answer = MESSAGES
    last = Message.user("Thanks")
    assert groups_of([*MESSAGES, last, answer]) == [MESSAGES, (last, answer)]
    assert groups_of([call, result, first, second]) == [(call, result), (first, second)]
    assert groups_of([]) == []
