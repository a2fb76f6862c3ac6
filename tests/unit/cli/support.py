"""Runs the command as a real process, as a shell would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import localproviders

ROOT = Path(localproviders.__file__).parents[1]

#: The words that start the command.
COMMAND = [sys.executable, "-W", "error", "-m", "localproviders"]


def environment(**more: str) -> Dict[str, str]:
    """Return an environment like cron's: a short path, no home, no terminal."""
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **more}


def run(
    *words: str,
    stdin: Optional[bytes] = None,
    env: Optional[Dict[str, str]] = None,
    cwd: Optional[Path] = None,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command with these words and return its output and exit code.

    Args:
        *words: The words after the name of the command.
        stdin: The bytes of standard input; None for ``/dev/null``.
        env: The environment; None for that of `environment`.
        cwd: The current folder.
        **options: Further arguments of `subprocess.run`.
    """
    given: Dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    given.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return subprocess.run(
        [*COMMAND, *words],
        env=environment() if env is None else env,
        cwd=cwd,
        check=False,
        timeout=120,
        **{**given, **options},
    )


def start(*words: str, env: Optional[Dict[str, str]] = None, **options: Any) -> Any:
    """Start the command with these words and return the process."""
    pipe = subprocess.PIPE
    given: Dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe}
    command: List[str] = [*COMMAND, *words]
    return subprocess.Popen(
        command, env=environment() if env is None else env, **{**given, **options}
    )


def leftovers(folder: Path) -> List[str]:
    """Return the names of the temporary files in a folder."""
    return [name for name in os.listdir(folder) if name.startswith(".localproviders-")]
