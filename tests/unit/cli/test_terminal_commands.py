"""The commands of a conversation on a terminal."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from localproviders.cli import options
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.terminal_commands import run_command
from localproviders.cli.terminal_talk import Talk
from localproviders.cli.usage import UsageError
from localproviders.conversation import Conversation
from localproviders.errors import ConfigurationError, ModelNotFoundError, ProviderError
from localproviders.testing import FakeLMStudio, FakeOllama
from localproviders.testing.scripted import Exchange


@pytest.fixture
def ollama(monkeypatch: Any) -> Iterator[FakeOllama]:
    with FakeOllama(["m", "other", "x/slash"]) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


def _arguments(*words: str) -> Namespace:
    parser = Parser("chat")
    options.add_model(parser)
    options.add_request(parser)
    options.add_input(parser)
    options.add_shared(parser)
    return parser.parse_args(words)


@pytest.fixture
def talk(ollama: FakeOllama) -> Iterator[Talk]:
    with Run("chat", _arguments("-m", "ollama/m")) as run:
        yield Talk(run, run.provider(), Conversation())


def _chats(server: Any) -> List[Exchange]:
    return [exchange for exchange in server.exchanges if exchange.path == "/api/chat"]


def test_the_list_of_commands(talk: Talk, capsys: Any) -> None:
    run_command(talk, "/help")
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == [
        *("/help", "/model", "/system", "/save", "/quit"),
        *("//TEXT", "TEXT\\", '"""TEXT"""', "Ctrl-C", "Ctrl-D"),
    ]
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("word", "near"), [("/hlp", "/help"), ("/modell", "/model"), ("/Quit", "/quit")]
)
def test_an_unknown_command_names_the_nearest(word: str, near: str, talk: Talk) -> None:
    with pytest.raises(UsageError, match=rf"no command '{word}'; did you mean '{near}'\?") as found:
        run_command(talk, f"{word} x")
    assert "write //" in str(found.value)


@pytest.mark.parametrize("word", ["/", "/etc/hosts"])
def test_an_unknown_command_without_a_near_one(word: str, talk: Talk) -> None:
    with pytest.raises(UsageError, match=rf"no command '{word}' \(hint: /help lists them"):
        run_command(talk, word)


def test_quit(talk: Talk) -> None:
    run_command(talk, "/quit")
    assert talk.is_ended


class TestModel:
    def test_the_models_are_listed(self, talk: Talk, capsys: Any) -> None:
        run_command(talk, "/model")
        assert capsys.readouterr().out.splitlines() == [
            "m on ollama; /model NAME changes it",
            "  m:latest",
            "  other:latest",
            "  x/slash:latest",
        ]

    @pytest.mark.parametrize("name", ["other", "x/slash", "ollama/other"])
    def test_another_model_of_the_server(
        self, name: str, talk: Talk, ollama: FakeOllama, capsys: Any
    ) -> None:
        talk.ask("Hi")
        run_command(talk, f"/model {name}")
        talk.ask("Ho")
        short = name.replace("ollama/", "")
        assert [each.json["model"] for each in _chats(ollama)] == ["m", short]
        assert len(_chats(ollama)[1].json["messages"]) == 3
        assert f"{short} on ollama\n" in capsys.readouterr().out

    def test_another_server(
        self, talk: Talk, ollama: FakeOllama, monkeypatch: Any, capsys: Any
    ) -> None:
        with FakeLMStudio(["lm"]) as lmstudio, ollama.down():
            variable = "LOCALPROVIDERS_SERVERS_LMSTUDIO_ENDPOINT"
            monkeypatch.setenv(variable, lmstudio.url)
            run_command(talk, "/model lmstudio/lm")
            talk.ask("Ho")
        assert capsys.readouterr().out == "lm on lmstudio\nHello there, friend.\n"

    @pytest.mark.parametrize("name", ["othr", "ollama/othr"])
    def test_a_model_that_does_not_exist(self, name: str, talk: Talk) -> None:
        provider = talk.provider
        with pytest.raises(ProviderError, match="othr") as found:
            run_command(talk, f"/model {name}")
        if "/" in name:
            assert isinstance(found.value, ModelNotFoundError)
        assert (talk.provider, talk.model) == (provider, "m")
        assert talk.described() == "m on ollama"

    def test_no_model_yet(self, ollama: FakeOllama, capsys: Any) -> None:
        with Run("chat", _arguments("--host", f"ollama={ollama.url}")) as run:
            talk = Talk(run, run.provider(), Conversation())
            talk.greet()
            with pytest.raises(ConfigurationError, match="no model"):
                talk.ask("Hi")
            run_command(talk, "/model other")
            talk.ask("Hi")
        assert _chats(ollama)[-1].json["model"] == "other"
        assert capsys.readouterr().out.startswith("no model on ollama; /help lists")

    def test_a_model_of_any_server(self, ollama: FakeOllama, capsys: Any) -> None:
        with Run("chat", _arguments("-m", "m")) as run:
            talk = Talk(run, run.provider(), Conversation())
            talk.greet()
        assert capsys.readouterr().out.startswith("m; /help lists")


class TestSystem:
    def test_it_is_shown_set_and_removed(self, talk: Talk, ollama: FakeOllama, capsys: Any) -> None:
        for line in ("/system", "/system  Be  brief.", "/system", '/system ""'):
            run_command(talk, line)
            talk.ask("Hi")
        shown = [line for line in capsys.readouterr().out.splitlines() if "system" in line]
        texts = ["none", "Be  brief.", "Be  brief.", "none"]
        assert shown == [f"system message: {text}" for text in texts]
        sent = [exchange.json["messages"][0] for exchange in _chats(ollama)]
        assert [each["content"] if each["role"] == "system" else "none" for each in sent] == texts


class TestSave:
    def test_the_file_can_be_continued(self, talk: Talk, tmp_path: Path, capsys: Any) -> None:
        path = tmp_path / "my chat.jsonl"
        talk.ask("Hi")
        run_command(talk, f"/save {path}")
        out = capsys.readouterr().out
        assert out.endswith(f"2 messages; to go on: localproviders chat --session '{path}'\n")
        assert Conversation.load(path).messages[0].content == "Hi"

    def test_the_home_folder(self, talk: Talk, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        talk.ask("Hi")
        run_command(talk, "/save ~/s.jsonl")
        assert (tmp_path / "s.jsonl").exists()

    def test_what_cannot_be_saved(self, talk: Talk, tmp_path: Path) -> None:
        path = tmp_path / "s.jsonl"
        with pytest.raises(UsageError, match="there is no answer yet"):
            run_command(talk, f"/save {path}")
        assert not path.exists()
        with pytest.raises(UsageError, match="/save needs a file"):
            run_command(talk, "/save  ")
        talk.ask("Hi")
        path.write_text("precious")
        with pytest.raises(ConfigurationError, match="already exists"):
            run_command(talk, f"/save {path}")
        with pytest.raises(ConfigurationError):
            run_command(talk, f"/save {tmp_path / 'none' / 's.jsonl'}")
        assert path.read_text() == "precious"

    @pytest.mark.skipif(sys.platform == "win32", reason="needs /dev/full")
    def test_a_disk_that_is_full(self, talk: Talk, monkeypatch: Any, tmp_path: Path) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        talk.ask("Hi")
        monkeypatch.setattr(Conversation, "save", fail)
        with pytest.raises(UsageError, match="cannot be written: No space left"):
            run_command(talk, f"/save {tmp_path / 's.jsonl'}")


def test_a_session_on_a_full_disk_goes_on(
    ollama: FakeOllama, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    from localproviders.conversation import file

    path = str(tmp_path / "s.jsonl")

    def fail(_: int, __: bytes) -> None:
        raise OSError(28, "No space left on device")

    with Conversation(path) as conversation, Run("chat", _arguments("-m", "ollama/m")) as run:
        talk = Talk(run, run.provider(), conversation)
        with monkeypatch.context() as patched:
            patched.setattr(file, "_write", fail)
            talk.ask("Hi")
        assert f"localproviders chat: {path!r}: No space left" in capsys.readouterr().err
        talk.ask("Ho")
    assert len(Conversation.load(path).messages) == 4
