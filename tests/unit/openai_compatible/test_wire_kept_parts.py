"""Signatures and encrypted thinking of OpenRouter and Gemini go back to the same model."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import pytest

from localproviders import Message, OpenAICompatibleProvider, ToolCall
from localproviders.testing import Exchange, ScriptedServer, http_answer
from localproviders.types import CompletionResponse

_SIGNED = {"type": "reasoning.text", "text": "hm, well", "signature": "Eo4B", "index": 0}
_SECRET = {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 1}
_EXTRA = {"google": {"thought_signature": "CoQB"}}


def _call(id_: str, city: str, **more: Any) -> Dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps({"city": city})}
    return {"id": id_, "type": "function", "function": function, **more}


def _stream(*deltas: Dict[str, Any], reason: str = "stop") -> bytes:
    choices: List[Dict[str, Any]] = [{"index": 0, "delta": delta} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": reason})
    records = [json.dumps({"model": "m", "choices": [choice]}) for choice in choices]
    body = "".join(f"data: {record}\n\n" for record in [*records, "[DONE]"])
    return http_answer(body, content_type="text/event-stream", chunked=True)


def _whole(message: Dict[str, Any], reason: str = "stop") -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return http_answer({"model": "m", "choices": [choice]})


def _ask(answer: bytes, model: str = "m") -> CompletionResponse:
    with ScriptedServer(answer) as server:
        with OpenAICompatibleProvider(f"{server.url}/v1", model=model) as provider:
            return provider.chat("Hi", allow_other_model=True)


def _sent(*messages: Message, model: str = "m") -> List[Dict[str, Any]]:
    """Return the messages that a server receives."""
    with ScriptedServer(_whole({"content": "x"})) as server:
        with OpenAICompatibleProvider(f"{server.url}/v1", model=model) as provider:
            provider.chat([Message.user("Hi"), *messages, Message.user("Go on")])
        exchange: Exchange = server.exchanges[-1]
    return list(exchange.json["messages"])


_PIECES = (
    {"reasoning": "hm, ", "reasoning_details": [{**_SIGNED, "text": "hm, ", "signature": None}]},
    {"reasoning": "well", "reasoning_details": [{**_SIGNED, "text": "well", "signature": None}]},
    {"reasoning_details": [{"type": "reasoning.text", "signature": "Eo4B", "index": 0}]},
    {"reasoning_details": [_SECRET]},
    {"content": "Yes."},
)


@pytest.mark.parametrize(
    "answer",
    [
        _stream(*_PIECES),
        _whole(
            {"content": "Yes.", "reasoning": "hm, well", "reasoning_details": [_SIGNED, _SECRET]}
        ),
        _stream(
            {"reasoning_details": [_SIGNED, _SECRET]},
            {"content": "Yes.", "message": {"content": "Yes.", "reasoning_details": [_SECRET]}},
        ),
    ],
    ids=["stream", "whole", "repeated"],
)
def test_the_details_of_the_reasoning_go_back_joined_and_in_order(answer: bytes) -> None:
    found = _ask(answer)
    assert (found.text, found.thinking) == ("Yes.", "hm, well")
    details = found.provider_data["reasoning_details"]
    assert details == [_SIGNED, _SECRET]
    assert "Eo4B" not in repr(found) and "Eo4B" not in repr(found.message)
    sent = _sent(found.message)[1]
    assert sent["reasoning_details"] == details and "reasoning_content" not in sent


def test_the_parts_of_another_model_stay_here() -> None:
    found = _ask(_stream(*_PIECES))
    sent = _sent(found.message, model="other")[1]
    assert sent == {"role": "assistant", "content": "Yes.", "reasoning_content": "hm, well"}


@pytest.mark.parametrize("ids", [("call_a", "call_b"), ("", "")], ids=["ids", "no ids"])
@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_signature_in_a_tool_call_goes_back_in_the_same_call(ids: Any, is_streamed: bool) -> None:
    calls = [
        _call(ids[0], "Oslo", extra_content=_EXTRA),
        _call(ids[1], "Rome"),
    ]
    if is_streamed:
        answer = _stream(*({"tool_calls": [call]} for call in calls), reason="tool_calls")
    else:
        answer = _whole({"content": None, "tool_calls": calls}, "tool_calls")
    found = _ask(answer)
    assert [call.arguments["city"] for call in found.tool_calls] == ["Oslo", "Rome"]
    results = [Message.tool("sunny", call) for call in found.tool_calls]
    first, second = _sent(found.message, *results)[1]["tool_calls"]
    assert first["extra_content"] == _EXTRA and "extra_content" not in second


def test_an_answer_without_such_parts_keeps_nothing() -> None:
    assert _ask(_stream({"reasoning_content": "hm"}, {"content": "Yes."})).provider_data == {}
    assert _ask(_stream({"tool_calls": [_call("a", "Oslo")]})).provider_data == {}


def test_details_that_a_server_refuses_are_left_out() -> None:
    found = _ask(_stream(*_PIECES))
    words = "messages.1.reasoning_details: Extra inputs are not permitted"
    refusal = http_answer({"error": {"message": words}}, status="422 X")

    def script(exchange: Exchange) -> List[bytes]:
        return [refusal if b"reasoning_details" in exchange.body else _whole({"content": "x"})]

    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(f"{server.url}/v1", model="m") as provider:
            answer = provider.chat([Message.user("Hi"), found.message, Message.user("Sure?")])
    assert "left out" in answer.warnings[0]


def test_a_call_that_was_made_by_hand_has_no_extra_content() -> None:
    call = ToolCall(id="call_a", name="weather", arguments={})
    data = {"api": "openai", "model": "m", "tool_calls": {"call_b": _EXTRA}}
    message = Message(role="assistant", tool_calls=(call,), provider_data=data)
    assert "extra_content" not in _sent(message, Message.tool("x", call))[1]["tool_calls"][0]
