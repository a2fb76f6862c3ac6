"""What LM Studio lists: its models, by all their names."""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._values import mappings, words
from localproviders.capabilities import detect
from localproviders.lmstudio.wire import evidence
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
    info = ModelInfo(
        name=key,
        provider=provider,
        loaded=bool(instances),
        capabilities=detect(key, evidence.of_entry(data)),
        raw=data,
    )
    variants = words(data.get("variants"))
    return Entry(info, (key, *variants, *words([item.get("id") for item in instances])))


def parse_old_models(data: Mapping[str, Any], provider: str) -> Optional[List[Entry]]:
    """Read ``/api/v0/models``; None where this is no such list (lmstudio-api §2.8)."""
    models = data.get("data")
    if not isinstance(models, list):
        return None
    return [_v0_entry(model, provider) for model in mappings(models)]


def _v0_entry(data: Mapping[str, Any], provider: str) -> Entry:
    name = str(data.get("id") or "")
    info = ModelInfo(
        name=name,
        provider=provider,
        loaded=data.get("state") == "loaded" if "state" in data else None,
        capabilities=detect(name, evidence.of_old_entry(data)),
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
