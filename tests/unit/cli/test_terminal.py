"""A conversation on a terminal: a real process on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from localproviders.conversation import Conversation
from localproviders.testing import FakeModel, FakeOllama, Reply
from tests.support.terminal import WHY_NOT, Terminal
from tests.unit.cli.support import COMMAND, environment
from tests.unit.cli.test_chat import PNG

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

PROMPT = "\n> "
LONG = Reply(text="more " * 2000, pause_s=0.02)


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    abilities = ("chat", "completion", "thinking", "vision")
    with FakeOllama([FakeModel(name="m", abilities=abilities), "other"]) as server:
        server.usual = "Fine."
        yield server


@contextlib.contextmanager
def _talking(ollama: FakeOllama, *words: str, **options: Any) -> Iterator[Terminal]:
    """Start a conversation, and wait for its first prompt."""
    more = options.pop("env", {"TERM": "dumb"})
    env = environment(OLLAMA_HOST=ollama.url, **more)
    with Terminal([*COMMAND, "chat", "-m", "ollama/m", *words], env, **options) as terminal:
        terminal.expect("> ")
        yield terminal


def _answer(terminal: Terminal, text: str) -> str:
    """Type a text; return what is shown before the next prompt."""
    terminal.type(text)
    terminal.expect("\n")
    return terminal.expect("> ").rstrip("\n")


def _messages(ollama: FakeOllama) -> List[List[Dict[str, Any]]]:
    return [each.json["messages"] for each in ollama.exchanges if each.path == "/api/chat"]


def _asked(ollama: FakeOllama) -> List[str]:
    return [messages[-1]["content"] for messages in _messages(ollama)]


class TestTheConversation:
    def test_it_remembers_and_ends_with_ctrl_d(self, ollama: FakeOllama) -> None:
        ollama.reply_with("Blue.", "Black.")
        with _talking(ollama) as terminal:
            assert terminal.shown.startswith("m on ollama; /help lists the commands, Ctrl-D ends")
            assert _answer(terminal, "By day?") == "Blue."
            assert _answer(terminal, "At night?") == "Black."
            terminal.press("\x04")
            assert terminal.end() == 0
        assert [message["content"] for message in _messages(ollama)[1]] == [
            "By day?",
            "Blue.",
            "At night?",
        ]

    def test_blank_lines_are_not_sent(self, ollama: FakeOllama) -> None:
        with _talking(ollama) as terminal:
            terminal.type("   ")
            terminal.expect("> ")
            assert _answer(terminal, "Hi") == "Fine."
        assert _asked(ollama) == ["Hi"]

    def test_a_session_is_kept_and_goes_on(self, ollama: FakeOllama, tmp_path: Path) -> None:
        path = str(tmp_path / "s.jsonl")
        with _talking(ollama, "--session", path) as terminal:
            _answer(terminal, "First?")
            terminal.type("/quit")
            assert terminal.end() == 0
        with _talking(ollama, "--session", path) as terminal:
            assert f"{path}: 2 earlier messages" in terminal.shown
            _answer(terminal, "Second?")
            terminal.press("\x04")
            assert terminal.end() == 0
        assert len(_messages(ollama)[1]) == 3
        assert len(Conversation.load(path).messages) == 4

    def test_a_conversation_without_an_answer_leaves_no_file(
        self, ollama: FakeOllama, tmp_path: Path
    ) -> None:
        with _talking(ollama, "--session", str(tmp_path / "s.jsonl")) as terminal:
            terminal.press("\x04")
            assert terminal.end() == 0
        assert os.listdir(tmp_path) == []

    def test_the_options_are_in_each_request(self, ollama: FakeOllama, tmp_path: Path) -> None:
        path = tmp_path / "one.png"
        path.write_bytes(PNG)
        words = ["--system", "Be brief.", "--seed", "3", "--image", str(path)]
        with _talking(ollama, *words, "--template", "Translate: {text}") as terminal:
            _answer(terminal, "Hi")
            _answer(terminal, "Ho")
        first, second = _messages(ollama)
        assert first[0] == {"role": "system", "content": "Be brief."}
        assert first[-1]["content"] == "Translate: Hi" and len(first[-1]["images"]) == 1
        assert second[-1] == {"role": "user", "content": "Translate: Ho"}
        seeds = [e.json["options"]["seed"] for e in ollama.exchanges if e.path == "/api/chat"]
        assert seeds == [3, 3]

    def test_an_error_is_one_line_and_the_conversation_goes_on(self, ollama: FakeOllama) -> None:
        ollama.break_next("body cut")
        with _talking(ollama, "-q") as terminal:
            shown = _answer(terminal, "Hi").splitlines()
            assert len(shown) == 2  # the text so far, and the error
            assert shown[1].startswith("localproviders chat: StreamInterruptedError: ")
            assert _answer(terminal, "Again") == "Fine."
        assert [message["content"] for message in _messages(ollama)[-1]] == ["Again"]

    def test_a_server_that_is_gone(self, ollama: FakeOllama) -> None:
        with _talking(ollama) as terminal:
            with ollama.down():
                shown = _answer(terminal, "Hi")
            assert shown.startswith("localproviders chat: UnreachableError: ")
            assert shown.count("\n") == 0
            assert _answer(terminal, "Hi") == "Fine."

    def test_escape_sequences_are_shown_as_escapes(self, ollama: FakeOllama) -> None:
        ollama.reply_with("a\x1b[2Jb\x07\rc\n")
        with _talking(ollama) as terminal:
            assert _answer(terminal, "Hi") == "a\\x1b[2Jb\\x07\\rc"

    def test_no_earlier_text_is_on_the_disk(self, ollama: FakeOllama, tmp_path: Path) -> None:
        env = {"TERM": "dumb", "HOME": str(tmp_path)}
        with _talking(ollama, env=env, cwd=tmp_path) as terminal:
            _answer(terminal, "Secret?")
            terminal.press("\x04")
            assert terminal.end() == 0
        assert os.listdir(tmp_path) == []


class TestTexts:
    @pytest.mark.parametrize(
        ("lines", "sent"),
        [
            (["one\\", "two"], "one\ntwo"),
            (['"""one', "", "/two  ", 'three\\"""'], "one\n\n/two  \nthree\\"),
            (['"""/help"""'], "/help"),
            (["//etc/hosts?"], "/etc/hosts?"),
            (["ä ✓"], "ä ✓"),
        ],
    )
    def test_lines_and_the_text_that_is_sent(
        self, lines: List[str], sent: str, ollama: FakeOllama
    ) -> None:
        with _talking(ollama, env={"TERM": "dumb", "LANG": "C.UTF-8"}) as terminal:
            for line in lines[:-1]:
                terminal.type(line)
                terminal.expect("... ")
            assert _answer(terminal, lines[-1]) == "Fine."
        assert _asked(ollama) == [sent]

    def test_a_pasted_text_is_one_text(self, ollama: FakeOllama) -> None:
        readline = pytest.importorskip("readline")
        if "libedit" in (readline.__doc__ or ""):
            pytest.skip("libedit does not distinguish pasted text")
        with _talking(ollama, env={"TERM": "xterm"}) as terminal:
            terminal.press("\x1b[200~one\ntwo\x1b[201~")
            terminal.press("\r")
            terminal.expect("Fine.")
        assert _asked(ollama) == ["one\ntwo"]

    def test_earlier_texts_can_be_edited(self, ollama: FakeOllama, tmp_path: Path) -> None:
        pytest.importorskip("readline")
        path = str(tmp_path / "s.jsonl")
        with _talking(ollama, "--session", path) as terminal:
            _answer(terminal, "First")
            terminal.press("\x04")
            assert terminal.end() == 0
        with _talking(ollama, "--session", path) as terminal:
            terminal.press("\x10")  # Ctrl-P, the previous text
            terminal.expect("First")
            assert _answer(terminal, "!") == "Fine."
        assert _asked(ollama) == ["First", "First!"]

    def test_bytes_that_are_no_text(self, ollama: FakeOllama) -> None:
        with _talking(ollama, env={"TERM": "dumb", "LANG": "C.UTF-8"}) as terminal:
            terminal.press_bytes(b"\xff\r")
            terminal.expect("localproviders chat: the text is not valid utf-8")
            terminal.expect("> ")
            assert _answer(terminal, "Hi") == "Fine."
        assert _asked(ollama) == ["Hi"]


class TestInterrupts:
    def test_ctrl_c_stops_the_answer_and_not_the_program(self, ollama: FakeOllama) -> None:
        ollama.reply_with(LONG)
        with _talking(ollama) as terminal:
            terminal.type("Hi")
            terminal.expect("more more")
            assert ollama.wait_for_connections(1)
            terminal.press("\x03")
            terminal.expect("(stopped; this question is not kept)")
            terminal.expect("> ")
            assert ollama.exchanges[-1].client_gone.wait(30)
            assert _answer(terminal, "Again") == "Fine."
            terminal.press("\x04")
            assert terminal.end() == 0
        assert [message["content"] for message in _messages(ollama)[-1]] == ["Again"]

    @pytest.mark.parametrize("lines", [["half"], ["half\\", "of it"], ['"""half', "of it"]])
    def test_ctrl_c_clears_the_text(self, lines: List[str], ollama: FakeOllama) -> None:
        with _talking(ollama) as terminal:
            for line in lines[:-1]:
                terminal.type(line)
                terminal.expect("... ")
            terminal.press(lines[-1])
            terminal.expect(lines[-1])
            terminal.interrupt("> ")
            terminal.type("Hi")
            terminal.expect("Fine.")
        assert _asked(ollama) == ["Hi"]

    def test_ctrl_c_again_and_again(self, ollama: FakeOllama) -> None:
        with _talking(ollama) as terminal:
            for _ in range(20):
                terminal.press("\x03\x03\x03")
            terminal.interrupt("> ")
            ollama.reply_with(LONG)
            # Python may notice the last signal only while the text is typed, which clears the text.
            terminal.expect("more more", "Go on\r")
            for _ in range(20):
                terminal.press("\x03\x03\x03")
            terminal.expect("(stopped")
            terminal.interrupt("> ")
            assert terminal.end(keys="/quit\r") == 0

    def test_ctrl_d_in_a_text_sends_nothing(self, ollama: FakeOllama) -> None:
        with _talking(ollama) as terminal:
            terminal.type("half\\")
            terminal.expect("... ")
            terminal.press("\x04")
            assert terminal.end() == 0
        assert _asked(ollama) == []

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
    @pytest.mark.parametrize("is_answering", [False, True], ids=["prompt", "answer"])
    def test_a_signal_ends_it(
        self, name: str, is_answering: bool, ollama: FakeOllama, tmp_path: Path
    ) -> None:
        number = getattr(signal, name)
        path = tmp_path / "s.jsonl"
        with _talking(ollama, "--session", str(path)) as terminal:
            _answer(terminal, "Hi")
            if is_answering:
                ollama.reply_with(LONG)
                terminal.type("Go on")
                terminal.expect("more more")
            assert terminal.end(number) == 128 + number
            assert ollama.wait_for_connections(0)
            assert "Traceback" not in terminal.shown
            assert terminal.has_first_settings()
        assert len(Conversation.load(path).messages) == 2

    @pytest.mark.parametrize("is_answering", [False, True], ids=["prompt", "answer"])
    def test_the_terminal_is_closed(
        self, is_answering: bool, ollama: FakeOllama, tmp_path: Path
    ) -> None:
        path = tmp_path / "s.jsonl"
        with _talking(ollama, "--session", str(path)) as terminal:
            _answer(terminal, "Hi")
            if is_answering:
                ollama.reply_with(LONG)
                terminal.type("Go on")
                terminal.expect("more more")
            terminal.hang_up()
            assert terminal.end() == 129
        assert ollama.wait_for_connections(0)
        assert len(Conversation.load(path).messages) == 2

    def test_it_is_killed(self, ollama: FakeOllama, tmp_path: Path) -> None:
        path = tmp_path / "s.jsonl"
        with _talking(ollama, "--session", str(path)) as terminal:
            _answer(terminal, "Hi")
            ollama.reply_with(LONG)
            terminal.type("Go on")
            terminal.expect("more more")
            terminal.process.kill()
            terminal.end()
        assert ollama.wait_for_connections(0)
        assert len(Conversation.load(path).messages) == 2
        assert Conversation.load(path).warnings == ()

    def test_the_deadline_ends_it(self, ollama: FakeOllama) -> None:
        with _talking(ollama, "--deadline", "0.5") as terminal:
            assert terminal.end() == 6
            assert "the deadline of 0.5 s has passed" in terminal.shown


