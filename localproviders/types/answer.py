"""What a model answers: chunks, whole answers, vectors, and the numbers beside them."""

from __future__ import annotations

import base64
from array import array
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders._record import (
    CONTENT,
    RAW,
    Record,
    field,
    loads,
    loads_each,
    plain,
    record,
    size_of,
)
from localproviders.errors import DependencyError
from localproviders.types.message import Message, ToolCall
from localproviders.types.progress import Progress

if TYPE_CHECKING:
    import numpy


@record
class Usage(Record):
    """Numbers of tokens, all the server's own; None where it gave none.

    Attributes:
        prompt_tokens: Length of the prompt.
        completion_tokens: Length of the answer, thinking included.
        thinking_tokens: The part of the answer that was thinking.
        cached_tokens: The part of the prompt that the server still knew.
    """

    prompt_tokens: Optional[int] = None
    completion_tokens: Optional[int] = None
    thinking_tokens: Optional[int] = None
    cached_tokens: Optional[int] = None

    @property
    def total_tokens(self) -> Optional[int]:
        """Prompt and answer together; None unless both are known."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


@record
class Timings(Record):
    """What we measured, in seconds.

    Attributes:
        first_token_s: From the start of the call to the first text, thinking or tool
            call; None where there was none.
        total_s: From the start of the call to its last record.
    """

    first_token_s: Optional[float] = None
    total_s: Optional[float] = None


@record
class ServerTimings(Record):
    """What the server measured, in seconds; None where it said nothing.

    Attributes:
        load_s: Loading the model.
        prompt_s: Reading the prompt.
        generation_s: Writing the answer.
        total_s: All of it.
    """

    load_s: Optional[float] = None
    prompt_s: Optional[float] = None
    generation_s: Optional[float] = None
    total_s: Optional[float] = None


@record
class TokenLogprob(Record):
    """How likely one token was.

    Attributes:
        token: Its text; a token can be a part of a character, then see `data`.
        logprob: Natural logarithm of its probability.
        data: Its bytes, where the server gives them.
        top: The likeliest alternatives, the token itself perhaps among them.
    """

    token: str = field(metadata=CONTENT)
    logprob: float
    data: Optional[bytes] = field(default=None, metadata=loads(base64.b64decode, **CONTENT))
    top: Tuple[TokenLogprob, ...] = field(
        default=(), metadata=loads_each(lambda item: TokenLogprob.from_dict(item), **CONTENT)
    )


class CompletionChunk:
    """One piece of a streamed answer. `text` and `thinking` are never None.

    A slotted class, not a dataclass: one is made for every token.

    Attributes:
        text: The piece of the answer, perhaps empty.
        thinking: The piece of the reasoning, perhaps empty.
        tool_calls: Calls that became whole with this piece.
        logprobs: Log-probabilities of the tokens of this piece, where asked for.
        model: The model that answers, in the server's words; None where it does not say.
        finish_reason: Why the answer ended, in the server's words; None before that, and
            where it gives none.
        usage: Numbers of tokens, on the last piece.
        server_timings: The server's durations, on the last piece.
        progress: How far loading or reading the prompt is, on pieces without text that
            say so (`LMStudioProvider.stateful_stream`).
        response_id: Under which id the server keeps this answer, on the last piece.
        thinking_inferred: Whether the reasoning was taken out of the text by us, because
            it stood in a leading ``<think>`` block.
        raw: The server's own record.
    """

    __slots__ = (
        "finish_reason",
        "logprobs",
        "model",
        "progress",
        "raw",
        "response_id",
        "server_timings",
        "text",
        "thinking",
        "thinking_inferred",
        "tool_calls",
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
        raw: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.text = text
        self.thinking = thinking
        self.tool_calls = tool_calls
        self.logprobs = logprobs
        self.model = model
        self.finish_reason = finish_reason
        self.usage = usage
        self.server_timings = server_timings
        self.progress = progress
        self.response_id = response_id
        self.thinking_inferred = thinking_inferred
        self.raw = raw

    @property
    def says_something(self) -> bool:
        """Whether this piece has text, thinking or a tool call."""
        return bool(self.text or self.thinking or self.tool_calls)

    def to_dict(self) -> Dict[str, Any]:
        """Give the piece as plain JSON types, without empty fields and the raw record."""
        return {
            name: plain(getattr(self, name))
            for name in CompletionChunk.__slots__
            if name != "raw" and getattr(self, name) not in ("", (), None, False)
        }

    def __repr__(self) -> str:
        return (
            f"CompletionChunk(text={size_of(self.text)}, thinking={size_of(self.thinking)}, "
            f"tool_calls={len(self.tool_calls)}, finish_reason={self.finish_reason!r})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CompletionChunk):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # a mutable value has no hash

    def __reduce__(self) -> Tuple[Any, Tuple[Any, ...]]:
        names = [name for name in CompletionChunk.__slots__ if name != "raw"]
        return (_make_chunk, ({name: getattr(self, name) for name in names},))


def _make_chunk(state: Dict[str, Any]) -> CompletionChunk:
    return CompletionChunk(**state)


class LikeChunk(CompletionChunk):
    """A piece that differs from another one in nothing but its text or thinking.

    Made for nearly every token, so it sets six fields instead of twelve (0.3 µs instead of
    0.6), and finds the others, and the server's record, when somebody asks for them.
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
        self.model = like.model
        self._like = like
        self._record = record
        self._read = read

    def __getattr__(self, name: str) -> Any:
        # Called for what has no value yet; a piece that is being copied has nothing at all.
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._read(self._record) if name == "raw" else getattr(self._like, name)
        setattr(self, name, value)
        return value


