"""Facts about Ollama that other layers use without importing its provider."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from localproviders.kinds import Look, ProviderKind

KIND = ProviderKind(
    name="ollama",
    title="Ollama",
    provider="localproviders.ollama.provider:OllamaProvider",
    default_address="http://127.0.0.1:11434",
    api_paths=("api", "v1"),
    # The default port is described in docs/reference/ollama.md, "Connecting".
    ports=((11434, "Ollama"),),
    address_variable="OLLAMA_HOST",
    key_variables=("OLLAMA_API_KEY",),
    key_hosts=("ollama.com",),
    fingerprint="localproviders.ollama.kind:recognise",
    fingerprint_order=20,
    fake="localproviders.testing.ollama:FakeOllama",
    start_hint="start its application, or run `ollama serve`",
    start_command="ollama serve",
)


def recognise(look: Look) -> Optional[object]:
    """Return a description of the server if it sends Ollama's greeting, otherwise None."""
    # Described in docs/reference/ollama.md, "Versions".
    if look.ask("/").text.strip() != "Ollama is running":
        return None
    return look.listed(_version)


def _version(provider: Any, **limits: Any) -> Mapping[str, Any]:
    return {"version": provider.version(**limits)}
