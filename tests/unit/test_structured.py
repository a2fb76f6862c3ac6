"""Structured output: the schema that is sent, the checks of the response, and the attempts."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Callable, Dict, List, Literal, Mapping, Optional, TypedDict, Union

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    ConfigurationError,
    LimitError,
    Parsed,
    ProviderError,
    RepetitionError,
    SchemaError,
    StreamInterruptedError,
    ToolCall,
)
from localproviders.schema import schema_of
from localproviders.testing import Exchange, Refusal, Reply
from tests.support.asking import ServedProvider, assert_shows_no_prompt
from tests.support.asking import ollama as ollama
from tests.support.asking import served as served
from tests.support.fake_time import FakeTime
from tests.support.locality import ANSWER, PROMPT


class Mood(Enum):
    GLAD = "glad"
    SAD = "sad"


@dataclass
class Address:
    city: str


@dataclass
class Person:
    """A person."""

    name: str
    age: int
    mood: Mood = Mood.GLAD
    addresses: List[Address] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.age < 0:
            raise ValueError("nobody is younger than nought")


class Film(TypedDict):
    title: str
    year: int


class LooksLikePydantic:
    """A class with the methods of a pydantic model that `parse` uses."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def model_json_schema(cls) -> Dict[str, Any]:
        return {
            "type": "object",
            "properties": {"name": {"$ref": "#/$defs/Name"}},
            "required": ["name"],
            "$defs": {"Name": {"type": "string"}},
        }

    @classmethod
    def model_validate(cls, value: Any) -> LooksLikePydantic:
        if value["name"] == "x":
            raise TypeError("x is no name")
        return cls(**value)


ADA = '{"name": "Ada", "age": 36, "mood": "sad", "addresses": [{"city": "London"}]}'
SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}


def sent_schema(served: ServedProvider, index: int = -1) -> Any:
    asked = served.requests[index]
    if served.kind == "ollama":
        return asked["format"]
    if served.kind == "anthropic":
        return asked["output_config"]["format"]["schema"]
    return asked["response_format"]["json_schema"]["schema"]


# --- values ---------------------------------------------------------------------------------


def test_a_dataclass_comes_back_whole(served: ServedProvider) -> None:
    served.fake.reply_with(ADA)
    parsed = served.provider.parse("Who?", Person, system="Be exact.", max_tokens=200)

    assert parsed.value == Person("Ada", 36, Mood.SAD, [Address("London")])
    assert (parsed.attempts, parsed.response.text) == (1, ADA)
    assert sent_schema(served) == schema_of(Person)
    has_field = served.kind == "anthropic"  # the system message is a field of its own
    roles = ["system", "user"][has_field:]
    assert [message["role"] for message in served.messages] == roles


def test_a_typed_dict_is_a_dictionary(served: ServedProvider) -> None:
    served.fake.reply_with('{"title": "M", "year": 1931}')
    assert served.provider.parse("Which?", Film).value == {"title": "M", "year": 1931}


def test_a_schema_gives_plain_json(served: ServedProvider) -> None:
    served.fake.reply_with('{"n": 7}')
    assert served.provider.parse("How many?", SCHEMA).value == {"n": 7}
    is_closed = served.kind == "anthropic"  # the service requires it
    closed = {"additionalProperties": False} if is_closed else {}
    assert sent_schema(served) == {**SCHEMA, **closed}


def test_a_pydantic_model_makes_its_own_instance(served: ServedProvider) -> None:
    served.fake.reply_with('{"name": "x"}', '{"name": "Ada"}')
    parsed = served.provider.parse("Who?", LooksLikePydantic)

    assert isinstance(parsed.value, LooksLikePydantic)
    assert (parsed.value.name, parsed.attempts) == ("Ada", 2)
    assert "TypeError: x is no name" in served.messages[-1]["content"]
    assert "$ref" not in json.dumps(sent_schema(served))


