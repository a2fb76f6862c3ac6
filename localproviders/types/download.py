"""A download that a server does on its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Mapping, Optional

from localproviders._record import RAW, Record, field, loads, record
from localproviders.types.progress import Progress

_DATE = loads(lambda text: datetime.fromisoformat(text))


@record
class DownloadJob(Record):
    """A download of LM Studio's, as it stood when the server was asked.

    Attributes:
        status: The server's word: ``downloading``, ``paused``, ``completed``, ``failed`` or
            ``already_downloaded``.
        job_id: What to ask for it with; None where there was nothing to download.
        completed_bytes: How much is there; None where it does not say.
        total_bytes: How much there is in all; None where it does not say.
        bytes_per_second: How fast it goes, while it goes.
        started_at: When it began, with time zone.
        expected_at: When the server expects it to be done, with time zone.
        completed_at: When it was done, with time zone.
        reason: Why it failed, in the server's words; None also where it does not say.
        raw: The server's own record.
    """

    status: str
    job_id: Optional[str] = None
    completed_bytes: Optional[int] = None
    total_bytes: Optional[int] = None
    bytes_per_second: Optional[float] = None
    started_at: Optional[datetime] = field(default=None, metadata=_DATE)
    expected_at: Optional[datetime] = field(default=None, metadata=_DATE)
    completed_at: Optional[datetime] = field(default=None, metadata=_DATE)
    reason: Optional[str] = None
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)

    @property
    def is_done(self) -> bool:
        """Whether all of it is there."""
        return self.status in ("completed", "already_downloaded")

    @property
    def has_failed(self) -> bool:
        """Whether the server has given up."""
        return self.status == "failed"

    @property
    def progress(self) -> Progress:
        """The same as `pull` tells it; `fraction` is ours, out of the server's two numbers."""
        done, size = self.completed_bytes, self.total_bytes
        known = done is not None and size is not None and 0 <= done <= size and size > 0
        return Progress(
            status=self.status,
            completed_bytes=done,
            total_bytes=size,
            fraction=(done or 0) / (size or 1) if known else None,
            raw=self.raw,
        )
