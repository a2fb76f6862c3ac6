"""What LM Studio's lists say about a model: the part of `wire` that reads facts.

The sections are those of lmstudio-api.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Tuple

from localproviders._values import count, mapping, mappings, word, words
from localproviders.capabilities import Evidence

# What the kind of a model says, in each list; another kind says nothing.
_NEW_KINDS: Mapping[Optional[str], Mapping[str, bool]] = {
    "llm": {"chat": True, "embeddings": False},
    "embedding": {"chat": False, "embeddings": True},
}
_OLD_KINDS: Mapping[Optional[str], Mapping[str, bool]] = {
    "llm": {"chat": True, "vision": False, "embeddings": False},
    "vlm": {"chat": True, "vision": True, "embeddings": False},
    "embeddings": {"chat": False, "vision": False, "embeddings": True},
}

# Any model can call tools: where it was not trained to, the server explains them (§5.1).
_FALLBACK = (True, "not trained for tools; the server explains them in the prompt")
_TRAINED = (True, "trained for tools")


def of_entry(data: Mapping[str, Any]) -> Evidence:
    """Read an entry of ``/api/v1/models`` (§2.11)."""
    flags = dict(_NEW_KINDS.get(word(data.get("type")), {}))
    said = {name: f"type is {data.get('type')}" for name in flags}
    if flags.get("chat"):
        abilities = mapping(data.get("capabilities"))
        for ours, theirs in (("vision", "vision"), ("tools_trained", "trained_for_tool_use")):
            if isinstance(abilities.get(theirs), bool):
                flags[ours] = abilities[theirs]
                said[ours] = f"{theirs} is {str(abilities[theirs]).lower()}"
    reasoning = mapping(mapping(data.get("capabilities")).get("reasoning"))
    if reasoning:  # where it is absent, the server exposes no switch: that denies nothing
        flags["thinking"] = True
    return Evidence(
        detail="GET /api/v1/models",
        **_by_flag(flags),
        said=said,
        follows=_tools(flags),
        facts={
            "max_context_length": count(data.get("max_context_length")),
            "loaded_context_length": _loaded_window(data),
            "thinking_levels": tuple(words(reasoning.get("allowed_options"))),
            "thinking_default": word(reasoning.get("default")),
            "architecture": word(data.get("architecture")),
            "parameter_size": word(data.get("params_string")),
            "quantization": word(mapping(data.get("quantization")).get("name")),
            "format": word(data.get("format")),
            "size_bytes": count(data.get("size_bytes")),
        },
    )


def of_old_entry(data: Mapping[str, Any]) -> Evidence:
    """Read an entry of ``/api/v0/models`` (§2.8)."""
    flags = dict(_OLD_KINDS.get(word(data.get("type")), {}))
    said = dict.fromkeys(flags, f"type is {data.get('type')}")
    # The list of an embedding model can name tool_use (§5.1): its kind counts first. Where
    # the word is missing, the server may be older than the word.
    if flags.get("chat") and "tool_use" in words(data.get("capabilities")):
        flags["tools_trained"] = True
    return Evidence(
        detail="GET /api/v0/models",
        **_by_flag(flags),
        said=said,
        follows=_tools(flags),
        facts={
            "max_context_length": count(data.get("max_context_length")),
            "loaded_context_length": count(data.get("loaded_context_length")),
            "architecture": word(data.get("arch")),
            "quantization": word(data.get("quantization")),
            "format": word(data.get("compatibility_type")),
        },
    )


def _by_flag(flags: Mapping[str, bool]) -> Dict[str, Any]:
    return {
        "can": frozenset(name for name, flag in flags.items() if flag),
        "cannot": frozenset(name for name, flag in flags.items() if not flag),
    }


def _tools(flags: Mapping[str, bool]) -> Mapping[str, Tuple[bool, str]]:
    """Conclude whether tools can be given; that a model was not trained denies nothing."""
    if not flags.get("chat"):
        return {}
    return {"tools": _TRAINED if flags.get("tools_trained") else _FALLBACK}


def _loaded_window(data: Mapping[str, Any]) -> Optional[int]:
    """Give the window of the instance that the model's key leads to, else of the first."""
    instances = mappings(data.get("loaded_instances"))
    own = [item for item in instances if item.get("id") == data.get("key")]
    chosen = (own or instances or [{}])[0]
    return count(mapping(chosen.get("config")).get("context_length"))
