"""The process in which a client makes its calls. It is killed if a call does not end."""

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

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
CACHE = Path(tempfile.gettempdir()) / "localproviders-benchmarks"

#: The time limit that each client gets, and the time after this limit that still counts as in time.
LIMIT_S = 0.5
GRACE_S = 2.0
_START_S = 60.0


class Client(NamedTuple):
    """A client that is compared.

    Attributes:
        name: The name in the tables.
        module: The name of its module in ``clients``.
        backend: The name of the server that it talks to.
        packages: The packages that are installed for it; ``.`` means this package.
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
    """Make or update the virtual environment of a client, and return its Python."""
    home = CACHE / client.module
    if not home.exists():
        subprocess.run([python, "-m", "venv", str(home)], check=True)
    own = home / "bin" / "python"
    packages = [_copy(home) if package == OWN else package for package in client.packages]
    pip = [str(own), "-m", "pip", "install", "--quiet", "--upgrade"]
    subprocess.run([*pip, *packages], check=True)
    return own


def _copy(home: Path) -> str:
    """Copy this package, so that its build leaves no files in the repository."""
    source = home / "source"
    shutil.rmtree(source, ignore_errors=True)
    (source / ".ci").mkdir(parents=True)
    build_backend = ".ci/build_backend.py"
    for name in ("setup.cfg", "pyproject.toml", build_backend, "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "localproviders", source / "localproviders")
    return str(source)


class CallResult(NamedTuple):
    """The result of a call, as the process that ordered the call sees it.

    Attributes:
        hung: Whether the call did not end and its process was killed.
        answer: The answer, or None if there was none.
        error: The class of the exception; empty if there was none.
        message: The text of the exception.
        typed: Whether the client documents the class, or the class is one of Python's own for
            failed connections.
        text_kept: Whether the exception contains the first piece of the model's text.
        duration_s: The duration of the call in seconds.
    """

    hung: bool = False
    answer: Any = None
    error: str = ""
    message: str = ""
    typed: bool = False
    text_kept: bool = False
    duration_s: float = 0.0


class Session:
    """The process of one client; after a call that hung, a new process is started."""

    def __init__(self, client: Client, python: Path, extra: Optional[Mapping[str, str]] = None):
        self.client = client
        self._python = python
        self._extra = dict(extra or {})
        self._process: Optional[subprocess.Popen[str]] = None
        #: The versions of the client, of its transport, and of Python.
        self.about: Dict[str, str] = {}

    def connect(self, url: str, authority: Optional[str] = None) -> None:
        """Make a new client object for this address.

        Raises:
            RuntimeError: The process of the client did not answer.
        """
        order = {"do": "connect", "url": url, "authority": authority, "limit_s": LIMIT_S}
        if self._send_order(order, _START_S) is None:
            raise RuntimeError(f"the process of {self.client.name} did not start")

    def call(self, form: str, large: bool = False) -> CallResult:
        """Make one call and return its result; kill the process if the call does not end."""
        order = {"do": "call", "form": form, "large": large}
        result = self._send_order(order, LIMIT_S + GRACE_S)
        return CallResult(hung=True) if result is None else CallResult(**result)

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None

    def close(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send_order(self, order: Mapping[str, Any], timeout_s: float) -> Optional[Dict[str, Any]]:
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
        environment = {**kept, "PYTHONPATH": str(FOLDER), **self._extra}
        arguments = [str(self._python), str(FOLDER / "worker.py"), self.client.module]
        self._process = process = subprocess.Popen(
            arguments,
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
        """Read one line, or return None after the timeout.

        The process writes one line for each order, so no older line can be in the pipe.
        """
        with contextlib.suppress(ValueError, OSError):
            if select.select([process.stdout], [], [], timeout_s)[0]:
                assert process.stdout is not None
                line = process.stdout.readline()
                return json.loads(line) if line else {"error": "the process died"}
        return None
