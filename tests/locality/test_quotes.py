"""What a server's words quote from the request is cut out of them, and nothing else."""

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
    ToolCall,
)
from localproviders._http.quotes import without_quotes
from localproviders.testing import Exchange, ScriptedServer, http_answer
from localproviders.types.request import EmbeddingRequest, texts_of
from tests.locality.support import PROVIDERS, make, only_asking

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
    ],
)
def test_quotations_and_only_they_are_cut_out(words: str, texts: List[str], left: str) -> None:
    assert without_quotes(words, texts) == left


@given(st.text(min_size=16, max_size=60), st.text(max_size=40), st.text(max_size=40), st.data())
def test_no_run_of_a_text_is_left(text: str, before: str, after: str, data: Any) -> None:
    start = data.draw(st.integers(0, len(text) - 16))
    end = data.draw(st.integers(start + 16, len(text)))
    quoted = text.strip()[start:end]

    left = without_quotes(before + quoted + after, [text])

    runs = (text.strip()[at : at + 16] for at in range(len(text.strip()) - 15))
    assert not any(run in left for run in runs)


def test_it_takes_linear_time() -> None:
    text = "the model context length of the prompt exceeds the maximum " * 20_000
    started = time.monotonic()
    without_quotes(("the length of the context " * 200)[:2000], [text])

    assert time.monotonic() - started < 2


def test_every_text_of_a_request_counts() -> None:
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


# --- through a provider -------------------------------------------------------------------


def _echoing(exchange: Exchange) -> List[Any]:
    """Refuse as some servers do: with the whole request in the words."""
    said = f"Invalid request: field 'messages' has {exchange.body.decode()}"
    return [http_answer({"error": said}, status="400 Bad Request")]


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
def test_an_error_keeps_the_servers_words_without_the_prompt(kind: str, text: str) -> None:
    with ScriptedServer(lambda e: only_asking(_echoing(e))(e)) as server:
        with make(kind, server) as provider:
            with pytest.raises(ProviderError, match="Invalid request: field 'messages' has") as one:
                provider.chat(text)
            with pytest.raises(ProviderError, match="Invalid request") as two:
                provider.embed([text])
    for error in (one.value, two.value):
        everywhere = f"{error}{error!r}{error.to_dict()}{error.args}{error.server_message}"
        assert text not in everywhere and json.dumps(text)[1:-1] not in everywhere
        assert "[...]" in str(error.server_message)


def test_the_unknown_shape_of_a_refusal_is_read_before_it_is_compared() -> None:
    """Such servers escape what is not ASCII, and then nothing would be recognised."""
    text = "患者は手術を受ける予定です。金曜日に入院します。"
    body = json.dumps({"detail": [{"msg": "no such role", "input": text}]})
    with ScriptedServer(http_answer(body, status="422 No")) as server:
        with make("openai", server) as provider, pytest.raises(ProviderError) as caught:
            provider.chat(text)
    said = str(caught.value.server_message)

    assert "no such role" in said
    assert "\\u" not in said and text[:16] not in said


def test_the_evidence_of_what_a_model_cannot_do_is_cut_too() -> None:
    answer = http_answer({"error": f"{_LONG}: does not support tools"}, status="400 No")
    with ScriptedServer(only_asking(answer)) as server, make("ollama", server) as provider:
        with pytest.raises(CapabilityError) as caught:
            provider.chat(_LONG)

    assert caught.value.evidence == "[...]: does not support tools"
