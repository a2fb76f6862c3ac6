"""What goes with a text: pictures and sound."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Optional

from localproviders._record import CONTENT, Record, field, loads, record

if TYPE_CHECKING:
    from pathlib import Path

# The first bytes of the formats that the servers read (ollama-api §4.8, lmstudio-api §6.3).
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


@record
class _Media(Record):
    data: bytes = field(metadata=loads(base64.b64decode, **CONTENT))
    media_type: str

    @property
    def base64(self) -> str:
        """The data as padded standard base64, without a prefix."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_uri(self) -> str:
        """The file as ``data:<type>;base64,<data>``."""
        return f"data:{self.media_type};base64,{self.base64}"


@record
class Image(_Media):
    """A picture for a model that can see; make it with one of the `from_...` methods.

    A plain string is never taken for a path or an address: text of a user must not be able
    to make this package read a file.

    Attributes:
        data: The bytes of the file.
        media_type: Such as ``image/png``.
    """

    @classmethod
    def from_bytes(cls, data: bytes, media_type: Optional[str] = None) -> Image:
        """Take the bytes of an image file; the type is read from its first bytes.

        Raises:
            ValueError: The data is empty, or its type is unknown and not given.
        """
        found = media_type or _image_type(data)
        if not data or found is None:
            raise ValueError(
                "these bytes are no PNG, JPEG, GIF or WebP image; "
                "pass media_type='image/...' if they are an image all the same"
            )
        return cls(data=data, media_type=found)

    @classmethod
    def from_path(cls, path: Path) -> Image:
        """Read an image file. The argument is a `pathlib.Path`; a string is refused.

        Raises:
            TypeError: The argument is a string.
            OSError: The file cannot be read.
            ValueError: The file is no image of a known type.
        """
        return cls.from_bytes(_file(path))

    @classmethod
    def from_data_uri(cls, uri: str) -> Image:
        """Take an image out of ``data:image/...;base64,...``.

        Raises:
            ValueError: The text is no such URI, or its base64 is broken.
        """
        head, comma, body = uri.partition(",")
        if not (head.startswith("data:image/") and head.endswith(";base64") and comma):
            raise ValueError("an image URI reads 'data:image/<type>;base64,<data>'")
        try:
            data = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise ValueError(f"the base64 of this image URI is broken: {error}") from None
        return cls.from_bytes(data, head[len("data:") : -len(";base64")])


@record
class Audio(_Media):
    """Sound for a model that can hear; make it with `from_bytes` or `from_path`.

    Attributes:
        data: The bytes of the file.
        media_type: ``audio/wav`` or ``audio/mpeg``, which the servers read (ollama-api §4.8).
    """

    @classmethod
    def from_bytes(cls, data: bytes) -> Audio:
        """Take the bytes of a WAV or MP3 file; the type is read from its first bytes.

        Raises:
            ValueError: The data is neither.
        """
        found = _audio_type(data)
        if found is None:
            raise ValueError("these bytes are no WAV or MP3 file, which the servers can read")
        return cls(data=data, media_type=found)

    @classmethod
    def from_path(cls, path: Path) -> Audio:
        """Read a sound file. The argument is a `pathlib.Path`; a string is refused.

        Raises:
            TypeError: The argument is a string.
            OSError: The file cannot be read.
            ValueError: The file is neither WAV nor MP3.
        """
        return cls.from_bytes(_file(path))

    @property
    def format(self) -> str:
        """``wav`` or ``mp3``."""
        return "wav" if self.media_type == "audio/wav" else "mp3"


def _file(path: Path) -> bytes:
    if isinstance(path, str):
        raise TypeError(
            "from_path takes a pathlib.Path, not a string: Path(...) says you mean a file"
        )
    return path.read_bytes()


def _image_type(data: bytes) -> Optional[str]:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _audio_type(data: bytes) -> Optional[str]:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio/wav"
    # An MP3 begins with a tag, or with eleven set bits of a frame of layer III.
    frame = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2
    return "audio/mpeg" if data.startswith(b"ID3") or frame else None
