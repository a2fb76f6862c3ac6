"""A changed file of a run is found and named; the torn end of a killed run is left out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from localproviders import ConfigurationError, IntegrityError, ModelNotFoundError, batch
from localproviders.batch.audit import load_ledger
from localproviders.batch.journal import HEADER_SIZE, RECORD_SIZE, SUCCEEDED
from localproviders.batch.manifest import Manifest, SourceFacts
from localproviders.batch.paths import RunPaths
from localproviders.batch.store import Entry, Store
from tests.unit.batch.support import Ollama, chats

_SUFFIXES = ("", ".journal", ".manifest")


def _line(row: int) -> bytes:
    text = (
        '{{"custom_id":"r{0}","response":null,"error":{{"code":"ServerError","message":"{0}"}}}}\n'
    )
    return text.format(row).encode()


def _store(path: Path, rows: int, *, marked: int = 0) -> Store:
    """Return an open store with results, of which the first ones are before a mark."""
    store = Store(RunPaths(path), None)
    store.put_manifest(Manifest.make(store.ledger.run, {}, SourceFacts(rows, 1, "x")))
    for row in range(rows):
        store.add([Entry(row, row * 7, SUCCEEDED, _line(row))])
        if row + 1 == marked:
            store.mark()
    return store


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    store = _store(tmp_path / "out.jsonl", 12)
    store.end("complete")
    store.close()
    return tmp_path / "out.jsonl"


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    store = _store(tmp_path / "out.jsonl", 12, marked=6)
    store.close()
    return tmp_path / "out.jsonl"


_USES: List[Any] = [
    pytest.param(lambda path: list(batch.read(path)), id="read"),
    pytest.param(batch.status, id="status"),
    pytest.param(lambda path: batch.merge([path], f"{path}.all.jsonl"), id="merge"),
]


def _refused(use: Callable[[Path], object], path: Path) -> IntegrityError:
    with pytest.raises(IntegrityError) as caught:
        use(path)
    return caught.value


@pytest.mark.parametrize("use", _USES)
@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_a_changed_byte_anywhere_is_found_and_named(
    use: Callable[[Path], object], suffix: str, finished: Path
) -> None:
    changed = Path(f"{finished}{suffix}")
    good = changed.read_bytes()
    for place in range(0, len(good), 1 if use is batch.status else 17):
        bad = bytearray(good)
        bad[place] ^= 0x20
        changed.write_bytes(bad)
        error = _refused(use, finished)
        assert error.path in (str(changed), f"{finished}.manifest")
        if suffix == "":
            assert error.line == good[:place].count(b"\n") + 1
    changed.write_bytes(good)
    use(finished)


@pytest.mark.parametrize("suffix", ["", ".journal"])
def test_a_changed_byte_is_found_in_what_a_killed_run_has_written_too(
    suffix: str, killed: Path
) -> None:
    changed = Path(f"{killed}{suffix}")
    good = changed.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 0x01
        changed.write_bytes(bad)
        assert _refused(batch.status, killed).path == str(changed)


def test_a_zero_byte_within_a_sector_is_found(killed: Path) -> None:
    good = killed.read_bytes()
    assert 512 < len(good) < 1024
    for place in range(len(good)):
        killed.write_bytes(good[:place] + b"\0" + good[place + 1 :])
        if place in (511, len(good) - 1) and place >= len(b"".join(map(_line, range(6)))):
            # A power failure may have lost this byte, so the rows from here on have no result.
            rows = load_ledger(RunPaths(killed)).rows[SUCCEEDED].count
            assert rows == good[:place].count(b"\n")
        else:
            assert _refused(batch.status, killed).path == str(killed)


def test_a_line_that_was_cut_out_or_added_is_found(finished: Path) -> None:
    lines = finished.read_bytes().splitlines(keepends=True)
    for number in range(len(lines)):
        finished.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
        error = _refused(batch.status, finished)
        assert (error.path, error.line) == (str(finished), number + 1)
    finished.write_bytes(b"".join([*lines, lines[0]]))
    assert _refused(batch.status, finished).line == len(lines) + 1


def test_a_record_that_was_cut_out_is_found(finished: Path) -> None:
    journal = Path(f"{finished}.journal")
    good = journal.read_bytes()
    places = range(HEADER_SIZE, len(good) - RECORD_SIZE, RECORD_SIZE)
    for place in places:
        journal.write_bytes(good[:place] + good[place + RECORD_SIZE :])
        assert _refused(batch.status, finished).path == str(journal)


def test_two_lines_that_changed_places_are_found(finished: Path) -> None:
    lines = finished.read_bytes().splitlines(keepends=True)
    lines[3], lines[4] = lines[4], lines[3]
    finished.write_bytes(b"".join(lines))
    assert _refused(batch.status, finished).line == 4


@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_a_file_of_another_run_is_found(suffix: str, finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    store = _store(other, 12)
    store.add([Entry(0, 0, SUCCEEDED, _line(99))])
    store.end("complete")
    store.close()
    shutil.copy(f"{other}{suffix}", f"{finished}{suffix}")
    _refused(batch.status, finished)


@pytest.mark.parametrize("suffix", ["", ".manifest"])
def test_a_missing_file_is_found(suffix: str, finished: Path) -> None:
    os.remove(f"{finished}{suffix}")
    assert _refused(batch.status, finished).path == f"{finished}{suffix}"


def test_the_end_of_a_finished_journal_cannot_be_cut_off(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(5), output)
    journal = Path(f"{output}.journal")
    good = journal.read_bytes()
    count = (len(good) - HEADER_SIZE) // RECORD_SIZE
    for kept in range(1, count):
        journal.write_bytes(good[: HEADER_SIZE + kept * RECORD_SIZE])
        try:
            report = batch.status(output)
        except IntegrityError:
            continue
        assert (report.succeeded, kept >= count - 2) == (5, True)


def _cuts(path: Path) -> Iterator[bytes]:
    good = path.read_bytes()
    for size in range(len(good) - 1, -1, -1):
        yield good[:size]


def test_after_a_torn_end_of_the_journal_the_earlier_records_count(killed: Path) -> None:
    journal = Path(f"{killed}.journal")
    for data in _cuts(journal):
        journal.write_bytes(data)
        if len(data) < HEADER_SIZE + RECORD_SIZE:
            return
        ledger = load_ledger(RunPaths(killed))
        assert ledger.records == (len(data) - HEADER_SIZE) // RECORD_SIZE
        assert ledger.output.size <= killed.stat().st_size


def test_lines_after_the_last_mark_may_be_lost_in_a_power_failure(killed: Path) -> None:
    good = killed.read_bytes()
    safe = len(b"".join(map(_line, range(6))))
    for size in range(len(good), safe - 1, -1):
        for lost in (b"", bytes(len(good) - size)):
            killed.write_bytes(good[:size] + lost)
            rows = load_ledger(RunPaths(killed)).rows[SUCCEEDED].count
            assert rows == good[:size].count(b"\n")


def test_lines_before_the_last_mark_cannot_be_lost(killed: Path) -> None:
    good = killed.read_bytes()
    killed.write_bytes(good[: len(_line(0)) * 5])
    assert _refused(batch.status, killed).line == 6


def test_zero_bytes_at_the_end_of_the_journal_are_a_torn_end(killed: Path) -> None:
    journal = Path(f"{killed}.journal")
    good = journal.read_bytes()
    journal.write_bytes(good[: -2 * RECORD_SIZE] + bytes(2 * RECORD_SIZE))
    assert load_ledger(RunPaths(killed)).rows[SUCCEEDED].count == 10


def test_a_lost_sector_at_the_end_of_the_journal_is_a_torn_end(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    _store(output, 40, marked=6).close()
    journal = Path(f"{output}.journal")
    good = journal.read_bytes()
    sectors = range(512, len(good), 512)
    assert any((place - HEADER_SIZE) % RECORD_SIZE for place in sectors)  # it begins in a record
    for place in sectors:
        for size in (place, len(good)):  # the rest of the file is missing, or is zero
            journal.write_bytes(good[:place] + bytes(size - place))
            assert load_ledger(RunPaths(output)).records == (place - HEADER_SIZE) // RECORD_SIZE


@pytest.mark.parametrize("force", [False, True])
def test_results_without_their_records_are_not_overwritten(
    force: bool, ollama: Ollama, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(5), output)
    journal = Path(f"{output}.journal")
    good, results = journal.read_bytes(), output.read_bytes()
    for data in (b"", good[:30], good[:HEADER_SIZE], good[: HEADER_SIZE + RECORD_SIZE]):
        journal.write_bytes(data)
        for use in (
            lambda: ollama.run(chats(5), output, force=force),
            lambda: batch.status(output),
            lambda: batch.merge([output], tmp_path / "all.jsonl"),
            lambda: list(batch.read(output)),
        ):
            with pytest.raises(IntegrityError, match="its records are missing") as caught:
                use()
            assert caught.value.path == str(journal)
        assert output.read_bytes() == results


def test_a_run_that_was_killed_at_its_beginning_has_no_results(
    ollama: Ollama, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    ollama.run(chats(5), output)
    journal, manifest = Path(f"{output}.journal"), Path(f"{output}.manifest")
    good, head = journal.read_bytes(), b"id,answer,error\r\n"
    manifest.unlink()
    for data in (b"", bytes(40), good[:30], bytes(HEADER_SIZE), good[:HEADER_SIZE]):
        for begun in (b"", head[:4], head):
            journal.write_bytes(data)
            output.write_bytes(begun)
            for use in (
                lambda: batch.status(output),
                lambda: batch.merge([output], tmp_path / "all.csv"),
            ):
                with pytest.raises(ConfigurationError, match="ended before it had a result"):
                    use()
            assert ollama.run(chats(2), output).succeeded == 2
            assert output.read_bytes().startswith(head)
            manifest.unlink()


def test_the_manifest_of_a_removed_run_is_not_used(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(5), output)
    output.unlink()
    Path(f"{output}.journal").unlink()
    with pytest.raises(ModelNotFoundError):
        ollama.run(chats(2), output, model="none")
    report = ollama.run(chats(2), output, temperature=1)
    assert (report.rows, report.succeeded) == (2, 2)
