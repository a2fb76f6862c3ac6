"""What Ollama's answers say about a model (the sections are those of ollama-api)."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Mapping, Optional, Tuple

from localproviders._values import mapping, whole, word, words
from localproviders.capabilities import Evidence, detect
from localproviders.ollama.names import is_cloud
from localproviders.ollama.wire.places import remote_host
from localproviders.types.model import ModelCapabilities

# The server's words for what a model can do, and ours (§6.1).
_ABILITIES = {
    "completion": ("chat", "completion"),
    "tools": ("tools",),
    "insert": ("insert",),
    "vision": ("vision",),
    "audio": ("audio",),
    "embedding": ("embeddings",),
    "thinking": ("thinking",),
}
_EVERY = frozenset(ours for several in _ABILITIES.values() for ours in several)

_Conclusions = Mapping[str, Tuple[Any, str]]


def capabilities(
    name: str,
    *,
    tags: Optional[Mapping[str, Any]] = None,
    show: Optional[Mapping[str, Any]] = None,
    ps: Optional[Mapping[str, Any]] = None,
) -> ModelCapabilities:
    """Say what a model is and can do from what the server says of it.

    The list's shortcut can lack abilities that the details have (§6.2): only the details
    deny anything.

    Args:
        name: The name that was asked for.
        tags: Its entry in ``/api/tags``.
        show: The answer of ``/api/show``.
        ps: Its entry in ``/api/ps``, which alone has the window that is allocated (§6.3).
    """
    evidence = []
    if tags is not None:
        evidence.append(_tags(name, tags))
    if show is not None:
        evidence.append(_show(name, show))
    if ps is not None:
        facts = {"loaded_context_length": whole(ps.get("context_length"))}
        evidence.append(Evidence(detail="GET /api/ps", facts=facts))
    return detect(name, *evidence)


def _tags(name: str, data: Mapping[str, Any]) -> Evidence:
    details = mapping(data.get("details"))
    host = remote_host(data)
    numbers = {
        "max_context_length": whole(details.get("context_length")),
        "embedding_length": whole(details.get("embedding_length")),
        # A stub has no weights, and its size is none of the model's (§6.5).
        "size_bytes": None if host else whole(data.get("size")),
    }
    detail = "GET /api/tags"
    return Evidence(
        detail=detail,
        can=_can(data),
        facts={**_details(details), **numbers, **_place(host)},
        follows=_follows(name, detail, host, details),
    )


def _show(name: str, data: Mapping[str, Any]) -> Evidence:
    details, info = mapping(data.get("details")), mapping(data.get("model_info"))
    # The exact keys: a multimodal file has <arch>.vision.embedding_length too (§6.3).
    prefix = f"{info.get('general.architecture')}."
    numbers = {
        "max_context_length": whole(info.get(prefix + "context_length")),
        "embedding_length": whole(info.get(prefix + "embedding_length")),
        "parameter_count": whole(info.get("general.parameter_count")),
    }
    host, detail = remote_host(data), "POST /api/show"
    can, listed = _can(data), words(data.get("capabilities"))
    said = f"its capabilities are {', '.join(listed)}"
    return Evidence(
        detail=detail,
        can=can,
        # Older servers have no such list at all: they deny nothing.
        cannot=_EVERY - can if listed else frozenset(),
        said=dict.fromkeys(_EVERY, said),
        facts={
            "architecture": word(info.get("general.architecture")),
            **_details(details),
            **numbers,
            **_thinking(data),
            **_place(host),
        },
        follows=_follows(name, detail, host, details),
    )


def _can(data: Mapping[str, Any]) -> FrozenSet[str]:
    listed = words(data.get("capabilities"))
    return frozenset(ours for theirs in listed for ours in _ABILITIES.get(theirs, ()))


def _details(details: Mapping[str, Any]) -> Dict[str, Any]:
    """Read what is the same in list and details; what is empty is left out (§6.4)."""
    quantization = word(details.get("quantization_level"))
    found = {
        "architecture": word(details.get("family")),
        "parameter_size": word(details.get("parameter_size")),
        "quantization": None if quantization == "unknown" else quantization,
        "format": word(details.get("format")),
    }
    return {name: value for name, value in found.items() if value}


def _thinking(data: Mapping[str, Any]) -> Dict[str, Any]:
    """Read the levels, which later servers give (Appendix B)."""
    said = mapping(data.get("thinking"))
    values = said.get("values")
    levels = map(_level, values) if isinstance(values, list) else ()
    return {
        "thinking_levels": tuple(level for level in levels if level),
        "thinking_default": _level(said.get("default")),
    }


def _level(value: Any) -> Optional[str]:
    """Give a level in our words: `think` is switched with true and false."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return word(value)


def _place(host: Optional[str]) -> Dict[str, Any]:
    return {"remote": True, "remote_host": host} if host else {}


def _follows(
    name: str, detail: str, host: Optional[str], details: Mapping[str, Any]
) -> _Conclusions:
    """Conclude where it runs, and whether a schema is enforced there (§4.2, §4.4, §6.5)."""
    remote = host is not None or is_cloud(name)
    reason = f"the name {name!r}" if is_cloud(name) else f"{detail} names no other host"
    found: Dict[str, Tuple[Any, str]] = {"remote": (remote, reason)}
    if remote:
        found["structured_output"] = (False, "the cloud does not enforce a schema")
    elif word(details.get("format")) == "safetensors":
        found["structured_output"] = (False, "safetensors models ignore a schema")
    return found
