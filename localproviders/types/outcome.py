"""What comes out of several answers: a checked value, a conversation with tools."""

from __future__ import annotations

from typing import Generic, Optional, Tuple, TypeVar

from localproviders._record import CONTENT, Record, field, loads, loads_each, record
from localproviders.types.answer import CompletionResponse
from localproviders.types.message import Message, ToolCall

T = TypeVar("T")


@record
class Parsed(Record, Generic[T]):
    """A value out of an answer, checked against its schema.

    Attributes:
        value: The value: an instance of the type that was asked for. `to_dict` gives it as
            plain JSON, and `from_dict` leaves it so.
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
        content: What is sent back to the model.
        error: Why the tool was not run, or ``TypeName: message`` of what it raised; None
            where it gave a result.
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
        messages: The whole conversation, the last answer included: pass it on with a
            further message to go on.
        responses: Every answer of the model, in order: each round's usage and warnings.
        steps: Every call of a tool, in order.
    """

    messages: Tuple[Message, ...] = field(metadata=loads_each(Message.from_dict, **CONTENT))
    responses: Tuple[CompletionResponse, ...] = field(
        metadata=loads_each(CompletionResponse.from_dict)
    )
    steps: Tuple[ToolStep, ...] = field(default=(), metadata=loads_each(ToolStep.from_dict))

    @property
    def response(self) -> CompletionResponse:
        """The last answer."""
        return self.responses[-1]

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return self.response.text

    @property
    def rounds(self) -> int:
        """How often the model was asked."""
        return len(self.responses)


@record
class PartialRun(Record):
    """What `run_tools` had done when an error ended it: that error's `run`.

    The messages that you passed are not in it, because no error carries a prompt.

    Attributes:
        added: What came behind your messages: answers, and one result for each call. A
            call that was not run has a result that says so, so that
            ``[*yours, *error.run.added]`` can be passed on.
        responses: Every answer of the model, in order.
        steps: Every call of a tool that was dealt with, in order.
    """

    added: Tuple[Message, ...] = field(metadata=loads_each(Message.from_dict, **CONTENT))
    responses: Tuple[CompletionResponse, ...] = field(
        metadata=loads_each(CompletionResponse.from_dict)
    )
    steps: Tuple[ToolStep, ...] = field(default=(), metadata=loads_each(ToolStep.from_dict))
