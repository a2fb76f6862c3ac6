"""Vectors as output: a matrix in the order of the rows, and their ids."""

from __future__ import annotations

import ast
import json
import os
import struct
from array import array
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple, Union

import pytest

from localproviders import (
    ConfigurationError,
    EmbeddingError,
    EmbeddingResponse,
    IntegrityError,
    ProviderError,
    batch,
    errors,
)
from localproviders.batch.audit import load_ledger, records_of
from localproviders.batch.journal import FAILED, SUCCEEDED
from localproviders.batch.ledger import Ledger
from localproviders.batch.manifest import Manifest, SourceFacts
from localproviders.batch.paths import RunPaths
from localproviders.batch.results import BatchRecord
from localproviders.batch.rows import Row
from localproviders.batch.store import Entry, Store
from localproviders.batch.vectors import VectorLines, matrix_head
from tests.unit.batch.support import Ollama, lines_of


@pytest.fixture(params=[False, True], ids=["as-they-arrive", "ordered"])
def ollama(ollama: Ollama, request: pytest.FixtureRequest) -> Ollama:
    """Return a server whose runs write the results as they arrive, or in the order of the rows."""
    ollama.options["ordered"] = request.param
    return ollama


def _texts(count: int) -> List[Any]:
    return [{"id": f"r{number}", "text": f"text {number}"} for number in range(count)]