class TestThinking:
    REPLY = Reply(text="Yes.", thinking="Well\x1b[2J, perhaps.")

    @pytest.mark.parametrize(
        ("env", "words", "shown"),
        [
            (
                {"TERM": "xterm"},
                [],
                "\x1b[2mthinking: Well\\x1b[2J,\x1b[0m\x1b[2m perhaps.\x1b[0m\n\nYes.",
            ),
            ({"TERM": "xterm", "NO_COLOR": "1"}, [], "thinking: Well\\x1b[2J, perhaps.\n\nYes."),
            ({"TERM": "xterm"}, ["--color", "never"], "thinking: Well\\x1b[2J, perhaps.\n\nYes."),
            ({"TERM": "xterm"}, ["-q"], "Yes."),
        ],
    )
    def test_it_is_shown_apart_from_the_answer(
        self, env: Dict[str, str], words: List[str], shown: str, ollama: FakeOllama
    ) -> None:
        ollama.reply_with(self.REPLY)
        with _talking(ollama, *words, env=env) as terminal:
            terminal.type("Hi")
            found = terminal.expect("Yes.") + "Yes."
        assert found.endswith(shown)
        assert ("thinking" in found) == ("thinking" in shown)
        assert ("\x1b[2m" in found) == ("\x1b[2m" in shown)


