"""The facts about a service that its connections and the headers of its requests need."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Tuple

from localproviders._record import FrozenDict


class Service(NamedTuple):
    """A description of how to reach a kind of server. The default is right for most servers.

    Attributes:
        hosts: The host names of a service on the internet, in lower case. If the locality does not
            allow the internet, a call to one of these hosts, or to a subdomain of one, fails before
            the name is looked up.
        key_header: The header that carries the API key; empty for ``Authorization: Bearer``.
        headers: Headers of every request. A header of the caller with the same name has priority.
    """

    hosts: Tuple[str, ...] = ()
    key_header: str = ""
    headers: Mapping[str, str] = FrozenDict()


#: The description of a server that needs nothing special.
USUAL = Service()
