"""The model that answered: the digest in answers, and `expect_digest` before a prompt is sent."""

from __future__ import annotations

import dataclasses
import pickle
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List

import pytest

from localproviders import (
    CallEvent,
    CompletionRequest,
    CompletionResponse,
    Decisions,
    EmbeddingRequest,
    EmbeddingResponse,
    LocalityError,
    LocalProvider,
    ModelNotFoundError,
    OllamaProvider,
    Parsed,
    Ranking,
    ToolRun,
    UnsupportedError,
    WrongModelError,
)
from localproviders.ollama import listed
from localproviders.testing import FakeModel, FakeOllama, Reply, ScriptedServer, http_answer
from localproviders.types import ToolCall

OLD, NEW = "0123456789abcdef" * 4, "fedcba9876543210" * 4


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    models = [
        FakeModel(name="m", digest=OLD),
        FakeModel(name="e", abilities=("embeddings",), digest=OLD),
        FakeModel(name="stub", remote_host="https://ollama.com:443", digest=OLD),
        FakeModel(name="bare", digest=""),
        FakeModel(name="other", digest=NEW),
        FakeModel(name="d", abilities=("decision",), digest=OLD),
    ]
    with FakeOllama(models) as fake:
        yield fake


@pytest.fixture
def ollama(server: FakeOllama) -> Iterator[OllamaProvider]:
    with OllamaProvider(server.url, model="m", timeout=60) as provider:
        yield provider


def asked(server: ScriptedServer) -> List[str]:
    return [exchange.path for exchange in server.exchanges]


def replace_models(server: FakeOllama) -> None:
    """Change the digest of every model, as a pull by another program does."""
    server.models[:] = [model.replace(digest=NEW) for model in server.models]


def add(a: int) -> int:
    """Add one."""
    return a + 1


def _responses(result: Any) -> List[Any]:
    if isinstance(result, list):
        return result
    if isinstance(result, ToolRun):
        return list(result.responses)
    return [result.response if isinstance(result, Parsed) else result]


