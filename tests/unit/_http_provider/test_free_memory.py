"""Free memory is compared with the size of a model before it is loaded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest

from localproviders import (
    ConfigurationError,
    LMStudioProvider,
    LocalProvider,
    ModelLoadError,
    OllamaProvider,
)
from localproviders._address import Endpoint
from localproviders._http_provider import free_memory
from localproviders._http_provider.free_memory import MemoryCheck
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama

NEEDED, FREE = 5_000_000_000, 3_000_000_000


class Side(NamedTuple):
    fake: Any
    provider: Any

    def paths(self) -> List[str]:
        return [exchange.path for exchange in self.fake.exchanges]

    def is_loaded(self) -> bool:
        return "m" in self.fake.loaded


_KINDS = {"ollama": (FakeOllama, OllamaProvider), "lmstudio": (FakeLMStudio, LMStudioProvider)}


@pytest.fixture(params=sorted(_KINDS))
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    fake, provider = _KINDS[request.param]
    with fake([FakeModel(name="m", size_bytes=NEEDED)]) as server:
        with provider(server.url, model="m") as made:
            yield Side(server, made)


def set_free(monkeypatch: pytest.MonkeyPatch, free: Optional[int]) -> None:
    monkeypatch.setattr(free_memory, "free_bytes", lambda: free)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, FREE)


# --- load and keep_loaded -----------------------------------------------------------------


@pytest.mark.usefixtures("little")
def test_too_little_memory_is_a_warning(side: Side) -> None:
    loaded = side.provider.load("m")

    assert loaded.warnings == (
        "the model needs 5.0 GB of memory, and 3.0 GB were free: it may be slow",
    )
    assert side.is_loaded()


@pytest.mark.usefixtures("little")
def test_too_little_memory_is_an_error_if_the_caller_says_so(side: Side) -> None:
    with pytest.raises(ModelLoadError, match=r"5\.0 GB.* 3\.0 GB") as caught:
        side.provider.load("m", check_memory=True)

    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.needed_bytes, error.free_bytes) == (NEEDED, FREE)
    assert error.retryable
    assert (error.model, error.provider) == ("m", side.provider.name)
    assert error.to_dict()["needed_bytes"] == NEEDED
    assert not side.is_loaded()


@pytest.mark.usefixtures("little")
def test_memory_is_not_looked_at_if_the_caller_says_so(side: Side) -> None:
    assert side.provider.load("m", check_memory=False).warnings == ()


@pytest.mark.usefixtures("little")
def test_a_loaded_model_needs_no_more_memory(side: Side) -> None:
    side.provider.load("m")

    assert side.provider.load("m", check_memory=True).warnings == ()
    assert side.provider.load("m", context_length=2048, check_memory=True).warnings == ()


@pytest.mark.parametrize("free", [NEEDED, None])
def test_enough_or_unknown_memory_is_no_warning(
    side: Side, free: Optional[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_free(monkeypatch, free)

    assert side.provider.load("m", check_memory=True).warnings == ()
    # Ollama is asked for its list once already, because of the locality.
    if free is None:
        assert side.paths().count("/api/tags") <= 1


@pytest.mark.usefixtures("little")
def test_a_block_has_the_same_argument(side: Side) -> None:
    with pytest.raises(ModelLoadError), side.provider.keep_loaded("m", check_memory=True):
        pass
    with side.provider.keep_loaded("m") as loaded:
        assert len(loaded.warnings) == 1


@pytest.mark.usefixtures("little")
def test_local_provider_passes_it_on(side: Side) -> None:
    with LocalProvider([side.provider]) as local:
        with pytest.raises(ModelLoadError) as caught:
            local.load("m", check_memory=True)
        assert caught.value.free_bytes == FREE
        with pytest.raises(ModelLoadError), local.keep_loaded("m", check_memory=True):
            pass


@pytest.mark.usefixtures("little")
def test_a_chat_that_loads_the_model_looks_at_no_memory(side: Side) -> None:
    assert side.provider.chat("Hi").warnings == ()


@pytest.mark.parametrize("value", [1, "yes", 0])
def test_another_value_is_refused_before_anything_is_sent(side: Side, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="True, False or None"):
        side.provider.load("m", check_memory=value)

    assert side.paths() == []


@pytest.mark.usefixtures("little")
def test_a_model_of_unknown_size_is_loaded() -> None:
    with FakeOllama(["m"]) as fake, OllamaProvider(fake.url, model="m") as provider:
        provider.chat("Hi")  # the locality of the model is known from now on
        provider.unload("m")
        fake.break_next("status 500 with HTML", path="/api/tags")

        assert provider.load("m", check_memory=True).warnings == ()


@pytest.mark.usefixtures("little")
def test_memory_of_a_graphics_card_does_not_count() -> None:
    with FakeOllama([FakeModel(name="m", size_bytes=NEEDED)]) as fake:
        fake.vram_bytes = 4_000_000_000
        with OllamaProvider(fake.url, model="m") as provider:
            assert provider.load("m").warnings == ()


@pytest.mark.usefixtures("little")
def test_a_warning_costs_no_request() -> None:
    with FakeOllama([FakeModel(name="m", size_bytes=NEEDED)]) as fake:
        with OllamaProvider(fake.url, model="m", locality="any") as provider:
            assert provider.load("m").warnings
        paths = [exchange.path for exchange in fake.exchanges]
        assert paths == ["/api/ps", "/api/chat", "/api/ps"]


# --- where it is looked at ----------------------------------------------------------------


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    ("host", "is_compared"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("192.168.1.5", False)],
)
def test_only_a_server_on_this_machine_is_compared(host: str, is_compared: bool) -> None:
    endpoint = Endpoint(scheme="http", host=host, port=11434)
    found = MemoryCheck(None, endpoint, is_needed=True).after(NEEDED)

    assert bool(found) is is_compared


@pytest.mark.usefixtures("little")
def test_a_unix_socket_is_on_this_machine() -> None:
    endpoint = Endpoint(scheme="unix", host="localhost", port=0, socket_path="/run/llama.sock")
    assert MemoryCheck(None, endpoint, is_needed=True).after(NEEDED)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("size", [None, 0, -1, 10**400])
def test_a_size_that_no_model_has_is_unknown(size: Optional[int]) -> None:
    endpoint = Endpoint(scheme="http", host="127.0.0.1", port=1)
    MemoryCheck(True, endpoint, is_needed=True).before(lambda: size)
    assert MemoryCheck(None, endpoint, is_needed=True).after(size) == ()


# --- the numbers of the kernel ------------------------------------------------------------

_MEMINFO = "MemTotal: 16000000 kB\nMemFree: 100 kB\nMemAvailable: 8000000 kB\n"
_V1, _V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"


def machine(root: Path, files: Dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": _MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_memory_that_is_available_counts(tmp_path: Path) -> None:
    assert free_memory.free_bytes(machine(tmp_path, {})) == 8_000_000 * 1024


@pytest.mark.parametrize("text", ["", "MemFree: 5 kB\n", "MemAvailable: many kB\n", "MemAvailable"])
def test_another_system_reports_nothing(tmp_path: Path, text: str) -> None:
    assert free_memory.free_bytes(tmp_path) is None
    assert free_memory.free_bytes(machine(tmp_path, {"proc/meminfo": text})) is None


@pytest.mark.parametrize(
    ("files", "free"),
    [
        # Version 2, in the group itself, without a limit there, and in the group above it.
        ({f"{_V2}/a/b/memory.max": "900", f"{_V2}/a/b/memory.current": "400"}, 500),
        ({f"{_V2}/a/b/memory.max": "max", f"{_V2}/a/b/memory.current": "400"}, None),
        ({f"{_V2}/a/memory.max": "700", f"{_V2}/a/memory.current": "600"}, 100),
        # In a container, only the top folder exists.
        ({f"{_V2}/memory.max": "700", f"{_V2}/memory.current": "600"}, 100),
        # Files in the cache can be dropped. More may be used than allowed.
        (
            {
                f"{_V2}/memory.max": "700",
                f"{_V2}/memory.current": "600",
                f"{_V2}/memory.stat": "anon 1\ninactive_file 50\nfile 3\n",
            },
            150,
        ),
        ({f"{_V2}/memory.max": "700", f"{_V2}/memory.current": "900"}, 0),
        # Damaged files count as no limit.
        ({f"{_V2}/memory.max": "", f"{_V2}/memory.current": "900"}, None),
        ({f"{_V2}/memory.max": "700"}, None),
    ],
)
def test_a_limit_of_a_control_group_counts(
    tmp_path: Path, files: Dict[str, str], free: Optional[int]
) -> None:
    root = machine(tmp_path, {"proc/self/cgroup": "0::/a/b\n", **files})
    assert free_memory.free_bytes(root) == (8_000_000 * 1024 if free is None else free)


def test_a_limit_of_version_1_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "5:devices:/\n4:cpu,memory:/docker/x\n0::/\n",
        f"{_V1}/docker/x/memory.limit_in_bytes": "5000\n",
        f"{_V1}/docker/x/memory.usage_in_bytes": "3000\n",
        f"{_V1}/docker/x/memory.stat": "inactive_file 9\ntotal_inactive_file 100\n",
        f"{_V1}/memory.limit_in_bytes": "9223372036854771712\n",
        f"{_V1}/memory.usage_in_bytes": "8000\n",
    }
    assert free_memory.free_bytes(machine(tmp_path, files)) == 2100


class _AlarmError(OSError):
    """The exception of a signal handler."""


def test_an_exception_of_the_caller_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any, **__: Any) -> str:
        raise _AlarmError

    monkeypatch.setattr(Path, "read_text", read)
    with pytest.raises(_AlarmError):
        free_memory.free_bytes()
