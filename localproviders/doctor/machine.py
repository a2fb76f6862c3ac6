"""Read the facts about this machine that need no server: files, packages, modules and disks.

Each function reads one part of the machine, and raises an exception if the part cannot be read.
`read_facts` catches the exception and adds it to `Facts.failures`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional, Tuple

from localproviders._interrupts import is_callers
from localproviders.doctor.facts import (
    CONTAINER_FILES,
    KERNEL_FILES,
    Disk,
    FoundModule,
    HeldLock,
    NamedPath,
)
from localproviders.doctor.products import PATH_VARIABLES, model_folders

#: The packages that every request needs.
PACKAGES = ("requests", "urllib3")
# Maximum number of bytes to read from a kernel file. The list of 10,000 connections has
# approximately 1.5 MB.
_MOST_BYTES = 8 * 1024 * 1024
# Modules whose names people give to their own files. Such a file hides the module, so that a later
# import of the module fails.
_SHADOWED = (
    *(
        "calendar",
        "code",
        "copy",
        "email",
        "enum",
        "http",
        "inspect",
        "json",
        "logging",
        "platform",
    ),
    *("queue", "random", "re", "secrets", "select", "socket", "ssl", "statistics", "string"),
    *("subprocess", "token", "tokenize", "types", "typing"),
    *("requests", "urllib3", "idna", "certifi", "localproviders"),
)
_MOST_LOCKS = 200


def read_kernel(root: Path) -> Dict[str, str]:
    """Return the texts of the kernel files that exist, by path.

    A file of `CONTAINER_FILES` that exists is in the result, too, with an empty text.

    Args:
        root: The directory that contains ``proc``.
    """
    found = {path: "" for path in CONTAINER_FILES if os.path.exists(root / path[1:])}
    for path in (*KERNEL_FILES, "/proc/self/cgroup"):
        try:
            with (root / path[1:]).open("rb") as file:
                found[path] = file.read(_MOST_BYTES).decode("ascii", "replace")
        except OSError as error:  # another system, or a container that hides the file
            if is_callers(error):
                raise
    return found


def read_netstat(kernel: Mapping[str, str], seconds: float) -> str:
    """Return the output of ``netstat -an``; empty if the sockets are listed in kernel files.

    Raises:
        OSError: The program cannot be started.
        subprocess.TimeoutExpired: The program did not end in time.
    """
    if "/proc/net/tcp" in kernel or "/proc/net/tcp6" in kernel:
        return ""
    program = shutil.which("netstat")
    if program is None:
        raise FileNotFoundError("there is neither /proc/net/tcp nor netstat")
    done = subprocess.run(  # noqa: S603  # a program of the system, without a shell
        [program, "-an"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=seconds,
    )
    return done.stdout[:_MOST_BYTES].decode("ascii", "replace")


def resolve_localhost() -> Tuple[str, ...]:
    """Return the addresses of the name ``localhost``; empty if the name is unknown."""
    try:
        answers = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in answers))


def read_disks(environ: Mapping[str, str], home: Optional[Path]) -> Tuple[Disk, ...]:
    """Return, for each kind of server, the free disk space in its first model folder that exists.

    Raises:
        OSError: The free space cannot be read.
    """
    found: Dict[str, Disk] = {}
    for kind, folder in model_folders(environ, home):
        # `Path.is_dir` raises an error if this user is not allowed to read the parent folder.
        if kind not in found and os.path.isdir(folder):
            found[kind] = Disk(kind, str(folder), shutil.disk_usage(str(folder)).free)
    return tuple(found.values())


def read_paths(environ: Mapping[str, str]) -> Dict[str, NamedPath]:
    """Return the path in each variable of `PATH_VARIABLES`, and whether it can be read."""
    given = {name: environ[name] for name in PATH_VARIABLES if environ.get(name)}
    return {name: NamedPath(path, _state_of(path)) for name, path in given.items()}


def _state_of(path: str) -> str:
    if not os.path.exists(path):
        return "missing"
    if not os.access(path, os.R_OK):
        return "unreadable"
    return "folder" if os.path.isdir(path) else "file"


def read_packages() -> Dict[str, Optional[str]]:
    """Return the version of each needed package.

    None means that the package is missing. An empty string means that its version is unknown.
    """
    return {name: _version_of(name) for name in PACKAGES}


def _version_of(name: str) -> Optional[str]:
    try:
        return metadata.version(name) or ""
    except metadata.PackageNotFoundError:  # a copy without metadata, as in a zip file, works, too
        return None if PathFinder.find_spec(name) is None else ""


def read_modules(directory: Optional[str]) -> Dict[str, FoundModule]:
    """Return the files from which a script in the given directory would import modules.

    Only names that people give to their own files are searched. Nothing is imported.

    Args:
        directory: The current directory.
    """
    folders = [*([directory] if directory else []), *filter(None, sys.path)]
    standard = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    found: Dict[str, FoundModule] = {}
    for name in _SHADOWED:
        spec = PathFinder.find_spec(name, folders)
        if spec is None or spec.origin is None:
            continue
        is_package = spec.submodule_search_locations is not None
        file = Path(spec.origin)
        folder = str(file.parents[1] if is_package and len(file.parents) > 1 else file.parent)
        is_standard = folder in standard or Path(folder).name == "lib-dynload"
        found[name] = FoundModule(str(file), folder, is_package, is_standard)
    return found


def read_locks(directory: Optional[str], kernel: Mapping[str, str]) -> Tuple[HeldLock, ...]:
    """Return the locked ``*.lock`` files in a directory, each with the process that locked it.

    Raises:
        OSError: The directory cannot be read.
    """
    holders = dict(_lock_holders(kernel.get("/proc/locks", "")))
    if not holders or directory is None:
        return ()
    files = sorted(Path(directory).glob("*.lock"))[:_MOST_LOCKS]
    pairs = ((str(file), holders.get(_inode_of(file))) for file in files)
    return tuple(HeldLock(path, process) for path, process in pairs if process is not None)


def _inode_of(file: Path) -> int:
    """Return the inode number of a file; -1 if the file was just removed."""
    try:
        return file.stat().st_ino
    except OSError as error:
        if is_callers(error):
            raise
        return -1


def _lock_holders(text: str) -> Iterator[Tuple[int, int]]:
    """Yield the inode number of each locked file, and the id of the process with the lock."""
    for line in text.splitlines():
        words = line.split()
        # A line with "->" describes a process that waits for the lock.
        if len(words) >= 6 and words[1] != "->":
            inode = words[5].rpartition(":")[2]
            if inode.isdecimal() and words[4].lstrip("-").isdecimal():
                yield int(inode), int(words[4])
