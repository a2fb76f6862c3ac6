"""Bodies of OpenAI's API, for each route."""

from __future__ import annotations

from typing import Any

import pytest

from localproviders import Choice, Score, YesNo
from localproviders.batch.rows import RowReader, RowRules
from localproviders.batch.sources import open_source
from localproviders.batch.wire.bodies import ROUTES, read_body


def _request(url: str, body: Any) -> Any:
    line = {"custom_id": "a", "method": "POST", "url": url, "body": body}
    file = open_source([line], None)
    try:
        reader = RowReader(RowRules(None, None, None, {}), file)
        row = reader.read(0, next(iter(file.raw_rows())))
    finally:
        file.close()
    assert row.error is None, row.error
    assert row.id == "a"
    assert row.job is not None
    return row.job.request


def test_a_chat() -> None:
    request = _request(
        "/v1/chat/completions",
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "max_completion_tokens": 7,
            "temperature": None,
            "repetition_penalty": 1.1,
            "reasoning_effort": "low",
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "chat_template_kwargs": {"enable_thinking": False},
            "n": 1,
            "stream": False,
            "user": "someone",
            "metadata": {"a": "b"},
        },
    )
    assert (request.model, request.max_tokens, request.repeat_penalty) == ("m", 7, 1.1)
    assert (request.thinking, request.tool_choice) == ("low", "f")
    assert request.messages[0].content == "Hi"
    assert request.extra_body == {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}}}, {"a": 1}),
    ],
)
def test_response_formats(value: Any, schema: Any) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": value}
    assert _request("/v1/chat/completions", body).response_schema == schema


def test_a_completion() -> None:
    request = _request("/v1/completions", {"prompt": ["Once"], "logprobs": 3, "echo": False})
    assert (request.prompt, request.logprobs, request.top_logprobs) == ("Once", True, 3)


def test_embeddings() -> None:
    assert _request("/v1/embeddings", {"input": "a"}).texts == ("a",)
    request = _request("/v1/embeddings", {"input": ["a", "b"], "dimensions": 8, "model": "m"})
    assert (request.texts, request.dimensions, request.model) == (("a", "b"), 8, "m")


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/rerank", {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1}),
        ("/v1/rerank", {"query": "q", "documents": ["a", "b"], "return_documents": True}),
        ("/score", {"text_1": "q", "text_2": ["a", "b"]}),
        ("/v1/score", {"queries": ["q"], "documents": ["a", "b"]}),
        ("/v1/score", {"data_1": "q", "data_2": ["a", "b"]}),
    ],
)
def test_rankings(url: str, body: Any) -> None:
    request = _request(url, body)
    assert (request.query, request.documents) == ("q", ("a", "b"))


def test_decisions() -> None:
    questions = {
        "a": {"type": "noul", "instructions": "Is it?", "criteria": {"true": "y", "false": "n"}},
        "b": {"type": "choice", "instructions": "Which?", "criteria": {"x": None, "y": "Y"}},
        "c": {"type": "score", "instructions": "How?", "criteria": ["low", "high"]},
    }
    request = _request("/v1/systemone", {"state": {"k": 1}, "questions": questions})
    assert request.state == {"k": 1}
    assert request.questions == {
        "a": YesNo("Is it?", yes="y", no="n"),
        "b": Choice("Which?", {"x": None, "y": "Y"}),
        "c": Score("How?", ["low", "high"]),
    }


def test_decisions_of_the_other_route() -> None:
    questions = [
        {"type": "predicate", "name": "a", "instructions": "Is it?"},
        {
            "type": "choice",
            "name": "b",
            "instructions": "Which?",
            "choices": [{"value": "x"}, {"value": "y", "description": "Y"}],
        },
        {
            "type": "score",
            "name": "c",
            "instructions": "How?",
            "levels": [{"label": "low"}, {"label": "high"}],
        },
    ]
    request = _request("/v1/decisions", {"input": "text", "questions": questions})
    assert request.state == "text"
    assert request.questions == {
        "a": YesNo("Is it?"),
        "b": Choice("Which?", {"x": None, "y": "Y"}),
        "c": Score("How?", ["low", "high"]),
    }


@pytest.mark.parametrize(
    ("url", "body", "reason"),
    [
        ("/v1/chat/completions", [], "body is list"),
        ("/v1/chat/completions", {"mesages": []}, "did you mean 'messages'"),
        ("/v1/chat/completions", {"n": 2}, "n is 2, and can only be 1"),
        ("/v1/chat/completions", {"response_format": {"type": "xml"}}, "response_format must"),
        ("/v1/completions", {"prompt": ["a", "b"]}, "prompt must be one text"),
        ("/v1/completions", {"echo": True}, "echo is True"),
        ("/v1/embeddings", {"input": [[1, 2]]}, "tokens are not supported"),
        ("/v1/score", {"text_1": ["a", "b"]}, "must be one text"),
        ("/v1/systemone", {"questions": []}, "questions must be an object"),
        ("/v1/systemone", {"questions": {"a": 1}}, "a question must be an object"),
        ("/v1/systemone", {"questions": {"a": {"type": "x"}}}, "the type 'x'"),
        ("/v1/decisions", {"questions": {}}, "questions must be a list"),
        ("/v1/decisions", {"input": [1]}, "a list of messages is not supported"),
    ],
)
def test_a_body_that_cannot_be_sent(url: str, body: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_body(url, body)


def test_every_route_has_the_field_with_its_input() -> None:
    inputs = {"messages", "prompt", "input", "query", "text_1", "state"}
    assert all(inputs & set(route.fields) for route in ROUTES.values())
