"""One call of `decide`: choose a route, check its limits, send the questions, join the answers."""

from __future__ import annotations

import re
import time
from functools import partial, reduce
from typing import Any, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence

from localproviders._address import literal
from localproviders._decision_verbs import DecisionRequest
from localproviders._dialect.decisions import (
    Decided,
    DecisionDialect,
    DecisionRoute,
    Product,
    RouteLimits,
    small_mass,
    split,
    texts_of,
)
from localproviders._http.deadline import Call
from localproviders._http.resolve import check_place
from localproviders._http.transport import Payload, Transport
from localproviders._http_provider import decide_by_logprobs
from localproviders._http_provider.call_runner import CallRunner, Raw
from localproviders._http_provider.decide_by_logprobs import LabellingProvider
from localproviders._http_provider.embedding import sum_fields
from localproviders._http_provider.sending import Sending, SendingProvider
from localproviders.errors import (
    AuthenticationError,
    CapabilityError,
    ContextOverflowError,
    ModelError,
    ProviderError,
    RequestRejectedError,
    ServerBusyError,
    ServerError,
    UnsupportedError,
    WrongModelError,
)
from localproviders.telemetry import take_verb
from localproviders.types.decisions import Decisions
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.questions import Choice, Question, Score
from localproviders.types.responses import Timings

# Seconds for which a missing route, or the product of a server, is remembered. A server may be
# updated or replaced while the provider lives.
_REMEMBERED_S = 60.0

# Status codes of responses for a path that does not exist.
_NOT_FOUND_STATUSES = (404, 405)
_NOT_IMPLEMENTED, _TOO_LARGE = 501, 413

_OTHER_WAY = (
    'to ask a chat model, pass method="logprobs"; a decision model has `decision` in its '
    "model_capabilities()"
)
_FEWER = "leave some out, or group them in several questions"

# Hints that replace the hints for chats, because those mention arguments that `decide` does not
# have.
_HINTS: Mapping[type, str] = {
    ContextOverflowError: "shorten the state or the questions, or load the model with a larger "
    "context window",
    WrongModelError: "check the name of the model, and which model the server has loaded",
}

# The dialect of a kind of provider that does not define one.
_NO_ROUTES = DecisionDialect(routes=())


class _OtherRouteError(UnsupportedError):
    """The path belongs to a different route. The caller never gets this error."""


class DecidingHTTPProvider(SendingProvider, LabellingProvider, Protocol):
    """The members of a provider over HTTP that `Deciding` uses."""

    _runner: CallRunner
    _transport: Transport

    def _choose_model(
        self, requested: Optional[str], timeout: Timeout, cancel: Optional[CancelToken]
    ) -> str:
        """Return the model of the request, or else the model of the provider."""
        ...

    def _check_before(self, model: str, expect_digest: Optional[str], call: Call) -> Optional[str]:
        """Check a model before the state is sent to it; return its digest if it is known."""

    def _check_served(
        self, model: str, served: Optional[str], call: Call, raw: Raw = None
    ) -> Optional[str]:
        """Check which model has answered; return a warning, or None."""


