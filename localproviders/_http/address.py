"""Where a server is, and whether that is local. Pure: nothing here opens a socket."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Mapping, Optional, Tuple, Union

from localproviders._record import Record, record
from localproviders.errors import ConfigurationError

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}

# A server binds to these; a client has to go to the loopback address of the same family,
# because connecting to an unspecified address fails on Windows (ollama-api §1.2).
_BIND_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # read, not bound

# Our own table, because `is_private` means something else in each Python version.
# Carrier-grade NAT (100.64/10) and the NAT64 prefix are shared with strangers: not here.
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
        scheme: ``http`` or ``https``.
        host: Name or address, IPv6 without brackets.
        port: TCP port.
        path: Prefix before every path, such as ``/ollama``; empty for none.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def origin(self) -> str:
        """Scheme, host and port as a URL, where the mark of a zone is escaped (RFC 6874)."""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address as a URL, without a slash at its end."""
        return self.origin + self.path

    def __str__(self) -> str:
        return self.url

    @property
    def is_loopback(self) -> bool:
        """Whether the host is written as this machine: a loopback address or localhost."""
        address = _old_spelling(self.host) or literal(self.host)
        return is_localhost(self.host) if address is None else place_of(address) == "loopback"


def parse_endpoint(
    text: str,
    *,
    default_port: int,
    lenient: bool = False,
    api_suffixes: Tuple[str, ...] = (),
) -> Endpoint:
    """Read an address as Ollama reads ``OLLAMA_HOST`` (ollama-api §1.2).

    The rule serves every provider: no scheme means http and the server's usual port; a
    scheme means that scheme's port; a bind address means loopback; a path stays.

    Args:
        text: What the user wrote; empty is the server's usual place.
        default_port: The server's usual port.
        lenient: Take the default for an impossible port, as the server itself does with
            its variable, instead of refusing it.
        api_suffixes: Paths at the end that belong to the API, not to the address.

    Raises:
        ConfigurationError: The text is no address; credentials in it are refused unseen.
    """
    text = text.strip().strip("\"'").strip()
    if text == "ollama.com":
        return Endpoint(scheme="https", host="ollama.com", port=443)
    # Looked for everywhere: a slash in a password would make the rest of it a path.
    if "@" in text:
        raise ConfigurationError(
            "the address holds credentials, which would show in logs",
            hint="write the address without them and pass api_key=...",
        )
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    elif scheme.lower() not in _DEFAULT_PORTS:
        raise ConfigurationError(
            f"the scheme of the address is {scheme!r}; servers speak http or https"
        )
    scheme = scheme.lower()
    fallback = _DEFAULT_PORTS[scheme] if separator else default_port
    authority, _, path = rest.partition("/")
    host, port = _split_port(authority, fallback, lenient)
    return Endpoint(scheme=scheme, host=host, port=port, path=_clean_path(path, api_suffixes))


def _split_port(authority: str, fallback: int, lenient: bool) -> Tuple[str, int]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", authority)
    if bracketed:
        host, port = bracketed.group(1), bracketed.group(2)
    elif authority.count(":") > 1:
        host, port = authority, None  # an IPv6 address without brackets has no port
    else:
        name, colon, number = authority.partition(":")
        host, port = name, (number if colon else None)
    # A zone stands in a URL as %25, and behind an address only; an escape elsewhere would
    # hide from us what requests reads.
    host = host.replace("%25", "%")
    is_name = re.fullmatch(r"[^\s/?#\\\[\]:%${}]*", host)
    if not is_name and (":" not in host or literal(host) is None):
        raise ConfigurationError(f"{authority!r} is no host; write host, host:port or [IPv6]:port")
    return _BIND_ADDRESSES.get(host, host), _port(port, fallback, lenient)


def _port(text: Optional[str], fallback: int, lenient: bool) -> int:
    if text is None:
        return fallback
    if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= 65535 and (int(text) or lenient):
        return int(text)
    if lenient:
        return fallback
    raise ConfigurationError(f"the port is {text!r}, and must be a number from 1 to 65535")


def _clean_path(path: str, api_suffixes: Tuple[str, ...]) -> str:
    # The API's own paths follow: a query would swallow them. It may hold a key: not quoted.
    if re.search(r"[\s?#\\\"']", path):
        raise ConfigurationError(
            "the path of the address holds a blank, a quote, ?, # or a backslash",
            hint="write scheme, host, port and a plain path",
        )
    path = path.strip("/")
    for suffix in api_suffixes:
        if path == suffix or path.endswith("/" + suffix):
            path = path[: -len(suffix)].strip("/")
            break
    return f"/{path}" if path else ""


def literal(host: str) -> Optional[Address]:
    """Give the address that a host is written as, or None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _old_spelling(host: str) -> Optional[Address]:
    """Read the spellings that only C's `inet_aton` knows: 127.1, 0x7f.1, 2130706433."""
    if not re.fullmatch(r"(0[xX][0-9a-fA-F]+|[0-9]+)(\.(0[xX][0-9a-fA-F]+|[0-9]+)){0,3}", host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_localhost(host: str) -> bool:
    """Whether a name means this machine by definition (RFC 6761)."""
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def place_of(address: Address) -> str:
    """Say where an address is: ``loopback``, ``private`` or ``any``."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    if address.is_loopback:
        return "loopback"
    inside = any(address in net for net in _PRIVATE if net.version == address.version)
    return "private" if inside else "any"


def allows(locality: str, place: str) -> bool:
    """Whether a policy lets prompts go to a place."""
    order = ("loopback", "private", "any")
    return order.index(place) <= order.index(locality)
