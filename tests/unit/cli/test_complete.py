"""The verb ``complete``: a text that is continued without a chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from localproviders import cli
from localproviders.testing import FakeLlamaCpp, FakeModel, FakeOllama
from tests.unit.cli.support import environment, run


@pytest.fixture
def ollama(monkeypatch: Any) -> Iterator[FakeOllama]:
    model = FakeModel(name="m", abilities=("chat", "completion", "insert"))
    with FakeOllama([model]) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        monkeypatch.setenv("LOCALPROVIDERS_MODEL", "ollama/m")
        yield server


def _sent(server: Any, path: str = "/api/generate") -> List[Dict[str, Any]]:
    return [exchange.json for exchange in server.exchanges if exchange.path == path]


def test_the_prompt_is_the_text_as_it_is(ollama: FakeOllama, capsys: Any) -> None:
    ollama.reply_with(" upon a time")
    assert cli.main(["complete", "Once"]) == 0
    assert _sent(ollama)[0]["prompt"] == "Once"
    assert capsys.readouterr() == (" upon a time\n", "")


@pytest.mark.parametrize(
    ("words", "where", "value"),
    [
        (["--suffix", "The end."], ("suffix",), "The end."),
        (["--max-tokens", "7"], ("options", "num_predict"), 7),
        (["--temperature", "0.5"], ("options", "temperature"), 0.5),
        (["--seed", "3"], ("options", "seed"), 3),
    ],
)
def test_an_option_is_in_the_request(
    words: List[str], where: Any, value: Any, ollama: FakeOllama
) -> None:
    assert cli.main(["complete", "Once"]) == 0
    assert cli.main(["complete", "Once", *words]) == 0
    before, after = _sent(ollama)
    for name in where:
        before, after = before.get(name, {}), after[name]
    assert after == value != before


def test_a_grammar(monkeypatch: Any, tmp_path: Path) -> None:
    path = tmp_path / "g.gbnf"
    path.write_text('root ::= "yes"', encoding="utf-8")
    with FakeLlamaCpp(["m"]) as server:
        words = ["--host", f"llamacpp={server.url}", "-m", "m", "--grammar", str(path)]
        assert cli.main(["complete", "Once", *words]) == 0
        assert _sent(server, "/v1/completions")[0]["grammar"] == 'root ::= "yes"'


@pytest.mark.parametrize("option", ["--system", "--image", "--thinking"])
def test_options_of_a_chat_are_unknown(option: str, ollama: FakeOllama, capsys: Any) -> None:
    assert cli.main(["complete", "Once", option, "on"]) == 2
    assert f"unknown option {option}" in capsys.readouterr().err
    assert _sent(ollama) == []


def test_inputs(ollama: FakeOllama, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"name": "Ann"}\n{"name": "Bo"}\n', encoding="utf-8")
    words = ["--template", "Dear {name},", "-f", str(path), "--json"]
    assert cli.main(["complete", *words]) == 0
    assert [request["prompt"] for request in _sent(ollama)] == ["Dear Ann,", "Dear Bo,"]
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["Hello there, friend."] * 2


def test_standard_input_is_the_prompt(ollama: FakeOllama) -> None:
    env = environment(OLLAMA_HOST=ollama.url)
    done = run("complete", "-m", "ollama/m", stdin=b"Once ", env=env)
    assert (done.returncode, done.stdout) == (0, b"Hello there, friend.\n")
    assert _sent(ollama)[0]["prompt"] == "Once "


def test_a_text_and_a_file(ollama: FakeOllama, tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["complete", "Once", "-f", str(tmp_path)]) == 2
    assert "a text and -f cannot be used together" in capsys.readouterr().err
