"""Separate Python processes for tests that measure or end a whole process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import localproviders

_ROOT = Path(__file__).parents[3]
_PACKAGE = Path(localproviders.__file__).parents[1]

# After this time a child counts as hung. On a busy machine every child is slow.
_LONGEST_S = 300.0

# The search path is passed explicitly, because some children run without environment or `site`.
_BEGIN = """\
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
"""

# Every warning is an error, with one exception: newer Pythons warn of a fork in a process with
# threads, and some tests fork such processes on purpose.
_STRICT = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")


# The first lines of each short program in the tests.
PRELUDE = """
import gc, os, signal, threading
from localproviders import *
from tests.promises.life.programs.report import send_result, wait_for_test
url = sys.argv[2]
provider = OpenAICompatibleProvider(url, model="m")
"""


class Child:
    """A Python process that runs some code and sends its results as lines of JSON.

    Args:
        code: The code to run. Its arguments begin at ``sys.argv[2]``.
        arguments: These arguments.
        flags: Further flags of the interpreter.
        env: The complete environment; None for that of the tests.
        paths: Further folders of modules, for the flag ``-S``.
        through: A command that starts the process, such as a shell that closes its streams.
        cwd: The working folder.
        report: Whether the process sends its results on a separate file descriptor instead of its
            standard output. The number of the descriptor is its last argument.
        longest_s: After this time the process counts as hung and is killed.
    """

    def __init__(
        self,
        code: str,
        *arguments: str,
        flags: Sequence[str] = (),
        env: Optional[Mapping[str, str]] = None,
        paths: Sequence[str] = (),
        through: Sequence[str] = (),
        cwd: Optional[str] = None,
        report: bool = False,
        longest_s: float = _LONGEST_S,
    ) -> None:
        reading, writing = os.pipe() if report else (None, None)
        searched = json.dumps([str(_PACKAGE), str(_ROOT), *paths])
        command = [*through, sys.executable, *_STRICT, *flags, "-c", _BEGIN + code, searched]
        extra: Dict[str, Any] = {} if writing is None else {"pass_fds": (writing,)}
        self.process = subprocess.Popen(
            [*command, *arguments, *([] if writing is None else [str(writing)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            **extra,
        )
        self._lines: Any = self.process.stdout
        if reading is not None and writing is not None:
            os.close(writing)
            self._lines = os.fdopen(reading, "rb")
        self._watch = threading.Timer(longest_s, self._kill)
        self._watch.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.cancel()
        self._kill()
        self.process.communicate()
        self._lines.close()

    def _kill(self) -> None:
        if self.process.poll() is not None:
            return
        if os.name != "posix":
            self.process.kill()
            return
        os.killpg(
            self.process.pid, signal.SIGKILL
        )  # the group, because its children also hold the pipes

    def read_result(self) -> Any:
        """Return the next result of the process; raise AssertionError if it ended without one."""
        line = self._lines.readline()
        if not line:
            _, stderr = self.process.communicate()
            raise AssertionError(f"the process ended without a result: {stderr.decode()}")
        return json.loads(line)

    def resume(self) -> None:
        """Let the process continue after its `wait_for_test`."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def exit_status(self) -> int:
        """Wait for the process to end, check that it wrote nothing more, return its exit status."""
        stdout, stderr = self.process.communicate()
        assert (stdout, stderr) == (b"", b""), stderr.decode()
        return self.process.returncode


def start_program(name: str, *arguments: str, **options: Any) -> Child:
    """Start the `main` of a module in `programs`, with these arguments."""
    code = f"from tests.promises.life.programs import {name}\n{name}.main(*sys.argv[2:])"
    return Child(code, *arguments, **options)


def run_program(name: str, *arguments: str, **options: Any) -> List[Any]:
    """Run a program that sends one result, check its exit status, and return the result."""
    with start_program(name, *arguments, **options) as child:
        result: List[Any] = child.read_result()
        assert child.exit_status() == 0
    return result
