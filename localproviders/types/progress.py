"""How far a long operation of a server has come."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional

from localproviders._record import RAW, Record, field, record


@record
class Progress(Record):
    """One report of a server about a long operation: a download, an upload, a load.

    Attributes:
        status: What it is doing, in the server's words, such as ``pulling manifest``.
        digest: Which file, where it transfers several (Ollama).
        completed_bytes: How much of that is done; None where it does not say.
        total_bytes: How much there is; None where it does not say.
        fraction: How much is done, from 0 to 1; None where it does not say.
        raw: The server's own record.
    """

    status: str
    digest: Optional[str] = None
    completed_bytes: Optional[int] = None
    total_bytes: Optional[int] = None
    fraction: Optional[float] = None
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)


#: Is told of each report, in the thread of the call. What it raises ends the call.
OnProgress = Callable[[Progress], None]
