"""The memory of an Ollama server: listing, loading and unloading models."""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Optional

from localproviders._http.deadline import Call, sleep
from localproviders._http.framing import Look
from localproviders._http.transport import encode
from localproviders._http_provider.call_runner import CallRunner
from localproviders._http_provider.model_checks import ContextWindowCheck
from localproviders.errors import (
    CapabilityError,
    ConfigurationError,
    ModelError,
    ModelLoadError,
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
from localproviders.ollama.wire.errors import refuse_cloud
from localproviders.ollama.wire.models import (
    check_empty_chat,
    check_empty_embed,
    empty_chat_payload,
    empty_embed_payload,
    parse_files,
    parse_loaded,
    show_payload,
)
from localproviders.ollama.wire.responses import remote_host
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout
from localproviders.types.models import LoadedModel

# The first and the longest wait between two requests that check whether a model is unloaded.
_POLL_WAITS_S = (0.05, 1.0)


class Memory:
    """The calls that list, load and unload models, and the context windows requested in them.

    Args:
        runner: Runner of the calls.
        windows: The provider's cached context windows, cleared when a model is loaded or unloaded.
        check_locality: Function that raises if prompts must not be sent to a model.
    """

    def __init__(
        self,
        runner: CallRunner,
        windows: ContextWindowCheck,
        check_locality: Callable[[str, Call], None],
    ) -> None:
        self._runner = runner
        self._transport = runner.transport
        self._settings = runner.settings
        self._windows = windows
        self._check_locality = check_locality
        #: Context windows that callers passed to `load`, by model.
        self._requested_windows: Dict[ModelName, int] = {}

    def loaded_models(self, timeout: Timeout, cancel: Optional[CancelToken]) -> List[LoadedModel]:
        """Return the models in memory."""
        return self._runner.ask("GET", "/api/ps", self._parse, timeout=timeout, cancel=cancel)

    def load(
        self,
        model: str,
        context_length: Optional[int],
        keep_alive: Optional[float],
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> LoadedModel:
        """Load a model and wait until it is in memory."""
        _check_load_arguments(context_length, keep_alive)
        return self._runner.run(
            lambda call: self._load(model, context_length, keep_alive, call),
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

    def window(self, model: str, call: Call) -> Optional[int]:
        """Return the context window allocated for a model; None if it is not loaded."""
        # A new call within the limits of `call`: after a stream, `call` has already ended and no
        # longer listens to its cancel token.
        nested = Call(call.limits_left(), call.token)
        try:
            found = self._find_in_memory(model, nested)
        finally:
            nested.finish()
        return None if found is None else found.context_length

    def requested_window(self, model: str) -> Optional[int]:
        """Return the window that the caller passed to `load`; None if there was none.

        Other requests must contain it, too. Otherwise the server reloads the model with its
        default window (docs/reference/ollama.md, "Options").
        """
        windows = self._requested_windows
        return windows.get(parse_name(listed_name(model))) if windows else None

    # --- steps ------------------------------------------------------------------------------

    def _load(
        self, model: str, window: Optional[int], keep_alive: Optional[float], call: Call
    ) -> LoadedModel:
        self._check_locality(model, call)
        if is_cloud(model):
            raise _cannot_load_cloud(model)
        found = self._find_in_memory(model, call)
        is_loaded = found is not None and window in (None, found.context_length)
        # A request without the allocated window makes the server reload the model with its
        # default window (docs/reference/ollama.md, "Options").
        window_to_send = found.context_length if found is not None and is_loaded else window
        started = call.elapsed_s
        if found is not None and is_loaded and keep_alive is None:
            loaded = found
        else:
            self._request_load(model, window_to_send, keep_alive, call)
            loaded = self._find_loaded(model, window_to_send, call)
        if window is not None or not is_loaded:
            # Store the window only after success: a failed load must not change it.
            self._set_requested_window(model, window)
        return loaded.replace(load_s=0.0 if is_loaded else call.elapsed_s - started)

    def _set_requested_window(self, model: str, window: Optional[int]) -> None:
        self._windows.forget()
        name = parse_name(listed_name(model))
        if window is None:
            self._requested_windows.pop(name, None)
        else:
            self._requested_windows[name] = window

    def _request_load(
        self, model: str, window: Optional[int], keep_alive: Optional[float], call: Call
    ) -> None:
        """Send a chat request without messages, which loads the model.

        For a model that cannot chat, an embedding request without texts does the same.
        ``/api/generate`` is not tried, because it requires the same capability as a chat
        (docs/reference/ollama.md, "Generate" and "Embeddings").
        """
        try:
            payload: Any = empty_chat_payload(model, window, keep_alive)
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

    def _find_loaded(self, model: str, window: Optional[int], call: Call) -> LoadedModel:
        """Return the loaded model; add a warning if the server did not allocate `window`."""
        loaded = self._find_in_memory(model, call)
        if loaded is None:
            raise ModelLoadError(
                "the server reported that it loaded the model, but the model is not in memory now",
                hint="another model may have replaced it: see OLLAMA_MAX_LOADED_MODELS",
            )
        if window in (None, loaded.context_length):
            return loaded
        got = loaded.context_length
        fact = "did not report the allocated size" if got is None else f"allocated {got}"
        warning = f"requested a context window of {window} tokens, but the server {fact}"
        return loaded.replace(warnings=(*loaded.warnings, warning))

    def _unload(self, model: str, call: Call) -> None:
        self._set_requested_window(model, None)
        found = self._find_in_memory(model, call)
        if found is None:
            return
        body = encode(empty_chat_payload(model, None, 0))
        data = self._transport.json("POST", "/api/chat", call=call, body=body)
        check_empty_chat(data, "unload")
        wait_s, longest_s = _POLL_WAITS_S
        while _find_by_name(found.name, self._read_loaded(call)) is not None:
            sleep(call, wait_s)
            wait_s = min(wait_s * 2, longest_s)

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
            # This model was deleted or cannot be read. Its files are unknown, so it counts as a
            # model that shares no files with another one.
            return frozenset()
        return parse_files(data)


def _find_by_name(name: str, loaded: List[LoadedModel]) -> Optional[LoadedModel]:
    return next((item for item in loaded if same_model(item.name, name)), None)


def _check_load_arguments(context_length: Any, keep_alive: Any) -> None:
    is_integer = isinstance(context_length, int) and not isinstance(context_length, bool)
    if context_length is not None and not (is_integer and context_length >= 1):
        raise ConfigurationError(
            f"context_length is {context_length!r}; it must be an integer of at least 1"
        )
    is_number = isinstance(keep_alive, (int, float)) and not isinstance(keep_alive, bool)
    # Some servers read a value below one second as zero, which unloads the model
    # (docs/reference/ollama.md, "Traps").
    if keep_alive is not None and not (is_number and keep_alive >= 1):
        raise ConfigurationError(
            f"keep_alive is {keep_alive!r}; it must be a number of seconds, at least 1",
            hint="pass math.inf to keep the model for ever; unload() removes it from memory",
        )


def _cannot_load_cloud(model: str) -> UnsupportedError:
    return UnsupportedError(
        f"the model {model!r} runs in the cloud, so it cannot be loaded here",
        hint="send requests to it without loading it first",
    )
