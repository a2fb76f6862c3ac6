"""`discover`: probe all addresses at the same time, within one limit, and cache the result.

Each server is listed once, under a unique name.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from datetime import datetime, timezone
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from localproviders import kinds
from localproviders._address import Endpoint, parse_endpoint
from localproviders._did_you_mean import suggest_number
from localproviders._interrupts import callers_exception
from localproviders._signatures import exact_keywords
from localproviders.discovery.candidates import Candidate, candidates, given_candidates
from localproviders.discovery.probe import (
    ProbeResult,
    Recogniser,
    prepare,
    probe_address,
    result_without_server,
)
from localproviders.discovery.results import (
    STATES,
    Discovery,
    FoundServer,
    Probe,
    number_of_models,
    product_of,
)
from localproviders.errors import CancelledError, ConfigurationError, UnsupportedError
from localproviders.kinds import ProviderKind
from localproviders.types.limits import CancelToken, Limits
from localproviders.types.requests import Locality


def make_discovery(results: Sequence[ProbeResult]) -> Discovery:
    """Make the result of a search.

    Each server is listed once, with a unique name. The best state comes first.
    """
    servers: List[FoundServer] = []
    unique: List[ProbeResult] = []
    probes: List[Probe] = []
    names: Set[str] = set()
    for result in results:
        twin = next((other for other in unique if _is_same(result, other)), None)
        probes.append(_probe(result, twin))
        if result.server is not None and twin is None:
            unique.append(result)
            servers.append(_with_unique_name(result, names))
    return Discovery(
        found_at=datetime.now(timezone.utc),
        servers=tuple(sorted(servers, key=lambda server: STATES.index(server.state))),
        tried=tuple(probes),
    )


def _probe(result: ProbeResult, twin: Optional[ProbeResult]) -> Probe:
    server = result.server
    reason = result.reason
    if twin is not None:
        reason = f"the same server as at {twin.candidate.endpoint.url}"
    elif server is not None and not reason:
        words = [server.kind, product_of(server)]
        reason = f"{' '.join(filter(None, words))} with {number_of_models(server)}"
        reason += "; it may send prompts to other hosts" if server.forwards_prompts else ""
    return Probe(
        endpoint=result.candidate.endpoint.url,
        outcome=result.outcome,
        reason=reason,
        latency_s=result.latency_s,
    )


def _is_same(one: ProbeResult, other: ProbeResult) -> bool:
    """Return whether two loopback addresses belong to one server: same port, same lists.

    The lists are those of all models and of the loaded models. Two UNIX sockets count as two
    servers.
    """
    here, there = one.candidate.endpoint, other.candidate.endpoint
    local = here.is_loopback and there.is_loopback
    known = one.server is not None and one.server.kind != kinds.UNKNOWN
    return (
        local
        and known
        and here.replace(host=there.host) == there
        and (_listing(one.server) == _listing(other.server) or _lacks_key(one, other))
    )


def _lacks_key(one: ProbeResult, other: ProbeResult) -> bool:
    """Return whether the lists differ only because one address was probed without the API key."""
    here, there = one.server, other.server
    had_no_key = here is not None and here.state == "needs a key" and not here.takes_keys
    return had_no_key and here is not None and there is not None and here.kind == there.kind


def _listing(server: Optional[FoundServer]) -> Any:
    if server is None:
        return None
    return (
        server.kind,
        server.state,
        server.version,
        server.generation,
        [(model.name, model.digest) for model in server.models],
        [(model.name, model.instance) for model in server.loaded],
    )


def _with_unique_name(result: ProbeResult, names: Set[str]) -> FoundServer:
    """Return the server of a result with a unique name, which its models get as `provider`."""
    server = result.server
    assert server is not None  # noqa: S101  # the caller has checked this
    with_port = f"{server.kind}-{_mark(result.candidate.endpoint)}"
    kind = kinds.find(server.kind)
    has_default_address = kind is not None and kind.default_address is not None
    possible = [*([server.kind] if has_default_address else []), with_port]
    possible += [f"{with_port}-{number}" for number in range(2, len(names) + 3)]
    name = next(each for each in possible if each not in names)
    names.add(name)
    return server.replace(
        name=name,
        models=tuple(model.replace(provider=name) for model in server.models),
        loaded=tuple(model.replace(provider=name) for model in server.loaded),
    )


def _mark(endpoint: Endpoint) -> str:
    """Return the port or the name of the UNIX socket, which distinguishes servers of one kind."""
    stem = PurePosixPath(endpoint.socket_path).stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem) or str(endpoint.port)


#: Seconds for which the result of a search is cached.
CACHED_S = 60.0

# Maximum number of cached searches. No program makes so many different searches.
_MOST_CACHED = 32

# Seconds that a search waits for its threads after the limit. A busy machine needs this time.
_GRACE_S = 1.0

# Interval in which a waiting search checks whether it was cancelled.
_STEP_S = 0.05

# Limit of a probe that starts when no time is left. It is not 0, so that the probe ends with
# the usual error of an expired limit.
_NO_TIME_S = 0.001

_Key = Tuple[Tuple[Candidate, ...], Optional[str], Optional[str]]


class _CachedSearch(NamedTuple):
    """A cached result, with the time of its search and the process that searched."""

    at: float
    process: int
    discovery: Discovery


_cache: Dict[_Key, _CachedSearch] = {}


@exact_keywords
def discover(
    endpoints: Optional[Sequence[str]] = None,
    *,
    timeout_s: float = 1.0,
    refresh: bool = False,
    locality: Optional[Locality] = None,
    cancel: Optional[CancelToken] = None,
) -> Discovery:
    """Find the servers on this machine, with their kinds, states and models.

    This function probes the given addresses, the address in ``OLLAMA_HOST``, and the usual ports
    of Ollama, LM Studio, llama.cpp, vLLM and other programs (docs/discovery.md lists them) on both
    loopback addresses. All addresses are probed at the same time, each in a thread. The threads
    end before this call returns, unless the fingerprint function of another package does not
    return.

    A server is identified by its responses, not by its port. A server that answers at both
    loopback addresses with the same models is listed once. All requests are ``GET`` requests: for
    texts that identify the server, for its version, and for its lists of models. No proxy is
    used. If no server is found, no error is raised: `Discovery.explain` then says what to do.
    Every connection is closed at the end.

    A result is cached for 60 s in this process if a server is ``available`` and no server is
    ``degraded``. The next call with the same addresses returns the cached result;
    `localproviders.discovery.forget` removes it.

    ``LM_API_TOKEN`` is sent only to an LM Studio at a given address or at LM Studio's default
    address; ``LLAMA_API_KEY`` is sent only to a llama.cpp server that is at its default address and
    has refused to list its models without a key; ``OLLAMA_API_KEY`` is sent only to
    ``https://ollama.com``. The key, the password and the headers of a configured server are sent to
    its own address (`Config.endpoints`).

    Args:
        endpoints: Further addresses, such as ``http://127.0.0.1:8081``, with or without
            ``/v1``. They are probed first. A host alone means all usual ports of that host.
            Containers and other hosts are probed only if they are listed here.
        timeout_s: Seconds for the whole search. The first call in a process also imports
            ``requests``, and this time is not counted.
        refresh: Search again, even if a cached result exists.
        locality: Where requests may go; None uses ``LOCALPROVIDERS_LOCALITY``, or
            ``loopback`` if that variable is not set. An address outside the locality is not
            probed, and its outcome is ``unavailable``.
        cancel: Token with which another thread can end the search.

    Raises:
        ConfigurationError: An address, ``OLLAMA_HOST``, the locality or `timeout_s` is invalid.
        CancelledError: `cancel` was cancelled.
        DependencyError: requests is not installed.
    """
    # How a server is recognised: docs/reference/discovery.md, docs/reference/lmstudio.md,
    # "Recognising the server", and docs/reference/ollama.md, "Versions".
    limits = _limits(timeout_s)
    places = candidates(endpoints)
    key: _Key = (places, locality, os.environ.get("LOCALPROVIDERS_LOCALITY"))
    cached = _cache.get(key)
    if cached is not None and not refresh and _is_fresh(cached):
        return cached.discovery
    found = make_discovery(_probe_all(places, limits, locality, cancel))
    _store(key, found)
    return found


def identify(
    endpoint: str,
    *,
    timeout_s: float = 5.0,
    locality: Optional[Locality] = None,
    cancel: Optional[CancelToken] = None,
) -> FoundServer:
    """Find out which server answers at one address. No other address is probed.

    Args:
        endpoint: The address. A host without a port means all usual ports of that host. The result
            is then the server with the best state, or the first of several such servers.
        timeout_s: Seconds for the whole search.
        locality: Where requests may go, as in `discover`.
        cancel: Token with which another thread can end the search.

    Raises:
        ConfigurationError: The address is invalid.
        LocalityError: The address is outside the locality.
        UnreachableError: No server answers there.
        ProviderError: The server answers, but its kind is not known.
        CancelledError: `cancel` was cancelled.
        DependencyError: requests is not installed.
    """
    results = _probe_all(given_candidates([endpoint]), _limits(timeout_s), locality, cancel)
    found = make_discovery(results).servers
    if found and found[0].kind != kinds.UNKNOWN:
        return found[0]
    if results[0].error is not None:
        raise results[0].error
    raise UnsupportedError(
        f"the kind of the server at {endpoint} is not known: {results[0].reason}",
    )


def forget(endpoint: Optional[str] = None) -> None:
    """Remove cached search results that include an address; None removes all.

    Call this function if a server has changed: the next `discover` then probes the server again.
    The address is the ``endpoint`` of a `FoundServer` or of an error.

    Raises:
        ConfigurationError: The address is invalid.
    """
    origin = None if endpoint is None else _origin(endpoint)
    for key, cached in list(_cache.items()):
        tried = {_origin(probe.endpoint) for probe in cached.discovery.tried}
        if origin is None or origin in tried:
            _cache.pop(key, None)


def _origin(endpoint: str) -> str:
    return parse_endpoint(endpoint, default_port=80).origin


def _is_fresh(cached: _CachedSearch) -> bool:
    return cached.process == os.getpid() and time.monotonic() - cached.at < CACHED_S


def _store(key: _Key, found: Discovery) -> None:
    states = {server.state for server in found.servers}
    _cache.pop(key, None)
    # Do not cache a search that found no ready server: the user may be starting one just now.
    if "available" in states and "degraded" not in states:
        if len(_cache) >= _MOST_CACHED:
            _cache.clear()
        _cache[key] = _CachedSearch(time.monotonic(), os.getpid(), found)


def _limits(timeout_s: float) -> Limits:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)):
        raise ConfigurationError(
            f"timeout_s must be a number of seconds, but is {timeout_s!r}"
            f"{suggest_number('timeout_s', timeout_s, is_positive=True)}",
            hint="pass a number such as timeout_s=1.0",
        )
    if not 0 < timeout_s < math.inf:
        raise ConfigurationError(
            f"timeout_s must be greater than 0 and finite, but is {timeout_s!r}",
            hint="leave timeout_s out: the default of one second is enough for local servers",
        )
    seconds = float(timeout_s)
    return Limits(
        connect_s=seconds, load_s=0.0, first_token_s=seconds, idle_s=seconds, total_s=seconds
    )


# --- probing all addresses in threads -----------------------------------------------------------


def _probe_all(
    places: Sequence[Candidate],
    limits: Limits,
    locality: Optional[str],
    cancel: Optional[CancelToken],
) -> List[ProbeResult]:
    if not places:
        return []
    recognisers = prepare(places[0])
    # The search has its own token, which is cancelled if the search fails. This must not cancel
    # the caller's token.
    token = CancelToken()
    search = _Search(places, limits, locality, token, recognisers)
    if cancel is not None:
        cancel._subscribe(token.cancel)
    try:
        search.run()
    except BaseException:
        token.cancel()
        raise
    finally:
        search.wait()
        if cancel is not None:
            cancel._unsubscribe(token.cancel)
    if token.cancelled:
        raise CancelledError("the search was cancelled")
    return search.results()


class _Search:
    """The threads of one search, and their results."""

    def __init__(
        self,
        places: Sequence[Candidate],
        limits: Limits,
        locality: Optional[str],
        token: CancelToken,
        recognisers: Sequence[Recogniser],
    ) -> None:
        self._places = places
        self._limits = limits
        self._locality = locality
        self._token = token
        self._recognisers = recognisers
        self._ends_at = time.monotonic() + limits.total_s
        self._found: Dict[int, ProbeResult] = {}
        #: The name of the kind whose fingerprint function is running, by the number of the address.
        self._running_kinds: Dict[int, str] = {}
        self._failures: List[BaseException] = []
        self._threads: List[threading.Thread] = []

    def run(self) -> None:
        """Probe every address, and wait until all probes have ended."""
        for number in range(len(self._places)):
            thread = threading.Thread(
                target=self._work, args=(number,), name="localproviders-discovery", daemon=True
            )
            # The thread is appended before its start, so that an interrupt in between cannot lose
            # the thread.
            self._threads.append(thread)
            try:
                thread.start()
            except Exception as error:
                # If a signal handler raises an exception during `start`, threading can raise a
                # KeyError instead of this exception.
                callers = callers_exception(error)
                if callers is not None:
                    raise callers from None
                if not isinstance(error, RuntimeError):
                    raise
                self._work(number)  # too many threads, or the interpreter is shutting down
        self.wait()

    def wait(self) -> None:
        """Wait for the threads, which end at the limit or when the search is cancelled.

        If a fingerprint function of another package does not return, its thread is left running.
        """
        for thread in self._threads:
            while thread.ident is not None and thread.is_alive() and self._wait_s() > 0:
                thread.join(min(max(self._wait_s(), 0), _STEP_S))

    def _wait_s(self) -> float:
        now = time.monotonic()
        if self._token.cancelled:
            self._ends_at = min(self._ends_at, now)
        return self._ends_at + _GRACE_S - now

    def results(self) -> List[ProbeResult]:
        """Return the results, in the order of the addresses."""
        if self._failures:
            raise self._failures[0]
        return [
            self._found.get(number) or self._late_result(number)
            for number in range(len(self._places))
        ]

    def _late_result(self, number: int) -> ProbeResult:
        kind = self._running_kinds.get(number)
        reason = "the probe of this address did not end in time"
        if kind is not None:
            reason = (
                f"the fingerprint function of the provider kind {kind!r} did not return in time"
            )
        return result_without_server(self._places[number], "unavailable", reason)

    def _recognise(self, number: int, kind: ProviderKind, recognise: Any, at: Any) -> Any:
        self._running_kinds[number] = kind.name
        try:
            return recognise(at)
        finally:
            del self._running_kinds[number]

    def _work(self, number: int) -> None:
        left_s = max(self._ends_at - time.monotonic(), _NO_TIME_S)
        try:
            self._found[number] = probe_address(
                self._places[number],
                self._limits.replace(total_s=left_s),
                self._locality,
                self._token,
                [
                    (kind, partial(self._recognise, number, kind, recognise))
                    for kind, recognise in self._recognisers
                ],
            )
        except BaseException as error:  # raised again by `results`, in the caller's thread
            self._failures.append(error)
