"""Hypothesis strategies: bytes of the protocols, any JSON, good records with changes."""

from __future__ import annotations

import copy
import json
from typing import Any, List, Tuple

from hypothesis import strategies as st

# --- bytes ----------------------------------------------------------------------------------

_FRAGMENTS = [
    b"data:", b"data: ", b"data", b"event: message", b"event:", b"id: 7", b"retry: 10", b":",
    b": ping", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"\xef\xbb\xbf",
    b"\xef\xbb", b"\xbf", b"[DONE]", b"{", b"}", b"[", b"]", b'"', b"\\", b'\\"', b",", b"\\u",
    b"\\ud83d", b"\\ude00", b"null", b"true", b"NaN", b"1", b"-0", b"1e999", b"9" * 401,
    b'{"a":1}', b'{"done":true}', b"\x00", b"\x0b", b"\x0c", b"\x1c", b"\xc2\x85", b"\xe2\x80\xa8",
    b"\xe2", b"\x80", b"\xf0\x9f", b"\x98\x80", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf",
]  # fmt: skip

#: Bytes that resemble the protocols, cut anywhere, even within a character.
wire_bytes = st.lists(st.sampled_from(_FRAGMENTS) | st.binary(max_size=3), max_size=30).map(
    b"".join
)

#: Positions at which bytes are cut.
places = st.lists(st.integers(0, 120), max_size=12)


def cut(data: bytes, at: List[int]) -> List[bytes]:
    """Cut bytes at these positions; a position after the end counts as the end."""
    ends = [0, *sorted(min(place, len(data)) for place in at), len(data)]
    return [data[one:two] for one, two in zip(ends, ends[1:])]


# --- JSON -----------------------------------------------------------------------------------

_texts = st.text(max_size=6) | st.sampled_from(
    ["", "m", "nan", "1", "-1e5", "\x00", "stop", "load", "tool_calls", "e5",
     "2026-01-02T03:04:05.678Z", "9999-12-31T23:59:59-23:59", "AAAAAA==", "AACAfw==", "{", "{}",
     '{"error": {"message": "exceed_context_size"}}', "model x not found", "https://x:1"]
)  # fmt: skip
_numbers = (
    st.integers(-3, 3)
    | st.integers()
    | st.sampled_from([10**399, -(10**300), 2**63, 1e308, -1e-308, 0.5, -0.0])
    | st.floats(allow_nan=False, allow_infinity=False)
)
_scalars = st.none() | st.booleans() | _numbers | _texts

#: Any value that `parse_json` can return.
json_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


def _positions(value: Any) -> List[Tuple[Any, Any]]:
    """List every position within a value, as its container and its key or index."""
    keys: Any = ()
    if isinstance(value, (dict, list)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
    return [position for key in keys for position in ((value, key), *_positions(value[key]))]


def _mutate(draw: Any, root: List[Any]) -> None:
    """Change one position within the record in this list."""
    container, key = draw(st.sampled_from(_positions(root)))
    how = draw(st.sampled_from(["replace", "drop", "double", "lift"]))
    if how == "replace" or container is root:
        container[key] = draw(json_values)
    elif how == "drop":
        del container[key]
    elif how == "double" and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[key] = draw(st.sampled_from([[container[key]], {"error": container[key]}]))


@st.composite
def mutated(draw: Any, good: List[Any]) -> Any:
    """Draw a good record with one to three changes, or now and then any JSON value."""
    if draw(st.integers(0, 9)) == 0:
        return draw(json_values)
    root = [copy.deepcopy(draw(st.sampled_from(good)))]
    for _ in range(draw(st.integers(1, 3))):
        _mutate(draw, root)
    return root[0]


def as_json(value: Any) -> str:
    """Encode a value as JSON in the way in which a server does."""
    return json.dumps(value, ensure_ascii=False)
