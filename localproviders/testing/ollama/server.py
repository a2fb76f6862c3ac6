"""A fake server that behaves like Ollama, as docs/reference/ollama.md describes it."""

from __future__ import annotations

from typing import Callable, Dict, Optional, Sequence, Tuple, Union

from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer
from localproviders.testing.decisions import SYSTEM_ONE
from localproviders.testing.fake import FakeOptions, FakeServer, Models
from localproviders.testing.ollama.answers import RefusedError, json_answer, text_answer
from localproviders.testing.ollama.decisions import FakeDecisions
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel

#: The methods that a path accepts, and the function that answers requests for this path.
_Route = Tuple[str, Callable[[Exchange], Answer]]


class FakeOllama(FakeDecisions):
    """A fake server that behaves like Ollama, for tests; use it in a ``with`` block.

    The server lists, shows and loads models, chats, completes and embeds like Ollama. It also sends
    Ollama's errors for unknown models, missing abilities, wrong types of fields, and prompts that
    do not fit the context window. Each word counts as one token. The models of `registry` can be
    pulled. Models can also be pushed, created, copied and deleted. Under ``/v1`` the server speaks
    OpenAI's dialect: models, chat completions, completions and embeddings. A decision model answers
    typed questions at ``/v1/systemone``. The arguments are those of `FakeServer`. A real local
    Ollama checks no API keys; with an `api_key`, the fake behaves like ollama.com or a proxy in
    front of Ollama, and refuses every request without this key.
    """

    default_models: Sequence[Union[str, FakeModel]] = ("llama3.2", "nomic-embed-text")
    kinds: Tuple[str, ...] = ("lines", "events", "vectors", "list", "progress", "systemone")
    work_paths: Tuple[str, ...] = (
        "/api/chat",
        "/api/generate",
        "/api/embed",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        SYSTEM_ONE,
    )
    list_paths: Tuple[str, ...] = ("/api/tags", "/v1/models")
    transfer_paths: Tuple[str, ...] = ("/api/pull", "/api/push", "/api/create")
    #: Version that ``GET /api/version`` returns.
    version = "0.40.5"
    #: Whether the server behaves like an old server, which has no ``/api/embed``.
    old_embeddings = False
    #: The routes of decision requests that the server has; none before version 0.35.0.
    decision_routes: Sequence[str] = (SYSTEM_ONE,)
    #: Whether ``GET /api/status`` reports that the cloud is disabled; None means an old server
    #: without this route.
    cloud_disabled: Optional[bool] = False

    @exact_keywords
    @show_keywords(FakeOptions, FakeServer)
    def __init__(self, models: Models = None, **options: Unpack[FakeOptions]) -> None:
        given, options = Sealed(options), FakeOptions()
        super().__init__(models, **given.cell_contents)

    @property
    def base_url(self) -> str:
        """The address including ``/v1``, for clients of OpenAI's dialect."""
        return self.url_of("/v1")

    def answer(self, exchange: Exchange) -> Answer:
        """Return the correct response to a request."""
        try:
            self._check_key(exchange)
            return self._route(exchange)
        except RefusedError as refused:
            # System One is not part of OpenAI's dialect, although its path also begins with
            # ``/v1``.
            if exchange.path.startswith("/v1/") and not exchange.path.startswith(SYSTEM_ONE):
                return self.v1_error(refused)
            return json_answer({"error": refused.text}, refused.status, media=refused.media)

    def _check_key(self, exchange: Exchange) -> None:
        given = exchange.headers.get("authorization", "")
        if self.api_key is not None and given != f"Bearer {self.api_key}":
            raise RefusedError("unauthorized", "401 Unauthorized")

    def _route(self, exchange: Exchange) -> Answer:
        path = exchange.path.partition("?")[0]
        for start in ("/api/blobs/", "/v1/models/"):
            path = start if path.startswith(start) else path
        methods, make = self._routes().get(path, ("", None))
        if make is None:
            return text_answer("404 Not Found", "404 page not found")
        if exchange.method not in methods.split():
            return text_answer("405 Method Not Allowed", "405 method not allowed")
        return make(exchange)

    def _routes(self) -> Dict[str, _Route]:
        routes: Dict[str, _Route] = {
            "/": ("GET HEAD", _is_running),
            "/api/version": ("GET HEAD", lambda _: json_answer({"version": self.version})),
            "/api/tags": ("GET HEAD", self._tags),
            "/api/ps": ("GET", self._ps),
            "/api/show": ("POST", self._show),
            "/api/chat": ("POST", self._chat),
            "/api/generate": ("POST", self._generate),
            "/api/embeddings": ("POST", self._embed_one),
            "/api/embed": ("POST", self._embed),
            "/api/status": ("GET", self._status),
            "/api/pull": ("POST", self._pull),
            "/api/push": ("POST", self._push),
            "/api/create": ("POST", self._create),
            "/api/copy": ("POST", self._copy),
            "/api/delete": ("DELETE", self._delete),
            "/api/blobs/": ("HEAD POST", self._blob),
            "/v1/models": ("GET", self._v1_models),
            "/v1/models/": ("GET", self._v1_model),
            "/v1/chat/completions": ("POST", self._v1_chat),
            "/v1/completions": ("POST", self._v1_complete),
            "/v1/embeddings": ("POST", self._v1_embeddings),
        }
        routes.update(dict.fromkeys(self.decision_routes, ("POST", self._system_one)))
        if self.old_embeddings:
            del routes["/api/embed"]
        return routes

    def _status(self, _: Exchange) -> Answer:
        if self.cloud_disabled is None:
            return text_answer("404 Not Found", "404 page not found")
        source = "env" if self.cloud_disabled else "none"
        return json_answer({"cloud": {"disabled": self.cloud_disabled, "source": source}})


def _is_running(_: Exchange) -> Answer:
    return text_answer("200 OK", "Ollama is running", "text/plain; charset=utf-8")
