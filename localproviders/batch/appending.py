"""A file to which bytes are only appended, and which can be cut back to an earlier end."""

from __future__ import annotations

import os
from zlib import crc32

from localproviders.batch.ledger import Extent

# `fdatasync` writes the content and the size, but not the time of the last change.
_sync = getattr(os, "fdatasync", os.fsync)
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# As with any other file, the user's umask decides who may read the results.
_MODE = 0o666


class AppendFile:
    """A file that is written only at its end. The first call of `append` creates it.

    Args:
        path: Path of the file.
        extent: The part of the file that is kept. Bytes after this part are removed.

    Attributes:
        size: Size in bytes.
        crc: Checksum of the content.
    """

    __slots__ = ("_descriptor", "_is_synced", "_path", "crc", "size")

    def __init__(self, path: str, extent: Extent) -> None:
        self._path = path
        self._descriptor = -1
        self._is_synced = True
        self.size: int = extent.size
        self.crc: int = extent.crc
        if os.path.exists(path):
            self._open()

    def _open(self) -> None:
        self._descriptor = os.open(self._path, _FLAGS, _MODE)
        try:
            self.cut(self.extent)
        except BaseException:
            self.close()
            raise

    @property
    def extent(self) -> Extent:
        """Size and checksum."""
        return Extent(self.size, self.crc)

    def append(self, data: bytes) -> None:
        """Append bytes. After an exception, call `cut` before you use the file again.

        Raises:
            OSError: The bytes cannot be written, such as to a full disk.
        """
        if self._descriptor < 0:
            self._open()
        view = memoryview(data)
        self._is_synced = False
        while view:
            view = view[os.write(self._descriptor, view) :]
        self.size += len(data)
        self.crc = crc32(data, self.crc)

    def cut(self, extent: Extent) -> None:
        """Shorten the file to an earlier extent."""
        self.size, self.crc = extent
        if self._descriptor < 0:
            return
        if os.fstat(self._descriptor).st_size > extent.size:
            os.ftruncate(self._descriptor, extent.size)
        os.lseek(self._descriptor, extent.size, os.SEEK_SET)

    def sync(self) -> None:
        """Wait until the content is on the disk."""
        if not self._is_synced:
            _sync(self._descriptor)
            self._is_synced = True

    def close(self) -> None:
        """Close the file. This method may be called more than once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