CALLS: Dict[str, Callable[..., Any]] = {
    "chat": lambda p, **given: p.chat("Hi", **given),
    "stream": lambda p, **given: p.stream("Hi", **given).result(),
    "complete": lambda p, **given: p.complete(CompletionRequest(prompt="Once", **given)),
    "parse": lambda p, **given: p.parse("Hi", {"type": "string"}, **given),
    "run_tools": lambda p, **given: p.run_tools("Hi", add, **given),
    "stream_tools": lambda p, **given: p.stream_tools("Hi", add, **given).result(),
    "embed": lambda p, **given: p.embed(["one", "two"], model="e", **given),
    "decide": lambda p, **given: p.decide(
        "It is late.", {"late": "Is it late?"}, model="d", **given
    ),
    "decide by logprobs": lambda p, **given: p.decide(
        "It is late.", {"late": "Is it late?"}, method="logprobs", min_mass=0.0, **given
    ),
    "decide_many": lambda p, **given: list(
        p.decide_many(["a", "b"], {"late": "Is it late?"}, model="d", **given)
    ),
    "embed a request": lambda p, **given: p.embed(
        EmbeddingRequest(texts=["a"], model="e", **given)
    ),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def script(server: FakeOllama) -> None:
    """Let the model answer every kind of call: with a tool call first, if there are tools."""

    def reply(exchange: Any) -> Any:
        body = exchange.json
        if body.get("tools") and body["messages"][-1]["role"] == "user":
            return Reply(text="", tool_calls=(ToolCall(id="1", name="add", arguments={"a": 1}),))
        return Reply(text='"Hello"', first_token={"A": 0.9} if body.get("logprobs") else {})

    server.usual = reply


# --- what an answer says ---------------------------------------------------------------------


@every_call
def test_an_answer_names_provider_endpoint_model_and_digest(
    server: FakeOllama, ollama: OllamaProvider, call: Any
) -> None:
    script(server)
    for response in _responses(call(ollama)):
        assert (response.provider, response.endpoint) == ("ollama", server.url)
        assert (response.digest, response.request_id) == (OLD, None)
        assert response.model in ("m", "e", "d")
        assert response.to_dict()["digest"] == OLD
        again = pickle.loads(pickle.dumps(response))
        assert (again.endpoint, again.digest) == (server.url, OLD)
        assert type(response).from_dict(response.to_dict()).digest == OLD
        assert OLD in repr(response)


def test_the_digest_costs_no_request_of_its_own(server: FakeOllama, ollama: OllamaProvider) -> None:
    answers = [ollama.chat("Hi") for _ in range(3)]
    assert {answer.digest for answer in answers} == {OLD}
    assert asked(server) == ["/api/tags", *["/api/chat"] * 3]


@pytest.mark.parametrize("name", ["m", "M:latest", "m:local", "library/m"])
def test_a_model_has_its_digest_under_each_of_its_names(
    server: FakeOllama, ollama: OllamaProvider, name: str
) -> None:
    assert ollama.chat("Hi", model=name).digest == OLD


def test_without_a_list_the_digest_is_unknown_and_any_list_tells_it(server: FakeOllama) -> None:
    with OllamaProvider(server.url, model="m", locality="any") as ollama:
        assert ollama.chat("Hi").digest is None
        assert asked(server) == ["/api/chat"]
        ollama.list_models()
        assert ollama.chat("Hi").digest == OLD
        assert ollama.embed("Hi", model="e").digest == OLD
        assert ollama.chat("Hi", model="stub").digest is None  # a stub has no weights


def test_a_list_counts_for_a_minute(server: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(listed, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with OllamaProvider(server.url, model="m", locality="any") as ollama:
        ollama.list_models()
        now[0] += 59
        assert ollama.chat("Hi").digest == OLD
        now[0] += 2
        assert ollama.chat("Hi").digest is None


def test_the_digest_is_that_of_the_last_list(server: FakeOllama, ollama: OllamaProvider) -> None:
    assert ollama.chat("Hi").digest == OLD
    replace_models(server)
    assert ollama.chat("Hi").digest == OLD  # as the list said less than a minute ago
    ollama.list_models()
    assert ollama.chat("Hi").digest == NEW


@pytest.mark.parametrize(
    "change",
    [
        lambda ollama: ollama.pull("m"),
        lambda ollama: ollama.create("m", from_model="other", system="Be brief."),
        lambda ollama: ollama.copy("other", "m"),
    ],
    ids=["pull", "create", "copy"],
)
def test_a_change_by_this_provider_is_noticed(
    server: FakeOllama, ollama: OllamaProvider, change: Any
) -> None:
    assert ollama.chat("Hi").digest == OLD
    server.registry.append(FakeModel(name="m", digest=NEW))
    change(ollama)
    now = next(info.digest for info in ollama.list_models() if info.name == "m:latest")
    ollama._listed.forget()  # only the list of the next call counts
    assert ollama.chat("Hi").digest == now


def test_another_model_has_not_the_digest_of_the_requested_one(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    server.reply_with(Reply(model="another"))
    response = ollama.chat("Hi", allow_other_model=True)
    assert (response.model, response.digest) == ("another", None)


@pytest.mark.parametrize("word", ["", "surprise", 7, None, [OLD], "0123456789a", OLD + "0"])
def test_a_word_that_is_no_digest_is_none(word: Any) -> None:
    def answer(exchange: Any) -> Any:
        if exchange.path == "/api/tags":
            listed = {"name": "m:latest", "model": "m:latest", "digest": word}
            return [http_answer({"models": [listed]})]
        record = {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": True}
        return [http_answer({**record, "done_reason": "stop"})]

    with ScriptedServer(answer) as server, OllamaProvider(server.url, model="m") as ollama:
        assert ollama.chat("Hi").digest is None
        with pytest.raises(UnsupportedError, match="no digest"):
            ollama.chat("Hi", expect_digest=OLD)


def test_a_name_with_two_digests_has_none(server: FakeOllama, ollama: OllamaProvider) -> None:
    server.break_next("each model twice", path="/api/tags", times=None)
    assert ollama.chat("Hi").digest is None
    assert [info.runner for info in ollama.list_models() if info.name == "m:latest"] == ["gguf"] * 2
    with pytest.raises(WrongModelError):
        ollama.chat("Hi", expect_digest=OLD)


def test_the_last_event_of_a_call_has_the_digest(server: FakeOllama) -> None:
    events: List[CallEvent] = []
    with OllamaProvider(server.url, listeners=[events.append]) as ollama:
        ollama.chat("Hi", model="m")
        ollama.embed("Hi", model="e")
        ollama.decide("It is late.", {"late": "Is it late?"}, model="d")
    found = [(event.kind, event.digest) for event in events if event.digest]
    assert found == [("finished", OLD)] * 3


# --- expect_digest ---------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize("form", ["{}", "sha256:{}"])
def test_the_expected_digest_lets_a_call_pass(
    server: FakeOllama, ollama: OllamaProvider, call: Any, form: str
) -> None:
    script(server)
    for digits in (OLD, OLD[:12], OLD[:30].upper()):
        result = call(ollama, expect_digest=form.format(digits))
        assert {response.digest for response in _responses(result)} == {OLD}


@every_call
def test_another_digest_is_an_error_before_the_prompt_is_sent(
    server: FakeOllama, ollama: OllamaProvider, call: Any
) -> None:
    script(server)
    call(ollama)
    replace_models(server)
    before = len(server.exchanges)

    with pytest.raises(WrongModelError, match=r"expected .[med]. with the digest 0123") as caught:
        call(ollama, expect_digest=OLD)

    assert asked(server)[before:] == ["/api/tags"]
    error = caught.value
    assert (error.requested, error.served) == (OLD, NEW)
    assert error.hint and (error.provider, error.model) == ("ollama", error.model)
    assert error.model in ("m", "e", "d")
    again = pickle.loads(pickle.dumps(error))
    assert (again.requested, again.served) == (OLD, NEW)
    for response in _responses(call(ollama, expect_digest=NEW)):
        assert response.digest == NEW


def test_the_list_is_read_again_for_each_call_and_once_for_all_batches(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    for _ in range(2):
        ollama.chat("Hi", expect_digest=OLD)
    assert asked(server) == ["/api/tags", "/api/chat"] * 2
    ollama.embed(["a", "b", "c"], model="e", batch_size=1, expect_digest=OLD)
    assert asked(server)[4:] == ["/api/tags", *["/api/embed"] * 3]


def test_a_digest_that_changes_between_two_rounds_ends_the_run(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    def replace(a: int) -> int:
        """Replace the model while the tool runs."""
        replace_models(server)
        return a

    server.reply_with(
        Reply(text="", tool_calls=(ToolCall(id="1", name="replace", arguments={"a": 1}),))
    )
    with pytest.raises(WrongModelError) as caught:
        ollama.run_tools("Hi", replace, expect_digest=OLD)
    assert len(caught.value.run.steps) == 1
    assert asked(server).count("/api/chat") == 1


def test_a_fault_of_the_fake_changes_the_digests(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    server.break_next("other digests", path="/api/tags")
    with pytest.raises(WrongModelError):
        ollama.chat("Hi", expect_digest=OLD)
    assert ollama.chat("Hi", expect_digest=OLD).digest == OLD


@pytest.mark.parametrize("model", ["stub", "stub:cloud", "bare"])
def test_a_model_without_a_digest_cannot_be_expected(server: FakeOllama, model: str) -> None:
    with OllamaProvider(server.url, locality="any") as ollama:
        with pytest.raises(UnsupportedError, match="expect_digest"):
            ollama.chat("Hi", model=model, expect_digest=OLD, strict=False)
        with pytest.raises(UnsupportedError, match="expect_digest"):
            ollama.embed("Hi", model=model, expect_digest=OLD)
    assert set(asked(server)) <= {"/api/tags"}


@pytest.mark.parametrize("model", ["stub", "stub:cloud"])
def test_the_locality_is_checked_before_the_digest(ollama: OllamaProvider, model: str) -> None:
    with pytest.raises(LocalityError):
        ollama.chat("Hi", model=model, expect_digest=OLD)


def test_a_missing_model_is_missing(ollama: OllamaProvider) -> None:
    with pytest.raises(ModelNotFoundError):
        ollama.chat("Hi", model="missing", expect_digest=OLD)


@pytest.mark.parametrize(
    "value", ["", "abc", "0123456789a", "sha256:0123", "g" * 12, "md5:" + OLD, OLD + "0", 12, b"a"]
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_value_that_is_no_digest_is_one_clear_line(
    server: FakeOllama, ollama: OllamaProvider, call: Any, value: Any
) -> None:
    with pytest.raises(ValueError, match=r"^expect_digest is .*12 to 64 hexadecimal digits.*$"):
        call(ollama, expect_digest=value)
    assert not server.exchanges


def test_a_request_stores_the_digits_only() -> None:
    request = CompletionRequest(prompt="Hi", expect_digest=f" SHA256:{OLD.upper()} ")
    assert request.expect_digest == OLD
    assert CompletionRequest.from_dict(request.to_dict()) == request


# --- several servers -------------------------------------------------------------------------


@every_call
def test_the_next_server_answers_if_only_it_has_the_expected_digest(
    server: FakeOllama, call: Any
) -> None:
    script(server)
    other = FakeOllama([model.replace(digest=NEW) for model in server.models])
    with other, LocalProvider(
        [OllamaProvider(other.url, name="other"), OllamaProvider(server.url, name="ours")],
        model="m",
    ) as provider:
        for response in _responses(call(provider, expect_digest=OLD)):
            assert (response.provider, response.digest) == ("ours", OLD)
            assert [each.error for each in response.tried] == ["WrongModelError"]
            assert response.endpoint == server.url
        assert not {"/api/chat", "/api/generate", "/api/embed"} & set(asked(other))


def test_the_fields_of_all_answers_are_the_same() -> None:
    shared = {"provider", "endpoint", "digest", "request_id"}
    for kind in (CompletionResponse, EmbeddingResponse, Ranking, Decisions):
        assert shared <= {each.name for each in dataclasses.fields(kind)}
