"""Exact counts and rendered prompts of a llama.cpp server."""

from __future__ import annotations

from typing import Any, List

import pytest

from localproviders import Image, LimitError, LlamaCppProvider, Message, ServerBusyError
from localproviders.testing import Exchange, FakeLlamaCpp, FakeModel, ScriptedServer, http_answer

_PNG = Image.from_bytes(b"\x89PNG\r\n\x1a\n....")
_MISSING = {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}


def look(city: str) -> str:
    """Look.

    Args:
        city: Where.
    """
    return city


def test_the_body_of_a_count_is_that_of_the_chat() -> None:
    model = FakeModel(name="m", abilities=("chat", "tools", "vision"))
    with FakeLlamaCpp([model]) as fake, LlamaCppProvider(fake.url, model="m") as provider:
        message = Message.user("What is it?", images=[_PNG])
        count = provider.count_tokens(message, system="Be brief.", tools=[look])
        usage = provider.chat([Message.system("Be brief."), message], tools=[look]).usage
        counted, sent = (e.json for e in fake.exchanges if e.path.startswith("/v1/chat"))

    assert count.source == "exact"
    assert count.tokens == usage.prompt_tokens
    extra = ("stream", "stream_options", "return_progress")
    assert counted == {name: value for name, value in sent.items() if name not in extra}


def _old_server(exchange: Exchange) -> List[bytes]:
    answers = {"/apply-template": {"prompt": "user: Hi"}, "/tokenize": {"tokens": [1, 2, 3]}}
    found = answers.get(exchange.path)
    return [http_answer(_MISSING, status="404 Not Found") if found is None else http_answer(found)]


def test_an_old_server_counts_by_its_template_and_is_asked_so_at_once() -> None:
    with ScriptedServer(_old_server) as server:
        with LlamaCppProvider(server.url, model="m") as provider:
            counts = [provider.count_tokens("Hi") for _ in range(2)]
            picture = provider.count_tokens(Message.user("Hi", images=[_PNG]))
        paths = [exchange.path for exchange in server.exchanges]

    assert [(count.tokens, count.source) for count in counts] == [(3, "exact")] * 2
    assert picture.source != "exact"
    assert paths[1:] == ["/apply-template", "/tokenize"] * 2


def test_a_count_does_not_load_a_model() -> None:
    with FakeLlamaCpp(["one", "two"]) as fake, LlamaCppProvider(fake.url) as provider:
        assert provider.count_tokens("Hi", model="one").source != "exact"
        assert provider.loaded_models() == []
        provider.load("one")
        assert provider.count_tokens("Hi", model="one").source == "exact"


def test_a_busy_server_is_an_error() -> None:
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    answer: Any = http_answer(loading, status="503 Service Unavailable")
    with ScriptedServer(lambda _: [answer]) as server:
        with LlamaCppProvider(server.url, model="m", retry=None) as provider:
            # The total may expire between two requests, or during the last one.
            with pytest.raises((ServerBusyError, LimitError)):
                provider.count_tokens("Hi", timeout=1)


def test_a_prompt_is_rendered_by_the_server() -> None:
    with FakeLlamaCpp(["m"]) as fake, LlamaCppProvider(fake.url, model="m") as provider:
        assert provider.render("one two", system="Be brief.") == "Be brief. one two"
        assert fake.exchanges[-1].path == "/apply-template"
