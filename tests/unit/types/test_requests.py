"""Requests: allowed values, and values that are refused before anything is sent."""

from __future__ import annotations

import math
from dataclasses import fields
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Dict

import pytest

from localproviders._http.transport import write_json
from localproviders.provider import ModelProvider
from localproviders.types import (
    CompletionRequest,
    EmbeddingRequest,
    Limits,
    LoadedModel,
    Message,
    ModelInfo,
    RequestFields,
    Tool,
)
from localproviders.types.requests import check_field_names
from tests.support.secrets import our_frames

_NUMBERS = {
    "max_tokens": 1,
    "temperature": 0,
    "top_p": 0,
    "top_k": 0,
    "min_p": 0,
    "seed": -(2**63),
    "repeat_penalty": 0,
    "presence_penalty": -2,
    "frequency_penalty": -2,
    "top_logprobs": 0,
    "context_length": 1,
    "keep_alive": 0,
}
_OPEN = ("presence_penalty", "frequency_penalty")


@pytest.mark.parametrize(("name", "least"), _NUMBERS.items())
def test_a_number_may_be_as_small_as_it_has_a_meaning(name: str, least: float) -> None:
    for value in (None, least, least + 1):
        assert getattr(CompletionRequest(prompt="p", **{name: value}), name) == value
    if name not in _OPEN and name != "keep_alive":  # below zero is for ever
        with pytest.raises(ValueError, match=name):
            CompletionRequest(prompt="p", **{name: least - 1})


@pytest.mark.parametrize("value", [math.nan, -math.inf, True, False, "1", [1]])
@pytest.mark.parametrize("name", _NUMBERS)
def test_what_is_no_number_is_refused(name: str, value: Any) -> None:
    if (name, value) == ("keep_alive", "1"):
        value = "one"  # a number of seconds may be text
    with pytest.raises(ValueError, match=name):
        CompletionRequest(prompt="p", **{name: value})


@pytest.mark.parametrize("name", _NUMBERS)
def test_only_keep_alive_may_be_infinite(name: str) -> None:
    if name == "keep_alive":
        assert CompletionRequest(prompt="p", keep_alive=math.inf).keep_alive == math.inf
        return
    with pytest.raises(ValueError, match=name):
        CompletionRequest(prompt="p", **{name: math.inf})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "either messages or a prompt"),
        ({"messages": ()}, "either messages or a prompt"),
        ({"messages": (Message.user("m"),), "prompt": "p"}, "either messages or a prompt"),
        ({"prompt": ""}, "prompt is empty"),
        ({"messages": (Message.user("m"),), "suffix": "s"}, "suffix needs prompt"),
        ({"prompt": "p", "overflow": "cut"}, "overflow is 'cut'"),
        ({"prompt": "p", "tools": [{"name": "f"}]}, "tools takes Tool values"),
        ({"messages": "hello"}, "messages takes Message values"),
        ({"messages": [{"role": "user"}]}, "messages takes Message values"),
        ({"prompt": 5}, "prompt is int, and must be text"),
        ({"prompt": b"p"}, "prompt is bytes, and must be text"),
        ({"prompt": "p", "suffix": 5}, "suffix is int, and must be text"),
        ({"prompt": "p", "model": 5}, "model is int, and must be text"),
        ({"prompt": "p", "stop": ["a", 5]}, "stop is int, and must be text"),
        ({"prompt": "p", "max_tokens": 1.5}, "max_tokens is 1.5, and must be a whole number"),
        ({"prompt": "p", "seed": 2.0}, "seed is 2.0, and must be a whole number"),
    ],
)
def test_an_impossible_question_is_a_value_error(given: Dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CompletionRequest(**given)


@pytest.mark.parametrize(("given", "held"), [("END", ("END",)), (["a", "b"], ("a", "b")), ((), ())])
def test_stop_is_one_text_or_several(given: Any, held: Any) -> None:
    assert CompletionRequest(prompt="p", stop=given).stop == held


def test_lists_are_kept_as_tuples() -> None:
    request = CompletionRequest(messages=[Message.user("m")], tools=[Tool(name="f")], stop=["s"])
    assert request.messages == (Message.user("m"),)
    assert (request.tools, request.stop) == ((Tool(name="f"),), ("s",))
    assert EmbeddingRequest(texts=["a"]).texts == ("a",)


def test_the_keywords_of_chat_are_the_fields_of_a_request() -> None:
    own = {field.name for field in fields(CompletionRequest)}
    assert set(RequestFields.__annotations__) == own - {
        "model",
        "messages",
        "prompt",
        "suffix",
        "tools",
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("temprature", "did you mean 'temperature'"),
        ("max_token", "did you mean 'max_tokens'"),
        ("qqq", "unexpected keyword 'qqq'"),
        (
            "prompt",
            r"'prompt'; pass the text as the first .* complete\(CompletionRequest\(prompt=text\)\)",
        ),
        ("qqqq", "unexpected keyword .qqqq.$"),
    ],
)
def test_an_unknown_keyword_is_a_type_error_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        check_field_names({"seed": 1, name: 1}, ModelProvider.chat)
    check_field_names({"seed": 1}, ModelProvider.chat)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"texts": ()}, "no text"),
        ({"texts": ""}, "text 0"),
        ({"texts": ["a", ""]}, "text 1"),
        ({"texts": ["a", None]}, "text 1"),
        ({"texts": "a", "dimensions": 0}, "dimensions is 0"),
    ],
)
def test_an_impossible_embedding_is_a_value_error(given: Dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EmbeddingRequest(**given)


def test_one_text_is_a_list_of_one() -> None:
    assert EmbeddingRequest(texts="a").texts == ("a",)


_FOR_EVER = math.inf


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("10m", 600), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400), ("250ms", 0.25), ("0", 0),
        ("600", 600), (-1, _FOR_EVER), ("-1", _FOR_EVER), ("-1m", _FOR_EVER), (-2.5, _FOR_EVER),
        (0, 0), (600, 600), (math.inf, _FOR_EVER), (timedelta(minutes=10), 600), (None, None),
    ],
)  # fmt: skip
def test_keep_alive_is_read_as_ollama_reads_it(given: Any, seconds: Any) -> None:
    assert CompletionRequest(prompt="p", keep_alive=given).keep_alive == seconds
    assert EmbeddingRequest(texts="t", keep_alive=given).keep_alive == seconds


