"""Models in memory: loading, unloading, and reloading of evicted models."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from localproviders import (
    AuthenticationError,
    CancelledError,
    CancelToken,
    ConfigurationError,
    ContextOverflowError,
    EmbeddingRequest,
    Limits,
    LMStudioProvider,
    ModelLoadError,
    ModelNotFoundError,
    Progress,
    ProtocolError,
    ProviderError,
    ServerError,
    UnsupportedError,
)
from localproviders._http.deadline import Call
from localproviders.lmstudio.catalog import post
from localproviders.telemetry import CallEvent
from localproviders.testing import Exchange, FakeModel, Refusal, ScriptedServer, http_answer
from tests.support.fake_time import FakeTime
from tests.support.timing import GRACE_S
from tests.unit.lmstudio.support import MODEL, studio

LIST = "GET /api/v1/models"
LOAD = "POST /api/v1/models/load"
UNLOAD = "POST /api/v1/models/unload"


# --- what is there ----------------------------------------------------------------------------


def test_what_a_request_has_loaded_expires() -> None:
    with studio() as pair:
        pair.provider.chat("Hi", keep_alive=60)
        before = datetime.now(timezone.utc)
        (loaded,) = pair.provider.loaded_models()

    assert (loaded.name, loaded.instance, loaded.context_length) == (MODEL, MODEL, 4096)
    assert loaded.expires_at is not None
    assert timedelta(seconds=60) <= loaded.expires_at - before < timedelta(seconds=90)


def test_an_embedding_can_say_how_long_its_model_stays() -> None:
    request = EmbeddingRequest(texts=("one",), model="text-embedding-x", keep_alive=90)
    with studio(["text-embedding-x"]) as pair:
        pair.provider.embed(request)

        assert pair.last_body("/v1/embeddings")["ttl"] == 90
        (loaded,) = pair.provider.loaded_models()
    assert loaded.expires_at is not None


@pytest.mark.parametrize("keep_alive", [0, 0.5, math.inf])
def test_an_embedding_cannot_keep_its_model_for_ever_or_for_no_time(keep_alive: float) -> None:
    request = EmbeddingRequest(texts=("one",), model="text-embedding-x", keep_alive=keep_alive)
    with studio(["text-embedding-x"]) as pair:
        with pytest.raises(UnsupportedError, match="keep_alive"):
            pair.provider.embed(request)

        assert pair.take_requests() == []


@pytest.mark.parametrize("generation", ["0.4", "0.3"])
def test_a_model_in_memory_has_the_facts_of_its_list(generation: Any) -> None:
    with studio([FakeModel(name=MODEL, loaded=True)], generation=generation) as pair:
        (loaded,) = pair.provider.loaded_models()

    assert (loaded.family, loaded.quantization, loaded.digest) == ("qwen3", "Q4_K_M", None)


def test_a_model_that_was_just_loaded_has_the_facts_of_its_list() -> None:
    with studio() as pair:
        loaded = pair.provider.load(MODEL)

    assert (loaded.family, loaded.quantization) == ("qwen3", "Q4_K_M")


def test_the_older_list_tells_windows() -> None:
    models = [FakeModel(name=MODEL, loaded=True, context_length=8192), FakeModel(name="b")]
    with studio(models, generation="0.3") as pair:
        (loaded,) = pair.provider.loaded_models()

    assert (loaded.name, loaded.context_length, loaded.expires_at) == (MODEL, 8192, None)


# --- loading ----------------------------------------------------------------------------------


def test_load_lists_first_then_loads_and_reads_back() -> None:
    told: List[Progress] = []
    with studio() as pair:
        loaded = pair.provider.load(MODEL, context_length=8192, on_progress=told.append)

        assert pair.last_body("/api/v1/models/load") == {
            "model": MODEL,
            "context_length": 8192,
            "echo_load_config": True,
        }
        assert pair.take_requests() == [LIST, LOAD]
        assert pair.server.loaded == {MODEL: 8192}
    assert (loaded.instance, loaded.context_length, loaded.load_s) == (MODEL, 8192, 0.5)
    assert loaded.warnings == ()
    assert [(report.status, report.fraction) for report in told] == [("loaded", None)]


def test_every_setting_is_sent_under_its_name() -> None:
    settings: Dict[str, Any] = {
        "eval_batch_size": 256,
        "flash_attention": False,
        "num_experts": 4,
        "offload_kv_cache_to_gpu": False,
        "parallel": 2,
    }
    with studio() as pair:
        loaded = pair.provider.load(MODEL, **settings)

        assert pair.last_body("/api/v1/models/load") == {
            "model": MODEL,
            **settings,
            "echo_load_config": True,
        }
        assert loaded.warnings == ()
        pair.take_requests()
        assert pair.provider.load(MODEL, **settings).load_s == 0
        assert pair.take_requests() == [LIST]


@pytest.mark.parametrize("window", [None, 4096])
def test_a_model_that_is_there_is_left_as_it_is(window: Any) -> None:
    with studio([FakeModel(name=MODEL, loaded=True)]) as pair:
        loaded = pair.provider.load(MODEL, context_length=window)

        assert pair.take_requests() == [LIST]
    assert (loaded.context_length, loaded.load_s) == (4096, 0)


@pytest.mark.parametrize("name", [MODEL, "my-qwen"])
def test_another_window_takes_the_place_of_the_old_one(name: str) -> None:
    with studio([FakeModel(name=MODEL, loaded=True, instance="my-qwen")]) as pair:
        loaded = pair.provider.load(name, context_length=8192)

        assert pair.last_body("/api/v1/models/unload") == {"instance_id": "my-qwen"}
        assert pair.last_body("/api/v1/models/load")["model"] == MODEL
        again = (
            [] if name == MODEL else [LIST]
        )  # under another name, the list shows whether the model is loaded by now
        assert pair.take_requests() == [LIST, *again, UNLOAD, LOAD]
        assert (pair.server.loaded, pair.server.copies) == ({MODEL: 8192}, {})
    assert loaded.context_length == 8192


def test_another_setting_counts_as_another_window_does() -> None:
    with studio([FakeModel(name=MODEL, loaded=True)]) as pair:
        pair.provider.load(MODEL, flash_attention=False)

        assert pair.take_requests() == [LIST, UNLOAD, LOAD]


def test_a_window_that_the_engine_ignores_is_a_warning_and_not_tried_again() -> None:
    mlx = FakeModel(name=MODEL, format="mlx", max_context_length=131072)
    with studio([mlx]) as pair:
        first = pair.provider.load(MODEL, context_length=8192)
        assert pair.take_requests() == [LIST, LOAD]
        second = pair.provider.load(MODEL, context_length=8192)
        assert pair.take_requests() == [LIST]

    assert first.context_length == second.context_length == 131072
    assert first.warnings == ("requested context_length=8192, but the server uses 131072",)
    assert second.warnings == first.warnings


def test_a_setting_that_the_server_does_not_show_is_a_warning() -> None:
    with studio([FakeModel(name=MODEL, format="mlx")]) as pair:
        loaded = pair.provider.load(MODEL, eval_batch_size=256)

    assert loaded.warnings == (
        "requested eval_batch_size=256, but the server does not report the value",
    )


def test_for_ever_loads_anew_what_would_expire() -> None:
    with studio() as pair:
        pair.provider.chat("Hi")
        pair.take_requests()
        assert pair.provider.load(MODEL).expires_at is not None
        assert pair.provider.load(MODEL, keep_alive=math.inf).expires_at is None

        assert pair.take_requests() == [LIST, LIST, UNLOAD, LOAD]
        (loaded,) = pair.provider.loaded_models()
    assert loaded.expires_at is None


@pytest.mark.parametrize("keep_alive", [0, 60, math.nan])
def test_load_knows_no_time_to_live(keep_alive: float) -> None:
    with studio() as pair:
        with pytest.raises(UnsupportedError, match="keep_alive") as caught:
            pair.provider.load(MODEL, keep_alive=keep_alive)

        assert pair.take_requests() == []
    assert "chat" in str(caught.value.hint)


@pytest.mark.parametrize(
    "setting",
    [{"context_length": 0}, {"parallel": True}, {"num_experts": 1.5}, {"flash_attention": 1}],
    ids=str,
)
def test_an_impossible_setting_is_refused_here(setting: Dict[str, Any]) -> None:
    with studio() as pair:
        with pytest.raises(ConfigurationError, match=next(iter(setting))):
            pair.provider.load(MODEL, **setting)

        assert pair.take_requests() == []


def test_an_unknown_model_names_those_there_are() -> None:
    with studio() as pair:
        with pytest.raises(ModelNotFoundError) as caught:
            pair.provider.load("nobody/nothing")

    assert caught.value.available == (MODEL,)
    assert caught.value.endpoint


@pytest.mark.parametrize("verb", ["load", "model_info"])
def test_a_misspelt_model_is_told_the_name_of_a_similar_one(verb: str) -> None:
    with studio() as pair:
        with pytest.raises(ModelNotFoundError) as caught:
            getattr(pair.provider, verb)(f"{MODEL}x")

    assert caught.value.message.endswith(f"; did you mean {MODEL!r}?")


def test_a_model_that_cannot_be_loaded_says_why() -> None:
    model = FakeModel(name=MODEL, load_error="not enough memory")
    with studio([model]) as pair:
        with pytest.raises(ModelLoadError, match="not enough memory"):
            pair.provider.load(MODEL)


def scripted(answer: bytes) -> ScriptedServer:
    listing = http_answer({"models": [{"type": "llm", "key": MODEL, "loaded_instances": []}]})

    def script(exchange: Exchange) -> List[bytes]:
        return [listing if exchange.method == "GET" else answer]

    return ScriptedServer(script)


INTERNAL = {"error": {"type": "internal_error", "message": "it broke"}}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http_answer(INTERNAL, status="500 Internal Server Error"), ModelLoadError),
        (http_answer(INTERNAL), ModelLoadError),
        (http_answer({"status": "failed", "instance_id": "x"}), ModelLoadError),
        (http_answer({"status": "loaded"}), ProtocolError),
        (http_answer({"error": "API token"}, status="401 Unauthorized"), AuthenticationError),
    ],
)
def test_a_load_that_fails_has_its_class(answer: bytes, error: Any) -> None:
    with scripted(answer) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(error):
            provider.load(MODEL)


def test_a_slow_load_meets_the_limit_of_loading(fake_clock: FakeTime) -> None:
    limits = Limits(load_s=20, first_token_s=10)
    with studio([FakeModel(name=MODEL, load_s=40)]) as pair:
        with pytest.raises(ProviderError) as caught:
            pair.provider.load(MODEL, timeout=limits)

        assert pair.server.exchanges[-1].client_gone.wait(GRACE_S)
        assert pair.server.loaded == {}
    assert getattr(caught.value, "limit", "") == "first_token_s"
    assert getattr(caught.value, "limit_s", 0) == 30


def in_threads(*works: Any) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * GRACE_S)
        assert not thread.is_alive()


def test_threads_that_load_one_model_make_one_copy() -> None:
    with studio([FakeModel(name=MODEL, load_s=0.2)]) as pair:
        in_threads(*[lambda: pair.provider.load(MODEL, context_length=8192)] * 6)

        assert (pair.server.loaded, pair.server.copies) == ({MODEL: 8192}, {})
        assert pair.take_requests().count(LOAD) == 1


def test_what_on_progress_raises_leaves_a_model_that_is_known() -> None:
    def stop(_: Progress) -> None:
        raise ZeroDivisionError

    with studio(jit=False) as pair:
        with pytest.raises(ZeroDivisionError):
            pair.provider.load(MODEL, context_length=8192, on_progress=stop)
        pair.server.evict(MODEL)

        assert pair.provider.chat("Hi").warnings == (AGAIN,)


# --- variants ---------------------------------------------------------------------------------

SMALL, LARGE = f"{MODEL}@q4_k_m", f"{MODEL}@q8_0"


@contextlib.contextmanager
def with_variants(there: List[str]) -> Iterator[Tuple[LMStudioProvider, List[str]]]:
    """Start a server with one model of two variants; yield a provider and the load requests."""
    told: List[str] = []

    def arrive(exchange: Exchange) -> None:
        exchange.hold(0.1)
        there.append(MODEL if MODEL not in there else f"{MODEL}:2")

    def script(exchange: Exchange) -> List[Any]:
        if exchange.method == "GET":
            copies = [{"id": name, "config": {"context_length": 4096}} for name in there]
            entry = {
                "key": MODEL,
                "variants": [SMALL, LARGE],
                "quantization": {"name": "Q8_0", "bits_per_weight": 8},
                "loaded_instances": copies,
            }
            return [http_answer({"models": [entry]})]
        if exchange.path.endswith("/unload"):
            there.remove(exchange.json["instance_id"])
            return [http_answer(exchange.json)]
        if exchange.path.endswith("/load"):
            told.append(exchange.json["model"])
            config = {"context_length": 4096}
            answer = {"instance_id": MODEL, "status": "loaded", "load_config": config}
            return [arrive, http_answer(answer)]
        return [http_answer({"error": "Model is unloaded."}, status="400 Bad Request")]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        yield provider, told


def test_a_variant_that_left_is_loaded_again_as_that_variant() -> None:
    there: List[str] = []
    with with_variants(there) as (provider, told):
        provider.load(LARGE)
        there.clear()
        with pytest.raises(ModelLoadError):
            provider.chat("Hi", model=LARGE)

    assert told == [LARGE, LARGE]


def test_another_variant_than_the_one_that_was_loaded_is_loaded() -> None:
    with with_variants([]) as (provider, told):
        provider.load(LARGE)
        assert provider.load(LARGE).warnings == ()
        assert provider.load(SMALL).warnings == ()
        assert provider.load(MODEL).warnings == ()

    assert told == [LARGE, SMALL]


def test_threads_that_load_one_model_under_two_names_make_one_copy() -> None:
    there: List[str] = []
    with with_variants(there) as (provider, told):
        in_threads(*(partial(provider.load, name) for name in [MODEL, LARGE] * 2))

    assert (there, len(told)) == ([MODEL], 1)


def test_which_variant_another_has_loaded_is_unknown() -> None:
    with with_variants([MODEL]) as (provider, told):
        assert [model.quantization for model in provider.loaded_models()] == [None]
        for _ in range(2):
            (warning,) = provider.load(LARGE).warnings
            assert LARGE in warning

    assert told == []


def test_who_waits_for_another_threads_load_can_be_cancelled() -> None:
    listing = http_answer({"models": [{"key": MODEL, "loaded_instances": []}]})
    loaded = http_answer({"instance_id": MODEL, "status": "loaded"})
    begun, go_on, token = threading.Event(), threading.Event(), CancelToken()
    ends: List[Any] = []

    def hold(_: Exchange) -> None:
        begun.set()
        go_on.wait(GRACE_S)

    def script(exchange: Exchange) -> List[Any]:
        return [listing] if exchange.method == "GET" else [hold, loaded]

    def wait() -> None:
        begun.wait(GRACE_S)
        try:
            provider.load(MODEL, cancel=token)
        except CancelledError as error:
            ends.append(error)
        go_on.set()

    def cancel() -> None:
        begun.wait(GRACE_S)
        while not any(provider._memory._loading.values()):  # until the other waits
            threading.Event().wait(0.01)
        token.cancel()

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        in_threads(lambda: ends.append(provider.load(MODEL)), wait, cancel)

    assert [type(end).__name__ for end in ends] == ["CancelledError", "LoadedModel"]


# --- unloading --------------------------------------------------------------------------------


def two_copies(pair: Any) -> None:
    pair.provider.load(MODEL)
    provider = pair.provider
    post(provider._runner, "/api/v1/models/load", {"model": MODEL}, Call(provider.limits()))
    assert [m.instance for m in pair.provider.loaded_models()] == [MODEL, f"{MODEL}:2"]
    pair.take_requests()


def test_a_models_name_unloads_every_copy() -> None:
    with studio() as pair:
        two_copies(pair)
        pair.provider.unload(MODEL)

        assert pair.take_requests() == [LIST, UNLOAD, UNLOAD]
        assert pair.provider.loaded_models() == []


def test_a_copys_name_unloads_that_one() -> None:
    with studio() as pair:
        two_copies(pair)
        pair.provider.unload(f"{MODEL}:2")

        assert [m.instance for m in pair.provider.loaded_models()] == [MODEL]


def test_nothing_happens_where_nothing_is_loaded() -> None:
    with studio() as pair:
        pair.provider.unload(MODEL)

        assert pair.take_requests() == [LIST]


@pytest.mark.parametrize(
    "gone",
    [
        {"error": {"type": "model_not_found", "message": "Model ... is not loaded."}},
        {"error": "Model with instance identifier 'm:2' is not loaded."},
    ],
)
def test_a_copy_that_leaves_by_itself_meanwhile_is_no_error(gone: Any) -> None:
    listing = http_answer({"models": [{"key": MODEL, "loaded_instances": [{"id": MODEL}]}]})

    def script(exchange: Exchange) -> List[bytes]:
        return [listing if exchange.method == "GET" else http_answer(gone, status="404 Not Found")]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        provider.unload(MODEL)

    assert [exchange.method for exchange in server.exchanges] == ["GET", "POST"]


def test_an_answer_that_is_no_unloading_is_an_error() -> None:
    listing = {"models": [{"key": MODEL, "loaded_instances": [{"id": MODEL}]}]}
    with ScriptedServer(http_answer(listing)) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(ProtocolError, match="instance_id"):
            provider.unload(MODEL)


def test_resident_loads_for_a_block() -> None:
    with studio() as pair:
        with pair.provider.keep_loaded(MODEL, context_length=8192) as loaded:
            assert pair.server.loaded == {MODEL: 8192}
            assert loaded.context_length == 8192

        assert pair.server.loaded == {}


def test_resident_unloads_behind_an_error() -> None:
    with studio() as pair:
        with pytest.raises(ZeroDivisionError):
            with pair.provider.keep_loaded(MODEL):
                raise ZeroDivisionError

        assert pair.server.loaded == {}


# --- a model that leaves ----------------------------------------------------------------------

AGAIN = "the model had left memory; it was loaded again with the same configuration"
BACK = "the model had left memory; it was already loaded again with the same configuration"


def test_a_model_that_left_is_loaded_again_as_it_was() -> None:
    events: List[CallEvent] = []
    with studio(jit=False, listeners=(events.append,)) as pair:
        pair.provider.load(MODEL, context_length=8192, parallel=2)
        pair.server.evict(MODEL)
        del events[:]
        response = pair.provider.chat("Hi")

        assert pair.last_body("/api/v1/models/load")["parallel"] == 2
        assert pair.server.loaded == {MODEL: 8192}
    assert response.text
    assert (response.warnings, response.attempts) == ((AGAIN,), 2)
    assert " ".join(event.kind for event in events) == (
        "started connected retried connected first_token finished"
    )
    assert events[2].error == "ModelNotFoundError"


def test_embedding_loads_it_again_too() -> None:
    with studio(["text-embedding-x"], jit=False) as pair:
        pair.provider.load("text-embedding-x")
        pair.server.evict("text-embedding-x")
        response = pair.provider.embed("one", model="text-embedding-x")

    assert (response.warnings, response.attempts) == ((AGAIN,), 2)


def test_a_model_that_came_back_smaller_is_loaded_again() -> None:
    with studio() as pair:
        pair.provider.load(MODEL, context_length=8192)
        pair.server.evict(MODEL)
        pair.provider.chat("Hi")  # the server loads it with its usual window
        response = pair.provider.chat("word " * 5000)

        assert pair.server.loaded == {MODEL: 8192}
    assert response.warnings == (AGAIN,)


def test_a_prompt_that_is_too_long_all_the_same_is_an_error() -> None:
    with studio() as pair:
        pair.provider.load(MODEL, context_length=4096)
        pair.take_requests()
        with pytest.raises(ContextOverflowError):
            pair.provider.chat("word " * 5000)

        assert pair.take_requests() == ["POST /v1/chat/completions"]


def test_a_prompt_too_long_for_its_share_of_a_window_is_not_sent_again() -> None:
    # Concurrent requests share the window of an instance
    # (docs/reference/lmstudio.md, "Concurrency").
    said = "The number of tokens to keep (n_keep: 3000>= n_ctx: 2048)"
    refused = {"error": f"{said}: tokens to keep from the initial prompt"}
    with studio() as pair:
        pair.provider.load(MODEL, context_length=8192)
        pair.server.reply_with(Refusal(status="400 Bad Request", body=refused))
        with pytest.raises(ContextOverflowError):
            pair.provider.chat("Hi")

        assert pair.take_requests().count("POST /v1/chat/completions") == 1


@pytest.mark.parametrize("how", ["never loaded", "unloaded"])
def test_what_this_provider_does_not_hold_is_not_loaded_again(how: str) -> None:
    with studio(jit=False) as pair:
        if how == "unloaded":
            pair.provider.load(MODEL)
            pair.provider.unload(MODEL)
        pair.take_requests()
        with pytest.raises(ModelNotFoundError):
            pair.provider.chat("Hi")

        assert pair.take_requests() == ["POST /v1/chat/completions"]


def test_it_is_loaded_again_once_only() -> None:
    refusal = {"error": "Model is unloaded."}
    listing = http_answer({"models": [{"key": MODEL, "loaded_instances": []}]})
    loaded = http_answer({"instance_id": MODEL, "status": "loaded", "load_config": {}})

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.path.endswith("/load"):
            return [loaded]
        chat = http_answer(refusal, status="400 Bad Request")
        return [listing if exchange.method == "GET" else chat]

    with ScriptedServer(script) as server, LMStudioProvider(server.url, model=MODEL) as provider:
        provider.load(MODEL)
        with pytest.raises(ModelLoadError, match="unloaded"):
            provider.chat("Hi")

    assert [exchange.path for exchange in server.exchanges][2:] == [
        "/v1/chat/completions",
        "/api/v1/models",
        "/api/v1/models/load",
        "/v1/chat/completions",
    ]


def test_what_the_new_load_says_is_the_error() -> None:
    with studio(jit=False) as pair:
        pair.provider.load(MODEL)
        pair.server.evict(MODEL)
        pair.server.models[0] = FakeModel(name=MODEL, load_error="not enough memory")
        with pytest.raises(ModelLoadError, match="not enough memory"):
            pair.provider.chat("Hi")


def test_a_load_that_took_no_time_was_a_load() -> None:
    windows = [4096]
    said = "The number of tokens to keep (n_keep: 5000>= n_ctx: 4096): tokens to keep from the"
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}

    def script(exchange: Exchange) -> List[bytes]:
        if exchange.method == "GET":
            copies = [{"id": MODEL, "config": {"context_length": size}} for size in windows]
            return [http_answer({"models": [{"key": MODEL, "loaded_instances": copies}]})]
        if exchange.path.endswith("/unload"):
            windows.clear()
            return [http_answer(exchange.json)]
        if exchange.path.endswith("/load"):
            windows[:] = [8192]
            config = {"context_length": 8192}
            answer = {"instance_id": MODEL, "load_time_seconds": 0, "load_config": config}
            return [http_answer(answer)]
        if windows == [4096]:
            said_ = {"error": f"{said} initial prompt"}
            return [http_answer(said_, status="400 Bad Request")]
        body = f"data: {json.dumps({'model': MODEL, **chunk})}\n\ndata: [DONE]\n\n"
        return [http_answer(body, content_type="text/event-stream")]

    with ScriptedServer(script) as server, LMStudioProvider(server.url, model=MODEL) as provider:
        provider.load(MODEL, context_length=8192)
        windows[:] = [4096]
        assert provider.chat("Hi").warnings == (AGAIN,)


def test_a_model_that_was_only_exchanged_is_not_said_to_be_loaded() -> None:
    with studio() as pair:
        pair.provider.load(MODEL)
        refusal = Refusal(status="400 Bad Request", body={"error": "Model reloaded."})
        pair.server.reply_with(refusal)
        response = pair.provider.chat("Hi")

    assert response.warnings == (BACK,)


def test_an_interruption_at_any_moment_leaves_nobody_waiting() -> None:
    class Interrupting(Dict[Any, Any]):
        """A dictionary of locks that is interrupted after it has stored a lock."""

        def setdefault(self, key: Any, default: Any = None) -> Any:
            super().setdefault(key, default)
            raise KeyboardInterrupt

    with studio() as pair:
        provider = pair.provider
        provider._memory._loading = Interrupting()
        with pytest.raises(KeyboardInterrupt):
            provider.load(MODEL)
        assert provider._memory._loading == {}


def test_another_failure_loads_nothing() -> None:
    with studio() as pair:
        pair.provider.load(MODEL)
        pair.server.break_next("status 500 with HTML")
        pair.take_requests()
        with pytest.raises(ServerError):
            pair.provider.chat("Hi")

        assert pair.take_requests() == ["POST /v1/chat/completions"]
