"""A fake server that greets like one of many programs, such as vLLM or Docker Model Runner.

A greeting consists of the responses by which discovery recognizes a program. The greetings are
described in docs/reference/discovery.md. In all else, the server is a `FakeOpenAICompatible`.
"""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._signatures import exact_keywords
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer, dumps
from localproviders.testing.fake import Models
from localproviders.testing.openai_compatible import FakeOpenAICompatible
from localproviders.testing.openai_requests import RefusedError
from localproviders.testing.scripted import Exchange

_Form = Tuple[str, Any]

# Responses of servers to a request for an unknown path, or without the API key: status and body.
_FASTAPI: _Form = ("404 Not Found", {"detail": "Not Found"})
_GO: _Form = ("404 Not Found", "404 page not found")
_PAGE: _Form = ("200 OK", "<!doctype html><title>A page</title>")
_NO_KEY: _Form = (
    "401 Unauthorized",
    {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}},
)
_NO_LOGIN: _Form = ("401 Unauthorized", {"detail": "Not authenticated"})


class Greeting(NamedTuple):
    """The responses by which a program can be recognized.

    Attributes:
        answers: The responses to ``GET`` requests, by path. Each is a JSON value or a text, or a
            pair of a status and one of these.
        root: The path of the program's API.
        listed: The fields of each entry in the list of models, besides ``id`` and ``object``.
        missing: The response to a request for an unknown path.
        no_key: The response to a request without the API key.
        needs_key: The beginnings of the paths that need the API key, if the server has one.
        open_paths: Paths that do not need the API key, although they begin with one of `needs_key`.
        headers: Headers of every response.
        has_list: Whether the program has a list of models.
        product: The name that discovery reports; None if the program has no greeting of its own.
        aliases: Further paths of the list of models.
    """

    answers: Mapping[str, Any] = {}
    root: str = "/v1"
    listed: Mapping[str, Any] = {}
    missing: _Form = _FASTAPI
    no_key: _Form = _NO_KEY
    needs_key: Tuple[str, ...] = ("/",)
    open_paths: FrozenSet[str] = frozenset()
    headers: Tuple[Tuple[str, str], ...] = ()
    has_list: bool = True
    product: Optional[str] = None
    aliases: Tuple[str, ...] = ()


_OLLAMA_SIDE: Mapping[str, Any] = {
    "/api/version": {"version": "0.9.0"},
    "/api/tags": {"models": []},
}
_KOBOLD = {"result": "KoboldCpp", "version": "1.113.2", "protected": False, "llm": True}
_PROPS = {
    "build_info": "b11549-0a1b2c3",
    "default_generation_settings": {"n_ctx": 4096},
    "total_slots": 4,
    "model_path": "/models/m.gguf",
}
_ROUTER = {"role": "router", "model_path": "none", "max_instances": 4}
_SGLANG = {"model_path": "m", "tokenizer_path": "m", "is_generation": True}
_LLAMA_LIST = {"created": 1, "owned_by": "llamacpp"}
_LLAMA: Mapping[str, Any] = {
    "root": "/v1",
    "listed": _LLAMA_LIST,
    "missing": (
        "404 Not Found",
        {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}},
    ),
    "open_paths": frozenset(("/", "/health", "/v1/health")),
    "product": "llama.cpp",
    "aliases": ("/models",),
}
_NO_GZIP: _Form = ("415 Unsupported Media Type", "Error: gzip is not supported by this browser")
_LLAMA_HEADERS = (("Server", "llama.cpp"),)

