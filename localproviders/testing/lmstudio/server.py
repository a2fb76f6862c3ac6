"""Fake LM Studio server: model lists, names, errors and embeddings."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union
from urllib.parse import quote

from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.secret import Sealed
from localproviders.testing import openai_rankings
from localproviders.testing.answers import Answer
from localproviders.testing.decisions import DECISIONS, SYSTEM_ONE, BadRequestError
from localproviders.testing.fake import FakeOptions, FakeServer, Models
from localproviders.testing.lmstudio.chat import REASONING, StatefulChat
from localproviders.testing.lmstudio.checks import check_chat, check_images
from localproviders.testing.lmstudio.downloads import Downloads
from localproviders.testing.lmstudio.memory import Route
from localproviders.testing.lmstudio.text import LMStudioAnswer, OldAnswer
from localproviders.testing.openai_answers import TextAnswer
from localproviders.testing.openai_requests import RefusedError
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel


class FakeLMStudio(Downloads, StatefulChat):
    """A fake LM Studio server for tests, to be used in a ``with`` block.

    Like LM Studio, it answers unknown paths with status 200 and an error. If exactly one model is
    loaded, it answers requests for unknown models with that model. It loads a model at the first
    request for the model, and ignores ``dimensions`` and ``encoding_format``. Generation ``0.4``
    also has routes to load, unload and download models, and stores conversations. `download_script`
    sets the progress of downloads.

    Args:
        models: Names, or `FakeModel` values.
        generation: The version of LM Studio. ``0.4`` has LM Studio's own routes (``/api/v1`` and
            the older ``/api/v0``), ``0.3`` has only ``/api/v0``, and ``0.3.5`` has neither. A test
            can change the attribute while the server runs, to simulate an update.
        jit: Whether a request for a model loads it.
        **options: Options of `FakeServer`.
    """

    default_models: Sequence[Union[str, FakeModel]] = (
        "qwen/qwen3-4b",
        "text-embedding-nomic-embed-text-v1.5",
    )

    work_paths: Tuple[str, ...] = (
        *Downloads.work_paths,
        "/api/v1/chat",
        "/api/v0/chat/completions",
        "/api/v0/completions",
        "/api/v0/embeddings",
    )

    #: Both routes of decision requests. Generations ``0.3`` and ``0.3.5`` have neither.
    decision_routes: Sequence[str] = (SYSTEM_ONE, DECISIONS)
    _image_starts: Tuple[str, ...] = ("data:image/",)

    @exact_keywords
    @show_keywords(FakeOptions, FakeServer)
    def __init__(
        self,
        models: Models = None,
        *,
        generation: str = "0.4",
        jit: bool = True,
        **options: Unpack[FakeOptions],
    ) -> None:
        given, options = Sealed(options), FakeOptions()
        super().__init__(models, **given.cell_contents)
        self.generation = generation
        self.jit = jit

    def routes(self) -> Dict[Tuple[str, str], Callable[[Exchange], Answer]]:
        """Return the handlers of requests, by method and path."""
        routes = super().routes()
        for method, path in (
            ("GET", "/health"),
            ("POST", "/apply-template"),
            ("POST", "/tokenize"),
            ("POST", "/completion"),
            *(("POST", path) for path in openai_rankings.PATHS),
        ):
            del routes[method, path]
        routes["GET", "/lmstudio-greeting"] = lambda _: self.json({"lmstudio": True})
        routes["GET", "/v1/models"] = self._ids
        if self.generation != "0.3.5":
            routes.update(self._old_routes(routes))
        if self._is_new:
            routes["GET", "/api/v1/models"] = self._list
            routes.update(self.memory_routes())
            routes.update(self.download_routes())
            routes.update(self.chat_routes())
        else:
            for path in self.decision_routes:
                del routes["POST", path]
        return routes

    @property
    def _is_new(self) -> bool:
        return not self.generation.startswith("0.3")

    def unknown(self, exchange: Exchange) -> Answer:
        """Answer a request for an unknown path with status 200 and an error.

        Source: docs/reference/lmstudio.md, "Endpoints".
        """
        if self._is_new:
            self.unknown_job(exchange)
        where = f"({exchange.method} {exchange.path})"
        return self.json({"error": f"Unexpected endpoint or method. {where}"})

    # LM Studio documents no errors for its decision routes. So the texts of the next three refusals
    # are made up in the style of the errors of its other routes.

    def decision_refusal(self, exchange: Exchange, error: BadRequestError) -> RefusedError:
        """Return the refusal of a decision request with a wrong field."""
        return RefusedError({"error": error.words})

    def no_decider(self, exchange: Exchange, name: Optional[str]) -> RefusedError:
        """Return the refusal of a decision request for a model that is not a decision model."""
        return RefusedError({"error": "Model is not a decision model"})

    def no_decision_images(self, exchange: Exchange) -> RefusedError:
        """Return the refusal of a decision request with images that the model cannot read."""
        return RefusedError({"error": "Model does not support images"})

    def check_chat(self, body: Mapping[str, Any]) -> None:
        """Check the fields and messages of a chat.

        Raises:
            RefusedError: LM Studio would refuse the chat.
        """
        check_chat(body)

    def check_media(self, body: Mapping[str, Any], model: FakeModel) -> None:
        """Check the images of a chat.

        Raises:
            RefusedError: An image is not in the request itself, or the model cannot read it.
        """
        check_images(body, model)

    def prompts(self, body: Mapping[str, Any]) -> List[str]:
        """Return a list with the only prompt of a completion request."""
        return [str(body.get("prompt"))]

    def inputs(self, body: Mapping[str, Any]) -> List[str]:
        """Return the texts of an embedding request.

        Raises:
            RefusedError: The input is not text, but token ids, for example.

        Source: docs/reference/lmstudio.md, "Embeddings".
        """
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise RefusedError({"error": "'input' field must be a string or an array of strings"})
        return texts

    def answer_class(self, exchange: Exchange) -> Type[TextAnswer]:
        """Return the class of the answers to a request."""
        return OldAnswer if exchange.path.startswith("/api/v0") else LMStudioAnswer

    def complete_answers(self, answers: Sequence[TextAnswer], model: FakeModel) -> None:
        """Add facts about the model to the answers of the routes below ``/api/v0``."""
        for answer in answers:
            if isinstance(answer, OldAnswer):
                answer.model_info = {
                    "arch": "qwen3",
                    "quant": "Q4_K_M",
                    "format": model.format,
                    "context_length": self.loaded[model.name],
                }

    def wrong_key(self, given: str) -> RefusedError:
        """Return the refusal of a missing or wrong API token.

        Source: docs/reference/lmstudio.md, "Authentication".
        """
        token = given.partition(" ")[2]
        message = (
            f"Malformed LM Studio API token provided: {token[:10]}**********"
            if token
            else "An LM Studio API token is required to make requests to this server"
        )
        error = {"type": "invalid_request", "code": "invalid_api_key", "message": message}
        return RefusedError({"error": error}, "401 Unauthorized")

    def choose(self, name: Optional[str], ability: str) -> FakeModel:
        """Return the model that answers a request for a model name.

        Raises:
            RefusedError: No model can answer it.

        Source: docs/reference/lmstudio.md, "Model names".
        """
        able = [model for model in self.models if model.can(ability)]
        known = next((model for model in able if name in self._names(model)), None)
        loaded = [model for model in able if model.name in self.loaded]
        if known is not None and (self.jit or known in loaded):
            return known
        if len(loaded) == 1:
            return loaded[0]
        code: Optional[str] = "model_not_found"
        if not self.jit and not loaded:
            message = "No models loaded. Please load a model in the developer page"
            code = None
        else:
            message = f'Invalid model identifier "{name}". Please specify a valid downloaded model'
        kind = "invalid_request_error"
        error = {"message": message, "type": kind, "param": "model", "code": code}
        raise RefusedError({"error": error})

    def _names(self, model: FakeModel) -> Tuple[str, ...]:
        copies = (copy.id for copy in self.in_memory(model))
        return (model.name, model.instance or model.name, *copies)

    def overflow(self, tokens: int, window: int) -> RefusedError:
        """Return the error for a prompt that is longer than the context window.

        Source: docs/reference/lmstudio.md, "Error texts".
        """
        return RefusedError(
            {
                "error": "The number of tokens to keep from the initial prompt is greater than "
                f"the context length (n_keep: {tokens}>= n_ctx: {window})"
            }
        )

    def input_overflow(self, tokens: int, window: int) -> RefusedError:
        """Return the error for a text to embed that is longer than the context window."""
        return self.overflow(tokens, window)

    def vector(self, values: List[float], encoding: Any) -> Any:
        """Return the vector as floats, because LM Studio ignores ``encoding_format``."""
        return values

    def embedding_usage(self, tokens: int) -> Dict[str, int]:
        """Return zeros, because LM Studio does not count tokens of embedding requests."""
        return {"prompt_tokens": 0, "total_tokens": 0}

    # --- lists ----------------------------------------------------------------------------

    def _visible(self) -> List[FakeModel]:
        """Return the models in the lists ``/v1/models`` and ``/api/v0/models``.

        If `jit` is false, these lists have only the loaded models.
        """
        return [model for model in self.models if self.jit or model.name in self.loaded]

    def _ids(self, _: Exchange) -> Answer:
        rows = [
            {"id": model.name, "object": "model", "owned_by": "organization_owner"}
            for model in self._visible()
        ]
        return self.json({"object": "list", "data": rows}, kind="list")

    def _old_routes(self, routes: Mapping[Tuple[str, str], Route]) -> Dict[Tuple[str, str], Route]:
        """Return the handlers of the routes below ``/api/v0``, by method and path.

        Those for text and vectors are the handlers of the OpenAI dialect.
        """
        old: Dict[Tuple[str, str], Route] = {("GET", "/api/v0/models"): self._old_list}
        for name in ("chat/completions", "completions", "embeddings"):
            old["POST", f"/api/v0/{name}"] = routes["POST", f"/v1/{name}"]
        for model in self._visible():
            for name in (model.name, quote(model.name, safe="")):
                old["GET", f"/api/v0/models/{name}"] = partial(self._old_model, model)
        return old

    def _old_model(self, model: FakeModel, _: Exchange) -> Answer:
        return self.json(self._old_entry(model))

    def _old_list(self, _: Exchange) -> Answer:
        return self.json(
            {"object": "list", "data": [self._old_entry(model) for model in self._visible()]},
            kind="list",
        )

    def _old_entry(self, model: FakeModel) -> Dict[str, Any]:
        window = self.loaded.get(model.name)
        kind = "vlm" if model.can("vision") else "llm"
        return {
            "id": model.name,
            "object": "model",
            "type": _type_of(model, "embeddings", kind),
            "publisher": "a-publisher",
            "arch": "qwen3",
            "compatibility_type": "gguf",
            "quantization": "Q4_K_M",
            "state": "loaded" if window else "not-loaded",
            "max_context_length": model.max_context_length,
            **({"loaded_context_length": window} if window else {}),
            **({"capabilities": ["tool_use"]} if model.can("tools") else {}),
        }

    def _list(self, _: Exchange) -> Answer:
        return self.json({"models": [self._entry(model) for model in self.models]}, kind="list")

    def _entry(self, model: FakeModel) -> Dict[str, Any]:
        kind = _type_of(model, "embedding", "llm")
        entry = {
            "type": kind,
            "publisher": "a-publisher",
            "key": model.name,
            "display_name": model.name,
            "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
            "size_bytes": 2279145003 if model.size_bytes is None else model.size_bytes,
            "params_string": "4B",
            "loaded_instances": [copy.entry() for copy in self.in_memory(model)],
            "max_context_length": model.max_context_length,
            "format": model.format,
        }
        return {**entry, **_text_model_fields(model)} if kind == "llm" else entry


def _type_of(model: FakeModel, embedding: str, text: str) -> str:
    """Return the type of a model in a list. The type of decision models is not documented."""
    if model.can("decision"):
        return "decision"
    return embedding if model.can("embeddings") else text


def _text_model_fields(model: FakeModel) -> Dict[str, Any]:
    """Return those fields of a text model's entry that embedding models do not have.

    Source: docs/reference/lmstudio.md, "Model lists".
    """
    capabilities: Dict[str, Any] = {
        "vision": model.can("vision"),
        "trained_for_tool_use": model.can("tools"),
    }
    if model.can("thinking"):
        capabilities["reasoning"] = REASONING
    return {"architecture": "qwen3", "capabilities": capabilities, "description": None}
