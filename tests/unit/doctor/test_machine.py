"""Reading the machine: locks of real processes, packages, modules, paths, disks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localproviders.doctor import machine
from localproviders.doctor.facts import NamedPath

_HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_of_another_process_is_found_and_ends_with_it(tmp_path: Path) -> None:
    if not Path("/proc/locks").exists():
        pytest.skip("this system has no /proc/locks")
    path = tmp_path / "night.lock"
    (tmp_path / "left.lock").write_text("4711", encoding="ascii")
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        held = machine.read_locks(str(tmp_path), machine.read_kernel(Path("/")))
        holder.stdin.close()
    assert [(each.path, each.process) for each in held] == [(str(path), holder.pid)]
    assert machine.read_locks(str(tmp_path), machine.read_kernel(Path("/"))) == ()


def test_a_process_that_waits_holds_no_lock() -> None:
    text = "1: FLOCK  ADVISORY  WRITE 10 fe:00:7 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 11 fe:00:7 0 EOF\n"
    assert dict(machine._lock_holders(text)) == {7: 10}


def test_the_needed_packages_are_found() -> None:
    assert all(machine.read_packages().values())


def test_a_package_that_is_missing_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("no-such-package",))
    assert machine.read_packages() == {"no-such-package": None}


def test_modules_are_found_and_not_imported(tmp_path: Path) -> None:
    (tmp_path / "calendar.py").write_text("raise SystemExit", encoding="ascii")
    found = machine.read_modules(str(tmp_path))
    assert found["calendar"].folder == str(tmp_path)
    assert not found["calendar"].is_standard
    assert found["json"].is_standard and found["json"].is_package
    assert found["requests"].is_package


def test_paths_have_a_state(tmp_path: Path) -> None:
    environ = {"SSL_CERT_FILE": str(tmp_path / "no"), "SSL_CERT_DIR": str(tmp_path), "HOME": "/"}
    assert machine.read_paths(environ) == {
        "SSL_CERT_FILE": NamedPath(str(tmp_path / "no"), "missing"),
        "SSL_CERT_DIR": NamedPath(str(tmp_path), "folder"),
    }


def test_the_first_folder_of_models_is_measured(tmp_path: Path) -> None:
    (tmp_path / ".ollama" / "models").mkdir(parents=True)
    (found,) = [each for each in machine.read_disks({}, tmp_path) if each.kind == "ollama"]
    assert found.path == str(tmp_path / ".ollama" / "models")
    assert found.free_bytes > 0


def test_netstat_is_run_only_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "netstat"
    program.write_text('#!/bin/sh\necho "tcp4 0 0 127.0.0.1.1 *.* LISTEN $1"\n', encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.read_netstat({"/proc/net/tcp": ""}, 60) == ""
    assert machine.read_netstat({}, 60) == "tcp4 0 0 127.0.0.1.1 *.* LISTEN -an\n"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="neither"):
        machine.read_netstat({}, 60)


def test_localhost_has_a_loopback_address() -> None:
    assert {"127.0.0.1", "::1"} & set(machine.resolve_localhost())


def test_a_folder_of_another_user_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folders of a server that runs as a service belong to another user."""

    def refuse(path: object, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.os, "stat", refuse)
    assert machine.read_disks({}, tmp_path) == ()


def test_a_lock_file_that_was_just_removed_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gone.lock").symlink_to(tmp_path / "nowhere")
    text = "1: FLOCK  ADVISORY  WRITE 10 fe:00:7 0 EOF\n"
    assert machine.read_locks(str(tmp_path), {"/proc/locks": text}) == ()
