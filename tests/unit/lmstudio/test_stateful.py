"""Conversations that the server stores: requests, events and errors."""

from __future__ import annotations

import json
import traceback
from typing import Any, Dict, List

import pytest

from localproviders import (
    CapabilityError,
    CompletionChunk,
    ConfigurationError,
    ContextOverflowError,
    Image,
    LimitError,
    Limits,
    LMStudioProvider,
    ModelNotFoundError,
    ProtocolError,
    RequestRejectedError,
    ServerBusyError,
    ServerError,
    StreamInterruptedError,
    WrongModelError,
)
from localproviders.telemetry import CallEvent
from localproviders.testing import (
    Exchange,
    FakeModel,
    Refusal,
    Reply,
    ScriptedServer,
    http_answer,
)
from tests.support.fake_time import FakeTime
from tests.unit.lmstudio.support import MODEL, studio

PATH = "/api/v1/chat"
PNG = Image.from_bytes(b"\x89PNG\r\n\x1a\n....")
SEER = FakeModel(name=MODEL, abilities=("chat", "vision"), loaded=True)
THINKER = FakeModel(name=MODEL, abilities=("chat", "thinking"), loaded=True)


# --- there ------------------------------------------------------------------------------------


def test_only_what_is_set_is_sent() -> None:
    with studio() as pair:
        pair.provider.stateful_chat("Hi")

        assert pair.last_body(PATH) == {"model": MODEL, "input": "Hi", "stream": True}


FIELDS: Dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "repeat_penalty": 1.1,
    "context_length": 8192,
}


def test_every_field_is_sent_under_its_name() -> None:
    with studio([THINKER]) as pair:
        pair.provider.stateful_chat(
            "Hi", system="Be brief.", max_tokens=99, thinking=False, store=False, **FIELDS
        )

        assert pair.last_body(PATH) == {
            "model": MODEL,
            "input": "Hi",
            "stream": True,
            "system_prompt": "Be brief.",
            "max_output_tokens": 99,
            "reasoning": "off",
            "store": False,
            **FIELDS,
        }


def test_texts_and_images_keep_their_order() -> None:
    with studio([SEER]) as pair:
        pair.provider.stateful_chat(["This", PNG, "and this"], images=[PNG])

        image = {"type": "image", "data_url": PNG.data_uri}
        assert pair.last_body(PATH)["input"] == [
            {"type": "text", "content": "This"},
            image,
            {"type": "text", "content": "and this"},
            image,
        ]


def test_one_text_with_an_image_makes_two_items() -> None:
    with studio([SEER]) as pair:
        pair.provider.stateful_chat("Look", images=[PNG])

        assert [item["type"] for item in pair.last_body(PATH)["input"]] == ["text", "image"]


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1.5},
        {"top_p": 2.0},
        {"min_p": 1.1},
        {"thinking": "very"},
        {"previous_response_id": "chatcmpl-1"},
    ],
    ids=str,
)
def test_what_this_route_does_not_take_is_refused_here(fields: Any) -> None:
    with studio() as pair:
        with pytest.raises(ConfigurationError, match=next(iter(fields))):
            pair.provider.stateful_chat("Hi", **fields)

        assert pair.take_requests() == []


@pytest.mark.parametrize("nothing", ["", [], [""], [7], None])
def test_nothing_to_say_is_refused_here(nothing: Any) -> None:
    with studio() as pair:
        with pytest.raises((ValueError, TypeError)):
            pair.provider.stateful_chat(nothing)

        assert pair.take_requests() == []


def test_a_field_that_this_route_does_not_have_is_named() -> None:
    with studio() as pair:
        with pytest.raises(TypeError, match="did you mean 'top_p'"):
            pair.provider.stateful_chat("Hi", topp=0.5)  # type: ignore[call-arg]  # the point


@pytest.mark.parametrize(("wanted", "sent"), [(True, "on"), (False, "off"), ("on", "on")])
def test_thinking_goes_in_the_servers_word(wanted: Any, sent: str) -> None:
    with studio([THINKER]) as pair:
        pair.provider.stateful_chat("Hi", thinking=wanted)

        assert pair.last_body(PATH)["reasoning"] == sent


def test_thinking_that_the_model_does_not_take_is_refused_with_the_servers_fact() -> None:
    with studio([THINKER]) as pair:
        with pytest.raises(CapabilityError, match="accepts off, on") as caught:
            pair.provider.stateful_chat("Hi", thinking="high")

        assert pair.take_requests() == ["GET /api/v1/models"] * 2
    assert caught.value.evidence


