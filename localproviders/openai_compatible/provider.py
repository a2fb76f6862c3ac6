"""`OpenAICompatibleProvider`, the provider for any server of the OpenAI dialect."""

from __future__ import annotations

import re
from types import CellType
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from localproviders._address import Endpoint, is_localhost, parse_endpoint
from localproviders._dialect.common import Vectors
from localproviders._dialect.error_rules import Rule
from localproviders._did_you_mean import ListOf
from localproviders._http.deadline import Call
from localproviders._http.service import Service
from localproviders._http.stream import ChunkParser
from localproviders._http.summary import Summary
from localproviders._http.transport import Payload
from localproviders._http_provider import HTTPProvider
from localproviders._http_provider.call_runner import Completion, Raw
from localproviders._http_provider.provider import EmbeddingExchange
from localproviders._http_provider.sending import OwnField
from localproviders._lazy import LazyModule, LazyPart
from localproviders._rerank_verb import RerankRequest, facts_of
from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.errors import ConfigurationError, ProviderError, UnsupportedError
from localproviders.openai_compatible.wire import responses as wire_responses
from localproviders.openai_compatible.wire.errors import RULES, explain_answer
from localproviders.openai_compatible.wire.requests import (
    completion_payload,
    embed_payload,
    may_lose_fields,
)
from localproviders.openai_compatible.wire.service_rules import USUAL, ServiceRules
from localproviders.secret import Sealed, as_key
from localproviders.settings import (
    EMPTY,
    ApiKey,
    ConnectionOptions,
    Settings,
    first_variable,
    make_settings,
    safe_options,
    sets_authorization,
)
from localproviders.types.inputs import named
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout
from localproviders.types.models import ModelInfo
from localproviders.types.rankings import Ranking
from localproviders.types.requests import (
    CompletionRequest,
    EmbeddingRequest,
    Locality,
    ModelLike,
    texts_of,
)
from localproviders.types.responses import CompletionResponse, TokenCount

if TYPE_CHECKING:
    from localproviders._dialect import missing_models
    from localproviders._dialect.label_prompts import LabelTokens
    from localproviders.ollama import names as ollama_names
    from localproviders.openai_compatible import kind as own_kind
    from localproviders.openai_compatible.prompt_routes import PromptRoutes
    from localproviders.openai_compatible.rerank_routes import RerankRoutes
    from localproviders.openai_compatible.root import RootTransport
    from localproviders.openai_compatible.wire import decisions as wire_decisions
    from localproviders.openai_compatible.wire import models as wire_models
    from localproviders.openai_compatible.wire import own_fields, service_errors, services
    from localproviders.openai_compatible.wire import vectors as wire_vectors
else:
    missing_models = LazyModule("localproviders._dialect.missing_models")
    ollama_names = LazyModule("localproviders.ollama.names")
    own_kind = LazyModule("localproviders.openai_compatible.kind")
    wire_models = LazyModule("localproviders.openai_compatible.wire.models")
    own_fields = LazyModule("localproviders.openai_compatible.wire.own_fields")
    services = LazyModule("localproviders.openai_compatible.wire.services")
    service_errors = LazyModule("localproviders.openai_compatible.wire.service_errors")
    wire_vectors = LazyModule("localproviders.openai_compatible.wire.vectors")
    wire_decisions = LazyModule("localproviders.openai_compatible.wire.decisions")

_THINKING_HINT = (
    "pass a level such as 'low', or the server's own switch, such as "
    'extra_body={"chat_template_kwargs": {"enable_thinking": True}}'
)


_PASSED_OVER = (
    "because strict is False, the service drops fields that are not supported by the host that it "
    "forwards the request to"
)
_REFUSED: Mapping[str, str] = {
    "refusal": "the service refused to answer: the text is no answer",
    "content_filter": "the service's filter removed the answer or a part of it",
}
#: A text that is the name of a service, and not an address.
_SERVICE_NAME = re.compile(r"[A-Za-z0-9_-]+")


