"""The files of a run: the order of writing, marks, and the end of the failures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, List

import pytest

from localproviders.batch import appending
from localproviders.batch.audit import load_ledger
from localproviders.batch.journal import (
    CLOSED,
    FAILED,
    HEADER_SIZE,
    RECORD_SIZE,
    RETRYABLE,
    SUCCEEDED,
    UNSETTLED,
)
from localproviders.batch.paths import RunPaths
from localproviders.batch.store import Entry, Store, state_of


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _entry(row: int, state: int = SUCCEEDED) -> Entry:
    return Entry(row, row, state, f"line {row}\n".encode(), 1, 2)


def test_lines_come_before_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = RunPaths(tmp_path / "out.jsonl")
    store = Store(paths, None)
    written: List[int] = []
    write = os.write
    monkeypatch.setattr(
        appending.os, "write", lambda fd, data: written.append(len(data)) or write(fd, data)
    )
    store.add([_entry(0), _entry(1)])
    store.close()
    assert written == [len("line 0\nline 1\n"), 2 * RECORD_SIZE]


def test_a_mark_after_a_hundred_rows_or_a_second(tmp_path: Path) -> None:
    clock = _Clock()
    store = Store(RunPaths(tmp_path / "out.jsonl"), None, clock)
    marks = []
    for row in range(250):
        store.add([_entry(row)])
        if store.mark_if_due():
            marks.append(row)
    assert marks == [99, 199]
    clock.now += 1
    assert store.mark_if_due()
    clock.now += 5
    assert not store.mark_if_due()  # nothing was written since then
    store.close()


def test_the_disk_is_written_at_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: List[int] = []
    monkeypatch.setattr(appending, "_sync", synced.append)
    store = Store(RunPaths(tmp_path / "out.jsonl"), None)
    store.add([_entry(0), _entry(1, FAILED)])
    assert synced == []
    store.mark(sync_journal=False)
    assert len(synced) == 2  # the output and the failures
    store.mark()
    assert len(synced) == 3
    store.close()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = RunPaths(tmp_path / "out.jsonl")
    store = Store(paths, None)
    store.add([_entry(0)])
    sizes = [os.path.getsize(path) for path in (paths.output, paths.journal)]
    write, left = os.write, [1]

    def fail(descriptor: int, data: Any) -> int:
        if not left:
            raise OSError(28, "No space left on device")
        left.pop()
        return write(descriptor, data[:3])

    monkeypatch.setattr(appending.os, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        store.add([_entry(1)])
    monkeypatch.undo()
    assert [os.path.getsize(path) for path in (paths.output, paths.journal)] == sizes
    store.add([_entry(2)])  # nothing more is written
    store.end("disk")
    store.close()
    assert load_ledger(paths).rows[SUCCEEDED].count == 1


def test_the_last_failure_of_each_row_is_copied_at_the_end(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "out.jsonl")
    store = Store(paths, None)
    store.add([_entry(0), _entry(1, FAILED), _entry(2, RETRYABLE), _entry(3, RETRYABLE)])
    store.add([Entry(2, 2, FAILED, b"last 2\n"), _entry(3)])
    store.close_failures()
    store.end("complete")
    store.close()
    assert sorted(Path(paths.output).read_text().splitlines()) == [
        "last 2",
        "line 0",
        "line 1",
        "line 3",
    ]
    ledger = load_ledger(paths)
    assert {state: rows.count for state, rows in ledger.rows.items() if rows.count} == {
        SUCCEEDED: 2,
        CLOSED: 2,
    }
    assert ledger.superseded == 0


def test_changed_rows_have_no_result_and_their_lines_are_superseded(tmp_path: Path) -> None:
    store = Store(RunPaths(tmp_path / "out.jsonl"), None)
    store.add([_entry(row) for row in range(300)])
    store.note_changed(range(0, 300, 2))
    store.end("cancelled")
    store.close()
    ledger = load_ledger(RunPaths(tmp_path / "out.jsonl"))
    assert (ledger.rows[SUCCEEDED].count, ledger.superseded) == (150, 150)
    assert (ledger.state_of(0), ledger.state_of(1)) == (0, SUCCEEDED)
    assert ledger.ended == "cancelled"


def test_a_store_goes_on_after_the_last_record(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "out.jsonl")
    store = Store(paths, None)
    store.add([_entry(0)])
    store.close()
    with open(paths.output, "ab") as output, open(paths.journal, "ab") as journal:
        output.write(b"a line without a rec")
        journal.write(b"half a record")
    store = Store(paths, load_ledger(paths))
    store.add([_entry(1)])
    store.close()
    assert Path(paths.output).read_text() == "line 0\nline 1\n"
    assert os.path.getsize(paths.journal) == HEADER_SIZE + 2 * RECORD_SIZE
    assert load_ledger(paths).rows[SUCCEEDED].count == 2


def test_tokens_and_rows_begun(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "out.jsonl")
    store = Store(paths, None)
    store.begun = 7
    store.add([_entry(0), _entry(1)])
    store.mark()
    store.close()
    ledger = load_ledger(paths)
    assert (ledger.prompt_tokens, ledger.completion_tokens, ledger.begun) == (2, 4, 7)


@pytest.mark.parametrize(
    ("is_success", "may_go_away", "is_ordered", "state"),
    [
        (True, False, False, SUCCEEDED),
        (True, False, True, SUCCEEDED),
        (False, True, False, RETRYABLE),
        (False, False, False, FAILED),
        (False, True, True, UNSETTLED),
        (False, False, True, CLOSED),
    ],
)
def test_states(is_success: bool, may_go_away: bool, is_ordered: bool, state: int) -> None:
    assert state_of(is_success, may_go_away, is_ordered) == state
