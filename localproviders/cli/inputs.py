"""Reads the inputs of a verb: a text on the command line, files, standard input, or rows."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shlex
import stat
import sys
from argparse import Namespace
from typing import (
    Any,
    BinaryIO,
    Callable,
    ContextManager,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
)

from localproviders._redact import count_with_noun
from localproviders._template import Template
from localproviders.cli.usage import UsageError

_STDIN = "standard input"
# The format of a file whose whole text is one input.
_WHOLE = "text"
#: The format of a file by its suffix, if ``--input`` names no format.
_SUFFIXES = {".jsonl": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
# The field of a row that is sent if there is no template.
_TEXT_FIELD = "text"
_ENCODING_HINT = "name its encoding, such as --encoding latin-1"


class Input(NamedTuple):
    """One input of a verb.

    Attributes:
        name: Name of the input in messages, such as ``mails.csv`` or ``row 3 of mails.csv``.
        value: The text, or the row: a mapping, or any JSON value.
        file: Name of the file; empty for the text of the command line.
    """

    name: str
    value: Any
    file: str = ""

    @property
    def is_row(self) -> bool:
        """Whether the input is one of the rows of its file."""
        return self.name != self.file and bool(self.file)

    @property
    def is_file(self) -> bool:
        """Whether the input is a whole file of ``-f``."""
        return self.name == self.file != _STDIN


def read_inputs(
    arguments: Namespace, *, is_piped_in: bool = False, default: str = _WHOLE
) -> Iterator[Input]:
    """Yield the inputs. Each row is yielded when it has been read, before its file or pipe ends.

    The text on the command line is one input. Each file is one input, or each row of a file is one.
    Standard input is read if there is neither a text nor a file.

    Args:
        arguments: The parsed arguments. ``text`` has the words of the text on the command line.
        is_piped_in: Whether the text is an instruction for the inputs. If so, the text is not an
            input, and without ``-f``, standard input is read if it is a pipe, a socket or a file.
        default: The format of a file if neither ``--input`` nor its suffix names one.

    Raises:
        UsageError: There is no input, or an input cannot be read, is empty or has a wrong format.
    """
    files = list(arguments.file)
    words = " ".join(arguments.text)
    if arguments.text and not words.strip():  # such as an empty variable of a shell
        raise UsageError("the text is empty", hint="leave it out to read standard input")
    try:
        _check_surrogates(words)
    except ValueError:  # Python turns an invalid byte into half of a surrogate pair
        hint = "put the text into a file, and pass -f FILE --encoding NAME"
        raise UsageError("the text is not valid in the encoding of the locale", hint=hint) from None
    if words and files and not is_piped_in:
        raise UsageError("a text and -f cannot be used together", hint="leave one of them out")
    if words and not files and not (is_piped_in and has_piped_input(arguments)):
        yield Input("the text", "" if is_piped_in else words)
        return
    for file in files or ["-"]:
        yield from _read_file(file, _form_of(file, arguments, default), arguments)


def has_many_inputs(arguments: Namespace) -> bool:
    """Return whether the inputs are rows or several files, so that some of them may fail."""
    files = arguments.file or ([] if arguments.text else ["-"])
    forms = [_form_of(file, arguments, _WHOLE) for file in files]
    return len(forms) > 1 or any(form != _WHOLE for form in forms)


def has_piped_input(arguments: Namespace) -> bool:
    """Return whether standard input is a pipe, a socket or a file, and may be read."""
    if arguments.no_input or sys.stdin is None:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # closed, or replaced by an object without a descriptor
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def as_text(found: Input, template: Optional[Template]) -> str:
    """Return the text of an input: the text itself, or the template filled from its row.

    Without a template, the text of a row is its field ``text``, or else its only field.

    Raises:
        ConfigurationError: The row lacks a field of the template; or there is no template, and the
            input has no such text.
    """
    value = found.value
    if template is not None:
        row = value if isinstance(value, Mapping) else {_TEXT_FIELD: value}
        return template.fill(row, found.name)
    if isinstance(value, Mapping):
        fields = [key for key in value if key == _TEXT_FIELD] or list(value)
        value = value[fields[0]] if len(fields) == 1 else None
    if not isinstance(value, str):
        raise UsageError(
            f"{found.name} is no text", hint="say what to send: --template 'Sort {title}: {body}'"
        )
    return value


def template_of(arguments: Namespace) -> Optional[Template]:
    """Return the template of ``--template``, or None.

    Raises:
        ConfigurationError: The template has a brace that is not closed.
    """
    return Template(arguments.template) if arguments.template is not None else None


def read_text(path: str, encoding: str, hint: str = _ENCODING_HINT) -> str:
    """Return the text of a whole file, such as the file of ``--grammar``.

    Args:
        path: The path of the file.
        encoding: The encoding of the file.
        hint: The next step if the file has another encoding.

    Raises:
        UsageError: The file cannot be read, is empty, or is not text in this encoding.
    """
    with _open(path) as file:
        return _decode_all(file, path, encoding, hint)


# --- files and their rows ------------------------------------------------------------------


def _form_of(path: str, arguments: Namespace, default: str) -> str:
    suffix = os.path.splitext(path)[1].lower()
    return str(arguments.input or _SUFFIXES.get(suffix, default))


def _read_file(path: str, form: str, arguments: Namespace) -> Iterator[Input]:
    name = _STDIN if path == "-" else path
    with _open_input(path, arguments) as file:
        if form == _WHOLE:
            yield Input(name, _decode_all(file, name, arguments.encoding), name)
            return
        is_empty = True
        lines = _decoded_lines(file, name, arguments.encoding)
        for found in _READERS[form](lines, name, form):
            is_empty = False
            yield found
        if is_empty:
            raise UsageError(f"{name} has no rows")


def _open_input(path: str, arguments: Namespace) -> ContextManager[BinaryIO]:
    if path != "-":
        return _open(path)
    if arguments.no_input:
        raise UsageError("there is no input, because --no-input forbids reading standard input")
    if sys.stdin is None:
        raise UsageError("standard input is closed", hint="pass a text, or -f FILE")
    return contextlib.nullcontext(sys.stdin.buffer)


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")  # the callers close it
    except OSError as error:
        words = f"{path!r} cannot be read: {error.strerror or error}"
        raise UsageError(words, hint=f"ls -ld {shlex.quote(path)}") from None
    except ValueError as error:  # a null character in the path
        raise UsageError(f"{path!r} cannot be read: {error}") from None


def _read(file: BinaryIO, name: str, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as error:  # a folder, or a broken disk
        raise UsageError(f"{name} cannot be read: {error.strerror or error}") from None


def _decode_all(
    file: BinaryIO, name: str, encoding: str, encoding_hint: str = _ENCODING_HINT
) -> str:
    text = _decode(_read(file, name, file.read), 0, name, encoding, encoding_hint)
    if not text.strip():
        hint = "to ignore standard input: --no-input, or < /dev/null" if name == _STDIN else None
        raise UsageError(f"{name} is empty", hint=hint)
    return text


def _decode(data: bytes, offset: int, name: str, encoding: str, hint: str = _ENCODING_HINT) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name}: byte {offset + error.start} is not valid {encoding}", hint=hint
        ) from None
    return text[1:] if offset == 0 and text[:1] == "\ufeff" else text


def _decoded_lines(file: BinaryIO, name: str, encoding: str) -> Iterator[str]:
    """Yield the lines with their line feeds. UTF-8 is read line by line, before a pipe ends."""
    if encoding not in ("utf-8", "ascii"):  # in UTF-16, a line feed has two bytes
        text = _decode(_read(file, name, file.read), 0, name, encoding)
        yield from io.StringIO(text, newline="\n")  # `splitlines` also splits at a form feed
        return
    offset = 0
    while True:
        data = _read(file, name, file.readline)
        if not data:
            return
        yield _decode(data, offset, name, encoding)
        offset += len(data)


def _lines(lines: Iterator[str], name: str, _: str) -> Iterator[Input]:
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text.strip():
            yield Input(f"line {number} of {name}", text, name)


def refuse_constant(word: str) -> Any:
    """Raise `ValueError` for ``NaN`` and ``Infinity``: Python accepts them, but JSON does not."""
    raise ValueError(f"{word} is no value of JSON")


def _check_surrogates(text: str) -> None:
    """Raise `ValueError` if a text cannot be sent, because it has half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("it has half of a surrogate pair") from None