def _find_endpoint(given: CellType, socket_api: str) -> Tuple[Endpoint, Tuple[str, ...]]:
    """Return the address of the server, and the environment variables for its API key.

    The variables are those of the service at this address. A local server has no variables.

    Args:
        given: The address, or the name of a service, in a `Sealed` cell.
        socket_api: Path to add to the address of a UNIX socket without a path.

    Raises:
        ConfigurationError: The address is invalid, or there is no such service.
    """
    is_text = isinstance(given.cell_contents, str)
    if (
        is_text
        and _SERVICE_NAME.fullmatch(given.cell_contents)
        and not is_localhost(given.cell_contents)
    ):
        service = own_kind.get_service(given)
        return parse_endpoint(service.address, default_port=443), service.key_variables
    endpoint = parse_endpoint(given.cell_contents, default_port=80, socket_api=socket_api)
    return endpoint, () if endpoint.is_loopback else own_kind.key_variables_at(endpoint)


class OpenAICompatibleProvider(HTTPProvider):
    """A server that speaks OpenAI's dialect, such as llama.cpp, vLLM, or a cloud service.

    Args:
        base_url: Address with the path of the API, such as ``http://127.0.0.1:8080/v1``, or the
            name of a service. It is required unless `settings` is given. A UNIX socket, such as
            ``unix:///run/llama.sock``, needs no path: ``/v1`` is added. A text that has no dot, no
            colon and no slash is the name of a service, except ``localhost``. To pass the name of
            a host instead, write ``http://NAME``.
        model: Model for calls without a model. If it is None, such calls raise an error.
        name: Name of the provider in responses, errors and events.
        api_key: Key that is sent as a Bearer token, to this address only. If it is None and the
            address is that of a known service, the key is read from the environment variable of
            this service, such as ``GROQ_API_KEY``. For any other address, pass
            ``SecretString.from_env("...")`` to read a variable.
        timeout: Limits for calls without a `timeout`: seconds for the whole call, or a
            `Limits` value. None means ``Limits()``.
        locality: Places to which prompts may be sent: ``loopback``, ``private`` or ``any``.
            None uses the value of ``LOCALPROVIDERS_LOCALITY``, or ``loopback`` if it is not
            set. A service on the internet needs ``any``.
        settings: A complete `Settings` value. The other arguments are then not used.
        **options: Fields of `ConnectionOptions`: ``retry``, ``ca_bundle``, ``client_cert``,
            ``proxies``, ``listeners``, ``allow_plaintext_key``, ``max_line_bytes``,
            ``max_body_bytes``, ``max_json_depth``, ``headers`` and ``auth``. `Settings` describes
            each.

    The constructor sends nothing. The first call opens a connection and keeps it for later
    calls until `close`.

    Raises:
        ConfigurationError: A value is invalid.
        TypeError: A keyword argument does not exist.
    """

    _decision_wire = wire_decisions
    _kind = "a server with OpenAI's API"
    _api_path = "/v1"
    _rules: Tuple[Rule, ...] = RULES
    _unsupported: Mapping[str, str] = {
        "context_length": "set the context window when you start the server",
        "keep_alive": "this kind of server keeps its model loaded",
        # Servers ignore a field that they do not know, so the field would have no effect on the
        # answer.
        "grammar": "for llama.cpp's server use LlamaCppProvider, for others the server's own field "
        "in extra_body",
        "thinking_budget": "for llama.cpp's server use LlamaCppProvider, for others pass a level "
        "as thinking",
    }
    #: The rules of the service; for a local server, the rules `USUAL`.
    _service_rules: ServiceRules = USUAL
    #: Beginnings of media types that this server cannot read, each with a hint.
    _refused_media: Mapping[str, str] = {}
    _chat_only = ("tools", "tool_choice", "response_schema", "thinking", "thinking_budget")
    _embed_unsupported: Mapping[str, str] = {
        "truncate": "shorten the texts before the call",
        "keep_alive": "this kind of server keeps its model loaded",
    }
    #: Whether servers of this kind may have routes that count the tokens of a prompt, or render it.
    _has_prompt_routes = True
    _root: LazyPart[RootTransport] = LazyPart(
        "localproviders.openai_compatible.root:make_root", "settings", "_explain"
    )
    _prompt_routes: LazyPart[PromptRoutes] = LazyPart(
        "localproviders.openai_compatible.prompt_routes:PromptRoutes", "_root", "_send"
    )
    _rerank_routes: LazyPart[RerankRoutes] = LazyPart(
        "localproviders.openai_compatible.rerank_routes:RerankRoutes",
        *("settings", "_transport", "_root"),
    )

    @exact_keywords
    @show_keywords(ConnectionOptions, Settings)
    def __init__(
        self,
        base_url: Optional[str] = None,
        *,
        model: Optional[str] = None,
        name: str = "openai-compatible",
        api_key: ApiKey = None,
        timeout: Timeout = None,
        locality: Optional[Locality] = None,
        settings: Optional[Settings] = None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        # The cells hide the address and the key from tracebacks that show local variables (see
        # `Sealed`).
        given, base_url, api_key, options = Sealed((base_url, api_key, options)), None, None, EMPTY
        address, key, connection = map(Sealed, given.cell_contents)
        if settings is None:
            if not address.cell_contents:
                raise ConfigurationError(
                    "no address was given", hint='pass base_url="http://127.0.0.1:8080/v1"'
                )
            endpoint, variables = _find_endpoint(address, self._api_path)
            secret, hidden = as_key(key), safe_options(connection)
            if secret is None and variables and not sets_authorization(hidden):
                secret = first_variable(*variables)
            settings = make_settings(
                endpoint=endpoint,
                endpoint_origin="the base_url argument",
                name="openai-compatible" if name is None else name,
                model=model,
                api_key=secret,
                timeout=timeout,
                locality=locality,
                **hidden,
            )
        super().__init__(settings)

    def _set_up(self, settings: Settings) -> None:
        rules = self._service_rules
        if rules is USUAL and not settings.endpoint.is_loopback:
            rules = services.rules_at(settings.endpoint.host) or USUAL
        if rules is not USUAL:
            self._service_rules, self._service = rules, Service(hosts=rules.hosts)
            self._unsupported = rules.unsupported
            self._embed_unsupported = rules.embed_unsupported
            self._has_prompt_routes, self._api_path = False, ""
            self._kind = "the service"
        super()._set_up(settings)

    def close(self) -> None:
        """Close the kept connections. A later call opens new ones; closing twice is allowed."""
        super().close()
        root = OpenAICompatibleProvider._root.of(self)
        if root is not None:
            root.close()

    # --- models ---------------------------------------------------------------------------

    @exact_keywords
    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """Return the models in the server's order.

        Args:
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            UnreachableError: No server answers.
            ProviderError: The server refused the request, or its response is not a list of
                models.
        """
        parse = wire_models.parse_models
        listed = self._runner.ask(
            "GET",
            self._path("/models"),
            lambda data, look: ListOf(parse(data, self.name, self._rules, look)),
            timeout=timeout,
            cancel=cancel,
        )
        return self._abilities.learn(listed)

    @exact_keywords
    def model_info(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Return the facts about one model.

        The server's list of models has few facts. Other facts are inferred.

        Args:
            model: Name of the model, or its `ModelInfo` or `LoadedModel`.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            ModelNotFoundError: The server has no such model.
            UnreachableError: No server answers.
            ProviderError: The server refused the request, or its response is not a list of
                models.
        """
        name, listed = named(model), self.list_models(timeout=timeout, cancel=cancel)
        info = self._find(name, listed)
        if info is None:
            error = missing_models.not_found(name)
            missing_models.complete_error(error, lambda: listed, self._ways_to_get, self._nearest)
            raise self._transport.finish_error(error)
        return info

    # --- the dialect ----------------------------------------------------------------------

    def _path(self, path: str) -> str:
        """Return the path of a route of the dialect, relative to the endpoint."""
        return path

    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        error = explain_answer(status, text, headers, self._rules)
        rules = self._service_rules
        return error if rules is USUAL else service_errors.adapted(error, rules, headers)

    def _own_fields(self, path: str) -> Sequence[OwnField]:
        return own_fields.of_path(path)

    def _optional_fields(self) -> Sequence[OwnField]:
        if self._service_rules is USUAL:
            return own_fields.OPTIONAL
        return (*own_fields.OPTIONAL, *own_fields.of_service(self._service_rules.names))

    def _is_same(self, listed: str, model: str) -> bool:
        # Ollama lists every name with a tag, but also accepts names without a tag here
        # (docs/reference/ollama.md, "Model names"). Other names must be equal.
        if self._service_rules is not USUAL:
            return self._service_rules.same_model(listed, model)
        has_tag = ":" in listed.rpartition("/")[2]
        return listed == model or (has_tag and ollama_names.same_model(listed, model))

    def _wire_request(
        self, request: CompletionRequest, model: str, call: Call
    ) -> Tuple[str, Dict[str, Any], ChunkParser]:
        path, payload = completion_payload(request, model, self._service_rules)
        parser = wire_responses.ChunkParser(
            self.settings.max_json_depth, self._rules, call.look, model
        )
        return self._path(path), Payload(payload), parser

    def _adapt(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        request, warnings = super()._adapt(request)
        self._check_media(request)
        if request.overflow == "truncate" and not self._service_rules.routes:
            warnings.extend(self._refuse("overflow='truncate'", "shorten the prompt", request))
        if self._service_rules is not USUAL:
            return self._adapt_to_service(request, warnings)
        if isinstance(request.thinking, bool):
            switch = self._thinking_switch(request.thinking)
            if switch is None:
                warnings.extend(self._refuse("thinking=True", _THINKING_HINT, request))
            if switch is not request.thinking:
                request = request.replace(thinking=switch)
        return request, warnings

    def _adapt_to_service(
        self, request: CompletionRequest, warnings: List[str]
    ) -> Tuple[CompletionRequest, List[str]]:
        """Return the request as the rules of a service require it, and warnings about changes.

        Like `_adapt`, it returns the changed request and the warnings. A strict request that needs
        a change raises `UnsupportedError` instead.
        """
        rules = self._service_rules
        if request.prompt is not None and not rules.can_complete:
            raise UnsupportedError(
                f"{self.name} does not support prompt: it cannot continue plain text",
                hint="pass messages instead of prompt",
                provider=self.name,
            )
        hint = rules.thinking and rules.thinking.refusal(request.thinking)
        if hint:
            what = f"thinking={request.thinking!r}"
            warnings.extend(self._refuse(what, hint, request))
            request = request.replace(thinking=None)
        if request.thinking not in (False, "none"):
            for name in rules.ignored_while_thinking:
                if getattr(request, name) is not None:
                    what = f"{name} while the model thinks"
                    warnings.extend(self._refuse(what, "pass thinking=False", request))
                    request = request.replace(**{name: None})
        if rules.routes and may_lose_fields(request, rules):
            warnings.append(_PASSED_OVER)
        return request, warnings

    def _conclude(self, completion: Completion, summary: Summary) -> CompletionResponse:
        warning = _REFUSED.get(summary.finish_reason or "")
        completion.warnings += [] if warning is None else [warning]
        return super()._conclude(completion, summary)

    def _check_media(self, request: CompletionRequest) -> None:
        """Raise `UnsupportedError` for a file that the server cannot read.

        This is raised even if `strict` is False: without the file, the prompt would have another
        meaning.
        """
        for message in request.messages:
            for media in (*message.images, *message.audio):
                for kind, hint in self._refused_media.items():
                    if media.media_type.startswith(kind):
                        raise UnsupportedError(
                            f"{self.name} cannot read {media.media_type}",
                            hint=hint,
                            provider=self.name,
                        )

    def _refuse(self, what: str, hint: str, request: CompletionRequest) -> Sequence[str]:
        message = f"{self.name} does not support {what}"
        if request.strict:
            raise UnsupportedError(
                message, hint=f"{hint}; or pass strict=False", provider=self.name
            )
        return [f"{message}; it was left out"]

    def _thinking_switch(self, enabled: bool) -> Union[bool, str, None]:
        """Return the value of `thinking` that switches reasoning on or off; None if no value does.

        A level is sent as ``reasoning_effort``, and False as an argument of the chat template. Some
        servers ignore this argument. If a server ignores False, the answer contains thinking, and
        the response has a warning. If a server ignored True, nothing in the answer would show
        this. So this method returns None for True.
        """
        return None if enabled else False

    def _embed_exchange(self, batch: EmbeddingRequest, model: str, call: Call) -> EmbeddingExchange:
        def read(data: Any) -> Vectors:
            found = wire_vectors.parse_vectors(data, self._rules, len(batch.texts), call.look)
            warning = self._check_served(model, found.model, call)
            return found._replace(warnings=(warning,) if warning else ())

        return self._path("/embeddings"), Payload(self._embed_payload(batch, model)), read

    def _embed_payload(self, request: EmbeddingRequest, model: str) -> Dict[str, Any]:
        """Return the JSON of an embedding request."""
        return embed_payload(request, model, self._service_rules)

    def _check_embedding(self, request: EmbeddingRequest) -> None:
        if not self._service_rules.can_embed:
            raise UnsupportedError(
                f"{self.name} does not support embed(): the service has no embeddings",
                hint="embed with a local model, such as OllamaProvider(model='all-minilm')",
                provider=self.name,
            )
        super()._check_embedding(request)

    def _count_exactly(
        self,
        request: CompletionRequest,
        model: str,
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> Optional[TokenCount]:
        if not self._has_prompt_routes or not self._prompt_routes.can_count(request):
            return None
        routes = self._prompt_routes

        def work(call: Call) -> Optional[TokenCount]:
            self._check_locality(model, call)
            return routes.count(request, model, call)

        return self._runner.run(
            work,
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=LISTING_TOTAL_S,
            texts=lambda: texts_of(request),
        )

    def _label_tokens(self, labels: Sequence[str], model: str, call: Call) -> Optional[LabelTokens]:
        if not self._has_prompt_routes:
            return None
        return self._prompt_routes.label_tokens(labels, model, call)

    def _render(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> str:
        if not self._has_prompt_routes:
            return super()._render(request, timeout, cancel)
        model = self._choose_model(request.model, timeout, cancel)
        adapted, _ = self._adapt(request)

        def work(call: Call) -> str:
            self._check_locality(model, call)
            return self._prompt_routes.render(adapted, model, call)

        return self._runner.run(
            work, model=model, timeout=timeout, cancel=cancel, texts=lambda: texts_of(request)
        )

    def _rerank(
        self, request: RerankRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> Ranking:
        model = self._choose_model(request.model, timeout, cancel)

        def work(call: Call) -> Ranking:
            self._check_locality(model, call)
            path = self._path("/rerank")
            ranking = self._rerank_routes.rank(request, model, call, path, self._rules)
            warning = self._check_served(model, ranking.model, call)
            return ranking if warning is None else ranking.replace(warnings=(warning,))

        return self._runner.run(
            work,
            operation="rerank",
            model=model,
            task="rerank",
            facts=facts_of,
            timeout=timeout,
            cancel=cancel,
            texts=request.texts,
        )

    def _check_served(
        self, model: str, served: Optional[str], call: Call, raw: Raw = None
    ) -> Optional[str]:
        """Return a warning if another model answered.

        This is not an error, because a server with a single model may report any name for it.
        """
        if not served or served == model:
            return None
        if self._is_same(served, model) or self._is_same(model, served):
            return None
        warning = f"requested model {model!r}, but the server answered with {served!r}"
        key = self.settings.api_key  # the name that the server reports may contain the key
        return warning if key is None else key.scrub(warning)
