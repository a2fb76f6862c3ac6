"""Runs against a fake server, and the files that they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

from localproviders import OllamaProvider, RetryPolicy, batch
from localproviders.batch.report import BatchReport
from localproviders.testing import FakeOllama


class Ollama:
    """A fake server, and a provider for it.

    Attributes:
        options: Arguments of `batch.run` that each call of `run` passes.
    """

    def __init__(self, server: FakeOllama) -> None:
        self.server = server
        self.options: Dict[str, Any] = {"concurrency": 2}
        self.provider = OllamaProvider(server.url, model="llama3.2", retry=RetryPolicy(attempts=1))

    def run(self, rows: Any, sink: Any, **options: Any) -> BatchReport:
        """Run a batch, with two requests in flight unless the options say otherwise."""
        return batch.run(rows, sink, self.provider, **{**self.options, **options})

    def texts(self) -> List[str]:
        """Return the texts of all chats that the server received."""
        bodies = [json.loads(each.body) for each in self.server.exchanges if each.body]
        return [body["messages"][-1]["content"] for body in bodies if "messages" in body]


def chats(count: int) -> List[Any]:
    """Return rows with a chat."""
    return [{"id": f"r{number}", "messages": f"text {number}"} for number in range(count)]


def lines_of(path: Path) -> List[Any]:
    """Return the JSON of each line."""
    return [json.loads(line) for line in path.read_text().splitlines()]
