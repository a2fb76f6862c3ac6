"""The command: its pages, its errors and its exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

import localproviders
from localproviders import (
    CancelledError,
    DependencyError,
    UnreachableError,
    cli,
)
from localproviders.cli import verbs
from localproviders.cli.usage import OutputError, Stopped
from localproviders.testing import FakeOllama, Reply
from tests.unit.cli.support import environment, run, start


def _verb(work: Any) -> verbs.Verb:
    return verbs.Verb("", "", lambda parser: None, lambda arguments, run: work())


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that replaces the verb ``demo`` by a function."""

    def replace(work: Any) -> None:
        monkeypatch.setattr(verbs, "load", lambda name: _verb(work))

    return replace


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{localproviders.__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_the_page_lists_every_verb(words: List[str], capsys: Any) -> None:
    assert cli.main(words) == 0
    page = capsys.readouterr().out
    for name in verbs.ENTRIES:
        first, _, second = name.partition(" ")
        line = rf"^  {first} VERB .*\b{second}\b" if f"  {first} VERB " in page else rf"^  {name} "
        assert re.search(line, page, re.MULTILINE), name
    assert len(page.splitlines()) <= 40


def test_without_words_the_page_goes_to_standard_error(capsys: Any) -> None:
    assert cli.main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == verbs.page()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["nope"], "there is no verb 'nope' (hint: localproviders --help)"),
        (["discoverr"], "did you mean 'discover'?"),
        (["help", "discoverr"], "did you mean 'discover'?"),
        (["engine"], "'engine' needs a second word: engine install"),
        (["engine", "instal"], "did you mean 'install'?"),
        (["discover", "--jsn"], "unknown option --jsn; did you mean '--json'?"),
        (["discover", "--jsn=1"], "unknown option --jsn; did you mean '--json'?"),
        (["discover", "--js"], "unknown option --js; did you mean '--json'?"),
        (["discover", "--timeout"], "--timeout: expected one argument"),
        (["discover", "--timeout", "soon"], "'soon' is no duration: write 90, 90s, 10m or 2h"),
        (["discover", "--timeout", "0"], "'0' must be above zero"),
        (["discover", "--locality", "mars"], "--locality: invalid choice: 'mars'"),
        (["discover", "--encoding", "hex"], "there is no encoding 'hex'"),
        (["chat", "one", "-m", "x", "two"], "unexpected argument 'two'"),
        (["chat", "--max-tokens", "0", "x"], "'0' is no whole number of at least 1"),
        (["chat", "--temperature", "nan", "x"], "'nan' is no number from 0 to 10"),
    ],
)
def test_wrong_words_are_one_line_and_exit_code_two(
    words: List[str], shown: str, capsys: Any
) -> None:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert shown in err


@pytest.mark.parametrize(
    "words",
    [["discover", "--\x1b[2J\nx"], ["demo", "a", "\x1b]0;t\x07\u202e"], ["engine", "\x9b"]],
)
def test_words_of_the_user_are_shown_as_one_line(words: List[str], capsys: Any) -> None:
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.replace("\n", "").isprintable()
    assert "\\x" in said


