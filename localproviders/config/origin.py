"""Where a value of the configuration came from."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from localproviders._record import Record, field, loads, record


@record
class Origin(Record):
    """The place that a value was written in. As text it names that place.

    Attributes:
        kind: ``default``, ``file``, ``variable`` or ``argument``.
        file: The file, where it is one.
        line: Its line, from 1; None where it is no file, or where the line is not certain.
        name: The variable or the argument, where it is one.
    """

    kind: str = "default"
    file: Optional[Path] = field(default=None, metadata=loads(Path))
    line: Optional[int] = None
    name: Optional[str] = None

    def __str__(self) -> str:
        if self.file is not None:
            return f"{self.file}, line {self.line}" if self.line else str(self.file)
        return f"the {self.kind} {self.name}" if self.name else self.kind


#: The origin of what nobody wrote.
DEFAULT = Origin()
