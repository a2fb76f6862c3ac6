"""Results of a search: the servers that were found, and the addresses that were tried."""

from __future__ import annotations

from datetime import datetime
from typing import Any, List, Literal, Optional, Tuple
from urllib.parse import urlsplit

from localproviders import kinds
from localproviders._record import CONTENT, Line, Record, field, loads, loads_each, record
from localproviders._redact import count_with_noun, in_markdown, on_screen, one_line, shortened
from localproviders._signatures import Unpack, show_keywords
from localproviders.errors import UnsupportedError
from localproviders.provider import ModelProvider
from localproviders.secret import Sealed
from localproviders.settings import ProviderOptions, safe_options
from localproviders.types.models import LoadedModel, ModelInfo

#: Whether a server can be used, best first.
State = Literal["available", "degraded", "needs a key", "unavailable"]

#: The result for one address: the state of its server; ``nothing`` if no server listens there;
#: or ``not asked``.
Outcome = Literal["available", "degraded", "needs a key", "unavailable", "nothing", "not asked"]

STATES: Tuple[State, ...] = ("available", "degraded", "needs a key", "unavailable")

_OTHER_WAYS = """\
- If a server runs at another address: run `localproviders discover http://127.0.0.1:<port>`.
- Without a server: run `localproviders demo --install`, which tries a small model.
- The same in Python: discover(["http://127.0.0.1:<port>"]) and LocalEngine("chat")."""

# Beginning of the reason for a host name that has no address.
_UNRESOLVED = "the host name cannot be resolved"

# Maximum number of servers in the `str` of a search, so that the hints fit on the same screen.
_MOST_SERVERS = 12


@record
class FoundServer(Line):
    """A server, in the state that it had during the search. Its `str` is one line.

    Attributes:
        kind: Name of its kind, such as ``ollama``, ``lmstudio`` or ``openai-compatible`` (see
            `localproviders.kinds`), or ``unknown``. The server's responses decide the kind,
            never the port.
        name: Name of the server, unique in this search: ``ollama``, ``lmstudio``,
            ``openai-compatible-8080``. The name of a second Ollama or LM Studio ends in its
            port.
        endpoint: Address of the server, in the form that the provider of its kind accepts and
            shows in errors. The address of an ``openai-compatible`` server includes the path of
            its API: ``/v1`` in most cases, ``/engines/v1`` for Docker Model Runner.
        version: Version, as the server reports it; None if the server does not report a
            version. LM Studio never does.
        generation: Generation of LM Studio: ``0.4``, ``0.3`` or ``older``; None for other
            kinds.
        latency_s: Seconds until the response to the first request; None if there was no response.
        models: The models that the server lists. Empty also if the server did not report them.
        loaded: The models in its memory. Empty also if the server did not report them.
        state: ``available``; ``degraded`` if the server answers, but some information about it is
            missing; ``needs a key``; or ``unavailable`` if the server cannot be used.
        reason: Reason why the server is not available; empty if it is available.
        takes_keys: Whether the API key in the environment for its kind may be sent to the server.
            This is allowed if the caller or the configuration named this address, or if the
            provider of its kind uses this address by default.
        product: Name of the program, such as ``llama.cpp``, ``vLLM`` or ``Docker Model Runner``.
            None if its responses do not show which program it is; the server can still be used if
            its kind is known.
        evidence: The responses that decided the kind and the product, one line for each: the
            path, the status, and the deciding key with its value.
        forwards_prompts: Whether the program usually sends prompts to other hosts, as LiteLLM
            does. `LocalProvider` uses such a server only if it is configured.
    """

    kind: str
    name: str
    endpoint: str
    version: Optional[str] = None
    generation: Optional[str] = None
    latency_s: Optional[float] = None
    # These fields are declared as content, which the repr hides. They can be pages long.
    models: Tuple[ModelInfo, ...] = field(
        default=(), metadata=loads_each(ModelInfo.from_dict, **CONTENT)
    )
    loaded: Tuple[LoadedModel, ...] = field(
        default=(), metadata=loads_each(LoadedModel.from_dict, **CONTENT)
    )
    state: State = "available"
    reason: str = ""
    takes_keys: bool = False
    product: Optional[str] = None
    evidence: Tuple[str, ...] = field(default=(), metadata=loads_each(str, **CONTENT))
    forwards_prompts: bool = False

    def __post_init__(self) -> None:
        self._keep_as_tuples("models", "loaded", "evidence")
        self._put_on_one_line("version", "reason", "product")
        object.__setattr__(self, "evidence", tuple(map(one_line, self.evidence)))

    def __str__(self) -> str:
        return shortened(_line_of(self))

    @show_keywords(ProviderOptions)
    def make_provider(self, **options: Unpack[ProviderOptions]) -> ModelProvider:
        """Make a provider for this server. Its name is the server's name. Nothing is sent.

        Args:
            **options: The options of the provider's constructor: ``model``, ``api_key``,
                ``timeout``, ``locality`` and others. The provider does not inherit the
                locality of the search: pass it here, too. If ``settings`` is passed, its address
                and its name are used instead of the server's.

        Raises:
            UnsupportedError: The kind of the server is not known.
            ConfigurationError: An option is invalid.
            TypeError: An option is unknown.
        """
        given, options = Sealed(options), ProviderOptions()
        kind = kinds.find(self.kind)
        if kind is None:
            raise UnsupportedError(
                f"there is no provider for {self.endpoint}: {self.reason}",
                hint="if you know its kind, make a provider of that kind with this address",
                endpoint=self.endpoint,
            )
        hidden = safe_options(given, kind.options)
        if hidden.get("settings") is not None:
            return kind.make(**hidden)
        return provider_of(
            self.kind, self.endpoint, self.takes_keys, **{"name": self.name, **hidden}
        )