def test_a_model_without_on_takes_its_usual_level() -> None:
    said = {"reasoning": {"allowed_options": ["low", "medium"], "default": "low"}}
    listing = http_answer({"models": [{"key": MODEL, "capabilities": said}]})
    with ScriptedServer(lambda e: [listing if e.method == "GET" else integer("x")]) as server:
        with LMStudioProvider(server.url, model=MODEL) as provider:
            provider.stateful_chat("Hi", thinking=True)

    assert server.exchanges[-1].json["reasoning"] == "low"


def test_a_model_that_cannot_see_gets_no_image() -> None:
    with studio() as pair:
        with pytest.raises(CapabilityError, match="see images"):
            pair.provider.stateful_chat("Look", images=[PNG])

        assert "POST /api/v1/chat" not in pair.take_requests()


# --- back -------------------------------------------------------------------------------------


def test_the_whole_answer() -> None:
    with studio([THINKER]) as pair:
        pair.server.reply_with(Reply(text="Well, hello.", thinking="Hm, so."))
        response = pair.provider.stateful_chat("one two")

    assert (response.text, response.thinking) == ("Well, hello.", "Hm, so.")
    assert (response.model, response.finish_reason) == (MODEL, None)
    assert response.usage.prompt_tokens == 2
    assert (response.usage.completion_tokens, response.usage.thinking_tokens) == (4, 2)
    assert response.response_id is not None
    assert response.server_timings.load_s is None
    assert response.warnings == ()


def test_a_conversation_goes_on_from_any_answer() -> None:
    with studio() as pair:
        first = pair.provider.stateful_chat("one two")
        second = pair.provider.stateful_chat("three", previous_response_id=first.response_id)
        branch = pair.provider.stateful_chat("four", previous_response_id=first.response_id)

        assert pair.last_body(PATH)["previous_response_id"] == first.response_id
    assert second.usage.prompt_tokens == branch.usage.prompt_tokens == 2 + 3 + 1
    assert len({first.response_id, second.response_id, branch.response_id}) == 3


def test_what_is_not_stored_has_no_id() -> None:
    with studio() as pair:
        assert pair.provider.stateful_chat("Hi", store=False).response_id is None


def test_an_answer_that_the_server_does_not_keep_cannot_be_continued() -> None:
    with studio() as pair:
        with pytest.raises(RequestRejectedError) as caught:
            pair.provider.stateful_chat("Hi", previous_response_id="resp_gone")

    assert "30 days" in str(caught.value.hint)


def test_chunks_tell_how_far_loading_and_reading_are() -> None:
    with studio() as pair:
        with pair.provider.stateful_stream("Hi", context_length=8192) as stream:
            chunks = list(stream)
            response = stream.result()

        assert pair.server.loaded == {MODEL: 8192}
    reports = [chunk.progress for chunk in chunks if chunk.progress is not None]
    steps = [None, 0.5, 1, 1]
    assert [report.fraction for report in reports] == steps * 2
    assert [report.status for report in reports[::4]] == ["loading the model", "reading the prompt"]
    assert not any(chunk.text for chunk in chunks if chunk.progress)
    assert "".join(chunk.text for chunk in chunks) == response.text == "Hello there, friend."
    assert response.server_timings.load_s == 0.5


def test_as_long_as_allowed_may_be_cut() -> None:
    with studio() as pair:
        cut = pair.provider.stateful_chat("Hi", max_tokens=2)
        fits = pair.provider.stateful_chat("Hi", max_tokens=4)

    assert (cut.text, cut.finish_reason) == ("Hello there,", None)
    assert cut.warnings == (
        "the answer is as long as max_tokens=2 allows, so it may be cut (inferred)",
    )
    assert fits.warnings == ()


def test_the_copy_in_memory_may_have_a_name_of_its_own() -> None:
    with studio([FakeModel(name=MODEL, loaded=True, instance="my-qwen")]) as pair:
        assert pair.provider.stateful_chat("Hi").model == "my-qwen"


