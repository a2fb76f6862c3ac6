"""`LMStudioProvider`, the provider for LM Studio servers."""

from __future__ import annotations

from functools import partial
from types import CellType
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from localproviders._address import parse_endpoint
from localproviders._dialect.common import Vectors, tell_apart
from localproviders._dialect.error_rules import Rule
from localproviders._did_you_mean import ListOf
from localproviders._http.deadline import Call
from localproviders._http.stream import Stream
from localproviders._http_provider.call_runner import Raw
from localproviders._http_provider.cold_loads import KeepAlive
from localproviders._http_provider.provider import EmbeddingExchange, HTTPProvider
from localproviders._lazy import LazyModule, LazyPart
from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.errors import ProviderError, UnsupportedError, WrongModelError
from localproviders.lmstudio.kind import KIND
from localproviders.lmstudio.wire.errors import NOT_IN_CATALOG, NOT_IN_MEMORY, RULES
from localproviders.lmstudio.wire.models import (
    configuration,
    is_possible_ttl,
    parallel_of,
    sent_ttl,
    ttl_payload,
)
from localproviders.openai_compatible import OpenAICompatibleProvider
from localproviders.secret import Sealed, SecretString, as_key
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
from localproviders.telemetry import RunningVerb, take_verb
from localproviders.types.inputs import named
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.messages import Image
from localproviders.types.models import (
    DownloadJob,
    LoadedModel,
    ModelCapabilities,
    ModelInfo,
    OnProgress,
)
from localproviders.types.requests import (
    CompletionRequest,
    EmbeddingRequest,
    Locality,
    ModelLike,
    Parts,
    StatefulFields,
)
from localproviders.types.responses import CompletionChunk, CompletionResponse, Usage

if TYPE_CHECKING:
    from localproviders._http.summary import Summary
    from localproviders._http_provider.aliases import Aliases
    from localproviders._http_provider.call_runner import Completion
    from localproviders._keep_loaded import Loader
    from localproviders.lmstudio import stateful
    from localproviders.lmstudio.catalog import Catalog
    from localproviders.lmstudio.downloads import Downloads
    from localproviders.lmstudio.memory import Memory
    from localproviders.lmstudio.stateful import Stateful
    from localproviders.lmstudio.wire import decisions as wire_decisions
    from localproviders.lmstudio.wire import stateful as wire_stateful
else:
    stateful = LazyModule("localproviders.lmstudio.stateful")
    wire_stateful = LazyModule("localproviders.lmstudio.wire.stateful")
    wire_decisions = LazyModule("localproviders.lmstudio.wire.decisions")

_PORT = 1234

_KEEP_ALIVE_HINT = "call load(), which sets no idle limit; or call unload() when you are done"


