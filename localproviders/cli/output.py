"""The output of the command: standard output, or a file that appears when it is complete."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from typing import Any, BinaryIO, Iterator, Optional

from localproviders._redact import printable
from localproviders.cli.usage import OutputError, UsageError

# `_new_file` and `re` are needed only for a file.


class Output:
    """Standard output, or the file of ``-o``. It has nothing but the answer.

    On a terminal, control characters in the texts of models and servers are shown as escapes. A
    pipe and a file get exactly the text.

    Attributes:
        is_terminal: Whether a person sees the output on a terminal.

    Args:
        path: The path of the file; None and ``-`` are standard output.
        replace: Whether an existing file may be replaced.
        encoding: Encoding of the text in a file or a pipe. A terminal has its own encoding.
    """

    def __init__(
        self, path: Optional[str] = None, *, replace: bool = False, encoding: str = "utf-8"
    ) -> None:
        self._path = None if path == "-" else path
        self._replace = replace
        self._encoding = encoding
        self._new: Any = None
        self._file: Optional[BinaryIO] = None
        self.is_terminal = self._path is None and sys.stdout is not None and sys.stdout.isatty()

    def open(self) -> None:
        """Open the file, so that a path that cannot be written is found before the work.

        Raises:
            UsageError: The file exists, or it cannot be made.
            OutputError: Standard output is closed.
        """
        if self._path is None:
            if sys.stdout is None:
                raise OutputError("standard output is closed")
            return
        self._file = _open_special(self._path) or self._open_new(self._path)

    def _open_new(self, path: str) -> BinaryIO:
        from localproviders._new_file import NewFile  # only for -o

        try:
            self._new = NewFile(path, replace=self._replace)
        except FileExistsError:
            raise UsageError(
                f"{path!r} exists already", hint="add --force to replace it, or choose another -o"
            ) from None
        except OSError as error:
            raise UsageError(
                f"{path!r} cannot be written: {error.strerror or type(error).__name__}",
                hint="choose another -o",
            ) from None
        file: BinaryIO = self._new.file
        return file

    def write(self, text: str, *, safe: bool = False) -> None:
        """Write a part of the output, so that a reader of the pipe gets it now.

        Args:
            text: The text.
            safe: Whether the escape sequences in it are our own, such as those of a color.

        Raises:
            BrokenPipeError: The reader of the pipe has closed it.
            OutputError: The output cannot be written.
        """
        if self.is_terminal and not safe:
            text = printable(text)
        encoding = self._encoding if not self.is_terminal else sys.stdout.encoding
        self.write_bytes(text.encode(encoding or "utf-8", "backslashreplace"))

    def write_line(self, text: str = "") -> None:
        """Write a line; raises like `write`."""
        self.write(f"{text}\n")

    def write_json(self, value: Any) -> None:
        """Write a value as one line of JSON; raises like `write`."""
        # A lone half of a surrogate pair is in no encoding. JSON can write it as an escape.
        text = json.dumps(value, ensure_ascii=False)
        has_surrogates = any("\ud800" <= character <= "\udfff" for character in text)
        self.write_line(json.dumps(value) if has_surrogates else text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are; raises like `write`."""
        file = self._file or getattr(sys.stdout, "buffer", None)
        try:
            if file is None:  # a replaced standard output may have no bytes
                sys.stdout.write(data.decode(self._encoding, "backslashreplace"))
                sys.stdout.flush()
                return
            file.write(data)
            if self._new is None:
                file.flush()
        except BrokenPipeError:
            raise
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise OutputError(f"the output cannot be written: {words}") from None

    @property
    def is_new_file(self) -> bool:
        """Whether the output is a file that is made now, not a pipe or a device."""
        return self._new is not None

    def replace_start(self, data: bytes) -> None:
        """Replace the first bytes of a new file; raises like `write`."""
        try:
            self._new.file.seek(0)
            self.write_bytes(data)
            self._new.file.seek(0, os.SEEK_END)
        except OSError as error:
            raise OutputError(f"the output cannot be written: {error.strerror}") from None

    def sync(self) -> None:
        """Write the content to the disk, before `commit`; raises like `write`."""
        with self._errors_of_file():
            if self._new is not None:
                self._new.sync()

    def commit(self) -> None:
        """Rename the file, now that it is complete, to its own name; raises like `write`."""
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
            raise OutputError(
                f"{self._path!r} cannot be written: {error.strerror or type(error).__name__}"
            ) from None

    def discard(self) -> None:
        """Remove an incomplete file. Do nothing after `commit`."""
        if self._new is not None:
            self._new.discard()
        elif self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def _open_special(path: str) -> Optional[BinaryIO]:
    """Open a device or a named pipe, such as ``/dev/null``; return None for any other path."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    try:
        return open(path, "wb", buffering=0)  # closed by `Output`
    except OSError as error:
        raise UsageError(f"{path!r} cannot be written: {error.strerror}") from None


def print_error(text: str) -> None:
    """Write a line to standard error, if it is open. Characters that it lacks become escapes."""
    if sys.stderr is None:  # `print` with file=None would use the standard output
        return
    with contextlib.suppress(OSError, ValueError):  # there is no other place for the line
        print(text, file=sys.stderr, flush=True)


def discard_unwritable_output() -> None:
    """Discard output that cannot be written. Otherwise, Python reports it again at exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
