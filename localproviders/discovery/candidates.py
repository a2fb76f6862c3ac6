"""Addresses to probe: given addresses, addresses in variables, usual addresses of servers."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders import kinds
from localproviders._address import Endpoint, parse_endpoint
from localproviders._record import FrozenDict
from localproviders.config.values import ConfiguredAddress
from localproviders.errors import ConfigurationError
from localproviders.kinds import ProviderKind
from localproviders.settings import Settings

# A server may listen only on the IPv4 loopback address, or only on the IPv6 loopback address.
_LOOPBACK_HOSTS = ("127.0.0.1", "::1")

_NAMED = "an address passed to discover()"


class Candidate(NamedTuple):
    """An address to probe.

    Attributes:
        endpoint: The address, without the path of an API.
        origin: The source of the address, in words.
        is_named: Whether the caller or a variable named exactly this address. A named address is
            listed even if no server was found there.
        keys_of: The kinds of servers whose API keys from the environment may be sent there.
        options: The API key, password, headers and certificates that are configured for a server
            at this address, as arguments of a provider.
    """

    endpoint: Endpoint
    origin: str
    is_named: bool = False
    keys_of: Tuple[str, ...] = ()
    options: Mapping[str, Any] = FrozenDict()


def usual_ports() -> Dict[int, str]:
    """Return the usual ports, each with the name of the server that documents it."""
    return {port: name for kind in kinds.registered() for port, name in kind.ports}


def avoided_ports() -> Dict[int, str]:
    """Return the ports that are never probed, each with the reason."""
    return {port: reason for kind in kinds.registered() for port, reason in kind.avoided_ports}


def candidates(endpoints: Optional[Sequence[str]]) -> Tuple[Candidate, ...]:
    """Return the addresses to probe.

    The given addresses come first, then the addresses in variables such as ``OLLAMA_HOST``, then
    the usual addresses. Each address is listed once. A host without scheme and port means all usual
    ports of that host.

    Raises:
        ConfigurationError: A given address or an address in a variable is invalid, or `endpoints`
            is a string instead of a list.
    """
    return _merge([*given_candidates(endpoints), *_from_variables(), *_from_usual_ports()])


def given_candidates(endpoints: Optional[Sequence[str]]) -> Tuple[Candidate, ...]:
    """Return the addresses that a caller named. A host alone means all usual ports of that host.

    Raises:
        ConfigurationError: An address is invalid, or `endpoints` is a string instead of a list.
    """
    if isinstance(endpoints, (str, bytes)):
        raise ConfigurationError(
            "endpoints must be a list of addresses, but is a single string",
            hint='write discover(["http://127.0.0.1:8080"])',
        )
    return _merge(_from_arguments(endpoints or ()))


def _merge(all_of_them: Sequence[Candidate]) -> Tuple[Candidate, ...]:
    """Return each address once, with the keys and options of all its candidates."""
    found: Dict[Endpoint, Candidate] = {}
    for candidate in all_of_them:
        first = found.setdefault(candidate.endpoint, candidate)
        keys_of = tuple(dict.fromkeys((*first.keys_of, *candidate.keys_of)))
        options = first.options or candidate.options
        found[candidate.endpoint] = first._replace(keys_of=keys_of, options=options)
    return tuple(found.values())


def _from_arguments(texts: Sequence[str]) -> List[Candidate]:
    found: List[Candidate] = []
    # Several APIs share one origin, and a user may pass the address of any of them. Remove the
    # longest path first: removing "/v1" from "/api/v1" would leave "/api".
    paths = {path for kind in kinds.registered() for path in kind.api_paths}
    api_paths = tuple(sorted(paths, key=lambda path: (-len(path), path)))
    ports = usual_ports() or (80,)
    for text in texts:
        if not isinstance(text, str):
            raise ConfigurationError(
                f"an endpoint must be a string, but is a {type(text).__name__}",
                hint="pass addresses such as http://127.0.0.1:8080",
            )
        places = dict.fromkeys(
            parse_endpoint(text, default_port=port, api_suffixes=api_paths) for port in ports
        )
        is_named = len(places) == 1
        keys_of = _kinds_with_keys(text) if is_named else ()
        options = getattr(text, "options", FrozenDict()) if is_named else FrozenDict()
        found += [Candidate(each, _NAMED, is_named, keys_of, options) for each in places]
    return found


def _kinds_with_keys(text: str) -> Tuple[str, ...]:
    """Return the kinds whose keys may be sent to a given address.

    An address from the configuration is limited to its own kind. Any other given address may
    receive the keys of all kinds.
    """
    if isinstance(text, ConfiguredAddress):
        return text.keys_of
    return tuple(kind.name for kind in kinds.registered() if kind.key_variables)


def _from_variables() -> List[Candidate]:
    found: List[Candidate] = []
    for kind in kinds.registered():
        settings = None if kind.address_variable is None else _default_settings(kind)
        if settings is not None and settings.endpoint_origin == kind.address_variable:
            place, origin = settings.endpoint, settings.endpoint_origin
            found.append(Candidate(place, origin, True, (kind.name,)))
    return found


def _from_usual_ports() -> List[Candidate]:
    ports = usual_ports()
    own = _default_endpoints()
    places = [
        Endpoint(scheme="http", host=host, port=port) for port in ports for host in _LOOPBACK_HOSTS
    ]
    return [
        Candidate(
            place,
            f"the usual port of {ports[place.port]}",
            keys_of=tuple(kind for kind, address in own.items() if address == place),
        )
        for place in places
    ]


def _default_endpoints() -> Dict[str, Endpoint]:
    """Return, for each kind, the address to which its provider sends its key by default."""
    found: Dict[str, Endpoint] = {}
    for kind in kinds.registered():
        if kind.default_address is not None and kind.key_variables and not kind.key_hosts:
            # The dummy API key is never sent. It is passed so that the key in the variable is not
            # read: an invalid key there must not stop the search for other kinds.
            settings = _default_settings(kind, api_key="unused")
            if settings is not None:
                found[kind.name] = settings.endpoint
    return found


def _default_settings(kind: ProviderKind, **options: str) -> Optional[Settings]:
    """Return the default settings of a kind's provider; None if the provider has no settings.

    If the provider cannot be imported, None is returned, too, so that the search continues.
    """
    try:
        kind.resolve("provider")
    except ConfigurationError:
        return None
    settings: Optional[Settings] = getattr(kind.make(**options), "settings", None)
    return settings
