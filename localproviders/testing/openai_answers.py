"""Text answers in the OpenAI dialect, as llama.cpp sends them."""

from __future__ import annotations

import time
import uuid
from typing import Any, Dict, List, Mapping, Optional, Sequence

from localproviders.testing.answers import Answer, as_event, dumps
from localproviders.testing.fake import count_call_tokens
from localproviders.testing.next_token import (
    drawn_token,
    free_distribution,
    token_entry,
    usual_distribution,
)
from localproviders.testing.openai_requests import limit_of, mapping_in
from localproviders.testing.values import Reply, words_of

_DONE = "[DONE]"


class TextAnswer:
    """A scripted reply in the OpenAI dialect, as a whole answer or as the records of a stream.

    Args:
        reply: The scripted reply.
        model: The name of the model in the answer.
        body: The request.
        prompt_tokens: The number of tokens of the prompt.
        chat: Whether the request is a chat; otherwise it is a completion.
        index: The index of the choice. A completion request with several prompts gets one choice
            for each prompt.
    """

    def __init__(
        self,
        reply: Reply,
        model: str,
        body: Mapping[str, Any],
        prompt_tokens: int,
        *,
        chat: bool,
        index: int = 0,
    ) -> None:
        self.reply = reply
        self.model = model
        self.body = body
        self.prompt_tokens = prompt_tokens
        self.chat = chat
        self.index = index
        words, limit = words_of(reply.text), limit_of(body)
        first = drawn_token(reply, words[0] if words else "", body)
        words[:1] = [first] if first else []
        is_cut = limit is not None and limit < len(words)
        #: The pieces of the text, and (in `thoughts`) the pieces of the reasoning.
        self.pieces: List[str] = words[:limit] if is_cut else words
        self.thoughts: List[str] = words_of(reply.thinking)
        finish = "tool_calls" if reply.tool_calls else reply.finish_reason
        #: The finish reason; None leaves it out.
        self.finish: Optional[str] = "length" if is_cut else finish
        #: The number of tokens of the answer.
        self.tokens: int = (
            len(self.pieces) + len(self.thoughts) + count_call_tokens(reply.tool_calls)
        )
        self.id: str = self.new_id()
        self.created: int = int(time.time())

    # --- parts that the fake LM Studio overrides --------------------------------------------

    def new_id(self) -> str:
        """Return an id that no other answer has."""
        return f"chatcmpl-{uuid.uuid4().hex}"

    @property
    def fingerprint(self) -> str:
        """The field `system_fingerprint`."""
        return "b11549-fake"

    def usage(self) -> Dict[str, Any]:
        """Return the numbers of tokens."""
        return {
            "completion_tokens": self.tokens,
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def extra_fields(self) -> Dict[str, Any]:
        """Return the fields that follow the usage of an answer: llama.cpp's ``timings``."""
        return {
            "timings": {
                "cache_n": 0,
                **_speed("prompt", self.prompt_tokens),
                **_speed("predicted", self.tokens),
            }
        }

    def message(self) -> Dict[str, Any]:
        """Return the message of a whole chat answer. It has no fields whose values are empty."""
        thinking, calls = "".join(self.thoughts), self.calls()
        message: Dict[str, Any] = {"role": "assistant", "content": "".join(self.pieces)}
        if thinking:
            message["reasoning_content"] = thinking
        return {**message, "tool_calls": calls} if calls else message

    def records(self) -> List[Dict[str, Any]]:
        """Return the records of the stream. In a chat, only the first record has the role."""
        if not self.chat:
            pieces = [self._piece({"text": piece}, at) for at, piece in enumerate(self.pieces)]
            return [*pieces, {**self.record({"text": ""}, self.finish), **self._end()}]
        deltas = [{"reasoning_content": piece} for piece in self.thoughts]
        records = [
            self.delta({"role": "assistant", "content": None}),
            *map(self.delta, deltas),
            *(
                self._piece({"delta": {"content": piece}}, at)
                for at, piece in enumerate(self.pieces)
            ),
            *(self.delta({"tool_calls": [piece]}) for piece in self.call_pieces()),
        ]
        end = self.record({"delta": {}}, self.finish)
        if self.wants_usage:
            return [*records, end, {**self.record(None), **self._end()}]
        return [*records, {**end, **self.extra_fields()}]

    @property
    def begun(self) -> int:
        """The number of records up to and including the first one that has text."""
        return len(self.thoughts) + (2 if self.chat else 1)

    def choice(self, content: Mapping[str, Any], finish: Optional[str]) -> Dict[str, Any]:
        """Return a choice. In a completion, it always has the field `logprobs`.

        In a chat, it has this field only if `content` has it.
        """
        beside = {} if self.chat else {"logprobs": None}
        return {"finish_reason": finish, "index": self.index, **beside, **content}

    # --- the answer -------------------------------------------------------------------------

    @property
    def wants_usage(self) -> bool:
        """Whether a request for a stream asks for a record with the usage."""
        return bool(mapping_in(self.body, "stream_options").get("include_usage"))

    def whole_choice(self) -> Dict[str, Any]:
        """Return the choice of a whole answer."""
        text = {"message": self.message()} if self.chat else {"text": "".join(self.pieces)}
        return self.choice({**text, **self.logprobs()}, self.finish)

    def whole(self) -> Dict[str, Any]:
        """Return the whole answer."""
        kind = "chat.completion" if self.chat else "text_completion"
        fields = {**self._fields(kind), "usage": self.usage(), **self.extra_fields()}
        return {"choices": [self.whole_choice()], **fields}

    def own_form(self) -> Dict[str, Any]:
        """Return the whole answer in the form of llama.cpp's route ``/completion``."""
        number = self.body.get("n_probs")
        asked = int(number) if isinstance(number, (int, float)) else 0
        entries = {"completion_probabilities": self.token_entries(asked)} if asked else {}
        answer = {
            "index": self.index,
            "content": "".join(self.pieces),
            "tokens": [],
            "id_slot": 0,
            "stop": True,
            "model": self.model,
            "tokens_predicted": len(self.pieces),
            "tokens_evaluated": self.prompt_tokens,
            "prompt": self.body.get("prompt"),
            "has_new_line": False,
            "truncated": False,
            "stop_type": "limit" if self.finish == "length" else "eos",
            "stopping_word": "",
            "tokens_cached": self.prompt_tokens,
            **entries,
            **self.extra_fields(),
        }
        wanted = self.body.get("response_fields")
        return {name: answer[name] for name in wanted if name in answer} if wanted else answer

    def record(
        self, content: Optional[Mapping[str, Any]], finish: Optional[str] = None
    ) -> Dict[str, Any]:
        """Return a record of the stream. If `content` is None, the record has no choice."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        choices = [] if content is None else [self.choice(content, finish)]
        return {"choices": choices, **self._fields(kind)}

    def delta(self, delta: Mapping[str, Any]) -> Dict[str, Any]:
        """Return a record of a chat stream."""
        return self.record({"delta": delta})

    def logprobs(self, *places: int) -> Dict[str, Any]:
        """Return the log-probabilities of some tokens of the text, or of all.

        If the request does not ask for log-probabilities, the result is empty.

        Args:
            places: The indexes of the tokens; none means all tokens.
        """
        if not self.body.get("logprobs"):
            return {}
        numbers = (self.body.get(name) for name in ("top_logprobs", "logprobs"))
        asked = next((int(number) for number in numbers if isinstance(number, (int, float))), 0)
        return {"logprobs": {"content": self.token_entries(asked, *places)}}

    def token_entries(self, number: int, *places: int) -> List[Dict[str, Any]]:
        """Return the probabilities of some tokens of the text, or of all: one entry for each token.

        Args:
            number: How many of the likeliest tokens each entry lists.
            places: The indexes of the tokens; none means all tokens.
        """
        entries = []
        for at in places or range(len(self.pieces)):
            piece = self.pieces[at]
            free = free_distribution(self.reply, piece) if at == 0 else usual_distribution(piece)
            entries.append(token_entry(piece, free, self.body, number))
        return entries

    def calls(self) -> List[Dict[str, Any]]:
        """Return the tool calls of a whole answer."""
        return [
            {
                "type": "function",
                "function": {"name": call.name, "arguments": dumps(dict(call.arguments))},
                "id": call.id,
            }
            for call in self.reply.tool_calls
        ]

    def call_pieces(self) -> List[Dict[str, Any]]:
        """Return the tool calls in pieces.

        The first piece has the name and the first character of the arguments. Two further pieces
        have the other characters.
        """
        pieces: List[Dict[str, Any]] = []
        for index, call in enumerate(self.calls()):
            text = call["function"]["arguments"]
            function = {"name": call["function"]["name"], "arguments": text[:1]}
            pieces.append({"index": index, **call, "function": function})
            half = (len(text) + 1) // 2
            for part in (text[1:half], text[half:]):
                pieces.append({"index": index, "function": {"arguments": part}})
        return pieces

    def _fields(self, kind: str) -> Dict[str, Any]:
        return {
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "object": kind,
            "id": self.id,
        }

    def _piece(self, content: Mapping[str, Any], at: int) -> Dict[str, Any]:
        return self.record({**content, **self.logprobs(at)})

    def _end(self) -> Dict[str, Any]:
        return {"usage": self.usage(), **self.extra_fields()}


def stream_of(answers: Sequence[TextAnswer]) -> Answer:
    """Return the stream of one or several answers, one after another."""
    records = [record for answer in answers for record in answer.records()]
    return Answer(
        [*map(dumps, records), _DONE],
        kind="events",
        frame=as_event,
        begun=answers[0].begun,
        content_type="text/event-stream",
        headers=[("Cache-Control", "no-cache")],
        pause_s=answers[0].reply.pause_s,
    )


def _speed(name: str, tokens: int) -> Dict[str, Any]:
    """Return the durations for the prompt or the answer: one millisecond for each token."""
    return {
        f"{name}_n": tokens,
        f"{name}_ms": float(tokens),
        f"{name}_per_token_ms": 1.0,
        f"{name}_per_second": 1000.0,
    }
