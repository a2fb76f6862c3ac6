"""Pure functions for the JSON about LM Studio's models: lists, loads and downloads.

The functions convert values and send nothing. The formats are described in
docs/reference/lmstudio.md, "Model lists" and "Model management".
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders._address import path_part
from localproviders._dialect.common import checked, named, unexpected
from localproviders._dialect.error_answers import read_words
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.values import (
    count,
    mapping,
    mappings,
    nonempty_text,
    number,
    parse_timestamp,
    text,
    texts,
)
from localproviders._did_you_mean import suggest_number
from localproviders._http.framing import MOST_MODELS, Look, Tally, no_look
from localproviders.capabilities import Evidence, detect
from localproviders.errors import ConfigurationError, ModelLoadError, ProtocolError, ProviderError
from localproviders.types.models import DownloadJob, LoadedModel, ModelInfo

# The documentation of decision models does not say which type they have in the lists. The type
# "decision" is a guess (docs/reference/lmstudio.md, "Capabilities"). If the server sends another
# type, no capability is inferred from it.
_DECISION: Mapping[str, bool] = {"chat": False, "embeddings": False, "decision": True}

# Capabilities that follow from a model's `type`: one table for each of LM Studio's own model lists.
# Nothing follows from an unknown type.
_V1_TYPES: Mapping[Optional[str], Mapping[str, bool]] = {
    "llm": {"chat": True, "embeddings": False},
    "embedding": {"chat": False, "embeddings": True},
    "decision": _DECISION,
}
_V0_TYPES: Mapping[Optional[str], Mapping[str, bool]] = {
    "llm": {"chat": True, "vision": False, "embeddings": False},
    "vlm": {"chat": True, "vision": True, "embeddings": False},
    "embeddings": {"chat": False, "vision": False, "embeddings": True},
    "decision": _DECISION,
}

# Any model can call tools: the server explains the tools in the prompt if the model was not
# trained for them (docs/reference/lmstudio.md, "Capabilities").
_UNTRAINED = (True, "not trained for tools; the server explains them in the prompt")
_TRAINED = (True, "trained for tools")


def evidence_from_v1(data: Mapping[str, Any]) -> Evidence:
    """Read the evidence of a model's capabilities in its entry of ``/api/v1/models``."""
    flags = dict(_V1_TYPES.get(nonempty_text(data.get("type")), {}))
    said = {name: f"type is {data.get('type')}" for name in flags}
    if flags.get("chat"):
        abilities = mapping(data.get("capabilities"))
        for ours, theirs in (("vision", "vision"), ("tools_trained", "trained_for_tool_use")):
            if isinstance(abilities.get(theirs), bool):
                flags[ours] = abilities[theirs]
                said[ours] = f"{theirs} is {str(abilities[theirs]).lower()}"
    reasoning = mapping(mapping(data.get("capabilities")).get("reasoning"))
    # Without this object, the server cannot switch reasoning on or off. The model may still think.
    if reasoning:
        flags["thinking"] = True
    return Evidence(
        detail="GET /api/v1/models",
        **_split_by_flag(flags),
        said=said,
        follows=_infer_tools(flags),
        facts={
            "max_context_length": count(data.get("max_context_length")),
            "loaded_context_length": _loaded_window(data),
            "thinking_levels": tuple(texts(reasoning.get("allowed_options"))),
            "thinking_default": nonempty_text(reasoning.get("default")),
            "architecture": nonempty_text(data.get("architecture")),
            "parameter_size": nonempty_text(data.get("params_string")),
            "quantization": nonempty_text(mapping(data.get("quantization")).get("name")),
            "format": nonempty_text(data.get("format")),
            "size_bytes": count(data.get("size_bytes")),
        },
    )


def evidence_from_v0(data: Mapping[str, Any]) -> Evidence:
    """Read the evidence of a model's capabilities in its entry of ``/api/v0/models``."""
    flags = dict(_V0_TYPES.get(nonempty_text(data.get("type")), {}))
    said = dict.fromkeys(flags, f"type is {data.get('type')}")
    # `type` is read first, because an embedding model can have "tool_use", too. A missing
    # "tool_use" proves nothing: servers before 0.3.16 never send it
    # (docs/reference/lmstudio.md, "Capabilities").
    if flags.get("chat") and "tool_use" in texts(data.get("capabilities")):
        flags["tools_trained"] = True
    return Evidence(
        detail="GET /api/v0/models",
        **_split_by_flag(flags),
        said=said,
        follows=_infer_tools(flags),
        facts={
            "max_context_length": count(data.get("max_context_length")),
            "loaded_context_length": count(data.get("loaded_context_length")),
            "architecture": nonempty_text(data.get("arch")),
            "quantization": nonempty_text(data.get("quantization")),
            "format": nonempty_text(data.get("compatibility_type")),
        },
    )


