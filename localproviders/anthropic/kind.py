"""Facts about Anthropic's API that other layers use without importing its provider."""

from __future__ import annotations

from localproviders.anthropic.wire.servers import ADDRESS, HOST
from localproviders.kinds import KindKey, ProviderKind

KIND = ProviderKind(
    name="anthropic",
    title="Anthropic's API",
    provider="localproviders.anthropic.provider:AnthropicProvider",
    address_argument="base_url",
    default_address=ADDRESS,
    api_paths=("v1",),
    key_variables=("ANTHROPIC_API_KEY",),
    key_hosts=(HOST,),
    fake="localproviders.testing.anthropic:FakeAnthropic",
    keys=(
        KindKey(
            name="max_tokens",
            type="count",
            meaning="Longest answer, in tokens, for calls that set no `max_tokens`",
            example="max_tokens = 8192",
            default="4096, and a warning",
            in_project="yes",
        ),
    ),
    keyless_hint="or use a server on this machine, which needs no key",
)
