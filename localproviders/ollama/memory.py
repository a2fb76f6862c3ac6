"""The memory of an Ollama server: listing, loading and unloading models."""

from __future__ import annotations

import contextlib
import itertools
import os
from functools import partial
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Union,
)

from localproviders._did_you_mean import suggest_number
from localproviders._http.deadline import Call, sleep
from localproviders._http.framing import Look
from localproviders._http.transport import encode
from localproviders._http_provider.call_runner import CallRunner
from localproviders._http_provider.cold_loads import ColdLoads
from localproviders._http_provider.free_memory import MemoryCheck, check_argument
from localproviders._http_provider.model_checks import ContextWindowCheck
from localproviders._http_provider.polling import growing_waits
from localproviders._keep_loaded import Block, OnFound, State
from localproviders.errors import (
    CapabilityError,
    ConfigurationError,
    ModelError,
    ModelLoadError,
    ModelNotFoundError,
    ServerError,
    UnsupportedError,
)
from localproviders.ollama.names import (
    ModelName,
    is_cloud,
    listed_name,
    parse_name,
    same_model,
)
from localproviders.ollama.wire.errors import missing_model, refuse_cloud, stays_loaded
from localproviders.ollama.wire.models import (
    allocated_window,
    check_empty_chat,
    check_empty_embed,
    empty_chat_payload,
    empty_embed_payload,
    parse_files,
    parse_loaded,
    parse_models,
    show_payload,
)
from localproviders.ollama.wire.responses import parse_listed, remote_host
from localproviders.types.inputs import keep_alive_seconds, plain_number
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout
from localproviders.types.models import LoadedModel

# The first and the longest wait between two requests that check whether a model is loaded.
_POLL_WAITS_S = (0.05, 1.0)


class _Load:
    """One call of `load` that is running, and what happened to the model in the meantime.

    Attributes:
        window: Requested context window; None means the server's default window.
        sent: The window in the request to the server, while `is_requested` is true.
        is_requested: Whether the request is about to be sent, or was sent and has no response yet.
        others: The windows of other loads of the same model by this provider. A load is included
            only if the server may have answered it after this load. Windows equal to `window` are
            left out.
        was_unloaded: Whether the same provider unloaded the model meanwhile.
    """

    def __init__(self, window: Optional[int]) -> None:
        self.window = window
        self.sent: Optional[int] = None
        self.is_requested = False
        self.others: List[Optional[int]] = []
        self.was_unloaded = False

    def add_other(self, window: Optional[int]) -> None:
        """Remember the window in the request of another load."""
        if window != self.window:
            self.others.append(window)

    def may_be_replaced_by(self, window: int) -> bool:
        """Return whether another load may be the reason that the model has this window.

        If not, the server has reduced the requested window.
        """
        is_reduced = self.window is not None and window < self.window
        return bool(self.others) and (
            not is_reduced or window in self.others or None in self.others
        )


