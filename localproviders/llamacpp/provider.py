"""`LlamaCppProvider`, the provider for llama.cpp's own server."""

from __future__ import annotations

from functools import partial
from types import CellType
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from localproviders._address import Endpoint, parse_endpoint
from localproviders._dialect.error_rules import Rule
from localproviders._did_you_mean import ListOf
from localproviders._http.deadline import TRANSFERRING, Call
from localproviders._http.stream import ChunkParser
from localproviders._http.summary import Summary
from localproviders._http.transport import Payload
from localproviders._http_provider.call_runner import Completion, Raw
from localproviders._http_provider.cold_loads import USUAL_S, KeepAlive
from localproviders._lazy import LazyModule, LazyPart
from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.errors import ProviderError, UnreachableError
from localproviders.llamacpp.wire.errors import RULES
from localproviders.llamacpp.wire.requests import INFILL_PATH, text_payload
from localproviders.llamacpp.wire.responses import NativeParser, ReadingParser
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
from localproviders.types.inputs import named
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.models import LoadedModel, ModelCapabilities, ModelInfo, OnProgress
from localproviders.types.requests import CompletionRequest, Locality, ModelLike
from localproviders.types.responses import CompletionResponse

if TYPE_CHECKING:
    from localproviders._http_provider.aliases import Aliases
    from localproviders.llamacpp.catalog import Catalog
    from localproviders.llamacpp.prompts import Prompts
    from localproviders.llamacpp.router import Router
    from localproviders.llamacpp.wire import decisions as wire_decisions
    from localproviders.llamacpp.wire import models as wire_models
else:
    wire_decisions = LazyModule("localproviders.llamacpp.wire.decisions")
    wire_models = LazyModule("localproviders.llamacpp.wire.models")

_PORT = 9931
_DEFAULT = parse_endpoint("", default_port=_PORT)

_OLD_PORT_HINT = (
    "servers from before autumn 2026, and containers, listen on port 8080: "
    'LlamaCppProvider("http://127.0.0.1:8080")'
)


_NO_THINKING = (
    "thinking=True, but the answer has no thinking: the model's template may have no switch for it"
)


