"""Every public record equals its copy from a dictionary, and a tool call its copy from JSON."""

from __future__ import annotations

import json
from typing import Any, Type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders._http.transport import encode
from localproviders._record import Record
from localproviders.ollama.wire import requests as ollama_requests
from localproviders.ollama.wire import responses as ollama_responses
from localproviders.openai_compatible.wire import requests as dialect_requests
from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler
from localproviders.types import Message, ToolCall
from tests.promises.fuzz.promises import check
from tests.promises.fuzz.values import VALUES, value
from tests.support.depth import examples
from tests.support.pieces import as_json

by_class = pytest.mark.parametrize("cls", VALUES, ids=lambda cls: cls.__name__)


@pytest.mark.sample(2)
@by_class
@examples(50)
@given(data=st.data())
def test_a_record_equals_its_copies(cls: Type[Record], data: Any) -> None:
    made = data.draw(value(cls))

    check(made)
    assert made.replace() == made


@examples(100)
@given(value(ToolCall).filter(lambda call: call.id and call.name))
def test_a_sent_tool_call_is_parsed_as_the_same(call: ToolCall) -> None:
    message = Message.assistant(tool_calls=[call])
    sent = json.loads(encode(ollama_requests.message_payload(message)))
    record = as_json({"message": sent, "done": False})
    assembler = ToolCallAssembler()
    assembler.add(json.loads(encode(dialect_requests.message_payload(message)))["tool_calls"])

    (ollamas,) = ollama_responses.ChunkParser(100).parse(record).tool_calls
    (dialects,) = assembler.complete_calls(None)
    assert ollamas == dialects == call
