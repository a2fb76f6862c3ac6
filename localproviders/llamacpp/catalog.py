"""The models, the properties and the slots of a llama.cpp server."""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional, Tuple, TypeVar

from localproviders._dialect.missing_models import not_found
from localproviders._http.deadline import Call
from localproviders._http_provider.call_runner import CallRunner
from localproviders.errors import ProviderError, UnsupportedError
from localproviders.llamacpp.wire import models as wire
from localproviders.llamacpp.wire.errors import RULES
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout
from localproviders.types.models import LoadedModel, ModelCapabilities, ModelInfo

T = TypeVar("T")

_ROUTER_HINT = (
    "start llama-server without a model, so that it manages several models, or restart it with "
    "another model"
)


class Catalog:
    """The lists and properties of one server.

    Args:
        runner: Runner of the calls.
    """

    def __init__(self, runner: CallRunner) -> None:
        self._runner = runner
        self._provider = runner.settings.name

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

    # --- within another call ------------------------------------------------------------------

    def get(self, path: str, call: Call) -> Any:
        """Request the JSON at a path."""
        return self._runner.transport.json("GET", path, call=call)

    def entries(self, call: Call) -> List[ModelInfo]:
        """Request the list of models."""
        return wire.parse_models(self.get(wire.LIST_PATH, call), self._provider, RULES, call.look)

    def find(self, model: str, call: Call) -> ModelInfo:
        """Return the entry of a model. `model` is its name, or one of its other names.

        Raises:
            ModelNotFoundError: The list has no such model.
            ProviderError: The list could not be read.
        """
        entries = self.entries(call)
        found = find_entry(model, entries)
        if found is None:
            raise not_found(model, available=tuple(info.name for info in entries))
        return found

    def properties_of(self, info: ModelInfo, call: Call) -> Mapping[str, Any]:
        """Return the properties of the server process that has a model.

        The result is empty if a router has no process for the model, because this request must not
        load a model.
        """
        state = wire.state_of(info)
        if state not in (None, wire.LOADED, wire.SLEEPING):
            return {}
        name = None if state is None else info.name
        path = wire.query("/props", name, autoload=False)
        return wire.parse_properties(self.get(path, call), RULES)

    def complete(self, info: ModelInfo, call: Call) -> ModelInfo:
        """Return the entry of a model with the facts in its properties, if they can be read."""
        try:
            properties = self.properties_of(info, call)
        except ProviderError as error:
            if error.status is None:
                raise
            return info
        return wire.with_properties(info, properties) if properties else info

    def require_router(self, verb: str, entries: List[ModelInfo], call: Call) -> None:
        """Check that the server manages several models.

        Raises:
            UnsupportedError: The server serves one model.
        """
        if any(wire.state_of(info) is not None for info in entries):
            return
        if not entries and wire.is_router(wire.parse_properties(self.get("/props", call), RULES)):
            return
        raise UnsupportedError(
            f"{self._provider} does not support {verb}(): this server serves one model",
            hint=_ROUTER_HINT,
            provider=self._provider,
        )

    # --- calls --------------------------------------------------------------------------------

    def list_models(self, timeout: Timeout, cancel: Optional[CancelToken]) -> List[ModelInfo]:
        """Return the models in the server's order."""
        return self.run(self.entries, timeout, cancel)

    def model_info(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> ModelInfo:
        """Return the facts about one model from the list and from its properties."""
        return self.run(
            lambda call: self.complete(self.find(model, call), call), timeout, cancel, model
        )

    def capabilities(self, model: str, call: Call) -> ModelCapabilities:
        """Return the capabilities of the model that answers requests for a model name.

        A server with one model uses this model for every name.
        """
        entries = self.entries(call)
        found = find_entry(model, entries)
        if found is None and len(entries) == 1 and wire.state_of(entries[0]) is None:
            found = entries[0]
        return ModelCapabilities() if found is None else self.complete(found, call).capabilities

    def loaded_models(self, timeout: Timeout, cancel: Optional[CancelToken]) -> List[LoadedModel]:
        """Return the models in memory. The model of a sleeping server is not in memory."""

        def read(call: Call) -> List[LoadedModel]:
            entries = self.entries(call)
            if wire.is_alone(entries) and wire.is_sleeping(self.properties_of(entries[0], call)):
                return []
            return [wire.loaded_model(info) for info in entries if info.loaded]

        return self.run(read, timeout, cancel)

    def properties(
        self, model: Optional[str], timeout: Timeout, cancel: Optional[CancelToken]
    ) -> Mapping[str, Any]:
        """Return the properties of the server, or of a model of a router."""
        path = wire.query("/props", model, autoload=False)
        return self.run(
            lambda call: wire.parse_properties(self.get(path, call), RULES), timeout, cancel, model
        )

    def slots(
        self, model: Optional[str], timeout: Timeout, cancel: Optional[CancelToken]
    ) -> List[Mapping[str, Any]]:
        """Return the slots of a model."""
        path = wire.query("/slots", model, autoload=False)
        return self.run(
            lambda call: wire.parse_slots(self.get(path, call), RULES), timeout, cancel, model
        )

    def is_alias(self, requested: str, served: str, call: Call) -> bool:
        """Return whether two names mean the same model, according to the server's list."""
        # The list is requested in a separate call: the state of `call` belongs to the response that
        # is still being read.
        try:
            entries = self.run(self.entries, call.listing_limits(), call.token)
        except ProviderError:
            return False
        return any({requested, served} <= set(wire.names_of(info)) for info in entries)


def find_entry(model: str, entries: List[ModelInfo]) -> Optional[ModelInfo]:
    """Return the entry whose name is `model`, or else an entry with `model` among its other names.

    The result is None if there is no such entry.
    """
    exact: Tuple[ModelInfo, ...] = tuple(info for info in entries if info.name == model)
    others = (info for info in entries if model in wire.names_of(info))
    return next(iter(exact), None) or next(others, None)
