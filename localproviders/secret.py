"""Secret values, such as API keys and tokens, and how they stay out of tracebacks and logs."""

from __future__ import annotations

import os
from functools import wraps
from types import CellType
from typing import Any, Callable, Optional, Tuple, TypeVar, cast

from localproviders._signatures import exact_keywords
from localproviders.errors import ConfigurationError, ProviderError

__all__ = ["SecretString"]

_Error = TypeVar("_Error", bound=BaseException)
_Function = TypeVar("_Function", bound=Callable[..., Any])

#: A cell: a container for an argument of any type that may be a secret. Neither a traceback with
#: local variables nor an error reporter shows the content of a cell. A function that receives
#: secrets seals them, that is, puts them into a cell, in its first statement. It rebinds its
#: parameters in the same statement. A helper function cannot do this, because the secret would then
#: be in the frame of the helper.
Sealed = CellType

#: The text that is shown instead of a secret.
REDACTED = "**********"

# The beginning of an API key is redacted if it has at least this many characters. A server may
# quote the beginning of a refused API key (docs/reference/lmstudio.md, "Authentication"). Shorter
# beginnings reveal little, and would also be found inside ordinary words.
_SHORTEST_PREFIX = 6


class SecretString:
    """A secret text. Only `reveal` and `as_bearer` return the text itself.

    Its str, repr, format, `to_dict` and pickle are redacted. The pickle of a secret from `from_env`
    has the name of the variable, which is read again when the pickle is loaded. If the variable is
    not set at that moment, `reveal` raises a `ConfigurationError`. The pickle of a literal secret
    does not contain the secret, so `reveal` raises this error after the pickle was loaded.

    Args:
        value: The secret. It must be printable text without blanks at its ends. An API key, or the
            value of a header, must also be Latin-1, because it is sent in a header line. A password
            may contain other characters.

    Raises:
        ConfigurationError: The value is empty, has blanks at its ends, or is not printable. The
            message does not quote it.
    """

    __slots__ = ("_origin", "_value")

    @exact_keywords
    def __init__(self, value: str, *, _origin: Optional[str] = None) -> None:
        given, value = Sealed(value), ""
        check_secret_text(given, f"the key in {_origin}" if _origin else "the key")
        self._value: Optional[Unseen] = Unseen(given.cell_contents)
        self._origin = _origin

    @classmethod
    def from_env(cls, name: str) -> SecretString:
        """Read the secret from an environment variable, immediately.

        Args:
            name: Name of the variable.

        Raises:
            ConfigurationError: The variable is unset or empty, or its value has blanks at its ends
                or is not printable. The message does not quote the value.
        """
        value = Unseen(os.environ.get(name, ""))
        if not value:
            raise ConfigurationError(
                f"the environment variable {name} is not set", hint=f"export {name}=..."
            )
        return cls(value, _origin=name)

    def __getattr__(self, name: str) -> Any:
        # If the constructor was interrupted, the slots are empty. The repr must still work.
        if name in SecretString.__slots__:
            return None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def reveal(self) -> str:
        """Return the secret itself.

        Raises:
            ConfigurationError: The secret is missing. It was a literal that was pickled or turned
                into a dictionary, or its variable was not set when the pickle was loaded.
        """
        if self._value is None and self._origin:
            raise ConfigurationError(
                f"the environment variable {self._origin} was not set when this key was unpickled",
                hint=f"export {self._origin}=... before the pickle is loaded",
            )
        if self._value is None:
            raise ConfigurationError(
                "this key was a literal, so pickles and dictionaries left it out",
                hint="pass the key again, or use SecretString.from_env(...)",
            )
        return str(self._value)

    def as_bearer(self) -> str:
        """Return the value for an ``Authorization`` header. Its repr is redacted.

        Raises:
            ConfigurationError: The secret is missing. It was a literal that was pickled or turned
                into a dictionary, or its variable was not set when the pickle was loaded.
        """
        return Unseen(f"Bearer {self.reveal()}")

    def scrub(self, text: str) -> str:
        """Return the text with the secret redacted.

        If only the beginning of the secret is quoted, it is redacted if it has at least 6
        characters.
        """
        text = Unseen(text)
        value = self._value or Unseen()
        if value:
            text = Unseen(text.replace(value, REDACTED))
        if len(value) > _SHORTEST_PREFIX and value[:_SHORTEST_PREFIX] in text:
            longest = min(len(value) - 1, len(text))
            for length in range(longest, _SHORTEST_PREFIX - 1, -1):
                text = Unseen(text.replace(value[:length], REDACTED))
        return str(text)

    def __repr__(self) -> str:
        return f"SecretString({self._origin or REDACTED!r})"

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretString):
            return NotImplemented
        return (self._value, self._origin) == (other._value, other._origin)

    def __hash__(self) -> int:
        return hash((SecretString, self._value, self._origin))

    def to_dict(self) -> str:
        """Return the text that replaces the secret in dictionaries and JSON."""
        return REDACTED

    def __copy__(self) -> SecretString:
        return self

    def __deepcopy__(self, memo: object) -> SecretString:
        return self

    def __reduce__(self) -> Tuple[object, Tuple[Optional[str]]]:
        return (_unpickle, (self._origin,))


