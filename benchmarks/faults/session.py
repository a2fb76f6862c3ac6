"""A client in a process of its own, which is killed when a call does not end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(tempfile.gettempdir()) / "localproviders-benchmarks"

#: The time that each client is told to take at most, and how late it may be.
LIMIT_S = 0.5
GRACE_S = 2.0
_START_S = 60.0


class Client(NamedTuple):
    """A client that is looked at.

    Attributes:
        name: As the tables say.
        module: Its module in ``clients``.
        backend: The name of the server that it talks to.
        packages: What is installed for it; a path is this package.
    """

    name: str
    module: str
    backend: str
    packages: Sequence[str]


OWN = "."
CLIENTS: Dict[str, Client] = {
    client.name: client
    for client in (
        Client("ollama", "ollama_package", "ollama", ["ollama"]),
        Client("OllamaProvider", "own_ollama", "ollama", [OWN]),
        Client("openai", "openai_package", "lmstudio", ["openai"]),
        Client("LMStudioProvider", "own_lmstudio", "lmstudio", [OWN]),
    )
}


def install(client: Client, python: str) -> Path:
    """Make the environment of a client, or bring it up to date; give its Python."""
    home = CACHE / client.module
    if not home.exists():
        subprocess.run([python, "-m", "venv", str(home)], check=True)
    own = home / "bin" / "python"
    packages = [_copy(home) if package == OWN else package for package in client.packages]
    pip = [str(own), "-m", "pip", "install", "--quiet", "--upgrade"]
    subprocess.run([*pip, *packages], check=True)
    return own


def _copy(home: Path) -> str:
    """Copy this package, so that nothing is built inside the repository."""
    source = home / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "localproviders", source / "localproviders")
    return str(source)


class Came(NamedTuple):
    """What came of a call, as seen from outside.

    Attributes:
        hung: It did not end, and its process was killed.
        answer: The answer, where one came.
        error: The class of the exception, where one came.
        says: Its text.
        typed: Whether the class is one of the client's own, or Python's for connections.
        kept: Whether the first piece of text can be found in the exception.
        took_s: How long it took.
    """

    hung: bool = False
    answer: Any = None
    error: str = ""
    says: str = ""
    typed: bool = False
    kept: bool = False
    took_s: float = 0.0


class Session:
    """A process with one client in it; a new one is started after each that hung."""

    def __init__(self, client: Client, python: Path, extra: Optional[Mapping[str, str]] = None):
        self.client = client
        self._python = python
        self._extra = dict(extra or {})
        self._process: Optional[subprocess.Popen[str]] = None
        #: What the client says about itself: its version, that of its transport, of Python.
        self.about: Dict[str, str] = {}

    def connect(self, url: str, authority: Optional[str] = None) -> None:
        """Make a new client object for this address."""
        order = {"do": "connect", "url": url, "authority": authority, "limit_s": LIMIT_S}
        if self._ask(order, _START_S) is None:
            raise RuntimeError(f"{self.client.name} does not start")

    def call(self, form: str, large: bool = False) -> Came:
        """Make one call; kill the process if it does not end."""
        order = {"do": "call", "form": form, "large": large}
        came = self._ask(order, LIMIT_S + GRACE_S)
        return Came(hung=True) if came is None else Came(**came)

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, order: Mapping[str, Any], timeout_s: float) -> Optional[Dict[str, Any]]:
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        answer = self._read(process, timeout_s)
        if answer is None or process.poll() is not None:
            self.close()
        return answer

    def _start(self) -> subprocess.Popen[str]:
        kept = {n: v for n, v in os.environ.items() if not n.lower().endswith("_proxy")}
        environment = {**kept, "PYTHONPATH": str(HERE), **self._extra}
        words = [str(self._python), str(HERE / "worker.py"), self.client.module]
        self._process = process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=str(CACHE),
            text=True,
        )
        self.about = self._read(process, _START_S) or {}
        return process

    def _read(self, process: subprocess.Popen[str], timeout_s: float) -> Optional[Dict[str, Any]]:
        """Read one line; the process writes one for each order, so none is ever waiting."""
        with contextlib.suppress(ValueError, OSError):
            if select.select([process.stdout], [], [], timeout_s)[0]:
                assert process.stdout is not None
                line = process.stdout.readline()
                return json.loads(line) if line else {"error": "the process died"}
        return None
