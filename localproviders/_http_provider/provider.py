"""`HTTPProvider`: the base class of the providers that speak HTTP."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from localproviders._decision_verbs import DecisionRequest
from localproviders._dialect.common import Vectors
from localproviders._dialect.error_answers import address_hint
from localproviders._dialect.thinking import with_thinking_warning
from localproviders._did_you_mean import most_similar
from localproviders._http.deadline import Call
from localproviders._http.service import USUAL, Service
from localproviders._http.stream import ChunkParser, Stream
from localproviders._http.summary import Summary
from localproviders._http_provider.call_runner import CallRunner, Completion, Raw
from localproviders._http_provider.cold_loads import ColdLoads, KeepAlive, loaded_window
from localproviders._http_provider.model_checks import (
    USUALLY_UNSUPPORTED,
    CapabilityCheck,
    ContextWindowCheck,
    suggest_after,
)
from localproviders._http_provider.sending import (
    OwnField,
    Sending,
    hint_after,
    leave_out,
    make_decoder,
    refuse_documents,
)
from localproviders._lazy import LazyModule, LazyPart
from localproviders._signatures import (
    ABSENT,
    NoArguments,
    NoKeywords,
    Unpack,
    exact_keywords,
    name_misspelt,
    wrong_call,
)
from localproviders._token_estimate import Calibration
from localproviders.errors import (
    CapabilityError,
    ConfigurationError,
    ModelError,
    ModelNotFoundError,
    ProviderError,
    UnsupportedError,
)
from localproviders.provider import ModelProvider, Texts
from localproviders.secret import Sealed
from localproviders.settings import Settings
from localproviders.telemetry import Span, take_verb
from localproviders.types.decisions import Decisions
from localproviders.types.inputs import named
from localproviders.types.limits import CancelToken, Limits, Timeout
from localproviders.types.models import LoadedModel, ModelCapabilities, ModelInfo
from localproviders.types.requests import (
    BATCH_CHARACTERS,
    BATCH_SIZE,
    CompletionRequest,
    EmbeddingRequest,
    ModelLike,
    as_embedding_request,
    texts_of,
)
from localproviders.types.responses import (
    CompletionChunk,
    CompletionResponse,
    EmbeddingResponse,
    TokenCount,
)

if TYPE_CHECKING:
    from localproviders._dialect import missing_models
    from localproviders._dialect.label_prompts import LabelTokens
    from localproviders._http_provider import embedding
    from localproviders._http_provider.deciding import Deciding
else:
    embedding = LazyModule("localproviders._http_provider.embedding")
    missing_models = LazyModule("localproviders._dialect.missing_models")

# Maximum number of seconds for requesting the model list, to complete an error about a missing
# model.
_NAMING_S = 5.0

#: A completion request: its path, its JSON, and the parser of the response.
WireRequest = Tuple[str, Dict[str, Any], ChunkParser]

#: A request with a single JSON value as its response: its path, its JSON, and the function that
#: reads the response.
WireExchange = Tuple[str, Mapping[str, Any], Callable[[Any], Any]]

#: An embedding request: its path, its JSON, and the function that reads the response.
EmbeddingExchange = Tuple[str, Mapping[str, Any], Callable[[Any], Vectors]]


class HTTPProvider(ModelProvider):
    """Base class of the providers that speak HTTP.

    A subclass defines the paths, the JSON and the error responses of its server.

    Args:
        settings: The provider's settings.
    """

    #: Fields of completion requests that this server does not support, each with a hint.
    _unsupported: Mapping[str, str] = USUALLY_UNSUPPORTED
    #: Values of these fields that have the same effect as leaving the field out.
    _usual: Mapping[str, str] = {}
    #: Fields that this server supports only with messages, not with a prompt.
    _chat_only: Tuple[str, ...] = ("tools", "tool_choice")
    #: Fields of embedding requests that this server does not support, each with a hint.
    _embed_unsupported: Mapping[str, str] = {}
    #: Description of how the server is reached.
    _service: Service = USUAL
    #: Whether this server reads the documents of messages.
    _reads_documents = False
    _accept = "text/event-stream"
    #: The kind of server and the path of its addresses, for hints.
    _kind = "this kind of server"
    _api_path = ""
    #: An error about a missing model gets a new hint, which begins with the names of the server's
    #: models. Each key is a hint that is replaced; its value is the rest of the new hint. Errors
    #: with other hints are not changed.
    _ways_to_get: Mapping[Optional[str], str] = {None: ""}
    #: The rules by which the server keeps models in memory.
    _keep_alive = KeepAlive()
    #: Module with `DECISIONS`, the `DecisionDialect` of the server; None if there is none.
    _decision_wire: Any = None
    _deciding: LazyPart[Deciding] = LazyPart(
        "localproviders._http_provider.deciding:Deciding", "_decision_wire"
    )

    def __init__(self, settings: Settings) -> None:
        if not isinstance(settings, Settings):
            kind = type(settings).__name__
            raise ConfigurationError(f"settings is {kind}, and must be Settings(...)")
        self._set_up(settings)

    def _set_up(self, settings: Settings) -> None:
        """Set the attributes from the settings, without any cached facts about the server.

        The constructor and unpickling call this method.
        """
        self.settings = settings
        self._runner = CallRunner(settings, self._explain, self._handle_failure, self._service)
        self._transport = self._runner.transport
        self._address = settings.endpoint.url
        self._abilities = CapabilityCheck()
        self._calibration = Calibration()
        self._cold_loads = ColdLoads(self._keep_alive)
        self._windows = ContextWindowCheck(self._calibration)

    @property
    def name(self) -> str:
        return self.settings.name

    def __repr__(self) -> str:
        settings: Optional[Settings] = vars(self).get("settings")
        # A traceback may show an object that has no settings, after an error in the constructor.
        if settings is None:
            return f"<half-made {type(self).__name__}>"
        return f"{type(self).__name__}({settings.endpoint.url!r}, name={self.name!r})"

    def __getstate__(self) -> Dict[str, Any]:
        return {"settings": self.settings}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._set_up(state["settings"])

    def limits(self, timeout: Timeout = None) -> Limits:
        return self._runner.limits(timeout)

    def close(self) -> None:
        self._transport.close()

    # --- methods of a dialect -------------------------------------------------------------

    @abstractmethod
    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        """Return the error that an error response reports."""

    @abstractmethod
    def _wire_request(self, request: CompletionRequest, model: str, call: Call) -> WireRequest:
        """Return path, JSON and parser of a completion request."""

    @abstractmethod
    def _embed_exchange(self, batch: EmbeddingRequest, model: str, call: Call) -> EmbeddingExchange:
        """Return path, JSON and reader of the embedding request for a batch of texts."""

    @abstractmethod
    def _check_served(
        self, model: str, served: Optional[str], call: Call, raw: Raw = None
    ) -> Optional[str]:
        """Check which model has answered; return a warning, or None.

        Args:
            model: Name of the requested model.
            served: Name of the model in the response. None if it has none, or if the caller accepts
                any model.
            call: The call of the request.
            raw: The JSON object with the name, for other facts about the model.

        Raises:
            WrongModelError: Another model has answered.
            ProviderError: The model could not be checked.
        """

    def _check_chunk(
        self, request: CompletionRequest, model: str, chunk: CompletionChunk, call: Call
    ) -> Optional[str]:
        """Check a chunk, such as the model that it names; return a warning, or None.

        Raises:
            ProviderError: The chunk is not acceptable.
        """
        served = None if request.allow_other_model else chunk.model
        return self._check_served(model, served, call, chunk.raw)

    def _check_locality(self, model: str, call: Call) -> None:
        """Check that the locality allows sending the prompt to this model.

        The address of the connection is checked in any case, by other code. So the default does
        nothing. The provider of a server that forwards requests to a cloud overrides this method.

        Raises:
            LocalityError: The model runs outside the allowed locality.
        """

    def _check_digest(self, model: str, expected: str, call: Call) -> None:
        """Ask the server for the digest of a model, and check that it begins with `expected`.

        By default, this method raises the error for a server that reports no digest.

        Raises:
            WrongModelError: The model has another digest.
            UnsupportedError: The server reports no digest.
        """
        hint = "leave it out: only Ollama reports digests"
        raise UnsupportedError(f"{self.name} does not support expect_digest", hint=hint)

    def _digest_of(self, model: str) -> Optional[str]:
        """Return the digest of a model from a recently read list; None if the digest is unknown."""
        return None

    def _check_before(self, model: str, expect_digest: Optional[str], call: Call) -> Optional[str]:
        """Check a model before a prompt is sent to it; return its digest if it is known.

        Raises:
            ProviderError: The locality does not allow the model, or it has another digest.
        """
        if expect_digest is not None:
            self._check_digest(model, expect_digest, call)
        self._check_locality(model, call)
        return self._digest_of(model)

    def _count_exactly(
        self,
        request: CompletionRequest,
        model: str,
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> Optional[TokenCount]:
        """Let the server count the tokens of a request.

        The result is None if the server cannot count, which is the default.
        """
        return None

    def _label_tokens(self, labels: Sequence[str], model: str, call: Call) -> Optional[LabelTokens]:
        """Ask the server for the tokens of labels.

        The result is None if the server cannot restrict an answer to these tokens. This is the
        default.
        """
        return None

    def _capabilities_of(self, model: str, call: Call) -> ModelCapabilities:
        """Ask the server for the capabilities of a model.

        By default the server is not asked, and all capabilities are unknown.
        """
        return ModelCapabilities()

    def _own_fields(self, path: str) -> Sequence[OwnField]:
        """Return the fields that this package adds to requests to a path, and can leave out.

        They are left out if the server refuses them. By default, there are none.
        """
        return ()

    def _optional_fields(self) -> Sequence[OwnField]:
        """Return the caller's fields that are left out if the server refuses them.

        This is done only for a request that is not strict. By default, there are none.
        """
        return ()

    def _send(self, model: str, call: Call, make: Callable[[Call], WireExchange]) -> Sending:
        """Return a request whose response is a single JSON value; its method `ask` sends it."""
        return Sending(self, model, call, make)

    def _reload_evicted(self, error: ProviderError, model: str, call: Call) -> Optional[str]:
        """Reload a model that was evicted from memory between calls, and return a warning.

        If no model was reloaded, the result is None, and the caller must raise the error.
        """
        return None

    def _is_same(self, listed: str, model: str) -> bool:
        """Return whether a name in the server's list means this model."""
        return listed == model

    def _serves(self, loaded: LoadedModel, model: str) -> bool:
        """Return whether a model in memory answers requests for this name."""
        return self._is_same(loaded.name, model) or loaded.instance == model

    def _nearest(self, model: str, names: Iterable[str]) -> Optional[str]:
        """Return the most similar of the server's names; None if none is similar."""
        return most_similar(model, names)

    def _handle_failure(self, error: ProviderError, call: Call) -> None:
        """Drop cached facts about the server after an error, and add facts to the error.

        If the server lacks the model or a capability, the hint names models of the server. If the
        address of the server seems to be wrong, the hint is replaced.
        """
        self._forget_after(error)
        self._cold_loads.forget(error.model)
        if isinstance(error, (ModelNotFoundError, CapabilityError)):
            limits = call.limits_left()
            limits = limits.replace(total_s=min(limits.total_s, _NAMING_S))
            ask = partial(self.list_models, timeout=limits, cancel=call.token)
            if isinstance(error, CapabilityError):
                error.hint = suggest_after(error, ask) or error.hint
            else:
                missing_models.complete_error(error, ask, self._ways_to_get, self._nearest)
        hint = address_hint(error, self.settings.endpoint, self._kind, self._api_path)
        error.hint = hint or error.hint

    def _forget_after(self, error: ProviderError) -> None:
        """Drop the cached facts about the server that may be wrong after this error."""

    # --- models -----------------------------------------------------------------------------

    @exact_keywords
    def supports_model(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        return (
            self._find(named(model), self.list_models(timeout=timeout, cancel=cancel)) is not None
        )

    def _find(self, model: str, listed: Sequence[ModelInfo]) -> Optional[ModelInfo]:
        exact = next((info for info in listed if info.name == model), None)
        return exact or next((info for info in listed if self._is_same(info.name, model)), None)

    def _choose_model(
        self, requested: Optional[str], timeout: Timeout, cancel: Optional[CancelToken]
    ) -> str:
        """Return the model of the request, or else the model of the provider.

        Raises:
            ConfigurationError: Neither names a model. The hint lists the server's models.
            ProviderError: Listing the models failed.
        """
        model = requested or self.settings.model
        if model:
            return model
        names = [info.name for info in self.list_models(timeout=timeout, cancel=cancel)]
        raise missing_models.no_model(names, self.name, self.settings.endpoint.url)

    # --- text -------------------------------------------------------------------------------

    @name_misspelt
    def stream_completion(
        self,
        request: CompletionRequest,
        *others: Unpack[NoArguments],
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **unknown: Unpack[NoKeywords],
    ) -> Stream:
        operation = take_verb("stream_completion")
        is_too_many, others = bool(others), ()
        if unknown or is_too_many:
            raise wrong_call(ModelProvider.stream_completion, unknown, is_too_many)
        if not isinstance(request, CompletionRequest):
            kind = type(request).__name__
            raise TypeError(
                f"expected a CompletionRequest, got {kind}; use chat() or stream() for text"
            )
        model = self._choose_model(request.model, timeout, cancel)
        request, warnings = self._adapt(request)
        call, span = self._begin(operation, request, model, timeout, cancel)
        make_request = partial(self._wire_request, request, model)
        return self._open_stream(request, model, warnings, make_request, call, span)

    def _begin(
        self,
        operation: str,
        request: CompletionRequest,
        model: str,
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> Tuple[Call, Span]:
        """Begin a streamed call: return its deadline and its telemetry span."""
        task = "chat" if request.prompt is None else "completion"
        call = Call(self._runner.limits(timeout), cancel)
        return call, self._runner.span(operation, model, call, task, request)

    def _open_stream(
        self,
        request: CompletionRequest,
        model: str,
        warnings: List[str],
        make_request: Callable[[Call], WireRequest],
        call: Call,
        span: Span,
    ) -> Stream:
        """Send the request of a call and return its stream, which ends the call and its span.

        Args:
            request: The request of the caller.
            model: Name of the model.
            warnings: Warnings for the response; more may be added.
            make_request: Returns path, JSON and parser of the request in the server's dialect.
            call: The deadline and the cancellation state.
            span: The telemetry span.
        """
        try:
            digest = self._check_before(model, request.expect_digest, call)
            warnings += self._check_capabilities(request, model, call)
            optional = () if request.strict else self._optional_fields()
            sending = Sending(self, model, call, make_request, request.extra_body, optional)
            while True:
                path, body, accept, parser = sending.prepare()
                try:
                    answer = self._transport.open(
                        "POST", path, call=call, body=body, accept=accept, attempts=sending.attempts
                    )
                    break
                except ProviderError as error:
                    sending.recover(error)
            warnings += sending.accepted()
            decoder = make_decoder(self.settings, self._accept, answer.content_type, parser)
            owner = Completion(self, request, model, warnings, call, span, sending, digest)
            most = self.settings.max_body_bytes
            return Stream(answer, decoder, parser, max_bytes=most, owner=owner)
        except BaseException as error:
            # If a `Stream` was returned, the stream ends the call and its telemetry.
            call.finish()
            if isinstance(error, ProviderError):
                raise self._failed(error, request, model, call, span) from error.__cause__
            span.failed(error)
            raise

    def _adapt(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        """Adapt a request to the server: remove unsupported fields, and return a warning for each.

        Raises:
            UnsupportedError: A field is not supported, and the request is strict. Or a message has
                a document, which the server does not read.
        """
        name = self.name
        if not self._reads_documents:
            refuse_documents(request, name)
        return leave_out(request, self._unsupported, self._chat_only, self._usual, name)

    def _check_capabilities(self, request: CompletionRequest, model: str, call: Call) -> List[str]:
        """Check that the model has the capabilities that the request needs; return warnings.

        Raises:
            CapabilityError: The server says that the model lacks one of them.
        """
        self._abilities.check(
            request,
            model,
            ask=lambda: self._capabilities_of(model, call),
            listed=lambda: self.list_models(timeout=call.limits_left(), cancel=call.token),
        )
        return []

    def _check_length(self, completion: Completion, pieces: int) -> float:
        """Check the length of an answer so far; return the length at which to check it again.

        Raises:
            ContextOverflowError: The answer is longer than the context window.
        """
        ask = partial(self._window, completion.model, completion.call)
        return self._windows.check_so_far(completion.request, completion.model, pieces, ask)

    def _conclude(self, completion: Completion, summary: Summary) -> CompletionResponse:
        """Return the response after the last chunk, and send the ``finished`` event.

        Raises:
            ContextOverflowError: Prompt and answer were longer than the context window.
        """
        model, usage = completion.model, summary.usage
        self._cold_loads.answered(model, completion.request.keep_alive)
        ask, on_loss = partial(self._window, model, completion.call), completion.span.overflowed
        lost = self._windows.check(completion.request, model, usage, ask=ask, on_loss=on_loss)
        is_other = summary.model not in (None, model) and not self._is_same(summary.model, model)
        response = summary.response(
            provider=self.name,
            model=model,
            warnings=(*completion.warnings, *lost),
            endpoint=self._address,
            digest=None if is_other else completion.digest,
            request_id=completion.call.request_id,
        )
        response = with_thinking_warning(completion.request, response)
        completion.span.answered(response)
        return response

    def _window(self, model: str, call: Call) -> Optional[int]:
        """Ask the server for the context window of a loaded model; return None if it is unknown."""
        return loaded_window(self, model, call)

    def _failed(
        self, error: ProviderError, request: CompletionRequest, model: str, call: Call, span: Span
    ) -> ProviderError:
        """Return the error of a completion with its context, and send the ``failed`` event."""
        error.hint = hint_after(error, request, self._optional_fields()) or error.hint
        error = self._runner.failed(error, span, model, call, texts_of(request))
        # The model may have been removed or replaced.
        if isinstance(error, ModelError):
            self._abilities.forget(model)
        return error

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        """Count the tokens of a request on the server; estimate them if the server cannot count."""
        model = self._choose_model(request.model, timeout, cancel)
        exact = self._count_exactly(request, model, timeout, cancel)
        return self._calibration.count(model, request) if exact is None else exact

    # --- decisions --------------------------------------------------------------------------

    def _prepare_decisions(
        self, request: DecisionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> DecisionRequest:
        return self._deciding.prepare(self, request, timeout, cancel)

    def _decide(
        self, request: DecisionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> Decisions:
        return self._deciding.decide(self, request, timeout, cancel)

    # --- vectors ----------------------------------------------------------------------------

    @name_misspelt
    def embed(
        self,
        texts: Texts,
        *others: Unpack[NoArguments],
        model: Optional[ModelLike] = None,
        dimensions: Optional[int] = None,
        truncate: bool = False,
        keep_alive: Union[float, str, None] = None,
        batch_size: int = BATCH_SIZE,
        batch_characters: int = BATCH_CHARACTERS,
        expect_digest: Optional[str] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **unknown: Unpack[NoKeywords],
    ) -> EmbeddingResponse:
        # The texts are sealed, so that a traceback with local variables does not show them.
        sealed = Sealed(texts)
        del texts
        is_too_many, others = bool(others), ()
        if unknown or is_too_many or sealed.cell_contents is ABSENT:
            raise wrong_call(ModelProvider.embed, unknown, is_too_many)
        request = as_embedding_request(
            sealed.cell_contents,
            model=model,
            dimensions=dimensions,
            truncate=truncate,
            keep_alive=keep_alive,
            batch_size=batch_size,
            batch_characters=batch_characters,
            expect_digest=expect_digest,
        )
        self._check_embedding(request)
        chosen = self._choose_model(request.model, timeout, cancel)
        return self._runner.run(
            embedding.Embedding(self, request, chosen).run,
            operation="embed",
            model=chosen,
            task="embedding",
            facts=embedding.facts_of,
            timeout=timeout,
            cancel=cancel,
        )

    def _embed_otherwise(
        self, error: ProviderError, batch: EmbeddingRequest, model: str, call: Call
    ) -> Optional[Tuple[Vectors, int]]:
        """Embed the batch by another route of the server; return None if there is none."""
        return None

    def _check_embedding(self, request: EmbeddingRequest) -> None:
        """Raise `UnsupportedError` if the request has a field that the server does not support."""
        embedding.check_fields(self.name, self._embed_unsupported, request)
