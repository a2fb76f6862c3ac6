"""Characters in two surrogates: joined in requests and streams; a half alone is told."""

from __future__ import annotations

import json
from typing import Any, Callable, List

import pytest

from localproviders import ConfigurationError, OllamaProvider, OpenAICompatibleProvider
from localproviders._http.halves import has_open_half, join_records
from localproviders._http.transport import encode
from localproviders.testing import ScriptedServer, http_answer

_HEAD = '"model": "m", "message": {"role": "assistant", "content": "'


def _openai(piece: str, reason: str = "null") -> str:
    return f'data: {{"choices": [{{"delta": {{"content": "{piece}"}}, "finish_reason": {reason}}}]}}\n\n'


def _ollama(piece: str, reason: str = "null") -> str:
    done = "false" if reason == "null" else "true"
    return f'{{{_HEAD}{piece}"}}, "done": {done}, "done_reason": {reason}}}\n'


def _ask(pieces: List[str], write: Callable[..., str]) -> str:
    body = "".join([*map(write, pieces), write("", '"stop"')])
    media = "text/event-stream" if write is _openai else "application/x-ndjson"
    answer = http_answer(body.encode(), content_type=media)
    make: Any = OpenAICompatibleProvider if write is _openai else OllamaProvider

    def script(exchange: Any) -> Any:
        if exchange.method == "GET" or exchange.path == "/api/show":
            models = [{"name": "m:latest"}] if exchange.path == "/api/tags" else []
            return [http_answer({"models": models, "capabilities": ["completion"]})]
        return [answer]

    with ScriptedServer(script) as server:
        with make(server.url + ("/v1" if write is _openai else ""), model="m") as provider:
            return str(provider.chat("x").text)


@pytest.mark.parametrize("write", [_openai, _ollama])
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["\\ud83d", "\\ude00"], "\U0001f600"),
        (["a", "b", "c \\uD83D", "\\uDE00 d", "e"], "abc \U0001f600 de"),
        (["\\ud83d", "\\ude00\\ud83d", "\\ude00"], "\U0001f600\U0001f600"),
        (["a", "b", "\\ud83d", "x"], "ab\ufffdx"),
        (["a", "b", "\\ude00"], "ab\ufffd"),
        (["a", "b", "\\ud83d"], "ab\ufffd"),
        (["a\\\\ud83d", "\\\\ude00"], "a\\ud83d\\ude00"),
    ],
)
def test_a_pair_in_two_records_is_one_character(
    write: Callable[..., str], pieces: List[str], text: str
) -> None:
    assert _ask(pieces, write) == text


def test_a_half_is_moved_to_the_same_field_of_the_next_record() -> None:
    record = '{"content": "a\\ud83d", "token": "x"}'
    assert has_open_half(record)
    assert join_records(record, '{"content": "\\ude00"}') == (
        '{"content": "a", "token": "x"}',
        '{"content": "\\ud83d\\ude00"}',
    )
    other = '{"token": "\\ude00"}'
    assert join_records(record, other) == (record, other)
    assert not has_open_half('{"content": "\\ud83d\\ude00"}')


def test_a_pair_of_surrogates_in_a_request_is_sent_as_one_character() -> None:
    body = encode({"messages": [{"content": "a\ud83d\ude00b"}]})
    assert json.loads(body.decode("utf-8")) == {"messages": [{"content": "a\U0001f600b"}]}


@pytest.mark.parametrize("half", ["a\ud800b", "a\udfffb", "\ude00\ud83d"])  # noqa: PT014  # different halves
def test_half_of_a_pair_is_told_with_its_place(half: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        encode({"messages": [{"content": "x"}, {"content": half}]})
    assert caught.value.message == (
        "messages[1].content has half of a surrogate pair, which cannot be sent as UTF-8"
    )
    with pytest.raises(ConfigurationError, match="a name in options"):
        encode({"options": {half: 1}})
