"""Chats and completions of the fake Ollama in Ollama's own API."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Union

from localproviders.testing.answers import Answer, as_line, dumps
from localproviders.testing.fake import count_tokens
from localproviders.testing.ollama.answers import (
    PLAIN_JSON,
    RefusedError,
    full_name,
    json_answer,
    timestamp,
)
from localproviders.testing.ollama.memory import FakeMemory
from localproviders.testing.ollama.options import check_format, options_of
from localproviders.testing.ollama.prompts import budget_of, chat_prompt, fit_prompt, images_of
from localproviders.testing.ollama.requests import body_of, keep_alive_s
from localproviders.testing.ollama.turn import Part, Turn, token_ids
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Refusal, Reply
from localproviders.types.messages import ToolCall

_SHARED = {
    "model": "string",
    "stream": "bool",
    "format": "any",
    "keep_alive": "api.Duration",
    "options": "map[string]interface {}",
    "think": "api.ThinkValue",
    "truncate": "bool",
    "shift": "bool",
    "logprobs": "bool",
    "top_logprobs": "int",
    "_debug_render_only": "bool",
}
#: The Go types of the fields of each sort of request.
CHAT = {**_SHARED, "messages": "[]api.Message", "tools": "api.Tools"}
GENERATE = {
    **_SHARED,
    "prompt": "string",
    "suffix": "string",
    "system": "string",
    "template": "string",
    "context": "[]int",
    "raw": "bool",
    "images": "[]api.ImageData",
}

#: Function that returns the fields of a record for one part of a response.
_Fields = Callable[[Part], Dict[str, Any]]


class FakeText(FakeMemory):
    """The part of `FakeOllama` that answers requests for text."""

    #: Whether the server knows the field ``_debug_render_only``, for which it returns the prompt
    #: instead of an answer.
    renders: bool = True
    #: Whether the server ends an answer after 31 equal words in a row, without sending the last
    #: record. Ollama does this for GGUF models.
    repeat_guard: bool = False

    def _chat(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "api.ChatRequest", CHAT)
        model = self._find(body.get("model"), f"model '{body.get('model')}' not found")
        if not body.get("messages"):
            return self._load_only(exchange, body, model, "chat", _as_message)
        made = self.chat_turn(exchange, body, model)
        return made if isinstance(made, Answer) else _written(made, body, model, _as_message)

    def _generate(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "api.GenerateRequest", GENERATE)
        body.pop("messages", None)  # a field that this request does not have
        if body.get("raw") and any(body.get(name) for name in ("template", "system", "context")):
            raise RefusedError("raw mode does not support template, system, or context")
        missing = RefusedError(f"model '{body.get('model', '')}' not found", "404 Not Found")
        if not body.get("model"):
            raise missing
        model = self._find(body["model"], missing.text)
        if not body.get("prompt"):
            return self._load_only(exchange, body, model, "generate", _as_response)
        made = self.generate_turn(exchange, body, model)
        if isinstance(made, Answer):
            return made
        context = {} if body.get("raw") else {"context": _context(body, made)}
        return _written(made, body, model, _as_response, context)

    def chat_turn(
        self, exchange: Exchange, body: Mapping[str, Any], model: FakeModel
    ) -> Union[Turn, Answer]:
        """Return the turn of a chat: the scripted reply, shortened as the server would shorten it.

        If the model writes no text, for example because of a scripted refusal, return the complete
        response instead.
        """
        _require_ability(model, "chat", f'"{body["model"]}" does not support chat')
        if body.get("tools"):
            words = f"{full_name(model.name)} does not support tools"
            _require_ability(model, "tools", words)
        return self._turn(exchange, body, model, chat_prompt(body))

    def generate_turn(
        self, exchange: Exchange, body: Mapping[str, Any], model: FakeModel
    ) -> Union[Turn, Answer]:
        """Return the turn that continues a text; or the complete response, as `chat_turn` does."""
        self.check_generates(body, model)
        if body.get("suffix"):
            words = f"{full_name(model.name)} does not support insert"
            _require_ability(model, "insert", words)
        return self._turn(exchange, body, model, f"{body['prompt']} {body.get('suffix', '')}")

    def check_generates(self, body: Mapping[str, Any], model: FakeModel) -> None:
        """Check that a model can continue a text.

        Raises:
            RefusedError: The model cannot continue a text.
        """
        _require_ability(model, "chat", f'"{body["model"]}" does not support generate')

    def _turn(
        self, exchange: Exchange, body: Mapping[str, Any], model: FakeModel, prompt: str
    ) -> Union[Turn, Answer]:
        if body.get("think"):
            words = f'"{body["model"]}" does not support thinking'
            _require_ability(model, "thinking", words)
        if images_of(body) and not model.can("audio"):
            _require_ability(model, "vision", f"{full_name(model.name)} does not support vision")
        load_s = self.load_for(model, exchange, body)
        if body.get("_debug_render_only") and self.renders:
            return json_answer(_as_rendered(body, prompt))
        window = self.window_of(model)
        try:
            check_format(body)
            tokens = fit_prompt(body, window, count_tokens(prompt) + len(body.get("context", [])))
        except RefusedError as refused:
            if body.get("stream") is not False:
                refused.media = PLAIN_JSON  # the refusal comes in place of the first record
            raise
        reply = self.next_reply(exchange)
        if isinstance(reply, Refusal):
            return self.refusal(reply)
        _check_reply(reply, model)
        budget = budget_of(body, options_of(body), window, tokens)
        turn = Turn(reply, body, budget, self.repeat_guard)
        turn.prompt_tokens, turn.load_s = tokens, load_s
        return turn

    def _load_only(
        self,
        exchange: Exchange,
        body: Mapping[str, Any],
        model: FakeModel,
        verb: str,
        fields: _Fields,
    ) -> Answer:
        """Answer a request without a prompt, which loads or unloads the model."""
        if keep_alive_s(body) == 0:
            self.unload(model)
            reason = "unload"
        else:
            _require_ability(model, "chat", f'"{body["model"]}" does not support {verb}')
            self.load_for(model, exchange, body)
            reason = "load"
        remote = {"remote_host": model.remote_host} if model.remote_host else {}
        head = {"model": body["model"], **remote, "created_at": timestamp()}
        return json_answer({**head, **fields(Part()), "done": True, "done_reason": reason})


def _check_reply(reply: Reply, model: FakeModel) -> None:
    """Check that a model could really write a scripted reply.

    Raises:
        ValueError: The reply has thinking, but the model cannot think. A test with such a reply
            would pass with the fake server, but fail with a real one.
    """
    if reply.thinking and not model.can("thinking"):
        raise ValueError(
            f"the reply has thinking, but model {model.name!r} cannot think; give it the ability: "
            f'FakeModel(name={model.name!r}, abilities=("chat", "completion", "thinking"))'
        )


def _require_ability(model: FakeModel, ability: str, words: str) -> None:
    if not model.can(ability):
        raise RefusedError(words)


def _written(
    turn: Turn,
    body: Mapping[str, Any],
    model: FakeModel,
    fields: _Fields,
    more: Optional[Mapping[str, Any]] = None,
) -> Answer:
    """Return a response in Ollama's own API: one record, or a stream of records."""
    remote = turn.reply.remote_host or model.remote_host
    head = {
        "model": turn.reply.model or body["model"],
        **({"remote_host": remote} if remote else {}),
    }

    def record(part: Part, index: int, end: Mapping[str, Any]) -> Dict[str, Any]:
        created_at = timestamp(index, turn.reply.pause_s)
        logprobs = {"logprobs": part.logprobs} if part.logprobs else {}
        return {**head, "created_at": created_at, **fields(part), **end, **logprobs}

    reason = {"done_reason": turn.finish} if turn.finish else {}
    end = (
        {"done": False}
        if turn.is_ended
        else {"done": True, **reason, **(more or {}), **turn.metrics()}
    )
    if body.get("stream") is False:
        answer = json_answer(record(turn.whole(), 0, end))
        return answer.replace(pause_s=turn.silence_s)
    records = [record(part, at, {"done": False}) for at, part in enumerate(turn.parts())]
    if not turn.is_ended:
        records.append(record(Part(), len(records), end))
    return Answer(
        [dumps(record) for record in records],
        kind="lines",
        frame=as_line,
        begun=len(turn.thoughts) + 1,
        content_type="application/x-ndjson",
        pause_s=turn.reply.pause_s,
    )


