"""`LocalProvider`: what to call."""

from __future__ import annotations

import math
from typing import List, Optional

from localproviders._http.stream import Stream
from localproviders.errors import ModelNotFoundError
from localproviders.local.base import Choosing
from localproviders.local.routes import Route
from localproviders.local.telling import hand_on, told
from localproviders.provider import Texts, bare
from localproviders.types.answer import CompletionResponse, EmbeddingResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Limits, Timeout
from localproviders.types.model import LoadedModel, ModelInfo
from localproviders.types.progress import OnProgress, Progress
from localproviders.types.request import (
    BATCH_CHARACTERS,
    BATCH_SIZE,
    CompletionRequest,
    EmbeddingRequest,
    as_embedding_request,
)
from localproviders.types.tokens import TokenCount


class LocalProvider(Choosing):
    """Several servers as one provider: it finds who has the model, and who is next.

    With `providers` nothing is read and nothing is searched for. Without, the configuration
    is read (`Config.load`) and this machine is searched (`discover`), at the first call and
    not here; a search that found nothing is made again at the next call.

    A name is looked for like this. An alias stands for its names, in order. ``ollama/llama3.2``
    means that provider, where one has that name; anything else is a model's name, and every
    server is asked for it, as that kind of server compares names, at most once a minute. Those
    that have it are tried in the order of `strategy`.

    The next one is tried where it may do better: this one is down, stuck, busy or broken, or
    lacks the model or an ability; and only before the answer begins, within the one total of
    the call. A refused request, a locality, an overlong prompt, a bad answer and cancelling
    end the call (``localproviders.local.rules``). A server that failed three times in a row
    is asked last for 30 s; where nobody listens, each repetition of its own `RetryPolicy`
    counts. A cloud model is never asked in another's place.

    The answer names the server in `provider`, and those before it in `tried` and `warnings`.

    Args:
        providers: Providers with names of their own, in order; None finds them.
        model: The model, alias or ``provider/model`` for calls that name none; None takes
            the configured one. Without any, `needs` or `strategy` choose among all models;
            and if they are not given either, it is an error.
        aliases: For each alias what it stands for, one name or several in order; None takes
            the configured ones. An alias wins over a model of the same name.
        strategy: Who is first among those that have the model: ``first`` in the order of the
            providers; ``loaded``: who has it in memory; ``largest`` or ``smallest``: by the
            size of its files. None takes the configured one, else ``first``.
        needs: What a model must be known to be able to do, for text: ``{"tools", "vision"}``,
            in the words of `ModelCapabilities`.
        name: The name of the whole in errors.
        config: A configuration instead of the one in files.
        locality: Where prompts may go; None takes the configuration, else
            ``LOCALPROVIDERS_LOCALITY``, else ``loopback``. A provider that may go further is
            refused here.
        listeners: Hear that a server was left for another; and all events of the servers
            that are found. Given providers have listeners of their own.
        timeout: Seconds for a whole call, or `Limits`; None takes each server's own.
        make_breaker: Makes the memory of a server's failures, for other numbers than three
            failures and 30 s.

    Raises:
        ConfigurationError: A value is impossible. Nothing is sent here.
        LocalityError: A provider may send prompts further than `locality` says.
    """

    # --- answers ------------------------------------------------------------------------------

    def stream_completion(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Stream:
        """Send a request, to the first server that can take it, and give the answer as it comes.

        Once this has returned, no other server is asked: what ends the stream is its error.

        Raises:
            TypeError: This is no `CompletionRequest`.
            ConfigurationError: No model was named, and nothing chooses one.
            ModelNotFoundError: No server has the model.
            AllFailedError: Several servers were tried, and none could. Where there was only
                one to try, its own error is raised.
            LimitError: A limit ran out; the total names the whole call's.
            ProviderError: As for `ModelProvider.stream_completion`.
        """
        if not isinstance(request, CompletionRequest):
            raise TypeError("this takes a CompletionRequest; chat and stream take a text")
        with self._run("stream", timeout, cancel, needs=self._needs) as run:

            def work(route: Route, limits: Limits) -> Stream:
                stream = route.server.provider.stream_completion(
                    request.replace(model=route.model), timeout=limits, cancel=cancel
                )
                return hand_on(stream, route, run)

            return run.first(self._chosen(request.model, _task(request), run), work)

    def complete(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> CompletionResponse:
        """Send a request and give the whole answer.

        As for `stream_completion`, but the next server is tried until the first token, and
        not only until the answer is accepted.

        Raises:
            StreamInterruptedError: The answer stopped before its last record.
            ProviderError: As for `stream_completion`.
        """
        if not isinstance(request, CompletionRequest):
            raise TypeError("this takes a CompletionRequest; chat and stream take a text")
        with self._run("stream", timeout, cancel, needs=self._needs) as run:

            def work(route: Route, limits: Limits) -> CompletionResponse:
                with route.server.provider.stream_completion(
                    request.replace(model=route.model), timeout=limits, cancel=cancel
                ) as stream:
                    for chunk in stream:
                        run.begun = run.begun or chunk.says_something
                    return told(stream.result(), run)

            return run.first(self._chosen(request.model, _task(request), run), work)

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
        """Turn texts into vectors, all with one server; see `ModelProvider.embed`.

        The next server is tried until the first batch is done: vectors of two models are
        never mixed. Which one made them stands in `model` and `provider`; give an alias several
        models only if you look there.

        Raises:
            ValueError: There is no text, an empty one, or an impossible number; or a field
                stands beside a request.
            EmbeddingError: Some texts could not be embedded.
            ProviderError: As for `stream_completion`; `embedded` has what had been done.
        """
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
        return self._embed_all(request, timeout, cancel)

    def _embed_all(
        self, request: EmbeddingRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> EmbeddingResponse:
        with self._run("embed", timeout, cancel) as run:

            def work(route: Route, limits: Limits) -> EmbeddingResponse:
                response = route.server.provider.embed(
                    request.replace(model=route.model), timeout=limits, cancel=cancel
                )
                return told(response, run)

            return run.first(self._chosen(request.model, "embeddings", run), work)

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        with self._run("count_tokens", timeout, cancel, total_s=LISTING_TOTAL_S) as run:

            def work(route: Route, limits: Limits) -> TokenCount:
                asked = request.replace(model=route.model)
                return route.server.provider._count(asked, limits, cancel)

            return run.first(self._chosen(request.model, _task(request), run), work)

    # --- models -------------------------------------------------------------------------------

    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """List the models of all servers that answer, in their order, each with its provider.

        ``f"{info.provider}/{info.name}"`` names exactly one of them. Its total is 30 s unless
        `timeout` says otherwise.

        Raises:
            UnreachableError: No server answers, or none was found.
            AllFailedError: None of several answers.
            ProviderError: The only server refused, or gave no list.
        """
        with self._run("list_models", timeout, cancel, total_s=LISTING_TOTAL_S) as run:
            lists = run.each(
                self._everyone(run),
                lambda route, limits: route.server.provider.list_models(
                    timeout=limits, cancel=cancel
                ),
            )
        return [info for each in lists for info in each]

    def supports_model(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Say whether a server has this model, or what this alias stands for.

        Raises:
            ProviderError: Nobody who answers has it, and somebody does not answer.
        """
        try:
            self.model_info(model, timeout=timeout, cancel=cancel)
        except ModelNotFoundError:
            return False
        return True

    def model_info(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Say all that the first server that has a model knows about it.

        Raises:
            ModelNotFoundError: No server has such a model.
            ProviderError: As for `list_models`.
        """
        with self._run(self.model_info.__name__, timeout, cancel, total_s=LISTING_TOTAL_S) as run:
            routes = self._routes(model, run)

            def work(route: Route, _: Limits) -> ModelInfo:
                limits = run.limits(route, run.share_s(len(routes)))
                return route.server.provider.model_info(route.model, timeout=limits, cancel=cancel)

            return run.first(routes, work, look=False)

    # --- models in memory ---------------------------------------------------------------------

    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """List the models in the memory of all servers that tell, each with its provider.

        Raises:
            UnsupportedError: The only server does not tell.
            ProviderError: As for `list_models`.
        """
        with self._run("loaded_models", timeout, cancel, total_s=LISTING_TOTAL_S) as run:
            lists = run.each(
                self._everyone(run),
                lambda route, limits: route.server.provider.loaded_models(
                    timeout=limits, cancel=cancel
                ),
            )
        return [loaded for each in lists for loaded in each]

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
        """Bring a model into the memory of the first server that can; see `ModelProvider.load`.

        Raises:
            ModelNotFoundError: No server has such a model.
            ModelLoadError: The only one that has it could not load it.
            AllFailedError: Several were tried, and none could.
            LimitError: A limit ran out.
            ProviderError: As for `list_models`.
        """
        with self._run("load", timeout, cancel) as run:

            def work(route: Route, limits: Limits) -> LoadedModel:
                return route.server.provider.load(
                    route.model,
                    context_length=context_length,
                    keep_alive=keep_alive,
                    on_progress=on_progress,
                    timeout=limits,
                    cancel=cancel,
                )

            return run.first(self._routes(model, run), work)

    def unload(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Take a model out of the memory of every server that has it.

        Its total is 30 s unless `timeout` says otherwise. Name the server, as in
        ``ollama/llama3.2``, to leave the others alone.

        Raises:
            UnsupportedError: The only server that has it cannot.
            ProviderError: As for `list_models`.
        """
        with self._run("unload", timeout, cancel, total_s=LISTING_TOTAL_S) as run:

            def work(route: Route, limits: Limits) -> None:
                if not route.named:
                    run.look(route)
                route.server.provider.unload(route.model, timeout=limits, cancel=cancel)

            run.each(self._routes(model, run), work)

    def _resident_name(self, loaded: LoadedModel, model: str) -> str:
        return f"{loaded.provider}/{loaded.name}"

    def pull(
        self,
        model: str,
        *,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Let the first server that can download a model, and wait until it is there.

        The next one is tried until the first report of progress. Name the server, as in
        ``ollama/llama3.2``, to have it there and nowhere else. There is no total limit
        unless `timeout` gives one; see `ModelProvider.pull`.

        Raises:
            ModelNotFoundError: There is no such model to download.
            LimitError: It stands still, or the total ran out.
            UnsupportedError: The only server cannot.
            ProviderError: As for `list_models`.
        """
        with self._run("pull", timeout, cancel, total_s=math.inf) as run:

            def noted(report: Progress) -> None:
                run.begun = True
                if on_progress is not None:
                    on_progress(report)

            def work(route: Route, limits: Limits) -> ModelInfo:
                return route.server.provider.pull(
                    route.model,
                    on_progress=noted,
                    timeout=timeout if timeout is None else limits,
                    cancel=cancel,
                )

            return run.first(self._targets(model, run), work, look=False)


def _task(request: CompletionRequest) -> str:
    """Say what a model must be able to do for this, whatever else it can."""
    return "chat" if request.prompt is None else "completion"
