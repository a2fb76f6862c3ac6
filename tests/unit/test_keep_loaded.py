"""`keep_loaded` leaves a model as it found it: in nested blocks, in threads, after errors."""

from __future__ import annotations

import math
import os
import signal
import threading
from typing import Any, Callable, List, Optional

import pytest

from localproviders import (
    LMStudioProvider,
    LocalProvider,
    ModelProvider,
    OllamaProvider,
    UnsupportedError,
)
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama
from localproviders.types import LoadedModel

QWEN = "qwen/qwen3-4b"
#: The start of a fake server, and a provider for it that has loaded nothing.
MAKERS: List[Any] = [
    (lambda: FakeOllama(["m"]), OllamaProvider, "m"),
    (lambda: FakeLMStudio([QWEN]), LMStudioProvider, QWEN),
]


@pytest.fixture(params=["direct", "local"])
def made(request: pytest.FixtureRequest) -> Callable[[Any, Any], Any]:
    """Return a function that makes a provider, directly or within a `LocalProvider`."""

    def make(kind: Any, url: str) -> Any:
        provider = kind(url)
        return provider if request.param == "direct" else LocalProvider([provider])

    return make


@pytest.mark.parametrize(("start", "kind", "model"), MAKERS)
def test_nested_blocks_unload_the_model_at_the_end_of_the_last_one(
    made: Any, start: Any, kind: Any, model: str
) -> None:
    with start() as fake, made(kind, fake.url) as provider:
        with provider.keep_loaded(model, context_length=2048):
            with provider.keep_loaded(model):
                with provider.keep_loaded(model, context_length=2048):
                    pass
                assert fake.loaded == {model: 2048}
            with pytest.raises(ZeroDivisionError):
                with provider.keep_loaded(model):
                    raise ZeroDivisionError
            assert fake.loaded == {model: 2048}
        assert fake.loaded == {}


@pytest.mark.parametrize(("start", "kind", "model"), MAKERS)
def test_a_model_that_was_in_memory_before_stays_there(
    made: Any, start: Any, kind: Any, model: str
) -> None:
    with start() as fake, made(kind, fake.url) as provider, kind(fake.url) as other:
        other.load(model, context_length=1024)
        for window in (None, 1024, 2048):
            with provider.keep_loaded(model, context_length=window):
                assert fake.loaded == {model: window or 1024}
            assert fake.loaded == {model: 1024}, window
            with pytest.raises(KeyError):
                with provider.keep_loaded(model, context_length=window):
                    raise KeyError
            assert fake.loaded == {model: 1024}, window


@pytest.mark.parametrize(("start", "kind", "model"), MAKERS)
def test_the_end_of_an_inner_block_restores_the_window_of_the_outer_one(
    made: Any, start: Any, kind: Any, model: str
) -> None:
    with start() as fake, made(kind, fake.url) as provider:
        with provider.keep_loaded(model, context_length=4096):
            with provider.keep_loaded(model, context_length=1024):
                assert fake.loaded == {model: 1024}
            assert fake.loaded == {model: 4096}
            provider.chat("Hi", model=model)
            assert fake.loaded == {model: 4096}
        assert fake.loaded == {}


@pytest.mark.parametrize(("start", "kind", "model"), MAKERS)
def test_blocks_of_several_threads_may_end_in_any_order(start: Any, kind: Any, model: str) -> None:
    with start() as fake, kind(fake.url) as provider:
        for was_there in (False, True):
            if was_there:
                provider.load(model)
            first, second = (provider.keep_loaded(model) for _ in range(2))
            first.__enter__()
            entered = threading.Thread(target=second.__enter__)
            entered.start()
            entered.join()
            first.__exit__(None, None, None)  # the block of this thread ends first
            assert model in fake.loaded
            ended = threading.Thread(target=second.__exit__, args=(None, None, None))
            ended.start()
            ended.join()
            assert (model in fake.loaded) is was_there


def test_many_threads_leave_nothing_behind() -> None:
    errors: List[BaseException] = []
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url) as provider:

        def work() -> None:
            try:
                for _ in range(3):
                    with provider.keep_loaded("m"):
                        assert "m" in fake.loaded
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert fake.loaded == {}


def _left_s(provider: OllamaProvider) -> Optional[float]:
    """Return the seconds until the model leaves memory; None if it stays."""
    from datetime import datetime, timezone

    (loaded,) = provider.loaded_models()
    ends = loaded.expires_at
    return None if ends is None else (ends - datetime.now(timezone.utc)).total_seconds()


@pytest.mark.parametrize("before", [120, math.inf])
@pytest.mark.parametrize("inside", [None, 3600, math.inf, "2h"])
def test_the_timer_of_a_model_that_was_in_memory_is_restored(before: Any, inside: Any) -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url) as provider:
        OllamaProvider(fake.url).load("m", keep_alive=before)
        with provider.keep_loaded("m", keep_alive=inside):
            with provider.keep_loaded("M:latest"):
                pass
        left = _left_s(provider)
        assert left is None if before == math.inf else left and 100 < left < 121


def test_the_timer_of_an_outer_block_is_restored() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url) as provider:
        with provider.keep_loaded("m", keep_alive="10m"):
            with provider.keep_loaded("m", keep_alive=math.inf):
                assert _left_s(provider) is None
            left = _left_s(provider)
            assert left and 590 < left < 601
        assert fake.loaded == {}


