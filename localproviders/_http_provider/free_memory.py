"""Compare the free memory of this machine with a model, before a server loads the model."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Callable, Iterator, Mapping, NamedTuple, Optional, Tuple

from localproviders._address import Endpoint
from localproviders._interrupts import is_callers
from localproviders.errors import ConfigurationError, ModelLoadError

# No model is larger. A server may send any number.
_MOST_BYTES = 10**15


class _Hierarchy(NamedTuple):
    """Where a version of Linux's control groups keeps its files, and how it names them.

    Attributes:
        key: Second field of the lines in ``/proc/self/cgroup``.
        folder: The folder of the group that contains all others.
        limit: The file with the limit in bytes.
        used: The file with the bytes in use.
        cache: The entry of ``memory.stat`` with the bytes of files that can be dropped.
    """

    key: str
    folder: str
    limit: str
    used: str
    cache: str


# Source: the pages "Control Group v2" and "Memory Resource Controller" of the kernel.
_HIERARCHIES = (
    _Hierarchy("", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    _Hierarchy(
        "memory",
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def check_memory(
    wanted: Optional[bool],
    endpoint: Endpoint,
    needed_bytes: Callable[[], Optional[int]],
) -> Tuple[str, ...]:
    """Compare free memory with the size of a model that is about to be loaded.

    Nothing is compared if the server is on another machine, or if a number is unknown.

    Args:
        wanted: The caller's argument `check_memory`: whether too little memory is an error. None
            means that it is a warning, and False that nothing is compared.
        endpoint: Address of the server.
        needed_bytes: Returns the size of the model, or None. It is called only if free memory is
            known, because it may send a request.

    Returns:
        The warnings for the result of the load.

    Raises:
        ModelLoadError: There is too little memory, and `wanted` is true.
    """
    if wanted is False or not endpoint.is_loopback:
        return ()
    free = free_bytes()
    needed = None if free is None else needed_bytes()
    if free is None or needed is None or not free < needed < _MOST_BYTES:
        return ()
    message = f"the model has {_gigabytes(needed)}, and {_gigabytes(free)} of memory are free"
    if wanted:
        raise ModelLoadError(
            message,
            hint="unload other models, end other programs, or pass check_memory=False",
            retryable=True,
            needed_bytes=needed,
            free_bytes=free,
        )
    return (f"{message}: it may be slow, or not load at all",)


def check_argument(wanted: object) -> None:
    """Raise a `ConfigurationError` if `check_memory` is not True, False or None."""
    if wanted is not None and not isinstance(wanted, bool):
        raise ConfigurationError(f"check_memory is {wanted!r}; it must be True, False or None")


def free_bytes(root: Path = Path("/")) -> Optional[int]:
    """Return the memory that programs on this machine can still use; None if it is unknown.

    It is known on Linux only. Memory of files that the kernel can drop counts as free. A limit of
    the control groups of this process counts, too, as in a container.

    Args:
        root: The folder that contains ``proc`` and ``sys``.
    """
    available = _entries(root / "proc/meminfo").get("MemAvailable")
    if available is None:
        return None
    return min([available * 1024, *_rooms(root)])


def _rooms(root: Path) -> Iterator[int]:
    """Yield how many bytes each control group of this process may still use, if it has a limit."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        keys, _, path = line.partition(":")[2].partition(":")
        for tree in _HIERARCHIES:
            if tree.key not in keys.split(","):
                continue
            top = root / tree.folder
            # In a container, the path may be that of the host. Then only the top folder exists.
            group = PurePosixPath(path.lstrip("/"))
            for folder in (top / group, *(top / parent for parent in group.parents)):
                room = _room(folder, tree)
                if room is not None:
                    yield room


def _room(folder: Path, tree: _Hierarchy) -> Optional[int]:
    limit, used = _read(folder / tree.limit).strip(), _read(folder / tree.used).strip()
    if not limit.isdigit() or not used.isdigit():  # without a limit, the text is "max"
        return None
    cache = _entries(folder / "memory.stat").get(tree.cache, 0)
    return max(int(limit) - int(used) + cache, 0)


def _entries(path: Path) -> Mapping[str, int]:
    """Read a file of the kernel whose lines have a name and a number."""
    found = {}
    for line in _read(path).splitlines():
        name, *values = line.replace(":", " ").split()[:2] or [""]
        if values and values[0].isdigit():
            found[name] = int(values[0])
    return found


def _read(path: Path) -> str:
    """Return the text of a small file of the kernel; empty if it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        if is_callers(error):
            raise
        return ""


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
