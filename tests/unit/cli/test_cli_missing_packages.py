"""Packages that are not installed: one clear line instead of a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from localproviders import DependencyError, cli
from localproviders.engine import install as install_engine

installing = sys.modules["localproviders.engine.install"]

# Python asks the finders in `sys.meta_path` in their order; this one refuses some packages.
_WITHOUT = """
import sys


class Refuser:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Refuser())
"""


def _run_without(packages: List[str], script: str) -> Tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT.format(packages=packages) + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


_CHAT = """
from localproviders import DependencyError, OllamaProvider
try:
    OllamaProvider("http://127.0.0.1:9").chat("hello", model="m")
except DependencyError as error:
    print(error.hint)
    sys.exit(f"{error.message}")
"""
# The machine of this test may be one that the engine does not support.
_COMMAND = """
from localproviders import cli, engine
sys.modules["localproviders.engine.install"].why_unsupported = lambda: None
sys.exit(cli.main({arguments!r}))
"""


@pytest.mark.parametrize("package", ["requests", "urllib3"])
class TestWithoutTheHttpPackages:
    @pytest.mark.sample(1)
    def test_a_chat_names_the_package_and_the_command(self, package: str) -> None:
        status, out, err = _run_without([package], _CHAT)
        assert status == 1
        assert out == "python -m pip install requests\n"
        assert err.count("\n") == 1
        assert package in err

    @pytest.mark.sample(1)
    @pytest.mark.parametrize("arguments", [["discover", "127.0.0.1:9"], ["demo", "--install"]])
    def test_a_command_says_it_in_one_line(self, package: str, arguments: List[str]) -> None:
        status, out, err = _run_without([package], _COMMAND.format(arguments=arguments))
        assert status == DependencyError.exit_code
        assert out == ""
        assert err.startswith(f"localproviders {arguments[0]}: DependencyError: ")
        assert "python -m pip install requests" in err
        assert err.count("\n") == 1


_SHUTDOWN = """
class ShutDown:
    def find_spec(self, name, path=None, target=None):
        if name == "requests":
            raise ImportError("sys.meta_path is None, Python is likely shutting down")


sys.meta_path.insert(0, ShutDown())
"""


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "cause", [_SHUTDOWN, "sys.modules['localproviders._http.session'] = None\n"]
)
def test_an_import_that_fails_for_another_reason_is_not_blamed_on_requests(cause: str) -> None:
    status, out, err = _run_without([], cause + _CHAT)
    assert status == 1
    assert out == ""
    assert "Traceback" in err


@pytest.mark.parametrize("arguments", [["demo", "--install"], ["demo"], ["engine", "install"]])
@pytest.mark.parametrize("reason", ["it needs Python 3.10", "it needs a processor with AVX2"])
def test_an_unsupported_machine_is_told_at_once_what_to_do_instead(
    arguments: List[str], reason: str, monkeypatch: Any, capsys: Any
) -> None:
    for module in (installing, sys.modules["localproviders.engine"]):
        monkeypatch.setattr(module, "why_unsupported", lambda: reason)
    monkeypatch.setattr(installing, "find_spec", lambda name: None)
    monkeypatch.setattr(installing, "_run_pip", lambda *_: pytest.fail("pip was started"))

    assert cli.main(arguments) == DependencyError.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert reason in shown.err
    assert "docs/setup.md" in shown.err


@pytest.mark.parametrize("arguments", [["demo", "--install"], ["engine", "install"]])
def test_without_pip_nothing_is_started(
    arguments: List[str], monkeypatch: Any, capsys: Any
) -> None:
    for module in (installing, sys.modules["localproviders.engine"]):
        monkeypatch.setattr(module, "why_unsupported", lambda: None)
    monkeypatch.setattr(installing, "find_spec", lambda name: None)
    monkeypatch.setattr(installing, "_has_module", lambda name: False)
    monkeypatch.setattr(installing, "_run_pip", lambda *_: pytest.fail("pip was started"))

    assert cli.main(arguments) == DependencyError.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "python -m venv" in shown.err


def test_without_pip_the_copy_in_python_is_used_for_this_installation_only(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(installing, "why_unsupported", lambda: None)
    monkeypatch.setattr(installing, "_has_module", lambda name: name == "ensurepip")
    started: List[List[str]] = []

    def unpack_pip(command: List[str], cwd: str, **_: Any) -> Any:
        (Path(cwd) / "usr/lib/python3/site-packages/pip").mkdir(parents=True)
        started.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", unpack_pip)
    monkeypatch.setattr(subprocess, "check_call", lambda command, **_: started.append(command))
    install_engine()
    unpack, run = started
    folder = unpack[-1]
    assert unpack[-4:] == ["-m", "ensurepip", "--root", folder]
    assert run[1] == f"{folder}/usr/lib/python3/site-packages/pip"
    assert "install" in run and not Path(folder).exists()


def test_if_pip_cannot_be_unpacked_the_reason_is_shown(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(installing, "why_unsupported", lambda: None)
    monkeypatch.setattr(installing, "_has_module", lambda name: name == "ensurepip")
    failed = subprocess.CompletedProcess([], 1, stdout=b"ensurepip is disabled\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)

    assert cli.main(["engine", "install"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("ensurepip is disabled\n") and "pip ended with status 1" in shown


def test_the_demo_promises_no_engine_that_is_missing(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(installing, "why_unsupported", lambda: None)
    monkeypatch.setattr(installing, "find_spec", lambda name: None)

    assert cli.main(["demo"]) == DependencyError.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "run the same command with --install" in shown.err


@pytest.mark.parametrize("package", ["numpy", "tqdm", "yaml"])
def test_a_package_that_gguf_needs_is_a_part_of_the_engine(package: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(installing, "why_unsupported", lambda: None)
    monkeypatch.setattr(installing, "find_spec", lambda name: None if name == package else True)

    with pytest.raises(DependencyError, match=package):
        installing.require_engine()


def test_an_install_function_of_the_caller_needs_no_pip(monkeypatch: Any) -> None:
    monkeypatch.setattr(installing, "why_unsupported", lambda: None)
    monkeypatch.setattr(installing, "find_spec", lambda name: None)
    done: List[List[str]] = []
    install_engine(done.append)
    assert done[0][2] == "pip"
