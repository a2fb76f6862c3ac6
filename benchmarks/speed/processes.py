"""The processes of a run: one for the fixture server, and one for each client."""

from __future__ import annotations

import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

from benchmarks.speed.clients import ROOT, Client
from benchmarks.speed.wire import Shape


def child_environment() -> Dict[str, str]:
    """Return environment variables for each process: it imports this clone, and uses no proxy."""
    kept = {name: value for name, value in os.environ.items() if not _distorts(name)}
    # Without this variable, litellm downloads its list of prices from the internet.
    return {**kept, "PYTHONPATH": str(ROOT), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def _distorts(variable: str) -> bool:
    """Return whether a variable configures proxies or Python.

    Such a variable would make the comparison unfair. For example, with PYTHONDONTWRITEBYTECODE, the
    modules of this clone would be compiled at each start, but those of installed packages would
    not.
    """
    return variable.startswith("PYTHON") or variable.lower().endswith("_proxy")


def run_module(module: str, *arguments: str) -> Any:
    """Run a module in a new process, and return the JSON in the last line that it prints."""
    words = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(words, env=child_environment(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


class Process:
    """A child process that reads and writes single lines. The end of a `with` block kills it."""

    def __init__(self, *arguments: str) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=child_environment(),
            text=True,
        )

    def read_line(self) -> str:
        """Read one line from the process.

        Raises:
            RuntimeError: The process has ended and wrote no more lines.
        """
        assert self._process.stdout is not None
        found = self._process.stdout.readline()
        if not found:
            self._stderr.seek(0)
            raise RuntimeError(f"a benchmark process has ended: {self._stderr.read()[-500:]}")
        return found

    def send_line(self, line: str) -> None:
        """Write one line to the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class Fixture(Process):
    """The process of the fixture server."""

    def __init__(self) -> None:
        super().__init__(sys.executable, "-m", "benchmarks.speed.server")
        self._authority = f"127.0.0.1:{int(self.read_line())}"
        self._control = http.client.HTTPConnection(self._authority)

    def url(self, shape: Shape) -> str:
        """Return the base URL at which the server sends answers of this shape."""
        return f"http://{self._authority}{shape.prefix}"

    def connection_count(self) -> int:
        """Return how many connections the server has accepted, including that for this method."""
        self._control.request("GET", "/connections")
        return int(self._control.getresponse().read())

    def close(self) -> None:
        """Close the control connection and kill the server."""
        self._control.close()
        super().close()

    def __enter__(self) -> Fixture:
        return self


class Worker(Process):
    """The process in which a client is measured."""

    def __init__(self, client: Client, python: Path) -> None:
        super().__init__(str(python), "-m", "benchmarks.speed.worker", client.module)
        self._client = client
        #: The versions of the packages in the process.
        self.versions: Dict[str, str] = json.loads(self.read_line())

    def measure(self, order: Mapping[str, Any]) -> Dict[str, Any]:
        """Tell the process what to measure, and return the result.

        Raises:
            RuntimeError: The client failed, or the process has ended.
        """
        self.send_line(json.dumps(order))
        found: Dict[str, Any] = json.loads(self.read_line())
        if "error" in found:
            raise RuntimeError(f"{self._client.name}: {found['error']}")
        return found

    def __enter__(self) -> Worker:
        return self


class Cost(NamedTuple):
    """The CPU time of a process that has ended, and the text that it printed."""

    cpu_s: float
    text: str

    @property
    def output(self) -> List[str]:
        """The words that the process printed."""
        return self.text.split()


def run_once(
    python: Path,
    program: str,
    arguments: Sequence[str] = (),
    text: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Cost:
    """Run a Python program from start to end, and return its CPU time and output.

    The CPU time of the calling process is not included.

    Args:
        python: The Python that runs it.
        program: The text of the program.
        arguments: Its arguments.
        text: Its standard input.
        variables: Environment variables in addition to those that each process gets.

    Raises:
        RuntimeError: The program failed.
    """
    before = _children_s()
    done = subprocess.run(
        [str(python), "-c", program, *arguments],
        env={**child_environment(), **variables},
        input=text,
        check=False,
        capture_output=True,
        text=True,
    )
    after = _children_s()
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Cost(after - before, done.stdout)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