#: The greetings, by a name for the program and its setup.
GREETINGS: Mapping[str, Greeting] = {
    "llama.cpp": Greeting(
        {"/": _NO_GZIP, "/props": _PROPS, "/health": {"status": "ok"}, "/slots": []},
        headers=_LLAMA_HEADERS,
        **_LLAMA,
    ),
    "llama.cpp router": Greeting(
        {"/": _NO_GZIP, "/props": _ROUTER, "/health": {"status": "ok"}},
        headers=_LLAMA_HEADERS,
        **_LLAMA,
    ),
    "llama.cpp behind a proxy": Greeting(
        {"/props": _PROPS}, headers=(("Server", "nginx"),), **_LLAMA
    ),
    "llamafile": Greeting(
        {"/props": {**_PROPS, "build_info": "b1500-a1b2c3d"}},
        headers=(("Server", "llamafile/0.9"),),
        **{**_LLAMA, "product": "llamafile"},
    ),
    "llama-swap": Greeting(
        {
            "/": ("302 Found", ""),
            "/health": "OK",
            "/running": {"running": [{"model": "some-model", "state": "ready"}]},
        },
        listed={"created": 1, "owned_by": "llama-swap"},
        missing=("404 Not Found", ""),
        headers=(("Location", "/ui"),),
        open_paths=frozenset(("/", "/health", "/ui")),
        product="llama-swap",
    ),
    "vLLM": Greeting(
        {
            "/version": {"version": "0.11.0"},
            "/health": "",
            "/metrics": 'vllm:num_requests_running{model="m"} 0\n',
        },
        listed={"created": 1, "owned_by": "vllm", "max_model_len": 4096, "root": "m"},
        no_key=("401 Unauthorized", {"error": "Unauthorized"}),
        needs_key=("/v1",),
        product="vLLM",
    ),
    "SGLang": Greeting(
        {
            "/get_model_info": _SGLANG,
            "/server_info": {**_SGLANG, "version": "0.5.2"},
            "/health": "",
        },
        listed={"created": 1, "owned_by": "sglang", "root": "m", "max_model_len": 4096},
        open_paths=frozenset(("/health",)),
        product="SGLang",
    ),
    "SGLang behind a proxy": Greeting(
        {"/model_info": _SGLANG}, listed={"created": 1, "owned_by": "me"}, product="SGLang"
    ),
    "Jan": Greeting(),
    "text-generation-webui": Greeting(
        {"/v1/internal/model/info": {"model_name": "None", "lora_names": []}},
        listed={"created": 0, "owned_by": "user"},
        product="text-generation-webui",
    ),
    "TabbyAPI": Greeting(
        {
            "/v1/model": {"id": "m", "owned_by": "tabbyAPI", "parameters": {"max_seq_len": 4096}},
            "/v1/internal/model/info": {"model_name": "m", "lora_names": []},
            "/api/extra/version": {"result": "KoboldCpp", "version": "1.61"},
            "/health": {"status": "healthy", "issues": []},
        },
        listed={"created": 1, "owned_by": "tabbyAPI"},
        no_key=("401 Unauthorized", {"detail": "Please provide an API key"}),
        open_paths=frozenset(("/health",)),
        product="TabbyAPI",
    ),
    "TabbyAPI without a model": Greeting(
        {
            "/v1/model": ("503 Service Unavailable", {"detail": "No models are currently loaded."}),
            "/v1/internal/model/info": {"model_name": "None", "lora_names": []},
            "/api/extra/version": {"result": "KoboldCpp", "version": "1.61"},
            "/health": {"status": "healthy", "issues": []},
        },
        listed={"created": 1, "owned_by": "somebody"},
        product="TabbyAPI",
    ),
    "LocalAI": Greeting(
        {
            "/.well-known/localai.json": {
                "version": "v3.5.0 (abc)",
                "endpoints": {"chat": "/v1/chat/completions"},
                "endpoint_groups": {},
            },
            "/version": {"version": "v3.5.0 (abc)"},
            "/readyz": "",
        },
        missing=("404 Not Found", {"error": {"code": 404, "message": "Not Found", "type": ""}}),
        open_paths=frozenset(("/.well-known/localai.json", "/readyz", "/version")),
        product="LocalAI",
    ),
    "KoboldCpp": Greeting(
        {**_OLLAMA_SIDE, "/api/extra/version": _KOBOLD, "/props": _PROPS},
        listed={"created": 1, "owned_by": "koboldcpp"},
        open_paths=frozenset(("/api/extra/version",)),
        product="KoboldCpp",
    ),
    "KoboldCpp with Ollama's text": Greeting(
        {**_OLLAMA_SIDE, "/": "Ollama is running", "/api/extra/version": _KOBOLD},
        listed={"created": 1, "owned_by": "koboldcpp"},
        open_paths=frozenset(("/", "/api/extra/version")),
        product="KoboldCpp",
    ),
    "Docker Model Runner": Greeting(
        {
            **_OLLAMA_SIDE,
            "/": "Docker Model Runner is running",
            "/version": {"version": "v1.0.3"},
            "/models": [{"id": "sha256:0", "tags": ["ai/smollm2"]}],
        },
        root="/engines/v1",
        listed={"created": 1, "owned_by": "docker", "dmr": {"context_window": 4096}},
        missing=_GO,
        open_paths=frozenset(("/",)),
        product="Docker Model Runner",
        aliases=("/engines/llama.cpp/v1/models",),
    ),
    "Lemonade": Greeting(
        {
            **_OLLAMA_SIDE,
            "/api/v1/health": {
                "status": "ok",
                "version": "9.0.4",
                "model_loaded": None,
                "all_models_loaded": [],
            },
            "/live": {"status": "ok"},
        },
        root="/api/v1",
        listed={"created": 1, "owned_by": "lemonade"},
        open_paths=frozenset(("/live",)),
        product="Lemonade",
        aliases=("/v1/models",),
    ),
    "an old Lemonade with Ollama's text": Greeting(
        {
            **_OLLAMA_SIDE,
            "/": "Ollama is running",
            "/api/v1/health": {"status": "ok", "model_loaded": "m"},
        },
        root="/api/v1",
        listed={"created": 1, "owned_by": "lemonade"},
        product="Lemonade",
    ),
    "Foundry Local": Greeting(
        {
            "/openai/status": {"endpoints": ["http://127.0.0.1:5272"], "modelDirPath": "/models"},
            "/openai/models": ["some-model"],
        },
        listed={"created": 1, "owned_by": "Microsoft"},
        product="Foundry Local",
    ),
    "MLX-LM": Greeting(
        {"/health": {"status": "ok"}},
        listed={"created": 1},
        missing=("404 Not Found", "Not Found"),
        headers=(("Server", "BaseHTTP/0.6 Python/3.12.4"),),
        product="MLX-LM",
    ),
    "GPT4All": Greeting(
        listed={"created": 0, "owned_by": "humanity", "root": "m", "permission": [{}]},
        missing=("404 Not Found", ""),
        product="GPT4All",
    ),
    "OpenVINO Model Server": Greeting(
        {
            "/v1/config": {"m": {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}},
            "/v2": {"name": "OpenVINO Model Server", "version": "2025.3", "extensions": {}},
        },
        root="/v3",
        listed={"created": 1, "owned_by": "OVMS"},
        missing=("404 Not Found", {"error": "Invalid request URL"}),
        product="OpenVINO Model Server",
    ),
    "Text Embeddings Inference": Greeting(
        {
            "/info": {
                "model_id": "some-embedding-model",
                "model_type": {"embedding": {"pooling": "cls"}},
                "version": "1.7.1",
            },
            "/health": "",
        },
        missing=("404 Not Found", ""),
        open_paths=frozenset(("/info", "/health")),
        has_list=False,
        product="Text Embeddings Inference",
    ),
    "Infinity": Greeting(
        {"/": ("307 Temporary Redirect", ""), "/health": {"unix": 1.5}},
        root="",
        listed={"created": 1, "owned_by": "infinity", "stats": {}, "backend": "torch"},
        headers=(("Location", "/docs"),),
        product="Infinity",
    ),
    "Infinity with a prefix": Greeting(
        {"/health": {"unix": 1.5}},
        listed={"created": 1, "owned_by": "infinity", "stats": {}, "backend": "torch"},
        product="Infinity",
    ),
    "Xinference": Greeting(
        {"/v1/cluster/info": [{"node_type": "Supervisor", "ip_address": "127.0.0.1"}]},
        listed={"created": 0, "owned_by": "xinference"},
        product="Xinference",
    ),
    "LiteLLM": Greeting(
        {
            "/": "LiteLLM: RUNNING",
            "/health/liveliness": "I'm alive!",
            "/health": {"healthy_endpoints": []},
        },
        # A proxy passes on the model list of the server behind it, which is vLLM here.
        listed={"created": 1, "owned_by": "vllm", "max_model_len": 4096},
        no_key=_NO_LOGIN,
        open_paths=frozenset(("/health/liveliness", "/health/readiness")),
        product="LiteLLM",
    ),
    "Open WebUI": Greeting(
        {
            "/api/config": {
                "status": True,
                "name": "Open WebUI",
                "version": "0.6.30",
                "features": {"auth": True},
            },
            "/": "<!doctype html><title>Open WebUI</title>",
        },
        root="/api",
        listed={"created": 1, "owned_by": "ollama"},
        missing=_PAGE,
        no_key=_NO_LOGIN,
        needs_key=("/api",),
        open_paths=frozenset(("/api/config", "/health")),
        product="Open WebUI",
    ),
}