def _matrix(path: Path) -> List[Tuple[float, ...]]:
    """Read a file in numpy's format."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    size = int.from_bytes(data[8:10], "little")
    assert (10 + size) % 64 == 0
    head = ast.literal_eval(data[10 : 10 + size].decode())
    assert (head["descr"], head["fortran_order"]) == ("<f4", False)
    rows, columns = head["shape"]
    numbers = struct.unpack_from(f"<{rows * columns}f", data, 10 + size)
    return [numbers[row * columns : (row + 1) * columns] for row in range(rows)]


def _ids(path: Path) -> List[Any]:
    return lines_of(Path(f"{path}.ids.jsonl"))


def _run(ollama: Ollama, rows: List[Any], output: Path, **options: Any) -> Any:
    return ollama.run(rows, output, model="nomic-embed-text", **options)


def _poison(ollama: Ollama, *numbers: int) -> None:
    for number in numbers:
        ollama.server.poison(f"text {number}")


def test_the_matrix_has_the_order_of_the_rows(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    report = _run(ollama, _texts(150), output)
    assert (report.succeeded, report.exit_code) == (150, 0)
    texts = [row["text"] for row in _texts(150)]
    expected = ollama.provider.embed(texts, model="nomic-embed-text").embeddings
    assert [list(row) for row in _matrix(output)] == expected
    assert _ids(output) == [{"id": f"r{number}"} for number in range(150)]
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert _run(ollama, _texts(150), output).skipped == 150
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failed_row_has_no_numbers_and_its_error_is_beside_it(
    ollama: Ollama, tmp_path: Path
) -> None:
    output = tmp_path / "out.npy"
    ollama.server.poison("text 2")
    rows: List[Any] = [*_texts(5), {"id": "chat", "messages": "x", "model": "llama3.2"}]
    report = _run(ollama, rows, output)
    assert (report.succeeded, report.failed) == (4, 2)
    matrix, ids = _matrix(output), _ids(output)
    assert [row[0] != row[0] for row in matrix] == [False, False, True, False, False, True]
    assert [line["id"] for line in ids] == ["r0", "r1", "r2", "r3", "r4", "chat"]
    assert "error" not in ids[1]
    assert "has no vector" in ids[5]["error"]["message"]
    ollama.server.heal()
    assert _run(ollama, rows, output, retry_failed=ConfigurationError).asked_again == 1
    assert ids[2] == _ids(output)[2]
    classes = [EmbeddingError, getattr(errors, ids[2]["error"]["code"])]
    report = _run(ollama, rows, output, retry_failed=classes)
    assert (report.succeeded, report.failed, report.asked_again) == (5, 1, 1)
    assert not any(row[0] != row[0] for row in _matrix(output)[:5])
    assert "error" not in _ids(output)[2]


def test_a_stopped_run_goes_on(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    ollama.server.poison("text 0")
    assert _run(ollama, _texts(100), output, max_failures=0, concurrency=1).stopped == "failures"
    assert _matrix(output) == []  # the vectors after the head do not count yet
    ollama.server.heal()
    report = _run(ollama, _texts(100), output)
    assert (report.succeeded, report.failed) == (99, 1)
    assert len(_matrix(output)) == len(_ids(output)) == 100
    report = _run(ollama, _texts(103), output, retry_failed=True)
    assert (report.succeeded, len(_matrix(output)), len(_ids(output))) == (103, 103, 103)


def test_vectors_of_another_length_are_an_error(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    rows = _texts(3)
    rows[1]["dimensions"] = 4
    report = _run(ollama, rows, output, concurrency=1)
    assert (report.succeeded, report.failed) == (2, 1)
    assert "has 4 dimensions, but earlier vectors have" in _ids(output)[1]["error"]["message"]


# Vectors with and without zero bytes: a changed byte of one of them must not look like bytes that a
# power failure has lost.
_VECTORS = (
    [0.0] * 96,
    [1.5, 0.0, 0.0, *[-2.25] * 93],
    [0.1] * 96,
    [*[1e-30] * 95, 0.0],
    [0.0, *[3.0] * 95],
    [*[0.0] * 95, 1.0],
)


def _killed(path: Path, marked: int) -> List[int]:
    """Write the files of a run that was killed; return the states of its rows.

    Args:
        path: Path of the output.
        marked: Number of vectors before the last mark.
    """
    form, store = VectorLines(), Store(RunPaths(path), None)
    store.put_head(form.head())
    store.put_manifest(Manifest.make(store.ledger.run, {}, SourceFacts(len(_VECTORS), 1, "x")))
    states = []
    for number, vector in enumerate(_VECTORS):
        response = EmbeddingResponse(vectors=(array("f", vector),), model="m", provider="p")
        error = ProviderError("no") if number == 3 else None
        value = None if error else response
        record = BatchRecord(
            id=f"r{number}", row=number, error=error, kind="embedding", value=value
        )
        assert form.problem(record) is None if value else True
        line = form.line(record, Row(number, record.id, None, None))
        states.append(FAILED if error else SUCCEEDED)
        store.add([Entry(number, 7, states[-1], line)])
        if number + 1 == marked:
            store.mark()
    store.close()
    return states


def _loaded(paths: RunPaths) -> Union[Ledger, IntegrityError]:
    try:
        return load_ledger(paths)
    except IntegrityError as error:
        return error


@pytest.mark.sample(2)
@pytest.mark.parametrize("marked", [0, 2, 6])
@pytest.mark.parametrize("suffix", ["", ".journal", ".failures"])
def test_a_changed_byte_of_a_killed_run_is_found_and_named(
    suffix: str, marked: int, tmp_path: Path
) -> None:
    output = tmp_path / "out.npy"
    states = _killed(output, marked)
    paths, changed = RunPaths(output), Path(f"{output}{suffix}")
    good = changed.read_bytes()
    for place, byte in enumerate(good):
        for other in {byte ^ 1, byte ^ 0x80, 0} - {byte}:
            changed.write_bytes(good[:place] + bytes([other]) + good[place + 1 :])
            ledger = _loaded(paths)
            if isinstance(ledger, IntegrityError):
                assert ledger.path == str(changed)
                continue
            # A zero byte at the end of a sector, or of the file, may have been lost in a power
            # failure. Then neither this row nor a later one has a result.
            assert other == 0
            assert suffix != ".journal"
            found = [ledger.state_of(row) for row in range(len(states))]
            count = sum(map(bool, found))
            assert found == [*states[:count], *[0] * (len(states) - count)]
            extent = ledger.output if suffix == "" else ledger.failures
            assert extent.size <= place
    changed.write_bytes(good)
    assert load_ledger(paths).records > len(states)


def test_vectors_that_were_lost_in_a_power_failure_are_left_out(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    _killed(output, 2)
    good, paths = output.read_bytes(), RunPaths(output)
    records = records_of(paths.journal)
    ends = [each.offset + each.length for each in records if each.state == SUCCEEDED]
    for size in range(ends[1], len(good)):
        # The rest of the file was lost, or a part up to the end of a sector.
        sector = size // 512 * 512 + 512
        for rest in (b"", bytes(len(good) - size), bytes(sector - size) + good[sector:]):
            output.write_bytes((good[:size] + rest)[: len(good)])
            found = load_ledger(paths).rows[SUCCEEDED].count
            assert found == sum(end <= size for end in ends)


_FILES = ("", ".journal", ".manifest", ".ids.jsonl")


def _finished(ollama: Ollama, output: Path, rows: int = 5) -> Path:
    _poison(ollama, 2)
    _run(ollama, _texts(rows), output)
    ollama.server.heal()
    return output


@pytest.mark.parametrize("use", ["status", "merge", "run", "run with more rows", "retry"])
@pytest.mark.parametrize("suffix", _FILES)
def test_a_changed_byte_of_a_finished_run_is_found_and_named(
    suffix: str, use: str, ollama: Ollama, tmp_path: Path
) -> None:
    output = _finished(ollama, tmp_path / "out.npy")
    uses: Dict[str, Callable[[], object]] = {
        "status": lambda: batch.status(output),
        "merge": lambda: batch.merge([output], tmp_path / "all.npy", force=True),
        "run": lambda: _run(ollama, _texts(5), output),
        "run with more rows": lambda: _run(ollama, _texts(7), output),
        "retry": lambda: _run(ollama, _texts(5), output, retry_failed=True),
    }
    changed = Path(f"{output}{suffix}")
    good = changed.read_bytes()
    for place in range(0, len(good), 1 if use == "status" else 29):
        bad = good[:place] + bytes([good[place] ^ 0x20]) + good[place + 1 :]
        changed.write_bytes(bad)
        with pytest.raises(IntegrityError) as caught:
            uses[use]()
        assert caught.value.path in (str(changed), f"{output}.manifest")
        assert changed.read_bytes() == bad  # nothing is written over it
    os.remove(changed)
    if suffix != ".journal":
        with pytest.raises(IntegrityError):
            uses[use]()
    changed.write_bytes(good)
    uses[use]()


@pytest.mark.parametrize("more", [{}, {"retry_failed": True}])
def test_the_ids_are_checked_while_a_later_run_is_not_finished(
    more: Any, ollama: Ollama, tmp_path: Path
) -> None:
    output = _finished(ollama, tmp_path / "out.npy")
    _poison(ollama, 2, 5)
    stopped = _run(ollama, _texts(300), output, max_failures=0, concurrency=1, **more)
    assert stopped.stopped == "failures"
    ids = Path(f"{output}.ids.jsonl")
    good = ids.read_bytes()
    ids.write_bytes(good.replace(b"r3", b"r4"))
    for use in (lambda: batch.status(output), lambda: _run(ollama, _texts(300), output)):
        with pytest.raises(IntegrityError, match=r"out\.npy\.ids\.jsonl' was changed"):
            use()
    ids.write_bytes(good)
    report = _run(ollama, _texts(300), output)
    assert (report.succeeded, report.failed) == (298, 2)
    assert [number for number, line in enumerate(_ids(output)) if "error" in line] == [2, 5]


def test_parts_that_are_not_finished_are_not_merged(ollama: Ollama, tmp_path: Path) -> None:
    parts = [tmp_path / f"part{number}.npy" for number in (1, 2)]
    _poison(ollama, 1)
    _run(ollama, _texts(300), parts[0], shard=(1, 2))
    report = _run(ollama, _texts(300), parts[1], shard=(2, 2), max_failures=0, concurrency=1)
    assert report.stopped == "failures"
    with pytest.raises(ConfigurationError, match=r"part2\.npy' is not finished"):
        batch.merge(parts, tmp_path / "all.npy")
    assert _run(ollama, _texts(300), parts[1], shard=(2, 2)).stopped is None
    _run(ollama, _texts(300), parts[1], shard=(2, 2), retry_failed=True, deadline_s=1e-9)
    assert batch.status(parts[1]).stopped == "deadline"
    assert batch.merge(parts, tmp_path / "all.npy").failed == 1
    assert _run(ollama, _texts(300), parts[1], shard=(2, 2)).stopped is None
    assert batch.status(parts[1]).stopped is None


def test_a_merged_matrix_is_complete_for_a_later_run(ollama: Ollama, tmp_path: Path) -> None:
    parts = [tmp_path / f"part{number}.npy" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        _poison(ollama, 1)
        _run(ollama, _texts(6), part, shard=(number, 2))
    ollama.server.heal()
    output = tmp_path / "all.npy"
    batch.merge(parts, output)
    before = output.read_bytes()
    assert _run(ollama, _texts(6), output).skipped == 5
    assert output.read_bytes() == before
    assert _run(ollama, _texts(7), output, retry_failed=True).succeeded == 7
    assert len(_matrix(output)) == 7


def test_shards_are_merged(ollama: Ollama, tmp_path: Path) -> None:
    ollama.server.poison("text 4")
    parts = [tmp_path / f"part{number}.npy" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        _run(ollama, _texts(11), part, shard=(number, 3))
    output, whole = tmp_path / "all.npy", tmp_path / "whole.npy"
    report = batch.merge(parts, output)
    assert (report.succeeded, report.failed) == (10, 1)
    _run(ollama, _texts(11), whole)
    assert output.read_bytes()[:128] == whole.read_bytes()[:128]
    good = [row for row in range(11) if row != 4]
    assert [_matrix(output)[row] for row in good] == [_matrix(whole)[row] for row in good]
    assert [line["id"] for line in _ids(output)] == [f"r{number}" for number in range(11)]
    assert "error" in _ids(output)[4]
    Path(f"{parts[1]}.ids.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(IntegrityError, match=r"part2\.npy\.ids\.jsonl' was changed"):
        batch.merge(parts, output, force=True)


def test_rows_that_all_failed(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    assert ollama.run(["a chat"], output).failed == 1
    assert _matrix(output) == [()]
    assert json.dumps(_ids(output)).count("ConfigurationError") == 1


def test_the_head_has_a_fixed_size() -> None:
    assert {len(matrix_head(*shape)) for shape in ((0, 0), (10**12, 10**6))} == {128}


def test_the_first_answer_decides_the_length_of_the_vectors_of_failed_rows(
    ollama: Ollama, tmp_path: Path
) -> None:
    output = tmp_path / "out.npy"
    _poison(ollama, 0, 1, 2)
    assert _run(ollama, _texts(3), output).failed == 3
    assert _matrix(output) == [(), (), ()]  # the length is not known
    ollama.server.heal()
    report = _run(ollama, _texts(5), output)
    assert (report.succeeded, report.failed, report.skipped) == (2, 3, 0)
    assert [row[0] != row[0] for row in _matrix(output)] == [True, True, True, False, False]
    assert len({len(row) for row in _matrix(output)}) == 1
    assert ["error" in line for line in _ids(output)] == [True, True, True, False, False]
