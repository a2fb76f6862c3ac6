"""`ModelProvider`: the interface of every provider, and the conveniences built on it once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, List, Optional, Sequence, Union

from localproviders._http.stream import Stream
from localproviders.types.answer import CompletionResponse, EmbeddingResponse
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.message import Messages, Tool, as_messages
from localproviders.types.model import ModelCapabilities, ModelInfo
from localproviders.types.request import (
    CompletionRequest,
    EmbeddingRequest,
    RequestFields,
    check_field_names,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

#: What `embed` takes: one text, several, or a whole request.
Texts = Union[str, Sequence[str], EmbeddingRequest]


class ModelProvider(ABC):
    """A server of language models on this machine, or wherever its policy allows.

    Every method that talks takes `timeout` (seconds for the whole call, a `Limits`, or
    None for the provider's own) and `cancel` (a `CancelToken`). It ends in a complete
    answer or in one `ProviderError`. A provider may be shared by threads, used after a
    fork, and pickled; it is a context manager that closes its kept connections.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The provider's name, in answers, errors and events."""

    @abstractmethod
    def list_models(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelInfo]:
        """List the models that the server has.

        Its total is 30 s unless `timeout` says otherwise.

        Raises:
            UnreachableError: No server answers.
            ProviderError: The server refused, or gave no list.
        """

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

    @abstractmethod
    def supports_model(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> bool:
        """Say whether the server has this model, comparing names as the server does.

        Raises:
            ProviderError: As for `list_models`; a server that is down raises.
        """

    @abstractmethod
    def model_capabilities(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> ModelCapabilities:
        """Say what a model can do, and how each fact is known.

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: As for `list_models`.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the kept connections. May be called again; the next call opens new ones."""

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
        tools: Sequence[Tool] = (),
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
        tools: Sequence[Tool] = (),
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _chat_request(
    messages: Messages,
    model: Optional[str],
    system: Optional[str],
    tools: Sequence[Tool],
    fields: RequestFields,
) -> CompletionRequest:
    check_field_names(fields)
    return CompletionRequest(
        model=model,
        messages=as_messages(messages, system),
        tools=tuple(tools),
        **fields,  # type: ignore[arg-type]  # `stop` may be one text, which the request wraps
    )


def bare(error: Exception) -> Exception:
    """Take the frames off an error about arguments: they hold the prompt."""
    error.__context__ = None
    return error.with_traceback(None)
