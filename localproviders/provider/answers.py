"""The half of the interface that is about answers: text, values, tools, vectors."""

from __future__ import annotations

from abc import abstractmethod
from typing import (
    TYPE_CHECKING,
    Any,
    Iterable,
    Optional,
    Sequence,
    Type,
    TypeVar,
    Union,
    overload,
)

from localproviders import _tokens, structured, tool_loop
from localproviders._http.stream import Stream
from localproviders.provider.models import Models
from localproviders.schema import as_tools
from localproviders.tool_loop import OnStep, OnToolError
from localproviders.types.answer import CompletionResponse, EmbeddingResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.message import Messages, ToolLike, as_messages
from localproviders.types.outcome import Parsed, ToolRun
from localproviders.types.request import (
    BATCH_CHARACTERS,
    BATCH_SIZE,
    CompletionRequest,
    EmbeddingRequest,
    RequestFields,
    check_field_names,
)
from localproviders.types.tokens import TokenCount

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: What `embed` takes: one text, several, or a whole request.
Texts = Union[str, Iterable[str], EmbeddingRequest]

T = TypeVar("T")


class Answers(Models):
    """What every provider answers; see `ModelProvider`."""

    @abstractmethod
    def stream_completion(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Stream:
        """Send a request and give the answer as it comes.

        The request is sent before this returns: an unreachable server, an unknown model
        or a refused parameter is raised here, not while iterating. The `Stream` owns the
        connection.

        Raises:
            ConfigurationError: The request names no model and the provider has none.
            UnsupportedError: The server cannot take a parameter (unless ``strict=False``).
            LocalityError: The prompt would leave the allowed place. Nothing was sent.
            UnreachableError: No server answers.
            ModelNotFoundError: The server has no such model.
            CapabilityError: The model cannot do what is asked.
            ContextOverflowError: The prompt does not fit the context window.
            LimitError: A limit ran out.
            ProviderError: The server refused or failed otherwise.
        """

    @abstractmethod
    def embed(
        self,
        texts: Texts,
        *,
        model: Optional[str] = None,
        dimensions: Optional[int] = None,
        truncate: bool = False,
        keep_alive: Optional[float] = None,
        batch_size: int = BATCH_SIZE,
        batch_characters: int = BATCH_CHARACTERS,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> EmbeddingResponse:
        """Turn texts into vectors, in batches one after another; their order is kept.

        A batch that is refused for a reason that may lie in one text is halved, and again,
        down to the bad texts; the others are embedded all the same. Beside the result and
        the texts, one batch at a time is in memory.

        Args:
            texts: One text, several, or an `EmbeddingRequest`, which then says it all. Any
                iterable of texts is read once, before anything is sent.
            model: Name of the model; None takes the provider's.
            dimensions: Length that the vectors shall have; None keeps the model's.
            truncate: True lets the server cut a text that is too long.
            keep_alive: Seconds to keep the model loaded after each batch.
            batch_size: Most texts in one request.
            batch_characters: Most characters in one request.
            timeout: See the class. Its total is that of the whole call; the other limits
                hold for each batch.
            cancel: See the class.

        Raises:
            ValueError: There is no text, an empty one, or an impossible number.
            EmbeddingError: Some texts could not be embedded; it has their indexes and
                reasons, and the vectors of all others.
            ContextOverflowError: No text could be embedded, because it is too long: so for
                a single one. The same holds for other reasons that all texts share.
            ProviderError: As for `stream_completion`; `embedded` has the vectors of the
                texts that had been done.
        """

    # --- built on these once --------------------------------------------------------------

    def complete(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> CompletionResponse:
        """Send a request and give the whole answer.

        It is streamed on the wire and collected, so that silence is noticed, cancelling
        works, and an error's `partial` has the text so far.

        Raises:
            StreamInterruptedError: The answer stopped before its last record.
            ProviderError: As for `stream_completion`.
        """
        with self.stream_completion(request, timeout=timeout, cancel=cancel) as stream:
            return stream.result()

    def chat(
        self,
        messages: Messages,
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        tools: Sequence[ToolLike] = (),
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> CompletionResponse:
        """Answer a conversation: the same as `complete`.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            model: Name of the model; None takes the provider's.
            system: How the model is to behave; put in front of the messages.
            tools: Tools that the model may call.
            timeout: See the class.
            cancel: See the class.
            fields: Further fields of `CompletionRequest`.

        Raises:
            ValueError: The messages are empty or malformed, or a field's value impossible.
            TypeError: There is no such field.
            ProviderError: As for `complete`.
        """
        try:
            request = _chat_request(messages, model, system, tools, fields)
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system, fields  # a traceback with locals shows no prompt of ours
        return self.complete(request, timeout=timeout, cancel=cancel)

    def stream(
        self,
        messages: Messages,
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        tools: Sequence[ToolLike] = (),
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> Stream:
        """Answer a conversation as the answer comes: the same as `stream_completion`.

        The arguments are those of `chat`.

        Raises:
            ValueError: The messages are empty or malformed, or a field's value impossible.
            TypeError: There is no such field.
            ProviderError: As for `stream_completion`.
        """
        try:
            request = _chat_request(messages, model, system, tools, fields)
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system, fields  # as above
        return self.stream_completion(request, timeout=timeout, cancel=cancel)

    # --- values and tools -----------------------------------------------------------------

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
            request = _chat_request(messages, model, system, (), fields)
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system, fields  # as above
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
            request = _chat_request(messages, model, system, tools, fields)
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system, fields  # as above
        return tool_loop.run_tools(
            self,
            request,
            max_rounds=max_rounds,
            on_tool_error=on_tool_error,
            on_step=on_step,
            timeout=timeout,
            cancel=cancel,
        )

    def count_tokens(
        self,
        messages: Messages,
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        tools: Sequence[ToolLike] = (),
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> TokenCount:
        """Say how long a prompt is, in tokens, and how that is known.

        ``exact`` where the server counts; ``calibrated`` from the prompts of this model
        that this provider has had answered; else ``rough``, from the number of bytes. Only
        an exact count sends the prompt, to the same server and under the same `locality`.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            model: Name of the model; None takes the provider's.
            system: How the model is to behave; put in front of the messages.
            tools: Tools that the model may call; their definitions count.
            timeout: See the class; 30 s in total unless it says otherwise.
            cancel: See the class.

        Raises:
            ValueError: The messages are empty or malformed.
            ConfigurationError: No model is named, or a tool cannot be written as JSON.
            ProviderError: As for `list_models`, where the server is asked. A server that
                has no way to count is no error.
        """
        try:
            request = _chat_request(messages, model, system, tools, {})
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system  # as above
        return self._count(request, timeout, cancel)

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        """Count the tokens of a conversation; this knows nothing but a rule."""
        return _tokens.rough(request)


def _chat_request(
    messages: Messages,
    model: Optional[str],
    system: Optional[str],
    tools: Sequence[ToolLike],
    fields: RequestFields,
) -> CompletionRequest:
    check_field_names(fields)
    return CompletionRequest(
        model=model,
        messages=as_messages(messages, system),
        tools=as_tools(tools),
        **fields,  # type: ignore[arg-type]  # `stop` may be one text, which the request wraps
    )


def bare(error: Exception) -> Exception:
    """Take the frames off an error about arguments: they hold the prompt."""
    error.__context__ = None
    return error.with_traceback(None)
