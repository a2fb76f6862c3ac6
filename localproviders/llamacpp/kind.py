"""Facts about llama.cpp's server that other layers use without importing its provider."""

from __future__ import annotations

from localproviders.kinds import ProviderKind

KIND = ProviderKind(
    name="llamacpp",
    title="llama.cpp's server",
    provider="localproviders.llamacpp.provider:LlamaCppProvider",
    default_address="http://127.0.0.1:9931",
    api_paths=("v1",),
    ports=((9931, "llama.cpp since 2026"), (8080, "llama.cpp until 2026")),
    key_variables=("LLAMA_API_KEY",),
    # There is no fingerprint: the kind for OpenAI's dialect also recognizes this server.
    fake="localproviders.testing.llamacpp:FakeLlamaCpp",
    start_hint="start llama-server with a model: llama-server -m model.gguf",
    start_command="llama-server -m model.gguf",
    keyless_hint='the server can also be used as kind "openai-compatible"',
)
