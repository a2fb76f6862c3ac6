"""The tool loop: tool calls are run, every step is reported, and the loop always ends."""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import threading
import weakref
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Literal, Mapping, NamedTuple, Optional
from uuid import UUID

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    ConfigurationError,
    LimitError,
    Limits,
    Message,
    OllamaProvider,
    ProviderError,
    RepetitionError,
    ServerError,
    Tool,
    ToolCall,
    ToolCallError,
    ToolRun,
    ToolStep,
    tool_loop,
)
from localproviders._shared_deadline import SharedDeadline
from localproviders.testing import FakeOllama, Refusal, Reply
from localproviders.types import CompletionRequest, PartialRun
from localproviders.types.inputs import result_text
from tests.support.asking import (
    ServedProvider,
    assert_shows_no_prompt,
    serve_provider,
    tool_call_reply,
)
from tests.support.asking import ollama as ollama
from tests.support.asking import served as served
from tests.support.fake_time import FakeTime
from tests.support.locality import PROMPT


class Unit(Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


def weather(city: str, unit: Unit = Unit.CELSIUS) -> str:
    """Say the weather.

    Args:
        city: The city's name.
        unit: Of the temperature.
    """
    assert isinstance(unit, Unit)
    return f"sunny in {city}, 20 {unit.value}"


def population(city: str) -> Dict[str, int]:
    """Count the people."""
    return {"people": len(city)}


def broken(city: str) -> str:
    """Fail."""
    raise LookupError(f"no {city} here")


# --- the loop -------------------------------------------------------------------------------


def test_two_tools_in_two_rounds(served: ServedProvider) -> None:
    served.fake.reply_with(
        tool_call_reply(("weather", {"city": "Oslo", "unit": "fahrenheit"}), text="Let me look."),
        tool_call_reply(("population", {"city": "Oslo"})),
        "Sunny, for four.",
    )
    run = served.provider.run_tools("How is Oslo?", [weather, population], system="Be brief.")

    assert run.text == "Sunny, for four."
    assert (run.rounds, len(run.responses)) == (3, 3)
    assert [step.content for step in run.steps] == [
        "sunny in Oslo, 20 fahrenheit",
        '{"people": 4}',
    ]
    assert [(step.round, step.error) for step in run.steps] == [(1, None), (2, None)]
    roles = ["system", "user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert [message.role for message in run.messages] == roles
    has_field = served.kind == "anthropic"  # the system message is a field of its own
    assert [message["role"] for message in served.messages] == roles[has_field:-1]
    assert not has_field or served.requests[-1]["system"] == "Be brief."
    tools = [tool.get("function", tool) for tool in served.requests[0]["tools"]]
    assert [tool["name"] for tool in tools] == ["weather", "population"]


def test_a_model_that_calls_nothing_answers_at_once(served: ServedProvider) -> None:
    served.fake.reply_with("Hello.")
    run = served.provider.run_tools("Hi", [weather])

    assert (run.text, run.rounds, run.steps) == ("Hello.", 1, ())
    assert run.messages[-1] == run.response.message


def test_the_conversation_can_be_passed_on(served: ServedProvider) -> None:
    served.fake.reply_with(tool_call_reply(("weather", {"city": "Oslo"})), "Sunny.", "Still sunny.")
    run = served.provider.run_tools("Oslo?", [weather])
    again = served.provider.run_tools([*run.messages, Message.user("And now?")], [weather])

    assert again.text == "Still sunny."
    assert len(served.messages) == 5


def test_calls_of_one_answer_run_in_their_order(served: ServedProvider) -> None:
    served.fake.reply_with(
        tool_call_reply(
            ("population", {"city": "Oslo"}),
            ("weather", {"city": "Bergen"}),
            ("population", {"city": "Bergen"}),
        ),
        "Done.",
    )
    run = served.provider.run_tools("Both?", [weather, population])

    assert served.tool_results == ['{"people": 4}', "sunny in Bergen, 20 celsius", '{"people": 6}']
    assert [step.round for step in run.steps] == [1, 1, 1]
    answers = [message for message in run.messages if message.role == "tool"]
    assert [message.tool_call_id for message in answers] == ["id_1", "id_2", "id_3"]
    assert [message.tool_name for message in answers] == ["population", "weather", "population"]


def test_calls_with_the_same_id_are_both_run(served: ServedProvider) -> None:
    same = [ToolCall(id="x", name="weather", arguments={"city": city}) for city in ("A", "B")]
    served.fake.reply_with(
        Reply(text="", tool_calls=(same[0],)), Reply(text="", tool_calls=(same[1],)), "Done."
    )
    served.provider.run_tools("Both?", [weather])

    assert served.tool_results == ["sunny in A, 20 celsius", "sunny in B, 20 celsius"]


def test_the_models_thinking_goes_back_with_its_calls(ollama: ServedProvider) -> None:
    call = ToolCall(id="1", name="weather", arguments={"city": "Oslo"})
    ollama.fake.reply_with(Reply(text="", thinking="Which tool?", tool_calls=(call,)), "Sunny.")
    ollama.provider.run_tools("Oslo?", [weather])

    assert ollama.messages[1]["thinking"] == "Which tool?"
    assert ollama.messages[2]["tool_name"] == "weather"
    assert ollama.messages[2]["tool_call_id"] == "1"


def test_each_step_is_told_before_the_next_request(served: ServedProvider) -> None:
    served.fake.reply_with(
        tool_call_reply(("weather", {"city": "Oslo"}), ("population", {"city": "Oslo"})), "Done."
    )
    seen: List[Any] = []
    run = served.provider.run_tools(
        "Both?",
        [weather, population],
        on_step=lambda step: seen.append((step, len(served.requests))),
    )

    assert seen == [(step, 1) for step in run.steps]
    assert all(step.elapsed_s >= 0 for step in run.steps)


def test_each_step_tells_how_long_it_took_and_in_which_round(
    ollama: ServedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(tool_loop, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def nap(seconds: float) -> str:
        now[0] += seconds
        if seconds > 2:
            raise ValueError("too long")
        return "woke"

    ollama.fake.reply_with(
        tool_call_reply(("nap", {"seconds": 1.5}), ("nap", {"seconds": 4})),
        tool_call_reply(("nap", {"seconds": 0.25}), ("nobody", {})),
        "Done.",
    )
    run = ollama.provider.run_tools("Sleep.", [nap])
    assert [(step.elapsed_s, step.round) for step in run.steps] == [
        (1.5, 1),
        (4, 1),
        (0.25, 2),
        (0, 2),
    ]


def test_numbers_and_warnings_of_every_round_are_kept(ollama: ServedProvider) -> None:
    """Only the first round has the warning, because later rounds do not send the field."""
    ollama.fake.reply_with(tool_call_reply(("weather", {"city": "Oslo"})), "Sunny.")
    run = ollama.provider.run_tools("Oslo?", [weather], tool_choice="required", strict=False)

    assert [len(response.warnings) for response in run.responses] == [1, 0]
    assert all(response.usage.prompt_tokens for response in run.responses)


@pytest.mark.parametrize(
    ("kind", "choice", "later"),
    [
        ("openai", "required", None),
        ("openai", "weather", None),
        ("openai", "auto", "auto"),
        ("openai", "none", "none"),
        ("lmstudio", "required", None),
    ],
)
def test_a_forced_tool_is_forced_once(kind: str, choice: str, later: Optional[str]) -> None:
    with serve_provider(kind) as served:
        served.fake.reply_with(
            tool_call_reply(("weather", {"city": "A"})),
            tool_call_reply(("weather", {"city": "B"})),
            "Done.",
        )
        served.provider.run_tools("Oslo?", [weather], tool_choice=choice)

    assert served.requests[0]["tool_choice"]
    assert [asked.get("tool_choice") for asked in served.requests[1:]] == [later, later]


@pytest.mark.parametrize(
    ("kind", "choice", "ran"),
    [
        ("openai", "none", []),
        ("openai", "population", ["B"]),
        ("openai", "required", ["A", "B"]),
        ("openai", "auto", ["A", "B"]),
        ("lmstudio", "none", []),
        ("lmstudio", "population", ["B"]),
        ("ollama", "none", []),
        ("ollama", "population", ["B"]),
    ],
)
def test_a_call_that_the_choice_rules_out_is_not_run(
    kind: str, choice: str, ran: List[str]
) -> None:
    found: List[str] = []

    def weather(city: str) -> str:
        found.append(city)
        return "sunny"

    with serve_provider(kind) as served:
        served.fake.reply_with(
            tool_call_reply(("weather", {"city": "A"})),
            tool_call_reply(("Weather", {"city": "B"})),
            "Done.",
        )
        run = served.provider.run_tools(
            "Oslo?", [weather, population], tool_choice=choice, strict=False
        )

    assert (found, run.text) == (ran, "Done.")
    assert [step.error is None for step in run.steps] == [name in ran for name in "AB"]


# --- what the model gets wrong ---------------------------------------------------------------


def test_arguments_that_do_not_fit_go_back_with_the_reasons(served: ServedProvider) -> None:
    served.fake.reply_with(
        tool_call_reply(("weather", {"city": 7})),
        tool_call_reply(("weather", {"city": "Oslo"})),
        "Sunny.",
    )
    run = served.provider.run_tools("Oslo?", [weather], on_tool_error="raise")

    assert run.steps[0].error is not None
    assert "arguments.city" in served.tool_results[0] and "a string" in served.tool_results[0]
    assert served.tool_results[1] == "sunny in Oslo, 20 celsius"


@pytest.mark.parametrize(
    "arguments", [{}, {"city": "Oslo", "x": 1}, {"city": "Oslo", "unit": "kelvin"}]
)
def test_the_function_is_not_run_with_arguments_that_do_not_fit(
    ollama: ServedProvider, arguments: Dict[str, Any]
) -> None:
    ran = []

    def tool(city: str, unit: Literal["celsius"] = "celsius") -> str:
        ran.append(city)
        return city

    ollama.fake.reply_with(tool_call_reply(("tool", arguments)), "Sorry.")
    run = ollama.provider.run_tools("Oslo?", [tool])

    assert ran == []
    assert run.steps[0].error == run.steps[0].content == ollama.tool_results[0]


def test_an_unknown_tool_is_answered_with_those_there_are(served: ServedProvider) -> None:
    served.fake.reply_with(tool_call_reply(("wether_of", {"city": "Oslo"})), "Sorry.")
    run = served.provider.run_tools("Oslo?", [weather, population], on_tool_error="raise")

    assert served.tool_results == [
        "there is no tool 'wether_of'; the tools are: weather, population"
    ]
    assert run.steps[0].error == served.tool_results[0]


@pytest.mark.parametrize("said", ["getWeather", "get-weather", "Get_Weather", "get_weather"])
def test_a_name_is_found_however_the_server_spells_it(ollama: ServedProvider, said: str) -> None:
    def getWeather() -> str:  # noqa: N802  # the spelling under test
        return "sunny"

    ollama.fake.reply_with(tool_call_reply((said, {})), "Sunny.")
    ollama.provider.run_tools("Oslo?", [getWeather])

    assert ollama.tool_results == ["sunny"]
    assert ollama.messages[2]["tool_name"] == said  # as in the tool call before it


def test_the_exact_name_wins_and_a_doubtful_one_is_none(ollama: ServedProvider) -> None:
    def look_up() -> str:
        return "with a line"

    def lookUp() -> str:  # noqa: N802  # the spelling under test
        return "with a hump"

    ollama.fake.reply_with(tool_call_reply(("lookUp", {}), ("LookUp", {})), "Done.")
    ollama.provider.run_tools("Go", [look_up, lookUp])

    assert ollama.tool_results[0] == "with a hump"
    assert "there is no tool 'LookUp'" in ollama.tool_results[1]


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    "said",
    [
        "functions.population",
        "population<|channel|>commentary",
        "functions.population:0",
        "mcp__server__population",
        "default_api:population",
        "tools/population",
        "population()",
        "<|channel|>commentary to=functions.population <|constrain|>json",
        "functions.Population",
    ],
)
def test_a_name_with_a_prefix_or_suffix_is_the_only_tool_in_it(
    served: ServedProvider, said: str
) -> None:
    served.fake.reply_with(tool_call_reply((said, {"city": "Oslo"})), "Four.")
    served.provider.run_tools("Oslo?", [weather, population])
    assert served.tool_results == ['{"people": 4}']


@pytest.mark.parametrize(
    "said", ["weather.population", "get_population", "repopulation", ".", "a." * 50 + "population"]
)
def test_a_name_with_two_tools_or_with_another_word_is_unknown(
    ollama: ServedProvider, said: str
) -> None:
    ollama.fake.reply_with(tool_call_reply((said, {"city": "Oslo"})), "Sorry.")
    ollama.provider.run_tools("Oslo?", [weather, population])
    assert "there is no tool" in ollama.tool_results[0]


class Size(NamedTuple):
    width: int
    height: int = 1


Ints = List[int]


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (int, "5", 5),
        (int, " -5 ", -5),
        (float, "2.5", 2.5),
        (float, "2", 2.0),
        (bool, "true", True),
        (bool, "False", False),
        (Ints, "[1, 2]", [1, 2]),
        (Ints, ["1", 2], [1, 2]),
        (Dict[str, int], '{"a": 1}', {"a": 1}),
        (Dict[str, int], {"a": "1"}, {"a": 1}),
        (Size, '{"width": 2}', Size(2)),
        (Size, {"width": "2", "height": None}, Size(2)),
        (Optional[int], "5", 5),
        (Optional[int], "null", None),
        (Optional[int], "None", None),
        (Optional[Ints], ["1"], [1]),
        (Literal[1, 2], "2", 2),
    ],
)
def test_an_argument_of_another_type_is_converted(
    ollama: ServedProvider, kind: Any, written: Any, value: Any
) -> None:
    seen: List[Any] = []

    def tool(x: Any, y: str) -> str:
        seen.append(x)
        return y

    tool.__annotations__["x"] = kind
    ollama.fake.reply_with(tool_call_reply(("tool", {"x": written, "y": "7"})), "Done.")
    run = ollama.provider.run_tools("Go", [tool])

    assert seen == [value] and type(seen[0]) is type(value)
    assert (run.steps[0].converted, run.steps[0].content) == (("x",), "7")
    assert ToolStep.from_dict(run.steps[0].to_dict()) == run.steps[0]


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (int, "five"),
        (int, "5.5"),
        (int, ""),
        (int, "NaN"),
        (int, '"5"'),
        (str, 5),
        (bool, 1),
        (bool, "yes"),
        (Ints, "1, 2"),
        (Ints, '["1"]'),
        (Ints, 1),
        (int, None),
    ],
)
def test_an_argument_with_another_meaning_is_refused(
    ollama: ServedProvider, kind: Any, written: Any
) -> None:
    def tool(x: Any) -> str:
        return "ran"

    tool.__annotations__["x"] = kind
    ollama.fake.reply_with(tool_call_reply(("tool", {"x": written})), "Sorry.")
    run = ollama.provider.run_tools("Go", [tool])
    assert "arguments.x" in str(run.steps[0].error) and run.steps[0].converted == ()


