"""The reading end of a bounded socket: what http.client reads from, and the way past it."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, Optional

from localproviders._http.deadline import Stop

if TYPE_CHECKING:
    from localproviders._http.connection import BoundedSocket

_READ_SIZE = 64 * 1024


class _RawReader(io.RawIOBase):
    """The unbuffered reading end of a bounded socket."""

    _raw: Any = None  # until it is made: an interrupt can leave half an object to close

    def __init__(self, owner: BoundedSocket) -> None:
        self._owner = owner
        self._raw = owner.real.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        owner = self._owner
        if owner.quiet:
            return None
        count: Optional[int] = owner.bounded(self._raw.readinto, buffer)
        if count:
            owner.count_head(count)
        elif owner.call.cancelled:
            raise Stop  # a cancelled body that ends by closing would look complete
        return count

    def close(self) -> None:
        if not self.closed and self._raw is not None:
            self._raw.close()
        super().close()


class Reader(io.BufferedReader):
    """What http.client reads one answer from; at its end it tells of bytes left over."""

    _owner: Optional[BoundedSocket] = None  # as above
    _ahead = True  # whether it may hold bytes that were read with the head

    def __init__(self, owner: BoundedSocket) -> None:
        super().__init__(_RawReader(owner), _READ_SIZE)
        self._owner = owner

    def receive(self, size: int) -> bytes:
        """Give what has come, else what comes next; empty at the end.

        For who reads large pieces: past the buffer, once that is empty, and past four more
        layers of Python, which are cold when the server writes a token at a time.

        Raises:
            Stop: A limit fired, or the call was cancelled.
        """
        owner = self._owner
        assert owner is not None  # noqa: S101  # the reader is whole
        if self._ahead:
            self._ahead = False
            owner.quiet = True
            try:
                data = self.read(len(self.peek(1)))
            finally:
                owner.quiet = False
            if data:
                return data
        came: bytes = owner.bounded(owner.real.recv, size)
        if not came and owner.call.cancelled:
            raise Stop  # as in readinto
        return came

    def close(self) -> None:
        """Close the reading end, and note on the socket whether more had come."""
        owner = self._owner
        if owner is None:
            with contextlib.suppress(ValueError):
                super().close()
            return
        try:
            if not self.closed and self._has_more(owner):
                owner.dirty = True
        finally:
            super().close()

    def _has_more(self, owner: BoundedSocket) -> bool:
        owner.quiet = True
        try:
            # TLS decrypts whole records: what was not asked for waits where no select sees it.
            pending = getattr(owner.real, "pending", None)
            return bool(self.peek(1)) or bool(pending is not None and pending())
        except ValueError:
            return False  # the socket was closed before its reader
        finally:
            owner.quiet = False