@pytest.mark.sample(8)
@pytest.mark.parametrize(
    ("response_type", "inner", "value"),
    [
        (List[int], "[1, 2]", [1, 2]),
        (int, "7", 7),
        (Literal["yes", "no"], '"yes"', "yes"),
        (Mood, '"sad"', Mood.SAD),
        (Optional[Address], "null", None),
        (Union[Address, str], '{"city": "Oslo"}', Address("Oslo")),
        ({"type": "array", "items": {"type": "string"}}, '["a"]', ["a"]),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_what_is_no_object_is_sent_inside_one(
    ollama: ServedProvider, response_type: Any, inner: str, value: Any, bare: bool
) -> None:
    """A server that ignores the schema may answer without the wrapper."""
    ollama.fake.reply_with(inner if bare else f'{{"value": {inner}}}')

    assert ollama.provider.parse("What?", response_type).value == value
    sent = sent_schema(ollama)
    assert (sent["type"], sent["required"]) == ("object", ["value"])
    assert sent["properties"]["value"] == schema_of(response_type)


def test_a_wrapped_schema_keeps_its_definitions_within_reach(ollama: ServedProvider) -> None:
    tree = {
        "type": "array",
        "items": {"$ref": "#/$defs/node"},
        "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    }
    ollama.fake.reply_with('{"value": [[], [[]]]}')

    assert ollama.provider.parse("A tree", tree).value == [[], [[]]]
    assert set(sent_schema(ollama)["$defs"]) == {"node"}
    assert "$defs" not in sent_schema(ollama)["properties"]["value"]


def test_a_schema_that_refers_to_its_root_is_sent_as_it_is(ollama: ServedProvider) -> None:
    tree = {"type": "array", "items": {"$ref": "#"}}
    ollama.fake.reply_with("[[], [[]]]")

    assert ollama.provider.parse("A tree", tree).value == [[], [[]]]
    assert sent_schema(ollama) == tree


@pytest.mark.sample(9)
@pytest.mark.parametrize(
    "text",
    [
        '  \n{"n": 7}\n ',
        '```json\n{"n": 7}\n```',
        '```\n{\n  "n": 7\n}\n```',
        '\n```JSON\n\n{"n": 7}\n\n```\n',
        '```json\r\n{"n": 7}\r\n```',
        '```json {"n": 7} ```',
        '```json{"n": 7}```',
        '```json: {"n": 7}```',
        '```{"n": 7}```',
        '~~~json\n{"n": 7}\n~~~',
        '````json\n{"n": 7}\n````',
        '```application/json\n{"n": 7}\n```',
        '```json title="answer.json"\n{"n": 7}\n```',
        '```{.json}\n{"n": 7}\n```',
        '```\njson\n{"n": 7}\n```',
        '```json\n{"n": 7}```',
        '```json\n{"n": 7}\n',
        '`{"n": 7}`',
        '\ufeff{"n": 7}',
    ],
)
def test_blanks_and_one_fence_are_left_aside(ollama: ServedProvider, text: str) -> None:
    ollama.fake.usual = lambda exchange: Reply(text=text)
    parsed = ollama.provider.parse("How many?", SCHEMA, max_attempts=1)
    assert (parsed.value, parsed.response.warnings) == ({"n": 7}, ())


@pytest.mark.parametrize("text", ["```7```", "``` json\r\n7\r\n```", "```json 7 ```", "```\n7```"])
def test_a_fence_may_contain_a_number(ollama: ServedProvider, text: str) -> None:
    ollama.fake.reply_with(text)
    assert ollama.provider.parse("How many?", int, max_attempts=1).value == 7


@pytest.mark.parametrize(
    "text",
    [
        'Here it is:\n{"n": 7}',
        '{"n": 7}\nI hope that helps [1].',
        'Sure! [note]\n```json\n{"n": 7}\n```\nAnything else?',
        '<json>{"n": 7}</json>',
        '{"n": 7}\n```',
    ],
)
def test_one_value_between_words_is_read_with_a_warning(ollama: ServedProvider, text: str) -> None:
    ollama.fake.reply_with(text)
    parsed = ollama.provider.parse("How many?", SCHEMA, max_attempts=1)
    assert parsed.value == {"n": 7}
    assert "words before or after its JSON" in parsed.response.warnings[-1]


@pytest.mark.parametrize(
    ("text", "value"),
    [("They are [1, 2].", [1, 2]), ('So: {"value": [1]}', [1]), ("So:\n```\n[3]\n```", [3])],
)
def test_a_list_between_words_is_read(ollama: ServedProvider, text: str, value: List[int]) -> None:
    ollama.fake.reply_with(text)
    assert ollama.provider.parse("Which?", List[int], max_attempts=1).value == value


@pytest.mark.parametrize("mark", ["```", "~~~", "````"])
def test_a_number_in_a_fence_between_words_is_read(ollama: ServedProvider, mark: str) -> None:
    ollama.fake.reply_with(f"So:\n{mark}json\n7\n{mark}\nBye.")
    parsed = ollama.provider.parse("How many?", int, max_attempts=1)
    assert (parsed.value, len(parsed.response.warnings)) == (7, 1)


@pytest.mark.parametrize(
    "text",
    [
        'Either {"n": 7} or {"n": 8}',
        '```json\n{"n": 7}\n```\n```json\n{"n": 8}\n```',
        'All: [{"n": 7}]',
        'Begun: [{"n": 7}, ',
        'First {"n": 7}, then {"n": ',
        '{"outer": {"n": 7}',
        "There are 7.",
    ],
)
def test_two_values_or_a_part_of_one_are_no_answer(ollama: ServedProvider, text: str) -> None:
    ollama.fake.reply_with(text)
    with pytest.raises(SchemaError):
        ollama.provider.parse("How many?", SCHEMA, max_attempts=1)


def test_words_around_the_json_of_a_cut_answer_are_no_answer(ollama: ServedProvider) -> None:
    ollama.fake.reply_with(Reply(text='First {"n": 7}, but', finish_reason="length"))
    with pytest.raises(SchemaError, match="cut off"):
        ollama.provider.parse("How many?", SCHEMA)


def test_a_fence_inside_a_text_is_left_alone(ollama: ServedProvider) -> None:
    answer = json.dumps({"title": "```json\n{}\n```", "year": 1})
    ollama.fake.reply_with(f"```json\n{answer}\n```")
    assert ollama.provider.parse("Which?", Film).value["title"] == "```json\n{}\n```"


def test_the_answers_thinking_is_no_part_of_the_value(served: ServedProvider) -> None:
    served.fake.reply_with(Reply(text='{"n": 7}', thinking='{"n": "?"}'))
    assert served.provider.parse("How many?", SCHEMA).value == {"n": 7}


# --- asking again ---------------------------------------------------------------------------


def test_an_answer_that_does_not_fit_goes_back_with_the_reasons(served: ServedProvider) -> None:
    served.fake.reply_with('{"name": "Ada", "age": "old"}', ADA)
    parsed = served.provider.parse("Who?", Person, temperature=0)

    assert (parsed.value.age, parsed.attempts) == (36, 2)
    question, answer, correction = served.fake.exchanges[-1].json["messages"]
    assert question["content"] == "Who?"
    assert answer == {"role": "assistant", "content": '{"name": "Ada", "age": "old"}'}
    assert correction["role"] == "user"
    assert 'answer.age: is "old", and must be an integer' in correction["content"]
    assert json.dumps(schema_of(Person)) in correction["content"]
    assert sent_schema(served, 0) == sent_schema(served, 1)


def test_a_second_correction_stands_behind_the_first(ollama: ServedProvider) -> None:
    ollama.fake.reply_with("one", "two", '{"n": 3}')
    assert ollama.provider.parse("How many?", SCHEMA).attempts == 3
    assert [message["content"] for message in ollama.messages[1::2]] == ["one", "two"]


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Seven.", "not JSON"),
        ('{"n": 7, and so on', "not JSON"),
        ('{"n": NaN}', "not JSON"),
        ("[" * 300 + "]" * 300, "nested"),
        ("[" * 99 + "]" * 99, "answer: is an array"),
        (Reply(text=""), "answer: is empty"),
        (Reply(text=" \n"), "answer: is empty"),
        (Reply(text="", thinking="Seven?"), "answer: is empty; the model wrote only thinking"),
        ('{"n": "x"}', "answer.n: is "),
    ],
)
def test_each_kind_of_bad_answer_has_its_reason(
    served: ServedProvider, reply: Any, reason: str
) -> None:
    served.fake.reply_with(reply, '{"n": 7}')
    assert served.provider.parse("How many?", SCHEMA).attempts == 2
    assert reason in served.messages[-1]["content"]


def test_a_call_of_a_tool_is_no_answer_and_does_not_go_back(served: ServedProvider) -> None:
    call = ToolCall(id="1", name="weather", arguments={})
    served.fake.reply_with(Reply(text="", tool_calls=(call,)), '{"n": 7}')

    assert served.provider.parse("How many?", SCHEMA).attempts == 2
    assert "because the model called a tool" in served.messages[-1]["content"]
    assert "tool_calls" not in served.messages[1]


def test_what_the_type_refuses_is_a_reason(served: ServedProvider) -> None:
    served.fake.reply_with('{"name": "Ada", "age": -1}', ADA)
    assert served.provider.parse("Who?", Person).attempts == 2
    assert "nobody is younger than nought" in served.messages[-1]["content"]


# --- it ends --------------------------------------------------------------------------------


def test_a_model_that_never_gets_it_right_is_an_error_with_its_last_words(
    served: ServedProvider,
) -> None:
    served.fake.usual = f'{{"n": "{ANSWER}"}}'
    with pytest.raises(SchemaError, match="in 3 attempts") as caught:
        served.provider.parse(PROMPT, SCHEMA)

    error = caught.value
    assert len(served.requests) == 3
    assert error.text == error.partial == f'{{"n": "{ANSWER}"}}'
    assert len(error.reasons) == 1 and error.reasons[0].startswith("answer.n: is ")
    assert (error.provider, error.model) == (served.provider.name, "m")
    assert ANSWER not in str(error) + repr(error)
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.text, twin.reasons) == (error.text, error.reasons)
    assert json.loads(json.dumps(error.to_dict()))["reasons"] == list(error.reasons)
    assert_shows_no_prompt(error)


