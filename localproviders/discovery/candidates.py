"""Where to look: the usual places on this machine, and those that somebody has named."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders._http.address import Endpoint, parse_endpoint
from localproviders.errors import ConfigurationError
from localproviders.lmstudio import LMStudioProvider
from localproviders.ollama import OllamaProvider
from localproviders.settings import Settings

#: Where servers usually listen, by port, and which do so by their own documentation.
PORTS: Mapping[int, str] = {
    11434: "Ollama (ollama-api §1.2)",
    1234: "LM Studio (lmstudio-api §1.1)",
    8080: "llama.cpp's llama-server, as its --help says",
    8000: "vLLM, as docs.vllm.ai says of `vllm serve`",
    1337: "Jan, as jan.ai says of its local API server",
    5000: "text-generation-webui, as its page about the OpenAI API says",
}

#: LM Studio's own SDKs speak WebSocket there: left alone (lmstudio-api §1.1).
WEBSOCKET_PORTS = (41343, 52993, 16141, 39414, 22931)

_FAMILIES = ("127.0.0.1", "::1")

# Below one origin stand several APIs; a user may name any of them (lmstudio-api §1.1).
_API_ROOTS = ("api/v1", "api/v0", "v1")

_NAMED = "an address that the search was given"


class Candidate(NamedTuple):
    """One address to ask.

    Attributes:
        endpoint: The address, without the path of an API.
        origin: Where it came from, in words.
        named: Whether somebody gave it: what became of it is told in any case.
        takes_keys: Whether the key of a server's kind may go there.
    """

    endpoint: Endpoint
    origin: str
    named: bool = False
    takes_keys: bool = False


def candidates(endpoints: Optional[Sequence[str]]) -> Tuple[Candidate, ...]:
    """List the addresses to ask, each once: the given ones, ``OLLAMA_HOST``, the usual places.

    A host without scheme and port stands for all usual ports there.

    Raises:
        ConfigurationError: One of them is no address, or they are one text.
    """
    if isinstance(endpoints, (str, bytes)):
        raise ConfigurationError(
            "endpoints is one text, and must be a list of them",
            hint='write discover(["http://127.0.0.1:8080"])',
        )
    found: Dict[Endpoint, Candidate] = {}
    for candidate in [*_given(endpoints or ()), *_from_variable(), *_usual()]:
        found.setdefault(candidate.endpoint, candidate)
    return tuple(found.values())


def _given(texts: Sequence[str]) -> List[Candidate]:
    found: List[Candidate] = []
    for text in texts:
        if not isinstance(text, str):
            raise ConfigurationError(
                f"an endpoint is a {type(text).__name__}, and must be a text",
                hint="pass addresses such as http://127.0.0.1:8080",
            )
        places = dict.fromkeys(_parse(text, port) for port in PORTS or (80,))
        named = len(places) == 1
        found += [Candidate(each, _NAMED, named, named) for each in places]
    return found


def _parse(text: str, port: int) -> Endpoint:
    return parse_endpoint(text, default_port=port, api_suffixes=_API_ROOTS)


def _from_variable() -> List[Candidate]:
    settings = OllamaProvider().settings
    if settings.endpoint_origin != "OLLAMA_HOST":
        return []
    return [Candidate(settings.endpoint, settings.endpoint_origin, True, True)]


def _usual() -> List[Candidate]:
    # Where the provider itself goes with its key, if nobody says otherwise. Ours is never sent:
    # a bad one in the environment is a matter of LM Studio's alone.
    own: Settings = LMStudioProvider(api_key="unused").settings
    places = [Endpoint(scheme="http", host=host, port=port) for port in PORTS for host in _FAMILIES]
    return [
        Candidate(place, f"the usual port of {PORTS[place.port]}", False, place == own.endpoint)
        for place in places
    ]
