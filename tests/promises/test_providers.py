"""Promises of the providers about locality, keys, models, parameters, connections and streams."""

from __future__ import annotations

import copy
import gzip
import json
import os
import pickle
import signal
import threading
import zlib
from typing import Any, Callable, Dict, List

import pytest
import requests
import responses

from localproviders import (
    AnswerTooLargeError,
    CancelledError,
    CancelToken,
    CapabilityError,
    CompletionRequest,
    ConfigurationError,
    ContextOverflowError,
    EmbeddingError,
    EmbeddingRequest,
    Image,
    LimitError,
    Limits,
    LMStudioProvider,
    LocalityError,
    Message,
    ModelNotFoundError,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    ProviderError,
    RetryPolicy,
    StreamInterruptedError,
    UnreachableError,
    UnsupportedError,
    WrongModelError,
)
from localproviders._http import resolve
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    ScriptedServer,
    http_answer,
)
from localproviders.types import Tool
from tests.support.fake_time import FakeTime
from tests.support.timing import GRACE_S

PNG = b"\x89PNG\r\n\x1a\nrest"


def sse(*records: str, done: bool = True) -> bytes:
    events = "".join(f"data: {record}\n\n" for record in (*records, *(["[DONE]"] if done else [])))
    return http_answer(events, content_type="text/event-stream", chunked=True)


def sse_response(text: str = "Hi", model: str = "m") -> bytes:
    chunk = '{"model":"%s","choices":[{"delta":{"content":"%s"},"finish_reason":"stop"}]}'
    return sse(chunk % (model, text))


def ollama_response(model: str = "m", **extra: Any) -> bytes:
    record = {"model": model, "message": {"content": "Hi"}, "done": True, "done_reason": "stop"}
    return http_answer({**record, **extra}, content_type="application/x-ndjson", chunked=True)


def ollama_server(*models: Dict[str, Any], answer: bytes = b"") -> ScriptedServer:
    tags = http_answer({"models": list(models) or [{"name": "m:latest"}]})
    response = answer or ollama_response()
    return ScriptedServer(lambda exchange: [tags if exchange.path == "/api/tags" else response])


def dialect(server: ScriptedServer, **options: Any) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider(server.url + "/v1", model="m", **options)


# --- locality ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["93.184.216.34", "[2001:db8::1]", "100.64.0.1", "192.168.1.5"])
def test_nothing_leaves_the_machine_by_default(host: str) -> None:
    with OllamaProvider(f"http://{host}:9") as provider, pytest.raises(LocalityError) as caught:
        provider.list_models()

    assert 'locality="' in str(caught.value.hint)


def test_a_name_that_resolves_to_loopback_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with ollama_server() as server:
        address = [(2, 1, 6, "", ("127.0.0.1", server.port))]
        monkeypatch.setattr(resolve.socket, "getaddrinfo", lambda *_, **__: address)
        with OllamaProvider(f"http://my-machine:{server.port}") as provider:
            assert provider.chat("Hi", model="m").text == "Hi"


def test_an_argument_overrides_the_locality_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCALPROVIDERS_LOCALITY", "private")

    assert OllamaProvider().settings.locality == "private"
    assert OllamaProvider(locality="loopback").settings.locality == "loopback"


@pytest.mark.parametrize("model", ["gpt-oss:20b-cloud", "x:cloud", "stub"])
def test_cloud_models_get_no_prompt(model: str) -> None:
    stub = {"name": "stub:latest", "remote_host": "https://ollama.com:443"}
    with ollama_server(stub) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(LocalityError, match="cloud"):
            provider.chat("secret", model=model)
        with pytest.raises(LocalityError, match="cloud"):
            provider.embed("secret", model=model)

    assert {exchange.path for exchange in server.exchanges} <= {"/api/tags"}


def test_a_response_from_the_cloud_is_refused() -> None:
    answer = ollama_response(remote_host="https://ollama.com:443")
    with ollama_server(answer=answer) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(LocalityError):
            provider.chat("Hi", model="m")


def test_a_quoted_key_is_removed_from_the_evidence() -> None:
    key = "sk-very-secret-value"
    refusal = http_answer({"error": f"{key} does not support tools"}, status="400 Bad Request")
    with ScriptedServer(refusal) as server, dialect(server, api_key=key) as provider:
        with pytest.raises(CapabilityError) as caught:
            provider.chat("Hi")

    assert caught.value.evidence == "********** does not support tools"


