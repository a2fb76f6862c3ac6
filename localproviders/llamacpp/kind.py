"""Facts about llama.cpp's server that other layers use without importing its provider."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from localproviders._dialect.values import mapping, nonempty_text
from localproviders.kinds import Look, ProviderKind

KIND = ProviderKind(
    name="llamacpp",
    title="llama.cpp's server",
    provider="localproviders.llamacpp.provider:LlamaCppProvider",
    default_address="http://127.0.0.1:9931",
    api_paths=("v1",),
    # Servers of this kind also listen on 8080, which the table of OpenAI's dialect has.
    ports=((9931, "llama.cpp's llama-server (its --help)"),),
    key_variables=("LLAMA_API_KEY",),
    fingerprint="localproviders.llamacpp.kind:recognise",
    # Before OpenAI's dialect, which this server also speaks.
    fingerprint_order=60,
    fake="localproviders.testing.llamacpp:FakeLlamaCpp",
    start_hint="start llama-server with a model: llama-server -m model.gguf",
    start_command="llama-server -m model.gguf",
    keyless_hint='the server can also be used as kind "openai-compatible"',
)


def recognise(look: Look) -> Optional[object]:
    """Return a description of the server with its version; None if it is not llama.cpp's.

    The greeting is described in docs/reference/llamacpp.md, "Recognition".
    """
    properties = look.ask("/props").json
    if nonempty_text(properties.get("build_info")) is None:
        return None
    if not isinstance(properties.get("default_generation_settings"), dict):
        return None
    return look.listed(_version)


def _version(provider: Any, **limits: Any) -> Mapping[str, Any]:
    return {"version": nonempty_text(mapping(provider.properties(**limits)).get("build_info"))}
