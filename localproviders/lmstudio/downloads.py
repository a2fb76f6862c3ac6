"""Downloads, which LM Studio does on its own and is asked about (lmstudio-api §2.12)."""

from __future__ import annotations

import math
import threading
from typing import Optional, Set

from localproviders._http.deadline import Call
from localproviders._http.retry import backoff_s
from localproviders._wire import unexpected
from localproviders.errors import (
    ConfigurationError,
    LimitError,
    ModelNotFoundError,
    ServerError,
    StreamInterruptedError,
    UnreachableError,
    UnsupportedError,
)
from localproviders.lmstudio import wire
from localproviders.lmstudio.listings import Listings, find_entry, names_of
from localproviders.types.cancel import CancelToken
from localproviders.types.download import DownloadJob
from localproviders.types.limits import Limits, Timeout, describe, resolve
from localproviders.types.model import ModelInfo
from localproviders.types.progress import OnProgress

#: Seconds between two questions of `pull`: at first, and at most (lmstudio-api §2.12).
WAITS_S = (1.0, 2.0)

_GOES_ON = "the server goes on with it by itself; call pull again to follow it"


class Downloads(Listings):
    """Downloading models, in the generation that can."""

    def download(
        self,
        model: str,
        *,
        quantization: Optional[str] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> DownloadJob:
        """Let the server begin a download, and come back at once (0.4.0 and newer).

        The server goes on by itself, whatever becomes of this program: it has no route to
        stop a download, to pause it or to delete a model. `download_status` tells how far
        it is, `pull` waits.

        Args:
            model: Name in LM Studio's catalog, such as ``ibm/granite-4-micro``, or the
                address of a Hugging Face repository.
            quantization: Which of its files, such as ``Q4_K_M``; goes with an address.
            timeout: See the class; its total is 30 s unless it says otherwise.
            cancel: See the class; the request may have been understood all the same.

        Raises:
            ModelNotFoundError: There is no such model to download.
            UnsupportedError: The server is too old, or a quantization of a catalog name
                was asked for.
            ProviderError: As for `list_models`.
        """
        _check(model, quantization, self.name)

        def start(call: Call) -> DownloadJob:
            self._need("download", "0.4", call)
            return self._start(model, quantization, call)

        return self._look(start, timeout, cancel, model)

    def download_status(
        self, job_id: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> DownloadJob:
        """Say how far a download is. One that has failed is no error here: `has_failed`.

        Raises:
            ConfigurationError: `job_id` is None or empty, as where the model was there.
            RequestRejectedError: The server knows no such job.
            UnsupportedError: The server is too old.
            ProviderError: As for `list_models`.
        """
        if not job_id:
            raise ConfigurationError(
                f"job_id is {job_id!r}", hint="pass the job_id of what download() gave"
            )

        def read(call: Call) -> DownloadJob:
            self._need("download_status", "0.4", call)
            return self._job(job_id, call)

        return self._look(read, timeout, cancel)

    def pull(
        self,
        model: str,
        *,
        on_progress: Optional[OnProgress] = None,
        quantization: Optional[str] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Let the server download a model, and wait until it is there (0.4.0 and newer).

        The server is asked every second, later every other. There is no total limit unless
        `timeout` gives one; a download whose bytes stand still for `idle_s` is an error,
        also where it is paused. Once all bytes are there, the server may work on them for
        `load_s`. A question whose answer breaks off is asked again, up to
        `RetryPolicy.attempts` times. Whatever ends this call, the download goes on: the
        server has no route to stop it. To call `pull` again is to follow it again.

        The server does not verify what it reports as completed: to be sure, load the model
        (lmstudio-api §7, 46).

        Args:
            model: As for `download`.
            on_progress: Told of each answer of the server; ``paused`` is among them.
            quantization: As for `download`.
            timeout: See the class.
            cancel: See the class.

        Raises:
            ModelNotFoundError: There is no such model to download; or the server lists
                what it has downloaded under a name that cannot be told from others.
            LimitError: It stands still (``idle_s``, ``load_s``), or the total ran out.
            ServerError: The server has given up; the message says why, if it does.
            UnsupportedError: As for `download`.
            ProviderError: As for `list_models`.
        """
        _check(model, quantization, self.name)
        call = _Following(_transfer_limits(timeout, self.settings.limits), cancel)
        span = self._span("pull", model, call)

        def follow(call: Call) -> ModelInfo:
            before = set(names_of(self._entries_with("pull", "0.4", call)))
            job = self._start(model, quantization, call)
            self._follow(model, job, on_progress, call)
            return self._downloaded(model, before, call)

        return self._run(call, follow, model, span)

    # --- pieces of it -----------------------------------------------------------------------

    def _start(self, model: str, quantization: Optional[str], call: Call) -> DownloadJob:
        payload = wire.download_payload(model, quantization)
        return wire.parse_job(self._post(wire.DOWNLOAD_PATH, payload, call), self._rules)

    def _job(self, job_id: str, call: Call) -> DownloadJob:
        data = self._transport.json("GET", wire.status_path(job_id), call=call)
        job = wire.parse_job(data, self._rules)
        return job if job.job_id else job.replace(job_id=job_id)

    def _follow(
        self, model: str, job: DownloadJob, on_progress: Optional[OnProgress], call: Call
    ) -> None:
        standstill = _Standstill(call)
        wait_s, most_s = WAITS_S
        while True:
            if on_progress is not None:
                began = call.clock()
                on_progress(job.progress)
                standstill.outside(call.clock() - began)
            if job.is_done:
                return
            if job.has_failed:
                why = job.reason or "it gives no reason"
                raise ServerError(
                    f"the server could not download {model!r}: {why}",
                    server_message=job.reason,
                )
            left_s = standstill.check(job)
            self._wait(call, threading.Event(), min(wait_s, left_s))
            wait_s = min(wait_s * 1.5, most_s)
            job = self._job_surely(job.job_id or unexpected("'job_id'"), call)

    def _job_surely(self, job_id: str, call: Call) -> DownloadJob:
        """Ask for a job; again if the answer breaks off, because the download goes on."""
        policy, number = self.settings.retry, 1
        while True:
            try:
                return self._job(job_id, call)
            except (StreamInterruptedError, UnreachableError) as error:
                if number >= policy.attempts:
                    raise
                wait_s = backoff_s(policy, number)
                if call.on_retry is not None:
                    call.on_retry(error, number, wait_s)
            self._wait(call, threading.Event(), wait_s)
            number += 1

    def _downloaded(self, model: str, before: Set[str], call: Call) -> ModelInfo:
        entries = self._entries(call)
        entry = find_entry(model, entries)
        if entry is not None:
            return entry.info
        new = [e for e in entries if e.info.name not in before]
        alike = [e for e in entries if wire.same_repository(model, e.info.name)]
        for found in (new, alike):
            if len(found) == 1:
                return found[0].info
        raise ModelNotFoundError(
            f"{model!r} has been downloaded, and the server's list does not tell as what",
            hint="look at list_models(), and load the model to be sure that it is whole",
            available=names_of(entries),
        )


class _Following(Call):
    """A call that asks again and again, perhaps for hours.

    No model is waited for. So each question is to be answered within `idle_s`, whatever the
    server drips.
    """

    def awaiting(self) -> None:
        super().awaiting()
        self._phase("idle_s", self.limits.idle_s)

    def answering(self) -> None:
        """Go on as while waiting."""


class _Standstill:
    """Notices when the bytes of a download stand still."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._bytes: Optional[int] = None
        self._since = call.clock()

    def outside(self, seconds: float) -> None:
        """Take what the caller did meanwhile off the clock."""
        self._since += seconds

    def check(self, job: DownloadJob) -> float:
        """Give the seconds that it may go on standing still.

        Raises:
            LimitError: It has stood still for `idle_s`; or for `load_s` where all bytes are
                there, and the server works on them.
        """
        now, limits = self._call.clock(), self._call.limits
        if job.completed_bytes != self._bytes:
            self._bytes, self._since = job.completed_bytes, now
        whole = self._bytes is not None and self._bytes == job.total_bytes
        limit, limit_s = ("load_s", limits.load_s) if whole else ("idle_s", limits.idle_s)
        left_s = self._since + limit_s - now
        if left_s > 0:
            return left_s
        at = "unknown" if self._bytes is None else f"{self._bytes:,}"
        raise LimitError(
            f"the download is {job.status}, and has stood at {at} bytes for {describe(limit_s)}",
            hint=f"{_GOES_ON}; raise it with timeout=Limits({limit}=...)",
            limit=limit,
            limit_s=limit_s,
            elapsed_s=self._call.elapsed_s,
        )


def _transfer_limits(timeout: Timeout, inherited: Limits) -> Limits:
    """Give the limits of a transfer: no total unless this very call was given one."""
    return resolve(timeout, inherited.replace(total_s=math.inf))


def _check(model: str, quantization: Optional[str], provider: str) -> None:
    if quantization is not None and not wire.is_address(model):
        raise UnsupportedError(
            f"{provider} cannot take quantization={quantization!r} with a name of its catalog",
            hint="pass the address of the Hugging Face repository as model",
            provider=provider,
        )
