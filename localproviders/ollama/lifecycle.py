"""Models in the server's memory: what is there, bringing one in, taking it out."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Optional

from localproviders._http.deadline import Call, rest
from localproviders._http.transport import encode
from localproviders.errors import (
    CapabilityError,
    ConfigurationError,
    ModelError,
    ModelLoadError,
    ServerError,
    UnsupportedError,
)
from localproviders.ollama import wire
from localproviders.ollama.inventory import Inventory
from localproviders.ollama.names import (
    ModelName,
    is_cloud,
    listed_name,
    parse_name,
    same_model,
)
from localproviders.settings import Settings
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Timeout
from localproviders.types.model import LoadedModel
from localproviders.types.progress import OnProgress

# How often the server is asked whether a model has left, at first and at last.
_LOOKS_S = (0.05, 1.0)


class Lifecycle(Inventory):
    """The part of `OllamaProvider` that loads and unloads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        #: The windows that `load` was asked for, by model.
        self._windows_asked: Dict[ModelName, int] = {}

    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """List the models in memory, the one that stays longest first (ollama-api §2.3).

        A model that is still being loaded is listed too. Cloud models never are.

        Raises:
            ProviderError: As for `list_models`.
        """
        return self._ask(
            "GET",
            "/api/ps",
            lambda data: wire.parse_loaded(data, self.name),
            timeout=timeout,
            cancel=cancel,
        )

    def load(
        self,
        model: str,
        *,
        context_length: Optional[int] = None,
        keep_alive: Optional[float] = None,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> LoadedModel:
        """Bring a model into memory, and wait until it is there (ollama-api §2.5).

        Asks first what is loaded. A model that is there with the same window (or any, where
        none is asked for) is left as it is; with `keep_alive`, its timer is set anew by a
        request that loads nothing. Another window makes the server load it anew.

        Models that are made of the same files share one place in memory, under the name of
        the one that came first: `name` is then that one, and `warnings` says so.

        Args:
            model: Name of the model.
            context_length: Window to allocate, in tokens. The server cuts it down to what
                the model was trained for: `warnings` then says so. Until `unload`, or a
                `load` without one, what this provider asks of the model names this window
                too, where the request names none: the server would load the model anew with
                its default one (§8).
            keep_alive: Seconds to keep it after its last use; infinity is for ever, None
                the server's own default.
            on_progress: Never called: this server loads in silence.
            timeout: See the class; loading may take `load_s` and `first_token_s` together.
            cancel: See the class. A load that nobody else waits for is then dropped (§3.8).

        Raises:
            ModelNotFoundError: The server has no such model.
            ModelLoadError: It could not be loaded.
            LocalityError: It runs in the cloud, and `locality` is not ``any``.
            UnsupportedError: It runs in the cloud, where nothing can be loaded.
            ConfigurationError: A value is impossible. Nothing was sent.
            LimitError: A limit ran out.
            ProviderError: As for `list_models`.
        """
        _check(context_length, keep_alive)
        return self._perform(
            "load",
            model,
            lambda call: self._load(model, context_length, keep_alive, call),
            timeout=timeout,
            cancel=cancel,
        )

    def unload(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Take a model out of memory, and wait until it is gone, if it is there.

        The server says yes before the memory is free, and lets a running answer end first
        (ollama-api §2.5, §8): this asks until the model is listed no more, for 30 s unless
        `timeout` says otherwise.

        Raises:
            LimitError: It was still there when the total ran out; somebody else may use it.
            ProviderError: As for `list_models`.
        """
        self._perform(
            "unload",
            model,
            lambda call: self._unload(model, call),
            timeout=timeout,
            cancel=cancel,
            total_s=LISTING_TOTAL_S,
        )

    # --- pieces of it ---------------------------------------------------------------------

    def _load(
        self, model: str, window: Optional[int], keep_alive: Optional[float], call: Call
    ) -> LoadedModel:
        self._before_sending(model, call)
        if is_cloud(model):
            raise _in_the_cloud(model)
        found = self._in_memory(model, call)
        there = found is not None and window in (None, found.context_length)
        # Without it the server would load it anew with its default window (§8).
        wanted = found.context_length if found is not None and there else window
        started = call.elapsed_s
        if found is not None and there and keep_alive is None:
            loaded = found
        else:
            self._bring(model, wanted, keep_alive, call)
            loaded = self._brought(model, wanted, call)
        if window is not None or not there:
            self._keep_window(model, window)  # not one that could not be loaded
        return loaded.replace(load_s=0.0 if there else call.elapsed_s - started)

    def _keep_window(self, model: str, window: Optional[int]) -> None:
        self._windows.forget()
        name = parse_name(listed_name(model))
        if window is None:
            self._windows_asked.pop(name, None)
        else:
            self._windows_asked[name] = window

    def _window_asked(self, model: str) -> Optional[int]:
        """Give the window that `load` was asked for, which requests are to name as well."""
        asked = self._windows_asked
        return asked.get(parse_name(listed_name(model))) if asked else None

    def _bring(
        self, model: str, window: Optional[int], keep_alive: Optional[float], call: Call
    ) -> None:
        """Send the request that loads, or the one for a model that cannot chat (§2.7).

        Nothing is sent to ``/api/generate``: it wants the same ability as a chat.
        """
        try:
            payload: Any = wire.residence_payload(model, window, keep_alive)
            data = self._ask_to_load("/api/chat", payload, call)
            answer = wire.check_residence(data, "load")
        except CapabilityError:
            payload = wire.embed_residence_payload(model, window, keep_alive)
            data = self._ask_to_load("/api/embed", payload, call)
            answer = wire.check_embed_residence(data)
        host = wire.remote_host(answer)
        if host is not None:
            raise self._elsewhere(model, host)

    def _ask_to_load(self, path: str, payload: Any, call: Call) -> Any:
        return self._transport.json("POST", path, call=call, body=encode(payload), loads=True)

    def _elsewhere(self, model: str, host: str) -> Exception:
        locality = self.settings.locality
        if locality == "any":
            return _in_the_cloud(model)
        return wire.refuse_cloud(model, host, locality)

    def _brought(self, model: str, window: Optional[int], call: Call) -> LoadedModel:
        """Say what there is now, and warn where it is not what was asked for."""
        loaded = self._in_memory(model, call)
        if loaded is None:
            raise ModelLoadError(
                "the server said that it loaded the model, and does not have it in memory now",
                hint="another model may have taken its place: OLLAMA_MAX_LOADED_MODELS",
            )
        if window in (None, loaded.context_length):
            return loaded
        got = loaded.context_length
        told = f"{got} are" if got is not None else "the server does not say how many are"
        lost = f"a window of {window} tokens was asked for, and {told} allocated"
        return loaded.replace(warnings=(*loaded.warnings, lost))

    def _unload(self, model: str, call: Call) -> None:
        self._keep_window(model, None)
        found = self._in_memory(model, call)
        if found is None:
            return
        body = encode(wire.residence_payload(model, None, 0))
        data = self._transport.json("POST", "/api/chat", call=call, body=body)
        wire.check_residence(data, "unload")
        wait_s, longest_s = _LOOKS_S
        while _named(found.name, self._all_in_memory(call)) is not None:
            rest(call, wait_s)
            wait_s = min(wait_s * 2, longest_s)

    def _all_in_memory(self, call: Call) -> List[LoadedModel]:
        return wire.parse_loaded(self._transport.json("GET", "/api/ps", call=call), self.name)

    def _in_memory(self, model: str, call: Call) -> Optional[LoadedModel]:
        loaded, name = self._all_in_memory(call), listed_name(model)
        found = _named(name, loaded)
        return self._sharing(name, loaded, call) if found is None and loaded else found

    def _sharing(self, model: str, loaded: List[LoadedModel], call: Call) -> Optional[LoadedModel]:
        """Give what is made of the same files: the server keeps them once, under its name."""
        files = self._files(model, call)
        for other in loaded if files else ():
            if self._files(other.name, call) == files:
                shared = f"it is made of the same files as {other.name!r}, which is in memory"
                return other.replace(warnings=(f"{shared}: both share its place",))
        return None

    def _window(self, model: str, call: Call) -> Optional[int]:
        quick = Call(call.limits_left(), call.token)
        try:
            found = self._in_memory(model, quick)
        finally:
            quick.over()
        return None if found is None else found.context_length

    def _files(self, model: str, call: Call) -> FrozenSet[str]:
        body = encode(wire.show_payload(model))
        try:
            data = self._transport.json("POST", "/api/show", call=call, body=body)
        except (ModelError, ServerError):
            return frozenset()  # it was deleted, or is broken: that is nobody's error here
        return wire.parse_files(data)


def _named(name: str, loaded: List[LoadedModel]) -> Optional[LoadedModel]:
    return next((item for item in loaded if same_model(item.name, name)), None)


def _check(context_length: Any, keep_alive: Any) -> None:
    whole = isinstance(context_length, int) and not isinstance(context_length, bool)
    if context_length is not None and not (whole and context_length >= 1):
        raise ConfigurationError(
            f"context_length is {context_length!r}, and must be a whole number of at least 1"
        )
    number = isinstance(keep_alive, (int, float)) and not isinstance(keep_alive, bool)
    # Some servers take everything below one second for zero, which unloads.
    if keep_alive is not None and not (number and keep_alive >= 1):
        raise ConfigurationError(
            f"keep_alive is {keep_alive!r}, and must be a number of seconds of at least 1",
            hint="math.inf keeps a model for ever; unload() takes it out of memory",
        )


def _in_the_cloud(model: str) -> UnsupportedError:
    return UnsupportedError(
        f"{model!r} runs in the cloud: there is nothing to load here",
        hint="ask it without loading it first",
    )
