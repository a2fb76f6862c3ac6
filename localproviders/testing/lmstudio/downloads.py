"""Downloads of the fake LM Studio server. The attribute `download_script` sets their progress.

The routes are described in docs/reference/lmstudio.md, "Model management".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from localproviders._signatures import Unpack
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer
from localproviders.testing.fake import FakeOptions, Models
from localproviders.testing.lmstudio.checks import check_fields, invalid
from localproviders.testing.lmstudio.memory import Memory, Route
from localproviders.testing.openai_requests import RefusedError
from localproviders.testing.scripted import Exchange

_STATUS = "/api/v1/models/download/status/"
_SIZE = 2279145003
_STARTED = "2025-10-03T15:33:23.496Z"


@dataclass
class _Job:
    name: str
    steps: List[Tuple[str, float]]


class Downloads(Memory):
    """The part of the fake server that downloads models: those in `catalog`, or from an address."""

    #: Names of models that can be downloaded. A download from any address works, too.
    catalog: Sequence[str] = ("ibm/granite-4-micro", "qwen/qwen3-8b")
    #: Steps of a new download, one for each request for its status. A step is a pair: the status,
    #: and the part of the bytes that have arrived, from 0 to 1. The last step is repeated.
    download_script: Sequence[Tuple[str, float]] = (("downloading", 0.5), ("completed", 1.0))
    #: Reason that the server reports for a failed download; empty if it reports none.
    download_error: str = ""

    def __init__(self, models: Models = None, **options: Unpack[FakeOptions]) -> None:
        given, options = Sealed(options), FakeOptions()
        super().__init__(models, **given.cell_contents)
        self._jobs: Dict[str, _Job] = {}

    def download_routes(self) -> Dict[Tuple[str, str], Route]:
        """Return the handlers of requests, by method and path."""
        status_routes = {("GET", f"{_STATUS}{job}"): self._status_route for job in self._jobs}
        return {("POST", "/api/v1/models/download"): self._download_route, **status_routes}

    def unknown_job(self, exchange: Exchange) -> None:
        """Raise the error for an unknown job, if the request asks for the status of a job."""
        if exchange.method == "GET" and exchange.path.startswith(_STATUS):
            message = f"Job '{exchange.path[len(_STATUS) :]}' not found"
            error = {"type": "job_not_found", "message": message}
            raise RefusedError({"error": error}, "404 Not Found")

    def _download_route(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        check_fields(body, frozenset(("model", "quantization")))
        given = str(body.get("model"))
        if "://" not in given and given not in [*self.catalog, *(m.name for m in self.models)]:
            raise invalid(f"Model '{given}' was not found in the catalog", code="model_not_found")
        name = _listed_name(given) if "://" in given else given
        if name in [model.name for model in self.models]:
            return self.json({"status": "already_downloaded"})
        job = f"job_{len(self._jobs) + 1:010x}"
        self._jobs[job] = _Job(name, list(self.download_script))
        first = {"job_id": job, "status": "downloading", "total_size_bytes": _SIZE}
        return self.json({**first, "started_at": _STARTED})

    def _status_route(self, exchange: Exchange) -> Answer:
        job_id = exchange.path[len(_STATUS) :]
        job = self._jobs[job_id]
        status, share = job.steps[0]
        if len(job.steps) > 1:
            del job.steps[0]
        answer: Dict[str, Any] = {
            "job_id": job_id,
            "status": status,
            "total_size_bytes": _SIZE,
            "downloaded_bytes": int(_SIZE * share),
            "started_at": _STARTED,
        }
        if status == "downloading":
            speed = {"bytes_per_second": 3870000.5, "estimated_completion": _STARTED}
            answer.update(speed)
        elif status == "completed":
            answer["completed_at"] = "2025-10-03T15:43:12.102Z"
            self._add_model(job.name)
        elif status == "failed" and self.download_error:
            answer["error"] = self.download_error
        return self.json(answer)

    def _add_model(self, name: str) -> None:
        if name not in [model.name for model in self.models]:
            self.models.append(self.make_model(name))


def _listed_name(address: str) -> str:
    """Return the name under which the server lists a model from an address."""
    name = address.rstrip("/").rpartition("/")[2].lower()
    return name[: -len("-gguf")] if name.endswith("-gguf") else name
