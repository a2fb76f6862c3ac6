"""The memory of an LM Studio server: listing, loading, unloading and reloading models."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from datetime import datetime, timezone
from typing import (
    Any,
    ContextManager,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from localproviders._dialect.missing_models import not_found
from localproviders._http.deadline import Call
from localproviders._http_provider.call_runner import CallRunner
from localproviders._http_provider.cold_loads import ColdLoads
from localproviders._http_provider.free_memory import MemoryCheck, check_argument
from localproviders._http_provider.model_checks import ContextWindowCheck
from localproviders._keep_loaded import Block, OnFound, State, taking_turns
from localproviders.errors import (
    ContextOverflowError,
    ModelLoadError,
    ModelNotFoundError,
    ProviderError,
    ServerError,
    UnsupportedError,
)
from localproviders.lmstudio.catalog import Catalog, find_entry, names_of, post
from localproviders.lmstudio.wire import models as wire_models
from localproviders.lmstudio.wire.errors import NOT_IN_MEMORY, left_memory
from localproviders.lmstudio.wire.models import (
    LOAD_PATH,
    UNLOAD_PATH,
    Entry,
    check_unloaded,
    configuration,
    configuration_of,
    describe_differences,
    load_payload,
    matches,
    parse_loaded,
    unload_payload,
    weights_of,
)
from localproviders.types.inputs import keep_alive_seconds
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout
from localproviders.types.models import LoadedModel, OnProgress, Progress

_RELOADED = "the model had left memory; it was loaded again with the same configuration"
_WAS_LOADED_AGAIN = (
    "the model had left memory; it was already loaded again with the same configuration"
)


class _LoadRecord(NamedTuple):
    """One load by this provider: the request and its result.

    Attributes:
        model: Name that was sent to the server.
        requested: Requested configuration, under the server's names.
        loaded: The loaded model.
    """

    model: str
    requested: Mapping[str, Any]
    loaded: LoadedModel


class Memory:
    """The calls that list, load and unload models, and a record of each load.

    Loading and unloading need generation 0.4 (docs/reference/lmstudio.md, "Model management").
    If a model has left memory, its record is used to load it again with the same configuration.

    Args:
        runner: Runner of the calls.
        catalog: Catalog of the server's models.
        windows: The provider's cached context windows, cleared when a model is loaded or unloaded.
        cold_loads: The provider's facts about the models in memory.
    """

    def __init__(
        self,
        runner: CallRunner,
        catalog: Catalog,
        windows: ContextWindowCheck,
        cold_loads: ColdLoads,
    ) -> None:
        self._runner = runner
        self._catalog = catalog
        self._windows = windows
        self._cold_loads = cold_loads
        self._provider = runner.settings.name
        #: The last load of each model, under the requested name, the model key and the copy's name.
        self._records: Dict[str, _LoadRecord] = {}
        #: For each model that is being loaded now: the `threading.Event` of each thread that waits
        #: for the load. Each dictionary key contains the process id, because a forked child
        #: inherits the entries, but not the threads that would remove them.
        self._loading: Dict[Tuple[int, str], List[threading.Event]] = {}

    def loaded_models(self, timeout: Timeout, cancel: Optional[CancelToken]) -> List[LoadedModel]:
        """Return the models in memory."""

        def read(call: Call) -> List[LoadedModel]:
            entries = self._catalog.entries_for("loaded_models", "0.3", call)
            return [model for entry in entries for model in _copies_in_memory(entry)]

        return self._catalog.run(read, timeout, cancel)

    def load(
        self,
        model: str,
        requested: Mapping[str, Any],
        keep_alive: Union[float, str, None],
        check_memory: Optional[bool],
        on_progress: Optional[OnProgress],
        timeout: Timeout,
        cancel: Optional[CancelToken],
        on_found: OnFound = lambda _: None,
    ) -> LoadedModel:
        """Load a model with the requested configuration, and wait until it is in memory.

        `on_found` is called with the copy in memory before the load, or None.
        """
        check_argument(check_memory)
        keep_alive = keep_alive_seconds(keep_alive)
        if keep_alive not in (None, math.inf):
            raise UnsupportedError(
                f"{self._provider} does not support keep_alive={keep_alive!r} for load(): a "
                "model that load() has loaded stays in memory until it is unloaded",
                hint="pass keep_alive to a chat instead, which loads the model with an idle "
                "limit; or use keep_loaded() or unload()",
                provider=self._provider,
            )
        without_expiry = keep_alive is not None
        return self._runner.run(
            lambda call: self._load(
                model, requested, without_expiry, on_progress, call, on_found, check_memory
            ),
            operation="load",
            model=model,
            timeout=timeout,
            cancel=cancel,
        )

    def unload(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> None:
        """Unload every copy of a model; if `model` is the name of a copy, unload only this copy."""

        def work(call: Call) -> None:
            self._forget(model)
            entries = self._catalog.entries_for("unload", "0.4", call)
            if find_entry(model, entries) is None:
                raise not_found(model, available=names_of(entries), hint=NOT_IN_MEMORY)
            for copy in _copies(model, entries):
                self._unload_copy(copy, call)

        self._runner.run(
            work,
            operation="unload",
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=LISTING_TOTAL_S,
        )

    # --- blocks of `keep_loaded` --------------------------------------------------------------

    def block_key(self, model: str) -> str:
        """Return the text that identifies the blocks of a model: the name of the model."""
        return model

    def load_for_block(self, block: Block, model: str, options: Mapping[str, Any]) -> LoadedModel:
        """Load a model for a `keep_loaded` block, and tell the block the copy that it found."""
        seen: List[Optional[LoadedModel]] = []

        def on_found(found: Optional[LoadedModel]) -> None:
            seen.append(found)
            block.group.saw(None if found is None else State(found))

        requested = configuration(context_length=options["context_length"])
        loaded = self.load(
            model,
            requested,
            options["keep_alive"],
            options["check_memory"],
            options["on_progress"],
            options["timeout"],
            options["cancel"],
            on_found,
        )
        block.loaded = State(loaded, facts=requested)
        # If `keep_alive` is infinity, `load` replaces a copy that has an idle limit.
        block.has_own_timer = any(found and found.expires_at != loaded.expires_at for found in seen)
        return loaded

    def restore(self, block: Block, model: str, state: State, timeout: Timeout) -> None:
        """Load a copy with the earlier configuration.

        `load` cannot set an idle limit. A copy that had an idle limit is only unloaded: when a
        request needs the model, the server loads it again with such a limit.
        """
        if state.loaded.expires_at is not None:
            self.unload(model, timeout, None)
        else:
            window = {"context_length": state.loaded.context_length}
            requested = {**configuration_of(state.loaded), **(state.facts or {}), **window}
            self.load(model, requested, None, False, None, timeout, None)

    def window(self, model: str, call: Call) -> Optional[int]:
        """Return the largest context window of a model's copies; None if none is known."""
        try:
            entries = self._catalog.list_entries(call.listing_limits(), call.token)
        except UnsupportedError:
            return None
        windows = [copy.context_length or 0 for copy in _copies(model, entries)]
        # Any copy may answer, so only the largest window is a safe upper limit.
        return max(windows, default=0) or None

    def revive(self, error: ProviderError, model: str, call: Call) -> Optional[str]:
        """Load a model again if this provider loaded it and the error means that it left memory.

        Return a warning if the failed request should be sent again, otherwise None.
        """
        record = self._records.get(model)
        if record is None or not _was_evicted(error, record.loaded):
            return None
        if call.on_retry is not None:
            call.on_retry(error, 1, 0.0)
        reports: List[Progress] = []
        self._load(record.model, record.requested, False, reports.append, call)
        if reports:
            return _RELOADED
        # The model is already loaded with the right window. So an overflow means that the prompt
        # is too long for this window, and the request would fail again.
        return None if isinstance(error, ContextOverflowError) else _WAS_LOADED_AGAIN

    # --- loading ----------------------------------------------------------------------------

    def _load(
        self,
        model: str,
        requested: Mapping[str, Any],
        without_expiry: bool,
        on_progress: Optional[OnProgress],
        call: Call,
        on_found: OnFound = lambda _: None,
        check_memory: Optional[bool] = False,
    ) -> LoadedModel:
        facts = requested, without_expiry, on_progress, call, on_found, check_memory
        with self._hold_exclusively(model, call):
            entries = self._catalog.entries_for("load", "0.4", call)
            entry = find_entry(model, entries)
            if entry is None or entry.info.name == model:
                return self._load_exclusively(model, entries, *facts)
            # `model` is not the model's key, and another thread may be loading the model under
            # its key. Wait for that load, too, and read the list again: it may have changed.
            with self._hold_exclusively(entry.info.name, call):
                entries = self._catalog.entries(call)
                return self._load_exclusively(model, entries, *facts)

    def _load_exclusively(
        self,
        model: str,
        entries: Sequence[Entry],
        requested: Mapping[str, Any],
        without_expiry: bool,
        on_progress: Optional[OnProgress],
        call: Call,
        on_found: OnFound,
        check_memory: Optional[bool],
    ) -> LoadedModel:
        copies, name = _copies(model, entries), _name_to_load(model, entries)
        usable = [c for c in copies if self._is_usable(c, name, requested, without_expiry)]
        on_found(next(iter(usable or copies), None))
        if usable:
            loaded = self._with_warnings(usable[0], name, requested)
            self._remember(model, _LoadRecord(name, requested, loaded))
            return loaded
        entry, endpoint = find_entry(name, entries), self._runner.settings.endpoint
        needed = None if entry is None else entry.info.size_bytes
        memory = MemoryCheck(check_memory, endpoint, is_needed=not copies)
        memory.before(lambda: needed)
        for copy in copies:
            self._unload_copy(copy, call)
        loaded = self._request_load(name, requested, entries, call)
        loaded = loaded.replace(warnings=(*memory.after(needed), *loaded.warnings))
        self._remember(model, _LoadRecord(name, requested, loaded))
        if on_progress is not None:
            on_progress(Progress(status="loaded", raw=loaded.raw))
        return loaded

    def _request_load(
        self, name: str, requested: Mapping[str, Any], entries: Sequence[Entry], call: Call
    ) -> LoadedModel:
        entry = find_entry(name, entries)
        key = name if entry is None else entry.info.name
        payload = load_payload(name, requested)
        try:
            data = post(self._runner, LOAD_PATH, payload, call, loads=True)
        except ModelNotFoundError as error:
            error.available = error.available or names_of(entries)
            raise
        except ServerError as error:
            if type(error) is not ServerError:
                raise
            raise ModelLoadError(
                error.message, status=error.status, server_message=error.server_message
            ) from None
        loaded = parse_loaded(data, key, self._provider, requested)
        return loaded if entry is None else loaded.replace(**weights_of(entry.info))

    def _is_usable(
        self, copy: LoadedModel, name: str, requested: Mapping[str, Any], without_expiry: bool
    ) -> bool:
        """Return whether a loaded copy can be used without another load.

        This is so if its configuration is the requested one, or if it is the result of an earlier
        load with the same request: an engine that ignored a value will ignore it again.
        """
        if without_expiry and copy.expires_at is not None:
            return False
        record = self._records.get(copy.instance or "")
        if record is not None and record.loaded.context_length == copy.context_length:
            if name != copy.name and record.model not in (name, copy.name):
                return False  # the copy is another variant of the model
            if record.requested == requested:
                return True
        return matches(copy, requested)

    def _with_warnings(
        self, copy: LoadedModel, name: str, requested: Mapping[str, Any]
    ) -> LoadedModel:
        """Return a loaded copy that is used without another load, with warnings.

        The warnings name the requested values that the copy does not use or report. Another warning
        is added if the server does not report which variant of the model the copy is.
        """
        warnings = describe_differences(copy, requested)
        record = self._records.get(copy.instance or "")
        unknown = f"the server does not report whether the loaded copy is the variant {name}"
        is_ours = (
            record is not None and record.model == name and unknown not in record.loaded.warnings
        )
        if name != copy.name and not is_ours:
            warnings = (*warnings, unknown)
        return copy.replace(load_s=0.0, warnings=warnings)

    def _unload_copy(self, copy: LoadedModel, call: Call) -> None:
        payload = unload_payload(copy.instance or copy.name)
        # The copy may have left memory in the meantime. Then there is nothing to unload.
        with contextlib.suppress(ModelNotFoundError):
            check_unloaded(post(self._runner, UNLOAD_PATH, payload, call))

    def _hold_exclusively(self, model: str, call: Call) -> ContextManager[None]:
        """Let one thread at a time load a model.

        Two loads at the same time would make two copies
        (docs/reference/lmstudio.md, "Loading models").
        """
        return taking_turns(self._loading, (os.getpid(), model), call)

    # --- records of loads -------------------------------------------------------------------

    def _remember(self, model: str, record: _LoadRecord) -> None:
        self._windows.forget()
        self._cold_loads.forget()
        for name in {model, record.loaded.name, record.loaded.instance or model}:
            self._records[name] = record
            self._cold_loads.loaded(name, record.loaded)

    def _forget(self, model: str) -> None:
        self._windows.forget()
        self._cold_loads.forget()
        unloaded = self._records.get(model)
        for name, record in list(self._records.items()):
            if record is unloaded:
                self._records.pop(name, None)


def _was_evicted(error: ProviderError, loaded: LoadedModel) -> bool:
    """Return whether an error means that a loaded model has left memory.

    A context window that has become smaller is a sign of this, too: with just-in-time loading, the
    request itself loads the model again, but with the window that is saved for the model.
    """
    if isinstance(error, ContextOverflowError):
        window, window_before = error.context_length, loaded.context_length
        return window is not None and window_before is not None and window < window_before
    return left_memory(error)


def _copies_in_memory(entry: Entry) -> List[LoadedModel]:
    return wire_models.loaded_models(entry.info, datetime.now(timezone.utc))


def _name_to_load(model: str, entries: Sequence[Entry]) -> str:
    """Return the name for a load request: a key or a variant, never the name of a copy."""
    entry = find_entry(model, entries)
    if entry is None or all(copy.instance != model for copy in _copies_in_memory(entry)):
        return model
    return entry.info.name


def _copies(model: str, entries: Sequence[Entry]) -> List[LoadedModel]:
    """Return all copies of a model in memory; if `model` names one copy, return only this copy."""
    entry = find_entry(model, entries)
    if entry is None:
        return []
    copies = _copies_in_memory(entry)
    return [copy for copy in copies if copy.instance == model != copy.name] or copies
