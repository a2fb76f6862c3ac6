"""The servers that have the route ``/v1/messages``, and the fields that each of them ignores.

A local server drops the fields that it does not know, and its answer does not show this
(docs/reference/anthropic.md, "Local servers"). So this package raises an error for these fields.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional, Tuple

from localproviders._dialect.values import mapping, mappings
from localproviders._record import FrozenDict

#: The address of Anthropic's service, and its host.
ADDRESS, HOST = "https://api.anthropic.com", "api.anthropic.com"

_SCHEMA = "call parse(), which writes the schema into the prompt and checks the answer"
_BUDGET = "pass max_tokens, which limits the thinking and the answer together"
_TEMPLATE = "the chat template of the model decides whether it thinks; use LlamaCppProvider"
_UNPROVEN = "use LMStudioProvider, which switches the thinking with the server's own API"

_CHOICES = ("auto", "none", "required")


class Server(NamedTuple):
    """A kind of server that has the route.

    Attributes:
        name: Name for error messages.
        is_service: Whether it checks each field and each block, as Anthropic's service does.
        ignored: Fields of requests that it ignores, each with a hint.
        reads_documents: Whether it reads documents.
        choices: The values of `tool_choice` that it obeys.
        names_tools: Whether it obeys a `tool_choice` that names a tool.
        has_levels_only: Whether a level of `thinking` is sent without a type of thinking.
    """

    name: str
    is_service: bool = False
    ignored: Mapping[str, str] = FrozenDict()
    reads_documents: bool = False
    choices: Tuple[str, ...] = _CHOICES
    names_tools: bool = False
    has_levels_only: bool = False


#: Anthropic's service, and other services with all its fields.
SERVICE = Server("Anthropic's API", is_service=True, reads_documents=True, names_tools=True)

_LLAMA_CPP = Server(
    "llama.cpp's /v1/messages",
    ignored=FrozenDict(
        response_schema=_SCHEMA, thinking=_TEMPLATE, thinking_budget="use LlamaCppProvider"
    ),
    choices=("auto", "required"),
)
_OLLAMA = Server(
    "Ollama's /v1/messages",
    ignored=FrozenDict(response_schema=_SCHEMA, thinking_budget=_BUDGET),
    choices=("auto",),
    has_levels_only=True,
)
_LM_STUDIO = Server(
    "LM Studio's /v1/messages",
    ignored=FrozenDict(response_schema=_SCHEMA, thinking=_UNPROVEN, thinking_budget=_BUDGET),
    choices=("auto", "required"),
)
# Another local program, whose list of models has OpenAI's form. Nothing is known about its route.
_OTHER = Server("this server's /v1/messages", ignored=FrozenDict(response_schema=_SCHEMA))

# The field `owned_by` of a model in the lists of these servers.
_OWNERS: Mapping[str, Server] = {
    "llamacpp": _LLAMA_CPP,
    "library": _OLLAMA,
    "organization_owner": _LM_STUDIO,
}


def is_service_host(host: str) -> bool:
    """Return whether a host is that of Anthropic's service."""
    return host.lower().rstrip(".") == HOST


def recognise(listed: Any) -> Server:
    """Return the kind of a server from its list of models.

    A response without a readable list counts as the response of a service that has only the route
    ``/v1/messages``.
    """
    data = mapping(listed)
    models = mappings(data.get("data"))
    if "data" in data and data["data"] is None:
        return _OLLAMA  # Ollama sends null if it has no model
    if "has_more" in data or any(is_own_record(each) for each in models):
        return SERVICE
    found = next(filter(None, map(_owner, models)), None)
    return found or (_OTHER if data.get("object") == "list" else SERVICE)


def _owner(model: Mapping[str, Any]) -> Optional[Server]:
    """Return the kind of server from the owner of a model in its list; None if it is unknown."""
    owner, name = str(model.get("owned_by")), str(model.get("id"))
    # The owner of a model that is not in Ollama's library is the first part of its name.
    is_namespace = name.startswith(f"{owner}/") and ":" in name
    return _OLLAMA if is_namespace else _OWNERS.get(owner)


def is_own_record(model: Mapping[str, Any]) -> bool:
    """Return whether a model in a list has Anthropic's form, and not OpenAI's."""
    return model.get("type") == "model" and "object" not in model