def test_null_for_a_default_is_left_out_and_what_fits_is_unchanged(served: ServedProvider) -> None:
    def tool(city: str, unit: str = "C", day: Optional[str] = "today") -> str:
        return f"{city} {unit} {day}"

    arguments = {"city": "5", "unit": None, "day": None}
    served.fake.reply_with(tool_call_reply(("tool", arguments)), "Done.")
    run = served.provider.run_tools("Go", [tool])
    assert (run.steps[0].content, run.steps[0].converted) == ("5 C None", ("unit",))


def test_a_recursive_argument_is_converted(ollama: ServedProvider) -> None:
    node = {"type": "object", "properties": {"n": {"type": "integer"}, "next": {"$ref": "#"}}}
    tool = Tool(name="t", parameters=node, function=lambda **given: given)
    ollama.fake.reply_with(tool_call_reply(("t", {"n": 1, "next": {"n": "2"}})), "Done.")
    run = ollama.provider.run_tools("Go", [tool])
    assert json.loads(run.steps[0].content) == {"n": 1, "next": {"n": 2}}
    assert run.steps[0].converted == ("next",)


def test_a_tool_that_fails_tells_what_was_converted(ollama: ServedProvider) -> None:
    def halve(n: int) -> float:
        raise LookupError("no half")

    ollama.fake.reply_with(tool_call_reply(("halve", {"n": "5"})), "Done.")
    step = ollama.provider.run_tools("Go", [halve]).steps[0]
    assert (step.converted, step.error) == (("n",), "LookupError: no half")