# --- models ------------------------------------------------------------------------------


def test_without_a_model_the_error_lists_the_models() -> None:
    with ollama_server({"name": "a:1"}, {"name": "b:2"}) as server:
        with OllamaProvider(server.url) as provider:
            with pytest.raises(ConfigurationError, match=r"a:1, b:2"):
                provider.chat("Hi")


def test_an_unknown_model_of_ollama_is_an_error_with_the_known_ones() -> None:
    with ollama_server({"name": "a:1"}) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(ModelNotFoundError) as caught:
            provider.chat("Hi", model="b")

    assert caught.value.available == ("a:1",)


def test_a_response_of_another_model_is_an_error() -> None:
    with ollama_server(answer=ollama_response("other")) as server:
        with OllamaProvider(server.url) as provider:
            with pytest.raises(WrongModelError) as caught:
                provider.chat("Hi", model="m")
            accepted = provider.chat("Hi", model="m", allow_other_model=True)

    assert (caught.value.requested, caught.value.served) == ("m", "other")
    assert accepted.text == "Hi"


LIST = {
    "models": [
        {
            "type": "llm",
            "key": "qwen/qwen3-4b",
            "variants": ["qwen/qwen3-4b@4bit"],
            "loaded_instances": [{"id": "my-qwen", "config": {"context_length": 4096}}],
            "max_context_length": 262144,
            "capabilities": {"vision": False, "trained_for_tool_use": True},
        },
        {"type": "embedding", "key": "text-embedding-nomic"},
    ]
}


def lmstudio_server(answer: bytes, listing: Any = LIST) -> ScriptedServer:
    missing = http_answer({"error": "Unexpected endpoint or method. (GET /x)"})

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.path == "/api/v1/models":
            return [missing if listing is None else http_answer(listing)]
        return [answer if exchange.method == "POST" else missing]

    return ScriptedServer(script)


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [
        ("qwen/qwen3-4b", "my-qwen", True),
        ("qwen/qwen3-4b@4bit", "qwen/qwen3-4b", True),
        ("Qwen/Qwen3-4B", "qwen/qwen3-4b", True),
        ("not-a-model", "qwen/qwen3-4b", False),
        ("text-embedding-nomic", "my-qwen", False),
    ],
)
def test_names_of_the_same_model_in_lmstudio(asked: str, served: str, same: bool) -> None:
    with lmstudio_server(sse_response(model=served)) as server, LMStudioProvider(
        server.url
    ) as provider:
        if same:
            assert provider.chat("Hi", model=asked).model == served
        else:
            with pytest.raises(WrongModelError):
                provider.chat("Hi", model=asked)


def test_lmstudios_error_under_status_200() -> None:
    unknown = http_answer({"error": "Unexpected endpoint or method. (POST /v1/chat/completions)"})
    with lmstudio_server(unknown, None) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(UnsupportedError):
            provider.chat("Hi", model="m")
        with pytest.raises(UnsupportedError):
            provider.list_models()


def test_lmstudios_list() -> None:
    with lmstudio_server(b"") as server, LMStudioProvider(server.url + "/v1") as provider:
        chat, embedding = provider.list_models()
        assert provider.supports_model("my-qwen")
        assert not provider.supports_model("nope")

    assert (chat.loaded, chat.capabilities.tools) == (True, True)
    assert chat.capabilities.loaded_context_length == 4096
    assert (embedding.capabilities.embeddings, embedding.capabilities.chat) == (True, False)


# --- parameters -----------------------------------------------------------------------------

REFUSED = [
    (OllamaProvider, {"tool_choice": "required"}),
    (LMStudioProvider, {"context_length": 100}),
    (LMStudioProvider, {"logprobs": True}),
    (LMStudioProvider, {"overflow": "truncate"}),
    (LMStudioProvider, {"keep_alive": 0}),
    (LMStudioProvider, {"tool_choice": "my_tool"}),
    (OpenAICompatibleProvider, {"keep_alive": 5}),
    (OpenAICompatibleProvider, {"thinking": True}),
]


@pytest.mark.parametrize(("kind", "fields"), REFUSED)
def test_an_unsupported_parameter_is_refused(kind: Any, fields: Dict[str, Any]) -> None:
    with ScriptedServer(b"") as server, kind(server.url, model="m") as provider:
        with pytest.raises(UnsupportedError, match=next(iter(fields))):
            provider.chat("Hi", **fields)

    assert server.exchanges == []


