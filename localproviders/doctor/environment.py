"""Checks of the environment: proxies, certificates, localhost, containers, home and clock."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta, timezone
from shlex import quote
from typing import Iterator, Optional
from urllib.parse import urlsplit

from localproviders._address import literal, place_of
from localproviders.doctor.facts import Facts, has_answer, ready_servers
from localproviders.doctor.findings import Finding, failure, ok, warning
from localproviders.doctor.products import ADDRESS_VARIABLE
from localproviders.errors import ConfigurationError

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
# The variables with the proxies that other programs use for `http://127.0.0.1`.
_FOR_HTTP = ("HTTP_PROXY", "ALL_PROXY")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

#: This version of the package did not exist before this time. A clock that shows an earlier time is
#: wrong.
EARLIEST = datetime(2026, 1, 1, tzinfo=timezone.utc)
_LATEST = EARLIEST + timedelta(days=20 * 365)
_SET_CLOCK = "sudo timedatectl set-ntp true"
_GATEWAY = "$(ip route show default | cut -d' ' -f3)"
_WSL_FIX = f"export {ADDRESS_VARIABLE}={_GATEWAY} LOCALPROVIDERS_LOCALITY=private"


def check_proxies(facts: Facts) -> Iterator[Finding]:
    """Report the effect of each proxy variable on this package and on other programs."""
    for name in _PROXIES:
        for spelled in (name, name.lower()):
            value = facts.environ.get(spelled, "")
            if value and not (spelled == name and facts.environ.get(name.lower())):
                yield _proxy(name, spelled, value, facts)
        upper, lower = facts.environ.get(name), facts.environ.get(name.lower())
        if upper and lower and upper != lower and facts.platform != "win32":
            fact = f"{name} and {name.lower()} differ; most programs use only {name.lower()}"
            yield warning(fact, name, f"unset {name}")


def _proxy(name: str, spelled: str, value: str, facts: Facts) -> Finding:
    place = _place_of_proxy(value)
    if place is None:
        return warning(
            f"{spelled} does not contain the address of a proxy", spelled, f"unset {spelled}"
        )
    never = "this package never sends loopback traffic to it"
    uncovered = [host for host in _LOOPBACK[:2] if not is_exempt(_no_proxy(facts), host)]
    if name not in _FOR_HTTP or not uncovered:
        return ok(f"{spelled} is the proxy {place}; {never}", spelled)
    known = [each.strip() for each in _no_proxy(facts).split(",")]
    listed = ",".join(dict.fromkeys(filter(None, [*known, *_LOOPBACK])))
    fact = f"{spelled} makes other programs send requests for http://{uncovered[0]} to {place}"
    return warning(f"{fact}; {never}", spelled, f"export NO_PROXY={quote(listed)}")


def _no_proxy(facts: Facts) -> str:
    return facts.environ.get("no_proxy") or facts.environ.get("NO_PROXY") or ""


def _place_of_proxy(value: str) -> Optional[str]:
    """Return the host and the port in the value of a proxy variable, without user and password.

    None means that the value contains no host.
    """
    # A password may contain a slash, so everything before the last "@" is removed first.
    rest = value.rpartition("@")[2] if "@" in value else value.partition("://")[2] or value
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or any(character.isspace() for character in host):
        return None
    return f"{host}:{port}" if port else host


def is_exempt(no_proxy: str, host: str) -> bool:
    """Return whether ``NO_PROXY`` exempts a host, by the rules of requests and curl."""
    address = literal(host)
    for entry in no_proxy.replace(",", " ").split():
        if entry == "*":
            return True
        if address is not None and "/" in entry:
            if _is_in_network(host, entry):
                return True
        elif host == entry.strip("[]") or (address is None and _is_below(host, entry)):
            return True
    return False


def _is_below(host: str, entry: str) -> bool:
    domain = entry.lstrip("*.")
    return host == domain or host.endswith(f".{domain}")


def _is_in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def check_certificates(facts: Facts) -> Iterator[Finding]:
    """Check the variables that name a file or a folder, such as one with certificates.

    The file or folder must exist, and this user must be allowed to read it.
    """
    used = any(each.ca_bundle == "environment" for each in facts.asked)
    for name, found in facts.paths.items():
        is_bundle = name in _BUNDLES
        if found.state in ("file", "folder"):
            if is_bundle:
                yield ok(f"{name} names {found.path}", name)
            continue
        fact = f"{name} names {found.path}, which is {found.state}"
        fix = f"unset {name}"
        if is_bundle and used:
            yield failure(ConfigurationError, fact, name, fix)
        else:
            yield warning(
                f"{fact}; other programs fail because of this" if is_bundle else fact, name, fix
            )


def check_key_log(facts: Facts) -> Iterator[Finding]:
    """Check that no variable makes programs write the secrets of their connections to a file."""
    if facts.environ.get("SSLKEYLOGFILE"):
        fact = "SSLKEYLOGFILE makes other programs write the secrets of TLS connections to a file"
        yield warning(fact, "SSLKEYLOGFILE", "unset SSLKEYLOGFILE")


def check_localhost(facts: Facts) -> Iterator[Finding]:
    """Check that other programs, which look up ``localhost``, find the servers of this machine."""
    if facts.localhost is None:
        return
    addresses = [found for found in map(literal, facts.localhost) if found is not None]
    outside = [each for each in addresses if place_of(each) != "loopback"]
    shown = ", ".join(facts.localhost) or "no address"
    fact = f"the name localhost resolves to {shown}"
    fix = "echo '127.0.0.1 localhost' | sudo tee -a /etc/hosts"
    if outside or not addresses:
        yield warning(f"{fact}: other programs do not reach this machine", "/etc/hosts", fix)
    elif all(each.version == 6 for each in addresses):
        fact += ": other programs do not reach servers that listen only at 127.0.0.1"
        yield warning(fact, "/etc/hosts", fix)
    else:
        yield ok(fact, "/etc/hosts")


def check_system(facts: Facts) -> Iterator[Finding]:
    """Report that this system is a container or WSL: there, 127.0.0.1 is not the host machine."""
    systems = (
        (facts.is_wsl, "WSL", "/proc/version", _WSL_FIX),
        (
            facts.is_container,
            "a container",
            "/proc/self/cgroup",
            f"export {ADDRESS_VARIABLE}=host.docker.internal LOCALPROVIDERS_LOCALITY=private",
        ),
    )
    for is_here, name, source, fix in systems:
        if not is_here:
            continue
        fact = f"this is {name}: here, 127.0.0.1 is not the host machine"
        yield ok(fact, source) if has_answer(facts) else warning(fact, source, fix)


def check_home(facts: Facts) -> Iterator[Finding]:
    """Report that this process has no home directory, as in some services.

    Without a home directory, this package does not read the user's configuration.
    """
    name = "USERPROFILE" if facts.platform == "win32" else "HOME"
    if not facts.environ.get(name):
        yield ok(f"{name} is not set, so no configuration of the user is read", name)


def check_clock(facts: Facts) -> Iterator[Finding]:
    """Check that the clock is not years off, and that no local model is newer than the clock.

    If the clock is years off, valid certificates look invalid.
    """
    fix = _SET_CLOCK if facts.platform == "linux" else None
    if not EARLIEST <= facts.now <= _LATEST:
        fact = f"the clock says {facts.now:%Y-%m-%d}, which is years off; certificates look invalid"
        yield warning(fact, "the clock", fix)
        return
    for server in ready_servers(facts):
        dates = [each.modified_at for each in server.models if each.modified_at is not None]
        if server.is_local and dates and max(dates) > facts.now + timedelta(days=1):
            fact = f"the clock says {facts.now:%Y-%m-%d}, but {server.name} has a newer model"
            yield warning(fact, "the clock", fix)


CHECKS = (
    check_proxies,
    check_certificates,
    check_key_log,
    check_localhost,
    check_system,
    check_home,
    check_clock,
)
