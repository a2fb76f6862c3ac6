"""The base of the files that belong to a message: images, audio and documents."""

from __future__ import annotations

import base64
import os
from typing import Any

from localproviders._record import CONTENT, Record, loads
from localproviders.types.inputs import kind_of

#: Metadata of the field `data`: its value is read from base64, and the repr does not show it.
BYTES = loads(base64.b64decode, **CONTENT)


class Media(Record):
    """The base class of `Image`, `Audio` and `Document`, which declare the two fields again."""

    data: bytes
    media_type: str

    @property
    def base64(self) -> str:
        """The data as padded standard base64, without a prefix."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_uri(self) -> str:
        """The file as ``data:<type>;base64,<data>``."""
        return f"data:{self.media_type};base64,{self.base64}"


def read_file(path: Any) -> bytes:
    """Return the content of a file.

    Raises:
        TypeError: The argument is a string, or is not a path.
        OSError: The file cannot be read.
    """
    if isinstance(path, str):
        raise TypeError(
            "from_path takes a pathlib.Path, not a string: pass Path(...) if you mean a file"
        )
    if not isinstance(path, os.PathLike):
        raise TypeError(f"from_path takes a pathlib.Path, not {kind_of(path)}")
    with open(path, "rb") as file:
        return file.read()


def bytes_of(data: Any) -> bytes:
    """Return the data of a file as bytes.

    Raises:
        TypeError: `data` is of another type.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    more = "pass a path, an open file or an image of PIL itself, as in images=[value]"
    if isinstance(data, str):
        more = "pass from_path(Path(...)), from_data_uri(text), or base64.b64decode(text)"
    raise TypeError(f"from_bytes takes bytes, not {kind_of(data)}; {more}")
