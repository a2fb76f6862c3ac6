"""What LM Studio does with its models: loading, unloading, downloading (lmstudio-api §2.12)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote

from localproviders._http.rejection import Rule, read_words
from localproviders._values import count, mapping, mappings, number, parse_date, text, word
from localproviders._wire import checked, unexpected
from localproviders.errors import ConfigurationError, ModelLoadError
from localproviders.types.download import DownloadJob
from localproviders.types.model import LoadedModel, ModelInfo

LOAD_PATH = "/api/v1/models/load"
UNLOAD_PATH = "/api/v1/models/unload"
DOWNLOAD_PATH = "/api/v1/models/download"

# --- in memory --------------------------------------------------------------------------------


def loaded_models(info: ModelInfo, now: datetime) -> List[LoadedModel]:
    """Give the copies of a model that are in memory, from its entry in either list.

    Args:
        info: The model; its raw record is the entry (§2.8, §2.11).
        now: What the seconds that are left count from.
    """
    data = mapping(info.raw)
    found = [_instance(item, info, now) for item in mappings(data.get("loaded_instances"))]
    if data.get("state") == "loaded":
        window = count(data.get("loaded_context_length"))
        found.append(
            LoadedModel(
                name=info.name,
                provider=info.provider,
                instance=info.name,
                context_length=window,
                raw=data,
            )
        )
    return found


def _instance(data: Mapping[str, Any], info: ModelInfo, now: datetime) -> LoadedModel:
    return LoadedModel(
        name=info.name,
        provider=info.provider,
        instance=word(data.get("id")),
        context_length=count(mapping(data.get("config")).get("context_length")),
        expires_at=_after(now, data.get("remaining_ttl_seconds")),
        raw=data,
    )


def _after(now: datetime, seconds: Any) -> Optional[datetime]:
    count = number(seconds)
    try:
        return None if count is None else now + timedelta(seconds=count)
    except (OverflowError, ValueError):
        return None


# --- load and unload --------------------------------------------------------------------------

_WHOLE = ("context_length", "eval_batch_size", "num_experts", "parallel")


def configuration(**asked: Any) -> Dict[str, Any]:
    """Give what was asked for, as the server takes it; what is None is not sent.

    Raises:
        ConfigurationError: A number is none, or below one; a switch is no bool.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    for name, value in given.items():
        if name not in _WHOLE:
            if not isinstance(value, bool):
                raise ConfigurationError(f"{name} is {value!r}, and must be True or False")
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(
                f"{name} is {value!r}, and must be a whole number of at least 1"
            )
    return given


def load_payload(model: str, asked: Mapping[str, Any]) -> Dict[str, Any]:
    """Give the JSON that loads a model, and asks what became of the wishes."""
    return {"model": model, **asked, "echo_load_config": True}


def parse_loaded(
    data: Mapping[str, Any], name: str, provider: str, asked: Mapping[str, Any]
) -> LoadedModel:
    """Read the answer to a load.

    Raises:
        ModelLoadError: It says that the model is not loaded.
        ProtocolError: It is no such answer.
    """
    instance = word(data.get("instance_id")) or unexpected("'instance_id'")
    status = word(data.get("status"))
    if status not in (None, "loaded"):
        raise ModelLoadError(f"the server says that the model is {status}, and not loaded")
    config = mapping(data.get("load_config"))
    return LoadedModel(
        name=name,
        provider=provider,
        instance=instance,
        context_length=count(config.get("context_length")),
        load_s=number(data.get("load_time_seconds")),
        warnings=_differences(config, asked),
        raw=data,
    )


def differences(instance: LoadedModel, asked: Mapping[str, Any]) -> Tuple[str, ...]:
    """Say where a copy in memory is not, or may not be, as asked for.

    An engine can ignore a wish without a word (§2.12).
    """
    return _differences(_configuration_of(instance), asked)


def _differences(config: Mapping[str, Any], asked: Mapping[str, Any]) -> Tuple[str, ...]:
    lines = []
    for name, value in asked.items():
        if name not in config:
            lines.append(f"the server does not say whether {name} is {value!r}")
        elif config[name] != value:
            lines.append(f"{name} is {config[name]!r}, and {value!r} was asked for")
    return tuple(lines)


def fits(instance: LoadedModel, asked: Mapping[str, Any]) -> bool:
    """Whether a copy in memory contradicts no wish."""
    config = _configuration_of(instance)
    return all(config.get(name, value) == value for name, value in asked.items())


def _configuration_of(instance: LoadedModel) -> Mapping[str, Any]:
    return mapping(mapping(instance.raw).get("config"))


def unload_payload(instance: str) -> Dict[str, Any]:
    """Give the JSON that unloads one copy."""
    return {"instance_id": instance}


def check_unloaded(data: Mapping[str, Any]) -> None:
    """Read the answer to an unload.

    Raises:
        ProtocolError: It is no such answer.
    """
    if not word(data.get("instance_id")):
        unexpected("'instance_id'")


# --- download ---------------------------------------------------------------------------------


def download_payload(model: str, quantization: Optional[str]) -> Dict[str, Any]:
    """Give the JSON that starts a download."""
    return {"model": model, **({"quantization": quantization} if quantization else {})}


def status_path(job_id: str) -> str:
    """Give where to ask for a job."""
    return f"{DOWNLOAD_PATH}/status/{quote(job_id, safe='')}"


def parse_job(data: Any, rules: Sequence[Rule]) -> DownloadJob:
    """Read a job; one that failed may say why beside its status.

    Raises:
        ProviderError: It is an error, or no job.
    """
    status = word(data.get("status")) if isinstance(data, dict) else None
    if status is None:
        checked(data, rules)
        unexpected("'status' of a download")
    words = read_words(data)
    return DownloadJob(
        status=status,
        job_id=word(data.get("job_id")),
        completed_bytes=count(data.get("downloaded_bytes")),
        total_bytes=count(data.get("total_size_bytes")),
        bytes_per_second=number(data.get("bytes_per_second")),
        started_at=parse_date(data.get("started_at")),
        expected_at=parse_date(data.get("estimated_completion")),
        completed_at=parse_date(data.get("completed_at")),
        reason=words.text[:2000] if words and words.text else None,
        raw=data,
    )


def is_address(model: str) -> bool:
    """Whether what to download is named by an address, rather than by its catalog name."""
    return "://" in model


def same_repository(model: str, key: str) -> bool:
    """Whether a listed model seems to come from the address that was downloaded.

    The server does not say under which key it lists a download: the last part of the
    address is compared with the last part of the key, without what names only the format.
    """
    return _plain(model) == _plain(key)


def _plain(name: str) -> str:
    last = text(name).rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[-_.]?(gguf|mlx)$", "", last.partition("@")[0])
