"""`stream_tools`: the text of all rounds, a chunk for each step, and the promises of streams."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import pickle
import threading
from typing import Any, Callable, Dict, List

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    CompletionChunk,
    CompletionRequest,
    LimitError,
    LocalProvider,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    StreamInterruptedError,
    ToolCallError,
    ToolRun,
    ToolStep,
    UnreachableError,
)
from localproviders.telemetry import CallEvent
from localproviders.testing import FakeOpenAICompatible, Reply, ScriptedServer, http_answer
from localproviders.types import ToolStream
from tests.promises.life.serving import CHUNKED, DONE, ReachedStep, chunk, hold
from tests.support.asking import ServedProvider, assert_shows_no_prompt, tool_call_reply
from tests.support.asking import ollama as ollama
from tests.support.asking import served as served
from tests.support.fake_time import FakeTime
from tests.support.locality import PROMPT
from tests.support.timing import GRACE_S


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def broken() -> str:
    """Fail."""
    raise LookupError("nothing here")


_CALL = tool_call_reply(("add", {"a": 1, "b": 2}), text="Let me add.")


def test_the_text_of_all_rounds_arrives_with_a_chunk_for_each_step(served: ServedProvider) -> None:
    served.fake.reply_with(_CALL, "The sum is three.")
    with served.provider.stream_tools("1 + 2?", [add], system="Be brief.") as stream:
        chunks = list(stream)

    text = "".join(chunk.text for chunk in chunks)
    assert text == "Let me add.The sum is three."
    steps = [chunk.tool_step for chunk in chunks if chunk.tool_step]
    assert [(step.call.name, step.content, step.round) for step in steps] == [("add", "3", 1)]
    number = [bool(chunk.tool_step) for chunk in chunks].index(True)
    before, after = chunks[:number], chunks[number + 1 :]
    assert [call.name for chunk in before for call in chunk.tool_calls] == ["add"]
    assert "".join(chunk.text for chunk in after) == "The sum is three."
    assert len([chunk for chunk in after if chunk.text]) > 1
    assert not chunks[number].text and not chunks[number].has_content

    run = stream.result()
    assert type(stream) is ToolStream and type(run) is ToolRun
    assert stream.text == run.text == "The sum is three."
    assert run.steps == tuple(steps)
    assert pickle.loads(pickle.dumps(run)) == run


def test_the_run_is_that_of_run_tools(served: ServedProvider) -> None:
    runs = []
    for verb in (served.provider.run_tools, served.provider.stream_tools):
        served.fake.reply_with(_CALL, tool_call_reply(("nobody", {})), "Three.")
        made = verb("1 + 2?", [add], max_rounds=5, temperature=0)
        runs.append(made if isinstance(made, ToolRun) else made.result())
    first, second = runs
    assert first.messages == second.messages
    assert [each.text for each in first.responses] == [each.text for each in second.responses]
    assert [each.usage for each in first.responses] == [each.usage for each in second.responses]
    assert [(s.call, s.content, s.error) for s in first.steps] == [
        (s.call, s.content, s.error) for s in second.steps
    ]
    assert served.requests[:3] == served.requests[3:]


def test_a_chunk_with_a_step_is_written_and_pickled() -> None:
    chunk = CompletionChunk(tool_step=ToolStep(call=_CALL.tool_calls[0], content="3"))
    assert chunk.to_dict()["tool_step"]["content"] == "3"
    assert pickle.loads(pickle.dumps(chunk)) == chunk != CompletionChunk()
    assert "3" not in repr(chunk)


def test_the_first_request_goes_out_in_the_call(served: ServedProvider) -> None:
    served.fake.break_next("status 400 with JSON")
    with pytest.raises(ProviderError) as caught:
        served.provider.stream_tools(PROMPT, [add])
    assert caught.value.run.steps == ()
    assert_shows_no_prompt(caught.value)

    asked = len(served.requests)
    served.fake.reply_with("Hi.")
    with served.provider.stream_tools("Hi", [add]):
        assert len(served.requests) == asked + 1


def test_nothing_is_sent_with_a_wrong_argument(ollama: ServedProvider) -> None:
    token = CancelToken()
    numbers = (0, 2.5, "2", True, math.inf, math.nan)
    wrongs: List[Any] = [{name: n} for name in ("parallel", "max_rounds") for n in numbers]
    for wrong in (*wrongs, {"on_tool_error": "ignore"}, {"timeout": -1}):
        for verb in (ollama.provider.run_tools, ollama.provider.stream_tools):
            with pytest.raises(ValueError, match=f"{next(iter(wrong))} is|total_s"):
                verb("Hi", [add], cancel=token, **wrong)  # type: ignore[operator]  # a wrong value
    assert ollama.requests == [] and token._listeners == set()


def test_the_result_can_be_taken_at_once_and_again(ollama: ServedProvider) -> None:
    ollama.fake.reply_with(_CALL, "Three.")
    seen: List[ToolStep] = []
    stream = ollama.provider.stream_tools("1 + 2?", [add], on_step=seen.append)
    assert stream.result() is stream.result()
    assert list(stream) == [] and seen == list(stream.result().steps)
    assert "ended" in repr(stream) and "Three" not in repr(stream)


# --- closing and cancelling ---------------------------------------------------------------------


def _event(delta: Dict[str, Any], reason: Any = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return chunk(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")


_CALLED = {
    "tool_calls": [
        {"index": 0, "id": "c", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    ]
}
_ROUND = [CHUNKED, _event(_CALLED, "tool_calls"), DONE]


def _scripted(*rounds: List[Any]) -> ScriptedServer:
    left = list(rounds)
    return ScriptedServer(lambda _: left.pop(0))


def _provider(server: ScriptedServer) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider(server.url, model="m", retry=RetryPolicy(attempts=1))


@pytest.mark.parametrize("how", ["close", "with", "drop"])
def test_closing_in_a_later_round_closes_the_connection(how: str) -> None:
    with _scripted(_ROUND, [CHUNKED, _event({"content": "Th"}), hold]) as server:
        with _provider(server) as provider:
            stream = provider.stream_tools("1 + 2?", [add])
            for each in stream:
                if each.text:
                    break
            assert stream.text == "Th"
            gc.disable()
            try:
                if how == "drop":
                    del stream, each
                elif how == "with":
                    with stream:
                        pass
                else:
                    stream.close()
                    stream.close()
                assert server.wait_for_connections(0, GRACE_S)
            finally:
                gc.enable()
            if how != "drop":
                for end in (stream.result, lambda: next(stream)):
                    with pytest.raises(CancelledError) as caught:
                        end()
                assert caught.value.partial == "Th"
                assert [step.content for step in caught.value.run.steps] == ["3"]


def test_closing_after_a_step_sends_no_further_request(served: ServedProvider) -> None:
    served.fake.reply_with(_CALL, "Three.")
    stream = served.provider.stream_tools("1 + 2?", [add])
    while next(stream).tool_step is None:
        pass
    stream.close()
    with pytest.raises(CancelledError) as caught:
        stream.result()
    assert len(served.requests) == 1 and len(caught.value.run.steps) == 1


def test_another_thread_ends_a_stream_that_waits_for_the_server() -> None:
    reached = ReachedStep()
    with _scripted(_ROUND, [reached, hold]) as server, _provider(server) as provider:
        stream = provider.stream_tools("1 + 2?", [add])
        while next(stream).tool_step is None:
            pass
        closer = threading.Thread(target=lambda: (reached.wait(), stream.close()))
        closer.start()
        with pytest.raises(CancelledError):
            next(stream)
        closer.join()


@pytest.mark.parametrize("when", ["before", "in a tool", "between"])
def test_a_token_cancels_the_run(ollama: ServedProvider, when: str) -> None:
    token = CancelToken()

    def stop() -> str:
        if when == "in a tool":
            token.cancel()
        return "stopped"

    if when == "before":
        token.cancel()
        with pytest.raises(CancelledError):
            ollama.provider.stream_tools("Go", [stop], cancel=token)
        return
    ollama.fake.reply_with(tool_call_reply(("stop", {})), "Done.")
    stream = ollama.provider.stream_tools("Go", [stop], cancel=token)
    with pytest.raises(CancelledError) as caught:
        for chunk in stream:
            if chunk.tool_step is not None and when == "between":
                token.cancel()
    assert [step.content for step in caught.value.run.steps] == ["stopped"]
    assert token._listeners == set()


def test_a_run_leaves_nothing_at_its_token(ollama: ServedProvider) -> None:
    token = CancelToken()
    ollama.fake.reply_with(_CALL, "Three.", "Four.")
    assert ollama.provider.stream_tools("1 + 2?", [add], cancel=token).result().text == "Three."
    ollama.provider.run_tools("2 + 2?", [add], cancel=token)
    assert token._listeners == set()


def test_a_call_of_a_listener_during_a_stream_has_its_own_operation(ollama: ServedProvider) -> None:
    seen = set()

    def listen(event: CallEvent) -> None:
        seen.add((event.model, event.operation))
        if event.kind == "first_token" and event.model == "m":
            with contextlib.suppress(ProviderError):
                provider.complete(CompletionRequest(messages=(Message.user("x"),), model="other"))

    ollama.fake.reply_with(_CALL, "Three.")
    with OllamaProvider(ollama.fake.url, model="m", listeners=[listen]) as provider:
        provider.stream_tools("1 + 2?", [add]).result()
    assert seen == {("m", "stream_tools"), ("other", "complete")}


# --- errors -----------------------------------------------------------------------------------


def test_a_late_round_that_breaks_off_is_an_error_with_its_text() -> None:
    broken_off = [CHUNKED, _event({"content": "The s"}), lambda exchange: exchange.close()]
    with _scripted(_ROUND, broken_off) as server, _provider(server) as provider:
        stream = provider.stream_tools(PROMPT, [add])
        with pytest.raises(StreamInterruptedError) as caught:
            list(stream)
        error = caught.value
        assert (error.partial, stream.text) == ("The s", "The s")
        assert [step.content for step in error.run.steps] == ["3"]
        assert len(error.run.responses) == 1
        with pytest.raises(StreamInterruptedError) as again:
            stream.result()
    assert again.value is error
    assert_shows_no_prompt(error)


def test_a_refused_later_round_is_an_error_with_the_run(served: ServedProvider) -> None:
    def fail() -> str:
        served.fake.break_next("status 500 with JSON")
        return "ok"

    served.fake.reply_with(tool_call_reply(("fail", {})))
    with pytest.raises(ProviderError) as caught:
        served.provider.stream_tools(PROMPT, [fail]).result()
    assert [message.role for message in caught.value.run.added] == ["assistant", "tool"]
    assert_shows_no_prompt(caught.value)


def test_the_total_holds_for_the_whole_stream(fake_clock: FakeTime, served: ServedProvider) -> None:
    served.fake.usual = tool_call_reply(("nap", {}))

    def nap() -> str:
        fake_clock.advance(2)
        return "woke"

    stream = served.provider.stream_tools(PROMPT, [nap], max_rounds=1000, timeout=9)
    with pytest.raises(LimitError, match=r"total_s of 9 s") as caught:
        list(stream)
    assert (caught.value.limit_s, len(served.requests)) == (9, 5)
    assert len(caught.value.run.steps) == 5


def test_a_stalled_later_round_meets_the_total_of_the_whole_call(
    fake_clock: FakeTime, served: ServedProvider
) -> None:
    def nap() -> str:
        fake_clock.advance(2)
        served.fake.break_next("body stalled")
        return "woke"

    served.fake.reply_with(tool_call_reply(("nap", {})))
    with pytest.raises(LimitError, match=r"total_s of 5 s") as caught:
        served.provider.stream_tools(PROMPT, [nap], timeout=5).result()
    assert (caught.value.limit_s, caught.value.elapsed_s) == (5, 5)
    assert [message.content for message in caught.value.run.added] == ["", "woke"]


def test_the_error_of_a_tool_ends_the_stream_if_asked(ollama: ServedProvider) -> None:
    ollama.fake.reply_with(tool_call_reply(("broken", {})), "Done.")
    seen: List[ToolStep] = []
    stream = ollama.provider.stream_tools(
        PROMPT, [broken], on_tool_error="raise", on_step=seen.append
    )
    with pytest.raises(LookupError, match="nothing here") as caught:
        list(stream)
    assert caught.traceback[-1].name == "broken"
    assert [step.error for step in seen] == ["LookupError: nothing here"]
    assert_shows_no_prompt(caught.value)
    with pytest.raises(CancelledError):
        stream.result()


def _stop_iteration() -> str:
    raise StopIteration("mine")


def _interrupt() -> str:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("tool", "expected"), [(_stop_iteration, RuntimeError), (_interrupt, KeyboardInterrupt)]
)
def test_no_exception_of_a_tool_looks_like_the_end_of_the_stream(
    ollama: ServedProvider, tool: Callable[[], str], expected: Any
) -> None:
    for verb in ("stream_tools", "run_tools"):
        ollama.fake.reply_with(tool_call_reply((tool.__name__, {})))
        run: Any = getattr(ollama.provider, verb)
        with pytest.raises(BaseException) as caught:
            list(run("Go", [tool], on_tool_error="raise"))
        same = StopIteration if verb == "run_tools" and tool is _stop_iteration else expected
        assert type(caught.value) is same


def test_a_call_that_cannot_be_read_is_reported_to_the_model_in_a_stream_too() -> None:
    bad = json.loads(json.dumps(_CALLED).replace("b", "b").replace("2}", "2"))
    refusal = http_answer({"error": {"message": "Failed to parse tool call: x"}}, status="500 x")
    rounds = [
        [refusal],
        [CHUNKED, _event(bad, "tool_calls"), DONE],
        _ROUND,
        [CHUNKED, _event({"content": "3"}, "stop"), DONE],
    ]
    with _scripted(*rounds) as server, _provider(server) as provider:
        with provider.stream_tools("1 + 2?", [add]) as stream:
            steps = [chunk.tool_step for chunk in stream if chunk.tool_step]
        run = stream.result()
    assert [step.error is None for step in steps] == [False, True]
    assert (run.text, run.rounds) == ("3", 4)


def test_a_model_that_never_answers_is_stopped(served: ServedProvider) -> None:
    served.fake.usual = _CALL
    with pytest.raises(ToolCallError, match="after 2 rounds") as caught:
        list(served.provider.stream_tools("1 + 2?", [add], max_rounds=2))
    assert len(caught.value.run.steps) == 1 and len(served.requests) == 2


def test_a_call_in_the_text_is_run_if_asked(ollama: ServedProvider) -> None:
    call = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
    ollama.fake.reply_with(f"Let me.{call}", "Three.")
    stream = ollama.provider.stream_tools("1 + 2?", [add], text_calls=True)
    steps = [chunk.tool_step.content for chunk in stream if chunk.tool_step]
    assert (steps, stream.result().responses[0].text) == (["3"], "Let me.")


def test_several_servers_share_a_stream_of_tools() -> None:
    with FakeOpenAICompatible(["m"]) as good:
        good.reply_with(Reply(text="", tool_calls=_CALL.tool_calls), "Three.")
        down = OpenAICompatibleProvider(
            "http://127.0.0.1:9", name="down", retry=RetryPolicy(attempts=1)
        )
        up = OpenAICompatibleProvider(good.url + "/v1", name="up")
        with LocalProvider([down, up], model="m") as local:
            run = local.stream_tools("1 + 2?", [add]).result()
            assert [attempt.provider for attempt in run.responses[0].tried] == ["down"]
            assert run.text == "Three."
        with LocalProvider([down], model="m") as local, pytest.raises(UnreachableError):
            local.stream_tools("1 + 2?", [add])
