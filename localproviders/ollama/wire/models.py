"""Translation of Ollama's JSON to facts about its models.

This module reads the lists of installed and loaded models, and the details of a model. It infers
the abilities of a model, with the evidence for each.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, Dict, FrozenSet, List, Mapping, Match, Optional, Tuple

from localproviders._dialect.common import tell_apart, unexpected
from localproviders._dialect.values import (
    integer,
    mapping,
    mappings,
    nonempty_text,
    parse_timestamp,
    texts,
)
from localproviders._http.framing import MOST_LINES, Look, Tally, no_look
from localproviders.capabilities import Evidence, detect
from localproviders.errors import ProtocolError
from localproviders.ollama.names import ModelDetails, is_cloud
from localproviders.ollama.wire.requests import memory_fields
from localproviders.ollama.wire.responses import checked, name_of, read_records, remote_host
from localproviders.types.messages import Message
from localproviders.types.models import LoadedModel, ModelCapabilities, ModelInfo

# The server's names of abilities, and the names in this package
# (docs/reference/ollama.md, "Capabilities").
_ABILITIES = {
    "completion": ("chat", "completion"),
    "tools": ("tools",),
    "insert": ("insert",),
    "vision": ("vision",),
    "audio": ("audio",),
    "embedding": ("embeddings",),
    "thinking": ("thinking",),
    "decision": ("decision",),
    "image": ("image_generation",),
}
# `decision` is left out. Older servers never list it, and some servers let a chat model answer
# decision requests without listing it (docs/reference/ollama.md, "Capabilities").
_ALL_ABILITIES = frozenset(
    ability for names in _ABILITIES.values() for ability in names if ability != "decision"
)

_Conclusions = Mapping[str, Tuple[Any, str]]

# The runner, the process in which Ollama runs a model, allocates a multiple of this number of
# tokens (docs/reference/ollama.md, "Context window").
_WINDOW_STEP = 256


def allocated_window(reported: Optional[int]) -> Optional[int]:
    """Return the tokens that the runner allocates for a context window.

    Args:
        reported: The window that the server reports in ``/api/ps``: the requested window, or the
            trained window if that is smaller. None, or a number below 1, means unknown.
    """
    if reported is None or reported < 1:
        return None
    return -(-reported // _WINDOW_STEP) * _WINDOW_STEP


def capabilities(
    name: str,
    *,
    tags: Optional[Mapping[str, Any]] = None,
    show: Optional[Mapping[str, Any]] = None,
    ps: Optional[Mapping[str, Any]] = None,
) -> ModelCapabilities:
    """Return a model's facts and abilities from the server's records about it.

    The record in ``/api/tags`` can lack abilities that ``/api/show`` reports, so only
    ``/api/show`` is evidence that a model lacks an ability
    (docs/reference/ollama.md, "Capabilities").

    Args:
        name: Name of the model.
        tags: Record of the model in ``/api/tags``.
        show: Response of ``/api/show``.
        ps: Record of the model in ``/api/ps``. Only this record has the allocated window.
    """
    evidence = []
    if tags is not None:
        evidence.append(_evidence_from_tags(name, tags))
    if show is not None:
        evidence.append(_evidence_from_show(name, show))
    if ps is not None:
        evidence.append(_evidence_from_ps(ps))
    return detect(name, *evidence)


def _evidence_from_ps(data: Mapping[str, Any]) -> Evidence:
    reported, detail = integer(data.get("context_length")), "GET /api/ps"
    window = allocated_window(reported)
    if window is None:
        return Evidence(detail=detail)
    if window == reported:
        return Evidence(detail=detail, facts={"loaded_context_length": window})
    reason = f"{detail} reports {reported}, and Ollama allocates a multiple of {_WINDOW_STEP}"
    return Evidence(detail=detail, follows={"loaded_context_length": (window, reason)})


def _evidence_from_tags(name: str, data: Mapping[str, Any]) -> Evidence:
    details = mapping(data.get("details"))
    host = remote_host(data)
    numbers = {
        "max_context_length": integer(details.get("context_length")),
        "embedding_length": integer(details.get("embedding_length")),
        # A stub has no weights, so its size is not the size of the model.
        "size_bytes": None if host else integer(data.get("size")),
    }
    detail = "GET /api/tags"
    return Evidence(
        detail=detail,
        can=_read_abilities(data),
        facts={**_read_details(details), **numbers, **_remote_facts(host)},
        follows={**_conclusions(name, detail, host, details), **_other_kinds(detail, data)},
    )


def _evidence_from_show(name: str, data: Mapping[str, Any]) -> Evidence:
    details, info = mapping(data.get("details")), mapping(data.get("model_info"))
    # Complete metadata keys are looked up, not their endings: a multimodal file also has
    # <arch>.vision.embedding_length (docs/reference/ollama.md, "Model metadata").
    prefix = f"{info.get('general.architecture')}."
    numbers = {
        "max_context_length": integer(info.get(prefix + "context_length")),
        "embedding_length": integer(info.get(prefix + "embedding_length")),
        "parameter_count": integer(info.get("general.parameter_count")),
    }
    host, detail = remote_host(data), "POST /api/show"
    can, listed = _read_abilities(data), texts(data.get("capabilities"))
    said = f"its capabilities are {', '.join(listed)}"
    return Evidence(
        detail=detail,
        can=can,
        # Older servers do not send this list. Without it, no ability is ruled out.
        cannot=_ALL_ABILITIES - can if listed else frozenset(),
        said=dict.fromkeys(_ALL_ABILITIES, said),
        facts={
            "architecture": nonempty_text(info.get("general.architecture")),
            **_read_details(details),
            **numbers,
            **_read_thinking(data),
            **_remote_facts(host),
        },
        follows={**_conclusions(name, detail, host, details), **_other_kinds(detail, data)},
    )


def _other_kinds(detail: str, data: Mapping[str, Any]) -> Dict[str, Tuple[Any, str]]:
    """Infer that a model cannot rank documents and, usually, that it cannot answer decisions.

    The second conclusion needs a list of the model's abilities. If this list contains
    ``decision``, the reported ability has priority over the conclusion.
    """
    listed = texts(data.get("capabilities"))
    found: Dict[str, Tuple[Any, str]] = {"rerank": (False, "Ollama cannot rank documents")}
    if listed:
        found["decision"] = (False, f"{detail}: its capabilities are {', '.join(listed)}")
    return found


def _read_abilities(data: Mapping[str, Any]) -> FrozenSet[str]:
    listed = texts(data.get("capabilities"))
    return frozenset(ours for theirs in listed for ours in _ABILITIES.get(theirs, ()))


def _read_details(details: Mapping[str, Any]) -> Dict[str, Any]:
    """Read facts from the object ``details``; omit empty values.

    The model list, the response of ``/api/show`` and the list of loaded models contain it.
    """
    quantization = nonempty_text(details.get("quantization_level"))
    found = {
        "architecture": nonempty_text(details.get("family")),
        "parameter_size": nonempty_text(details.get("parameter_size")),
        "quantization": None if quantization == "unknown" else quantization,
        "format": nonempty_text(details.get("format")),
    }
    return {name: value for name, value in found.items() if value}


def _read_thinking(data: Mapping[str, Any]) -> Dict[str, Any]:
    """Read the thinking levels, which newer servers report."""
    # Described in docs/reference/ollama.md, "Model details".
    thinking = mapping(data.get("thinking"))
    values = thinking.get("values")
    levels = map(_level_name, values) if isinstance(values, list) else ()
    return {
        "thinking_levels": tuple(level for level in levels if level),
        "thinking_default": _level_name(thinking.get("default")),
    }


def _level_name(value: Any) -> Optional[str]:
    """Return this package's name of a level; the server also uses true and false."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return nonempty_text(value)