def test_the_number_of_attempts_is_the_callers(ollama: ServedProvider) -> None:
    with pytest.raises(SchemaError, match=r"in 1 attempt\b"):
        ollama.provider.parse("How many?", SCHEMA, max_attempts=1)
    assert len(ollama.requests) == 1


@pytest.mark.sample(10)
@pytest.mark.parametrize("reason", ["length", "model_length", "MAX_TOKENS"])
@pytest.mark.parametrize("text", ['{"n": 7, "and', "", '```json\n{"n": 7'])
def test_an_answer_that_was_cut_is_not_asked_for_again(
    served: ServedProvider, text: str, reason: str
) -> None:
    served.fake.reply_with(Reply(text=text, finish_reason=reason))
    with pytest.raises(SchemaError, match="cut off before its JSON was complete") as caught:
        served.provider.parse("How many?", SCHEMA)

    assert len(served.requests) == 1
    assert caught.value.text == text
    assert caught.value.hint and "max_tokens" in caught.value.hint


@pytest.mark.sample(6)
@pytest.mark.parametrize("reason", ["refusal", "content_filter"])
@pytest.mark.parametrize("text", ['{"n": 7}', '{"n": 7', "I cannot help.", ""])
def test_a_refused_answer_is_no_value_and_is_not_asked_for_again(
    served: ServedProvider, text: str, reason: str
) -> None:
    served.fake.reply_with(Reply(text=text, finish_reason=reason))
    with pytest.raises(SchemaError, match="the server refused to answer") as caught:
        served.provider.parse("How many?", SCHEMA)

    assert len(served.requests) == 1
    assert caught.value.text == text
    assert caught.value.hint and "another model" in caught.value.hint