def test_a_block_that_changes_nothing_costs_no_request_at_its_end() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url) as provider:
        provider.load("m")
        with provider.keep_loaded("m"):
            fake.exchanges.clear()
        assert fake.exchanges == []


def test_later_requests_have_the_window_that_they_had_before_the_block() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        OllamaProvider(fake.url).load("m", context_length=1024)
        with provider.keep_loaded("m", context_length=2048):
            provider.chat("Hi")
            assert fake.exchanges[-1].json["options"] == {"num_ctx": 2048}
        provider.chat("Hi")
        assert "options" not in [e for e in fake.exchanges if e.path == "/api/chat"][-1].json


def test_a_model_that_was_deleted_in_the_block_raises_no_error() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url) as provider:
        with provider.keep_loaded("m"):
            provider.delete("m")
        assert fake.loaded == {}


def test_a_copy_with_an_idle_limit_is_not_kept_for_ever() -> None:
    with FakeLMStudio([QWEN]) as fake, LMStudioProvider(fake.url, model=QWEN) as provider:
        provider.chat("Hi", keep_alive=600)  # the server loads the model for this request
        (copy,) = provider.loaded_models()
        assert copy.expires_at is not None
        with provider.keep_loaded(QWEN):
            pass
        assert [each.expires_at is None for each in provider.loaded_models()] == [False]
        with provider.keep_loaded(QWEN, keep_alive=math.inf):
            assert [each.expires_at for each in provider.loaded_models()] == [None]
        assert fake.loaded == {}


def test_a_load_that_fails_does_not_change_the_outer_block() -> None:
    with FakeLMStudio([QWEN]) as fake, LMStudioProvider(fake.url) as provider:
        with provider.keep_loaded(QWEN):
            with pytest.raises(UnsupportedError):
                with provider.keep_loaded(QWEN, keep_alive=5):
                    raise AssertionError
            assert QWEN in fake.loaded
        assert fake.loaded == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_end_of_a_block_in_a_forked_child_leaves_the_model_to_the_parent() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url) as provider:
        with provider.keep_loaded("m"):
            fake.exchanges.clear()
            block = provider.keep_loaded("m")
            block.__enter__()
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    block.__exit__(None, None, None)
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            assert "m" in fake.loaded
            block.__exit__(None, None, None)
        assert fake.loaded == {}


class _Other(ModelProvider):
    """A provider that is not part of this package, with the public methods only."""

    list_models = supports_model = model_info = stream_completion = embed = close = None  # type: ignore[assignment]  # not called

    def __init__(self) -> None:
        self.memory: List[LoadedModel] = []
        self.calls: List[Any] = []

    @property
    def name(self) -> str:
        return "other"

    def loaded_models(self, **_: Any) -> List[LoadedModel]:
        return list(self.memory)

    def load(self, model: Any, **options: Any) -> LoadedModel:  # type: ignore[override]  # shorter
        self.calls.append((options["context_length"], options["keep_alive"]))
        loaded = LoadedModel(name=model, provider="other", context_length=options["context_length"])
        self.memory = [loaded]
        return loaded

    def unload(self, model: Any, **_: Any) -> None:
        self.memory = []


def test_keep_loaded_of_another_provider_uses_its_public_methods() -> None:
    other = _Other()
    with other.keep_loaded("m", context_length=10):
        with other.keep_loaded("m", context_length=20):
            pass
        assert [each.context_length for each in other.memory] == [10]
    assert (other.memory, other.calls[0]) == ([], (10, None))


def test_a_misspelt_keyword_is_named_at_once() -> None:
    with pytest.raises(
        TypeError, match=r"keep_loaded\(\) got an unexpected keyword 'num_ctx'; did"
    ):
        OllamaProvider().keep_loaded("m", num_ctx=4096)  # type: ignore[call-arg]  # the mistake


def test_a_model_of_the_fake_may_be_there_from_the_start() -> None:
    with FakeOllama([FakeModel(name="m", loaded=True)]) as fake:
        with OllamaProvider(fake.url) as provider, provider.keep_loaded("m"):
            pass
        assert fake.loaded == {"m": 4096}


class _Soft(Exception):  # noqa: N818  # named as in Celery
    """An exception of the caller's own class."""


@pytest.mark.skipif(os.name != "posix", reason="a signal to a process is POSIX")
@pytest.mark.parametrize("error", [_Soft("alarm"), TimeoutError("alarm"), OSError("alarm")])
@pytest.mark.parametrize(("start", "kind", "model"), MAKERS)
def test_an_alarm_during_the_end_of_a_failed_block_is_not_swallowed(
    start: Any, kind: Any, model: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ring(*_: Any) -> None:
        raise error

    def unload(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with start() as fake, kind(fake.url) as provider:
            monkeypatch.setattr(type(provider._loader), "unload", unload)
            with pytest.raises(type(error), match="alarm") as caught:
                with provider.keep_loaded(model):
                    raise KeyError
    finally:
        signal.signal(signal.SIGALRM, before)
    assert caught.value is error
    assert isinstance(error.__context__, KeyError)


@pytest.mark.parametrize(("start", "kind", "model"), MAKERS)
def test_a_failed_end_does_not_replace_the_error_of_the_block(
    start: Any, kind: Any, model: str
) -> None:
    with start() as fake, kind(fake.url) as provider, pytest.raises(KeyError):
        with provider.keep_loaded(model):
            fake.stop()
            raise KeyError
