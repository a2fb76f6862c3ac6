"""The public errors: one root class, and one subclass for each way to handle a failure.

A failure raises the same class whether the server reported it as a status, inside a response with
status 200, or in the middle of a stream. No error contains a prompt or an API key. Text that a
model wrote before the call failed is in `partial`, never in a message. Messages and hints may
quote text from servers, models and files. Each message and each hint is one line, with control
characters as visible escapes.
"""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Tuple, Type, TypedDict

from localproviders._did_you_mean import missing_name, name_other_attribute
from localproviders._record import plain
from localproviders._redact import each_on_one_line, in_markdown, one_line
from localproviders._signatures import Unpack, Vector, exact_keywords

_SERVER_TEXT_LIMIT = 2_000
_ONE_LINE_ATTRIBUTES = ("message", "hint", "evidence", "reasons")


class ErrorFacts(TypedDict, total=False):
    """The keyword arguments that the constructor of every error accepts."""

    hint: Optional[str]
    retryable: Optional[bool]
    provider: Optional[str]
    model: Optional[str]
    endpoint: Optional[str]
    status: Optional[int]
    partial: str
    server_message: Optional[str]
    request_id: Optional[str]


class ProviderError(Exception):
    """The base class of all errors that this package raises for a call.

    Every error that is raised is an instance of a subclass. The `str` of an error is one line,
    ``message [model ...] [at ...] (hint: ...)``. Each part is shortened if it is long.

    Attributes:
        message: A description of the failure: one sentence on one line.
        hint: A suggestion for the user, on one line, or None.
        retryable: True if the same call, unchanged, may succeed later. It is False, unless the
            docstring of the subclass says otherwise.
        provider: Name of the provider, or None.
        model: Name of the model, or None.
        endpoint: Address of the server, such as ``http://127.0.0.1:11434``, or None.
        status: HTTP status of the response, or None if no status belongs to the failure.
        partial: The text that the model wrote before the call failed; empty if there is none.
        server_message: The server's own error text, at most 2,000 characters, or None. It is not
            escaped and may contain control characters, so print its ``repr``.
        request_id: Id of the request in the server's log, from a header of its response, or None.
        embedded: After a failed call of `embed`, the packed vector of each text that was embedded
            before the failure, by the index of the text. Empty for other calls. No message
            contains it.
        run: After a failed call of `run_tools`, a `PartialRun` with the rounds before the
            failure. None for other calls.
        exit_code: Exit code of the command ``localproviders`` for this class of error: 1, unless
            the docstring of the subclass names another.
    """

    exit_code: int = 1
    retryable: bool = False
    embedded: Mapping[int, Vector] = MappingProxyType({})
    run: Any = None

    @exact_keywords
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
        request_id: Optional[str] = None,
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
        self.server_message: Optional[str] = server_message and server_message[:_SERVER_TEXT_LIMIT]
        self.request_id = request_id

    if not TYPE_CHECKING:  # type checkers find wrong names themselves
        __getattr__ = name_other_attribute

    def __setattr__(self, name: str, value: Any) -> None:
        # This is done here and not in the constructor, because these texts also change later: a
        # hint is added, or a quotation of the prompt is removed.
        value = each_on_one_line(value) if name in _ONE_LINE_ATTRIBUTES else value
        super().__setattr__(name, value)
        if name == "message":
            self.args: Tuple[Any, ...] = (value,)

    def __str__(self) -> str:
        # The values are read from `__dict__`, because an interrupted constructor has set only some
        # of the attributes.
        forms = (("[model {}]", "model"), ("[at {}]", "endpoint"), ("(hint: {})", "hint"))
        known = [(form, self.__dict__.get(name)) for form, name in forms]
        parts = [form.format(each_on_one_line(value)) for form, value in known if value]
        return one_line(" ".join([str(self.__dict__.get("message", "")), *parts]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__dict__.get('message', '')!r})"

    def _repr_markdown_(self) -> str:
        return f"**{type(self).__name__}**: {in_markdown(str(self), 2_000)}"

    def add_context(self, **facts: Optional[str]) -> None:
        """Set attributes (such as provider, model or partial) that have no value yet."""
        for name, value in facts.items():
            if value and not getattr(self, name):
                setattr(self, name, value)

    def to_dict(self) -> Dict[str, Any]:
        """Return the error as plain JSON types: its class name, and the attributes with a value.

        The key ``error`` has the class name. Attributes that are None or an empty string are left
        out. The key ``retryable`` is always there.
        """
        facts = {
            name: plain(value) for name, value in self.__dict__.items() if value not in (None, "")
        }
        return {"error": type(self).__name__, "retryable": self.retryable, **facts}

    def __reduce__(self) -> Tuple[Any, Tuple[Type[ProviderError], Dict[str, Any]]]:
        return (_unpickle, (type(self), self.__dict__.copy()))


