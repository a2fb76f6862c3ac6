"""The `str`, the repr and the Markdown of results, as people and notebooks see them."""

from __future__ import annotations

import re
from array import array
from datetime import datetime, timezone
from typing import Any, Dict, Iterator, List, NamedTuple

import pytest

from localproviders import Discovery, FoundServer, ProviderError
from localproviders._record import Record
from localproviders._redact import answer_in_markdown, fenced, in_markdown, on_screen
from localproviders.discovery import Probe
from localproviders.types import (
    CapabilityEvidence,
    CompletionChunk,
    CompletionResponse,
    Decision,
    Decisions,
    DownloadJob,
    EmbeddingResponse,
    LoadedModel,
    Message,
    ModelCapabilities,
    ModelInfo,
    Parsed,
    PartialRun,
    Progress,
    RankedDocument,
    Ranking,
    ServerTimings,
    Timings,
    TokenCount,
    ToolCall,
    ToolRun,
    ToolStep,
    Usage,
)

_NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
#: A name that tries to end a table row, begin a tag, add a line and move the cursor.
_HOSTILE = (
    "a|b<script>alert(1)</script>\n| x | y |\x1b[2J\u202e`c`[d](javascript:e)![f](http://g)$h$"
)
_SECRET = "needle"


class _Person(NamedTuple):
    name: str


def _response(name: str, text: str = f"the {_SECRET}") -> CompletionResponse:
    return CompletionResponse(
        text=text,
        thinking=f"a {_SECRET}",
        model=name,
        provider=name,
        finish_reason=name,
        usage=Usage(prompt_tokens=12, completion_tokens=34),
        timings=Timings(first_token_s=0.5, total_s=1.25),
        server_timings=ServerTimings(total_s=1.0),
        warnings=tuple(f"{number}: {name}" for number in range(100)),
        raw={"text": _SECRET},
    )


def _values(name: str) -> Dict[str, Any]:
    """Make a value of each public type that a call returns, with this name from a server."""
    call = ToolCall(id="1", name=name, arguments={"city": _SECRET, "b": "x" * 500})
    decision = Decision(
        name=name,
        kind="choice",
        source="systemone",
        probabilities={f"{_SECRET} {name}": 0.75, name: 0.25},
    )
    step = ToolStep(call=call, content=f"{_SECRET} {name}\n" * 100)
    evidence = {"chat": CapabilityEvidence(source="reported", detail=name)}
    abilities = ModelCapabilities(
        chat=True,
        tools=True,
        thinking=True,
        thinking_levels=(name,),
        max_context_length=40960,
        parameter_size=name,
        parameter_count=10**18,
        quantization=name,
        architecture=name,
        format="gguf",
        size_bytes=2**63 - 1,
        remote=True,
        remote_host=name,
        evidence=dict.fromkeys(map(str, range(30)), evidence["chat"]),
    )
    info = ModelInfo(
        name=name,
        provider="ollama",
        digest="0" * 64,
        modified_at=_NOW,
        loaded=True,
        capabilities=abilities,
        raw={"name": name},
    )
    loaded = LoadedModel(
        name=name,
        provider=name,
        context_length=8192,
        size_bytes=6 * 10**9,
        vram_bytes=5 * 10**9,
        expires_at=_NOW,
        warnings=(name,),
    )
    server = FoundServer(
        kind="ollama",
        name="ollama",
        endpoint="http://127.0.0.1:11434",
        version=name,
        models=(info,) * 100,
        loaded=(loaded,),
        reason=name,
    )
    probe = Probe(endpoint="http://127.0.0.1:1", outcome="unavailable", reason=name * 20)
    message = Message.user(f"a {_SECRET}")
    ranked = RankedDocument(index=3, score=-0.123456789, document=f"{_SECRET} {name}")
    response, mute = _response(name), _response(name, text=" \n").replace(tool_calls=(call,) * 9)
    return {
        "CompletionResponse": response,
        "CompletionResponse without text": mute,
        "CompletionChunk": CompletionChunk(text=f"the {_SECRET}", model=name),
        "Parsed": Parsed(value=_Person(_SECRET), response=response),
        "ToolRun": ToolRun(messages=(message,), responses=(mute, response), steps=(step,) * 100),
        "ToolStep": step,
        "PartialRun": PartialRun(added=(message,), responses=(response,), steps=(step,) * 100),
        "Decision": decision,
        "Decisions": Decisions(
            model=name,
            provider=name,
            answers={f"{name} {number}": decision for number in range(100)},
            usage=Usage(prompt_tokens=12),
            warnings=(name,),
        ),
        "EmbeddingResponse": EmbeddingResponse(
            vectors=(array("f", [1.0] * 768),) * 100, model=name, provider=name, warnings=(name,)
        ),
        "Ranking": Ranking(
            results=(ranked,) * 100, model=name, provider=name, warnings=(name,) * 100
        ),
        "RankedDocument": ranked,
        "TokenCount": TokenCount(tokens=5, source="exact", detail=name),
        "ModelInfo": info,
        "ModelCapabilities": abilities,
        "LoadedModel": loaded,
        "Progress": Progress(status=name, fraction=0.45, total_bytes=5 * 10**9),
        "DownloadJob": DownloadJob(
            status=name, completed_bytes=1, total_bytes=2, bytes_per_second=3e7, reason=name
        ),
        "FoundServer": server,
        "Probe": probe,
        "Discovery": Discovery(found_at=_NOW, servers=(server,) * 100, tried=(probe,) * 100),
        "Discovery of no ready server": Discovery(
            found_at=_NOW, servers=(server.replace(state="degraded"),) * 100, tried=(probe,)
        ),
        "Discovery of nothing": Discovery(found_at=_NOW),
        "ProviderError": ProviderError(name, hint=name, model=name, endpoint=name),
    }


