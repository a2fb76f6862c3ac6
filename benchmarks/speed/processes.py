"""The processes of a run: the fixture server, and one for each client."""

from __future__ import annotations

import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

from benchmarks.speed.clients import ROOT, Client
from benchmarks.speed.wire import Shape


def surroundings() -> Dict[str, str]:
    """Give the environment of each process: this clone, no proxy, no look-ups elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not _changes_much(name)}
    # litellm asks a host on the internet for its prices otherwise.
    return {**kept, "PYTHONPATH": str(ROOT), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def _changes_much(variable: str) -> bool:
    """Whether a variable is about proxies, or about Python.

    One of those forbids to keep compiled modules: then this clone would be compiled at each
    start, and what is installed would not.
    """
    return variable.startswith("PYTHON") or variable.lower().endswith("_proxy")


class Process:
    """A process that talks in lines; it ends with the block."""

    def __init__(self, *words: str) -> None:
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=surroundings(),
            text=True,
        )

    def line(self) -> str:
        """Read one line.

        Raises:
            RuntimeError: The process has ended.
        """
        assert self._process.stdout is not None
        found = self._process.stdout.readline()
        if not found:
            self._complaints.seek(0)
            raise RuntimeError(f"a process has ended: {self._complaints.read()[-500:]}")
        return found

    def say(self, line: str) -> None:
        """Write one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class Fixture(Process):
    """The fixture server."""

    def __init__(self) -> None:
        super().__init__(sys.executable, "-m", "benchmarks.speed.server")
        self._authority = f"127.0.0.1:{int(self.line())}"
        self._control = http.client.HTTPConnection(self._authority)

    def url(self, shape: Shape) -> str:
        """Give the address at which answers of this shape come."""
        return f"http://{self._authority}{shape.prefix}"

    def opened(self) -> int:
        """Give how many connections it has taken, with the one that asks."""
        self._control.request("GET", "/connections")
        return int(self._control.getresponse().read())

    def close(self) -> None:
        """End it."""
        self._control.close()
        super().close()

    def __enter__(self) -> Fixture:
        return self


class Worker(Process):
    """A client in its process."""

    def __init__(self, client: Client, python: Path) -> None:
        super().__init__(str(python), "-m", "benchmarks.speed.worker", client.module)
        self._client = client
        #: The versions that run there.
        self.about: Dict[str, str] = json.loads(self.line())

    def ask(self, order: Mapping[str, Any]) -> Dict[str, Any]:
        """Have something measured.

        Raises:
            RuntimeError: The client failed.
        """
        self.say(json.dumps(order))
        found: Dict[str, Any] = json.loads(self.line())
        if "error" in found:
            raise RuntimeError(f"{self._client.name}: {found['error']}")
        return found

    def __enter__(self) -> Worker:
        return self


class Cost(NamedTuple):
    """What a process has cost, and said."""

    cpu_s: float
    said: List[str]


def run_once(python: Path, program: str, arguments: Sequence[str] = ()) -> Cost:
    """Run a program from start to end; only its own CPU time counts.

    Raises:
        RuntimeError: It failed.
    """
    before = _children_s()
    done = subprocess.run(
        [str(python), "-c", program, *arguments],
        env=surroundings(),
        check=False,
        capture_output=True,
        text=True,
    )
    after = _children_s()
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Cost(after - before, done.stdout.split())


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
