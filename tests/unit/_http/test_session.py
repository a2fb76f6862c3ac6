"""Requests as they are sent and as a mock sees them, although a prepared request is reused."""

from __future__ import annotations

import functools
import json
from typing import Any, List

import pytest
import requests
import responses

from localproviders import OllamaProvider, OpenAICompatibleProvider, SecretString
from localproviders._http import session
from localproviders._http import socket as bounded_socket
from localproviders.testing import Exchange, ScriptedServer, http_answer

_WHOLE = {
    "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
    "model": "m",
}


def _answer(_: Exchange) -> List[bytes]:
    return [http_answer(_WHOLE)]


def _provider(url: str) -> OpenAICompatibleProvider:
    key = SecretString("key-1")
    return OpenAICompatibleProvider(f"{url}/v1", model="m", api_key=key, timeout=5)


def test_each_request_has_its_own_body_and_length() -> None:
    questions = ["Hi", "What is ü?", "x" * 200_000, "Hi"]
    with ScriptedServer(_answer) as server, _provider(server.url) as provider:
        for question in questions:
            assert provider.chat(question).text == "Hello"

        asked = [exchange.json["messages"][0]["content"] for exchange in server.exchanges]
        lengths = [int(exchange.headers["content-length"]) for exchange in server.exchanges]
        assert asked == questions
        assert lengths == [len(exchange.body) for exchange in server.exchanges]
        first, *others = ({**each.headers, "content-length": ""} for each in server.exchanges)
        assert all(headers == first for headers in others)
        assert first["authorization"] == "Bearer key-1"


def test_requests_of_different_kinds_do_not_mix() -> None:
    def script(exchange: Exchange) -> List[bytes]:
        return [http_answer({"data": []} if exchange.method == "GET" else _WHOLE)]

    with ScriptedServer(script) as server, _provider(server.url) as provider:
        for _ in range(2):
            provider.list_models()
            provider.chat("Hi")

        kinds = [(each.method, each.path, "content-type" in each.headers, bool(each.body))
                 for each in server.exchanges]  # fmt: skip
        assert (
            kinds
            == [
                ("GET", "/v1/models", False, False),
                ("POST", "/v1/chat/completions", True, True),
            ]
            * 2
        )


def test_a_small_request_is_one_step_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: List[int] = []
    bounded = bounded_socket.BoundedSocket.bounded

    def counting(self: Any, step: Any, data: Any) -> Any:
        if step.__name__ == "send":
            sent.append(len(data))
        return bounded(self, step, data)

    monkeypatch.setattr(bounded_socket.BoundedSocket, "bounded", counting)
    with ScriptedServer(_answer) as server, _provider(server.url) as provider:
        for _ in range(3):
            provider.chat("Hi")

    assert len(sent) == 3


@responses.activate
def test_a_mock_sees_whole_requests_and_its_user_whole_answers() -> None:
    url = "http://127.0.0.1:1/v1/chat/completions"
    responses.add(responses.POST, url, json=_WHOLE)
    with _provider("http://127.0.0.1:1") as provider:
        for question in ("one", "two"):
            assert provider.chat(question).text == "Hello"

    for question, call in zip(("one", "two"), responses.calls):
        assert json.loads(call.request.body or b"")["messages"][0]["content"] == question
        assert call.request.headers["CONTENT-LENGTH"] == str(len(call.request.body or b""))
        assert call.request.headers["authorization"] == "Bearer key-1"
        assert call.request.path_url == "/v1/chat/completions"
        assert call.response.headers["content-TYPE"] == "application/json"
        assert call.response.ok


@responses.activate
def test_no_cookie_is_kept_for_the_next_request() -> None:
    url = "http://127.0.0.1:1/api/version"
    responses.add(responses.GET, url, json={"version": "1"}, headers={"Set-Cookie": "a=b"})
    with OllamaProvider("http://127.0.0.1:1") as provider:
        provider.version()
        provider.version()

    assert "Cookie" not in responses.calls[1].request.headers


def test_what_takes_the_place_of_the_sessions_method_sees_each_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send, seen = requests.Session.send, []

    @functools.wraps(send)
    def tracing(self: Any, request: Any, **kwargs: Any) -> Any:
        seen.append(request.url)
        return send(self, request, **kwargs)

    monkeypatch.setattr(requests.Session, "send", tracing)
    with ScriptedServer(_answer) as server, _provider(server.url) as provider:
        for _ in range(2):
            assert provider.chat("Hi").text == "Hello"

        assert seen == [f"{server.url}/v1/chat/completions"] * 2
        assert server.open_connections == 1


def test_what_differs_in_more_than_the_body_is_prepared_anew() -> None:
    settings = OllamaProvider("http://127.0.0.1:1").settings
    sent = session.Session(settings)
    kinds: List[Any] = [
        ("POST", "/a", {"Accept": "x"}, b"1"),
        ("PUT", "/a", {"Accept": "x"}, b"1"),
        ("POST", "/b", {"Accept": "x"}, b"1"),
        ("POST", "/a", {"Accept": "y"}, b"1"),
        ("POST", "/a", {"Accept": "x"}, None),
    ]
    for method, path, headers, body in kinds * 2:
        url = f"http://127.0.0.1:1{path}"
        request = sent._prepare(method, url, headers, body)
        fresh = requests.Request(method, url, headers=headers, data=body).prepare()
        assert (request.method, request.url, request.body) == (method, url, body)
        assert request.headers == fresh.headers
    sent.close()
