"""What the server is, and which models it has."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Callable, Iterable, List, Optional, TypeVar

from localproviders._backend import HTTPProvider
from localproviders._http.deadline import Call
from localproviders._http.framing import decode
from localproviders._http.transport import Payload, encode
from localproviders.errors import ProviderError, UnsupportedError
from localproviders.ollama import wire
from localproviders.ollama.details import ModelDetails
from localproviders.ollama.names import display_name, listed_name
from localproviders.telemetry import SILENT
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Limits, Timeout
from localproviders.types.model import ModelInfo

T = TypeVar("T")


class Inventory(HTTPProvider):
    """The part of `OllamaProvider` that asks what the server is and has."""

    def version(self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None) -> str:
        """Give the server's version, such as ``0.32.15`` (ollama-api §2.1).

        Its total is 30 s unless `timeout` says otherwise, as for all questions like it.

        Raises:
            UnreachableError: No server answers.
            ProviderError: The server refused, or gave no version.
        """
        return self._ask("GET", "/api/version", wire.parse_version, timeout=timeout, cancel=cancel)

    def cloud_disabled(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> Optional[bool]:
        """Say whether the server's cloud models are switched off (ollama-api §2.1).

        None means that the server is too old to tell. This is about what the server would
        do; what this provider lets out is decided by its `locality`.

        Raises:
            ProviderError: As for `list_models`.
        """
        try:
            return self._ask(
                "GET", "/api/status", wire.parse_cloud_disabled, timeout=timeout, cancel=cancel
            )
        except UnsupportedError as error:
            if error.status != 404:
                raise
            return None

    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """List the installed models, most recently changed first (ollama-api §2.2).

        Cloud models are listed where a stub was pulled; their `remote_host` says so. The list
        can lack abilities that `model_info` knows.

        Raises:
            UnreachableError: No server answers.
            ProviderError: The server refused, or gave no list.
        """
        return self._ask(
            "GET",
            "/api/tags",
            lambda data: wire.parse_models(data, self.name),
            timeout=timeout,
            cancel=cancel,
        )

    def model_info(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Say what the server's details and its list tell about one model (ollama-api §6).

        Two quick questions: only the details know all abilities, and only the list knows
        size, digest and the name as it is stored.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: As for `list_models`.
        """
        return self.show(model, timeout=timeout, cancel=cancel).info

    def show(
        self,
        model: str,
        *,
        verbose: bool = False,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelDetails:
        """Give everything that the server tells about one model (ollama-api §2.4).

        Args:
            model: Name of the model.
            verbose: True gives the long lists of `metadata` too, such as the tokens: many
                megabytes.
            timeout: See the class; its total is 30 s unless it says otherwise.
            cancel: See the class.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: As for `list_models`.
        """
        return self._perform(
            None,
            model,
            lambda call: self._shown(model, verbose, call),
            timeout=timeout,
            cancel=cancel,
            total_s=LISTING_TOTAL_S,
        )

    # --- pieces for the other parts -------------------------------------------------------

    @abstractmethod
    def _forget(self) -> None:
        """Forget what is remembered about models: one has changed."""

    def _shown(self, model: str, verbose: bool, call: Call) -> ModelDetails:
        body = encode(wire.show_payload(model, verbose))
        data = self._transport.json("POST", "/api/show", call=call, body=body)
        shown = wire.parse_details(data, display_name(model), self.name)
        listed = self._find(listed_name(model), self._listed(call))
        return wire.parse_show(data, wire.joined(shown, listed))

    def _seen_quickly(self, model: str, call: Call) -> ModelInfo:
        """Say what a long call has led to, within what is left of it and a listing's total."""
        left = call.limits_left()
        quick = Call(left.replace(total_s=min(left.total_s, LISTING_TOTAL_S)), call.token)
        try:
            return self._shown(model, False, quick).info
        finally:
            quick.over()

    def _listed(self, call: Call) -> List[ModelInfo]:
        return wire.parse_models(self._transport.json("GET", "/api/tags", call=call), self.name)

    def _perform(
        self,
        operation: Optional[str],
        model: str,
        work: Callable[[Call], T],
        *,
        timeout: Timeout,
        cancel: Optional[CancelToken],
        total_s: Optional[float] = None,
        texts: Callable[[], Iterable[str]] = tuple,
    ) -> T:
        """Do something under one call, with its events, and its errors made ours.

        Args:
            operation: The public method; None for a question, which is not told.
            model: The model that it is about.
            work: Does it.
            timeout: As the method got it.
            cancel: As the method got it.
            total_s: A total for this verb, where the caller said nothing; infinity is none.
            texts: Gives what was said in the request, and is not to be quoted; a function,
                because a traceback with locals shows no prompt.
        """
        call = Call(self._limits_of(timeout, total_s), cancel)
        span = SILENT if operation is None else self._span(operation, model, call)
        attempts = 1

        def retried(error: ProviderError, _: int, wait_s: float) -> None:
            nonlocal attempts
            span.retried(error, attempts, wait_s)
            attempts += 1

        call.on_retry = retried
        try:
            done = work(call)
        except ProviderError as error:
            error = self._transport.locate(error, texts())
            error.add_context(model=model)
            span.failed(error)
            raise error from error.__cause__
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            call.over()
        span.finished(attempts=attempts)
        return done

    def _limits_of(self, timeout: Timeout, total_s: Optional[float]) -> Limits:
        limits = self.limits(timeout)
        if timeout is not None or total_s is None:
            return limits
        # No total at all takes the provider's own off; another one only shortens it.
        return limits.replace(
            total_s=total_s if math.isinf(total_s) else min(total_s, limits.total_s)
        )

    def _tell(self, method: str, path: str, payload: Any, call: Call) -> None:
        """Send what has nothing to say in return (ollama-api §2.12)."""
        body = encode(Payload(payload))
        answer = self._transport.open(method, path, call=call, body=body)
        text = decode(answer.read_all(self.settings.max_body_bytes))
        wire.check_done(text, self.settings.max_json_depth)
