"""What every call over HTTP stands on: settings, transport, a clock, and a dialect's words."""

from __future__ import annotations

from abc import abstractmethod
from typing import (
    Any,
    Callable,
    Dict,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from localproviders._backend.abilities import AbilityCheck
from localproviders._backend.overflow import WindowWatch
from localproviders._http.deadline import Call
from localproviders._http.stream import ChunkParser
from localproviders._http.transport import Transport, encode
from localproviders._tokens import Calibration
from localproviders._wire import Vectors
from localproviders.errors import ConfigurationError, ModelError, ProviderError
from localproviders.provider import ModelProvider
from localproviders.settings import Settings
from localproviders.telemetry import SILENT, Span
from localproviders.types.answer import CompletionChunk
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Limits, Timeout, resolve
from localproviders.types.model import ModelCapabilities, ModelInfo
from localproviders.types.request import CompletionRequest, EmbeddingRequest, texts_of
from localproviders.types.tokens import TokenCount

T = TypeVar("T")
_Request = Union[CompletionRequest, EmbeddingRequest]


class Backend(ModelProvider):
    """The ground of `HTTPProvider`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._transport = Transport(settings, self._explain)
        self._windows = WindowWatch()
        self._abilities = AbilityCheck()
        self._calibration = Calibration()

    @property
    def name(self) -> str:
        return self.settings.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.endpoint.url!r}, name={self.name!r})"

    def __getstate__(self) -> Dict[str, Any]:
        return {"settings": self.settings}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        Backend.__init__(self, state["settings"])

    def limits(self, timeout: Timeout = None) -> Limits:
        return resolve(timeout, self.settings.limits)

    def close(self) -> None:
        self._transport.close()

    # --- what a dialect says --------------------------------------------------------------

    @abstractmethod
    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        """Read an error answer."""

    @abstractmethod
    def _question(
        self, request: CompletionRequest, model: str
    ) -> Tuple[str, Dict[str, Any], ChunkParser]:
        """Give path, JSON and parser for a request."""

    @abstractmethod
    def _embed(self, request: EmbeddingRequest, model: str, call: Call) -> Tuple[Vectors, int]:
        """Send an embedding request; give what came, and how often it was sent."""

    @abstractmethod
    def _check_answer(
        self, request: CompletionRequest, model: str, chunk: CompletionChunk, call: Call
    ) -> Optional[str]:
        """Look at a chunk: raise if it breaks a promise, or give a warning."""

    #: Request fields that this server cannot take, with what to do instead.
    _unsupported: Mapping[str, str] = {}
    #: Request fields that it cannot take with a prompt.
    _chat_only: Tuple[str, ...] = ("tools", "tool_choice")
    #: The same for embedding requests.
    _embed_unsupported: Mapping[str, str] = {}
    _accept = "text/event-stream"

    def _before_sending(self, model: str, call: Call) -> None:
        """Check that the prompt may go to this model. Nothing to check by default."""

    def _count_exactly(
        self,
        request: CompletionRequest,
        model: str,
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> Optional[TokenCount]:
        """Let the server count a conversation; None where it has no way, as by default."""
        return None

    def _capabilities_of(self, model: str, call: Call) -> ModelCapabilities:
        """Ask what a model surely can and cannot do. By default nothing is sure, nor asked."""
        return ModelCapabilities()

    def _revive(self, error: ProviderError, model: str, call: Call) -> Optional[str]:
        """Bring back a model that left memory between calls; give the warning that says so.

        None where there was nothing to bring back: the error stands.
        """
        return None

    def supports_model(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        return self._find(model, self.list_models(timeout=timeout, cancel=cancel)) is not None

    def _find(self, model: str, listed: Sequence[ModelInfo]) -> Optional[ModelInfo]:
        return next((info for info in listed if self._is_same(info.name, model)), None)

    # --- pieces of a call ------------------------------------------------------------------

    def _model(self, asked: Optional[str], timeout: Timeout, cancel: Optional[CancelToken]) -> str:
        """Give the model to use: the request's, else the provider's, never a guess."""
        model = asked or self.settings.model
        if model:
            return model
        names = [info.name for info in self.list_models(timeout=timeout, cancel=cancel)]
        raise ConfigurationError(
            "no model was named",
            hint=f"pass model=...; the server has: {', '.join(names) or 'none'}",
            provider=self.name,
            endpoint=self.settings.endpoint.url,
        )

    def _call(
        self,
        timeout: Timeout,
        cancel: Optional[CancelToken],
        *,
        total_s: Optional[float] = None,
    ) -> Call:
        return Call(resolve(timeout, self.settings.limits, total_s), cancel)

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[Any], T],
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        payload: Optional[Mapping[str, Any]] = None,
    ) -> T:
        """Ask the server about itself or its models, and read its one JSON answer."""
        call = self._call(timeout, cancel, total_s=LISTING_TOTAL_S)
        try:
            body = None if payload is None else encode(payload)
            return read(self._transport.json(method, path, call=call, body=body))
        except ProviderError as error:
            raise self._transport.locate(error) from error.__cause__
        finally:
            call.over()

    def _is_same(self, listed: str, model: str) -> bool:
        """Whether a name in the server's list means this model."""
        return listed == model

    def _span(
        self,
        operation: str,
        model: Optional[str],
        call: Call,
        task: Optional[str] = None,
        request: Optional[CompletionRequest] = None,
    ) -> Span:
        """Tell that a call begins; a call with impossible limits has raised, and is not told."""
        settings = self.settings
        if not settings.listeners:
            return SILENT
        span = Span(
            settings.listeners,
            request=request,
            operation=operation,
            provider=self.name,
            model=model,
            task=task,
            endpoint=settings.endpoint.url,
        )
        span.follow(call)
        return span

    def _failed(
        self, error: ProviderError, request: _Request, model: str, span: Span
    ) -> ProviderError:
        error = self._transport.locate(error, texts_of(request))
        error.add_context(model=model)
        if isinstance(error, ModelError):
            self._abilities.forget(model)
        span.failed(error)
        return error
