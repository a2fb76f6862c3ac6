"""The output of the command."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from localproviders.cli.output import Output, print_error
from localproviders.cli.usage import OutputError, UsageError


class _Screen(io.TextIOWrapper):
    """A terminal that keeps what was written."""

    def __init__(self, encoding: str) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding)

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_the_exact_text(capfdbinary: Any) -> None:
    output = Output()
    output.open()
    output.write("a\x1b[2J\tä\ud800")
    output.commit()
    assert capfdbinary.readouterr().out == b"a\x1b[2J\t\xc3\xa4\\ud800"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "a\\x1b[2J\tä\n"), ("ascii", None)])
def test_a_terminal_shows_escapes(encoding: str, shown: Any, monkeypatch: Any) -> None:
    screen = _Screen(encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    output = Output()
    assert output.is_terminal
    output.write_line("a\x1b[2J\tä")
    shown = shown or "a\\x1b[2J\t\\xe4\n"
    assert screen.bytes.getvalue() == shown.encode(encoding)


def test_an_encoding(capfdbinary: Any) -> None:
    Output(encoding="latin-1").write("ä€")
    assert capfdbinary.readouterr().out == b"\xe4\\u20ac"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "iso2022_jp"])
def test_an_encoding_with_a_mark_has_one_mark(encoding: str, capfdbinary: Any) -> None:
    output = Output(encoding=encoding)
    for part in ("あ", "b", "い\n"):
        output.write(part)
    assert capfdbinary.readouterr().out == "あbい\n".encode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16-le"])
def test_json_is_valid_in_every_encoding(encoding: str, capfdbinary: Any) -> None:
    value = {"a": "é😀€\ud800\x1b"}
    Output(encoding=encoding).write_json(value)
    assert json.loads(capfdbinary.readouterr().out.decode(encoding)) == value


def test_json_is_one_line(capfd: Any) -> None:
    output = Output()
    output.write_json({"a": "ä\n"})
    output.write_json({"a": "ä\ud800"})
    assert capfd.readouterr().out == '{"a": "ä\\n"}\n{"a": "\\u00e4\\ud800"}\n'


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    output = Output(str(path), encoding="utf-8")
    output.open()
    output.write("ä\x1b")
    assert not path.exists()
    output.commit()
    output.discard()
    assert path.read_bytes() == b"\xc3\xa4\x1b"


def test_a_file_that_is_not_complete_disappears(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "a.txt"))
    output.open()
    output.write("half")
    output.discard()
    assert os.listdir(tmp_path) == []


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(UsageError, match=r"exists already .hint: add --force"):
        Output(str(path)).open()
    output = Output(str(path), replace=True)
    output.open()
    output.write("new")
    output.commit()
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", ["missing/a.txt", "."])
def test_a_path_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        Output(str(tmp_path / name), replace=True).open()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk() -> None:
    output = Output("/dev/full")
    output.open()
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        output.write("a")
    output.discard()


def test_a_disk_that_is_full_at_the_end(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    output = Output(str(tmp_path / "a.txt"))
    output.open()
    output.write("a")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="No space left"):
        output.commit()
    output.discard()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_device_and_a_named_pipe_are_written_directly(tmp_path: Path) -> None:
    output = Output(os.devnull)
    output.open()
    output.write("a")
    output.commit()

    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    output = Output(str(path))
    output.open()
    output.write("a")
    output.commit()
    reader.join()
    assert read == [b"a"]


def test_standard_output_that_is_closed(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="standard output is closed"):
        Output().open()


def test_standard_error_that_is_closed_or_broken(monkeypatch: Any, capfd: Any) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    print_error("lost")
    broken = io.StringIO()
    broken.close()
    monkeypatch.setattr(sys, "stderr", broken)
    print_error("lost, too")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs /dev/fd")
@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_a_descriptor_is_written_and_its_file_is_not_replaced(name: str, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("before ")
    with path.open("ab") as log:
        output = Output(name.format(log.fileno()))
        output.open()
        output.write("after")
        output.commit()
    assert path.read_text() == "before after"
    assert os.listdir(tmp_path) == ["log.txt"]


def test_a_descriptor_that_is_not_open() -> None:
    with pytest.raises(UsageError, match="/dev/fd/999999' cannot be written: Bad file descriptor"):
        Output("/dev/fd/999999").open()


def test_standard_output_by_its_path(capfd: Any) -> None:
    output = Output("/dev/stdout")
    output.open()
    output.write("answer")
    output.commit()
    assert capfd.readouterr().out == "answer"


@pytest.mark.parametrize("name", ["new/", "a" * 300])
def test_a_name_that_no_file_can_have_is_found_before_the_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written: (it is a folder|File name too long)"):
        Output(f"{tmp_path}/{name}").open()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EIO, None])
def test_an_output_that_cannot_be_written_has_a_next_step(code: Any, tmp_path: Path) -> None:
    output = Output(str(tmp_path / "a b" / "c"))
    (tmp_path / "a b").mkdir()
    output.open()
    error = OSError(code, os.strerror(code)) if code else OSError()
    output._new.sync = lambda: (_ for _ in ()).throw(error)
    with pytest.raises(OutputError) as caught:
        output.sync()
    assert " (hint: " in str(caught.value)
    if code == errno.ENOSPC:
        assert f"df -h '{tmp_path}/a b'" in str(caught.value)
    output.discard()