@pytest.mark.parametrize("kind", ["lmstudio", "openai"])  # Ollama sends only complete calls
def test_half_a_call_ends_the_loop(kind: str) -> None:
    half = Reply(text="", tool_calls=(ToolCall(id="1", name=""),))
    with serve_provider(kind) as served:
        served.fake.reply_with(tool_call_reply(("weather", {"city": "Oslo"})), half)
        with pytest.raises(ToolCallError, match="has no name") as caught:
            served.provider.run_tools(PROMPT, [weather])

    assert len(caught.value.run.steps) == 1
    assert_shows_no_prompt(caught.value)


# --- tools that fail -------------------------------------------------------------------------


def test_a_tool_that_raises_is_reported(served: ServedProvider) -> None:
    served.fake.reply_with(tool_call_reply(("broken", {"city": "Oslo"})), "Sorry.")
    run = served.provider.run_tools("Oslo?", [broken])

    assert served.tool_results == ["LookupError: no Oslo here"]
    assert run.steps[0].error == run.steps[0].content == served.tool_results[0]
    assert run.text == "Sorry."


def test_a_tool_that_raises_ends_the_loop_if_asked(served: ServedProvider) -> None:
    served.fake.reply_with(
        tool_call_reply(
            ("weather", {"city": "Oslo"}), ("broken", {"city": "Oslo"}), ("weather", {})
        )
    )
    seen: List[ToolStep] = []
    with pytest.raises(LookupError, match="no Oslo here") as caught:
        served.provider.run_tools(
            PROMPT, [weather, broken], on_tool_error="raise", on_step=seen.append
        )

    assert type(caught.value) is LookupError
    assert caught.traceback[-1].name == "broken"
    assert [step.error for step in seen] == [None, "LookupError: no Oslo here"]
    assert len(served.requests) == 1
    assert_shows_no_prompt(caught.value)


