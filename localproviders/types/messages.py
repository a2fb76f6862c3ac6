"""The parts of a conversation: messages, images, audio, tools and tool calls."""

from __future__ import annotations

import base64
import binascii
import os
from io import BytesIO
from typing import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Callable,
    Dict,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    cast,
)

from localproviders._did_you_mean import image_message
from localproviders._lazy import LazyModule
from localproviders._record import (
    CONTENT,
    RAW,
    UNSHOWN,
    FrozenDict,
    Record,
    field,
    record,
)
from localproviders.types.documents import Document
from localproviders.types.inputs import (
    call_fields,
    kind_of,
    message_fields,
    pair_fields,
    result_text,
    tool_fields,
    with_ids,
)
from localproviders.types.media import BYTES, Media, bytes_of, read_file

if TYPE_CHECKING:
    from pathlib import Path

    from localproviders.types import other_messages
else:
    other_messages = LazyModule("localproviders.types.other_messages")
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


@record
class Image(Media):
    """An image for a model with vision; make it with one of the `from_...` methods.

    A plain string is never used as a path or an address. So text from a user cannot make this
    package read a file.

    Attributes:
        data: The bytes of the file.
        media_type: The media type, such as ``image/png``.
    """

    data: bytes = field(metadata=BYTES)
    media_type: str

    @classmethod
    def from_bytes(cls, data: bytes, media_type: Optional[str] = None) -> Image:
        """Make an image from the bytes of a file.

        Args:
            data: The bytes.
            media_type: The media type; None detects it from the first bytes.

        Raises:
            TypeError: `data` is not bytes.
            ValueError: The data is empty, or `media_type` is None and the type is unknown.
        """
        data = bytes_of(data)
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
            TypeError: The argument is a string, or is not a path.
            OSError: The file cannot be read.
            ValueError: The file is not an image of a known type.
        """
        return cls.from_bytes(read_file(path))

    @classmethod
    def from_data_uri(cls, uri: str) -> Image:
        """Decode an image from a URI such as ``data:image/png;base64,...``.

        Line breaks and blanks in the base64 are skipped.

        Raises:
            TypeError: The argument is not a string.
            ValueError: The string is not such a URI, or its base64 is invalid or empty.
        """
        if not isinstance(uri, str):
            raise TypeError(f"from_data_uri takes a string, not {kind_of(uri)}")
        head, comma, body = uri.partition(",")
        if not (head.startswith("data:image/") and head.endswith(";base64") and comma):
            raise ValueError("an image URI must be 'data:image/<type>;base64,<data>'")
        try:
            data = base64.b64decode("".join(body.split()), validate=True)
        except binascii.Error as error:
            raise ValueError(f"the base64 of this image URI is broken: {error}") from None
        return cls.from_bytes(data, head[len("data:") : -len(";base64")])


@record
class Audio(Media):
    """Audio for a model that accepts it; make it with `from_bytes` or `from_path`.

    Attributes:
        data: The bytes of the file.
        media_type: ``audio/wav`` or ``audio/mpeg``, the types that the servers read.
    """

    data: bytes = field(metadata=BYTES)
    media_type: str

    @classmethod
    def from_bytes(cls, data: bytes) -> Audio:
        """Make audio from the bytes of a WAV or MP3 file. The type is read from the first bytes.

        Raises:
            TypeError: `data` is not bytes.
            ValueError: The data is neither WAV nor MP3.
        """
        data = bytes_of(data)
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
            TypeError: The argument is a string, or is not a path.
            OSError: The file cannot be read.
            ValueError: The file is neither WAV nor MP3.
        """
        return cls.from_bytes(read_file(path))

    @property
    def format(self) -> str:
        """The name of the format: ``wav`` or ``mp3``."""
        return "wav" if self.media_type == "audio/wav" else "mp3"


class SupportsSave(Protocol):
    """An image of PIL. The package recognizes it without importing PIL."""

    def save(self, fp: Any, format: Optional[str] = ..., /) -> Any:
        """Write the image to a file."""


#: An image, or a value from which `Message.user` makes an image: a `pathlib.Path`, an image of PIL,
#: a file that is open in binary mode, or the bytes of a file. A string is refused.
ImageLike = Union[Image, Path, SupportsSave, BinaryIO, bytes, bytearray]

#: A document, or a value from which `Message.user` makes one: a `pathlib.Path`, a file that is open
#: in binary mode, or the bytes of a file. A string is refused.
DocumentLike = Union[Document, Path, BinaryIO, bytes, bytearray]