def _cases(name: str) -> List[Any]:
    return [pytest.param(value, id=what) for what, value in _values(name).items()]


@pytest.mark.sample(38)
@pytest.mark.parametrize("value", _cases("qwen3:8b") + _cases(_HOSTILE) + _cases("x" * 10_000))
def test_a_result_as_text_fits_one_screen(value: Any) -> None:
    lines = str(value).split("\n")

    assert len(lines) <= 24
    if not isinstance(value, ProviderError):  # one line, with its hint
        assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("value", _cases(_HOSTILE))
def test_no_text_of_a_server_adds_a_line_or_controls_the_terminal(value: Any) -> None:
    shown = str(value)

    assert "\x1b" not in shown and "\u202e" not in shown
    assert not any(line.startswith("| x") for line in shown.split("\n"))


@pytest.mark.parametrize("value", _cases(_HOSTILE) + _cases("x" * 10_000))
def test_a_repr_has_no_content(value: Any) -> None:
    assert _SECRET not in repr(value)


@pytest.mark.parametrize("value", _cases(_HOSTILE))
def test_markdown_shows_the_texts_of_servers_literally(value: Any) -> None:
    shown = value._repr_markdown_()

    assert isinstance(shown, str)
    assert not re.search(r"<[a-zA-Z/!]|!\[|\]\(|\x1b|\u202e|\$", shown)
    for row in (line for line in shown.split("\n") if line.startswith("|")):
        assert row.count("|") == 6


def test_an_answer_is_its_text() -> None:
    response = _response("m", "Hello\n**you** é")

    assert str(response) == f"{response}" == "Hello\n**you** é"
    assert str(ToolRun(messages=(), responses=(response,))) == response.text
    assert str(CompletionChunk(text="Hello")) == "Hello"
    assert str(CompletionChunk()) == ""
    assert str(Parsed(value={"a": 1}, response=response)) == "{'a': 1}"


def test_an_answer_without_text_says_what_is_there_instead() -> None:
    call = ToolCall(id="1", name="weather", arguments={"city": "Oslo"})
    response = CompletionResponse(text="", model="m", provider="p", finish_reason="tool_calls")

    assert str(response) == "(no text; finish reason: tool_calls)"
    assert str(response.replace(tool_calls=(call,))) == (
        "(no text; tool calls: weather(city='Oslo'); finish reason: tool_calls)"
    )
    assert str(response.replace(thinking="I think\nso", finish_reason=None)) == (
        "(no text; thinking: I think\\nso)"
    )


def test_a_notebook_shows_the_answer_and_its_facts() -> None:
    response = _response("qwen3:8b", "Hello **you**").replace(
        provider="ollama", finish_reason="stop", warnings=("too | long",)
    )

    assert response._repr_markdown_() == (
        "Hello **you**\n\n"
        "*qwen3:8b (ollama), 12 prompt tokens, 34 answer tokens, 1.2 s, finish reason: stop*\n\n"
        "- warning: too &#124; long"
    )
    bare = CompletionResponse(text="Hello", model="m", provider="p")
    assert bare._repr_markdown_() == "Hello\n\n*m (p)*"


def test_a_notebook_shows_a_parsed_value_as_json() -> None:
    response = CompletionResponse(text="x", model="m", provider="p")
    shown = Parsed(value=_Person("é"), response=response)._repr_markdown_()

    assert shown == '```text\n{\n  "name": "é"\n}\n```\n\n*m (p)*'
    odd = Parsed(value={"a": object}, response=response)._repr_markdown_()
    assert odd.startswith("```text\n{'a': <class 'object'>}\n```")


