"""Facts about Ollama that other layers use without importing its provider."""

from __future__ import annotations

import os
from types import CellType
from typing import Any, Mapping, Optional, Tuple

from localproviders._address import Endpoint, parse_endpoint
from localproviders.errors import ConfigurationError
from localproviders.kinds import Look, ProviderKind
from localproviders.secret import Unseen

_PORT = 11434
# First path segments of Ollama's own API and of its OpenAI-compatible API. Users copy addresses
# that end with these segments from examples.
_API_ROOTS = ("api", "v1")

KIND = ProviderKind(
    name="ollama",
    title="Ollama",
    provider="localproviders.ollama.provider:OllamaProvider",
    default_address="http://127.0.0.1:11434",
    api_paths=_API_ROOTS,
    # The default port is described in docs/reference/ollama.md, "Connecting".
    ports=((_PORT, "Ollama"),),
    address_variable="OLLAMA_HOST",
    key_variables=("OLLAMA_API_KEY",),
    key_hosts=("ollama.com",),
    fingerprint="localproviders.ollama.kind:recognise",
    fingerprint_order=20,
    fake="localproviders.testing.ollama:FakeOllama",
    start_hint="start its application, or run `ollama serve`",
    start_command="ollama serve",
)


_GREETING = "Ollama is running"

# Some other programs also implement Ollama's API. Such a program is recognised by a path of its
# own, and by keys of the JSON object that it returns there. It is not certain what these programs
# return for ``GET /``, where Ollama sends its greeting (docs/reference/discovery.md).
_OTHER_GREETINGS: Mapping[str, Tuple[str, ...]] = {
    "/api/extra/version": ("result", "version"),
    "/api/v1/health": ("status", "model_loaded"),
}


def recognise(look: Look) -> Optional[object]:
    """Return a description of the server if it sends Ollama's greeting, otherwise None."""
    # Described in docs/reference/ollama.md, "Versions".
    greeting = look.ask("/")
    if greeting.text.strip() != _GREETING or _is_other(look):
        return None
    evidence = f"GET /: status {greeting.status}, {_GREETING!r}"
    return look.listed(_version, product=KIND.title, evidence=(evidence,))


def _is_other(look: Look) -> bool:
    """Return whether the server is another program that implements Ollama's API."""
    return any(
        all(key in look.ask(path).json for key in keys) for path, keys in _OTHER_GREETINGS.items()
    )


def _version(provider: Any, **limits: Any) -> Mapping[str, Any]:
    return {"version": provider.version(**limits)}


def find_endpoint(given: CellType) -> Tuple[Endpoint, str]:
    """Return the address of the server, and the source of this address.

    Args:
        given: The address in a `Sealed` cell. If the address is None, ``OLLAMA_HOST`` is read.

    Raises:
        ConfigurationError: The address is invalid.
    """
    if given.cell_contents is not None:
        endpoint = parse_endpoint(given.cell_contents, default_port=_PORT, api_suffixes=_API_ROOTS)
        return endpoint, "the host argument"
    variable = Unseen(os.environ.get("OLLAMA_HOST", ""))
    try:
        # The server reads the same variable and replaces an invalid port with the default port.
        endpoint = parse_endpoint(
            variable, default_port=_PORT, lenient=True, api_suffixes=_API_ROOTS
        )
    except ConfigurationError as error:
        message, hint = error.message, error.hint
    else:
        return endpoint, "OLLAMA_HOST" if variable.strip() else "the default"
    hint = hint or "export OLLAMA_HOST=127.0.0.1:11434, or unset it"
    raise ConfigurationError(f"OLLAMA_HOST: {message}", hint=hint)