def _split_by_flag(flags: Mapping[str, bool]) -> Dict[str, Any]:
    return {
        "can": frozenset(name for name, flag in flags.items() if flag),
        "cannot": frozenset(name for name, flag in flags.items() if not flag),
    }


def _infer_tools(flags: Mapping[str, bool]) -> Mapping[str, Tuple[bool, str]]:
    """Infer whether a model can call tools; a chat model without training for tools can, too."""
    if not flags.get("chat"):
        return {}
    return {"tools": _TRAINED if flags.get("tools_trained") else _UNTRAINED}


def _loaded_window(data: Mapping[str, Any]) -> Optional[int]:
    """Return the context window of the copy whose name is the model's key, or of the first copy."""
    instances = mappings(data.get("loaded_instances"))
    same_name = [item for item in instances if item.get("id") == data.get("key")]
    chosen = (same_name or instances or [{}])[0]
    return count(mapping(chosen.get("config")).get("context_length"))


class Entry(NamedTuple):
    """One model of a list, with all names that a request can use for this model.

    Attributes:
        info: The model.
        names: The model's key, and the names of its variants and loaded copies.
    """

    info: ModelInfo
    names: Tuple[str, ...]


def are_from_ollama(entries: Iterable[Entry], refusal: ProviderError) -> bool:
    """Return whether the list of ``/v1/models`` comes from an Ollama server.

    LM Studio names the same owner for all models (docs/reference/lmstudio.md, "The list of the
    OpenAI dialect").

    Args:
        entries: The models of the list.
        refusal: The error of the request for a newer list. Ollama has its own text for unknown
            paths (docs/reference/ollama.md, "Error bodies").
    """
    owners = {(entry.info.raw or {}).get("owned_by") for entry in entries}
    is_ollamas = refusal.server_message == "404 page not found"
    return is_ollamas and not owners <= {None, "organization_owner"}


def parse_models(
    data: Mapping[str, Any], provider: str, look: Look = no_look
) -> Optional[List[Entry]]:
    """Parse the response of ``/api/v1/models``; return None if it is not such a list.

    Raises:
        AnswerTooLargeError: The list has too many models or loaded copies.
        ProtocolError: No entry has a name.
        ProviderError: A limit of the call expired, or the call was cancelled.
    """
    models = data.get("models")
    if not isinstance(models, list):
        return None
    copies = Tally("loaded instances", MOST_MODELS, look)
    return [_v1_entry(model, provider, copies) for model in named(models, _key_of, look)]


def _key_of(data: Mapping[str, Any]) -> str:
    return nonempty_text(data.get("key")) or ""


def _v1_entry(data: Mapping[str, Any], provider: str, copies: Tally) -> Entry:
    key = _key_of(data)
    instances = mappings(data.get("loaded_instances"))
    for _ in instances:
        copies.add()
    info = ModelInfo(
        name=key,
        provider=provider,
        loaded=bool(instances),
        capabilities=detect(key, evidence_from_v1(data)),
        raw=data,
    )
    variants = texts(data.get("variants"))
    return Entry(info, (key, *variants, *texts([item.get("id") for item in instances])))


def parallel_of(info: ModelInfo) -> Optional[int]:
    """Return how many requests the copies of a model can answer in parallel; None if unknown."""
    instances = mappings(mapping(info.raw).get("loaded_instances"))
    found = [count(mapping(each.get("config")).get("parallel")) for each in instances]
    return sum(filter(None, found)) or None


def parse_old_models(
    data: Mapping[str, Any], provider: str, look: Look = no_look
) -> Optional[List[Entry]]:
    """Parse the response of ``/api/v0/models``; return None if it is not such a list.

    Raises:
        AnswerTooLargeError: The list has too many models.
        ProtocolError: No entry has a name.
        ProviderError: A limit of the call expired, or the call was cancelled.
    """
    models = data.get("data")
    if not isinstance(models, list):
        return None
    return [_v0_entry(model, provider) for model in named(models, _id_of, look)]


