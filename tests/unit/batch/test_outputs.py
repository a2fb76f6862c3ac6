"""CSV as output: the columns of the source, and columns for the answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Dict, List

import pytest

from localproviders import ConfigurationError, batch
from localproviders.batch.outputs import form_of
from localproviders.testing import Refusal, Reply
from tests.unit.batch.support import Ollama


def _rows(path: Path) -> List[Dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_answers_beside_the_columns_of_a_table(ollama: Ollama, tmp_path: Path) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('id,text\n1,"a, ""b"""\n2,\n')
    ollama.server.usual = 'Sure,\n"x"'
    report = ollama.run(source, output, template="Say {text}!", ordered=True)
    assert (report.succeeded, report.failed) == (2, 0)
    assert _rows(output) == [
        {"id": "1", "text": 'a, "b"', "answer": 'Sure,\n"x"', "error": ""},
        {"id": "2", "text": "", "answer": 'Sure,\n"x"', "error": ""},
    ]


def test_an_error_is_in_its_column(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    ollama.server.reply_with(Refusal(status="400 Bad Request", body={"error": "no, thanks"}))
    assert ollama.run(["one"], output).exit_code == 12
    (row,) = _rows(output)
    assert (row["id"], row["answer"]) == ("0", "")
    assert row["error"] == "RequestRejectedError: the server says: no, thanks"
    assert ollama.run(["one"], output, retry_failed=True).exit_code == 0
    assert [row["error"] for row in _rows(output)] == [""]


def test_decisions_have_two_columns_for_each_question(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    ollama.server.models.append(ollama.server.make_model("tev1"))
    ollama.server.usual = Reply(decisions={"q": 0.875})
    report = ollama.run(
        [{"state": "x"}], output, questions={"q": "Is it?", "c": ["a", "b"]}, model="tev1"
    )
    assert report.exit_code == 0
    (row,) = _rows(output)
    assert row["q"] == "yes"
    assert float(row["q_confidence"]) == 0.75
    assert row["c"] in ("a", "b")


_ODD = (
    ("a,b", "a,b"),
    ('"', '"'),
    ("two\nlines", "two\nlines"),
    ("two\r\nlines\r", "two\r\nlines\r"),
    ("\u00e4\u2028\U0001f600", "\u00e4\u2028\U0001f600"),
    ("\0" * 20, r"\x00" * 20),
    ("\ud800", r"\ud800"),
    ("long " * 2_000, "long " * 2_000),
)


def test_odd_ids_and_answers_are_read_back(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    texts = [text for text, _ in _ODD]
    rows: List[Any] = [
        {"id": text, "messages": f"{number}", "bad": 1} for number, text in enumerate(texts)
    ]
    assert ollama.run(rows, output).failed == len(rows)
    for row in rows:
        del row["bad"]
    ollama.server.usual = lambda exchange: Reply(
        text=texts[int(json.loads(exchange.body)["messages"][-1]["content"])]
    )
    report = ollama.run(rows, output, retry_failed=ConfigurationError)
    assert (report.exit_code, report.changed) == (0, len(rows))
    found = {row["id"]: row["answer"] for row in _rows(output)}
    # The half of a surrogate pair is replaced when the response is read.
    assert found == {**{cell: cell for _, cell in _ODD}, r"\ud800": "\ufffd"}


@pytest.mark.parametrize("name", ["answer", "error"])
def test_a_column_of_the_source_cannot_be_lost(name: str, ollama: Ollama, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text(f"id,{name}\n1,x\n")
    with pytest.raises(ConfigurationError, match=f"has a column '{name}'"):
        ollama.run(source, tmp_path / "out.csv", template="x")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("questions", "name"),
    [
        ({"a": "Is it?", "a_confidence": "Is it?"}, "a_confidence"),
        ({"error": "Is it?"}, "error"),
        ({"id": "Is it?"}, "id"),
    ],
)
def test_no_two_columns_have_the_same_name(
    questions: Any, name: str, ollama: Ollama, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=f"two columns .* {name!r}"):
        ollama.run(["x"], tmp_path / "out.csv", questions=questions)
    assert not (tmp_path / "out.csv").exists()


def _table(path: Path, columns: str, *rows: str) -> Path:
    path.write_text("\n".join([columns, *rows, ""]))
    return path


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"deadline_s": 1e-9}, {"max_failures": 0, "concurrency": 1}]
)
def test_other_columns_of_the_source_are_those_of_the_output(
    options: Any, ordered: bool, ollama: Ollama, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    _table(source, "id,text", "1,a", "2,b", "3,c")
    ollama.server.reply_with(Refusal(status="400 Bad Request", body={"error": "no"}))
    ollama.run(source, output, template="{text}", **options)
    ollama.server.heal()
    _table(source, "id,more,text", "1,x,a", "2,y,b", "3,z,c")
    assert ollama.run(source, output, template="{text}", ordered=ordered).succeeded == 3
    found = sorted((row["id"], row["more"], row["text"], row["error"]) for row in _rows(output))
    assert found == [("1", "x", "a", ""), ("2", "y", "b", ""), ("3", "z", "c", "")]


def test_results_with_other_columns_are_never_mixed(ollama: Ollama, tmp_path: Path) -> None:
    ollama.server.models.append(ollama.server.make_model("tev1"))
    source, output = _table(tmp_path / "in.csv", "id,text", "1,a", "2,b"), tmp_path / "out.csv"
    questions: List[Any] = [{"q": "Is it?"}, {"x": "Is it?", "y": ["a", "b"]}]
    ollama.run(source, output, questions=questions[0], model="tev1")
    content = output.read_bytes()
    _table(source, "id,text", "1,a", "2,b", "3,c")
    with pytest.raises(ConfigurationError, match="has other columns"):
        ollama.run(source, output, questions=questions[1], model="tev1", force=True)
    assert output.read_bytes() == content
    same_columns = {"q": "Is it so?"}
    ollama.run(source, output, questions=same_columns, model="tev1", force=True)
    assert [*_rows(output)[2]] == ["id", "text", "q", "q_confidence", "error"]
    parts = [tmp_path / "part1.csv", tmp_path / "part2.csv"]
    for number, part in enumerate(parts):
        ollama.run(source, part, questions=questions[number], model="tev1", shard=(number + 1, 2))
    with pytest.raises(ConfigurationError, match=r"part2\.csv' has other columns"):
        batch.merge(parts, tmp_path / "all.csv", force=True)


@pytest.mark.parametrize("name", ["out", "out.txt", "out.json"])
def test_a_suffix_must_name_the_form(name: str, ollama: Ollama, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no suffix that names a format of output"):
        ollama.run(["x"], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_forms() -> None:
    forms: List[Any] = [form_of(f"a.{suffix}") for suffix in ("jsonl", "ndjson", "CSV", "npy")]
    assert forms == [".jsonl", ".ndjson", ".csv", ".npy"]
