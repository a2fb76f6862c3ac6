"""Facts about OpenRouter that other layers use without importing its provider."""

from __future__ import annotations

from localproviders.kinds import ProviderKind

KIND = ProviderKind(
    name="openrouter",
    title="OpenRouter",
    provider="localproviders.openrouter.provider:OpenRouterProvider",
    address_argument="base_url",
    default_address="https://openrouter.ai/api/v1",
    address_path="/v1",
    api_paths=("api/v1", "v1"),
    key_variables=("OPENROUTER_API_KEY",),
    key_hosts=("openrouter.ai",),
    # There is no fake of its own: the fake of the dialect is used.
    keyless_hint="a server of this machine needs no key: name its address in your own file",
)
