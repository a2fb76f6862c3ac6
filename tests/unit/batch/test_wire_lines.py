"""The lines of an output are read back as they were written."""

from __future__ import annotations

import json
from array import array
from typing import Any, List

import pytest

from localproviders import (
    AllFailedError,
    CompletionResponse,
    ContextOverflowError,
    Decisions,
    EmbeddingError,
    EmbeddingResponse,
    ModelNotFoundError,
    ProviderError,
    Ranking,
    ToolCall,
    UnreachableError,
    errors,
)
from localproviders.batch import BatchRecord
from localproviders.batch.wire.lines import compact_line_of, line_of, read_line, write_line
from localproviders.types import (
    Decision,
    RankedDocument,
    ServerAttempt,
    ServerTimings,
    Timings,
    TokenLogprob,
    Usage,
)

_FACTS: Any = {
    "model": "m",
    "provider": "p",
    "endpoint": "http://127.0.0.1:1",
    "digest": "abc",
    "request_id": "req-1",
    "warnings": ("careful",),
    "attempts": 2,
    "tried": (ServerAttempt(provider="q", model="m", error="UnreachableError"),),
}
_CHAT = CompletionResponse(
    text="Hé 😀",
    thinking="hm",
    tool_calls=(ToolCall(id="1", name="f", arguments={"a": [1]}),),
    finish_reason="length",
    usage=Usage(prompt_tokens=3, completion_tokens=4, thinking_tokens=1, cached_tokens=2),
    timings=Timings(first_token_s=0.1, total_s=0.2),
    server_timings=ServerTimings(load_s=0.3),
    logprobs=(TokenLogprob(token="H", logprob=-0.5),),
    **_FACTS,
)
_DECISION = Decision(
    name="q", kind="yes_no", source="systemone", probabilities={"yes": 0.25, "no": 0.75}
)
_VALUES: List[Any] = [
    ("chat", _CHAT),
    ("completion", _CHAT.replace(thinking="", tool_calls=())),
    ("chat", CompletionResponse(text="", model="m", provider="p")),
    ("embedding", EmbeddingResponse(vectors=(array("f", [0.1, -2.5e-8]),), **_FACTS)),
    ("embedding", EmbeddingResponse(vectors=(array("f", [1]), array("f", [2])), **_FACTS)),
    ("decision", Decisions(answers={"q": _DECISION}, **_FACTS)),
    ("rerank", Ranking(results=(RankedDocument(index=1, score=-2.5, document="d"),), **_FACTS)),
]


@pytest.mark.parametrize(("kind", "value"), _VALUES)
def test_an_answer_in_the_form_of_openai(kind: str, value: Any) -> None:
    record = BatchRecord(id="a", row=7, kind=kind, value=value)
    data = json.loads(write_line(record.to_dict()))
    assert (data["id"], data["custom_id"], data["error"]) == ("batch_req_7", "a", None)
    assert data["response"]["status_code"] == 200
    read = BatchRecord.from_dict(data)
    assert read == record
    assert read.value == value