def test_ollama_lets_the_model_choose_a_tool_without_a_field_for_it() -> None:
    with ollama_server() as server, OllamaProvider(server.url, model="m") as provider:
        response = provider.chat("Hi", tool_choice="auto")
    assert response.warnings == ()
    assert "tool_choice" not in server.exchanges[-1].json


_Verb = Callable[[Any], Any]


@pytest.mark.parametrize(
    "call",
    [
        lambda provider: provider.chat("Hi"),
        lambda provider: list(provider.stream("Hi")),
        lambda provider: provider.embed(["a"]),
        lambda provider: provider.parse("Hi", int),
        lambda provider: provider.run_tools("Hi", []),
    ],
    ids=["chat", "stream", "embed", "parse", "run_tools"],
)
@pytest.mark.parametrize("kind", [OllamaProvider, LMStudioProvider])
def test_the_error_for_a_misspelt_model_names_the_one_that_was_meant(
    kind: Any, call: _Verb
) -> None:
    fakes: Dict[Any, Any] = {OllamaProvider: FakeOllama, LMStudioProvider: FakeLMStudio}
    models = [FakeModel(name="llama3.2", abilities=("chat", "embeddings")), FakeModel(name="qwen3")]
    with fakes[kind](models) as fake, kind(fake.url, model="lama3.2") as provider:
        with pytest.raises(ModelNotFoundError, match=r"did you mean 'llama3\.2") as caught:
            call(provider)
    assert len(caught.value.available) == 2


def test_an_unsupported_parameter_can_be_left_out_with_a_warning() -> None:
    with ollama_server() as server, OllamaProvider(server.url, model="m") as provider:
        response = provider.chat("Hi", tool_choice="required", strict=False)

    assert "tool_choice" in response.warnings[0]
    assert "tool_choice" not in server.exchanges[-1].json


def test_lmstudio_receives_its_own_field_names() -> None:
    with lmstudio_server(sse_response()) as server, LMStudioProvider(
        server.url, model="m"
    ) as provider:
        provider.chat("Hi", thinking=False, keep_alive=60)

    body = server.exchanges[-1].json
    assert (body["reasoning_effort"], body["ttl"]) == ("none", 60)


