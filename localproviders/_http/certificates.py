"""TLS contexts, trusted certificates and client certificates.

The files are checked before the first connection. Without these checks, a wrong path would be
reported as an unreachable server. If the private key of the client certificate needed a password,
OpenSSL would ask for it on the terminal, and the program would hang.
"""

from __future__ import annotations

import os
import ssl
import sys
from typing import NoReturn, Optional, Tuple, Union

import urllib3
from urllib3 import connection
from urllib3.util import ssl_

from localproviders._interrupts import is_callers
from localproviders.errors import ConfigurationError

#: A client certificate: the path of a file with the certificate and its private key, or the paths
#: of two files, first the certificate and then the key. None means no client certificate.
ClientCert = Union[str, Tuple[str, str], None]

# Whether urllib3 itself compares the server's name with the certificate. urllib3 1.26 does;
# urllib3 2 leaves the comparison to OpenSSL.
_COMPARES_NAMES: bool = vars(urllib3)["__version__"].startswith("1.")

# Environment variables with the path of trusted certificates. The first one that is set is
# used. The library `requests` reads the first two, OpenSSL reads the others.
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def context() -> ssl.SSLContext:
    """Return a new context for one connection, without certificates.

    The context equals a context of urllib3, with two differences. It refuses versions before
    TLS 1.2, which urllib3 1.26 accepts. It ignores ``SSLKEYLOGFILE``: this variable makes Python
    write the secrets of every connection to a file that other users may be able to read.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _set_minimum_version(made)
    made.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    if hasattr(made, "post_handshake_auth"):  # OpenSSL 1.1.1 and newer
        made.post_handshake_auth = True
    if _COMPARES_NAMES:
        made.check_hostname = False
        made.set_ciphers(vars(ssl_)["DEFAULT_CIPHERS"])
    else:
        made.hostname_checks_common_name = False
    # Python's default contexts have these flags since 3.13. Older versions of urllib3 lack them.
    if sys.version_info >= (3, 13):
        made.verify_flags |= vars(ssl_).get("VERIFY_X509_STRICT", 0)
        made.verify_flags |= vars(ssl_).get("VERIFY_X509_PARTIAL_CHAIN", 0)
    return made


def trusting(path: str) -> ssl.SSLContext:
    """Return a new context that trusts the certificates in a file or a folder."""
    made = context()
    folder = os.path.isdir(path)
    made.load_verify_locations(None if folder else path, path if folder else None)
    return made


def check_name(made: ssl.SSLSocket, name: str) -> None:
    """Check the name in the certificate of a proxy, unless OpenSSL has checked it.

    urllib3 1.26 does not check the name if the caller passes a context for the proxy, as this
    package does.

    Raises:
        ValueError: The certificate was issued for another name. This is the `CertificateError` of
            ssl or, in newer releases of urllib3 1.26, of urllib3.
    """
    if _COMPARES_NAMES:
        vars(connection)["_match_hostname"](made.getpeercert(), name)


def _set_minimum_version(made: ssl.SSLContext) -> None:
    if hasattr(made, "minimum_version"):
        # The configuration of the system may require a newer version. Keep that requirement.
        made.minimum_version = max(made.minimum_version, ssl.TLSVersion.TLSv1_2)
    else:  # OpenSSL 1.0.2
        made.options |= ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1


def trusted(ca_bundle: Optional[str]) -> Optional[str]:
    """Return the path of the trusted certificates; None means the bundle of `requests`.

    Args:
        ca_bundle: The setting: a path, None, or ``environment`` for the path in a variable such
            as ``SSL_CERT_FILE``.

    Raises:
        ConfigurationError: The file or folder does not exist, or the file has no usable
            certificates. The contents of a folder are not checked.
    """
    path, origin = ca_bundle, "ca_bundle"
    if ca_bundle == "environment":
        origin = next((name for name in _CA_VARIABLES if os.environ.get(name)), "")
        path = os.environ.get(origin)
    if path is None:
        return None
    _check_exists(path, origin)
    folder = os.path.isdir(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(None if folder else path, path if folder else None)
    except OSError as error:  # the errors of ssl derive from OSError
        _refuse(f"{origin} names {path!r}, which has no usable certificates", error)
    return path


def check_client(client_cert: ClientCert) -> None:
    """Check that a client certificate and its key can be used without a password.

    Raises:
        ConfigurationError: A file does not exist, certificate and key do not belong together,
            or the key is protected by a password.
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
        _refuse(f"client_cert names {client_cert!r}, which is not a certificate and its key", error)


def _check_exists(path: str, origin: str) -> None:
    if not os.path.exists(path):
        raise ConfigurationError(f"{origin} names {path!r}, but there is no such file")


def _refuse(message: str, error: OSError) -> NoReturn:
    if is_callers(error):
        raise error
    raise ConfigurationError(f"{message}: {error.strerror or error}") from None


def _no_password() -> NoReturn:
    raise ConfigurationError(
        "the key of the client certificate is protected by a password, which cannot be entered",
        hint="use a key without a password, in a file that only you can read:"
        " openssl pkey -in KEY -out OPEN_KEY",
    )