def _unpickle(cls: Type[ProviderError], state: Mapping[str, Any]) -> ProviderError:
    error = cls.__new__(cls, state["message"])
    for name, value in state.items():
        setattr(error, name, value)
    return error


# --- the call itself is impossible ------------------------------------------------------


class ConfigurationError(ProviderError, ValueError):
    """A value in a call, a constructor, a file or an environment variable cannot be used.

    The class itself is raised before a prompt is sent. Its subclasses may also be raised later.
    Each of these errors is a `ValueError`, too. Not retryable. The exit code is 2.
    """

    exit_code = 2


class UnsupportedError(ConfigurationError):
    """The server does not support a parameter, a value or an operation of the call.

    The package never ignores such a parameter silently. If it knows in advance that the server
    does not support the parameter, it sends nothing. Otherwise this error is raised when the
    server refuses the request. Not retryable. The exit code is 2.
    """


class LocalityError(ConfigurationError):
    """The policy `locality` forbids sending a prompt, or uploading a model, to an address.

    It is raised before a prompt is sent to an address that the policy does not allow, or to a
    model that runs at such an address. It is also raised if a response came from such an address,
    and by `Config.load` if a project's file widens the policy. `hint` says what to do. Not
    retryable. The exit code is 3.
    """

    exit_code = 3


class AuthenticationError(ConfigurationError):
    """The server demands an API key, refuses the given one, or does not permit the operation.

    It is raised for a response with status 401 or 403, or with an error text of the same
    meaning. `status` is None if the text was in a stream, or in a response with status 200. Not
    retryable. The exit code is 4.
    """

    exit_code = 4


class DependencyError(ConfigurationError):
    """An optional package is not installed, or cannot run on this machine.

    It is raised when the feature is first used. If the package can be installed, `hint` has the
    command. Not retryable. The exit code is 2.
    """


# --- the connection ---------------------------------------------------------------------


class TransportError(ProviderError):
    """The connection to the server failed, and no subclass describes the failure.

    The server may have received and processed the request. Not retryable, except for subclasses
    that are documented as retryable. The exit code is 5.
    """

    exit_code = 5


class UnreachableError(TransportError, ConnectionError):
    """No connection to the server could be opened, or a search found no server.

    The server is not running, its name is unknown, or the network refuses the connection. The
    request of the call was not sent. It is a `ConnectionError`, too. Retryable. The exit code
    is 5.
    """

    retryable = True


class CertificateError(TransportError):
    """The TLS handshake failed.

    The server does not speak TLS, its certificate is not trusted, or it demands a client
    certificate. Not retryable. The exit code is 5.
    """


class StreamInterruptedError(TransportError):
    """The connection closed before the response was complete.

    `partial` has the text that arrived before that, or is empty. The server may have processed
    the request. The exit code is 5.

    Retryable if the connection was cut, or if the process that runs the model ended: after a
    restart, the same call may succeed. Also retryable if a download or an upload of a model ended
    early. Not retryable if the server closed the HTTP response properly, but sent no last record of
    the answer.
    """


