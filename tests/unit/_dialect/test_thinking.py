"""Reasoning within the text of a response is split off, and the chunk reports the inference."""

from __future__ import annotations

import itertools
from typing import List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders import (
    CompletionRequest,
    OllamaProvider,
    OpenAICompatibleProvider,
    StreamInterruptedError,
)
from localproviders._dialect.thinking import ThinkingSplitter
from localproviders.testing import FakeModel, FakeOllama, FakeOpenAICompatible, Reply


def split(*pieces: str, separated: bool = False) -> Tuple[str, str]:
    splitter = ThinkingSplitter()
    if separated:
        splitter.separated()
    parts = [splitter.split(piece) for piece in pieces]
    parts.append(splitter.finish(("", "")))
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts)


CASES: List[Tuple[str, str, str]] = [
    ("<think>because</think>\n\nYes.", "because", "Yes."),
    ("\n<think>because</think>Yes.", "because", "Yes."),
    ("<think>\nbecause", "\nbecause", ""),
    ("<think>a < b </thin", "a < b </thin", ""),
    ("<think></think>Yes.", "", "Yes."),
    ("Yes. <think>no</think>", "", "Yes. <think>no</think>"),
    ("<thinker>no</thinker>", "", "<thinker>no</thinker>"),
    ("<thin", "", "<thin"),
    ("<", "", "<"),
    ("  ", "", "  "),
    ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
    ("", "", ""),
]


def test_blanks_are_dropped_however_they_are_cut_off_and_never_held_without_end() -> None:
    assert split("\n", " ", "<think>because</think>", "\n", "Yes.") == ("because", "Yes.")
    splitter = ThinkingSplitter()
    assert "".join(splitter.split(" ")[1] for _ in range(1000)).startswith(" " * 900)


@pytest.mark.parametrize(("whole", "thinking", "text"), CASES)
def test_a_leading_block_is_reasoning(whole: str, thinking: str, text: str) -> None:
    said = split(whole)

    assert said[0] == thinking
    assert said[1] == text


@pytest.mark.parametrize(("whole", "thinking", "text"), CASES)
def test_it_does_not_matter_how_it_is_cut(whole: str, thinking: str, text: str) -> None:
    said = split(*whole)

    assert said[0] == thinking
    assert said[1] == text


_TAGS = ["<think>", "</think>", "<", "think>", "</", "[THINK]", "[/THINK]", "<thinking>", "◁"]
_MARKS = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|"]
_WORDS = ["0", " ", "\n", "assistant", "analysis", "final", "commentary", " to=functions.f"]


@given(
    st.lists(st.sampled_from(_TAGS + _MARKS + _WORDS)),
    st.lists(st.integers(1, 9), min_size=1),
    st.booleans(),
)
def test_cutting_changes_nothing(pieces: List[str], sizes: List[int], separated: bool) -> None:
    text = "".join(pieces)
    ends = [0, *itertools.accumulate(itertools.islice(itertools.cycle(sizes), len(text)))]
    cut = [text[begin:end] for begin, end in zip(ends, ends[1:])]

    assert split(*cut, separated=separated) == split(text, separated=separated)
    assert split(*text, separated=separated) == split(text, separated=separated)


@given(st.lists(st.sampled_from(_TAGS + _MARKS + _WORDS)))
def test_no_word_is_lost_or_given_twice(pieces: List[str]) -> None:
    text = "".join(pieces)
    thinking, rest = split(text)
    # Only tags, marks, names of channels and blanks may be dropped.
    assert len(thinking) + len(rest) <= len(text)
    assert (thinking + rest).count("0") == text.count("0")


def test_ollamas_text_is_taken_apart() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as ollama:
        fake.reply_with("<think>It is even.</think>\n\nTwo it is.")
        answer = ollama.chat("Is two even?")

    assert (answer.thinking, answer.text) == ("It is even.", "Two it is.")
    assert answer.thinking_inferred


def test_the_dialects_text_is_taken_apart() -> None:
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.base_url, model="some-model") as provider:
            fake.reply_with("<think>It is even.</think>\n\nTwo it is.")
            with provider.stream("Is two even?") as stream:
                chunks = list(stream)
            answer = stream.result()

    assert (answer.thinking, answer.text) == ("It is even.", "Two it is.")
    assert any(chunk.thinking_inferred and chunk.thinking for chunk in chunks)


def test_a_server_that_keeps_reasoning_apart_is_believed() -> None:
    thinks = FakeModel(name="m", abilities=("chat", "completion", "thinking"))
    with FakeOllama([thinks]) as fake, OllamaProvider(fake.url, model="m") as ollama:
        fake.reply_with(Reply(thinking="It is even.", text="<think> is a tag."))
        answer = ollama.chat("What is a think tag?")

    assert (answer.thinking, answer.text) == ("It is even.", "<think> is a tag.")
    assert not answer.thinking_inferred


def test_text_to_continue_is_left_alone() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as ollama:
        fake.reply_with("<think>It is even.</think>")
        answer = ollama.complete(CompletionRequest(prompt="Tags:"))

    assert answer.text == "<think>It is even.</think>"


def test_what_is_held_back_is_in_the_text_of_an_error() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url, model="llama3.2") as ollama:
        fake.reply_with("<th")
        fake.break_next("no last record")
        with pytest.raises(StreamInterruptedError) as caught:
            ollama.chat("Write HTML.")

    assert caught.value.partial == "<th"


@pytest.mark.parametrize(
    "text",
    [
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}<|call|>",
        "<|channel|>other<|message|>0",
        "<|start|>user<|channel|>final<|message|>0",
        "<|channel|>" + "x" * 1001,
        "<|chann",
    ],
)
def test_a_header_with_more_than_a_channel_stays_in_the_text(text: str) -> None:
    assert split(text) == ("", text)
    assert split(*text) == ("", text)