def _id_of(data: Mapping[str, Any]) -> str:
    return nonempty_text(data.get("id")) or ""


def _v0_entry(data: Mapping[str, Any], provider: str) -> Entry:
    name = _id_of(data)
    info = ModelInfo(
        name=name,
        provider=provider,
        loaded=data.get("state") == "loaded" if "state" in data else None,
        capabilities=detect(name, evidence_from_v0(data)),
        raw=data,
    )
    return Entry(info, (name,))


def same_entry(entries: List[Entry], requested: str, served: str) -> bool:
    """Return whether both names belong to the same model of the list."""
    return any(
        requested.lower() in names and served.lower() in names
        for entry in entries
        for names in ({name.lower() for name in entry.names},)
    )


LOAD_PATH = "/api/v1/models/load"
UNLOAD_PATH = "/api/v1/models/unload"
DOWNLOAD_PATH = "/api/v1/models/download"

# --- loaded models ----------------------------------------------------------------------------


def loaded_models(info: ModelInfo, now: datetime) -> List[LoadedModel]:
    """Return the copies of a model that are in memory, from its entry in either list.

    Args:
        info: The model; its raw record is the entry.
        now: Time of the response, to which the remaining seconds are added.
    """
    data = mapping(info.raw)
    found = [_parse_instance(item, info, now) for item in mappings(data.get("loaded_instances"))]
    if data.get("state") == "loaded":
        window = count(data.get("loaded_context_length"))
        found.append(
            LoadedModel(
                name=info.name,
                provider=info.provider,
                instance=info.name,
                context_length=window,
                raw=data,
                **weights_of(info),
            )
        )
    return found


def weights_of(info: ModelInfo) -> Dict[str, Any]:
    """Return the fields of a `LoadedModel` that describe the weights of a listed model.

    If the model has several variants, the quantization of a loaded copy is unknown
    (docs/reference/lmstudio.md, "Model lists").
    """
    several = len(texts(mapping(info.raw).get("variants"))) > 1
    return {
        "family": info.architecture,
        "quantization": None if several else info.quantization,
    }


def _parse_instance(data: Mapping[str, Any], info: ModelInfo, now: datetime) -> LoadedModel:
    return LoadedModel(
        name=info.name,
        provider=info.provider,
        instance=nonempty_text(data.get("id")),
        context_length=count(mapping(data.get("config")).get("context_length")),
        expires_at=_expiry(now, data.get("remaining_ttl_seconds")),
        raw=data,
        **weights_of(info),
    )


def _expiry(now: datetime, seconds: Any) -> Optional[datetime]:
    left_s = number(seconds)
    try:
        return None if left_s is None else now + timedelta(seconds=left_s)
    except (OverflowError, ValueError):
        return None


# --- load and unload --------------------------------------------------------------------------

_INTEGERS = ("context_length", "eval_batch_size", "num_experts", "parallel")


def configuration(**requested: Any) -> Dict[str, Any]:
    """Return the fields of a load request, without those that are None.

    Raises:
        ConfigurationError: A number is not an int or is below 1, or a switch is not a bool.
    """
    given = {name: value for name, value in requested.items() if value is not None}
    for name, value in given.items():
        if name not in _INTEGERS:
            if not isinstance(value, bool):
                raise ConfigurationError(f"{name} is {value!r}, and must be True or False")
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(
                f"{name} is {value!r}, and must be a whole number of at least 1"
                f"{suggest_number(name, value, least=1, is_whole=True)}"
            )
    return given