class LlamaCppProvider(OpenAICompatibleProvider):
    """A llama.cpp server: chat in OpenAI's dialect, everything else on llama.cpp's own routes.

    A server that was started with a model has only this model. A server that was started without a
    model is a router, which manages several models. Only a router can `load`, `unload`, `pull` and
    `delete` models.

    Args:
        host: Address of the server, with or without ``/v1``; it may be a UNIX socket, such as
            ``unix:///run/llama.sock``. If the server was started with a prefix for its paths, add
            the prefix to the address. None means ``http://127.0.0.1:9931``.
        model: Model for calls without a model. If it is None, such calls raise
            `ConfigurationError`.
        name: Name of the provider in responses, errors and events.
        api_key: Key that is sent as a Bearer token, to this address only. None reads
            ``LLAMA_API_KEY`` if the address is the default one.
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

    _catalog: LazyPart[Catalog] = LazyPart("localproviders.llamacpp.catalog:Catalog", "_runner")
    _aliases: LazyPart[Aliases] = LazyPart("localproviders._http_provider.aliases:Aliases")
    _router: LazyPart[Router] = LazyPart(
        "localproviders.llamacpp.router:Router", "_runner", "_catalog", "_windows", "_cold_loads"
    )
    # `Prompts` has the methods of `PromptRoutes` that the base class calls.
    _prompt_routes: LazyPart[Prompts] = LazyPart(  # pyright: ignore[reportIncompatibleVariableOverride]  # the part is never assigned
        "localproviders.llamacpp.prompts:Prompts", "_transport", "_send"
    )

    _kind = "llama.cpp"
    _api_path = ""
    _decision_wire = wire_decisions
    _keep_alive = KeepAlive(is_listed=True, endless_s=USUAL_S)
    _rules: Tuple[Rule, ...] = RULES
    _unsupported: Mapping[str, str] = {
        "context_length": "set the context window when you start the server",
        "keep_alive": "start the server with --sleep-idle-seconds",
    }
    # `dimensions` is ignored (docs/reference/llamacpp.md, "Embeddings").
    _embed_unsupported: Mapping[str, str] = {
        "truncate": "shorten the texts before the call",
        "dimensions": "the server accepts the field but ignores it",
        "keep_alive": "start the server with --sleep-idle-seconds",
    }

    @exact_keywords
    @show_keywords(ConnectionOptions, Settings)
    def __init__(
        self,
        host: Optional[str] = None,
        *,
        model: Optional[str] = None,
        name: str = "llamacpp",
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
            endpoint = parse_endpoint(
                address.cell_contents or "", default_port=_PORT, api_suffixes=("v1",)
            )
            settings = make_settings(
                endpoint=endpoint,
                endpoint_origin="the host argument" if address.cell_contents else "the default",
                name="llamacpp" if name is None else name,
                model=model,
                api_key=_find_key(key, endpoint, hidden),
                timeout=timeout,
                locality=locality,
                **hidden,
            )
        super().__init__(settings=settings)

    # --- the server and its models ----------------------------------------------------------

    def version(self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None) -> str:
        """Return the version of the server as the server writes it, such as ``b11549-6f3c1a2``.

        Args:
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response has no version.
        """
        return wire_models.version_of(self._catalog.properties(None, timeout, cancel))

    def properties(
        self,
        model: Optional[ModelLike] = None,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Mapping[str, Any]:
        """Return the server's ``/props``: defaults, chat template, version, and accepted inputs.

        With `model`, a router returns the properties of the process that has this model. Without
        `model`, it returns the properties of the router itself.

        Args:
            model: Name of a model of a router, or its `ModelInfo` or `LoadedModel`. This
                call does not load the model.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            ModelNotFoundError: The router has no such model.
            ModelLoadError: The model is not in memory.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is no object.
        """
        name = None if model is None else named(model)
        return self._catalog.properties(name, timeout, cancel)

    def slots(
        self,
        model: Optional[ModelLike] = None,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> List[Mapping[str, Any]]:
        """Return the server's ``/slots``. Each slot answers one request at a time.

        Args:
            model: Name of a model of a router, or its `ModelInfo` or `LoadedModel`. A router
                requires this argument. This call does not load the model.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            CapabilityError: The server was started with ``--no-slots``.
            ModelNotFoundError: The router has no such model.
            ModelLoadError: The model is not in memory.
            UnreachableError: No server answers.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            ProviderError: The server refused the request, or its response is not a list.
        """
        name = None if model is None else named(model)
        return self._catalog.slots(name, timeout, cancel)

    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """Return the models in the server's order.

        A router lists the models on disk. The state of each model is in its `raw`, and `loaded` is
        True for the models in memory. A model that sleeps has left memory until the next request.
        If a server has only one model, the list does not say whether this model sleeps;
        `model_info` and `loaded_models` do.

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
        return self._abilities.learn(ListOf(self._catalog.list_models(timeout, cancel)))

    def model_info(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Return the facts about one model, from the server's list and from its properties.

        The `raw` of the result is the record from the list, with ``total_slots`` from the
        properties.

        Args:
            model: Name of the model or one of its other names, or its `ModelInfo` or
                `LoadedModel`. This call does not load the model.
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
        return self._abilities.learn([self._catalog.model_info(named(model), timeout, cancel)])[0]

    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """Return the models in the server's memory, without sleeping models.

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
        return ListOf(self._catalog.loaded_models(timeout, cancel))

    # --- a server with several models ---------------------------------------------------------

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
        """Load a model of a router, and wait until it is in memory.

        The list of models is requested first. A model that is in memory is not loaded again, so
        this method also works with a server that has only one model. A full router first unloads
        the least recently used model.

        Args:
            model: Name of the model or one of its other names, or its `ModelInfo` or
                `LoadedModel`.
            context_length: Context window in tokens. The server sets the window at its own start.
                So the only accepted number is the window of a model that is already in memory.
            keep_alive: Only None and infinity are accepted, because the server keeps its models in
                memory.
            check_memory: Has no effect: a router reports the size of a model only after its load.
            on_progress: Function that is called with each progress report of the server.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits. The load may take up to `load_s` seconds.
            cancel: Token that cancels this call. The server goes on loading the model.

        Raises:
            ModelNotFoundError: The server has no such model.
            ModelLoadError: The server could not load the model.
            UnsupportedError: The server does not support one of these options.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            UnreachableError: No server answers.
            ProviderError: The server refused the request, or its response is invalid.
        """
        return self._router.load(
            named(model), context_length, keep_alive, check_memory, on_progress, timeout, cancel
        )

    def unload(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Unload a model of a router, and wait until it has left memory.

        A model that is not in memory is not an error.

        Args:
            model: Name of the model or one of its other names, or its `ModelInfo` or
                `LoadedModel`.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnsupportedError: The server has one model.
            ModelNotFoundError: The server has no such model.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            UnreachableError: No server answers.
            ProviderError: The server refused the request, or its response is invalid.
        """
        self._router.unload(named(model), timeout, cancel)

    @exact_keywords
    def pull(
        self,
        model: ModelLike,
        *,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Download a model to the cache of a router, and wait until it is complete.

        There is no total limit unless `timeout` has one. A download whose byte count does not
        change for `idle_s` raises `LimitError`. The end of this call does not stop the download:
        call `pull` again to wait for it, or `unload` to stop it.

        Args:
            model: Repository and quantization, such as ``ggml-org/gemma-3-4b-it-GGUF:Q4_K_M``.
            on_progress: Function that is called with the progress of all files together.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, without a total.
            cancel: Token that cancels this call, but not the download.

        Raises:
            UnsupportedError: The server has one model.
            ServerError: The download failed. The server does not report the reason.
            LimitError: The byte count did not change (``idle_s``, ``load_s``), or the total
                limit expired.
            CancelledError: The call was cancelled.
            UnreachableError: No server answers.
            ProviderError: The server refused the request, or its response is invalid.
        """
        return self._router.pull(named(model), on_progress, timeout, cancel)

    def delete(
        self, model: ModelLike, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Delete a model from the cache of a router.

        Args:
            model: Name of the model or one of its other names, or its `ModelInfo` or
                `LoadedModel`.
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the provider's limits, with a total of at most 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnsupportedError: The server has one model.
            ModelNotFoundError: The server has no such model.
            RequestRejectedError: The model comes from a folder or a preset, and not from the cache.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
            UnreachableError: No server answers.
            ProviderError: The server refused the request, or its response is invalid.
        """
        self._router.delete(named(model), timeout, cancel)

    # --- the dialect --------------------------------------------------------------------------

    def _path(self, path: str) -> str:
        return "/v1" + path

    def _wire_request(
        self, request: CompletionRequest, model: str, call: Call
    ) -> Tuple[str, Dict[str, Any], ChunkParser]:
        path, payload = text_payload(request, model)
        make = NativeParser if path == INFILL_PATH else ReadingParser

        # After the server's first report that it has read tokens of the prompt, the idle limit
        # applies, and only reports of further tokens restart it. So reading a long prompt may take
        # longer than `first_token_s`, but a server that hangs is noticed.
        def on_read() -> None:
            call.enter(TRANSFERRING)

        return (
            path,
            Payload(payload),
            make(self.settings.max_json_depth, self._rules, call.look, on_read),
        )

    def _thinking_switch(self, enabled: bool) -> bool:
        # The chat template of the model reads this value, but some templates have no such switch.
        # If the answer then contains no thinking, `_conclude` adds a warning.
        return enabled

    def _conclude(self, completion: Completion, summary: Summary) -> CompletionResponse:
        thinking = summary.thinking.so_far if summary.split is None else summary.split[0]
        if completion.request.thinking is True and not thinking.strip():
            completion.warnings.append(_NO_THINKING)
        return super()._conclude(completion, summary)

    def _capabilities_of(self, model: str, call: Call) -> ModelCapabilities:
        return self._catalog.capabilities(model, call)

    def _find(self, model: str, listed: Sequence[ModelInfo]) -> Optional[ModelInfo]:
        others = (info for info in listed if model in wire_models.names_of(info))
        return super()._find(model, listed) or next(others, None)

    def _serves(self, loaded: LoadedModel, model: str) -> bool:
        return wire_models.serves(loaded, model)

    def _slots(self, info: ModelInfo) -> Optional[int]:
        return wire_models.slots_of(info)

    def _check_served(
        self, model: str, served: Optional[str], call: Call, raw: Raw = None
    ) -> Optional[str]:
        """Return a warning if another model answered, unless the two names mean the same model."""
        warning = super()._check_served(model, served, call)
        if warning is None or served is None:
            return None
        look_up = partial(self._catalog.is_alias, model, served, call)
        return None if self._aliases.match(model, served, call, look_up) else warning

    def _handle_failure(self, error: ProviderError, call: Call) -> None:
        super()._handle_failure(error, call)
        if isinstance(error, UnreachableError) and self.settings.endpoint == _DEFAULT:
            error.hint = "; ".join(filter(None, (error.hint, _OLD_PORT_HINT)))


def _find_key(
    given: CellType, endpoint: Endpoint, options: Mapping[str, Any]
) -> Optional[SecretString]:
    """Return the API key that was given, or else the API key in the environment variable.

    The variable is meant for the server at the default address. It is not read if other options set
    the header ``Authorization``.
    """
    if given.cell_contents:
        return as_key(given)
    if endpoint != _DEFAULT or sets_authorization(options):
        return None
    return first_variable("LLAMA_API_KEY")
