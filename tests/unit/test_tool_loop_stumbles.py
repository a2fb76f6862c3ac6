"""The tool loop with a model whose calls cannot be read: it is told, and the loop goes on."""

from __future__ import annotations

import json
import pickle
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List

import pytest

from localproviders import OllamaProvider, OpenAICompatibleProvider, ToolCallError
from localproviders.provider import ModelProvider
from localproviders.testing import (
    Exchange,
    ScriptedServer,
    http_answer,
)
from tests.support.asking import ServedProvider, tool_call_reply
from tests.support.asking import ollama as ollama
from tests.support.asking import served as served

_GOOD = '{"a": 1, "b": 2}'


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def subtract(a: int, b: int) -> int:
    """Subtract two numbers."""
    return a - b


class Asked:
    """A provider, and the bodies of the chats that it sent."""

    def __init__(self, provider: ModelProvider, bodies: List[Dict[str, Any]]) -> None:
        self.provider = provider
        self.bodies = bodies


@contextmanager
def openai(*answers: bytes) -> Iterator[Asked]:
    """Serve answers of OpenAI's dialect, one after another; the last one again and again."""
    left, bodies = list(answers), []

    def script(exchange: Exchange) -> List[bytes]:
        bodies.append(json.loads(exchange.body))
        return [left.pop(0) if len(left) > 1 else left[0]]

    with ScriptedServer(script) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            yield Asked(provider, bodies)


_READY = {
    "/api/tags": {"models": [{"name": "m:latest", "model": "m:latest"}]},
    "/api/show": {"capabilities": ["completion", "tools"], "details": {}, "model_info": {}},
    "/api/ps": {"models": []},
}


@contextmanager
def old_ollama(*answers: bytes) -> Iterator[Asked]:
    """Serve answers of Ollama's dialect, one after another; the last one again and again."""
    left, bodies = list(answers), []

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.path in _READY:
            return [http_answer(_READY[exchange.path])]
        bodies.append(json.loads(exchange.body))
        return [left.pop(0) if len(left) > 1 else left[0]]

    with ScriptedServer(script) as server:
        with OllamaProvider(server.url, model="m") as provider:
            yield Asked(provider, bodies)


def called(*arguments: str, reason: str = "tool_calls") -> bytes:
    calls = [
        {"index": i, "id": f"c{i}", "function": {"name": "add", "arguments": text}}
        for i, text in enumerate(arguments)
    ]
    return events({"tool_calls": calls}, reason)


def said(text: str = "done") -> bytes:
    return events({"content": text}, "stop")


def events(delta: Dict[str, Any], reason: str) -> bytes:
    record = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    body = b"data: " + json.dumps(record).encode() + b"\n\ndata: [DONE]\n\n"
    return http_answer(body, content_type="text/event-stream")


def lines(*messages: Dict[str, Any]) -> bytes:
    records: List[Dict[str, Any]] = [{"model": "m", "message": m, "done": False} for m in messages]
    records.append({"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop"})
    body = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    return http_answer(body, content_type="application/x-ndjson")


