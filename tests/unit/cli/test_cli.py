"""The command line: its output and its exit status."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, List

import pytest

import localproviders
from localproviders import (
    ConfigurationError,
    DependencyError,
    Discovery,
    OllamaProvider,
    ProviderError,
    UnreachableError,
    cli,
)
from localproviders.cli import commands
from localproviders.engine import why_missing, why_unsupported
from localproviders.testing import FakeLMStudio, FakeOllama, Reply

_REASON = why_unsupported() or why_missing()
engine_package = sys.modules["localproviders.engine"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == localproviders.__version__


def test_an_unknown_command_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["nope"])

    assert caught.value.code == 2
    assert "nope" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["discover", "--\x1b[2J\nx"], ["demo", "a", "\x1b]0;t\x07\u202e"], ["engine", "\x9b"]],
)
def test_arguments_are_told_in_one_line(
    arguments: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    said = capsys.readouterr().err
    assert said.replace("\n", "").isprintable()
    assert "\\x" in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("raised", "status", "shown"),
    [
        (DependencyError("gone", hint="do this"), 2, "gone"),
        (OSError(28, "No space left\non device"), 1, "No space left\\non device\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_a_line_and_a_status(
    raised: BaseException, status: int, shown: str, monkeypatch: Any, capsys: Any
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(commands, "run_demo", fail)

    assert cli.main(["demo"]) == status
    assert shown in capsys.readouterr().err


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_refused_before_anything_starts(
    question: str, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(commands, "run_demo", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(SystemExit) as caught:
        cli.main(["demo", question])
    assert caught.value.code == 2
    assert "the question is empty" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_on_a_full_disk_is_one_line() -> None:
    script = (
        "import sys; from localproviders import cli; from localproviders.cli import commands\n"
        "commands.run_demo = lambda *_, **__: print('lost')\nsys.exit(cli.main(['demo']))"
    )
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-W", "error", "-c", script]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith(b"localproviders: [Errno 28] ") and done.stderr.count(b"\n") == 1


def test_install_is_skipped_where_it_makes_no_sense(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(engine_package, "why_unsupported", lambda: "too old")
    monkeypatch.setattr(
        sys.modules["localproviders.engine.install"], "why_unsupported", lambda: "too old"
    )

    assert cli.main(["engine", "install", "--if-supported"]) == 0
    assert "skipped: too old" in capsys.readouterr().out
    assert cli.main(["engine", "install"]) == 2


def test_install_tells_of_pips_failure(monkeypatch: Any, capsys: Any) -> None:
    def fail() -> None:
        raise subprocess.CalledProcessError(3, ["pip"])

    monkeypatch.setattr(engine_package, "why_unsupported", lambda: None)
    monkeypatch.setattr(engine_package, "install", fail)

    assert cli.main(["engine", "install"]) == 1
    assert "status 3" in capsys.readouterr().err


def test_install_installs(monkeypatch: Any) -> None:
    done: List[bool] = []
    monkeypatch.setattr(engine_package, "why_unsupported", lambda: None)
    monkeypatch.setattr(engine_package, "install", lambda: done.append(True))

    assert cli.main(["engine", "install"]) == 0
    assert done == [True]


def test_demo_installs_only_what_is_missing(monkeypatch: Any, capsys: Any) -> None:
    done: List[str] = []
    monkeypatch.setattr(commands, "install", lambda: done.append("install"))
    monkeypatch.setattr(commands, "why_missing", lambda: "something")
    monkeypatch.setattr(commands, "check_installable", lambda: None)
    monkeypatch.setattr(commands, "check_supported", lambda: None)
    monkeypatch.setattr(commands, "_require_installed", lambda: None)
    monkeypatch.setattr(commands, "_answer", done.append)
    monkeypatch.setattr(commands, "_compare", lambda: done.append("compare"))

    assert cli.main(["demo", "Why?", "--install"]) == 0
    assert done == ["install", "Why?", "compare"]
    assert "docs/setup.md" in capsys.readouterr().out


def test_a_reader_that_has_gone_is_no_error() -> None:
    script = (
        "import sys; from localproviders import cli; from localproviders.cli import commands\n"
        "commands.run_demo = lambda *_, **__: print('unread')\n"
        "sys.stdin.read(); sys.exit(cli.main(['demo']))"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-W", "error", "-c", script]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()

        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_demo_shows_the_models_prose_and_obeys_none_of_it(
    monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "One\n\tTwo\x1b]0;owned\x07\x9b2J\u202e"
    with FakeOllama(["m"]) as ollama:
        ollama.reply_with(Reply(text=said, finish_reason="stop\nCRITICAL forged"))
        provider = OllamaProvider(ollama.url, model="m", locality="loopback")
        monkeypatch.setattr(commands, "LocalEngine", lambda kind: provider)
        commands._answer("What?")
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
        monkeypatch.setattr(commands, "LocalEngine", lambda kind: provider)
        with pytest.raises(ProviderError):
            commands._answer("What?")
    assert capsys.readouterr().out.endswith("\n")


@pytest.mark.parametrize("error", [UnreachableError("a\nb\x1b", hint="c\nd", model="e\x9b")])
def test_an_error_is_one_line_on_the_terminal(error: Any, monkeypatch: Any, capsys: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(commands, "run_demo", fail)
    assert cli.main(["demo"]) == error.exit_code
    assert capsys.readouterr().err == (
        "localproviders: UnreachableError: a\\nb\\x1b [model e\\x9b] (hint: c\\nd)\n"
    )


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


def test_discover_names_given_and_configured_servers_and_their_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "localproviders").mkdir()
    with FakeOllama(["one", "two"]) as ollama, FakeLMStudio(["qwen/three"]) as lmstudio:
        text = f'[servers.lmstudio]\nendpoint = "{lmstudio.url}"\n'
        (tmp_path / "localproviders" / "config.toml").write_text(text, "utf-8")
        OllamaProvider(ollama.url).load("two")
        assert cli.main(["discover", ollama.url]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ollama") and ollama.url in line for line in lines)
    assert lines[lines.index("Models:") + 1 :] == [
        "- ollama/one:latest",
        "- ollama/two:latest, loaded",
        "- lmstudio/qwen/three",
    ]


def test_discover_takes_the_address_of_a_unix_socket(
    socket_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeOllama(["one"], unix=socket_path) as ollama:
        assert cli.main(["discover", ollama.url]) == 0
    assert f"at {ollama.url}: available" in capsys.readouterr().out
    assert cli.main(["discover", "unix:run/x.sock"]) == ConfigurationError.exit_code
    assert "the path of a UNIX socket must be absolute" in capsys.readouterr().err


def test_discover_that_finds_nothing_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = Discovery(found_at=datetime(2025, 1, 1, tzinfo=timezone.utc))
    monkeypatch.setattr(commands, "discover", lambda addresses, locality: nothing)

    assert cli.main(["discover"]) == UnreachableError.exit_code
    assert "ollama serve" in capsys.readouterr().err