class TestOtherStreams:
    def test_a_pipe_gets_only_the_answers(self, ollama: FakeOllama) -> None:
        ollama.reply_with(Reply(text="One\x1b[1m.", thinking="Well."), "Two.")
        with _talking(ollama, stdout=subprocess.PIPE) as terminal:
            for text in ("First", "/help", "/unknown", "Second"):
                terminal.type(text)
                terminal.expect("> ")
            terminal.press("\x04")
            assert terminal.end() == 0
            assert terminal.process.stdout.read() == b"One\x1b[1m.\nTwo.\n"
            terminal.process.stdout.close()
            assert "thinking" not in terminal.shown

    def test_standard_error_in_a_file(self, ollama: FakeOllama, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with path.open("wb") as log, _talking(ollama, stderr=log) as terminal:
            assert "/system [TEXT]" in _answer(terminal, "/help")
            _answer(terminal, "/unknown")
            assert _answer(terminal, "Hi") == "Fine."
        assert path.read_text().startswith("localproviders chat: there is no command '/unknown'")

    @pytest.mark.parametrize(
        "words", [["--json"], ["-o", "out.txt"], ["--input", "lines"], ["-f", "-"]]
    )
    def test_what_is_for_programs_reads_to_the_end(
        self, words: List[str], ollama: FakeOllama, tmp_path: Path
    ) -> None:
        env = environment(OLLAMA_HOST=ollama.url)
        words = [*COMMAND, "chat", "-m", "ollama/m", *words]
        with Terminal(words, env, cwd=tmp_path) as terminal:
            terminal.type("/help")
            terminal.expect("/help")
            terminal.press("\x04\x04")
            assert terminal.end() == 0
        assert [text.strip() for text in _asked(ollama)] == ["/help"]

    def test_without_input_nothing_is_asked(self, ollama: FakeOllama) -> None:
        env = environment(OLLAMA_HOST=ollama.url)
        with Terminal([*COMMAND, "chat", "-m", "ollama/m", "--no-input"], env) as terminal:
            assert terminal.end() == 2
            assert "--no-input" in terminal.shown

    def test_a_text_on_a_terminal_is_one_answer(self, ollama: FakeOllama) -> None:
        env = environment(OLLAMA_HOST=ollama.url)
        with Terminal([*COMMAND, "chat", "-m", "ollama/m", "Hi"], env) as terminal:
            assert terminal.end() == 0
            assert terminal.shown == "Fine.\n"
