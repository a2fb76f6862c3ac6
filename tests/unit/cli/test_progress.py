"""Progress on standard error: a bar, plain lines, or nothing."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any, List, Optional

import pytest

from localproviders import DependencyError
from localproviders.cli.progress import BYTES, PERCENT, Bar, Lines, Meter, amount, make_meter
from localproviders.testing import FakeOllama
from tests.support.model_command import at_terminal, run


class _Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _lines(total: Optional[float], unit: str, clock: _Clock, written: List[str]) -> Lines:
    return Lines("lp embed", total, unit, clock=clock, write=written.append)


def test_a_line_is_written_at_first_and_then_every_ten_seconds() -> None:
    clock = _Clock()
    written: List[str] = []
    with _lines(100, "texts", clock, written) as meter:
        for second in range(31):
            clock.now_s = float(second)
            meter.advance()
    assert len(written) == 4
    assert written[0] == "lp embed: 1 of 100 texts (1%)"
    assert written[1].startswith("lp embed: 11 of 100 texts (11%), about ")


def test_a_line_names_the_step_and_the_time_that_is_left() -> None:
    clock = _Clock()
    written: List[str] = []
    meter = _lines(None, BYTES, clock, written)
    clock.now_s = 60
    meter.set(1e9, 4e9, "pulling\x1b[2J")
    assert written == ["lp embed: 1.0 of 4.0 GB (25%), pulling\\x1b[2J, about 3 min left"]


@pytest.mark.parametrize(
    ("done", "total", "unit", "expected"),
    [
        (0, None, BYTES, ""),
        (5e6, None, BYTES, "5.0 MB"),
        (5e6, 1e9, BYTES, "0.0 of 1.0 GB (0%)"),
        (24, 100, PERCENT, "24%"),
        (3, 0, "texts", "3 texts"),
        (7, 5, "texts", "7 of 5 texts (100%)"),
    ],
)
def test_an_amount_is_one_text(
    done: float, total: Optional[float], unit: str, expected: str
) -> None:
    assert amount(done, total, unit) == expected


class _Stream(io.StringIO):
    encoding = "utf-8"
    is_terminal = True

    def isatty(self) -> bool:
        return self.is_terminal


def _stderr(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool = True) -> _Stream:
    """Replace standard error. A fixture cannot: pytest replaces it again before the test."""
    made = _Stream()
    made.is_terminal = is_terminal
    monkeypatch.setattr(sys, "stderr", made)
    return made


@pytest.fixture
def _no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)


@pytest.mark.usefixtures("_no_tqdm")
class TestWithoutTqdm:
    @pytest.mark.parametrize(
        ("how", "is_terminal", "expected"),
        [
            ("auto", True, Lines),
            ("auto", False, Meter),
            ("lines", False, Lines),
            ("none", True, Meter),
        ],
    )
    def test_the_meter(
        self, how: str, is_terminal: bool, expected: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _stderr(monkeypatch, is_terminal=is_terminal)
        assert type(make_meter(how, "t", 1, "texts")) is expected

    def test_a_bar_that_was_asked_for_is_an_error(self) -> None:
        with pytest.raises(DependencyError, match="needs tqdm") as caught:
            make_meter("bar", "t", 1, "texts")
        assert "--progress lines" in (caught.value.hint or "")


def test_closed_standard_error_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert type(make_meter("lines", "t", 1, "texts")) is Meter


class TestBar:
    @pytest.fixture(autouse=True)
    def _tqdm(self) -> None:
        pytest.importorskip("tqdm")

    def test_it_is_the_choice_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = _stderr(monkeypatch)
        with make_meter("auto", "lp pull", None, BYTES) as meter:
            assert type(meter) is Bar
            meter.set(5e6, 1e7, "pulling")
        assert "lp pull" in stream.getvalue()

    def test_it_starts_no_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _stderr(monkeypatch)
        before = threading.active_count()
        with make_meter("bar", "lp pull", 10, "texts") as meter:
            meter.advance()
            assert threading.active_count() == before

    def test_an_error_of_standard_error_does_not_end_the_work(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Broken(_Stream):
            def write(self, _: str) -> int:
                raise BrokenPipeError

        monkeypatch.setattr(sys, "stderr", Broken())
        with make_meter("bar", "lp pull", 10, "texts") as meter:
            for _ in range(10):
                meter.advance()
        assert meter.done == 10


@pytest.mark.parametrize(
    ("words", "is_shown"),
    [([], False), (["--progress", "lines"], True), (["--progress", "lines", "-q"], False)],
)
def test_progress_is_on_standard_error_only(words: List[str], is_shown: bool) -> None:
    with FakeOllama() as fake:
        done = run("pull", "ollama/llama3.2", *words, OLLAMA_HOST=fake.url)
    assert done.code == 0
    assert done.out.startswith("pulled ollama/llama3.2") and done.out.count("\n") == 1
    assert ("pulling" in done.err) is is_shown


def test_a_terminal_gets_progress_without_an_option() -> None:
    with FakeOllama() as fake:
        done = at_terminal("pull", "ollama/llama3.2", OLLAMA_HOST=fake.url)
    assert done.code == 0
    assert "localproviders pull" in done.out and "pulled ollama/llama3.2" in done.out