def load_payload(model: str, requested: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the body of a load request, which asks the server to report the configuration."""
    return {"model": model, **requested, "echo_load_config": True}


def parse_loaded(
    data: Mapping[str, Any], name: str, provider: str, requested: Mapping[str, Any]
) -> LoadedModel:
    """Parse the response to a load.

    Raises:
        ModelLoadError: The status in the response is not "loaded".
        ProtocolError: The response has no name of a copy.
    """
    instance = nonempty_text(data.get("instance_id")) or unexpected("'instance_id'")
    status = nonempty_text(data.get("status"))
    if status not in (None, "loaded"):
        raise ModelLoadError(f"the server returned status {status!r} for the load, not 'loaded'")
    config = mapping(data.get("load_config"))
    return LoadedModel(
        name=name,
        provider=provider,
        instance=instance,
        context_length=count(config.get("context_length")),
        load_s=number(data.get("load_time_seconds")),
        warnings=_describe_differences(config, requested),
        raw=data,
    )


def describe_differences(instance: LoadedModel, requested: Mapping[str, Any]) -> Tuple[str, ...]:
    """Return a warning for each value that a copy does not use, or the server does not report.

    An engine can ignore a value without an error
    (docs/reference/lmstudio.md, "Model management").
    """
    return _describe_differences(configuration_of(instance), requested)


def _describe_differences(
    config: Mapping[str, Any], requested: Mapping[str, Any]
) -> Tuple[str, ...]:
    lines = []
    for name, value in requested.items():
        if name not in config:
            lines.append(f"requested {name}={value!r}, but the server does not report the value")
        elif config[name] != value:
            lines.append(f"requested {name}={value!r}, but the server uses {config[name]!r}")
    return tuple(lines)


def matches(instance: LoadedModel, requested: Mapping[str, Any]) -> bool:
    """Return whether no reported value of a loaded copy differs from the requested one."""
    config = configuration_of(instance)
    return all(config.get(name, value) == value for name, value in requested.items())


def configuration_of(instance: LoadedModel) -> Mapping[str, Any]:
    """Return the configuration of a loaded copy, under the server's names."""
    return mapping(mapping(instance.raw).get("config"))


def unload_payload(instance: str) -> Dict[str, Any]:
    """Return the body of a request that unloads one copy."""
    return {"instance_id": instance}


def check_unloaded(data: Mapping[str, Any]) -> None:
    """Check the response to an unload.

    Raises:
        ProtocolError: The response has no name of a copy.
    """
    if not nonempty_text(data.get("instance_id")):
        unexpected("'instance_id'")


# --- download ---------------------------------------------------------------------------------


def download_payload(model: str, quantization: Optional[str]) -> Dict[str, Any]:
    """Return the body of a request that starts a download."""
    return {"model": model, **({"quantization": quantization} if quantization else {})}


def status_path(job_id: str) -> str:
    """Return the path for the status of a download.

    Raises:
        ConfigurationError: The id of the job cannot be a part of a path.
    """
    return f"{DOWNLOAD_PATH}/status/{path_part(job_id, 'job_id')}"


def parse_job(data: Any, rules: Sequence[Rule]) -> DownloadJob:
    """Parse a download job. A failed job can have an error text next to its status.

    Raises:
        ProviderError: The response is an error, is not a job, or has an id that cannot be a
            part of a path.
    """
    status = nonempty_text(data.get("status")) if isinstance(data, dict) else None
    if status is None:
        checked(data, rules)
        unexpected("'status' of a download")
    words, job_id = read_words(data), nonempty_text(data.get("job_id"))
    if job_id is not None:
        path_part(job_id, "the server's 'job_id'", ProtocolError)
    return DownloadJob(
        status=status,
        job_id=job_id,
        completed_bytes=count(data.get("downloaded_bytes")),
        total_bytes=count(data.get("total_size_bytes")),
        bytes_per_second=number(data.get("bytes_per_second")),
        started_at=parse_timestamp(data.get("started_at")),
        expected_at=parse_timestamp(data.get("estimated_completion")),
        completed_at=parse_timestamp(data.get("completed_at")),
        reason=words.text[:2000] if words and words.text else None,
        raw=data,
    )


def is_address(model: str) -> bool:
    """Return whether the model to download is named by an address, and not by a catalog name."""
    return "://" in model


def same_repository(model: str, key: str) -> bool:
    """Return whether a listed model seems to come from the downloaded address.

    The server does not report the key of a download. So the last part of the address is
    compared with the last part of the key, without the endings "gguf" and "mlx".
    """
    return _repository_name(model) == _repository_name(key)


def _repository_name(name: str) -> str:
    last = text(name).rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[-_.]?(gguf|mlx)$", "", last.partition("@")[0])


def is_possible_ttl(seconds: float) -> bool:
    """Return whether the server's field ``ttl`` can express an idle limit.

    The field is a whole number of seconds, so it cannot express "never" or less than one second
    (docs/reference/lmstudio.md, "Idle unloading").
    """
    return 1 <= seconds < math.inf


def ttl_payload(seconds: Optional[float]) -> Dict[str, int]:
    """Return the idle limit as a field of a request that may load a model."""
    return {} if seconds is None else {"ttl": int(seconds)}


def sent_ttl(payload: Mapping[str, Any]) -> Optional[float]:
    """Return the idle limit of a request; None if it has none."""
    return number(payload.get("ttl"))
