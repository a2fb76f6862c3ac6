"""The fake servers behind README, docs and examples; blocks of Markdown."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Iterator, List, NamedTuple

from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    Reply,
)

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _answer(exchange: Exchange) -> Reply:
    if "million" in str(exchange.json):
        # Long enough to be cancelled, and with an end: a test must not hang.
        return Reply(text="more " * 500, pause_s=0.02)
    return Reply(text="The sky scatters blue.")


class Servers(NamedTuple):
    """One of each kind, all with the same answer."""

    ollama: FakeOllama
    lmstudio: FakeLMStudio
    openai: FakeOpenAICompatible


@contextlib.contextmanager
def running() -> Iterator[Servers]:
    with FakeOllama() as ollama, FakeLMStudio() as lmstudio, FakeOpenAICompatible() as openai:
        servers = Servers(ollama, lmstudio, openai)
        for server in servers:
            server.usual = _answer
        yield servers


class Block(NamedTuple):
    """One fenced block of a page: its language, its text, and where it starts."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str) -> List[Block]:
    """Every fenced block of this language in README and docs."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if match.group(1) == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(page, line, match.group(1), match.group(2)))
    return found
