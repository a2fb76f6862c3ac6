"""LM Studio's published samples, parsed by the provider, if the folder with them exists."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Tuple, Type

import pytest

from localproviders import (
    AuthenticationError,
    ContextOverflowError,
    LMStudioProvider,
    ModelLoadError,
    ModelNotFoundError,
    OpenAICompatibleProvider,
    ProviderError,
    RequestRejectedError,
    ServerError,
    UnsupportedError,
    WrongModelError,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.recordings import LMSTUDIO, needs_lmstudio_samples
from tests.unit.lmstudio.test_provider_samples import USED as OWN_ROUTES

pytestmark = needs_lmstudio_samples

both_ways = pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])


def answer(name: str, status: str = "200 OK") -> bytes:
    data = (LMSTUDIO / name).read_bytes()
    if name.endswith(".http"):
        head, _, body = data.replace(b"\r\n", b"\n").partition(b"\n\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length
        return head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body[: int(length.group(1))]
    if name.endswith(".sse"):
        return http_answer(data, content_type="text/event-stream", chunked=True, chunk_size=999)
    return http_answer(data, status=status)


def serve(sample: bytes, one_byte: bool = False) -> ScriptedServer:
    listing = http_answer(
        {
            "models": [
                {
                    "type": "llm",
                    "key": "qwen/qwen3-4b-2507",
                    "loaded_instances": [{"id": "my-qwen"}],
                }
            ]
        }
    )

    def script(exchange: Exchange) -> List[bytes]:
        return [sample if exchange.method == "POST" else listing]

    return ScriptedServer(script, one_byte_writes=one_byte)


# The answer of a stream of 650 records with text, as a test joins it from the records.
_LONG = "v0-chat-stream-text-long-phplmstudio.sse"

# name: model asked for, text (None: see `_LONG`), finish reason, prompt tokens
ANSWERS: Dict[str, Tuple[str, Any, str, Any]] = {
    "openai-chat-alias-instance-id-rlmstudio.json": ("qwen/qwen3-4b-2507", "hi", "stop", 14),
    "openai-chat-schema-gemma3-1b-rlmstudio.json": (
        "google/gemma-3-1b",
        '{ "score": 3 }',
        "stop",
        26,
    ),
    "openai-chat-drafts-in-stats-2026-09-serverlog.json": (
        "flash-next-test",
        "CREATE OR REPLACE FUNCTION SECRET-SQL(p_od DATE) RETURN NUMBER IS\n"
        '  "usage": {\nBEGIN\nEND;',
        "stop",
        109,
    ),
    "openai-chat-tool-call-docs.json": (
        "lmstudio-community/qwen2.5-7b-instruct",
        "",
        "tool_calls",
        263,
    ),
    "v0-chat-tool-single-response-phplmstudio.json": ("qwen2.5-7b-instruct", "", "tool_calls", 207),
    _LONG: ("qwen2.5-7b-instruct", None, "stop", None),
}

# name: tokens of the answer, tool calls
MORE: Dict[str, Tuple[int, List[Any]]] = {
    "openai-chat-alias-instance-id-rlmstudio.json": (2, []),
    "openai-chat-schema-gemma3-1b-rlmstudio.json": (9, []),
    "openai-chat-drafts-in-stats-2026-09-serverlog.json": (171, []),
    "openai-chat-tool-call-docs.json": (
        34,
        [
            (
                "365174485",
                "search_products",
                {"query": "dell", "category": "electronics", "max_price": 50},
            )
        ],
    ),
    "v0-chat-tool-single-response-phplmstudio.json": (
        27,
        [("822361049", "get_current_weather", {"location": "London", "unit": "celsius"})],
    ),
}


@pytest.mark.sample(1)
@both_ways
@pytest.mark.parametrize("name", ANSWERS)
def test_answer_comes_out_right(name: str, one_byte: bool) -> None:
    model, text, finish, prompt = ANSWERS[name]
    with serve(answer(name), one_byte) as server, LMStudioProvider(server.url) as provider:
        response = provider.chat("Hi", model=model, timeout=60)

    assert response.text == (_long_text() if text is None else text)
    assert response.thinking == ""
    assert (response.finish_reason, response.usage.prompt_tokens) == (finish, prompt)
    calls = [(call.id, call.name, call.arguments) for call in response.tool_calls]
    assert (response.usage.completion_tokens, calls) == MORE.get(name, (None, []))


def _long_text() -> str:
    """Join the text of the records, without the code of the package."""
    pieces = re.findall(r'"content":("(?:[^"\\]|\\.)*")', (LMSTUDIO / _LONG).read_text("utf-8"))
    text = "".join(map(json.loads, pieces))
    assert text.startswith("In the quaint village of Willowbrook") and text.endswith(" it.")
    return text


# Responses of /api/v0, which have the form of the OpenAI dialect.
WHOLE = ("v0-chat-completions-docs.json", "v0-chat-standard-response-phplmstudio.json")


@both_ways
@pytest.mark.parametrize("name", WHOLE)
def test_whole_answer_of_the_old_api(name: str, one_byte: bool) -> None:
    sample = json.loads((LMSTUDIO / name).read_text())
    with serve(answer(name), one_byte) as server, LMStudioProvider(server.url) as provider:
        response = provider.chat("Hi", model=sample["model"])

    assert response.text == sample["choices"][0]["message"]["content"]
    assert response.finish_reason == sample["choices"][0]["finish_reason"]
    assert response.usage.total_tokens == sample["usage"]["total_tokens"]


# Responses of other routes. A chat that receives one raises an error. Samples of routes that a
# method uses have further tests.
LATER = (
    "lmstudio-greeting.json",
    "openai-responses-plain-rlmstudio.json",
)


@pytest.mark.sample(8)
@both_ways
@pytest.mark.parametrize("name", [*LATER, *sorted(OWN_ROUTES)])
def test_answers_of_other_routes_are_no_answer(name: str, one_byte: bool) -> None:
    with serve(answer(name), one_byte) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(ProviderError) as caught:
            provider.chat("Hi", model="m")

    assert caught.value.partial == ""


DIALECT_LIST = "openai-models-list-2-models.json"


def test_the_dialects_list() -> None:
    with ScriptedServer(answer(DIALECT_LIST)) as server:
        with OpenAICompatibleProvider(server.url + "/v1") as provider:
            chat, embedding = provider.list_models()

    assert (chat.name, chat.capabilities.embeddings) == ("qwen/qwen3.5-9b", False)
    assert embedding.capabilities.embeddings is True
    assert embedding.capabilities.evidence["embeddings"].source == "inferred"


LISTS = (
    "v1-models-list-one-loaded-rlmstudio-2026-03.json",
    "v1-models-list-docs.json",
    "v0-models-list-docs.json",
    "v0-models-empty-jit-off-bugtracker-816.json",
    "v0-models-loaded-vs-max-2026-08-plowshare.json",
)
#: The end of a stream, without the words ``data:``.
TAIL = "openai-chat-stream-tail-no-usage-bugtracker-676.txt"
SPECIAL = {
    TAIL,
    "openai-chat-unknown-model-answered-by-loaded-rlmstudio.json",
    DIALECT_LIST,
}


def test_every_sample_is_used() -> None:
    there = {path.name for path in LMSTUDIO.iterdir()} - {"README.md"}

    assert there == {*ANSWERS, *WHOLE, *ERRORS, *LATER, *LISTS, *SPECIAL, *OWN_ROUTES}


ERRORS: Dict[str, Tuple[str, Type[ProviderError]]] = {
    "error-200-unexpected-endpoint-bugtracker-618.http": ("", UnsupportedError),
    "error-200-unexpected-endpoint-ollama-tags-garage.json": ("200 OK", UnsupportedError),
    "error-400-context-overflow-nkeep-openclaude-353.json": (
        "400 Bad Request",
        ContextOverflowError,
    ),
    "error-400-model-crashed-plain-string.json": ("400 Bad Request", ModelLoadError),
    "error-400-no-models-loaded-nested.json": ("400 Bad Request", ModelNotFoundError),
    "error-400-openai-chat-model-not-found-rlmstudio.http": ("", ModelNotFoundError),
    "error-400-response-format-json-object.json": ("400 Bad Request", RequestRejectedError),
    "error-401-token-required-opencode-lmstudio-41.json": ("401 Unauthorized", AuthenticationError),
    "error-404-v1-unload-not-loaded-0.4.25-garage.json": ("404 Not Found", ModelNotFoundError),
    "error-sse-chunk-compute-error-goai-110.json": ("200 OK", ServerError),
}


@pytest.mark.sample(9)
@both_ways
@pytest.mark.parametrize("name", ERRORS)
def test_error_has_its_class(name: str, one_byte: bool) -> None:
    status, error = ERRORS[name]
    with serve(answer(name, status), one_byte) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(error) as caught:
            provider.chat("Hi", model="m")

    assert caught.value.server_message


def test_overflow_names_both_numbers() -> None:
    sample = answer("error-400-context-overflow-nkeep-openclaude-353.json", "400 Bad Request")
    with serve(sample) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(ContextOverflowError) as caught:
            provider.chat("Hi", model="m")

    assert (caught.value.prompt_tokens, caught.value.context_length) == (13055, 4096)


def test_an_unknown_model_answered_by_the_loaded_one_is_an_error() -> None:
    sample = answer("openai-chat-unknown-model-answered-by-loaded-rlmstudio.json")
    with serve(sample) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(WrongModelError) as caught:
            provider.chat("Hi", model="not-a-model")

    assert caught.value.served == "google/gemma-3-1b"


def tail() -> bytes:
    """Return the end of a stream as a complete response."""
    lines = (LMSTUDIO / TAIL).read_text()
    events = "".join(f"data: {line}\n\n" for line in lines.splitlines() if line)
    return http_answer(events, content_type="text/event-stream", chunked=True)


@both_ways
def test_stream_tail_without_usage(one_byte: bool) -> None:
    with serve(tail(), one_byte) as server, LMStudioProvider(server.url) as provider:
        response = provider.chat("Hi", model="gemma-2-2b-it-abliterated")

    assert response.text == "\n"
    assert (response.finish_reason, response.usage.prompt_tokens) == ("stop", None)


@pytest.mark.parametrize("name", LISTS)
def test_lists(name: str) -> None:
    path = f"/api/{name[:2]}/models"
    sample = answer(name)
    missing = answer("error-200-unexpected-endpoint-ollama-tags-garage.json")

    def script(exchange: Exchange) -> List[bytes]:
        return [sample if exchange.path == path else missing]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        models = provider.list_models()

    data = json.loads((LMSTUDIO / name).read_text())
    entries = data.get("models", data.get("data"))
    assert [info.name for info in models] == [
        entry.get("key", entry.get("id")) for entry in entries
    ]
    for info, entry in zip(models, entries):
        assert info.capabilities.embeddings == entry["type"].startswith("embedding")
        assert info.capabilities.max_context_length == entry["max_context_length"]
        if "loaded_context_length" in entry:
            assert info.capabilities.loaded_context_length == entry["loaded_context_length"]