def ollama_call(arguments: Any) -> Dict[str, Any]:
    call = {"function": {"name": "add", "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


@pytest.mark.parametrize(
    "text", ['{"a": 1, "b": 2,}', '{"a": 1', "a=1, b=2", "[1, 2]", "{'a': 1}", _GOOD + _GOOD, "5"]
)
def test_arguments_that_are_no_json_object_are_told(text: str) -> None:
    with openai(called(text), called(_GOOD), said()) as asked:
        run = asked.provider.run_tools("1 + 2?", [add], on_tool_error="raise")

    assert run.text == "done" and run.rounds == 3
    assert [step.error is None for step in run.steps] == [False, True]
    told = asked.bodies[1]["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "tool"]
    assert told[1]["tool_calls"][0]["function"]["arguments"] == "{}"  # servers parse them
    assert "not a JSON object" in told[2]["content"] == run.steps[0].error
    assert "incomplete" in run.responses[0].warnings[0]


def test_the_same_with_ollama() -> None:
    bad, good = (
        lines(ollama_call({"a": 5, "b": 5}), ollama_call('{"a": 1')),
        lines(ollama_call({"a": 1, "b": 2})),
    )
    with old_ollama(bad, good, lines({"content": "done"})) as asked:
        run = asked.provider.run_tools("1 + 2?", [add])

    assert run.text == "done"
    assert [step.error is None for step in run.steps] == [True, False, True]
    assert [step.content for step in run.steps][::2] == ["10", "3"]
    assert "not an object" in asked.bodies[1]["messages"][3]["content"]


def test_the_other_calls_of_the_answer_are_run() -> None:
    with openai(called(_GOOD, '{"a": 1', _GOOD), said()) as asked:
        run = asked.provider.run_tools("1 + 2?", [add])
    assert [step.error or step.content for step in run.steps][::2] == ["3", "3"]
    assert run.steps[1].error


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("Failed to parse input at pos 1360: <tool_call>prompt is too long", "500 x"),
        ("Failed to parse tool call arguments as JSON: [json.exception.parse_error.101]", "500 x"),
        ("Failed to parse tool call: Unexpected end of content", "400 x"),
        ("Failed to generate a tool call", "500 x"),
        ("Failed to call a function. Please adjust your prompt.", "400 x"),
    ],
)
def test_an_error_of_a_server_about_a_call_is_told(words: str, status: str) -> None:
    refusal = http_answer({"error": {"message": words}}, status=status)
    with openai(refusal, called(_GOOD), said()) as asked:
        run = asked.provider.run_tools("1 + 2?", [add])
        assert (run.text, run.rounds, len(run.steps)) == ("done", 3, 1)
    told = asked.bodies[1]["messages"]
    assert [message["role"] for message in told] == ["user", "user"]
    assert words[:20] in told[1]["content"]


@pytest.mark.parametrize(
    "words",
    [
        "error parsing tool call: raw='{\"a\":1]', err=invalid character ']'",
        "XML syntax error on line 3: element <parameter> closed by </function>",
        "failed to parse XML: XML syntax error on line 1: unexpected EOF",
        "expected element type <function> but have <parameter>",
    ],
)
@pytest.mark.parametrize("in_stream", [True, False])
def test_an_error_of_ollama_about_a_call_is_told(words: str, in_stream: bool) -> None:
    error = http_answer({"error": words}, status="200 OK" if in_stream else "500 x")
    with old_ollama(error, lines({"content": "done"})) as asked:
        assert asked.provider.run_tools("1 + 2?", [add]).text == "done"
        assert "could not be read" in asked.bodies[1]["messages"][-1]["content"]


def test_a_call_that_the_server_dropped_is_told() -> None:
    lost = events({"content": ""}, "tool_calls")
    gone = events({"content": ""}, "malformed_function_call")
    with openai(lost, gone, said()) as asked:
        assert asked.provider.run_tools("1 + 2?", [add]).text == "done"


def test_a_model_that_never_gets_it_right_is_stopped() -> None:
    with openai(called('{"a": ')) as asked:
        with pytest.raises(ToolCallError, match="not a JSON object") as caught:
            asked.provider.run_tools("1 + 2?", [add], max_rounds=3)
    assert len(asked.bodies) == 3
    assert len(caught.value.run.steps) == 2


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_call_that_was_cut_off_ends_the_loop(reason: str) -> None:
    with openai(called('{"a": 1', reason=reason), said()) as asked:
        with pytest.raises(ToolCallError, match="incomplete"):
            asked.provider.run_tools("1 + 2?", [add])
    assert len(asked.bodies) == 1


def test_chat_still_raises_the_error() -> None:
    with openai(called('{"a": 1')) as asked, pytest.raises(ToolCallError) as caught:
        asked.provider.chat("1 + 2?", tools=[add])
    assert "_calls" not in caught.value.to_dict()
    assert pickle.loads(pickle.dumps(caught.value)).to_dict() == caught.value.to_dict()


def test_the_last_round_has_no_tools(served: ServedProvider) -> None:
    served.fake.reply_with(tool_call_reply(("add", {"a": 1, "b": 2})), "Three.")
    run = served.provider.run_tools("1 + 2?", [add], max_rounds=2)
    assert run.text == "Three."
    assert [bool(body.get("tools")) for body in served.requests] == [True, False]


def test_the_last_round_has_no_choice_of_a_tool() -> None:
    with openai(called(_GOOD), said()) as asked:
        asked.provider.run_tools("1 + 2?", [add], max_rounds=2, tool_choice="auto")
    assert "tool_choice" in asked.bodies[0] and "tool_choice" not in asked.bodies[1]


def test_the_only_round_has_the_tools(ollama: ServedProvider) -> None:
    ollama.fake.reply_with("Three.")
    ollama.provider.run_tools("1 + 2?", [add], max_rounds=1)
    assert ollama.requests[0]["tools"]


# --- calls in the text -----------------------------------------------------------------------

_JSON = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
_XML = "<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n</parameter>\n</function>"
_GLM = "add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>b</arg_key><arg_value>2</arg_value>"
_TEXTS = [
    f"<tool_call>\n{_JSON}\n</tool_call>",
    f"Let me add them.\n<tool_call>{_JSON}</tool_call>",
    f"<tool_call>\n```json\n{_JSON}\n```\n</tool_call>",
    f"<tool_call>{_JSON}",
    f"<function_call>{_JSON}</function_call>",
    f"<tool_call>\n{_XML}\n</tool_call>",
    _XML,
    '<function=add>{"a": 1, "b": 2}</function>',
    f"<tool_call>{_GLM}</tool_call>",
    f"[TOOL_CALLS][{_JSON}]",
    '[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2}',
    f"[TOOL_REQUEST]{_JSON}[END_TOOL_REQUEST]",
    f"<|python_tag|>{_JSON}",
    '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1, "b": 2}<|call|>',
    _JSON,
    '{"name": "add", "parameters": {"a": "1", "b": "2"}}',
    '{"type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}}',
    '{"function": "functions.add", "arguments": {"a": 1, "b": 2}}',
    '{"tool": "add", "input": {"a": 1, "b": 2}}',
    f"```json\n{_JSON}\n```",
    f"[{_JSON}]",
    f"I will call the tool:\n{_JSON}",
]


@pytest.mark.parametrize("text", _TEXTS)
def test_a_call_in_the_text_is_run_if_asked(text: str) -> None:
    with openai(said(text), said()) as asked:
        run = asked.provider.run_tools("1 + 2?", [add, subtract], text_calls=True)
    assert [step.content for step in run.steps] == ["3"]
    assert run.text == "done" and "add" not in run.responses[0].text.replace("add them", "")
    assert "read from the text" in run.responses[0].warnings[0]
    roles = [message["role"] for message in asked.bodies[1]["messages"]]
    assert roles == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    "text",
    [
        *_TEXTS,
        "<|tool_call_start|>[add(a=1, b=2)]<|tool_call_end|>",
        "<tool_call>add(1,2)</tool_call>",
    ],
)
def test_a_call_in_the_text_is_otherwise_a_warning(text: str) -> None:
    with openai(said(text)) as asked:
        run = asked.provider.run_tools("1 + 2?", [add, subtract])
    assert (run.text, run.steps, run.rounds) == (text, (), 1)
    assert "looks like a tool call" in run.response.warnings[0]


