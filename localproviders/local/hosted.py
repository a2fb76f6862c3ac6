"""A configured model file, served by the embedded engine while it is needed."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, List, Optional, Tuple

from localproviders._http.stream import Stream
from localproviders.config import ServerConfig
from localproviders.engine import LocalEngine
from localproviders.errors import LimitError, ModelNotFoundError
from localproviders.openai_compatible import OpenAICompatibleProvider
from localproviders.provider import ModelProvider, Texts
from localproviders.telemetry import Listener
from localproviders.types.answer import EmbeddingResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Limits, Timeout, resolve
from localproviders.types.model import ModelInfo
from localproviders.types.request import CompletionRequest
from localproviders.types.tokens import TokenCount

_SHORTEST_S = 0.001


class HostedProvider(ModelProvider):
    """A model file; its engine starts when the model itself is asked for, not for a list.

    Starting counts into the total of the call. Where it cannot start, every verb that needs
    it raises as `LocalEngine.start` does.

    Args:
        config: A server of the kind ``gguf``.
        listeners: Hear all events of its calls.
    """

    def __init__(self, config: ServerConfig, listeners: Tuple[Listener, ...] = ()) -> None:
        self._config = config
        self._listeners = listeners
        self._engine: Optional[LocalEngine] = None
        self._provider: Optional[OpenAICompatibleProvider] = None
        self._process = os.getpid()
        self._starting = threading.Lock()

    @property
    def name(self) -> str:
        """The configured name."""
        return self._config.name

    def limits(self, timeout: Timeout = None) -> Limits:
        """Give the limits of a call with this `timeout`, out of the configured ones."""
        return resolve(timeout, self._config.limits)

    def close(self) -> None:
        """Stop the engine; the next call starts it again. A forked child leaves it running."""
        provider, engine = self._provider, self._engine
        self._provider = self._engine = None
        if provider is not None:
            provider.close()
        if engine is not None and self._process == os.getpid():
            engine.stop()

    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """Give the one model, and start nothing."""
        if self._provider is not None:
            return self._provider.list_models(timeout=timeout, cancel=cancel)
        self._new_engine()  # a file that is not there is no model
        return [ModelInfo(name=self._model, provider=self.name, loaded=False)]

    def supports_model(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Say whether this is its one model, and start nothing."""
        return model in [each.name for each in self.list_models(timeout=timeout, cancel=cancel)]

    def model_info(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Say all that is known about its one model; this starts the engine."""
        if self._provider is None and model != self._model:
            raise ModelNotFoundError(
                f"the file has no model {model!r}",
                available=(self._model,),
                model=model,
                provider=self.name,
            )
        provider, limits = self._started(timeout)
        return provider.model_info(model, timeout=limits, cancel=cancel)

    def stream_completion(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Stream:
        """Send a request to the engine, and start it for that."""
        provider, limits = self._started(timeout)
        return provider.stream_completion(request, timeout=limits, cancel=cancel)

    def embed(
        self,
        texts: Texts,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Any,
    ) -> EmbeddingResponse:
        """Turn texts into vectors with the engine, and start it for that."""
        provider, limits = self._started(timeout)
        return provider.embed(texts, timeout=limits, cancel=cancel, **fields)

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        provider, limits = self._started(timeout)
        return provider._count(request, limits, cancel)

    @property
    def _model(self) -> str:
        return "" if self._config.gguf is None else self._config.gguf.stem

    def _new_engine(self, longest_s: float = float("inf")) -> LocalEngine:
        options = dict(self._config.options())
        options["start_timeout_s"] = min(options["start_timeout_s"], longest_s)
        return LocalEngine(**options)

    def _started(self, timeout: Timeout) -> Tuple[OpenAICompatibleProvider, Limits]:
        """Give the engine's provider, and what is left of the call's limits."""
        limits, began = self.limits(timeout), time.monotonic()
        if self._process != os.getpid():  # a lock that was held during the fork stays locked
            self._process, self._starting, self._engine = os.getpid(), threading.Lock(), None
        # Two threads are to start one engine, not two.
        if not self._starting.acquire(timeout=min(limits.total_s, threading.TIMEOUT_MAX)):
            raise self._still_starting(limits)
        try:
            provider = self._provider or self._start(limits.total_s)
        finally:
            self._starting.release()
        left_s = limits.total_s - (time.monotonic() - began)
        return provider, limits.replace(total_s=max(left_s, _SHORTEST_S))

    def _still_starting(self, limits: Limits) -> LimitError:
        return LimitError(
            f"the engine did not start within {limits.total_s:g} s",
            limit="total_s",
            limit_s=limits.total_s,
            elapsed_s=limits.total_s,
            provider=self.name,
        )

    def _start(self, longest_s: float) -> OpenAICompatibleProvider:
        engine = self._new_engine(longest_s)
        try:
            settings = engine.start().settings
        except LimitError as error:
            if error.limit_s == longest_s:
                error.limit = "total_s"  # what ran out is the call's, not the engine's
            raise
        self._engine = engine
        self._provider = OpenAICompatibleProvider(
            settings=settings.replace(
                name=self.name,
                limits=self._config.limits,
                retry=self._config.retry,
                listeners=self._listeners,
            )
        )
        return self._provider
