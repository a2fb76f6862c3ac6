"""A fake server that behaves like Ollama, as docs/reference/ollama.md describes it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Union

from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer, as_line, dumps
from localproviders.testing.fake import (
    FakeOptions,
    FakeServer,
    Models,
    count_tokens,
    overflow_error,
    silence_s,
)
from localproviders.testing.ollama.answers import (
    DATE,
    RefusedError,
    as_listed,
    body_of,
    json_answer,
    keep_alive_s,
    text_answer,
)
from localproviders.testing.ollama.library import DIGEST, SIZE, FakeLibrary
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Refusal, Reply, words_of

_TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)
_MOST_REPETITIONS = 31


class FakeOllama(FakeLibrary):
    """A fake server that behaves like Ollama, for tests; use it in a ``with`` block.

    The server lists, shows and loads models, chats, completes and embeds like Ollama. It also
    sends Ollama's errors for unknown models, missing abilities, and prompts that do not fit the
    context window. Each word counts as one token. The models of `registry` can be pulled. Models
    can also be pushed, created, copied and deleted. The arguments are those of `FakeServer`, but
    `api_key` has no effect: like Ollama, this server checks no keys.
    """

    default_models: Sequence[Union[str, FakeModel]] = ("llama3.2", "nomic-embed-text")
    kinds: Tuple[str, ...] = ("lines", "vectors", "list", "progress")
    work_paths: Tuple[str, ...] = ("/api/chat", "/api/generate", "/api/embed")
    list_paths: Tuple[str, ...] = ("/api/tags",)
    transfer_paths: Tuple[str, ...] = ("/api/pull", "/api/push", "/api/create")
    #: Version that ``GET /api/version`` returns.
    version = "0.32.6"
    #: Whether the server behaves like an old server, which has no ``/api/embed``.
    old_embeddings = False
    #: Value that ``GET /api/status`` returns; None means an old server without this route.
    cloud_disabled: Optional[bool] = False
    #: Seconds that a model stays in memory if a request has no ``keep_alive``.
    keep_alive_s: float = 300.0
    #: Seconds that a model stays listed after a request to unload it.
    unload_s: float = 0.0
    #: Whether the server knows ``_debug_render_only``, with which it returns the prompt.
    renders: bool = True
    #: Whether the server ends an answer without its last record after 31 equal words in a row.
    #: Ollama does this for GGUF models.
    repeat_guard: bool = False
    #: Bytes of each model that are in GPU memory.
    vram_bytes: int = 0

    @exact_keywords
    @show_keywords(FakeOptions, FakeServer)
    def __init__(self, models: Models = None, **options: Unpack[FakeOptions]) -> None:
        given, options = Sealed(options), FakeOptions()
        super().__init__(models, **given.cell_contents)
        #: Time at which each model is unloaded, by name.
        self.expires: Dict[str, datetime] = {}
        self._with_window: Set[str] = set()
        # Models that are loaded with a window that does not slide.
        self._without_shift: Set[str] = set()

    def answer(self, exchange: Exchange) -> Answer:
        """Return the correct response to a request."""
        path = exchange.path.partition("?")[0]
        if path.startswith("/api/blobs/"):
            path = "/api/blobs/"
        routes: Mapping[str, Tuple[str, Callable[[Exchange], Answer]]] = {
            "/": ("GET HEAD", lambda _: text_answer("200 OK", "Ollama is running")),
            "/api/version": ("GET HEAD", lambda _: json_answer({"version": self.version})),
            "/api/tags": ("GET HEAD", self._tags),
            "/api/ps": ("GET", self._ps),
            "/api/show": ("POST", self._show),
            "/api/chat": ("POST", self._chat),
            "/api/generate": ("POST", self._generate),
            "/api/embeddings": ("POST", self._embed_one),
            **({} if self.old_embeddings else {"/api/embed": ("POST", self._embed)}),
            "/api/status": ("GET", self._status),
            "/api/pull": ("POST", self._pull),
            "/api/push": ("POST", self._push),
            "/api/create": ("POST", self._create),
            "/api/copy": ("POST", self._copy),
            "/api/delete": ("DELETE", self._delete),
            "/api/blobs/": ("HEAD POST", self._blob),
        }
        if path not in routes:
            return text_answer("404 Not Found", "404 page not found")
        methods, make = routes[path]
        if exchange.method not in methods.split():
            return text_answer("405 Method Not Allowed", "405 method not allowed")
        try:
            return make(exchange)
        except RefusedError as refused:
            return json_answer({"error": refused.text}, refused.status)

    # --- memory ---------------------------------------------------------------------------

    def load(self, model: FakeModel, exchange: Exchange, window: Optional[int] = None) -> float:
        """Load a model, start its keep-alive timer, and return the seconds of the load."""
        self._evict()
        model = self._runner(model)
        window = self._window(model, window) or self.loaded.get(model.name)
        if self._changes_shift(model, exchange):
            self.loaded.pop(model.name, None)
        load_s = super().load(model, exchange, window)
        seconds = keep_alive_s(exchange.json)
        self.expires[model.name] = self._expiry(self.keep_alive_s if seconds is None else seconds)
        return load_s

    def _runner(self, model: FakeModel) -> FakeModel:
        """Return the loaded model with the same files, or else this model.

        The server loads the same files only once.
        """
        files = self.owner_of_files(model)
        loaded = (m for m in self.models if m.name in self.loaded)
        return next((m for m in loaded if self.owner_of_files(m) == files), model)

    def _window(self, model: FakeModel, requested: Optional[int]) -> Optional[int]:
        """Return the context window with which a model is loaded; None keeps the current window.

        A request without a window resets the window of an earlier request.
        """
        if requested is not None:
            self._with_window.add(model.name)
            return min(requested, model.max_context_length)
        if model.name not in self._with_window:
            return None
        self._with_window.discard(model.name)
        return model.context_length

    def _changes_shift(self, model: FakeModel, exchange: Exchange) -> bool:
        """Return whether a request loads a model again because of ``shift``.

        Source: docs/reference/ollama.md, "Options".
        """
        if exchange.path.startswith("/api/embed"):  # embeddings have no such field
            return False
        slides = exchange.json.get("shift") is not False
        if slides == (model.name not in self._without_shift):
            return False
        (self._without_shift.discard if slides else self._without_shift.add)(model.name)
        return True

    def _expiry(self, seconds: float) -> datetime:
        ever_s = 292 * 365 * 86400.0
        ends_in_s = ever_s if seconds < 0 else min(seconds, ever_s)
        return datetime.now(timezone.utc) + timedelta(seconds=ends_in_s)

    def _evict(self) -> None:
        """Unload the models whose timer has expired."""
        now = datetime.now(timezone.utc)
        for name in [name for name, until in self.expires.items() if until <= now]:
            self.loaded.pop(name, None)
            self.expires.pop(name, None)

    def _ps(self, _: Exchange) -> Answer:
        self._evict()
        running = [
            self._running(model, window)
            for model in [*self.models, *self.deleted]
            for window in [self.loaded.get(model.name)]
            if window
        ]
        return json_answer({"models": running})

    def _running(self, model: FakeModel, window: int) -> Dict[str, Any]:
        name = as_listed(model.name)
        return {
            "name": name,
            "model": name,
            "size": SIZE,
            "digest": DIGEST,
            "details": self._details(),
            "expires_at": self.expires.get(model.name, self._expiry(-1)).isoformat(),
            "size_vram": self.vram_bytes,
            "context_length": window,
        }

    def _status(self, _: Exchange) -> Answer:
        if self.cloud_disabled is None:
            return text_answer("404 Not Found", "404 page not found")
        source = "env" if self.cloud_disabled else "none"
        return json_answer({"cloud": {"disabled": self.cloud_disabled, "source": source}})

    # --- text -----------------------------------------------------------------------------

    def _chat(self, exchange: Exchange) -> Answer:
        body = body_of(exchange)
        model = self._find(body.get("model"), "model {!r} not found")
        if not body.get("messages"):
            return self._load_only(exchange, body, model)
        prompt = " ".join(str(message.get("content") or "") for message in body["messages"])
        return self._text_answer(exchange, body, model, prompt, _as_message)

    def _generate(self, exchange: Exchange) -> Answer:
        body = body_of(exchange)
        model = self._find(body.get("model"), "model {!r} not found")
        if not body.get("prompt"):
            return self._load_only(exchange, body, model)
        if body.get("suffix"):
            _require_ability(
                model, "insert", "registry.ollama.ai/library/{} does not support insert"
            )
        prompt = f"{body['prompt']} {body.get('suffix') or ''}"
        return self._text_answer(exchange, body, model, prompt, _as_response)

    def _load_only(self, exchange: Exchange, body: Mapping[str, Any], model: FakeModel) -> Answer:
        """Answer a request without a prompt, which loads or unloads the model."""
        if keep_alive_s(body) == 0:
            model = self._runner(model)
            if model.name in self.loaded:
                self.expires[model.name] = self._expiry(self.unload_s)
            self._evict()
            reason = "unload"
        else:
            _require_ability(model, "chat", '"{}" does not support chat')
            self.load(model, exchange, _window(body))
            reason = "load"
        record = {"model": body["model"], "created_at": DATE, "done": True}
        remote = {"remote_host": model.remote_host} if model.remote_host else {}
        return json_answer({**record, **remote, "done_reason": reason, **_as_message("", "", [])})

    def _text_answer(
        self,
        exchange: Exchange,
        body: Mapping[str, Any],
        model: FakeModel,
        prompt: str,
        fields: Callable[[str, str, List[Any]], Dict[str, Any]],
    ) -> Answer:
        self._check_capabilities(body, model)
        load_s = self.load(model, exchange, _window(body))
        if body.get("_debug_render_only") and self.renders:
            return json_answer(_as_rendered(body, prompt))
        window = self.loaded[self._runner(model).name]
        prompt_tokens = _fit_prompt(body, window, prompt)
        reply = self.next_reply(exchange)
        if isinstance(reply, Refusal):
            return self.refusal(reply)
        pieces, finish = _cut_to_limit(words_of(reply.text), reply.finish_reason, body)
        thoughts, calls = words_of(reply.thinking), _calls(reply)
        limit = _allocated(window) - prompt_tokens
        if body.get("shift") is False and len(thoughts) + len(pieces) > limit:
            thoughts, pieces, calls = thoughts[:limit], pieces[: max(0, limit - len(thoughts))], []
            finish = "length"
        is_ended = self.repeat_guard and _end_at_repetition(pieces)
        base = _first_fields(body, model, reply)
        last = {**base, **fields("", "", []), "done": not is_ended}
        if not is_ended:
            last.update({"done_reason": finish} if finish else {})
            last.update(_metrics(prompt_tokens, len(pieces) + len(thoughts), load_s))
        if body.get("stream") is False:
            whole = {**last, **fields("".join(pieces), "".join(thoughts), calls)}
            made = len(pieces) + len(thoughts)
            return json_answer(whole).replace(pause_s=silence_s(reply, made))
        parts: List[Tuple[str, str, List[Any]]] = [("", thought, []) for thought in thoughts]
        parts += [(text, "", []) for text in pieces]
        parts += [("", "", calls)] if calls and not is_ended else []
        records = [{**base, **fields(*part), "done": False} for part in parts]
        return Answer(
            [dumps(record) for record in [*records, *([] if is_ended else [last])]],
            kind="lines",
            frame=as_line,
            begun=len(thoughts) + 1,
            content_type="application/x-ndjson",
            pause_s=reply.pause_s,
        )

    def _check_capabilities(self, body: Mapping[str, Any], model: FakeModel) -> None:
        _require_ability(model, "chat", '"{}" does not support chat')
        if body.get("tools"):
            _require_ability(model, "tools", "registry.ollama.ai/library/{} does not support tools")
        if body.get("think"):
            _require_ability(model, "thinking", '"{}" does not support thinking')

    # --- vectors --------------------------------------------------------------------------

    def _embed(self, exchange: Exchange) -> Answer:
        body = body_of(exchange)
        model = self._find(body.get("model"), 'model "{}" not found, try pulling it first')
        load_s = self.load(model, exchange, _window(body))
        given = body.get("input") or []
        texts = [given] if isinstance(given, str) else given
        refusal = self.refuses(texts)
        if refusal is not None:
            return self.refusal(refusal)
        if not model.can("embeddings"):
            raise RefusedError("this model does not support embeddings", "501 Not Implemented")
        tokens = [count_tokens(text) for text in texts]
        if (
            body.get("truncate") is False
            and max(tokens, default=0) > self.loaded[self._runner(model).name]
        ):
            raise RefusedError("the input length exceeds the context length", "400 Bad Request")
        length = body.get("dimensions") or model.dimensions
        answer = {
            "model": body["model"],
            "embeddings": [self.vector_of(text, min(length, model.dimensions)) for text in texts],
            **_metrics(sum(tokens), 0, load_s),
        }
        return json_answer(answer, kind="vectors")

    def _embed_one(self, exchange: Exchange) -> Answer:
        """Answer a request to ``/api/embeddings``, which ``/api/embed`` has replaced."""
        body = body_of(exchange)
        model = self._find(body.get("model"), 'model "{}" not found, try pulling it first')
        self.load(model, exchange, _window(body))
        text = body.get("prompt") or ""
        refusal = self.refuses([text])
        if refusal is not None:
            return self.refusal(refusal)
        if count_tokens(text) > self.loaded[self._runner(model).name]:
            words = "the input length exceeds the context length"
            raise RefusedError(words, "500 Internal Server Error")
        return json_answer({"embedding": self.vector_of(text, model.dimensions) if text else []})


def _require_ability(model: FakeModel, ability: str, words: str) -> None:
    if not model.can(ability):
        raise RefusedError(words.format(as_listed(model.name)), "400 Bad Request")


def _window(body: Mapping[str, Any]) -> Optional[int]:
    return (body.get("options") or {}).get("num_ctx")


def _allocated(window: int) -> int:
    """Return the window that the runner allocates for a requested one.

    Source: docs/reference/ollama.md, "Context window".
    """
    return -(-window // 256) * 256


def _fit_prompt(body: Mapping[str, Any], window: int, prompt: str) -> int:
    """Return the number of prompt tokens; cut or refuse a prompt that does not fit.

    Source: docs/reference/ollama.md, "Context window".
    """
    tokens, limit = count_tokens(prompt), _allocated(window)
    if body.get("truncate") is False and tokens > limit:
        raise RefusedError(json.dumps(overflow_error(tokens, limit)))
    if body.get("truncate") is False or tokens <= window:
        return tokens
    kept = _drop_oldest(body.get("messages") or [], window) or tokens
    if kept <= limit:
        return kept
    if body.get("shift") is False:
        raise RefusedError(_TOO_LONG)
    return limit // 2  # the middle of the last message is cut out


def _drop_oldest(messages: Sequence[Mapping[str, Any]], window: int) -> int:
    """Return the number of tokens that are left after the oldest messages have been dropped.

    Messages are dropped until the rest fits into the window. System messages and the last message
    are never dropped.
    """
    sizes = [count_tokens(str(message.get("content") or "")) for message in messages]
    size = sum(sizes)
    for message, tokens in list(zip(messages, sizes))[:-1]:
        if size > window and message.get("role") != "system":
            size -= tokens
    return size


def _cut_to_limit(
    pieces: List[str], finish: Optional[str], body: Mapping[str, Any]
) -> Tuple[List[str], Optional[str]]:
    limit = (body.get("options") or {}).get("num_predict")
    if limit is None or limit < 0 or limit >= len(pieces):
        return pieces, finish
    return pieces[:limit], "length"


def _end_at_repetition(pieces: List[str]) -> bool:
    """Remove the pieces after 31 equal ones in a row; return whether any piece was removed.

    Source: docs/reference/ollama.md, "Streaming".
    """
    found, times = "", 0
    for at, piece in enumerate(map(str.strip, pieces)):
        found, times = (piece, times + 1) if piece == found else (piece, 1)
        if times > _MOST_REPETITIONS:
            del pieces[at:]
            return True
    return False


def _first_fields(body: Mapping[str, Any], model: FakeModel, reply: Reply) -> Dict[str, Any]:
    """Return the fields with which every record of a response begins."""
    remote = reply.remote_host or model.remote_host
    named = {"model": reply.model or body["model"]}
    return {**named, **({"remote_host": remote} if remote else {}), "created_at": DATE}


def _as_rendered(body: Mapping[str, Any], prompt: str) -> Dict[str, Any]:
    """Return the record with a prompt, which is the texts of the request and its tools.

    Source: docs/reference/ollama.md, "Rendered prompts".
    """
    text = " ".join([prompt, *map(dumps, body.get("tools") or ())])
    blank = {"message": {"role": "", "content": ""}, "done": False}
    debug = {"rendered_template": text}
    return {"model": body["model"], "created_at": DATE, **blank, "_debug_info": debug}


def _calls(reply: Reply) -> List[Dict[str, Any]]:
    return [
        {
            "id": call.id,
            "function": {"index": index, "name": call.name, "arguments": dict(call.arguments)},
        }
        for index, call in enumerate(reply.tool_calls)
    ]


def _as_message(text: str, thinking: str, calls: List[Any]) -> Dict[str, Any]:
    more = {"thinking": thinking, "tool_calls": calls}
    kept = {name: value for name, value in more.items() if value}
    return {"message": {"role": "assistant", "content": text, **kept}}


def _as_response(text: str, thinking: str, calls: List[Any]) -> Dict[str, Any]:
    return {"response": text, **({"thinking": thinking} if thinking else {})}


def _metrics(prompt_tokens: int, answer_tokens: int, load_s: float) -> Dict[str, int]:
    numbers = {
        "total_duration": int(load_s * 1e9) + 155544425,
        "load_duration": int(load_s * 1e9) + 1121774,
        "prompt_eval_count": prompt_tokens,
        "prompt_eval_duration": 42642000 if answer_tokens else 0,
        "eval_count": answer_tokens,
        "eval_duration": 108380000 if answer_tokens else 0,
    }
    # Ollama leaves out numbers that are 0 (docs/reference/ollama.md, "Chat").
    return {name: number for name, number in numbers.items() if number}
