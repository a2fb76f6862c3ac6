"""Compare the free memory of this machine with the size of a model, before a server loads it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Callable, Iterator, Mapping, NamedTuple, Optional, Tuple

from localproviders._address import Endpoint
from localproviders._interrupts import is_callers
from localproviders.errors import ConfigurationError, ModelLoadError

# No model needs more bytes. A larger number from a server is ignored.
_MOST_BYTES = 10**15


class _Hierarchy(NamedTuple):
    """The paths and names of the files of one version of Linux's control groups.

    Attributes:
        key: Second field of the lines in ``/proc/self/cgroup``.
        folder: The folder of the group that contains all others.
        limit: The file with the limit in bytes.
        used: The file with the bytes in use.
        cache: The entry of ``memory.stat`` with the bytes of file caches that can be dropped.
    """

    key: str
    folder: str
    limit: str
    used: str
    cache: str


# Source: the pages "Control Group v2" and "Memory Resource Controller" of the documentation of the
# Linux kernel.
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


class MemoryCheck:
    """The comparison of the free memory with the size of a model that is about to be loaded.

    Nothing is compared if the server is on another machine, or if a number is unknown.

    Args:
        wanted: The caller's argument `check_memory`. With True, too little memory is an error. With
            None, it is a warning. With False, nothing is compared.
        endpoint: Address of the server.
        is_needed: Whether the load needs more free memory, because no copy of the model is in
            memory. If there is a copy, nothing is compared: the load uses the copy, or replaces it
            and thereby frees its memory.
    """

    def __init__(self, wanted: Optional[bool], endpoint: Endpoint, is_needed: bool) -> None:
        self._is_error = bool(wanted)
        is_compared = wanted is not False and is_needed and endpoint.is_loopback
        # The free memory is read before the load, even for the warnings after the load.
        self._free = free_bytes() if is_compared else None

    def before(self, needed_bytes: Callable[[], Optional[int]]) -> None:
        """Check that the model fits, if too little memory is an error.

        Args:
            needed_bytes: Returns the size of the model, or None. It is called only if the result
                matters, because it may send a request.

        Raises:
            ModelLoadError: There is too little memory.
        """
        needed = needed_bytes() if self._is_error and self._free is not None else None
        if self._free is None or not _exceeds(needed, self._free):
            return
        raise ModelLoadError(
            _describe(needed, self._free),
            hint="unload other models, end other programs, or pass check_memory=False",
            retryable=True,
            needed_bytes=needed,
            free_bytes=self._free,
        )

    def after(self, needed_bytes: Optional[int]) -> Tuple[str, ...]:
        """Return the warnings about a model that was loaded, if too little memory is a warning."""
        if self._is_error or self._free is None or not _exceeds(needed_bytes, self._free):
            return ()
        return (f"{_describe(needed_bytes, self._free)}: it may be slow",)


def _exceeds(needed: Optional[int], free: int) -> bool:
    return needed is not None and free < needed < _MOST_BYTES


def _describe(needed: Optional[int], free: int) -> str:
    needed_gb, free_gb = ((number or 0) / 1e9 for number in (needed, free))
    return f"the model needs {needed_gb:.1f} GB of memory, and {free_gb:.1f} GB were free"


def check_argument(wanted: object) -> None:
    """Raise a `ConfigurationError` if `check_memory` is not True, False or None."""
    if wanted is not None and not isinstance(wanted, bool):
        raise ConfigurationError(f"check_memory is {wanted!r}; it must be True, False or None")


def free_bytes(root: Path = Path("/")) -> Optional[int]:
    """Return the memory that programs on this machine can still use; None if it is unknown.

    It is known on Linux only. File caches that the kernel can drop count as free. The limits
    of the control groups of this process apply, for example in a container.

    Args:
        root: The folder that contains ``proc`` and ``sys``.
    """
    available = _entries(root / "proc/meminfo").get("MemAvailable")
    if available is None:
        return None
    return min([available * 1024, *_left_by_groups(root)])


def _left_by_groups(root: Path) -> Iterator[int]:
    """Yield how many bytes each control group of this process may still use, if it has a limit."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        keys, _, path = line.partition(":")[2].partition(":")
        for tree in _HIERARCHIES:
            if tree.key not in keys.split(","):
                continue
            top = root / tree.folder
            # In a container, the path may be the path on the host. Then only the top folder exists.
            group = PurePosixPath(path.lstrip("/"))
            for folder in (top / group, *(top / parent for parent in group.parents)):
                left = _left_by_group(folder, tree)
                if left is not None:
                    yield left


def _left_by_group(folder: Path, tree: _Hierarchy) -> Optional[int]:
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