# Modes of PIL's images that a PNG file can have.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def _file_of(item: Any, name: str) -> Any:
    """Return the bytes of the file that an item of `images`, `audio` or `documents` means.

    The item may be a path, an open file, bytes, or an image of PIL. Any other value is returned
    unchanged.

    Args:
        item: The item.
        name: The field of the message, for errors.

    Raises:
        ValueError: The file is open in text mode, or has nothing left to read.
    """
    if isinstance(item, os.PathLike):
        return read_file(item)
    if isinstance(item, (bytearray, memoryview)):
        return bytes(item)
    if any(cls.__module__.split(".")[0] == "PIL" for cls in type(item).__mro__):
        return _png(item)
    if not hasattr(item, "read"):
        # The image and audio values of other clients have these two attributes.
        data = getattr(item, "data", None)
        return data if isinstance(data, bytes) and hasattr(item, "media_type") else item
    data = item.read()
    if isinstance(data, str):
        raise ValueError(f"an item of {name} is a file in text mode: open it with mode 'rb'")
    if not data:
        raise ValueError(
            f"an item of {name} is a file with nothing left to read: call seek(0) before"
        )
    return bytes(data)


def _png(image: Any) -> bytes:
    """Return an image of PIL as the bytes of a PNG file."""
    if image.mode not in _PNG_MODES:
        image = image.convert("RGBA" if image.mode in ("PA", "La", "RGBa") else "RGB")
    file = BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


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


_LONGEST_ROLE = 20
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
                raise ValueError(f"{name} is {kind_of(getattr(self, name))}, and must be text")
        if not isinstance(self.parameters, Mapping):
            kind = kind_of(self.parameters)
            raise ValueError(f"parameters is {kind}, and must be a dictionary: a JSON Schema")
        if self.function is not None and not callable(self.function):
            raise ValueError(f"function is {kind_of(self.function)}, and must be a function")
        self._freeze("parameters")


#: A tool, a function from which a tool is made, or the dictionary of a tool in the form of OpenAI
#: or Ollama (docs/tools.md).
ToolLike = Union[Tool, Mapping[str, Any], Callable[..., Any]]

#: The tools of a call: one tool or several. None means no tools.
Tools = Union[ToolLike, Sequence[ToolLike], None]


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
            kind = kind_of(self.arguments)
            raise ValueError(f"arguments is {kind}, and must be a dictionary: json.loads(text)")
        self._freeze("arguments")


#: The end of the error text for an item of the wrong type, by the field of a message.
_PARTS: Mapping[str, str] = {
    "images": "takes paths, bytes and Image values: write Path(text) for a file, "
    "base64.b64decode(text), or Image.from_data_uri(text)",
    "audio": "takes paths, bytes and Audio values: write Path(text) for a file, or "
    "base64.b64decode(text)",
    "documents": "takes paths, bytes and Document values: write Path(text) for a file, or "
    "Document.from_text(text)",
    "tool_calls": "takes ToolCall values, such as those of a response",
}


def _way_for(name: str, item: Any) -> str:
    """Return the part of an error that says what to write instead of an item of the wrong type."""
    if isinstance(item, str) and item[:8].lower().startswith(("http://", "https://")):
        return "takes no addresses, because nothing is downloaded: write requests.get(url).content"
    if name == "images" and hasattr(item, "dtype"):
        return "takes no arrays: write PIL.Image.fromarray(array)"
    return _PARTS[name]


def _part_as(cls: Type[_Part], name: str) -> Callable[[Any], _Part]:
    """Return a function that converts an item of a message's field to an instance of `cls`.

    An item is already such an instance, or it is a dictionary, or a file in one of the forms that
    `_file_of` accepts. Scripts for other clients may pass the path or the base64 text of an image.
    Such a string is refused, and never used as a path.
    """
    made: Any = cls

    def convert(item: Any) -> _Part:
        if isinstance(item, cls):
            return item
        if isinstance(item, Mapping) and cls is ToolCall:
            item = call_fields(item)
        if isinstance(item, Mapping):
            is_uri = set(item) == {"uri"}
            part = made.from_data_uri(item["uri"]) if is_uri else made.from_dict(item)
            return cast("_Part", part)
        data = _file_of(item, name) if issubclass(cls, Media) else item
        if not (isinstance(data, bytes) and issubclass(cls, Media)):
            raise ValueError(f"{name} {_way_for(name, item)}; an item is {kind_of(item)}")
        return cast("_Part", made.from_bytes(data))

    return convert


