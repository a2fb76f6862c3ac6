"""The verb ``chat`` with a real llama.cpp server: its session, and a conversation on a terminal."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple

import pytest

from localproviders.conversation import Conversation
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from tests.support.terminal import WHY_NOT, Terminal
from tests.unit.cli.support import COMMAND, environment, run

_REASON = WHY_NOT or why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

# Seconds after which a server that still generates fails the test.
_LIMIT_S = 30.0


class _Server(NamedTuple):
    """A running engine, as the command reaches it."""

    env: Dict[str, str]
    words: List[str]
    address: str
    key: str

    def is_busy(self) -> bool:
        """Return whether a slot of the server generates text."""
        request = urllib.request.Request(
            f"{self.address}/slots", headers={"Authorization": f"Bearer {self.key}"}
        )
        with urllib.request.urlopen(request, timeout=_LIMIT_S) as answer:
            return any(slot["is_processing"] for slot in json.load(answer))

    def expect_idle(self) -> None:
        """Wait until no slot generates text."""
        end = time.monotonic() + _LIMIT_S
        while self.is_busy():
            assert time.monotonic() < end, "the server still generates text"


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    with LocalEngine("chat", context_length=1024) as provider:
        key, model = provider.settings.api_key, provider.settings.model
        assert key is not None and model is not None
        address = provider.settings.endpoint.url
        env = environment(
            LOCALPROVIDERS_SERVERS_ENGINE_KIND="llamacpp",
            LOCALPROVIDERS_SERVERS_ENGINE_ENDPOINT=address,
            LOCALPROVIDERS_SERVERS_ENGINE_API_KEY=key.reveal(),
            TERM="dumb",
        )
        words = ["chat", "-m", f"engine/{model}", "--temperature", "0"]
        yield _Server(env, words, address.replace("/v1", ""), key.reveal())


def _chat(server: _Server, *words: str) -> Any:
    return run(*server.words, *words, env=server.env)


def test_a_session_remembers_and_is_trimmed(server: _Server, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    words = ["--session", str(path), "--max-tokens", "30"]
    first = _chat(server, "What is the capital of France?", *words)
    assert (first.returncode, first.stderr) == (0, b"")
    assert b"Paris" in first.stdout
    long = "Describe this city in the words of a traveller. " * 25
    later = [_chat(server, long, *words) for _ in range(5)]
    assert [done.returncode for done in later] == [0] * 5
    assert b"earlier messages were left out" in later[-1].stderr
    assert len(Conversation.load(path).messages) == 12


def test_a_conversation_on_a_terminal(server: _Server, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    words = [*COMMAND, *server.words, "--session", str(path)]
    with Terminal(words, server.env, cwd=tmp_path) as terminal:
        terminal.expect("> ")
        terminal.type("What is the capital of France?")
        terminal.expect("Paris")
        terminal.expect("\n> ")
        terminal.type("/model none")
        terminal.expect("localproviders chat: ")
        terminal.expect("> ")
        terminal.type("/save copy.jsonl")
        terminal.expect("2 messages")
        terminal.expect("> ")
        terminal.press("\x04")
        assert terminal.end() == 0
    for name in (path, tmp_path / "copy.jsonl"):
        assert "Paris" in Conversation.load(name).messages[1].content


@pytest.mark.parametrize("is_killed", [False, True], ids=["ctrl-c", "killed"])
def test_the_server_stops_with_the_answer(is_killed: bool, server: _Server, tmp_path: Path) -> None:
    path, grammar = tmp_path / "s.jsonl", tmp_path / "endless.gbnf"
    grammar.write_text('root ::= "lorem " root\n')
    words = [*COMMAND, *server.words, "--session", str(path), "--grammar", str(grammar)]
    with Terminal(words, server.env) as terminal:
        terminal.expect("> ")
        terminal.type("Speak.")
        terminal.expect("lorem lorem")
        assert server.is_busy()
        if is_killed:
            terminal.process.kill()
        else:
            terminal.interrupt("(stopped")
            terminal.interrupt("> ")
            server.expect_idle()
            terminal.press("\x04")
        terminal.end()
    server.expect_idle()
    assert not path.exists() or Conversation.load(path).messages == ()
