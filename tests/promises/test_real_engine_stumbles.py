"""`run_tools` and `parse` with a real llama.cpp server whose model is made to stumble.

Each request of a call gets its own fields: a grammar that forces a text, or other tools than those
that the loop knows, or a text that ends a call too early.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional

import pytest

from localproviders import (
    CompletionRequest,
    OpenAICompatibleProvider,
    SchemaError,
    Stream,
    ToolCallError,
)
from localproviders.engine import LocalEngine, why_missing, why_unsupported

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

_QUESTION = "What is the weather in Oslo?"


class Provoked(OpenAICompatibleProvider):
    """A provider that adds further fields to each of its requests."""

    bodies: List[Mapping[str, Any]]

    def provoke(self, *bodies: Mapping[str, Any]) -> Provoked:
        """Add these fields to the next requests, one after another."""
        self.bodies = list(bodies)
        return self

    def stream_completion(self, request: CompletionRequest, **options: Any) -> Stream:
        body = self.bodies.pop(0)
        return super().stream_completion(request.replace(extra_body=body), **options)


@pytest.fixture(scope="module")
def engine() -> Iterator[Provoked]:
    with LocalEngine("chat", context_length=1024) as chat:
        with Provoked(settings=chat.settings) as provider:
            yield provider


def says(text: str) -> Dict[str, Any]:
    """Make the model write this text. The server takes no grammar beside tools or a schema."""
    grammar = f"root ::= {json.dumps(text, ensure_ascii=False)}"
    return {"tools": [], "response_format": {"type": "text"}, "grammar": grammar}


def calls(name: str = "weather", more: Optional[Mapping[str, Any]] = None, **values: Any) -> Any:
    """Make the model call a tool of this name, with one of these values for each argument.

    The server sees the question alone: after the result of a tool it does not hold the model to
    ``tool_choice: "required"``, and whether the model calls again depends on the processor.
    """
    question = [{"role": "user", "content": _QUESTION}]
    properties = {key: {"enum": [value]} for key, value in values.items()}
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    tool = {"name": name, "description": "Return the weather.", "parameters": schema}
    return {
        "messages": question, "tools": [{"type": "function", "function": tool}],
        "tool_choice": "required", **(more or {})
    }  # fmt: skip


def weather(city: str, days: int = 1) -> str:
    """Return the weather in a city."""
    return f"rain in {city} for {days} days"


DONE = says("It rains.")


def run(engine: Provoked, *bodies: Mapping[str, Any], **options: Any) -> Any:
    options = {"temperature": 0, "max_tokens": 80, **options}
    return engine.provoke(*bodies).run_tools(_QUESTION, [weather], **options)


# --- tools --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["functions.weather", "weather_commentary"])
def test_a_name_with_a_prefix_or_suffix(engine: Provoked, name: str) -> None:
    result = run(engine, calls(name, city="Oslo"), DONE)
    (step,) = result.steps
    assert step.call.name == name
    if name == "weather_commentary":  # an underscore is a part of a name
        assert "there is no tool" in str(step.error)
    else:
        assert step.content == "rain in Oslo for 1 days"
    assert result.text == "It rains."


def test_an_unknown_name_is_reported_to_the_model_and_the_loop_goes_on(engine: Provoked) -> None:
    result = run(engine, calls("forecast", city="Oslo"), calls(city="Oslo"), DONE)
    assert [step.error is None for step in result.steps] == [False, True]
    assert "the tools are: weather" in result.steps[0].content


def test_a_number_in_a_text_is_converted_and_a_word_is_reported_to_the_model(
    engine: Provoked,
) -> None:
    result = run(engine, calls(city="Oslo", days="5"), calls(city="Oslo", days="five"), DONE)
    good, bad = result.steps
    assert (good.content, good.converted) == ("rain in Oslo for 5 days", ("days",))
    assert "arguments.days" in str(bad.error)


def test_a_call_whose_json_is_broken_is_reported_to_the_model(engine: Provoked) -> None:
    broken = calls(city="Oslo", more={"stop": ["slo"]})
    result = run(engine, broken, calls(city="Oslo"), DONE)
    assert [step.error is None for step in result.steps] == [False, True]
    assert "not a JSON object" in str(result.steps[0].error)
    assert (result.rounds, result.text) == (3, "It rains.")


def test_a_model_that_breaks_every_call_is_stopped(engine: Provoked) -> None:
    broken = calls(city="Oslo", more={"stop": ["slo"]})
    with pytest.raises(ToolCallError) as caught:
        run(engine, broken, broken, max_rounds=2)
    assert len(caught.value.run.steps) == 1


def test_a_call_that_max_tokens_cuts_off_ends_the_loop(engine: Provoked) -> None:
    with pytest.raises(ToolCallError, match="incomplete"):
        run(engine, calls(city="Oslo " * 40), max_tokens=20)


_TEXT_CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'


def test_a_call_in_the_text_is_a_warning_or_is_run(engine: Provoked) -> None:
    left = run(engine, says(_TEXT_CALL))
    assert (left.text, left.steps) == (_TEXT_CALL, ())
    assert "looks like a tool call" in left.response.warnings[0]

    read = run(engine, says(f"Let me look. {_TEXT_CALL}"), DONE, text_calls=True)
    assert [step.content for step in read.steps] == ["rain in Oslo for 1 days"]
    assert read.responses[0].text == "Let me look."

    broken = run(engine, says(_TEXT_CALL.replace("}}", "}")), text_calls=True)
    assert broken.steps == () and "could not be read" in broken.response.warnings[0]


def test_a_stream_of_tools_with_a_broken_call(engine: Provoked) -> None:
    broken = calls(city="Oslo", more={"stop": ["slo"]})
    engine.provoke(broken, calls("functions.weather", city="Oslo"), DONE)
    with engine.stream_tools(
        _QUESTION, [weather], parallel=2, temperature=0, max_tokens=80
    ) as stream:
        steps = [chunk.tool_step for chunk in stream if chunk.tool_step]
    assert [step.error is None for step in steps] == [False, True]
    assert stream.text == stream.result().text == "It rains."


# --- parse --------------------------------------------------------------------------------------


@dataclass
class City:
    """A city."""

    name: str


_JSON = '{"name": "Oslo"}'
_OTHER = '{"name": "Rome"}'


def parse(engine: Provoked, *bodies: Mapping[str, Any], **options: Any) -> Any:
    options = {"temperature": 0, "max_tokens": 80, **options}
    return engine.provoke(*bodies).parse("Which city?", City, **options)


@pytest.mark.parametrize(
    ("text", "has_warning"),
    [
        (f"```json\n{_JSON}\n```", False),
        (f"Here it is: {_JSON} Have fun!", True),
        (f"Sure.\n```json\n{_JSON}\n```\nBye.", True),
    ],
)
def test_json_in_a_fence_or_in_prose_is_read(
    engine: Provoked, text: str, has_warning: bool
) -> None:
    parsed = parse(engine, says(text))
    assert (parsed.value, parsed.attempts) == (City("Oslo"), 1)
    assert any("words before or after" in each for each in parsed.response.warnings) is has_warning


@pytest.mark.parametrize("text", [f"Either {_JSON} or {_OTHER}", '{"name": 7}'])
def test_an_answer_that_does_not_fit_is_requested_again(engine: Provoked, text: str) -> None:
    parsed = parse(engine, says(text), says(_OTHER))
    assert (parsed.value, parsed.attempts) == (City("Rome"), 2)


def test_an_answer_that_is_only_thinking_says_so(engine: Provoked) -> None:
    with pytest.raises(SchemaError, match="only thinking"):
        parse(engine, says("<think>Oslo or Rome?</think>"), max_attempts=1)


def test_a_repetition_without_end_is_cut_off(engine: Provoked) -> None:
    endless = {"response_format": {"type": "text"}, "grammar": 'root ::= "{\\"name\\": \\"" [a]+'}
    with pytest.raises(SchemaError, match="cut off") as caught:
        parse(engine, endless, max_tokens=60)
    assert caught.value.text.endswith("a" * 30)
