"""A provider that is copied, pickled or sent to another process works as the original does."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from typing import Any, Callable, Dict, List, Union

import pytest

from localproviders import LMStudioProvider, OllamaProvider, OpenAICompatibleProvider
from localproviders.testing import Exchange, http_answer
from tests.promises.life.child import run_program
from tests.promises.life.serving import (
    CHUNKED,
    CountingServer,
    chunk,
    close,
    echo,
    event,
    hold,
    question,
    reply,
)

Steps = List[Union[bytes, Callable[[Exchange], None]]]


def _refusal(status: str, message: str, **more: Any) -> bytes:
    return http_answer({"error": {"message": message}}, status=status, **more)


_TOO_LONG = "request (3010 tokens) exceeds the available context size (1024 tokens)"
_FAULTS: Dict[str, Steps] = {
    "busy": [_refusal("503 Busy", "no room", headers=[("Retry-After", "86400")])],
    "cut": [CHUNKED, event("so far"), close],
    "missing": [_refusal("404 Not Found", "model 'm' not found")],
    "too long": [_refusal("400 Bad Request", _TOO_LONG)],
    "no key": [_refusal("401 Unauthorized", "who are you?")],
    "garbage": [b"garbage\r\n\r\n", close],
    "silent": [hold],
    "error inside": [CHUNKED, event("so far"), chunk(b'data: {"error":{"message":"oh"}}\n\n')],
    "ragged": [http_answer({"data": [{"index": 0, "embedding": [1.0, "x"]}], "model": "m"})],
}
_EXPECTED = {
    "busy": "ServerBusyError",
    "cut": "StreamInterruptedError",
    "missing": "ModelNotFoundError",
    "too long": "ContextOverflowError",
    "no key": "AuthenticationError",
    "garbage": "ProtocolError",
    "silent": "LimitError",
    "error inside": "ServerError",
    "ragged": "EmbeddingError",
    "no server": "UnreachableError",
    "outside": "LocalityError",
    "a literal key": "ConfigurationError",
}


def _script(exchange: Exchange) -> Any:
    if exchange.method == "GET":
        return [http_answer({"data": [{"id": "m"}]})]
    asked = exchange.json["input"][0] if "input" in exchange.json else question(exchange)
    return _FAULTS.get(asked) or echo(exchange)


@pytest.mark.sample(0)
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_pool_of_processes_has_the_same_results_and_errors(method: str) -> None:
    env = {**os.environ, "LIFE_KEY": "a-key-of-the-environment"}
    with CountingServer(_script) as server:
        right, compared = run_program("pooling", server.url, method, env=env)
        assert server.wait_until_open(0)

    assert right
    assert {name: kind for name, kind, _ in compared} == _EXPECTED
    assert [name for name, _, same in compared if not same] == []
    keys = {exchange.headers.get("authorization") for exchange in server.exchanges}
    assert keys == {"Bearer a-key-of-the-environment"}


@pytest.mark.sample(6)
@pytest.mark.parametrize("kind", [OllamaProvider, LMStudioProvider, OpenAICompatibleProvider])
@pytest.mark.parametrize(
    "copy_of", [copy.copy, copy.deepcopy, lambda provider: pickle.loads(pickle.dumps(provider))]
)
def test_a_copy_uses_separate_connections(kind: Any, copy_of: Any) -> None:
    with CountingServer(echo) as server, kind(server.url, model="m") as provider:
        provider.chat("before")
        with copy_of(provider) as other:
            assert other.chat("to the copy").text == reply("to the copy")
            assert server.wait_until_open(2)
        assert server.wait_until_open(1)
        assert provider.chat("after").text == reply("after")


@pytest.mark.parametrize("copy_of", [copy.copy, copy.deepcopy])
def test_a_copy_keeps_a_literal_key(copy_of: Any) -> None:
    with CountingServer(echo) as server:
        with copy_of(
            OpenAICompatibleProvider(server.url, model="m", api_key="a-literal-key")
        ) as other:
            other.chat("Hi")

    assert server.exchanges[0].headers["authorization"] == "Bearer a-literal-key"
