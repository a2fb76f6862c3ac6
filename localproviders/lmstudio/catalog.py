"""Model lists of an LM Studio server, and detection of the server's generation.

A generation is a range of versions that have the same routes.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple, TypeVar

from localproviders._dialect.common import checked, unexpected
from localproviders._dialect.missing_models import not_found
from localproviders._http.deadline import Call
from localproviders._http.transport import encode
from localproviders._http_provider.call_runner import CallRunner
from localproviders.errors import ProviderError, TransportError, UnsupportedError
from localproviders.lmstudio.wire import errors as wire_errors
from localproviders.lmstudio.wire import models as wire_models
from localproviders.openai_compatible.wire import models as dialect_models
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout
from localproviders.types.models import ModelInfo

T = TypeVar("T")

#: The generations, newest first, each with its first version
#: (docs/reference/lmstudio.md, "Versions").
_FIRST_VERSIONS: Mapping[str, str] = {"0.4": "0.4.0", "0.3": "0.3.6", "older": ""}
_GENERATIONS = tuple(_FIRST_VERSIONS)

#: The generation of a server, and the model list that the server returned.
_Found = Tuple[str, List[wire_models.Entry]]


class Catalog:
    """Model lists of one server, and the generation that was detected.

    Args:
        runner: Runner of the calls.
    """

    def __init__(self, runner: CallRunner) -> None:
        self._runner = runner
        self._provider = runner.settings.name
        # Cleared after an error that suggests that another server may now use this address.
        self._generation: Optional[str] = None

    def generation(self, timeout: Timeout, cancel: Optional[CancelToken]) -> str:
        """Return the generation of the server; detect it if it is not known."""
        return self._generation or self.run(self._probe, timeout, cancel)[0]

    def list_entries(
        self, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> List[wire_models.Entry]:
        """Return the entries of the model list, with a call that has its own limits."""
        return self.run(self.entries, timeout, cancel)

    def is_alias(self, requested: str, served: str, call: Call) -> bool:
        """Return whether two names mean the same model, according to the server's list.

        The list is requested in a new call, because the state of `call` belongs to the open
        response.
        """
        entries = self.list_entries(call.limits_left(), call.token)
        return wire_models.same_entry(entries, requested, served)

    def model_info(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> ModelInfo:
        """Return the facts that the model list has about one model.

        Raises:
            ModelNotFoundError: The list has no such model.
        """

        def find(call: Call) -> ModelInfo:
            entries = self.entries(call)
            entry = find_entry(model, entries)
            if entry is None:
                raise not_found(model, available=names_of(entries))
            return entry.info

        return self.run(find, timeout, cancel, model)

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

    def forget_after(self, error: ProviderError) -> None:
        """Forget the generation if the error may come from another server or another version."""
        if isinstance(error, (TransportError, UnsupportedError)):
            self._generation = None

    # --- within another call ----------------------------------------------------------------

    def entries(self, call: Call) -> List[wire_models.Entry]:
        """Request the model list; detect the generation first if it is not known."""
        return self._read_list(call)[1]

    def entries_for(self, verb: str, since: str, call: Call) -> List[wire_models.Entry]:
        """Return the model list, after a check that the server supports an operation.

        If the known generation is too old, it is detected again, because the server may have
        been updated.

        Args:
            verb: Name of the operation, for the error.
            since: First generation that supports it.
            call: Call to which the request belongs.

        Raises:
            UnsupportedError: The server is too old.
            ProviderError: The list could not be read.
        """
        generation, entries = self._read_list(call)
        if not _supports(generation, since):
            generation, entries = self._probe(call)
        if not _supports(generation, since):
            raise UnsupportedError(
                f"{verb} needs LM Studio {_FIRST_VERSIONS[since]} or newer; this server is older",
                hint="update LM Studio, and check that the server at this address is LM Studio",
                provider=self._provider,
            )
        return entries

    def require(self, verb: str, since: str, call: Call) -> None:
        """Check that the server supports an operation.

        This sends a request only if the generation is unknown or too old.

        Raises:
            UnsupportedError: The server is too old.
            ProviderError: The list could not be read.
        """
        if not _supports(self._generation, since):
            self.entries_for(verb, since, call)

    def _read_list(self, call: Call) -> _Found:
        # Read the attribute once: another thread may clear it at any moment.
        generation = self._generation
        if generation is not None:
            try:
                return generation, self._request_list(generation, call)
            except ProviderError as error:
                if not _means_no_route(error):
                    raise
                self._generation = None
        return self._probe(call)

    def _probe(self, call: Call) -> _Found:
        """Detect the generation: request the list of each generation, newest first.

        The first list that exists decides. If LM Studio lacks a list, it does not answer with
        status 404: it answers unknown paths with status 200 and an error
        (docs/reference/lmstudio.md, "Endpoints"). Servers of other kinds have only the oldest list.
        This provider accepts them, but it refuses Ollama: only `OllamaProvider` checks where a
        model runs. So if the server is Ollama, the error of the request for a newer list is raised.
        """
        refusal: Optional[ProviderError] = None
        for generation in _GENERATIONS[:-1]:
            try:
                entries = self._request_list(generation, call)
            except ProviderError as error:
                if not _means_no_route(error):
                    raise
                refusal = error
                continue
            self._generation = generation
            return generation, entries
        entries = self._request_list(_GENERATIONS[-1], call)
        if refusal is not None and wire_models.are_from_ollama(entries, refusal):
            raise refusal
        self._generation = _GENERATIONS[-1]
        return _GENERATIONS[-1], entries

    def _request_list(self, generation: str, call: Call) -> List[wire_models.Entry]:
        transport = self._runner.transport
        if generation == "older":
            data = transport.json("GET", "/v1/models", call=call)
            infos = dialect_models.parse_models(data, self._provider, wire_errors.RULES, call.look)
            return [wire_models.Entry(info, (info.name,)) for info in infos]
        path, parse = {
            "0.4": ("/api/v1/models", wire_models.parse_models),
            "0.3": ("/api/v0/models", wire_models.parse_old_models),
        }[generation]
        data = checked(transport.json("GET", path, call=call), wire_errors.RULES)
        found = parse(data, self._provider, call.look)
        return unexpected("list of models") if found is None else found


def _supports(generation: Optional[str], since: str) -> bool:
    return generation in _GENERATIONS[: _GENERATIONS.index(since) + 1]


def _means_no_route(error: ProviderError) -> bool:
    """Return whether an error means that the server lacks a route.

    LM Studio's error for an unknown path becomes `UnsupportedError`. A proxy in front of the server
    may answer with status 404 or 405.
    """
    return isinstance(error, UnsupportedError) or error.status in (404, 405)


def find_entry(model: str, entries: Sequence[wire_models.Entry]) -> Optional[wire_models.Entry]:
    """Return the entry that has the name of a model; None if the list has no such entry."""
    return next((entry for entry in entries if model in entry.names), None)


def names_of(entries: Sequence[wire_models.Entry]) -> Tuple[str, ...]:
    """Return the keys of the models, in the server's order."""
    return tuple(entry.info.name for entry in entries)


def post(
    runner: CallRunner, path: str, payload: Mapping[str, Any], call: Call, *, loads: bool = False
) -> Mapping[str, Any]:
    """Send JSON to one of LM Studio's own routes, and return the JSON object of its response.

    If `loads` is True, the server may load a model before it responds.

    Raises:
        ProviderError: The response is an error, or is not a JSON object.
    """
    body = encode(payload)
    return checked(
        runner.transport.json("POST", path, call=call, body=body, loads=loads), wire_errors.RULES
    )
