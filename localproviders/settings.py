"""The one frozen value that a provider is built from.

The constructors fill it from their arguments and the server's own variables; the
configuration cascade fills the same value from files.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Mapping, Optional, Tuple, Union

from localproviders._http.address import Endpoint
from localproviders._record import CONTENT, Record, did_you_mean, field, record
from localproviders.errors import ConfigurationError
from localproviders.secret import SecretString
from localproviders.types.limits import Limits, Timeout, resolve
from localproviders.types.request import LOCALITIES
from localproviders.types.retry import RetryPolicy

ApiKey = Union[str, SecretString, None]
Proxies = Union[Mapping[str, str], str, None]


@record
class Settings(Record):
    """Everything a provider needs to know before its first call.

    Attributes:
        endpoint: The server's address.
        endpoint_origin: Where that address came from, for error messages.
        name: The provider's name.
        model: The model for requests that name none.
        api_key: Sent as a Bearer token to this endpoint, and nowhere else.
        allow_plaintext_key: Send the key over plain HTTP beyond loopback.
        limits: Time limits for calls that give none.
        retry: What is sent again, and how often.
        locality: Where prompts may go: ``loopback``, ``private`` or ``any``.
        ca_bundle: Path of the certificates to trust, instead of the bundled ones; or
            ``environment`` to take the first of ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``,
            ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` that is set when the first call is made.
        client_cert: Path of a client certificate with its key, or both paths. The key must
            not be under a password.
        proxies: URL by scheme, or ``environment`` to take the usual variables. Needs
            ``locality="any"``; loopback never uses a proxy.
        listeners: Called with each telemetry event.
        max_line_bytes: Longest line of a stream.
        max_body_bytes: Largest decoded body.
        max_json_depth: Deepest nesting of a JSON answer.
    """

    endpoint: Endpoint
    name: str
    endpoint_origin: str = "default"
    model: Optional[str] = None
    api_key: Optional[SecretString] = None
    allow_plaintext_key: bool = False
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    locality: str = "loopback"
    ca_bundle: Optional[str] = None
    client_cert: Union[str, Tuple[str, str], None] = None
    proxies: Proxies = field(default=None, metadata=CONTENT)  # it may hold a password
    listeners: Tuple[Callable[[Any], None], ...] = ()
    max_line_bytes: int = 32 * 1024 * 1024
    max_body_bytes: int = 256 * 1024 * 1024
    max_json_depth: int = 100

    def __post_init__(self) -> None:
        if self.locality not in LOCALITIES:
            raise ConfigurationError(
                f"locality is {self.locality!r}{did_you_mean(self.locality, list(LOCALITIES))}",
                hint=f"choose one of {', '.join(LOCALITIES)}, here or in LOCALPROVIDERS_LOCALITY",
            )
        if self.proxies and self.locality != "any":
            # Behind a proxy the address that a name leads to cannot be checked.
            raise ConfigurationError(
                'a proxy was given, but locality is not "any"', hint='pass locality="any"'
            )
        if isinstance(self.proxies, str) and self.proxies != "environment":
            raise ConfigurationError(
                f"proxies is {self.proxies!r}",
                hint='pass {"https": "http://proxy:3128"}, or "environment"',
            )


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
    """Fill the settings from a constructor's arguments and the shared variables.

    Reads ``LOCALPROVIDERS_LOCALITY`` where `locality` is None.

    Raises:
        ConfigurationError: A value is impossible, or a proxy is given without
            ``locality="any"``.
    """
    try:
        limits = resolve(timeout, Limits())
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return Settings(
        endpoint=endpoint,
        endpoint_origin=endpoint_origin,
        name=name,
        api_key=SecretString(api_key) if isinstance(api_key, str) else api_key,
        limits=limits,
        locality=locality or os.environ.get("LOCALPROVIDERS_LOCALITY") or "loopback",
        listeners=tuple(listeners),
        **rest,
    )


def first_variable(*names: str) -> Optional[SecretString]:
    """Give the first of these environment variables that is set, as a secret."""
    found = next((name for name in names if os.environ.get(name)), None)
    return SecretString.from_env(found) if found else None
