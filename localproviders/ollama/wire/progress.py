"""Reports of a pull, a push or a creation, to `Progress` (ollama-api §3.5)."""

from __future__ import annotations

from typing import Optional

from localproviders._http.framing import parse_json
from localproviders._values import whole, word
from localproviders._wire import unexpected
from localproviders.ollama.wire.answers import checked
from localproviders.types.progress import Progress

#: The status of the last report, and the only sign of success (§3.5).
SUCCESS = "success"

# What the server counts while it converts or quantizes is no file, and this is its digest.
_NO_FILE = "sha256:" + "0" * 64


def parse_progress(record: str, max_json_depth: int) -> Progress:
    """Read one report.

    Raises:
        ProviderError: It is an error, or no report.
    """
    data = checked(parse_json(record, max_json_depth))
    status = word(data.get("status"))
    if status is None:
        unexpected("'status' text")
    digest, total = word(data.get("digest")), whole(data.get("total"))
    # Zeros are left out, so a layer that begins has a total only.
    completed = whole(data.get("completed"))
    if completed is None and total is not None:
        completed = 0
    return Progress(
        status=status,
        digest=digest,
        completed_bytes=completed,
        total_bytes=total,
        fraction=_fraction(completed, total),
        raw=data,
    )


def _fraction(completed: Optional[int], total: Optional[int]) -> Optional[float]:
    if completed is None or total is None or total <= 0:
        return None
    return min(max(completed / total, 0.0), 1.0)


def transfers(progress: Progress) -> bool:
    """Whether a report is about a file on its way, rather than the server's own work."""
    return progress.digest not in (None, _NO_FILE)
