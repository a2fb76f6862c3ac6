"""What is said in a conversation: messages, images, tools and calls of tools."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple, Union

from localproviders._record import CONTENT, RAW, Record, field, loads_each, record
from localproviders.types.media import Audio, Image

_ROLES = ("system", "user", "assistant", "tool")


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

    def __post_init__(self) -> None:
        if not isinstance(self.arguments, Mapping):
            # OpenAI's own JSON has them as text, which would be written as JSON twice.
            kind = type(self.arguments).__name__
            raise ValueError(f"arguments is {kind}, and must be a dictionary: json.loads(text)")


@record
class Message(Record):
    """One message of a conversation; make it with `user`, `system`, `assistant` or `tool`.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: The text.
        images: Pictures that go with the text.
        audio: Sound that goes with the text.
        thinking: The model's reasoning before this (assistant) message.
        tool_calls: Calls that this (assistant) message asked for.
        tool_call_id: For a tool's result: the call that it answers.
        tool_name: For a tool's result: the tool that gave it.

    Raises:
        ValueError: The role is unknown, or a part is of the wrong type.
    """

    role: str
    content: str = field(default="", metadata=CONTENT)
    images: Tuple[Image, ...] = field(default=(), metadata=loads_each(Image.from_dict))
    audio: Tuple[Audio, ...] = field(default=(), metadata=loads_each(Audio.from_dict))
    thinking: str = field(default="", metadata=CONTENT)
    tool_calls: Tuple[ToolCall, ...] = field(default=(), metadata=loads_each(ToolCall.from_dict))
    tool_call_id: Optional[str] = None
    tool_name: Optional[str] = None

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(f"role is {self.role!r}; the roles are {', '.join(_ROLES)}")
        for name in ("content", "thinking"):
            if not isinstance(getattr(self, name), str):
                kind = type(getattr(self, name)).__name__
                raise ValueError(f"{name} is {kind}, and must be text")
        for name in ("images", "audio", "tool_calls"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not all(isinstance(image, Image) for image in self.images):
            raise ValueError("images takes Image values: Image.from_path(Path(...))")
        if not all(isinstance(sound, Audio) for sound in self.audio):
            raise ValueError("audio takes Audio values: Audio.from_path(Path(...))")
        if not all(isinstance(call, ToolCall) for call in self.tool_calls):
            raise ValueError("tool_calls takes ToolCall values, such as those of an answer")

    @classmethod
    def system(cls, text: str) -> Message:
        """Say how the model is to behave."""
        return cls(role="system", content=text)

    @classmethod
    def user(cls, text: str, images: Sequence[Image] = (), audio: Sequence[Audio] = ()) -> Message:
        """Say something, with pictures if the model can see, or sound if it can hear."""
        return cls(role="user", content=text, images=tuple(images), audio=tuple(audio))

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
