"""A request with any JSON in any field is answered: the fake server itself never fails."""

from __future__ import annotations

import copy
import http.client
import json
from typing import Any, Dict, Iterator, List, Tuple
from urllib.parse import urlsplit

import pytest

from localproviders.testing import FakeLMStudio, FakeOllama, FakeOpenAICompatible

_CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_CHAT: Dict[str, Any] = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "content": "1", "tool_call_id": "a"},
    ],
    "stream": False,
    "stream_options": {},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "tool_choice": "auto",
    "response_format": {"type": "text"},
    "max_completion_tokens": 5,
    "stop": ["x"],
    "logprobs": True,
    "top_logprobs": 1,
}
_V1: Dict[str, Dict[str, Any]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": {"prompt": "x", "stream": True, "max_tokens": 3, "logprobs": 1},
    "/v1/embeddings": {"input": "x", "encoding_format": "float", "dimensions": 3},
}
_NATIVE_CALL = {"function": {"name": "f", "arguments": {}}}
_OLLAMA: Dict[str, Dict[str, Any]] = {
    "/api/chat": {
        "messages": [
            {"role": "user", "content": "x", "images": []},
            {"role": "assistant", "content": "", "tool_calls": [_NATIVE_CALL]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "options": {"stop": ["x"], "num_ctx": 5},
        "format": "json",
        "keep_alive": "5m",
        "think": False,
        "top_logprobs": 1,
    },
    "/api/generate": {"prompt": "x", "context": [1], "images": [], "stream": False},
    "/api/embed": {"input": "x", "truncate": True, "dimensions": 3},
    "/api/create": {"from": "x", "files": {}, "parameters": {}, "messages": []},
}
_LMSTUDIO: Dict[str, Dict[str, Any]] = {
    "/api/v1/chat": {"input": [{"type": "text", "content": "x"}], "store": True},
    "/api/v1/models/load": {"context_length": 5, "flash_attention": True},
    "/api/v0/chat/completions": _CHAT,
}
_FAKES = {
    FakeOllama: {**_OLLAMA, **_V1},
    FakeOpenAICompatible: _V1,
    FakeLMStudio: {**_LMSTUDIO, **_V1},
}
_ODD: List[Any] = [
    *(None, True, -1, 1.5, float("inf"), "x", "", [], [5], [None], [[1]], {}, {"a": 1}, [{}]),
    *({"type": {}}, [{"type": []}], {"type": "json_schema", "json_schema": {"schema": 5}}),
    *([{"type": "function", "function": 5}], [{"function": {"name": [], "parameters": 5}}]),
]


def _places(value: Any, path: Tuple[Any, ...] = ()) -> Iterator[Tuple[Any, ...]]:
    if path:
        yield path
    pairs: Any = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else pairs:
        yield from _places(item, (*path, key))


def _with(body: Any, path: Tuple[Any, ...], value: Any) -> Any:
    made = inner = copy.deepcopy(body)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


def _check(kind: Any, requests: Iterator[Tuple[str, Any]]) -> None:
    with kind() as fake:  # an exception of the fake server would be raised at the end
        server = http.client.HTTPConnection(urlsplit(fake.url).netloc, timeout=20)
        for path, body in requests:
            model = fake.models["embed" in path].name
            text = body if isinstance(body, str) else json.dumps({"model": model, **body})
            server.request("POST", path, text)
            answer = server.getresponse().read().decode()
            assert "the script of this server" not in answer, (path, text)
        server.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", _FAKES)
def test_no_json_in_any_field_makes_a_fake_fail(kind: Any) -> None:
    places = ((path, body, place) for path, body in _FAKES[kind].items() for place in _places(body))
    _check(kind, ((path, _with(body, place, v)) for path, body, place in places for v in _ODD))


@pytest.mark.parametrize("kind", _FAKES)
def test_odd_fields_and_bodies_are_answered(kind: Any) -> None:
    """These requests once made a fake server fail."""
    odd: List[Dict[str, Any]] = [
        {"response_format": "json"},
        {"stream_options": 5, "stream": True},
        {"max_completion_tokens": float("inf")},
        {"top_logprobs": "x"},
        {"top_logprobs": None},
        {"tools": 5},
        {"messages": [None]},
        {"messages": [{"role": "user", "content": [{"type": []}]}]},
    ]
    bodies = [{**_CHAT, **fields} for fields in odd]
    texts = ("[" * 100_000, "1", "null", "{", "")
    paths = [path for path in _FAKES[kind] if "chat" in path]
    _check(kind, iter([(path, body) for path in paths for body in (*bodies, *texts)]))
