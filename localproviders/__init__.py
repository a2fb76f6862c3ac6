"""One interface to language models on your own machine.

    from localproviders import OllamaProvider

    with OllamaProvider(model="llama3.2") as ollama:
        print(ollama.chat("Why is the sky blue?").text)

For details of a name in these lists, call `help`: ``help(localproviders.OllamaProvider)``.

Providers. Each is a `ModelProvider`, with the methods `chat`, `stream`, `parse`, `run_tools`,
`embed`, `rerank`, `count_tokens`, `list_models`, `load`, `pull` and more:
    OllamaProvider            an Ollama server
    LMStudioProvider          an LM Studio server
    LlamaCppProvider          llama.cpp's own server, with one model or several
    OpenAICompatibleProvider  vLLM, or another server with OpenAI's API
    AnthropicProvider         Anthropic's Messages API, which needs locality="any"
    OpenAIProvider            OpenAI's own service, which needs locality="any"
    OpenRouterProvider        OpenRouter, which needs locality="any"
    LocalProvider             several servers; if one fails, the next one is used
    create_default_provider   returns a LocalProvider for all servers of this machine
    create_fallback_provider  returns a LocalProvider for the given providers
    create_provider           returns the provider that a text names: "ollama/llama3.2"
    LocalEngine               a llama.cpp server that this process starts and stops

Servers and configuration:
    discover                  searches this machine for servers; returns a Discovery
    Discovery, FoundServer    the result of the search, and one server in it
    Config                    the configuration from files and environment variables
    kinds                     module: the kinds of servers, and functions to add a kind

Requests:
    Message                   a message of a conversation
    Image, Audio, Document    the files in a message
    Tool                      a function that the model may call
    CompletionRequest         all fields of a request, for `complete`
    EmbeddingRequest          texts to embed, for `embed`
    YesNo, Choice, Score      the questions for `decide`
    Limits                    time limits of a call, in seconds
    RetryPolicy               number of attempts, and the waits between them
    CancelToken               a token with which another thread ends a call
    SecretString              an API key that no repr or log shows

Responses:
    CompletionResponse        the response of `chat` and `complete`: text, usage, timings
    Stream, CompletionChunk   the iterator that `stream` returns, and its items
    Parsed                    the value that `parse` returns, with its response
    ToolRun, ToolStep         the result of `run_tools`, and one tool call of a run
    ToolCall                  a call of a tool, as the model wrote it
    EmbeddingResponse         the vectors that `embed` returns
    Decisions                 the answers that `decide` returns, with their probabilities
    Ranking                   the sorted documents that `rerank` returns
    ModelInfo                 one model of a server's list
    ModelCapabilities         the abilities of a model
    LoadedModel               a model in the memory of the server
    Progress                  a progress report of `load` or `pull`
    CallEvent                 one telemetry event, for listeners

Errors. Each is a `ProviderError`, with a message, a hint and an exit code:
    ConfigurationError        a value cannot be used
        UnsupportedError      the server does not support this parameter or method
        LocalityError         the prompt would leave the allowed locality
        AuthenticationError   the server demands an API key, or refuses the given one
        DependencyError       an optional package is not installed
    TransportError            the connection failed
        UnreachableError      no server accepted the connection
        CertificateError      the TLS handshake failed
        StreamInterruptedError    the response ended before its last record
        LimitError            a time limit expired
    ServerError               the server failed
        ServerBusyError       the server is busy, or is loading the model
        RequestRejectedError  the server refused the request
        ProtocolError         the response does not have the form of this kind of server
        AnswerTooLargeError   the response exceeds a size limit
    ModelError                the call failed because of the model
        ModelNotFoundError    the server has no such model
        ModelLoadError        the server could not load the model
        CapabilityError       the model lacks an ability that the call needs
        ContextOverflowError  prompt and answer do not fit into the context window
        WrongModelError       another model answered
    AnswerError               the response is complete, but cannot be used
        SchemaError           the text does not follow the schema
        RepetitionError       the server ended an answer that repeated itself
        ToolCallError         a tool call is malformed, or the model does not stop calling
        EmbeddingError        some texts could not be embedded
    CancelledError            the caller ended the call
    AllFailedError            several servers were tried, and all failed
    IntegrityError            a file of this package was changed
    LockHeldError             another process holds the lock of a file

Modules:
    localproviders.batch      answers all rows of a file; a killed run can be continued
    localproviders.types      the requests and responses, and the types of their fields
    localproviders.errors     the errors
    localproviders.exporters  metrics, traces and logs from telemetry events
    localproviders.schema     JSON Schemas from Python types
    localproviders.testing    fake servers for tests: FakeOllama, FakeLMStudio, and others
"""

