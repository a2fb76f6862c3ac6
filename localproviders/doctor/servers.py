"""Checks of servers: whether they answer, of which kind they are, and their versions."""

from __future__ import annotations

from shlex import quote
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Tuple, Type

from localproviders import kinds
from localproviders._address import is_host_of, literal, origin_of, parse_endpoint, place_of
from localproviders.config.keys import variable
from localproviders.discovery import FoundServer
from localproviders.doctor.exposure import listeners_of
from localproviders.doctor.facts import (
    AskedServer,
    Facts,
    Server,
    has_answer,
    ready_servers,
)
from localproviders.doctor.findings import Finding, counted, failure, ok, warning
from localproviders.doctor.products import (
    edit_command,
    port_command,
    product_of,
    read_version,
    start_commands,
)
from localproviders.errors import (
    AuthenticationError,
    CertificateError,
    LimitError,
    LocalityError,
    ProviderError,
    ServerError,
    UnreachableError,
)

_SEARCH = "the usual ports of this machine"
# The generations of LM Studio before 0.4. They have no routes to load or download a model.
_GENERATIONS_WITHOUT_LOAD = ("0.3", "older")


def check_presence(facts: Facts) -> Iterator[Finding]:
    """Check that at least one model server is ready."""
    if has_answer(facts) or any(each.is_file for each in facts.asked):
        return
    if facts.search is None:
        return  # the search itself failed, and another finding says why
    commands = "; ".join(f"{title}: {start}" for title, start in start_commands().items())
    first = next(iter(start_commands().values()), None)
    yield failure(
        UnreachableError, f"no model server is ready; start one ({commands})", _SEARCH, first
    )


def check_search(facts: Facts) -> Iterator[Finding]:
    """Report the error that ended the search for servers, such as an address that is invalid."""
    error = facts.search_error
    if error is None:
        return
    name = error.message.partition(":")[0]
    if name in facts.environ:
        yield failure(type(error), error.message, name, f"unset {name}")
    elif not facts.config_errors:  # otherwise, their findings report the cause
        yield failure(type(error), error.message, "the search for servers")


def check_named(facts: Facts) -> Iterator[Finding]:
    """Check each server that the configuration or a variable names."""
    for asked in facts.asked:
        if asked.error is not None:
            yield from _failed(asked, asked.error, facts)
        elif not asked.is_file:
            models = counted(len(asked.models), "model")
            fact = f"{asked.name} at {asked.endpoint} answers and lists {models}"
            yield ok(fact, asked.source)


def _failed(asked: AskedServer, error: ProviderError, facts: Facts) -> Iterator[Finding]:
    # A server that answers is accepted whatever its kind, because many servers also speak the
    # dialect of another kind. So the kind is examined only here, after an error.
    other = _other_kind(asked, error, facts)
    if other is not None:
        yield _wrong_kind(asked, error, other, facts)
    else:
        yield from _failed_call(asked, error, facts)


def _other_kind(asked: AskedServer, error: ProviderError, facts: Facts) -> Optional[FoundServer]:
    """Return the server of another kind that the search found at the address of `asked`, or None.

    The result is also None if the server needs another key: this does not depend on its kind.
    """
    if asked.is_file or isinstance(error, AuthenticationError):
        return None
    for found in facts.found:
        known = found.kind not in (kinds.UNKNOWN, asked.kind)
        if known and origin_of(found.endpoint) == origin_of(asked.endpoint):
            return found
    return None


def _wrong_kind(
    asked: AskedServer, error: ProviderError, found: FoundServer, facts: Facts
) -> Finding:
    title = found.product or found.kind
    fact = f"{asked.name} is configured as {asked.kind}, but {title} answers at {asked.endpoint}"
    fix = f"export {variable(('servers', asked.name, 'kind'))}={found.kind}"
    if asked.source in facts.environ:
        fix = f"unset {asked.source}"
    return failure(type(error), fact, asked.source, fix)


