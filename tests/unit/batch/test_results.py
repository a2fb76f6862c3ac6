"""The attributes of a record belong to one kind of row each."""

from __future__ import annotations

import pickle
from array import array

import pytest

from localproviders import CompletionResponse, EmbeddingResponse, ServerBusyError
from localproviders.batch import BatchRecord

_CHAT = CompletionResponse(text="Hello", model="m", provider="p")


def test_a_chat_has_a_response() -> None:
    record = BatchRecord(id="a", row=0, kind="chat", value=_CHAT)
    assert record.response.text == "Hello"
    for name in ("decisions", "ranking", "vector"):
        with pytest.raises(TypeError, match=f"has no {name}; use response"):
            getattr(record, name)


def test_a_text_has_a_vector() -> None:
    one = EmbeddingResponse(vectors=(array("f", [1, 2]),), model="m", provider="p")
    assert list(BatchRecord(id="a", row=0, kind="embedding", value=one).vector) == [1, 2]
    two = one.replace(vectors=(array("f", [1]), array("f", [2])))
    with pytest.raises(TypeError, match="has 2 texts"):
        BatchRecord(id="a", row=0, kind="embedding", value=two).vector  # noqa: B018  # it raises


def test_a_failed_row_raises_its_error() -> None:
    record = BatchRecord(id="a", row=0, kind="chat", error=ServerBusyError("busy"))
    for name in ("response", "decisions", "ranking", "vector"):
        with pytest.raises(ServerBusyError):
            getattr(record, name)
    assert str(record) == "a: ServerBusyError: busy"


def test_the_repr_has_no_content_and_a_record_pickles() -> None:
    record = BatchRecord(id="a", row=3, kind="chat", value=_CHAT)
    assert "Hello" not in repr(record)
    assert str(record) == "a: Hello"
    assert pickle.loads(pickle.dumps(record)) == record
