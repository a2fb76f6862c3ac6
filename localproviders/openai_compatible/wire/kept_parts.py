"""The parts of an answer that a service needs back unchanged, besides text and tool calls.

OpenRouter sends the signatures and the encrypted parts of the thinking in `reasoning_details`.
Gemini sends a signature in each tool call (docs/dialects.md, "Signatures"). These parts are kept in
`Message.provider_data`, and sent only to the model that wrote them.
"""

from __future__ import annotations

from typing import Any, Dict, Hashable, List, Mapping, Optional, Sequence

from localproviders._dialect.thinking import DETAILS
from localproviders._dialect.values import mapping, mappings, nonempty_text
from localproviders.types.messages import Message, ToolCall

#: The value of the field `api` of the kept data.
API = "openai"

_EXTRA = "extra_content"
_CALLS = "tool_calls"
# Fields in a part of the thinking. The text of each of these fields arrives in pieces.
_GROWING = ("text", "summary", "data")


class KeptParts:
    """A collector of the parts of one answer that must be sent back.

    Args:
        model: Name of the requested model; if it is empty, nothing is kept.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._details: Dict[Hashable, Dict[str, Any]] = {}
        self._extras: List[Any] = []

    @property
    def has_any(self) -> bool:
        """Whether a part has been added."""
        return bool(self._details or self._extras)

    def add(self, source: Mapping[str, Any]) -> bool:
        """Add the parts of a message or a delta; return whether it has any."""
        if DETAILS not in source and _CALLS not in source:
            return False
        details = mappings(source.get(DETAILS)) if DETAILS in source else []
        for place, part in enumerate(details):
            self._add_detail(part, place)
        pieces = mappings(source.get(_CALLS)) if _CALLS in source else []
        extras = [piece for piece in pieces if mapping(piece.get(_EXTRA))]
        self._extras += [(nonempty_text(each.get("id")), each[_EXTRA]) for each in extras]
        return bool(details or extras)

    def _add_detail(self, part: Mapping[str, Any], place: int) -> None:
        """Add a part or a piece of a part; pieces of one part have the same index and type."""
        index = part.get("index")
        key = (index if isinstance(index, int) else place, str(part.get("type")))
        held = self._details.setdefault(key, {})
        for name, value in part.items():
            if value is None and name in held:
                continue
            before = held.get(name)
            grows = name in _GROWING and isinstance(value, str) and isinstance(before, str)
            held[name] = f"{before}{value}" if grows else value

    def data(self, calls: Sequence[ToolCall]) -> Optional[Dict[str, Any]]:
        """Return the collected data of a complete answer; None if there is none.

        Args:
            calls: The tool calls of the answer.
        """
        if not (self._model and self.has_any):
            return None
        found: Dict[str, Any] = {"api": API, "model": self._model}
        if self._details:
            found[DETAILS] = list(self._details.values())
        extras = self._extras_of(calls)
        return {**found, _CALLS: extras} if extras else found

    def _extras_of(self, calls: Sequence[ToolCall]) -> Dict[str, Any]:
        """Return the extra content of tool calls by the ids of the calls.

        Extra content without an id belongs to the first call that has no extra content yet.
        """
        ids = [call.id for call in calls]
        free = iter([each for each in ids if each not in {id_ for id_, _ in self._extras}])
        found = ((id_ if id_ in ids else next(free, None), extra) for id_, extra in self._extras)
        return {id_: extra for id_, extra in found if id_ is not None}


def with_kept_parts(payload: Dict[str, Any], message: Message, model: str) -> Dict[str, Any]:
    """Return the JSON of an answer, with its kept parts if the requested model wrote them."""
    data = message.provider_data
    if data.get("api") != API or data.get("model") != model:
        return payload
    if data.get(DETAILS):
        # The parts contain the text of the thinking, so it is not sent a second time.
        payload = {**payload, DETAILS: data[DETAILS]}
        payload.pop("reasoning_content", None)
    extras = mapping(data.get(_CALLS))
    if extras and _CALLS in payload:
        payload = {
            **payload,
            _CALLS: [
                {**call, _EXTRA: extras[call["id"]]} if call["id"] in extras else call
                for call in payload[_CALLS]
            ],
        }
    return payload
