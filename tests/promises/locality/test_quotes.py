"""Only quotations of the request are removed from the error message of a server."""

from __future__ import annotations

import json
import time
from typing import Any, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders import (
    CapabilityError,
    CompletionRequest,
    Image,
    Message,
    ProviderError,
    Tool,
    ToolCall,
)
from localproviders._redact import without_prompt
from localproviders.testing import Exchange, ScriptedServer, http_answer
from localproviders.types.requests import EmbeddingRequest, texts_of
from tests.support.locality import PROVIDERS, after_model_list, make
from tests.support.timing import GRACE_S

_LONG = "Mr Smith of Harrow has a tumour"


@pytest.mark.parametrize(
    ("words", "texts", "left"),
    [
        ("", [_LONG], ""),
        ("no quotation", [_LONG], "no quotation"),
        (f"bad: {_LONG}!", [_LONG], "bad: [...]!"),
        (f"bad: {_LONG[:16]}!", [_LONG], "bad: [...]!"),
        (f"bad: {_LONG[3:18]}!", [_LONG], "bad:[...]!"),
        (f"bad: {_LONG[-16:]}!", [_LONG], "bad: [...]!"),
        (f"bad: {_LONG[:15]}!", [_LONG], f"bad: {_LONG[:15]}!"),
        (f"{_LONG} and {_LONG}", [_LONG], "[...] and [...]"),
        (f"a {_LONG} b", ["x" * 999 + _LONG + "y" * 999], "a [...] b"),
        ("bad: 'a secret'", ["a secret"], "bad: '[...]'"),
        ("bad: king", ["king", "queen"], "bad: [...]"),
        ("thinking", ["king"], "thinking"),
        ("this is it", ["is", "it", "", " "], "this is it"),
        ("bad: a secret", ["  a secret\n"], "bad: [...]"),
        (f"first {_LONG} then other", ["other", _LONG], "first [...] then [...]"),
        (
            'says {"c": "line one\\nline two is longer"}',
            ["line one\nline two is longer"],
            'says {"c": "[...]"}',
        ),
        ('says "one\\ntwo"', ["one\ntwo"], 'says "[...]"'),
        ("kept \\1 a text", ["no \\1 text"], "kept \\1 a text"),
        (r"says a\x1bb\x9bc\u202ed\x7fe\nf", ["a\x1bb\x9bc\u202ed\x7fe\nf"], "says [...]"),
        (r'says "a\u001bb\x9bc"', ["a\x1bb\x9bc"], 'says "[...]"'),
    ],
)
def test_only_quotations_are_removed(words: str, texts: List[str], left: str) -> None:
    assert without_prompt(words, texts) == left


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
def test_a_quoted_prompt_with_control_characters_is_removed(kind: str) -> None:
    prompt = "Mr\x1bSm\u202eith\nof\x9bHar\trow\x7fhas\ra tu\u2028mour"
    for words in (prompt, json.dumps(prompt)):
        answer = http_answer({"error": {"message": f"bad: {words}"}}, status="400 Bad Request")
        with ScriptedServer(after_model_list(answer)) as server, make(kind, server) as provider:
            with pytest.raises(ProviderError) as caught:
                provider.chat(prompt)
        for text in (caught.value.message, str(caught.value.server_message)):
            assert not any(part in text for part in ("Mr", "ith", "Har", "row", "has", "mour"))


@given(st.text(min_size=16, max_size=60), st.text(max_size=40), st.text(max_size=40), st.data())
def test_no_sixteen_characters_of_a_text_are_left(
    text: str, before: str, after: str, data: Any
) -> None:
    start = data.draw(st.integers(0, len(text) - 16))
    end = data.draw(st.integers(start + 16, len(text)))
    quoted = text.strip()[start:end]

    left = without_prompt(before + quoted + after, [text])

    runs = (text.strip()[at : at + 16] for at in range(len(text.strip()) - 15))
    assert not any(run in left for run in runs)


