"""The catalog of an Ollama server: its version and its installed models."""

from __future__ import annotations

from typing import Any, List, Optional

from localproviders._http.deadline import Call
from localproviders._http.framing import Look
from localproviders._http.transport import encode
from localproviders._http_provider.call_runner import CallRunner
from localproviders.errors import (
    CancelledError,
    LimitError,
    LocalityError,
    ProviderError,
    UnsupportedError,
)
from localproviders.ollama.listed import ListedModels
from localproviders.ollama.names import ModelDetails, display_name, listed_name, same_model
from localproviders.ollama.wire.models import (
    merge_facts,
    parse_cloud_disabled,
    parse_details,
    parse_loaded,
    parse_models,
    parse_show,
    parse_version,
    show_payload,
)
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Timeout
from localproviders.types.models import LoadedModel, ModelInfo


class Catalog:
    """Calls that read facts about the server and its models.

    Args:
        runner: Runner of the calls.
        listed: The cached digests of the models. Each model list that this class reads updates
            them.
    """

    def __init__(self, runner: CallRunner, listed: ListedModels) -> None:
        self._runner = runner
        self._listed = listed
        self._transport = runner.transport
        self._provider = runner.settings.name

    def version(self, timeout: Timeout, cancel: Optional[CancelToken]) -> str:
        """Return the server's version."""
        return self._runner.ask(
            "GET",
            "/api/version",
            lambda data, _: parse_version(data),
            timeout=timeout,
            cancel=cancel,
        )

    def cloud_disabled(self, timeout: Timeout, cancel: Optional[CancelToken]) -> Optional[bool]:
        """Return whether cloud models are switched off; None if the server does not report it."""
        try:
            return self._runner.ask(
                "GET",
                "/api/status",
                lambda data, _: parse_cloud_disabled(data),
                timeout=timeout,
                cancel=cancel,
            )
        except UnsupportedError as error:
            if error.status != 404:
                raise
            return None

    def list_models(self, timeout: Timeout, cancel: Optional[CancelToken]) -> List[ModelInfo]:
        """Return the installed models."""
        return self._runner.ask("GET", "/api/tags", self._parse, timeout=timeout, cancel=cancel)

    def show(
        self, model: str, verbose: bool, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> ModelDetails:
        """Return all details that the server reports about one model."""
        return self._runner.run(
            lambda call: self.details(model, call, verbose=verbose, with_memory=True),
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=LISTING_TOTAL_S,
        )

    # --- within another call ----------------------------------------------------------------

    def details(
        self, model: str, call: Call, *, verbose: bool = False, with_memory: bool = False
    ) -> ModelDetails:
        """Return the facts about one model, from ``/api/show`` and from the model list.

        Args:
            model: Name of the model.
            call: The call within which the requests are sent.
            verbose: Whether the metadata includes the long lists, such as the tokens.
            with_memory: Whether to read the list of loaded models as well.
        """
        body = encode(show_payload(model, verbose))
        data = self._transport.json("POST", "/api/show", call=call, body=body, large=verbose)
        shown = parse_details(data, display_name(model), self._provider)
        models = self._parse(self._transport.json("GET", "/api/tags", call=call), call.look)
        name = listed_name(model)
        listed = next((info for info in models if same_model(info.name, name)), None)
        loaded = self._find_loaded(name, call) if with_memory else None
        return parse_show(data, merge_facts(shown, listed, loaded), call.look)

    def info_after(self, model: str, call: Call) -> ModelInfo:
        """Return the facts about a model at the end of a long call.

        The requests for these facts may together take as long as `list_models` may, but no
        longer than the remaining time of the call.
        """
        nested = Call(call.listing_limits(), call.token)
        try:
            return self.details(model, nested).info
        finally:
            nested.finish()

    def _find_loaded(self, name: str, call: Call) -> Optional[LoadedModel]:
        """Return the loaded model of this name.

        None means that it is not loaded, or that the list of loaded models cannot be read.
        """
        try:
            data = self._transport.json("GET", "/api/ps", call=call)
            loaded = parse_loaded(data, self._provider, call.look)
        except (CancelledError, LimitError, LocalityError):
            raise
        except ProviderError:
            return None
        return next((model for model in loaded if same_model(model.name, name)), None)

    def _parse(self, data: Any, look: Look) -> List[ModelInfo]:
        models = parse_models(data, self._provider, look)
        self._listed.learn(
            (info.name, None if info.remote_host else info.digest) for info in models
        )
        return models
