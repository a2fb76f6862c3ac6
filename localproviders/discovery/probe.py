"""Probe one address: identify the server by its responses, and list its models."""

from __future__ import annotations

import threading
import warnings
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from localproviders import kinds
from localproviders._dialect.values import mapping
from localproviders._http.deadline import Call
from localproviders._http.framing import parse_json
from localproviders._http.service import Service
from localproviders._http.transport import Transport
from localproviders._interrupts import is_injected
from localproviders._lazy import LazyPart
from localproviders._redact import one_line
from localproviders.discovery.candidates import Candidate, avoided_ports
from localproviders.discovery.results import STATES, FoundServer, Outcome, State, provider_of
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
from localproviders.kinds import ProviderKind
from localproviders.openai_compatible.wire.errors import explain_answer
from localproviders.settings import make_settings
from localproviders.types.limits import CancelToken, Limits, RetryPolicy, describe
from localproviders.types.models import LoadedModel, ModelInfo

if TYPE_CHECKING:
    from localproviders._http.response import Answer
else:
    Answer = Any  # only needed for type hints; importing the class would load requests

#: A kind, and the function that recognises it.
Recogniser = Tuple[ProviderKind, Callable[[kinds.Look], Optional[object]]]

_LIST_BYTES = 16 * 1024 * 1024
_ONCE = RetryPolicy(attempts=1)

# Maximum size of a greeting, which is a response that identifies a server. The largest greeting is
# llama.cpp's /props, which includes the model's chat template.
_GREETING_BYTES = 1024 * 1024
_DEPTH = 100

# Maximum length of a reason or a version. They are printed on one line of a terminal.
_LONGEST_WORDS = 300

# Errors of a model list that mean: this is a server of another kind.
_OTHER_KIND = (ProtocolError, UnsupportedError, RequestRejectedError)

# State of a recognised server whose model list failed, by the first class that fits.
_STATES: Tuple[Tuple[type, State], ...] = (
    (AuthenticationError, "needs a key"),
    (ConfigurationError, "unavailable"),
    (ProviderError, "degraded"),
)

# The types of the values that a fingerprint function may report.
_TEXTS: Mapping[str, Tuple[type, ...]] = {
    "reason": (str,),
    "version": (str, type(None)),
    "generation": (str, type(None)),
    "product": (str, type(None)),
}
_LISTS: Mapping[str, type] = {"models": ModelInfo, "loaded": LoadedModel, "evidence": str}

# The fields of `FoundServer` that may quote responses of the server.
_SERVER_TEXTS = frozenset(("version", "product"))

# Attributes of a provider that hold its parts for listing models and loaded models.
_LISTING_PARTS = ("_catalog", "_memory")

# Errors that the user can correct: their hints are included in the reason.
_WITH_HINT = (AuthenticationError, LocalityError)


class Reply(NamedTuple):
    """The response to one request of a fingerprint function.

    Attributes:
        text: The beginning of the response body; empty if the server refused the request.
        error: The error, if the server refused the request.
        status: The status of the response.
        headers: The headers of the response.
        refusal: The JSON object in the body of the refusal; empty if there is none.
    """

    text: str = ""
    error: Optional[ProviderError] = None
    status: Optional[int] = None
    headers: Mapping[str, str] = {}
    refusal: Mapping[str, Any] = {}

    @property
    def data(self) -> Any:
        """The body as a JSON value; None if the body is not JSON."""
        try:
            return parse_json(self.text, _DEPTH)
        except ProviderError:
            return None

    @property
    def json(self) -> Mapping[str, Any]:
        """The body as a JSON object; an empty object if the body is not a JSON object."""
        return mapping(self.data)


def in_one_line(words: str) -> str:
    """Return a server's text shortened to one line that is safe to print on a terminal."""
    return " ".join(one_line(words[:_LONGEST_WORDS]).split())[:_LONGEST_WORDS]


def read_beginning(answer: Answer) -> str:
    """Read the body of a response, up to the maximum size of a greeting; return it as text.

    Raises:
        ProviderError: The connection broke, or a limit expired. The connection is closed.
    """
    text = bytearray()
    try:
        while len(text) < _GREETING_BYTES:
            piece = answer.read()
            if not piece:
                answer.release()
                break
            text += piece
    finally:
        answer.close()
    return text.decode("utf-8", "replace")


class ProbeResult(NamedTuple):
    """The result of probing one address.

    Attributes:
        candidate: The address.
        outcome: The state of the server, or ``nothing`` or ``not asked`` (see `Outcome`).
        reason: The reason for this outcome, in words.
        server: The server, without a name yet; None if no server is listed.
        latency_s: Seconds until the first response.
        error: The error that ended the probe; None if a server was recognised.
    """

    candidate: Candidate
    outcome: Outcome
    reason: str
    server: Optional[FoundServer] = None
    latency_s: Optional[float] = None
    error: Optional[ProviderError] = None


