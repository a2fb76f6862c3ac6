"""The official client of Anthropic works with the fake server as with the real service."""

from __future__ import annotations

import asyncio
from typing import Any, Iterator

import pytest

from localproviders import ToolCall
from localproviders.testing import FakeAnthropic, FakeModel, Refusal, Reply

anthropic = pytest.importorskip(
    "anthropic", reason="the client of Anthropic is not installed: nox -s clients installs it"
)

pytestmark = pytest.mark.slow

_HI: Any = [{"role": "user", "content": "Hi"}]
_ALL = ("chat", "tools", "vision", "thinking")
_NAMES = ("claude-opus-4-8", "claude-haiku-4-5", "claude-opus-5-5")
_CALL = ToolCall(id="toolu_1", name="weather", arguments={"city": "Oslo", "days": [1, 2]})
_SCHEMA: Any = {"type": "object", "properties": {}}
_TOOL: Any = {"name": "weather", "description": "Say the weather.", "input_schema": _SCHEMA}


@pytest.fixture
def fake() -> Iterator[FakeAnthropic]:
    with FakeAnthropic([FakeModel(name=name, abilities=_ALL) for name in _NAMES]) as server:
        server.api_key = "sk-ant-1"
        yield server


@pytest.fixture
def client(fake: FakeAnthropic) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=fake.url, api_key="sk-ant-1", max_retries=0) as found:
        yield found


def _create(client: Any, **fields: Any) -> Any:
    usual = {"model": "claude-opus-4-8", "max_tokens": 2000, "messages": _HI}
    return client.messages.create(**{**usual, **fields})


def _valid(value: Any) -> Any:
    """Check the types of an answer, which the client itself does not check."""
    type(value).model_validate(value.model_dump())
    return value


def test_a_message(client: Any) -> None:
    answer = _valid(_create(client, system="Be brief."))
    assert [block.text for block in answer.content] == ["Hello there, friend."]
    assert (answer.stop_reason, answer.usage.input_tokens) == ("end_turn", 3)
    assert answer.usage.output_tokens == 3
    assert answer.id != _create(client).id and answer._request_id.startswith("req_")
    assert _create(client, max_tokens=2).stop_reason == "max_tokens"
    stopped = _create(client, stop_sequences=["friend"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "friend")
    assert _create(client, model="claude-haiku-4-5").model == "claude-haiku-4-5-20251001"


def test_a_stream(client: Any, fake: FakeAnthropic) -> None:
    fake.usual = Reply(text="a b", thinking="Hm, well.", tool_calls=(_CALL,))
    fields: Any = {"thinking": {"type": "adaptive", "display": "summarized"}, "tools": [_TOOL]}
    usual = {"model": "claude-opus-4-8", "max_tokens": 2000, "messages": _HI}
    with client.messages.stream(**usual, **fields) as events:
        kinds = [_valid(event).type for event in events]
        message = _valid(events.get_final_message())
    thinking, text, call = message.content
    assert (thinking.thinking, text.text) == ("Hm, well.", "a b")
    assert (call.id, call.name, call.input) == (_CALL.id, _CALL.name, dict(_CALL.arguments))
    assert (message.stop_reason, kinds[0], kinds[-1]) == (
        "tool_use",
        "message_start",
        "message_stop",
    )
    assert "signature" in kinds and "input_json" in kinds
    raw = [event.type for event in _create(client, stream=True, **fields)]
    assert raw.count("content_block_stop") == 3


def test_tools_and_thinking_go_back(client: Any, fake: FakeAnthropic) -> None:
    fake.reply_with(Reply(text="", thinking="Hm.", tool_calls=(_CALL,)), "Sunny.")
    fields: Any = {"thinking": {"type": "adaptive"}, "tools": [_TOOL]}
    first = _create(client, **fields)
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
    history = [*_HI, {"role": "assistant", "content": first.content}]
    answer = _create(client, messages=[*history, {"role": "user", "content": [result]}], **fields)
    assert answer.content[0].text == "Sunny."
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result`"):
        _create(client, messages=[*history, *_HI], **fields)
    changed = [{"type": "thinking", "thinking": "Other.", "signature": "x"}, first.content[1]]
    history[-1] = {"role": "assistant", "content": changed}
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        _create(client, messages=[*history, {"role": "user", "content": [result]}], **fields)


def test_counts_and_models(client: Any) -> None:
    count = client.messages.count_tokens(model="claude-opus-4-8", messages=_HI, tools=[_TOOL])
    assert _valid(count).input_tokens > 1
    assert [model.id for model in client.models.list(limit=2)] == list(_NAMES)
    found = _valid(client.models.retrieve("claude-haiku-4-5"))
    assert found.capabilities.thinking.types.enabled.supported
    assert not found.capabilities.effort.supported
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-1")


def test_structured_output(client: Any, fake: FakeAnthropic) -> None:
    fake.usual = '{"n": 1}'
    schema = {**_SCHEMA, "additionalProperties": False}
    form = {"type": "json_schema", "schema": schema}
    assert _create(client, output_config={"format": form}).content[0].text == '{"n": 1}'
    with pytest.raises(anthropic.BadRequestError, match="additionalProperties"):
        _create(client, output_config={"format": {"type": "json_schema", "schema": _SCHEMA}})


_REFUSED: Any = [
    {"extra_body": {"temperature": 0.5}},
    {"messages": []},
    {"messages": [*_HI, {"role": "assistant", "content": "Well"}]},
    {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    {"tool_choice": {"type": "any"}},
    {"tools": [_TOOL], "tool_choice": "auto"},
    {"max_tokens": 10_000_000},
    {"extra_body": {"seed": 1}},
    {"model": "claude-opus-5-5", "tools": [_TOOL], "tool_choice": {"type": "any"}},
    {"model": "claude-opus-5-5", "thinking": {"type": "disabled"}},
    {"model": "claude-haiku-4-5", "output_config": {"effort": "low"}},
]


@pytest.mark.parametrize("fields", _REFUSED, ids=str)
def test_refusals(client: Any, fields: Any) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        _create(client, stream=True, **fields)
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert caught.value.request_id == caught.value.body["request_id"]


def test_errors(client: Any, fake: FakeAnthropic) -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    fake.reply_with(Refusal(status="529 Overloaded", body=overloaded))
    with pytest.raises(anthropic.APIStatusError) as caught:
        _create(client)
    assert caught.value.status_code == 529
    with pytest.raises(anthropic.NotFoundError, match="claude-1"):
        _create(client, model="claude-1")
    with anthropic.Anthropic(base_url=fake.url, api_key="wrong", max_retries=0) as other:
        with pytest.raises(anthropic.AuthenticationError):
            _create(other)
    fake.break_next("an error of overload in mid-stream")
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        list(_create(client, stream=True))


def test_the_asynchronous_client(fake: FakeAnthropic) -> None:
    async def ask() -> str:
        options: Any = {"base_url": fake.url, "api_key": "sk-ant-1"}
        async with anthropic.AsyncAnthropic(**options) as client:
            events = await _create(client, stream=True)
            deltas = [e.delta async for e in events if e.type == "content_block_delta"]
            return "".join(delta.text for delta in deltas)

    assert asyncio.run(ask()) == "Hello there, friend."
