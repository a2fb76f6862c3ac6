"""Recorded responses about models, each parsed by the method for its route."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Type, Union

import pytest

from localproviders import (
    CapabilityError,
    ModelNotFoundError,
    OllamaProvider,
    Progress,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    ServerError,
    StreamInterruptedError,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support import recordings

both_ways = pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])

#: Answers by method and path: a recording's name, or bytes.
Script = Mapping[str, Union[str, bytes]]

PS = http_answer({"models": [{"name": "gemma3:270m", "context_length": 512}]})


def serve(answers: Script, one_byte: bool = False) -> ScriptedServer:
    def script(exchange: Exchange) -> List[bytes]:
        answer = answers.get(f"{exchange.method} {exchange.path}", "notfound")
        return [recordings.ollama_answer(answer) if isinstance(answer, str) else answer]

    return ScriptedServer(script, one_byte_writes=one_byte)


LOOK = {"POST /api/show": "show", "GET /api/tags": "tags"}


def make(server: ScriptedServer) -> OllamaProvider:
    return OllamaProvider(server.url, locality="any", retry=RetryPolicy(first_wait_s=0))


@both_ways
def test_the_server_tells_of_itself(one_byte: bool) -> None:
    answers = {"GET /api/version": "version", "GET /api/status": "status", "GET /api/ps": "ps"}
    with serve(answers, one_byte) as server, make(server) as provider:
        assert provider.version() == "0.32.15"
        assert provider.cloud_disabled() is True
        assert provider.loaded_models() == []
        assert {exchange.connection for exchange in server.exchanges} == {1}


def test_an_old_server_has_no_status() -> None:
    with serve({}) as server, make(server) as provider:
        assert provider.cloud_disabled() is None


@both_ways
@pytest.mark.parametrize("recording", ["root", "head_tags"])
def test_a_page_is_no_version(one_byte: bool, recording: str) -> None:
    answer = recordings.ollama_answer(recording)
    if recording == "head_tags":
        answer = answer.rstrip() + b"\r\nContent-Length: 0\r\n\r\n"
    with serve({"GET /api/version": answer}, one_byte) as server, make(server) as provider:
        with pytest.raises(ServerError):
            provider.version()


@pytest.mark.sample(1)
@both_ways
def test_a_model_is_described(one_byte: bool) -> None:
    with serve(LOOK, one_byte) as server, make(server) as provider:
        details = provider.show("gemma3")
        info = provider.model_info("GEMMA3:270m")
    assert details.parameters["stop"] == ["<end_of_turn>"]
    assert (info.name, info.size_bytes, info.quantization) == ("gemma3:270m", 253113638, "Q4_K_M")
    assert details.info.name == "gemma3:latest"  # the requested name, because no list contains it


@pytest.mark.sample(1)
@both_ways
def test_a_pull_is_followed_to_its_end(one_byte: bool) -> None:
    name = "http://127.0.0.1:5055/library/gemma3:270m"
    reports: List[Progress] = []
    with serve({"POST /api/pull": "pull_ok", **LOOK}, one_byte) as server, make(server) as provider:
        info = provider.pull(name, insecure=True, on_progress=reports.append)
    assert server.exchanges[0].json == {"model": name, "stream": True, "insecure": True}
    assert info.name == "127.0.0.1:5055/library/gemma3:270m"
    assert [r.status for r in reports[-3:]] == [
        "verifying sha256 digest", "writing manifest", "success",
    ]  # fmt: skip
    assert [r.completed_bytes for r in reports if r.digest][-2:] == [253113024, 18]
    fractions = [r.fraction or 0 for r in reports if r.total_bytes == 253113024]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert {exchange.connection for exchange in server.exchanges} == {1}


@pytest.mark.sample(1)
@both_ways
def test_a_creation_is_followed_to_its_end(one_byte: bool) -> None:
    reports: List[Progress] = []
    answers = {"POST /api/create": "create_from", **LOOK}
    with serve(answers, one_byte) as server, make(server) as provider:
        provider.create(
            "tmp-made",
            from_model="gemma3:270m",
            system="be brief",
            parameters={"num_ctx": 512},
            on_progress=reports.append,
        )
    assert server.exchanges[0].json == {
        "model": "tmp-made", "stream": True, "from": "gemma3:270m", "system": "be brief",
        "parameters": {"num_ctx": 512},
    }  # fmt: skip
    assert len(reports) == 7
    assert reports[0].status.startswith("using existing layer sha256:a5fd")


@both_ways
def test_copying_and_deleting_have_nothing_to_say(one_byte: bool) -> None:
    answers = {"POST /api/copy": "copy", "DELETE /api/delete": "delete"}
    with serve(answers, one_byte) as server, make(server) as provider:
        provider.copy("all-minilm", "tmp-copy")
        provider.delete("tmp-copy")
    assert {exchange.connection for exchange in server.exchanges} == {1}


@both_ways
def test_a_model_is_loaded_and_unloaded(one_byte: bool) -> None:
    seen = iter([recordings.ollama_answer("ps"), PS, PS, recordings.ollama_answer("ps")])
    done = iter(["chat_load", "chat_unload"])

    def script(exchange: Exchange) -> List[bytes]:
        return [next(seen) if exchange.path == "/api/ps" else recordings.ollama_answer(next(done))]

    with ScriptedServer(script, one_byte_writes=one_byte) as server, make(server) as provider:
        with provider.keep_loaded("gemma3:270m") as model:
            assert (model.name, model.context_length) == ("gemma3:270m", 512)
    assert [e.path for e in server.exchanges] == [
        "/api/ps", "/api/chat", "/api/ps", "/api/ps", "/api/chat", "/api/ps",
    ]  # fmt: skip


def test_a_load_by_way_of_generate_reads_the_same() -> None:
    seen = iter([recordings.ollama_answer("ps"), PS])

    def script(exchange: Exchange) -> List[bytes]:
        return [
            next(seen) if exchange.path == "/api/ps" else recordings.ollama_answer("generate_load")
        ]

    with ScriptedServer(script) as server, make(server) as provider:
        assert provider.load("gemma3:270m").context_length == 512


def test_an_embedding_model_is_loaded() -> None:
    ps = http_answer({"models": [{"name": "all-minilm:latest"}]})
    refusal = http_answer({"error": '"all-minilm" does not support chat'}, status="400 Bad Request")
    seen = iter([recordings.ollama_answer("ps"), ps])
    other = {"/api/chat": refusal, "/api/embed": recordings.ollama_answer("embed_empty")}

    def script(exchange: Exchange) -> List[bytes]:
        return [next(seen) if exchange.path == "/api/ps" else other[exchange.path]]

    with ScriptedServer(script) as server, make(server) as provider:
        assert provider.load("all-minilm").name == "all-minilm:latest"


def test_a_blob_that_is_missing_is_uploaded(tmp_path: Any) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    created = http_answer(b"", status="201 Created")
    answers = {"POST /api/create": "create_from", **LOOK}

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.path.startswith("/api/blobs/"):
            head = recordings.ollama_answer("blob_head_404")
            # A HEAD response states the length of a body that is not sent.
            head = head.replace(b"Content-Length: 0", b"Content-Length: 102")
            return [head if exchange.method == "HEAD" else created]
        return [recordings.ollama_answer(answers[f"{exchange.method} {exchange.path}"])]

    with ScriptedServer(script) as server, make(server) as provider:
        provider.create("mine", files=tmp_path / "a.gguf")
    assert [e.method for e in server.exchanges] == ["HEAD", "POST", "POST", "POST", "GET"]
    assert server.exchanges[1].body == b"GGUF"
    assert {exchange.connection for exchange in server.exchanges} == {1}


# By name: the call, the error class, a part of the server's message, the number of requests.
ERRORS: Dict[str, Any] = {
    "pull_404": (lambda p: p.pull("nope"), ModelNotFoundError, "file does not exist", 2),
    "pull_404_nostream": (lambda p: p.pull("nope"), ModelNotFoundError, "file does not exist", 2),
    "pull_nohost": (lambda p: p.pull("nope"), ServerError, "connection refused", 3),
    "create_from_404": (lambda p: p.create("x", from_model="nope"), ServerError, "refused", 1),
    "copy_404": (lambda p: p.copy("nope", "x"), ModelNotFoundError, "not found", 2),
    "delete_404": (lambda p: p.delete("nope"), ModelNotFoundError, "not found", 3),
    "show_404": (lambda p: p.model_info("nope"), ModelNotFoundError, "not found", 2),
    "keep_alive_bad": (lambda p: p.show("m"), RequestRejectedError, "invalid duration", 1),
    "embed_gemma": (lambda p: p.show("m"), CapabilityError, "does not support", 2),
    "chat_stream": (lambda p: p.pull("m"), ServerError, None, 1),
    "copy": (lambda p: p.pull("m"), StreamInterruptedError, None, 3),
}


@pytest.mark.sample(7)
@both_ways
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_has_its_class_and_the_servers_words(name: str, one_byte: bool) -> None:
    call, expected, words, times = ERRORS[name]
    answer = recordings.ollama_answer(name)
    with ScriptedServer(answer, one_byte_writes=one_byte) as server, make(server) as provider:
        error: Type[ProviderError] = expected
        ask: Callable[[OllamaProvider], Any] = call
        with pytest.raises(error) as caught:
            ask(provider)
    assert words is None or words in str(caught.value.server_message)
    assert (caught.value.provider, caught.value.endpoint) == ("ollama", server.url)
    assert len(server.exchanges) == times
