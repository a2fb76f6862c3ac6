"""A prompt that was shortened to the context window is found by token counts; an error by default."""

from __future__ import annotations

import pickle
from typing import Any, Callable, Iterator, NamedTuple

import pytest

from localproviders import ContextOverflowError, LMStudioProvider, OllamaProvider
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama, FakeServer

LONG = "word " * 1500
PROMPT = "question " * 1000
#: Prompt and answer do not fit into it together, but each fits alone.
WINDOW = 2000


class Side(NamedTuple):
    fake: FakeServer
    provider: Any
    asked: str


@pytest.fixture(params=["ollama", "lmstudio"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    kind: Callable[..., FakeServer] = FakeOllama if request.param == "ollama" else FakeLMStudio
    provider = OllamaProvider if request.param == "ollama" else LMStudioProvider
    with kind([FakeModel(name="m", context_length=WINDOW)]) as fake:
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


def test_a_window_that_load_made_smaller_is_noticed_at_once(side: Side) -> None:
    side.fake.reply_with("word " * 600, "word " * 600)
    side.provider.load("m", context_length=1900)
    side.provider.chat(PROMPT)
    side.provider.load("m", context_length=1400)

    with pytest.raises(ContextOverflowError):
        side.provider.chat(PROMPT)