def _remote_facts(host: Optional[str]) -> Dict[str, Any]:
    return {"remote": True, "remote_host": host} if host else {}


def _conclusions(
    name: str, detail: str, host: Optional[str], details: Mapping[str, Any]
) -> _Conclusions:
    """Infer whether the model runs in the cloud, and whether the server enforces a schema.

    Described in docs/reference/ollama.md, "Cloud models" and "Structured output".
    """
    remote = host is not None or is_cloud(name)
    reason = f"the name {name!r}" if is_cloud(name) else f"{detail} names no other host"
    found: Dict[str, Tuple[Any, str]] = {"remote": (remote, reason)}
    if remote:
        found["structured_output"] = (False, "the cloud does not enforce a schema")
    elif nonempty_text(details.get("format")) == "safetensors":
        found["structured_output"] = (False, "safetensors models ignore a schema")
    return found


# An expiry in this year or later means that the model is kept for ever: the server then reports a
# date about 292 years in the future (docs/reference/ollama.md, "Loaded models").
_UNLIMITED_YEAR = 2200


def parse_version(data: Any) -> str:
    """Read the server's version.

    Raises:
        ProviderError: The response is an error, or has no version.
    """
    version = nonempty_text(checked(data).get("version"))
    if version is None:
        unexpected("'version' string")
    return version


def parse_cloud_disabled(data: Any) -> Optional[bool]:
    """Read whether the server's cloud models are switched off; None if it does not report this.

    Raises:
        ProviderError: The response is an error, or not an object.
    """
    disabled = mapping(checked(data).get("cloud")).get("disabled")
    return disabled if isinstance(disabled, bool) else None


# --- lists ---------------------------------------------------------------------------------


