"""The official client of OpenAI works with the fake servers as with the real ones."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Iterator

import pytest

from localproviders import ToolCall
from localproviders.testing import (
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    Refusal,
    Reply,
)

openai = pytest.importorskip(
    "openai", reason="the client of OpenAI is not installed: nox -s clients installs it"
)

pytestmark = pytest.mark.slow

_HI: Any = [{"role": "user", "content": "Hi"}]
_MODELS = (
    FakeModel(name="chat", loaded=True),
    FakeModel(name="vectors", abilities=("embeddings",)),
)
_CALL = ToolCall(id="one", name="weather", arguments={"city": "Oslo"})
_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {}}}


@pytest.fixture(params=[FakeOpenAICompatible, FakeLMStudio])
def fake(request: pytest.FixtureRequest) -> Iterator[Any]:
    with request.param(_MODELS) as server:
        yield server


@pytest.fixture
def client(fake: Any) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{fake.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def _create(client: Any, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": "chat", "messages": _HI, **fields})


def test_models_and_a_chat(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["chat", "vectors"]
    answer = _create(client)
    assert answer.choices[0].message.content == "Hello there, friend."
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1, 3)
    assert answer.id != _create(client).id


def test_a_limit_of_tokens(client: Any, fake: Any) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        assert _create(client, **{name: 2}).choices[0].finish_reason == "length", name


def test_a_stream(client: Any, fake: Any) -> None:
    fake.usual = Reply(text="a b", thinking="Hm.")
    with client.chat.completions.stream(model="chat", messages=_HI) as events:
        message = events.get_final_completion().choices[0].message
    assert message.content == "a b"
    # LM Studio repeats the role in each record, and this client joins what is repeated.
    assert message.role == "assistant" * (3 if isinstance(fake, FakeLMStudio) else 1)
    records = list(_create(client, stream=True, stream_options={"include_usage": True}))
    assert (records[-1].choices, records[-1].usage.completion_tokens) == ([], 3)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_tool_call(client: Any, fake: Any, is_streamed: bool) -> None:
    fake.usual = Reply(text="", tool_calls=(_CALL,))
    if is_streamed:
        with client.chat.completions.stream(model="chat", messages=_HI, tools=[_TOOL]) as events:
            answer = events.get_final_completion()
    else:
        answer = _create(client, tools=[_TOOL])
        assert answer.usage.completion_tokens > 0
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", _CALL.arguments)
    assert answer.choices[0].finish_reason == "tool_calls"


def test_completions_and_vectors(client: Any, fake: Any) -> None:
    text = client.completions.create(model="chat", prompt="Once", max_tokens=1)
    assert (text.choices[0].text, text.choices[0].finish_reason) == ("Hello", "length")
    vectors = client.embeddings.create(model="vectors", input=["a", "b"]).data
    assert [len(vector.embedding) for vector in vectors] == [16, 16]


def test_what_only_llama_cpp_accepts() -> None:
    with FakeOpenAICompatible(_MODELS) as fake:
        with openai.OpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as client:
            logprobs = _create(client, logprobs=True, top_logprobs=2).choices[0].logprobs
            assert len(logprobs.content) == 3
            ids = client.embeddings.create(model="vectors", input=[[1, 2, 3]])
            assert (len(ids.data), ids.usage.prompt_tokens) == (1, 3)
            several = client.completions.create(model="chat", prompt=["a", "b"])
            assert len(several.choices) == 2


def test_ollama_speaks_the_dialect_too() -> None:
    with FakeOllama(_MODELS) as fake:
        with openai.OpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as client:
            assert {model.id for model in client.models.list()} == {"chat:latest", "vectors:latest"}
            assert _create(client).choices[0].message.content == "Hello there, friend."
            with client.chat.completions.stream(model="chat", messages=_HI) as events:
                assert events.get_final_completion().choices[0].message.role == "assistant"
            fake.reply_with(Reply(text="", tool_calls=(_CALL,)))
            answer = _create(client, tools=[_TOOL])
            assert answer.choices[0].message.tool_calls[0].function.name == "weather"
            vectors = client.embeddings.create(model="vectors", input=["a", "b"]).data
            assert [len(vector.embedding) for vector in vectors] == [16, 16]
            with pytest.raises(openai.NotFoundError):
                _create(client, model="nope")


_QUESTIONS: Any = [
    {
        "type": "choice",
        "name": "route",
        "instructions": "Who?",
        "choices": [{"value": "sales"}, {"value": True, "description": "the help desk"}],
    },
    {"type": "predicate", "name": "angry", "instructions": "Is the customer angry?"},
    {
        "type": "score",
        "instructions": [{"type": "input_text", "text": "How urgent?"}],
        "levels": [{"label": "low"}, {"label": "high"}],
    },
    {"type": "predicate", "name": "rude", "instructions": "Is the customer rude?"},
]


@pytest.mark.parametrize("server_class", [FakeOpenAICompatible, FakeLMStudio])
def test_decisions(server_class: Any) -> None:
    decider = FakeModel(name="decider", abilities=("decision",), loaded=True)
    with server_class([*_MODELS, decider]) as fake:
        fake.decision_routes = ("/v1/decisions",)
        fake.reply_with(Reply(decisions={"route": [0.25, 0.75], "angry": 0.9, "rude": None}))
        with openai.OpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as client:
            answer = client.decisions.create(model="decider", input="Hi", questions=_QUESTIONS)
            chat: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
            again = client.decisions.create(model="decider", input=chat, questions=_QUESTIONS)
            with pytest.raises(openai.BadRequestError):
                client.decisions.create(model="chat", input="Hi", questions=_QUESTIONS)
            with pytest.raises(openai.BadRequestError):
                client.decisions.create(model="decider", input="Hi", questions=[])
    route, angry, urgency, rude = answer.answers
    assert (route.choice, route.name) == (True, "route")
    assert [(row.value, row.probability) for row in route.probabilities] == [
        ("sales", 0.25),
        (True, 0.75),
    ]
    assert (angry.type, angry.probability) == ("predicate", 0.9)
    assert (urgency.name, [row.label for row in urgency.probabilities]) == (None, ["low", "high"])
    assert urgency.score == urgency.probabilities[1].probability
    assert (rude.type, rude.name) == ("refusal", "rude")
    assert answer.usage.total_tokens == answer.usage.input_tokens > 0
    assert len(again.answers) == 4
    for found in answer.answers:  # the client does not check the types itself
        type(found).model_validate(found.model_dump())


def test_refusals(client: Any, fake: Any) -> None:
    is_studio = isinstance(fake, FakeLMStudio)
    refused: Any = (
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}, "tools": [_TOOL]}
        if is_studio
        else {"n": 2}
    )
    with pytest.raises(openai.BadRequestError):
        _create(client, **refused)
    if is_studio:
        with pytest.raises(openai.BadRequestError):
            _create(client, response_format={"type": "json_object"})
    fake.reply_with(Refusal(status="429 Too Many Requests"))
    with pytest.raises(openai.RateLimitError):
        _create(client)
    fake.break_next("body cut")
    with pytest.raises((openai.APIError, openai.APIConnectionError, ValueError)):
        _create(client)


def test_the_asynchronous_client(fake: Any) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{fake.url}/v1", api_key="none") as client:
            records = await _create(client, stream=True)
            deltas = [r.choices[0].delta async for r in records if r.choices]
            return "".join(delta.content or "" for delta in deltas)

    assert asyncio.run(ask()) == "Hello there, friend."
