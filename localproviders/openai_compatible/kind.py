"""Facts about servers of OpenAI's dialect that other layers use without importing a provider."""

from __future__ import annotations

import re
from types import CellType
from typing import Any, Optional, Tuple

from localproviders._address import Endpoint, parse_endpoint
from localproviders._dialect.values import mapping, nonempty_text
from localproviders._did_you_mean import did_you_mean
from localproviders.errors import ConfigurationError, ProviderError, ServerBusyError
from localproviders.kinds import KindService, Look, ProviderKind
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.openai_compatible.wire.models import parse_models

KIND = ProviderKind(
    name="openai-compatible",
    title="a server of OpenAI's dialect",
    provider="localproviders.openai_compatible.provider:OpenAICompatibleProvider",
    address_argument="base_url",
    address_path="/v1",
    api_paths=("v1",),
    ports=(
        (8080, "llama.cpp's llama-server (its --help)"),
        (8000, "vLLM (docs.vllm.ai, `vllm serve`)"),
        (1337, "Jan (jan.ai, its local API server)"),
        (5000, "text-generation-webui (its page about the OpenAI API)"),
    ),
    fingerprint="localproviders.openai_compatible.kind:recognise",
    # Servers of other kinds also speak this dialect, so they must be recognised first.
    fingerprint_order=90,
    fake="localproviders.testing.openai_compatible:FakeOpenAICompatible",
)


# The names that an error may quote. Any other text may be an API key.
_QUOTABLE = re.compile(r"[a-z][a-z-]{0,29}")


def get_service(given: CellType) -> KindService:
    """Return the service with a name.

    Args:
        given: The sealed name.

    Raises:
        ConfigurationError: There is no such service. Only a name of letters and hyphens is quoted.
    """
    known = {each.name: each for each in KIND.services}
    found = known.get(given.cell_contents)
    if found is not None:
        return found
    near = did_you_mean(given.cell_contents, list(known))
    name = given.cell_contents if _QUOTABLE.fullmatch(given.cell_contents) else ""
    services = f"the services are {', '.join(known)}; " if known else ""
    raise ConfigurationError(
        f"there is no service {name!r}{near}" if name else f"there is no such service{near}",
        hint=f"{services}write http://{name or 'NAME'} for a host",
    )


def key_variables_at(endpoint: Endpoint) -> Tuple[str, ...]:
    """Return the variables with the API key for an address; none if it is of no service."""
    services = {
        parse_endpoint(each.address, default_port=443).origin: each for each in KIND.services
    }
    return services[endpoint.origin].key_variables if endpoint.origin in services else ()


def recognise(look: Look) -> Optional[object]:
    """Return a description of the server if its model list has the form of OpenAI's API."""
    try:
        data = look.json("/v1/models")
        models = parse_models(data, "", RULES, look.check_limits) if is_model_list(data) else None
    except ProviderError as error:
        return _describe_refusal(look, error)
    if models is None:
        return None
    return look.found("available", version=_version(look), models=tuple(models))


def is_model_list(data: Any) -> bool:
    """Return whether the JSON is a model list of this dialect, not another object with `data`."""
    listed = mapping(data)
    items = listed.get("data")
    if listed.get("object") == "list" and items is None:
        # Ollama, for example, sends this if it has no model
        # (docs/reference/ollama.md, "The OpenAI dialect").
        return True
    if not isinstance(items, list) or not all(
        nonempty_text(mapping(item).get("id")) for item in items
    ):
        return False
    typed = bool(items) and all(mapping(item).get("object") == "model" for item in items)
    return listed.get("object") == "list" or typed


def _describe_refusal(look: Look, error: ProviderError) -> object:
    if isinstance(error, ServerBusyError) and error.loading:  # reported by llama.cpp
        return look.found("degraded", "it is loading its model")
    if error.status == 401:
        report = look.found if _refuses_as_dialect(look) else look.unknown
        return report("needs a key", look.words(error))
    return look.unknown("unavailable", look.words(error))


def _refuses_as_dialect(look: Look) -> bool:
    """Return whether the refusal of a missing key has the form of this dialect.

    The status alone shows nothing, because any server may send 401.
    """
    error = look.refusal.get("error")
    if isinstance(error, dict):
        return nonempty_text(error.get("message")) is not None
    # vLLM sends a string instead of an object. Its route for the version is the second sign.
    return nonempty_text(error) is not None and _version(look) is not None


def _version(look: Look) -> Optional[str]:
    """Read the version from the route of llama.cpp, or else from the route of vLLM."""
    for path, name in (("/props", "build_info"), ("/version", "version")):
        try:
            found = nonempty_text(look.ask(path).json.get(name))
        except ProviderError:
            return None  # the list of models is enough to recognise the server
        if found:
            return found
    return None
