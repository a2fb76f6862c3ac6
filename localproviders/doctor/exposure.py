"""Checks of exposure: servers that other machines can reach, and API keys over plain HTTP."""

from __future__ import annotations

import ipaddress
import re
from typing import Iterator, List, NamedTuple, Optional

from localproviders._address import literal, parse_endpoint, place_of
from localproviders.doctor.facts import Facts, Server, is_on_this_machine, ready_servers
from localproviders.doctor.findings import Finding, ok, warning
from localproviders.doctor.products import (
    ADDRESS_VARIABLE,
    ORIGINS_VARIABLE,
    edit_command,
    loopback_command,
)

# The code in /proc/net/tcp for a socket that listens.
_LISTEN = "0A"
# The beginnings of addresses that mean all networks.
_EVERY_NETWORK = re.compile(r"(?:0\.0\.0\.0|\[::\])(?=[:/]|$)|::(?=/|$)")
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class Listener(NamedTuple):
    """An address at which a program listens, its port, and the table that shows it."""

    address: str
    port: int
    source: str


def listeners_of(facts: Facts) -> List[Listener]:
    """Return the addresses at which programs of this machine listen."""
    found = [each for path in _TABLES for each in _from_table(facts.kernel.get(path, ""), path)]
    return [*found, *_from_netstat(facts.netstat)]


def _from_table(text: str, source: str) -> Iterator[Listener]:
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 3 and words[3] == _LISTEN:
            address, _, port = words[1].partition(":")
            yield Listener(_read_address(address), int(port, 16), source)


def _read_address(text: str) -> str:
    """Return an address of the table as text. The kernel writes each 32-bit word in host order."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _from_netstat(text: str) -> Iterator[Listener]:
    """Yield the listening sockets in the output of ``netstat -an`` of macOS, BSD and Windows."""
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or not words[0].lower().startswith("tcp") or "LISTEN" not in line:
            continue
        local = words[1] if words[0] == "TCP" else words[3]  # Windows has fewer columns
        found = re.fullmatch(r"(.*)[.:](\d+)", local)
        if found is not None:
            yield Listener(_named_address(found[1].strip("[]")), int(found[2]), "netstat -an")


def _named_address(host: str) -> str:
    return "0.0.0.0" if host == "*" else host  # noqa: S104  # read, not bound


def _is_beyond_loopback(address: str) -> bool:
    found = literal(address)
    return found is not None and place_of(found) != "loopback"


def check_listeners(facts: Facts) -> Iterator[Finding]:
    """Check whether a server of this machine accepts requests of other machines without a key.

    A server in a container must listen on the container's network. So for such a server, the
    finding is no warning.
    """
    for server in ready_servers(facts):
        beyond = _beyond(server, facts) if server.is_local else None
        if beyond is None:
            continue
        fact = f"{server.name} listens at {beyond.address}, port {beyond.port}"
        if _has_key(server, facts):
            yield ok(f"{fact}, with a key", beyond.source)
        elif facts.is_container:
            yield ok(f"{fact}, in this container", beyond.source)
        else:
            fact += ", without a key: each machine that reaches the port can use it"
            yield warning(fact, beyond.source, loopback_command(server, facts.platform))


def _beyond(server: Server, facts: Facts) -> Optional[Listener]:
    endpoint = parse_endpoint(server.endpoint, default_port=80)
    listeners = [each for each in listeners_of(facts) if each.port == endpoint.port]
    return next((each for each in listeners if _is_beyond_loopback(each.address)), None)


def _has_key(server: Server, facts: Facts) -> bool:
    """Return whether the configuration has a key, a password or headers for a server."""
    servers = facts.config.servers if facts.config is not None else ()
    own = [each for each in servers if each.name == server.name]
    return any(each.api_key or each.password or each.headers for each in own)


def check_variables(facts: Facts) -> Iterator[Finding]:
    """Check the variables that let other machines or web pages use a server started here."""
    host = facts.environ.get(ADDRESS_VARIABLE, "").strip()
    bare = host.partition("://")[2] or host
    if _EVERY_NETWORK.match(bare) and not facts.is_container:
        fact = f"{ADDRESS_VARIABLE} makes a server that is started here listen for all networks"
        yield warning(fact, ADDRESS_VARIABLE, f"export {ADDRESS_VARIABLE}=127.0.0.1")
    elif host.lower().startswith("http://") and not re.search("[:@]", bare):
        fact = f"{ADDRESS_VARIABLE} has a scheme and no port, so port 80 is used"
        yield warning(fact, ADDRESS_VARIABLE, f"export {ADDRESS_VARIABLE}={bare.strip('/')}:11434")
    origins = facts.environ.get(ORIGINS_VARIABLE, "").split(",")
    if any(each.strip() in ("*", "http://*", "https://*") for each in origins):
        fact = f"{ORIGINS_VARIABLE} lets each web page in a browser use a server started here"
        yield warning(fact, ORIGINS_VARIABLE, f"unset {ORIGINS_VARIABLE}")


def check_plain_keys(facts: Facts) -> Iterator[Finding]:
    """Check that no API key is sent over plain HTTP to another machine."""
    for asked in facts.asked:
        is_plain = asked.endpoint.startswith("http:") and asked.allow_plaintext_key
        if is_plain and not is_on_this_machine(parse_endpoint(asked.endpoint, default_port=80)):
            fact = f"the key of {asked.name} goes unencrypted to {asked.endpoint}"
            yield warning(fact, asked.source, edit_command(asked.source))


CHECKS = (check_listeners, check_variables, check_plain_keys)
