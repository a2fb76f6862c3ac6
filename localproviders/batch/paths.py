"""The files of a run: the output, and the files beside it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Union

from localproviders._lock import path_text

if TYPE_CHECKING:
    PathLike = Union[str, "os.PathLike[str]"]
else:
    PathLike = Union[str, os.PathLike]  # cannot be subscripted before Python 3.9


class RunPaths:
    """The paths of the files of a run.

    Args:
        output: Path of the output.

    Attributes:
        output: Path of the output.
        journal: The record of all results.
        failures: The lines of rows that failed while other rows were open.
        manifest: The description of the run.
        lock: The file whose lock the process of a run holds.
        folder: The folder of all these files.
    """

    __slots__ = ("failures", "folder", "journal", "lock", "manifest", "output")

    def __init__(self, output: PathLike) -> None:
        self.output: str = path_text(output)
        self.journal: str = f"{self.output}.journal"
        self.failures: str = f"{self.output}.failures"
        self.manifest: str = f"{self.output}.manifest"
        self.lock: str = f"{self.output}.lock"
        self.folder: str = os.path.dirname(self.output) or os.curdir


def sync_folder(folder: str) -> None:
    """Write new and renamed names in a folder to the disk, where the system can do this."""
    if os.name != "posix":
        return  # Windows cannot open a folder
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
