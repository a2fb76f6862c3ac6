"""Results of calls: chunks, responses, embeddings, token counts, parsed values, tool runs.

The `str` of a result is a text for people, such as the text of an answer. Notebooks show a
result as Markdown. Logs and tracebacks show the repr, so the repr has no content.
"""

from __future__ import annotations

import base64
import json
from array import array
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Dict,
    Generic,
    Iterable,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

from localproviders._did_you_mean import (
    ContentHolder,
    name_other_attribute,
    refuse_item,
    refuse_use,
)
from localproviders._record import (
    CONTENT,
    RAW,
    UNSHOWN,
    FrozenDict,
    Line,
    Record,
    field,
    loads,
    loads_each,
    plain,
    record,
    size_of,
)
from localproviders._redact import (
    answer_in_markdown,
    count_with_noun,
    fenced,
    in_markdown,
    on_screen,
    one_line,
    shortened,
)
from localproviders._signatures import Vector
from localproviders.types.messages import Message, ToolCall
from localproviders.types.models import Progress
from localproviders.types.usage import ServerTimings as ServerTimings
from localproviders.types.usage import Timings as Timings
from localproviders.types.usage import Usage as Usage
from localproviders.types.vectors import VectorSequence


@record
class TokenLogprob(Record):
    """The log-probability of a token.

    Attributes:
        token: Text of the token. For a token that is only a part of a character, use `data`.
        logprob: Natural logarithm of the token's probability.
        data: Bytes of the token; None if the server does not send them.
        top: The likeliest alternatives, which may include the token itself.
    """

    token: str = field(metadata=CONTENT)
    logprob: float
    data: Optional[bytes] = field(default=None, metadata=loads(base64.b64decode, **CONTENT))
    top: Tuple[TokenLogprob, ...] = field(
        default=(), metadata=loads_each(lambda item: TokenLogprob.from_dict(item), **CONTENT)
    )

    def __post_init__(self) -> None:
        self._keep_as_tuples("top")


