"""Rows that cannot be sent are found without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from localproviders import ConfigurationError, batch


def test_only_rows_that_cannot_be_sent_are_returned(tmp_path: Path) -> None:
    rows = [
        "fine",
        {"id": "a", "messages": "fine"},
        {"id": "b", "mesages": "x"},
        {"id": "a", "text": "x"},
    ]
    first, second = batch.check(rows)
    assert (first.id, first.row) == ("b", 2)
    assert "row 2: it must have one of the fields" in str(first.error)
    assert (second.id, second.row) == ("a", 3)
    assert "its id 'a' is also that of row 1" in str(second.error)


def test_a_source_without_such_rows(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,text\n1,a\n2,b\n")
    assert batch.check(source) == []
    assert batch.check(source, template="{text}") == []
    assert batch.check(source, questions={"q": "Is it?"}) == []
    assert batch.check(source, id_field="text") != []


def test_a_source_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        batch.check(tmp_path / "none.jsonl")
