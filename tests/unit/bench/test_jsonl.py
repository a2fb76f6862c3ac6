from __future__ import annotations

import json
from pathlib import Path

import pytest

from localproviders import ConfigurationError
from localproviders.bench import from_jsonl, read_results, to_jsonl
from tests.support.bench import results


def test_results_survive_a_file(tmp_path: Path) -> None:
    made = results(model="größer/模型")
    path = tmp_path / "r.jsonl"
    path.write_bytes(to_jsonl(made).encode("ascii"))
    assert read_results(path) == made
    assert read_results(str(path)) == made


def test_each_line_is_an_object_with_its_type() -> None:
    first, *cells = [json.loads(line) for line in to_jsonl(results()).splitlines()]
    assert (first["type"], first["format"], first["model"]) == ("environment", 1, "llama3.2")
    assert {cell["type"] for cell in cells} == {"cell"}
    assert cells[0]["figures"]["load_s"]["median"] > 0


def test_blank_lines_and_a_byte_order_mark_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + to_jsonl(results()).replace("\n", "\n\n").encode())
    assert read_results(path) == results()


_ENVIRONMENT = '{"type": "environment", "format": 1}'
_CELL = '{"type": "cell", "kind": "load"}'


@pytest.mark.parametrize(
    ("lines", "number", "why"),
    [
        (["{"], 1, "Expecting"),
        (["[]"], 1, "it is not an object"),
        ([_CELL], 1, "the first line"),
        ([_ENVIRONMENT, "", _ENVIRONMENT], 3, "only this line"),
        (['{"type": "environment", "format": 2}'], 1, "this version of localproviders reads 1"),
        (['{"type": "environment", "format": 1, "model": 3}'], 1, "model is 3"),
        ([_ENVIRONMENT, '{"type": "cell"}'], 2, "kind"),
        ([_ENVIRONMENT, _CELL[:-1]], 2, "Expecting"),
        ([_ENVIRONMENT, '{"type": "cell", "kind": "load", "notes": 3}'], 2, "int"),
        ([_ENVIRONMENT, '{"type": "cell", "kind": "load", "figures": 3}'], 2, "must be an object"),
        ([_ENVIRONMENT, '{"type": "cell", "kind": "load", "figures": {"load_s": 3}}'], 2, "no val"),
        ([_ENVIRONMENT, '{"type": "cell", "kind": "load", "speed": 3}'], 2, "no field 'speed'"),
        ([_ENVIRONMENT, "[" * 200_000], 2, ""),
    ],
)
def test_a_broken_line_names_file_and_line(lines: list, number: int, why: str) -> None:  # type: ignore[type-arg]  # Python 3.8
    with pytest.raises(ConfigurationError) as caught:
        from_jsonl("\n".join(lines), "old.jsonl")
    assert str(caught.value).startswith(f"old.jsonl, line {number}: not a result of bench: ")
    assert why in str(caught.value)
    assert "localproviders bench -o FILE.jsonl" in str(caught.value)


def test_an_empty_file_is_no_result() -> None:
    with pytest.raises(ConfigurationError, match=r"empty\.jsonl: not a result of bench"):
        from_jsonl("\n", "empty.jsonl")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.jsonl cannot be read: No such file"):
        read_results(tmp_path / "missing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"abc\xe4")
    with pytest.raises(ConfigurationError, match=r"latin.jsonl: .*byte 3 is not UTF-8"):
        read_results(tmp_path / "latin.jsonl")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ConfigurationError, match="it has more than 16777216 bytes"):
        read_results(path)
