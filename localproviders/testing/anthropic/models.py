"""The features that each model of the service accepts. The name of the model decides.

The facts are in docs/reference/anthropic.md, "Thinking".
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from localproviders.testing.values import FakeModel

_TYPES = ("enabled", "adaptive", "disabled", "between_tools")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


class Traits(NamedTuple):
    """The features that a model accepts.

    Attributes:
        types: The types of thinking that a request can choose.
        efforts: The levels of effort that a request can choose.
        thinks: Whether the model thinks if a request does not mention thinking.
        shows: Whether the model sends the text of its thinking if a request does not say whether to
            send it.
        samples: Whether it accepts temperature, top_p and top_k.
        prefills: Whether the last message may have the role ``assistant``. The model then continues
            the text of this message.
        obeys: Whether a request can force it to call a tool.
        later_systems: Whether it accepts system messages among the messages of a conversation.
    """

    types: Tuple[str, ...] = ("enabled", "adaptive", "disabled")
    efforts: Tuple[str, ...] = _EFFORTS
    thinks: bool = True
    shows: bool = True
    samples: bool = True
    prefills: bool = True
    obeys: bool = True
    later_systems: bool = False


_ADAPTIVE = ("adaptive", "disabled")
_NEWEST = Traits(("adaptive",), _EFFORTS, True, False, False, False, False, True)
# A model is described by the first row whose pattern occurs in the name of the model.
_ROWS: Sequence[Tuple[str, Traits]] = (
    (r"(opus-5-5|fable-5-1)", _NEWEST),
    (r"sonnet-5-5", _NEWEST._replace(types=("adaptive", "between_tools"))),
    (r"(fable|mythos)-5", _NEWEST._replace(obeys=True, later_systems=False)),
    (r"opus-5", Traits(_ADAPTIVE, _EFFORTS, True, False, False, False)),
    (r"sonnet-5", Traits(_ADAPTIVE, _EFFORTS, True, False, False, False)),
    (r"opus-4-[78]", Traits(_ADAPTIVE, _EFFORTS, False, False, False, False)),
    (r"(opus|sonnet)-4-6", Traits(efforts=(*_EFFORTS[:3], "max"), thinks=False, prefills=False)),
    (r"opus-4-5", Traits(("enabled", "disabled"), _EFFORTS[:3], False)),
    (r"(sonnet|haiku)-4-5|sonnet-4|opus-4|claude-3", Traits(("enabled", "disabled"), (), False)),
)

_LINES = ("fable", "haiku", "mythos", "opus", "sonnet")

# The dates that the service adds to model names without a date, by the last part of the name.
_DATES = {"haiku-4-5": "20251001", "sonnet-4-5": "20250929", "opus-4-5": "20251101"}


def traits_of(model: FakeModel) -> Traits:
    """Return the features of a model. A model with an unknown name has the defaults of `Traits`.

    A model without the ability ``thinking`` never thinks, whatever its name is.
    """
    found = next((row for pattern, row in _ROWS if re.search(pattern, model.name)), Traits())
    return found if model.can("thinking") else found._replace(types=("disabled",), thinks=False)


def dated(name: str) -> str:
    """Return the model name for a response. The service adds a date to names of older models."""
    date = next((date for part, date in _DATES.items() if name.endswith(part)), "")
    return f"{name}-{date}" if date else name


def record_of(model: FakeModel) -> Dict[str, Any]:
    """Return the entry for a model in the list of models."""
    traits, can_think = traits_of(model), model.can("thinking")
    types = {name: _fact(can_think and name in traits.types) for name in _TYPES}
    efforts = {name: _fact(name in traits.efforts) for name in _EFFORTS}
    abilities = ("batch", "citations", "code_execution", "structured_outputs")
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name.replace("-", " ").title(),
        "created_at": "2026-02-04T00:00:00Z",
        "max_input_tokens": model.context_length,
        "max_tokens": max_tokens_of(model),
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": next((line for line in _LINES if line in model.name), None),
        "capabilities": {
            "context_management": _fact(False),
            "server_tools": {
                **_fact(False),
                "code_execution": _fact(False),
                "web_search": _fact(False),
            },
            **{name: _fact(True) for name in abilities},
            "image_input": _fact(model.can("vision")),
            "pdf_input": _fact(model.can("vision")),
            "effort": {**_fact(bool(traits.efforts)), **efforts},
            "thinking": {**_fact(can_think), "types": types},
        },
    }


def max_tokens_of(model: FakeModel) -> int:
    """Return the largest ``max_tokens`` that a request to a model may have."""
    return min(64_000, model.context_length)


def _fact(value: bool) -> Dict[str, Any]:
    return {"supported": value}


def page_of(models: Sequence[FakeModel], limit: int, after: str) -> Dict[str, Any]:
    """Return a page of the list: at most `limit` models, from the one after the id `after`."""
    names = [model.name for model in models]
    start = names.index(after) + 1 if after in names else 0
    listed: List[Dict[str, Any]] = [record_of(each) for each in models[start : start + limit]]
    ids = [each["id"] for each in listed]
    return {
        "data": listed,
        "has_more": start + limit < len(models),
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }
