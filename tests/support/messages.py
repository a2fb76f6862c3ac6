"""A plain reader of recorded messages and events, independent of the package."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple


class Message(NamedTuple):
    """The content of a recorded response of ``/v1/messages``."""

    text: str
    thinking: str
    calls: List[Tuple[str, Any]]
    stop_reason: str
    usage: Mapping[str, Any]
    blocks: List[Dict[str, Any]]


def body_of(response: bytes) -> bytes:
    """Return the body of a raw HTTP response."""
    head, _, body = response.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return body
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return found


def events_of(body: bytes) -> List[Dict[str, Any]]:
    """Return the events of a stream."""
    lines = re.findall(r"^data: (.*)$", body.decode(), re.MULTILINE)
    return [json.loads(line) for line in lines]


def read_message(body: bytes) -> Message:
    """Return the message in a body: a stream of events, or JSON."""
    if body.lstrip().startswith(b"{"):
        whole = json.loads(body)
        return _message(whole["content"], whole["stop_reason"], whole["usage"])
    blocks: Dict[int, Dict[str, Any]] = {}
    usage: Dict[str, Any] = {}
    reason = ""
    for event in events_of(body):
        kind = event["type"]
        if kind == "message_start":
            usage.update(event["message"]["usage"])
        elif kind == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "written": ""}
        elif kind == "content_block_delta":
            _add(blocks[event["index"]], event["delta"])
        elif kind == "message_delta":
            reason = event["delta"]["stop_reason"]
            usage.update(event["usage"])
    return _message([_whole(blocks[index]) for index in sorted(blocks)], reason, usage)


def _add(block: Dict[str, Any], delta: Mapping[str, Any]) -> None:
    if delta["type"] == "signature_delta":
        block["signature"] = delta["signature"]
    for name in ("text", "thinking", "partial_json"):
        block["written"] += delta.get(name, "")


def _whole(block: Dict[str, Any]) -> Dict[str, Any]:
    written = block.pop("written")
    if block["type"] in ("text", "thinking"):
        block[block["type"]] += written
    elif written:
        block["input"] = json.loads(written)
    return block


def _message(blocks: List[Dict[str, Any]], reason: str, usage: Mapping[str, Any]) -> Message:
    texts = {
        kind: "".join(block[kind] for block in blocks if block["type"] == kind)
        for kind in ("text", "thinking")
    }
    calls = [(b["name"], b.get("input", {})) for b in blocks if b["type"] == "tool_use"]
    return Message(texts["text"], texts["thinking"], calls, reason, usage, blocks)
