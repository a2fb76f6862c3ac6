"""The files of a run: the output, and the files beside it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Tuple, Union

from localproviders._lock import path_text
from localproviders.errors import ConfigurationError

if TYPE_CHECKING:
    PathLike = Union[str, "os.PathLike[str]"]
else:
    PathLike = Union[str, os.PathLike]  # cannot be subscripted before Python 3.9


class RunPaths:
    """The paths of the files of a run.

    Args:
        output: Path of the output. If it is a symbolic link, the file to which it leads is used.

    Attributes:
        output: Path of the output.
        journal: Path of the journal, which has a record of each result.
        failures: Path of the file with the lines of failed rows, until all rows have a result.
        ids: Path of the file with the ids of the rows, if the output is a matrix.
        manifest: Path of the description of the run.
        lock: Path of the file whose lock is held during a run.
        folder: The folder of all these files.
    """

    __slots__ = ("failures", "folder", "ids", "journal", "lock", "manifest", "output")

    def __init__(self, output: PathLike) -> None:
        path = path_text(output)
        # With the path of the link, two runs could write to the same output at once, and a new
        # output would replace the link.
        self.output: str = os.path.realpath(path) if os.path.islink(path) else path
        self.journal: str = f"{self.output}.journal"
        self.failures: str = f"{self.output}.failures"
        self.ids: str = f"{self.output}.ids.jsonl"
        self.manifest: str = f"{self.output}.manifest"
        self.lock: str = f"{self.output}.lock"
        self.folder: str = os.path.dirname(self.output) or os.curdir

    @property
    def files(self) -> Tuple[str, ...]:
        """The paths of all files with results, and of their descriptions."""
        return self.output, self.journal, self.failures, self.manifest, self.ids

    def check_writable(self) -> None:
        """Check that this user may write the files.

        Raises:
            ConfigurationError: The folder, or a file that exists, cannot be written.
        """
        for path in (self.folder, *self.files):
            if os.path.exists(path) and not os.access(path, os.W_OK):
                raise ConfigurationError(
                    f"{path!r} cannot be written",
                    hint="write to another folder, or let this user write the folder and its files",
                )


def sync_folder(folder: str) -> None:
    """Force the names of new and renamed files in a folder to the disk, except on Windows."""
    if os.name != "posix":
        return  # Windows cannot open a folder
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
