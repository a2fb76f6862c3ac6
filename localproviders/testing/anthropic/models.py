"""The features that a model of the service accepts, by the name of the model.

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
        types: The types of thinking.
        efforts: The levels of effort.
        thinks: Whether the model thinks if a request does not mention thinking.
        shows: Whether the model sends the text of its thinking if a request does not ask for the
            text.
        samples: Whether it accepts temperature, top_p and top_k.
        prefills: Whether the model continues the text if the last message is one of the assistant.
        obeys: Whether a request can force it to call a tool.
        later_systems: Whether it accepts system messages within a conversation.
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
# The first row whose pattern is in the name of a model describes it.
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

# The dates that the service adds to model names without a date, by the end of the name.
_DATES = {"haiku-4-5": "20251001", "sonnet-4-5": "20250929", "opus-4-5": "20251101"}


def traits_of(model: FakeModel) -> Traits:
    """Return the features of a model. A model with an unknown name has the defaults of `Traits`."""
    found = next((row for pattern, row in _ROWS if re.search(pattern, model.name)), Traits())
    return found if model.can("thinking") else found._replace(types=("disabled",), thinks=False)


def dated(name: str) -> str:
    """Return the model name for a response. The name of an older model gets its date."""
    date = next((date for part, date in _DATES.items() if name.endswith(part)), "")
    return f"{name}-{date}" if date else name


def record_of(model: FakeModel) -> Dict[str, Any]:
    """Return the record of a model in the list."""
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
    """Return the maximum number of tokens of an answer."""
    return max(64_000, model.context_length)


def _fact(value: bool) -> Dict[str, Any]:
    return {"supported": value}


def page_of(models: Sequence[FakeModel], limit: int, after: str) -> Dict[str, Any]:
    """Return a page of the list: the models after an id, at most `limit`."""
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
