"""A file as the body of a request, read in pieces while it is sent."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, Callable, Iterator, Optional

from localproviders._interrupts import Carrier, is_callers
from localproviders.errors import ConfigurationError

# Size of a piece in bytes. The socket sends a piece in steps of 64 KiB. Without TLS, it checks
# before each step whether the server has responded early, for example with 413. It makes no such
# check for a piece that fits into one step, so a piece must be larger than one step.
PIECE = 1024 * 1024


class Upload:
    """A file as a request body of known length.

    Args:
        path: Path of the file.
        size_bytes: Length of the file in bytes. Sending fails if the file has become shorter.
        on_sent: Called after each piece with the number of bytes passed to the connection.
    """

    media = "application/octet-stream"

    def __init__(self, path: str, size_bytes: int, on_sent: Callable[[int], None]) -> None:
        self.path = path
        #: Length in bytes, which requests reads from this attribute. `__len__` is not used,
        #: because in a 32-bit Python it cannot return more than 2 GB.
        self.len = size_bytes
        #: The exception raised by reading the file, or by `on_sent`; None if there was none. The
        #: caller gets it unchanged, because it is not an error of the connection.
        self.failure: Optional[Exception] = None
        self._on_sent = on_sent
        self._sent = 0
        self._file: Optional[BinaryIO] = None

    def __repr__(self) -> str:
        return f"<upload of {self.len} bytes>"

    def rewind(self) -> None:
        """Start again at the first byte. Each attempt to send the request calls this first."""
        self.close()
        self._sent = 0
        self.failure = None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def tell(self) -> int:
        """Return the number of bytes that have been passed to the connection."""
        return self._sent

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self, _: int = -1) -> bytes:
        """Return the next piece, of at most 1 MiB; an empty piece at the end."""
        try:
            return self._next()
        except Exception as error:
            self.failure = error
            # The caller's listener, or reading the file, may raise BrokenPipeError. urllib3 would
            # take it for an error of the connection, ignore it, and wait for the response.
            if isinstance(error, OSError):
                raise Carrier(error) from None
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
        ConfigurationError: The file cannot be read, or is not a regular file.
    """
    try:
        # A pipe is refused, because opening a pipe could wait for ever, without regard to the
        # limits of the call.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: the path has a null character
        if is_callers(error):
            raise
        raise _unreadable(path, error) from None


def read_piece(file: BinaryIO, path: str, max_bytes: int = PIECE) -> bytes:
    """Return the next piece of a file; an empty piece at its end.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    try:
        return file.read(min(PIECE, max_bytes))
    except OSError as error:
        if is_callers(error):
            raise
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the file {path!r} cannot be read: {getattr(error, 'strerror', None) or error}",
        hint="pass the path of a file on this machine",
    )


def changed(path: str) -> ConfigurationError:
    """Return the error for a file that changed while it was read for an upload."""
    return ConfigurationError(
        f"the file {path!r} changed while it was being read",
        hint="try again when no program writes to the file",
    )
