"""The source archive holds only files of the project, and is the same for every builder.

The tools that the checks install have exact versions and hashes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Set

import pytest

_ROOT = Path(__file__).parents[2]
_BUILD = "import sys; sys.path[:0] = ['.ci']; import build_backend as b; b.build_sdist('out')"
_IS_ROOT = os.name == "posix" and os.geteuid() == 0

pytest.importorskip("setuptools")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a small copy of this project."""
    project = tmp_path / "project"
    shutil.copytree(str(_ROOT / ".ci"), str(project / ".ci"))
    for name in ("MANIFEST.in", "setup.cfg", "README.md", "LICENSE", "localproviders/_version.py"):
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copy(str(_ROOT / name), str(project / name))
    for name in ("docs/page.md", "tests/test_one.py", "tests/data/x/README.md", "out/x"):
        (project / name).parent.mkdir(exist_ok=True, parents=True)
        (project / name).write_text("ours")
    (project / "localproviders" / "__init__.py").write_text("")
    return project


def build(project: Path) -> subprocess.CompletedProcess[str]:
    """Build the source archive into the folder ``out``."""
    command = [sys.executable, "-W", "ignore", "-c", _BUILD]
    return subprocess.run(command, cwd=str(project), capture_output=True, text=True)


def test_two_builders_make_the_same_archive(project: Path, tmp_path: Path) -> None:
    """The second build has later file times, stricter modes, and if possible another owner."""
    other = tmp_path / "other"
    shutil.copytree(str(project), str(other))
    for path in [other, *other.rglob("*")]:
        os.utime(str(path), (1_900_000_000, 1_900_000_000))
        path.chmod(path.stat().st_mode & 0o700)
        if _IS_ROOT:
            os.chown(str(path), 65534, 65534)
    archives = []
    for folder, umask in ((project, 0o022), (other, 0o077)):
        before = os.umask(umask)
        try:
            done = build(folder)
        finally:
            os.umask(before)
        assert done.returncode == 0, done.stderr
        (archive,) = (folder / "out").glob("*.tar.gz")
        archives.append(archive)
    members = []
    for archive in archives:
        with tarfile.open(str(archive)) as file:
            members.append([(m.name, m.mode, m.mtime, m.uid, m.gid, m.uname) for m in file])
    assert members[0] == members[1]
    assert archives[0].read_bytes() == archives[1].read_bytes()


@pytest.mark.parametrize("name", ["requirements.txt", "oldest.txt", "suite.txt", "nox.txt"])
def test_each_tool_has_an_exact_version_and_hashes(name: str) -> None:
    text = (_ROOT / ".ci" / name).read_text("utf-8")
    packages = re.sub(r"(?m)^#.*\n", "", text).replace("\\\n", "").splitlines()
    assert packages
    for line in packages:
        assert re.match(r"[\w-]+==[\w.+!]+ ", line), line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}(?!\S)", line), line
    if name == "requirements.txt":
        assert any(line.startswith("setuptools==") for line in packages)


def test_each_download_of_the_checks_has_a_hash() -> None:
    text = (_ROOT / ".ci" / "run").read_text("utf-8").replace("\\\n", "")
    in_run = re.findall(r'(?m)/bin/python" (-m pip (?:install|download) .*)', text)
    assert len(in_run) == 3
    assert "--no-deps --no-build-isolation" in in_run[2]
    assert in_run[2].endswith("-r tests/unit/schema/suite.txt")
    suite = (_ROOT / "tests" / "unit" / "schema" / "suite.txt").read_text("utf-8")
    assert "--hash=sha256:" in suite
    for command in in_run[:2]:
        assert "--require-hashes --only-binary=:all:" in command
    # This checkout has no hash, and its build backend is one of the tools. The wheel is installed as
    # a user installs it, with the dependencies from the package index.
    installs = re.findall(r"session\.install\((.*)\)", (_ROOT / "noxfile.py").read_text("utf-8"))
    assert installs == [
        '"--require-hashes", "--only-binary=:all:", "-r", file, silent=True',
        '"--no-deps", "--no-build-isolation", "-e", ".", silent=True',
        "*wheels, silent=True",
    ]


def test_the_archive_has_no_foreign_file(project: Path) -> None:
    foreign = (
        "docs/.env", "docs/traffic.jsonl", "docs/.hidden.md", "tests/.env.local", "tests/key.pem",
        "localproviders/x.py.swp", "localproviders/.mypy_cache/x.json", ".ci/key.pem",
        "localproviders/localproviders.toml", "tests/notes.json",
    )  # fmt: skip
    for name in foreign:
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("hush")
    done = build(project)
    assert done.returncode == 0, done.stderr
    (archive,) = (project / "out").glob("*.tar.gz")
    with tarfile.open(str(archive)) as file:
        names: Set[str] = {name.partition("/")[2] for name in file.getnames()}
    assert names.isdisjoint(foreign)
    assert {".ci/run", "docs/page.md", "tests/test_one.py", "tests/data/x/README.md"} <= names


@pytest.mark.sample(1)
@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
@pytest.mark.parametrize("name", ["docs/link.md", "tests/folder"])
def test_a_link_to_a_file_outside_the_project_is_refused(project: Path, name: str) -> None:
    outside = project.parent / "outside"
    outside.mkdir()
    (outside / "key.py").write_text("hush")
    (project / name).symlink_to(outside / "key.py" if name.endswith(".md") else outside)
    done = build(project)
    assert done.returncode != 0 and "is a link, or is reached through one" in done.stderr
    assert not list((project / "out").glob("*.tar.gz"))


def test_every_test_path_in_the_checks_exists() -> None:
    """For a missing path pytest ends with a usage error, after a long run."""
    text = (_ROOT / ".ci/run").read_text() + (_ROOT / "noxfile.py").read_text()
    named = set(re.findall(r"(?<![\w/])tests/[\w/.]+", text))
    assert named
    assert [name for name in sorted(named) if not (_ROOT / name).exists()] == []
