"""Request fields that a model may refuse, although it can answer without them."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from localproviders._dialect.refused_schemas import with_words
from localproviders._http_provider.sending import OwnField, schema_field
from localproviders.secret import Unseen

_SAMPLING_HINT = (
    "leave out this field: newer models choose the sampling themselves; or pass strict=False"
)


def _systems_first(payload: Dict[str, Any]) -> bool:
    """Move all system messages into the system prompt; return whether there were any."""
    messages: List[Mapping[str, Any]] = list(payload.get("messages") or [])
    systems = [str(each["content"]) for each in messages if each["role"] == "system"]
    if not systems:
        return False
    first = [payload["system"]] if isinstance(payload.get("system"), str) else []
    payload["system"] = Unseen("\n\n".join([*first, *systems]))
    payload["messages"] = [each for each in messages if each["role"] != "system"]
    return True


#: System messages that are not at the beginning. Only the newest models accept them.
SYSTEM_MESSAGES = OwnField(
    name="these system messages",
    refusal=r"\brole\b.{0,80}\bsystem\b|\bsystem\b.{0,80}\brole\b",
    keys=("messages",),
    leave_out=_systems_first,
    lost="the model reads all their texts before the conversation",
    denial="",
    done="they were sent as one message at the beginning",
    of_model=True,
)


def _without(key: str) -> Callable[[Dict[str, Any]], bool]:
    return lambda payload: payload.pop(key, None) is not None


def _schema_in_words(payload: Dict[str, Any]) -> bool:
    output = dict(payload.get("output_config") or {})
    wanted = output.pop("format", None)
    if wanted is None:
        return False
    payload["messages"] = with_words(payload["messages"], wanted["schema"])
    payload.update(output_config=output)
    if not output:
        del payload["output_config"]
    return True


def _without_effort(payload: Dict[str, Any]) -> bool:
    output = dict(payload.get("output_config") or {})
    had = output.pop("effort", None) is not None
    payload.update(output_config=output)
    if not output:
        del payload["output_config"]
    return had


def _sampling_field(name: str) -> OwnField:
    return OwnField(
        name=name,
        refusal=rf"\b{name}\b",
        keys=(name,),
        leave_out=_without(name),
        lost="the model chooses the sampling itself",
        hint=_SAMPLING_HINT,
        of_model=True,
    )


#: The caller's fields that may be left out if the request is not strict.
OPTIONAL: Tuple[OwnField, ...] = (
    schema_field(("output_config", "messages"), _schema_in_words),
    *map(_sampling_field, ("temperature", "top_p", "top_k")),
    OwnField(
        name="thinking",
        refusal=r"effort level|\beffort\b",
        keys=("output_config",),
        leave_out=_without_effort,
        lost="the model chooses the level itself",
        hint="pass a level that the model supports, or True; or pass strict=False",
        of_model=True,
    ),
    OwnField(
        name="thinking",
        refusal=r"thinking\.(type|adaptive|enabled|disabled)|budget_tokens",
        keys=("thinking",),
        leave_out=_without("thinking"),
        lost="the model decides whether it thinks",
        hint="pass a level that the model supports, or leave out thinking; or pass strict=False",
        of_model=True,
    ),
)


def of_path(path: str) -> Sequence[OwnField]:
    """Return the parts of a request to this path that can be changed if a model refuses them."""
    return (SYSTEM_MESSAGES,) if path.startswith("/v1/messages") else ()