def _failed_call(asked: AskedServer, error: ProviderError, facts: Facts) -> Iterator[Finding]:
    search_error = facts.search_error
    if search_error is None or search_error.message != error.message:
        words = f": {error.message}"
        if isinstance(error, LimitError):
            words = f" did not answer within {error.limit_s:.2g} s"
        fact = f"{asked.name} at {asked.endpoint}{words}"
        yield failure(type(error), fact, asked.source, _fix_for(asked, error, facts))


def _fix_for(asked: AskedServer, error: ProviderError, facts: Facts) -> Optional[str]:
    """Return the command that corrects the cause of an error, or None."""
    if asked.is_file:
        return edit_command(asked.source)
    fitting = (make for cls, make in _FIXES if isinstance(error, cls))
    make = next(fitting, None)
    return make(asked, facts) if make is not None else None


def _set_key(asked: AskedServer, facts: Facts) -> str:
    is_read = product_of(asked.kind).key_everywhere and not asked.key_source
    if is_read:
        return f"export {asked.key_variable}=..."
    edit = edit_command(asked.key_source or asked.source)
    if edit is not None:
        return edit
    is_configured = asked.source not in facts.environ
    return _export_key(asked.name, None if is_configured else asked.endpoint)


def _export_key(name: str, endpoint: Optional[str]) -> str:
    """Return the command that sets an API key in the configuration, and the address if given.

    The variable for the key of a server has an effect only if the server is configured. So for a
    server that is not configured, the command also sets the address, which configures the server.
    """
    key = f"{variable(('servers', name, 'api_key'))}=..."
    if endpoint is None:
        return f"export {key}"
    return f"export {variable(('servers', name, 'endpoint'))}={quote(endpoint)} {key}"


def _widen(asked: AskedServer, _: Facts) -> str:
    host = parse_endpoint(asked.endpoint, default_port=80).host
    address = literal(host)
    place = "private" if address is None else place_of(address)
    if is_host_of(host, kinds.public_hosts()):
        place = "any"
    return f"export {variable(('locality',))}={place}"


def _use_plain_http(asked: AskedServer, facts: Facts) -> Optional[str]:
    if not asked.endpoint.startswith("https:") or not asked.is_local:
        return None
    is_variable = asked.source in facts.environ
    name = asked.source if is_variable else variable(("servers", asked.name, "endpoint"))
    return f"export {name}={asked.endpoint.replace('https:', 'http:', 1)}"


def _start(asked: AskedServer, _: Facts) -> Optional[str]:
    if asked.is_local or not asked.start_command:
        return asked.start_command or None
    host = parse_endpoint(asked.endpoint, default_port=80).host
    return f"ssh {quote(host)} {quote(asked.start_command)}"


def _show_program(asked: AskedServer, facts: Facts) -> Optional[str]:
    return port_command(asked.endpoint, facts.platform) if asked.is_local else None


# For each class of error, the function that returns the command to correct its cause. The first
# class that fits an error is used.
_FIXES: Tuple[Tuple[Type[ProviderError], Callable[[AskedServer, Facts], Optional[str]]], ...] = (
    (AuthenticationError, _set_key),
    (LocalityError, _widen),
    (CertificateError, _use_plain_http),
    (UnreachableError, _start),
    (LimitError, _show_program),
    (ServerError, _show_program),
)


def check_found(facts: Facts) -> Iterator[Finding]:
    """Report each server that the search found, with its state."""
    asked = {origin_of(each.endpoint) for each in facts.asked}
    for found in facts.found:
        if found.kind == kinds.UNKNOWN or origin_of(found.endpoint) in asked:
            continue
        words = " ".join(filter(None, [found.product or found.kind, found.version]))
        verb = "" if found.state == "needs a key" else "is "
        fact = f"{words} at {found.endpoint} {verb}{found.state}"
        if found.state == "available":
            models = counted(len(found.models), "model")
            yield ok(f"{fact} and lists {models}", found.endpoint)
        else:
            fact += f": {found.reason.partition(';')[0]}"
            fix = _fix_for_state(found)
            is_needed = found.state == "needs a key" and not ready_servers(facts)
            if is_needed:
                yield failure(AuthenticationError, fact, found.endpoint, fix)
            else:
                yield warning(fact, found.endpoint, fix)


