"""Loading, unloading, downloading and deleting the models of a router."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterator, List

import pytest

from localproviders import (
    LimitError,
    Limits,
    LlamaCppProvider,
    ModelLoadError,
    ModelNotFoundError,
    Progress,
    RequestRejectedError,
    ServerError,
    UnsupportedError,
)
from localproviders.llamacpp import router
from localproviders.testing import Exchange, FakeLlamaCpp, FakeModel, ScriptedServer, http_answer
from tests.support.recordings import dialect_exchange

_MODEL = "gemma3-270m"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "WAITS_S", (0.001, 0.001))


@pytest.fixture
def fake() -> Iterator[FakeLlamaCpp]:
    with FakeLlamaCpp([_MODEL, "other"]) as server:
        yield server


@pytest.fixture
def provider(fake: FakeLlamaCpp) -> Iterator[LlamaCppProvider]:
    with LlamaCppProvider(fake.url) as made:
        yield made


def paths(fake: Any) -> List[str]:
    return [f"{each.method} {each.path}" for each in fake.exchanges]


# --- memory -----------------------------------------------------------------------------------


def test_a_model_is_loaded_and_unloaded(provider: LlamaCppProvider) -> None:
    assert [info.loaded for info in provider.list_models()] == [False, False]

    loaded = provider.load(_MODEL)

    assert (loaded.name, loaded.context_length) == (_MODEL, 4096)
    assert loaded.load_s is not None
    assert [each.name for each in provider.loaded_models()] == [_MODEL]
    provider.unload(_MODEL)
    assert provider.loaded_models() == []


def test_a_loaded_model_is_not_loaded_again(fake: FakeLlamaCpp, provider: LlamaCppProvider) -> None:
    provider.load(_MODEL)
    fake.exchanges.clear()

    assert provider.load(_MODEL, context_length=4096, keep_alive=float("inf")).load_s == 0.0
    assert "POST /models/load" not in paths(fake)


def test_the_progress_of_a_load_is_reported(provider: LlamaCppProvider) -> None:
    reports: List[Progress] = []
    provider.load(_MODEL, on_progress=reports.append)

    assert [(each.status, each.fraction) for each in reports] == [
        ("loading", None),
        ("loading text_model", 0.0),
        ("loading text_model", 1.0),
    ]


class _OtherClient(FakeLlamaCpp):
    """A router on which another client loads the model first. Its events never come."""

    def _load_route(self, exchange: Exchange) -> Any:
        self.loaded[_MODEL] = 4096
        return super()._load_route(exchange)

    def _events(self, exchange: Exchange) -> Any:
        return super()._events(exchange).replace(pause_s=60.0)


def test_a_load_that_another_client_has_ended_is_not_awaited() -> None:
    with _OtherClient([_MODEL, "other"]) as fake, LlamaCppProvider(fake.url) as provider:
        loaded = provider.load(_MODEL, on_progress=print, timeout=Limits(load_s=5.0))

    assert loaded.name == _MODEL


def test_the_progress_of_all_stages_is_reported(
    fake: FakeLlamaCpp, provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ["text_model", "mmproj_model"]
    steps = [
        {"stages": stages, "current": stage, "value": value}
        for stage in stages
        for value in (0.0, 1.0)
    ]
    events = [
        {"model": _MODEL, "event": "model_status", "data": {"status": "loading", "progress": step}}
        for step in steps
    ]
    monkeypatch.setattr("localproviders.testing.llamacpp._events_of", lambda model: events)
    reports: List[Progress] = []
    provider.load(_MODEL, on_progress=reports.append)

    assert [each.status for each in reports] == [f"loading {step['current']}" for step in steps]


def test_a_model_that_cannot_be_loaded_names_the_exit_code() -> None:
    broken = FakeModel(name=_MODEL, load_error="no memory")
    with FakeLlamaCpp([broken, "other"]) as fake, LlamaCppProvider(fake.url) as provider:
        with pytest.raises(ModelLoadError, match="exit code 1"):
            provider.load(_MODEL)


@pytest.mark.parametrize("options", [{"context_length": 99}, {"keep_alive": 60}])
def test_an_option_that_the_server_does_not_have_is_refused(
    options: Dict[str, Any], fake: FakeLlamaCpp, provider: LlamaCppProvider
) -> None:
    with pytest.raises(UnsupportedError):
        provider.load(_MODEL, **options)
    assert "POST /models/load" not in paths(fake)


@pytest.mark.parametrize("verb", ["load", "unload", "delete", "model_info"])
def test_an_unknown_model_is_named_with_those_of_the_server(
    verb: str, provider: LlamaCppProvider
) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        getattr(provider, verb)("gema3-270m")
    assert caught.value.available == (_MODEL, "other")
    assert "did you mean" in caught.value.message


def test_a_model_that_is_not_in_memory_needs_no_unloading(provider: LlamaCppProvider) -> None:
    provider.unload(_MODEL)


def test_a_block_leaves_the_model_as_it_was(provider: LlamaCppProvider) -> None:
    with provider.keep_loaded(_MODEL):
        assert [each.name for each in provider.loaded_models()] == [_MODEL]
    assert provider.loaded_models() == []

    provider.load(_MODEL)
    with provider.keep_loaded(_MODEL, keep_alive=float("inf")):
        pass
    assert [each.name for each in provider.loaded_models()] == [_MODEL]


class Recorded:
    """A router that answers with recordings; its list shows these states one after another."""

    def __init__(self, *states: Any, **recordings: str) -> None:
        self.states = list(states)
        self.recordings = recordings

    def answer(self, exchange: Exchange) -> List[bytes]:
        name = exchange.path.rpartition("/")[2]
        if name in self.recordings:
            return [dialect_exchange(self.recordings[name], "llamacpp")[1]]
        status = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        entry = {"id": _MODEL, "status": status if isinstance(status, dict) else {"value": status}}
        return [http_answer({"object": "list", "data": [entry]})]

    def run(self, work: Callable[[LlamaCppProvider], Any], **limits: float) -> Any:
        with ScriptedServer(self.answer) as server:
            with LlamaCppProvider(server.url, timeout=Limits(**limits)) as provider:
                return work(provider)


def test_the_recorded_events_of_a_failed_load() -> None:
    failed = {"value": "unloaded", "failed": True, "exit_code": 1}
    server = Recorded("unloaded", "loading", failed, load="router_load", sse="router_sse")
    reports: List[Progress] = []
    with pytest.raises(ModelLoadError, match="exit code 1"):
        server.run(lambda provider: provider.load(_MODEL, on_progress=reports.append))
    assert [each.fraction for each in reports] == [None, 0.0, 0.0, 1.0]


def test_a_refusal_in_other_words_is_a_missing_model() -> None:
    server = Recorded("unloaded", load="router_load_unknown")
    with pytest.raises(ModelNotFoundError):
        server.run(lambda provider: provider.load(_MODEL))


def test_a_model_that_has_left_memory_meanwhile_is_unloaded() -> None:
    server = Recorded("loaded", "unloaded", unload="router_unload_not_running")
    server.run(lambda provider: provider.unload(_MODEL))


def test_a_load_that_does_not_end_is_a_limit() -> None:
    server = Recorded("unloaded", "loading", load="router_load")
    with pytest.raises(LimitError) as caught:
        server.run(lambda provider: provider.load(_MODEL), load_s=0.05)
    assert caught.value.limit == "load_s"


def test_an_unknown_state_is_kept() -> None:
    (info,) = Recorded("hibernating").run(lambda provider: provider.list_models())
    assert info.loaded is False
    assert info.raw is not None and info.raw["status"]["value"] == "hibernating"


# --- the models on disk -------------------------------------------------------------------------


def test_a_download_reports_its_bytes(fake: FakeLlamaCpp, provider: LlamaCppProvider) -> None:
    fake.downloads["org/new:Q4_K_M"] = [(0, 10), (5, 10), (10, 10)]
    reports: List[Progress] = []

    info = provider.pull("org/new", on_progress=reports.append)

    assert info.name == "org/new:Q4_K_M"
    assert [each.completed_bytes for each in reports] == [5, 10, None]
    assert [each.fraction for each in reports] == [0.5, 1.0, None]


def test_a_download_that_never_comes_has_failed(provider: LlamaCppProvider) -> None:
    with pytest.raises(ServerError, match="could not download"):
        provider.pull("org/missing")


def test_a_model_that_the_server_has_is_not_downloaded(provider: LlamaCppProvider) -> None:
    assert provider.pull(_MODEL).name == _MODEL


def test_a_download_without_progress_is_a_limit() -> None:
    status = {"value": "downloading", "progress": {"https://u": {"done": 1, "total": 9}}}
    server = Recorded(status, models="router_load")
    server.answer = _posts_are_answered(server)  # type: ignore[method-assign]  # a path for two requests
    with pytest.raises(LimitError) as caught:
        server.run(lambda provider: provider.pull(_MODEL), idle_s=0.05)
    assert caught.value.limit == "idle_s"


@pytest.mark.parametrize("fault", ["closed without an answer", "body cut"])
def test_a_list_that_breaks_off_does_not_end_a_download(
    fault: str, fake: FakeLlamaCpp, provider: LlamaCppProvider
) -> None:
    fake.downloads["org/new"] = [(1, 9), (5, 9), (9, 9)]
    seen: List[Progress] = []

    def on_progress(progress: Progress) -> None:
        if not seen:
            fake.break_next(fault, path="/v1/models")
        seen.append(progress)

    assert provider.pull("org/new", on_progress=on_progress).name == "org/new"
    assert len(seen) > 1


@pytest.mark.usefixtures("fake_clock")
def test_a_wait_is_not_longer_than_the_limit_of_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "WAITS_S", (60.0, 60.0))
    server = Recorded({"value": "downloading", "progress": {"https://u": {"done": 1, "total": 9}}})
    server.answer = _posts_are_answered(server)  # type: ignore[method-assign]  # as above
    with pytest.raises(LimitError) as caught:
        server.run(lambda provider: provider.pull(_MODEL), idle_s=10)
    assert (caught.value.limit, caught.value.elapsed_s) == ("idle_s", 10)


def _posts_are_answered(server: Recorded) -> Callable[[Exchange], List[bytes]]:
    def answer(exchange: Exchange) -> List[bytes]:
        if exchange.method == "POST":
            return [http_answer({"success": True})]
        entry = {"id": _MODEL, "status": server.states[0]}
        return [http_answer({"object": "list", "data": [entry]})]

    return answer


def test_a_model_is_deleted(fake: FakeLlamaCpp, provider: LlamaCppProvider) -> None:
    provider.delete("other")

    assert [info.name for info in provider.list_models()] == [_MODEL]
    assert "DELETE /models?model=other" in paths(fake)


def test_a_name_is_escaped_in_a_path(provider: LlamaCppProvider, fake: FakeLlamaCpp) -> None:
    with pytest.raises(ModelNotFoundError):
        provider.properties("a/b?c&d")
    assert fake.exchanges[0].path == "/props?model=a%2Fb%3Fc%26d&autoload=false"


@pytest.mark.parametrize("verb", ["unload", "pull", "delete"])
def test_a_server_with_one_model_cannot_change_its_models(verb: str) -> None:
    with FakeLlamaCpp(["only"]) as fake, LlamaCppProvider(fake.url) as provider:
        assert provider.load("only").load_s == 0.0
        with pytest.raises(UnsupportedError, match="one model") as caught:
            getattr(provider, verb)("only")
        assert "without a model" in str(caught.value.hint)


def test_an_empty_router_can_download() -> None:
    with FakeLlamaCpp([], router=True) as fake, LlamaCppProvider(fake.url) as provider:
        fake.downloads["org/new"] = [(1, 2), (2, 2)]
        assert provider.pull("org/new").name == "org/new"


def test_a_refused_deletion_says_what_can_be_deleted() -> None:
    _, refusal = dialect_exchange("router_delete_not_cached", "llamacpp")
    listed = http_answer({"data": [{"id": _MODEL, "status": {"value": "unloaded"}}]})
    answers = {"GET": listed, "DELETE": refusal}
    with ScriptedServer(lambda exchange: [answers[exchange.method]]) as server:
        with LlamaCppProvider(server.url) as provider:
            with pytest.raises(RequestRejectedError) as caught:
                provider.delete(_MODEL)
    assert "cache" in str(caught.value.hint)
    assert json.dumps(caught.value.to_dict())
