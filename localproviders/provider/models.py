"""The half of the interface that is about models: what there is, and what is in memory."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import Iterator, List, NoReturn, Optional

from localproviders.errors import UnsupportedError
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Limits, Timeout, resolve
from localproviders.types.model import LoadedModel, ModelCapabilities, ModelInfo
from localproviders.types.progress import OnProgress


class Models(ABC):
    """What every provider says about its models; see `ModelProvider`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The provider's name, in answers, errors and events."""

    @abstractmethod
    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """List the models that the server has.

        Its total is 30 s unless `timeout` says otherwise.

        Raises:
            UnreachableError: No server answers.
            ProviderError: The server refused, or gave no list.
        """

    @abstractmethod
    def supports_model(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Say whether the server has this model, comparing names as the server does.

        Raises:
            ProviderError: As for `list_models`; a server that is down raises.
        """

    @abstractmethod
    def model_info(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Say all that the server knows about one model, its capabilities included.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: As for `list_models`.
        """

    def model_capabilities(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelCapabilities:
        """Say what a model can do, and how each fact is known.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: As for `list_models`.
        """
        return self.model_info(model, timeout=timeout, cancel=cancel).capabilities

    def limits(self, timeout: Timeout = None) -> Limits:
        """Give the limits of a call with this `timeout`.

        Raises:
            ValueError: It is not a number of seconds above zero.
        """
        return resolve(timeout, Limits())

    # --- models in memory -----------------------------------------------------------------

    def loaded_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[LoadedModel]:
        """List the models in the server's memory.

        Raises:
            UnsupportedError: This kind of server does not tell.
            ProviderError: As for `list_models`.
        """
        self._lacks("loaded_models")

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
        """Bring a model into memory, and wait until it is there.

        Asks first what is loaded: a model that is there with the same window is left as
        it is.

        Args:
            model: Name of the model.
            context_length: Window to allocate, in tokens; None takes what is loaded, or
                the server's own default.
            keep_alive: Seconds to keep it after its last use; infinity is for ever, None
                the server's own default.
            on_progress: Told how far loading is, where the server reports it.
            timeout: See the class; loading alone may take `load_s`.
            cancel: See the class. Whether the server then drops the load is its own matter.

        Raises:
            ModelNotFoundError: The server has no such model.
            ModelLoadError: It could not be loaded.
            UnsupportedError: This kind of server cannot, or not so.
            LimitError: A limit ran out.
            ProviderError: As for `list_models`.
        """
        self._lacks("load")

    def unload(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Take a model out of memory, every copy of it; nothing happens if it is not there.

        Its total is 30 s unless `timeout` says otherwise.

        Raises:
            UnsupportedError: This kind of server cannot.
            ProviderError: As for `list_models`.
        """
        self._lacks("unload")

    @contextlib.contextmanager
    def resident(
        self,
        model: str,
        *,
        context_length: Optional[int] = None,
        keep_alive: Optional[float] = None,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Iterator[LoadedModel]:
        """Load a model for the length of a ``with`` block, and unload it behind it.

        The arguments are those of `load`. `timeout` holds for loading and, anew, for
        unloading; `cancel` for loading only, because a token that ended the block must not
        leave the model behind. If the block raises, its error goes on, whatever unloading
        does; it waits 30 s for that at the most.

        Raises:
            ProviderError: As for `load` and `unload`.
        """
        loaded = self.load(
            model,
            context_length=context_length,
            keep_alive=keep_alive,
            on_progress=on_progress,
            timeout=timeout,
            cancel=cancel,
        )
        try:
            yield loaded
        except BaseException:
            limits = self.limits(timeout)
            soon = limits.replace(total_s=min(limits.total_s, LISTING_TOTAL_S))
            with contextlib.suppress(Exception):
                self.unload(self._resident_name(loaded, model), timeout=soon)
            raise
        self.unload(self._resident_name(loaded, model), timeout=timeout)

    def _resident_name(self, loaded: LoadedModel, model: str) -> str:
        """Give the name under which `unload` finds what `load` has brought."""
        return model

    def pull(
        self,
        model: str,
        *,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Let the server download a model, and wait until it is there.

        There is no total limit unless `timeout` gives one; a download whose bytes stand
        still for `idle_s` is stalled. It is then resumed, as long as each new attempt
        gets further.

        Args:
            model: What to download, in the server's words.
            on_progress: Told of each report of the server.
            timeout: See the class.
            cancel: See the class. What has been downloaded is kept by the server.

        Raises:
            ModelNotFoundError: There is no such model to download.
            LimitError: It stands still, or the total ran out.
            UnsupportedError: This kind of server cannot.
            ProviderError: As for `list_models`.
        """
        self._lacks("pull")

    def _lacks(self, verb: str) -> NoReturn:
        raise UnsupportedError(
            f"{self.name} has no {verb}: this kind of server offers nothing for it",
            hint="OllamaProvider and LMStudioProvider can, on their servers",
            provider=self.name,
        )