class LMStudioProvider(OpenAICompatibleProvider):
    """An LM Studio server: chat in OpenAI's dialect, everything else in LM Studio's own API.

    Chat, streams, embeddings and the list of models work with every version. `loaded_models`
    needs LM Studio 0.3.6; `load`, `unload`, downloads and stored conversations need 0.4.0.
    `generation` returns the range of versions to which the server belongs.

    Args:
        host: Address of the server, with or without ``/v1``; it may be a UNIX socket, such as
            ``unix:///run/lmstudio.sock``. None means ``http://127.0.0.1:1234``.
        model: Model for calls without a model. If it is None, such calls raise
            `ConfigurationError`.
        name: Name of the provider in responses, errors and events.
        api_key: Key that is sent as a Bearer token, to this address only. None reads
            ``LM_API_TOKEN``, then ``LMSTUDIO_API_TOKEN``.
        timeout: Limits for calls without a `timeout`: seconds for the whole call, or a
            `Limits` value. None means ``Limits()``.
        locality: Places to which prompts may be sent: ``loopback``, ``private`` or ``any``.
            None uses the value of ``LOCALPROVIDERS_LOCALITY``, or ``loopback`` if it is not
            set.
        settings: A complete `Settings` value. The other arguments are then not used.
        **options: Fields of `ConnectionOptions`: ``retry``, ``ca_bundle``,
            ``client_cert``, ``proxies``, ``listeners``, ``allow_plaintext_key``,
            ``max_line_bytes``, ``max_body_bytes``, ``max_json_depth``, ``headers`` and ``auth``.
            `Settings` describes each.

    The constructor sends nothing. The first call opens a connection and keeps it for later
    calls until `close`.

    Raises:
        ConfigurationError: A value is invalid.
        TypeError: A keyword argument does not exist.
    """

    _catalog: LazyPart[Catalog] = LazyPart("localproviders.lmstudio.catalog:Catalog", "_runner")
    _memory: LazyPart[Memory] = LazyPart(
        "localproviders.lmstudio.memory:Memory", "_runner", "_catalog", "_windows", "_cold_loads"
    )
    _downloads: LazyPart[Downloads] = LazyPart(
        "localproviders.lmstudio.downloads:Downloads", "_runner", "_catalog"
    )
    _aliases: LazyPart[Aliases] = LazyPart("localproviders._http_provider.aliases:Aliases")
    _stateful: LazyPart[Stateful] = LazyPart(
        "localproviders.lmstudio.stateful:Stateful", "settings", "_catalog"
    )

    _decision_wire = wire_decisions
    _kind = "LM Studio"
    _keep_alive = KeepAlive(is_listed=True)
    _ways_to_get: Mapping[Optional[str], str] = {
        None: "to get this one: pull({model!r})",
        NOT_IN_CATALOG: NOT_IN_CATALOG,
        NOT_IN_MEMORY: "",
    }
    _api_path = ""
    _rules: Tuple[Rule, ...] = RULES
    # No route counts tokens (docs/reference/lmstudio.md, "Endpoints").
    _has_prompt_routes = False
    # The reasons are in docs/reference/lmstudio.md, "Log probabilities" and "Chat completions".
    _unsupported: Mapping[str, str] = {
        **HTTPProvider._unsupported,
        "context_length": "load the model with the context window that you need",
        "logprobs": "LM Studio accepts the field but returns no log probabilities",
        "top_logprobs": "LM Studio accepts the field but returns no log probabilities",
        "suffix": "LM Studio cannot fill gaps in a text",
    }

    # Source: docs/reference/lmstudio.md, "Images".
    _refused_media: Mapping[str, str] = {
        "image/webp": "convert the image to PNG or JPEG",
        "audio/": "LM Studio accepts text and images only",
    }
    # Source: docs/reference/lmstudio.md, "Embeddings".
    _embed_unsupported: Mapping[str, str] = {
        "truncate": "shorten the texts before the call",
        "dimensions": "LM Studio accepts the field but ignores it",
    }

    @exact_keywords
    @show_keywords(ConnectionOptions, Settings)
    def __init__(
        self,
        host: Optional[str] = None,
        *,
        model: Optional[str] = None,
        name: str = "lmstudio",
        api_key: ApiKey = None,
        timeout: Timeout = None,
        locality: Optional[Locality] = None,
        settings: Optional[Settings] = None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        # The cells hide the address and the key from tracebacks that show local variables (see
        # `Sealed`).
        given, host, api_key, options = Sealed((host, api_key, options)), None, None, EMPTY
        address, key, connection = map(Sealed, given.cell_contents)
        if settings is None:
            hidden = safe_options(connection)
            settings = make_settings(
                endpoint=parse_endpoint(
                    address.cell_contents or "", default_port=_PORT, api_suffixes=KIND.api_paths
                ),
                endpoint_origin="the host argument" if address.cell_contents else "the default",
                name="lmstudio" if name is None else name,
                model=model,
                api_key=_find_key(key, hidden),
                timeout=timeout,
                locality=locality,
                **hidden,
            )
        super().__init__(settings=settings)

    # --- the server and its models ----------------------------------------------------------

    @exact_keywords
    def generation(self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None) -> str:
        """Return the generation of the server: ``0.4``, ``0.3`` or ``older``.

        - ``0.4`` (0.4.0 and newer) supports all methods of this class.
        - ``0.3`` (0.3.6 and newer) lists models and loaded models, and cannot load, unload or
          download models.
        - ``older`` has only OpenAI's list of models. Servers of other kinds look the same.

        LM Studio has no route for its version. The generation is inferred from the model lists
        that the server has, and remembered until a connection breaks or a route is missing.

        Args:
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is not a list of
                models.
        """
        return self._catalog.generation(timeout, cancel)

    @exact_keywords
    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """Return the models on disk.

        A server before 0.4 with just-in-time loading switched off returns only the models in
        memory. A server before 0.3.6 returns only names, from which the capabilities are
        inferred.

        Args:
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is not a list of
                models.
        """
        entries = self._catalog.list_entries(timeout, cancel)
        return self._abilities.learn(ListOf(tell_apart(entry.info for entry in entries)))

    @exact_keywords
    def supports_model(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Return whether the server has a model.

        Args:
            model: Model key, variant, or name of a copy in memory; or a `ModelInfo` or
                `LoadedModel`.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is not a list of
                models.
        """
        name, entries = named(model), self._catalog.list_entries(timeout, cancel)
        return any(name in entry.names for entry in entries)

    @exact_keywords
    def model_info(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Return the facts about one model from the server's model list.

        Args:
            model: Model key, variant, or name of a copy in memory; or a `ModelInfo` or
                `LoadedModel`.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            ModelNotFoundError: The server has no such model.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is not a list of
                models.
        """
        return self._catalog.model_info(named(model), timeout, cancel)

    # --- memory -----------------------------------------------------------------------------

    @exact_keywords
    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """Return the models in the server's memory; each copy of a model is a separate item.

        `expires_at` is the time of the response, plus the remaining seconds that the server
        reports. LM Studio 0.4 reports these seconds for models that a request has loaded. LM Studio
        0.3 reports only the context windows.

        Args:
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnsupportedError: The server is older than 0.3.6.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is not a list of
                models.
        """
        return ListOf(self._memory.loaded_models(timeout, cancel))

    @exact_keywords
    def load(
        self,
        model: ModelLike,
        *,
        context_length: Optional[int] = None,
        keep_alive: Union[float, str, None] = None,
        check_memory: Optional[bool] = None,
        on_progress: Optional[OnProgress] = None,
        eval_batch_size: Optional[int] = None,
        flash_attention: Optional[bool] = None,
        num_experts: Optional[int] = None,
        offload_kv_cache_to_gpu: Optional[bool] = None,
        parallel: Optional[int] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> LoadedModel:
        """Load a model into memory, and wait until it is loaded (LM Studio 0.4.0 and newer).

        The method first requests the list of loaded models. A copy with the requested
        configuration is kept. A copy with another configuration is unloaded first, because LM
        Studio would otherwise keep both. Calls of one provider for the same model wait for
        each other. The server does not report which variant of a model is loaded. If `model`
        is a variant, and the copy that is kept was not loaded as this variant by this provider,
        `warnings` of the result says that the variant is unknown.

        The model stays in memory until it is unloaded. But another program can unload it, or the
        server can restart. If a call of this provider then fails because the model left memory,
        the call loads the model again with the same configuration, once, and reports the load in
        its `warnings`.

        Args:
            model: Model key, variant, or name of a copy in memory; or a `ModelInfo` or
                `LoadedModel`.
            context_length: Context window to allocate, in tokens. None keeps a loaded copy.
                If None is passed and no copy is loaded, the server uses the model's saved setting,
                which is often 4096. MLX models can ignore the value; a different window is reported
                in `warnings`.
            keep_alive: None or infinity, because the server sets no idle limit for a model that
                is loaded in this way. Infinity also reloads a copy that has an idle limit
                because a request has loaded it. None keeps such a copy.
            check_memory: Whether to compare the free memory of this machine with the size of a
                model that must be loaded. With None, too little memory is a line in `warnings` of
                the result. With True, it is an error, and nothing is loaded. With False, nothing is
                compared. The comparison is also left out if the server is on another machine, or if
                one of the two numbers is unknown (docs/models.md, "Free memory").
            on_progress: Function that is called once, when the model has been loaded. The
                server does not report the progress of this request. If a loaded copy is kept, the
                function is not called. `stateful_stream` reports the progress of a load.
            eval_batch_size: Prompt tokens per processing step (llama.cpp models only).
            flash_attention: Whether to use flash attention (llama.cpp models only).
            num_experts: Number of active experts of a mixture of experts (llama.cpp models
                only).
            offload_kv_cache_to_gpu: Whether to keep the key-value cache in the memory of the
                graphics card (llama.cpp models only).
            parallel: Maximum number of requests that run at the same time. LM Studio does not
                document this field, but accepts it and reports the value.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits. The load may take up to `load_s` plus `first_token_s`.
            cancel: Token that cancels this call. LM Studio does not document whether the load
                then continues.

        Raises:
            ModelNotFoundError: The server has no such model; `available` has the names of its
                models.
            ModelLoadError: The server could not load the model; or too little memory is free, and
                `check_memory` is True.
            UnsupportedError: The server is older than 0.4.0, or `keep_alive` is a number of
                seconds.
            ConfigurationError: A value is invalid.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            UnreachableError: No server answers.
            ProviderError: The server refused the request, or its response is invalid.
        """
        requested = configuration(
            context_length=context_length,
            eval_batch_size=eval_batch_size,
            flash_attention=flash_attention,
            num_experts=num_experts,
            offload_kv_cache_to_gpu=offload_kv_cache_to_gpu,
            parallel=parallel,
        )
        return self._memory.load(
            named(model), requested, keep_alive, check_memory, on_progress, timeout, cancel
        )

    @exact_keywords
    def unload(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Unload a model from memory (LM Studio 0.4.0 and newer).

        A model that is not in memory is not an error.

        Args:
            model: Model key or variant, to unload every copy of the model; or the name of one copy.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnsupportedError: The server is older than 0.4.0.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        self._memory.unload(named(model), timeout, cancel)

    @property
    def _loader(self) -> Loader:
        return self._memory

    # --- downloads --------------------------------------------------------------------------

    @exact_keywords
    def download(
        self,
        model: ModelLike,
        *,
        quantization: Optional[str] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> DownloadJob:
        """Start a download on the server, and return without waiting (LM Studio 0.4.0 and newer).

        The server continues the download even if this program ends. It has no route to stop or
        pause a download, or to delete a model. `download_status` returns the progress; `pull`
        waits for the end.

        Args:
            model: Name in LM Studio's catalog, such as ``ibm/granite-4-micro``, or the
                address of a Hugging Face repository.
            quantization: Quantization of the file to download, such as ``Q4_K_M``. Allowed only
                with an address.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call. The server may have started the download
                already.

        Raises:
            ModelNotFoundError: There is no such model to download.
            UnsupportedError: The server is older than 0.4.0, or `quantization` is given with
                a catalog name.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        return self._downloads.start(named(model), quantization, timeout, cancel)

    @exact_keywords
    def download_status(
        self, job_id: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> DownloadJob:
        """Return the progress of a download (LM Studio 0.4.0 and newer).

        A download that has failed raises no error: `has_failed` of the result is True.

        Args:
            job_id: The `job_id` of the job that `download` returned. It is None if the model
                was already on disk.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            ConfigurationError: `job_id` is None or empty, or would change the path of the
                request, as ``..`` does.
            RequestRejectedError: The server has no such job.
            UnsupportedError: The server is older than 0.4.0.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        return self._downloads.status(job_id, timeout, cancel)

    @exact_keywords
    def pull(
        self,
        model: ModelLike,
        *,
        on_progress: Optional[OnProgress] = None,
        quantization: Optional[str] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Download a model on the server, and wait for the end (LM Studio 0.4.0 and newer).

        The status is requested every second at first, later every 2 seconds. There is no total
        limit unless `timeout` has one. A download whose byte count does not change for
        `idle_s` raises `LimitError`, even if it is paused. After all bytes have arrived, the
        server may process them for up to `load_s`. If a connection fails, the status is requested
        again, as often as `RetryPolicy.attempts` allows.

        **The end of this call does not stop the download**: the server has no route for that.
        Call `pull` again to wait for the same download. The server can report an incomplete
        download as completed, so load the model to check it
        (docs/reference/lmstudio.md, "Traps").

        Args:
            model: Name in LM Studio's catalog, such as ``ibm/granite-4-micro``, or the
                address of a Hugging Face repository.
            on_progress: Function that is called with each status that the server reports, including
                ``paused``.
            quantization: Quantization of the file to download, such as ``Q4_K_M``. Allowed only
                with an address.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, without a total.
            cancel: Token that cancels this call, but not the download.

        Raises:
            ModelNotFoundError: There is no such model to download; or the download is
                complete, but its entry in the server's list cannot be identified.
            LimitError: The byte count did not change (``idle_s``, ``load_s``), or the total
                limit expired.
            ServerError: The download failed. The message contains the server's reason, if the
                server reports one.
            UnsupportedError: The server is older than 0.4.0, or `quantization` is given with
                a catalog name.
            CancelledError: The call was cancelled.
            UnreachableError: No server answers.
            ProviderError: The server refused the request, or its response is invalid.
        """
        return self._downloads.pull(named(model), quantization, on_progress, timeout, cancel)

    # --- conversations that the server stores -----------------------------------------------

    @exact_keywords
    @show_keywords(StatefulFields, CompletionRequest)
    def stateful_chat(
        self,
        text: Parts,
        *,
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        images: Optional[Sequence[Image]] = (),
        previous_response_id: Optional[str] = None,
        store: Optional[bool] = True,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[StatefulFields],
    ) -> CompletionResponse:
        """Send one turn of a conversation that the server stores (LM Studio 0.4.0 and newer).

        Only the new turn is sent. Pass the `response_id` of a response to continue after it.
        The id of an earlier response starts a branch. The response is streamed and collected, as in
        `chat`. The server reports no `finish_reason`: a response as long as `max_tokens` gets a
        warning that it may be cut. `server_timings.load_s` is set if this call loaded the
        model. This route supports neither tools nor JSON Schemas: use `chat` for them.

        Args:
            text: The prompt: a string, or a sequence of strings and images.
            model: Model key, variant, or name of a copy in memory. None means the provider's model.
            system: System prompt. LM Studio does not document whether it remembers the
                system prompt of the previous turn, so pass it each time.
            images: Images to send after the text.
            previous_response_id: The `response_id` of the response to continue. None starts a
                new conversation.
            store: Whether the server stores the response, for 30 days. With False, the
                response has no `response_id`.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits.
            cancel: Token that cancels this call.
            fields: The fields of `CompletionRequest` that `StatefulFields` has.
                `temperature`, `top_p` and `min_p` may be at most 1. `thinking` is True, False,
                ``low``, ``medium`` or ``high``, if the model allows this value. `context_length` is
                used only if this call loads the model.

        Raises:
            ConfigurationError: The call has no model; or this route does not support a value; or
                `previous_response_id` does not begin with ``resp_``.
            UnsupportedError: The server is older than 0.4.0.
            CapabilityError: The model's list entry does not allow this value of `thinking`.
            RequestRejectedError: The server has no stored response with this id, or does not
                know a field.
            WrongModelError: Another model answered.
            StreamInterruptedError: The response stopped before its last event.
            ValueError: The prompt is empty, or the value of a field is invalid.
            TypeError: A keyword argument does not exist.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            UnreachableError: No server answers.
            ProviderError: The server refused the request or failed.
        """
        prompt = Sealed({**fields, "text": text, "system": system, "images": images})
        del text, system, images, fields
        with RunningVerb("stateful_chat"), self.stateful_stream(
            model=model,
            previous_response_id=previous_response_id,
            store=store,
            timeout=timeout,
            cancel=cancel,
            **prompt.cell_contents,
        ) as stream:
            return stream.result()

    @exact_keywords
    @show_keywords(StatefulFields, CompletionRequest)
    def stateful_stream(
        self,
        text: Parts,
        *,
        model: Optional[ModelLike] = None,
        system: Optional[str] = None,
        images: Optional[Sequence[Image]] = (),
        previous_response_id: Optional[str] = None,
        store: Optional[bool] = True,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[StatefulFields],
    ) -> Stream:
        """Send one turn of a conversation that the server stores, and stream the response.

        Only the new turn is sent. Chunks with `progress` report how far the server is with
        ``loading the model`` and ``reading the prompt``. These chunks have no text. The last chunk
        has the usage and `response_id`. Needs LM Studio 0.4.0 or newer. This route supports neither
        tools nor JSON Schemas: use `stream` for them.

        Args:
            text: The prompt: a string, or a sequence of strings and images.
            model: Model key, variant, or name of a copy in memory. None means the provider's model.
            system: System prompt. LM Studio does not document whether it remembers the
                system prompt of the previous turn, so pass it each time.
            images: Images to send after the text.
            previous_response_id: The `response_id` of the response to continue. None starts a
                new conversation.
            store: Whether the server stores the response, for 30 days. With False, the
                response has no `response_id`.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits.
            cancel: Token that cancels this call.
            fields: The fields of `CompletionRequest` that `StatefulFields` has.
                `temperature`, `top_p` and `min_p` may be at most 1. `thinking` is True, False,
                ``low``, ``medium`` or ``high``, if the model allows this value. `context_length` is
                used only if this call loads the model.

        Raises:
            ConfigurationError: The call has no model; or this route does not support a value; or
                `previous_response_id` does not begin with ``resp_``.
            UnsupportedError: The server is older than 0.4.0.
            CapabilityError: The model's list entry does not allow this value of `thinking`.
            RequestRejectedError: The server has no stored response with this id, or does not
                know a field.
            ValueError: The prompt is empty, or the value of a field is invalid.
            TypeError: A keyword argument does not exist.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            UnreachableError: No server answers.
            ProviderError: The server refused the request or failed. Iterating over the stream can
                raise the same errors, and also `WrongModelError` and `StreamInterruptedError`.
        """
        operation = take_verb("stateful_stream")
        prompt = Sealed((text, system, images, fields))
        del text, system, images, fields
        request = stateful.turn(*prompt.cell_contents, model=model)
        wire_stateful.check_fields(request)
        stateful.check_id(previous_response_id)
        chosen = self._choose_model(request.model, timeout, cancel)
        native_chat = self._stateful
        call, span = self._begin(operation, request, chosen, timeout, cancel)
        return self._open_stream(
            request,
            chosen,
            [],
            lambda call: native_chat.make_request(
                request, chosen, previous_response_id, store is not False, call
            ),
            call,
            span,
        )

    # --- the dialect ----------------------------------------------------------------------

    def _path(self, path: str) -> str:
        return "/v1" + path

    def _forget_after(self, error: ProviderError) -> None:
        catalog: Optional[Catalog] = vars(self).get("_catalog")
        if catalog is not None:
            catalog.forget_after(error)

    def _capabilities_of(self, model: str, call: Call) -> ModelCapabilities:
        entries = self._catalog.entries(call)
        entry = next((entry for entry in entries if model in entry.names), None)
        return ModelCapabilities() if entry is None else entry.info.capabilities

    def _conclude(self, completion: Completion, summary: Summary) -> CompletionResponse:
        response = super()._conclude(completion, summary)
        # `_adapt` has converted the caller's `keep_alive` to the field ``ttl``.
        self._cold_loads.answered(completion.model, sent_ttl(completion.request.extra_body))
        return response

    def _window(self, model: str, call: Call) -> Optional[int]:
        return self._memory.window(model, call)

    def _slots(self, info: ModelInfo) -> Optional[int]:
        return parallel_of(info)

    def _reload_evicted(self, error: ProviderError, model: str, call: Call) -> Optional[str]:
        # Without a memory object, this provider has never loaded a model.
        memory: Optional[Memory] = vars(self).get("_memory")
        return None if memory is None else memory.revive(error, model, call)

    def _thinking_switch(self, enabled: bool) -> str:
        # The server accepts "off" but ignores it; "none" works. The server also ignores arguments
        # for the chat template (docs/reference/lmstudio.md, "Chat completions").
        return "medium" if enabled else "none"

    def _adapt(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        request, warnings = super()._adapt(request)
        if request.keep_alive is not None:
            request = self._with_ttl(request, request.keep_alive, warnings)
        if request.tool_choice not in (None, "auto", "none", "required"):
            hint = "send only that tool, with tool_choice='required'"
            warnings.extend(self._refuse("a tool's name as tool_choice", hint, request))
            request = request.replace(tool_choice=None)
        return request, warnings

    def _with_ttl(
        self, request: CompletionRequest, seconds: float, warnings: List[str]
    ) -> CompletionRequest:
        """Convert `keep_alive` to LM Studio's field ``ttl``, which has whole seconds.

        The server uses this field only if this request loads the model.
        """
        extra = request.extra_body
        if is_possible_ttl(seconds):
            extra = {**ttl_payload(seconds), **extra}
        else:
            warnings.extend(self._refuse(f"keep_alive={seconds}", _KEEP_ALIVE_HINT, request))
        return request.replace(keep_alive=None, extra_body=extra)

    def _check_embedding(self, request: EmbeddingRequest) -> None:
        super()._check_embedding(request)
        if request.keep_alive is not None and not is_possible_ttl(request.keep_alive):
            raise UnsupportedError(
                f"{self.name} does not support keep_alive={request.keep_alive}",
                hint=_KEEP_ALIVE_HINT,
                provider=self.name,
            )

    def _embed_payload(self, request: EmbeddingRequest, model: str) -> Dict[str, Any]:
        return {**super()._embed_payload(request, model), **ttl_payload(request.keep_alive)}

    def _embed_exchange(self, batch: EmbeddingRequest, model: str, call: Call) -> EmbeddingExchange:
        path, payload, read = super()._embed_exchange(batch, model, call)

        def read_without_usage(data: Any) -> Vectors:
            # LM Studio always reports zero tokens, although the number is unknown
            # (docs/reference/lmstudio.md, "Embeddings").
            return read(data)._replace(usage=Usage())

        return path, payload, read_without_usage

    # --- the served model -----------------------------------------------------------------

    def _check_chunk(
        self, request: CompletionRequest, model: str, chunk: CompletionChunk, call: Call
    ) -> Optional[str]:
        warning = super()._check_chunk(request, model, chunk, call)
        max_tokens = request.max_tokens
        if (
            warning is None
            and max_tokens is not None
            and wire_stateful.may_be_cut(chunk, max_tokens)
        ):
            return (
                f"the answer is as long as max_tokens={max_tokens} allows, "
                "so it may be cut (inferred)"
            )
        return warning

    def _check_served(
        self, model: str, served: Optional[str], call: Call, raw: Raw = None
    ) -> Optional[str]:
        """Raise if the response comes from another model; request the list to compare names.

        LM Studio answers requests for unknown names with its only loaded model
        (docs/reference/lmstudio.md, "Model names"). If one response has many different names,
        the model list is not requested for each of them.

        Raises:
            WrongModelError: The names are not known to belong to the same model.
            ProviderError: The list could not be read.
        """
        if not served or served.lower() == model.lower():
            return None
        look_up = partial(self._catalog.is_alias, model, served, call)
        if self._aliases.match(model, served, call, look_up):
            return None
        raise WrongModelError(
            f"requested model {model!r}, but the server answered with {served!r}",
            hint="LM Studio uses its one loaded model for unknown model names; check the name",
            requested=model,
            served=served,
        )


def _find_key(given: CellType, options: Mapping[str, Any]) -> Optional[SecretString]:
    """Return the API key that was given, or else the API key in an environment variable.

    The variables are not read if other options set the header ``Authorization``.
    """
    if given.cell_contents:
        return as_key(given)
    if sets_authorization(options):
        return None
    return first_variable("LM_API_TOKEN", "LMSTUDIO_API_TOKEN")
