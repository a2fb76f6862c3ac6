"""`Settings`: the frozen value from which a provider is made.

The constructor of a provider makes the settings from its arguments and environment variables.
`Config` makes them from files.
"""

from __future__ import annotations

import os
from types import CellType
from typing import (
    Any,
    Callable,
    Container,
    Dict,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    Union,
    cast,
)

from localproviders._address import Endpoint, as_proxies
from localproviders._credentials import (
    BasicAuth,
    RequestHeaders,
    as_auth,
    as_headers,
    check_one_authorization,
)
from localproviders._did_you_mean import did_you_mean, suggest_keyword, suggest_number
from localproviders._record import CONTENT, Record, field, loads, record
from localproviders.errors import ConfigurationError
from localproviders.secret import Sealed, SecretString, Unseen, as_key, as_secret
from localproviders.telemetry import Listener
from localproviders.types.inputs import model_name
from localproviders.types.limits import Limits, RetryPolicy, Timeout, resolve
from localproviders.types.requests import LOCALITIES, Locality

ApiKey = Union[str, SecretString, None]
Proxies = Union[Mapping[str, str], str, None]
RequestHeadersLike = Optional[Mapping[str, Union[str, SecretString]]]
Auth = Optional[Tuple[str, Union[str, SecretString]]]

#: Metadata of fields that may contain a secret. The constructor hides their values first.
KEY_FIELD: Mapping[str, Any] = {"hide": as_key}
PASSWORD_FIELD: Mapping[str, Any] = {"hide": as_secret}
PROXIES_FIELD: Mapping[str, Any] = {**CONTENT, "hide": as_proxies}
HEADERS_FIELD: Mapping[str, Any] = {**CONTENT, "hide": as_headers}
AUTH_FIELD: Mapping[str, Any] = {**CONTENT, "hide": as_auth}


class ConnectionOptions(TypedDict, total=False):
    """The connection options of every provider over HTTP. `Settings` describes them."""

    retry: RetryPolicy
    ca_bundle: Optional[str]
    client_cert: Union[str, Tuple[str, str], None]
    proxies: Proxies
    listeners: Sequence[Listener]
    allow_plaintext_key: bool
    max_line_bytes: int
    max_body_bytes: int
    max_json_depth: int
    headers: RequestHeadersLike
    auth: Auth


class ProviderOptions(ConnectionOptions, total=False):
    """The keyword arguments of the constructor of a provider over HTTP, except the address."""

    model: Optional[str]
    name: str
    api_key: ApiKey
    timeout: Timeout
    locality: Optional[Locality]
    settings: Optional[Settings]


#: An empty dictionary that no code changes. When a constructor seals its options, it sets the
#: variable that held them to this value.
EMPTY: ConnectionOptions = {}

#: Names of the keywords that every constructor passes to `make_settings` unchanged.
CONNECTION = frozenset(ConnectionOptions.__annotations__)
#: Names of all keywords of a constructor, except the address.
OPTIONS = frozenset(ProviderOptions.__annotations__)

_PASSED_OPTIONS = CONNECTION.union(("model",))
_HIDE_FUNCTIONS: Mapping[str, Callable[[CellType], Any]] = {
    "api_key": as_key,
    "proxies": as_proxies,
    "headers": as_headers,
    "auth": as_auth,
}


