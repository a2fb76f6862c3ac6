"""One public call over several servers: one clock, and whoever is next."""

from __future__ import annotations

import math
import time
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, Tuple, TypeVar

from localproviders._http.deadline import Call, Stop, stopped
from localproviders._http.stream import Stream
from localproviders.errors import (
    CancelledError,
    CapabilityError,
    LimitError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    UnreachableError,
    UnsupportedError,
)
from localproviders.local import verdict
from localproviders.local.routes import STRATEGIES, Route, Server
from localproviders.local.rules import rule_of
from localproviders.ollama.names import is_cloud
from localproviders.provider import bare
from localproviders.telemetry import Listener, fell_back
from localproviders.types.answer import Tried
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Limits
from localproviders.types.model import ModelInfo

T = TypeVar("T")

#: A question for a model may take so long; who does not answer it does not have it.
LOOK_S = 10.0

#: What a server said about a model counts so long, unless the model then fails.
SEEN_S = 60.0

#: What is done with one server, within these limits.
Work = Callable[[Route, Limits], T]


class Run:
    """One call; for a ``with`` block.

    Args:
        name: The name of the whole provider.
        operation: The public method.
        limits: The limits of the call. The total holds for all servers together.
        limits_of: Gives a server's own limits for this call.
        cancel: A token that ends the call, or None.
        listeners: Who hears that a server was left for another.
        needs: What the model must be able to do, in the words of `ModelCapabilities`.
        on_nobody: Called where nobody could.

    Attributes:
        begun: Whether an answer has begun: no other server is asked any more.
    """

    def __init__(
        self,
        name: str,
        operation: str,
        limits: Limits,
        limits_of: Callable[[Route], Limits],
        *,
        cancel: Optional[CancelToken] = None,
        listeners: Tuple[Listener, ...] = (),
        needs: Iterable[str] = (),
        on_nobody: Callable[[], None] = lambda: None,
    ) -> None:
        self.begun = False
        self.call = Call(limits, cancel)
        self._name = name
        self._operation = operation
        self._limits_of = limits_of
        self._listeners = listeners
        self._needs = sorted(needs)
        self._on_nobody = on_nobody
        self._failures: List[Tuple[Route, ProviderError]] = []
        self._missing: List[ProviderError] = []
        self._left_alone: List[Route] = []
        self._left: List[Tuple[Route, ProviderError]] = []
        self._unreachable: List[Server] = []

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.call.over()

    # --- what to call -----------------------------------------------------------------------

    def first(self, routes: Sequence[Route], work: Work[T], *, look: bool = True) -> T:
        """Do something with the first server that can, and go on to the next before it begins.

        Args:
            routes: Whom to ask, in order. Those whose breaker is open come last.
            work: Does it. An answer that begins is to set `begun`.
            look: False asks nobody beforehand whether it has the model.

        Raises:
            ProviderError: What the only server raised, or what no other server would mend.
            ModelNotFoundError: No server has the model.
            AllFailedError: Several servers failed.
        """
        for route in self._in_order(routes):
            if route.server in self._unreachable:  # an alias may name it again
                continue
            self.check()
            self._tell(route)
            route.server.breaker.trying()
            if look and not self._may_ask(route):
                continue
            try:
                done = work(route, self.limits(route))
            except ProviderError as error:
                if not self.goes_on(route, error):
                    raise self.whole(error) from error.__cause__
                continue
            if not isinstance(done, Stream):  # of which nobody knows yet how it ends
                route.server.breaker.succeeded()
            return done
        raise self._nobody()

    def each(self, routes: Sequence[Route], work: Work[T], *, most_s: float = math.inf) -> List[T]:
        """Do something with every server, and give what those said that could.

        Each may take its share of the time that is left, and `most_s`, so that a silent one
        leaves some to the next.

        Raises:
            ProviderError: None could; as for `first`.
        """
        found = []
        for number, route in enumerate(routes):
            self.check()
            try:
                limits = self.limits(route, min(most_s, self.share_s(len(routes) - number)))
                found.append(work(route, limits))
            except CancelledError:
                raise
            except ProviderError as error:
                if self._is_over and not found:
                    raise self.whole(error) from error.__cause__
                self._passed(route, error)
        if not found:
            raise self._nobody()
        return found

    def ranked(self, routes: Sequence[Route], strategy: str) -> List[Route]:
        """Sort the servers that have the model. Who is down is noted, and not asked again."""
        if strategy == "first":
            return list(routes)
        found, rest = [], []
        for route in routes:
            if route.server in self._unreachable:
                continue
            if route.server.breaker.is_open:
                rest.append(route)
                continue
            info = self._asked(route, loaded=strategy == "loaded")
            if info is not None:
                found.append((STRATEGIES[strategy](info), route))
        return [route for _, route in sorted(found, key=lambda pair: pair[0])] + rest

    def wants(self, ability: str) -> None:
        """Have the model be able to do this, too."""
        self._needs = sorted({*self._needs, ability})

    def look(self, route: Route, *, loaded: bool = False) -> ModelInfo:
        """Ask a server about a model, at most once a minute.

        Args:
            route: Whom, and which.
            loaded: Whether it must be known if the model is in memory: then it is asked.

        Raises:
            ModelNotFoundError: It has no such model.
            ProviderError: It did not say.
        """
        known = route.server.seen.get(route.model)
        if known is not None and known[1] > time.monotonic() and not loaded:
            return known[0]
        provider = route.server.provider
        limits = self.limits(route, min(LOOK_S, self.share_s(2)))
        info = provider.model_info(route.model, timeout=limits, cancel=self.call.token)
        if loaded and info.loaded is None:
            info = info.replace(loaded=self._is_loaded(route, info))
        route.server.seen[route.model] = (info, time.monotonic() + SEEN_S)
        return info

    # --- one clock ---------------------------------------------------------------------------

    def limits(self, route: Route, total_s: float = math.inf) -> Limits:
        """Give the server's limits, within what is left of the total."""
        limits, left = self._limits_of(route), self.call.limits_left()
        return limits.replace(total_s=min(limits.total_s, left.total_s, total_s))

    def share_s(self, servers: int) -> float:
        """Give the seconds that one of so many servers may take for a question."""
        return self.call.limits_left().total_s / servers

    def check(self) -> None:
        """Look at the clock and the switch, between two servers.

        Raises:
            LimitError: The total is over.
            CancelledError: The caller ended the call.
        """
        try:
            self.call.left()
            return
        except Stop as stop:
            error = stopped(stop, self.call)
        raise self._with_history(error)

    def whole(self, error: ProviderError) -> ProviderError:
        """Tell a total that ended with the call's as the call's, not as what was left of it."""
        if not isinstance(error, LimitError) or error.limit != "total_s":
            return error
        if self.call.elapsed_s < self.call.limits.total_s:
            return error
        whole = stopped(Stop("total_s", self.call.limits.total_s), self.call)
        for name in ("provider", "model", "endpoint", "partial"):
            whole.add_context(**{name: getattr(error, name)})
        return self._with_history(whole)

    # --- who is next --------------------------------------------------------------------------

    def goes_on(self, route: Route, error: ProviderError) -> bool:
        """Note an error, and say whether the next server is to be asked."""
        rule = rule_of(error)
        if not self._is_over:
            self._weigh(route, error)
        if not isinstance(error, UnsupportedError):
            route.server.seen.pop(route.model, None)
        if self.begun or error.partial or error.embedded or not rule.next or self._is_over:
            return False
        self._note(route, error)
        return True

    def _passed(self, route: Route, error: ProviderError) -> None:
        """Note what a server said instead of what it knows about a model."""
        self._weigh(route, error)
        self._note(route, error)

    def _weigh(self, route: Route, error: ProviderError) -> None:
        if rule_of(error).counts:
            route.server.blame(error)
        elif not isinstance(error, CancelledError):
            route.server.breaker.undecided()

    def _note(self, route: Route, error: ProviderError) -> None:
        error.add_context(provider=route.server.name, model=route.model)
        bare(error)  # its frames hold this object, which holds the error
        # Such a name can be impossible on another kind of server.
        lacks = isinstance(error, (ModelNotFoundError, RequestRejectedError, CapabilityError))
        if lacks and not route.named:
            self._missing.append(error)
        else:
            self._failures.append((route, error))
            self._left.append((route, error))
        if isinstance(error, UnreachableError):
            self._unreachable.append(route.server)

    def tried(self) -> Tuple[Tried, ...]:
        """Give the servers that failed, or were left alone, before the one that answered."""
        alone = [
            Tried(
                provider=route.server.name,
                model=route.model,
                error=None,
                message="it was left alone for a while, because it had failed again and again",
            )
            for route in self._left_alone
        ]
        return (*alone, *(verdict.tried(route, error) for route, error in self._failures))

    @property
    def _is_over(self) -> bool:
        return self.call.elapsed_s >= self.call.limits.total_s

    def _in_order(self, routes: Sequence[Route]) -> Iterator[Route]:
        for route in routes:
            if route.server.breaker.is_open:
                self._left_alone.append(route)
            else:
                yield route
        # The last ones left are asked all the same.
        while self._left_alone:
            yield self._left_alone.pop(0)

    def _may_ask(self, route: Route) -> bool:
        """Make sure of what must be known before a server is asked; note why it may not be."""
        falls = bool(self._failures or self._left_alone)
        if not (falls or self._needs) and route.named:
            return True
        info = self._asked(route)
        if info is None:
            return False
        if falls and (info.capabilities.remote or is_cloud(route.model)):
            self._note(route, verdict.cloud(route))
            return False
        return True

    def _asked(self, route: Route, *, loaded: bool = False) -> Optional[ModelInfo]:
        """Ask whether a server has the model that is wanted; None where it is passed over."""
        self.check()
        try:
            info = self.look(route, loaded=loaded)
        except ProviderError as error:
            if isinstance(error, CancelledError) or self._is_over:
                raise self.whole(error) from error.__cause__
            self._passed(route, error)
            return None
        lacking = [need for need in self._needs if not getattr(info.capabilities, need)]
        if lacking:
            self._note(route, verdict.lacks(route, lacking))
        return None if lacking else info

    def _is_loaded(self, route: Route, info: ModelInfo) -> Optional[bool]:
        limits = self.limits(route, LOOK_S)
        try:
            loaded = route.server.provider.loaded_models(timeout=limits, cancel=self.call.token)
        except UnsupportedError:
            return None
        return any(each.name == info.name for each in loaded)

    # --- who hears of it ----------------------------------------------------------------------

    def _tell(self, route: Route) -> None:
        left, self._left = self._left, []
        for before, error in left:
            fell_back(
                self._listeners,
                error,
                operation=self._operation,
                provider=before.server.name,
                endpoint=before.server.endpoint,
                to=route.server.name,
                model=before.model,
                elapsed_s=self.call.elapsed_s,
            )

    def _nobody(self) -> ProviderError:
        self._on_nobody()
        failures = [error for _, error in self._failures]
        return verdict.nobody(self._name, failures, self._missing, self._needs)

    def _with_history(self, error: ProviderError) -> ProviderError:
        if self._failures:
            before = "; ".join(str(verdict.tried(route, each)) for route, each in self._failures)
            error.hint = f"{error.hint}; before that: {before}" if error.hint else before
        error.add_context(provider=self._name)
        return error