def test_images_and_tools_are_sent() -> None:
    tool = Tool(name="f", description="d")
    message = Message.user("look", images=[Image.from_bytes(PNG)])
    with ollama_server() as server, OllamaProvider(server.url, model="m") as provider:
        provider.chat(message, tools=[tool])
    with ScriptedServer(sse_response()) as other, dialect(other) as provider:
        provider.chat(message, tools=[tool])

    sent = server.exchanges[-1].json
    assert sent["messages"][0]["images"] == ["iVBORw0KGgpyZXN0"]
    assert sent["tools"] == other.exchanges[0].json["tools"]
    part = other.exchanges[0].json["messages"][0]["content"][1]
    assert part["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgpyZXN0"


# --- connections ----------------------------------------------------------------------------


def test_a_dead_kept_connection_is_replaced_once() -> None:
    def script(exchange: Exchange) -> List[Any]:
        if exchange.connection == 1 and len(server.exchanges) > 1:
            exchange.close()
        return [sse_response()]

    with ScriptedServer(script) as server, dialect(server) as provider:
        first, second = provider.chat("Hi"), provider.chat("Hi")

    assert (first.attempts, second.attempts, second.text) == (1, 2, "Hi")


def test_a_call_is_not_repeated_if_a_new_connection_dies() -> None:
    with ScriptedServer(lambda exchange: exchange.close()) as server, dialect(server) as provider:
        with pytest.raises(StreamInterruptedError):
            provider.chat("Hi")

    assert len(server.exchanges) == 1


def test_a_second_response_on_the_connection_is_ignored() -> None:
    with ScriptedServer(sse_response("one") + sse_response("stray")) as server, dialect(
        server
    ) as provider:
        texts = [provider.chat("Hi").text for _ in range(3)]

    assert texts == ["one"] * 3


def test_an_abandoned_stream_closes_its_connection() -> None:
    seen: List[Exchange] = []
    chunk = b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

    def script(exchange: Exchange) -> List[Any]:
        seen.append(exchange)
        return [head + chunk, lambda exchange: exchange.hold()]

    with ScriptedServer(script) as server, dialect(server) as provider:
        for _ in provider.stream("Hi"):
            break

        assert seen[0].client_gone.wait(GRACE_S)


def test_thirty_two_threads_share_a_provider() -> None:
    texts: List[str] = []
    with ScriptedServer(sse_response()) as server, dialect(server) as provider:

        def work() -> None:
            texts.extend(provider.chat("Hi").text for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert texts == ["Hi"] * 160
    assert len({exchange.connection for exchange in server.exchanges}) <= 32


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_a_new_connection() -> None:
    with ScriptedServer(sse_response()) as server, dialect(server) as provider:
        provider.chat("Hi")
        child = os.fork()
        if child == 0:
            os._exit(0 if provider.chat("Hi").text == "Hi" else 1)
        _, status = os.waitpid(child, 0)
        provider.chat("Hi")

    assert status == 0
    assert [exchange.connection for exchange in server.exchanges] == [1, 2, 1]


@pytest.mark.parametrize("kind", [OllamaProvider, LMStudioProvider, OpenAICompatibleProvider])
def test_providers_pickle_and_close_twice(kind: Any) -> None:
    provider: ModelProvider = kind("127.0.0.1:1", model="m", retry=RetryPolicy(attempts=1))
    again = pickle.loads(pickle.dumps(provider))
    copied = copy.deepcopy(provider)
    for one in (provider, again, copied):
        one.close()
        one.close()
        with pytest.raises(UnreachableError) as caught:
            one.list_models()
        assert isinstance(pickle.loads(pickle.dumps(caught.value)), UnreachableError)

    assert again.settings == provider.settings == copied.settings


# --- invalid responses ------------------------------------------------------------------


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (sse(done=False), StreamInterruptedError),
        (
            sse('{"model":"m","choices":[{"delta":{"content":"Hi"}}]}', done=False),
            StreamInterruptedError,
        ),
        (sse('{"error":{"message":"Compute error."},"message":"Compute error."}'), ProviderError),
        (sse("{not json"), ProtocolError),
        (sse("[1,2]"), ProtocolError),
        (sse('{"choices":[{"delta":{"content":7}}]}'), ProtocolError),
        (http_answer("<html>hello</html>", content_type="text/html"), ProtocolError),
        (http_answer(b"\xff\xfe", content_type="application/json"), ProtocolError),
        (http_answer({}, headers=[("Content-Encoding", "br")]), ProtocolError),
        (b"nonsense\r\n\r\n", ProtocolError),
    ],
)
def test_an_invalid_response_is_an_error(answer: bytes, error: Any) -> None:
    with ScriptedServer(lambda _: [answer, lambda e: e.close()]) as server:
        with dialect(server) as provider, pytest.raises(error):
            provider.chat("Hi")


def test_an_unrequested_encoding_is_an_error_with_its_cause() -> None:
    answer = http_answer({"data": []}, headers=[("Content-Encoding", "br")])
    with ScriptedServer(answer) as server, dialect(server) as provider:
        with pytest.raises(ProtocolError, match="has the encoding 'br'") as caught:
            provider.list_models()
    assert "proxy" in str(caught.value.hint)


def test_vectors_are_checked() -> None:
    rows = [[1.0, 2.0], [1.0], [float("1e39"), 0.0]]
    data = [{"index": index, "embedding": row} for index, row in enumerate(rows)]
    with ScriptedServer(http_answer({"data": data, "model": "m"})) as server:
        with dialect(server) as provider, pytest.raises(EmbeddingError) as caught:
            provider.embed(["a", "b", "c"])

    assert set(caught.value.failures) == {1, 2}
    assert list(caught.value.embedded) == [0]


# --- telemetry, and mocks of users --------------------------------------------------------


def test_events_do_not_contain_the_texts_of_a_call() -> None:
    events: List[Any] = []
    with ScriptedServer(sse_response("the answer")) as server:
        with dialect(server, listeners=[events.append]) as provider:
            provider.chat("the question")
            provider.embed  # noqa: B018  # only accessed: without a call there is no event

    assert [event.kind for event in events] == ["started", "connected", "first_token", "finished"]
    assert events[3].finish_reason == "stop"
    assert "the answer" not in repr(events) and "the question" not in repr(events)


