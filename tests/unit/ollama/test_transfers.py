"""Creating, pushing, copying and deleting models; details of models and of the server."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any, List

import pytest
import responses

from localproviders import (
    AuthenticationError,
    ConfigurationError,
    LimitError,
    Limits,
    LocalityError,
    Message,
    ModelNotFoundError,
    OllamaProvider,
    Progress,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    StreamInterruptedError,
)
from localproviders.testing import FakeModel, FakeOllama, ScriptedServer, http_answer
from tests.support.fake_time import FakeTime

PROMPT = "A system text that no error may quote"


def last(server: FakeOllama, path: str) -> Any:
    return [e for e in server.exchanges if e.path == path][-1].json


# --- the server itself ----------------------------------------------------------------------


def test_the_version_is_the_servers(server: FakeOllama, ollama: OllamaProvider) -> None:
    assert ollama.version() == server.version


@pytest.mark.parametrize("disabled", [True, False, None])
def test_an_old_server_does_not_tell_of_its_cloud(
    server: FakeOllama, ollama: OllamaProvider, disabled: Any
) -> None:
    server.cloud_disabled = disabled
    assert ollama.cloud_disabled() is disabled


def test_only_a_missing_page_means_an_old_server() -> None:
    with ScriptedServer(http_answer("no", status="405 Method Not Allowed")) as server:
        with pytest.raises(ProviderError):
            OllamaProvider(server.url).cloud_disabled()


@pytest.mark.parametrize("answer", [{}, {"version": 7}, [], "x"])
def test_another_answer_has_no_version(answer: Any) -> None:
    with ScriptedServer(http_answer(answer)) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(ProtocolError):
            provider.version()


# --- details --------------------------------------------------------------------------------


def test_a_model_is_described_by_details_and_list(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    info = ollama.model_info("LLAMA3.2:local")
    assert (info.name, info.size_bytes, info.architecture) == (
        "llama3.2:latest", server.size_of(server.models[0]), "llama",
    )  # fmt: skip
    assert info.capabilities.vision is False
    assert [e.path for e in server.exchanges] == ["/api/show", "/api/tags", "/api/ps"]
    assert info.capabilities.loaded_context_length is None
    assert len({e.connection for e in server.exchanges}) == 1


def test_a_loaded_model_has_its_allocated_window(ollama: OllamaProvider) -> None:
    ollama.load("llama3.2", context_length=1100)
    known = ollama.model_capabilities("llama3.2")
    assert known.loaded_context_length == 1280
    assert known.evidence["loaded_context_length"].source == "inferred"
    ollama.load("llama3.2", context_length=2048)
    known = ollama.model_capabilities("LLAMA3.2:latest")
    assert known.loaded_context_length == 2048
    assert known.evidence["loaded_context_length"].source == "reported"
    assert known.max_context_length == 131072


@pytest.mark.parametrize("fault", ["status 500 with JSON", "status 404 with text", "not JSON"])
def test_without_a_list_of_loaded_models_the_window_is_unknown(
    server: FakeOllama, ollama: OllamaProvider, fault: str
) -> None:
    server.break_next(fault, times=None, path="/api/ps")
    assert ollama.model_info("llama3.2").capabilities.loaded_context_length is None


def test_the_long_lists_come_only_where_asked(ollama: OllamaProvider) -> None:
    short, long = ollama.show("llama3.2"), ollama.show("llama3.2", verbose=True)
    assert short.metadata["tokenizer.ggml.tokens"] is None
    assert long.metadata["tokenizer.ggml.tokens"] == ["<s>", "</s>"]
    assert short.info == long.info


@pytest.mark.parametrize("verb", ["model_info", "show", "model_capabilities", "delete"])
def test_a_missing_model_is_not_found(ollama: OllamaProvider, verb: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        getattr(ollama, verb)("nope")
    assert (caught.value.model, caught.value.status) == ("nope", 404)


# --- copies and deletions -------------------------------------------------------------------


def test_a_copy_and_a_deletion_rename(server: FakeOllama, ollama: OllamaProvider) -> None:
    ollama.copy("llama3.2", "me/mine")
    ollama.delete("llama3.2")
    assert [model.name for model in ollama.list_models()] == ["me/mine:latest"]
    assert last(server, "/api/copy") == {"source": "llama3.2", "destination": "me/mine"}
    (deletion,) = [e for e in server.exchanges if e.path == "/api/delete"]
    assert (deletion.method, deletion.json) == ("DELETE", {"model": "llama3.2"})
    assert deletion.headers["content-type"] == "application/json"


def test_a_copy_can_go_wrong(ollama: OllamaProvider) -> None:
    with pytest.raises(ModelNotFoundError):
        ollama.copy("nope", "x")
    with pytest.raises(RequestRejectedError, match="is invalid"):
        ollama.copy("llama3.2", "a//b")


def test_what_was_known_of_a_name_is_forgotten(server: FakeOllama, ollama: OllamaProvider) -> None:
    ollama.chat("Hi", model="llama3.2")
    server.models.append(FakeModel(name="far", remote_host="https://ollama.com:443"))
    ollama.copy("far", "llama3.2")
    with pytest.raises(LocalityError):
        ollama.chat("Hi", model="llama3.2")


@pytest.mark.parametrize("body", ['{"error": "it broke"}', "<html>a proxy</html>", "[1]"])
def test_a_body_where_none_belongs_is_looked_at(body: str) -> None:
    with ScriptedServer(http_answer(body)) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(ProviderError):
            provider.delete("m")


# --- sharing --------------------------------------------------------------------------------


@pytest.mark.parametrize("locality", ["loopback", "private"])
def test_a_model_leaves_only_where_anything_may(server: FakeOllama, locality: Any) -> None:
    with OllamaProvider(server.url, locality=locality) as provider:
        with pytest.raises(LocalityError, match="pushing 'me/mine' sends it") as caught:
            provider.push("me/mine")
    assert 'locality="any"' in str(caught.value.hint)
    assert server.exchanges == []


def test_a_model_is_pushed_with_reports(server: FakeOllama) -> None:
    server.break_next("body cut", path="/api/push")
    reports: List[Progress] = []
    policy = RetryPolicy(first_wait_s=0)
    with OllamaProvider(server.url, locality="any", retry=policy) as provider:
        provider.copy("llama3.2", "me/mine")
        provider.push("me/mine", on_progress=reports.append, insecure=True)
    assert server.pushed == ["me/mine:latest"]
    assert (reports[0].status, reports[-1].status) == ("retrieving manifest", "success")
    assert last(server, "/api/push") == {"model": "me/mine", "stream": True, "insecure": True}


def test_a_push_can_go_wrong(server: FakeOllama) -> None:
    with OllamaProvider(server.url, locality="any") as provider:
        with pytest.raises(AuthenticationError, match="access denied"):
            provider.push("llama3.2")
        with pytest.raises(ModelNotFoundError, match="no such file"):
            provider.push("me/nope")
        with pytest.raises(ConfigurationError, match="no model was named"):
            provider.push("")
    assert server.pushed == []


# --- making ---------------------------------------------------------------------------------


def test_a_model_is_made_of_another_with_all_its_own(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    info = ollama.create(
        "brief",
        from_model="llama3.2",
        template="{{ .System }} {{ .Prompt }}",
        system=PROMPT,
        parameters={"num_ctx": 512, "stop": ["<end>", "</s>"]},
        license=["One", "Two"],
        messages=[Message.user("Hi"), Message.assistant("Ho")],
        quantize="Q4_K_M",
        extra_body={"requires": "0.14.0"},
    )
    assert (info.name, info.provider) == ("brief:latest", "ollama")
    details = ollama.show("brief")
    assert (details.system, details.requires) == (PROMPT, "0.14.0")
    assert details.license == "One\nTwo"
    assert details.parameters["num_ctx"] == 512
    assert sorted(details.parameters["stop"]) == ["</s>", "<end>"]
    assert details.messages == (Message.user("Hi"), Message.assistant("Ho"))
    assert details.parent_model == "llama3.2"
    assert details.info == info
    assert ollama.chat("Hi", model="brief").text


def test_the_work_on_a_new_model_is_reported(ollama: OllamaProvider) -> None:
    reports: List[Progress] = []
    ollama.create("small", from_model="llama3.2", quantize="Q8_0", on_progress=reports.append)
    quantizing = [r.fraction for r in reports if r.status == "quantizing F16 model to Q8_0"]
    assert quantizing == [0.25, 0.5, 1.0]
    assert reports[-1].status == "success"


def test_a_source_that_is_missing_is_pulled_first(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    reports: List[Progress] = []
    ollama.create("mine", from_model="qwen3:0.6b", on_progress=reports.append)
    assert reports[0].status == "pulling manifest"
    with pytest.raises(ModelNotFoundError, match="file does not exist"):
        ollama.create("mine", from_model="nope")


def test_a_model_of_a_cloud_name_is_a_stub(ollama: OllamaProvider) -> None:
    assert ollama.create("far", from_model="gpt-oss:120b-cloud").remote_host


def test_a_creation_is_not_repeated(server: FakeOllama, ollama: OllamaProvider) -> None:
    server.break_next("body cut", path="/api/create")
    with pytest.raises(StreamInterruptedError):
        ollama.create("mine", from_model="llama3.2")
    assert sum(e.path == "/api/create" for e in server.exchanges) == 1


@pytest.mark.parametrize(
    ("verb", "fields", "next_step"),
    [
        ("pull", {}, "run the transfer again: it continues where it stopped;"),
        ("push", {}, "run the transfer again: it continues where it stopped;"),
        ("create", {"from_model": "llama3.2"}, "create the model again;"),
    ],
)
def test_the_hint_after_a_stall_promises_only_what_the_server_continues(
    verb: str, fields: Any, next_step: str, fake_clock: FakeTime
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
    report = b'{"status": "pulling a", "digest": "sha256:a", "total": 9, "completed": 1}\n'
    with ScriptedServer(lambda _: [head, report, lambda exchange: exchange.hold()]) as server:
        once: Any = {"retry": RetryPolicy(attempts=1), "locality": "any"}
        with OllamaProvider(server.url, timeout=Limits(idle_s=0.25), **once) as provider:
            with pytest.raises(LimitError, match="made no progress") as caught:
                getattr(provider, verb)("m", **fields)
    assert next_step in str(caught.value.hint)
    assert caught.value.hint.startswith("check the network of the machine where Ollama runs, then ")


@pytest.mark.parametrize(
    "fields", [{}, {"system": PROMPT}, {"from_model": "llama3.2", "model": "a//b"}]
)
def test_what_makes_no_model_is_rejected(ollama: OllamaProvider, fields: Any) -> None:
    with pytest.raises(RequestRejectedError):
        ollama.create(**{"model": "mine", **fields})


@pytest.mark.parametrize("fault", ["body reset", "a transfer that fails: no permission", "silence"])
def test_no_error_shows_what_a_model_was_to_say(
    server: FakeOllama, ollama: OllamaProvider, fault: str, fake_clock: FakeTime
) -> None:
    server.break_next(fault, path="/api/create")
    with pytest.raises(ProviderError) as caught:
        ollama.create(
            "mine",
            from_model="llama3.2",
            system=PROMPT,
            template=PROMPT,
            messages=PROMPT,
            timeout=Limits(load_s=2, first_token_s=2),
        )
    seen = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in seen.stack if "localproviders/" in frame.filename]
    assert frames
    assert [frame for frame in frames if PROMPT in str(frame.locals)] == []
    assert PROMPT not in str(caught.value)


def test_a_server_that_quotes_what_a_model_was_to_say_is_not_quoted() -> None:
    refusal = http_answer({"error": f"template error: {PROMPT}"}, status="400 Bad Request")
    with ScriptedServer(refusal) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(RequestRejectedError, match="template error") as caught:
            provider.create("mine", from_model="m", system=PROMPT)
    assert PROMPT not in str(caught.value) + str(caught.value.server_message)


@pytest.mark.parametrize("messages", ["", [], [7], [{"role": "user"}, "x"]])
def test_messages_that_are_none_are_refused(ollama: OllamaProvider, messages: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ollama.create("mine", from_model="llama3.2", messages=messages)


@pytest.mark.parametrize("name", ["/a.gguf", "..\\a.gguf", "a\\b.gguf", "a/../b", "c:/a", ""])
def test_a_file_has_a_relative_name(server: FakeOllama, ollama: OllamaProvider, name: str) -> None:
    with pytest.raises(ConfigurationError, match="relative"):
        ollama.create("mine", files={name: Path("x")})
    assert server.exchanges == []


@pytest.mark.parametrize("what", ["files", "adapters", "draft_files"])
def test_a_list_of_files_is_refused_in_words(
    server: FakeOllama, ollama: OllamaProvider, what: str
) -> None:
    fields: Any = {what: ["a.gguf"]}
    with pytest.raises(TypeError, match=f"{what} must be a path, or a mapping"):
        ollama.create("mine", **fields)
    assert server.exchanges == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"from_model": "llama3.2", "files": "a"}, "the server would ignore the files"),
        ({"files": "a", "extra_body": {"from": "x"}}, "the server would ignore the files"),
        ({"adapters": "a"}, "adapters without from_model or files"),
        ({"draft_files": {"d.gguf": "a"}}, "draft_files without from_model or files"),
        ({"files": "a", "draft_quantize": "Q8_0"}, "draft_quantize without draft_files"),
    ],
)
def test_files_that_the_server_would_not_use_are_refused_before_they_are_read(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path, fields: Any, words: str
) -> None:
    reports: List[Progress] = []
    with pytest.raises(ConfigurationError, match=words) as caught:
        ollama.create("mine", on_progress=reports.append, **fields)
    assert caught.value.hint
    assert (server.exchanges, reports) == ([], [])


def test_a_draft_model_and_the_names_of_the_servers_code_reach_the_server(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    (tmp_path / "draft.gguf").write_bytes(b"GGUF draft")
    ollama.create(
        "fast",
        from_model="llama3.2",
        draft_files=tmp_path / "draft.gguf",
        draft_quantize="Q8_0",
        renderer="qwen3-coder",
        parser="qwen3-coder",
        requires="0.14.0",
        parameters={"draft_num_predict": 8},
    )
    (digest,) = server.blobs
    assert last(server, "/api/create") == {
        "model": "fast", "stream": True, "from": "llama3.2",
        "draft_files": {"draft.gguf": digest}, "draft_quantize": "Q8_0",
        "renderer": "qwen3-coder", "parser": "qwen3-coder", "requires": "0.14.0",
        "parameters": {"draft_num_predict": 8},
    }  # fmt: skip
    details = ollama.show("fast")
    assert (details.renderer, details.parser) == ("qwen3-coder", "qwen3-coder")
    assert details.requires == "0.14.0"
    ollama.chat("Hi", model="fast", extra_body={"options": {"draft_num_predict": 0}})
    assert last(server, "/api/chat")["options"] == {"draft_num_predict": 0}


def test_a_draft_model_that_the_server_has_may_be_named_by_its_digest(
    server: FakeOllama, ollama: OllamaProvider, tmp_path: Path
) -> None:
    (tmp_path / "draft.gguf").write_bytes(b"GGUF draft")
    ollama.create("one", from_model="llama3.2", draft_files=tmp_path / "draft.gguf")
    (digest,) = server.blobs
    digests = {"draft_files": {"draft.gguf": digest}}
    ollama.create("two", from_model="llama3.2", draft_quantize="Q8_0", extra_body=digests)
    assert last(server, "/api/create")["draft_files"] == digests["draft_files"]


@responses.activate
def test_mocked_answers_work_for_the_verbs(tmp_path: Path) -> None:
    url = "http://127.0.0.1:11434"
    stream = '{"status":"pulling manifest"}\n{"status":"success"}\n'
    for verb in ("pull", "create"):
        responses.post(f"{url}/api/{verb}", body=stream, content_type="application/x-ndjson")
    responses.post(f"{url}/api/show", json={"capabilities": ["completion"]})
    responses.get(f"{url}/api/tags", json={"models": []})
    responses.head(re.compile(f"{url}/api/blobs/.*"), status=404)
    responses.post(re.compile(f"{url}/api/blobs/.*"), status=201)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with OllamaProvider(url) as provider:
        assert provider.pull("m").name == "m:latest"
        assert provider.create("n", files=tmp_path / "a.gguf").name == "n:latest"
