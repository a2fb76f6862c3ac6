"""Requests to a model, and the keywords of `chat` and `stream`."""

from __future__ import annotations

import json
import math
from dataclasses import fields as dataclass_fields
from typing import (
    Any,
    Callable,
    Iterable,
    Iterator,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    Union,
)

from localproviders._did_you_mean import suggest_number
from localproviders._record import CONTENT, FrozenDict, Record, field, loads_each, record
from localproviders._signatures import unknown_keywords
from localproviders.secret import errors_without_frames
from localproviders.types.inputs import (
    check_embeddable,
    check_several_texts,
    expected_digest,
    keep_alive_seconds,
    model_name,
    plain_number,
    tool_choice,
)
from localproviders.types.messages import Image, Message, Tool, as_tuple
from localproviders.types.models import LoadedModel, ModelInfo

#: The hosts to which prompts may be sent: this machine, private networks, or any host.
Locality = Literal["loopback", "private", "any"]

#: A model: its name, or a value that describes it. Only the name is sent.
ModelLike = Union[str, ModelInfo, LoadedModel]

#: Handling of a prompt longer than the context window. With ``error`` the call raises an error.
#: With ``truncate`` the server is asked to drop the oldest part. With ``allow`` the server's
#: default applies.
Overflow = Literal["error", "truncate", "allow"]

#: Default size of one embedding request: its highest number of texts, and of characters. A large
#: batch occupies a slot of the server for a long time, may exceed the first-token limit, and needs
#: much memory for its parsed numbers.
BATCH_SIZE = 64
BATCH_CHARACTERS = 100_000

LOCALITIES: Tuple[str, ...] = ("loopback", "private", "any")
OVERFLOWS: Tuple[str, ...] = ("error", "truncate", "allow")


def _tuple_of_text(name: str, value: Union[str, Iterable[str]]) -> Tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    check_several_texts(name, value)
    return as_tuple(name, value)


