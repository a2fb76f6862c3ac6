"""What is said in a conversation: messages, images, tools and calls of tools."""

from __future__ import annotations

import base64
import binascii
from dataclasses import field
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Sequence, Tuple, Union

from localproviders._record import CONTENT, RAW, Record, loads, loads_each, record

if TYPE_CHECKING:
    from pathlib import Path

# The first bytes of the formats that the servers read (ollama-api §4.8, lmstudio-api §6.3).
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)

_ROLES = ("system", "user", "assistant", "tool")


@record
class Image(Record):
    """A picture for a model that can see; make it with one of the `from_...` methods.

    A plain string is never taken for a path or an address: text of a user must not be able
    to make this package read a file.

    Attributes:
        data: The bytes of the file.
        media_type: Such as ``image/png``.
    """

    data: bytes = field(metadata=loads(base64.b64decode, **CONTENT))
    media_type: str

    @classmethod
    def from_bytes(cls, data: bytes, media_type: Optional[str] = None) -> Image:
        """Take the bytes of an image file; the type is read from its first bytes.

        Raises:
            ValueError: The data is empty, or its type is unknown and not given.
        """
        found = media_type or _media_type_of(data)
        if not data or found is None:
            raise ValueError(
                "these bytes are no PNG, JPEG, GIF or WebP image; "
                "pass media_type='image/...' if they are an image all the same"
            )
        return cls(data=data, media_type=found)

    @classmethod
    def from_path(cls, path: Path) -> Image:
        """Read an image file. The argument is a `pathlib.Path`; a string is refused.

        Raises:
            TypeError: The argument is a string.
            OSError: The file cannot be read.
            ValueError: The file is no image of a known type.
        """
        if isinstance(path, str):
            raise TypeError(
                "from_path takes a pathlib.Path, not a string: Path(...) says you mean a file"
            )
        return cls.from_bytes(path.read_bytes())

    @classmethod
    def from_data_uri(cls, uri: str) -> Image:
        """Take an image out of ``data:image/...;base64,...``.

        Raises:
            ValueError: The text is no such URI, or its base64 is broken.
        """
        head, comma, body = uri.partition(",")
        if not (head.startswith("data:image/") and head.endswith(";base64") and comma):
            raise ValueError("an image URI reads 'data:image/<type>;base64,<data>'")
        try:
            data = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise ValueError(f"the base64 of this image URI is broken: {error}") from None
        return cls.from_bytes(data, head[len("data:") : -len(";base64")])

    @property
    def base64(self) -> str:
        """The data as padded standard base64, without a prefix."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_uri(self) -> str:
        """The image as ``data:<type>;base64,<data>``."""
        return f"data:{self.media_type};base64,{self.base64}"


def _media_type_of(data: bytes) -> Optional[str]:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


@record
class Tool(Record):
    """A function that the model may ask for.

    Attributes:
        name: Its name.
        description: What it does, for the model to read.
        parameters: JSON Schema of its arguments, an object schema. Ollama drops
            ``$ref``, ``oneOf``, ``default`` and more (ollama-api §4.6): inline references.
        function: What runs when the model calls the tool, or None where that is up to you.
            It is never sent: it is absent from repr, equality, dictionaries and pickles.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    function: Optional[Callable[..., Any]] = field(default=None, compare=False, metadata=RAW)


#: A tool, or a function to make one of.
ToolLike = Union[Tool, Callable[..., Any]]


@record
class ToolCall(Record):
    """A whole call of a tool, as the model asked for it.

    Attributes:
        id: Identifies the call within the conversation; invented (``call_1`` ...) where
            the server gave none.
        name: The tool's name.
        arguments: The arguments, by name; not checked against the tool's schema.
    """

    id: str
    name: str
    arguments: Dict[str, Any] = field(default_factory=dict, metadata=CONTENT)


@record
class Message(Record):
    """One message of a conversation; make it with `user`, `system`, `assistant` or `tool`.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: The text.
        images: Pictures that go with the text.
        thinking: The model's reasoning before this (assistant) message.
        tool_calls: Calls that this (assistant) message asked for.
        tool_call_id: For a tool's result: the call that it answers.
        tool_name: For a tool's result: the tool that gave it.
    """

    role: str
    content: str = field(default="", metadata=CONTENT)
    images: Tuple[Image, ...] = field(default=(), metadata=loads_each(Image.from_dict))
    thinking: str = field(default="", metadata=CONTENT)
    tool_calls: Tuple[ToolCall, ...] = field(default=(), metadata=loads_each(ToolCall.from_dict))
    tool_call_id: Optional[str] = None
    tool_name: Optional[str] = None

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(f"role is {self.role!r}; the roles are {', '.join(_ROLES)}")
        if not isinstance(self.content, str):
            raise ValueError(f"content is {type(self.content).__name__}, and must be text")
        for name in ("images", "tool_calls"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not all(isinstance(image, Image) for image in self.images):
            raise ValueError("images takes Image values: Image.from_path(Path(...))")

    @classmethod
    def system(cls, text: str) -> Message:
        """Say how the model is to behave."""
        return cls(role="system", content=text)

    @classmethod
    def user(cls, text: str, images: Sequence[Image] = ()) -> Message:
        """Say something, with pictures if the model can see."""
        return cls(role="user", content=text, images=tuple(images))

    @classmethod
    def assistant(cls, text: str = "", tool_calls: Sequence[ToolCall] = ()) -> Message:
        """Repeat what the model said."""
        return cls(role="assistant", content=text, tool_calls=tuple(tool_calls))

    @classmethod
    def tool(cls, result: str, call: ToolCall) -> Message:
        """Give the result of a call back to the model, as text."""
        return cls(role="tool", content=result, tool_call_id=call.id, tool_name=call.name)


#: What `chat` and `stream` take: a text (one user message), a message, or several of
#: them, each a `Message` or a dictionary as `Message.to_dict` gives it.
Messages = Union[str, Message, Sequence[Union[Message, Mapping[str, Any]]]]


def as_messages(messages: Messages, system: Optional[str] = None) -> Tuple[Message, ...]:
    """Turn what a user may write into messages, a system text in front.

    Raises:
        ValueError: There is no message, or one is malformed.
    """
    if messages == "":
        raise ValueError("the text is empty; there is nothing to answer")
    if isinstance(messages, (str, Message)):
        messages = (messages,) if isinstance(messages, Message) else (Message.user(messages),)
    head = () if system is None else (Message.system(system),)
    made = tuple(_as_message(message) for message in messages)
    if not made:
        raise ValueError("there is no message to answer: pass a text or at least one Message")
    return head + made


def _as_message(value: Any) -> Message:
    if isinstance(value, Message):
        return value
    if isinstance(value, Mapping):
        return Message.from_dict(value)
    raise ValueError(f"a message is a Message or a dictionary, and not {type(value).__name__}")
