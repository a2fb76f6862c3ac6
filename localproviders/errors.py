"""What a user catches: one root, and one class for each thing one does about it.

The same class is raised whether the fault came as a status, inside an answer with
status 200, or in the middle of a stream. No error carries a prompt or a key; text that
a model produced before a call failed is in `partial`, and in no message.
"""

from __future__ import annotations

from array import array
from types import MappingProxyType
from typing import Any, Dict, Mapping, Optional, Tuple, Type

from localproviders._record import plain

_SERVER_TEXT_LIMIT = 2_000


class ProviderError(Exception):
    """The root of everything this package raises about a call.

    Attributes:
        message: One sentence: what happened.
        hint: What to try next, or None.
        retryable: True where the same call may succeed later, unchanged.
        provider: Name of the provider, or None.
        model: Name of the model, or None.
        endpoint: Address of the server, such as ``http://127.0.0.1:11434``, or None.
        status: HTTP status, or None where there was none.
        partial: The model's text before the call failed; empty where there was none.
        server_message: The server's own words, at most 2,000 characters, or None.
        embedded: For a call of `embed`: the index and the vector of each text that had been
            done; empty otherwise. It is in no message.
        run: What `run_tools` had done before this error ended it, a `PartialRun`; None
            where the error came out of another call.
        exit_code: What the command line ends with for this class of error.
    """

    exit_code = 1
    retryable = False
    embedded: Mapping[int, array[float]] = MappingProxyType({})
    run: Any = None

    def __init__(
        self,
        message: str,
        *,
        hint: Optional[str] = None,
        retryable: Optional[bool] = None,
        provider: Optional[str] = None,
        model: Optional[str] = None,
        endpoint: Optional[str] = None,
        status: Optional[int] = None,
        partial: str = "",
        server_message: Optional[str] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if retryable is not None:
            self.retryable = retryable
        self.provider = provider
        self.model = model
        self.endpoint = endpoint
        self.status = status
        self.partial = partial
        self.server_message = server_message and server_message[:_SERVER_TEXT_LIMIT]

    def __str__(self) -> str:
        where = " ".join(
            f"[{name} {value}]"
            for name, value in (("model", self.model), ("at", self.endpoint))
            if value is not None
        )
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.message}{' ' if where else ''}{where}{hint}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r})"

    def add_context(self, **facts: Optional[str]) -> None:
        """Fill in facts (provider, model, endpoint, partial) that are not yet known."""
        for name, value in facts.items():
            if value and not getattr(self, name):
                setattr(self, name, value)

    def to_dict(self) -> Dict[str, Any]:
        """Give the error as plain JSON types: its class name, and the facts that are known."""
        facts = {
            name: plain(value) for name, value in self.__dict__.items() if value not in (None, "")
        }
        return {"error": type(self).__name__, "retryable": self.retryable, **facts}

    def __reduce__(self) -> Tuple[Any, Tuple[Type[ProviderError], Dict[str, Any]]]:
        return (_unpickle, (type(self), self.__dict__.copy()))


def _unpickle(cls: Type[ProviderError], state: Mapping[str, Any]) -> ProviderError:
    error = cls.__new__(cls, state["message"])
    error.args = (state["message"],)
    error.__dict__.update(state)
    return error


# --- what was asked for cannot be done as it stands -------------------------------------


class ConfigurationError(ProviderError, ValueError):
    """A value given to this package is impossible; nothing was sent."""

    exit_code = 2


class UnsupportedError(ConfigurationError):
    """This server has no such thing: a parameter or a verb that it cannot take.

    Raised instead of dropping a parameter in silence, and before anything is sent wherever
    that is known.
    """


class LocalityError(ConfigurationError):
    """A prompt would have left, or an answer came from outside, the allowed place.

    The hint is the line that would allow it.
    """

    exit_code = 3


class AuthenticationError(ConfigurationError):
    """The server wants a key, or refuses the one it was given."""

    exit_code = 4


class DependencyError(ConfigurationError):
    """An optional part is not installed or cannot run here; the hint names the command."""


# --- the line between us and the server -------------------------------------------------


class LinkError(ProviderError):
    """The connection failed; what the server thinks of the request is unknown."""

    exit_code = 5


class UnreachableError(LinkError, ConnectionError):
    """Nothing accepted the connection; nothing was sent."""

    retryable = True


class CertificateError(LinkError):
    """TLS could not be agreed on, or the server's certificate is not trusted."""


class StreamInterruptedError(LinkError):
    """The answer stopped before its last record; `partial` has the text so far."""


