"""A `LocalProvider` with discovered servers, in threads, after a fork, pickled and closed."""

from __future__ import annotations

import math
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, Iterator, List

import pytest

from localproviders import (
    CallEvent,
    Config,
    Discovery,
    FoundServer,
    LimitError,
    Limits,
    LlamaCppProvider,
    LocalProvider,
    ModelNotFoundError,
    OllamaProvider,
    StreamInterruptedError,
    UnreachableError,
    UnsupportedError,
    create_default_provider,
    create_fallback_provider,
    discovery,
)
from localproviders.config import ServerConfig
from localproviders.local.gguf import HostedProvider
from localproviders.testing import FakeLlamaCpp, FakeLMStudio, FakeOllama
from tests.unit.local.support import ONCE, pair

NOW = datetime(2025, 1, 1, tzinfo=timezone.utc)


class Finder:
    """Replaces the search: returns prepared servers and records its calls."""

    def __init__(self) -> None:
        self.servers: List[FoundServer] = []
        self.asked: List[Any] = []

    def __call__(self, **how: Any) -> Discovery:
        self.asked.append(how)
        return Discovery(found_at=NOW, servers=tuple(self.servers))


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    found = Finder()
    monkeypatch.setattr(discovery, "discover", found)
    return found


def _found(kind: Any, url: str, **more: Any) -> FoundServer:
    return FoundServer(kind=kind, name=kind, endpoint=url, **more)


def test_making_one_reads_nothing_and_searches_nothing(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Config, "load", _forbidden)
    with create_default_provider(model="m") as local:
        assert local.name == "local"
        assert "not searched" in repr(local)
        assert local.limits(5).total_s == 5
    assert finder.asked == []


def test_given_providers_have_nothing_read_and_nothing_searched(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Config, "load", _forbidden)
    with FakeOllama(["m"]) as server:
        with create_fallback_provider([OllamaProvider(server.url)], model="m") as local:
            assert local.chat("Hi").provider == "ollama"
    assert finder.asked == []


