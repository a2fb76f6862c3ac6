"""The fake of llama.cpp's server behaves as the recorded one."""

from __future__ import annotations

import json
import time
from typing import Any, Tuple

import pytest
import requests

from localproviders.testing import FakeLlamaCpp, FakeModel
from tests.support.recordings import dialect_exchange

_MODEL = "gemma3-270m"

#: Recordings whose answer the fake gives in the same words: the name, and the models of the fake.
_SAME = [
    ("router_load", True),
    ("router_load_unknown", True),
    ("router_no_model", True),
    ("router_unknown_model", True),
    ("router_unload_not_running", True),
    ("router_unload_unknown", True),
    ("infill_unsupported", False),
]


def _answer(fake: FakeLlamaCpp, request: Any) -> Tuple[int, Any]:
    with requests.Session() as session:
        session.trust_env = False
        found = session.request(
            request["method"], fake.url + request["path"], json=request["body"], timeout=10
        )
    return found.status_code, found.json()


@pytest.mark.parametrize(("name", "is_router"), _SAME)
def test_the_answer_is_the_recorded_one(name: str, is_router: bool) -> None:
    request, response = dialect_exchange(name, "llamacpp")
    head, _, body = response.partition(b"\r\n\r\n")
    with FakeLlamaCpp([_MODEL, "tiny-decider"] if is_router else [_MODEL]) as fake:
        status, answer = _answer(fake, request)
    assert (status, answer) == (int(head.split()[1]), json.loads(body))


@pytest.mark.parametrize("name", ["props", "slots"])
def test_the_keys_are_those_of_the_recording(name: str) -> None:
    request, response = dialect_exchange(name, "llamacpp")
    real = json.loads(response.partition(b"\r\n\r\n")[2])
    with FakeLlamaCpp([_MODEL]) as fake:
        _, answer = _answer(fake, request)
    if isinstance(real, list):
        (real,), (answer,) = real, answer
    assert set(answer) <= set(real)


def test_a_server_with_one_model_has_no_routes_of_a_router() -> None:
    with FakeLlamaCpp([_MODEL]) as fake:
        request = {"method": "POST", "path": "/models/load", "body": {"model": _MODEL}}
        assert _answer(fake, request)[0] == 404


def test_a_gap_is_filled_by_a_model_that_can() -> None:
    with FakeLlamaCpp([FakeModel(name=_MODEL, abilities=("chat", "insert"))]) as fake:
        body = {"input_prefix": "a", "input_suffix": "b"}
        status, answer = _answer(fake, {"method": "POST", "path": "/infill", "body": body})
    assert (status, answer["stop"]) == (200, True)
    assert answer["content"]


def test_a_list_of_a_router_has_states() -> None:
    with FakeLlamaCpp([_MODEL, "other"]) as fake:
        fake.loaded["other"] = 99
        _, listed = _answer(fake, {"method": "GET", "path": "/models", "body": None})
    states = {row["id"]: row["status"]["value"] for row in listed["data"]}
    assert states == {_MODEL: "unloaded", "other": "loaded"}


_CHAT = [{"role": "user", "content": "Hi"}]
_NEEDS_THE_MODEL = {
    "/v1/chat/completions": {"messages": _CHAT},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/embeddings": {"input": "Hi"},
    "/v1/rerank": {"query": "Hi", "documents": ["Hi"]},
    "/v1/systemone": {"state": "Hi", "questions": {"q": {"type": "noul", "instructions": "Hi?"}}},
    "/v1/chat/completions/input_tokens": {"messages": _CHAT},
    "/infill": {"input_prefix": "Hi", "input_suffix": "Hi"},
}


@pytest.mark.parametrize("path", _NEEDS_THE_MODEL)
def test_a_request_that_needs_the_model_wakes_the_server(path: str) -> None:
    abilities = ("chat", "completion", "insert", "embeddings", "rerank", "decision")
    model = FakeModel(name="m", abilities=abilities, load_s=0.05)
    with FakeLlamaCpp([model]) as fake:
        fake.sleeping = True
        for seen in ("/props", "/v1/models", "/health"):
            _answer(fake, {"method": "GET", "path": seen, "body": None})
            assert fake.sleeping
        for lasts_s in (0.05, 0.0):  # only the first request loads the model
            began = time.monotonic()
            body = {"model": "m", **_NEEDS_THE_MODEL[path]}
            status, answer = _answer(fake, {"method": "POST", "path": path, "body": body})
            assert (status, fake.sleeping) == (200, False), answer
            assert time.monotonic() - began >= lasts_s
        _, properties = _answer(fake, {"method": "GET", "path": "/props", "body": None})
        assert properties["is_sleeping"] is False
