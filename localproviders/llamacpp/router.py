"""A llama.cpp server with several models: loading, unloading, downloading and deleting them.

Such a server, a router, starts a process for each model that is in memory. It answers most of these
requests before the work is done (docs/reference/llamacpp.md, "Router").
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Iterator, List, Optional, Union

from localproviders._dialect.missing_models import not_found
from localproviders._http.deadline import WORKING, Call, sleep
from localproviders._http.framing import SSEDecoder, parse_json
from localproviders._http.transport import encode
from localproviders._http_provider.call_runner import CallRunner
from localproviders._http_provider.cold_loads import ColdLoads
from localproviders._http_provider.free_memory import check_argument
from localproviders._http_provider.model_checks import ContextWindowCheck
from localproviders._http_provider.polling import (
    PollingCall,
    StallDetector,
    ask_again,
    growing_waits,
)
from localproviders.errors import (
    LimitError,
    ModelLoadError,
    ProviderError,
    ServerError,
    StreamInterruptedError,
    UnsupportedError,
)
from localproviders.llamacpp.catalog import Catalog, find_entry
from localproviders.llamacpp.wire import models as wire
from localproviders.llamacpp.wire.errors import NOTHING_TO_DO, RULES
from localproviders.types.inputs import keep_alive_seconds
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout, describe
from localproviders.types.models import LoadedModel, ModelInfo, OnProgress

if TYPE_CHECKING:
    from localproviders._http.response import Answer

#: Seconds between two requests for the state of a model: the first wait, and the longest.
WAITS_S = (0.25, 2.0)
# After a download has begun, it counts as failed if this many lists in a row lack the model.
_MOST_ABSENT = 3

_EVENTS = "text/event-stream"


class Router:
    """The calls that change which models the server has, and which of them are in memory.

    Args:
        runner: Runner of the calls.
        catalog: Catalog of the server's models.
        windows: The provider's cached context windows, cleared when a model is loaded or unloaded.
        cold_loads: The provider's facts about the models in memory. Each load and each unload
            changes these facts.
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

    # --- memory -------------------------------------------------------------------------------

    def load(
        self,
        model: str,
        context_length: Optional[int],
        keep_alive: Union[float, str, None],
        check_memory: Optional[bool],
        on_progress: Optional[OnProgress],
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> LoadedModel:
        """Load a model, and wait until it is in memory."""
        # For a model that is not in memory, the list has no size to compare with the free memory.
        check_argument(check_memory)
        if keep_alive_seconds(keep_alive) not in (None, math.inf):
            raise self._no_option(
                f"keep_alive={keep_alive!r}", "start the server with --sleep-idle-seconds"
            )
        return self._runner.run(
            lambda call: self._load(model, context_length, on_progress, call),
            operation="load",
            model=model,
            timeout=timeout,
            cancel=cancel,
        )

    def _load(
        self, model: str, window: Optional[int], on_progress: Optional[OnProgress], call: Call
    ) -> LoadedModel:
        info = self._catalog.find(model, call)
        is_ready = wire.state_of(info) in (None, wire.LOADED)
        if window is not None and not (is_ready and self._window_of(info, call) == window):
            raise self._no_option(
                f"context_length={window}",
                "set ctx-size when you start the server, or in its preset",
            )
        if is_ready:
            return self._loaded(model, info, 0.0)
        self._forget()
        began = call.clock()
        if on_progress is None:
            self._request("load", wire.LOAD_PATH, info.name, call)
        else:
            self._load_with_reports(info.name, on_progress, call)
        loaded = self._await_load(info.name, began, call)
        return self._loaded(model, loaded, call.clock() - began)

    def _loaded(self, model: str, info: ModelInfo, load_s: float) -> LoadedModel:
        loaded = wire.loaded_model(info, load_s=load_s)
        for name in {model, info.name}:
            self._cold_loads.loaded(name, loaded)
        return loaded

    def _forget(self) -> None:
        """Clear the cached facts about the models in memory, before the memory changes."""
        self._windows.forget()
        self._cold_loads.forget()

    def _window_of(self, info: ModelInfo, call: Call) -> Optional[int]:
        return self._catalog.complete(info, call).capabilities.loaded_context_length

    def _no_option(self, option: str, hint: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self._provider} does not support {option} for load()",
            hint=hint,
            provider=self._provider,
        )

    def _load_with_reports(self, model: str, on_progress: OnProgress, call: Call) -> None:
        """Load a model, and pass on progress reports until an event reports the end of the load.

        The server does not repeat earlier events. So the events are requested before the load.
        """
        answer = self._open_events(call)
        if answer is None:
            self._request("load", wire.LOAD_PATH, model, call)
            return
        try:
            is_new = self._request("load", wire.LOAD_PATH, model, call)
            # If another client has loaded the model in the meantime, no event follows.
            if not is_new and wire.state_of(self._catalog.find(model, call)) == wire.LOADED:
                return
            call.enter(WORKING)
            for event in self._events(answer, call):
                if event.model != model or event.state is None:
                    continue
                began = call.clock()
                on_progress(event.progress)
                call.exclude(call.clock() - began)
                # Stop at the last step of the progress, too: after that, the list shows the state.
                if event.state != "loading" or event.is_last_step:
                    return
        except StreamInterruptedError:
            return  # the list shows how the load ends
        finally:
            answer.close()

    def _open_events(self, call: Call) -> Optional[Answer]:
        """Open the stream of the events; return None if the server has none."""
        try:
            return self._runner.transport.open("GET", wire.EVENTS_PATH, call=call, accept=_EVENTS)
        except UnsupportedError:
            return None

    def _events(self, answer: Answer, call: Call) -> Iterator[wire.Event]:
        settings = self._runner.settings
        decoder = SSEDecoder(settings.max_line_bytes)
        while True:
            piece = answer.read()
            if not piece:
                return
            for record in decoder.feed(piece):
                if record.strip():
                    yield wire.parse_event(
                        parse_json(record, settings.max_json_depth, look=call.look)
                    )

    def _await_load(self, model: str, began: float, call: Call) -> ModelInfo:
        """Ask for the state of a model until it is in memory."""
        was_loading, waits = False, growing_waits(*WAITS_S)
        while True:
            info = self._catalog.find(model, call)
            state = wire.state_of(info)
            if state in (wire.LOADED, wire.SLEEPING):
                return info
            if state == wire.UNLOADED and (was_loading or wire.has_failed(info)):
                raise _load_failure(info)
            was_loading = was_loading or state in wire.RUNNING
            left_s = began + call.limits.load_s - call.clock()
            if left_s <= 0:
                raise LimitError(
                    f"{model!r} was not loaded within {describe(call.limits.load_s)}",
                    hint="raise the limit with timeout=Limits(load_s=...)",
                    limit="load_s",
                    limit_s=call.limits.load_s,
                    elapsed_s=call.elapsed_s,
                )
            sleep(call, min(next(waits), left_s))

    def unload(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> None:
        """Unload a model, and wait until its process has ended."""

        def work(call: Call) -> None:
            info = self._catalog.find(model, call)
            self._catalog.require_router("unload", [info], call)
            self._forget()
            if wire.state_of(info) not in wire.RUNNING:
                return
            self._request("unload", wire.UNLOAD_PATH, info.name, call)
            waits = growing_waits(*WAITS_S)
            while wire.state_of(self._catalog.find(info.name, call)) in wire.RUNNING:
                sleep(call, next(waits))

        self._runner.run(
            work,
            operation="unload",
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=LISTING_TOTAL_S,
        )

    # --- the models on disk -------------------------------------------------------------------

    def pull(
        self,
        model: str,
        on_progress: Optional[OnProgress],
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> ModelInfo:
        """Download a model, and wait until it is complete."""

        def work(call: Call) -> ModelInfo:
            self._catalog.require_router("pull", self._catalog.entries(call), call)
            self._request("pull", wire.MODELS_PATH, model, call)
            return self._follow(model, on_progress, call)

        return self._runner.run(
            work,
            operation="pull",
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=math.inf,
            make=PollingCall,
        )

    def _follow(self, model: str, on_progress: Optional[OnProgress], call: Call) -> ModelInfo:
        """Ask for the state of a download until the list has the model.

        Old servers report even a failed download as finished. So only the list shows whether the
        download succeeded.
        """
        ask, policy = partial(self._catalog.entries, call), self._runner.settings.retry
        stall, absent, waits = StallDetector(call), 0, growing_waits(*WAITS_S)
        while True:
            info, wait_s = _pulled(model, ask_again(ask, policy, call)), next(waits)
            absent = absent + 1 if info is None else 0
            if absent >= _MOST_ABSENT:
                raise ServerError(
                    f"the server could not download {model!r}: its model list does not contain it",
                    hint="check the name, owner/repository:quantization, and the server's log",
                )
            if info is not None:
                job = wire.download_of(info)
                if on_progress is not None:
                    began = call.clock()
                    on_progress(job.progress)
                    stall.exclude(call.clock() - began)
                if job.is_done:
                    return info
                wait_s = min(wait_s, stall.check(job))
            sleep(call, wait_s)

    def delete(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> None:
        """Delete a model from the server's cache."""

        def work(call: Call) -> None:
            info = self._catalog.find(model, call)
            self._catalog.require_router("delete", [info], call)
            path = wire.query(wire.MODELS_PATH, info.name)
            wire.check_success(self._runner.transport.json("DELETE", path, call=call), RULES)

        self._runner.run(
            work,
            operation="delete",
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=LISTING_TOTAL_S,
        )

    def _request(self, verb: str, path: str, model: str, call: Call) -> bool:
        """Send a request about one model; return False if the server has nothing to do."""
        body = encode(wire.model_payload(model))
        try:
            data = self._runner.transport.json("POST", path, call=call, body=body)
        except ProviderError as error:
            if re.search(NOTHING_TO_DO[verb], error.server_message or "", re.IGNORECASE):
                return False
            # For a missing model, some servers send the error text of a missing route.
            if isinstance(error, UnsupportedError) and error.status == 404:
                raise not_found(model) from None
            raise
        wire.check_success(data, RULES)
        return True


def _load_failure(info: ModelInfo) -> ModelLoadError:
    code = wire.exit_code(info)
    ending = "" if code is None else f": its process ended with the exit code {code}"
    return ModelLoadError(
        f"the server could not load {info.name!r}{ending}",
        hint="the server's log has the reason; its memory may be too small",
    )


def _pulled(model: str, entries: List[ModelInfo]) -> Optional[ModelInfo]:
    """Return the entry of a downloaded model. The server may add a quantization to the name."""
    begin = f"{model.lower()}:"
    longer = (info for info in entries if info.name.lower().startswith(begin))
    return find_entry(model, entries) or next(longer, None)
