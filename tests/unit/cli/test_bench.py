"""The verb ``bench``."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Callable, Iterator, List, Optional

import pytest

from localproviders import cli
from localproviders.bench import read_results, to_jsonl
from localproviders.cli import bench
from localproviders.cli.parser import Parser
from localproviders.testing import FakeOllama
from tests.support.bench import results

_Measured = Callable[..., str]


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    with FakeOllama() as found:
        found.usual = "word " * 80
        yield found


_SMALL = ("--lengths", "64", "--at-once", "1,2", "--rounds", "1", "--max-tokens", "16")


@pytest.fixture
def measured(fake: FakeOllama, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> _Measured:
    """Return a function that runs the verb, and returns its output."""

    def run(*words: str) -> str:
        host = ["--host", f"ollama={fake.url}", "-m", "llama3.2", "--force"]
        assert cli.main(["bench", *host, *_SMALL, *words]) == 0
        if "-o" not in words:
            return capfd.readouterr().out
        return Path(words[words.index("-o") + 1]).read_text(encoding="utf-8")

    return run


def test_it_prints_the_table(measured: _Measured) -> None:
    table = measured()
    assert table.startswith("llama3.2 (")
    assert "prompt tokens" in table and "at once" in table


def test_json_is_one_object_in_each_line(measured: _Measured) -> None:
    lines = [json.loads(line) for line in measured("--json").splitlines()]
    assert [line["type"] for line in lines] == ["environment", *["cell"] * 4]


def test_the_suffix_of_the_output_chooses_the_form(measured: _Measured, tmp_path: Path) -> None:
    page, text, lines = (str(tmp_path / name) for name in ("a.html", "a.txt", "a.JSONL"))
    assert measured("-o", page, "--json").startswith("<!DOCTYPE html>")
    assert measured("-o", text).startswith("llama3.2 (")
    measured("-o", lines)
    assert read_results(Path(lines)).environment.model == "llama3.2"


def test_it_compares_with_an_older_file(measured: _Measured, tmp_path: Path) -> None:
    old = tmp_path / "old.jsonl"
    old.write_text(to_jsonl(results()), encoding="utf-8")
    table = measured("--compare", str(old))
    assert "before" in table and "Differs:" in table
    page = measured("--compare", str(old), "-o", str(tmp_path / "page.html"))
    assert "Compared with before" in page


def _parse(*words: str) -> argparse.Namespace:
    parser = Parser("bench")
    bench._add_arguments(parser)
    return parser.parse_args([*words])


def test_the_quick_form_can_be_changed() -> None:
    plan = bench._plan(_parse("--quick", "--rounds", "3", "--at-once", ""))
    assert (plan.lengths, plan.at_once, plan.rounds) == ((128, 512), (), 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--compare", "missing.jsonl"], r"missing\.jsonl cannot be read"),
        (["--compare", "here.html"], r"here\.html, line 1: not a result of bench"),
        (["--compare", "old.jsonl", "--json"], "--compare cannot be used with JSONL"),
        (["--compare", "old.jsonl", "-o", "new.jsonl"], "--compare cannot be used with JSONL"),
        (["--rounds", "0"], "rounds has the value 0"),
        (["--lengths", "1"], "lengths has the value 1"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_sent(
    words: List[str],
    message: str,
    fake: FakeOllama,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.html").write_text("<!DOCTYPE html>", encoding="utf-8")
    assert cli.main(["bench", "--host", f"ollama={fake.url}", "-m", "llama3.2", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(message, err)
    assert fake.exchanges == []


@pytest.mark.parametrize("words", [["--rounds", "two"], ["--lengths", "1,x"], ["--at-once", "x"]])
def test_a_word_that_is_no_number_is_named(
    words: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *words]) == 2
    assert "is not a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "left"), [(None, 900.0), (100.0, 98.0), (10.0, 9.0)])
def test_the_deadline_leaves_time_for_writing(given: Optional[float], left: float) -> None:
    assert bench._deadline(given) == left