def probe_address(
    candidate: Candidate,
    limits: Limits,
    locality: Optional[str],
    token: CancelToken,
    recognisers: Sequence[Recogniser],
) -> ProbeResult:
    """Identify the server at an address and list its models, within the limits.

    Only ``GET`` requests are sent: for texts that identify the server, for its version, and for
    its lists of models. The first request carries no API key from the environment. If a key, a
    password or headers are configured for this address, each request contains them.
    After the token is cancelled, every further request ends immediately, and the returned result
    is meaningless.
    """
    reason = avoided_ports().get(candidate.endpoint.port)
    if reason is not None:
        return result_without_server(candidate, "not asked", reason)
    probe = _AddressProbe(candidate, limits, locality, token)
    try:
        return probe.run(recognisers)
    except ProviderError as error:
        # If a port is closed, Windows retries for two seconds before it reports the refusal. The
        # limit can expire during that time.
        is_late = isinstance(error, LimitError) and not probe.is_connected
        if is_late or isinstance(error, UnreachableError):
            found = result_without_server(candidate, "nothing", probe.words(error))
        else:
            found = probe.result("unavailable", probe.words(error))
        return found._replace(error=error)
    finally:
        probe.close()


def prepare(candidate: Candidate) -> List[Recogniser]:
    """Import the modules that probes need, and return the functions that recognise servers.

    The time of these imports does not count as search time. The functions are in the order in
    which they are called. A function that cannot be imported is left out with a `RuntimeWarning`.

    Raises:
        DependencyError: requests is not installed.
    """
    transport = Transport(_settings(candidate, Limits(), None), explain_answer)
    transport.prepare()
    transport.close()
    found: List[Recogniser] = []
    for kind in sorted(kinds.registered(), key=lambda kind: kind.fingerprint_order):
        if kind.fingerprint is not None:
            try:
                found.append((kind, kind.resolve("fingerprint")))
            except ConfigurationError as error:
                warnings.warn(str(error), RuntimeWarning, stacklevel=2)
            _import_lists(kind)
    return found


def _import_lists(kind: ProviderKind) -> None:
    """Import the modules with which a provider lists its models.

    pytest parses each module of a plugin, such as this package, when it is imported. In CPython
    3.11, parsing in several threads at once can fail with a SystemError.
    """
    try:
        provider = kind.resolve("provider")
    except ConfigurationError:
        return  # if a server of this kind is found, the probe reports that the import failed
    for name in _LISTING_PARTS:
        part = vars(provider).get(name)
        if isinstance(part, LazyPart):
            part.load()


def _settings(candidate: Candidate, limits: Limits, locality: Optional[str]) -> Any:
    return make_settings(
        endpoint=candidate.endpoint,
        endpoint_origin=candidate.origin,
        name="discovery",
        timeout=limits,
        locality=locality,
        retry=_ONCE,
        max_body_bytes=_LIST_BYTES,
        **candidate.options,
    )


def result_without_server(candidate: Candidate, outcome: Outcome, reason: str) -> ProbeResult:
    """Return the result for an address without a recognised server.

    If the caller or a variable named the address, it is listed as an unavailable server.
    """
    if not candidate.is_named:
        return ProbeResult(candidate, outcome, reason)
    url = candidate.endpoint.url
    server = FoundServer(
        kind=kinds.UNKNOWN, name="", endpoint=url, state="unavailable", reason=reason
    )
    return ProbeResult(candidate, outcome, reason, server)


