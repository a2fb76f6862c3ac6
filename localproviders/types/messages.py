"""The parts of a conversation: messages, images, audio, tools and tool calls."""

from __future__ import annotations

import base64
import binascii
import os
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from localproviders._record import (
    CONTENT,
    RAW,
    FrozenDict,
    Record,
    field,
    loads,
    loads_each,
    record,
)

if TYPE_CHECKING:
    from pathlib import Path
else:
    # pathlib imports urllib, which would slow down the import of this package.
    Path = os.PathLike


# The first bytes of the image formats that the servers read, besides WebP
# (docs/reference/ollama.md, "Chat"; docs/reference/lmstudio.md, "Images").
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


_Part = TypeVar("_Part", bound=Record)

#: Metadata of the field `data`.
_BYTES = loads(base64.b64decode, **CONTENT)


class _Media(Record):
    """The common base of `Image` and `Audio`; each of them declares the two fields."""

    data: bytes
    media_type: str

    @property
    def base64(self) -> str:
        """The data as padded standard base64, without a prefix."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_uri(self) -> str:
        """The file as ``data:<type>;base64,<data>``."""
        return f"data:{self.media_type};base64,{self.base64}"


@record
class Image(_Media):
    """An image for a model with vision; make it with one of the `from_...` methods.

    A plain string is never used as a path or an address. So text from a user cannot make this
    package read a file.

    Attributes:
        data: The bytes of the file.
        media_type: The media type, such as ``image/png``.
    """

    data: bytes = field(metadata=_BYTES)
    media_type: str

    @classmethod
    def from_bytes(cls, data: bytes, media_type: Optional[str] = None) -> Image:
        """Make an image from the bytes of a file.

        Args:
            data: The bytes.
            media_type: The media type; None detects it from the first bytes.

        Raises:
            ValueError: The data is empty, or `media_type` is None and the type is unknown.
        """
        found = media_type or _image_type(data)
        if not data or found is None:
            raise ValueError(
                "the data is empty, or is not a PNG, JPEG, GIF or WebP image; "
                "pass media_type='image/...' if it is an image of another type"
            )
        return cls(data=data, media_type=found)

    @classmethod
    def from_path(cls, path: Path) -> Image:
        """Read an image file.

        Args:
            path: A `pathlib.Path`; a string is refused.

        Raises:
            TypeError: The argument is a string.
            OSError: The file cannot be read.
            ValueError: The file is not an image of a known type.
        """
        return cls.from_bytes(_file(path))

    @classmethod
    def from_data_uri(cls, uri: str) -> Image:
        """Decode an image from a URI such as ``data:image/png;base64,...``.

        Raises:
            ValueError: The string is not such a URI, or its base64 is invalid or empty.
        """
        head, comma, body = uri.partition(",")
        if not (head.startswith("data:image/") and head.endswith(";base64") and comma):
            raise ValueError("an image URI must be 'data:image/<type>;base64,<data>'")
        try:
            data = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise ValueError(f"the base64 of this image URI is broken: {error}") from None
        return cls.from_bytes(data, head[len("data:") : -len(";base64")])


@record
class Audio(_Media):
    """Audio for a model that accepts it; make it with `from_bytes` or `from_path`.

    Attributes:
        data: The bytes of the file.
        media_type: ``audio/wav`` or ``audio/mpeg``, the types that the servers read.
    """

    data: bytes = field(metadata=_BYTES)
    media_type: str

    @classmethod
    def from_bytes(cls, data: bytes) -> Audio:
        """Make audio from the bytes of a WAV or MP3 file. The type is read from the first bytes.

        Raises:
            ValueError: The data is neither WAV nor MP3.
        """
        found = _audio_type(data)
        if found is None:
            raise ValueError("these bytes are not a WAV or MP3 file; the servers read only these")
        return cls(data=data, media_type=found)

    @classmethod
    def from_path(cls, path: Path) -> Audio:
        """Read an audio file.

        Args:
            path: A `pathlib.Path`; a string is refused.

        Raises:
            TypeError: The argument is a string.
            OSError: The file cannot be read.
            ValueError: The file is neither WAV nor MP3.
        """
        return cls.from_bytes(_file(path))

    @property
    def format(self) -> str:
        """The name of the format: ``wav`` or ``mp3``."""
        return "wav" if self.media_type == "audio/wav" else "mp3"


def _file(path: Path) -> bytes:
    if isinstance(path, str):
        raise TypeError(
            "from_path takes a pathlib.Path, not a string: pass Path(...) if you mean a file"
        )
    return path.read_bytes()


def _image_type(data: bytes) -> Optional[str]:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _audio_type(data: bytes) -> Optional[str]:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio/wav"
    # An MP3 file begins with an ID3 tag, or with the header of a frame: eleven set bits, and
    # the bits of layer III.
    frame = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2
    return "audio/mpeg" if data.startswith(b"ID3") or frame else None


_ROLES = ("system", "user", "assistant", "tool")


@record
class Tool(Record):
    """A function that the model may call.

    Attributes:
        name: Name of the tool.
        description: Description of the tool, for the model to read.
        parameters: JSON Schema of the arguments; its type is ``object``. Ollama drops
            ``$ref``, ``oneOf``, ``default`` and more: replace references with their definitions
            (docs/reference/ollama.md, "Tools").
        function: The Python function to run when the model calls the tool; None if you run it
            yourself. The function is never sent, and is not part of repr, equality,
            dictionaries and pickles.

    Raises:
        ValueError: A field has the wrong type.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: FrozenDict(type="object", properties=FrozenDict())
    )
    function: Optional[Callable[..., Any]] = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        for name in ("name", "description"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {_kind(getattr(self, name))}, and must be text")
        if not isinstance(self.parameters, Mapping):
            kind = _kind(self.parameters)
            raise ValueError(f"parameters is {kind}, and must be a dictionary: a JSON Schema")
        if self.function is not None and not callable(self.function):
            raise ValueError(f"function is {_kind(self.function)}, and must be a function")
        self._freeze("parameters")


def _kind(value: Any) -> str:
    return type(value).__name__


#: A tool, or a function from which a tool is made.
ToolLike = Union[Tool, Callable[..., Any]]


@record
class ToolCall(Record):
    """A complete tool call that the model requested.

    Attributes:
        id: Identifier of the call within the conversation. If the server sent none, this
            package makes one: ``call_1`` and so on.
        name: Name of the tool.
        arguments: The arguments by name, not checked against the tool's schema.

    Raises:
        ValueError: `arguments` is not a dictionary.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=FrozenDict, metadata=CONTENT)

    def __post_init__(self) -> None:
        if not isinstance(self.arguments, Mapping):
            # In OpenAI's JSON the arguments are a string. If this string were kept, it would be
            # encoded twice.
            kind = _kind(self.arguments)
            raise ValueError(f"arguments is {kind}, and must be a dictionary: json.loads(text)")
        self._freeze("arguments")


#: The error for an item of the wrong type, by the field of a message.
_PARTS: Mapping[str, str] = {
    "images": "takes Image values: Image.from_path(Path(...))",
    "audio": "takes Audio values: Audio.from_path(Path(...))",
    "tool_calls": "takes ToolCall values, such as those of a response",
}


def _part_as(cls: Type[_Part], name: str) -> Callable[[Any], _Part]:
    """Return a function that converts an item of a message dictionary to a value.

    An item is an instance of `cls` already, or a dictionary. Scripts for other clients may pass
    the path or the base64 text of an image. Such a string is refused, and never used as a path.
    """

    def convert(item: Any) -> _Part:
        if isinstance(item, cls):
            return item
        if not isinstance(item, Mapping):
            raise ValueError(f"{name} {_PARTS[name]}; an item is {_kind(item)}")
        return cls.from_dict(item)

    return convert


@record
class Message(Record):
    """One message of a conversation; make it with `user`, `system`, `assistant` or `tool`.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: The text.
        images: Images that belong to the text.
        audio: Audio that belongs to the text.
        thinking: The model's reasoning before this message (assistant messages only).
        tool_calls: Tool calls that this message requests (assistant messages only).
        tool_call_id: Id of the tool call whose result this message is (tool messages only).
        tool_name: Name of the tool whose result this message is (tool messages only).

    Raises:
        ValueError: The role is unknown, or a field has the wrong type.
    """

    role: str
    content: str = field(default="", metadata=CONTENT)
    images: Tuple[Image, ...] = field(default=(), metadata=loads_each(_part_as(Image, "images")))
    audio: Tuple[Audio, ...] = field(default=(), metadata=loads_each(_part_as(Audio, "audio")))
    thinking: str = field(default="", metadata=CONTENT)
    tool_calls: Tuple[ToolCall, ...] = field(
        default=(), metadata=loads_each(_part_as(ToolCall, "tool_calls"))
    )
    tool_call_id: Optional[str] = None
    tool_name: Optional[str] = None

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(f"role is {self.role!r}; the roles are {', '.join(_ROLES)}")
        for name in ("content", "thinking"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {_kind(getattr(self, name))}, and must be text")
        for name in ("images", "audio", "tool_calls"):
            object.__setattr__(self, name, as_tuple(name, getattr(self, name)))
        for name, cls in (("images", Image), ("audio", Audio), ("tool_calls", ToolCall)):
            if not all(isinstance(item, cls) for item in getattr(self, name)):
                raise ValueError(f"{name} {_PARTS[name]}")

    @classmethod
    def system(cls, text: str) -> Message:
        """Make a system message: instructions to the model."""
        return cls(role="system", content=text)

    @classmethod
    def user(cls, text: str, images: Sequence[Image] = (), audio: Sequence[Audio] = ()) -> Message:
        """Make a user message, with images or audio if the model accepts them."""
        return cls(role="user", content=text, images=tuple(images), audio=tuple(audio))

    @classmethod
    def assistant(cls, text: str = "", tool_calls: Sequence[ToolCall] = ()) -> Message:
        """Make an assistant message: an earlier answer of the model."""
        return cls(role="assistant", content=text, tool_calls=tuple(tool_calls))

    @classmethod
    def tool(cls, result: str, call: ToolCall) -> Message:
        """Make a tool message: the result of a tool call, as text for the model.

        Args:
            result: The result.
            call: The call, from `tool_calls` of an answer.

        Raises:
            ValueError: `call` is not a `ToolCall`, or `result` is not a string.
        """
        if not isinstance(call, ToolCall):
            raise ValueError(
                f"call is {_kind(call)}, and must be a ToolCall: pass one of answer.tool_calls"
            )
        return cls(role="tool", content=result, tool_call_id=call.id, tool_name=call.name)


#: The messages that `chat` and `stream` accept: a string (one user message), a `Message`, or a
#: list. Each item of the list is a `Message`, or a dictionary with fields of `Message` as its keys.
Messages = Union[str, Message, Sequence[Union[Message, Mapping[str, Any]]]]


def as_tuple(name: str, values: Any) -> Tuple[Any, ...]:
    """Return the values of a field as a tuple.

    Raises:
        ValueError: The values are not a list or another iterable.
    """
    if type(values) is tuple:
        return values
    try:
        each = iter(values)
    except TypeError:
        raise ValueError(f"{name} is {_kind(values)}, and must be a list") from None
    return tuple(each)


def as_messages(messages: Messages, system: Optional[str] = None) -> Tuple[Message, ...]:
    """Return the messages of a call as a tuple, with the system message first.

    Args:
        messages: The messages, in any form that `chat` accepts.
        system: Text of the system message; None adds no message.

    Raises:
        ValueError: There is no message, or a message is malformed.
    """
    if messages == "":
        raise ValueError("the text is empty; there is nothing to answer")
    if isinstance(messages, (str, Message)):
        messages = (messages,) if isinstance(messages, Message) else (Message.user(messages),)
    head = () if system is None else (Message.system(system),)
    made = tuple(_as_message(message) for message in _several(messages))
    if not made:
        raise ValueError("there is no message to answer: pass a string or at least one Message")
    return head + made


def _several(messages: Any) -> Tuple[Any, ...]:
    if isinstance(messages, (tuple, list)):
        return tuple(messages)
    if isinstance(messages, Mapping):
        raise ValueError("messages is one dictionary, and must be a list of them: pass [message]")
    if isinstance(messages, (bytes, bytearray)) or not hasattr(messages, "__iter__"):
        # A CompletionRequest has the attribute `messages`. Its class cannot be imported here,
        # because its module imports this module.
        is_request = hasattr(messages, "messages")
        more = ": complete and stream_completion take a request" if is_request else ""
        raise ValueError(
            f"messages is {_kind(messages)}, and must be a string, a Message, or a list of "
            f"messages{more}"
        )
    return tuple(messages)


def _as_message(value: Any) -> Message:
    if isinstance(value, Message):
        return value
    if isinstance(value, Mapping):
        return Message.from_dict(value)
    raise ValueError(f"a message must be a Message or a dictionary, and is {_kind(value)}")
