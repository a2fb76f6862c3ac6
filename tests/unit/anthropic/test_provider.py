"""`AnthropicProvider`: what it sends, what it keeps, and what it refuses."""

from __future__ import annotations

import json
import pickle
import socket
from typing import Any, Dict, Iterator, List, Mapping

import pytest

from localproviders import (
    AnthropicProvider,
    AuthenticationError,
    CallEvent,
    CapabilityError,
    CompletionRequest,
    ConfigurationError,
    ContextOverflowError,
    Document,
    Image,
    LocalityError,
    Message,
    ModelNotFoundError,
    RequestRejectedError,
    RetryPolicy,
    SecretString,
    ServerBusyError,
    StreamInterruptedError,
    ToolCall,
    UnsupportedError,
    YesNo,
)
from localproviders._http import resolve
from localproviders.testing import (
    Exchange,
    FakeAnthropic,
    FakeModel,
    Refusal,
    Reply,
    ScriptedServer,
    http_answer,
)

_ALL = ("chat", "tools", "vision", "thinking")
_NAMES = (
    *("claude-sonnet-4-5", "claude-opus-4-5", "claude-opus-4-6", "claude-opus-4-8"),
    *("claude-fable-5", "claude-sonnet-5-5", "plain"),
)
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
_NO_MAX = "no max_tokens was given"


@pytest.fixture
def fake() -> Iterator[FakeAnthropic]:
    models = [FakeModel(name=name, abilities=_ALL) for name in _NAMES]
    with FakeAnthropic([*models, FakeModel(name="mute", abilities=("chat", "tools"))]) as server:
        yield server


@pytest.fixture
def provider(fake: FakeAnthropic) -> Iterator[AnthropicProvider]:
    once = RetryPolicy(attempts=1)
    with AnthropicProvider(fake.url, model="plain", max_tokens=4000, retry=once) as made:
        yield made


def sent(fake: FakeAnthropic, index: int = -1) -> Any:
    """Return the body of a request to the model."""
    bodies = [each.json for each in fake.exchanges if each.path == "/v1/messages"]
    return bodies[index]


def weather(city: str) -> str:
    """Return the weather.

    Args:
        city: The city.
    """
    return f"sunny in {city}"


_CALL = ToolCall(id="toolu_1", name="weather", arguments={"city": "Oslo"})


# --- requests -------------------------------------------------------------------------------------