@pytest.mark.parametrize(
    ("raised", "status", "shown"),
    [
        (DependencyError("gone", hint="do this"), 2, "DependencyError: gone (hint: do this)"),
        (OutputError("the disk is full", "df"), 74, "localproviders demo: the disk is full (hint"),
        (OSError(5, "broken\ndisk", "x"), 2, "'x': broken\\ndisk (hint: localproviders doctor)"),
        (OSError(24, "Too many open files"), 2, "Too many open files (hint: ulimit -n"),
        (MemoryError(), 1, "localproviders demo: there is not enough memory (hint: free -h)"),
        (CancelledError("stopped"), 130, "CancelledError: stopped"),
        (KeyboardInterrupt(), 130, ""),
        (Stopped(143), 143, ""),
        (Stopped(6, "too late"), 6, "localproviders demo: too late"),
    ],
)
def test_errors_become_a_line_and_a_status(
    raised: BaseException, status: int, shown: str, demo: Any, capsys: Any
) -> None:
    def fail() -> None:
        raise raised

    demo(fail)
    assert cli.main(["demo"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert shown in err
    assert err.count("\n") == (1 if shown else 0)


@pytest.mark.parametrize(
    ("stop", "status", "shown"),
    [(Stopped(6, "too late"), 6, "too late"), (KeyboardInterrupt(), 130, "")],
)
@pytest.mark.parametrize("raised", [RuntimeError("a class"), OSError("a file"), ValueError()])
def test_a_signal_is_not_hidden_by_the_error_of_the_code_that_it_ends(
    raised: Exception, stop: BaseException, status: int, shown: str, demo: Any, capsys: Any
) -> None:
    def fail() -> None:
        try:
            raise stop
        except BaseException as error:
            raise raised from error

    demo(fail)
    assert cli.main(["demo"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert shown in err
    assert err.count("\n") == (1 if shown else 0)


def test_a_reader_that_has_gone_is_no_error(demo: Any, capsys: Any) -> None:
    def fail() -> None:
        raise BrokenPipeError

    demo(fail)
    assert cli.main(["demo"]) == 0
    assert capsys.readouterr() == ("", "")


def test_an_error_is_one_line_on_the_terminal(demo: Any, capsys: Any) -> None:
    def fail() -> None:
        raise UnreachableError("a\nb\x1b", hint="c\nd", model="e\x9b")

    demo(fail)
    assert cli.main(["demo"]) == UnreachableError.exit_code
    assert capsys.readouterr().err == (
        "localproviders demo: UnreachableError: a\\nb\\x1b [model e\\x9b] "
        "(hint: c\\nd; localproviders doctor; localproviders discover)\n"
    )


class TestAsAProcess:
    def test_a_short_start(self) -> None:
        done = run("--version")
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode().strip() == localproviders.__version__

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    @pytest.mark.parametrize("words", [["--version"], ["--help"], ["help", "chat"]])
    def test_a_full_disk(self, words: List[str]) -> None:
        with open("/dev/full", "wb") as full:
            done = run(*words, stdout=full)
        assert done.returncode == 74
        assert done.stderr.startswith(b"localproviders: the output cannot be written: No space")
        assert done.stderr.count(b"\n") == 1

    def test_a_reader_that_has_gone(self) -> None:
        with start("--help") as process:
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 0

    @pytest.mark.parametrize(
        ("closed", "status", "said"),
        [
            (">&-", 74, "localproviders: standard output is closed (hint: add > FILE)\n"),
            ("2>&-", 0, ""),
            ("<&-", 0, ""),
            ("<&- >&- 2>&-", 74, ""),
        ],
    )
    def test_standard_streams_that_are_closed(self, closed: str, status: int, said: str) -> None:
        words = [sys.executable, "-m", "localproviders", "--version"]
        done = subprocess.run(
            ["/bin/sh", "-c", f'"$@" {closed}', "sh", *words],
            env=environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            check=False,
        )
        assert (done.returncode, done.stderr.decode()) == (status, said)

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
    def test_a_signal_ends_the_work_of_the_server(self, name: str) -> None:
        with FakeOllama(["m"]) as ollama:
            ollama.reply_with(Reply(text="One two three"))
            ollama.break_next("body stalled")
            with start("chat", "-m", "ollama/m", "Hi", env=_env(ollama)) as process:
                assert process.stdout.read(1)
                process.send_signal(getattr(signal, name))
                assert process.stderr.read() == b""
            assert process.returncode == 128 + getattr(signal, name)
            assert ollama.wait_for_connections(0)

    def test_the_deadline_ends_the_work(self) -> None:
        with FakeOllama(["m"]) as ollama:
            ollama.break_next("silence")
            done = run("chat", "-m", "ollama/m", "--deadline", "0.5", "Hi", env=_env(ollama))
        assert done.returncode == 6
        assert b"the deadline of 0.5 s has passed" in done.stderr
        assert done.stderr.count(b"\n") == 1


def _env(ollama: FakeOllama) -> Any:
    return environment(OLLAMA_HOST=ollama.url, XDG_CONFIG_HOME=os.devnull)


@pytest.mark.parametrize("words", [["config", "--help"], ["config", "-h"], ["help", "config"]])
def test_the_first_word_of_several_verbs_has_a_page(
    words: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 0
    page = capsys.readouterr().out
    assert "localproviders config check" in page and "demo" not in page
