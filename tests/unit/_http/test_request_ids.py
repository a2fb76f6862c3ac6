"""The id of a request in the server's log: in answers and errors, and never with a secret."""

from __future__ import annotations

import pickle
from typing import Any, Callable, Dict

import pytest

from localproviders import (
    CompletionRequest,
    EmbeddingError,
    LimitError,
    LMStudioProvider,
    LocalProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    ServerError,
    StreamInterruptedError,
)
from localproviders._http.request_ids import find_request_id
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    Refusal,
    Reply,
    ScriptedServer,
    http_answer,
)

ID = "req_0123-abc"
NAMES = (
    "x-request-id",
    "request-id",
    "x-generation-id",
    "apim-request-id",
    "x-typesafe-request-id",
)


@pytest.mark.parametrize("name", NAMES)
def test_each_header_is_read_in_any_case(name: str) -> None:
    assert find_request_id({"Server": "s", name: ID}) == ID
    assert find_request_id({name.title(): ID}) == ID


def test_the_first_name_of_the_table_that_has_an_id_counts() -> None:
    assert find_request_id({name: f"id-{name}" for name in reversed(NAMES)}) == "id-x-request-id"
    assert find_request_id({"x-request-id": "not an id", "request-id": ID}) == ID


@pytest.mark.parametrize("value", ["", "two words", "a\tb", "é", "x" * 129, "<b>", '"quoted"'])
def test_a_value_that_is_no_single_word_is_not_an_id(value: str) -> None:
    assert find_request_id({"X-Request-Id": value}) is None
    assert find_request_id({"Content-Type": "text/plain"}) is None


# --- in answers and errors -------------------------------------------------------------------

BACKENDS: Dict[str, Any] = {
    "ollama": (FakeOllama, OllamaProvider, "llama3.2", "nomic-embed-text"),
    "lmstudio": (FakeLMStudio, LMStudioProvider, None, None),
    "openai": (FakeOpenAICompatible, OpenAICompatibleProvider, None, None),
}
CALLS: Dict[str, Callable[..., Any]] = {
    "chat": lambda p, chat, _: p.chat("Hi", model=chat),
    "stream": lambda p, chat, _: p.stream("Hi", model=chat).result(),
    "complete": lambda p, chat, _: p.complete(CompletionRequest(prompt="Once", model=chat)),
    "embed": lambda p, _, vectors: p.embed(["a", "b"], model=vectors, batch_size=1),
    "list": lambda p, *_: p.list_models(),
}
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_call = pytest.mark.parametrize("call", CALLS)


class Bench:
    """A fake server whose responses have an id, and its provider."""

    def __init__(self, backend: str, **options: Any) -> None:
        fake, provider, self.chat, self.vectors = BACKENDS[backend]
        self.fake = fake(["chat-model", "embed-model"], **options.pop("fake", {}))
        self.fake.headers["X-Request-Id"] = ID
        self.make, self.options = provider, options

    def __enter__(self) -> Bench:
        self.fake.start()
        base = getattr(self.fake, "base_url", self.fake.url)
        address = base if self.make is OpenAICompatibleProvider else self.fake.url
        options = {"retry": RetryPolicy(attempts=1), "timeout": 60, **self.options}
        self.provider = self.make(address, **options)
        return self

    def __exit__(self, *_: object) -> None:
        self.provider.close()
        self.fake.stop()

    def run(self, call: str) -> Any:
        """Make one call."""
        return CALLS[call](self.provider, "chat-model", "embed-model")


@every_backend
@pytest.mark.parametrize("call", ["chat", "stream", "complete", "embed"])
def test_an_answer_has_the_id(backend: str, call: str) -> None:
    with Bench(backend) as bench:
        response = bench.run(call)
        assert response.request_id == ID
        assert response.endpoint == bench.provider.settings.endpoint.url
        assert type(response).from_dict(response.to_dict()).request_id == ID
        assert pickle.loads(pickle.dumps(response)).request_id == ID
        bench.fake.headers.clear()
        assert bench.run(call).request_id is None


@every_backend
@every_call
@pytest.mark.parametrize("fault", ["not JSON", "body cut", "a list at the top"])
def test_an_error_has_the_id(backend: str, call: str, fault: str) -> None:
    with Bench(backend) as bench:
        bench.run(call)  # so that the list is known
        # A list of LM Studio has several paths.
        bench.fake.break_next(fault, path="/" if call == "list" else "", times=None)
        with pytest.raises(ProviderError) as caught:
            bench.run(call)
        assert caught.value.request_id == ID
        assert pickle.loads(pickle.dumps(caught.value)).request_id == ID
        assert caught.value.to_dict()["request_id"] == ID
        assert ID not in str(caught.value)


@every_backend
@pytest.mark.parametrize("call", ["chat", "stream", "complete"])
def test_a_refusal_has_the_id(backend: str, call: str) -> None:
    with Bench(backend) as bench:
        bench.fake.reply_with(Refusal(status="500 Broken", body={"error": "no"}))
        with pytest.raises(ServerError) as caught:
            bench.run(call)
        assert (caught.value.request_id, caught.value.status) == (ID, 500)


