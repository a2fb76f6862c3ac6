"""`AnthropicProvider`, the provider for Anthropic's Messages API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders import _decision_verbs as decision_verbs
from localproviders._address import parse_endpoint
from localproviders._did_you_mean import ListOf
from localproviders._http.deadline import Call
from localproviders._http.service import Service
from localproviders._http.summary import Summary
from localproviders._http_provider import HTTPProvider
from localproviders._http_provider.call_runner import Completion, Raw
from localproviders._http_provider.provider import EmbeddingExchange, WireRequest
from localproviders._http_provider.sending import OwnField
from localproviders._http_provider.service_settings import make_service_settings
from localproviders._lazy import LazyModule, LazyPart
from localproviders._record import FrozenDict
from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.anthropic.wire.errors import explain_answer
from localproviders.anthropic.wire.kept_blocks import has_unsigned_thinking, same_model
from localproviders.anthropic.wire.requests import (
    COUNT_PATH,
    MESSAGES_PATH,
    count_payload,
    messages_payload,
)
from localproviders.anthropic.wire.responses import REFUSAL, EventParser, parse_count, refusal_of
from localproviders.anthropic.wire.servers import ADDRESS, HOST, SERVICE, Server, is_service_host
from localproviders.anthropic.wire.thinking import Unwritable, thinking_fields
from localproviders.errors import (
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    ServerBusyError,
    UnsupportedError,
)
from localproviders.secret import Sealed
from localproviders.settings import (
    EMPTY,
    ApiKey,
    ConnectionOptions,
    Settings,
)
from localproviders.types.inputs import at_least_one, named
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout
from localproviders.types.models import ModelCapabilities, ModelInfo
from localproviders.types.requests import (
    CompletionRequest,
    EmbeddingRequest,
    Locality,
    ModelLike,
    texts_of,
)
from localproviders.types.responses import CompletionResponse, TokenCount

if TYPE_CHECKING:
    from localproviders.anthropic.catalog import Catalog
    from localproviders.anthropic.wire import own_fields, schemas
else:
    own_fields = LazyModule("localproviders.anthropic.wire.own_fields")
    schemas = LazyModule("localproviders.anthropic.wire.schemas")

_KEY_HEADER = "x-api-key"
# A user may write the address with this path, which the routes of this package begin with.
_SUFFIXES = ("v1",)
# The API requires `max_tokens`. This is the value for calls without this argument.
_MOST_TOKENS = 4096
_NO_MAX_TOKENS = (
    f"no max_tokens was given, and this API requires one, so {_MOST_TOKENS} was sent: pass "
    "max_tokens to the call or to the constructor"
)

_NOT_HERE = "this API has no such field"
_REFUSED = "the service refused to answer{}: any text in the response is only the refusal"
_PAUSED = "the service paused this turn: to go on, append answer.message and send the conversation"


class AnthropicProvider(HTTPProvider):
    """Anthropic's Messages API, or a local server that has its route ``/v1/messages``.

    Ollama, LM Studio and llama.cpp have this route, too, but silently ignore some of its fields.
    The provider asks such a server once for its list of models, which shows which program it is.
    If a request has fields that this program ignores, the call raises `UnsupportedError`. With
    ``strict=False``, these fields are left out instead, and the answer has a warning.

    Args:
        base_url: Address of the server, with or without ``/v1``; it may be a UNIX socket. None
            means ``https://api.anthropic.com``, which needs ``locality="any"``.
        model: Model for calls without a model. If it is None, such calls raise
            `ConfigurationError`.
        max_tokens: Longest answer, in tokens, for calls without `max_tokens`. None means 4096, and
            a warning in each such answer, because the API requires a number.
        name: Name of the provider in responses, errors and events.
        api_key: Key that is sent in the header ``x-api-key``, to this address only. None reads
            ``ANTHROPIC_API_KEY`` if the address is that of Anthropic's service.
        timeout: Limits for calls without a `timeout`: seconds for the whole call, or a
            `Limits` value. None means ``Limits()``.
        locality: Places to which prompts may be sent: ``loopback``, ``private`` or ``any``.
            None uses the value of ``LOCALPROVIDERS_LOCALITY``, or ``loopback`` if it is not
            set. The service needs ``any``. With another locality, each call raises
            `LocalityError` before the name of the service's host is looked up.
        settings: A complete `Settings` value. The other arguments, except `max_tokens`, are then
            not used.
        **options: Fields of `ConnectionOptions`: ``retry``, ``ca_bundle``,
            ``client_cert``, ``proxies``, ``listeners``, ``allow_plaintext_key``,
            ``max_line_bytes``, ``max_body_bytes``, ``max_json_depth``, ``headers`` and ``auth``.
            `Settings` describes each. ``headers`` can have ``anthropic-version``, which is
            ``2023-06-01`` by default, and ``anthropic-beta``.

    The constructor sends nothing. The first call opens a connection and keeps it for later
    calls until `close`.

    Raises:
        ConfigurationError: A value is invalid.
        ValueError: `max_tokens` is not a whole number of at least 1.
        TypeError: A keyword argument does not exist.
    """

    _catalog: LazyPart[Catalog] = LazyPart(
        "localproviders.anthropic.catalog:Catalog", "_runner", "_is_service"
    )

    _kind = "Anthropic's API"
    _service = Service(
        hosts=(HOST,),
        key_header=_KEY_HEADER,
        headers=FrozenDict({"anthropic-version": "2023-06-01"}),
    )
    _reads_documents = True
    _unsupported: Mapping[str, str] = {
        "min_p": _NOT_HERE,
        "seed": "this API has no seed: equal requests may have different answers",
        "repeat_penalty": _NOT_HERE,
        "presence_penalty": _NOT_HERE,
        "frequency_penalty": _NOT_HERE,
        "logprobs": "this API returns no probabilities",
        "top_logprobs": "this API returns no probabilities",
        "context_length": "the model has one context window",
        "keep_alive": "this API keeps no model in memory",
        "grammar": "pass response_schema, which the service enforces",
    }
    _usual: Mapping[str, Any] = {"logprobs": False}

    @exact_keywords
    @show_keywords(ConnectionOptions, Settings)
    def __init__(
        self,
        base_url: Optional[str] = None,
        *,
        model: Optional[str] = None,
        max_tokens: Optional[int] = None,
        name: str = "anthropic",
        api_key: ApiKey = None,
        timeout: Timeout = None,
        locality: Optional[Locality] = None,
        settings: Optional[Settings] = None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        # The cells hide the address and the key from tracebacks that show local variables (see
        # `Sealed`).
        given, base_url, api_key, options = Sealed((base_url, api_key, options)), None, None, EMPTY
        if settings is None:
            settings = make_service_settings(
                given,
                parse_endpoint(ADDRESS, default_port=443, api_suffixes=_SUFFIXES),
                ("ANTHROPIC_API_KEY",),
                name="anthropic" if name is None else name,
                model=model,
                timeout=timeout,
                locality=locality,
                key_headers=(_KEY_HEADER,),
                api_suffixes=_SUFFIXES,
            )
        self._max_tokens = None if max_tokens is None else at_least_one("max_tokens", max_tokens)
        super().__init__(settings=settings)

    def __getstate__(self) -> Dict[str, Any]:
        return {**super().__getstate__(), "max_tokens": self._max_tokens}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._max_tokens = state.get("max_tokens")
        super().__setstate__(state)

    @property
    def _is_service(self) -> bool:
        return is_service_host(self.settings.endpoint.host)

    # --- models -------------------------------------------------------------------------------

    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """Return the models of all pages, in the server's order.

        Args:
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            LocalityError: The locality does not allow the address of the service.
            AuthenticationError: The key is missing or wrong.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is not a list of
                models.
        """
        return self._abilities.learn(ListOf(self._catalog.list_models(timeout, cancel)))

    def model_info(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Return the facts about one model: context window, abilities and levels of thinking.

        Anthropic's service also accepts an alias. The result then has the model's full name, which
        ends with a date.

        Args:
            model: Name of the model or an alias, or its `ModelInfo` or `LoadedModel`.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            ModelNotFoundError: The server has no such model.
            LocalityError: The locality does not allow the address of the service.
            AuthenticationError: The key is missing or wrong.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response does not describe a
                model.
        """
        return self._abilities.learn([self._catalog.model_info(named(model), timeout, cancel)])[0]

    # --- verbs that the API does not have -------------------------------------------------------

    _decide = decision_verbs.refuse_to_decide
    _prepare_decisions = decision_verbs.prepare_nothing

    def _check_embedding(self, request: EmbeddingRequest) -> None:
        raise UnsupportedError(
            f"{self.name} does not support embed(): Anthropic's API has no embeddings",
            hint="embed with a local model, such as OllamaProvider(model='all-minilm')",
            provider=self.name,
        )

    def _embed_exchange(self, batch: EmbeddingRequest, model: str, call: Call) -> EmbeddingExchange:
        raise NotImplementedError  # `_check_embedding` refuses each request

    # --- the dialect ----------------------------------------------------------------------------

    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        return explain_answer(status, text, headers)

    def _is_same(self, listed: str, model: str) -> bool:
        return same_model(listed, model)

    def _own_fields(self, path: str) -> Sequence[OwnField]:
        return own_fields.of_path(path)

    def _optional_fields(self) -> Sequence[OwnField]:
        return own_fields.OPTIONAL

    def _adapt(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        if request.prompt is not None:
            raise UnsupportedError(
                f"{self.name} does not support prompt: Anthropic's API cannot continue plain text",
                hint="pass messages instead of prompt",
                provider=self.name,
            )
        self._refuse_audio(request)
        request, warnings = super()._adapt(request)
        if request.overflow == "truncate":
            refused = Unwritable("overflow='truncate'", "shorten the prompt")
            warnings += self._refuse(refused, request)
        if request.max_tokens is None and "max_tokens" not in request.extra_body:
            warnings += [] if self._max_tokens else [_NO_MAX_TOKENS]
            request = request.replace(max_tokens=self._max_tokens or _MOST_TOKENS)
        return request, warnings

    def _refuse_audio(self, request: CompletionRequest) -> None:
        if any(message.audio for message in request.messages):
            raise UnsupportedError(
                f"{self.name} does not support audio",
                hint="use OllamaProvider with a model that reads audio",
                provider=self.name,
            )

    def _refuse(self, refused: Unwritable, request: CompletionRequest) -> List[str]:
        """Return a warning for a value that is left out.

        Raises:
            UnsupportedError: The request is strict.
        """
        message = f"{self.name} does not support {refused.what}"
        if request.strict:
            hint = f"{refused.hint}; or pass strict=False"
            raise UnsupportedError(message, hint=hint, provider=self.name)
        return [f"{message}; it was left out"]

    def _check_capabilities(self, request: CompletionRequest, model: str, call: Call) -> List[str]:
        """Check the request against the kind of the server, and against the model.

        A request for facts about the server or the model is sent only if the request of the caller
        has a field that some servers ignore or some models refuse.
        """
        if _needs_server(request):
            self._catalog.server(call)
        is_about_thinking = request.thinking is not None or request.thinking_budget is not None
        if is_about_thinking and self._known_server.is_service:
            self._catalog.describe(model, call)
        warnings = self._settled(request, model)[1]
        warnings += super()._check_capabilities(request, model, call)
        return warnings

    @property
    def _known_server(self) -> Server:
        """The kind of the server; `SERVICE` if no call has found it out yet.

        A plain chat does not need the kind.
        """
        catalog = type(self)._catalog.of(self)
        return SERVICE if catalog is None else catalog.known_server

    def _settled(
        self, request: CompletionRequest, model: str
    ) -> Tuple[CompletionRequest, List[str], Dict[str, Any]]:
        """Adapt a request to the server and the model.

        Returns:
            The request without the fields that the server ignores, the warnings, and the fields of
            the request body for `thinking`.

        Raises:
            UnsupportedError: The request is strict, and the server ignores one of its fields or the
                model does not accept its `thinking`; or the request has documents, and the server
                does not read them.
        """
        server = self._known_server
        request, warnings = self._without_ignored(request, server)
        if request.thinking is None and request.thinking_budget is None:
            return request, warnings, {}
        written = thinking_fields(request, self._catalog.thinking(model), server)
        if isinstance(written, Unwritable):
            warnings += self._refuse(written, request)
            return request.replace(**dict.fromkeys(written.names)), warnings, {}
        return request, warnings, written

    def _without_ignored(
        self, request: CompletionRequest, server: Server
    ) -> Tuple[CompletionRequest, List[str]]:
        has_documents = any(message.documents for message in request.messages)
        if has_documents and not server.reads_documents:
            raise UnsupportedError(
                f"{server.name} does not read documents",
                hint="put the text of the document into the text of the message",
                provider=self.name,
            )
        warnings: List[str] = []
        for name, hint in server.ignored.items():
            if getattr(request, name) is not None:
                warnings += self._refuse(
                    Unwritable(name, f"{server.name} ignores it: {hint}"), request
                )
                request = request.replace(**{name: None})
        choice = request.tool_choice
        if choice is None or server.names_tools or choice in server.choices:
            return request, warnings
        if [choice] == [tool.name for tool in request.tools] and "required" in server.choices:
            return request.replace(tool_choice="required"), warnings
        refused = f"tool_choice={choice!r}"
        warnings += self._refuse(
            Unwritable(refused, f"{server.name} ignores it: pass only this tool, or no tool"),
            request,
        )
        return request.replace(tool_choice=None), warnings

    def _wire_request(self, request: CompletionRequest, model: str, call: Call) -> WireRequest:
        payload = self._payload(request, model)
        parser = EventParser(model, self.settings.max_json_depth, call.look)
        return MESSAGES_PATH, payload, parser

    def _payload(self, request: CompletionRequest, model: str) -> Dict[str, Any]:
        request, _, thinking = self._settled(request, model)
        schema = (
            None if request.response_schema is None else schemas.sendable(request.response_schema)
        )
        is_service = self._known_server.is_service
        return messages_payload(
            request, model, thinking, schema and schema[0], is_service=is_service
        )

    def _check_served(
        self, model: str, served: Optional[str], call: Call, raw: Raw = None
    ) -> Optional[str]:
        """Return a warning if another model answered.

        This is not an error, because a local server may answer each request with its only model.
        """
        if served is None or same_model(served, model):
            return None
        warning = f"requested model {model!r}, but the server answered with {served!r}"
        key = self.settings.api_key  # the name that the server reports may contain the key
        return warning if key is None else key.scrub(warning)

    def _conclude(self, completion: Completion, summary: Summary) -> CompletionResponse:
        completion.warnings += _warnings_of(completion.request, summary)
        return super()._conclude(completion, summary)

    def _window(self, model: str, call: Call) -> Optional[int]:
        """Return None, because this provider does not need the size of the context window.

        The service itself refuses a prompt that is too long, and reports a full window.
        """
        return None

    def _capabilities_of(self, model: str, call: Call) -> ModelCapabilities:
        return self._catalog.capabilities(model, call)

    def _forget_after(self, error: ProviderError) -> None:
        if isinstance(error, ModelNotFoundError):
            self._catalog.forget()

    # --- counts ---------------------------------------------------------------------------------

    def _count_exactly(
        self,
        request: CompletionRequest,
        model: str,
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> Optional[TokenCount]:
        adapted, _ = self._adapt(request)

        def work(call: Call) -> Optional[TokenCount]:
            if _needs_server(adapted):
                self._catalog.server(call)
            sending = self._send(
                model,
                call,
                lambda _: (COUNT_PATH, count_payload(self._payload(adapted, model)), parse_count),
            )
            try:
                tokens: int = sending.ask(self._transport)
            except (ServerBusyError, ModelNotFoundError):
                raise
            except UnsupportedError:
                return None
            except RequestRejectedError:
                if self._catalog.server(call).is_service:
                    raise  # the service would refuse the prompt for the same reason
                return None
            return TokenCount(tokens=tokens, source="exact", detail=f"the server's {COUNT_PATH}")

        return self._runner.run(
            work,
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=LISTING_TOTAL_S,
            texts=lambda: texts_of(request),
        )


def _needs_server(request: CompletionRequest) -> bool:
    """Return whether a request has a part that some servers ignore or refuse."""
    fields = (request.response_schema, request.thinking, request.thinking_budget)
    has_files = any(
        message.documents or has_unsigned_thinking(message) for message in request.messages
    )
    is_forced = request.tool_choice not in (None, "auto")
    return has_files or is_forced or any(each is not None for each in fields)


def _warnings_of(request: CompletionRequest, summary: Summary) -> List[str]:
    """Return the warnings about a complete answer: its finish reason, and the schema."""
    found: List[str] = []
    if summary.finish_reason == REFUSAL:
        category = refusal_of(summary.last.raw or {})
        found.append(_REFUSED.format(f" (category {category})" if category else ""))
    if summary.finish_reason == "pause_turn":
        found.append(_PAUSED)
    if request.response_schema is not None:
        moved = schemas.sendable(request.response_schema)[1]
        if moved:
            found.append(
                f"the service does not enforce {', '.join(moved)} of the schema, so they were sent "
                "to the model as a description"
            )
    return found
