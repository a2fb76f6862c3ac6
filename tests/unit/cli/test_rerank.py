"""The verb ``rerank``: texts sorted by their relevance to a query."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from localproviders import Ranking, cli
from localproviders.testing import FakeLlamaCpp, FakeOllama
from tests.unit.cli.support import run

_TEXTS = ["the giant panda is a bear", "hi", "a panda"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLlamaCpp]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(_TEXTS) + "\n\n", encoding="utf-8")
    with FakeLlamaCpp(["my-reranker"]) as server:
        for score, text in zip((0.5, -1234567.5, 0.123456789), _TEXTS):
            server.score(text, score)
        yield server


def _words(fake: FakeLlamaCpp, *words: str) -> List[str]:
    return ["rerank", "-m", "my-reranker", "--host", f"llamacpp={fake.url}", *words]


def _rerank(fake: FakeLlamaCpp, *words: str) -> int:
    return cli.main(_words(fake, *words))


def _sent(fake: FakeLlamaCpp) -> List[Any]:
    return [each.json for each in fake.exchanges if each.path.endswith("/rerank")]


def test_each_text_is_a_line_with_score_index_and_text(fake: FakeLlamaCpp) -> None:
    done = run(*_words(fake, "What", "is a panda?"), stdin="\n".join(_TEXTS).encode())

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == (
        "0.5\t0\tthe giant panda is a bear\n0.123457\t2\ta panda\n-1.23457e+06\t1\thi\n"
    )
    (sent,) = _sent(fake)
    assert (sent["query"], sent["documents"]) == ("What is a panda?", _TEXTS)


def test_with_json_the_output_is_one_object(fake: FakeLlamaCpp, capsys: Any) -> None:
    assert _rerank(fake, "panda", "-f", "texts.txt", "--json", "--top-n", "2") == 0

    (line,) = capsys.readouterr().out.splitlines()
    ranking = Ranking.from_dict(json.loads(line))
    assert [(ranked.index, ranked.document) for ranked in ranking] == [
        (0, _TEXTS[0]),
        (2, _TEXTS[2]),
    ]
    assert ranking.model == "my-reranker"


def test_rows_and_whole_files_are_texts_too(
    fake: FakeLlamaCpp, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "a.csv").write_text("t,b\nOne,two\n", encoding="utf-8")
    assert _rerank(fake, "q", "-f", "a.csv", "--template", "{t}-{b}", "-o", "out.tsv") == 0
    assert (tmp_path / "out.tsv").read_text().endswith("\t0\tOne-two\n")

    (tmp_path / "b.txt").write_bytes(b"two\r\nlines\n")
    assert _rerank(fake, "q", "-f", "b.txt", "-f", "texts.txt", "--input", "text") == 0
    assert [len(each["documents"]) for each in _sent(fake)] == [1, 2]
    said = capsys.readouterr().out
    assert said.count("\n") == 2 and "two\\r\\nlines\\n\n" in said


def test_a_server_that_cannot_rank_names_one_that_can(fake: FakeLlamaCpp, capsys: Any) -> None:
    with FakeOllama() as other:
        host = f"ollama={other.url}"
        assert cli.main(["rerank", "-m", "llama3.2", "--host", host, "q", "-f", "texts.txt"]) == 2
    said = capsys.readouterr().err
    assert "llama-server with --reranking" in said and "embed(" not in said


#: By name: the arguments, and words of the error.
_WRONG = {
    "no query": (["-f", "texts.txt"], "QUERY"),
    "an empty query": ([" ", "-f", "texts.txt"], "the query is empty"),
    "no result": (["q", "-f", "texts.txt", "--top-n", "0"], "'0' is no whole number of at least 1"),
    "an empty file": (["q", "-f", "void.txt"], "void.txt has no rows"),
    "a missing file": (["q", "-f", "nope.txt"], "'nope.txt' cannot be read"),
    "a row without a text": (["q", "-f", "row.jsonl"], "line 1 of row.jsonl is no text"),
    "a missing field": (["q", "-f", "row.jsonl", "--template", "{c}"], "has no value for {c}"),
    "no UTF-8": (["q", "-f", "latin.txt"], "byte 5 is not valid utf-8"),
    "no input": (["q", "--no-input"], "--no-input forbids reading standard input"),
    "an existing output": (["q", "-f", "texts.txt", "-o", "void.txt"], "exists already"),
    "an option of chat": (["q", "--system", "x"], "unknown option --system"),
}


@pytest.mark.parametrize("case", _WRONG)
def test_wrong_arguments_are_one_line(
    fake: FakeLlamaCpp, tmp_path: Path, capsys: Any, case: str
) -> None:
    (tmp_path / "void.txt").write_bytes(b"\n \n")
    (tmp_path / "row.jsonl").write_bytes(b'{"a": "1", "b": "2"}\n')
    (tmp_path / "latin.txt").write_bytes(b"one\nt\xe9\n")
    words, expected = _WRONG[case]

    assert _rerank(fake, *words) == 2
    said = capsys.readouterr()
    assert expected in said.err
    assert (said.out, said.err.count("\n"), _sent(fake)) == ("", 1, [])
