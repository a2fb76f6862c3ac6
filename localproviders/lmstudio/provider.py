"""`LMStudioProvider`: what to call."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from localproviders._http.address import parse_endpoint
from localproviders._http.deadline import Call
from localproviders._wire import Vectors
from localproviders.errors import UnsupportedError, WrongModelError
from localproviders.lmstudio import wire
from localproviders.lmstudio.downloads import Downloads
from localproviders.lmstudio.lifecycle import Lifecycle
from localproviders.lmstudio.stateful import Stateful
from localproviders.settings import ApiKey, Settings, first_variable, make_settings
from localproviders.types.limits import Timeout
from localproviders.types.request import CompletionRequest, EmbeddingRequest, Locality

_PORT = 1234

# Below one origin stand three APIs; a user may name any of them (lmstudio-api §1.1).
_API_ROOTS = ("api/v1", "api/v0", "v1")

_NO_WHILE = "load the model without a time to live, or unload it"


class LMStudioProvider(Lifecycle, Downloads, Stateful):
    """An LM Studio server (0.3.6 and newer; `generation` says which).

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
            settings
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

    # --- the dialect ----------------------------------------------------------------------

    def _thinking_level(self, wanted: bool) -> Optional[str]:
        # "off" is accepted and ignored; "none" works (lmstudio-api §2.3).
        return "medium" if wanted else "none"

    def _fit(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        request, warnings = super()._fit(request)
        if request.keep_alive is not None:
            request = self._with_ttl(request, request.keep_alive, warnings)
        if request.tool_choice not in (None, "auto", "none", "required"):
            hint = "send that one tool with tool_choice='required'"
            warnings.extend(self._refuse("a tool's name as tool_choice", hint, request))
            request = request.replace(tool_choice=None)
        return request, warnings

    def _with_ttl(
        self, request: CompletionRequest, seconds: float, warnings: List[str]
    ) -> CompletionRequest:
        """Say `keep_alive` as this server does: whole seconds, for a model it loads now."""
        extra = request.extra_body
        if wire.can_keep(seconds):
            extra = {**wire.ttl_payload(seconds), **extra}
        else:
            warnings.extend(self._refuse(f"keep_alive={seconds}", _NO_WHILE, request))
        return request.replace(keep_alive=None, extra_body=extra)

    def _check_embedding(self, request: EmbeddingRequest) -> None:
        super()._check_embedding(request)
        if request.keep_alive is not None and not wire.can_keep(request.keep_alive):
            raise UnsupportedError(
                f"{self.name} cannot take keep_alive={request.keep_alive}",
                hint=_NO_WHILE,
                provider=self.name,
            )

    def _embed_payload(self, request: EmbeddingRequest, model: str) -> Dict[str, Any]:
        return {**super()._embed_payload(request, model), **wire.ttl_payload(request.keep_alive)}

    def _embed(self, request: EmbeddingRequest, model: str, call: Call) -> Tuple[Vectors, int]:
        found, attempts = super()._embed(request, model, call)
        # Its counts are always zero, which is no number (§2.5).
        return found._replace(usage=type(found.usage)()), attempts

    # --- the served model -----------------------------------------------------------------

    def _check_model(self, asked: str, served: str, call: Call) -> Optional[str]:
        """Refuse another model's answer (lmstudio-api §4.4), after one look at the list."""
        if served.lower() == asked.lower() or (asked, served) in self._aliases:
            return None
        entries = self._look(self._entries, call.limits_left(), call.token)
        if wire.same_entry(entries, asked, served):
            self._aliases.add((asked, served))
            return None
        raise WrongModelError(
            f"{asked!r} was asked for, and {served!r} answers",
            hint="LM Studio lets its one loaded model answer for unknown names; "
            "check the name, or pass allow_other_model=True",
            requested=asked,
            served=served,
        )
