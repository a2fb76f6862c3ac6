"""The checks of this project, one session each: ``nox -l`` lists them, ``nox -s lint`` runs one.

``.ci/run`` runs them all. The packages in the environment of a session have exact versions, whose
hashes are committed in ``.ci/*.txt``. ``.ci/lock`` makes these files. The session ``readme`` is an
exception: it installs its packages as the README says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List, Optional

import nox

ROOT = Path(__file__).parent
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.download_python = "never"

SMOKE_TEST = """
import localproviders, pathlib
folder = pathlib.Path(localproviders.__file__).parent
assert "site-packages" in folder.parts, folder
for name in ("py.typed", "engine/chat.jinja", "engine/requirements.txt"):
    assert (folder / name).is_file(), name
for name in localproviders.__all__:
    getattr(localproviders, name)
from localproviders.testing import FakeOllama
with FakeOllama() as fake, localproviders.OllamaProvider(fake.url, model="llama3.2") as ollama:
    print("smoke test:", ollama.chat("Hi").text)
try:
    localproviders.OllamaProvider("127.0.0.1:1").list_models()
except localproviders.UnreachableError as error:
    print("smoke test:", error)
"""

#: Tests that need files which a source archive may lack, and a sample of the other tests.
ARCHIVE_TESTS = (
    "tests/project/test_layers.py",
    "tests/project/test_shape.py",
    "tests/project/test_docs.py",
    "tests/unit/config",
    "tests/unit/schema",
    "tests/unit/ollama",
    "tests/unit/testing",
)


def find_python(*versions: str) -> Optional[str]:
    """Return the first CPython of these versions that this machine has; None if it has none.

    The folder of pyenv is searched first, because pyenv's programs on the PATH may only be shims
    that refuse to run.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    for version in versions:
        installed = sorted(str(path) for path in pyenv.glob(f"{version}.*/bin/python"))
        for python in [*reversed(installed), shutil.which(f"python{version}")]:
            if python and can_make_environments(python):
                return python
    return None


def can_make_environments(python: str) -> bool:
    """Return whether a Python runs, and has the modules that a virtual environment needs."""
    command = [python, "-c", "import ssl, venv"]
    done = subprocess.run(command, capture_output=True)  # noqa: S603  # our own command
    return done.returncode == 0


OLDEST = find_python("3.8", "3.9", "3.10")
NEWEST = find_python("3.14", "3.13", "3.12")


def install_pinned(session: nox.Session, file: str) -> None:
    """Install tools of exact versions, and this checkout.

    The tools are installed only from wheels, because a source archive would run a build backend
    that no hash covers.
    """
    session.install("--require-hashes", "--only-binary=:all:", "-r", file, silent=True)
    session.install("--no-deps", "--no-build-isolation", "-e", ".", silent=True)
    session.run("python", "-m", "pip", "check")


def run_tests(session: nox.Session, python: Optional[str], file: str, *options: str) -> None:
    """Run the usual tests, or those that the options select; skip the session without a Python."""
    if python is None:
        session.skip("this machine has no such CPython")
    install_pinned(session, file)
    session.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *session.posargs
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests that a contributor needs. Arguments after ``--`` go to pytest."""
    run_tests(session, sys.executable, ".ci/requirements.txt")


@nox.session(python=OLDEST or sys.executable)
def oldest(session: nox.Session) -> None:
    """Run the tests on the oldest Python with the oldest dependencies."""
    run_tests(session, OLDEST, ".ci/oldest.txt", "-m", "not slow or oldest")


@nox.session(python=NEWEST or sys.executable)
def newest(session: nox.Session) -> None:
    """Run the tests of ``tests/unit`` and ``tests/project`` on the newest Python.

    The slow tests run, too, and the dependencies have their newest versions.
    """
    run_tests(session, NEWEST, ".ci/requirements.txt", "-m", "", "tests/unit", "tests/project")


@nox.session(python=NEWEST or sys.executable)
def newest_promises(session: nox.Session) -> None:
    """Run the tests of ``tests/promises`` like the session ``newest``. They take twice as long."""
    run_tests(session, NEWEST, ".ci/requirements.txt", "-m", "", "tests/promises")


@nox.session
def readme(session: nox.Session) -> None:
    """Run the README's test command in an empty environment, and measure its coverage.

    Only this environment has the embedded engine, so the engine's slow tests run here, too.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"(?m)^python -m pip install -e .* python -m pytest$", text)
    if command is None:
        session.error("the README has no test command")
    coverage = "--cov --cov-report=term"
    session.run("bash", "-c", f"{command.group()} {coverage}", external=True)
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow and engine")