def test_the_other_results_are_one_line() -> None:
    facts = ModelCapabilities(
        chat=True, structured_output=True, max_context_length=40960, parameter_size="8.2B",
        quantization="Q4_K_M", size_bytes=5_200_000_000,
    )  # fmt: skip
    info = ModelInfo(name="qwen3:8b", provider="ollama", loaded=True, capabilities=facts)
    vectors = EmbeddingResponse(vectors=(array("f", [1.0, 2.0]),), model="m", provider="p")

    assert str(facts) == "chat, structured output, context 40960, 8.2B, Q4_K_M, 5.2 GB"
    assert str(ModelCapabilities()) == "nothing is known"
    assert str(info) == (
        "qwen3:8b (ollama): loaded, context 40960, 8.2B, Q4_K_M, 5.2 GB, chat, structured output"
    )
    assert str(ModelInfo(name="m", provider="p", loaded=False)) == "m (p)"
    assert str(vectors) == "1 vector of 2 dimensions by m (p)"
    assert str(vectors.replace(vectors=())) == "0 vectors by m (p)"
    assert str(TokenCount(tokens=5, source="rough")) == "5 tokens (rough)"
    assert str(TokenCount(tokens=1, source="rough")) == "1 token (rough)"
    assert str(Progress(status="pulling")) == "pulling"
    assert str(Progress(status="pulling", fraction=0.5, total_bytes=10**6)) == (
        "pulling, 50% of 1.0 MB"
    )


def test_the_repr_of_a_list_of_models_has_a_short_line_for_each() -> None:
    for info in (_values("x" * 1000)["ModelInfo"], _values(_HOSTILE)["ModelInfo"]):
        assert len(repr(info)) <= 170 and repr(info).isprintable()
    info = ModelInfo(name="hf.co/unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF:Q4_K_M", provider="ollama",
                     loaded=False, capabilities=ModelCapabilities(quantization="Q4_K_M"))  # fmt: skip
    assert repr(info) == (
        "ModelInfo(name='hf.co/unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF:Q4_K_M', "
        "provider='ollama', quantization='Q4_K_M', loaded=False)"
    )
    assert repr(ModelInfo.__new__(ModelInfo)) == "ModelInfo()"


def test_the_repr_of_a_search_names_the_servers() -> None:
    found = _values("0.12")["Discovery"]
    assert len(repr(found)) < 200
    one = found.replace(servers=found.servers[:1], tried=())
    assert repr(one) == "Discovery(servers=<ollama>, tried=<0 items>)"
    assert len(repr(found.servers[0])) < 300


def test_a_search_that_found_nothing_says_what_to_do() -> None:
    found = Discovery(found_at=_NOW)
    for shown in (str(found), found._repr_markdown_()):
        assert shown.startswith("No server is ready.\n")
        assert "ollama serve" in shown and "LocalEngine" in shown


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a </div> b",
        "<!-- x",
        "![x](http://example.com/?data)",
        "[x](javascript:alert(1))",
        "[x]( javascript:alert(1))",
        "[x]\n\n[x]: javascript:alert(1)",
        r"$\href{javascript:alert(1)}{x}$",
        "```python\nprint(1)",
        "> ~~~\n> x",
    ],
)
def test_an_answer_that_a_notebook_would_act_on_is_shown_literally(text: str) -> None:
    assert answer_in_markdown(text) == fenced(text)


@pytest.mark.parametrize(
    "text",
    ["a < b", "**b** | c", "```python\nprint(1)\n```", "[x](https://example.com)", "a[0] = 1"],
)
def test_any_other_answer_is_rendered(text: str) -> None:
    assert answer_in_markdown(text) == text
    assert answer_in_markdown(f"{text}\x1b[2J") == f"{text}\\x1b[2J"


def test_nothing_in_a_text_closes_its_block() -> None:
    assert fenced("a\n````\nb\x1b") == "`````text\na\n````\nb\\x1b\n`````"


def test_a_list_that_is_too_long_says_how_many_are_left_out() -> None:
    assert on_screen(list("abc"), 3) == "a\nb\nc"
    assert on_screen(list("abcd"), 3) == "a\nb\n... and 2 more"
    assert on_screen(["x" * 101]) == "x" * 97 + "..."


@pytest.mark.parametrize("text", ["# a", "- a", "+ a", "a|b", "a\nb", "&lt;", "a_b_c", "\\"])
def test_markdown_has_no_marks_of_a_text(text: str) -> None:
    shown = in_markdown(text)
    assert not re.search(r"^[#+-]|[|<>`*_~\\\n]", re.sub(r"&#\d+;", "", shown))


def _result_types() -> Iterator[type]:
    import localproviders.types as types

    for name in types.__all__:
        cls = getattr(types, name)
        if isinstance(cls, type) and issubclass(cls, Record):
            yield cls


#: Parts of results, and values that a caller makes. Their repr is short or contains their content.
_WITHOUT = {
    "Audio", "CapabilityEvidence", "Choice", "CompletionRequest", "Document", "EmbeddingRequest", "Image",
    "Limits", "Message", "Question", "RetryPolicy", "Score", "ServerAttempt", "ServerTimings",
    "Timings", "TokenLogprob", "Tool", "ToolCall", "Usage", "YesNo",
}  # fmt: skip


def test_no_public_result_is_missing_above() -> None:
    tested = {type(value).__name__ for value in _values("m").values()}
    assert {cls.__name__ for cls in _result_types()} - tested == _WITHOUT
    assert not any(hasattr(cls, "_repr_markdown_") for cls in _result_types()
                   if cls.__name__ in _WITHOUT)  # fmt: skip