@record
class CompletionRequest(Record):
    """A request for a completion: the messages or the prompt, and all parameters.

    A field that is None is not sent, so the default of the model or the server applies. An empty
    name of a model, or a name that has only blanks, is the same as None. Numbers of numpy are
    accepted, too. If a server does not support a field, the call raises `UnsupportedError` before
    it sends the request. With ``strict=False``, the field is omitted, and the response's `warnings`
    say so. Sequences are stored as tuples.

    Attributes:
        model: Name of the model on the server; None uses the provider's model.
        messages: The conversation. A request has either messages or a prompt.
        prompt: Text to continue, without a chat template. With `suffix`, it is the text
            before the gap.
        suffix: Text after the gap that the model fills; needs `prompt`.
        tools: Tools that the model may call.
        tool_choice: ``auto``, ``none``, ``required``, or the name of a tool. The constructor also
            accepts the dictionaries of other clients that name a tool.
        response_schema: JSON Schema that the text of the answer must follow.
        grammar: Grammar in llama.cpp's notation (GBNF) that the text of the answer must follow.
            It cannot be combined with `tools` or `response_schema`.
        thinking: True or False switches reasoning on or off. A level, such as ``"high"``,
            sets the amount of reasoning.
        thinking_budget: Highest number of tokens of the reasoning.
        max_tokens: Longest answer, in tokens.
        temperature: Randomness of the answer; 0 always picks the likeliest token.
        top_p: Tokens are picked only from the likeliest ones whose probabilities add up to this
            number.
        top_k: Tokens are picked only from this number of the likeliest ones.
        min_p: Tokens are picked only if their probability is at least this fraction of the
            likeliest token's probability.
        seed: Seed of the random numbers.
        stop: Strings that end the answer.
        repeat_penalty: Factor against repetition; 1 means no penalty.
        presence_penalty: Penalty for each token that has occurred.
        frequency_penalty: Penalty for each token, multiplied by the number of times that it has
            occurred.
        logprobs: True requests the log-probability of each token.
        top_logprobs: Number of alternatives to return for each token.
        context_length: Context window in tokens. A new value may make the server reload the
            model. On Ollama, if this field is set and `overflow` is ``error``, an answer ends
            when the window is full, and its finish reason is ``length``.
        keep_alive: Seconds for which the model stays loaded after the call; infinity means for
            ever. The constructor also accepts a duration such as ``"10m"`` or ``"1h30m"``, and
            a negative value, which means for ever.
        overflow: Handling of a prompt or an answer that exceeds the context window: ``error``,
            ``truncate`` or ``allow``.
        strict: False omits a parameter that the server does not support, with a warning. With
            False, a `response_schema` or ``thinking=False`` is also omitted if the server refuses
            it. A refused schema is added as text to the last message of the user.
        allow_other_model: True accepts an answer from another model than the requested one.
        expect_digest: First digits of the model's digest: at least 12, with or without ``sha256:``,
            which is not stored. The server's list of models is read before the prompt is sent. If
            the list has another digest for the model, the call raises `WrongModelError`. If the
            server reports no digest, the call raises `UnsupportedError`, even with
            ``strict=False``.
        extra_body: Further fields for the JSON of the request. They are sent unchanged and
            without a check.

    Raises:
        ValueError: The request has neither messages nor a prompt, or has both, or a value is
            invalid; or it has a grammar together with tools or a schema.
    """

    model: Optional[str] = None
    messages: Sequence[Message] = field(default=(), metadata=loads_each(Message.from_dict))
    prompt: Optional[str] = field(default=None, metadata=CONTENT)
    suffix: Optional[str] = field(default=None, metadata=CONTENT)
    tools: Sequence[Tool] = field(default=(), metadata=loads_each(Tool.from_dict))
    tool_choice: Optional[str] = None
    response_schema: Optional[Mapping[str, Any]] = None
    grammar: Optional[str] = field(default=None, metadata=CONTENT)
    thinking: Union[bool, str, None] = None
    thinking_budget: Optional[int] = None
    max_tokens: Optional[int] = None
    temperature: Optional[float] = None
    top_p: Optional[float] = None
    top_k: Optional[int] = None
    min_p: Optional[float] = None
    seed: Optional[int] = None
    stop: Sequence[str] = field(default=(), metadata=CONTENT)
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
    expect_digest: Optional[str] = None
    extra_body: Mapping[str, Any] = field(default_factory=FrozenDict, metadata=CONTENT)

    _names_attributes = False

    def __post_init__(self) -> None:
        self._fill()
        self._freeze("response_schema", "extra_body")
        self._check_texts()
        self._check_question()
        self._check_numbers()

    def _fill(self) -> None:
        """Normalize fields: replace None with the default, and lists with tuples."""
        # The dictionary of the fields is faster than attributes. Only its method `get` is a local
        # variable, because a traceback with local variables would show the content of a dictionary.
        get = vars(self).get
        for name, default in _DEFAULTS.items():
            if get(name) is None:
                object.__setattr__(self, name, default)
        _fill_values(self, _LEAST)
        if type(self.stop) is not tuple:
            object.__setattr__(self, "stop", _tuple_of_text("stop", self.stop))
        if isinstance(self.tools, Tool):
            object.__setattr__(self, "tools", (self.tools,))
        for name in ("messages", "tools"):
            if type(get(name)) is not tuple:
                object.__setattr__(self, name, as_tuple(name, get(name)))
        for name in ("extra_body", "response_schema"):
            _check_dictionary(name, get(name))

    def _check_texts(self) -> None:
        if self.tool_choice is not None:
            object.__setattr__(self, "tool_choice", tool_choice(self.tool_choice, self.tools))
        get = vars(self).get
        for name in ("model", "prompt", "suffix", "grammar"):
            _check_text(name, get(name), optional=True)
        for text in self.stop:
            _check_text("stop", text)

    def _check_question(self) -> None:
        if bool(self.messages) == (self.prompt is not None):
            raise ValueError("a request needs either messages or a prompt, and not both")
        if self.prompt == "":
            # Ollama loads the model and generates nothing if the prompt is empty:
            # docs/reference/ollama.md, "Generate".
            raise ValueError("prompt is empty; there is nothing to continue")
        if self.suffix is not None and self.prompt is None:
            raise ValueError("suffix needs prompt, the text before the gap")
        if self.grammar is not None:
            self._check_grammar()
        if self.overflow not in OVERFLOWS:
            raise ValueError(f"overflow is {self.overflow!r}; choose one of {', '.join(OVERFLOWS)}")
        if not all(isinstance(message, Message) for message in self.messages):
            raise ValueError("messages takes Message values: Message.user(text)")
        if not all(isinstance(tool, Tool) for tool in self.tools):
            raise ValueError("tools takes Tool values: Tool(name=..., parameters=...)")

    def _check_grammar(self) -> None:
        if not self.grammar:
            raise ValueError("grammar is empty, so no text can follow it")
        if self.tools or self.response_schema is not None:
            other = "tools" if self.tools else "response_schema"
            raise ValueError(
                f"grammar cannot be combined with {other}: both decide the answer's form"
            )

    def _check_numbers(self) -> None:
        get = vars(self).get
        for name, least in _LEAST.items():
            value = get(name)
            if value is not None:
                _check_number(name, value, least)
                _check_integer(name, value)


