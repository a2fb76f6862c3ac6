"""The verbs ``load`` and ``unload``."""

from __future__ import annotations

import math
from typing import Iterator, List

import pytest

from localproviders.cli import memory
from localproviders.testing import FakeModel, FakeOllama, FakeOpenAICompatible
from tests.support.model_command import call, run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    with FakeOllama([FakeModel(name="llama3.2")]) as fake:
        monkeypatch.setenv("OLLAMA_HOST", fake.url)
        yield fake


def test_load_and_unload_change_the_memory_of_the_server(ollama: FakeOllama) -> None:
    done = run("load", "ollama/llama3.2", "--context-length", "2048")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("loaded ollama/llama3.2:latest") and "context 2048" in done.out
    assert ollama.loaded == {"llama3.2": 2048}
    done = run("unload", "ollama/llama3.2")
    assert (done.code, done.out, done.err) == (0, "unloaded ollama/llama3.2\n", "")
    assert ollama.loaded == {}


def test_json_is_one_object(ollama: FakeOllama, capsys: Capture) -> None:
    found = call(capsys, "load", "ollama/llama3.2", "--json").json
    assert (found["name"], found["context_length"]) == ("llama3.2:latest", 4096)
    assert call(capsys, "unload", "ollama/llama3.2", "--json").json == {
        "unloaded": "ollama/llama3.2"
    }


@pytest.mark.parametrize(
    ("text", "expected"), [("10m", 600), ("2h", 7200), ("0", 0), ("forever", math.inf)]
)
def test_the_time_in_memory(text: str, expected: float) -> None:
    assert memory._keep_alive(text) == expected


def test_the_time_in_memory_is_sent(ollama: FakeOllama, capsys: Capture) -> None:
    assert call(capsys, "load", "ollama/llama3.2", "--keep-alive", "10m").code == 0
    sent = [e.json.get("keep_alive") for e in ollama.exchanges if e.method == "POST" and e.body]
    assert any(str(each).startswith("600") for each in sent if each)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["load"], 2),
        (["load", "ollama/llama3.2", "--keep-alive", "soon"], 2),
        (["load", "ollama/llama3.2", "--context-length", "0"], 2),
        (["load", "ollama/"], 2),
        (["load", "ollama/llama9"], 8),
        (["unload", "ollama/llama9"], 8),
        (["load", "m", "--host", "ollama=http://127.0.0.1:9"], 5),
    ],
)
def test_wrong_input_is_one_line_and_changes_nothing(
    words: List[str], code: int, ollama: FakeOllama, capsys: Capture
) -> None:
    done = call(capsys, *words)
    assert (done.code, done.out) == (code, "") and done.err.count("\n") == 1
    assert ollama.loaded == {}


@pytest.mark.parametrize("verb", ["load", "unload", "pull"])
def test_a_server_without_the_verb_is_unsupported(verb: str, capsys: Capture) -> None:
    with FakeOpenAICompatible() as fake:
        host = f"openai-compatible={fake.base_url}"
        done = call(capsys, verb, fake.models[0].name, "--host", host)
    assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1
    assert f"localproviders {verb}: UnsupportedError: " in done.err
