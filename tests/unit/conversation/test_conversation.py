"""Conversations: what is sent, what is kept, and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from localproviders import (
    ConfigurationError,
    IntegrityError,
    Message,
    OllamaProvider,
    ProviderError,
    ToolCall,
    UnreachableError,
)
from localproviders.conversation import Conversation
from localproviders.testing import FakeOllama, Reply
from tests.unit.conversation.test_turns import CALL, PNG


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    with FakeOllama() as server:
        yield server


@pytest.fixture
def ollama(fake: FakeOllama) -> Iterator[OllamaProvider]:
    with OllamaProvider(fake.url, model="llama3.2") as provider:
        yield provider


def sent(fake: FakeOllama) -> List[Dict[str, Any]]:
    """Return the messages of the last chat."""
    bodies = [x.body for x in fake.exchanges if x.path == "/api/chat"]
    messages: List[Dict[str, Any]] = json.loads(bodies[-1])["messages"]
    return messages


def _contents(fake: FakeOllama) -> List[str]:
    return [message["content"] for message in sent(fake)]


def test_each_question_is_sent_with_the_earlier_turns(
    fake: FakeOllama, ollama: OllamaProvider
) -> None:
    conversation = Conversation(system="Be brief.")
    first = conversation.ask(ollama, "Hi")
    second = conversation.ask(ollama, [Message.user("again"), Message.user("please")])
    assert _contents(fake) == ["Be brief.", "Hi", first.text, "again", "please"]
    assert conversation.messages == (
        *(Message.user("Hi"), first.message),
        *(Message.user("again"), Message.user("please"), second.message),
    )
    assert (conversation.left_out, second.warnings) == (0, ())


def test_a_file_is_continued_and_says_who_answered(
    tmp_path: Path, fake: FakeOllama, ollama: OllamaProvider
) -> None:
    path = tmp_path / "chat.jsonl"
    with Conversation(path, system="Be brief.") as conversation:
        answer = conversation.ask(ollama, "Hi")
    with Conversation(path) as conversation:
        assert conversation.system == "Be brief."
        conversation.ask(ollama, "again")
    assert _contents(fake) == ["Be brief.", "Hi", answer.text, "again"]
    first, second = map(json.loads, path.read_text("utf-8").splitlines())
    assert {name: first[name] for name in first if name != "messages"} == {
        "system": "Be brief.",
        "model": "llama3.2",
        "provider": "ollama",
        "endpoint": fake.url,
        "digest": answer.digest,
        "finish_reason": "stop",
    }
    assert "system" not in second and answer.digest


@pytest.mark.parametrize(("given", "now"), [(None, "old"), ("new", "new"), ("", None)])
def test_a_given_system_message_replaces_that_of_the_file(
    tmp_path: Path, fake: FakeOllama, ollama: OllamaProvider, given: Any, now: Any
) -> None:
    path = tmp_path / "chat.jsonl"
    with Conversation(path, system="old") as conversation:
        conversation.ask(ollama, "Hi")
    with Conversation(path, system=given) as conversation:
        assert conversation.system == now
        conversation.ask(ollama, "again")
    assert [m["content"] for m in sent(fake) if m["role"] == "system"] == ([now] if now else [])
    assert Conversation.load(path).system == now


def test_the_system_message_can_be_set_in_between(fake: FakeOllama, ollama: OllamaProvider) -> None:
    conversation = Conversation()
    conversation.ask(ollama, "Hi")
    conversation.system = "Be rude."
    conversation.ask(ollama, "Hi")
    assert _contents(fake)[0] == "Be rude."


def test_tool_calls_are_continued_with_their_results(
    fake: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return city

    call = ToolCall(id="1", name="weather", arguments={"city": "Bonn"})
    fake.reply_with(Reply(text="", tool_calls=(call,)), "Sunny.", "Bye.")
    with Conversation(tmp_path / "chat.jsonl") as conversation:
        (call,) = conversation.ask(ollama, "Hi", tools=[weather]).tool_calls
        with pytest.raises(ConfigurationError, match="tool calls without results: weather"):
            conversation.ask(ollama, "So?")
        conversation.ask(ollama, Message.tool("sunny", call), tools=[weather])
        roles = [message.role for message in conversation.messages]
    assert roles == ["user", "assistant", "tool", "assistant"]
    assert [message["role"] for message in sent(fake)] == roles[:3]
    assert Conversation.load(tmp_path / "chat.jsonl").messages == conversation.messages


def test_a_finished_turn_is_added(fake: FakeOllama, ollama: OllamaProvider) -> None:
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"sunny in {city}"

    call = ToolCall(id="1", name="weather", arguments={"city": "Bonn"})
    fake.reply_with(Reply(text="", tool_calls=(call,)), "Sunny.", "Bye.")
    conversation = Conversation()
    run = ollama.run_tools([*conversation.messages, Message.user("Hi")], [weather])
    conversation.add(run.messages, run.response)
    assert conversation.messages == run.messages
    conversation.ask(ollama, "Thanks")
    assert len(sent(fake)) == 5


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([Message.user("Hi")], "has the role user"),
        ([Message.assistant("", [CALL]), Message.tool("x", CALL)], "has the role tool"),
        ([Message.system("x"), Message.assistant("y")], "is a system message"),
    ],
)
def test_half_of_a_turn_is_not_added(messages: List[Message], reason: str) -> None:
    conversation = Conversation()
    with pytest.raises(ConfigurationError, match=reason):
        conversation.add(messages)
    assert conversation.messages == ()


def test_images_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    question = Message.user("What is this?", images=[PNG])
    with Conversation(path) as conversation:
        conversation.add([question, Message.assistant("A picture.")])
    assert Conversation.load(path).messages[0].images[0].data == PNG


# --- answers that do not come --------------------------------------------------------------


def test_a_failed_question_is_not_kept(tmp_path: Path, fake: FakeOllama) -> None:
    path = tmp_path / "chat.jsonl"
    with Conversation(path) as conversation, OllamaProvider("127.0.0.1:1", model="m") as provider:
        with pytest.raises(UnreachableError):
            conversation.ask(provider, "Hi")
        assert conversation.messages == ()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("fault", ["close", "break"])
def test_a_stream_that_ends_early_is_not_kept(
    tmp_path: Path, ollama: OllamaProvider, fault: str
) -> None:
    path = tmp_path / "chat.jsonl"
    with Conversation(path) as conversation:
        conversation.ask(ollama, "Hi")
        before = path.read_bytes()
        with conversation.stream(ollama, "again") as stream:
            next(stream)
            if fault == "close":
                stream.close()
                with pytest.raises(ProviderError):
                    next(stream)
        assert path.read_bytes() == before and len(conversation.messages) == 2
        assert conversation.ask(ollama, "Hi").text


def test_an_exception_in_the_loop_keeps_nothing(ollama: OllamaProvider) -> None:
    conversation = Conversation()
    with pytest.raises(KeyboardInterrupt), conversation.stream(ollama, "Hi") as stream:
        next(stream)
        raise KeyboardInterrupt
    assert conversation.messages == ()


def test_a_stream_is_kept_at_its_end(tmp_path: Path, ollama: OllamaProvider) -> None:
    path = tmp_path / "chat.jsonl"
    with Conversation(path) as conversation:
        with conversation.stream(ollama, "Hi") as stream:
            text = "".join(chunk.text for chunk in stream)
            assert path.read_bytes().count(b"\n") == 1
        assert stream.result() is stream.result()
        assert text == stream.text == stream.result().text == conversation.messages[-1].content
        with conversation.stream(ollama, "Hi") as stream:
            stream.result()
    assert path.read_bytes().count(b"\n") == 2


def test_two_answers_cannot_be_streamed_at_once(ollama: OllamaProvider) -> None:
    conversation = Conversation()
    with conversation.stream(ollama, "Hi"):
        with pytest.raises(ConfigurationError, match="still being streamed"):
            conversation.ask(ollama, "again")
    conversation.ask(ollama, "again")
    left = conversation.stream(ollama, "Hi")
    del left
    assert len(conversation.ask(ollama, "again").text) > 0


def test_a_changed_file_is_found_before_anything_is_sent(
    tmp_path: Path, fake: FakeOllama, ollama: OllamaProvider
) -> None:
    path = tmp_path / "chat.jsonl"
    with Conversation(path) as conversation:
        conversation.ask(ollama, "Hi")
        count = len(fake.exchanges)
        path.write_text("other")
        with pytest.raises(IntegrityError):
            conversation.ask(ollama, "again")
        assert len(fake.exchanges) == count


# --- wrong calls ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "reason"),
    [
        ({"window": 0}, ConfigurationError, "window is 0"),
        ({"window": "big"}, ConfigurationError, "window is a? ?str"),
        ({"window": True}, ConfigurationError, "window is True"),
        ({"system": 3}, ConfigurationError, "system is 3"),
        ({"path": 3}, ConfigurationError, "3 is not a path"),
        ({"sytem": "x"}, TypeError, "did you mean 'system'"),
    ],
)
def test_a_wrong_argument_is_named(arguments: Dict[str, Any], kind: Any, reason: str) -> None:
    with pytest.raises(kind, match=reason):
        Conversation(**arguments)


def test_a_wrong_question_is_named(ollama: OllamaProvider) -> None:
    conversation: Any = Conversation()
    for arguments, fields, kind, reason in (
        (("Hi", ollama), {}, TypeError, r"write conversation\.ask\(provider, text\)"),
        ((ollama, "Hi"), {"system": "x"}, TypeError, r"conversation\.system = text"),
        ((ollama, "Hi"), {"temprature": 1}, TypeError, "did you mean 'temperature'"),
        ((ollama, ""), {}, ValueError, "the text is empty"),
        ((ollama, Message.system("x")), {}, ConfigurationError, "is a system message"),
    ):
        with pytest.raises(kind, match=reason):
            conversation.ask(*arguments, **fields)
        with pytest.raises(kind, match=reason):
            conversation.stream(*arguments, **fields)
    assert conversation.messages == ()


def test_a_closed_conversation_can_be_read_only(tmp_path: Path, ollama: OllamaProvider) -> None:
    conversation = Conversation(tmp_path / "chat.jsonl")
    conversation.ask(ollama, "Hi")
    conversation.close()
    assert len(conversation.messages) == 2
    with pytest.raises(ConfigurationError, match="the conversation is closed"):
        conversation.ask(ollama, "again")


def test_an_answer_that_ends_after_the_conversation_was_closed_is_named(
    tmp_path: Path, ollama: OllamaProvider
) -> None:
    with Conversation(tmp_path / "chat.jsonl") as conversation:
        stream = conversation.stream(ollama, "Hi")
    with pytest.raises(ConfigurationError, match="was closed before") as caught:
        stream.result()
    assert "before the conversation is closed" in str(caught.value.hint)
    assert len(conversation.messages) == 2
    assert (tmp_path / "chat.jsonl").read_bytes() == b""


def test_the_repr_has_no_text(tmp_path: Path) -> None:
    with Conversation(tmp_path / "chat.jsonl") as conversation:
        conversation.add([Message.user("private"), Message.assistant("private")])
        assert repr(conversation) == f"<Conversation '{tmp_path}/chat.jsonl', 2 messages>"
    assert repr(Conversation()) == "<Conversation in memory, 0 messages>"


def test_a_call_is_a_value(tmp_path: Path) -> None:
    call = ToolCall(id="x", name="f", arguments={})
    conversation = Conversation()
    conversation.add([Message.user("Hi"), Message.assistant("", [call])])
    assert conversation.messages[-1].tool_calls == (call,)