def test_several_calls_in_the_text_are_run_in_their_order() -> None:
    two = (
        f"<tool_call>{_JSON}</tool_call>\n<tool_call>{_JSON.replace('add', 'subtract')}</tool_call>"
    )
    with openai(said(two), said(f"{_JSON}\n{_JSON}"), said()) as asked:
        run = asked.provider.run_tools("1 + 2?", [add, subtract], text_calls=True)
    assert [step.content for step in run.steps] == ["3", "-1", "3", "3"]


@pytest.mark.parametrize(
    "text",
    [
        "The sum is 3.",
        '{"name": "add"}',
        '{"name": "Ada", "arguments": {"a": 1}}',
        '{"name": "add", "arguments": {"a": 1, "b": 2}, "age": 36}',
        f"Either {_JSON} or {_JSON}",
        '{"a": 1, "b": 2}',
    ],
)
def test_a_text_that_is_no_call_is_the_answer(text: str) -> None:
    with openai(said(text)) as asked:
        run = asked.provider.run_tools("1 + 2?", [add], text_calls=True)
    assert (run.text, run.steps, run.response.warnings) == (text, (), ())


@pytest.mark.parametrize(
    "answer",
    [
        said(f"<tool_call>{_JSON}</tool_call><tool_call>{{</tool_call>"),
        said(f"<tool_call>{_JSON[:-1]}</tool_call>"),
        said("<|tool_call_start|>[add(a=1, b=2)]<|tool_call_end|>"),
        events({"content": f"<tool_call>{_JSON}"}, "length"),
    ],
)
def test_a_call_in_the_text_that_cannot_be_read_is_not_run(answer: bytes) -> None:
    with openai(answer) as asked:
        run = asked.provider.run_tools("1 + 2?", [add], text_calls=True)
    assert run.steps == () and "could not be read" in run.response.warnings[-1]


def test_an_unknown_tool_in_the_text_is_told() -> None:
    with openai(said(f"<tool_call>{_JSON}</tool_call>"), said()) as asked:
        run = asked.provider.run_tools("1 + 2?", [subtract], text_calls=True)
    assert "there is no tool 'add'" in str(run.steps[0].error)


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>add" + " " * 100_000 + "x",
        "<tool_call>" * 30_000,
        "<function=add>" + "<parameter=a>" * 30_000 + "</function>",
        "<function=add>" + " " * 100_000 + "x</function>",
        "<tool_call>add<arg_key>" + "</arg_key>" * 30_000 + "</tool_call>",
        "{" * 50_000,
        "word\n" * 50_000 + _JSON[:-1],
    ],
)
def test_a_hostile_text_is_read_quickly(text: str) -> None:
    with openai(said(text)) as asked:
        run = asked.provider.run_tools("1 + 2?", [add], text_calls=True, timeout=5)
    assert run.steps == ()
