"""The models of one server with the Messages API, and the kind of this server."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple, TypeVar

from localproviders._dialect.missing_models import not_found
from localproviders._dialect.values import mapping
from localproviders._http.deadline import Call
from localproviders._http.framing import MOST_MODELS
from localproviders._http_provider.call_runner import CallRunner
from localproviders.anthropic.wire import models as wire
from localproviders.anthropic.wire.kept_blocks import same_model
from localproviders.anthropic.wire.servers import SERVICE, Server, recognise
from localproviders.anthropic.wire.thinking import ThinkingFacts, facts_of
from localproviders.errors import (
    AuthenticationError,
    CancelledError,
    LimitError,
    LocalityError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    UnreachableError,
)
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout
from localproviders.types.models import ModelCapabilities, ModelInfo

T = TypeVar("T")

# Seconds for which the record of a model is cached. All providers cache capabilities for this time.
_KNOWN_S = 60.0
_MOST_PAGES = 1 + MOST_MODELS // wire.PAGE_SIZE

# Errors of a request for facts about the server or a model. After such an error, the request with
# the prompt would fail as well, so it is not sent.
_FINAL = (AuthenticationError, CancelledError, LimitError, LocalityError, UnreachableError)


class Catalog:
    """The cached models of one server, and the kind of this server.

    There is no lock. The worst that can happen is that two threads ask the server for the same
    fact.

    Args:
        runner: Runner of the calls.
        is_service: Whether the address is that of Anthropic's service.
    """

    def __init__(self, runner: CallRunner, is_service: bool) -> None:
        self._runner = runner
        self._provider = runner.settings.name
        self._server: Optional[Server] = SERVICE if is_service else None
        self._records: Dict[str, Tuple[float, Optional[ModelInfo]]] = {}

    def run(
        self,
        work: Callable[[Call], T],
        timeout: Timeout,
        cancel: Optional[CancelToken],
        model: Optional[str] = None,
    ) -> T:
        """Run `work` as one call, with the total limit of a listing."""
        return self._runner.run(
            work, model=model, timeout=timeout, cancel=cancel, total_s=LISTING_TOTAL_S
        )

    def forget(self) -> None:
        """Forget the cached models, but not the kind of the server."""
        self._records.clear()

    # --- within another call ------------------------------------------------------------------

    def _get(self, path: str, call: Call) -> Any:
        return self._runner.transport.json("GET", path, call=call)

    def server(self, call: Call) -> Server:
        """Return the kind of the server. The first call requests the server's list of models.

        Raises:
            ProviderError: The list could not be requested, and the failure may be temporary, or a
                request with a prompt would fail for the same reason.
        """
        if self._server is None:
            try:
                self._server = recognise(self._get(wire.page_path(), call))
            except _FINAL:
                raise
            except ProviderError as error:
                if error.retryable:
                    raise
                self._server = SERVICE
        return self._server

    @property
    def known_server(self) -> Server:
        """The kind of the server; `SERVICE` if no call has found it out yet."""
        return self._server or SERVICE

    def pages(self, call: Call) -> List[ModelInfo]:
        """Request all pages of the list.

        Raises:
            ProtocolError: The pages have no end.
            ProviderError: A page could not be read.
        """
        found: List[ModelInfo] = []
        after: Optional[str] = None
        seen: Set[Optional[str]] = set()
        while after not in seen and len(seen) < _MOST_PAGES:
            seen.add(after)
            data = self._get(wire.page_path(after), call)
            if self._server is None:
                self._server = recognise(data)
            page = wire.parse_page(data, self._provider, call.look)
            found += page.models
            after = page.next_id
            if after is None:
                return found
        raise ProtocolError("the pages of the list of models have no end")

    def find(self, model: str, call: Call) -> ModelInfo:
        """Return the facts about a model. Anthropic's service also accepts an alias.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: The response could not be read.
        """
        if self.server(call).is_service:
            return wire.parse_model(self._get(wire.model_path(model), call), self._provider)
        listed = self.pages(call)
        found = next((info for info in listed if same_model(info.name, model)), None)
        if found is None:
            raise not_found(model, available=tuple(info.name for info in listed))
        return found

    def describe(self, model: str, call: Call) -> Optional[ModelInfo]:
        """Return the facts about a model; None if the server reports none.

        The result is cached for a minute, even if it is None.

        Raises:
            ProviderError: The facts could not be requested, and a request with a prompt would fail
                for the same reason.
        """
        until, known = self._records.get(model, (0.0, None))
        if until > time.monotonic():
            return known
        try:
            known = self.find(model, call)
        except _FINAL:
            raise
        except ModelNotFoundError:
            if self.known_server.is_service:
                raise
            known = None
        except ProviderError:
            known = None
        self._records[model] = (time.monotonic() + _KNOWN_S, known)
        return known

    def thinking(self, model: str) -> ThinkingFacts:
        """Return the types and levels of thinking that a model accepts, without a request."""
        known = self._records.get(model, (0.0, None))[1]
        record: Mapping[str, Any] = {} if known is None else mapping(known.raw)
        return facts_of(model, record)

    def capabilities(self, model: str, call: Call) -> ModelCapabilities:
        """Return the abilities of a model. If the server reports none, each ability is unknown."""
        found = self.describe(model, call)
        return ModelCapabilities() if found is None else found.capabilities

    # --- calls --------------------------------------------------------------------------------

    def list_models(self, timeout: Timeout, cancel: Optional[CancelToken]) -> List[ModelInfo]:
        """Return the models of all pages, in the server's order."""
        return self.run(self.pages, timeout, cancel)

    def model_info(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> ModelInfo:
        """Return the facts about one model."""
        return self.run(lambda call: self.find(model, call), timeout, cancel, model)
