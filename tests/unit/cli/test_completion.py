"""The verb ``completion``, and its scripts in real shells."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from localproviders import cli
from localproviders.cli import options, verbs
from localproviders.cli.parser import Parser
from localproviders.testing import FakeOllama
from tests.unit.cli.support import ROOT

_BASH = r"""
source "$1"
COMP_LINE="$2" COMP_POINT=${#2}
read -ra COMP_WORDS <<< "${2//:/ : }"
[[ "$2" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_localproviders
printf '%s\n' "${COMPREPLY[@]}"
"""
# `compadd` works only inside of a completion, so a function that prints takes its place.
_ZSH = r"""
compdef() { :; }
compadd() { print -l -- "${(@P)2}"; }
source "$1"
words=("${(@s: :)2}")
CURRENT=${#words}
_localproviders
"""
_FISH = 'source "$argv[1]"; complete -C "$argv[2]"'


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Dict[str, str]]:
    (tmp_path / "bin").mkdir()
    path = tmp_path / "bin" / "localproviders"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m localproviders "$@"\n')
    path.chmod(0o755)
    with FakeOllama(["llama3.2", "qwen3:0.6b"]) as ollama:
        yield {
            "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "OLLAMA_HOST": ollama.url,
            "LC_ALL": "C",
        }


def _completer(shell: str, env: Dict[str, str], folder: Path) -> Callable[[str], List[str]]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = folder / f"completion.{shell}"
    made = subprocess.run(
        [sys.executable, "-m", "localproviders", "completion", shell, "-o", str(script)],
        env=env,
        check=True,
    )
    assert made.returncode == 0
    words = {
        "bash": ["bash", "--norc", "-c", _BASH, "bash"],
        "zsh": ["zsh", "-f", "-c", _ZSH, "zsh"],
        "fish": ["fish", "--no-config", "-c", _FISH],
    }[shell]

    def complete(line: str) -> List[str]:
        done = subprocess.run(
            [*words, str(script), line],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
        assert done.stderr == b""
        return [each.partition("\t")[0] for each in done.stdout.decode().split("\n") if each]

    return complete


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_in_a_real_shell(shell: str, env: Dict[str, str], tmp_path: Path) -> None:
    complete = _completer(shell, env, tmp_path)
    assert {"chat", "discover", "engine"} <= {*complete("localproviders ")}
    assert {"install"} <= {*complete("localproviders engine ")}
    assert {"--model", "--max-tokens", "--json"} <= {*complete("localproviders chat --")}
    assert "--suffix" not in complete("localproviders chat --")
    assert {"loopback", "private", "any"} <= {*complete("localproviders chat --locality ")}
    assert {"ollama/llama3.2:latest", "ollama/qwen3:0.6b"} <= {*complete("localproviders chat -m ")}


# Verbs that share words with others.
_SIMILAR = ["batch run", "batch status", "batch check", "config check", "config show", "show"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_verb_has_only_its_own_options(
    shell: str, env: Dict[str, str], tmp_path: Path
) -> None:
    complete = _completer(shell, env, tmp_path)
    for name in _SIMILAR:
        parser = Parser(name)
        verbs.load(name).add_arguments(parser)
        options.add_shared(parser)
        own = {word for action in parser._actions for word in action.option_strings}
        found = complete(f"localproviders {name} --")  # zsh leaves out the short ones later
        assert {word for word in found if word[:2] == "--"} == {w for w in own if w[:2] == "--"}
    assert "status" in complete("localproviders batch ")
    assert "status" not in complete("localproviders batch run ")
    assert "status" not in complete("localproviders chat batch ")


def test_bash_completes_the_rest_of_a_name_with_a_colon(
    env: Dict[str, str], tmp_path: Path
) -> None:
    complete = _completer("bash", env, tmp_path)
    assert complete("localproviders chat -m ollama/q") == ["ollama/qwen3:0.6b"]
    assert complete("localproviders chat -m ollama/qwen3:") == ["0.6b"]
    assert complete("localproviders cha") == ["chat"]


def test_the_names_of_models(monkeypatch: Any, capsys: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "localproviders").mkdir()
    text = '[aliases]\nfast = ["ollama/llama3.2"]\n'
    (tmp_path / "localproviders" / "config.toml").write_text(text)
    with FakeOllama(["llama3.2"]) as ollama:
        monkeypatch.setenv("OLLAMA_HOST", ollama.url)
        assert cli.main(["completion", "models"]) == 0
        assert capsys.readouterr().out.splitlines()[:2] == ["fast", "ollama/llama3.2:latest"]
        (tmp_path / "localproviders" / "config.toml").write_text("nonsense")
        assert cli.main(["completion", "models"]) == 0
    assert capsys.readouterr() == ("", "")


def test_another_shell(capsys: Any) -> None:
    assert cli.main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
