"""Language models on your own machine: Ollama and LM Studio behind one `ModelProvider`.

Importing this package loads nothing else: each name is fetched at its first use (PEP 562).
"""

from typing import TYPE_CHECKING, Any, List

from localproviders._version import __version__

if TYPE_CHECKING:
    from localproviders import errors, exporters, types
    from localproviders._http.stream import Stream
    from localproviders.config import Config
    from localproviders.discovery import Discovery, FoundServer, Probe, discover
    from localproviders.engine import LocalEngine
    from localproviders.errors import (
        AllFailedError,
        AnswerError,
        AnswerTooLargeError,
        AuthenticationError,
        BusyError,
        CancelledError,
        CapabilityError,
        CertificateError,
        ConfigurationError,
        ContextOverflowError,
        DependencyError,
        EmbeddingError,
        LimitError,
        LinkError,
        LocalityError,
        ModelError,
        ModelLoadError,
        ModelNotFoundError,
        ProtocolError,
        ProviderError,
        RequestRejectedError,
        SchemaError,
        ServerError,
        StreamInterruptedError,
        ToolCallError,
        UnreachableError,
        UnsupportedError,
        WrongModelError,
    )
    from localproviders.lmstudio import LMStudioProvider
    from localproviders.local import (
        LocalProvider,
        create_default_provider,
        create_fallback_provider,
    )
    from localproviders.ollama import OllamaProvider
    from localproviders.openai_compatible import OpenAICompatibleProvider
    from localproviders.provider import ModelProvider
    from localproviders.secret import SecretString
    from localproviders.settings import Settings
    from localproviders.telemetry import CallEvent
    from localproviders.types import (
        Audio,
        CancelToken,
        CompletionChunk,
        CompletionRequest,
        CompletionResponse,
        DownloadJob,
        EmbeddingRequest,
        EmbeddingResponse,
        Fact,
        Image,
        Limits,
        LoadedModel,
        Message,
        ModelCapabilities,
        ModelInfo,
        Parsed,
        PartialRun,
        Progress,
        RetryPolicy,
        ServerTimings,
        Timings,
        TokenCount,
        TokenLogprob,
        Tool,
        ToolCall,
        ToolRun,
        ToolStep,
        Tried,
        Usage,
    )

# Which room each name lives in.
_ROOMS = {
    "localproviders._http.stream": ("Stream",),
    "localproviders.config": ("Config",),
    "localproviders.discovery": ("Discovery", "FoundServer", "Probe", "discover"),
    "localproviders.engine": ("LocalEngine",),
    "localproviders.errors": (
        "AllFailedError",
        "AnswerError",
        "AnswerTooLargeError",
        "AuthenticationError",
        "BusyError",
        "CancelledError",
        "CapabilityError",
        "CertificateError",
        "ConfigurationError",
        "ContextOverflowError",
        "DependencyError",
        "EmbeddingError",
        "LimitError",
        "LinkError",
        "LocalityError",
        "ModelError",
        "ModelLoadError",
        "ModelNotFoundError",
        "ProtocolError",
        "ProviderError",
        "RequestRejectedError",
        "SchemaError",
        "ServerError",
        "StreamInterruptedError",
        "ToolCallError",
        "UnreachableError",
        "UnsupportedError",
        "WrongModelError",
    ),
    "localproviders.lmstudio": ("LMStudioProvider",),
    "localproviders.local": (
        "LocalProvider",
        "create_default_provider",
        "create_fallback_provider",
    ),
    "localproviders.ollama": ("OllamaProvider",),
    "localproviders.openai_compatible": ("OpenAICompatibleProvider",),
    "localproviders.provider": ("ModelProvider",),
    "localproviders.secret": ("SecretString",),
    "localproviders.settings": ("Settings",),
    "localproviders.telemetry": ("CallEvent",),
    "localproviders.types": (
        "Audio",
        "CancelToken",
        "CompletionChunk",
        "CompletionRequest",
        "CompletionResponse",
        "DownloadJob",
        "EmbeddingRequest",
        "EmbeddingResponse",
        "Fact",
        "Image",
        "Limits",
        "LoadedModel",
        "Message",
        "ModelCapabilities",
        "ModelInfo",
        "Parsed",
        "PartialRun",
        "Progress",
        "RetryPolicy",
        "ServerTimings",
        "Timings",
        "TokenCount",
        "TokenLogprob",
        "Tool",
        "ToolCall",
        "ToolRun",
        "ToolStep",
        "Tried",
        "Usage",
    ),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "AllFailedError",
    "AnswerError",
    "AnswerTooLargeError",
    "Audio",
    "AuthenticationError",
    "BusyError",
    "CallEvent",
    "CancelToken",
    "CancelledError",
    "CapabilityError",
    "CertificateError",
    "CompletionChunk",
    "CompletionRequest",
    "CompletionResponse",
    "Config",
    "ConfigurationError",
    "ContextOverflowError",
    "DependencyError",
    "Discovery",
    "DownloadJob",
    "EmbeddingError",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "Fact",
    "FoundServer",
    "Image",
    "LMStudioProvider",
    "LimitError",
    "Limits",
    "LinkError",
    "LoadedModel",
    "LocalEngine",
    "LocalProvider",
    "LocalityError",
    "Message",
    "ModelCapabilities",
    "ModelError",
    "ModelInfo",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelProvider",
    "OllamaProvider",
    "OpenAICompatibleProvider",
    "Parsed",
    "PartialRun",
    "Probe",
    "Progress",
    "ProtocolError",
    "ProviderError",
    "RequestRejectedError",
    "RetryPolicy",
    "SchemaError",
    "SecretString",
    "ServerError",
    "ServerTimings",
    "Settings",
    "Stream",
    "StreamInterruptedError",
    "Timings",
    "TokenCount",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallError",
    "ToolRun",
    "ToolStep",
    "Tried",
    "UnreachableError",
    "UnsupportedError",
    "Usage",
    "WrongModelError",
    "__version__",
    "create_default_provider",
    "create_fallback_provider",
    "discover",
    "errors",
    "exporters",
    "types",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("errors", "exporters", "types"):
        return import_module(f"localproviders.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'localproviders' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