def test_the_body_of_a_chat_is_that_of_openai() -> None:
    record = BatchRecord(id="a", row=0, kind="chat", value=_CHAT)
    response = record.to_dict()["response"]
    assert response["request_id"] == "req-1"
    choice = response["body"]["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (_CHAT.text, "length")
    assert choice["message"]["tool_calls"][0]["function"] == {
        "name": "f",
        "arguments": '{"a": [1]}',
    }
    assert response["body"]["usage"]["total_tokens"] == 7


def test_an_error_with_partial_text() -> None:
    error = ContextOverflowError("too long", partial="so far", context_length=9, hint="shorten it")
    record = BatchRecord(id="a", row=1, error=error, kind="chat")
    data = json.loads(write_line(record.to_dict()))
    assert data["response"] is None
    assert data["error"]["code"] == "ContextOverflowError"
    assert (data["error"]["message"], data["error"]["retryable"]) == ("too long", False)
    read = BatchRecord.from_dict(data).error
    assert isinstance(read, ContextOverflowError)
    assert (read.partial, read.context_length, read.hint) == ("so far", 9, "shorten it")


@pytest.mark.parametrize(("kind", "value"), _VALUES)
def test_a_compact_line_has_the_id_and_the_answer(kind: str, value: Any) -> None:
    record = BatchRecord(id="a", row=7, kind=kind, value=value)
    data = json.loads(write_line(compact_line_of(record)))
    assert "model" not in data
    read = read_line(data)
    assert (read.id, read.row) == ("a", -1)
    for name in ("text", "vectors", "answers"):
        assert getattr(read.value, name, None) == getattr(value, name, None)


def test_an_error_that_has_other_errors() -> None:
    down = UnreachableError("down", provider="a")
    empty = EmbeddingError("one of 2", failures={1: "empty"}, errors={1: ModelNotFoundError("no")})
    error = AllFailedError("all failed", errors=(down, empty), retryable=True)
    record = BatchRecord(id="a", row=1, error=error, kind="embedding")
    read = BatchRecord.from_dict(json.loads(write_line(line_of(record)))).error
    assert isinstance(read, AllFailedError)
    assert [type(each) for each in read.errors] == [UnreachableError, EmbeddingError]
    first, second = read.errors
    assert (first.message, first.provider, first.retryable) == ("down", "a", True)
    assert isinstance(second, EmbeddingError)
    assert isinstance(second.errors[1], ModelNotFoundError)


_FACTS_OF_ERRORS: Any = {
    "LimitError": {"limit": "idle_s", "limit_s": 1.5, "elapsed_s": 2.5},
    "WrongModelError": {"requested": "a", "served": "b"},
    "IntegrityError": {"path": "x"},
    "LockHeldError": {"path": "x"},
}
_ERRORS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, ProviderError)
]


@pytest.mark.parametrize("write", [line_of, compact_line_of])
@pytest.mark.parametrize("cls", _ERRORS, ids=lambda cls: cls.__name__)
def test_every_error_has_all_its_attributes_after_reading(cls: Any, write: Any) -> None:
    error = cls("no", **_FACTS_OF_ERRORS.get(cls.__name__, {}))
    record = BatchRecord(id="a", row=1, error=error, kind="chat")
    read = BatchRecord.from_dict(json.loads(write_line(write(record)))).error
    assert type(read) is cls
    assert read is not None
    assert {*vars(read)} - {*vars(error)} == {"retryable"}
    assert {*vars(error)} <= {*vars(read)}
    assert (str(read), read.hint, read.retryable) == (str(error), None, error.retryable)
    if write is line_of:
        assert {**vars(error), "retryable": error.retryable} == vars(read)


def test_an_error_of_an_unknown_class() -> None:
    for name in ("NewError", "Any", "load_error", "__doc__"):
        line = {"id": "a", "error": {"code": name, "message": "no", "retryable": True}}
        read = BatchRecord.from_dict(line).error
        assert type(read) is ProviderError
        assert (read.message, read.retryable) == ("no", True)


def test_a_compact_error() -> None:
    error = ModelNotFoundError("no model", available=("x",), partial="y")
    line = compact_line_of(BatchRecord(id="a", row=0, error=error))
    assert line == {
        "id": "a",
        "error": {
            "code": "ModelNotFoundError",
            "message": "no model",
            "retryable": False,
            "partial": "y",
        },
    }
    assert isinstance(read_line(line).error, ModelNotFoundError)


@pytest.mark.parametrize(
    "data", [5, {}, {"id": "a"}, {"custom_id": "a"}, {"custom_id": "a", "response": {}}]
)
def test_another_line_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="it "):
        BatchRecord.from_dict(data)


def test_half_of_a_surrogate_pair_can_be_written() -> None:
    assert json.loads(write_line({"a": "\ud800"})) == {"a": "\ud800"}
