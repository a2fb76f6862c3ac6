"""Models as servers list them, their capabilities, and the progress of downloads and loads."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Callable, Dict, Iterable, Iterator, Literal, Mapping, Optional, Tuple

from localproviders._record import CONTENT, RAW, FrozenDict, Line, Record, field, loads, record
from localproviders._redact import shortened


def _joined(facts: Iterable[Optional[str]]) -> str:
    return ", ".join(filter(None, facts))


def _size(number: Optional[float]) -> Optional[str]:
    """Return a number of bytes in MB or GB; None if the number is not known."""
    if number is None or number >= 1e15:  # a server may send any number
        return None
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def _percentage(fraction: Optional[float], total_bytes: Optional[int]) -> Optional[str]:
    """Return the part that is done as a percentage of the size; None if it is not known."""
    if fraction is None:
        return None
    size = _size(total_bytes)
    return f"{fraction:.0%}{f' of {size}' if size else ''}"


@record
class Progress(Line):
    """A report of a server about a long operation: a download, an upload or a load.

    Its `str` is one line, so that ``on_progress=print`` shows the progress.

    Attributes:
        status: The current step as the server describes it, such as ``pulling manifest``, on one
            line without control characters.
        digest: Digest of the file, if the operation transfers several files (Ollama).
        completed_bytes: Number of bytes transferred so far; None if the server does not report
            it.
        total_bytes: Total number of bytes; None if the server does not report it.
        fraction: Part of the operation that is done, from 0 to 1; None if it is not known.
        raw: The record that the server sent.
    """

    status: str
    digest: Optional[str] = None
    completed_bytes: Optional[int] = None
    total_bytes: Optional[int] = None
    fraction: Optional[float] = None
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        self._put_on_one_line("status")

    def __str__(self) -> str:
        return shortened(_joined([self.status, _percentage(self.fraction, self.total_bytes)]))


#: A function that is called with each report, in the thread of the call. If it raises an exception,
#: the call ends with this exception.
OnProgress = Callable[[Progress], None]


_DATE = loads(lambda text: datetime.fromisoformat(text))


@record
class DownloadJob(Line):
    """The state of a download on LM Studio when the server reported it. Its `str` is one line.

    Attributes:
        status: The status that the server reports: ``downloading``, ``paused``, ``completed``,
            ``failed`` or ``already_downloaded``.
        job_id: Identifier of the download; None if there was nothing to download.
        completed_bytes: Number of bytes downloaded; None if the server does not report it.
        total_bytes: Total number of bytes; None if the server does not report it.
        bytes_per_second: Current speed; None if the server does not report it.
        started_at: Time when the download started, with time zone.
        expected_at: Time when the server expects the download to end, with time zone.
        completed_at: Time when the download ended, with time zone.
        reason: Reason of a failure as the server describes it, on one line; None if the server
            does not report one.
        raw: The record that the server sent.
    """

    status: str
    job_id: Optional[str] = None
    completed_bytes: Optional[int] = None
    total_bytes: Optional[int] = None
    bytes_per_second: Optional[float] = None
    started_at: Optional[datetime] = field(default=None, metadata=_DATE)
    expected_at: Optional[datetime] = field(default=None, metadata=_DATE)
    completed_at: Optional[datetime] = field(default=None, metadata=_DATE)
    reason: Optional[str] = None
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        self._put_on_one_line("status", "reason")

    def __str__(self) -> str:
        speed = _size(self.bytes_per_second)
        percentage = _percentage(self.progress.fraction, self.total_bytes)
        return shortened(_joined([self.status, percentage, speed and f"{speed}/s", self.reason]))

    @property
    def is_done(self) -> bool:
        """Whether the download is complete."""
        return self.status in ("completed", "already_downloaded")

    @property
    def has_failed(self) -> bool:
        """Whether the server reports that the download failed."""
        return self.status == "failed"

    @property
    def progress(self) -> Progress:
        """The state as a `Progress`. Its `fraction` is calculated from the two byte counts."""
        done, size = self.completed_bytes, self.total_bytes
        known = done is not None and size is not None and 0 <= done <= size and size > 0
        return Progress(
            status=self.status,
            completed_bytes=done,
            total_bytes=size,
            fraction=(done or 0) / (size or 1) if known else None,
            raw=self.raw,
        )


#: The source of a fact. ``reported``: the server reported the fact. ``inferred``: it follows from
#: another fact that the server reported. ``assumed``: no fact contradicts it.
Source = Literal["reported", "inferred", "assumed"]


@record
class CapabilityEvidence(Record):
    """The source of the value of one capability.

    Attributes:
        source: ``reported``, ``inferred`` or ``assumed``.
        detail: Description on one line: the response that reported the value, or the reason
            for the conclusion.
    """

    source: Source
    detail: str

    def __post_init__(self) -> None:
        self._put_on_one_line("detail")


def _load_evidence(data: Mapping[str, Any]) -> Dict[str, CapabilityEvidence]:
    return {name: CapabilityEvidence.from_dict(fact) for name, fact in data.items()}


# The capabilities that the `str` of a `ModelCapabilities` names, in this order.
_ABILITIES = (
    "chat",
    "completion",
    "embeddings",
    "decision",
    "rerank",
    "image_generation",
    "vision",
    "audio",
    "tools",
    "thinking",
    "insert",
    "structured_output",
)


@record
class ModelCapabilities(Line):
    """The known facts about a model. None, or an empty tuple, means unknown.

    Its `str` is one line, with the abilities first and then the sizes. In its repr, `evidence`
    is shown only as the number of its entries.

    Attributes:
        chat: Whether the model answers conversations.
        completion: Whether the model continues plain text.
        streaming: Whether the server can stream the model's answer.
        tools: Whether a request may have tools for the model to call.
        tools_trained: Whether the model was trained to call tools. Other models can call tools,
            too, if the server explains the tools in the prompt, as LM Studio does
            (docs/reference/lmstudio.md, "Capabilities").
        vision: Whether the model accepts images.
        audio: Whether the model accepts audio.
        thinking: Whether the model's reasoning is separate from its answer.
        thinking_levels: The values for `thinking` in a request, as the server names them. ``on``
            and ``off`` correspond to True and False. Without ``off`` the reasoning cannot be
            switched off.
        thinking_default: The level that the server uses if a request sets none.
        insert: Whether the model fills a gap between prompt and suffix.
        embeddings: Whether the model converts texts to vectors.
        decision: Whether the model is a decision model, which answers typed questions with
            probabilities and writes no text. Some servers, such as vLLM, also let chat models
            answer such questions; this field does not show this.
        rerank: Whether the model ranks documents by their relevance to a query.
        image_generation: Whether the model makes images.
        structured_output: Whether the server can make the answer follow a JSON Schema.
        max_context_length: Longest context window for which the model was trained, in tokens.
        loaded_context_length: Length of the context window that is allocated now, in tokens. None
            if the model is not loaded, or if the response does not report it, as in Ollama's model
            list. For loaded models, Ollama reports the number before rounding, and allocates the
            next multiple of 256. This field has the allocated number.
        embedding_length: Length of the model's vectors.
        architecture: Architecture, such as ``llama`` or ``gemma3``.
        parameter_size: Number of parameters as the server writes it, such as ``8.0B``.
        parameter_count: Number of parameters.
        quantization: Quantization, such as ``Q4_K_M``.
        format: File format, such as ``gguf``, ``safetensors`` or ``mlx``.
        size_bytes: Size of the model's files.
        remote: Whether the model runs on another host, to which the server forwards prompts.
        remote_host: The host on which a remote model runs, if the server names it.
        evidence: The source of the value of each known field, by the name of the field.
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
    decision: Optional[bool] = None
    rerank: Optional[bool] = None
    image_generation: Optional[bool] = None
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
    evidence: Mapping[str, CapabilityEvidence] = field(
        # This field is marked as content, so that the repr shows only its number of entries. The
        # repr of a list of models would otherwise be pages long.
        default_factory=FrozenDict,
        metadata=loads(_load_evidence, **CONTENT),
    )

    def __post_init__(self) -> None:
        self._keep_as_tuples("thinking_levels")
        self._freeze("evidence")

    def __str__(self) -> str:
        return shortened(_joined([*self._abilities(), *self._sizes()]) or "nothing is known")

    def _abilities(self) -> Iterator[str]:
        for name in _ABILITIES:
            if getattr(self, name):
                yield name.replace("_", " ")

    def _sizes(self) -> Iterator[Optional[str]]:
        if self.max_context_length is not None:
            yield f"context {self.max_context_length}"
        yield from (self.parameter_size, self.quantization, _size(self.size_bytes))
        if self.remote:
            yield f"runs on {self.remote_host or 'another host'}"


