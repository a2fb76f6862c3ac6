"""Models in LM Studio's memory: which there are, bringing them there and away."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from datetime import datetime, timezone
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders._http.deadline import Call
from localproviders.errors import (
    ContextOverflowError,
    ModelLoadError,
    ModelNotFoundError,
    ProviderError,
    ServerError,
    UnsupportedError,
)
from localproviders.lmstudio import wire
from localproviders.lmstudio.listings import Listings, find_entry, names_of
from localproviders.settings import Settings
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.model import LoadedModel
from localproviders.types.progress import OnProgress, Progress

_LOADED_AGAIN = "the model had left memory, and was loaded again as it had been"
_CAME_BACK = "the model had left memory, and was back as it had been"


class _Wish(NamedTuple):
    """What `load` was asked for, in the server's names, and what came of it."""

    model: str
    asked: Mapping[str, Any]
    loaded: LoadedModel


class Lifecycle(Listings):
    """Loading and unloading, in the generation that can (lmstudio-api §2.12)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        #: By every name that leads there: what this provider has loaded, and how.
        self._wishes: Dict[str, _Wish] = {}
        #: Who waits for which model that is being loaded now, by process.
        self._loading: Dict[Tuple[int, str], List[threading.Event]] = {}

    # --- what to call -----------------------------------------------------------------------

    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """List the models in the server's memory; several copies of one are several.

        `expires_at` is ours: the seconds that the server says are left, from now. Only 0.4
        tells them, for models that a request has loaded; 0.3 tells the windows.

        Raises:
            UnsupportedError: The server is older than 0.3.6.
            ProviderError: As for `list_models`.
        """

        def read(call: Call) -> List[LoadedModel]:
            entries = self._entries_with("loaded_models", "0.3", call)
            return [model for entry in entries for model in _in_memory(entry)]

        return self._look(read, timeout, cancel)

    def load(
        self,
        model: str,
        *,
        context_length: Optional[int] = None,
        keep_alive: Optional[float] = None,
        on_progress: Optional[OnProgress] = None,
        eval_batch_size: Optional[int] = None,
        flash_attention: Optional[bool] = None,
        num_experts: Optional[int] = None,
        offload_kv_cache_to_gpu: Optional[bool] = None,
        parallel: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> LoadedModel:
        """Bring a model into memory, and wait until it is there (0.4.0 and newer).

        Asks first what is loaded. A copy that is as asked for is left as it is. One that
        is not is unloaded first: loading again would add a second copy beside it, under
        another name. Calls of one provider for one model wait for each other. Which variant
        a copy is of, the server does not tell: `warnings` says so where one was named and
        this provider has not loaded it.

        A model that was loaded so stays until it is unloaded. If it leaves all the same, by
        another hand or with the server, the next call of this provider that the server
        refuses for that reason loads it again in the same way, once, and says so in its
        `warnings`.

        Args:
            model: Key or variant, or the name of a copy in memory.
            context_length: Window to allocate, in tokens; None takes what is loaded, or the
                model's saved setting, which is often 4096. MLX models can ignore it: the
                server is asked what it gave, and a difference is in `warnings`.
            keep_alive: This route knows no time to live. Infinity also loads anew a copy
                that a request has loaded and that would expire; None leaves it as it is.
            on_progress: Told once, when the server says that the model is loaded: it does
                not report how far it is. `stateful_stream` tells that.
            eval_batch_size: Tokens of a prompt read at once (llama.cpp).
            flash_attention: Whether to use it (llama.cpp).
            num_experts: Active experts of a mixture (llama.cpp).
            offload_kv_cache_to_gpu: Whether the cache lies on the graphics card (llama.cpp).
            parallel: Requests at a time; undocumented, but taken and given back
                (lmstudio-api §2.12).
            timeout: See the class; loading may take `load_s` and `first_token_s` together.
            cancel: See the class. Whether the server then goes on loading is not documented.

        Raises:
            ModelNotFoundError: The server has no such model; `available` names those it has.
            ModelLoadError: It could not be loaded.
            UnsupportedError: The server is too old, or a time to live was asked for.
            ConfigurationError: A value is impossible.
            LimitError: A limit ran out.
            ProviderError: As for `list_models`.
        """
        asked = wire.configuration(
            context_length=context_length,
            eval_batch_size=eval_batch_size,
            flash_attention=flash_attention,
            num_experts=num_experts,
            offload_kv_cache_to_gpu=offload_kv_cache_to_gpu,
            parallel=parallel,
        )
        if keep_alive not in (None, math.inf):
            raise UnsupportedError(
                f"{self.name} cannot take keep_alive={keep_alive!r} for load: what is loaded so "
                "stays until it is unloaded",
                hint="pass keep_alive to a chat of a model that is not loaded: it loads the "
                "model with a time to live; or use resident() or unload()",
                provider=self.name,
            )
        call = self._call(timeout, cancel)
        span = self._span("load", model, call)
        lasting = keep_alive is not None
        return self._run(
            call, lambda call: self._load(model, asked, lasting, on_progress, call), model, span
        )

    def unload(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Take a model out of memory; nothing happens if it is not there (0.4.0 and newer).

        Args:
            model: Key or variant, for every copy of the model, or the name of one copy.
            timeout: See the class; its total is 30 s unless it says otherwise.
            cancel: See the class.

        Raises:
            UnsupportedError: The server is too old.
            ProviderError: As for `list_models`.
        """

        def work(call: Call) -> None:
            self._forget(model)
            entries = self._entries_with("unload", "0.4", call)
            for copy in _copies(model, entries):
                self._unload_copy(copy, call)

        self._look(work, timeout, cancel, model)

    # --- loading ----------------------------------------------------------------------------

    def _load(
        self,
        model: str,
        asked: Mapping[str, Any],
        lasting: bool,
        on_progress: Optional[OnProgress],
        call: Call,
    ) -> LoadedModel:
        with self._alone(model, call):
            entries = self._entries_with("load", "0.4", call)
            entry = find_entry(model, entries)
            if entry is None or entry.info.name == model:
                return self._load_alone(model, entries, asked, lasting, on_progress, call)
            # Another thread may be loading it under its key.
            with self._alone(entry.info.name, call):
                entries = self._entries(call)
                return self._load_alone(model, entries, asked, lasting, on_progress, call)

    def _load_alone(
        self,
        model: str,
        entries: Sequence[wire.Entry],
        asked: Mapping[str, Any],
        lasting: bool,
        on_progress: Optional[OnProgress],
        call: Call,
    ) -> LoadedModel:
        copies, wanted = _copies(model, entries), _loadable(model, entries)
        for copy in copies:
            if self._fits(copy, wanted, asked, lasting):
                loaded = self._as_it_is(copy, wanted, asked)
                self._remember(model, _Wish(wanted, asked, loaded))
                return loaded
        for copy in copies:
            self._unload_copy(copy, call)
        loaded = self._load_now(wanted, asked, entries, call)
        self._remember(model, _Wish(wanted, asked, loaded))
        if on_progress is not None:
            on_progress(Progress(status="loaded", raw=loaded.raw))
        return loaded

    def _load_now(
        self, wanted: str, asked: Mapping[str, Any], entries: Sequence[wire.Entry], call: Call
    ) -> LoadedModel:
        entry = find_entry(wanted, entries)
        name = wanted if entry is None else entry.info.name
        payload = wire.load_payload(wanted, asked)
        try:
            data = self._post(wire.LOAD_PATH, payload, call, loads=True)
        except ModelNotFoundError as error:
            error.available = error.available or names_of(entries)
            raise
        except ServerError as error:
            if type(error) is not ServerError:
                raise
            raise ModelLoadError(
                error.message, status=error.status, server_message=error.server_message
            ) from None
        return wire.parse_loaded(data, name, self.name, asked)

    def _fits(
        self, copy: LoadedModel, wanted: str, asked: Mapping[str, Any], lasting: bool
    ) -> bool:
        """Whether a copy is as asked for; or as it became when the same was asked before."""
        if lasting and copy.expires_at is not None:
            return False
        wish = self._wishes.get(copy.instance or "")
        if wish is not None and wish.loaded.context_length == copy.context_length:
            if wanted != copy.name and wish.model not in (wanted, copy.name):
                return False  # both are variants, and not the same
            if wish.asked == asked:
                return True
        return wire.fits(copy, asked)

    def _as_it_is(self, copy: LoadedModel, wanted: str, asked: Mapping[str, Any]) -> LoadedModel:
        warnings = wire.differences(copy, asked)
        wish = self._wishes.get(copy.instance or "")
        unknown = f"the server does not say whether what is in memory is {wanted}"
        ours = wish is not None and wish.model == wanted and unknown not in wish.loaded.warnings
        if wanted != copy.name and not ours:
            warnings = (*warnings, unknown)
        return copy.replace(load_s=0.0, warnings=warnings)

    def _unload_copy(self, copy: LoadedModel, call: Call) -> None:
        payload = wire.unload_payload(copy.instance or copy.name)
        # It can have left meanwhile, which is what was wanted.
        with contextlib.suppress(ModelNotFoundError):
            wire.check_unloaded(self._post(wire.UNLOAD_PATH, payload, call))

    @contextlib.contextmanager
    def _alone(self, model: str, call: Call) -> Iterator[None]:
        """Let one thread at a time load a model: two at once would make two copies (§1.5).

        No lock: a thread that a forked child does not have could hold it.
        """
        key: Tuple[int, str] = (os.getpid(), model)
        waiters: List[threading.Event] = []
        try:
            others = self._loading.setdefault(key, waiters)
            while others is not waiters:
                woken = threading.Event()
                others.append(woken)
                if self._loading.get(key) is others:  # else its owner may not have seen us
                    self._wait(call, woken)
                others = self._loading.setdefault(key, waiters)
            yield
        finally:
            # An interruption can come anywhere: whose turn it is, the table says.
            if self._loading.get(key) is waiters:
                self._loading.pop(key, None)
            for event in waiters:
                event.set()

    def _window(self, model: str, call: Call) -> Optional[int]:
        try:
            entries = self._look(self._entries, call.limits_left(), call.token)
        except UnsupportedError:
            return None
        windows = [copy.context_length or 0 for copy in _copies(model, entries)]
        return max(windows, default=0) or None  # whichever copy answered, it had no more

    # --- a model that has left --------------------------------------------------------------

    def _remember(self, model: str, wish: _Wish) -> None:
        self._windows.forget()
        for name in {model, wish.loaded.name, wish.loaded.instance or model}:
            self._wishes[name] = wish

    def _forget(self, model: str) -> None:
        self._windows.forget()
        gone = self._wishes.get(model)
        for name, wish in list(self._wishes.items()):
            if wish is gone:
                self._wishes.pop(name, None)

    def _revive(self, error: ProviderError, model: str, call: Call) -> Optional[str]:
        wish = self._wishes.get(model)
        if wish is None or not _has_left(error, wish.loaded):
            return None
        if call.on_retry is not None:
            call.on_retry(error, 1, 0.0)
        told: List[Progress] = []
        self._load(wish.model, wish.asked, False, told.append, call)
        if told:
            return _LOADED_AGAIN
        # It is there. Then a prompt that did not fit is too long.
        return None if isinstance(error, ContextOverflowError) else _CAME_BACK


def _has_left(error: ProviderError, loaded: LoadedModel) -> bool:
    """Whether an error says that a loaded model has left, or has come back smaller.

    A server that loads at each request brings it back with its usual window.
    """
    if isinstance(error, ContextOverflowError):
        window, was = error.context_length, loaded.context_length
        return window is not None and was is not None and window < was
    return wire.left_memory(error)


def _in_memory(entry: wire.Entry) -> List[LoadedModel]:
    return wire.loaded_models(entry.info, datetime.now(timezone.utc))


def _loadable(model: str, entries: Sequence[wire.Entry]) -> str:
    """Give what the server would load: a key or a variant, and not the name of a copy."""
    entry = find_entry(model, entries)
    if entry is None or all(copy.instance != model for copy in _in_memory(entry)):
        return model
    return entry.info.name


def _copies(model: str, entries: Sequence[wire.Entry]) -> List[LoadedModel]:
    """Give the copies that a name means: every one of a model, or the one of that name."""
    entry = find_entry(model, entries)
    if entry is None:
        return []
    copies = _in_memory(entry)
    return [copy for copy in copies if copy.instance == model != copy.name] or copies
