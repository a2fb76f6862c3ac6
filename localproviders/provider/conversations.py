"""Answers that take several questions: checked values, and conversations with tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence, Type, TypeVar, overload

from localproviders.provider.answers import Answers, bare, chat_request
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.message import Messages, ToolLike

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from localproviders.tool_loop import OnStep, OnToolError
    from localproviders.types.keywords import RequestFields
    from localproviders.types.outcome import Parsed, ToolRun

T = TypeVar("T")


class Conversations(Answers):
    """What is built on a provider's answers; see `ModelProvider`."""

    @overload
    def parse(
        self,
        messages: Messages,
        response_type: Type[T],
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        max_attempts: int = 3,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> Parsed[T]: ...

    @overload
    def parse(
        self,
        messages: Messages,
        response_type: Any,
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        max_attempts: int = 3,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> Parsed[Any]: ...

    def parse(
        self,
        messages: Messages,
        response_type: Any,
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        max_attempts: int = 3,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> Parsed[Any]:
        """Answer with a value of a type, checked here whatever the server promised.

        The type's JSON Schema is sent in the server's way: as a rule the model's tokens are
        bound to it, but the model does not read it, so say in the prompt what you want
        (ollama-api §4.4). A schema whose root is no object is sent as an object with one key
        ``value``. The answer's text is read as JSON, blanks and one Markdown fence around it
        left aside, and checked. One that does not fit is sent back with the reasons and the
        schema, until `max_attempts` answers have come; one that was cut
        (``finish_reason="length"``) before its JSON was whole ends the call at once, because
        the next would be cut, too. Set `max_tokens`: bound output can run on in blanks
        (lmstudio-api §6.1).

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            response_type: A dataclass, a `TypedDict`, another type that `schema_of`
                knows, a pydantic model, or a JSON Schema (the value is then plain JSON).
            model: Name of the model; None takes the provider's.
            system: How the model is to behave; put in front of the messages.
            max_attempts: How many answers to ask for at most.
            timeout: See the class; its total holds for all attempts together.
            cancel: See the class; looked at between attempts, too.
            fields: Further fields of `CompletionRequest`, but not `response_schema`.

        Raises:
            SchemaError: No answer followed the schema: `text` is the last one, `reasons`
                say why not.
            ConfigurationError: The type has no schema that can be sent and checked. Nothing
                was sent.
            UnsupportedError: The server takes no schema; with ``strict=False`` it is left
                out, and only the check is left.
            LimitError: A limit ran out; the total names the whole call's.
            ValueError: As for `chat`; or `max_attempts` is below 1.
            ProviderError: As for `complete`.
        """
        try:
            request = chat_request(messages, model, system, (), fields)
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system, fields  # as above
        from localproviders import structured

        return structured.parse(
            self,
            request,
            response_type,
            max_attempts=max_attempts,
            timeout=timeout,
            cancel=cancel,
        )

    def run_tools(
        self,
        messages: Messages,
        tools: Sequence[ToolLike],
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        max_rounds: int = 8,
        on_tool_error: OnToolError = "report",
        on_step: Optional[OnStep] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> ToolRun:
        """Let the model call Python functions until it answers.

        Each round asks the model, and its calls are dealt with one after another, in this
        thread and in their order: the tool is found by its name (else by the only one that
        differs in nothing but case and punctuation, lmstudio-api §6.2), the arguments are
        checked against its schema and made into the types of its annotations, the function
        is run, and its result is sent back. A text is sent as it is; anything else as JSON,
        dataclasses and named tuples as objects, enums as their values, dates as ISO 8601,
        bytes as base64. An unknown tool, or arguments that do not fit, are told to the model,
        which may try again.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            tools: Functions with annotations, or `Tool` values that have a `function`.
            model: Name of the model; None takes the provider's.
            system: How the model is to behave; put in front of the messages.
            max_rounds: How often the model is asked at most. What it calls in the last round
                is not run.
            on_tool_error: What becomes of an `Exception` that a tool raises, and of a result
                that is no JSON: ``report`` sends ``TypeName: message`` to the model as the
                result; ``raise`` lets the exception end the loop, as it is.
            on_step: Told of each call, as soon as it has been dealt with: before a tool's
                error ends the loop, too. What it raises ends the loop.
            timeout: See the class; its total holds for all rounds and tools together. It is
                looked at behind each tool: one that is running is not interrupted.
            cancel: See the class; looked at behind each tool, too.
            fields: Further fields of `CompletionRequest`. A `tool_choice` that makes the
                model call a tool holds for the first round; the later ones send none, or it
                would never answer.

        Raises:
            ToolCallError: A call is incomplete, or the model still calls tools after
                `max_rounds`.
            LimitError: A limit ran out; the total names the whole call's.
            CancelledError: The caller ended the call.
            ValueError: As for `chat`; or a tool has no function, or `max_rounds` is below 1.
                Nothing was sent.
            ConfigurationError: A tool cannot be described, or its schema cannot be checked.
                Nothing was sent.
            ProviderError: As for `complete`. Each of these errors has in `run` what had been
                done before it.
            Exception: What a tool raised, with ``on_tool_error="raise"``.
        """
        try:
            request = chat_request(messages, model, system, tools, fields)
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system, fields  # as above
        from localproviders import tool_loop

        return tool_loop.run_tools(
            self,
            request,
            max_rounds=max_rounds,
            on_tool_error=on_tool_error,
            on_step=on_step,
            timeout=timeout,
            cancel=cancel,
        )
