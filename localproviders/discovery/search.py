"""`discover`: all addresses at once, within one limit; and what is remembered of it."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from localproviders._http.address import parse_endpoint
from localproviders.discovery.candidates import Candidate, candidates
from localproviders.discovery.looking import Seen, look, prepare
from localproviders.discovery.telling import told
from localproviders.discovery.values import Discovery
from localproviders.errors import CancelledError, ConfigurationError
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Limits
from localproviders.types.request import Locality

#: Seconds that the result of a search is kept.
KEPT_S = 60.0

# More different searches than any program has.
_MOST_KEPT = 32

# No time is left for this one, and the error is to say so.
_NO_TIME_S = 0.001

_Key = Tuple[Tuple[Candidate, ...], Optional[str], Optional[str]]


class _Kept(NamedTuple):
    """A result, when it came, and in which process."""

    at: float
    process: int
    discovery: Discovery


_kept: Dict[_Key, _Kept] = {}


def discover(
    endpoints: Optional[Sequence[str]] = None,
    *,
    timeout_s: float = 1.0,
    refresh: bool = False,
    locality: Optional[Locality] = None,
    cancel: Optional[CancelToken] = None,
) -> Discovery:
    """Find the servers that run here, and say what they are and what they hold.

    Asks the given addresses, ``OLLAMA_HOST``, and the usual ports of Ollama, LM Studio,
    llama.cpp, vLLM, Jan and text-generation-webui on both loopback addresses, all at once,
    each in a thread that ends with this call. What a server is, it says itself
    (lmstudio-api §5.3, ollama-api §2.1); one that answers at both loopback addresses with the
    same lists counts once. Only greetings and lists are asked for, without proxies. No server
    at all is a result, too: see `Discovery.explain`.

    A result with a server that is ready, and none that is getting ready, is kept for 60 s in
    this process, and given again for the same addresses; `localproviders.discovery.forget`
    corrects it. Every connection is closed at the end.

    ``LM_API_TOKEN`` goes only to an LM Studio at a given address or at LM Studio's own;
    ``OLLAMA_API_KEY`` only to ``https://ollama.com``.

    Args:
        endpoints: Further addresses, such as ``http://127.0.0.1:8081``, asked first; with or
            without ``/v1``. A host alone stands for all usual ports there. Containers and
            other hosts are asked only if they stand here.
        timeout_s: Seconds for the whole search. Loading ``requests``, which the first call of
            a process does, is not counted.
        refresh: Ask anew, whatever is kept.
        locality: Where questions may go; None takes ``LOCALPROVIDERS_LOCALITY``, else
            ``loopback``. An address beyond it is not asked, and is ``unavailable``.
        cancel: Ends the search from another thread.

    Raises:
        ConfigurationError: An address, ``OLLAMA_HOST``, the locality or `timeout_s` is impossible.
        CancelledError: `cancel` was thrown.
    """
    limits = _limits(timeout_s)
    places = candidates(endpoints)
    key: _Key = (places, locality, os.environ.get("LOCALPROVIDERS_LOCALITY"))
    kept = _kept.get(key)
    if kept is not None and not refresh and _is_fresh(kept):
        return kept.discovery
    found = told(_look_everywhere(places, limits, locality, cancel))
    _keep(key, found)
    return found


def forget(endpoint: Optional[str] = None) -> None:
    """Forget the kept results that have to do with an address; None forgets all.

    For whoever has seen that a server is not any more what it was: the next `discover` asks
    again. The address is a `FoundServer`'s or an error's ``endpoint``.

    Raises:
        ConfigurationError: This is no address.
    """
    wanted = None if endpoint is None else _origin(endpoint)
    for key, kept in list(_kept.items()):
        if wanted is None or wanted in {_origin(probe.endpoint) for probe in kept.discovery.tried}:
            _kept.pop(key, None)


def _origin(endpoint: str) -> str:
    return parse_endpoint(endpoint, default_port=80).origin


def _is_fresh(kept: _Kept) -> bool:
    return kept.process == os.getpid() and time.monotonic() - kept.at < KEPT_S


def _keep(key: _Key, found: Discovery) -> None:
    states = {server.state for server in found.servers}
    _kept.pop(key, None)
    # Who has just started a server, or waits for one, must not be told of the past.
    if "available" in states and "degraded" not in states:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[key] = _Kept(time.monotonic(), os.getpid(), found)


def _limits(timeout_s: float) -> Limits:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)):
        raise ConfigurationError(f"timeout_s is {timeout_s!r}, and must be a number of seconds")
    if not 0 < timeout_s < math.inf:
        raise ConfigurationError(
            f"timeout_s is {timeout_s!r}, and must be above zero and have an end",
            hint="a second is long for this machine; leave it out",
        )
    seconds = float(timeout_s)
    return Limits(
        connect_s=seconds, load_s=0.0, first_token_s=seconds, idle_s=seconds, total_s=seconds
    )


# --- all at once -----------------------------------------------------------------------------


def _look_everywhere(
    places: Sequence[Candidate],
    limits: Limits,
    locality: Optional[str],
    cancel: Optional[CancelToken],
) -> List[Seen]:
    if not places:
        return []
    prepare(places[0])
    switch = CancelToken()
    search = _Search(places, limits, locality, switch)
    if cancel is not None:
        cancel._subscribe(switch.cancel)
    try:
        search.run()
    except BaseException:
        switch.cancel()
        raise
    finally:
        search.wait()
        if cancel is not None:
            cancel._unsubscribe(switch.cancel)
    if switch.cancelled:
        raise CancelledError("the search was cancelled")
    return search.seen()


class _Search:
    """The threads of one search, and what they have seen."""

    def __init__(
        self,
        places: Sequence[Candidate],
        limits: Limits,
        locality: Optional[str],
        switch: CancelToken,
    ) -> None:
        self._places = places
        self._limits = limits
        self._locality = locality
        self._switch = switch
        self._ends_at = time.monotonic() + limits.total_s
        self._found: Dict[int, Seen] = {}
        self._failures: List[BaseException] = []
        self._threads: List[threading.Thread] = []

    def run(self) -> None:
        """Look at every place, and wait until all looks have ended."""
        for number in range(len(self._places)):
            thread = threading.Thread(
                target=self._work, args=(number,), name="localproviders-discovery", daemon=True
            )
            # Noted before it runs: an interrupt may come in between.
            self._threads.append(thread)
            try:
                thread.start()
            except RuntimeError:  # there are too many, or Python is about to end
                self._work(number)
        self.wait()

    def wait(self) -> None:
        """Wait for the threads: each look ends by itself, in time or cancelled."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def seen(self) -> List[Seen]:
        """Give what was seen, in the order of the places."""
        if self._failures:
            raise self._failures[0]
        return [self._found[number] for number in range(len(self._places))]

    def _work(self, number: int) -> None:
        left_s = max(self._ends_at - time.monotonic(), _NO_TIME_S)
        try:
            self._found[number] = look(
                self._places[number],
                self._limits.replace(total_s=left_s),
                self._locality,
                self._switch,
            )
        except BaseException as error:  # raised where it is waited for
            self._failures.append(error)
