"""The facts about a service that its connections and the headers of its requests need."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Tuple

from localproviders._record import FrozenDict


class Service(NamedTuple):
    """How a kind of server is reached. The default is right for most servers.

    Attributes:
        hosts: The hosts of the service, if it is on the internet, in lower case. A call to one of
            them, or to a host below one of them, is refused before its name is looked up, unless
            the locality allows it.
        key_header: The header that carries the API key; empty for ``Authorization: Bearer``.
        headers: Headers of every request. A header of the caller with the same name has priority.
    """

    hosts: Tuple[str, ...] = ()
    key_header: str = ""
    headers: Mapping[str, str] = FrozenDict()


#: A server that needs nothing special.
USUAL = Service()
