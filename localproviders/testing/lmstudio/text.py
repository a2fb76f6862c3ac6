"""Text answers of the fake LM Studio server: in the OpenAI dialect, and below ``/api/v0``.

The formats are described in docs/reference/lmstudio.md, "Chat completions", "Streaming" and "The
older routes".
"""

from __future__ import annotations

import uuid
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Optional

from localproviders.testing.openai_answers import TextAnswer

_STOP_REASONS: Mapping[Optional[str], str] = {
    "length": "maxPredictedTokensReached",
    "tool_calls": "toolCalls",
}


class LMStudioAnswer(TextAnswer):
    """A reply as LM Studio sends it in the OpenAI dialect."""

    def new_id(self) -> str:
        """Return an id that no other answer has."""
        return f"{'chatcmpl' if self.chat else 'cmpl'}-{uuid.uuid4().hex[:21]}"

    @property
    def fingerprint(self) -> str:
        """The field `system_fingerprint`, which is the name of the model."""
        return self.model

    def usage(self) -> Dict[str, Any]:
        """Return the numbers of tokens, including the number of reasoning tokens."""
        usage = super().usage()
        del usage["prompt_tokens_details"]
        return {**usage, "completion_tokens_details": {"reasoning_tokens": len(self.thoughts)}}

    def extra_fields(self) -> Dict[str, Any]:
        """Return the statistics, which are empty without a draft model."""
        return {"stats": {}}

    def logprobs(self, *_: int) -> Dict[str, Any]:
        """Return null, because LM Studio ignores a request for log-probabilities."""
        return {"logprobs": None}

    def message(self) -> Dict[str, Any]:
        """Return the message of a whole answer. It also has the fields whose values are empty."""
        return {
            "role": "assistant",
            "content": "".join(self.pieces),
            "reasoning_content": "".join(self.thoughts),
            "tool_calls": self.calls(),
        }

    def choice(self, content: Mapping[str, Any], finish: Optional[str]) -> Dict[str, Any]:
        """Return a choice, which always has the field `logprobs`."""
        return {"index": self.index, **content, "logprobs": None, "finish_reason": finish}

    def records(self) -> List[Dict[str, Any]]:
        """Return the records of the stream.

        In a chat, each record with text, reasoning or a piece of a tool call also has the role.
        """
        if self.chat:
            deltas: List[Dict[str, Any]] = [
                *({"reasoning_content": piece} for piece in self.thoughts),
                *({"content": piece} for piece in self.pieces),
                *({"tool_calls": [piece]} for piece in self.call_pieces()),
            ]
            records = [self.delta({"role": "assistant", **delta}) for delta in deltas]
        else:
            records = [self.record({"text": piece}) for piece in self.pieces]
        end: Dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        records.append(self.record(end, self.finish))
        return [*records, *self.last_records()]

    def last_records(self) -> List[Dict[str, Any]]:
        """Return the record with the usage, if the request asks for it."""
        return [{**self.record(None), "usage": self.usage()}] if self.wants_usage else []

    @property
    def begun(self) -> int:
        """The number of records up to and including the first one that has text."""
        return len(self.thoughts) + 1

    def call_pieces(self) -> List[Dict[str, Any]]:
        """Return the tool calls in pieces: first the name, then the arguments in two halves."""
        pieces: List[Dict[str, Any]] = []
        for index, call in enumerate(self.calls()):
            text = call["function"]["arguments"]
            function = {"name": call["function"]["name"], "arguments": ""}
            pieces.append({"index": index, **call, "function": function})
            for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                function = {"arguments": part}
                pieces.append({"index": index, "type": "function", "function": function})
        return pieces


class OldAnswer(LMStudioAnswer):
    """A reply as the routes below ``/api/v0`` send it."""

    #: The facts about the model. `FakeLMStudio` sets them.
    model_info: Mapping[str, Any] = MappingProxyType({})

    def extra_fields(self) -> Dict[str, Any]:
        """Return the fields that a whole answer of these routes has in addition to the usage."""
        return {
            "stats": {
                "tokens_per_second": 43.73,
                "time_to_first_token": 0.111,
                "generation_time": 0.954,
                "stop_reason": _STOP_REASONS.get(self.finish, "eosFound"),
            },
            "model_info": dict(self.model_info),
            "runtime": {
                "name": "llama.cpp-linux-x86_64-avx2",
                "version": "1.21.0",
                "supported_formats": ["gguf"],
            },
        }

    def last_records(self) -> List[Dict[str, Any]]:
        """Return no records, because the streams of these routes have none with the usage."""
        return []
