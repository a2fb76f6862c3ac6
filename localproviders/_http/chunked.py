"""Decoder for chunked transfer encoding (RFC 9112 §7.1); decodes many chunks per call.

This module does no I/O.
"""

from __future__ import annotations

import http.client
import re
from itertools import repeat
from typing import Callable, List, Optional

from localproviders._interrupts import is_injected

# The limit of http.client for one line. Here it also limits all trailers together.
_MAX_LINE_BYTES = 65536

# No real chunk size has more hexadecimal digits than this. Some servers write zeros before it.
_MAX_DIGITS = 15
_MAX_ZEROS = 64

# The pattern is strict, because two readers that disagree about a size see different bodies.
# http.client also accepts "-1", "+5", "0x5" and "1_0". Chunk extensions after a ";" are ignored.
_SIZE = re.compile(
    rb"[ \t]*0{0,%d}([0-9a-fA-F]{1,%d})[ \t\r]*(?:;.*)?" % (_MAX_ZEROS, _MAX_DIGITS), re.DOTALL
)
_HEX = b"0123456789abcdefABCDEF"

# Splitting a piece into chunks at its line ends is faster only if the piece has at least roughly
# this many chunks.
_MIN_CHUNKS = 4

#: A state of the decoder: a function that reads the bytes from a position on, and appends body
#: bytes to the list. It returns the position after the bytes that it has read. It returns the
#: same position if it needs more bytes.
_Step = Callable[[bytes, int, List[bytes]], int]


