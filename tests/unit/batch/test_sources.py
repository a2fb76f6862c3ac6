"""Files and iterables as sources of rows."""

from __future__ import annotations

import io
import os
import sys
import threading
from datetime import date
from pathlib import Path
from typing import Any, List

import pytest

from localproviders import ConfigurationError, Message
from localproviders.batch import sources
from localproviders.batch.sources import RowError, RowFile, open_source


def _values(file: RowFile) -> List[Any]:
    try:
        return [_value(file, raw) for raw in file.raw_rows()]
    finally:
        file.close()


def _value(file: RowFile, raw: Any) -> Any:
    try:
        return file.value(raw)
    except RowError as error:
        return error


def _of_file(path: Path, data: bytes) -> List[Any]:
    path.write_bytes(data)
    return _values(open_source(path, None))


def test_lines_of_json(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"a": 1}\r\n\n"text"\n  \n{"b": "\xc3\xa9"}'
    assert _of_file(tmp_path / "in.jsonl", data) == [{"a": 1}, "text", {"b": "é"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "it is not JSON: Expecting property name"),
        (b"[1]", "it is a list, and must be a text or an object"),
        (b"null", "it is null"),
        (b"5", "it is a number"),
        (b'"\xff"', "it is not UTF-8 text"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_is_an_error_of_its_row(line: bytes, reason: str, tmp_path: Path) -> None:
    first, error, last = _of_file(tmp_path / "in.jsonl", b'"a"\n' + line + b'\n"b"\n')
    assert (first, last) == ("a", "b")
    assert reason in str(error)


def test_a_line_that_is_too_long_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 100)
    first, error, last = _of_file(tmp_path / "in.jsonl", b'"a"\n' + b"x" * 1000 + b'\n"b"')
    assert (first, last) == ("a", "b")
    assert "longer than 100 bytes" in str(error)


def test_csv_and_tsv(tmp_path: Path) -> None:
    data = 'id,text\n1,"a,\n""b"""\n\n2,é\n'.encode("utf-8-sig")
    expected = [{"id": "1", "text": 'a,\n"b"'}, {"id": "2", "text": "é"}]
    assert _of_file(tmp_path / "in.csv", data) == expected
    assert _of_file(tmp_path / "in.tsv", b"id\ttext\n1\tx y\n") == [{"id": "1", "text": "x y"}]


def test_a_row_with_another_number_of_fields_is_an_error(tmp_path: Path) -> None:
    good, long, short = _of_file(tmp_path / "in.csv", b"id,text\n1,a\n2,b,c\n3\n")
    assert good == {"id": "1", "text": "a"}
    assert str(long) == "it has 3 fields instead of 2"
    assert str(short) == "it has 1 field instead of 2"


def test_a_long_field_of_csv_is_read(tmp_path: Path) -> None:
    (row,) = _of_file(tmp_path / "in.csv", b"id,text\n1," + b"x" * 300_000)
    assert len(row["text"]) == 300_000


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("in.csv", b"", "no first line with the names of its columns"),
        ("in.csv", b"a,b,a\n1,2,3\n", "two columns have the name 'a'"),
        ("in.csv", b"a\n\xff\n", "not UTF-8 text"),
        ("in.csv", b'a\n"b\n', "not CSV: unexpected end of data"),
        ("in.txt", b"", "no suffix that names its format"),
    ],
)
def test_a_file_that_cannot_be_read(name: str, data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        _of_file(tmp_path / name, data)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        open_source(tmp_path / "none.jsonl", None)


def test_an_iterable_of_texts_and_mappings() -> None:
    items = ["text", {"messages": [Message.user("Hi")]}, {"state": {"day": date(2026, 1, 2)}}]
    text, chat, state = _values(open_source(iter(items), None))
    assert text == "text"
    assert chat == {"messages": [{"role": "user", "content": "Hi"}]}
    assert state == {"state": {"day": "2026-01-02"}}


def test_an_item_that_is_no_row_is_an_error_of_its_row() -> None:
    items: Any = ["a", 5, {"x": object()}, {"x": float("nan")}, "b"]
    first, *bad, last = _values(open_source(items, None))
    assert (first, last) == ("a", "b")
    assert "must be a text or a mapping" in str(bad[0])
    assert all("cannot be written as JSON" in str(each) for each in bad)


class _Table:
    columns = ("a",)

    def __iter__(self) -> Any:
        return iter(self.columns)


@pytest.mark.parametrize("source", [b"x", {"a": 1}, 5, None, _Table()])
def test_other_sources_are_refused(source: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a path, or an iterable"):
        open_source(source, None)


def test_standard_input_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.TextIOWrapper(io.BytesIO(b'"a"\n"b"\n'))
    monkeypatch.setattr(sys, "stdin", data)
    file = open_source("-", None)
    assert [file.value(raw) for raw in file.raw_rows()] == ["a", "b"]
    assert len(list(file.raw_rows())) == 2  # it can be read again
    file.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: path.write_bytes(b'"a"\n"b"\n'))
    thread.start()
    file = open_source(path, None)
    thread.join()
    assert len(list(file.raw_rows())) == len(list(file.raw_rows())) == 2
    file.close()


def test_the_fingerprint_and_the_digests_change_with_the_content(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    found = set()
    for data in (b"id,a\n1,x\n", b"id,b\n1,x\n", b"id,a\n1,y\n"):
        path.write_bytes(data)
        file = open_source(path, None)
        found.add((file.fingerprint(), file.digest(next(iter(file.raw_rows())))))
        file.close()
    assert len({first for first, _ in found}) == len({second for _, second in found}) == 3


def test_another_line_feed_is_the_same_row(tmp_path: Path) -> None:
    digests = set()
    for data in (b'"a"\n', b'"a"\r\n', b'"a"'):
        (tmp_path / "in.jsonl").write_bytes(data)
        file = open_source(tmp_path / "in.jsonl", None)
        digests.update(map(file.digest, file.raw_rows()))
        file.close()
    assert len(digests) == 1


def test_rows_with_the_same_text_in_other_cells_have_other_digests(tmp_path: Path) -> None:
    texts = ("a\x1fb,c,d", "a,b\x1fc,d", "a,b,c\x1fd", "a\x1fb\x1fc,d,", ",a,b\x1fc\x1fd")
    digests = set()
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"x,y,z\n{text}\n")
        file = open_source(path, None)
        digests |= {file.digest(raw) for raw in file.raw_rows()}
        file.close()
    assert len(digests) == len(texts)
