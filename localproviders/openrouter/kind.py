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
    # This kind has no fake server of its own: tests use the one of `openai_compatible`.
    keyless_hint="or use a server on this machine, which needs no key",
)
