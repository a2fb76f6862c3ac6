"""Failover: one public call that tries several servers, under one deadline.

The response names the servers that were tried before the one that answered.
"""

from __future__ import annotations

import math
import time
from types import MappingProxyType
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, Tuple, TypeVar

from localproviders._http.deadline import Call, total_ended
from localproviders._http.stream import Stream, StreamOwner
from localproviders._http.summary import Summary
from localproviders.errors import (
    CancelledError,
    CapabilityError,
    LimitError,
    LocalityError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    StreamInterruptedError,
    UnreachableError,
    UnsupportedError,
)
from localproviders.local import errors
from localproviders.local.balance import Balancer, Lease, beginnings_of
from localproviders.local.servers import (
    STRATEGIES,
    Aliases,
    Guard,
    Route,
    Server,
    causes_of,
    is_wider,
    rule_of,
)
from localproviders.local.substitutes import used_warning
from localproviders.ollama.names import is_cloud
from localproviders.telemetry import Listener, fell_back
from localproviders.types.decisions import Decisions
from localproviders.types.limits import CancelToken, Limits
from localproviders.types.models import ModelInfo
from localproviders.types.rankings import Ranking
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionResponse, EmbeddingResponse, ServerAttempt

T = TypeVar("T")

#: Longest time for a request about a model, in seconds. A server that needs longer is treated as
#: if it did not have the model.
LOOKUP_S = 10.0

#: Seconds for which the facts about a model are cached. A failure of the model removes them.
SEEN_S = 60.0

#: The work to do with one server, within the given limits.
Work = Callable[[Route, Limits], T]


