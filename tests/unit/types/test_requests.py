"""Requests: allowed values, and values that are refused before anything is sent."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Dict

import pytest

from localproviders.provider import ModelProvider
from localproviders.types import CompletionRequest, EmbeddingRequest, Message, RequestFields, Tool
from localproviders.types.requests import check_field_names

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
    if name not in _OPEN:
        with pytest.raises(ValueError, match=name):
            CompletionRequest(prompt="p", **{name: least - 1})


@pytest.mark.parametrize("value", [math.nan, -math.inf, True, False, "1", [1]])
@pytest.mark.parametrize("name", _NUMBERS)
def test_what_is_no_number_is_refused(name: str, value: Any) -> None:
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
            r"unexpected keyword 'prompt'; pass complete\(CompletionRequest\(prompt=...\)\)",
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


@pytest.mark.parametrize("given", ["10m", -1])
def test_a_wrong_keep_alive_is_refused_with_its_unit(given: Any) -> None:
    with pytest.raises(ValueError) as caught:
        CompletionRequest(prompt="p", keep_alive=given)
    assert str(caught.value) == (
        f"keep_alive is {given!r}, and must be a number of seconds from 0 on, such as 600, or "
        "math.inf for ever"
    )
