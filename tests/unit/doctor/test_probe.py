"""Reading the facts ends in time, and a part that cannot be read is a fact."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import localproviders
from localproviders.doctor import examine, read_facts
from localproviders.errors import ConfigurationError
from localproviders.testing import FakeModel, FakeOllama, ScriptedServer
from tests.support.timing import GRACE_S
from tests.unit.doctor.support import Machine


def _hold(exchange: Any) -> None:
    exchange.hold()


def test_servers_and_commands_that_hang_do_not_delay_the_report(machine: Machine) -> None:
    silent = machine.start(ScriptedServer(lambda _: [_hold]))
    machine.configure(
        f'[servers.box]\nkind = "ollama"\nendpoint = "{silent.url}"\n'
        f'api_key = {{ command = ["{sys.executable}", "-c", "input()"] }}\n'
        f'[servers.other]\nkind = "lmstudio"\nendpoint = "{silent.url}"\n'
    )
    started = time.monotonic()
    machine.options["timeout_s"] = 1.0
    facts = machine.facts()
    assert time.monotonic() - started < 1.0 + GRACE_S
    assert facts.config is None  # `input` ends at once, because it has no terminal


def test_a_hanging_command_of_a_key_is_reported(machine: Machine) -> None:
    program = "import time; time.sleep(3)"
    machine.configure(
        f'[servers.box]\nkind = "ollama"\nendpoint = "{machine.ollama.url}"\n'
        f"api_key = {{ command = ['{sys.executable}', '-c', '{program}'] }}\n"
    )
    machine.options["timeout_s"] = 0.2
    report = machine.examine()
    (found,) = [each for each in report.findings if each.fact.startswith("configuration")]
    assert (found.mark, found.fact) == (
        "warning",
        "configuration could not be read: TimeoutError: it did not end in time",
    )


def test_a_name_that_is_not_resolved_in_time_is_reported(machine: Machine) -> None:
    ended = threading.Event()
    machine.options.update(localhost=ended.wait, timeout_s=0.2)
    try:
        report = machine.examine()
    finally:
        ended.set()
    assert "localhost could not be read: TimeoutError" in str(report)
    assert "localproviders" in str(report)  # the other parts were read


def test_a_part_that_fails_is_reported(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("localproviders.doctor.machine.read_disks", fail)
    report = machine.examine()
    assert "disks could not be read: PermissionError: [Errno 13] Permission denied" in str(report)
    assert report.exit_code == 0


def test_a_deleted_directory_is_no_trouble(machine: Machine) -> None:
    machine.work.rmdir()
    facts = machine.facts()
    assert facts.directory is None
    assert facts.failures == ()
    machine.work.mkdir()


def test_the_locality_limits_the_requests(machine: Machine) -> None:
    machine.configure(
        '[servers.box]\nkind = "ollama"\nendpoint = "http://192.0.2.7:11434"\nlocality = "loopback"\n'
    )
    (asked,) = machine.facts().asked
    assert type(asked.error).__name__ == "LocalityError"


def test_an_invalid_configuration_does_not_stop_the_search(machine: Machine) -> None:
    machine.configure("modell = 1\n")
    facts = machine.facts()
    assert facts.config is None and facts.config_errors
    assert [each.endpoint for each in facts.found] == [machine.ollama.url]


def test_no_thread_is_left(machine: Machine) -> None:
    before = set(threading.enumerate())
    machine.facts()
    # The threads of the fake servers have other names.
    left = [each.name for each in set(threading.enumerate()) - before]
    assert [name for name in left if name.startswith("localproviders")] == []


def test_examine_uses_the_default_sources(machine: Machine) -> None:
    assert read_facts.__kwdefaults__ is not None
    assert examine(timeout_s=60).findings


def test_without_its_packages_the_examination_still_reports(machine: Machine) -> None:
    """Without the folder of installed packages, neither requests nor a TOML parser is there."""
    root = str(Path(localproviders.__file__).parents[1])
    script = (
        "from localproviders.doctor import examine; report = examine(timeout_s=60); print(report)"
    )
    environ = {"PYTHONPATH": root, "PATH": os.environ["PATH"], "LANG": "C"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"{script}; raise SystemExit(report.exit_code)"],
        env=environ, stdout=subprocess.PIPE, timeout=120, cwd=str(machine.work),
    )  # fmt: skip
    said = done.stdout.decode()
    assert "error: requests is not installed (requests); fix: python -m pip install" in said
    assert "failed:" not in said
    assert done.returncode == 2


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), True, "5"])
def test_an_impossible_limit_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout_s must be a finite number"):
        examine(timeout_s=seconds)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "http://me:s3/cret@proxy:3128"),
        ("HTTP_PROXY", "s3/cret@proxy"),
        ("https_proxy", "http://s3/cret@pro xy"),
        ("OLLAMA_HOST", "http://s3/cret@127.0.0.1"),
        ("OLLAMA_HOST", "http://s3@127.0.0.1"),
        ("LOCALPROVIDERS_LOCALITY", "s3"),
    ],
)
def test_no_part_of_a_password_is_shown(name: str, value: str, machine: Machine) -> None:
    machine.patch.setenv(name, value)
    report = str(machine.examine())
    assert name in report
    assert "s3" not in report or name.endswith("LOCALITY")
    assert "cret" not in report


def test_two_servers_of_one_name_are_kept_apart(machine: Machine) -> None:
    """A configured server may have the name that a search gives to another one."""
    other = machine.start(FakeOllama([FakeModel(name="mistral", loaded=True)]), usual=False)
    machine.ollama.loaded["llama3.2"] = 32768
    machine.configure(f'[servers.ollama]\nkind = "ollama"\nendpoint = "{other.url}"\n')
    facts = machine.facts()
    examined = {(each.endpoint, each.name, each.is_there) for each in facts.models}
    assert examined == {
        (other.url, "mistral:latest", True),
        (machine.ollama.url, "llama3.2:latest", True),
    }
