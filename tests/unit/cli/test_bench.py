"""The verb `bench`, with a small stand-in for the run of the command."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Iterator, List, Optional

import pytest

from localproviders import ConfigurationError, OllamaProvider
from localproviders.bench import read_results, to_jsonl
from localproviders.cli import bench
from localproviders.testing import FakeOllama
from tests.support.bench import results


class _Progress:
    def __init__(self) -> None:
        self.done: List[int] = []

    def update(self, done: int) -> None:
        self.done.append(done)


class _Output:
    def __init__(self) -> None:
        self.text = ""

    def write_line(self, text: str) -> None:
        self.text += f"{text}\n"


class _Run:
    """The parts of a run that the verb uses."""

    def __init__(self, url: str, arguments: argparse.Namespace) -> None:
        self._url, self._arguments = url, arguments
        self.output, self.reported, self.total = _Output(), _Progress(), 0

    def provider(self) -> OllamaProvider:
        return OllamaProvider(self._url, model=self._arguments.model)

    @contextlib.contextmanager
    def progress(self, total: int, unit: str) -> Iterator[_Progress]:
        self.total = total
        yield self.reported


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    with FakeOllama() as found:
        found.usual = "word " * 80
        yield found


def _parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench")
    bench.add_arguments(parser)
    parser.add_argument("-m", "--model", default="llama3.2")
    parser.add_argument("-o", "--output")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--deadline", type=float)
    return parser.parse_args([*words])


_SMALL = ("--lengths", "64", "--at-once", "1,2", "--rounds", "1", "--max-tokens", "16")


def _bench(fake: FakeOllama, *words: str) -> _Run:
    arguments = _parse(*_SMALL, *words)
    run = _Run(fake.url, arguments)
    assert bench.run(arguments, run) == 0
    return run


def test_it_prints_the_table(fake: FakeOllama) -> None:
    run = _bench(fake)
    assert run.output.text.startswith("llama3.2 (")
    assert "prompt tokens" in run.output.text and "at once" in run.output.text
    assert run.reported.done[-1] == run.total > 0


def test_json_is_one_object_in_each_line(fake: FakeOllama) -> None:
    lines = [json.loads(line) for line in _bench(fake, "--json").output.text.splitlines()]
    assert [line["type"] for line in lines] == ["environment", *["cell"] * 4]


def test_the_suffix_of_the_output_chooses_the_form(fake: FakeOllama, tmp_path: Path) -> None:
    assert _bench(fake, "-o", "speed.html", "--json").output.text.startswith("<!DOCTYPE html>")
    assert _bench(fake, "-o", "speed.txt").output.text.startswith("llama3.2 (")
    (tmp_path / "a.jsonl").write_text(_bench(fake, "-o", "a.JSONL").output.text, encoding="utf-8")
    assert read_results(tmp_path / "a.jsonl").environment.model == "llama3.2"


def test_it_compares_with_an_older_file(fake: FakeOllama, tmp_path: Path) -> None:
    old = tmp_path / "old.jsonl"
    old.write_text(to_jsonl(results()), encoding="utf-8")
    table = _bench(fake, "--compare", str(old)).output.text
    assert "before" in table and "Differs:" in table
    page = _bench(fake, "--compare", str(old), "-o", "page.html").output.text
    assert "Compared with before" in page


def test_the_quick_form_can_be_changed() -> None:
    plan = bench._plan(_parse("--quick", "--rounds", "3", "--at-once", ""))
    assert (plan.lengths, plan.at_once, plan.rounds) == ((128, 512), (), 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--compare", "missing.jsonl"], r"missing\.jsonl cannot be read"),
        (["--compare", "here.html"], r"here\.html, line 1: not a result of bench"),
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
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.html").write_text("<!DOCTYPE html>", encoding="utf-8")
    arguments = _parse(*words)
    with pytest.raises(ConfigurationError, match=message):
        bench.run(arguments, _Run(fake.url, arguments))
    assert fake.exchanges == []


@pytest.mark.parametrize("words", [["--rounds", "two"], ["--lengths", "1,x"], ["--at-once", "x"]])
def test_a_word_that_is_no_number_is_named(
    words: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _parse(*words)
    assert "is not a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "left"), [(None, 900.0), (100.0, 98.0), (10.0, 9.0)])
def test_the_deadline_leaves_time_for_writing(given: Optional[float], left: float) -> None:
    assert bench._deadline(given) == left


def test_the_help_has_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = argparse.ArgumentParser(prog="localproviders bench", description=bench.DESCRIPTION)
    bench.add_arguments(parser)
    text = parser.format_help() + bench.EXAMPLE
    assert len(text.splitlines()) <= 32  # the core adds the options that all verbs have
