"""OpenAI's dialect of the fake Ollama, under ``/v1``.

Like the server, the fake converts each request from OpenAI's dialect to Ollama's own API, and each
answer from Ollama's API to OpenAI's dialect. The form of the answers follows recordings of the
server (`tests/data/ollama`, files ``v1_*``).
"""

from __future__ import annotations

import base64
import time
from array import array
from datetime import datetime
from itertools import count
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence
from urllib.parse import unquote

from localproviders.testing.answers import Answer, as_event, dumps
from localproviders.testing.ollama.answers import (
    DATE,
    PLAIN_JSON,
    RefusedError,
    as_listed,
    full_name,
    json_answer,
    text_answer,
)
from localproviders.testing.ollama.requests import body_of
from localproviders.testing.ollama.turn import Part, Turn
from localproviders.testing.ollama.v1_requests import (
    CHAT,
    COMPLETION,
    EMBEDDING,
    native_chat,
    native_generate,
)
from localproviders.testing.ollama.vectors import FakeVectors
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Reply
from localproviders.types.messages import ToolCall

_CREATED = int(datetime.strptime(DATE[:19] + "+0000", "%Y-%m-%dT%H:%M:%S%z").timestamp())
_ERROR_TYPES = {"400": "invalid_request_error", "404": "not_found_error"}
_MOST_IDS = 999

_Record = Dict[str, Any]


class FakeV1(FakeVectors):
    """The part of `FakeOllama` that speaks OpenAI's dialect."""

    # The numbers for the ids of answers. As in the server, an id is repeated after 999 answers.
    _numbers: Iterator[int] = count()

    def v1_error(self, refused: RefusedError) -> Answer:
        """Return a refusal in OpenAI's dialect."""
        type_ = _ERROR_TYPES.get(refused.status[:3], "api_error")
        error = {"message": refused.text, "type": type_, "param": None, "code": None}
        return json_answer({"error": error}, refused.status, media=PLAIN_JSON)

    # --- models ---------------------------------------------------------------------------

    def _v1_models(self, _: Exchange) -> Answer:
        rows = [_model_row(model, as_listed(model.name)) for model in self.models]
        # A server without models writes null (docs/reference/ollama.md, "Traps").
        return json_answer({"object": "list", "data": rows or None}, kind="list", media=PLAIN_JSON)

    def _v1_model(self, exchange: Exchange) -> Answer:
        name = unquote(exchange.path.partition("?")[0].partition("/v1/models/")[2])
        if not name or "/" in name:
            return text_answer("404 Not Found", "404 page not found")
        model = self._find(name, f"model '{as_listed(name)}' not found")
        return json_answer(_model_row(model, name), media=PLAIN_JSON)

    # --- text -----------------------------------------------------------------------------

    def _v1_chat(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "openai.ChatCompletionRequest", CHAT)
        native = native_chat(body)
        model = self._find(native.get("model"), f"model '{native.get('model')}' not found")
        turn = self.chat_turn(exchange, native, model)
        return turn if isinstance(turn, Answer) else self._v1_written(turn, body, _CHAT_FORM)

    def _v1_complete(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "openai.CompletionRequest", COMPLETION)
        native = native_generate(body)
        missing = f"model '{native.get('model', '')}' not found"
        if not native.get("model"):
            raise RefusedError(missing, "404 Not Found")
        model = self._find(native["model"], missing)
        if not native["prompt"]:  # such a request only loads the model
            self.check_generates(native, model)
            self.load_for(model, exchange, native)
            empty = Turn(Reply(text="", finish_reason="load"), native, None, False)
            return self._v1_written(empty, body, _TEXT_FORM)
        turn = self.generate_turn(exchange, native, model)
        return turn if isinstance(turn, Answer) else self._v1_written(turn, body, _TEXT_FORM)

    def _v1_written(self, turn: Turn, body: Mapping[str, Any], form: _Form) -> Answer:
        head = {
            "id": f"{form.prefix}-{next(self._numbers) % _MOST_IDS}",
            "object": form.whole_object,
            "created": int(time.time()),
            "model": turn.reply.model or body["model"],
            "system_fingerprint": "fp_ollama",
        }
        if not body.get("stream"):
            choice = form.whole(turn.whole(), _finish(turn))
            answer = {**head, "choices": [choice], "usage": _usage(turn)}
            return json_answer(answer, media=PLAIN_JSON).replace(pause_s=turn.silence_s)
        head["object"] = form.stream_object
        return _stream(turn, body, form, head)

    # --- vectors --------------------------------------------------------------------------

    def _v1_embeddings(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "openai.EmbedRequest", EMBEDDING)
        encoding = body.get("encoding_format", "float").lower()
        if encoding not in ("float", "base64"):
            words = f"Invalid value for 'encoding_format' = {body['encoding_format']}"
            raise RefusedError(f'{words}. Supported values: ["float", "base64"].')
        given = body.get("input")
        texts: List[Any] = given if isinstance(given, list) else [given]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise RefusedError("invalid input")
        made = self.embed_texts(exchange, {"model": "", **body}, texts)
        if isinstance(made, Answer):
            return made
        rows = [
            {"object": "embedding", "embedding": _encoded(vector, encoding), "index": index}
            for index, vector in enumerate(made["embeddings"])
        ]
        tokens = made.get("prompt_eval_count", 0)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": rows, "model": body["model"], "usage": usage}
        return json_answer(answer, kind="vectors", media=PLAIN_JSON)


