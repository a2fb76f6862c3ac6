"""Which certificates a session trusts and shows; checked before the first connection.

Without these checks a wrong path would come out as an unreachable server, and a key under
a password would make OpenSSL ask for it on the terminal, without end.
"""

from __future__ import annotations

import os
import ssl
from typing import NoReturn, Optional, Tuple, Union

from localproviders.errors import ConfigurationError

#: A client certificate: one file with its key, or both files.
ClientCert = Union[str, Tuple[str, str], None]

# The first that is set counts; requests reads the first two, OpenSSL the others.
_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def trusted(ca_bundle: Optional[str]) -> Optional[str]:
    """Give the path of the certificates to trust; None is the bundled ones.

    Raises:
        ConfigurationError: There is no such file or folder, or no certificate in it.
    """
    path, origin = ca_bundle, "ca_bundle"
    if ca_bundle == "environment":
        origin = next((name for name in _VARIABLES if os.environ.get(name)), "")
        path = os.environ.get(origin)
    if path is None:
        return None
    _check_exists(path, origin)
    folder = os.path.isdir(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(None if folder else path, path if folder else None)
    except OSError as error:  # ssl's own errors are of this class
        _refuse(f"{origin} names {path!r}, which holds no certificates", error)
    return path


def check_client(client_cert: ClientCert) -> None:
    """Check that a client certificate and its key can be used as they are.

    Raises:
        ConfigurationError: A file is missing or does not fit, or the key is under a password.
    """
    if client_cert is None:
        return
    certificate, key = (client_cert, None) if isinstance(client_cert, str) else client_cert
    for path in filter(None, (certificate, key)):
        _check_exists(path, "client_cert")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except OSError as error:
        _refuse(f"client_cert names {client_cert!r}, which is no certificate with its key", error)


def _check_exists(path: str, origin: str) -> None:
    if not os.path.exists(path):
        raise ConfigurationError(f"{origin} names {path!r}, and there is no such file")


def _refuse(message: str, error: OSError) -> NoReturn:
    raise ConfigurationError(f"{message}: {error.strerror or error}") from None


def _no_password() -> NoReturn:
    raise ConfigurationError(
        "the key of the client certificate is under a password, and nobody is there to type it",
        hint="keep an open copy where only you can read it: openssl pkey -in KEY -out OPEN_KEY",
    )
