"""Provider for a configured GGUF file, which the embedded engine serves."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, List, Optional, Tuple, Union

from localproviders._decision_verbs import DecisionRequest
from localproviders._did_you_mean import ListOf
from localproviders._http.stream import Stream
from localproviders._rerank_verb import RerankRequest
from localproviders.config import ServerConfig
from localproviders.engine import LocalEngine
from localproviders.errors import LimitError, ModelNotFoundError
from localproviders.llamacpp import LlamaCppProvider
from localproviders.provider import ModelProvider, Texts
from localproviders.telemetry import Listener
from localproviders.types.decisions import Decisions
from localproviders.types.inputs import named
from localproviders.types.limits import CancelToken, Limits, Timeout, resolve
from localproviders.types.models import LoadedModel, ModelInfo, OnProgress
from localproviders.types.rankings import Ranking
from localproviders.types.requests import CompletionRequest, ModelLike
from localproviders.types.responses import EmbeddingResponse, TokenCount

_MIN_TOTAL_S = 0.001


class HostedProvider(ModelProvider):
    """A provider for one model file.

    The engine starts at the first call that needs the model. Listing the models does not start it.
    The start counts towards the total limit of the call. If the engine cannot start, the call
    raises the error of `LocalEngine.start`.

    Args:
        config: Configuration of a server of the kind ``gguf``.
        listeners: Functions that are called with all events of the provider's calls.
    """

    def __init__(self, config: ServerConfig, listeners: Tuple[Listener, ...] = ()) -> None:
        self._config = config
        self._listeners = listeners
        self._engine: Optional[LocalEngine] = None
        self._provider: Optional[LlamaCppProvider] = None
        self._process = os.getpid()
        self._starting = threading.Lock()

    @property
    def name(self) -> str:
        """The configured name."""
        return self._config.name

    def limits(self, timeout: Timeout = None) -> Limits:
        """Return the limits of a call: the configured limits, unless `timeout` sets others."""
        return resolve(timeout, self._config.limits)

    def close(self) -> None:
        """Stop the engine; the next call starts it again.

        In a forked child, the engine of the parent is left running.
        """
        provider, engine = self._provider, self._engine
        self._provider = self._engine = None
        if provider is not None:
            provider.close()
        if engine is not None and self._process == os.getpid():
            engine.stop()

    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """Return the model of the file, without starting the engine."""
        if self._provider is not None:
            return self._provider.list_models(timeout=timeout, cancel=cancel)
        self._new_engine()  # raises an error if the file does not exist
        return ListOf([ModelInfo(name=self._model, provider=self.name, loaded=False)])

    def supports_model(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Return whether the file has this model, without starting the engine."""
        return named(model) in [
            each.name for each in self.list_models(timeout=timeout, cancel=cancel)
        ]

    def model_info(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Return all facts about the model; this starts the engine."""
        name = self._known(model)
        provider, limits = self._running_engine(timeout)
        return provider.model_info(name, timeout=limits, cancel=cancel)

    # --- models in memory ---------------------------------------------------------------------

    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """Return the model if the engine is running. This does not start the engine."""
        if self._provider is None:
            return ListOf([])
        return self._provider.loaded_models(timeout=timeout, cancel=cancel)

    def load(
        self,
        model: ModelLike,
        *,
        context_length: Optional[int] = None,
        keep_alive: Union[float, str, None] = None,
        check_memory: Optional[bool] = None,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> LoadedModel:
        """Start the engine, which loads the model. A running engine is not started again.

        The context window is configured, and the engine keeps the model. So the only
        accepted `context_length` is that of the loaded model, and the only accepted `keep_alive` is
        infinity.
        """
        name, is_new, began = self._known(model), self._provider is None, time.monotonic()
        provider, limits = self._running_engine(timeout)
        started_s = time.monotonic() - began
        loaded = provider.load(
            name,
            context_length=context_length,
            keep_alive=keep_alive,
            check_memory=check_memory,
            on_progress=on_progress,
            timeout=limits,
            cancel=cancel,
        )
        return loaded.replace(load_s=started_s) if is_new else loaded

    def unload(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Stop the engine, which has only this model.

        The next call that needs the model starts the engine again.
        """
        self._known(model)
        self.close()

    def _known(self, model: ModelLike) -> str:
        """Return the name of a model, after checking that it is the name of the file.

        Raises:
            ModelNotFoundError: The file has another name.
        """
        name = named(model)
        if name != self._model:
            raise ModelNotFoundError(
                f"the file has no model {name!r}",
                available=(self._model,),
                hint=f"the file has: {self._model}",
                model=name,
                provider=self.name,
            )
        return name

    # --- calls --------------------------------------------------------------------------------

    def stream_completion(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Stream:
        """Send a request to the engine, and return the stream; start the engine if needed."""
        provider, limits = self._running_engine(timeout)
        return provider.stream_completion(request, timeout=limits, cancel=cancel)

    def embed(
        self,
        texts: Texts,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Any,
    ) -> EmbeddingResponse:
        """Return the vectors of texts; start the engine if needed."""
        provider, limits = self._running_engine(timeout)
        return provider.embed(texts, timeout=limits, cancel=cancel, **fields)

    def _slots(self, info: ModelInfo) -> Optional[int]:
        return None if self._provider is None else self._provider._slots(info)

    def _decide(
        self, request: DecisionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> Decisions:
        provider, limits = self._running_engine(timeout)
        return provider._decide(request, limits, cancel)

    def _rerank(
        self, request: RerankRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> Ranking:
        provider, limits = self._running_engine(timeout)
        return provider._rerank(request, limits, cancel)

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        provider, limits = self._running_engine(timeout)
        return provider._count(request, limits, cancel)

    def _render(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> str:
        provider, limits = self._running_engine(timeout)
        return provider._render(request, limits, cancel)

    @property
    def _model(self) -> str:
        return "" if self._config.gguf is None else self._config.gguf.stem

    def _new_engine(self, longest_s: float = float("inf")) -> LocalEngine:
        options = dict(self._config.options())
        options["start_timeout_s"] = min(options["start_timeout_s"], longest_s)
        return LocalEngine(**options)

    def _running_engine(self, timeout: Timeout) -> Tuple[LlamaCppProvider, Limits]:
        """Return the provider of the running engine, and the limits with the remaining total.

        This starts the engine if it is not running.
        """
        limits, began = self.limits(timeout), time.monotonic()
        # In a forked child, use a new lock: the old lock may have been held during the fork, and
        # then no thread of the child would release it.
        if self._process != os.getpid():
            self._process, self._starting, self._engine = os.getpid(), threading.Lock(), None
        # The lock keeps two threads from starting two engines.
        if not self._starting.acquire(timeout=min(limits.total_s, threading.TIMEOUT_MAX)):
            raise self._start_timeout(limits)
        try:
            provider = self._provider or self._start(limits.total_s)
        finally:
            self._starting.release()
        left_s = limits.total_s - (time.monotonic() - began)
        return provider, limits.replace(total_s=max(left_s, _MIN_TOTAL_S))

    def _start_timeout(self, limits: Limits) -> LimitError:
        return LimitError(
            f"the engine did not start within {limits.total_s:g} s",
            limit="total_s",
            limit_s=limits.total_s,
            elapsed_s=limits.total_s,
            provider=self.name,
        )

    def _start(self, longest_s: float) -> LlamaCppProvider:
        engine = self._new_engine(longest_s)
        try:
            settings = engine.start().settings
        except LimitError as error:
            if error.limit_s == longest_s:
                error.limit = "total_s"  # the limit of the call expired, not the engine's own
            raise
        self._engine = engine
        self._provider = LlamaCppProvider(
            settings=settings.replace(
                name=self.name,
                limits=self._config.limits,
                retry=self._config.retry,
                listeners=self._listeners,
            )
        )
        return self._provider
