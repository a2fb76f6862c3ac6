"""Where models run (ollama-api §6.5): what every call looks at before it sends a prompt."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Tuple

from localproviders._values import mappings, text
from localproviders._wire import unexpected
from localproviders.ollama.wire.answers import checked


def remote_host(data: Optional[Mapping[str, Any]]) -> Optional[str]:
    """Give where a record says that the model really runs; None is here."""
    host = (data or {}).get("remote_host")
    return str(host) if host else None


def parse_places(data: Any) -> List[Tuple[str, Optional[str]]]:
    """Read names out of the list of installed models, and where each runs, and no more.

    Raises:
        ProviderError: It is an error, or no list.
    """
    return [(name_of(model), remote_host(model)) for model in listed(data)]


def listed(data: Any) -> List[Mapping[str, Any]]:
    """Read the records of the list of installed models (§2.2).

    Raises:
        ProviderError: It is an error, or no list.
    """
    models = checked(data).get("models")
    if not isinstance(models, list):
        unexpected("'models' list")
    return mappings(models)


def name_of(data: Mapping[str, Any]) -> str:
    """Give the name of a model in that list.

    Raises:
        ProtocolError: It is no text.
    """
    return text(data.get("name") or data.get("model"))