@record
class Settings(Record):
    """All settings of a provider.

    Attributes:
        endpoint: The address of the server.
        endpoint_origin: The source of that address, such as an environment variable, for error
            messages.
        name: The name of the provider in responses, errors and events.
        model: The model for requests that do not name a model.
        api_key: The API key for this endpoint, sent as a Bearer token. It is not sent to any other
            address.
        allow_plaintext_key: True sends the API key over plain HTTP to other machines, too.
        limits: The time limits of calls without a `timeout`.
        retry: The number of attempts for a request, and the waits between them.
        locality: The addresses to which prompts may be sent: ``loopback``, ``private`` or
            ``any``.
        ca_bundle: The path of the certificates to trust, instead of the bundled ones. The value
            ``environment`` means the first of the variables ``REQUESTS_CA_BUNDLE``,
            ``CURL_CA_BUNDLE``, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` that is set when the first
            call is made.
        client_cert: The path of a file with a client certificate and its private key, or a pair of
            paths: the certificate and the private key. The private key must not be protected by a
            password.
        proxies: A proxy URL for each scheme, or ``environment`` for the usual environment
            variables. A proxy needs ``locality="any"``, and is not used for loopback addresses. The
            passwords of the proxies are not in the repr, the dictionary or the pickle.
        listeners: Functions that are called with each telemetry event.
        max_line_bytes: Maximum length of a line of a stream, in bytes.
        max_body_bytes: Maximum size of a decoded response body, in bytes.
        max_json_depth: Maximum nesting of a JSON response, in levels.
        headers: Headers that are added to every request to this endpoint, and to no other. A
            value is treated like `api_key` if it is a `SecretString`, or if the name of the header
            has one of the words ``Authorization``, ``Auth``, ``Cookie``, ``Key``, ``ApiKey``,
            ``Token``, ``Secret`` and ``Password``, as ``X-Auth-Token`` has. No value is in a log,
            an error, a repr or an event. Headers that the transport sets itself are refused, except
            ``User-Agent``.
        auth: User and password for Basic authentication, instead of `api_key`. The password is
            treated like `api_key`.

    Raises:
        ConfigurationError: A value is invalid.
    """

    endpoint: Endpoint = field(metadata=loads(Endpoint.from_dict))
    name: str
    endpoint_origin: str = "default"
    model: Optional[str] = None
    api_key: Optional[SecretString] = field(default=None, metadata=KEY_FIELD)
    allow_plaintext_key: bool = False
    limits: Limits = field(default_factory=Limits, metadata=loads(Limits.from_dict))
    retry: RetryPolicy = field(default_factory=RetryPolicy, metadata=loads(RetryPolicy.from_dict))
    locality: str = "loopback"
    ca_bundle: Optional[str] = None
    client_cert: Union[str, Tuple[str, str], None] = None
    proxies: Proxies = field(default=None, metadata=PROXIES_FIELD)
    listeners: Tuple[Callable[[Any], None], ...] = ()
    max_line_bytes: int = 32 * 1024 * 1024
    max_body_bytes: int = 256 * 1024 * 1024
    max_json_depth: int = 100
    headers: RequestHeadersLike = field(default=None, metadata=HEADERS_FIELD)
    auth: Auth = field(default=None, metadata=AUTH_FIELD)

    _names_attributes = False

    def __post_init__(self) -> None:
        self._keep_as_tuples("client_cert", "listeners")
        object.__setattr__(self, "model", model_name(self.model))
        self._check_types()
        check_one_authorization(self.api_key, self._basic_auth, self._request_headers)
        if self.locality not in LOCALITIES:
            raise ConfigurationError(
                f"there is no locality {self.locality!r}"
                f"{did_you_mean(self.locality, list(LOCALITIES))}",
                hint=f"choose one of {', '.join(LOCALITIES)}, here or in LOCALPROVIDERS_LOCALITY",
            )
        if self.proxies and self.locality != "any":
            # The proxy looks up the address of the server, so the address cannot be checked here.
            raise ConfigurationError(
                f'a proxy needs locality="any", but locality is {self.locality!r}',
                hint='pass locality="any"',
            )

    # The constructor has already converted `headers` and `auth` (`HEADERS_FIELD`, `AUTH_FIELD`).
    @property
    def _request_headers(self) -> RequestHeaders:
        return cast("RequestHeaders", self.headers) or _NO_HEADERS

    @property
    def _basic_auth(self) -> Optional[BasicAuth]:
        return cast("Optional[BasicAuth]", self.auth)

    @property
    def has_key(self) -> bool:
        """Whether requests carry a secret: an API key, a password, or a header with a key."""
        keys = self._request_headers.keys_in_values
        return self.api_key is not None or self.auth is not None or bool(keys)

    def headers_of_caller(self, key_header: str = "") -> Dict[str, str]:
        """Return the caller's headers, and the header with the API key or password, as sent.

        The reprs of the values are redacted.

        Args:
            key_header: The header that carries the API key; empty for ``Authorization: Bearer``.

        Raises:
            ConfigurationError: A secret is missing. It was a literal that was pickled or turned
                into a dictionary, or its variable was not set when the pickle was loaded.
        """
        found = self._request_headers.revealed()
        if self.api_key is not None and key_header:
            found[key_header] = Unseen(self.api_key.reveal())
        elif self.api_key is not None:
            found["Authorization"] = self.api_key.as_bearer()
        if self._basic_auth is not None:
            found["Authorization"] = Unseen(self._basic_auth.as_header().reveal())
        return found

    def without_secrets(self, text: str, *, only_keys: bool = False) -> str:
        """Return the text with the API key, the password and the caller's headers redacted.

        Args:
            text: The text of a server.
            only_keys: True keeps the values of headers that are not secrets.
        """
        text = Unseen(text)
        headers = self._request_headers
        keys = () if self.api_key is None else (self.api_key,)
        for secret in (*keys, *(headers.keys_in_values if only_keys else ())):
            text = Unseen(secret.scrub(text))
        if self._basic_auth is not None:
            text = Unseen(self._basic_auth.scrub(text))
        return str(text) if only_keys else headers.scrub(text)

    def _check_types(self) -> None:
        for name, (types, what) in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, types):
                raise ConfigurationError(f"{name} must be {what}, not {type(value).__name__}")
        for name in _SIZE_FIELDS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                shown = value if isinstance(value, (int, float)) else type(value).__name__
                line = suggest_number(name, value, least=1, is_whole=True)
                raise ConfigurationError(
                    f"{name} must be a whole number above 0, not {shown}{line}"
                )


