"""The downloads of a fake LM Studio, which go on as its script says (§2.12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.lmstudio.memory import Memory, Route, invalid
from localproviders.testing.openai_compatible import RefusedError
from localproviders.testing.scripted import Exchange

_STATUS = "/api/v1/models/download/status/"
_SIZE = 2279145003
_STARTED = "2025-10-03T15:33:23.496Z"


@dataclass
class _Job:
    name: str
    steps: List[Tuple[str, float]]


class Downloads(Memory):
    """Downloads what is in its `catalog`, or any address, step by step."""

    #: Names that it can download; an address it always can.
    catalog: Sequence[str] = ("ibm/granite-4-micro", "qwen/qwen3-8b")
    #: The states that a new download goes through, one for each time it is asked for: the
    #: status, and the share that is there. The last one stays.
    download_script: Sequence[Tuple[str, float]] = (("downloading", 0.5), ("completed", 1.0))
    #: What a failed download gives as its reason; empty for none.
    download_error: str = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._jobs: Dict[str, _Job] = {}

    def download_routes(self) -> Dict[Tuple[str, str], Route]:
        """Give what answers which method and path."""
        asked = {("GET", f"{_STATUS}{job}"): self._status_route for job in self._jobs}
        return {("POST", "/api/v1/models/download"): self._download_route, **asked}

    def unknown_job(self, exchange: Exchange) -> None:
        """Refuse to tell of a job that there is not."""
        if exchange.method == "GET" and exchange.path.startswith(_STATUS):
            message = f"Job '{exchange.path[len(_STATUS) :]}' not found"
            error = {"type": "job_not_found", "message": message}
            raise RefusedError({"error": error}, "404 Not Found")

    def _download_route(self, exchange: Exchange) -> Answer:
        body = self._body(exchange)
        self.check_fields(body, frozenset(("model", "quantization")))
        asked = str(body.get("model"))
        if "://" not in asked and asked not in [*self.catalog, *(m.name for m in self.models)]:
            raise invalid(f"Model '{asked}' was not found in the catalog", code="model_not_found")
        name = _key(asked) if "://" in asked else asked
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
            more = {"bytes_per_second": 3870000.5, "estimated_completion": _STARTED}
            answer.update(more)
        elif status == "completed":
            answer["completed_at"] = "2025-10-03T15:43:12.102Z"
            self._arrive(job.name)
        elif status == "failed" and self.download_error:
            answer["error"] = self.download_error
        return self.json(answer)

    def _arrive(self, name: str) -> None:
        if name not in [model.name for model in self.models]:
            self.models.append(self.make_model(name))


def _key(address: str) -> str:
    """Give the key under which a download from an address is listed."""
    name = address.rstrip("/").rpartition("/")[2].lower()
    return name[: -len("-gguf")] if name.endswith("-gguf") else name
