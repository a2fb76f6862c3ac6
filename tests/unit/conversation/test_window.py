"""The messages that a request leaves out, so that it fits into the context window."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Optional

import pytest

from localproviders import (
    CompletionRequest,
    ContextOverflowError,
    LimitError,
    LlamaCppProvider,
    LocalProvider,
    Message,
    ModelProvider,
    OllamaProvider,
)
from localproviders.conversation import Conversation
from localproviders.testing import FakeLlamaCpp, FakeModel, FakeOllama
from localproviders.types import TokenCount
from tests.unit.conversation.test_conversation import sent
from tests.unit.conversation.test_turns import CALL, PNG

#: A question of 100 words, of which the fakes count each as a token.
WORDS = " ".join(["word"] * 99)


def _filled(turns: int, **options: Any) -> Conversation:
    conversation = Conversation(**options)
    for number in range(turns):
        conversation.add([Message.user(f"{number} {WORDS}"), Message.assistant(f"ok {number}")])
    return conversation


class CountingOllama(OllamaProvider):
    """A provider that counts words, as the fake server does, and remembers the calls."""

    counts: List[int]

    def _count(self, request: CompletionRequest, timeout: Any, cancel: Any) -> TokenCount:
        texts = [message.content for message in request.messages or ()]
        tokens = sum(len(text.split()) for text in texts)
        self.counts.append(tokens)
        return TokenCount(tokens=tokens, source="exact")


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    model = FakeModel(name="m", context_length=2048, loaded=True)
    with FakeOllama(models=[model]) as server:
        yield server


@pytest.fixture
def ollama(fake: FakeOllama) -> Iterator[CountingOllama]:
    with CountingOllama(fake.url, model="m") as provider:
        provider.counts = []
        yield provider


def _first(fake: FakeOllama) -> Dict[str, Any]:
    return next(message for message in sent(fake) if message["role"] != "system")


def test_the_oldest_turns_are_left_out_and_the_answer_says_so(
    fake: FakeOllama, ollama: CountingOllama
) -> None:
    conversation = _filled(40, system="Be brief.")
    answer = conversation.ask(ollama, "Hi", max_tokens=48)
    messages = sent(fake)
    # 2,000 tokens hold 3 tokens of the system message and the question, and 19 turns of 102.
    assert len(messages) == 1 + 19 * 2 + 1
    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert _first(fake)["content"] == f"21 {WORDS}" and messages[-1]["content"] == "Hi"
    assert conversation.left_out == 42
    (warning,) = answer.warnings
    assert warning.startswith(
        "the oldest 42 of 80 earlier messages were left out, because the context window has 2048 "
        "tokens (the prompt now: 1941 tokens (exact"
    )
    assert len(conversation.messages) == 82


def test_a_stream_says_it_too(ollama: CountingOllama) -> None:
    conversation = _filled(40)
    with conversation.stream(ollama, "Hi") as stream:
        assert stream.left_out == conversation.left_out > 0
        assert "were left out" in stream.result().warnings[0]


def test_few_counts_find_the_longest_prompt(ollama: CountingOllama) -> None:
    conversation = _filled(1000)
    conversation.ask(ollama, "Hi", max_tokens=48)
    assert conversation.left_out == 2 * 981
    assert len(ollama.counts) <= 13


def test_nothing_is_left_out_and_nothing_counted_where_it_fits(ollama: CountingOllama) -> None:
    conversation = _filled(1)
    assert conversation.ask(ollama, "Hi").warnings == ()
    assert (conversation.left_out, ollama.counts) == (0, [])
    conversation = _filled(10)
    assert conversation.ask(ollama, "Hi").warnings == ()
    assert (conversation.left_out, len(ollama.counts)) == (0, 1)


@pytest.mark.parametrize(
    ("options", "fields", "turns"),
    [
        ({}, {}, (2048 - 512) // 102),
        ({"window": 1000}, {}, 750 // 102),
        ({"window": 100_000}, {}, (2048 - 512) // 102),
        ({}, {"max_tokens": 1000}, 1048 // 102),
        ({}, {"context_length": 1024}, 768 // 102),
    ],
)
def test_the_space_is_that_of_the_smallest_window_without_the_answer(
    fake: FakeOllama, ollama: CountingOllama, options: Any, fields: Any, turns: int
) -> None:
    _filled(40, **options).ask(ollama, "Hi", **fields)
    assert len(sent(fake)) == 2 * turns + 1


def test_a_call_of_a_tool_stays_with_its_result(fake: FakeOllama, ollama: CountingOllama) -> None:
    conversation = Conversation()
    result = Message.tool(WORDS, CALL)
    for _ in range(40):
        conversation.add(
            [Message.user(WORDS), Message.assistant("", [CALL]), result, Message.assistant("ok")]
        )
    conversation.ask(ollama, "Hi", max_tokens=48)
    roles = [message["role"] for message in sent(fake)]
    assert roles == [*["user", "assistant", "tool", "assistant"] * 10, "user"]


def test_a_result_is_sent_with_its_question(fake: FakeOllama, ollama: CountingOllama) -> None:
    conversation = _filled(40)
    conversation.add([Message.user(WORDS), Message.assistant("", [CALL])])
    conversation.ask(ollama, Message.tool("word " * 1900, CALL), max_tokens=48)
    assert [message["role"] for message in sent(fake)] == ["user", "assistant", "tool"]


def test_a_question_that_is_too_long_alone_is_an_error_of_the_server(
    ollama: CountingOllama,
) -> None:
    conversation = _filled(3)
    with pytest.raises(ContextOverflowError):
        conversation.ask(ollama, "word " * 3000)
    assert len(conversation.messages) == 6


def test_a_window_that_only_the_error_names_is_used_and_remembered(fake: FakeOllama) -> None:
    del fake.loaded["m"]  # the list then has only the window of the training
    with CountingOllama(fake.url, model="m") as provider:
        provider.counts = []
        conversation = _filled(40)
        assert "has 2048 tokens" in conversation.ask(provider, "Hi").warnings[0]
        count = len(fake.exchanges)
        conversation.ask(provider, "Hi")
        paths = [exchange.path for exchange in fake.exchanges]
        assert (paths[:count].count("/api/chat"), paths[count:].count("/api/chat")) == (2, 1)


class Undercounting(CountingOllama):
    """A provider whose estimate is half of the truth."""

    def _count(self, request: CompletionRequest, timeout: Any, cancel: Any) -> TokenCount:
        found = super()._count(request, timeout, cancel)
        return TokenCount(tokens=found.tokens // 2, source="rough")


def test_an_estimate_that_is_too_low_is_corrected_by_the_error(fake: FakeOllama) -> None:
    with Undercounting(fake.url, model="m") as provider:
        provider.counts = []
        conversation = _filled(40)
        answer = conversation.ask(provider, "Hi", max_tokens=48)
    assert "(rough" in answer.warnings[0]
    assert len(sent(fake)) == 2 * 19 + 1


def test_images_are_counted(ollama: CountingOllama) -> None:
    conversation = Conversation()
    conversation.add([Message.user("x", images=[PNG]), Message.assistant("y")])
    assert conversation.messages
    with pytest.raises(Exception, match="image"):
        conversation.ask(ollama, "Hi")
    assert len(ollama.counts) == 1


@pytest.mark.parametrize("named", [True, False])
def test_a_local_provider_and_an_exact_count(named: bool) -> None:
    model = FakeModel(name="m", context_length=1024)
    with FakeLlamaCpp(models=[model]) as fake, LlamaCppProvider(fake.url) as server:
        with LocalProvider([server], model=None if named else "m") as local:
            conversation = _filled(40)
            answer = conversation.ask(local, "Hi", model="m" if named else None)
        chats = [x for x in fake.exchanges if x.path.endswith("/chat/completions")]
    assert "has 1024 tokens" in answer.warnings[0] and "(exact" in answer.warnings[0]
    assert len(chats) == 1
    assert len(json.loads(chats[0].body)["messages"]) == 81 - conversation.left_out


def test_counting_is_part_of_the_time_of_the_call(ollama: CountingOllama) -> None:
    class Slow(CountingOllama):
        def count_tokens(self, *_: Any, timeout: Any = None, **__: Any) -> TokenCount:
            assert timeout.total_s <= 5
            raise LimitError("x", limit="total_s", limit_s=timeout.total_s, elapsed_s=5)

    with Slow(ollama.settings.endpoint.url, model="m") as provider:
        with pytest.raises(LimitError, match="total_s of 5 s") as caught:
            _filled(40).ask(provider, "Hi", timeout=5)
    assert caught.value.limit_s == 5


class Minimal(ModelProvider):
    """A provider of another package that names no model and no window."""

    def __init__(self, inner: OllamaProvider) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return "minimal"

    def close(self) -> None:
        """Close nothing."""

    def list_models(self, **_: Any) -> Any:
        """Return no models."""
        return []

    def supports_model(self, model: Any, **_: Any) -> bool:
        """Return True."""
        return True

    def model_info(self, model: Any, **_: Any) -> Any:
        """Fail, because no model is named."""
        raise AssertionError

    def stream_completion(self, request: Any, **options: Any) -> Any:
        """Let the other provider answer."""
        return self._inner.stream_completion(request, **options)

    def embed(self, *_: Any, **__: Any) -> Any:
        """Fail."""
        raise AssertionError


@pytest.mark.parametrize(("window", "turns"), [(None, 15), (1000, None)])
def test_the_number_of_the_caller_is_enough(
    fake: FakeOllama, ollama: CountingOllama, window: Optional[int], turns: Optional[int]
) -> None:
    conversation = _filled(15, window=window)
    answer = conversation.ask(Minimal(ollama), "Hi")
    if turns:
        assert len(sent(fake)) == 2 * turns + 1 and answer.warnings == ()
    else:
        assert "(rough" in answer.warnings[0] and conversation.left_out > 0