# Importing this package does not import the modules that define the names in `__all__`. Each name
# is imported when it is first used (PEP 562).

import sys as _sys
from typing import TYPE_CHECKING

from localproviders._lazy import lazy_names
from localproviders._version import __version__

if TYPE_CHECKING:
    from localproviders import batch, errors, exporters, kinds, types
    from localproviders._create_provider import create_provider
    from localproviders._http.stream import Stream
    from localproviders.anthropic import AnthropicProvider
    from localproviders.config import Config
    from localproviders.discovery import Discovery, FoundServer, discover
    from localproviders.engine import LocalEngine
    from localproviders.errors import (
        AllFailedError,
        AnswerError,
        AnswerTooLargeError,
        AuthenticationError,
        CancelledError,
        CapabilityError,
        CertificateError,
        ConfigurationError,
        ContextOverflowError,
        DependencyError,
        EmbeddingError,
        IntegrityError,
        LimitError,
        LocalityError,
        LockHeldError,
        ModelError,
        ModelLoadError,
        ModelNotFoundError,
        ProtocolError,
        ProviderError,
        RepetitionError,
        RequestRejectedError,
        SchemaError,
        ServerBusyError,
        ServerError,
        StreamInterruptedError,
        ToolCallError,
        TransportError,
        UnreachableError,
        UnsupportedError,
        WrongModelError,
    )
    from localproviders.llamacpp import LlamaCppProvider
    from localproviders.lmstudio import LMStudioProvider
    from localproviders.local import (
        LocalProvider,
        create_default_provider,
        create_fallback_provider,
    )
    from localproviders.ollama import OllamaProvider
    from localproviders.openai import OpenAIProvider
    from localproviders.openai_compatible import OpenAICompatibleProvider
    from localproviders.openrouter import OpenRouterProvider
    from localproviders.provider import ModelProvider
    from localproviders.secret import SecretString
    from localproviders.telemetry import CallEvent
    from localproviders.types import (
        Audio,
        CancelToken,
        Choice,
        CompletionChunk,
        CompletionRequest,
        CompletionResponse,
        Decisions,
        Document,
        EmbeddingRequest,
        EmbeddingResponse,
        Image,
        Limits,
        LoadedModel,
        Message,
        ModelCapabilities,
        ModelInfo,
        Parsed,
        Progress,
        Ranking,
        RetryPolicy,
        Score,
        Tool,
        ToolCall,
        ToolRun,
        ToolStep,
        YesNo,
    )

__all__ = [
    "AllFailedError",
    "AnswerError",
    "AnswerTooLargeError",
    "AnthropicProvider",
    "Audio",
    "AuthenticationError",
    "CallEvent",
    "CancelToken",
    "CancelledError",
    "CapabilityError",
    "CertificateError",
    "Choice",
    "CompletionChunk",
    "CompletionRequest",
    "CompletionResponse",
    "Config",
    "ConfigurationError",
    "ContextOverflowError",
    "Decisions",
    "DependencyError",
    "Discovery",
    "Document",
    "EmbeddingError",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "FoundServer",
    "Image",
    "IntegrityError",
    "LMStudioProvider",
    "LimitError",
    "Limits",
    "LlamaCppProvider",
    "LoadedModel",
    "LocalEngine",
    "LocalProvider",
    "LocalityError",
    "LockHeldError",
    "Message",
    "ModelCapabilities",
    "ModelError",
    "ModelInfo",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelProvider",
    "OllamaProvider",
    "OpenAICompatibleProvider",
    "OpenAIProvider",
    "OpenRouterProvider",
    "Parsed",
    "Progress",
    "ProtocolError",
    "ProviderError",
    "Ranking",
    "RepetitionError",
    "RequestRejectedError",
    "RetryPolicy",
    "SchemaError",
    "Score",
    "SecretString",
    "ServerBusyError",
    "ServerError",
    "Stream",
    "StreamInterruptedError",
    "Tool",
    "ToolCall",
    "ToolCallError",
    "ToolRun",
    "ToolStep",
    "TransportError",
    "UnreachableError",
    "UnsupportedError",
    "WrongModelError",
    "YesNo",
    "__version__",
    "batch",
    "create_default_provider",
    "create_fallback_provider",
    "create_provider",
    "discover",
    "errors",
    "exporters",
    "kinds",
    "types",
]

