"""Facts about servers of OpenAI's dialect that other layers use without importing a provider."""

from __future__ import annotations

from types import CellType
from typing import Tuple

from localproviders import kinds
from localproviders._address import Endpoint, parse_endpoint
from localproviders._did_you_mean import did_you_mean
from localproviders._patterns import pattern
from localproviders.errors import ConfigurationError
from localproviders.kinds import KindService, ProviderKind

KIND = ProviderKind(
    name="openai-compatible",
    title="a server of OpenAI's dialect",
    provider="localproviders.openai_compatible.provider:OpenAICompatibleProvider",
    address_argument="base_url",
    address_path="/v1",
    api_paths=("engines/llama.cpp/v1", "engines/v1", "api/v1", "v1", "v3"),
    # Other programs use these ports, too (docs/reference/discovery.md, "Ports").
    ports=(
        (8000, "vLLM"),
        (30000, "SGLang"),
        (5001, "KoboldCpp"),
        (5000, "text-generation-webui"),
        (1337, "Jan"),
        (12434, "Docker Model Runner"),
        (13305, "Lemonade"),
        (4891, "GPT4All"),
        (7997, "Infinity"),
        (9997, "Xinference"),
        (4000, "LiteLLM"),
    ),
    fingerprint="localproviders.openai_compatible.recognition:recognise",
    # Servers of other kinds also speak this dialect, so they must be recognised first.
    fingerprint_order=90,
    fake="localproviders.testing.openai_compatible:FakeOpenAICompatible",
    # The rules of each service are in `wire/services.py`.
    services=(
        KindService("groq", "https://api.groq.com/openai/v1", ("GROQ_API_KEY",)),
        KindService("mistral", "https://api.mistral.ai/v1", ("MISTRAL_API_KEY",)),
        KindService("deepseek", "https://api.deepseek.com", ("DEEPSEEK_API_KEY",)),
        KindService("together", "https://api.together.ai/v1", ("TOGETHER_API_KEY",)),
        KindService("fireworks", "https://api.fireworks.ai/inference/v1", ("FIREWORKS_API_KEY",)),
        KindService(
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            ("GEMINI_API_KEY",),
        ),
        KindService("xai", "https://api.x.ai/v1", ("XAI_API_KEY",)),
    ),
)


# The names that an error may quote. Any other text may be an API key.
_QUOTABLE = pattern(r"[a-z][a-z-]{0,29}")


def get_service(given: CellType) -> KindService:
    """Return the service of this name.

    Args:
        given: The name in a `Sealed` cell.

    Raises:
        ConfigurationError: There is no such service. The message quotes the name only if it
            consists of lower-case letters and hyphens.
    """
    known = {each.name: each for each in KIND.services}
    found = known.get(given.cell_contents)
    if found is not None:
        return found
    kind = kinds.find(given.cell_contents)
    if kind is not None and kind.is_service:
        raise ConfigurationError(
            f"{kind.name!r} has a provider class of its own",
            hint=f"use {kind.provider.rpartition(':')[2]}(), or name the model as "
            f"{kind.name}/MODEL",
        )
    near = did_you_mean(given.cell_contents, list(known))
    name = given.cell_contents if _QUOTABLE.fullmatch(given.cell_contents) else ""
    services = f"the services are {', '.join(known)}; " if known else ""
    raise ConfigurationError(
        f"there is no service {name!r}{near}" if name else f"there is no such service{near}",
        hint=f"{services}to name a host, write http://{name or 'NAME'}",
    )


def key_variables_at(endpoint: Endpoint) -> Tuple[str, ...]:
    """Return the names of the environment variables that may contain the API key for an address.

    The result is empty if the address belongs to no service.
    """
    services = {
        parse_endpoint(each.address, default_port=443).origin: each for each in KIND.services
    }
    return services[endpoint.origin].key_variables if endpoint.origin in services else ()
