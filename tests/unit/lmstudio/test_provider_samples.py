"""LM Studio's published samples of its native routes, each parsed by the method for its route."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import pytest

from localproviders import (
    CapabilityError,
    CompletionResponse,
    LMStudioProvider,
    RequestRejectedError,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.recordings import LMSTUDIO, needs_lmstudio_samples

pytestmark = needs_lmstudio_samples

both_ways = pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])

LOADED, UNLOADED = "v1-models-load-docs.json", "v1-models-unload-docs.json"
NOT_LOADED = "error-404-v1-unload-not-loaded-0.4.25-garage.json"
JOB, STATUS = "v1-models-download-docs.json", "v1-models-download-status-docs.json"
STORED, DOCS = "v1-chat-stored-rlmstudio-0.4.25.json", "v1-chat-response-stateful-docs.json"
COLD = "v1-chat-stream-cold-load-reasoning-abbrev-anubis.sse"
EVENT = "v1-chat-event-{}-docs.json"
EVENTS = [
    EVENT.format(name)
    for name in (
        "chat-start",
        "model_load-progress",
        "prompt_processing-progress",
        "reasoning-delta",
        "tool_call-start",
        "tool_call-success",
        "message-delta",
        "chat-end",
    )
]
ERROR_EVENT = EVENT.format("error")

#: The samples that this module uses.
USED = {LOADED, UNLOADED, JOB, STATUS, STORED, DOCS, COLD, ERROR_EVENT, *EVENTS}


def text(name: str) -> str:
    return (LMSTUDIO / name).read_text(encoding="utf-8")


def serve(answers: Dict[str, bytes], one_byte: bool = False, instances: Any = ()) -> ScriptedServer:
    """Start a server with a response for each end of a path, and a model list for other paths."""
    models = [
        {"type": "llm", "key": key, "loaded_instances": instances}
        for key in ("openai/gpt-oss-20b", "ibm/granite-4-micro")
    ]

    def script(exchange: Exchange) -> List[bytes]:
        found = [body for end, body in answers.items() if exchange.path.endswith(end)]
        return found or [http_answer({"models": models})]

    return ScriptedServer(script, one_byte_writes=one_byte)


def stream(*names: str) -> bytes:
    """Return samples as an event stream, with names and with data over several lines."""
    frames = []
    for name in names:
        lines = "".join(f"data: {line}\n" for line in text(name).strip().splitlines())
        frames.append(f"event: {json.loads(text(name))['type']}\n{lines}\n")
    return http_answer("".join(frames), content_type="text/event-stream", chunked=True)


@both_ways
def test_load(one_byte: bool) -> None:
    with serve({"/load": http_answer(text(LOADED))}, one_byte) as server:
        with LMStudioProvider(server.url) as provider:
            loaded = provider.load("openai/gpt-oss-20b", context_length=16384, num_experts=4)

    assert (loaded.instance, loaded.context_length) == ("openai/gpt-oss-20b", 16384)
    assert (loaded.load_s, loaded.warnings) == (9.099, ())


@both_ways
@pytest.mark.parametrize(
    ("name", "status"), [(UNLOADED, "200 OK"), (NOT_LOADED, "404 Not Found")], ids=["is", "is not"]
)
def test_unload(name: str, status: str, one_byte: bool) -> None:
    answer = http_answer(text(name), status=status)
    with serve({"/unload": answer}, one_byte, [{"id": "x"}]) as server:
        with LMStudioProvider(server.url) as provider:
            provider.unload("openai/gpt-oss-20b")

    assert server.exchanges[-1].json == {"instance_id": "x"}


@both_ways
def test_download(one_byte: bool) -> None:
    answers = {"/download": http_answer(text(JOB)), "493c7c9ded": http_answer(text(STATUS))}
    with serve(answers, one_byte) as server, LMStudioProvider(server.url) as provider:
        job = provider.download("ibm/granite-4-micro")
        status = provider.download_status(job.job_id or "")

    assert (job.job_id, job.status, job.total_bytes) == (
        "job_493c7c9ded",
        "downloading",
        2279145003,
    )
    assert (status.is_done, status.completed_bytes, status.started_at) == (
        True,
        2279145003,
        job.started_at,
    )
    assert status.completed_at is not None
    assert status.completed_at.isoformat() == "2025-10-03T15:43:12.102000+00:00"


def chat(answer: bytes, one_byte: bool, model: str, **more: Any) -> CompletionResponse:
    with serve({"/api/v1/chat": answer}, one_byte) as server:
        with LMStudioProvider(server.url) as provider:
            return provider.stateful_chat("Hi", model=model, **more)


@both_ways
def test_a_stored_answer(one_byte: bool) -> None:
    response = chat(http_answer(text(STORED)), one_byte, "google/gemma-3-1b")

    assert response.text == "Hi."
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (15, 3)
    assert response.response_id == "resp_61f4b36a50a69b19bc133d2d364774c1e4a569fa1bfab1e0"


@both_ways
def test_an_answer_of_the_documentation(one_byte: bool) -> None:
    response = chat(http_answer(text(DOCS)), one_byte, "ibm/granite-4-micro")

    assert response.text.startswith("That's great!")
    assert (response.response_id, response.usage.total_tokens) == ("resp_abc123xyz...", None)


@both_ways
def test_a_stream_that_loads_and_thinks(one_byte: bool) -> None:
    answer = http_answer(text(COLD), content_type="text/event-stream", chunked=True, chunk_size=99)
    response = chat(answer, one_byte, "qwen/qwen3.6-35b-a3b")

    assert (response.text, response.thinking) == ("391", "Here's a thinking process")
    assert (response.usage.thinking_tokens, response.server_timings.load_s) == (70, 24.146)
    assert response.response_id is None


@both_ways
def test_every_event_of_the_documentation(one_byte: bool) -> None:
    with serve({"/api/v1/chat": stream(*EVENTS)}, one_byte) as server:
        with LMStudioProvider(server.url, model="openai/gpt-oss-20b") as provider:
            opened = provider.stateful_stream("Hi")
            chunks = list(opened)

    told = [(c.progress.status, c.progress.fraction) for c in chunks if c.progress]
    assert told == [("loading the model", 0.65), ("reading the prompt", 0.5)]
    assert (opened.text, opened.thinking) == ("The current", "Need to")
    tools = [(chunk.raw or {}).get("tool") for chunk in chunks]
    assert tools.count("model_search") == 2
    response = opened.result()
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (329, 268)
    assert response.response_id == "resp_02b2017dbc06c12bfc353a2ed6c2b802f8cc682884bb5716"


@both_ways
def test_an_error_event(one_byte: bool) -> None:
    answer = stream(EVENT.format("message-delta"), ERROR_EVENT, EVENT.format("chat-end"))
    with pytest.raises(RequestRejectedError, match='"model" is required') as caught:
        chat(answer, one_byte, "openai/gpt-oss-20b")

    assert caught.value.partial == "The current"


# name of a list, and what is loaded: name, window
LISTS: Dict[str, Any] = {
    "v1-models-list-one-loaded-rlmstudio-2026-03.json": [("google/gemma-3-1b", 4096)],
    "v1-models-list-docs.json": [("google/gemma-4-26b-a4b", 4096)],
    "v0-models-list-docs.json": [],
    "v0-models-empty-jit-off-bugtracker-816.json": [],
    "v0-models-loaded-vs-max-2026-08-plowshare.json": [
        ("nomic-embed-text", 2048),
        ("qwen3.5-9b", 128000),
    ],
}


@pytest.mark.parametrize("name", LISTS)
def test_what_a_list_says_is_loaded(name: str) -> None:
    missing = http_answer(text("error-200-unexpected-endpoint-ollama-tags-garage.json"))

    def script(exchange: Exchange) -> List[bytes]:
        return [http_answer(text(name)) if name[:2] in exchange.path else missing]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        loaded = provider.loaded_models()

    assert [(model.name, model.context_length) for model in loaded] == LISTS[name]


def test_a_choice_of_thinking_follows_the_list() -> None:
    def script(exchange: Exchange) -> List[bytes]:
        listing = http_answer(text("v1-models-list-docs.json"))
        return [listing if exchange.method == "GET" else http_answer(text(DOCS))]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:

        def ask(wanted: Any) -> None:
            model = "google/gemma-4-26b-a4b"
            provider.stateful_chat("Hi", model=model, thinking=wanted, allow_other_model=True)

        ask(False)
        assert server.exchanges[-1].json["reasoning"] == "off"
        with pytest.raises(CapabilityError, match="accepts off, on"):
            ask("low")
