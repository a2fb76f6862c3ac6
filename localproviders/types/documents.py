"""`Document`: a file with text, such as a PDF file, that belongs to a message."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Optional

from localproviders._record import CONTENT, field, record
from localproviders.types.inputs import kind_of
from localproviders.types.media import BYTES, Media, bytes_of, read_file

if TYPE_CHECKING:
    from pathlib import Path
else:
    Path = os.PathLike  # pathlib would slow down the import of this package

_PDF, _TEXT = "application/pdf", "text/plain"


@record
class Document(Media):
    """A document for a model that reads it; make it with one of the `from_...` methods.

    Only Anthropic's API reads documents. With another provider, a message with a document raises
    `UnsupportedError`.

    Attributes:
        data: The bytes of the file. The bytes of a text are its encoding in UTF-8.
        media_type: ``application/pdf`` or ``text/plain``.
        title: Title of the document, which the model can quote; None for no title.

    Raises:
        ValueError: The data is empty, or a field has the wrong type.
    """

    data: bytes = field(metadata=BYTES)
    media_type: str
    title: Optional[str] = field(default=None, metadata=CONTENT)

    def __post_init__(self) -> None:
        if self.title is not None and not isinstance(self.title, str):
            raise ValueError(f"title is {kind_of(self.title)}, and must be text")
        if not isinstance(self.data, bytes) or not self.data:
            raise ValueError("a document has no data: pass the bytes of a file")

    @classmethod
    def from_path(cls, path: Path, *, title: Optional[str] = None) -> Document:
        """Read a PDF file or a text file in UTF-8.

        Args:
            path: A `pathlib.Path`; a string is refused.
            title: Title of the document. The name of the file is not sent.

        Raises:
            TypeError: `path` is a string, or is not a path.
            OSError: The file cannot be read.
            ValueError: The file is empty, or is neither PDF nor text in UTF-8.
        """
        return cls.from_bytes(read_file(path), title=title)

    @classmethod
    def from_bytes(
        cls, data: bytes, media_type: Optional[str] = None, *, title: Optional[str] = None
    ) -> Document:
        """Make a document from the bytes of a file.

        Args:
            data: The bytes.
            media_type: The media type; None detects it from the bytes.
            title: Title of the document.

        Raises:
            TypeError: `data` is not bytes.
            ValueError: The data is empty, or `media_type` is None and the data is neither PDF nor
                text in UTF-8.
        """
        data = bytes_of(data)
        found = media_type or _type_of(data)
        if found is None:
            raise ValueError(
                "the data is neither a PDF file nor text in UTF-8; pass media_type='...' if the "
                "model reads it"
            )
        return cls(data=data, media_type=found, title=title)

    @classmethod
    def from_text(cls, text: str, *, title: Optional[str] = None) -> Document:
        """Make a document of the type ``text/plain``.

        Args:
            text: The text.
            title: Title of the document.

        Raises:
            TypeError: `text` is not a string.
            ValueError: `text` is empty, or has half of a surrogate pair.
        """
        if not isinstance(text, str):
            raise TypeError(f"from_text takes a string, not {kind_of(text)}")
        return cls(data=text.encode("utf-8"), media_type=_TEXT, title=title)

    @property
    def text(self) -> Optional[str]:
        """The text of a document of the type ``text/plain``; None for any other document."""
        return self.data.decode("utf-8", "replace") if self.media_type == _TEXT else None


def _type_of(data: Any) -> Optional[str]:
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return _PDF
    try:
        is_text = "\x00" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return _TEXT if is_text else None