def _json_rows(lines: Iterator[str], name: str, _: str) -> Iterator[Input]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_constant=refuse_constant)
            if "\\u" in line:
                _check_surrogates(json.dumps(value, ensure_ascii=False))
        except (ValueError, RecursionError) as error:
            words = str(error).partition(":")[0]
            raise UsageError(f"line {number} of {name} is not JSON: {words}") from None
        yield Input(f"line {number} of {name}", value, name)


def _table_rows(lines: Iterator[str], name: str, form: str) -> Iterator[Input]:
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader(lines, delimiter=_DELIMITERS[form], strict=True)
    header: Optional[List[str]] = None
    number = 0
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise UsageError(f"line {rows.line_num} of {name} is no {form}: {error}") from None
        if not cells:
            continue
        if header is None:
            header = _checked_header(cells, name)
            continue
        number += 1
        yield Input(f"row {number} of {name}", _row(header, cells, number, name), name)


def _checked_header(cells: List[str], name: str) -> List[str]:
    twice = [cell for at, cell in enumerate(cells) if cell in cells[:at]]
    if twice:
        raise UsageError(f"the header of {name} has the column {twice[0]!r} twice")
    return cells


def _row(header: List[str], cells: List[str], number: int, name: str) -> Dict[str, str]:
    if len(cells) != len(header):
        raise UsageError(
            f"row {number} of {name} has {count_with_noun(len(cells), 'cell')}, "
            f"and the header has {len(header)}"
        )
    return dict(zip(header, cells))


_READERS: Mapping[str, Callable[[Iterator[str], str, str], Iterator[Input]]] = {
    "lines": _lines,
    "jsonl": _json_rows,
    "csv": _table_rows,
    "tsv": _table_rows,
}
