"""Server addresses: parsing, locality, proxies, and quoting of URL paths.

The module opens no socket. The URL of a proxy may contain a password, which is never shown.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
from types import CellType
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Tuple, Type, Union
from urllib.parse import quote, unquote

from localproviders._interrupts import is_callers
from localproviders._patterns import pattern
from localproviders._record import FrozenDict, Record, record
from localproviders._redact import one_line
from localproviders.errors import ConfigurationError, ProviderError
from localproviders.secret import REDACTED, Sealed, Unseen, bare

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}

# A server can bind to the addresses on the left. A client connects to the loopback address on the
# right, because connecting to an unspecified address fails on Windows
# (docs/reference/ollama.md, "Connecting").
_BIND_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # nothing binds to it

# The private networks. The property `is_private` of `ipaddress` is not used, because it covers
# different networks in different Python versions. Carrier-grade NAT (100.64/10) and the NAT64
# prefix are missing here, because strangers use these networks, too.
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)


@record
class Endpoint(Record):
    """The address of a server.

    Attributes:
        scheme: ``http``, ``https`` or ``unix``.
        host: Host name or IP address. An IPv6 address has no brackets.
        port: TCP port.
        path: Prefix of every path, such as ``/ollama``; empty if there is none.
        socket_path: The absolute path of a UNIX socket; empty for TCP. If it is set, the scheme is
            ``unix``, the host is ``localhost``, and the port is 0.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    socket_path: str = ""

    def __post_init__(self) -> None:
        if "@" in self.host:
            raise _credentials()

    @property
    def origin(self) -> str:
        """Scheme, host and port as a URL. The ``%`` of an IPv6 zone is escaped (RFC 6874)."""
        if self.socket_path:
            return f"unix://{self.socket_path}"
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def url(self) -> str:
        """The complete address as a URL, without a slash at the end."""
        return self.at(self.path)

    @property
    def request_url(self) -> str:
        """The address for HTTP libraries, which know hosts but no UNIX sockets."""
        return f"http://{self.host}{self.path}" if self.socket_path else self.url

    def at(self, path: str) -> str:
        """Return the address of this server with another path, as a URL."""
        return self.origin + (f":{path}" if self.socket_path and path else path)

    def __str__(self) -> str:
        return self.url

    @property
    def is_loopback(self) -> bool:
        """Whether this is the same machine: a loopback address, a name of localhost, a socket."""
        address = _parse_legacy_ipv4(self.host) or literal(self.host)
        return is_localhost(self.host) if address is None else place_of(address) == "loopback"


def parse_endpoint(
    text: str,
    *,
    default_port: int,
    lenient: bool = False,
    api_suffixes: Tuple[str, ...] = (),
    socket_api: str = "",
) -> Endpoint:
    """Parse an address by the rules of Ollama for ``OLLAMA_HOST``.

    All providers use these rules. If the address has no scheme, the scheme is http. If it has a
    scheme but no port, the port is that of the scheme (80 or 443). If it has neither, the port is
    the default port of the server. An address that servers bind to, such as ``0.0.0.0``, becomes a
    loopback address. A path is kept, except the route of an API at its end, such as
    ``/chat/completions`` or ``/api/chat``.

    A UNIX socket is written as ``unix:///run/llama.sock``. A path follows after a colon:
    ``unix:///run/llama.sock:/v1``.

    Args:
        text: The address as the user wrote it. An empty string means the loopback address and the
            default port.
        default_port: The default port of the server.
        lenient: True replaces an invalid port with the default instead of refusing the address.
            Ollama does the same when it reads ``OLLAMA_HOST``.
        api_suffixes: Paths that belong to the API and are removed from the end of the address.
        socket_api: Path to add to the address of a UNIX socket without a path, such as ``/v1``.

    Raises:
        ConfigurationError: The text is not an address, or it contains credentials. The message
            does not quote the credentials.
    """
    # Source of the rules: docs/reference/ollama.md, "Connecting".
    given, text = Sealed(text), ""
    if not isinstance(given.cell_contents, str):
        kind = type(given.cell_contents).__name__
        raise ConfigurationError(f"the address must be a str, got {kind}")
    try:
        if _SOCKET_ADDRESS.match(given.cell_contents):
            return _parse_socket(Unseen(given.cell_contents), api_suffixes, socket_api)
        return _parse(Unseen(given.cell_contents), default_port, lenient, api_suffixes)
    except ConfigurationError as error:
        # The frames in the traceback contain the text, which may have a password.
        failure = bare(error)
    raise failure


