"""Fake servers for the code of README, docs and examples, and the code blocks of the pages."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any, Iterator, List, Mapping, NamedTuple

from localproviders import ToolCall
from localproviders.testing import (
    Exchange,
    FakeAnthropic,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    Reply,
)

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def _answer(exchange: Exchange) -> Reply:
    """Return the reply that the code of the pages expects for a request."""
    asked = exchange.json
    if "million" in str(asked):
        # Long enough for a test to cancel it. It ends, because a test must not hang.
        return Reply(text="more " * 500, pause_s=0.02)
    schema = asked.get("format") or asked.get("response_format", {}).get("json_schema", {}).get(
        "schema"
    )
    schema = schema or asked.get("output_config", {}).get("format", {}).get("schema")
    if schema:
        return Reply(text=json.dumps(_value_for(schema)))
    if asked.get("tools") and not _has_result(asked["messages"][-1]):
        tool = asked["tools"][0]
        function = tool.get("function", tool)
        arguments = _value_for(function.get("parameters", function.get("input_schema")))
        return Reply(
            text="", tool_calls=(ToolCall(id="1", name=function["name"], arguments=arguments),)
        )
    return Reply(text="The sky scatters blue.")


def _has_result(message: Mapping[str, Any]) -> bool:
    """Return whether a message has the result of a tool."""
    content = message["content"]
    blocks = content if isinstance(content, list) else []
    return message["role"] == "tool" or any(each["type"] == "tool_result" for each in blocks)


_VALUES = {"string": "Oslo", "integer": 7, "number": 1.5, "boolean": True, "null": None}


def _value_for(schema: Mapping[str, Any]) -> Any:
    """Return the simplest value that a schema from the pages allows."""
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
    """One fake server of each kind; all send the same reply."""

    ollama: FakeOllama
    lmstudio: FakeLMStudio
    openai: FakeOpenAICompatible
    llamacpp: FakeLlamaCpp
    anthropic: FakeAnthropic


@contextlib.contextmanager
def running() -> Iterator[Servers]:
    """Start the fake servers."""
    own = FakeLlamaCpp([FakeModel(name="my-model"), "ggml-org/gemma-3-4b-it-GGUF:Q4_K_M"])
    fakes = FakeOllama(), FakeLMStudio(), FakeOpenAICompatible(), own, FakeAnthropic()
    with contextlib.ExitStack() as stack:
        servers = Servers(*[stack.enter_context(fake) for fake in fakes])  # type: ignore[arg-type]  # in their order
        for server in servers:
            server.usual = _answer
        yield servers


class Block(NamedTuple):
    """One fenced code block of a page: its language, its text, and its first line."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str) -> List[Block]:
    """Return every fenced code block of this language in the pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if match.group(1) == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(page, line, match.group(1), match.group(2)))
    return found
