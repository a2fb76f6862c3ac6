"""The verb ``demo``."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, List

import pytest

from localproviders import OllamaProvider, ProviderError, cli
from localproviders.cli import demo
from localproviders.cli.output import Output
from localproviders.engine import why_missing, why_unsupported
from localproviders.testing import FakeOllama, Reply

_REASON = why_unsupported() or why_missing()


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_refused_before_anything_starts(
    question: str, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: pytest.fail("started"))
    assert cli.main(["demo", question]) == 2
    assert "the question is empty" in capsys.readouterr().err


def test_demo_installs_only_what_is_missing(monkeypatch: Any, capsys: Any) -> None:
    done: List[str] = []
    monkeypatch.setattr(demo, "install", lambda: done.append("install"))
    monkeypatch.setattr(demo, "why_missing", lambda: "something")
    monkeypatch.setattr(demo, "check_installable", lambda: None)
    monkeypatch.setattr(demo, "check_supported", lambda: None)
    monkeypatch.setattr(demo, "_require_installed", lambda: None)
    monkeypatch.setattr(demo, "_answer", lambda output, question: done.append(question))
    monkeypatch.setattr(demo, "_compare", lambda output: done.append("compare"))

    assert cli.main(["demo", "Why?", "--install"]) == 0
    assert done == ["install", "Why?", "compare"]
    assert "docs/setup.md" in capsys.readouterr().out


def test_the_demo_shows_the_models_prose_and_obeys_none_of_it(
    monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "One\n\tTwo\x1b]0;owned\x07\x9b2J\u202e"
    with FakeOllama(["m"]) as ollama:
        ollama.reply_with(Reply(text=said, finish_reason="stop\nCRITICAL forged"))
        provider = OllamaProvider(ollama.url, model="m", locality="loopback")
        monkeypatch.setattr(demo, "LocalEngine", lambda kind: provider)
        demo._answer(Output(), "What?")
    told = capsys.readouterr().out
    assert "One\n\tTwo\\x1b]0;owned\\x07\\x9b2J\\u202e" in told
    assert "finish reason: stop\\nCRITICAL forged." in told


def test_an_error_in_an_answer_begins_on_its_own_line(
    monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeOllama(["m"]) as ollama:
        ollama.reply_with(Reply(text="One two", finish_reason=None))
        ollama.break_next("body cut")
        provider = OllamaProvider(ollama.url, model="m", locality="loopback")
        monkeypatch.setattr(demo, "LocalEngine", lambda kind: provider)
        with pytest.raises(ProviderError):
            demo._answer(Output(), "What?")
    assert capsys.readouterr().out.endswith("\n")


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
def test_the_real_demo() -> None:
    command = [sys.executable, "-W", "error", "-m", "localproviders", "demo", "Say hello."]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    out = done.stdout.decode()

    assert done.returncode == 0, done.stderr.decode()
    assert "Hello" in out
    assert "finish reason: stop" in out
    assert out.count("A puppy plays outside.") == 1


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
def test_the_demo_in_this_process(capsys: Any) -> None:
    assert cli.main(["demo"]) == 0
    assert "Paris" in capsys.readouterr().out