class LimitError(TransportError, TimeoutError):
    """A time limit expired and ended the call.

    `partial` has the text that arrived before that. The error is a `TimeoutError`, too. Not
    retryable, except for an Ollama transfer that made no progress for ``idle_s``. A pull or push
    that is run again continues where it stopped. The exit code is 6.

    Attributes:
        limit: Name of the limit that expired: ``connect_s``, ``first_token_s``, ``idle_s``,
            ``total_s`` or ``load_s``. It is ``load_s`` if the server was still loading the model
            or processing a download, or if the embedded engine did not start in time.
        limit_s: The value of that limit in seconds. For ``first_token_s`` it includes
            ``load_s`` if the model might not have been loaded.
        elapsed_s: Seconds from the start of the call to the error.
    """

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        limit: str,
        limit_s: float,
        elapsed_s: float,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.limit = limit
        self.limit_s = limit_s
        self.elapsed_s = elapsed_s


# --- the server -------------------------------------------------------------------------


class ServerError(ProviderError):
    """The server failed while it processed the request.

    It is raised for a status of 500 or more, or for an error text in a response or a stream, if no
    subclass describes the failure. Not retryable, except for subclasses that are documented as
    retryable. But if a transfer between the server and its registry failed temporarily, `retryable`
    is True. The exit code is 7.
    """

    exit_code = 7


