"""The headers and the Basic authentication that a provider adds to all requests to its server.

Their values are hidden like an API key: no repr and no frame of a traceback shows them. In this
module, a key is any secret value of a header, such as an API key or a cookie. The module does no
input or output.
"""

from __future__ import annotations

import base64
import re
from types import CellType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from localproviders._patterns import pattern
from localproviders._record import FrozenDict
from localproviders.errors import ConfigurationError
from localproviders.secret import (
    REDACTED,
    Sealed,
    SecretString,
    Unseen,
    as_key,
    as_secret,
    check_header_text,
    check_secret_text,
)

# If the name of a header has one of these words, its value is a key. This applies to the headers of
# requests and of responses.
_KEY_WORDS = frozenset(
    ("authorization", "auth", "cookie", "key", "apikey", "token", "secret", "password")
)

# Headers that a caller cannot set, in lower case. The transport sets most of them for each request
# or connection. The others change the kind of response: Range returns a part of a body, the headers
# If-... may return no body, and Upgrade changes the protocol.
_OWNED = frozenset(
    {
        *("accept", "accept-encoding", "host", "connection", "keep-alive", "te", "trailer"),
        *("content-encoding", "content-length", "content-type", "transfer-encoding", "expect"),
        *("upgrade", "http2-settings", "range", "if-range", "if-match", "if-none-match"),
        *("if-modified-since", "if-unmodified-since"),
    }
)
_OF_PROXIES = "proxy-"

