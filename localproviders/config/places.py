"""Where the files of the cascade are, and the machine as a `Config.load` sees it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Iterator, List, Mapping, Optional

FILE = "config.toml"
PROJECT_FILE = "localproviders.toml"

#: The system's file by `sys.platform`; other platforms follow the file system's standard.
SYSTEM: Mapping[str, str] = {
    "darwin": "/Library/Application Support/localproviders/" + FILE,
    "win32": "%PROGRAMDATA%/localproviders/" + FILE,
}
SYSTEM_ELSEWHERE = "/etc/localproviders/" + FILE


class Surroundings:
    """Variables and directories of one load. Its repr shows none: some variables are keys.

    Attributes:
        environ: The variables.
        directory: Where the search for a project file begins, and where relative paths of
            variables and arguments do; None where there is no such place any more.
        platform: As in `sys.platform`.
    """

    __slots__ = ("directory", "environ", "platform")

    def __init__(self, directory: Optional[Path], environ: Optional[Mapping[str, str]]) -> None:
        self.environ = os.environ if environ is None else environ
        self.platform = sys.platform
        try:
            self.directory: Optional[Path] = Path(os.path.abspath(directory or Path.cwd()))
        except FileNotFoundError:  # somebody removed it under our feet
            self.directory = None

    @property
    def home(self) -> Optional[Path]:
        """The user's home, as the variables say; None where they do not."""
        name = "USERPROFILE" if self.platform == "win32" else "HOME"
        return self._absolute(name)

    def _absolute(self, variable: str) -> Optional[Path]:
        text = self.environ.get(variable, "")
        # The standard of these directories says that a relative one is to be ignored.
        return Path(text) if text and os.path.isabs(text) else None

    def system_file(self) -> Optional[Path]:
        """Give the path of the system's file, whether it exists or not."""
        if self.platform == "win32":
            base = self._absolute("PROGRAMDATA")
            return base and base / "localproviders" / FILE
        return Path(SYSTEM.get(self.platform, SYSTEM_ELSEWHERE))

    def user_file(self) -> Optional[Path]:
        """Give the path of the user's file, whether it exists or not; None without a home."""
        if self.platform == "win32":
            base = self._absolute("APPDATA")
        elif self.platform == "darwin":
            base = self.home and self.home / "Library" / "Application Support"
        else:
            base = self._absolute("XDG_CONFIG_HOME") or (self.home and self.home / ".config")
        return base and base / "localproviders" / FILE

    def upwards(self) -> Iterator[Path]:
        """Give the directory and those above it, up to and with the home or the root."""
        if self.directory is None:
            return
        # The current directory is told without links; a home may lie behind one.
        home = self.home and os.path.realpath(self.home)
        chain: List[Path] = [self.directory, *self.directory.parents]
        for folder in chain:
            yield folder
            if home and os.path.realpath(folder) == home:
                return

    def expand(self, text: str, base: Optional[Path]) -> Path:
        """Make a path absolute: ``~`` is the home, the rest begins at a directory.

        Raises:
            ValueError: There is no home, or no directory, to begin at.
        """
        head, _, tail = text.replace("\\", "/").partition("/") if text[:1] == "~" else ("", "", "")
        if head == "~":
            if self.home is None:
                raise ValueError("begins with ~, and no variable says where the home is")
            return self.home / tail
        if os.path.isabs(text):
            return Path(text)
        if base is None:
            raise ValueError("must be an absolute path, because there is no directory to begin at")
        return base / text