_look_up, _names = lazy_names(
    __name__,
    {
        "localproviders._create_provider": ("create_provider",),
        "localproviders._http.stream": ("Stream",),
        "localproviders.anthropic": ("AnthropicProvider",),
        "localproviders.config": ("Config",),
        "localproviders.discovery": (
            "Discovery",
            "FoundServer",
            "discover",
        ),
        "localproviders.engine": ("LocalEngine",),
        "localproviders.errors": (
            "AllFailedError",
            "AnswerError",
            "AnswerTooLargeError",
            "AuthenticationError",
            "CancelledError",
            "CapabilityError",
            "CertificateError",
            "ConfigurationError",
            "ContextOverflowError",
            "DependencyError",
            "EmbeddingError",
            "IntegrityError",
            "LimitError",
            "LocalityError",
            "LockHeldError",
            "ModelError",
            "ModelLoadError",
            "ModelNotFoundError",
            "ProtocolError",
            "ProviderError",
            "RepetitionError",
            "RequestRejectedError",
            "SchemaError",
            "ServerBusyError",
            "ServerError",
            "StreamInterruptedError",
            "ToolCallError",
            "TransportError",
            "UnreachableError",
            "UnsupportedError",
            "WrongModelError",
        ),
        "localproviders.llamacpp": ("LlamaCppProvider",),
        "localproviders.lmstudio": ("LMStudioProvider",),
        "localproviders.local": (
            "LocalProvider",
            "create_default_provider",
            "create_fallback_provider",
        ),
        "localproviders.ollama": ("OllamaProvider",),
        "localproviders.openai": ("OpenAIProvider",),
        "localproviders.openai_compatible": ("OpenAICompatibleProvider",),
        "localproviders.openrouter": ("OpenRouterProvider",),
        "localproviders.provider": ("ModelProvider",),
        "localproviders.secret": ("SecretString",),
        "localproviders.telemetry": ("CallEvent",),
        "localproviders.types": (
            "Audio",
            "CancelToken",
            "Choice",
            "CompletionChunk",
            "CompletionRequest",
            "CompletionResponse",
            "Decisions",
            "Document",
            "EmbeddingRequest",
            "EmbeddingResponse",
            "Image",
            "Limits",
            "LoadedModel",
            "Message",
            "ModelCapabilities",
            "ModelInfo",
            "Parsed",
            "Progress",
            "Ranking",
            "RetryPolicy",
            "Score",
            "Tool",
            "ToolCall",
            "ToolRun",
            "ToolStep",
            "YesNo",
        ),
    },
    modules=("batch", "errors", "exporters", "kinds", "types"),
)

if not TYPE_CHECKING:  # with `__getattr__`, type checkers would not report misspelt names
    __getattr__ = _look_up

    def __dir__():
        # pydoc describes every class in the list that `__dir__` returns: 447,446 characters in
        # all. The docstring of the package already names all classes. So pydoc receives an empty
        # list, and help() of the package shows only the docstring.
        caller = _sys._getframe(1)
        while caller is not None and caller.f_globals.get("__name__") == "inspect":
            caller = caller.f_back
        is_help = caller is not None and caller.f_globals.get("__name__") == "pydoc"
        return [] if is_help else _names()
