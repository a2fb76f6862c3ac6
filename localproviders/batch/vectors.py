"""Outputs with vectors: a matrix of 32-bit floats in numpy's format, and a file with the ids.

While the run goes on, the vectors are appended in the order in which they arrive, and the head of
the file describes an empty matrix. Each vector is a line of base64, which contains no zero byte. So
zero bytes that a power failure leaves can be recognised (`audit.py`). At the end, the numbers are
written to a new file in the order of the rows. The vector of a failed row has NaN in all places. A
second file, ``OUTPUT.ids.jsonl``, has a line for each row: its id, and its error if it failed.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from binascii import a2b_base64, b2a_base64
from hashlib import blake2b
from itertools import repeat
from typing import Any, Dict, Iterator, Optional

from localproviders.batch.audit import records_of
from localproviders.batch.jobs import EMBEDDING
from localproviders.batch.journal import CLOSED, FAILED, IN_OUTPUT, RETRYABLE
from localproviders.batch.ledger import Ledger
from localproviders.batch.manifest import Manifest
from localproviders.batch.paths import RunPaths, sync_folder
from localproviders.batch.results import BatchRecord
from localproviders.batch.rows import Row
from localproviders.batch.store import Entry
from localproviders.batch.wire.lines import line_of, write_line
from localproviders.errors import ConfigurationError, IntegrityError, ProviderError

_MAGIC = b"\x93NUMPY\x01\x00"
_HEAD_SIZE = 128
_FLOAT_BYTES = 4
_BLOCK = 1 << 18


def matrix_head(rows: int, dimensions: int) -> bytes:
    """Return the head of a file in numpy's format, before the numbers."""
    shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimensions}), }}"
    size = _HEAD_SIZE - len(_MAGIC) - 2
    return _MAGIC + size.to_bytes(2, "little") + shape.ljust(size - 1).encode() + b"\n"


class VectorLines:
    """Vectors as lines: of base64 while the run goes on, and of packed floats at its end.

    Args:
        dimensions: Length of the vectors of an earlier run; None if there is none.

    Attributes:
        dimensions: Length of the vectors; None before the first one.
    """

    def __init__(self, dimensions: Optional[int] = None) -> None:
        self.dimensions: Optional[int] = dimensions

    def head(self) -> bytes:
        """Return the head of an empty matrix."""
        return matrix_head(0, 0)

    def problem(self, record: BatchRecord) -> Optional[ProviderError]:
        """Return the reason why this output cannot contain an answer; None if it can."""
        if record.kind != EMBEDDING:
            return ConfigurationError(
                f"a row of the kind {record.kind!r} has no vector",
                hint="write rows of other kinds to a .jsonl file",
            )
        if len(record.value.vectors) != 1:
            return ConfigurationError("the row has several texts, and can have only one vector")
        found = len(record.value.vectors[0])
        self.dimensions = self.dimensions or found
        if found != self.dimensions:
            return ConfigurationError(
                f"the vector has {found} dimensions, but earlier vectors have {self.dimensions}"
            )
        return None

    def line(self, record: BatchRecord, row: Row) -> bytes:
        """Return the vector in base64; for a failed row, a line for the file of failures."""
        if record.error is not None:
            return write_line(line_of(record))
        return b2a_base64(little_endian(record.vector))

    def error_class(self, line: bytes) -> Optional[str]:
        """Return the name of the error class in a line of the file of failures."""
        return str(json.loads(line)["error"]["code"])

    def closed(self, entry: Entry) -> Entry:
        """Return the entry of a row for the final matrix; for a failed row, NaN in all places."""
        # The line of a row that failed in an earlier run is empty, if no row had an answer then.
        if entry.state not in IN_OUTPUT or not entry.line:
            return self._lost(entry)
        # The lines of a finished matrix have packed floats.
        is_packed = len(entry.line) % _FLOAT_BYTES == 0
        return entry if is_packed else entry._replace(line=a2b_base64(entry.line))

    def _lost(self, entry: Entry) -> Entry:
        """Return an entry for a failed row: NaN in all places."""
        lost = array("f", repeat(float("nan"), self.dimensions or 0))
        return entry._replace(state=CLOSED, line=little_endian(lost))


def little_endian(vector: Any) -> bytes:
    """Return the bytes of packed floats, in the same byte order on all machines."""
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return bytes(vector.tobytes())


def dimensions_in(paths: RunPaths, records: int) -> Optional[int]:
    """Return the length of the vectors in an output; None if the output has no vector.

    Args:
        paths: The paths of the run.
        records: Number of records in its journal.
    """
    found = records_of(paths.journal, 0, records)
    sizes = (each.length for each in found if each.state in IN_OUTPUT and each.length)
    return next(map(_dimensions_of, sizes), None)


