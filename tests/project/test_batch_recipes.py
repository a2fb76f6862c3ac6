"""The recipes of docs/batch.md: the commands run as Slurm, GNU parallel, Airflow and cron run them."""

from __future__ import annotations

import ast
import csv
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from localproviders.testing import FakeModel
from tests.support.docs import ROOT, Servers, running
from tests.support.shell import environment, run_shell

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the recipes are for POSIX shells")

_PAGE = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
_ROWS = 20


@pytest.fixture
def servers() -> Iterator[Servers]:
    with running() as found:
        found.ollama.models.append(FakeModel(name="nimble", abilities=("decision",)))
        yield found


@pytest.fixture
def env(servers: Servers, tmp_path: Path) -> Dict[str, str]:
    found = environment(servers, tmp_path)
    rows = [f"{number},The order is late\n" for number in range(_ROWS)]
    (tmp_path / "letters.csv").write_text("".join(["id,text\n", *rows]))
    return found


def _blocks(title: str) -> List[str]:
    (section,) = re.findall(rf"^### {title}\n(.*?)(?=^##|\Z)", _PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def _check(folder: Path) -> None:
    with (folder / "classified.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["id"]) for row in rows) == list(range(_ROWS))
    assert {row["topic"] for row in rows} <= {"billing", "support"}
    assert {row["error"] for row in rows} == {""}


def _asked(servers: Servers) -> int:
    return sum("systemone" in each.path for each in servers.ollama.exchanges)


def _run(text: str, folder: Path, env: Dict[str, str]) -> None:
    done = run_shell(text.replace("/srv/letters", str(folder)), folder, env)
    assert done.returncode == 0, done.stderr


def test_the_three_commands_make_a_classified_table(
    servers: Servers, env: Dict[str, str], tmp_path: Path
) -> None:
    (block,) = re.findall(r"^```sh\n(localproviders batch check .*?)^```$", _PAGE, re.M | re.S)
    assert len(block.splitlines()) == 3
    _run(block, tmp_path, env)
    columns = (tmp_path / "classified.csv").read_text().splitlines()[0].split(",")
    assert columns[:3] == ["id", "title", "body"]
    assert all(f"`{name}`" in _PAGE for name in columns[3:])
    assert f"```\n{(tmp_path / 'questions.json').read_text()}\n```" in _PAGE


def test_slurm_with_a_job_array(servers: Servers, env: Dict[str, str], tmp_path: Path) -> None:
    script, merge = _blocks("Slurm")
    (first, last) = map(int, re.findall(r"--array=(\d+)-(\d+)", script)[0])
    assert re.search(r"^#SBATCH --signal=B:TERM@", script, re.MULTILINE)
    for task in range(first, last + 1):
        variables = {"ID": task, "MIN": first, "MAX": last, "COUNT": last - first + 1, "STEP": 1}
        array = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in variables.items()}
        _run(script, tmp_path, {**env, **array})
    _run(merge, tmp_path, env)
    _check(tmp_path)
    assert _asked(servers) == _ROWS


@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is missing")
def test_gnu_parallel_over_ssh(servers: Servers, env: Dict[str, str], tmp_path: Path) -> None:
    # The program in the place of ssh runs the command on this machine.
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text('#!/bin/sh\nshift 2  # the name of the machine, and --\nexec /bin/sh -c "$*"\n')
    ssh.chmod(0o755)
    (block,) = _blocks("GNU parallel over ssh")
    (tmp_path / ".parallel").mkdir()
    (tmp_path / ".parallel" / "will-cite").touch()
    _run(block, tmp_path, {**env, "SHELL": "/bin/sh"})  # each login sets it
    _check(tmp_path)
    assert _asked(servers) == _ROWS


def test_airflow(servers: Servers, env: Dict[str, str], tmp_path: Path) -> None:
    (block,) = _blocks("Airflow")
    (call,) = [each for each in ast.walk(ast.parse(block)) if isinstance(each, ast.Call)]
    given = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    for _ in range(2):  # as a task that is tried again
        done = subprocess.run(
            ["bash", "-c", given["bash_command"]],
            cwd=given["cwd"].replace("/srv/letters", str(tmp_path)),
            env=env,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        assert (done.returncode, done.stdout) == (0, b"")
    _check(tmp_path)
    assert _asked(servers) == _ROWS


def test_cron(servers: Servers, env: Dict[str, str], tmp_path: Path) -> None:
    (line,) = _blocks("cron")
    command = re.sub(r"^(\S+ ){5}", "", line)
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "localproviders").symlink_to(tmp_path / "bin" / "localproviders")
    assert "%" not in command  # cron would read it as the end of the line
    for _ in range(2):
        text = command.replace("/srv/letters", str(tmp_path))
        done = run_shell(text, tmp_path, {**env, "PATH": "/usr/bin:/bin"})
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    _check(tmp_path)
    assert _asked(servers) == _ROWS
