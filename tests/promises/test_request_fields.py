"""Each field of a request, and the fields of the body that the server receives for it."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

import pytest

from localproviders import (
    Audio,
    CompletionRequest,
    Image,
    LlamaCppProvider,
    LMStudioProvider,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
    Tool,
    UnsupportedError,
)
from localproviders.testing import (
    FakeLlamaCpp,
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

#: In the table: the field is refused before a request is sent.
REFUSED = object()
#: In the table: the field is not sent, because only this package uses it.
NOT_SENT: Mapping[str, Any] = {}


class Backend(NamedTuple):
    """A fake server and its provider."""

    server: Callable[..., FakeServer]
    provider: Callable[..., Any]


BACKENDS = {
    "ollama": Backend(FakeOllama, OllamaProvider),
    "lmstudio": Backend(FakeLMStudio, LMStudioProvider),
    "openai": Backend(FakeOpenAICompatible, OpenAICompatibleProvider),
    "llamacpp": Backend(FakeLlamaCpp, LlamaCppProvider),
}
#: The fields that llama.cpp's server receives where a generic server receives nothing.
LLAMA_CPP: Mapping[str, Mapping[str, Any]] = {
    "grammar": {"grammar": 'root ::= "a"'},
    "thinking_budget": {"thinking_budget_tokens": 9},
    # Only True is not sent to a generic server.
    "thinking=True": {"chat_template_kwargs": {"enable_thinking": True}},
}


def _schema_format(schema: Mapping[str, Any]) -> Dict[str, Any]:
    named = {"name": "answer", "strict": False, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


WITHOUT_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}

# Field, value, and the fields that Ollama, LM Studio and a generic server receive for it.
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
    ("thinking", False, {"think": False}, {"reasoning_effort": "none"}, WITHOUT_THINKING),
    ("thinking", "high", {"think": "high"}, *[{"reasoning_effort": "high"}] * 2),
    ("grammar", 'root ::= "a"', REFUSED, REFUSED, REFUSED),
    ("thinking_budget", 9, REFUSED, REFUSED, REFUSED),
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
    ("context_length", 512, {"options": {"num_ctx": 512}, "shift": False}, REFUSED, REFUSED),
    ("keep_alive", 60.0, {"keep_alive": 60.0}, {"ttl": 60}, REFUSED),
    ("keep_alive", float("inf"), {"keep_alive": -1}, REFUSED, REFUSED),
    ("keep_alive", 0, {"keep_alive": 0}, REFUSED, REFUSED),
    ("overflow", "error", {"truncate": False}, NOT_SENT, NOT_SENT),
    ("overflow", "truncate", {"truncate": True}, REFUSED, REFUSED),
    ("overflow", "allow", NOT_SENT, NOT_SENT, NOT_SENT),
    ("strict", False, NOT_SENT, NOT_SENT, NOT_SENT),
    ("allow_other_model", True, NOT_SENT, NOT_SENT, NOT_SENT),
    ("expect_digest", "a" * 12, NOT_SENT, REFUSED, REFUSED),
    ("extra_body", {"draft_model": "d"}, *[{"draft_model": "d"}] * 3),
]
_PLACES = {name: place for place, name in enumerate(BACKENDS)}


def _of_llama_cpp(field: str, value: Any, sent: List[Any]) -> Any:
    return LLAMA_CPP.get(f"{field}={value}", LLAMA_CPP.get(field, sent[-1]))


CASES = [
    (backend, field, value, [*sent, _of_llama_cpp(field, value, sent)][_PLACES[backend]])
    for field, value, *sent in FIELDS
    for backend in BACKENDS
]
#: The body of a request without any of these fields.
BARE: Mapping[str, Mapping[str, Any]] = {
    "ollama": {"stream": True, "truncate": False},
    "lmstudio": {"stream": True, "stream_options": {"include_usage": True}},
    "openai": {"stream": True, "stream_options": {"include_usage": True}},
    "llamacpp": {
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    },
}


def received_body(backend: str, request: CompletionRequest) -> Dict[str, Any]:
    """Send a request and return the body that the server received."""
    model = FakeModel(name="m", abilities=ABILITIES, digest="a" * 64)
    with BACKENDS[backend].server([model]) as fake:
        base = getattr(fake, "base_url", fake.url) if backend == "openai" else fake.url
        with BACKENDS[backend].provider(base, model="m") as provider:
            provider.complete(request)
        (received,) = [e.json for e in fake.exchanges if e.path.endswith(_CHAT_PATHS)]
    return dict(received)


def received_fields(backend: str, request: CompletionRequest) -> Dict[str, Any]:
    """Send a request and return the received body without model and messages."""
    received = received_body(backend, request)
    assert received.pop("model") == "m"
    return {name: value for name, value in received.items() if name != "messages"}


_CHAT_PATHS = ("/chat", "/chat/completions", "/generate", "/completions", "/infill")


@pytest.mark.sample(15)
@pytest.mark.parametrize(("backend", "field", "value", "sent"), CASES)
def test_a_field_reaches_the_server(backend: str, field: str, value: Any, sent: Any) -> None:
    request = CompletionRequest(messages=(Message.user("Hi"),), **{field: value})
    if sent is REFUSED:
        with pytest.raises(UnsupportedError):
            received_fields(backend, request)
        return
    received = received_fields(backend, request)

    bare = dict(BARE[backend])
    if field == "overflow":
        bare.pop("truncate", None)
    assert received == {**bare, **sent}


@pytest.mark.parametrize(
    ("backend", "field", "value", "sent"),
    # Without its check of the digest, a request must not be sent.
    [case for case in CASES if case[3] is REFUSED and case[1] != "expect_digest"],
)
def test_an_unsupported_field_is_left_out_if_the_request_is_not_strict(
    backend: str, field: str, value: Any, sent: Any
) -> None:
    request = CompletionRequest(messages=(Message.user("Hi"),), strict=False, **{field: value})

    assert received_fields(backend, request) == BARE[backend]


def test_the_table_has_every_field() -> None:
    from dataclasses import fields

    asked = {"model", "messages", "prompt", "suffix"}
    assert {f.name for f in fields(CompletionRequest)} == asked | {row[0] for row in FIELDS}


@pytest.mark.parametrize(
    ("backend", "sent"),
    [
        ("ollama", {"prompt": "One, two,", "raw": True}),
        ("lmstudio", {"prompt": "One, two,"}),
        ("openai", {"prompt": "One, two,"}),
        ("llamacpp", {"prompt": "One, two,"}),
    ],
)
def test_a_prompt_is_text_to_continue(backend: str, sent: Mapping[str, Any]) -> None:
    assert received_fields(backend, CompletionRequest(prompt="One, two,")) == {
        **BARE[backend],
        **sent,
    }


@pytest.mark.parametrize("backend", ["ollama", "openai"])
def test_a_suffix_is_sent_if_the_server_supports_it(backend: str) -> None:
    received = received_fields(backend, CompletionRequest(prompt="def f():", suffix="return x"))

    assert received == {**BARE[backend], "prompt": "def f():", "suffix": "return x"}


def test_llama_cpp_fills_a_gap_by_its_own_route() -> None:
    request = CompletionRequest(prompt="def f():", suffix="return x", top_logprobs=2)
    received = received_fields("llamacpp", request)

    assert received == {
        "stream": True,
        "return_progress": True,
        "input_prefix": "def f():",
        "input_suffix": "return x",
        "n_probs": 2,
    }


def test_a_suffix_is_refused_for_lm_studio() -> None:
    with pytest.raises(UnsupportedError, match="suffix"):
        received_fields("lmstudio", CompletionRequest(prompt="def f():", suffix="return x"))


def received_message(backend: str, message: Message) -> Dict[str, Any]:
    """Send one message and return it as the server received it."""
    received = received_body(backend, CompletionRequest(messages=(message,)))
    return dict(received["messages"][0])


def test_ollama_receives_images_and_audio_as_base64() -> None:
    received = received_message("ollama", Message.user("What is this?", images=[PNG], audio=[WAV]))

    assert received == {
        "role": "user",
        "content": "What is this?",
        "images": [PNG.base64, WAV.base64],
    }


@pytest.mark.parametrize("backend", ["lmstudio", "openai"])
def test_the_openai_dialect_receives_images_as_data_uris(backend: str) -> None:
    received = received_message(backend, Message.user("What is this?", images=[PNG]))

    assert received["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PNG.data_uri}},
    ]


def test_the_openai_dialect_receives_audio_as_a_content_part() -> None:
    received = received_message("openai", Message.user("Who speaks?", audio=[WAV]))

    assert received["content"][1] == {
        "type": "input_audio",
        "input_audio": {"data": WAV.base64, "format": "wav"},
    }


@pytest.mark.parametrize(
    "message", [Message.user("?", images=[WEBP]), Message.user("?", audio=[WAV])]
)
def test_media_that_lm_studio_cannot_read_are_refused(message: Message) -> None:
    with FakeLMStudio() as fake, LMStudioProvider(fake.url, model="qwen/qwen3-4b") as studio:
        with pytest.raises(UnsupportedError, match="cannot read"):
            studio.chat(message, strict=False)

        assert not fake.exchanges