def _context(body: Mapping[str, Any], turn: Turn) -> List[int]:
    """Return the ids of all tokens so far, which the client can send with its next request."""
    texts = (body["prompt"], "".join(turn.thoughts), "".join(turn.pieces))
    return [*body.get("context", []), *(number for text in texts for number in token_ids(text))]


def _as_rendered(body: Mapping[str, Any], prompt: str) -> Dict[str, Any]:
    """Return the record with the rendered prompt: the texts of the messages, and the tools as JSON.

    Source: docs/reference/ollama.md, "Rendered prompts".
    """
    text = " ".join([prompt, *map(dumps, body.get("tools") or ())])
    images = len(images_of(body))
    debug = {"rendered_template": text, **({"image_count": images} if images else {})}
    blank = {"message": {"role": "", "content": ""}, "done": False}
    return {"model": body["model"], "created_at": timestamp(), **blank, "_debug_info": debug}


def _calls(calls: Sequence[ToolCall]) -> List[Dict[str, Any]]:
    return [
        {
            "id": call.id,
            "function": {"index": index, "name": call.name, "arguments": dict(call.arguments)},
        }
        for index, call in enumerate(calls)
    ]


def _as_message(part: Part) -> Dict[str, Any]:
    more = {"thinking": part.thinking, "tool_calls": _calls(part.calls)}
    kept = {name: value for name, value in more.items() if value}
    return {"message": {"role": "assistant", "content": part.text, **kept}}


def _as_response(part: Part) -> Dict[str, Any]:
    thinking = {"thinking": part.thinking} if part.thinking else {}
    return {"response": part.text, **thinking}