class Memory:
    """The calls that list, load and unload models, and the context windows requested in them.

    Args:
        runner: Runner of the calls.
        windows: The provider's cached context windows, cleared when a model is loaded or unloaded.
        cold_loads: The provider's facts about the models in memory.
        check_locality: Function that raises if prompts must not be sent to a model.
    """

    def __init__(
        self,
        runner: CallRunner,
        windows: ContextWindowCheck,
        cold_loads: ColdLoads,
        check_locality: Callable[[str, Call], None],
    ) -> None:
        self._runner = runner
        self._transport = runner.transport
        self._settings = runner.settings
        self._windows = windows
        self._cold_loads = cold_loads
        self._check_locality = check_locality
        #: Context windows that callers passed to `load`, by model. The number before each window
        #: says which reading of the list of loaded models confirmed it (see `_numbers`). A window
        #: of None means that the caller passed none.
        self._requested_windows: Dict[ModelName, Tuple[int, Optional[int]]] = {}
        #: Counter that numbers the readings of the list of loaded models. `next` is atomic.
        self._numbers = itertools.count(1)
        #: The loads that run now, by process id and model. A forked child inherits the entries
        #: but not the threads that would remove them. With the process id in the key, the child
        #: does not find these entries.
        self._running: Dict[Tuple[int, ModelName], List[_Load]] = {}

    def loaded_models(self, timeout: Timeout, cancel: Optional[CancelToken]) -> List[LoadedModel]:
        """Return the models in memory."""
        return self._runner.ask("GET", "/api/ps", self._parse, timeout=timeout, cancel=cancel)

    def load(
        self,
        model: str,
        context_length: Optional[int],
        keep_alive: Union[float, str, None],
        check_memory: Optional[bool],
        timeout: Timeout,
        cancel: Optional[CancelToken],
        on_found: OnFound = lambda _: None,
    ) -> LoadedModel:
        """Load a model and wait until it is in memory.

        `on_found` is called with the model in memory before the load, or None.
        """
        context_length = plain_number(context_length)
        seconds: Optional[float] = keep_alive_seconds(keep_alive)
        _check_load_arguments(context_length, seconds)
        check_argument(check_memory)
        return self._runner.run(
            lambda call: self._load(model, context_length, seconds, check_memory, on_found, call),
            operation="load",
            model=model,
            timeout=timeout,
            cancel=cancel,
        )

    def unload(self, model: str, timeout: Timeout, cancel: Optional[CancelToken]) -> None:
        """Unload a model and wait until it is no longer listed."""
        self._runner.run(
            lambda call: self._unload(model, call),
            operation="unload",
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=LISTING_TOTAL_S,
        )

    # --- blocks of `keep_loaded` --------------------------------------------------------------

    def block_key(self, model: str) -> str:
        """Return a dictionary key that is the same for all spellings of a model's name."""
        return listed_name(model).lower()

    def load_for_block(self, block: Block, model: str, options: Mapping[str, Any]) -> LoadedModel:
        """Load a model for a `keep_loaded` block.

        Store in the block how the model was loaded before, and how it is loaded now.
        """
        requested, timer = self.requested_window(model), options["keep_alive"]

        def on_found(found: Optional[LoadedModel]) -> None:
            block.group.saw(None if found is None else State(found, facts=requested))

        window, limits = options["context_length"], (options["timeout"], options["cancel"])
        loaded = self.load(model, window, timer, options["check_memory"], *limits, on_found)
        block.loaded = State(loaded, timer, facts=self.requested_window(model))
        block.has_own_timer = timer is not None
        return loaded

    def restore(self, block: Block, model: str, state: State, timeout: Timeout) -> None:
        """Load a model with its earlier window and timer.

        Later requests of the provider contain the window that they contained before the block.
        """
        is_changed = block.has_other_window(state)
        window = state.loaded.context_length if is_changed else None
        self.load(model, window, state.timer, False, timeout, None)
        if is_changed:
            self._set_requested_window(model, state.facts, next(self._numbers))

    def window(self, model: str, call: Call) -> Optional[int]:
        """Return the context window allocated for a model, in tokens; None if it is not loaded."""
        # A new call within the limits of `call`: after a stream, `call` has already ended and no
        # longer listens to its cancel token.
        nested = Call(call.listing_limits(), call.token)
        try:
            found = self._find_in_memory(model, nested)
        finally:
            nested.finish()
        return None if found is None else allocated_window(found.context_length)

    def requested_window(self, model: str) -> Optional[int]:
        """Return the window that the caller passed to `load`; None if there was none.

        Other requests must contain it, too. Otherwise the server reloads the model with its
        default window (docs/reference/ollama.md, "Options").
        """
        windows = self._requested_windows
        return windows.get(_key(model), (0, None))[1] if windows else None

    # --- within another call ----------------------------------------------------------------

    def release(self, model: str, call: Call) -> None:
        """Ask the server to unload a model that will be deleted; do not wait until it is unloaded.

        If the server lists the loaded files under another model's name only, no unload is
        requested: the other model stays loaded.
        """
        self._set_requested_window(model, None, next(self._numbers))
        if _find_by_name(listed_name(model), self._read_loaded(call)) is not None:
            self._request_unload(model, call)

    # --- steps ------------------------------------------------------------------------------

    def _load(
        self,
        model: str,
        window: Optional[int],
        keep_alive: Optional[float],
        check_memory: Optional[bool],
        on_found: OnFound,
        call: Call,
    ) -> LoadedModel:
        self._check_locality(model, call)
        if is_cloud(model):
            raise _cannot_load_cloud(model)
        with self._registered(model, window) as load:
            return self._load_registered(model, load, keep_alive, check_memory, on_found, call)

    @contextlib.contextmanager
    def _registered(self, model: str, window: Optional[int]) -> Iterator[_Load]:
        """Register a load, so that simultaneous loads of the same model find each other.

        A dictionary and lists are used instead of a lock, which would stay locked in the child
        of a fork. Their operations are atomic. Empty lists stay in the dictionary, because another
        thread may be about to add to one.
        """
        load = _Load(window)
        running = self._running.setdefault((os.getpid(), _key(model)), [])
        try:
            running.append(load)
            yield load
        finally:
            with contextlib.suppress(ValueError):  # an interrupt can arrive before `append`
                running.remove(load)

    def _load_registered(
        self,
        model: str,
        load: _Load,
        keep_alive: Optional[float],
        check_memory: Optional[bool],
        on_found: OnFound,
        call: Call,
    ) -> LoadedModel:
        window, number = load.window, next(self._numbers)
        found = self._find_in_memory(model, call)
        has_name = found is not None and same_model(found.name, listed_name(model))
        on_found(found if has_name else None)
        memory = MemoryCheck(check_memory, self._settings.endpoint, is_needed=found is None)
        memory.before(partial(self._size_of, model, call))
        ours = self.requested_window(model) or (found and self.requested_window(found.name))
        # If another program has loaded the model with the same window, the window may slide: when
        # it is full, the server drops the beginning of the text. The server does not report
        # whether a window slides. So a model counts as loaded with the requested window only if
        # this provider has requested the same window before; otherwise a request is sent.
        is_loaded = found is not None and (window is None or window == found.context_length == ours)
        # A request without the allocated window makes the server reload the model with its
        # default window (docs/reference/ollama.md, "Options").
        window_to_send = found.context_length if found is not None and is_loaded else window
        started = call.elapsed_s
        if (
            found is not None
            and is_loaded
            and keep_alive is None
            and not self._is_being_loaded(model, load)
        ):
            loaded = found
        else:
            is_named = window is not None or (is_loaded and ours is not None)
            self._announce(model, load, window_to_send)
            self._request_load(model, window_to_send, keep_alive, is_named, call)
            load.is_requested = False
            number = next(self._numbers)
            loaded = self._find_loaded(model, load, call)
        if window is not None or not is_loaded:
            # Store the window only after success: a failed load must not change it.
            self._set_requested_window(model, window, number)
        self._cold_loads.loaded(model, loaded)
        load_s = 0.0 if is_loaded else call.elapsed_s - started
        warnings = memory.after((loaded.size_bytes or 0) - (loaded.vram_bytes or 0))
        return loaded.replace(load_s=load_s, warnings=(*warnings, *loaded.warnings))

    def _size_of(self, model: str, call: Call) -> Optional[int]:
        try:
            data = self._transport.json("GET", "/api/tags", call=call)
            listed = parse_models(data, self._settings.name, call.look)
        except (ModelError, ServerError):
            return None
        name = listed_name(model)
        return next((info.size_bytes for info in listed if same_model(info.name, name)), None)

    def _announce(self, model: str, load: _Load, window: Optional[int]) -> None:
        """Let a load and the other loads of its model know each other's windows.

        This is called just before the request of the load. A load sets its own `is_requested`
        before it reads this attribute of other loads. So at least one of two simultaneous loads
        sees the other load. The server decides which of their requests comes first, so each load
        remembers the window of the other load.
        """
        load.sent, load.is_requested = window, True
        for other in self._other_loads(model, load):
            other.add_other(window)
            if other.is_requested:
                load.add_other(other.sent)

    def _set_requested_window(self, model: str, window: Optional[int], number: int) -> None:
        """Store a window, unless a later list has already confirmed another one."""
        self._windows.forget()
        self._cold_loads.forget()
        key = _key(model)
        if number > self._requested_windows.get(key, (0, None))[0]:
            self._requested_windows[key] = (number, window)

    def _request_load(
        self,
        model: str,
        window: Optional[int],
        keep_alive: Optional[float],
        fixed_window: bool,
        call: Call,
    ) -> None:
        """Send a chat request without messages, which loads the model.

        For a model that cannot chat, an embedding request without texts does the same.
        ``/api/generate`` is not tried, because it requires the same capability as a chat
        (docs/reference/ollama.md, "Generate" and "Embeddings").
        """
        try:
            payload: Any = empty_chat_payload(model, window, keep_alive, fixed_window=fixed_window)
            data = self._ask_to_load("/api/chat", payload, call)
            answer = check_empty_chat(data, "load")
        except CapabilityError:
            payload = empty_embed_payload(model, window, keep_alive)
            data = self._ask_to_load("/api/embed", payload, call)
            answer = check_empty_embed(data)
        host = remote_host(answer)
        if host is not None:
            raise self._explain_cloud(model, host)

    def _ask_to_load(self, path: str, payload: Any, call: Call) -> Any:
        return self._transport.json("POST", path, call=call, body=encode(payload), loads=True)

    def _explain_cloud(self, model: str, host: str) -> Exception:
        locality = self._settings.locality
        if locality == "any":
            return _cannot_load_cloud(model)
        return refuse_cloud(model, host, locality)

    def _find_loaded(self, model: str, load: _Load, call: Call) -> LoadedModel:
        """Return the loaded model; add a warning if the server reduced its window.

        Raises:
            ModelLoadError: The model is not in memory, or another load has replaced it.
        """
        loaded, window = self._wait_for_model(model, load, call), load.window
        if loaded is None:
            raise _not_in_memory(load)
        got = loaded.context_length
        if window in (None, got):
            return loaded
        if got is not None and load.may_be_replaced_by(got):
            raise _replaced(load, f"and the model's window is {got} tokens now")
        fact = "did not report the allocated size" if got is None else f"allocated {got}"
        warning = f"requested a context window of {window} tokens, but the server {fact}"
        return loaded.replace(warnings=(*loaded.warnings, warning))

    def _wait_for_model(self, model: str, load: _Load, call: Call) -> Optional[LoadedModel]:
        """Return the model in memory; wait if another load is just replacing it.

        Only a load without a window waits, because every window suits it.
        """
        waits = growing_waits(*_POLL_WAITS_S)
        while True:
            # The other loads are checked before the list is read. In the other order, a load that
            # ends in between would be missed: its model was not in the list yet, and the load no
            # longer waits for the server.
            is_replaced, number_seen = self._is_being_replaced(model, load), len(load.others)
            loaded = self._find_in_memory(model, call)
            is_replaced = is_replaced or len(load.others) > number_seen
            if loaded is not None or load.window is not None or not is_replaced:
                return loaded
            sleep(call, next(waits))

    def _is_being_loaded(self, model: str, load: _Load) -> bool:
        """Return whether another load with the same window waits for the server.

        The server lists a model before it is completely loaded
        (docs/reference/ollama.md, "Loaded models").
        """
        others = self._other_loads(model, load)
        return load.window is not None and any(
            other.is_requested and other.sent == load.window for other in others
        )

    def _is_being_replaced(self, model: str, load: _Load) -> bool:
        return any(other.is_requested for other in self._other_loads(model, load))

    def _other_loads(self, model: str, load: Optional[_Load] = None) -> List[_Load]:
        """Return the loads of a model that run now, without `load`."""
        running = self._running.get((os.getpid(), _key(model)), ())
        return [other for other in list(running) if other is not load]

    def _unload(self, model: str, call: Call) -> None:
        self._set_requested_window(model, None, next(self._numbers))
        found = self._find_in_memory(model, call)
        if found is None:
            self._check_name(model, call)
            return
        try:
            self._request_unload(model, call)
        except ModelNotFoundError as refusal:
            found = _find_by_name(found.name, self._read_loaded(call))
            if found is None:
                return
            raise stays_loaded(model, found.expires_at, refusal) from None
        waits = growing_waits(*_POLL_WAITS_S)
        while _find_by_name(found.name, self._read_loaded(call)) is not None:
            sleep(call, next(waits))

    def _check_name(self, model: str, call: Call) -> None:
        """Check that a model that is not in memory is in the server's list of installed models.

        Raises:
            ModelNotFoundError: The server does not list the model.
        """
        listed = parse_listed(self._transport.json("GET", "/api/tags", call=call))
        name, names = listed_name(model), [each.name for each in listed]
        if not is_cloud(model) and not any(same_model(each, name) for each in names):
            raise missing_model(model, names, needed=False)

    def _request_unload(self, model: str, call: Call) -> None:
        for load in self._other_loads(model):
            load.was_unloaded = True
        body = encode(empty_chat_payload(model, None, 0))
        data = self._transport.json("POST", "/api/chat", call=call, body=body)
        check_empty_chat(data, "unload")

    def _read_loaded(self, call: Call) -> List[LoadedModel]:
        return self._parse(self._transport.json("GET", "/api/ps", call=call), call.look)

    def _parse(self, data: Any, look: Look) -> List[LoadedModel]:
        return parse_loaded(data, self._settings.name, look)

    def _find_in_memory(self, model: str, call: Call) -> Optional[LoadedModel]:
        loaded, name = self._read_loaded(call), listed_name(model)
        found = _find_by_name(name, loaded)
        return self._find_with_same_files(name, loaded, call) if found is None and loaded else found

    def _find_with_same_files(
        self, model: str, loaded: List[LoadedModel], call: Call
    ) -> Optional[LoadedModel]:
        """Return the loaded model that consists of the same files as `model`.

        If two models consist of the same files, the server loads these files once, and lists
        them under the name that was loaded first (docs/reference/ollama.md, "Loaded models").
        """
        files = self._files_of(model, call)
        for other in loaded if files else ():
            if self._files_of(other.name, call) == files:
                warning = f"the model consists of the same files as {other.name!r}, which is loaded"
                return other.replace(warnings=(f"{warning}: the server loads them only once",))
        return None

    def _files_of(self, model: str, call: Call) -> FrozenSet[str]:
        body = encode(show_payload(model))
        try:
            data = self._transport.json("POST", "/api/show", call=call, body=body)
        except (ModelError, ServerError):
            # The model was deleted or cannot be read. Its files are unknown, so it counts as a
            # model that shares no files with another one.
            return frozenset()
        return parse_files(data)


