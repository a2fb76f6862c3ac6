"""One run of a verb: its lock, its deadline, its output, its provider."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from localproviders import LocalProvider, LockHeldError, OllamaProvider, cli
from localproviders.cli import options
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.usage import Stopped, UsageError
from localproviders.testing import FakeLMStudio, FakeOllama
from tests.unit.cli.support import environment, run, start


def _arguments(*words: str) -> Namespace:
    parser = Parser("test")
    options.add_model(parser)
    options.add_shared(parser)
    return parser.parse_args(words)


def test_the_output_is_complete_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with Run("test", _arguments("-o", str(path))) as running:
        running.output.write("one")
    assert path.read_text() == "one"
    for error in (KeyError, KeyboardInterrupt, Stopped(143)):
        with pytest.raises(BaseException), Run(  # noqa: B017  # any of these
            "test", _arguments("-o", str(path), "--force")
        ) as running:
            running.output.write("two")
            raise error
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_lock_is_held_during_the_run(tmp_path: Path) -> None:
    words = ("--lock", str(tmp_path / "lock"))
    with Run("test", _arguments(*words)):
        with pytest.raises(LockHeldError), Run("test", _arguments(*words)):
            pytest.fail("it ran")
    with Run("test", _arguments(*words)):
        pass


def test_an_output_that_exists_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    words = ("--lock", str(tmp_path / "lock"))
    with pytest.raises(UsageError), Run("test", _arguments("-o", str(tmp_path / "a.txt"), *words)):
        pytest.fail("it ran")
    with Run("test", _arguments(*words)):
        pass


def test_the_jitter_is_a_random_part_of_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    for _ in range(20):
        with Run("test", _arguments("--jitter", "60s")):
            pass
    assert len(set(waits)) > 1
    assert all(0 <= wait <= 60 for wait in waits)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_the_deadline_is_kept_outside_of_calls_too() -> None:
    with pytest.raises(Stopped, match=r"the deadline of 0\.05 s"):
        with Run("test", _arguments("--deadline", "0.05")):
            while True:
                signal.pause()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_warnings_and_quiet(capsys: Any) -> None:
    with Run("test", _arguments()) as running:
        running.warn_all(["one\ntwo"])
    with Run("test", _arguments("--quiet")) as running:
        running.warn("three")
    assert capsys.readouterr() == ("", "localproviders test: warning: one\\ntwo\n")


class TestProvider:
    def test_a_server_before_the_model(self, monkeypatch: Any) -> None:
        monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
        with Run("test", _arguments("-m", "ollama/m", "--timeout", "7")) as running:
            provider = running.provider()
        assert isinstance(provider, OllamaProvider)
        assert provider.settings.limits.total_s == 7

    def test_a_model_alone(self) -> None:
        with Run("test", _arguments("-m", "m")) as running:
            assert isinstance(running.provider(), LocalProvider)

    def test_metrics_and_a_log(self, tmp_path: Path, monkeypatch: Any) -> None:
        path = tmp_path / "a.prom"
        with FakeOllama(["m"]) as ollama:
            env = environment(OLLAMA_HOST=ollama.url)
            words = ("--metrics-file", str(path), "-v")
            done = run("chat", "-m", "ollama/m", "Hi", *words, env=env)
        assert done.returncode == 0
        assert "localproviders_" in path.read_text()
        assert b"DEBUG stream m on ollama finished" in done.stderr

    def test_metrics_that_cannot_be_written_are_a_warning(self, tmp_path: Path) -> None:
        lost = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
        with FakeOllama(["m"]) as ollama:
            env = environment(OLLAMA_HOST=ollama.url, PYTHONDONTWRITEBYTECODE="1")
            words = ["chat", "-m", "ollama/m", "Hi", "--metrics-file", str(tmp_path / "b.prom")]
            command = [sys.executable, "-m", "localproviders", *words]
            done = subprocess.run(
                [sys.executable, "-c", lost + "os.execv(sys.argv[1], sys.argv[1:])", *command],
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        assert done.returncode == 0
        assert b"b.prom could not be written: OSError" in done.stderr
        assert done.stderr.count(b"\n") == 1


class TestHosts:
    def test_a_host_with_its_kind(self) -> None:
        with FakeOllama(["m"]) as ollama:
            given = _arguments("--host", f"ollama={ollama.url}", "-m", "m")
            with Run("test", given) as running:
                assert running.provider().chat("Hi").model == "m"
            assert [exchange.path for exchange in ollama.exchanges][-1] == "/api/chat"

    @pytest.mark.parametrize("fake", [FakeOllama, FakeLMStudio])
    def test_a_host_without_its_kind_is_asked(self, fake: Any) -> None:
        with fake(["m"]) as server, Run("test", _arguments("--host", server.url)) as running:
            provider = running.provider("m")
            assert provider.chat("Hi").provider == provider.name

    def test_a_prefix_that_is_the_kind_is_no_part_of_the_model(self) -> None:
        with FakeOllama(["m"]) as ollama:
            given = _arguments("--host", ollama.url, "-m", "ollama/m")
            with Run("test", given) as running:
                assert running.provider().chat("Hi").model == "m"

    def test_several_hosts_share_the_work(self) -> None:
        with FakeOllama(["m"]) as one, FakeOllama(["m"]) as two:
            given = _arguments("--host", f"ollama={one.url}", "--host", two.url, "-m", "m")
            with Run("test", given) as running:
                provider = running.provider()
                streams = [provider.stream("Hi") for _ in range(4)]
                names = {stream.result().provider for stream in streams}
        assert names == {"ollama", "ollama-2"}

    @pytest.mark.parametrize(
        ("host", "status", "said"),
        [
            ("olama=http://127.0.0.1:9", 2, "there is no kind 'olama' of servers; the kinds are"),
            ("gguf=/x", 2, "there is no kind 'gguf' of servers"),
            ("http://127.0.0.1:9", 5, "hint"),
            ("http://192.0.2.1", 3, "--locality any"),
            ("http://u:p@127.0.0.1", 2, "credentials"),
        ],
    )
    def test_wrong_hosts(self, host: str, status: int, said: str, capsys: Any) -> None:
        assert cli.main(["chat", "--host", host, "-m", "m", "Hi"]) == status
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert said in err

    def test_a_server_of_an_unknown_kind(self, capsys: Any) -> None:
        from localproviders.testing import ScriptedServer, http_answer

        with ScriptedServer(lambda exchange: [http_answer({}, status=404)]) as server:
            assert cli.main(["chat", "--host", server.url, "-m", "m", "Hi"]) == 2
        assert f"--host openai-compatible={server.url}" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_run_leaves_neither_a_name_nor_a_lock(tmp_path: Path) -> None:
    words = ["-o", str(tmp_path / "a.txt"), "--lock", str(tmp_path / "lock")]
    with FakeOllama(["m"]) as ollama:
        env = environment(OLLAMA_HOST=ollama.url)
        ollama.break_next("body stalled")
        with start("chat", "-m", "ollama/m", "Hi", *words, env=env) as process:
            while not ollama.exchanges:  # the run holds its lock before it sends a request
                assert process.poll() is None
            second = run("chat", "-m", "ollama/m", "Hi", *words, env=env)
            process.kill()
        ollama.heal()
        assert second.returncode == 75
        assert not (tmp_path / "a.txt").exists()
        assert run("chat", "-m", "ollama/m", "Hi", *words, env=env).returncode == 0
        assert ollama.wait_for_connections(0)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "lock"]