class Unseen(str):
    """A string with a redacted repr, for secrets and for texts that may contain a secret.

    Tracebacks with local variables, and dictionaries that contain the string, show only this repr.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(REDACTED)


def _unpickle(origin: Optional[str]) -> SecretString:
    if origin is not None and os.environ.get(origin):
        return SecretString.from_env(origin)
    lost = SecretString("lost", _origin=origin)
    lost._value = None
    return lost


def as_key(given: CellType, what: str = "the key") -> Optional[SecretString]:
    """Return the argument `api_key` or the value of a header as a secret; None stays None.

    Args:
        given: The argument in a cell (`Sealed`). A redacted text becomes a secret that raises a
            `ConfigurationError` when it is used.
        what: The name of the value in error messages.

    Raises:
        ConfigurationError: The argument is neither a str nor a `SecretString`, or the text cannot
            be sent in a header line. The message does not quote it.
    """
    secret = as_secret(given)
    if secret is not None and secret._value is not None:
        known = f"{what} in {secret._origin}" if secret._origin else what
        _check_latin(Sealed(secret._value), known)
    return secret


def as_secret(given: CellType) -> Optional[SecretString]:
    """Return an API key or a password as a secret; None stays None.

    Args:
        given: The argument in a cell (`Sealed`). The text that `SecretString.to_dict` returns
            becomes a secret that raises a `ConfigurationError` when it is used.

    Raises:
        ConfigurationError: The argument is neither a str nor a `SecretString`, or the text cannot
            be a secret. The message does not quote it.
    """
    if given.cell_contents is None or isinstance(given.cell_contents, SecretString):
        return given.cell_contents
    if given.cell_contents == REDACTED:
        return _unpickle(None)
    if isinstance(given.cell_contents, str):
        return SecretString(Unseen(given.cell_contents))
    raise _not_a_string(given, "the key")


def bare(error: _Error) -> _Error:
    """Remove the traceback, the context and the cause of an error, and return the error.

    The traceback and the other errors may contain the refused value, which may be a secret. An
    error that is not a `ProviderError`, such as an interrupt, keeps its cause.
    """
    if isinstance(error, ProviderError):
        error.__cause__ = None
    return without_frames(error)


def without_frames(error: _Error) -> _Error:
    """Remove the traceback and the context of an error, and return the error.

    The frames of both keep the texts of a request in memory. The cause is kept.
    """
    error.__context__ = None
    return error.with_traceback(None)


def errors_without_frames(function: _Function) -> _Function:
    """Decorate a function that checks content from the user: a prompt, texts, messages.

    The traceback is removed from each `TypeError` and `ValueError` that the function raises. The
    frames in it contain the prompt, and a traceback with local variables would show it. Other
    errors are not changed. The caller of the function must seal the prompt in its own frame.
    """

    @wraps(function)
    def checked(*args: Any, **keywords: Any) -> Any:
        given, args, keywords = Sealed((args, keywords)), (), {}
        try:
            return function(*given.cell_contents[0], **given.cell_contents[1])
        except (TypeError, ValueError) as error:
            failure = bare(error)
        raise failure

    return cast("_Function", checked)


def _not_a_string(given: CellType, what: str) -> ConfigurationError:
    kind = type(given.cell_contents).__name__
    return ConfigurationError(
        f"{what} must be a str, got {kind}",
        hint='pass a str, or SecretString.from_env("...")',
    )


def check_header_text(given: CellType, what: str) -> None:
    """Check that a value can be sent in a header line.

    Args:
        given: The value in a cell (`Sealed`).
        what: The name of the value in error messages.

    Raises:
        ConfigurationError: The value is not a str, is empty, has blanks at its ends, or has a
            character that a header line cannot contain. The message does not quote the value.
    """
    check_secret_text(given, what)
    _check_latin(given, what)


def check_secret_text(given: CellType, what: str) -> None:
    """Check that a value can be a secret: printable text without blanks at its ends.

    Args:
        given: The value in a cell (`Sealed`).
        what: The name of the value in error messages.

    Raises:
        ConfigurationError: The value is not such a text. The message does not quote the value.
    """
    if not isinstance(given.cell_contents, str):
        raise _not_a_string(given, what)
    if not given.cell_contents or given.cell_contents != given.cell_contents.strip():
        raise ConfigurationError(f"{what} is empty or has blanks at its ends")
    if not given.cell_contents.isprintable():
        raise _unsendable(what)


def _check_latin(given: CellType, what: str) -> None:
    # `max` instead of a loop, because a loop would put each letter of the secret into this frame.
    if max(given.cell_contents) > "\xff":
        raise _unsendable(what)


def _unsendable(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what} has a character that a header line cannot contain",
        hint="look for a line break or a typographic quote that was copied with it",
    )
