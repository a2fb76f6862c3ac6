"""The models in the memory of the fake Ollama: their context windows, their timers, their list."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Dict, Mapping, Optional, Set

from localproviders._signatures import Unpack
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer
from localproviders.testing.decisions import SYSTEM_ONE
from localproviders.testing.fake import FakeOptions, Models
from localproviders.testing.ollama.answers import as_listed, json_answer
from localproviders.testing.ollama.library import FakeLibrary
from localproviders.testing.ollama.options import options_of, window_of
from localproviders.testing.ollama.requests import keep_alive_s
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel

# The beginnings of the paths whose requests have no field `shift`.
_WITHOUT_SHIFT = ("/api/embed", "/v1/embed", SYSTEM_ONE)
_EVER_S = 292 * 365 * 86400.0


class FakeMemory(FakeLibrary):
    """The part of `FakeOllama` that loads and unloads models, and lists the loaded models."""

    #: Seconds that a model stays in memory if a request has no ``keep_alive``.
    keep_alive_s: float = 300.0
    #: Seconds for which a model stays in the list after a request to unload it.
    unload_s: float = 0.0
    #: Number of bytes of each loaded model that are in GPU memory.
    vram_bytes: int = 0

    def __init__(self, models: Models = None, **options: Unpack[FakeOptions]) -> None:
        given, options = Sealed(options), FakeOptions()
        super().__init__(models, **given.cell_contents)
        #: Time at which each model is unloaded, by name.
        self.expires: Dict[str, datetime] = {}
        self._with_window: Set[str] = set()
        # Names of the models that are loaded with a context window that does not slide.
        self._without_shift: Set[str] = set()

    def load_for(self, model: FakeModel, exchange: Exchange, body: Mapping[str, Any]) -> float:
        """Load the model of a request, start its timer, and return the seconds of the load.

        Raises:
            RefusedError: An option of the request has the wrong type.
        """
        requested = window_of(options_of(body))
        self._evict()
        model = self.runner_of(model)
        window = self._window(model, requested) or self.loaded.get(model.name)
        if self._changes_shift(model, exchange, body):
            self.loaded.pop(model.name, None)
        load_s = self.load(model, exchange, window)
        seconds = keep_alive_s(body)
        self.expires[model.name] = _expiry(self.keep_alive_s if seconds is None else seconds)
        return load_s

    def unload(self, model: FakeModel) -> None:
        """Unload a model. The model stays in the list for `unload_s` seconds."""
        model = self.runner_of(model)
        if model.name in self.loaded:
            self.expires[model.name] = _expiry(self.unload_s)
        self._evict()

    def runner_of(self, model: FakeModel) -> FakeModel:
        """Return the loaded model that has the same files as a model.

        The server loads the same files only once. If no such model is loaded, return the model
        itself.
        """
        files = self.owner_of_files(model)
        loaded = (m for m in self.models if m.name in self.loaded)
        return next((m for m in loaded if self.owner_of_files(m) == files), model)

    def window_of(self, model: FakeModel) -> int:
        """Return the context window with which a model is loaded."""
        return self.loaded[self.runner_of(model).name]

    def _window(self, model: FakeModel, requested: Optional[int]) -> Optional[int]:
        """Return the context window with which a request loads a model; None keeps the current one.

        If an earlier request has set a window, a request without a window restores the default
        window of the model.
        """
        if requested is not None:
            self._with_window.add(model.name)
            return min(requested, model.max_context_length)
        if model.name not in self._with_window:
            return None
        self._with_window.discard(model.name)
        return model.context_length

    def _changes_shift(self, model: FakeModel, exchange: Exchange, body: Mapping[str, Any]) -> bool:
        """Return whether the server must load a model again because a request changes ``shift``.

        Source: docs/reference/ollama.md, "Options".
        """
        if exchange.path.startswith(_WITHOUT_SHIFT):
            return False
        slides = body.get("shift") is not False
        if slides == (model.name not in self._without_shift):
            return False
        (self._without_shift.discard if slides else self._without_shift.add)(model.name)
        return True

    def _evict(self) -> None:
        """Unload the models whose timers have expired."""
        now = datetime.now(timezone.utc)
        for name in [name for name, until in self.expires.items() if until <= now]:
            self.loaded.pop(name, None)
            self.expires.pop(name, None)

    def _ps(self, _: Exchange) -> Answer:
        self._evict()
        running = [
            self._running(model, window)
            for model in [*self.models, *self.deleted]
            for window in [self.loaded.get(model.name)]
            if window
        ]
        # The first model of the list is the one that will stay in memory longest.
        running.sort(key=lambda row: str(row["expires_at"]), reverse=True)
        return json_answer({"models": running})

    def _running(self, model: FakeModel, window: int) -> Dict[str, Any]:
        name = as_listed(model.name)
        return {
            "name": name,
            "model": name,
            "size": self.size_of(model),
            "digest": self.digest_of(model),
            "details": self._details(),
            "expires_at": self.expires.get(model.name, _expiry(-1)).isoformat(),
            "size_vram": self.vram_bytes,
            "context_length": window,
        }


def _expiry(seconds: float) -> datetime:
    ends_in_s = _EVER_S if seconds < 0 else min(seconds, _EVER_S)
    return datetime.now(timezone.utc) + timedelta(seconds=ends_in_s)
