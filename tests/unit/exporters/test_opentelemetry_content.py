"""Recorded messages fit the JSON schemas of the OpenTelemetry conventions."""

from __future__ import annotations

import json
from typing import Any, Dict, List

from localproviders import Audio, CompletionRequest, CompletionResponse, Image, Message, Tool
from localproviders.exporters.opentelemetry import request_attributes, response_attributes
from localproviders.types import ToolCall

_CALL = ToolCall(id="call_1", name="get_weather", arguments={"location": "Paris"})
_PNG = b"\x89PNG\r\n\x1a\n" + b"secret pixels" * 10
_WAV = b"RIFF\x00\x00\x00\x00WAVE"


def _asked(operation: str = "stream", **fields: Any) -> Dict[str, Any]:
    attributes = request_attributes(CompletionRequest(**fields), operation)
    return {name: json.loads(text) for name, text in attributes.items()}


def _messages(*messages: Message) -> List[Any]:
    attributes = _asked(messages=messages)
    assert list(attributes) == ["gen_ai.input.messages"]
    return list(attributes["gen_ai.input.messages"])


def _answered(**fields: Any) -> Any:
    response = CompletionResponse(**{"text": "", "model": "m", "provider": "p", **fields})
    attributes = response_attributes(response)
    assert list(attributes) == ["gen_ai.output.messages"]
    return json.loads(attributes["gen_ai.output.messages"])


def test_a_conversation_with_a_tool_has_the_parts_of_the_conventions() -> None:
    assert _messages(
        Message.user("Weather in Paris?"),
        Message.assistant("", tool_calls=[_CALL]),
        Message.tool("rainy, 57°F", _CALL),
    ) == [
        {"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]},
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "tool_call",
                    "id": "call_1",
                    "name": "get_weather",
                    "arguments": {"location": "Paris"},
                }
            ],
        },
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "call_1", "response": "rainy, 57°F"}],
        },
    ]


def test_reasoning_is_a_part_before_the_text() -> None:
    (message,) = _messages(Message(role="assistant", content="Blue.", thinking="Hm."))
    assert message["parts"] == [
        {"type": "reasoning", "content": "Hm."},
        {"type": "text", "content": "Blue."},
    ]


def test_a_tool_that_gave_nothing_has_an_empty_response() -> None:
    (message,) = _messages(Message(role="tool"))
    assert message["parts"] == [{"type": "tool_call_response", "response": ""}]


def test_pictures_and_sound_have_type_and_size_and_no_bytes() -> None:
    image, sound = Image.from_bytes(_PNG), Audio.from_bytes(_WAV)
    request = CompletionRequest(messages=[Message.user("What?", [image], [sound])])
    text = request_attributes(request, "stream")["gen_ai.input.messages"]
    assert json.loads(text)[0]["parts"] == [
        {"type": "text", "content": "What?"},
        {
            "type": "omitted_blob",
            "modality": "image",
            "mime_type": "image/png",
            "size_bytes": 138,
        },
        {"type": "omitted_blob", "modality": "audio", "mime_type": "audio/wav", "size_bytes": 12},
    ]
    assert "secret pixels" not in text and image.base64[20:40] not in text


def test_a_system_text_stands_where_the_server_got_it() -> None:
    said = [Message.system("Be brief."), Message.user("Hi")]
    system = {"type": "text", "content": "Be brief."}
    user = {"role": "user", "parts": [{"type": "text", "content": "Hi"}]}
    assert _asked(messages=said) == {
        "gen_ai.input.messages": [{"role": "system", "parts": [system]}, user]
    }
    assert _asked("stateful_stream", messages=said) == {
        "gen_ai.system_instructions": [system],
        "gen_ai.input.messages": [user],
    }


def test_a_plain_prompt_is_a_message_of_the_user() -> None:
    attributes = _asked(prompt="def f(", suffix="return 1")
    assert attributes["gen_ai.input.messages"] == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "def f("},
                {"type": "suffix", "content": "return 1"},
            ],
        }
    ]


def test_tools_are_definitions_of_functions() -> None:
    schema = {"type": "object", "properties": {"location": {"type": "string"}}}
    tools = [
        Tool(name="get_weather", description="Tells it.", parameters=schema, function=print),
        Tool(name="bare"),
    ]
    attributes = _asked(messages=[Message.user("Hi")], tools=tools)
    assert attributes["gen_ai.tool.definitions"] == [
        {
            "type": "function",
            "name": "get_weather",
            "description": "Tells it.",
            "parameters": schema,
        },
        {"type": "function", "name": "bare", "parameters": {"type": "object", "properties": {}}},
    ]


def test_an_answer_is_one_message_with_the_reason_of_its_end() -> None:
    assert _answered(text="Blue.", thinking="Hm.", finish_reason="stop") == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "Hm."},
                {"type": "text", "content": "Blue."},
            ],
            "finish_reason": "stop",
        }
    ]


def test_an_answer_that_calls_tools_has_the_reason_of_the_conventions() -> None:
    assert _answered(tool_calls=(_CALL,), finish_reason="tool_calls") == [
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "tool_call",
                    "id": "call_1",
                    "name": "get_weather",
                    "arguments": {"location": "Paris"},
                }
            ],
            "finish_reason": "tool_call",
        }
    ]


def test_a_server_that_gives_no_reason_gets_none_invented() -> None:
    assert _answered(text="Blue.")[0]["finish_reason"] == "unknown"


def test_text_stays_readable_and_half_a_pair_becomes_its_escape() -> None:
    request = CompletionRequest(messages=[Message.user("grün \ud800")])
    text = request_attributes(request, "stream")["gen_ai.input.messages"]
    assert "grün" in text
    assert text.encode("utf-8")
    assert json.loads(text)[0]["parts"][0]["content"] == "grün \ud800"
