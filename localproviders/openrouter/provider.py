"""`OpenRouterProvider`, the provider for OpenRouter, which forwards requests to other services."""

from __future__ import annotations

from typing import Optional

from localproviders._address import Endpoint, parse_endpoint
from localproviders._http_provider.service_settings import make_service_settings
from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.openai_compatible.provider import OpenAICompatibleProvider
from localproviders.openai_compatible.wire.services import OPENROUTER
from localproviders.secret import Sealed
from localproviders.settings import EMPTY, ApiKey, ConnectionOptions, Settings
from localproviders.types.limits import Timeout
from localproviders.types.requests import Locality

_DEFAULT: Endpoint = parse_endpoint("https://openrouter.ai/api/v1", default_port=443)


class OpenRouterProvider(OpenAICompatibleProvider):
    """OpenRouter, a service that forwards requests to other services.

    OpenRouter chooses for each request one of the services that run the model. OpenRouter calls
    these services providers. It forwards a strict request only to providers that support all
    fields of the request. With ``strict=False``, OpenRouter ignores a field that the chosen
    provider does not support, and the answer has a warning. ``extra_body={"provider": {...}}``
    restricts the choice. The price of an answer is in its ``usage.cost_usd``, and the prices of a
    model are in its `ModelInfo`.

    Args:
        base_url: Address with the path of the API. None means ``https://openrouter.ai/api/v1``,
            which needs ``locality="any"``.
        model: Model for calls without a model, such as ``anthropic/claude-sonnet-4.5``. If it is
            None, such calls raise `ConfigurationError`.
        name: Name of the provider in responses, errors and events.
        api_key: Key that is sent as a Bearer token, to this address only. None reads
            ``OPENROUTER_API_KEY`` if the address is that of the service.
        timeout: Limits for calls without a `timeout`: seconds for the whole call, or a
            `Limits` value. None means ``Limits()``.
        locality: Places to which prompts may be sent: ``loopback``, ``private`` or ``any``.
            None uses the value of ``LOCALPROVIDERS_LOCALITY``, or ``loopback`` if it is not
            set. The service needs ``any``. With another locality, each call raises
            `LocalityError` before the name of the service's host is looked up.
        settings: A complete `Settings` value. The other arguments are then not used.
        **options: Fields of `ConnectionOptions`: ``retry``, ``ca_bundle``, ``client_cert``,
            ``proxies``, ``listeners``, ``allow_plaintext_key``, ``max_line_bytes``,
            ``max_body_bytes``, ``max_json_depth``, ``headers`` and ``auth``. `Settings` describes
            each.

    The constructor sends nothing. The first call opens a connection and keeps it for later
    calls until `close`.

    Raises:
        ConfigurationError: A value is invalid.
        TypeError: A keyword argument does not exist.
    """

    _service_rules = OPENROUTER

    @exact_keywords
    @show_keywords(ConnectionOptions, Settings)
    def __init__(
        self,
        base_url: Optional[str] = None,
        *,
        model: Optional[str] = None,
        name: str = "openrouter",
        api_key: ApiKey = None,
        timeout: Timeout = None,
        locality: Optional[Locality] = None,
        settings: Optional[Settings] = None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        # The cell hides the address and the key from tracebacks that show local variables (see
        # `Sealed`).
        given, base_url, api_key, options = Sealed((base_url, api_key, options)), None, None, EMPTY
        if settings is None:
            settings = make_service_settings(
                given,
                _DEFAULT,
                ("OPENROUTER_API_KEY",),
                name="openrouter" if name is None else name,
                model=model,
                timeout=timeout,
                locality=locality,
                socket_api="/v1",
            )
        super().__init__(settings=settings)