@pytest.mark.parametrize("given", ["10", 5])
def test_a_number_of_seconds_keeps_its_type(given: Any) -> None:
    assert type(CompletionRequest(prompt="p", keep_alive=given).keep_alive) is int


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": -1},
        {"suffix": 3},
        {"stop": 3},
        {"seed": "x"},
        {"extra_body": 3},
        {"tools": 3},
    ],
)
def test_no_frame_of_a_refused_request_shows_the_prompt(wrong: Dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        CompletionRequest(model="m", prompt="private", **wrong)
    with pytest.raises((TypeError, ValueError)) as caught_of_message:
        Message(role="user", content="private", images=3)  # type: ignore[arg-type]  # under test

    with pytest.raises((TypeError, ValueError)) as caught_of_thinking:
        Message(role="assistant", thinking="private", images=3)  # type: ignore[arg-type]  # same
    with pytest.raises((TypeError, ValueError)) as caught_of_change:
        CompletionRequest(model="m", prompt="private").replace(**wrong)
    with pytest.raises((TypeError, ValueError)) as caught_of_dictionary:
        CompletionRequest.from_dict({"model": "m", "prompt": "private", **wrong})

    all_caught = (
        *(caught, caught_of_message, caught_of_thinking),
        *(caught_of_change, caught_of_dictionary),
    )
    for each in all_caught:
        frames = [*our_frames(each.value)]
        assert frames
        assert not [frame for frame, text in frames if "private" in text]


def test_none_is_a_field_that_is_not_given() -> None:
    given: Dict[str, Any] = dict.fromkeys(RequestFields.__annotations__)
    made = CompletionRequest(prompt="p", tools=None, messages=None, model=None, **given)  # type: ignore[arg-type]  # under test
    assert made == CompletionRequest(prompt="p")
    fields: Dict[str, Any] = {
        name: None for name in EmbeddingRequest.__annotations__ if name != "texts"
    }
    assert EmbeddingRequest(texts="t", **fields) == EmbeddingRequest(texts="t")


def test_a_model_may_be_its_description() -> None:
    made: Any
    for given, name in (
        (ModelInfo(name="m", provider="p"), "m"),
        (LoadedModel(name="m", provider="p"), "m"),
        ("", None),
    ):
        made = given
        assert CompletionRequest(prompt="p", model=made).model == name
        assert EmbeddingRequest(texts="t", model=made).model == name


class _Number:
    """A number as those of numpy are."""

    shape = ()

    def __init__(self, value: Any) -> None:
        self.value = value
        self.dtype = SimpleNamespace(kind="b" if value is True else "i", names=None)

    def tolist(self) -> Any:
        return self.value

    item = tolist


def test_a_number_of_numpy_is_a_number() -> None:
    made: Dict[str, Any] = {name: _Number(3) for name in _NUMBERS}
    request = CompletionRequest(prompt="p", strict=_Number(True), **made)  # type: ignore[arg-type]  # under test
    assert {getattr(request, name) for name in _NUMBERS} == {3}
    assert request.strict is True
    body = {"options": {"x": _Number(3)}}
    assert write_json(body) == '{"options": {"x": 3}}'
    assert Limits(total_s=made["seed"]).total_s == 3


def test_numbers_of_numpy_itself() -> None:
    numpy: Any = pytest.importorskip("numpy")
    request = CompletionRequest(
        prompt="p", seed=numpy.int64(3), temperature=numpy.float32(0.1), thinking=numpy.bool_(True)
    )
    assert (request.seed, request.temperature, request.thinking) == (3, 0.1, True)
    assert EmbeddingRequest(texts=numpy.array(["a", "b"])).texts == ("a", "b")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"a": "x"}, "texts is dict, and must be a list of texts: pass list(texts.values())"),
        (b"x", "texts is bytes, and must be text: pass data.decode()"),
        (SimpleNamespace(columns=["x"], __iter__=1), "pass one column"),
        (["a", None], "text 1 is a missing value (NoneType)"),
        (["a", math.nan], "text 1 is a missing value (float)"),
        (["a", 3], "text 1 is int, and must be text: pass str(value)"),
        ([SimpleNamespace(page_content="a")], "must be text: pass document.page_content"),
        ([{"text": "a"}], "must be text: pass document['text']"),
        (["a", ["b"]], "text 1 is list"),
        (["a", ""], "text 1 is empty"),
    ],
)
def test_what_cannot_be_embedded_is_told(texts: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        EmbeddingRequest(texts=texts)
    assert words in str(caught.value)
    if isinstance(texts, dict):
        with pytest.raises(ValueError, match="stop is dict"):
            CompletionRequest(prompt="p", stop=texts)  # type: ignore[arg-type]  # under test


def test_tables_of_pandas_are_told() -> None:
    pandas: Any = pytest.importorskip("pandas")
    for texts, words in (
        (pandas.DataFrame({"text": ["a"]}), "texts is DataFrame, and must be a list of texts"),
        (pandas.Series(["a", None]), "text 1 is a missing value"),
        (pandas.Series(["a", pandas.NA]), "text 1 is a missing value"),
    ):
        with pytest.raises(ValueError) as caught:
            EmbeddingRequest(texts=texts)
        assert words in str(caught.value)
    assert EmbeddingRequest(texts=pandas.Series(["a", "b"], index=[7, 7])).texts == ("a", "b")


@pytest.mark.parametrize("given", ["ten minutes", "10 min", "5M", "", "m", -math.inf])
def test_a_wrong_keep_alive_is_refused_with_its_unit(given: Any) -> None:
    with pytest.raises(ValueError) as caught:
        CompletionRequest(prompt="p", keep_alive=given)
    assert str(caught.value) == (
        f"keep_alive is {given!r}, and must be seconds, such as 600, a duration, such as '10m', or "
        "math.inf or -1 for ever"
    )


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("auto", "auto"),
        ("look", "look"),
        ("any", "required"),
        ({"type": "function", "function": {"name": "look"}}, "look"),
        ({"type": "function", "name": "look"}, "look"),
        ({"type": "tool", "name": "look"}, "look"),
        ({"type": "any"}, "required"),
        (None, None),
    ],
)
def test_the_choice_of_a_tool_in_another_form_is_the_same(given: Any, read: Any) -> None:
    request = CompletionRequest(
        messages=(Message.user("a"),), tools=(Tool(name="look"),), tool_choice=given
    )
    assert request.tool_choice == read


@pytest.mark.parametrize(
    ("given", "words"), [("lok", "is 'lok'"), (3, "is int"), ({}, "is NoneType"), (True, "is bool")]
)
def test_the_choice_of_no_tool_is_refused(given: Any, words: str) -> None:
    must = "and must be auto, none, required, or the name of a tool: look"
    with pytest.raises(ValueError, match=f"^tool_choice {words}, {must}$"):
        CompletionRequest(
            messages=(Message.user("a"),), tools=(Tool(name="look"),), tool_choice=given
        )