def _find_by_name(name: str, loaded: List[LoadedModel]) -> Optional[LoadedModel]:
    return next((item for item in loaded if same_model(item.name, name)), None)


def _key(model: str) -> ModelName:
    return parse_name(listed_name(model))


def _not_in_memory(load: _Load) -> ModelLoadError:
    """Return the error for a model that is not in memory after the server has loaded it."""
    if load.was_unloaded:
        return ModelLoadError(
            "the server loaded the model, but this provider unloaded or deleted it at the same time"
        )
    if load.others:
        return _replaced(load, "and it is not in memory now")
    return ModelLoadError(
        "the server reported that it loaded the model, but the model is not in memory now",
        hint="another model may have replaced it: see OLLAMA_MAX_LOADED_MODELS; or another"
        " program unloaded it, or requested another context window",
    )


def _replaced(load: _Load, state: str) -> ModelLoadError:
    """Return the error for a load that another load of the same provider has replaced."""
    others = sorted({_window_words(window) for window in load.others})
    return ModelLoadError(
        f"load() requested the model with {_window_words(load.window)}, but another load() of"
        f" this provider requested {' and '.join(others)} at the same time, {state}",
        hint="use the same context_length in all threads, or call load() again when the other"
        " load() has ended",
    )


def _window_words(window: Optional[int]) -> str:
    return "the server's default window" if window is None else f"a window of {window} tokens"


def _check_load_arguments(context_length: Any, keep_alive: Any) -> None:
    is_integer = isinstance(context_length, int) and not isinstance(context_length, bool)
    if context_length is not None and not (is_integer and context_length >= 1):
        raise ConfigurationError(
            f"context_length is {context_length!r}; it must be an integer of at least 1"
            f"{suggest_number('context_length', context_length, least=1, is_whole=True)}"
        )
    is_number = isinstance(keep_alive, (int, float)) and not isinstance(keep_alive, bool)
    # Some servers read a value below one second as zero, which unloads the model
    # (docs/reference/ollama.md, "Traps").
    if keep_alive is not None and not (is_number and keep_alive >= 1):
        raise ConfigurationError(
            f"keep_alive is {keep_alive!r}; it must be a number of seconds, at least 1",
            hint="pass seconds or '10m', or math.inf to keep the model for ever; unload() removes "
            "it from memory",
        )


def _cannot_load_cloud(model: str) -> UnsupportedError:
    return UnsupportedError(
        f"the model {model!r} runs in the cloud, so it cannot be loaded here",
        hint="send requests to it without loading it first",
    )