class ServerBusyError(ServerError):
    """The server cannot process the request now.

    It is raised for the statuses 408, 429, 502, 503, 504, 520 to 524 and 529, and for error texts
    and codes of the same meaning, after the attempts that `RetryPolicy` allows. Retryable. The
    exit code is 7.

    Attributes:
        retry_after_s: Seconds that the server asked the client to wait, or None if the server
            named no time.
        loading: True if the server is still loading its model.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: Optional[float] = None,
        loading: bool = False,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.retry_after_s = retry_after_s
        self.loading = loading


class RequestRejectedError(ServerError):
    """The server refused the request.

    It is raised for a status from 400 to 499, or for an error text, if no other class describes
    the refusal. Not retryable. The exit code is 7.
    """


class ProtocolError(ServerError):
    """The response does not have the form that this kind of server uses.

    The response is not HTTP, is not JSON, is a redirect, or lacks a required field. So the address
    belongs to another kind of server, or the server is broken. Not retryable. The exit code is 7.
    """


class AnswerTooLargeError(ServerError):
    """The response exceeds a size limit of the package, so the rest of it was not read.

    The limits are ``max_line_bytes`` for a line of a stream, ``max_body_bytes`` for a body,
    ``max_json_depth`` for the nesting of JSON, and fixed limits for headers and for the number
    of values. Not retryable. The exit code is 7.
    """


# --- the model --------------------------------------------------------------------------


class ModelError(ProviderError):
    """The call failed because of the model, not because of the server.

    Every error that is raised is an instance of a subclass. Not retryable. The exit code is 8.
    """

    exit_code = 8


class ModelNotFoundError(ModelError):
    """The server does not have the requested model.

    Not retryable. The exit code is 8.

    Attributes:
        available: Names of the models that the server has, or empty if the names are not known.
    """

    def __init__(
        self, message: str, *, available: Tuple[str, ...] = (), **facts: Unpack[ErrorFacts]
    ) -> None:
        super().__init__(message, **facts)
        self.available = available


class ModelLoadError(ModelError):
    """The model could not be loaded, or the process that runs it ended.

    If the server reported a reason, `server_message` has it. Not retryable, except if `load` with
    ``check_memory=True`` found too little free memory: then nothing was loaded, and `needed_bytes`
    and `free_bytes` are set. The exit code is 8.

    Attributes:
        needed_bytes: Size of the model, if there was too little memory for it; None otherwise.
        free_bytes: Free memory of this machine, if it was too little for the model; None otherwise.
    """

    def __init__(
        self,
        message: str,
        *,
        needed_bytes: Optional[int] = None,
        free_bytes: Optional[int] = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class CapabilityError(ModelError):
    """The model lacks an ability that the call needs, such as tools or vision.

    If the server reported in advance that the model lacks the ability, the error is raised before
    the prompt is sent. Otherwise it is raised when the server refuses the request. Not retryable.
    The exit code is 8.

    Attributes:
        evidence: The server's text that shows that the model lacks the ability, on one line, or
            None.
        mass: For a decision of a chat model (`decide`), the total probability that the model gives
            to the possible answers if it may write any token. It is below `min_mass`. None
            otherwise.
        likeliest: For a decision of a chat model, the likeliest tokens as `TokenLogprob` values,
            the likeliest first. They are the model's text, and no message contains them.
    """

    def __init__(
        self,
        message: str,
        *,
        evidence: Optional[str] = None,
        mass: Optional[float] = None,
        likeliest: Tuple[Any, ...] = (),
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.evidence = evidence
        self.mass = mass
        self.likeliest = likeliest


class ContextOverflowError(ModelError):
    """The prompt, or the prompt and the answer together, exceed the context window.

    If the prompt alone is too long, the server refused it and `partial` is empty. If the prompt and
    the answer together became too long, `partial` has the complete answer, but the model no longer
    saw the oldest part of the conversation when it wrote the end. If the answer alone became longer
    than the window, this package stopped reading it, and `partial` has the text so far. Not
    retryable. The exit code is 9.

    Attributes:
        prompt_tokens: Length of the prompt in tokens, counted by the server, or None. It is None
            if this package stopped reading the answer, because servers report the count at its end.
        context_length: Length of the context window in tokens, or None. On Ollama this is the
            allocated window, a multiple of 256.
    """

    exit_code = 9

    def __init__(
        self,
        message: str,
        *,
        prompt_tokens: Optional[int] = None,
        context_length: Optional[int] = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class WrongModelError(ModelError):
    """The server answered with another model than the requested one, or would have done so.

    The argument ``allow_other_model=True`` of the call prevents this error. But a call with
    `expect_digest` still raises it if the server's model has another digest. In this case, the
    prompt was not sent. Not retryable. The exit code is 8.

    Attributes:
        requested: Name of the requested model; or the first digits of the expected digest.
        served: Name of the model that answered; or the digest of the model that would answer.
    """

    def __init__(
        self, message: str, *, requested: str, served: str, **facts: Unpack[ErrorFacts]
    ) -> None:
        super().__init__(message, **facts)
        self.requested = requested
        self.served = served


# --- the answer -------------------------------------------------------------------------


class AnswerError(ProviderError):
    """The server answered, but the content of its response cannot be used.

    The class itself is raised by `Decision.answer` and similar attributes if the model refused to
    answer the question. Every other error is an instance of a subclass. Not retryable. The exit
    code is 10.
    """

    exit_code = 10


class SchemaError(AnswerError):
    """No answer of the model followed the schema in any of the attempts of `parse`.

    If an answer was cut off before its JSON was complete, the error is raised without further
    attempts. Not retryable. The exit code is 10.

    Attributes:
        reasons: The reasons why the last answer does not follow the schema. Each is one line,
            with the position in the answer.
    """

    def __init__(
        self, message: str, *, reasons: Tuple[str, ...] = (), **facts: Unpack[ErrorFacts]
    ) -> None:
        super().__init__(message, **facts)
        self.reasons = reasons

    @property
    def text(self) -> str:
        """The complete text of the model's last answer; equal to `partial`."""
        return self.partial


class RepetitionError(AnswerError):
    """The server ended an answer that repeated itself.

    Ollama stops a model that writes one token, or blanks, more than 30 times in a row. It then ends
    the response correctly, but without its last record. `partial` has the text with its
    repetitions, or is empty if they were in the model's thinking. Not retryable, because the model
    may well repeat itself again. The exit code is 10.
    """


