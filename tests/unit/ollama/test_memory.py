"""Models in the memory of the fake server: loading, extending the keep-alive, unloading."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterator, List, Optional

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    CompletionRequest,
    ConfigurationError,
    LimitError,
    Limits,
    LocalityError,
    ModelLoadError,
    ModelNotFoundError,
    OllamaProvider,
    ProviderError,
    UnsupportedError,
)
from localproviders.telemetry import CallEvent
from localproviders.testing import (
    Exchange,
    FakeModel,
    FakeOllama,
    FakeServer,
    ScriptedServer,
    http_answer,
)
from localproviders.testing.ollama.answers import RefusedError
from localproviders.types.limits import LISTING_TOTAL_S
from tests.support.fake_time import FakeTime
from tests.support.timing import GRACE_S


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    models = [
        FakeModel(name="m", max_context_length=8192),
        FakeModel(name="e", abilities=("embeddings",)),
        FakeModel(name="stub", remote_host="https://ollama.com:443"),
    ]
    with FakeOllama(models) as fake:
        yield fake


@pytest.fixture
def ollama(server: FakeOllama) -> Iterator[OllamaProvider]:
    with OllamaProvider(server.url, timeout=60) as provider:
        yield provider


def asked(server: ScriptedServer) -> List[str]:
    """Return the paths of all requests except those for lists."""
    return [e.path for e in server.exchanges if e.path not in ("/api/tags", "/api/ps")]


def test_nothing_is_loaded_at_first(ollama: OllamaProvider) -> None:
    assert ollama.loaded_models() == []


def test_a_model_is_loaded_with_the_window_asked_for(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    found = ollama.load("M:latest", context_length=2048, keep_alive=90)
    assert (found.name, found.provider, found.context_length) == ("m:latest", "ollama", 2048)
    assert found.load_s and found.load_s > 0
    assert found.warnings == ()
    assert found.expires_at and 80 < found.expires_at.timestamp() - time.time() < 100
    assert [item.name for item in ollama.loaded_models()] == ["m:latest"]
    (exchange,) = [e for e in server.exchanges if e.path == "/api/chat"]
    assert exchange.json == {
        "model": "M:latest", "messages": [], "stream": False,
        "options": {"num_ctx": 2048}, "keep_alive": 90, "shift": False,
    }  # fmt: skip


def test_a_model_that_stays_for_ever_has_no_end(ollama: OllamaProvider) -> None:
    assert ollama.load("m", keep_alive=math.inf).expires_at is None
    assert ollama.load("m", keep_alive=-1).expires_at is None
    assert ollama.load("m", keep_alive="10m").expires_at is not None


@pytest.mark.parametrize("window", [None, 2048])
def test_a_resident_model_is_left_as_it_is(
    server: FakeOllama, ollama: OllamaProvider, window: Any
) -> None:
    ollama.load("m", context_length=2048)
    before = asked(server)
    found = ollama.load("m:local", context_length=window)
    assert (found.load_s, found.context_length) == (0.0, 2048)
    assert asked(server) == before


def test_keep_alive_renews_the_timer_without_another_window(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.load("m", context_length=2048, keep_alive=60)
    found = ollama.load("m", keep_alive=3600)
    assert (found.load_s, found.context_length) == (0.0, 2048)
    assert found.expires_at and found.expires_at.timestamp() - time.time() > 3000
    renewal = [e for e in server.exchanges if e.path == "/api/chat"][-1].json
    assert (renewal["options"], renewal["keep_alive"]) == ({"num_ctx": 2048}, 3600)
    assert renewal["shift"] is False


def test_a_window_that_load_names_does_not_slide_and_nothing_loads_the_model_again(
    server: FakeOllama, ollama: OllamaProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    really_load = FakeServer.load

    def load(self: FakeServer, model: FakeModel, *args: Any) -> float:
        was = self.loaded.get(model.name)
        seconds = really_load(self, model, *args)
        loads.extend([model.name] if was != self.loaded[model.name] else [])
        return seconds

    monkeypatch.setattr(FakeServer, "load", load)
    ollama.load("m", context_length=1024)
    ollama.load("m", keep_alive=60)
    ollama.chat("Hi", model="m")
    ollama.complete(CompletionRequest(prompt="Hi", model="m"))
    ollama.chat("Hi", model="m", context_length=1024)
    ollama.load("m", context_length=1024)
    assert loads == ["m"]
    ollama.chat("Hi", model="m", overflow="allow")  # may slide, which is a reason for a reload
    assert loads == ["m", "m"]


def test_load_sends_a_request_for_a_model_that_another_program_loaded_with_the_same_window(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    with OllamaProvider(server.url) as other:
        other.chat("Hi", model="m", context_length=1024, overflow="allow")
    found = ollama.load("m", context_length=1024)
    assert found.load_s is not None
    assert server.exchanges[-2].json["shift"] is False
    assert asked(server) == ["/api/chat", "/api/chat"]


def test_without_a_window_the_model_is_loaded_as_other_programs_load_it(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.load("m")
    ollama.chat("Hi", model="m")
    ollama.load("m", context_length=1024)
    ollama.unload("m")
    ollama.load("m")
    sent = [e.json for e in server.exchanges if e.path == "/api/chat"]
    assert ["shift" in body for body in sent] == [False, False, True, False, False]


def test_another_window_loads_anew(server: FakeOllama, ollama: OllamaProvider) -> None:
    ollama.load("m", context_length=2048)
    assert ollama.load("m", context_length=4096).context_length == 4096
    assert len(asked(server)) == 2


def test_a_window_that_is_cut_down_is_said(ollama: OllamaProvider) -> None:
    found = ollama.load("m", context_length=100_000)
    assert found.context_length == 8192
    assert found.warnings == (
        "requested a context window of 100000 tokens, but the server allocated 8192",
    )


def test_an_embedding_model_is_loaded_by_an_empty_embedding(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    assert ollama.load("e").name == "e:latest"
    assert asked(server) == ["/api/chat", "/api/embed"]
    ollama.unload("e")
    assert ollama.loaded_models() == []


@pytest.mark.parametrize("able", ["chat", "embed"])
def test_a_load_whose_answer_names_another_host_is_refused(able: str) -> None:
    away = {"model": "m", "remote_host": "https://ollama.com"}
    answers = {
        "/api/tags": http_answer({"models": [{"name": "m:latest"}]}),
        "/api/ps": http_answer({"models": []}),
        "/api/chat": http_answer({"done": True, "done_reason": "load", **away}),
        "/api/embed": http_answer({"embeddings": [], **away}),
    }
    if able == "embed":
        answers["/api/chat"] = http_answer(
            {"error": '"m" does not support chat'}, status="400 Bad Request"
        )
    with ScriptedServer(lambda exchange: [answers[exchange.path]]) as server:
        with OllamaProvider(server.url) as ollama, pytest.raises(LocalityError) as caught:
            ollama.load("m")
    assert "ollama.com" in str(caught.value)
    assert asked(server)[-1] == f"/api/{able}"


def test_a_missing_model_is_not_found(ollama: OllamaProvider) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        ollama.load("nope")
    assert caught.value.model == "nope"


@pytest.mark.parametrize("name", ["m:cloud", "m:8b-cloud", "stub"])
def test_a_cloud_model_is_refused_like_its_prompts(
    server: FakeOllama, ollama: OllamaProvider, name: str
) -> None:
    with pytest.raises(LocalityError, match="runs in the cloud"):
        ollama.load(name)
    assert asked(server) == []


@pytest.mark.parametrize("name", ["m:cloud", "stub"])
def test_a_cloud_model_cannot_be_loaded_even_where_it_may_be_asked(
    server: FakeOllama, name: str
) -> None:
    with OllamaProvider(server.url, locality="any") as provider:
        with pytest.raises(UnsupportedError, match="cannot be loaded here"):
            provider.load(name)


@pytest.mark.parametrize(
    "fields",
    [
        {"context_length": 0}, {"context_length": 2.5}, {"context_length": True},
        {"keep_alive": 0}, {"keep_alive": 0.5}, {"keep_alive": "5M"},
        {"keep_alive": math.nan}, {"keep_alive": "0m"}, {"keep_alive": True},
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_before_anything_is_sent(
    server: FakeOllama, ollama: OllamaProvider, fields: Any
) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(fields))):
        ollama.load("m", **fields)
    assert server.exchanges == []


@pytest.mark.parametrize("load_s", [1000, 6])
def test_a_cold_load_ends_in_time(server: FakeOllama, fake_clock: FakeTime, load_s: float) -> None:
    server.models[:] = [FakeModel(name="m", load_s=load_s)]
    limits = Limits(load_s=4, first_token_s=1)
    with OllamaProvider(server.url, timeout=limits) as provider:
        with pytest.raises(LimitError) as caught:
            provider.load("m")
    assert (caught.value.limit, caught.value.elapsed_s) == ("first_token_s", 5)
    assert server.exchanges[-1].client_gone.wait(GRACE_S)


def test_a_cold_load_may_take_as_long_as_it_may(server: FakeOllama, fake_clock: FakeTime) -> None:
    server.models[:] = [FakeModel(name="m", load_s=4.5)]
    with OllamaProvider(server.url, timeout=Limits(load_s=4, first_token_s=1)) as provider:
        assert provider.load("m").load_s == 4.5


def test_a_load_can_be_cancelled(server: FakeOllama, ollama: OllamaProvider) -> None:
    server.models[:] = [FakeModel(name="m", load_s=30)]
    token = CancelToken()
    at_request(server, "/api/chat", 1, token.cancel)
    with pytest.raises(CancelledError):
        ollama.load("m", cancel=token)
    assert server.exchanges[-1].client_gone.wait(GRACE_S)


def at_request(server: FakeOllama, path: str, number: int, then: Callable[[], None]) -> None:
    """Call a function when this many requests for a path have reached the server."""
    seen: List[str] = []

    def look(exchange: Exchange) -> None:
        seen.append(exchange.path)
        if exchange.path == path and seen.count(path) == number:
            then()

    server._before_body = look  # type: ignore[method-assign]  # it does nothing


def test_a_load_that_leaves_nothing_in_memory_is_an_error() -> None:
    def script(exchange: Exchange) -> Any:
        lists = {"/api/tags": {"models": [{"name": "m"}]}, "/api/ps": {"models": []}}
        usual = {"model": "m", "done": True, "done_reason": "load"}
        return [http_answer(lists.get(exchange.path, usual))]

    with ScriptedServer(script) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(ModelLoadError, match="is not in memory now"):
            provider.load("m")


# --- loads at the same time -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "said"), [(2048, "a window of 2048 tokens"), (None, "the server's default window")]
)
def test_a_load_that_another_load_replaced_says_so(
    server: FakeOllama, ollama: OllamaProvider, window: Optional[int], said: str
) -> None:
    def replace() -> None:
        if window is None:
            server.loaded.clear()
        ollama.load("M:latest", context_length=window)

    at_request(server, "/api/ps", 2, replace)
    with pytest.raises(ModelLoadError, match="another load") as caught:
        ollama.load("m", context_length=1024)
    assert f"requested {said} at the same time" in caught.value.message
    assert f"the model's window is {window or 4096} tokens now" in caught.value.message
    assert "OLLAMA_MAX_LOADED_MODELS" not in str(caught.value)
    assert server.loaded == {"m": window or 4096}
    assert ollama.load("m", context_length=1024).context_length == 1024
    ollama.chat("Hi", model="m")
    assert server.loaded == {"m": 1024}


def test_a_load_whose_model_is_just_being_replaced_says_so(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    def replace() -> None:
        ollama.load("m", context_length=2048)
        server.loaded.clear()

    at_request(server, "/api/ps", 2, replace)
    with pytest.raises(ModelLoadError, match="2048 tokens at the same time, and it is not in"):
        ollama.load("m", context_length=1024)


def test_a_window_that_is_cut_down_beside_another_load_is_a_warning(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    def load() -> None:
        ollama.load("m", context_length=2048)
        server.loaded["m"] = 8192

    at_request(server, "/api/ps", 2, load)
    (warning,) = ollama.load("m", context_length=100_000).warnings
    assert "allocated 8192" in warning


def test_another_load_that_sends_nothing_replaces_nothing(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    at_request(server, "/api/ps", 2, lambda: ollama.load("m"))
    (warning,) = ollama.load("m", context_length=100_000).warnings
    assert "allocated 8192" in warning


def test_equal_windows_at_the_same_time_all_succeed(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    server.models[0] = server.models[0].replace(load_s=0.05)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ollama.load("m", context_length=2048), range(8)))
    assert {(model.context_length, model.warnings) for model in found} == {(2048, ())}


def test_different_windows_at_the_same_time_end_right_or_say_why(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    server.models[0] = server.models[0].replace(load_s=0.02)

    def load(window: int) -> Any:
        try:
            return ollama.load("m", context_length=window)
        except ModelLoadError as error:
            return error

    windows = [1024, 1024, 2048, 2048]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(load, windows))
    for window, end in zip(windows, found):
        if isinstance(end, ModelLoadError):
            assert "another load() of this provider" in end.message
        else:
            assert (end.context_length, end.warnings) == (window, ())
    ollama.chat("Hi", model="m")
    assert server.exchanges[-1].json["options"]["num_ctx"] in windows


def test_a_load_without_a_window_waits_for_the_load_that_replaces_it(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    sent, go = threading.Event(), threading.Event()
    ended: List[Any] = []
    other = threading.Thread(target=lambda: ended.append(ollama.load("m", context_length=1024)))
    seen: List[str] = []

    def replace() -> None:
        other.start()
        assert sent.wait(GRACE_S)
        server.loaded.clear()  # the model is loaded again with the other window

    def hold() -> None:
        sent.set()
        assert go.wait(GRACE_S)

    hooks = {("/api/ps", 2): replace, ("/api/chat", 2): hold, ("/api/ps", 4): go.set}

    def look(exchange: Exchange) -> None:
        seen.append(exchange.path)
        hooks.get((exchange.path, seen.count(exchange.path)), lambda: None)()

    server._before_body = look  # type: ignore[method-assign]  # it does nothing
    found = ollama.load("m")
    other.join(GRACE_S)
    assert found.context_length == 1024
    assert [model.context_length for model in ended] == [1024]


def test_an_unload_during_a_load_is_named(server: FakeOllama, ollama: OllamaProvider) -> None:
    at_request(server, "/api/ps", 2, lambda: ollama.unload("m"))
    with pytest.raises(ModelLoadError, match="this provider unloaded or deleted it"):
        ollama.load("m", context_length=1024)
    ollama.chat("Hi", model="m")
    assert "options" not in server.exchanges[-1].json


# --- the window stays -----------------------------------------------------------------------


def test_what_is_asked_of_a_loaded_model_does_not_load_it_anew(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.load("m", context_length=2048)
    ollama.chat("Hi", model="M:latest")
    assert server.loaded == {"m": 2048}
    assert server.exchanges[-1].json["options"] == {"num_ctx": 2048}


def test_vectors_do_not_load_a_model_anew(server: FakeOllama, ollama: OllamaProvider) -> None:
    ollama.load("m", context_length=2048)
    for old in (False, True):
        server.old_embeddings = old
        server.models[0] = server.models[0].replace(abilities=("chat", "embeddings"))
        ollama.embed(["Hi"], model="m")
        assert server.exchanges[-1].json["options"] == {"num_ctx": 2048}


def test_a_model_that_left_comes_back_with_its_window(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.load("m", context_length=2048)
    server.loaded.clear()
    ollama.chat("Hi", model="m")
    assert server.loaded == {"m": 2048}


def test_a_window_in_the_request_is_the_one_that_is_sent(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.load("m", context_length=2048)
    ollama.chat("Hi", model="m", context_length=1024)
    assert server.exchanges[-1].json["options"] == {"num_ctx": 1024}


@pytest.mark.parametrize("end", ["unload", "load"])
def test_the_window_is_forgotten(server: FakeOllama, ollama: OllamaProvider, end: str) -> None:
    ollama.load("m", context_length=2048)
    server.loaded.clear()
    getattr(ollama, end)("m")
    ollama.chat("Hi", model="m")
    assert "options" not in server.exchanges[-1].json


def test_a_window_that_could_not_be_loaded_is_not_kept(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.load("m", context_length=1024)
    server.break_next("status 500 with JSON", times=None, path="/api/chat")
    with pytest.raises(ProviderError):
        ollama.load("m", context_length=8000)
    server.heal()
    ollama.chat("Hi", model="m")
    assert server.exchanges[-1].json["options"] == {"num_ctx": 1024}


# --- models that share their files ------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 2048])
def test_a_copy_shares_the_place_of_its_source_in_memory(
    server: FakeOllama, ollama: OllamaProvider, window: Any
) -> None:
    ollama.copy("m", "me/mine")
    ollama.load("m", context_length=2048)
    before = asked(server)
    found = ollama.load("me/mine", context_length=window)
    assert (found.name, found.context_length, found.load_s) == ("m:latest", 2048, 0.0)
    (warning,) = found.warnings
    assert "'m:latest'" in warning
    assert asked(server) == [*before, "/api/show", "/api/show"]


def test_another_window_of_a_copy_is_warned_of_as_well(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.create("mine", from_model="m")
    ollama.load("m")
    assert len(ollama.load("mine", context_length=100_000).warnings) == 2


def test_unloading_a_copy_frees_what_it_shares(server: FakeOllama, ollama: OllamaProvider) -> None:
    ollama.copy("m", "mine")
    ollama.load("m")
    with ollama.keep_loaded("mine"):
        pass
    assert server.loaded == {}


def test_a_broken_model_in_memory_does_not_hinder_another() -> None:
    class Broken(FakeOllama):
        def _show(self, exchange: Exchange) -> Any:
            raise RefusedError("it is broken", "500 Internal Server Error")

    models = [FakeModel(name="m", loaded=True), FakeModel(name="n")]
    with Broken(models) as server, OllamaProvider(server.url) as provider:
        assert provider.load("n").name == "n:latest"


def test_another_model_in_memory_is_no_copy(server: FakeOllama, ollama: OllamaProvider) -> None:
    ollama.load("m")
    ollama.unload("e")
    assert server.loaded == {"m": 4096}
    assert ollama.load("e").name == "e:latest"


# --- unloading ------------------------------------------------------------------------------


def test_unloading_waits_until_the_model_is_gone(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    server.unload_s = 0.3
    ollama.load("m")
    ollama.unload("m")
    assert server.loaded == {}
    assert server.exchanges[-1].path == "/api/ps"
    assert asked(server) == ["/api/chat", "/api/chat"]
    assert [e for e in server.exchanges if e.path == "/api/chat"][-1].json["keep_alive"] == 0


def test_unloading_what_is_not_loaded_asks_for_nothing(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.unload("m")
    assert asked(server) == []


def test_a_model_in_memory_is_described(server: FakeOllama, ollama: OllamaProvider) -> None:
    ollama.load("m")
    (found,) = ollama.loaded_models()
    assert (found.family, found.quantization) == ("llama", "Q4_K_M")
    assert found.digest == ollama.model_info("m").digest
    assert str(found).startswith("m:latest (ollama): context 4096, Q4_K_M, 2.0 GB of memory")


def test_a_deleted_model_is_unloaded_first(server: FakeOllama, ollama: OllamaProvider) -> None:
    ollama.load("m", context_length=2048)
    ollama.delete("m")
    assert [e.path for e in server.exchanges[-3:]] == ["/api/ps", "/api/chat", "/api/delete"]
    assert server.exchanges[-2].json["keep_alive"] == 0
    assert ollama.loaded_models() == []
    server.models.append(FakeModel(name="m"))
    ollama.chat("Hi", model="m")
    assert "options" not in server.exchanges[-1].json


def test_deleting_a_copy_leaves_its_source_in_memory(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.copy("m", "mine")
    ollama.load("m")
    ollama.delete("mine")
    assert [model.name for model in ollama.loaded_models()] == ["m:latest"]


@pytest.mark.parametrize("path", ["/api/ps", "/api/chat"])
def test_a_model_that_cannot_be_unloaded_is_deleted_nevertheless(
    server: FakeOllama, ollama: OllamaProvider, path: str
) -> None:
    ollama.load("m")
    server.break_next("status 500 with JSON", times=None, path=path)
    ollama.delete("m")
    assert "m" not in [model.name for model in server.models]


@pytest.mark.parametrize("keep_alive", [3600, math.inf])
def test_a_model_that_another_program_deleted_says_when_it_leaves(
    server: FakeOllama, ollama: OllamaProvider, keep_alive: float
) -> None:
    until = ollama.load("m", keep_alive=keep_alive).expires_at
    server.deleted.append(server.models.pop(0))
    with pytest.raises(ModelNotFoundError, match="deleted while it was loaded") as caught:
        ollama.unload("m")
    end = "when the server restarts" if until is None else f"at {until:%Y-%m-%d %H:%M:%S}"
    assert end in caught.value.message
    assert "pull" not in str(caught.value.hint)
    assert (caught.value.model, caught.value.status) == ("m", 404)


def test_a_deleted_model_that_leaves_at_the_same_time_is_no_error(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    ollama.load("m")
    server.deleted.append(server.models.pop(0))
    at_request(server, "/api/chat", 1, server.loaded.clear)
    ollama.unload("m")
    assert asked(server)[-1] == "/api/chat"


@pytest.mark.sample(1)
@pytest.mark.parametrize(("timeout", "total_s"), [(8.0, 8), (None, 30)])
def test_a_model_that_does_not_leave_is_an_error_in_time(
    server: FakeOllama, fake_clock: FakeTime, timeout: Optional[float], total_s: float
) -> None:
    server.unload_s = 3600
    with OllamaProvider(server.url) as ollama:
        ollama.load("m")
        with pytest.raises(LimitError) as caught:
            ollama.unload("m", timeout=timeout)
    assert (caught.value.limit, caught.value.elapsed_s) == ("total_s", total_s)
    assert caught.value.model == "m"


def test_a_wait_for_memory_can_be_cancelled(server: FakeOllama, ollama: OllamaProvider) -> None:
    server.unload_s = 3600
    ollama.load("m")
    token = CancelToken()
    at_request(server, "/api/ps", 3, token.cancel)
    with pytest.raises(CancelledError):
        ollama.unload("m", cancel=token)


def test_a_resident_model_leaves_behind_the_block(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    with ollama.keep_loaded("m", context_length=1024) as model:
        assert (model.name, model.context_length) == ("m:latest", 1024)
        assert list(server.loaded) == ["m"]
    assert server.loaded == {}


def test_a_resident_model_leaves_when_the_block_raises(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    with pytest.raises(KeyError, match="mine"):
        with ollama.keep_loaded("m"):
            raise KeyError("mine")
    assert server.loaded == {}


def test_an_error_of_the_block_wins_over_one_of_unloading(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    with pytest.raises(KeyError, match="mine"):
        with ollama.keep_loaded("m"):
            server.break_next("closed without an answer", times=None, path="/api")
            raise KeyError("mine")


def test_an_error_of_the_block_does_not_wait_long_for_the_unloading(
    server: FakeOllama, fake_clock: FakeTime
) -> None:
    with OllamaProvider(server.url) as provider:
        with pytest.raises(KeyboardInterrupt):
            with provider.keep_loaded("m"):
                server.unload_s = 3600
                began = fake_clock.now
                raise KeyboardInterrupt
    assert fake_clock.now - began == LISTING_TOTAL_S


def test_a_cancelled_block_leaves_nothing_in_memory(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    token = CancelToken()
    with pytest.raises(CancelledError):
        with ollama.keep_loaded("m", cancel=token):
            token.cancel()
            ollama.chat("Hi", model="m", cancel=token)
    assert server.loaded == {}


def test_listeners_hear_of_it(server: FakeOllama) -> None:
    events: List[CallEvent] = []
    with OllamaProvider(server.url, listeners=(events.append,)) as provider:
        provider.load("m")
        with pytest.raises(ProviderError):
            provider.load("nope")
    assert [(e.kind, e.operation, e.model) for e in events] == [
        ("started", "load", "m"), ("connected", "load", "m"), ("finished", "load", "m"),
        ("started", "load", "nope"), ("connected", "load", "nope"), ("failed", "load", "nope"),
    ]  # fmt: skip
