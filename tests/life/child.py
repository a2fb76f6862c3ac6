"""Python processes of their own: what is measured in them is theirs alone."""

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

_ROOT = Path(__file__).parents[2]
_PACKAGE = Path(localproviders.__file__).parents[1]
_LONGEST_S = 30.0

# Paths are set by hand, because some of the children run without environment or site.
_BEGIN = """\
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
"""

# A warning is an error everywhere; a fork of a process with threads is what some tests are
# about, and newer Pythons warn of it.
_STRICT = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")


# What a short piece of code starts with.
PRELUDE = """
import gc, os, signal, threading
from localproviders import *
from tests.life.programs.report import say, wait
url = sys.argv[2]
provider = OpenAICompatibleProvider(url, model="m")
"""


class Child:
    """A Python that runs some code, told and asked in lines of JSON.

    Args:
        code: What it runs. Its arguments begin at ``sys.argv[2]``.
        arguments: Those arguments.
        flags: Further flags of the interpreter.
        env: Its whole environment; None is ours.
        paths: Where else it finds modules; for ``-S``.
        through: Command that starts it, such as a shell that closes its streams.
        cwd: Its working folder.
        report: Whether it writes its lines to a descriptor of their own, its last argument.
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
        self._watch = threading.Timer(_LONGEST_S, self._kill)
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
        os.killpg(self.process.pid, signal.SIGKILL)  # its own children hold our pipes too

    def hear(self) -> Any:
        """Give what it says next."""
        line = self._lines.readline()
        if not line:
            _, complaint = self.process.communicate()
            raise AssertionError(f"it said nothing and ended: {complaint.decode()}")
        return json.loads(line)

    def tell(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def ends(self) -> int:
        """Give its exit status, after it has ended without a word of complaint."""
        rest, complaint = self.process.communicate()
        assert (rest, complaint) == (b"", b""), complaint.decode()
        return self.process.returncode


def program(name: str, *arguments: str, **options: Any) -> Child:
    """Start one of the programs beside this module: its `main`, with the arguments."""
    code = f"from tests.life.programs import {name}\n{name}.main(*sys.argv[2:])"
    return Child(code, *arguments, **options)


def answers(name: str, *arguments: str, **options: Any) -> List[Any]:
    """Run a program that says one line, and give it; the program must end well."""
    with program(name, *arguments, **options) as child:
        said: List[Any] = child.hear()
        assert child.ends() == 0
    return said