def origin_of(endpoint: str) -> str:
    """Return the scheme, the host and the port of an address as one URL, to compare servers.

    The host ``localhost`` becomes ``127.0.0.1``. A text that is not an address is returned
    unchanged.
    """
    try:
        found = parse_endpoint(endpoint, default_port=80)
    except ConfigurationError:
        return endpoint
    host = "127.0.0.1" if found.host == "localhost" and not found.socket_path else found.host
    return found.replace(host=host).origin


def _parse(text: str, default_port: int, lenient: bool, api_suffixes: Tuple[str, ...]) -> Endpoint:
    # The text is searched beyond the first slash, too, because a password may contain a slash.
    if "@" in text:
        raise _credentials()
    text = text.strip().strip("\"'").strip()
    if text == "ollama.com":
        return Endpoint(scheme="https", host="ollama.com", port=443)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    elif scheme.lower() not in _DEFAULT_PORTS:
        raise _wrong_scheme(scheme, rest.partition("/")[0])
    scheme = scheme.lower()
    fallback = _DEFAULT_PORTS[scheme] if separator else default_port
    authority, _, path = rest.partition("/")
    host, port = _split_port(authority, fallback, lenient)
    return Endpoint(scheme=scheme, host=host, port=port, path=_clean_path(path, api_suffixes))


def _credentials() -> ConfigurationError:
    return ConfigurationError(
        "the address contains credentials, which would appear in logs",
        hint="write the address without the credentials, and pass api_key=... or"
        " auth=(user, password)",
    )


# Schemes that users write by mistake before a host, each with the scheme to write instead.
_SCHEMES = {"wss": "https", **dict.fromkeys(("ws", "tcp", "grpc", "ollama", "lmstudio"), "http")}
# A host name with a port. Only a short name in lower case matches, because an error must not quote
# a text that may be an API key.
_PLAIN_AUTHORITY = pattern(r"[a-z0-9][a-z0-9.-]{0,39}:\d{1,5}", re.ASCII)


def _wrong_scheme(scheme: str, authority: str) -> ConfigurationError:
    if re.search(r"\bunix\b|\bunixs\b", scheme, re.IGNORECASE):
        if re.search(r"https|tls|ssl|unixs", scheme, re.IGNORECASE):
            return ConfigurationError("TLS over a UNIX socket is not supported", hint=_SOCKET_HINT)
        return ConfigurationError("the scheme of a UNIX socket must be unix", hint=_SOCKET_HINT)
    # A text that may be an API key is not quoted.
    shown = repr(scheme) if re.fullmatch(r"[a-z]{1,8}", scheme) else "unknown"
    return ConfigurationError(
        f"the scheme of the address is {shown}, but must be http, https or unix",
        hint=_hint_for_scheme(scheme, authority),
    )


def _hint_for_scheme(scheme: str, authority: str) -> Optional[str]:
    """Return a hint with the address to write; None if it is unknown, or may contain an API key."""
    instead = _SCHEMES.get(scheme.lower())
    host = re.sub(r":\d{1,5}\Z", "", authority).strip("[]")
    is_shown = is_localhost(host) or literal(host) is not None
    is_shown = is_shown or _PLAIN_AUTHORITY.fullmatch(authority) is not None
    return f"write {instead}://{authority}" if instead and is_shown else None


_SOCKET_ADDRESS = pattern(r"[\s\"']*unix:", re.IGNORECASE)
_SOCKET_HINT = "write unix:///run/llama.sock, or unix:///run/llama.sock:/v1 with a path"


