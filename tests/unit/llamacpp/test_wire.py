"""The JSON of llama.cpp's own routes, and the limits while it reads a prompt."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterable, List

import pytest

from localproviders import (
    LimitError,
    Limits,
    LlamaCppProvider,
    ModelInfo,
    ProtocolError,
    RequestRejectedError,
)
from localproviders.llamacpp.wire import models, responses
from localproviders.llamacpp.wire.errors import RULES
from localproviders.testing import Exchange, ScriptedServer, http_answer
from localproviders.testing.scripted import Step
from tests.support.fake_time import FakeTime


def _look() -> None:
    """Check no limit."""


def _record(progress: Any = None, **delta: Any) -> str:
    choice = {"index": 0, "delta": delta or {"role": "assistant", "content": None}}
    record: Dict[str, Any] = {"choices": [choice], "model": "m"}
    return json.dumps(record if progress is None else {**record, "prompt_progress": progress})


def test_only_further_tokens_count_as_progress() -> None:
    calls: List[int] = []
    parser = responses.ReadingParser(100, RULES, _look, lambda: calls.append(1))
    counts = [0, 10, 10, 5, 20]
    chunks = [parser.parse(_record({"total": 20, "processed": done})) for done in counts]

    fractions = [chunk.progress.fraction for chunk in chunks if chunk and chunk.progress]
    assert fractions == [0, 0.5, 0.5, 0.25, 1.0]
    assert len(calls) == 3


@pytest.mark.parametrize("progress", [None, [], {}, {"processed": "many"}, {"processed": -1}])
def test_a_strange_progress_is_no_progress(progress: Any) -> None:
    parser = responses.ReadingParser(100, RULES, _look, lambda: None)
    chunk = parser.parse(_record(progress))
    assert chunk is not None
    assert chunk.progress is None


def test_a_text_with_the_word_is_no_progress() -> None:
    parser = responses.ReadingParser(100, RULES, _look, lambda: None)
    chunk = parser.parse(_record(content="prompt_progress"))
    assert chunk is not None
    assert (chunk.text, chunk.progress) == ("prompt_progress", None)


def _events(*records: str) -> bytes:
    return b"".join(b"data: %s\n\n" % record.encode() for record in records)


def _reading(exchange: Exchange, pauses: Iterable[float]) -> Iterable[Step]:
    """Send a report after each pause, then the text."""
    yield http_answer(b"", content_type="text/event-stream", chunked=True)[:-5]
    for done, pause in enumerate(pauses):
        exchange.hold(pause)
        yield _chunk(_events(_record({"total": 99, "processed": done})))
    yield _chunk(_events(_record(content="Hi"), _end(), "[DONE]"))
    yield b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _end() -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})


_LIMITS = Limits(first_token_s=20, load_s=0, idle_s=10)


def test_a_long_prompt_may_be_read_for_longer_than_a_first_token_may_take(
    fake_clock: FakeTime,
) -> None:
    with ScriptedServer(lambda exchange: _reading(exchange, [9] * 8)) as server:
        with LlamaCppProvider(server.url, model="m", timeout=_LIMITS) as provider:
            assert provider.chat("Hi").text == "Hi"


def test_a_server_that_stops_reading_meets_the_limit_of_silence(fake_clock: FakeTime) -> None:
    with ScriptedServer(lambda exchange: _reading(exchange, [1, 1, 30])) as server:
        with LlamaCppProvider(server.url, model="m", timeout=_LIMITS) as provider:
            with pytest.raises(LimitError) as caught:
                provider.chat("Hi")
    assert caught.value.limit == "idle_s"


def _native(**fields: Any) -> Any:
    parser = responses.NativeParser(100, RULES, _look, lambda: None)
    return parser.parse(json.dumps({"content": "x", "stop": True, **fields}))


@pytest.mark.parametrize(
    ("word", "reason"),
    [("limit", "length"), ("eos", "stop"), ("word", "stop"), ("new", "new"), (None, None)],
)
def test_the_end_of_a_native_answer_has_the_word_of_the_dialect(word: Any, reason: Any) -> None:
    assert _native(stop_type=word).finish_reason == reason


def test_a_native_answer_without_text_is_no_answer() -> None:
    parser = responses.NativeParser(100, RULES, _look, lambda: None)
    assert parser.parse("  ") is None
    with pytest.raises(ProtocolError):
        parser.parse('{"stop": true}')
    with pytest.raises(RequestRejectedError):
        parser.parse('{"error": {"code": 400, "message": "no", "type": "invalid_request_error"}}')


def test_native_log_probabilities_are_read() -> None:
    token = {"id": 1, "token": "x", "logprob": -0.5, "top_logprobs": []}
    (found,) = _native(completion_probabilities=[token]).logprobs
    assert (found.token, found.logprob) == ("x", -0.5)


@pytest.mark.parametrize("event", [None, [], {}, {"data": 3}, {"model": 4, "data": {"status": 1}}])
def test_a_strange_event_is_about_no_model(event: Any) -> None:
    found = models.parse_event(event)
    assert (found.model, found.state) == (None, None)


def test_both_names_of_an_event_are_read() -> None:
    for name in ("model_status", "status_change"):
        event = models.parse_event({"model": "m", "event": name, "data": {"status": "loaded"}})
        assert (event.model, event.state) == ("m", "loaded")


@pytest.mark.parametrize("raw", [None, {}, {"status": 3}, {"status": {"value": 3}}])
def test_an_entry_without_a_state_is_that_of_the_only_model(raw: Any) -> None:
    info = ModelInfo(name="m", provider="p", raw=raw)
    assert models.state_of(info) is None
    assert models.names_of(info) == ("m",)


def test_the_files_of_a_download_are_added() -> None:
    progress = {"a": {"done": 1, "total": 4}, "b": {"done": 2, "total": 6}}
    status = {"value": "downloading", "progress": progress}
    job = models.download_of(ModelInfo(name="m", provider="p", raw={"status": status}))
    assert (job.completed_bytes, job.total_bytes, job.is_done) == (3, 10, False)
