"""The values that configure a fake server: models, replies and refusals."""

from __future__ import annotations

import re
from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple, Union

from localproviders._did_you_mean import did_you_mean
from localproviders._record import CONTENT, FrozenDict, Record, field, record
from localproviders.testing.scripted import Exchange
from localproviders.types.messages import ToolCall

#: The possible values in `FakeModel.abilities`. Each is the name of a field of `ModelCapabilities`
#: that is True or False.
ABILITIES = (
    "chat",
    "completion",
    "tools",
    "vision",
    "audio",
    "thinking",
    "insert",
    "embeddings",
    "rerank",
    "decision",
)

#: The probabilities of a scripted decision. A number is the probability of yes. A mapping has the
#: probabilities of the options or levels by their texts, and a sequence has them in the order of
#: the question. None means that the model refuses to answer the question.
Verdict = Union[None, float, Mapping[str, float], Sequence[float]]


@record
class FakeModel(Record):
    """A model of a fake server.

    Attributes:
        name: The name in the model list.
        abilities: The capabilities, by the names of the fields of `ModelCapabilities`;
            ``embeddings`` makes it an embedding model, ``rerank`` a reranking model, and
            ``decision`` a decision model. A decision model cannot do anything else, except
            reading images (``vision``).
        context_length: The context window that the server allocates, in tokens. The fakes count
            each word as one token.
        max_context_length: The context window that the model was trained for, in tokens.
        dimensions: The length of its vectors.
        load_s: Seconds for which the server sends nothing while the model loads.
        loaded: Whether it is in memory when the server starts.
        remote_host: The host on which it really runs. Such a model is a stub of a cloud model
            (Ollama).
        instance: The name of the loaded instance, if it differs from `name` (LM Studio).
        format: The format of its files. A model with ``mlx`` ignores the requested context window
            (LM Studio).
        load_error: The reason why it cannot be loaded; None if it can (LM Studio, llama.cpp).
        digest: The digest in the lists of models; None makes one from the name and the files
            (Ollama). An example is ``"a" * 64``.
        size_bytes: The size in the model list. None means about 2 GB (Ollama, LM Studio), 0.25 GB
            (OpenAI dialect), or 384 bytes for a stub of a cloud model.

    Raises:
        ValueError: `abilities` has a value that is not an ability.
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
    digest: Optional[str] = None
    size_bytes: Optional[int] = None

    def __post_init__(self) -> None:
        self._keep_as_tuples("abilities")
        for ability in self.abilities:
            if ability not in ABILITIES:
                raise ValueError(
                    f"there is no ability {ability!r}{did_you_mean(ability, list(ABILITIES))}; "
                    f"the abilities are {', '.join(ABILITIES)}"
                )

    def can(self, ability: str) -> bool:
        """Return whether the model has this ability."""
        return ability in self.abilities


@record
class Reply(Record):
    """A model's answer to one request.

    Attributes:
        text: The text, which is streamed word by word.
        thinking: The reasoning before the text. `FakeOllama` accepts it only for a model with the
            ability ``thinking``, and leaves it out if the request has ``think: false``.
        tool_calls: The tool calls.
        finish_reason: The finish reason; None leaves it out of the response.
        model: The model named in the response, if it differs from the requested one.
        remote_host: The host in the response of a cloud model (Ollama).
        pause_s: Seconds of silence before each piece of the text. A response that is not a stream
            is sent after the pauses of all its pieces together.
        decisions: The probabilities of a decision, by the id or name of the question. A question
            that is not here gets probabilities that depend only on the texts of the request.
        first_token: The probabilities of the text's first token, by token. The text then begins
            with the likeliest of these tokens, instead of its first word. If the probabilities do
            not sum to 1, other tokens share the rest. The fake LM Studio reports no probabilities.
    """

    text: str = field(default="Hello there, friend.", metadata=CONTENT)
    thinking: str = field(default="", metadata=CONTENT)
    tool_calls: Tuple[ToolCall, ...] = ()
    finish_reason: Optional[str] = "stop"
    model: Optional[str] = None
    remote_host: Optional[str] = None
    pause_s: float = 0.0
    decisions: Mapping[str, Verdict] = field(default_factory=FrozenDict, metadata=CONTENT)
    first_token: Mapping[str, float] = field(default_factory=FrozenDict, metadata=CONTENT)

    def __post_init__(self) -> None:
        self._keep_as_tuples("tool_calls")
        self._freeze("decisions", "first_token")


@record
class Refusal(Record):
    """A response with an error status.

    Attributes:
        status: The status code and the reason phrase, such as ``503 Service Unavailable``.
        body: Bytes, text, or a value to write as JSON.
        headers: Further headers.
    """

    status: str
    body: Any = field(default=b"", metadata=CONTENT)
    headers: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        self._freeze("headers")


#: The scripted answer of a fake server: a string, a `Reply`, a `Refusal`, or a function that
#: returns one of these three for an `Exchange`.
Scripted = Union[str, Reply, Refusal, Callable[[Exchange], Union[str, Reply, Refusal]]]


def words_of(text: str) -> List[str]:
    """Split a text into the pieces that a server would stream. No character is lost."""
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)
