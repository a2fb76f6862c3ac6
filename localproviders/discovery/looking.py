"""One look at one address: what is there, told by what it says of itself."""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._http.deadline import Call
from localproviders._http.transport import Transport
from localproviders._values import word
from localproviders.discovery.candidates import WEBSOCKET_PORTS, Candidate
from localproviders.discovery.shapes import (
    Reply,
    beginning,
    in_one_line,
    is_list,
    is_lmstudio,
    is_loading,
)
from localproviders.discovery.values import FoundServer, Outcome, State, provider_of
from localproviders.errors import (
    AuthenticationError,
    ConfigurationError,
    LimitError,
    LocalityError,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    UnreachableError,
    UnsupportedError,
)
from localproviders.lmstudio import LMStudioProvider
from localproviders.ollama import OllamaProvider
from localproviders.openai_compatible import wire as dialect
from localproviders.settings import make_settings
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Limits, describe
from localproviders.types.model import LoadedModel
from localproviders.types.retry import RetryPolicy

_LIST_BYTES = 16 * 1024 * 1024
_ONCE = RetryPolicy(attempts=1)

# What a list that has another shape, or none, ends in: another kind of server answers.
_OTHER_KIND = (ProtocolError, UnsupportedError, RequestRejectedError)

# What keeps a server that said what it is from listing its models; the first that fits.
_STATES: Tuple[Tuple[type, State], ...] = (
    (AuthenticationError, "needs a key"),
    (ConfigurationError, "unavailable"),
    (ProviderError, "degraded"),
)

# What the user can change; the hint says how.
_WITH_HINT = (AuthenticationError, LocalityError)


class Seen(NamedTuple):
    """What was seen at an address.

    Attributes:
        candidate: The address.
        outcome: What became of it.
        reason: In words.
        server: What is there, without its name; None where nothing is to be listed.
        latency_s: Seconds until the first answer.
    """

    candidate: Candidate
    outcome: Outcome
    reason: str
    server: Optional[FoundServer] = None
    latency_s: Optional[float] = None


def look(candidate: Candidate, limits: Limits, locality: Optional[str], token: CancelToken) -> Seen:
    """Ask an address what it is and what it has, within the limits.

    Only ``GET`` of greetings and lists is sent; the first question carries no key. Once the
    token is thrown, every further question ends at once, and what is given tells nothing.
    """
    if candidate.endpoint.port in WEBSOCKET_PORTS:
        return _left(candidate, "not asked", "LM Studio's own SDKs speak WebSocket there")
    at = _Look(candidate, limits, locality, token)
    try:
        return at.look()
    except ProviderError as error:
        # Where nobody listens, Windows tries for two seconds instead of saying so.
        late = isinstance(error, LimitError) and not at.is_connected
        if late or isinstance(error, UnreachableError):
            return _left(candidate, "nothing", at.words(error))
        return at.seen("unavailable", at.words(error))
    finally:
        at.close()


def prepare(candidate: Candidate) -> None:
    """Load what the first look would load, so that no limit has to pay for it."""
    transport = Transport(_settings(candidate, Limits(), None), dialect.explain_answer)
    transport.prepare()
    transport.close()


def _settings(candidate: Candidate, limits: Limits, locality: Optional[str]) -> Any:
    return make_settings(
        endpoint=candidate.endpoint,
        endpoint_origin=candidate.origin,
        name="discovery",
        timeout=limits,
        locality=locality,
        retry=_ONCE,
        max_body_bytes=_LIST_BYTES,
    )


def _left(candidate: Candidate, outcome: Outcome, reason: str) -> Seen:
    """Tell of an address where nothing was learnt; who named it is to see it listed."""
    if not candidate.named:
        return Seen(candidate, outcome, reason)
    url = candidate.endpoint.url
    server = FoundServer(kind="unknown", name="", endpoint=url, state="unavailable", reason=reason)
    return Seen(candidate, outcome, reason, server)


