"""A fake server of the OpenAI dialect, and the base class of the fake LM Studio."""

from __future__ import annotations

import base64
import time
from array import array
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

from localproviders.testing import openai_rankings
from localproviders.testing.answers import Answer, dumps
from localproviders.testing.decisions import (
    DECISIONS,
    SYSTEM_ONE,
    BadRequestError,
    Question,
    openai_answers,
    openai_usage,
    published_confidence,
    system_one_answers,
    text_of,
    tokens_of,
)
from localproviders.testing.fake import FakeServer, count_tokens, overflow_error
from localproviders.testing.next_token import pieces_of_text, token_id, tokens_of_text
from localproviders.testing.openai_answers import TextAnswer, stream_of
from localproviders.testing.openai_decisions import (
    NO_DECISION_MODEL,
    NO_IMAGES,
    not_supported,
    openai_images,
    openai_questions,
    openai_refusal,
    system_one_images,
    system_one_questions,
)
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
from localproviders.testing.values import FakeModel, Refusal, Reply

_INPUTS: Mapping[str, str] = {"vision": "image", "audio": "audio"}


class FakeOpenAICompatible(FakeServer):
    """A fake server of the OpenAI dialect, similar to llama.cpp's.

    Use it in a ``with`` block, and pass its `base_url` to `OpenAICompatibleProvider`. Like
    llama.cpp, it answers requests for an unknown model with its first model of the right type.
    The arguments are those of `FakeServer`.
    """

    default_models: Sequence[Union[str, FakeModel]] = ("some-model", "some-embedding-model")
    kinds: Tuple[str, ...] = ("events", "vectors", "list", "ranking", "systemone", "decisions")
    work_paths: Tuple[str, ...] = (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/completion",
        SYSTEM_ONE,
        DECISIONS,
        *openai_rankings.PATHS,
    )
    list_paths: Tuple[str, ...] = ("/v1/models", "/api/v1/models", "/api/v0/models")
    #: The routes of decision requests that the server has. llama.cpp has ``/v1/systemone``, OpenAI
    #: has ``/v1/decisions``, and an old server has no such route.
    decision_routes: Sequence[str] = (SYSTEM_ONE,)
    # The possible beginnings of the images in a request to `/v1/decisions`.
    _image_starts: Tuple[str, ...] = ("data:", "http://", "https://")

    @property
    def base_url(self) -> str:
        """The address including ``/v1``, which clients of this dialect require."""
        return self.url_of("/v1")

    def answer(self, exchange: Exchange) -> Answer:
        """Return the correct response to a request."""
        try:
            self._check_key(exchange)
            route = self.routes().get((exchange.method, exchange.path.partition("?")[0]))
            return self.unknown(exchange) if route is None else route(exchange)
        except BadRequestError as error:
            refused = self.decision_refusal(exchange, error)
            return self.json(refused.body, refused.status)
        except RefusedError as refused:
            return self.json(refused.body, refused.status)

    def routes(self) -> Dict[Tuple[str, str], Callable[[Exchange], Answer]]:
        """Return the handlers of requests, by method and path."""
        decisions = {SYSTEM_ONE: self._system_one, DECISIONS: self._decide}
        return {
            **{("POST", path): decisions[path] for path in self.decision_routes},
            ("GET", "/health"): lambda _: self.json({"status": "ok"}),
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._complete,
            ("POST", "/v1/embeddings"): self._embeddings,
            ("POST", "/completion"): self._complete_in_own_form,
            ("POST", "/apply-template"): self._apply_template,
            ("POST", "/tokenize"): self._tokenize,
            **{("POST", path): self._rerank for path in openai_rankings.PATHS},
        }

    # --- methods that the fake LM Studio overrides ------------------------------------------

    def unknown(self, exchange: Exchange) -> Answer:
        """Return the response to a request for an unknown path."""
        error = {"code": 404, "message": "File Not Found", "type": "not_found_error"}
        return self.json({"error": error}, "404 Not Found")

    def wrong_key(self, given: str) -> RefusedError:
        """Return the refusal of a missing or wrong API key."""
        error = {"message": "Invalid API Key", "type": "authentication_error", "code": 401}
        return RefusedError({"error": error}, "401 Unauthorized")

    def choose(self, name: Optional[str], ability: str) -> FakeModel:
        """Return the model that answers a request for a model name.

        Raises:
            RefusedError: No model has the ability.
        """
        able = [model for model in self.models if model.can(ability)]
        if ability == "chat":  # llama.cpp lets a decision model chat, too
            able += [model for model in self.models if model.can("decision")]
        found = next((model for model in able if model.name == name), able[0] if able else None)
        if found is None:
            raise not_supported(f"no model supports {ability}")
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

    def decision_refusal(self, exchange: Exchange, error: BadRequestError) -> RefusedError:
        """Return the refusal of a decision request with a wrong field."""
        is_openai = exchange.path.startswith(DECISIONS)
        return openai_refusal(error) if is_openai else refused(error.words)

    def no_decider(self, exchange: Exchange, name: Optional[str]) -> RefusedError:
        """Return the refusal of a decision request for a model that is not a decision model."""
        if exchange.path.startswith(SYSTEM_ONE):
            return not_supported(NO_DECISION_MODEL)
        words = f"The model '{name}' is not supported with the decisions API."
        return openai_refusal(BadRequestError(words, "model", "unsupported_model"))

    def no_decision_images(self, exchange: Exchange) -> RefusedError:
        """Return the refusal of a decision request with images that the model cannot read."""
        if exchange.path.startswith(SYSTEM_ONE):
            return not_supported(NO_IMAGES)
        return openai_refusal(BadRequestError("The model does not support images.", "input"))

    def check_chat(self, body: Mapping[str, Any]) -> None:
        """Check the fields and messages of a chat.

        Raises:
            RefusedError: The server would refuse the chat.
        """
        check_messages(body)
        check_fields(body)

    def check_media(self, body: Mapping[str, Any], model: FakeModel) -> None:
        """Check the images and the audio of a chat.

        Raises:
            RefusedError: The model cannot read images, or cannot read audio.
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
        return self.json({"object": "list", "data": self.model_records()}, kind="list")

    def model_records(self) -> List[Dict[str, Any]]:
        """Return the entries of the list of models."""
        return [
            {
                "id": model.name,
                "object": "model",
                "created": int(time.time()),
                "owned_by": "llamacpp",
                "architecture": _modalities(model),
                "meta": {
                    "n_ctx_train": model.max_context_length,
                    "n_ctx": model.context_length,
                    "n_embd": model.dimensions,
                    "size": 253105408 if model.size_bytes is None else model.size_bytes,
                },
            }
            for model in self.models
        ]

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
        body = self._body(exchange)
        text = str(body.get("content", ""))
        if body.get("with_pieces"):
            pieces = pieces_of_text(text)
            return self.json({"tokens": [{"id": token_id(p), "piece": p} for p in pieces]})
        return self.json({"tokens": [token_id(piece) for piece in tokens_of_text(text)]})

    def _complete_in_own_form(self, exchange: Exchange) -> Answer:
        """Answer a completion request in llama.cpp's own form. The answer is never streamed."""
        body = self._body(exchange)
        prompts = self.prompts(body)
        model = self.choose(body.get("model"), "chat")
        answers = self._text_answers(exchange, model, body, prompts, chat=False)
        if isinstance(answers, Answer):
            return answers
        forms = [answer.own_form() for answer in answers]
        return self.json(forms if len(forms) > 1 else forms[0])

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
        answers = self._text_answers(exchange, model, body, prompts, chat=chat)
        if isinstance(answers, Answer):
            return answers
        self.complete_answers(answers, model)
        if body.get("stream"):
            return stream_of(answers)
        choices = [answer.whole_choice() for answer in answers]
        return self.json({**answers[0].whole(), "choices": choices})

    def _text_answers(
        self,
        exchange: Exchange,
        model: FakeModel,
        body: Mapping[str, Any],
        prompts: Sequence[str],
        *,
        chat: bool,
    ) -> Union[Answer, List[TextAnswer]]:
        """Load the model; return the answers to the prompts, or a scripted refusal."""
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
        return answers

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

    # --- decisions ------------------------------------------------------------------------

    def _system_one(self, exchange: Exchange) -> Answer:
        model, body = self._decider(exchange)
        questions = system_one_questions(body)
        if system_one_images(body) and not model.can("vision"):
            raise self.no_decision_images(exchange)
        state = text_of(body["state"])
        made = self._decision_reply(exchange, model, questions, state)
        if isinstance(made, Answer):
            return made
        reply, tokens = made
        answer = {
            "model": reply.model or model.instance or model.name,
            "answers": system_one_answers(questions, state, reply, published_confidence),
            "usage": {"input_tokens": tokens, "output_tokens": 0},
        }
        return self.json(answer, kind="systemone")

    def _decide(self, exchange: Exchange) -> Answer:
        """Answer a decision request of OpenAI's dialect."""
        model, body = self._decider(exchange)
        questions = openai_questions(body)
        images = openai_images(body)
        if not all(isinstance(i, str) and i.startswith(self._image_starts) for i in images):
            raise BadRequestError("The image must be a URL or a data URL.", "input")
        if images and not model.can("vision"):
            raise self.no_decision_images(exchange)
        state = text_of(body["input"])
        made = self._decision_reply(exchange, model, questions, state)
        if isinstance(made, Answer):
            return made
        reply, tokens = made
        answer = {
            "model": reply.model or model.instance or model.name,
            "answers": openai_answers(questions, state, reply),
            "usage": openai_usage(tokens),
        }
        return self.json(answer, kind="decisions")

    def _decider(self, exchange: Exchange) -> Tuple[FakeModel, Mapping[str, Any]]:
        """Return the model and the JSON body of a decision request.

        As in llama.cpp, the model is checked before the questions.
        """
        if not any(model.can("decision") for model in self.models):
            raise self.no_decider(exchange, None)
        body = json_object(exchange.body)
        if body is None:
            raise BadRequestError(
                "[json.exception.parse_error.101] parse error at line 1, column 1"
            )
        name = body.get("model")
        if any(model.name == name and not model.can("decision") for model in self.models):
            raise self.no_decider(exchange, name)
        return self.choose(name, "decision"), body

    def _decision_reply(
        self, exchange: Exchange, model: FakeModel, questions: Sequence[Question], state: str
    ) -> Union[Answer, Tuple[Reply, int]]:
        """Load the model; return the scripted reply and the number of tokens, or the refusal."""
        self.load(model, exchange)
        counts = [tokens_of(state, question) for question in questions]
        window = self.loaded[model.name]
        if max(counts) > window:
            raise self.overflow(max(counts), window)
        reply = self.next_reply(exchange)
        return self.refusal(reply) if isinstance(reply, Refusal) else (reply, sum(counts))

    def _rerank(self, exchange: Exchange) -> Answer:
        """Answer a rerank request in llama.cpp's form.

        The score of a document depends on the words that it shares with the query, unless `score`
        has set the score.
        """
        ranking = [model for model in self.models if model.can("rerank")]
        if not ranking:
            raise openai_rankings.not_started_for_it()
        body = self._body(exchange)
        question = openai_rankings.read_question(body)
        model = next((one for one in ranking if one.name == body.get("model")), ranking[0])
        self.load(model, exchange)
        lengths = [count_tokens(f"{question.query} {text}") for text in question.documents]
        if max(lengths) > self.loaded[model.name]:
            raise self.input_overflow(max(lengths), self.loaded[model.name])
        refusal = self.refuses([question.query, *question.documents])
        if refusal is not None:
            return self.refusal(refusal)
        usual = openai_rankings.score_of
        scores = [self._scores.get(t, usual(question.query, t)) for t in question.documents]
        name = str(body.get("model", model.name))  # llama.cpp does not check the name
        answer = openai_rankings.ranking_of(question, scores, name, sum(lengths))
        return self.json(answer, kind="ranking")

    def _body(self, exchange: Exchange) -> Mapping[str, Any]:
        body = json_object(exchange.body)
        if body is None:
            raise RefusedError({"error": "the request is not a JSON object"})
        return body


def _modalities(model: FakeModel) -> Dict[str, List[str]]:
    """Return the kinds of input and output of a model, as llama.cpp's model list names them."""
    read = [word for ability, word in _INPUTS.items() if model.can(ability)]
    written = "decisions" if model.can("decision") else "text"
    return {"input_modalities": ["text", *read], "output_modalities": [written]}
