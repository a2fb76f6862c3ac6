"""Sources of rows: files of JSON lines, CSV files, TSV files, and any iterable.

Every source is read as a file, from the beginning and as often as needed. An iterable and standard
input are first copied into a temporary file. So the number of rows is known before the first
request, all ids can be checked, and a long run does not keep a database cursor open. The form of a
file is its format: ``jsonl``, ``csv`` or ``tsv``.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
import tempfile
from hashlib import blake2b
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Union

from localproviders._record import plain
from localproviders._redact import count_with_noun
from localproviders.batch.manifest import digest_of
from localproviders.batch.paths import PathLike
from localproviders.errors import ConfigurationError
from localproviders.types.messages import as_messages

#: A source of rows.
Source = Union[PathLike, Iterable[Union[str, Mapping[str, Any]]]]

#: A row as it was read from its file: a line of JSON, or the fields of a row of CSV.
RawRow = Union[bytes, List[str]]

#: The form of a file, by its suffix.
FORMS: Mapping[str, str] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
STANDARD_INPUT = "-"

# Longest line, in bytes. A longer line is an error of its row, and is not read into memory.
MAX_LINE_BYTES = 32 * 1024 * 1024
_BLOCK = 1 << 18
_BOM = b"\xef\xbb\xbf"
# If an item of an iterable cannot be written as JSON, its line in the temporary file is this byte
# and the reason. No JSON text begins with this byte.
_BAD = b"!"


class SourcePath(os.PathLike):  # type: ignore[type-arg]  # cannot be subscripted before Python 3.9
    """A path of a source, with a form that may differ from the suffix of the path.

    Args:
        path: The path; ``-`` is standard input.
        form: ``jsonl``, ``csv`` or ``tsv``; None takes it from the suffix.
    """

    def __init__(self, path: str, form: Optional[str]) -> None:
        self.path = path
        self.form = form

    def __fspath__(self) -> str:
        return self.path


class RowError(ValueError):
    """A row that cannot be read."""


class RowFile:
    """The rows of a file.

    Args:
        file: The file, open in binary mode. It is closed by `close`.
        form: ``jsonl``, ``csv`` or ``tsv``.

    Attributes:
        form: The form.
        columns: The columns of a CSV or TSV file; None for lines of JSON.
    """

    def __init__(self, file: BinaryIO, form: str) -> None:
        self._file = file
        self.form: str = form
        self.columns: Optional[List[str]] = None
        self._seed = b""
        if form != "jsonl":
            with _closed_after_error(file):
                self.columns = self._read_columns()
            self._seed = _joined(self.columns) + b"\x1e"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def is_at(self, path: str) -> bool:
        """Return whether this file is the one at a path."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def fingerprint(self, size: Optional[int] = None) -> str:
        """Return a digest of the complete file, or of its first `size` bytes."""
        self._file.seek(0)
        found = blake2b(self.form.encode(), digest_size=16)
        end = sys.maxsize if size is None else size
        for data in iter(lambda: self._file.read(min(_BLOCK, end - self._file.tell())), b""):
            found.update(data)
        return found.hexdigest()

    @property
    def changed_ns(self) -> int:
        """Time of the last change of the file, in nanoseconds."""
        return os.fstat(self._file.fileno()).st_mtime_ns

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return os.fstat(self._file.fileno()).st_size

    def raw_rows(self) -> Iterator[RawRow]:
        """Yield all rows from the beginning. Blank lines are not rows.

        Raises:
            ConfigurationError: A CSV file cannot be decoded.
        """
        return self._lines() if self.columns is None else self._records()

    def _lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        if self._file.read(len(_BOM)) != _BOM:
            self._file.seek(0)
        # Without the limit, `readline` would read a file without line feeds into memory as a whole.
        for line in iter(lambda: self._file.readline(MAX_LINE_BYTES + 1), b""):
            if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                self._skip_line()
                yield line[: MAX_LINE_BYTES + 1]
            elif not line.isspace():
                yield line

    def _skip_line(self) -> None:
        for line in iter(lambda: self._file.readline(_BLOCK), b""):
            if line.endswith(b"\n"):
                return

    def _records(self) -> Iterator[List[str]]:
        reader = self._csv_reader()
        try:
            for number, fields in enumerate(reader):
                if number > 0 and fields:
                    yield fields
        except (csv.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None

    def _read_columns(self) -> List[str]:
        try:
            columns = next(self._csv_reader(), [])
        except (csv.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None
        if not columns:
            raise ConfigurationError(
                "the file has no first line with the names of its columns",
                hint="add a line such as: id,text",
            )
        repeated = next((name for name in columns if columns.count(name) > 1), None)
        if repeated is not None:
            raise ConfigurationError(f"two columns have the name {repeated!r}")
        return columns

    def _csv_reader(self) -> Iterator[List[str]]:
        self._file.seek(0)
        # This limit applies to the whole process, so it is only raised, never lowered.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
        unclosed: Any = _Unclosed(self._file)
        text = io.TextIOWrapper(unclosed, encoding="utf-8-sig", newline="")
        return csv.reader(text, delimiter=_DELIMITERS[self.form], strict=True)

    def _unreadable(self, error: Exception) -> ConfigurationError:
        if isinstance(error, UnicodeDecodeError):
            return ConfigurationError(
                "the file is not UTF-8 text",
                hint="convert it first: iconv -f WINDOWS-1252 -t UTF-8 IN > OUT",
            )
        return ConfigurationError(f"the file is not {self.form.upper()}: {error}")

    # --- one row ------------------------------------------------------------------------------

    def digest(self, raw: RawRow) -> int:
        """Return the digest of a row's content."""
        if isinstance(raw, bytes):
            return digest_of(raw.rstrip(b"\r\n"))
        return digest_of(self._seed + _joined(raw))

    def value(self, raw: RawRow) -> Any:
        """Return a row as a Python value: a text, or a mapping.

        Raises:
            RowError: The row cannot be read.
        """
        if isinstance(raw, bytes):
            return _value_of_line(raw)
        columns = self.columns or []
        if len(raw) != len(columns):
            fields = count_with_noun(len(raw), "field")
            raise RowError(f"it has {fields} instead of {len(columns)}")
        return dict(zip(columns, raw))


def _joined(cells: List[str]) -> bytes:
    """Return a list of cells as bytes. Two different lists never have the same bytes."""
    text = "\x1f".join(cells)
    if text.count("\x1f") != len(cells) - 1 or "\x1e" in text:  # a cell has a separator
        text = json.dumps(cells)
    return text.encode("utf-8", "surrogatepass")


@contextlib.contextmanager
def _closed_after_error(file: BinaryIO) -> Iterator[None]:
    """Close a file if the block raises."""
    try:
        yield
    except BaseException:
        file.close()
        raise


class _Unclosed(io.BufferedIOBase):
    """A wrapper that keeps its file open when `io.TextIOWrapper` closes the wrapper."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1) -> bytes:
        return self._file.read(_BLOCK if size < 0 else size)

    def read(self, size: Optional[int] = -1) -> bytes:
        return self._file.read(-1 if size is None else size)


def _value_of_line(line: bytes) -> Any:
    if len(line) > MAX_LINE_BYTES:
        raise RowError(f"it is longer than {MAX_LINE_BYTES:,} bytes")
    if line.startswith(_BAD):
        raise RowError(str(json.loads(line[1:])))
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise RowError("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise RowError(f"it is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise RowError("its JSON is nested too deeply") from None
    if not isinstance(value, (str, dict)):
        raise RowError(f"it is {_JSON_NAMES[type(value)]}, and must be a text or an object")
    return value


_JSON_NAMES: Mapping[type, str] = {
    list: "a list",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


# --- opening ----------------------------------------------------------------------------------


def open_source(
    source: Source,
    folder: Optional[str],
    form: Optional[str] = None,
    timed: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> RowFile:
    """Open a source of rows.

    Args:
        source: A path, ``-`` for standard input, or an iterable of texts and mappings.
        folder: Folder for a temporary copy; None uses the system's temporary folder.
        form: ``jsonl``, ``csv`` or ``tsv``; None takes it from the suffix of the path. Standard
            input is then read as lines of JSON.
        timed: Wraps an iterable source, to measure how long it takes to produce its items.

    Raises:
        ConfigurationError: The file cannot be read, or the source is no path and no iterable.
    """
    if isinstance(source, (str, os.PathLike)):
        form = source.form if isinstance(source, SourcePath) else form
        if os.fspath(source) == STANDARD_INPUT:
            return RowFile(_copied(sys.stdin.buffer, folder), form or "jsonl")
        return _open_path(os.fspath(source), form, folder)
    if isinstance(source, (bytes, bytearray, Mapping)) or not isinstance(source, Iterable):
        kind = "a table" if hasattr(source, "columns") else type(source).__name__
        raise ConfigurationError(
            f"source is {kind}, and must be a path, or an iterable of texts and mappings",
            hint='pass rows as a list, such as frame.to_dict("records")',
        )
    if hasattr(source, "columns"):  # iterating over it would yield the names of its columns
        raise ConfigurationError(
            "source is a table, and must be a path, or an iterable of texts and mappings",
            hint='pass frame.to_dict("records"), or frame.to_dicts() of polars',
        )
    return RowFile(_spooled(timed(source), folder), "jsonl")


def _open_path(path: str, form: Optional[str], folder: Optional[str]) -> RowFile:
    form = form or FORMS.get(os.path.splitext(path)[1].lower())
    if form is None:
        raise ConfigurationError(
            f"{path!r} has no suffix that names its format", hint="use .jsonl, .csv or .tsv"
        )
    try:
        file = open(path, "rb")  # noqa: SIM115  # closed by `RowFile.close`
    except OSError as error:
        raise ConfigurationError(f"{path!r} cannot be read: {error.strerror}") from None
    if file.seekable():
        return RowFile(file, form)
    with file:  # a named pipe can be read only once
        return RowFile(_copied(file, folder), form)


def _copied(stream: BinaryIO, folder: Optional[str]) -> BinaryIO:
    file = _temporary(folder)
    with _closed_after_error(file):
        for data in iter(lambda: stream.read(_BLOCK), b""):
            file.write(data)
        file.flush()  # so that its size and its time are known
    return file


def _spooled(items: Iterable[Any], folder: Optional[str]) -> BinaryIO:
    """Write the items of an iterable as lines of JSON."""
    file = _temporary(folder)
    with _closed_after_error(file):
        for item in items:
            file.write(_line_of(item))
        file.flush()
    return file


def _temporary(folder: Optional[str]) -> BinaryIO:
    # The file has no name, so it disappears even if the process is killed.
    return tempfile.TemporaryFile(dir=folder)  # closed by `RowFile.close`


def _line_of(item: Any) -> bytes:
    try:
        return _json_of(item)
    except (TypeError, ValueError) as error:
        reason = f"it cannot be written as JSON: {error}"
        return _BAD + json.dumps(reason).encode() + b"\n"


def _json_of(item: Any) -> bytes:
    if not isinstance(item, (str, Mapping)):
        raise TypeError(f"it is {type(item).__name__}, and must be a text or a mapping")
    try:
        return json.dumps(item, allow_nan=False).encode() + b"\n"
    except TypeError:  # it contains a value that JSON cannot represent, such as an image or a date
        if isinstance(item, str):
            raise
    found: Dict[str, Any] = dict(item)
    if "messages" in found:
        found["messages"] = [message.to_dict() for message in as_messages(found["messages"])]
    return json.dumps(plain(found), allow_nan=False).encode() + b"\n"
