"""`OllamaProvider`, the provider for Ollama servers."""

from __future__ import annotations

import os  # noqa: F401  # `typing.get_type_hints` finds the type in `Files` by this name
from typing import (
    TYPE_CHECKING,
    Any,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from localproviders._dialect.common import Row, Vectors
from localproviders._did_you_mean import ListOf
from localproviders._http.deadline import Call
from localproviders._http.transport import Body, Payload, encode
from localproviders._http_provider import HTTPProvider
from localproviders._http_provider.call_runner import Raw
from localproviders._http_provider.cold_loads import KeepAlive
from localproviders._http_provider.provider import EmbeddingExchange, WireExchange, WireRequest
from localproviders._http_provider.sending import (
    SYSTEM_MESSAGES,
    OwnField,
    refuse_documents,
    schema_field,
)
from localproviders._lazy import LazyModule, LazyPart
from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.errors import ProviderError, UnsupportedError
from localproviders.ollama.kind import find_endpoint
from localproviders.ollama.listed import ListedModels
from localproviders.ollama.names import (
    Files,
    ModelDetails,
    check_served,
    same_model,
    similar_name,
)
from localproviders.ollama.wire import responses as wire_responses
from localproviders.ollama.wire.errors import (
    WAYS_TO_GET,
    explain_answer,
    lacks_embed,
)
from localproviders.ollama.wire.requests import (
    check_old_embed,
    completion_payload,
    embed_payload,
    load_options,
    old_embed_payload,
    render_payload,
    schema_in_words,
)
from localproviders.ollama.wire.responses import (
    checked,
    old_vectors,
    parse_old_vector,
    parse_prompt,
    parse_vectors,
    remote_host,
)
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
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.messages import Messages
from localproviders.types.models import LoadedModel, ModelCapabilities, ModelInfo, OnProgress
from localproviders.types.requests import (
    CompletionRequest,
    EmbeddingRequest,
    Locality,
    ModelLike,
    texts_of,
)

_CLOUD_HOST = "ollama.com"

if TYPE_CHECKING:
    from localproviders._http_provider import embedding
    from localproviders._keep_loaded import Loader
    from localproviders.ollama.catalog import Catalog
    from localproviders.ollama.memory import Memory
    from localproviders.ollama.transfers import Transfers
    from localproviders.ollama.wire import decisions as wire_decisions
    from localproviders.ollama.wire import library as wire_library
    from localproviders.ollama.wire import models as wire_models
else:
    embedding = LazyModule("localproviders._http_provider.embedding")
    wire_models = LazyModule("localproviders.ollama.wire.models")
    wire_decisions = LazyModule("localproviders.ollama.wire.decisions")
    wire_library = LazyModule("localproviders.ollama.wire.library")


class OllamaProvider(HTTPProvider):
    """An Ollama server, through its native API.

    Args:
        host: Address in any form that ``OLLAMA_HOST`` accepts, or a UNIX socket, such as
            ``unix:///run/ollama.sock``. None uses the value of that variable, or
            ``http://127.0.0.1:11434`` if it is not set.
        model: Model for calls without a model. If it is None, such calls raise an error.
        name: Name of the provider in responses, errors and events.
        api_key: Key that is sent as a Bearer token, to this address only. None reads
            ``OLLAMA_API_KEY``, but only for ``https://ollama.com``: a local server needs no
            key, and no other server must receive this key.
        timeout: Limits for calls without a `timeout`: seconds for the whole call, or a
            `Limits` value. None means ``Limits()``.
        locality: Places to which prompts may be sent: ``loopback``, ``private`` or ``any``.
            None uses the value of ``LOCALPROVIDERS_LOCALITY``, or ``loopback`` if it is not
            set. Cloud models need ``any``.
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

    _catalog: LazyPart[Catalog] = LazyPart(
        "localproviders.ollama.catalog:Catalog", "_runner", "_listed"
    )
    _memory: LazyPart[Memory] = LazyPart(
        "localproviders.ollama.memory:Memory",
        *("_runner", "_windows", "_cold_loads", "_check_locality"),
    )
    _transfers: LazyPart[Transfers] = LazyPart(
        "localproviders.ollama.transfers:Transfers", "_runner", "_catalog", "_memory", "_forget"
    )

    _decision_wire = wire_decisions
    _kind = "Ollama"
    _keep_alive = KeepAlive(True, restarts=True, options_of=load_options)
    _accept = "application/x-ndjson"
    _ways_to_get = WAYS_TO_GET
    _unsupported: Mapping[str, str] = {
        **HTTPProvider._unsupported,
        "tool_choice": "Ollama has no such field; leave it out",
    }
    _usual: Mapping[str, str] = {"tool_choice": "auto"}

    @exact_keywords
    @show_keywords(ConnectionOptions, Settings)
    def __init__(
        self,
        host: Optional[str] = None,
        *,
        model: Optional[str] = None,
        name: str = "ollama",
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
            endpoint, origin = find_endpoint(address)
            secret, hidden = as_key(key), safe_options(connection)
            is_cloud_host = endpoint.host == _CLOUD_HOST and endpoint.scheme == "https"
            if secret is None and is_cloud_host and not sets_authorization(hidden):
                secret = first_variable("OLLAMA_API_KEY")
            settings = make_settings(
                endpoint=endpoint,
                endpoint_origin=origin,
                name="ollama" if name is None else name,
                model=model,
                api_key=secret,
                timeout=timeout,
                locality=locality,
                **hidden,
            )
        super().__init__(settings)

    def _set_up(self, settings: Settings) -> None:
        super()._set_up(settings)
        self._listed = ListedModels(settings, self._transport)
        #: Whether the server lacks ``/api/embed`` and has answered ``/api/embeddings``.
        self._uses_old_embed_route = False

    # --- the server and its models ----------------------------------------------------------

    @exact_keywords
    def version(self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None) -> str:
        """Return the server's version, such as ``0.32.15``.

        Args:
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response has no version.
        """
        return self._catalog.version(timeout, cancel)

    @exact_keywords
    def cloud_disabled(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> Optional[bool]:
        """Return whether cloud models are switched off on the server.

        None means that the server is too old to report this setting. The setting belongs to
        the server. The `locality` of this provider decides separately whether prompts may go to
        the cloud.

        Args:
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        return self._catalog.cloud_disabled(timeout, cancel)

    @exact_keywords
    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """Return the installed models, most recently changed first.

        A cloud model is listed only if its stub (the small local entry of such a model) was
        pulled. Its `remote_host` is then the host that runs the model. The list can lack
        abilities that `model_info` reports (docs/reference/ollama.md, "Capabilities").

        Args:
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is not a list.
        """
        return ListOf(self._catalog.list_models(timeout, cancel))

    @exact_keywords
    def model_info(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Return the facts about one model, from the server's details and its lists.

        This sends three short requests. Only the details have all abilities, only the model list
        has the size, the digest and the stored name, and only the list of loaded models has the
        allocated context window.

        Args:
            model: Name of the model, or its `ModelInfo` or `LoadedModel`.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            ModelNotFoundError: The server has no such model.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        return self.show(model, timeout=timeout, cancel=cancel).info

    @exact_keywords
    def show(
        self,
        model: ModelLike,
        *,
        verbose: bool = False,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelDetails:
        """Return all details that the server reports about one model.

        Args:
            model: Name of the model, or its `ModelInfo` or `LoadedModel`.
            verbose: True includes the long lists in `metadata`, such as the tokens. They can
                have a size of many megabytes.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            ModelNotFoundError: The server has no such model.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        return self._catalog.show(named(model), verbose, timeout, cancel)

    # --- memory -----------------------------------------------------------------------------

    @exact_keywords
    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """Return the models in memory; the model that will be unloaded last comes first.

        A model that is still loading is included. Cloud models are never included.

        Args:
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is not a list.
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
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> LoadedModel:
        """Load a model into memory, and wait until it is loaded.

        This method first reads the list of loaded models. A model that is already loaded is
        loaded again only if `context_length` differs from its window, or if `context_length`
        is given and another program has loaded the model with a sliding window. (When a sliding
        window is full, the server drops the beginning of the text.) If the model is not loaded
        again and `keep_alive` is set, a request restarts its keep-alive timer.

        If several models consist of the same files, the server loads the files once, under the
        name that was loaded first. `name` of the result is then that name, and `warnings` says so.

        Args:
            model: Name of the model, or its `ModelInfo` or `LoadedModel`.
            context_length: Context window to allocate, in tokens. If it is longer than the
                window for which the model was trained, the server reduces it to that window, and
                `warnings` says so. The server rounds the window up to a multiple of 256. When the
                window is full, an answer ends with the finish reason ``length``, and the server
                does not drop the beginning of the prompt.
                Later requests of this provider to the model contain this window unless they set
                another one, because a request without a window makes the server reload the model
                with its default window. This provider forgets the window after `unload`, or when
                a `load` without `context_length` has to load the model.
            keep_alive: Seconds to keep the model after its last use. Infinity keeps it for
                ever; None uses the server's default.
            check_memory: Whether to compare the free memory of this machine with the size of a
                model that must be loaded. With None, too little memory is a line in `warnings` of
                the result. With True, it is an error, and nothing is loaded. With False, nothing is
                compared. The comparison is also left out if the server is on another machine, or if
                one of the two numbers is unknown (docs/models.md, "Free memory").
            on_progress: Never called, because this server reports no progress of a load.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. Loading may take `load_s` and `first_token_s` together.
            cancel: Token with which another thread can cancel the call. The server then stops
                loading, unless another client waits for the model.

        Raises:
            ModelNotFoundError: The server has no such model.
            ModelLoadError: The server could not load the model; or another `load` of this
                provider, with another `context_length`, ran at the same time and replaced it; or
                too little memory is free, and `check_memory` is True.
            LocalityError: The model runs in the cloud, and `locality` is not ``any``.
            UnsupportedError: The model runs in the cloud, where it cannot be loaded.
            ConfigurationError: A value is invalid. Nothing was sent.
            LimitError: A limit expired.
            UnreachableError: No server answers.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        facts = context_length, keep_alive, check_memory
        return self._memory.load(named(model), *facts, timeout, cancel)

    @exact_keywords
    def unload(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Remove a model from memory, and wait until the server no longer lists it.

        A model that is not loaded is not an error. The server confirms the request before
        the memory is free, and finishes a running response first. This method therefore
        repeats its check until the model is no longer listed. If another program deleted the
        model while it was loaded, the server cannot unload it.

        Args:
            model: Name of the model, or its `ModelInfo` or `LoadedModel`.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            ModelNotFoundError: The server has no such model; or the model was deleted while it
                was loaded. In the second case, the message says when it will leave memory.
            LimitError: A limit expired. If it is the total limit, the model may still be
                loaded, because another client is using it.
            UnreachableError: No server answers.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        self._memory.unload(named(model), timeout, cancel)

    @property
    def _loader(self) -> Loader:
        return self._memory

    # --- transfers --------------------------------------------------------------------------

    @exact_keywords
    def pull(
        self,
        model: ModelLike,
        *,
        on_progress: Optional[OnProgress] = None,
        insecure: bool = False,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Make the server download a model, and wait until the model is complete.

        If a download makes no progress, breaks off, or fails between the server and its
        registry, this method requests it again, and the download continues where it stopped.
        Retries end after `RetryPolicy.attempts` attempts in a row without further progress.

        Args:
            model: Name in the registry, such as ``llama3.2`` or ``hf.co/owner/model:Q4_K_M``.
                A cloud model is stored as a stub, an entry without weights.
            on_progress: Function that is called with each report, about 16 times a second. The
                `fraction` of a report is that of one file, and can fall when the server repeats a
                part of the file.
            insecure: True allows the server to use plain HTTP to its registry.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The call has no total limit unless `timeout` sets one. `idle_s` limits
                the time without another byte. `load_s` limits the time in which the server
                works without reports, for example while it checks a digest.
            cancel: Token with which another thread can cancel the call. The server keeps the
                part of the model that it has downloaded.

        Raises:
            ModelNotFoundError: The registry has no such model.
            UnsupportedError: The model needs a newer Ollama, or another machine.
            AuthenticationError: This server's account may not download the model.
            LimitError: The download made no progress (``idle_s``), or another limit expired.
            ServerError: The server cannot reach its registry. `retryable` is True if this may
                be temporary.
            StreamInterruptedError: The connection broke repeatedly.
            UnreachableError: No server answers.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        return self._transfers.pull(named(model), insecure, on_progress, timeout, cancel)

    @exact_keywords
    def push(
        self,
        model: ModelLike,
        *,
        on_progress: Optional[OnProgress] = None,
        insecure: bool = False,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> None:
        """Make the server upload a model to its registry, and wait until the upload is complete.

        A model can contain private data: its weights, its system text, its messages. Pushing
        therefore needs ``locality="any"``. If an upload makes no progress, breaks off, or
        fails between the server and its registry, this method requests it again. Retries end
        after `RetryPolicy.attempts` attempts in a row without further progress.

        Args:
            model: Name with a namespace, such as ``me/model``; `copy` can add such a name.
            on_progress: Function that is called with each report. The `fraction` of a report is
                that of one file, and can fall when the server repeats a part of the file.
            insecure: True allows the server to use plain HTTP to its registry.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The call has no total limit unless `timeout` sets one. `idle_s` limits
                the time without another byte. `load_s` limits the time in which the server
                works without reports.
            cancel: Token with which another thread can cancel the call.

        Raises:
            LocalityError: `locality` is not ``any``. Nothing was sent.
            ModelNotFoundError: The server has no such model.
            AuthenticationError: The server's account may not push to this name.
            LimitError: The upload made no progress (``idle_s``), or another limit expired.
            ServerError: The server cannot reach its registry. `retryable` is True if this may
                be temporary.
            StreamInterruptedError: The connection broke repeatedly.
            UnreachableError: No server answers.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        self._transfers.push(named(model), insecure, on_progress, timeout, cancel)

    @exact_keywords
    def create(
        self,
        model: ModelLike,
        *,
        from_model: Optional[ModelLike] = None,
        files: Optional[Files] = None,
        adapters: Optional[Files] = None,
        draft_files: Optional[Files] = None,
        template: Optional[str] = None,
        renderer: Optional[str] = None,
        parser: Optional[str] = None,
        system: Optional[str] = None,
        parameters: Optional[Mapping[str, Any]] = None,
        license: Union[str, Sequence[str], None] = None,
        messages: Optional[Messages] = None,
        quantize: Optional[str] = None,
        draft_quantize: Optional[str] = None,
        requires: Optional[str] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Create a model from another model, or from files on this machine.

        An existing model of this name is replaced. Each file is read in pieces: once for its
        digest, and once more for the upload unless the server already has the file. The creation
        itself is not retried. If it fails or is cancelled, the state of the model on the server
        is undefined: call this method again
        (docs/reference/ollama.md, "Disconnecting").

        Args:
            model: Name of the new model.
            from_model: Name of the source model. The server downloads it first if it is
                missing. From a cloud model, the server creates a stub; `remote_host` of the
                result is the host that runs the model.
            files: Path of a GGUF file, or a mapping from file names on the server to paths.
                The names are relative and have forward slashes. Not allowed with `from_model`.
            adapters: Path of a LoRA adapter, or a mapping with file names of the same form. It
                needs `from_model` or `files`.
            draft_files: Path of a draft model, or a mapping with file names of the same form. A
                draft model is a small model that guesses the next tokens, so that the large
                model only checks them. It needs `from_model` or `files`.
            template: Template of the model's prompts.
            renderer: Name of the server's own code that writes the prompts instead of a
                template. None keeps the one of `from_model`.
            parser: Name of the server's own code that reads tool calls and thinking in the
                model's output. None keeps the one of `from_model`.
            system: System text of the model.
            parameters: Settings of the model under Ollama's names, such as ``num_ctx``, or
                ``draft_num_predict`` for a draft model. The server does not check them.
            license: One licence text, or several.
            messages: Messages with which each conversation of the model begins.
            quantize: Quantization of the new model, such as ``Q4_K_M``. The source must not be
                quantized.
            draft_quantize: Quantization of the new draft model. The files in `draft_files` must
                not be quantized.
            requires: Oldest version of Ollama that can run the model, such as ``0.14.0``.
            extra_body: Further fields for the server's JSON, sent unchanged and unchecked.
            on_progress: Function that is called for each piece of a file that is read
                (``reading <name>``) or sent (``uploading <name>``), and with each report of
                the server.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The call has no total limit unless `timeout` sets one. `load_s` limits
                the server's silent work, such as quantizing.
            cancel: Token with which another thread can cancel the call.

        Raises:
            ConfigurationError: `from_model` and `files` are both given (the server would ignore
                the files); or an argument is given without another argument that it needs.
                In these cases no file was read. The error is also raised if a file cannot be
                read, is empty, or changes during the call; if a file name is invalid; or if JSON
                cannot express a value.
            ValueError: `messages` is empty, or a message is malformed.
            RequestRejectedError: The server cannot create a model from these sources.
            ModelNotFoundError: The model `from_model` does not exist.
            StreamInterruptedError: The connection broke.
            LimitError: A limit expired.
            UnreachableError: No server answers.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        # A cell hides the texts from tools that print tracebacks with local variables.
        texts = Sealed((messages, template, system, parameters, extra_body))
        del messages, template, system, parameters, extra_body
        recipe = wire_library.make_recipe(
            *texts.cell_contents, from_model=from_model, license=license, quantize=quantize
        )._replace(
            renderer=renderer, parser=parser, requires=requires, draft_quantize=draft_quantize
        )
        given = {"files": files, "adapters": adapters, "draft_files": draft_files}
        sources = wire_library.named_sources(**given)
        return self._transfers.create(named(model), recipe, sources, on_progress, timeout, cancel)

    @exact_keywords
    def copy(
        self,
        source: ModelLike,
        destination: str,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> None:
        """Copy a model under a second name. Both names share the same files.

        If a model with the new name exists, the server replaces that model without a warning.
        To rename a model, copy it and then delete the old name.

        Args:
            source: Name of the existing model, or its `ModelInfo`.
            destination: The second name.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            ModelNotFoundError: The server has no model `source`.
            RequestRejectedError: The new name is invalid.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        self._transfers.copy(named(source), destination, timeout, cancel)

    @exact_keywords
    def delete(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Unload a model and delete it. Files that other models share are kept.

        The model is unloaded first, because the server cannot unload a deleted model. If a
        response is still being generated, the model leaves memory when this response ends. This
        method does not wait for that.

        Args:
            model: Name of the model, or its `ModelInfo` or `LoadedModel`.
            timeout: Seconds for the whole call, or a `Limits` value; None uses the provider's
                limits. The total is at most 30 s unless `timeout` sets another one.
            cancel: Token with which another thread can cancel the call.

        Raises:
            ModelNotFoundError: The server has no such model.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is invalid.
        """
        self._transfers.delete(named(model), timeout, cancel)

    # --- the dialect ----------------------------------------------------------------------

    def _is_same(self, listed: str, model: str) -> bool:
        return same_model(listed, model)

    def _forget(self) -> None:
        """Clear the cached facts about models, because a model may have changed."""
        self._listed.forget()
        self._abilities.forget()
        self._cold_loads.forget()

    def _window(self, model: str, call: Call) -> Optional[int]:
        return self._memory.window(model, call)

    def _requested_window(self, model: str) -> Optional[int]:
        """Return the context window that the caller passed to `load`; None if there was none."""
        memory: Optional[Memory] = vars(self).get("_memory")
        return None if memory is None else memory.requested_window(model)

    def _own_fields(self, path: str) -> Sequence[OwnField]:
        return (SYSTEM_MESSAGES,) if path == "/api/chat" else ()

    def _optional_fields(self) -> Sequence[OwnField]:
        return (schema_field(("format",), schema_in_words),)

    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        return explain_answer(status, text, headers)

    def _nearest(self, model: str, names: Iterable[str]) -> Optional[str]:
        return similar_name(model, names)

    def _wire_request(self, request: CompletionRequest, model: str, call: Call) -> WireRequest:
        path, payload = completion_payload(self._with_window(request, model), model)
        parser = wire_responses.ChunkParser(self.settings.max_json_depth, call.look)
        return path, Payload(payload), parser

    def _with_window(self, request: CompletionRequest, model: str) -> CompletionRequest:
        """Return the request with the context window that the caller passed to `load`."""
        window = None if request.context_length is not None else self._requested_window(model)
        return request if window is None else request.replace(context_length=window)

    def _render(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> str:
        refuse_documents(request, self.name)
        model = self._choose_model(request.model, timeout, cancel)
        return self._runner.run(
            lambda call: self._ask_for_prompt(request, model, call),
            model=model,
            timeout=timeout,
            cancel=cancel,
            texts=lambda: texts_of(request),
        )

    def _ask_for_prompt(self, request: CompletionRequest, model: str, call: Call) -> str:
        self._check_locality(model, call)
        request = self._with_window(request, model)

        def make(_: Call) -> WireExchange:
            path, payload = render_payload(request, model)
            # A traceback with local variables shows no field of a `Payload`.
            return path, Payload(payload), read

        def read(data: Any) -> str:
            answer = Payload(self._checked(model, data))
            if answer.get("model"):
                check_served(model, str(answer["model"]))
            return parse_prompt(answer)

        return str(self._send(model, call, make).ask(self._transport, loads=True, large=True))

    def _embed_exchange(self, batch: EmbeddingRequest, model: str, call: Call) -> EmbeddingExchange:
        if self._uses_old_embed_route:
            raise _NoBatchRouteError("this Ollama server accepts only one text per request")

        def read(data: Any) -> Vectors:
            found = parse_vectors(self._checked(model, data))
            if found.model:
                check_served(model, found.model)
            return found._replace(truncation="allowed" if batch.truncate else "none")

        window = self._requested_window(model)
        return "/api/embed", Payload(embed_payload(batch, model, window)), read

    def _embed_otherwise(
        self, error: ProviderError, batch: EmbeddingRequest, model: str, call: Call
    ) -> Optional[Tuple[Vectors, int]]:
        is_missing = isinstance(error, UnsupportedError) and lacks_embed(error)
        if self._uses_old_embed_route or is_missing:
            return self._embed_one_by_one(batch, model, call)
        return None

    def _embed_one_by_one(
        self, request: EmbeddingRequest, model: str, call: Call
    ) -> Tuple[Vectors, int]:
        """Embed texts on an old server, which accepts one text per request.

        Described in docs/reference/ollama.md, "Embeddings".
        """
        check_old_embed(request)
        rows: List[Row] = []
        most_attempts, window = 1, self._requested_window(model)
        for index in range(len(request.texts)):
            body = encode(old_embed_payload(request, index, model, window))
            try:
                data, attempts = self._embed_post("/api/embeddings", body, model, call)
                rows.append(parse_old_vector(data))
                most_attempts = max(most_attempts, attempts)
            except ProviderError as error:
                if not embedding.may_concern_one_text(error):
                    raise
                rows.append(self._transport.finish_error(error, texts_of(request)))
            self._uses_old_embed_route = True
        return old_vectors(rows, model), most_attempts

    def _embed_post(self, path: str, body: Body, model: str, call: Call) -> Tuple[Any, int]:
        answer = self._transport.open("POST", path, call=call, body=body)
        return self._checked(model, self._transport.parse(answer, packs=True)), answer.attempts

    def _checked(self, model: str, data: Any) -> Mapping[str, Any]:
        """Return the response if it is not an error and the model ran on an allowed host."""
        answer = checked(data)
        self._listed.refuse_host(model, remote_host(answer))
        return answer

    # --- locality and the served model ----------------------------------------------------

    def _check_locality(self, model: str, call: Call) -> None:
        self._listed.check_locality(model, call)

    def _check_digest(self, model: str, expected: str, call: Call) -> None:
        self._listed.check_digest(model, expected, call)

    def _digest_of(self, model: str) -> Optional[str]:
        return self._listed.digest_of(model)

    def _capabilities_of(self, model: str, call: Call) -> ModelCapabilities:
        body = encode(wire_models.show_payload(model, False))
        data = self._transport.json("POST", "/api/show", call=call, body=body)
        return wire_models.parse_details(data, model, self.name).capabilities

    def _check_served(
        self, model: str, served: Optional[str], call: Call, raw: Raw = None
    ) -> Optional[str]:
        self._listed.refuse_host(model, remote_host(raw))
        if served is not None:
            check_served(model, served)
        return None


class _NoBatchRouteError(UnsupportedError):
    """The server has no route for several texts in one request.

    This error makes the embedding call use the older route. Users of the provider never get it.
    """
