"""`LocalProvider`, which combines several servers in one provider."""

from __future__ import annotations

import contextlib
import math
from typing import Iterator, List, Optional, Union

from localproviders._decision_verbs import DecisionRequest
from localproviders._did_you_mean import ListOf
from localproviders._http.stream import Stream
from localproviders._rerank_verb import RerankRequest
from localproviders._signatures import (
    ABSENT,
    NoArguments,
    NoKeywords,
    Unpack,
    exact_keywords,
    name_misspelt,
    wrong_call,
)
from localproviders.errors import ModelNotFoundError
from localproviders.local.base import LocalProviderBase
from localproviders.local.failover import hand_on, with_attempts
from localproviders.local.servers import Route
from localproviders.provider import ModelProvider, Texts
from localproviders.secret import Sealed
from localproviders.telemetry import RunningVerb, take_verb
from localproviders.types.decisions import Decisions
from localproviders.types.inputs import named
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Limits, Timeout
from localproviders.types.models import LoadedModel, ModelInfo, OnProgress, Progress
from localproviders.types.rankings import Ranking
from localproviders.types.requests import (
    BATCH_CHARACTERS,
    BATCH_SIZE,
    CompletionRequest,
    EmbeddingRequest,
    ModelLike,
    as_embedding_request,
)
from localproviders.types.responses import CompletionResponse, EmbeddingResponse, TokenCount


