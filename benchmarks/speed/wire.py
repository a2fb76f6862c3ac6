"""What the fixture server sends: built once for each path, and kept.

A path says what comes: ``/CUT/NUMBER/SIZE`` before the path of the dialect. A chat answers in
NUMBER events of SIZE characters, cut as CUT says; embeddings are NUMBER vectors of SIZE values.
"""

from __future__ import annotations

import base64
import json
import random
from array import array
from functools import lru_cache
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

MODEL = "bench"
#: Larger than any answer here: the window of the model, and what is written at once.
WINDOW = 1 << 22
_BLOCK = 64 * 1024

#: How an answer is cut: many records in a chunk and a write; a chunk for each record, many in
#: a write; a chunk and a write for each record; the same, a millisecond apart, stamped.
CUTS = ("coalesced", "chunks", "tokens", "paced")
#: The same place in a path, for vectors: of a server that knows no base64.
FLOATS = "floats"


class Shape(NamedTuple):
    """The beginning of a path, read."""

    cut: str
    number: int
    size: int

    @property
    def prefix(self) -> str:
        """The same as a path."""
        return f"/{self.cut}/{self.number}/{self.size}"


def dumps(value: Any) -> bytes:
    """Write JSON without blanks, as servers do."""
    return json.dumps(value, separators=(",", ":")).encode()