def parse_models(data: Any, provider: str, look: Look = no_look) -> List[ModelInfo]:
    """Read the list of installed models (docs/reference/ollama.md, "Model list").

    Raises:
        ProviderError: The response is an error, not a list of models, or too long; or a limit
            of the call expired, or the call was cancelled.
    """
    return tell_apart(_model_info(model, provider) for model in read_records(data, look))


def _model_info(data: Mapping[str, Any], provider: str) -> ModelInfo:
    name = name_of(data)
    return ModelInfo(
        name=name,
        provider=provider,
        digest=nonempty_text(data.get("digest")),
        runner=nonempty_text(data.get("runner")),
        modified_at=parse_timestamp(data.get("modified_at")),
        capabilities=capabilities(name, tags=data),
        raw=data,
    )


def parse_details(data: Any, model: str, provider: str) -> ModelInfo:
    """Read the facts about one model from the response of ``/api/show``.

    Raises:
        ProviderError: The response is an error, or not an object.
    """
    data = checked(data)
    return ModelInfo(
        name=model,
        provider=provider,
        modified_at=parse_timestamp(data.get("modified_at")),
        capabilities=capabilities(model, show=data),
        raw=data,
    )


def parse_loaded(data: Any, provider: str, look: Look = no_look) -> List[LoadedModel]:
    """Read the list of models in memory (docs/reference/ollama.md, "Loaded models").

    Raises:
        ProviderError: The response is an error, not a list of models, or too long; or a limit
            of the call expired, or the call was cancelled.
    """
    return [_loaded_model(model, provider) for model in read_records(data, look)]


def _loaded_model(data: Mapping[str, Any], provider: str) -> LoadedModel:
    details = _read_details(mapping(data.get("details")))
    return LoadedModel(
        name=name_of(data),
        provider=provider,
        digest=nonempty_text(data.get("digest")),
        family=details.get("architecture"),
        quantization=details.get("quantization"),
        context_length=integer(data.get("context_length")) or None,
        size_bytes=integer(data.get("size")),
        # Some versions omit a zero, which means that the model is in main memory only.
        vram_bytes=integer(data.get("size_vram")) or 0,
        expires_at=_expiry(data.get("expires_at")),
        raw=data,
    )


def _expiry(value: Any) -> Optional[datetime]:
    found = parse_timestamp(value)
    return found if found is not None and 1 < found.year < _UNLIMITED_YEAR else None


def empty_chat_payload(
    model: str,
    context_length: Optional[int],
    keep_alive_s: Optional[float],
    *,
    fixed_window: bool = False,
) -> Dict[str, Any]:
    """Return the JSON of a chat without messages, which loads or unloads a model.

    The request also restarts the keep-alive timer of a loaded model
    (docs/reference/ollama.md, "Chat").

    Args:
        model: Name of the model.
        context_length: Context window, in tokens; None is not sent.
        keep_alive_s: Seconds until the model is unloaded; None is not sent.
        fixed_window: Whether the model is loaded with a window that does not slide. A chat asks for
            such a window if it sets `context_length`
            (docs/reference/ollama.md, "Context window").
    """
    payload: Dict[str, Any] = {"model": model, "messages": [], "stream": False}
    if fixed_window:
        payload["shift"] = False
    return {**payload, **memory_fields(context_length, keep_alive_s)}


def empty_embed_payload(
    model: str, context_length: Optional[int], keep_alive_s: Optional[float]
) -> Dict[str, Any]:
    """Return the JSON of an embedding request without texts, which loads a model."""
    return {"model": model, "input": [], **memory_fields(context_length, keep_alive_s)}


def check_empty_chat(data: Any, reason: str) -> Mapping[str, Any]:
    """Return the response if it confirms that the model was loaded or unloaded.

    Args:
        data: Response to a chat without messages.
        reason: The expected ``done_reason``: ``load`` or ``unload``. A response without a reason
            is accepted as well, because Ollama's documentation shows such a response.

    Raises:
        ProviderError: The response is an error, or does not confirm the load or the unload.
    """
    answer = checked(data)
    if answer.get("done") is not True or answer.get("done_reason", reason) != reason:
        raise ProtocolError(f"the server did not confirm that it {reason}ed the model")
    return answer


def check_empty_embed(data: Any) -> Mapping[str, Any]:
    """Return the response to an embedding request without texts, if it has no vectors.

    Raises:
        ProviderError: The response is an error, or contains vectors.
    """
    answer = checked(data)
    if answer.get("embeddings") != []:
        unexpected("empty 'embeddings' list")
    return answer


# --- details --------------------------------------------------------------------------------


