"""The half of the interface that is about answers: text, values, tools, vectors."""

from __future__ import annotations

from abc import abstractmethod
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
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
from localproviders.tool_loop import OnToolError, as_tools
from localproviders.types.answer import CompletionResponse, EmbeddingResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.message import Messages, ToolLike, as_messages
from localproviders.types.outcome import Parsed, ToolRun, ToolStep
from localproviders.types.request import (
    CompletionRequest,
    EmbeddingRequest,
    RequestFields,
    check_field_names,
)
from localproviders.types.tokens import TokenCount

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: What `embed` takes: one text, several, or a whole request.
Texts = Union[str, Sequence[str], EmbeddingRequest]

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
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> EmbeddingResponse:
        """Turn texts into vectors, in one request; their order is kept.

        Args:
            texts: One text, several, or an `EmbeddingRequest`, which then says it all.
            model: Name of the model; None takes the provider's.
            dimensions: Length that the vectors shall have; None keeps the model's.
            truncate: True lets the server cut a text that is too long.
            timeout: See the class.
            cancel: See the class.

        Raises:
            ValueError: There is no text, or an empty one.
            ContextOverflowError: A text is too long, and the server says so.
            EmbeddingError: A vector is missing, misshapen or not finite.
            ProviderError: As for `stream_completion`.
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

        The type's JSON Schema is sent in the server's way. An answer that does not follow
        it is sent back with the reasons, until `max_attempts` answers have come.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            response_type: A dataclass, a `TypedDict`, another type that `schema_of`
                knows, a pydantic model, or a JSON Schema (the value is then plain JSON).
            model: Name of the model; None takes the provider's.
            system: How the model is to behave; put in front of the messages.
            max_attempts: How many answers to ask for at most.
            timeout: See the class; its total holds for all attempts together.
            cancel: See the class.
            fields: Further fields of `CompletionRequest`, but not `response_schema`.

        Raises:
            SchemaError: No answer followed the schema; it has the last one, and why.
            ConfigurationError: The type has no schema that can be sent and checked.
            ProviderError: As for `complete`.
        """
        try:
            return structured.parse(
                self,
                _chat_request(messages, model, system, (), fields),
                response_type,
                max_attempts=max_attempts,
                timeout=timeout,
                cancel=cancel,
            )
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system, fields  # as above

    def run_tools(
        self,
        messages: Messages,
        tools: Sequence[ToolLike],
        *,
        model: Optional[str] = None,
        system: Optional[str] = None,
        max_rounds: int = 8,
        on_tool_error: OnToolError = "report",
        on_step: Optional[Callable[[ToolStep], None]] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        **fields: Unpack[RequestFields],
    ) -> ToolRun:
        """Let the model call Python functions until it answers.

        Each round asks the model, checks the arguments of its calls against the tools'
        schemas, runs the functions one after another in this thread, and sends their
        results back.

        Args:
            messages: A text, a `Message`, or several messages or dictionaries.
            tools: Functions with annotations, or `Tool` values that have a `function`.
            model: Name of the model; None takes the provider's.
            system: How the model is to behave; put in front of the messages.
            max_rounds: How often the model is asked at most.
            on_tool_error: ``report`` sends a tool's error to the model as its result;
                ``raise`` lets it end the loop.
            on_step: Told of each call of a tool, when it has been run. What it raises ends
                the loop.
            timeout: See the class; its total holds for all rounds and tools together. A
                tool that is running is not interrupted.
            cancel: See the class.
            fields: Further fields of `CompletionRequest`.

        Raises:
            ToolCallError: A call is incomplete, or the model still calls tools after
                `max_rounds`.
            ProviderError: As for `complete`.
        """
        try:
            return tool_loop.run_tools(
                self,
                _chat_request(messages, model, system, tools, fields),
                max_rounds=max_rounds,
                on_tool_error=on_tool_error,
                on_step=on_step,
                timeout=timeout,
                cancel=cancel,
            )
        finally:
            del messages, system, fields  # as above

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