def _as_parts(cls: Type[_Part], name: str, values: Any) -> Tuple[_Part, ...]:
    """Return the values of a message's field as a tuple. A single value becomes a tuple of one."""
    if values is None or values == ():
        return ()
    if isinstance(values, str):
        raise ValueError(f"{name} {_way_for(name, values)}; it is one str")
    is_one = isinstance(values, (cls, bytes, bytearray, os.PathLike)) or hasattr(values, "read")
    if is_one or hasattr(values, "save"):
        values = (values,)
    return tuple(map(_part_as(cls, name), as_tuple(name, values)))


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
        documents: Documents that belong to the text, such as PDF files. Only Anthropic's API
            reads them.
        is_error: Whether the tool failed (tool messages only). Only Anthropic's API has a field
            for it; other servers read only the text.
        provider_data: Parts of an answer that the server needs back unchanged, such as the
            signatures of its thinking (assistant messages only). They are sent only to the model
            that wrote the answer. Repr and events leave them out; dictionaries and pickles have
            them.

    Raises:
        ValueError: The role is unknown, or a field has the wrong type.
    """

    role: str
    content: str = field(default="", metadata=CONTENT)
    # The constructor converts the items of `images`, `audio`, `tool_calls` and `documents`.
    images: Tuple[Image, ...] = ()
    audio: Tuple[Audio, ...] = ()
    thinking: str = field(default="", metadata=CONTENT)
    tool_calls: Tuple[ToolCall, ...] = ()
    tool_call_id: Optional[str] = None
    tool_name: Optional[str] = None
    documents: Tuple[Document, ...] = ()
    is_error: bool = False
    provider_data: Mapping[str, Any] = field(default_factory=FrozenDict, metadata=UNSHOWN)

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            # A longer text may be the content of the message, passed as the role by mistake.
            is_word = isinstance(self.role, str) and self.role.isidentifier()
            role = (
                repr(self.role) if is_word and len(self.role) <= _LONGEST_ROLE else "another text"
            )
            raise ValueError(f"role is {role}; the roles are {', '.join(_ROLES)}")
        # The dictionary of the fields is faster than attributes. Only its method `get` is a local
        # variable, because a traceback with local variables would show the content of a dictionary.
        get = vars(self).get
        for name in ("content", "thinking"):
            if get(name) is None:
                object.__setattr__(self, name, "")
            elif not isinstance(get(name), str):
                is_answer = hasattr(get(name), "message")
                more = ": write answer.message instead of this message" if is_answer else ""
                raise ValueError(f"{name} is {kind_of(get(name))}, and must be text{more}")
        for name, cls in _CLASSES_OF_PARTS:
            if type(get(name)) is not tuple or get(name):
                object.__setattr__(self, name, _as_parts(cls, name, get(name)))
        self._check_other_fields()

    def _check_other_fields(self) -> None:
        if type(self.is_error) is not bool:
            raise ValueError(f"is_error is {kind_of(self.is_error)}, and must be True or False")
        if type(self.provider_data) is FrozenDict:
            return  # most messages have the default
        if not isinstance(self.provider_data, Mapping):
            kind = kind_of(self.provider_data)
            raise ValueError(
                f"provider_data is {kind}, and must be a dictionary from an earlier answer"
            )
        self._freeze("provider_data")

    @classmethod
    def system(cls, text: str) -> Message:
        """Make a system message: instructions to the model."""
        return cls(role="system", content=text)

    @classmethod
    def user(
        cls,
        text: str,
        images: Sequence[ImageLike] = (),
        audio: Sequence[Audio] = (),
        documents: Sequence[DocumentLike] = (),
    ) -> Message:
        """Make a user message, with images, audio or documents if the model accepts them.

        Args:
            text: The text.
            images: `Image` values, or values from which they are made: a `pathlib.Path`, an image
                of PIL, a file that is open in binary mode, or the bytes of a file. A string is
                refused.
            audio: `Audio` values.
            documents: `Document` values, or values from which they are made: a `pathlib.Path`, a
                file that is open in binary mode, or the bytes of a file. A string is refused.

        Raises:
            ValueError: `text` is not a string, an item has another type, or its data has no known
                format.
            OSError: A file cannot be read.
        """
        given: Any = {"images": images, "documents": documents}
        return cls(role="user", content=text, audio=tuple(audio or ()), **given)

    @classmethod
    def assistant(cls, text: str = "", tool_calls: Sequence[ToolCall] = ()) -> Message:
        """Make an assistant message: an earlier answer of the model."""
        return cls(role="assistant", content=text, tool_calls=tuple(tool_calls))

    @classmethod
    def tool(cls, result: Any, call: ToolCall, *, is_error: bool = False) -> Message:
        """Make a tool message: the result of a tool call, as text for the model.

        Args:
            result: The result. A string is sent unchanged. Any other value is sent as JSON, as
                in `run_tools`.
            call: The call, from `tool_calls` of an answer.
            is_error: Whether the tool failed. The result is then the reason.

        Raises:
            ValueError: `call` is not a `ToolCall`.
            TypeError: `result` cannot be written as JSON.
        """
        if not isinstance(call, ToolCall):
            raise ValueError(
                f"call is {kind_of(call)}, and must be a ToolCall: pass one of answer.tool_calls"
            )
        text = result_text(result)
        return cls(
            role="tool",
            content=text,
            tool_call_id=call.id,
            tool_name=call.name,
            is_error=is_error,
        )


_CLASSES_OF_PARTS: Tuple[Tuple[str, Any], ...] = (
    ("images", Image),
    ("audio", Audio),
    ("tool_calls", ToolCall),
    ("documents", Document),
)


#: The messages that `chat` and `stream` accept: a string (one user message), a message, or a list
#: of messages. A message is a `Message`, a dictionary in the form of this package, of OpenAI or
#: of Ollama (docs/chat.md, "Dictionaries as messages"), or a pair of a role and a text. The message
#: objects of LangChain, LlamaIndex and other clients are read, too.
Messages = Union[
    str,
    Message,
    Mapping[str, Any],
    Sequence[Union[Message, Mapping[str, Any], Tuple[str, str]]],
]


def as_tuple(name: str, values: Any) -> Tuple[Any, ...]:
    """Return the values of a field as a tuple.

    Raises:
        ValueError: The values are not a list or another iterable.
    """
    if type(values) is tuple:
        return values
    try:
        each = None if isinstance(values, Record) else iter(values)
    except TypeError:
        each = None
    if each is None:
        raise ValueError(f"{name} is {kind_of(values)}, and must be a list")
    return tuple(each)


def as_messages(messages: Messages, system: Optional[str] = None) -> Tuple[Message, ...]:
    """Return the messages of a call as a tuple, with the system message first.

    If the messages already begin with a system message, `system` is put in front of the text of
    this message, because the chat templates of some models refuse a second system message.

    Args:
        messages: The messages, in any form that `chat` accepts.
        system: Text of the system message; None adds no message.

    Raises:
        ValueError: There is no message, or a message is malformed.
    """
    if isinstance(messages, str):
        if not messages:
            raise ValueError("the text is empty; there is nothing to answer")
        messages = Message.user(messages)
    if isinstance(messages, (Message, Mapping)):
        messages = (messages,)
    made = _all_as_messages(_several(messages))
    if not made:
        raise ValueError("there is no message to answer: pass a string or at least one Message")
    if system is None:
        return made
    head = Message.system(system)
    if made[0].role != "system":
        return (head, *made)
    texts = filter(None, (head.content, made[0].content))
    return (made[0].replace(content="\n\n".join(texts)), *made[1:])


def _several(messages: Any) -> Tuple[Any, ...]:
    if isinstance(messages, (tuple, list)):
        return tuple(messages)
    if other_messages.is_message(messages):
        return (messages,)
    is_table = hasattr(messages, "columns")
    if isinstance(messages, (bytes, bytearray)) or is_table or not hasattr(messages, "__iter__"):
        # A CompletionRequest has the attribute `messages`. Its class cannot be imported here,
        # because its module imports this module.
        is_request = hasattr(messages, "messages")
        more = ": complete and stream_completion take a request" if is_request else ""
        more = ': pass frame.to_dict("records")' if is_table else more
        raise ValueError(
            f"messages is {kind_of(messages)}, and must be a string, a Message, or a list of "
            f"messages{more}"
        )
    return tuple(messages)


def _all_as_messages(values: Tuple[Any, ...]) -> Tuple[Message, ...]:
    """Convert messages to `Message`. Some may be dictionaries or the messages of other clients."""
    if all(isinstance(value, Message) for value in values):
        return values
    found = [_message_fields(value) for value in values]
    with_ids(found)
    return tuple(
        value if isinstance(value, Message) else Message.from_dict(fields)
        for value, fields in zip(values, found)
    )


def _message_fields(value: Any) -> Dict[str, Any]:
    """Return the fields of one message."""
    if isinstance(value, Message):
        return dict(vars(value))
    fields = pair_fields(value)
    if not (isinstance(fields, Mapping) and "role" in fields):
        fields = other_messages.other_fields(fields)
    if not isinstance(fields, Mapping):
        more = ': write {"role": "user", "content": text}'
        if isinstance(value, str):
            more = f": write Message.user(text), or {image_message()}"
        elif isinstance(value, (tuple, list)):
            more = f" with several values{more}"
        elif hasattr(value, "message"):
            more = ": write answer.message"
        raise ValueError(
            f"a message must be a Message or a dictionary, and is {kind_of(value)}{more}"
        )
    return message_fields(fields)


def as_tool(value: Any) -> Tool:
    """Return a tool from its dictionary in the form of this package, of OpenAI or of Ollama.

    Raises:
        ValueError: The dictionary does not describe a function.
    """
    return Tool.from_dict(tool_fields(value))
