"""`OpenAICompatibleProvider`: what to call on any server of the OpenAI dialect."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders._backend import HTTPProvider
from localproviders._http.address import parse_endpoint
from localproviders._http.deadline import Call
from localproviders._http.rejection import Rule, not_found
from localproviders._http.stream import ChunkParser
from localproviders._http.transport import Payload, encode
from localproviders._wire import Vectors
from localproviders.errors import ConfigurationError, ProviderError, UnsupportedError
from localproviders.openai_compatible import wire
from localproviders.openai_compatible.counting import ExactCounter
from localproviders.settings import ApiKey, Settings, make_settings
from localproviders.types.answer import CompletionChunk
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Timeout
from localproviders.types.model import ModelInfo
from localproviders.types.request import CompletionRequest, EmbeddingRequest, Locality, texts_of
from localproviders.types.tokens import TokenCount


class OpenAICompatibleProvider(HTTPProvider):
    """A server that speaks OpenAI's dialect: llama.cpp, vLLM, or a service elsewhere.

    Args:
        base_url: Address up to and with the version, such as ``http://127.0.0.1:8080/v1``.
        model: The model for calls that name none.
        name: The provider's name in answers, errors and events.
        api_key: Sent as a Bearer token to this address only. No variable is read for it:
            pass ``SecretString.from_env("...")``.
        timeout: Seconds for a whole call, or `Limits`.
        locality: Where prompts may go; None takes ``LOCALPROVIDERS_LOCALITY``, else
            ``loopback``. A service on the internet needs ``any``.
        settings: A whole `Settings` value instead of everything above.
        **connection: ``ca_bundle``, ``client_cert``, ``proxies``, ``listeners``,
            ``allow_plaintext_key`` and the sizes, as in `Settings`.

    Raises:
        ConfigurationError: A value is impossible. Nothing is sent here.
    """

    _rules: Tuple[Rule, ...] = wire.RULES
    _unsupported: Mapping[str, str] = {
        "context_length": "the window is chosen when the server is started",
        "keep_alive": "this kind of server keeps its model",
    }
    #: Media types that this server cannot read, or their beginnings, and what to do instead.
    _refused_media: Mapping[str, str] = {}
    _chat_only = ("tools", "tool_choice", "response_schema", "thinking")
    _embed_unsupported: Mapping[str, str] = {
        "truncate": "cut the texts yourself",
        "keep_alive": "this kind of server keeps its model",
    }
    #: Whether servers of this kind may have a way to count tokens.
    _counts = True

    def __init__(
        self,
        base_url: Optional[str] = None,
        *,
        model: Optional[str] = None,
        name: str = "openai-compatible",
        api_key: ApiKey = None,
        timeout: Timeout = None,
        locality: Optional[Locality] = None,
        settings: Optional[Settings] = None,
        **connection: Any,
    ) -> None:
        if settings is None:
            if not base_url:
                raise ConfigurationError(
                    "no address was given", hint='pass base_url="http://127.0.0.1:8080/v1"'
                )
            settings = make_settings(
                endpoint=parse_endpoint(base_url, default_port=80),
                endpoint_origin="the base_url argument",
                name=name,
                model=model,
                api_key=api_key,
                timeout=timeout,
                locality=locality,
                **connection,
            )
        super().__init__(settings)
        self._counter = ExactCounter(settings, self._explain) if self._counts else None

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        type(self).__init__(self, settings=state["settings"])

    def close(self) -> None:
        """Close the kept connections. May be called again; the next call opens new ones."""
        super().close()
        if self._counter is not None:
            self._counter.close()

    # --- models ---------------------------------------------------------------------------

    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """List the models, in the server's order.

        Raises:
            UnreachableError: No server answers.
            ProviderError: The server refused, or gave no list.
        """
        return self._ask(
            "GET",
            self._path("/models"),
            lambda data: wire.parse_models(data, self.name, self._rules),
            timeout=timeout,
            cancel=cancel,
        )

    def model_info(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelInfo:
        """Say what the list tells about one model, which is little: most is inferred.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: As for `list_models`.
        """
        listed = self.list_models(timeout=timeout, cancel=cancel)
        info = self._find(model, listed)
        if info is None:
            raise self._transport.locate(
                not_found(model, available=tuple(item.name for item in listed))
            )
        return info

    # --- the dialect ----------------------------------------------------------------------

    def _path(self, path: str) -> str:
        """Give where a path of the dialect stands below the endpoint."""
        return path

    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        return wire.explain_answer(status, text, headers, self._rules)

    def _question(
        self, request: CompletionRequest, model: str
    ) -> Tuple[str, Dict[str, Any], ChunkParser]:
        path, payload = wire.completion_payload(request, model)
        return (
            self._path(path),
            Payload(payload),
            wire.ChunkParser(self.settings.max_json_depth, self._rules),
        )

    def _fit(self, request: CompletionRequest) -> Tuple[CompletionRequest, List[str]]:
        request, warnings = super()._fit(request)
        self._check_media(request)
        if request.overflow == "truncate":
            warnings.extend(self._refuse("overflow='truncate'", "shorten the prompt", request))
        if isinstance(request.thinking, bool):
            level = self._thinking_level(request.thinking)
            if level is None:
                hint = "pass a level such as 'low', or the server's own switch in extra_body"
                warnings.extend(self._refuse("thinking as True or False", hint, request))
            request = request.replace(thinking=level)
        return request, warnings

    def _check_media(self, request: CompletionRequest) -> None:
        """Refuse a file that the server cannot read; without it the question is another."""
        for message in request.messages:
            for media in (*message.images, *message.audio):
                for kind, instead in self._refused_media.items():
                    if media.media_type.startswith(kind):
                        raise UnsupportedError(
                            f"{self.name} cannot read {media.media_type}",
                            hint=instead,
                            provider=self.name,
                        )

    def _refuse(self, what: str, hint: str, request: CompletionRequest) -> Sequence[str]:
        message = f"{self.name} cannot take {what}"
        if request.strict:
            raise UnsupportedError(
                message, hint=f"{hint}; or pass strict=False", provider=self.name
            )
        return [f"{message}; it was left out"]

    def _thinking_level(self, wanted: bool) -> Optional[str]:
        """Give the level that switches reasoning on or off; None where there is none."""
        return None

    def _embed(self, request: EmbeddingRequest, model: str, call: Call) -> Tuple[Vectors, int]:
        body = encode(self._embed_payload(request, model))
        answer = self._transport.open("POST", self._path("/embeddings"), call=call, body=body)
        found = wire.parse_vectors(self._transport.parse(answer, packs=True), self._rules)
        warning = self._check_model(model, found.model, call) if found.model else None
        return found._replace(warnings=(warning,) if warning else ()), answer.attempts

    def _embed_payload(self, request: EmbeddingRequest, model: str) -> Dict[str, Any]:
        """Give the JSON of an embedding request."""
        return wire.embed_payload(request, model)

    def _count_exactly(
        self,
        request: CompletionRequest,
        model: str,
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> Optional[TokenCount]:
        counter = self._counter
        if counter is None or not counter.can(request):
            return None
        call = self._call(timeout, cancel, total_s=LISTING_TOTAL_S)
        try:
            self._before_sending(model, call)
            return counter.count(request, model, call)
        except ProviderError as error:
            error.add_context(model=model)
            raise self._transport.locate(error, texts_of(request)) from error.__cause__
        finally:
            call.over()

    def _check_answer(
        self, request: CompletionRequest, model: str, chunk: CompletionChunk, call: Call
    ) -> Optional[str]:
        if chunk.model is None or request.allow_other_model:
            return None
        return self._check_model(model, chunk.model, call)

    def _check_model(self, asked: str, served: str, call: Call) -> Optional[str]:
        """Warn of another model: such a server may name its one model as it likes."""
        return None if served == asked else f"{asked!r} was asked for, and {served!r} answered"