class LocalProvider(LocalProviderBase):
    """A provider that combines several servers, with failover between them.

    With `providers`, no file is read and no server is searched for. Without them, the first
    call reads the configuration (`Config.load`) and searches this machine for servers
    (`discover`). The search is repeated by the next call if it found no server, or if no server
    could answer a call.

    **How a name is resolved.** An alias is replaced by its model names, in order.
    ``ollama/llama3.2`` means the model ``llama3.2`` of the provider ``ollama``, if there is a
    provider of that name. Any other name is the name of a model: each server is asked whether it
    has the model, and a positive answer is cached for a minute. The servers with the model are
    tried in the order of `strategy`.

    **When the next server is tried.** If a server is down, stuck, busy or broken, refuses the
    API key, or lacks the model or an ability, the next one is tried. This happens before the
    response begins and within the total limit of the call. The next server is not tried after a
    rejected request, a violated locality, a prompt that is too long, a bad response, or a
    cancellation. A server that failed three times in a row is tried last for the next 30 s. If no
    connection to a server could be made, each attempt of its `RetryPolicy` counts as a failure. A
    cloud model never replaces another model.

    The response has the name of the server in `provider`, and the servers that were tried
    before in `tried` and `warnings`.

    Args:
        providers: Providers, in order, each with a different name. None searches for servers.
        model: Model, alias or ``provider/model`` for calls without a model. None means the
            configured model. If no model is configured, the model is chosen among all models by
            `needs`, or by a `strategy` other than ``first`` and ``balanced``. Without these, such
            calls raise `ConfigurationError`.
        aliases: Mapping from each alias to one name, or to several names in order. None means
            the configured aliases. An alias hides a model of the same name, unless the alias
            is from a project's file.
        strategy: Order of the servers that have the model. ``first``: the order of the
            providers. ``loaded``: first the servers that have the model in memory. ``largest`` or
            ``smallest``: by the size of the model's files. ``balanced``: each request goes to the
            server with the fewest requests in flight per slot (docs/local.md, "Several
            machines"). None means the configured strategy, or ``first`` if none is configured.
        fallback_locality: Mapping from an alias to the locality that it may use from its second
            model on, such as ``{"careful": "any"}``. A provider with a wider locality than
            `locality` is accepted only if such an alias names it. It is used only for this
            alias, and only after the first model of the alias has failed. Each use is an event,
            and a warning in the response. None means the configured mapping; but if `locality` is
            given, None means that no alias may leave the locality.
        needs: Abilities that a model must be known to have, in calls that generate text. The names
            are those of `ModelCapabilities`, such as ``{"tools", "vision"}``.
        name: Name of this provider in errors.
        config: A configuration to use instead of files and environment variables.
        locality: Places to which prompts may be sent: ``loopback``, ``private`` or ``any``.
            None uses the configuration. With `providers`, None uses the value of
            ``LOCALPROVIDERS_LOCALITY``, or ``loopback`` if it is not set. No provider may have
            a wider locality, except for `fallback_locality`.
        listeners: Functions that are called with an event when a call moves on to the next server,
            and with all events of the servers that were found. The providers in `providers` have
            their own listeners.
        timeout: Limits for calls without a `timeout`: seconds for the whole call, or a
            `Limits` value. None means the limits of each server.
        make_breaker: Function that returns a circuit breaker for one server. Pass one to
            change the limit of three failures or the pause of 30 s.

    The constructor sends nothing.

    Raises:
        ConfigurationError: A value is invalid.
        LocalityError: The locality of a provider is wider than `locality`.
        TypeError: A keyword argument does not exist, or `fallback_locality` is no mapping.
    """

    # --- responses ----------------------------------------------------------------------------

    @name_misspelt
    def stream_completion(  # noqa: D417  # `unknown` is not for callers: see `name_misspelt`
        self,
        request: CompletionRequest,
        *others: Unpack[NoArguments],
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **unknown: Unpack[NoKeywords],
    ) -> Stream:
        """Send a request to the first server that accepts it, and return its stream.

        After this method has returned, no other server is tried: an error of the stream is
        raised by the iteration.

        Args:
            request: The request. Its model can be an alias or ``provider/model``.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server. All servers together share the total.
            cancel: Token that cancels this call.

        Raises:
            TypeError: `request` is not a `CompletionRequest`, or a keyword argument does not
                exist.
            ConfigurationError: The call has no model, and neither `needs` nor `strategy`
                chooses one; or the configuration is invalid.
            UnreachableError: No server was found, or the only server is down.
            ModelNotFoundError: No server has the model.
            CapabilityError: No model is known to have the abilities in `needs`.
            AllFailedError: Several servers were tried, and all failed. If only one server was
                tried, its own error is raised.
            LimitError: A limit expired. The total limit covers the whole call.
            CancelledError: The call was cancelled.
            ProviderError: The only server failed, or a server rejected the request.
        """
        operation = take_verb("stream_completion")
        is_too_many, others = bool(others), ()
        if unknown or is_too_many:
            raise wrong_call(ModelProvider.stream_completion, unknown, is_too_many)
        if not isinstance(request, CompletionRequest):
            raise TypeError(
                f"expected a CompletionRequest, got {type(request).__name__}; "
                "use chat() or stream() for text"
            )
        with self._run(operation, timeout, cancel, needs=self._needs) as run:
            run.set_prompt(request)

            def work(route: Route, limits: Limits) -> Stream:
                with RunningVerb(operation):
                    stream = route.server.provider.stream_completion(
                        request.replace(model=route.model), timeout=limits, cancel=cancel
                    )
                return hand_on(stream, route, run)

            return run.first_that_answers(
                self._choose_routes(request.model, _needed_ability(request), run), work
            )

    @name_misspelt
    def complete(  # noqa: D417  # `unknown` is not for callers: see `name_misspelt`
        self,
        request: CompletionRequest,
        *others: Unpack[NoArguments],
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **unknown: Unpack[NoKeywords],
    ) -> CompletionResponse:
        """Send a request, and return the complete response.

        Until the first token has arrived, a failure leads to the next server. So this method can
        replace a server that accepts the request and then fails. `stream_completion` cannot.

        Args:
            request: The request. Its model can be an alias or ``provider/model``.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server. All servers together share the total.
            cancel: Token that cancels this call.

        Raises:
            TypeError: `request` is not a `CompletionRequest`, or a keyword argument does not
                exist.
            ConfigurationError: The call has no model, and neither `needs` nor `strategy`
                chooses one; or the configuration is invalid.
            UnreachableError: No server was found, or the only server is down.
            ModelNotFoundError: No server has the model.
            CapabilityError: No model is known to have the abilities in `needs`.
            AllFailedError: Several servers were tried, and all failed. If only one server was
                tried, its own error is raised.
            StreamInterruptedError: The response ended before its last record.
            LimitError: A limit expired. The total limit covers the whole call.
            CancelledError: The call was cancelled.
            ProviderError: The only server failed, or a server rejected the request.
        """
        operation = take_verb("complete")
        is_too_many, others = bool(others), ()
        if unknown or is_too_many:
            raise wrong_call(ModelProvider.complete, unknown, is_too_many)
        if not isinstance(request, CompletionRequest):
            raise TypeError(
                f"expected a CompletionRequest, got {type(request).__name__}; "
                "use chat() or stream() for text"
            )
        with self._run(operation, timeout, cancel, needs=self._needs) as run:
            run.set_prompt(request)
            run.is_collected = True

            def work(route: Route, limits: Limits) -> CompletionResponse:
                with RunningVerb(operation), route.server.provider.stream_completion(
                    request.replace(model=route.model), timeout=limits, cancel=cancel
                ) as stream:
                    for chunk in stream:
                        run.begun = run.begun or chunk.has_content
                    return with_attempts(stream.result(), run)

            return run.first_that_answers(
                self._choose_routes(request.model, _needed_ability(request), run), work
            )

    @name_misspelt
    def embed(  # noqa: D417  # `unknown` is not for callers: see `name_misspelt`
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
        """Return the vectors of texts, all from one server.

        Until the first batch is complete, a failure leads to the next server. Vectors of two
        models are never mixed. The `model` and `provider` of the response say which model made the
        vectors. Check this `model` if an alias has several models.

        Args:
            texts: One text, any iterable of texts, or an `EmbeddingRequest`. An iterable is
                read once, before the first request. An `EmbeddingRequest` has all
                fields itself, so the fields below must not be given with it.
            model: Model, alias or ``provider/model``. None means this provider's model.
            dimensions: Length of each vector; None means the model's own length.
            truncate: Whether the server may cut a text that is too long.
            keep_alive: Seconds to keep the model loaded after each batch.
            batch_size: Maximum number of texts in one request.
            batch_characters: Maximum number of characters in one request.
            expect_digest: First digits of the digest that the model must have, at least 12.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server. All servers together share the total.
            cancel: Token that cancels this call.

        Raises:
            ValueError: There is no text, a text is empty, or a number is invalid; or a
                field is given in addition to an `EmbeddingRequest`.
            TypeError: A keyword argument does not exist, or `texts` is missing.
            ConfigurationError: The call has no model, and neither `needs` nor `strategy`
                chooses one; or the configuration is invalid.
            UnreachableError: No server was found, or the only server is down.
            ModelNotFoundError: No server has the model.
            CapabilityError: The call has no model, and no model is known to embed texts.
            AllFailedError: Several servers were tried, and all failed. If only one server was
                tried, its own error is raised.
            EmbeddingError: Some texts could not be embedded.
            LimitError: A limit expired. The total limit covers the whole call.
            CancelledError: The call was cancelled.
            ProviderError: The only server failed, or a server rejected the request. `embedded` of
                the error has the vectors that were complete before the error.
        """
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
        return self._embed_all(request, timeout, cancel)

    def _embed_all(
        self, request: EmbeddingRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> EmbeddingResponse:
        with self._run("embed", timeout, cancel) as run:
            run.is_collected = True

            def work(route: Route, limits: Limits) -> EmbeddingResponse:
                response = route.server.provider.embed(
                    request.replace(model=route.model), timeout=limits, cancel=cancel
                )
                return with_attempts(response, run)

            return run.first_that_answers(
                self._choose_routes(request.model, "embeddings", run), work
            )

    def _rerank(
        self, request: RerankRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> Ranking:
        with self._run("rerank", timeout, cancel) as run:

            def work(route: Route, limits: Limits) -> Ranking:
                request_for_server = request.replace(model=route.model)
                ranking = route.server.provider._rerank(request_for_server, limits, cancel)
                return with_attempts(ranking, run)

            return run.first_that_answers(self._choose_routes(request.model, "rerank", run), work)

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        with self._run("count_tokens", timeout, cancel, total_s=LISTING_TOTAL_S) as run:

            def work(route: Route, limits: Limits) -> TokenCount:
                request_for_server = request.replace(model=route.model)
                return route.server.provider._count(request_for_server, limits, cancel)

            return run.first_that_answers(
                self._choose_routes(request.model, _needed_ability(request), run), work
            )

    def _decide(
        self, request: DecisionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> Decisions:
        operation = take_verb("decide")
        with self._run(operation, timeout, cancel, needs=self._needs) as run:

            def work(route: Route, limits: Limits) -> Decisions:
                with RunningVerb(operation):
                    return with_attempts(
                        route.server.provider._decide(
                            request.replace(model=route.model), limits, cancel
                        ),
                        run,
                    )

            ability = "chat" if request.method == "logprobs" else "decision"
            return run.first_that_answers(self._choose_routes(request.model, ability, run), work)

    def _render(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> str:
        with self._run("render", timeout, cancel, needs=self._needs) as run:

            def work(route: Route, limits: Limits) -> str:
                request_for_server = request.replace(model=route.model)
                return route.server.provider._render(request_for_server, limits, cancel)

            return run.first_that_answers(
                self._choose_routes(request.model, _needed_ability(request), run), work
            )

    # --- models -------------------------------------------------------------------------------

    @exact_keywords
    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """Return the models of all servers that answer, in the order of the servers.

        ``f"{info.provider}/{info.name}"`` identifies exactly one of these models.

        Args:
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server, with a total of 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnreachableError: No server was found, or the only server is down.
            AllFailedError: There are several servers, and none answered.
            ConfigurationError: The configuration is invalid.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The only server refused the request, or its response is not a list of
                models.
        """
        with self._run("list_models", timeout, cancel, total_s=LISTING_TOTAL_S) as run:
            lists = run.each(
                self._all_routes(run),
                lambda route, limits: route.server.provider.list_models(
                    timeout=limits, cancel=cancel
                ),
            )
        return ListOf(info for each in lists for info in each)

    @exact_keywords
    def supports_model(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Return whether a server has a model, or one of the models of an alias.

        Args:
            model: Model, alias or ``provider/model``.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server, with a total of 30 s.
            cancel: Token that cancels this call.

        Raises:
            ConfigurationError: The configuration is invalid.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: No server that answers has the model, and a server did not answer.
        """
        try:
            self.model_info(model, timeout=timeout, cancel=cancel)
        except ModelNotFoundError:
            return False
        return True

    @exact_keywords
    def model_info(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Return all facts about a model, from the first server that has it.

        Args:
            model: Model, alias or ``provider/model``.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server, with a total of 30 s.
            cancel: Token that cancels this call.

        Raises:
            ModelNotFoundError: No server has such a model.
            UnreachableError: No server was found, or the only server is down.
            AllFailedError: There are several servers: none is known to have the model, and at
                least one failed.
            ConfigurationError: The configuration is invalid.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The only server refused the request, or its response is invalid.
        """
        with self._run(self.model_info.__name__, timeout, cancel, total_s=LISTING_TOTAL_S) as run:
            routes = self._routes(named(model), run)

            def work(route: Route, _: Limits) -> ModelInfo:
                limits = run.limits(route, run.share_s(len(routes)))
                return route.server.provider.model_info(route.model, timeout=limits, cancel=cancel)

            return run.first_that_answers(routes, work, check_model=False)

    # --- models in memory ---------------------------------------------------------------------

    @exact_keywords
    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """Return the models in memory, from all servers that can list them.

        Args:
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server, with a total of 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnsupportedError: The only server cannot list the models in its memory.
            UnreachableError: No server was found, or the only server is down.
            AllFailedError: There are several servers, and none returned its list.
            ConfigurationError: The configuration is invalid.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The only server refused the request, or its response is invalid.
        """
        with self._run("loaded_models", timeout, cancel, total_s=LISTING_TOTAL_S) as run:
            lists = run.each(
                self._all_routes(run),
                lambda route, limits: route.server.provider.loaded_models(
                    timeout=limits, cancel=cancel
                ),
            )
        return ListOf(loaded for each in lists for loaded in each)

    @exact_keywords
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
        """Load a model on the first server that can load it, and wait until it is in memory.

        Args:
            model: Model, alias or ``provider/model``.
            context_length: Context window to allocate, in tokens. None means the server's default.
            keep_alive: Seconds for which the model stays in memory without requests; infinity
                means for ever, and None means the server's default.
            check_memory: Whether to compare the free memory of this machine with the size of a
                model that must be loaded. With None, too little memory is a line in `warnings` of
                the result. With True, it is an error, and nothing is loaded. With False, nothing is
                compared. The comparison is also left out if the server is on another machine, or if
                one of the two numbers is unknown (docs/models.md, "Free memory").
            on_progress: Function that is called with the progress reports of the server.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server. All servers together share the total.
            cancel: Token that cancels this call.

        Raises:
            ModelNotFoundError: No server has such a model.
            ModelLoadError: The only server could not load the model; or too little memory is free,
                and `check_memory` is True.
            UnsupportedError: The only server cannot load models in this way.
            UnreachableError: No server was found, or the only server is down.
            AllFailedError: Several servers were tried, and all failed.
            ConfigurationError: The configuration is invalid.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The only server refused the request, or its response is invalid.
        """
        with self._run("load", timeout, cancel) as run:

            def work(route: Route, limits: Limits) -> LoadedModel:
                return route.server.provider.load(
                    route.model,
                    context_length=context_length,
                    keep_alive=keep_alive,
                    check_memory=check_memory,
                    on_progress=on_progress,
                    timeout=limits,
                    cancel=cancel,
                )

            return run.first_that_answers(self._routes(named(model), run), work)

    @exact_keywords
    def unload(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Unload a model from the memory of every server that has it.

        Args:
            model: Model, alias or ``provider/model``. With the name of a server, as
                in ``ollama/llama3.2``, the model is unloaded only from this server.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server, with a total of 30 s.
            cancel: Token that cancels this call.

        Raises:
            ModelNotFoundError: No server has such a model.
            UnsupportedError: The only server cannot unload models.
            UnreachableError: No server was found, or the only server is down.
            AllFailedError: There are several servers, and none unloaded the model.
            ConfigurationError: The configuration is invalid.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The only server refused the request, or its response is invalid.
        """
        with self._run("unload", timeout, cancel, total_s=LISTING_TOTAL_S) as run:

            def work(route: Route, limits: Limits) -> None:
                if not route.named:
                    run.lookup(route)
                route.server.provider.unload(route.model, timeout=limits, cancel=cancel)

            run.each(self._routes(named(model), run), work)

    @exact_keywords
    @contextlib.contextmanager
    def keep_loaded(
        self,
        model: ModelLike,
        *,
        context_length: Optional[int] = None,
        keep_alive: Union[float, str, None] = None,
        check_memory: Optional[bool] = None,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Iterator[LoadedModel]:
        """Load a model for a ``with`` block on the first server that can, as `load` does.

        After the block, the provider of this server keeps or unloads the model, as its own
        `keep_loaded` does.

        Args:
            model: Model, alias or ``provider/model``.
            context_length: Context window to allocate, in tokens. None means the server's default.
            keep_alive: Seconds for which the model stays in memory without requests; infinity
                means for ever, and None means the server's default.
            check_memory: Whether to compare the free memory of this machine with the size of a
                model that must be loaded. With None, too little memory is a line in `warnings` of
                the result. With True, it is an error, and nothing is loaded. With False, nothing is
                compared. The comparison is also left out if the server is on another machine, or if
                one of the two numbers is unknown (docs/models.md, "Free memory").
            on_progress: Function that is called with the progress reports of the server.
            timeout: Limits for loading, and again for the end of the block: seconds, or a `Limits`
                value. None means the limits of each server.
            cancel: Token that cancels the loading, but not the end of the block.

        Raises:
            ModelNotFoundError: No server has such a model.
            ModelLoadError: The only server could not load the model; or too little memory is free,
                and `check_memory` is True.
            UnsupportedError: The only server cannot load models in this way.
            UnreachableError: No server was found, or the only server is down.
            AllFailedError: Several servers were tried, and all failed.
            ConfigurationError: The configuration is invalid.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The only server refused a request, or its response is invalid.
        """
        with contextlib.ExitStack() as block:

            def work(route: Route, limits: Limits) -> LoadedModel:
                return block.enter_context(
                    route.server.provider.keep_loaded(
                        route.model,
                        context_length=context_length,
                        keep_alive=keep_alive,
                        check_memory=check_memory,
                        on_progress=on_progress,
                        timeout=limits,
                        cancel=cancel,
                    )
                )

            with self._run("load", timeout, cancel) as run:
                loaded = run.first_that_answers(self._routes(named(model), run), work)
            yield loaded

    @exact_keywords
    def pull(
        self,
        model: ModelLike,
        *,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Download a model on the first server that can download it, and wait until it is complete.

        Until the first progress report, a failure leads to the next server. There is no total limit
        unless `timeout` has one.

        Args:
            model: Name of the model. With the name of a server, as in ``ollama/llama3.2``, only
                this server downloads the model.
            on_progress: Function that is called with the progress reports of the server.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of each server, without a total.
            cancel: Token that cancels this call.

        Raises:
            ModelNotFoundError: There is no such model to download.
            UnsupportedError: The only server cannot download models.
            UnreachableError: No server was found, or the only server is down.
            AllFailedError: Several servers were tried, and all failed.
            ConfigurationError: The configuration is invalid.
            LimitError: The download made no progress, or the total limit expired.
            ServerError: The only server could not download the model.
            CancelledError: The call was cancelled.
            ProviderError: The only server refused the request, or its response is invalid.
        """
        with self._run("pull", timeout, cancel, total_s=math.inf) as run:

            def forward(report: Progress) -> None:
                run.begun = True
                if on_progress is not None:
                    on_progress(report)

            def work(route: Route, limits: Limits) -> ModelInfo:
                return route.server.provider.pull(
                    route.model,
                    on_progress=forward,
                    timeout=timeout if timeout is None else limits,
                    cancel=cancel,
                )

            return run.first_that_answers(
                self._pull_routes(named(model), run), work, check_model=False
            )


def _needed_ability(request: CompletionRequest) -> str:
    """Return the ability that the model of a request must have."""
    return "chat" if request.prompt is None else "completion"
