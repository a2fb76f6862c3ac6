"""Run the command in this process, in another one, and at a pseudo-terminal."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List, NamedTuple, Optional

import pytest

from localproviders import cli
from localproviders.testing import ScriptedServer

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "localproviders"]


class Done(NamedTuple):
    """The exit code of a command, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> List[List[str]]:
        """The cells of the table that was written, without its titles."""
        return [line.split() for line in self.out.splitlines()[1:]]


def call(capsys: pytest.CaptureFixture[str], *words: str) -> Done:
    """Run the command in this process."""
    capsys.readouterr()
    code = cli.main(list(words))
    return Done(code, *capsys.readouterr())


def _environ(more: Any) -> Any:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def start(*words: str, **environ: str) -> subprocess.Popen[bytes]:
    """Start the command as a process, with pipes as its streams."""
    return subprocess.Popen(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environ(environ),
    )


def run(*words: str, **environ: str) -> Done:
    """Run the command as a process, and wait for its end."""
    process = start(*words, **environ)
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out.decode(), err.decode())


def wait_for_request(server: ScriptedServer, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server has received a request; fail if the process ends before."""
    while not server.exchanges:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)
            assert server.exchanges, process.communicate()


def at_terminal(
    *words: str, columns: int = 80, typed: Optional[str] = None, **environ: str
) -> Done:
    """Run the command as a process whose three streams are a pseudo-terminal.

    Args:
        words: The words of the command line.
        columns: The width of the terminal.
        typed: The text that is typed in advance; None closes standard input instead.
        environ: More environment variables.
    """
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns)) if hasattr(termios, "tcsetwinsize") else _set_size(
        theirs, columns
    )
    clean = {name: os.environ[name] for name in os.environ if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [*COMMAND, *words],
        stdin=theirs if typed is not None else subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**clean, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environ},
        start_new_session=True,
    )
    os.close(theirs)
    if typed is not None:
        os.write(ours, typed.encode())
    written = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux reports the end of a pseudo-terminal as an error
            piece = b""
        if not piece:
            break
        written += piece
    os.close(ours)
    return Done(process.wait(timeout=60), written.decode().replace("\r\n", "\n"), "")


def _set_size(descriptor: int, columns: int) -> None:
    import fcntl  # absent on Windows
    import struct
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