@responses.activate
def test_users_may_mock_with_responses() -> None:
    url = "http://127.0.0.1:11434"
    record = '{"model":"m","message":{"content":"Hi"},"done":true,"done_reason":"stop"}\n'
    responses.add(responses.GET, f"{url}/api/tags", json={"models": [{"name": "m:latest"}]})
    responses.add(
        responses.POST, f"{url}/api/chat", body=record, content_type="application/x-ndjson"
    )

    assert OllamaProvider(model="m").chat("Hello").text == "Hi"


@responses.activate
def test_a_mocked_failure_is_translated() -> None:
    url = "http://127.0.0.1:11434/api/tags"
    responses.add(responses.GET, url, body=requests.ConnectionError("no"))

    with pytest.raises(UnreachableError):
        OllamaProvider(retry=RetryPolicy(attempts=1)).list_models()


def test_plain_prompts_use_no_template() -> None:
    with ollama_server(answer=ollama_response(response="x", message=None)) as server:
        with OllamaProvider(server.url, model="m") as provider:
            provider.complete(CompletionRequest(prompt="Once"))
            provider.complete(CompletionRequest(prompt="def f(", suffix="return"))

    bodies = [exchange.json for exchange in server.exchanges if exchange.path == "/api/generate"]
    assert bodies[0]["raw"] is True
    assert (bodies[1].get("raw"), bodies[1]["suffix"]) == (None, "return")


# --- calls with several requests -------------------------------------------------------------


def test_a_token_cancels_the_second_request_of_a_call() -> None:
    """Ollama's model list is requested first; cancelling must end the chat request after it."""
    token = CancelToken()
    tags = http_answer({"models": [{"name": "m:latest"}]})

    def script(exchange: Exchange) -> List[Any]:
        if exchange.path == "/api/tags":
            return [tags]
        return [lambda _: token.cancel(), lambda exchange: exchange.hold()]

    with ScriptedServer(script) as server, OllamaProvider(server.url, model="m") as provider:
        with pytest.raises(CancelledError):
            provider.chat("Hi", cancel=token, timeout=60)


@pytest.mark.parametrize("ask", ["chat", "embed", "list"])
def test_a_token_forgets_a_finished_call(ask: str) -> None:
    token = CancelToken()
    vectors = http_answer({"model": "m", "embeddings": [[1.0]]})
    with ollama_server(answer=vectors if ask == "embed" else b"") as server:
        with OllamaProvider(server.url, model="m") as provider:
            calls: Dict[str, Any] = {
                "chat": lambda: provider.chat("Hi", cancel=token),
                "embed": lambda: provider.embed("Hi", cancel=token),
                "list": lambda: provider.list_models(cancel=token),
            }
            calls[ask]()
            with pytest.raises(ProviderError):
                provider.chat("Hi", model="nope", cancel=token)

    assert not token._listeners


def test_a_limit_ends_a_call_whose_resolver_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        release.wait(20)
        return []

    monkeypatch.setattr(resolve.socket, "getaddrinfo", hang)
    token = CancelToken()
    with OllamaProvider("http://slow-name") as provider:
        with pytest.raises(LimitError) as caught:
            provider.list_models(timeout=Limits(connect_s=0.2))
        threading.Timer(0.1, token.cancel).start()
        with pytest.raises(CancelledError):
            provider.list_models(timeout=Limits(connect_s=20), cancel=token)
    release.set()

    assert caught.value.limit == "connect_s"


# --- bodies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_response_is_read(encoding: str) -> None:
    plain = b'{"data":[{"id":"m"}]}'
    data = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
    answer = http_answer(data, headers=[("Content-Encoding", encoding)])
    with ScriptedServer(answer) as server, dialect(server) as provider:
        assert [info.name for info in provider.list_models()] == ["m"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (gzip.compress(b" " * 50_000_000), AnswerTooLargeError),
        (gzip.compress(b'{"data":[]}')[:-9], StreamInterruptedError),
        (b"not gzip at all", ProtocolError),
    ],
    ids=["bomb", "cut", "false"],
)
def test_an_invalid_compressed_response_is_an_error(data: bytes, error: Any) -> None:
    answer = http_answer(data, headers=[("Content-Encoding", "gzip")])
    with ScriptedServer(answer) as server:
        with dialect(server, max_body_bytes=1_000_000) as provider, pytest.raises(error):
            provider.list_models()


def test_a_line_that_is_too_long_is_an_error() -> None:
    with ScriptedServer(sse("x" * 100_000)) as server:
        with dialect(server, max_line_bytes=1_000) as provider, pytest.raises(AnswerTooLargeError):
            provider.chat("Hi")