def test_a_line_break_in_a_string_is_read(served: ServedProvider) -> None:
    """Models write them without the escape, above all in code."""
    schema = {"type": "object", "properties": {"code": {"type": "string"}}}
    served.fake.reply_with(Reply(text='{\n"code": "a\n\tb\\n"\n}'))
    assert served.provider.parse("Write!", schema).value == {"code": "a\n\tb\n"}
    assert len(served.requests) == 1


@pytest.mark.parametrize("thinking", ["", "Let me see."])
def test_an_answer_that_max_tokens_ended_before_its_json_says_so(
    served: ServedProvider, thinking: str
) -> None:
    served.fake.reply_with(Reply(text="", thinking=thinking, finish_reason="length"))
    with pytest.raises(SchemaError) as caught:
        served.provider.parse("How many?", SCHEMA, max_tokens=4)

    (reason,) = caught.value.reasons
    assert reason.startswith("answer: is empty, because max_tokens ended it")
    assert ("only thinking" in reason) == bool(thinking)
    assert ("max_tokens" if thinking else "max_tokens, which is 4") in str(caught.value.hint)


# --- answers that the server ends for their repetitions ----------------------------------------

_REPETITION = "a repetition that the server ends"


def test_an_answer_that_repeats_itself_is_asked_for_again(served: ServedProvider) -> None:
    served.fake.break_next(_REPETITION, path=served.chat_path)
    served.fake.reply_with("Hello", '{"n": 7}')
    parsed = served.provider.parse("How many?", SCHEMA)

    assert (parsed.value, parsed.attempts) == ({"n": 7}, 2)
    question, answer, correction = served.messages
    assert question["content"] == "How many?"
    assert (answer["role"], answer["content"]) == ("assistant", "Hello ha")
    assert "repeated the same piece" in correction["content"]