def merge_facts(
    shown: ModelInfo, listed: Optional[ModelInfo], loaded: Optional[LoadedModel] = None
) -> ModelInfo:
    """Return the facts from a model's details, and the facts that only the lists have.

    Args:
        shown: The model, from its details.
        listed: The model in the list of installed models, or None.
        loaded: The model in the list of loaded models, or None.
    """
    tags = None if listed is None else listed.raw
    ps = None if loaded is None else loaded.raw
    name = shown.name if listed is None else listed.name
    shown = shown.replace(capabilities=capabilities(name, tags=tags, show=shown.raw, ps=ps))
    if listed is None:
        return shown
    return shown.replace(
        name=name,
        digest=listed.digest,
        runner=listed.runner,
        modified_at=shown.modified_at or listed.modified_at,
    )


def show_payload(model: str, verbose: bool = False) -> Dict[str, Any]:
    """Return the JSON of a request for a model's details."""
    return {"model": model, **({"verbose": True} if verbose else {})}


def parse_files(data: Any) -> FrozenSet[str]:
    """Read from a model's Modelfile the digests of the files from which the model is loaded.

    The result is empty for a stub, or if the server does not report the files.

    Raises:
        ProviderError: The response is an error, or not an object.
    """
    lines = nonempty_text(checked(data).get("modelfile")) or ""
    return frozenset(re.findall(r"(?m)^(?:FROM|ADAPTER) .*(sha256[-:][0-9a-f]{64})\s*$", lines))


def parse_show(data: Any, info: ModelInfo, look: Look = no_look) -> ModelDetails:
    """Read all details of a model (docs/reference/ollama.md, "Model details").

    Raises:
        ProviderError: The response is an error, not an object, or has too many parameters or
            messages; or a limit of the call expired, or the call was cancelled.
    """
    data = checked(data)
    details = mapping(data.get("details"))
    return ModelDetails(
        info=info,
        license=nonempty_text(data.get("license")),
        template=nonempty_text(data.get("template")),
        system=nonempty_text(data.get("system")),
        renderer=nonempty_text(data.get("renderer")),
        parser=nonempty_text(data.get("parser")),
        parameters=parse_parameters(nonempty_text(data.get("parameters")) or "", look),
        messages=_messages(data.get("messages"), look),
        modelfile=nonempty_text(data.get("modelfile")),
        metadata=mapping(data.get("model_info")),
        projector=mapping(data.get("projector_info")),
        families=tuple(texts(details.get("families"))),
        parent_model=nonempty_text(details.get("parent_model")),
        requires=nonempty_text(data.get("requires")),
        raw=data,
    )


def _messages(data: Any, look: Look) -> Tuple[Message, ...]:
    tally = Tally("messages of a model", MOST_LINES, look)
    known = ("system", "user", "assistant", "tool")
    found: List[Message] = []
    for item in mappings(data):
        tally.add()
        role, content = nonempty_text(item.get("role")), nonempty_text(item.get("content"))
        if role in known:
            found.append(Message.from_dict({"role": role, "content": content or ""}))
    return tuple(found)


def parse_parameters(lines: str, look: Look = no_look) -> Dict[str, Any]:
    """Read a model's parameters: one per line, in the notation of Go, in any order.

    Return a mapping from names to numbers, strings and booleans. The value of ``stop``, and of
    every parameter that occurs more than once, is a list.

    Raises:
        ProviderError: There are too many parameters; or a limit of the call expired, or the call
            was cancelled.
    """
    found: Dict[str, List[Any]] = {}
    tally = Tally("parameters of a model", MOST_LINES, look)
    for line in lines.split("\n", MOST_LINES):
        tally.add()
        name, _, value = line.strip().partition(" ")
        if name:
            found.setdefault(name, []).append(_go_value(value.strip()))
    return {
        name: values if name == "stop" or len(values) > 1 else values[0]
        for name, values in found.items()
    }


def _go_value(value: str) -> Any:
    """Read a value as Go writes it: ``1.048576e+06`` is an integer, and ``"x"`` is a string."""
    if re.fullmatch(r"-?\d{1,300}", value):
        return int(value)
    if re.fullmatch(r"-?\d{1,300}(\.\d{1,300})?(e[+-]?\d{1,3})?", value):
        number = float(value)
        return int(number) if "e+" in value and number.is_integer() else number
    if value in ("true", "false"):
        return value == "true"
    return _go_text(value)


# Maximum length of a string whose escapes are decoded: decoding needs 60 bytes of memory for each
# escape. A stop sequence, the usual string, is much shorter.
_LONGEST_TEXT = 64 * 1024


def _go_text(value: str) -> str:
    if len(value) < 2 or value[0] + value[-1] != '""':
        return value
    if len(value) > _LONGEST_TEXT:
        return value[1:-1]
    try:
        # Go has more escapes than JSON. Escapes that JSON does not have are kept as written.
        return str(json.loads(re.sub(r"\\(.)", _json_escape, value), strict=False))
    except ValueError:
        return value[1:-1]


def _json_escape(found: Match[str]) -> str:
    return found.group() if found.group(1) in '"\\/bfnrtu' else "\\" + found.group()
