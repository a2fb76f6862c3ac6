"""What is known about a model, and how."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, Literal, Mapping, Optional, Tuple

from localproviders._record import RAW, Record, field, loads, record

#: How a fact is known: the server said so; it follows from something the server said;
#: or nothing speaks against it.
Source = Literal["reported", "inferred", "assumed"]


@record
class Fact(Record):
    """Where one capability's value comes from.

    Attributes:
        source: ``reported``, ``inferred`` or ``assumed``.
        detail: In words: which answer of the server, or which conclusion.
    """

    source: Source
    detail: str


def _load_evidence(data: Mapping[str, Any]) -> Dict[str, Fact]:
    return {name: Fact.from_dict(fact) for name, fact in data.items()}


@record
class ModelCapabilities(Record):
    """What is known about a model. None, or an empty tuple, means that nobody knows.

    Attributes:
        chat: Answers conversations.
        completion: Continues plain text.
        streaming: Gives its answer piece by piece.
        tools: Can be given tools to call.
        tools_trained: Was trained to call tools. A model that was not can call them all the
            same where the server explains them in the prompt (lmstudio-api §5.1).
        vision: Takes images.
        audio: Takes sound.
        thinking: Reasons apart from its answer.
        thinking_levels: What `thinking` can be set to, in the server's words; ``on`` and
            ``off`` stand for True and False. Without ``off`` it cannot be switched off.
        thinking_default: The one of them that holds where nothing is said.
        insert: Fills a gap between prompt and suffix.
        embeddings: Turns texts into vectors.
        structured_output: Is held to a JSON Schema by the server.
        max_context_length: Longest context it was trained for, in tokens.
        loaded_context_length: Context allocated now, in tokens; None also where the answer
            that was read does not tell, as Ollama's list and details do not.
        embedding_length: Length of its vectors.
        architecture: Such as ``llama`` or ``gemma3``.
        parameter_size: Number of parameters in the server's words, such as ``8.0B``.
        parameter_count: The same, counted.
        quantization: Such as ``Q4_K_M``.
        format: Such as ``gguf``, ``safetensors`` or ``mlx``.
        size_bytes: Size of its files.
        remote: Runs on another host than the server, which passes prompts on to it.
        remote_host: That host, where the server names it.
        evidence: For each field above that is known, how.
    """

    chat: Optional[bool] = None
    completion: Optional[bool] = None
    streaming: Optional[bool] = None
    tools: Optional[bool] = None
    tools_trained: Optional[bool] = None
    vision: Optional[bool] = None
    audio: Optional[bool] = None
    thinking: Optional[bool] = None
    thinking_levels: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    thinking_default: Optional[str] = None
    insert: Optional[bool] = None
    embeddings: Optional[bool] = None
    structured_output: Optional[bool] = None
    max_context_length: Optional[int] = None
    loaded_context_length: Optional[int] = None
    embedding_length: Optional[int] = None
    architecture: Optional[str] = None
    parameter_size: Optional[str] = None
    parameter_count: Optional[int] = None
    quantization: Optional[str] = None
    format: Optional[str] = None
    size_bytes: Optional[int] = None
    remote: Optional[bool] = None
    remote_host: Optional[str] = None
    evidence: Mapping[str, Fact] = field(default_factory=dict, metadata=loads(_load_evidence))


@record
class ModelInfo(Record):
    """One model as a server lists it. None means that the server did not say.

    What it is and can do stands in `capabilities`, each fact once and with its source; the
    properties here read it from there.

    Attributes:
        name: The name to pass as `model`.
        provider: Name of the provider that listed it.
        digest: Digest of its manifest, hexadecimal (Ollama).
        modified_at: When it was last changed, with time zone.
        loaded: Whether it is in memory now.
        capabilities: What is known about it, as far as the listing tells.
        raw: The server's own record.
    """

    name: str
    provider: str
    digest: Optional[str] = None
    modified_at: Optional[datetime] = field(
        default=None, metadata=loads(lambda text: datetime.fromisoformat(text))
    )
    loaded: Optional[bool] = None
    capabilities: ModelCapabilities = field(
        default_factory=ModelCapabilities, metadata=loads(ModelCapabilities.from_dict)
    )
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    @property
    def size_bytes(self) -> Optional[int]:
        """Size of its files."""
        return self.capabilities.size_bytes

    @property
    def architecture(self) -> Optional[str]:
        """Such as ``llama`` or ``gemma3``."""
        return self.capabilities.architecture

    @property
    def parameter_size(self) -> Optional[str]:
        """Number of parameters in the server's words, such as ``8.0B``."""
        return self.capabilities.parameter_size

    @property
    def quantization(self) -> Optional[str]:
        """Such as ``Q4_K_M``."""
        return self.capabilities.quantization

    @property
    def format(self) -> Optional[str]:
        """Such as ``gguf``, ``safetensors`` or ``mlx``."""
        return self.capabilities.format

    @property
    def remote_host(self) -> Optional[str]:
        """Where a model that only looks local really runs; None if the server names no host."""
        return self.capabilities.remote_host


@record
class LoadedModel(Record):
    """One model in a server's memory. None means that the server did not say.

    Attributes:
        name: The name of the model, as the server lists it.
        provider: Name of the provider that told it.
        instance: What the server calls this copy in memory; LM Studio can hold several
            copies of one model.
        context_length: Context allocated for it, in tokens.
        size_bytes: Memory that it takes.
        vram_bytes: The part of that on a graphics card.
        expires_at: When it leaves memory if nobody uses it, with time zone; None also
            where it stays.
        load_s: Seconds that loading took, where this call loaded it; 0 where it was there.
        warnings: What the caller should know: another context length than asked for.
        raw: The server's own record.
    """

    name: str
    provider: str
    instance: Optional[str] = None
    context_length: Optional[int] = None
    size_bytes: Optional[int] = None
    vram_bytes: Optional[int] = None
    expires_at: Optional[datetime] = field(
        default=None, metadata=loads(lambda text: datetime.fromisoformat(text))
    )
    load_s: Optional[float] = None
    warnings: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)
