"""Every field of a request, and what the server received for it."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

import pytest

from localproviders import (
    Audio,
    CompletionRequest,
    Image,
    LMStudioProvider,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
    Tool,
    UnsupportedError,
)
from localproviders.testing import (
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
)

ABILITIES = ("chat", "completion", "tools", "vision", "audio", "thinking", "insert")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
TOOL = Tool(name="look", description="Looks.", parameters=SCHEMA)
SENT_TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA},
}
PNG = Image.from_bytes(b"\x89PNG\r\n\x1a\n....")
WEBP = Image.from_bytes(b"RIFF\x00\x00\x00\x00WEBPVP8 ")
WAV = Audio.from_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")

#: A field is refused before anything is sent.
REFUSED = object()
#: A field is not for the server.
OURS: Mapping[str, Any] = {}


class Way(NamedTuple):
    server: Callable[..., FakeServer]
    provider: Callable[..., Any]


WAYS = {
    "ollama": Way(FakeOllama, OllamaProvider),
    "lmstudio": Way(FakeLMStudio, LMStudioProvider),
    "openai": Way(FakeOpenAICompatible, OpenAICompatibleProvider),
}


def _schema_format(schema: Mapping[str, Any]) -> Dict[str, Any]:
    named = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


# field, value, and what Ollama, LM Studio and a generic server receive for it
FIELDS: List[Tuple[str, Any, Any, Any, Any]] = [
    ("tools", (TOOL,), *[{"tools": [SENT_TOOL]}] * 3),
    ("tool_choice", "required", REFUSED, *[{"tool_choice": "required"}] * 2),
    (
        "tool_choice",
        "look",
        REFUSED,
        REFUSED,
        {"tool_choice": {"type": "function", "function": {"name": "look"}}},
    ),
    ("response_schema", SCHEMA, {"format": SCHEMA}, *[_schema_format(SCHEMA)] * 2),
    ("thinking", True, {"think": True}, {"reasoning_effort": "medium"}, REFUSED),
    ("thinking", False, {"think": False}, {"reasoning_effort": "none"}, REFUSED),
    ("thinking", "high", {"think": "high"}, *[{"reasoning_effort": "high"}] * 2),
    ("max_tokens", 7, {"options": {"num_predict": 7}}, *[{"max_tokens": 7}] * 2),
    ("temperature", 0.0, {"options": {"temperature": 0.0}}, *[{"temperature": 0.0}] * 2),
    ("top_p", 0.5, {"options": {"top_p": 0.5}}, *[{"top_p": 0.5}] * 2),
    ("top_k", 40, {"options": {"top_k": 40}}, *[{"top_k": 40}] * 2),
    ("min_p", 0.1, {"options": {"min_p": 0.1}}, *[{"min_p": 0.1}] * 2),
    ("seed", 3, {"options": {"seed": 3}}, *[{"seed": 3}] * 2),
    ("stop", ("a", "b"), {"options": {"stop": ["a", "b"]}}, *[{"stop": ["a", "b"]}] * 2),
    ("repeat_penalty", 1.1, {"options": {"repeat_penalty": 1.1}}, *[{"repeat_penalty": 1.1}] * 2),
    (
        "presence_penalty",
        -1.5,
        {"options": {"presence_penalty": -1.5}},
        *[{"presence_penalty": -1.5}] * 2,
    ),
    (
        "frequency_penalty",
        0.5,
        {"options": {"frequency_penalty": 0.5}},
        *[{"frequency_penalty": 0.5}] * 2,
    ),
    ("logprobs", True, {"logprobs": True}, REFUSED, {"logprobs": True}),
    (
        "top_logprobs",
        2,
        {"logprobs": True, "top_logprobs": 2},
        REFUSED,
        {"logprobs": True, "top_logprobs": 2},
    ),
    ("context_length", 512, {"options": {"num_ctx": 512}}, REFUSED, REFUSED),
    ("keep_alive", 60.0, {"keep_alive": 60.0}, {"ttl": 60}, REFUSED),
    ("keep_alive", float("inf"), {"keep_alive": -1}, REFUSED, REFUSED),
    ("keep_alive", 0, {"keep_alive": 0}, REFUSED, REFUSED),
    ("overflow", "error", {"truncate": False}, OURS, OURS),
    ("overflow", "truncate", {"truncate": True}, REFUSED, REFUSED),
    ("overflow", "allow", OURS, OURS, OURS),
    ("strict", False, OURS, OURS, OURS),
    ("allow_other_model", True, OURS, OURS, OURS),
    ("extra_body", {"draft_model": "d"}, *[{"draft_model": "d"}] * 3),
]
CASES = [
    (way, field, value, sent[list(WAYS).index(way)])
    for field, value, *sent in FIELDS
    for way in WAYS
]
#: What is sent for a request without any of these fields.
BARE: Mapping[str, Mapping[str, Any]] = {
    "ollama": {"stream": True, "truncate": False},
    "lmstudio": {"stream": True, "stream_options": {"include_usage": True}},
    "openai": {"stream": True, "stream_options": {"include_usage": True}},
}


def received_for(way: str, request: CompletionRequest) -> Dict[str, Any]:
    """Send a request, and give what the server received."""
    model = FakeModel(name="m", abilities=ABILITIES)
    with WAYS[way].server([model]) as fake:
        base = getattr(fake, "base_url", fake.url) if way == "openai" else fake.url
        with WAYS[way].provider(base, model="m") as provider:
            provider.complete(request)
        (received,) = [e.json for e in fake.exchanges if e.path.endswith(_ASKED)]
    return dict(received)


def ask(way: str, request: CompletionRequest) -> Dict[str, Any]:
    """Send a request, and give what the server received, without model and question."""
    received = received_for(way, request)
    assert received.pop("model") == "m"
    return {name: value for name, value in received.items() if name != "messages"}


_ASKED = ("/chat", "/chat/completions", "/generate", "/completions")


@pytest.mark.parametrize(("way", "field", "value", "sent"), CASES)
def test_a_field_reaches_the_server(way: str, field: str, value: Any, sent: Any) -> None:
    request = CompletionRequest(messages=(Message.user("Hi"),), **{field: value})
    if sent is REFUSED:
        with pytest.raises(UnsupportedError):
            ask(way, request)
        return
    received = ask(way, request)

    bare = dict(BARE[way])
    if field == "overflow":
        bare.pop("truncate", None)
    assert received == {**bare, **sent}


@pytest.mark.parametrize(("way", "field", "value", "sent"), [c for c in CASES if c[3] is REFUSED])
def test_what_the_server_cannot_take_is_left_out_with_a_warning(
    way: str, field: str, value: Any, sent: Any
) -> None:
    request = CompletionRequest(messages=(Message.user("Hi"),), strict=False, **{field: value})

    assert ask(way, request) == BARE[way]


def test_the_table_has_every_field() -> None:
    from dataclasses import fields

    asked = {"model", "messages", "prompt", "suffix"}
    assert {f.name for f in fields(CompletionRequest)} == asked | {row[0] for row in FIELDS}


@pytest.mark.parametrize(
    ("way", "sent"),
    [
        ("ollama", {"prompt": "One, two,", "raw": True}),
        ("lmstudio", {"prompt": "One, two,"}),
        ("openai", {"prompt": "One, two,"}),
    ],
)
def test_a_prompt_is_text_to_continue(way: str, sent: Mapping[str, Any]) -> None:
    assert ask(way, CompletionRequest(prompt="One, two,")) == {**BARE[way], **sent}


@pytest.mark.parametrize("way", ["ollama", "openai"])
def test_a_gap_is_filled_where_the_server_can(way: str) -> None:
    received = ask(way, CompletionRequest(prompt="def f():", suffix="return x"))

    assert received == {**BARE[way], "prompt": "def f():", "suffix": "return x"}


def test_lm_studio_cannot_fill_a_gap() -> None:
    with pytest.raises(UnsupportedError, match="suffix"):
        ask("lmstudio", CompletionRequest(prompt="def f():", suffix="return x"))


def question(way: str, message: Message) -> Dict[str, Any]:
    """Send one message, and give it as the server received it."""
    received = received_for(way, CompletionRequest(messages=(message,)))
    return dict(received["messages"][0])


def test_ollama_gets_pictures_and_sound_as_bare_base64() -> None:
    received = question("ollama", Message.user("What is this?", images=[PNG], audio=[WAV]))

    assert received == {
        "role": "user",
        "content": "What is this?",
        "images": [PNG.base64, WAV.base64],
    }


@pytest.mark.parametrize("way", ["lmstudio", "openai"])
def test_the_dialect_gets_pictures_as_data_uris(way: str) -> None:
    received = question(way, Message.user("What is this?", images=[PNG]))

    assert received["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PNG.data_uri}},
    ]


def test_the_dialect_gets_sound_as_a_part_of_its_own() -> None:
    received = question("openai", Message.user("Who speaks?", audio=[WAV]))

    assert received["content"][1] == {
        "type": "input_audio",
        "input_audio": {"data": WAV.base64, "format": "wav"},
    }


@pytest.mark.parametrize(
    "message", [Message.user("?", images=[WEBP]), Message.user("?", audio=[WAV])]
)
def test_lm_studio_is_not_sent_what_it_cannot_read(message: Message) -> None:
    with FakeLMStudio() as fake, LMStudioProvider(fake.url, model="qwen/qwen3-4b") as studio:
        with pytest.raises(UnsupportedError, match="cannot read"):
            studio.chat(message, strict=False)

        assert not fake.exchanges
