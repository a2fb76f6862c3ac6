"""What every room of LM Studio's stands on: its lists, and which generation has which."""

from __future__ import annotations

import math
import threading
from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

from localproviders._http.deadline import Call, Stop, stopped
from localproviders._http.rejection import Rule, not_found
from localproviders._http.transport import encode
from localproviders._wire import checked, unexpected
from localproviders.errors import LinkError, ProviderError, UnsupportedError
from localproviders.lmstudio import wire
from localproviders.openai_compatible import OpenAICompatibleProvider
from localproviders.openai_compatible import wire as dialect
from localproviders.settings import Settings
from localproviders.telemetry import SILENT, Span
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Timeout
from localproviders.types.model import ModelCapabilities, ModelInfo
from localproviders.types.request import CompletionRequest, EmbeddingRequest

T = TypeVar("T")

#: The generations, newest first, and the version that each began with (lmstudio-api §5.2).
_SINCE: Mapping[str, str] = {"0.4": "0.4.0", "0.3": "0.3.6", "older": ""}
_GENERATIONS = tuple(_SINCE)

#: A generation, and its list.
_Found = Tuple[str, List[wire.Entry]]


class Listings(OpenAICompatibleProvider):
    """The lists of an LM Studio server, of whatever generation."""

    _rules: Tuple[Rule, ...] = wire.RULES

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings=settings)
        # Forgotten at the first sign that another server may answer now.
        self._generation: Optional[str] = None

    # --- what to call -----------------------------------------------------------------------

    def generation(self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None) -> str:
        """Say which generation of LM Studio answers (lmstudio-api §5.2).

        ``0.4`` is 0.4.0 and newer, which can do all that this class offers; ``0.3`` is
        0.3.6 and newer, which lists its models and cannot change them; ``older`` has
        OpenAI's list only, as has another kind of server. There is no route for a
        version: it is told by the lists that answer, asked once and remembered until the
        connection breaks or a route is missing.

        Raises:
            ProviderError: As for `list_models`.
        """
        return self._generation or self._look(self._probe, timeout, cancel)[0]

    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """List the models on disk; before 0.4, with JIT loading off, only the loaded ones.

        A server before 0.3.6 tells their names only: what they can do is inferred
        (lmstudio-api §5.2).

        Raises:
            UnreachableError: No server answers.
            ProviderError: The server refused, or gave no list.
        """
        return [entry.info for entry in self._look(self._entries, timeout, cancel)]

    def supports_model(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Say whether the server has this model, under its key, a variant, or as loaded.

        Raises:
            ProviderError: As for `list_models`; a server that is down raises.
        """
        return find_entry(model, self._look(self._entries, timeout, cancel)) is not None

    def model_info(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Say what LM Studio's own list tells about one model (lmstudio-api §5.1).

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: As for `list_models`.
        """

        def find(call: Call) -> ModelInfo:
            entries = self._entries(call)
            entry = find_entry(model, entries)
            if entry is None:
                raise not_found(model, available=names_of(entries))
            return entry.info

        return self._look(find, timeout, cancel, model)

    # --- the lists --------------------------------------------------------------------------

    def _entries(self, call: Call) -> List[wire.Entry]:
        """Ask for the list of the generation that answered last, else find out which does."""
        return self._newest(call)[1]

    def _newest(self, call: Call) -> _Found:
        # Read once: another thread may forget it at any moment.
        generation = self._generation
        if generation is not None:
            try:
                return generation, self._list(generation, call)
            except ProviderError as error:
                if not _lacks(error):
                    raise
                self._generation = None
        return self._probe(call)

    def _probe(self, call: Call) -> _Found:
        """Ask for the lists, newest first; what is missing answers 200 (§1, fact 1)."""
        for generation in _GENERATIONS[:-1]:
            try:
                entries = self._list(generation, call)
            except ProviderError as error:
                if not _lacks(error):
                    raise
                continue
            self._generation = generation
            return generation, entries
        entries = self._list(_GENERATIONS[-1], call)
        self._generation = _GENERATIONS[-1]
        return _GENERATIONS[-1], entries

    def _capabilities_of(self, model: str, call: Call) -> ModelCapabilities:
        entry = find_entry(model, self._entries(call))
        return ModelCapabilities() if entry is None else entry.info.capabilities

    def _list(self, generation: str, call: Call) -> List[wire.Entry]:
        if generation == "older":
            data = self._transport.json("GET", self._path("/models"), call=call)
            infos = dialect.parse_models(data, self.name, self._rules)
            return [wire.Entry(info, (info.name,)) for info in infos]
        path, parse = {
            "0.4": ("/api/v1/models", wire.parse_models),
            "0.3": ("/api/v0/models", wire.parse_old_models),
        }[generation]
        data = checked(self._transport.json("GET", path, call=call), self._rules)
        found = parse(data, self.name)
        return unexpected("list of models") if found is None else found

    def _entries_with(self, verb: str, since: str, call: Call) -> List[wire.Entry]:
        """Give the list of a server that has a verb; one that was too old may be updated.

        Raises:
            UnsupportedError: The server is too old.
        """
        generation, entries = self._newest(call)
        if not _has(generation, since):
            generation, entries = self._probe(call)
        if not _has(generation, since):
            raise UnsupportedError(
                f"{verb} needs LM Studio {_SINCE[since]} or newer; this server is older",
                hint="update LM Studio; or does another kind of server answer here?",
                provider=self.name,
            )
        return entries

    def _need(self, verb: str, since: str, call: Call) -> None:
        """Make sure that the server has a verb, where no list is wanted."""
        if not _has(self._generation, since):
            self._entries_with(verb, since, call)

    # --- the road of a question -------------------------------------------------------------

    def _path(self, path: str) -> str:
        return "/v1" + path

    def _look(
        self,
        work: Callable[[Call], T],
        timeout: Timeout,
        cancel: Optional[CancelToken],
        model: Optional[str] = None,
    ) -> T:
        """Ask the server about itself, or about a model, with the limits of a listing."""
        return self._run(self._call(timeout, cancel, total_s=LISTING_TOTAL_S), work, model)

    def _run(
        self,
        call: Call,
        work: Callable[[Call], T],
        model: Optional[str] = None,
        span: Span = SILENT,
    ) -> T:
        """Let one verb ask all its questions on one call, which ends with them."""
        try:
            done = work(call)
        except ProviderError as error:
            error.add_context(model=model)
            span.failed(error)
            raise self._noted(self._transport.locate(error)) from error.__cause__
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            call.over()
        span.finished()
        return done

    def _wait(self, call: Call, event: threading.Event, seconds: float = math.inf) -> None:
        """Wait between two questions, for an event or for so long.

        Raises:
            CancelledError: The call was cancelled meanwhile.
            LimitError: The total ran out.
        """
        try:
            call.alone()
            call.wait_for(event, seconds)
        except Stop as stop:
            raise stopped(stop, call) from None

    def _post(
        self, path: str, payload: Mapping[str, Any], call: Call, loads: bool = False
    ) -> Mapping[str, Any]:
        return checked(
            self._transport.json("POST", path, call=call, body=encode(payload), loads=loads),
            self._rules,
        )

    def _noted(self, error: ProviderError) -> ProviderError:
        """Forget the generation where an error may come from another server than before."""
        if isinstance(error, (LinkError, UnsupportedError)):
            self._generation = None
        return error

    def _failed(
        self,
        error: ProviderError,
        request: Union[CompletionRequest, EmbeddingRequest],
        model: str,
        span: Span,
    ) -> ProviderError:
        return self._noted(super()._failed(error, request, model, span))


def _has(generation: Optional[str], since: str) -> bool:
    return generation in _GENERATIONS[: _GENERATIONS.index(since) + 1]


def _lacks(error: ProviderError) -> bool:
    """Whether a route is missing; a proxy in front may say so in its own words."""
    return isinstance(error, UnsupportedError) or error.status in (404, 405)


def find_entry(model: str, entries: Sequence[wire.Entry]) -> Optional[wire.Entry]:
    """Give the entry of a model, by any of its names."""
    return next((entry for entry in entries if model in entry.names), None)


def names_of(entries: Sequence[wire.Entry]) -> Tuple[str, ...]:
    """Give the keys of the models, in the server's order."""
    return tuple(entry.info.name for entry in entries)