def _fix_for_state(found: FoundServer) -> Optional[str]:
    if found.state != "needs a key":
        return None
    names = kinds.get(found.kind).key_variables
    if not (product_of(found.kind).key_everywhere and names):
        return _export_key(found.kind, found.endpoint)
    if found.takes_keys:
        return f"export {names[0]}=..."
    # The API key in the variable is sent only to configured addresses and to the default address.
    address = variable(("servers", found.kind, "endpoint"))
    return f"export {address}={quote(found.endpoint)} {names[0]}=..."


def check_silent(facts: Facts) -> Iterator[Finding]:
    """Check that only a model server listens at the default address of each kind of server."""
    usual = {each.default_address for each in kinds.registered()}
    named = {origin_of(each.endpoint) for each in facts.asked}
    for probe in facts.search.tried if facts.search is not None else ():
        is_default = probe.endpoint in usual and probe.outcome == "unavailable"
        if is_default and origin_of(probe.endpoint) not in named:
            fact = f"a program listens at {probe.endpoint}, but it is no model server"
            fix = port_command(probe.endpoint, facts.platform)
            yield warning(f"{fact}: {probe.reason}", probe.endpoint, fix)


def check_ports(facts: Facts) -> Iterator[Finding]:
    """Check that no two programs use the same port of this machine."""
    by_port: Mapping[int, List[Server]] = _by_port(facts)
    for port, servers in by_port.items():
        fix = port_command(servers[0].endpoint, facts.platform)
        origins = dict.fromkeys(origin_of(each.endpoint) for each in servers)
        if len(origins) > 1:  # one server may be configured with several kinds
            places = " and ".join(origins)
            fact = f"two servers use port {port}: {places}; `localhost` may mean either of them"
            yield warning(fact, servers[0].endpoint, fix)
            continue
        addresses = {each.address for each in listeners_of(facts) if each.port == port}
        loopback = {text for text in addresses if text.startswith("127.")}
        if loopback and "0.0.0.0" in addresses:  # noqa: S104  # compared, not bound
            fact = f"two programs listen at port {port}, one at 127.0.0.1 and one for all networks"
            yield warning(fact, _socket_source(facts), fix)


def _socket_source(facts: Facts) -> str:
    return "netstat -an" if facts.netstat else "/proc/net/tcp"


def _by_port(facts: Facts) -> Mapping[int, List[Server]]:
    found: Dict[int, List[Server]] = {}
    for server in ready_servers(facts):
        endpoint = parse_endpoint(server.endpoint, default_port=80)
        if server.is_local and not endpoint.socket_path:
            found.setdefault(endpoint.port, []).append(server)
    return found


def check_versions(facts: Facts) -> Iterator[Finding]:
    """Check that no server is too old for a feature of this package."""
    for found in facts.found:
        minimum, version = product_of(found.kind).minimum, read_version(found.version)
        if minimum is not None and version is not None and version < minimum[0]:
            oldest = ".".join(map(str, minimum[0]))
            fact = f"{found.name} has version {found.version}; {minimum[1]} needs {oldest}"
            yield warning(fact, found.endpoint)
        if found.generation in _GENERATIONS_WITHOUT_LOAD:
            fact = f"{found.name} is of the generation {found.generation}; load and pull need 0.4"
            yield warning(fact, found.endpoint)


CHECKS = (
    check_presence,
    check_search,
    check_named,
    check_found,
    check_silent,
    check_ports,
    check_versions,
)