def _forbidden(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing may be read here")


def test_servers_are_found_at_the_first_call_and_once(finder: Finder) -> None:
    with FakeOllama(["here"]) as one, FakeLMStudio(["there"]) as other:
        finder.servers = [_found("ollama", one.url), _found("lmstudio", other.url)]
        heard: List[Any] = []
        with LocalProvider(config=Config(), listeners=(heard.append,)) as local:
            assert local.chat("Hi", model="there").provider == "lmstudio"
            assert local.chat("Hi", model="here").provider == "ollama"
        assert len(finder.asked) == 1
        assert {event.provider for event in heard} == {"ollama", "lmstudio"}


def test_what_cannot_be_used_is_left_out(finder: Finder) -> None:
    with FakeOllama(["here"]) as one:
        finder.servers = [
            _found("unknown", "http://127.0.0.1:9"),
            _found("lmstudio", "http://127.0.0.1:9", state="unavailable", reason="broken"),
            _found("ollama", one.url),
        ]
        with LocalProvider(config=Config()) as local:
            assert [each.name for each in local.providers()] == ["ollama"]


def test_configured_servers_come_in_the_order_of_fallback_and_are_not_found_twice(
    finder: Finder,
) -> None:
    with FakeOllama(["m"]) as one, FakeLMStudio(["m"]) as other:
        finder.servers = [_found("ollama", one.url), _found("lmstudio", other.url)]
        config = Config(
            servers=(
                ServerConfig(name="box", kind="ollama", endpoint=one.url, retry=ONCE),
                ServerConfig(name="studio", kind="lmstudio", endpoint=other.url, retry=ONCE),
            ),
            fallback=("studio", "box"),
            aliases={"fast": ("box/m", "studio/m")},
            model="fast",
        )
        with LocalProvider(config=config) as local:
            assert [each.name for each in local.providers()] == ["studio", "box"]
            assert local.chat("Hi", model="m").provider == "studio"
            assert local.chat("Hi").provider == "box"


def test_no_server_at_all_says_what_was_tried_and_is_looked_for_again(finder: Finder) -> None:
    with FakeOllama(["m"]) as one:
        with LocalProvider(config=Config(), model="m") as local:
            with pytest.raises(UnreachableError) as caught:
                local.chat("Hi")
            assert "ollama serve" in str(caught.value.hint)
            assert "\\n" not in str(caught.value)  # no escaped line end
            finder.servers = [_found("ollama", one.url)]
            assert local.chat("Hi").provider == "ollama"


def test_a_search_is_made_again_when_nobody_could(finder: Finder) -> None:
    with FakeOllama(["m"]) as one, FakeLMStudio(["late"]) as other:
        finder.servers = [_found("ollama", one.url)]
        with LocalProvider(config=Config()) as local:
            assert not local.supports_model("late")
            (before,) = local.providers()
            finder.servers.append(_found("lmstudio", other.url))
            assert not local.supports_model("late")
            assert local.chat("Hi", model="late").provider == "lmstudio"
            assert local.providers()[0] is before
            assert finder.asked[-1]["refresh"] is True


def test_what_a_search_has_kept_is_corrected_by_a_server_that_is_gone() -> None:
    with FakeOllama(["m"]) as server, FakeOllama(["m"]) as other:
        assert discovery.discover([server.url]).servers[0].state == "available"
        providers = [
            OllamaProvider(server.url, retry=ONCE),
            OllamaProvider(other.url, name="other"),
        ]
        with LocalProvider(providers, model="m") as local:
            server.stop()
            assert local.chat("Hi").provider == "other"
        (gone,) = [s for s in discovery.discover([server.url]).servers if s.endpoint == server.url]
        assert gone.state == "unavailable"


def test_refresh_searches_anew(finder: Finder) -> None:
    with FakeOllama(["m"]) as one:
        finder.servers = [_found("ollama", one.url)]
        with LocalProvider(config=Config()) as local:
            local.list_models()
            local.refresh()
            local.list_models()
        assert len(finder.asked) == 2


def test_a_provider_pickles_with_its_providers_settings() -> None:
    with pair() as made:
        plain = LocalProvider(made.local.providers(), aliases={"fast": "lmstudio/both"})
        with pickle.loads(pickle.dumps(plain)) as twin:
            assert twin.chat("Hi", model="fast").provider == "lmstudio"
            assert twin.providers()[0].settings == made.local.providers()[0].settings  # type: ignore[attr-defined]  # both are HTTP providers


def test_many_threads_share_one_provider_while_a_server_dies() -> None:
    answers: List[str] = []
    with pair() as made:

        def ask() -> None:
            for _ in range(5):
                try:
                    answers.append(made.local.chat("Hi", model="both").provider)
                except StreamInterruptedError as error:
                    answers.append(f"begun: {error.partial}")  # not sent to another server

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        made.ollama.stop()
        for thread in threads:
            thread.join()
    assert len(answers) == 30
    assert "lmstudio" in answers
    assert {each for each in answers if not each.startswith("begun: Hello")} <= {
        "ollama",
        "lmstudio",
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_falls_back_on_its_own() -> None:
    with pair() as made:
        assert made.local.chat("Hi", model="both").provider == "ollama"
        child = os.fork()
        if child == 0:
            code = 1
            try:
                answer = made.local.chat("Hi", model="qwen/there")
                code = 0 if answer.provider == "lmstudio" else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert made.local.chat("Hi", model="both").provider == "ollama"


def test_no_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with pair() as made:
        made.local.chat("Hi", model="both")
        mine = threading.current_thread()
        started: List[str] = []
        plain = threading.Thread.start

        def watched(thread: threading.Thread) -> None:
            if threading.current_thread() is mine:
                started.append(thread.name)
            plain(thread)

        monkeypatch.setattr(threading.Thread, "start", watched)
        made.ollama.stop()
        assert made.local.chat("Hi", model="both").provider == "lmstudio"
        assert started == []


class FakeEngine:
    """Replaces the engine with a fake server."""

    running: ClassVar[List[FakeEngine]] = []
    url = ""

    def __init__(self, model: Path, start_timeout_s: float) -> None:
        self.model = model
        self.start_timeout_s = start_timeout_s

    def start(self) -> LlamaCppProvider:
        self.running.append(self)
        return LlamaCppProvider(self.url, name="engine:m", retry=ONCE)

    def stop(self) -> None:
        self.running.remove(self)


def test_a_model_file_is_served_when_it_is_needed_and_until_close(
    finder: Finder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("localproviders.local.gguf.LocalEngine", FakeEngine)
    with FakeOllama(["m"]) as one, FakeLlamaCpp(["file"]) as engine:
        monkeypatch.setattr(FakeEngine, "url", engine.url)
        config = Config(
            servers=(
                ServerConfig(name="box", kind="ollama", endpoint=one.url, retry=ONCE),
                ServerConfig(name="own", kind="gguf", gguf=tmp_path / "file.gguf"),
            )
        )
        with LocalProvider(config=config) as local:
            assert local.chat("Hi", model="m").provider == "box"
            assert FakeEngine.running == []
            assert local.chat("Hi", model="own/file").provider == "own"
            (started,) = FakeEngine.running
            assert started.model == tmp_path / "file.gguf"
            assert local.chat("Hi", model="file").provider == "own"
            local.close()
            assert FakeEngine.running == []
            assert local.chat("Hi", model="own/file").provider == "own"
        assert FakeEngine.running == []


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, finder: Finder) -> Iterator[ServerConfig]:
    """Yield the configuration of a model file, whose engine is a fake one."""
    monkeypatch.setattr("localproviders.local.gguf.LocalEngine", FakeEngine)
    with FakeLlamaCpp(["file"]) as engine:
        monkeypatch.setattr(FakeEngine, "url", engine.url)
        yield ServerConfig(name="own", kind="gguf", gguf=tmp_path / "file.gguf")
    assert FakeEngine.running == []


def test_no_list_and_no_other_models_name_starts_an_engine(own: ServerConfig) -> None:
    with LocalProvider(config=Config(servers=(own,))) as local:
        assert [(i.provider, i.name, i.loaded) for i in local.list_models()] == [
            ("own", "file", False)
        ]
        assert not local.supports_model("another")
        assert [provider.name for provider in local.providers()] == ["own"]
        assert FakeEngine.running == []
        assert local.chat("Hi", model="file").provider == "own"
        assert [(i.provider, i.name) for i in local.list_models()] == [("own", "file")]


def test_an_engine_is_started_by_load_and_stopped_by_unload(own: ServerConfig) -> None:
    with LocalProvider(config=Config(servers=(own,))) as local:
        assert local.loaded_models() == []
        local.unload("own/file")
        assert FakeEngine.running == []

        loaded = local.load("own/file", keep_alive=math.inf)
        assert (loaded.provider, loaded.name, loaded.context_length) == ("own", "file", 4096)
        assert loaded.load_s is not None and loaded.load_s > 0
        assert [each.name for each in local.loaded_models()] == ["file"]
        assert local.load("file", context_length=4096).load_s == 0
        assert len(FakeEngine.running) == 1

        local.unload("file")
        assert (FakeEngine.running, local.loaded_models()) == ([], [])
        with local.keep_loaded("own/file"):
            assert local.chat("Hi", model="own/file").provider == "own"
        assert FakeEngine.running == []


def test_an_engine_is_not_loaded_with_other_options_or_names(own: ServerConfig) -> None:
    with HostedProvider(own) as provider:
        for verb in (provider.load, provider.unload):
            with pytest.raises(ModelNotFoundError, match="the file has no model 'other'"):
                verb("other")
        assert FakeEngine.running == []
        for options in ({"context_length": 512}, {"keep_alive": 60}):
            with pytest.raises(UnsupportedError, match=next(iter(options))):
                provider.load("file", **options)


def test_close_stops_an_engine_after_a_call_that_nobody_could_answer(own: ServerConfig) -> None:
    with LocalProvider(config=Config(servers=(own,))) as local:
        local.chat("Hi", model="own/file")
        for _ in range(2):
            with pytest.raises(ModelNotFoundError):
                local.chat("Hi", model="another")
        local.chat("Hi", model="own/file")
        assert len(FakeEngine.running) == 1
        with pytest.raises(ModelNotFoundError):
            local.chat("Hi", model="another")


def test_the_calls_of_an_engine_are_told_and_have_the_configured_limits(own: ServerConfig) -> None:
    events: List[CallEvent] = []
    config = Config(servers=(own.replace(limits=Limits(idle_s=7)),))
    with LocalProvider(config=config, listeners=(events.append,)) as local:
        local.chat("Hi", model="own/file")
        assert local.providers()[0].limits().idle_s == 7
    assert [(e.kind, e.provider) for e in events if e.kind in ("started", "finished")] == [
        ("started", "own"),
        ("finished", "own"),
    ]


def test_the_start_of_an_engine_counts_into_the_total(own: ServerConfig) -> None:
    with LocalProvider(config=Config(servers=(own,))) as local:
        local.chat("Hi", model="own/file", timeout=5)
        (engine,) = FakeEngine.running
        assert engine.start_timeout_s <= 5


def test_a_total_that_ends_while_an_engine_starts_is_told_as_the_total(
    own: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(engine: FakeEngine) -> LlamaCppProvider:
        limit_s = engine.start_timeout_s
        time.sleep(limit_s)
        raise LimitError("slow", limit="load_s", limit_s=limit_s, elapsed_s=limit_s)

    monkeypatch.setattr(FakeEngine, "start", slow)
    with LocalProvider(config=Config(servers=(own,))) as local:
        with pytest.raises(LimitError) as caught:
            local.chat("Hi", model="own/file", timeout=0.05)
    assert (caught.value.limit, caught.value.limit_s) == ("total_s", 0.05)


def test_threads_that_ask_at_once_start_one_engine(own: ServerConfig) -> None:
    with LocalProvider(config=Config(servers=(own,))) as local, ThreadPoolExecutor(8) as pool:
        at_once = threading.Barrier(8)

        def ask(_: int) -> str:
            at_once.wait(30)
            return local.chat("Hi", model="own/file").provider or ""

        assert set(pool.map(ask, range(8))) == {"own"}
        assert len(FakeEngine.running) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_engine_running(own: ServerConfig) -> None:
    with LocalProvider(config=Config(servers=(own,))) as local:
        local.chat("Hi", model="own/file")
        child = os.fork()
        if child == 0:
            local.close()
            os._exit(len(FakeEngine.running))
        assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 1


def test_a_configured_total_holds_for_the_first_call_too(finder: Finder) -> None:
    config = Config(limits=Limits(total_s=7200))
    with LocalProvider(config=config) as local:
        assert local.limits().total_s == 7200