# The defaults of the request fields that cannot be None: None is replaced with the default.
_DEFAULTS: Mapping[str, Any] = {
    "messages": (),
    "tools": (),
    "stop": (),
    "overflow": "error",
    "strict": True,
    "allow_other_model": False,
    "extra_body": FrozenDict(),
}
# The fields that may be True or False.
_BOOLEANS = ("thinking", "logprobs", "strict", "allow_other_model", "truncate")


def _fill_values(request: Any, numbers: Mapping[str, float]) -> None:
    """Replace numbers of numpy, durations, digests and descriptions of models with plain values."""
    get = vars(request).get
    for name in (*numbers, *_BOOLEANS):
        value = get(name)
        if value is not None and type(value) not in _PLAIN and name not in _READERS:
            object.__setattr__(request, name, plain_number(value))
    for name, read in _READERS.items():
        if get(name) is not None:
            object.__setattr__(request, name, read(get(name)))
    if type(request.model) is not str or not request.model.strip():
        object.__setattr__(request, "model", model_name(request.model))


# Fields that accept several forms of a value, each with the function that returns the plain value.
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "keep_alive": keep_alive_seconds,
    "expect_digest": expected_digest,
}
# Types whose values `_fill_values` keeps.
_PLAIN = (type(None), int, float, bool)


def _check_text(name: str, value: Any, *, optional: bool = False) -> None:
    if not isinstance(value, str) and not (optional and value is None):
        raise ValueError(f"{name} is {type(value).__name__}, and must be text")


def _check_dictionary(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, (dict, Mapping)):
        more = ": json.loads(text)" if isinstance(value, str) else ""
        if isinstance(value, type):
            more = f"; for a value of a type, call parse(messages, {value.__name__})"
        raise ValueError(f"{name} is {type(value).__name__}, and must be a dictionary{more}")


def _check_integer(name: str, value: Any) -> None:
    # Without this check, Ollama would silently drop the fraction of a float.
    if name in _INTEGERS and not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}, and must be a whole number")