def test_a_body_shorter_than_announced_is_an_error() -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data":[]}'
    with ScriptedServer(lambda _: [answer, lambda e: e.close()]) as server:
        with dialect(server) as provider, pytest.raises(StreamInterruptedError):
            provider.list_models()


# --- streams --------------------------------------------------------------------------------


def test_a_stream_closed_early_is_cancelled() -> None:
    with ScriptedServer(sse_response()) as server, dialect(server) as provider:
        with provider.stream("Hi") as stream:
            pass
        with pytest.raises(CancelledError):
            stream.result()
        assert "failed" in repr(stream)


def test_a_stream_keeps_its_result_or_its_error() -> None:
    with ScriptedServer(sse_response()) as server, dialect(server) as provider:
        stream = provider.stream("Hi")
        assert stream.result() is stream.result()
        assert (stream.text, stream.thinking, list(stream)) == ("Hi", "", [])
    with ScriptedServer(sse("{bad")) as server, dialect(server) as provider:
        stream = provider.stream("Hi")
        for _ in range(2):
            with pytest.raises(ProtocolError):
                next(stream)


def test_an_interrupt_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: List[Exchange] = []

    def script(exchange: Exchange) -> List[Any]:
        seen.append(exchange)
        os.kill(os.getpid(), signal.SIGINT)
        return [lambda exchange: exchange.hold()]

    with ScriptedServer(script) as server, dialect(server) as provider:
        with pytest.raises(KeyboardInterrupt):
            provider.chat("Hi", timeout=60)
            seen[0].client_gone.wait(GRACE_S)  # the signal may come late to this thread
        assert seen[0].client_gone.wait(GRACE_S)


# --- faults that new users found -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (OllamaProvider, {"tools": (Tool(name="f"),)}),
        (OpenAICompatibleProvider, {"tools": (Tool(name="f"),)}),
        (OpenAICompatibleProvider, {"response_schema": {"type": "object"}}),
        (LMStudioProvider, {"thinking": "low"}),
    ],
)
def test_a_plain_prompt_with_chat_fields_is_refused(kind: Any, fields: Dict[str, Any]) -> None:
    with ScriptedServer(b"") as server, kind(server.url, model="m") as provider:
        with pytest.raises(UnsupportedError, match=next(iter(fields))):
            provider.complete(CompletionRequest(prompt="Once", **fields))

    assert server.exchanges == []


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (LMStudioProvider, {"dimensions": 3}),
        (LMStudioProvider, {"truncate": True}),
        (OpenAICompatibleProvider, {"truncate": True}),
        (OpenAICompatibleProvider, {"keep_alive": 5}),
    ],
)
def test_an_unsupported_field_of_an_embedding_is_refused(kind: Any, fields: Dict[str, Any]) -> None:
    request = EmbeddingRequest(texts=("a",), **fields)
    with ScriptedServer(b"") as server, kind(server.url, model="m") as provider:
        with pytest.raises(UnsupportedError, match=next(iter(fields))):
            provider.embed(request)

    assert server.exchanges == []


def test_vectors_of_another_model() -> None:
    vectors = http_answer({"model": "other", "embeddings": [[1.0]]})
    with ollama_server(answer=vectors) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(WrongModelError):
            provider.embed("a", model="m")
    dialect_vectors = http_answer({"model": "other", "data": [{"embedding": [1.0]}]})
    with ScriptedServer(dialect_vectors) as server, dialect(server) as provider:
        assert "other" in provider.embed("a").warnings[0]
    with lmstudio_server(dialect_vectors) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(WrongModelError):
            provider.embed("a", model="m")


def test_a_request_for_the_model_list_is_within_the_limit_of_the_call(fake_clock: FakeTime) -> None:
    def script(exchange: Exchange) -> List[Any]:
        return [sse_response(model="x")] if exchange.method == "POST" else [lambda e: e.hold()]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi", model="m", timeout=5)
    assert (caught.value.limit, caught.value.elapsed_s) == ("total_s", 5)


def test_a_text_too_long_to_embed_names_both_numbers() -> None:
    message = "input (2002 tokens) is too large to process. increase the physical batch size (current batch size: 512)"
    answer = http_answer({"error": {"message": message, "type": "server_error"}}, status="500 Oops")
    with ScriptedServer(answer) as server, dialect(server) as provider:
        with pytest.raises(ContextOverflowError) as caught:
            provider.embed("x")

    assert (caught.value.prompt_tokens, caught.value.context_length) == (2002, 512)