@pytest.mark.parametrize("allowed", [False, True])
def test_another_models_answer_is_an_error(allowed: bool) -> None:
    with studio() as pair:
        pair.server.reply_with(Reply(model="another"))
        if allowed:
            response = pair.provider.stateful_chat("Hi", allow_other_model=True)
            assert response.model == "another"
            return
        with pytest.raises(WrongModelError) as caught:
            pair.provider.stateful_chat("Hi")

    assert (caught.value.requested, caught.value.served) == (MODEL, "another")


def test_the_events_of_a_call() -> None:
    events: List[CallEvent] = []
    with studio(listeners=(events.append,)) as pair:
        pair.provider.stateful_chat("Hi")

    assert [(event.kind, event.operation) for event in events] == [
        ("started", "stateful_chat"),
        ("connected", "stateful_chat"),
        ("first_token", "stateful_chat"),
        ("finished", "stateful_chat"),
    ]


def test_a_model_that_left_is_loaded_again() -> None:
    with studio(jit=False) as pair:
        pair.provider.load(MODEL, context_length=8192)
        pair.server.evict(MODEL)
        response = pair.provider.stateful_chat("Hi")

        assert pair.server.loaded == {MODEL: 8192}
    assert response.attempts == 2
    assert "loaded again" in response.warnings[0]


def test_a_prompt_that_does_not_fit_is_an_error() -> None:
    with studio() as pair:
        with pytest.raises(ContextOverflowError) as caught:
            pair.provider.stateful_chat("word " * 5000)

    assert (caught.value.prompt_tokens, caught.value.context_length) == (5000, 4096)


def test_a_model_must_be_known() -> None:
    with studio() as pair:
        with pytest.raises(ModelNotFoundError):
            pair.provider.stateful_chat("Hi", model="nobody/nothing")


# --- odd streams ------------------------------------------------------------------------------

DELTA = '{"type":"message.delta","content":"Hel"}'
END = json.dumps({"type": "chat.end", "result": {"model_instance_id": MODEL, "output": []}})


def events(*records: str, named: bool = True) -> bytes:
    frames = [f"event: x\ndata: {text}\n\n" if named else f"data: {text}\n\n" for text in records]
    return http_answer("".join(frames), content_type="text/event-stream", chunked=True)


def integer(said: str) -> bytes:
    return http_answer(
        {"model_instance_id": MODEL, "output": [{"type": "message", "content": said}]}
    )


def ask(answer: bytes) -> Any:
    listing = http_answer({"models": [{"key": MODEL}]})

    def script(exchange: Exchange) -> List[bytes]:
        return [listing if exchange.method == "GET" else answer]

    with ScriptedServer(script) as server, LMStudioProvider(server.url, model=MODEL) as provider:
        return provider.stateful_chat("Hi")


@pytest.mark.sample(3)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    "more",
    [[], ["[DONE]"], ['{"type":"something.new","x":1}'], ['{"type":"message.end"}']],
    ids=str,
)
def test_only_the_last_event_ends_an_answer(more: List[str], named: bool) -> None:
    assert ask(events(DELTA, *more, END, named=named)).text == "Hel"
    assert ask(events(DELTA, END, *more, named=named)).text == "Hel"
    with pytest.raises(StreamInterruptedError) as caught:
        ask(events(DELTA, *more, named=named))
    assert caught.value.partial == "Hel"


def test_an_answer_that_does_not_stream_is_whole() -> None:
    assert ask(integer("Hello.")).text == "Hello."


def test_text_that_came_only_at_the_end_counts() -> None:
    output = [{"type": "reasoning", "content": "Hm."}, {"type": "message", "content": "Hello."}]
    response = ask(events(json.dumps({"type": "chat.end", "result": {"output": output}})))
    assert (response.text, response.thinking) == ("Hello.", "Hm.")


def _said(text: str) -> List[str]:
    return [json.dumps({"type": "message.delta", "content": letter}) for letter in text]


@pytest.mark.parametrize(
    "text",
    [
        "<think>hm</think>\n\nfour",
        "[THINK]hm[/THINK]four",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>four",
        "hm</think>\n\nfour",
    ],
)
def test_thinking_in_the_text_is_told_apart(text: str) -> None:
    for answer in (events(*_said(text), END), integer(text)):
        response = ask(answer)
        assert (response.text, response.thinking) == ("four", "hm")
        assert response.thinking_inferred


def test_a_closing_tag_behind_the_reasoning_is_dropped() -> None:
    reasoning = '{"type":"reasoning.delta","content":"hm"}'
    response = ask(events(reasoning, *_said("\n</think>\n\nfour"), END))
    assert (response.text, response.thinking) == ("four", "hm")
    assert not response.thinking_inferred


