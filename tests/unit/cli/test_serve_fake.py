"""The verb ``serve-fake``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, List

import pytest

from localproviders import OllamaProvider, cli, kinds
from localproviders.testing import FakeOllama
from tests.unit.cli.support import run, start

_KINDS = [kind.name for kind in kinds.registered() if kind.fake]
_CHAT = ["--", sys.executable, "-m", "localproviders", "chat", "Hi"]


@pytest.mark.parametrize("kind", _KINDS)
def test_a_command_runs_with_the_server_in_its_environment(kind: str) -> None:
    done = run("serve-fake", kind, "--reply", "Good morning", *_CHAT)
    assert (done.returncode, done.stdout) == (0, b"Good morning\n"), done.stderr


def test_the_exit_code_of_the_command() -> None:
    done = run("serve-fake", "ollama", *_CHAT, "-m", "missing")
    assert (done.returncode, done.stdout) == (8, b"")
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run("serve-fake", "ollama", "--", sys.executable, "-c", killed).returncode == 137


def test_a_fault_of_every_answer() -> None:
    done = run("serve-fake", "ollama", "--fault", "body cut", *_CHAT)
    assert done.returncode == 5


def test_models() -> None:
    words = ["-m", "one", "-m", "two", "--reply", "Hello"]
    done = run("serve-fake", "ollama", *words, *_CHAT, "-m", "ollama/two", "--json")
    assert json.loads(done.stdout)["model"] == "two"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("as_json", [False, True])
def test_without_a_command_it_serves_until_a_signal(name: str, as_json: bool) -> None:
    with start("serve-fake", "ollama", *(["--json"] if as_json else [])) as process:
        line = process.stdout.readline().decode().strip()
        url = json.loads(line)["endpoint"] if as_json else line
        with OllamaProvider(url) as provider:
            assert provider.list_models()
        process.send_signal(getattr(signal, name))
        assert process.stderr.read() == b""
    assert process.returncode == 128 + getattr(signal, name)


def test_the_address_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "address"
    with start("serve-fake", "ollama", "-o", str(path)) as process:
        while not path.exists() and process.poll() is None:
            os.sched_yield()
        with OllamaProvider(path.read_text().strip()) as provider:
            assert provider.list_models()
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == b""
    assert process.returncode == 143
    assert path.exists()


def test_the_list_of_faults(capsys: Any) -> None:
    assert cli.main(["serve-fake", "ollama", "--list-faults"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert "body cut" in names
    assert len(names) > 50


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["olama"], "there is no fake server of the kind 'olama'; did you mean 'ollama'?"),
        (["gguf"], "there is no fake server of the kind 'gguf'"),
        (["ollama", "--fault", "body cutt"], "did you mean 'body cut'?"),
        (["ollama", "--port", "0"], "'0' is no whole number from 1 to 65535"),
        (["ollama", "--port", "65536"], "'65536' is no whole number from 1 to 65535"),
        (["ollama", "--", "/missing/program"], "'/missing/program' cannot be started"),
    ],
)
def test_wrong_words(words: List[str], said: str, capsys: Any) -> None:
    assert cli.main(["serve-fake", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_a_port_in_use(capsys: Any) -> None:
    with FakeOllama() as ollama:
        assert cli.main(["serve-fake", "ollama", "--port", str(ollama.port)]) == 2
    assert f"port {ollama.port} cannot be used" in capsys.readouterr().err