def test_an_error_of_ours_out_of_a_tool_is_left_as_it_is(ollama: ServedProvider) -> None:
    error = ServerError("another server failed", provider="other")

    def ask() -> str:
        raise error

    ollama.fake.reply_with(tool_call_reply(("ask", {})))
    with pytest.raises(ServerError) as caught:
        ollama.provider.run_tools("Go", [ask], on_tool_error="raise")

    assert caught.value is error
    assert (error.run, error.model) == (None, None)


@pytest.mark.parametrize("how", ["report", "raise"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_always_goes_through(ollama: ServedProvider, how: Any, error: Any) -> None:
    def stop() -> str:
        raise error

    ollama.fake.reply_with(tool_call_reply(("stop", {})))
    with pytest.raises(error) as caught:
        ollama.provider.run_tools(PROMPT, [stop], on_tool_error=how)
    assert_shows_no_prompt(caught.value)


def test_a_real_interrupt_inside_a_tool_goes_through(ollama: ServedProvider) -> None:
    def slow() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(20)
        return "late"

    ollama.fake.reply_with(tool_call_reply(("slow", {})))
    with pytest.raises(KeyboardInterrupt):
        ollama.provider.run_tools("Go", [slow])


def test_what_a_listener_raises_ends_the_loop(ollama: ServedProvider) -> None:
    def stop(step: ToolStep) -> None:
        raise RuntimeError("enough")

    ollama.fake.reply_with(tool_call_reply(("weather", {"city": PROMPT})))
    with pytest.raises(RuntimeError, match="enough") as caught:
        ollama.provider.run_tools(PROMPT, [weather], on_step=stop)
    assert len(ollama.requests) == 1
    assert_shows_no_prompt(caught.value)


def test_a_failed_tool_leaves_no_circle_of_garbage(ollama: ServedProvider) -> None:
    """Objects in a tool's frame, such as an open file, are released at once."""

    class Held:
        pass

    held: List[Any] = []

    def failing() -> str:
        mine = Held()
        held.append(weakref.ref(mine))
        raise LookupError("no")

    ollama.fake.reply_with(tool_call_reply(("failing", {})), "Sorry.")
    gc.disable()
    try:
        ollama.provider.run_tools("Go", [failing])
        assert held[0]() is None
    finally:
        gc.enable()


# --- results --------------------------------------------------------------------------------


@dataclass
class Point:
    x: int
    on: date


class Pair(NamedTuple):
    left: int
    right: str


class Shade(str, Enum):
    RED = "red"


class Model:
    """A class with the method of a pydantic model that the tool loop uses."""

    def model_dump(self, mode: str) -> Dict[str, Any]:
        return {"mode": mode}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (Shade.RED, "red"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ([1, "zwölf"], '[1, "zwölf"]'),
        ({1: {"a"}}, '{"1": ["a"]}'),
        ({Unit.CELSIUS: Unit.FAHRENHEIT}, '{"celsius": "fahrenheit"}'),
        (Point(x=1, on=date(2024, 2, 29)), '{"x": 1, "on": "2024-02-29"}'),
        (Pair(1, "two"), '{"left": 1, "right": "two"}'),
        (Message.user("Hi"), '{"role": "user", "content": "Hi"}'),
        (Model(), '{"mode": "json"}'),
        (b"\x00\x01", '"AAE="'),
        (Decimal("9.50"), "9.50"),
        (Decimal("1E+2"), "1E+2"),
        ([Decimal("9.50")], '["9.50"]'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (range(2), "[0, 1]"),
    ],
)
def test_a_result_becomes_text(result: Any, text: str) -> None:
    assert result_text(result) == text
    assert type(result_text(result)) is str


_CIRCLE: List[Any] = []
_CIRCLE.append(_CIRCLE)


@pytest.mark.parametrize(
    "result", [object(), {"a": {1: object()}}, float("nan"), Decimal("NaN"), _CIRCLE, Point]
)
def test_a_result_that_is_no_json_is_the_tools_error(ollama: ServedProvider, result: Any) -> None:
    def tool() -> Any:
        return result

    ollama.fake.reply_with(tool_call_reply(("tool", {})), "Sorry.", tool_call_reply(("tool", {})))
    run = ollama.provider.run_tools("Go", [tool])
    assert run.steps[0].error and "cannot be written as JSON" in run.steps[0].error

    with pytest.raises(TypeError, match="cannot be written as JSON"):
        ollama.provider.run_tools("Go", [tool], on_tool_error="raise")


def test_a_result_is_in_no_frame_of_its_error() -> None:
    with pytest.raises(TypeError) as caught:
        result_text({"patient": PROMPT, "x": object()})
    assert_shows_no_prompt(caught.value)


# --- it ends --------------------------------------------------------------------------------


def test_a_model_that_never_answers_is_stopped(served: ServedProvider) -> None:
    served.fake.usual = tool_call_reply(("weather", {"city": "Oslo"}), text="Once more.")
    seen: List[ToolStep] = []
    with pytest.raises(ToolCallError, match="after 3 rounds") as caught:
        served.provider.run_tools(PROMPT, [weather], max_rounds=3, on_step=seen.append)

    error = caught.value
    assert len(served.requests) == 3
    assert (error.provider, error.model, error.partial) == (served.provider.name, "m", "Once more.")
    assert error.hint and "max_rounds" in error.hint
    assert isinstance(error.run, PartialRun)
    assert list(error.run.steps) == seen and len(seen) == 2
    assert len(error.run.responses) == 3
    roles = ["assistant", "tool"] * 3
    assert [message.role for message in error.run.added] == roles
    assert "not run" in error.run.added[-1].content
    assert_shows_no_prompt(error)


def test_one_may_go_on_from_where_it_stopped(served: ServedProvider) -> None:
    served.fake.reply_with(
        tool_call_reply(("weather", {"city": "Oslo"})),
        tool_call_reply(("weather", {"city": "Bonn"})),
    )
    question = Message.user("Both?")
    with pytest.raises(ToolCallError) as caught:
        served.provider.run_tools([question], [weather], max_rounds=2)

    served.fake.reply_with("Enough.")
    run = served.provider.run_tools([question, *caught.value.run.added], [weather])
    assert run.text == "Enough."
    assert served.tool_results[0] == "sunny in Oslo, 20 celsius"
    assert "not run" in served.tool_results[1]


def test_one_round_runs_nothing(ollama: ServedProvider) -> None:
    ollama.fake.reply_with(tool_call_reply(("broken", {"city": "Oslo"})))
    with pytest.raises(ToolCallError, match="after 1 round;") as caught:
        ollama.provider.run_tools("Go", [broken], max_rounds=1, on_tool_error="raise")
    assert caught.value.run.steps == ()


def test_the_total_holds_for_all_rounds(fake_clock: FakeTime, served: ServedProvider) -> None:
    """Each response and each tool call is quick, but all together take too long."""
    served.fake.usual = tool_call_reply(("nap", {}))

    def nap() -> str:
        fake_clock.advance(2)
        return "woke"

    with pytest.raises(LimitError, match=r"total_s of 9 s") as caught:
        served.provider.run_tools(PROMPT, [nap], max_rounds=1000, timeout=9)

    error = caught.value
    assert (error.limit, error.limit_s, error.elapsed_s) == ("total_s", 9, 10)
    assert len(served.requests) == 5
    assert caught.value.provider == served.provider.name
    assert caught.value.run.steps[0].content == "woke"
    assert_shows_no_prompt(caught.value)


def test_a_server_that_stalls_late_meets_the_total_of_the_whole_call(
    fake_clock: FakeTime, served: ServedProvider
) -> None:
    served.fake.reply_with(tool_call_reply(("nap", {})))

    def nap() -> str:
        fake_clock.advance(2)
        served.fake.break_next("body stalled")
        return "woke"

    with pytest.raises(LimitError, match=r"total_s of 5 s") as caught:
        served.provider.run_tools(PROMPT, [nap], timeout=5)

    error = caught.value
    assert (error.limit, error.limit_s, error.elapsed_s) == ("total_s", 5, 5)
    assert caught.value.endpoint
    assert [message.content for message in caught.value.run.added] == ["", "woke"]
    assert_shows_no_prompt(caught.value)


def test_another_limit_stays_what_it_is(fake_clock: FakeTime, ollama: ServedProvider) -> None:
    ollama.fake.break_next("body stalled")
    with pytest.raises(LimitError, match=r"idle_s of 7 s"):
        ollama.provider.run_tools("Go", [weather], timeout=Limits(idle_s=7))


def test_a_tool_that_took_too_long_is_told_and_then_it_ends(
    fake_clock: FakeTime, served: ServedProvider
) -> None:
    served.fake.reply_with(tool_call_reply(("nap", {}), ("nap", {})))
    seen: List[ToolStep] = []

    def nap() -> str:
        fake_clock.advance(4)
        return "woke"

    with pytest.raises(LimitError) as caught:
        served.provider.run_tools("Go", [nap], timeout=3, on_step=seen.append)

    assert [step.content for step in seen] == ["woke"]
    assert len(served.requests) == 1
    assert [m.content[:17] for m in caught.value.run.added] == ["", "woke", "this call was not"]


def test_what_is_left_is_what_the_next_question_gets() -> None:
    now = [100.0]
    limits: List[Limits] = []

    class Slow(OllamaProvider):
        def complete(self, request: Any, *, timeout: Any = None, cancel: Any = None) -> Any:
            limits.append(timeout)
            now[0] += 4

    with Slow("http://127.0.0.1:9") as provider:
        asking = SharedDeadline(provider, Limits(idle_s=7, total_s=10), None, clock=lambda: now[0])
        request = CompletionRequest(prompt="x")
        with asking:
            asking.send(request)
            asking.send(request)
            asking.check()
            now[0] += 2
            with pytest.raises(LimitError, match="total_s of 10 s ran out after 10 s"):
                asking.check()
            with pytest.raises(LimitError, match="total_s of 10 s ran out after 10 s"):
                asking.send(request)

    assert [(each.total_s, each.idle_s) for each in limits] == [(10, 7), (6, 7)]


def test_a_tool_may_cancel_the_call(served: ServedProvider) -> None:
    token = CancelToken()

    def stop() -> str:
        token.cancel()
        return "stopped"

    served.fake.reply_with(tool_call_reply(("stop", {}), ("stop", {})))
    with pytest.raises(CancelledError) as caught:
        served.provider.run_tools(PROMPT, [stop], cancel=token)

    assert len(served.requests) == 1
    assert [step.content for step in caught.value.run.steps] == ["stopped"]
    assert len(caught.value.run.added) == 3
    assert token._listeners == set()
    assert_shows_no_prompt(caught.value)


def test_a_token_that_was_thrown_before_sends_nothing(ollama: ServedProvider) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError) as caught:
        ollama.provider.run_tools("Go", [weather], cancel=token)
    assert ollama.requests == []
    assert caught.value.run == PartialRun(added=(), responses=())


def test_a_server_that_fails_late_loses_nothing(served: ServedProvider) -> None:
    refusal = Refusal(status="500 Internal Server Error", body={"error": f"no: {PROMPT}"})
    served.fake.reply_with(tool_call_reply(("weather", {"city": "Oslo"})), refusal)
    with pytest.raises(ProviderError) as caught:
        served.provider.run_tools(PROMPT, [weather])

    run = caught.value.run
    assert [step.content for step in run.steps] == ["sunny in Oslo, 20 celsius"]
    assert [message.role for message in run.added] == ["assistant", "tool"]
    assert_shows_no_prompt(caught.value)


# --- what is refused before anything is sent -------------------------------------------------

_HANDMADE: Mapping[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.run_tools(PROMPT, [Tool(name="mine")]), "has no function to run"),
        (lambda p: p.run_tools(PROMPT, [weather], max_rounds=0), "max_rounds is 0"),
        (lambda p: p.run_tools(PROMPT, [weather], on_tool_error="x"), "report, raise"),
        (lambda p: p.run_tools("", [weather]), "empty"),
        (lambda p: p.run_tools(PROMPT, [weather, weather]), "two tools have the name 'weather'"),
        (lambda p: p.run_tools(PROMPT, [lambda x: x]), "no name"),
        (
            lambda p: p.run_tools(
                PROMPT,
                [Tool(name="mine", parameters={"type": "objekt"}, function=weather)],
            ),
            "has 'type' with an invalid value",
        ),
    ],
)
def test_an_impossible_call_sends_nothing(
    ollama: ServedProvider, call: Callable[[Any], Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        call(ollama.provider)
    assert ollama.fake.exchanges == []
    assert_shows_no_prompt(caught.value)


def test_an_unknown_field_is_named(ollama: ServedProvider) -> None:
    with pytest.raises(TypeError, match="temperature") as caught:
        wrong: Any = {"temprature": 1}
        ollama.provider.run_tools(PROMPT, [weather], **wrong)
    assert_shows_no_prompt(caught.value)


def test_a_tool_written_by_hand_runs_its_function(served: ServedProvider) -> None:
    tool = Tool(name="look", parameters=_HANDMADE, function=lambda city: city.upper())
    served.fake.reply_with(tool_call_reply(("look", {"city": "Oslo"})), "Done.")
    served.provider.run_tools("Oslo?", [tool])
    assert served.tool_results == ["OSLO"]


def test_chat_and_stream_take_functions(served: ServedProvider) -> None:
    served.fake.reply_with(
        tool_call_reply(("weather", {"city": "Oslo"})),
        tool_call_reply(("weather", {"city": "Oslo"})),
    )
    response = served.provider.chat("Oslo?", tools=[weather])
    with served.provider.stream("Oslo?", tools=[weather]) as stream:
        streamed = stream.result()

    assert response.tool_calls == streamed.tool_calls
    assert response.tool_calls[0].arguments == {"city": "Oslo"}
    tool = served.requests[0]["tools"][0]
    sent = tool.get("function", tool)
    assert sent["description"] == "Say the weather."
    assert sent.get("parameters", sent.get("input_schema"))["required"] == ["city"]
    assert served.requests[1]["tools"] == served.requests[0]["tools"]


@pytest.mark.parametrize("ask", ["chat", "stream"])
def test_what_is_no_tool_is_refused(ollama: ServedProvider, ask: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        getattr(ollama.provider, ask)(PROMPT, tools=["weather"])
    assert ollama.fake.exchanges == []
    assert_shows_no_prompt(caught.value)


# --- values ---------------------------------------------------------------------------------


def test_a_run_survives_pickles_and_dictionaries() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as provider:
        fake.reply_with(tool_call_reply(("weather", {"city": "Oslo"})), "Sunny.")
        run = provider.run_tools("Oslo?", [weather])

    assert pickle.loads(pickle.dumps(run)) == run
    assert ToolRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert "Oslo" not in repr(run) and "sunny" not in repr(run)


def test_an_error_takes_its_run_along() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as provider:
        fake.usual = tool_call_reply(("weather", {"city": "Oslo"}))
        with pytest.raises(ToolCallError) as caught:
            provider.run_tools("Oslo?", [weather], max_rounds=2)

    error = caught.value
    assert pickle.loads(pickle.dumps(error)).run == error.run
    told = json.loads(json.dumps(error.to_dict()))
    assert PartialRun.from_dict(told["run"]) == error.run
    assert "sunny" not in str(error) + repr(error) + repr(error.run)


def test_an_exception_without_a_text_is_told_by_its_name(served: ServedProvider) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def tool() -> str:
        raise OddError

    served.fake.reply_with(tool_call_reply(("tool", {})), "Done.")
    assert served.provider.run_tools("Oslo?", [tool]).steps[0].error == "OddError"


@pytest.mark.parametrize("called", ["!!!", "_", "\u200b"])
def test_a_name_without_a_letter_is_no_other_tools(ollama: ServedProvider, called: str) -> None:
    tool = Tool(name="--", function=lambda: "run")
    ollama.fake.reply_with(tool_call_reply((called, {})), "Done.")
    error = ollama.provider.run_tools("Oslo?", [tool]).steps[0].error
    assert error is not None and "there is no tool" in error


# --- answers that were cut off ------------------------------------------------------------------


def test_a_call_that_max_tokens_cut_is_a_warning(ollama: ServedProvider) -> None:
    """Ollama drops half a call. Only the finish reason shows it."""
    ollama.fake.reply_with(Reply(text=" ", finish_reason="length"))
    run = ollama.provider.run_tools("Hot?", [weather], max_tokens=6)

    assert run.text == " " and run.steps == ()
    (warning,) = run.response.warnings
    assert warning.startswith("max_tokens=6 ended the answer before its text or a tool call")


def test_an_answer_that_repeats_itself_ends_the_loop(served: ServedProvider) -> None:
    served.fake.reply_with(tool_call_reply(("weather", {"city": "Oslo"})), "Hello")

    def break_next(_: ToolStep) -> None:
        served.fake.break_next("a repetition that the server ends", path=served.chat_path)

    with pytest.raises(RepetitionError) as caught:
        served.provider.run_tools("Hot?", [weather], on_step=break_next)

    assert len(served.requests) == 2
    assert [step.call.name for step in caught.value.run.steps] == ["weather"]
    assert caught.value.partial == "Hello" + " ha" * 31
