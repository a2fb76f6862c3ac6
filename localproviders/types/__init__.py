"""The public data classes: requests, messages, responses, models, limits.

All of them except `CancelToken`, `CompletionChunk` and `ToolStream` are frozen dataclasses. Their
constructors accept only keyword arguments; those of `YesNo`, `Choice` and `Score` also accept
positional ones. Later versions only add fields. A repr never contains content, such as prompts and
answers. `to_dict` of a dataclass returns plain JSON types, and `from_dict` reads them. Dataclasses
and chunks can be pickled; a pickle does not contain the server's raw record.
"""

import sys as _sys
from typing import TYPE_CHECKING, Any

from localproviders._did_you_mean import missing_name as _missing_name
from localproviders.types.decisions import Decision, Decisions
from localproviders.types.documents import Document
from localproviders.types.limits import CancelToken, Limits, RetryPolicy, Timeout
from localproviders.types.messages import (
    Audio,
    DocumentLike,
    Image,
    ImageLike,
    Message,
    Messages,
    Tool,
    ToolCall,
    ToolLike,
)
from localproviders.types.models import (
    CapabilityEvidence,
    DownloadJob,
    LoadedModel,
    ModelCapabilities,
    ModelInfo,
    OnProgress,
    Progress,
    Source,
)
from localproviders.types.questions import (
    Choice,
    DecisionMethod,
    Question,
    QuestionLike,
    Questions,
    Score,
    State,
    YesNo,
)
from localproviders.types.rankings import RankedDocument, Ranking
from localproviders.types.requests import (
    CompletionRequest,
    EmbeddingRequest,
    Locality,
    ModelLike,
    Overflow,
    ParseFields,
    RequestFields,
)
from localproviders.types.responses import (
    CompletionChunk,
    CompletionResponse,
    CountSource,
    EmbeddingResponse,
    Parsed,
    PartialRun,
    ServerAttempt,
    ServerTimings,
    Timings,
    TokenCount,
    TokenLogprob,
    ToolRun,
    ToolStep,
    Usage,
)
from localproviders.types.tool_stream import ToolStream

__all__ = [
    "Audio",
    "CancelToken",
    "CapabilityEvidence",
    "Choice",
    "CompletionChunk",
    "CompletionRequest",
    "CompletionResponse",
    "CountSource",
    "Decision",
    "DecisionMethod",
    "Decisions",
    "Document",
    "DocumentLike",
    "DownloadJob",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "Image",
    "ImageLike",
    "Limits",
    "LoadedModel",
    "Locality",
    "Message",
    "Messages",
    "ModelCapabilities",
    "ModelInfo",
    "ModelLike",
    "OnProgress",
    "Overflow",
    "ParseFields",
    "Parsed",
    "PartialRun",
    "Progress",
    "Question",
    "QuestionLike",
    "Questions",
    "RankedDocument",
    "Ranking",
    "RequestFields",
    "RetryPolicy",
    "Score",
    "ServerAttempt",
    "ServerTimings",
    "Source",
    "State",
    "Timeout",
    "Timings",
    "TokenCount",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolLike",
    "ToolRun",
    "ToolStep",
    "ToolStream",
    "Usage",
    "YesNo",
]

if not TYPE_CHECKING:  # with `__getattr__`, type checkers would not report misspelt names

    def __getattr__(name: str) -> Any:
        raise _missing_name(__name__, name, __all__, _sys._getframe(1))