class _Form:
    """The form of a chat or of a completion: the values of ``object``, and the choices.

    Attributes:
        prefix: The beginning of the ids.
        whole_object: The value of ``object`` in a whole answer.
        stream_object: The value of ``object`` in a record of a stream.
        whole: Function that returns the choice of a whole answer.
        piece: Function that returns the choice of a record for one part of the answer.
        last: The fields of the choice in the record with the finish reason.
    """

    def __init__(
        self,
        prefix: str,
        whole_object: str,
        stream_object: str,
        whole: Callable[[Part, Any], _Record],
        piece: Callable[[Part, bool], _Record],
        last: _Record,
    ) -> None:
        self.prefix = prefix
        self.whole_object = whole_object
        self.stream_object = stream_object
        self.whole = whole
        self.piece = piece
        self.last = last


def _stream(turn: Turn, body: Mapping[str, Any], form: _Form, head: _Record) -> Answer:
    has_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    # Completions, unlike chats, have a usage of zeros in every record.
    zeros = {"usage": dict.fromkeys(_usage(turn), 0)} if has_usage and form is _TEXT_FORM else {}
    choices = [form.piece(part, at == 0) for at, part in enumerate(turn.parts())]
    if not turn.is_ended:
        choices.append({"index": 0, **form.last, "finish_reason": _finish(turn)})
    records = [{**head, "choices": [choice], **zeros} for choice in choices]
    if has_usage and not turn.is_ended:
        records.append({**head, "choices": [], "usage": _usage(turn)})
    return Answer(
        [*map(dumps, records), *([] if turn.is_ended else ["[DONE]"])],
        kind="events",
        frame=as_event,
        begun=len(turn.thoughts) + 1,
        content_type="text/event-stream",
        pause_s=turn.reply.pause_s,
    )


def _model_row(model: FakeModel, name: str) -> _Record:
    owner = full_name(model.name).split("/")[-2]
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": owner}


def _finish(turn: Turn) -> Any:
    if turn.is_ended:
        return None
    return "tool_calls" if turn.calls and turn.finish == "stop" else turn.finish


def _usage(turn: Turn) -> Dict[str, int]:
    made = turn.tokens
    total = turn.prompt_tokens + made
    return {"prompt_tokens": turn.prompt_tokens, "completion_tokens": made, "total_tokens": total}


def _encoded(vector: Any, encoding: str) -> Any:
    if encoding != "base64":
        return vector
    return base64.b64encode(array("f", vector).tobytes()).decode("ascii")


def _calls(calls: Sequence[ToolCall]) -> List[_Record]:
    return [
        {
            "id": call.id,
            "index": index,
            "type": "function",
            "function": {"name": call.name, "arguments": dumps(dict(call.arguments))},
        }
        for index, call in enumerate(calls)
    ]


def _message(part: Part) -> _Record:
    more = {"reasoning": part.thinking, "tool_calls": _calls(part.calls)}
    return {"content": part.text, **{name: value for name, value in more.items() if value}}


def _with_logprobs(part: Part) -> _Record:
    return {"logprobs": {"content": part.logprobs}} if part.logprobs else {}


def _chat_whole(part: Part, finish: Any) -> _Record:
    message = {"role": "assistant", **_message(part)}
    return {"index": 0, "message": message, "finish_reason": finish, **_with_logprobs(part)}


def _chat_piece(part: Part, is_first: bool) -> _Record:
    delta = {**({"role": "assistant"} if is_first else {}), **_message(part)}
    return {"index": 0, "delta": delta, "finish_reason": None, **_with_logprobs(part)}


def _text_whole(part: Part, finish: Any) -> _Record:
    return {"text": part.text, "index": 0, "finish_reason": finish}


def _text_piece(part: Part, _: bool) -> _Record:
    return {"text": part.text, "index": 0, "finish_reason": None}


_CHAT_FORM = _Form(
    "chatcmpl", "chat.completion", "chat.completion.chunk", _chat_whole, _chat_piece, {"delta": {}}
)
_TEXT_FORM = _Form(
    "cmpl", "text_completion", "text_completion", _text_whole, _text_piece, {"text": ""}
)
