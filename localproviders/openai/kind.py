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
    # There is no fake of its own: the fake of the dialect is used.
    keyless_hint="a server of this machine needs no key: name its address in your own file",
)
