"""A value that must not be seen: API keys and tokens."""

from __future__ import annotations

import os
from typing import Optional, Tuple

from localproviders.errors import ConfigurationError

_REDACTED = "**********"

# A server that quotes an offered key back shortens it (lmstudio-api §1.3); shorter
# beginnings than this say nothing about a key and occur in ordinary words.
_TELLING_PREFIX = 6


class SecretString:
    """A text that shows itself only through `reveal()`.

    Its repr, format, JSON form and pickle are redacted. A secret read with `from_env`
    pickles as the variable's name and is read again where it is unpickled; a literal one
    comes back empty, and says so when it is used.

    Args:
        value: The secret. It must be printable Latin-1 text without blanks at its ends,
            because it travels in a header line.

    Raises:
        ConfigurationError: The value is empty or cannot stand in a header line. The
            message does not quote it.
    """

    __slots__ = ("_origin", "_value")

    def __init__(self, value: str, *, _origin: Optional[str] = None) -> None:
        _check_header_text(value, _origin)
        self._value: Optional[str] = value
        self._origin = _origin

    @classmethod
    def from_env(cls, name: str) -> SecretString:
        """Read the secret from an environment variable, now.

        Raises:
            ConfigurationError: The variable is unset, empty, or no header text.
        """
        value = os.environ.get(name, "")
        if not value:
            raise ConfigurationError(
                f"the environment variable {name} is not set", hint=f"export {name}=..."
            )
        return cls(value, _origin=name)

    def reveal(self) -> str:
        """Give the secret itself.

        Raises:
            ConfigurationError: The secret was a literal that has been pickled; pickles do
                not carry secrets.
        """
        if self._value is None:
            raise ConfigurationError(
                "this key was a literal and did not survive pickling",
                hint="pass the key again, or use SecretString.from_env(...)",
            )
        return self._value

    def as_bearer(self) -> str:
        """Give the value of an ``Authorization`` header, whose repr is redacted.

        Raises:
            ConfigurationError: As `reveal`.
        """
        return Unseen(f"Bearer {self.reveal()}")

    def scrub(self, text: str) -> str:
        """Give the text with the secret, and long beginnings of it, redacted."""
        value = self._value or ""
        if value:
            text = text.replace(value, _REDACTED)
        if len(value) > _TELLING_PREFIX and value[:_TELLING_PREFIX] in text:
            longest = min(len(value) - 1, len(text))
            for length in range(longest, _TELLING_PREFIX - 1, -1):
                text = text.replace(value[:length], _REDACTED)
        return text

    def __repr__(self) -> str:
        return f"SecretString({self._origin or _REDACTED!r})"

    def __str__(self) -> str:
        return _REDACTED

    def __format__(self, spec: str) -> str:
        return format(_REDACTED, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretString):
            return NotImplemented
        return (self._value, self._origin) == (other._value, other._origin)

    def __hash__(self) -> int:
        return hash((SecretString, self._value, self._origin))

    def to_dict(self) -> str:
        """Give what a dictionary or JSON may hold: the redaction."""
        return _REDACTED

    def __copy__(self) -> SecretString:
        return self

    def __deepcopy__(self, memo: object) -> SecretString:
        return self

    def __reduce__(self) -> Tuple[object, Tuple[Optional[str]]]:
        return (_unpickle, (self._origin,))


class Unseen(str):
    """Text that is a key, or may hold one, where dictionaries and frames would show its repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_REDACTED)


def _unpickle(origin: Optional[str]) -> SecretString:
    if origin is not None and os.environ.get(origin):
        return SecretString.from_env(origin)
    lost = SecretString("lost", _origin=origin)
    lost._value = None
    return lost


def _check_header_text(value: str, origin: Optional[str]) -> None:
    where = f"the key in {origin}" if origin else "the key"
    if not value or value != value.strip():
        raise ConfigurationError(f"{where} is empty or has blanks at its ends")
    if not value.isprintable() or any(ord(letter) > 255 for letter in value):
        raise ConfigurationError(
            f"{where} has a character that no header line can carry",
            hint="look for a line break or a typographic quote that was copied along",
        )
