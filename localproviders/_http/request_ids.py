"""The id under which a server logs a request, from the headers of its response."""

from __future__ import annotations

from typing import Mapping, Optional

from localproviders._patterns import pattern

# The headers with such an id, in the order of preference: OpenAI and most others, Anthropic,
# OpenRouter, Azure, TypeSafe. A proxy may add `x-request-id` to a response that already has the
# header of the service behind the proxy.
_NAMES = (
    "x-request-id",
    "request-id",
    "x-generation-id",
    "apim-request-id",
    "x-typesafe-request-id",
)

# An id is a single word. Any other value may be text of the request that the server repeats.
_ID = pattern(r"[A-Za-z0-9_.:/+=@~-]{1,128}")


def find_request_id(headers: Mapping[str, str]) -> Optional[str]:
    """Return the id in the headers of a response; None if there is none."""
    # Most responses have no such header. Looking for each name would take 4 µs, and this loop takes
    # half a microsecond: all these names end with "d", and no usual name ends with this letter.
    found = {name.lower(): name for name in headers if name[-1:] in "dD"}
    for name in _NAMES if found else ():
        value = headers[found[name]] if name in found else ""
        if _ID.fullmatch(value):
            return value
    return None