def _raise_callers(error: BaseException) -> None:
    """Raise an exception of a signal handler again: it is not a fingerprint function's failure.

    Signal handlers run in the main thread. A probe runs there only if no other thread can be
    started.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_injected(error) or (isinstance(error, SystemExit) and is_main):
        raise error


def _check_facts(facts: Mapping[str, Any]) -> None:
    """Check the types of the values that a fingerprint function reported.

    Raises:
        TypeError: A value does not have the type of its field in `FoundServer`.
    """
    if facts["state"] not in STATES:
        raise TypeError(f"state must be one of {', '.join(STATES)}")
    for name, types in _TEXTS.items():
        if not isinstance(facts.get(name), types):
            raise TypeError(f"{name} must be a string")
    if not isinstance(facts.get("forwards_prompts", False), bool):
        raise TypeError("forwards_prompts must be true or false")
    for name, cls in _LISTS.items():
        if not all(isinstance(each, cls) for each in facts.get(name, ())):
            raise TypeError(f"{name} must be a list of {cls.__name__}")


class _AddressProbe:
    """The requests to one address. They share one deadline and one cancel token."""

    def __init__(
        self, candidate: Candidate, limits: Limits, locality: Optional[str], token: CancelToken
    ) -> None:
        self._candidate = candidate
        self._limits = limits
        self._locality = locality
        self._token = token
        self._call = Call(limits, token)
        # The host name of a cloud service is looked up only if the locality allows the service.
        service = Service(hosts=kinds.public_hosts())
        self._transport = Transport(_settings(candidate, limits, locality), self._explain, service)
        self._latency_s: Optional[float] = None
        self._replies: Dict[str, Reply] = {}
        #: The last refusal: its headers, and the JSON object in its body.
        self._refused = Reply()

    @property
    def is_connected(self) -> bool:
        """Whether a server accepted a connection."""
        return self._call.connected or self._latency_s is not None

    def close(self) -> None:
        self._call.finish()
        self._transport.close()

    # --- identifying the server -------------------------------------------------------------

    def run(self, recognisers: Sequence[Recogniser]) -> ProbeResult:
        """Return the result of the first kind that recognises the server."""
        for kind, recognise in recognisers:
            try:
                found = recognise(_KindLook(self, kind))
            except ProviderError:
                raise
            except (Exception, SystemExit) as error:  # from another package's code
                _raise_callers(error)
                fingerprint = f"the fingerprint function of the provider kind {kind.name!r}"
                warnings.warn(f"{fingerprint} failed: {type(error).__name__}", RuntimeWarning, 2)
                continue
            if isinstance(found, ProbeResult):
                return found
        return self.result("unavailable", "the server answers, but has no list of models")

    @property
    def refusal(self) -> Mapping[str, Any]:
        """The JSON object in the last refusal; empty if the body was not a JSON object."""
        return self._refused.refusal

    def listed(
        self,
        kind: ProviderKind,
        facts: Optional[Callable[..., Mapping[str, Any]]],
        known: Mapping[str, Any],
    ) -> Optional[ProbeResult]:
        """List the models with the kind's provider; return None if the server has no such list."""
        try:
            provider = self._provider(kind)
        except ConfigurationError as error:  # the API key in the environment is invalid
            return self.result("unavailable", self.words(error), kind=kind, **known)
        with provider:
            return self._list_models(provider, kind, facts, known)

    def has_unsent_key(self, kind: ProviderKind) -> bool:
        """Return whether the provider of a kind has a key that the requests do not contain."""
        try:
            with self._provider(kind) as provider:
                key = provider.settings.api_key
        except ConfigurationError:
            return False
        return key is not None and "api_key" not in self._candidate.options

    def _list_models(
        self,
        provider: Any,
        kind: ProviderKind,
        facts: Optional[Callable[..., Mapping[str, Any]]],
        known: Mapping[str, Any],
    ) -> Optional[ProbeResult]:
        try:
            models = provider.list_models(timeout=self._limits_left(), cancel=self._token)
        except _OTHER_KIND:
            return None
        except ProviderError as error:
            fitting: List[State] = [state for cls, state in _STATES if isinstance(error, cls)]
            reason = f"the models could not be listed: {self.words(error)}"
            return self.result(fitting[0], reason, kind=kind, **known)
        missing: List[str] = []
        reported: Mapping[str, Any] = {}
        if facts is not None:
            ask = partial(facts, provider, cancel=self._token)
            reported = self._try(lambda: ask(timeout=self._limits_left()), {}, missing)
        loaded: List[LoadedModel] = self._try(
            lambda: provider.loaded_models(timeout=self._limits_left(), cancel=self._token),
            [],
            missing,
        )
        more = {**known, **reported, "models": tuple(models), "loaded": tuple(loaded)}
        state: State = "degraded" if missing else "available"
        return self.result(state, "; ".join(missing), kind=kind, **more)

    def _try(self, ask: Callable[[], Any], default: Any, missing: List[str]) -> Any:
        """Request a value; return `default` if the server version does not have it.

        If the request fails for another reason, `default` is returned, too, and a description of
        the error is appended to `missing`.
        """
        try:
            return ask()
        except _OTHER_KIND:
            return default
        except ProviderError as error:
            missing.append(self.words(error))
            return default

    # --- sending requests -------------------------------------------------------------------

    def ask(self, path: str) -> Reply:
        """Request a path and keep the response, so that each path is requested only once.

        A refusal by the server is returned as a `Reply`, too.

        Raises:
            ProviderError: There was no response, it was not HTTP, or it came too late.
        """
        reply = self._replies.get(path)
        if reply is None:
            reply = self._replies[path] = self._reply(path)
        if self._latency_s is None:
            self._latency_s = self._call.elapsed_s
        return reply

    def _reply(self, path: str) -> Reply:
        try:
            answer = self._transport.open("GET", path, call=self._call)
        except ProviderError as error:
            if error.status is None:
                raise
            return self._refused._replace(error=error, status=error.status)
        return Reply(read_beginning(answer), status=answer.status, headers=answer.headers)

    def json(self, path: str) -> Any:
        """Request a JSON document.

        Raises:
            ProviderError: There was no response, it was not HTTP, it came too late, or the
                server refused the request.
        """
        data = self._transport.json("GET", path, call=self._call)
        if self._latency_s is None:
            self._latency_s = self._call.elapsed_s
        return data

    def check_limits(self) -> None:
        """Check that no limit has expired and the search was not cancelled.

        Raises:
            ProviderError: A limit expired, or the search was cancelled.
        """
        self._call.look()

    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        self._refused = Reply(headers=headers, refusal=Reply(text).json)
        return explain_answer(status, text, headers)

    def _provider(self, kind: ProviderKind) -> Any:
        options = {
            name: value for name, value in self._candidate.options.items() if name in kind.options
        }
        return provider_of(
            kind.name,
            self._address_for(kind),
            kind.name in self._candidate.keys_of,
            timeout=self._limits,
            locality=self._locality,
            retry=_ONCE,
            max_body_bytes=_LIST_BYTES,
            **options,
        )

    def _address_for(self, kind: Optional[ProviderKind], api_path: Optional[str] = None) -> str:
        usual = "" if kind is None else kind.address_path
        endpoint = self._candidate.endpoint
        return endpoint.at(endpoint.path + (usual if api_path is None else api_path))

    def _limits_left(self) -> Limits:
        return self._call.limits_left()

    # --- reporting --------------------------------------------------------------------------

    def words(self, error: ProviderError) -> str:
        """Describe an error. For a timeout, the text contains the limit of the whole search."""
        if not isinstance(error, LimitError):
            hint = error.hint if isinstance(error, _WITH_HINT) else None
            return in_one_line(f"{error.message}; {hint}" if hint else error.message)
        limit = describe(self._limits.connect_s)  # not the time that was left for this request
        if self._latency_s is not None or self._call.got_bytes:
            return f"the server began to answer, but did not finish within {limit}"
        if self._call.connected:
            return f"the server accepts connections, but did not answer within {limit}"
        return f"no connection within {limit}"

    def result(
        self,
        state: State,
        reason: str,
        kind: Optional[ProviderKind] = None,
        api_path: Optional[str] = None,
        **facts: Any,
    ) -> ProbeResult:
        """Return the result for a server. If `kind` is None, the kind of the server is unknown.

        Raises:
            TypeError: A fingerprint function reported a value that `FoundServer` cannot hold.
        """
        lists = {name: tuple(facts[name]) for name in _LISTS if name in facts}
        facts = {**facts, **lists}
        _check_facts({"state": state, "reason": reason, **facts})
        candidate = self._candidate
        for name in _SERVER_TEXTS & facts.keys():
            facts[name] = in_one_line(facts[name]) if facts[name] is not None else None
        facts["evidence"] = tuple(in_one_line(words) for words in facts.get("evidence", ()))
        server = FoundServer(
            kind=kinds.UNKNOWN if kind is None else kind.name,
            name="",
            endpoint=self._address_for(kind, api_path),
            latency_s=self._latency_s,
            state=state,
            reason=reason,
            takes_keys=kind is not None and kind.name in candidate.keys_of,
            **facts,
        )
        listed = server if kind is not None or candidate.is_named else None
        return ProbeResult(candidate, state, reason, listed, self._latency_s)


