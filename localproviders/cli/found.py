"""Which servers run on this machine, and which models they have."""

from __future__ import annotations

from typing import Sequence, cast

from localproviders.config import Config
from localproviders.discovery import Discovery, FoundServer, discover
from localproviders.errors import UnreachableError
from localproviders.types.request import Locality


def run(addresses: Sequence[str]) -> None:
    """Search, also at the configured addresses, and print each model as ``server/model``.

    Raises:
        UnreachableError: No server is ready; the hint says what was tried, and what to do.
        ConfigurationError: An address or the configuration is impossible.
    """
    config = Config.load()
    found = discover([*addresses, *config.endpoints], locality=cast("Locality", config.locality))
    if not any(server.state == "available" for server in found.servers):
        raise UnreachableError("no server of language models is ready", hint=found.explain())
    _print(found)


def _print(found: Discovery) -> None:
    print(found.explain())
    print("Models:")
    for server in found.servers:
        for model in server.models:
            print(f"- {server.name}/{model.name}{_in_memory(server, model.name)}")


def _in_memory(server: FoundServer, model: str) -> str:
    return ", loaded" if any(loaded.name == model for loaded in server.loaded) else ""