# The fields in the repr of a `ModelInfo`, each with its highest number of characters.
_IN_REPR = (
    ("name", 60),
    ("provider", 24),
    ("parameter_size", 14),
    ("quantization", 14),
    ("loaded", 5),
)


@record
class ModelInfo(Line):
    """A model that a server has. None means that the server did not report the fact.

    The attribute `capabilities` has the facts about the model, each with its source. The
    properties of this class read some of these facts. The `str` and the repr of a model are one
    line each. The repr omits most fields.

    Attributes:
        name: Name of the model, to pass as `model`.
        provider: Name of the provider that reported it.
        digest: Hexadecimal digest of the model's manifest (Ollama).
        runner: Name of the program that runs the model, if the server's list of models has it.
            If two models in the list have the same name, `runner` distinguishes them. If the list
            names no program for them, `runner` is the format of their files.
        modified_at: Time of the last change, with time zone.
        loaded: Whether the model is in memory now.
        usd_per_million_prompt_tokens: Price of a million tokens of prompts in US dollars, if the
            service's list has it (OpenRouter).
        usd_per_million_completion_tokens: Price of a million tokens of answers, in the same way.
        capabilities: The facts from the server's model list or model details.
        raw: The record that the server sent.
    """

    name: str
    provider: str
    digest: Optional[str] = None
    runner: Optional[str] = None
    modified_at: Optional[datetime] = field(
        default=None, metadata=loads(lambda text: datetime.fromisoformat(text))
    )
    loaded: Optional[bool] = None
    usd_per_million_prompt_tokens: Optional[float] = None
    usd_per_million_completion_tokens: Optional[float] = None
    capabilities: ModelCapabilities = field(
        default_factory=ModelCapabilities, metadata=loads(ModelCapabilities.from_dict)
    )
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    def __str__(self) -> str:
        loaded = "loaded" if self.loaded else None
        # The sizes come before the abilities, because the end of a long line is cut off.
        facts = _joined([loaded, *self.capabilities._sizes(), *self.capabilities._abilities()])
        name = shortened(self.name, 60)
        return shortened(f"{name} ({self.provider}){f': {facts}' if facts else ''}")

    def __repr__(self) -> str:
        shown = [
            f"{name}={shortened(repr(value), most)}"
            for name, most in _IN_REPR
            # A debugger may show an object before its constructor has set the fields.
            for value in (getattr(self, name, None),)
            if value is not None
        ]
        return f"ModelInfo({', '.join(shown)})"

    @property
    def size_bytes(self) -> Optional[int]:
        """Size of the model's files."""
        return self.capabilities.size_bytes

    @property
    def architecture(self) -> Optional[str]:
        """Architecture, such as ``llama`` or ``gemma3``."""
        return self.capabilities.architecture

    @property
    def parameter_size(self) -> Optional[str]:
        """Number of parameters as the server writes it, such as ``8.0B``."""
        return self.capabilities.parameter_size

    @property
    def quantization(self) -> Optional[str]:
        """Quantization, such as ``Q4_K_M``."""
        return self.capabilities.quantization

    @property
    def format(self) -> Optional[str]:
        """File format, such as ``gguf``, ``safetensors`` or ``mlx``."""
        return self.capabilities.format

    @property
    def remote_host(self) -> Optional[str]:
        """The host to which the server forwards prompts; None if there is none or it is unknown."""
        return self.capabilities.remote_host


