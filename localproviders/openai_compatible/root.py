"""The transport to routes that are not below ``/v1``, the path of OpenAI's dialect."""

from __future__ import annotations

from typing import Optional

from localproviders._http.transport import Explain, Transport
from localproviders.settings import Settings

#: Prefix of the paths of OpenAI's dialect.
VERSION = "/v1"

#: A transport to the address without its last part, ``/v1``. None if the address does not end in
#: ``/v1``: the paths of the other routes are then unknown.
RootTransport = Optional[Transport]


def make_root(settings: Settings, explain: Explain) -> RootTransport:
    """Return the transport to the provider's address without ``/v1``.

    Return None if the address does not end in ``/v1``.

    Args:
        settings: The provider's settings.
        explain: Function that translates an error response to an error of this package.
    """
    endpoint = settings.endpoint
    if not endpoint.path.endswith(VERSION):
        return None
    path = endpoint.path[: -len(VERSION)]
    return Transport(settings.replace(endpoint=endpoint.replace(path=path)), explain)