def words(size: int) -> Tuple[str, str]:
    """Give the texts of two events; they take turns, for litellm ends a chat that repeats one."""
    return (" token" * (size // 6 + 1))[:size], (" stone" * (size // 6 + 1))[:size]


def text_of(shape: Shape) -> str:
    """Give the text of a whole chat."""
    one, other = words(shape.size)
    return (one + other) * (shape.number // 2) + one * (shape.number % 2)


# --- Ollama ---------------------------------------------------------------------------------


def ollama_record(text: str) -> bytes:
    """One line of a chat."""
    return dumps(_ollama(text, False)) + b"\n"


def _ollama(text: str, done: bool) -> Dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "model": MODEL,
        "created_at": "2026-01-02T03:04:05.678901Z",
        "message": message,
        "done": done,
    }


def ollama_last(count: int, prompt: int, text: str = "") -> bytes:
    """The last line of a chat, or the whole answer to one that is not streamed."""
    numbers = {
        "done_reason": "stop",
        "total_duration": 300_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": prompt,
        "prompt_eval_duration": 100_000_000,
        "eval_count": count,
        "eval_duration": 199_000_000,
    }
    return dumps({**_ollama(text, True), **numbers}) + b"\n"


# --- OpenAI ---------------------------------------------------------------------------------


def _openai(choices: Sequence[Any], **more: Any) -> bytes:
    record = {
        "id": "chatcmpl-7",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": MODEL,
        "system_fingerprint": MODEL,
        "choices": choices,
    }
    return b"data: " + dumps({**record, **more}) + b"\n\n"


def openai_record(text: str) -> bytes:
    """One event of a chat."""
    delta = {"role": "assistant", "content": text}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return _openai([choice])


def _usage(count: int, prompt: int) -> Dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": count,
        "total_tokens": prompt + count,
    }


def openai_last(count: int, prompt: int) -> bytes:
    """The last events of a chat: the reason, the counts, the mark."""
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    return b"".join(
        (_openai([choice]), _openai([], usage=_usage(count, prompt)), b"data: [DONE]\n\n")
    )


def openai_whole(count: int, prompt: int, text: str) -> bytes:
    """The answer to a chat that is not streamed."""
    message = {"role": "assistant", "content": text}
    return dumps(
        {
            "id": "chatcmpl-7",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": _usage(count, prompt),
        }
    )


# --- streams --------------------------------------------------------------------------------


def chunk(body: bytes) -> bytes:
    """Frame bytes as a chunk of HTTP."""
    return b"%x\r\n%b\r\n" % (len(body), body)


LAST_CHUNK = b"0\r\n\r\n"


@lru_cache(maxsize=32)
def writes(shape: Shape, dialect: str) -> List[bytes]:
    """Give what is written for all events but the last, write by write."""
    written = ollama_record if dialect == "ollama" else openai_record
    pair = [written(text) for text in words(shape.size)]
    if shape.cut != "coalesced":
        pair = [chunk(record) for record in pair]
    if shape.cut == "tokens":
        return (pair * (shape.number // 2 + 1))[: shape.number]
    many = max(1, _BLOCK // len(pair[0]) // 2)
    full, rest = divmod(shape.number, 2 * many)
    blocks = [b"".join(pair) * many] * full
    if rest:
        blocks.append(b"".join(pair) * (rest // 2) + pair[0] * (rest % 2))
    if shape.cut == "chunks":
        return blocks
    # The same bytes object many times over: a million events take no memory.
    framed = {block: chunk(block) for block in set(blocks)}
    return [framed[block] for block in blocks]


# --- vectors --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def numbers(size: int) -> Tuple[str, ...]:
    """Give values as a model computes them: 32 bits, written with nine digits."""
    source = random.Random(size)
    values = array("f", (source.uniform(-0.2, 0.2) for _ in range(size)))
    return tuple(f"{value:.9g}" for value in values)


def _row(index: int, size: int) -> Tuple[str, ...]:
    """Give one vector: the numbers, begun at another place each time."""
    turn = index % size
    return numbers(size)[turn:] + numbers(size)[:turn]


def last_value(shape: Shape) -> float:
    """Give the last value of the last vector."""
    return float(_row(shape.number - 1, shape.size)[-1])


def _as_floats(index: int, size: int) -> str:
    return f"[{','.join(_row(index, size))}]"


def _as_base64(index: int, size: int) -> str:
    values = array("f", map(float, _row(index, size)))
    return f'"{base64.b64encode(values.tobytes()).decode()}"'


@lru_cache(maxsize=8)
def ollama_vectors(shape: Shape) -> bytes:
    """The answer of Ollama's embed."""
    rows = ",".join(_as_floats(index, shape.size) for index in range(shape.number))
    rest = f'"total_duration":1,"load_duration":1,"prompt_eval_count":{shape.number}'
    return f'{{"model":"{MODEL}","embeddings":[{rows}],{rest}}}'.encode()


@lru_cache(maxsize=8)
def openai_vectors(shape: Shape, packed: bool) -> bytes:
    """The answer of the dialect's embeddings, as floats or as base64 of 32 bits each."""
    written = _as_base64 if packed else _as_floats
    data = ",".join(
        f'{{"object":"embedding","index":{index},"embedding":{written(index, shape.size)}}}'
        for index in range(shape.number)
    )
    usage = f'{{"prompt_tokens":{shape.number},"total_tokens":{shape.number}}}'
    return f'{{"object":"list","data":[{data}],"model":"{MODEL}","usage":{usage}}}'.encode()


# --- small answers --------------------------------------------------------------------------

_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "1B",
    "quantization_level": "Q4_K_M",
}
_LISTED = {
    "name": MODEL,
    "model": MODEL,
    "modified_at": "2026-01-02T03:04:05.678901Z",
    "size": 1 << 30,
    "digest": "0" * 64,
    "details": _DETAILS,
}
_LOADED = {**_LISTED, "expires_at": "2036-01-02T03:04:05Z", "size_vram": 0}
_SHOWN = {
    "details": _DETAILS,
    "model_info": {"general.architecture": "llama", "llama.context_length": WINDOW},
    "capabilities": ["completion", "embedding"],
    "modified_at": _LISTED["modified_at"],
}
_CARD = {"id": MODEL, "object": "model", "created": 1_760_000_000, "owned_by": "bench"}

#: The answers that are the same always, by the end of the path.
FIXED: Dict[str, bytes] = {
    path: dumps(value)
    for path, value in {
        "/api/tags": {"models": [_LISTED]},
        "/api/ps": {"models": [{**_LOADED, "context_length": WINDOW}]},
        "/api/show": _SHOWN,
        "/api/version": {"version": "0.12.0"},
        "/v1/models": {"object": "list", "data": [_CARD]},
    }.items()
}