class CompletionChunk(ContentHolder):
    """A chunk of a streamed answer. Its `str` is its `text`.

    Attributes:
        text: Next part of the answer; may be empty.
        thinking: Next part of the reasoning; may be empty.
        tool_calls: Tool calls that this chunk completed.
        logprobs: Log-probabilities of the tokens of this chunk, if requested.
        model: Name of the model that answers, as the server reports it; None if the server reports
            none.
        finish_reason: Reason for the end of the answer, as the server reports it. None before the
            end, or if the server sends no reason.
        usage: Numbers of tokens (last chunk only).
        server_timings: Durations that the server measured (last chunk only).
        progress: Progress of loading the model or of processing the prompt (only chunks without
            text, from `LMStudioProvider.stateful_stream`).
        response_id: Id under which the server stores this answer (last chunk only).
        thinking_inferred: Whether this package split the reasoning from the text, because the
            server left it in the text, such as in a leading ``<think>`` block.
        tool_step: The tool call that was run, and its result (only chunks without text, from
            `stream_tools`).
        provider_data: Parts of the answer that the server needs back unchanged (last chunk only),
            as in `Message`. The repr leaves them out.
        raw: The record that the server sent.
    """

    # This class is not a dataclass, because a chunk is made for every token, and slots are faster.
    __slots__ = (
        "finish_reason",
        "logprobs",
        "model",
        "progress",
        "provider_data",
        "raw",
        "response_id",
        "server_timings",
        "text",
        "thinking",
        "thinking_inferred",
        "tool_calls",
        "tool_step",
        "usage",
    )

    def __init__(
        self,
        *,
        text: str = "",
        thinking: str = "",
        tool_calls: Tuple[ToolCall, ...] = (),
        logprobs: Tuple[TokenLogprob, ...] = (),
        model: Optional[str] = None,
        finish_reason: Optional[str] = None,
        usage: Optional[Usage] = None,
        server_timings: Optional[ServerTimings] = None,
        progress: Optional[Progress] = None,
        response_id: Optional[str] = None,
        thinking_inferred: bool = False,
        tool_step: Optional[ToolStep] = None,
        provider_data: Optional[Mapping[str, Any]] = None,
        raw: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.text: str = text
        self.thinking: str = thinking
        self.tool_calls: Tuple[ToolCall, ...] = tool_calls
        self.logprobs: Tuple[TokenLogprob, ...] = logprobs
        self.model: Optional[str] = model
        self.finish_reason: Optional[str] = finish_reason
        self.usage: Optional[Usage] = usage
        self.server_timings: Optional[ServerTimings] = server_timings
        self.progress: Optional[Progress] = progress
        self.response_id: Optional[str] = response_id
        self.thinking_inferred: bool = thinking_inferred
        self.tool_step: Optional[ToolStep] = tool_step
        self.provider_data: Optional[Mapping[str, Any]] = provider_data
        self.raw: Optional[Mapping[str, Any]] = raw

    if not TYPE_CHECKING:  # type checkers find wrong names themselves
        __getattr__ = name_other_attribute
        __getitem__ = refuse_item

    @property
    def has_content(self) -> bool:
        """Whether this chunk has text, thinking or a tool call."""
        return bool(self.text or self.thinking or self.tool_calls)

    def to_dict(self) -> Dict[str, Any]:
        """Return the chunk as plain JSON types, without its empty fields and its raw record."""
        return {
            name: plain(getattr(self, name))
            for name in CompletionChunk.__slots__
            if name != "raw" and getattr(self, name) not in ("", (), None, False)
        }

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return answer_in_markdown(self.text)

    def __repr__(self) -> str:
        if not hasattr(self, "finish_reason"):  # an interrupted constructor
            return "<half-made CompletionChunk>"
        return (
            f"CompletionChunk(text={size_of(self.text)}, thinking={size_of(self.thinking)}, "
            f"tool_calls={len(self.tool_calls)}, finish_reason={self.finish_reason!r})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CompletionChunk):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # a mutable value has no hash

    def __reduce__(self) -> Tuple[Any, Tuple[Any, ...]]:
        names = [name for name in CompletionChunk.__slots__ if name != "raw"]
        return (_make_chunk, ({name: getattr(self, name) for name in names},))


def _make_chunk(state: Dict[str, Any]) -> CompletionChunk:
    return CompletionChunk(**state)


class LikeChunk(CompletionChunk):
    """A chunk that differs from another chunk only in its text or thinking.

    Such a chunk is made for nearly every token. So the constructor sets six attributes instead of
    fourteen, which takes 0.3 µs instead of 0.6. The other fields are copied from the other chunk
    when they are first used, and the server's record is parsed when `raw` is first used.
    """

    __slots__ = ("_like", "_read", "_record")

    def __init__(
        self,
        text: str,
        thinking: str,
        like: CompletionChunk,
        record: str,
        read: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self.text = text
        self.thinking = thinking
        self.model: Optional[str] = like.model
        self._like = like
        self._record = record
        self._read = read

    def __getattr__(self, name: str) -> Any:
        # Python calls this method for a field that has no value yet. While a chunk is being
        # copied, its private fields have no value either. Reading them here would call this
        # method again, without end.
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._read(self._record) if name == "raw" else getattr(self._like, name)
        setattr(self, name, value)
        return value


@record
class ServerAttempt(Record):
    """A server that failed before another one answered. Its `str` is one line.

    Attributes:
        provider: Name of the server's provider.
        model: The model that was requested from this server.
        error: Class name of the error; None if the server was skipped because it had failed
            repeatedly.
        message: Message of the error, or the reason for skipping the server, on one line.
    """

    provider: str
    model: str
    error: Optional[str] = None
    message: str = ""

    def __post_init__(self) -> None:
        self._put_on_one_line("message")

    def __str__(self) -> str:
        why = f"{self.error}: {self.message}" if self.error else self.message
        return one_line(f"{self.provider}/{self.model}: {why}")


# Highest number of warnings or steps that a notebook lists.
_MOST_IN_LIST = 10


def in_list(lines: Sequence[str]) -> str:
    """Return lines as a Markdown list, or an empty string if there are none."""
    shown = on_screen(lines, _MOST_IN_LIST).split("\n") if lines else []
    return "".join(f"\n- {in_markdown(line)}" for line in shown)


def _call_text(call: ToolCall) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    return shortened(f"{call.name}({arguments})")


@record
class CompletionResponse(ContentHolder, Record):
    """A complete answer of a model.

    Its `str` is the text. An answer without text is shown as one line with its tool calls, its
    thinking and its finish reason.

    Attributes:
        text: The answer.
        thinking: The model's reasoning before the answer; empty if there was none.
        thinking_inferred: Whether this package split the reasoning from the text, because the
            server left it in the text, such as in a leading ``<think>`` block.
        tool_calls: The tool calls that the model requests.
        model: Name of the model that answered, as the server reports it.
        provider: Name of the provider.
        endpoint: Address of the server, as in errors.
        digest: Hexadecimal digest of the model, from a list of the server's models that was read at
            most a minute before the request; None if no such list names it. Only Ollama reports
            digests.
        request_id: Id of the request in the server's log, from a header such as
            ``X-Request-Id``; None if the response has none.
        finish_reason: Reason for the end of the answer, as the server reports it; None if the
            server sent none.
        usage: Numbers of tokens that the server reported.
        timings: Durations that this package measured.
        server_timings: Durations that the server measured.
        logprobs: Log-probabilities of the tokens, if requested.
        response_id: Id under which the server stores this answer, for a request that continues
            from it (`LMStudioProvider.stateful_chat`); None if the server does not store it.
        warnings: Warnings for the caller, each on one line. They report a parameter that was
            omitted because of ``strict=False``, an answer from another model than the requested
            one, a loss of text that `overflow` allowed, thinking that a stream returned as text, a
            model that was loaded again, and each server in `tried`.
        attempts: Number of times that the request was sent (`RetryPolicy`).
        tried: The servers that `LocalProvider` tried before this one, in order.
        provider_data: Parts of the answer that the server needs back unchanged, such as the
            signatures of its thinking. `message` has them, too. Repr and events leave them out;
            dictionaries and pickles have them.
        raw: The last record that the server sent.
    """

    text: str = field(metadata=CONTENT)
    model: str
    provider: str
    endpoint: Optional[str] = None
    digest: Optional[str] = None
    request_id: Optional[str] = None
    thinking: str = field(default="", metadata=CONTENT)
    thinking_inferred: bool = False
    tool_calls: Tuple[ToolCall, ...] = field(default=(), metadata=loads_each(ToolCall.from_dict))
    finish_reason: Optional[str] = None
    usage: Usage = field(default_factory=Usage, metadata=loads(Usage.from_dict))
    timings: Timings = field(default_factory=Timings, metadata=loads(Timings.from_dict))
    server_timings: ServerTimings = field(
        default_factory=ServerTimings, metadata=loads(ServerTimings.from_dict)
    )
    logprobs: Tuple[TokenLogprob, ...] = field(
        default=(), metadata=loads_each(TokenLogprob.from_dict, **CONTENT)
    )
    response_id: Optional[str] = None
    warnings: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    attempts: int = 1
    tried: Tuple[ServerAttempt, ...] = field(
        default=(), metadata=loads_each(ServerAttempt.from_dict)
    )
    provider_data: Mapping[str, Any] = field(default_factory=FrozenDict, metadata=UNSHOWN)
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    _content = "text"

    def __post_init__(self) -> None:
        self._keep_as_tuples("tool_calls", "logprobs", "warnings", "tried")
        self._put_on_one_line("warnings")
        self._freeze("provider_data")

    def __str__(self) -> str:
        return self.text if self.text.strip() else self._without_text()

    def _without_text(self) -> str:
        calls = ", ".join(map(_call_text, self.tool_calls))
        facts = [
            "no text",
            calls and f"tool calls: {calls}",
            self.finish_reason and f"finish reason: {one_line(self.finish_reason)}",
            self.thinking and f"thinking: {self.thinking}",
        ]
        return f"({shortened('; '.join(filter(None, facts)), 98)})"

    def _repr_markdown_(self) -> str:
        text = answer_in_markdown(self.text) if self.text.strip() else in_markdown(str(self))
        return f"{text}\n\n{self._facts_in_markdown()}"

    def _facts_in_markdown(self) -> str:
        """Return the model, the tokens, the time, the finish reason and the warnings."""
        used, total_s = self.usage, self.timings.total_s
        facts = [
            f"{self.model} ({self.provider})",
            count_of(used.prompt_tokens, "prompt tokens"),
            count_of(used.completion_tokens, "answer tokens"),
            None if total_s is None else f"{total_s:.1f} s",
            self.finish_reason and f"finish reason: {self.finish_reason}",
        ]
        return facts_and_warnings(facts, self.warnings)

    @property
    def message(self) -> Message:
        """The answer as a message, to add to the conversation."""
        return Message(
            role="assistant",
            content=self.text,
            thinking=self.thinking,
            tool_calls=self.tool_calls,
            provider_data=self.provider_data,
        )


def count_of(number: Optional[int], noun: str) -> Optional[str]:
    """Return a number with its noun; None if the number is not known."""
    return None if number is None else f"{number} {noun}"


def facts_and_warnings(facts: Iterable[Optional[str]], warnings: Sequence[str]) -> str:
    """Return the known facts as one line of Markdown, and the warnings as a list."""
    line = in_markdown(", ".join(filter(None, facts)))
    return f"*{line}*\n{in_list([f'warning: {each}' for each in warnings])}".rstrip("\n")


def _load_vectors(rows: Sequence[Sequence[float]]) -> Tuple[Vector, ...]:
    return tuple(array("f", row) for row in rows)


@record
class EmbeddingResponse(VectorSequence, Record):
    """Vectors, one for each text, in the order of the texts.

    It is a sequence of its vectors: ``len(response)``, ``response[0]`` and ``for vector in
    response``. ``numpy.array(response)`` is the matrix of `to_numpy`. Its `str` is one line: the
    number of vectors, their length and the model.

    Attributes:
        vectors: The vectors as packed 32-bit floats, all of the same length.
        model: Name of the model that made the vectors, as the server reports it.
        provider: Name of the provider.
        endpoint: Address of the server, as in errors.
        digest: Hexadecimal digest of the model, as in `CompletionResponse`.
        request_id: Id of the request for the last batch, as in `CompletionResponse`.
        truncation: Whether a text may have been cut. ``none``: no, the server refuses texts that
            are too long. ``allowed``: possibly, because the request had `truncate`, and servers
            do not report whether they cut a text. ``unknown``: the server has no parameter for
            this, and does not report whether it cut a text.
        usage: Sums of the numbers of tokens that the server reported for all batches. A sum is
            None if the server did not report the number for a batch.
        timings: Durations that this package measured. `total_s` covers the complete call;
            `first_token_s` is None, because vectors have no tokens.
        server_timings: Sums of the durations that the server measured for all batches.
        warnings: Warnings for the caller, each on one line, without repetitions.
        attempts: Highest number of times that the request of one batch was sent. More than 1
            means that a request was retried (`RetryPolicy`).
        tried: The servers that `LocalProvider` tried before this one, in order.
    """

    vectors: Tuple[Vector, ...] = field(metadata=loads(_load_vectors, **CONTENT))
    model: str
    provider: str
    endpoint: Optional[str] = None
    digest: Optional[str] = None
    request_id: Optional[str] = None
    truncation: str = "unknown"
    usage: Usage = field(default_factory=Usage, metadata=loads(Usage.from_dict))
    timings: Timings = field(default_factory=Timings, metadata=loads(Timings.from_dict))
    server_timings: ServerTimings = field(
        default_factory=ServerTimings, metadata=loads(ServerTimings.from_dict)
    )
    warnings: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    attempts: int = 1
    tried: Tuple[ServerAttempt, ...] = field(
        default=(), metadata=loads_each(ServerAttempt.from_dict)
    )

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # an array can be changed, and has no hash

    def __post_init__(self) -> None:
        self._keep_as_tuples("vectors", "warnings", "tried")
        self._put_on_one_line("warnings")

    def __str__(self) -> str:
        number = count_with_noun(len(self.vectors), "vector")
        size = f" of {self.dimensions} dimensions" if self.vectors else ""
        return f"{number}{size} by {shortened(self.model, 40)} ({shortened(self.provider, 20)})"

    def _repr_markdown_(self) -> str:
        facts = [str(self), count_of(self.usage.prompt_tokens, "tokens")]
        return facts_and_warnings(facts, self.warnings)


#: The source of a count. ``exact``: the server counted. ``calibrated``: estimated from the
#: server's counts for other prompts of this model. ``rough``: estimated from the length of
#: the text.
CountSource = Literal["exact", "calibrated", "rough"]


@record
class TokenCount(Line):
    """A number of tokens, and its source. Its `str` is one line.

    Attributes:
        tokens: Number of tokens.
        source: ``exact``, ``calibrated`` or ``rough``.
        detail: Description of the source: the server that counted, or the basis of the estimate.
    """

    tokens: int
    source: CountSource
    detail: str = ""

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        tokens = count_with_noun(self.tokens, "token")
        return shortened(f"{tokens} ({self.source}{detail})")


T = TypeVar("T")


@record
class Parsed(ContentHolder, Record, Generic[T]):
    """A value from an answer, checked against its schema. Its `str` is the `str` of the value.

    A `Parsed` is not its value. ``if parsed:`` raises an error if the value is, for example, a
    `bool`, a number, a text or a list, because these values can be false. Two instances are equal
    if all three attributes are equal. The hash is the hash of the value. So if a `Parsed` is looked
    up in a dictionary or a set that has the value, Python compares the two, and a warning says what
    to write. If the value has no hash, such as an instance of an ordinary dataclass, the hash does
    not depend on the value.

    Attributes:
        value: The value, an instance of the requested type. `to_dict` returns it as plain
            JSON, and `from_dict` keeps that JSON.
        response: The response that contained it.
        attempts: Number of responses that `parse` requested from the model.
    """

    value: T = field(metadata=CONTENT)
    response: CompletionResponse = field(metadata=loads(CompletionResponse.from_dict))
    attempts: int = 1

    _content = "value"

    def __hash__(self) -> int:
        try:
            return hash(self.value)
        except TypeError:
            return hash((self.response, self.attempts))

    if not TYPE_CHECKING:

        def __bool__(self) -> bool:
            # A model that answers `false` must not be read as true.
            kind = type(self.value)
            if self.value is None or hasattr(kind, "__bool__") or hasattr(kind, "__len__"):
                refuse_use(self)
            return True

        def __iter__(self) -> Any:
            refuse_use(self)  # such as for ``DataFrame(parsed)``

        __float__ = __int__ = __lt__ = __le__ = __gt__ = __ge__ = refuse_use

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def __str__(self) -> str:
        return str(self.value)

    def _repr_markdown_(self) -> str:
        return f"{fenced(self._value_text())}\n\n{self.response._facts_in_markdown()}"

    def _value_text(self) -> str:
        try:
            return json.dumps(plain(self.value), indent=2, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):  # a value without a form in JSON
            return str(self.value)


@record
class ToolStep(Line):
    """A call of a tool, and its result. Its `str` is one line.

    Attributes:
        call: The tool call that the model requested.
        content: The result that is sent to the model.
        error: The reason why the tool was not run, or the exception that it raised, as
            ``TypeName: message``; None if the tool returned a result.
        elapsed_s: Seconds for which the tool ran.
        round: Number of the round; the first round is 1.
        converted: Names of the arguments that were converted, because the model wrote them in
            another type, such as ``"5"`` for an integer. `call` has them as the model wrote them.
    """

    call: ToolCall = field(metadata=loads(ToolCall.from_dict))
    content: str = field(metadata=CONTENT)
    error: Optional[str] = field(default=None, metadata=CONTENT)
    elapsed_s: float = 0.0
    round: int = 1
    converted: Tuple[str, ...] = field(default=(), metadata=loads(tuple, **CONTENT))

    def __post_init__(self) -> None:
        self._keep_as_tuples("converted")

    def __str__(self) -> str:
        result = self.content if self.error is None else f"error: {self.error}"
        return shortened(f"{_call_text(self.call)} -> {result}")


@record
class ToolRun(ContentHolder, Record):
    """A complete conversation in which the model called tools.

    Its `str` is the last answer.

    Attributes:
        messages: All messages of the conversation, including the last answer. To continue the
            conversation, add a message and pass all messages to the next call.
        responses: All responses of the model in order, with the usage and the warnings of each
            round.
        steps: All tool calls, in order.
    """

    messages: Tuple[Message, ...] = field(metadata=loads_each(Message.from_dict, **CONTENT))
    responses: Tuple[CompletionResponse, ...] = field(
        metadata=loads_each(CompletionResponse.from_dict)
    )
    steps: Tuple[ToolStep, ...] = field(default=(), metadata=loads_each(ToolStep.from_dict))

    _content = "text"

    def __post_init__(self) -> None:
        self._keep_as_tuples("messages", "responses", "steps")

    def __str__(self) -> str:
        return str(self.response)

    def _repr_markdown_(self) -> str:
        steps = in_list(list(map(str, self.steps)))
        return f"{self.response._repr_markdown_()}\n{steps}".rstrip()

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
        """Number of requests to the model."""
        return len(self.responses)


@record
class PartialRun(Record):
    """The rounds of `run_tools` before an error; the attribute `run` of the error.

    It does not contain the messages that you passed, because an error never contains a prompt.
    Its `str` lists the tool calls.

    Attributes:
        added: The messages after yours: the answers, and one result for each tool call. If a
            tool was not run, its result says so. So you can pass ``[*yours, *error.run.added]``
            to the next call.
        responses: All responses of the model, in order.
        steps: All tool calls that have a result, in order.
    """

    added: Tuple[Message, ...] = field(metadata=loads_each(Message.from_dict, **CONTENT))
    responses: Tuple[CompletionResponse, ...] = field(
        metadata=loads_each(CompletionResponse.from_dict)
    )
    steps: Tuple[ToolStep, ...] = field(default=(), metadata=loads_each(ToolStep.from_dict))

    def __post_init__(self) -> None:
        self._keep_as_tuples("added", "responses", "steps")

    def __str__(self) -> str:
        responses = f"responses before the error: {len(self.responses)}"
        return on_screen([responses, *map(str, self.steps)])

    def _repr_markdown_(self) -> str:
        return in_list(str(self).split("\n")).lstrip()


#: Handling of an exception that a tool raises. ``report`` sends the exception to the model.
#: ``raise`` ends the call.
OnToolError = Literal["report", "raise"]

#: A function that is called with the `ToolStep` of each tool call, after the call has a result.
OnStep = Callable[[ToolStep], None]