class FailoverCall:
    """One public call of a `LocalProvider`, to be used in a ``with`` block.

    Args:
        name: Name of the `LocalProvider`.
        operation: Name of the public method.
        limits: Limits of the call. The total limit is shared by all servers.
        limits_of: Function that returns the limits that a server itself has for this call.
        cancel: Token that cancels the call, or None.
        listeners: Functions that are called when the call moves on to another server.
        needs: Abilities that the model must have; the names are those of `ModelCapabilities`.
        on_failure: Function that is called if no server could answer.
        guard: Restriction on servers, because of an untrusted project file.
        aliases: The aliases. An error about a missing model lists them.
        balancer: Chooses among servers with the same model; None keeps their order.

    Attributes:
        begun: Whether a response has begun. No other server is tried after that.
        is_collected: Whether the caller gets the response only as a whole, after its end. If so,
            and if there is a balancer, another server gets the request after a cut connection.
        beginnings: Hashes of the prefixes of the prompt, for the balancer.
        keeps_tiers: Whether the balancer chooses only among servers within the configured
            locality.
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
        on_failure: Callable[[], None] = lambda: None,
        guard: Guard,
        aliases: Aliases = MappingProxyType({}),
        balancer: Optional[Balancer] = None,
    ) -> None:
        self.begun: bool = False
        self.is_collected = False
        self.beginnings: Sequence[bytes] = ()
        self.keeps_tiers = False
        self.call: Call = Call(limits, cancel)
        self._name = name
        self._operation = operation
        self._limits_of = limits_of
        self._listeners = listeners
        self._needs = sorted(needs)
        self._on_failure = on_failure
        self._guard = guard
        self._aliases = aliases
        #: Servers that failed in this call.
        self._failures: List[Tuple[Route, ProviderError]] = []
        #: Errors of servers that lack the model, or whose model lacks an ability.
        self._missing: List[ProviderError] = []
        #: Servers that were skipped because their breaker is open.
        self._skipped: List[Route] = []
        #: Failures that have not been reported to the listeners yet.
        self._unreported: List[Tuple[Route, ProviderError]] = []
        self._unreachable: List[Server] = []
        self.balancer = balancer
        self._lease: Optional[Lease] = None
        #: The route of the latest request.
        self.used: Optional[Route] = None

    def __enter__(self) -> FailoverCall:
        return self

    def __exit__(self, *_: object) -> None:
        self.call.finish()
        self._end_lease()

    # --- running work on servers --------------------------------------------------------------

    def first_that_answers(
        self, routes: Sequence[Route], work: Work[T], *, check_model: bool = True
    ) -> T:
        """Run `work` on one server after another, and return the first result.

        Args:
            routes: Servers in the order to try. Servers with an open breaker are tried last.
            work: Function to run. It sets `begun` when a response begins.
            check_model: Whether to check first that the server has the model.

        Raises:
            ProviderError: The only server failed, or an error occurred that another server
                would repeat.
            ModelNotFoundError: No server has the model.
            AllFailedError: Several servers failed.
        """
        for route in self._in_order(routes):
            if route.server in self._unreachable:  # an alias can name a server twice
                continue
            self.check()
            self._report_fallbacks(route)
            self.used = route
            route.server.breaker.trying()
            if check_model and not self._may_ask(route):
                continue
            try:
                result = work(route, self.limits(route))
            except ProviderError as error:
                if not self.record_failure(route, error):
                    if isinstance(error, ModelNotFoundError) and not route.named:
                        errors.name_aliases(error, self._aliases)
                    raise self.with_overall_limit(error) from error.__cause__
                continue
            # A stream can still fail. Its owner records the success at the end of the stream.
            if not isinstance(result, Stream):
                route.server.breaker.succeeded()
            return result
        raise self._failed()

    def each(self, routes: Sequence[Route], work: Work[T], *, most_s: float = math.inf) -> List[T]:
        """Run `work` on every server, and return the results of those that succeed.

        Each server may use its share of the remaining time, and at most `most_s`, so that a
        silent server leaves time for the next one.

        Raises:
            ProviderError: The only server failed.
            ModelNotFoundError: No server has the model.
            AllFailedError: There are several servers, and all failed.
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
                    raise self.with_overall_limit(error) from error.__cause__
                self._record(route, error)
        if not found:
            raise self._failed()
        return found

    def ranked(self, routes: Sequence[Route], strategy: str) -> List[Route]:
        """Return the servers that have the model, sorted by a strategy.

        A server that is down is recorded as failed, so that this call does not try it again. A
        server with an open breaker comes last, without a request. With ``balanced``, a server that
        has just failed comes last, too: the balancer chooses it if the other servers are busy.
        """
        if strategy == "first":
            return list(routes)
        if strategy == "balanced":
            # Leave out the servers that are known to lack the model. Otherwise each call would ask
            # them again whether they have it.
            now = time.monotonic()
            having = [r for r in routes if r.server.lacking.get(r.model, 0.0) <= now]
            routes = having or routes
        found, rest = [], []
        for route in routes:
            if route.server in self._unreachable:
                continue
            breaker = route.server.breaker
            if breaker.is_open or (strategy == "balanced" and breaker.has_failed):
                rest.append(route)
                continue
            info = self._suitable_model(route, loaded=strategy == "loaded")
            if info is not None:
                found.append((STRATEGIES[strategy](info), route))
        return [route for _, route in sorted(found, key=lambda pair: pair[0])] + rest

    def any_has_model(self, routes: Sequence[Route]) -> bool:
        """Return whether one of the servers has, or may have, the model.

        A server that is down counts as a server without the model. If an untrusted project file may
        have caused its failure, with a short limit or a narrow locality, it counts as a server with
        the model: the file must not hide a model in this way.

        Raises:
            CancelledError: The caller cancelled the call.
            LimitError: The total limit expired.
        """
        for route in routes:
            if route.server.breaker.is_open:
                if self._guard.suspects(route.server.failed_by):
                    return True
                continue
            self.check()
            try:
                self.lookup(route)
            except ProviderError as error:
                if isinstance(error, CancelledError) or self._is_over:
                    raise self.with_overall_limit(error) from error.__cause__
                self._count_failure(route, error)
                unsure = isinstance(error, (LimitError, LocalityError))
                if unsure and self._guard.suspects(causes_of(error)):
                    return True
            else:
                return True
        return False

    def require(self, ability: str) -> None:
        """Add an ability that the model must have."""
        self._needs = sorted({*self._needs, ability})

    def lookup(self, route: Route, *, loaded: bool = False) -> ModelInfo:
        """Return the facts that a server has about a model, from the cache or with a request.

        Args:
            route: The server and the model.
            loaded: Whether the result must say if the model is in memory. This needs a new
                request.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: The request failed.
        """
        known = route.server.seen.get(route.model)
        if known is not None and known[1] > time.monotonic() and not loaded:
            return known[0]
        provider = route.server.provider
        limits = self.limits(route, min(LOOKUP_S, self.share_s(2)))
        info = provider.model_info(route.model, timeout=limits, cancel=self.call.token)
        if loaded and info.loaded is None:
            info = info.replace(loaded=self._is_loaded(route, info))
        route.server.seen[route.model] = (info, time.monotonic() + SEEN_S)
        return info

    @property
    def locality(self) -> str:
        """The locality of the `LocalProvider`."""
        return self._guard.locality

    # --- one deadline for all servers ---------------------------------------------------------

    def limits(self, route: Route, total_s: float = math.inf) -> Limits:
        """Return the server's limits; the total is at most `total_s` and the remaining time."""
        limits, left = self._limits_of(route), self.call.limits_left()
        return limits.replace(total_s=min(limits.total_s, left.total_s, total_s))

    def share_s(self, servers: int) -> float:
        """Return the remaining seconds, divided by a number of servers."""
        return self.call.limits_left().total_s / servers

    def check(self) -> None:
        """Check the deadline and the cancel token, between two servers.

        Raises:
            LimitError: The total limit expired.
            CancelledError: The caller cancelled the call.
        """
        try:
            self.call.look()
        except ProviderError as error:
            self._with_history(error)
            raise

    def with_overall_limit(self, error: ProviderError) -> ProviderError:
        """If the overall deadline expired, report the overall limit, not the remaining share."""
        if not isinstance(error, LimitError) or error.limit != "total_s":
            return error
        if self.call.elapsed_s < self.call.limits.total_s:
            return error
        return self._with_history(total_ended(self.call, error))

    # --- failures and the next server ---------------------------------------------------------

    def record_failure(self, route: Route, error: ProviderError) -> bool:
        """Record an error of a server; return whether to try the next server."""
        rule = rule_of(error)
        if not self._is_over:
            self._count_failure(route, error)
        if not isinstance(error, UnsupportedError):
            route.server.seen.pop(route.model, None)
        if self._may_start_again(error):
            self.begun = False
        elif self.begun or error.partial or error.embedded:
            return False
        if not rule.next or self._is_over:
            return False
        self._note(route, error)
        return True

    def _may_start_again(self, error: ProviderError) -> bool:
        """Return whether the request of a cut response may be sent to another server."""
        was_cut = isinstance(error, StreamInterruptedError) and error.retryable
        return was_cut and self.is_collected and self.balancer is not None

    def _record(self, route: Route, error: ProviderError) -> None:
        """Record an error of a server after which the call continues."""
        self._count_failure(route, error)
        self._note(route, error)

    def _count_failure(self, route: Route, error: ProviderError) -> None:
        """Count an error in the server's breaker, if it is a fault of the server."""
        if rule_of(error).counts:
            route.server.blame(error)
        elif not isinstance(error, CancelledError):
            route.server.breaker.undecided()

    def _note(self, route: Route, error: ProviderError) -> None:
        error.add_context(provider=route.server.name, model=route.model)
        # This object keeps the error. The frames of the traceback refer to this object, so
        # keeping the traceback would make a reference cycle.
        error.__context__ = error.__traceback__ = None
        # A rejected request also means a missing model here: a model name that one kind of
        # server accepts can be invalid on another kind.
        lacks = isinstance(error, (ModelNotFoundError, RequestRejectedError, CapabilityError))
        if lacks and not route.named:
            self._missing.append(error)
        else:
            self._failures.append((route, error))
            self._unreported.append((route, error))
        if isinstance(error, UnreachableError):
            self._unreachable.append(route.server)

    def tried(self) -> Tuple[ServerAttempt, ...]:
        """Return the servers that failed, or were skipped, before the one that answered."""
        skipped = [
            ServerAttempt(
                provider=route.server.name,
                model=route.model,
                error=None,
                message="the server was skipped, because its last calls failed",
            )
            for route in self._skipped
        ]
        return (*skipped, *(errors.tried(route, error) for route, error in self._failures))

    @property
    def _is_over(self) -> bool:
        return self.call.elapsed_s >= self.call.limits.total_s

    def _in_order(self, routes: Sequence[Route]) -> Iterator[Route]:
        waiting = list(routes)
        while waiting:
            route = self._next(waiting)
            waiting.remove(route)
            if route.server.breaker.is_open:
                self._skipped.append(route)
            else:
                yield route
        # If no other server answered, try the skipped ones: they may work again.
        while self._skipped:
            yield self._skipped.pop(0)

    def _next(self, waiting: Sequence[Route]) -> Route:
        """Return the route to try next: the first, or the balancer's choice among equal routes."""
        first = waiting[0]
        if self.balancer is None or first.server.breaker.is_open:
            return first
        equals = [
            route
            for route in waiting
            if route.model == first.model
            and route.substitute_for == first.substitute_for
            and not route.server.breaker.is_open
            and not (self.keeps_tiers and is_wider(route.server, self._guard.locality))
        ]
        self._end_lease()
        route, self._lease = self.balancer.choose(equals or [first], self.beginnings)
        return route

    def set_prompt(self, request: CompletionRequest) -> None:
        """Compute the hashes with which the balancer recognises the prompt of this call."""
        if self.balancer is not None:
            self.beginnings = beginnings_of(request)

    def take_lease(self) -> Optional[Lease]:
        """Return the lease of the request in flight.

        The caller of this method must end the lease: the ``with`` block of this object no longer
        ends it.
        """
        lease, self._lease = self._lease, None
        return lease

    def _end_lease(self) -> None:
        lease = self.take_lease()
        if lease is not None:
            lease.end()

    def _may_ask(self, route: Route) -> bool:
        """Return whether a server may get the request; record the reason if it may not."""
        is_fallback = bool(self._failures or self._skipped)
        if is_fallback and self._guard.forbids(route.server, self._causes()):
            self._note(route, errors.wider_locality(route))
            return False
        # In the next two cases, the name of the server was given, so no check is needed: if the
        # model is missing, the server's own error will say so.
        if route.substitute_for and not self._needs:
            return True
        if not (is_fallback or self._needs) and route.named:
            return True
        info = self._suitable_model(route)
        if info is None:
            return False
        is_remote = info.capabilities.remote or is_cloud(route.model)
        if is_fallback and is_remote and not route.substitute_for:
            self._note(route, errors.cloud_model(route))
            return False
        return True

    def _causes(self) -> Iterator[str]:
        for _, error in self._failures:
            yield from causes_of(error)
        for route in self._skipped:
            yield from route.server.failed_by

    def _suitable_model(self, route: Route, *, loaded: bool = False) -> Optional[ModelInfo]:
        """Return the facts about a model that the server has, with the needed abilities.

        If the server lacks the model, or the model lacks an ability, record the reason and return
        None.
        """
        self.check()
        try:
            info = self.lookup(route, loaded=loaded)
        except ProviderError as error:
            if isinstance(error, CancelledError) or self._is_over:
                raise self.with_overall_limit(error) from error.__cause__
            if isinstance(error, ModelNotFoundError):
                route.server.lacking[route.model] = time.monotonic() + SEEN_S
            self._record(route, error)
            return None
        lacking = [need for need in self._needs if not getattr(info.capabilities, need)]
        if lacking:
            self._note(route, errors.missing_abilities(route, lacking))
        return None if lacking else info

    def _is_loaded(self, route: Route, info: ModelInfo) -> Optional[bool]:
        limits = self.limits(route, LOOKUP_S)
        try:
            loaded = route.server.provider.loaded_models(timeout=limits, cancel=self.call.token)
        except UnsupportedError:
            return None
        return any(each.name == info.name for each in loaded)

    # --- reports to listeners and callers -----------------------------------------------------

    def _report_fallbacks(self, route: Route) -> None:
        """Send an event for each server that failed since the last report."""
        unreported, self._unreported = self._unreported, []
        if route.substitute_for and not unreported and self.used is None:
            # The servers before this route were skipped, or lack the model, so there is no failure.
            # The use of the substitute is reported all the same.
            unreported = [(before, _SKIPPED) for before in self._skipped[-1:]]
        for before, error in unreported:
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

    def _failed(self) -> ProviderError:
        """Return the error of this call, because no server could answer."""
        self._on_failure()
        failures = [error for _, error in self._failures]
        return errors.call_failed(self._name, failures, self._missing, self._needs, self._aliases)

    def _with_history(self, error: ProviderError) -> ProviderError:
        """Add the servers that failed before to the hint of an error."""
        if self._failures:
            before = "; ".join(str(errors.tried(route, each)) for route, each in self._failures)
            error.hint = f"{error.hint}; before that: {before}" if error.hint else before
        error.add_context(provider=self._name)
        return error