def test_answers_that_all_repeat_themselves_are_a_schema_error(served: ServedProvider) -> None:
    served.fake.break_next(_REPETITION, times=None, path=served.chat_path)
    with pytest.raises(SchemaError, match="in 3 attempts") as caught:
        served.provider.parse(PROMPT, SCHEMA)

    error = caught.value
    assert len(served.requests) == 3
    assert isinstance(error.__cause__, RepetitionError)
    assert error.text == error.partial == "Hello" + " ha" * 31
    assert error.reasons == (f"answer: {error.__cause__.message}",)
    assert "repeat_penalty" in str(error.hint)
    assert (error.provider, error.model) == (served.provider.name, "m")
    assert error.endpoint == error.__cause__.endpoint
    assert_shows_no_prompt(error)


def test_a_cut_connection_is_not_asked_for_again(served: ServedProvider) -> None:
    served.fake.break_next("a repetition, then closed", times=None, path=served.chat_path)
    with pytest.raises(StreamInterruptedError):
        served.provider.parse("How many?", SCHEMA)
    assert len(served.requests) == 1


def test_a_whole_value_in_a_cut_answer_is_a_value(served: ServedProvider) -> None:
    """Bound output can run on in blanks after the value."""
    served.fake.reply_with(Reply(text='{"n": 7}   ', finish_reason="length"))
    assert served.provider.parse("How many?", SCHEMA).value == {"n": 7}


def test_the_total_holds_for_all_attempts(fake_clock: FakeTime, served: ServedProvider) -> None:
    def late(exchange: Exchange) -> str:
        fake_clock.advance(2)
        return "no"

    served.fake.usual = late
    with pytest.raises(LimitError, match=r"total_s of 9 s") as caught:
        served.provider.parse(PROMPT, SCHEMA, max_attempts=1000, timeout=9)

    error = caught.value
    assert (error.limit, error.limit_s, error.elapsed_s) == ("total_s", 9, 10)
    assert len(served.requests) == 5
    assert_shows_no_prompt(caught.value, "- the answer")


def test_cancelling_between_attempts_asks_no_more(served: ServedProvider) -> None:
    token = CancelToken()

    class Cancels(LooksLikePydantic):
        @classmethod
        def model_validate(cls, value: Any) -> Cancels:
            token.cancel()
            raise ValueError("not this one")

    served.fake.usual = '{"name": "Ada"}'
    with pytest.raises(CancelledError) as caught:
        served.provider.parse(PROMPT, Cancels, cancel=token)

    assert len(served.requests) == 1
    assert token._listeners == set()
    assert_shows_no_prompt(caught.value)


def test_a_server_that_fails_at_the_second_attempt_shows_nothing_of_the_first(
    served: ServedProvider,
) -> None:
    served.fake.reply_with(
        f'{{"n": "{ANSWER}"}}', Refusal(status="500 No", body={"error": f"not {ANSWER}"})
    )
    with pytest.raises(ProviderError) as caught:
        served.provider.parse(PROMPT, SCHEMA)
    assert_shows_no_prompt(caught.value, ANSWER)


# --- what is refused before anything is sent -------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.parse(PROMPT, SCHEMA, max_attempts=0), "max_attempts is 0"),
        (lambda p: p.parse(PROMPT, SCHEMA, max_attempts=1.5), "max_attempts is 1.5"),
        (lambda p: p.parse("", SCHEMA), "empty"),
        (lambda p: p.parse(PROMPT, {"type": "objekt"}), "'type'"),
        (lambda p: p.parse(PROMPT, complex), "complex"),
        (lambda p: p.parse(PROMPT, SCHEMA, max_tokens=-1), "max_tokens"),
    ],
)
def test_an_impossible_call_sends_nothing(
    ollama: ServedProvider, call: Callable[[Any], Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        call(ollama.provider)
    assert ollama.fake.exchanges == []
    assert_shows_no_prompt(caught.value)


def test_a_type_without_a_schema_is_a_mistake_of_configuration(ollama: ServedProvider) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ollama.provider.parse("Hi", object())
    assert caught.value.hint


# --- values ---------------------------------------------------------------------------------


def test_a_parsed_value_survives_pickles_and_becomes_plain_json(ollama: ServedProvider) -> None:
    ollama.fake.reply_with(ADA)
    parsed = ollama.provider.parse("Who?", Person)

    assert pickle.loads(pickle.dumps(parsed)) == parsed
    told = json.loads(json.dumps(parsed.to_dict()))
    assert told["value"] == json.loads(ADA)
    assert Parsed.from_dict(told).response == parsed.response
    assert "Ada" not in repr(parsed)
