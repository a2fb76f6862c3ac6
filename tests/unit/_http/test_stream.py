"""Streams: the end of an answer that repeats itself, and answers that were cut off."""

from __future__ import annotations

import json
from typing import Any, Iterable, List

import pytest

from localproviders import (
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RepetitionError,
    StreamInterruptedError,
)
from localproviders._http.repetitions import find_repetition
from localproviders.testing import FakeOllama, ScriptedServer
from localproviders.testing.faults.fault import chunk, close
from localproviders.testing.scripted import Exchange, Step, http_answer

_TAGS = http_answer({"models": [{"name": "m:latest", "model": "m:latest"}]})
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", None),
        ("Hello there, friend.", None),
        ("a" * 29, None),
        ("a" * 30, 0),
        ("a" * 31, 1),
        ('{"a": 1' + "\n" * 30, 7),
        ('{"a": 1' + " \n\t" * 10, 7),
        ('{"a": 1' + "\n" * 29, None),
        ("So: " + " ha" * 30, 4),
        ("So: " + " ha" * 30 + ".", None),
        ("So: " + ("x" * 63 + "y") * 30, 4),
        ("So: " + ("x" * 64 + "y") * 30, None),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, " * 2, None),
        ("é" * 30, 0),
    ],
)
def test_repetitions_at_the_end_of_a_text_are_found(text: str, start: Any) -> None:
    assert find_repetition(text) == start


def test_a_long_text_is_searched_only_at_its_end() -> None:
    text = "word " * 5 + "x" * 50_000_000 + "y"
    assert find_repetition(text) is None


def _record(**message: str) -> bytes:
    said = {"model": "m", "message": {"role": "assistant", "content": "", **message}, "done": False}
    return json.dumps(said).encode() + b"\n"


def _end_of(records: List[bytes], *end: Step) -> ProviderError:
    def steps(exchange: Exchange) -> Iterable[Step]:
        if exchange.path == "/api/tags":
            return [_TAGS]
        return [_HEAD + b"".join(map(chunk, records)), *end]

    with ScriptedServer(steps) as server, OllamaProvider(server.url, model="m") as provider:
        with pytest.raises(ProviderError) as caught:
            provider.chat("Hi")
    return caught.value


_LAST_CHUNK = b"0\r\n\r\n"


@pytest.mark.parametrize("piece", [" ha", "\n", " \t", "=-=-"])
def test_an_answer_that_repeats_itself_and_ends_in_good_order(piece: str) -> None:
    error = _end_of([_record(content='{"a": ')] + [_record(content=piece)] * 31, _LAST_CHUNK)
    assert type(error) is RepetitionError
    assert error.partial == '{"a": ' + piece * 31
    assert (error.exit_code, error.retryable) == (10, False)
    assert error.hint and "repeat_penalty" in error.hint
    assert piece not in str(error) or not piece.strip()


def test_thinking_that_repeats_itself_counts_too() -> None:
    error = _end_of([_record(thinking=" well")] * 31, _LAST_CHUNK)
    assert type(error) is RepetitionError
    assert error.partial == ""


def test_blanks_that_are_held_back_count_too() -> None:
    """The first blanks of an answer are held back, because a tag of the thinking may follow."""
    error = _end_of([_record(content="\n")] * 31, _LAST_CHUNK)
    assert type(error) is RepetitionError
    assert error.partial == "\n" * 31


def test_a_connection_that_was_cut_in_a_repetition_is_no_repetition() -> None:
    error = _end_of([_record(content=" ha")] * 31, close)
    assert type(error) is StreamInterruptedError
    assert error.retryable
    assert error.partial == " ha" * 31


def test_half_a_record_after_a_repetition_is_no_repetition() -> None:
    error = _end_of([_record(content=" ha")] * 31 + [b'{"model": "m", "mes'], _LAST_CHUNK)
    assert type(error) is StreamInterruptedError
    assert error.retryable


def test_an_answer_without_a_repetition_that_ends_in_good_order_is_not_retryable() -> None:
    error = _end_of([_record(content="Hello")], _LAST_CHUNK)
    assert type(error) is StreamInterruptedError
    assert not error.retryable
    assert error.hint and "log" in error.hint


def test_an_error_after_a_repetition_stays_that_error() -> None:
    words = "an error was encountered while running the model: unexpected EOF"
    record = json.dumps({"error": words}).encode() + b"\n"
    error = _end_of([_record(content=" ha")] * 31 + [record], _LAST_CHUNK)
    assert type(error) is StreamInterruptedError
    assert error.server_message == words
    assert error.retryable and error.hint and "call again" in error.hint


def test_the_openai_dialect_of_the_same_server() -> None:
    """Ollama ends this stream without a finish reason and without ``[DONE]``."""
    records = [{"model": "m", "choices": [{"index": 0, "delta": {"content": " ha"}}]}] * 31
    body = b"".join(b"data: " + json.dumps(record).encode() + b"\n\n" for record in records)
    answer = http_answer(body, headers=[("Content-Type", "text/event-stream")])
    with ScriptedServer(answer) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            with pytest.raises(RepetitionError) as caught:
                provider.chat("Hi")
    assert caught.value.partial == " ha" * 31


def test_a_stream_shows_the_repetitions_before_the_error() -> None:
    seen = []
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        fake.repeat_guard = True
        fake.reply_with("So:" + " ha" * 40)
        with provider.stream("Hi") as stream, pytest.raises(RepetitionError) as caught:
            for piece in stream:
                seen.append(piece.text)
    assert "".join(seen) == caught.value.partial == "So:" + " ha" * 31


@pytest.mark.parametrize("call", ["chat", "stream"])
def test_the_model_of_an_answer_is_that_of_its_last_record(call: str) -> None:
    """The third record, with text and thinking, makes no template for the records after it."""
    deltas = [("a", "m"), ("b", "m"), ("c", "other"), ("d", "m"), ("e", "m")]
    records = [
        {
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "delta": {
                        "content": text,
                        **({"reasoning_content": "t"} if text == "c" else {}),
                    },
                }
            ],
        }
        for text, model in deltas
    ]
    lines = [f"data: {json.dumps(record)}\n\n" for record in records]
    ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    body = "".join([*lines, f"data: {json.dumps(ended)}\n\n", "data: [DONE]\n\n"])
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

    with ScriptedServer(lambda _: [head + body.encode(), close]) as server:
        with OpenAICompatibleProvider(server.url, model="m") as provider:
            if call == "chat":
                response = provider.chat("Hi", allow_other_model=True)
            else:
                with provider.stream("Hi", allow_other_model=True) as stream:
                    for _ in stream:
                        pass
                response = stream.result()
    assert (response.text, response.model) == ("abcde", "m")
