"""Models in the memory of the fake LM Studio server, which can hold several copies of a model.

The behaviour is described in docs/reference/lmstudio.md, "Loading models" and
"Model management".
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._signatures import Unpack
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer
from localproviders.testing.fake import FakeOptions, Models
from localproviders.testing.lmstudio.checks import check_fields, invalid
from localproviders.testing.openai_compatible import FakeOpenAICompatible
from localproviders.testing.openai_requests import RefusedError
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel

Route = Callable[[Exchange], Answer]

#: Seconds after which an idle model is unloaded, if a request to the model, such as a chat, has
#: loaded it and set no other limit (docs/reference/lmstudio.md, "Idle unloading").
USUAL_TTL_S = 3600

_LOAD_FIELDS = frozenset(
    {
        "model",
        "context_length",
        "eval_batch_size",
        "flash_attention",
        "num_experts",
        "parallel",
        "offload_kv_cache_to_gpu",
        "echo_load_config",
    }
)
# Default configuration of a llama.cpp model. An MLX model reports fewer values
# (docs/reference/lmstudio.md, "Model lists").
_DEFAULT_CONFIG = {
    "eval_batch_size": 512,
    "parallel": 4,
    "flash_attention": True,
    "offload_kv_cache_to_gpu": True,
}


class Copy(NamedTuple):
    """One copy of a model in memory, as the model list of LM Studio 0.4 describes it.

    Attributes:
        id: Name of the copy.
        config: Its load configuration.
        ttl_s: Remaining seconds until the idle copy is unloaded; None means no limit.
    """

    id: str
    config: Mapping[str, Any]
    ttl_s: Optional[float]

    def entry(self) -> Dict[str, Any]:
        """Return the copy's entry in the model list."""
        left = {} if self.ttl_s is None else {"remaining_ttl_seconds": self.ttl_s}
        return {"id": self.id, "config": dict(self.config), **left}


class Memory(FakeOpenAICompatible):
    """The part of the fake server that loads and unloads models.

    The attribute `loaded` contains the context window of each model's first copy.
    """

    #: The model and the configuration of each further copy, by the name of the copy.
    copies: Dict[str, Tuple[str, Dict[str, Any]]]
    #: For each model whose first copy was loaded by a load request, the configuration of this copy.
    configs: Dict[str, Dict[str, Any]]
    #: For each model whose first copy was loaded by a request to the model, such as a chat, the
    #: seconds until the idle copy is unloaded.
    ttls: Dict[str, float]

    def __init__(self, models: Models = None, **options: Unpack[FakeOptions]) -> None:
        given, options = Sealed(options), FakeOptions()
        super().__init__(models, **given.cell_contents)
        self.copies, self.configs, self.ttls = {}, {}, {}

    def memory_routes(self) -> Dict[Tuple[str, str], Route]:
        """Return the handlers of requests, by method and path."""
        return {
            ("POST", "/api/v1/models/load"): self._load_route,
            ("POST", "/api/v1/models/unload"): self._unload_route,
        }

    def evict(self, name: str) -> None:
        """Unload every copy of a model, as if another program had done so."""
        self.loaded.pop(name, None)
        self.configs.pop(name, None)
        self.ttls.pop(name, None)
        for copy, (model, _) in list(self.copies.items()):
            if model == name:
                del self.copies[copy]

    def in_memory(self, model: FakeModel) -> List[Copy]:
        """Return the copies of a model that are in memory."""
        found = []
        if model.name in self.loaded:
            config = self.configs.get(model.name) or _config(model, {})
            config = {**config, "context_length": self.loaded[model.name]}
            found.append(Copy(model.instance or model.name, config, self.ttls.get(model.name)))
        return found + [
            Copy(name, config, None)
            for name, (of, config) in self.copies.items()
            if of == model.name
        ]

    def load(self, model: FakeModel, exchange: Exchange, window: Optional[int] = None) -> float:
        """Load the model for a request to it, such as a chat; return the seconds of the load.

        If the model is loaded already, the result is 0.
        """
        self._check_loadable(model)
        was_loaded = model.name in self.loaded
        seconds = super().load(model, exchange, window)
        if not was_loaded:
            self.ttls[model.name] = exchange.json.get("ttl", USUAL_TTL_S)
        return seconds

    # --- routes -------------------------------------------------------------------------------

    def _load_route(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        check_fields(body, _LOAD_FIELDS)
        model = next((m for m in self.models if m.name == body.get("model")), None)
        if model is None:
            raise invalid(f'Invalid model identifier "{body.get("model")}"', code="model_not_found")
        self._check_loadable(model)
        if model.load_s:
            exchange.hold(model.load_s)
        config = _config(model, body)
        answer = {
            "type": "embedding" if model.can("embeddings") else "llm",
            "instance_id": self._add_copy(model, config),
            "load_time_seconds": model.load_s or 0.5,
            "status": "loaded",
            **({"load_config": config} if body.get("echo_load_config") else {}),
        }
        return self.json(answer)

    def _add_copy(self, model: FakeModel, config: Dict[str, Any]) -> str:
        """Add a copy to memory, and return its name.

        The first copy is named like the model, or has the model's `instance` as its name. Further
        copies are named ``name:2`` and so on.
        """
        if model.name not in self.loaded:
            self.loaded[model.name] = config["context_length"]
            self.configs[model.name] = config
            self.ttls.pop(model.name, None)
            return model.instance or model.name
        name = f"{model.name}:{2 + sum(of == model.name for of, _ in self.copies.values())}"
        self.copies[name] = (model.name, config)
        return name

    def _check_loadable(self, model: FakeModel) -> None:
        if model.load_error is not None:
            message = f'Failed to load model "{model.name}". Error: {model.load_error}'
            raise RefusedError({"error": message})

    def _unload_route(self, exchange: Exchange) -> Answer:
        name = self._body(exchange).get("instance_id")
        first = next(
            (m for m in self.models if m.name in self.loaded and name == (m.instance or m.name)),
            None,
        )
        if first is not None:
            for record in (self.loaded, self.configs, self.ttls):
                record.pop(first.name, None)
        elif self.copies.pop(str(name), None) is None:
            message = f"Model with instance identifier '{name}' is not loaded."
            error = {"type": "model_not_found", "message": message}
            raise RefusedError({"error": error}, "404 Not Found")
        return self.json({"instance_id": name})


def _config(model: FakeModel, body: Mapping[str, Any]) -> Dict[str, Any]:
    mlx = model.format == "mlx"
    defaults = {"parallel": 4} if mlx else dict(_DEFAULT_CONFIG)
    window = model.max_context_length if mlx else body.get("context_length", model.context_length)
    given = {name: body[name] for name in (*defaults, "num_experts") if name in body and not mlx}
    return {**defaults, **given, "context_length": window}