def provider_of(kind: str, endpoint: str, takes_keys: bool, **options: Any) -> ModelProvider:
    """Make the provider of a known kind of server.

    Args:
        kind: Name of the kind.
        endpoint: The address, in the form that the provider accepts.
        takes_keys: Whether the API key in the environment may be sent to this address.
        **options: The options of the constructor of the provider's class.

    Raises:
        ConfigurationError: An option is invalid, or there is no such kind.
        TypeError: An option is unknown.
    """
    given, options = Sealed(options), {}
    known = kinds.get(kind)
    options = safe_options(given, known.options)
    provider: Any = known.make(endpoint, **options)
    if takes_keys or options.get("api_key") or not known.key_variables:
        made: ModelProvider = provider
        return made
    # The API key in the environment must not be sent to this address.
    return known.make(settings=provider.settings.replace(api_key=None))


@record
class Probe(Line):
    """The result for one address of a search. Its `str` is one line.

    Attributes:
        endpoint: The address.
        outcome: A state of `FoundServer`; ``nothing`` if no server accepted a connection; or
            ``not asked`` if nothing was sent to the address.
        reason: Description of the server, or the reason for the outcome.
        latency_s: Seconds until the first response; None if there was no response.
    """

    endpoint: str
    outcome: Outcome
    reason: str
    latency_s: Optional[float] = None

    def __post_init__(self) -> None:
        self._put_on_one_line("reason")

    def __str__(self) -> str:
        return shortened(f"{self.endpoint}: {self.outcome}; {self.reason}")


@record
class Discovery(Record):
    """The result of a search for servers.

    Its `str` fits on one screen: it has a line for each server, but at most 12 such lines.
    `explain` returns all details.

    Attributes:
        servers: The servers, ordered by state, best first, then by the order of the search. A
            server at an address that neither the caller nor a variable named is included only
            if its kind is known.
        tried: All addresses and their results, in the order of the search.
        found_at: The time at which the search ended, with time zone.
    """

    found_at: datetime = field(metadata=loads(lambda text: datetime.fromisoformat(text)))
    servers: Tuple[FoundServer, ...] = field(default=(), metadata=loads_each(FoundServer.from_dict))
    tried: Tuple[Probe, ...] = field(default=(), metadata=loads_each(Probe.from_dict, **CONTENT))

    def __post_init__(self) -> None:
        self._keep_as_tuples("servers", "tried")

    def __str__(self) -> str:
        lines = [on_screen([str(server) for server in self.servers], _MOST_SERVERS)]
        if not self._has_ready_server():
            lines = [_NOTHING_READY, *filter(None, lines), *_hints_for_starting()]
        return "\n".join([*lines, self._tried_line()])

    def _repr_markdown_(self) -> str:
        rows = [_row_of(server) for server in self.servers[:_MOST_SERVERS]]
        more = len(self.servers) - len(rows)
        parts = [
            "" if self._has_ready_server() else _NOTHING_READY,
            "\n".join([_TABLE_HEAD, *rows]) if rows else "",
            f"... and {more} more" if more else "",
            ""
            if self._has_ready_server()
            else "\n".join(map(_hint_in_markdown, _hints_for_starting())),
            in_markdown(self._tried_line()),
        ]
        return "\n\n".join(filter(None, parts))

    def __repr__(self) -> str:
        names = ", ".join(server.name for server in self.servers)
        return f"Discovery(servers=<{shortened(names, 80)}>, tried=<{len(self.tried)} items>)"

    def _has_ready_server(self) -> bool:
        return any(server.state == "available" for server in self.servers)

    def _tried_line(self) -> str:
        number = count_with_noun(len(self.tried), "address", "addresses")
        return f"Tried {number}; explain() lists them."

    def explain(self) -> str:
        """Return the servers, the addresses that were tried, and what to do if no server is ready.

        A line below each server has the evidence for its kind and its product. Strings from servers
        cannot add lines to the text, or control a terminal.
        """
        lines = [line for server in self.servers for line in _lines_of(server)]
        if not self._has_ready_server():
            lines.insert(0, _NOTHING_READY)
        lines += ["Tried:", *(f"- {each}" for each in _tried_lines(self.tried))]
        if not self._has_ready_server():
            lines += _hints_for_starting()
        return "\n".join(map(one_line, lines))


