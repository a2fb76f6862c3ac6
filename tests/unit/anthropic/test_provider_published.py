"""Published captures of Anthropic's own service, read as they are meant.

They are not ours to copy: they are read beside the project.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

import pytest

from localproviders import (
    AnthropicProvider,
    ContextOverflowError,
    ProviderError,
    RetryPolicy,
    ServerBusyError,
)
from localproviders.testing import ScriptedServer, http_answer
from tests.support.recordings import ANTHROPIC, needs_anthropic_captures
from tests.unit.anthropic.test_provider_recorded import both_ways, check_answer

pytestmark = needs_anthropic_captures


class Capture(NamedTuple):
    """One row of the index of the captures."""

    name: str
    verb: str
    status: str
    model: str
    expected: Tuple[str, ...]


def captures() -> Dict[str, Capture]:
    """Return the captures by name; none if they are not there."""
    index = ANTHROPIC / "INDEX.tsv"
    lines = index.read_text("utf-8").splitlines() if index.is_file() else []
    rows = [line.split("\t") for line in lines if not line.startswith(("#", "file\t"))]
    made = [
        Capture(row[0], row[3], row[4], row[5] or "m", tuple(filter(None, row[6].split("|"))))
        for row in rows
    ]
    return {each.name: each for each in made}


CAPTURES = captures()
ERRORS = sorted(name for name, each in CAPTURES.items() if each.expected)
COUNT = "count-tokens.json"
ANSWERS = sorted({*CAPTURES} - {*ERRORS, COUNT})


def answer_of(name: str) -> bytes:
    """Return a capture as a complete HTTP response."""
    body, is_stream = (ANTHROPIC / name).read_bytes(), name.endswith(".sse")
    kind = "text/event-stream; charset=utf-8" if is_stream else "application/json"
    return http_answer(
        body, status=f"{CAPTURES[name].status} Status", content_type=kind, chunked=is_stream
    )


def ask(name: str, url: str) -> Any:
    """Call the verb that reads a capture, at an address."""
    capture, once = CAPTURES[name], RetryPolicy(attempts=1)
    with AnthropicProvider(url, model=capture.model, retry=once, timeout=20) as provider:
        if capture.verb == "count":
            return provider.count_tokens("Hi")
        return provider.chat("Hi", max_tokens=99)


def _ask(name: str, one_byte: bool = False) -> Any:
    with ScriptedServer(answer_of(name), one_byte_writes=one_byte) as server:
        return ask(name, server.url)


def test_every_file_is_read() -> None:
    there = {path.name for path in ANTHROPIC.iterdir()} - {"README.md", "INDEX.tsv"}
    assert there == {*CAPTURES} and len(there) == 40


@pytest.mark.sample(8)
@both_ways
@pytest.mark.parametrize("name", ANSWERS)
def test_a_published_answer_is_read_as_it_is_meant(name: str, one_byte: bool) -> None:
    check_answer(_ask(name, one_byte), (ANTHROPIC / name).read_bytes())


@pytest.mark.sample(6)
@both_ways
@pytest.mark.parametrize("name", ERRORS)
def test_a_published_error_has_its_class(name: str, one_byte: bool) -> None:
    with pytest.raises(ProviderError) as caught:
        _ask(name, one_byte)
    error = caught.value
    assert type(error).__name__ in CAPTURES[name].expected
    assert error.server_message or error.partial
    body = (ANTHROPIC / name).read_text("utf-8")
    assert (error.request_id is not None) == ('"request_id":"req_' in body)


def test_a_count_is_exact() -> None:
    assert (_ask(COUNT).tokens, _ask(COUNT).source) == (1114, "exact")


def test_an_overflow_has_both_numbers() -> None:
    with pytest.raises(ContextOverflowError) as caught:
        _ask("error-400-prompt-too-long.json")
    assert (caught.value.prompt_tokens, caught.value.context_length) == (208310, 200000)


def test_an_overload_in_the_first_record_is_a_busy_server() -> None:
    with pytest.raises(ServerBusyError) as caught:
        _ask("stream-error-overloaded-first.sse")
    assert caught.value.retryable


#: The warnings of answers that need one, apart from those about the model.
_WARNINGS: Dict[str, List[str]] = {
    "stream-refusal-before-any-block.sse": ["the service refused to answer (category cyber)"],
    "whole-refusal.json": ["the service refused to answer (category cyber)"],
}


@pytest.mark.sample(5)
@pytest.mark.parametrize("name", ANSWERS)
def test_only_a_refusal_has_a_warning(name: str) -> None:
    found = [each.partition(":")[0] for each in _ask(name).warnings]
    others = [each for each in found if "requested model" not in each]
    assert others == _WARNINGS.get(name, [])
    # Dated names and aliases are names of one model.
    assert len(found) == len(others) or CAPTURES[name].model == "m"


def test_blocks_of_thinking_and_of_tools_of_the_service_are_kept() -> None:
    kept = _ask("stream-redacted-thinking.sse").provider_data
    kinds = [block["type"] for block in kept["content"]]
    assert kinds == ["redacted_thinking", "redacted_thinking", "text"]
    assert all(block["data"] for block in kept["content"][:2])
    searched = _ask("stream-tool-search-then-tool.sse").provider_data["content"]
    assert [block["type"] for block in searched] == [
        *("text", "server_tool_use", "tool_search_tool_result", "text", "tool_use"),
    ]
    assert searched[1]["input"] and searched[4]["input"]["to_currency"] == "EUR"
    assert _ask("stream-text-padded.sse").provider_data == {}
