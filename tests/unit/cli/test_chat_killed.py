"""The verb ``chat``, killed at any moment: no file is half-written, and the server stops."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from localproviders.conversation import Conversation
from localproviders.testing import FakeOllama, Reply
from tests.unit.cli.support import environment, leftovers, run, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

TEXT = "one two three four five six"
# A run takes about as long: the start of Python, and six words with their pauses.
_RUN_S = 0.6


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama(["m"]) as server:
        server.usual = Reply(text=TEXT, pause_s=0.03)
        yield server


def _moments() -> List[Any]:
    """Return twenty numbers. The usual tests take three of them."""
    return [pytest.param(at, marks=pytest.mark.slow if at % 8 else []) for at in range(20)]


def _check_session(path: Path, earlier: int) -> int:
    """Check that a file has complete turns only; return their number."""
    if not path.exists():
        assert earlier == 0
        return 0
    messages = Conversation.load(path).messages
    assert len(messages) in (2 * earlier, 2 * earlier + 2)
    assert all(message.content == TEXT for message in messages[1::2])
    return len(messages) // 2


@pytest.mark.parametrize("moment", _moments())
def test_killed_at_a_random_moment(moment: int, ollama: FakeOllama, tmp_path: Path) -> None:
    env = environment(OLLAMA_HOST=ollama.url)
    session, out = tmp_path / "s.jsonl", tmp_path / "out.txt"
    words = ["chat", "-m", "ollama/m", "Hi", "--session", str(session), "-o", str(out)]
    turns = moment % 2
    if turns:
        assert run(*words[:-2], env=env).returncode == 0
    wait_s = random.uniform(0, _RUN_S)
    print(f"killed after {wait_s:.3f} s")  # noqa: T201  # shown if the test fails
    process = start(*words, env=env)
    try:
        process.wait(timeout=wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()

    assert ollama.wait_for_connections(0)
    turns = _check_session(session, turns)
    assert not out.exists() or out.read_text() == f"{TEXT}\n"

    assert run(*words, "--force", env=env).returncode == 0
    assert _check_session(session, turns) == turns + 1
    assert out.read_text() == f"{TEXT}\n"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", ["s.jsonl", "out.txt"])
def test_killed_during_the_answer(name: str, ollama: FakeOllama, tmp_path: Path) -> None:
    env = environment(OLLAMA_HOST=ollama.url)
    ollama.break_next("body stalled")
    option = "--session" if name == "s.jsonl" else "-o"
    with start("chat", "-m", "ollama/m", "Hi", option, str(tmp_path / name), env=env) as process:
        assert ollama.wait_for_connections(1)
        process.kill()
    assert ollama.wait_for_connections(0)
    path = tmp_path / name
    assert not path.exists() or (option == "--session" and path.read_bytes() == b"")