_NOTHING_READY = "No server is ready."

_TABLE_HEAD = "| server | address | product | state | models |\n| --- | --- | --- | --- | --- |"


def _row_of(server: FoundServer) -> str:
    state = f"{server.state}: {server.reason}" if server.reason else server.state
    product = " ".join(filter(None, (server.product, version_of(server))))
    cells = (server.name, server.endpoint, product, state, _models_of(server))
    return f"| {' | '.join(in_markdown(each, 100) for each in cells)} |"


def _hint_in_markdown(line: str) -> str:
    return f"- {in_markdown(line[2:])}" if line.startswith("- ") else f"{in_markdown(line)}\n"


def _hints_for_starting() -> List[str]:
    hints = [
        f"- {kind.title}: {kind.start_hint}." for kind in kinds.registered() if kind.start_hint
    ]
    return ["To get a server:", *hints, *_OTHER_WAYS.splitlines()]


def what_to_do(found: Discovery) -> str:
    """Return one line for the hint of an error: the addresses that were tried, and what to do."""
    tried = "; ".join(_tried_lines(found.tried))
    commands = [kind.start_command for kind in kinds.registered() if kind.start_command]
    run = " or ".join(f"`{command}`" for command in commands)
    return (
        f"{f'{tried}; ' if tried else ''}run {run}, or use "
        'LocalEngine("chat"); discover().explain() shows the details'
    )


def number_of_models(server: FoundServer) -> str:
    """Return the number of models that a server lists, with its noun."""
    return count_with_noun(len(server.models), "model")


def version_of(server: FoundServer) -> str:
    """Return the version of a server, or its generation; an empty text if neither is known."""
    return server.version or server.generation or ""


def product_of(server: FoundServer) -> str:
    """Return the product and the version of a server, without words that the kind contains."""
    kind = kinds.find(server.kind)
    if kind is None or server.product == kind.title:
        return version_of(server)
    # Many products share a kind without a usual address, such as ``openai-compatible``. So it is
    # worth saying that the product is unknown.
    unknown = "" if kind.default_address else "product unknown"
    words = " ".join(filter(None, (server.product or unknown, version_of(server))))
    return f"({words})" if server.product or unknown else words


def _models_of(server: FoundServer) -> str:
    # An empty list is not mentioned, because not every server reports its loaded models.
    loaded = f", {len(server.loaded)} loaded" if server.loaded else ""
    return f"{number_of_models(server)}{loaded}"


def _line_of(server: FoundServer) -> str:
    words = filter(None, (server.name, product_of(server), "at", server.endpoint))
    return f"{' '.join(words)}: {server.state}; {server.reason or _models_of(server)}"


def _lines_of(server: FoundServer) -> List[str]:
    """Return the line of a server, and a line with its evidence if there is any."""
    evidence = f"  recognised by {'; '.join(server.evidence)}"
    return [_line_of(server), *([evidence] if server.evidence else [])]


def _tried_lines(tried: Tuple[Probe, ...]) -> List[str]:
    """Return a line for each address with a server, and for each host without an address.

    One line follows for all other addresses.
    """
    empty = [probe for probe in tried if probe.outcome == "nothing"]
    unknown = [probe for probe in empty if probe.reason.startswith(_UNRESOLVED)]
    silent = [probe.endpoint for probe in empty if probe not in unknown]
    lines = [
        f"{probe.endpoint}: {probe.outcome}; {probe.reason}"
        for probe in tried
        if probe.outcome != "nothing"
    ]
    # A host that was given without a port is tried at each usual port.
    reasons = dict.fromkeys(f"{urlsplit(p.endpoint).hostname}: {p.reason}" for p in unknown)
    closed = [f"no server listens at {', '.join(silent)}"] if silent else []
    return [*lines, *reasons, *closed]