class Unchunker:
    """Decoder for chunked transfer encoding.

    The decoder is a state machine with four steps. They read the line with the size, the bytes
    of the chunk, the line end after these bytes, and the trailers after the last chunk. Two fast
    paths read chunks in their usual form, and leave all other chunks to the steps.

    Attributes:
        is_finished: Whether the last chunk and the trailers have been read.
        rest: Bytes that have not been decoded. When `is_finished` is true, they follow the body
            and do not belong to it.
        broken: The error in the chunk framing, or None. `feed` has returned the body before
            the error. `IncompleteRead` means that a size is missing or wrong. `LineTooLong`
            means that a line or the trailers exceed 65,536 bytes.
    """

    def __init__(self) -> None:
        self.is_finished = False
        self.rest = b""
        self.broken: Optional[http.client.HTTPException] = None
        self._bytes_left = 0
        self._trailers_left = _MAX_LINE_BYTES
        self._step: _Step = self._read_size
        self._at_chunk_start = True  # whether the next byte begins a chunk

    def feed(self, piece: bytes) -> bytes:
        """Decode a piece of the response, and return its body bytes, possibly none.

        An error is stored in `broken` and not raised, so that the body before it is not lost.
        """
        # Fast path for a piece that is exactly one chunk, which is what a server sends for one
        # token: 0.4 µs instead of 2. The size must be written in lower case without zeros
        # before it, as all servers write it.
        if self._at_chunk_start:
            size, _, body = piece.partition(b"\r\n")
            if size == b"%x" % (len(body) - 2) and body[-2:] == b"\r\n" and len(body) > 2:
                return body[:-2]
        data = self.rest + piece if self.rest else piece
        decoded: List[bytes] = []
        at = 0
        try:
            at = self._run_steps(data, decoded)
        except http.client.HTTPException as error:
            if is_injected(error):
                raise
            # The traceback is removed, because its frames hold the response text.
            self.broken = error.with_traceback(None)
        self.rest = data[at:]
        self._at_chunk_start = (
            self._step == self._read_size and not self.rest and self.broken is None
        )
        return decoded[0] if len(decoded) == 1 else b"".join(decoded)

    def _run_steps(self, data: bytes, decoded: List[bytes]) -> int:
        """Run the steps until one needs more bytes; return the position after the last step."""
        at, may_split = 0, True
        while not self.is_finished:
            # The fast path is tried once for each piece, at the first chunk that begins in it.
            if may_split and self._step == self._read_size:
                at, may_split = self._decode_many(data, at, decoded), False
            after = self._step(data, at, decoded)
            if after == at:
                break
            at = after
        return at

    def _decode_many(self, data: bytes, at: int, decoded: List[bytes]) -> int:
        """Decode all complete chunks from `at` on; return the position after them.

        Fast path for many chunks in one piece, which arrive if the reader is slower than the
        server: 0.25 µs a chunk instead of 1.2. If any chunk has an unusual form, nothing is
        decoded, and `at` is returned. The steps then decide whether the chunk is valid.
        """
        first = _SIZE.match(data, at)
        # Splitting is faster only if the first chunk is much smaller than the piece.
        if first is None or int(first.group(1), 16) * _MIN_CHUNKS > len(data) - at:
            return at
        # Sizes and bodies alternate, each on a line. The part after the last line end is
        # incomplete, and is not decoded here; nor is a size whose body is incomplete.
        parts = data[at:].split(b"\r\n")
        end = (len(parts) - 1) // 2 * 2
        sizes, bodies = parts[:end:2], parts[1:end:2]
        if b"".join(sizes).translate(None, _HEX) or max(map(len, sizes), default=0) > _MAX_DIGITS:
            return at  # a size has other characters, such as an extension, or many digits
        try:
            lengths = list(map(int, sizes, repeat(16)))
        except ValueError:
            return at  # a line without digits
        # A size of zero marks the end of the body. The steps read it and the trailers.
        if 0 in lengths:
            del lengths[lengths.index(0) :]
            del bodies[len(lengths) :], sizes[len(lengths) :]
        if lengths != list(map(len, bodies)):
            return at  # a body contains a CRLF, or a size is wrong
        decoded += bodies
        return at + sum(lengths) + sum(map(len, sizes)) + 4 * len(sizes)

    def _read_size(self, data: bytes, at: int, _: List[bytes]) -> int:
        """Step: read the line with the size of a chunk."""
        end = data.find(b"\n", at)
        if end < 0:
            return self._await_line_end(data, at)
        size = _SIZE.fullmatch(data, at, end) if end - at < _MAX_LINE_BYTES else None
        if size is None:
            self._await_line_end(data[:end], at)
            raise http.client.IncompleteRead(b"")
        self._bytes_left = int(size.group(1), 16)
        self._step = self._read_body if self._bytes_left else self._read_trailer
        return end + 1

    def _read_body(self, data: bytes, at: int, decoded: List[bytes]) -> int:
        """Step: read the bytes of a chunk that have arrived."""
        piece = data[at : at + self._bytes_left]
        if piece:
            decoded.append(piece)
            self._bytes_left -= len(piece)
        if not self._bytes_left:
            self._step = self._read_chunk_end
        return at + len(piece)

    def _read_chunk_end(self, data: bytes, at: int, _: List[bytes]) -> int:
        """Step: read the CRLF after a chunk. Other bytes mean that the chunk's size was wrong."""
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise http.client.IncompleteRead(b"")
        if len(end) < 2:
            return at
        self._step = self._read_size
        return at + 2

    def _read_trailer(self, data: bytes, at: int, _: List[bytes]) -> int:
        """Step: read one trailer, or the blank line that ends the body."""
        end = data.find(b"\n", at)
        if end < 0:
            return self._await_line_end(data, at)
        self._trailers_left -= end + 1 - at
        if self._trailers_left < 0:
            raise http.client.LineTooLong("trailer")
        self.is_finished = data[at:end] in (b"", b"\r")
        return end + 1

    @staticmethod
    def _await_line_end(data: bytes, at: int) -> int:
        """Return `at`, which means that more bytes are needed to complete a line.

        Raises:
            http.client.LineTooLong: The line has 65,536 bytes or more already.
        """
        if len(data) - at >= _MAX_LINE_BYTES:
            raise http.client.LineTooLong("chunk size")
        return at
