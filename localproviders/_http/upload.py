"""A file as the body of a request: read while it is sent, and never whole."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, Callable, Iterator, Optional

from localproviders.errors import ConfigurationError

# More than one step of the socket, so that it looks whether the server answers already.
PIECE = 1024 * 1024


class Upload:
    """A file as a request's body, of a length that is known before.

    Args:
        path: The file.
        size_bytes: Its length; one that turns out shorter cannot be sent.
        on_sent: Told after each piece how many bytes have been handed over.
    """

    media = "application/octet-stream"

    def __init__(self, path: str, size_bytes: int, on_sent: Callable[[int], None]) -> None:
        self.path = path
        #: requests takes the length from here; `__len__` ends at 2 GB on some machines.
        self.len = size_bytes
        #: What broke the sending on our side: it goes on to the caller as it is.
        self.failure: Optional[Exception] = None
        self._on_sent = on_sent
        self._sent = 0
        self._file: Optional[BinaryIO] = None

    def __repr__(self) -> str:
        return f"<upload of {self.len} bytes>"

    def rewind(self) -> None:
        """Begin again at the first byte: each attempt sends the whole file."""
        self.close()
        self._sent = 0
        self.failure = None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def tell(self) -> int:
        """Give how many bytes have been handed over."""
        return self._sent

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self, _: int = -1) -> bytes:
        """Give the next piece, of a size of our own; empty at the end."""
        try:
            return self._next()
        except Exception as error:
            self.failure = error
            raise

    def _next(self) -> bytes:
        if self._sent == self.len:
            return b""
        if self._file is None:
            self._file = open_file(self.path)
        piece = read_piece(self._file, self.path, self.len - self._sent)
        if not piece:
            raise changed(self.path)
        self._sent += len(piece)
        self._on_sent(self._sent)
        return piece


def open_file(path: str) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        ConfigurationError: It cannot be read, or is none: opening a pipe could wait for ever.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        return open(path, "rb")
    except (OSError, ValueError) as error:  # the latter for a null character
        raise _unreadable(path, error) from None


def read_piece(file: BinaryIO, path: str, most: int = PIECE) -> bytes:
    """Read the next piece of a file; empty at its end.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return file.read(min(PIECE, most))
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the file {path!r} cannot be read: {getattr(error, 'strerror', None) or error}",
        hint="pass the path of a file on this machine",
    )


def changed(path: str) -> ConfigurationError:
    """Make the error for a file that is another one than a moment ago."""
    return ConfigurationError(
        f"the file {path!r} changed while it was being sent",
        hint="run it again when nobody writes to the file",
    )
