"""Tokens that were lost are found by the counts and the context window; an error by default."""

from __future__ import annotations

import pickle
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest

from localproviders import (
    CompletionRequest,
    ContextOverflowError,
    LMStudioProvider,
    LocalProvider,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
)
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
    Reply,
    ScriptedServer,
    http_answer,
)
from tests.support.timing import GRACE_S

LONG = "word " * 1500
PROMPT = "question " * 1000
#: Prompt and answer do not fit into it together, but each fits alone.
WINDOW = 2048


class Side(NamedTuple):
    fake: FakeServer
    provider: Any
    asked: str


@pytest.fixture(params=["ollama", "lmstudio"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    kind: Callable[..., FakeServer] = FakeOllama if request.param == "ollama" else FakeLMStudio
    provider = OllamaProvider if request.param == "ollama" else LMStudioProvider
    abilities = ("chat", "completion", "tools", "thinking")
    with kind([FakeModel(name="m", context_length=WINDOW, abilities=abilities)]) as fake:
        with provider(fake.url, model="m") as made:
            yield Side(fake, made, "/api/ps" if request.param == "ollama" else "/api/v1/models")


def questions(side: Side) -> int:
    return sum(exchange.path == side.asked for exchange in side.fake.exchanges)


def test_an_answer_that_slid_out_of_its_window_is_an_error_with_the_text(side: Side) -> None:
    side.fake.reply_with(LONG)

    with pytest.raises(ContextOverflowError) as caught:
        side.provider.chat(PROMPT)

    error = caught.value
    assert (error.prompt_tokens, error.context_length) == (1000, WINDOW)
    assert error.partial == LONG
    assert "2500" in error.message
    assert pickle.loads(pickle.dumps(error)).context_length == WINDOW


def test_a_stream_gives_all_its_chunks_first(side: Side) -> None:
    side.fake.reply_with(LONG)
    seen = []

    with pytest.raises(ContextOverflowError):
        with side.provider.stream(PROMPT) as stream:
            seen.extend(chunk.text for chunk in stream)

    assert "".join(seen) == LONG


def test_who_allows_the_loss_is_told_of_it(side: Side) -> None:
    side.fake.reply_with(LONG)

    answer = side.provider.chat(PROMPT, overflow="allow")

    assert answer.text == LONG
    assert any("2500 tokens" in warning for warning in answer.warnings)


def test_what_fits_is_no_loss_and_the_window_is_asked_once(side: Side) -> None:
    side.fake.reply_with(*["word " * 900] * 3)

    for _ in range(3):
        assert side.provider.chat(PROMPT).warnings == ()

    assert questions(side) == 1


def test_a_short_answer_asks_nothing(side: Side) -> None:
    side.provider.chat("Hi")

    assert questions(side) == 0


def test_a_window_that_cannot_be_asked_is_a_warning(side: Side) -> None:
    side.fake.reply_with(LONG)
    side.fake.break_next("status 500 with JSON", times=None, path=side.asked)

    answer = side.provider.chat(PROMPT)

    assert any("cannot check" in warning for warning in answer.warnings)


def test_a_window_that_has_grown_since_is_no_loss(side: Side) -> None:
    side.fake.reply_with("word " * 900, LONG)
    side.provider.chat(PROMPT)
    side.fake.loaded["m"] = 2 * WINDOW  # another program has loaded the model again

    assert side.provider.chat(PROMPT).text == LONG
    assert questions(side) == 2


def test_the_window_of_a_copy_is_that_of_the_place_it_shares() -> None:
    with FakeOllama([FakeModel(name="m", context_length=WINDOW)]) as fake:
        with OllamaProvider(fake.url) as provider:
            provider.copy("m", "mine")
            provider.load("m")
            fake.reply_with(LONG)
            with pytest.raises(ContextOverflowError):
                provider.chat(PROMPT, model="mine")


def test_a_window_that_load_made_smaller_is_noticed_at_once() -> None:
    with FakeLMStudio(["m"]) as fake, LMStudioProvider(fake.url, model="m") as provider:
        fake.reply_with("word " * 600, "word " * 600)
        provider.load("m", context_length=1900)
        provider.chat(PROMPT)
        provider.load("m", context_length=1400)
        with pytest.raises(ContextOverflowError):
            provider.chat(PROMPT)


# --- the size of Ollama's window --------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "prompt", "answer", "fits"),
    [
        (1100, 1000, 280, True),  # Ollama allocates 1280
        (1100, 1000, 281, False),
        (1100, 1152, 100, True),  # even the prompt alone is longer than the reported window
        (512, 402, 110, True),
        (512, 402, 111, False),
        (600, 700, 68, True),
        (600, 700, 69, False),
        (64, 96, 160, True),  # at least 256
        (64, 96, 161, False),
        (1, 96, 8, True),
        (4096, 4000, 96, True),
    ],
)
def test_ollamas_window_is_a_multiple_of_256(
    window: int, prompt: int, answer: int, fits: bool
) -> None:
    usage = {"prompt_eval_count": prompt, "eval_count": answer}
    last = {"model": "m", "message": {"content": "a"}, "done": True, "done_reason": "stop"}
    running = {"models": [{"name": "m:latest", "context_length": window}]}
    answers = {
        "/api/tags": http_answer({"models": [{"name": "m:latest"}]}),
        "/api/ps": http_answer(running),
        "/api/chat": http_answer({**last, **usage}),
    }
    with ScriptedServer(lambda exchange: [answers[exchange.path]]) as server:
        with OllamaProvider(server.url, model="m") as provider:
            if fits:
                assert provider.chat("Hi").warnings == ()
                return
            with pytest.raises(ContextOverflowError) as caught:
                provider.chat("Hi")
    allocated = -(-window // 256) * 256
    assert caught.value.context_length == allocated
    assert f"the context window has {allocated}" in caught.value.message


def test_lm_studios_window_is_used_as_it_is_reported() -> None:
    with FakeLMStudio([FakeModel(name="m", context_length=1100)]) as fake:
        with LMStudioProvider(fake.url, model="m") as provider:
            fake.reply_with("word " * 101)
            with pytest.raises(ContextOverflowError) as caught:
                provider.chat(PROMPT)
    assert caught.value.context_length == 1100


# --- an answer that would slide ---------------------------------------------------------------


def forms(provider: Any) -> Dict[str, Callable[[], Any]]:
    """Return the calls that must not slide, by name."""
    request = CompletionRequest(messages=(Message.user("Hi"),))
    return {
        "chat": lambda: provider.chat("Hi"),
        "stream": lambda: list(provider.stream("Hi")),
        "result of a stream": lambda: provider.stream("Hi").result(),
        "complete": lambda: provider.complete(request),
        "prompt": lambda: provider.complete(CompletionRequest(prompt="Hi")),
        "run_tools": lambda: provider.run_tools("Hi", [_tool]),
        "parse": lambda: provider.parse("Hi", List[str]),
    }


def _tool(text: str) -> str:
    """Return the text."""
    return text


@pytest.mark.sample(1)
@pytest.mark.parametrize("form", list(forms(None)))
def test_an_answer_that_is_longer_than_the_window_is_ended(side: Side, form: str) -> None:
    side.fake.usual = "word " * 8_000

    with pytest.raises(ContextOverflowError) as caught:
        forms(side.provider)[form]()

    error = caught.value
    assert error.context_length == WINDOW
    assert f"the context window has {WINDOW}: the beginning was lost" in error.message
    assert "tokens so far" in error.message
    words = error.partial.split()
    assert WINDOW < len(words) < 8_000
    # The connection was closed, so the server stopped.
    work = [e for e in side.fake.exchanges if e.method == "POST" and e.path in side.fake.work_paths]
    assert work[-1].client_gone.wait(GRACE_S)


@pytest.mark.sample(1)
def test_thinking_counts_as_well(side: Side) -> None:
    side.fake.usual = Reply(thinking="hm " * 8_000, text="Yes.")

    with pytest.raises(ContextOverflowError) as caught:
        side.provider.chat("Hi")

    assert (caught.value.partial, caught.value.context_length) == ("", WINDOW)


def test_a_local_provider_raises_the_same_error_and_asks_no_other_server() -> None:
    models = [FakeModel(name="m", context_length=WINDOW)]
    with FakeOllama(models) as first, FakeOllama(["m"]) as second:
        first.usual = "word " * 8_000
        providers = [OllamaProvider(first.url, name="a"), OllamaProvider(second.url, name="b")]
        with LocalProvider(providers, model="m") as local:
            with pytest.raises(ContextOverflowError):
                local.chat("Hi")
            with pytest.raises(ContextOverflowError):
                list(local.stream("Hi"))
        assert not any(exchange.path == "/api/chat" for exchange in second.exchanges)


@pytest.mark.parametrize("overflow", ["allow", "truncate"])
def test_an_answer_that_may_slide_is_not_ended(overflow: Any) -> None:
    with FakeOllama([FakeModel(name="m", context_length=WINDOW)]) as fake:
        fake.usual = "word " * 3000
        with OllamaProvider(fake.url, model="m") as provider:
            answer = provider.chat("Hi", overflow=overflow)
    assert answer.text == "word " * 3000
    assert any("3001 tokens" in warning for warning in answer.warnings)


def test_a_long_answer_asks_once_for_the_window(side: Side) -> None:
    side.fake.usual = "word " * 1500

    for _ in range(3):
        assert side.provider.chat("Hi").warnings == ()

    assert questions(side) == 1


def test_a_window_that_is_unknown_ends_no_answer(side: Side) -> None:
    side.fake.usual = "word " * 3000
    side.fake.break_next("status 500 with JSON", times=None, path=side.asked)

    answer = side.provider.chat("Hi")

    assert answer.text == "word " * 3000
    assert any("cannot check" in warning for warning in answer.warnings)


def test_with_a_window_of_the_caller_ollama_ends_the_answer_at_the_window() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        fake.usual = "word " * 3000
        answer = provider.chat("word " * 402, context_length=1000)
        assert (answer.finish_reason, answer.warnings) == ("length", ())
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (402, 622)

        with provider.keep_loaded("m", context_length=512):
            with provider.stream(PROMPT[:900]) as stream:
                answer = stream.result()
        assert (answer.finish_reason, answer.usage.total_tokens) == ("length", 512)


def test_an_old_server_that_ignores_shift_is_ended_all_the_same() -> None:
    with _OldOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        fake.usual = "word " * 8_000
        with pytest.raises(ContextOverflowError) as caught:
            provider.chat("Hi", context_length=1000)
    assert caught.value.context_length == 1024


class _OldOllama(FakeOllama):
    """A server that does not know ``shift``."""

    def answer(self, exchange: Exchange) -> Any:
        exchange.body = exchange.body.replace(b'"shift":false', b'"ignored":0')
        assert "shift" not in (exchange.json or {})
        return super().answer(exchange)


# --- prompts that the server cuts -------------------------------------------------------------

_TALE = "The quick brown fox jumps over the lazy dog. " * 700


@pytest.mark.parametrize("overflow", ["allow", "truncate"])
def test_a_prompt_that_ollama_cut_is_a_warning_with_both_numbers(overflow: Any) -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        answer = provider.chat(_TALE, overflow=overflow)
        assert answer.usage.prompt_tokens == 2048
        (warning,) = answer.warnings
        estimate = provider.count_tokens(_TALE).tokens
        assert f"about {estimate} tokens by our estimate" in warning
        assert "the server counted 2048" in warning
        assert "window has 4096" in warning
        prompt = CompletionRequest(prompt=_TALE, overflow=overflow)
        (warning,) = provider.complete(prompt).warnings
        assert "probably cut the prompt" in warning


def test_messages_that_ollama_dropped_are_a_warning() -> None:
    history = [Message.user(_TALE), Message.assistant("Yes."), Message.user("word " * 200)]
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        answer = provider.chat(history, overflow="truncate")
    assert answer.usage.prompt_tokens == 201
    assert "probably cut the prompt" in answer.warnings[0]


@pytest.mark.parametrize("overflow", ["error", "allow", "truncate"])
@pytest.mark.parametrize(
    "prompt",
    [
        "word " * 4000,
        "x " * 4000,  # the estimate is too low
        " " * 20_000 + "word",  # the estimate is too high
        "=" * 20_000,
        "0" * 3000,
        "Hi",
    ],
)
def test_a_prompt_that_fits_is_no_warning(prompt: str, overflow: Any) -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        assert provider.chat(prompt, overflow=overflow).warnings == ()


@pytest.mark.parametrize("counted", [20, 150, 1500])
def test_a_server_that_does_not_count_its_cache_is_no_reason_for_a_warning(counted: int) -> None:
    last = {"model": "m", "message": {"content": "a"}, "done": True, "done_reason": "stop"}
    answers = {
        "/api/tags": http_answer({"models": [{"name": "m:latest"}]}),
        "/api/ps": http_answer({"models": [{"name": "m:latest", "context_length": 4096}]}),
        "/api/chat": http_answer({**last, "prompt_eval_count": counted, "eval_count": 1}),
    }
    with ScriptedServer(lambda exchange: [answers[exchange.path]]) as server:
        with OllamaProvider(server.url, model="m") as provider:
            assert provider.chat("word " * 3000).warnings == ()


class _Cutting(FakeOpenAICompatible):
    """A server that cuts prompts in silence, as Ollama does at ``/v1``."""

    def overflow(self, tokens: int, window: int) -> Any:
        raise AssertionError("this server refuses no prompt")

    def _text_answer(self, *asked: Any, chat: bool) -> Any:
        *others, (prompt,) = asked
        words = prompt.split()
        kept = words if len(words) <= 4096 else words[:2048]
        return super()._text_answer(*others, [" ".join(kept)], chat=chat)


def test_a_cut_on_a_server_of_openais_dialect_is_a_warning_and_teaches_nothing() -> None:
    with _Cutting(["m"]) as fake, OpenAICompatibleProvider(fake.base_url, model="m") as provider:
        provider._counts = False  # as a server without routes for counting
        provider.chat("Say hello.")
        before = provider.count_tokens(_TALE)
        answer = provider.chat(_TALE)
        assert answer.usage.prompt_tokens == 2048
        (warning,) = answer.warnings
        assert "the server counted 2048" in warning
        assert "by our estimate" in warning
        assert provider.count_tokens(_TALE) == before
        assert provider.chat("word " * 4000).warnings == ()
