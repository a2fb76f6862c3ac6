"""An open response. It owns its connection until it closes or pools the connection."""

from __future__ import annotations

import http.client
import threading
import zlib
from typing import Any, Mapping, Optional

import requests
import urllib3

from localproviders._http.chunked import Unchunker
from localproviders._http.deadline import ANSWERING, DRAINING, Call, Stop
from localproviders._http.exceptions import translate
from localproviders._http.socket import BoundedSocket, Reader
from localproviders._interrupts import callers_exception
from localproviders.errors import AnswerTooLargeError, ProtocolError

_PIECE = 64 * 1024

# Size of a read from a chunked body. It is smaller than `_PIECE`, because chunked bodies are mostly
# streams. A piece of a stream is split into lines and records, which are all in memory at the same
# time.
_RECEIVED = 32 * 1024

_RAISE_IT = "raise max_body_bytes to allow larger responses"

# Highest number of bytes of a compressed body that are read in a row without any result. Without
# this limit, a server could send bytes for ever after the end of the compressed data, because
# these bytes are ignored.
_MOST_IN_VAIN = 1024 * 1024

# 32 makes zlib detect whether the data has a gzip or a zlib header.
_INFLATE = 32 + zlib.MAX_WBITS
_MEMBER_START = b"\x1f\x8b"