class LimitError(LinkError, TimeoutError):
    """A time limit ended the call.

    Attributes:
        limit: The limit that fired: ``connect_s``, ``first_token_s``, ``idle_s`` or
            ``total_s``; ``load_s`` where a server went on saying that it loads its model, or
            the embedded engine did not start in time.
        limit_s: Its value in seconds (for ``first_token_s``: with ``load_s`` added where
            the model might not have been loaded).
        elapsed_s: Seconds since the call began.
    """

    exit_code = 6

    def __init__(
        self, message: str, *, limit: str, limit_s: float, elapsed_s: float, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.limit = limit
        self.limit_s = limit_s
        self.elapsed_s = elapsed_s


# --- the server -------------------------------------------------------------------------


class ServerError(ProviderError):
    """The server failed while it worked on the request."""

    exit_code = 7


class BusyError(ServerError):
    """The server has no room for the request now.

    Attributes:
        retry_after_s: Seconds the server asks to wait, or None where it does not say.
        loading: True where the reason is that the server is loading its model.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: Optional[float] = None,
        loading: bool = False,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.retry_after_s = retry_after_s
        self.loading = loading


class RequestRejectedError(ServerError):
    """The server understood the request and will not take it."""


class ProtocolError(ServerError):
    """What came is not what this kind of server sends: the wrong server, or a broken one."""


class AnswerTooLargeError(ServerError):
    """A line, a body or its nesting went past the size that the settings allow."""


# --- the model --------------------------------------------------------------------------


class ModelError(ProviderError):
    """The model, rather than the server, is the reason."""

    exit_code = 8


class ModelNotFoundError(ModelError):
    """The server has no such model.

    Attributes:
        available: Names of the models that it has, where they are known.
    """

    def __init__(self, message: str, *, available: Tuple[str, ...] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.available = available


class ModelLoadError(ModelError):
    """The model could not be loaded, or its process died."""


class CapabilityError(ModelError):
    """The model cannot do this.

    Attributes:
        evidence: How that is known, in the server's words, or None.
    """

    def __init__(self, message: str, *, evidence: Optional[str] = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.evidence = evidence


class ContextOverflowError(ModelError):
    """The prompt, or prompt and answer together, do not fit into the context window.

    A prompt that the server refused was not answered. Where an answer went past the window,
    `partial` has it whole, and the model had lost the oldest part on the way.

    Attributes:
        prompt_tokens: Length of the prompt as the server counted it, or None.
        context_length: Length of the window in tokens, or None.
    """

    exit_code = 9

    def __init__(
        self,
        message: str,
        *,
        prompt_tokens: Optional[int] = None,
        context_length: Optional[int] = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class WrongModelError(ModelError):
    """The server answered with another model than the one asked for.

    Attributes:
        requested: The model asked for.
        served: The model that answered.
    """

    def __init__(self, message: str, *, requested: str, served: str, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.requested = requested
        self.served = served


# --- the answer -------------------------------------------------------------------------


class AnswerError(ProviderError):
    """The answer arrived whole and cannot be used."""

    exit_code = 10


class SchemaError(AnswerError):
    """The model's answer does not follow the schema, however often it was asked.

    Attributes:
        reasons: Why the last answer does not fit, each with its place in the answer.
    """

    def __init__(self, message: str, *, reasons: Tuple[str, ...] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.reasons = reasons

    @property
    def text(self) -> str:
        """The model's last answer, as it came: the same as `partial`."""
        return self.partial


class ToolCallError(AnswerError):
    """A tool call in the answer is incomplete or no valid JSON, or the calls do not end.

    The first must not be acted on; for the second see `run_tools`, and `run`.
    """


class EmbeddingError(AnswerError):
    """Some texts could not be embedded: refused, or their vectors cannot be used.

    Attributes:
        failures: For each bad text, its index and the reason.
        errors: For each bad text, its index and the error that it would raise alone, such
            as a `ContextOverflowError` with its numbers.
        embedded: For each good text, its index and its packed vector.
    """

    def __init__(
        self,
        message: str,
        *,
        failures: Optional[Mapping[int, str]] = None,
        errors: Optional[Mapping[int, ProviderError]] = None,
        embedded: Optional[Mapping[int, Any]] = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.failures = dict(failures or {})
        self.errors = dict(errors or {})
        self.embedded = dict(embedded or {})


class CancelledError(ProviderError):
    """The caller ended the call: `CancelToken.cancel()` or `Stream.close()`."""

    exit_code = 130


# --- several servers --------------------------------------------------------------------


class AllFailedError(ProviderError):
    """Several servers were tried for one call, and each failed before its answer began.

    It is retryable where one of its reasons is.

    Attributes:
        errors: The reason of each, in the order in which they were tried; `provider` and
            `model` tell whose it is.
    """

    exit_code = 11

    def __init__(
        self, message: str, *, errors: Tuple[ProviderError, ...] = (), **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.errors = errors
