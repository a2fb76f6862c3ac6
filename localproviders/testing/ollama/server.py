"""A server that behaves like Ollama (the sections are those of ollama-api)."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Union

from localproviders.testing.answers import Answer, as_line, dumps
from localproviders.testing.fake import count_tokens, overflow_error
from localproviders.testing.ollama.answers import (
    DATE,
    RefusedError,
    as_listed,
    body_of,
    json_answer,
    text_answer,
)
from localproviders.testing.ollama.library import FakeLibrary
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Refusal, Reply, words_of


class FakeOllama(FakeLibrary):
    """A server that behaves like Ollama, for tests; use it in a ``with`` block.

    It lists, shows, loads, chats, completes and embeds as Ollama does, with its errors:
    unknown models, abilities that a model lacks, prompts that do not fit (tokens are
    words). It pulls what stands in its `registry`, pushes, makes, copies and deletes. Its
    arguments are those of `FakeServer`.
    """

    default_models: Sequence[Union[str, FakeModel]] = ("llama3.2", "nomic-embed-text")
    kinds = ("lines", "vectors", "list", "progress")
    work_paths = ("/api/chat", "/api/generate", "/api/embed")
    list_paths = ("/api/tags",)
    transfer_paths = ("/api/pull", "/api/push", "/api/create")
    #: What ``GET /api/version`` answers.
    version = "0.32.6"
    #: True lets it behave as a server from before ``/api/embed``.
    old_embeddings = False
    #: What ``GET /api/status`` answers; None is a server too old to have it.
    cloud_disabled: Optional[bool] = False
    #: Seconds that a model stays in memory where a request does not say.
    keep_alive_s: float = 300.0
    #: Seconds that a model stays listed after it was told to leave.
    unload_s: float = 0.0
    #: How much of each model is on a graphics card.
    vram_bytes: int = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: When each model leaves memory, by name.
        self.expires: Dict[str, datetime] = {}
        self._with_window: Set[str] = set()

    def answer(self, exchange: Exchange) -> Answer:
        """Give the good answer to a request."""
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
        """Bring a model into memory as `FakeServer` does, and start its timer (§4.5)."""
        self._evict()
        model = self._runner(model)
        asked = self._window(model, window)
        load_s = super().load(model, exchange, asked)
        kept_s = exchange.json.get("keep_alive")
        self.expires[model.name] = self._expiry(self.keep_alive_s if kept_s is None else kept_s)
        return load_s

    def _runner(self, model: FakeModel) -> FakeModel:
        """Give the model whose place in memory this one takes: files are loaded once."""
        files = self.owner_of_files(model)
        there = (m for m in self.models if m.name in self.loaded)
        return next((m for m in there if self.owner_of_files(m) == files), model)

    def _window(self, model: FakeModel, asked: Optional[int]) -> Optional[int]:
        """Give the window to load with: without a word, one that was asked for is given up."""
        if asked is not None:
            self._with_window.add(model.name)
            return min(asked, model.max_context_length)
        if model.name not in self._with_window:
            return None
        self._with_window.discard(model.name)
        return model.context_length

    def _expiry(self, seconds: float) -> datetime:
        now = datetime.now(timezone.utc)
        return now + (timedelta(days=292 * 365) if seconds < 0 else timedelta(seconds=seconds))

    def _evict(self) -> None:
        """Take what has outlived its timer out of memory."""
        now = datetime.now(timezone.utc)
        for name in [name for name, until in self.expires.items() if until <= now]:
            self.loaded.pop(name, None)
            self.expires.pop(name, None)

    def _ps(self, _: Exchange) -> Answer:
        self._evict()
        running = [
            {
                **self._entry(model),
                "size_vram": self.vram_bytes,
                "expires_at": self.expires.get(model.name, self._expiry(-1)).isoformat(),
                "context_length": window,
            }
            for model in self.models
            for window in [self.loaded.get(model.name)]
            if window
        ]
        return json_answer({"models": running})

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
        said = " ".join(str(message.get("content") or "") for message in body["messages"])
        return self._text_answer(exchange, body, model, said, _as_message)

    def _generate(self, exchange: Exchange) -> Answer:
        body = body_of(exchange)
        model = self._find(body.get("model"), "model {!r} not found")
        if not body.get("prompt"):
            return self._load_only(exchange, body, model)
        if body.get("suffix"):
            _need(model, "insert", "registry.ollama.ai/library/{} does not support insert")
        said = f"{body['prompt']} {body.get('suffix') or ''}"
        return self._text_answer(exchange, body, model, said, _as_response)

    def _load_only(self, exchange: Exchange, body: Mapping[str, Any], model: FakeModel) -> Answer:
        """Load or unload: a request without a prompt does nothing else (§2.5)."""
        if body.get("keep_alive") == 0:
            model = self._runner(model)
            if model.name in self.loaded:
                self.expires[model.name] = self._expiry(self.unload_s)
            self._evict()
            reason = "unload"
        else:
            _need(model, "chat", '"{}" does not support chat')
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
        said: str,
        fields: Callable[[str, str, List[Any]], Dict[str, Any]],
    ) -> Answer:
        self._check_abilities(body, model)
        load_s = self.load(model, exchange, _window(body))
        prompt_tokens = self._fitting(body, model, count_tokens(said))
        reply = self.next_reply(exchange)
        if isinstance(reply, Refusal):
            return self.refusal(reply)
        pieces, finish = _limited(words_of(reply.text), reply.finish_reason, body)
        thoughts, calls = words_of(reply.thinking), _calls(reply)
        base = _base(body, model, reply)
        last = {**base, **fields("", "", []), "done": True}
        last.update({"done_reason": finish} if finish else {})
        last.update(_metrics(prompt_tokens, len(pieces) + len(thoughts), load_s))
        if body.get("stream") is False:
            return json_answer({**last, **fields("".join(pieces), "".join(thoughts), calls)})
        parts: List[Tuple[str, str, List[Any]]] = [("", thought, []) for thought in thoughts]
        parts += [(text, "", []) for text in pieces]
        parts += [("", "", calls)] if calls else []
        records = [{**base, **fields(*part), "done": False} for part in parts]
        return Answer(
            [dumps(record) for record in [*records, last]],
            kind="lines",
            frame=as_line,
            begun=len(thoughts) + 1,
            content_type="application/x-ndjson",
            pause_s=reply.pause_s,
        )

    def _check_abilities(self, body: Mapping[str, Any], model: FakeModel) -> None:
        _need(model, "chat", '"{}" does not support chat')
        if body.get("tools"):
            _need(model, "tools", "registry.ollama.ai/library/{} does not support tools")
        if body.get("think"):
            _need(model, "thinking", '"{}" does not support thinking')

    def _fitting(self, body: Mapping[str, Any], model: FakeModel, tokens: int) -> int:
        """Cut a prompt that does not fit, or refuse it in the runner's words (§4.7)."""
        window = self.loaded[self._runner(model).name]
        if tokens <= window:
            return tokens
        if body.get("truncate") is not False:
            return window
        words = json.dumps(overflow_error(tokens, window))
        raise RefusedError(words, "400 Bad Request")

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
        """Answer the superseded route (§2.8)."""
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


def _need(model: FakeModel, ability: str, words: str) -> None:
    if not model.can(ability):
        raise RefusedError(words.format(as_listed(model.name)), "400 Bad Request")


def _window(body: Mapping[str, Any]) -> Optional[int]:
    return (body.get("options") or {}).get("num_ctx")


def _limited(
    pieces: List[str], finish: Optional[str], body: Mapping[str, Any]
) -> Tuple[List[str], Optional[str]]:
    most = (body.get("options") or {}).get("num_predict")
    if most is None or most < 0 or most >= len(pieces):
        return pieces, finish
    return pieces[:most], "length"


def _base(body: Mapping[str, Any], model: FakeModel, reply: Reply) -> Dict[str, Any]:
    """Give what every record of an answer begins with."""
    remote = reply.remote_host or model.remote_host
    named = {"model": reply.model or body["model"]}
    return {**named, **({"remote_host": remote} if remote else {}), "created_at": DATE}


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
    # Zero numbers are left out (§8).
    return {name: number for name, number in numbers.items() if number}
