"""`read` and `status`, of finished and of unfinished outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from localproviders import ConfigurationError, IntegrityError, batch
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