@record
class LoadedModel(Line):
    """A model in a server's memory. None means that the server did not report the fact.

    Its `str` is one line.

    Attributes:
        name: Name of the model, as the server lists it.
        provider: Name of the provider that reported it.
        instance: The server's identifier of this copy; LM Studio can hold several copies of
            one model.
        digest: Hexadecimal digest of the manifest with which the model was loaded (Ollama). It
            differs from the digest in `list_models` if the model was replaced since then.
        family: Family of the model, such as ``llama`` or ``gemma3``. It is the `architecture` in
            the model list.
        quantization: Quantization, such as ``Q4_K_M``. None also if LM Studio has several
            variants of the model, because it does not report which variant is loaded.
        context_length: Length of the context window as the server reports it, in tokens. Ollama
            allocates the next multiple of 256.
        size_bytes: Memory that the model occupies.
        vram_bytes: The part of this memory that is on a graphics card.
        expires_at: Time when the server unloads the model if no request uses it, with time
            zone. Also None if the model stays loaded.
        load_s: Seconds that `load` took to load the model; 0 if it was loaded already. None in
            the results of `loaded_models`.
        warnings: Warnings for the caller, each on one line; for example, the context length is
            not the requested one.
        raw: The record that the server sent.
    """

    name: str
    provider: str
    instance: Optional[str] = None
    digest: Optional[str] = None
    family: Optional[str] = None
    quantization: Optional[str] = None
    context_length: Optional[int] = None
    size_bytes: Optional[int] = None
    vram_bytes: Optional[int] = None
    expires_at: Optional[datetime] = field(
        default=None, metadata=loads(lambda text: datetime.fromisoformat(text))
    )
    load_s: Optional[float] = None
    warnings: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        self._keep_as_tuples("warnings")
        self._put_on_one_line("warnings")

    def __str__(self) -> str:
        facts = _joined(self._facts())
        name = shortened(self.name, 60)
        return shortened(f"{name} ({self.provider}){f': {facts}' if facts else ''}")

    def _facts(self) -> Iterator[Optional[str]]:
        if self.context_length is not None:
            yield f"context {self.context_length}"
        yield self.quantization
        size, on_card = _size(self.size_bytes), _size(self.vram_bytes)
        yield size and f"{size} of memory"
        yield on_card and f"{on_card} of it on a graphics card"
        if self.expires_at is not None:
            yield f"until {self.expires_at:%Y-%m-%d %H:%M %Z}"
        yield from (f"warning: {each}" for each in self.warnings)
