"""The native chat of the fake LM Studio server, in which the server stores conversations.

The format is described in docs/reference/lmstudio.md, "Native chat" and "Native events".
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Tuple

from localproviders._signatures import Unpack
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer, dumps
from localproviders.testing.fake import FakeOptions, Models, count_tokens
from localproviders.testing.lmstudio.checks import check_fields, check_item, invalid
from localproviders.testing.lmstudio.memory import Memory, Route
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel, Refusal, Reply, words_of

_FIELDS = frozenset(
    {
        "model",
        "input",
        "system_prompt",
        "integrations",
        "stream",
        "temperature",
        "top_p",
        "min_p",
        "top_k",
        "repeat_penalty",
        "presence_penalty",
        "max_output_tokens",
        "reasoning",
        "context_length",
        "store",
        "previous_response_id",
    }
)
#: Values of `reasoning` that a thinking model allows, and its default
#: (docs/reference/lmstudio.md, "Model lists").
REASONING: Mapping[str, Any] = {"allowed_options": ["off", "on"], "default": "on"}


def as_named_event(text: str) -> bytes:
    """Return the bytes of a server-sent event whose name is the `type` in the record."""
    found = re.match(r'\{"type": "([\w.]+)"', text)
    name = f"event: {found.group(1)}\n" if found else ""
    return f"{name}data: {text}\n\n".encode()


class StatefulChat(Memory):
    """The part of the fake server with the native chat, which stores its responses."""

    def __init__(self, models: Models = None, **options: Unpack[FakeOptions]) -> None:
        given, options = Sealed(options), FakeOptions()
        super().__init__(models, **given.cell_contents)
        #: For each stored response, the text of the whole conversation up to this response, by the
        #: ID of the response.
        self.responses: Dict[str, str] = {}

    def chat_routes(self) -> Dict[Tuple[str, str], Route]:
        """Return the handlers of requests, by method and path."""
        return {("POST", "/api/v1/chat"): self._stateful}

    def _stateful(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        check_fields(body, _FIELDS)
        conversation = self._stored_conversation(body) + " " + _input_text(body)
        model = self._stateful_model(body)
        must_load = model.name not in self.loaded
        load_s = self.load(model, exchange, body.get("context_length") if must_load else None)
        tokens, window = count_tokens(conversation), self.loaded[model.name]
        if tokens > window:
            raise self.overflow(tokens, window)
        reply = self.next_reply(exchange)
        if isinstance(reply, Refusal):
            return self.refusal(reply)
        answer = _Turn(model, reply, body, tokens, load_s or 0.5 if must_load else None)
        if body.get("store", True):
            answer.result["response_id"] = f"resp_{len(self.responses) + 1:048x}"
            self.responses[answer.result["response_id"]] = f"{conversation} {answer.text}"
        return answer.stream() if body.get("stream") else self.json(answer.result)

    def _stored_conversation(self, body: Mapping[str, Any]) -> str:
        before = body.get("previous_response_id")
        if before is None:
            return ""
        if before not in self.responses:
            raise invalid(
                "Could not find stored response for previous_response_id: it may have been "
                "deleted, as responses are after 30 days",
                code="invalid_value",
                param="previous_response_id",
            )
        return self.responses[before]

    def _stateful_model(self, body: Mapping[str, Any]) -> FakeModel:
        if not body.get("model"):
            raise invalid('"model" is required', code="missing_required_parameter", param="model")
        model = self.choose(body["model"], "chat")
        if _has_image(body) and not model.can("vision"):
            raise invalid("Model does not support images", param="input")
        level = body.get("reasoning")
        if level is not None and not (
            model.can("thinking") and level in REASONING["allowed_options"]
        ):
            raise invalid(f"Reasoning '{level}' is not supported", param="reasoning")
        return model


class _Turn:
    """A response of the chat, as one JSON object or as events."""

    def __init__(
        self, model: FakeModel, reply: Reply, body: Mapping[str, Any], tokens: int, load_s: Any
    ) -> None:
        limit = body.get("max_output_tokens")
        self._pieces = words_of(reply.text)[:limit]
        self._thoughts = words_of(reply.thinking)
        self._pause_s = reply.pause_s
        self._load_s = load_s
        self.text = "".join(self._pieces)
        items = {"reasoning": "".join(self._thoughts), "message": self.text}
        output = [{"type": kind, "content": text} for kind, text in items.items() if text]
        stats = {
            "input_tokens": tokens,
            "total_output_tokens": len(self._pieces) + len(self._thoughts),
            "reasoning_output_tokens": len(self._thoughts),
            "tokens_per_second": 43.73,
            "time_to_first_token_seconds": 0.781,
            **({} if load_s is None else {"model_load_time_seconds": load_s}),
        }
        #: The JSON of a response that is not streamed. In a stream, the event `chat.end` has it.
        self.result: Dict[str, Any] = {
            "model_instance_id": reply.model or model.instance or model.name,
            "output": output,
            "stats": stats,
        }

    def stream(self) -> Answer:
        """Return the response as an event stream."""
        before = [*self._loading(), *_phase("prompt_processing", {}, {})]
        thoughts = _block("reasoning", self._thoughts)
        texts = _block("message", self._pieces)
        start = {"type": "chat.start", **self._instance()}
        end = {"type": "chat.end", "result": self.result}
        events = [start, *before, *thoughts, *texts, end]
        first = 2 if texts else 0
        return Answer(
            [dumps(event) for event in events],
            kind="events",
            frame=as_named_event,
            begun=1 + len(before) + len(thoughts) + first,
            content_type="text/event-stream",
            headers=[("Cache-Control", "no-cache")],
            pause_s=self._pause_s,
        )

    def _instance(self) -> Dict[str, Any]:
        return {"model_instance_id": self.result["model_instance_id"]}

    def _loading(self) -> List[Dict[str, Any]]:
        if self._load_s is None:
            return []
        return _phase("model_load", self._instance(), {"load_time_seconds": self._load_s})


def _phase(name: str, fields: Mapping[str, Any], last: Mapping[str, Any]) -> List[Dict[str, Any]]:
    return [
        {"type": f"{name}.start", **fields},
        {"type": f"{name}.progress", **fields, "progress": 0.5},
        {"type": f"{name}.progress", **fields, "progress": 1},
        {"type": f"{name}.end", **fields, **last},
    ]


def _block(kind: str, pieces: List[str]) -> List[Dict[str, Any]]:
    if not pieces:
        return []
    deltas = [{"type": f"{kind}.delta", "content": piece} for piece in pieces]
    return [{"type": f"{kind}.start"}, *deltas, {"type": f"{kind}.end"}]


def _has_image(body: Mapping[str, Any]) -> bool:
    items = body["input"]
    return isinstance(items, list) and any(item["type"] == "image" for item in items)


def _input_text(body: Mapping[str, Any]) -> str:
    given = body.get("input")
    items = [{"type": "text", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not items:
        raise invalid('"input" is required', code="missing_required_parameter", param="input")
    for item in items:
        check_item(item)
    texts = [item["content"] for item in items if item["type"] == "text"]
    return " ".join([*texts, str(body.get("system_prompt") or "")])
