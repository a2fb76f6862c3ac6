"""`read` and `status`, of finished and of unfinished outputs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, Callable, List

import pytest

from localproviders import ConfigurationError, IntegrityError, batch
from localproviders.batch.audit import load_ledger
from localproviders.testing import Refusal
from tests.unit.batch.support import Ollama, chats

_NO = Refusal(status="400 Bad Request", body={"error": "no"})


def test_records_are_read_as_they_were_written(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run([*chats(5), {"bad": 1}], output)
    found = {record.id: record for record in batch.read(output)}
    assert sorted(found) == ["5", "r0", "r1", "r2", "r3", "r4"]
    response = found["r3"].response
    assert (found["r3"].row, response.text) == (3, "Hello there, friend.")
    assert (response.model, response.provider) == ("llama3.2", "ollama")
    assert response.usage.completion_tokens == 3
    assert response.digest is not None
    with pytest.raises(ConfigurationError, match="row 5: it must have one of the fields"):
        found["5"].response  # noqa: B018  # it raises


def test_an_unfinished_output_has_the_latest_record_of_each_row(
    ollama: Ollama, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    ollama.server.reply_with("fine", _NO, _NO)
    report = ollama.run(chats(9), output, concurrency=1, max_failures=1)
    assert report.stopped == "failures"
    found = {record.id: record.error is None for record in batch.read(output)}
    assert found == {"r0": True, "r1": False, "r2": False}
    status = batch.status(output)
    assert (status.rows, status.succeeded, status.failed) == (9, 1, 2)
    assert (status.stopped, status.exit_code) == ("failures", 13)
    rows = chats(9)
    rows[0]["messages"] = "changed"
    ollama.server.reply_with("newer")
    ollama.run(rows, output, concurrency=1, max_failures=0)
    texts = [record.response.text for record in batch.read(output) if record.id == "r0"]
    assert texts == ["newer"]


def test_compact_lines_can_be_read(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run([*chats(2), {"bad": 1}], output, compact=True)
    texts = [record.response.text for record in batch.read(output) if record.error is None]
    assert texts == ["Hello there, friend."] * 2


def test_a_copy_without_its_journal_is_read_as_it_is(ollama: Ollama, tmp_path: Path) -> None:
    ollama.run(chats(3), tmp_path / "out.jsonl")
    copy = tmp_path / "copy.jsonl"
    shutil.copy(tmp_path / "out.jsonl", copy)
    assert len(list(batch.read(copy))) == 3
    with pytest.raises(ConfigurationError, match="has no journal"):
        batch.status(copy)
    copy.write_text('{"other": 1}\n')
    with pytest.raises(IntegrityError, match="no result in line 1: it has no id"):
        list(batch.read(copy))


def test_files_that_cannot_be_read(ollama: Ollama, tmp_path: Path) -> None:
    ollama.run(chats(1), tmp_path / "out.csv")
    with pytest.raises(ConfigurationError, match="is not a file of JSON lines"):
        batch.read(tmp_path / "out.csv")
    for use in (batch.read, batch.status):
        with pytest.raises(ConfigurationError, match="does not exist"):
            use(tmp_path / "none.jsonl")


def test_status_of_a_table(ollama: Ollama, tmp_path: Path) -> None:
    ollama.run(chats(4), tmp_path / "out.csv")
    assert batch.status(tmp_path / "out.csv").succeeded == 4


def test_reading_changes_nothing(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.server.reply_with(_NO)
    ollama.run(chats(5), output, max_failures=0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    list(batch.read(output))
    batch.status(output)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# Functions that `status`, `read` and `merge` call. Before each of them, a run may replace files.
_STEPS = [
    "localproviders.batch.rewriting.for_reading",
    "localproviders.batch.audit._read_journal",
    "localproviders.batch.audit._first_torn",
    "localproviders.batch.reading.read_manifest",
    "localproviders.batch.reading.check_ids",
    "localproviders.batch.rewriting._write_index",
    "localproviders.batch.rewriting._files_of",
]


def _interrupt(monkeypatch: pytest.MonkeyPatch, name: str, work: Callable[[], object]) -> List[int]:
    """Do some work before the first call of a function; return a list that then has an item."""
    module, _, function = name.rpartition(".")
    original, done = getattr(sys.modules[module], function), []

    def interrupted(*args: Any, **options: Any) -> Any:
        if not done:
            done.append(1)
            monkeypatch.setattr(name, original)
            work()
        return original(*args, **options)

    monkeypatch.setattr(name, interrupted)
    return done


def _rows(suffix: str, count: int) -> List[Any]:
    if suffix == ".npy":
        return [{"id": f"r{n}", "text": f"text {n}", "model": _EMBEDDER} for n in range(count)]
    return chats(count)


_EMBEDDER = "nomic-embed-text"


@pytest.mark.parametrize("count", [6, 9])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".npy"])
@pytest.mark.parametrize("step", _STEPS)
def test_status_is_right_while_a_run_replaces_files(
    step: str,
    suffix: str,
    count: int,
    ollama: Ollama,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / f"out{suffix}"
    ollama.run([*_rows(suffix, 5), {"id": "bad", "bad": 1}], output)
    done = _interrupt(
        monkeypatch, step, lambda: ollama.run(_rows(suffix, count), output, retry_failed=True)
    )
    found = batch.status(output)
    if done:
        assert (found.succeeded, found.failed) in ((5, 1), (count, 0))
    assert batch.status(output).failed == (0 if done else 1)


@pytest.mark.parametrize("first", [{}, {"max_failures": 0, "concurrency": 1}])
@pytest.mark.parametrize("step", _STEPS)
def test_records_are_right_while_a_run_replaces_files(
    step: str, first: Any, ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    ollama.server.reply_with("old", _NO)
    ollama.run(chats(6), output, **first)
    before = {record.id: str(record) for record in batch.read(output)}
    ollama.server.reply_with("new")
    done = _interrupt(
        monkeypatch, step, lambda: ollama.run(chats(9), output, retry_failed=True, concurrency=1)
    )
    records = batch.read(output)
    if not done:  # the run comes after all files were opened
        monkeypatch.undo()
        ollama.run(chats(9), output, retry_failed=True)
    found = [(record.id, str(record)) for record in records]
    assert len({name for name, _ in found}) == len(found)
    after = {record.id: str(record) for record in batch.read(output)}
    assert len(after) == 9
    assert dict(found) in (before, after)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".npy"])
@pytest.mark.parametrize("step", _STEPS)
def test_a_part_that_changes_while_it_is_merged_is_not_used(
    step: str, suffix: str, ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [tmp_path / f"part{number}{suffix}" for number in (1, 2)]
    rows = [*_rows(suffix, 5), {"id": "bad", "bad": 1}]
    for number, part in enumerate(parts, 1):
        ollama.run(rows, part, shard=(number, 2))
    output = tmp_path / f"all{suffix}"
    done = _interrupt(
        monkeypatch,
        step,
        lambda: ollama.run(_rows(suffix, 6), parts[1], shard=(2, 2), retry_failed=True),
    )
    try:
        report = batch.merge(parts, output)
    except ConfigurationError as error:
        assert "another source" in error.message or "a run writes to" in error.message  # noqa: PT017
        assert done
        assert not output.exists()
    else:
        assert (report.succeeded, report.failed) == (5, 1)


def test_a_real_change_is_found_while_a_run_writes(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(5), output)
    output.write_bytes(output.read_bytes().replace(b"r3", b"r4"))
    touched = []

    def touch(*args: Any) -> Any:
        touched.append(1)
        with open(f"{output}.failures", "ab") as file:
            file.write(b"x")
        return load_ledger(*args)

    monkeypatch.setattr("localproviders.batch.audit.load_ledger", touch)
    for use in (batch.status, batch.read):
        with pytest.raises(IntegrityError, match="was changed"):
            use(output)
    assert 2 < len(touched) < 100