_NO_HEADERS = RequestHeaders()
_TEXT = (str, type(None))
_PATH = (*_TEXT, os.PathLike)

# Types of the settings that are not checked elsewhere, and their names in error messages.
_TYPES: Mapping[str, Tuple[Any, str]] = {
    "name": (str, "a string"),
    "model": (_TEXT, "a string"),
    "allow_plaintext_key": (bool, "True or False"),
    "limits": (Limits, "Limits(...)"),
    "retry": (RetryPolicy, "RetryPolicy(...)"),
    "ca_bundle": (_PATH, "a path"),
    "client_cert": ((*_PATH, tuple), "a path or two paths"),
}
_SIZE_FIELDS = ("max_line_bytes", "max_body_bytes", "max_json_depth")


def _as_listeners(listeners: Any) -> Tuple[Callable[[Any], None], ...]:
    found: Tuple[Any, ...] = tuple(listeners) if hasattr(listeners, "__iter__") else (None,)
    if not all(map(callable, found)):
        raise ConfigurationError(
            "listeners must be a list of functions", hint="pass listeners=[function]"
        )
    return found


def make_settings(
    *,
    endpoint: Endpoint,
    endpoint_origin: str,
    name: str,
    api_key: ApiKey = None,
    timeout: Timeout = None,
    locality: Optional[str] = None,
    listeners: Tuple[Callable[[Any], None], ...] = (),
    **rest: Any,
) -> Settings:
    """Make the settings from the arguments of a constructor.

    If `locality` is None, the variable ``LOCALPROVIDERS_LOCALITY`` is read.

    Raises:
        ConfigurationError: A value is invalid, or there is a proxy without ``locality="any"``.
        TypeError: There is no such setting.
    """
    key, more, api_key, rest = Sealed(api_key), Sealed(rest), None, {}
    try:
        limits = resolve(timeout, Limits())
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return Settings(
        endpoint=endpoint,
        endpoint_origin=endpoint_origin,
        name=name,
        api_key=as_key(key),
        limits=limits,
        locality=locality or os.environ.get("LOCALPROVIDERS_LOCALITY") or "loopback",
        listeners=_as_listeners(listeners),
        **safe_options(more, _PASSED_OPTIONS),
    )


def safe_options(given: CellType, known: Container[str] = CONNECTION) -> Dict[str, Any]:
    """Return the options of a constructor, with their API key, passwords and headers hidden.

    Args:
        given: The dictionary of the options in a cell (`Sealed`).
        known: The names that an option may have.

    Raises:
        TypeError: There is no such option. The error does not show the value, because the
            value of a misspelt option may be an API key.
        ConfigurationError: The API key, the proxies, the headers or `auth` are invalid.
    """
    for name in given.cell_contents:
        if name not in known:
            raise TypeError(f"there is no option {name!r}{suggest_keyword(name, OPTIONS)}")
    # The loop is over the names: a loop over the values would have each value in its frame.
    return {
        name: _HIDE_FUNCTIONS[name](Sealed(given.cell_contents[name]))
        if name in _HIDE_FUNCTIONS and given.cell_contents[name]
        else given.cell_contents[name]
        for name in given.cell_contents
        if given.cell_contents[name] is not None
    }


def sets_authorization(options: Mapping[str, Any], *names: str) -> bool:
    """Return whether `auth` or a header among the options replaces the API key.

    An API key from an environment variable is then not used.

    Args:
        options: The options, as `safe_options` returns them.
        names: Further headers that carry the API key, besides ``Authorization``.
    """
    headers: Optional[RequestHeaders] = options.get("headers")
    has_header = headers is not None and any(map(headers.has, ("Authorization", *names)))
    return options.get("auth") is not None or has_header


def first_variable(*names: str) -> Optional[SecretString]:
    """Return the value of the first of these environment variables that is set, or None.

    Raises:
        ConfigurationError: The value cannot be a secret.
    """
    found = next((name for name in names if os.environ.get(name)), None)
    return SecretString.from_env(found) if found else None