def test_text_held_back_for_a_tag_is_in_the_partial_text() -> None:
    with pytest.raises(StreamInterruptedError) as caught:
        ask(events(*_said("<thin")))
    assert caught.value.partial == "<thin"


def test_an_event_without_data_says_nothing() -> None:
    assert ask(events("", DELTA, "", END)).text == "Hel"


def test_the_time_to_the_first_token_is_that_of_the_prompt() -> None:
    stats = {"time_to_first_token_seconds": 0.5}
    response = ask(http_answer({"output": [], "stats": stats}))
    assert response.server_timings.prompt_s == 0.5


def test_an_error_counts_although_the_last_event_follows() -> None:
    error = '{"type":"error","error":{"type":"unknown","message":"Compute error."}}'
    with pytest.raises(ServerError, match="Compute error") as caught:
        ask(events(DELTA, error, END))
    assert caught.value.partial == "Hel"


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ('{"type":"error"}', ServerError),
        ('{"error":"The server is starting"}', ServerBusyError),
        ("{}", ProtocolError),
        ("[1]", ProtocolError),
        ('{"type":7}', ProtocolError),
        ('{"type":"message.delta","content":7}', ProtocolError),
        ('{"type":"chat.end"}', ProtocolError),
        ('{"type":"chat.end","result":{"output":"x"}}', ProtocolError),
        ('{"type":"chat.end","result":{"output":["x"]}}', ProtocolError),
        ("<<<", ProtocolError),
    ],
)
def test_what_is_no_event_is_an_error(record: str, error: Any) -> None:
    with pytest.raises(error) as caught:
        ask(events(DELTA, record, END))
    assert caught.value.partial == "Hel"


def test_numbers_may_come_as_any_number() -> None:
    end = (
        '{"type":"chat.end","result":{"output":[],"response_id":7,"stats":{"input_tokens":5.0,'
        '"total_output_tokens":"9","reasoning_output_tokens":null,"model_load_time_seconds":2}}}'
    )
    response = ask(events(end))
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (5, None)
    assert (response.response_id, response.server_timings.load_s) == (None, 2.0)


def test_the_servers_own_tools_stay_visible() -> None:
    call = '{"type":"tool_call.name","tool_name":"f"}'
    listing = http_answer({"models": [{"key": MODEL}]})
    answer = events(call, DELTA, END)
    with ScriptedServer(lambda e: [listing if e.method == "GET" else answer]) as server:
        with LMStudioProvider(server.url, model=MODEL) as provider:
            chunks: List[CompletionChunk] = list(provider.stateful_stream("Hi"))

    assert [(chunk.raw or {}).get("tool_name") for chunk in chunks] == ["f", None, None]
    assert not chunks[0].has_content


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("no last record", StreamInterruptedError),
        ("a named error event", ServerError),
        ("an error in mid-stream: an object", ServerError),
        ("another model", WrongModelError),
        ("a number for the text", ProtocolError),
        ("status 500 with HTML", ServerError),
    ],
)
def test_faults_strike_this_route_too(fault: str, error: Any) -> None:
    with studio() as pair:
        pair.provider.generation()
        pair.server.break_next(fault)
        with pytest.raises(error):
            pair.provider.stateful_chat("Hi")


def test_a_stalled_answer_meets_the_limit_of_silence_and_keeps_its_text(
    fake_clock: FakeTime,
) -> None:
    with studio() as pair:
        pair.server.break_next("body stalled")
        with pytest.raises(LimitError) as caught:
            pair.provider.stateful_chat("Hi", timeout=Limits(idle_s=8))

    error = caught.value
    assert (error.limit, error.partial, error.elapsed_s) == ("idle_s", "Hello", 8)


def test_no_prompt_is_in_an_error_or_its_frames() -> None:
    with studio() as pair:
        pair.server.reply_with(
            Refusal(status="400 Bad Request", body={"error": "cannot read 'needle in here'"})
        )
        with pytest.raises(RequestRejectedError) as caught:
            pair.provider.stateful_chat("needle in here", system="needle in here")
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "localproviders" in frame.filename]

    assert ours
    assert "needle" not in str(caught.value)
    assert not [
        frame for frame in ours for value in (frame.locals or {}).values() if "needle" in value
    ]
