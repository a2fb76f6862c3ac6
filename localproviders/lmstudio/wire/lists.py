"""What LM Studio lists: its models, by all their names."""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._values import mapping, mappings, whole, word, words
from localproviders.capabilities import Evidence, detect
from localproviders.types.model import ModelInfo


class Entry(NamedTuple):
    """One model of a list, with every name that it answers under.

    Attributes:
        info: The model.
        names: Key, variants and loaded instances.
    """

    info: ModelInfo
    names: Tuple[str, ...]


def parse_models(data: Mapping[str, Any], provider: str) -> Optional[List[Entry]]:
    """Read ``/api/v1/models``; None where this is no such list (lmstudio-api §2.11)."""
    models = data.get("models")
    if not isinstance(models, list):
        return None
    return [_v1_entry(model, provider) for model in mappings(models)]


def _v1_entry(data: Mapping[str, Any], provider: str) -> Entry:
    key = str(data.get("key") or "")
    instances = mappings(data.get("loaded_instances"))
    quantization = mapping(data.get("quantization"))
    info = ModelInfo(
        name=key,
        provider=provider,
        size_bytes=whole(data.get("size_bytes")),
        architecture=word(data.get("architecture")),
        parameter_size=word(data.get("params_string")),
        quantization=word(quantization.get("name")),
        format=word(data.get("format")),
        loaded=bool(instances),
        capabilities=detect(key, _v1_evidence(data, instances)),
        raw=data,
    )
    variants = words(data.get("variants"))
    return Entry(info, (key, *variants, *(str(item.get("id")) for item in instances)))


def _v1_evidence(data: Mapping[str, Any], instances: List[Mapping[str, Any]]) -> Evidence:
    kind = data.get("type")
    said = mapping(data.get("capabilities"))
    flags = {
        "chat": kind == "llm",
        "embeddings": kind == "embedding",
        "vision": said.get("vision"),
        "tools": said.get("trained_for_tool_use"),
        "thinking": bool(said.get("reasoning")) or None,
    }
    config = instances[0].get("config") if instances else None
    loaded = config.get("context_length") if isinstance(config, dict) else None
    return Evidence(
        detail="GET /api/v1/models",
        can=frozenset(name for name, flag in flags.items() if flag is True),
        cannot=frozenset(name for name, flag in flags.items() if flag is False),
        numbers={
            "max_context_length": whole(data.get("max_context_length")),
            "loaded_context_length": whole(loaded),
        },
    )


def parse_old_models(data: Mapping[str, Any], provider: str) -> Optional[List[Entry]]:
    """Read ``/api/v0/models``; None where this is no such list (lmstudio-api §2.8)."""
    models = data.get("data")
    if not isinstance(models, list):
        return None
    return [_v0_entry(model, provider) for model in mappings(models)]


def _v0_entry(data: Mapping[str, Any], provider: str) -> Entry:
    name = str(data.get("id") or "")
    kind = data.get("type")
    chats = kind in ("llm", "vlm")
    # The list of an embedding model can name tool_use (§5.1): its kind counts first.
    tools = chats and "tool_use" in words(data.get("capabilities"))
    can = {
        "chat": chats,
        "vision": kind == "vlm",
        "embeddings": kind == "embeddings",
        "tools": tools,
    }
    evidence = Evidence(
        detail="GET /api/v0/models",
        can=frozenset(ability for ability, flag in can.items() if flag),
        # Where tool_use is missing, the server falls back to a prompt: that denies nothing.
        cannot=frozenset(a for a, flag in can.items() if not flag and a != "tools")
        if kind
        else frozenset(),
        numbers={
            "max_context_length": whole(data.get("max_context_length")),
            "loaded_context_length": whole(data.get("loaded_context_length")),
        },
    )
    info = ModelInfo(
        name=name,
        provider=provider,
        architecture=word(data.get("arch")),
        quantization=word(data.get("quantization")),
        format=word(data.get("compatibility_type")),
        loaded=data.get("state") == "loaded" if "state" in data else None,
        capabilities=detect(name, evidence),
        raw=data,
    )
    return Entry(info, (name,))


def same_entry(entries: List[Entry], asked: str, served: str) -> bool:
    """Whether one model of the list goes by both names."""
    return any(
        asked.lower() in names and served.lower() in names
        for entry in entries
        for names in ({name.lower() for name in entry.names},)
    )
