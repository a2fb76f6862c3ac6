"""What LM Studio says in its own words. Pure; the dialect is in `openai_compatible.wire`."""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._http.rejection import Rule, rule
from localproviders._values import mappings, words
from localproviders.capabilities import detect
from localproviders.errors import (
    AuthenticationError,
    BusyError,
    CapabilityError,
    ContextOverflowError,
    ModelLoadError,
    ModelNotFoundError,
    RequestRejectedError,
    UnsupportedError,
)
from localproviders.lmstudio import evidence
from localproviders.openai_compatible.wire import RULES as DIALECT_RULES
from localproviders.types.model import ModelInfo

# Parts of the server's sentences (lmstudio-api §4.3); its wording changes with versions.
RULES: Tuple[Rule, ...] = (
    rule(
        r"Unexpected endpoint or method",
        UnsupportedError,
        "this version lacks it, or the address has a path too many",
    ),
    rule(
        r"keep the first \d+ tokens|tokens to keep from the initial prompt"
        r"|Context size has been exceeded",
        ContextOverflowError,
        "shorten the prompt, or load the model with a larger context",
    ),
    rule(r"API token", AuthenticationError, "set LM_API_TOKEN, or pass api_key=..."),
    rule(
        r"No models loaded|Multiple models are loaded",
        ModelNotFoundError,
        "load a model in LM Studio, or switch on Just in Time Model Loading",
    ),
    rule(r"Invalid model identifier|model_not_found", ModelNotFoundError),
    rule(r"Failed to load model|has crashed|Model is unloaded|Model reloaded", ModelLoadError),
    rule(r"does not support images|Vision add-on", CapabilityError),
    rule(r"must be a base64 encoded image", RequestRejectedError, "send PNG or JPEG"),
    rule(r"server is starting", BusyError),
    *DIALECT_RULES,
)


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
    return Entry(info, (key, *variants, *(str(item.get("id")) for item in instances)))


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
