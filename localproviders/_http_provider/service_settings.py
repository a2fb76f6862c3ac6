"""The settings of a provider for one service, with the address and the key of this service."""

from __future__ import annotations

from types import CellType
from typing import Any, Optional, Tuple

from localproviders._address import Endpoint, parse_endpoint
from localproviders.secret import Sealed, as_key
from localproviders.settings import (
    Settings,
    first_variable,
    make_settings,
    safe_options,
    sets_authorization,
)
from localproviders.types.limits import Timeout
from localproviders.types.requests import Locality


def make_service_settings(
    given: CellType,
    default: Endpoint,
    variables: Tuple[str, ...],
    *,
    name: str,
    model: Optional[str],
    timeout: Timeout,
    locality: Optional[Locality],
    key_headers: Tuple[str, ...] = (),
    **forms: Any,
) -> Settings:
    """Make the settings from the arguments of a constructor.

    Args:
        given: The address, the API key and the other options, as a tuple in a `Sealed` cell.
        default: The address of the service, for a constructor call without an address.
        variables: The environment variables with the API key. They are read only for the host of
            the service, and only if no argument and no option sets a key.
        name: The argument of the constructor.
        model: The argument of the constructor.
        timeout: The argument of the constructor.
        locality: The argument of the constructor.
        key_headers: Headers that carry the API key, besides ``Authorization``.
        forms: Further arguments of `parse_endpoint`, for the address.

    Raises:
        ConfigurationError: A value is invalid.
        TypeError: An option is unknown.
    """
    address, key, connection = map(Sealed, given.cell_contents)
    hidden, is_given = safe_options(connection), bool(address.cell_contents)
    endpoint = default
    if is_given:
        endpoint = parse_endpoint(address.cell_contents, default_port=443, **forms)
    secret = as_key(key) if key.cell_contents else None
    is_own = endpoint.host.lower().rstrip(".") == default.host
    if secret is None and is_own and not sets_authorization(hidden, *key_headers):
        secret = first_variable(*variables)
    return make_settings(
        endpoint=endpoint,
        endpoint_origin="the base_url argument" if is_given else "the default",
        name=name,
        model=model,
        api_key=secret,
        timeout=timeout,
        locality=locality,
        **hidden,
    )