class _KindLook:
    """The `localproviders.kinds.Look` that is passed to the fingerprint function of one kind."""

    def __init__(self, probe: _AddressProbe, kind: ProviderKind) -> None:
        self._probe = probe
        self._kind = kind
        self.ask = probe.ask
        self.json = probe.json
        self.check_limits = probe.check_limits
        self.words = probe.words

    @property
    def refusal(self) -> Mapping[str, Any]:
        """The JSON object in the last refusal; empty if the body was not a JSON object."""
        return self._probe.refusal

    def has_unsent_key(self, kind: str) -> bool:
        """Return whether there is a key for this address that the requests do not contain."""
        return self._probe.has_unsent_key(kinds.get(kind))

    def listed(
        self,
        facts: Optional[Callable[..., Mapping[str, Any]]] = None,
        *,
        kind: Optional[str] = None,
        **known: Any,
    ) -> Optional[object]:
        """List the models with the kind's provider; return None if the server has no such list."""
        return self._probe.listed(self._kind if kind is None else kinds.get(kind), facts, known)

    def found(
        self,
        state: Any,
        reason: str = "",
        *,
        kind: Optional[str] = None,
        api_path: Optional[str] = None,
        **facts: Any,
    ) -> object:
        """Return a server of this kind, or of the kind with the name `kind`."""
        found = self._kind if kind is None else kinds.get(kind)
        return self._probe.result(state, reason, found, api_path, **facts)

    def unknown(self, state: Any, reason: str) -> object:
        """Return a server whose kind is unknown."""
        return self._probe.result(state, reason)
