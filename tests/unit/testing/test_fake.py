"""The fake servers behave like the real ones, and as a test configures them."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from datetime import datetime, timezone
from typing import Any, Dict, List

import pytest
import requests

from localproviders import (
    AuthenticationError,
    CapabilityError,
    CompletionRequest,
    ContextOverflowError,
    EmbeddingError,
    LimitError,
    Limits,
    LMStudioProvider,
    LocalityError,
    Message,
    ModelNotFoundError,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    RetryPolicy,
    ServerBusyError,
    ToolCall,
    UnreachableError,
    UnsupportedError,
    WrongModelError,
)
from localproviders.testing import (
    FAULTS,
    Exchange,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    Refusal,
    Reply,
    ScriptedServer,
)
from localproviders.testing.fake import vector_of
from localproviders.testing.faults import KINDS
from localproviders.testing.values import words_of
from tests.support.fake_time import FakeTime
from tests.support.timing import GRACE_S

ONCE = RetryPolicy(attempts=1)


def get(url: str, **more: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(more.pop("method", "GET"), url, **more)


# --- Ollama ---------------------------------------------------------------------------------


def test_an_ollama_by_itself(fake_ollama: FakeOllama) -> None:
    with OllamaProvider(model="llama3.2") as provider:
        assert [info.name for info in provider.list_models()] == [
            "llama3.2:latest",
            "nomic-embed-text:latest",
        ]
        assert provider.chat("Hi").text == "Hello there, friend."
        assert provider.complete(CompletionRequest(prompt="Once")).text == "Hello there, friend."
        assert provider.model_capabilities("llama3.2").tools
        assert provider.embed(["a", "b"], model="nomic-embed-text").dimensions == 16
        assert provider.embed("a", model="nomic-embed-text", dimensions=4).dimensions == 4


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/", 200, "Ollama is running"),
        ("GET", "/api/version", 200, '{"version": "0.40.5"}'),
        ("GET", "/nothing", 404, "404 page not found"),
        ("GET", "/api/chat", 405, "405 method not allowed"),
        ("POST", "/api/chat", 400, '{"error": "missing request body"}'),
        ("GET", "/api/ps", 200, '{"models": []}'),
    ],
)
def test_ollamas_plain_answers(method: str, path: str, status: int, body: str) -> None:
    with FakeOllama() as fake:
        answer = get(fake.url + path, method=method)

    assert (answer.status_code, answer.text) == (status, body)


def test_ollamas_refusals() -> None:
    models = [
        FakeModel(name="plain", abilities=("chat",), context_length=300),
        FakeModel(name="vectors", abilities=("embeddings",), context_length=5),
        FakeModel(name="stub", remote_host="https://ollama.com:443"),
    ]
    with FakeOllama(models) as fake, OllamaProvider(fake.url, model="plain") as provider:
        # The provider does not check extra_body, so the server refuses and not the provider.
        with pytest.raises(CapabilityError, match="does not support tools"):
            provider.chat("Hi", extra_body={"tools": [{}]})
        with pytest.raises(CapabilityError, match="does not support thinking"):
            provider.chat("Hi", extra_body={"think": True})
        with pytest.raises(CapabilityError, match="does not support chat"):
            provider.chat("Hi", model="vectors")
        with pytest.raises(CapabilityError, match="does not support insert"):
            provider.complete(CompletionRequest(prompt="a", extra_body={"suffix": "b"}))
        with pytest.raises(ContextOverflowError) as caught:
            provider.chat("word " * 513)
        with pytest.raises(ContextOverflowError):
            provider.embed("word " * 9, model="vectors")
        with pytest.raises(ModelNotFoundError):
            provider.model_capabilities("nope")
        with pytest.raises(LocalityError):
            provider.chat("Hi", model="stub")
        assert provider.chat("word " * 500).usage.prompt_tokens == 500
        cut = provider.chat("word " * 513, overflow="truncate")
        assert cut.usage.prompt_tokens == 256
        with pytest.raises(ContextOverflowError, match="longer than the context"):
            provider.chat("word " * 513, overflow="truncate", extra_body={"shift": False})

    assert (caught.value.prompt_tokens, caught.value.context_length) == (513, 512)


def test_ollama_drops_the_oldest_messages_and_keeps_those_of_the_system() -> None:
    messages = [
        Message.system("a b c"),
        *[Message.user("word " * 100), Message.assistant("Yes.")] * 3,
        Message.user("word " * 60),
    ]
    with FakeOllama([FakeModel(name="m", context_length=256)]) as fake:
        with OllamaProvider(fake.url, model="m") as provider:
            answer = provider.chat(messages, overflow="truncate")
            assert answer.usage.prompt_tokens == 3 + 100 + 1 + 1 + 60
            with pytest.raises(ContextOverflowError):
                provider.chat(messages)


def test_an_ollama_that_does_not_slide_ends_at_its_window() -> None:
    reply = Reply(text="word " * 300, thinking="hm " * 100)
    thinks = FakeModel(name="m", abilities=("chat", "completion", "thinking"))
    with FakeOllama([thinks]) as fake, OllamaProvider(fake.url, model="m") as provider:
        fake.usual = reply
        answer = provider.chat("Hi", context_length=300)
        assert (answer.finish_reason, answer.usage.total_tokens) == ("stop", 401)
        fake.usual = reply.replace(text="word " * 500)
        answer = provider.chat("Hi", context_length=300)
        assert (answer.finish_reason, answer.usage.total_tokens) == ("length", 512)
        fake.usual = reply.replace(thinking="hm " * 600)
        answer = provider.chat("Hi", context_length=300)
        assert (answer.finish_reason, answer.usage.total_tokens, answer.text) == ("length", 512, "")


def test_ollama_loads_a_model_again_if_it_may_slide_now(fake_clock: FakeTime) -> None:
    with FakeOllama([FakeModel(name="m", load_s=3)]) as fake:
        with OllamaProvider(fake.url, model="m") as provider:

            def load_s(**fields: Any) -> float:
                found: Any = provider.chat("Hi", context_length=512, **fields)
                return float(found.server_timings.load_s)

            assert load_s() > 3
            assert load_s() < 3
            assert load_s(overflow="allow") > 3
            assert load_s(overflow="allow") < 3
            assert load_s() > 3
            assert get(fake.url + "/api/ps").json()["models"][0]["context_length"] == 512


def test_ollama_loads_in_silence_and_only_once(fake_clock: FakeTime) -> None:
    with FakeOllama([FakeModel(name="m", load_s=3)]) as fake:
        with OllamaProvider(fake.url, model="m", retry=ONCE) as provider:
            with pytest.raises(LimitError):
                provider.chat("Hi", timeout=1)
            assert fake.exchanges[-1].client_gone.wait(GRACE_S)
            assert fake.loaded == {}  # the load ended because its only client disconnected
            assert (provider.chat("Hi").server_timings.load_s or 0) > 3
            assert (provider.chat("Hi").server_timings.load_s or 0) < 3
            running = get(fake.url + "/api/ps").json()["models"]
            get(fake.url + "/api/chat", method="POST", json={"model": "m", "keep_alive": 0})

    assert running[0]["context_length"] == 4096
    assert fake.loaded == {}


@pytest.mark.sample(22)
@pytest.mark.parametrize(
    ("keep_alive", "seconds"),
    [
        (None, 300),
        (90, 90),
        (1.5, 1.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("+90s", 90),
        (".5m", 30),
        ("2m500ms", 120.5),
        ("1500000us", 1.5),
        ("1000000000ns", 1),
        (-1, 292 * 365 * 86400),
        ("-1m", 292 * 365 * 86400),
        (1e300, 292 * 365 * 86400),
        ("99999999999h", 292 * 365 * 86400),
    ],
)
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings"])
def test_ollama_keeps_a_model_for_every_form_of_duration(
    path: str, keep_alive: Any, seconds: float
) -> None:
    asked = {"messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"}
    with FakeOllama([FakeModel(name="m", abilities=("chat", "completion", "embeddings"))]) as fake:
        answer = get(
            fake.url + path, method="POST", json={**asked, "model": "m", "keep_alive": keep_alive}
        )
        left = fake.expires["m"] - datetime.now(timezone.utc)

    assert answer.status_code == 200
    assert left.total_seconds() == pytest.approx(seconds, abs=60)


@pytest.mark.parametrize("keep_alive", [0, "0", "0s", "-0m"])
def test_ollama_unloads_after_a_keep_alive_of_zero(keep_alive: Any) -> None:
    with FakeOllama([FakeModel(name="m", loaded=True)]) as fake:
        assert list(fake.loaded) == ["m"]
        body = {"model": "m", "keep_alive": keep_alive}
        answer = get(fake.url + "/api/chat", method="POST", json=body)

    assert answer.json()["done_reason"] == "unload"
    assert fake.loaded == {}


@pytest.mark.parametrize(
    ("keep_alive", "words"),
    [
        ("300", 'time: missing unit in duration "300"'),
        ("-1", 'time: missing unit in duration "-1"'),
        ("soon", 'time: invalid duration "soon"'),
        ("5 m", 'time: invalid duration "5 m"'),
        ("", 'time: invalid duration ""'),
        (True, "Unsupported type: 'bool'"),
        ([5], "Unsupported type: '[]interface {}'"),
    ],
)
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed"])
def test_ollama_refuses_what_is_no_duration(path: str, keep_alive: Any, words: str) -> None:
    with FakeOllama(["m"]) as fake:
        body = {"model": "m", "prompt": "x", "keep_alive": keep_alive}
        answer = get(fake.url + path, method="POST", json=body)

    assert (answer.status_code, answer.json()) == (400, {"error": words})


@pytest.mark.parametrize("is_guarded", [False, True])
def test_ollama_ends_an_answer_that_repeats_itself(is_guarded: bool) -> None:
    body = {"model": "llama3.2", "messages": [{"role": "user", "content": "Hi"}]}
    with FakeOllama() as fake:
        fake.repeat_guard = is_guarded
        fake.usual = "So:" + " ha" * 40
        streamed = get(fake.url + "/api/chat", method="POST", json=body).text.splitlines()
        whole = get(fake.url + "/api/chat", method="POST", json={**body, "stream": False}).json()
        fake.usual = "ha " * 31
        short = get(fake.url + "/api/chat", method="POST", json=body).text.splitlines()

    records = [json.loads(line) for line in streamed]
    text = "".join(record["message"]["content"] for record in records)
    assert text == whole["message"]["content"] == "So:" + " ha" * (31 if is_guarded else 40)
    assert records[-1]["done"] == whole["done"] == (not is_guarded)
    assert ("done_reason" in whole) == ("eval_count" in whole) == (not is_guarded)
    assert json.loads(short[-1])["done"]


def test_ollama_may_answer_whole() -> None:
    body = {"model": "llama3.2", "stream": False, "messages": [{"role": "user", "content": "Hi"}]}
    with FakeOllama() as fake:
        answer = get(fake.url + "/api/chat", method="POST", json=body).json()

    assert answer["message"]["content"] == "Hello there, friend."
    assert answer["done"] is True


# --- LM Studio ------------------------------------------------------------------------------


def test_an_lmstudio_by_itself(fake_lmstudio: FakeLMStudio) -> None:
    with LMStudioProvider(model="qwen/qwen3-4b") as provider:
        chat, vectors = provider.list_models()
        assert (chat.loaded, vectors.capabilities.embeddings) == (False, True)
        assert provider.chat("Hi").text == "Hello there, friend."
        assert provider.list_models()[0].capabilities.loaded_context_length == 4096
        assert provider.complete(CompletionRequest(prompt="Once")).text == "Hello there, friend."
        assert provider.embed("a", model=vectors.name).usage.prompt_tokens is None


def test_lmstudio_knows_no_unknown_path(fake_lmstudio: FakeLMStudio) -> None:
    answer = get(fake_lmstudio.url + "/api/tags")

    assert answer.status_code == 200
    assert answer.json()["error"].startswith("Unexpected endpoint or method. (GET /api/tags)")
    assert get(fake_lmstudio.url + "/lmstudio-greeting").json() == {"lmstudio": True}


def test_lmstudios_one_loaded_model_answers_for_others(fake_lmstudio: FakeLMStudio) -> None:
    with LMStudioProvider(model="qwen/qwen3-4b") as provider:
        with pytest.raises(ModelNotFoundError):
            provider.chat("Hi", model="nope")
        provider.chat("Hi")
        with pytest.raises(WrongModelError) as caught:
            provider.chat("Hi", model="nope")

    assert caught.value.served == "qwen/qwen3-4b"


def test_an_older_lmstudio_has_the_older_list() -> None:
    models = [FakeModel(name="m", abilities=("chat", "vision"), loaded=True)]
    with FakeLMStudio(models, generation="0.3") as fake, LMStudioProvider(fake.url) as provider:
        (info,) = provider.list_models()
        assert (info.loaded, info.capabilities.vision) == (True, True)
        assert get(fake.url + "/v1/models").json()["data"][0]["id"] == "m"


def test_lmstudio_without_jit_loading() -> None:
    with FakeLMStudio(jit=False) as fake, LMStudioProvider(fake.url, model="x") as provider:
        with pytest.raises(ModelNotFoundError, match="No models loaded"):
            provider.chat("Hi")
        assert get(fake.url + "/api/v0/models").json()["data"] == []


def test_lmstudio_asks_for_its_key() -> None:
    with FakeLMStudio(api_key="k" * 20) as fake:
        for key in (None, "wrong-key-that-is-long"):
            with LMStudioProvider(fake.url, api_key=key) as provider:
                with pytest.raises(AuthenticationError):
                    provider.list_models()
        with LMStudioProvider(fake.url, api_key="k" * 20) as provider:
            assert len(provider.list_models()) == 2


def test_lmstudio_refuses_what_does_not_fit() -> None:
    models = [FakeModel(name="m", context_length=5)]
    with FakeLMStudio(models) as fake, LMStudioProvider(fake.url, model="m") as provider:
        with pytest.raises(ContextOverflowError) as caught:
            provider.chat("one two three four five six")

    assert (caught.value.prompt_tokens, caught.value.context_length) == (6, 5)


# --- the dialect ----------------------------------------------------------------------------


def test_a_server_of_the_dialect() -> None:
    with FakeOpenAICompatible(api_key="k" * 9) as fake:
        options: Dict[str, Any] = {"model": "some-model", "api_key": "k" * 9}
        with OpenAICompatibleProvider(fake.base_url, **options) as provider:
            assert provider.list_models()[0].capabilities.max_context_length == 131072
            vectors = provider.embed("a dog", model="some-embedding-model")
            assert vectors.embeddings[0] == pytest.approx(vector_of("a dog", 16))
            assert vectors.usage.prompt_tokens == 2
            assert provider.chat("Hi", model="other").warnings
        with OpenAICompatibleProvider(fake.url, model="m", api_key="k" * 9) as provider:
            with pytest.raises(UnsupportedError):
                provider.chat("Hi")
        with OpenAICompatibleProvider(fake.base_url, model="m") as provider:
            with pytest.raises(AuthenticationError):
                provider.chat("Hi")


# --- scripts --------------------------------------------------------------------------------

SERVERS: List[Any] = [
    (FakeOllama, OllamaProvider, "llama3.2"),
    (FakeLMStudio, LMStudioProvider, "qwen/qwen3-4b"),
]


@pytest.mark.parametrize("body", [b"", b"no \xc3\xbc", b"\xff\xfe\x00", bytes(range(256))], ids=len)
def test_the_bytes_of_a_refusal_are_sent_unchanged(body: bytes) -> None:
    with FakeOllama() as fake:
        fake.reply_with(Refusal(status="503 Busy", body=body))
        request = {"model": "llama3.2", "messages": [{"role": "user", "content": "Hi"}]}
        answer = requests.post(f"{fake.url}/api/chat", json=request, timeout=10)
    assert (answer.status_code, answer.content) == (503, body)


@pytest.mark.parametrize(("fake_class", "provider_class", "model"), SERVERS)
def test_replies_come_in_order(fake_class: Any, provider_class: Any, model: str) -> None:
    call = ToolCall(id="one", name="f", arguments={"a": [1, "ü"]})
    able = FakeModel(name=model, abilities=("chat", "completion", "tools", "thinking"))
    with fake_class([able]) as fake, provider_class(fake.url, model=model, retry=ONCE) as provider:
        fake.reply_with(
            "  odd   blanks\n",
            Reply(text="yes", thinking="let me think"),
            Reply(text="", tool_calls=(call, call.replace(id="two"))),
            Refusal(status="503 Busy", body={"error": "no"}, headers={"Retry-After": "7"}),
            lambda exchange: f"{exchange.method} {len(exchange.json['messages'])}",
        )
        assert provider.chat("Hi").text == "  odd   blanks\n"
        second = provider.chat("Hi")
        assert (second.text, second.thinking) == ("yes", "let me think")
        assert provider.chat("Hi").tool_calls == (call, call.replace(id="two"))
        with pytest.raises(ServerBusyError) as caught:
            provider.chat("Hi")
        assert provider.chat("Hi").text == "POST 1"
        fake.usual = "usual text"
        assert provider.chat("Hi").text == "usual text"
        assert provider.chat("Hi", max_tokens=1).finish_reason == "length"
        fake.reply_with("forgotten")
        fake.heal()
        assert provider.chat("Hi").text == "usual text"

    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(("fake_class", "provider_class", "model"), SERVERS)
def test_pieces_come_one_by_one(fake_class: Any, provider_class: Any, model: str) -> None:
    with fake_class() as fake, provider_class(fake.url, model=model) as provider:
        fake.reply_with(Reply(text="one two three", pause_s=0.01))
        with provider.stream("Hi") as stream:
            assert [chunk.text for chunk in stream if chunk.text] == ["one", " two", " three"]


@pytest.mark.parametrize("text", ["", " ", "a", " a b ", "a\n\nb", "\n", "你好 😀  x"])
def test_the_pieces_are_the_text(text: str) -> None:
    assert "".join(words_of(text)) == text


def test_what_the_client_left_behind_is_seen(fake_ollama: FakeOllama) -> None:
    with OllamaProvider(model="llama3.2") as provider:
        provider.chat("Hi")
        assert fake_ollama.open_connections == 1
        exchange = fake_ollama.exchanges[-1]
        assert exchange.answered.wait(GRACE_S)
        assert not exchange.client_gone.is_set()

    assert exchange.client_gone.wait(GRACE_S)
    assert fake_ollama.wait_for_connections(0, GRACE_S)


def test_a_server_may_be_down_for_a_while(fake_ollama: FakeOllama) -> None:
    with OllamaProvider(model="llama3.2", retry=ONCE) as provider:
        with fake_ollama.down(), pytest.raises(UnreachableError):
            provider.chat("Hi")
        assert provider.chat("Hi").text == "Hello there, friend."


@pytest.mark.parametrize("fake", [FakeOllama, FakeLMStudio, FakeOpenAICompatible])
def test_a_fake_listens_on_a_unix_socket_which_exists_while_it_runs(
    fake: Any, socket_path: str
) -> None:
    with fake(["m"], unix=socket_path) as server:
        assert (server.url, server.port) == (f"unix://{socket_path}", 0)
        assert server.url_of("/v1") == f"unix://{socket_path}:/v1"
        with OpenAICompatibleProvider(server.url, model="m", retry=ONCE) as provider:
            with server.down(), pytest.raises(UnreachableError, match="there is no UNIX socket"):
                provider.chat("Hi")
            assert provider.chat("Hi").text == "Hello there, friend."
        assert os.path.exists(socket_path)

    assert not os.path.exists(socket_path)


def test_a_fake_does_not_take_a_socket_that_exists(socket_path: str) -> None:
    with FakeOllama(unix=socket_path), pytest.raises(OSError):
        FakeOllama(unix=socket_path)

    with open(socket_path, "x"):
        pass
    with pytest.raises(OSError):
        FakeOllama(unix=socket_path)
    assert os.path.exists(socket_path)


@pytest.mark.parametrize("options", [{"port": 1}, {"tls": ssl.create_default_context()}])
def test_a_unix_socket_has_neither_a_port_nor_tls(options: Any, socket_path: str) -> None:
    with pytest.raises(ValueError, match="unix excludes tls and port"):
        FakeOllama(unix=socket_path, **options)


# --- faults ---------------------------------------------------------------------------------


def test_a_fault_strikes_as_often_as_it_is_told(
    fake_ollama: FakeOllama, fake_clock: FakeTime
) -> None:
    limits = Limits(total_s=2)
    with OllamaProvider(model="llama3.2", retry=ONCE) as provider:
        fake_ollama.break_next("silence")
        with pytest.raises(LimitError):
            provider.chat("Hi", timeout=limits)
        assert provider.chat("Hi").text == "Hello there, friend."
        fake_ollama.break_next("status 503 with HTML", times=2)
        for _ in range(2):
            with pytest.raises(ServerBusyError):
                provider.chat("Hi")
        assert provider.chat("Hi").text == "Hello there, friend."
        fake_ollama.break_next("status 503 with HTML", path="/api/tags")
        assert provider.chat("Hi").text == "Hello there, friend."
        with pytest.raises(ServerBusyError):
            provider.list_models()


def test_an_unknown_fault_is_refused_with_the_nearest(fake_ollama: FakeOllama) -> None:
    with pytest.raises(ValueError, match="did you mean 'body stalled'"):
        fake_ollama.break_next("body stalledd")


def test_a_fault_that_cannot_strike_is_refused(fake_lmstudio: FakeLMStudio) -> None:
    (fault, *_) = (fault for fault in FAULTS if fault.kinds == ("progress",))
    with pytest.raises(ValueError, match="does not apply to any response of FakeLMStudio"):
        fake_lmstudio.break_next(fault)


def test_every_fault_says_what_it_spoils() -> None:
    assert all(set(fault.kinds) <= set(KINDS) for fault in FAULTS)
    assert repr(FAULTS[0]) == f"<Fault {FAULTS[0].name!r}>"


def test_many_clients_at_once(fake_ollama: FakeOllama) -> None:
    texts: List[str] = []

    def echo(exchange: Exchange) -> str:
        return str(exchange.json["messages"][0]["content"])

    fake_ollama.usual = echo
    with OllamaProvider(model="llama3.2") as provider:
        threads = [
            threading.Thread(target=lambda n=n: texts.append(provider.chat(f"number {n}").text))
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(texts) == sorted(f"number {n}" for n in range(16))


@pytest.mark.parametrize("times", [0, -1])
def test_a_fault_strikes_at_least_once(fake_ollama: FakeOllama, times: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        fake_ollama.break_next("silence", times=times)


@pytest.mark.parametrize("reply", [None, 42, b"bytes"])
def test_what_is_no_reply_is_refused_at_once(fake_ollama: FakeOllama, reply: Any) -> None:
    with pytest.raises(TypeError, match="expected a string, Reply"):
        fake_ollama.reply_with(reply)


def test_a_fault_waits_for_what_it_can_spoil(fake_ollama: FakeOllama) -> None:
    with OllamaProvider(model="llama3.2", retry=ONCE, locality="any") as provider:
        fake_ollama.break_next("a number for the list")
        fake_ollama.break_next("too few vectors", times=None)
        assert provider.complete(CompletionRequest(prompt="x")).text == "Hello there, friend."
        with pytest.raises(EmbeddingError):
            provider.embed(["a", "b"], model="nomic-embed-text")
        with pytest.raises(ProtocolError):
            provider.list_models()


def test_a_body_in_chunks_is_read(fake_ollama: FakeOllama) -> None:
    pieces = iter([b'{"model": "llama3.2", "messages": [{"role": "user", ', b'"content": "Hi"}]}'])
    answer = get(fake_ollama.url + "/api/chat", method="POST", data=pieces)

    assert answer.status_code == 200
    assert fake_ollama.exchanges[-1].json["messages"][0]["content"] == "Hi"


def test_a_server_that_stops_does_not_answer_a_half_read_request() -> None:
    class Watched(FakeOllama):
        reading = threading.Event()

        def _before_body(self, exchange: Exchange) -> None:
            self.reading.set()
            exchange.stopping.wait(GRACE_S)  # the rest of the body comes too late

    server = Watched()
    server.start()
    address = server.url.rpartition("/")[2].rpartition(":")
    with socket.create_connection((address[0], int(address[2]))) as client:
        client.sendall(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert server.reading.wait(GRACE_S)
        server.stop()
        assert client.recv(1024) == b""


def test_an_unknown_ability_is_refused_with_the_right_words() -> None:
    with pytest.raises(ValueError) as caught:
        FakeModel(name="llava", abilities=("chat", "images"))
    assert str(caught.value) == (
        "there is no ability 'images'; the abilities are chat, completion, tools, vision, audio, "
        "thinking, insert, embeddings, rerank, decision"
    )


def test_a_request_without_a_body_has_no_json(fake_ollama: FakeOllama) -> None:
    with OllamaProvider() as provider:
        provider.list_models()
    assert fake_ollama.exchanges[-1].json is None


def test_a_server_does_not_listen_on_a_port_that_a_search_avoids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports: List[int] = []
    create_server = socket.create_server

    def create(*args: Any, **options: Any) -> socket.socket:
        listener = create_server(*args, **options)
        ports.append(listener.getsockname()[1])
        return listener

    def avoided() -> Dict[int, str]:
        return dict.fromkeys(ports[:1], "a port of another program")

    monkeypatch.setattr(socket, "create_server", create)
    monkeypatch.setattr("localproviders.testing.scripted.avoided_ports", avoided)
    with ScriptedServer(b"") as server:
        assert server.port == ports[1] != ports[0]
    with ScriptedServer(b"", port=ports[0]) as server:
        assert server.port == ports[0]
