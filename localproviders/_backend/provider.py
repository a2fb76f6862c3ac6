"""What every provider over HTTP shares: settings, transport, and the road of a call."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from localproviders._backend.abilities import AbilityCheck
from localproviders._backend.embedding import Embedding
from localproviders._backend.inspector import Inspector
from localproviders._backend.overflow import WindowWatch
from localproviders._http.deadline import Call
from localproviders._http.framing import NDJSONDecoder, SSEDecoder, WholeDecoder
from localproviders._http.stream import ChunkParser, Decoder, Stream, Summary
from localproviders._http.transport import Body, Transport, encode
from localproviders._tokens import Calibration
from localproviders._wire import Vectors
from localproviders.errors import (
    ConfigurationError,
    ContextOverflowError,
    ModelError,
    ProviderError,
    UnsupportedError,
)
from localproviders.provider import ModelProvider, Texts, bare
from localproviders.settings import Settings
from localproviders.telemetry import Span
from localproviders.types.answer import (
    CompletionChunk,
    CompletionResponse,
    EmbeddingResponse,
)
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Limits, Timeout, resolve
from localproviders.types.model import ModelCapabilities, ModelInfo
from localproviders.types.request import (
    BATCH_CHARACTERS,
    BATCH_SIZE,
    CompletionRequest,
    EmbeddingRequest,
    as_embedding_request,
    texts_of,
)
from localproviders.types.tokens import TokenCount

if TYPE_CHECKING:
    from localproviders._http.answer import Answer

T = TypeVar("T")
_Request = Union[CompletionRequest, EmbeddingRequest]

_FRAMINGS: Mapping[str, Callable[[int], Decoder]] = {
    "application/json": WholeDecoder,
    "application/x-ndjson": NDJSONDecoder,
    "text/event-stream": SSEDecoder,
    "text/html": WholeDecoder,  # a proxy's page: refused with these words, not as a cut stream
}


class HTTPProvider(ModelProvider):
    """Base of the providers; a subclass says what its server's paths and dialect are."""

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
        HTTPProvider.__init__(self, state["settings"])

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

    def _revive(self, error: ProviderError, model: str, call: Call) -> bool:
        """Bring back a model that left memory between calls; say whether to send again."""
        return False

    # --- the road of a call ---------------------------------------------------------------

    def stream_completion(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Stream:
        if not isinstance(request, CompletionRequest):
            raise TypeError("this takes a CompletionRequest; chat and stream take a text")
        model = self._model(request.model, timeout, cancel)
        request, warnings = self._fit(request)
        span = self._span("stream", model)
        call = self._call(timeout, cancel, span=span)
        try:
            self._before_sending(model, call)
            self._check_abilities(request, model, call)
            path, payload, parser = self._question(request, model)
            body = encode(payload)
            del payload  # a traceback with locals shows no prompt
            answer = self._send_to_model(model, path, body, call)
        except BaseException as error:
            call.over()
            if isinstance(error, ProviderError):
                raise self._failed(error, request, model, span) from error.__cause__
            raise
        decoder = self._decoder(answer.content_type)
        parser.whole = isinstance(decoder, WholeDecoder)
        return Stream(
            answer,
            decoder,
            parser,
            max_bytes=self.settings.max_body_bytes,
            inspect=Inspector(partial(self._check_answer, request, model, call=call), warnings),
            conclude=lambda summary: self._conclude(summary, request, model, warnings, span, call),
            explain=lambda error: self._failed(error, request, model, span),
        )

    def embed(
        self,
        texts: Texts,
        *,
        model: Optional[str] = None,
        dimensions: Optional[int] = None,
        truncate: bool = False,
        keep_alive: Optional[float] = None,
        batch_size: int = BATCH_SIZE,
        batch_characters: int = BATCH_CHARACTERS,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> EmbeddingResponse:
        try:
            request = as_embedding_request(
                texts,
                model=model,
                dimensions=dimensions,
                truncate=truncate,
                keep_alive=keep_alive,
                batch_size=batch_size,
                batch_characters=batch_characters,
            )
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del texts  # a traceback with locals shows no text
        self._check_embedding(request)
        chosen = self._model(request.model, timeout, cancel)
        span = self._span("embed", chosen)
        call = self._call(timeout, cancel, span=span)
        work = Embedding(request, partial(self._embed_batch, chosen, call))
        try:
            response = work.run(self.name)
        except ProviderError as error:
            self._transport.locate(work.keep_in(error)).add_context(model=chosen)
            span.failed(error)
            raise error from error.__cause__
        finally:
            call.over()
        span.finished(
            prompt_tokens=response.usage.prompt_tokens,
            attempts=response.attempts,
        )
        return response

    def _check_abilities(self, request: CompletionRequest, model: str, call: Call) -> None:
        """Refuse what the model surely lacks, before the prompt is sent."""
        self._abilities.check(
            request,
            model,
            ask=lambda: self._capabilities_of(model, call),
            listed=lambda: self.list_models(timeout=call.limits_left(), cancel=call.token),
        )

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        model = self._model(request.model, timeout, cancel)
        exact = self._count_exactly(request, model, timeout, cancel)
        return self._calibration.count(model, request) if exact is None else exact

    def _embed_batch(self, model: str, call: Call, batch: EmbeddingRequest) -> Tuple[Vectors, int]:
        """Send one batch, where it may go; an error shows nothing of it."""
        try:
            self._before_sending(model, call)
            return self._embed_alive(batch, model, call)
        except ProviderError as error:
            if (
                isinstance(error, ContextOverflowError)
                and "truncate" not in self._embed_unsupported
            ):
                error.hint = "shorten the text, or let the server cut it with truncate=True"
            # Only this batch can be quoted; looking for all texts would take long.
            self._transport.locate(error, texts_of(batch)).add_context(model=model)
            raise

    def _embed_alive(self, batch: EmbeddingRequest, model: str, call: Call) -> Tuple[Vectors, int]:
        """Send one batch; once more if the model had left memory, and could be reloaded."""
        try:
            return self._embed(batch, model, call)
        except ProviderError as error:
            if not self._revive(error, model, call):
                raise
        return self._embed(batch, model, call)

    def _send_to_model(self, model: str, path: str, body: Body, call: Call) -> Answer:
        """Send a question; once more if the model had left memory, and could be reloaded."""
        try:
            return self._transport.open("POST", path, call=call, body=body, accept=self._accept)
        except ProviderError as error:
            if not self._revive(error, model, call):
                raise
        return self._transport.open("POST", path, call=call, body=body, accept=self._accept)

    def supports_model(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        return self._find(model, self.list_models(timeout=timeout, cancel=cancel)) is not None

    def _find(self, model: str, listed: Sequence[ModelInfo]) -> Optional[ModelInfo]:
        return next((info for info in listed if self._is_same(info.name, model)), None)

    # --- pieces of it ---------------------------------------------------------------------

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
        span: Optional[Span] = None,
    ) -> Call:
        call = Call(resolve(timeout, self.settings.limits, total_s), cancel)
        if span is not None:
            call.on_retry = span.retried
        return call

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

    def _fit(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        """Refuse what the server cannot take, or leave it out with a warning."""
        warnings = []
        unsupported = dict(self._unsupported)
        if request.prompt is not None:
            unsupported.update(dict.fromkeys(self._chat_only, "pass messages instead of prompt"))
        for name, instead in unsupported.items():
            value = getattr(request, name)
            if value is None or value == ():
                continue
            message = f"{self.name} cannot take {name}"
            if request.strict:
                raise UnsupportedError(
                    message, hint=f"{instead}; or pass strict=False", provider=self.name
                )
            warnings.append(f"{message}; it was left out")
            request = request.replace(**{name: () if value == () else None})
        return request, warnings

    def _check_embedding(self, request: EmbeddingRequest) -> None:
        for name, instead in self._embed_unsupported.items():
            if getattr(request, name) is not None and getattr(request, name) is not False:
                raise UnsupportedError(
                    f"{self.name} cannot take {name}", hint=instead, provider=self.name
                )

    def _decoder(self, content_type: str) -> Decoder:
        """Choose the framing that the answer says it has, else the one that was asked for."""
        framing = content_type if content_type in _FRAMINGS else self._accept
        decoder = _FRAMINGS[framing]
        settings = self.settings
        return decoder(
            settings.max_body_bytes if decoder is WholeDecoder else settings.max_line_bytes
        )

    def _conclude(
        self,
        summary: Summary,
        request: CompletionRequest,
        model: str,
        warnings: List[str],
        span: Span,
        call: Call,
    ) -> CompletionResponse:
        response = summary.response(provider=self.name, model=model)
        lost = self._windows.check(
            request, model, response.usage, response.text, lambda: self._window(model, call)
        )
        response = response.replace(warnings=(*warnings, *([lost] if lost else [])))
        self._calibration.learn(model, request, response.usage.prompt_tokens)
        span.finished(
            first_token_s=response.timings.first_token_s,
            prompt_tokens=response.usage.prompt_tokens,
            completion_tokens=response.usage.completion_tokens,
            finish_reason=response.finish_reason,
            attempts=response.attempts,
        )
        return response

    def _window(self, model: str, call: Call) -> Optional[int]:
        """Ask for the window that is allocated for a model; None where nobody can tell."""
        try:
            loaded = self.loaded_models(timeout=call.limits_left(), cancel=call.token)
        except UnsupportedError:
            return None
        return next((m.context_length for m in loaded if self._is_same(m.name, model)), None)

    def _is_same(self, listed: str, model: str) -> bool:
        """Whether a name in the server's list means this model."""
        return listed == model

    def _span(self, operation: str, model: Optional[str]) -> Span:
        settings = self.settings
        return Span(
            settings.listeners,
            operation=operation,
            provider=self.name,
            model=model,
            endpoint=settings.endpoint.url,
        )

    def _failed(
        self, error: ProviderError, request: _Request, model: str, span: Span
    ) -> ProviderError:
        error = self._transport.locate(error, texts_of(request))
        error.add_context(model=model)
        if isinstance(error, ModelError):
            self._abilities.forget(model)
        span.failed(error)
        return error