@pytest.mark.parametrize("empty", ["", []])
def test_an_empty_prompt_is_refused(empty: Any) -> None:
    with pytest.raises(ValueError, match=r"nothing to answer|no message"):
        OllamaProvider("127.0.0.1:1", model="m").chat(empty)


def test_complete_with_a_text_names_chat() -> None:
    with pytest.raises(TypeError, match="chat"):
        OllamaProvider("127.0.0.1:1", model="m").complete("Hi")  # type: ignore[arg-type]  # on purpose


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_that_closes_a_stream_does_not_end_it_for_the_parent() -> None:
    proceed = threading.Event()
    record = b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

    def script(_: Exchange) -> List[Any]:
        return [
            head + record,
            lambda _: proceed.wait(GRACE_S),
            b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
            lambda e: e.close(),
        ]

    with ScriptedServer(script) as server, dialect(server) as provider:
        stream = provider.stream("Hi")
        next(stream)
        child = os.fork()
        if child == 0:
            stream.close()
            os._exit(0)
        os.waitpid(child, 0)
        proceed.set()

        assert stream.result().text == "Hi"


@pytest.mark.parametrize("host", ["http://*example", "http://é" + "x" * 70])
def test_an_invalid_host_is_a_configuration_error(host: str) -> None:
    provider = OpenAICompatibleProvider(host, api_key="k" * 20, locality="any")
    with provider, pytest.raises(ConfigurationError, match="InvalidURL") as caught:
        provider.list_models()

    assert not caught.value.retryable
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# --- faults that a review found ----------------------------------------------------------


def test_two_tool_calls_with_the_same_index_are_two() -> None:
    def piece(identity: str, name: str) -> str:
        call = {"index": 0, "id": identity, "function": {"name": name, "arguments": "{}"}}
        choice = {"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
        return json.dumps({"choices": [choice]})

    with ScriptedServer(sse(piece("c", "f"), piece("d", "g"))) as server:
        with dialect(server) as provider:
            calls = provider.chat("Hi").tool_calls

    assert [(call.id, call.name) for call in calls] == [("c", "f"), ("d", "g")]


def test_several_choices_are_not_mixed() -> None:
    first = '{"choices":[{"index":0,"delta":{"content":"A"}}]}'
    second = '{"choices":[{"index":1,"delta":{"content":"B"}}]}'
    with ScriptedServer(sse(first, second)) as server, dialect(server) as provider:
        with pytest.raises(ProtocolError, match="several choices"):
            provider.chat("Hi", extra_body={"n": 2})


def test_a_plain_completion_without_a_stream_is_complete() -> None:
    answer = http_answer({"model": "m", "choices": [{"text": "complete", "finish_reason": "stop"}]})
    with ScriptedServer(answer) as server, dialect(server) as provider:
        assert provider.complete(CompletionRequest(prompt="x")).text == "complete"


@pytest.mark.parametrize("seconds", [1e7, 1e300, float("inf")])
def test_very_long_limits_are_accepted(seconds: float) -> None:
    limits = Limits(
        **dict.fromkeys(("connect_s", "load_s", "first_token_s", "idle_s", "total_s"), seconds)
    )
    with ScriptedServer(sse_response()) as server, dialect(server, timeout=limits) as provider:
        assert provider.chat("Hi").text == "Hi"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 10**400, True, "5"])
def test_impossible_limits_are_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"total_s|timeout"):
        OllamaProvider("127.0.0.1:1", model="m").chat("Hi", timeout=seconds)


@pytest.mark.parametrize(
    ("server", "provider", "path"),
    [
        (FakeOllama, OllamaProvider, "/api/ps"),
        (FakeLMStudio, LMStudioProvider, "/api/v1/models"),
    ],
)
def test_the_load_limit_does_not_apply_to_a_model_list_during_a_load(
    server: Any, provider: Any, path: str, fake_clock: FakeTime
) -> None:
    with server([FakeModel(name="m")]) as fake:
        with provider(fake.url, timeout=Limits(load_s=60, first_token_s=3)) as made:
            fake.break_next("silence", times=None, path=path)
            with pytest.raises(LimitError) as caught:
                made.load("m")

    assert (caught.value.limit, caught.value.limit_s) == ("first_token_s", 3)
