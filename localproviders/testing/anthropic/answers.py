"""The model answers of the fake Anthropic service, as one JSON object or as a stream of events."""

from __future__ import annotations

import json
import uuid
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders.testing.answers import Answer, dumps
from localproviders.testing.anthropic.models import dated
from localproviders.testing.anthropic.signatures import signature_of
from localproviders.testing.fake import count_call_tokens, count_tokens
from localproviders.testing.values import Reply, words_of

# The service pads its events with blanks before the last brace.
_PADDINGS = ("", "  ", "       ", "    ")
_REASONS = {"stop": "end_turn", "length": "max_tokens"}


def as_named_event(text: str) -> bytes:
    """Return the bytes of a record as the service sends an event: named, and padded with blanks."""
    try:
        name = json.loads(text)["type"]
    except (ValueError, LookupError, TypeError, RecursionError):
        name = "unknown"  # a fault has changed the record
    padding = _PADDINGS[len(text) % len(_PADDINGS)] if text.endswith("}") else ""
    padded = text[:-1] + padding + "}" if padding else text
    return f"event: {name}\ndata: {padded}\n\n".encode()


def new_id(kind: str) -> str:
    """Return a new id that begins with its kind, such as ``msg_01...``."""
    return f"{kind}_01{uuid.uuid4().hex[:22]}"


class MessageAnswer:
    """A scripted reply in the form of a message of the service.

    Args:
        reply: The scripted reply.
        model: Name of the model.
        body: The request.
        prompt_tokens: Number of tokens of the prompt.
        thinking: Whether the model thinks.
        shows: Whether the message has the text of the thinking.
        redacts: Whether the message has the thinking as an encrypted block.
    """

    def __init__(
        self,
        reply: Reply,
        model: str,
        body: Mapping[str, Any],
        prompt_tokens: int,
        *,
        thinking: bool,
        shows: bool,
        redacts: bool,
    ) -> None:
        self.reply, self.model = reply, reply.model or dated(model)
        self._name, self._prompt_tokens = model, prompt_tokens
        text, self.stop_sequence = _stopped(reply.text, body.get("stop_sequences") or ())
        words, limit = words_of(text), body["max_tokens"]
        thought = reply.thinking if thinking else ""
        left = max(0, limit - count_tokens(thought))
        self.is_cut: bool = left < len(words)
        self.text: str = "".join(words[:left]) if self.is_cut else text
        self.blocks: List[Dict[str, Any]] = self._make_blocks(thought, shows, redacts)
        self.tokens: Tuple[int, int] = (
            count_tokens(thought),
            count_tokens(self.text) + count_call_tokens(reply.tool_calls),
        )
        self.id: str = new_id("msg")

    def _make_blocks(self, thought: str, shows: bool, redacts: bool) -> List[Dict[str, Any]]:
        blocks: List[Dict[str, Any]] = []
        if thought and redacts:
            blocks.append({"type": "redacted_thinking", "data": signature_of(self._name, thought)})
        elif thought:
            shown = thought if shows else ""
            sign = signature_of(self._name, shown)
            blocks.append({"type": "thinking", "thinking": shown, "signature": sign})
        if self.text:
            blocks.append({"type": "text", "text": self.text})
        for call in self.reply.tool_calls:
            given = {"id": call.id, "name": call.name, "input": dict(call.arguments)}
            blocks.append({"type": "tool_use", **given})
        return blocks

    @property
    def thoughts(self) -> List[Dict[str, Any]]:
        """The blocks that contain thinking."""
        return [block for block in self.blocks if "thinking" in block["type"]]

    @property
    def stop_reason(self) -> Optional[str]:
        """The reason why the answer ended."""
        if self.is_cut:
            return "max_tokens"
        if self.reply.tool_calls and self.reply.finish_reason == "stop":
            return "tool_use"
        if self.stop_sequence is not None:
            return "stop_sequence"
        reason = self.reply.finish_reason
        return None if reason is None else _REASONS.get(reason, reason)

    def _usage(self, output: int) -> Dict[str, Any]:
        return {
            "input_tokens": self._prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output,
            "service_tier": "standard",
            "inference_geo": "not_available",
        }

    def _message(self, output: int) -> Dict[str, Any]:
        return {
            "model": self.model,
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": self._usage(output),
        }

    def _end(self) -> Dict[str, Any]:
        return {
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "stop_details": None,
        }

    def whole(self) -> Dict[str, Any]:
        """Return the whole answer as one message."""
        output = sum(self.tokens)
        usage = {
            **self._usage(output),
            "output_tokens_details": {"thinking_tokens": self.tokens[0]},
        }
        return {**self._message(output), "content": self.blocks, **self._end(), "usage": usage}

    def events(self) -> List[Dict[str, Any]]:
        """Return the events of a streamed answer."""
        found = [{"type": "message_start", "message": self._message(1)}]
        for index, block in enumerate(self.blocks):
            events = _events_of(index, block)
            found += [*events[:1], {"type": "ping"}, *events[1:]] if index == 0 else events
        details = {"thinking_tokens": self.tokens[0]}
        usage = {"output_tokens": sum(self.tokens), "output_tokens_details": details}
        found.append({"type": "message_delta", "delta": self._end(), "usage": usage})
        return [*found, {"type": "message_stop"}]

    def stream(self) -> Answer:
        """Return the response that streams the answer."""
        events = self.events()
        texts = (
            at
            for at, event in enumerate(events, start=1)
            if event.get("delta", {}).get("type") == "text_delta"
        )
        return Answer(
            [*map(dumps, events)],
            kind="messages",
            frame=as_named_event,
            begun=next(texts, 1),
            content_type="text/event-stream; charset=utf-8",
            headers=[("Cache-Control", "no-cache")],
            pause_s=self.reply.pause_s,
        )


def _stopped(text: str, stops: Sequence[str]) -> Tuple[str, Optional[str]]:
    """Return the text before the first stop sequence, and this stop sequence.

    If the text has no stop sequence, return the whole text and None.
    """
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    at, stop = min(found, default=(len(text), None))
    return text[:at], stop


def _events_of(index: int, block: Mapping[str, Any]) -> List[Dict[str, Any]]:
    kind = block["type"]
    deltas: List[Dict[str, Any]] = []
    start = dict(block)
    if kind == "text":
        start["text"] = ""
        deltas = [{"type": "text_delta", "text": piece} for piece in words_of(block["text"])]
    if kind == "thinking":
        start.update(thinking="", signature="")
        pieces = words_of(block["thinking"])
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    if kind == "tool_use":
        start["input"] = {}
        deltas = [{"type": "input_json_delta", "partial_json": p} for p in _pieces(block["input"])]
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _pieces(arguments: Mapping[str, Any]) -> List[str]:
    """Return the pieces in which the arguments of a tool call are sent. The first one is empty."""
    if not arguments:
        return [""]
    text = dumps(arguments)
    half = len(text) // 2
    return ["", text[:half], text[half:]]
