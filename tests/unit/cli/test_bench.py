"""The verb `bench`, with a small stand-in for the run of the command."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest

from localproviders import ConfigurationError, OllamaProvider
from localproviders.bench import read_results, to_jsonl
from localproviders.cli import bench
from localproviders.testing import FakeOllama
from tests.support.bench import results


class _Progress:
    def __init__(self) -> None:
        self.reports: List[Any] = []

    def report(self, done: int, total: int, title: str) -> None:
        self.reports.append((done, total, title))


class _Output:
    def __init__(self) -> None:
        self.lines: List[str] = []
        self.files: Dict[str, bytes] = {}

    def write_line(self, text: str) -> None:
        self.lines.append(text)

    def write_file(self, path: str, data: bytes) -> None:
        self.files[path] = data


class _Run:
    """The parts of a run that the verb uses."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.output, self.reported = _Output(), _Progress()

    @contextlib.contextmanager
    def provider(self, arguments: argparse.Namespace) -> Iterator[OllamaProvider]:
        with OllamaProvider(self._url, model=arguments.model) as found:
            yield found

    @contextlib.contextmanager
    def progress(self, total: Optional[int], unit: str) -> Iterator[_Progress]:
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
    run = _Run(fake.url)
    assert bench.run(_parse(*_SMALL, *words), run) == 0
    return run


def test_it_prints_the_table(fake: FakeOllama) -> None:
    run = _bench(fake)
    (text,) = run.output.lines
    assert text.startswith("llama3.2 (") and "prompt tokens" in text and "at once" in text
    done, total, title = run.reported.reports[-1]
    assert (done, title) == (total, "done")
    assert run.output.files == {}


def test_json_is_the_lines_of_the_file(fake: FakeOllama) -> None:
    (text,) = _bench(fake, "--json").output.lines
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["type"] for line in lines] == ["environment", *["cell"] * 4]


def test_the_suffix_of_the_output_chooses_the_form(fake: FakeOllama, tmp_path: Path) -> None:
    page, lines = str(tmp_path / "speed.html"), str(tmp_path / "speed.JSONL")
    assert _bench(fake, "-o", page).output.files[page].startswith(b"<!DOCTYPE html>")
    written = _bench(fake, "-o", lines).output.files[lines]
    (tmp_path / "speed.JSONL").write_bytes(written)
    assert read_results(lines).environment.model == "llama3.2"


def test_it_compares_with_an_older_file(fake: FakeOllama, tmp_path: Path) -> None:
    old = tmp_path / "old.jsonl"
    old.write_text(to_jsonl(results()), encoding="utf-8")
    page = str(tmp_path / "page.html")
    run = _bench(fake, "--compare", str(old), "-o", page)
    assert "before" in run.output.lines[0] and "Differs:" in run.output.lines[0]
    assert b"Compared with before" in run.output.files[page]


def test_the_quick_form_can_be_changed() -> None:
    plan = bench._plan(_parse("--quick", "--rounds", "3", "--at-once", ""))
    assert (plan.lengths, plan.at_once, plan.rounds) == ((128, 512), (), 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "speed.txt"], "the output 'speed.txt' ends in '.txt'"),
        (["-o", "speed"], "the output 'speed' ends in 'no suffix'"),
        (["-o", "here.html"], "the output 'here.html' exists"),
        (["--compare", "missing.jsonl"], "missing.jsonl cannot be read"),
        (["--compare", "here.html"], "here.html, line 1: not a result of bench"),
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
    with pytest.raises(ConfigurationError, match=message):
        bench.run(_parse(*words), _Run(fake.url))
    assert fake.exchanges == []


def test_force_replaces_an_output(fake: FakeOllama, tmp_path: Path) -> None:
    (tmp_path / "a.html").touch()
    path = str(tmp_path / "a.html")
    assert path in _bench(fake, "-o", path, "--force").output.files


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


def test_the_help_has_an_example_and_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = argparse.ArgumentParser(prog="localproviders bench")
    bench.add_arguments(parser)
    text = parser.format_help()
    assert len(text.splitlines()) <= 40 and "localproviders bench" in text