_SKIPPED = UnreachableError("the server was skipped, because its last calls failed")

R = TypeVar("R", CompletionResponse, EmbeddingResponse, Decisions, Ranking)


def with_attempts(response: R, run: FailoverCall) -> R:
    """Return the response with the servers that were tried before the one that answered."""
    tried: Tuple[ServerAttempt, ...] = run.tried()
    warnings = [*response.warnings, *(f"tried before: {each}" for each in tried)]
    if run.used is not None and run.used.substitute_for:
        warnings.append(used_warning(run.used, run.locality))
    if len(warnings) > len(response.warnings):
        response = response.replace(tried=(*tried, *response.tried), warnings=tuple(warnings))
    return response


def hand_on(stream: Stream, route: Route, run: FailoverCall) -> Stream:
    """Return an open stream to the caller. After that, no other server is tried."""
    run.begun = True
    stream._owner = _HandedOn(stream._owner, route, run)
    return stream


class _HandedOn:
    """A stream owner that adds the servers that were tried earlier to the final response.

    Args:
        owner: The owner that the provider of the stream has set.
        route: The server and model that answer.
        run: The call of the `LocalProvider`.
    """

    def __init__(self, owner: StreamOwner, route: Route, run: FailoverCall) -> None:
        self._owner = owner
        self._route = route
        self._run = run
        self._lease = run.take_lease()
        # `inspect` is called for each chunk. A method here that calls it would cost time, so it is
        # bound directly.
        self.inspect = owner.inspect
        self.reopen = owner.reopen
        self.check_length = owner.check_length

    def conclude(self, summary: Summary) -> CompletionResponse:
        """Return the final response, with the servers that were tried before."""
        self._end()
        response = self._owner.conclude(summary)
        self._route.server.breaker.succeeded()
        return with_attempts(response, self._run)

    def explain(self, error: ProviderError) -> ProviderError:
        """Return the error, with the servers that were tried before."""
        self._end()
        error = self._owner.explain(error)
        self._run.record_failure(self._route, error)
        return self._run.with_overall_limit(error)

    def abandon(self, error: BaseException) -> None:
        """Record that the stream ended without a response and without a provider's error."""
        self._end()
        self._owner.abandon(error)

    def _end(self) -> None:
        """End the request in flight."""
        if self._lease is not None:
            self._lease.end()