def _check_number(name: str, value: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
        must = f"must be a number of at least {least}"
        if name == "keep_alive":
            must = (
                "must be seconds, such as 600, a duration, such as '10m', or math.inf or -1 for "
                "ever"
            )
        line = suggest_number(name, value, least=least, is_whole=name in _INTEGERS)
        raise ValueError(f"{name} is {value!r}, and {must}{line}")
    finite = isinstance(value, int) or math.isfinite(value)
    if not (finite or (value == math.inf and name == "keep_alive")):
        raise ValueError(f"{name} is {value!r}, which cannot be sent as JSON")


# The lowest valid value of each number.
_LEAST: Mapping[str, float] = {
    "thinking_budget": 0,
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


# The integer fields of `CompletionRequest` and `EmbeddingRequest`.
_INTEGERS = frozenset(
    {
        "thinking_budget",
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
    """Yield the texts of a request that users or models wrote. No error may quote them."""
    if isinstance(request, EmbeddingRequest):
        yield from request.texts
        return
    yield from filter(None, (request.prompt, request.suffix, request.grammar))
    yield from request.stop
    yield from strings_in(request.extra_body)
    for message in request.messages:
        yield from (message.content, message.thinking)
        yield from (media.base64 for media in (*message.images, *message.audio))
        yield from _texts_of_documents(message)
        yield from strings_in(message.provider_data)
        for call in message.tool_calls:
            yield json.dumps(call.arguments, ensure_ascii=False, default=str)
    yield from (tool.description for tool in request.tools)
    for schema in (request.response_schema, *(tool.parameters for tool in request.tools)):
        yield from _descriptions_in(schema)


def _texts_of_documents(message: Message) -> Iterator[str]:
    for document in message.documents:
        yield from filter(None, (document.title, document.text or document.base64))


def _descriptions_in(schema: Any) -> Iterator[str]:
    """Yield the descriptions in a JSON Schema. Its other strings are not free text."""
    todo = [schema]
    while todo:
        each = todo.pop()
        if isinstance(each, Mapping):
            yield from (text for text in (each.get("description"),) if isinstance(text, str))
            todo.extend(each.values())
        elif isinstance(each, (list, tuple)):
            todo.extend(each)


def strings_in(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value, except the keys of objects.

    The keys are names that the server defines, not texts of a user.
    """
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            todo.extend(each.values())
        elif isinstance(each, (list, tuple)):
            todo.extend(each)


#: The advice in errors for the fields of `CompletionRequest` that `chat` does not accept.
_OF_COMPLETE = {
    "prompt": "pass the text as the first argument, or call "
    "complete(CompletionRequest(prompt=text))",
    "suffix": "call complete(CompletionRequest(prompt=before, suffix=after))",
}


def check_field_names(given: Mapping[str, Any], verb: Any) -> None:
    """Check that all keywords are fields of a request.

    Args:
        given: The keywords that are not the method's own parameters.
        verb: The method that was called. `show_keywords` has decorated it. The error suggests the
            most similar keyword of this method, whether it is a field of a request or not.

    Raises:
        TypeError: A name is unknown.
    """
    # `show_keywords` has set this attribute. `inspect.signature` would copy the signature.
    known = verb.__signature__.parameters
    unknown = [name for name in given if name in _OF_COMPLETE or name not in known]
    if unknown:
        raise unknown_keywords(unknown, verb.__name__, known, _OF_COMPLETE)


@record
class EmbeddingRequest(Record):
    """A request for embeddings: the texts, and all parameters.

    The texts are sent in batches, one after the other. No batch exceeds `batch_size` or
    `batch_characters`. A text longer than `batch_characters` is a batch by itself.

    Attributes:
        texts: The texts: at least one, none of them empty. An iterable is read once.
        model: Name of the model; None uses the provider's model.
        dimensions: Length to which the vectors are shortened; None keeps the model's length.
        truncate: True lets the server cut a text that is too long. With False such a text is an
            error, if the server reports it.
        keep_alive: Seconds for which the model stays loaded after each batch; infinity means for
            ever. The constructor accepts the same forms as the constructor of `CompletionRequest`.
        batch_size: Highest number of texts in one request.
        batch_characters: Highest number of characters in one request.
        expect_digest: First digits of the model's digest, as in `CompletionRequest`. The list of
            models is read once, before the first batch.

    Raises:
        ValueError: There is no text, a text is empty, or a number is invalid.
    """

    texts: Sequence[str] = field(metadata=CONTENT)
    model: Optional[str] = None
    dimensions: Optional[int] = None
    truncate: bool = False
    keep_alive: Optional[float] = None
    batch_size: int = BATCH_SIZE
    batch_characters: int = BATCH_CHARACTERS
    expect_digest: Optional[str] = None

    def __post_init__(self) -> None:
        for name, default in _EMBED_DEFAULTS.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        _fill_values(self, _LEAST_TO_EMBED)
        object.__setattr__(self, "texts", _tuple_of_text("texts", self.texts))
        if not self.texts:
            raise ValueError("there is no text to embed")
        for index, text in enumerate(self.texts):
            if type(text) is not str or not text:
                check_embeddable(index, text)
        for name, least in _LEAST_TO_EMBED.items():
            value = getattr(self, name)
            if value is not None:
                _check_number(name, value, least)
                _check_integer(name, value)


_EMBED_DEFAULTS: Mapping[str, Any] = {
    "truncate": False,
    "batch_size": BATCH_SIZE,
    "batch_characters": BATCH_CHARACTERS,
}
_LEAST_TO_EMBED: Mapping[str, float] = {
    "dimensions": 1,
    "keep_alive": 0,
    "batch_size": 1,
    "batch_characters": 1,
}


@errors_without_frames
def as_embedding_request(
    texts: Union[str, Iterable[str], EmbeddingRequest], **fields: Any
) -> EmbeddingRequest:
    """Make a request from the arguments of `embed`. A request is returned unchanged.

    Raises:
        ValueError: There is no text, a text is empty, a number is invalid, or fields were
            passed together with a request.
    """
    if isinstance(texts, EmbeddingRequest):
        own = dataclass_fields(EmbeddingRequest)
        extra = [each.name for each in own if fields.get(each.name, each.default) != each.default]
        if extra:
            raise ValueError(
                f"{', '.join(extra)} cannot be passed with a request: use request.replace(...)"
            )
        return texts
    return EmbeddingRequest(texts=_tuple_of_text("texts", texts), **fields)


class ParseFields(TypedDict, total=False):
    """The fields of `CompletionRequest` that `parse` takes as keywords.

    `parse` makes the `response_schema` from the type that it receives.
    """

    # A test checks that these fields have the same types as in `CompletionRequest`.
    tool_choice: Optional[str]
    grammar: Optional[str]
    thinking: Union[bool, str, None]
    thinking_budget: Optional[int]
    max_tokens: Optional[int]
    temperature: Optional[float]
    top_p: Optional[float]
    top_k: Optional[int]
    min_p: Optional[float]
    seed: Optional[int]
    stop: Union[str, Sequence[str], None]
    repeat_penalty: Optional[float]
    presence_penalty: Optional[float]
    frequency_penalty: Optional[float]
    logprobs: Optional[bool]
    top_logprobs: Optional[int]
    context_length: Optional[int]
    keep_alive: Union[float, str, None]
    overflow: Optional[Overflow]
    strict: Optional[bool]
    allow_other_model: Optional[bool]
    expect_digest: Optional[str]
    extra_body: Optional[Mapping[str, Any]]


class RequestFields(ParseFields, total=False):
    """The fields of `CompletionRequest` that `chat`, `stream` and `run_tools` take as keywords."""

    response_schema: Optional[Mapping[str, Any]]


#: The input of `LMStudioProvider.stateful_chat`: a string, or a list of strings and images.
Parts = Union[str, Sequence[Union[str, Image]]]


class StatefulFields(TypedDict, total=False):
    """The fields of `CompletionRequest` that LM Studio's native chat accepts."""

    temperature: Optional[float]
    top_p: Optional[float]
    top_k: Optional[int]
    min_p: Optional[float]
    repeat_penalty: Optional[float]
    max_tokens: Optional[int]
    thinking: Union[bool, str, None]
    context_length: Optional[int]
    allow_other_model: bool
