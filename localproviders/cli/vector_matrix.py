"""Vectors as a matrix of 32-bit floats: a file of NumPy, or the numbers alone."""

from __future__ import annotations

import struct
import sys
from array import array

from localproviders._signatures import Vector
from localproviders.cli.inputs import Input
from localproviders.cli.output import Output
from localproviders.cli.rows import name_error
from localproviders.cli.usage import UsageError
from localproviders.errors import ProviderError

# NumPy's format, version 1.0: the file begins with the magic bytes and the version, the length of
# the description, and the description. The numbers must begin at a multiple of 64 bytes.
_MAGIC = b"\x93NUMPY\x01\x00"
_LENGTH = struct.Struct("<H")
_START = 128


class VectorMatrix:
    """Writes vectors as rows of a matrix of little-endian 32-bit floats.

    The header of a NumPy file contains the number of rows, which is known only at the end. So a
    header of zeros is written first, and `end` replaces it.

    Args:
        output: The output.
        has_header: Whether the file is a NumPy file.

    Raises:
        UsageError: `has_header` is true, but the output is a pipe or a device.
    """

    def __init__(self, output: Output, *, has_header: bool) -> None:
        if has_header and not output.is_new_file:
            raise UsageError("a .npy file cannot be written to a pipe", hint="use -o FILE.f32")
        self._output = output
        self._has_header = has_header
        self._rows = 0
        self._columns = 0
        if has_header:
            output.write_bytes(bytes(_START))

    def write(self, index: int, found: Input, vector: Vector) -> None:
        """Write a row; raises like `Output.write`."""
        self._rows, self._columns = index + 1, len(vector)
        self._output.write_bytes(_little_endian(vector))

    def write_failure(self, index: int, found: Input, error: ProviderError) -> None:
        """Raise the error: a matrix without this row would be wrong."""
        name_error(found, error)
        error.hint = "-o FILE.jsonl keeps the vectors of the other inputs"
        raise error

    def end(self) -> None:
        """Write the header, now that the number of rows is known; raises like `Output.write`."""
        if self._has_header:
            self._output.replace_start(header_of(self._rows, self._columns))


def header_of(rows: int, columns: int) -> bytes:
    """Return the header of a NumPy file with a matrix of this shape: 128 bytes."""
    shape = f"({rows}, {columns})"
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    length = _START - len(_MAGIC) - _LENGTH.size
    return _MAGIC + _LENGTH.pack(length) + text.ljust(length - 1).encode("ascii") + b"\n"


def _little_endian(vector: Vector) -> bytes:
    if sys.byteorder == "little":
        return vector.tobytes()
    swapped = array(vector.typecode, vector)
    swapped.byteswap()
    return swapped.tobytes()