def _parse_socket(text: str, api_suffixes: Tuple[str, ...], default_path: str) -> Endpoint:
    text = text.strip().strip("\"'").strip()[len("unix:") :]
    if not text.startswith("///"):
        raise ConfigurationError("the path of a UNIX socket must be absolute", hint=_SOCKET_HINT)
    socket_path, _, path = text[2:].partition(":")
    # No part of the text is quoted, because a user may have written an API key into it.
    if re.search(r"[?#\\\"']", socket_path) or not socket_path.isprintable():
        raise ConfigurationError(
            "the path of the UNIX socket contains a quote, ?, #, a backslash or a character that"
            " cannot be printed",
            hint=_SOCKET_HINT,
        )
    if "@" in path:
        raise _credentials()
    if path and not path.startswith("/"):
        raise ConfigurationError(
            "the colon after a UNIX socket must be followed by a path that begins with a slash",
            hint=_SOCKET_HINT,
        )
    socket_path = socket_path.rstrip("/ ")
    if not socket_path:
        raise ConfigurationError("the address names no UNIX socket", hint=_SOCKET_HINT)
    path = _clean_path(path, api_suffixes) or default_path
    return Endpoint(scheme="unix", host="localhost", port=0, path=path, socket_path=socket_path)


def _split_port(authority: str, fallback: int, lenient: bool) -> Tuple[str, int]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", authority)
    if bracketed:
        host, port = bracketed.group(1), bracketed.group(2)
    elif authority.count(":") > 1:
        host, port = authority, None  # an IPv6 address without brackets cannot have a port
    else:
        name, colon, number = authority.partition(":")
        host, port = name, (number if colon else None)
    # In a URL, the "%" before a zone is written as "%25". The check below refuses any other
    # escape, because requests would decode it and connect to a host that was not checked here.
    host = host.replace("%25", "%")
    is_ipv6 = ":" in host and literal(host) is not None
    wrong = re.search(r"[\s/?#\\\[\]:%${}]", host.partition("%")[2] if is_ipv6 else host)
    if wrong:
        # Only the invalid character is quoted: the rest may be an API key or a password.
        raise ConfigurationError(
            f"the host of the address is invalid, because of {wrong.group()!r}",
            hint="write host, host:port or [IPv6]:port",
        )
    return _BIND_ADDRESSES.get(host, host), _port(port, fallback, lenient)


def _port(text: Optional[str], fallback: int, lenient: bool) -> int:
    if text is None:
        return fallback
    if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= 65535 and (int(text) or lenient):
        return int(text)
    if lenient:
        return fallback
    # The text is not quoted: in "user:password", the password is in the place of the port.
    raise ConfigurationError("the port is not a number from 1 to 65535")


# A pattern for a path that ends in a route of an API, such as /v1/chat/completions. An address with
# such a path was copied from an example of a request, so the route is removed from it.
_ROUTE = pattern(
    r"(?:(.*)/)?chat/completions"
    r"|(.*\bv\d+)/(?:chat|completions|embeddings|models)"
    r"|(.*\bapi)/(?:chat|generate|embed|embeddings|tags|ps|show|version)"
)


def _clean_path(path: str, api_suffixes: Tuple[str, ...]) -> str:
    # A query is refused: the paths of the API are appended to this path, and would become a part
    # of the query. The text is not quoted, because a query may contain an API key.
    if re.search(r"[\s?#\\\"']", path):
        raise ConfigurationError(
            "the path of the address contains a blank, a quote, ?, # or a backslash",
            hint="write only the scheme, the host, the port and a plain path",
        )
    path = path.strip("/")
    route = _ROUTE.fullmatch(path)
    path = next(filter(None, route.groups()), "") if route else path
    for suffix in api_suffixes:
        if path == suffix or path.endswith("/" + suffix):
            path = path[: -len(suffix)].strip("/")
            break
    return f"/{path}" if path else ""


