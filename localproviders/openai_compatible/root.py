"""The transport to the routes of a server that are beside the dialect, and not below ``/v1``."""

from __future__ import annotations

from typing import Optional

from localproviders._http.transport import Explain, Transport
from localproviders.settings import Settings

#: Prefix of the paths of the dialect.
VERSION = "/v1"

#: A transport to the address without its last part, ``/v1``. None if the address does not end in
#: ``/v1``: the place of other routes is then unknown.
RootTransport = Optional[Transport]


def make_root(settings: Settings, explain: Explain) -> RootTransport:
    """Return the transport for the address of a provider.

    Args:
        settings: The provider's settings.
        explain: Function that translates an error response of the dialect.
    """
    endpoint = settings.endpoint
    if not endpoint.path.endswith(VERSION):
        return None
    path = endpoint.path[: -len(VERSION)]
    return Transport(settings.replace(endpoint=endpoint.replace(path=path)), explain)
