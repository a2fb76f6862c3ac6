"""How an answer is written: its text, its end, its warnings, and the thinking."""

from __future__ import annotations

import io
import json
import sys
from argparse import Namespace
from typing import Any, Iterator, List

import pytest

from localproviders import OllamaProvider, StreamInterruptedError, cli
from localproviders.cli import options
from localproviders.cli.answers import write_answer
from localproviders.cli.output import Output
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.conversation import Conversation
from localproviders.testing import FakeAnthropic, FakeModel, FakeOllama, Reply

THINKING = Reply(text="Yes\x1b[2J.", thinking="Well\x1b[2J, perhaps.")


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama([FakeModel(name="m", abilities=("chat", "thinking"))]) as server:
        yield server


class _Screen(io.TextIOWrapper):
    """A terminal that keeps what was written."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, "utf-8")

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode()


def _arguments(*words: str) -> Namespace:
    parser = Parser("chat")
    options.add_shared(parser)
    return parser.parse_args(words)


def _write(ollama: FakeOllama, *words: str) -> None:
    with Run("chat", _arguments(*words)) as run, OllamaProvider(ollama.url, model="m") as provider:
        with provider.stream("Hi") as answer:
            write_answer(run, answer)


@pytest.mark.parametrize("text", ["Yes.", "Yes.\n", "Yes.\n\n"])
def test_a_text_ends_with_a_line_feed(text: str, ollama: FakeOllama, capsys: Any) -> None:
    ollama.reply_with(text)
    _write(ollama)
    assert capsys.readouterr() == (text if text.endswith("\n") else f"{text}\n", "")


def test_an_empty_answer_is_an_empty_output(ollama: FakeOllama, capsys: Any) -> None:
    ollama.reply_with(Reply(text=""))
    _write(ollama)
    assert capsys.readouterr().out == ""


def test_the_text_before_an_error_is_written(ollama: FakeOllama, capsys: Any) -> None:
    ollama.break_next("body cut")
    with pytest.raises(StreamInterruptedError):
        _write(ollama)
    out = capsys.readouterr().out
    assert out.endswith("\n")
    assert "Hello there, friend.".startswith(out.strip()) and out.strip()


def test_the_error_of_a_call_is_not_hidden_by_that_of_the_output(
    ollama: FakeOllama, monkeypatch: Any
) -> None:
    ollama.break_next("body cut")
    written: List[str] = []

    def write(_: Output, text: str) -> None:
        written.append(text)
        if len(written) > 1:
            raise BrokenPipeError

    monkeypatch.setattr(Output, "write", write)
    with pytest.raises(StreamInterruptedError):
        _write(ollama)
    assert written[-1] == "\n"


def test_json_is_one_line(ollama: FakeOllama, capsys: Any) -> None:
    ollama.reply_with(THINKING)
    _write(ollama, "--json")
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["text"], found["thinking"], err) == (THINKING.text, THINKING.thinking, "")
    assert found["model"] == "m" and found["usage"]["completion_tokens"]
    assert out.count("\n") == 1


@pytest.mark.parametrize(("words", "is_said"), [((), True), (("-q",), False), (("--json",), True)])
def test_a_cut_answer_is_said(words: Any, is_said: bool, ollama: FakeOllama, capsys: Any) -> None:
    ollama.reply_with(Reply(text="Yes", finish_reason="length"))
    _write(ollama, *words)
    assert ("warning: the answer was cut" in capsys.readouterr().err) == is_said


def test_a_warning_names_an_option_instead_of_an_argument(ollama: FakeOllama, capsys: Any) -> None:
    ollama.reply_with(Reply(text="", thinking="Hm.", finish_reason="length"))
    _write(ollama)
    assert "add --thinking off, or raise --max-tokens, which limits" in capsys.readouterr().err


def test_a_warning_about_a_required_argument_names_its_option(capsys: Any) -> None:
    words = ["chat", "-m", "anthropic/m", "--no-input", "Hi"]
    with FakeAnthropic([FakeModel(name="m")]) as fake:
        words += ["--host", f"anthropic={fake.url}"]
        assert cli.main(words) == 0
        warned = capsys.readouterr().err
        assert cli.main([*words, "--max-tokens", "9"]) == 0
    assert warned.count("\n") == 1 and "4096 was sent: add --max-tokens" in warned
    assert capsys.readouterr().err == ""


def test_thinking_is_no_part_of_a_pipe(ollama: FakeOllama, capfd: Any) -> None:
    ollama.reply_with(THINKING)
    _write(ollama)
    assert capfd.readouterr() == (f"{THINKING.text}\n", "")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), "\x1b[2mthinking: Well\\x1b[2J,\x1b[0m\x1b[2m perhaps.\x1b[0m\n\n"),
        (("--color", "never"), "thinking: Well\\x1b[2J, perhaps.\n\n"),
        (("-q",), ""),
    ],
)
def test_thinking_is_shown_on_a_terminal(
    words: Any, shown: str, ollama: FakeOllama, monkeypatch: Any
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out, err = _Screen(), _Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    ollama.reply_with(THINKING)
    _write(ollama, *words)
    assert out.text == "Yes\\x1b[2J.\n"
    assert err.text == shown


def test_thinking_is_hidden_if_the_answer_is_no_terminal(
    ollama: FakeOllama, monkeypatch: Any, capfd: Any
) -> None:
    err = _Screen()
    monkeypatch.setattr(sys, "stderr", err)
    ollama.reply_with(THINKING)
    _write(ollama)
    assert err.text == ""


def test_an_answer_of_a_conversation(ollama: FakeOllama, capsys: Any) -> None:
    with Run("chat", _arguments()) as run, OllamaProvider(ollama.url, model="m") as provider:
        conversation = Conversation()
        with conversation.stream(provider, "Hi") as answer:
            write_answer(run, answer)
    assert capsys.readouterr().out == "Hello there, friend.\n"
    assert len(conversation.messages) == 2
