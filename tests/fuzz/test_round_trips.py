"""Every public value comes back from its dictionary, and a tool call from the wire."""

from __future__ import annotations

import json
from typing import Any, Type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders._http.transport import encode
from localproviders._record import Record
from localproviders.ollama import wire as ollama
from localproviders.openai_compatible import wire as dialect
from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler
from localproviders.types import Message, ToolCall
from tests.fuzz.pieces import as_json, examples
from tests.fuzz.promises import check
from tests.fuzz.values import VALUES, value

by_class = pytest.mark.parametrize("cls", VALUES, ids=lambda cls: cls.__name__)


@by_class
@examples(50)
@given(data=st.data())
def test_a_value_keeps_its_promises(cls: Type[Record], data: Any) -> None:
    made = data.draw(value(cls))

    check(made)
    assert made.replace() == made


@examples(100)
@given(value(ToolCall).filter(lambda call: call.id and call.name))
def test_a_tool_call_sent_is_the_one_that_is_read(call: ToolCall) -> None:
    message = Message.assistant(tool_calls=[call])
    sent = json.loads(encode(ollama.message_payload(message)))
    record = as_json({"message": sent, "done": False})
    assembler = ToolCallAssembler()
    assembler.add(json.loads(encode(dialect.message_payload(message)))["tool_calls"])

    (ollamas,) = ollama.ChunkParser(100).parse(record).tool_calls
    (dialects,) = assembler.whole(None)
    assert ollamas == dialects == call
