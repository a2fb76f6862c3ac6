"""Where idle connections wait for the next call.

urllib3's pools, with three differences: their store has no lock, closing one spoils no call
that is about to use it, and a forgotten one closes its connections.
"""

from __future__ import annotations

import queue
import weakref
from collections import deque
from typing import Any, Deque, Optional

from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from localproviders._http.connection import PlainConnection, TLSConnection


class _Store:
    """A queue as far as urllib3 needs one: last in, first out, and nobody waits.

    Each step is a single one of a deque. A lock could be held, at a fork, by a thread that
    the child does not have, and nobody would ever give it back.
    """

    def __init__(self, maxsize: int) -> None:
        self._waiting: Deque[Any] = deque()
        self._size = maxsize

    def get(self, block: bool = False, timeout: Optional[float] = None) -> Any:
        try:
            return self._waiting.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = False) -> None:
        if len(self._waiting) >= self._size:
            raise queue.Full
        self._waiting.append(item)

    def qsize(self) -> int:
        return len(self._waiting)

    def close_all(self) -> None:
        """Close every connection that waits here."""
        while self._waiting:
            try:
                connection = self._waiting.pop()
            except IndexError:  # another thread was faster
                return
            if connection is not None:
                connection.close()

    def __del__(self) -> None:
        # For what is given back while a program ends, when no finalizer runs any more.
        if hasattr(self, "_waiting"):  # an interrupt can leave half an object
            self.close_all()


class _Pool:
    """What both kinds of pool do differently from urllib3's."""

    # urllib3's classes set and use these.
    pool: Any
    QueueCls: Any = _Store
    _closed = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # urllib3 2 does so too. In a circle of garbage the store alone could come too late:
        # its sockets may be finalized before it, and complain.
        weakref.finalize(self, self.pool.close_all)

    def _put_conn(self, conn: Any) -> None:
        super()._put_conn(conn)  # type: ignore[misc]  # HTTPConnectionPool comes next in the MRO
        if self._closed:
            self.pool.close_all()

    def close(self) -> None:
        """Close what waits, now and later; a call that has this pool in hand still works."""
        self._closed = True
        self.pool.close_all()


class _PlainPool(_Pool, HTTPConnectionPool):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    ConnectionCls: Any = PlainConnection


class _TLSPool(_Pool, HTTPSConnectionPool):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    ConnectionCls: Any = TLSConnection


POOLS = {"http": _PlainPool, "https": _TLSPool}
