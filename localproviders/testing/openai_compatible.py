"""A fake server of the OpenAI dialect, and the base class of the fake LM Studio."""

from __future__ import annotations

import base64
from array import array
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from localproviders.testing.answers import Answer, as_event, dumps
from localproviders.testing.fake import FakeServer, count_tokens, overflow_error
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Refusal, Reply, words_of

_CREATED = 1795333923


class RefusedError(Exception):
    """An exception for a refusal: the status and the JSON body of the response."""

    def __init__(self, body: Any, status: str = "400 Bad Request") -> None:
        super().__init__(status)
        self.body = body
        self.status = status


class FakeOpenAICompatible(FakeServer):
    """A fake server of the OpenAI dialect, similar to llama.cpp's.

    Use it in a ``with`` block, and pass its `base_url` to `OpenAICompatibleProvider`. Like
    llama.cpp, it answers requests for an unknown model with its first model of the right type.
    The arguments are those of `FakeServer`.
    """

    default_models: Sequence[Union[str, FakeModel]] = ("some-model", "some-embedding-model")
    kinds: Tuple[str, ...] = ("events", "vectors", "list")
    work_paths: Tuple[str, ...] = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
    list_paths: Tuple[str, ...] = ("/v1/models", "/api/v1/models", "/api/v0/models")

    @property
    def base_url(self) -> str:
        """The address including ``/v1``, which clients of this dialect require."""
        return self.url + "/v1"

    def answer(self, exchange: Exchange) -> Answer:
        """Return the correct response to a request."""
        try:
            self._check_key(exchange)
            route = self.routes().get((exchange.method, exchange.path.partition("?")[0]))
            return self.unknown(exchange) if route is None else route(exchange)
        except RefusedError as refused:
            return self.json(refused.body, refused.status)

    def routes(self) -> Dict[Tuple[str, str], Callable[[Exchange], Answer]]:
        """Return the handlers of requests, by method and path."""
        return {
            ("GET", "/health"): lambda _: self.json({"status": "ok"}),
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._complete,
            ("POST", "/v1/embeddings"): self._embeddings,
            ("POST", "/apply-template"): self._apply_template,
            ("POST", "/tokenize"): self._tokenize,
        }

    # --- methods that the fake LM Studio overrides ------------------------------------------

    def unknown(self, exchange: Exchange) -> Answer:
        """Return the response to a request for an unknown path."""
        error = {"code": 404, "message": "File Not Found", "type": "not_found_error"}
        return self.json({"error": error}, "404 Not Found")

    def wrong_key(self, given: str) -> RefusedError:
        """Return the refusal of a missing or wrong key."""
        error = {"message": "Invalid API Key", "type": "authentication_error", "code": 401}
        return RefusedError({"error": error}, "401 Unauthorized")

    def choose(self, name: Optional[str], ability: str) -> FakeModel:
        """Return the model that answers a request for a model name.

        Raises:
            RefusedError: No model has the ability.
        """
        able = [model for model in self.models if model.can(ability)]
        found = next((model for model in able if model.name == name), able[0] if able else None)
        if found is None:
            error = {"message": f"no model supports {ability}", "type": "not_supported_error"}
            raise RefusedError({"error": {**error, "code": 501}}, "501 Not Implemented")
        return found

    def overflow(self, tokens: int, window: int) -> RefusedError:
        """Return the refusal of a prompt that exceeds the context window."""
        return RefusedError(overflow_error(tokens, window))

    def vector(self, values: List[float], encoding: Any) -> Any:
        """Return a vector in the requested encoding."""
        if encoding != "base64":
            return values
        return base64.b64encode(array("f", values).tobytes()).decode("ascii")

    def embedding_usage(self, tokens: int) -> Dict[str, int]:
        """Return the usage of an embedding request."""
        return {"prompt_tokens": tokens, "total_tokens": tokens}

    # --- responses ------------------------------------------------------------------------

    def json(self, value: Any, status: str = "200 OK", kind: str = "other") -> Answer:
        """Return a response with a JSON body."""
        media = "application/json; charset=utf-8"
        return Answer([dumps(value)], kind=kind, content_type=media, status=status)

    def _check_key(self, exchange: Exchange) -> None:
        given = exchange.headers.get("authorization", "")
        if self.api_key is not None and given != f"Bearer {self.api_key}":
            raise self.wrong_key(given)

    def _models(self, _: Exchange) -> Answer:
        rows = [
            {
                "id": model.name,
                "object": "model",
                "created": _CREATED,
                "owned_by": "llamacpp",
                "meta": {
                    "n_ctx_train": model.max_context_length,
                    "n_ctx": model.context_length,
                    "n_embd": model.dimensions,
                    "size": 253105408,
                },
            }
            for model in self.models
        ]
        return self.json({"object": "list", "data": rows}, kind="list")

    def _chat(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        return self._text_answer(exchange, body, _prompt(body), chat=True)

    def _apply_template(self, exchange: Exchange) -> Answer:
        """Return the prompt of a conversation, like llama.cpp."""
        return self.json({"prompt": _prompt(self._body(exchange))})

    def _tokenize(self, exchange: Exchange) -> Answer:
        """Return the tokens of the field `content`, which may be missing, as in llama.cpp."""
        count = count_tokens(str(self._body(exchange).get("content", "")))
        return self.json({"tokens": list(range(count))})

    def _complete(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        return self._text_answer(exchange, body, str(body.get("prompt")), chat=False)

    def _text_answer(
        self, exchange: Exchange, body: Mapping[str, Any], prompt: str, *, chat: bool
    ) -> Answer:
        model = self.choose(body.get("model"), "chat")
        self.load(model, exchange)
        tokens, window = count_tokens(prompt), self.loaded[model.name]
        if tokens > window:
            raise self.overflow(tokens, window)
        reply = self.next_reply(exchange)
        if isinstance(reply, Refusal):
            return self.refusal(reply)
        answer = _TextAnswer(reply, reply.model or model.instance or model.name, body, chat)
        usage = {
            "prompt_tokens": tokens,
            "completion_tokens": answer.tokens,
            "total_tokens": tokens + answer.tokens,
        }
        if not body.get("stream"):
            return self.json({**answer.as_object(), "usage": usage})
        return answer.as_stream(usage)

    def _embeddings(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise RefusedError({"error": "'input' field must be a string or an array of strings"})
        model = self.choose(body.get("model"), "embeddings")
        self.load(model, exchange)
        longest = max(map(count_tokens, texts), default=0)
        if longest > self.loaded[model.name]:
            raise self.overflow(longest, self.loaded[model.name])
        refusal = self.refuses(texts)
        if refusal is not None:
            return self.refusal(refusal)
        rows = [
            {
                "object": "embedding",
                "index": index,
                "embedding": self.vector(
                    self.vector_of(text, model.dimensions), body.get("encoding_format")
                ),
            }
            for index, text in enumerate(texts)
        ]
        answer = {
            "object": "list",
            "data": rows,
            "model": model.instance or model.name,
            "usage": self.embedding_usage(sum(map(count_tokens, texts))),
        }
        return self.json(answer, kind="vectors")

    def _body(self, exchange: Exchange) -> Mapping[str, Any]:
        try:
            body = exchange.json
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise RefusedError({"error": "the request is not a JSON object"})
        return body


class _TextAnswer:
    """A reply in this dialect, as one JSON object or as a stream."""

    def __init__(self, reply: Reply, model: str, body: Mapping[str, Any], chat: bool) -> None:
        self._reply = reply
        self._chat = chat
        self._body = body
        pieces = words_of(reply.text)
        limit = body.get("max_tokens")
        is_cut = isinstance(limit, int) and 0 <= limit < len(pieces)
        self._pieces = pieces[:limit] if is_cut else pieces
        finish_reason = "tool_calls" if reply.tool_calls else reply.finish_reason
        self._finish = "length" if is_cut else finish_reason
        self._thoughts = words_of(reply.thinking)
        self.tokens = len(self._pieces) + len(self._thoughts)
        self._base = {
            "id": "chatcmpl-" + "x" * 21 if chat else "cmpl-" + "x" * 21,
            "object": "chat.completion" if chat else "text_completion",
            "created": _CREATED,
            "model": model,
            "system_fingerprint": model,
        }

    def as_object(self) -> Dict[str, Any]:
        text = "".join(self._pieces)
        message = {
            "role": "assistant",
            "content": text,
            "reasoning_content": "".join(self._thoughts),
            "tool_calls": self._calls(),
        }
        return self._record({"message": message} if self._chat else {"text": text}, self._finish)

    def as_stream(self, usage: Mapping[str, int]) -> Answer:
        if self._chat:
            self._base["object"] = "chat.completion.chunk"
        records = [self._delta({"reasoning_content": piece}) for piece in self._thoughts]
        records += [
            self._delta({"content": piece}) if self._chat else self._record({"text": piece})
            for piece in self._pieces
        ]
        records += [self._delta({"tool_calls": [call]}) for call in self._call_pieces()]
        end: Dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        records.append(self._record(end, self._finish))
        if (self._body.get("stream_options") or {}).get("include_usage"):
            records.append({**self._base, "choices": [], "usage": usage})
        return Answer(
            [*map(dumps, records), "[DONE]"],
            kind="events",
            frame=as_event,
            begun=len(self._thoughts) + 1,
            content_type="text/event-stream",
            headers=[("Cache-Control", "no-cache")],
            pause_s=self._reply.pause_s,
        )

    def _delta(self, delta: Mapping[str, Any]) -> Dict[str, Any]:
        return self._record({"delta": {"role": "assistant", **delta}})

    def _record(self, content: Mapping[str, Any], finish: Optional[str] = None) -> Dict[str, Any]:
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish}
        return {**self._base, "choices": [choice]}

    def _calls(self) -> List[Dict[str, Any]]:
        return [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": dumps(dict(call.arguments))},
            }
            for call in self._reply.tool_calls
        ]

    def _call_pieces(self) -> List[Dict[str, Any]]:
        """Return the tool calls in pieces: first the name, then the arguments in two halves."""
        pieces: List[Dict[str, Any]] = []
        for index, call in enumerate(self._calls()):
            text = call["function"]["arguments"]
            first = {**call, "index": index}
            first["function"] = {"name": call["function"]["name"], "arguments": ""}
            pieces.append(first)
            for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                function = {"arguments": part}
                pieces.append({"index": index, "type": "function", "function": function})
        return pieces


def _prompt(body: Mapping[str, Any]) -> str:
    """Return the text of a conversation and its tools, which counts as the prompt."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError({"error": "'messages' field is required"})
    tools = [dumps(tool) for tool in body.get("tools") or ()]
    return " ".join([_content_text(message.get("content")) for message in messages] + tools)


def _content_text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
