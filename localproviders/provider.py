"""`ModelProvider`: the interface of every provider, and the methods that all providers share."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    NoReturn,
    Optional,
    Type,
    TypeVar,
    Union,
    overload,
)

from localproviders import _decision_verbs as decision_verbs
from localproviders import _rerank_verb as rerank_verb
from localproviders._chat_request import make_chat_request
from localproviders._did_you_mean import OtherRoute, name_other_attribute, refuse_call
from localproviders._http.stream import Stream
from localproviders._lazy import LazyModule, LazyPart
from localproviders._refusals import Refusals
from localproviders._signatures import (
    NoArguments,
    NoKeywords,
    Self,
    Unpack,
    accept_absent,
    check_given,
    defined_by,
    exact_keywords,
    name_misspelt,
    show_keywords,
    wrong_call,
)
from localproviders._token_estimate import rough
from localproviders.errors import UnsupportedError
from localproviders.secret import Sealed
from localproviders.telemetry import RunningVerb, take_verb
from localproviders.types.inputs import named
from localproviders.types.limits import CancelToken, Limits, Timeout, resolve
from localproviders.types.messages import Messages, Tools
from localproviders.types.models import LoadedModel, ModelCapabilities, ModelInfo, OnProgress
from localproviders.types.requests import (
    BATCH_CHARACTERS,
    BATCH_SIZE,
    CompletionRequest,
    EmbeddingRequest,
    ModelLike,
    ParseFields,
    RequestFields,
)
from localproviders.types.responses import (
    CompletionResponse,
    EmbeddingResponse,
    OnStep,
    OnToolError,
    Parsed,
    TokenCount,
    ToolRun,
)
from localproviders.types.tool_stream import ToolStream

if TYPE_CHECKING:
    from localproviders import _keep_loaded as keep_loaded
    from localproviders import structured, tool_loop
    from localproviders._keep_loaded import KeptModels, Loader
else:
    keep_loaded = LazyModule("localproviders._keep_loaded")
    structured = LazyModule("localproviders.structured")
    tool_loop = LazyModule("localproviders.tool_loop")

T = TypeVar("T")

#: The input of `embed`: one text, several texts, or a complete request.
Texts = Union[str, Iterable[str], EmbeddingRequest]


class ModelProvider(ABC):
    """The interface to a server with language models, on this machine or where `locality` allows.

    Every method that sends a request has the arguments `timeout` and `cancel`. `timeout` is a
    number of seconds for the complete call, a `Limits` value, or None for the limits of the
    provider; some methods then have another total limit, which they state. `cancel` is a
    `CancelToken`, which another thread can set to end the call.

    If an argument is invalid, a call raises `TypeError` or `ValueError`. If the request fails, it
    raises a `ProviderError`. It never returns a part of a response; only a `Stream` yields parts.

    A provider may be shared by threads, used after a fork, and pickled. Use it in a ``with``
    block, or call `close`, to close the connections that it keeps.
    """

    #: The ``with`` blocks of `keep_loaded` that run now.
    _kept: LazyPart[KeptModels] = LazyPart("localproviders._keep_loaded:KeptModels")

    # A method with a prompt among its arguments first moves the arguments into a cell (`Sealed`)
    # and clears its own variables. The frame of the method is in the traceback of every later
    # error. Tools that print tracebacks with local variables do not show the content of cells.

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the provider, as responses, errors and events contain it."""

    @abstractmethod
    def close(self) -> None:
        """Close the idle connections; a later request opens new ones. `close` may be repeated."""

    @property
    def _refused(self) -> Refusals:
        """The fields of requests and the schemas that the server has refused."""
        # Created at first use, because a subclass need not call a constructor of this class.
        refusals: Refusals = vars(self).setdefault("_refusals", Refusals())
        return refusals

    if not TYPE_CHECKING:  # to a type checker, a wrong name is an error
        __getattr__, __call__ = name_other_attribute, refuse_call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- models -----------------------------------------------------------------------------

    @abstractmethod
    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """Return the models that the server has.

        The call may take 30 s in total, unless `timeout` is given.

        Raises:
            UnreachableError: No server answers.
            ProviderError: The server refused the request, or its response is not a list of
                models.
        """

    @abstractmethod
    def supports_model(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Return whether the server has this model. Names are compared as the server compares them.

        The call may take 30 s in total, unless `timeout` is given.

        Raises:
            UnreachableError: No server answers. The method does not return False in this case.
            ProviderError: The server refused the request, or failed in another way.
        """

    @abstractmethod
    def model_info(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Return everything that the server reports about one model, with its capabilities.

        The call may take 30 s in total, unless `timeout` is given.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: The server refused the request, or failed in another way.
        """

    @exact_keywords
    def model_capabilities(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelCapabilities:
        """Return the capabilities of a model, with the evidence for each.

        The call may take 30 s in total, unless `timeout` is given.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: The server refused the request, or failed in another way.
        """
        return self.model_info(model, timeout=timeout, cancel=cancel).capabilities

    def limits(self, timeout: Timeout = None) -> Limits:
        """Return the limits of a call with this `timeout`.

        Raises:
            ValueError: `timeout` is neither None, nor a `Limits` value, nor a number above zero.
        """
        return resolve(timeout, Limits())

    # --- models in memory -----------------------------------------------------------------

    @exact_keywords
    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """Return the models in the server's memory.

        The call may take 30 s in total, unless `timeout` is given.

        Raises:
            UnsupportedError: This kind of server does not list the models in its memory.
            ProviderError: The server refused the request, or failed in another way.
        """
        self._raise_unsupported("loaded_models")

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
        """Load a model into memory, and wait until it is loaded.

        The server is first asked for its loaded models. A model that is loaded with the same
        context window is not loaded again.

        Args:
            model: Name of the model, or its `ModelInfo` or `LoadedModel`.
            context_length: Context window to allocate, in tokens. None keeps the window of
                a loaded model. If the model is not loaded, None means the server's default.
            keep_alive: Seconds to keep the model in memory after its last use. Infinity keeps
                the model until it is unloaded. None means the server's default.
            check_memory: Whether to compare the free memory of this machine with the size of a
                model that must be loaded. With None, too little memory is a line in `warnings` of
                the result. With True, it is an error, and nothing is loaded. With False, nothing is
                compared. The comparison is also left out if the server is on another machine, or if
                one of the two numbers is unknown (docs/models.md, "Free memory").
            on_progress: Function that is called with each report of the progress of loading, if
                the server sends such reports.
            timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
                limits. Loading itself may take up to `Limits.load_s` seconds.
            cancel: A token that ends the call when another thread sets it. The server may
                continue to load the model.

        Raises:
            ModelNotFoundError: The server has no such model.
            ModelLoadError: The server could not load the model; or too little memory is free, and
                `check_memory` is True.
            UnsupportedError: This kind of server cannot load models, or does not have one of
                these options.
            LimitError: A time limit expired.
            ProviderError: The server refused the request, or failed in another way.
        """
        self._raise_unsupported("load")

    @exact_keywords
    def unload(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Remove a model, and every copy of it, from the server's memory.

        If the model is not loaded, nothing happens. The call may take 30 s in total, unless
        `timeout` is given.

        Raises:
            UnsupportedError: This kind of server cannot unload models.
            ProviderError: The server refused the request, or failed in another way.
        """
        self._raise_unsupported("unload")

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
        """Load a model for a ``with`` block, and restore its earlier state after the block.

        A model that was not in memory is unloaded after the block. A model that was in memory
        stays there. If the block has changed its context window or its keep-alive timer, the
        earlier values are restored. A value that the server does not report, or does not accept
        in a load, is not restored. Blocks for the same model may be nested, or run in several
        threads of this provider: the last block to end restores the state that the first block
        found.

        If the block raises an error, restoring or unloading takes at most 30 s. The error of the
        block is raised even if restoring or unloading fails.

        Args:
            model: Name of the model, or its `ModelInfo` or `LoadedModel`.
            context_length: Context window to allocate, in tokens. None keeps the window of
                a loaded model. If the model is not loaded, None means the server's default.
            keep_alive: Seconds to keep the model in memory after its last use. Infinity keeps
                the model until it is unloaded. None means the server's default.
            check_memory: Whether to compare the free memory of this machine with the size of a
                model that must be loaded. With None, too little memory is a line in `warnings` of
                the result. With True, it is an error, and nothing is loaded. With False, nothing is
                compared. The comparison is also left out if the server is on another machine, or if
                one of the two numbers is unknown (docs/models.md, "Free memory").
            on_progress: Function that is called with each report of the progress of loading, if
                the server sends such reports.
            timeout: Seconds for loading, and again for the end of the block, or a `Limits`
                value; None is the provider's limits.
            cancel: A token that ends the loading. It does not end the unloading, because the
                model must be unloaded even if the token ended a call in the block.

        Raises:
            ModelNotFoundError: The server has no such model.
            ModelLoadError: The server could not load the model; or too little memory is free, and
                `check_memory` is True.
            UnsupportedError: This kind of server cannot load or unload models, or does not have
                one of these options.
            LimitError: A time limit expired.
            ProviderError: The server refused one of the requests, or failed in another way.
        """
        options: Dict[str, Any] = {"context_length": context_length, "keep_alive": keep_alive}
        options.update(check_memory=check_memory, on_progress=on_progress)
        options.update(timeout=timeout, cancel=cancel)
        with self._kept.keep(self._loader, named(model), self.limits(timeout), **options) as loaded:
            yield loaded

    @property
    def _loader(self) -> Loader:
        """The object that loads models for `keep_loaded`."""
        return keep_loaded.PublicLoader(self)

    @exact_keywords
    def pull(
        self,
        model: ModelLike,
        *,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Download a model to the server, and wait until the server has it.

        There is no total limit unless `timeout` sets one. If a download receives no bytes for
        `Limits.idle_s` seconds, it is resumed. It fails after several attempts in a row that
        received no bytes.

        Args:
            model: Name of the model in the library of the server.
            on_progress: Function that is called with each progress report of the server.
            timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
                limits without the total limit.
            cancel: A token that ends the call when another thread sets it. The server
                keeps the part of the model that it has downloaded.

        Raises:
            ModelNotFoundError: The library of the server has no such model.
            LimitError: Several attempts in a row received no bytes, or the total limit expired.
            UnsupportedError: This kind of server cannot download models.
            ProviderError: The server refused the request, or failed in another way.
        """
        self._raise_unsupported("pull")

    def _raise_unsupported(
        self, verb: str, instead: str = "OllamaProvider or LMStudioProvider"
    ) -> NoReturn:
        reason = f"{self.name} does not support {verb}(): this kind of server has no such request"
        hint = f"use {instead}, which support {verb}()"
        raise UnsupportedError(reason, hint=hint, provider=self.name)

    # --- text and vectors -------------------------------------------------------------------

    @abstractmethod
    def stream_completion(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Stream:
        """Send a request and return a stream of completion chunks.

        The request is sent before this method returns. So if the server is unreachable, does not
        know the model or refuses a parameter, the error is raised here, before the iteration.
        The `Stream` owns the connection until it is read to its end or closed.

        Raises:
            TypeError: `request` is not a `CompletionRequest`.
            ConfigurationError: Neither the request nor the provider names a model.
            UnsupportedError: The server does not have one of the parameters; with
                ``strict=False`` this is a warning.
            LocalityError: The prompt would leave the allowed locality, so it was not sent.
            UnreachableError: No server answers.
            ModelNotFoundError: The server has no such model.
            CapabilityError: The model lacks a capability that the request needs.
            ContextOverflowError: The prompt does not fit into the context window. The iteration
                raises this error at its end if prompt and completion together did not fit.
            LimitError: A time limit expired.
            ProviderError: The server refused the request, or failed in another way.
        """

    @abstractmethod
    def embed(
        self,
        texts: Texts,
        *,
        model: Optional[ModelLike] = None,
        dimensions: Optional[int] = None,
        truncate: bool = False,
        keep_alive: Union[float, str, None] = None,
        batch_size: int = BATCH_SIZE,
        batch_characters: int = BATCH_CHARACTERS,
        expect_digest: Optional[str] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> EmbeddingResponse:
        """Return the vectors of texts, in the order of the texts.

        The texts are sent in batches, one after another. If the server refuses a batch, and the
        reason may be a single text, the batch is halved until the refused texts are found. All
        other texts are embedded. Besides the texts and the result, only one batch at a time is in
        memory.

        Args:
            texts: One text, any iterable of texts, or an `EmbeddingRequest`. An iterable is
                read once, before the first request. An `EmbeddingRequest` already has the fields
                from `model` to `expect_digest`, so these arguments must not be passed with it.
            model: Name of the model, or its `ModelInfo`; None is the provider's model.
            dimensions: Length of each vector; None is the model's own length.
            truncate: True allows the server to cut a text that is too long.
            keep_alive: Seconds to keep the model loaded after each batch, or a duration such as
                ``"10m"``.
            batch_size: Maximum number of texts in one request.
            batch_characters: Maximum number of characters in one request.
            expect_digest: First digits of the digest that the model must have, at least 12.
            timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
                limits. The total limit applies to the complete call, and the other limits to each
                batch.
            cancel: A token that ends the call when another thread sets it.

        Raises:
            ValueError: There is no text, a text is empty, a number is out of range, or a field is
                given together with an `EmbeddingRequest`.
            EmbeddingError: Some texts could not be embedded. The error has their indexes and
                reasons, and the vectors of all other texts.
            ContextOverflowError: Every text is too long. If every text fails for another common
                reason, the error for that reason is raised.
            ProviderError: The server refused the request, or failed in another way. The
                attribute `embedded` of the error has the vectors received before the failure.
        """

    @defined_by(rerank_verb.rerank)  # noqa: B027  # it is replaced
    def rerank(self) -> None:
        """Sort documents by their relevance to a query."""

    _rerank = rerank_verb.refuse_to_rerank

    # --- built on the methods above ---------------------------------------------------------

    @name_misspelt
    def complete(
        self,
        request: CompletionRequest,
        *others: Unpack[NoArguments],
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **unknown: Unpack[NoKeywords],
    ) -> CompletionResponse:
        """Send a request and return the complete response.

        The server streams the response, and this method collects the chunks. So `idle_s` can
        detect a silent server, `cancel` works at any time, and the attribute `partial` of an
        error has the text that was received before the error.

        Raises:
            TypeError: `request` is not a `CompletionRequest`.
            ConfigurationError: Neither the request nor the provider names a model, or the
                server does not have one of the parameters. The prompt was not sent.
            UnreachableError: No server answers.
            ModelError: The model is missing, lacks a capability, or its context window is too
                small.
            StreamInterruptedError: The response ended before its last record.
            LimitError: A time limit expired.
            ProviderError: The server refused the request, or failed in another way.
        """
        is_too_many, others = bool(others), ()
        if unknown or is_too_many:
            raise wrong_call(ModelProvider.complete, unknown, is_too_many)
        operation = RunningVerb(take_verb("complete"))
        with operation, self.stream_completion(request, timeout=timeout, cancel=cancel) as stream:
            return stream.result()

    @accept_absent
    @show_keywords(RequestFields, CompletionRequest)
    def chat(  # noqa: D417  # `others` is not for callers: see `accept_absent`
        self,
        messages: Messages,
        *others: Unpack[NoArguments],
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        tools: Tools = (),
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> CompletionResponse:
        """Send a conversation and return the response of the model.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            model: Name of the model, or its `ModelInfo`; None is the provider's model.
            system: Instructions for the model, sent as a system message before the messages. If
                the messages begin with one, both are sent as one system message.
            tools: A tool that the model may call, or several of them.
            timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
                limits.
            cancel: A token that ends the call when another thread sets it.
            fields: Further fields of `CompletionRequest`, such as ``temperature=0``.

        Raises:
            ValueError: The messages are empty or malformed, or the value of a field is
                impossible.
            TypeError: There is no such field.
            ConfigurationError: No model is named, or the server does not have one of the
                parameters. The prompt was not sent.
            UnreachableError: No server answers.
            ModelError: The model is missing, lacks a capability, or its context window is too
                small.
            LimitError: A time limit expired.
            ProviderError: The server refused the request, or failed in another way.
        """
        sealed = Sealed((messages, system, fields, others))
        del messages, system, fields, others
        request = chat_request(*sealed.cell_contents, model=model, tools=tools, verb="chat")
        with RunningVerb("chat"):
            return self.complete(request, timeout=timeout, cancel=cancel)

    # Scripts for OpenAI's client call `chat.completions.create`.
    vars(chat).update(
        dict.fromkeys(
            ("completions", "complete", "create", "parse", "send"),
            OtherRoute("call chat(messages), or stream(messages)"),
        )
    )

    @accept_absent
    @show_keywords(RequestFields, CompletionRequest)
    def stream(  # noqa: D417  # `others` is not for callers: see `accept_absent`
        self,
        messages: Messages,
        *others: Unpack[NoArguments],
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        tools: Tools = (),
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> Stream:
        """Send a conversation and return a stream of completion chunks.

        The request is sent before this method returns.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            model: Name of the model, or its `ModelInfo`; None is the provider's model.
            system: Instructions for the model, sent as a system message before the messages. If
                the messages begin with one, both are sent as one system message.
            tools: A tool that the model may call, or several of them.
            timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
                limits. The time that the caller spends between two chunks counts, too.
            cancel: A token that ends the call when another thread sets it.
            fields: Further fields of `CompletionRequest`, such as ``temperature=0``.

        Raises:
            ValueError: The messages are empty or malformed, or the value of a field is
                impossible.
            TypeError: There is no such field.
            ConfigurationError: No model is named, or the server does not have one of the
                parameters. The prompt was not sent.
            UnreachableError: No server answers.
            ModelError: The model is missing, lacks a capability, or its context window is too
                small.
            LimitError: A time limit expired.
            ProviderError: The server refused the request, or failed in another way.
        """
        sealed = Sealed((messages, system, fields, others))
        del messages, system, fields, others
        request = chat_request(*sealed.cell_contents, model=model, tools=tools, verb="stream")
        with RunningVerb("stream"):
            return self.stream_completion(request, timeout=timeout, cancel=cancel)

    @exact_keywords
    def count_tokens(
        self,
        messages: Messages,
        *,
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        tools: Tools = (),
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> TokenCount:
        """Return the length of a prompt in tokens, and how it was determined.

        The count is ``exact`` if the server counted the tokens. It is ``calibrated`` if it is an
        estimate from the token counts of earlier prompts of this model. Otherwise it is
        ``rough``, an estimate from the number of bytes. The prompt is sent only for an exact
        count: to the same server as in a chat, and under the same `locality`.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            model: Name of the model, or its `ModelInfo`; None is the provider's model.
            system: Instructions for the model, sent as a system message before the messages. If
                the messages begin with one, both are sent as one system message.
            tools: Tools that the model may call; their definitions are counted.
            timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
                limits, with a total of 30 s.
            cancel: A token that ends the call when another thread sets it.

        Raises:
            ValueError: The messages are empty or malformed.
            ConfigurationError: No model is named, or a tool cannot be written as JSON.
            ProviderError: The server can count tokens, but it refused the request or failed. If
                the server cannot count tokens, an estimate is returned.
        """
        sealed = Sealed((messages, system, RequestFields()))
        del messages, system
        request = chat_request(*sealed.cell_contents, model=model, tools=tools, verb="count_tokens")
        return self._count(request, timeout, cancel)

    def _slots(self, info: ModelInfo) -> Optional[int]:
        """Return how many requests for a model the server processes in parallel, or None."""
        return None

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        """Return a rough estimate. Providers override this if they have a better method."""
        return rough(request)

    # --- decisions --------------------------------------------------------------------------

    @defined_by(decision_verbs.decide)  # noqa: B027  # it is replaced
    def decide(self) -> None:
        """Answer questions about a state. Each answer has the probability of every option."""

    @defined_by(decision_verbs.decide_many)  # noqa: B027  # it is replaced
    def decide_many(self) -> None:
        """Answer the same questions about many states."""

    _decide = decision_verbs.refuse_to_decide
    _prepare_decisions = decision_verbs.prepare_nothing

    @exact_keywords
    def render(
        self,
        messages: Messages,
        *,
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        tools: Tools = (),
        thinking: Union[bool, str, None] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> str:
        """Return the prompt that the server makes from a conversation, without an answer.

        This is the text that the model would read in `chat` with the same arguments: the chat
        template of the model, filled with the messages and the definitions of the tools. The
        marks that a tokenizer adds at the beginning and the end of a text are not included. Each
        image is replaced with a mark. The server may load the model to make the prompt. The
        messages are sent to the same server as in a chat, and under the same `locality`.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            model: Name of the model, or its `ModelInfo`; None is the provider's model.
            system: Instructions for the model, sent as a system message before the messages. If
                the messages begin with one, both are sent as one system message.
            tools: Tools that the model may call; the template writes their definitions.
            thinking: True, False or a level, as in `chat`; None leaves it to the server.
            timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
                limits.
            cancel: A token that ends the call when another thread sets it.

        Raises:
            ValueError: The messages are empty or malformed.
            UnsupportedError: The server cannot return a prompt, or does not have one of the
                parameters. llama.cpp and Ollama, except old versions, can return a prompt.
            ConfigurationError: No model is named, or a tool cannot be written as JSON.
            LocalityError: The prompt would leave the allowed locality, so it was not sent.
            UnreachableError: No server answers.
            ModelError: The model is missing, or lacks a capability.
            LimitError: A time limit expired.
            ProviderError: The server refused the request, or failed in another way.
        """
        sealed = Sealed((messages, system, RequestFields()))
        del messages, system
        request = chat_request(*sealed.cell_contents, model=model, tools=tools, verb="render")
        return self._render(request.replace(thinking=thinking), timeout, cancel)

    def _render(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> str:
        """Return the prompt of a request. Providers override this if their servers can make it."""
        self._raise_unsupported("render", "OllamaProvider, or llama.cpp's server")

    # --- values and tools -------------------------------------------------------------------

    @overload
    def parse(
        self,
        messages: Messages,
        response_type: Type[T],
        *,
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        max_attempts: Optional[int] = 3,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[ParseFields],
    ) -> Parsed[T]: ...

    @overload
    def parse(
        self,
        messages: Messages,
        response_type: Any,
        *,
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        max_attempts: Optional[int] = 3,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[ParseFields],
    ) -> Parsed[Any]: ...

    @accept_absent
    @show_keywords(ParseFields, CompletionRequest)
    def parse(  # noqa: D417  # `others` is not for callers: see `accept_absent`
        self,
        messages: Messages,
        response_type: Any,
        *others: Unpack[NoArguments],
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        max_attempts: Optional[int] = 3,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[ParseFields],
    ) -> Parsed[Any]:
        """Return the model's answer as a value of a type, checked against its JSON Schema.

        The JSON Schema of the type is sent in the form that the server expects. Most servers
        then restrict the tokens of the model to the schema. But the model does not read the
        schema, so describe the wanted answer in the prompt, too. Set `max_tokens`, because
        restricted output can continue with blanks until the context window is full. A schema
        whose root is not an object is sent as an object with the one key ``value``, unless the
        schema refers to its own root.

        If the server refuses the schema, the request is sent once more. The schema is then text at
        the end of the last message of the user, and the response has a warning. The refusal is
        remembered for this provider and the model. The refused request does not count as an
        attempt.

        The text of the response is parsed as JSON. Blanks and one Markdown fence around the JSON
        are removed. A response that does not follow the schema is sent back to the model with the
        reasons and the schema. This is repeated until a response follows the schema, or until
        there were `max_attempts` responses. A response that the server ended because it repeated
        itself (`RepetitionError`) is sent back in the same way, without its repetitions. If a
        response was cut off inside its JSON (``finish_reason="length"``), the call raises
        `SchemaError` without a further attempt, because the next response would be cut off, too.
        The call also raises `SchemaError` if the server refused to answer, even if the text follows
        the schema.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            response_type: A dataclass, a `TypedDict`, another type that `schema_of` supports, a
                pydantic model, or a JSON Schema. With a JSON Schema, the value is plain JSON.
            model: Name of the model, or its `ModelInfo`; None is the provider's model.
            system: Instructions for the model, sent as a system message before the messages. If
                the messages begin with one, both are sent as one system message.
            max_attempts: Maximum number of responses.
            timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
                limits. The total limit applies to all attempts together.
            cancel: A token that ends the call when another thread sets it, also between two
                attempts.
            fields: Further fields of `CompletionRequest`, but not `response_schema`: it is
                made from `response_type`.

        Raises:
            SchemaError: No response followed the schema. The attribute `text` is the last
                response, and `reasons` lists its errors. If the server ended the last response
                because it repeated itself, the cause is a `RepetitionError`.
            ConfigurationError: The type has no schema that can be sent and checked, no model is
                named, or the server does not have one of the parameters. The prompt was not sent.
            LimitError: A time limit expired. The total limit covers the complete call.
            ValueError: The messages are empty or malformed, the value of a field is
                impossible, or `max_attempts` is not a whole number of at least 1.
            TypeError: There is no such field.
            ProviderError: The server refused the request, or failed in another way.
        """
        sealed = Sealed((messages, system, fields, others))
        del messages, system, fields, others
        # Sources: docs/reference/ollama.md, "Structured output" (the model does not read the
        # schema), and docs/reference/lmstudio.md, "Structured output" (blanks without end).
        request = chat_request(*sealed.cell_contents, model=model, tools=(), verb="parse")
        check_given("parse", response_type=response_type)
        attempts = 3 if max_attempts is None else max_attempts
        return structured.parse(
            self, request, response_type, max_attempts=attempts, timeout=timeout, cancel=cancel
        )

    @accept_absent
    @show_keywords(RequestFields, CompletionRequest)
    def run_tools(  # noqa: D417  # `others` is not for callers: see `accept_absent`
        self,
        messages: Messages,
        tools: Tools,
        *others: Unpack[NoArguments],
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        max_rounds: Optional[int] = 8,
        on_tool_error: Optional[OnToolError] = "report",
        on_step: Optional[OnStep] = None,
        text_calls: Optional[bool] = False,
        parallel: Optional[int] = 1,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> ToolRun:
        """Let the model call Python functions until it answers without a call.

        Each round is one request. The tool calls of its response are run one after another,
        in this thread and in their order (with `parallel`, several at the same time):

        - The tool is found by its name. If no tool has this name, but the name of exactly one
          tool differs only in case and punctuation, or by a prefix or suffix such as
          ``functions.``, that tool is run.
        - The arguments are checked against the schema of the tool, and converted to the types
          of its annotations. An argument that fits after one plain conversion, such as ``"5"``
          for an integer, is converted (`ToolStep.converted`).
        - The result of the function is sent to the model. A string is sent unchanged. Any other
          value is sent as JSON: dataclasses and named tuples as objects, enums as their values,
          dates as ISO 8601, bytes as base64.

        If the tool is unknown or its arguments are invalid, or if a call could not be read, the
        model receives an error text, and may call a tool again.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            tools: Functions with annotations, or `Tool` values that have a `function`. A single
                tool needs no list. A function may be an ``async def``, which runs with
                `asyncio.run`.
            model: Name of the model, or its `ModelInfo`; None is the provider's model.
            system: Instructions for the model, sent as a system message before the messages. If
                the messages begin with one, both are sent as one system message.
            max_rounds: Maximum number of requests. The last one is sent without the tools, unless
                it is the only one. If the model still calls tools in its response, they are not
                run.
            on_tool_error: Action if a tool raises an `Exception`, or returns a value that cannot
                be written as JSON. ``report`` sends ``TypeName: message`` to the model as the
                result; ``raise`` ends the loop with that exception.
            on_step: Function that is called with a `ToolStep` after each tool call, also if an
                error of the tool then ends the loop. An exception of `on_step` ends the loop.
            text_calls: Whether tool calls that the server left in the text of an answer are run.
                With False, such a response has a warning. With True, the response has the calls in
                `tool_calls` and the other text in `text`, and a warning says so.
            parallel: Maximum number of tools of one answer that run at the same time. With 1, they
                run one after another in this thread. With more, they run in threads, which end with
                the call: if the call raises an error, it starts no further tools, and first waits
                for the tools that still run. Results and steps keep the order of the
                calls, and `on_step` is called in this thread.
            timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
                limits. The total limit applies to all rounds and tools together. It is checked
                before each tool and each request: a running tool is not interrupted.
            cancel: A token that ends the call when another thread sets it. It does not interrupt
                a running tool either.
            fields: Further fields of `CompletionRequest`. A `tool_choice` that makes the
                model call a tool applies to the first round only. In later rounds, it would
                prevent the model from answering.

        Raises:
            ToolCallError: A tool call was cut off or has no name, or the model still calls tools
                after `max_rounds`.
            LimitError: A time limit expired. The total limit covers the complete call.
            CancelledError: `cancel` was set.
            ValueError: The messages are empty or malformed, the value of a field is
                impossible, a tool has no function, or `max_rounds` or `parallel` is not a whole
                number of at least 1. Nothing was sent.
            TypeError: There is no such field.
            ConfigurationError: A tool cannot be described, its schema cannot be checked, a tool is
                an ``async def`` while an event loop runs in this thread, no model is named, or
                the server does not have one of the parameters. The prompt was not sent.
            ProviderError: The server refused a request, or failed in another way. Each
                `ProviderError` has the rounds before it in its attribute `run`.
            Exception: A tool raised this exception, and `on_tool_error` is ``raise``.
        """
        sealed = Sealed((messages, system, fields, others))
        del messages, system, fields, others
        # LM Studio may change the case and the punctuation of names
        # (docs/reference/lmstudio.md, "Tools").
        request = chat_request(*sealed.cell_contents, model=model, tools=tools, verb="run_tools")
        rules = tool_loop.rules_of(max_rounds, on_tool_error, on_step, text_calls, parallel)
        return tool_loop.run_tools(self, request, rules, timeout, cancel)

    @accept_absent
    @show_keywords(RequestFields, CompletionRequest)
    def stream_tools(  # noqa: D417  # `others` is not for callers: see `accept_absent`
        self,
        messages: Messages,
        tools: Tools,
        *others: Unpack[NoArguments],
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        max_rounds: Optional[int] = 8,
        on_tool_error: Optional[OnToolError] = "report",
        on_step: Optional[OnStep] = None,
        text_calls: Optional[bool] = False,
        parallel: Optional[int] = 1,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> ToolStream:
        """Let the model call Python functions, and return a stream of the chunks of all rounds.

        This is `run_tools` for a caller who shows the text while the model writes it. After the
        chunks of a round come the results of its tool calls: for each, a chunk without text whose
        `tool_step` is the `ToolStep`. `ToolStream.result` returns the `ToolRun`.

        The first request is sent before this method returns. The other requests are sent, and the
        tools run, while the stream is iterated. The iteration raises the errors of these requests.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            tools: Functions with annotations, or `Tool` values that have a `function`. A single
                tool needs no list. A function may be an ``async def``, which runs with
                `asyncio.run`.
            model: Name of the model, or its `ModelInfo`; None is the provider's model.
            system: Instructions for the model, sent as a system message before the messages. If
                the messages begin with one, both are sent as one system message.
            max_rounds: Maximum number of requests. The last one is sent without the tools, unless
                it is the only one. If the model still calls tools in its response, they are not
                run.
            on_tool_error: Action if a tool raises an `Exception`, or returns a value that cannot
                be written as JSON. ``report`` sends ``TypeName: message`` to the model as the
                result; ``raise`` ends the stream with that exception.
            on_step: Function that is called with a `ToolStep` after each tool call, before the
                chunk with that step. An exception of `on_step` ends the stream.
            text_calls: Whether tool calls that the server left in the text of an answer are run.
                Chunks have already contained the text of such a call. The response in
                `ToolRun.responses` does not contain it.
            parallel: Maximum number of tools of one answer that run at the same time. With 1, they
                run one after another in the thread that iterates. With more, they run in threads,
                which end with the stream. Results and steps keep the order of the calls.
            timeout: Seconds for the complete run, or a `Limits` value; None is the provider's
                limits. The time that the caller spends between two chunks counts, too. The total
                limit is checked before each tool and each request: a running tool is not
                interrupted.
            cancel: A token that ends the run when another thread sets it. It does not interrupt
                a running tool.
            fields: Further fields of `CompletionRequest`. A `tool_choice` that makes the
                model call a tool applies to the first round only.

        Raises:
            LimitError: A time limit expired. The total limit covers the complete run.
            CancelledError: `cancel` was set.
            ValueError: The messages are empty or malformed, the value of a field is
                impossible, a tool has no function, or `max_rounds` or `parallel` is not a whole
                number of at least 1. Nothing was sent.
            TypeError: There is no such field.
            ConfigurationError: A tool cannot be described, its schema cannot be checked, a tool is
                an ``async def`` while an event loop runs in this thread, no model is named, or
                the server does not have one of the parameters. The prompt was not sent.
            ProviderError: The server refused the first request, or failed in another way.
        """
        sealed = Sealed((messages, system, fields, others))
        del messages, system, fields, others
        request = chat_request(*sealed.cell_contents, model=model, tools=tools, verb="stream_tools")
        rules = tool_loop.rules_of(max_rounds, on_tool_error, on_step, text_calls, parallel)
        return tool_loop.stream_tools(self, request, rules, timeout, cancel)


#: Returns the request for the arguments of a method with messages: see `make_chat_request`.
chat_request = partial(make_chat_request, ModelProvider)