def _dimensions_of(length: int) -> int:
    """Return the number of floats in a line of this length."""
    if length % _FLOAT_BYTES == 0:  # packed
        return length // _FLOAT_BYTES
    # Four characters of base64 have three bytes, of which up to two do not count. The line feed is
    # the only byte after the last four characters.
    return length // 4 * 3 // _FLOAT_BYTES


# --- the file with the ids --------------------------------------------------------------------


def id_line(name: str, entry: Entry, before: Dict[str, Any]) -> bytes:
    """Return the line of a row in the file with the ids.

    Args:
        name: The id of the row.
        entry: The result of the row.
        before: The line of the row in the present file with ids; empty if there is none.
    """
    found: Dict[str, Any] = {"id": name}
    if entry.state not in IN_OUTPUT:
        found["error"] = json.loads(entry.line)["error"]
    elif entry.state == CLOSED and "error" in before:
        found["error"] = before["error"]
    return write_line(found)


def id_lines(paths: RunPaths) -> Iterator[Dict[str, Any]]:
    """Yield the parsed lines of the file with the ids; nothing if there is no such file."""
    if os.path.exists(paths.ids):
        with open(paths.ids, "rb") as file:
            yield from map(json.loads, file)


class NewIds:
    """A new file with ids, beside the present one. Write it in a ``with`` block.

    Args:
        paths: The paths of the run.

    Attributes:
        digest: Digest of the file; empty until the end of the block.
    """

    def __init__(self, paths: RunPaths) -> None:
        self._path = paths.ids
        self._digest = blake2b(digest_size=16)
        self.digest: str = ""

    def __enter__(self) -> NewIds:
        self._file = open(f"{self._path}.new", "wb")  # closed by `__exit__`
        return self

    def write(self, line: bytes) -> None:
        """Append a line."""
        self._file.write(line)
        self._digest.update(line)

    def __exit__(self, *_: object) -> None:
        self.digest = self._digest.hexdigest()
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())

    def put_in_place(self, paths: RunPaths) -> None:
        """Replace the present file with this one."""
        os.replace(f"{self._path}.new", self._path)
        sync_folder(paths.folder)


def check_ids(paths: RunPaths, manifest: Manifest) -> None:
    """Check that the file with the ids is that of the last finished run.

    A run that ends while it replaces the file may leave the new one beside the old one.

    Raises:
        IntegrityError: The file was changed, or is missing.
    """
    path = paths.ids
    digest = manifest.facts.get(_DIGEST)
    if digest is not None and digest not in (_digest_of(path), _digest_of(f"{path}.new")):
        raise IntegrityError(
            f"{path!r} was changed or is missing: it does not belong to its matrix",
            path=path,
            hint="restore the file from a copy, or begin a new run with another output",
        )


def recover_ids(paths: RunPaths, manifest: Manifest) -> None:
    """Finish an interrupted replacement of the file with the ids.

    Raises:
        IntegrityError: The file was changed, or is missing.
    """
    check_ids(paths, manifest)
    path = paths.ids
    if manifest.facts.get(_DIGEST) not in (None, _digest_of(path)):
        os.replace(f"{path}.new", path)
        sync_folder(paths.folder)


def is_final(paths: RunPaths, ledger: Ledger, manifest: Manifest) -> bool:
    """Return whether a run has written its final matrix, and the file with the ids.

    Args:
        paths: The paths of the run.
        ledger: Its state.
        manifest: Its manifest.
    """
    rows = ledger.rows
    is_open = ledger.superseded or rows[FAILED].count or rows[RETRYABLE].count
    if is_open or not manifest.facts.get("finished", False):
        return False
    if manifest.facts.get(_DIGEST) != _digest_of(paths.ids):
        return False
    head = matrix_head(manifest.shard_rows, dimensions_in(paths, ledger.records) or 0)
    with open(paths.output, "rb") as file:
        return file.read(len(head)) == head


# The name of the digest of the ids in the manifest.
_DIGEST = "ids"


def note_ids(manifest: Manifest, ids: NewIds) -> None:
    """Note the digest of a new file with ids in the manifest."""
    manifest.facts[_DIGEST] = ids.digest


def _digest_of(path: str) -> Optional[str]:
    """Return the digest of a file; None if it is missing."""
    if not os.path.exists(path):
        return None
    digest = blake2b(digest_size=16)
    with open(path, "rb") as file:
        for data in iter(lambda: file.read(_BLOCK), b""):
            digest.update(data)
    return digest.hexdigest()