class Answer:
    """A response whose body is read piece by piece.

    One thread reads. Other threads may call `close`, `release` and `cancel`: a lock ensures that
    exactly one of these calls closes the connection or returns it to the pool.

    Args:
        response: The response object of the library `requests`.
        parsed: The underlying response of http.client; None if a mock made the response.
        call: The call whose limits apply to the reading.
    """

    def __init__(
        self,
        response: requests.Response,
        parsed: Optional[http.client.HTTPResponse],
        call: Call,
    ) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        #: Number of times that the request was sent.
        self.attempts = 1
        self.call = call
        self._response: Optional[requests.Response] = response
        self._parsed = parsed
        self._left = getattr(parsed, "length", None)
        reader = getattr(parsed, "fp", None)
        # A response without a body, such as a 204, has the length 0 here, even if its headers say
        # that it is chunked (RFC 9112 §6.3). So the length is checked first.
        is_chunked = self._left is None and getattr(parsed, "chunked", False)
        self._reader: Optional[Reader] = (
            reader if is_chunked and isinstance(reader, Reader) else None
        )
        self._has_ahead = True  # whether the reader may hold bytes that came with the headers
        self._unchunker = Unchunker()
        #: Whether only the end of the connection marks the end of the body. A broken
        #: connection then looks like a complete body.
        self.ends_by_closing: bool = (
            parsed is not None and self._left is None and not getattr(parsed, "chunked", False)
        )
        self._inflate = _inflater(self.headers.get("Content-Encoding", ""))
        # These are plain functions, because a bound method would refer back to this object. Such
        # a reference cycle would keep the connection until the garbage collector finds it.
        self._receive = Answer._piece if self._reader is None else Answer._unchunked
        self._step = self._receive if self._inflate is None else Answer._decoded
        # The lock is held while a piece is read, so that no other thread can close the connection
        # or return it to the pool during the read.
        self._lock = threading.Lock()
        self._open = True
        self._ended = False

    @property
    def is_open(self) -> bool:
        """Whether the response still owns its connection."""
        return self._open

    @property
    def content_type(self) -> str:
        """The media type, lower case, without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def read(self) -> bytes:
        """Return the next piece of the body as soon as it arrives; an empty piece at the end.

        Raises:
            ProviderError: A limit expired, the call was cancelled, or the connection broke.
                The connection is closed.
        """
        try:
            with self._lock:
                if not self._open:
                    raise Stop
                return self._step(self)
        except Exception as error:
            failure = translate(error, self.call)
        except BaseException:
            self.close()
            raise
        self.close()
        # The error is raised outside the except block. Otherwise the original exception would be
        # its context, which may hold a piece of the response text.
        try:
            raise failure
        finally:
            del failure  # its traceback refers to this frame

    def _decoded(self) -> bytes:
        """Return the next piece of a compressed body, decompressed to at most 64 KiB."""
        in_vain = 0
        while True:
            if self._inflate.unconsumed_tail:
                piece: bytes = self._inflate.decompress(self._inflate.unconsumed_tail, _PIECE)
            else:
                raw = self._receive(self)
                if not raw:
                    if not self._inflate.eof:
                        raise http.client.IncompleteRead(b"")
                    return b""
                piece = self._inflate.decompress(raw, _PIECE)
                in_vain += len(raw)
            # The limits are checked here, because a few bytes can decompress to gigabytes without
            # another read from the socket.
            self.call.left()
            if piece:
                return piece
            if in_vain > _MOST_IN_VAIN:
                raise ProtocolError(
                    f"more than {_MOST_IN_VAIN:,} bytes of the compressed response hold no data"
                )

    def _piece(self) -> bytes:
        """Return the next piece of a body that is not chunked, or comes from a mock."""
        if self._ended:
            return b""
        if self._parsed is None:
            assert self._response is not None  # noqa: S101  # the answer is open
            piece: bytes = self._response.raw.read(_PIECE, decode_content=False)
            return piece
        size = _PIECE if self._left is None else min(_PIECE, self._left)
        # Nothing is read after a known length: on a kept connection, this read would wait for
        # bytes that never come.
        piece = self._parsed.read1(size) if size else b""
        if self._left is not None:
            self._left -= len(piece)
            if not piece and self._left:
                raise http.client.IncompleteRead(b"", self._left)
        self._ended = not piece or self._left == 0
        return piece

    def _unchunked(self) -> bytes:
        """Return the contents of all chunks that have arrived, with one read.

        The decoder of http.client is not used, because it returns only one chunk at a time, which
        takes 2 to 4 µs, and servers send one chunk for each token. The reader of http.client is not
        used either. The bytes are read directly from the socket, because the reader makes several
        nested calls for each token.
        """
        unchunker, reader = self._unchunker, self._reader
        assert reader is not None  # noqa: S101  # this method is used for chunked bodies only
        while not unchunker.is_finished:
            if unchunker.broken is not None:
                raise unchunker.broken
            data = self._ahead(reader) if self._has_ahead else b""
            if not data:
                sock = reader.owner
                data = sock.bounded(sock.real.recv, _RECEIVED)
            if not data:
                # Cancelling shuts the socket down, which looks like the end of the connection.
                raise Stop if self.call.cancelled else http.client.IncompleteRead(b"")
            piece = unchunker.feed(data)
            if piece:
                return piece
        return b""

    def _ahead(self, reader: Reader) -> bytes:
        """Return the part of the body that was read together with the headers. Call this once."""
        self._has_ahead = False
        return reader.buffered()

    def read_all(self, max_bytes: int, hint: str = _RAISE_IT) -> bytes:
        """Return the whole body and release the connection.

        Args:
            max_bytes: Largest allowed size.
            hint: Hint of the error that is raised for a larger body.

        Raises:
            AnswerTooLargeError: The body is larger than allowed.
            ProviderError: A limit expired, the call was cancelled, or the connection broke.
        """
        if self._inflate is None and self._parsed is not None and self._left:
            body = self._read_known(self._left, max_bytes, hint)
        else:
            body = self._read_pieces(max_bytes, hint)
        self.release()
        return body

    def _read_known(self, size: int, max_bytes: int, hint: str) -> bytes:
        """Read a body of known length in one piece.

        Reading small pieces and joining them would take twice the time and twice the memory.
        """
        self._check_size(size, max_bytes, hint)
        self._step = Answer._complete
        return self.read()

    def _complete(self) -> bytes:
        """Wait for the first bytes, and then read the whole body with one call."""
        assert self._parsed is not None and self._left is not None  # noqa: S101, PT018  # a body of known length
        # `first_token_s` covers the wait for the first byte, `idle_s` each read after it.
        self._parsed.peek(1)
        self.call.enter(ANSWERING)
        body: bytes = self._parsed.read(self._left)
        self._left -= len(body)
        if self._left:
            raise http.client.IncompleteRead(b"", self._left)
        self._ended = True
        return body

    def _read_pieces(self, max_bytes: int, hint: str) -> bytes:
        """Read a body of unknown length piece by piece."""
        # A list of pieces is not used: a server can send two bytes at a time, and in a list each
        # such piece takes 56 bytes.
        body = bytearray()
        while True:
            piece = self.read()
            if not piece:
                return bytes(body)
            if not body:
                self.call.enter(ANSWERING)
            body += piece
            self._check_size(len(body), max_bytes, hint)

    def _check_size(self, size: int, max_bytes: int, hint: str) -> None:
        if size > max_bytes:
            self.close()
            raise AnswerTooLargeError(f"the response is larger than {max_bytes:,} bytes", hint=hint)

    def finish(self) -> None:
        """Wait briefly for the end of the body after the last record.

        If the body ends within 0.05 s, the connection returns to the pool. If more data arrives,
        or the body does not end in this time, the connection is closed.

        Raises:
            Exception: A signal handler raised it. The connection is closed.
        """
        callers: Optional[BaseException] = None
        try:
            with self._lock:
                self.call.enter(DRAINING)
                clean = self._open and not self._step(self)
        except Exception as error:
            # All records have arrived, so an error of the connection does not matter.
            callers, clean = callers_exception(error), False
        except BaseException:
            self.close()
            raise
        self._let_go(keep=clean)
        try:
            if callers is not None:
                raise callers
        finally:
            del callers

    def release(self) -> None:
        """Return the connection to the pool; close it if bytes arrived after the response."""
        self._let_go(keep=True)

    def close(self) -> None:
        """Close the connection. The server then stops generating."""
        self._let_go(keep=False)

    def cancel(self) -> None:
        """Cancel the call, from any thread. A thread that is reading then closes the connection."""
        if self._open:
            self.call.cancel()
        self._let_go(keep=False)

    def _let_go(self, keep: bool) -> None:
        """Return the connection to the pool or close it, unless that has been done already."""
        # If the lock is held, a thread is reading. If `cancel` has shut the socket down, this
        # read fails, and `read` closes the connection. Waiting for the lock could block for ever:
        # in a signal handler, the thread that is reading may be the current one.
        if not self._open or not self._lock.acquire(blocking=False):
            return
        try:
            was_open, self._open = self._open, False
            if was_open:
                self._return_or_close(keep)
        finally:
            self._lock.release()

    def _return_or_close(self, keep: bool) -> None:
        """Return the connection to the pool if `keep` is true and no bytes are left; else close it.

        Bytes are left if they arrived after the response, or if the request was not sent
        completely.
        """
        response, parsed = self._response, self._parsed
        assert response is not None  # noqa: S101  # the answer was open until now
        # A program may keep an error whose traceback refers to this object. The references are
        # dropped here, so that such an error does not also keep the connection pool alive.
        self._response = self._parsed = self._reader = None
        connection: Any = getattr(response.raw, "_connection", None)
        sock = getattr(connection, "sock", None)
        self.call.detach()
        if keep:
            if isinstance(sock, BoundedSocket) and self._unchunker.rest:
                sock.has_leftover = True
            if parsed is not None:
                parsed.close()
            # Closing the response has closed the reader, which sets `has_leftover` if it holds
            # unread bytes. The connection cannot be used again in this case, or if the request
            # was not sent completely.
            keep = not (isinstance(sock, BoundedSocket) and (sock.has_leftover or sock.unsent))
        if keep:
            response.raw.release_conn()
        else:
            if connection is not None:
                connection.close()
            if parsed is not None:
                parsed.close()
            response.close()
        if type(response.raw) is urllib3.HTTPResponse:
            response.raw.__class__ = _Finished


class _Finished(urllib3.HTTPResponse):
    """A response that no longer owns its connection.

    Python's finalizer reads `closed` of each response. In urllib3, `closed` is a property, written
    in Python. A signal handler may run while the property is computed, and the finalizer would
    ignore the handler's exception. No handler can run while a plain attribute is read.
    """

    # A plain attribute replaces the property, for the reason in the docstring of the class.
    closed = True  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]


def _inflater(encoding: str) -> Any:
    """Return a decompressor for a Content-Encoding; None if the body is not compressed."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip", "deflate"):
        return _Inflater()
    return _UnknownEncoding(name)


