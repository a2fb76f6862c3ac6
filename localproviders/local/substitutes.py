"""Servers beyond the provider's locality, which an alias may use if its other servers fail.

`fallback_locality` names such aliases. The first model of the alias is within the locality. A
server beyond the locality is used only through such an alias.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from localproviders._did_you_mean import did_you_mean
from localproviders._redact import one_line
from localproviders.config import Config
from localproviders.config.values import DEFAULT
from localproviders.errors import ConfigurationError, LocalityError
from localproviders.local.servers import Aliases, Route, Server, split_route
from localproviders.types.requests import LOCALITIES

_EXAMPLE = 'write {"careful": "any"} for an alias "careful"'


def check_fallback_locality(value: Any) -> Optional[Dict[str, str]]:
    """Return the argument `fallback_locality` as a dictionary.

    Raises:
        TypeError: The argument is not a mapping.
        ConfigurationError: A locality does not exist.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(
            f"fallback_locality is {type(value).__name__}, and must be a mapping of aliases: "
            f"{_EXAMPLE}"
        )
    for alias, place in value.items():
        if place not in LOCALITIES:
            raise ConfigurationError(
                f"the fallback_locality of {alias!r} is {place!r}"
                f"{did_you_mean(str(place), list(LOCALITIES))}",
                hint=f"choose one of {', '.join(LOCALITIES)}",
            )
    return dict(value)


class Substitutes(NamedTuple):
    """The aliases that may leave the locality.

    Attributes:
        localities: The widest locality that each of these aliases may use.
        aliases: All aliases.
    """

    localities: Mapping[str, str]
    aliases: Aliases

    def check(self) -> None:
        """Check that each name in `localities` is an alias.

        Raises:
            ConfigurationError: There is no such alias.
        """
        for alias in self.localities:
            if alias not in self.aliases:
                near = did_you_mean(alias, list(self.aliases))
                raise ConfigurationError(
                    f"fallback_locality names {alias!r}, which is no alias{near}",
                    hint=f"the aliases are {', '.join(self.aliases) or 'none'}",
                )

    def allowed(self, server: str) -> Optional[str]:
        """Return the widest locality in which an alias may use a server; None if no alias may."""
        found = [
            place
            for alias, place in self.localities.items()
            if any(name.startswith(f"{server}/") for name in self.aliases.get(alias, ())[1:])
        ]
        return max(found, key=LOCALITIES.index, default=None)

    def routes(self, name: str, servers: Sequence[Server]) -> List[Route]:
        """Return the routes of an alias to servers beyond the locality, in order.

        Args:
            name: The alias, or another name.
            servers: The servers beyond the locality.

        Raises:
            LocalityError: The first model to which the name leads is on such a server.
        """
        names = self.aliases.get(name, (name,))
        routes = [split_route(each, servers) for each in names]
        if routes[0] is not None:
            raise _not_first(name, routes[0], self._alias_of(routes[0].server))
        place = self.localities.get(name)
        return [
            route._replace(substitute_for=name)
            for route in routes
            if route is not None and place is not None and _is_within(route.server, place)
        ]

    def _alias_of(self, server: Server) -> str:
        return next(alias for alias in self.localities if self._uses(alias, server))

    def _uses(self, alias: str, server: Server) -> bool:
        return any(split_route(each, [server]) for each in self.aliases[alias][1:])


def _is_within(server: Server, place: str) -> bool:
    return LOCALITIES.index(server.locality) <= LOCALITIES.index(place)


def _not_first(name: str, route: Route, alias: str) -> LocalityError:
    """Return the error for a name whose first model is on a server beyond the locality."""
    return LocalityError(
        f"{one_line(name)} leads first to {route.server.name}, which may send prompts further "
        f"({route.server.locality}) than this provider",
        hint=f"use the alias {alias!r}, which uses this server only if its first model fails; or "
        "widen the locality of this provider",
        provider=route.server.name,
        model=route.model,
    )


def of_configuration(config: Config, substitutes: Substitutes) -> Dict[str, str]:
    """Return the widened localities of the configured servers that an alias may use.

    If the table of a server in the configuration has its own locality, the result for this server
    is not wider than this locality.
    """
    found: Dict[str, str] = {}
    general = config.origins.get("locality", DEFAULT)
    for server in config.servers:
        place = substitutes.allowed(server.name)
        if place is None:
            continue
        has_own = config.origins.get(f"servers.{server.name}.locality", general) != general
        limits = (place, server.locality) if has_own else (place,)
        found[server.name] = min(limits, key=LOCALITIES.index)
    return found


def used_warning(route: Route, locality: str) -> str:
    """Return the warning for an answer from a server beyond the locality."""
    return (
        f"the prompt left the locality {locality!r}: {route} answered for the alias "
        f"{route.substitute_for!r}, as fallback_locality allows"
    )
