"""What a search has found, and what it has tried."""

from __future__ import annotations

from datetime import datetime
from typing import Any, List, Literal, Mapping, Optional, Tuple

from localproviders._backend import HTTPProvider
from localproviders._record import Record, field, loads, loads_each, record
from localproviders.errors import UnsupportedError
from localproviders.lmstudio import LMStudioProvider
from localproviders.ollama import OllamaProvider
from localproviders.openai_compatible import OpenAICompatibleProvider
from localproviders.provider import ModelProvider
from localproviders.types.model import LoadedModel, ModelInfo

#: What a server is.
Kind = Literal["ollama", "lmstudio", "openai-compatible", "unknown"]

#: Whether a server can be used, best first.
State = Literal["available", "degraded", "needs a key", "unavailable"]

#: What became of one address: a state; nobody listens there; or it was left alone.
Outcome = Literal["available", "degraded", "needs a key", "unavailable", "nothing", "not asked"]

STATES: Tuple[State, ...] = ("available", "degraded", "needs a key", "unavailable")

_PROVIDERS: Mapping[str, Any] = {
    "ollama": OllamaProvider,
    "lmstudio": LMStudioProvider,
    "openai-compatible": OpenAICompatibleProvider,
}

_WHAT_TO_DO = """\
To get one:
- Ollama: start its application, or run `ollama serve`.
- LM Studio: run `lms server start`, or switch the server on in its Developer tab.
- One that runs at another address: discover(["http://127.0.0.1:<port>"]).
- No server at all: LocalEngine("chat") runs a small model in a process of its own."""


@record
class FoundServer(Record):
    """One server, as it was when it was asked.

    Attributes:
        kind: ``ollama``, ``lmstudio``, ``openai-compatible``, or ``unknown``: told by what it
            says of itself, never by its port.
        name: A name that no other server of this search has: ``ollama``, ``lmstudio``,
            ``openai-compatible-8080``. A second Ollama or LM Studio has its port behind it.
        endpoint: Its address, as the provider of its kind takes it and names it in errors;
            an ``openai-compatible`` one includes ``/v1``.
        version: Its version, in its own words; None where it does not tell. LM Studio never
            does (lmstudio-api §5.2).
        generation: LM Studio's: ``0.4``, ``0.3`` or ``older``; None for other kinds.
        latency_s: Seconds until it answered the first question; None if it never did.
        models: What it has; empty also where it does not tell.
        loaded: What is in its memory; empty also where it does not tell.
        state: ``available``; ``degraded``: it answers, and not yet as it should; ``needs a
            key``; ``unavailable``: it cannot be used.
        reason: Why it is not available; empty where it is.
        takes_keys: Whether the environment's key for its kind may go there: somebody gave
            this address, or its provider goes there unasked.
    """

    kind: Kind
    name: str
    endpoint: str
    version: Optional[str] = None
    generation: Optional[str] = None
    latency_s: Optional[float] = None
    models: Tuple[ModelInfo, ...] = field(default=(), metadata=loads_each(ModelInfo.from_dict))
    loaded: Tuple[LoadedModel, ...] = field(default=(), metadata=loads_each(LoadedModel.from_dict))
    state: State = "available"
    reason: str = ""
    takes_keys: bool = False

    def make_provider(self, **options: Any) -> ModelProvider:
        """Make a provider for this server, under its name. Nothing is sent.

        Args:
            **options: What the constructor of its class takes: ``model``, ``api_key``,
                ``timeout``, ``locality`` and the rest. A locality that the search was given
                is not handed on: say it here, too.

        Raises:
            UnsupportedError: Nobody knows what kind of server this is.
            ConfigurationError: An option is impossible.
        """
        if self.kind not in _PROVIDERS:
            raise UnsupportedError(
                f"no provider speaks to {self.endpoint}: {self.reason}",
                hint="if you know what it is, make its provider yourself",
                endpoint=self.endpoint,
            )
        if options.get("settings") is not None:
            made: ModelProvider = _PROVIDERS[self.kind](**options)
            return made
        return provider_of(
            self.kind, self.endpoint, self.takes_keys, **{"name": self.name, **options}
        )


def provider_of(kind: str, endpoint: str, takes_keys: bool, **options: Any) -> HTTPProvider:
    """Make the provider of a known kind of server.

    Args:
        kind: The kind.
        endpoint: The address, as the provider takes it.
        takes_keys: Whether the environment's key may go there.
        **options: What the constructor of its class takes.

    Raises:
        ConfigurationError: An option is impossible.
    """
    made: Any = _PROVIDERS[kind]
    provider: HTTPProvider = made(endpoint, **options)
    if takes_keys or options.get("api_key"):
        return provider
    # The variable's key is meant for a server that somebody has named.
    without: HTTPProvider = made(settings=provider.settings.replace(api_key=None))
    return without


@record
class Probe(Record):
    """What became of one address.

    Attributes:
        endpoint: The address that was asked.
        outcome: A state of `FoundServer`; ``nothing``: nobody took a connection; ``not asked``:
            it was left alone.
        reason: What was found, or why not, in words.
        latency_s: Seconds until the first answer; None if none came.
    """

    endpoint: str
    outcome: Outcome
    reason: str
    latency_s: Optional[float] = None


@record
class Discovery(Record):
    """What a search has found.

    Attributes:
        servers: The servers, best first: by state, then in the order of the search. Of those
            that nobody named, only the ones that are known to serve models.
        tried: Every address, in the order of the search, and what became of it.
        found_at: When the search ended, with time zone.
    """

    found_at: datetime = field(metadata=loads(lambda text: datetime.fromisoformat(text)))
    servers: Tuple[FoundServer, ...] = field(default=(), metadata=loads_each(FoundServer.from_dict))
    tried: Tuple[Probe, ...] = field(default=(), metadata=loads_each(Probe.from_dict))

    def explain(self) -> str:
        """Say in a few lines what was found, what was tried, and what to do if nothing runs."""
        usable = [server for server in self.servers if server.state == "available"]
        lines = [_line_of(server) for server in self.servers]
        if not usable:
            lines.insert(0, "No server that is ready was found.")
        lines += ["Tried:", *_tried_lines(self.tried)]
        return "\n".join(lines if usable else [*lines, _WHAT_TO_DO])


def number_of_models(server: FoundServer) -> str:
    """Say how many models a server lists."""
    return "1 model" if len(server.models) == 1 else f"{len(server.models)} models"


def _line_of(server: FoundServer) -> str:
    version = server.version or server.generation
    words = [server.name, *([version] if version else []), "at", server.endpoint]
    # None is not told: not every server says what is in its memory.
    loaded = f", {len(server.loaded)} loaded" if server.loaded else ""
    told = server.reason or f"{number_of_models(server)}{loaded}"
    return f"{' '.join(words)}: {server.state}; {told}"


def _tried_lines(tried: Tuple[Probe, ...]) -> List[str]:
    """Give a line for each address that answered, and one for all where nobody listens."""
    empty = [probe.endpoint for probe in tried if probe.outcome == "nothing"]
    lines = [
        f"- {probe.endpoint}: {probe.outcome}; {probe.reason}"
        for probe in tried
        if probe.outcome != "nothing"
    ]
    return [*lines, f"- nobody listens at {', '.join(empty)}"] if empty else lines
