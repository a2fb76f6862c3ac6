"""`OllamaProvider`: what to call."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

from localproviders._http.address import Endpoint, parse_endpoint
from localproviders._http.deadline import Call
from localproviders._http.stream import ChunkParser
from localproviders._http.transport import Body, Payload, encode
from localproviders._wire import Row, Vectors
from localproviders.errors import (
    ConfigurationError,
    ModelNotFoundError,
    ProviderError,
    UnsupportedError,
    WrongModelError,
)
from localproviders.ollama import wire
from localproviders.ollama.library import Library
from localproviders.ollama.lifecycle import Lifecycle
from localproviders.ollama.names import is_cloud, same_model, split_source
from localproviders.settings import ApiKey, Settings, first_variable, make_settings
from localproviders.types.answer import CompletionChunk
from localproviders.types.limits import Timeout
from localproviders.types.model import ModelCapabilities
from localproviders.types.request import CompletionRequest, EmbeddingRequest, Locality, texts_of

_PORT = 11434
_CLOUD_HOST = "ollama.com"

# A model can become a remote one only when somebody pulls or creates it anew; every
# answer is looked at as well, so this only saves a question for each call.
_KNOWN_LOCAL_S = 60.0


class OllamaProvider(Library, Lifecycle):
    """An Ollama server, through its native API.

    Args:
        host: Address in any form that ``OLLAMA_HOST`` takes; None takes that variable,
            else ``http://127.0.0.1:11434``.
        model: The model for calls that name none.
        name: The provider's name in answers, errors and events.
        api_key: Sent as a Bearer token. ``OLLAMA_API_KEY`` is taken only for
            ``https://ollama.com``: a local server needs no key, and another one is not
            whom it was meant for.
        timeout: Seconds for a whole call, or `Limits`.
        locality: Where prompts may go; None takes ``LOCALPROVIDERS_LOCALITY``, else
            ``loopback``. Cloud models need ``any``.
        settings: A whole `Settings` value instead of everything above.
        **connection: ``ca_bundle``, ``client_cert``, ``proxies``, ``listeners``,
            ``allow_plaintext_key`` and the sizes, as in `Settings`.

    Raises:
        ConfigurationError: A value is impossible. Nothing is sent here.
    """

    _accept = "application/x-ndjson"
    _unsupported: Mapping[str, str] = {"tool_choice": "Ollama has no such switch; leave it out"}

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
        **connection: Any,
    ) -> None:
        if settings is None:
            endpoint, origin = _endpoint(host)
            if api_key is None and endpoint.host == _CLOUD_HOST and endpoint.scheme == "https":
                api_key = first_variable("OLLAMA_API_KEY")
            settings = make_settings(
                endpoint=endpoint,
                endpoint_origin=origin,
                name=name,
                model=model,
                api_key=api_key,
                timeout=timeout,
                locality=locality,
                **connection,
            )
        super().__init__(settings)
        self._known_local: Dict[str, float] = {}
        #: Whether the server has answered the old route for vectors, and lacks the new one.
        self._embeds_as_of_old = False

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        OllamaProvider.__init__(self, settings=state["settings"])

    # --- models ---------------------------------------------------------------------------

    def _is_same(self, listed: str, model: str) -> bool:
        return same_model(listed, model)

    def _forget(self) -> None:
        self._known_local.clear()
        self._abilities.forget()

    # --- the dialect ----------------------------------------------------------------------

    def _explain(self, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
        return wire.explain_answer(status, text, headers)

    def _question(
        self, request: CompletionRequest, model: str
    ) -> Tuple[str, Dict[str, Any], ChunkParser]:
        window = None if request.context_length is not None else self._window_asked(model)
        if window is not None:
            request = request.replace(context_length=window)
        path, payload = wire.completion_payload(request, model)
        return path, Payload(payload), wire.ChunkParser(self.settings.max_json_depth)

    def _embed(self, request: EmbeddingRequest, model: str, call: Call) -> Tuple[Vectors, int]:
        if not self._embeds_as_of_old:
            try:
                return self._embed_at_once(request, model, call)
            except UnsupportedError as error:
                if not wire.lacks_embed(error):
                    raise
        return self._embed_one_by_one(request, model, call)

    def _embed_at_once(
        self, request: EmbeddingRequest, model: str, call: Call
    ) -> Tuple[Vectors, int]:
        body = encode(wire.embed_payload(request, model, self._window_asked(model)))
        data, attempts = self._embed_post("/api/embed", body, model, call)
        found = wire.parse_vectors(data)
        if found.model:
            _check_model(model, found.model)
        return found._replace(truncation="allowed" if request.truncate else "none"), attempts

    def _embed_one_by_one(
        self, request: EmbeddingRequest, model: str, call: Call
    ) -> Tuple[Vectors, int]:
        """Ask an old server, which takes one text at a time (ollama-api §2.8)."""
        from localproviders._backend.embedding import may_lie_in_one_text

        wire.check_old_embed(request)
        rows: List[Row] = []
        most, window = 1, self._window_asked(model)
        for index in range(len(request.texts)):
            body = encode(wire.old_embed_payload(request, index, model, window))
            try:
                data, attempts = self._embed_post("/api/embeddings", body, model, call)
                rows.append(wire.parse_old_vector(data))
                most = max(most, attempts)
            except ProviderError as error:
                if not may_lie_in_one_text(error):
                    raise
                rows.append(self._transport.locate(error, texts_of(request)))
            self._embeds_as_of_old = True
        return wire.old_vectors(rows, model), most

    def _embed_post(self, path: str, body: Body, model: str, call: Call) -> Tuple[Any, int]:
        answer = self._transport.open("POST", path, call=call, body=body)
        data = wire.checked(self._transport.parse(answer, packs=True))
        self._check_host(model, wire.remote_host(data))
        return data, answer.attempts

    # --- locality and the served model ----------------------------------------------------

    def _before_sending(self, model: str, call: Call) -> None:
        """Refuse a cloud model before the prompt is sent (ollama-api §6.5)."""
        locality = self.settings.locality
        if locality == "any":
            return
        if is_cloud(model):
            raise wire.refuse_cloud(model, None, locality)
        if self._known_local.get(model, 0.0) > time.monotonic():
            return
        places = wire.parse_places(self._transport.json("GET", "/api/tags", call=call))
        base = split_source(model)[0]
        found = next((place for place in places if same_model(place[0], base)), None)
        if found is None:
            raise ModelNotFoundError(
                f"the server has no model {model!r}",
                hint=f"get it first: ollama pull {model}",
                available=tuple(name for name, _ in places),
            )
        self._check_host(model, found[1])
        self._known_local[model] = time.monotonic() + _KNOWN_LOCAL_S

    def _capabilities_of(self, model: str, call: Call) -> ModelCapabilities:
        body = encode(wire.show_payload(model, False))
        data = self._transport.json("POST", "/api/show", call=call, body=body)
        return wire.parse_details(data, model, self.name).capabilities

    def _check_host(self, model: str, host: Optional[str]) -> None:
        if host is not None and self.settings.locality != "any":
            raise wire.refuse_cloud(model, host, self.settings.locality)

    def _check_answer(
        self, request: CompletionRequest, model: str, chunk: CompletionChunk, call: Call
    ) -> Optional[str]:
        self._check_host(model, wire.remote_host(chunk.raw))
        if chunk.model is not None and not request.allow_other_model:
            _check_model(model, chunk.model)
        return None


def _check_model(model: str, served: str) -> None:
    if not _same_answer(model, served):
        raise WrongModelError(
            f"{model!r} was asked for, and {served!r} answers",
            hint="pass allow_other_model=True to accept that",
            requested=model,
            served=served,
        )


def _same_answer(asked: str, served: str) -> bool:
    """Whether the names agree; an answer from the cloud has lost its suffix (§2.24)."""
    return same_model(asked, served) or same_model(split_source(asked)[0], served)


def _endpoint(host: Optional[str]) -> Tuple[Endpoint, str]:
    if host is not None:
        return parse_endpoint(host, default_port=_PORT), "the host argument"
    variable = os.environ.get("OLLAMA_HOST", "")
    try:
        # The variable is the server's too, and it takes a default for a bad port.
        endpoint = parse_endpoint(variable, default_port=_PORT, lenient=True)
    except ConfigurationError as error:
        message, hint = error.message, error.hint
    else:
        return endpoint, "OLLAMA_HOST" if variable.strip() else "the default"
    hint = hint or "export OLLAMA_HOST=127.0.0.1:11434, or unset it"
    raise ConfigurationError(f"OLLAMA_HOST: {message}", hint=hint)
