"""The verbs of the command as processes, with a real llama.cpp server.

The reranking model and the decision model are stand-ins with the weights of other models, so their
answers mean nothing. The tests check the form of the output.
"""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from localproviders import LlamaCppProvider
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.engine.models import RECIPES, open_model
from tests.support.decision_models import TYPES, make_decision_model
from tests.unit.cli.support import environment, run

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

_Command = Callable[..., Tuple[int, str, str]]


def _command(provider: LlamaCppProvider) -> _Command:
    """Return a function that runs a verb with the server of a provider."""
    key, model = provider.settings.api_key, provider.settings.model
    assert key is not None and model is not None
    address = provider.settings.endpoint.url
    env = environment(
        LOCALPROVIDERS_SERVERS_ENGINE_KIND="llamacpp",
        LOCALPROVIDERS_SERVERS_ENGINE_ENDPOINT=address,
        LOCALPROVIDERS_SERVERS_ENGINE_API_KEY=key.reveal(),
    )
    place = ("-m", model, "--host", f"llamacpp={address}")

    def call(verb: str, *words: str, stdin: Any = None, cwd: Any = None) -> Tuple[int, str, str]:
        given = None if stdin is None else stdin.encode()
        done = run(verb, *words, *place, stdin=given, cwd=cwd, env=env)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return call


@pytest.fixture(scope="module")
def chat() -> Iterator[_Command]:
    with LocalEngine("chat", context_length=1024) as provider:
        yield _command(provider)


@pytest.fixture(scope="module")
def embedding() -> Iterator[_Command]:
    with LocalEngine("embedding") as provider:
        yield _command(provider)


@contextlib.contextmanager
def _ranker(folder: Path) -> Iterator[_Command]:
    with open_model(RECIPES["embedding"], folder) as file:
        with LocalEngine(Path(file.name), rerank=True) as provider:
            yield _command(provider)


@contextlib.contextmanager
def _decider(folder: Path) -> Iterator[_Command]:
    file = folder / "tiny-decider.gguf"
    with open_model(RECIPES["chat"], folder) as source:
        make_decision_model(source, file, TYPES[0])
    with LocalEngine(file, context_length=1024) as provider:
        yield _command(provider)
    file.unlink()  # it has 250 MB, and pytest keeps folders of earlier runs


def _lines(text: str) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_chat_answers_a_text_and_a_pipe(chat: _Command) -> None:
    options = ("--temperature", "0", "--max-tokens", "12")
    code, text, said = chat("chat", "What is the capital of France?", *options, "--no-input")
    assert (code, "Paris" in text, text[-1:]) == (0, True, "\n"), said

    code, text, said = chat("chat", "Repeat:", *options, "--json", stdin="Hello there")
    (line,) = _lines(text)
    assert code == 0 and line["text"] and line["usage"]["completion_tokens"] <= 12, said


def test_complete_continues_a_text(chat: _Command) -> None:
    options = ("--temperature", "0", "--max-tokens", "8")
    code, text, said = chat("complete", "The capital of France is", *options)
    assert (code, bool(text.strip()), text[-1:]) == (0, True, "\n"), said
    assert "--max-tokens" in said and said.count("\n") == 1


def test_parse_writes_values_of_the_schema(chat: _Command, tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "size": {"enum": ["small", "large"]},
        },
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    (tmp_path / "s.json").write_text(json.dumps(schema), encoding="utf-8")
    (tmp_path / "in.csv").write_text("name\nParis\nTokyo\n", encoding="utf-8")
    code, text, said = chat(
        "parse", "Which city, and how large?", "--schema", "s.json", "-f", "in.csv",
        "--max-tokens", "60", "--temperature", "0", cwd=tmp_path,
    )  # fmt: skip
    values = _lines(text)
    assert (code, len(values)) == (0, 2), said
    assert all(set(value) == {"city", "size"} for value in values)
    assert all(value["size"] in ("small", "large") for value in values)


def test_decide_asks_a_chat_model_for_probabilities(chat: _Command) -> None:
    words = ("Paris is in France.", "--yes-no", "Is Paris in France?", "--min-mass", "0")
    code, _, said = chat("decide", *words)
    assert code == 8 and "add --method logprobs" in said

    code, text, said = chat("decide", *words, "--method", "logprobs", "--threshold", "0")
    (line,) = _lines(text)
    assert code == 0, said
    found = line["answers"]["yes_no"]
    assert found["source"] == "logprobs" and 0 <= found["mass"] <= 1
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert chat("decide", *words, "--method", "logprobs", "--threshold", "1")[0] == 14


def test_decide_asks_a_decision_model_about_rows(tmp_path: Path) -> None:
    rows = [{"id": 1, "text": "I was charged twice."}, {"id": 2, "text": "word " * 2000}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with _decider(tmp_path) as decider:
        code, text, said = decider(
            "decide", "-f", "in.jsonl", "--choice", "Which team?", "--options", "a,b", cwd=tmp_path
        )
    first, second = _lines(text)
    assert code == 12 and "1 of 2 inputs failed" in said
    assert list(first["answers"]["choice"]["probabilities"]) == ["a", "b"]
    assert (first["id"], second["id"]) == (1, 2)
    assert second["error"]["error"] == "ContextOverflowError"


def test_embed_writes_lines_and_a_matrix_with_the_same_vectors(
    embedding: _Command, tmp_path: Path
) -> None:
    texts = [f"text number {number}" for number in range(70)]
    given = "\n".join(texts)
    code, text, said = embedding("embed", "--input", "lines", stdin=given)
    assert code == 0, said
    lines = _lines(text)
    assert [line["index"] for line in lines] == list(range(70))

    code, text, said = embedding(
        "embed", "--input", "lines", "-o", "v.npy", "--ids", "ids", stdin=given, cwd=tmp_path
    )
    assert (code, text) == (0, ""), said
    data = (tmp_path / "v.npy").read_bytes()
    columns = len(lines[0]["embedding"])
    assert f"'shape': (70, {columns})".encode() in data[:128]
    numbers = struct.unpack(f"<{70 * columns}f", data[128:])
    expected = [number for line in lines for number in line["embedding"]]
    assert numbers == pytest.approx(expected, abs=1e-3)


def test_embed_names_the_text_that_is_too_long(embedding: _Command) -> None:
    code, text, said = embedding("embed", "--input", "lines", stdin="one\n" + "word " * 3000)
    first, second = _lines(text)
    assert code == 12 and "1 of 2 inputs failed" in said
    assert "embedding" in first and second["input"] == "line 2 of standard input"
    assert second["error"]["error"] == "ContextOverflowError"


def test_rerank_sorts_lines(tmp_path: Path) -> None:
    texts = ["hi", "it is a bear", "The giant panda is a bear species endemic to China."]
    with _ranker(tmp_path) as ranker:
        code, text, said = ranker("rerank", "What is", "a panda?", stdin="\n".join(texts))
        found = [line.split("\t") for line in text.splitlines()]
        assert code == 0, said
        assert sorted(int(index) for _, index, _ in found) == [0, 1, 2]
        assert all(document == texts[int(index)] for _, index, document in found)
        scores = [float(score) for score, _, _ in found]
        assert scores == sorted(scores, reverse=True)

        _, text, _ = ranker("rerank", "What is a panda?", "--top-n", "1", "--json", stdin="a\nb")
        assert len(_lines(text)[0]["results"]) == 1


def test_a_model_of_another_kind_is_one_line(embedding: _Command) -> None:
    code, text, said = embedding("rerank", "q", stdin="a\nb")
    assert (code, text, said.count("\n")) == (8, "", 1)
    assert "--reranking" in said
