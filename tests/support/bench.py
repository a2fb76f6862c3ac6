"""A provider whose responses a test writes, and results that tests of the bench share."""

from __future__ import annotations

import threading
from typing import Any, Callable, List, Optional

from localproviders import CancelToken, CompletionRequest, CompletionResponse, ModelProvider, Stream
from localproviders.bench import Cell, Environment, Figure, Results
from localproviders.types import (
    EmbeddingResponse,
    LoadedModel,
    ModelInfo,
    ServerTimings,
    Timings,
    Usage,
)


def response(**changes: Any) -> CompletionResponse:
    """Return a response with the numbers that a server with its own clock reports."""
    fields = {
        "text": "Once upon a time",
        "model": "m",
        "provider": "written",
        "endpoint": "http://127.0.0.1:1",
        "usage": Usage(prompt_tokens=100, completion_tokens=8),
        "timings": Timings(first_token_s=0.5, total_s=1.5),
        "server_timings": ServerTimings(prompt_s=0.4, generation_s=0.8),
    }
    return CompletionResponse(**{**fields, **changes})


class WrittenProvider(ModelProvider):
    """A provider that calls a function of the test for each completion.

    Attributes:
        requests: The requests so far.
    """

    def __init__(self, answer: Optional[Callable[[CompletionRequest], CompletionResponse]] = None):
        self._answer = answer or (lambda request: response())
        self.requests: List[CompletionRequest] = []
        self.tokens: List[Optional[CancelToken]] = []
        self.timeouts: List[Any] = []
        self.copies: Optional[List[LoadedModel]] = None
        self.context_length: Optional[int] = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return "written"

    def close(self) -> None:
        pass

    def list_models(self, *, timeout: Any = None, cancel: Any = None) -> List[ModelInfo]:
        return [self.model_info("m")]

    def supports_model(self, model: Any, *, timeout: Any = None, cancel: Any = None) -> bool:
        return True

    def model_info(self, model: Any, *, timeout: Any = None, cancel: Any = None) -> ModelInfo:
        from localproviders.types import ModelCapabilities

        known = ModelCapabilities(loaded_context_length=self.context_length)
        return ModelInfo(name=str(model), provider="written", capabilities=known)

    def stream_completion(
        self, request: CompletionRequest, *, timeout: Any = None, cancel: Any = None
    ) -> Stream:
        raise AssertionError("the bench uses complete()")

    def embed(self, *args: Any, **kwargs: Any) -> EmbeddingResponse:
        raise AssertionError("the bench does not embed")

    def complete(
        self, request: CompletionRequest, *, timeout: Any = None, cancel: Any = None
    ) -> CompletionResponse:
        with self._lock:
            self.requests.append(request)
            self.tokens.append(cancel)
            self.timeouts.append(timeout)
        return self._answer(request)


def figure(*values: float) -> Figure:
    """Return a figure with these values."""
    return Figure(values=values)


def results(speed: float = 1.0, rounds: int = 5, **facts: Any) -> Results:
    """Return results with all kinds of cells.

    Args:
        speed: Factor of all speeds.
        rounds: Number of values of each figure.
        facts: Fields of the environment.
    """

    def around(value: float, *, is_time: bool = False) -> Figure:
        value = value / speed if is_time else value * speed
        return Figure(values=tuple(value * (1 + 0.01 * number) for number in range(rounds)))

    prompts = [
        Cell(
            kind="prompt",
            size=size,
            figures={
                "first_token_s": around(size / 800, is_time=True),
                "prompt_tokens_per_s": around(800),
                "generation_tokens_per_s": around(60 - size / 100),
            },
            prompt_tokens=size + 3,
            completion_tokens=64,
            clock="server",
        )
        for size in (128, 512, 1024)
    ]
    groups = [
        Cell(
            kind="at_once",
            size=size,
            figures={
                "first_token_s": around(0.2 * size, is_time=True),
                "generation_tokens_per_s": around(60 / size),
                "total_tokens_per_s": around(60 + 10 * size),
            },
            prompt_tokens=131,
            clock="server",
        )
        for size in (1, 2, 4, 8)
    ]
    return Results(
        environment=Environment(
            **{
                "measured_at": "2026-11-30T22:17:35Z",
                "processor": "Some Processor",
                "cpu_count": 8,
                "memory_bytes": 16_000_000_000,
                "server": "Ollama",
                "server_version": "0.40.5",
                "is_local": True,
                "model": "llama3.2",
                "digest": "abc123",
                "context_length": 4096,
                "rounds": rounds,
                **facts,
            }
        ),
        cells=(
            Cell(kind="load", figures={"load_s": around(2.5, is_time=True)}),
            *prompts,
            Cell(kind="prompt", size=8192, notes=("it does not fit",)),
            *groups,
        ),
    )
