"""A fake server of the OpenAI dialect, and the base class of the fake LM Studio."""

from __future__ import annotations

import base64
import time
from array import array
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

from localproviders.testing.answers import Answer, dumps
from localproviders.testing.fake import FakeServer, count_tokens, overflow_error
from localproviders.testing.openai_answers import TextAnswer, stream_of
from localproviders.testing.openai_requests import (
    RefusedError,
    check_fields,
    check_media,
    check_messages,
    inputs_of,
    json_object,
    prompt_of,
    prompts_of,
    refused,
)
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Refusal


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

    def input_overflow(self, tokens: int, window: int) -> RefusedError:
        """Return the refusal of a text to embed that exceeds the context window."""
        return refused(
            f"input ({tokens} tokens) is too large to process. increase the physical batch size "
            f"(current batch size: {window})",
            500,
        )

    def check_chat(self, body: Mapping[str, Any]) -> None:
        """Check the fields and messages of a chat.

        Raises:
            RefusedError: The server refuses them.
        """
        check_messages(body)
        check_fields(body)

    def check_media(self, body: Mapping[str, Any], model: FakeModel) -> None:
        """Check the images and the audio of a chat.

        Raises:
            RefusedError: The model cannot read them.
        """
        check_media(body, model)

    def prompts(self, body: Mapping[str, Any]) -> List[str]:
        """Return the prompts of a completion request.

        Raises:
            RefusedError: The server refuses the request.
        """
        check_fields(body)
        return prompts_of(body)

    def inputs(self, body: Mapping[str, Any]) -> List[str]:
        """Return the texts of an embedding request.

        Raises:
            RefusedError: The server refuses the request.
        """
        return inputs_of(body)

    def answer_class(self, exchange: Exchange) -> Type[TextAnswer]:
        """Return the class of the answers to a request."""
        return TextAnswer

    def complete_answers(self, answers: Sequence[TextAnswer], model: FakeModel) -> None:
        """Add facts about the model to answers. Subclasses override this; here it does nothing."""

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
                "created": int(time.time()),
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
        self.check_chat(body)
        model = self.choose(body.get("model"), "chat")
        self.check_media(body, model)
        return self._text_answer(exchange, model, body, [prompt_of(body)], chat=True)

    def _apply_template(self, exchange: Exchange) -> Answer:
        """Return the prompt of a conversation, like llama.cpp."""
        body = self._body(exchange)
        self.check_chat(body)
        return self.json({"prompt": prompt_of(body)})

    def _tokenize(self, exchange: Exchange) -> Answer:
        """Return the tokens of the field `content`, which may be missing, as in llama.cpp."""
        count = count_tokens(str(self._body(exchange).get("content", "")))
        return self.json({"tokens": list(range(count))})

    def _complete(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        prompts = self.prompts(body)
        model = self.choose(body.get("model"), "chat")
        return self._text_answer(exchange, model, body, prompts, chat=False)

    def _text_answer(
        self,
        exchange: Exchange,
        model: FakeModel,
        body: Mapping[str, Any],
        prompts: Sequence[str],
        *,
        chat: bool,
    ) -> Answer:
        self.load(model, exchange)
        counts, window = [*map(count_tokens, prompts)], self.loaded[model.name]
        if max(counts) > window:
            raise self.overflow(max(counts), window)
        answers: List[TextAnswer] = []
        for index, count in enumerate(counts):
            reply = self.next_reply(exchange)
            if isinstance(reply, Refusal):
                return self.refusal(reply)
            name = reply.model or model.instance or model.name
            make = self.answer_class(exchange)
            answers.append(make(reply, name, body, count, chat=chat, index=index))
        self.complete_answers(answers, model)
        if body.get("stream"):
            return stream_of(answers)
        choices = [answer.whole_choice() for answer in answers]
        return self.json({**answers[0].whole(), "choices": choices})

    def _embeddings(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        texts = self.inputs(body)
        model = self.choose(body.get("model"), "embeddings")
        self.load(model, exchange)
        longest = max(map(count_tokens, texts), default=0)
        if longest > self.loaded[model.name]:
            raise self.input_overflow(longest, self.loaded[model.name])
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
        body = json_object(exchange.body)
        if body is None:
            raise RefusedError({"error": "the request is not a JSON object"})
        return body