_TOKEN = pattern(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# A name that an error may quote. Any other text may be an API key that was written in the wrong
# place.
_QUOTABLE = pattern(r"[A-Za-z]{1,20}(-[A-Za-z]{1,20}){0,4}")
# Minimum length of a header's value that is redacted in texts. Keys are redacted at any length.
# Other values that are shorter would also be found inside ordinary words.
_SHORTEST_REDACTED = 4

_HEADERS_HINT = 'pass headers={"X-Team": "..."}, and keys as SecretString.from_env("...")'
_AUTH_HINT = 'pass auth=("user", SecretString.from_env("PASSWORD"))'


class RequestHeaders(FrozenDict[str, Union[str, SecretString]]):
    """A caller's headers by name. A value that is a key is stored as a `SecretString`.

    A key is a secret, such as an API key or a cookie. A value is a key if it was passed as a
    `SecretString`, or if the name of its header shows that it is a key (`is_key_header`). The repr
    shows only the number of headers. Dictionaries and pickles have all values except the keys.
    """

    def __repr__(self) -> str:
        return f"<{len(self)} headers>"

    def to_dict(self) -> Dict[str, str]:
        """Return the headers, with each key redacted."""
        return {name: str(value) for name, value in self.items()}

    @property
    def keys_in_values(self) -> Tuple[SecretString, ...]:
        """The values that are keys."""
        return tuple(value for value in self.values() if isinstance(value, SecretString))

    def has(self, name: str) -> bool:
        """Return whether a header is set, ignoring the case of its name."""
        return name.lower() in map(str.lower, self)

    def revealed(self) -> Dict[str, str]:
        """Return the headers as they are sent. The reprs of the values are redacted.

        Raises:
            ConfigurationError: A key is missing. It was a literal that was pickled or turned into
                a dictionary, or its variable was not set when the pickle was loaded.
        """
        return {
            name: Unseen(value.reveal()) if isinstance(value, SecretString) else value
            for name, value in self.items()
        }

    def scrub(self, text: str) -> str:
        """Return the text with the values of the headers redacted.

        Keys are redacted by `SecretString.scrub`. A value that is not a key is redacted if it has
        at least four characters.
        """
        text = Unseen(text)
        for value in self.values():
            if isinstance(value, SecretString):
                text = Unseen(value.scrub(text))
            elif len(value) >= _SHORTEST_REDACTED:
                text = Unseen(text.replace(value, REDACTED))
        return str(text)


def is_key_header(name: str) -> bool:
    """Return whether the name of a header shows that its value is a key, as ``X-Auth-Token`` does.

    The name is split into words at hyphens, dots and underscores. One of the words must be
    ``Authorization``, ``Auth``, ``Cookie``, ``Key``, ``ApiKey``, ``Token``, ``Secret`` or
    ``Password``, in any case.
    """
    return not _KEY_WORDS.isdisjoint(re.split(r"[-_.]", name.lower()))


def as_headers(given: CellType) -> Optional[RequestHeaders]:
    """Return the checked value of the argument `headers`; None if there is no header.

    Args:
        given: The argument in a cell (`Sealed`), which hides it from tracebacks. A redacted value
            becomes a key that raises a `ConfigurationError` when it is used.

    Raises:
        ConfigurationError: The argument is not a mapping of strings, or a header has an invalid
            name or value, is set by the transport, or is named twice. No message quotes a value.
    """
    if given.cell_contents is None or isinstance(given.cell_contents, RequestHeaders):
        return given.cell_contents or None
    if not isinstance(given.cell_contents, Mapping):
        kind = type(given.cell_contents).__name__
        raise ConfigurationError(f"headers must be a mapping, got {kind}", hint=_HEADERS_HINT)
    for each in map(type, given.cell_contents):
        if not issubclass(each, str):
            raise ConfigurationError(
                f"headers has a name of the type {each.__name__}, but a name must be a str",
                hint=_HEADERS_HINT,
            )
    # A name may be an API key that was written in the wrong place, so the names are hidden, too.
    names = list(map(Unseen, given.cell_contents))
    check_header_names(names)
    values = map(_as_value, names, map(Sealed, given.cell_contents.values()))
    return RequestHeaders(zip(map(str, names), values)) or None


def check_header_names(names: List[Any]) -> None:
    """Check the names of headers.

    Raises:
        ConfigurationError: A name is invalid, belongs to the transport, or occurs twice.
    """
    lower = list(map(Unseen, map(str.lower, names)))
    for place, name in enumerate(lower):
        what = _what(names[place])
        if not _TOKEN.fullmatch(name):
            raise ConfigurationError(
                "the name of a header is empty, or has a character that it must not contain",
                hint="use letters, digits and hyphens, such as X-Team",
            )
        if name in _OWNED or name.startswith(_OF_PROXIES):
            raise ConfigurationError(
                f"{what} cannot be set: this package sets or omits it itself",
                hint="pass proxies=... for the headers of a proxy"
                if name.startswith(_OF_PROXIES)
                else "leave it out",
            )
        if name in lower[:place]:
            raise ConfigurationError(
                f"{what} is given twice", hint="write it once; upper and lower case are the same"
            )


def _what(name: str) -> str:
    return f"the header {name}" if _QUOTABLE.fullmatch(name) else "a header"


def _as_value(name: str, given: CellType) -> Union[str, SecretString]:
    is_secret = isinstance(given.cell_contents, SecretString)
    if not is_secret:
        check_header_text(given, _what(name))
    if is_secret or is_key_header(name) or given.cell_contents == REDACTED:
        secret = as_key(given, _what(name))
        assert secret is not None  # noqa: S101  # None was refused
        return secret
    return Unseen(given.cell_contents)


class BasicAuth(NamedTuple):
    """The user and the password of Basic authentication. The repr shows neither of them."""

    user: Union[str, SecretString]
    password: SecretString

    def __repr__(self) -> str:
        return f"<user and password {REDACTED}>"

    def to_dict(self) -> List[str]:
        """Return the user, and a placeholder instead of the password."""
        return [str(self.user), str(self.password)]

    def as_header(self) -> SecretString:
        """Return the value of the ``Authorization`` header.

        Raises:
            ConfigurationError: The password is missing. It was a literal that was pickled or
                turned into a dictionary, or its variable was not set when the pickle was loaded.
                Or the user is a secret that has a colon.
        """
        user = self.user
        name = Unseen(user.reveal()) if isinstance(user, SecretString) else user
        if ":" in name:
            raise _no_user()
        pair = Unseen(f"{name}:{self.password.reveal()}")
        # RFC 7617 leaves the encoding to the server. It recommends UTF-8, which curl also sends on
        # a usual terminal. Latin-1 cannot express every password.
        return SecretString(Unseen(f"Basic {base64.b64encode(pair.encode()).decode()}"))

    def scrub(self, text: str) -> str:
        """Return the text with the password redacted, both plain and as base64 in the header."""
        text = Unseen(text)
        try:
            header = self.as_header()
        except ConfigurationError:
            return str(text)  # the password is missing, so no server has received it
        token = SecretString(Unseen(header.reveal().partition(" ")[2]))
        return self.password.scrub(Unseen(token.scrub(text)))


def as_auth(given: CellType) -> Optional[BasicAuth]:
    """Return the checked value of the argument `auth`.

    Args:
        given: The argument in a cell (`Sealed`), which hides it from tracebacks. A redacted
            password becomes a secret that raises a `ConfigurationError` when it is used.

    Raises:
        ConfigurationError: The argument is not a pair of strings, the user has a colon or a
            control character, or the password cannot be used. No message quotes them.
    """
    if given.cell_contents is None or isinstance(given.cell_contents, BasicAuth):
        return given.cell_contents
    if not isinstance(given.cell_contents, (tuple, list)) or len(given.cell_contents) != 2:
        kind = type(given.cell_contents).__name__
        raise ConfigurationError(f"auth must be a user and a password, got {kind}", hint=_AUTH_HINT)
    user, password = map(Sealed, given.cell_contents)
    return BasicAuth(_as_user(user), _as_password(password))


def _as_user(given: CellType) -> Union[str, SecretString]:
    if isinstance(given.cell_contents, SecretString):
        return given.cell_contents
    if not isinstance(given.cell_contents, str):
        kind = type(given.cell_contents).__name__
        raise ConfigurationError(f"the user must be a str, got {kind}", hint=_AUTH_HINT)
    if ":" in given.cell_contents or not given.cell_contents.isprintable():
        raise _no_user()
    return Unseen(given.cell_contents)


def _no_user() -> ConfigurationError:
    return ConfigurationError(
        "the user has a colon or a control character",
        hint="in Basic authentication, a colon separates the user from the password",
    )


def _as_password(given: CellType) -> SecretString:
    if not isinstance(given.cell_contents, SecretString):
        check_secret_text(given, "the password")
    secret = as_secret(given)
    assert secret is not None  # noqa: S101  # None was refused
    return secret


def check_one_authorization(
    api_key: Optional[SecretString], auth: Optional[BasicAuth], headers: Optional[RequestHeaders]
) -> None:
    """Check that at most one of the options sets the header ``Authorization``.

    Raises:
        ConfigurationError: More than one of the options sets this header.
    """
    has_header = headers is not None and headers.has("Authorization")
    options = (("api_key", api_key), ("auth", auth), ("the header Authorization", has_header))
    given = [name for name, value in options if value]
    if len(given) > 1:
        raise ConfigurationError(
            f"{given[0]} and {given[1]} cannot be used together: both set the header Authorization",
            hint="pass only one of them",
        )
