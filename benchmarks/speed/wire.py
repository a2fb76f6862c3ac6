"""The responses of the fixture server, built once for each path and cached.

A path begins with the shape of the response, ``/CUT/NUMBER/SIZE``. The path of Ollama's or OpenAI's
API follows. A chat has NUMBER events of SIZE characters. CUT says how the events are divided into
chunks and writes. Embeddings are NUMBER vectors of SIZE values.
"""

from __future__ import annotations

import base64
import json
import random
from array import array
from functools import lru_cache
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

MODEL = "bench"
#: The context window of the model: larger than any answer here.
WINDOW = 1 << 22
#: The most bytes in one write of a coalesced stream.
_BLOCK = 64 * 1024

#: How a stream is divided.
#: coalesced: many records in each chunk, one chunk per write.
#: chunks: one record in each chunk, many chunks per write.
#: tokens: one record in each chunk, one chunk per write.
#: paced: like tokens, but 1 ms apart, and the text of each record is the time of its writing.
CUTS = ("coalesced", "chunks", "tokens", "paced")
#: The CUT with which the server sends vectors as floats even if the request asks for base64.
FLOATS = "floats"


class Shape(NamedTuple):
    """The shape of a response, from the beginning of a path."""

    cut: str
    number: int
    size: int

    @property
    def prefix(self) -> str:
        """Return the shape as the beginning of a path."""
        return f"/{self.cut}/{self.number}/{self.size}"


def dumps(value: Any) -> bytes:
    """Return JSON without blanks, as servers write it."""
    return json.dumps(value, separators=(",", ":")).encode()


def words(size: int) -> Tuple[str, str]:
    """Return the texts of two events.

    They alternate, because litellm ends a chat that repeats one text.
    """
    return (" token" * (size // 6 + 1))[:size], (" stone" * (size // 6 + 1))[:size]


def text_of(shape: Shape) -> str:
    """Return the complete text of a chat."""
    one, other = words(shape.size)
    return (one + other) * (shape.number // 2) + one * (shape.number % 2)


# --- Ollama ---------------------------------------------------------------------------------


def ollama_record(text: str) -> bytes:
    """Return one line of a streamed chat."""
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
    """Return the last line of a streamed chat, or the body of a chat that is not streamed."""
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
    """Return one event of a streamed chat."""
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
    """Return the last events of a chat: the finish reason, the usage, and `[DONE]`."""
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    return b"".join(
        (_openai([choice]), _openai([], usage=_usage(count, prompt)), b"data: [DONE]\n\n")
    )


def openai_completion(count: int, prompt: int, text: str) -> bytes:
    """Return the body of a chat that is not streamed."""
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


# The first token of an answer and its alternatives, the likeliest first.
_TOKENS = ("B", "A", "C", *(f" word{number}" for number in range(17)))
_TOP = [
    {"token": token, "logprob": -0.3 - 1.2 * place, "bytes": list(token.encode())}
    for place, token in enumerate(_TOKENS)
]
_LOGPROBS = {"content": [{**_TOP[0], "top_logprobs": _TOP}]}


def openai_first_token(stream: bool) -> bytes:
    """Return the body of a chat with one token and its alternatives, streamed or not."""
    if stream:
        choice = {"index": 0, "delta": {"content": "B"}, "logprobs": _LOGPROBS}
        end = {"index": 0, "delta": {}, "finish_reason": "length"}
        last = (_openai([end]), _openai([], usage=_usage(1, 40)), b"data: [DONE]\n\n")
        return b"".join((_openai([choice]), *last))
    message = {"role": "assistant", "content": "B"}
    choice = {"index": 0, "message": message, "logprobs": _LOGPROBS, "finish_reason": "length"}
    record = {"id": "chatcmpl-7", "object": "chat.completion", "created": 1_760_000_000}
    return dumps({**record, "model": MODEL, "choices": [choice], "usage": _usage(1, 40)})


# --- streams --------------------------------------------------------------------------------


def chunk(body: bytes) -> bytes:
    """Return bytes framed as one chunk of the chunked transfer encoding."""
    return b"%x\r\n%b\r\n" % (len(body), body)


LAST_CHUNK = b"0\r\n\r\n"


@lru_cache(maxsize=32)
def writes(shape: Shape, dialect: str) -> List[bytes]:
    """Return the bytes of each write of a stream, for all events but the last ones."""
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
    # The list repeats the same bytes objects, so a million events take no memory.
    framed = {block: chunk(block) for block in set(blocks)}
    return [framed[block] for block in blocks]


# --- vectors --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def numbers(size: int) -> Tuple[str, ...]:
    """Return values as a model computes them: 32-bit floats, written with nine digits."""
    source = random.Random(size)
    values = array("f", (source.uniform(-0.2, 0.2) for _ in range(size)))
    return tuple(f"{value:.9g}" for value in values)


def _row(index: int, size: int) -> Tuple[str, ...]:
    """Return one vector. All vectors have the same numbers, rotated by the index of the vector."""
    shift = index % size
    return numbers(size)[shift:] + numbers(size)[:shift]


def last_value(shape: Shape) -> float:
    """Return the last value of the last vector."""
    return float(_row(shape.number - 1, shape.size)[-1])


def _as_floats(index: int, size: int) -> str:
    return f"[{','.join(_row(index, size))}]"


def _as_base64(index: int, size: int) -> str:
    values = array("f", map(float, _row(index, size)))
    return f'"{base64.b64encode(values.tobytes()).decode()}"'


@lru_cache(maxsize=8)
def ollama_vectors(shape: Shape) -> bytes:
    """Return the body of Ollama's embeddings response."""
    rows = ",".join(_as_floats(index, shape.size) for index in range(shape.number))
    rest = f'"total_duration":1,"load_duration":1,"prompt_eval_count":{shape.number}'
    return f'{{"model":"{MODEL}","embeddings":[{rows}],{rest}}}'.encode()


@lru_cache(maxsize=8)
def openai_vectors(shape: Shape, packed: bool) -> bytes:
    """Return the body of an OpenAI embeddings response: floats, or base64 of 32-bit floats."""
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
_DECIDED = {
    "type": "choice",
    "choice": "billing",
    "probabilities": {"shipping": 0.125, "billing": 0.75, "technical": 0.125},
    "confidence": 0.625,
}
_CARD = {"id": MODEL, "object": "model", "created": 1_760_000_000, "owned_by": "bench"}

#: Responses that never change, by the path of the API.
FIXED: Dict[str, bytes] = {
    path: dumps(value)
    for path, value in {
        "/api/tags": {"models": [_LISTED]},
        "/api/ps": {"models": [{**_LOADED, "context_length": WINDOW}]},
        "/api/show": _SHOWN,
        "/api/version": {"version": "0.12.0"},
        "/v1/systemone": {
            "model": MODEL,
            "answers": {"team": _DECIDED},
            "usage": {"input_tokens": 40, "output_tokens": 0},
        },
        "/v1/models": {"object": "list", "data": [_CARD]},
    }.items()
}
