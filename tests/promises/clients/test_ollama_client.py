"""The official client of Ollama works with the fake server as with the real one."""

from __future__ import annotations

import asyncio
from typing import Any, Iterator

import pytest

from localproviders import ToolCall
from localproviders.testing import FakeModel, FakeOllama, Reply

ollama = pytest.importorskip(
    "ollama", reason="the client of Ollama is not installed: nox -s clients installs it"
)

pytestmark = pytest.mark.slow

_HI: Any = [{"role": "user", "content": "Hi"}]
_NAMES = ["chat:latest", "vectors:latest", "decider:latest"]
_CALL = ToolCall(id="one", name="weather", arguments={"city": "Oslo"})


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    models = (
        FakeModel(name="chat", abilities=("chat", "completion", "tools", "thinking")),
        FakeModel(name="vectors", abilities=("embeddings",)),
        FakeModel(name="decider", abilities=("decision",)),
    )
    with FakeOllama(models) as server:
        yield server


@pytest.fixture
def client(fake: FakeOllama) -> Any:
    return ollama.Client(host=fake.url, trust_env=False)


@pytest.mark.parametrize("keep_alive", ["5m", "1h30m", "-1m", "0", 300, -1, 0])
def test_each_form_of_keep_alive(client: Any, fake: FakeOllama, keep_alive: Any) -> None:
    assert client.chat("chat", _HI, keep_alive=keep_alive).message.content
    assert client.generate("chat", "Once", keep_alive=keep_alive).response
    assert len(client.embed("vectors", ["a", "b"], keep_alive=keep_alive).embeddings) == 2
    assert ("chat" in fake.loaded) == (keep_alive not in ("0", 0))


def test_lists_and_facts(client: Any) -> None:
    assert [model.model for model in client.list().models] == _NAMES
    assert client.ps().models == []
    assert "tools" in client.show("chat").capabilities
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.chat("nope", _HI)


def test_streams_tools_and_thinking(client: Any, fake: FakeOllama) -> None:
    fake.usual = Reply(text="a b", thinking="Hm.")
    parts = list(client.chat("chat", _HI, stream=True, think=True))
    assert "".join(part.message.content or "" for part in parts) == "a b"
    assert "".join(part.message.thinking or "" for part in parts) == "Hm."
    assert [part.done for part in parts if part.done] == [True]
    fake.usual = Reply(text="", tool_calls=(_CALL,))
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    answer = client.chat("chat", _HI, tools=[tool])
    assert answer.message.tool_calls[0].function.arguments == _CALL.arguments


def test_models_are_copied_deleted_and_pulled(client: Any, fake: FakeOllama) -> None:
    client.copy("chat", "copy")
    client.delete("copy")
    assert [model.model for model in client.list().models] == _NAMES
    fake.registry = [FakeModel(name="new")]
    assert list(client.pull("new", stream=True))[-1].status == "success"


_QUESTIONS: Any = {
    "route": {"type": "choice", "instructions": "Who?", "criteria": {"sales": None, "help": "?"}},
    "angry": {"type": "noul", "instructions": "Is the customer angry?"},
    "urgency": {"type": "score", "instructions": "How urgent?", "criteria": ["low", "high"]},
}


def test_decisions(client: Any, fake: FakeOllama) -> None:
    decisions = {"route": {"sales": 0.25, "help": 0.75}, "angry": 0.9, "urgency": [0.5, 0.5]}
    fake.reply_with(Reply(decisions=decisions))
    answer = client.systemone("decider", {"text": "Hi", "n": None}, _QUESTIONS, keep_alive="5m")
    route, angry, urgency = (answer.answers[name] for name in _QUESTIONS)
    assert (route.choice, route.probabilities) == ("help", {"sales": 0.25, "help": 0.75})
    assert angry.noul == 0.9
    assert (urgency.score, urgency.legend) == (0.5, {"0": "low", "1": "high"})
    assert (answer.model, answer.usage.output_tokens) == ("decider", 0)
    with pytest.raises(ollama.ResponseError, match="does not support decision"):
        client.systemone("chat", "Hi", _QUESTIONS)
    with pytest.raises(ollama.ResponseError, match="does not support chat"):
        client.chat("decider", _HI)
    assert client.show("decider").capabilities == ["decision"]


def test_questions_of_the_clients_own_types(client: Any) -> None:
    questions = {
        "a": ollama.SystemOneNoulQuestion(instructions="Is it?"),
        "b": ollama.SystemOneNoulQuestion(instructions="Is it?", criteria={"true": "yes"}),
        "c": ollama.SystemOneChoiceQuestion(instructions="Who?", criteria={"x": None, "y": None}),
        "d": ollama.SystemOneScoreQuestion(instructions="How?", criteria=["low", "high"]),
    }
    answers = client.systemone("decider", "Hi", questions).answers
    assert [answer.type for answer in answers.values()] == ["noul", "noul", "choice", "score"]


def test_the_asynchronous_client(fake: FakeOllama) -> None:
    async def ask() -> str:
        client = ollama.AsyncClient(host=fake.url, trust_env=False)
        parts = await client.chat("chat", _HI, stream=True)
        return "".join([part.message.content async for part in parts])

    assert asyncio.run(ask()) == "Hello there, friend."
