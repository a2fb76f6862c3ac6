"""What comes out of several answers: a checked value, a conversation with tools."""

from __future__ import annotations

from dataclasses import field
from typing import Generic, Optional, Tuple, TypeVar

from localproviders._record import CONTENT, Record, loads, loads_each, record
from localproviders.types.answer import CompletionResponse
from localproviders.types.message import Message, ToolCall

T = TypeVar("T")


@record
class Parsed(Record, Generic[T]):
    """A value out of an answer, checked against its schema.

    Attributes:
        value: The value: an instance of the type that was asked for.
        response: The answer that held it.
        attempts: How often the model was asked.
    """

    value: T = field(metadata=CONTENT)
    response: CompletionResponse = field(metadata=loads(CompletionResponse.from_dict))
    attempts: int = 1


@record
class ToolStep(Record):
    """One call of a tool, and what came of it.

    Attributes:
        call: The call, as the model asked for it.
        content: What was sent back to the model.
        error: Why the tool was not run, or what it raised; None where it gave a result.
        elapsed_s: Seconds that the tool took.
        round: The round of the loop, from 1.
    """

    call: ToolCall = field(metadata=loads(ToolCall.from_dict))
    content: str = field(metadata=CONTENT)
    error: Optional[str] = field(default=None, metadata=CONTENT)
    elapsed_s: float = 0.0
    round: int = 1


@record
class ToolRun(Record):
    """A conversation in which the model called tools, to its end.

    Attributes:
        response: The last answer.
        messages: The whole conversation, the last answer included: pass it on with a
            further message to go on.
        steps: Every call of a tool, in order.
        rounds: How often the model was asked.
    """

    response: CompletionResponse = field(metadata=loads(CompletionResponse.from_dict))
    messages: Tuple[Message, ...] = field(metadata=loads_each(Message.from_dict, **CONTENT))
    steps: Tuple[ToolStep, ...] = field(default=(), metadata=loads_each(ToolStep.from_dict))
    rounds: int = 1

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return self.response.text
