"""Facts about the embedded engine that other layers use without importing its provider."""

from __future__ import annotations

from localproviders.kinds import KindKey, ProviderKind

KIND = ProviderKind(
    name="gguf",
    title="a model file",
    provider="localproviders.engine.local:LocalEngine",
    address_argument="model",
    keys=(
        KindKey(
            name="gguf",
            type="file",
            meaning="A model file, which the embedded engine serves",
            example='gguf = "model.gguf"',
            in_project="own",
            is_required=True,
        ),
    ),
    is_file=True,
    from_config="localproviders.local.gguf:HostedProvider",
)