@record
class Tried(Record):
    """A server that was tried before the one that answered. As text it is one line.

    Attributes:
        provider: Its name.
        model: The model that it was to ask.
        error: Class name of its error; None where it was left alone, because it had failed
            again and again.
        message: Why, in words.
    """

    provider: str
    model: str
    error: Optional[str] = None
    message: str = ""

    def __str__(self) -> str:
        why = f"{self.error}: {self.message}" if self.error else self.message
        return f"{self.provider}/{self.model}: {why}"


@record
class CompletionResponse(Record):
    """A whole answer.

    Attributes:
        text: What the model answered.
        thinking: What it reasoned before; empty where there was nothing.
        thinking_inferred: True where the server gave the reasoning as a leading
            ``<think>`` block of the text, and we took it apart.
        tool_calls: The tools that it asks to call.
        model: The model that answered, in the server's words.
        provider: Name of the provider.
        finish_reason: Why the answer ended, in the server's words; None where it gave no
            reason.
        usage: Numbers of tokens, the server's.
        timings: Durations, ours.
        server_timings: Durations, the server's.
        logprobs: Log-probabilities of the tokens, where asked for.
        response_id: Under which id the server keeps this answer, to go on from there;
            None where it keeps none (`LMStudioProvider.stateful_chat`).
        warnings: What the caller should know: a parameter left out under
            ``strict=False``, another model than asked for, a loss that `overflow` allowed, a
            model that was loaded again; each of `tried`.
        attempts: How often the request was sent; see `RetryPolicy`.
        tried: The servers that `LocalProvider` tried before this one, in order.
        raw: The server's last record.
    """

    text: str = field(metadata=CONTENT)
    model: str
    provider: str
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
    tried: Tuple[Tried, ...] = field(default=(), metadata=loads_each(Tried.from_dict))
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    @property
    def message(self) -> Message:
        """The answer as a message, for the history of the conversation."""
        return Message(
            role="assistant",
            content=self.text,
            thinking=self.thinking,
            tool_calls=self.tool_calls,
        )


def _load_vectors(rows: Sequence[Sequence[float]]) -> Tuple[array[float], ...]:
    return tuple(array("f", row) for row in rows)


@record
class EmbeddingResponse(Record):
    """Vectors, one for each text, in the order of the texts.

    Attributes:
        vectors: The vectors as packed 32-bit floats, all of one length.
        model: The model that made them, in the server's words.
        provider: Name of the provider.
        truncation: Whether a text may have been cut: ``none`` where the server refuses what
            is too long; ``allowed`` where `truncate` was asked for, because no server says
            whether it has cut; ``unknown`` where it neither takes the switch nor tells.
        usage: Numbers of tokens, the server's, of all batches together; None where it did
            not count each.
        server_timings: Durations, the server's, of all batches together.
        warnings: What the caller should know, each once.
        attempts: How often a request was sent: the highest number of any batch, so that
            more than 1 means a repetition; see `RetryPolicy`.
        tried: The servers that `LocalProvider` tried before this one, in order.
    """

    vectors: Tuple[array[float], ...] = field(metadata=loads(_load_vectors, **CONTENT))
    model: str
    provider: str
    truncation: str = "unknown"
    usage: Usage = field(default_factory=Usage, metadata=loads(Usage.from_dict))
    server_timings: ServerTimings = field(
        default_factory=ServerTimings, metadata=loads(ServerTimings.from_dict)
    )
    warnings: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    attempts: int = 1
    tried: Tuple[Tried, ...] = field(default=(), metadata=loads_each(Tried.from_dict))

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        return len(self.vectors[0])

    @property
    def embeddings(self) -> List[List[float]]:
        """The vectors as lists of floats, made anew at each use."""
        return [list(vector) for vector in self.vectors]

    def to_numpy(self) -> numpy.ndarray[Any, Any]:
        """Give the vectors as one float32 matrix, a row for each text: a copy of its own.

        Raises:
            DependencyError: numpy is not installed.
        """
        try:
            import numpy as np
        except ImportError:
            raise DependencyError(
                "to_numpy needs numpy, which is not installed", hint="python -m pip install numpy"
            ) from None
        matrix = np.empty((len(self.vectors), self.dimensions), dtype=np.float32)
        for row, vector in enumerate(self.vectors):
            matrix[row] = np.frombuffer(vector, dtype=np.float32)
        return matrix
