"""An open answer: it owns its connection and lets go of it exactly once."""

from __future__ import annotations

import http.client
import threading
import zlib
from typing import Any, Callable, List, Mapping, Optional

import requests

from localproviders._http.chunks import Unchunker
from localproviders._http.connection import BoundedSocket
from localproviders._http.deadline import Call, Stop
from localproviders._http.reading import Reader
from localproviders._http.translate import translate
from localproviders.errors import AnswerTooLargeError, ProtocolError

_PIECE = 64 * 1024

# A piece of a stream becomes lines and records, each in memory for a while.
_RECEIVED = 32 * 1024

# gzip and zlib headers are told apart by zlib itself.
_INFLATE = 32 + zlib.MAX_WBITS


class Answer:
    """The status, the headers, and the body, read piece by piece.

    Args:
        response: What requests gave.
        parsed: http.client's own response, or None where the answer came from a mock.
        call: The call whose limits bound the reading.
    """

    def __init__(
        self,
        response: requests.Response,
        parsed: Optional[http.client.HTTPResponse],
        call: Call,
    ) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        #: How often the request was sent.
        self.attempts = 1
        self.call = call
        self._response: Optional[requests.Response] = response
        self._parsed = parsed
        self._left = getattr(parsed, "length", None)
        reader = getattr(parsed, "fp", None)
        # A length there is where no body can be, whatever the headers say (RFC 9112 §6.3).
        framed = self._left is None and getattr(parsed, "chunked", False)
        self._reader: Optional[Reader] = reader if framed and isinstance(reader, Reader) else None
        self._unchunker = Unchunker()
        #: Whether nothing but the end of the connection tells where the body ends.
        self.ends_by_closing = (
            parsed is not None and self._left is None and not getattr(parsed, "chunked", False)
        )
        self._inflate = _inflater(self.headers.get("Content-Encoding", ""))
        self._lock = threading.Lock()  # held while reading: closing waits for the reader
        self._open = True
        self._ended = False

    @property
    def is_open(self) -> bool:
        """Whether it still owns its connection."""
        return self._open

    @property
    def content_type(self) -> str:
        """The media type, lower case, without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def read(self) -> bytes:
        """Give the next piece of the body, as soon as there is one; empty at its end.

        Raises:
            ProviderError: A limit fired, the call was cancelled, or the connection broke.
                The connection is closed.
        """
        return self._guarded(self._next)

    def _guarded(self, step: Callable[[], bytes]) -> bytes:
        try:
            with self._lock:
                if not self._open:
                    raise Stop
                return step()
        except Exception as error:
            failure = translate(error, self.call)
        except BaseException:
            self.close()
            raise
        self.close()
        # Out here, so that the foreign exception, which may hold a piece of the answer, is
        # not the context of ours.
        raise failure

    def _next(self) -> bytes:
        if self._inflate is not None:
            return self._decoded()
        return self._piece() if self._reader is None else self._unchunked(self._reader)

    def _decoded(self) -> bytes:
        while True:
            if self._inflate.unconsumed_tail:
                piece: bytes = self._inflate.decompress(self._inflate.unconsumed_tail, _PIECE)
            else:
                raw = self._piece() if self._reader is None else self._unchunked(self._reader)
                if not raw:
                    if not self._inflate.eof:
                        raise http.client.IncompleteRead(b"")
                    return b""
                # zlib would keep all that follows its end, and copy it anew for each piece.
                piece = b"" if self._inflate.eof else self._inflate.decompress(raw, _PIECE)
            self.call.left()  # a bomb inflates without touching the socket
            if piece:
                return piece

    def _piece(self) -> bytes:
        if self._ended:
            return b""
        if self._parsed is None:
            assert self._response is not None  # noqa: S101  # the answer is open
            piece: bytes = self._response.raw.read(_PIECE, decode_content=False)
            return piece
        size = _PIECE if self._left is None else min(_PIECE, self._left)
        # A body of known length ends without a read: one more could wait for ever.
        piece = self._parsed.read1(size) if size else b""
        if self._left is not None:
            self._left -= len(piece)
            if not piece and self._left:
                raise http.client.IncompleteRead(b"", self._left)
        self._ended = not piece or self._left == 0
        return piece

    def _unchunked(self, reader: Reader) -> bytes:
        """Read what has come, over the frames of all chunks in it.

        http.client gives one chunk at a time, and a server sends one for each token: 2 to 4
        µs each. What it would look for behind the body is left to it.
        """
        unchunker = self._unchunker
        while not unchunker.over:
            if unchunker.broken is not None:
                raise unchunker.broken
            data = reader.receive(_RECEIVED)
            if not data:
                raise http.client.IncompleteRead(b"")
            piece = unchunker.feed(data)
            if piece:
                return piece
        return b""

    def read_all(self, max_bytes: int) -> bytes:
        """Give the whole body and release the connection.

        Raises:
            AnswerTooLargeError: The body is larger than allowed.
            ProviderError: As `read`.
        """
        if self._inflate is None and self._parsed is not None and self._left:
            body = self._read_known(self._left, max_bytes)
        else:
            body = self._read_on(max_bytes)
        self.release()
        return body

    def _read_known(self, size: int, max_bytes: int) -> bytes:
        """Read a body of known length into its place.

        Small pieces, and joining them, take as long as receiving them, and twice the memory.
        """
        self._check_size(size, max_bytes)
        self._guarded(self._peek)
        self.call.answering()
        return self._guarded(self._rest)

    def _peek(self) -> bytes:
        """Wait for the first bytes."""
        assert self._parsed is not None  # noqa: S101  # the answer is open
        piece: bytes = self._parsed.peek(1)
        return piece

    def _rest(self) -> bytes:
        assert self._parsed is not None and self._left is not None  # noqa: S101, PT018  # as above
        body: bytes = self._parsed.read(self._left)
        self._left -= len(body)
        if self._left:
            raise http.client.IncompleteRead(b"", self._left)
        self._ended = True
        return body

    def _read_on(self, max_bytes: int) -> bytes:
        pieces: List[bytes] = []
        size = 0
        while True:
            piece = self.read()
            if not piece:
                return b"".join(pieces)
            if not pieces:
                self.call.answering()
            pieces.append(piece)
            size += len(piece)
            self._check_size(size, max_bytes)

    def _check_size(self, size: int, max_bytes: int) -> None:
        if size > max_bytes:
            self.close()
            raise AnswerTooLargeError(
                f"the answer is larger than {max_bytes:,} bytes",
                hint="raise max_body_bytes if that is expected",
            )

    def finish(self) -> None:
        """After the last record: keep the connection if the body ends here, else close it."""
        try:
            with self._lock:
                self.call.draining()
                clean = self._open and not self._next()
        except Exception:
            clean = False
        except BaseException:
            self.close()
            raise
        self._let_go(keep=clean)

    def release(self) -> None:
        """Give the connection back, unless more than this answer has come on it."""
        self._let_go(keep=True)

    def close(self) -> None:
        """Close the connection; the server stops generating."""
        self._let_go(keep=False)

    def cancel(self) -> None:
        """End the call, from any thread: whoever reads is woken, and closes."""
        if self._open:
            self.call.cancel()
        self._let_go(keep=False)

    def _let_go(self, keep: bool) -> None:
        # A reader in another thread holds the lock; it has been woken and will close.
        if not self._lock.acquire(blocking=False):
            return
        try:
            was_open, self._open = self._open, False
            if was_open:
                self._part(keep)
        finally:
            self._lock.release()

    def _part(self, keep: bool) -> None:
        response, parsed = self._response, self._parsed
        assert response is not None  # noqa: S101  # the answer was open until now
        # An error that is kept somewhere holds this answer; it need not hold the pool too.
        self._response = self._parsed = self._reader = None
        connection: Any = getattr(response.raw, "_connection", None)
        sock = getattr(connection, "sock", None)
        self.call.detach()
        if keep:
            if isinstance(sock, BoundedSocket) and self._unchunker.rest:
                sock.dirty = True
            if parsed is not None:
                parsed.close()
            # Closing the reader has shown whether more than this answer had come.
            keep = not (isinstance(sock, BoundedSocket) and (sock.dirty or sock.unsent))
        if keep:
            response.raw.release_conn()
            return
        if connection is not None:
            connection.close()
        if parsed is not None:
            parsed.close()
        response.close()


def _inflater(encoding: str) -> Any:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(_INFLATE)
    return _UnknownEncoding(name)


class _UnknownEncoding:
    """Refuses at the first read, when somebody is there to close the connection."""

    unconsumed_tail = b""
    eof = False

    def __init__(self, name: str) -> None:
        self._name = name

    def decompress(self, *_: object) -> bytes:
        raise ProtocolError(
            f"the answer is encoded as {self._name!r}, which was not asked for",
            hint="a proxy in between may do this: switch its compression off",
        )
