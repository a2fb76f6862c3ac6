"""The list of models, the properties of the server, and the events of its models."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union
from urllib.parse import quote

from localproviders._dialect.common import checked, unexpected
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.values import (
    count,
    integer,
    mapping,
    mappings,
    nonempty_text,
    number,
    texts,
)
from localproviders._http.framing import Look, no_look
from localproviders.capabilities import Evidence, detect
from localproviders.llamacpp.wire.errors import RULES
from localproviders.openai_compatible.wire import models as dialect
from localproviders.types.models import DownloadJob, LoadedModel, ModelInfo, Progress

#: The paths of the router, which manages several models (docs/reference/llamacpp.md, "Router").
LOAD_PATH, UNLOAD_PATH, MODELS_PATH, EVENTS_PATH = (
    "/models/load",
    "/models/unload",
    "/models",
    "/models/sse",
)
LIST_PATH = "/v1/models"

#: The states of a model of a router.
LOADED, UNLOADED, DOWNLOADING, SLEEPING = "loaded", "unloaded", "downloading", "sleeping"
#: The states in which a process of the router serves the model, or will soon.
RUNNING = (LOADED, "loading", SLEEPING)

_PROPERTIES = "GET /props"
_SLOTS = "total_slots"
_MODALITIES = ("vision", "audio")
_CAN_REASON = ("supports_preserve_reasoning", "supports_reasoning_effort")


def query(path: str, model: Optional[str], *, autoload: bool = True) -> str:
    """Return a path with the name of a model of a router as a parameter.

    Without `autoload`, the request does not load the model.
    """
    if model is None:
        return path
    return f"{path}?model={quote(model, safe='')}{'' if autoload else '&autoload=false'}"


# --- the list ---------------------------------------------------------------------------------


def parse_models(
    data: Any, provider: str, rules: Sequence[Rule], look: Look = no_look
) -> List[ModelInfo]:
    """Read the list of models.

    A server with one model reports no state, and its model is in memory.

    Raises:
        ProviderError: The response is an error, is too long, or is not a list of models; or a
            limit of the call expired, or the call was cancelled.
    """
    infos = dialect.parse_models(data, provider, rules, look)
    return [info.replace(loaded=state_of(info) in (None, LOADED)) for info in infos]


def parse_lists(
    data: Any, properties: Mapping[str, Any], look: Look = no_look
) -> Tuple[List[ModelInfo], List[LoadedModel]]:
    """Read the list of models; return all models, and the models in memory.

    The models do not name a provider yet.

    Args:
        data: The response.
        properties: The properties of the server; empty if they are not known.
        look: Function that checks the limits of the search.

    Raises:
        ProviderError: The response is not a list of models, or a limit expired.
    """
    infos = parse_models(data, "", RULES, look)
    if is_alone(infos) and is_sleeping(properties):
        infos = [info.replace(loaded=False) for info in infos]
    return infos, [loaded_model(info) for info in infos if info.loaded]


def is_alone(infos: List[ModelInfo]) -> bool:
    """Return whether the list is that of a server with one model, which is no router."""
    return bool(infos) and all(state_of(info) is None for info in infos)


def state_of(info: ModelInfo) -> Optional[str]:
    """Return the state of a model as a router writes it; None if the server has only one model."""
    return nonempty_text(_status(info).get("value"))


def exit_code(info: ModelInfo) -> Optional[int]:
    """Return the exit code of the process of a model whose load failed."""
    status = _status(info)
    return integer(status.get("exit_code")) if status.get("failed") else None


def has_failed(info: ModelInfo) -> bool:
    """Return whether the last load of a model failed."""
    return bool(_status(info).get("failed"))


def names_of(model: Union[ModelInfo, LoadedModel]) -> Tuple[str, ...]:
    """Return the name of a model, and its other names."""
    return (model.name, *texts(mapping(model.raw).get("aliases")))


def _status(info: ModelInfo) -> Mapping[str, Any]:
    return mapping(mapping(info.raw).get("status"))


def loaded_model(info: ModelInfo, load_s: Optional[float] = None) -> LoadedModel:
    """Return the description of a model in memory."""
    known = info.capabilities
    return LoadedModel(
        name=info.name,
        provider=info.provider,
        quantization=known.quantization,
        context_length=known.loaded_context_length,
        load_s=load_s,
        raw=info.raw,
    )


def serves(loaded: LoadedModel, model: str) -> bool:
    """Return whether a model in memory answers requests for a name.

    A server with one model answers for every name.
    """
    is_alone = not mapping(mapping(loaded.raw).get("status"))
    return is_alone or model in names_of(loaded)


def download_of(info: ModelInfo) -> DownloadJob:
    """Return the progress of the download of a model, summed over all its files."""
    state = state_of(info) or ""
    files = [mapping(each) for each in mapping(_status(info).get("progress")).values()]
    done = [found for found in (count(each.get("done")) for each in files) if found is not None]
    totals = [found for found in (count(each.get("total")) for each in files) if found]
    return DownloadJob(
        status=state if state == DOWNLOADING else "completed",
        job_id=info.name,
        completed_bytes=sum(done) if done else None,
        total_bytes=sum(totals) if totals and len(totals) == len(files) else None,
        raw=info.raw,
    )


# --- properties -------------------------------------------------------------------------------


def parse_properties(data: Any, rules: Sequence[Rule]) -> Mapping[str, Any]:
    """Return the properties of the server.

    Raises:
        ProviderError: The response is an error, or is not an object.
    """
    return checked(data, rules)


def is_router(properties: Mapping[str, Any]) -> bool:
    """Return whether the properties are those of a router, which serves several models."""
    return properties.get("role") == "router"


def is_sleeping(properties: Mapping[str, Any]) -> bool:
    """Return whether the server sleeps: its model is not in memory until the next request."""
    return properties.get("is_sleeping") is True


def version_of(properties: Mapping[str, Any]) -> str:
    """Return the version of the server as the server writes it.

    Raises:
        ProtocolError: The properties have no version.
    """
    return nonempty_text(properties.get("build_info")) or unexpected("'build_info'")


def parse_slots(data: Any, rules: Sequence[Rule]) -> List[Mapping[str, Any]]:
    """Return the slots of a model, each of which answers one request at a time.

    Raises:
        ProviderError: The response is an error, or is not a list.
    """
    if not isinstance(data, list):
        checked(data, rules)
        unexpected("list of slots")
    return mappings(data)


def with_properties(info: ModelInfo, properties: Mapping[str, Any]) -> ModelInfo:
    """Return a model with the facts in the properties of its server.

    The number of slots has no field, so it is added to `raw`.
    """
    listed = mapping(info.raw)
    evidence = [dialect.evidence_of(listed), _evidence(properties)]
    raw = {**listed, _SLOTS: properties[_SLOTS]} if _SLOTS in properties else listed
    is_loaded = info.loaded and not is_sleeping(properties)
    return info.replace(capabilities=detect(info.name, *evidence), loaded=is_loaded, raw=raw)


def slots_of(info: ModelInfo) -> Optional[int]:
    """Return how many requests for a model can run at the same time; None if this is unknown."""
    return count(mapping(info.raw).get(_SLOTS)) or None


def _evidence(properties: Mapping[str, Any]) -> Evidence:
    template = mapping(properties.get("chat_template_caps"))
    said, known = _reported(properties, template)
    follows: Dict[str, Tuple[Any, str]] = {}
    for name in _CAN_REASON:
        if template.get(name) is True:
            follows["thinking"] = (True, f"{_PROPERTIES}: chat_template_caps.{name} is true")
    defaults = mapping(properties.get("default_generation_settings"))
    return Evidence(
        detail=_PROPERTIES,
        can=frozenset(name for name, value in known.items() if value),
        cannot=frozenset(name for name, value in known.items() if not value),
        said=said,
        facts={
            "loaded_context_length": integer(defaults.get("n_ctx")),
            "quantization": nonempty_text(properties.get("model_ftype")),
        },
        follows=follows,
    )


def _reported(
    properties: Mapping[str, Any], template: Mapping[str, Any]
) -> Tuple[Dict[str, str], Dict[str, bool]]:
    """Return, for each ability that the server reports, the report as text and the value."""
    modalities = mapping(properties.get("modalities"))
    sources = [(name, "modalities", name, modalities) for name in _MODALITIES]
    # If the template does not support tools, llama.cpp itself describes them in the prompt. So
    # tools can be used even then.
    sources.append(("tools_trained", "chat_template_caps", "supports_tools", template))
    said: Dict[str, str] = {}
    known: Dict[str, bool] = {}
    for ability, field, name, values in sources:
        value = values.get(name)
        if isinstance(value, bool):
            said[ability], known[ability] = f"{field}.{name} is {str(value).lower()}", value
    return said, known


# --- events -----------------------------------------------------------------------------------


class Event(NamedTuple):
    """An event of a model of a router.

    Attributes:
        model: Name of the model.
        state: State of the model; None for an event about something else.
        progress: The report for the caller.
        is_last_step: Whether the last stage of a load is complete.
    """

    model: Optional[str]
    state: Optional[str]
    progress: Progress
    is_last_step: bool


def parse_event(data: Any) -> Event:
    """Read one event. On old servers, the events of a load have other names but the same fields."""
    event = mapping(data)
    facts = mapping(event.get("data"))
    state, steps = nonempty_text(facts.get("status")), mapping(facts.get("progress"))
    step, fraction = nonempty_text(steps.get("current")), number(steps.get("value"))
    return Event(
        model=nonempty_text(event.get("model")),
        state=state,
        progress=Progress(
            status=f"{state or ''}{f' {step}' if step else ''}",
            fraction=fraction,
            raw=event,
        ),
        is_last_step=fraction == 1.0 and step in (None, *texts(steps.get("stages"))[-1:]),
    )


def model_payload(model: str) -> Dict[str, Any]:
    """Return the JSON of a request about one model of a router."""
    return {"model": model}


def check_success(data: Any, rules: Sequence[Rule]) -> None:
    """Check that a request about a model succeeded.

    Raises:
        ProviderError: The response is an error.
    """
    if checked(data, rules).get("success") is not True:
        unexpected("'success'")
