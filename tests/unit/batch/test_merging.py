"""Outputs of shards are joined, and each row is proved to be there once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List

import pytest

from localproviders import ConfigurationError, IntegrityError, batch
from tests.unit.batch.support import Ollama, chats, lines_of


def _shards(
    ollama: Ollama, folder: Path, rows: int = 20, count: int = 3, **options: Any
) -> List[Path]:
    paths = [folder / f"part{number}.jsonl" for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        ollama.run(chats(rows), path, shard=(number, count), **options)
    return paths


def test_the_union_is_exact(ollama: Ollama, tmp_path: Path) -> None:
    parts = _shards(ollama, tmp_path)
    assert [batch.status(part).rows for part in parts] == [7, 7, 6]
    output = tmp_path / "all.jsonl"
    report = batch.merge(parts, output)
    assert (report.rows, report.succeeded, report.failed) == (20, 20, 0)
    assert report.usage.completion_tokens == 60
    assert [line["custom_id"] for line in lines_of(output)] == [f"r{n}" for n in range(20)]
    assert len(ollama.texts()) == 20
    assert batch.status(output) == report
    assert ollama.run(chats(20), output).skipped == 20  # a later run accepts it


def test_tables_have_their_first_line_once(ollama: Ollama, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,text\n" + "".join(f"{n},t{n}\n" for n in range(5)))
    parts = [tmp_path / f"part{number}.csv" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        ollama.run(source, part, template="{text}", shard=(number, 2))
    batch.merge(parts, tmp_path / "all.csv")
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", "0", "1", "2", "3", "4"]


def test_a_missing_part_is_named_by_its_first_row(ollama: Ollama, tmp_path: Path) -> None:
    first, _, third = _shards(ollama, tmp_path)
    with pytest.raises(ConfigurationError, match="row 1 is in no part, and 7 of 20 rows"):
        batch.merge([first, third], tmp_path / "all.jsonl")
    assert not (tmp_path / "all.jsonl").exists()
    assert not any(".new" in path.name for path in tmp_path.iterdir())


def test_a_part_that_is_not_finished_is_named(ollama: Ollama, tmp_path: Path) -> None:
    first, second, third = _shards(ollama, tmp_path)
    for path in tmp_path.glob("part2*"):
        path.unlink()
    ollama.run(chats(20), second, shard=(2, 3), deadline_s=1e-9)
    with pytest.raises(ConfigurationError, match="row 1 is in no part"):
        batch.merge([first, second, third], tmp_path / "all.jsonl")


def test_a_part_cannot_be_there_twice(ollama: Ollama, tmp_path: Path) -> None:
    parts = _shards(ollama, tmp_path, concurrency=1)  # in the order of the rows
    with pytest.raises(IntegrityError, match=r"row 0 is in .* and in another part"):
        batch.merge([*parts, parts[0]], tmp_path / "all.jsonl")


def test_a_changed_part_is_found(ollama: Ollama, tmp_path: Path) -> None:
    parts = _shards(ollama, tmp_path, concurrency=1)  # in the order of the rows
    parts[1].write_bytes(parts[1].read_bytes().replace(b"r4", b"r5"))
    with pytest.raises(IntegrityError) as caught:
        batch.merge(parts, tmp_path / "all.jsonl")
    assert (caught.value.path, caught.value.line) == (str(parts[1]), 2)


def test_parts_of_different_runs_are_refused(ollama: Ollama, tmp_path: Path) -> None:
    first, _, third = _shards(ollama, tmp_path)
    other = tmp_path / "other.jsonl"
    ollama.run(chats(20), other, shard=(2, 3), temperature=1)
    with pytest.raises(ConfigurationError, match=r"other arguments .*: temperature"):
        batch.merge([first, other, third], tmp_path / "all.jsonl")
    batch.merge([first, other, third], tmp_path / "all.jsonl", force=True)
    longer = tmp_path / "longer.jsonl"
    ollama.run(chats(21), longer, shard=(2, 3))
    with pytest.raises(ConfigurationError, match="the results of another source"):
        batch.merge([first, longer, third], tmp_path / "all2.jsonl", force=True)


def test_outputs_that_cannot_be_written(ollama: Ollama, tmp_path: Path) -> None:
    parts = _shards(ollama, tmp_path)
    (tmp_path / "all.jsonl").write_text("precious\n")
    with pytest.raises(ConfigurationError, match="exists"):
        batch.merge(parts, tmp_path / "all.jsonl")
    with pytest.raises(ConfigurationError, match="is one of the parts"):
        batch.merge(parts, parts[0], force=True)
    with pytest.raises(ConfigurationError, match="different formats"):
        batch.merge(parts, tmp_path / "all.csv")
    with pytest.raises(ConfigurationError, match="there is no part to merge"):
        batch.merge([], tmp_path / "all2.jsonl")
    shutil.copy(parts[0], tmp_path / "copy.jsonl")
    with pytest.raises(ConfigurationError, match="has no journal"):
        batch.merge([tmp_path / "copy.jsonl"], tmp_path / "all2.jsonl")
    batch.merge(parts, tmp_path / "all.jsonl", force=True)
    assert len(lines_of(tmp_path / "all.jsonl")) == 20
