"""Downloads: the server runs them in the background, and the client polls their progress.

The routes are in docs/reference/lmstudio.md, "Model management".
"""

from __future__ import annotations

import math
from functools import partial
from typing import Optional, Set

from localproviders._dialect.common import unexpected
from localproviders._http.deadline import Call, sleep
from localproviders._http_provider.call_runner import CallRunner
from localproviders._http_provider.polling import (
    PollingCall,
    StallDetector,
    ask_again,
    growing_waits,
)
from localproviders.errors import (
    ConfigurationError,
    ModelNotFoundError,
    ServerError,
    UnsupportedError,
)
from localproviders.lmstudio.catalog import Catalog, find_entry, names_of, post
from localproviders.lmstudio.wire.errors import NOT_IN_CATALOG, RULES
from localproviders.lmstudio.wire.models import (
    DOWNLOAD_PATH,
    download_payload,
    is_address,
    parse_job,
    same_repository,
    status_path,
)
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.models import DownloadJob, ModelInfo, OnProgress

#: Seconds between two status requests of `pull`: the first wait, and the longest
#: (docs/reference/lmstudio.md, "Model management").
WAITS_S = (1.0, 2.0)


class Downloads:
    """The calls that start downloads and wait for them; the server must be of generation 0.4.

    Args:
        runner: Runner of the calls.
        catalog: Catalog of the server's models.
    """

    def __init__(self, runner: CallRunner, catalog: Catalog) -> None:
        self._runner = runner
        self._catalog = catalog
        self._provider = runner.settings.name

    def start(
        self,
        model: str,
        quantization: Optional[str],
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> DownloadJob:
        """Start a download, and return its job."""
        _check_quantization(model, quantization, self._provider)

        def start(call: Call) -> DownloadJob:
            self._catalog.require("download", "0.4", call)
            return self._start(model, quantization, call)

        return self._catalog.run(start, timeout, cancel, model)

    def status(self, job_id: str, timeout: Timeout, cancel: Optional[CancelToken]) -> DownloadJob:
        """Return the progress of a download."""
        if not job_id:
            raise ConfigurationError(
                f"job_id is {job_id!r}, which is not the id of a job",
                hint="pass the job_id of the job that download() returned",
            )
        status_path(job_id)  # raises for an invalid id before a request is sent

        def read(call: Call) -> DownloadJob:
            self._catalog.require("download_status", "0.4", call)
            return self._read_job(job_id, call)

        return self._catalog.run(read, timeout, cancel)

    def pull(
        self,
        model: str,
        quantization: Optional[str],
        on_progress: Optional[OnProgress],
        timeout: Timeout,
        cancel: Optional[CancelToken],
    ) -> ModelInfo:
        """Download a model, wait until it is complete, and return its facts from the model list."""
        _check_quantization(model, quantization, self._provider)

        def follow(call: Call) -> ModelInfo:
            before = set(names_of(self._catalog.entries_for("pull", "0.4", call)))
            job = self._start(model, quantization, call)
            self._follow(model, job, on_progress, call)
            return self._find_downloaded(model, before, call)

        return self._runner.run(
            follow,
            operation="pull",
            model=model,
            timeout=timeout,
            cancel=cancel,
            total_s=math.inf,
            make=PollingCall,
        )

    # --- steps ------------------------------------------------------------------------------

    def _start(self, model: str, quantization: Optional[str], call: Call) -> DownloadJob:
        payload = download_payload(model, quantization)
        try:
            return parse_job(post(self._runner, DOWNLOAD_PATH, payload, call), RULES)
        except ModelNotFoundError as error:
            error.hint = error.hint or NOT_IN_CATALOG
            raise

    def _read_job(self, job_id: str, call: Call) -> DownloadJob:
        data = self._runner.transport.json("GET", status_path(job_id), call=call)
        job = parse_job(data, RULES)
        return job if job.job_id else job.replace(job_id=job_id)

    def _follow(
        self, model: str, job: DownloadJob, on_progress: Optional[OnProgress], call: Call
    ) -> None:
        stall = StallDetector(call)
        for wait_s in growing_waits(*WAITS_S):
            if on_progress is not None:
                began = call.clock()
                on_progress(job.progress)
                stall.exclude(call.clock() - began)
            if job.is_done:
                return
            if job.has_failed:
                reason = job.reason or "the server did not report a reason"
                raise ServerError(
                    f"the server could not download {model!r}: {reason}",
                    server_message=job.reason,
                )
            sleep(call, min(wait_s, stall.check(job)))
            ask = partial(self._read_job, job.job_id or unexpected("'job_id'"), call)
            job = ask_again(ask, self._runner.settings.retry, call)

    def _find_downloaded(self, model: str, before: Set[str], call: Call) -> ModelInfo:
        entries = self._catalog.entries(call)
        entry = find_entry(model, entries)
        if entry is not None:
            return entry.info
        new = [e for e in entries if e.info.name not in before]
        alike = [e for e in entries if same_repository(model, e.info.name)]
        for found in (new, alike):
            if len(found) == 1:
                return found[0].info
        raise ModelNotFoundError(
            f"{model!r} has been downloaded, but no entry of the server's model list can be "
            "identified as this model",
            hint="find its name with list_models(), and load it to check the download",
            available=names_of(entries),
        )


def _check_quantization(model: str, quantization: Optional[str], provider: str) -> None:
    if quantization is not None and not is_address(model):
        raise UnsupportedError(
            f"{provider} does not support quantization={quantization!r} with a catalog name",
            hint="pass the address of the Hugging Face repository as model",
            provider=provider,
        )