class ToolCallError(AnswerError):
    """A tool call in the response is malformed, or the model does not stop calling tools.

    A malformed call is incomplete or has invalid JSON, so do not run it. `run_tools` reports to the
    model that a call could not be read. It raises this error only if a call was cut off or has no
    name, or if the model still calls tools after `max_rounds` rounds. The attribute `run` then has
    every tool call of these rounds. Not retryable. The exit code is 10.
    """

    # The calls of the answer, each with the reason why it could not be read, or an empty text. Only
    # `run_tools` uses them. They are in a slot, so that no pickle and no dictionary contains them.
    __slots__ = ("_calls",)
    _calls: Tuple[Tuple[Any, str], ...]


class EmbeddingError(AnswerError):
    """Some texts could not be embedded.

    The server refused them, or returned vectors that cannot be used. Not retryable. The exit
    code is 10.

    Attributes:
        failures: The reason why each failed text could not be embedded, on one line, by the index
            of the text.
        errors: The error that each failed text would raise in a call without other texts, such as
            a `ContextOverflowError` with its numbers, by the index of the text.
        embedded: The packed vector of each other text, by the index of the text.
    """

    def __init__(
        self,
        message: str,
        *,
        failures: Optional[Mapping[int, str]] = None,
        errors: Optional[Mapping[int, ProviderError]] = None,
        embedded: Optional[Mapping[int, Any]] = None,
        **facts: Unpack[ErrorFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.failures: Dict[int, str] = {
            i: each_on_one_line(why) for i, why in (failures or {}).items()
        }
        self.errors: Dict[int, ProviderError] = dict(errors or {})
        self.embedded: Mapping[int, Vector] = dict(embedded or {})


class CancelledError(ProviderError):
    """The caller ended the call with `CancelToken.cancel()` or `Stream.close()`.

    `partial` has the text that arrived before that. Not retryable. The exit code is 130.
    """

    exit_code = 130


# --- several servers --------------------------------------------------------------------


class AllFailedError(ProviderError):
    """Several servers or models were tried for one call, and none of them began an answer.

    Retryable if at least one of `errors` is retryable. The exit code is 11.

    Attributes:
        errors: The error of each server, in the order in which the servers were tried. The
            attributes `provider` and `model` of each error say which server and model failed.
    """

    exit_code = 11

    def __init__(
        self, message: str, *, errors: Tuple[ProviderError, ...] = (), **facts: Unpack[ErrorFacts]
    ) -> None:
        super().__init__(message, **facts)
        self.errors = errors


# --- files ------------------------------------------------------------------------------


class IntegrityError(ProviderError):
    """A file that this package wrote was changed, so its content cannot be trusted.

    Nothing is written to the file after this error. Not retryable. The exit code is 15.

    Attributes:
        path: Path of the file, as the caller named it.
        line: Number of the first wrong line, counted from 1, or None if no single line is wrong.
    """

    exit_code = 15

    def __init__(
        self, message: str, *, path: str, line: Optional[int] = None, **facts: Unpack[ErrorFacts]
    ) -> None:
        super().__init__(message, **facts)
        self.path = path
        self.line = line


class LockHeldError(ProviderError):
    """Another process, or another thread of this one, holds the lock of a file.

    Nothing was changed. Retryable: the lock is free as soon as its holder releases it or ends. The
    exit code is 75.

    Attributes:
        path: Path of the locked file, as the caller named it.
    """

    exit_code = 75
    retryable = True

    def __init__(self, message: str, *, path: str, **facts: Unpack[ErrorFacts]) -> None:
        super().__init__(message, **facts)
        self.path = path


if not TYPE_CHECKING:  # with `__getattr__`, type checkers would not report misspelt names

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, globals(), sys._getframe(1))