class Deciding:
    """The decisions of one provider: its routes, and the known facts about its server.

    Args:
        wire: The module of the dialect whose `DECISIONS` describes how its servers decide; None for
            a kind of server without routes for decisions.
    """

    def __init__(self, wire: Any) -> None:
        self._dialect: DecisionDialect = _NO_ROUTES if wire is None else wire.DECISIONS
        #: Time until which a route counts as missing, by its method.
        self._missing: Dict[str, float] = {}
        #: The product, and the time until which it is remembered.
        self._product: Optional[Product] = None
        self._product_until = 0.0

    def prepare(
        self,
        provider: DecidingHTTPProvider,
        request: DecisionRequest,
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> DecisionRequest:
        """Choose the model, and check what can be checked without a request.

        Raises:
            ConfigurationError: No model is named.
            UnsupportedError: The provider lacks the method or an option of the request.
            LocalityError: The address is outside the allowed locality, or the name of the model
                shows that the model runs outside it.
        """
        settings = provider.settings
        model = provider._choose_model(request.model, timeout, cancel)
        host = settings.endpoint.host
        if literal(host) is not None and not settings.proxies:
            check_place(host, host, settings.locality)
        self._dialect.check_model(model, settings.locality)
        self._check_fields(provider.name, request)
        return request.replace(model=model)

    def decide(
        self,
        provider: DecidingHTTPProvider,
        request: DecisionRequest,
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> Decisions:
        """Answer the questions about one state.

        Raises:
            ProviderError: See `ModelProvider.decide`.
        """
        operation = take_verb("decide")
        model = provider._choose_model(request.model, timeout, cancel)
        self._check_fields(provider.name, request)
        return provider._runner.run(
            partial(self._decisions, provider, request, model),
            timeout=timeout,
            cancel=cancel,
            operation=operation,
            model=model,
            task="decision",
            texts=lambda: texts_of(request),
            facts=_facts,
        )

    def _check_fields(self, name: str, request: DecisionRequest) -> None:
        """Check that the provider has the method and the options of the request.

        Raises:
            UnsupportedError: The provider lacks the method or an option.
        """
        for field, hint in self._dialect.unsupported.items():
            if getattr(request, field) is not None:
                raise UnsupportedError(f"{name} does not support {field}", hint=hint, provider=name)
        known = [route.method for route in self._dialect.routes]
        if request.method not in (None, "logprobs", *known):
            raise _no_route(name, request.method or "", known)

    def _decisions(
        self, provider: DecidingHTTPProvider, request: DecisionRequest, model: str, call: Call
    ) -> Decisions:
        digest = provider._check_before(model, request.expect_digest, call)
        try:
            found = self._decided(provider, request, model, call)
        except (ContextOverflowError, WrongModelError) as error:
            error.hint = _HINTS.get(type(error), error.hint)
            raise
        _check_masses(found, request.min_mass)
        return Decisions(
            model=found.model or model,
            provider=provider.name,
            endpoint=provider.settings.endpoint.url,
            digest=digest,
            request_id=call.request_id,
            answers=found.answers,
            usage=found.usage,
            timings=Timings(total_s=call.elapsed_s),
            server_timings=found.server_timings,
            warnings=found.warnings,
            attempts=found.attempts,
            raw=found.raw,
        )

    def _decided(
        self, provider: DecidingHTTPProvider, request: DecisionRequest, model: str, call: Call
    ) -> Decided:
        """Decide by the first route that the server has, or else by log-probabilities."""
        for route in self._routes(request):
            try:
                limits = self._checked_limits(provider, route, request, call)
                return self._by_route(provider, route, limits, request, model, call)
            except ProviderError as error:
                if not _means_no_route(error):
                    raise
                self._missing[route.method] = time.monotonic() + _REMEMBERED_S
                if request.method == route.method:
                    others = [each.method for each in self._dialect.routes if each != route]
                    raise _no_route(provider.name, route.method, others, error) from None
        return decide_by_logprobs.decide(provider, request, model, call)

    def _routes(self, request: DecisionRequest) -> Iterator[DecisionRoute]:
        """Yield the routes to try for a request."""
        now = time.monotonic()
        for route in self._dialect.routes:
            is_missing = self._missing.get(route.method, 0.0) > now
            if request.method == route.method or (request.method is None and not is_missing):
                yield route

    # --- the limits of a server ---------------------------------------------------------------

    def _checked_limits(
        self,
        provider: DecidingHTTPProvider,
        route: DecisionRoute,
        request: DecisionRequest,
        call: Call,
    ) -> RouteLimits:
        """Return the limits of a route, after checking a request against them.

        Raises:
            UnsupportedError: The request exceeds a limit.
            _OtherRouteError: The server does not have the route.
        """
        limits = self._limits(provider, route, request, call)
        excess = _excess(request, limits)
        if excess is not None:
            raise UnsupportedError(f"{excess} accepted by {provider.name}", hint=_FEWER)
        return limits

    def _limits(
        self,
        provider: DecidingHTTPProvider,
        route: DecisionRoute,
        request: DecisionRequest,
        call: Call,
    ) -> RouteLimits:
        """Return the limits of a route. If they depend on the server's product, ask the server.

        Raises:
            _OtherRouteError: On this server, the path belongs to a different route.
        """
        limits, products = route.limits, self._dialect.products.values()
        # Servers of different products can use the same path for different routes. Only the name of
        # the product shows which route has the path.
        may_matter = any(
            route.method in each.lacks or _excess(request, each.limits) is not None
            for each in products
        )
        counts = (limits.questions, *(each.limits.questions for each in products))
        may_split = any(len(request.questions) > most for most in counts if most is not None)
        if may_matter or may_split:
            product = self._ask_product(provider, call)
            if product is not None and route.method in product.lacks:
                raise _OtherRouteError("the path has a different route", hint=product.instead)
            return limits if product is None else product.limits
        return limits

    def _ask_product(self, provider: DecidingHTTPProvider, call: Call) -> Optional[Product]:
        """Ask the server for its product; return None if its answer names no known product."""
        dialect, now = self._dialect, time.monotonic()
        if dialect.listing is not None and self._product_until < now:
            try:
                data = provider._transport.json("GET", dialect.listing, call=call)
                name = dialect.read_product(data)
            except ServerBusyError:
                raise
            except (ServerError, ModelError, AuthenticationError, UnsupportedError):
                name = None  # the request itself will show what is wrong
            self._product = dialect.products.get(name or "")
            self._product_until = now + _REMEMBERED_S
        return self._product

    # --- requests -----------------------------------------------------------------------------

    def _by_route(
        self,
        provider: DecidingHTTPProvider,
        route: DecisionRoute,
        limits: RouteLimits,
        request: DecisionRequest,
        model: str,
        call: Call,
    ) -> Decided:
        """Send the questions in as few requests as the route accepts, and join the answers."""
        parts = [
            self._ask(provider, route, request, questions, model, call)
            for questions in split(request.questions, limits.questions)
        ]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _ask(
        self,
        provider: DecidingHTTPProvider,
        route: DecisionRoute,
        request: DecisionRequest,
        questions: Mapping[str, Question],
        model: str,
        call: Call,
    ) -> Decided:
        """Send one request, and return its answers."""

        def make(_: Call) -> Any:
            return route.path, Payload(route.make(model, request, questions)), None

        sending = Sending(provider, model, call, make)
        while True:
            try:
                path, body, _, _ = sending.prepare()
                answer = provider._transport.open(
                    "POST", path, call=call, body=body, attempts=sending.attempts
                )
                found = route.read(provider._transport.parse(answer), questions)
                break
            except ProviderError as error:
                sending.recover(_explained(error))
        provider._cold_loads.answered(model, request.keep_alive)
        warning = provider._check_served(model, found.model, call, found.raw)
        warnings = [*sending.accepted(), *filter(None, [warning])]
        return found._replace(warnings=tuple(warnings), attempts=answer.attempts)


def _facts(done: Decisions) -> Mapping[str, Any]:
    """Return the facts of the ``finished`` event."""
    return {
        "prompt_tokens": done.usage.prompt_tokens,
        "completion_tokens": done.usage.completion_tokens,
        "served_model": done.model,
        "digest": done.digest,
        "attempts": done.attempts,
    }


def _means_no_route(error: ProviderError) -> bool:
    """Return whether an error means that the server does not have the route."""
    if isinstance(error, _OtherRouteError):
        return True
    if type(error) not in (UnsupportedError, RequestRejectedError):
        return False
    # LM Studio sends status 200 for an unknown path, so its error has no status. An error that our
    # own checks raise has no `server_message`. With a status other than 404 and 405, the server has
    # the route, but is, for example, too old for the model.
    is_unknown_path = type(error) is UnsupportedError and error.status is None
    return error.status in _NOT_FOUND_STATUSES or (is_unknown_path and bool(error.server_message))


def _no_route(
    name: str, method: str, others: Sequence[str], cause: Optional[ProviderError] = None
) -> UnsupportedError:
    """Return the error for a method that the server does not have."""
    words = " or ".join(f'"{other}"' for other in (*others, "logprobs"))
    more = f"; {cause.hint}" if cause is not None and cause.hint else ""
    return UnsupportedError(
        f"{name} does not support method={method!r}",
        hint=f"pass method={words}{more}",
        provider=name,
        status=None if cause is None else cause.status,
    )


def _excess(request: DecisionRequest, limits: RouteLimits) -> Optional[str]:
    """Return a text with the limit that a request exceeds, or None.

    The number of questions is not checked, because they can be sent in several requests.
    """
    rows = (("options", Choice, limits.options), ("levels", Score, limits.levels))
    for number, question in enumerate(request.questions.values(), 1):
        for what, kind, most in rows:
            if isinstance(question, kind) and most and len(question.answers) > most:
                found = f"question {number} has {len(question.answers)} {what}"
                return f"{found}, but at most {most} are"
    if limits.images is not None and len(request.images) > limits.images:
        accepted = f"at most {limits.images} are" if limits.images else "none is"
        return f"the number of images is {len(request.images)}, but {accepted}"
    return None


def _explained(error: ProviderError) -> ProviderError:
    """Return the error of a decision request, changed to the class and the hint that fit its cause.

    The errors for a model that is no decision model, and for a text that is too long, differ from
    server to server.
    """
    made = error
    if error.status == _TOO_LARGE and type(error) is RequestRejectedError:
        made = ContextOverflowError(
            error.message, status=error.status, server_message=error.server_message
        )
    elif error.status == _NOT_IMPLEMENTED and type(error) is ServerError and error.server_message:
        made = CapabilityError(
            error.message,
            evidence=error.server_message,
            hint=error.hint,
            status=error.status,
            server_message=error.server_message,
        )
    is_about_images = re.search(r"\b(image|mmproj)", error.server_message or "", re.IGNORECASE)
    if isinstance(made, CapabilityError) and not is_about_images:
        made.hint = _OTHER_WAY
    return made


def _check_masses(found: Decided, min_mass: float) -> None:
    """Check the mass of each decision: the total probability of the possible answers, if known.

    If it is small, the model did not mean to give one of these answers.

    Raises:
        CapabilityError: A mass is below the threshold.
    """
    for number, decision in enumerate(found.answers.values(), 1):
        if decision.mass is not None and decision.mass < min_mass:
            raise small_mass(number, decision.mass, min_mass)


def _joined(parts: Sequence[Decided]) -> Decided:
    """Join the contents of several responses about one state."""
    warnings: List[str] = []
    for part in parts:
        warnings += [warning for warning in part.warnings if warning not in warnings]
    return parts[-1]._replace(
        answers={name: answer for part in parts for name, answer in part.answers.items()},
        usage=reduce(sum_fields, (part.usage for part in parts)),
        server_timings=reduce(sum_fields, (part.server_timings for part in parts)),
        warnings=tuple(warnings),
        attempts=max(part.attempts for part in parts),
    )
