"""The output of the command: standard output, or a file that appears when it is complete."""

from __future__ import annotations

import codecs
import contextlib
import errno
import json
import os
import stat
import sys
from typing import Any, BinaryIO, Callable, Iterator, Mapping, Optional

from localproviders._redact import printable
from localproviders.cli.usage import OutputError, UsageError

# `_new_file`, which imports `re`, is imported only for an output that is a file.

# Paths of the open descriptors of this process.
_DESCRIPTORS = ("/dev/fd", "/proc/self/fd")
_STANDARD: Mapping[str, int] = {"/dev/stdout": 1, "/dev/stderr": 2}

#: The next step after an `OSError`, by its number. `{folder}` is the folder of the output.
_HINTS: Mapping[Optional[int], str] = {
    errno.ENOSPC: "df -h {folder}",
    errno.EFBIG: "ulimit -f unlimited",
}


class Output:
    """Standard output, or the file of ``-o``. Only the result of the verb is written to it.

    On a terminal, control characters in the texts of models and servers are shown as escapes. To a
    pipe or a file, the texts are written unchanged.

    Attributes:
        is_terminal: Whether the output is a terminal.

    Args:
        path: The path of the file; None and ``-`` are standard output.
        replace: Whether an existing file may be replaced.
        encoding: Encoding of the text in a file or a pipe. A terminal has its own encoding.
    """

    def __init__(
        self, path: Optional[str] = None, *, replace: bool = False, encoding: str = "utf-8"
    ) -> None:
        self._path = None if is_standard(path) else path
        self._replace = replace
        self._encoding = encoding
        self._new: Any = None
        self._file: Optional[BinaryIO] = None
        self._encode: Optional[Callable[[str], bytes]] = None
        self.is_terminal: bool = (
            self._path is None and sys.stdout is not None and sys.stdout.isatty()
        )

    def open(self) -> None:
        """Open the file. This is done before the work, to find out early if it cannot be written.

        Raises:
            UsageError: The file exists, or it cannot be made.
            OutputError: Standard output is closed.
        """
        if self._path is None:
            if sys.stdout is None:
                raise OutputError("standard output is closed", hint="add > FILE")
            return
        self._file = _open_special(self._path) or self._open_new(self._path)

    def _open_new(self, path: str) -> BinaryIO:
        from localproviders._new_file import NewFile  # only for -o

        try:
            self._new = NewFile(path, replace=self._replace)
        except FileExistsError:
            raise UsageError(
                f"{path!r} exists already", hint="add --force to replace it, or choose another file"
            ) from None
        except OSError as error:
            raise _cannot_be_opened(path, error) from None
        file: BinaryIO = self._new.file
        return file

    def write(self, text: str, *, safe: bool = False) -> None:
        """Write a piece of the output. The reader of a pipe receives it immediately.

        Args:
            text: The text.
            safe: Whether the escape sequences in the text, such as those of a color, were added by
                this package. If so, a terminal gets them unchanged.

        Raises:
            BrokenPipeError: The reader of the pipe has closed it.
            OutputError: The output cannot be written.
        """
        if self.is_terminal and not safe:
            text = printable(text)
        if self._encode is None:  # one for all pieces: UTF-16 begins with a byte order mark
            self._encode = codecs.getincrementalencoder(self._encoding_now)(
                "backslashreplace"
            ).encode
        self.write_bytes(self._encode(text))

    @property
    def _encoding_now(self) -> str:
        return (sys.stdout.encoding or "utf-8") if self.is_terminal else self._encoding

    def write_line(self, text: str = "") -> None:
        """Write a line; raises like `write`."""
        self.write(f"{text}\n")

    def write_json(self, value: Any) -> None:
        """Write a value as one line of JSON; raises like `write`."""
        text = json.dumps(value, ensure_ascii=False)
        try:
            text.encode(self._encoding_now)
        except UnicodeEncodeError:  # such as half of a surrogate pair, which no encoding has
            text = json.dumps(value)
        self.write_line(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are; raises like `write`."""
        file = self._file or getattr(sys.stdout, "buffer", None)
        try:
            if file is None:  # a replaced standard output may accept only text
                sys.stdout.write(data.decode(self._encoding, "backslashreplace"))
                sys.stdout.flush()
                return
            file.write(data)
            if self._new is None:
                file.flush()
        except BrokenPipeError:
            raise
        except (OSError, ValueError) as error:
            raise unwritable(error, self._path) from None

    @property
    def is_new_file(self) -> bool:
        """Whether the output is a file that this object creates, not a pipe or a device."""
        return self._new is not None

    def replace_start(self, data: bytes) -> None:
        """Replace the first bytes of a new file; raises like `write`."""
        try:
            self._new.file.seek(0)
            self.write_bytes(data)
            self._new.file.seek(0, os.SEEK_END)
        except OSError as error:
            raise unwritable(error, self._path) from None

    def sync(self) -> None:
        """Write the content to the disk, before `commit`; raises like `write`."""
        with self._errors_of_file():
            if self._new is not None:
                self._new.sync()

    def commit(self) -> None:
        """Rename the complete temporary file to the path of the output; raises like `write`."""
        with self._errors_of_file():
            if self._new is not None:
                self._new.commit()
            elif self._file is not None:
                self._file.close()

    @contextlib.contextmanager
    def _errors_of_file(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise unwritable(error, self._path) from None

    def discard(self) -> None:
        """Remove an incomplete file. Do nothing after `commit`."""
        if self._new is not None:
            self._new.discard()
        elif self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def unwritable(
    error: Exception, path: Optional[str], hint: str = "choose another file with -o"
) -> OutputError:
    """Return the error for an output that cannot be written, with the next step.

    Args:
        error: The error that writing raised.
        path: The path of the file; None for standard output.
        hint: The next step, unless there is a special one for this error, such as a full disk.
    """
    from shlex import quote  # only an error needs it

    what = "the output" if path is None else repr(path)
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    step = _HINTS.get(getattr(error, "errno", None), hint)
    folder = quote(os.path.dirname(path or "") or ".")
    return OutputError(f"{what} cannot be written: {words}", hint=step.format(folder=folder))


def is_standard(path: Optional[str]) -> bool:
    """Return whether a path of ``-o`` is the standard output: None, ``-`` or ``/dev/stdout``."""
    return path in (None, "-") or _descriptor_of(path) == 1


def _open_special(path: str) -> Optional[BinaryIO]:
    """Open a descriptor, a device or a named pipe; return None for any other path.

    A descriptor such as ``/dev/fd/3`` may belong to a file that a shell has opened. The earlier
    content of that file is kept.
    """
    number = _descriptor_of(path)
    try:
        if number is not None:
            return open(os.dup(number), "wb", buffering=0)  # closed by `Output`
    except OSError as error:
        raise _cannot_be_opened(path, error) from None
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    try:
        return open(path, "wb", buffering=0)  # closed by `Output`
    except OSError as error:
        raise _cannot_be_opened(path, error) from None


def _descriptor_of(path: Optional[str]) -> Optional[int]:
    """Return the number of the descriptor that a path such as ``/dev/fd/3`` names, or None."""
    folder, name = os.path.split(path or "")
    if folder in _DESCRIPTORS and name.isdecimal() and len(name) < 10:
        return int(name)
    return _STANDARD.get(path or "")


def _cannot_be_opened(path: str, error: OSError) -> UsageError:
    words = error.strerror or type(error).__name__
    return UsageError(f"{path!r} cannot be written: {words}", hint="choose another file")


def print_error(text: str) -> None:
    """Write a line to standard error, if it is open."""
    if sys.stderr is None:  # `print` with file=None would use the standard output
        return
    with contextlib.suppress(OSError, ValueError):  # an error here could not be shown anywhere
        print(text, file=sys.stderr, flush=True)


def discard_unwritable_output() -> None:
    """Discard output that cannot be written: Python would report the same error again at exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
