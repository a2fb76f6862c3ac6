"""A strategy for each public record class, made from its annotations; it covers new fields too."""

from __future__ import annotations

import collections.abc
import dataclasses
from array import array
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List, Literal, Mapping, Type, TypeVar, Union, get_args, get_origin

from hypothesis import strategies as st

from localproviders import types
from localproviders._address import Endpoint
from localproviders._record import Record
from localproviders.telemetry import CallEvent
from localproviders.types import (
    Choice,
    CompletionRequest,
    Decision,
    Decisions,
    EmbeddingRequest,
    EmbeddingResponse,
    Limits,
    Message,
    Question,
    RetryPolicy,
    Score,
    ServerTimings,
    TokenLogprob,
    Usage,
    YesNo,
)
from tests.promises.fuzz.promises import hints
from tests.support.pieces import json_values

Draw = st.SearchStrategy[Any]

VALUES: List[Type[Record]] = [
    *(
        cls
        for name in types.__all__
        for cls in [getattr(types, name)]
        if isinstance(cls, type) and issubclass(cls, Record) and cls is not Question  # a base class
    ),
    Endpoint,
    CallEvent,
]

_text = st.text(max_size=8)
_words = st.text(min_size=1, max_size=8)
_said = st.text(min_size=1, max_size=8).filter(str.strip)
_digest = st.none() | st.text("0123456789abcdef", min_size=12, max_size=64)
_real = st.floats(allow_nan=False, allow_infinity=False)
_share = st.floats(0, 10)
_zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_rows = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=4)

# Strategies for the types of annotations.
_KINDS: Mapping[Any, Draw] = {
    str: _text,
    int: st.integers(1, 2**62),
    float: _real,
    bool: st.booleans(),
    bytes: st.binary(min_size=1, max_size=9),  # a file is never empty
    datetime: st.datetimes(timezones=_zones),
    Any: json_values,
}
_seconds = st.floats(0.001, 1e9)
_number = st.integers(0, 9) | _share
# Strategies for fields whose annotation does not show their limits.
_SPECIAL: Dict[Type[Record], Dict[str, Draw]] = {
    Endpoint: {"host": _text.filter(lambda text: "@" not in text)},
    Message: {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
    TokenLogprob: {"top": st.builds(TokenLogprob, token=_text, logprob=_real).map(lambda leaf: (leaf,))},
    EmbeddingRequest: {
        "texts": st.lists(_words, min_size=1, max_size=3).map(tuple),
        **dict.fromkeys(["batch_size", "batch_characters"], st.integers(1, 9)),
        "keep_alive": st.floats(0, 1e9),
        "expect_digest": _digest,
    },
    YesNo: {"question": _said, **dict.fromkeys(["yes", "no"], st.none() | _said)},
    Choice: {
        "question": _said,
        "options": st.dictionaries(_said, st.none() | _said, min_size=2, max_size=3),
    },
    Score: {
        "question": _said,
        "levels": st.lists(_said, min_size=2, max_size=3, unique=True).map(tuple),
    },
    Decision: {
        "kind": st.sampled_from(["yes_no", "choice", "score", "of a newer server"]),
        "probabilities": st.dictionaries(_text, _share, min_size=1, max_size=3),
    },
    Decisions: {"error": st.none()},
    Limits: {field.name: _seconds for field in dataclasses.fields(Limits)},
    RetryPolicy: dict.fromkeys(["first_wait_s", "longest_wait_s"], st.floats(0, 1e9)),
    EmbeddingResponse: {
        "vectors": st.lists(_rows.map(lambda row: array("f", row)), max_size=3).map(tuple),
        "model": _text,
        "provider": _text,
        "usage": st.deferred(lambda: value(Usage)),
        "server_timings": st.deferred(lambda: value(ServerTimings)),
        "warnings": st.lists(_text, max_size=2).map(tuple),
        "attempts": st.integers(1, 2),
    },
    CompletionRequest: {
        **dict.fromkeys(["temperature", "top_p", "min_p", "repeat_penalty"], _number),
        "keep_alive": st.floats(0, 1e9),
        "suffix": st.none(),
        "grammar": st.none() | _words,
        "expect_digest": _digest,
    },
}  # fmt: skip


def value(cls: Type[Record]) -> Draw:
    """Draw a record of a class; fields with a default are sometimes left out."""
    special = _SPECIAL.get(cls, {})
    fields = {field.name: field for field in dataclasses.fields(cls)}
    drawn = {
        **{name: of_hint(hint) for name, hint in hints(cls).items() if name not in special},
        **special,
    }
    drawn = {name: one for name, one in drawn.items() if "raw" not in fields[name].metadata}
    optional = {n: one for n, one in drawn.items() if _has_default(fields[n])}
    required = {n: one for n, one in drawn.items() if n not in optional}
    made = st.fixed_dictionaries(required, optional=optional)
    return made.map(_FIT.get(cls, lambda fields: fields)).map(lambda fields: cls(**fields))


def of_hint(hint: Any) -> Draw:
    """Draw a value of an annotated type."""
    kind, inner = get_origin(hint), get_args(hint)
    if hint in _KINDS:
        return _KINDS[hint]
    if isinstance(hint, TypeVar):
        return json_values
    if kind is Union:
        return st.one_of(*map(of_hint, inner))
    if kind is Literal:
        return st.sampled_from(inner)
    if kind in (tuple, collections.abc.Sequence):
        return st.lists(of_hint(inner[0]), max_size=2).map(tuple)
    if kind in (dict, collections.abc.Mapping):
        return st.dictionaries(_text, of_hint(inner[1]), max_size=3)
    return st.none() if hint is type(None) else st.deferred(lambda: value(hint))


def _has_default(field: Any) -> bool:
    return (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)


def _fit_request(fields: Dict[str, Any]) -> Dict[str, Any]:
    """Change the fields of a request so that they are allowed together.

    It has either messages or a prompt with a suffix, its tool choice names one of its tools, and
    it has no grammar beside tools or a schema.
    """
    if fields.get("tools") or fields.get("response_schema") is not None:
        fields = {**fields, "grammar": None}
    names = [tool.name for tool in fields.get("tools") or ()]
    if names and fields.get("tool_choice") is not None:
        fields = {**fields, "tool_choice": names[0]}
    if not fields.get("messages"):
        return {**fields, "messages": (), "prompt": fields.get("prompt") or "p", "suffix": "s"}
    return {**fields, "prompt": None, "suffix": None}


def _fit_decision(fields: Dict[str, Any]) -> Dict[str, Any]:
    """Make the probabilities of a question that is answered with yes or no those of yes and no."""
    if fields["kind"] != "yes_no" or "probabilities" not in fields:
        return fields
    return {**fields, "probabilities": {"yes": 0.75, "no": 0.25}}


def _fit_decisions(fields: Dict[str, Any]) -> Dict[str, Any]:
    """Make the names of answers their keys."""
    answers = {answer.name: answer for answer in fields.get("answers", {}).values()}
    return {**fields, "answers": answers}


_FIT = {CompletionRequest: _fit_request, Decision: _fit_decision, Decisions: _fit_decisions}