def test_leading_system_messages_are_a_field_and_files_are_blocks(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    documents = [
        Document.from_text("The text.", title="Notes"),
        Document.from_bytes(b"%PDF-1.4\n\xff"),
    ]
    question = Message.user("What is it?", images=[Image.from_bytes(_PNG)], documents=documents)
    provider.chat([Message.system("Be brief."), question], system="Be kind.")
    body = sent(fake)
    assert body["system"] == "Be kind.\n\nBe brief."
    (message,) = body["messages"]
    image, text, pdf, words = message["content"]
    assert image["source"]["media_type"] == "image/png"
    plain = {"type": "text", "media_type": "text/plain", "data": "The text."}
    assert text == {"type": "document", "source": plain, "title": "Notes"}
    assert pdf["source"]["type"] == "base64"
    assert pdf["source"]["media_type"] == "application/pdf"
    assert words == {"type": "text", "text": "What is it?"}


def test_the_results_of_one_answer_are_one_message(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    calls = [_CALL, ToolCall(id="toolu_2", name="weather", arguments={"city": "Rome"})]
    history = [
        Message.user("How is it?"),
        Message.assistant("Let me look.", calls),
        Message.tool("sunny", calls[0]),
        Message.tool("no such city", calls[1], is_error=True),
        Message.user("Well?"),
    ]
    provider.chat(history, tools=[weather])
    _, answer, results, question = sent(fake)["messages"]
    assert answer["content"][1] == {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "weather",
        "input": {"city": "Oslo"},
    }
    assert results["content"] == [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "toolu_2",
            "content": "no such city",
            "is_error": True,
        },
    ]
    assert question == {"role": "user", "content": "Well?"}


def test_the_loop_marks_a_tool_that_failed(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    def broken(city: str) -> str:
        """Fail."""
        raise LookupError(city)

    call = ToolCall(id="toolu_1", name="broken", arguments={"city": "Oslo"})
    fake.reply_with(Reply(text="", tool_calls=(call,)), "Sorry.")
    run = provider.run_tools("Go", [broken])
    (result,) = sent(fake)["messages"][-1]["content"]
    assert (run.text, result["is_error"]) == ("Sorry.", True)
    assert result["content"] == "LookupError: Oslo"


def test_an_answer_without_content_is_left_out(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    provider.chat([Message.user("a"), Message.assistant(""), Message.user("b")])
    assert [each["content"] for each in sent(fake)["messages"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("weather", {"type": "tool", "name": "weather"}),
    ],
)
def test_each_tool_choice_is_an_object(
    fake: FakeAnthropic, provider: AnthropicProvider, choice: str, expected: Mapping[str, Any]
) -> None:
    provider.chat("Hi", tools=[weather], tool_choice=choice)
    body = sent(fake)
    assert body["tool_choice"] == expected
    assert body["tools"][0]["input_schema"]["required"] == ["city"]


def test_a_call_without_max_tokens_sends_4096_and_has_a_warning(fake: FakeAnthropic) -> None:
    with AnthropicProvider(fake.url, model="plain") as made:
        answer = made.chat("Hi")
        assert sent(fake)["max_tokens"] == 4096
        assert [each.startswith(_NO_MAX) for each in answer.warnings] == [True]
        assert made.chat("Hi", max_tokens=7).warnings == ()
        assert made.chat("Hi", extra_body={"max_tokens": 8}).warnings == ()
        assert sent(fake)["max_tokens"] == 8
    with AnthropicProvider(fake.url, model="plain", max_tokens=99) as made:
        again = pickle.loads(pickle.dumps(made))
        for each in (made, again):
            assert each.chat("Hi").warnings == ()
            assert sent(fake)["max_tokens"] == 99
    with pytest.raises(ValueError, match="max_tokens is 0"):
        AnthropicProvider(fake.url, max_tokens=0)


def test_stop_sequences_and_the_reason_of_the_end(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    fake.reply_with("one two three", "one two three", "one")
    assert provider.chat("Hi", stop=["three"]).text == "one two "
    assert sent(fake)["stop_sequences"] == ["three"]
    assert provider.chat("Hi", max_tokens=2).finish_reason == "max_tokens"
    answer = provider.chat("Hi")
    assert (answer.finish_reason, answer.usage.thinking_tokens) == ("end_turn", 0)
    assert answer.request_id and answer.request_id.startswith("req_")


@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_answer_without_a_reason_of_its_end_is_not_whole(is_streamed: bool) -> None:
    message: Dict[str, Any] = {
        **{"type": "message", "role": "assistant", "model": "m", "stop_reason": None},
        **{"content": [] if is_streamed else [{"type": "text", "text": "half"}], "usage": {}},
    }
    events: List[Dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            **{"type": "content_block_delta", "index": 0},
            "delta": {"type": "text_delta", "text": "half"},
        },
        {"type": "message_stop"},
    ]
    body = "".join(f"data: {json.dumps(each)}\n\n" for each in events)
    answer = (
        http_answer(body.encode(), content_type="text/event-stream")
        if is_streamed
        else http_answer(json.dumps(message).encode())
    )
    with ScriptedServer(lambda _: [answer]) as server:
        with AnthropicProvider(server.url, model="m", max_tokens=9) as made:
            with pytest.raises(StreamInterruptedError, match="without a stop reason") as caught:
                made.chat("Hi")
    assert caught.value.partial == "half"


def test_text_in_the_first_event_is_a_part_of_the_answer() -> None:
    first = {"type": "text", "text": "early "}
    message = {"type": "message", "role": "assistant", "model": "m", "content": [first]}
    events: List[Dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {
            **{"type": "content_block_start", "index": 0},
            "content_block": {"type": "text", "text": "late"},
        },
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    body = "".join(f"data: {json.dumps(each)}\n\n" for each in events)
    answer = http_answer(body.encode(), content_type="text/event-stream")
    with ScriptedServer(lambda _: [answer]) as server:
        with AnthropicProvider(server.url, model="m", max_tokens=9) as made:
            assert made.chat("Hi").text == "early late"


def test_no_call_of_a_refused_answer_is_run(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    fake.reply_with(Reply(text="", tool_calls=(_CALL,), finish_reason="refusal"))
    ran: List[str] = []

    def weather(city: str) -> str:
        """Return the weather.

        Args:
            city: The city.
        """
        ran.append(city)
        return "sunny"

    run = provider.run_tools("Hi", [weather])
    assert (ran, run.response.finish_reason, run.response.tool_calls) == ([], "refusal", ())
    assert any("refused" in each for each in run.response.warnings)


def test_the_thinking_of_a_local_server_goes_back_to_it() -> None:
    thinking = {"type": "thinking", "thinking": "Let me see.", "signature": ""}
    content = [thinking, {"type": "text", "text": "8"}]
    answer: Any = {"type": "message", "role": "assistant", "model": "m", "content": content}
    answer = {**answer, "stop_reason": "end_turn", "usage": {}}
    listed = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "llamacpp"}]}

    def script(exchange: Exchange) -> List[bytes]:
        is_list = exchange.path.startswith("/v1/models")
        return [http_answer(json.dumps(listed if is_list else answer).encode())]

    with ScriptedServer(script) as server:
        with AnthropicProvider(server.url, model="m", max_tokens=9) as made:
            first = made.chat("Hi")
            made.chat([Message.user("Hi"), first.message, Message.user("And now?")])
            assert server.exchanges[-1].json["messages"][1]["content"] == content


_UNSUPPORTED: Dict[str, Any] = {
    "min_p": 0.1,
    "seed": 1,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "logprobs": True,
    "top_logprobs": 2,
    "context_length": 512,
    "keep_alive": 60,
    "grammar": 'root ::= "a"',
    "overflow": "truncate",
}


@pytest.mark.parametrize("name", sorted(_UNSUPPORTED))
def test_a_field_that_the_api_lacks_is_refused_or_left_out(
    fake: FakeAnthropic, provider: AnthropicProvider, name: str
) -> None:
    fields: Any = {name: _UNSUPPORTED[name]}
    with pytest.raises(UnsupportedError, match=name):
        provider.chat("Hi", **fields)
    assert fake.exchanges == []
    (warning,) = provider.chat("Hi", strict=False, **fields).warnings
    assert name in warning and "left out" in warning


def test_verbs_and_inputs_that_the_api_lacks_are_refused(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    with pytest.raises(UnsupportedError, match="has no embeddings"):
        provider.embed(["a"])
    with pytest.raises(UnsupportedError, match="cannot continue plain text"):
        provider.complete(CompletionRequest(prompt="Once"))
    with pytest.raises(UnsupportedError, match="support audio"):
        provider.chat(Message.user("Hi", audio=[b"ID3\x03"]))  # type: ignore[list-item]  # bytes are read
    with pytest.raises(UnsupportedError, match="decide"):
        provider.decide("It is noon.", {"late": "Is it late?"})
    with pytest.raises(UnsupportedError):
        provider.rerank("a", ["b"])
    assert fake.exchanges == []


# --- thinking -------------------------------------------------------------------------------------

_ADAPTIVE = {"thinking": {"type": "adaptive", "display": "summarized"}}
_OFF: Dict[str, Any] = {"thinking": {"type": "disabled"}}


def _manual(tokens: int) -> Dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


#: Model, fields of the request, and the fields that are sent.
_THINKING: List[Any] = [
    ("claude-sonnet-4-5", {"thinking": True}, _manual(2000)),
    ("claude-sonnet-4-5", {"thinking": True, "thinking_budget": 3000}, _manual(3000)),
    ("claude-sonnet-4-5", {"thinking_budget": 1500}, _manual(1500)),
    ("claude-sonnet-4-5", {"thinking": False}, _OFF),
    (
        "claude-opus-4-5",
        {"thinking": "low"},
        {**_manual(2000), "output_config": {"effort": "low"}},
    ),
    ("claude-opus-4-6", {"thinking": True}, _ADAPTIVE),
    ("claude-opus-4-6", {"thinking": "max"}, {**_ADAPTIVE, "output_config": {"effort": "max"}}),
    ("claude-opus-4-6", {"thinking": True, "thinking_budget": 1200}, _manual(1200)),
    ("claude-opus-4-8", {"thinking": "none"}, _OFF),
    ("claude-opus-4-8", {"thinking": "xhigh"}, {**_ADAPTIVE, "output_config": {"effort": "xhigh"}}),
    ("claude-fable-5", {"thinking": "on"}, _ADAPTIVE),
    ("claude-sonnet-5-5", {"thinking": False}, {"thinking": {"type": "between_tools"}}),
    ("mute", {"thinking": False}, {}),
]


@pytest.mark.parametrize(("model", "fields", "expected"), _THINKING)
def test_thinking_is_written_for_the_model(
    fake: FakeAnthropic,
    provider: AnthropicProvider,
    model: str,
    fields: Dict[str, Any],
    expected: Mapping[str, Any],
) -> None:
    fake.reply_with(Reply(text="Yes.", thinking="Let me see."))
    answer = provider.chat("Hi", model=model, **fields)
    body = sent(fake)
    assert {key: body[key] for key in ("thinking", "output_config") if key in body} == expected
    is_on = expected.get("thinking", {}).get("type") in ("adaptive", "enabled")
    assert answer.thinking == ("Let me see." if is_on else "")


#: Model, fields, and the value that the model does not accept.
_IMPOSSIBLE: List[Any] = [
    ("claude-fable-5", {"thinking": False}, "thinking=False"),
    ("claude-opus-4-6", {"thinking": "xhigh"}, "thinking='xhigh'"),
    ("claude-sonnet-4-5", {"thinking": "low"}, "thinking='low'"),
    ("claude-opus-4-8", {"thinking_budget": 2000}, "thinking_budget"),
    ("claude-sonnet-4-5", {"thinking": True, "max_tokens": 1024}, "thinking with max_tokens=1024"),
]


@pytest.mark.parametrize(("model", "fields", "what"), _IMPOSSIBLE)
def test_thinking_that_a_model_does_not_accept_is_refused_or_left_out(
    fake: FakeAnthropic,
    provider: AnthropicProvider,
    model: str,
    fields: Dict[str, Any],
    what: str,
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        provider.chat("Hi", model=model, **fields)
    assert what in caught.value.message and "strict=False" in str(caught.value.hint)
    answer = provider.chat("Hi", model=model, strict=False, **fields)
    assert [what in each for each in answer.warnings if "left out" in each] == [True]
    assert "thinking" not in sent(fake) and "output_config" not in sent(fake)


def test_a_model_that_cannot_think_is_named(provider: AnthropicProvider) -> None:
    with pytest.raises(UnsupportedError, match="thinking=True"):
        provider.chat("Hi", model="mute", thinking=True)
    known = provider.model_capabilities("mute")
    assert known.thinking is False
    assert known.evidence["thinking"].detail.endswith("capabilities.thinking.supported is false")
    with pytest.raises(CapabilityError, match="cannot see images"):
        provider.chat(Message.user("Hi", images=[_PNG]), model="mute")


@pytest.mark.parametrize("redacts", [False, True])
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-8"])
def test_a_tool_loop_sends_the_thinking_back_unchanged(
    fake: FakeAnthropic, provider: AnthropicProvider, model: str, redacts: bool
) -> None:
    fake.redacts = redacts
    fake.reply_with(
        Reply(text="Let me look.", thinking="Which city?", tool_calls=(_CALL,)),
        Reply(text="Sunny.", thinking="Sun."),
        "Warm.",
    )
    run = provider.run_tools("How is Oslo?", [weather], model=model, thinking=True)
    first, answer = run.responses[0], sent(fake)["messages"][1]
    assert (run.text, run.rounds) == ("Sunny.", 2)
    assert answer["content"] == first.provider_data["content"]
    kinds = [block["type"] for block in answer["content"]]
    assert kinds == ["redacted_thinking" if redacts else "thinking", "text", "tool_use"]
    # The next question continues the conversation, also from a dictionary or a pickle.
    plain = [Message.from_dict(message.to_dict()) for message in run.messages]
    pickled = pickle.loads(pickle.dumps(run.messages))
    for history in (run.messages, plain, pickled):
        provider.chat([*history, Message.user("And now?")], model=model, thinking=True)
        assert sent(fake)["messages"][1] == answer


def test_the_blocks_of_another_model_stay_here(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    fake.reply_with(Reply(text="Yes.", thinking="Hm."))
    answer = provider.chat("Hi", model="claude-sonnet-4-5", thinking=True)
    assert answer.provider_data["model"] == "claude-sonnet-4-5"
    history = [Message.user("Hi"), answer.message, Message.user("Sure?")]
    provider.chat(history, model="claude-opus-4-8")
    assert sent(fake)["messages"][1] == {"role": "assistant", "content": "Yes."}
    provider.chat(history, model="claude-sonnet-4-5-20250929")
    assert sent(fake)["messages"][1]["content"] == answer.provider_data["content"]


def test_a_changed_answer_keeps_only_its_thinking(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    fake.reply_with(Reply(text="Yes.", thinking="Hm.", tool_calls=(_CALL,)))
    answer = provider.chat("Hi", model="claude-sonnet-4-5", thinking=True, tools=[weather])
    changed = answer.message.replace(tool_calls=(), content="No.")
    history = [Message.user("Hi"), changed, Message.user("Sure?")]
    provider.chat(history, model="claude-sonnet-4-5")
    thinking, text = sent(fake)["messages"][1]["content"]
    assert (thinking["type"], text) == ("thinking", {"type": "text", "text": "No."})
    empty = changed.replace(content="")
    provider.chat([history[0], empty, history[2]], model="claude-sonnet-4-5")
    assert len(sent(fake)["messages"]) == 2


def test_an_answer_of_text_and_calls_keeps_nothing(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    fake.reply_with(Reply(text="Let me look.", tool_calls=(_CALL,)))
    assert provider.chat("Hi", tools=[weather]).provider_data == {}


# --- structured output ----------------------------------------------------------------------------

_SCHEMA: Dict[str, Any] = {
    "type": "object",
    "properties": {
        "age": {"type": "integer", "minimum": 0, "description": "In years."},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 2},
        "minimum": {"type": "object", "properties": {}},
    },
    "required": ["age"],
}


def test_a_schema_is_sent_in_the_form_of_the_service(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    fake.reply_with('{"age": 4}')
    answer = provider.chat("Hi", response_schema=_SCHEMA)
    schema = sent(fake)["output_config"]["format"]["schema"]
    age, names, inner = (schema["properties"][name] for name in ("age", "names", "minimum"))
    assert schema["additionalProperties"] is inner["additionalProperties"] is False
    assert age == {"type": "integer", "description": "In years. (minimum: 0)"}
    assert names["items"] == {"type": "string", "description": "maxLength: 9"}
    assert names["description"] == "minItems: 2"
    (warning,) = answer.warnings
    assert "does not enforce minimum, maxLength, minItems" in warning


def test_parse_checks_what_the_service_does_not_enforce(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    fake.reply_with('{"age": -1}', '{"age": 4}')
    parsed = provider.parse("How old?", _SCHEMA)
    assert (parsed.value, parsed.attempts) == ({"age": 4}, 2)


def test_a_schema_that_the_service_refuses_is_written_in_words(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    open_schema = {"type": "object", "additionalProperties": True}
    fake.reply_with('{"a": 1}')
    parsed = provider.parse("Any?", open_schema)
    assert parsed.value == {"a": 1}
    assert "output_config" not in sent(fake)
    assert "JSON Schema" in sent(fake)["messages"][0]["content"]
    with pytest.raises(RequestRejectedError, match="additionalProperties"):
        provider.chat("Any?", response_schema=open_schema)
    fake.reply_with("{}")
    (warning,) = provider.chat("Any?", response_schema=open_schema, strict=False).warnings
    assert "response_schema" in warning


# --- fields that a model refuses ------------------------------------------------------------------


def test_sampling_that_a_model_refuses_is_left_out_on_request(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    with pytest.raises(RequestRejectedError) as caught:
        provider.chat("Hi", model="claude-opus-4-8", temperature=0.5)
    assert "strict=False" in str(caught.value.hint)
    answer = provider.chat("Hi", model="claude-opus-4-8", temperature=0.5, strict=False)
    assert any("temperature" in each for each in answer.warnings)
    assert "temperature" not in sent(fake)
    provider.chat("Hi", model="claude-sonnet-4-5", temperature=0.5, strict=False)
    assert sent(fake)["temperature"] == 0.5


def test_later_system_messages_are_sent_in_their_place_or_first(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    history = [Message.system("a"), Message.user("b"), Message.system("c"), Message.user("d")]
    assert provider.chat(history, model="claude-sonnet-5-5").warnings == ()
    assert [each["role"] for each in sent(fake)["messages"]] == ["user", "system", "user"]
    (warning,) = provider.chat(history, model="claude-opus-4-8").warnings
    assert "system messages" in warning
    assert sent(fake)["system"] == "a\n\nc"
    assert [each["role"] for each in sent(fake)["messages"]] == ["user", "user"]


def test_a_prefill_that_a_model_refuses_is_a_capability(provider: AnthropicProvider) -> None:
    history = [Message.user("Hi"), Message.assistant("Well")]
    with pytest.raises(CapabilityError, match="prefill"):
        provider.chat(history, model="claude-opus-4-8")
    assert provider.chat(history, model="claude-sonnet-4-5").text


# --- errors ---------------------------------------------------------------------------------------


def _refusal(status: str, kind: str, words: str, **more: Any) -> Refusal:
    headers = more.pop("headers", {})
    error = {"type": kind, "message": words, **more}
    return Refusal(status=status, body={"type": "error", "error": error}, headers=headers)


def test_a_rate_limit_is_a_busy_server_with_the_wait(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    for headers, seconds in (
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
    ):
        fake.reply_with(_refusal("429 X", "rate_limit_error", "Slow down", headers=headers))
        with pytest.raises(ServerBusyError) as caught:
            provider.chat("Hi")
        assert caught.value.retry_after_s == seconds
    fake.reply_with(_refusal("529 X", "overloaded_error", "Overloaded"))
    with pytest.raises(ServerBusyError) as caught:
        provider.chat("Hi")
    assert caught.value.status == 529


def test_a_limit_on_spending_is_not_tried_again(fake: FakeAnthropic) -> None:
    details = {"error_code": "enforced_spend_limit_reached"}
    refusal = _refusal("429 X", "rate_limit_error", "Limit reached", details=details)
    fake.reply_with(refusal, refusal)
    with AnthropicProvider(fake.url, model="plain", retry=RetryPolicy(first_wait_s=0)) as made:
        with pytest.raises(RequestRejectedError, match="Limit reached") as caught:
            made.chat("Hi")
    assert not caught.value.retryable
    assert len(fake.exchanges) == 1


def test_an_unknown_model_and_a_long_prompt_are_named(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    with pytest.raises(ModelNotFoundError) as missing:
        provider.chat("Hi", model="claude-opus-4-7")
    assert "claude-opus-4-8" in str(missing.value.hint)
    with pytest.raises(ContextOverflowError) as long:
        provider.chat("word " * 5000)
    assert (long.value.prompt_tokens, long.value.context_length) == (5000, 4096)


def test_a_prompt_that_the_service_refuses_has_no_estimated_count(
    fake: FakeAnthropic, provider: AnthropicProvider
) -> None:
    fake.break_next("status 400 with JSON", path="/v1/messages/count_tokens")
    with pytest.raises(RequestRejectedError):
        provider.count_tokens("Hi")


# --- events ---------------------------------------------------------------------------------------


def test_the_last_event_of_a_call_has_the_counts_and_no_text(fake: FakeAnthropic) -> None:
    events: List[CallEvent] = []
    fake.reply_with(Reply(text="A secret text.", thinking="A secret thought."))
    with AnthropicProvider(fake.url, model="plain", listeners=[events.append]) as provider:
        answer = provider.chat("A secret prompt.", thinking=True)
    last = events[-1]
    assert (last.kind, last.provider, last.operation) == ("finished", "anthropic", "chat")
    assert (last.prompt_tokens, last.completion_tokens) == (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
    )
    assert answer.provider_data and last.cost_usd is None
    shown = " ".join(f"{event!r} {event.to_dict()}" for event in events)
    assert "secret" not in shown.lower() and "signature" not in shown


# --- keys and headers -----------------------------------------------------------------------------


def test_the_key_and_the_version_are_headers(fake: FakeAnthropic) -> None:
    fake.api_key = "sk-ant-1"
    betas = {"anthropic-beta": "a,b", "anthropic-version": "2026-10-21"}
    with AnthropicProvider(fake.url, model="plain", api_key="sk-ant-1", max_tokens=9) as made:
        made.chat("Hi")
        first = fake.exchanges[-1].headers
        assert (first["x-api-key"], first["anthropic-version"]) == ("sk-ant-1", "2023-06-01")
        assert "authorization" not in first
    with AnthropicProvider(
        fake.url, model="plain", api_key="sk-ant-1", headers=betas, max_tokens=9
    ) as made:
        made.chat("Hi")
        second = fake.exchanges[-1].headers
        assert (second["anthropic-beta"], second["anthropic-version"]) == ("a,b", "2026-10-21")
        with pytest.raises(RequestRejectedError, match="Extra inputs"):
            made.chat("Hi", temperature=0.5)
    with AnthropicProvider(fake.url, model="plain", headers={"x-api-key": "sk-ant-1"}) as made:
        assert made.chat("Hi").text
    with AnthropicProvider(fake.url, model="plain", api_key="sk-wrong") as made:
        with pytest.raises(AuthenticationError, match="invalid x-api-key") as caught:
            made.chat("Hi")
        assert "sk-wrong" not in str(caught.value)


def test_the_variable_is_read_for_the_address_of_the_service_only(
    monkeypatch: pytest.MonkeyPatch, fake: FakeAnthropic
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-7")
    for address in (None, "https://api.anthropic.com", "https://api.anthropic.com/v1"):
        found = AnthropicProvider(address).settings
        assert found.api_key is not None and found.api_key.reveal() == "sk-ant-7"
        assert found.endpoint.url == "https://api.anthropic.com:443"
    assert AnthropicProvider(fake.url).settings.api_key is None
    own = SecretString("sk-other")
    assert AnthropicProvider(headers={"x-api-key": own}).settings.api_key is None
    monkeypatch.setenv("ANTHROPIC_BASE_URL", fake.url)
    assert AnthropicProvider().settings.endpoint.host == "api.anthropic.com"


_VERBS: Mapping[str, Any] = {
    "chat": lambda provider: provider.chat("Hi"),
    "stream": lambda provider: provider.stream("Hi").result(),
    "parse": lambda provider: provider.parse("Hi", int),
    "run_tools": lambda provider: provider.run_tools("Hi", [weather]),
    "count_tokens": lambda provider: provider.count_tokens("Hi"),
    "list_models": lambda provider: provider.list_models(),
    "model_info": lambda provider: provider.model_info("m"),
    "model_capabilities": lambda provider: provider.model_capabilities("m"),
    "supports_model": lambda provider: provider.supports_model("m"),
    "thinking": lambda provider: provider.chat("Hi", thinking=True),
    "documents": lambda provider: provider.chat(
        Message.user("Hi", documents=[Document.from_text("x")])
    ),
    "stream_tools": lambda provider: provider.stream_tools("Hi", [weather]).result(),
    "complete": lambda provider: provider.complete(
        CompletionRequest(messages=[Message.user("Hi")])
    ),
    "stream_read": lambda provider: list(provider.stream("Hi")),
}
#: The methods that this API lacks.
_MISSING: Mapping[str, Any] = {
    "embed": lambda provider: provider.embed("Hi"),
    "rerank": lambda provider: provider.rerank("Hi", ["x"]),
    "render": lambda provider: provider.render("Hi"),
    "decide": lambda provider: provider.decide("Hi", {"glad": YesNo("Is it?")}),
    "decide_labels": lambda provider: provider.decide(
        "Hi", {"glad": YesNo("Is it?")}, method="logprobs"
    ),
}


@pytest.mark.parametrize("locality", ["loopback", "private"])
@pytest.mark.parametrize("verb", sorted(_VERBS))
def test_no_name_is_looked_up_before_the_locality_allows_it(
    monkeypatch: pytest.MonkeyPatch, verb: str, locality: Any
) -> None:
    asked: List[Any] = []

    def refuse(*args: Any, **_: Any) -> Any:
        asked.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(resolve.socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    for address in (None, "https://API.anthropic.com.", "http://api.anthropic.com:80"):
        with AnthropicProvider(address, model="m", locality=locality) as made:
            with pytest.raises(LocalityError, match="service on the internet") as caught:
                _VERBS[verb](made)
            assert 'locality="any"' in str(caught.value.hint)
    assert asked == []


@pytest.mark.parametrize("verb", sorted(_MISSING))
def test_a_method_that_the_api_lacks_opens_no_connection(
    monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a name was looked up, or a connection was opened")

    monkeypatch.setattr(resolve.socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with AnthropicProvider(model="m") as made, pytest.raises((LocalityError, UnsupportedError)):
        _MISSING[verb](made)


def test_with_any_locality_the_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: List[Any] = []

    def refuse(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(resolve.socket, "getaddrinfo", refuse)
    once = RetryPolicy(attempts=1)
    with AnthropicProvider(model="m", locality="any", retry=once, max_tokens=9) as made:
        with pytest.raises(Exception, match=r"api\.anthropic\.com"):
            made.chat("Hi")
    assert asked == ["api.anthropic.com"]


def test_a_key_is_not_sent_in_the_clear() -> None:
    with AnthropicProvider("http://192.0.2.1", model="m", api_key="sk-1", locality="any") as made:
        with pytest.raises(ConfigurationError, match="sent in the clear"):
            made.chat("Hi", timeout=5)
