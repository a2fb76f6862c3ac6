"""A file as the body of a request: read while it is sent, and never whole."""

from __future__ import annotations

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
        piece = self._file.read(min(PIECE, self.len - self._sent))
        if not piece:
            raise changed(self.path)
        self._sent += len(piece)
        self._on_sent(self._sent)
        return piece


def open_file(path: str) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return open(path, "rb")
    except OSError as error:
        raise ConfigurationError(
            f"the file {path!r} cannot be read: {error.strerror}",
            hint="pass the path of a file on this machine",
        ) from None


def changed(path: str) -> ConfigurationError:
    """Make the error for a file that is another one than a moment ago."""
    return ConfigurationError(
        f"the file {path!r} changed while it was being sent",
        hint="run it again when nobody writes to the file",
    )