@nox.session
def clients(session: nox.Session) -> None:
    """Test clients of other projects, and batches with dask, against the fake servers."""
    # All tests share one event loop, because the asynchronous clients keep the loop that they use
    # first. Warnings are ignored, because they come from packages of other projects.
    loop = ("asyncio_default_fixture_loop_scope=session", "asyncio_default_test_loop_scope=session")
    options = ["asyncio_mode=auto", *loop]
    run_tests(
        session,
        sys.executable,
        ".ci/clients.txt",
        *("tests/promises/clients", "tests/promises/batch/test_dask.py"),
        *("-m", "slow", "-W", "ignore", "-r", "fE"),
        *(part for option in options for part in ("-o", option)),
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and English."""
    install_pinned(session, ".ci/requirements.txt")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", ".ci/english.py")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy and pyright."""
    install_pinned(session, ".ci/requirements.txt")
    session.run("mypy")
    session.run("mypy", "--strict", "examples")
    session.run("pyright")


@nox.session
def archive(session: nox.Session) -> None:
    """Build archive and wheel twice, compare them, and run tests; copy both to ``dist``.

    The second build and the tests use the unpacked source archive of the first build.
    """
    install_pinned(session, ".ci/requirements.txt")
    work = Path(session.create_tmp()).resolve()
    first, source, again = work / "dist", work / "source", work / "again"
    for folder in (first, source, again):
        shutil.rmtree(folder, ignore_errors=True)
    build(session, first)
    unpack(session, first, source)
    with session.chdir(source):
        make_it_another_builders(source)
        old = os.umask(0o077)
        try:
            build(session, again)
        finally:
            os.umask(old)
    for file in first.iterdir():
        if file.read_bytes() != (again / file.name).read_bytes():
            session.error(f"{file.name} differs between two builds")
    shutil.rmtree(source)
    unpack(session, first, source)
    with session.chdir(source):
        where = session.run(
            "python", "-c", "import localproviders; print(localproviders.__file__)", silent=True
        )
        if not str(where).startswith(str(source)):
            session.error(f"the tests would import {where}")
        pytest = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
        session.run(*pytest, "--collect-only", "-qq", silent=True)
        session.run(*pytest, *ARCHIVE_TESTS)
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    shutil.copytree(str(first), str(ROOT / "dist"))


def build(session: nox.Session, folder: Path) -> None:
    """Build the source archive and the wheel of the current folder."""
    session.run("python", "-m", "build", "-q", "--no-isolation", "--outdir", str(folder))


def unpack(session: nox.Session, folder: Path, source: Path) -> None:
    """Unpack the source archive."""
    source.mkdir()
    [archive_file] = folder.glob("*.tar.gz")
    session.run(
        "tar", "-xzf", str(archive_file), "-C", str(source), "--strip-components=1", external=True
    )


def make_it_another_builders(source: Path) -> None:
    """Change the files as if another builder had unpacked them: times, modes, and owners.

    Only root can change the owners.
    """
    for path in [source, *source.rglob("*")]:
        os.utime(str(path))
        path.chmod(path.stat().st_mode & 0o700)
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            os.chown(str(path), 65534, 65534)


@nox.session
def wheel(session: nox.Session) -> None:
    """Install the wheel from the session ``archive``, and use it with warnings as errors."""
    wheels: List[str] = [str(path) for path in (ROOT / "dist").glob("*.whl")]
    if not wheels:
        session.error("run `nox -s archive` first: it builds the wheel")
    session.install(*wheels, silent=True)
    with session.chdir(session.create_tmp()):
        session.run("python", "-W", "error", "-c", SMOKE_TEST)
        session.run("localproviders", "--version")