class _Inflater:
    """A decompressor for gzip, zlib and raw deflate; the first byte shows which it is.

    A body may consist of several members (RFC 1952 §2.2): a proxy that compresses each piece
    separately makes one member per piece. Zeros between them are padding. Other bytes after a
    member are ignored.

    Attributes:
        unconsumed_tail: Bytes to pass to the next call of `decompress`.
    """

    def __init__(self) -> None:
        self.unconsumed_tail = b""
        self._member: Any = None
        self._begun = b""  # the first byte of a member whose second byte has not arrived
        self._is_garbage = False

    @property
    def eof(self) -> bool:
        """Whether the compressed data is complete if no more bytes arrive."""
        return self._member is not None and self._member.eof and not self._begun

    def decompress(self, data: bytes, most: int) -> bytes:
        """Decompress the data to at most `most` bytes."""
        self.unconsumed_tail = b""
        if self._member is None:
            self._member = zlib.decompressobj(_window_bits(data))
        elif self._member.eof:
            data = self._next_member(data)
            if not data:
                return b""
        piece: bytes = self._member.decompress(data, most)
        self.unconsumed_tail = self._member.unconsumed_tail or self._member.unused_data
        return piece

    def _next_member(self, data: bytes) -> bytes:
        """Begin the next member, and return its bytes; no bytes if no member begins here."""
        if self._is_garbage:
            return b""
        data, self._begun = self._begun + (data if self._begun else data.lstrip(b"\0")), b""
        if data == _MEMBER_START[:1]:
            self._begun = data
        elif data.startswith(_MEMBER_START):
            self._member = zlib.decompressobj(_INFLATE)
            return data
        elif data:
            self._is_garbage = True
        return b""


def _window_bits(data: bytes) -> int:
    """Return zlib's argument for data that begins with these bytes."""
    # A gzip header begins with 1f, and the lower half of a zlib header's first byte is 8. No
    # encoder of raw deflate begins with either (RFC 1951 §3.2.3).
    has_header = data[0] == _MEMBER_START[0] or data[0] & 0x0F == zlib.DEFLATED
    return _INFLATE if has_header else -zlib.MAX_WBITS


class _UnknownEncoding:
    """A decompressor for an unknown encoding, which refuses the body.

    The error is raised at the first read and not in the constructor of `Answer`, because `read`
    closes the connection after an error.
    """

    unconsumed_tail = b""
    eof = False

    def __init__(self, name: str) -> None:
        self._name = name

    def decompress(self, *_: object) -> bytes:
        raise ProtocolError(
            f"the response has the encoding {self._name!r}, which the request did not allow",
            hint="a proxy may have compressed it: switch off its compression",
        )