class _Look:
    """The questions to one address, all on one clock."""

    def __init__(
        self, candidate: Candidate, limits: Limits, locality: Optional[str], token: CancelToken
    ) -> None:
        self._candidate = candidate
        self._limits = limits
        self._locality = locality
        self._token = token
        self._call = Call(limits, token)
        self._transport = Transport(_settings(candidate, limits, locality), self._explain)
        self._latency_s: Optional[float] = None
        #: The object of the last refusal; empty where it was none.
        self._refusal: Mapping[str, Any] = {}

    @property
    def is_connected(self) -> bool:
        """Whether anybody has taken a connection."""
        return self._call.connected or self._latency_s is not None

    def close(self) -> None:
        self._call.over()
        self._transport.close()

    # --- what it is -------------------------------------------------------------------------

    def look(self) -> Seen:
        greeting = self._ask("/lmstudio-greeting")
        self._latency_s = self._call.elapsed_s
        for recognise in (self._as_lmstudio, self._as_ollama):
            found = recognise(greeting)
            if found is not None:
                return found
        return self._as_dialect()

    def _as_lmstudio(self, greeting: Reply) -> Optional[Seen]:
        if not is_lmstudio(greeting):
            return None
        try:
            provider = self._provider("lmstudio")
        except ConfigurationError as error:  # the environment's token cannot be sent
            return self.seen("unavailable", self.words(error), kind="lmstudio")
        assert isinstance(provider, LMStudioProvider)  # noqa: S101  # by its kind

        def generation() -> Optional[str]:
            return provider.generation(timeout=self._left(), cancel=self._token)

        with provider:
            return self._with_lists("lmstudio", provider, lambda: {"generation": generation()})

    def _as_ollama(self, _: Reply) -> Optional[Seen]:
        if self._ask("/").text.strip() != "Ollama is running":
            return None
        provider = self._provider("ollama")
        assert isinstance(provider, OllamaProvider)  # noqa: S101  # by its kind

        def version() -> Optional[str]:
            return in_one_line(provider.version(timeout=self._left(), cancel=self._token))

        with provider:
            return self._with_lists("ollama", provider, lambda: {"version": version()})

    def _with_lists(
        self, kind: Any, provider: Any, facts: Callable[[], Mapping[str, Any]]
    ) -> Optional[Seen]:
        """Let a server's own provider list what there is; None where it has no such lists."""
        try:
            models = provider.list_models(timeout=self._left(), cancel=self._token)
        except _OTHER_KIND:
            return None
        except ProviderError as error:
            fitting: List[State] = [state for cls, state in _STATES if isinstance(error, cls)]
            reason = f"it gave no list of models: {self.words(error)}"
            return self.seen(fitting[0], reason, kind=kind)
        missing: List[str] = []
        said = self._try(facts, {}, missing)
        loaded: List[LoadedModel] = self._try(
            lambda: provider.loaded_models(timeout=self._left(), cancel=self._token), [], missing
        )
        more = {**said, "models": tuple(models), "loaded": tuple(loaded)}
        now: State = "degraded" if missing else "available"
        return self.seen(now, "; ".join(missing), kind=kind, **more)

    def _try(self, ask: Callable[[], Any], otherwise: Any, missing: List[str]) -> Any:
        """Ask for what not every version has; another failure is noted."""
        try:
            return ask()
        except _OTHER_KIND:
            return otherwise
        except ProviderError as error:
            missing.append(self.words(error))
            return otherwise

    def _as_dialect(self) -> Seen:
        try:
            data = self._transport.json("GET", "/v1/models", call=self._call)
            models = dialect.parse_models(data, "", dialect.RULES) if is_list(data) else None
        except ProviderError as error:
            return self._refused(error)
        if models is None:
            return self.seen("unavailable", "it answers, and has no list of models")
        return self.seen(
            "available", "", kind="openai-compatible", version=self._version(), models=tuple(models)
        )

    def _refused(self, error: ProviderError) -> Seen:
        if is_loading(error):
            return self.seen("degraded", "it is loading its model", kind="openai-compatible")
        if error.status == 401:
            kind = "openai-compatible" if self._refuses_as_dialect() else "unknown"
            return self.seen("needs a key", self.words(error), kind=kind)
        return self.seen("unavailable", self.words(error))

    def _refuses_as_dialect(self) -> bool:
        """Whether a missing key was refused as these servers do: anybody may answer 401."""
        error = self._refusal.get("error")
        if isinstance(error, dict):
            return word(error.get("message")) is not None
        return word(error) is not None and self._version() is not None  # vLLM says one word

    def _version(self) -> Optional[str]:
        """Ask for a version where llama.cpp has it, then where vLLM has it."""
        for path, name in (("/props", "build_info"), ("/version", "version")):
            try:
                found = word(self._ask(path).json.get(name))
            except ProviderError:
                return None  # what counts is there
            if found:
                return in_one_line(found)
        return None

    # --- how it is asked --------------------------------------------------------------------

    def _ask(self, path: str) -> Reply:
        """Ask for a greeting; a refusal is an answer, too.

        Raises:
            ProviderError: Nothing came, or no HTTP, or not in time.
        """
        try:
            answer = self._transport.open("GET", path, call=self._call)
        except ProviderError as error:
            if error.status is None:
                raise
            return Reply(error=error)
        return Reply(beginning(answer))

    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        self._refusal = Reply(text).json
        return dialect.explain_answer(status, text, headers)

    def _provider(self, kind: str) -> Any:
        return provider_of(
            kind,
            self._candidate.endpoint.url,
            self._candidate.takes_keys,
            timeout=self._limits,
            locality=self._locality,
            retry=_ONCE,
            max_body_bytes=_LIST_BYTES,
        )

    def _left(self) -> Limits:
        return self._call.limits_left()

    # --- what is told -----------------------------------------------------------------------

    def words(self, error: ProviderError) -> str:
        """Say what happened, with the limit of the search, and not what was left of it."""
        if not isinstance(error, LimitError):
            hint = error.hint if isinstance(error, _WITH_HINT) else None
            return in_one_line(f"{error.message}; {hint}" if hint else error.message)
        limit = describe(self._limits.connect_s)  # the whole search's
        if self._latency_s is not None or self._call.got_bytes:
            return f"it began to answer, and was not ready within {limit}"
        if self._call.connected:
            return f"it accepts connections, and gave no answer within {limit}"
        return f"no connection within {limit}"

    def seen(self, state: State, reason: str, kind: Any = "unknown", **facts: Any) -> Seen:
        """Say what is there."""
        candidate = self._candidate
        server = FoundServer(
            kind=kind,
            name="",
            endpoint=candidate.endpoint.url + ("/v1" if kind == "openai-compatible" else ""),
            latency_s=self._latency_s,
            state=state,
            reason=reason,
            takes_keys=candidate.takes_keys,
            **facts,
        )
        listed = server if kind != "unknown" or candidate.named else None
        return Seen(candidate, state, reason, listed, self._latency_s)
