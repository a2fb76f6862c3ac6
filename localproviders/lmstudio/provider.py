"""`LMStudioProvider`: what to call."""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional, Sequence, Set, Tuple

from localproviders._http.address import parse_endpoint
from localproviders._http.deadline import Call
from localproviders._http.rejection import Rule, not_found
from localproviders._wire import Vectors, checked, unexpected
from localproviders.errors import UnsupportedError, WrongModelError
from localproviders.lmstudio import wire
from localproviders.openai_compatible import OpenAICompatibleProvider
from localproviders.settings import ApiKey, Settings, first_variable, make_settings
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.model import ModelCapabilities, ModelInfo
from localproviders.types.request import CompletionRequest, EmbeddingRequest, Locality

_PORT = 1234

# Below one origin stand three APIs; a user may name any of them (lmstudio-api §1.1).
_API_ROOTS = ("api/v1", "api/v0", "v1")


class LMStudioProvider(OpenAICompatibleProvider):
    """An LM Studio server (0.3.6 and newer).

    Args:
        host: Address of the server, with or without ``/v1``; None is
            ``http://127.0.0.1:1234``.
        model: The model for calls that name none.
        name: The provider's name in answers, errors and events.
        api_key: The server's token; None takes ``LM_API_TOKEN``, then
            ``LMSTUDIO_API_TOKEN``, if one is set.
        timeout: Seconds for a whole call, or `Limits`.
        locality: Where prompts may go; None takes ``LOCALPROVIDERS_LOCALITY``, else
            ``loopback``.
        settings: A whole `Settings` value instead of everything above.
        **connection: ``ca_bundle``, ``client_cert``, ``proxies``, ``listeners``,
            ``allow_plaintext_key`` and the sizes, as in `Settings`.

    Raises:
        ConfigurationError: A value is impossible. Nothing is sent here.
    """

    _rules: Tuple[Rule, ...] = wire.RULES
    _counts = False  # it has no such path (lmstudio-api §2.1)
    _unsupported: Mapping[str, str] = {
        "context_length": "load the model with the window that you want",
        "logprobs": "LM Studio accepts it and gives none (lmstudio-api §6.6)",
        "top_logprobs": "LM Studio accepts it and gives none (lmstudio-api §6.6)",
        "suffix": "LM Studio cannot fill gaps",
    }

    _refused_media: Mapping[str, str] = {
        "image/webp": "convert it to PNG or JPEG (lmstudio-api §6.3)",
        "audio/": "LM Studio takes text and images",
    }
    _embed_unsupported: Mapping[str, str] = {
        "truncate": "cut the texts yourself",
        "dimensions": "LM Studio accepts it and ignores it (lmstudio-api §2.5)",
        "keep_alive": "load the model with a time to live",
    }

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
        **connection: Any,
    ) -> None:
        super().__init__(
            settings=settings
            or make_settings(
                endpoint=parse_endpoint(host or "", default_port=_PORT, api_suffixes=_API_ROOTS),
                endpoint_origin="the host argument" if host else "the default",
                name=name,
                model=model,
                api_key=api_key or first_variable("LM_API_TOKEN", "LMSTUDIO_API_TOKEN"),
                timeout=timeout,
                locality=locality,
                **connection,
            )
        )
        #: Pairs of names that the server's list has shown to be one model.
        self._aliases: Set[Tuple[str, str]] = set()

    def _path(self, path: str) -> str:
        return "/v1" + path

    # --- models ---------------------------------------------------------------------------

    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """List the models on disk; an old server with JIT loading off lists the loaded ones.

        Raises:
            UnsupportedError: The server has none of LM Studio's own lists.
            ProviderError: As for every provider.
        """
        return [entry.info for entry in self._entries(timeout, cancel)]

    def supports_model(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Say whether the server has this model, under its key, a variant, or as loaded."""
        return self._entry(model, self._entries(timeout, cancel)) is not None

    def model_info(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Say what LM Studio's own list tells about one model (lmstudio-api §5.1).

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: As for `list_models`.
        """
        entries = self._entries(timeout, cancel)
        entry = self._entry(model, entries)
        if entry is None:
            names = tuple(item.info.name for item in entries)
            raise self._transport.locate(not_found(model, available=names))
        return entry.info

    def _entry(self, model: str, entries: Sequence[wire.Entry]) -> Optional[wire.Entry]:
        return next((entry for entry in entries if model in entry.names), None)

    def _entries(self, timeout: Timeout, cancel: Optional[CancelToken]) -> List[wire.Entry]:
        """Ask for the list of 0.4, else of 0.3; what is missing answers 200 (§1, fact 1)."""
        try:
            return self._list("/api/v1/models", wire.parse_models, timeout, cancel)
        except UnsupportedError:
            return self._list("/api/v0/models", wire.parse_old_models, timeout, cancel)

    def _list(
        self,
        path: str,
        parse: Callable[[Mapping[str, Any], str], Optional[List[wire.Entry]]],
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> List[wire.Entry]:
        def read(data: Any) -> List[wire.Entry]:
            found = parse(checked(data, self._rules), self.name)
            return unexpected("list of models") if found is None else found

        return self._ask("GET", path, read, timeout=timeout, cancel=cancel)

    # --- the dialect ----------------------------------------------------------------------

    def _thinking_level(self, wanted: bool) -> Optional[str]:
        # "off" is accepted and ignored; "none" works (lmstudio-api §2.3).
        return "medium" if wanted else "none"

    def _fit(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        request, warnings = super()._fit(request)
        if request.keep_alive is not None:
            request = self._with_ttl(request, warnings)
        if request.tool_choice not in (None, "auto", "none", "required"):
            hint = "send that one tool with tool_choice='required'"
            warnings.extend(self._refuse("a tool's name as tool_choice", hint, request))
            request = request.replace(tool_choice=None)
        return request, warnings

    def _with_ttl(self, request: CompletionRequest, warnings: List[str]) -> CompletionRequest:
        """Say `keep_alive` as this server does: whole seconds, for a model it loads now."""
        seconds = request.keep_alive
        extra = request.extra_body
        if seconds is None or seconds == float("inf") or seconds < 1:
            hint = "load the model without a time to live, or unload it"
            warnings.extend(self._refuse(f"keep_alive={seconds}", hint, request))
        else:
            extra = {"ttl": int(seconds), **extra}
        return request.replace(keep_alive=None, extra_body=extra)

    def _embed(self, request: EmbeddingRequest, model: str, call: Call) -> Tuple[Vectors, int]:
        found, attempts = super()._embed(request, model, call)
        # Its counts are always zero, which is no number (§2.5).
        return found._replace(usage=type(found.usage)()), attempts

    def _capabilities_of(self, model: str, call: Call) -> ModelCapabilities:
        entry = self._entry(model, self._entries(call.limits_left(), call.token))
        return ModelCapabilities() if entry is None else entry.info.capabilities

    # --- the served model -----------------------------------------------------------------

    def _check_model(self, asked: str, served: str, call: Call) -> Optional[str]:
        """Refuse another model's answer (lmstudio-api §4.4), after one look at the list."""
        if served.lower() == asked.lower() or (asked, served) in self._aliases:
            return None
        if wire.same_entry(self._entries(call.limits_left(), call.token), asked, served):
            self._aliases.add((asked, served))
            return None
        raise WrongModelError(
            f"{asked!r} was asked for, and {served!r} answers",
            hint="LM Studio lets its one loaded model answer for unknown names; "
            "check the name, or pass allow_other_model=True",
            requested=asked,
            served=served,
        )
