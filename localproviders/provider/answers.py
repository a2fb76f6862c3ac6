"""The half of the interface that is about answers: text, values, tools, vectors."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Iterable, Optional, Sequence, Tuple, Union

from localproviders._http.stream import Stream
from localproviders.provider.models import Models
from localproviders.types.answer import CompletionResponse, EmbeddingResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.message import Messages, Tool, ToolLike, as_messages
from localproviders.types.request import (
    BATCH_CHARACTERS,
    BATCH_SIZE,
    CompletionRequest,
    EmbeddingRequest,
    check_field_names,
)
from localproviders.types.tokens import TokenCount

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from localproviders.types.keywords import RequestFields

#: What `embed` takes: one text, several, or a whole request.
Texts = Union[str, Iterable[str], EmbeddingRequest]


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
            TypeError: This is no `CompletionRequest`.
            ConfigurationError: The request names no model and the provider has none.
            UnsupportedError: The server cannot take a parameter (unless ``strict=False``).
            LocalityError: The prompt would leave the allowed place. Nothing was sent.
            UnreachableError: No server answers.
            ModelNotFoundError: The server has no such model.
            CapabilityError: The model cannot do what is asked.
            ContextOverflowError: The prompt does not fit the context window; or, at the end of
                the stream, the answer has gone past it.
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
            texts: One text, several, or an `EmbeddingRequest`, which then says it all: its
                fields are not allowed beside it. Any iterable of texts is read once, before
                anything is sent.
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
            ValueError: There is no text, an empty one, or an impossible number; or a field
                stands beside a request.
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
            request = chat_request(messages, model, system, tools, fields)
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
            request = chat_request(messages, model, system, tools, fields)
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system, fields  # as above
        return self.stream_completion(request, timeout=timeout, cancel=cancel)

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
            request = chat_request(messages, model, system, tools, {})
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages, system  # as above
        return self._count(request, timeout, cancel)

    def _count(
        self, request: CompletionRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> TokenCount:
        """Count the tokens of a conversation; this knows nothing but a rule."""
        from localproviders._tokens import rough

        return rough(request)


def chat_request(
    messages: Messages,
    model: Optional[str],
    system: Optional[str],
    tools: Sequence[ToolLike],
    fields: RequestFields,
) -> CompletionRequest:
    """Make a request of what `chat` and `stream` take."""
    check_field_names(fields)
    return CompletionRequest(
        model=model,
        messages=as_messages(messages, system),
        tools=() if tools == () else _described(tools),
        **fields,
    )


def _described(tools: Sequence[ToolLike]) -> Tuple[Tool, ...]:
    from localproviders.schema import as_tools

    return as_tools(tools)


def bare(error: Exception) -> Exception:
    """Take the frames off an error about arguments: they hold the prompt."""
    error.__context__ = None
    return error.with_traceback(None)
