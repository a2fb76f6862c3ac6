"""What is asked of a model."""

from __future__ import annotations

import json
import math
from typing import (
    Any,
    Iterable,
    Iterator,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from localproviders._fields import fields_of
from localproviders._record import CONTENT, Record, did_you_mean, field, loads, loads_each, record
from localproviders.types.message import Message, Tool

#: Where prompts may go: this machine, private networks, or anywhere.
Locality = Literal["loopback", "private", "any"]

#: What becomes of a prompt longer than the context window: an error, the server's own
#: silent cutting of the oldest part, or whatever the server does unasked.
Overflow = Literal["error", "truncate", "allow"]

#: How much goes into one embedding request. A batch holds one slot of the server, one
#: first-token limit, and as many parsed numbers in memory.
BATCH_SIZE = 64
BATCH_CHARACTERS = 100_000

LOCALITIES: Tuple[str, ...] = ("loopback", "private", "any")
OVERFLOWS: Tuple[str, ...] = ("error", "truncate", "allow")


def _tuple_of_text(value: Union[str, Iterable[str]]) -> Tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@record
class CompletionRequest(Record):
    """One question to a model, with everything that shapes the answer.

    A field that is None is not sent: the model's or the server's own default holds. A
    field that the server cannot take is an `UnsupportedError` before anything is sent,
    or, with ``strict=False``, a line in the response's `warnings`. Sequences are kept as
    tuples.

    Attributes:
        model: Name of the model as the server knows it; None takes the provider's.
        messages: The conversation; either this or `prompt`.
        prompt: Text to continue, without any chat template (with `suffix`: the text
            before the gap).
        suffix: Text after the gap that is to be filled; goes with `prompt`.
        tools: Tools that the model may call.
        tool_choice: ``auto``, ``none``, ``required``, or a tool's name.
        response_schema: JSON Schema that the answer's text shall follow.
        thinking: True or False to switch reasoning, or a level such as ``"high"``.
        max_tokens: Longest answer, in tokens.
        temperature: Randomness; 0 always takes the likeliest token.
        top_p: Sample among the likeliest tokens that make up this share.
        top_k: Sample among so many of the likeliest tokens.
        min_p: Sample among tokens at least this likely, relative to the likeliest.
        seed: Seed of the random numbers.
        stop: Texts that end the answer.
        repeat_penalty: Factor against repetition; 1 is none.
        presence_penalty: Amount against tokens that occurred.
        frequency_penalty: Amount against tokens, for each time they occurred.
        logprobs: True to get the log-probability of each token.
        top_logprobs: How many alternatives to get for each token.
        context_length: Context window in tokens; a server may have to reload the model.
        keep_alive: Seconds to keep the model loaded after the call; infinity is for ever.
        overflow: What becomes of a prompt that does not fit the context window, and of an
            answer that goes past it.
        strict: False turns a parameter that the server cannot take into a warning.
        allow_other_model: True accepts an answer from another model than asked for.
        extra_body: Further fields for the server's JSON, unchanged and unchecked.

    Raises:
        ValueError: There is nothing to answer or to continue, or a value is impossible.
    """

    model: Optional[str] = None
    messages: Sequence[Message] = field(default=(), metadata=loads_each(Message.from_dict))
    prompt: Optional[str] = field(default=None, metadata=CONTENT)
    suffix: Optional[str] = field(default=None, metadata=CONTENT)
    tools: Sequence[Tool] = field(default=(), metadata=loads_each(Tool.from_dict))
    tool_choice: Optional[str] = None
    response_schema: Optional[Mapping[str, Any]] = None
    thinking: Union[bool, str, None] = None
    max_tokens: Optional[int] = None
    temperature: Optional[float] = None
    top_p: Optional[float] = None
    top_k: Optional[int] = None
    min_p: Optional[float] = None
    seed: Optional[int] = None
    stop: Sequence[str] = field(default=(), metadata=loads(_tuple_of_text, **CONTENT))
    repeat_penalty: Optional[float] = None
    presence_penalty: Optional[float] = None
    frequency_penalty: Optional[float] = None
    logprobs: Optional[bool] = None
    top_logprobs: Optional[int] = None
    context_length: Optional[int] = None
    keep_alive: Optional[float] = None
    overflow: Overflow = "error"
    strict: bool = True
    allow_other_model: bool = False
    extra_body: Mapping[str, Any] = field(default_factory=dict, metadata=CONTENT)

    def __post_init__(self) -> None:
        if type(self.stop) is not tuple:
            object.__setattr__(self, "stop", _tuple_of_text(self.stop))
        for name in ("messages", "tools"):
            if type(getattr(self, name)) is not tuple:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_texts()
        self._check_question()
        self._check_numbers()

    def _check_texts(self) -> None:
        for name in ("model", "prompt", "suffix"):
            _check_text(name, getattr(self, name), optional=True)
        for text in self.stop:
            _check_text("stop", text)

    def _check_question(self) -> None:
        if bool(self.messages) == (self.prompt is not None):
            raise ValueError("a request has either messages or a prompt, and not both")
        if self.prompt == "":
            # An empty prompt would be taken as an order to load the model (ollama-api §2.6).
            raise ValueError("prompt is empty; there is nothing to continue")
        if self.suffix is not None and self.prompt is None:
            raise ValueError("suffix goes with prompt, the text before the gap")
        if self.overflow not in OVERFLOWS:
            raise ValueError(f"overflow is {self.overflow!r}; choose one of {', '.join(OVERFLOWS)}")
        if not all(isinstance(message, Message) for message in self.messages):
            raise ValueError("messages takes Message values: Message.user(text)")
        if not all(isinstance(tool, Tool) for tool in self.tools):
            raise ValueError("tools takes Tool values: Tool(name=..., parameters=...)")

    def _check_numbers(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None:
                _check_number(name, value, least)
                _check_whole(name, value)


def _check_text(name: str, value: Any, *, optional: bool = False) -> None:
    if not isinstance(value, str) and not (optional and value is None):
        raise ValueError(f"{name} is {type(value).__name__}, and must be text")


def _check_whole(name: str, value: Any) -> None:
    # Ollama cuts the fraction off without a word.
    if name in _WHOLE and not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}, and must be a whole number")


def _check_number(name: str, value: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
        raise ValueError(f"{name} is {value!r}, and must be a number of at least {least}")
    finite = isinstance(value, int) or math.isfinite(value)
    if not (finite or (value == math.inf and name == "keep_alive")):
        raise ValueError(f"{name} is {value!r}, which cannot be sent as JSON")


# The least value with a meaning, for each number.
_LEAST: Mapping[str, float] = {
    "max_tokens": 1,
    "temperature": 0,
    "top_p": 0,
    "top_k": 0,
    "min_p": 0,
    "seed": -(2**63),
    "repeat_penalty": 0,
    "presence_penalty": -math.inf,
    "frequency_penalty": -math.inf,
    "top_logprobs": 0,
    "context_length": 1,
    "keep_alive": 0,
}


# Those of both requests that count something, or are taken bit by bit.
_WHOLE = frozenset(
    {
        "max_tokens",
        "top_k",
        "seed",
        "top_logprobs",
        "context_length",
        "dimensions",
        "batch_size",
        "batch_characters",
    }
)


def texts_of(request: Union[CompletionRequest, EmbeddingRequest]) -> Iterator[str]:
    """Give what a person or a model said in a request: what no error may repeat."""
    if isinstance(request, EmbeddingRequest):
        yield from request.texts
        return
    yield from filter(None, (request.prompt, request.suffix))
    yield from request.stop
    yield from _texts_in(request.extra_body)
    for message in request.messages:
        yield from (message.content, message.thinking)
        yield from (media.base64 for media in (*message.images, *message.audio))
        for call in message.tool_calls:
            yield json.dumps(call.arguments, ensure_ascii=False, default=str)


def _texts_in(value: Any) -> Iterator[str]:
    """Give the texts anywhere in a JSON value; its keys are the server's words."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            todo.extend(each.values())
        elif isinstance(each, (list, tuple)):
            todo.extend(each)


# What `chat` and `stream` take in another way, or not at all.
_NO_KEYWORDS = frozenset({"model", "messages", "prompt", "suffix", "tools"})


def check_field_names(given: Mapping[str, Any]) -> None:
    """Refuse keywords that are no request field, naming the nearest right one.

    Raises:
        TypeError: A name is unknown.
    """
    known = [name for name in fields_of(CompletionRequest) if name not in _NO_KEYWORDS]
    for name in given:
        if name not in known:
            more = did_you_mean(name, known)
            if name in ("prompt", "suffix"):
                more = f"; pass complete(CompletionRequest({name}=...))"
            raise TypeError(f"there is no request field {name!r}{more}")


@record
class EmbeddingRequest(Record):
    """Texts to turn into vectors.

    They are sent in batches, one after another; a batch is full when it has reached one of
    the two sizes. A text longer than `batch_characters` goes alone.

    Attributes:
        texts: The texts, at least one; none of them empty. Any iterable of them is read once.
        model: Name of the model; None takes the provider's.
        dimensions: Length that the vectors shall be cut to; None keeps the model's.
        truncate: True lets the server cut a text that is too long; False makes that an
            error where the server can say so.
        keep_alive: Seconds to keep the model loaded after each batch; infinity is for ever.
        batch_size: Most texts in one request.
        batch_characters: Most characters in one request.

    Raises:
        ValueError: There is no text, an empty one, or an impossible number.
    """

    texts: Sequence[str] = field(metadata=loads(_tuple_of_text, **CONTENT))
    model: Optional[str] = None
    dimensions: Optional[int] = None
    truncate: bool = False
    keep_alive: Optional[float] = None
    batch_size: int = BATCH_SIZE
    batch_characters: int = BATCH_CHARACTERS

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", _tuple_of_text(self.texts))
        if not self.texts:
            raise ValueError("there is no text to embed")
        for index, text in enumerate(self.texts):
            if not isinstance(text, str) or not text:
                raise ValueError(f"text {index} is empty or no text; a model cannot embed it")
        for name, least in _LEAST_TO_EMBED.items():
            value = getattr(self, name)
            if value is not None:
                _check_number(name, value, least)
                _check_whole(name, value)


_LEAST_TO_EMBED: Mapping[str, float] = {
    "dimensions": 1,
    "keep_alive": 0,
    "batch_size": 1,
    "batch_characters": 1,
}


def as_embedding_request(
    texts: Union[str, Iterable[str], EmbeddingRequest], **fields: Any
) -> EmbeddingRequest:
    """Turn what `embed` takes into a request; a request stays as it is.

    Raises:
        ValueError: There is no text, an empty one, or an impossible number; or a field
            stands beside a request.
    """
    if isinstance(texts, EmbeddingRequest):
        own = fields_of(EmbeddingRequest).values()
        beside = [each.name for each in own if fields.get(each.name, each.default) != each.default]
        if beside:
            raise ValueError(f"{', '.join(beside)} beside a request: write request.replace(...)")
        return texts
    return EmbeddingRequest(texts=_tuple_of_text(texts), **fields)