def literal(host: str) -> Optional[Address]:
    """Return the host as an IP address, or None if the host is a name. A zone is ignored."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _parse_legacy_ipv4(host: str) -> Optional[Address]:
    """Parse the old forms of IPv4 addresses: 127.1, 0x7f.1, 2130706433.

    `ipaddress` refuses these forms, but C's `inet_aton` accepts them, and so does the resolver.
    """
    if not re.fullmatch(r"(0[xX][0-9a-fA-F]+|[0-9]+)(\.(0[xX][0-9a-fA-F]+|[0-9]+)){0,3}", host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError as error:
        if is_callers(error):
            raise
        return None


def short_form_hint(host: str) -> Optional[str]:
    """Return a hint for an old form of an IPv4 address, such as 127.1; None for any other host."""
    address = _parse_legacy_ipv4(host)
    if address is None or str(address) == host:
        return None
    return (
        f"write the address with {address}: the server checks the Host header, and may refuse the"
        f" short form {host}"
    )


def path_hint(endpoint: Endpoint, api_path: str) -> Optional[str]:
    """Return a hint if the path of an address seems to be wrong; otherwise None.

    Args:
        endpoint: The address.
        api_path: The path that addresses of this kind of server have, such as ``/v1``; may be
            empty.
    """
    origin, path, right = endpoint.origin, endpoint.path, endpoint.at(api_path)
    if api_path:
        if not path:
            return f"write the address with the version of the API: {right}"
        return f"write the address as {right}" if path == "/api" else None
    if re.match(r"/(v\d|api)(/|$)", path):
        return f"the address ends with {path}: write the address as {origin}"
    return f"check the path {path}: without a path, the address is {origin}" if path else None


def is_localhost(host: str) -> bool:
    """Return whether RFC 6761 reserves a name for this machine."""
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def is_host_of(host: str, hosts: Iterable[str]) -> bool:
    """Return whether a host is one of the hosts, or a subdomain of one, such as a region's host.

    Args:
        host: The host of an address.
        hosts: Hosts in lower case.
    """
    name = host.lower().rstrip(".")
    return any(name == each or name.endswith(f".{each}") for each in hosts)


def place_of(address: Address) -> str:
    """Return the narrowest locality that allows an address: ``loopback``, ``private`` or ``any``.

    An IPv4 address that is mapped to IPv6 counts as the IPv4 address.
    """
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    if address.is_loopback:
        return "loopback"
    is_private = any(address in net for net in _PRIVATE if net.version == address.version)
    return "private" if is_private else "any"


def allowing_hint(place: str) -> str:
    """Return the hint of an error for an address that the locality does not allow.

    Args:
        place: The result of `place_of` for the address.
    """
    return (
        f'to allow it, pass locality="{place}"; if no locality is passed, the variable '
        f"LOCALPROVIDERS_LOCALITY={place} allows it, too"
    )


def allows(locality: str, place: str) -> bool:
    """Return whether a locality policy allows prompts to be sent to an address.

    Args:
        locality: The policy: ``loopback``, ``private`` or ``any``.
        place: The result of `place_of` for the address.
    """
    order = ("loopback", "private", "any")
    return order.index(place) <= order.index(locality)


_HINT = 'pass {"https": "http://proxy:3128"}, or "environment"'
# The scheme, the credentials and the rest of a URL. Everything before the last "@" belongs to the
# credentials, because a password may contain "@" or a slash.
_URL = pattern(r"((?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?(?:(.*)@)?(.*)", re.DOTALL)
# Minimum length of a password that is redacted in texts. Shorter passwords would also be found
# inside ordinary words.
_SHORTEST_REDACTED = 4


class ProxyMap(FrozenDict[str, str]):
    """A mapping from URL schemes to proxy URLs. Its repr, `to_dict` and pickle have no password.

    A copy in the same process keeps the passwords. `check_passwords` raises an error if a
    password is missing. Without this check, the proxy would receive the placeholder, and would
    report a wrong password.
    """

    def __repr__(self) -> str:
        return f"<{len(self)} proxies>"

    def to_dict(self) -> Dict[str, str]:
        """Return the proxies with each password redacted."""
        return {scheme: _redact(self[scheme]) for scheme in self}

    def check_passwords(self) -> None:
        """Check that no password is missing.

        Raises:
            ConfigurationError: A password is missing, because the mapping was pickled or
                converted to a dictionary.
        """
        if any(REDACTED in self[scheme] for scheme in self):
            raise ConfigurationError(
                "the password of a proxy was lost, because pickles and dictionaries leave it out",
                hint='pass proxies=... again, or proxies="environment"',
            )

    def scrub(self, text: str) -> str:
        """Return the text with the passwords redacted, both plain and as base64 in a header."""
        text = Unseen(text)
        for secret in self._secrets():
            if len(secret) >= _SHORTEST_REDACTED:
                text = Unseen(text.replace(secret, REDACTED))
        return str(text)

    def _secrets(self) -> Iterator[Unseen]:
        for scheme in self:
            user, _, password = map(Unseen, _split_url(self[scheme])[1].partition(":"))
            if user or password:
                pair = Unseen(f"{unquote(user)}:{unquote(password)}")
                yield Unseen(base64.b64encode(pair.encode("latin-1", "replace")).decode())
                yield Unseen(unquote(password or user))
                yield password or user

    def __copy__(self) -> ProxyMap:
        return ProxyMap(self)

    def __deepcopy__(self, memo: object) -> ProxyMap:
        return ProxyMap(self)

    def __reduce__(self) -> Tuple[Any, ...]:
        return (ProxyMap, (self.to_dict(),))


def as_proxies(given: CellType) -> Union[ProxyMap, str, None]:
    """Return the checked value of the argument `proxies`.

    Args:
        given: The argument in a cell (`Sealed`), which hides it from tracebacks.

    Raises:
        ConfigurationError: The argument is neither a mapping of strings nor ``"environment"``.
            The message does not quote it.
    """
    if given.cell_contents is None or given.cell_contents == "environment":
        return None if given.cell_contents is None else "environment"
    if not isinstance(given.cell_contents, Mapping):
        kind = type(given.cell_contents).__name__
        raise ConfigurationError(
            f'proxies must be a mapping or "environment", got {kind}',
            hint=_HINT,
        )
    for each in (*map(type, given.cell_contents), *map(type, given.cell_contents.values())):
        if not issubclass(each, str):
            raise ConfigurationError(
                f"proxies must map schemes to URLs, but contains a value of type {each.__name__}",
                hint=_HINT,
            )
    return ProxyMap(zip(given.cell_contents, map(Unseen, given.cell_contents.values())))


def _split_url(url: str) -> Tuple[Unseen, Unseen, Unseen]:
    """Return the scheme with its slashes, the credentials, and the rest of a URL."""
    scheme, credentials, rest = map(Unseen, _URL.fullmatch(url).groups(""))  # type: ignore[union-attr]  # it matches every text
    return scheme, credentials, rest


def _redact(url: str) -> str:
    scheme, credentials, rest = _split_url(url)
    if not credentials:
        return str(url)
    user, colon, _ = map(Unseen, credentials.partition(":"))
    # Credentials without a colon may be a token, not a user name.
    kept = f"{user}:" if colon else ""
    return f"{scheme}{kept}{REDACTED}@{rest}"


# Patterns for a separator of path segments, and for a segment "." or "..". They may be plain,
# percent-encoded, or encoded several times. Such segments must be found here: `quote` keeps dots,
# urllib3 resolves the segments, and a proxy or the server may decode the escapes.
_SEPARATOR = r"(?:[/\\]|%(?:25)*(?:2f|5c))"
_DOT_SEGMENT = pattern(
    rf"(?:\A|{_SEPARATOR})(?:\.|%(?:25)*2e){{1,2}}(?=\Z|{_SEPARATOR})", re.IGNORECASE
)


def path_part(text: str, what: str, error: Type[ProviderError] = ConfigurationError) -> str:
    """Return an id quoted as one segment of a URL path.

    Args:
        text: The id. A slash in it becomes ``%2F``.
        what: Name of the id in an error message.
        error: The class to raise: `ProtocolError` if the id comes from a server.

    Raises:
        ProviderError: The id is empty, contains a control character, or contains the path segment
            ``.`` or ``..`` in any spelling, which would lead to another path.
    """
    if not text or one_line(text) != text or _DOT_SEGMENT.search(text):
        raise error(
            f"{what} is {text!r}, which cannot be a segment of a URL path",
            hint="pass the id exactly as the server returned it"
            if error is ConfigurationError
            else "check that the right kind of server listens at this address",
        )
    return quote(text, safe=":")
