"""A server that behaves like Ollama (the sections are those of ollama-api)."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from localproviders.ollama.names import parse_name, same_model, split_source
from localproviders.testing.answers import Answer, as_line, dumps
from localproviders.testing.fake import FakeServer, count_tokens
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Refusal, Reply, words_of

# Our words for what a model can do, and the server's (§6.1).
_ABILITIES = {
    "chat": "completion",
    "tools": "tools",
    "insert": "insert",
    "vision": "vision",
    "audio": "audio",
    "embeddings": "embedding",
    "thinking": "thinking",
}

_DATE = "2026-11-24T07:35:50.811290692Z"


class FakeOllama(FakeServer):
    """A server that behaves like Ollama, for tests; use it in a ``with`` block.

    It lists, shows, loads, chats, completes and embeds as Ollama does, with its errors:
    unknown models, abilities that a model lacks, prompts that do not fit (tokens are
    words). Its arguments are those of `FakeServer`.
    """

    default_models: Sequence[Union[str, FakeModel]] = ("llama3.2", "nomic-embed-text")
    kinds = ("lines", "vectors", "list")
    work_paths = ("/api/chat", "/api/generate", "/api/embed")
    list_paths = ("/api/tags",)
    #: What ``GET /api/version`` answers.
    version = "0.32.6"
    #: True lets it behave as a server from before ``/api/embed``.
    old_embeddings = False

    def answer(self, exchange: Exchange) -> Answer:
        """Give the good answer to a request."""
        path = exchange.path.partition("?")[0]
        routes: Mapping[str, Tuple[str, Callable[[Exchange], Answer]]] = {
            "/": ("GET HEAD", lambda _: _text("200 OK", "Ollama is running")),
            "/api/version": ("GET HEAD", lambda _: _json({"version": self.version})),
            "/api/tags": ("GET HEAD", self._tags),
            "/api/ps": ("GET", self._ps),
            "/api/show": ("POST", self._show),
            "/api/chat": ("POST", self._chat),
            "/api/generate": ("POST", self._generate),
            "/api/embeddings": ("POST", self._embed_one),
            **({} if self.old_embeddings else {"/api/embed": ("POST", self._embed)}),
        }
        if path not in routes:
            return _text("404 Not Found", "404 page not found")
        methods, make = routes[path]
        if exchange.method not in methods.split():
            return _text("405 Method Not Allowed", "405 method not allowed")
        try:
            return make(exchange)
        except _RefusedError as refused:
            return _json({"error": refused.text}, refused.status)

    # --- models ---------------------------------------------------------------------------

    def _tags(self, _: Exchange) -> Answer:
        return _json({"models": [self._entry(model) for model in self.models]}, kind="list")

    def _entry(self, model: FakeModel) -> Dict[str, Any]:
        name = _listed(model.name)
        remote = {"remote_host": model.remote_host, "remote_model": model.name}
        return {
            "name": name,
            "model": name,
            **(remote if model.remote_host else {}),
            "modified_at": _DATE,
            "size": 384 if model.remote_host else 2019393189,
            "digest": "a80c4f17acd5" + "0" * 52,
            "details": {
                **self._details(),
                "context_length": model.max_context_length,
                "embedding_length": model.dimensions,
            },
            "capabilities": _capabilities(model),
        }

    def _details(self) -> Dict[str, Any]:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        }

    def _ps(self, _: Exchange) -> Answer:
        running = [
            {**self._entry(model), "size_vram": 0, "expires_at": _DATE, "context_length": window}
            for model in self.models
            for window in [self.loaded.get(model.name)]
            if window
        ]
        return _json({"models": running})

    def _show(self, exchange: Exchange) -> Answer:
        body = _body(exchange)
        model = self._find(body.get("model") or body.get("name"), "model {!r} not found")
        info = {
            "general.architecture": "llama",
            "llama.context_length": model.max_context_length,
            "llama.embedding_length": model.dimensions,
        }
        return _json(
            {
                "details": self._details(),
                "model_info": info,
                "capabilities": _capabilities(model),
                "modified_at": _DATE,
            }
        )

    def _find(self, name: Any, missing: str) -> FakeModel:
        if not name:
            raise _RefusedError("model is required", "400 Bad Request")
        base = split_source(str(name))[0]
        for model in self.models:
            if same_model(model.name, str(name)) or same_model(model.name, base):
                return model
        raise _RefusedError(missing.format(_listed(str(name))), "404 Not Found")

    # --- text -----------------------------------------------------------------------------

    def _chat(self, exchange: Exchange) -> Answer:
        body = _body(exchange)
        model = self._find(body.get("model"), "model {!r} not found")
        if not body.get("messages"):
            return self._load_only(exchange, body, model)
        said = " ".join(str(message.get("content") or "") for message in body["messages"])
        return self._text_answer(exchange, body, model, said, _as_message)

    def _generate(self, exchange: Exchange) -> Answer:
        body = _body(exchange)
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
            self.loaded.pop(model.name, None)
            reason = "unload"
        else:
            self.load(model, exchange, _window(body))
            reason = "load"
        record = {"model": body["model"], "created_at": _DATE, "done": True}
        return _json({**record, "done_reason": reason, **_as_message("", "", [])})

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
            return _json({**last, **fields("".join(pieces), "".join(thoughts), calls)})
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
        window = self.loaded[model.name]
        if tokens <= window:
            return tokens
        if body.get("truncate") is not False:
            return window
        error = {
            "code": 400,
            "message": f"request ({tokens} tokens) exceeds the available context size "
            f"({window} tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": tokens,
            "n_ctx": window,
        }
        raise _RefusedError(json.dumps({"error": error}), "400 Bad Request")

    # --- vectors --------------------------------------------------------------------------

    def _embed(self, exchange: Exchange) -> Answer:
        body = _body(exchange)
        model = self._find(body.get("model"), 'model "{}" not found, try pulling it first')
        load_s = self.load(model, exchange)
        given = body.get("input") or []
        texts = [given] if isinstance(given, str) else given
        refusal = self.refuses(texts)
        if refusal is not None:
            return self.refusal(refusal)
        if not model.can("embeddings"):
            raise _RefusedError("this model does not support embeddings", "501 Not Implemented")
        tokens = [count_tokens(text) for text in texts]
        if body.get("truncate") is False and max(tokens, default=0) > self.loaded[model.name]:
            raise _RefusedError("the input length exceeds the context length", "400 Bad Request")
        length = body.get("dimensions") or model.dimensions
        answer = {
            "model": body["model"],
            "embeddings": [self.vector_of(text, min(length, model.dimensions)) for text in texts],
            **_metrics(sum(tokens), 0, load_s),
        }
        return _json(answer, kind="vectors")

    def _embed_one(self, exchange: Exchange) -> Answer:
        """Answer the superseded route (§2.8)."""
        body = _body(exchange)
        model = self._find(body.get("model"), 'model "{}" not found, try pulling it first')
        self.load(model, exchange)
        text = body.get("prompt") or ""
        refusal = self.refuses([text])
        if refusal is not None:
            return self.refusal(refusal)
        if count_tokens(text) > self.loaded[model.name]:
            words = "the input length exceeds the context length"
            raise _RefusedError(words, "500 Internal Server Error")
        return _json({"embedding": self.vector_of(text, model.dimensions) if text else []})


class _RefusedError(Exception):
    def __init__(self, text: str, status: str) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def _body(exchange: Exchange) -> Mapping[str, Any]:
    if not exchange.body:
        raise _RefusedError("missing request body", "400 Bad Request")
    try:
        body = exchange.json
    except ValueError as error:
        raise _RefusedError(str(error), "400 Bad Request") from None
    if not isinstance(body, dict):
        raise _RefusedError("json: cannot unmarshal into Go value", "400 Bad Request")
    return body


def _need(model: FakeModel, ability: str, words: str) -> None:
    if not model.can(ability):
        raise _RefusedError(words.format(_listed(model.name)), "400 Bad Request")


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
    return {**named, **({"remote_host": remote} if remote else {}), "created_at": _DATE}


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


def _capabilities(model: FakeModel) -> List[str]:
    return [theirs for ours, theirs in _ABILITIES.items() if model.can(ours)]


def _listed(name: str) -> str:
    """Give the shortest form, always with a tag (§7.3)."""
    found = parse_name(name)
    owner = "" if found.namespace == "library" else f"{found.namespace}/"
    return f"{owner}{found.model}:{found.tag}"


def _json(value: Any, status: str = "200 OK", kind: str = "other") -> Answer:
    media = "application/json; charset=utf-8"
    return Answer([dumps(value)], kind=kind, content_type=media, status=status)


def _text(status: str, text: str) -> Answer:
    return Answer([text], content_type="text/plain", status=status)