def test_an_id_belongs_to_the_last_request_of_the_call() -> None:
    busy = http_answer({"error": "busy"}, status="503 Busy", headers=[("X-Request-Id", "first")])

    def answer(exchange: Exchange) -> Any:
        return [busy] if len(server.exchanges) == 1 else [lambda exchange: exchange.close()]

    with ScriptedServer(answer) as server, OpenAICompatibleProvider(
        server.url + "/v1", model="m", retry=RetryPolicy(attempts=2, first_wait_s=0)
    ) as provider:
        with pytest.raises(StreamInterruptedError) as caught:
            provider.chat("Hi", timeout=60)
        # The second request got no response, so the id of the first one would be wrong.
        assert caught.value.request_id is None
    assert len(server.exchanges) == 2


def test_a_text_that_is_refused_alone_has_the_id_of_its_request() -> None:
    with Bench("ollama") as bench:
        bench.fake.poison("bad", Refusal(status="400 Bad Request", body={"error": "no"}))
        with pytest.raises(EmbeddingError) as caught:
            bench.provider.embed(["good", "bad"], model="embed-model")
        assert (caught.value.request_id, caught.value.errors[1].request_id) == (ID, ID)


def test_a_limit_that_expires_in_a_stream_has_the_id() -> None:
    with Bench("openai") as bench:
        bench.fake.break_next("body stalled")
        with pytest.raises(LimitError) as caught:
            bench.provider.chat("Hi", model="chat-model", timeout=0.3)
        assert caught.value.request_id == ID


def test_a_server_that_is_down_gives_no_id() -> None:
    with Bench("openai") as bench:
        bench.run("chat")
        with bench.fake.down(), pytest.raises(ProviderError) as caught:
            bench.run("chat")
        assert caught.value.request_id is None


def test_several_servers_hand_the_id_on() -> None:
    with Bench("ollama") as bench, LocalProvider([bench.provider], model="chat-model") as local:
        assert local.chat("Hi").request_id == ID
        assert local.stream("Hi").result().request_id == ID
        assert local.embed("Hi", model="embed-model").request_id == ID


def test_a_ranking_has_the_id() -> None:
    with FakeOpenAICompatible(["a-reranker"]) as fake:
        fake.headers["Request-Id"] = ID
        with OpenAICompatibleProvider(fake.base_url, model="a-reranker") as provider:
            ranking = provider.rerank("dog", ["a dog", "a cat"])
    assert (ranking.request_id, ranking.digest, ranking.endpoint) == (ID, None, fake.base_url)


@pytest.mark.parametrize("method", [None, "logprobs"])
def test_decisions_have_the_id(method: Any) -> None:
    with FakeOpenAICompatible(["a-decider", "m"]) as fake:
        fake.headers["X-Request-Id"] = ID
        fake.usual = Reply(first_token={"A": 0.9, "B": 0.1})
        model = "m" if method else "a-decider"
        with OpenAICompatibleProvider(fake.base_url, model=model) as provider:
            made = provider.decide("It is late.", {"late": "Is it late?"}, method=method)
            assert (made.request_id, made.digest, made.endpoint) == (ID, None, fake.base_url)
            fake.reply_with(Refusal(status="400 Bad Request", body={"error": "no"}))
            states = provider.decide_many(["a"], {"late": "Is it late?"}, method=method)
            (failed,) = list(states)
            assert failed.error is not None
            assert failed.request_id == failed.error.request_id == ID


# --- never a secret --------------------------------------------------------------------------

KEY = "sk-0123456789abcdef"


@every_backend
@pytest.mark.parametrize("value", [KEY, f"Bearer-{KEY}", f"a/{KEY}/b"])
def test_an_id_with_the_key_is_dropped(backend: str, value: str) -> None:
    with Bench(backend, api_key=KEY, fake={"api_key": KEY}) as bench:
        bench.fake.headers["X-Request-Id"] = value
        response = bench.run("chat")
        assert response.request_id is None
        assert KEY not in repr(response.to_dict())
        bench.fake.reply_with(Refusal(status="500 Broken", body={"error": "no"}))
        with pytest.raises(ServerError) as caught:
            bench.run("chat")
        assert caught.value.request_id is None
        assert KEY not in repr(caught.value.to_dict())


def test_an_id_with_a_header_of_the_caller_or_a_password_is_dropped() -> None:
    given: Any = {"headers": {"X-Team": "team-0123456789"}, "auth": ("ann", "pass-0123456789")}
    with Bench("ollama", **given) as bench:
        for value in ("team-0123456789", "id:pass-0123456789"):
            bench.fake.headers["X-Request-Id"] = value
            assert bench.run("chat").request_id is None


def test_an_id_of_an_error_does_not_quote_the_prompt() -> None:
    with Bench("openai") as bench:
        bench.fake.headers["X-Request-Id"] = "the-secret-of-the-patient"
        bench.fake.break_next("not JSON")
        with pytest.raises(ProviderError) as caught:
            bench.provider.chat("the-secret-of-the-patient", model="chat-model")
        assert caught.value.request_id is None