#: Requests that have an effect on one of these servers, such as unloading its models. A client must
#: never send them to recognise a server (docs/reference/discovery.md, "Forbidden requests").
FORBIDDEN: Tuple[str, ...] = (
    *("/unload", "/health_generate", "/flush_cache", "/models/apply"),
    *("/props?", "/slots?"),
)

# The texts that a program sends as JSON strings. All other texts are sent unchanged.
_JSON_TEXTS = frozenset(("I'm alive!",))
_OWN_ROUTES = ("/completion", "/apply-template", "/tokenize", "/health")


class FakeProduct(FakeOpenAICompatible):
    """A fake of one of the programs in `GREETINGS`, for tests of discovery.

    It greets like the program. Below the path of the program's API, it lists its models, and chats
    like `FakeOpenAICompatible`.

    Args:
        product: A name in `GREETINGS`, such as ``Docker Model Runner``.
        models: As for `FakeServer`.
        prefix: A path in front of all paths, such as ``/llm``.
        api_key: The key that requests must have, except those for paths that the program leaves
            open.
        tls: As for `FakeServer`.
        one_byte_writes: As for `FakeServer`.
        port: As for `FakeServer`.

    Raises:
        ValueError: `GREETINGS` has no such name.
    """

    @exact_keywords
    def __init__(
        self,
        product: str,
        models: Models = None,
        *,
        prefix: str = "",
        api_key: Optional[str] = None,
        tls: Optional[ssl.SSLContext] = None,
        one_byte_writes: bool = False,
        port: int = 0,
    ) -> None:
        key, api_key = Sealed(api_key), None
        if product not in GREETINGS:
            raise ValueError(f"there is no {product!r}; choose one of {', '.join(GREETINGS)}")
        super().__init__(
            models,
            api_key=key.cell_contents,
            tls=tls,
            one_byte_writes=one_byte_writes,
            port=port,
        )
        #: The greeting.
        self.greeting: Greeting = GREETINGS[product]
        self.prefix: str = prefix
        root = prefix + self.greeting.root
        self.work_paths = tuple(
            path.replace("/v1", root, 1) for path in type(self).work_paths if path.startswith("/v1")
        )
        self.list_paths = (f"{root}/models",)

    @property
    def base_url(self) -> str:
        """The address including the path of the API."""
        return self.url + self.prefix + self.greeting.root

    def answer(self, exchange: Exchange) -> Answer:
        """Return the correct response to a request, with the headers of the program."""
        answer = super().answer(exchange)
        answer.headers += self.greeting.headers
        return answer

    def routes(self) -> Dict[Tuple[str, str], Callable[[Exchange], Answer]]:
        """Return the handlers of requests, by method and path."""
        inherited = super().routes()
        root, listed = self.greeting.root, inherited["GET", "/v1/models"]
        routes = {
            (method, path.replace("/v1", root, 1)): handler
            for (method, path), handler in inherited.items()
            if path not in _OWN_ROUTES and path != "/v1/models"
        }
        if self.greeting.has_list:
            for path in (f"{root}/models", *self.greeting.aliases):
                routes["GET", path] = listed
        for path, said in self.greeting.answers.items():
            routes["GET", path] = partial(_greet, said)
        return {(method, self.prefix + path): routes[method, path] for method, path in routes}

    def unknown(self, exchange: Exchange) -> Answer:
        """Return the response to a request for an unknown path."""
        return _answer(self.greeting.missing)

    def wrong_key(self, given: str) -> RefusedError:
        """Return the refusal of a missing or wrong API key."""
        status, body = self.greeting.no_key
        return RefusedError(body, status)

    def _check_key(self, exchange: Exchange) -> None:
        path = exchange.path[len(self.prefix) :]
        is_closed = path.startswith(self.greeting.needs_key)
        if is_closed and path not in self.greeting.open_paths:
            super()._check_key(exchange)

    def model_records(self) -> List[Dict[str, Any]]:
        """Return the entries of the list of models."""
        listed = self.greeting.listed
        return [{"id": model.name, "object": "model", **listed} for model in self.models]


def _greet(said: Any, _: Exchange) -> Answer:
    return _answer(said)


def _answer(said: Any) -> Answer:
    status, body = said if isinstance(said, tuple) else ("200 OK", said)
    is_text = isinstance(body, str) and body not in _JSON_TEXTS
    media = "text/html" if is_text and body.startswith("<") else "text/plain"
    return Answer(
        [body if is_text else dumps(body)],
        content_type=media if is_text else "application/json",
        status=status,
    )
