"""The fake servers behind README, docs and examples; blocks of Markdown."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any, Iterator, List, Mapping, NamedTuple

from localproviders import ToolCall
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
    asked = exchange.json
    if "million" in str(asked):
        # Long enough to be cancelled, and with an end: a test must not hang.
        return Reply(text="more " * 500, pause_s=0.02)
    schema = asked.get("format") or asked.get("response_format", {}).get("json_schema", {}).get(
        "schema"
    )
    if schema:
        return Reply(text=json.dumps(_value_for(schema)))
    if asked.get("tools") and asked["messages"][-1]["role"] != "tool":
        function = asked["tools"][0]["function"]
        arguments = _value_for(function["parameters"])
        return Reply(
            text="", tool_calls=(ToolCall(id="1", name=function["name"], arguments=arguments),)
        )
    return Reply(text="The sky scatters blue.")


_VALUES = {"string": "Oslo", "integer": 7, "number": 1.5, "boolean": True, "null": None}


def _value_for(schema: Mapping[str, Any]) -> Any:
    """Give the simplest value that fits a schema such as the pages need."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _value_for(schema["anyOf"][0])
    kind = schema["type"]
    if kind == "object":
        return {name: _value_for(each) for name, each in schema["properties"].items()}
    if kind == "array":
        return [_value_for(schema["items"])]
    return _VALUES[kind if isinstance(kind, str) else kind[0]]


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
