"""The models in a fake LM Studio's memory: loading, unloading, several copies (§1.5, §2.12)."""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.openai_compatible import FakeOpenAICompatible, RefusedError
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel

Route = Callable[[Exchange], Answer]

#: Seconds that a model stays that a request has loaded, if the request says nothing (§1.6).
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
# What a llama.cpp model is loaded with unasked (§2.11); an MLX model shows less.
_USUAL = {
    "eval_batch_size": 512,
    "parallel": 4,
    "flash_attention": True,
    "offload_kv_cache_to_gpu": True,
}


class Copy(NamedTuple):
    """One copy of a model in memory, as the list of 0.4 shows it."""

    id: str
    config: Mapping[str, Any]
    ttl_s: Optional[float]

    def entry(self) -> Dict[str, Any]:
        """Give its entry in the list."""
        left = {} if self.ttl_s is None else {"remaining_ttl_seconds": self.ttl_s}
        return {"id": self.id, "config": dict(self.config), **left}


class Memory(FakeOpenAICompatible):
    """Loads and unloads; `loaded` has the window of each model's first copy."""

    #: The further copies, by their names: of which model, and how they were loaded.
    copies: Dict[str, Tuple[str, Dict[str, Any]]]
    #: How the first copies were loaded, where a load said so.
    configs: Dict[str, Dict[str, Any]]
    #: Seconds left of the models that a request has loaded.
    ttls: Dict[str, float]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.copies, self.configs, self.ttls = {}, {}, {}

    def memory_routes(self) -> Dict[Tuple[str, str], Route]:
        """Give what answers which method and path."""
        return {
            ("POST", "/api/v1/models/load"): self._load_route,
            ("POST", "/api/v1/models/unload"): self._unload_route,
        }

    def evict(self, name: str) -> None:
        """Take a model out of memory, every copy of it, as another hand would."""
        self.loaded.pop(name, None)
        self.configs.pop(name, None)
        self.ttls.pop(name, None)
        for copy, (model, _) in list(self.copies.items()):
            if model == name:
                del self.copies[copy]

    def in_memory(self, model: FakeModel) -> List[Copy]:
        """Give the copies of a model."""
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
        """Load for a request that names a model which is not there (§1.5)."""
        self._check_loadable(model)
        there = model.name in self.loaded
        seconds = super().load(model, exchange, window)
        if not there:
            self.ttls[model.name] = exchange.json.get("ttl", USUAL_TTL_S)
        return seconds

    def check_fields(self, body: Mapping[str, Any], known: FrozenSet[str]) -> None:
        """Refuse what the strict routes do not know (§2.10)."""
        unknown = ", ".join(f"'{name}'" for name in body if name not in known)
        if unknown:
            raise invalid(f"Unrecognized key(s) in object: {unknown}", code="unrecognized_keys")

    # --- routes -------------------------------------------------------------------------------

    def _load_route(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        self.check_fields(body, _LOAD_FIELDS)
        model = next((m for m in self.models if m.name == body.get("model")), None)
        if model is None:
            raise invalid(f'Invalid model identifier "{body.get("model")}"', code="model_not_found")
        self._check_loadable(model)
        if model.load_s:
            exchange.hold(model.load_s)
        config = _config(model, body)
        answer = {
            "type": "embedding" if model.can("embeddings") else "llm",
            "instance_id": self._settle(model, config),
            "load_time_seconds": model.load_s or 0.5,
            "status": "loaded",
            **({"load_config": config} if body.get("echo_load_config") else {}),
        }
        return self.json(answer)

    def _settle(self, model: FakeModel, config: Dict[str, Any]) -> str:
        """Name a new copy: as the model, or with a number behind it (§2.12)."""
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


def invalid(message: str, *, code: Optional[str] = None, param: Optional[str] = None) -> Any:
    """Make a refusal of LM Studio's own routes (§4.1)."""
    more = {"code": code, "param": param}
    error = {"message": message, "type": "invalid_request"}
    return RefusedError({"error": {**error, **{k: v for k, v in more.items() if v is not None}}})


def _config(model: FakeModel, asked: Mapping[str, Any]) -> Dict[str, Any]:
    mlx = model.format == "mlx"
    usual = {"parallel": 4} if mlx else dict(_USUAL)
    window = model.max_context_length if mlx else asked.get("context_length", model.context_length)
    given = {name: asked[name] for name in (*usual, "num_experts") if name in asked and not mlx}
    return {**usual, **given, "context_length": window}
