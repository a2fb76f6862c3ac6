"""Facts about OpenAI's service that other layers use without importing its provider."""

from __future__ import annotations

from localproviders.kinds import ProviderKind

KIND = ProviderKind(
    name="openai",
    title="OpenAI's service",
    provider="localproviders.openai.provider:OpenAIProvider",
    address_argument="base_url",
    default_address="https://api.openai.com/v1",
    address_path="/v1",
    api_paths=("v1",),
    key_variables=("OPENAI_API_KEY",),
    key_hosts=("api.openai.com",),
    # This kind has no fake server of its own: tests use the one of `openai_compatible`.
    keyless_hint="or use a server on this machine, which needs no key",
)