def test_removal_takes_linear_time() -> None:
    text = "the model context length of the prompt exceeds the maximum " * 20_000
    started = time.monotonic()
    without_prompt(("the length of the context " * 200)[:2000], [text])

    assert time.monotonic() - started < GRACE_S


def test_all_texts_of_a_request_are_collected() -> None:
    call = ToolCall(id="c", name="f", arguments={"town": "Harrow"})
    image = Image.from_bytes(b"\x89PNG\r\n\x1a\nrest")
    chat = CompletionRequest(
        messages=(
            Message.system("a system text"),
            Message(role="assistant", content="said", thinking="thought", tool_calls=(call,)),
            Message.user("look", images=[image]),
        )
    )

    assert {"a system text", "said", "thought", "look", image.base64} <= set(texts_of(chat))
    assert any("Harrow" in text for text in texts_of(chat))
    assert set(texts_of(CompletionRequest(prompt="p", suffix="s"))) == {"p", "s"}
    extra = {"system": "told", "options": {"stop": ["here", 1], "num_gpu": None}}
    more = CompletionRequest(prompt="p", stop="end", extra_body=extra)
    assert set(texts_of(more)) == {"p", "end", "told", "here"}
    assert list(texts_of(EmbeddingRequest(texts=("a", "b")))) == ["a", "b"]
    inner = {"description": "deep", "enum": ["oslo"]}
    parameters = {"type": "object", "description": "all", "properties": {"description": inner}}
    tools = [Tool(name="t", description="does", parameters=parameters)]
    told = CompletionRequest(prompt="p", tools=tools, response_schema={"anyOf": [inner]})
    assert sorted(texts_of(told)) == ["all", "deep", "deep", "does", "p"]


# --- through a provider -------------------------------------------------------------------


def _echoing(exchange: Exchange) -> List[Any]:
    """Refuse with a message that quotes the complete request body, as some servers do."""
    message = f"Invalid request: field 'messages' has {exchange.body.decode()}"
    return [http_answer({"error": message}, status="400 Bad Request")]


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize(
    "text",
    [
        _LONG,
        "a secret",
        'zeilen\nweise\tund "so" weiter',
        "患者は手術を受ける予定です。金曜日に入院します。",
    ],
)
def test_an_error_keeps_the_servers_message_without_the_prompt(kind: str, text: str) -> None:
    with ScriptedServer(lambda e: after_model_list(_echoing(e))(e)) as server:
        with make(kind, server) as provider:
            with pytest.raises(ProviderError, match="Invalid request: field 'messages' has") as one:
                provider.chat(text)
            with pytest.raises(ProviderError, match="Invalid request") as two:
                provider.embed([text])
    for error in (one.value, two.value):
        everywhere = f"{error}{error!r}{error.to_dict()}{error.args}{error.server_message}"
        assert text not in everywhere and json.dumps(text)[1:-1] not in everywhere
        assert "[...]" in str(error.server_message)


def test_an_unknown_form_of_refusal_is_decoded_before_it_is_compared() -> None:
    """Servers with such forms escape non-ASCII characters, which hides a quotation."""
    text = "患者は手術を受ける予定です。金曜日に入院します。"
    body = json.dumps({"detail": [{"msg": "no such role", "input": text}]})
    with ScriptedServer(http_answer(body, status="422 No")) as server:
        with make("openai", server) as provider, pytest.raises(ProviderError) as caught:
            provider.chat(text)
    said = str(caught.value.server_message)

    assert "no such role" in said
    assert "\\u" not in said and text[:16] not in said


def test_a_quotation_is_removed_from_the_evidence_of_a_missing_capability() -> None:
    answer = http_answer({"error": f"{_LONG}: does not support tools"}, status="400 No")
    with ScriptedServer(after_model_list(answer)) as server, make("ollama", server) as provider:
        with pytest.raises(CapabilityError) as caught:
            provider.chat(_LONG)

    assert caught.value.evidence == "[...]: does not support tools"
