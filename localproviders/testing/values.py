"""The plain values that script a fake server: models, replies, refusals."""

from __future__ import annotations

import re
from typing import Any, Callable, List, Mapping, Optional, Tuple, Union

from localproviders._record import CONTENT, Record, field, record
from localproviders.testing.scripted import Exchange
from localproviders.types.message import ToolCall


@record
class FakeModel(Record):
    """A model that a fake server has.

    Attributes:
        name: Its name, as the server lists it.
        abilities: What it can do, in the words of `ModelCapabilities`; ``embeddings`` makes
            it an embedding model.
        context_length: The window that is allocated, in tokens; the fakes count words.
        max_context_length: The window that it was trained for.
        dimensions: Length of its vectors.
        load_s: Seconds of silence before its first answer, while it loads.
        loaded: Whether it is in memory when the server starts.
        remote_host: Where it really runs, for a stub of a cloud model (Ollama).
        instance: Name of the loaded instance where it differs from `name` (LM Studio).
        format: Its files; ``mlx`` ignores the window that a load asks for (LM Studio).
        load_error: Why it cannot be loaded; None where it can (LM Studio).
    """

    name: str
    abilities: Tuple[str, ...] = ("chat", "completion", "tools")
    context_length: int = 4096
    max_context_length: int = 131072
    dimensions: int = 16
    load_s: float = 0.0
    loaded: bool = False
    remote_host: Optional[str] = None
    instance: Optional[str] = None
    format: str = "gguf"
    load_error: Optional[str] = None

    def can(self, ability: str) -> bool:
        """Say whether it has this ability."""
        return ability in self.abilities


@record
class Reply(Record):
    """What a model answers.

    Attributes:
        text: The answer; it is streamed word by word.
        thinking: The reasoning before it.
        tool_calls: Tools that it asks to call.
        finish_reason: Why it ends; None sends none.
        model: The model that answers, where it is another one than was asked for.
        remote_host: Where the answer says that it was made (Ollama).
        pause_s: Seconds of silence before each piece.
    """

    text: str = field(default="Hello there, friend.", metadata=CONTENT)
    thinking: str = field(default="", metadata=CONTENT)
    tool_calls: Tuple[ToolCall, ...] = ()
    finish_reason: Optional[str] = "stop"
    model: Optional[str] = None
    remote_host: Optional[str] = None
    pause_s: float = 0.0


@record
class Refusal(Record):
    """An answer with an error status.

    Attributes:
        status: Number and words of the status line, such as ``503 Service Unavailable``.
        body: Bytes, text, or a value for JSON.
        headers: Further headers.
    """

    status: str
    body: Any = field(default=b"", metadata=CONTENT)
    headers: Mapping[str, str] = field(default_factory=dict)


#: What a fake server answers: a text, a whole reply, a refusal, or what a function makes of
#: the request.
Scripted = Union[str, Reply, Refusal, Callable[[Exchange], Union[str, Reply, Refusal]]]


def words_of(text: str) -> List[str]:
    """Cut a text into the pieces that a server would stream; together they are the text."""
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)
