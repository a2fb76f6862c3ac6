"""What users hold: requests, messages, answers, models, limits.

All values are frozen and take keywords only; fields are only ever added. Content (what a
person or a model said) is never in a repr. `to_dict` and `from_dict` give and take plain
JSON types; pickles work, without the server's raw record.
"""

from typing import TYPE_CHECKING

from localproviders._doors import door

if TYPE_CHECKING:
    from localproviders.types.answer import (
        CompletionChunk,
        CompletionResponse,
        EmbeddingResponse,
        ServerTimings,
        Timings,
        TokenLogprob,
        Tried,
        Usage,
    )
    from localproviders.types.cancel import CancelToken
    from localproviders.types.download import DownloadJob
    from localproviders.types.keywords import RequestFields
    from localproviders.types.limits import Limits, Timeout
    from localproviders.types.media import Audio, Image
    from localproviders.types.message import Message, Messages, Tool, ToolCall, ToolLike
    from localproviders.types.model import Fact, LoadedModel, ModelCapabilities, ModelInfo, Source
    from localproviders.types.outcome import Parsed, PartialRun, ToolRun, ToolStep
    from localproviders.types.progress import OnProgress, Progress
    from localproviders.types.request import (
        CompletionRequest,
        EmbeddingRequest,
        Locality,
        Overflow,
    )
    from localproviders.types.retry import RetryPolicy
    from localproviders.types.tokens import CountSource, TokenCount

__all__ = [
    "Audio",
    "CancelToken",
    "CompletionChunk",
    "CompletionRequest",
    "CompletionResponse",
    "CountSource",
    "DownloadJob",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "Fact",
    "Image",
    "Limits",
    "LoadedModel",
    "Locality",
    "Message",
    "Messages",
    "ModelCapabilities",
    "ModelInfo",
    "OnProgress",
    "Overflow",
    "Parsed",
    "PartialRun",
    "Progress",
    "RequestFields",
    "RetryPolicy",
    "ServerTimings",
    "Source",
    "Timeout",
    "Timings",
    "TokenCount",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolLike",
    "ToolRun",
    "ToolStep",
    "Tried",
    "Usage",
]

__getattr__, __dir__ = door(
    __name__,
    {
        "localproviders.types.answer": (
            "CompletionChunk",
            "CompletionResponse",
            "EmbeddingResponse",
            "ServerTimings",
            "Timings",
            "TokenLogprob",
            "Tried",
            "Usage",
        ),
        "localproviders.types.cancel": ("CancelToken",),
        "localproviders.types.download": ("DownloadJob",),
        "localproviders.types.keywords": ("RequestFields",),
        "localproviders.types.limits": (
            "Limits",
            "Timeout",
        ),
        "localproviders.types.media": (
            "Audio",
            "Image",
        ),
        "localproviders.types.message": (
            "Message",
            "Messages",
            "Tool",
            "ToolCall",
            "ToolLike",
        ),
        "localproviders.types.model": (
            "Fact",
            "LoadedModel",
            "ModelCapabilities",
            "ModelInfo",
            "Source",
        ),
        "localproviders.types.outcome": (
            "Parsed",
            "PartialRun",
            "ToolRun",
            "ToolStep",
        ),
        "localproviders.types.progress": (
            "OnProgress",
            "Progress",
        ),
        "localproviders.types.request": (
            "CompletionRequest",
            "EmbeddingRequest",
            "Locality",
            "Overflow",
        ),
        "localproviders.types.retry": ("RetryPolicy",),
        "localproviders.types.tokens": (
            "CountSource",
            "TokenCount",
        ),
    },
)
